//! What the log copies, keeps and prepares: never more than it gives back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it stands")]

use std::io;

use quorate_wal::{Claim, Config, Disk, Error, Log, Open, SimulatedDisk, SimulatedFile, StreamId};

const A: StreamId = StreamId::new(1);
const B: StreamId = StreamId::new(2);

/// The number of the newest segment, from the headers.
fn newest_segment(disk: &SimulatedDisk) -> u32 {
    let segments = disk.names().into_iter().filter(|name| name.ends_with(".segment"));
    let number = |name: String| u32::from_le_bytes(disk.contents(&name).unwrap()[32..36].try_into().unwrap());
    segments.map(number).max().unwrap()
}

#[test]
fn states_that_fill_segments_are_not_copied_for_ever() {
    let disk = SimulatedDisk::new(1);
    let config = Config::with_segment_bytes(64 << 10);
    let mut log = Log::with_disk(disk.clone(), config.clone()).unwrap();
    for stream in 0..2000 {
        log.set_state(StreamId::new(100 + stream), &[1; 50]).unwrap();
        if stream % 100 == 0 {
            log.commit().unwrap();
        }
    }
    log.commit().unwrap();
    let before = newest_segment(&disk);
    let rounds = 2000;
    for index in 1..=rounds {
        log.append(A, index, &[1; 20]).unwrap();
        log.remove_prefix(A, index).unwrap();
        log.commit().unwrap();
    }
    // A round is a record, a removal and a group header; the states are copied when as much is dead.
    let written = u64::from(newest_segment(&disk) - before) << 16;
    assert!(written <= 3 * rounds * (48 + 28 + 56), "{written} bytes were written");
    assert!(log.disk_bytes() <= 2 * 2000 * 78 + 6 * (64 << 10), "{} bytes", log.disk_bytes());
    drop(log);
    let log = Log::with_disk(disk, config).unwrap();
    assert!((0..2000).all(|stream| log.state(StreamId::new(100 + stream)).unwrap()[..] == [1; 50]));
}

#[test]
fn a_few_states_in_front_leave_at_once() {
    let disk = SimulatedDisk::new(1);
    let mut log = Log::with_disk(disk.clone(), Config::with_segment_bytes(4096)).unwrap();
    for stream in 100..120 {
        log.set_state(StreamId::new(stream), &[1; 50]).unwrap();
    }
    for index in 1..500 {
        log.append(A, index, &[1; 100]).unwrap();
        log.remove_prefix(A, index).unwrap();
        log.commit().unwrap();
        assert!(log.disk_bytes() <= 6 * 4096, "{} bytes at {index}", log.disk_bytes());
    }
    drop(log);
    let log = Log::with_disk(disk, Config::with_segment_bytes(4096)).unwrap();
    assert_eq!((100..120).filter(|stream| log.state(StreamId::new(*stream)).is_some()).count(), 20);
}

#[test]
fn removing_a_prefix_costs_what_is_removed() {
    // With a cost that grows with what stays, this would copy a hundred gigabytes.
    let records = 150_000;
    let mut log = Log::with_disk(SimulatedDisk::new(1), Config::default()).unwrap();
    for index in 1..=records {
        log.append(A, index, b"x").unwrap();
    }
    log.commit().unwrap();
    for before in 2..=records {
        log.remove_prefix(A, before).unwrap();
    }
    log.commit().unwrap();
    assert_eq!(log.range(A), records..records + 1);
    assert_eq!(&log.read(A, 0, u64::MAX, 1).unwrap()[0].1[..], b"x");
}

#[test]
fn a_commit_repeated_on_a_full_disk_adds_nothing_to_what_is_staged() {
    let disk = SimulatedDisk::new(1);
    let config = Config { spare_segments: 0, ..Config::with_segment_bytes(64 << 10) };
    let mut log = Log::with_disk(disk.clone(), config.clone()).unwrap();
    let records = 1500;
    for index in 1..records {
        log.append(A, index, &[1; 200]).unwrap();
        log.append(B, index, &[2; 200]).unwrap();
        if index % 300 == 0 {
            log.commit().unwrap();
        }
    }
    log.commit().unwrap();
    disk.set_capacity(Some(disk.used()));
    log.remove_prefix(A, records).unwrap();
    let next = (records..)
        .find(|index| {
            log.append(B, *index, &[3; 500]).unwrap();
            match log.commit() {
                Ok(()) => false,
                Err(Error::Full { .. }) => true,
                Err(error) => panic!("{error}"),
            }
        })
        .unwrap();
    let staged = log.staged_bytes();
    for _ in 0..20 {
        assert!(matches!(log.commit(), Err(Error::Full { .. })));
        assert_eq!(log.staged_bytes(), staged);
    }
    disk.set_capacity(None);
    log.commit().unwrap();
    assert_eq!(log.staged_bytes(), 0);
    drop(log);
    assert_eq!(Log::with_disk(disk, config).unwrap().range(B), 1..next + 1);
}

/// A simulated disk on which the log prepares its segments on another thread.
#[derive(Clone)]
struct Concurrent(SimulatedDisk);

impl Disk for Concurrent {
    type File = SimulatedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn open(&self, name: &str, open: Open) -> io::Result<SimulatedFile> {
        self.0.open(name, open)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }

    fn claim(&self) -> io::Result<Claim> {
        self.0.claim()
    }

    fn concurrent(&self) -> bool {
        true
    }
}

/// Syncs, which looks after the preparing thread, until `done`.
fn sync_until(log: &mut Log<Concurrent>, mut done: impl FnMut() -> bool) {
    for _ in 0..3_000_000 {
        log.sync().unwrap();
        if done() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the preparing thread gets nowhere");
}

/// Mebibytes of all segments; `None` while one is being written.
fn segments_mib(disk: &SimulatedDisk) -> Option<u64> {
    let whole = disk.names().iter().all(|name| !name.ends_with(".new"));
    whole.then_some(disk.used() >> 20)
}

#[test]
fn preparing_goes_on_after_a_record_with_a_segment_of_its_own() {
    let disk = SimulatedDisk::new(1);
    let config = Config { segment_bytes: 16 << 20, record_bytes_max: 10 << 20, ..Config::default() };
    let mut log = Log::with_disk(Concurrent(disk.clone()), config).unwrap();
    // More than half of the first segment: the second, of 4 MiB, is begun. The next record does not fit it.
    log.append(A, 1, &vec![1; 600 << 10]).unwrap();
    log.commit().unwrap();
    log.append(A, 2, &vec![2; 5 << 20]).unwrap();
    log.commit().unwrap();
    sync_until(&mut log, || segments_mib(&disk) == Some(1 + 16));
    log.append(A, 3, &vec![3; 5 << 20]).unwrap();
    log.commit().unwrap();
    sync_until(&mut log, || segments_mib(&disk) == Some(1 + 16 + 16));
    let before = disk.names();
    log.append(A, 4, &vec![4; 10 << 20]).unwrap();
    log.commit().unwrap();
    let head =
        before.iter().filter_map(|name| disk.contents(name)).find(|bytes| bytes[32..36] == [3, 0, 0, 0]);
    assert!(head.is_some(), "the segment was there already");
}

#[test]
fn a_preparing_thread_whose_sync_fails_ends_the_log_with_the_next_write() {
    let disk = SimulatedDisk::new(1);
    let mut log = Log::with_disk(Concurrent(disk.clone()), Config::default()).unwrap();
    log.append(A, 1, &vec![1; 600 << 10]).unwrap();
    log.write().unwrap();
    disk.fail_next_directory_sync();
    log.sync().unwrap();
    let failed = (2..1_000_000).find_map(|index| {
        log.sync().unwrap();
        std::thread::yield_now();
        log.append(A, index, b"").unwrap();
        log.write().err()
    });
    assert!(matches!(failed, Some(Error::Write { action: "prepare", .. })), "{failed:?}");
    assert!(matches!(log.write(), Err(Error::Failed)));
}
