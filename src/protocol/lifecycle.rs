//! The public life of a job: one table, from which the relay writes, the worker distrusts, the
//! documentation is printed and the tests are enumerated.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::table::{self, Move, row};

/// Where a job is, as everybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The buyer asked.
    Requested,
    /// The seller named a price and an invoice address.
    Quoted,
    /// The buyer agreed to the quote; its payment is awaited.
    Accepted,
    /// A seller's worker holds, or held, the execution lock.
    Running,
    /// The result is there.
    Delivered,
    /// The work was tried, and an error is there instead.
    Failed,
    /// Given up before it ran.
    Canceled,
    /// A time limit passed before it was accepted or paid.
    Expired,
}

impl Status {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Requested,
        Self::Quoted,
        Self::Accepted,
        Self::Running,
        Self::Delivered,
        Self::Failed,
        Self::Canceled,
        Self::Expired,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Quoted => "quoted",
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }

    /// The status with this name on the wire.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        !TRANSITIONS.iter().any(|row| row.from == self)
    }

    /// Whether a job that was in `self` may be seen in `later`: itself, or somewhere the table
    /// leads. A poller skips states, so it asks this weaker question.
    #[must_use]
    pub fn reaches(self, later: Self) -> bool {
        if self == later {
            return true;
        }
        table::reaches(TRANSITIONS, self, later)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who makes a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The party that asks and pays.
    Buyer,
    /// The party that works.
    Seller,
    /// Time, through the relay's sweeper.
    Clock,
}

/// What can be done to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Name a price and an invoice address.
    Quote,
    /// Say why there will be no quote.
    Refuse,
    /// Agree to the quote.
    Accept,
    /// Submit the hash of the paying block.
    Pay,
    /// Take or renew the execution lock.
    Lock,
    /// Give the execution lock up.
    Unlock,
    /// Hand over the result.
    Deliver,
    /// Hand over an error instead.
    Fail,
    /// Give the job up.
    Cancel,
    /// Let a time limit pass.
    Expire,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Quote => "quote",
            Self::Refuse => "refuse",
            Self::Accept => "accept",
            Self::Pay => "pay",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Deliver => "deliver",
            Self::Fail => "fail",
            Self::Cancel => "cancel",
            Self::Expire => "expire",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Actor {
    const fn name(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Seller => "seller",
            Self::Clock => "clock",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One row: who may do what to a job, and where it leaves it.
pub type Transition = Move<Status, Actor, Verb>;

/// All moves there are.
pub const TRANSITIONS: &[Transition] = {
    use Actor::{Buyer, Clock, Seller};
    use Status::{Accepted, Canceled, Delivered, Expired, Failed, Quoted, Requested, Running};
    use Verb::{Accept, Cancel, Deliver, Expire, Fail, Lock, Pay, Quote, Refuse, Unlock};
    &[
        row(Requested, Seller, Quote, Quoted, "a fresh invoice address; a fixed price is kept"),
        row(Requested, Seller, Refuse, Canceled, ""),
        row(Requested, Buyer, Cancel, Canceled, ""),
        row(Quoted, Buyer, Accept, Accepted, "the quote has not expired"),
        row(Quoted, Buyer, Cancel, Canceled, ""),
        row(Quoted, Clock, Expire, Expired, "the quote has expired"),
        row(Accepted, Buyer, Pay, Accepted, "no hash is set; the hash is on no other job"),
        row(Accepted, Seller, Lock, Running, "has a payment hash, or the seller brings it"),
        row(Accepted, Buyer, Cancel, Canceled, ""),
        row(Accepted, Clock, Expire, Expired, "no payment hash, and its time has passed"),
        row(Running, Seller, Lock, Running, "the same holder, or the lock has expired"),
        row(Running, Seller, Unlock, Running, "holds the lock"),
        row(Running, Seller, Deliver, Delivered, "holds the lock, and it is live"),
        row(Running, Seller, Fail, Failed, "holds the lock, and it is live"),
    ]
};

/// Where `verb` by `actor` leads from `from`, if anywhere.
#[must_use]
pub fn transition(from: Status, actor: Actor, verb: Verb) -> Option<&'static Transition> {
    table::find(TRANSITIONS, from, actor, verb)
}

/// The table as a Mermaid state diagram, for the documentation.
#[must_use]
pub fn mermaid() -> String {
    let ends = Status::ALL.into_iter().filter(|status| status.is_final());
    table::mermaid(TRANSITIONS, Status::Requested, ends)
}

/// The table as Markdown, for the documentation.
#[must_use]
pub fn markdown() -> String {
    table::markdown(TRANSITIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_move_is_listed_twice() {
        for (place, row) in TRANSITIONS.iter().enumerate() {
            assert_eq!(
                TRANSITIONS.iter().position(
                    |other| (other.from, other.actor, other.verb) == (row.from, row.actor, row.verb)
                ),
                Some(place)
            );
        }
    }

    #[test]
    fn exactly_four_states_are_final() {
        let ends: Vec<_> = Status::ALL.into_iter().filter(|status| status.is_final()).collect();
        assert_eq!(ends, [Status::Delivered, Status::Failed, Status::Canceled, Status::Expired]);
    }

    #[test]
    fn nothing_leads_back() {
        assert!(Status::Requested.reaches(Status::Delivered));
        assert!(!Status::Running.reaches(Status::Accepted));
        assert!(!Status::Delivered.reaches(Status::Failed));
        assert!(!Status::Running.reaches(Status::Canceled));
    }

    #[test]
    fn every_state_is_on_some_walk() {
        for status in Status::ALL {
            assert!(Status::Requested.reaches(status), "{status}");
            assert_eq!(Status::parse(status.name()), Some(status));
        }
    }
}
