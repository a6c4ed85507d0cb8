#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod faults;
mod network;
mod node;
mod partition;
mod queue;
mod seeds;
mod swarm;
mod trace;
mod violation;
mod world;

pub use faults::{Coup, Faults, Rhythm, Victim};
pub use network::{Link, Network};
pub use node::{Action, Event, Node, Start};
pub use partition::{Partition, PartitionKind};
pub use seeds::{Failure, Run, Seeds, SeedsError, Summary};
pub use swarm::Swarm;
pub use trace::Trace;
pub use violation::Violation;
pub use world::{Step, StepKind, World};
