use std::io;

use quorate_core::{NodeId, Outcome};
use thiserror::Error;

/// Why an endpoint could not be started. Nothing is left running.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A field of the configuration is out of its range.
    #[error("{field} must be {range}")]
    Config {
        /// The field's name.
        field: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// The node was named as its own peer.
    #[error("node {0} can't be its own peer")]
    OwnPeer(NodeId),
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system gave no random bytes for the seed.
    #[error("no random bytes: {0}")]
    Random(io::Error),
    /// It was started outside of a tokio runtime.
    #[error("an endpoint runs on a tokio runtime, and there is none here")]
    NoRuntime,
}

impl StartError {
    /// Always [`Outcome::NotDone`].
    pub const fn outcome(&self) -> Outcome {
        Outcome::NotDone
    }
}
