use bytes::Bytes;
use quorate_transport::{Bincode, Codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state_machine::{Command, CommandError};

/// A command that serde puts into bytes, in the default codec's format.
///
/// For a start, and where the shape of the commands is settled: the format carries no field names, so a field
/// that is added or moved makes older logs unreadable. Add variants to the end of an enum instead, or
/// implement [`Command`] by hand with a version in front.
///
/// ```
/// use quorate_raft::{Command, Typed};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Add(u64);
///
/// let bytes = Typed(Add(3)).encode()?;
/// assert_eq!(Typed::<Add>::decode(bytes)?.0, Add(3));
/// # Ok::<(), quorate_raft::CommandError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Typed<T>(pub T);

impl<T: Serialize + DeserializeOwned + Send + 'static> Command for Typed<T> {
    fn encode(&self) -> Result<Bytes, CommandError> {
        Bincode::default().encode(&self.0).map_err(|error| CommandError(error.to_string()))
    }

    fn decode(bytes: Bytes) -> Result<Self, CommandError> {
        Bincode::default().decode(&bytes).map(Self).map_err(|error| CommandError(error.to_string()))
    }
}

impl<T> From<T> for Typed<T> {
    fn from(command: T) -> Self {
        Self(command)
    }
}
