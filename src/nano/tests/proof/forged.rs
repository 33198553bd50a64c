//! A forged block never passes, wherever it was changed.

use nano_currency::block::{Block, StateBlock, Subtype};
use nano_currency::proof::{Claim, prove};
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash, PrivateKey};
use proptest::prelude::*;

use crate::support::{dev, evidence};

/// Two blocks of one chain, the second a payment.
#[derive(Debug, Clone)]
struct Chain {
    before: StateBlock,
    send: StateBlock,
    amount: Amount,
}

prop_compose! {
    fn chain()(
        key in any::<[u8; 32]>(), previous in any::<[u8; 32]>(), representative in any::<[u8; 32]>(),
        link in any::<[u8; 32]>(), to in any::<[u8; 32]>(), balance in 1u128.., part in any::<u128>(),
    ) -> Chain {
        let key = PrivateKey::from_bytes(key);
        let amount = part % balance + 1;
        let before = nano_currency::block::StateFields {
            account: key.account(),
            previous: BlockHash::from_bytes(previous),
            representative: Account::from_bytes(representative),
            balance: Amount::from_raw(balance),
            link,
        }.sign(&key, Work::new(1));
        let send = nano_currency::block::StateFields {
            previous: before.hash(),
            balance: Amount::from_raw(balance - amount),
            link: to,
            ..before.fields
        }.sign(&key, Work::new(1));
        Chain { before, send, amount: Amount::from_raw(amount) }
    }
}

fn flipped(bytes: &[u8; 32], bit: usize) -> [u8; 32] {
    let mut bytes = *bytes;
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// The block with one bit of what is signed, or of the signature, turned over.
fn tampered(mut block: StateBlock, place: usize) -> StateBlock {
    let fields = &mut block.fields;
    match place {
        0..256 => fields.account = Account::from_bytes(flipped(fields.account.as_bytes(), place)),
        256..512 => fields.previous = BlockHash::from_bytes(flipped(fields.previous.as_bytes(), place - 256)),
        512..768 => {
            fields.representative =
                Account::from_bytes(flipped(fields.representative.as_bytes(), place - 512));
        }
        768..1024 => fields.link = flipped(&fields.link, place - 768),
        1024..1152 => fields.balance = Amount::from_raw(fields.balance.raw() ^ (1 << (place - 1024))),
        _ => block.signature.0[(place - 1152) / 8] ^= 1 << ((place - 1152) % 8),
    }
    block
}

const PLACES: usize = 1152 + 512;

fn honest(chain: &Chain) -> Claim {
    Claim {
        hash: chain.send.hash(),
        block: Block::State(chain.send),
        account: chain.send.fields.account,
        amount: Some(chain.amount),
        subtype: Some(Subtype::Send),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_pair_is_proven(chain in chain()) {
        let proven = prove(&honest(&chain), &evidence([Block::State(chain.before)]), &dev()).unwrap();
        prop_assert_eq!(proven.amount, chain.amount);
        prop_assert_eq!(proven.to, Account::from_bytes(chain.send.fields.link));
        prop_assert_eq!(proven.from, chain.send.fields.account);
    }

    /// Whether the forger keeps the hash, names the forgery's own, or renames the account too.
    #[test]
    fn a_changed_payment_is_refused(chain in chain(), place in 0..PLACES) {
        let forged = tampered(chain.send, place);
        let evidence = evidence([Block::State(chain.before)]);
        let claim = Claim { block: Block::State(forged), ..honest(&chain) };
        prop_assert!(prove(&claim, &evidence, &dev()).is_err(), "under the old hash");
        let claim = Claim { hash: forged.hash(), ..claim };
        prop_assert!(prove(&claim, &evidence, &dev()).is_err(), "under its own hash");
        let claim = Claim { account: forged.fields.account, amount: None, subtype: None, ..claim };
        prop_assert!(prove(&claim, &evidence, &dev()).is_err(), "and with nothing else said");
    }

    /// The block before decides the amount, so it cannot be exchanged.
    #[test]
    fn a_changed_block_before_is_refused(chain in chain(), place in 0..1152usize) {
        let forged = tampered(chain.before, place);
        let claim = Claim { amount: None, ..honest(&chain) };
        prop_assert!(prove(&claim, &evidence([Block::State(forged)]), &dev()).is_err());
    }

    /// A payment passed off as another amount, kind or payer.
    #[test]
    fn a_lie_beside_the_block_is_refused(chain in chain(), amount: u128, payer: [u8; 32], kind in 0usize..4) {
        let evidence = evidence([Block::State(chain.before)]);
        prop_assume!(amount != chain.amount.raw() && payer != *chain.send.fields.account.as_bytes());
        let kind = [Subtype::Receive, Subtype::Open, Subtype::Change, Subtype::Epoch][kind];
        let lies = [
            Claim { amount: Some(Amount::from_raw(amount)), ..honest(&chain) },
            Claim { account: Account::from_bytes(payer), ..honest(&chain) },
            Claim { subtype: Some(kind), ..honest(&chain) },
        ];
        for lie in lies {
            let refused = prove(&lie, &evidence, &dev()).unwrap_err();
            prop_assert!(refused.is_lie(), "{}", refused);
        }
    }
}
