//! A world of relay, ledger, driver and crashes, walked at random; the rules must hold at each step.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// The driver: what is durable, and what has been asked of the world and not yet answered.
struct World {
    stage: Stage,
    now: i64,
    idempotent: bool,
    next_index: u32,
    /// An index was consumed since the last quote that was refused for its address.
    address_used: bool,
    claimed: bool,
    kept: u32,
    starts: Vec<u32>,
    /// Whether a handler of this life runs.
    running: bool,
    pending: Vec<Effect>,
    token: u64,
    delivered: Vec<bool>,
    tokens_run: HashSet<u64>,
}

impl World {
    fn new(idempotent: bool) -> Self {
        Self {
            stage: Stage::Fresh,
            now: 1,
            idempotent,
            next_index: 0,
            address_used: false,
            claimed: false,
            kept: 0,
            starts: Vec::new(),
            running: false,
            pending: Vec::new(),
            token: 0,
            delivered: Vec::new(),
            tokens_run: HashSet::new(),
        }
    }

    fn hear(&mut self, input: Input) {
        let mut inputs = vec![input];
        let mut steps = 0;
        while let Some(input) = inputs.pop() {
            steps += 1;
            assert!(steps < 10, "local effects go in a circle");
            if input == Input::Rejected(Call::Quote, Rejection::AddressUsed) {
                self.address_used = true;
            }
            let before = self.stage.clone();
            let after = step(before.clone(), input.clone(), &context(self.now, self.idempotent));
            assert!(!before.is_ended() || after.stage == before, "{before:?} left by {input:?}");
            if after.ignored {
                continue;
            }
            self.stage = after.stage;
            for effect in after.effects {
                if let Some(answer) = self.perform(effect) {
                    inputs.push(answer);
                }
            }
        }
        assert!(self.kept > 0 || !matches!(self.stage, Stage::Delivering { .. }), "delivering nothing");
    }

    /// Checks that the effect is legal here, and answers those that are part of the commit.
    fn perform(&mut self, effect: Effect) -> Option<Input> {
        let stage = &self.stage;
        match &effect {
            Effect::TakeIndex { price } => {
                assert!(matches!(stage, Stage::Indexing { .. }), "{stage:?}");
                assert!(self.next_index == 0 || self.address_used, "a second index without a reason");
                self.address_used = false;
                let index = self.next_index;
                self.next_index += 1;
                return Some(Input::IndexTaken(Invoice { price: *price, ..invoice(index) }));
            }
            Effect::Claim { .. } => {
                assert!(matches!(stage, Stage::Awaiting { .. }), "{stage:?}");
                self.claimed = true;
                return Some(Input::Claimed);
            }
            Effect::Keep(_) => {
                assert!(matches!(stage, Stage::Delivering { .. }), "{stage:?}");
                self.kept += 1;
                return None;
            }
            Effect::Execute { attempt, token } => {
                assert!(self.claimed, "run unpaid");
                assert!(!self.running, "two at a time");
                assert!(matches!(stage, Stage::Running { attempt: counted, .. } if counted == attempt));
                assert!(self.idempotent || self.starts.is_empty(), "run twice");
                assert_eq!(*attempt as usize, self.starts.len() + 1, "starts are not counted");
                self.starts.push(*attempt);
                self.running = true;
                self.tokens_run.extend(*token);
            }
            Effect::Deliver { .. } => {
                assert!(matches!(stage, Stage::Delivering { .. }), "{stage:?}");
                assert!(self.kept > 0, "delivered what is not kept");
                assert!(!self.running, "delivered while it runs");
            }
            Effect::TakeLock { payment } => {
                assert!(matches!(stage, Stage::Locking { .. }), "{stage:?}");
                assert!(payment.is_none() || self.claimed);
            }
            Effect::Hold(_) => assert!(
                matches!(stage, Stage::Ready { .. } | Stage::Running { .. } | Stage::Delivering { .. }),
                "{stage:?}"
            ),
            Effect::SendQuote(quoted) => {
                assert!(matches!(stage, Stage::Quoting { invoice, .. } if invoice == quoted), "{stage:?}");
            }
            Effect::SendRefusal(_) => assert!(matches!(stage, Stage::Refusing { .. }), "{stage:?}"),
            Effect::AskPrice => assert_eq!(*stage, Stage::Pricing),
            Effect::Watch { lapsed, .. } => assert!(
                if *lapsed {
                    matches!(stage, Stage::Lapsed { .. })
                } else {
                    matches!(stage, Stage::Awaiting { .. })
                },
                "{stage:?}"
            ),
            Effect::AwaitPlace => {
                assert!(matches!(stage, Stage::Queued { .. } | Stage::Ready { .. }), "{stage:?}");
            }
            Effect::KillStrays => self.running = false,
            Effect::Kill => {
                assert!(stage.is_ended() || matches!(stage, Stage::Stopping { .. }), "{stage:?}");
            }
            Effect::Revive(_) => assert!(matches!(stage, Stage::Reviving { .. }), "{stage:?}"),
            Effect::Unwatch | Effect::FreePlace | Effect::Release | Effect::Fetch => {}
        }
        self.pending.push(effect);
        None
    }

    /// The world answers one pending effect, one way or the other.
    fn answer(&mut self, choice: u8) {
        if self.pending.is_empty() {
            return;
        }
        let effect = self.pending.remove(usize::from(choice) % self.pending.len());
        let why = match choice % 7 {
            1 => Some(Rejection::AddressUsed),
            2 => Some(Rejection::LockConflict(None)),
            3 => Some(Rejection::State),
            4 => Some(Rejection::Invalid("bad".to_owned())),
            5 if choice > 240 => Some(Rejection::Gone),
            _ => None,
        };
        let called = |call| match why.clone() {
            Some(why) => Input::Rejected(call, why),
            None => Input::Done(call),
        };
        let input = match effect {
            Effect::SendQuote(_) => called(Call::Quote),
            Effect::SendRefusal(_) => called(Call::Refuse),
            Effect::Deliver { .. } => {
                if why.is_none() {
                    self.delivered.push(true);
                }
                called(Call::Deliver)
            }
            Effect::TakeLock { .. } => match why {
                Some(why) => Input::Rejected(Call::Lock, why),
                None => {
                    self.token = self.token.max(1) + u64::from(choice > 200);
                    Input::Locked(lock(self.token))
                }
            },
            Effect::AwaitPlace => Input::Placed,
            Effect::AskPrice => Input::Priced(PRICE),
            Effect::Execute { .. } | Effect::Kill => {
                self.running = false;
                Input::Finished(match why {
                    None => Outcome::Result(Value::Bool(true)),
                    Some(_) => Outcome::Error(error("handler_failed")),
                })
            }
            Effect::Watch { lapsed, .. } => Input::Judged(match (choice % 5, lapsed) {
                (0..=2, false) => settled(),
                (0..=2, true) => Verdict::Unpaid(PaymentError::Late),
                (3, _) => Verdict::Unknown("down".to_owned()),
                _ => Verdict::Unpaid(PaymentError::NotFound),
            }),
            Effect::Hold(_) => Input::LeaseLost,
            _ => return,
        };
        self.hear(input);
    }

    /// The process dies; only the stage is left.
    fn crash(&mut self) {
        self.pending.clear();
        self.hear(Input::Resumed);
    }
}

#[derive(Debug, Clone)]
enum Act {
    See(usize, bool, bool, u8),
    Answer(u8),
    Crash,
    Wait(u16),
    Noise(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0..Status::ALL.len(), any::<bool>(), any::<bool>(), 0u8..4)
            .prop_map(|(status, ours, hash, index)| Act::See(status, ours, hash, index)),
        10 => any::<u8>().prop_map(Act::Answer),
        1 => Just(Act::Crash),
        2 => (0u16..200).prop_map(Act::Wait),
        1 => (0usize..200).prop_map(Act::Noise),
    ];
    proptest::collection::vec(act, 1..80)
}

fn go(world: &mut World, act: Act) {
    match act {
        Act::See(status, ours, hash, index) => world.hear(Input::Seen(Sighting {
            status: Status::ALL[status],
            invoice: ours.then(|| invoice(u32::from(index))),
            submitted: hash.then(|| "AB".to_owned()),
            locked_by_us: ours,
            lock_expires_at: hash.then(|| Timestamp::from_seconds(world.now + 30)),
        })),
        Act::Answer(choice) => world.answer(choice),
        Act::Crash => world.crash(),
        Act::Wait(seconds) => {
            world.now += i64::from(seconds);
            world.hear(Input::Due);
        }
        // Late and lost answers of earlier lives; those that only this life's driver gives are left
        // out: it never claims, takes an index or ends a handler without being asked.
        Act::Noise(number) => {
            let inputs = inputs();
            let input = inputs[number % inputs.len()].clone();
            let driven = matches!(
                input,
                Input::Claimed | Input::IndexTaken(_) | Input::Finished(_) | Input::Locked(_)
            );
            if !driven {
                world.hear(input);
            }
        }
    }
}

/// The walk that every sale takes, so that the random ones certainly get far.
fn until_running(world: &mut World) {
    world.hear(Input::Seen(Sighting { invoice: None, ..seen(Status::Requested) }));
    world.answer(0);
    let accepted =
        Sighting { submitted: Some("AB".to_owned()), invoice: Some(invoice(0)), ..seen(Status::Accepted) };
    world.hear(Input::Seen(accepted));
    for _ in 0..4 {
        world.pending.retain(|effect| !matches!(effect, Effect::Unwatch | Effect::Hold(_)));
        if !matches!(world.stage, Stage::Running { .. }) {
            world.answer(0);
        }
    }
    assert!(matches!(world.stage, Stage::Running { .. }), "{:?}", world.stage);
}

#[test]
fn the_straight_walk_runs_once_and_delivers_once() {
    let mut world = World::new(false);
    until_running(&mut world);
    world.answer(0);
    world.answer(0);
    assert_eq!(world.stage, Stage::Ended { ending: Ending::Delivered });
    assert_eq!((world.starts.as_slice(), world.delivered.len()), ([1].as_slice(), 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_walk_breaks_a_rule(idempotent: bool, paid: bool, acts in acts()) {
        let mut world = World::new(idempotent);
        if paid {
            until_running(&mut world);
        }
        for act in acts {
            go(&mut world, act);
        }
    }
}
