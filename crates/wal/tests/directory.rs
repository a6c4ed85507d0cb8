//! The log over the file system.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it stands")]

use std::fs;

use quorate_wal::{Config, Directory, Error, Log, StreamId};

const A: StreamId = StreamId::new(1);

#[test]
fn records_survive_reopening_a_directory() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("not/there/yet");
    let mut log = Log::open(&path).unwrap();
    let store = log.store_id();
    for index in 1..100 {
        log.append(A, index, &[index as u8; 1000]).unwrap();
        log.commit().unwrap();
    }
    log.write_sealed("snapshot", b"contents").unwrap();
    drop(log);
    let log = Log::open(&path).unwrap();
    assert_eq!((log.range(A), log.store_id()), (1..100, store));
    assert_eq!(log.read(A, 1, 100, usize::MAX).unwrap().len(), 99);
    assert_eq!(log.read_sealed("snapshot").unwrap().unwrap(), "contents");
}

#[test]
fn a_directory_in_use_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let log = Log::open(parent.path()).unwrap();
    assert!(matches!(Log::open(parent.path()), Err(Error::Locked)));
    drop(log);
    Log::open(parent.path()).unwrap();
}

#[test]
fn a_path_that_is_a_file_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("file");
    fs::write(&path, b"").unwrap();
    assert!(matches!(Log::open(&path), Err(Error::Read { .. })));
}

#[test]
fn segments_are_prepared_on_another_thread_and_recycled() {
    let parent = tempfile::tempdir().unwrap();
    let config = Config::with_segment_bytes(64 << 10);
    let mut log = Log::open_with(parent.path(), config.clone()).unwrap();
    for index in 1..1000 {
        log.append(A, index, &[index as u8; 1000]).unwrap();
        log.remove_prefix(A, index).unwrap();
        log.commit().unwrap();
    }
    assert!(log.disk_bytes() <= 4 * (64 << 10));
    let spares_and_live = fs::read_dir(parent.path()).unwrap().count();
    assert!(spares_and_live <= 10, "{spares_and_live} files");
    log.close().unwrap();
    let log = Log::open_with(parent.path(), config).unwrap();
    assert_eq!(log.range(A), 999..1000);
}

#[test]
fn a_new_log_takes_little_space() {
    let parent = tempfile::tempdir().unwrap();
    let directory = Directory::open(parent.path()).unwrap();
    assert_eq!(directory.path(), parent.path());
    let log = Log::with_disk(directory, Config::default()).unwrap();
    assert_eq!(log.disk_bytes(), 1 << 20);
}

#[test]
fn two_logs_on_one_directory_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let directory = Directory::open(parent.path()).unwrap();
    let log = Log::with_disk(directory.clone(), Config::default()).unwrap();
    assert!(matches!(Log::with_disk(directory.clone(), Config::default()), Err(Error::Locked)));
    let sealed = log.sealed();
    drop((log, directory));
    assert!(matches!(Log::open(parent.path()), Err(Error::Locked)), "the handle keeps the lock");
    drop(sealed);
    Log::open(parent.path()).unwrap();
}
