//! The demonstration: a load, a killed leader, and a look at what became of what was acknowledged.

mod client;
mod cycles;
mod input;
mod ledger;
mod load;
mod report;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::console::Console;
use crate::supervisor::{Cluster, ClusterError};

pub use cycles::cycles;
pub use input::{InputError, Item, read};
pub use report::Report;

use self::load::Load;
use self::verify::{CatchUpError, catch_up, verify};

/// Loads the items through a Redis client library while the leader is killed, then reads every acknowledged
/// key through every node.
///
/// # Errors
///
/// [`TourError`]: the cluster didn't come up or didn't answer. What was lost or doubled is no error but in
/// the report.
pub async fn tour(
    cluster: &Cluster,
    items: Vec<Item>,
    lasting: Duration,
    run: String,
    console: &Console,
) -> Result<Report, TourError> {
    let items: Arc<[Item]> = items.into();
    cluster.whole().await?;
    console.line(format_args!("loading {} items through {} connections", items.len(), load::CLIENTS));
    let load = Load::start(items.clone(), run.clone(), cluster.watch());
    let mut victim = None;
    let mut progress = console.progress("load");
    let mut stalled = (0, Instant::now());
    loop {
        let by_time = load.elapsed().as_secs_f64() / lasting.as_secs_f64();
        let covered = load.covered();
        let share = by_time.min(covered as f64 / items.len() as f64);
        progress.set(share, format_args!("{} writes acknowledged", load.acknowledged()));
        if victim.is_none() && share >= KILL_AT {
            let (leader, term) = cluster
                .wait("there is a leader", |view| view.leader.is_some())
                .await?
                .leader
                .unwrap_or_default();
            console.line(format_args!("killing node {leader}, which leads term {term}, with SIGKILL"));
            load.mark_kill();
            cluster.kill(vec![leader]).await?;
            victim = Some(leader);
        }
        if share >= 1.0 && load.has_resumed() {
            break;
        }
        // Each item is to be acknowledged at least once, and then there are to be more acknowledgements.
        let reached = covered + if covered < items.len() as u64 { 0 } else { load.acknowledged() };
        if stalled.0 != reached {
            stalled = (reached, Instant::now());
        } else if stalled.1.elapsed() > STALL_MAX {
            return Err(TourError::Stalled);
        }
        sleep(STEP).await;
    }
    let loaded = load.finish().await;
    drop(progress);
    if let Some(victim) = victim {
        cluster.start_again(victim).await?;
    }
    let nodes = cluster.whole().await?.serving();
    catch_up(&nodes).await?;
    console.line("every node has caught up");
    let verdict = verify(&loaded, &items, &run, &nodes, console.progress("verify")).await?;
    Ok(Report::new(&loaded, verdict, items.len() as u64))
}

/// Why a tour did not come to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TourError {
    /// There is nothing to load.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The cluster doesn't do what it should.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A node has not caught up.
    #[error(transparent)]
    CatchUp(#[from] CatchUpError),
    /// A node doesn't answer the reads of the verification.
    #[error("a node does not answer: {0}")]
    Silent(#[from] RedisError),
    /// For a while no write was acknowledged at all, or none of an item that has none yet.
    #[error("no write, or none of what is still to be loaded, was acknowledged for {} s", STALL_MAX.as_secs())]
    Stalled,
    /// A read during the cycles was behind an acknowledged write.
    #[error(
        "cycle {cycle}: client {client} has {acknowledged} acknowledged increments, and node {node} shows {seen}"
    )]
    Behind {
        /// In which cycle.
        cycle: u32,
        /// Whose counter.
        client: usize,
        /// What was acknowledged before the read.
        acknowledged: u64,
        /// Which node was asked.
        node: u64,
        /// What it answered.
        seen: u64,
    },
}

/// At which share of the load the leader is killed.
const KILL_AT: f64 = 1.0 / 3.0;
const STEP: Duration = Duration::from_millis(20);
/// How long a load may go without an acknowledged write: much longer than any failover.
const STALL_MAX: Duration = Duration::from_secs(30);
