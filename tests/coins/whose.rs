//! Whose coins they are: what nobody knows to be earned stays where it is.

use super::refunds::auto;
use super::*;

/// One job that another worker has ended, or a life that is forgotten; its price is a coin.
fn elsewhere(status: Status) -> Bench {
    Bench::with(1, &move |index| Some((Ending::Elsewhere, status, index)))
}

async fn sweep_owed(bench: &Bench) -> Value {
    bench.life(&Errand::Sweep { to: None, owed: true, dry_run: false }, Vec::new()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_came_where_no_job_is_known_is_left_until_somebody_says_so() {
    let mut bench = Bench::with(1, &|_| None);
    bench.fund(0, COIN);
    for errand in
        [Errand::Receive { dry_run: false }, Errand::Sweep { to: None, owed: false, dry_run: false }]
    {
        let report = bench.life(&errand, Vec::new()).await.unwrap();
        assert!(report["left"].to_string().contains("no job is known"), "{report}");
        assert_eq!(bench.sums(), (COIN, vec![]), "{report}");
    }
    sweep_owed(&bench).await;
    assert_eq!(bench.sums(), (0, vec![COIN]));
}

#[tokio::test(start_paused = true)]
async fn of_a_job_that_was_delivered_elsewhere_no_more_than_its_price_is_earned() {
    // It came at once, in parts, or a little beside it; then something more comes.
    for parts in [vec![COIN], vec![COIN / 4, COIN / 4 * 3], vec![COIN, 1]] {
        let mut bench = elsewhere(Status::Delivered);
        for part in &parts {
            bench.fund(0, *part);
        }
        let report = bench.sweep().await;
        assert_eq!(bench.sums().1.iter().sum::<u128>(), COIN, "{report}");
        // All of its price has gone home: this is more than it.
        bench.fund(0, COIN / 2);
        for _ in 0..2 {
            let report = bench.sweep().await;
            assert!(report["left"].to_string().contains("raw came for a job of"), "{report}");
            assert_eq!(bench.sums().1.iter().sum::<u128>(), COIN, "{report}");
        }
        sweep_owed(&bench).await;
        assert!(bench.sums().0 <= 1, "but for what is not worth a block");
    }
}

/// Paid twice, or too much: what of it is owed back only they know who have done the job.
#[tokio::test(start_paused = true)]
async fn what_is_more_than_the_price_of_such_a_job_is_left_whole() {
    for received in [false, true] {
        let mut bench = elsewhere(Status::Delivered);
        bench.fund(0, COIN);
        bench.fund(0, COIN);
        if received {
            bench.receive_elsewhere(0);
            bench.confirm_all();
        }
        for _ in 0..2 {
            bench.sweep().await;
            bench.life(&Errand::Receive { dry_run: false }, Vec::new()).await.unwrap();
            assert_eq!(bench.sums(), (2 * COIN, vec![]), "received: {received}");
        }
        let refund = Errand::Refund { job: id(0), to: None, dry_run: false };
        let refused = bench.life(&refund, Vec::new()).await.unwrap();
        assert_eq!(refused["failed"], "needs_person", "{refused}");
    }
}

/// Somebody with the seed has sent something on: what is left may be owed to somebody.
#[tokio::test(start_paused = true)]
async fn what_a_forgotten_life_left_of_such_a_job_is_left() {
    let mut bench = elsewhere(Status::Delivered);
    bench.fund(0, COIN);
    bench.receive_elsewhere(0);
    let (account, key) = (bench.invoices[0], bench.seed.key(0).unwrap());
    bench.line.with(|node, now| {
        let state = AccountState {
            account,
            frontier: node.ledger.account(&account).unwrap().frontier,
            balance: node.ledger.balance(&account),
            representative: HOME,
        };
        process(
            node,
            now,
            &state.send(Account::from_bytes([3; 32]), Amount::from_raw(COIN / 2)).unwrap(),
            &key,
        );
    });
    bench.confirm_all();
    let report = bench.sweep().await;
    assert!(report["left"].to_string().contains("this state did not make it"), "{report}");
    assert_eq!(bench.sums(), (COIN / 2, vec![]));
}

/// Of a job that failed elsewhere nobody here knows for which payments; whether for want of them, the
/// error says.
#[tokio::test(start_paused = true)]
async fn what_came_for_a_job_that_failed_elsewhere_for_want_of_it_goes_back() {
    let mut bench = elsewhere(Status::Failed);
    bench.fund(0, COIN);
    bench.sweep().await;
    assert_eq!(bench.sums(), (COIN, vec![]));

    let mut bench = elsewhere(Status::Failed);
    let store = memory::open_in_memory(&bench.disk).unwrap();
    let mut batch = Batch::default();
    let known = JOBS.get(&store, &id(0)).unwrap().unwrap();
    JOBS.put(&mut batch, &id(0), &memory::Record { unpaid: true, ..known }).unwrap();
    store.commit(batch).unwrap();
    store.durable_blocking().unwrap();
    bench.pay_from(0, 0, COIN / 2);
    bench.sweep().await;
    let balance = bench.life(&Errand::Balance, Vec::new()).await.unwrap();
    assert_eq!(balance["owed_back_raw"], json!((COIN / 2).to_string()), "{balance}");
    assert_eq!(balance["owed_back"][0]["why"], "paid_late", "{balance}");
    bench.extra = "[payment]\nauto_refund_day_xno = \"1000\"\n[backup]";
    auto(&bench, Vec::new()).await.unwrap();
    assert_eq!(bench.returned(), [COIN / 2, 0]);
}

/// A block that an earlier life has kept is published first; what has come meanwhile is in no book.
#[tokio::test(start_paused = true)]
async fn what_comes_during_a_round_is_for_the_next_one() {
    for calls in 0..10 {
        let mut bench = Bench::failed(COIN).await;
        let luck = [vec![Luck::Answered; calls], vec![Luck::DiesBefore]].concat();
        bench.life(&Errand::Sweep { to: None, owed: false, dry_run: false }, luck).await;
        let to = bench.invoices[0];
        let pay = move |node: &mut Node, now| drop(node.pay(&to, Amount::from_raw(COIN), 1, now).unwrap());
        *bench.line.surprise.lock().unwrap() = Some(Box::new(pay));
        let mut reports = Vec::new();
        for _ in 0..3 {
            reports.push(bench.sweep().await);
            bench.confirm_all();
        }
        bench.funded += COIN;
        assert_eq!(bench.sums(), (COIN, vec![COIN]), "{calls}: {reports:?}");
        let balance = bench.life(&Errand::Balance, Vec::new()).await.unwrap();
        assert_eq!(balance["owed_back_raw"], json!(COIN.to_string()), "{balance}");
    }
}

/// What is owed back was received, and another node, which is behind, still has it waiting.
#[tokio::test(start_paused = true)]
async fn what_is_owed_back_and_was_received_stays_whatever_a_node_lists() {
    let mut bench = Bench::failed(COIN).await;
    let second = bench.pay_from(1, 0, COIN);
    bench.life(&Errand::Balance, Vec::new()).await.unwrap();
    bench.life(&Errand::Receive { dry_run: false }, Vec::new()).await.unwrap();
    bench.confirm_all();
    *bench.line.listed.lock().unwrap() = Some((bench.invoices[0], second, COIN));
    for _ in 0..2 {
        let report = bench.sweep().await;
        bench.confirm_all();
        assert_eq!(bench.sums(), (COIN, vec![COIN]), "{report}");
    }
    bench.line.listed.lock().unwrap().take();
    bench.extra = "[payment]\nauto_refund_day_xno = \"1000\"\n[backup]";
    auto(&bench, Vec::new()).await.unwrap();
    assert_eq!(bench.returned(), [0, COIN]);
}

/// Another wallet has the seed, or the state was restored: blocks that it did not make have received what
/// came, and nothing waits.
#[tokio::test(start_paused = true)]
async fn what_another_hand_has_received_is_entered_before_anything_is_done_with_it() {
    let mut bench = Bench::failed(COIN).await;
    bench.pay_from(1, 0, COIN);
    for _ in 0..2 {
        bench.receive_elsewhere(0);
    }
    bench.confirm_all();
    for _ in 0..2 {
        let report = bench.sweep().await;
        bench.confirm_all();
        assert_eq!(bench.sums(), (COIN, vec![COIN]), "{report}");
    }
    bench.extra = "[payment]\nauto_refund_day_xno = \"1000\"\n[backup]";
    auto(&bench, Vec::new()).await.unwrap();
    assert_eq!(bench.returned(), [0, COIN]);

    let mut bench = Bench::canceled(1);
    bench.pay_from(1, 0, COIN);
    bench.receive_elsewhere(0);
    bench.confirm_all();
    let report = bench.refund(0).await;
    assert_eq!(bench.returned(), [0, COIN], "{report}");
}

/// Nothing proves what was received: it stays where it is.
#[tokio::test(start_paused = true)]
async fn what_is_in_no_book_is_not_sent_home() {
    let mut bench = Bench::failed(COIN).await;
    let second = bench.pay_from(1, 0, COIN);
    bench.receive_elsewhere(0);
    bench.receive_elsewhere(0);
    bench.confirm_all();
    bench.line.with(|node, _| node.lies.forget(second));
    for _ in 0..2 {
        let report = bench.sweep().await;
        assert_eq!(bench.sums(), (2 * COIN, vec![]), "{report}");
        assert!(report["problems"].to_string().contains("in no book"), "{report}");
    }
    bench.line.with(|node, _| node.lies.clear());
    bench.sweep().await;
    assert_eq!(bench.sums(), (COIN, vec![COIN]));
}

/// It was no more than the price when the round began; before its turn came, more came, and the worker that
/// has done the job received it.
#[tokio::test(start_paused = true)]
async fn what_is_presumed_is_looked_at_where_it_is_signed() {
    let mut bench = Bench::with(2, &|index| Some((Ending::Elsewhere, Status::Delivered, index)));
    bench.fund(0, COIN);
    bench.fund(1, COIN);
    bench.receive_elsewhere(1);
    bench.confirm_all();
    let (to, key) = (bench.invoices[1], bench.seed.key(1).unwrap());
    *bench.line.surprise.lock().unwrap() = Some(Box::new(move |node, now| {
        node.pay(&to, Amount::from_raw(COIN), 1, now).unwrap();
        node.tick(now);
        receive_one(node, now, &key);
        node.tick(now);
    }));
    let report = bench.sweep().await;
    bench.funded += COIN;
    assert_eq!(bench.sums(), (2 * COIN, vec![COIN]), "{report}");
    assert!(report["problems"].to_string().contains("raw came for a job of"), "{report}");
}

/// What a forgotten life received and sent back leaves the balance as it was.
#[tokio::test(start_paused = true)]
async fn what_a_forgotten_life_received_and_sent_back_is_recognised() {
    for by_refund in [true, false] {
        let mut bench = Bench::failed(COIN).await;
        bench.extra = "[payment]\nauto_refund_day_xno = \"1000\"\n[backup]";
        bench.life(&Errand::Receive { dry_run: false }, Vec::new()).await.unwrap();
        bench.confirm_all();
        let backup = bench.disk.image();
        bench.pay_from(1, 0, COIN);
        match by_refund {
            true => {
                bench.life(&Errand::Balance, Vec::new()).await.unwrap();
                auto(&bench, Vec::new()).await.unwrap();
            }
            // The first one went home, and the second was received.
            false => {
                bench.sweep().await;
                bench.confirm_all();
                bench.life(&Errand::Receive { dry_run: false }, Vec::new()).await.unwrap();
            }
        }
        bench.confirm_all();
        let before = (bench.sums(), bench.returned());
        bench.disk.restore(&backup);
        for _ in 0..3 {
            bench.sweep().await;
            auto(&bench, Vec::new()).await.unwrap();
            bench.confirm_all();
        }
        assert_eq!((bench.sums(), bench.returned()), ((0, vec![COIN]), vec![0, COIN]), "{before:?}");
    }
}

/// The relay has lost the job: whether another worker of the seed had done it nobody knows, but a person may.
#[tokio::test(start_paused = true)]
async fn what_came_for_a_job_that_vanished_is_owed_and_not_sent_back_by_itself() {
    let vanished = Ending::Vanished { paid: false };
    let mut bench = Bench::with(1, &move |index| Some((vanished.clone(), Status::Quoted, index)));
    bench.extra = "[payment]\nauto_refund_day_xno = \"1000\"\n[backup]";
    bench.pay_from(0, 0, COIN);
    let balance = bench.life(&Errand::Balance, Vec::new()).await.unwrap();
    assert_eq!(balance["owed_back_raw"], json!(COIN.to_string()), "{balance}");
    let report = auto(&bench, Vec::new()).await.unwrap();
    assert!(report["left"].to_string().contains("has lost its job"), "{report}");
    assert_eq!(bench.returned(), [0, 0]);
    bench.refund(0).await;
    assert_eq!(bench.returned(), [COIN, 0]);
}
