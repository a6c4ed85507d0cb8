//! Nodes in one process, over memory, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{BootId, NodeId};
use quorate_raft::{Config, Draws, Memory, MemoryHub, Node, RestoreError, StartError, StateMachine, Status};
use tokio::time::timeout;

/// Remembers every command, in order; answers with how many it has.
#[derive(Default, Debug)]
pub(crate) struct Journal(pub(crate) Vec<Bytes>);

/// A journal panics when it is told to apply this.
pub(crate) const POISON: &[u8] = b"poison";

impl StateMachine for Journal {
    type Command = Bytes;
    type Response = usize;

    fn apply(&mut self, batch: Vec<Bytes>) -> Vec<usize> {
        let take = |command: Bytes| {
            assert!(command != POISON, "poisoned");
            self.0.push(command);
            self.0.len()
        };
        batch.into_iter().map(take).collect()
    }

    fn snapshot(&self) -> Bytes {
        let mut bytes = Vec::new();
        for command in &self.0 {
            bytes.extend_from_slice(&(command.len() as u32).to_le_bytes());
            bytes.extend_from_slice(command);
        }
        bytes.into()
    }

    fn restore(&mut self, mut snapshot: Bytes) -> Result<(), RestoreError> {
        self.0.clear();
        while !snapshot.is_empty() {
            if snapshot.len() < 4 {
                return Err(RestoreError("cut short".to_owned()));
            }
            let head = snapshot.split_to(4);
            let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            if snapshot.len() < len {
                return Err(RestoreError("cut short".to_owned()));
            }
            self.0.push(snapshot.split_to(len));
        }
        Ok(())
    }
}

pub(crate) struct Cluster {
    pub(crate) hub: MemoryHub,
    pub(crate) disks: Vec<Memory>,
    pub(crate) nodes: Vec<Option<Node<Journal>>>,
    pub(crate) tune: fn(&mut Config),
    boots: u64,
}

impl Cluster {
    pub(crate) async fn of(size: u64) -> Self {
        Self::tuned(size, |_| {}).await
    }

    pub(crate) async fn tuned(size: u64, tune: fn(&mut Config)) -> Self {
        let disks = (1..=size).map(|id| Memory::new(u128::from(id) << 64)).collect();
        let nodes = (0..size).map(|_| None).collect();
        let mut cluster = Self { hub: MemoryHub::new(), disks, nodes, tune, boots: 0 };
        for id in 1..=size {
            cluster.start(id).await.expect("the node starts");
        }
        cluster
    }

    pub(crate) async fn start(&mut self, id: u64) -> Result<(), StartError> {
        self.boots += 1;
        let size = self.disks.len() as u64;
        let mut config = Config::new(id).bootstrap(1..=size);
        (self.tune)(&mut config);
        let draws = Draws { boot: BootId::new(self.boots), seed: self.boots };
        let (disk, links) = (self.disks[id as usize - 1].clone(), Arc::new(self.hub.links(id)));
        let node = Node::start_with(config, disk, Journal::default(), links, draws).await?;
        self.nodes[id as usize - 1] = Some(node);
        Ok(())
    }

    pub(crate) fn node(&self, id: u64) -> &Node<Journal> {
        self.nodes[id as usize - 1].as_ref().expect("the node runs")
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Node<Journal>> {
        self.nodes.iter().flatten()
    }

    /// As kill -9 and a power cut would: nothing is told to anyone, and what was not synced is lost.
    pub(crate) async fn kill(&mut self, id: u64) {
        self.hub.isolate(id);
        let at = id as usize - 1;
        self.disks[at] = self.disks[at].crash();
        let node = self.nodes[at].take().expect("the node runs");
        node.shutdown().await;
        drop(node);
        self.hub.heal();
    }

    /// The leader that all running nodes agree on.
    pub(crate) async fn leader(&self) -> u64 {
        let agreed = async {
            loop {
                let told: Vec<Status> = self.running().map(Node::status).collect();
                let leader = told[0].leader;
                let leads = |leader: NodeId| told.iter().any(|status| status.node == leader);
                if told.iter().all(|status| status.leader == leader && status.term == told[0].term) {
                    if let Some(leader) = leader.filter(|leader| leads(*leader)) {
                        return leader.get();
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), agreed).await.expect("a leader within ten seconds")
    }

    /// A node that doesn't lead.
    pub(crate) async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        let mut followers = self.running().map(|node| node.id().get()).filter(|id| *id != leader);
        followers.next().expect("a follower")
    }
}

pub(crate) fn command(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

/// Everything resolves within this, on the paused clock.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("an answer within thirty seconds")
}
