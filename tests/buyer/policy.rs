//! What may be spent, over real sockets, with real processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mock_nano_rpc::{FaultKind, Lie};
use nano_worker::buyer::policy::{Forbidden, Policy};
use nano_worker::buyer::progress::unwatched;
use nano_worker::buyer::{BuyError, Buyer, Guard, Person};
use nano_worker::edge::Clock;
use nano_worker::nano::{Account, Amount};
use nano_worker::protocol::{Job, PublicKey, Status};
use serde_json::json;

use super::command::{BUY, json, program};
use super::scene::{Scene, payer};
use super::shop::{Manner, OFFER};
use super::{MAX, buy, resume};

fn raw(amount: u128) -> Option<Amount> {
    Some(Amount::from_raw(amount))
}

fn two_a_day() -> Policy {
    Policy { place: "the policy".to_owned(), per_day: raw(2_000), ..Policy::default() }
}

fn under(scene: &Scene, policy: Policy) -> Buyer {
    let guard = Guard { policies: vec![policy], person: None };
    scene.guarded(scene.dir.path(), Clock::system(), guard)
}

fn rule(ended: Result<Job, BuyError>) -> Forbidden {
    match ended {
        Err(BuyError::Policy(rule)) => rule,
        ended => panic!("not the policy's: {ended:?}"),
    }
}

#[tokio::test]
async fn a_day_has_its_limit_and_the_seller_is_told() {
    let scene = Scene::set(10_000).await;
    let buyer = under(&scene, two_a_day());
    for _ in 0..2 {
        assert_eq!(buy(&buyer).await.unwrap().status, Status::Delivered);
    }
    assert!(matches!(rule(buy(&buyer).await), Forbidden::Day { .. }));
    assert_eq!(scene.paid_jobs(), 2);
    let jobs = scene.shop.invoices();
    let declined: Vec<_> = jobs.iter().filter(|(job, _)| job.status == Status::Canceled).collect();
    assert_eq!(declined.len(), 1);
    assert_eq!(declined[0].0.cancel_reason.as_deref(), Some("the buyer's policy is against it"));
    assert!(buyer.memory().interrupted().unwrap().is_empty());
}

#[tokio::test]
async fn purchases_at_once_share_one_allowance() {
    let scene = Scene::set(100_000).await;
    let buyer = under(&scene, two_a_day());
    let tasks: Vec<_> = (0..8)
        .map(|index| {
            let (buyer, offer) = (buyer.clone(), OFFER.parse().unwrap());
            // Different accounts have different chains, and so no turn in common.
            let account = index % 2;
            tokio::spawn(async move { buyer.buy(offer, &json!(1), MAX, account, &unwatched).await.is_ok() })
        })
        .collect();
    scene.mock.fund(&buyer.account(1).unwrap(), Amount::from_raw(100_000)).unwrap();
    let mut bought = 0;
    for task in tasks {
        bought += usize::from(task.await.unwrap());
    }
    assert_eq!((bought, scene.paid_jobs()), (2, 2));
}

#[tokio::test]
async fn a_payment_in_flight_counts_and_a_clock_set_back_gives_nothing_back() {
    let scene = Scene::set(10_000).await;
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = Clock::from_fn({
        let now = Arc::clone(&now);
        move || Clock::system().now().minus(Duration::from_secs(now.load(Ordering::SeqCst)))
    });
    let guard = Guard { policies: vec![Policy { per_day: raw(1_000), ..two_a_day() }], person: None };
    let open = || scene.guarded(scene.dir.path(), clock.clone(), guard.clone());
    let buyer = open();
    // Its money is received, so the next block pays.
    assert_eq!(buyer.receive_all(0, &unwatched).await.unwrap().len(), 1);
    scene.node_fails("process", FaultKind::Drop, None);
    let (mut order, job) = buyer.request(OFFER.parse().unwrap(), &json!(1), None, 0).await.unwrap();
    let (_, job) = buyer.take_up(&job.job_id, 0).await.unwrap();
    let job = buyer.accept(&mut order, &job, None).await.unwrap();
    // Nothing reaches the node any more, so only what was signed can count.
    let ended = buyer.pay(&mut order, &job, None, &unwatched).await;
    assert!(matches!(ended, Err(BuyError::Unknown { .. })), "{ended:?}");
    scene.mock.clear();
    drop(buyer);
    let buyer = open();
    assert!(resume(&buyer).await.unwrap().is_some());
    assert!(matches!(rule(buy(&buyer).await), Forbidden::Day { .. }));
    // Weeks back.
    now.store(5_000_000, Ordering::SeqCst);
    assert!(matches!(rule(buy(&buyer).await), Forbidden::Day { .. }));
    // A day after the payment.
    now.store(1_000_000 - 86_500, Ordering::SeqCst);
    assert_eq!(buy(&buyer).await.unwrap().status, Status::Delivered);
    assert_eq!(scene.paid_jobs(), 2);
}

#[tokio::test]
async fn sellers_and_prices_that_are_not_allowed_are_not_paid() {
    let scene = Scene::set(10_000).await;
    let stranger = PublicKey::from_bytes([5; 32]);
    let table = [
        (Policy { per_job: raw(999), ..Policy::default() }, "policy.per_job"),
        (Policy { sellers: Some(vec![stranger]), ..Policy::default() }, "policy.seller"),
        (Policy { per_seller: raw(999), ..Policy::default() }, "policy.per_seller"),
        (Policy { confirm_above: raw(999), ..Policy::default() }, "policy.no_person"),
    ];
    for (policy, code) in table {
        let buyer = under(&scene, policy);
        assert_eq!(rule(buy(&buyer).await).code(), code);
    }
    assert_eq!(scene.paid_jobs(), 0);
    let own = scene.shop.invoices()[0].0.seller_pubkey;
    let listed = Policy { sellers: Some(vec![own]), per_job: raw(1_000), ..Policy::default() };
    assert_eq!(buy(&under(&scene, listed)).await.unwrap().status, Status::Delivered);
}

#[tokio::test]
async fn a_person_is_asked_once_before_anything_is_signed() {
    let scene = Scene::set(10_000).await;
    let (says, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let person: Person = Arc::new({
        let (says, asked) = (Arc::clone(&says), Arc::clone(&asked));
        move |spend| {
            assert_eq!(spend.amount, Amount::from_raw(1_000));
            asked.fetch_add(1, Ordering::SeqCst);
            says.load(Ordering::SeqCst)
        }
    });
    let policies = vec![Policy { confirm_above: raw(999), ..Policy::default() }];
    let guard = Guard { policies, person: Some(person) };
    let buyer = scene.guarded(scene.dir.path(), Clock::system(), guard);
    assert_eq!(rule(buy(&buyer).await), Forbidden::Declined);
    assert_eq!((asked.load(Ordering::SeqCst), scene.paid_jobs()), (1, 0));
    says.store(true, Ordering::SeqCst);
    assert_eq!(resume(&buyer).await.unwrap().unwrap().status, Status::Delivered);
    assert_eq!((asked.load(Ordering::SeqCst), scene.paid_jobs()), (2, 1));
}

#[tokio::test]
async fn an_expired_quote_is_not_paid_whatever_the_relay_says() {
    let scene = Scene::set(10_000).await;
    // A relay that calls every job accepted, and never lets one end.
    let buyer = scene.buyer();
    let (order, _) = buyer.request(OFFER.parse().unwrap(), &json!(1), None, 0).await.unwrap();
    let job_id = order.job_id.unwrap();
    drop(buyer);
    scene.shop.shelf().lie = Some(|job| job.status = Status::Accepted);
    let late = Clock::from_fn(|| Clock::system().now().plus(Duration::from_secs(16 * 60)));
    let buyer = scene.buyer_with(scene.dir.path(), late);
    let (mut order, job) = buyer.take_up(&job_id, 0).await.unwrap();
    let error = buyer.pay(&mut order, &job, None, &unwatched).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    assert_eq!(scene.paid_jobs(), 0);
}

/// What a block pays is the difference between two balances, and no policy sees more than one.
#[tokio::test]
async fn a_node_that_understates_what_we_have_gets_no_block_of_ours() {
    let scene = Scene::set(10_000).await;
    let buyer = under(&scene, two_a_day());
    assert_eq!(buyer.receive_all(0, &unwatched).await.unwrap().len(), 1);
    drop(buyer);
    let head = scene.mock.with(|node, _| node.ledger.account(&payer()).unwrap().frontier);
    scene.mock.lie(head, Lie { head_balance: raw(1_000), ..Lie::default() });
    let buyer = under(&scene, two_a_day());
    let ended = buy(&buyer).await;
    assert!(matches!(ended, Err(BuyError::Node { .. })), "{ended:?}");
    assert_eq!(scene.mock.with(|node, _| node.ledger.balance(&payer()).raw()), 10_000);
    scene.mock.clear();
    assert_eq!(resume(&buyer).await.unwrap().unwrap().status, Status::Delivered);
    assert_eq!(scene.mock.with(|node, _| node.ledger.balance(&payer()).raw()), 9_000);
}

const HOME: &str = "nano_1111111111111111111111111111111111111111111111111111hifc8npp";

fn write_policy(scene: &Scene, text: &str) {
    let seed = hex::encode(super::scene::SEED);
    for (name, text) in [("seed", seed.as_str()), ("seed.policy.toml", text)] {
        let path = scene.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).unwrap();
    }
}

#[tokio::test]
async fn no_flag_and_no_other_file_lifts_the_policy_beside_the_seed() {
    let scene = Scene::set(10_000).await;
    write_policy(&scene, "journal = 'counted'\nmax_per_job_xno = '0'");
    let coded = async |arguments: &[&str]| {
        let (code, value) = json(&scene, &[arguments, &["--seed", "file:seed"]].concat()).await;
        (code, value["error"]["code"].as_str().unwrap_or_default().to_owned(), value)
    };
    let (code, name, _) = coded(&BUY).await;
    assert_eq!((code, name.as_str()), (11, "policy.per_job"));
    // Another journal would be an empty one.
    let (code, name, value) = coded(&[&BUY[..], &["--state", "elsewhere"]].concat()).await;
    assert_eq!((code, name.as_str()), (2, "config"), "{value}");
    std::fs::write(scene.dir.path().join("mine.toml"), "[state]\ndir = 'elsewhere'").unwrap();
    assert_eq!(coded(&[&BUY[..], &["--config", "mine.toml"]].concat()).await.0, 2);
    std::fs::write(scene.dir.path().join("mine.toml"), "[policy]\njournal = 'counted'").unwrap();
    assert_eq!(coded(&[&BUY[..], &["--config", "mine.toml"]].concat()).await.1, "policy.per_job");
    let (code, name, _) = coded(&["wallet", "sweep", "--to", HOME]).await;
    assert_eq!((code, name.as_str()), (11, "policy.withdrawal"));
    assert_eq!(coded(&["account"]).await.0, 0);
    assert_eq!(scene.paid_jobs(), 0);
    assert!(scene.sent_to(&HOME.parse::<Account>().unwrap()).is_empty());
}

/// No link, no copy: the seed is the policy's wherever it is called from.
#[tokio::test]
async fn no_other_name_of_the_seed_lifts_its_policy() {
    let scene = Scene::set(10_000).await;
    std::fs::create_dir(scene.dir.path().join("vault")).unwrap();
    write_policy(&scene, "journal = 'counted'\nmax_per_job_xno = '0'");
    for name in ["seed", "seed.policy.toml"] {
        std::fs::rename(scene.dir.path().join(name), scene.dir.path().join("vault").join(name)).unwrap();
    }
    std::os::unix::fs::symlink("vault/seed", scene.dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("vault", scene.dir.path().join("folder")).unwrap();
    let coded = async |arguments: &[&str]| {
        let (code, value) = json(&scene, arguments).await;
        (code, value["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let forbidden = |name: &str| (11, name.to_owned());
    for seed in ["file:vault/seed", "file:link", "file:folder/seed", "file:folder/../vault/./seed"] {
        let ended = coded(&[&BUY[..], &["--seed", seed]].concat()).await;
        assert_eq!(ended, forbidden("policy.per_job"), "{seed}");
        let export = ["wallet", "export", "--secret", "--out", "copy", "--seed", seed];
        assert_eq!(coded(&export).await, forbidden("policy.secret"), "{seed}");
        let from = seed.strip_prefix("file:").unwrap();
        let import = ["wallet", "import", from, "--out", "copy"];
        assert_eq!(coded(&import).await, forbidden("policy.secret"), "{seed}");
    }
    assert!(!scene.dir.path().join("copy").exists());
    assert_eq!(scene.paid_jobs(), 0);
}

/// What the policy says now is what counts, and one that cannot be read pays nothing.
#[tokio::test]
async fn a_policy_that_changes_counts_from_then_on() {
    let scene = Scene::set(10_000).await;
    let file = scene.dir.path().join("seed.policy.toml");
    let coded = async || json(&scene, &[&BUY[..], &["--seed", "file:seed"]].concat()).await.0;
    let day = |raw: u32| format!("journal = 'counted'\nmax_per_day_xno = '0.{raw:030}'");
    write_policy(&scene, &day(1_000));
    assert_eq!((coded().await, coded().await), (0, 11));
    write_policy(&scene, &day(2_000));
    assert_eq!((coded().await, coded().await), (0, 11), "what was spent before counts");
    write_policy(&scene, &day(9_000));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o646)).unwrap();
    assert_eq!(coded().await, 2, "anybody could have written it");
    for broken in
        ["", "journal = 'counted'\nmax_per_day_xno = 'all'", "journal = 'counted'\nmax = 1", "\u{0}"]
    {
        write_policy(&scene, broken);
        assert_eq!(coded().await, 2, "{broken}");
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert_eq!(coded().await, 2, "what is there and cannot be read is no permission");
    assert_eq!(scene.paid_jobs(), 2);
}

/// Many processes that are started at once, and killed and started again: never more than allowed.
#[tokio::test]
async fn a_race_of_processes_spends_one_allowance() {
    let scene = Scene::set(100_000).await;
    let policy = "journal = 'counted'\nmax_per_day_xno = '0.000000000000000000000000003'";
    write_policy(&scene, policy);
    for round in 0..4 {
        let racers: Vec<_> = (0..4)
            .map(|racer| {
                let mut command = program(&scene, &BUY);
                command.args(["--seed", "file:seed"]).kill_on_drop(true);
                command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
                (racer, command.spawn().unwrap())
            })
            .collect();
        for (racer, mut child) in racers {
            if round < 3 && racer % 2 == 0 {
                tokio::time::sleep(Duration::from_millis(40)).await;
                child.start_kill().ok();
            }
            child.wait().await.unwrap();
        }
        assert!(scene.paid_jobs() <= 3, "more was spent than is allowed");
    }
    scene.shop.shelf().manner = Manner::Prompt;
    // One after the other they use it up, and not more.
    let mut codes = Vec::new();
    let flags = ["--seed", "file:seed"];
    json(&scene, &[&["resume"][..], &flags].concat()).await;
    for _ in 0..4 {
        codes.push(json(&scene, &[&BUY[..], &flags].concat()).await.0);
    }
    assert_eq!(scene.paid_jobs(), 3, "{codes:?}");
    assert_eq!(codes.last(), Some(&11), "{codes:?}");
}
