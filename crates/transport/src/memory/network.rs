use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::{BootId, ClusterId, NodeId};
use tokio::runtime::Handle;

use super::MemoryTransport;
use super::link::Link;
use crate::{NodeIdentity, PeerEvent, PeerEventSender, Reason, Registry};

/// The bounds of a [`MemoryNetwork`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// The most messages waiting in the queue of one (sender, receiver, lane). 4,096 by default.
    pub queue_messages: usize,
    /// The most bytes of bodies waiting there; a single longer message is still taken. 16 MiB by default.
    pub queue_bytes: usize,
    /// The longest body in bytes. 4 MiB by default.
    pub body_max: usize,
    /// The most calls that a node answers at a time for each protocol. 1,024 by default.
    pub calls_max: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { queue_messages: 4096, queue_bytes: 16 << 20, body_max: 4 << 20, calls_max: 1024 }
    }
}

/// A network inside one process, whose links a test can cut and mend.
///
/// Messages take no time but go through bounded queues and tasks, as on a real network. With a
/// single-threaded runtime and tokio's paused clock, a run is deterministic. Boots are numbered in the order
/// of joining. Clones share the network.
#[derive(Clone, Debug)]
pub struct MemoryNetwork(Arc<Shared>);

impl MemoryNetwork {
    /// A network of a cluster with the default bounds.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, as `tokio::spawn` does: the links are tasks on it.
    pub fn new(cluster: ClusterId) -> Self {
        Self::with_config(cluster, MemoryConfig::default())
    }

    /// A network with other bounds.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn with_config(cluster: ClusterId, config: MemoryConfig) -> Self {
        Self(Arc::new(Shared { cluster, config, runtime: Handle::current(), net: Mutex::default() }))
    }

    /// Puts a node on the network. If it is there already, this is its restart: the old transport is taken
    /// off first, and the new one has a new boot.
    pub fn join(&self, node: NodeId) -> MemoryTransport {
        self.crash(node);
        let mut net = self.0.lock();
        net.boots += 1;
        let identity = NodeIdentity::new(self.0.cluster, node, BootId::new(net.boots));
        let member = Arc::new(Member {
            identity,
            registry: Registry::new(self.0.config.calls_max),
            events: PeerEventSender::new(EVENTS_KEPT),
        });
        net.known.insert(node);
        net.members.insert(node, member.clone());
        for (other, there) in &net.members {
            if *other != node && !net.is_cut(node, *other) {
                there.events.tell(PeerEvent::Up { peer: identity });
            }
        }
        drop(net);
        MemoryTransport::new(member, self.0.clone())
    }

    /// Takes a node off the network, as the death of its process would. Does nothing if it isn't on it.
    pub fn crash(&self, node: NodeId) {
        let member = self.0.lock().members.get(&node).cloned();
        if let Some(member) = member {
            self.0.leave(&member);
        }
    }

    /// Cuts both ways between two nodes. What is queued is lost, and calls end.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts the way from one node to another. Answers to calls the other way get lost as well.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        let link = {
            let mut net = self.0.lock();
            if net.cuts.insert((from, to)) {
                net.tell_down(from, to, Reason::Disconnected);
            }
            net.links.remove(&(from, to))
        };
        if let Some(link) = link {
            link.cut();
        }
    }

    /// Cuts a node off from all others that are, or have been, on the network.
    pub fn isolate(&self, node: NodeId) {
        let others: Vec<NodeId> =
            self.0.lock().known.iter().copied().filter(|other| *other != node).collect();
        for other in others {
            self.cut(node, other);
        }
    }

    /// Mends both ways between two nodes.
    pub fn mend(&self, a: NodeId, b: NodeId) {
        let mut net = self.0.lock();
        for (from, to) in [(a, b), (b, a)] {
            if net.cuts.remove(&(from, to)) {
                net.tell_up(from, to);
            }
        }
    }

    /// Mends all ways.
    pub fn mend_all(&self) {
        let mut net = self.0.lock();
        for (from, to) in std::mem::take(&mut net.cuts) {
            net.tell_up(from, to);
        }
    }
}

/// One boot of a node.
pub(super) struct Member {
    pub(super) identity: NodeIdentity,
    pub(super) registry: Registry,
    pub(super) events: PeerEventSender,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({})", self.identity)
    }
}

pub(super) struct Shared {
    cluster: ClusterId,
    pub(super) config: MemoryConfig,
    pub(super) runtime: Handle,
    net: Mutex<Net>,
}

#[derive(Default)]
struct Net {
    boots: u64,
    /// Every node that ever joined: the others are unknown peers.
    known: BTreeSet<NodeId>,
    members: BTreeMap<NodeId, Arc<Member>>,
    links: BTreeMap<(NodeId, NodeId), Arc<Link>>,
    cuts: BTreeSet<(NodeId, NodeId)>,
}

impl Net {
    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cuts.contains(&(from, to))
    }

    fn tell_up(&self, at: NodeId, about: NodeId) {
        if let (Some(at), Some(about)) = (self.members.get(&at), self.members.get(&about)) {
            at.events.tell(PeerEvent::Up { peer: about.identity });
        }
    }

    fn tell_down(&self, at: NodeId, about: NodeId, why: Reason) {
        if let (Some(at), Some(about)) = (self.members.get(&at), self.members.get(&about)) {
            at.events.tell(PeerEvent::Down { peer: about.identity, why });
        }
    }
}

impl Shared {
    /// The link between the two nodes' present boots.
    pub(super) fn link(self: &Arc<Self>, from: &Arc<Member>, to: NodeId) -> Result<Arc<Link>, Reason> {
        let node = from.identity.node;
        let mut net = self.lock();
        if !net.members.get(&node).is_some_and(|member| Arc::ptr_eq(member, from)) {
            return Err(Reason::Closed);
        }
        if to == node || !net.known.contains(&to) {
            return Err(Reason::UnknownPeer);
        }
        if net.is_cut(node, to) {
            return Err(Reason::Disconnected);
        }
        if let Some(link) = net.links.get(&(node, to)) {
            return Ok(link.clone());
        }
        let there = net.members.get(&to).cloned().ok_or(Reason::Disconnected)?;
        let link = Link::start(from.clone(), there, self);
        net.links.insert((node, to), link.clone());
        Ok(link)
    }

    pub(super) fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        !self.lock().is_cut(from, to)
    }

    /// Takes a boot off the network, unless it has been already.
    pub(super) fn leave(&self, member: &Arc<Member>) {
        let node = member.identity.node;
        let links: Vec<Arc<Link>> = {
            let mut net = self.lock();
            if !net.members.get(&node).is_some_and(|there| Arc::ptr_eq(there, member)) {
                return;
            }
            let others: Vec<NodeId> = net.members.keys().copied().filter(|other| *other != node).collect();
            for other in others {
                if !net.is_cut(other, node) {
                    net.tell_down(other, node, Reason::Disconnected);
                }
            }
            net.members.remove(&node);
            let touched = net.links.keys().copied().filter(|(from, to)| *from == node || *to == node);
            touched.collect::<Vec<_>>().into_iter().filter_map(|ends| net.links.remove(&ends)).collect()
        };
        for link in links {
            link.cut();
        }
        member.registry.close();
    }

    fn lock(&self) -> MutexGuard<'_, Net> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = self.lock();
        f.debug_struct("Network").field("members", &net.members).field("cuts", &net.cuts).finish()
    }
}

/// How many events a slow listener may be behind.
const EVENTS_KEPT: usize = 256;
