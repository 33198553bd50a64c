//! What only a relay of /v0 needs to be told, and to be spoken to with.

use std::time::Duration;

use zeroize::Zeroizing;

use super::Resolver;
use super::raw::RawResults;
use crate::client::v0::Rates;
use crate::config::{Field, Secret};
use crate::protocol::offer::OfferTerms;
use crate::protocol::signing::{SecretKeyError, Signer};
use crate::protocol::v0::identity::decode_base64;
use crate::protocol::v0::{BotId, BotKeys, Moment, OfferDraft, OfferId};
use crate::worker::v0::Links;

/// The longest that a charge may stand: a day, as the contract of /v0 has it.
pub(super) const CHARGE_TTL_MAX: Duration = Duration::from_secs(86_400);

/// How soon after the payment a result is promised unless the offer says so: an hour.
const TURNAROUND_SECONDS: u64 = 3_600;

/// The longest promise: the month that a relay keeps a job.
const TURNAROUND_SECONDS_MAX: u64 = 2_592_000;

/// How the relay is spoken to.
#[derive(Debug, Clone)]
pub enum Dialect {
    /// As our own relays speak.
    V1,
    /// As the deployed relays speak.
    V0(Box<BazaarSettings>),
}

/// Who a bot is, and how often its relay may be asked.
#[derive(Debug, Clone)]
pub struct BazaarSettings {
    /// Its two keys.
    pub keys: BotKeys,
    /// What the relay allows.
    pub rates: Rates,
    /// Where long results go; without it they are split.
    pub links: Option<Links>,
}

/// What is written about the dialect.
pub(super) struct Spoken {
    pub(super) name: Option<Field<String>>,
    pub(super) sealing: Option<Field<String>>,
    pub(super) pace: Option<Field<String>>,
}

/// What an offer of /v0 says beyond the others.
pub(super) struct Promise {
    turnaround_seconds: Option<Field<u64>>,
    hint: Option<Field<String>>,
}

impl Promise {
    pub(super) fn of(turnaround_seconds: Option<Field<u64>>, hint: Option<Field<String>>) -> Self {
        Self { turnaround_seconds, hint }
    }
}

/// A key is 64 hex digits, or base64url as the deployed client writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a private key is 64 hex digits, or 32 bytes in base64url")]
pub struct KeyShape;

/// A bot from the texts of its two secrets.
///
/// # Errors
/// If one is no key.
pub fn bot_keys(signing: &str, sealing: &str) -> Result<BotKeys, KeyShape> {
    Ok(BotKeys::from_seeds(&*seed_of(signing)?, &*seed_of(sealing)?))
}

impl Resolver<'_> {
    /// The key that signs, and its secret half for /v0.
    pub(super) fn signing(&mut self, field: Option<Field<String>>) -> Option<(Signer, Zeroizing<[u8; 32]>)> {
        let secret = self.secret("relay.key", "SELLER_PRIVKEY", field, "key = \"file:seller.key\"", None)?;
        let signed = match seed_of(secret.expose()) {
            // What is no key at all is explained as it always was.
            Err(KeyShape) => Signer::parse(secret.expose()).and(Err(SecretKeyError::Shape)),
            Ok(seed) => hex_or_base64(secret.expose(), &seed).map(|signer| (signer, seed)),
        };
        self.problems.check("relay.key", signed)
    }

    pub(super) fn dialect(
        &mut self,
        signing: Option<&[u8; 32]>,
        Spoken { name, sealing, pace }: Spoken,
        links: Option<Links>,
    ) -> Option<Dialect> {
        let name = match self.env.get("RELAY_DIALECT") {
            Some(name) => name,
            None => match name {
                None => "v1".to_owned(),
                some => self.problems.take("relay.dialect", some)?,
            },
        };
        let rates = self.pace(pace);
        match name.as_str() {
            "v1" => {
                if sealing.is_some() {
                    self.problems.add("relay.sealing_key", "is a bot's; it needs dialect = \"v0\"");
                }
                Some(Dialect::V1)
            }
            "v0" => {
                let hint = "sealing_key = \"file:sealing.key\"";
                let secret = self.secret("relay.sealing_key", "SELLER_SEALING_PRIVKEY", sealing, hint, None);
                let sealing = secret.and_then(|secret| self.sealing(&secret));
                let keys = BotKeys::from_seeds(signing?, &*sealing?);
                Some(Dialect::V0(Box::new(BazaarSettings { keys, rates: rates?, links })))
            }
            _ => {
                self.problems.add("relay.dialect", "must be \"v1\" or \"v0\"");
                None
            }
        }
    }

    /// Both or neither: a file that nobody serves is no result.
    pub(super) fn links(&mut self, raw: RawResults) -> Option<Links> {
        if raw.dir.is_none() && raw.url.is_none() {
            return None;
        }
        let dir = self.problems.require("results.dir", raw.dir, "dir = \"/srv/www/results\"");
        let url = self.problems.require("results.url", raw.url, "url = \"https://example.org/results\"");
        let url = self.http_url("results.url", url?)?;
        Some(Links { dir: self.base.join(dir?), url })
    }

    fn sealing(&mut self, secret: &Secret) -> Option<Zeroizing<[u8; 32]>> {
        self.problems.check("relay.sealing_key", seed_of(secret.expose()))
    }

    fn pace(&mut self, pace: Option<Field<String>>) -> Option<Rates> {
        if pace.is_none() {
            return Some(Rates::DEPLOYED);
        }
        match self.problems.take("relay.pace", pace)?.as_str() {
            "deployed" => Some(Rates::DEPLOYED),
            "unlimited" => Some(Rates::UNLIMITED),
            _ => {
                self.problems.add("relay.pace", "must be \"deployed\" or \"unlimited\"");
                None
            }
        }
    }

    /// What a relay of /v0 is told of an offer. Its rules are stricter, and are checked here and not
    /// at the start.
    pub(super) fn draft(
        &mut self,
        path: &str,
        public: &OfferTerms,
        promise: Promise,
        in_v0: bool,
    ) -> Option<OfferDraft> {
        let at = |name: &str| format!("{path}.{name}");
        let turnaround = self.problems.number(
            &at("turnaround_seconds"),
            promise.turnaround_seconds,
            TURNAROUND_SECONDS,
            1..=TURNAROUND_SECONDS_MAX,
        );
        let hint = self.problems.take(&at("request_hint"), promise.hint);
        if !in_v0 {
            return None;
        }
        let Some(price_raw) = public.fixed_price_raw.clone() else {
            self.problems.add(at("pricing_mode"), "in /v0 an offer has its price: it must be \"fixed\"");
            return None;
        };
        let draft = OfferDraft {
            title: public.title.clone(),
            description: public.description.clone(),
            tags: public.tags.clone(),
            price_raw,
            turnaround_seconds: i64::try_from(turnaround).unwrap_or(i64::MAX),
            expires_at: None,
            request_schema_hint: hint,
        };
        // The same rules as the relay's; who and when does not matter for them.
        let made = draft.offer(OfferId::default(), BotId::from_bytes([0; 32]), Moment::from_nanos(0));
        self.problems.check(path, made)?;
        Some(draft)
    }
}

fn hex_or_base64(text: &str, seed: &[u8; 32]) -> Result<Signer, SecretKeyError> {
    if hex::decode(text.trim()).is_ok() { Signer::parse(text) } else { Ok(Signer::from_seed(seed)) }
}

/// The 32 secret bytes of a key; its public half may follow them in hex.
fn seed_of(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyShape> {
    let text = text.trim();
    let bytes = match hex::decode(text) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(_) => Zeroizing::new(decode_base64(text).ok_or(KeyShape)?),
    };
    let seed = match bytes.len() {
        32 | 64 => bytes.get(..32),
        _ => None,
    };
    seed.and_then(|seed| seed.try_into().ok()).map(Zeroizing::new).ok_or(KeyShape)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SECRET, WHOLE, check_text, read};
    use super::*;

    const SEALING: (&str, &str) = ("SELLER_SEALING_PRIVKEY", SECRET);

    /// The whole configuration, with more about the relay and the offer.
    fn written(relay: &str, offer: &str, rest: &str) -> String {
        let text = WHOLE.replace("key = \"env:KEY\"", &format!("key = \"env:KEY\"\n{relay}"));
        let more = format!("price_xno = \"0.001\"\n{offer}");
        format!("{}{rest}", text.replace("price_xno = \"0.001\"", &more))
    }

    const GOOD: (&str, &str) = ("dialect = \"v0\"", "description = \"Counts.\"\ntags = [\"text\"]");

    fn settings(relay: &str, rest: &str) -> BazaarSettings {
        match read(&written(relay, GOOD.1, rest), &[SEALING]).unwrap().dialect {
            Dialect::V0(bot) => *bot,
            Dialect::V1 => panic!("v1"),
        }
    }

    #[test]
    fn a_bot_has_two_keys_and_the_deployed_pace() {
        let bot = settings(GOOD.0, "");
        assert_eq!((bot.rates, &bot.links), (Rates::DEPLOYED, &None));
        assert_eq!(bot.keys.bot_id(), bot_keys(SECRET, SECRET).unwrap().bot_id());
        assert_eq!(settings("dialect = \"v0\"\npace = \"unlimited\"", "").rates, Rates::UNLIMITED);
        // As the deployed client writes it.
        let base64 = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s";
        assert_eq!(bot_keys(base64, SECRET).unwrap().bot_id(), bot.keys.bot_id());
        assert_eq!(bot_keys(&base64[1..], SECRET).unwrap_err(), KeyShape);
        let links = settings(GOOD.0, "[results]\ndir = \"served\"\nurl = \"https://example.org/r\"").links;
        assert_eq!(links.unwrap().dir, std::path::Path::new("/etc/worker/served"));
        assert!(matches!(read(WHOLE, &[]).unwrap().dialect, Dialect::V1));
        let named = [SEALING, ("RELAY_DIALECT", "v0")];
        assert!(matches!(read(&written("", GOOD.1, ""), &named).unwrap().dialect, Dialect::V0(_)));
    }

    #[test]
    fn what_a_bot_lacks_is_named() {
        for (relay, path) in [
            ("dialect = \"v2\"", "relay.dialect"),
            ("dialect = \"v0\"\npace = \"fast\"", "relay.pace"),
            ("dialect = \"v1\"\nsealing_key = \"env:KEY\"", "relay.sealing_key"),
        ] {
            check_text(&written(relay, GOOD.1, ""), &[SEALING], path);
        }
        check_text(&written(GOOD.0, GOOD.1, ""), &[], "relay.sealing_key");
        check_text(
            &written(GOOD.0, GOOD.1, ""),
            &[("SELLER_SEALING_PRIVKEY", "no key")],
            "relay.sealing_key",
        );
        for offer in [
            "",
            "description = \"Counts.\"\ntags = [\"text\"]\npricing_mode = \"quote\"",
            "description = \"Counts.\"\ntags = [\"text\"]\nturnaround_seconds = 0",
        ] {
            assert!(read(&written(GOOD.0, offer, ""), &[SEALING]).is_err(), "{offer}");
        }
        check_text(&written(GOOD.0, GOOD.1, "[results]\ndir = \"served\""), &[SEALING], "results.url");
        let url = "[results]\ndir = \"served\"\nurl = \"ftp://x\"";
        check_text(&written(GOOD.0, GOOD.1, url), &[SEALING], "results.url");
    }
}
