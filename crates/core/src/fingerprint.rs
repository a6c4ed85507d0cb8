use core::hash::Hasher;

/// A hasher whose result is the same on every machine and in every run (FNV-1a over 64 bits, with a final
/// mix), for [`Core::fingerprint`](crate::Core::fingerprint) and for hashing traces.
///
/// Not for placement and not against adversaries. Integers are hashed as little-endian bytes, `usize` as 64
/// bits, so 32-bit machines agree.
///
/// ```
/// use core::hash::{Hash, Hasher};
/// use quorate_core::Fingerprint;
/// let mut fingerprint = Fingerprint::default();
/// (1u64, "vote").hash(&mut fingerprint);
/// assert_eq!(fingerprint.finish(), {
///     let mut again = Fingerprint::default();
///     (1u64, "vote").hash(&mut again);
///     again.finish()
/// });
/// ```
#[derive(Clone, Debug)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(OFFSET)
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.write(&number.to_le_bytes());
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    // A whole word in one step: fingerprints are taken millions of times in an exploration.
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(PRIME).rotate_left(29);
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64(number as u64);
        self.write_u64((number >> 64) as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;
