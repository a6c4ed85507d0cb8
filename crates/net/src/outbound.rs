//! The task that serves one link: dials, introduces itself, sends and hears answers, and dials again.

mod connection;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::NodeId;
use quorate_transport::{PeerEvent, Reason, Refusal};
use tokio::time::{Instant, timeout};

use self::connection::Connection;
use crate::Backoff;
use crate::Stream;
use crate::endpoint::{Peer, Shared};
use crate::frame::FrameReader;
use crate::handshake::{self, Class, HandshakeError, Hello};
use crate::link::{Link, Reawakening};

/// What one such task works on.
pub(crate) struct Route {
    pub(crate) node: NodeId,
    pub(crate) class: Class,
    pub(crate) peer: Arc<Peer>,
    pub(crate) shared: Arc<Shared>,
}

impl Route {
    fn link(&self) -> &Arc<Link> {
        self.peer.link(self.class)
    }

    /// Runs until the link is closed.
    pub(crate) async fn serve(self, mut backoff: Backoff) {
        let link = self.link();
        // A bug below, or in a connector, must not leave callers waiting.
        let _ending = Ending(link);
        let mut refused = None;
        loop {
            if !link.dialling() {
                break;
            }
            if self.class == Class::Bulk {
                link.wait(None, Reawakening::Demand).await;
            }
            let attempt = tokio::select! {
                biased;
                attempt = self.dial() => attempt,
                () = link.wait(None, Reawakening::None) => break,
            };
            let (pause, unless) = match attempt {
                Ok(dialled) => {
                    refused = None;
                    self.converse(dialled, &mut backoff).await;
                    // That the peer lives is known. If it were a reason to dial at once, two nodes that lose
                    // every connection would wake each other for ever.
                    (backoff.next_pause(), Reawakening::Address)
                }
                Err(error) => (self.note_failure(error, &mut refused, &mut backoff), Reawakening::Redial),
            };
            link.wait(Some(Instant::now() + pause), unless).await;
        }
    }

    async fn dial(&self) -> Result<Dialled, HandshakeError> {
        let config = &self.shared.config;
        let address = self.peer.address();
        let connecting = self.shared.connector.connect(self.node, &address);
        let mut stream = timeout(config.handshake_timeout, connecting).await.map_err(|_| timed_out())??;
        let mut reader = FrameReader::new(config.body_max);
        let hello = Hello::new(self.shared.local, self.node, self.class, config.body_max);
        let shaking = handshake::dial(&mut stream, &mut reader, &hello);
        let theirs = timeout(config.handshake_timeout, shaking).await.map_err(|_| timed_out())??;
        reader.set_body_max(config.body_max);
        Ok(Dialled { stream, reader, theirs })
    }

    /// Uses a connection until it ends.
    async fn converse(&self, dialled: Dialled, backoff: &mut Backoff) {
        let Dialled { stream, reader, theirs } = dialled;
        let peer = theirs.identity;
        let main = self.class == Class::Main;
        self.link().connected(peer.boot);
        // The other link, which may never have had a connection, learns which boot its queue is meant for.
        let other = if main { Class::Bulk } else { Class::Main };
        self.peer.link(other).heard(peer.boot);
        if main {
            tracing::info!(local = %self.shared.local.node, peer = %peer, "connected");
            self.shared.events.tell(PeerEvent::Up { peer });
        }
        let since = Instant::now();
        let why = Connection::new(stream, reader, self.link(), &self.shared.config, &theirs).run().await;
        self.link().lost(why);
        if main {
            tracing::info!(local = %self.shared.local.node, peer = %peer, %why, "disconnected");
            self.shared.events.tell(PeerEvent::Down { peer, why });
        }
        // A peer that accepts and hangs up at once must not be dialled in a tight loop: only a connection
        // that lasted counts as a success.
        if since.elapsed() >= STEADY {
            backoff.reset();
        }
    }

    fn note_failure(
        &self,
        error: HandshakeError,
        refused: &mut Option<Refusal>,
        backoff: &mut Backoff,
    ) -> Duration {
        let HandshakeError::Refused(why) = error else {
            tracing::debug!(local = %self.shared.local.node, peer = %self.node, %error, "can't be reached");
            self.link().failed(Reason::Disconnected);
            *refused = None;
            return backoff.next_pause();
        };
        if *refused != Some(why) && self.class == Class::Main {
            tracing::warn!(local = %self.shared.local.node, peer = %self.node, %why, "the handshake was refused");
            self.shared.events.tell(PeerEvent::Refused { node: self.node, why });
        }
        *refused = Some(why);
        self.link().failed(Reason::Refused(why));
        backoff.jittered(self.shared.config.refused_retry)
    }
}

/// Ends the link when it is dropped.
struct Ending<'a>(&'a Link);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A connection that stands.
struct Dialled {
    stream: Stream,
    reader: FrameReader,
    theirs: Hello,
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// A connection that lasted for so long was a success.
const STEADY: Duration = Duration::from_secs(1);
