//! Proposals of this node, from the call to the outcome.
//!
//! A leader appends what is proposed to it. A follower forwards to the leader of its term and is told where
//! in the log the command stands; from then on the log answers. If the entry that is applied at that index
//! has that term, the command is committed; if it has another, the command never will be.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate_core::{BootId, NodeId, Time};

use super::io::{Output, ProposalId};
use super::{Raft, Role};
use crate::entry::{ENTRY_OVERHEAD_BYTES, Entry, EntryId, EntryPayload, Index, Term};
use crate::error::ProposeError;
use crate::message::Payload;

/// The proposals that wait, by how far they have come.
#[derive(Clone, Debug)]
pub(super) struct Proposals {
    /// Not handed over: no leader is known yet.
    waiting: VecDeque<Waiting>,
    /// Sent to the leader of a term; where they stand in the log is not known.
    forwarded: BTreeMap<u64, Forwarded>,
    /// In the log, by where.
    appended: BTreeMap<(Index, Term), Ticket>,
    waiting_bytes: usize,
    count: usize,
    sequence: u64,
    /// When to look for proposals that have waited too long.
    sweep: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Ticket {
    id: ProposalId,
    deadline: Time,
}

#[derive(Clone, Debug)]
struct Waiting {
    ticket: Ticket,
    command: Bytes,
}

#[derive(Clone, Debug)]
struct Forwarded {
    term: Term,
    /// In the order of the commands; `None` where one has timed out meanwhile.
    tickets: Vec<Option<Ticket>>,
}

impl Proposals {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            forwarded: BTreeMap::new(),
            appended: BTreeMap::new(),
            waiting_bytes: 0,
            count: 0,
            sequence: 0,
            sweep: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.sweep
    }
}

impl Raft {
    pub(super) fn propose(&mut self, id: ProposalId, command: Bytes) {
        let max = self.config.command_bytes_max;
        if command.len() > max {
            let error = ProposeError::TooLarge { len: command.len(), max };
            return self.outbox.push(Output::ProposalFailed { id, error });
        }
        if self.proposals.count >= self.config.proposals_max {
            let error = ProposeError::Overloaded("proposals_max");
            return self.outbox.push(Output::ProposalFailed { id, error });
        }
        let waiting_bytes = self.proposals.waiting_bytes + command.len();
        if waiting_bytes > self.config.uncommitted_bytes_max && self.proposals.waiting_bytes > 0 {
            let error = ProposeError::Overloaded("uncommitted_bytes_max");
            return self.outbox.push(Output::ProposalFailed { id, error });
        }
        self.proposals.waiting_bytes = waiting_bytes;
        let deadline = self.now + self.config.proposal_timeout;
        self.proposals.count += 1;
        self.proposals.waiting.push_back(Waiting { ticket: Ticket { id, deadline }, command });
        // Deadlines are kept to a sixteenth: one timer for all, however many there are.
        let sweep = self.now + self.config.proposal_timeout / 16;
        self.proposals.sweep.get_or_insert(sweep);
    }

    /// Appends or forwards what waits, if there is a leader.
    pub(super) fn flush_proposals(&mut self) {
        if self.proposals.waiting.is_empty() {
            return;
        }
        if matches!(self.role, Role::Leader(_)) {
            self.append_waiting();
        } else if let Some(leader) = self.leader {
            self.forward_waiting(leader);
        }
    }

    fn append_waiting(&mut self) {
        while let Some(Waiting { ticket, command }) = self.next_waiting() {
            match self.append_command(command) {
                Some(id) => {
                    self.proposals.appended.insert((id.index, id.term), ticket);
                }
                None => self.fail(ticket.id, ProposeError::Overloaded("uncommitted_bytes_max")),
            }
        }
    }

    /// Appends a command as the leader; `None` if too much is uncommitted already.
    fn append_command(&mut self, command: Bytes) -> Option<EntryId> {
        let max = self.config.uncommitted_bytes_max;
        let id = EntryId::new(self.hard.term, self.log.last() + 1);
        let entry = Entry { id, payload: EntryPayload::Command(command) };
        let cost = entry.cost();
        let leader = self.leader_state()?;
        // A single command always fits, or one that is larger than the limit never would.
        if leader.backlog_bytes > 0 && leader.backlog_bytes + cost > max {
            return None;
        }
        leader.append_to_backlog(id.index, cost);
        self.append_entry(entry);
        Some(id)
    }

    fn next_waiting(&mut self) -> Option<Waiting> {
        let next = self.proposals.waiting.pop_front()?;
        self.proposals.waiting_bytes -= next.command.len();
        Some(next)
    }

    fn forward_waiting(&mut self, leader: NodeId) {
        while !self.proposals.waiting.is_empty() {
            let mut bytes = 0;
            let mut commands = Vec::new();
            let mut tickets = Vec::new();
            while let Some(next) = self.proposals.waiting.front() {
                bytes += next.command.len() + ENTRY_OVERHEAD_BYTES;
                if bytes > self.config.append_bytes_max && !commands.is_empty() {
                    break;
                }
                let Some(Waiting { ticket, command }) = self.next_waiting() else { break };
                commands.push(command);
                tickets.push(Some(ticket));
            }
            self.proposals.sequence += 1;
            let sequence = self.proposals.sequence;
            self.proposals.forwarded.insert(sequence, Forwarded { term: self.hard.term, tickets });
            self.send(leader, Payload::Forward { boot: self.boot, sequence, commands });
        }
    }

    /// A leader's part: appends another node's commands, at most once.
    ///
    /// A forward is for the leader of one term, and within the term each boot's forwards are counted: a copy,
    /// or one that was overtaken, is dropped without a word. Silence is the only answer that can't be wrong,
    /// for the first copy may have been appended.
    pub(super) fn forward_received(
        &mut self,
        from: NodeId,
        boot: BootId,
        sequence: u64,
        commands: Vec<Bytes>,
    ) {
        let max = self.config.command_bytes_max;
        let uncommitted_max = self.config.uncommitted_bytes_max;
        let last_index = self.log.last();
        let too_large = commands.iter().any(|command| command.len() > max);
        let Some(leader) = self.leader_state() else { return };
        let known = leader.forwards.contains_key(&(from, boot));
        if !known && leader.forwards.len() >= FORWARDING_BOOTS_MAX {
            return;
        }
        let last = leader.forwards.entry((from, boot)).or_insert(0);
        if sequence <= *last {
            return;
        }
        *last = sequence;
        let bytes: usize = commands.iter().map(|command| command.len() + ENTRY_OVERHEAD_BYTES).sum();
        let full = leader.backlog_bytes > 0 && leader.backlog_bytes + bytes > uncommitted_max;
        if full || too_large || commands.is_empty() {
            return self.send(from, Payload::Forwarded { boot, sequence, first: None });
        }
        leader.append_to_backlog(last_index + commands.len() as u64, bytes);
        for command in commands {
            let id = EntryId::new(self.hard.term, self.log.last() + 1);
            self.append_entry(Entry { id, payload: EntryPayload::Command(command) });
        }
        self.send(from, Payload::Forwarded { boot, sequence, first: Some(last_index + 1) });
    }

    /// The leader says where it appended what was forwarded.
    pub(super) fn forwarded(&mut self, from: NodeId, boot: BootId, sequence: u64, first: Option<Index>) {
        if boot != self.boot {
            return;
        }
        if first.is_some_and(|first| first == 0 || first >= Index::MAX / 2) {
            return self.refuse(from, "an index that no entry can have");
        }
        let Some(forwarded) = self.proposals.forwarded.remove(&sequence) else { return };
        let Some(first) = first else {
            return self
                .fail_all(forwarded.tickets.into_iter().flatten(), ProposeError::Overloaded("the leader"));
        };
        for (offset, ticket) in forwarded.tickets.into_iter().enumerate() {
            let Some(ticket) = ticket else { continue };
            let index = first + offset as u64;
            if index <= self.applying.dispatched {
                // It was applied before anyone here knew whose it was, so its result is gone.
                self.fail(ticket.id, ProposeError::Overtaken);
            } else {
                let displaced = self.proposals.appended.insert((index, forwarded.term), ticket);
                if let Some(displaced) = displaced {
                    self.refuse(from, "two commands at one place in the log");
                    self.fail(displaced.id, ProposeError::LeaderLost);
                }
            }
        }
    }

    /// A newer term has begun: whether the old leader took in what it was sent will never be told.
    pub(super) fn forwards_lost(&mut self) {
        let lost = std::mem::take(&mut self.proposals.forwarded);
        for forwarded in lost.into_values() {
            self.fail_all(forwarded.tickets.into_iter().flatten(), ProposeError::LeaderLost);
        }
    }

    /// An entry is about to be applied: says whose proposal it is, and fails those whose place it took.
    pub(super) fn resolve_proposals(&mut self, id: EntryId) -> Option<ProposalId> {
        let mut answered = None;
        while let Some(next) = self.proposals.appended.first_entry() {
            let (index, term) = *next.key();
            if index > id.index {
                break;
            }
            let ticket = next.remove();
            if (index, term) == (id.index, id.term) {
                self.proposals.count -= 1;
                answered = Some(ticket.id);
            } else {
                self.fail(ticket.id, ProposeError::LeaderChanged);
            }
        }
        answered
    }

    /// A snapshot covers these entries: what became of them can't be told any more.
    pub(super) fn proposals_overtaken(&mut self, through: Index) {
        let rest = self.proposals.appended.split_off(&(through + 1, 0));
        let overtaken = std::mem::replace(&mut self.proposals.appended, rest);
        self.fail_all(overtaken.into_values(), ProposeError::Overtaken);
    }

    /// Fails what has waited too long.
    pub(super) fn check_proposals(&mut self) {
        let now = self.now;
        if self.proposals.sweep.is_none_or(|sweep| sweep > now) {
            return;
        }
        let late = |ticket: &Ticket| ticket.deadline <= now;
        while self.proposals.waiting.front().is_some_and(|waiting| late(&waiting.ticket)) {
            if let Some(waiting) = self.next_waiting() {
                self.fail(waiting.ticket.id, ProposeError::NoLeader);
            }
        }
        let mut timed_out = Vec::new();
        self.proposals.forwarded.retain(|_, forwarded| {
            for ticket in &mut forwarded.tickets {
                timed_out.extend(ticket.take_if(|ticket| late(ticket)));
            }
            forwarded.tickets.iter().any(Option::is_some)
        });
        self.proposals.appended.retain(|_, ticket| {
            if late(ticket) {
                timed_out.push(*ticket);
            }
            !late(ticket)
        });
        self.fail_all(timed_out, ProposeError::TimedOut);
        let next = now + self.config.proposal_timeout / 16;
        self.proposals.sweep = (self.proposals.count > 0).then_some(next);
    }

    fn fail_all(&mut self, tickets: impl IntoIterator<Item = Ticket>, error: ProposeError) {
        for ticket in tickets {
            self.fail(ticket.id, error.clone());
        }
    }

    fn fail(&mut self, id: ProposalId, error: ProposeError) {
        self.proposals.count -= 1;
        self.outbox.push(Output::ProposalFailed { id, error });
    }
}

/// How many boots' forwards a leader tells apart in one term. More can only be an accident; what they forward
/// is dropped, and ends as unknown.
const FORWARDING_BOOTS_MAX: usize = 4096;
