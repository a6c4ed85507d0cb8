//! What endpoints do beyond the contract of every transport, over loopback TCP.

mod support;

use std::sync::Arc;
use std::time::Duration;

use quorate_core::{ClusterId, NodeId, Outcome};
use quorate_net::{Endpoint, EndpointConfig, StartError};
use quorate_transport::{
    CallError, Lane, Message, PeerEvent, Reason, Refusal, SendError, StatusCode, Transport,
};
use support::{Answers, PROTOCOL, bind, config, identity, soon};
use tokio::net::TcpListener;

const TWO: NodeId = NodeId::new(2);

/// A listener that never says a word, and its address.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    (listener, address)
}

#[tokio::test]
async fn two_that_dial_each_other_at_once_both_get_through() {
    let (one, two) = (bind(1, 1, config()).await, bind(2, 2, config()).await);
    let (answers_one, answers_two) = (Answers::register(&one), Answers::register(&two));
    one.set_peer(TWO, two.local_addr());
    two.set_peer(NodeId::new(1), one.local_addr());
    let (a, b) = tokio::join!(
        one.call(TWO, Message::new(PROTOCOL, "from one")),
        two.call(NodeId::new(1), Message::new(PROTOCOL, "from two")),
    );
    assert_eq!(a.expect("two answers"), "from one");
    assert_eq!(b.expect("one answers"), "from two");
    drop((answers_one, answers_two));
}

#[tokio::test]
async fn a_peer_of_another_cluster_is_refused_once_and_typed() {
    let two = Endpoint::builder(support::identity_in(7, 2, 2)).config(config()).bind("127.0.0.1:0").await;
    let two = two.expect("loopback is free");
    let one = bind(1, 1, config()).await;
    let mut events = one.events();
    one.set_peer(TWO, two.local_addr());
    let why = Refusal::WrongCluster { theirs: ClusterId::new(7) };
    assert_eq!(soon(events.next()).await, Some(PeerEvent::Refused { node: TWO, why }));
    let refused = one.call(TWO, Message::new(PROTOCOL, "")).await;
    assert!(matches!(refused, Err(CallError::NotSent(_))), "{refused:?}");
    let message = Message::new(PROTOCOL, "");
    assert_eq!(one.try_send(TWO, message.clone()), Err(SendError::Disconnected(message)));
}

#[tokio::test]
async fn calls_that_wait_for_a_refused_handshake_are_not_sent() {
    let two = bind(2, 2, config()).await;
    let one = bind(1, 1, config()).await;
    // The address leads to node 2, not to node 3.
    one.set_peer(NodeId::new(3), two.local_addr());
    let refused = one.call(NodeId::new(3), Message::new(PROTOCOL, "")).await;
    let expected = CallError::NotSent(Reason::Refused(Refusal::WrongNode { theirs: TWO }));
    assert_eq!(refused, Err(expected.clone()));
    assert_eq!(expected.outcome(), Outcome::NotDone);
}

#[tokio::test]
async fn an_address_that_leads_back_is_refused() {
    let one = bind(1, 1, config()).await;
    one.set_peer(TWO, one.local_addr());
    let refused = one.call(TWO, Message::new(PROTOCOL, "")).await;
    assert_eq!(refused, Err(CallError::NotSent(Reason::Refused(Refusal::Itself))));
}

#[tokio::test]
async fn an_unreachable_peer_is_not_sent_to() {
    let (listener, address) = silent().await;
    drop(listener);
    let one = bind(1, 1, config()).await;
    one.set_peer(TWO, address);
    let refused = soon(one.call(TWO, Message::new(PROTOCOL, ""))).await;
    assert_eq!(refused, Err(CallError::NotSent(Reason::Disconnected)));
}

#[tokio::test]
async fn a_full_queue_hands_the_message_back_unchanged() {
    let (_listener, address) = silent().await;
    let mut config = config();
    config.queue_messages = 3;
    let one = bind(1, 1, config).await;
    one.set_peer(TWO, address);
    let message = |channel| Message::new(PROTOCOL, "x").on_channel(channel);
    for channel in 0..3 {
        one.try_send(TWO, message(channel)).expect("there is room");
    }
    assert_eq!(one.try_send(TWO, message(3)), Err(SendError::Full(message(3))));
    // Another lane has its own room.
    one.try_send(TWO, message(4).on_lane(Lane::Control)).expect("there is room");
    assert_eq!(one.call(TWO, message(5)).await, Err(CallError::NotSent(Reason::Full)));
}

#[tokio::test]
async fn queues_are_bounded_in_bytes() {
    let (_listener, address) = silent().await;
    let mut config = config();
    config.queue_bytes = config.body_max;
    let one = bind(1, 1, config).await;
    one.set_peer(TWO, address);
    one.try_send(TWO, Message::new(PROTOCOL, vec![0; one.body_max() - 1])).expect("there is room");
    one.try_send(TWO, Message::new(PROTOCOL, "x")).expect("there is room for one byte");
    assert!(matches!(one.try_send(TWO, Message::new(PROTOCOL, "x")), Err(SendError::Full(_))));
}

#[tokio::test]
async fn a_deadline_that_passes_before_sending_says_so() {
    let (_listener, address) = silent().await;
    let one = bind(1, 1, config()).await;
    one.set_peer(TWO, address);
    let late = one.call(TWO, Message::new(PROTOCOL, "").within(Duration::from_millis(20))).await;
    assert_eq!(late, Err(CallError::DeadlineExceeded { sent: false }));
}

#[tokio::test]
async fn a_deadline_that_passes_after_sending_says_so() {
    let (one, two) = (bind(1, 1, config()).await, bind(2, 2, config()).await);
    let _answers = Answers::register(&two);
    one.set_peer(TWO, two.local_addr());
    one.call(TWO, Message::new(PROTOCOL, "connect")).await.expect("two answers");
    let late = one.call(TWO, Message::new(PROTOCOL, "stick").within(Duration::from_millis(20))).await;
    assert_eq!(late, Err(CallError::DeadlineExceeded { sent: true }));
    one.call(TWO, Message::new(PROTOCOL, "after")).await.expect("two still answers");
}

#[tokio::test]
async fn too_many_calls_are_refused_as_overload() {
    let mut narrow = config();
    narrow.calls_in_max = 2;
    let (one, two) = (bind(1, 1, config()).await, bind(2, 2, narrow).await);
    let mut answers = Answers::register(&two);
    one.set_peer(TWO, two.local_addr());
    let stuck = [(); 2].map(|()| {
        let one = one.clone();
        tokio::spawn(async move { one.call(TWO, Message::new(PROTOCOL, "stick")).await })
    });
    answers.begun().await;
    answers.begun().await;
    match one.call(TWO, Message::new(PROTOCOL, "one more")).await {
        Err(CallError::Remote(status)) => assert_eq!(status.code(), StatusCode::Overloaded),
        other => panic!("{other:?}"),
    }
    for call in stuck {
        call.abort();
    }
    answers.dropped().await;
    answers.dropped().await;
    one.call(TWO, Message::new(PROTOCOL, "now")).await.expect("there is room again");
}

#[tokio::test]
async fn a_restarted_peer_is_another_boot_and_is_reached_at_its_old_address() {
    let one = bind(1, 1, config()).await;
    let two = bind(2, 2, config()).await;
    let address = two.local_addr().to_owned();
    one.set_peer(TWO, &address);
    let answers = Answers::register(&two);
    one.call(TWO, Message::new(PROTOCOL, "before")).await.expect("two answers");
    drop(answers);
    let mut events = one.events();
    two.shutdown().await;
    drop(two);
    let down = soon(events.next()).await;
    assert!(matches!(down, Some(PeerEvent::Down { peer, .. }) if peer == identity(2, 2)), "{down:?}");
    let two = Endpoint::builder(identity(2, 3)).config(config()).bind(&address).await;
    let two = Arc::new(two.expect("the port is free again"));
    let _answers = Answers::register(&two);
    assert_eq!(soon(events.next()).await, Some(PeerEvent::Up { peer: identity(2, 3) }));
    one.call(TWO, Message::new(PROTOCOL, "after")).await.expect("two answers again");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_a_failure() {
    let (one, two) = (bind(1, 1, config()).await, bind(2, 2, config()).await);
    let _answers = Answers::register(&two);
    one.set_peer(TWO, two.local_addr());
    match one.call(TWO, Message::new(PROTOCOL, "too long")).await {
        Err(CallError::Remote(status)) => assert_eq!(status.code(), StatusCode::Failed),
        other => panic!("{other:?}"),
    }
    one.call(TWO, Message::new(PROTOCOL, "after")).await.expect("two still answers");
}

#[tokio::test]
async fn shutdown_lets_calls_in_progress_end() {
    let (one, two) = (bind(1, 1, config()).await, bind(2, 2, config()).await);
    let mut answers = Answers::register(&two);
    one.set_peer(TWO, two.local_addr());
    let caller = one.clone();
    let call = tokio::spawn(async move { caller.call(TWO, Message::new(PROTOCOL, "wait")).await });
    answers.begun().await;
    let ending = tokio::spawn(async move { two.shutdown().await });
    tokio::task::yield_now().await;
    answers.release();
    assert_eq!(soon(call).await.expect("no panic").expect("it is answered"), "wait");
    soon(ending).await.expect("no panic");
}

#[tokio::test]
async fn shutdown_is_cut_short_by_its_limit() {
    let mut short = config();
    short.shutdown_max = Duration::from_millis(50);
    let (one, two) = (bind(1, 1, config()).await, bind(2, 2, short).await);
    let mut answers = Answers::register(&two);
    one.set_peer(TWO, two.local_addr());
    let caller = one.clone();
    let call = tokio::spawn(async move { caller.call(TWO, Message::new(PROTOCOL, "stick")).await });
    answers.begun().await;
    soon(two.shutdown()).await;
    let ended = soon(call).await.expect("no panic");
    assert_eq!(ended.expect_err("it was cut").outcome(), Outcome::Unknown);
    answers.dropped().await;
    let message = Message::new(PROTOCOL, "");
    assert!(matches!(two.call(NodeId::new(1), message).await, Err(CallError::NotSent(Reason::Closed))));
}

#[tokio::test]
async fn shutdown_sends_what_is_queued() {
    let (one, two) = (bind(1, 1, config()).await, bind(2, 2, config()).await);
    let mut answers = Answers::register(&two);
    one.set_peer(TWO, two.local_addr());
    one.call(TWO, Message::new(PROTOCOL, "connect")).await.expect("two answers");
    answers.begun().await;
    for _ in 0..100 {
        one.try_send(TWO, Message::new(PROTOCOL, "last words")).expect("there is room");
    }
    one.shutdown().await;
    let message = Message::new(PROTOCOL, "too late");
    assert_eq!(one.try_send(TWO, message.clone()), Err(SendError::Closed(message)));
    for _ in 0..100 {
        assert_eq!(answers.begun().await, "last words");
    }
}

#[tokio::test]
async fn dropping_an_endpoint_ends_its_calls_and_frees_its_port() {
    let (one, two) = (bind(1, 1, config()).await, bind(2, 2, config()).await);
    let address = two.local_addr().to_owned();
    let mut answers = Answers::register(&two);
    one.set_peer(TWO, &address);
    let caller = one.clone();
    let call = tokio::spawn(async move { caller.call(TWO, Message::new(PROTOCOL, "stick")).await });
    answers.begun().await;
    drop(two);
    let ended = soon(call).await.expect("no panic");
    assert_eq!(ended.expect_err("it was cut").outcome(), Outcome::Unknown);
    soon(async {
        while TcpListener::bind(&address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_removed_peer_is_unknown() {
    let (one, two) = (bind(1, 1, config()).await, bind(2, 2, config()).await);
    let _answers = Answers::register(&two);
    one.set_peer(TWO, two.local_addr());
    one.call(TWO, Message::new(PROTOCOL, "")).await.expect("two answers");
    one.remove_peer(TWO);
    let message = Message::new(PROTOCOL, "");
    assert_eq!(one.try_send(TWO, message.clone()), Err(SendError::UnknownPeer(message)));
    one.set_peer(TWO, two.local_addr());
    one.call(TWO, Message::new(PROTOCOL, "")).await.expect("two answers");
}

#[tokio::test]
async fn a_new_address_is_tried_at_once() {
    let (listener, nowhere) = silent().await;
    drop(listener);
    let mut patient = config();
    patient.backoff_min = Duration::from_secs(3600);
    patient.backoff_max = Duration::from_secs(3600);
    let (one, two) = (bind(1, 1, patient).await, bind(2, 2, config()).await);
    let _answers = Answers::register(&two);
    let mut events = one.events();
    one.set_peer(TWO, nowhere);
    assert!(soon(one.call(TWO, Message::new(PROTOCOL, ""))).await.is_err());
    one.set_peer(TWO, two.local_addr());
    assert_eq!(soon(events.next()).await, Some(PeerEvent::Up { peer: identity(2, 2) }));
}

#[tokio::test]
async fn a_config_out_of_range_names_its_field() {
    let mut wrong = EndpointConfig::default();
    wrong.queue_bytes = 5;
    let started = Endpoint::builder(identity(1, 1)).config(wrong).bind("127.0.0.1:0").await;
    assert!(matches!(started, Err(StartError::Config { field: "queue_bytes", .. })));
    let started = Endpoint::builder(identity(1, 1)).peer(NodeId::new(1), "x").bind("127.0.0.1:0").await;
    assert!(matches!(started, Err(StartError::OwnPeer(_))));
    let started = Endpoint::builder(identity(1, 1)).bind("not an address").await;
    assert!(matches!(started, Err(StartError::Bind { .. })));
}
