#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
mod config;
mod deadlines;
mod endpoint;
mod error;
mod frame;
mod handshake;
mod inbound;
mod link;
mod listen;
mod outbound;
mod stream;
mod tcp;

pub use backoff::Backoff;
pub use config::EndpointConfig;
pub use endpoint::{Builder, Endpoint, new_boot};
pub use error::StartError;
pub use stream::{Accepted, Acceptor, Connector, Stream};
pub use tcp::{Tcp, TcpAcceptor};
