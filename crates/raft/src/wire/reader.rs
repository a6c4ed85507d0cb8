use bytes::{Buf, Bytes};

use super::WireError;
use crate::entry::EntryId;

/// Reads fields off the front of a buffer, and slices without copying.
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.0.try_get_u8().map_err(|_| WireError::Short)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.0.try_get_u32_le().map_err(|_| WireError::Short)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.0.try_get_u64_le().map_err(|_| WireError::Short)
    }

    pub(super) fn u128(&mut self) -> Result<u128, WireError> {
        self.0.try_get_u128_le().map_err(|_| WireError::Short)
    }

    pub(super) fn id(&mut self) -> Result<EntryId, WireError> {
        Ok(EntryId::new(self.u64()?, self.u64()?))
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Field(field)),
        }
    }

    /// A flag and a number, which is zero if the flag is.
    pub(super) fn optional_u64(&mut self, field: &'static str) -> Result<Option<u64>, WireError> {
        match (self.flag(field)?, self.u64()?) {
            (true, number) => Ok(Some(number)),
            (false, 0) => Ok(None),
            (false, _) => Err(WireError::Field(field)),
        }
    }

    /// A count of things that take at least `bytes_each`: checked against what is left, so that a claim
    /// allocates nothing.
    pub(super) fn count(&mut self, bytes_each: usize) -> Result<usize, WireError> {
        let count = self.u32()? as usize;
        if count.checked_mul(bytes_each).is_none_or(|bytes| bytes > self.0.len()) {
            return Err(WireError::Short);
        }
        Ok(count)
    }

    pub(super) fn u32s(&mut self) -> Result<Vec<u32>, WireError> {
        let count = self.count(4)?;
        (0..count).map(|_| self.u32()).collect()
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<Bytes, WireError> {
        if length > self.0.len() {
            return Err(WireError::Short);
        }
        Ok(self.0.split_to(length))
    }

    pub(super) fn finish(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
    }
}
