//! The only file that knows which serialisation library is in use.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Turns values into bytes and back, for payloads that are not worth a hand-written layout.
///
/// A codec is canonical (one value, one encoding), bounded, and exact: bytes left over after a value are an
/// error. Declare byte strings as [`Bytes`] or through `serde_bytes`: a plain `Vec<u8>` is decoded byte by
/// byte and takes some twelve times as long. Never decode a collection of zero-sized values from a peer: its
/// claimed length costs time without costing bytes, past every limit.
pub trait Codec: Send + Sync + 'static {
    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// [`CodecError::TooLarge`], or [`CodecError::Encode`] for a value that the format can't hold.
    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, CodecError>;

    /// Decodes exactly one value. Never panics, and never allocates more than a small multiple of the input.
    ///
    /// # Errors
    ///
    /// [`CodecError::TooLarge`] for an input over the limit, [`CodecError::Decode`] for one that isn't the
    /// encoding of a `T`, [`CodecError::Trailing`] for bytes after it.
    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError>;
}

/// Why bytes and value didn't match.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The encoding is longer than the codec's limit.
    #[error("{len} bytes are over the codec's limit of {max}")]
    TooLarge {
        /// The length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The value can't be encoded.
    #[error("can't be encoded: {0}")]
    Encode(String),
    /// The bytes are not the encoding of such a value.
    #[error("can't be decoded: {0}")]
    Decode(String),
    /// Bytes are left after the value.
    #[error("{count} bytes are left after the value")]
    Trailing {
        /// How many.
        count: usize,
    },
}

impl CodecError {
    /// Always [`Outcome::NotDone`](quorate_core::Outcome::NotDone).
    pub const fn outcome(&self) -> quorate_core::Outcome {
        quorate_core::Outcome::NotDone
    }
}

/// The default codec: bincode 2 over serde, with fixed-width little-endian integers, which makes it
/// canonical and byte-compatible with bincode 1 and wincode.
///
/// ```
/// use quorate_transport::{Bincode, Codec};
/// let bytes = Bincode::default().encode(&(7u32, "seven"))?;
/// assert_eq!(Bincode::default().decode::<(u32, String)>(&bytes)?, (7, "seven".to_owned()));
/// # Ok::<(), quorate_transport::CodecError>(())
/// ```
#[cfg(feature = "bincode")]
#[derive(Clone, Copy, Debug)]
pub struct Bincode {
    /// The longest encoding in bytes that is made or read, up to [`LIMIT_MAX`](Self::LIMIT_MAX). 16 MiB by
    /// default.
    pub limit: usize,
}

#[cfg(feature = "bincode")]
impl Bincode {
    /// No limit is above this: 256 MiB.
    pub const LIMIT_MAX: usize = 256 << 20;

    fn check(self, len: usize) -> Result<(), CodecError> {
        let max = self.limit.min(Self::LIMIT_MAX);
        if len > max { Err(CodecError::TooLarge { len, max }) } else { Ok(()) }
    }

    fn config() -> impl bincode::config::Config {
        bincode::config::standard().with_fixed_int_encoding().with_limit::<{ Self::LIMIT_MAX }>()
    }
}

#[cfg(feature = "bincode")]
impl Default for Bincode {
    fn default() -> Self {
        Self { limit: 16 << 20 }
    }
}

#[cfg(feature = "bincode")]
impl Codec for Bincode {
    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, CodecError> {
        let bytes = bincode::serde::encode_to_vec(value, Self::config())
            .map_err(|error| CodecError::Encode(error.to_string()))?;
        self.check(bytes.len())?;
        Ok(Bytes::from(bytes))
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        self.check(bytes.len())?;
        let (value, used) = bincode::serde::decode_from_slice(bytes, Self::config())
            .map_err(|error| CodecError::Decode(error.to_string()))?;
        match bytes.len() - used {
            0 => Ok(value),
            count => Err(CodecError::Trailing { count }),
        }
    }
}
