use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::FlockOperation;

use crate::{Claim, Disk, File, Open};

/// A directory of the file system, held under an exclusive lock while any clone of it lives.
///
/// Syncs are `fdatasync` for files and `fsync` for the directory. The lock is an advisory `flock` on the
/// file `lock`; the kernel drops it with the process, so a killed process leaves nothing to clean up.
#[derive(Clone, Debug)]
pub struct Directory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    directory: fs::File,
    _lock: fs::File,
    /// Whether a log of this process is open here: the lock can't tell clones apart.
    claimed: Arc<AtomicBool>,
}

impl Directory {
    /// Opens the directory, created with its parents if it is missing, and locks it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process, or another `Directory` of this one, holds the lock;
    /// otherwise what the system says.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_path_buf();
        create_durably(&path)?;
        let directory = fs::File::open(&path)?;
        let lock = fs::File::options().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { inner: Arc::new(Inner { path, directory, _lock: lock, claimed: Arc::default() }) })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    fn at(&self, name: &str) -> PathBuf {
        self.inner.path.join(name)
    }
}

impl Disk for Directory {
    type File = fs::File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.inner.path)? {
            let entry = entry?;
            if let (Ok(name), true) = (entry.file_name().into_string(), entry.file_type()?.is_file()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str, open: Open) -> io::Result<fs::File> {
        let mut options = fs::File::options();
        options.read(true).write(true);
        if open == Open::Empty {
            options.create(true).truncate(true);
        }
        options.open(self.at(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.inner.directory.sync_all()
    }

    fn claim(&self) -> io::Result<Claim> {
        Claim::take(&self.inner.claimed)
    }

    fn concurrent(&self) -> bool {
        true
    }
}

impl File for fs::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// Creates each missing directory on the way and syncs its parent: a log whose directory vanishes with a
/// crash has kept no promise. One that is there may have been made by a process that was killed before it
/// came to the sync, so its parent is synced, too.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return sync_name(path);
    }
    let parent = parent(path);
    if !parent.is_dir() {
        create_durably(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::File::open(parent)?.sync_all(),
    }
}

/// Makes the name of a directory durable, as far as its parent may be opened. A mount point's name is not
/// the parent's to lose.
fn sync_name(path: &Path) -> io::Result<()> {
    let parent = match fs::File::open(parent(path)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        parent => parent?,
    };
    if parent.metadata()?.dev() != fs::metadata(path)?.dev() {
        return Ok(());
    }
    parent.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

const LOCK: &str = "lock";
