use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use quorate_core::{BootId, Core, NodeId, Rng, Time};
use quorate_raft::{
    Committed, EntryId, EntryPayload, Input, Message, Output, Payload, ProposalId, Raft, ReadId, RoleKind,
    SnapshotMeta, Status, Storage, StorageError,
};
use quorate_sim::{Action, Event, Node, Start, Trace, Violation};

use super::clients::OperationId;
use super::disk::{Disk, Job};
use super::lines;
use super::machine::Machine;
use super::medium::Medium;
use super::options::Options;
use super::seen::{Answer, Seen};
use super::shadow::{Shadow, Written};

/// A node of the cluster: the core, and a driver made of delays.
pub struct Host {
    id: NodeId,
    raft: Raft,
    inbox: Vec<Input>,
    waking: bool,
    disk: Disk,
    machine: Machine,
    applier: VecDeque<Apply>,
    applying: bool,
    actions: VecDeque<Action<Self>>,
    seen: Vec<Seen>,
    memory: Shadow,
    wiped: bool,
    options: Rc<Options>,
    rng: Rng,
    trace: Trace,
}

/// What a host does later, or is asked for by a client.
#[derive(Debug)]
pub enum Task {
    /// The driver takes the inputs that wait.
    Wake,
    /// The storage writes what is queued.
    Write,
    /// The storage has synced what it wrote.
    Sync,
    /// The state machine does what is queued first.
    Apply,
    /// A client proposes a command.
    Propose(OperationId),
    /// A client reads.
    Read(OperationId),
}

enum Apply {
    Batch(Vec<Committed>),
    Restore(SnapshotMeta),
    Snapshot(EntryId),
    Read(ReadId),
}

impl Host {
    /// Starts a node, or starts it again from what its crash left.
    pub(super) fn start(start: Start<Self>, options: &Rc<Options>, trace: &Trace) -> Result<Self, Violation> {
        let Start { node: id, life, now, previous, mut rng } = start;
        let damaged = |error| Violation::new("storage recovers", format!("n{id}: {error}"));
        let lost = |detail| Violation::new("what was synced survives", format!("n{id}: {detail}"));
        let was_wiped = previous.as_ref().is_some_and(|previous| previous.wiped);
        let wipe = options.wipe.is_some_and(|(node, after)| node == id && now >= Time::ZERO + after);
        let wiped = was_wiped || (wipe && previous.is_some());
        let (opened, ledger) = match previous {
            Some(Self { disk: Disk { medium, ledger, .. }, .. }) if was_wiped || !wiped => {
                (medium.crash(options, &mut rng), Some(ledger))
            }
            _ => (Medium::create(options, &mut rng), None),
        };
        let (mut medium, recovered) = opened.map_err(damaged)?;
        let (first, end) = (recovered.before_first.index + 1, recovered.last + 1);
        let entries = medium.storage.entries(first, end, usize::MAX).map_err(damaged)?;
        let shadow = Shadow::recovered(&recovered, &entries);
        if let Some(ledger) = ledger {
            ledger.judge(&shadow).map_err(lost)?;
        }
        let mut config = options.config.clone();
        config.node = id;
        if !wiped {
            config = config.bootstrap(1..=options.nodes);
        }
        let boot = BootId::new(id.get() << 32 | life);
        let raft = Raft::new(config, recovered, boot, rng.next_u64(), now)
            .map_err(|error| Violation::new("the options are valid", error.to_string()))?;
        let mut host = Self {
            id,
            raft,
            inbox: Vec::new(),
            waking: false,
            disk: Disk::new(medium, shadow.clone()),
            machine: Machine::default(),
            applier: VecDeque::new(),
            applying: false,
            actions: VecDeque::new(),
            seen: Vec::new(),
            memory: shadow,
            wiped,
            options: Rc::clone(options),
            rng,
            trace: trace.clone(),
        };
        host.drain();
        Ok(host)
    }

    /// What it did in the event it handled last.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// How its core stands.
    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// What it has written, durable or not.
    pub fn memory(&self) -> &Shadow {
        &self.memory
    }

    /// What survives a crash for certain.
    pub fn durable(&self) -> &Shadow {
        &self.disk.ledger.durable
    }

    /// Its state machine.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Whether its disk was lost: it is a standby, and its word no longer counts.
    pub fn is_wiped(&self) -> bool {
        self.wiped
    }

    /// Whether nothing is queued in it.
    pub fn is_idle(&self) -> bool {
        !self.disk.busy && !self.disk.has_work() && self.applier.is_empty() && self.inbox.is_empty()
    }

    fn input(&mut self, now: Time, input: Input) {
        if self.options.wake_delay.is_zero() {
            self.raft.handle(now, input);
            return self.drain();
        }
        self.inbox.push(input);
        if !self.waking {
            self.waking = true;
            self.later(self.options.wake_delay, Task::Wake);
        }
    }

    fn task(&mut self, now: Time, task: Task) -> Result<(), Violation> {
        match task {
            Task::Wake => {
                self.waking = false;
                for input in std::mem::take(&mut self.inbox) {
                    self.raft.handle(now, input);
                }
                self.drain();
            }
            Task::Write => {
                self.fail_disk(now);
                let mut answers = Vec::new();
                let must_sync = match self.disk.write(&mut answers) {
                    Ok(must_sync) => must_sync,
                    Err(error) => return self.storage_failed(&error),
                };
                self.disk.busy = must_sync;
                if must_sync {
                    let delay = self.rng.duration(self.options.sync_delay.clone());
                    self.later(delay, Task::Sync);
                }
                for answer in answers {
                    self.input(now, answer);
                }
            }
            Task::Sync => {
                self.disk.busy = false;
                match self.disk.sync() {
                    Ok(Some(newest)) => self.input(now, Input::Persisted(newest)),
                    Ok(None) => {}
                    Err(error) => return self.storage_failed(&error),
                }
            }
            Task::Apply => {
                self.applying = false;
                if let Some(apply) = self.applier.pop_front() {
                    self.apply(now, apply)?;
                }
            }
            Task::Propose(operation) => {
                self.seen.push(Seen::Invoked { operation });
                let command = operation.command(&mut self.rng, self.options.command_padding);
                self.input(now, Input::Propose { id: ProposalId(operation.0), command });
            }
            Task::Read(operation) => {
                self.seen.push(Seen::Invoked { operation });
                self.input(now, Input::Read { id: ReadId(operation.0) });
            }
        }
        self.go_on();
        Ok(())
    }

    /// Lets the disk fail soon, at times: some way into what is being written, or at its sync.
    fn fail_disk(&mut self, now: Time) {
        let in_chaos = now < Time::ZERO + self.options.chaos;
        if in_chaos && self.rng.chance(self.options.disk_failures) {
            let disk = &self.disk.medium.disk;
            self.disk.expects_failure = true;
            disk.stop_after(disk.operations() + self.rng.range(0..8));
        }
    }

    /// A node whose storage has failed stops: it must not go on as if nothing had happened.
    fn storage_failed(&mut self, error: &StorageError) -> Result<(), Violation> {
        if !self.disk.expects_failure {
            return Err(Violation::new("storage works", format!("n{}: {error}", self.id)));
        }
        self.trace.line(|| format!("n{}        stops     {error}", self.id));
        let lasting = self.rng.duration(Duration::from_millis(1)..Duration::from_millis(500));
        self.actions.push_front(Action::Crash { lasting });
        Ok(())
    }

    fn apply(&mut self, now: Time, apply: Apply) -> Result<(), Violation> {
        let broken = |detail| Err(Violation::new("the state machine is driven in order", detail));
        match apply {
            Apply::Batch(batch) => {
                for committed in &batch {
                    let (last, id) = (self.machine.last, committed.id);
                    if id.index != last.index + 1 || id.term < last.term {
                        return broken(format!("n{} was given {id} to apply after {last}", self.id));
                    }
                    self.apply_one(committed);
                }
                self.input(now, Input::Applied(self.machine.last.index));
            }
            Apply::Restore(meta) => {
                let Some(Some(snapshot)) = self.disk.restored.pop_front() else {
                    return broken(format!("n{} has no snapshot to restore {}", self.id, meta.last));
                };
                let machine = Machine::restore(&snapshot.data).filter(|m| m.last == snapshot.meta.last);
                let Some(machine) = machine.filter(|machine| machine.last.index >= meta.last.index) else {
                    return broken(format!("n{} restored garbage for {}", self.id, meta.last));
                };
                self.machine = machine;
                self.seen.push(Seen::Restored { last: machine.last, history: machine.history });
                self.input(now, Input::Applied(machine.last.index));
            }
            Apply::Snapshot(last) => {
                if self.machine.last != last {
                    let at = self.machine.last;
                    return broken(format!("n{} was asked for a snapshot of {last} at {at}", self.id));
                }
                let data = self.machine.snapshot(self.options.snapshot_padding);
                self.input(now, Input::SnapshotTaken { last, data });
            }
            Apply::Read(id) => {
                let answer = Answer::Read(self.machine.last.index);
                self.seen.push(Seen::Answered { operation: OperationId(id.0), answer });
            }
        }
        Ok(())
    }

    fn apply_one(&mut self, committed: &Committed) {
        self.machine.apply(committed);
        let operation = match &committed.payload {
            EntryPayload::Command(command) => OperationId::of(command),
            _ => None,
        };
        let (id, history, proposal) = (committed.id, self.machine.history, committed.proposal);
        self.trace.mix(history);
        self.seen.push(Seen::Applied { id, history, operation, proposal });
        if let Some(proposal) = proposal {
            let answer = Answer::Written(id.index);
            self.seen.push(Seen::Answered { operation: OperationId(proposal.0), answer });
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.raft.poll() {
            self.output(output);
        }
        self.go_on();
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { to, message } => self.send(to, message),
            Output::Persist(write) => {
                let written = Written::of(&write);
                self.memory.write(&written);
                if let Some(from) = written.first() {
                    self.seen.push(Seen::Wrote { from });
                }
                self.trace.line(|| format!("n{}        persist   {}", self.id, lines::outline(&write)));
                self.disk.push(Job::Write(Box::new(write), written));
            }
            Output::Load(request) => self.disk.push(Job::Load(request)),
            Output::LoadSnapshot { to, offset, max_bytes } => {
                self.disk.push(Job::LoadSnapshot { to, offset, max_bytes });
            }
            Output::Apply(batch) => self.applier.push_back(Apply::Batch(batch)),
            Output::Restore(meta) => {
                self.applier.push_back(Apply::Restore(meta));
                self.disk.push(Job::Restore);
            }
            Output::TakeSnapshot { last } => self.applier.push_back(Apply::Snapshot(last)),
            Output::ReadReady { id } => self.applier.push_back(Apply::Read(id)),
            Output::ProposalFailed { id, error } => {
                self.trace.line(|| format!("n{}        failed    #{}: {error}", self.id, id.0));
                let answer = Answer::Failed(error.outcome());
                self.seen.push(Seen::Answered { operation: OperationId(id.0), answer });
            }
            Output::ReadFailed { id, error } => {
                let answer = Answer::Failed(error.outcome());
                self.seen.push(Seen::Answered { operation: OperationId(id.0), answer });
            }
            Output::Event(event) => {
                self.trace.line(|| format!("n{}        event     {event:?}", self.id));
                self.seen.push(Seen::Told(event));
            }
        }
    }

    fn send(&mut self, to: NodeId, message: Message) {
        let term = message.term;
        match &message.payload {
            Payload::VoteReply { granted: true } => self.seen.push(Seen::Voted { term, candidate: to }),
            Payload::Vote { .. } => self.seen.push(Seen::Voted { term, candidate: self.id }),
            Payload::AppendAccepted { matched } => {
                self.seen.push(Seen::Accepted { term, matched: *matched });
            }
            _ => {}
        }
        let message = if self.options.wire { lines::through_the_wire(message) } else { Ok(message) };
        self.actions.push_back(match message {
            Ok(message) => Action::Send { to, message },
            Err(violation) => Action::Fail(violation),
        });
    }

    fn go_on(&mut self) {
        if self.disk.has_work() {
            self.disk.busy = true;
            let delay = self.rng.duration(self.options.write_delay.clone());
            self.later(delay, Task::Write);
        }
        let is_ready = match self.applier.front() {
            None => false,
            Some(Apply::Restore(_)) => !self.disk.restored.is_empty(),
            Some(_) => true,
        };
        if !self.applying && is_ready {
            self.applying = true;
            let delay = match self.applier.front() {
                Some(Apply::Read(_)) => Duration::ZERO,
                _ => self.rng.duration(self.options.apply_delay.clone()),
            };
            self.later(delay, Task::Apply);
        }
    }

    fn later(&mut self, delay: Duration, task: Task) {
        self.actions.push_back(Action::After { delay, task });
    }
}

impl Node for Host {
    type Message = Message;
    type Task = Task;

    fn handle(&mut self, now: Time, event: Event<Self>) {
        self.seen.clear();
        match event {
            Event::Message { from, message } => self.input(now, Input::Message { from, message }),
            Event::Deadline => self.input(now, Input::Deadline),
            Event::Task(task) => {
                if let Err(violation) = self.task(now, task) {
                    self.actions.push_front(Action::Fail(violation));
                }
            }
        }
    }

    fn poll(&mut self) -> Option<Action<Self>> {
        self.actions.pop_front()
    }

    /// While the driver is about to wake up, it asks for nothing.
    fn deadline(&self) -> Option<Time> {
        if self.waking { None } else { self.raft.deadline() }
    }

    fn fingerprint(&self) -> u64 {
        self.raft.fingerprint() ^ self.machine.history
    }

    fn prominent(&self) -> bool {
        self.raft.status().role == RoleKind::Leader
    }

    fn describe(message: &Message) -> String {
        lines::describe(message)
    }
}
