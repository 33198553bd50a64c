//! Where the money comes from: the first block of the development network, and its public key.

use std::collections::{BTreeMap, HashMap};

use nano_currency::block::StateFields;
use nano_currency::seed::Signature;
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey};

use super::{AccountState, Epoch, Kind, Ledger, Stored};
use crate::block::{Block, LegacyOpen};

/// Published in the C++ node's sources so that anybody can spend the development network's money.
const DEV_GENESIS_KEY: [u8; 32] = [
    0x34, 0xf0, 0xa3, 0x7a, 0xad, 0x20, 0xf4, 0xa2, 0x60, 0xf0, 0xa5, 0xb3, 0xcb, 0x3d, 0x7f, 0xb5, 0x06,
    0x73, 0x21, 0x22, 0x63, 0xe5, 0x8a, 0x38, 0x0b, 0xc1, 0x04, 0x74, 0xbb, 0x03, 0x9c, 0xe4,
];

/// The signature of the development network's first block, from the same sources.
const DEV_GENESIS_SIGNATURE: &str = "ECDA914373A2F0CA1296475BAEE40500A7F0A7AD72A5A80C81D7FAB7F6C802B2\
                                     CC7DB50F5DD0FB25B2EF11761FA7344A158DD5A700B21BD47DE5BD0F63153A02";

/// Its work, from the same sources.
const DEV_GENESIS_WORK: u64 = 0x7b42_a00e_e91d_5810;

/// The key of the account that holds the development network's whole supply.
#[must_use]
pub const fn dev_genesis_key() -> PrivateKey {
    PrivateKey::from_bytes(DEV_GENESIS_KEY)
}

/// The link that marks an upgrade to `epoch`: a text padded with zeros.
#[must_use]
pub fn epoch_link(epoch: Epoch) -> [u8; 32] {
    let mut link = [0; 32];
    let text: &[u8] = if epoch == 1 { b"epoch v1 block" } else { b"epoch v2 block" };
    link[..text.len()].copy_from_slice(text);
    link
}

/// Which epoch a link stands for, if any.
#[must_use]
pub fn epoch_of_link(link: &[u8; 32]) -> Option<Epoch> {
    [1, 2].into_iter().find(|epoch| epoch_link(*epoch) == *link)
}

/// What an epoch block on top of `head` says: nothing changes but the version.
#[must_use]
pub fn epoch_fields(head: &Stored, epoch: Epoch) -> StateFields {
    StateFields {
        account: head.account,
        previous: head.block.hash(),
        representative: head.representative,
        balance: head.balance,
        link: epoch_link(epoch),
    }
}

impl Ledger {
    /// A fresh development network: one account, one confirmed block, the whole supply.
    #[must_use]
    pub fn dev(now_seconds: u64) -> Self {
        let account = dev_genesis_key().account();
        let block = Block::Open(LegacyOpen {
            // A genesis block takes from itself: its source is its own account's key.
            source: BlockHash::from_bytes(*account.as_bytes()),
            representative: account,
            account,
            signature: Signature::parse(DEV_GENESIS_SIGNATURE).unwrap_or(Signature([0; 64])),
            work: Work::new(DEV_GENESIS_WORK),
        });
        let hash = block.hash();
        let state = AccountState { frontier: hash, open: hash, confirmed_height: 1 };
        Self {
            network: Network::Dev,
            blocks: HashMap::from([(hash, first_block(block, account, now_seconds))]),
            accounts: HashMap::from([(account, state)]),
            receivables: BTreeMap::new(),
            unchecked: BTreeMap::new(),
            cemented: 1,
        }
    }
}

fn first_block(block: Block, account: Account, now_seconds: u64) -> Stored {
    Stored {
        block,
        account,
        height: 1,
        balance: Amount::MAX,
        amount: Amount::MAX,
        kind: Kind::Receive,
        local_timestamp: now_seconds,
        successor: None,
        epoch: 0,
        representative: account,
        destination: None,
        source: None,
        received_by: None,
        confirmed: true,
    }
}
