//! What a block does to its account, by name.

use std::fmt;
use std::str::FromStr;

/// What a state block does, in a node's words. Legacy blocks have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subtype {
    /// Money leaves the account.
    Send,
    /// Money arrives, in an account's first block too.
    Receive,
    /// An account's first block; some programs name it so.
    Open,
    /// Only the representative changes.
    Change,
    /// The network's own upgrade mark on the account.
    Epoch,
}

impl Subtype {
    const ALL: [Self; 5] = [Self::Send, Self::Receive, Self::Open, Self::Change, Self::Epoch];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Open => "open",
            Self::Change => "change",
            Self::Epoch => "epoch",
        }
    }
}

impl fmt::Display for Subtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is no subtype's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a subtype is one of send, receive, open, change and epoch")]
pub struct UnknownSubtype;

impl FromStr for Subtype {
    type Err = UnknownSubtype;

    fn from_str(text: &str) -> Result<Self, UnknownSubtype> {
        Self::ALL.into_iter().find(|subtype| subtype.name() == text).ok_or(UnknownSubtype)
    }
}
