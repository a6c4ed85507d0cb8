use std::io;

use crate::Claim;

/// Where a log keeps its files: one flat directory of named files.
///
/// [`Directory`](crate::Directory) is the file system, [`SimulatedDisk`](crate::SimulatedDisk) a seeded one
/// that loses, tears and reorders what was not synced. Clones are handles to the same directory.
///
/// What an implementation promises, and the log relies on:
///
/// 1. Once [`File::sync`] returns `Ok`, every earlier write to that file survives a crash.
/// 2. Once [`sync_directory`](Disk::sync_directory) returns `Ok`, every earlier creation, renaming and
///    removal survives a crash.
/// 3. [`rename`](Disk::rename) replaces the target, and after a crash the target is the old file or the new
///    one.
/// 4. A full disk answers with [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`].
pub trait Disk: Clone + Send + 'static {
    /// An open file.
    type File: File;

    /// The names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for a missing file under [`Open::Existing`]. Under [`Open::Empty`] a
    /// missing file is created and an existing one is emptied.
    fn open(&self, name: &str, open: Open) -> io::Result<Self::File>;

    /// Renames a file and replaces the one that had the name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renamings and removals durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// Claims the directory for one log, which holds the claim for as long as it lives. Excludes nobody unless
    /// overridden; [`Claim::take`] on a flag that all clones share is enough.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while another log holds the claim.
    fn claim(&self) -> io::Result<Claim> {
        Ok(Claim::unguarded())
    }

    /// Whether the log may prepare its next segment on a thread of its own. `false` unless overridden, so
    /// that a simulated disk sees one order of operations only.
    fn concurrent(&self) -> bool {
        false
    }

    /// 128 random bits, for the identity of a new log. Drawn from the operating system unless overridden.
    fn random(&self) -> io::Result<u128> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(u128::from_le_bytes(bytes))
    }
}

/// An open file of a [`Disk`].
pub trait File: Send + 'static {
    /// Reads into `buffer` from `offset` and answers how many bytes; zero at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset` and lengthens the file if they end behind it. Not durable before
    /// [`sync`](File::sync).
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the writes to this file durable, its length included (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// How [`Disk::open`] opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Open {
    /// A file that is there.
    Existing,
    /// A file without bytes: created, or emptied.
    Empty,
}

/// Reads `buffer` full from `offset`; the count is short only at the end of the file.
pub(crate) fn read_full(file: &impl File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
