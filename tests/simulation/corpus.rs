//! Seeds that once failed, and what each of them found.

use crate::drive::explain;
use crate::plan::Plan;
use crate::run::run;

/// A seed keeps its meaning only as long as plans are drawn as they were, so what it found has a
/// test of its own elsewhere too.
const CORPUS: &[(u64, &str)] = &[(101, "an answer that overtakes another is no answer taken back")];

#[test]
fn the_corpus_holds() {
    for (seed, found) in CORPUS {
        let report = run(&Plan::draw(*seed), false);
        assert!(report.violations.is_empty(), "again: {found}\n{}", explain(*seed));
    }
}
