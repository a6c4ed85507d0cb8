use std::rc::Rc;
use std::time::Duration;

use quorate_core::{NodeId, Outcome, Rng};
use quorate_raft::RoleKind;
use quorate_sim::{Run, Step, StepKind, Violation, World};

use super::clients::OperationId;
use super::history::History;
use super::host::{Host, Task};
use super::options::Options;
use super::seen::{Answer, Seen};

/// A cluster with its clients.
pub struct Cluster {
    /// The nodes and their network.
    pub world: World<Host>,
    /// What the clients asked, and what they were told.
    pub history: History,
    options: Rc<Options>,
    rng: Rng,
    operations: u64,
}

/// A cluster that has not been started. `invariants` adds what is to be checked.
pub fn cluster(run: &mut Run, options: Options, invariants: impl FnOnce(&mut World<Host>)) -> Cluster {
    let options = Rc::new(options);
    let (trace, for_hosts) = (run.trace.clone(), Rc::clone(&options));
    let mut world =
        World::new(&mut run.swarm, &run.trace, move |start| Host::start(start, &for_hosts, &trace));
    let history = History::default();
    let noted = history.clone();
    world.invariant("answers come once", move |world, step| noted.note(world, step));
    invariants(&mut world);
    Cluster { world, history, options, rng: run.swarm.rng().fork(), operations: 0 }
}

/// The whole run: chaos with clients, then quiet, in which everything must come to its end.
///
/// # Errors
///
/// The promise that was broken.
pub fn simulate(run: &mut Run, invariants: impl FnOnce(&mut World<Host>)) -> Result<(), Violation> {
    let options = Options::draw(&mut run.swarm);
    let mut cluster = cluster(run, options, invariants);
    cluster.start()?;
    cluster.chaos()?;
    cluster.world.heal()?;
    cluster.settle()
}

impl Cluster {
    /// Starts all nodes.
    ///
    /// # Errors
    ///
    /// What was broken at once.
    pub fn start(&mut self) -> Result<(), Violation> {
        (1..=self.options.nodes).try_for_each(|node| self.world.add(node))
    }

    /// Lets the faults loose and the clients work, for as long as the options say.
    ///
    /// # Errors
    ///
    /// What was broken.
    pub fn chaos(&mut self) -> Result<(), Violation> {
        self.world.unleash(self.options.faults.clone());
        let end = self.world.now() + self.options.chaos;
        while self.world.now() < end {
            let interval = self.options.client_interval;
            let next = self.world.now() + self.rng.duration(interval / 2..interval * 3 / 2);
            self.world.run_until(next.min(end))?;
            let nodes: Vec<_> = self.world.alive().map(|(id, _)| id).collect();
            if nodes.is_empty() {
                continue;
            }
            for _ in 0..self.rng.range(1..self.options.burst_max + 1) {
                let node = nodes[self.rng.index(nodes.len())];
                let reads = self.rng.chance(300_000);
                self.ask(node, if reads { Task::Read } else { Task::Propose });
            }
        }
        Ok(())
    }

    /// Demands what must come in a quiet network: a leader, an answer to everything, one state everywhere.
    ///
    /// # Errors
    ///
    /// What was broken, or did not come.
    pub fn settle(&mut self) -> Result<(), Violation> {
        // What was held up in the chaos may still arrive, and unseat a leader.
        let straggled = self.world.now() + self.options.faults.link.straggle_max + SETTLE;
        self.world.run_until(straggled)?;
        if !self.world.alive().any(|(_, host)| host.status().role == RoleKind::Leader) {
            return Err(late("no leader"));
        }
        self.converge(&[])?;
        // Whoever is caught up must be able to work, on whatever node a client asks.
        let nodes: Vec<_> = self.world.nodes().collect();
        let last: Vec<_> = nodes
            .iter()
            .flat_map(|node| [self.ask(*node, Task::Propose), self.ask(*node, Task::Read)])
            .collect();
        self.converge(&last)?;
        // A follower that gets a snapshot instead of entries can't tell what became of its proposals.
        let keeps_few = self.options.config.snapshot_keep_entries < 50;
        for id in last {
            let answer = self.history.answer(id);
            if let Some(Answer::Failed(outcome)) = answer.filter(|a| !keeps_few || *a != UNKNOWN) {
                return Err(late(&format!("operation {} on a quiet cluster ended as {outcome}", id.0)));
            }
        }
        self.world.trace().mix(self.history.succeeded() as u64);
        Ok(())
    }

    /// Waits until all is answered, these operations among it, and all nodes have the same state.
    fn converge(&mut self, asked: &[OperationId]) -> Result<(), Violation> {
        let limit = self.world.now() + CONVERGE;
        let history = &self.history;
        let converged = self.world.run_while(limit, |world| {
            asked.iter().all(|id| history.answer(*id).is_some())
                && history.open().is_none()
                && is_converged(world)
        })?;
        if converged {
            return Ok(());
        }
        let open = self.history.open().map(|id| format!("operation {} waits; ", id.0)).unwrap_or_default();
        let lost = asked.iter().find(|id| self.history.answer(**id).is_none());
        let lost = lost.map(|id| format!("operation {} has no answer; ", id.0)).unwrap_or_default();
        let state = |host: &Host| format!("{:?} {:?} idle {}", host.status(), host.machine(), host.is_idle());
        let states: Vec<_> = self.world.alive().map(|(_, host)| state(host)).collect();
        Err(late(&format!("{open}{lost}{}", states.join(" "))))
    }

    /// Has a client ask a node for something, now.
    pub fn ask(&mut self, node: NodeId, what: impl FnOnce(OperationId) -> Task) -> OperationId {
        self.operations += 1;
        let operation = OperationId(self.operations);
        self.world.task(node, Duration::ZERO, what(operation));
        operation
    }
}

/// What the host of this step did in it.
pub fn seen<'w>(world: &'w World<Host>, step: &Step) -> &'w [Seen] {
    match (step.kind, step.node.and_then(|node| world.node(node))) {
        (StepKind::Crashed, _) | (_, None) => &[],
        (_, Some(host)) => host.seen(),
    }
}

fn is_converged(world: &World<Host>) -> bool {
    let mut machines = world.alive().map(|(_, host)| host.machine());
    let Some(first) = machines.next() else { return false };
    machines.all(|machine| machine == first)
        && world.alive().all(|(_, host)| host.is_idle() && host.status().last == first.last)
}

fn late(what: &str) -> Violation {
    Violation::new("the cluster recovers", what)
}

const UNKNOWN: Answer = Answer::Failed(Outcome::Unknown);
/// After what was held up has arrived, a leader must stand for good.
const SETTLE: Duration = Duration::from_secs(6);
/// The slowest log must be caught up by then, one snapshot of small pieces included.
const CONVERGE: Duration = Duration::from_secs(180);
