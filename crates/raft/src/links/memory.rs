use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::NodeId;

use super::{Inbox, Links};
use crate::error::StartError;
use crate::message::Message;

/// Links the nodes of one process, without encoding: for tests and benches. Clones are the same hub.
///
/// Messages arrive at once and in order, unless their way is cut.
#[derive(Clone, Default)]
pub struct MemoryHub(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    inboxes: BTreeMap<NodeId, Inbox>,
    /// Ways that carry nothing: from, to.
    cut: BTreeSet<(NodeId, NodeId)>,
    isolated: BTreeSet<NodeId>,
    sent: u64,
}

/// One node's end of a [`MemoryHub`].
#[derive(Clone, Debug)]
pub struct MemoryLinks {
    hub: MemoryHub,
    node: NodeId,
}

impl MemoryHub {
    /// A hub without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// A node's links.
    pub fn links(&self, node: impl Into<NodeId>) -> MemoryLinks {
        MemoryLinks { hub: self.clone(), node: node.into() }
    }

    /// Loses what `from` sends to `to` from now on. The other direction is not touched.
    pub fn cut(&self, from: impl Into<NodeId>, to: impl Into<NodeId>) {
        self.lock().cut.insert((from.into(), to.into()));
    }

    /// Loses everything from and to this node from now on.
    pub fn isolate(&self, node: impl Into<NodeId>) {
        self.lock().isolated.insert(node.into());
    }

    /// Undoes every [`cut`](Self::cut) and [`isolate`](Self::isolate).
    pub fn heal(&self) {
        let mut table = self.lock();
        table.cut.clear();
        table.isolated.clear();
    }

    /// How many messages were sent, lost ones included.
    pub fn sent(&self) -> u64 {
        self.lock().sent
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links for MemoryLinks {
    fn start(&self, inbox: Inbox) -> Result<(), StartError> {
        let mut table = self.hub.lock();
        if table.inboxes.contains_key(&self.node) {
            return Err(StartError::Transport(format!("node {} is there already", self.node)));
        }
        table.inboxes.insert(self.node, inbox);
        Ok(())
    }

    fn send(&self, to: NodeId, message: Message) {
        let mut table = self.hub.lock();
        table.sent += 1;
        let lost = table.isolated.contains(&self.node)
            || table.isolated.contains(&to)
            || table.cut.contains(&(self.node, to));
        let inbox = if lost { None } else { table.inboxes.get(&to).cloned() };
        drop(table);
        if let Some(inbox) = inbox {
            // A full inbox loses it, as a network may.
            let _ = inbox.deliver(self.node, message);
        }
    }

    fn stop(&self) {
        self.hub.lock().inboxes.remove(&self.node);
    }
}

impl fmt::Debug for MemoryHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.lock();
        f.debug_struct("MemoryHub")
            .field("nodes", &table.inboxes.keys())
            .field("cut", &table.cut)
            .field("isolated", &table.isolated)
            .finish()
    }
}
