//! One node: a member of the raft group, with a Redis server in front of it.

mod backend;

use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use quorate_core::{ClusterId, NodeId};
use quorate_net::{Endpoint, new_boot};
use quorate_raft::{Config, Log, Node, StopReason};
use quorate_transport::NodeIdentity;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::cli::NodeOptions;
use crate::control::{Order, Report};
use crate::resp::Server;
use crate::store::{COMMAND_BYTES_MAX, Store};

use self::backend::Replicated;

/// Runs a node until its parent or a signal tells it to end, or its parent is gone.
///
/// # Errors
///
/// [`NodeError`]: it could not start, or its storage or state failed. What it had acknowledged is on disk.
pub async fn run(options: NodeOptions) -> Result<(), NodeError> {
    // A signal that comes while the node starts is kept until it is asked for below.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut orders = orders()?;

    let cluster =
        u64::from_str_radix(&options.cluster, 16).map_err(|_| NodeError::Cluster(options.cluster))?;
    let identity = NodeIdentity::new(ClusterId::new(cluster), NodeId::new(options.id), new_boot()?);
    let endpoint = Arc::new(Endpoint::builder(identity).bind("127.0.0.1:0").await?);
    let peer =
        endpoint.local_addr().parse().map_err(|_| NodeError::Address(endpoint.local_addr().to_owned()))?;

    let mut config = Config::new(options.id);
    config.command_bytes_max = COMMAND_BYTES_MAX;
    if let Some(last) = options.bootstrap {
        config = config.bootstrap(1..=last);
    }
    let directory = options.dir;
    let log = tokio::task::spawn_blocking(move || Log::open(directory)).await.map_err(io::Error::other)??;
    let node = Node::start(config, log, Store::default(), endpoint.clone()).await?;

    let listener = listen(options.redis_port).await?;
    let redis = listener.local_addr()?;
    let (closing, closed) = watch::channel(false);
    let server = tokio::spawn(Server::new(listener, Replicated::new(node.clone())).run(closed));
    tell(&Report::Ready { peer, redis });
    let watching = tokio::spawn(watch_leader(node.clone()));

    let end = loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Peer { node, address }) => endpoint.set_peer(NodeId::new(node), address.to_string()),
                Some(Order::Shutdown) | None => break Ok(()),
            },
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            reason = node.stopped() => break Err(NodeError::Stopped(reason)),
        }
    };
    closing.send_replace(true);
    // Clients first, while the node can still answer them; then the node, while it can still reach others.
    let _ = server.await;
    watching.abort();
    node.shutdown().await;
    endpoint.shutdown().await;
    end
}

/// The port that clients know, if it can be had again. The listening socket of a killed process is gone with
/// it, and the option lets connections that still linger from it not stand in the way.
async fn listen(port: u16) -> io::Result<TcpListener> {
    let bind = |port| {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        socket.listen(BACKLOG)
    };
    if port == 0 { bind(0) } else { bind(port).or_else(|_| bind(0)) }
}

/// Tells the parent of every change of leader, until the node stops.
async fn watch_leader(node: Node<Store>) {
    let mut status = node.watch();
    let mut told = None;
    loop {
        let now = *status.borrow_and_update();
        let news = (now.term, now.leader, now.role, now.durable > 0);
        if told != Some(news) {
            told = Some(news);
            let leader = now.leader.map(NodeId::get);
            tell(&Report::Leader { term: now.term, leader, founded: now.durable > 0 });
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// The parent may be gone; then the end of the standard input says so, and this need not.
fn tell(report: &Report) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", report.to_line()).and_then(|()| out.flush());
}

/// The parent's orders. The channel ends with the standard input, and so with the parent.
fn orders() -> io::Result<mpsc::Receiver<Order>> {
    let (sender, orders) = mpsc::channel(64);
    // A thread of its own, because a read of a standard stream can be neither awaited nor cancelled; the end
    // of the process doesn't wait for it.
    thread::Builder::new().name("orders".to_owned()).spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            let sent = Order::from_line(&line).map(|order| sender.blocking_send(order));
            if matches!(sent, Some(Err(_))) {
                return;
            }
        }
    })?;
    Ok(orders)
}

/// Why a node did not start, or has stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The cluster's name is no hexadecimal number.
    #[error("{0:?} is no cluster's name")]
    Cluster(String),
    /// The endpoint is at no address of an internet protocol.
    #[error("{0:?} is no address with a port")]
    Address(String),
    /// The endpoint did not start.
    #[error("the endpoint did not start: {0}")]
    Endpoint(#[from] quorate_net::StartError),
    /// The log can't be opened.
    #[error(transparent)]
    Log(#[from] quorate_raft::StorageError),
    /// The raft node did not start.
    #[error("the node did not start: {0}")]
    Start(#[from] quorate_raft::StartError),
    /// The raft node has stopped by itself.
    #[error("the node has stopped: {0}")]
    Stopped(StopReason),
}

/// How many clients may wait to be accepted.
const BACKLOG: u32 = 1024;
