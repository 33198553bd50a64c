//! A buyer, its node and its shop.

use std::path::Path;
use std::time::Duration;

use mock_nano_rpc::{Config, Fault, FaultKind, MockNode};
use nano_worker::buyer::{Buyer, Guard, Manners, Memory, Parts};
use nano_worker::client::RelayClient;
use nano_worker::edge::{Clock, Entropy, monotonic};
use nano_worker::nano::rpc::{Rpc, RpcConfig, WorkSources};
use nano_worker::nano::{Account, Amount, Network, Seed};
use nano_worker::protocol::signing::Signer;

use super::shop::Shop;

pub(crate) const SEED: [u8; 32] = [3; 32];

pub(crate) struct Scene {
    pub(crate) mock: MockNode,
    pub(crate) shop: Shop,
    pub(crate) dir: tempfile::TempDir,
}

impl Scene {
    /// A node whose faucet has sent `funds` to the buyer, and a shop that asks for 1,000 raw.
    pub(crate) async fn set(funds: u128) -> Self {
        let mock = MockNode::start(Config::default()).await.unwrap();
        if funds > 0 {
            mock.fund(&payer(), Amount::from_raw(funds)).unwrap();
        }
        let shop = Shop::open().await;
        Self { mock, shop, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn buyer(&self) -> Buyer {
        self.buyer_in(self.dir.path())
    }

    pub(crate) fn buyer_in(&self, dir: &Path) -> Buyer {
        self.buyer_with(dir, Clock::system())
    }

    /// A buyer whose own clock, apart from its signatures', is another.
    pub(crate) fn buyer_with(&self, dir: &Path, clock: Clock) -> Buyer {
        self.guarded(dir, clock, Guard::default())
    }

    /// A buyer over whom somebody watches.
    pub(crate) fn guarded(&self, dir: &Path, clock: Clock, guard: Guard) -> Buyer {
        let signer = Signer::from_seed(&[7; 32]);
        let relay = RelayClient::new(&self.shop.url, signer, Clock::system(), Entropy::system()).unwrap();
        let began = monotonic();
        let mut config = RpcConfig::new([self.mock.rpc_url()], move || monotonic() - began);
        config.timeout = Duration::from_secs(2);
        let manners = Manners {
            step_patience: Duration::from_millis(700),
            quote_patience: Duration::from_secs(5),
            result_patience: Duration::from_secs(20),
            look_min: Duration::from_millis(5),
            look_max: Duration::from_millis(50),
        };
        let rpc = Rpc::new(&config).unwrap();
        Buyer::new(Parts {
            relay,
            work: WorkSources { nodes: Some(rpc.clone()), servers: None, cpu: true },
            rpc,
            seed: Seed::Hex(SEED),
            network: Network::Dev,
            memory: Memory::open(dir).unwrap(),
            clock,
            entropy: Entropy::system(),
            manners,
            guard,
        })
    }

    /// What an account was sent, confirmed or not, received or not.
    pub(crate) fn sent_to(&self, account: &Account) -> Vec<Amount> {
        self.mock.with(|node, _| node.ledger.receivables(account).map(|(_, entry)| entry.amount).collect())
    }

    /// The node fails at one kind of call until [`MockNode::clear`].
    pub(crate) fn node_fails(&self, action: &str, kind: FaultKind, count: Option<u64>) {
        assert!(self.mock.fault(Fault { kind, action: Some(action.to_owned()), count }));
    }

    /// Each job's invoice got its price once, or nothing; and how many got it.
    pub(crate) fn paid_jobs(&self) -> usize {
        let invoices = self.shop.invoices();
        let paid = invoices.iter().filter(|(job, invoice)| match self.sent_to(invoice).as_slice() {
            [] => false,
            [amount] => {
                assert_eq!(Some(amount.to_string()), job.quote_amount_raw);
                true
            }
            many => panic!("job {} was paid {} times", job.job_id, many.len()),
        });
        paid.count()
    }
}

pub(crate) fn payer() -> Account {
    Seed::Hex(SEED).account(0).unwrap()
}
