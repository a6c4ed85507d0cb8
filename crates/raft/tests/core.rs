//! The core driven by hand: no runtime, no storage, no network; every write is durable at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{BootId, Core, NodeId, StoreId, Time};
use quorate_raft::{
    Config, EntryPayload, Input, Message, Output, ProposalId, ProposeError, Raft, ReadId, Recovered, RoleKind,
};

/// Nodes whose messages are delivered in order, at once, unless the link is cut.
struct Nodes {
    rafts: BTreeMap<NodeId, Raft>,
    now: Time,
    wires: VecDeque<(NodeId, NodeId, Message)>,
    cut: Vec<NodeId>,
    applied: BTreeMap<NodeId, Vec<Bytes>>,
    answers: Vec<(NodeId, ProposalId, Result<(), ProposeError>)>,
    reads: Vec<(NodeId, ReadId, bool)>,
    sent: usize,
}

impl Nodes {
    fn new(count: u64) -> Self {
        let rafts = (1..=count).map(|node| {
            let config = Config::new(node).bootstrap(1..=count);
            let recovered = Recovered { store: StoreId::new(node.into()), ..Recovered::default() };
            let raft =
                Raft::new(config, recovered, BootId::new(node), node, Time::ZERO).expect("the defaults work");
            (NodeId::new(node), raft)
        });
        Self {
            rafts: rafts.collect(),
            now: Time::ZERO,
            wires: VecDeque::new(),
            cut: Vec::new(),
            applied: BTreeMap::new(),
            answers: Vec::new(),
            reads: Vec::new(),
            sent: 0,
        }
    }

    fn raft(&mut self, node: NodeId) -> &mut Raft {
        self.rafts.get_mut(&node).expect("a node")
    }

    fn handle(&mut self, node: NodeId, input: Input) {
        let now = self.now;
        self.raft(node).handle(now, input);
        self.settle();
    }

    /// Carries out every output and delivers every message until nothing is left to do.
    fn settle(&mut self) {
        loop {
            let nodes: Vec<NodeId> = self.rafts.keys().copied().collect();
            for node in nodes {
                while let Some(output) = self.raft(node).poll() {
                    self.carry_out(node, output);
                }
            }
            let Some((from, to, message)) = self.wires.pop_front() else { break };
            if !self.cut.contains(&from) && !self.cut.contains(&to) {
                self.sent += 1;
                self.rafts.get_mut(&to).expect("a node").handle(self.now, Input::Message { from, message });
            }
        }
    }

    fn carry_out(&mut self, node: NodeId, output: Output) {
        let now = self.now;
        let raft = self.rafts.get_mut(&node).expect("a node");
        match output {
            Output::Send { to, message } => self.wires.push_back((node, to, message)),
            Output::Persist(write) => raft.handle(now, Input::Persisted(write.id)),
            Output::Apply(batch) => {
                let last = batch.last().expect("a batch is not empty").id.index;
                for committed in batch {
                    if let EntryPayload::Command(command) = committed.payload {
                        self.applied.entry(node).or_default().push(command);
                    }
                    if let Some(id) = committed.proposal {
                        self.answers.push((node, id, Ok(())));
                    }
                }
                raft.handle(now, Input::Applied(last));
            }
            Output::ProposalFailed { id, error } => self.answers.push((node, id, Err(error))),
            Output::ReadReady { id } => self.reads.push((node, id, true)),
            Output::ReadFailed { id, .. } => self.reads.push((node, id, false)),
            Output::Event(_) => {}
            other => panic!("not expected here: {other:?}"),
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let next = self.rafts.iter().filter_map(|(node, raft)| Some((raft.deadline()?, *node))).min();
            match next {
                Some((at, node)) if at <= end => {
                    self.now = self.now.max(at);
                    self.handle(node, Input::Deadline);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn leader(&self) -> NodeId {
        let leads = |raft: &&Raft| raft.status().role == RoleKind::Leader;
        let in_reach = |raft: &&Raft| !self.cut.contains(&raft.status().node);
        self.rafts.values().filter(in_reach).find(leads).expect("a leader").status().node
    }

    fn propose(&mut self, node: NodeId, id: u64) {
        let command = Bytes::from(format!("command {id}"));
        self.handle(node, Input::Propose { id: ProposalId(id), command });
    }
}

#[test]
fn one_node_alone_commits() {
    let mut nodes = Nodes::new(1);
    nodes.run(Duration::from_secs(1));
    let leader = nodes.leader();
    nodes.propose(leader, 1);
    assert_eq!(nodes.answers, [(leader, ProposalId(1), Ok(()))]);
    nodes.handle(leader, Input::Read { id: ReadId(1) });
    assert_eq!(nodes.reads, [(leader, ReadId(1), true)]);
}

#[test]
fn any_node_takes_proposals_and_reads() {
    let mut nodes = Nodes::new(3);
    nodes.run(Duration::from_secs(1));
    for node in 1..=3 {
        nodes.propose(NodeId::new(node), node);
        nodes.handle(NodeId::new(node), Input::Read { id: ReadId(node) });
    }
    nodes.run(Duration::from_millis(200));
    assert_eq!(nodes.answers.len(), 3);
    assert!(nodes.answers.iter().all(|(_, _, answer)| answer.is_ok()), "{:?}", nodes.answers);
    assert_eq!(nodes.reads.iter().filter(|read| read.2).count(), 3);
    let logs: Vec<_> = nodes.applied.values().collect();
    assert!(logs.len() == 3 && logs.iter().all(|log| log.len() == 3 && *log == logs[0]));
}

#[test]
fn a_leader_that_is_cut_off_steps_down_and_another_takes_over() {
    let mut nodes = Nodes::new(5);
    nodes.run(Duration::from_secs(1));
    let old = nodes.leader();
    nodes.cut.push(old);
    nodes.propose(old, 1);
    nodes.run(Duration::from_secs(2));
    assert_ne!(nodes.rafts[&old].status().role, RoleKind::Leader);
    let new = nodes.leader();
    nodes.propose(new, 2);
    nodes.cut.clear();
    nodes.run(Duration::from_secs(2));
    assert!(nodes.answers.contains(&(new, ProposalId(2), Ok(()))));
    // Another entry took its place in the log, so it is known that it never will be committed.
    assert!(nodes.answers.contains(&(old, ProposalId(1), Err(ProposeError::LeaderChanged))));
    let term = nodes.rafts[&new].status().term;
    assert!(nodes.rafts.values().all(|raft| raft.status().term == term));
}

#[test]
fn without_a_quorum_proposals_and_reads_end_in_time() {
    let mut nodes = Nodes::new(3);
    nodes.run(Duration::from_secs(1));
    let leader = nodes.leader();
    nodes.cut = nodes.rafts.keys().copied().filter(|node| *node != leader).collect();
    nodes.propose(leader, 1);
    nodes.handle(leader, Input::Read { id: ReadId(1) });
    nodes.run(Duration::from_secs(7));
    assert_eq!(nodes.answers, [(leader, ProposalId(1), Err(ProposeError::TimedOut))]);
    assert_eq!(nodes.reads, [(leader, ReadId(1), false)]);
    nodes.propose(leader, 2);
    nodes.run(Duration::from_secs(7));
    assert_eq!(nodes.answers[1], (leader, ProposalId(2), Err(ProposeError::NoLeader)));
}

#[test]
fn proposals_at_one_wake_up_share_a_write_and_a_broadcast() {
    let mut nodes = Nodes::new(3);
    nodes.run(Duration::from_secs(1));
    let leader = nodes.leader();
    let now = nodes.now;
    let raft = nodes.rafts.get_mut(&leader).unwrap();
    for id in 0..64 {
        let command = Bytes::from_static(b"x");
        raft.handle(now, Input::Propose { id: ProposalId(id), command });
    }
    let outputs: Vec<Output> = std::iter::from_fn(|| raft.poll()).collect();
    let writes = outputs.iter().filter(|output| matches!(output, Output::Persist(_))).count();
    let sends = outputs.iter().filter(|output| matches!(output, Output::Send { .. })).count();
    assert_eq!((writes, sends), (1, 2));
}
