//! What the simulator promises, with nodes so small that every step can be foretold.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use quorate_core::{NodeId, Time};
use quorate_sim::{
    Action, Coup, Event, Faults, Node, Partition, PartitionKind, Run, Seeds, Swarm, Trace, Victim, Violation,
    World,
};

/// Writes down what it is told, and does what its tasks say.
struct Scribe {
    id: NodeId,
    heard: Rc<RefCell<Vec<(Time, NodeId, String)>>>,
    actions: VecDeque<Action<Self>>,
    wake: Option<Time>,
}

#[derive(Clone, Debug)]
enum Order {
    Note(&'static str),
    Send(u64, &'static str),
    After(u64, &'static str),
    WakeAt(u64),
    WakeForEver,
}

impl Node for Scribe {
    type Message = &'static str;
    type Task = Order;

    fn handle(&mut self, now: Time, event: Event<Self>) {
        let note = |text: String| self.heard.borrow_mut().push((now, self.id, text));
        match event {
            Event::Message { from, message } => note(format!("{message} from {from}")),
            Event::Deadline => {
                note("deadline".into());
                self.wake = self.wake.filter(|wake| *wake == Time::ZERO);
            }
            Event::Task(Order::Note(text)) => note(text.into()),
            Event::Task(Order::Send(to, message)) => {
                self.actions.push_back(Action::Send { to: NodeId::new(to), message });
            }
            Event::Task(Order::After(millis, text)) => {
                let delay = Duration::from_millis(millis);
                self.actions.push_back(Action::After { delay, task: Order::Note(text) });
            }
            Event::Task(Order::WakeAt(millis)) => self.wake = Some(Time::from_millis(millis)),
            Event::Task(Order::WakeForEver) => self.wake = Some(Time::ZERO),
        }
    }

    fn poll(&mut self) -> Option<Action<Self>> {
        self.actions.pop_front()
    }

    fn deadline(&self) -> Option<Time> {
        self.wake
    }

    fn prominent(&self) -> bool {
        self.wake.is_some()
    }
}

type Heard = Rc<RefCell<Vec<(Time, NodeId, String)>>>;

fn world(nodes: u64) -> (World<Scribe>, Heard) {
    let heard = Heard::default();
    let shared = heard.clone();
    let mut world = World::new(&mut Swarm::from_seed(1), &Trace::new(0), move |start| {
        let heard = shared.clone();
        Ok(Scribe { id: start.node, heard, actions: VecDeque::new(), wake: None })
    });
    (1..=nodes).for_each(|node| world.add(node).expect("a node starts"));
    (world, heard)
}

fn texts(heard: &Heard) -> Vec<String> {
    heard.borrow().iter().map(|(_, node, text)| format!("n{node} {text}")).collect()
}

fn run_for(world: &mut World<Scribe>, millis: u64) {
    world.run_until(world.now() + Duration::from_millis(millis)).expect("no promise is broken");
}

fn order(world: &mut World<Scribe>, node: u64, order: Order) {
    world.task(NodeId::new(node), Duration::ZERO, order);
}

#[test]
fn one_moment_keeps_the_order_of_scheduling() {
    let (mut world, heard) = world(2);
    order(&mut world, 2, Order::Note("a"));
    order(&mut world, 1, Order::Note("b"));
    order(&mut world, 2, Order::Note("c"));
    run_for(&mut world, 1);
    assert_eq!(texts(&heard), ["n2 a", "n1 b", "n2 c"]);
}

#[test]
fn a_quiet_network_loses_nothing_and_keeps_the_order() {
    let (mut world, heard) = world(2);
    for text in ["a", "b", "c", "d"] {
        order(&mut world, 1, Order::Send(2, text));
    }
    run_for(&mut world, 10);
    assert_eq!(texts(&heard), ["n2 a from 1", "n2 b from 1", "n2 c from 1", "n2 d from 1"]);
}

#[test]
fn a_cut_link_loses_what_is_sent_and_what_is_under_way() {
    let (mut world, heard) = world(2);
    order(&mut world, 1, Order::Send(2, "under way"));
    world.step(Time::MAX).unwrap();
    let cuts = [(NodeId::new(1), NodeId::new(2))].into();
    world.network().cut(0, Partition { kind: PartitionKind::OneWay, cuts });
    order(&mut world, 1, Order::Send(2, "cut"));
    order(&mut world, 2, Order::Send(1, "the other way"));
    run_for(&mut world, 10);
    world.heal().unwrap();
    order(&mut world, 1, Order::Send(2, "healed"));
    run_for(&mut world, 10);
    assert_eq!(texts(&heard), ["n1 the other way from 2", "n2 healed from 1"]);
}

#[test]
fn a_crash_forgets_tasks_and_deadlines() {
    let (mut world, heard) = world(1);
    order(&mut world, 1, Order::After(5, "before the crash"));
    order(&mut world, 1, Order::WakeAt(5));
    run_for(&mut world, 1);
    world.crash(NodeId::new(1)).unwrap();
    order(&mut world, 1, Order::Note("while it is down"));
    world.start(NodeId::new(1)).unwrap();
    order(&mut world, 1, Order::Note("after the crash"));
    run_for(&mut world, 10);
    assert_eq!(texts(&heard), ["n1 after the crash"]);
}

#[test]
fn a_node_that_stands_still_catches_up_in_order() {
    let (mut world, heard) = world(2);
    world.pause(NodeId::new(2), Duration::from_millis(50));
    order(&mut world, 2, Order::Note("first"));
    order(&mut world, 1, Order::Send(2, "second"));
    run_for(&mut world, 10);
    assert!(heard.borrow().is_empty());
    run_for(&mut world, 50);
    assert_eq!(texts(&heard), ["n2 first", "n2 second from 1"]);
    assert_eq!(heard.borrow()[0].0, Time::from_millis(50));
}

#[test]
fn a_deadline_comes_once_and_on_time() {
    let (mut world, heard) = world(1);
    order(&mut world, 1, Order::WakeAt(7));
    order(&mut world, 1, Order::WakeAt(9));
    run_for(&mut world, 20);
    assert_eq!(heard.borrow().as_slice(), [(Time::from_millis(9), NodeId::new(1), "deadline".to_owned())]);
}

#[test]
fn time_that_stands_still_is_a_failure() {
    let (mut world, _) = world(1);
    order(&mut world, 1, Order::WakeForEver);
    let violation = world.run_until(Time::from_millis(1)).unwrap_err();
    assert_eq!(violation.invariant, "time passes");
}

#[test]
fn a_coup_hits_who_has_just_become_prominent() {
    let (mut world, _) = world(2);
    let no_time = Duration::ZERO..Duration::ZERO;
    let lasting = Duration::from_millis(50)..Duration::from_millis(50);
    world.unleash(Faults {
        coups: Some(Coup { chance: 1_000_000, after: no_time, lasting }),
        ..Faults::none()
    });
    order(&mut world, 2, Order::WakeAt(1_000));
    run_for(&mut world, 10);
    assert!(world.is_up(NodeId::new(1)) && !world.is_up(NodeId::new(2)));
    run_for(&mut world, 50);
    assert!(world.is_up(NodeId::new(2)));
}

#[test]
fn every_partition_cuts_something_and_no_node_from_itself() {
    let nodes: Vec<_> = (1..=5).map(NodeId::new).collect();
    let mut swarm = Swarm::from_seed(5);
    for kind in PartitionKind::ALL {
        let drawn: Vec<_> = (0..50).map(|_| Partition::draw(kind, &nodes, swarm.rng())).collect();
        assert!(drawn.iter().any(|partition| !partition.cuts.is_empty()), "{kind}");
        assert!(drawn.iter().flat_map(|partition| &partition.cuts).all(|(from, to)| from != to), "{kind}");
    }
}

/// A cluster in which numbers are passed on, under whatever faults the seed draws.
fn gossip(run: &mut Run) -> Result<(), Violation> {
    let (sent, faults) = (run.swarm.number("messages", 10..200), Faults::draw(&mut run.swarm));
    let heard = Heard::default();
    let shared = heard.clone();
    let mut world = World::new(&mut run.swarm, &run.trace, move |start| {
        Ok(Scribe { id: start.node, heard: shared.clone(), actions: VecDeque::new(), wake: None })
    });
    (1..=5).try_for_each(|node| world.add(node))?;
    world.unleash(faults);
    for number in 0..sent {
        world.run_until(Time::from_millis(number * 20))?;
        world.task(NodeId::new(number % 5 + 1), Duration::ZERO, Order::Send(number % 4 + 1, "x"));
    }
    world.heal()?;
    world.run_until(world.now() + Duration::from_secs(5))?;
    run.trace.mix(heard.borrow().len() as u64);
    Ok(())
}

#[test]
fn a_seed_replays_and_seeds_differ() {
    let hash = |range| Seeds::exactly(range, "").run(gossip).unwrap().hash;
    assert_eq!(hash(0..100), hash(0..100));
    assert_ne!(hash(0..1), hash(1..2));
}

#[test]
fn the_lowest_failing_seed_is_reported_with_its_events() {
    let failure = Seeds::exactly(3..50, "cargo test")
        .run(|run| {
            gossip(run)?;
            if run.seed % 10 == 7 { Err(Violation::new("no sevens", "a seven")) } else { Ok(()) }
        })
        .unwrap_err();
    assert_eq!((failure.seed, failure.violation.invariant.as_str()), (7, "no sevens"));
    assert!(failure.replayed);
    assert!(!failure.lines.is_empty());
    assert_eq!(failure.replay, "QUORATE_SEED=7 cargo test");
    assert!(failure.options.starts_with("messages="), "{}", failure.options);
}

#[test]
fn a_panic_is_a_violation() {
    let failure = Seeds::exactly(0..1, "").run(|run| panic!("seed {} fell over", run.seed)).unwrap_err();
    assert_eq!(failure.violation, Violation::new("nothing panics", "seed 0 fell over"));
}

#[test]
fn a_scenario_that_does_not_replay_is_told() {
    let runs = std::sync::atomic::AtomicU64::new(0);
    let failure = Seeds::exactly(0..1, "")
        .run(|_| {
            let run = runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Err(Violation::new("luck", run.to_string()))
        })
        .unwrap_err();
    assert!(!failure.replayed);
    assert!(failure.to_string().contains("not deterministic"));
}

#[test]
fn all_are_victims_of_a_power_failure() {
    let (mut world, _) = world(3);
    let rhythm = quorate_sim::Rhythm {
        every: Duration::from_millis(10),
        lasting: Duration::from_secs(1)..Duration::from_secs(2),
    };
    world.unleash(Faults { crashes: Some(rhythm), victims: vec![Victim::All], ..Faults::none() });
    run_for(&mut world, 100);
    assert_eq!(world.alive().count(), 0);
    world.heal().unwrap();
    assert_eq!(world.alive().count(), 3);
}
