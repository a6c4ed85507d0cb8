use bytes::Bytes;
use quorate_core::{Outcome, StoreId};
use std::io;

use crate::claim::Ended;
use crate::disk::read_full;
use crate::error::is_full;
use crate::format::{VERSION, u32_at, u64_at};
use crate::{Disk, Error, File, Open};

/// Checksummed files beside the log, each replaced as a whole: a snapshot, a checkpoint.
///
/// [`Log::sealed`](crate::Log::sealed) hands it out. It can be used on another thread than the log, so that
/// a large snapshot does not hold up appends; two writers of one name at the same time are the caller's
/// mistake.
///
/// A write goes to a temporary name, is synced, renamed, and the directory synced: after a crash the file
/// has the old contents or the new, never a mixture.
#[derive(Clone, Debug)]
pub struct Sealed<D: Disk> {
    disk: D,
    store: StoreId,
    bytes_max: u64,
    ended: Ended,
}

impl<D: Disk> Sealed<D> {
    pub(crate) fn new(disk: D, store: StoreId, bytes_max: u64, ended: Ended) -> Self {
        Self { disk, store, bytes_max, ended }
    }

    /// Replaces the file, or makes it, and returns once that is durable. Costs two syncs.
    ///
    /// # Errors
    /// [`Error::SealedName`], [`Error::TooLarge`], [`Error::Full`] and [`Error::Failed`] before anything is
    /// replaced; [`Error::Seal`] says by its outcome whether the file may have been replaced. A sync that
    /// fails here ends the log, and a log that has ended writes no sealed files.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result<(), Error> {
        let file = file_name(name)?;
        let size = contents.len() as u64;
        if size > self.bytes_max {
            return Err(Error::TooLarge { what: "a sealed file", bytes: size, max: self.bytes_max });
        }
        self.alive()?;
        seal(&self.disk, &file, self.store, contents, &self.ended)
    }

    /// The contents of the file; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Foreign`] or [`Error::Version`] for a file that can't be trusted,
    /// [`Error::TooLarge`] for one over the limit, [`Error::Read`] if the disk fails.
    pub fn read(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let file = file_name(name)?;
        let Some((store, contents)) = unseal(&self.disk, &file, self.bytes_max)? else { return Ok(None) };
        if store != self.store {
            return Err(Error::Foreign { file, found: store, expected: self.store });
        }
        Ok(Some(contents))
    }

    /// Removes the file, durably; `false` if there was none.
    ///
    /// # Errors
    /// [`Error::SealedName`] and [`Error::Failed`], or [`Error::Seal`] if the disk fails; if it was the sync
    /// that failed, the log has ended.
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        let file = file_name(name)?;
        self.alive()?;
        match self.disk.remove(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("remove", &file, Outcome::NotDone, error)),
        }
        self.disk.sync_directory().map_err(|error| {
            self.ended.set();
            failed("remove", &file, Outcome::Unknown, error)
        })?;
        Ok(true)
    }

    /// The names of all sealed files, in order.
    ///
    /// # Errors
    /// [`Error::Read`] if the disk fails.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let names = self.disk.list().map_err(|error| Error::read("list", "the directory", error))?;
        let mut names: Vec<String> =
            names.iter().filter_map(|name| name.strip_suffix(SUFFIX)).map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    fn alive(&self) -> Result<(), Error> {
        if self.ended.get() { Err(Error::Failed) } else { Ok(()) }
    }
}

/// Replaces `file` as a whole.
pub(crate) fn seal<D: Disk>(
    disk: &D,
    file: &str,
    store: StoreId,
    contents: &[u8],
    ended: &Ended,
) -> Result<(), Error> {
    let temporary = format!("{file}{TEMPORARY}");
    let written = (|| {
        let target = disk.open(&temporary, Open::Empty)?;
        target.write_at(&header(store, contents), 0)?;
        for (chunk, bytes) in contents.chunks(CHUNK).enumerate() {
            target.write_at(bytes, (HEADER + chunk * CHUNK) as u64)?;
        }
        // One that found no room has said so: the file is thrown away, and nothing else was in doubt.
        target.sync().inspect_err(|error| {
            if !is_full(error) {
                ended.set()
            }
        })
    })();
    if let Err(error) = written {
        // Nobody refers to the temporary file: if even this fails, the next opening removes it.
        let _ = disk.remove(&temporary);
        if is_full(&error) {
            return Err(Error::Full { bytes: (HEADER + contents.len()) as u64, outcome: Outcome::NotDone });
        }
        return Err(failed("write", file, Outcome::NotDone, error));
    }
    disk.rename(&temporary, file).map_err(|error| failed("rename", file, Outcome::Unknown, error))?;
    disk.sync_directory().map_err(|error| {
        ended.set();
        failed("sync the name of", file, Outcome::Unknown, error)
    })
}

/// The store and contents of `file`; `None` if there is none.
pub(crate) fn unseal<D: Disk>(disk: &D, file: &str, max: u64) -> Result<Option<(StoreId, Bytes)>, Error> {
    let read = |error| Error::read("read", file, error);
    let source = match disk.open(file, Open::Existing) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let found = source.len().map_err(read)?;
    let mut header = [0; HEADER];
    let count = read_full(&source, &mut header, 0).map_err(read)?;
    if count < HEADER || &header[..8] != MAGIC || crc32c::crc32c(&header[12..]) != u32_at(&header, 8) {
        return Err(Error::damaged(file, 0, "the header of a sealed file does not hold"));
    }
    if u32_at(&header, 12) != VERSION {
        return Err(Error::Version { file: file.to_owned(), found: u32_at(&header, 12) });
    }
    let length = u64_at(&header, 32);
    if Some(found) != length.checked_add(HEADER as u64) {
        return Err(Error::damaged(file, found, "a sealed file has the wrong length"));
    }
    if length > max {
        return Err(Error::TooLarge { what: "a sealed file", bytes: length, max });
    }
    let mut contents = vec![0; length as usize];
    let count = read_full(&source, &mut contents, HEADER as u64).map_err(read)?;
    if count < contents.len() || crc32c::crc32c(&contents) != u32_at(&header, 40) {
        return Err(Error::damaged(file, HEADER as u64, "the contents of a sealed file do not hold"));
    }
    let store = u128::from(u64_at(&header, 16)) | (u128::from(u64_at(&header, 24)) << 64);
    Ok(Some((StoreId::new(store), contents.into())))
}

fn header(store: StoreId, contents: &[u8]) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&store.get().to_le_bytes());
    bytes[32..40].copy_from_slice(&(contents.len() as u64).to_le_bytes());
    bytes[40..44].copy_from_slice(&crc32c::crc32c(contents).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn file_name(name: &str) -> Result<String, Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if (1..=100).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.') {
        Ok(format!("{name}{SUFFIX}"))
    } else {
        Err(Error::SealedName { name: name.to_owned() })
    }
}

fn failed(action: &'static str, file: &str, outcome: Outcome, source: io::Error) -> Error {
    Error::Seal { action, file: file.to_owned(), outcome, source }
}

/// What a file under construction ends with; the next opening removes it.
pub(crate) const TEMPORARY: &str = ".new";
const SUFFIX: &str = ".sealed";
const MAGIC: &[u8; 8] = b"QRTESEAL";
const HEADER: usize = 48;
const CHUNK: usize = 1 << 20;
