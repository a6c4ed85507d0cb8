use std::io;

use quorate_core::{Outcome, StoreId};

use crate::StreamId;

/// What can go wrong with a log. [`outcome`](Error::outcome) says whether the refused call took effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process, or another log of this one, holds the directory. Nothing was touched.
    #[error("the log directory is in use by another log")]
    Locked,

    /// A field of [`Config`](crate::Config) is out of its range. Nothing was touched.
    #[error("config field `{field}`: {reason}")]
    Config {
        /// The field.
        field: &'static str,
        /// The range it must lie in.
        reason: String,
    },

    /// Reading, listing or opening failed. The log is unchanged and the call may be repeated.
    #[error("cannot {action} {file}: {source}")]
    Read {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the disk said.
        source: io::Error,
    },

    /// A write or a sync failed. The log has ended: the operating system may have dropped the unsynced
    /// bytes, so that a second sync would lie. Drop the log and open it again to see what survived: opening
    /// writes whatever it finds that may not be durable once more, before it syncs.
    #[error("cannot {action} {file}, and the log has ended: {source}")]
    Write {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the disk said.
        source: io::Error,
    },

    /// An earlier write or sync failed, see [`Error::Write`]; nothing is tried any more.
    #[error("the log has ended: an earlier write or sync failed")]
    Failed,

    /// The disk, or a quota on it, has no room for another segment or a sealed file.
    ///
    /// From [`Log::write`](crate::Log::write) and what calls it: nothing staged is lost and nothing of it was
    /// acknowledged. It stays readable, and a later commit writes it once there is room, so its outcome is
    /// [`Outcome::Unknown`]: staging the same records again would be a mistake. From a sealed file, and from
    /// opening: nothing was done.
    #[error("the disk is full: no room for {bytes} bytes")]
    Full {
        /// The room that was asked for.
        bytes: u64,
        /// What is known of the call.
        outcome: Outcome,
    },

    /// Bytes that were durable are damaged. Nothing was changed or deleted; restore the file, or have the
    /// node rebuilt by its peers.
    #[error("{file} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// The first byte that can't be trusted.
        offset: u64,
        /// What was found.
        reason: &'static str,
    },

    /// A segment is not as long as it was made. Nothing was changed.
    #[error("{file} has {found} bytes instead of {expected}")]
    SegmentLength {
        /// The file.
        file: String,
        /// Its length in bytes.
        found: u64,
        /// The length it was made with; at least that, if its header can't be read any more.
        expected: u64,
    },

    /// A segment that holds live records is not there. Nothing was changed.
    #[error("segment {sequence} is missing")]
    SegmentMissing {
        /// Its number; the first is 1.
        sequence: u64,
    },

    /// Two files claim to be the same segment. Nothing was changed.
    #[error("{file} is a second segment {sequence}")]
    SegmentTwice {
        /// One of the two.
        file: String,
        /// The number both carry.
        sequence: u64,
    },

    /// A file belongs to another log. Nothing was changed.
    #[error("{file} belongs to store {found}, this is store {expected}")]
    Foreign {
        /// The file.
        file: String,
        /// The store that made it.
        found: StoreId,
        /// The store of this directory.
        expected: StoreId,
    },

    /// The directory has segments with records, but not the file that names its store. Nothing was changed.
    #[error("the file `store` is missing beside segments that hold records")]
    StoreMissing,

    /// A file was made by another version of the format. Nothing was changed.
    #[error("{file} has format version {found}")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
    },

    /// The index is not the one behind the stream's last. Nothing was staged.
    #[error("{stream} continues with index {expected}, not {given}")]
    NotContiguous {
        /// The stream.
        stream: StreamId,
        /// What it continues with.
        expected: u64,
        /// What the call gave.
        given: u64,
    },

    /// The index lies outside of the stream. Nothing was staged.
    #[error("index {index} is outside of {stream}, which holds {first}..{next}")]
    OutOfRange {
        /// The stream.
        stream: StreamId,
        /// What the call gave.
        index: u64,
        /// The stream's first index.
        first: u64,
        /// The index behind its last.
        next: u64,
    },

    /// The log knows no such stream. Nothing was staged.
    #[error("{stream} is unknown")]
    UnknownStream {
        /// The stream.
        stream: StreamId,
    },

    /// A payload, state or sealed file is over its limit. Nothing was staged or written.
    #[error("{what} of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit in bytes, from [`Config`](crate::Config).
        max: u64,
    },

    /// As much is staged as [`Config::stage_bytes_max`](crate::Config::stage_bytes_max) allows. Nothing of
    /// this call was staged: commit, then repeat it.
    #[error("{max} bytes are staged already: commit first")]
    StageFull {
        /// The limit in bytes.
        max: usize,
    },

    /// The log holds [`Config::streams_max`](crate::Config::streams_max) streams. Nothing was staged.
    #[error("the log holds {max} streams already")]
    TooManyStreams {
        /// The limit.
        max: usize,
    },

    /// Not a name for a sealed file: 1 to 100 of `a-z`, `0-9`, `-`, `_` and `.`, not with a dot first.
    #[error("`{name}` can't name a sealed file")]
    SealedName {
        /// What was given.
        name: String,
    },

    /// A sealed file could not be written. The earlier contents stand, unless the failure came behind the
    /// renaming: then either may be found after a crash. The log itself goes on, unless it was a sync that
    /// failed: that ends the log and its sealed files, as under [`Error::Write`].
    #[error("cannot {action} sealed file {file}: {source}")]
    Seal {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What is known of the replacement.
        outcome: Outcome,
        /// What the disk said.
        source: io::Error,
    },
}

impl Error {
    /// Whether the call took effect: [`Outcome::Unknown`] after a failed write or sync, since what reached
    /// the disk shows only when the log is opened again, and for [`Error::Full`] if a later commit writes
    /// what is staged; [`Outcome::NotDone`] for everything else.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Write { .. } | Self::Failed => Outcome::Unknown,
            Self::Full { outcome, .. } | Self::Seal { outcome, .. } => *outcome,
            _ => Outcome::NotDone,
        }
    }

    pub(crate) fn read(action: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        Self::Read { action, file: file.into(), source }
    }

    pub(crate) fn write(action: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        Self::Write { action, file: file.into(), source }
    }

    pub(crate) fn damaged(file: impl Into<String>, offset: u64, reason: &'static str) -> Self {
        Self::Damaged { file: file.into(), offset, reason }
    }
}

/// Whether an operation found no room, on the disk or in a quota: nothing failed then.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
