use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate_core::{Rng, Time};

use crate::network::Link;
use crate::partition::PartitionKind;
use crate::swarm::Swarm;

/// Which faults a run has, and how strong they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults {
    /// How the links behave.
    pub link: Link,
    /// When links are cut, if ever.
    pub partitions: Option<Rhythm>,
    /// Which shapes of partitions there are.
    pub partition_kinds: Vec<PartitionKind>,
    /// When nodes crash, if ever, and how long they stay down.
    pub crashes: Option<Rhythm>,
    /// Whom it hits.
    pub victims: Vec<Victim>,
    /// Crash a node that has just become prominent, at times: the rarest bugs lie in the first moments of a
    /// reign that end it.
    pub coups: Option<Coup>,
    /// When a node stands still, if ever, as if its process had been stopped: its clock goes on.
    pub pauses: Option<Rhythm>,
}

/// How often something happens, and how long it lasts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rhythm {
    /// From one to the next: half of this to half more.
    pub every: Duration,
    /// How long each lasts.
    pub lasting: Range<Duration>,
}

/// How a node that has just become prominent is brought down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coup {
    /// How likely, in millionths.
    pub chance: u32,
    /// How soon after.
    pub after: Range<Duration>,
    /// How long it stays down.
    pub lasting: Range<Duration>,
}

/// Whom a crash hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Victim {
    /// Any one.
    One,
    /// One that [`Node::prominent`](crate::Node::prominent) singles out, or any.
    Prominent,
    /// All at once, as if the power had failed.
    All,
}

impl Faults {
    /// None at all.
    pub fn none() -> Self {
        Self {
            link: Link::quiet(),
            partitions: None,
            partition_kinds: Vec::new(),
            crashes: None,
            victims: Vec::new(),
            coups: None,
            pauses: None,
        }
    }

    /// Drawn by the swarm: each fault exists in some runs and not in others.
    pub fn draw(swarm: &mut Swarm) -> Self {
        let ms = Duration::from_millis;
        let latency = swarm.pick("latency_ms", &[1u64, 1, 5, 20]);
        let link = Link {
            latency: Duration::from_micros(latency * 100)..Duration::from_micros(latency * 1_500),
            loss: swarm.pick("loss_ppm", &[0, 0, 10_000, 50_000, 200_000]),
            duplication: swarm.pick("duplication_ppm", &[0, 0, 20_000, 200_000]),
            reordering: swarm.pick("reordering_ppm", &[0, 0, 100_000, 1_000_000]),
            straggling: swarm.pick("straggling_ppm", &[0, 0, 20_000, 100_000]),
            straggle_max: ms(swarm.pick("straggle_max_ms", &[50, 500, 3_000])),
        };
        let partitions = Rhythm::draw(swarm, "partition_every_ms", &[400, 1_000, 2_500], ms(50)..ms(1_500));
        let kinds: Vec<_> = PartitionKind::ALL.into_iter().filter(|_| swarm.rng().chance(400_000)).collect();
        let partition_kinds = if kinds.is_empty() { PartitionKind::ALL.to_vec() } else { kinds };
        if partitions.is_some() {
            let names: Vec<_> = partition_kinds.iter().map(PartitionKind::to_string).collect();
            swarm.note("partition_kinds", names.join(","));
        }
        let crashes = Rhythm::draw(swarm, "crash_every_ms", &[300, 800, 2_000], ms(1)..ms(800));
        let victims = match swarm.rng().index(4) {
            0 => vec![Victim::One],
            1 => vec![Victim::Prominent],
            2 => vec![Victim::All, Victim::One, Victim::Prominent],
            _ => vec![Victim::One, Victim::Prominent],
        };
        if crashes.is_some() {
            swarm.note("victims", victims.iter().map(Victim::to_string).collect::<Vec<_>>().join(","));
        }
        let coups = swarm.pick("coup_ppm", &[0, 0, 300_000, 800_000]);
        let coups = (coups > 0).then(|| Coup {
            chance: coups,
            after: Duration::ZERO..ms(swarm.pick("coup_after_ms", &[2, 10, 50, 300])),
            lasting: ms(1)..ms(swarm.pick("coup_lasting_ms", &[20, 200, 1_000])),
        });
        let pauses = Rhythm::draw(swarm, "pause_every_ms", &[800, 2_500], ms(20)..ms(1_200));
        Self { link, partitions, partition_kinds, crashes, victims, coups, pauses }
    }
}

impl Rhythm {
    fn draw(swarm: &mut Swarm, name: &'static str, every: &[u64], lasting: Range<Duration>) -> Option<Self> {
        if swarm.rng().chance(400_000) {
            swarm.note(name, "never");
            return None;
        }
        let every = Duration::from_millis(swarm.pick(name, every));
        Some(Self { every, lasting })
    }

    pub(crate) fn next(&self, now: Time, rng: &mut Rng) -> Time {
        now + rng.duration(self.every / 2..self.every * 3 / 2)
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::Prominent => "prominent",
            Self::All => "all",
        })
    }
}
