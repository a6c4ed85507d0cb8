//! A network of in-memory streams, for paused time.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use quorate_core::NodeId;
use quorate_net::{Accepted, Acceptor, Connector, Endpoint, EndpointConfig, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex, split};
use tokio::sync::mpsc;

/// Addresses are any text. Clones share the network.
#[derive(Clone, Default)]
pub(crate) struct Wires(Arc<Inner>);

#[derive(Default)]
struct Inner {
    listening: Mutex<BTreeMap<String, mpsc::UnboundedSender<Stream>>>,
    /// Bytes a second, and how long a stream lasts; zero for no limit.
    rate: AtomicUsize,
    life_ms: AtomicUsize,
    /// How many of the next attempts come to nothing, without failing.
    held: AtomicUsize,
    dials: AtomicUsize,
    writes: Arc<AtomicUsize>,
    /// Whether accepted streams bring nothing more.
    silent: Arc<AtomicBool>,
}

impl Wires {
    pub(crate) fn slow(rate: usize) -> Self {
        let wires = Self::default();
        wires.0.rate.store(rate, SeqCst);
        wires
    }

    pub(crate) fn flapping(life: Duration) -> Self {
        let wires = Self::default();
        wires.0.life_ms.store(life.as_millis() as usize, SeqCst);
        wires
    }

    /// From now on, endpoints read nothing from the streams that they accepted.
    pub(crate) fn fall_silent(&self) {
        self.0.silent.store(true, SeqCst);
    }

    pub(crate) fn hold_next(&self) {
        self.0.held.store(1, SeqCst);
    }

    pub(crate) fn dials(&self) -> usize {
        self.0.dials.load(SeqCst)
    }

    /// How often any endpoint wrote to a stream.
    pub(crate) fn writes(&self) -> usize {
        self.0.writes.load(SeqCst)
    }

    /// A node that listens at the text of its number.
    pub(crate) fn start(&self, node: u64, boot: u64, config: EndpointConfig) -> Arc<Endpoint> {
        let (streams, arriving) = mpsc::unbounded_channel();
        let address = node.to_string();
        self.0.listening.lock().expect("no panic").insert(address.clone(), streams);
        let acceptor = WireAcceptor { arriving: tokio::sync::Mutex::new(arriving), address };
        let builder = Endpoint::builder(super::identity(node, boot)).config(config);
        Arc::new(builder.start(self.clone(), acceptor).expect("the configuration is valid"))
    }

    /// A stream to an address, for a test to write to by hand.
    pub(crate) fn dial(&self, address: &str) -> io::Result<DuplexStream> {
        let listening = self.0.listening.lock().expect("no panic");
        let listener = listening.get(address).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (mine, theirs) = duplex(BUFFER);
        let (reader, writer) = split(theirs);
        let writer = Counted(writer, self.0.writes.clone());
        let reader = Silenced(reader, self.0.silent.clone());
        let sent = listener.send(Stream::from_halves(reader, writer));
        sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(mine)
    }
}

#[async_trait]
impl Connector for Wires {
    async fn connect(&self, _: NodeId, address: &str) -> io::Result<Stream> {
        self.0.dials.fetch_add(1, SeqCst);
        if self.0.held.swap(0, SeqCst) > 0 {
            std::future::pending::<()>().await;
        }
        let far = self.dial(address)?;
        let (rate, life) = (self.0.rate.load(SeqCst), self.0.life_ms.load(SeqCst));
        if rate == 0 && life == 0 {
            let (reader, writer) = split(far);
            return Ok(Stream::from_halves(reader, Counted(writer, self.0.writes.clone())));
        }
        let (near, here) = duplex(BUFFER);
        let ((hear, say), (far_hear, far_say)) = (split(here), split(far));
        let life = if life == 0 { Duration::from_secs(1 << 20) } else { Duration::from_millis(life as u64) };
        tokio::spawn(tokio::time::timeout(life, async move {
            tokio::join!(relay(hear, far_say, rate), relay(far_hear, say, rate));
        }));
        Ok(Stream::new(near))
    }
}

async fn relay(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, rate: usize) {
    let mut piece = vec![0; if rate == 0 { BUFFER } else { rate / 10 }];
    loop {
        let len = match from.read(&mut piece).await {
            Ok(len) if len > 0 => len,
            _ => return,
        };
        if rate > 0 {
            tokio::time::sleep(Duration::from_micros(1_000_000 * len as u64 / rate as u64)).await;
        }
        if to.write_all(&piece[..len]).await.is_err() {
            return;
        }
    }
}

struct WireAcceptor {
    arriving: tokio::sync::Mutex<mpsc::UnboundedReceiver<Stream>>,
    address: String,
}

#[async_trait]
impl Acceptor for WireAcceptor {
    async fn accept(&self) -> io::Result<Accepted> {
        match self.arriving.lock().await.recv().await {
            Some(stream) => Ok(Accepted::ready("a wire", stream)),
            None => std::future::pending().await,
        }
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

/// Has nothing to read once its flag is set.
struct Silenced<R>(R, Arc<AtomicBool>);

impl<R: AsyncRead + Unpin> AsyncRead for Silenced<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.1.load(SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

/// Counts writes.
struct Counted<W>(W, Arc<AtomicUsize>);

impl<W: AsyncWrite + Unpin> AsyncWrite for Counted<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, SeqCst);
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

const BUFFER: usize = 64 << 10;
