//! Seeds that once failed, and what each of them found.

use crate::drive::explain;
use crate::plan::Plan;
use crate::run::run;

/// A seed keeps its meaning only as long as plans are drawn as they were, so what it found has a
/// test of its own elsewhere too.
const CORPUS: &[(u64, &str)] = &[
    (101, "an answer that overtakes another one takes nothing back: the oracle said it did"),
    (50_010, "an address handed out, and another job seen with it in one commit: it was both jobs'"),
    (60_281, "a hash that a stranger submits elsewhere keeps a job from being locked: see `is_on_another`"),
    (1_000_159, "an address shared through a relay that lost everything: the oracle knows the limit"),
    (
        206_636_503_831_991,
        "two workers of one seed offer the same things twice on a relay that was replaced, and the \
         coins of a job that one serves and that is open were taken by the other",
    ),
    (
        175_092_716_828_950,
        "a renewal that was sent just before the lease was lost was waited for beyond its end, while \
         the handler went on",
    ),
    (
        75_891_125_438_148,
        "an expiry that was seen before a charge of /v0 was made again was told after it, and ended the run",
    ),
    (
        184_349_831_262_554,
        "a worker that had looked for used addresses, and had listed no jobs yet, did not notice that the \
         relay was replaced",
    ),
    (
        149_362_000_475_017,
        "what came for a job that was given up, because another worker of the seed with the same \
         indices does it, was taken for earned while that job was open",
    ),
    (
        9_093_013_524_777,
        "an address that the relay refused for a job, because another worker of the seed had quoted it, \
         was taken for that job's, and what had paid the other one went back to its buyer",
    ),
    (
        239_093_739_408_082,
        "an address that another worker of the seed quoted, and that was paid, between a look's list of jobs \
         and its questions to the chain passed for one of a job that the relay had forgotten",
    ),
    (
        50_001_571,
        "what a worker's earlier life had not found ended a job, whose payment had come while it was down",
    ),
    (
        50_001_871,
        "a job that may be repeated was failed by another worker of the seller, which was about to quote it, \
         as soon as the lock had run out",
    ),
    (50_000_656, "a worker that dies before the handler starts cannot know that it has not: the oracle did"),
    (50_000_650, "what was paid twice was swept by another worker of the seed, which had not done the job"),
    (1_179, "a job was paid that a relay had lost while the worker still had it as quoted: nobody looked"),
    (80_000_891, "what came for a job that the relay had lost was swept by a worker that knew nothing of it"),
    (37_548_634_810_612, "a relay's clock that was set right ended a lock: the oracle forgives it"),
    (
        48_842_956_417_658,
        "what another worker had received could not be received: the oracle held it against",
    ),
];

#[test]
fn the_corpus_holds() {
    for (seed, found) in CORPUS {
        let report = run(&Plan::draw(*seed), false);
        assert!(report.violations.is_empty(), "again: {found}\n{}", explain(*seed));
    }
}
