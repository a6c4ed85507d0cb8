use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use quorate_core::{BootId, NodeId, Rng};
use quorate_transport::{NodeIdentity, PeerEventSender, Registry};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{EVENTS_KEPT, Endpoint, Shared};
use crate::listen::Listener;
use crate::{Acceptor, Connector, EndpointConfig, StartError, Tcp};

/// Who a new [`Endpoint`] is, whom it knows, and within which limits.
#[derive(Clone, Debug)]
#[must_use = "nothing happens until it is bound or started"]
pub struct Builder {
    local: NodeIdentity,
    config: EndpointConfig,
    peers: BTreeMap<NodeId, String>,
}

impl Builder {
    pub(super) fn new(local: NodeIdentity) -> Self {
        Self { local, config: EndpointConfig::default(), peers: BTreeMap::new() }
    }

    /// Limits and times other than the default ones.
    pub fn config(mut self, config: EndpointConfig) -> Self {
        self.config = config;
        self
    }

    /// A peer and its address, which is resolved at each attempt to dial it. More can be said later, with
    /// [`Endpoint::set_peer`].
    pub fn peer(mut self, node: NodeId, address: impl Into<String>) -> Self {
        self.peers.insert(node, address.into());
        self
    }

    /// Starts the endpoint over TCP, listening on `address` (`127.0.0.1:0` for a free port of this machine).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future starts nothing.
    ///
    /// # Errors
    ///
    /// [`StartError`]: a limit out of its range, an address that can't be listened on.
    pub async fn bind(self, address: &str) -> Result<Endpoint, StartError> {
        self.config.check()?;
        let bound = Tcp::bind(address).await;
        let acceptor = bound.map_err(|source| StartError::Bind { address: address.to_owned(), source })?;
        self.start(Tcp, acceptor)
    }

    /// Starts the endpoint over any kind of byte stream.
    ///
    /// # Errors
    ///
    /// [`StartError`]: a limit out of its range, no tokio runtime.
    pub fn start(self, connector: impl Connector, acceptor: impl Acceptor) -> Result<Endpoint, StartError> {
        let Self { local, config, peers } = self;
        config.check()?;
        if peers.contains_key(&local.node) {
            return Err(StartError::OwnPeer(local.node));
        }
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let seed = match config.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(|error| StartError::Random(error.into()))?,
        };
        let shared = Arc::new(Shared {
            local,
            registry: Registry::new(config.calls_in_max),
            config,
            events: PeerEventSender::new(EVENTS_KEPT),
            connector: Arc::new(connector),
            peers: RwLock::default(),
            rng: Mutex::new(Rng::from_seed(seed)),
        });
        let (closing, closed) = watch::channel(false);
        let address = acceptor.address();
        let listening = Listener::new(shared.clone(), closed).run(acceptor);
        let (alive, tasks) = (watch::Sender::new(0), Mutex::default());
        let endpoint = Endpoint { shared, address, closing, alive, tasks, runtime };
        endpoint.spawn(listening);
        for (node, address) in peers {
            endpoint.set_peer(node, address);
        }
        Ok(endpoint)
    }
}

/// A new boot, drawn from the operating system's generator: call it once at the start of the process.
///
/// # Errors
///
/// [`StartError::Random`] if the operating system has no random bytes to give.
pub fn new_boot() -> Result<BootId, StartError> {
    getrandom::u64().map(BootId::new).map_err(|error| StartError::Random(error.into()))
}
