use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::Rng;

use crate::{Claim, Disk, File, Open};

mod state;
use state::State;

/// A disk in memory that does to unsynced writes what a real one may do, drawn from a seed.
///
/// Killing a process keeps the page cache, so it can never show a missing sync. [`crash`](Self::crash) can:
/// each write that was not synced is kept, lost or torn on its own, so that a later one may survive an
/// earlier one; each creation, renaming and removal behind the last directory sync may be undone. The same
/// seed and the same operations give the same disk.
///
/// Clones are handles to the same disk, to be kept by the test while a log owns another.
///
/// ```
/// use quorate_wal::{Config, CrashFates, Log, SimulatedDisk, StreamId};
/// let disk = SimulatedDisk::new(7);
/// let stream = StreamId::new(1);
/// let mut log = Log::with_disk(disk.clone(), Config::with_segment_bytes(4096))?;
/// log.append(stream, 1, b"kept")?;
/// log.commit()?;
/// log.append(stream, 2, b"lost")?;
/// log.write()?;
/// disk.crash(CrashFates::LoseAll);
/// let log = Log::with_disk(disk, Config::with_segment_bytes(4096))?;
/// assert_eq!(log.range(stream), 1..2);
/// # Ok::<(), quorate_wal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// What a crash does to that which was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashFates {
    /// Each write and each change of a name has a fate of its own.
    Random,
    /// Nothing of it survives.
    LoseAll,
    /// All of it survives, as when only the process dies.
    KeepAll,
}

/// Of which pieces a torn write is made; each survives or not on its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tear {
    /// Sectors of 512 bytes, as on devices.
    Sector,
    /// Runs of 1 to 64 bytes, as on memory and worse than on devices.
    Byte,
}

impl SimulatedDisk {
    /// An empty disk without a limit, whose fates and random numbers `seed` determines.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// The power fails and returns. Every open file is closed; its operations fail from now on, so that the
    /// log which owned it can only be dropped. Ends [`stop_after`](Self::stop_after).
    pub fn crash(&self, fates: CrashFates) {
        self.state().crash(fates);
    }

    /// The process is killed and started again: every open file is closed, as in a [`crash`](Self::crash), but
    /// nothing is lost. What was not synced can be read, and is still at risk. Ends
    /// [`stop_after`](Self::stop_after).
    pub fn restart(&self) {
        self.state().restart();
    }

    /// A copy of the disk as it is, with fates of its own: many endings for one beginning.
    pub fn fork(&self, seed: u64) -> Self {
        let mut state = self.state().clone();
        state.rng = Rng::from_seed(seed);
        state.claimed = Arc::default();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// How writes tear from now on; [`Tear::Sector`] unless set.
    pub fn set_tear(&self, tear: Tear) {
        self.state().tear = tear;
    }

    /// How many operations have changed something or made it durable: writes, syncs, creations, renamings,
    /// removals, directory syncs.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets that many operations, counted from the beginning, succeed; every later one fails without effect,
    /// until the disk crashes or restarts. Counting up from zero goes through every moment at which power can fail.
    pub fn stop_after(&self, operations: u64) {
        self.state().stop_after = Some(operations);
    }

    /// How many writes there were.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// How many file syncs there were.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Bytes that all files together may have; a write that would exceed it fails with
    /// [`io::ErrorKind::StorageFull`]. `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes that all files have.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Lets the next sync of a file fail, and, as operating systems do, forgets which of the writes before
    /// it were not on disk: they stay readable, may be lost in a crash, and no later sync saves them unless
    /// they are written again.
    pub fn fail_next_sync(&self) {
        self.state().fail_next_sync = true;
    }

    /// Lets the next sync of the directory fail without effect: names stay at risk until one succeeds.
    pub fn fail_next_directory_sync(&self) {
        self.state().fail_next_directory_sync = true;
    }

    /// Lets the next renaming fail without effect.
    pub fn fail_next_rename(&self) {
        self.state().fail_next_rename = true;
    }

    /// Lets the next write fail without effect.
    pub fn fail_next_write(&self) {
        self.state().fail_next_write = true;
    }

    /// While set, syncs of files and of the directory succeed and do nothing: a log that forgets to sync, or
    /// hardware that lies. A test of a durability promise must fail under it.
    pub fn lie_about_syncs(&self, lie: bool) {
        self.state().lie = lie;
    }

    /// The names of all files, in order.
    pub fn names(&self) -> Vec<String> {
        self.state().names()
    }

    /// What a file holds, synced or not.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.state().contents(name).cloned()
    }

    /// Damages a file: flips bit `bit % 8` of byte `bit / 8`, durably. `false` if there is no such byte.
    pub fn flip_bit(&self, name: &str, bit: u64) -> bool {
        self.state().damage(name, |bytes| match bytes.get_mut((bit / 8) as usize) {
            Some(byte) => {
                *byte ^= 1 << (bit % 8);
                true
            }
            None => false,
        })
    }

    /// Damages a file: cuts it to `length` bytes, durably. `false` if there is no such file.
    pub fn truncate(&self, name: &str, length: u64) -> bool {
        self.state().damage(name, |bytes| {
            bytes.truncate(length as usize);
            true
        })
    }

    /// Damages a file: replaces what it holds, durably; made if there is none.
    pub fn put(&self, name: &str, contents: &[u8]) {
        self.state().put(name, contents);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in a test leaves the state whole: every change to it is a single call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names())
    }

    fn open(&self, name: &str, open: Open) -> io::Result<SimulatedFile> {
        let mut state = self.state();
        let inode = state.open(name, open)?;
        Ok(SimulatedFile { disk: self.clone(), inode, boot: state.boot })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.state().sync_directory()
    }

    fn claim(&self) -> io::Result<Claim> {
        Claim::take(&self.state().claimed)
    }

    fn random(&self) -> io::Result<u128> {
        let mut state = self.state();
        Ok(u128::from(state.rng.next_u64()) | (u128::from(state.rng.next_u64()) << 64))
    }
}

/// An open file of a [`SimulatedDisk`].
#[derive(Debug)]
pub struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
    boot: u64,
}

impl SimulatedFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.boot == self.boot { Ok(state) } else { Err(io::Error::other("the disk has crashed")) }
    }
}

impl File for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.state()?.read(self.inode, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state()?.write(self.inode, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.state()?.sync(self.inode)
    }

    fn len(&self) -> io::Result<u64> {
        self.state()?.length(self.inode)
    }
}
