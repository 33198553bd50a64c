//! What is to be done on one account, and what comes next for it.

use nano_currency::draft::Unsigned;
use nano_currency::{Account, BlockHash};

use super::journal::Does;

/// What an account is to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// To hold all that was sent to it.
    Receive,
    /// To hold nothing.
    Sweep {
        /// Where all of it goes.
        to: Account,
        /// Whether what nobody knows to be earned goes too.
        all: bool,
    },
    /// To have sent back what is owed.
    Refund {
        /// Where to; each block's to whom it came from if absent.
        to: Option<Account>,
    },
}

/// A block that is to be made, before it is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub(super) block: Unsigned,
    pub(super) does: Does,
    pub(super) counter: Option<Account>,
    pub(super) of: Option<BlockHash>,
}
