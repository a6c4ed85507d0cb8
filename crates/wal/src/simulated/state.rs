use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use quorate_core::Rng;

use super::{CrashFates, Tear};
use crate::Open;

/// The disk: what is durable, and what is not yet.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) boot: u64,
    pub(super) tear: Tear,
    pub(super) operations: u64,
    pub(super) writes: u64,
    pub(super) syncs: u64,
    pub(super) stop_after: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) fail_next_sync: bool,
    pub(super) fail_next_directory_sync: bool,
    pub(super) fail_next_rename: bool,
    pub(super) fail_next_write: bool,
    pub(super) lie: bool,
    /// Whether a log of this boot is open.
    pub(super) claimed: Arc<AtomicBool>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<NameChange>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Clone, Debug)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::from_seed(seed),
            boot: 0,
            tear: Tear::Sector,
            operations: 0,
            writes: 0,
            syncs: 0,
            stop_after: None,
            capacity: None,
            fail_next_sync: false,
            fail_next_directory_sync: false,
            fail_next_rename: false,
            fail_next_write: false,
            lie: false,
            claimed: Arc::default(),
            inodes: BTreeMap::new(),
            next_inode: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn contents(&self, name: &str) -> Option<&Vec<u8>> {
        Some(&self.inodes.get(self.names.get(name)?)?.current)
    }

    pub(super) fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.inodes.get(id)).map(|i| i.current.len() as u64).sum()
    }

    pub(super) fn open(&mut self, name: &str, open: Open) -> io::Result<u64> {
        match (open, self.names.get(name)) {
            (Open::Existing, Some(id)) => Ok(*id),
            (Open::Existing, None) => Err(io::ErrorKind::NotFound.into()),
            (Open::Empty, _) => {
                self.operation()?;
                self.next_inode += 1;
                self.inodes.insert(self.next_inode, Inode::default());
                self.change(NameChange::Create(name.to_owned(), self.next_inode));
                Ok(self.next_inode)
            }
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.must_exist(from)?;
        self.operation()?;
        if std::mem::take(&mut self.fail_next_rename) {
            return Err(io::Error::other("a renaming that was told to fail"));
        }
        self.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.must_exist(name)?;
        self.operation()?;
        self.change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    pub(super) fn sync_directory(&mut self) -> io::Result<()> {
        self.operation()?;
        if std::mem::take(&mut self.fail_next_directory_sync) {
            return Err(io::Error::other("a directory sync that was told to fail"));
        }
        if !self.lie {
            self.pending_names.clear();
            self.durable_names = self.names.clone();
            self.forget_unnamed();
        }
        Ok(())
    }

    pub(super) fn read(&self, id: u64, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = &self.inodes.get(&id).ok_or(io::ErrorKind::NotFound)?.current;
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    pub(super) fn write(&mut self, id: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.operation()?;
        self.writes += 1;
        if std::mem::take(&mut self.fail_next_write) {
            return Err(io::Error::other("a write that was told to fail"));
        }
        let length = self.length(id)?;
        let growth = (offset + bytes.len() as u64).saturating_sub(length);
        if self.capacity.is_some_and(|capacity| growth > 0 && self.used() + growth > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = self.inodes.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let write = Write { offset: offset as usize, bytes: bytes.to_vec() };
        apply(&mut inode.current, write.offset, &write.bytes);
        inode.pending.push(write);
        Ok(())
    }

    pub(super) fn sync(&mut self, id: u64) -> io::Result<()> {
        self.operation()?;
        self.syncs += 1;
        let inode = self.inodes.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        if std::mem::take(&mut self.fail_next_sync) {
            let rng = &mut self.rng;
            inode.pending.retain(|_| rng.chance(HALF));
            for write in inode.pending.drain(..) {
                apply(&mut inode.durable, write.offset, &write.bytes);
            }
            return Err(io::Error::other("a sync that was told to fail"));
        }
        if !self.lie {
            for write in inode.pending.drain(..) {
                apply(&mut inode.durable, write.offset, &write.bytes);
            }
        }
        Ok(())
    }

    pub(super) fn length(&self, id: u64) -> io::Result<u64> {
        Ok(self.inodes.get(&id).ok_or(io::ErrorKind::NotFound)?.current.len() as u64)
    }

    pub(super) fn restart(&mut self) {
        self.boot += 1;
        self.stop_after = None;
        self.claimed = Arc::default();
    }

    pub(super) fn crash(&mut self, fates: CrashFates) {
        self.restart();
        for inode in self.inodes.values_mut() {
            for write in std::mem::take(&mut inode.pending) {
                let kept = keep(&mut self.rng, fates, self.tear, &write);
                for (from, to) in kept {
                    apply(&mut inode.durable, write.offset + from, &write.bytes[from..to]);
                }
            }
            inode.current.clone_from(&inode.durable);
        }
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.pending_names) {
            let kept = match fates {
                CrashFates::Random => self.rng.chance(HALF),
                CrashFates::LoseAll => false,
                CrashFates::KeepAll => true,
            };
            if kept {
                change.apply(&mut names);
            }
        }
        self.names = names.clone();
        self.durable_names = names;
        self.forget_unnamed();
    }

    pub(super) fn damage(&mut self, name: &str, damage: impl Fn(&mut Vec<u8>) -> bool) -> bool {
        let Some(inode) = self.names.get(name).and_then(|id| self.inodes.get_mut(id)) else { return false };
        damage(&mut inode.durable);
        damage(&mut inode.current)
    }

    pub(super) fn put(&mut self, name: &str, contents: &[u8]) {
        self.next_inode += 1;
        let (current, durable) = (contents.to_vec(), contents.to_vec());
        self.inodes.insert(self.next_inode, Inode { current, durable, pending: Vec::new() });
        self.names.insert(name.to_owned(), self.next_inode);
        self.durable_names.insert(name.to_owned(), self.next_inode);
    }

    fn operation(&mut self) -> io::Result<()> {
        if self.stop_after.is_some_and(|last| self.operations >= last) {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        Ok(())
    }

    fn must_exist(&self, name: &str) -> io::Result<()> {
        if self.names.contains_key(name) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }

    /// Drops the bytes of files that no name leads to, now or after a crash.
    fn forget_unnamed(&mut self) {
        let named =
            |id: &u64| self.names.values().chain(self.durable_names.values()).any(|named| named == id);
        let gone: Vec<u64> = self.inodes.keys().filter(|id| !named(id)).copied().collect();
        for id in gone {
            self.inodes.remove(&id);
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            // The file may be missing if its creation was undone.
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

/// The ranges of a write that survive.
fn keep(rng: &mut Rng, fates: CrashFates, tear: Tear, write: &Write) -> Vec<(usize, usize)> {
    let whole = vec![(0, write.bytes.len())];
    match (fates, rng.index(10)) {
        (CrashFates::KeepAll, _) | (CrashFates::Random, 0..4) => return whole,
        (CrashFates::LoseAll, _) | (CrashFates::Random, 4..6) => return Vec::new(),
        (CrashFates::Random, _) => {}
    }
    let (mut kept, mut from) = (Vec::new(), 0);
    while from < write.bytes.len() {
        let piece = match tear {
            Tear::Sector => SECTOR - (write.offset + from) % SECTOR,
            Tear::Byte => 1 + rng.index(64),
        };
        let to = (from + piece).min(write.bytes.len());
        if rng.chance(HALF) {
            kept.push((from, to));
        }
        from = to;
    }
    kept
}

fn apply(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

const HALF: u32 = 500_000;
const SECTOR: usize = 512;
