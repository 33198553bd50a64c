//! Address derivations per second on one core, beside the machine's own ceiling for them: one
//! Blake2b-256 and one multiplication of the Ed25519 base point, without which no address is made.
//!
//! Writing the address as text is measured apart: a wallet needs it once for each invoice, an
//! index never.

use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use blake2::Blake2b;
use blake2::digest::{Digest, consts::U32};
use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use nano_currency::Seed;

/// The fastest round of one measurement. Noise only ever adds, so the minimum is the machine.
#[derive(Default)]
struct Fastest(Cell<Option<Duration>>);

impl Fastest {
    fn note(&self, round: Duration, iterations: u64) {
        let each = round.div_f64(iterations as f64);
        self.0.set(Some(self.0.get().map_or(each, |fastest| fastest.min(each))));
    }

    /// Iterations per second; `None` where the measurement was filtered out.
    fn per_second(&self) -> Option<f64> {
        self.0.get().map(|each| each.as_secs_f64().recip())
    }
}

/// Measures `work` with a running index and keeps the fastest round.
fn measure<T>(criterion: &mut Criterion, name: &str, work: impl Fn(u32) -> T) -> Fastest {
    let fastest = Fastest::default();
    let mut group = criterion.benchmark_group("derive");
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let begin = WallTime.start();
            for index in 0..iterations {
                // Wrapping is right: an index is 32 bits.
                black_box(work(black_box(index as u32)));
            }
            let round = WallTime.end(begin);
            fastest.note(round, iterations);
            round
        });
    });
    group.finish();
    fastest
}

/// What no derivation can do without, with the cheapest key schedule there is: none.
fn ceiling(seed: &[u8; 32], index: u32) -> [u8; 32] {
    let hash: [u8; 32] =
        Blake2b::<U32>::new().chain_update(seed).chain_update(index.to_be_bytes()).finalize().into();
    let mut expanded = [0; 64];
    expanded[..32].copy_from_slice(&hash);
    VerifyingKey::from(&ExpandedSecretKey::from_bytes(&expanded)).to_bytes()
}

#[expect(clippy::print_stdout, reason = "the comparison is what this program is for")]
fn report(name: &str, reached: &Fastest, ceiling: &Fastest) {
    if let (Some(reached), Some(ceiling)) = (reached.per_second(), ceiling.per_second()) {
        println!(
            "{name}: {reached:.0}/s, {:.1} % of the ceiling of {ceiling:.0}/s",
            100.0 * reached / ceiling
        );
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let bytes = [0x42; 32];
    let seed = Seed::Hex(bytes);
    let phrase = Seed::Bip39([0x42; 64]);

    let limit = measure(&mut criterion, "ceiling", |index| ceiling(&bytes, index));
    let account = measure(&mut criterion, "account", |index| seed.account(index));
    let address = measure(&mut criterion, "account and address", |index| {
        seed.account(index).map(|account| account.to_string())
    });
    let phrased = measure(&mut criterion, "account of a phrase", |index| phrase.account(index));
    let known = [1, 2, 3].map(|index| seed.account(index));
    measure(&mut criterion, "address text", |index| {
        known[index as usize % known.len()].map(|account| account.to_string())
    });

    report("account", &account, &limit);
    report("account and address", &address, &limit);
    report("account of a phrase", &phrased, &limit);
    criterion.final_summary();
}
