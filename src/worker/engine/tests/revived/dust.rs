//! A buyer who pays in more blocks than a record can name.

use super::super::super::super::payment::PARTS_MAX;
use super::super::super::super::stage::Plan;
use super::*;

/// Blocks of so much each, by numbers that no others have.
fn blocks(numbers: std::ops::Range<u16>, raw: u128) -> Vec<BlockFact> {
    let block = |number: u16| {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&number.to_be_bytes());
        BlockFact { hash: BlockHash::from_bytes(hash), ..part(0, raw) }
    };
    numbers.map(block).collect()
}

/// Charged for, at a price of which a five-hundredth is no dust.
fn awaiting_dust() -> Bench {
    let mut bench = awaiting();
    let terms = Terms { payment: Policy { dust: Amount::ZERO, ..Policy::default() }, ..bench.terms() };
    bench.engine().set_terms(HashMap::from([(offer(), terms)]));
    bench
}

fn claimed(bench: &Bench) -> usize {
    CLAIMS.all(bench.store()).count()
}

/// One look brings a bounded number of blocks, and the books have all of those before it.
#[test]
fn what_came_in_too_many_blocks_counts_for_nothing_and_is_owed() {
    let mut bench = awaiting_dust();
    bench.take(vec![expired()]);
    assert!(bench.take(vec![look(true, &blocks(0..256, 2))]).is_empty());
    assert!(bench.take(vec![look(true, &blocks(256..512, 2))]).is_empty());
    bench.take(vec![Heard::Wanted(id(1)), charged()]);
    assert!(bench.take(vec![look(false, &blocks(512..600, 2))]).is_empty());
    assert_eq!((bench.stage(id(1)).as_str(), claimed(&bench)), ("awaiting", 0));
    bench.take(vec![shown(quoted(1, Status::Canceled, 0, "1000"))]);
    assert_eq!(owed(&bench).len(), 600);

    // Without any expiry: the smaller ones first.
    let mut bench = awaiting_dust();
    bench.take(vec![look(false, &blocks(0..256, 2))]);
    assert!(bench.take(vec![look(false, &blocks(256..512, 3))]).is_empty());
    assert_eq!((bench.stage(id(1)).as_str(), claimed(&bench)), ("awaiting", 0));
}

/// However many there are: the fewest that cover the price are claimed, and the others are owed.
#[test]
fn the_largest_of_many_blocks_are_those_that_count() {
    let mut bench = awaiting_dust();
    bench.take(vec![expired()]);
    bench.take(vec![look(true, &blocks(0..256, 2))]);
    assert!(bench.take(vec![look(true, &blocks(256..512, 3))]).is_empty());
    assert_eq!(bench.take(vec![look(true, &blocks(600..601, 241))]), ["01 Revive"]);
    bench.take(vec![charged()]);
    assert_eq!(bench.take(vec![look(false, &blocks(256..512, 3))]), ["01 Unwatch", "01 TakeLock"]);
    let Stage::Locking { plan: Plan::Run { paid, .. } } =
        JOBS.get(bench.store(), &id(1)).unwrap().unwrap().stage
    else {
        panic!("{}", bench.stage(id(1)));
    };
    assert_eq!((paid.blocks.len(), paid.total.raw()), (254, 1_000));
    assert!(paid.blocks.len() <= PARTS_MAX && claimed(&bench) == paid.blocks.len());
    deliver(&mut bench);
    assert_eq!(owed(&bench).len(), 513 - 254);
}
