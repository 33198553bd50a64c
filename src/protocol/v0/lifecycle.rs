//! The public life of a /v0 job: the second table of the same form, from which the relay writes,
//! the worker distrusts, the documentation is printed and the tests are enumerated.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::table::{self, Move, row};

/// Where a job is, as everybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The buyer asked.
    Requested,
    /// The seller attached a charge; its payment is awaited.
    ChargeCreated,
    /// The seller says that the charge was paid.
    Paid,
    /// The result is there.
    Delivered,
    /// Given up before it was paid.
    Cancelled,
    /// A time limit passed.
    Expired,
}

impl Status {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Requested, Self::ChargeCreated, Self::Paid, Self::Delivered, Self::Cancelled, Self::Expired];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::ChargeCreated => "CHARGE_CREATED",
            Self::Paid => "PAID",
            Self::Delivered => "DELIVERED",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }

    /// The status with this name, in any case of letters.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(name))
    }

    /// Whether the job is over. An expired one can still be revived by a new charge, but by nothing
    /// else, and it counts as over until then.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Delivered | Self::Cancelled | Self::Expired)
    }

    /// Whether a job that was in `self` may be seen in `later`: itself, or somewhere the table
    /// leads. A poller skips states, so it asks this weaker question.
    #[must_use]
    pub fn reaches(self, later: Self) -> bool {
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
    /// The bot that asks and pays.
    Buyer,
    /// The bot that works.
    Seller,
    /// Time.
    Clock,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Buyer => "buyer",
            Self::Seller => "seller",
            Self::Clock => "clock",
        })
    }
}

/// What can be done to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Attach a signed charge.
    Charge,
    /// Tell that the charge was paid.
    PaymentSent,
    /// Ask for another charge.
    ReissueRequest,
    /// Attach another charge to a job that expired.
    Reissue,
    /// Declare the charge paid.
    MarkPaid,
    /// Hand over a sealed message.
    Message,
    /// Hand over the sealed result.
    Deliver,
    /// Give the job up.
    Cancel,
    /// Leave the market for good, and this job with it.
    Revoke,
    /// Let a time limit pass.
    Expire,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Charge,
        Self::PaymentSent,
        Self::ReissueRequest,
        Self::Reissue,
        Self::MarkPaid,
        Self::Message,
        Self::Deliver,
        Self::Cancel,
        Self::Revoke,
        Self::Expire,
    ];
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Charge => "charge",
            Self::PaymentSent => "payment_sent",
            Self::ReissueRequest => "reissue_request",
            Self::Reissue => "reissue",
            Self::MarkPaid => "mark_paid",
            Self::Message => "message",
            Self::Deliver => "deliver",
            Self::Cancel => "cancel",
            Self::Revoke => "revoke",
            Self::Expire => "expire",
        })
    }
}

/// One row: who may do what to a job, and where it leaves it.
pub type Transition = Move<Status, Actor, Verb>;

/// All moves there are.
pub const TRANSITIONS: &[Transition] = {
    use Actor::{Buyer, Clock, Seller};
    use Status::{Cancelled, ChargeCreated, Delivered, Expired, Paid, Requested};
    use Verb::{
        Cancel, Charge, Deliver, Expire, MarkPaid, Message, PaymentSent, Reissue, ReissueRequest, Revoke,
    };
    &[
        row(Requested, Seller, Charge, ChargeCreated, "the address is on no other live job of the seller"),
        row(Requested, Seller, Message, Requested, ""),
        row(Requested, Buyer, Cancel, Cancelled, "no charge is attached"),
        row(Requested, Buyer, Revoke, Cancelled, ""),
        row(Requested, Seller, Revoke, Cancelled, ""),
        row(Requested, Clock, Expire, Expired, "past the job's expiry"),
        row(ChargeCreated, Buyer, PaymentSent, ChargeCreated, "the charge has not expired"),
        row(ChargeCreated, Buyer, ReissueRequest, ChargeCreated, ""),
        row(ChargeCreated, Seller, MarkPaid, Paid, "the charge has not expired"),
        row(ChargeCreated, Seller, Message, ChargeCreated, ""),
        row(ChargeCreated, Buyer, Revoke, Cancelled, ""),
        row(ChargeCreated, Seller, Revoke, Cancelled, ""),
        row(ChargeCreated, Clock, Expire, Expired, "past the charge's or the job's expiry"),
        row(Paid, Seller, Deliver, Delivered, ""),
        row(Paid, Seller, Message, Paid, ""),
        row(Paid, Clock, Expire, Expired, "past the job's expiry, or a week past the turnaround"),
        row(Expired, Buyer, ReissueRequest, Expired, ""),
        row(Expired, Seller, Reissue, ChargeCreated, "never paid; the address as for a charge"),
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
    let ends = Status::ALL.into_iter().filter(|status| status.is_terminal());
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
            let same =
                |other: &Transition| (other.from, other.actor, other.verb) == (row.from, row.actor, row.verb);
            assert_eq!(TRANSITIONS.iter().position(same), Some(place));
        }
    }

    #[test]
    fn what_is_over_moves_only_by_a_reissue() {
        for row in TRANSITIONS.iter().filter(|row| row.from.is_terminal() && row.to != row.from) {
            assert_eq!((row.from, row.verb), (Status::Expired, Verb::Reissue));
        }
        assert!(!Status::Delivered.reaches(Status::Paid));
        assert!(!Status::Cancelled.reaches(Status::Requested));
        assert!(Status::Expired.reaches(Status::Delivered));
        assert!(!Status::Paid.reaches(Status::Requested));
    }

    #[test]
    fn every_state_and_every_verb_is_on_the_table() {
        for status in Status::ALL {
            assert!(Status::Requested.reaches(status), "{status}");
            assert_eq!(Status::parse(&status.name().to_lowercase()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
        for verb in Verb::ALL {
            assert!(TRANSITIONS.iter().any(|row| row.verb == verb), "{verb}");
        }
    }

    #[test]
    fn the_names_in_the_documentation_can_be_lined_up() {
        let verbs = [
            "charge",
            "payment_sent",
            "reissue_request",
            "reissue",
            "mark_paid",
            "message",
            "deliver",
            "cancel",
            "revoke",
            "expire",
        ];
        assert_eq!(Verb::ALL.map(|verb| verb.to_string()), verbs);
        let actors = [Actor::Buyer, Actor::Seller, Actor::Clock].map(|actor| actor.to_string());
        assert_eq!(actors, ["buyer", "seller", "clock"]);
        for status in Status::ALL {
            assert_eq!(status.to_string(), status.name());
        }
        let line = format!("{:10}|{:7}|{:>8}|", Status::Requested, Actor::Clock, Verb::Expire);
        assert_eq!(line, "REQUESTED |clock  |  expire|");
        assert_eq!(Status::parse("LOST"), None);
    }

    #[test]
    fn the_table_is_printed_row_by_row() {
        let (mermaid, markdown) = (mermaid(), markdown());
        assert!(mermaid.starts_with("stateDiagram-v2\n    [*] --> REQUESTED: buyer request\n"));
        assert!(mermaid.contains("    CHARGE_CREATED --> PAID: seller mark_paid\n"));
        assert!(mermaid.ends_with("    DELIVERED --> [*]\n    CANCELLED --> [*]\n    EXPIRED --> [*]\n"));
        assert!(markdown.starts_with("| from | who | does | to | guard |\n|---|---|---|---|---|\n"));
        assert!(markdown.contains("| REQUESTED | buyer | cancel | CANCELLED | no charge is attached |\n"));
        let rows = TRANSITIONS.len();
        assert_eq!((mermaid.lines().count(), markdown.lines().count()), (2 + rows + 3, 2 + rows));
    }
}
