use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use quorate_core::Outcome;
use redis_protocol::resp2::types::BytesFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::backend::{Backend, Found, Query, Refused, Report};
use super::*;
use crate::store::{Answer, Batch, Store};

/// One store in memory, which counts how often it is asked and can be told to refuse.
#[derive(Clone, Default)]
struct Single {
    store: Arc<Mutex<Store>>,
    writes: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    refusal: Arc<Mutex<Option<Refused>>>,
}

impl Single {
    fn check(&self) -> Result<(), Refused> {
        self.refusal.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

impl Backend for Single {
    async fn write(&self, batch: Batch) -> Result<Vec<Answer>, Refused> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.check()?;
        let mut store = self.store.lock().unwrap();
        Ok(batch.0.into_iter().map(|op| store.execute(op)).collect())
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Found>, Refused> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.check()?;
        let store = self.store.lock().unwrap();
        Ok(queries.into_iter().map(|query| query.find(&store)).collect())
    }

    async fn report(&self) -> Report {
        Report { node: 7, role: "leader", term: 3, leader: Some(7), keys: 1, ..Report::default() }
    }
}

/// A server on a port of its own, which ends with the test.
struct Rig {
    backend: Single,
    address: std::net::SocketAddr,
    _closing: watch::Sender<bool>,
}

async fn rig() -> Rig {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let backend = Single::default();
    let (sender, closing) = watch::channel(false);
    tokio::spawn(Server::new(listener, backend.clone()).run(closing));
    Rig { backend, address, _closing: sender }
}

impl Rig {
    /// Sends everything at once and reads until the server closes: the last request should be QUIT.
    async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        String::from_utf8_lossy(&reply).into_owned()
    }

    /// The reply to one line of arguments, without that of the closing QUIT.
    async fn line(&self, line: &str) -> String {
        let reply = self.exchange(format!("{line}\r\nQUIT\r\n")).await;
        reply.strip_suffix("+OK\r\n").unwrap_or(&reply).to_owned()
    }
}

fn array(args: &[&[u8]]) -> Vec<u8> {
    let frame = |arg: &&[u8]| BytesFrame::BulkString(Bytes::copy_from_slice(arg));
    let frame = BytesFrame::Array(args.iter().map(frame).collect());
    let mut out = BytesMut::new();
    redis_protocol::resp2::encode::extend_encode(&mut out, &frame, false).unwrap();
    out.to_vec()
}

fn parse_all(chunks: &[&[u8]]) -> Result<Vec<Vec<Bytes>>, ProtocolError> {
    let (mut parser, mut buffer, mut requests) = (Parser::default(), BytesMut::new(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        while let Some(request) = parser.next(&mut buffer)? {
            requests.push(request);
        }
    }
    Ok(requests)
}

proptest! {
    #[test]
    fn requests_are_parsed_however_they_are_cut(
        requests in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 1..5), 1..5),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let encode = |args: &Vec<Vec<u8>>| array(&args.iter().map(|arg| &arg[..]).collect::<Vec<_>>());
        let stream: Vec<u8> = requests.iter().flat_map(encode).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let parsed = parse_all(&chunks).unwrap();
        let plain: Vec<Vec<Vec<u8>>> =
            parsed.iter().map(|args| args.iter().map(|arg| arg.to_vec()).collect()).collect();
        prop_assert_eq!(plain, requests);
    }

    #[test]
    fn arbitrary_bytes_are_requests_or_typed_errors(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'$'), Just(b'*'), Just(b'1'), Just(b'"')], 0..200),
    ) {
        let _ = parse_all(&[&bytes]);
    }

    #[test]
    fn every_reply_is_read_back_by_another_implementation(text in "[a-zA-Z0-9 \r\n]{0,20}", number in any::<i64>()) {
        for (token, expected) in [
            (Token::Bulk(text.clone().into()), BytesFrame::BulkString(text.clone().into())),
            (Token::Text(text.clone()), BytesFrame::BulkString(text.clone().into())),
            (Token::Integer(number), BytesFrame::Integer(number)),
            (Token::Simple("OK"), BytesFrame::SimpleString("OK".into())),
            (Token::Null, BytesFrame::Null),
            (Token::Error(format!("ERR {text}").into()), BytesFrame::Error(format!("ERR {text}").replace(['\r', '\n'], " ").into())),
            (Token::Array(0), BytesFrame::Array(vec![])),
            (Token::Map(0), BytesFrame::Array(vec![])),
        ] {
            let mut out = BytesMut::new();
            token.encode(Protocol::Resp2, &mut out);
            let (frame, used) = redis_protocol::resp2::decode::decode_bytes(&out.clone().freeze()).unwrap().unwrap();
            prop_assert_eq!((frame, used), (expected, out.len()));
            let mut out = BytesMut::new();
            token.encode(Protocol::Resp3, &mut out);
            let (_, used) = redis_protocol::resp3::decode::complete::decode(&out).unwrap().unwrap();
            prop_assert_eq!(used, out.len());
        }
    }
}

#[test]
fn lines_are_split_at_spaces_and_quotes() {
    for (line, expected) in [
        ("PING\r\n", &["PING"][..]),
        ("  set  a b \n", &["set", "a", "b"]),
        ("\r\n\r\nGET x\r\n", &["GET", "x"]),
        ("set k \"a b\\n\\x41\\\"\"\r\n", &["set", "k", "a b\nA\""]),
        ("set k 'a \\' \\n b'\r\n", &["set", "k", "a ' \\n b"]),
        ("set k \"\"\r\n", &["set", "k", ""]),
    ] {
        assert_eq!(parse_all(&[line.as_bytes()]).unwrap(), [expected], "{line:?}");
    }
}

#[test]
fn broken_requests_end_with_the_texts_of_redis() {
    let long = vec![b'x'; LINE_BYTES_MAX + 1];
    for (bytes, expected) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*1\r\nGET\r\n", "expected '$', got 'G'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$1048577\r\n", "invalid bulk length"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$1\r\nabc", "expected the end of a bulk string"),
        (b"set k \"a\r\n", "unbalanced quotes in request"),
        (b"set k \"a\"b\r\n", "unbalanced quotes in request"),
        (&long, "too big inline request"),
        (&[b"*", &long[..]].concat(), "too big mbulk count string"),
        (&[b"*1\r\n$", &long[..]].concat(), "too big bulk count string"),
    ] {
        let error = parse_all(&[bytes]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_request_is_bounded_as_a_whole() {
    let mut bytes = b"*1000\r\n".to_vec();
    for _ in 0..5 {
        bytes.extend(format!("${BULK_BYTES_MAX}\r\n").into_bytes());
        bytes.extend(vec![b'x'; BULK_BYTES_MAX]);
        bytes.extend(b"\r\n");
    }
    assert_eq!(parse_all(&[&bytes]), Err(ProtocolError::LongRequest));
}

#[test]
fn a_null_array_is_no_request() {
    assert_eq!(parse_all(&[b"*-1\r\n*0\r\nPING\r\n"]).unwrap(), [["PING"]]);
}

#[tokio::test]
async fn commands_answer_as_redis_does() {
    let rig = rig().await;
    for (line, expected) in [
        ("PING", "+PONG\r\n"),
        ("ping hello", "$5\r\nhello\r\n"),
        ("PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
        ("ECHO hello", "$5\r\nhello\r\n"),
        ("GET k", "$-1\r\n"),
        ("SET k v", "+OK\r\n"),
        ("GET k", "$1\r\nv\r\n"),
        ("SET k w NX", "$-1\r\n"),
        ("SET k w XX GET", "$1\r\nv\r\n"),
        ("SET other w XX", "$-1\r\n"),
        ("SET k w NX XX", "-ERR syntax error\r\n"),
        ("SET k w EX 10", "-ERR keys that expire are not supported\r\n"),
        ("SET k", "-ERR wrong number of arguments for 'set' command\r\n"),
        ("GETSET k v", "$1\r\nw\r\n"),
        ("STRLEN k", ":1\r\n"),
        ("APPEND k 1234", ":5\r\n"),
        ("INCR k", "-ERR value is not an integer or out of range\r\n"),
        ("INCR n", ":1\r\n"),
        ("INCRBY n 41", ":42\r\n"),
        ("DECR n", ":41\r\n"),
        ("DECRBY n 1", ":40\r\n"),
        ("INCRBY n x", "-ERR value is not an integer or out of range\r\n"),
        ("INCRBY n 9223372036854775807", "-ERR increment or decrement would overflow\r\n"),
        ("DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n"),
        ("MSET a 1 b 2", "+OK\r\n"),
        ("MGET a b c", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n"),
        ("EXISTS a a c", ":2\r\n"),
        ("DBSIZE", ":4\r\n"),
        ("DEL a b c", ":2\r\n"),
        ("SCAN x", "-ERR invalid cursor\r\n"),
        ("SCAN 0 COUNT 0", "-ERR syntax error\r\n"),
        ("SCAN 0 MATCH n*", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nn\r\n"),
        ("SCAN 0 TYPE hash", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("FLUSHALL", "+OK\r\n"),
        ("DBSIZE", ":0\r\n"),
        ("NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' \r\n"),
        ("SELECT 0", "+OK\r\n"),
        ("SELECT 1", "-ERR DB index is out of range\r\n"),
        ("CLIENT ID", ":40\r\n"),
        ("CLIENT GETNAME", "$-1\r\n"),
        (
            "CLIENT SETNAME \"a b\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
        ),
        ("CLIENT SETINFO LIB-NAME x", "+OK\r\n"),
        ("CLIENT NO-EVICT on", "+OK\r\n"),
        ("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command\r\n"),
        ("CLIENT NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.\r\n"),
        ("COMMAND COUNT", ":27\r\n"),
        ("COMMAND INFO nosuch", "*1\r\n$-1\r\n"),
        ("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        ("CONFIG GET nosuch", "*0\r\n"),
        ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"),
        ("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'\r\n"),
        ("RESET", "+RESET\r\n"),
        ("*x", "-ERR Protocol error: invalid multibulk length\r\n"),
    ] {
        assert_eq!(rig.line(line).await, expected, "{line}");
    }
}

#[tokio::test]
async fn the_third_version_has_maps_nulls_and_texts() {
    let rig = rig().await;
    let reply =
        rig.exchange("HELLO 3 AUTH default x SETNAME me\r\nGET k\r\nCLIENT GETNAME\r\nQUIT\r\n").await;
    let greeting = "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n";
    assert!(reply.starts_with(greeting), "{reply}");
    assert!(reply.ends_with("*0\r\n_\r\n$2\r\nme\r\n+OK\r\n"), "{reply}");
    let reply = rig.exchange("HELLO 3\r\nINFO raft\r\nQUIT\r\n").await;
    assert!(reply.contains("txt:# Raft\r\nraft_node:7\r\nraft_role:leader\r\n"), "{reply}");
    let bytes = rig.exchange("HELLO 3\r\nCOMMAND\r\nCOMMAND DOCS\r\nINFO\r\nQUIT\r\n").await;
    let (mut rest, mut frames) = (bytes.as_bytes(), 0);
    while let Some((_, used)) = redis_protocol::resp3::decode::complete::decode(rest).unwrap() {
        (rest, frames) = (&rest[used..], frames + 1);
    }
    assert_eq!((rest.len(), frames), (0, 5));
}

#[tokio::test]
async fn a_pipeline_is_one_write_and_one_read() {
    let rig = rig().await;
    let sets: String = (0..100).map(|n| format!("SET key:{n} {n}\r\nINCR n\r\nNOSUCH\r\nPING\r\n")).collect();
    let gets: String = (0..100).map(|n| format!("GET key:{n}\r\n")).collect();
    let reply = rig.exchange(format!("{sets}{gets}GET n\r\nQUIT\r\n")).await;
    let expected: String = (0..100)
        .map(|n| {
            format!(
                "+OK\r\n:{}\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n+PONG\r\n",
                n + 1
            )
        })
        .chain((0..100).map(|n| format!("${}\r\n{n}\r\n", n.to_string().len())))
        .chain(["$3\r\n100\r\n+OK\r\n".to_owned()])
        .collect();
    assert_eq!(reply, expected);
    // The kernel may hand over the stream in a few pieces, but never a request at a time.
    assert!(rig.backend.writes.load(Ordering::Relaxed) <= 4);
    assert!(rig.backend.reads.load(Ordering::Relaxed) <= 4);
}

#[tokio::test]
async fn a_read_sees_the_writes_before_it_and_none_after() {
    let rig = rig().await;
    let reply = rig.exchange("GET k\r\nSET k 1\r\nGET k\r\nSET k 2\r\nGET k\r\nQUIT\r\n").await;
    assert_eq!(reply, "$-1\r\n+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n+OK\r\n");
}

#[tokio::test]
async fn values_are_binary_safe() {
    let rig = rig().await;
    let value: Vec<u8> = (0..=255).collect();
    let mut request = array(&[b"SET", b"k\r\n\0", &value]);
    request.extend(array(&[b"GET", b"k\r\n\0"]));
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let expected = [b"+OK\r\n$256\r\n", &value[..], b"\r\n"].concat();
    let mut reply = vec![0; expected.len()];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply, expected);
}

#[tokio::test]
async fn a_refusal_says_whether_the_write_may_have_been_applied() {
    let rig = rig().await;
    for (outcome, down, write, read) in [
        (Outcome::Unknown, false, "-UNKNOWN the write may have been applied, or may yet be: why", "-UNKNOWN"),
        (Outcome::NotDone, false, "-TRYAGAIN the write was not applied: why", "-TRYAGAIN the read was not"),
        (
            Outcome::NotDone,
            true,
            "-CLUSTERDOWN the write was not applied: why",
            "-CLUSTERDOWN the read was not",
        ),
    ] {
        *rig.backend.refusal.lock().unwrap() = Some(Refused { outcome, down, text: "why".into() });
        assert_eq!(rig.line("SET k v").await, format!("{write}\r\n"));
        assert!(rig.line("GET k").await.starts_with(read));
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_connection_lives() {
    let rig = rig().await;
    let mut request = array(&[b"SET", b"k", &vec![0; BULK_BYTES_MAX]]);
    request.extend(array(&[b"SET", &vec![0; 70_000], b"v"]));
    request.extend(array(&[b"MSET", b"a", &vec![0; 600_000], b"b", &vec![0; 600_000]]));
    request.extend(b"PING\r\nQUIT\r\n");
    let expected = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n\
                    -ERR key is larger than 65536 bytes\r\n\
                    -ERR the command takes more than 1048576 bytes in the log\r\n+PONG\r\n+OK\r\n";
    assert_eq!(rig.exchange(request).await, expected);
}

#[tokio::test]
async fn a_reply_larger_than_memory_buffers_is_streamed() {
    let rig = rig().await;
    let value = vec![b'x'; 500_000];
    let mut request = array(&[b"SET", b"k", &value]);
    let many: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(std::iter::repeat_n(&b"k"[..], 40)).collect();
    request.extend(array(&many));
    request.extend(b"QUIT\r\n");
    assert_eq!(rig.exchange(request).await.len(), 5 + 5 + 40 * (500_000 + 11) + 5);
}

#[tokio::test]
async fn closing_ends_idle_clients() {
    let rig = rig().await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut pong = [0; 7];
    stream.read_exact(&mut pong).await.unwrap();
    rig._closing.send(true).unwrap();
    assert_eq!(stream.read(&mut pong).await.unwrap(), 0);
}
