//! Proofs of payments per second on one core, beside what no proof can do without: two
//! Blake2b-256 of a state block's 176 bytes and one Ed25519-Blake2b verification. And tries for
//! work per second, beside a bare loop of the hash.
//!
//! Prints medians, and the ratio of each to its ceiling.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use blake2::digest::Digest;
use blake2::digest::consts::{U8, U32};
use blake2::{Blake2b, Blake2b512};
use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput};
use ed25519_dalek::hazmat::raw_verify;
use ed25519_dalek::{Signature, VerifyingKey};
use nano_currency::block::{Block, StateBlock, StateFields};
use nano_currency::proof::{Claim, Evidence, prove};
use nano_currency::work::{Work, sample};
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey};

/// A state block's fields with the preamble: 32 + 32 + 32 + 32 + 16 + 32 bytes.
const PREIMAGE: usize = 176;

/// Tries in one iteration of the search, so that the loop around them is not what is measured.
const TRIES: u64 = 1_000;

/// The rounds of one measurement, each in nanoseconds for one iteration.
#[derive(Default)]
struct Rounds(RefCell<Vec<f64>>);

impl Rounds {
    fn note(&self, round: Duration, iterations: u64) {
        self.0.borrow_mut().push(round.as_secs_f64() / iterations as f64);
    }

    /// Iterations per second in the median round; `None` where the measurement was filtered out.
    fn per_second(&self) -> Option<f64> {
        let mut rounds = self.0.borrow().clone();
        rounds.sort_by(f64::total_cmp);
        rounds.get(rounds.len() / 2).map(|median| median.recip())
    }
}

fn measure<T>(criterion: &mut Criterion, name: &str, work: impl Fn(u64) -> T) -> Rounds {
    let rounds = Rounds::default();
    let mut group = criterion.benchmark_group("proof");
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let begin = WallTime.start();
            for index in 0..iterations {
                black_box(work(black_box(index)));
            }
            let round = WallTime.end(begin);
            rounds.note(round, iterations);
            round
        });
    });
    group.finish();
    rounds
}

/// A payment and the block before it.
fn pair() -> (StateBlock, StateBlock) {
    let key = PrivateKey::from_bytes([1; 32]);
    let fields = StateFields {
        account: key.account(),
        previous: BlockHash::ZERO,
        representative: Account::BURN,
        balance: Amount::from_raw(1_000),
        link: [7; 32],
    };
    let before = fields.sign(&key, Work::new(0));
    let paid = StateFields { previous: before.hash(), balance: Amount::from_raw(300), ..fields };
    (before, paid.sign(&key, Work::new(0)))
}

/// Hashing and verifying alone, with everything read and laid out before.
fn ceiling(preimages: &[[u8; PREIMAGE]; 2], key: &VerifyingKey, signature: &Signature) -> bool {
    let hashes = preimages.each_ref().map(|preimage| Blake2b::<U32>::digest(black_box(preimage)));
    black_box(hashes[0]);
    raw_verify::<Blake2b512>(key, &hashes[1], signature).is_ok()
}

fn preimage(fields: &StateFields) -> [u8; PREIMAGE] {
    let mut bytes = [0; PREIMAGE];
    bytes[31] = 6;
    bytes[32..64].copy_from_slice(fields.account.as_bytes());
    bytes[64..96].copy_from_slice(fields.previous.as_bytes());
    bytes[96..128].copy_from_slice(fields.representative.as_bytes());
    bytes[128..144].copy_from_slice(&fields.balance.raw().to_be_bytes());
    bytes[144..].copy_from_slice(&fields.link);
    bytes
}

#[expect(clippy::print_stdout, reason = "the comparison is what this program is for")]
fn report(name: &str, reached: &Rounds, ceiling: &Rounds, each: f64) {
    if let (Some(reached), Some(ceiling)) = (reached.per_second(), ceiling.per_second()) {
        println!(
            "{name}: median {:.0}/s, {:.1} % of the ceiling of {:.0}/s",
            reached * each,
            100.0 * reached / ceiling,
            ceiling * each
        );
    }
}

#[expect(clippy::expect_used, reason = "a benchmark of a refusal would measure nothing")]
fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let rules = Network::Dev.rules();
    let (before, send) = pair();
    let claim = Claim {
        hash: send.hash(),
        block: Block::State(send),
        account: send.fields.account,
        amount: Some(Amount::from_raw(700)),
        subtype: None,
    };
    let contents = serde_json::Value::from(&before);
    let proof = |_| {
        let mut evidence = Evidence::new();
        evidence.add(Block::State(before));
        prove(&claim, &evidence, &rules).expect("it is in order")
    };
    let read = |_| {
        let mut evidence = Evidence::new();
        evidence.add_json(before.hash(), &contents).expect("it is in order");
        prove(&claim, &evidence, &rules).expect("it is in order")
    };
    let preimages = [preimage(&before.fields), preimage(&send.fields)];
    let key = VerifyingKey::from_bytes(send.fields.account.as_bytes()).expect("it is a key");
    let signature = Signature::from_bytes(&send.signature.0);
    assert!(ceiling(&preimages, &key, &signature), "the ceiling does the same work");

    let limit = measure(&mut criterion, "ceiling", |_| {
        // A key arrives as 32 bytes, so unpacking it is part of verifying.
        let key = VerifyingKey::from_bytes(black_box(send.fields.account.as_bytes()));
        key.is_ok_and(|key| ceiling(&preimages, &key, &signature))
    });
    let proofs = measure(&mut criterion, "proof", proof);
    let read = measure(&mut criterion, "proof, the block before read from JSON", read);

    let root = [7; 32];
    let bare = measure(&mut criterion, "bare Blake2b-64", |index| {
        let mut preimage = [7; 40];
        (0..TRIES).fold(0u64, |most, step| {
            preimage[..8].copy_from_slice(&(index * TRIES + step).to_le_bytes());
            most.max(u64::from_le_bytes(Blake2b::<U8>::digest(preimage).into()))
        })
    });
    let tries = measure(&mut criterion, "work", |index| sample(&root, TRIES, index * TRIES));

    report("proofs", &proofs, &limit, 1.0);
    report("proofs, the block before read from JSON", &read, &limit, 1.0);
    report("work, tries", &tries, &bare, TRIES as f64);
    criterion.final_summary();
}
