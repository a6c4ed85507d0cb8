//! All clients.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::admin::Session;
use super::backend::Backend;
use super::connection::{Connection, closed};

/// Serves the Redis protocol on a listening socket.
pub struct Server<B> {
    listener: TcpListener,
    shared: Arc<Shared<B>>,
}

impl<B: Backend> Server<B> {
    /// A server that hands reads and writes to `backend`.
    pub fn new(listener: TcpListener, backend: B) -> Self {
        Self { listener, shared: Arc::new(Shared::new(backend)) }
    }

    /// Serves until `closing` turns true (or its sender is gone); then lets each connection end what it is
    /// at, for a second at most.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket and every connection at once.
    pub async fn run(self, mut closing: watch::Receiver<bool>) {
        let seats = Arc::new(Semaphore::new(CLIENTS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = closed(&mut closing) => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or the client has left already: others may still be served.
                    tracing::warn!(%error, "a client could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let shared = Arc::clone(&self.shared);
            let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
                connections.spawn(refuse(stream));
                continue;
            };
            let closing = closing.clone();
            connections.spawn(async move {
                let _seat = seat;
                let session = Session::new(shared.enter(), address);
                if prepare(&stream).is_ok() {
                    // An error means that the client is gone, and there is nobody left to tell.
                    let _ = Connection::new(stream, Arc::clone(&shared), session).run(closing).await;
                }
                shared.leave();
            });
        }
        drop(self.listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(CLOSE_TIMEOUT, ended).await;
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // A client whose machine is gone says no goodbye; without this its connection would stay for ever.
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 10);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

async fn refuse(mut stream: TcpStream) {
    let told = stream.write_all(b"-ERR max number of clients reached\r\n");
    let _ = timeout(CLOSE_TIMEOUT, told).await;
}

/// What all connections share.
pub(super) struct Shared<B> {
    backend: B,
    started: Instant,
    next_id: AtomicU64,
    clients: AtomicU64,
    commands: AtomicU64,
}

impl<B: Backend> Shared<B> {
    pub(super) fn new(backend: B) -> Self {
        let zero = || AtomicU64::new(0);
        Self { backend, started: Instant::now(), next_id: zero(), clients: zero(), commands: zero() }
    }

    pub(super) const fn backend(&self) -> &B {
        &self.backend
    }

    pub(super) fn count_command(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    /// Since the start; clients that are connected; connections so far; commands so far.
    pub(super) fn statistics(&self) -> (Duration, u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (self.started.elapsed(), load(&self.clients), load(&self.next_id), load(&self.commands))
    }

    fn enter(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed);
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn leave(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many clients are served at the same time; more are told so and closed.
pub const CLIENTS_MAX: usize = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client may be silent before it is asked whether it lives, as in Redis.
const KEEPALIVE: Duration = Duration::from_secs(300);
