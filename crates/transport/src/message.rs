use std::fmt;
use std::time::Duration;

use quorate_core::{BootId, ClusterId, NodeId};

use crate::Body;

/// Who is at one end of a transport: which node of which cluster, in which run of its process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeIdentity {
    /// The cluster; nodes of different clusters refuse to talk.
    pub cluster: ClusterId,
    /// The member.
    pub node: NodeId,
    /// The run of its process, new at each start.
    pub boot: BootId,
}

impl NodeIdentity {
    /// An identity of its three parts.
    pub const fn new(cluster: ClusterId, node: NodeId, boot: BootId) -> Self {
        Self { cluster, node, boot }
    }
}

/// `3@00000000000000c1#00000000000000b0`: node, cluster, boot.
impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}#{}", self.node, self.cluster, self.boot)
    }
}

/// Which protocol a message belongs to, and so which [`Handler`](crate::Handler) takes it.
///
/// 0x0001 to 0x00ff are this workspace's, 0x8000 and above are for applications, the rest is for other
/// libraries. One constant a protocol, for ever: the number is on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolId(u16);

impl ProtocolId {
    /// Where the numbers for applications start.
    pub const USER: Self = Self(0x8000);

    /// Wraps a number.
    pub const fn new(id: u16) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

impl fmt::Debug for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtocolId({self})")
    }
}

/// How urgent a message is. Each lane has its own bounded queue to each peer and its own order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Lane {
    /// Heartbeats, votes, leases: small, and harmful when late. Goes before anything else.
    Control,
    /// Requests, replies, log entries.
    #[default]
    Normal,
    /// Snapshots and repair, in chunks. Goes beside the other two and must not delay them.
    Bulk,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Control, Self::Normal, Self::Bulk];

    /// The lane's place in [`ALL`](Self::ALL), which is also its number on the wire.
    pub const fn index(self) -> usize {
        match self {
            Self::Control => 0,
            Self::Normal => 1,
            Self::Bulk => 2,
        }
    }

    /// The lane with this number; `None` above 2.
    pub const fn from_index(index: usize) -> Option<Self> {
        match index {
            0 => Some(Self::Control),
            1 => Some(Self::Normal),
            2 => Some(Self::Bulk),
            _ => None,
        }
    }
}

/// What is sent: one way by [`try_send`](crate::Transport::try_send), or with an answer by
/// [`call`](crate::Transport::call).
///
/// ```
/// use std::time::Duration;
/// use quorate_transport::{Lane, Message, ProtocolId};
///
/// let heartbeat = Message::new(ProtocolId::USER, "still here")
///     .on_channel(17)
///     .on_lane(Lane::Control)
///     .within(Duration::from_millis(150));
/// assert_eq!(heartbeat.body.len(), 10);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Message {
    /// Who takes it at the other end.
    pub protocol: ProtocolId,
    /// Which instance of the protocol: a raft group, a queue. Carried, never interpreted.
    pub channel: u64,
    /// How urgent it is.
    pub lane: Lane,
    /// How long from the moment of sending it is worth anything; `None` for as long as the connection lasts.
    ///
    /// A one-way message past it may be thrown away before it is sent. A call past it ends with
    /// [`CallError::DeadlineExceeded`](crate::CallError::DeadlineExceeded), and its handler is dropped. It
    /// travels as remaining time, so clocks need not agree; time spent in the network isn't counted off.
    pub deadline: Option<Duration>,
    /// The bytes.
    pub body: Body,
}

impl Message {
    /// A message on channel 0 and the normal lane, without a deadline.
    pub fn new(protocol: ProtocolId, body: impl Into<Body>) -> Self {
        Self { protocol, channel: 0, lane: Lane::Normal, deadline: None, body: body.into() }
    }

    /// The same message on another channel.
    #[must_use]
    pub fn on_channel(mut self, channel: u64) -> Self {
        self.channel = channel;
        self
    }

    /// The same message on another lane.
    #[must_use]
    pub fn on_lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// The same message with a deadline, counted from the moment it is sent.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}
