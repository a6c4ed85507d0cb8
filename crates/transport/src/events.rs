use quorate_core::NodeId;
use tokio::sync::broadcast;

use crate::{NodeIdentity, Reason, Refusal};

/// A change in the reach of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PeerEvent {
    /// Messages to the peer now have a way to go.
    Up {
        /// Who is there.
        peer: NodeIdentity,
    },
    /// The way to the peer is gone.
    Down {
        /// Who was there.
        peer: NodeIdentity,
        /// Why.
        why: Reason,
    },
    /// The address of a peer was reached, but the two ends refuse to talk. Told once until that changes.
    Refused {
        /// The peer that was dialled.
        node: NodeId,
        /// Why.
        why: Refusal,
    },
    /// This listener was too slow: so many events before the next one are gone.
    Missed {
        /// How many.
        count: u64,
    },
}

/// The changes in the reach of peers, from the moment of asking on.
///
/// They are hints for people and failure detectors, not facts to build safety on: a peer that is up may be
/// gone before the event is read.
#[derive(Debug)]
pub struct PeerEvents(Option<broadcast::Receiver<PeerEvent>>);

impl PeerEvents {
    /// No events, ended from the start: for transports that can't tell.
    pub const fn none() -> Self {
        Self(None)
    }

    /// The next event; `None` once the transport is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        match self.0.as_mut()?.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(PeerEvent::Missed { count }),
            Err(broadcast::error::RecvError::Closed) => {
                self.0 = None;
                None
            }
        }
    }
}

/// For transports: where peer events are told, to any number of listeners.
#[derive(Clone, Debug)]
pub struct PeerEventSender(broadcast::Sender<PeerEvent>);

impl PeerEventSender {
    /// A sender that keeps up to `capacity` events (at least one) for listeners that are behind.
    pub fn new(capacity: usize) -> Self {
        Self(broadcast::Sender::new(capacity.clamp(1, 1 << 16)))
    }

    /// Tells an event to those who listen now. Never blocks.
    pub fn tell(&self, event: PeerEvent) {
        // An error only says that nobody listens.
        let _ = self.0.send(event);
    }

    /// A new listener.
    pub fn listen(&self) -> PeerEvents {
        PeerEvents(Some(self.0.subscribe()))
    }
}
