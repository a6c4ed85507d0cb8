//! Rows that measure a crate beside its peers, in one form that is read by eye and by scripts alike.
//!
//! ```
//! use quorate_benches::{Better, Row};
//! let row = Row {
//!     name: "raft/put/clients=64".to_owned(),
//!     ours: 0.71,
//!     peer: 1.02,
//!     peer_name: "openraft-0.10.0",
//!     unit: "us_cpu/op",
//!     better: Better::Lower,
//!     goal: 2.0,
//! };
//! assert_eq!(
//!     row.to_string(),
//!     "versus raft/put/clients=64 ours=0.71 peer=1.02 peer_name=openraft-0.10.0 unit=us_cpu/op ratio=1.44 \
//!      goal=2.00 short"
//! );
//! ```

use std::fmt;

/// One measurement beside a peer's, both medians of at least five turns in the same run.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured: crate, operation, parameters.
    pub name: String,
    /// Our figure.
    pub ours: f64,
    /// The peer's.
    pub peer: f64,
    /// The peer, with its version.
    pub peer_name: &'static str,
    /// What both figures are in.
    pub unit: &'static str,
    /// Which figure is the better one.
    pub better: Better,
    /// The ratio that was aimed for.
    pub goal: f64,
}

/// Which of two figures is the better one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Better {
    /// The lower: times, bytes.
    Lower,
    /// The higher: rates.
    Higher,
}

impl Row {
    /// How many times better ours is; above 1 means that it is better.
    pub fn ratio(&self) -> f64 {
        match self.better {
            Better::Lower => self.peer / self.ours,
            Better::Higher => self.ours / self.peer,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.ratio();
        let verdict = if ratio >= self.goal { "met" } else { "short" };
        write!(
            f,
            "versus {} ours={:.2} peer={:.2} peer_name={} unit={} ratio={ratio:.2} goal={:.2} {verdict}",
            self.name, self.ours, self.peer, self.peer_name, self.unit, self.goal
        )
    }
}

/// The median: the mean of the middle two for an even count, zero for none.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match (figures.len(), figures.len() / 2) {
        (0, _) => 0.0,
        (count, middle) if count % 2 == 0 => (figures[middle - 1] + figures[middle]) / 2.0,
        (_, middle) => figures[middle],
    }
}

/// The geometric mean of ratios; 1 for none.
pub fn geometric_mean(ratios: &[f64]) -> f64 {
    let logs: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (logs / ratios.len().max(1) as f64).exp()
}
