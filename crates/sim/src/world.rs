mod nemesis;
mod step;

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::{NodeId, Rng, Time};

pub use self::step::{Step, StepKind};

use crate::faults::Faults;
use crate::network::{Link, Network};
use crate::node::{Action, Event, Node, Start};
use crate::queue::Queue;
use crate::swarm::Swarm;
use crate::trace::Trace;
use crate::violation::Violation;

/// A cluster in one thread: nodes, a network, and a clock that jumps from event to event.
///
/// Two events of the same moment happen in the order in which they were scheduled, and every draw comes from
/// the seed: a run can be repeated exactly, on any machine.
pub struct World<N: Node> {
    now: Time,
    queue: Queue<Item<N>>,
    slots: BTreeMap<NodeId, Slot<N>>,
    network: Network,
    faults: Option<Faults>,
    // Counts the reigns of faults, so that a fault that was scheduled before a heal does not strike after it.
    reign: u64,
    cuts: u64,
    start: Box<StartFn<N>>,
    invariants: Vec<(&'static str, Box<InvariantFn<N>>)>,
    rng: Rng,
    trace: Trace,
    // How many events have happened in this very instant: a world in which time stands still is broken.
    instant_events: u32,
}

type StartFn<N> = dyn FnMut(Start<N>) -> Result<N, Violation>;
type InvariantFn<N> = dyn FnMut(&World<N>, &Step) -> Result<(), String>;

struct Slot<N> {
    node: N,
    up: bool,
    life: u64,
    paused_until: Time,
    // The earliest timer in the queue for this node; later ones are stale.
    timer: Time,
}

enum Item<N: Node> {
    Message { from: NodeId, to: NodeId, message: N::Message },
    Task { node: NodeId, life: u64, task: N::Task },
    Timer { node: NodeId, life: u64 },
    Fault { reign: u64, fault: nemesis::Fault },
}

impl<N: Node> World<N> {
    /// An empty world. `start` makes a node, at first and after each crash.
    pub fn new(
        swarm: &mut Swarm,
        trace: &Trace,
        start: impl FnMut(Start<N>) -> Result<N, Violation> + 'static,
    ) -> Self {
        let mut rng = swarm.rng().fork();
        Self {
            now: Time::ZERO,
            queue: Queue::new(),
            slots: BTreeMap::new(),
            network: Network::new(Link::quiet(), rng.fork()),
            faults: None,
            reign: 0,
            cuts: 0,
            start: Box::new(start),
            invariants: Vec::new(),
            rng,
            trace: trace.clone(),
            instant_events: 0,
        }
    }

    /// Has `check` called after each event: an error ends the run with a [`Violation`] of this name. Checks
    /// are called in the order in which they were added.
    pub fn invariant(
        &mut self,
        name: &'static str,
        check: impl FnMut(&World<N>, &Step) -> Result<(), String> + 'static,
    ) {
        self.invariants.push((name, Box::new(check)));
    }

    /// Adds a node and starts it.
    ///
    /// # Errors
    ///
    /// What `start` said, or an invariant.
    pub fn add(&mut self, node: impl Into<NodeId>) -> Result<(), Violation> {
        self.start(node.into())
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The trace.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The network, for faults that the test makes itself.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// The names of all nodes, those that are down included.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.slots.keys().copied()
    }

    /// All nodes that are up.
    pub fn alive(&self) -> impl Iterator<Item = (NodeId, &N)> {
        self.slots.iter().filter(|(_, slot)| slot.up).map(|(id, slot)| (*id, &slot.node))
    }

    /// A node, up or down: one that is down is as it was when it crashed.
    pub fn node(&self, node: NodeId) -> Option<&N> {
        self.slots.get(&node).map(|slot| &slot.node)
    }

    /// Whether a node is up.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.slots.get(&node).is_some_and(|slot| slot.up)
    }

    /// Gives a node a task, after `delay`; lost if the node is down now or crashes before.
    pub fn task(&mut self, node: NodeId, delay: Duration, task: N::Task) {
        if let Some(slot) = self.slots.get(&node).filter(|slot| slot.up) {
            self.queue.push(self.now + delay, Item::Task { node, life: slot.life, task });
        }
    }

    /// Runs until `limit`.
    ///
    /// # Errors
    ///
    /// The first promise that was broken; the world stops there.
    pub fn run_until(&mut self, limit: Time) -> Result<(), Violation> {
        while self.step(limit)? {}
        Ok(())
    }

    /// Runs until `done`, asked before each event, says so: true; or until `limit`: false.
    ///
    /// # Errors
    ///
    /// As [`run_until`](World::run_until).
    pub fn run_while(
        &mut self,
        limit: Time,
        mut done: impl FnMut(&World<N>) -> bool,
    ) -> Result<bool, Violation> {
        loop {
            if done(self) {
                return Ok(true);
            }
            if !self.step(limit)? {
                return Ok(false);
            }
        }
    }

    /// The next event, if there is one by `limit`; otherwise the time is `limit`, and the answer false.
    ///
    /// # Errors
    ///
    /// As [`run_until`](World::run_until).
    pub fn step(&mut self, limit: Time) -> Result<bool, Violation> {
        let Some((at, item)) = self.queue.pop(limit) else {
            self.now = self.now.max(limit);
            return Ok(false);
        };
        if at > self.now {
            self.now = at;
            self.instant_events = 0;
        }
        self.instant_events += 1;
        if self.instant_events > INSTANT_EVENTS_MAX {
            return Err(Violation::new(
                "time passes",
                format!("{INSTANT_EVENTS_MAX} events in one instant: something asks for itself without end"),
            ));
        }
        match item {
            Item::Message { from, to, message } => self.deliver(from, to, message)?,
            Item::Task { node, life, task } => self.run_task(node, life, task)?,
            Item::Timer { node, life } => self.run_timer(at, node, life)?,
            Item::Fault { reign, fault } => {
                if reign == self.reign {
                    self.strike(fault)?;
                }
            }
        }
        Ok(true)
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, message: N::Message) -> Result<(), Violation> {
        let passes = self.network.passes(from, to);
        let Some(slot) = self.slots.get(&to).filter(|slot| slot.up && passes) else {
            self.trace.line(|| format!("n{from} -> n{to}  lost      {}", N::describe(&message)));
            return Ok(());
        };
        if slot.paused_until > self.now {
            self.queue.push(slot.paused_until, Item::Message { from, to, message });
            return Ok(());
        }
        self.trace.line(|| format!("n{from} -> n{to}  deliver   {}", N::describe(&message)));
        self.handle(to, StepKind::Message { from }, Event::Message { from, message })
    }

    fn run_task(&mut self, node: NodeId, life: u64, task: N::Task) -> Result<(), Violation> {
        let Some(slot) = self.slots.get(&node).filter(|slot| slot.up && slot.life == life) else {
            return Ok(());
        };
        if slot.paused_until > self.now {
            self.queue.push(slot.paused_until, Item::Task { node, life, task });
            return Ok(());
        }
        self.trace.line(|| format!("n{node}        task      {task:?}"));
        self.handle(node, StepKind::Task, Event::Task(task))
    }

    fn run_timer(&mut self, at: Time, node: NodeId, life: u64) -> Result<(), Violation> {
        let Some(slot) = self.slots.get_mut(&node).filter(|slot| slot.up && slot.life == life) else {
            return Ok(());
        };
        if slot.timer != at {
            return Ok(());
        }
        slot.timer = Time::MAX;
        if slot.paused_until > self.now {
            slot.timer = slot.paused_until;
            self.queue.push(slot.timer, Item::Timer { node, life });
            return Ok(());
        }
        // A deadline that has moved on since the timer was set leaves the timer in the queue until it is due,
        // because deadlines move with nearly every message.
        if slot.node.deadline().is_none_or(|deadline| deadline > self.now) {
            self.set_timer(node);
            return Ok(());
        }
        self.trace.line(|| format!("n{node}        deadline"));
        self.handle(node, StepKind::Deadline, Event::Deadline)
    }

    fn handle(&mut self, id: NodeId, kind: StepKind, event: Event<N>) -> Result<(), Violation> {
        let now = self.now;
        self.trace.event(now, kind.code(), id.get());
        let mut rises = false;
        if let Some(slot) = self.slots.get_mut(&id) {
            let before = slot.node.prominent();
            slot.node.handle(now, event);
            rises = !before && slot.node.prominent();
        }
        if rises {
            self.plot(id);
        }
        self.drain(id)?;
        self.check(Step { at: now, node: Some(id), kind })
    }

    fn drain(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Ok(());
        };
        let mut polled = 0;
        while let Some(action) = slot.node.poll() {
            polled += 1;
            if polled > POLLS_MAX {
                let detail = format!("n{id} gave {POLLS_MAX} outputs to one event");
                return Err(Violation::new("polling ends", detail));
            }
            match action {
                Action::Send { to, message } => {
                    let [first, second] = self.network.arrivals(self.now, id, to);
                    if first.is_none() {
                        self.trace.line(|| format!("n{id} -> n{to}  dropped   {}", N::describe(&message)));
                    }
                    if let Some(at) = second {
                        self.queue.push(at, Item::Message { from: id, to, message: message.clone() });
                    }
                    if let Some(at) = first {
                        self.queue.push(at, Item::Message { from: id, to, message });
                    }
                }
                Action::After { delay, task } => {
                    self.queue.push(self.now + delay, Item::Task { node: id, life: slot.life, task });
                }
                Action::Crash { lasting } => return self.crash_for(id, lasting),
                Action::Fail(violation) => return Err(violation),
            }
        }
        if self.trace.events() % STATE_HASH_EVERY == 0 {
            self.trace.mix(slot.node.fingerprint());
        }
        self.set_timer(id);
        Ok(())
    }

    fn set_timer(&mut self, id: NodeId) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if let Some(deadline) = slot.node.deadline() {
            let at = deadline.max(self.now);
            if at < slot.timer {
                slot.timer = at;
                self.queue.push(at, Item::Timer { node: id, life: slot.life });
            }
        }
    }

    fn check(&mut self, step: Step) -> Result<(), Violation> {
        let mut invariants = std::mem::take(&mut self.invariants);
        let mut result = Ok(());
        for (name, check) in &mut invariants {
            if let Err(detail) = check(self, &step) {
                self.trace.line(|| format!("VIOLATED  {name}: {detail}"));
                result = Err(Violation::new(*name, detail));
                break;
            }
        }
        self.invariants = invariants;
        result
    }
}

/// More events than this without time passing, and the run has failed. Every node of a large cluster may have
/// some at one moment; an endless loop has any number.
const INSTANT_EVENTS_MAX: u32 = 100_000;
/// More outputs to one event than this, and the run has failed.
const POLLS_MAX: u32 = 1_000_000;
/// After how many events a node's fingerprint goes into the trace hash: it costs as much as the state is large.
const STATE_HASH_EVERY: u64 = 64;
