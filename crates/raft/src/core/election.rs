//! Roles and how they change (Raft, section 5.2; PreVote and CheckQuorum from Ongaro's thesis, chapters 6
//! and 9).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};

use quorate_core::{BootId, NodeId, StoreId, Time};

use super::event::{Event, RoleKind};
use super::progress::Progress;
use super::reads::Round;
use super::{Raft, TERM_MAX};
use crate::entry::{Entry, EntryId, EntryPayload, Index, Term};
use crate::message::Payload;
use crate::storage::Standing;

/// The part a node plays, with what only that part needs.
#[derive(Clone, Debug)]
pub(super) enum Role {
    Follower,
    PreCandidate { granted: BTreeSet<NodeId> },
    Candidate { granted: BTreeSet<NodeId> },
    Leader(Box<Leader>),
}

/// What a leader keeps, from its election to its end.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// Its first entry. Until that is committed it doesn't know what is, so it answers no read.
    pub(super) first: Index,
    pub(super) peers: BTreeMap<NodeId, Progress>,
    pub(super) heartbeat_deadline: Time,
    pub(super) quorum_deadline: Time,
    /// Bytes appended in this term and not yet both committed and durable here, by the last index of each
    /// piece.
    pub(super) backlog: VecDeque<(Index, usize)>,
    pub(super) backlog_bytes: usize,
    /// Up to where its own disk had come, and when that last changed.
    durable: (Index, Time),
    /// The last forward taken in from each boot: an older one is a copy.
    pub(super) forwards: BTreeMap<(NodeId, BootId), u64>,
    /// The last round of confirmation, and the reads that wait for it.
    pub(super) round: u64,
    pub(super) reading: Option<Round>,
    /// Followers' requests for the next round, the newest of each.
    pub(super) asked: BTreeMap<NodeId, (BootId, u64)>,
}

impl Leader {
    pub(super) fn deadline(&self) -> Time {
        self.heartbeat_deadline.min(self.quorum_deadline)
    }

    /// Counts bytes that were appended up to `last`; small neighbours share a piece.
    pub(super) fn append_to_backlog(&mut self, last: Index, bytes: usize) {
        self.backlog_bytes += bytes;
        match self.backlog.back_mut() {
            Some(piece) if piece.1 + bytes <= BACKLOG_PIECE_BYTES => *piece = (last, piece.1 + bytes),
            _ => self.backlog.push_back((last, bytes)),
        }
    }
}

impl Role {
    pub(super) fn kind(&self) -> RoleKind {
        match self {
            Self::Follower => RoleKind::Follower,
            Self::PreCandidate { .. } => RoleKind::PreCandidate,
            Self::Candidate { .. } => RoleKind::Candidate,
            Self::Leader(_) => RoleKind::Leader,
        }
    }

    pub(super) fn hash_votes_and_progress(&self, state: &mut impl Hasher) {
        match self {
            Self::Follower => {}
            Self::PreCandidate { granted } | Self::Candidate { granted } => granted.hash(state),
            Self::Leader(leader) => {
                for (node, peer) in &leader.peers {
                    (node, peer.matched, peer.next, peer.round, peer.counts).hash(state);
                }
                leader.round.hash(state);
            }
        }
    }
}

impl Raft {
    pub(super) fn check_deadlines(&mut self) {
        let now = self.now;
        match &self.role {
            Role::Leader(leader) if leader.quorum_deadline <= now => self.check_quorum(),
            Role::Leader(_) => {}
            _ if self.election_deadline <= now && self.is_voter() => self.run(),
            _ => {}
        }
        if let Role::Leader(leader) = &mut self.role {
            if leader.heartbeat_deadline <= now {
                leader.heartbeat_deadline = now + self.config.heartbeat_interval;
                self.broadcast_heartbeat();
            }
        }
        self.check_proposals();
        self.check_reads();
    }

    pub(super) fn reset_election_deadline(&mut self) {
        let range = self.config.election_timeout_min..self.config.election_timeout_max;
        self.election_deadline = self.now + self.rng.duration(range);
    }

    /// Runs for leader, or first asks whether to.
    fn run(&mut self) {
        self.reset_election_deadline();
        self.set_leader(None);
        if self.config.pre_vote {
            self.ask_before_running();
        } else {
            self.campaign();
        }
    }

    fn ask_before_running(&mut self) {
        self.set_role(Role::PreCandidate { granted: BTreeSet::from([self.config.node]) });
        if self.membership().quorum() == 1 {
            return self.campaign();
        }
        let last = self.log.last_id();
        for peer in self.peers() {
            let mut message = self.message(Payload::PreVote { last });
            message.term += 1;
            self.outbox.send(peer, message);
        }
    }

    fn campaign(&mut self) {
        if self.hard.term >= TERM_MAX {
            return;
        }
        self.enter_term(self.hard.term + 1);
        self.hard.vote = Some(self.config.node);
        self.outbox.hard_state(&self.hard);
        self.set_role(Role::Candidate { granted: BTreeSet::new() });
        let last = self.log.last_id();
        for peer in self.peers() {
            // The request is also the candidate's own vote: it must not be forgotten and given to another.
            self.promise_term(peer, Payload::Vote { last });
        }
        // Its own vote counts once it is durable, like any other: see `own_vote_persisted`.
        self.own_vote = Some(self.outbox.sequence());
    }

    /// Takes up a newer term, as a follower of nobody.
    pub(super) fn adopt_term(&mut self, term: Term) {
        self.enter_term(term);
        self.outbox.hard_state(&self.hard);
        self.step_down();
    }

    /// Forgets what belonged to an older term.
    fn enter_term(&mut self, term: Term) {
        assert!(term > self.hard.term, "terms only grow");
        self.hard.term = term;
        self.hard.vote = None;
        self.own_vote = None;
        self.set_leader(None);
        self.leader_heard = None;
        self.forwards_lost();
    }

    /// Becomes a follower in the same term.
    fn step_down(&mut self) {
        if let Role::Leader(_) = self.role {
            self.reset_election_deadline();
        }
        self.set_role(Role::Follower);
    }

    fn set_role(&mut self, role: Role) {
        let changed = role.kind() != self.role.kind();
        if let Role::Leader(mut leader) = std::mem::replace(&mut self.role, role) {
            self.round_abandoned(leader.reading.take());
        }
        if changed {
            self.event(Event::RoleChanged { term: self.hard.term, role: self.role.kind() });
        }
    }

    pub(super) fn set_leader(&mut self, leader: Option<NodeId>) {
        if self.leader != leader {
            self.leader = leader;
            self.incoming = None;
            self.reads.leader_changed();
            self.event(Event::LeaderChanged { term: self.hard.term, leader });
        }
    }

    /// Notes a message from the leader of this term; false if the sender can't be that.
    pub(super) fn leader_is(&mut self, from: NodeId) -> bool {
        if matches!(self.role, Role::Leader(_)) || self.leader.is_some_and(|leader| leader != from) {
            self.refuse(from, "a second leader in one term");
            return false;
        }
        self.step_down();
        self.set_leader(Some(from));
        self.leader_heard = Some(self.now);
        self.reset_election_deadline();
        true
    }

    /// Whether a leader is alive, as far as this node knows: then votes are refused, so that a node that was
    /// cut off can't unseat it.
    pub(super) fn ignores_votes(&self) -> bool {
        if !self.config.check_quorum {
            return false;
        }
        let recent = |heard: Time| self.now.since(heard) < self.config.election_timeout_min;
        matches!(self.role, Role::Leader(_)) || self.leader_heard.is_some_and(recent)
    }

    /// Answers whether a vote would be given. It changes nothing here, not even a timer: a node that asks for
    /// ever must not keep others from running.
    pub(super) fn pre_vote_requested(&mut self, from: NodeId, store: StoreId, round: Term, last: EntryId) {
        let granted = round > self.hard.term
            && self.is_known_store(from, store)
            && round < TERM_MAX
            && self.hard.standing == Standing::Voter
            && !self.ignores_votes()
            && last >= self.log.last_id();
        // A refusal carries this node's term, by which a candidate that is behind catches up. The term must
        // be durable: it is a fact that others act on.
        self.promise_term(from, Payload::PreVoteReply { round, granted });
    }

    pub(super) fn pre_vote_answered(&mut self, from: NodeId, round: Term, granted: bool) {
        let quorum = self.membership().quorum();
        let Role::PreCandidate { granted: votes } = &mut self.role else { return };
        if granted && round == self.hard.term + 1 {
            votes.insert(from);
            if votes.len() >= quorum {
                self.reset_election_deadline();
                self.campaign();
            }
        }
    }

    pub(super) fn vote_requested(&mut self, from: NodeId, store: StoreId, last: EntryId) {
        let free = self.hard.vote.is_none_or(|vote| vote == from);
        let granted = free
            && self.is_known_store(from, store)
            && self.leader.is_none()
            && self.hard.standing == Standing::Voter
            && last >= self.log.last_id();
        if granted {
            if self.hard.vote.is_none() {
                self.hard.vote = Some(from);
                self.outbox.hard_state(&self.hard);
            }
            self.reset_election_deadline();
        }
        self.promise_term(from, Payload::VoteReply { granted });
    }

    /// Whether the candidate speaks from the store it is known by, if it is known at all: one that was wiped
    /// must not win with what it has forgotten.
    fn is_known_store(&self, candidate: NodeId, store: StoreId) -> bool {
        self.hard.stores.get(&candidate).is_none_or(|known| *known == store)
    }

    pub(super) fn vote_answered(&mut self, from: NodeId, granted: bool) {
        let quorum = self.membership().quorum();
        let Role::Candidate { granted: votes } = &mut self.role else { return };
        if granted {
            votes.insert(from);
            if votes.len() >= quorum {
                self.lead();
            }
        }
    }

    /// Counts the node's own vote once the write that holds it is durable.
    pub(super) fn own_vote_persisted(&mut self, sequence: u64) {
        if self.own_vote.is_some_and(|vote| vote <= sequence) {
            self.own_vote = None;
            self.vote_answered(self.config.node, true);
        }
    }

    fn lead(&mut self) {
        let last = self.log.last();
        let peers = self.peers().into_iter().map(|node| (node, Progress::new(last))).collect();
        self.set_role(Role::Leader(Box::new(Leader {
            first: last + 1,
            peers,
            heartbeat_deadline: self.now + self.config.heartbeat_interval,
            quorum_deadline: self.now + self.config.election_timeout_max,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            durable: (self.log.stable(), self.now),
            forwards: BTreeMap::new(),
            round: 0,
            reading: None,
            asked: BTreeMap::new(),
        })));
        self.set_leader(Some(self.config.node));
        let id = EntryId::new(self.hard.term, last + 1);
        self.append_entry(Entry { id, payload: EntryPayload::Blank });
        self.broadcast_heartbeat();
    }

    /// Steps down if a quorum has not been heard from since the last check, or if its own disk has hung: a
    /// leader that can't write still heartbeats, and would keep everyone from electing one that can.
    fn check_quorum(&mut self) {
        let (now, window, quorum) = (self.now, self.config.election_timeout_max, self.membership().quorum());
        let enabled = self.config.check_quorum;
        let (stable, last, stall_max) = (self.log.stable(), self.log.last(), self.config.disk_stall_max);
        let Some(leader) = self.leader_state() else { return };
        leader.quorum_deadline = now + window;
        if stable == last || stable != leader.durable.0 {
            leader.durable = (stable, now);
        }
        let stalled = now.since(leader.durable.1) >= stall_max;
        let heard = |peer: &Progress| peer.counts && peer.heard.is_some_and(|at| now.since(at) <= window);
        let alive = leader.peers.values().filter(|peer| heard(peer)).count() + 1;
        if enabled && (alive < quorum || stalled) {
            self.step_down();
            self.set_leader(None);
        }
    }
}

/// How finely a leader's backlog is counted.
const BACKLOG_PIECE_BYTES: usize = 16 << 10;
