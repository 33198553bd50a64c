//! The seller's daemon.
