use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use quorate_core::NodeId;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{Accepted, Acceptor, Connector, Stream};

/// Plain TCP. Addresses are `host:port`; the host is resolved at each attempt. If it has several addresses, the
/// next is tried beside the others when one has failed or hasn't answered for 250 ms (RFC 8305, section 5), so
/// that one which swallows packets doesn't use up the time of all.
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
        let addresses = lookup_host(address).await?;
        tuned(race(addresses, TcpStream::connect).await?)
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

/// The first stream to any of the addresses; the error of the last if there is none.
async fn race<T, F>(
    addresses: impl Iterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut addresses = addresses.take(ADDRESSES_MAX);
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    // Dropped with this future, which aborts all attempts.
    let mut attempts = JoinSet::new();
    loop {
        let next = addresses.next();
        let is_last = next.is_none();
        if let Some(address) = next {
            attempts.spawn(connect(address));
        }
        let ended = if is_last {
            attempts.join_next().await
        } else {
            timeout(STAGGER, attempts.join_next()).await.unwrap_or(None)
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(failed))) => error = failed,
            Some(Err(panicked)) => error = io::Error::other(panicked),
            None if is_last => return Err(error),
            None => {}
        }
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

/// How long one address is waited for before the next is tried as well.
const STAGGER: Duration = Duration::from_millis(250);
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 8;
/// Both the idle time before the first probe and the pause between probes.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How many bytes the kernel may hold that it hasn't begun to send.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
const UNSENT_MAX: u32 = 64 << 10;

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Connects to port 1 only; port 2 refuses, and any other swallows packets.
    async fn connect(address: SocketAddr) -> io::Result<u16> {
        match address.port() {
            1 => Ok(1),
            2 => Err(io::ErrorKind::ConnectionRefused.into()),
            _ => std::future::pending().await,
        }
    }

    fn addresses(ports: &[u16]) -> impl Iterator<Item = SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port)))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_swallows_packets_does_not_hold_up_the_others() {
        let began = Instant::now();
        let connected = race(addresses(&[9, 2, 9, 1]), connect).await;
        assert_eq!(connected.expect("the last one connects"), 1);
        assert!(began.elapsed() <= 2 * STAGGER + Duration::from_millis(2), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn when_every_address_refuses_the_error_says_so() {
        let refused = race(addresses(&[2, 2]), connect).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let nothing = race(addresses(&[]), connect).await.expect_err("there is nobody");
        assert_eq!(nothing.kind(), io::ErrorKind::NotFound);
    }
}
