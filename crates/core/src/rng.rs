use core::ops::Range;
use core::time::Duration;

/// A seeded generator (xoshiro256++ 1.0, Blackman and Vigna 2018, seeded by splitmix64).
///
/// The same seed gives the same draws on every machine and in every version: simulations replay by it. It is
/// not for secrets. A draw costs about a nanosecond; a clone continues the same sequence.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator that is determined by `seed` alone.
    pub const fn from_seed(seed: u64) -> Self {
        let mut mixed = seed;
        let mut state = [0; 4];
        let mut word = 0;
        while word < 4 {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            state[word] = splitmix(mixed);
            word += 1;
        }
        Self { state }
    }

    /// A generator for a part of the program, independent of this one's later draws.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.next_u64())
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let drawn = s0.wrapping_add(*s3).rotate_left(23).wrapping_add(*s0);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        drawn
    }

    /// A number in `range`, uniform up to a bias of 2⁻⁶⁴ times its width; the start if the range is empty.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        let width = u128::from(range.end.saturating_sub(range.start));
        let scaled = (u128::from(self.next_u64()) * width) >> 64;
        range.start + scaled as u64
    }

    /// An index below `len`; zero if `len` is zero.
    pub fn index(&mut self, len: usize) -> usize {
        self.range(0..len as u64) as usize
    }

    /// A duration in `range`, to the nanosecond; the start if the range is empty. Both ends are cut to 584
    /// years, the most that 64 bits of nanoseconds hold.
    pub fn duration(&mut self, range: Range<Duration>) -> Duration {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.range(nanos(range.start)..nanos(range.end)))
    }

    /// True with a probability of `millionths` in a million: never for zero, always from a million on. Integer,
    /// so that all platforms agree.
    pub fn chance(&mut self, millionths: u32) -> bool {
        self.range(0..1_000_000) < u64::from(millionths)
    }
}

const fn splitmix(mixed: u64) -> u64 {
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
