//! What will happen: drawn from a seed, and small enough to be made smaller.

use crate::bugs::Bug;
use crate::rng::Rng;

/// In how many of a thousand schedules a bot sells over /v0.
const BOTS: u64 = 200;

/// The number of the first job that is asked of a bot.
pub(crate) const FIRST_OF_BOTS: usize = 100;

/// Everybody who is somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Relay,
    Node,
    Worker(usize),
    Buyers,
}

/// In how many of a thousand schedules coins are brought home.
const COINS: u64 = 250;

/// One schedule.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    /// Whether all workers draw addresses from the same place of the same seed.
    pub(crate) same_indices: bool,
    pub(crate) lock_ttl_s: u64,
    pub(crate) poll_max_ms: u64,
    /// How long the relay keeps events.
    pub(crate) retention_s: u64,
    /// How long an accepted job may stay unpaid.
    pub(crate) accept_ttl_s: u64,
    pub(crate) quote_ttl_s: u64,
    pub(crate) payment_window_s: u64,
    /// Whether the relay counts requests.
    pub(crate) limited: bool,
    pub(crate) net: Net,
    pub(crate) jobs: Vec<Job>,
    pub(crate) faults: Vec<Fault>,
    /// How the coins are brought home, if they are.
    pub(crate) coins: Option<Coins>,
    /// What is asked of a bot, if there is one beside the workers: over /v0.
    pub(crate) bots: Vec<Job>,
    /// When everything is well again.
    pub(crate) heal_ms: u64,
    /// A bug that is put in on purpose, to see that it is found.
    pub(crate) bug: Option<Bug>,
}

/// How bad the network is, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Net {
    pub(crate) lost: u64,
    pub(crate) answer_lost: u64,
    pub(crate) repeated: u64,
    pub(crate) slow: u64,
    pub(crate) hints_lost: u64,
}

/// How the coins are brought home.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coins {
    /// How often.
    pub(crate) every_s: u64,
    /// Whether what is the buyers' is sent back.
    pub(crate) refunds: bool,
    /// Whether the workers do so by themselves.
    pub(crate) auto: bool,
}

/// What is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Fixed price, may be started again.
    Idempotent,
    /// Fixed price, must not.
    Once,
    /// The handler names the price; must not be started again.
    Asked,
}

impl Offer {
    pub(crate) const ALL: [Self; 3] = [Self::Idempotent, Self::Once, Self::Asked];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idempotent => "idempotent",
            Self::Once => "once",
            Self::Asked => "asked",
        }
    }

    pub(crate) const fn is_idempotent(self) -> bool {
        matches!(self, Self::Idempotent)
    }
}

/// What a buyer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Pays, and leaves it to the seller to find the payment.
    Silent,
    Parts,
    Underpays,
    PaysTwice,
    /// A block that pays half, then the rest once the first half has been looked at.
    TopsUp,
    /// Submits the block that pays another job.
    StealsHash,
    /// Submits a hash that nobody knows.
    InventsHash,
    CancelsEarly,
    /// Pays, then cancels.
    CancelsLate,
    NeverPays,
    /// Pays long after accepting.
    PaysLate,
    /// Pays, and takes the money back before it is confirmed.
    DoubleSpends,
    /// Buries the invoice in tiny payments first.
    Dust,
}

/// One job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) number: usize,
    pub(crate) at_ms: u64,
    pub(crate) offer: Offer,
    pub(crate) manner: Manner,
    /// How long its handler works.
    pub(crate) work_ms: u64,
    pub(crate) handler: Handler,
}

/// How a handler ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    Succeeds,
    Fails,
    Hangs,
}

/// Something goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) at_ms: u64,
    pub(crate) kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FaultKind {
    /// The process dies after so many more of its effects, and is started again later. Of what had
    /// not passed the barrier, so many commits are on the disk all the same.
    Crash {
        host: Host,
        after_effects: u64,
        down_ms: u64,
        spared: usize,
    },
    /// The process is told to stop, and is started again later.
    Stop {
        host: Host,
        down_ms: u64,
    },
    /// The relay dies, and comes back with nothing.
    Replace {
        after_effects: u64,
        down_ms: u64,
    },
    Partition {
        one: Host,
        other: Host,
        for_ms: u64,
    },
    /// The wall clock is set by so much, until everything is well.
    Clock {
        host: Host,
        by_ms: i64,
    },
    /// The node hears nothing of the network.
    Unsynced {
        for_ms: u64,
    },
    /// Nothing is confirmed.
    Unconfirmed {
        for_ms: u64,
    },
    /// The node answers late.
    NodeSlow {
        for_ms: u64,
        delay_ms: u64,
    },
    /// The node answers with nonsense, or asks to be left alone.
    NodeBroken {
        for_ms: u64,
        how: Broken,
    },
    /// Flushes take so long.
    SlowDisk {
        host: Host,
        for_ms: u64,
        flush_ms: u64,
    },
}

impl FaultKind {
    /// The same for another worker than the first.
    fn at(self, other: Host) -> Self {
        let moved = |host| if host == Host::Worker(0) { other } else { host };
        match self {
            Self::Crash { host, after_effects, down_ms, spared } => {
                Self::Crash { host: moved(host), after_effects, down_ms, spared }
            }
            Self::Stop { host, down_ms } => Self::Stop { host: moved(host), down_ms },
            Self::Partition { one, other, for_ms } => {
                Self::Partition { one: moved(one), other: moved(other), for_ms }
            }
            Self::Clock { host, by_ms } => Self::Clock { host: moved(host), by_ms },
            Self::SlowDisk { host, for_ms, flush_ms } => {
                Self::SlowDisk { host: moved(host), for_ms, flush_ms }
            }
            same => same,
        }
    }
}

/// How a node fails to answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Broken {
    Garbage,
    Limited,
    Gateway,
    Empty,
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let rng = &mut Rng::named(seed, "plan");
        let heal_ms = rng.pick(&[60_000, 120_000, 300_000, 900_000]);
        let workers = if rng.chance(350) { 2 } else { 1 };
        let rough = rng.pick(&[0, 0, 20, 60, 150]);
        let net = Net {
            lost: rng.below(rough + 1),
            answer_lost: rng.below(rough + 1),
            repeated: rng.below(rough + 1),
            slow: rng.below(rough + 1),
            hints_lost: rng.pick(&[0, 300, 1_000]),
        };
        let mut plan = Self {
            seed,
            workers,
            same_indices: rng.chance(500),
            lock_ttl_s: rng.pick(&[10, 20, 60, 300]),
            poll_max_ms: rng.pick(&[5_000, 20_000, 60_000]),
            retention_s: rng.pick(&[5, 20, 60, 3_600]),
            accept_ttl_s: rng.pick(&[60, 300, 1_800]),
            quote_ttl_s: rng.pick(&[30, 300, 900]),
            payment_window_s: rng.pick(&[60, 300, 1_800]),
            limited: rng.chance(100),
            net,
            jobs: Vec::new(),
            faults: Vec::new(),
            coins: coins(seed),
            bots: Vec::new(),
            heal_ms,
            bug: None,
        };
        for number in 0..rng.between(1, 5) as usize {
            plan.jobs.push(job(rng, number, heal_ms));
        }
        for _ in 0..rng.pick(&[0, 1, 2, 3, 5, 8]) {
            plan.faults.push(fault(rng, workers, heal_ms));
        }
        plan.add_bots();
        plan.faults.sort_by_key(|fault| fault.at_ms);
        plan
    }

    /// A stream of its own, again: plans are drawn as they were before there were bots.
    fn add_bots(&mut self) {
        let rng = &mut Rng::named(self.seed, "bots");
        if !rng.chance(BOTS) {
            return;
        }
        for number in 0..rng.between(1, 3) as usize {
            let drawn = job(rng, FIRST_OF_BOTS + number, self.heal_ms);
            let manner = rng.pick(&[
                Manner::Honest,
                Manner::Honest,
                Manner::Silent,
                Manner::Parts,
                Manner::Underpays,
                Manner::TopsUp,
                Manner::NeverPays,
                Manner::PaysLate,
            ]);
            self.bots.push(Job { offer: Offer::Once, manner, ..drawn });
        }
        for _ in 0..rng.pick(&[0, 0, 1, 2, 4]) {
            let mut fault = fault(rng, 1, self.heal_ms);
            fault.kind = fault.kind.at(Host::Worker(self.workers));
            self.faults.push(fault);
        }
    }

    /// How many workers there are, with the bot, which is the last.
    pub(crate) fn sellers(&self) -> usize {
        self.workers + usize::from(!self.bots.is_empty())
    }
}

/// A stream of its own: the rest of a seed's story is as it was before there were coins in it.
fn coins(seed: u64) -> Option<Coins> {
    let rng = &mut Rng::named(seed, "coins");
    let (every_s, refunds) = (rng.pick(&[5, 20, 60]), rng.chance(500));
    // Of these in half. A stream of its own for the same reason.
    let auto = refunds && Rng::named(seed, "refunds by themselves").chance(500);
    rng.chance(COINS).then_some(Coins { every_s, refunds, auto })
}

fn job(rng: &mut Rng, number: usize, heal_ms: u64) -> Job {
    use Manner::*;
    let manners = [
        Honest,
        Honest,
        Honest,
        Honest,
        Silent,
        Silent,
        Parts,
        Underpays,
        PaysTwice,
        TopsUp,
        StealsHash,
        InventsHash,
        CancelsEarly,
        CancelsLate,
        NeverPays,
        PaysLate,
        DoubleSpends,
        Dust,
    ];
    let handlers = [Handler::Succeeds, Handler::Succeeds, Handler::Succeeds, Handler::Fails, Handler::Hangs];
    Job {
        number,
        at_ms: rng.below(heal_ms / 2),
        offer: rng.pick(&Offer::ALL),
        manner: rng.pick(&manners),
        work_ms: rng.pick(&[0, 10, 1_000, 10_000, 45_000]),
        handler: rng.pick(&handlers),
    }
}

fn fault(rng: &mut Rng, workers: usize, heal_ms: u64) -> Fault {
    let at_ms = rng.below(heal_ms);
    let worker = Host::Worker(rng.below(workers as u64) as usize);
    let for_ms = rng.pick(&[500, 5_000, 30_000, 120_000]);
    let crash = |rng: &mut Rng, host| FaultKind::Crash {
        host,
        after_effects: rng.below(40),
        down_ms: rng.pick(&[0, 100, 2_000, 15_000, 90_000]),
        spared: rng.pick(&[0, 0, 1, 2, 99]),
    };
    let kind = match rng.below(20) {
        0..=4 => crash(rng, worker),
        5..=6 => crash(rng, Host::Relay),
        7 => FaultKind::Stop { host: worker, down_ms: rng.pick(&[0, 2_000, 30_000]) },
        8 => FaultKind::Replace { after_effects: rng.below(40), down_ms: rng.pick(&[0, 2_000, 15_000]) },
        9 => FaultKind::Partition { one: worker, other: Host::Relay, for_ms },
        10 => FaultKind::Partition { one: worker, other: Host::Node, for_ms },
        11 => FaultKind::Partition { one: Host::Buyers, other: Host::Relay, for_ms },
        12 => {
            let host = if rng.chance(700) { worker } else { Host::Buyers };
            let by_ms = rng.pick(&[1_000, 30_000, 50_000, 90_000, 3_600_000]);
            FaultKind::Clock { host, by_ms: if rng.chance(500) { by_ms } else { -by_ms } }
        }
        13 => FaultKind::Clock { host: Host::Relay, by_ms: rng.pick(&[-40_000, -5_000, 300, 900]) },
        14 => FaultKind::Unsynced { for_ms },
        15 => FaultKind::Unconfirmed { for_ms },
        16 => FaultKind::NodeSlow { for_ms, delay_ms: rng.pick(&[100, 3_000, 9_000, 30_000]) },
        17 => {
            let how = rng.pick(&[Broken::Garbage, Broken::Limited, Broken::Gateway, Broken::Empty]);
            FaultKind::NodeBroken { for_ms, how }
        }
        18 => {
            let host = if rng.chance(500) { worker } else { Host::Relay };
            FaultKind::SlowDisk { host, for_ms, flush_ms: rng.pick(&[50, 500, 4_000]) }
        }
        _ => FaultKind::Crash { host: Host::Node, after_effects: 0, down_ms: for_ms, spared: 0 },
    };
    Fault { at_ms, kind }
}
