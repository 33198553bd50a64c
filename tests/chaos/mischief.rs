//! What is done to the processes and their lines, by the dice; and how it is undone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mock_nano_rpc::{Fault, FaultKind, MockNode};
use rustix::process::Signal;

use crate::cast::{Actor, LOCK_TTL, PARTS, Part, Place, faketime};
use crate::dice::Dice;
use crate::disk::Disk;
use crate::link::{Link, Weather};

/// How often processes are looked after.
pub(crate) const LOOK: Duration = Duration::from_millis(25);

/// The longest that one freeze lasts.
const FREEZE_MAX: Duration = Duration::from_secs(LOCK_TTL.as_secs() + 4);

/// Whose state is on the small disk.
pub(crate) const DISK_OWNER: Part = Part::Worker(2);

/// The lines between the parties.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) worker_relay: Link,
    pub(crate) worker_node: Link,
    pub(crate) buyer_relay: Link,
}

impl Lines {
    fn all(&self) -> [(&'static str, &Link); 3] {
        [
            ("worker-relay", &self.worker_relay),
            ("worker-node", &self.worker_node),
            ("buyer-relay", &self.buyer_relay),
        ]
    }
}

/// What will be undone, and when.
#[derive(Debug)]
enum Undo {
    Thaw(usize),
    Feed(usize),
    SetClock(usize),
    Clear(usize),
    Confirm,
    FreeDisk,
}

/// Everything that can be harmed, and the one who does it.
pub(crate) struct Mischief {
    pub(crate) actors: Vec<Actor>,
    lines: Lines,
    node: Arc<MockNode>,
    disk: Option<Disk>,
    dice: Dice,
    undo: Vec<(Instant, Undo)>,
    next: Instant,
    /// How often each kind of thing was done.
    pub(crate) done: BTreeMap<String, usize>,
}

impl Mischief {
    pub(crate) fn new(
        place: &Place,
        lines: Lines,
        node: Arc<MockNode>,
        disk: Option<Disk>,
        seed: u64,
    ) -> Self {
        Self {
            actors: PARTS[..2].iter().map(|&part| Actor::new(part, place)).collect(),
            lines,
            node,
            disk,
            dice: Dice::of(seed, 0),
            undo: Vec::new(),
            next: Instant::now(),
            done: BTreeMap::new(),
        }
    }

    /// The rest of the cast, once the first worker has registered what its twin offers too.
    pub(crate) fn complete(&mut self, place: &Place) {
        self.actors.extend(PARTS[2..].iter().map(|&part| Actor::new(part, place)));
    }

    /// Makes trouble until the time is over or `enough` is true.
    pub(crate) async fn rage(&mut self, lasts: Duration, enough: impl Fn() -> bool) {
        let end = Instant::now() + lasts;
        self.next = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end && !enough() {
            self.actors.iter_mut().for_each(Actor::look_after);
            self.undo_what_is_due();
            if Instant::now() >= self.next {
                self.next = Instant::now() + Duration::from_millis(self.dice.within(200..2_000));
                self.harm();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Everything is well, and stays so.
    pub(crate) fn heal(&mut self) {
        for (_, undo) in std::mem::take(&mut self.undo) {
            self.perform(&undo);
        }
        for (_, link) in self.lines.all() {
            link.turn(Weather::Fair);
        }
        self.node.clear();
        self.node.hold_confirmations(false);
        self.actors.iter_mut().for_each(Actor::heal);
    }

    /// Looks after the processes for a moment, without harming them.
    pub(crate) async fn rest(&mut self) {
        self.actors.iter_mut().for_each(Actor::look_after);
        tokio::time::sleep(LOOK).await;
    }

    fn harm(&mut self) {
        let what = match self.dice.within(0..100) {
            0..22 => self.kill(),
            22..32 => self.freeze(),
            32..72 => self.bad_weather(),
            72..86 => self.bad_node(),
            86..92 => self.starve(),
            92..96 => self.wrong_clock(),
            _ => self.bad_disk(),
        };
        if let Some(what) = what {
            *self.done.entry(what).or_default() += 1;
        }
    }

    /// Somebody who is up; the relay less often than its share.
    fn victim(&mut self) -> Option<usize> {
        let number = usize::try_from(self.dice.within(0..self.actors.len() as u64)).unwrap();
        self.actors[number].is_up().then_some(number)
    }

    fn kill(&mut self) -> Option<String> {
        let victim = self.victim()?;
        let away = if self.dice.percent(80) { 600 } else { 4_000 };
        let away = Duration::from_millis(self.dice.within(0..away));
        self.actors[victim].kill(away);
        Some(format!("kill -9 {}", kind(self.actors[victim].part)))
    }

    /// A worker for longer than its lock, now and then; a relay for a few seconds.
    fn freeze(&mut self) -> Option<String> {
        let victim = self.victim()?;
        let part = self.actors[victim].part;
        let long = part != Part::Relay && self.dice.percent(40);
        let lasts = match (part, long) {
            (Part::Relay, _) => Duration::from_millis(self.dice.within(300..3_000)),
            (_, true) => LOCK_TTL + Duration::from_millis(self.dice.within(500..4_000)),
            _ => Duration::from_millis(self.dice.within(300..6_000)),
        };
        self.actors[victim].signal(Signal::STOP);
        self.later(lasts.min(FREEZE_MAX), Undo::Thaw(victim));
        Some(format!("SIGSTOP {}{}", kind(part), if long { ", longer than a lock" } else { "" }))
    }

    fn bad_weather(&mut self) -> Option<String> {
        let line = usize::try_from(self.dice.within(0..3)).unwrap();
        let statuses = [500, 502, 503, 429, 410];
        let weather = match self.dice.within(0..10) {
            0 => Weather::Slow(Duration::from_millis(self.dice.within(20..600))),
            1 => Weather::Drip,
            2 => Weather::Refuse,
            3 | 4 => Weather::BlackHole,
            5 => Weather::Cut(usize::try_from(self.dice.within(1..400)).unwrap()),
            6 => Weather::Instead(*self.dice.pick(&statuses)),
            7 => Weather::DoneBut(*self.dice.pick(&statuses[..3])),
            8 => Weather::Garbage,
            _ => Weather::Half,
        };
        let (name, link) = self.lines.all()[line];
        link.turn(weather);
        let lasts = Duration::from_millis(self.dice.within(200..4_000));
        self.later(lasts, Undo::Clear(line));
        let text = format!("{weather:?}");
        let text = text.split(['(', ' ']).next().unwrap_or_default();
        Some(format!("{name}: {text}"))
    }

    fn bad_node(&mut self) -> Option<String> {
        if self.dice.percent(15) {
            self.node.hold_confirmations(true);
            let lasts = Duration::from_millis(self.dice.within(500..4_000));
            self.later(lasts, Undo::Confirm);
            return Some("node: nothing is confirmed".to_owned());
        }
        let kinds = [
            FaultKind::Drop,
            FaultKind::BadGateway,
            FaultKind::ServerError,
            FaultKind::HalfBody,
            FaultKind::EmptyBody,
            FaultKind::Garbage,
            FaultKind::Hang,
            FaultKind::RateLimited { retry_after: Some(1) },
            FaultKind::Slow { delay_ms: 1_500 },
        ];
        let kind = self.dice.pick(&kinds).clone();
        let count = Some(self.dice.within(1..30));
        self.node.fault(Fault { kind: kind.clone(), action: None, count });
        let text = format!("{kind:?}");
        Some(format!("node: {}", text.split([' ', '{']).next().unwrap_or_default()))
    }

    fn starve(&mut self) -> Option<String> {
        let victim = self.victim()?;
        self.actors[victim].starve(true);
        let lasts = Duration::from_millis(self.dice.within(500..4_000));
        self.later(lasts, Undo::Feed(victim));
        Some(format!("no descriptors for the {}", kind(self.actors[victim].part)))
    }

    /// Half of the wrong clocks are too wrong for the relay to believe a signature.
    fn wrong_clock(&mut self) -> Option<String> {
        faketime()?;
        let victim = self.victim()?;
        let actor = &mut self.actors[victim];
        let span = if self.dice.percent(50) { 40 } else { 100_000 };
        let seconds = i64::try_from(self.dice.within(1..span)).unwrap();
        actor.skew = if self.dice.percent(50) { seconds } else { -seconds };
        // A relay whose clock jumps by a day lets every quote expire, which is no fault of anybody's.
        if actor.part == Part::Relay {
            actor.skew %= 20;
        }
        actor.kill(Duration::ZERO);
        let what = format!("wrong clock for the {}", kind(actor.part));
        let lasts = Duration::from_millis(self.dice.within(1_000..6_000));
        self.later(lasts, Undo::SetClock(victim));
        Some(what)
    }

    fn bad_disk(&mut self) -> Option<String> {
        let disk = self.disk.as_ref()?;
        let owner = self.actors.iter_mut().find(|actor| actor.part == DISK_OWNER)?;
        let what = if self.dice.percent(50) {
            disk.fill()
        } else {
            // It comes back at once, to a disk that it cannot use.
            owner.kill(Duration::ZERO);
            disk.forbid()
        };
        let lasts = Duration::from_millis(self.dice.within(500..4_000));
        self.later(lasts, Undo::FreeDisk);
        Some(what.to_owned())
    }

    fn later(&mut self, after: Duration, undo: Undo) {
        self.undo.push((Instant::now() + after, undo));
    }

    fn undo_what_is_due(&mut self) {
        let now = Instant::now();
        let (due, rest) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| *at <= now);
        self.undo = rest;
        let due: Vec<(Instant, Undo)> = due;
        for (_, undo) in due {
            self.perform(&undo);
        }
    }

    fn perform(&mut self, undo: &Undo) {
        match undo {
            Undo::Thaw(victim) => self.actors[*victim].signal(Signal::CONT),
            Undo::Feed(victim) => self.actors[*victim].starve(false),
            Undo::SetClock(victim) => self.actors[*victim].heal(),
            Undo::Clear(line) => self.lines.all()[*line].1.turn(Weather::Fair),
            Undo::Confirm => self.node.hold_confirmations(false),
            Undo::FreeDisk => self.disk.iter().for_each(Disk::free),
        }
    }
}

fn kind(part: Part) -> &'static str {
    match part {
        Part::Relay => "relay",
        Part::Worker(_) => "worker",
        Part::Bot => "bot",
    }
}
