//! The worker's readers, for `crate::fuzzing`.

use super::settings::Settings;

pub(crate) use super::effects::fuzzing::why_no_price;
pub(crate) use super::executor::fuzzing::result_of;
pub(crate) use super::ingest::fuzzing::{cursors, events};
pub(crate) use super::memory::fuzzing::records;

/// Settings that were taken keep the bounds that the documentation names.
pub(crate) fn settings(settings: Option<&Settings>) {
    let Some(settings) = settings else { return };
    assert!(settings.poll_min <= settings.poll_max);
    assert!((10..=600).contains(&settings.lock_ttl.as_secs()));
    assert!(!settings.offers.is_empty() && !settings.rpc.is_empty());
    assert!(settings.offers.iter().all(|offer| offer.max_parallel > 0 && offer.public.check().is_ok()));
    let mut names: Vec<&str> = settings.offers.iter().map(|offer| offer.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), settings.offers.len());
}
