//! What a process that was killed, or a sync that failed, leaves behind: it can be read, but is not durable.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it stands")]

use quorate_wal::{Config, CrashFates, Error, Log, SimulatedDisk, StreamId};

const A: StreamId = StreamId::new(1);

fn config() -> Config {
    Config::with_segment_bytes(4096)
}

fn open(disk: &SimulatedDisk) -> Result<Log<SimulatedDisk>, Error> {
    Log::with_disk(disk.clone(), config())
}

/// Appends records up to index `to` and commits each; answers the index behind the last acknowledged.
fn append_to(log: &mut Log<SimulatedDisk>, to: u64) -> u64 {
    let mut next = log.range(A).end.max(1);
    while next < to && log.append(A, next, &[next as u8; 200]).and_then(|()| log.commit()).is_ok() {
        next += 1;
    }
    next
}

fn lose_all(disk: &SimulatedDisk, seed: u64) -> SimulatedDisk {
    let disk = disk.fork(seed);
    disk.crash(CrashFates::LoseAll);
    disk
}

#[test]
fn what_is_acknowledged_after_a_kill_survives_a_loss_of_power() {
    let whole = SimulatedDisk::new(1);
    append_to(&mut open(&whole).unwrap(), 60);
    for killed_after in 0..whole.operations() {
        let disk = SimulatedDisk::new(1);
        disk.stop_after(killed_after);
        let acknowledged = open(&disk).map_or(0, |mut log| append_to(&mut log, 60));
        disk.restart();
        let mut log = open(&disk).unwrap();
        let found = log.range(A).end.max(1);
        assert!(found >= acknowledged, "killed after {killed_after}: {found} of {acknowledged}");
        for next in found + 1..found + 30 {
            assert_eq!(append_to(&mut log, next), next);
            let log = open(&lose_all(&disk, 7));
            let survived = log.map(|log| log.range(A).end).map_err(|error| error.to_string());
            assert_eq!(survived, Ok(next), "killed after {killed_after}");
        }
    }
}

#[test]
fn a_sealed_file_that_is_read_after_a_kill_survives_a_loss_of_power() {
    for killed_after in 0.. {
        let disk = SimulatedDisk::new(1);
        let mut log = open(&disk).unwrap();
        append_to(&mut log, 4);
        disk.stop_after(disk.operations() + killed_after);
        let finished = log.write_sealed("snapshot", b"covers 1 to 3").is_ok();
        disk.restart();
        let mut log = open(&disk).unwrap();
        let is_there = log.read_sealed("snapshot").unwrap().is_some();
        if is_there {
            log.remove_prefix(A, 4).unwrap();
            log.commit().unwrap();
        }
        let log = open(&lose_all(&disk, 7)).unwrap();
        let survived = log.read_sealed("snapshot").unwrap().is_some();
        assert!(survived || !is_there, "killed after {killed_after}: what stood for the prefix is lost");
        assert_eq!(log.range(A), if is_there { 4..4 } else { 1..4 });
        if finished {
            return;
        }
    }
}

#[test]
fn a_log_opened_after_a_failed_sync_makes_durable_what_it_found() {
    for seed in 0..50 {
        for synced in [1, 10, 30] {
            let disk = SimulatedDisk::new(seed);
            let mut log = open(&disk).unwrap();
            append_to(&mut log, synced);
            for index in synced..synced + 3 {
                log.append(A, index, &[index as u8; 300]).unwrap();
                log.write().unwrap();
            }
            disk.fail_next_sync();
            log.sync().unwrap_err();
            disk.restart();
            let mut log = open(&disk).unwrap();
            let found = log.range(A).end;
            let survived = open(&lose_all(&disk, 7)).unwrap().range(A);
            assert_eq!(survived, 1..found, "seed {seed}, {synced} synced: the opening itself");
            let next = append_to(&mut log, found + 2);
            let survived = open(&lose_all(&disk, 7)).unwrap().range(A);
            assert_eq!(survived, 1..next, "seed {seed}, {synced} synced");
        }
    }
}

#[test]
fn an_opening_whose_sync_fails_is_made_good_by_the_next() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let mut log = open(&disk).unwrap();
        let next = append_to(&mut log, 5 + seed % 20);
        log.append(A, next, b"unsynced").unwrap();
        log.write().unwrap();
        for _ in 0..3 {
            disk.restart();
            disk.fail_next_sync();
            assert!(matches!(open(&disk), Err(Error::Write { action: "sync", .. })));
        }
        disk.restart();
        let range = open(&disk).unwrap().range(A);
        assert_eq!(range, 1..next + 1);
        assert_eq!(open(&lose_all(&disk, 7)).unwrap().range(A), range, "seed {seed}");
    }
}

#[test]
fn no_segment_is_recycled_on_the_word_of_a_group_that_is_not_durable() {
    for seed in 0..60 {
        let disk = SimulatedDisk::new(seed);
        let mut log = open(&disk).unwrap();
        append_to(&mut log, 60);
        log.remove_prefix(A, 50).unwrap();
        disk.fail_next_sync();
        log.commit().unwrap_err();
        disk.restart();
        append_to(&mut open(&disk).unwrap(), 90);
        assert_eq!(open(&lose_all(&disk, 7)).unwrap().range(A), 50..90, "seed {seed}");
    }
}

#[test]
fn every_kill_and_failure_leaves_what_was_synced() {
    for seed in 0..300 {
        let disk = SimulatedDisk::new(seed);
        let (mut synced, mut life) = (1, 0);
        while life < 6 {
            life += 1;
            match (seed + life) % 5 {
                0 => disk.fail_next_sync(),
                1 => disk.fail_next_directory_sync(),
                2 => disk.fail_next_rename(),
                3 => disk.fail_next_write(),
                _ => disk.stop_after(disk.operations() + seed % 37),
            }
            if let Ok(mut log) = open(&disk) {
                let range = log.range(A);
                assert!(range.end.max(1) >= synced, "seed {seed}, life {life}: {range:?} of {synced}");
                synced = append_to(&mut log, synced + 20).max(synced);
            }
            if (seed / 5 + life) % 3 == 0 {
                disk.crash(CrashFates::Random);
            } else {
                disk.restart();
            }
        }
        disk.crash(CrashFates::LoseAll);
        let log = open(&disk).map_or_else(|_| open(&disk), Ok).unwrap();
        let range = log.range(A);
        assert!(range.end.max(1) >= synced, "seed {seed}: {range:?} of {synced}");
    }
}

#[test]
fn a_directory_that_can_not_be_synced_is_not_opened() {
    let disk = SimulatedDisk::new(1);
    append_to(&mut open(&disk).unwrap(), 5);
    disk.fail_next_directory_sync();
    assert!(matches!(open(&disk), Err(Error::Write { action: "sync", .. })));
    assert_eq!(open(&disk).unwrap().range(A), 1..5);
}

#[test]
fn a_failed_sync_ends_the_log_and_its_sealed_files_alike() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk).unwrap();
    let sealed = log.sealed();
    sealed.write("snapshot", b"one").unwrap();
    disk.fail_next_directory_sync();
    assert!(matches!(sealed.write("snapshot", b"two"), Err(Error::Seal { .. })));
    assert!(matches!(log.append(A, 1, b""), Err(Error::Failed)));
    assert!(matches!(sealed.write("snapshot", b"three"), Err(Error::Failed)));
    assert!(matches!(sealed.remove("snapshot"), Err(Error::Failed)));
    assert_eq!(sealed.read("snapshot").unwrap().unwrap(), "two", "reading goes on");

    disk.restart();
    let mut log = open(&disk).unwrap();
    let sealed = log.sealed();
    log.append(A, 1, b"").unwrap();
    disk.fail_next_sync();
    log.commit().unwrap_err();
    assert!(matches!(sealed.write("snapshot", b"three"), Err(Error::Failed)));

    disk.restart();
    let sealed = open(&disk).unwrap().sealed();
    disk.fail_next_rename();
    assert!(matches!(sealed.write("snapshot", b"three"), Err(Error::Seal { action: "rename", .. })));
    sealed.write("snapshot", b"three").unwrap();
}

#[test]
fn two_logs_on_clones_of_one_disk_are_refused() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk).unwrap();
    let sealed = log.sealed();
    assert!(matches!(open(&disk), Err(Error::Locked)));
    assert!(open(&disk.fork(1)).is_ok(), "a fork is another disk");
    drop(log);
    let log = open(&disk).unwrap();
    assert!(matches!(open(&disk), Err(Error::Locked)));
    disk.restart();
    let reopened = open(&disk).unwrap();
    drop((log, sealed));
    assert!(matches!(open(&disk), Err(Error::Locked)), "only the holder gives the claim back");
    drop(reopened);
    open(&disk).unwrap();
}

#[test]
fn a_marked_log_takes_damage_to_its_last_commit_for_damage() {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk).unwrap();
    append_to(&mut log, 4);
    log.mark().unwrap();
    let operations = disk.operations();
    log.mark().unwrap();
    log.append(A, 4, b"staged").unwrap();
    log.mark().unwrap();
    assert_eq!(disk.operations(), operations, "there is nothing to mark, or not all is durable");
    drop(log);
    let name = disk.names().into_iter().find(|name| name.ends_with(".segment")).unwrap();
    let bytes = disk.contents(&name).unwrap();
    let last = bytes.windows(200).rposition(|window| window == [3; 200]).unwrap();
    assert!(disk.flip_bit(&name, 8 * last as u64));
    assert!(matches!(open(&disk), Err(Error::Damaged { .. })));
}
