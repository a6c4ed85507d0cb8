use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use quorate_core::{NodeId, Rng, Time};

use crate::partition::Partition;

/// How the links behave. The chances are in millionths: 10,000 is one in a hundred.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// How long a message takes.
    pub latency: Range<Duration>,
    /// How likely a message is lost.
    pub loss: u32,
    /// How likely it arrives twice.
    pub duplication: u32,
    /// How likely it may be overtaken, and overtake: otherwise a link keeps the order.
    pub reordering: u32,
    /// How likely it is held up, for up to `straggle_max`.
    pub straggling: u32,
    /// The longest that a message is held up beyond the latency.
    pub straggle_max: Duration,
}

impl Link {
    /// A good local network: a fifth to half a millisecond, in order, nothing lost.
    pub const fn quiet() -> Self {
        Self {
            latency: Duration::from_micros(200)..Duration::from_micros(500),
            loss: 0,
            duplication: 0,
            reordering: 0,
            straggling: 0,
            straggle_max: Duration::ZERO,
        }
    }
}

/// The network between the nodes.
///
/// A message is lost if its link is cut when it is sent or when it would arrive.
#[derive(Clone, Debug)]
pub struct Network {
    link: Link,
    partitions: BTreeMap<u64, Partition>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    arrivals: BTreeMap<(NodeId, NodeId), Time>,
    rng: Rng,
}

impl Network {
    /// A network with links of this kind; `rng` decides each message's fate.
    pub fn new(link: Link, rng: Rng) -> Self {
        Self { link, partitions: BTreeMap::new(), cuts: BTreeSet::new(), arrivals: BTreeMap::new(), rng }
    }

    /// Changes how the links behave. Messages under way keep their times.
    pub fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    /// Cuts links, until the partition of this number is mended or replaced. Several can be in force at once.
    pub fn cut(&mut self, number: u64, partition: Partition) {
        self.partitions.insert(number, partition);
        self.recount();
    }

    /// Mends a partition; the others stay.
    pub fn mend(&mut self, number: u64) {
        self.partitions.remove(&number);
        self.recount();
    }

    /// Mends all.
    pub fn heal(&mut self) {
        self.partitions.clear();
        self.recount();
    }

    /// Whether messages pass from one node to another.
    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        self.cuts.is_empty() || !self.cuts.contains(&(from, to))
    }

    /// When a message that is sent now arrives: never, once or twice.
    pub(crate) fn arrivals(&mut self, now: Time, from: NodeId, to: NodeId) -> [Option<Time>; 2] {
        if !self.passes(from, to) || self.rng.chance(self.link.loss) {
            return [None, None];
        }
        let again = self.rng.chance(self.link.duplication);
        let first = self.arrival(now, from, to);
        [Some(first), again.then(|| self.arrival(now, from, to))]
    }

    fn arrival(&mut self, now: Time, from: NodeId, to: NodeId) -> Time {
        let mut at = now + self.rng.duration(self.link.latency.clone());
        let straggles = self.rng.chance(self.link.straggling);
        if straggles {
            at += self.rng.duration(Duration::ZERO..self.link.straggle_max);
        }
        if self.rng.chance(self.link.reordering) {
            return at;
        }
        let last = self.arrivals.entry((from, to)).or_default();
        at = at.max(*last);
        // A straggler may be overtaken: otherwise it would hold up all that comes after it.
        if !straggles {
            *last = at;
        }
        at
    }

    fn recount(&mut self) {
        self.cuts = self.partitions.values().flat_map(|partition| partition.cuts.iter().copied()).collect();
    }
}
