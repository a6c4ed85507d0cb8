//! One test for each bug that was found in the core: the shortest story that showed it.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::{BootId, Core, NodeId, StoreId, Time};
use quorate_raft::{
    Config, EntryId, Event, Input, Message, Output, Payload, ProposalId, ProposeError, Raft, Recovered,
    RoleKind, SnapshotMeta, SnapshotProgress, Standing, TermRun, WriteId,
};

const THIS: u64 = 1;
const PEER: NodeId = NodeId::new(2);
const OTHER: NodeId = NodeId::new(3);

/// A node of three, with the last write it handed out and all messages it sent.
struct Alone {
    raft: Raft,
    now: Time,
    written: Option<WriteId>,
    outputs: Vec<Output>,
    durable: bool,
}

impl Alone {
    fn new(config: Config, recovered: Recovered) -> Self {
        let raft =
            Raft::new(config, recovered, BootId::new(9), 1, Time::ZERO).expect("the configuration works");
        let mut alone = Self { raft, now: Time::ZERO, written: None, outputs: Vec::new(), durable: true };
        alone.settle();
        alone
    }

    fn founded() -> Self {
        Self::new(config(), Recovered { store: StoreId::new(THIS.into()), ..Recovered::default() })
    }

    /// Leads in the next term, by the vote of one peer.
    fn lead(mut self) -> Self {
        self.now += Duration::from_secs(1);
        self.handle(Input::Deadline);
        let term = self.raft.status().term;
        self.from(PEER, message(term, Payload::PreVoteReply { round: term + 1, granted: true }));
        self.from(PEER, message(term + 1, Payload::VoteReply { granted: true }));
        assert_eq!(self.raft.status().role, RoleKind::Leader);
        self.outputs.clear();
        self
    }

    fn from(&mut self, from: NodeId, message: Message) {
        self.handle(Input::Message { from, message });
    }

    fn handle(&mut self, input: Input) {
        self.raft.handle(self.now, input);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(output) = self.raft.poll() {
            if let Output::Persist(write) = &output {
                self.written = Some(write.id);
                if self.durable {
                    self.raft.handle(self.now, Input::Persisted(write.id));
                }
            }
            if let Output::Apply(batch) = &output {
                let last = batch.last().expect("a batch is not empty").id.index;
                self.raft.handle(self.now, Input::Applied(last));
            }
            self.outputs.push(output);
        }
    }

    fn sent(&self, wanted: impl Fn(&Payload) -> bool) -> usize {
        let is_wanted =
            |output: &&Output| matches!(output, Output::Send { message, .. } if wanted(&message.payload));
        self.outputs.iter().filter(is_wanted).count()
    }

    fn failed(&self) -> Vec<(ProposalId, ProposeError)> {
        let failure = |output: &Output| match output {
            Output::ProposalFailed { id, error } => Some((*id, error.clone())),
            _ => None,
        };
        self.outputs.iter().filter_map(failure).collect()
    }
}

fn config() -> Config {
    Config::new(THIS).bootstrap([1u64, 2, 3])
}

fn message(term: u64, payload: Payload) -> Message {
    message_of(StoreId::new(2), term, payload)
}

fn message_of(store: StoreId, term: u64, payload: Payload) -> Message {
    Message { term, store, standing: Standing::Voter, payload }
}

/// A log that begins behind a snapshot, so that a follower with nothing needs that.
fn compacted() -> Recovered {
    let membership = [1u64, 2, 3].into_iter().collect();
    let last = EntryId::new(1, 100);
    let mut recovered = Recovered { store: StoreId::new(THIS.into()), ..Recovered::default() };
    recovered.hard_state.term = 1;
    recovered.hard_state.standing = Standing::Voter;
    recovered.snapshot = Some(SnapshotMeta { last, membership });
    recovered.before_first = last;
    recovered.last = 100;
    recovered
}

#[test]
fn a_shorter_snapshot_replaces_one_that_is_being_sent() {
    let mut leader = Alone::new(config(), compacted()).lead();
    leader.handle(Input::Applied(100));
    let term = leader.raft.status().term;
    leader.from(PEER, message(term, Payload::AppendRejected { previous: 100, hint: EntryId::ZERO }));
    let piece = |last: EntryId, total: u64, offset: u64, size: usize| Input::SnapshotLoaded {
        to: PEER,
        meta: SnapshotMeta { last, membership: [1u64, 2, 3].into_iter().collect() },
        total,
        offset,
        data: Bytes::from(vec![0; size]),
    };
    let (old, new) = (EntryId::new(1, 100), EntryId::new(term, 101));
    leader.handle(piece(old, 1_000, 0, 600));
    let progress = SnapshotProgress::Received(600);
    leader.from(PEER, message(term, Payload::SnapshotReply { last: old, progress }));
    leader.outputs.clear();
    // What is there now ends before the offset that was asked for.
    leader.handle(piece(new, 50, 50, 0));
    let asks = |output: &&Output| matches!(output, Output::LoadSnapshot { offset: 0, .. });
    assert_eq!(leader.outputs.iter().filter(asks).count(), 1, "it begins again: {:?}", leader.outputs);
    leader.handle(piece(new, 50, 0, 50));
    assert_eq!(leader.sent(|payload| matches!(payload, Payload::Snapshot { total: 50, offset: 0, .. })), 1);
}

#[test]
fn a_voter_with_another_disk_gets_no_vote() {
    let mut voter = Alone::founded();
    let ask = |store: u128| message_of(StoreId::new(store), 5, Payload::PreVote { last: EntryId::new(4, 9) });
    let granted = |payload: &Payload| matches!(payload, Payload::PreVoteReply { granted: true, .. });
    voter.from(PEER, ask(2));
    assert_eq!(voter.sent(granted), 1);
    voter.outputs.clear();
    voter.from(PEER, ask(22));
    let vote = Payload::Vote { last: EntryId::new(4, 9) };
    voter.from(PEER, message_of(StoreId::new(22), 5, vote.clone()));
    assert_eq!(voter.sent(granted), 0);
    assert_eq!(voter.sent(|payload| matches!(payload, Payload::VoteReply { granted: true })), 0);
    voter.from(PEER, message_of(StoreId::new(2), 5, vote));
    assert_eq!(voter.sent(|payload| matches!(payload, Payload::VoteReply { granted: true })), 1);
}

#[test]
fn rounds_of_reads_do_not_repeat_a_probe() {
    let mut leader = Alone::founded().lead();
    let term = leader.raft.status().term;
    for _ in 0..100 {
        leader.from(PEER, message(term, Payload::HeartbeatReply { round: 0, last: 0 }));
    }
    assert_eq!(leader.sent(|payload| matches!(payload, Payload::Append { .. })), 0);
    leader.now += Duration::from_millis(500);
    leader.from(PEER, message(term, Payload::HeartbeatReply { round: 0, last: 0 }));
    assert_eq!(leader.sent(|payload| matches!(payload, Payload::Append { .. })), 1);
}

#[test]
fn a_leader_whose_disk_hangs_refuses_more_and_gives_way() {
    let mut settings = config();
    settings.uncommitted_bytes_max = 10_000;
    let recovered = Recovered { store: StoreId::new(THIS.into()), ..Recovered::default() };
    let mut leader = Alone::new(settings, recovered).lead();
    leader.durable = false;
    let term = leader.raft.status().term;
    for id in 0..200 {
        leader.handle(Input::Propose { id: ProposalId(id), command: Bytes::from(vec![0; 100]) });
        // The followers are quick: all is committed without this node's disk.
        let matched = leader.raft.status().last.index;
        leader.from(PEER, message(term, Payload::AppendAccepted { matched }));
        leader.from(OTHER, message_of(StoreId::new(3), term, Payload::AppendAccepted { matched }));
    }
    assert!(leader.failed().len() > 100, "what the disk owes is bounded: {}", leader.failed().len());
    for _ in 0..200 {
        leader.now += Duration::from_millis(60);
        leader.handle(Input::Deadline);
        leader.from(PEER, message(term, Payload::HeartbeatReply { round: 0, last: 0 }));
        leader.from(OTHER, message_of(StoreId::new(3), term, Payload::HeartbeatReply { round: 0, last: 0 }));
    }
    assert_ne!(leader.raft.status().role, RoleKind::Leader);
}

#[test]
fn answers_that_wait_for_a_hung_disk_do_not_pile_up() {
    let mut follower = Alone::founded();
    follower.durable = false;
    for round in 0..10_000 {
        follower.from(PEER, message(3, Payload::Heartbeat { commit: EntryId::ZERO, round }));
    }
    follower.outputs.clear();
    let written = follower.written.expect("the term is being written");
    follower.handle(Input::Persisted(written));
    let replies = follower.sent(|payload| matches!(payload, Payload::HeartbeatReply { .. }));
    assert_eq!(replies, 1);
}

#[test]
fn each_forwarded_proposal_is_answered_once_whatever_the_leader_says() {
    let mut follower = Alone::founded();
    follower.from(PEER, message(3, Payload::Heartbeat { commit: EntryId::ZERO, round: 0 }));
    for id in 0..3 {
        follower.handle(Input::Propose { id: ProposalId(id), command: Bytes::from_static(b"x") });
    }
    let boot = BootId::new(9);
    // Two forwards at one place, one beyond every log.
    for (sequence, first) in [(1, 7), (2, 7), (3, u64::MAX)] {
        follower.from(PEER, message(3, Payload::Forwarded { boot, sequence, first: Some(first) }));
    }
    let refusals = follower.outputs.iter().filter(|o| matches!(o, Output::Event(Event::Refused { .. })));
    assert_eq!(refusals.count(), 2);
    for _ in 0..200 {
        follower.now += Duration::from_millis(100);
        follower.handle(Input::Deadline);
    }
    let mut answered: Vec<_> = follower.failed().into_iter().map(|(id, _)| id).collect();
    answered.sort();
    assert_eq!(answered, [ProposalId(0), ProposalId(1), ProposalId(2)]);
}

#[test]
fn a_round_that_was_never_asked_for_confirms_nothing() {
    let mut leader = Alone::founded().lead();
    let term = leader.raft.status().term;
    leader.from(PEER, message(term, Payload::HeartbeatReply { round: u64::MAX, last: 2 }));
    leader.from(PEER, message(term, Payload::AppendAccepted { matched: 2 }));
    leader.handle(Input::Read { id: quorate_raft::ReadId(1) });
    assert!(!leader.outputs.iter().any(|output| matches!(output, Output::ReadReady { .. })));
    leader.from(PEER, message(term, Payload::HeartbeatReply { round: 1, last: 2 }));
    assert!(leader.outputs.iter().any(|output| matches!(output, Output::ReadReady { .. })));
}

#[test]
fn a_commit_names_its_entry() {
    let mut follower = Alone::founded();
    follower.from(PEER, message(3, Payload::Heartbeat { commit: EntryId::new(2, 1), round: 0 }));
    let status = follower.raft.status();
    assert_eq!((status.commit, status.last), (1, EntryId::new(0, 1)), "founded, and nothing more");
    follower.from(PEER, message(3, Payload::Commit { id: EntryId::new(3, 2) }));
    assert_eq!(follower.raft.status().commit, 1);
}

#[test]
fn a_snapshot_that_outran_the_log_restarts_it() {
    let mut recovered = compacted();
    recovered.before_first = EntryId::ZERO;
    recovered.last = 50;
    recovered.terms = vec![TermRun { first: 1, term: 1 }];
    let node = Alone::new(config(), recovered);
    let status = node.raft.status();
    assert_eq!((status.first, status.last), (101, EntryId::new(1, 100)));
    let restarts =
        |output: &Output| matches!(output, Output::Persist(write) if write.restart_after.is_some());
    assert!(node.outputs.iter().any(restarts));
}

#[test]
fn a_completion_that_comes_first_does_not_let_the_election_timer_run() {
    let mut follower = Alone::founded();
    follower.from(PEER, message(3, Payload::Heartbeat { commit: EntryId::ZERO, round: 0 }));
    // The process was paused; its inbox holds the leader's heartbeats behind a completion.
    follower.now += Duration::from_secs(2);
    follower.handle(Input::Applied(1));
    follower.from(PEER, message(3, Payload::Heartbeat { commit: EntryId::ZERO, round: 0 }));
    follower.handle(Input::Deadline);
    assert_eq!(follower.raft.status().role, RoleKind::Follower);
}
