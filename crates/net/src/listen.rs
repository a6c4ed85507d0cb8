//! The task that accepts connections, hears who is there, and keeps those that are welcome.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quorate_core::{BootId, NodeId};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::endpoint::Shared;
use crate::frame::FrameReader;
use crate::handshake::{self, Class, Hello};
use crate::inbound::Inbound;
use crate::{Accepted, Acceptor, Stream};

pub(crate) struct Listener {
    shared: Arc<Shared>,
    closing: watch::Receiver<bool>,
    /// Connections whose handshake isn't done, and the same in the order of arrival.
    handshakes: JoinSet<Option<Arrived>>,
    arrivals: VecDeque<AbortHandle>,
    connections: JoinSet<()>,
    /// Of each peer, the newest connection of each class.
    newest: BTreeMap<(NodeId, Class), Served>,
}

/// A connection whose handshake is done.
struct Arrived {
    stream: Stream,
    reader: FrameReader,
    theirs: Hello,
}

struct Served {
    boot: BootId,
    task: AbortHandle,
    /// The ends of its task and of those that it replaced: no sender is left then.
    ends: Vec<watch::Receiver<()>>,
}

impl Listener {
    pub(crate) fn new(shared: Arc<Shared>, closing: watch::Receiver<bool>) -> Self {
        Self {
            shared,
            closing,
            handshakes: JoinSet::new(),
            arrivals: VecDeque::new(),
            connections: JoinSet::new(),
            newest: BTreeMap::new(),
        }
    }

    /// Accepts until the endpoint is closing, then waits for what is in progress.
    pub(crate) async fn run(mut self, acceptor: impl Acceptor) {
        let mut closing = self.closing.clone();
        loop {
            tokio::select! {
                biased;
                () = closed(&mut closing) => break,
                Some(arrived) = self.handshakes.join_next() => {
                    if let Ok(Some(arrived)) = arrived {
                        self.admit(arrived);
                    }
                }
                Some(_) = self.connections.join_next() => {}
                accepted = acceptor.accept() => match accepted {
                    Ok(accepted) => self.welcome(accepted),
                    Err(error) => {
                        tracing::warn!(%error, "a connection can't be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        drop(acceptor);
        self.handshakes.abort_all();
        while self.connections.join_next().await.is_some() {}
    }

    /// Begins the handshake of a new connection, at the cost of the oldest if there are too many.
    fn welcome(&mut self, accepted: Accepted) {
        self.arrivals.retain(|arrival| !arrival.is_finished());
        if self.arrivals.len() >= self.shared.config.handshakes_max {
            if let Some(oldest) = self.arrivals.pop_front() {
                oldest.abort();
            }
        }
        let shared = self.shared.clone();
        self.arrivals.push_back(self.handshakes.spawn(async move {
            let Accepted { origin, open } = accepted;
            let arriving = async {
                let mut stream = open.await?;
                let mut reader = FrameReader::new(0);
                let body_max = shared.config.body_max;
                let theirs = handshake::accept(&mut stream, &mut reader, shared.local, body_max).await?;
                Ok::<_, handshake::HandshakeError>(Arrived { stream, reader, theirs })
            };
            match timeout(shared.config.handshake_timeout, arriving).await {
                Ok(Ok(arrived)) => Some(arrived),
                Ok(Err(error)) => {
                    tracing::debug!(%origin, %error, "a connection was refused");
                    None
                }
                Err(_) => {
                    tracing::debug!(%origin, "a connection was closed: no handshake in time");
                    None
                }
            }
        }));
    }

    /// Serves a connection whose handshake is done. It replaces the one before, and those of earlier boots,
    /// and begins when they are over: an aborted task still runs to its next `.await`, and until then it may
    /// be delivering.
    fn admit(&mut self, arrived: Arrived) {
        let Arrived { stream, reader, theirs } = arrived;
        let (node, boot) = (theirs.identity.node, theirs.identity.boot);
        let mut before = Vec::new();
        for class in [Class::Main, Class::Bulk] {
            if let Some(served) = self.newest.get(&(node, class)) {
                if served.boot != boot || class == theirs.class {
                    served.task.abort();
                    before.extend(served.ends.iter().filter(|end| end.has_changed().is_ok()).cloned());
                    self.newest.remove(&(node, class));
                }
            }
        }
        if self.newest.len() >= self.shared.config.connections_max {
            self.newest.retain(|_, served| !served.task.is_finished());
        }
        if self.newest.len() >= self.shared.config.connections_max {
            tracing::warn!(peer = %theirs.identity, "a connection was closed: there are too many");
            return;
        }
        let inbound =
            Inbound::new(stream, reader, &theirs, self.shared.registry.clone(), &self.shared.config);
        let (alive, end) = watch::channel(());
        let mut ends = before.clone();
        ends.push(end);
        let closing = self.closing.clone();
        let task = self.connections.spawn(async move {
            let _alive = alive;
            for mut end in before {
                // Nothing is ever sent: an error, when the sender is dropped, is the only change.
                let _ = end.changed().await;
            }
            inbound.run(closing).await;
        });
        self.newest.insert((node, theirs.class), Served { boot, task, ends });
        // It lives, so there is no point in waiting any longer before dialling it.
        if let Some(peer) = self.shared.peer(node) {
            peer.link(Class::Main).heard(boot);
            peer.link(Class::Bulk).heard(boot);
        }
    }
}

/// Waits until the endpoint is closing, or gone.
async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// How long to wait after a failure to accept, which mostly means that the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
