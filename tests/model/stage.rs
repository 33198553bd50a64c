//! `worker::machine::step` against what the worker promises, whatever it hears.

use std::collections::VecDeque;
use std::time::Duration;

use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::job::JobError;
use nano_worker::protocol::{Status, Timestamp};
use nano_worker::worker::input::{Call, Context, Effect, Input, Outcome, Pricing, Rejection, Sighting};
use nano_worker::worker::machine::{Step, next_deadline, step};
use nano_worker::worker::payment::{Invoice, PaymentError, Verdict};
use nano_worker::worker::stage::{Ending, Lock, Stage};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use serde_json::Value;

const PRICE: Amount = Amount::from_raw(1_000);

/// Answers that lead any job to its end in a world without faults, with room.
const STEPS_TO_END: usize = 40;

/// What happens next.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    /// The oldest effect that was asked for is answered as a healthy world does; without one, the
    /// buyer makes the next move, or time passes.
    Onwards,
    /// The worker dies and starts again.
    Crash,
    /// It hears this, fitting or not.
    Hear(Box<Input>),
    /// Seconds pass.
    Wait(i64),
}

/// Whether the handler may run twice, and whether it names the price.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    pub(crate) idempotent: bool,
    pub(crate) asks: bool,
}

pub(crate) struct Anything;

impl ReferenceStateMachine for Anything {
    type State = Offer;
    type Transition = Turn;

    fn init_state() -> BoxedStrategy<Offer> {
        (any::<bool>(), any::<bool>()).prop_map(|(idempotent, asks)| Offer { idempotent, asks }).boxed()
    }

    fn transitions(_: &Offer) -> BoxedStrategy<Turn> {
        prop_oneof![
            8 => Just(Turn::Onwards),
            1 => Just(Turn::Crash),
            4 => proptest::sample::select(inputs()).prop_map(|input| Turn::Hear(Box::new(input))),
            1 => prop_oneof![1..20i64, 100..2_000i64].prop_map(Turn::Wait),
        ]
        .boxed()
    }

    fn apply(offer: Offer, _: &Turn) -> Offer {
        offer
    }
}

/// All turns there are, but for how long one waits.
pub(crate) fn turns() -> Vec<Turn> {
    let heard = inputs().into_iter().map(|input| Turn::Hear(Box::new(input)));
    [Turn::Onwards, Turn::Crash, Turn::Wait(2_000)].into_iter().chain(heard).collect()
}

/// Everything that can be heard.
fn inputs() -> Vec<Input> {
    let mut inputs = Vec::new();
    for status in Status::ALL {
        for ours in [true, false] {
            let submitted = (status == Status::Accepted).then(|| block().to_string());
            inputs.push(Input::Seen(Sighting { submitted, ..sighting(status, ours) }));
        }
    }
    inputs.push(Input::Seen(Sighting { invoice: None, ..sighting(Status::Quoted, false) }));
    inputs.extend([
        Input::Due,
        Input::Priced(PRICE),
        Input::PriceRefused("no".to_owned()),
        Input::IndexTaken(invoice()),
        Input::Judged(settled()),
        Input::Judged(Verdict::Unpaid(PaymentError::NotFound)),
        Input::Judged(Verdict::Unpaid(PaymentError::Unconfirmed)),
        Input::Judged(Verdict::Unpaid(PaymentError::Late)),
        Input::Judged(Verdict::Unknown("down".to_owned())),
        Input::ClaimRefused(block()),
        Input::Placed,
        Input::Locked(lock(1)),
        Input::Locked(lock(2)),
        Input::LeaseLost,
        Input::Finished(Outcome::Result(Value::Bool(true))),
        Input::Finished(Outcome::Error(error())),
    ]);
    for call in [Call::Quote, Call::Refuse, Call::Lock, Call::Deliver, Call::Fetch] {
        inputs.push(Input::Done(call));
        inputs.push(Input::Rejected(call, Rejection::AddressUsed));
        inputs.push(Input::Rejected(call, Rejection::LockConflict(None)));
        inputs.push(Input::Rejected(call, Rejection::State));
        inputs.push(Input::Rejected(call, Rejection::Invalid("bad".to_owned())));
    }
    // A job that is gone is gone: once is enough.
    inputs.push(Input::Rejected(Call::Fetch, Rejection::Gone));
    inputs
}

/// What one step came to, in names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arm {
    pub(crate) stage: String,
    pub(crate) heard: String,
    pub(crate) becomes: String,
}

/// The worker's record of a job and the world around it, with what the world knows has happened.
#[derive(Clone)]
pub(crate) struct World {
    stage: Stage,
    offer: Offer,
    now: i64,
    pending: VecDeque<Effect>,
    token: u64,
    /// An index was consumed, and no relay has refused its address since.
    address_stands: bool,
    /// The blocks are claimed for this job.
    claimed: bool,
    /// Another job claims the blocks of the next claim first.
    contested: bool,
    /// Starts of the handler, and whether one runs in this life.
    starts: u32,
    runs: bool,
    /// An outcome is stored.
    kept: bool,
    /// The relay has said that the job is over, or that there is none.
    told_over: bool,
    /// Steps that were not ignored.
    pub(crate) arms: Vec<Arm>,
}

impl World {
    pub(crate) fn new(offer: Offer) -> Self {
        Self {
            stage: Stage::Fresh,
            offer,
            now: 1_000,
            pending: VecDeque::new(),
            token: 0,
            address_stands: false,
            claimed: false,
            contested: false,
            starts: 0,
            runs: false,
            kept: false,
            told_over: false,
            arms: Vec::new(),
        }
    }

    pub(crate) fn stage_name(&self) -> String {
        stage_name(&self.stage)
    }

    pub(crate) fn turn(mut self, turn: &Turn) -> Self {
        match turn {
            Turn::Onwards => self.onwards(),
            Turn::Crash => {
                self.pending.clear();
                self.runs = false;
                self.hear(Input::Resumed);
            }
            // A handler can only end if it runs.
            Turn::Hear(input) if matches!(**input, Input::Finished(_)) && !self.runs => {}
            Turn::Hear(input) => self.hear((**input).clone()),
            Turn::Wait(seconds) => {
                self.now += seconds;
                if next_deadline(&self.stage, &self.context()).is_some_and(|at| at <= self.time()) {
                    self.hear(Input::Due);
                }
            }
        }
        self
    }

    /// In a world without faults, everything comes to an end.
    pub(crate) fn finish(mut self) -> Self {
        let debt = self.claimed && !self.told_over;
        for _ in 0..STEPS_TO_END {
            if self.stage.is_ended() {
                break;
            }
            self.onwards();
        }
        let Stage::Ended { ending } = &self.stage else { panic!("it never ends: {:?}", self.stage) };
        if debt {
            let ended = matches!(ending, Ending::Delivered | Ending::Failed);
            assert!(ended, "a paid job ended as {ending:?}");
        }
        self
    }

    fn onwards(&mut self) {
        let Some(effect) = self.pending.pop_front() else { return self.wait_for_others() };
        let answer = match effect {
            Effect::AskPrice => Input::Priced(PRICE),
            Effect::SendQuote(_) => Input::Done(Call::Quote),
            Effect::SendRefusal(_) => Input::Done(Call::Refuse),
            Effect::Watch { lapsed: false, .. } => Input::Judged(settled()),
            Effect::AwaitPlace => Input::Placed,
            Effect::TakeLock { .. } => {
                self.token += 1;
                Input::Locked(lock(self.token))
            }
            Effect::Execute { .. } | Effect::Kill => return self.end_handler(),
            Effect::Deliver { .. } => Input::Done(Call::Deliver),
            _ => return,
        };
        self.hear(answer);
    }

    fn end_handler(&mut self) {
        if std::mem::take(&mut self.runs) {
            self.hear(Input::Finished(Outcome::Result(Value::Bool(true))));
        }
    }

    /// Nothing is asked for: the buyer moves, or the deadline comes.
    fn wait_for_others(&mut self) {
        match &self.stage {
            Stage::Fresh => self.hear(Input::Seen(sighting(Status::Requested, false))),
            Stage::Quoted { .. } => self.hear(Input::Seen(sighting(Status::Accepted, false))),
            Stage::Running { .. } | Stage::Stopping { .. } if self.runs => self.end_handler(),
            // An answer was lost, not the process: what was asked for is asked for again by a restart.
            Stage::Awaiting { .. } => self.hear(Input::Judged(settled())),
            stage => match next_deadline(stage, &self.context()) {
                Some(at) => {
                    self.now = at.seconds() + 1;
                    self.hear(Input::Due);
                }
                None => self.hear(Input::Resumed),
            },
        }
    }

    fn context(&self) -> Context {
        Context {
            now: self.time(),
            pricing: if self.offer.asks { Pricing::Ask } else { Pricing::Fixed(PRICE) },
            idempotent: self.offer.idempotent,
            payment_window: Duration::from_secs(100),
            lapsed_watch: Duration::from_secs(1_000),
            revives: false,
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_seconds(self.now)
    }

    fn hear(&mut self, input: Input) {
        // What the driver answers within the commit comes from nowhere else.
        match input {
            Input::IndexTaken(_) => return,
            Input::ClaimRefused(_) => return self.contested = true,
            _ => {}
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.note(&input);
            let (before, context) = (self.stage.clone(), self.context());
            let Step { stage, effects, ignored } = step(before.clone(), input.clone(), &context);
            if ignored {
                assert!(stage == before && effects.is_empty(), "ignored, and yet changed by {input:?}");
                continue;
            }
            assert!(!before.is_ended(), "it had ended, and heard {input:?}");
            self.arms.push(Arm {
                stage: stage_name(&before),
                heard: input_name(&input),
                becomes: stage_name(&stage),
            });
            if matches!(input, Input::Judged(Verdict::Unknown(_))) {
                assert!(effects.is_empty(), "it acts on what nobody knows: {effects:?}");
            }
            self.stage = stage;
            for effect in effects {
                inputs.extend(self.perform(&before, &input, effect));
            }
        }
    }

    fn note(&mut self, input: &Input) {
        match input {
            Input::Seen(sighting) if sighting.status.is_final() => self.told_over = true,
            Input::Rejected(_, Rejection::Gone) => self.told_over = true,
            Input::Rejected(Call::Quote, Rejection::AddressUsed) => self.address_stands = false,
            Input::Finished(_) => self.runs = false,
            _ => {}
        }
    }

    /// The promises, one by one; and the answer of what is part of the commit.
    fn perform(&mut self, before: &Stage, input: &Input, effect: Effect) -> Option<Input> {
        match &effect {
            Effect::TakeIndex { .. } => {
                assert!(!self.address_stands, "two addresses for one quote");
                self.address_stands = true;
                return Some(Input::IndexTaken(invoice()));
            }
            Effect::Claim { .. } => {
                assert!(matches!(input, Input::Judged(Verdict::Settled { .. })), "claimed on {input:?}");
                assert!(!self.claimed, "claimed twice");
                if std::mem::take(&mut self.contested) {
                    return Some(Input::ClaimRefused(block()));
                }
                self.claimed = true;
                return Some(Input::Claimed);
            }
            Effect::Keep(_) => {
                assert!(!self.runs, "an outcome of a handler that runs");
                self.kept = true;
                return None;
            }
            Effect::Execute { attempt, .. } => {
                assert!(self.claimed, "it runs unpaid");
                assert!(!self.runs, "it runs twice at a time");
                assert!(self.starts == 0 || self.offer.idempotent, "it runs twice, from {before:?}");
                assert!(!self.kept, "it runs although there is an outcome");
                self.starts += 1;
                assert_eq!(*attempt, self.starts, "starts are not counted");
                self.runs = true;
            }
            Effect::Deliver { .. } => {
                assert!(self.kept, "it delivers nothing");
                assert!(!self.runs, "it delivers while the handler runs");
            }
            _ => {}
        }
        self.pending.push_back(effect);
        None
    }
}

/// A stage by what it is, without its numbers; as the machine's own table writes it.
fn stage_name(stage: &Stage) -> String {
    use nano_worker::worker::stage::Plan;
    match stage {
        Stage::Locking { plan } | Stage::Blocked { plan, .. } | Stage::Stopping { plan } => {
            let plan = match plan {
                Plan::Run { .. } => "run",
                Plan::Fail { .. } => "fail",
                Plan::Deliver { .. } => "deliver",
            };
            format!("{}({plan})", stage.name())
        }
        other => other.name().to_owned(),
    }
}

fn input_name(input: &Input) -> String {
    match input {
        Input::Seen(sighting) => format!("seen {}", sighting.status),
        Input::Judged(Verdict::Settled { .. }) => "judged settled".to_owned(),
        Input::Judged(Verdict::Unpaid(PaymentError::Late)) => "judged late".to_owned(),
        Input::Judged(Verdict::Unpaid(_)) => "judged unpaid".to_owned(),
        Input::Judged(Verdict::Unknown(_)) => "judged unknown".to_owned(),
        Input::Finished(_) => "finished".to_owned(),
        Input::Done(call) => format!("{} taken", call.name()),
        Input::Rejected(_, Rejection::Gone) => "gone".to_owned(),
        Input::Rejected(call, why) => {
            let why = match why {
                Rejection::AddressUsed => "address used",
                Rejection::LockConflict(_) => "locked by another",
                Rejection::Invalid(_) => "invalid",
                _ => "state",
            };
            format!("{} not taken: {why}", call.name())
        }
        other => {
            let text = format!("{other:?}");
            text.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
        }
    }
}

fn sighting(status: Status, ours: bool) -> Sighting {
    Sighting {
        status,
        invoice: Some(invoice()),
        submitted: None,
        locked_by_us: ours,
        lock_expires_at: Some(Timestamp::from_seconds(1_400)),
    }
}

fn invoice() -> Invoice {
    Invoice { index: 1, account: Account::from_bytes([7; 32]), price: PRICE }
}

fn block() -> BlockHash {
    BlockHash::from_bytes([9; 32])
}

fn settled() -> Verdict {
    Verdict::Settled { blocks: vec![block()], total: PRICE }
}

fn lock(token: u64) -> Lock {
    Lock { token: Some(token), expires_at: Timestamp::from_seconds(2_000) }
}

fn error() -> JobError {
    JobError { code: "handler_failed".to_owned(), message: "m".to_owned(), details: Value::Null }
}

struct Check;

impl StateMachineTest for Check {
    type SystemUnderTest = World;
    type Reference = Anything;

    fn init_test(offer: &Offer) -> World {
        World::new(*offer)
    }

    fn apply(world: World, _: &Offer, turn: Turn) -> World {
        world.turn(&turn)
    }

    fn teardown(world: World, _: Offer) {
        drop(world.finish());
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_keeps_its_promises(sequential 1..60 => Check);
}
