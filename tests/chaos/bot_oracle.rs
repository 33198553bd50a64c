//! What must be true of sales over /v0 when all is well again: by the ledger, the relay's log as each
//! buyer reads it, the letters that were opened, the seller's books, and what handlers wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use nano_worker::client::v0::{BotClient, PayloadsQuery, PollQuery};
use nano_worker::nano::{Account, Amount};
use nano_worker::protocol;
use nano_worker::protocol::v0::lifecycle::TRANSITIONS;
use nano_worker::protocol::v0::lists::Fetched;
use nano_worker::protocol::v0::payload::Kind;
use nano_worker::protocol::v0::{Event, Job, JobId, News, PayloadId, Status};
use nano_worker::worker::v0::job_id;
use serde_json::Value;

use crate::RECOVERY_MAX;
use crate::bots::{self, Bot, Deal, Letter, Manner, Stand};
use crate::cast::{Part, Place};
use crate::mischief::Mischief;
/// Between two looks at what has not ended.
const LOOK: Duration = Duration::from_millis(500);

/// Pages that one buyer may not have read yet.
const PAGES_MAX: usize = 1_000;

/// Everything that there is to know at the end.
pub(crate) struct Evidence<'a> {
    deals: &'a BTreeMap<JobId, Deal>,
    /// What the relay says of each, what it has told the seller, and what the seller's books say.
    ended: Ended,
    /// What the relay has told the buyers.
    log: Vec<Event>,
    /// What is at the relay for the buyers.
    heads: BTreeMap<JobId, Vec<(PayloadId, Kind)>>,
    /// What the buyers have opened.
    letters: BTreeMap<PayloadId, Letter>,
    /// All starts of handlers, also those for others.
    starts: &'a BTreeMap<protocol::JobId, usize>,
    stand: &'a Stand,
}

/// How everything ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    jobs: BTreeMap<JobId, Job>,
    owed: BTreeMap<JobId, Amount>,
    sellers_log: Vec<Event>,
    broken: Vec<String>,
}

/// Waits until every paid job has ended and the seller has heard everything; and how long it took.
pub(crate) async fn recover(
    mischief: &mut Mischief,
    place: &Place,
    deals: &BTreeMap<JobId, Deal>,
    healed: Instant,
) -> (Ended, Duration) {
    let seller = bots::client(&format!("http://{}", place.relay), Part::Bot.seller_byte());
    let mut ended = Ended::default();
    let mut open: Vec<&Deal> = deals.values().collect();
    while !open.is_empty() && healed.elapsed() < RECOVERY_MAX {
        mischief.rest().await;
        let mut left = Vec::new();
        for deal in open {
            if let Ok(job) = seller.job(&deal.job).await {
                ended.jobs.insert(deal.job.clone(), job);
            }
            if !ended.has(place, deal) {
                left.push(deal);
            }
        }
        open = left;
        tokio::time::sleep(LOOK).await;
    }
    let recovered = healed.elapsed();
    for deal in open {
        let (job, owed) = (ended.jobs.get(&deal.job), ended.owed.get(&deal.job));
        ended.broken.push(format!("it has not ended, or is not in the books: {deal:?}, {job:?}, {owed:?}"));
    }
    while !seller.poll(&PollQuery::default()).await.is_ok_and(|page| page.events.is_empty()) {
        mischief.rest().await;
        if healed.elapsed() > RECOVERY_MAX {
            ended.broken.push("the seller does not acknowledge what it was told".to_owned());
            break;
        }
    }
    ended.sellers_log = log(&seller).await;
    (ended, recovered)
}

impl Ended {
    /// Whether nothing more is to become of it: what was paid for is delivered, or stands in the books
    /// as owed back; what is too little stands in them, for it may be made whole within a week. What
    /// was asked for is charged for, or refused; what was not paid then may stay as it is.
    fn has(&mut self, place: &Place, deal: &Deal) -> bool {
        let Some(job) = self.jobs.get(&deal.job) else { return true };
        let unpaid = deal.paid().is_zero() && job.status != Status::Requested;
        if unpaid || job.status == Status::Delivered {
            return true;
        }
        let Books { noted, owed, refused } = Books::of(place, &deal.job);
        if job.status == Status::Requested {
            return refused;
        }
        self.owed.insert(deal.job.clone(), owed);
        match job.status {
            _ if !deal.is_whole() => noted == deal.paid(),
            Status::Expired | Status::Cancelled => owed == deal.paid(),
            Status::Requested | Status::ChargeCreated | Status::Paid | Status::Delivered => false,
        }
    }
}

/// What the seller has written down about a job.
struct Books {
    /// What came for it, and how much of that is owed back.
    noted: Amount,
    owed: Amount,
    refused: bool,
}

impl Books {
    fn of(place: &Place, job: &JobId) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.args(["jobs", "show", job.as_str(), "--json", "--config"]).arg(place.config(Part::Bot));
        let shown = command.current_dir(&place.dir).output().unwrap();
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
        let sum = |name: &str| {
            let pieces = shown["money"].as_array().into_iter().flatten();
            pieces.filter_map(|piece| piece[name].as_str()?.parse().ok()).map(Amount::from_raw).sum()
        };
        Self { noted: sum("amount_raw"), owed: sum("owed_raw"), refused: shown["ending"] == "refused" }
    }
}

/// The whole log of a bot.
async fn log(bot: &BotClient) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let since = events.last().map_or(0, |event| event.event_id);
        let query = PollQuery { since: Some(since), limit: Some(200), ..PollQuery::default() };
        let page = bot.poll(&query).await.unwrap();
        if page.events.is_empty() {
            return events;
        }
        events.extend(page.events);
    }
}

impl<'a> Evidence<'a> {
    /// Lets everybody read what there still is to be read.
    pub(crate) async fn gather(
        stand: &'a Stand,
        deals: &'a BTreeMap<JobId, Deal>,
        ended: Ended,
        bots: Vec<Bot>,
        starts: &'a BTreeMap<protocol::JobId, usize>,
    ) -> Self {
        let (log, heads, letters) = Default::default();
        let mut evidence = Self { deals, ended, log, heads, letters, starts, stand };
        for bot in bots {
            evidence.add(bot).await;
        }
        evidence
    }

    async fn add(&mut self, mut bot: Bot) {
        for _ in 0..PAGES_MAX {
            if bot.news().await {
                break;
            }
        }
        self.log.extend(log(&bot.client).await);
        let mut query = PayloadsQuery { status: Fetched::All, job_id: None, limit: Some(200), cursor: None };
        loop {
            let (page, unreadable) = bot.client.payloads(&query).await.unwrap();
            if unreadable > 0 {
                self.ended.broken.push("the relay lists what nobody can read".to_owned());
            }
            for head in page.payloads {
                self.heads.entry(head.job_id).or_default().push((head.payload_id, head.payload_kind));
            }
            match page.next_cursor {
                Some(next) => query.cursor = Some(next),
                None => break,
            }
        }
        self.letters.append(&mut bot.letters);
    }

    /// Every broken promise, in words.
    pub(crate) fn judge(&self) -> Vec<String> {
        let mut broken = self.ended.broken.clone();
        broken.extend(self.stand.broken.lock().unwrap().clone());
        for (id, deal) in self.deals {
            match self.ended.jobs.get(id) {
                Some(job) => broken.extend(self.judge_one(deal, job)),
                None => broken.push(format!("the relay has forgotten {id}")),
            }
        }
        broken.extend(self.addresses());
        broken
    }

    pub(crate) fn starts_of(&self, deal: &Deal) -> usize {
        self.starts.get(&job_id(&deal.job)).copied().unwrap_or(0)
    }

    fn judge_one(&self, deal: &Deal, job: &Job) -> Vec<String> {
        let mut broken = Vec::new();
        let starts = self.starts_of(deal);
        let result = self.result(&deal.job);
        let mut must = |holds: bool, what: &str| {
            if !holds {
                broken.push(format!("{what}: {starts} starts of {deal:?}, {job:?}, {result:?}"));
            }
        };
        must(deal.idempotent || starts <= 1, "a handler that is not idempotent started twice");
        must(self.is_walk(job), "what its buyer was told is no walk on the table");
        must(self.asked(&deal.job) == 1, "its seller was not told once that it was asked for");
        must(self.is_evidence_right(deal), "the payment that is named is not its own");
        if deal.is_whole() {
            let owed = self.ended.owed.get(&deal.job).copied().unwrap_or_default();
            must(
                job.status == Status::Delivered || owed == deal.paid(),
                "a paid job was neither delivered nor is it owed back",
            );
            // A job that its buyer lets end soon cannot be charged for again; any other can, and is.
            must(job.status == Status::Delivered || deal.hasty, "a buyer who waits has only money owed back");
        } else {
            must(starts == 0, "a handler started for a job that was not paid");
            must(job.status != Status::Paid && job.status != Status::Delivered, "not paid, and called so");
        }
        let results = self.results(&deal.job).count();
        if job.status == Status::Delivered {
            must(results == 1, "not delivered once");
            must(
                result.as_ref().is_some_and(|body| self.is_result_right(deal, body, starts)),
                "not what the handler wrote, and no failure that has a reason",
            );
        } else {
            must(results == 0, "delivered, and not called so");
        }
        broken
    }

    fn results(&self, job: &JobId) -> impl Iterator<Item = &PayloadId> {
        let heads = self.heads.get(job).into_iter().flatten();
        heads.filter(|(_, kind)| *kind == Kind::Deliverable).map(|(id, _)| id)
    }

    /// What the buyer has opened; joined, if it came in parts.
    fn result(&self, job: &JobId) -> Option<String> {
        let body = |id: &PayloadId| Some(self.letters.get(id)?.body.clone());
        let last = body(self.results(job).next()?)?;
        let list: Value = serde_json::from_str(&last).unwrap_or_default();
        match list["parts"].as_array() {
            Some(parts) => parts.iter().map(|part| body(&PayloadId::new(part.as_str()?))).collect(),
            None => Some(last),
        }
    }

    fn is_result_right(&self, deal: &Deal, body: &str, starts: usize) -> bool {
        let read: Value = serde_json::from_str(body).unwrap_or_default();
        match read["error"]["code"].as_str() {
            Some("handler_failed") => starts >= 1 && matches!(deal.kind, "crash" | "die" | "eat" | "orphan"),
            // A start is recorded before it is made.
            Some("worker_interrupted") => !deal.idempotent,
            Some(_) => false,
            None if matches!(deal.kind, "crash" | "die" | "eat") || starts == 0 => false,
            None if deal.kind == "big" => body.len() == 100_000 && body.bytes().all(|byte| byte == b'x'),
            None => read == serde_json::from_str::<Value>(&deal.request).unwrap(),
        }
    }

    /// Whether what the buyer was told leads over the table to where the job is.
    fn is_walk(&self, job: &Job) -> bool {
        let mut at = Status::Requested;
        for event in &self.log {
            let to = match event.news() {
                Some(News::ChargeCreated { job_id, .. } | News::ChargeReissued { job_id, .. })
                    if job_id == job.job_id =>
                {
                    Status::ChargeCreated
                }
                Some(News::Paid { job_id, .. }) if job_id == job.job_id => Status::Paid,
                Some(News::PayloadAvailable { job_id, payload_kind: Kind::Deliverable, .. })
                    if job_id == job.job_id =>
                {
                    Status::Delivered
                }
                Some(News::Expired { job_id, .. }) if job_id == job.job_id => Status::Expired,
                _ => continue,
            };
            if !TRANSITIONS.iter().any(|row| row.from == at && row.to == to) {
                return false;
            }
            at = to;
        }
        // It may have moved since it was looked at, and a buyer is not told that it has cancelled.
        at == job.status || job.status.reaches(at) || job.status == Status::Cancelled
    }

    fn asked(&self, job: &JobId) -> usize {
        let asked =
            |event: &&Event| event.event_type == "job.requested" && event.data["job_id"] == job.as_str();
        self.ended.sellers_log.iter().filter(asked).count()
    }

    /// Each block counts for one job: the one on whose address it is.
    fn is_evidence_right(&self, deal: &Deal) -> bool {
        let named = self.log.iter().filter_map(|event| match event.news() {
            Some(News::Paid { job_id, evidence, .. }) if job_id == deal.job => Some(evidence),
            _ => None,
        });
        named.into_iter().all(|evidence| {
            let hash = evidence.payment_block_hash.unwrap_or_default();
            let amount = evidence.amount_raw_received.unwrap_or_default();
            deal.sent.iter().any(|(_, own, _)| own.to_string() == hash) && amount == deal.paid().to_string()
        })
    }

    /// No address is charged for two jobs, and each holds exactly what was paid to it.
    fn addresses(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut charged: BTreeMap<Account, JobId> = BTreeMap::new();
        for event in &self.log {
            let (Some(News::ChargeCreated { job_id, charge })
            | Some(News::ChargeReissued { job_id, charge })) = event.news()
            else {
                continue;
            };
            let account: Account = charge.address.parse().unwrap();
            if let Some(other) = charged.insert(account, job_id.clone()).filter(|other| *other != job_id) {
                broken.push(format!("{account} is charged for {other} and for {job_id}"));
            }
        }
        for (account, job) in &charged {
            let sent = self.deals.get(job).map(|deal| &deal.sent).into_iter().flatten();
            let expected: Amount = sent.filter(|(to, ..)| to == account).map(|(.., amount)| *amount).sum();
            let received = self.stand.market.node.with(|node, _| {
                let waiting = node.ledger.receivables(account).map(|(_, receivable)| receivable.amount);
                waiting.fold(node.ledger.balance(account), Amount::saturating_add)
            });
            if received != expected {
                broken.push(format!("{account} of {job} has {received}, not {expected}"));
            }
        }
        broken
    }

    /// The figures.
    pub(crate) fn tell(&self, recovered: Duration) {
        let count = |status| self.ended.jobs.values().filter(|job| job.status == status).count();
        let whole = || self.deals.values().filter(|deal| deal.is_whole());
        let late = whole().filter(|deal| deal.manner == Manner::Late).count();
        let owed = |hasty| {
            let debts = self.ended.owed.iter().filter(|(_, owed)| !owed.is_zero());
            debts.filter(|(job, _)| self.deals[*job].hasty == hasty).count()
        };
        let starts: usize = self.deals.values().map(|deal| self.starts_of(deal)).sum();
        let again = self.log.iter().filter(|event| event.event_type == "job.charge_reissued").count();
        println!(
            "over /v0: {} jobs, {} of them paid, {late} of these too late; {} delivered, {} expired; owed \
             back: {} of buyers in a hurry, {} of others; {again} charged again; {starts} handlers started; \
             all ended {:.1} s after the chaos",
            self.deals.len(),
            whole().count(),
            count(Status::Delivered),
            count(Status::Expired),
            owed(true),
            owed(false),
            recovered.as_secs_f32(),
        );
        let mut failed: BTreeMap<String, usize> = BTreeMap::new();
        for id in self.ended.jobs.keys() {
            let body: Value = serde_json::from_str(&self.result(id).unwrap_or_default()).unwrap_or_default();
            if let Some(code) = body["error"]["code"].as_str() {
                *failed.entry(code.to_owned()).or_default() += 1;
            }
        }
        println!("over /v0: failed: {failed:?}");
    }

    /// The worker's own names of all jobs.
    pub(crate) fn ids(&self) -> BTreeSet<protocol::JobId> {
        self.deals.keys().map(job_id).collect()
    }
}
