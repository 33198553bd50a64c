//! The client and the ledger agree about a whole sale, whatever manners the node has.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mock_nano_rpc::node::Settings;
use mock_nano_rpc::{Config, MockNode, Mode};
use nano_currency::block::{StateBlock, StateFields};
use nano_currency::rpc::{Finding, Processed, Rpc, RpcConfig, Subtype};
use nano_currency::work::solve;
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey};

const DUST: usize = 10_000;

async fn node(mode: Mode) -> (MockNode, Rpc) {
    let settings = Settings { mode, ..Settings::default() };
    let node = MockNode::start(Config { settings, ..Config::default() }).await.unwrap();
    let rpc = Rpc::new(&RpcConfig::new([node.rpc_url()], || Duration::ZERO)).unwrap();
    (node, rpc)
}

/// The next block of the key's account, with work for a send.
fn next(key: &PrivateKey, previous: BlockHash, balance: u128, link: [u8; 32]) -> StateBlock {
    let fields = StateFields {
        account: key.account(),
        previous,
        representative: Account::BURN,
        balance: Amount::from_raw(balance),
        link,
    };
    let work = solve(fields.work_root(), Network::Dev.work().send, 0, &AtomicBool::new(false));
    fields.sign(key, work.expect("the search is not called off"))
}

async fn a_sale(mode: Mode) {
    let (node, rpc) = node(mode).await;
    let (buyer, invoice) = (PrivateKey::from_bytes([5; 32]), PrivateKey::from_bytes([6; 32]).account());
    assert_eq!(rpc.account_info(&buyer.account()).await.unwrap(), None);
    assert_eq!(rpc.receivable_of(&[invoice]).await.unwrap()[&invoice].blocks, []);

    // The buyer comes into money and receives it.
    let grant = node.fund(&buyer.account(), Amount::from_raw(1_000)).unwrap();
    let waiting = rpc.receivable_of(&[buyer.account(), invoice]).await.unwrap();
    assert_eq!(waiting[&buyer.account()].blocks[0].hash, grant);
    assert_eq!(waiting[&buyer.account()].total(), Amount::from_raw(1_000));
    let open = next(&buyer, BlockHash::ZERO, 1_000, *grant.as_bytes());
    assert_eq!(rpc.process(&open, Subtype::Receive).await.unwrap(), Processed::Accepted(open.hash()));
    let info = rpc.account_info(&buyer.account()).await.unwrap().expect("it is opened");
    assert_eq!((info.frontier, info.balance.raw(), info.block_count), (open.hash(), 1_000, 1));

    // The buyer pays; dust lies before and behind the payment.
    node.dust(&invoice, Amount::from_raw(1), DUST / 2).unwrap();
    let pay = next(&buyer, open.hash(), 300, *invoice.as_bytes());
    assert_eq!(rpc.process(&pay, Subtype::Send).await.unwrap(), Processed::Accepted(pay.hash()));
    let again = rpc.process(&pay, Subtype::Send).await.unwrap();
    assert!(again.may_be_known(), "{again:?}");
    node.dust(&invoice, Amount::from_raw(1), DUST / 2).unwrap();
    let missing = BlockHash::from_bytes([9; 32]);
    let found = rpc.blocks_info(&[pay.hash(), missing, grant]).await.unwrap();
    assert_eq!(found.len(), 3);
    assert!(found[&missing].found().is_none());
    let info = found[&pay.hash()].found().expect("the node has it");
    let paid = info.payment().expect("it is a payment");
    assert_eq!((paid.payer, paid.destination, paid.amount.raw()), (buyer.account(), invoice, 700));
    assert!(info.is_signed() && info.confirmed, "{info:?}");
    assert_eq!(rpc.block_info(&pay.hash()).await.unwrap().as_ref(), Some(info));

    let list = &rpc.receivable_of(&[invoice]).await.unwrap()[&invoice];
    assert!(list.blocks.iter().any(|block| block.hash == pay.hash()), "the dust hides it");
    assert_eq!((list.blocks.len(), list.complete), (DUST + 1, true));
    assert_eq!(list.total(), Amount::from_raw(700 + DUST as u128));
    let balance = rpc.accounts_balances(&[invoice]).await.unwrap()[&invoice];
    assert_eq!((balance.balance, balance.receivable), (Amount::ZERO, list.total()));
    assert_eq!(rpc.health(Network::Dev).await.unwrap().findings, []);
    node.stop().await;
}

#[tokio::test]
async fn a_sale_on_the_reference_node() {
    a_sale(Mode::Cpp).await;
}

#[tokio::test]
async fn a_sale_on_the_rust_port() {
    a_sale(Mode::RsNano).await;
}

#[tokio::test]
async fn a_sale_on_an_older_node() {
    a_sale(Mode::V22).await;
}

#[tokio::test]
async fn a_node_that_is_cut_off_says_so() {
    let (node, rpc) = node(Mode::Cpp).await;
    node.unsynced(true);
    assert_eq!(rpc.health(Network::Dev).await.unwrap().findings, [Finding::NoVotes]);
    let findings = rpc.health(Network::Live).await.unwrap().findings;
    assert!(matches!(findings[..], [Finding::WrongNetwork { .. }, Finding::NoVotes]), "{findings:?}");
}

#[tokio::test]
async fn work_comes_from_a_node_that_gives_it() {
    for mode in [Mode::Cpp, Mode::RsNano] {
        let (_node, rpc) = node(mode).await;
        let threshold = Network::Dev.work().receive;
        let work = rpc.work_generate(&[7; 32], threshold).await.unwrap();
        assert!(work.difficulty(&[7; 32]) >= threshold);
    }
}
