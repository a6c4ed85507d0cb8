//! Whether what was acknowledged is there, on every node.

use std::net::SocketAddr;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError};
use tokio::time::{Instant, sleep};

use super::client::{connect, is_broken};
use super::input::Item;
use super::ledger::Ledger;
use super::load::{Loaded, counter};
use crate::console::Progress;

/// What the verification found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// How many keys were read, each through every node.
    pub keys: u64,
    /// Acknowledged writes that some node doesn't have.
    pub lost: u64,
    /// Increments that were done more often than they were asked for.
    pub doubled: u64,
}

/// Reads what was acknowledged through each of the nodes.
///
/// # Errors
///
/// A node that doesn't answer for a while.
pub(super) async fn verify(
    loaded: &Loaded,
    items: &[Item],
    run: &str,
    nodes: &[(u64, SocketAddr)],
    mut progress: Progress,
) -> Result<Verdict, RedisError> {
    let acknowledged: Vec<(&Ledger, usize)> =
        loaded.ledgers.iter().flat_map(|ledger| ledger.items().map(move |item| (ledger, item))).collect();
    let counters: Vec<String> = (0..loaded.ledgers.len()).map(|client| counter(run, client)).collect();
    // A write that two nodes lack is one lost write: the worst of each is what counts.
    let mut lost_keys = vec![false; acknowledged.len()];
    let mut lost_increments = vec![0; counters.len()];
    let mut doubled = vec![0; counters.len()];
    for (place, (node, address)) in nodes.iter().enumerate() {
        let mut reader = Reader::new(*address);
        for (chunk_place, chunk) in acknowledged.chunks(CHUNK).enumerate() {
            let keys: Vec<&str> = chunk.iter().map(|(_, item)| &items[*item].key[..]).collect();
            let values: Vec<Option<Vec<u8>>> = reader.ask(redis::cmd("MGET").arg(keys)).await?;
            for (number, ((ledger, item), value)) in chunk.iter().zip(values).enumerate() {
                lost_keys[chunk_place * CHUNK + number] |=
                    !ledger.allows(*item, &items[*item], run, value.as_deref());
            }
            let read = (chunk_place * CHUNK + chunk.len()) as f64 / acknowledged.len() as f64;
            progress.set((place as f64 + read) / nodes.len() as f64, format_args!("node {node}"));
        }
        let values: Vec<Option<u64>> = reader.ask(redis::cmd("MGET").arg(&counters)).await?;
        for (client, (ledger, value)) in loaded.ledgers.iter().zip(values).enumerate() {
            let (lost, twice) = ledger.judge(value.unwrap_or(0));
            lost_increments[client] = lost.max(lost_increments[client]);
            doubled[client] = twice.max(doubled[client]);
        }
    }
    let lost_keys = lost_keys.into_iter().filter(|lost| *lost).count() as u64;
    Ok(Verdict {
        keys: acknowledged.len() as u64,
        lost: lost_keys + lost_increments.into_iter().sum::<u64>(),
        doubled: doubled.into_iter().sum(),
    })
}

/// Waits until each node has applied what the furthest of them knows to be committed.
///
/// # Errors
///
/// A node doesn't answer, or is still behind after a minute.
pub(super) async fn catch_up(nodes: &[(u64, SocketAddr)]) -> Result<(), CatchUpError> {
    let mut readers: Vec<(u64, Reader)> =
        nodes.iter().map(|(node, address)| (*node, Reader::new(*address))).collect();
    let mut goal = 0;
    for (_, reader) in &mut readers {
        goal = goal.max(reader.raft("raft_commit").await?);
    }
    let deadline = Instant::now() + CATCH_UP_MAX;
    for (node, reader) in &mut readers {
        loop {
            let applied = reader.raft("raft_applied").await?;
            if applied >= goal {
                break;
            }
            if Instant::now() >= deadline {
                return Err(CatchUpError::Behind { node: *node, applied, goal });
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// The counters as one node sees them, each at least what was acknowledged before the question.
///
/// # Errors
///
/// The node doesn't answer for a while.
pub(super) async fn counters(address: SocketAddr, run: &str, clients: usize) -> Result<Vec<u64>, RedisError> {
    let keys: Vec<String> = (0..clients).map(|client| counter(run, client)).collect();
    let values: Vec<Option<u64>> = Reader::new(address).ask(redis::cmd("MGET").arg(&keys)).await?;
    Ok(values.into_iter().map(|value| value.unwrap_or(0)).collect())
}

/// A client that only reads, so it may repeat what was not answered.
struct Reader {
    address: SocketAddr,
    connection: Option<MultiplexedConnection>,
}

impl Reader {
    const fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    async fn ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, RedisError> {
        let deadline = Instant::now() + ASK_MAX;
        loop {
            let error = match self.try_ask(command).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if is_broken(&error) {
                self.connection = None;
            }
            if Instant::now() >= deadline {
                return Err(error);
            }
            sleep(PAUSE).await;
        }
    }

    async fn try_ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(self.address, true).await?),
        };
        command.query_async(connection).await
    }

    async fn raft(&mut self, field: &str) -> Result<u64, CatchUpError> {
        let info: String = self.ask(redis::cmd("INFO").arg("raft")).await?;
        let value =
            info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.trim().parse().ok());
        value.ok_or(CatchUpError::NoRaft)
    }
}

/// Why a node has not caught up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatchUpError {
    /// It is still behind.
    #[error("node {node} has applied {applied} of {goal} entries, and comes no further")]
    Behind {
        /// Which node.
        node: u64,
        /// What it has applied.
        applied: u64,
        /// What it should have.
        goal: u64,
    },
    /// It doesn't answer.
    #[error("a node does not answer: {0}")]
    Silent(#[from] RedisError),
    /// It answers, but not as one of ours.
    #[error("a node tells nothing of its log")]
    NoRaft,
}

const CHUNK: usize = 64;
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
const ASK_MAX: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);
