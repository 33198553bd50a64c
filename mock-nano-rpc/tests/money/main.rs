//! What the currency crate makes of nodes that lie, lag, hang and lose: proofs, quorum, the stream
//! of confirmations, work, and blocks of one's own.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

mod quorum;
mod stream;
mod wallet;
mod work;
