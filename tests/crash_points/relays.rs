//! The relay dies at each of its points, while a worker and a buyer rely on it.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nano_worker::client::{JobsQuery, OffersQuery};
use nano_worker::nano::Amount;
use nano_worker::points::POINTS;
use nano_worker::protocol::{Actor, Code, Status};

use crate::lane::Lane;
use crate::oracle;
use crate::process::Process;
use crate::seller::{PRICE, Path as Unused, Seller, offer};
use crate::stories::{ECHO, End, Story, Told};
use crate::{all, report, wanted};

/// How a relay that died is brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// It is started again; the others have waited.
    Run,
    /// The worker is killed as well.
    WorkerToo,
    /// It dies once more at the same point, if it gets there.
    Twice,
}

impl Path {
    const ALL: [Self; 3] = [Self::Run, Self::WorkerToo, Self::Twice];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// All goes well.
    Sale,
    /// A move is refused for good, and asked for again under the same key.
    Refused,
    /// A quote expires.
    Expired,
    /// The relay is told to stop during the sale.
    Stopped,
}

/// How often a point is passed before the relay dies there: each time is another move of the sale.
/// And what happens, where that is not the usual sale.
const OCCASIONS: &[(&str, &[u32], Shape)] = &[
    ("relay/job/decided", &[0, 1, 2, 3, 4, 5], Shape::Sale),
    ("relay/job/committed", &[0, 1, 2, 3, 4, 5], Shape::Sale),
    ("relay/answer/made", &[0, 1, 2, 3, 5, 8, 13], Shape::Sale),
    ("relay/answer/durable", &[0, 1, 2, 3, 5, 8, 13], Shape::Sale),
    ("relay/nonce/decided", &[0, 1, 3, 7], Shape::Sale),
    ("relay/nonce/committed", &[0, 1, 3, 7], Shape::Sale),
    ("relay/claim/made", &[0, 1, 2, 3], Shape::Sale),
    ("relay/hint/due", &[0, 1, 2, 3], Shape::Sale),
    ("relay/refusal/decided", &[0], Shape::Refused),
    ("relay/refusal/committed", &[0], Shape::Refused),
    ("relay/sweep/due", &[0], Shape::Expired),
    ("relay/sweep/expired", &[0], Shape::Expired),
    ("relay/sweep/forgetting", &[0, 8], Shape::Sale),
    ("relay/sweep/forgotten", &[0, 8], Shape::Sale),
    ("relay/stop/draining", &[0], Shape::Stopped),
    ("relay/stop/drained", &[0], Shape::Stopped),
];

struct Run {
    point: &'static str,
    passes: u32,
    shape: Shape,
    path: Path,
}

impl Run {
    fn name(&self) -> String {
        format!("{} after {} {:?} {:?}", self.point, self.passes, self.shape, self.path)
    }

    fn points(&self) -> String {
        match self.passes {
            0 => format!("{}=return", self.point),
            passes => format!("{}={passes}*off->return", self.point),
        }
    }

    /// Seconds that a quote stands, where it is to expire.
    fn quote_ttl(&self) -> Option<&'static str> {
        (self.shape == Shape::Expired).then_some("5")
    }
}

fn runs() -> Vec<Run> {
    let points = POINTS.iter().map(|point| point.name).filter(|name| name.starts_with("relay/"));
    let points = points.filter(|name| !crate::bazaar::is_bots(name));
    points
        .flat_map(|point| {
            let usual = (point, &[0][..], Shape::Sale);
            let (_, passes, shape) = *OCCASIONS.iter().find(|(name, ..)| *name == point).unwrap_or(&usual);
            passes.iter().map(move |&passes| (point, passes, shape))
        })
        .flat_map(|(point, passes, shape)| Path::ALL.map(|path| Run { point, passes, shape, path }))
        .filter(|run| wanted(&run.name()))
        .collect()
}

/// Brings the relay back when it has died of the point; panics if it dies of anything else.
async fn tend(lane: &Lane, seller: &Seller, run: &Run, deaths: &AtomicU32) {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let Some(status) = lane.relay().as_mut().and_then(Process::ended) else { continue };
        assert_eq!(status.signal(), Some(6), "the relay did not die of the point: {status}");
        let first = deaths.fetch_add(1, Ordering::SeqCst) == 0;
        match run.path {
            Path::Run => lane.restart_relay(),
            Path::WorkerToo => {
                seller.kill();
                lane.restart_relay();
                seller.live_on();
            }
            Path::Twice if first => lane.start_relay_with(&run.points(), run.quote_ttl()),
            Path::Twice => lane.restart_relay(),
        }
    }
}

async fn tell(story: &Story<'_>, run: &Run, deaths: &AtomicU32) -> Vec<Told> {
    let mut told = Vec::new();
    match run.shape {
        Shape::Sale => {}
        Shape::Refused => {
            let job = story.request("Echo").await;
            story.cancel(job).await;
            // It can be canceled once; who asks again under one key hears one answer.
            let buyer = story.buyer.with_key("once more");
            let refused = story
                .again(async || match buyer.accept(&job).await {
                    Err(error) if error.code() == Some(Code::InvalidState) => Ok(()),
                    Err(error) => Err(error),
                    Ok(job) => panic!("accepted: {job:?}"),
                })
                .await;
            assert_eq!(refused, ());
            told.push(story.ended_as(job, End::Canceled, Amount::ZERO, 0).await);
        }
        Shape::Expired => {
            let job = story.request("Echo").await;
            story.reaches(job, Status::Quoted).await;
            // Whoever looks lets the time pass as well, so nobody looks before the sweeper did.
            let died = async || (deaths.load(Ordering::SeqCst) > 0).then_some(());
            story.eventually("sweep", died).await;
            story.reaches(job, Status::Expired).await;
            told.push(story.ended_as(job, End::Expired, Amount::ZERO, 0).await);
        }
        Shape::Stopped => {
            let job = story.accepted("Echo").await;
            if let Some(relay) = &*story.lane.relay() {
                relay.signal(rustix::process::Signal::TERM);
            }
            story.pay(&job, PRICE).await;
            told.push(story.ended(&job, End::Delivered, PRICE, 1).await);
        }
    }
    for _ in 0..2 {
        let job = story.accepted("Echo").await;
        story.pay(&job, PRICE).await;
        told.push(story.ended(&job, End::Delivered, PRICE, 1).await);
        if run.shape != Shape::Sale {
            break;
        }
    }
    let died = async || (deaths.load(Ordering::SeqCst) > 0).then_some(());
    story.eventually("death at the point", died).await;
    told
}

/// Nothing was done twice because its first answer was lost.
async fn counts(story: &Story<'_>, told: &[Told]) {
    let query = JobsQuery { role: Some(Actor::Buyer), limit: Some(100), ..JobsQuery::default() };
    let jobs = story.again(async || story.buyer.jobs(&query).await).await.jobs;
    assert_eq!(jobs.len(), told.len(), "{jobs:?}");
    let seller = Some(story.seller.client.public_key());
    let query = OffersQuery { seller, ..OffersQuery::default() };
    let offers = story.again(async || story.buyer.offers(&query).await).await.offers;
    assert_eq!(offers.len(), 1, "{offers:?}");
}

async fn check(lane: &Arc<Lane>, run: &Run) {
    let seller = Seller::new(lane, "", Unused::Run);
    seller.configure(&[offer("Echo", false)]);
    seller.handler(ECHO);
    let story = Story::new(&seller, "");
    let deaths = AtomicU32::new(0);
    lane.start_relay_with(&run.points(), run.quote_ttl());
    seller.live_on();
    let told = tokio::select! {
        told = tell(&story, run, &deaths) => told,
        () = tend(lane, &seller, run, &deaths) => return,
        () = seller.tend() => return,
    };
    seller.kill();
    // Where it was to die twice, it may still do so.
    lane.restart_relay();
    counts(&story, &told).await;
    oracle::check(&seller, &told).await;
    *lane.relay() = None;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_dies_anywhere_takes_nothing_back_and_does_nothing_twice() {
    let (started, runs) = (Instant::now(), runs());
    let occasions: std::collections::BTreeSet<_> = runs.iter().map(|run| (run.point, run.passes)).collect();
    let (occasions, count) = (occasions.len(), runs.len());
    // Some points are passed once in the life of a storage, so each run has its own.
    let open = async || ();
    let lanes = async |_: &(), run: &Run| check(&Arc::new(Lane::new().await), run).await;
    let failures = all(runs, Run::name, open, lanes, |_: &()| String::new()).await;
    report(occasions, count, &format!("{} paths", Path::ALL.len()), &failures, started);
}
