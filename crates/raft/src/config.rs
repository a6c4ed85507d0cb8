use std::time::Duration;

use quorate_core::NodeId;

use crate::entry::Membership;
use crate::error::ConfigError;

/// How a node behaves. The defaults suit a local network and disks that sync within some milliseconds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Which raft group, of the many that can share a transport. Every node of a group has the same. Zero
    /// unless there are several.
    pub group: u64,
    /// The first members, if this start is to found the cluster: see [`Config::bootstrap`].
    pub bootstrap: Option<Membership>,

    /// The shortest time without a leader after which a node runs for leader itself. A rule of thumb is ten
    /// times the sum of a round trip and a slow sync. Shorter finds a dead leader sooner and is fooled by
    /// stalls more often. Default 300 ms; each wait is drawn from here to `election_timeout_max`.
    pub election_timeout_min: Duration,
    /// The longest such time. The wider the range, the rarer two nodes run at once. Default 600 ms.
    pub election_timeout_max: Duration,
    /// How often a leader is heard from at the least. Default 60 ms; at most a third of
    /// `election_timeout_min`, so that two may be lost.
    pub heartbeat_interval: Duration,
    /// Ask whether an election could be won before disturbing anyone with it (PreVote). On by default; a
    /// node that was cut off unseats a healthy leader without it.
    pub pre_vote: bool,
    /// A leader that has not heard from a quorum for `election_timeout_max` steps down, at the latest after
    /// twice that time, and a node that hears
    /// from a leader refuses others its vote (CheckQuorum). On by default; without it, a leader that is cut
    /// off never tells its clients.
    pub check_quorum: bool,

    /// A leader whose own writes make no durable progress for this long steps down, with
    /// [`check_quorum`](Config::check_quorum): others may have a disk that works. Default 3 s.
    pub disk_stall_max: Duration,

    /// The longest a proposal waits for its outcome. Default 5 s.
    pub proposal_timeout: Duration,
    /// The longest a read waits to be confirmed. Default 5 s.
    pub read_timeout: Duration,

    /// The largest command, in bytes. Default 1 MiB. It must fit in a message of the transport.
    pub command_bytes_max: usize,
    /// How many proposals of this node may wait for their outcome. Default 16,384; more are refused.
    pub proposals_max: usize,
    /// How many reads may wait. Default 16,384; more are refused.
    pub reads_max: usize,
    /// How many bytes of commands may wait: at a leader those that are not yet both committed and on its own
    /// disk, elsewhere those for which no leader is known. More are refused. Default 64 MiB.
    pub uncommitted_bytes_max: usize,

    /// How many bytes of entries one append carries, unless a single entry is larger. Default 256 KiB.
    pub append_bytes_max: usize,
    /// How many appends may be on their way to one follower. Default 64.
    pub inflight_messages_max: usize,
    /// How many bytes of entries may be on their way to one follower. Default 8 MiB.
    pub inflight_bytes_max: usize,
    /// How many bytes of the newest entries are kept in memory; older ones are read from storage when a
    /// follower or the state machine needs them. Default 16 MiB.
    pub tail_bytes_max: usize,
    /// How many bytes of entries the state machine is given at once. Default 1 MiB.
    pub apply_bytes_max: usize,

    /// A snapshot is taken after this many bytes of entries. Default 64 MiB.
    pub snapshot_after_bytes: u64,
    /// How many entries before the snapshot stay in the log, for followers that are a little behind. Default
    /// 10,000.
    pub snapshot_keep_entries: u64,
    /// How many bytes of a snapshot one message carries. Default 256 KiB.
    pub snapshot_chunk_bytes: usize,
    /// The largest snapshot that is accepted from a leader, in bytes, since it is gathered in memory. Default
    /// 4 GiB.
    pub snapshot_bytes_max: u64,
}

impl Config {
    /// The defaults, for a node that joins what its storage remembers.
    ///
    /// On an empty storage it is a standby: it follows and serves, but neither votes nor counts. Found a
    /// cluster with [`Config::bootstrap`].
    pub fn new(node: impl Into<NodeId>) -> Self {
        Self {
            node: node.into(),
            group: 0,
            bootstrap: None,
            election_timeout_min: Duration::from_millis(300),
            election_timeout_max: Duration::from_millis(600),
            heartbeat_interval: Duration::from_millis(60),
            pre_vote: true,
            check_quorum: true,
            disk_stall_max: Duration::from_secs(3),
            proposal_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(5),
            command_bytes_max: 1 << 20,
            proposals_max: 16_384,
            reads_max: 16_384,
            uncommitted_bytes_max: 64 << 20,
            append_bytes_max: 256 << 10,
            inflight_messages_max: 64,
            inflight_bytes_max: 8 << 20,
            tail_bytes_max: 16 << 20,
            apply_bytes_max: 1 << 20,
            snapshot_after_bytes: 64 << 20,
            snapshot_keep_entries: 10_000,
            snapshot_chunk_bytes: 256 << 10,
            snapshot_bytes_max: 4 << 30,
        }
    }

    /// Founds the cluster with these voters: an explicit act, done on each of them once, with the same list.
    ///
    /// It has an effect only on an empty storage. Leave it out from the second start on, so that a node whose
    /// disk was wiped comes back as a standby and can't vote against what it has forgotten.
    pub fn bootstrap<N: Into<NodeId>>(mut self, voters: impl IntoIterator<Item = N>) -> Self {
        self.bootstrap = Some(voters.into_iter().collect());
        self
    }

    /// Checks the settings against each other.
    ///
    /// # Errors
    ///
    /// Names the first field that can't work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |ok: bool, field, reason| if ok { Ok(()) } else { Err(ConfigError { field, reason }) };
        let founds_itself = self.bootstrap.as_ref().is_none_or(|first| first.voters.contains_key(&self.node));
        check(founds_itself, "bootstrap", "does not name this node")?;
        check(!self.heartbeat_interval.is_zero(), "heartbeat_interval", "must not be zero")?;
        check(
            self.heartbeat_interval.saturating_mul(3) <= self.election_timeout_min,
            "heartbeat_interval",
            "must be at most a third of election_timeout_min",
        )?;
        check(
            self.election_timeout_min < self.election_timeout_max,
            "election_timeout_max",
            "must be above election_timeout_min",
        )?;
        check(
            self.disk_stall_max >= self.election_timeout_max,
            "disk_stall_max",
            "must be at least election_timeout_max",
        )?;
        check(!self.proposal_timeout.is_zero(), "proposal_timeout", "must not be zero")?;
        check(!self.read_timeout.is_zero(), "read_timeout", "must not be zero")?;
        let limits = [
            (self.command_bytes_max, "command_bytes_max"),
            (self.proposals_max, "proposals_max"),
            (self.reads_max, "reads_max"),
            (self.uncommitted_bytes_max, "uncommitted_bytes_max"),
            (self.append_bytes_max, "append_bytes_max"),
            (self.inflight_messages_max, "inflight_messages_max"),
            (self.inflight_bytes_max, "inflight_bytes_max"),
            (self.apply_bytes_max, "apply_bytes_max"),
            (self.snapshot_chunk_bytes, "snapshot_chunk_bytes"),
        ];
        for (limit, field) in limits {
            check(limit > 0, field, "must not be zero")?;
        }
        check(self.snapshot_after_bytes > 0, "snapshot_after_bytes", "must not be zero")
    }
}
