use std::time::Duration;

use quorate_core::Rng;

/// The pauses between attempts: doubling from `min` to `max`, each drawn from the upper half of its range so
/// that peers that failed together don't return together.
///
/// ```
/// use std::time::Duration;
/// use quorate_core::Rng;
/// use quorate_net::Backoff;
///
/// let (min, max) = (Duration::from_millis(50), Duration::from_secs(2));
/// let mut backoff = Backoff::new(min, max, Rng::from_seed(7));
/// let first = backoff.next_pause();
/// assert!(min / 2 <= first && first <= min);
/// for _ in 0..100 {
///     assert!(backoff.next_pause() <= max);
/// }
/// backoff.reset();
/// assert!(backoff.next_pause() <= min);
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
    rng: Rng,
}

impl Backoff {
    /// Pauses from `min` to `max`; a `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration, rng: Rng) -> Self {
        Self { min, max: max.max(min), ceiling: min, rng }
    }

    /// How long to wait before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.max);
        self.jittered(ceiling)
    }

    /// A pause of between half of `ceiling` and all of it, which changes nothing for the next.
    pub fn jittered(&mut self, ceiling: Duration) -> Duration {
        self.rng.duration(ceiling / 2..ceiling)
    }

    /// Starts again from `min`, after a success.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }
}
