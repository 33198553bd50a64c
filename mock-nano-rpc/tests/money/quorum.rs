//! Several nodes, some of them liars.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mock_nano_rpc::block::Block;
use mock_nano_rpc::faucet::solve;
use mock_nano_rpc::ledger::dev_genesis_key;
use mock_nano_rpc::{Config, Fault, FaultKind, Lie, MockNode, Mode};
use nano_currency::block::{LegacyChange, LegacySend};
use nano_currency::quorum::{Verdict, Word};
use nano_currency::rpc::panel::{QuorumError, Trust};
use nano_currency::rpc::{Panel, PanelConfig, Rpc, RpcConfig};
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey};

/// All nodes of one network have the same history, so they begin at the same moment.
const BEGAN_MS: u64 = 1_700_000_000_000;

struct Nodes {
    mocks: Vec<MockNode>,
    panel: Panel,
    seconds: Arc<AtomicU64>,
}

fn invoice() -> Account {
    PrivateKey::from_bytes([6; 32]).account()
}

fn stranger() -> Account {
    PrivateKey::from_bytes([7; 32]).account()
}

fn raw(amount: u128) -> Amount {
    Amount::from_raw(amount)
}

async fn nodes(count: usize, quorum: usize) -> Nodes {
    nodes_with(count, quorum, Trust::Proof).await
}

async fn nodes_with(count: usize, quorum: usize, trust: Trust) -> Nodes {
    let mut mocks = Vec::new();
    for _ in 0..count {
        let config = Config { began_ms: Some(BEGAN_MS), ..Config::default() };
        mocks.push(MockNode::start(config).await.unwrap());
    }
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = |seconds: &Arc<AtomicU64>| {
        let seconds = Arc::clone(seconds);
        move || Duration::from_secs(seconds.load(Ordering::Relaxed))
    };
    let rpc = Rpc::new(&RpcConfig::new(mocks.iter().map(MockNode::rpc_url), clock(&seconds))).unwrap();
    let config = PanelConfig { trust, ..PanelConfig::new(Network::Dev, quorum, clock(&seconds)) };
    let panel = Panel::new(&rpc, config).unwrap();
    Nodes { mocks, panel, seconds }
}

impl Nodes {
    /// The same payment on every node.
    fn pay(&self, amount: u128) -> BlockHash {
        let hashes: Vec<BlockHash> =
            self.mocks.iter().map(|mock| mock.fund(&invoice(), raw(amount)).unwrap()).collect();
        assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "one network has one history");
        hashes[0]
    }

    async fn verdict(&self, hash: BlockHash) -> Verdict<Word> {
        self.panel.blocks(&[hash]).await.verdict(&hash, self.panel.quorum())
    }

    async fn is_paid(&self, hash: BlockHash, amount: u128) -> bool {
        matches!(
            self.verdict(hash).await.agreed(),
            Some(Word::Sent { to, amount: paid, confirmed: true, .. })
                if *to == invoice() && *paid == raw(amount)
        )
    }

    fn later(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_counts_when_enough_nodes_confirm_it() {
    let nodes = nodes(3, 2).await;
    let hash = nodes.pay(700);
    assert!(nodes.is_paid(hash, 700).await);
    let unknown = BlockHash::from_bytes([9; 32]);
    assert_eq!(nodes.verdict(unknown).await.agreed(), Some(&Word::NotFound));
    assert!(nodes.panel.unfit().is_empty());
    assert!(nodes.panel.foreign().is_empty());
    assert_eq!(nodes.panel.nodes(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_about_a_block_is_caught_and_the_liar_put_aside() {
    let lies = [
        Lie { amount: Some(raw(999_999)), ..Lie::default() },
        Lie { destination: Some(stranger()), ..Lie::default() },
        Lie { subtype: Some("receive".to_owned()), ..Lie::default() },
        Lie { account: Some(stranger()), ..Lie::default() },
        Lie { balance: Some(raw(1)), ..Lie::default() },
    ];
    for lie in lies {
        let nodes = nodes(3, 2).await;
        let hash = nodes.pay(700);
        nodes.mocks[1].lie(hash, lie.clone());
        let round = nodes.panel.blocks(&[hash]).await;
        assert_eq!(round.lies.len(), 1, "{lie:?}");
        assert!(nodes.mocks[1].rpc_url().ends_with(&round.lies[0].node), "{:?}", round.lies);
        assert_eq!(round.lies[0].hash, hash);
        let named = format!("{} lied about {hash}: ", round.lies[0].node);
        let said = round.lies[0].to_string();
        assert!(said.starts_with(&named) && said.len() > named.len(), "{said}");
        let unfit = nodes.panel.unfit();
        assert!(matches!(&unfit[..], [(_, why)] if why.starts_with("put aside")), "{unfit:?}");
        // The honest two go on, and the liar is not even asked.
        assert!(nodes.is_paid(hash, 700).await, "{lie:?}");
        assert_eq!(nodes.mocks[1].stats().of("blocks_info"), 1, "{lie:?}");
        nodes.mocks[1].clear();
        nodes.later(3_599);
        assert_eq!(nodes.panel.unfit(), unfit);
        nodes.later(1);
        assert!(nodes.is_paid(hash, 700).await);
        assert!(nodes.panel.unfit().is_empty(), "an hour later it is asked again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lied_about_one_block_is_believed_about_none() {
    let nodes = nodes(2, 2).await;
    let hashes = [nodes.pay(700), nodes.pay(800)];
    nodes.mocks[0].lie(hashes[0], Lie { amount: Some(raw(999_999)), ..Lie::default() });
    let round = nodes.panel.blocks(&hashes).await;
    assert_eq!(round.verdict(&hashes[1], 2).agreed(), None, "{round:?}");
    assert!(round.verdict(&hashes[1], 1).agreed().is_some(), "of the other node nothing is held against it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_alone_convinces_nobody() {
    let lies = [
        Lie { amount: Some(raw(999_999)), ..Lie::default() },
        Lie { destination: Some(invoice()), ..Lie::default() },
        Lie { balance: Some(raw(1)), ..Lie::default() },
    ];
    for lie in lies {
        let nodes = nodes(1, 1).await;
        let hash = nodes.mocks[0].fund(&stranger(), raw(1)).unwrap();
        nodes.mocks[0].lie(hash, lie);
        let verdict = nodes.verdict(hash).await;
        assert!(verdict.agreed().is_none(), "{verdict:?}");
    }
}

/// The one thing that a block does not prove.
#[tokio::test(flavor = "multi_thread")]
async fn a_lie_about_confirmation_is_outvoted_and_shown() {
    let nodes = nodes(3, 2).await;
    nodes.mocks.iter().for_each(|mock| mock.hold_confirmations(true));
    let hash = nodes.pay(700);
    nodes.mocks[0].lie(hash, Lie { confirmed: Some(true), ..Lie::default() });
    assert!(!nodes.is_paid(hash, 700).await);
    match nodes.verdict(hash).await {
        Verdict::Agreed { word: Word::Sent { confirmed: false, .. }, dissent } => {
            assert_eq!(dissent.len(), 1);
            assert!(nodes.mocks[0].rpc_url().ends_with(&dissent[0].node));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disagreement_is_unknown_and_says_who_said_what() {
    let nodes = nodes(2, 2).await;
    let hash = nodes.pay(700);
    nodes.mocks[1].forget(hash);
    match nodes.verdict(hash).await {
        Verdict::Unknown { said } => {
            assert_eq!(said.len(), 2);
            assert!(matches!(said[0].said, Ok(Word::Sent { confirmed: true, .. })), "{said:?}");
            assert_eq!(said[1].said, Ok(Word::NotFound));
        }
        agreed => panic!("{agreed:?}"),
    }
    // A dear job may ask for more nodes than a cheap one.
    let round = nodes.panel.blocks(&[hash]).await;
    assert!(round.verdict(&hash, 1).agreed().is_none(), "two words with a quorum of one are none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_is_not_asked() {
    let nodes = nodes(3, 2).await;
    nodes.mocks[2].unsynced(true);
    let hash = nodes.pay(700);
    assert!(nodes.is_paid(hash, 700).await);
    let unfit = nodes.panel.unfit();
    assert!(matches!(&unfit[..], [(_, why)] if why.contains("vote")), "{unfit:?}");
    assert_eq!(nodes.mocks[2].stats().of("blocks_info"), 0);
    nodes.mocks[2].unsynced(false);
    nodes.later(61);
    assert!(nodes.is_paid(hash, 700).await);
    assert!(nodes.panel.unfit().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_behind_the_others_is_not_asked() {
    let nodes = nodes(3, 2).await;
    for mock in &nodes.mocks[..2] {
        mock.dust(&stranger(), raw(1), 30).unwrap();
    }
    nodes.panel.blocks(&[BlockHash::ZERO]).await;
    let unfit = nodes.panel.unfit();
    assert!(matches!(&unfit[..], [(_, why)] if why.contains("misses about 30 blocks")), "{unfit:?}");
}

/// Or one liar could make all honest nodes look late.
#[tokio::test(flavor = "multi_thread")]
async fn one_node_far_ahead_does_not_make_the_others_late() {
    for (count, quorum) in [(3, 2), (3, 1), (2, 1)] {
        let nodes = nodes(count, quorum).await;
        nodes.mocks[0].dust(&stranger(), raw(1), 300).unwrap();
        nodes.panel.blocks(&[BlockHash::ZERO]).await;
        assert!(nodes.panel.unfit().is_empty(), "{count} {quorum}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_network_is_not_asked() {
    let mock = MockNode::start(Config::default()).await.unwrap();
    let rpc = Rpc::new(&RpcConfig::new([mock.rpc_url()], || Duration::ZERO)).unwrap();
    let panel = Panel::new(&rpc, PanelConfig::new(Network::Live, 1, || Duration::ZERO)).unwrap();
    let hash = mock.fund(&invoice(), raw(1)).unwrap();
    assert!(panel.blocks(&[hash]).await.verdict(&hash, 1).agreed().is_none());
    assert_eq!(mock.stats().of("blocks_info"), 0);
    assert!(matches!(&panel.foreign()[..], [name] if mock.rpc_url().ends_with(name)), "{panel:?}");
    // A private network has the name of the public one, and a first block of its own.
    let mut config = PanelConfig::new(Network::Dev, 1, || Duration::ZERO);
    config.rules.genesis = Some(BlockHash::from_bytes([1; 32]));
    let panel = Panel::new(&rpc, config).unwrap();
    assert!(panel.blocks(&[hash]).await.verdict(&hash, 1).agreed().is_none());
    assert_eq!(mock.stats().of("blocks_info"), 0);
}

/// Proxies hide `version`; the first block of a network tells it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hides_its_version_is_known_by_its_first_block() {
    let nodes = nodes(1, 1).await;
    let hash = nodes.pay(700);
    let hidden = Fault { kind: FaultKind::NotAllowed, action: Some("version".to_owned()), count: None };
    assert!(nodes.mocks[0].fault(hidden));
    assert!(nodes.is_paid(hash, 700).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_down_leaves_the_others_to_decide() {
    let nodes = nodes(3, 2).await;
    let hash = nodes.pay(700);
    nodes.mocks[0].fault(Fault { kind: FaultKind::Drop, action: None, count: None });
    assert!(nodes.is_paid(hash, 700).await);
    let Verdict::Agreed { dissent, .. } = nodes.verdict(hash).await else { panic!("two are enough") };
    assert!(matches!(&dissent[..], [silent] if silent.said.is_err()), "{dissent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_every_make_agree() {
    let nodes = nodes(3, 3).await;
    for (mock, mode) in nodes.mocks.iter().zip([Mode::Cpp, Mode::RsNano, Mode::V22]) {
        mock.mode(mode);
    }
    let hash = nodes.pay(700);
    assert!(nodes.is_paid(hash, 700).await);
}

/// However many hashes are asked about, a round is one call to each node and one more to one.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_is_one_call_to_each_node_and_one_for_the_blocks_before() {
    let nodes = nodes(3, 2).await;
    let mut hashes: Vec<BlockHash> = Vec::new();
    for mock in &nodes.mocks {
        hashes = mock.dust(&invoice(), raw(5), 200).unwrap();
    }
    let round = nodes.panel.blocks(&hashes).await;
    let paid = |hash: &&BlockHash| matches!(round.verdict(hash, 2).agreed(), Some(Word::Sent { confirmed: true, amount, .. }) if *amount == raw(5));
    assert_eq!(hashes.iter().filter(paid).count(), 200);
    let calls: Vec<u64> = nodes.mocks.iter().map(|mock| mock.stats().of("blocks_info")).collect();
    assert_eq!(calls, [2, 1, 1]);
}

/// A legacy block does not say what the account has, so the chain is walked back to one that does.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_at_the_end_of_a_legacy_chain_is_proven_in_rounds() {
    let mock = MockNode::start(Config { upgraded: false, ..Config::default() }).await.unwrap();
    let rpc = Rpc::new(&RpcConfig::new([mock.rpc_url()], || Duration::ZERO)).unwrap();
    let panel = Panel::new(&rpc, PanelConfig::new(Network::Dev, 1, || Duration::ZERO)).unwrap();
    let key = dev_genesis_key();
    let publish = |block: Block| mock.with(|node, now_ms| node.publish(block, now_ms)).unwrap();
    let head = || {
        mock.with(|node, _| {
            let head = node.ledger.head(&key.account()).unwrap();
            let hash = head.block.hash();
            (hash, head.balance, solve(hash.as_bytes(), node.ledger.network().work().epoch_1, 0))
        })
    };
    for _ in 0..2 {
        let (previous, _, work) = head();
        let signature = key.sign(b"");
        let change = LegacyChange { previous, representative: key.account(), signature, work };
        publish(Block::Change(LegacyChange { signature: key.sign(change.hash().as_bytes()), ..change }));
    }
    let (previous, balance, work) = head();
    let balance = balance.checked_sub(raw(700)).unwrap();
    let send = LegacySend { previous, destination: invoice(), balance, signature: key.sign(b""), work };
    let hash = send.hash();
    publish(Block::Send(LegacySend { signature: key.sign(hash.as_bytes()), ..send }));
    let round = panel.blocks(&[hash]).await;
    let sent = Word::Sent { from: key.account(), to: invoice(), amount: raw(700), confirmed: true };
    assert_eq!(round.verdict(&hash, 1).agreed(), Some(&sent), "{round:?}");
    assert_eq!(mock.stats().of("blocks_info"), 4, "the payment, two changes and the first block");
}

/// When a block was first seen is no proof of anything, but the best that is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_was_seen_when_the_first_node_saw_it() {
    let nodes = nodes(3, 2).await;
    for (mock, seconds) in nodes.mocks.iter().zip([1_800_000_100, 0, 1_800_000_000]) {
        mock.stop_clock(Some(seconds * 1_000 + 1));
    }
    let hash = nodes.pay(700);
    let seen = nodes.panel.blocks(&[hash]).await.seen;
    assert_eq!(seen.get(&hash), Some(&1_800_000_000), "and a node that does not know says zero");
}

#[test]
fn a_panel_is_shown_without_its_clock() {
    let shown = format!("{:?}", PanelConfig::new(Network::Dev, 2, || Duration::ZERO));
    assert!(shown.contains("network: Dev") && shown.contains("quorum: 2"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_is_enough_to_find_a_payment_and_not_to_deny_one() {
    let nodes = nodes(3, 2).await;
    let hash = nodes.pay(700);
    let list = &nodes.panel.receivable(&[invoice(), stranger()]).await;
    assert_eq!(list[&invoice()].blocks.len(), 1);
    assert!(list[&invoice()].complete && list[&stranger()].complete);
    nodes.mocks[1].rollback(&hash).unwrap();
    nodes.mocks[2].fault(Fault { kind: FaultKind::Drop, action: None, count: None });
    let list = &nodes.panel.receivable(&[invoice()]).await[&invoice()];
    assert_eq!((list.blocks.len(), list.complete), (1, true));
    nodes.mocks[1].fault(Fault { kind: FaultKind::Drop, action: None, count: None });
    let list = &nodes.panel.receivable(&[invoice()]).await[&invoice()];
    assert_eq!((list.blocks.len(), list.complete), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_node_is_trusted_its_word_is_taken() {
    let nodes = nodes_with(1, 1, Trust::Rpc).await;
    let hash = nodes.pay(700);
    nodes.mocks[0].lie(hash, Lie { amount: Some(raw(800)), ..Lie::default() });
    assert!(nodes.is_paid(hash, 800).await);
    assert_eq!(nodes.mocks[0].stats().of("blocks_info"), 1, "nothing is fetched to prove it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_must_be_possible() {
    let mock = MockNode::start(Config::default()).await.unwrap();
    // Two addresses of one host are one node.
    let urls = [mock.rpc_url(), format!("{}/key", mock.rpc_url())];
    let rpc = Rpc::new(&RpcConfig::new(urls, || Duration::ZERO)).unwrap();
    for quorum in [0, 2] {
        let refused = Panel::new(&rpc, PanelConfig::new(Network::Dev, quorum, || Duration::ZERO));
        assert_eq!(refused.map(|_| ()), Err(QuorumError { quorum, nodes: 1 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_asked_no_more_often_than_it_may_be() {
    let mock = MockNode::start(Config::default()).await.unwrap();
    let config = RpcConfig {
        requests_per_second: std::num::NonZeroU32::new(5),
        ..RpcConfig::new([mock.rpc_url()], || Duration::ZERO)
    };
    let rpc = Rpc::new(&config).unwrap();
    let asked = futures_util::future::join_all((0..40).map(|_| rpc.block_count())).await;
    // Five at once, then for two seconds five each; the others would have waited longer.
    let answered = asked.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((answered, mock.stats().of("block_count")), (15, 15));
    let refused = asked.into_iter().find_map(Result::err).expect("not all were let through");
    assert!(refused.failure.wait().is_some_and(|wait| wait > Duration::from_secs(2)), "{refused}");
}

/// Whoever signs on a balance that is too low signs the difference away.
#[tokio::test]
async fn what_an_account_holds_is_what_its_newest_block_says() {
    let nodes = nodes(2, 1).await;
    let (genesis, rules) = (dev_genesis_key().account(), Network::Dev.rules());
    let client = |mocks: &[MockNode]| {
        let config = RpcConfig::new(mocks.iter().map(MockNode::rpc_url), || Duration::ZERO);
        Rpc::new(&config).unwrap()
    };
    let (both, liar) = (client(&nodes.mocks), client(&nodes.mocks[..1]));
    // An epoch's block is its newest, which the network signed.
    assert_eq!(liar.head(&genesis, &rules).await.unwrap().unwrap().balance, Amount::MAX);
    assert_eq!(liar.head(&stranger(), &rules).await.unwrap(), None);
    nodes.pay(700);
    let head = liar.head(&genesis, &rules).await.unwrap().unwrap();
    assert_eq!(head.balance, Amount::from_raw(u128::MAX - 700));
    for balance in [raw(0), raw(1), Amount::MAX] {
        nodes.mocks[0].lie(head.frontier, Lie { head_balance: Some(balance), ..Lie::default() });
        let error = liar.head(&genesis, &rules).await.unwrap_err();
        assert!(error.to_string().contains("newest block has another"), "{error}");
        assert_eq!(both.head(&genesis, &rules).await.unwrap(), Some(head), "the next node is asked");
    }
    let forged = Lie { head_balance: Some(raw(1)), balance: Some(raw(1)), ..Lie::default() };
    nodes.mocks[0].lie(head.frontier, forged);
    assert!(liar.head(&genesis, &rules).await.is_err(), "a block that says so too is another block");
}
