use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use quorate_core::NodeId;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use crate::{Accepted, Acceptor, Connector, Stream};

/// Plain TCP. Addresses are `host:port`; the host is resolved at each attempt, and its addresses are tried
/// in turn.
///
/// Nagle's algorithm is off, since frames are gathered before they are written. The kernel takes no more than
/// 64 KiB that it can't send yet (where it has `TCP_NOTSENT_LOWAT`), so that what is urgent can still
/// overtake what waits. Keepalive finds peers that vanished.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tcp;

impl Tcp {
    /// Listens on an address; with port 0, on one that the system chooses.
    ///
    /// # Errors
    ///
    /// What the operating system says: the address is taken, or not this machine's, or not allowed.
    pub async fn bind(address: &str) -> io::Result<TcpAcceptor> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(TcpAcceptor { listener, address })
    }
}

#[async_trait]
impl Connector for Tcp {
    async fn connect(&self, _node: NodeId, address: &str) -> io::Result<Stream> {
        tuned(TcpStream::connect(address).await?)
    }
}

/// A listening TCP socket, made by [`Tcp::bind`].
#[derive(Debug)]
pub struct TcpAcceptor {
    listener: TcpListener,
    address: SocketAddr,
}

#[async_trait]
impl Acceptor for TcpAcceptor {
    async fn accept(&self) -> io::Result<Accepted> {
        let (stream, origin) = self.listener.accept().await?;
        Ok(Accepted::ready(origin.to_string(), tuned(stream)?))
    }

    fn address(&self) -> String {
        self.address.to_string()
    }
}

fn tuned(stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    let (reader, writer) = stream.into_split();
    Ok(Stream::from_halves(reader, writer))
}

/// Both the idle time before the first probe and the pause between probes.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How many bytes the kernel may hold that it hasn't begun to send.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
const UNSENT_MAX: u32 = 64 << 10;
