use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::Poll;

use crate::{Body, Handler, Incoming, NodeIdentity, ProtocolId, RegisterError, Status, StatusCode};

/// The claim on a protocol: while it lives, messages of the protocol go to the handler that it was given.
///
/// Dropping it unregisters. A handler may still be running then; no new message reaches it.
#[must_use = "dropping the registration unregisters the handler at once"]
pub struct Registration(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Registration {
    /// For transports: a claim that is given up by calling `unregister`.
    pub fn new(unregister: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(unregister)))
    }

    /// Leaves the handler registered for as long as the transport lives.
    pub fn forever(mut self) {
        self.0 = None;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(unregister) = self.0.take() {
            unregister();
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registration")
    }
}

/// For transports: the table of handlers, which also keeps a handler's panic and its overload away from
/// everything else. Clones share one table.
///
/// A look-up takes a read lock for some 20 ns; the lock is not held while a handler runs.
#[derive(Clone)]
pub struct Registry {
    table: Arc<RwLock<Table>>,
    calls_max: usize,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<ProtocolId, Arc<Entry>>,
    closed: bool,
}

struct Entry {
    handler: Arc<dyn Handler>,
    /// Calls in progress, each of which holds one [`Permit`].
    calls: AtomicUsize,
}

impl Registry {
    /// A table whose protocols answer up to `calls_max` calls at a time each. A further one is refused as
    /// [`StatusCode::Overloaded`].
    pub fn new(calls_max: usize) -> Self {
        Self { table: Arc::default(), calls_max }
    }

    /// Gives a protocol its handler.
    ///
    /// # Errors
    ///
    /// [`RegisterError::Taken`] if it has one, [`RegisterError::Closed`] after [`close`](Self::close).
    pub fn register(
        &self,
        protocol: ProtocolId,
        handler: Arc<dyn Handler>,
    ) -> Result<Registration, RegisterError> {
        let mut table = self.write();
        if table.closed {
            return Err(RegisterError::Closed);
        }
        if table.entries.contains_key(&protocol) {
            return Err(RegisterError::Taken(protocol));
        }
        table.entries.insert(protocol, Arc::new(Entry { handler, calls: AtomicUsize::new(0) }));
        let registry = Arc::downgrade(&self.table);
        Ok(Registration::new(move || {
            let removed = registry.upgrade().and_then(|table| {
                table.write().unwrap_or_else(PoisonError::into_inner).entries.remove(&protocol)
            });
            // The handler's own destructor runs without the lock.
            drop(removed);
        }))
    }

    /// Gives a one-way message to its handler, if there is one.
    pub fn deliver(&self, from: NodeIdentity, message: Incoming) {
        let Some(entry) = self.entry(message.protocol) else { return };
        // What a handler leaves behind when it panics is its own affair: it is behind a shared reference.
        // The panic has been reported by the panic hook.
        let _ = catch_unwind(AssertUnwindSafe(|| entry.handler.on_message(from, message)));
    }

    /// Has a call answered. The handler runs inside the returned future; dropping that drops the handler.
    ///
    /// A missing handler, an overload and a panic are answered as the contract demands.
    pub fn answer(
        &self,
        from: NodeIdentity,
        call: Incoming,
    ) -> impl Future<Output = Result<Body, Status>> + Send + use<> {
        let permit = match self.entry(call.protocol) {
            None => {
                let text = format!("protocol {} has no handler", call.protocol);
                Err(Status::new(StatusCode::Unsupported, text))
            }
            Some(entry) => Permit::take(entry, self.calls_max).ok_or_else(|| {
                Status::new(StatusCode::Overloaded, format!("{} calls are in progress", self.calls_max))
            }),
        };
        async move {
            let permit = permit?;
            let panicked = || Status::new(StatusCode::Failed, "the handler panicked");
            // A handler written by hand may do its work, and panic, before there is a future.
            let handler = &permit.0.handler;
            let mut answer =
                catch_unwind(AssertUnwindSafe(|| handler.on_call(from, call))).map_err(|_| panicked())?;
            poll_fn(|cx| {
                catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)))
                    .unwrap_or_else(|_| Poll::Ready(Err(panicked())))
            })
            .await
        }
    }

    /// Lets all handlers go and takes no more.
    pub fn close(&self) {
        let mut table = self.write();
        table.closed = true;
        let entries = std::mem::take(&mut table.entries);
        drop(table);
        drop(entries);
    }

    fn entry(&self, protocol: ProtocolId) -> Option<Arc<Entry>> {
        self.read().entries.get(&protocol).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.read().entries.keys()).finish()
    }
}

/// One call's place among those that its protocol answers at a time.
struct Permit(Arc<Entry>);

impl Permit {
    fn take(entry: Arc<Entry>, max: usize) -> Option<Self> {
        if entry.calls.fetch_add(1, Ordering::Relaxed) >= max {
            entry.calls.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(entry))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}
