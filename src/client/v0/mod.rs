//! Speaking /v0 to a relay: signed requests of a bot, paced so that no limit is met, and a stream of
//! wake-ups.
//!
//! Reading order: [`error`] how a call can end and what may follow, [`limit`] how often may be
//! asked, [`rest`] one signed request, [`calls`] a method per route, [`paging`] pages that are too long,
//! [`stream`] wake-ups.
//!
//! Architecture invariant: as in the folder above, nothing here decides about jobs or retries a
//! call. What is fetched is typed and bounded; whether it is true is for [`crate::protocol::v0`].

pub mod error;

pub mod limit;

pub mod rest;

pub mod calls;

pub mod paging;

pub mod stream;

mod frames;

pub use calls::{
    Delivered, JobsQuery, MarketOffer, MarketPage, OfferPage, OffersQuery, PayloadsQuery, PollQuery,
    Requested, Sent,
};
pub use error::{Class, Key};
pub use limit::{Rate, Rates};
pub use paging::{Events, Glimpse};
pub use rest::{BotClient, is_addressable};
