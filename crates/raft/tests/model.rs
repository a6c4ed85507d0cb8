//! Every interleaving of a small scope, breadth-first, over the real core.
//!
//! Three nodes share a soup of messages: any message that was ever sent may be delivered to its receiver at
//! any time, any number of times, or never, which covers loss, duplication, delay and every order. Besides,
//! a timer may fire, a write may become durable, a node may crash and lose what was not durable, and a leader
//! may take a proposal. After each step the safety properties of Raft (figure 3) are checked. The search is
//! cut at a number of states, all nearer to the start than those it leaves out, and each test asserts that
//! what it is about was reached by then. The simulation goes deeper, along fewer paths.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use bytes::Bytes;
use quorate_core::{BootId, Core, Fingerprint, NodeId, StoreId, Time};
use quorate_raft::{
    Config, Entry, EntryId, EntryPayload, HardState, Index, Input, Message, Output, Payload, ProposalId,
    Raft, Recovered, RoleKind, Term, TermRun, Write, wire,
};

/// What the search may spend.
#[derive(Clone, Copy)]
struct Scope {
    terms: Term,
    proposals: u64,
    crashes: u64,
    states: usize,
}

/// A node with its disk: what is durable, and what is not yet.
#[derive(Clone)]
struct Node {
    raft: Raft,
    hard_state: HardState,
    log: Vec<Entry>,
    pending: VecDeque<Write>,
    boots: u64,
}

#[derive(Clone)]
struct State {
    nodes: Vec<Node>,
    /// All that was ever sent: (to, from, encoded).
    soup: BTreeMap<(usize, usize, Vec<u8>), Message>,
    /// What was committed anywhere, by index: the truth that nothing may contradict.
    committed: BTreeMap<Index, EntryId>,
    leaders: BTreeMap<Term, usize>,
    proposals: u64,
    crashes: u64,
    path: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Deliver { from: usize, to: usize, message: String },
    Timer(usize),
    Persist(usize),
    Crash(usize),
    Propose(usize),
}

impl Node {
    fn new(id: u64) -> Self {
        let mut node = Self {
            raft: raft(id, 0, Recovered { store: StoreId::new(id.into()), ..Recovered::default() }),
            hard_state: HardState::default(),
            log: Vec::new(),
            pending: VecDeque::new(),
            boots: 0,
        };
        // Founding is over before the search begins.
        while let Some(output) = node.raft.poll() {
            if let Output::Persist(write) = output {
                node.store(&write);
                node.raft.handle(Time::ZERO, Input::Persisted(write.id));
            }
        }
        node
    }

    fn store(&mut self, write: &Write) {
        assert!(write.snapshot.is_none(), "no snapshots in this scope");
        if let Some(hard_state) = &write.hard_state {
            self.hard_state = hard_state.clone();
        }
        if let Some(from) = write.truncate_from {
            self.log.retain(|entry| entry.id.index < from);
        }
        self.log.extend(write.entries.iter().cloned());
    }

    fn crash(&mut self, id: u64) {
        self.pending.clear();
        self.boots += 1;
        let mut terms: Vec<TermRun> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.log {
            if terms.last().is_none_or(|run| run.term != entry.id.term) {
                terms.push(TermRun { first: entry.id.index, term: entry.id.term });
            }
            if let EntryPayload::Membership(membership) = &entry.payload {
                memberships.push((entry.id.index, membership.clone()));
            }
        }
        let recovered = Recovered {
            store: StoreId::new(id.into()),
            hard_state: self.hard_state.clone(),
            last: self.log.len() as u64,
            terms,
            memberships,
            ..Recovered::default()
        };
        self.raft = raft(id, self.boots, recovered);
    }
}

fn raft(id: u64, boots: u64, recovered: Recovered) -> Raft {
    let mut config = Config::new(id).bootstrap([1u64, 2, 3]);
    // Both only ever refuse; without them the search reaches more.
    config.pre_vote = false;
    config.check_quorum = false;
    Raft::new(config, recovered, BootId::new(id * 100 + boots), id, Time::ZERO)
        .expect("the configuration works")
}

impl State {
    fn new() -> Self {
        Self {
            nodes: (1..=3).map(Node::new).collect(),
            soup: BTreeMap::new(),
            committed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            proposals: 0,
            crashes: 0,
            path: Vec::new(),
        }
    }

    /// The first node leads in term 1, and all it said so far was heard by nobody else.
    fn led() -> Self {
        let mut state = Self::new();
        state.take(&Step::Timer(0));
        for _ in 0..20 {
            for at in 0..3 {
                while !state.nodes[at].pending.is_empty() {
                    state.take(&Step::Persist(at));
                }
            }
            let votes = state.soup.iter().find(|(_, message)| {
                matches!(message.payload, Payload::Vote { .. } | Payload::VoteReply { .. })
            });
            let Some((key, message)) = votes.map(|(key, message)| (key.clone(), message.clone())) else {
                break;
            };
            state.soup.remove(&key);
            state.input(key.0, Input::Message { from: NodeId::new(key.1 as u64 + 1), message });
        }
        assert_eq!(state.nodes[0].raft.status().role, RoleKind::Leader);
        state
    }

    fn fingerprint(&self) -> u64 {
        let mut state = Fingerprint::default();
        for node in &self.nodes {
            node.raft.fingerprint().hash(&mut state);
            node.log.iter().for_each(|entry| entry.id.hash(&mut state));
            for write in &node.pending {
                write.entries.iter().for_each(|entry| entry.id.hash(&mut state));
                (write.truncate_from, write.hard_state.as_ref().map(|hard| (hard.term, hard.vote)))
                    .hash(&mut state);
            }
            (node.hard_state.term, node.hard_state.vote, node.hard_state.stores.len()).hash(&mut state);
        }
        for (to, from, bytes) in self.soup.keys() {
            (to, from).hash(&mut state);
            state.write(bytes);
        }
        (self.proposals, self.crashes).hash(&mut state);
        state.finish()
    }

    fn steps(&self, scope: Scope) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let status = node.raft.status();
            if status.role != RoleKind::Leader && status.term < scope.terms {
                steps.push(Step::Timer(at));
            }
            if !node.pending.is_empty() {
                steps.push(Step::Persist(at));
            }
            if self.crashes < scope.crashes {
                steps.push(Step::Crash(at));
            }
            if status.role == RoleKind::Leader && self.proposals < scope.proposals {
                steps.push(Step::Propose(at));
            }
        }
        steps
    }

    /// Every state that one step leads to.
    fn successors(&self, scope: Scope) -> Vec<State> {
        let mut next = Vec::new();
        for step in self.steps(scope) {
            let mut state = self.clone();
            state.take(&step);
            state.path.push(step);
            next.push(state);
        }
        for ((to, from, _), message) in &self.soup {
            let mut state = self.clone();
            let step = Step::Deliver { from: *from, to: *to, message: format!("{:?}", message.payload) };
            let from = NodeId::new(*from as u64 + 1);
            state.input(*to, Input::Message { from, message: message.clone() });
            state.path.push(step);
            next.push(state);
        }
        next
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Timer(at) => {
                let deadline = self.nodes[at].raft.deadline().expect("a voter has a deadline");
                self.nodes[at].raft.handle(deadline, Input::Deadline);
                self.settle(at);
            }
            Step::Persist(at) => {
                let write = self.nodes[at].pending.pop_front().expect("it was there");
                self.nodes[at].store(&write);
                self.input(at, Input::Persisted(write.id));
            }
            Step::Crash(at) => {
                self.crashes += 1;
                self.nodes[at].crash(at as u64 + 1);
                self.settle(at);
            }
            Step::Propose(at) => {
                self.proposals += 1;
                let command = Bytes::from(format!("{}", self.proposals));
                self.input(at, Input::Propose { id: ProposalId(self.proposals), command });
            }
            Step::Deliver { .. } => unreachable!("taken in successors"),
        }
    }

    fn input(&mut self, at: usize, input: Input) {
        let now = Time::ZERO;
        self.nodes[at].raft.handle(now, input);
        self.settle(at);
    }

    fn settle(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].raft.poll() {
            match output {
                Output::Send { to, message } => {
                    let (head, payloads) = wire::encode(&message);
                    let bytes = [head.to_vec(), payloads.concat()].concat();
                    self.soup.insert((to.get() as usize - 1, at, bytes), message);
                }
                Output::Persist(write) => self.nodes[at].pending.push_back(write),
                Output::Apply(batch) => {
                    for committed in batch {
                        self.check_committed(committed.id);
                    }
                }
                _ => {}
            }
        }
        self.check_leader(at);
    }

    /// State-machine safety: no two nodes apply different entries at one index.
    fn check_committed(&mut self, id: EntryId) {
        let known = *self.committed.entry(id.index).or_insert(id);
        assert_eq!(known, id, "two entries committed at one index\n{}", self.story());
    }

    /// Election safety and leader completeness.
    fn check_leader(&mut self, at: usize) {
        let status = self.nodes[at].raft.status();
        if status.role != RoleKind::Leader {
            return;
        }
        let known = *self.leaders.entry(status.term).or_insert(at);
        assert_eq!(known, at, "two leaders in term {}\n{}", status.term, self.story());
        let node = &self.nodes[at];
        let written = node.pending.iter().flat_map(|write| &write.entries);
        let log: BTreeMap<Index, EntryId> =
            node.log.iter().chain(written).map(|entry| (entry.id.index, entry.id)).collect();
        for (index, id) in &self.committed {
            assert_eq!(log.get(index), Some(id), "a leader lacks what is committed\n{}", self.story());
        }
    }

    fn story(&self) -> String {
        self.path.iter().map(|step| format!("{step:?}\n")).collect()
    }
}

/// Searches the scope; returns how many states there were, and what was reached in them.
fn explore(start: State, scope: Scope) -> (usize, BTreeSet<&'static str>) {
    let mut seen: HashSet<u64, BuildHasherDefault<Fingerprint>> = HashSet::default();
    let mut queue = VecDeque::from([start]);
    let mut reached = BTreeSet::new();
    seen.insert(queue[0].fingerprint());
    while let Some(state) = queue.pop_front() {
        if seen.len() >= scope.states {
            reached.insert("limit");
            break;
        }
        for next in state.successors(scope) {
            if seen.insert(next.fingerprint()) {
                note(&next, &mut reached);
                queue.push_back(next);
            }
        }
    }
    (seen.len(), reached)
}

fn note(state: &State, reached: &mut BTreeSet<&'static str>) {
    if state.leaders.len() >= 2 {
        reached.insert("two reigns");
    }
    if state.committed.len() >= 2 {
        reached.insert("a commit");
    }
    if state.crashes > 0 && !state.leaders.is_empty() {
        reached.insert("a crash under a leader");
    }
}

#[test]
fn elections_and_crashes_are_safe_in_every_order() {
    let (states, reached) =
        explore(State::new(), Scope { terms: 2, proposals: 0, crashes: 1, states: 60_000 });
    assert!(reached.contains("a crash under a leader"), "{states} states, {reached:?}");
}

#[test]
fn a_first_entry_is_committed_safely_in_every_order() {
    let (states, reached) =
        explore(State::led(), Scope { terms: 1, proposals: 1, crashes: 0, states: 60_000 });
    assert!(reached.contains("a commit"), "{states} states, {reached:?}");
}
