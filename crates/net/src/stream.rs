use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use quorate_core::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Opens byte streams to peers. Implement it, with [`Acceptor`], to bring another kind of stream: a Unix
/// socket, TLS, vsock, a simulated link. [`Endpoint`](crate::Endpoint) supplies everything above.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Opens a stream to `node` at `address`.
    ///
    /// Called anew for each attempt, so names are to be resolved here, each time. `node` is for streams that
    /// prove who is at the other end; the handshake above checks it in any case. The endpoint limits how
    /// long it takes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future must abandon the attempt.
    ///
    /// # Errors
    ///
    /// Any I/O error; the endpoint tries again after a pause.
    async fn connect(&self, node: NodeId, address: &str) -> io::Result<Stream>;
}

/// Takes byte streams from peers. The other half of [`Connector`].
#[async_trait]
pub trait Acceptor: Send + Sync + 'static {
    /// Waits for the next stream.
    ///
    /// It must not wait for the peer once the stream has come: what still has to be done with it (a TLS
    /// handshake) belongs into [`Accepted::later`], or one silent client would lock all others out.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future must lose no stream.
    ///
    /// # Errors
    ///
    /// Any I/O error; the endpoint logs it and tries again after a pause.
    async fn accept(&self) -> io::Result<Accepted>;

    /// The address that peers can dial.
    fn address(&self) -> String;
}

/// A stream that has arrived, perhaps not yet ready for use.
pub struct Accepted {
    pub(crate) origin: String,
    pub(crate) open: Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>,
}

impl Accepted {
    /// A stream that is ready. `origin` is for logs.
    pub fn ready(origin: impl Into<String>, stream: Stream) -> Self {
        Self::later(origin, async move { Ok(stream) })
    }

    /// A stream on which `open` has to be done first; the endpoint limits how long that takes, and how many
    /// are in that state.
    pub fn later(
        origin: impl Into<String>,
        open: impl Future<Output = io::Result<Stream>> + Send + 'static,
    ) -> Self {
        Self { origin: origin.into(), open: Box::pin(open) }
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accepted(from {})", self.origin)
    }
}

/// A two-way byte stream: ordered, and reliable until it ends.
pub struct Stream {
    pub(crate) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Stream {
    /// A stream of one object; its halves share a lock.
    pub fn new(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (reader, writer) = tokio::io::split(io);
        Self::from_halves(reader, writer)
    }

    /// A stream of two halves, for kinds that can be split without a lock.
    pub fn from_halves(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self { reader: Box::new(reader), writer: Box::new(writer) }
    }

    /// Ends the stream in order: says that nothing more comes, and takes in what the other end still says
    /// until it has nothing more either, or `limit` has passed.
    ///
    /// A TCP socket that is closed with input unread is reset, and then the other end may never see what was
    /// written last.
    pub(crate) async fn finish(mut self, limit: Duration) {
        let finishing = async {
            self.writer.shutdown().await?;
            let mut ignored = vec![0; IGNORED_AT_ONCE];
            while self.reader.read(&mut ignored).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        // The connection ends in any case; nothing is learnt from how.
        let _ = timeout(limit, finishing).await;
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// How many bytes are taken in at once when nobody wants them any more.
const IGNORED_AT_ONCE: usize = 16 << 10;
