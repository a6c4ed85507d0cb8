//! The table at the end.

use std::fmt;
use std::time::Duration;

use super::load::Loaded;
use super::verify::Verdict;

/// What a load under failures has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Keys of acknowledged writes that were read through every node.
    pub keys: u64,
    /// How many keys there are to be at least.
    pub keys_min: u64,
    /// Acknowledged writes that are not there.
    pub lost: u64,
    /// Increments that were done more often than they were asked for.
    pub doubled: u64,
    /// Writes that were certainly not done, and answered so.
    pub failed: u64,
    /// Writes whose outcome the client was not told.
    pub unknown: u64,
    /// The median of the latency of acknowledged writes.
    pub p50: Duration,
    /// What 99 of 100 acknowledged writes stayed below.
    pub p99: Duration,
    /// Acknowledged writes a second.
    pub rate: f64,
    /// The longest time without an acknowledged write around the kill.
    pub gap: Duration,
}

impl Report {
    pub(super) fn new(loaded: &Loaded, verdict: Verdict, keys_min: u64) -> Self {
        let sum = |count: fn(&super::ledger::Ledger) -> u64| loaded.ledgers.iter().map(count).sum::<u64>();
        let latency = |quantile| Duration::from_micros(loaded.latency.value_at_quantile(quantile));
        let acknowledged = sum(|ledger| ledger.acknowledged);
        Self {
            acknowledged,
            keys: verdict.keys,
            keys_min,
            lost: verdict.lost,
            doubled: verdict.doubled,
            failed: sum(|ledger| ledger.failed),
            unknown: sum(|ledger| ledger.unknown),
            p50: latency(0.5),
            p99: latency(0.99),
            rate: acknowledged as f64 / loaded.lasted.as_secs_f64(),
            gap: loaded.gap,
        }
    }

    /// Whether something was acknowledged, and all that was to be; and nothing of it was lost, and nothing
    /// done twice.
    pub const fn is_clean(&self) -> bool {
        let is_complete = self.acknowledged > 0 && self.keys >= self.keys_min;
        is_complete && self.lost == 0 && self.doubled == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1e3);
        for (name, value) in [
            ("writes acknowledged", self.acknowledged.to_string()),
            ("keys read back", self.keys.to_string()),
            ("lost", self.lost.to_string()),
            ("doubled", self.doubled.to_string()),
            ("failed", self.failed.to_string()),
            ("unknown", self.unknown.to_string()),
            ("latency p50", millis(self.p50)),
            ("latency p99", millis(self.p99)),
            ("writes a second", format!("{:.0}", self.rate)),
            ("failover gap", format!("{} ms", self.gap.as_millis())),
        ] {
            writeln!(f, "{name:<20} {value:>12}")?;
        }
        if self.acknowledged == 0 {
            writeln!(f, "no write was acknowledged")?;
        }
        if self.keys < self.keys_min {
            writeln!(f, "{} of {} keys were never acknowledged", self.keys_min - self.keys, self.keys_min)?;
        }
        write!(f, "lost {} doubled {}", self.lost, self.doubled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            acknowledged: 100,
            keys: 10,
            keys_min: 10,
            lost: 0,
            doubled: 0,
            failed: 1,
            unknown: 1,
            p50: Duration::ZERO,
            p99: Duration::ZERO,
            rate: 1.0,
            gap: Duration::ZERO,
        }
    }

    #[test]
    fn a_report_is_clean_only_if_something_was_acknowledged() {
        assert!(report().is_clean());
        assert!(!Report { acknowledged: 0, keys: 0, keys_min: 0, ..report() }.is_clean());
        assert!(!Report { keys: 9, ..report() }.is_clean());
        assert!(!Report { lost: 1, ..report() }.is_clean());
        assert!(!Report { doubled: 1, ..report() }.is_clean());
    }

    #[test]
    fn what_is_missing_is_told() {
        let text = Report { keys: 9, ..report() }.to_string();
        assert!(text.contains("1 of 10 keys were never acknowledged"), "{text}");
        assert!(text.ends_with("lost 0 doubled 0"), "{text}");
        assert!(!report().to_string().contains("never"), "{text}");
    }
}
