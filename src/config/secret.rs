//! Keys and seeds: where they are, and how they are kept once read.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Env;
use super::sealed::{self, SealError};

/// The largest file that is read as a secret: 24 words have 215 bytes.
const SECRET_BYTES_MAX: u64 = 4_096;

/// Where systemd puts what a unit's `LoadCredential` names.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// What names the passphrase of a seed.
const NAMED_BY: &str = "nano.seed_passphrase = \"file:PATH\" or \"credential:NAME\"";

/// A text that must not be seen. Wiped when dropped.
#[derive(Clone)]
pub struct Secret {
    text: Zeroizing<String>,
    file: Option<PathBuf>,
}

impl Secret {
    /// Keeps `text`, without the white space around it.
    #[must_use]
    pub fn new(text: String) -> Self {
        let text = Zeroizing::new(text);
        Self { text: Zeroizing::new(text.trim().to_owned()), file: None }
    }

    /// The file that it was read from, if it was one, under the name that the system knows it by:
    /// whichever links led there, also if they lead elsewhere now.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The text, for whoever must parse it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret is: `file:PATH`, `env:NAME` or `credential:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// In a file that only its owner may read.
    File(PathBuf),
    /// In the environment.
    Env(String),
    /// In `$CREDENTIALS_DIRECTORY`, where systemd puts it.
    Credential(String),
}

/// Why there is no secret. No message repeats one.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The secret itself stands where a reference belongs.
    #[error(
        "the secret itself stands here, where others may read it: move it to a file and write file:PATH, \
         env:NAME or credential:NAME"
    )]
    Inline,
    /// Not a reference.
    #[error("a secret is referred to as file:PATH, env:NAME or credential:NAME")]
    NotAReference,
    /// The file is not there or cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error("others may read {path} (mode {mode:03o}): run `chmod 600 {path}`")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is no secret's.
    #[error("{0} is too large to be a secret, or not text")]
    NotASecret(PathBuf),
    /// The file is encrypted, and nobody has the passphrase.
    #[error(
        "{path} is encrypted: name its passphrase ({NAMED_BY}), or start the program on a terminal, where it asks"
    )]
    Sealed {
        /// Which file.
        path: PathBuf,
    },
    /// The file is encrypted, and cannot be opened.
    #[error("cannot open the encrypted {path}")]
    Closed {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SealError,
    },
    /// A passphrase in the environment is seen by every program that is started from there.
    #[error("a passphrase is referred to as file:PATH or credential:NAME, and never by the environment")]
    PassphraseInEnvironment,
    /// Nothing is there.
    #[error("{0} is empty")]
    Empty(String),
    /// The name is not set.
    #[error("the environment has no {0}")]
    NotSet(String),
    /// Credentials come from systemd only.
    #[error(
        "there is no $CREDENTIALS_DIRECTORY: credential:{0} works in a systemd unit with LoadCredential={0}:…"
    )]
    NoCredentials(String),
}

impl SecretRef {
    /// Reads a reference; a relative path counts from `base`, the folder of the document it
    /// stands in.
    ///
    /// # Errors
    /// If the text is no reference. It is not repeated: it may be the secret.
    pub fn parse(text: &str, base: &Path) -> Result<Self, SecretError> {
        let name = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            // A name with a slash or two dots could leave the folder of credentials.
            let fine = name.bytes().all(plain) && !name.is_empty() && !name.starts_with('.');
            fine.then(|| name.to_owned()).filter(|name| !looks_secret(name)).ok_or(SecretError::NotAReference)
        };
        match text.trim().split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(base.join(path))),
            Some(("env", text)) => name(text).map(Self::Env),
            Some(("credential", text)) => name(text).map(Self::Credential),
            _ if looks_secret(text) => Err(SecretError::Inline),
            _ => Err(SecretError::NotAReference),
        }
    }

    /// Reads a reference to a passphrase.
    ///
    /// # Errors
    /// As [`SecretRef::parse`], and if it leads to the environment.
    pub fn parse_passphrase(text: &str, base: &Path) -> Result<Self, SecretError> {
        match Self::parse(text, base)? {
            Self::Env(_) => Err(SecretError::PassphraseInEnvironment),
            reference => Ok(reference),
        }
    }

    /// Fetches the secret.
    ///
    /// # Errors
    /// If it is not there, or others may read it.
    pub fn resolve(&self, env: &Env) -> Result<Secret, SecretError> {
        self.unseal(env, None)
    }

    /// Fetches the secret; if it is encrypted, with this passphrase, or the one that somebody types
    /// where a terminal is.
    ///
    /// # Errors
    /// If it is not there, others may read it, or it does not open.
    pub fn unseal(&self, env: &Env, passphrase: Option<&Self>) -> Result<Secret, SecretError> {
        let secret = match self {
            Self::File(path) => read_secret(path, Openness::Refused, env, passphrase)?,
            Self::Env(name) => Secret::new(env.get(name).ok_or_else(|| SecretError::NotSet(name.clone()))?),
            Self::Credential(name) => {
                let dir = env.get(CREDENTIALS_DIRECTORY);
                let dir = dir.ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
                let path = Path::new(&dir).join(name);
                read_secret(&path, Openness::OfSystemd, env, passphrase)?
            }
        };
        if secret.expose().is_empty() {
            return Err(SecretError::Empty(self.to_string()));
        }
        Ok(secret)
    }
}

/// The reference as it is written.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

/// What the value of an environment name holds: a reference, or the secret itself, since the
/// environment is not a document that lies about.
///
/// # Errors
/// As [`SecretRef::resolve`].
pub fn from_env_value(
    value: &str,
    base: &Path,
    env: &Env,
    passphrase: Option<&SecretRef>,
) -> Result<Secret, SecretError> {
    match SecretRef::parse(value, base) {
        Ok(reference) => reference.unseal(env, passphrase),
        Err(_) => Ok(Secret::new(value.to_owned())),
    }
}

fn read_secret(
    path: &Path,
    openness: Openness,
    env: &Env,
    passphrase: Option<&SecretRef>,
) -> Result<Secret, SecretError> {
    let (content, name) = read_file(path, openness)?;
    Ok(Secret { file: Some(name), ..opened(path, content, env, passphrase)? })
}

/// What a file holds, once it is opened if it is sealed.
fn opened(
    path: &Path,
    content: Zeroizing<Vec<u8>>,
    env: &Env,
    passphrase: Option<&SecretRef>,
) -> Result<Secret, SecretError> {
    if !sealed::is_sealed(&content) {
        let text = std::str::from_utf8(&content).map_err(|_| SecretError::NotASecret(path.to_owned()))?;
        return Ok(Secret::new(text.to_owned()));
    }
    let passphrase = match passphrase {
        Some(reference) => Some(reference.resolve(env)?),
        None => env.ask(&format!("passphrase of {}: ", path.display())),
    };
    let passphrase = passphrase.ok_or_else(|| SecretError::Sealed { path: path.to_owned() })?;
    sealed::open(&content, &passphrase)
        .map_err(|source| SecretError::Closed { path: path.to_owned(), source })
}

/// Whether a text could be a key, a seed or a phrase: it must not be repeated then.
pub(super) fn looks_secret(text: &str) -> bool {
    let text = text.trim();
    let hex_run = text.split(|character: char| !character.is_ascii_hexdigit()).map(str::len).max();
    let words = text.split_whitespace().filter(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic()));
    hex_run.unwrap_or(0) >= 32 || words.count() >= 12
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Openness {
    Refused,
    /// systemd guards the folder; the files' own bits show the mask of an access list.
    OfSystemd,
}

/// The content, and the name of what was read.
fn read_file(path: &Path, openness: Openness) -> Result<(Zeroizing<Vec<u8>>, PathBuf), SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if openness == Openness::Refused && mode & 0o077 != 0 {
        return Err(SecretError::Open { path: path.to_owned(), mode });
    }
    // Room for all of it: a buffer that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX as usize + 1));
    let name = name_of(&file, path);
    let bytes = file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut content).map_err(unreadable)?;
    if bytes as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::NotASecret(path.to_owned()));
    }
    Ok((content, name))
}

/// What an open file is called. Asked of the system and not of the path, which may be a link that is
/// turned elsewhere between two looks.
fn name_of(file: &fs::File, path: &Path) -> PathBuf {
    let open = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    fs::read_link(open).or_else(|_| fs::canonicalize(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

    fn file(mode: u32, text: &str) -> (tempfile::TempDir, SecretRef) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let reference = SecretRef::parse("file:key", dir.path()).unwrap();
        (dir, reference)
    }

    fn none() -> Env {
        Env::from_fn(|_| None)
    }

    #[test]
    fn a_file_of_its_owner_is_read() {
        let (_dir, reference) = file(0o600, &format!("{HEX}\n"));
        assert_eq!(reference.resolve(&none()).unwrap().expose(), HEX);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_what_to_run() {
        for mode in [0o640, 0o604, 0o666, 0o660] {
            let (_dir, reference) = file(mode, HEX);
            let error = reference.resolve(&none()).unwrap_err().to_string();
            assert!(error.contains("chmod 600 ") && !error.contains(HEX), "{error}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let missing = SecretRef::parse("file:/nowhere/at/all", Path::new(".")).unwrap();
        assert!(matches!(missing.resolve(&none()), Err(SecretError::Unreadable { .. })));
        let (_dir, reference) = file(0o600, " \n");
        assert!(matches!(reference.resolve(&none()), Err(SecretError::Empty(_))));
        let (_dir, reference) = file(0o600, &"x".repeat(5_000));
        assert!(matches!(reference.resolve(&none()), Err(SecretError::NotASecret(_))));
    }

    #[test]
    fn credentials_come_from_systemds_folder_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("seed"), HEX).unwrap();
        let path = dir.path().display().to_string();
        let env = Env::from_fn(move |name| (name == CREDENTIALS_DIRECTORY).then(|| path.clone()));
        let parse = |text| SecretRef::parse(text, Path::new("."));
        assert_eq!(parse("credential:seed").unwrap().resolve(&env).unwrap().expose(), HEX);
        assert!(matches!(
            parse("credential:seed").unwrap().resolve(&none()),
            Err(SecretError::NoCredentials(_))
        ));
        for text in ["credential:../seed", "credential:", "credential:/etc/passwd", "credential:.."] {
            assert!(matches!(parse(text), Err(SecretError::NotAReference)), "{text}");
        }
    }

    #[test]
    fn a_secret_in_its_places_stead_is_refused_and_not_repeated() {
        let phrase = "abandon ".repeat(11) + "about";
        for text in [HEX, &phrase, &format!("0x{HEX}"), &format!("{HEX}{HEX}")] {
            let error = SecretRef::parse(text, Path::new(".")).unwrap_err();
            assert!(matches!(error, SecretError::Inline), "{error}");
            assert!(!format!("{error} {error:?}").contains(text.trim()));
        }
        let error = SecretRef::parse(&format!("env:{HEX}"), Path::new(".")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(HEX));
    }

    #[test]
    fn the_environment_may_hold_the_secret_or_a_reference() {
        let env = Env::from_fn(|name| (name == "ELSEWHERE").then(|| HEX.to_owned()));
        for value in [HEX, "env:ELSEWHERE"] {
            assert_eq!(from_env_value(value, Path::new("."), &env, None).unwrap().expose(), HEX);
        }
        assert!(!format!("{:?}", Secret::new(HEX.to_owned())).contains(HEX));
    }

    #[test]
    fn a_sealed_file_is_opened_by_its_passphrase_from_a_file_or_a_person() {
        let sealed = include_str!("../../tests/fixtures/sealed-seed.age");
        let (dir, reference) = file(0o600, sealed);
        assert!(matches!(reference.resolve(&none()), Err(SecretError::Sealed { .. })));
        let path = dir.path().join("passphrase");
        let named = SecretRef::parse_passphrase("file:passphrase", dir.path()).unwrap();
        for (text, opens) in [("correct horse\n", true), ("correct house\n", false)] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let secret = reference.unseal(&none(), Some(&named));
            assert_eq!(secret.is_ok(), opens);
            assert!(secret.map_or(true, |secret| secret.expose() == HEX));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(reference.unseal(&none(), Some(&named)), Err(SecretError::Open { .. })));
        let typed = none().with_person(|_| Some(Secret::new("correct horse".to_owned())));
        assert_eq!(reference.resolve(&typed).unwrap().expose(), HEX);
        let in_environment = SecretRef::parse_passphrase("env:PASS", dir.path());
        assert!(matches!(in_environment, Err(SecretError::PassphraseInEnvironment)));
    }

    #[test]
    fn a_secret_knows_its_file_whatever_led_there() {
        let (dir, reference) = file(0o600, HEX);
        let SecretRef::File(path) = &reference else { panic!("{reference}") };
        let folder = dir.path().join("folder");
        std::os::unix::fs::symlink(dir.path(), &folder).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(folder.join(path.file_name().unwrap()), &link).unwrap();
        let real = fs::canonicalize(path).unwrap();
        for path in [path.clone(), link] {
            let secret = SecretRef::File(path).resolve(&none()).unwrap();
            assert_eq!(secret.file(), Some(real.as_path()));
        }
        assert_eq!(Secret::new(HEX.to_owned()).file(), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: String) {
            let _ = SecretRef::parse(&text, Path::new("."));
        }
    }
}
