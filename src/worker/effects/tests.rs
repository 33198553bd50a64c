//! What the hands do while the loop does nothing: it waits for a disk that does not answer.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};

use super::*;
use crate::client::wire::{Request, Response};
use crate::client::{RelayClient, Wire};
use crate::edge::Entropy;
use crate::protocol::signing::Signer;
use crate::protocol::{PublicKey, Status, Timestamp};
use crate::store::Batch;
use crate::worker::calls::Line;
use crate::worker::executor::{Function, Limits};
use crate::worker::keeper::Keeper;
use crate::worker::memory::Record;
use crate::worker::stage::Stage;

const TTL: Duration = Duration::from_millis(500);

/// Longer than anything here takes, on a machine that is busy.
const LONG: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Silent;

impl Wire for Silent {
    fn call(&self, _: Request) -> BoxFuture<'static, Result<Response, String>> {
        pending().boxed()
    }
}

fn client() -> RelayClient {
    let (signer, entropy) = (Signer::from_seed(&[1; 32]), Entropy::system());
    RelayClient::over(Arc::new(Silent), "http://127.0.0.1:9", signer, Clock::system(), entropy).unwrap()
}

/// A handler that never ends by itself: how often it has begun, and how often it was ended.
#[derive(Debug, Default)]
struct Endless {
    begun: AtomicU32,
    ended: AtomicU32,
}

struct Ends(Arc<Endless>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Endless {
    fn service(self: &Arc<Self>) -> Service {
        let own = Arc::clone(self);
        let function = Function::new(move |_| {
            own.begun.fetch_add(1, Ordering::SeqCst);
            let ends = Ends(Arc::clone(&own));
            async move {
                let _ends = ends;
                pending::<Option<Vec<u8>>>().await
            }
            .boxed()
        });
        let handler = Handler {
            kind: HandlerKind::Function(function),
            timeout: LONG * 2,
            limits: Limits { nice: 0, memory_max: None, cpu_percent: None, tasks_max: None },
        };
        Service { handler, places: Arc::new(Semaphore::new(1)), pricing_places: Arc::new(Semaphore::new(1)) }
    }

    fn counts(&self) -> (u32, u32) {
        (self.begun.load(Ordering::SeqCst), self.ended.load(Ordering::SeqCst))
    }
}

struct Scene {
    _dir: tempfile::TempDir,
    hands: Hands,
    keeper: Keeper,
    /// What the loop would hear.
    heard: mpsc::Receiver<Heard>,
    handler: Arc<Endless>,
    job: JobId,
}

/// A worker with one job, whose relay answers nothing.
fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(memory::open(dir.path()).unwrap());
    let (job, offer) = (JobId::from_random([1; 16]), OfferId::from_random([2; 16]));
    let record = Record {
        offer_id: offer,
        buyer_pubkey: PublicKey::from_bytes([3; 32]),
        status: Status::Running,
        stage: Stage::Fresh,
        first_seen_at: Timestamp::default(),
        changed_at: Timestamp::default(),
        lines: 0,
        outcomes: 0,
        invoice: None,
        unquoted: false,
        unpaid: false,
        oddities: Vec::new(),
    };
    let mut batch = Batch::default();
    JOBS.put(&mut batch, &job, &record).unwrap();
    REQUESTS.put(&mut batch, &job, b"{}");
    store.commit(batch).unwrap();
    let handler = Arc::new(Endless::default());
    let (sender, heard) = mpsc::channel(16);
    let (tasks, stop, clock) = (Tasks::system(), CancellationToken::new(), Clock::system());
    let holder = "holder".to_owned();
    let keeper =
        Keeper::start(&tasks, client(), clock.clone(), holder.clone(), TTL, sender.clone(), stop.clone());
    let keeper = keeper.unwrap();
    let hands = Hands {
        relay: Counterpart::V1(Arc::new(Line::new(client(), Entropy::system()))),
        store,
        services: Arc::new(RwLock::new(HashMap::from([(offer, handler.service())]))),
        heard: sender,
        watch: mpsc::channel(1).0,
        keeper: Some(keeper.wishes()),
        holder,
        lock_ttl: TTL,
        quote_ttl: None,
        clock,
        tasks,
        drain: CancellationToken::new(),
        stop,
        desk: Arc::new(Desk::default()),
        cage: Arc::new(Cage::find(None)),
    };
    Scene { _dir: dir, hands, keeper, heard, handler, job }
}

const LOCK: Lock = Lock { token: Some(1), expires_at: Timestamp::from_seconds(1) };

const EXECUTE: Effect = Effect::Execute { attempt: 1, token: Some(1) };

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, waited).await.is_ok(), "{what}");
}

async fn next(heard: &mut mpsc::Receiver<Heard>) -> Input {
    match tokio::time::timeout(LONG, heard.recv()).await {
        Ok(Some(Heard::Input(_, input))) => input,
        other => panic!("{other:?}"),
    }
}

/// The lock is lost while the loop waits for a flush that does not come back: nobody decides anything, and
/// the handler must be dead before another worker can have the lock.
#[tokio::test]
async fn a_handler_whose_lock_is_lost_is_killed_while_the_disk_hangs() {
    let Scene { _dir, hands, keeper, mut heard, handler, job } = scene();
    hands.perform(job, Effect::Hold(LOCK)).await;
    hands.perform(job, EXECUTE).await;
    until("the handler begins", || handler.counts().0 == 1).await;
    until("the handler is killed", || handler.counts() == (1, 1)).await;
    // When the disk is back, the loop hears that the lock was lost before it hears of an end.
    assert_eq!(next(&mut heard).await, Input::LeaseLost);
    assert!(matches!(next(&mut heard).await, Input::Finished(_)));

    // The start was decided before, and durable only now.
    hands.perform(job, EXECUTE).await;
    assert!(matches!(next(&mut heard).await, Input::Finished(_)));
    assert_eq!(handler.counts(), (1, 1), "nothing starts under a lock that is lost");

    // What runs under the next lock has nothing to do with the last one.
    hands.perform(job, Effect::Release).await;
    lock_map(&hands.desk.lease_starts).insert(job, hands.clock.uptime() + LONG);
    hands.perform(job, Effect::Hold(LOCK)).await;
    hands.perform(job, EXECUTE).await;
    until("the handler begins again", || handler.counts().0 == 2).await;
    assert_eq!(handler.counts(), (2, 1));
    hands.perform(job, Effect::Kill).await;
    until("it is killed by the loop too", || handler.counts() == (2, 2)).await;
    hands.stop.cancel();
    keeper.join().await;
}
