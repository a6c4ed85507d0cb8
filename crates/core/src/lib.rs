//! Name nodes and moments alike in every crate.
//!
//! The leaf of the workspace: no dependencies, `no_std`, nothing that allocates. It holds what the other
//! crates must agree on so that a program can adopt them one at a time: what a [`Time`] is, how a node, a
//! process and a disk are named ([`NodeId`], [`BootId`], [`StoreId`]), what the answer to "did it happen?"
//! can be ([`Outcome`]), the shape of a protocol that owns no clock and no socket ([`Core`]), the seeded
//! generator such a protocol draws from ([`Rng`]), and the hash that tells its states apart
//! ([`Fingerprint`]).
//!
//! ```
//! use core::time::Duration;
//! use quorate_core::{NodeId, Rng, Time};
//!
//! let start = Time::ZERO;
//! let later = start + Duration::from_millis(150);
//! assert_eq!(later - start, Duration::from_millis(150));
//!
//! // The same seed gives the same draws on every machine.
//! let mut rng = Rng::from_seed(7);
//! let jitter = rng.duration(Duration::from_millis(150)..Duration::from_millis(300));
//! assert!(jitter < Duration::from_millis(300));
//! assert_eq!(NodeId::new(3).to_string(), "3");
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod fingerprint;
mod identity;
mod outcome;
mod protocol;
mod rng;
mod time;

pub use fingerprint::Fingerprint;
pub use identity::{BootId, ClusterId, NodeId, StoreId};
pub use outcome::Outcome;
pub use protocol::Core;
pub use rng::Rng;
pub use time::Time;
