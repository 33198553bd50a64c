//! Secrets at rest behind a passphrase: files in the format of `age`, which its own program reads too.

use age::secrecy::SecretString;
use age::{DecryptError, EncryptError, scrypt};
use zeroize::Zeroizing;

use super::Secret;

/// The first bytes of a sealed file, as text or as it is.
const BEGINNINGS: [&[u8]; 2] = [b"-----BEGIN AGE ENCRYPTED FILE-----", b"age-encryption.org/v1"];

/// The cost of one guess, as a power of two: half a second and 128 MiB, once per start.
const WORK_FACTOR: u8 = 17;

/// The cost of a file that is opened at most: eight times that, made by somebody with more patience.
const WORK_FACTOR_MAX: u8 = 20;

/// Why a file cannot be sealed or opened. No message repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Another passphrase, or not a byte of the file may be another.
    #[error("the passphrase does not open it, or it was changed")]
    Closed,
    /// For a key, not a passphrase.
    #[error("it was not encrypted with a passphrase")]
    NotByPassphrase,
    /// It would take minutes and gigabytes.
    #[error("its passphrase costs too much to try")]
    TooDear,
    /// It is damaged.
    #[error("it cannot be read: {0}")]
    Unreadable(&'static str),
    /// It holds no text.
    #[error("what it holds is not text")]
    NotText,
    /// The passphrase protects nothing.
    #[error("a passphrase has at least {PASSPHRASE_MIN} characters")]
    TooShort,
    /// Not for a reason that could be ours.
    #[error("it cannot be encrypted")]
    Seal(#[source] Box<EncryptError>),
}

/// The shortest passphrase that a new file gets: guessing six random words takes a bank's budget,
/// and eight characters are the least that anybody could call a passphrase.
const PASSPHRASE_MIN: usize = 8;

/// Whether a file's content is sealed.
#[must_use]
pub fn is_sealed(content: &[u8]) -> bool {
    let content = content.trim_ascii_start();
    BEGINNINGS.iter().any(|beginning| content.starts_with(beginning))
}

/// Seals a secret, as text that can be printed and typed.
///
/// # Errors
/// If the passphrase is too short, or there is no randomness.
pub fn seal(secret: &str, passphrase: &Secret) -> Result<String, SealError> {
    if passphrase.expose().chars().count() < PASSPHRASE_MIN {
        return Err(SealError::TooShort);
    }
    let mut recipient = scrypt::Recipient::new(handed_over(passphrase));
    recipient.set_work_factor(WORK_FACTOR);
    let line = Zeroizing::new(format!("{secret}\n"));
    age::encrypt_and_armor(&recipient, line.as_bytes()).map_err(|error| SealError::Seal(Box::new(error)))
}

/// Opens a sealed secret.
///
/// # Errors
/// If the passphrase is another's, or the content is damaged or no secret.
pub fn open(content: &[u8], passphrase: &Secret) -> Result<Secret, SealError> {
    let mut identity = scrypt::Identity::new(handed_over(passphrase));
    identity.set_max_work_factor(WORK_FACTOR_MAX);
    let opened = age::decrypt(&identity, content.trim_ascii_start()).map_err(|error| match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::InvalidMac => {
            SealError::Closed
        }
        DecryptError::NoMatchingKeys => SealError::NotByPassphrase,
        DecryptError::ExcessiveWork { .. } => SealError::TooDear,
        DecryptError::Io(_) => SealError::Unreadable("it ends too early, or its text is damaged"),
        _ => SealError::Unreadable("its header is damaged, or from a later version of age"),
    })?;
    let opened = Zeroizing::new(opened);
    let text = std::str::from_utf8(&opened).map_err(|_| SealError::NotText)?;
    Ok(Secret::new(text.to_owned()))
}

/// A copy that wipes itself, as the crate wants it.
fn handed_over(passphrase: &Secret) -> SecretString {
    SecretString::from(passphrase.expose().to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

    fn passphrase(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn what_was_sealed_opens_with_its_passphrase_and_no_other() {
        let sealed = seal(HEX, &passphrase("correct horse")).unwrap();
        assert!(is_sealed(sealed.as_bytes()) && !sealed.contains(HEX) && !is_sealed(HEX.as_bytes()));
        assert_eq!(open(sealed.as_bytes(), &passphrase("correct horse")).unwrap().expose(), HEX);
        let error = open(sealed.as_bytes(), &passphrase("correct house")).unwrap_err();
        assert!(matches!(error, SealError::Closed), "{error}");
        assert!(matches!(seal(HEX, &passphrase("short")), Err(SealError::TooShort)));
    }

    /// Made by `age --passphrase --armor` 1.1.1.
    #[test]
    fn a_file_of_the_usual_program_opens() {
        let text = include_str!("../../tests/fixtures/sealed-seed.age");
        assert_eq!(open(text.as_bytes(), &passphrase("correct horse")).unwrap().expose(), HEX);
        let cut = &text[..text.len() / 2];
        assert!(open(cut.as_bytes(), &passphrase("correct horse")).is_err());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let mut recipient = scrypt::Recipient::new(handed_over(&passphrase("correct horse")));
        recipient.set_work_factor(2);
        let sealed = age::encrypt(&recipient, HEX.as_bytes()).unwrap();
        for place in 0..sealed.len() {
            let mut bytes = sealed.clone();
            bytes[place] ^= 1;
            let opened = open(&bytes, &passphrase("correct horse"));
            assert!(opened.is_err(), "byte {place} may be another");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let headed = [BEGINNINGS[1], b"\n", &bytes].concat();
            for content in [bytes, headed] {
                let _ = open(&content, &passphrase("correct horse"));
            }
        }
    }
}
