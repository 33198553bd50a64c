//! When a node that fails is left alone, and for how long.
//!
//! Pure: `now` is an argument, the time that has passed since some fixed moment.

use std::time::Duration;

/// One lost packet is no reason to leave a node; three failures in a row are.
const FAILURES_MAX: u32 = 3;

/// The first rest: a node that restarts is back within seconds.
const REST_MIN: Duration = Duration::from_secs(1);

/// The longest rest after failures, so that a node that returns is noticed within half a minute.
const REST_MAX: Duration = Duration::from_secs(30);

/// The longest rest that a node may ask for by `Retry-After`.
const RATE_LIMIT_REST_MAX: Duration = Duration::from_secs(300);

/// A trial call that never reports back blocks the next trial for at most this long.
const TRIAL_MAX: Duration = Duration::from_secs(10);

/// The record of one node.
///
/// It is asked freely until it has failed three times in a row. Then it rests, one call tries
/// it, and it rests twice as long if that fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct Breaker {
    failures: u32,
    rests_until: Option<Duration>,
    on_trial: bool,
}

impl Breaker {
    /// Whether the node may be asked now. After a rest only the first who inquires may.
    #[must_use]
    pub fn may_ask(&mut self, now: Duration) -> bool {
        match self.rests_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.on_trial = true;
                self.rests_until = Some(now + TRIAL_MAX);
                true
            }
        }
    }

    /// The node answered.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The node did not answer.
    pub fn failed(&mut self, now: Duration) {
        // Calls that were on their way when the rest began say nothing new.
        let known = !self.on_trial && self.rests_until.is_some_and(|until| now < until);
        if known {
            return;
        }
        self.on_trial = false;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            let doublings = (self.failures - FAILURES_MAX).min(16);
            self.rests_until = Some(now + REST_MIN.saturating_mul(1 << doublings).min(REST_MAX));
        }
    }

    /// The node asked to be left alone, for `wait` if it said so.
    pub fn limited(&mut self, now: Duration, wait: Option<Duration>) {
        self.on_trial = false;
        self.failures = self.failures.max(FAILURES_MAX);
        self.rests_until = Some(now + wait.unwrap_or(REST_MIN).min(RATE_LIMIT_REST_MAX));
    }

    /// How long it still rests.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        self.rests_until.map_or(Duration::ZERO, |until| until.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a story at whole milliseconds; `?` expects leave to ask, `!` expects none.
    fn check(story: &[(u64, &str)]) {
        let mut breaker = Breaker::default();
        for (step, &(at_ms, event)) in story.iter().enumerate() {
            let now = Duration::from_millis(at_ms);
            match event {
                "?" => assert!(breaker.may_ask(now), "step {step} at {at_ms} ms"),
                "!" => assert!(!breaker.may_ask(now), "step {step} at {at_ms} ms"),
                "ok" => breaker.succeeded(),
                "fail" => breaker.failed(now),
                "limit" => breaker.limited(now, None),
                "limit 60 s" => breaker.limited(now, Some(Duration::from_secs(60))),
                "limit 1 day" => breaker.limited(now, Some(Duration::from_secs(86_400))),
                other => panic!("no such event: {other}"),
            }
        }
    }

    #[test]
    fn two_failures_are_forgiven() {
        check(&[(0, "?"), (0, "fail"), (0, "?"), (0, "fail"), (0, "?"), (0, "ok"), (0, "fail"), (0, "?")]);
    }

    #[test]
    fn three_in_a_row_bring_a_rest_and_then_one_trial() {
        check(&[(0, "fail"), (0, "fail"), (0, "fail"), (999, "!"), (1_000, "?"), (1_000, "!")]);
    }

    #[test]
    fn a_failed_trial_doubles_the_rest() {
        check(&[
            (0, "fail"),
            (0, "fail"),
            (0, "fail"),
            (1_000, "?"),
            (1_000, "fail"),
            (2_999, "!"),
            (3_000, "?"),
        ]);
    }

    #[test]
    fn what_fails_during_a_rest_says_nothing_new_and_at_its_end_it_does() {
        let rests = [(0, "fail"), (0, "fail"), (0, "fail")];
        check(&[&rests[..], &[(999, "fail"), (1_000, "?")]].concat());
        check(&[&rests[..], &[(1_000, "fail"), (2_999, "!"), (3_000, "?")]].concat());
    }

    #[test]
    fn a_good_trial_ends_it() {
        check(&[
            (0, "fail"),
            (0, "fail"),
            (0, "fail"),
            (1_000, "?"),
            (1_000, "ok"),
            (1_000, "?"),
            (1_000, "?"),
        ]);
    }

    #[test]
    fn calls_under_way_do_not_lengthen_the_rest() {
        check(&[(0, "fail"), (0, "fail"), (0, "fail"), (1, "fail"), (2, "fail"), (3, "fail"), (1_000, "?")]);
    }

    #[test]
    fn a_lost_trial_is_repeated() {
        check(&[(0, "fail"), (0, "fail"), (0, "fail"), (1_000, "?"), (10_999, "!"), (11_000, "?")]);
    }

    #[test]
    fn a_rest_lasts_at_most_half_a_minute() {
        let mut breaker = Breaker::default();
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            breaker.failed(now);
            assert!(breaker.wait(now) <= REST_MAX);
            now += breaker.wait(now);
            assert!(breaker.may_ask(now));
        }
        breaker.failed(now);
        assert_eq!(breaker.wait(now), REST_MAX);
    }

    #[test]
    fn a_limit_is_obeyed_within_reason() {
        check(&[(0, "limit"), (999, "!"), (1_000, "?"), (1_000, "limit 60 s"), (60_999, "!"), (61_000, "?")]);
        check(&[(0, "limit 1 day"), (299_999, "!"), (300_000, "?")]);
    }
}
