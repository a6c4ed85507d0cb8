use quorate_core::Outcome;

use crate::state_machine::CommandError;
use crate::storage::StorageError;

/// Why a proposal was not answered with its result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Not committed: no leader was known before the proposal's deadline.
    #[error("not committed: no leader was known in time")]
    NoLeader,
    /// Not committed: a limit on what may wait was reached. Try again later.
    #[error("not committed: too much is waiting ({0})")]
    Overloaded(&'static str),
    /// Not committed: the command is larger than [`Config::command_bytes_max`](crate::Config).
    #[error("not committed: the command has {len} bytes, {max} are allowed")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Not committed: the command could not be put into bytes.
    #[error("not committed: {0}")]
    Encode(#[from] CommandError),
    /// Not committed, and never will be: another leader's entry took its place in the log.
    #[error("not committed: another leader's entry took its place")]
    LeaderChanged,
    /// Unknown: the proposal may have been appended, and no answer came before its deadline.
    #[error("unknown: no answer in time, the command may have been committed or may yet be")]
    TimedOut,
    /// Unknown: the leader that had been asked was deposed before it answered.
    #[error("unknown: the leader was lost, the command may have been committed or may yet be")]
    LeaderLost,
    /// Unknown: a snapshot covered the entry before its outcome was seen here.
    #[error("unknown: a snapshot overtook the command")]
    Overtaken,
    /// Unknown, if the command had been handed over; the node has stopped.
    #[error("unknown: the node has stopped")]
    Stopped,
    /// Not committed: the node had already stopped.
    #[error("not committed: the node had already stopped")]
    NotRunning,
}

impl ProposeError {
    /// Whether the command took effect: not done, or unknown. Never done: that is a success.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoLeader
            | Self::Overloaded(_)
            | Self::TooLarge { .. }
            | Self::Encode(_)
            | Self::LeaderChanged
            | Self::NotRunning => Outcome::NotDone,
            Self::TimedOut | Self::LeaderLost | Self::Overtaken | Self::Stopped => Outcome::Unknown,
        }
    }
}

/// Why a linearizable read was not answered. It had no effect in any case: it may be retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader confirmed that it still leads before the read's deadline.
    #[error("no leader confirmed the read in time")]
    TimedOut,
    /// A limit on what may wait was reached.
    #[error("too many reads are waiting")]
    Overloaded,
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

impl ReadError {
    /// Always not done.
    pub fn outcome(&self) -> Outcome {
        Outcome::NotDone
    }
}

/// A setting that can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ConfigError {
    /// The offending field of [`Config`](crate::Config).
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting can't work.
    #[error("the configuration is wrong: {0}")]
    Config(#[from] ConfigError),
    /// The storage can't be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The transport refused the protocol.
    #[error("the transport refused the protocol: {0}")]
    Transport(String),
    /// The operating system gave no random numbers.
    #[error("no randomness: {0}")]
    Random(String),
    /// The snapshot could not be restored into the state machine.
    #[error("the snapshot could not be restored: {0}")]
    Restore(String),
}

impl StartError {
    /// Nothing was proposed: not done.
    pub fn outcome(&self) -> Outcome {
        Outcome::NotDone
    }
}
