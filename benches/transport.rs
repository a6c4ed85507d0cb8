//! Echo over loopback TCP, beside tarpc 0.38 with its TCP transport and bincode: CPU time a request, both
//! ends together, on one connection.
//!
//! Both carry a deadline of ten seconds and byte strings that need no decoding byte by byte; ours has its checksums
//! on. In the rows named `waiting` our handler awaits something, which costs it a task; tarpc's always has one.
//! `cargo bench -p quorate-benches --bench transport`; `-- 64B` runs the rows whose name contains that.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cpu_time::ProcessTime;
use futures::StreamExt;
use quorate_benches::{Better, Row, median};
use quorate_core::{BootId, ClusterId, NodeId};
use quorate_net::Endpoint;
use quorate_transport::{Body, Handler, Incoming, Message, NodeIdentity, ProtocolId, Status, Transport};
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;

const PROTOCOL: ProtocolId = ProtocolId::USER;
const SERVER: NodeId = NodeId::new(2);
const TURNS: usize = 5;
/// On this channel the handler waits once before it answers, and so takes a task of its own, as tarpc's always does.
const WAITING: u64 = 1;

struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn on_call(&self, _: NodeIdentity, call: Incoming) -> Result<Body, Status> {
        if call.channel == WAITING {
            tokio::task::yield_now().await;
        }
        Ok(call.body.into())
    }
}

#[tarpc::service]
trait Peer {
    async fn echo(body: Bytes) -> Bytes;
}

#[derive(Clone)]
struct PeerEcho;

impl Peer for PeerEcho {
    async fn echo(self, _: tarpc::context::Context, body: Bytes) -> Bytes {
        body
    }
}

async fn ours() -> (Arc<Endpoint>, Endpoint) {
    let identity = |node| NodeIdentity::new(ClusterId::new(1), node, BootId::new(node.get()));
    let server = Endpoint::builder(identity(SERVER)).bind("127.0.0.1:0").await.expect("loopback is free");
    server.register(PROTOCOL, Arc::new(Echo)).expect("it is the only handler").forever();
    let client = Endpoint::builder(identity(NodeId::new(1))).peer(SERVER, server.local_addr());
    let client = Arc::new(client.bind("127.0.0.1:0").await.expect("loopback is free"));
    client.call(SERVER, Message::new(PROTOCOL, "")).await.expect("the server answers");
    (client, server)
}

async fn tarpc_peer() -> PeerClient {
    let mut listener =
        tarpc::serde_transport::tcp::listen("127.0.0.1:0", Bincode::default).await.expect("loopback is free");
    let address = listener.local_addr();
    tokio::spawn(async move {
        while let Some(Ok(transport)) = listener.next().await {
            let channel = BaseChannel::with_defaults(transport);
            tokio::spawn(channel.execute(PeerEcho.serve()).for_each(|answer| async move {
                tokio::spawn(answer);
            }));
        }
    });
    let transport = tarpc::serde_transport::tcp::connect(address, Bincode::default);
    let transport = transport.await.expect("the server listens");
    let mut config = tarpc::client::Config::default();
    config.pending_request_buffer = 1024;
    PeerClient::new(config, transport).spawn()
}

/// CPU microseconds a request of both ends.
async fn measured<F, C>(in_flight: usize, requests: usize, call: F) -> f64
where
    F: Fn() -> C + Clone + Send + 'static,
    C: Future<Output = ()> + Send,
{
    let began = ProcessTime::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let call = call.clone();
            tokio::spawn(async move {
                for _ in 0..requests / in_flight {
                    call().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no call panics");
    }
    began.elapsed().as_secs_f64() * 1e6 / requests as f64
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let (client, _server) = ours().await;
    let peer = tarpc_peer().await;
    for (size, length) in [("64B", 64), ("1KiB", 1024)] {
        let rows = [
            ("echo", 0, 1, 10_000, 1.1),
            ("echo", 0, 64, 128_000, 4.0),
            ("echo", 0, 256, 128_000, 4.0),
            ("waiting", WAITING, 64, 128_000, 1.5),
        ];
        for (what, channel, in_flight, requests, goal) in rows {
            let name = format!("transport/{what}/{size}/inflight={in_flight}");
            if !name.contains(&only) {
                continue;
            }
            let body = Bytes::from(vec![7; length]);
            let (mut own, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..TURNS {
                let (client, sent) = (client.clone(), body.clone());
                own.push(
                    measured(in_flight, requests, move || {
                        let (client, message) =
                            (client.clone(), Message::new(PROTOCOL, sent.clone()).on_channel(channel));
                        async move {
                            let message = message.within(Duration::from_secs(10));
                            client.call(SERVER, message).await.expect("the server answers");
                        }
                    })
                    .await,
                );
                let (peer, sent) = (peer.clone(), body.clone());
                theirs.push(
                    measured(in_flight, requests, move || {
                        let (peer, sent) = (peer.clone(), sent.clone());
                        async move {
                            peer.echo(tarpc::context::current(), sent).await.expect("the server answers");
                        }
                    })
                    .await,
                );
            }
            let row = Row {
                name,
                ours: median(own),
                peer: median(theirs),
                peer_name: "tarpc-0.38.0",
                unit: "us_cpu/op",
                better: Better::Lower,
                goal,
            };
            println!("{row}");
        }
    }
}
