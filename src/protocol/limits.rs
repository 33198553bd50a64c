//! Every cap and time limit of the contract, each with its reason.

use std::time::Duration;

/// A request payload in bytes of JSON: a job's order is text, not a file.
pub const REQUEST_PAYLOAD_BYTES_MAX: usize = 65_536;
/// A result in bytes of JSON: several pages; larger results go by `result_url`.
pub const RESULT_PAYLOAD_BYTES_MAX: usize = 262_144;
/// An error in bytes of JSON: a message and some details.
pub const ERROR_BYTES_MAX: usize = 8_192;
/// A whole request body: the largest payload with room for its envelope.
pub const BODY_BYTES_MAX: usize = 307_200;
/// Nesting of JSON: deeper is an attack on a parser's stack, not an order.
pub const JSON_DEPTH_MAX: usize = 64;

/// Characters of an offer's title: one line.
pub const TITLE_CHARS_MAX: usize = 120;
/// Characters of an offer's description: a page.
pub const DESCRIPTION_CHARS_MAX: usize = 2_000;
/// Tags on an offer: enough to be found by.
pub const TAGS_MAX: usize = 16;
/// Characters of a tag: a word or two.
pub const TAG_CHARS_MAX: usize = 32;
/// Digits of an amount on the wire; 2^128-1 has 39.
pub const AMOUNT_CHARS_MAX: usize = 40;
/// Characters of an invoice address; a Nano address has 65.
pub const INVOICE_CHARS_MAX: usize = 128;
/// Characters of a payment hash; a Nano block's has 64.
pub const PAYMENT_HASH_CHARS_MAX: usize = 128;
/// Characters of a lock holder's name: a UUID fits.
pub const HOLDER_CHARS_MAX: usize = 64;
/// Characters of a reason to cancel or refuse: a sentence or two.
pub const REASON_CHARS_MAX: usize = 200;
/// Characters of a link to a result: what browsers and proxies take.
pub const RESULT_URL_CHARS_MAX: usize = 2_048;
/// Characters of an idempotency key: a UUID with a prefix fits.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 128;
/// Characters of a request id that a client sends: a UUID fits.
pub const REQUEST_ID_CHARS_MAX: usize = 64;

/// Jobs in one page: a page of the largest ones still fits a client's memory.
pub const JOBS_PER_PAGE_MAX: usize = 100;
/// Jobs in a page when the client names no number.
pub const JOBS_PER_PAGE: usize = 50;
/// Offers in one page.
pub const OFFERS_PER_PAGE_MAX: usize = 100;
/// Offers in a page when the client names no number.
pub const OFFERS_PER_PAGE: usize = 20;
/// Events in one page.
pub const EVENTS_PER_PAGE_MAX: usize = 200;
/// Events in a page when the client names no number.
pub const EVENTS_PER_PAGE: usize = 50;

/// How far a signer's clock may be off: network time plus a slow machine.
pub const SKEW_MAX: Duration = Duration::from_secs(60);
/// How long a nonce is remembered: many times the skew, so that a replay is always seen.
pub const NONCE_TTL: Duration = Duration::from_secs(600);
/// How long an answer is kept for its idempotency key: a client may be away for a day.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(86_400);
/// How long a quote stands when the seller does not say.
pub const QUOTE_TTL: Duration = Duration::from_secs(900);
/// How long a quote may stand at most: prices move.
pub const QUOTE_TTL_MAX: Duration = Duration::from_secs(3_600);
/// How long an accepted job waits for its payment hash.
pub const ACCEPT_TTL: Duration = Duration::from_secs(1_800);
/// How long a lock lives when its holder does not say.
pub const LOCK_TTL: Duration = Duration::from_secs(300);
/// The shortest lock that can be renewed over a slow network.
pub const LOCK_TTL_MIN: Duration = Duration::from_secs(10);
/// The longest lock: after this a dead holder's job is free again.
pub const LOCK_TTL_MAX: Duration = Duration::from_secs(600);
/// How long a WebSocket client may take to answer the challenge.
pub const WS_CHALLENGE_TTL: Duration = Duration::from_secs(30);
/// How long events are kept: a seller may be on holiday.
pub const EVENT_RETENTION: Duration = Duration::from_secs(2_592_000);
/// How often expired jobs are looked for.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often the server pings a WebSocket, and comments an event stream.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a WebSocket client may be silent: three pings.
pub const WS_SILENCE_MAX: Duration = Duration::from_secs(60);
