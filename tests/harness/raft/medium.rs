use std::fmt;

use quorate_core::Rng;
use quorate_raft::{Log, Recovered, Storage, StorageError};
use quorate_wal::{Config, CrashFates, SimulatedDisk, Tear};

use super::options::Options;

/// What a node's memory lies on: the real log, on a simulated disk.
pub struct Medium {
    /// The storage.
    pub storage: Log<SimulatedDisk>,
    /// Where it keeps its files.
    pub disk: SimulatedDisk,
}

impl Medium {
    /// A new one, and that it remembers nothing.
    pub(super) fn create(options: &Options, rng: &mut Rng) -> Result<(Self, Recovered), StorageError> {
        Self::open(SimulatedDisk::new(rng.next_u64()), options)
    }

    /// The same after a crash, and what it remembers: each write that was not synced survives, is lost or torn
    /// on its own.
    pub(super) fn crash(self, options: &Options, rng: &mut Rng) -> Result<(Self, Recovered), StorageError> {
        self.disk.set_tear(if rng.chance(500_000) { Tear::Sector } else { Tear::Byte });
        self.disk.crash(match rng.index(6) {
            0 => CrashFates::LoseAll,
            1 => CrashFates::KeepAll,
            _ => CrashFates::Random,
        });
        Self::open(self.disk, options)
    }

    fn open(disk: SimulatedDisk, options: &Options) -> Result<(Self, Recovered), StorageError> {
        let mut storage = Log::with_disk(disk.clone(), Config::with_segment_bytes(options.segment_bytes))?;
        let recovered = storage.recover()?;
        Ok((Self { storage, disk }, recovered))
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Medium").field("storage", &self.storage).finish_non_exhaustive()
    }
}
