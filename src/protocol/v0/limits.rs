//! Every cap and time limit of /v0, each with its reason. Texts are measured in bytes here.

use std::time::Duration;

/// A whole request body: the largest sealed payload in base64, with room for its envelope.
pub const BODY_BYTES_MAX: usize = 131_072;
/// A sealed payload, decoded: what the deployed relays take.
pub const SEALED_BYTES_MAX: usize = 65_536;
/// An id that a client makes: the deployed relays know no limit, and a key of a store needs one.
pub const ID_BYTES_MAX: usize = 256;
/// A nonce or an idempotency key: made by clients too, and kept for up to a month.
pub const KEY_BYTES_MAX: usize = 256;
/// A note to the other party: a paragraph, as events carry it.
pub const NOTE_BYTES_MAX: usize = 4_096;
/// One field of payment evidence, or a charge's address: a hash or an account with room to spare.
pub const FIELD_BYTES_MAX: usize = 256;

/// An offer's title: one line.
pub const TITLE_BYTES_MAX: usize = 80;
/// An offer's description: half a page.
pub const DESCRIPTION_BYTES_MAX: usize = 800;
/// Tags on an offer: enough to be found by, and at least one.
pub const TAGS_MAX: usize = 8;
/// A tag: a word or two.
pub const TAG_BYTES_MAX: usize = 24;
/// What an offer says about its requests: a small schema.
pub const HINT_BYTES_MAX: usize = 4_096;
/// Digits of an amount: 2^128-1 has 39.
pub const AMOUNT_BYTES_MAX: usize = 40;
/// A bot's name: as a title, it stands in one line.
pub const NAME_BYTES_MAX: usize = 64;
/// What a search looks for: a sentence; it is in the cursor too.
pub const QUERY_BYTES_MAX: usize = 512;
/// Tags that a search asks for: as many as an offer can have, twice.
pub const QUERY_TAGS_MAX: usize = 16;
/// A cursor that comes back: the longest query, six bytes for each of its characters where JSON escapes
/// them all, with the place behind it, in base64.
pub const CURSOR_BYTES_MAX: usize = 8_192;

/// Entries of a page when the client names no number.
pub const PAGE: usize = 50;
/// Entries of a page at most: larger wishes get this many, as the deployed relays do.
pub const PAGE_MAX: usize = 200;

/// How far a signer's clock may be off: machines at home are rarely better kept.
pub const SKEW_MAX: Duration = Duration::from_secs(300);
/// How long a nonce is remembered: the whole window in which a signature is fresh.
pub const NONCE_TTL: Duration = Duration::from_secs(600);
/// How long an answer is kept for its idempotency key: clients repeat for up to 29 days.
pub const IDEMPOTENCY_TTL: Duration = DAY.saturating_mul(30);
/// How often a bot's last sign of life is written down: a write per request would be too many.
pub const SEEN_INTERVAL: Duration = Duration::from_secs(60);
/// How long an offer stands when the seller does not say.
pub const OFFER_TTL: Duration = DAY.saturating_mul(7);
/// How long an offer may stand: what nobody renews in a month is forgotten by its seller.
pub const OFFER_TTL_MAX: Duration = DAY.saturating_mul(30);
/// How long a job may take in all when the buyer does not say.
pub const JOB_TTL: Duration = DAY.saturating_mul(7);
/// How long a job may take in all: as long as payloads and events are kept.
pub const JOB_TTL_MAX: Duration = DAY.saturating_mul(30);
/// How long a charge may stand: not longer than any job.
pub const CHARGE_TTL_MAX: Duration = DAY.saturating_mul(30);
/// How far a payment may lie in the future: as far as clocks may be off.
pub const SENT_AHEAD_MAX: Duration = SKEW_MAX;
/// How much later than promised a paid job may be delivered.
pub const DELIVERY_GRACE: Duration = DAY.saturating_mul(7);

/// How long offers are kept after their making: nothing that ended is asked for longer.
pub const OFFER_RETENTION: Duration = DAY.saturating_mul(30);
/// How long jobs are kept after their end: as long as clients may repeat what they did to them.
pub const JOB_RETENTION: Duration = DAY.saturating_mul(30);
/// How long events are kept: a seller may be on holiday.
pub const EVENT_RETENTION: Duration = DAY.saturating_mul(30);
/// How long a payload is kept after it was last fetched: the client may have lost it again.
pub const PAYLOAD_FETCHED_RETENTION: Duration = DAY.saturating_mul(7);
/// How long a payload is kept in any case: as long as the event that tells of it.
pub const PAYLOAD_RETENTION: Duration = DAY.saturating_mul(30);

/// How often a silent wake stream is kept alive: below the idle limit of usual proxies.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long wakes are gathered before one is sent: a burst of events is one reason to poll.
pub const WAKE_INTERVAL: Duration = Duration::from_millis(500);

/// A day: the unit of most limits here.
const DAY: Duration = Duration::from_secs(86_400);
