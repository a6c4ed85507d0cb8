use core::hash::Hasher;

/// A hasher whose result is the same in every run and in every version, for
/// [`Core::fingerprint`](crate::Core::fingerprint) and for hashing traces.
///
/// Bytes go through FNV-1a, words of 64 bits through one folded multiplication each; a last mix spreads the
/// result. Not for placement and not against adversaries: whoever chooses the input can make two collide.
///
/// Single integers give the same result on every machine, `usize` and `isize` as 64 bits. A slice or array of
/// integers wider than a byte does not: std hands its memory over as it lies there, in the machine's own
/// byte order and width. Hash the elements one by one where big-endian or 32-bit machines must agree.
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

    // A whole word in one step, because fingerprints are taken millions of times in an exploration. Both halves
    // of the product are kept: in the lower one alone the top bits of a word reach few others, and a change
    // there could be undone by a change in the next word, so that two states would pass for one.
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * u128::from(FOLD);
        self.0 = product as u64 ^ (product >> 64) as u64;
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
const FOLD: u64 = 0x9e37_79b9_7f4a_7c15;
