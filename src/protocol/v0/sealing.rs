//! Sealed boxes: a text that only the holder of one key can read, from nobody in particular.
//!
//! libsodium's `crypto_box_seal`: a key pair for this one box, X25519 with the recipient's key,
//! XSalsa20-Poly1305, and as nonce the BLAKE2b hash of both public keys. The pair's public half
//! stands in front, its secret is forgotten.

use blake2::Blake2b;
use blake2::digest::Digest as _;
use blake2::digest::consts::U24;
use crypto_box::aead::Aead as _;
use crypto_box::{KEY_SIZE, PublicKey, SalsaBox, SecretKey};
use zeroize::Zeroizing;

use super::limits::SEALED_BYTES_MAX;
use super::{BotKeys, SealingPublicKey};

/// The only algorithm there is, by its name on the wire.
pub const ENC_ALG: &str = "libsodium.crypto_box_seal.x25519.xsalsa20poly1305";
/// By how much a sealed text is longer: a public key and a tag.
pub const OVERHEAD_BYTES: usize = KEY_SIZE + 16;

/// The text cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed text has at most {SEALED_BYTES_MAX} bytes, with {OVERHEAD_BYTES} of its own")]
pub struct SealError;

/// The box is damaged, or it is for another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed box does not open with this key")]
pub struct OpenError;

/// Seals a text for one recipient.
///
/// `ephemeral` is 32 random bytes, to be used for nothing else: whoever knows them reads the box.
///
/// # Errors
/// If the text is too long.
pub fn seal(
    recipient: &SealingPublicKey,
    text: &[u8],
    ephemeral: &[u8; KEY_SIZE],
) -> Result<Vec<u8>, SealError> {
    if text.len() + OVERHEAD_BYTES > SEALED_BYTES_MAX {
        return Err(SealError);
    }
    let (secret, recipient) = (SecretKey::from(*ephemeral), PublicKey::from(*recipient.as_bytes()));
    let public = secret.public_key();
    let nonce = nonce(public.as_bytes(), recipient.as_bytes());
    let sealed = SalsaBox::new(&recipient, &secret).encrypt(&nonce.into(), text).map_err(|_| SealError)?;
    Ok([public.as_bytes().as_slice(), &sealed].concat())
}

/// Opens a box that was sealed for these keys.
///
/// # Errors
/// If it does not open, for whatever reason; which one, nobody should learn.
pub fn open(keys: &BotKeys, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    if sealed.len() > SEALED_BYTES_MAX {
        return Err(OpenError);
    }
    let (public, rest) = sealed.split_first_chunk::<KEY_SIZE>().ok_or(OpenError)?;
    let nonce = nonce(public, keys.sealing_key().as_bytes());
    let open = SalsaBox::new(&PublicKey::from(*public), keys.sealing_secret());
    open.decrypt(&nonce.into(), rest).map(Zeroizing::new).map_err(|_| OpenError)
}

fn nonce(ephemeral: &[u8; KEY_SIZE], recipient: &[u8; KEY_SIZE]) -> [u8; 24] {
    Blake2b::<U24>::new().chain_update(ephemeral).chain_update(recipient).finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(sealing: &str) -> BotKeys {
        let mut seed = [0; 32];
        hex::decode_to_slice(sealing, &mut seed).unwrap();
        BotKeys::from_seeds(&[1; 32], &seed)
    }

    #[test]
    fn the_deployed_clients_own_fixture_opens() {
        let keys = keys("650b219952e8268f87fde32dd8c32fcac3a0663f8f7be396c244c7d0a448843e");
        assert_eq!(
            hex::encode(keys.sealing_key().as_bytes()),
            "c7b7a40e567a3917d2102172412687a6509e0f68ef4e651a0de40fb9c1fbf522"
        );
        let sealed = hex::decode(concat!(
            "2adbe93c8c955e994431073a0272d9bdf3cb87b12ca32724865c81deed3a393d1dfc1b0b5330a7fa94ac975af8e05a06",
            "75e65675f5f78596b108628a4d9eedf590849eedbc0be385e6a9a741705c29be9fdb3bb9a377e7e9ef55e33189bd033f",
            "12cea3349e740f4b9a2a18e838a3e5d57232c1d311a2dc"
        ))
        .unwrap();
        let text = open(&keys, &sealed).unwrap();
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "NanoBazaar sealed box compatibility fixture (libsodium-wrappers 0.7.16)"
        );
    }

    /// One box as libsodium writes it: what to open it with, what is in it, and it.
    #[derive(serde::Deserialize)]
    struct Known {
        secret: String,
        ephemeral: Option<String>,
        text: String,
        sealed: String,
    }

    /// `tests/fixtures/v0/sealed.py` made these with libsodium, and opened ours with it.
    fn known() -> Vec<Known> {
        let text = include_str!("../../../tests/fixtures/v0/sealed.json");
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_libsodium_sealed_opens_here() {
        for known in known() {
            let text = open(&keys(&known.secret), &hex::decode(&known.sealed).unwrap()).unwrap();
            assert_eq!(hex::encode(&text), known.text);
        }
    }

    /// With the same ephemeral secret, both write the same bytes.
    #[test]
    fn what_is_sealed_here_is_what_libsodium_writes() {
        let mut compared = 0;
        for known in known() {
            let Some(ephemeral) = known.ephemeral else { continue };
            let mut seed = [0; 32];
            hex::decode_to_slice(ephemeral, &mut seed).unwrap();
            let text = hex::decode(&known.text).unwrap();
            let sealed = seal(&keys(&known.secret).sealing_key(), &text, &seed).unwrap();
            assert_eq!(hex::encode(sealed), known.sealed);
            compared += 1;
        }
        assert!(compared > 0);
    }

    #[test]
    fn the_largest_text_is_as_large_as_the_limit_says() {
        let keys = keys(&"07".repeat(32));
        let most = vec![b'x'; SEALED_BYTES_MAX - OVERHEAD_BYTES];
        let sealed = seal(&keys.sealing_key(), &most, &[9; 32]).unwrap();
        assert_eq!(sealed.len(), SEALED_BYTES_MAX);
        assert_eq!(*open(&keys, &sealed).unwrap(), most);
        let more = vec![b'x'; SEALED_BYTES_MAX - OVERHEAD_BYTES + 1];
        assert_eq!(seal(&keys.sealing_key(), &more, &[9; 32]), Err(SealError));
    }

    proptest! {
        #[test]
        fn a_box_opens_for_its_recipient_only(secret: [u8; 32], other: [u8; 32], ephemeral: [u8; 32], text: Vec<u8>, bit: prop::sample::Index) {
            let keys = BotKeys::from_seeds(&secret, &secret);
            let mut sealed = seal(&keys.sealing_key(), &text, &ephemeral).unwrap();
            prop_assert_eq!(sealed.len(), text.len() + OVERHEAD_BYTES);
            prop_assert_eq!(&*open(&keys, &sealed).unwrap(), &text);
            let stranger = BotKeys::from_seeds(&other, &other);
            if stranger.sealing_key() != keys.sealing_key() {
                prop_assert_eq!(open(&stranger, &sealed).err(), Some(OpenError));
            }
            let bit = bit.index(sealed.len() * 8);
            // X25519 does not read the topmost bit of a public key, but the nonce does.
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(open(&keys, &sealed).err(), Some(OpenError));
        }

        #[test]
        fn garbage_never_panics(sealed: Vec<u8>) {
            let keys = BotKeys::from_seeds(&[1; 32], &[2; 32]);
            prop_assert!(open(&keys, &sealed).is_err());
        }
    }
}
