use std::time::Duration;

use quorate_core::Time;
use tokio::time::Instant;

/// Tokio's clock, which a test can pause, as the core's time: nanoseconds since the start.
pub(crate) struct Clock {
    start: Instant,
    last: Time,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), last: Time::ZERO }
    }

    /// Reads the clock.
    pub(crate) fn now(&mut self) -> Time {
        self.last = self.last.max(Time::ZERO + self.start.elapsed());
        self.last
    }

    /// What it showed when it was last read.
    pub(crate) fn last(&self) -> Time {
        self.last
    }

    /// The instant of a deadline; a year from the start at most, since instants overflow.
    pub(crate) fn instant(&self, deadline: Time) -> Instant {
        self.start + deadline.since(Time::ZERO).min(FAR)
    }
}

const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
