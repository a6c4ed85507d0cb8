//! What the in-memory network does beyond the contract.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quorate_core::{ClusterId, NodeId, Outcome};
use quorate_transport::{
    Body, CallError, Handler, Incoming, MemoryConfig, MemoryNetwork, MemoryTransport, Message, NodeIdentity,
    PeerEvent, ProtocolId, Reason, SendError, Status, StatusCode, Transport,
};
use tokio::sync::Notify;

const ONE: NodeId = NodeId::new(1);
const TWO: NodeId = NodeId::new(2);
const PROTOCOL: ProtocolId = ProtocolId::USER;

/// Says that it has begun, then waits for ever if the body says so, and echoes otherwise.
#[derive(Default)]
struct Echo {
    begun: Arc<Notify>,
}

#[async_trait]
impl Handler for Echo {
    async fn on_call(&self, _: NodeIdentity, call: Incoming) -> Result<Body, Status> {
        self.begun.notify_one();
        if call.body == "stick" {
            std::future::pending::<()>().await;
        }
        Ok(call.body.into())
    }
}

fn echoing(transport: &MemoryTransport) -> Arc<Notify> {
    let begun = Arc::new(Notify::new());
    let echo = Echo { begun: begun.clone() };
    transport.register(PROTOCOL, Arc::new(echo)).expect("it is the only handler").forever();
    begun
}

fn pair(config: MemoryConfig) -> (MemoryNetwork, Arc<MemoryTransport>, Arc<MemoryTransport>) {
    let network = MemoryNetwork::with_config(ClusterId::new(1), config);
    let (one, two) = (network.join(ONE), network.join(TWO));
    (network, Arc::new(one), Arc::new(two))
}

#[tokio::test(start_paused = true)]
async fn a_cut_refuses_and_a_mend_restores() {
    let (network, one, two) = pair(MemoryConfig::default());
    echoing(&two);
    network.cut(ONE, TWO);
    let message = Message::new(PROTOCOL, "x");
    assert_eq!(one.try_send(TWO, message.clone()), Err(SendError::Disconnected(message.clone())));
    assert_eq!(one.call(TWO, message.clone()).await, Err(CallError::NotSent(Reason::Disconnected)));
    network.mend(ONE, TWO);
    assert_eq!(one.call(TWO, message).await.expect("it is mended"), "x");
}

#[tokio::test(start_paused = true)]
async fn a_cut_under_a_call_leaves_its_outcome_unknown() {
    let (network, one, two) = pair(MemoryConfig::default());
    let begun = echoing(&two);
    let caller = one.clone();
    let call = tokio::spawn(async move { caller.call(TWO, Message::new(PROTOCOL, "stick")).await });
    begun.notified().await;
    network.isolate(ONE);
    let ended = call.await.expect("no panic").expect_err("it was cut");
    assert_eq!(ended.outcome(), Outcome::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cut_in_its_queue_was_not_sent() {
    let (network, one, two) = pair(MemoryConfig::default());
    echoing(&two);
    let mut call = one.call(TWO, Message::new(PROTOCOL, "x"));
    // Polled once, so that it is queued; no other task has run yet.
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await.is_pending());
    network.cut(ONE, TWO);
    assert_eq!(call.await, Err(CallError::NotSent(Reason::Disconnected)));
}

#[tokio::test(start_paused = true)]
async fn a_one_way_cut_loses_answers() {
    let (network, one, two) = pair(MemoryConfig::default());
    let begun = echoing(&two);
    network.cut_one_way(TWO, ONE);
    let call = one.call(TWO, Message::new(PROTOCOL, "x"));
    assert_eq!(call.await, Err(CallError::Indeterminate(Reason::Disconnected)));
    begun.notified().await;
    assert!(two.call(ONE, Message::new(PROTOCOL, "x")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_crashed_transport_is_closed_and_its_successor_has_a_new_boot() {
    let (network, one, two) = pair(MemoryConfig::default());
    let mut events = one.events();
    let before = *two.local();
    let reborn = network.join(TWO);
    assert_ne!(reborn.local().boot, before.boot);
    assert_eq!(events.next().await, Some(PeerEvent::Down { peer: before, why: Reason::Disconnected }));
    assert_eq!(events.next().await, Some(PeerEvent::Up { peer: *reborn.local() }));
    let message = Message::new(PROTOCOL, "x");
    assert_eq!(two.try_send(ONE, message.clone()), Err(SendError::Closed(message.clone())));
    drop(two);
    echoing(&reborn);
    one.call(TWO, message).await.expect("the old transport's end doesn't touch the new one");
}

#[tokio::test(start_paused = true)]
async fn too_many_calls_are_refused_as_overload() {
    let mut config = MemoryConfig::default();
    config.calls_max = 1;
    let (_network, one, two) = pair(config);
    let begun = echoing(&two);
    let caller = one.clone();
    let stuck = tokio::spawn(async move { caller.call(TWO, Message::new(PROTOCOL, "stick")).await });
    begun.notified().await;
    match one.call(TWO, Message::new(PROTOCOL, "x")).await {
        Err(CallError::Remote(status)) => assert_eq!(status.code(), StatusCode::Overloaded),
        other => panic!("{other:?}"),
    }
    stuck.abort();
    let _ = stuck.await;
    while one.call(TWO, Message::new(PROTOCOL, "x")).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn queues_are_bounded_in_messages_and_in_bytes() {
    let mut config = MemoryConfig::default();
    config.queue_messages = 2;
    config.queue_bytes = 10;
    let (_network, one, _two) = pair(config);
    let message = |len| Message::new(PROTOCOL, vec![0; len]);
    one.try_send(TWO, message(8)).expect("there is room");
    assert_eq!(one.try_send(TWO, message(3)), Err(SendError::Full(message(3))));
    one.try_send(TWO, message(2)).expect("there is room");
    assert_eq!(one.try_send(TWO, message(0)), Err(SendError::Full(message(0))));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_queue_counts_as_not_sent() {
    let (_network, one, two) = pair(MemoryConfig::default());
    echoing(&two);
    let mut call = one.call(TWO, Message::new(PROTOCOL, "x").within(Duration::from_millis(1)));
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await.is_pending());
    tokio::time::advance(Duration::from_millis(2)).await;
    assert_eq!(call.await, Err(CallError::DeadlineExceeded { sent: false }));
}

/// Panics before there is a future at all.
struct Hasty;

impl Handler for Hasty {
    fn on_call<'a, 'b>(
        &'a self,
        _: NodeIdentity,
        _: Incoming,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Body, Status>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        panic!("no future was made");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_before_its_future_is_a_failure() {
    let (_network, one, two) = pair(MemoryConfig::default());
    two.register(PROTOCOL, Arc::new(Hasty)).expect("it is the only handler").forever();
    match one.call(TWO, Message::new(PROTOCOL, "x")).await {
        Err(CallError::Remote(status)) => assert_eq!(status.code(), StatusCode::Failed),
        other => panic!("{other:?}"),
    }
}
