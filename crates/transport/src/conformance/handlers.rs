//! The handlers that the cases register.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::During;
use crate::{
    Body, Handler, Incoming, Message, NodeIdentity, ProtocolId, Registration, Status, StatusCode, Transport,
};

/// The protocol that every case uses.
pub(super) const PROTOCOL: ProtocolId = ProtocolId::USER;

/// Registers a handler for the case's protocol.
pub(super) fn register(node: &dyn Transport, handler: impl Handler) -> Result<Registration, String> {
    node.register(PROTOCOL, Arc::new(handler)).during("registering a handler")
}

/// Passes every one-way message on, and notes if two came at the same time on one lane.
pub(super) struct Recorder {
    messages: mpsc::UnboundedSender<(NodeIdentity, Incoming)>,
    busy: [AtomicBool; 3],
    overlapped: Arc<AtomicBool>,
}

/// The other end of a [`Recorder`].
pub(super) struct Recording {
    pub(super) messages: mpsc::UnboundedReceiver<(NodeIdentity, Incoming)>,
    overlapped: Arc<AtomicBool>,
}

impl Recorder {
    pub(super) fn new() -> (Self, Recording) {
        let (sender, messages) = mpsc::unbounded_channel();
        let overlapped = Arc::new(AtomicBool::new(false));
        let recorder = Self { messages: sender, busy: Default::default(), overlapped: overlapped.clone() };
        (recorder, Recording { messages, overlapped })
    }
}

impl Recording {
    pub(super) async fn next(&mut self) -> Result<(NodeIdentity, Incoming), String> {
        self.messages.recv().await.ok_or_else(|| "the handler was dropped".to_owned())
    }

    pub(super) fn overlapped(&self) -> bool {
        self.overlapped.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Handler for Recorder {
    fn on_message(&self, from: NodeIdentity, message: Incoming) {
        let busy = &self.busy[message.lane.index()];
        if busy.swap(true, Ordering::SeqCst) {
            self.overlapped.store(true, Ordering::SeqCst);
        }
        // An error only says that the case is over.
        let _ = self.messages.send((from, message));
        busy.store(false, Ordering::SeqCst);
    }
}

/// Answers calls according to their bodies.
///
/// `stick` waits for ever; `reject` is refused with a text; `panic` panics; everything else is echoed.
pub(super) struct Answerer {
    begun: mpsc::UnboundedSender<(NodeIdentity, Incoming)>,
    dropped: mpsc::UnboundedSender<()>,
}

/// What an [`Answerer`] tells.
pub(super) struct Answering {
    /// Each call, when it begins.
    pub(super) begun: mpsc::UnboundedReceiver<(NodeIdentity, Incoming)>,
    /// Once for each stuck call, when its future is dropped.
    pub(super) dropped: mpsc::UnboundedReceiver<()>,
}

impl Answerer {
    pub(super) fn new() -> (Self, Answering) {
        let (begun, begun_seen) = mpsc::unbounded_channel();
        let (dropped, dropped_seen) = mpsc::unbounded_channel();
        (Self { begun, dropped }, Answering { begun: begun_seen, dropped: dropped_seen })
    }
}

#[async_trait]
impl Handler for Answerer {
    async fn on_call(&self, from: NodeIdentity, call: Incoming) -> Result<Body, Status> {
        // An error only says that the case is over; here as below.
        let _ = self.begun.send((from, call.clone()));
        match &call.body[..] {
            b"stick" => {
                let _told = TellOnDrop(self.dropped.clone());
                std::future::pending().await
            }
            b"reject" => Err(Status::new(StatusCode::Rejected, REJECTION)),
            // By `resume_unwind`, so that the panic hook doesn't fill the test's output.
            b"panic" => std::panic::resume_unwind(Box::new("a panic that belongs to the test")),
            _ => Ok(call.body.into()),
        }
    }
}

/// The text of a refused call; not only ASCII.
pub(super) const REJECTION: &str = "kein Anschluß: ∅";

struct TellOnDrop(mpsc::UnboundedSender<()>);

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Calls until it works: for peers that have just come back.
pub(super) async fn call_until_answered(node: &dyn Transport, to: quorate_core::NodeId) {
    let message = Message::new(PROTOCOL, "are you there?").within(Duration::from_millis(500));
    while node.call(to, message.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
