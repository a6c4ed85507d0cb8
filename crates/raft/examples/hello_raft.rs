//! A counter that survives crashes: one node, its log in a temporary directory.
use std::sync::Arc;

use bytes::Bytes;
use quorate_raft::{Config, Log, Node, RestoreError, StateMachine, Typed};
use quorate_transport::MemoryNetwork;

struct Counter(u64);

impl StateMachine for Counter {
    type Command = Typed<u64>;
    type Response = u64;
    fn apply(&mut self, batch: Vec<Typed<u64>>) -> Vec<u64> {
        batch
            .into_iter()
            .map(|Typed(add)| {
                self.0 += add;
                self.0
            })
            .collect()
    }
    fn snapshot(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_le_bytes())
    }
    fn restore(&mut self, snapshot: Bytes) -> Result<(), RestoreError> {
        let bytes = snapshot[..].try_into().map_err(|_| RestoreError("not eight bytes".to_owned()))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let transport = Arc::new(MemoryNetwork::new(1.into()).join(1.into()));
    let log = Log::open(directory.path())?;
    let node = Node::start(Config::new(1).bootstrap([1]), log, Counter(0), transport).await?;
    let total = node.propose(3).await?; // committed, or an error that says whether it is not or unknown
    let seen = node.read(|counter| counter.0).await?; // linearizable, on any node
    println!("total={total} seen={seen}");
    Ok(())
}
