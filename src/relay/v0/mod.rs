//! The dialect of the deployed relays, on the same core: one event log, one store of answers, one
//! limiter, one storage.
//!
//! A bot is a party like any other. Where the core asks for a party it gets the 32 bytes of the bot's
//! name, which are a hash and therefore no /v1 key.

pub mod model;

pub(super) mod service;
