//! What the tests of endpoints share.
#![allow(dead_code, reason = "each test uses a part")]

mod wire;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quorate_core::{BootId, ClusterId, NodeId};
use quorate_net::{Endpoint, EndpointConfig};
use quorate_transport::{Body, Handler, Incoming, NodeIdentity, ProtocolId, Registration, Status, Transport};
use tokio::sync::{Notify, mpsc};

#[allow(unused_imports, reason = "each test uses a part")]
pub(crate) use self::wire::Wires;

/// The length of a long answer.
pub(crate) const LONG: usize = 30 << 10;
pub(crate) const PROTOCOL: ProtocolId = ProtocolId::USER;

pub(crate) fn identity(node: u64, boot: u64) -> NodeIdentity {
    identity_in(1, node, boot)
}

pub(crate) fn identity_in(cluster: u64, node: u64, boot: u64) -> NodeIdentity {
    NodeIdentity::new(ClusterId::new(cluster), NodeId::new(node), BootId::new(boot))
}

/// Short pauses and a fixed seed.
pub(crate) fn config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.backoff_min = Duration::from_millis(1);
    config.backoff_max = Duration::from_millis(20);
    config.seed = Some(7);
    config
}

pub(crate) async fn bind(node: u64, boot: u64, config: EndpointConfig) -> Arc<Endpoint> {
    let builder = Endpoint::builder(identity(node, boot)).config(config);
    Arc::new(builder.bind("127.0.0.1:0").await.expect("loopback is free"))
}

/// Waits for what must come, but not for ever.
pub(crate) async fn soon<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), coming).await.expect("it comes within 20 s")
}

/// A frame by hand, so that the wire format stands in a second place.
pub(crate) fn frame(kind: u8, lane: u8, request: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(crc32c::crc32c(body).to_le_bytes());
    bytes.extend([kind, lane]);
    bytes.extend(PROTOCOL.get().to_le_bytes());
    bytes.extend(request.to_le_bytes());
    bytes.extend([0; 12]);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// What a dialling node 9 says to node 2, in a range of versions.
pub(crate) fn hello(versions: (u16, u16)) -> Vec<u8> {
    let mut body = b"quorate\0".to_vec();
    body.extend(versions.0.to_le_bytes());
    body.extend(versions.1.to_le_bytes());
    body.extend([0; 4]);
    for number in [1u64, 9, 90, 2] {
        body.extend(number.to_le_bytes());
    }
    body.extend((4u32 << 20).to_le_bytes());
    body.extend([0; 4]);
    frame(1, 0, 0, &body)
}

/// Answers `stick` never, `wait` when released, `wait long` too but with more, `yield` after a yield, `too long` with more than is allowed, and
/// echoes the rest.
struct Answerer {
    begun: mpsc::UnboundedSender<String>,
    dropped: mpsc::UnboundedSender<()>,
    released: Arc<Notify>,
}

pub(crate) struct Answers {
    begun: mpsc::UnboundedReceiver<String>,
    dropped: mpsc::UnboundedReceiver<()>,
    released: Arc<Notify>,
    _registration: Registration,
}

impl Answers {
    pub(crate) fn register(endpoint: &Endpoint) -> Self {
        let (begun, begun_seen) = mpsc::unbounded_channel();
        let (dropped, dropped_seen) = mpsc::unbounded_channel();
        let released = Arc::new(Notify::new());
        let answerer = Answerer { begun, dropped, released: released.clone() };
        let registration = endpoint.register(PROTOCOL, Arc::new(answerer)).expect("it is the only handler");
        Self { begun: begun_seen, dropped: dropped_seen, released, _registration: registration }
    }

    /// Waits for the next message or call, and says what is in it.
    pub(crate) async fn begun(&mut self) -> String {
        soon(self.begun.recv()).await.expect("the handler lives")
    }

    /// Waits until the future of a stuck call is dropped.
    pub(crate) async fn dropped(&mut self) {
        soon(self.dropped.recv()).await.expect("the handler lives");
    }

    /// Lets one waiting call go on.
    pub(crate) fn release(&self) {
        self.released.notify_one();
    }
}

struct TellOnDrop(mpsc::UnboundedSender<()>);

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[async_trait]
impl Handler for Answerer {
    fn on_message(&self, _: NodeIdentity, message: Incoming) {
        let _ = self.begun.send(String::from_utf8_lossy(&message.body).into_owned());
    }

    async fn on_call(&self, _: NodeIdentity, call: Incoming) -> Result<Body, Status> {
        let _ = self.begun.send(String::from_utf8_lossy(&call.body).into_owned());
        match &call.body[..] {
            b"stick" => {
                let _told = TellOnDrop(self.dropped.clone());
                std::future::pending::<()>().await;
            }
            b"wait long" => {
                self.released.notified().await;
                return Ok(vec![b'.'; LONG].into());
            }
            b"wait" => self.released.notified().await,
            b"yield" => tokio::task::yield_now().await,
            b"too long" => return Ok(vec![0; (4 << 20) + 1].into()),
            _ => {}
        }
        Ok(call.body.into())
    }
}
