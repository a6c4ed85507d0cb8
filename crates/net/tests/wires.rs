//! What endpoints do in the course of time: over in-memory streams, with the clock paused.

mod support;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use quorate_core::{NodeId, Outcome};
use quorate_net::{Connector, Endpoint, EndpointConfig, StartError, Stream, Tcp};
use quorate_transport::{
    Body, CallError, Handler, Incoming, Lane, Message, NodeIdentity, PeerEvent, Reason, Status, Transport,
};
use support::{Answers, PROTOCOL, Wires, config, frame, hello, identity, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, timeout};

const ONE: NodeId = NodeId::new(1);
const TWO: NodeId = NodeId::new(2);
const ONE_WAY: u8 = 2;
const REQUEST: u8 = 3;

fn message(body: &'static str) -> Message {
    Message::new(PROTOCOL, body)
}

/// Two nodes, of which the first knows the second and has called it.
async fn pair(wires: &Wires) -> (Arc<Endpoint>, Arc<Endpoint>, Answers) {
    let (one, two) = (wires.start(1, 1, config()), wires.start(2, 2, config()));
    let mut answers = Answers::register(&two);
    one.set_peer(TWO, "2");
    one.call(TWO, message("before")).await.expect("two answers");
    answers.begun().await;
    (one, two, answers)
}

/// A hand-made node 9 that has introduced itself to node 2.
async fn introduced(wires: &Wires) -> DuplexStream {
    let mut stream = wires.dial("2").expect("two listens");
    stream.write_all(&hello((1, 1))).await.expect("two reads");
    stream.read_exact(&mut [0; 88]).await.expect("two answers");
    stream
}

#[tokio::test(start_paused = true)]
async fn calls_still_end_after_a_shutdown_that_was_dropped() {
    let (one, _two, mut answers) = pair(&Wires::default()).await;
    let caller = one.clone();
    let call = message("stick").within(Duration::from_millis(500));
    let call = tokio::spawn(async move { caller.call(TWO, call).await });
    answers.begun().await;
    timeout(Duration::from_millis(50), one.shutdown()).await.expect_err("a call is in progress");
    let ended = timeout(Duration::from_secs(5), call).await.expect("the deadline ends it").expect("no panic");
    assert_eq!(ended, Err(CallError::DeadlineExceeded { sent: true }));
    one.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_does_not_cut_the_first_short() {
    let (one, _two, mut answers) = pair(&Wires::default()).await;
    let caller = one.clone();
    let call = tokio::spawn(async move { caller.call(TWO, message("wait")).await });
    answers.begun().await;
    let release = async {
        sleep(Duration::from_millis(500)).await;
        answers.release();
    };
    tokio::join!(one.shutdown(), one.shutdown(), release);
    assert_eq!(call.await.expect("no panic").expect("it is answered"), "wait");
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_silent_clients() {
    let wires = Wires::default();
    let (_one, two, _answers) = pair(&wires).await;
    let _silent = wires.dial("2").expect("two listens");
    let _introduced = introduced(&wires).await;
    let began = Instant::now();
    two.shutdown().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// Answers with as many bytes as the request says, at once.
#[derive(Default)]
struct Filler(AtomicUsize);

#[async_trait]
impl Handler for Filler {
    async fn on_call(&self, _: NodeIdentity, call: Incoming) -> Result<Body, Status> {
        let len = String::from_utf8_lossy(&call.body).trim_end_matches('.').parse().unwrap_or(0);
        self.0.fetch_add(len, SeqCst);
        Ok(vec![0; len].into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_that_moves_is_not_cut() {
    for (request, answer) in [(4 << 20, 0), (10, 4 << 20)] {
        let wires = Wires::slow(320 << 10);
        let (one, two) = (wires.start(1, 1, config()), wires.start(2, 2, config()));
        two.register(PROTOCOL, Arc::new(Filler::default())).expect("it is the only handler").forever();
        one.set_peer(TWO, "2");
        let mut body = answer.to_string().into_bytes();
        body.resize(request, b'.');
        let answered = one.call(TWO, Message::new(PROTOCOL, body)).await;
        assert_eq!(answered.expect("the link moves").len(), answer);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_into_the_void_are_no_sign_of_life() {
    let wires = Wires::default();
    let (one, _two, _answers) = pair(&wires).await;
    let mut events = one.events();
    wires.fall_silent();
    let began = Instant::now();
    let down = loop {
        // Each fits into what the stream holds; for the sender they are on their way.
        let _ = one.try_send(TWO, message("heartbeat"));
        if let Ok(event) = timeout(Duration::from_millis(100), events.next()).await {
            break event;
        }
    };
    assert!(matches!(down, Some(PeerEvent::Down { .. })), "{down:?}");
    assert!(began.elapsed() < 2 * config().silence_max, "after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_takes_are_bounded_in_bytes() {
    let wires = Wires::default();
    let two = wires.start(2, 2, config());
    let filler = Arc::new(Filler::default());
    two.register(PROTOCOL, filler.clone()).expect("it is the only handler").forever();
    let mut stream = introduced(&wires).await;
    let (count, len) = (64, 256 << 10);
    let requests: Vec<u8> = (0..count).flat_map(|id| frame(REQUEST, 1, id, b"262144")).collect();
    stream.write_all(&requests).await.expect("two reads");
    sleep(Duration::from_secs(1)).await;
    let made = filler.0.load(SeqCst);
    assert!(made <= (1 << 20) + 2 * len, "{made} bytes are held");
    let mut said = vec![0; count as usize * (32 + len)];
    stream.read_exact(&mut said).await.expect("the rest is answered once there is room");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_lose_every_connection_do_not_wake_each_other() {
    let wires = Wires::flapping(Duration::from_millis(1));
    let (one, two) =
        (wires.start(1, 1, EndpointConfig::default()), wires.start(2, 2, EndpointConfig::default()));
    one.set_peer(TWO, "2");
    two.set_peer(ONE, "1");
    sleep(Duration::from_secs(60)).await;
    // The pauses grow to 2 s, and a connection of a millisecond is no success that would make them short again.
    let dials = wires.dials();
    assert!((40..150).contains(&dials), "{dials} attempts in a minute");
}

#[tokio::test(start_paused = true)]
async fn only_a_changed_address_is_a_reason_to_dial() {
    let wires = Wires::default();
    let mut patient = config();
    patient.backoff_min = Duration::from_secs(3600);
    patient.backoff_max = Duration::from_secs(3600);
    let one = wires.start(1, 1, patient);
    for (address, dials) in [("nowhere", 1), ("nowhere", 1), ("elsewhere", 2)] {
        one.set_peer(TWO, address);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(wires.dials(), dials, "after {address}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_once_and_dialled_again_slowly() {
    let wires = Wires::default();
    let (one, _three) = (wires.start(1, 1, config()), wires.start(3, 3, config()));
    let mut events = one.events();
    one.set_peer(TWO, "3");
    assert!(matches!(soon(events.next()).await, Some(PeerEvent::Refused { node: TWO, .. })));
    timeout(Duration::from_secs(60), events.next()).await.expect_err("it is told once");
    let dials = wires.dials();
    assert!((6..=13).contains(&dials), "{dials} attempts in a minute, with pauses of 5 to 10 s");
}

#[tokio::test(start_paused = true)]
async fn what_gathers_is_written_at_once() {
    let wires = Wires::default();
    let (one, _two, mut answers) = pair(&wires).await;
    let before = wires.writes();
    one.try_send(TWO, message("first")).expect("there is room");
    // By now the task that writes is to run, and before the one that sends the second message.
    let sender = one.clone();
    tokio::spawn(async move { sender.try_send(TWO, message("second")).expect("there is room") });
    assert_eq!(answers.begun().await, "first");
    assert_eq!(answers.begun().await, "second");
    assert_eq!(wires.writes() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn answers_of_handlers_that_wait_share_writes() {
    let wires = Wires::default();
    let (one, _two, _answers) = pair(&wires).await;
    let before = wires.writes();
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let one = one.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    one.call(TWO, message("yield")).await.expect("two answers");
                }
            })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic");
    }
    let writes = wires.writes() - before;
    assert!(writes <= 100, "{writes} writes for 640 calls");
}

#[tokio::test(start_paused = true)]
async fn control_overtakes_what_is_queued() {
    let wires = Wires::default();
    let (one, two) = (wires.start(1, 1, config()), wires.start(2, 2, config()));
    let mut answers = Answers::register(&two);
    one.set_peer(TWO, "2");
    one.try_send(TWO, message("normal")).expect("there is room");
    one.try_send(TWO, message("control").on_lane(Lane::Control)).expect("there is room");
    assert_eq!(answers.begun().await, "control");
    assert_eq!(answers.begun().await, "normal");
}

#[tokio::test(start_paused = true)]
async fn a_bulk_queue_is_meant_for_the_boot_that_the_main_connection_met() {
    let wires = Wires::default();
    let mut patient = config();
    patient.handshake_timeout = Duration::from_secs(3600);
    let (one, two) = (wires.start(1, 1, patient), wires.start(2, 2, config()));
    let answers = Answers::register(&two);
    one.set_peer(TWO, "2");
    one.call(TWO, message("")).await.expect("two answers");
    wires.hold_next();
    let caller = one.clone();
    let call = tokio::spawn(async move { caller.call(TWO, message("x").on_lane(Lane::Bulk)).await });
    sleep(Duration::from_secs(1)).await;
    drop((answers, two));
    let _two = wires.start(2, 3, config());
    let ended = timeout(Duration::from_secs(60), call).await.expect("it ends").expect("no panic");
    assert_eq!(ended, Err(CallError::NotSent(Reason::PeerRestarted)));
}

#[tokio::test(start_paused = true)]
async fn finished_handshakes_do_not_count_against_those_in_progress() {
    let wires = Wires::default();
    let mut narrow = config();
    narrow.handshakes_max = 2;
    let _two = wires.start(2, 2, narrow);
    let mut slow = wires.dial("2").expect("two listens");
    for _ in 0..5 {
        introduced(&wires).await;
    }
    slow.write_all(&hello((1, 1))).await.expect("two reads");
    slow.read_exact(&mut [0; 88]).await.expect("two still listens to it");
}

struct Faulty;

#[async_trait]
impl Connector for Faulty {
    async fn connect(&self, _: NodeId, _: &str) -> io::Result<Stream> {
        panic!("a bug in a connector");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_leaves_no_caller_waiting() {
    let acceptor = Tcp::bind("127.0.0.1:0").await.expect("loopback is free");
    let one = Endpoint::builder(identity(1, 1)).start(Faulty, acceptor).expect("the configuration is valid");
    one.set_peer(TWO, "2");
    let ended = timeout(Duration::from_secs(60), one.call(TWO, message(""))).await.expect("it ends");
    assert_eq!(ended.expect_err("there is no connection").outcome(), Outcome::NotDone);
}

#[test]
fn durations_are_at_most_a_day() {
    let over = Duration::from_secs(24 * 60 * 60 + 1);
    type Field = fn(&mut EndpointConfig) -> &mut Duration;
    let set: [(&str, Field); 5] = [
        ("handshake_timeout", |config| &mut config.handshake_timeout),
        ("backoff_max", |config| &mut config.backoff_max),
        ("refused_retry", |config| &mut config.refused_retry),
        ("silence_max", |config| &mut config.silence_max),
        ("shutdown_max", |config| &mut config.shutdown_max),
    ];
    for (name, of) in set {
        for duration in [over, Duration::MAX] {
            let mut wrong = EndpointConfig::default();
            *of(&mut wrong) = duration;
            assert!(
                matches!(wrong.check(), Err(StartError::Config { field, .. }) if field == name),
                "{name}"
            );
        }
    }
}

/// Holds the first message up until it is told to go on; notes the order in which messages are done with.
#[derive(Default)]
struct Slow {
    log: Mutex<Vec<String>>,
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Handler for Slow {
    fn on_message(&self, _: NodeIdentity, message: Incoming) {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        if body == "first" {
            let mut state = self.state.lock().expect("no panic");
            state.0 = true;
            while !state.1 {
                state = self.changed.wait(state).expect("no panic");
            }
        }
        self.log.lock().expect("no panic").push(body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_replaced_connection_is_over_before_its_successor_delivers() {
    let wires = Wires::default();
    let two = wires.start(2, 2, config());
    let slow = Arc::new(Slow::default());
    two.register(PROTOCOL, slow.clone()).expect("it is the only handler").forever();
    let mut before = introduced(&wires).await;
    before.write_all(&frame(ONE_WAY, 1, 0, b"first")).await.expect("two reads");
    while !slow.state.lock().expect("no panic").0 {
        tokio::task::yield_now().await;
    }
    // The second of these is replaced while it waits for the first.
    let mut between = introduced(&wires).await;
    between.write_all(&frame(ONE_WAY, 1, 0, b"between")).await.expect("two reads");
    let mut after = introduced(&wires).await;
    after.write_all(&frame(ONE_WAY, 1, 0, b"after")).await.expect("two reads");
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    let overtaken = slow.log.lock().expect("no panic").clone();
    slow.state.lock().expect("no panic").1 = true;
    slow.changed.notify_all();
    assert!(overtaken.is_empty(), "{overtaken:?} went before the first");
    while slow.log.lock().expect("no panic").last().is_none_or(|last| last != "after") {
        tokio::task::yield_now().await;
    }
    assert_eq!(slow.log.lock().expect("no panic")[0], "first");
}
