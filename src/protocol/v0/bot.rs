//! Bots: what everybody sees of one, and how it makes itself known.

use serde::{Deserialize, Serialize};

use super::limits::{NAME_BYTES_MAX, SEEN_INTERVAL};
use super::{BotId, BotKeys, Moment, Refusal, SealingPublicKey, SigningPublicKey};

/// A bot, as everybody sees it. Its keys are pinned for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bot {
    /// Its name, which follows from its signing key.
    pub bot_id: BotId,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot_name: Option<String>,
    /// What its signatures are checked with.
    pub signing_pubkey_ed25519: SigningPublicKey,
    /// What its payloads are sealed for.
    pub encryption_pubkey_x25519: SealingPublicKey,
    /// The signing key's short name.
    pub signing_kid: String,
    /// The sealing key's short name.
    pub encryption_kid: String,
    /// When it registered.
    pub created_at: Moment,
    /// When it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Moment>,
    /// Whether it has left for good.
    pub revoked: bool,
    /// When it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Moment>,
}

/// How a bot makes itself known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Registration {
    /// A [`SigningPublicKey`].
    pub signing_pubkey_ed25519: String,
    /// A [`SealingPublicKey`].
    pub encryption_pubkey_x25519: String,
    /// The signing key's short name.
    pub signing_kid: String,
    /// The sealing key's short name.
    pub encryption_kid: String,
}

impl Registration {
    /// That of these keys.
    #[must_use]
    pub fn of(keys: &BotKeys) -> Self {
        let (signing, sealing) = (keys.signing_key(), keys.sealing_key());
        Self {
            signing_pubkey_ed25519: signing.to_string(),
            encryption_pubkey_x25519: sealing.to_string(),
            signing_kid: signing.kid(),
            encryption_kid: sealing.kid(),
        }
    }

    /// The key that the request itself must be signed with.
    ///
    /// # Errors
    /// The 400 that the bot is to see.
    pub fn signing_key(&self) -> Result<SigningPublicKey, Refusal> {
        let Self { signing_pubkey_ed25519, encryption_pubkey_x25519, signing_kid, encryption_kid } = self;
        let fields = [signing_pubkey_ed25519, encryption_pubkey_x25519, signing_kid, encryption_kid];
        if fields.iter().any(|field| field.is_empty()) {
            return Err(Refusal::invalid("missing fields"));
        }
        signing_pubkey_ed25519.parse().map_err(|_| Refusal::invalid("invalid signing key"))
    }

    /// The bot that it makes, if everything in it fits together. `claimed` is the name in the
    /// request's header.
    ///
    /// # Errors
    /// The 400 that the bot is to see.
    pub fn bot(&self, claimed: &str, now: Moment) -> Result<Bot, Refusal> {
        let signing = self.signing_key()?;
        let sealing: SealingPublicKey =
            self.encryption_pubkey_x25519.parse().map_err(|_| Refusal::invalid("invalid encryption key"))?;
        if self.signing_kid != signing.kid() {
            return Err(Refusal::invalid("signing_kid mismatch"));
        }
        if self.encryption_kid != sealing.kid() {
            return Err(Refusal::invalid("encryption_kid mismatch"));
        }
        let bot_id = BotId::of(&signing);
        if claimed != bot_id.to_string() {
            return Err(Refusal::invalid("bot_id mismatch"));
        }
        Ok(Bot {
            bot_id,
            bot_name: None,
            signing_pubkey_ed25519: signing,
            encryption_pubkey_x25519: sealing,
            signing_kid: signing.kid(),
            encryption_kid: sealing.kid(),
            created_at: now,
            last_seen_at: Some(now),
            revoked: false,
            revoked_at: None,
        })
    }
}

impl Bot {
    /// Registers again: the same keys change nothing, others are refused for ever.
    ///
    /// # Errors
    /// The 409 that the bot is to see.
    pub fn again(&self, other: &Self) -> Result<(), Refusal> {
        let same = self.signing_pubkey_ed25519 == other.signing_pubkey_ed25519
            && self.encryption_pubkey_x25519 == other.encryption_pubkey_x25519;
        if same { Ok(()) } else { Err(Refusal::conflict("bot_id already pinned")) }
    }

    /// With another name; an empty one takes the name away.
    ///
    /// # Errors
    /// The 400 that the bot is to see.
    pub fn named(&self, name: &str) -> Result<Self, Refusal> {
        let name = name.trim();
        if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(Refusal::invalid("invalid bot_name"));
        }
        let bot_name = (!name.is_empty()).then(|| name.to_owned());
        Ok(Self { bot_name, ..self.clone() })
    }

    /// With a sign of life at `now`, if it is time to write one down.
    #[must_use]
    pub fn seen(&self, now: Moment) -> Option<Self> {
        let due = self.last_seen_at.is_none_or(|seen| now >= seen.plus(SEEN_INTERVAL));
        due.then(|| Self { last_seen_at: Some(now), ..self.clone() })
    }

    /// As one that has left for good at `now`, or did so before.
    #[must_use]
    pub fn left(&self, now: Moment) -> Self {
        Self { revoked: true, revoked_at: self.revoked_at.or(Some(now)), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-02-01T12:00:00Z";

    fn now() -> Moment {
        AT.parse().unwrap()
    }

    fn keys() -> BotKeys {
        let seed = std::array::from_fn(|index| u8::try_from(index).unwrap());
        BotKeys::from_seeds(&seed, &seed)
    }

    fn bot() -> Bot {
        Registration::of(&keys()).bot(&keys().bot_id().to_string(), now()).unwrap()
    }

    #[test]
    fn the_wire_shape_is_pinned() {
        assert_eq!(
            serde_json::to_string(&bot()).unwrap(),
            concat!(
                r#"{"bot_id":"bkzdvvj2umnduyauf35o36k6kw462mujvra46tn3uqgzovmihocga","#,
                r#""signing_pubkey_ed25519":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg","#,
                r#""encryption_pubkey_x25519":"j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8","#,
                r#""signing_kid":"bkzdvvj2umnduyauf35o36k6kw4","encryption_kid":"b53oyqpnavfcrle64bi4ola73o4","#,
                r#""created_at":"2026-02-01T12:00:00Z","last_seen_at":"2026-02-01T12:00:00Z","revoked":false}"#
            )
        );
    }

    #[test]
    fn every_fault_has_its_message() {
        let told = |change: fn(&mut Registration), claimed: &str| {
            let mut registration = Registration::of(&keys());
            change(&mut registration);
            registration.bot(claimed, now()).unwrap_err().message.into_owned()
        };
        let id = keys().bot_id().to_string();
        assert_eq!(told(|r| r.encryption_kid.clear(), &id), "missing fields");
        assert_eq!(told(|r| r.signing_pubkey_ed25519.truncate(9), &id), "invalid signing key");
        assert_eq!(told(|r| r.encryption_pubkey_x25519.push('!'), &id), "invalid encryption key");
        assert_eq!(told(|r| r.signing_kid.push('a'), &id), "signing_kid mismatch");
        assert_eq!(told(|r| r.encryption_kid.push('a'), &id), "encryption_kid mismatch");
        assert_eq!(told(|_| (), "b"), "bot_id mismatch");
    }

    #[test]
    fn keys_are_pinned() {
        let other = BotKeys::from_seeds(&[0; 32], &[1; 32]);
        let other = Bot { encryption_pubkey_x25519: other.sealing_key(), ..bot() };
        assert!(bot().again(&bot()).is_ok());
        assert_eq!(bot().again(&other).unwrap_err(), Refusal::conflict("bot_id already pinned"));
    }

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(bot().named("  Ada ").unwrap().bot_name.as_deref(), Some("Ada"));
        assert_eq!(bot().named(" ").unwrap().bot_name, None);
        assert!(bot().named(&"é".repeat(32)).is_ok());
        for name in ["é".repeat(33), "a\u{7}b".to_owned()] {
            assert_eq!(bot().named(&name).unwrap_err().code.status(), 400);
        }
    }

    #[test]
    fn a_sign_of_life_is_written_once_a_minute_and_never_back() {
        let at = |text: &str| text.parse::<Moment>().unwrap();
        assert!(bot().seen(at("2026-02-01T12:00:59Z")).is_none());
        assert!(bot().seen(at("2026-02-01T11:00:00Z")).is_none());
        let seen = bot().seen(at("2026-02-01T12:01:00Z")).unwrap();
        assert_eq!(seen.last_seen_at, Some(at("2026-02-01T12:01:00Z")));
        let left = bot().left(now());
        assert_eq!(left.left(at("2027-01-01T00:00:00Z")), left);
    }

    #[test]
    fn who_leaves_is_revoked_from_that_moment_on() {
        let left = bot().left(now());
        assert!(!bot().revoked && left.revoked);
        assert_eq!((bot().revoked_at, left.revoked_at), (None, Some(now())));
        assert_eq!(Bot { revoked: false, revoked_at: None, ..left }, bot());
    }

    #[test]
    fn another_signing_key_is_another_bot() {
        let other = BotKeys::from_seeds(&[0; 32], &[1; 32]);
        let other = Bot { signing_pubkey_ed25519: other.signing_key(), ..bot() };
        assert_eq!(bot().again(&other).unwrap_err(), Refusal::conflict("bot_id already pinned"));
    }
}
