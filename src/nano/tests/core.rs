//! Seeds are refused by name and never shown; work is found, and the search can be called off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nano_currency::seed::SeedError;
use nano_currency::work::{Difficulty, Rate, estimate, solve};
use nano_currency::{Account, Amount, Network, PrivateKey, Seed};

const PHRASE: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

fn check(text: &str, expected: SeedError) {
    assert_eq!(Seed::parse(text).map(|_| ()), Err(expected), "{text:?}");
}

#[test]
fn a_seed_is_refused_by_name() {
    check("", SeedError::Length);
    check("legal", SeedError::Length);
    check(&"0".repeat(63), SeedError::Length);
    check(&"0".repeat(65), SeedError::Length);
    check(&"g".repeat(64), SeedError::NotHex);
    check(&"é".repeat(32), SeedError::NotHex);
    check("legal winner", SeedError::WordCount(2));
    check(&PHRASE.replace(" yellow", ""), SeedError::WordCount(11));
    check(&format!("{PHRASE} yellow"), SeedError::WordCount(13));
    check(&PHRASE.replace("thank year", "thank jahr"), SeedError::UnknownWord(4));
    check(&PHRASE.replace("yellow", "legal"), SeedError::PhraseChecksum);
    check(&"abandon ".repeat(200), SeedError::WordCount(200));
}

#[test]
fn a_seed_is_read_as_people_write_it() -> Result<(), SeedError> {
    let phrase = Seed::parse(PHRASE)?.account(0)?;
    let sloppy = format!("\n  {} \t", PHRASE.to_uppercase().replace(' ', "\r\n  "));
    assert_eq!(Seed::parse(&sloppy)?.account(0)?, phrase);
    assert_ne!(Seed::from_phrase(PHRASE, "passphrase")?.account(0)?, phrase);

    let hex = "0123456789abcdef".repeat(4);
    let account = Seed::parse(&hex)?.account(0)?;
    assert_eq!(Seed::parse(&format!(" {}\n", hex.to_uppercase()))?.account(0)?, account);
    Ok(())
}

#[test]
fn a_phrases_keys_end_where_slip_10_does() -> Result<(), SeedError> {
    let phrase = Seed::parse(PHRASE)?;
    assert!(phrase.account((1 << 31) - 1).is_ok());
    assert_eq!(phrase.account(1 << 31), Err(SeedError::IndexTooLarge));
    assert!(Seed::Hex([0; 32]).account(u32::MAX).is_ok());
    Ok(())
}

#[test]
fn secrets_are_not_shown() -> Result<(), SeedError> {
    let key = PrivateKey::from_bytes([0xab; 32]);
    let hex = Seed::parse(&"ab".repeat(32))?;
    assert_eq!(
        format!("{key:?} {hex:?} {:?}", Seed::parse(PHRASE)?),
        "PrivateKey(..) Seed::Hex(..) Seed::Bip39(..)"
    );
    for wrong in [PHRASE.replace("yellow", "hunter"), PHRASE.replace("yellow", "legal"), "z".repeat(64)] {
        let error = Seed::parse(&wrong).map(|_| ()).expect_err("a wrong seed");
        let shown = format!("{error} {error:?}");
        assert!(wrong.split(' ').all(|word| !shown.contains(word)), "{shown}");
    }
    Ok(())
}

#[test]
fn work_is_found() {
    let threshold = Network::Dev.work().send;
    for start in [0, u64::MAX] {
        let work =
            solve(&[7; 32], threshold, start, &AtomicBool::new(false)).expect("the search is not called off");
        assert!(work.difficulty(&[7; 32]) >= threshold);
    }
}

#[test]
fn a_search_that_cannot_end_is_called_off() {
    let cancel = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        let search = scope.spawn(|| solve(&[7; 32], Difficulty::new(u64::MAX), 0, &cancel));
        std::thread::park_timeout(Duration::from_millis(20));
        cancel.store(true, Ordering::Relaxed);
        search.join()
    });
    assert_eq!(found.expect("no panic"), None);
}

#[test]
fn the_harder_the_work_the_more_tries() {
    assert_eq!(Difficulty::new(0).expected_tries(), 1);
    assert_eq!(Difficulty::new(1 << 63).expected_tries(), 2);
    assert_eq!(Network::Live.work().receive.expected_tries(), 1 << 23);
    assert_eq!(Network::Live.work().send.expected_tries(), 1 << 29);
    assert_eq!(Difficulty::new(u64::MAX).expected_tries(), u64::MAX);
}

/// A machine that made a hundred tries in two seconds makes fifty a second on each thread.
#[test]
fn an_estimate_is_tries_by_speed() {
    let rate = |tries, seconds, threads| Rate::measured(tries, Duration::from_secs(seconds), threads);
    let expected = |rate: Option<Rate>| rate.expect("time has passed").expected(Difficulty::new(1 << 63));
    assert_eq!(expected(rate(100, 2, 1)), Duration::from_millis(40));
    assert_eq!(expected(rate(100, 2, 4)), Duration::from_millis(10));
    assert_eq!(expected(rate(1, 8, 1)), Duration::from_secs(16));
    assert_eq!(rate(100, 0, 1), None, "no time has passed");
    assert_eq!(rate(0, 2, 1), None, "nothing was tried");
    assert_eq!(rate(0, 0, 1), None);
}

#[test]
fn an_estimate_is_measured_on_this_machine() {
    let clock = std::cell::Cell::new(0);
    let passed = || Duration::from_secs(clock.replace(clock.get() + 10));
    let told = estimate(&[7; 32], Network::Live.work().receive, 0, passed).expect("time has passed");
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tries_per_second = 10_000 * u32::try_from(threads).expect("few threads");
    let expected = Duration::from_secs(1 << 23) / tries_per_second;
    assert!(told.abs_diff(expected) < Duration::from_micros(1), "{told:?} for {expected:?}");
    assert_eq!(estimate(&[7; 32], Difficulty::new(0), 0, || Duration::from_secs(1)), None);
    assert_eq!(nano_currency::work::threads(), threads);
}

#[test]
fn a_network_is_read_as_it_is_written() {
    for network in Network::ALL {
        assert_eq!(network.to_string().parse(), Ok(network));
    }
    assert!("main".parse::<Network>().is_err() && "".parse::<Network>().is_err());
}

#[test]
fn a_payment_link_names_the_amount_in_raw() {
    let link = Account::BURN.payment_uri(Amount::from_raw(1_000));
    assert_eq!(link, format!("nano:{}?amount=1000", Account::BURN));
}

#[test]
fn values_are_shown_as_people_read_them() {
    use nano_currency::BlockHash;
    use nano_currency::seed::Signature;
    use nano_currency::work::Work;

    let amount = Amount::from_raw(1_500);
    assert_eq!(format!("{amount} {amount:?} {amount:>6}"), "1500 1500 raw   1500");
    let account = Account::BURN;
    assert_eq!(format!("{account:?}"), account.to_string());
    let hash = BlockHash::from_bytes([0xab; 32]);
    assert_eq!(format!("{hash} {hash:?}"), format!("{0} {0}", "AB".repeat(32)));
    let signature = Signature([0xcd; 64]);
    assert_eq!(format!("{signature} {signature:?}"), format!("{0} {0}", "CD".repeat(64)));
    let (difficulty, work) = (Difficulty::new(0xffc0_0000_0000_0000), Work::new(10));
    assert_eq!(format!("{difficulty} {difficulty:?}"), "ffc0000000000000 ffc0000000000000");
    assert_eq!(format!("{work} {work:?} {}", work.get()), "000000000000000a 000000000000000a 10");
    assert_eq!(difficulty.get(), 0xffc0_0000_0000_0000);
    for bad in ["", "a", "000000000000000", "00000000000000000", "000000000000000g", "+00000000000000a"] {
        assert_eq!((Work::parse(bad), Difficulty::parse(bad)), (None, None), "{bad}");
    }
    assert_eq!(format!("{:>5}", Network::Dev), "  dev");
}

#[test]
fn sums_end_where_amounts_do() {
    let (one, most) = (Amount::from_raw(1), Amount::MAX);
    assert_eq!((one.checked_add(one), most.checked_add(one)), (Some(Amount::from_raw(2)), None));
    assert_eq!((one.checked_sub(one), Amount::ZERO.checked_sub(one)), (Some(Amount::ZERO), None));
    assert_eq!((one.saturating_add(one), most.saturating_add(one)), (Amount::from_raw(2), most));
    assert_eq!([one, one, one].into_iter().sum::<Amount>(), Amount::from_raw(3));
    assert!(Amount::ZERO.is_zero() && !one.is_zero());
    // Everybody who searches for the hardest work of all tries every nonce.
    assert_eq!(Difficulty::new(u64::MAX).expected_tries(), u64::MAX);
    assert_eq!(Difficulty::new(u64::MAX - 1).expected_tries(), 1 << 63);
    assert_eq!(Difficulty::new(0).expected_tries(), 1);
}
