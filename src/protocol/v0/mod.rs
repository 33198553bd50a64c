//! The dialect of the deployed relays: registered bots, signed charges, sealed payloads, poll and
//! acknowledgement. The same kind of types and decisions as for /v1, under the same rules.
//!
//! Architecture invariant: as in the folder above, no I/O, no clock and no randomness. Nonces, names
//! and the secrets of sealed boxes are arguments, too.

pub mod lifecycle;

pub mod job;

pub mod request;

pub mod apply;

pub mod offer;

pub mod search;

pub mod charge;

pub mod payload;

pub mod sealing;

pub mod bot;

pub mod event;

pub mod poll;

pub mod lists;

pub mod refusal;

pub mod signing;

pub mod identity;

pub mod ids;

pub mod moment;

pub mod limits;

pub use apply::{Caller, Change, Command, apply, lapse};
pub use bot::{Bot, Registration};
pub use charge::Charge;
pub use event::{Event, News, Notice};
pub use identity::{BotId, BotKeys, SealingPublicKey, SigningPublicKey};
pub use ids::{ChargeId, JobId, OfferId, PayloadId};
pub use job::{Docket, Evidence, Job};
pub use lifecycle::{Actor, Status, Verb};
pub use moment::Moment;
pub use offer::{Listing, Offer, OfferCommand, OfferDraft, OfferStatus};
pub use payload::{Payload, Sealed};
pub use poll::EventPage;
pub use refusal::Refusal;
pub use request::JobDraft;
