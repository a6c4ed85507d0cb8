//! Nodes tell each other the largest number they know of, through a network that loses and delays: safe at
//! every moment, and agreed once the faults end. Try `QUORATE_SEED=3 cargo run --example hello_sim`.

use std::time::Duration;

use quorate_core::{NodeId, Rng, Time};
use quorate_sim::{Action, Event, Faults, Node, Seeds, Violation, World};

struct Gossip {
    largest: u64,
    next: Time,
    rng: Rng,
    send: Option<(NodeId, u64)>,
}

impl Node for Gossip {
    type Message = u64;
    type Task = ();

    fn handle(&mut self, now: Time, event: Event<Self>) {
        match event {
            Event::Message { message, .. } => self.largest = self.largest.max(message),
            Event::Task(()) | Event::Deadline => {
                self.send = Some((NodeId::new(self.rng.range(1..6)), self.largest));
                self.next = now + Duration::from_millis(100);
            }
        }
    }

    fn poll(&mut self) -> Option<Action<Self>> {
        self.send.take().map(|(to, message)| Action::Send { to, message })
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.next)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seeds = Seeds::from_env(0..200, "cargo run --example hello_sim")?;
    seeds.check(|run| {
        // Numbers are in memory only: a node that crashes starts again with its own.
        let mut world = World::new(&mut run.swarm, &run.trace, |start| {
            Ok(Gossip { largest: start.node.get() * 10, next: start.now, rng: start.rng, send: None })
        });
        world.invariant("numbers are not invented", |world, _| {
            match world.alive().find(|n| n.1.largest > 50) {
                Some((id, node)) => Err(format!("n{id} has {}", node.largest)),
                None => Ok(()),
            }
        });
        (1..=5).try_for_each(|id| world.add(id))?;
        world.unleash(Faults::draw(&mut run.swarm));
        world.run_until(Time::from_millis(10_000))?;
        world.heal()?;
        let agreed =
            world.run_while(Time::from_millis(30_000), |world| world.alive().all(|n| n.1.largest == 50))?;
        if agreed { Ok(()) } else { Err(Violation::new("all agree in the end", "some have not heard")) }
    });
    Ok(())
}
