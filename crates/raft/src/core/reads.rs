//! Linearizable reads without a log entry (ReadIndex; Ongaro's thesis, section 6.4).
//!
//! A leader notes its commit index, has a quorum confirm that it still leads, and then lets the reads go once
//! that index is applied. A follower asks its leader for the index. One round is under way at a time, and
//! whatever comes meanwhile shares the next.

use std::collections::VecDeque;

use quorate_core::{BootId, NodeId, Time};

use super::io::{Output, ReadId};
use super::{Raft, Role};
use crate::entry::Index;
use crate::error::ReadError;
use crate::message::Payload;

/// The reads of this node that wait, by how far they have come.
#[derive(Clone, Debug)]
pub(super) struct Reads {
    waiting: VecDeque<Ticket>,
    /// Asked of the leader, as this node's request number `sequence`.
    asked: Vec<Ticket>,
    sequence: u64,
    asked_at: Option<Time>,
    /// Confirmed, and waiting for this index to be handed to the state machine.
    confirmed: VecDeque<(Index, Vec<Ticket>)>,
    count: usize,
    sweep: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    id: ReadId,
    deadline: Time,
}

/// A leader's round of confirmation.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// What was committed when the round began.
    index: Index,
    own: Vec<Ticket>,
    asked: Vec<(NodeId, BootId, u64)>,
}

impl Reads {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            asked: Vec::new(),
            sequence: 0,
            asked_at: None,
            confirmed: VecDeque::new(),
            count: 0,
            sweep: None,
        }
    }

    /// What was asked of another leader is asked anew. A new number keeps its late answer apart.
    pub(super) fn leader_changed(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        for ticket in asked.into_iter().rev() {
            self.waiting.push_front(ticket);
        }
        self.asked_at = None;
    }

    /// The queue is in order of index: rounds are confirmed one after another, at commits that only grow.
    fn confirm(&mut self, index: Index, reads: Vec<Ticket>) {
        let latest = self.confirmed.back().map_or(0, |(latest, _)| *latest);
        if !reads.is_empty() {
            self.confirmed.push_back((index.max(latest), reads));
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.sweep
    }
}

impl Raft {
    pub(super) fn read(&mut self, id: ReadId) {
        if self.reads.count >= self.config.reads_max {
            return self.outbox.push(Output::ReadFailed { id, error: ReadError::Overloaded });
        }
        self.reads.count += 1;
        let deadline = self.now + self.config.read_timeout;
        self.reads.waiting.push_back(Ticket { id, deadline });
        let sweep = self.now + self.config.heartbeat_interval;
        self.reads.sweep.get_or_insert(sweep);
    }

    /// Starts a round as the leader, or asks the leader for one.
    pub(super) fn flush_reads(&mut self) {
        if let Role::Leader(_) = self.role {
            self.start_round();
        } else if let Some(leader) = self.leader {
            if self.reads.asked.is_empty() && !self.reads.waiting.is_empty() {
                self.reads.sequence += 1;
                self.reads.asked = self.reads.waiting.drain(..).collect();
                self.ask_for_index(leader);
            }
        }
    }

    fn ask_for_index(&mut self, leader: NodeId) {
        self.reads.asked_at = Some(self.now);
        let (boot, sequence) = (self.boot, self.reads.sequence);
        self.send(leader, Payload::ReadIndex { boot, sequence });
    }

    pub(super) fn read_index_requested(&mut self, from: NodeId, boot: BootId, sequence: u64) {
        let Some(leader) = self.leader_state() else {
            return self.send(from, Payload::ReadIndexReply { boot, sequence, index: None });
        };
        if leader.peers.contains_key(&from) {
            let newest = leader.asked.entry(from).or_insert((boot, sequence));
            if newest.0 != boot || newest.1 < sequence {
                *newest = (boot, sequence);
            }
        }
    }

    /// Begins a round if there is anyone to answer and none is under way.
    ///
    /// Not before an entry of this term is committed: until then the leader may not know of all that its
    /// predecessor committed.
    fn start_round(&mut self) {
        let commit = self.commit;
        let Role::Leader(leader) = &mut self.role else { return };
        let asked_for = !self.reads.waiting.is_empty() || !leader.asked.is_empty();
        if !asked_for || leader.reading.is_some() || commit < leader.first {
            return;
        }
        leader.round += 1;
        leader.reading = Some(Round {
            index: commit,
            own: self.reads.waiting.drain(..).collect(),
            asked: std::mem::take(&mut leader.asked)
                .into_iter()
                .map(|(node, (boot, sequence))| (node, boot, sequence))
                .collect(),
        });
        self.broadcast_heartbeat();
        self.advance_reads();
    }

    /// Ends the round once a quorum has confirmed it.
    pub(super) fn advance_reads(&mut self) {
        let quorum = self.membership().quorum();
        let Some(leader) = self.leader_state() else { return };
        let confirmed =
            leader.peers.values().filter(|peer| peer.counts && peer.round >= leader.round).count();
        if confirmed + 1 < quorum {
            return;
        }
        let Some(Round { index, own, asked }) = leader.reading.take() else { return };
        self.reads.confirm(index, own);
        for (node, boot, sequence) in asked {
            self.send(node, Payload::ReadIndexReply { boot, sequence, index: Some(index) });
        }
    }

    /// The reads of a round that its leader can't finish go back to the queue.
    pub(super) fn round_abandoned(&mut self, round: Option<Round>) {
        for ticket in round.into_iter().flat_map(|round| round.own).rev() {
            self.reads.waiting.push_front(ticket);
        }
    }

    pub(super) fn read_index_received(&mut self, boot: BootId, sequence: u64, index: Option<Index>) {
        let is_current =
            boot == self.boot && sequence == self.reads.sequence && self.reads.asked_at.is_some();
        if let (true, Some(index)) = (is_current, index) {
            self.reads.asked_at = None;
            let asked = std::mem::take(&mut self.reads.asked);
            self.reads.confirm(index, asked);
        }
    }

    /// Lets the reads go whose index has been handed to the state machine.
    pub(super) fn flush_ready_reads(&mut self) {
        let dispatched = if self.is_restored() { self.applying.dispatched } else { 0 };
        while self.reads.confirmed.front().is_some_and(|(index, _)| *index <= dispatched) {
            let Some((_, tickets)) = self.reads.confirmed.pop_front() else { break };
            for ticket in tickets {
                self.reads.count -= 1;
                self.outbox.push(Output::ReadReady { id: ticket.id });
            }
        }
    }

    /// Asks again for what was lost, and fails what has waited too long.
    pub(super) fn check_reads(&mut self) {
        let now = self.now;
        if self.reads.sweep.is_none_or(|sweep| sweep > now) {
            return;
        }
        if let (Some(leader), Some(asked_at)) = (self.leader, self.reads.asked_at) {
            if now.since(asked_at) >= self.config.heartbeat_interval.saturating_mul(2) {
                self.ask_for_index(leader);
            }
        }
        let mut late = Vec::new();
        let mut keep = |ticket: &Ticket| {
            let in_time = ticket.deadline > now;
            if !in_time {
                late.push(ticket.id);
            }
            in_time
        };
        self.reads.waiting.retain(&mut keep);
        self.reads.asked.retain(&mut keep);
        for (_, tickets) in &mut self.reads.confirmed {
            tickets.retain(&mut keep);
        }
        if let Role::Leader(leader) = &mut self.role {
            if let Some(round) = &mut leader.reading {
                round.own.retain(&mut keep);
            }
        }
        self.reads.confirmed.retain(|(_, tickets)| !tickets.is_empty());
        if self.reads.asked.is_empty() {
            self.reads.asked_at = None;
        }
        for id in late {
            self.reads.count -= 1;
            self.outbox.push(Output::ReadFailed { id, error: ReadError::TimedOut });
        }
        self.reads.sweep = (self.reads.count > 0).then_some(now + self.config.heartbeat_interval);
    }
}
