//! Draws and hashes that must never change: a seed printed by an old build replays only while they hold.

use core::hash::{Hash, Hasher};
use core::time::Duration;

use quorate_core::{Fingerprint, NodeId, Rng, Time};

fn fingerprint(value: impl Hash) -> u64 {
    let mut fingerprint = Fingerprint::default();
    value.hash(&mut fingerprint);
    fingerprint.finish()
}

/// The first four draws and the thousandth, as the reference xoshiro256++ seeded by splitmix64 makes them.
const DRAWS: [(u64, [u64; 5]); 3] = [
    (
        0,
        [
            0x5317_5d61_490b_23df,
            0x61da_6f3d_c380_d507,
            0x5c0f_df91_ec9a_7bfc,
            0x02ee_bf8c_3bbe_5e1a,
            0x3763_00fa_032f_6483,
        ],
    ),
    (
        7,
        [
            0x0e2c_1a00_2aae_913d,
            0x2c0f_c8dd_fa4e_9e14,
            0xb7b3_11b3_b0d4_5872,
            0x6d5d_9f6a_6318_013c,
            0x0e99_781d_434a_21d9,
        ],
    ),
    (
        u64::MAX,
        [
            0x56cc_f8ce_948e_27b2,
            0xe685_8843_2e5a_5b90,
            0xe3e9_b5a4_8119_ca8b,
            0x460f_1949_5532_ae73,
            0x6e67_f58f_11f3_5060,
        ],
    ),
];

#[test]
fn draws_are_those_of_the_reference_generator() {
    for (seed, expected) in DRAWS {
        let mut rng = Rng::from_seed(seed);
        let draws: Vec<u64> = (0..1_000).map(|_| rng.next_u64()).collect();
        assert_eq!([draws[0], draws[1], draws[2], draws[3], draws[999]], expected, "seed {seed}");
    }
}

#[test]
fn what_is_made_of_draws_is_frozen() {
    let mut rng = Rng::from_seed(7);
    assert_eq!([(); 8].map(|()| rng.range(10..20)), [10, 11, 17, 14, 19, 14, 17, 13]);
    assert_eq!([(); 8].map(|()| rng.index(5)), [4, 0, 0, 0, 3, 0, 2, 0]);
    let span = Duration::from_millis(150)..Duration::from_millis(300);
    assert_eq!(
        [(); 4].map(|()| rng.duration(span.clone()).as_nanos()),
        [174_422_081, 177_664_216, 166_490_970, 268_490_641]
    );
    let hits = (0..16).filter(|_| rng.chance(250_000)).collect::<Vec<u32>>();
    assert_eq!(hits, [5, 6, 7, 11]);
    let mut fork = rng.fork();
    assert_eq!(fork.next_u64(), 0xafbf_abed_68d4_f728);
    assert_eq!(rng.next_u64(), 0x964e_a26a_b80f_31b4);
}

#[test]
fn fingerprints_are_frozen() {
    assert_eq!(Fingerprint::default().finish(), 0xfdbd_f6ac_4fc5_2e7f);
    assert_eq!(fingerprint("vote"), 0xfca8_b409_4cf8_ee7d);
    assert_eq!(fingerprint(1_u8), 0xc216_8cd9_40fa_59f9);
    assert_eq!(fingerprint(1_u16), 0x633d_7738_5116_67c1);
    assert_eq!(fingerprint(1_u32), 0x0850_4824_7f36_b0cd);
    assert_eq!(fingerprint(1_u64), 0x6aa5_66e2_db88_828e);
    assert_eq!(fingerprint(1_usize), fingerprint(1_u64));
    assert_eq!(fingerprint(-1_i64), 0xbf59_2815_f518_05c5);
    assert_eq!(fingerprint(1_u128 << 64 | 2), 0x3466_8182_400b_4372);
    assert_eq!(fingerprint((1_u64, "vote")), 0x9df5_4f9b_a042_9455);
    assert_eq!(fingerprint(Some(NodeId::new(3))), 0xeab6_c423_0435_d6a4);
    assert_eq!(fingerprint(None::<NodeId>), 0xc97b_b7e5_0307_a825);
    assert_eq!(fingerprint(Time::from_millis(5)), 0x5c6f_1299_c0a3_1b8a);
}

#[test]
fn bytes_are_hashed_by_the_published_fnv_1a() {
    let mut fingerprint = Fingerprint::default();
    fingerprint.write(b"foo");
    fingerprint.write(b"bar");
    // The published FNV-1a of "foobar", then the last mix.
    let published = 0x8594_4171_f739_67e8_u64;
    let mixed = (published ^ (published >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    assert_eq!(fingerprint.finish(), mixed ^ (mixed >> 32));
}
