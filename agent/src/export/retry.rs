//! How long to wait before the next attempt.
//!
//! In: what the backend asked for, a random number. Out: a time. Always holds: waits double from `first` to `longest`,
//! each drawn from its upper half, so that many agents do not come back at once. Refuses: to wait less than the
//! backend asked for.

use std::time::Duration;

/// Bounds of the waits between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// First wait.
    pub first: Duration,
    /// Longest wait of our own choice.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
        }
    }
}

/// The waits of one batch.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: RetryPolicy,
    next: Duration,
}

impl Backoff {
    /// Before the first attempt.
    #[must_use]
    pub const fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            next: policy.first,
        }
    }

    /// The next wait. `asked` is what the backend wants, `random` any number.
    pub fn next(&mut self, asked: Option<Duration>, random: u64) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.policy.longest);
        let share = 0.5 + (random % 1_000) as f64 / 2_000.0;
        step.mul_f64(share).max(asked.unwrap_or_default())
    }
}

/// A number nobody can foresee: hash keys are random per call (std's `RandomState`).
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Duration, RetryPolicy};

    #[test]
    fn waits_double_up_to_the_longest_and_honour_the_backend() {
        let mut backoff = Backoff::new(RetryPolicy {
            first: Duration::from_millis(100),
            longest: Duration::from_millis(400),
        });
        let mut check = |asked: Option<u64>, random, expect: u64| {
            let wait = backoff.next(asked.map(Duration::from_millis), random);
            assert_eq!(wait, Duration::from_millis(expect));
        };
        check(None, 0, 50);
        check(None, 0, 100);
        check(None, 1_000, 200);
        check(None, 500, 300);
        check(Some(1_000), 0, 1_000);
        check(Some(1), 0, 200);
    }
}
