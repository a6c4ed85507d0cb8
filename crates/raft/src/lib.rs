// The page's example needs all of it.
#![cfg_attr(all(feature = "driver", feature = "wal", feature = "typed"), doc = include_str!("../README.md"))]
#![cfg_attr(not(all(feature = "driver", feature = "wal", feature = "typed")), doc = "Agree on a log.")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
pub mod conformance;
mod core;
#[cfg(feature = "driver")]
mod driver;
mod entry;
mod error;
#[cfg(feature = "driver")]
mod links;
mod message;
#[cfg(feature = "driver")]
mod node;
mod state_machine;
mod storage;
#[cfg(feature = "typed")]
mod typed;
pub mod wire;

pub use self::core::{
    Committed, Event, Input, LoadPurpose, LoadRequest, Output, ProposalId, Raft, ReadId, RoleKind, Status,
};
pub use config::Config;
#[cfg(feature = "driver")]
#[cfg_attr(docsrs, doc(cfg(feature = "driver")))]
pub use driver::StopReason;
pub use entry::{ENTRY_OVERHEAD_BYTES, Entry, EntryId, EntryPayload, Index, Membership, Term};
pub use error::{ConfigError, ProposeError, ReadError, StartError};
#[cfg(feature = "driver")]
#[cfg_attr(docsrs, doc(cfg(feature = "driver")))]
pub use links::{
    Inbox, InboxError, Links, MemoryHub, MemoryLinks, RAFT_PROTOCOL, TransportGroups, TransportLinks,
};
pub use message::{Message, Payload, SnapshotProgress};
#[cfg(feature = "driver")]
#[cfg_attr(docsrs, doc(cfg(feature = "driver")))]
pub use node::{Draws, Node};
pub use state_machine::{Command, CommandError, RestoreError, StateMachine};
#[cfg(feature = "wal")]
#[cfg_attr(docsrs, doc(cfg(feature = "wal")))]
pub use storage::Log;
pub use storage::{
    HardState, Memory, Recovered, Snapshot, SnapshotMeta, Standing, Storage, StorageError, TermRun, Write,
    WriteId,
};
#[cfg(feature = "typed")]
#[cfg_attr(docsrs, doc(cfg(feature = "typed")))]
pub use typed::Typed;
