//! What goes wrong: by rhythm, as the drawn faults say, or because the test asks for it.

use std::time::Duration;

use quorate_core::{NodeId, Time};

use super::{Item, Slot, Step, StepKind, World};
use crate::faults::{Faults, Victim};
use crate::network::Link;
use crate::node::{Node, Start};
use crate::partition::Partition;
use crate::violation::Violation;

pub(super) enum Fault {
    Partition,
    Mend(u64),
    Crash,
    Coup(NodeId),
    Restart(NodeId),
    Pause,
}

impl<N: Node> World<N> {
    /// Lets these faults loose, from now until [`heal`](World::heal).
    pub fn unleash(&mut self, faults: Faults) {
        self.reign += 1;
        self.network.set_link(faults.link.clone());
        self.faults = Some(faults);
        for fault in [Fault::Partition, Fault::Crash, Fault::Pause] {
            self.schedule_next(fault);
        }
    }

    /// Ends all faults: links are mended and quiet, and every node that is down or stands still goes on.
    ///
    /// Messages under way keep their times: what was held up may still arrive long after.
    ///
    /// # Errors
    ///
    /// A node that can't start again, or an invariant.
    pub fn heal(&mut self) -> Result<(), Violation> {
        self.reign += 1;
        self.faults = None;
        self.network.heal();
        self.network.set_link(Link::quiet());
        self.trace.line(|| "--------- all healed".into());
        for id in self.nodes().collect::<Vec<_>>() {
            if !self.is_up(id) {
                self.start(id)?;
            } else if let Some(slot) = self.slots.get_mut(&id) {
                slot.paused_until = self.now;
            }
        }
        Ok(())
    }

    /// Crashes a node that is up: all that it scheduled for itself is gone.
    ///
    /// # Errors
    ///
    /// An invariant.
    pub fn crash(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(slot) = self.slots.get_mut(&node).filter(|slot| slot.up) else {
            return Ok(());
        };
        slot.up = false;
        self.trace.event(self.now, StepKind::Crashed.code(), node.get());
        self.trace.line(|| format!("n{node}        CRASH"));
        self.check(Step { at: self.now, node: Some(node), kind: StepKind::Crashed })
    }

    /// Starts a node that is down, or a new one.
    ///
    /// # Errors
    ///
    /// What `start` said, or an invariant.
    pub fn start(&mut self, id: NodeId) -> Result<(), Violation> {
        if self.is_up(id) {
            return Ok(());
        }
        let (life, previous) = match self.slots.remove(&id) {
            Some(slot) => (slot.life + 1, Some(slot.node)),
            None => (0, None),
        };
        let start = Start { node: id, life, now: self.now, previous, rng: self.rng.fork() };
        self.trace.event(self.now, StepKind::Started.code(), id.get());
        self.trace.line(|| format!("n{id}        START     life {life}"));
        let node = (self.start)(start)?;
        self.slots.insert(id, Slot { node, up: true, life, paused_until: self.now, timer: Time::MAX });
        self.drain(id)?;
        self.check(Step { at: self.now, node: Some(id), kind: StepKind::Started })
    }

    /// Lets a node stand still: what would happen to it happens when it wakes, in order.
    pub fn pause(&mut self, node: NodeId, lasting: Duration) {
        if let Some(slot) = self.slots.get_mut(&node) {
            slot.paused_until = slot.paused_until.max(self.now + lasting);
            self.trace.event(self.now, StepKind::Paused.code(), node.get());
            self.trace.line(|| format!("n{node}        PAUSE     for {lasting:?}"));
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) -> Result<(), Violation> {
        if let Fault::Restart(node) = fault {
            return self.start(node);
        }
        let Some(faults) = self.faults.clone() else {
            return Ok(());
        };
        match fault {
            Fault::Partition => {
                if let Some(rhythm) = &faults.partitions {
                    let kind = faults.partition_kinds[self.rng.index(faults.partition_kinds.len())];
                    let nodes: Vec<_> = self.nodes().collect();
                    let partition = Partition::draw(kind, &nodes, &mut self.rng);
                    self.trace.event(self.now, StepKind::Network.code(), self.cuts);
                    self.trace.line(|| format!("--------- cut       {partition}"));
                    self.network.cut(self.cuts, partition);
                    let mended = self.now + self.rng.duration(rhythm.lasting.clone());
                    self.push_fault(mended, Fault::Mend(self.cuts));
                    self.cuts += 1;
                }
                self.schedule_next(Fault::Partition);
            }
            Fault::Mend(number) => {
                self.trace.event(self.now, StepKind::Network.code(), number);
                self.trace.line(|| "--------- mended".into());
                self.network.mend(number);
            }
            Fault::Crash => {
                if let Some(rhythm) = &faults.crashes {
                    let victim = faults.victims[self.rng.index(faults.victims.len())];
                    for node in self.victims(victim) {
                        let lasting = self.rng.duration(rhythm.lasting.clone());
                        self.crash_for(node, lasting)?;
                    }
                }
                self.schedule_next(Fault::Crash);
            }
            Fault::Coup(node) => {
                if let Some(coup) = faults.coups.filter(|_| self.is_up(node)) {
                    let lasting = self.rng.duration(coup.lasting);
                    self.crash_for(node, lasting)?;
                }
            }
            Fault::Restart(_) => {}
            Fault::Pause => {
                if let Some(rhythm) = &faults.pauses {
                    let lasting = self.rng.duration(rhythm.lasting.clone());
                    for node in self.victims(Victim::One) {
                        self.pause(node, lasting);
                    }
                }
                self.schedule_next(Fault::Pause);
            }
        }
        Ok(())
    }

    /// A node has just become prominent.
    pub(super) fn plot(&mut self, node: NodeId) {
        let Some(coup) = self.faults.as_ref().and_then(|faults| faults.coups.clone()) else {
            return;
        };
        if self.rng.chance(coup.chance) {
            let at = self.now + self.rng.duration(coup.after);
            self.push_fault(at, Fault::Coup(node));
        }
    }

    fn victims(&mut self, victim: Victim) -> Vec<NodeId> {
        let mut alive: Vec<_> = self.alive().map(|(id, node)| (id, node.prominent())).collect();
        if victim == Victim::Prominent && alive.iter().any(|(_, prominent)| *prominent) {
            alive.retain(|(_, prominent)| *prominent);
        }
        if victim == Victim::All || alive.is_empty() {
            return alive.into_iter().map(|(id, _)| id).collect();
        }
        vec![alive[self.rng.index(alive.len())].0]
    }

    /// Crashes a node, and starts it again after a while.
    pub(super) fn crash_for(&mut self, node: NodeId, lasting: Duration) -> Result<(), Violation> {
        self.crash(node)?;
        self.push_fault(self.now + lasting, Fault::Restart(node));
        Ok(())
    }

    fn schedule_next(&mut self, fault: Fault) {
        let Some(faults) = &self.faults else {
            return;
        };
        let rhythm = match fault {
            Fault::Partition if !faults.partition_kinds.is_empty() => &faults.partitions,
            Fault::Crash if !faults.victims.is_empty() => &faults.crashes,
            Fault::Pause => &faults.pauses,
            _ => &None,
        };
        if let Some(rhythm) = rhythm {
            let at = rhythm.next(self.now, &mut self.rng);
            self.push_fault(at, fault);
        }
    }

    fn push_fault(&mut self, at: Time, fault: Fault) {
        self.queue.push(at, Item::Fault { reign: self.reign, fault });
    }
}
