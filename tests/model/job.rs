//! `protocol::apply` against the contract's table, kept by hand.

use std::time::Duration;

use nano_worker::nano::{Account, BlockHash};
use nano_worker::protocol::apply::{Outcome, Rules};
use nano_worker::protocol::{
    Caller, Command, Context, Job, JobId, OfferId, PublicKey, Status, Timestamp, apply,
};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use serde_json::json;

const SELLER: PublicKey = PublicKey::from_bytes([1; 32]);
const BUYER: PublicKey = PublicKey::from_bytes([2; 32]);
const STRANGER: PublicKey = PublicKey::from_bytes([3; 32]);

/// Seconds that the contract gives a quote, and an accepted job without a hash.
const QUOTE_SECONDS: i64 = 900;
const ACCEPT_SECONDS: i64 = 1_800;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Seller,
    Buyer,
    Stranger,
    Clock,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    /// With this many seconds of validity, if it says.
    Quote(Option<i64>),
    Refuse,
    Accept,
    Pay(u8),
    Lock {
        holder: u8,
        seconds: i64,
        brings: Option<u8>,
    },
    /// Whether with the right token.
    Unlock(u8, bool),
    /// With a token or without, and whether with the right one.
    Deliver(Option<bool>),
    Fail(Option<bool>),
    Cancel,
    Expire,
}

/// One try: some seconds later, somebody does something.
#[derive(Debug, Clone)]
pub(crate) struct Try {
    pub(crate) later: i64,
    pub(crate) who: Who,
    pub(crate) what: Move,
}

/// All that the rules speak of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) now: i64,
    pub(crate) status: &'static str,
    hash: Option<u8>,
    quote_until: i64,
    accepted_at: i64,
    /// Holder and end; kept after the end, until somebody else takes it.
    lock: Option<(u8, i64)>,
    token: u64,
}

/// What the try came to: an event or none, or a refusal by its code.
pub(crate) type Answer = Result<Option<&'static str>, &'static str>;

impl Model {
    fn new() -> Self {
        Self {
            now: 1_000_000,
            status: "requested",
            hash: None,
            quote_until: 0,
            accepted_at: 0,
            lock: None,
            token: 0,
        }
    }

    fn is_locked(&self) -> bool {
        self.lock.is_some_and(|(_, until)| self.now < until)
    }

    /// The contract: first who, then where, then what.
    pub(crate) fn answer(&mut self, who: Who, what: &Move) -> Answer {
        let mover = match what {
            Move::Quote(_) | Move::Refuse | Move::Lock { .. } | Move::Unlock(..) => Who::Seller,
            Move::Deliver(_) | Move::Fail(_) => Who::Seller,
            Move::Accept | Move::Pay(_) | Move::Cancel => Who::Buyer,
            Move::Expire => Who::Clock,
        };
        if who != mover {
            // Time is no stranger; it just makes no other move.
            return Err(if who == Who::Clock { "invalid_state" } else { "forbidden" });
        }
        match (self.status, what) {
            ("requested", Move::Quote(validity)) => self.quote(*validity),
            ("requested", Move::Refuse) | ("requested" | "quoted" | "accepted", Move::Cancel) => {
                self.become_("canceled", Some("job.canceled"))
            }
            ("quoted", Move::Accept) if self.now < self.quote_until => {
                self.accepted_at = self.now;
                self.become_("accepted", Some("job.accepted"))
            }
            ("quoted", Move::Expire) if self.now >= self.quote_until => {
                self.become_("expired", Some("job.expired"))
            }
            ("accepted", Move::Expire)
                if self.hash.is_none() && self.now >= self.accepted_at + ACCEPT_SECONDS =>
            {
                self.become_("expired", Some("job.expired"))
            }
            ("accepted", Move::Pay(hash)) if self.hash.is_none() => {
                self.hash = Some(*hash);
                Ok(Some("job.payment_submitted"))
            }
            ("accepted" | "running", Move::Lock { holder, seconds, brings }) => {
                self.take_lock(*holder, *seconds, *brings)
            }
            ("running", Move::Unlock(holder, right)) => match self.lock {
                Some((owner, _)) if owner == *holder && *right => {
                    self.lock = None;
                    Ok(None)
                }
                _ => Err("lock_lost"),
            },
            ("running", Move::Deliver(token)) => self.end(*token, "delivered", "job.delivered"),
            ("running", Move::Fail(token)) => self.end(*token, "failed", "job.failed"),
            _ => Err("invalid_state"),
        }
    }

    fn become_(&mut self, status: &'static str, event: Option<&'static str>) -> Answer {
        self.status = status;
        Ok(event)
    }

    fn quote(&mut self, validity: Option<i64>) -> Answer {
        if validity.is_some_and(|seconds| !(1..=3_600).contains(&seconds)) {
            return Err("validation_error");
        }
        self.quote_until = self.now + validity.unwrap_or(QUOTE_SECONDS);
        self.become_("quoted", Some("job.quoted"))
    }

    fn take_lock(&mut self, holder: u8, seconds: i64, brings: Option<u8>) -> Answer {
        if self.hash.is_none() && brings.is_none() {
            return Err("invalid_state");
        }
        let same = self.lock.is_some_and(|(owner, _)| owner == holder);
        if self.is_locked() && !same {
            return Err("lock_conflict");
        }
        if !(10..=600).contains(&seconds) {
            return Err("validation_error");
        }
        self.hash = self.hash.or(brings);
        self.lock = Some((holder, self.now + seconds));
        self.token += u64::from(!same);
        let first = self.status == "accepted";
        self.become_("running", first.then_some("job.running"))
    }

    fn end(&mut self, token: Option<bool>, status: &'static str, event: &'static str) -> Answer {
        match token {
            Some(right) if !right || !self.is_locked() => Err("lock_lost"),
            None if !self.is_locked() => Err("invalid_state"),
            _ => self.become_(status, Some(event)),
        }
    }
}

pub(crate) struct Contract;

impl ReferenceStateMachine for Contract {
    type State = Model;
    type Transition = Try;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::new()).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Try> {
        let later = prop_oneof![6 => 0..5i64, 2 => 5..700i64, 1 => 700..4_000i64];
        let any = (who(), any_move()).boxed();
        let likely = match model.status {
            "requested" => by(Who::Seller, prop_oneof![Just(Move::Quote(None)), any_quote()].boxed()),
            "quoted" => by(Who::Buyer, Just(Move::Accept).boxed()),
            "accepted" => {
                prop_oneof![by(Who::Buyer, (0..4u8).prop_map(Move::Pay).boxed()), by(Who::Seller, any_lock())]
                    .boxed()
            }
            "running" => prop_oneof![
                4 => by(Who::Seller, any_lock()),
                1 => by(Who::Seller, any_end())
            ]
            .boxed(),
            _ => any.clone(),
        };
        (later, prop_oneof![any, likely]).prop_map(|(later, (who, what))| Try { later, who, what }).boxed()
    }

    fn apply(mut model: Model, step: &Try) -> Model {
        model.now += step.later;
        let _ = model.answer(step.who, &step.what);
        model
    }
}

fn by(who: Who, what: BoxedStrategy<Move>) -> BoxedStrategy<(Who, Move)> {
    what.prop_map(move |what| (who, what)).boxed()
}

fn who() -> BoxedStrategy<Who> {
    prop_oneof![4 => Just(Who::Seller), 4 => Just(Who::Buyer), 1 => Just(Who::Stranger), 2 => Just(Who::Clock)]
        .boxed()
}

fn any_quote() -> BoxedStrategy<Move> {
    proptest::option::of(-5..4_000i64).prop_map(Move::Quote).boxed()
}

fn any_lock() -> BoxedStrategy<Move> {
    (0..2u8, prop_oneof![5 => 10..=600i64, 1 => 0..1_000i64], proptest::option::of(0..4u8))
        .prop_map(|(holder, seconds, brings)| Move::Lock { holder, seconds, brings })
        .boxed()
}

fn any_end() -> BoxedStrategy<Move> {
    let token = || proptest::option::weighted(0.7, any::<bool>());
    prop_oneof![token().prop_map(Move::Deliver), token().prop_map(Move::Fail)].boxed()
}

fn any_move() -> BoxedStrategy<Move> {
    prop_oneof![
        any_quote(),
        Just(Move::Refuse),
        Just(Move::Accept),
        (0..4u8).prop_map(Move::Pay),
        any_lock(),
        (0..2u8, any::<bool>()).prop_map(|(holder, right)| Move::Unlock(holder, right)),
        any_end(),
        Just(Move::Cancel),
        Just(Move::Expire),
    ]
    .boxed()
}

/// The job that the code moves, with the model as it was before.
pub(crate) struct Real {
    pub(crate) job: Job,
    pub(crate) model: Model,
    /// What was tried last, from where, and what it came to.
    pub(crate) last: Option<(Status, Try, Answer)>,
}

impl Real {
    pub(crate) fn new() -> Self {
        Self { job: requested(), model: Model::new(), last: None }
    }

    /// Tries it on both, and compares.
    pub(crate) fn step(mut self, step: Try) -> Self {
        let from = self.job.status;
        self.model.now += step.later;
        let expected = self.model.answer(step.who, &step.what);
        let context = Context { now: at(self.model.now), rules: &Rules::default(), fixed_price_raw: None };
        let (caller, command) = (caller(step.who), command(&step.what, &self.job, self.model.now));
        match apply(&self.job, caller, &command, &context) {
            Ok(change) => {
                let event = change.event.map(|event| event.name());
                assert_eq!(Ok(event), expected, "{step:?} on {:?}", self.job);
                self.job = Job { updated_at: at(self.model.now), ..change.job };
            }
            Err(refusal) => {
                let code = json!(refusal.code);
                assert_eq!(Err(code.as_str().unwrap()), expected, "{step:?} on {:?}", self.job);
            }
        }
        self.compare();
        self.last = Some((from, step, expected));
        self
    }

    fn compare(&self) {
        let (job, model) = (&self.job, &self.model);
        assert_eq!(job.status.name(), model.status);
        assert_eq!(job.payment_tx_hash, model.hash.map(hash));
        assert_eq!(job.lock_token, model.token);
        assert_eq!(job.lock_holder, model.lock.map(|(holder, _)| name(holder)));
        assert_eq!(job.lock_expires_at, model.lock.map(|(_, until)| at(until)));
        assert_eq!(job.is_locked(at(model.now)), model.is_locked());
        assert_eq!(!job.result_payload.is_null(), model.status == "delivered");
        assert_eq!(!job.error.is_null(), model.status == "failed");
    }
}

fn requested() -> Job {
    let (job_id, offer_id) = (JobId::from_random([1; 16]), OfferId::from_random([2; 16]));
    Job::requested(job_id, offer_id, SELLER, BUYER, json!("x"), at(1_000_000))
}

fn caller(who: Who) -> Caller {
    match who {
        Who::Seller => Caller::Party(SELLER),
        Who::Buyer => Caller::Party(BUYER),
        Who::Stranger => Caller::Party(STRANGER),
        Who::Clock => Caller::Clock,
    }
}

fn command(what: &Move, job: &Job, now: i64) -> Command {
    let token = |right: bool| if right { job.lock_token } else { job.lock_token + 7 };
    match what {
        Move::Quote(validity) => Command::Quote {
            amount_raw: "100".to_owned(),
            invoice_address: Account::from_bytes([9; 32]).to_string(),
            expires_at: validity.map(|seconds| at(now + seconds)),
        },
        Move::Refuse => Command::Refuse { reason: "no".to_owned() },
        Move::Accept => Command::Accept,
        Move::Pay(number) => Command::Pay { payment_tx_hash: hash(*number) },
        Move::Lock { holder, seconds, brings } => Command::Lock {
            holder: Some(name(*holder)),
            ttl: Some(Duration::from_secs(seconds.unsigned_abs())),
            payment_tx_hash: brings.map(hash),
        },
        Move::Unlock(holder, right) => Command::Unlock { holder: name(*holder), lock_token: token(*right) },
        Move::Deliver(right) => {
            Command::Deliver { outcome: Outcome::Result(json!("done")), lock_token: right.map(token) }
        }
        Move::Fail(right) => {
            Command::Deliver { outcome: Outcome::Error(json!("broke")), lock_token: right.map(token) }
        }
        Move::Cancel => Command::Cancel { reason: None },
        Move::Expire => Command::Expire,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn hash(number: u8) -> String {
    BlockHash::from_bytes([number + 1; 32]).to_string()
}

fn name(holder: u8) -> String {
    format!("holder-{holder}")
}

struct Check;

impl StateMachineTest for Check {
    type SystemUnderTest = Real;
    type Reference = Contract;

    fn init_test(_: &Model) -> Real {
        Real::new()
    }

    fn apply(real: Real, model: &Model, step: Try) -> Real {
        let real = real.step(step);
        assert_eq!(real.model, *model);
        real
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_job_moves_as_the_contract_says(sequential 1..40 => Check);
}
