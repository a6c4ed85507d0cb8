use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The right of one log to a disk, given back when it drops.
///
/// Two logs on clones of one disk would write over each other. [`Disk::claim`](crate::Disk::claim) hands out
/// one of these at a time.
#[derive(Debug, Default)]
pub struct Claim {
    taken: Option<Arc<AtomicBool>>,
}

impl Claim {
    /// A claim that excludes nobody, for a disk which is never cloned to a second log.
    pub fn unguarded() -> Self {
        Self::default()
    }

    /// Sets a flag that all clones of a disk share, and clears it when the claim drops.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another claim has set it.
    pub fn take(flag: &Arc<AtomicBool>) -> io::Result<Self> {
        if flag.swap(true, Ordering::AcqRel) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Self { taken: Some(Arc::clone(flag)) })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(flag) = &self.taken {
            flag.store(false, Ordering::Release);
        }
    }
}

/// Whether a log has ended, known to all that write to its disk: after a failed sync nobody can say what the
/// next one would cover.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ended(Arc<AtomicBool>);

impl Ended {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}
