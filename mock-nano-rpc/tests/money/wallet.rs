//! Bringing coins home, and telling the past, on a node of each make.

use std::time::Duration;

use mock_nano_rpc::faucet::solve;
use mock_nano_rpc::node::Settings;
use mock_nano_rpc::{Config, MockNode, Mode};
use nano_currency::draft::{AccountState, Limits, Plan, plan_sweep};
use nano_currency::rpc::{HistoryQuery, Processed, Rpc, RpcConfig, Subtype};
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey};

async fn node(mode: Mode) -> (MockNode, Rpc) {
    let settings = Settings { mode, ..Settings::default() };
    let mock = MockNode::start(Config { settings, ..Config::default() }).await.unwrap();
    let rpc = Rpc::new(&RpcConfig::new([mock.rpc_url()], || Duration::ZERO)).unwrap();
    (mock, rpc)
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([number; 32])
}

fn raw(amount: u128) -> Amount {
    Amount::from_raw(amount)
}

async fn publish(rpc: &Rpc, plan: &Plan, key: &PrivateKey) {
    for draft in &plan.blocks {
        let threshold = draft.threshold(&Network::Dev.work()).max(Network::Dev.work().epoch_1);
        let block = draft.sign(key, solve(draft.fields.work_root(), threshold, 0));
        let processed = rpc.process(&block, draft.subtype).await.unwrap();
        assert_eq!(processed, Processed::Accepted(draft.hash()));
    }
}

async fn head(rpc: &Rpc, account: Account) -> AccountState {
    let info = rpc.account_info(&account).await.unwrap();
    info.map_or(AccountState::unopened(account, Account::BURN), |info| info.state(account, Account::BURN))
}

async fn swept(mode: Mode) {
    let (mock, rpc) = node(mode).await;
    let (invoice, home) = (key(1), key(2).account());
    let paid: Vec<BlockHash> =
        [700, 1, 40].iter().map(|amount| mock.fund(&invoice.account(), raw(*amount)).unwrap()).collect();
    assert_eq!(rpc.receivable_exists(&paid[0]).await.unwrap(), Some(true));

    let limits = Limits { blocks_max: 10, amount_min: raw(2) };
    let waiting = rpc.receivable_of(&[invoice.account()]).await.unwrap();
    let state = head(&rpc, invoice.account()).await;
    let plan = plan_sweep(state, &waiting[&invoice.account()].blocks, home, &limits).unwrap();
    let kinds: Vec<Subtype> = plan.blocks.iter().map(|draft| draft.subtype).collect();
    assert_eq!(kinds, [Subtype::Open, Subtype::Receive, Subtype::Send], "{mode}");
    assert_eq!((plan.blocks[2].amount, &plan.left[..]), (raw(740), &[paid[1]][..]));
    publish(&rpc, &plan, &invoice).await;

    assert_eq!(head(&rpc, invoice.account()).await, plan.state);
    let homecoming = &rpc.receivable_of(&[home]).await.unwrap()[&home];
    assert_eq!(homecoming.total(), raw(740));
    // Nothing is left to sweep but the dust, so a second plan does nothing.
    let waiting = rpc.receivable_of(&[invoice.account()]).await.unwrap();
    let again = plan_sweep(plan.state, &waiting[&invoice.account()].blocks, home, &limits).unwrap();
    assert!(again.blocks.is_empty());

    let missing = BlockHash::from_bytes([9; 32]);
    assert_eq!(rpc.receivable_exists(&paid[0]).await.unwrap(), Some(false));
    assert_eq!(rpc.receivable_exists(&missing).await.unwrap(), None);
    let receipts = rpc.receipts(&[paid[0], paid[1], plan.blocks[0].hash(), missing]).await.unwrap();
    assert_eq!(receipts.len(), 3);
    assert_eq!(
        (receipts[&paid[0]].receivable, receipts[&paid[0]].received_by),
        (false, Some(plan.blocks[0].hash()))
    );
    assert_eq!((receipts[&paid[1]].receivable, receipts[&paid[1]].received_by), (true, None));
    assert!(receipts[&plan.blocks[0].hash()].sender.is_some());
    let frontiers = rpc.accounts_frontiers(&[invoice.account(), home]).await.unwrap();
    assert_eq!(frontiers.into_iter().collect::<Vec<_>>(), [(invoice.account(), plan.state.frontier)]);
    history(&rpc, &plan, home).await;
}

/// The chain that was just made, page by page, in both directions.
async fn history(rpc: &Rpc, plan: &Plan, home: Account) {
    for forward in [false, true] {
        let mut told = Vec::new();
        let mut query = HistoryQuery { account: plan.state.account, head: None, forward, count: 2 };
        loop {
            let page = rpc.account_history(&query).await.unwrap();
            told.extend(page.entries);
            query.head = page.next;
            if page.next.is_none() {
                break;
            }
        }
        let mut hashes: Vec<BlockHash> = told.iter().map(|entry| entry.hash).collect();
        if !forward {
            hashes.reverse();
            told.reverse();
        }
        assert_eq!(hashes, plan.blocks.iter().map(|draft| draft.hash()).collect::<Vec<_>>());
        let sent = told[2];
        assert_eq!((sent.subtype, sent.amount), (Some(Subtype::Send), Some(raw(740))));
        assert_eq!((sent.counterparty, sent.confirmed, sent.height), (Some(home), true, 3));
        assert_eq!(told[0].source, Some(BlockHash::from_bytes(plan.blocks[0].fields.link)));
    }
    let nobody = HistoryQuery { account: key(77).account(), head: None, forward: false, count: 2 };
    assert!(rpc.account_history(&nobody).await.unwrap().entries.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_come_home_on_the_reference_node() {
    swept(Mode::Cpp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_come_home_on_the_rust_port() {
    swept(Mode::RsNano).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_come_home_on_an_older_node() {
    swept(Mode::V22).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_payments_are_swept() {
    let (mock, rpc) = node(Mode::Cpp).await;
    let invoice = key(1);
    mock.dust(&invoice.account(), raw(3), 1_000).unwrap();
    let waiting = rpc.receivable_of(&[invoice.account()]).await.unwrap();
    let limits = Limits { blocks_max: 2_000, amount_min: raw(1) };
    let state = head(&rpc, invoice.account()).await;
    let plan = plan_sweep(state, &waiting[&invoice.account()].blocks, key(2).account(), &limits).unwrap();
    assert_eq!(plan.blocks.len(), 1_001);
    publish(&rpc, &plan, &invoice).await;
    let home = key(2).account();
    assert_eq!(rpc.receivable_of(&[home]).await.unwrap()[&home].total(), raw(3_000));
}
