use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use quorate_core::NodeId;
use quorate_transport::{
    Body, Handler, Incoming, Lane, Message as Carried, NodeIdentity, ProtocolId, Registration, Transport,
};

use super::{Inbox, Links};
use crate::error::StartError;
use crate::message::{Message, Payload};
use crate::wire;

/// The number under which raft's messages travel.
pub const RAFT_PROTOCOL: ProtocolId = ProtocolId::new(0x0001);

/// The raft groups that share a transport: each message's channel says to which one it belongs.
///
/// Clones are the same groups. The protocol stays registered until the last clone and the last of the
/// [`TransportLinks`] are dropped. For a single group, [`Node::start`](crate::Node::start) makes its own.
#[derive(Clone)]
pub struct TransportGroups(Arc<Groups>);

struct Groups {
    transport: Arc<dyn Transport>,
    router: Arc<Router>,
    _registration: Registration,
}

/// Hands each message to the inbox of its group. It is apart from the transport it hangs in, so that neither
/// keeps the other alive.
#[derive(Default)]
struct Router {
    inboxes: RwLock<BTreeMap<u64, Inbox>>,
    refused: AtomicU64,
}

impl TransportGroups {
    /// Registers raft's protocol with the transport.
    ///
    /// # Errors
    ///
    /// [`StartError::Transport`] if it has a handler already, or is closed.
    pub fn new(transport: Arc<dyn Transport>) -> Result<Self, StartError> {
        let router = Arc::new(Router::default());
        let registration = transport
            .register(RAFT_PROTOCOL, Arc::clone(&router) as Arc<dyn Handler>)
            .map_err(|error| StartError::Transport(error.to_string()))?;
        Ok(Self(Arc::new(Groups { transport, router, _registration: registration })))
    }

    /// The links of one group, which [`Config::group`](crate::Config) names.
    pub fn links(&self, group: u64) -> TransportLinks {
        TransportLinks { groups: self.clone(), group }
    }

    /// How many messages could not be decoded. None, between nodes that speak the same version.
    pub fn refused(&self) -> u64 {
        self.0.router.refused.load(Ordering::Relaxed)
    }
}

/// One group's links over a transport.
///
/// Heartbeats, votes and read confirmations take the control lane, snapshots the bulk lane. Appends and
/// forwarded commands share the normal lane, so that the answer to a forward arrives before the append that
/// holds its commands.
#[derive(Clone, Debug)]
pub struct TransportLinks {
    groups: TransportGroups,
    group: u64,
}

impl Links for TransportLinks {
    fn start(&self, inbox: Inbox) -> Result<(), StartError> {
        let mut inboxes = self.groups.0.router.inboxes.write().unwrap_or_else(PoisonError::into_inner);
        if inboxes.contains_key(&self.group) {
            return Err(StartError::Transport(format!("group {} is there already", self.group)));
        }
        inboxes.insert(self.group, inbox);
        Ok(())
    }

    fn send(&self, to: NodeId, message: Message) {
        let lane = lane(&message.payload);
        let (header, slices) = wire::encode(&message);
        let body = Body::with_slices(header, slices);
        let carried = Carried::new(RAFT_PROTOCOL, body).on_channel(self.group).on_lane(lane);
        // A message that isn't taken is lost, as messages may be; the core sends again what still matters.
        let _ = self.groups.0.transport.try_send(to, carried);
    }

    fn stop(&self) {
        let mut inboxes = self.groups.0.router.inboxes.write().unwrap_or_else(PoisonError::into_inner);
        inboxes.remove(&self.group);
    }

    fn message_bytes_max(&self) -> usize {
        self.groups.0.transport.body_max()
    }
}

impl Handler for Router {
    fn on_message(&self, from: NodeIdentity, incoming: Incoming) {
        let inboxes = self.inboxes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(inbox) = inboxes.get(&incoming.channel).cloned() else { return };
        drop(inboxes);
        match wire::decode(incoming.body) {
            // A full inbox loses it, as a network may.
            Ok(message) => drop(inbox.deliver(from.node, message)),
            Err(error) => {
                // Once for each power of two, so that a peer can't fill the log.
                let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
                if refused.is_power_of_two() {
                    tracing::warn!(peer = %from.node, %error, refused, "a message can't be decoded");
                }
            }
        }
    }
}

fn lane(payload: &Payload) -> Lane {
    match payload {
        Payload::PreVote { .. }
        | Payload::PreVoteReply { .. }
        | Payload::Vote { .. }
        | Payload::VoteReply { .. }
        | Payload::Heartbeat { .. }
        | Payload::HeartbeatReply { .. }
        | Payload::ReadIndex { .. }
        | Payload::ReadIndexReply { .. } => Lane::Control,
        Payload::Append { .. }
        | Payload::Commit { .. }
        | Payload::AppendAccepted { .. }
        | Payload::AppendRejected { .. }
        | Payload::Forward { .. }
        | Payload::Forwarded { .. } => Lane::Normal,
        Payload::Snapshot { .. } | Payload::SnapshotReply { .. } => Lane::Bulk,
    }
}

impl fmt::Debug for TransportGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransportGroups({})", self.0.transport.local())
    }
}
