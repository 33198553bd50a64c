//! The seller's daemon.

pub mod stage;

pub mod input;

pub mod machine;

pub mod payment;

pub mod lease;

pub mod terms;

pub mod memory;

pub mod wallet;

pub mod engine;
