//! The storage kit over the storages in the box.

use quorate_raft::conformance::{self, Subject};
use quorate_raft::{Memory, StorageError};

struct InMemory {
    memory: Memory,
    /// How many unsynced writes happen to survive each crash.
    keeps: usize,
}

impl Subject for InMemory {
    type Storage = Memory;

    fn open(&mut self) -> Result<Memory, StorageError> {
        Ok(self.memory.clone())
    }

    fn crash(&mut self) {
        self.memory = self.memory.crash_keeping(self.keeps);
    }
}

#[test]
fn memory_keeps_the_rules() {
    conformance::storage(|seed| InMemory {
        memory: Memory::new(u128::from(seed) + 1),
        keeps: seed as usize % 4,
    });
}

#[cfg(feature = "wal")]
mod on_disk {
    use std::fs;

    use bytes::Bytes;
    use quorate_raft::{Entry, EntryId, EntryPayload, Log, Storage, Write};
    use quorate_wal::{Config, CrashFates, Directory, SimulatedDisk, Tear};
    use tempfile::TempDir;

    use super::*;

    struct OnSimulatedDisk {
        disk: SimulatedDisk,
        fates: CrashFates,
        config: Config,
        group: u64,
    }

    impl OnSimulatedDisk {
        fn new(seed: u64) -> Self {
            let disk = SimulatedDisk::new(seed);
            disk.set_tear(if seed % 2 == 0 { Tear::Sector } else { Tear::Byte });
            let fates = [CrashFates::Random, CrashFates::LoseAll, CrashFates::KeepAll][seed as usize % 3];
            let mut config = Config::with_segment_bytes(4096 << (seed % 3));
            // Less than the kit's large write.
            config.stage_bytes_max = 64 << 10;
            Self { disk, fates, config, group: seed % 2 * 7 }
        }
    }

    impl Subject for OnSimulatedDisk {
        type Storage = Log<SimulatedDisk>;

        fn open(&mut self) -> Result<Log<SimulatedDisk>, StorageError> {
            let log = Log::with_disk(self.disk.clone(), self.config.clone())?;
            Ok(if self.group == 0 { log } else { log.group(self.group) })
        }

        fn crash(&mut self) {
            self.disk.crash(self.fates);
        }

        fn arm(&mut self, seed: u64) {
            match seed % 8 {
                0 => self.disk.fail_next_write(),
                1 => self.disk.fail_next_sync(),
                _ => self.disk.stop_after(self.disk.operations() + seed / 8 % 40),
            }
        }
    }

    #[test]
    fn a_log_on_a_simulated_disk_keeps_the_rules() {
        for round in 0..5 {
            conformance::storage(|seed| OnSimulatedDisk::new(seed + round * 1000));
        }
    }

    #[test]
    fn a_write_may_be_larger_than_what_may_be_staged() {
        let disk = SimulatedDisk::new(1);
        let open = || Log::with_disk(disk.clone(), Config::default()).expect("it opens");
        let mut log = open();
        log.recover().expect("it recovers");
        let command = Bytes::from(vec![7; 1 << 20]);
        let entry =
            |index| Entry { id: EntryId::new(1, index), payload: EntryPayload::Command(command.clone()) };
        let entries: Vec<Entry> = (1..=70).map(entry).collect();
        let cost: usize = entries.iter().map(Entry::cost).sum();
        assert!(cost > Config::default().stage_bytes_max);
        log.write(&Write { entries, ..Write::default() }).expect("taken in, piece by piece");
        log.sync().expect("synced");
        drop(log);
        disk.crash(CrashFates::LoseAll);
        assert_eq!(open().recover().expect("it recovers").last, 70);
    }

    #[test]
    fn the_largest_entry_is_what_the_log_says() {
        let config = Config::with_segment_bytes(64 << 10);
        let mut log = Log::with_disk(SimulatedDisk::new(1), config).expect("it opens");
        log.recover().expect("it recovers");
        let max = log.entry_bytes_max();
        assert_eq!(log.group(5).entry_bytes_max(), max);
        let entry = |index, len| Entry {
            id: EntryId::new(1, index),
            payload: EntryPayload::Command(vec![0; len].into()),
        };
        log.write(&Write { entries: vec![entry(1, max)], ..Write::default() }).expect("it fits");
        log.write(&Write { entries: vec![entry(2, max + 1)], ..Write::default() })
            .expect_err("a byte too many");
    }

    #[test]
    fn a_disk_that_lies_about_syncs_is_found_out() {
        let lying = |seed| {
            let mut subject = OnSimulatedDisk::new(seed);
            subject.fates = CrashFates::LoseAll;
            drop(subject.open().map(|mut log| log.recover()));
            subject.disk.lie_about_syncs(true);
            subject
        };
        let found = std::panic::catch_unwind(|| conformance::storage(lying));
        assert!(found.is_err(), "synced writes were lost, and the kit did not see it");
    }

    struct InDirectory(TempDir);

    impl Subject for InDirectory {
        type Storage = Log<Directory>;

        fn open(&mut self) -> Result<Log<Directory>, StorageError> {
            Log::with_disk(
                Directory::open(self.0.path()).expect("it opens"),
                Config::with_segment_bytes(8192),
            )
        }

        /// A process that dies keeps what the system has cached.
        fn crash(&mut self) {}
    }

    #[test]
    fn a_log_in_a_directory_keeps_the_rules() {
        // Each sync is a real one here: the many lives are led on the simulated disk.
        let fresh = |_| InDirectory(tempfile::tempdir().expect("a directory"));
        conformance::cases(fresh);
        conformance::lives(0..3, fresh);
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = Log::open(directory.path()).expect("it opens");
        let error = Log::open(directory.path()).expect_err("it is in use");
        assert!(matches!(error, StorageError::Unavailable(_)), "{error}");
        drop(log);
        Log::open(directory.path()).expect("it is free again");
    }

    #[test]
    fn a_flipped_bit_is_damage_and_deletes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut log = Log::open(directory.path()).expect("it opens");
        log.recover().expect("it recovers");
        for index in 1..=20 {
            let payload = EntryPayload::Command(format!("command {index}").into());
            let entries = vec![Entry { id: EntryId::new(1, index), payload }];
            log.write(&Write { entries, ..Write::default() }).expect("written");
            log.sync().expect("synced");
        }
        drop(log);
        let files: Vec<_> = fs::read_dir(directory.path()).expect("listed").flatten().collect();
        for file in files {
            let mut bytes = fs::read(file.path()).expect("read");
            if let Some(at) = bytes.windows(9).position(|window| window == b"command 7") {
                bytes[at + 8] ^= 1;
                fs::write(file.path(), bytes).expect("written");
            }
        }
        let opened = Log::open(directory.path()).and_then(|mut log| log.recover());
        assert!(matches!(opened, Err(StorageError::Damaged(_))), "{opened:?}");
    }
}
