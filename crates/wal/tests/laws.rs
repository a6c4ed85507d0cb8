//! The log does what a vector per stream does, however it is written, maintained and reopened.

mod oracle;

use oracle::{Change, Model, contents};
use proptest::prelude::*;
use quorate_core::Rng;
use quorate_wal::{Config, Log, SimulatedDisk};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn log_equals_the_naive_one(
        seed in any::<u64>(),
        steps in proptest::collection::vec(0u8..20, 1..400),
        streams in 1u64..6,
        spares in 0usize..3,
    ) {
        let config = Config { spare_segments: spares, ..Config::with_segment_bytes(4096) };
        let disk = SimulatedDisk::new(seed);
        let mut rng = Rng::from_seed(seed);
        let mut log = Log::with_disk(disk.clone(), config.clone())?;
        let mut model = Model::new();
        for step in steps {
            match step {
                0 => log.write()?,
                1 | 2 => log.commit()?,
                3 => log.maintain()?,
                4 => {
                    log.commit()?;
                    disk.restart();
                    log = Log::with_disk(disk.clone(), config.clone())?;
                }
                _ => {
                    let change = Change::draw(&mut rng, &model, streams, 900);
                    change.stage(&mut log)?;
                    model = change.apply(&model).pop().expect("at least one step");
                }
            }
            if step < 6 {
                prop_assert_eq!(&contents(&log)?, &model);
            }
        }
        log.commit()?;
        drop(log);
        prop_assert_eq!(&contents(&Log::with_disk(disk, config)?)?, &model);
    }

    #[test]
    fn space_is_bounded_by_what_is_live(seed in any::<u64>(), live in 1u64..200) {
        let config = Config::with_segment_bytes(4096);
        let mut log = Log::with_disk(SimulatedDisk::new(seed), config)?;
        let mut rng = Rng::from_seed(seed);
        let mut kept = 0;
        for index in 1..1500u64 {
            let stream = quorate_wal::StreamId::new(rng.range(0..3));
            let next = log.range(stream).end.max(1);
            log.append(stream, next, &vec![7; rng.index(200)])?;
            let range = log.range(stream);
            if range.end - range.start > live {
                log.remove_prefix(stream, range.end - live)?;
            }
            if index % 3 == 0 {
                log.commit()?;
            }
            kept = (0..3).map(|id| log.range(quorate_wal::StreamId::new(id))).map(|r| r.end - r.start).sum();
        }
        // Twice the live bytes, two segments of slack, the newest, the one being emptied, and rounding.
        let bytes = 2 * kept * 228 + 6 * 4096;
        prop_assert!(log.disk_bytes() <= bytes, "{} bytes for {} records", log.disk_bytes(), kept);
    }
}
