#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod claim;
mod clean;
mod config;
#[cfg(unix)]
mod directory;
mod disk;
mod error;
mod format;
mod log;
mod prepare;
mod recover;
mod rewrite;
mod scan;
mod sealed;
mod simulated;
mod stage;
mod stream;
mod write;

pub use claim::Claim;
pub use config::Config;
#[cfg(unix)]
pub use directory::Directory;
pub use disk::{Disk, File, Open};
pub use error::Error;
pub use log::Log;
pub use sealed::Sealed;
pub use simulated::{CrashFates, SimulatedDisk, SimulatedFile, Tear};
pub use stream::StreamId;
