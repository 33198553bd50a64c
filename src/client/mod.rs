//! Speaking to a relay: signed REST, the WebSocket of hints, and how to wait between tries.
//!
//! Reading order: [`error`] how a call can end, [`rest`] one signed request and its bounds,
//! [`calls`] a method per route, [`socket`] hints, [`pace`] delays, [`wire`] what stands in for sockets;
//! [`v0`] the same for the dialect of the deployed relays.
//!
//! Architecture invariant: nothing here decides about jobs, and nothing here retries a call by
//! itself: whoever asked knows whether asking again is right.

pub mod error;

pub mod rest;

pub mod calls;

pub mod socket;

pub mod pace;

pub mod wire;

pub mod download;

pub mod v0;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

pub use calls::{EventsQuery, Health, JobPage, JobsQuery, LockRequest, OfferPage, OffersQuery};
pub use error::{CallError, Head, Refused};
pub use pace::Pace;
pub use rest::{RelayClient, RelayUrlError};
pub use socket::Hint;
pub use wire::Wire;
