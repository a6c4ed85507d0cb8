//! A raft cluster for [`quorate_sim`]: the core, its storage on a simulated disk, its state machine, and
//! clients, each with delays that a crash can fall into.

mod clients;
mod disk;
mod history;
mod host;
mod lines;
mod machine;
mod medium;
mod options;
mod scenario;
mod seen;
mod shadow;

pub use clients::OperationId;
pub use history::History;
pub use host::{Host, Task};
pub use machine::Machine;
pub use medium::Medium;
pub use options::Options;
pub use scenario::{Cluster, cluster, seen, simulate};
pub use seen::{Answer, Seen};
pub use shadow::{Shadow, Written};
