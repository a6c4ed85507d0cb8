mod builder;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use quorate_core::{NodeId, Rng};
use quorate_transport::{
    CallError, Handler, Message, NodeIdentity, PeerEventSender, PeerEvents, ProtocolId, Reason,
    RegisterError, Registration, Registry, SendError, Transport,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use self::builder::{Builder, new_boot};
use crate::handshake::Class;
use crate::link::Link;
use crate::outbound::Route;
use crate::{Backoff, Connector, EndpointConfig};

/// A node's end of the network: a [`Transport`] over byte streams.
///
/// Each peer is dialled on two connections, one for the control and normal lanes and one, on demand, for
/// bulk. Requests and one-way messages go out on connections that this node dialled; answers return on the
/// connection that their request came by. So two nodes that dial each other at the same time don't get in
/// each other's way.
///
/// **While a peer is away.** Messages are queued during an attempt to dial it. When the attempt fails the
/// queue is dropped, and until the next one messages are refused as disconnected. When an established
/// connection is lost, what is still queued waits for the next one, and goes out if that leads to the same
/// boot; if the peer has restarted it is dropped: calls end as not sent because the peer restarted.
///
/// **Life.** Dropping the endpoint cuts its connections and stops its tasks; [`shutdown`](Self::shutdown)
/// ends them in order.
pub struct Endpoint {
    shared: Arc<Shared>,
    address: String,
    closing: watch::Sender<bool>,
    /// How many tasks are alive: the listener, and one for each link.
    alive: watch::Sender<usize>,
    tasks: Mutex<Vec<AbortHandle>>,
    runtime: Handle,
}

pub(crate) struct Shared {
    pub(crate) local: NodeIdentity,
    pub(crate) config: EndpointConfig,
    pub(crate) registry: Registry,
    pub(crate) events: PeerEventSender,
    pub(crate) connector: Arc<dyn Connector>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    rng: Mutex<Rng>,
}

impl Shared {
    pub(crate) fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

pub(crate) struct Peer {
    address: Mutex<String>,
    main: Arc<Link>,
    bulk: Arc<Link>,
}

impl Peer {
    pub(crate) fn address(&self) -> String {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this changed anything.
    fn readdress(&self, address: String) -> bool {
        let mut known = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != address;
        *known = address;
        changed
    }

    pub(crate) fn link(&self, class: Class) -> &Arc<Link> {
        match class {
            Class::Main => &self.main,
            Class::Bulk => &self.bulk,
        }
    }

    fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        [&self.main, &self.bulk].into_iter()
    }
}

impl Endpoint {
    /// Begins the building of an endpoint.
    pub fn builder(local: NodeIdentity) -> Builder {
        Builder::new(local)
    }

    /// The address that it listens on, with the port that the system chose.
    pub fn local_addr(&self) -> &str {
        &self.address
    }

    /// Says where a peer is. A new peer is dialled at once. For a known one, the address counts from the next
    /// attempt on, which then comes without a pause; a connection that stands is kept. The same address again
    /// changes nothing.
    ///
    /// Does nothing for the node itself, and after a shutdown.
    pub fn set_peer(&self, node: NodeId, address: impl Into<String>) {
        let address = address.into();
        let mut peers = self.shared.peers.write().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock: a shutdown that begins now will find the peer in the table.
        if node == self.shared.local.node || *self.closing.borrow() {
            return;
        }
        if let Some(peer) = peers.get(&node) {
            if peer.readdress(address) {
                peer.links().for_each(|link| link.readdressed());
            }
            return;
        }
        let link = || Arc::new(Link::new(&self.shared.config));
        let peer = Arc::new(Peer { address: Mutex::new(address), main: link(), bulk: link() });
        peers.insert(node, peer.clone());
        for class in [Class::Main, Class::Bulk] {
            let route = Route { node, class, peer: peer.clone(), shared: self.shared.clone() };
            let rng = self.shared.rng.lock().unwrap_or_else(PoisonError::into_inner).fork();
            let config = &self.shared.config;
            let backoff = Backoff::new(config.backoff_min, config.backoff_max, rng);
            self.spawn(route.serve(backoff));
        }
    }

    /// Forgets a peer: what is queued for it is sent if it is connected, calls under way may end, and then
    /// its connections are closed. Messages to it are refused as to an unknown peer. It may still dial this
    /// node.
    ///
    /// A peer that is [set](Self::set_peer) again meanwhile is dialled on new connections, while what was taken
    /// before the removal still goes out on the old ones. At the peer the new connection of a class replaces
    /// the old one: calls under way on that end as indeterminate, and one-way messages on it may be lost. To
    /// change an address only, set it without removing the peer.
    pub fn remove_peer(&self, node: NodeId) {
        let removed = self.shared.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
        if let Some(peer) = removed {
            peer.links().for_each(|link| link.close());
        }
    }

    /// Ends the endpoint in order: nothing new is taken or accepted, what is queued for connected peers goes
    /// out, calls in both directions may end. What isn't done after
    /// [`shutdown_max`](EndpointConfig::shutdown_max) is cut.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the orderly end goes on without its limit until the endpoint is dropped;
    /// calls still end by their deadlines. Calling it again waits again, with a limit of its own. Of several
    /// calls at once, the limit that is reached first counts for all.
    pub async fn shutdown(&self) {
        self.closing.send_replace(true);
        for peer in self.shared.peers() {
            peer.links().for_each(|link| link.close());
        }
        let mut alive = self.alive.subscribe();
        let ended = alive.wait_for(|alive| *alive == 0);
        let _ = tokio::time::timeout(self.shared.config.shutdown_max, ended).await;
        self.cut();
    }

    /// Runs a task that [`cut`](Self::cut) aborts, and whose end [`shutdown`](Self::shutdown) waits for.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let alive = Alive::new(self.alive.clone());
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        let task = self.runtime.spawn(async move {
            let _alive = alive;
            work.await;
        });
        tasks.push(task.abort_handle());
    }

    fn cut(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        for peer in self.shared.peers() {
            peer.links().for_each(|link| link.end());
        }
        self.shared.registry.close();
    }
}

/// Counts a task as alive for as long as its future exists, however that ends.
struct Alive(watch::Sender<usize>);

impl Alive {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|alive| *alive += 1);
        Self(count)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_modify(|alive| *alive -= 1);
    }
}

#[async_trait]
impl Transport for Endpoint {
    fn local(&self) -> &NodeIdentity {
        &self.shared.local
    }

    fn try_send(&self, to: NodeId, message: Message) -> Result<(), SendError> {
        match self.shared.peer(to) {
            Some(peer) => peer.link(Class::of(message.lane)).send(message),
            None if *self.closing.borrow() => Err(SendError::Closed(message)),
            None => Err(SendError::UnknownPeer(message)),
        }
    }

    async fn call(&self, to: NodeId, message: Message) -> Result<Bytes, CallError> {
        let ticket = match self.shared.peer(to) {
            Some(peer) => peer.link(Class::of(message.lane)).call(message)?,
            None if *self.closing.borrow() => return Err(CallError::NotSent(Reason::Closed)),
            None => return Err(CallError::NotSent(Reason::UnknownPeer)),
        };
        ticket.await
    }

    fn register(
        &self,
        protocol: ProtocolId,
        handler: Arc<dyn Handler>,
    ) -> Result<Registration, RegisterError> {
        self.shared.registry.register(protocol, handler)
    }

    fn events(&self) -> PeerEvents {
        self.shared.events.listen()
    }

    fn body_max(&self) -> usize {
        self.shared.config.body_max
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        self.cut();
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({} at {})", self.shared.local, self.address)
    }
}

/// How many peer events a slow listener may be behind.
const EVENTS_KEPT: usize = 256;
