//! What a damaged, foreign, full or failing disk leads to: a typed error, and never a wrong answer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it stands")]

mod oracle;

use oracle::{Change, Model, contents};
use proptest::prelude::*;
use quorate_core::{Outcome, Rng, StoreId};
use quorate_wal::{Config, CrashFates, Error, Log, SimulatedDisk, StreamId};

const A: StreamId = StreamId::new(1);

fn config() -> Config {
    Config { store_id: Some(StoreId::new(0xfeed)), ..Config::with_segment_bytes(4096) }
}

fn open(disk: &SimulatedDisk) -> Result<Log<SimulatedDisk>, Error> {
    Log::with_disk(disk.clone(), config())
}

fn image(disk: &SimulatedDisk) -> Vec<(String, Option<Vec<u8>>)> {
    disk.names().into_iter().map(|name| (name.clone(), disk.contents(&name))).collect()
}

fn segments(disk: &SimulatedDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".segment")).collect()
}

/// A log of three segments, each change committed on its own, and the model after each.
fn filled(seed: u64, changes: usize) -> (SimulatedDisk, Log<SimulatedDisk>, Vec<Model>) {
    let disk = SimulatedDisk::new(seed);
    let mut log = open(&disk).unwrap();
    let mut rng = Rng::from_seed(seed);
    let mut history = vec![Model::new()];
    for _ in 0..changes {
        let change = Change::draw(&mut rng, history.last().unwrap(), 3, 300);
        change.stage(&mut log).unwrap();
        log.commit().unwrap();
        let after = change.apply(history.last().unwrap()).pop().unwrap();
        if after != *history.last().unwrap() {
            history.push(after);
        }
    }
    (disk, log, history)
}

/// Opens a damaged disk and answers what it holds; on refusal, nothing may have been changed.
fn open_damaged(disk: &SimulatedDisk) -> Option<Model> {
    let before = image(disk);
    match open(disk) {
        Ok(log) => Some(contents(&log).expect("every record was checked when it opened")),
        Err(error) => {
            assert_eq!(error.outcome(), Outcome::NotDone);
            assert!(image(disk) == before, "refused with {error}, but the disk was changed");
            None
        }
    }
}

#[test]
fn a_flipped_bit_in_a_closed_log_is_found_or_harmless() {
    let (disk, log, history) = filled(5, 60);
    log.close().unwrap();
    let mut rng = Rng::from_seed(1);
    let mut refused = 0;
    for (name, bytes) in image(&disk) {
        for byte in 0..bytes.unwrap().len() as u64 {
            let disk = disk.fork(byte);
            assert!(disk.flip_bit(&name, byte * 8 + rng.range(0..8)));
            match open_damaged(&disk) {
                Some(found) => assert_eq!(&found, history.last().unwrap(), "byte {byte} of {name}"),
                None => refused += 1,
            }
        }
    }
    assert!(refused > 5000, "only {refused} of the flips were refused");
}

#[test]
fn a_flipped_bit_in_an_unclosed_log_costs_the_last_group_at_most() {
    let (disk, log, history) = filled(6, 40);
    drop(log);
    let allowed = &history[history.len() - 2..];
    for (name, bytes) in image(&disk) {
        for byte in 0..bytes.unwrap().len() as u64 {
            let disk = disk.fork(byte);
            disk.flip_bit(&name, byte * 8 + byte % 8);
            if let Some(found) = open_damaged(&disk) {
                assert!(allowed.contains(&found), "byte {byte} of {name}: {found:?}");
            }
        }
    }
}

#[test]
fn a_shortened_segment_is_refused() {
    let (disk, log, _) = filled(5, 60);
    log.close().unwrap();
    for name in segments(&disk) {
        for length in (0..4096).step_by(61) {
            let disk = disk.fork(length);
            disk.truncate(&name, length);
            match open(&disk) {
                Err(Error::SegmentLength { file, found, .. }) => {
                    assert_eq!((file, found), (name.clone(), length))
                }
                other => panic!("{name} cut to {length}: {other:?}"),
            }
        }
    }
}

/// The newest live segment and the one before it.
fn newest(disk: &SimulatedDisk) -> (String, String) {
    let number = |name: &String| u32::from_le_bytes(disk.contents(name).unwrap()[32..36].try_into().unwrap());
    let mut names = segments(disk);
    names.sort_by_key(number);
    let top = names.pop().unwrap();
    (top, names.pop().unwrap())
}

#[test]
fn missing_double_and_foreign_files_are_refused() {
    use quorate_wal::Disk;
    let (disk, log, _) = filled(5, 60);
    log.close().unwrap();
    let (top, before) = newest(&disk);

    let other = disk.fork(1);
    other.remove(&before).unwrap();
    assert!(matches!(open(&other), Err(Error::SegmentMissing { .. })));

    let other = disk.fork(1);
    other.put("0000ffff.segment", &disk.contents(&top).unwrap());
    assert!(matches!(open(&other), Err(Error::SegmentTwice { .. })));

    let other = disk.fork(1);
    other.remove("store").unwrap();
    assert!(matches!(open(&other), Err(Error::StoreMissing)));

    let other = disk.fork(1);
    for name in segments(&disk) {
        other.remove(&name).unwrap();
    }
    assert!(matches!(open(&other), Err(Error::SegmentMissing { sequence: 1 })));

    let foreign = SimulatedDisk::new(9);
    drop(Log::with_disk(foreign.clone(), Config { store_id: None, ..config() }).unwrap());
    foreign.put(&top, &disk.contents(&top).unwrap());
    assert!(matches!(open(&foreign), Err(Error::Foreign { .. })));
}

#[test]
fn another_version_is_named() {
    let disk = SimulatedDisk::new(1);
    drop(open(&disk).unwrap());
    let name = segments(&disk).pop().unwrap();
    let mut bytes = disk.contents(&name).unwrap();
    bytes[12] = 9;
    let crc = crc32c::crc32c(&bytes[12..64]).to_le_bytes();
    bytes[8..12].copy_from_slice(&crc);
    disk.put(&name, &bytes);
    assert!(matches!(open(&disk), Err(Error::Version { found: 9, .. })));
}

#[test]
fn a_failed_sync_is_final() {
    let (disk, mut log, _) = filled(1, 5);
    log.append(StreamId::new(9), 1, b"never acknowledged").unwrap();
    disk.fail_next_sync();
    let error = log.commit().unwrap_err();
    assert!(matches!(error, Error::Write { action: "sync", .. }));
    assert_eq!(error.outcome(), Outcome::Unknown);
    let syncs = disk.syncs();
    assert!(matches!(log.commit(), Err(Error::Failed)));
    assert!(matches!(log.sync(), Err(Error::Failed)));
    assert!(matches!(log.append(A, 1, b""), Err(Error::Failed)));
    assert!(matches!(log.maintain(), Err(Error::Failed)));
    assert_eq!(disk.syncs(), syncs, "a failed sync is never tried again");
    assert_eq!(log.read(StreamId::new(9), 1, 2, 0).unwrap().len(), 1, "reading goes on");
    drop(log);
    disk.crash(CrashFates::LoseAll);
    open(&disk).unwrap();
}

#[test]
fn a_failed_write_is_final() {
    let (disk, mut log, history) = filled(1, 5);
    log.append(StreamId::new(9), 1, b"never written").unwrap();
    disk.fail_next_write();
    assert!(matches!(log.write(), Err(Error::Write { .. })));
    assert!(matches!(log.write(), Err(Error::Failed)));
    drop(log);
    assert_eq!(&contents(&open(&disk).unwrap()).unwrap(), history.last().unwrap());
}

#[test]
fn a_full_disk_keeps_what_is_staged_until_there_is_room() {
    let disk = SimulatedDisk::new(1);
    disk.set_capacity(Some(3 * 4096 + 100));
    let mut log = open(&disk).unwrap();
    let mut acknowledged = 0;
    let full = (1..).find_map(|index| {
        log.append(A, index, &[index as u8; 400]).unwrap();
        match log.commit() {
            Ok(()) => {
                acknowledged = index;
                None
            }
            Err(error) => Some(error),
        }
    });
    let full = full.unwrap();
    assert!(matches!(full, Error::Full { bytes: 4096, .. }), "{full}");
    assert_eq!(full.outcome(), Outcome::Unknown, "what is staged will be written yet");
    assert!(matches!(log.commit(), Err(Error::Full { .. })));
    let full = log.write_sealed("snapshot", &[0; 4096]).unwrap_err();
    assert!(matches!(full, Error::Full { .. }), "{full}");
    assert_eq!(full.outcome(), Outcome::NotDone);
    assert_eq!(log.read(A, 1, u64::MAX, usize::MAX).unwrap().len() as u64, acknowledged + 1);
    let crashed = disk.fork(1);
    crashed.crash(CrashFates::Random);
    crashed.set_capacity(None);
    assert_eq!(open(&crashed).unwrap().range(A), 1..acknowledged + 1);
    disk.set_capacity(None);
    log.commit().unwrap();
    drop(log);
    disk.crash(CrashFates::LoseAll);
    assert_eq!(open(&disk).unwrap().range(A), 1..acknowledged + 2);
}

#[test]
fn stale_bytes_of_a_recycled_segment_never_parse() {
    for fate in 0..100 {
        let disk = SimulatedDisk::new(fate);
        let mut log = open(&disk).unwrap();
        let mut synced = 0;
        for index in 1..60 + fate {
            // Records of one length put the groups of a segment's lives in the same places.
            log.append(A, index, &[index as u8; 172]).unwrap();
            log.remove_prefix(A, index).unwrap();
            log.write().unwrap();
            if index < 50 + fate {
                log.sync().unwrap();
            }
            synced = if log.durable() == log.written() { index } else { synced };
        }
        let written = log.range(A).end - 1;
        disk.crash(CrashFates::Random);
        let range = open(&disk).unwrap().range(A);
        assert!(range.end > synced && range.end <= written + 1, "fate {fate}: {range:?}, synced {synced}");
    }
}

#[test]
fn bytes_of_the_format_are_frozen() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk).unwrap();
    log.append(A, 1, b"one").unwrap();
    log.append(A, 2, b"two").unwrap();
    log.set_state(StreamId::new(2), b"term 3, vote 1").unwrap();
    log.commit().unwrap();
    log.truncate(A, 2).unwrap();
    log.remove_prefix(A, 2).unwrap();
    log.reset(StreamId::new(3), 50).unwrap();
    log.remove_stream(StreamId::new(2)).unwrap();
    log.close().unwrap();
    let segment = disk.contents("00000001.segment").unwrap();
    assert_eq!(segment.len(), 4096);
    assert_eq!(crc32c::crc32c(&segment), SEGMENT, "segments of earlier versions no longer open");
    assert_eq!(crc32c::crc32c(&disk.contents("store").unwrap()), STORE, "the store file has changed");
}

const SEGMENT: u32 = 498_387_205;
const STORE: u32 = 1_891_706_456;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_bytes_in_a_segment_never_panic(
        at in 0usize..4096,
        patch in proptest::collection::vec(any::<u8>(), 1..600),
        victim in 0usize..3,
    ) {
        let (disk, log, _) = filled(5, 60);
        log.close().unwrap();
        let name = segments(&disk)[victim].clone();
        let mut bytes = disk.contents(&name).unwrap();
        let end = (at + patch.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&patch[..end - at]);
        disk.put(&name, &bytes);
        open_damaged(&disk);
    }

    #[test]
    fn arbitrary_files_never_panic(
        segment in proptest::collection::vec(any::<u8>(), 0..2000),
        store in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let disk = SimulatedDisk::new(1);
        disk.put("00000001.segment", &segment);
        open_damaged(&disk);
        disk.put("store", &store);
        open_damaged(&disk);
    }
}
