//! What callers see: indices, limits, reading, space.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it stands")]

use quorate_core::{Outcome, StoreId};
use quorate_wal::{Config, Error, Log, SimulatedDisk, StreamId};

const A: StreamId = StreamId::new(1);
const B: StreamId = StreamId::new(2);

fn small() -> Config {
    Config::with_segment_bytes(4096)
}

fn log() -> (SimulatedDisk, Log<SimulatedDisk>) {
    let disk = SimulatedDisk::new(1);
    let log = Log::with_disk(disk.clone(), small()).unwrap();
    (disk, log)
}

fn indices(log: &Log<SimulatedDisk>, stream: StreamId) -> Vec<u64> {
    log.read(stream, 0, u64::MAX, usize::MAX).unwrap().into_iter().map(|(index, _)| index).collect()
}

#[test]
fn one_commit_of_many_streams_is_one_write_and_one_sync() {
    let (disk, mut log) = log();
    let (writes, syncs) = (disk.writes(), disk.syncs());
    for stream in 0..10 {
        log.append(StreamId::new(stream), 1, b"record").unwrap();
        log.set_state(StreamId::new(stream), b"term 1").unwrap();
    }
    log.commit().unwrap();
    log.commit().unwrap();
    assert_eq!((disk.writes() - writes, disk.syncs() - syncs), (1, 1));
}

#[test]
fn staged_and_unsynced_records_are_read_at_once() {
    let (_, mut log) = log();
    log.append(A, 7, b"staged").unwrap();
    assert_eq!(&log.read(A, 7, 8, 0).unwrap()[0].1[..], b"staged");
    log.write().unwrap();
    assert_eq!(&log.read(A, 7, 8, 0).unwrap()[0].1[..], b"staged");
    assert!(log.written() > log.durable());
    log.sync().unwrap();
    assert_eq!(log.written(), log.durable());
    assert_eq!(log.range(A), 7..8);
}

#[test]
fn a_read_may_run_from_written_into_staged_records() {
    let (_, mut log) = log();
    log.append(A, 1, b"synced").unwrap();
    log.commit().unwrap();
    log.append(A, 2, b"written").unwrap();
    log.write().unwrap();
    for index in 3..30 {
        log.append(A, index, &[index as u8; 300]).unwrap();
    }
    let read = log.read(A, 1, 30, usize::MAX).unwrap();
    assert_eq!(read.len(), 29);
    assert!(read[2..].iter().all(|(index, payload)| payload[..] == [*index as u8; 300]));
}

#[test]
fn reading_stops_at_the_limit_but_gives_at_least_one() {
    let (_, mut log) = log();
    for index in 1..40 {
        log.append(A, index, &[index as u8; 100]).unwrap();
        if index % 3 == 0 {
            log.commit().unwrap();
        }
    }
    let count = |from, to, max| log.read(A, from, to, max).unwrap().len();
    assert_eq!(count(1, 40, 0), 1);
    assert_eq!(count(1, 40, 100), 1);
    assert_eq!(count(1, 40, 250), 2);
    assert_eq!(count(5, 9, usize::MAX), 4);
    assert_eq!(count(9, 5, usize::MAX), 0);
    assert_eq!(count(40, 50, usize::MAX), 0);
    for (index, payload) in log.read(A, 1, 40, usize::MAX).unwrap() {
        assert_eq!(&payload[..], &[index as u8; 100]);
    }
}

#[test]
fn indices_must_follow_each_other() {
    let (_, mut log) = log();
    log.append(A, 3, b"").unwrap();
    let error = log.append(A, 5, b"").unwrap_err();
    assert!(matches!(error, Error::NotContiguous { expected: 4, given: 5, .. }));
    assert_eq!(error.outcome(), Outcome::NotDone);
    assert!(matches!(log.truncate(A, 2), Err(Error::OutOfRange { first: 3, next: 4, .. })));
    assert!(matches!(log.remove_prefix(A, 5), Err(Error::OutOfRange { .. })));
    assert!(matches!(log.truncate(B, 2), Err(Error::UnknownStream { .. })));
    assert!(matches!(log.append(B, u64::MAX, b""), Err(Error::OutOfRange { .. })));
    log.truncate(A, 4).unwrap();
    log.remove_prefix(A, 4).unwrap();
    assert_eq!(log.range(A), 4..4);
}

#[test]
fn truncation_prefix_removal_and_reset_survive_reopening() {
    let (disk, mut log) = log();
    for index in 1..11 {
        log.append(A, index, &[1; 10]).unwrap();
        log.append(B, index, &[2; 10]).unwrap();
    }
    log.commit().unwrap();
    log.truncate(A, 8).unwrap();
    log.append(A, 8, b"other").unwrap();
    log.remove_prefix(A, 4).unwrap();
    log.reset(B, 100).unwrap();
    log.set_state(B, b"vote").unwrap();
    log.commit().unwrap();
    drop(log);
    let mut log = Log::with_disk(disk.clone(), small()).unwrap();
    assert_eq!(indices(&log, A), [4, 5, 6, 7, 8]);
    assert_eq!(&log.read(A, 8, 9, 0).unwrap()[0].1[..], b"other");
    assert_eq!(log.range(B), 100..100);
    assert_eq!(log.state(B).unwrap(), "vote");
    log.remove_stream(B).unwrap();
    log.commit().unwrap();
    drop(log);
    let log = Log::with_disk(disk, small()).unwrap();
    assert_eq!(log.streams().collect::<Vec<_>>(), [A]);
    assert_eq!(log.state(B), None);
}

#[test]
fn limits_are_typed_and_nothing_is_staged() {
    let config = Config { stage_bytes_max: 3000, streams_max: 2, ..small() };
    let mut log = Log::with_disk(SimulatedDisk::new(1), config).unwrap();
    assert!(matches!(log.append(A, 1, &[0; 1025]), Err(Error::TooLarge { bytes: 1025, max: 1024, .. })));
    assert!(matches!(log.set_state(A, &[0; 257]), Err(Error::TooLarge { max: 256, .. })));
    assert_eq!(log.streams().count(), 0);
    for index in 1..3 {
        log.append(A, index, &[0; 1024]).unwrap();
    }
    assert!(matches!(log.append(A, 3, &[0; 1024]), Err(Error::StageFull { max: 3000 })));
    assert_eq!(log.range(A), 1..3);
    log.commit().unwrap();
    log.append(A, 3, &[0; 1024]).unwrap();
    log.set_state(B, b"").unwrap();
    let third = StreamId::new(3);
    assert!(matches!(log.append(third, 1, b""), Err(Error::TooManyStreams { max: 2 })));
    assert!(matches!(log.set_state(third, b""), Err(Error::TooManyStreams { max: 2 })));
}

#[test]
fn config_names_the_field_that_is_wrong() {
    let refused = |config: Config| match Log::with_disk(SimulatedDisk::new(1), config) {
        Err(Error::Config { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Config { segment_bytes: 1000, ..Config::default() }), "segment_bytes");
    assert_eq!(refused(Config { segment_bytes: 5000, ..Config::default() }), "segment_bytes");
    assert_eq!(refused(Config { spare_segments: 65, ..Config::default() }), "spare_segments");
    assert_eq!(refused(Config { record_bytes_max: 0, ..Config::default() }), "record_bytes_max");
    assert_eq!(refused(Config { record_bytes_max: 64 << 20, ..Config::default() }), "record_bytes_max");
    assert_eq!(refused(Config { state_bytes_max: 2 << 20, ..Config::default() }), "state_bytes_max");
    assert_eq!(refused(Config { stage_bytes_max: 1024, ..Config::default() }), "stage_bytes_max");
    assert_eq!(refused(Config { streams_max: 0, ..Config::default() }), "streams_max");
    assert_eq!(refused(Config { sealed_bytes_max: 0, ..Config::default() }), "sealed_bytes_max");
}

#[test]
fn the_largest_record_fits_a_segment_of_its_own() {
    let max = 4096 - 604;
    let config = Config { record_bytes_max: max, ..small() };
    let disk = SimulatedDisk::new(1);
    let mut log = Log::with_disk(disk.clone(), config.clone()).unwrap();
    for index in 1..6 {
        log.append(A, index, &vec![index as u8; max]).unwrap();
    }
    log.commit().unwrap();
    drop(log);
    let log = Log::with_disk(disk, config).unwrap();
    assert_eq!(log.read(A, 1, 6, usize::MAX).unwrap().len(), 5);
}

#[test]
fn space_returns_although_a_laggard_keeps_its_records() {
    let (disk, mut log) = log();
    for index in 1..4 {
        log.append(B, index, &[9; 200]).unwrap();
    }
    log.set_state(B, b"old vote").unwrap();
    for index in 1..2000 {
        log.append(A, index, &[1; 300]).unwrap();
        log.remove_prefix(A, index.saturating_sub(5).max(1)).unwrap();
        log.commit().unwrap();
        assert!(log.disk_bytes() <= 8 * 4096, "{} bytes at {index}", log.disk_bytes());
    }
    assert!(disk.used() <= 12 * 4096);
    drop(log);
    let log = Log::with_disk(disk, small()).unwrap();
    assert_eq!(log.range(B), 1..4);
    assert_eq!(log.read(B, 1, 4, usize::MAX).unwrap().iter().filter(|(_, p)| p[..] == [9; 200]).count(), 3);
    assert_eq!(log.state(B).unwrap(), "old vote");
    assert_eq!(log.range(A), 1994..2000);
}

#[test]
fn space_returns_under_a_full_live_segment_in_front() {
    let (disk, mut log) = log();
    for index in 1..100 {
        log.append(B, index, &[9; 200]).unwrap();
    }
    log.commit().unwrap();
    for index in 1..3000 {
        log.append(A, index, &[1; 300]).unwrap();
        log.remove_prefix(A, index).unwrap();
        log.commit().unwrap();
    }
    // 99 records of 228 bytes are six segments; twice that and four are the promise.
    assert!(log.disk_bytes() <= 17 * 4096, "{}", log.disk_bytes());
    drop(log);
    let log = Log::with_disk(disk, small()).unwrap();
    assert_eq!(log.read(B, 1, 100, usize::MAX).unwrap().len(), 99);
}

#[test]
fn maintaining_moves_records_and_prepares_the_next_segment() {
    let (disk, mut log) = log();
    for index in 1..60 {
        log.append(A, index, &[1; 300]).unwrap();
    }
    log.append(B, 1, b"laggard").unwrap();
    log.commit().unwrap();
    log.remove_prefix(A, 60).unwrap();
    log.maintain().unwrap();
    log.maintain().unwrap();
    assert!(log.disk_bytes() <= 3 * 4096, "{}", log.disk_bytes());
    let operations = disk.operations();
    log.maintain().unwrap();
    assert_eq!(disk.operations(), operations, "there is nothing left to do");
    assert_eq!(log.range(B), 1..2);
}

#[test]
fn thousands_of_streams_share_a_log() {
    let config = Config::with_segment_bytes(64 << 10);
    let disk = SimulatedDisk::new(1);
    let mut log = Log::with_disk(disk.clone(), config.clone()).unwrap();
    for round in 1..6 {
        for stream in 0..3000 {
            log.append(StreamId::new(stream), round, &stream.to_le_bytes()).unwrap();
            log.set_state(StreamId::new(stream), &[round as u8]).unwrap();
            log.remove_prefix(StreamId::new(stream), round).unwrap();
        }
        log.commit().unwrap();
    }
    drop(log);
    let log = Log::with_disk(disk, config).unwrap();
    assert_eq!(log.streams().count(), 3000);
    assert!(log.streams().all(|stream| log.range(stream) == (5..6) && log.state(stream).unwrap()[..] == [5]));
}

#[test]
fn sealed_files_are_replaced_listed_and_removed() {
    let (disk, mut log) = log();
    assert_eq!(log.read_sealed("snapshot").unwrap(), None);
    log.write_sealed("snapshot", b"one").unwrap();
    log.write_sealed("snapshot", &vec![7; 3 << 20]).unwrap();
    log.write_sealed("other-1.a_b", b"").unwrap();
    assert_eq!(log.read_sealed("snapshot").unwrap().unwrap().len(), 3 << 20);
    assert_eq!(log.list_sealed().unwrap(), ["other-1.a_b", "snapshot"]);
    assert!(log.remove_sealed("snapshot").unwrap());
    assert!(!log.remove_sealed("snapshot").unwrap());
    for name in ["", ".x", "A", "a/b", &"x".repeat(101)] {
        assert!(matches!(log.write_sealed(name, b""), Err(Error::SealedName { .. })));
    }
    log.write_sealed("snapshot", b"whole").unwrap();
    assert!(disk.flip_bit("snapshot.sealed", 8 * 50));
    assert!(matches!(log.read_sealed("snapshot"), Err(Error::Damaged { .. })));
    assert!(disk.truncate("snapshot.sealed", 20));
    assert!(matches!(log.read_sealed("snapshot"), Err(Error::Damaged { .. })));
    let config = Config { sealed_bytes_max: 10, ..small() };
    let mut log = Log::with_disk(SimulatedDisk::new(2), config).unwrap();
    assert!(matches!(log.write_sealed("a", &[0; 11]), Err(Error::TooLarge { max: 10, .. })));
}

#[test]
fn the_store_keeps_its_identity() {
    let id = Some(StoreId::new(42));
    let disk = SimulatedDisk::new(1);
    let log = Log::with_disk(disk.clone(), Config { store_id: id, ..small() }).unwrap();
    assert_eq!(log.store_id(), StoreId::new(42));
    drop(log);
    assert_eq!(Log::with_disk(disk, small()).unwrap().store_id(), StoreId::new(42));
    let other = Log::with_disk(SimulatedDisk::new(2), small()).unwrap();
    assert_ne!(other.store_id(), Log::with_disk(SimulatedDisk::new(3), small()).unwrap().store_id());
}

#[test]
fn segment_size_may_change_between_openings() {
    let disk = SimulatedDisk::new(1);
    let mut next = 1;
    for size in [16 << 10, 4096, 64 << 10, 8192] {
        let mut log = Log::with_disk(disk.clone(), Config::with_segment_bytes(size)).unwrap();
        log.append(B, log.range(B).end.max(1), &vec![3; size as usize / 4]).unwrap();
        for _ in 0..200 {
            log.append(A, next, &[1; 200]).unwrap();
            log.remove_prefix(A, next).unwrap();
            log.commit().unwrap();
            next += 1;
        }
    }
    let log = Log::with_disk(disk, small()).unwrap();
    assert_eq!(log.range(A), next - 1..next);
    assert_eq!(indices(&log, B), [1, 2, 3, 4]);
}
