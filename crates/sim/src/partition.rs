use std::collections::BTreeSet;
use std::fmt;

use quorate_core::{NodeId, Rng};

/// Links that are cut, each in one direction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Which shape it has.
    pub kind: PartitionKind,
    /// From whom to whom nothing passes.
    pub cuts: BTreeSet<(NodeId, NodeId)>,
}

/// The shape of a partition. Each breaks other algorithms than the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum PartitionKind {
    /// Two sides of about the same size.
    Halves,
    /// One node alone.
    Isolate,
    /// One node hears nobody, but is heard: what it still sends keeps the others from acting.
    Deaf,
    /// One node is heard by nobody, but hears.
    Mute,
    /// Two sides, and one node that both can reach: each side sees a majority.
    Bridge,
    /// Some pairs can't speak, both ways.
    Partial,
    /// Some links carry nothing in one direction.
    OneWay,
}

impl PartitionKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Halves, Self::Isolate, Self::Deaf, Self::Mute, Self::Bridge, Self::Partial, Self::OneWay];
}

impl fmt::Display for PartitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Halves => "halves",
            Self::Isolate => "isolate",
            Self::Deaf => "deaf",
            Self::Mute => "mute",
            Self::Bridge => "bridge",
            Self::Partial => "partial",
            Self::OneWay => "one-way",
        })
    }
}

impl Partition {
    /// A partition of these nodes, of this shape, with the sides drawn.
    pub fn draw(kind: PartitionKind, nodes: &[NodeId], rng: &mut Rng) -> Self {
        let mut order = nodes.to_vec();
        shuffle(&mut order, rng);
        let mut cuts = BTreeSet::new();
        let mut both = |a: NodeId, b: NodeId| {
            cuts.insert((a, b));
            cuts.insert((b, a));
        };
        match kind {
            PartitionKind::Halves => {
                let (left, right) = order.split_at(order.len() / 2);
                cross(left, right, &mut both);
            }
            PartitionKind::Bridge => {
                if let Some((_, rest)) = order.split_first() {
                    let (left, right) = rest.split_at(rest.len() / 2);
                    cross(left, right, &mut both);
                }
            }
            PartitionKind::Isolate => {
                if let Some((one, rest)) = order.split_first() {
                    cross(&[*one], rest, &mut both);
                }
            }
            PartitionKind::Deaf => {
                if let Some((one, rest)) = order.split_first() {
                    cuts.extend(rest.iter().map(|other| (*other, *one)));
                }
            }
            PartitionKind::Mute => {
                if let Some((one, rest)) = order.split_first() {
                    cuts.extend(rest.iter().map(|other| (*one, *other)));
                }
            }
            PartitionKind::Partial => {
                for (place, a) in order.iter().enumerate() {
                    for b in &order[place + 1..] {
                        if rng.chance(400_000) {
                            cuts.insert((*a, *b));
                            cuts.insert((*b, *a));
                        }
                    }
                }
            }
            PartitionKind::OneWay => {
                for a in &order {
                    cuts.extend(order.iter().filter(|b| *b != a && rng.chance(300_000)).map(|b| (*a, *b)));
                }
            }
        }
        Self { kind, cuts }
    }
}

/// The shape, and each cut link as `from>to`.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        for (from, to) in &self.cuts {
            write!(f, " {from}>{to}")?;
        }
        Ok(())
    }
}

fn cross(left: &[NodeId], right: &[NodeId], cut: &mut impl FnMut(NodeId, NodeId)) {
    for a in left {
        for b in right {
            cut(*a, *b);
        }
    }
}

fn shuffle(nodes: &mut [NodeId], rng: &mut Rng) {
    for place in (1..nodes.len()).rev() {
        nodes.swap(place, rng.index(place + 1));
    }
}
