use bytes::{BufMut, Bytes, BytesMut};
use quorate_core::Rng;

/// Names an operation of a client: unique in a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OperationId(pub u64);

impl OperationId {
    /// A command that carries the name, padded to some length so that limits in bytes are met.
    pub(super) fn command(self, rng: &mut Rng, padding_max: u64) -> Bytes {
        let padding = rng.range(0..padding_max + 1) as usize;
        let mut bytes = BytesMut::with_capacity(8 + padding);
        bytes.put_u64(self.0);
        bytes.put_bytes(self.0 as u8, padding);
        bytes.freeze()
    }

    /// The operation that a command belongs to.
    pub(super) fn of(command: &[u8]) -> Option<Self> {
        let id = command.first_chunk::<8>()?;
        Some(Self(u64::from_be_bytes(*id)))
    }
}
