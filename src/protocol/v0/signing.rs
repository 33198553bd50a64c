//! Signed requests: the canonical text, its headers, and the checks in the order that clients see.

use sha2::{Digest as _, Sha256};

use super::limits::{KEY_BYTES_MAX, SKEW_MAX};
use super::{BotId, BotKeys, Moment, Refusal, SigningPublicKey};

/// Header with the caller's name.
pub const BOT_ID_HEADER: &str = "x-nbr-bot-id";
/// Header with the moment of signing, RFC 3339 ending in `Z`; here it need not be canonical.
pub const TIMESTAMP_HEADER: &str = "x-nbr-timestamp";
/// Header with a text that the caller uses once.
pub const NONCE_HEADER: &str = "x-nbr-nonce";
/// Header with the SHA-256 of the body, in lower-case hex.
pub const BODY_SHA256_HEADER: &str = "x-nbr-body-sha256";
/// Header with the signature, in base64url.
pub const SIGNATURE_HEADER: &str = "x-nbr-signature";
/// Header with the key under which a mutation happens once.
pub const IDEMPOTENCY_HEADER: &str = "x-idempotency-key";

/// The text that is signed: five lines without a final newline.
///
/// `target` is path and query exactly as they go on the wire.
#[must_use]
pub fn canonical(method: &str, target: &str, timestamp: &str, nonce: &str, body_sha256: &str) -> String {
    format!("{}\n{target}\n{timestamp}\n{nonce}\n{body_sha256}", method.to_ascii_uppercase())
}

/// The hash of a body, as the header says it; of no body it is that of the empty text.
#[must_use]
pub fn body_sha256(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// The five headers of a request, for a client to send.
#[must_use]
pub fn sign(
    keys: &BotKeys,
    method: &str,
    target: &str,
    body: &[u8],
    now: Moment,
    nonce: &str,
) -> [(&'static str, String); 5] {
    let (timestamp, hash) = (now.to_string(), body_sha256(body));
    let signature = keys.sign(&canonical(method, target, &timestamp, nonce, &hash));
    [
        (BOT_ID_HEADER, keys.bot_id().to_string()),
        (TIMESTAMP_HEADER, timestamp),
        (NONCE_HEADER, nonce.to_owned()),
        (BODY_SHA256_HEADER, hash),
        (SIGNATURE_HEADER, signature),
    ]
}

/// The values of the five headers, as far as they were sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// Of [`BOT_ID_HEADER`].
    pub bot_id: Option<&'a str>,
    /// Of [`TIMESTAMP_HEADER`].
    pub timestamp: Option<&'a str>,
    /// Of [`NONCE_HEADER`].
    pub nonce: Option<&'a str>,
    /// Of [`BODY_SHA256_HEADER`].
    pub body_sha256: Option<&'a str>,
    /// Of [`SIGNATURE_HEADER`].
    pub signature: Option<&'a str>,
}

/// A request that says who made it, and how that can be checked once the key is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// The caller's name as it was sent; any text.
    pub bot_id: String,
    /// What must not have been used before, by this caller.
    pub nonce: String,
    text: String,
    signature: String,
}

/// What a relay knows about the key of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It has never registered.
    No,
    /// It has left for good.
    Revoked(SigningPublicKey),
    /// Its key.
    Pinned(SigningPublicKey),
}

/// The checks that come before the caller's key is looked up: headers, hash, timestamp.
///
/// # Errors
/// The 401 that the caller is to see.
pub fn examine(
    method: &str,
    target: &str,
    body: &[u8],
    headers: Headers<'_>,
    now: Moment,
) -> Result<Presented, Refusal> {
    let Headers { bot_id, timestamp, nonce, body_sha256, signature } = headers;
    let sent = |value: Option<&'_ str>| {
        let value = value.filter(|value| !value.is_empty());
        value.map(str::to_owned).ok_or_else(|| Refusal::unauthorized("missing auth headers"))
    };
    let (bot_id, timestamp, nonce) = (sent(bot_id)?, sent(timestamp)?, sent(nonce)?);
    let (hash, signature) = (sent(body_sha256)?, sent(signature)?);
    if hash != self::body_sha256(body) {
        return Err(Refusal::unauthorized("body hash mismatch"));
    }
    ensure_fresh(&timestamp, now)?;
    if nonce.len() > KEY_BYTES_MAX {
        return Err(Refusal::unauthorized("nonce too long"));
    }
    let text = canonical(method, target, &timestamp, &nonce, &hash);
    Ok(Presented { bot_id, nonce, text, signature })
}

fn ensure_fresh(timestamp: &str, now: Moment) -> Result<(), Refusal> {
    let signed_at: Moment = timestamp
        .strip_suffix('Z')
        .and_then(|_| timestamp.parse().ok())
        .ok_or_else(|| Refusal::unauthorized("invalid timestamp"))?;
    if now.distance(signed_at) > SKEW_MAX {
        return Err(Refusal::unauthorized("stale timestamp"));
    }
    Ok(())
}

impl Presented {
    /// The caller's name, if it can be one at all.
    #[must_use]
    pub fn claimed(&self) -> Option<BotId> {
        self.bot_id.parse().ok()
    }

    /// The checks that need the key. Whoever has left for good may still say so again:
    /// `revoked_may` is for that one call.
    ///
    /// # Errors
    /// The 401 or 403 that the caller is to see.
    pub fn verify(&self, known: Known, revoked_may: bool) -> Result<BotId, Refusal> {
        let key = match known {
            Known::No => return Err(Refusal::unauthorized("unknown bot")),
            Known::Revoked(_) if !revoked_may => return Err(Refusal::forbidden("bot revoked")),
            Known::Revoked(key) | Known::Pinned(key) => key,
        };
        if !key.verifies(&self.text, &self.signature) {
            return Err(Refusal::unauthorized("invalid signature"));
        }
        Ok(BotId::of(&key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::refusal::Code;
    use super::*;

    const BODY: &str = r#"{"title":"Nano summary","description":"Summarize a Nano paper","tags":["nano","summary"],"price_raw":"1000000","turnaround_seconds":3600}"#;
    const HASH: &str = "fc844884179db4a05b58f6b8b993c5b12c37b84a52273ab2cc4039d31df1e93d";
    const AT: &str = "2026-02-01T12:00:00Z";
    const NONCE: &str = "5f9d2c7b1a4e";

    fn known() -> BotKeys {
        let seed = std::array::from_fn(|index| u8::try_from(index).unwrap());
        BotKeys::from_seeds(&seed, &seed)
    }

    fn check(headers: Headers<'_>, now: &str, known: Known) -> Result<BotId, Refusal> {
        let presented = examine("post", "/v0/offers", BODY.as_bytes(), headers, now.parse().unwrap())?;
        presented.verify(known, false)
    }

    #[test]
    fn the_known_request() {
        assert_eq!(body_sha256(BODY.as_bytes()), HASH);
        let text = canonical("POST", "/v0/offers", AT, NONCE, HASH);
        assert_eq!(text, format!("POST\n/v0/offers\n{AT}\n{NONCE}\n{HASH}"));
        let headers = sign(&known(), "POST", "/v0/offers", BODY.as_bytes(), AT.parse().unwrap(), NONCE);
        assert_eq!(
            headers.map(|(_, value)| value),
            [
                "bkzdvvj2umnduyauf35o36k6kw462mujvra46tn3uqgzovmihocga",
                AT,
                NONCE,
                HASH,
                "EKJz8bu0Z7a53oIpw9GloZHxJVK9Mvd5LTHbtrzDNIRdLMu0SAi3rdx3yHJpd6nUuIV8AYOF7aOB5CaJ_IaFDg",
            ]
        );
    }

    #[test]
    fn the_first_check_that_fails_is_the_one_that_is_told() {
        let keys = known();
        let (id, pinned) = (keys.bot_id().to_string(), Known::Pinned(keys.signing_key()));
        let signed = |at: &str| keys.sign(&canonical("POST", "/v0/offers", at, NONCE, HASH));
        let good = signed(AT);
        let headers = Headers {
            bot_id: Some(&id),
            timestamp: Some(AT),
            nonce: Some(NONCE),
            body_sha256: Some(HASH),
            signature: Some(&good),
        };
        let tell = |headers, now, known| {
            let refusal = check(headers, now, known).unwrap_err();
            (refusal.code.status(), refusal.message.into_owned())
        };
        let refused = |status: u16, message: &str| (status, message.to_owned());

        assert_eq!(check(headers, AT, pinned), Ok(keys.bot_id()));
        assert_eq!(
            tell(Headers { nonce: Some(""), timestamp: Some("x"), ..headers }, AT, pinned),
            refused(401, "missing auth headers")
        );
        let upper = HASH.to_uppercase();
        assert_eq!(
            tell(Headers { body_sha256: Some(&upper), timestamp: Some("x"), ..headers }, AT, pinned),
            refused(401, "body hash mismatch")
        );
        for timestamp in ["1769947200", "2026-02-01T12:00:00+00:00", "2026-02-01 12:00Z", "Z"] {
            assert_eq!(
                tell(Headers { timestamp: Some(timestamp), ..headers }, AT, Known::No),
                refused(401, "invalid timestamp")
            );
        }
        assert_eq!(
            tell(headers, "2026-02-01T12:05:00.000000001Z", Known::No),
            refused(401, "stale timestamp")
        );
        assert_eq!(tell(headers, "2026-02-01T11:54:59Z", pinned), refused(401, "stale timestamp"));
        assert_eq!(tell(headers, AT, Known::No), refused(401, "unknown bot"));
        let bad = Headers { signature: Some("AAAA"), ..headers };
        assert_eq!(tell(bad, AT, Known::Revoked(keys.signing_key())), refused(403, "bot revoked"));
        assert_eq!(tell(bad, AT, pinned), refused(401, "invalid signature"));
        let other = Headers { nonce: Some("other"), ..headers };
        assert_eq!(tell(other, AT, pinned), refused(401, "invalid signature"));
    }

    #[test]
    fn both_ends_of_the_window_are_inside_and_the_header_need_not_be_canonical() {
        let keys = known();
        let id = keys.bot_id().to_string();
        for (at, now) in
            [(AT, "2026-02-01T12:05:00Z"), (AT, "2026-02-01T11:55:00Z"), ("2026-02-01T12:00:43.340Z", AT)]
        {
            let signature = keys.sign(&canonical("POST", "/v0/offers", at, NONCE, HASH));
            let headers = Headers {
                bot_id: Some(&id),
                timestamp: Some(at),
                nonce: Some(NONCE),
                body_sha256: Some(HASH),
                signature: Some(&signature),
            };
            assert!(check(headers, now, Known::Pinned(keys.signing_key())).is_ok(), "{at} at {now}");
        }
    }

    #[test]
    fn who_left_may_still_say_so() {
        let keys = known();
        let now = AT.parse().unwrap();
        let headers = sign(&keys, "POST", "/x", b"", now, NONCE);
        let [bot_id, timestamp, nonce, body_sha256, signature] =
            headers.each_ref().map(|(_, value)| Some(value.as_str()));
        let headers = Headers { bot_id, timestamp, nonce, body_sha256, signature };
        let presented = examine("POST", "/x", b"", headers, now).unwrap();
        let known = Known::Revoked(keys.signing_key());
        assert_eq!(presented.verify(known, true), Ok(keys.bot_id()));
        assert_eq!(presented.verify(known, false).unwrap_err().code, Code::Forbidden);
    }

    #[test]
    fn a_nonce_is_any_text_that_is_not_too_long() {
        for (bytes, expected) in
            [(1, Ok(())), (256, Ok(())), (257, Err("nonce too long")), (300, Err("nonce too long"))]
        {
            let (keys, nonce, now) = (known(), "n".repeat(bytes), AT.parse().unwrap());
            let headers = sign(&keys, "GET", "/x", b"", now, &nonce);
            let [bot_id, timestamp, nonce, body_sha256, signature] =
                headers.each_ref().map(|(_, value)| Some(value.as_str()));
            let headers = Headers { bot_id, timestamp, nonce, body_sha256, signature };
            let told = examine("GET", "/x", b"", headers, now);
            assert_eq!(told.map(drop), expected.map_err(Refusal::unauthorized), "{bytes} bytes");
        }
    }

    #[test]
    fn a_request_presents_the_name_and_the_nonce_that_were_sent() {
        let (keys, now) = (known(), AT.parse().unwrap());
        let headers = sign(&keys, "GET", "/x", b"", now, NONCE);
        let names = headers.each_ref().map(|(name, _)| *name);
        assert_eq!(
            names,
            ["x-nbr-bot-id", "x-nbr-timestamp", "x-nbr-nonce", "x-nbr-body-sha256", "x-nbr-signature"]
        );
        let [_, timestamp, nonce, body_sha256, signature] =
            headers.each_ref().map(|(_, value)| Some(value.as_str()));
        let id = keys.bot_id();
        for (sent, claimed) in [(id.to_string(), Some(id)), (id.to_string().to_uppercase(), None)] {
            let headers = Headers { bot_id: Some(&sent), timestamp, nonce, body_sha256, signature };
            let presented = examine("GET", "/x", b"", headers, now).unwrap();
            assert_eq!((presented.bot_id.as_str(), presented.nonce.as_str()), (sent.as_str(), NONCE));
            assert_eq!(presented.claimed(), claimed);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(a: String, b: String, c: String, body: Vec<u8>, key: [u8; 32]) {
            let hash = body_sha256(&body);
            let headers = Headers {
                bot_id: Some(&a),
                timestamp: Some(&b),
                nonce: Some(&c),
                body_sha256: Some(&hash),
                signature: Some(&a),
            };
            let now = Moment::from_nanos(0);
            let _ = examine(&a, &b, &body, headers, now);
            let loose = Headers { timestamp: Some("1970-01-01T00:00:00Z"), ..headers };
            if let Ok(presented) = examine(&a, &b, &body, loose, now) {
                let _ = presented.claimed();
                let known = Known::Pinned(SigningPublicKey::from_bytes(key));
                prop_assert!(presented.verify(known, true).is_err());
            }
        }
    }
}
