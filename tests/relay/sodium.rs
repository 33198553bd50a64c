//! Sealed boxes to and from libsodium itself, where the machine has one. What it once made, and what
//! ours must look like to the byte, is in the fixtures of `protocol::v0::sealing`.

use std::process::Command;

use nano_worker::protocol::v0::BotKeys;
use nano_worker::protocol::v0::sealing::{open, seal};

/// `seal PUBLIC TEXT` or `open PUBLIC SECRET BOX`, all in hex; 77 if there is no libsodium.
const SCRIPT: &str = r#"
import ctypes, ctypes.util, sys
lib = None
for name in [ctypes.util.find_library("sodium"), "libsodium.so.26", "libsodium.so.23"]:
    try:
        lib = name and ctypes.CDLL(name)
    except OSError:
        lib = None
    if lib:
        break
if not lib or lib.sodium_init() < 0:
    sys.exit(77)
verb, public, rest = sys.argv[1], bytes.fromhex(sys.argv[2]), [bytes.fromhex(text) for text in sys.argv[3:]]
length = ctypes.c_ulonglong
if verb == "seal":
    out = ctypes.create_string_buffer(len(rest[0]) + 48)
    assert lib.crypto_box_seal(out, rest[0], length(len(rest[0])), public) == 0
else:
    out = ctypes.create_string_buffer(max(1, len(rest[1]) - 48))
    if lib.crypto_box_seal_open(out, rest[1], length(len(rest[1])), public, rest[0]) != 0:
        sys.exit(1)
    print(out.raw[: len(rest[1]) - 48].hex())
    sys.exit(0)
print(out.raw.hex())
"#;

/// What libsodium says; `Err` if there is none, or it refuses.
fn sodium(arguments: &[&str]) -> Result<Vec<u8>, Option<i32>> {
    let output = Command::new("python3").arg("-c").arg(SCRIPT).args(arguments).output();
    let output = output.map_err(|_| Some(77))?;
    match output.status.code() {
        Some(0) => Ok(hex::decode(String::from_utf8_lossy(&output.stdout).trim()).unwrap()),
        code => Err(code),
    }
}

#[test]
fn libsodium_opens_ours_and_we_open_its() {
    let secret = [42; 32];
    let keys = BotKeys::from_seeds(&[1; 32], &secret);
    let (public, secret) = (hex::encode(keys.sealing_key().as_bytes()), hex::encode(secret));
    if let Err(Some(77)) = sodium(&["seal", &public, ""]) {
        println!("skipped: this machine has no python3 with a libsodium to ask");
        return;
    }
    for length in [0usize, 1, 15, 16, 17, 64, 1_000, 20_000] {
        let text: Vec<u8> = (0..length).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let theirs = sodium(&["seal", &public, &hex::encode(&text)]).unwrap();
        assert_eq!(*open(&keys, &theirs).unwrap(), text, "{length}");
        let ours = seal(&keys.sealing_key(), &text, &[9; 32]).unwrap();
        assert_eq!(sodium(&["open", &public, &secret, &hex::encode(&ours)]), Ok(text), "{length}");
        let mut broken = ours;
        *broken.last_mut().unwrap() ^= 1;
        assert_eq!(sodium(&["open", &public, &secret, &hex::encode(&broken)]), Err(Some(1)), "{length}");
    }
}
