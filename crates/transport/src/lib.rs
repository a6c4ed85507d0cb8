#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod error;
mod events;
mod handler;
mod message;
mod registry;
mod transport;

pub use body::Body;
pub use error::{CallError, Reason, Refusal, RegisterError, SendError, Status, StatusCode};
pub use events::{PeerEvent, PeerEventSender, PeerEvents};
pub use handler::{Handler, Incoming};
pub use message::{Lane, Message, NodeIdentity, ProtocolId};
pub use registry::{Registration, Registry};
pub use transport::{BODY_MAX_LEAST, Transport};

#[cfg(feature = "codec")]
#[cfg_attr(docsrs, doc(cfg(feature = "codec")))]
mod codec;
#[cfg(feature = "bincode")]
#[cfg_attr(docsrs, doc(cfg(feature = "bincode")))]
pub use codec::Bincode;
#[cfg(feature = "codec")]
#[cfg_attr(docsrs, doc(cfg(feature = "codec")))]
pub use codec::{Codec, CodecError};

#[cfg(feature = "memory")]
#[cfg_attr(docsrs, doc(cfg(feature = "memory")))]
mod memory;
#[cfg(feature = "memory")]
#[cfg_attr(docsrs, doc(cfg(feature = "memory")))]
pub use memory::{MemoryConfig, MemoryNetwork, MemoryTransport};

#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;
