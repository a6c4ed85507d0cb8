//! Peers that send what no honest peer sends, or nothing at all. Honest peers must not notice.

mod support;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use quorate_core::NodeId;
use quorate_net::Endpoint;
use quorate_transport::{Message, Transport};
use support::{Answers, LONG, PROTOCOL, bind, config, frame, hello, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const TWO: NodeId = NodeId::new(2);

const ONE_WAY: u8 = 2;
const REQUEST: u8 = 3;
const REPLY: u8 = 4;
const PING: u8 = 7;

async fn dial(endpoint: &Endpoint) -> TcpStream {
    TcpStream::connect(endpoint.local_addr()).await.expect("the endpoint listens")
}

/// Waits until the endpoint hangs up, and returns what it said before.
async fn hung_up(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is as good an ending as any.
    let _ = soon(stream.read_to_end(&mut said)).await;
    said
}

/// An honest pair, of which the second is attacked.
async fn pair() -> (Arc<Endpoint>, Arc<Endpoint>, Answers) {
    let (one, two) = (bind(1, 1, config()).await, bind(2, 2, config()).await);
    let answers = Answers::register(&two);
    one.set_peer(TWO, two.local_addr());
    one.call(TWO, Message::new(PROTOCOL, "before")).await.expect("two answers");
    (one, two, answers)
}

#[tokio::test]
async fn a_hand_made_peer_is_served() {
    let (_one, two, mut answers) = pair().await;
    let mut stream = dial(&two).await;
    let mut bytes = hello((0, 7));
    bytes.extend(frame(ONE_WAY, 1, 0, b"one way"));
    bytes.extend(frame(REQUEST, 0, 5, b"echo"));
    bytes.extend(frame(PING, 0, 0, b""));
    stream.write_all(&bytes).await.expect("the endpoint reads");
    let mut said = vec![0; 32 + 56 + 32 + 4 + 32];
    soon(stream.read_exact(&mut said)).await.expect("the endpoint answers");
    assert_eq!(said[32..40], *b"quorate\0");
    let reply = &said[32 + 56..];
    assert_eq!((reply[8], &reply[12..16], &reply[32..36]), (REPLY, &[5, 0, 0, 0][..], &b"echo"[..]));
    assert_eq!(reply[36 + 8], 8, "a pong follows");
    assert_eq!(answers.begun().await, "before");
    assert_eq!(answers.begun().await, "one way");
}

#[tokio::test]
async fn what_no_honest_peer_sends_ends_the_connection() {
    let (one, two, mut answers) = pair().await;
    answers.begun().await;
    let mut flipped_header = frame(ONE_WAY, 1, 0, b"x");
    flipped_header[9] ^= 1;
    let mut flipped_body = frame(ONE_WAY, 1, 0, b"x");
    flipped_body[32] ^= 1;
    let mut too_long = frame(ONE_WAY, 1, 0, b"");
    too_long[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let crc = crc32c::crc32c(&too_long[..28]).to_le_bytes();
    too_long[28..32].copy_from_slice(&crc);
    let stuck = frame(REQUEST, 1, 5, b"stick");
    let hostile = [
        ("a flipped bit in a header", flipped_header),
        ("a flipped bit in a body", flipped_body),
        ("a length over the limit", too_long),
        ("a lane of the other connection", frame(ONE_WAY, 2, 0, b"x")),
        ("an unknown lane", frame(ONE_WAY, 9, 0, b"x")),
        ("an unknown kind", frame(77, 1, 0, b"x")),
        ("an answer to nothing", frame(REPLY, 1, 0, b"x")),
        ("a second hello", hello((1, 1))),
        ("a request twice", [stuck.clone(), stuck].concat()),
    ];
    for (what, bytes) in hostile {
        let mut stream = dial(&two).await;
        stream.write_all(&[hello((1, 1)), bytes].concat()).await.expect("the endpoint reads");
        assert_eq!(hung_up(stream).await.len(), 32 + 56, "after {what}");
        one.call(TWO, Message::new(PROTOCOL, what)).await.expect("honest peers don't notice");
    }
}

#[tokio::test]
async fn unheard_of_versions_are_refused_with_ours() {
    let (_one, two, _answers) = pair().await;
    for versions in [(2, 9), (0, 0)] {
        let mut stream = dial(&two).await;
        stream.write_all(&hello(versions)).await.expect("the endpoint reads");
        let said = hung_up(stream).await;
        assert_eq!(said[32 + 8..32 + 12], [1, 0, 1, 0], "it says which versions it speaks");
    }
}

#[tokio::test]
async fn arbitrary_bytes_end_the_connection() {
    let (one, two, _answers) = pair().await;
    // A fixed seed: the bytes are the same in every run.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let arbitrary = proptest::collection::vec(any::<u8>(), 32..600);
    for round in 0..200 {
        let bytes = arbitrary.new_tree(&mut runner).expect("vectors can be drawn").current();
        let mut stream = dial(&two).await;
        let introduced = round % 2 == 1;
        if introduced {
            stream.write_all(&hello((1, 1))).await.expect("the endpoint reads");
        }
        // The endpoint may hang up before it has read everything.
        let _ = stream.write_all(&bytes).await;
        let said = hung_up(stream).await;
        assert!(said.is_empty() || introduced, "it answered {bytes:?}");
    }
    one.call(TWO, Message::new(PROTOCOL, "after")).await.expect("honest peers don't notice");
}

#[tokio::test]
async fn a_silent_client_is_closed_after_the_handshake_timeout() {
    let mut hasty = config();
    hasty.handshake_timeout = Duration::from_millis(30);
    let two = bind(2, 2, hasty).await;
    assert!(hung_up(dial(&two).await).await.is_empty());
}

#[tokio::test]
async fn silent_clients_lock_nobody_out() {
    let mut narrow = config();
    narrow.handshakes_max = 4;
    narrow.handshake_timeout = Duration::from_secs(3600);
    let two = bind(2, 2, narrow).await;
    let _answers = Answers::register(&two);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(dial(&two).await);
    }
    let one = bind(1, 1, config()).await;
    one.set_peer(TWO, two.local_addr());
    soon(one.call(TWO, Message::new(PROTOCOL, ""))).await.expect("two answers");
    // The oldest were closed for the newest.
    assert!(hung_up(silent.remove(0)).await.is_empty());
}

#[tokio::test]
async fn what_is_unread_at_a_shutdown_resets_no_connection() {
    let (_one, two, mut answers) = pair().await;
    answers.begun().await;
    // So little room that most of the answer still waits in the kernel of the endpoint when that is done.
    let socket = TcpSocket::new_v4().expect("sockets can be made");
    socket.set_recv_buffer_size(4096).expect("it can be small");
    let address = two.local_addr().parse().expect("it is an address");
    let mut stream = socket.connect(address).await.expect("the endpoint listens");
    let request = frame(REQUEST, 1, 5, b"wait long");
    stream.write_all(&[hello((1, 1)), request].concat()).await.expect("two reads");
    assert_eq!(answers.begun().await, "wait long");
    let ending = tokio::spawn(async move { two.shutdown().await });
    tokio::task::yield_now().await;
    stream.write_all(&frame(ONE_WAY, 1, 0, b"nobody reads this")).await.expect("the stream is open");
    answers.release();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let mut said = Vec::new();
    soon(stream.read_to_end(&mut said)).await.expect("the end is orderly");
    assert_eq!(said.len(), 88 + 32 + LONG, "all of the answer comes before it");
    drop(stream);
    soon(ending).await.expect("no panic");
}

#[tokio::test]
async fn too_many_connections_are_closed() {
    let mut narrow = config();
    narrow.connections_max = 1;
    let two = bind(2, 2, narrow).await;
    let one = bind(1, 1, config()).await;
    let _answers = Answers::register(&two);
    one.set_peer(TWO, two.local_addr());
    one.call(TWO, Message::new(PROTOCOL, "")).await.expect("two answers");
    let mut stream = dial(&two).await;
    stream.write_all(&hello((1, 1))).await.expect("the endpoint reads");
    hung_up(stream).await;
    one.call(TWO, Message::new(PROTOCOL, "")).await.expect("honest peers don't notice");
}

#[tokio::test]
async fn a_peer_that_accepts_and_never_speaks_is_given_up() {
    let mut hasty = config();
    hasty.handshake_timeout = Duration::from_millis(30);
    let one = bind(1, 1, hasty).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is free");
    one.set_peer(TWO, listener.local_addr().expect("it is bound").to_string());
    assert!(soon(one.call(TWO, Message::new(PROTOCOL, ""))).await.is_err());
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_given_up() {
    let mut hasty = config();
    hasty.ping_interval = Duration::from_millis(20);
    hasty.silence_max = Duration::from_millis(60);
    let one = bind(1, 1, hasty).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is free");
    one.set_peer(TWO, listener.local_addr().expect("it is bound").to_string());
    let call = tokio::spawn(async move { one.call(TWO, Message::new(PROTOCOL, "")).await });
    let (mut stream, _) = soon(listener.accept()).await.expect("it is dialled");
    // Node 2, which answers the handshake with its own hello and then says no more.
    let mut answer = hello((1, 1));
    answer[32 + 24..32 + 32].copy_from_slice(&2u64.to_le_bytes());
    answer[32 + 40..32 + 48].copy_from_slice(&1u64.to_le_bytes());
    let crc = crc32c::crc32c(&answer[32..]).to_le_bytes();
    answer[4..8].copy_from_slice(&crc);
    let crc = crc32c::crc32c(&answer[..28]).to_le_bytes();
    answer[28..32].copy_from_slice(&crc);
    stream.write_all(&answer).await.expect("node 1 reads");
    let ended = soon(call).await.expect("no panic").expect_err("nobody answered");
    assert_eq!(ended.outcome(), quorate_core::Outcome::Unknown);
}
