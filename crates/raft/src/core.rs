//! The protocol, as a value.
//!
//! Split by concern: [`election`] changes roles, [`replication`] moves entries, [`commit`] says what is
//! committed and hands it to the state machine, [`proposals`] and [`reads`] answer the application,
//! [`snapshots`] compact and transfer. Each adds methods to [`Raft`]; what they share is here.

mod commit;
mod election;
mod event;
mod io;
mod log;
mod outbox;
mod progress;
mod proposals;
mod reads;
mod replication;
mod snapshots;
mod status;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use quorate_core::{BootId, Core, Fingerprint, NodeId, Rng, StoreId, Time};

pub use self::event::{Event, RoleKind};
pub use self::io::{Committed, Input, LoadPurpose, LoadRequest, Output, ProposalId, ReadId};
pub use self::status::Status;

use self::commit::Applying;
use self::election::{Leader, Role};
use self::log::LogView;
use self::outbox::Outbox;
use self::proposals::Proposals;
use self::reads::Reads;
use self::snapshots::Incoming;
use crate::config::Config;
use crate::entry::{Entry, EntryId, EntryPayload, Index, Membership, Term};
use crate::error::ConfigError;
use crate::message::{Message, Payload};
use crate::storage::{HardState, Recovered, Standing};

/// One node of a raft group, without a clock, a socket or a disk.
///
/// Drive it as [`Core`] says. Two duties are raft's own:
///
/// * carry out [`Output::Persist`], [`Output::Load`] and [`Output::LoadSnapshot`] in the order given, and
///   report a write with [`Input::Persisted`] only once it is durable;
/// * carry out [`Output::Apply`], [`Output::Restore`], [`Output::TakeSnapshot`] and [`Output::ReadReady`] in
///   the order given.
///
/// The storage and the state machine may each take their time: the core neither waits nor asks.
#[derive(Clone, Debug)]
pub struct Raft {
    config: Config,
    boot: BootId,
    store: StoreId,
    now: Time,
    rng: Rng,
    hard: HardState,
    role: Role,
    leader: Option<NodeId>,
    /// When the leader was last heard from: a vote is refused for a while after.
    leader_heard: Option<Time>,
    election_deadline: Time,
    /// The write that holds this node's vote for itself, until it is durable.
    own_vote: Option<u64>,
    log: LogView,
    /// The memberships in the log, the newest last; the first is that of the snapshot, or none.
    memberships: Vec<(Index, Membership)>,
    commit: Index,
    applying: Applying,
    proposals: Proposals,
    reads: Reads,
    incoming: Option<Incoming>,
    outbox: Outbox,
    /// Something was handled since the last flush.
    dirty: bool,
}

impl Raft {
    /// A node that remembers what was recovered.
    ///
    /// `boot` must be new at each start. `seed` decides the timeouts' jitter and must differ between nodes.
    ///
    /// # Errors
    ///
    /// If the configuration can't work, or if what was recovered lacks entries between snapshot and log.
    pub fn new(
        config: Config,
        recovered: Recovered,
        boot: BootId,
        seed: u64,
        now: Time,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let covered = recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index);
        if recovered.before_first.index > covered {
            let reason = "the log begins after the snapshot ends";
            return Err(ConfigError { field: "recovered", reason });
        }
        let snapshot = recovered.snapshot.unwrap_or_default();
        let mut memberships = vec![(snapshot.last.index, snapshot.membership.clone())];
        memberships
            .extend(recovered.memberships.into_iter().filter(|(index, _)| *index > snapshot.last.index));
        let log =
            LogView::new(recovered.before_first, recovered.last, recovered.terms, config.tail_bytes_max);
        let mut raft = Self {
            boot,
            store: recovered.store,
            now,
            rng: Rng::from_seed(seed),
            hard: recovered.hard_state,
            role: Role::Follower,
            leader: None,
            leader_heard: None,
            election_deadline: now,
            own_vote: None,
            log,
            memberships,
            commit: snapshot.last.index,
            applying: Applying::from(&snapshot),
            proposals: Proposals::new(),
            reads: Reads::new(),
            incoming: None,
            outbox: Outbox::new(boot),
            dirty: true,
            config,
        };
        if !raft.log.contains(snapshot.last) {
            // The crash came after the snapshot was durable and before the log began anew behind it.
            raft.outbox.restart(None, snapshot.last);
            raft.log.restart(snapshot.last);
        }
        if snapshot.last != EntryId::ZERO {
            raft.outbox.push(Output::Restore(snapshot));
        }
        raft.found();
        raft.reset_election_deadline();
        Ok(raft)
    }

    /// How the node stands.
    pub fn status(&self) -> Status {
        Status {
            node: self.config.node,
            term: self.hard.term,
            role: self.role.kind(),
            leader: self.leader,
            commit: self.commit,
            applied: self.applying.applied,
            durable: self.log.stable(),
            first: self.log.first(),
            last: self.log.last_id(),
            snapshot: self.applying.snapshot,
        }
    }

    /// On an empty storage, writes the first membership as the first entry, if this start is to found the
    /// cluster. Every founder writes the same one, so it needs no agreement.
    fn found(&mut self) {
        // A founding that was torn by a crash may have left the standing, but no promise yet.
        let is_empty = self.log.last() == 0 && self.hard.term == 0 && self.hard.vote.is_none();
        let Some(first) = self.config.bootstrap.take().filter(|_| is_empty) else { return };
        self.hard.standing = Standing::Voter;
        self.outbox.hard_state(&self.hard);
        self.memberships.push((1, first.clone()));
        self.append_entry(Entry { id: EntryId::new(0, 1), payload: EntryPayload::Membership(first) });
        self.commit = 1;
    }

    fn append_entry(&mut self, entry: Entry) {
        self.outbox.append(entry.clone());
        self.log.append(entry);
    }

    /// The membership in force: the newest in the log, committed or not.
    fn membership(&self) -> &Membership {
        self.memberships.last().map_or(&EMPTY, |(_, membership)| membership)
    }

    fn is_voter(&self) -> bool {
        self.hard.standing == Standing::Voter && self.membership().voters.contains_key(&self.config.node)
    }

    fn peers(&self) -> Vec<NodeId> {
        let this = self.config.node;
        self.membership().voters.keys().copied().filter(|node| *node != this).collect()
    }

    fn message(&self, payload: Payload) -> Message {
        Message { term: self.hard.term, store: self.store, standing: self.hard.standing, payload }
    }

    fn send(&mut self, to: NodeId, payload: Payload) {
        let message = self.message(payload);
        self.outbox.send(to, message);
    }

    /// Sends once the term and the vote are durable: what the message says holds in this term.
    fn promise_term(&mut self, to: NodeId, payload: Payload) {
        let message = self.message(payload);
        self.outbox.promise_hard_state(Output::Send { to, message });
    }

    /// Sends once all that was staged so far is durable.
    fn promise(&mut self, to: NodeId, payload: Payload) {
        let message = self.message(payload);
        self.outbox.promise(Output::Send { to, message });
    }

    fn event(&mut self, event: Event) {
        self.outbox.push(Output::Event(event));
    }

    fn refuse(&mut self, from: NodeId, reason: &'static str) {
        self.event(Event::Refused { from, reason });
    }

    /// Whether a voter's word counts: it must be a member, on the disk it was first heard from.
    ///
    /// The first store that a voter speaks from is bound to it, and remembered with term and vote. A standby
    /// is never bound: it has nothing to promise with.
    fn counts(&mut self, from: NodeId, store: StoreId, standing: Standing) -> bool {
        if standing == Standing::Standby || !self.membership().voters.contains_key(&from) {
            return false;
        }
        match self.hard.stores.get(&from) {
            Some(known) => *known == store,
            None => {
                self.hard.stores.insert(from, store);
                self.outbox.note_in_hard_state(&self.hard);
                true
            }
        }
    }

    fn message_received(&mut self, from: NodeId, message: Message) {
        if from == self.config.node {
            return self.refuse(from, "a message from this node to itself");
        }
        let Message { term, store, standing, payload } = message;
        if term >= TERM_MAX {
            return self.refuse(from, "a term that no node can have reached");
        }
        if let Payload::PreVote { last } = payload {
            self.counts(from, store, standing);
            return self.pre_vote_requested(from, store, term, last);
        }
        if let Payload::Vote { .. } = payload {
            if self.ignores_votes() {
                return;
            }
        }
        if term > self.hard.term {
            self.adopt_term(term);
        }
        let counts = self.counts(from, store, standing);
        if let Payload::PreVoteReply { round, granted } = payload {
            // It tells its round; the sender's own term may be older.
            return self.pre_vote_answered(from, round, granted && counts);
        }
        if term < self.hard.term {
            return self.outdated(from, &payload);
        }
        match payload {
            Payload::PreVote { .. } | Payload::PreVoteReply { .. } => {}
            Payload::Vote { last } => self.vote_requested(from, store, last),
            Payload::VoteReply { granted } => self.vote_answered(from, granted && counts),
            Payload::Append { previous, commit, entries } => {
                if self.leader_is(from) {
                    self.append_received(from, previous, commit, entries);
                }
            }
            Payload::Commit { id } => {
                if self.leader_is(from) {
                    self.commit_received(id);
                }
            }
            Payload::Heartbeat { commit, round } => {
                if self.leader_is(from) {
                    self.commit_received(commit);
                    self.promise_term(from, Payload::HeartbeatReply { round, last: self.log.last() });
                }
            }
            Payload::Snapshot { meta, total, offset, data } => {
                if self.leader_is(from) {
                    self.snapshot_received(from, meta, total, offset, data);
                }
            }
            Payload::Forward { boot, sequence, commands } => {
                self.forward_received(from, boot, sequence, commands);
            }
            Payload::Forwarded { boot, sequence, first } => {
                if self.leader == Some(from) {
                    self.forwarded(from, boot, sequence, first);
                }
            }
            Payload::ReadIndex { boot, sequence } => self.read_index_requested(from, boot, sequence),
            Payload::ReadIndexReply { boot, sequence, index } => {
                self.read_index_received(boot, sequence, index)
            }
            Payload::AppendAccepted { .. }
            | Payload::AppendRejected { .. }
            | Payload::HeartbeatReply { .. }
            | Payload::SnapshotReply { .. } => {
                if self.peer_heard(from, store, counts) {
                    self.peer_answered(from, payload);
                }
            }
        }
    }

    /// Tells a deposed leader, or a candidate that is behind, of the newer term. Everything else from an older term is dropped: it is late.
    fn outdated(&mut self, from: NodeId, payload: &Payload) {
        let is_leaders =
            matches!(payload, Payload::Append { .. } | Payload::Heartbeat { .. } | Payload::Snapshot { .. });
        if is_leaders {
            self.promise_term(from, Payload::HeartbeatReply { round: 0, last: self.log.last() });
        } else if let Payload::Vote { .. } = payload {
            self.promise_term(from, Payload::VoteReply { granted: false });
        }
    }

    /// Gathers what was handled into outputs: one write, one broadcast, however many inputs came before.
    fn flush(&mut self) {
        self.flush_proposals();
        self.flush_reads();
        if self.outbox.seal() {
            self.log.mark(self.outbox.sequence());
        }
        self.flush_appends();
        self.flush_applies();
        self.log.evict();
    }

    fn leader_state(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }
}

impl Core for Raft {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Time, input: Input) {
        self.now = self.now.max(now);
        self.dirty = true;
        match input {
            Input::Message { from, message } => self.message_received(from, message),
            Input::Deadline => self.check_deadlines(),
            Input::Propose { id, command } => self.propose(id, command),
            Input::Read { id } => self.read(id),
            Input::Persisted(id) => {
                if self.outbox.persisted(id) {
                    self.log.persisted(id.sequence);
                    self.release_backlog();
                    self.own_vote_persisted(id.sequence);
                    self.advance_commit();
                }
            }
            Input::Loaded { request, entries } => self.loaded(request, entries),
            Input::SnapshotLoaded { to, meta, total, offset, data } => {
                self.snapshot_loaded(to, meta, total, offset, data);
            }
            Input::Applied(index) => self.applied(index),
            Input::SnapshotTaken { last, data } => self.snapshot_taken(last, data),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        if self.dirty {
            self.dirty = false;
            self.flush();
        }
        self.outbox.pop()
    }

    fn deadline(&self) -> Option<Time> {
        let role = match &self.role {
            Role::Leader(leader) => Some(leader.deadline()),
            _ => self.is_voter().then_some(self.election_deadline),
        };
        [role, self.proposals.deadline(), self.reads.deadline()].into_iter().flatten().min()
    }

    fn fingerprint(&self) -> u64 {
        let mut state = Fingerprint::default();
        (self.hard.term, self.hard.vote, self.hard.standing, &self.hard.stores).hash(&mut state);
        (self.role.kind(), self.leader, self.commit, self.applying.applied, self.own_vote.is_some())
            .hash(&mut state);
        self.role.hash_votes_and_progress(&mut state);
        self.log.hash(&mut state);
        self.outbox.has_unpersisted().hash(&mut state);
        state.finish()
    }
}

static EMPTY: Membership = Membership { voters: BTreeMap::new() };

/// Majority arithmetic over indexes: the largest index that at least `quorum` of `matched` have reached.
fn quorum_index(mut matched: Vec<Index>, quorum: usize) -> Index {
    matched.sort_unstable_by(|a, b| b.cmp(a));
    matched.get(quorum - 1).copied().unwrap_or(0)
}

/// No term is as high as this, so that counting up from one never overflows; a message that names one is
/// refused.
const TERM_MAX: Term = Term::MAX / 2;
