//! The driver on a real store: what is decided is what is found again.

use serde_json::json;

use super::super::input::{Call, Outcome, Pricing, Rejection};
use super::super::memory::INVOICES;
use super::super::oddity::Policy;
use super::super::payment::{BlockFact, Submitted};
use super::super::stage::{Ending, Lock};
use super::super::terms::Accepts;
use super::*;
use crate::nano::Seed;
use crate::protocol::PublicKey;

mod elsewhere;
mod revived;

const PRICE: Amount = Amount::from_raw(1_000);
const HOLDER: &str = "worker-test";

fn seed() -> Seed {
    Seed::parse(&"1".repeat(64)).unwrap()
}

fn offer() -> OfferId {
    OfferId::from_random([1; 16])
}

fn id(number: u8) -> JobId {
    JobId::from_random([number; 16])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

/// One life of a worker after the other on one directory.
struct Bench {
    dir: tempfile::TempDir,
    life: Option<Engine>,
    /// Whether its offer is one of /v0.
    revives: bool,
    idempotent: bool,
}

impl Bench {
    fn new() -> Self {
        Self::serving(false)
    }

    fn serving(revives: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Self { dir, life: None, revives, idempotent: false };
        bench.reopen();
        bench
    }

    /// The process ends and starts again; only what was committed is left.
    fn reopen(&mut self) {
        self.life = None;
        let store = Arc::new(memory::open(self.dir.path()).unwrap());
        let wallet = Wallet::open(&store, seed(), 0).unwrap();
        let terms = HashMap::from([(offer(), self.terms())]);
        self.life = Some(Engine::open(store, wallet, terms, HOLDER.to_owned()).unwrap());
    }

    fn terms(&self) -> Terms {
        Terms {
            revives: self.revives,
            pricing: Pricing::Fixed(PRICE),
            idempotent: self.idempotent,
            accepts: Accepts::Text,
            request_bytes_max: 100,
            payment_window: Duration::from_secs(100),
            payment: Policy::default(),
        }
    }

    /// All jobs of the relay were heard of.
    fn sync(&mut self) {
        self.take(vec![Heard::Cursor(Position::Synced(None))]);
    }

    fn engine(&mut self) -> &mut Engine {
        self.life.as_mut().unwrap()
    }

    fn store(&self) -> &Store {
        &self.life.as_ref().unwrap().store
    }

    fn take(&mut self, heard: Vec<Heard>) -> Vec<String> {
        let effects = self.engine().take(heard, at(1)).unwrap();
        effects.iter().map(shown).collect()
    }

    fn stage(&self, job: JobId) -> String {
        JOBS.get(self.store(), &job).unwrap().map_or("none".to_owned(), |record| record.stage.to_string())
    }
}

fn shown((job, effect): &(JobId, Effect)) -> String {
    format!("{} {}", job.to_string().get(..2).unwrap(), name(effect))
}

fn name(effect: &Effect) -> String {
    format!("{effect:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

fn job(number: u8, status: Status) -> Job {
    let (seller, buyer) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
    Job { status, ..Job::requested(id(number), offer(), seller, buyer, json!("count me"), at(0)) }
}

/// A job with an invoice on our seed.
fn quoted(number: u8, status: Status, index: u32, price: &str) -> Job {
    let account = seed().account(index).unwrap();
    Job {
        quote_amount_raw: Some(price.to_owned()),
        quote_invoice_address: Some(account.to_string()),
        ..job(number, status)
    }
}

fn whole(job: Job) -> Heard {
    Heard::Job { job: Box::new(job), whole: true }
}

fn paid_by(block: u8, index: u32) -> Facts {
    let fact = BlockFact {
        hash: BlockHash::from_bytes([block; 32]),
        send: Some((seed().account(index).unwrap(), PRICE)),
        confirmed: true,
        claimed_elsewhere: false,
        received: false,
        from: None,
    };
    Facts { submitted: Submitted::None, found: vec![fact], unknown: None, lapsed: false }
}

#[test]
fn what_is_passed_over_is_counted_over_lives() {
    let mut bench = Bench::new();
    for count in 1..=3 {
        let cursor = Position::Events(Epoch("v0".to_owned()), EventId(count));
        bench.take(vec![Heard::PassedOver, Heard::Cursor(cursor)]);
        assert_eq!(memory::passed_over(bench.store()).unwrap(), count);
        bench.reopen();
    }
}

/// Known in others: the index counter is saved late, and a crash hands the same address to two buyers.
#[test]
fn a_quote_consumes_one_index_with_its_stage() {
    let mut bench = Bench::new();
    let effects = bench.take(vec![whole(job(1, Status::Requested)), whole(job(2, Status::Requested))]);
    assert_eq!(effects, ["01 SendQuote", "02 SendQuote"]);
    for life in 0..2 {
        assert_eq!(
            memory::fact(bench.store(), fact::NEXT_INDEX).unwrap().as_deref(),
            Some("2"),
            "life {life}"
        );
        for (number, index) in [(1, 0), (2, 1)] {
            let account = seed().account(index).unwrap();
            let issued = INVOICES.get(bench.store(), &memory::account_key(&account)).unwrap().unwrap();
            assert_eq!((issued.index, issued.job_id), (index, Some(id(number))));
        }
        bench.reopen();
    }
    // Seen again, nothing is consumed again; resumed, the same quote is sent again.
    assert!(bench.take(vec![whole(job(1, Status::Requested))]).is_empty());
    let resumed = bench.engine().resume(at(2)).unwrap();
    let accounts: Vec<_> = resumed
        .iter()
        .map(|(_, effect)| match effect {
            Effect::SendQuote(invoice) => invoice.index,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(accounts, [0, 1]);
}

/// Known in others: one payment satisfies two jobs in a race.
#[test]
fn one_block_pays_one_of_two_jobs_in_one_batch() {
    let mut bench = Bench::new();
    bench.take(vec![whole(job(1, Status::Requested)), whole(job(2, Status::Requested))]);
    bench.take(vec![
        whole(quoted(1, Status::Accepted, 0, "1000")),
        whole(quoted(2, Status::Accepted, 1, "1000")),
    ]);
    // A node that lies shows one block as a payment to both.
    let effects = bench.take(vec![Heard::Facts(id(1), paid_by(9, 0)), Heard::Facts(id(2), paid_by(9, 1))]);
    assert_eq!(effects, ["01 Unwatch", "01 TakeLock"]);
    assert_eq!(bench.stage(id(2)), "awaiting");
    bench.reopen();
    bench.take(vec![Heard::Facts(id(2), paid_by(9, 1))]);
    assert_eq!(bench.stage(id(2)), "awaiting");
    assert_eq!(CLAIMS.get(bench.store(), &BlockHash::from_bytes([9; 32])).unwrap(), Some(id(1)));
    assert_eq!(bench.take(vec![Heard::Facts(id(2), paid_by(8, 1))]), ["02 Unwatch", "02 TakeLock"]);
}

#[test]
fn a_sale_that_dies_after_each_commit_is_made_once() {
    let mut bench = Bench::new();
    let lock = Lock { token: Some(1), expires_at: at(300) };
    let outcome = Outcome::Result(json!({"words": 2}));
    let submitted = Job { payment_tx_hash: Some("AB".to_owned()), ..quoted(1, Status::Accepted, 0, "1000") };
    let walk: Vec<(Heard, &str, &[&str])> = vec![
        (whole(job(1, Status::Requested)), "quoting", &["SendQuote"]),
        (Heard::Input(id(1), Input::Done(Call::Quote)), "quoted", &[]),
        (whole(submitted), "awaiting", &["Watch"]),
        (Heard::Facts(id(1), paid_by(9, 0)), "queued", &["AwaitPlace"]),
        (Heard::Input(id(1), Input::Placed), "locking", &["AwaitPlace"]),
    ];
    for (heard, stage, resumed) in walk {
        bench.take(vec![heard]);
        assert_eq!(bench.stage(id(1)), stage);
        bench.reopen();
        let effects = bench.engine().resume(at(2)).unwrap();
        assert_eq!(effects.iter().map(|(_, effect)| name(effect)).collect::<Vec<_>>(), resumed, "{stage}");
    }
    assert_eq!(bench.take(vec![Heard::Input(id(1), Input::Placed)]), ["01 TakeLock"]);
    assert_eq!(bench.take(vec![Heard::Input(id(1), Input::Locked(lock))]), ["01 Hold", "01 Execute"]);
    assert_eq!(bench.take(vec![Heard::Input(id(1), Input::Finished(outcome.clone()))]), ["01 Deliver"]);
    bench.reopen();
    let resumed = bench.engine().resume(at(3)).unwrap();
    assert_eq!(resumed.iter().map(|(_, effect)| name(effect)).collect::<Vec<_>>(), ["Hold", "Deliver"]);
    assert_eq!(memory::outcome(bench.store(), id(1), 1).unwrap(), outcome);
    bench.take(vec![Heard::Input(id(1), Input::Done(Call::Deliver))]);
    bench.reopen();
    assert_eq!((bench.engine().open_count(), bench.stage(id(1)).as_str()), (0, "ended (delivered)"));
    assert!(bench.take(vec![whole(job(1, Status::Requested))]).is_empty(), "it began again");
}

/// Known in others: a crash between the run and the delivery runs the job again.
#[test]
fn a_handler_that_may_have_run_is_not_started_again() {
    let mut bench = Bench::new();
    bench.take(vec![whole(job(1, Status::Requested))]);
    let submitted = Job { payment_tx_hash: Some("AB".to_owned()), ..quoted(1, Status::Accepted, 0, "1000") };
    bench.take(vec![
        whole(submitted),
        Heard::Facts(id(1), paid_by(9, 0)),
        Heard::Input(id(1), Input::Placed),
    ]);
    let lock = Lock { token: Some(1), expires_at: at(300) };
    assert_eq!(bench.take(vec![Heard::Input(id(1), Input::Locked(lock))]), ["01 Hold", "01 Execute"]);
    bench.reopen();
    let resumed = bench.engine().resume(at(2)).unwrap();
    assert_eq!(
        resumed.iter().map(|(_, effect)| name(effect)).collect::<Vec<_>>(),
        ["KillStrays", "TakeLock"]
    );
    assert_eq!(bench.take(vec![Heard::Input(id(1), Input::Locked(lock))]), ["01 Hold", "01 Deliver"]);
    let Outcome::Error(error) = memory::outcome(bench.store(), id(1), 1).unwrap() else { panic!("a result") };
    assert_eq!(error.code, "worker_interrupted");
}

#[test]
fn an_offer_that_is_not_ours_is_left_alone() {
    let mut bench = Bench::new();
    let other = Job { offer_id: OfferId::from_random([9; 16]), ..job(1, Status::Requested) };
    assert!(bench.take(vec![whole(other)]).is_empty());
    assert_eq!(bench.stage(id(1)), "none");
}

#[test]
fn a_request_that_does_not_fit_the_offer_is_refused_without_an_index() {
    let mut bench = Bench::new();
    for (number, request) in [(1, json!({"no": "text"})), (2, json!("x".repeat(100)))] {
        let wrong = Job { request_payload: request, ..job(number, Status::Requested) };
        assert_eq!(bench.take(vec![whole(wrong)]), [format!("0{number} SendRefusal")]);
    }
    assert_eq!(memory::fact(bench.store(), fact::NEXT_INDEX).unwrap(), None);
    assert_eq!(
        bench.take(vec![whole(Job { request_payload: json!("x".repeat(98)), ..job(3, Status::Requested) })]),
        ["03 SendQuote"]
    );
}

#[test]
fn the_position_is_stored_with_its_page() {
    let mut bench = Bench::new();
    let position = Position::Events(Epoch("e1".to_owned()), EventId(7));
    bench.take(vec![whole(job(1, Status::Requested)), Heard::Cursor(position)]);
    bench.reopen();
    assert_eq!(memory::fact(bench.store(), fact::CURSOR).unwrap().as_deref(), Some("7"));
    assert_eq!(memory::fact(bench.store(), fact::EPOCH).unwrap().as_deref(), Some("e1"));
    assert_eq!(bench.stage(id(1)), "quoting");
    let endless = Position::Listing("x".repeat(1 << 20));
    assert!(bench.take(vec![Heard::Cursor(endless)]).is_empty());
    assert_eq!(memory::fact(bench.store(), fact::LISTING).unwrap(), None);
}

#[test]
fn an_address_of_ours_that_this_state_does_not_know_is_never_given_out_again() {
    let mut bench = Bench::new();
    // Another worker of this seller used it, and the job has ended.
    bench.take(vec![whole(quoted(1, Status::Delivered, 5, "1000"))]);
    assert_eq!(memory::fact(bench.store(), fact::NEXT_INDEX).unwrap().as_deref(), Some("6"));
    bench.reopen();
    let effects = bench.engine().take(vec![whole(job(2, Status::Requested))], at(1)).unwrap();
    assert!(matches!(&effects[..], [(_, Effect::SendQuote(invoice))] if invoice.index == 6), "{effects:?}");
}

#[test]
fn a_foreign_invoice_is_taken_up_at_the_offers_price_and_not_below() {
    let mut bench = Bench::new();
    assert_eq!(bench.take(vec![whole(quoted(1, Status::Accepted, 3, "1000"))]), ["01 Watch"]);
    assert!(bench.take(vec![whole(quoted(2, Status::Accepted, 4, "999"))]).is_empty());
    assert_eq!(bench.stage(id(2)), "ended (elsewhere)");
}

/// Whether what came for it is the seller's depends on that.
#[test]
fn how_a_job_ended_that_another_worker_has_done_is_noted() {
    let status = |bench: &Bench, number| {
        JOBS.get(bench.store(), &id(number)).unwrap().map(|record| (record.status, record.stage.to_string()))
    };
    let mut bench = Bench::new();
    bench.take(vec![whole(quoted(1, Status::Accepted, 4, "999"))]);
    let elsewhere = |status| Some((status, "ended (elsewhere)".to_owned()));
    assert_eq!(status(&bench, 1), elsewhere(Status::Accepted));
    bench.reopen();
    // What overtakes it takes nothing back, and a summary is enough.
    for (heard, known) in [
        (Status::Running, Status::Accepted),
        (Status::Delivered, Status::Delivered),
        (Status::Failed, Status::Delivered),
        (Status::Running, Status::Delivered),
    ] {
        let summary = Heard::Job { job: Box::new(quoted(1, heard, 4, "999")), whole: false };
        assert!(bench.take(vec![summary]).is_empty());
        assert_eq!(status(&bench, 1), elsewhere(known), "{heard}");
    }
    // Of one that ended here this worker's own word counts.
    let mut refused = JOBS.get(bench.store(), &id(1)).unwrap().unwrap();
    (refused.status, refused.stage) = (Status::Requested, Stage::Ended { ending: Ending::Refused });
    let mut batch = Batch::default();
    JOBS.put(&mut batch, &id(2), &refused).unwrap();
    bench.store().commit(batch).unwrap();
    bench.take(vec![whole(job(2, Status::Canceled))]);
    assert_eq!(status(&bench, 2), Some((Status::Requested, "ended (refused)".to_owned())));
}

#[test]
fn no_relay_can_have_one_job_paid_by_the_money_for_another() {
    let mut bench = Bench::new();
    bench.take(vec![whole(job(1, Status::Requested))]);
    // The address of job 1, shown on job 2; and an unknown one of ours on jobs 3 and 4 at once.
    let page = vec![
        whole(quoted(2, Status::Accepted, 0, "1000")),
        whole(quoted(3, Status::Accepted, 7, "1000")),
        whole(quoted(3, Status::Accepted, 7, "1000")),
        whole(quoted(4, Status::Accepted, 7, "1000")),
    ];
    assert_eq!(bench.take(page), ["03 Watch"]);
    for (number, stage) in [(2, "ended (elsewhere)"), (3, "awaiting"), (4, "ended (elsewhere)")] {
        assert_eq!(bench.stage(id(number)), stage, "job {number}");
    }
    bench.reopen();
    assert!(bench.take(vec![whole(quoted(5, Status::Accepted, 7, "1000"))]).is_empty());
}

/// Another worker of the seed had it first, or another address: what comes there is for another job.
#[test]
fn an_address_that_a_job_was_not_quoted_on_is_not_its_own() {
    let quote = |why| Heard::Input(id(1), Input::Rejected(Call::Quote, why));
    let own = |status| whole(quoted(1, status, 0, "1000"));
    let other = |status| whole(quoted(1, status, 7, "1000"));
    let cases = [
        ("used", quote(Rejection::AddressUsed), "01 SendQuote", Some(1), [false, true]),
        ("refused", quote(Rejection::Invalid("no".to_owned())), "01 SendRefusal", None, [false, false]),
        ("never quoted", whole(job(1, Status::Canceled)), "", None, [false, false]),
        ("foreign", whole(job(1, Status::Accepted)), "", None, [false, false]),
        ("other, quoted", other(Status::Quoted), "", Some(7), [false, false]),
        ("other, expired", other(Status::Expired), "01 Watch", Some(7), [false, false]),
        ("other, delivered", other(Status::Delivered), "01 Unwatch", Some(7), [false, false]),
        ("own, expired", own(Status::Expired), "01 Watch", Some(0), [true, false]),
        ("own, delivered", own(Status::Delivered), "01 Unwatch", Some(0), [true, false]),
        ("forgotten", quote(Rejection::Gone), "01 Unwatch", Some(0), [true, false]),
    ];
    for (what, heard, effect, invoice, owners) in cases {
        let mut bench = Bench::new();
        assert_eq!(bench.take(vec![whole(job(1, Status::Requested))]), ["01 SendQuote"]);
        assert_eq!(bench.take(vec![heard]).first().map_or("", String::as_str), effect, "{what}");
        let record = JOBS.get(bench.store(), &id(1)).unwrap().unwrap();
        assert_eq!(record.invoice.map(|invoice| invoice.index), invoice, "{what}");
        assert_eq!([0, 1].map(|index| record.owns(&seed().account(index).unwrap())), owners, "{what}");
        // It is nobody else's either, in this life or the next.
        for _ in 0..2 {
            let effects = bench.take(vec![whole(quoted(2, Status::Accepted, 0, "1000"))]);
            assert!(effects.is_empty(), "{what}: {effects:?}");
            bench.reopen();
        }
    }
}

#[test]
fn texts_of_any_length_do_not_stop_the_worker() {
    let mut bench = Bench::new();
    bench.take(vec![whole(job(1, Status::Requested))]);
    let endless =
        Job { payment_tx_hash: Some("A".repeat(1 << 20)), ..quoted(1, Status::Accepted, 0, "1000") };
    assert_eq!(bench.take(vec![whole(endless)]), ["01 Watch"]);
    let mut silent = paid_by(9, 0);
    silent.found.clear();
    silent.unknown = Some("x".repeat(1 << 20));
    bench.take(vec![Heard::Facts(id(1), silent)]);
    bench.take(vec![Heard::Facts(id(1), paid_by(9, 0))]);
    assert_eq!(bench.stage(id(1)), "queued");
}

#[test]
fn a_job_whose_request_was_not_shown_is_looked_at_first() {
    let mut bench = Bench::new();
    let bare = Heard::Job { job: Box::new(quoted(1, Status::Accepted, 0, "1000")), whole: false };
    assert_eq!(bench.take(vec![bare]), ["01 Fetch"]);
    assert_eq!(bench.stage(id(1)), "none");
}

#[test]
fn another_seed_and_a_damaged_index_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = memory::open(dir.path()).unwrap();
    drop(Wallet::open(&store, seed(), 0).unwrap());
    let other = Seed::parse(&"2".repeat(64)).unwrap();
    assert!(matches!(Wallet::open(&store, other, 0), Err(WalletError::WrongSeed { .. })));
    let mut batch = Batch::default();
    memory::put_fact(&mut batch, fact::NEXT_INDEX, "damaged").unwrap();
    store.commit(batch).unwrap();
    assert!(matches!(Wallet::open(&store, seed(), 0), Err(WalletError::Store(_))));
}

#[test]
fn a_late_payment_is_watched_for_and_recorded() {
    let mut bench = Bench::new();
    bench.take(vec![whole(job(1, Status::Requested))]);
    assert_eq!(bench.take(vec![whole(quoted(1, Status::Expired, 0, "1000"))]), ["01 Watch"]);
    bench.reopen();
    let late = Facts { lapsed: true, ..paid_by(9, 0) };
    bench.take(vec![Heard::Facts(id(1), late)]);
    let record = JOBS.get(bench.store(), &id(1)).unwrap().unwrap();
    assert_eq!(record.stage, Stage::Ended { ending: Ending::PaidLate });
}

#[test]
fn late_money_for_a_job_of_an_earlier_life_is_recorded_as_owed() {
    for (number, status) in [(1, Status::Canceled), (2, Status::Expired)] {
        // All memory is lost: the relay shows how the job ended, with an address of our seed. Whatever
        // price the relay says was asked, the money is not ours.
        let mut bench = Bench::new();
        assert_eq!(bench.take(vec![whole(quoted(number, status, 4, "1"))]).len(), 1);
        assert!(bench.stage(id(number)).starts_with("lapsed"), "{}", bench.stage(id(number)));
        bench.reopen();
        bench.take(vec![Heard::Facts(id(number), Facts { lapsed: true, ..paid_by(9, 4) })]);
        let record = JOBS.get(bench.store(), &id(number)).unwrap().unwrap();
        assert_eq!(record.stage, Stage::Ended { ending: Ending::PaidLate });
        assert!(Ending::PaidLate.owes_money_back());
    }
    // An address that is not on our seed is nobody's business of ours.
    let mut bench = Bench::new();
    let foreign = Account::from_bytes([9; 32]).to_string();
    let job = Job { quote_invoice_address: Some(foreign), ..quoted(3, Status::Canceled, 4, "1000") };
    assert!(bench.take(vec![whole(job)]).is_empty());
    assert_eq!(bench.stage(id(3)), "none");
}

#[test]
fn a_store_that_failed_for_somebody_else_ends_the_worker() {
    let mut bench = Bench::new();
    let broken = Heard::Broken(StoreError::NotDurable("sector 7 is gone".to_owned()));
    let ended = bench.engine().take(vec![whole(job(1, Status::Requested)), broken], at(1));
    assert!(matches!(ended, Err(EngineError::Store(StoreError::NotDurable(_)))), "{ended:?}");
    bench.reopen();
    assert_eq!(bench.stage(id(1)), "none");
}

/// Known in others: jobs that were cancelled are asked about for ever.
#[test]
fn a_cancelled_job_is_asked_about_for_a_while_and_not_for_ever() {
    let mut bench = Bench::new();
    bench.sync();
    bench.take(vec![whole(job(1, Status::Requested))]);
    assert_eq!(bench.take(vec![whole(quoted(1, Status::Canceled, 0, "1000"))]), ["01 Watch"]);
    // A paid one is looked at too: more may come.
    bench.take(vec![whole(job(2, Status::Requested))]);
    bench.take(vec![whole(quoted(2, Status::Accepted, 1, "1000"))]);
    bench.take(vec![Heard::Facts(id(2), paid_by(9, 1))]);
    let canceled = bench.take(vec![whole(quoted(2, Status::Canceled, 1, "1000"))]);
    assert!(canceled.contains(&"02 Watch".to_owned()), "{canceled:?}");
    let week = Duration::from_secs(7 * 86_400);
    for (until, watched) in [(at(0).plus(week), vec!["01 Watch", "02 Watch"]), (at(1).plus(week), vec![])] {
        let ended = bench.engine().take(vec![], until).unwrap();
        assert!(ended.iter().all(|(_, effect)| *effect == Effect::Unwatch), "{ended:?}");
        bench.reopen();
        let mut resumed: Vec<String> = bench.engine().resume(until).unwrap().iter().map(shown).collect();
        resumed.retain(|effect| effect.ends_with("Watch"));
        assert_eq!(resumed, watched, "{until}");
    }
    assert_eq!((bench.engine().open_count(), bench.engine().next_deadline()), (0, None));
}

/// It was paid while no worker ran, and its time was over when one did again.
#[test]
fn what_an_earlier_life_did_not_find_is_looked_for_before_the_job_ends() {
    let nothing = Facts { submitted: Submitted::NotFound, found: vec![], unknown: None, lapsed: false };
    for (seen, effect) in [(paid_by(9, 0), "01 AwaitPlace"), (nothing.clone(), "01 TakeLock")] {
        let mut bench = Bench::new();
        bench.take(vec![whole(job(1, Status::Requested))]);
        let hash = Some("AB".repeat(32));
        bench.take(vec![whole(Job { payment_tx_hash: hash, ..quoted(1, Status::Accepted, 0, "1000") })]);
        bench.take(vec![Heard::Facts(id(1), nothing.clone())]);
        bench.reopen();
        let resumed: Vec<String> = bench.engine().resume(at(500)).unwrap().iter().map(shown).collect();
        assert!(!resumed.is_empty() && resumed.iter().all(|effect| effect == "01 Watch"), "{resumed:?}");
        let then = bench.engine().take(vec![Heard::Facts(id(1), seen)], at(501)).unwrap();
        assert_eq!(then.iter().map(shown).collect::<Vec<_>>(), ["01 Unwatch", effect]);
    }
}

/// What lapsed may have come back since the backup that a state is from.
#[test]
fn a_state_that_has_yet_to_hear_of_its_jobs_ends_none_that_lapsed() {
    let mut bench = Bench::new();
    bench.take(vec![whole(job(1, Status::Requested))]);
    bench.take(vec![whole(quoted(1, Status::Canceled, 0, "1000"))]);
    let end = bench.engine().next_deadline().unwrap();
    assert!(bench.engine().take(vec![], end).unwrap().is_empty());
    assert_eq!(bench.stage(id(1)), "lapsed (canceled)");
    bench.sync();
    let again = bench.engine().next_deadline().unwrap();
    let effects = bench.engine().take(vec![], again).unwrap();
    assert!(again > end && matches!(effects[..], [(_, Effect::Unwatch)]), "{effects:?}");
}

/// The last look was before the payment came, or long ago.
#[test]
fn a_job_is_looked_at_once_more_before_it_is_failed_as_unpaid() {
    let nothing = || Facts { found: Vec::new(), submitted: Submitted::NotFound, ..paid_by(9, 0) };
    for (seen, stage) in [
        (Some(paid_by(9, 0)), "queued"),
        (Some(nothing()), "locking"),
        // No look comes at all: what was seen before decides.
        (None, "locking"),
    ] {
        let mut bench = Bench::new();
        bench.take(vec![whole(job(1, Status::Requested))]);
        let submitted =
            Job { payment_tx_hash: Some("AB".repeat(32)), ..quoted(1, Status::Accepted, 0, "1000") };
        bench.take(vec![whole(submitted)]);
        bench.take(vec![Heard::Facts(id(1), nothing())]);
        let effects = bench.engine().take(vec![], at(101)).unwrap();
        assert!(matches!(effects[..], [(_, Effect::Watch { lapsed: false, .. })]), "{effects:?}");
        assert_eq!(bench.stage(id(1)), "awaiting");
        let later = at(if seen.is_some() { 102 } else { 161 });
        bench
            .engine()
            .take(seen.into_iter().map(|facts| Heard::Facts(id(1), facts)).collect(), later)
            .unwrap();
        assert_eq!(bench.stage(id(1)), stage);
    }
}

#[test]
fn a_deadline_wakes_its_job_once_and_never_in_a_circle() {
    let mut bench = Bench::new();
    bench.take(vec![whole(job(1, Status::Requested))]);
    let submitted = Job { payment_tx_hash: Some("AB".to_owned()), ..quoted(1, Status::Accepted, 0, "1000") };
    bench.take(vec![whole(submitted)]);
    assert_eq!(bench.engine().next_deadline(), Some(at(101)));
    // The offer is withdrawn: other terms hold, and the old deadline means nothing.
    bench.engine().set_terms(HashMap::new());
    bench.engine().take(vec![], at(101)).unwrap();
    assert!(bench.engine().next_deadline().is_some_and(|next| next > at(101)));
}

/// Notifications come twice or not at all; payments are asked for, and hearing one again changes
/// nothing.
#[test]
fn edge_18_a_payment_that_is_heard_of_twice_is_one_payment() {
    let mut bench = Bench::new();
    bench.take(vec![whole(job(1, Status::Requested))]);
    bench.take(vec![whole(quoted(1, Status::Accepted, 0, "1000"))]);
    let twice = vec![Heard::Facts(id(1), paid_by(9, 0)), Heard::Facts(id(1), paid_by(9, 0))];
    assert_eq!(bench.take(twice), ["01 Unwatch", "01 TakeLock"]);
    assert!(bench.take(vec![Heard::Facts(id(1), paid_by(9, 0))]).is_empty());
    assert_eq!(CLAIMS.all(bench.store()).count(), 1);
}
