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
    pub(super) fn new(loaded: &Loaded, verdict: Verdict) -> Self {
        let sum = |count: fn(&super::ledger::Ledger) -> u64| loaded.ledgers.iter().map(count).sum::<u64>();
        let latency = |quantile| Duration::from_micros(loaded.latency.value_at_quantile(quantile));
        let acknowledged = sum(|ledger| ledger.acknowledged);
        Self {
            acknowledged,
            keys: verdict.keys,
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

    /// Whether nothing acknowledged was lost and nothing was done twice.
    pub const fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0
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
        write!(f, "lost {} doubled {}", self.lost, self.doubled)
    }
}
