//! The test kit for implementers of [`Transport`]: the contract in the trait's documentation, a case or more
//! a clause.
//!
//! Implement [`Cluster`] for a handful of nodes over the transport, and run the kit from a test:
//!
//! ```
//! use std::sync::Arc;
//! use quorate_core::{ClusterId, NodeId};
//! use quorate_transport::{MemoryNetwork, Transport, conformance};
//!
//! struct Memory(MemoryNetwork, Vec<Option<Arc<dyn Transport>>>);
//!
//! #[async_trait::async_trait]
//! impl conformance::Cluster for Memory {
//!     fn node(&self, index: usize) -> Arc<dyn Transport> {
//!         self.1[index].clone().expect("the kit doesn't ask for a crashed node")
//!     }
//!     async fn crash(&mut self, index: usize) {
//!         self.1[index] = None;
//!     }
//!     async fn restart(&mut self, index: usize) {
//!         self.1[index] = Some(Arc::new(self.0.join(NodeId::new(index as u64 + 1))));
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let report = conformance::run(|count| async move {
//!     let network = MemoryNetwork::new(ClusterId::new(1));
//!     let join = |node| Some(Arc::new(network.join(NodeId::new(node))) as Arc<dyn Transport>);
//!     let nodes = (1..=count as u64).map(join).collect();
//!     Memory(network, nodes)
//! })
//! .await;
//! report.assert_kept();
//! # });
//! ```

mod calls;
mod handlers;
mod life;
mod messages;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::Transport;

/// A few nodes of one cluster that know each other, over the transport under test. Dropping it ends them.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// The transport of the node at `index`, from zero. The kit drops what it got before it crashes a node.
    fn node(&self, index: usize) -> Arc<dyn Transport>;

    /// Ends a node at once, as the death of its process would.
    async fn crash(&mut self, index: usize);

    /// Brings a crashed node back: the same node in a new boot, where the others can reach it.
    async fn restart(&mut self, index: usize);
}

/// Runs every case, each on a cluster of its own.
///
/// `start` makes a cluster of as many nodes as it is told. A case that hasn't ended after 20 s of the
/// runtime's time counts as broken, so nothing hangs. The runtime needs its timer, and may be
/// single-threaded.
pub async fn run<S, F, C>(start: S) -> Report
where
    S: Fn(usize) -> F,
    F: Future<Output = C>,
    C: Cluster + 'static,
{
    let mut report = Report { outcomes: Vec::new() };
    for case in cases() {
        report.outcomes.push(case.run(Box::new(start(NODES).await)).await);
    }
    report
}

/// Runs the cases whose name contains `part`.
pub async fn run_some<S, F, C>(part: &str, start: S) -> Report
where
    S: Fn(usize) -> F,
    F: Future<Output = C>,
    C: Cluster + 'static,
{
    let mut report = Report { outcomes: Vec::new() };
    for case in cases().into_iter().filter(|case| case.name.contains(part)) {
        report.outcomes.push(case.run(Box::new(start(NODES).await)).await);
    }
    report
}

/// What came of the cases.
#[derive(Clone, Debug)]
#[must_use = "a report that isn't looked at proves nothing"]
pub struct Report {
    outcomes: Vec<CaseOutcome>,
}

/// What came of one case.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CaseOutcome {
    /// The clause of the contract, as numbered in the documentation of [`Transport`].
    pub clause: u8,
    /// The case, as a sentence.
    pub name: &'static str,
    /// How the clause was broken; `None` if it was kept.
    pub breach: Option<String>,
}

impl Report {
    /// Every case in the order of running.
    pub fn outcomes(&self) -> &[CaseOutcome] {
        &self.outcomes
    }

    /// The cases whose clause was broken.
    pub fn breaches(&self) -> impl Iterator<Item = &CaseOutcome> {
        self.outcomes.iter().filter(|outcome| outcome.breach.is_some())
    }

    /// For tests: fails unless every case passed, and there was one.
    ///
    /// # Panics
    ///
    /// If a clause was broken; the message is the whole report.
    #[track_caller]
    pub fn assert_kept(&self) {
        assert!(!self.outcomes.is_empty(), "no case was run");
        assert!(self.breaches().next().is_none(), "the contract is broken:\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for CaseOutcome { clause, name, breach } in &self.outcomes {
            match breach {
                None => writeln!(f, "kept    clause {clause:2}: {name}")?,
                Some(breach) => writeln!(f, "BROKEN  clause {clause:2}: {name}: {breach}")?,
            }
        }
        Ok(())
    }
}

/// What a case hands back: how the clause was broken.
type Verdict = Result<(), String>;
type Running<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

struct Case {
    clause: u8,
    name: &'static str,
    body: fn(&mut dyn Cluster) -> Running<'_>,
}

impl Case {
    async fn run(self, mut cluster: Box<dyn Cluster>) -> CaseOutcome {
        let verdict = tokio::time::timeout(CASE_MAX, (self.body)(&mut *cluster)).await;
        let breach = verdict.unwrap_or_else(|_| Err(format!("not over after {CASE_MAX:?}"))).err();
        CaseOutcome { clause: self.clause, name: self.name, breach }
    }
}

fn cases() -> Vec<Case> {
    [messages::cases(), calls::cases(), life::cases()].into_iter().flatten().collect()
}

fn ensure(holds: bool, breach: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(breach()) }
}

/// Lets an unexpected error tell what was being done.
trait During<T> {
    fn during(self, what: &str) -> Result<T, String>;
}

impl<T, E: fmt::Debug> During<T> for Result<T, E> {
    fn during(self, what: &str) -> Result<T, String> {
        self.map_err(|error| format!("{what}: {error:?}"))
    }
}

/// As many nodes does each case get.
const NODES: usize = 3;
const CASE_MAX: Duration = Duration::from_secs(20);
