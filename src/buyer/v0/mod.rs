//! Buying over /v0: the same journal, the same payments, another way to agree on them.
//!
//! Reading order: [`deal`] what is remembered of such a purchase, [`judge`] whether a charge may be
//! paid and what comes next, both pure; [`fault`] how it can stop; then what acts: [`news`] the
//! events and the letters in them, [`trade`] the steps, [`round`] all of them in one go; [`link`] a result
//! that is elsewhere.
//!
//! Architecture invariant: as for /v1, a block is durable before it leaves the process, and one job is
//! paid once. Nothing is paid but a charge that the pinned key of the offer's seller has signed, for
//! exactly the price that was agreed to; no event is acknowledged before its letter is on the disk.

pub mod deal;

pub mod judge;

pub mod fault;

pub mod news;

pub mod trade;

pub mod round;

pub mod link;

pub use deal::Deal;
pub use fault::DealFault;
pub use link::Link;
pub use news::Letter;
pub use round::Goods;

use super::{BuyError, Buyer, Parts};
use crate::client::v0::BotClient;

impl Buyer {
    /// A buyer that speaks /v0 as `bot`.
    #[must_use]
    pub fn of_bot(parts: Parts, bot: BotClient) -> Self {
        Self::with(parts, Some(bot))
    }

    /// The line to the relay, in /v0.
    ///
    /// # Errors
    /// If this buyer does not speak /v0.
    pub fn bot(&self) -> Result<&BotClient, BuyError> {
        self.inner.bot.as_ref().ok_or(BuyError::Deal(DealFault::NoBot))
    }
}
