#![doc = include_str!("../README.md")]
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
