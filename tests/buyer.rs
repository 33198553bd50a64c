//! Purchases over real sockets: a ledger that knows how often was paid, and a shop that fails,
//! lies and loses answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/bot_seller.rs"]
mod bot_seller;
#[path = "buyer/bots.rs"]
mod bots;
#[path = "buyer/command.rs"]
mod command;
#[path = "buyer/kills.rs"]
mod kills;
#[path = "buyer/policy.rs"]
mod policy;
#[path = "buyer/sale.rs"]
mod sale;
#[path = "buyer/scene.rs"]
mod scene;
#[path = "buyer/shop.rs"]
mod shop;
#[path = "buyer/wallet.rs"]
mod wallet;

use mock_nano_rpc::FaultKind;
use nano_worker::buyer::plan::QuoteError;
use nano_worker::buyer::progress::unwatched;
use nano_worker::buyer::{BuyError, Buyer, Progress};
use nano_worker::edge::Clock;
use nano_worker::nano::{Account, Amount};
use nano_worker::protocol::{Job, Status};
use serde_json::json;

use scene::{Scene, payer};
use shop::{Manner, OFFER, invoice};

const MAX: Amount = Amount::from_raw(5_000);

async fn buy(buyer: &Buyer) -> Result<Job, BuyError> {
    buyer.buy(OFFER.parse().unwrap(), &json!("words"), MAX, 0, &unwatched).await
}

/// Finishes the one purchase that was interrupted.
async fn resume(buyer: &Buyer) -> Result<Option<Job>, BuyError> {
    let mut orders = buyer.memory().interrupted().unwrap();
    assert_eq!(orders.len(), 1);
    buyer.resume(&mut orders[0], &unwatched).await
}

#[tokio::test]
async fn a_purchase_from_a_faucets_money_to_the_result() {
    let scene = Scene::set(10_000).await;
    let buyer = scene.buyer();
    for round in 1..=3 {
        let job = buy(&buyer).await.unwrap();
        assert_eq!(job.status, Status::Delivered);
        assert_eq!(job.result_payload, json!({ "text": "done: \"words\"" }));
        assert_eq!(scene.paid_jobs(), round);
    }
    assert!(buyer.memory().interrupted().unwrap().is_empty());
    let balance = scene.mock.with(|node, _| node.ledger.balance(&payer()));
    assert_eq!(balance, Amount::from_raw(7_000));
}

#[tokio::test]
async fn many_purchases_at_once_share_one_account() {
    let scene = Scene::set(100_000).await;
    let buyer = scene.buyer();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let buyer = buyer.clone();
            tokio::spawn(async move { buy(&buyer).await.map(|job| job.status) })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), Status::Delivered);
    }
    assert_eq!(scene.paid_jobs(), 20);
}

#[tokio::test]
async fn a_price_above_the_limit_is_not_paid_and_the_seller_is_told() {
    let scene = Scene::set(10_000).await;
    scene.shop.shelf().price = Amount::from_raw(5_001);
    let error = buy(&scene.buyer()).await.unwrap_err();
    assert!(matches!(error, BuyError::Quote(QuoteError::TooExpensive { .. })), "{error}");
    assert_eq!(scene.shop.only_job().status, Status::Canceled);
    assert_eq!(scene.paid_jobs(), 0);
}

#[tokio::test]
async fn an_expired_quote_is_not_accepted() {
    let scene = Scene::set(10_000).await;
    scene.shop.shelf().manner = Manner::Brief;
    let error = buy(&scene.buyer()).await.unwrap_err();
    assert!(matches!(error, BuyError::Quote(QuoteError::Expired)), "{error}");
    assert_eq!(scene.paid_jobs(), 0);
}

#[tokio::test]
async fn a_refusal_is_passed_on() {
    let scene = Scene::set(10_000).await;
    scene.shop.shelf().manner = Manner::Refusing("words only");
    let buyer = scene.buyer();
    let error = buy(&buyer).await.unwrap_err();
    assert!(error.to_string().contains("words only"), "{error}");
    assert!(matches!(error, BuyError::Over { status: Status::Canceled, paid: None, .. }), "{error}");
    assert!(buyer.memory().interrupted().unwrap().is_empty());
}

#[tokio::test]
async fn too_little_money_is_said_with_how_much_and_where_to() {
    let scene = Scene::set(0).await;
    let buyer = scene.buyer();
    let error = buy(&buyer).await.unwrap_err();
    assert!(error.to_string().contains(&payer().to_string()), "{error}");
    assert!(matches!(error, BuyError::Underfunded { .. }), "{error}");
    // In several parts, none of which is enough.
    for _ in 0..3 {
        scene.mock.fund(&payer(), Amount::from_raw(400)).unwrap();
    }
    assert_eq!(resume(&buyer).await.unwrap().unwrap().status, Status::Delivered);
    assert_eq!(scene.paid_jobs(), 1);
}

/// Known in others: "the call timed out" is taken for "not paid", and the buyer pays twice.
#[tokio::test]
async fn a_node_that_is_down_makes_a_payment_unknown_and_resume_finishes_it() {
    for (kind, reached) in [
        (FaultKind::Drop, false),
        (FaultKind::BadGateway, false),
        (FaultKind::ServerError, false),
        (FaultKind::Garbage, false),
        (FaultKind::RateLimited { retry_after: None }, false),
        (FaultKind::HalfBody, true),
    ] {
        let scene = Scene::set(10_000).await;
        let buyer = scene.buyer();
        scene.node_fails("process", kind.clone(), None);
        // The receive that comes first fails in the same way.
        let error = buy(&buyer).await.unwrap_err();
        assert!(matches!(error, BuyError::Unknown { .. }), "{kind:?}: {error}");
        drop(buyer);
        scene.mock.clear();
        let buyer = scene.buyer();
        assert_eq!(resume(&buyer).await.unwrap().unwrap().status, Status::Delivered, "{kind:?}");
        assert_eq!(scene.paid_jobs(), 1, "{kind:?} {reached}");
    }
}

#[tokio::test]
async fn a_payment_whose_answer_was_lost_is_not_made_again() {
    let scene = Scene::set(10_000).await;
    let buyer = scene.buyer();
    buy(&buyer).await.unwrap();
    scene.node_fails("process", FaultKind::HalfBody, Some(1));
    assert_eq!(buy(&buyer).await.unwrap().status, Status::Delivered);
    assert_eq!(scene.paid_jobs(), 2);
}

#[tokio::test]
async fn a_relay_that_loses_answers_gets_each_move_once() {
    let scene = Scene::set(10_000).await;
    let buyer = scene.buyer();
    for path in ["/v1/jobs", "/accept", "/payment"] {
        scene.shop.fault(path, true, 502, "<html>Bad Gateway</html>");
        scene.shop.fault(path, false, 500, "");
        scene.shop.fault(path, false, 200, "<html>Welcome</html>");
        scene.shop.fault(path, true, 200, "{\"job\": {");
        scene.shop.fault(path, false, 429, "slow down");
        // Six tries want more patience than one step has; what is left is for resume.
        let mut ended = buy(&buyer).await.ok();
        for _ in 0..10 {
            match &ended {
                Some(_) => break,
                None => ended = resume(&buyer).await.ok().flatten(),
            }
        }
        assert_eq!(ended.unwrap().status, Status::Delivered, "{path}");
    }
    assert_eq!(scene.paid_jobs(), 3);
    assert_eq!(scene.shop.shelf().jobs.len(), 3);
    assert_eq!(scene.shop.shelf().carried_out.len(), 9);
}

#[tokio::test]
async fn another_price_after_the_agreement_is_not_paid() {
    for lie in [(|job: &mut Job| job.quote_amount_raw = Some("1001".to_owned())) as fn(&mut Job), |job| {
        job.quote_invoice_address = Some(Account::from_bytes([6; 32]).to_string())
    }] {
        let scene = Scene::set(10_000).await;
        let buyer = scene.buyer();
        let offer = OFFER.parse().unwrap();
        let (mut order, _) = buyer.request(offer, &json!(1), Some(MAX), 0).await.unwrap();
        let (_, job) = buyer.take_up(&order.job_id.unwrap(), 0).await.unwrap();
        buyer.accept(&mut order, &job, None).await.unwrap();
        scene.shop.shelf().lie = Some(lie);
        let error = resume(&buyer).await.unwrap_err();
        assert!(matches!(error, BuyError::Quote(QuoteError::Changed { .. })), "{error}");
        assert_eq!(scene.paid_jobs(), 0);
        assert!(scene.sent_to(&Account::from_bytes([6; 32])).is_empty());
    }
}

#[tokio::test]
async fn a_failed_job_is_an_end() {
    let scene = Scene::set(10_000).await;
    scene.shop.shelf().manner = Manner::Failing;
    let job = buy(&scene.buyer()).await.unwrap();
    assert_eq!((job.status, &job.error["code"]), (Status::Failed, &json!("handler_failed")));
}

/// Leaves a purchase whose block is signed, kept, and known to nobody.
async fn signed_and_unpublished(scene: &Scene) -> Buyer {
    let buyer = scene.buyer();
    buy(&buyer).await.unwrap();
    scene.node_fails("process", FaultKind::Drop, None);
    assert!(matches!(buy(&buyer).await, Err(BuyError::Unknown { .. })));
    scene.mock.clear();
    // The client of the old process leaves the node alone for a while.
    drop(buyer);
    scene.buyer()
}

#[tokio::test]
async fn a_block_that_lost_its_place_is_replaced_if_nothing_has_reached_the_invoice() {
    let scene = Scene::set(10_000).await;
    let buyer = signed_and_unpublished(&scene).await;
    // The same seed in another journal takes the place.
    let other = tempfile::tempdir().unwrap();
    buy(&scene.buyer_in(other.path())).await.unwrap();
    let job = resume(&buyer).await.unwrap().unwrap();
    assert_eq!(job.status, Status::Delivered);
    assert_eq!(scene.paid_jobs(), 3);
    let order = buyer.memory().order_of(&job.job_id).unwrap().unwrap();
    assert_eq!(order.abandoned.len(), 1);
}

#[tokio::test]
async fn a_block_that_lost_its_place_to_an_unconfirmed_one_is_kept() {
    let scene = Scene::set(10_000).await;
    let buyer = signed_and_unpublished(&scene).await;
    scene.mock.hold_confirmations(true);
    let other = tempfile::tempdir().unwrap();
    scene.shop.shelf().manner = Manner::Prompt;
    buy(&scene.buyer_in(other.path())).await.unwrap();
    assert!(matches!(resume(&buyer).await, Err(BuyError::Unknown { .. })));
    assert_eq!(scene.paid_jobs(), 2);
}

#[tokio::test]
async fn an_invoice_that_has_received_something_is_not_paid_by_a_new_block() {
    let scene = Scene::set(10_000).await;
    let buyer = signed_and_unpublished(&scene).await;
    let other = tempfile::tempdir().unwrap();
    buy(&scene.buyer_in(other.path())).await.unwrap();
    // Somebody has paid the second job's invoice by hand.
    scene.mock.fund(&invoice(1), Amount::from_raw(1_000)).unwrap();
    let error = resume(&buyer).await.unwrap_err();
    assert!(matches!(error, BuyError::PaidElsewhere { .. }), "{error}");
    assert_eq!(scene.sent_to(&invoice(1)).len(), 1);
}

#[tokio::test]
async fn a_journal_that_does_not_know_the_job_asks_the_ledger_before_it_pays() {
    let scene = Scene::set(10_000).await;
    scene.shop.shelf().manner = Manner::Silent;
    // The relay loses the payment's submission for good: the job looks unpaid.
    for _ in 0..20 {
        scene.shop.fault("/payment", false, 500, "");
    }
    assert!(matches!(buy(&scene.buyer()).await, Err(BuyError::Relay { .. })));
    assert_eq!(scene.paid_jobs(), 1);
    let other = tempfile::tempdir().unwrap();
    let buyer = scene.buyer_in(other.path());
    let (mut order, job) = buyer.take_up(&scene.shop.only_job().job_id, 0).await.unwrap();
    let error = buyer.pay(&mut order, &job, None, &unwatched).await.unwrap_err();
    assert!(matches!(error, BuyError::PaidElsewhere { .. }), "{error}");
    assert_eq!(scene.paid_jobs(), 1);
}

#[tokio::test]
async fn blocks_that_a_node_forgot_are_published_again_and_not_replaced() {
    let scene = Scene::set(10_000).await;
    scene.mock.hold_confirmations(true);
    let buyer = scene.buyer();
    // The faucet's send was confirmed before.
    buy(&buyer).await.unwrap();
    buy(&buyer).await.unwrap();
    let first = scene.shop.invoices().into_iter().find(|(_, account)| *account == invoice(0)).unwrap().0;
    let hash = first.payment_tx_hash.unwrap().parse().unwrap();
    assert_eq!(scene.mock.rollback(&hash).unwrap().len(), 2);
    assert_eq!(scene.paid_jobs(), 0);
    drop(buyer);
    assert_eq!(buy(&scene.buyer()).await.unwrap().status, Status::Delivered);
    assert_eq!(scene.paid_jobs(), 3);
}

#[tokio::test]
async fn a_block_that_vanished_under_a_running_buyer_is_published_again() {
    let scene = Scene::set(10_000).await;
    scene.mock.hold_confirmations(true);
    let buyer = scene.buyer();
    buy(&buyer).await.unwrap();
    let hash = scene.shop.only_job().payment_tx_hash.unwrap().parse().unwrap();
    scene.mock.rollback(&hash).unwrap();
    assert_eq!(buy(&buyer).await.unwrap().status, Status::Delivered);
    assert_eq!(scene.paid_jobs(), 2);
}

#[tokio::test]
async fn an_unpublished_block_for_a_dead_job_is_never_published() {
    let scene = Scene::set(10_000).await;
    let buyer = signed_and_unpublished(&scene).await;
    let second = scene.shop.invoices().into_iter().find(|(_, account)| *account == invoice(1)).unwrap().0;
    scene.shop.shelf().expire(second.job_id);
    let error = resume(&buyer).await.unwrap_err();
    assert!(matches!(error, BuyError::Over { status: Status::Expired, paid: None, .. }), "{error}");
    // Its place is free for the next purchase.
    assert_eq!(buy(&buyer).await.unwrap().status, Status::Delivered);
    assert!(scene.sent_to(&invoice(1)).is_empty());
    assert_eq!(scene.paid_jobs(), 2);
}

#[tokio::test]
async fn a_payment_for_a_job_that_expired_meanwhile_is_named() {
    let scene = Scene::set(10_000).await;
    for _ in 0..20 {
        scene.shop.fault("/payment", false, 500, "");
    }
    let buyer = scene.buyer();
    assert!(buy(&buyer).await.is_err());
    scene.shop.shelf().faults.clear();
    let job_id = scene.shop.only_job().job_id;
    scene.shop.shelf().expire(job_id);
    let error = resume(&buyer).await.unwrap_err();
    assert!(matches!(error, BuyError::Over { paid: Some(_), .. }), "{error}");
}

#[tokio::test]
async fn a_block_for_a_job_that_was_paid_by_hand_is_never_published() {
    let scene = Scene::set(10_000).await;
    let buyer = signed_and_unpublished(&scene).await;
    let mut order = buyer.memory().interrupted().unwrap().remove(0);
    let hash = scene.mock.fund(&invoice(1), Amount::from_raw(1_000)).unwrap();
    let job = buyer.submit(&mut order, hash.to_string(), &unwatched).await.unwrap();
    assert_eq!(job.payment_tx_hash, Some(hash.to_string()));
    buyer.wait(&mut order, &unwatched).await.unwrap();
    // The next purchase wants the place that the signed block has.
    assert_eq!(buy(&buyer).await.unwrap().status, Status::Delivered);
    assert_eq!(scene.paid_jobs(), 3);
}

#[tokio::test]
async fn a_submission_or_a_reason_that_was_refused_can_be_corrected() {
    let scene = Scene::set(0).await;
    let buyer = scene.buyer();
    let offer = OFFER.parse().unwrap();
    let (mut order, _) = buyer.request(offer, &json!(1), None, 0).await.unwrap();
    let (_, job) = buyer.take_up(&order.job_id.unwrap(), 0).await.unwrap();
    buyer.accept(&mut order, &job, None).await.unwrap();
    let error = buyer.submit(&mut order, "typo".to_owned(), &unwatched).await.unwrap_err();
    assert!(matches!(error, BuyError::Relay { .. }), "{error}");
    let hash = scene.mock.fund(&invoice(0), Amount::from_raw(1_000)).unwrap();
    let job = buyer.submit(&mut order, hash.to_string(), &unwatched).await.unwrap();
    assert_eq!(job.payment_tx_hash, Some(hash.to_string()));
    let (mut order, _) = buyer.request(offer, &json!(1), None, 0).await.unwrap();
    assert!(buyer.cancel(&mut order, Some(&"x".repeat(201))).await.is_err());
    assert_eq!(buyer.cancel(&mut order, Some("no")).await.unwrap().status, Status::Canceled);
}

#[tokio::test]
async fn a_job_that_ends_while_its_payment_is_prepared_is_not_paid() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let scene = Scene::set(10_000).await;
    let late = std::sync::Arc::new(AtomicU64::new(0));
    let clock = Clock::from_fn({
        let late = std::sync::Arc::clone(&late);
        move || Clock::system().now().plus(std::time::Duration::from_secs(late.load(Ordering::SeqCst)))
    });
    let buyer = scene.buyer_with(scene.dir.path(), clock);
    let (mut order, _) = buyer.request(OFFER.parse().unwrap(), &json!(1), Some(MAX), 0).await.unwrap();
    let (_, job) = buyer.take_up(&order.job_id.unwrap(), 0).await.unwrap();
    let accepted = buyer.accept(&mut order, &job, None).await.unwrap();
    // The work for receiving the money takes so long that the job expires meanwhile.
    let shop = scene.shop.clone();
    let watch = move |progress: &Progress| {
        if matches!(progress, Progress::Receiving { .. }) {
            late.store(600, Ordering::SeqCst);
            shop.shelf().expire(job.job_id);
        }
    };
    let error = buyer.pay(&mut order, &accepted, None, &watch).await.unwrap_err();
    assert!(matches!(error, BuyError::Over { status: Status::Expired, paid: None, .. }), "{error}");
    assert_eq!(scene.paid_jobs(), 0);
}

#[tokio::test]
async fn a_payment_that_vanishes_while_the_seller_waits_for_it_is_published_again() {
    let scene = Scene::set(10_000).await;
    scene.shop.shelf().manner = Manner::Silent;
    scene.mock.hold_confirmations(true);
    let buyer = scene.buyer();
    let buying = tokio::spawn(async move { buy(&buyer).await });
    let published_again = async {
        while scene.shop.shelf().jobs.values().all(|job| job.payment_tx_hash.is_none()) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let hash = scene.shop.only_job().payment_tx_hash.unwrap().parse().unwrap();
        scene.mock.rollback(&hash).unwrap();
        assert_eq!(scene.paid_jobs(), 0);
        while scene.paid_jobs() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(15), published_again).await.unwrap();
    buying.abort();
}

#[tokio::test]
async fn a_block_for_a_job_that_expired_unseen_is_never_published() {
    let scene = Scene::set(10_000).await;
    let buyer = signed_and_unpublished(&scene).await;
    let second = scene.shop.invoices().into_iter().find(|(_, account)| *account == invoice(1)).unwrap().0;
    // The journal still says that the job waits for its payment.
    scene.shop.shelf().expire(second.job_id);
    assert_eq!(buy(&buyer).await.unwrap().status, Status::Delivered);
    assert!(scene.sent_to(&invoice(1)).is_empty());
}

#[tokio::test]
async fn resume_does_not_pay_for_what_was_paid_by_hand() {
    let scene = Scene::set(10_000).await;
    let buyer = signed_and_unpublished(&scene).await;
    scene.mock.fund(&invoice(1), Amount::from_raw(1_000)).unwrap();
    let error = resume(&buyer).await.unwrap_err();
    assert!(matches!(error, BuyError::PaidElsewhere { .. }), "{error}");
    assert_eq!(buy(&buyer).await.unwrap().status, Status::Delivered);
    assert_eq!(scene.sent_to(&invoice(1)).len(), 1);
}
