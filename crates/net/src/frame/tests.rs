use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use quorate_core::{BootId, ClusterId, NodeId};
use quorate_transport::{Body, NodeIdentity};
use tokio::io::AsyncWrite;

use super::{Frame, FrameReader, FrameWriter, Header, Kind, Violation};
use crate::handshake::{Class, Hello};

/// Takes what is written, in pieces of at most `piece` bytes.
struct Sink {
    taken: Vec<u8>,
    piece: usize,
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let count = bytes.len().min(self.piece);
        self.taken.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn written(frames: &[(Header, Body)], piece: usize) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    for (header, body) in frames {
        writer.push(*header, body);
    }
    let mut sink = Sink { taken: Vec::new(), piece };
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(writer.poll_write(&mut cx, &mut sink), Poll::Ready(Ok(()))));
    assert!(writer.is_done());
    sink.taken
}

/// Feeds bytes in pieces of `piece` and collects the frames up to the first violation.
fn read(bytes: &[u8], piece: usize, max: usize) -> (Vec<Frame>, Result<(), Violation>, usize) {
    let mut reader = FrameReader::new(max);
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.room().extend_from_slice(piece);
        loop {
            match reader.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(violation) => return (frames, Err(violation), reader.capacity()),
            }
        }
    }
    (frames, Ok(()), reader.capacity())
}

fn sample() -> Header {
    Header {
        len: 5,
        body_crc: 0,
        kind: Kind::Request,
        lane: 1,
        protocol: 0x8001,
        request: 0x0102_0304,
        channel: 0x1112_1314_1516_1718,
        deadline_ms: 1500,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_frame_format_is_frozen() {
    let bytes = written(&[(sample(), Body::from("hello"))], usize::MAX);
    assert_eq!(hex(&bytes), "050000004cbb719a03010180040302011817161514131211dc050000003695c868656c6c6f",);
}

#[test]
fn the_hello_format_is_frozen() {
    let identity = NodeIdentity::new(ClusterId::new(0xc1), NodeId::new(2), BootId::new(0xb0b1));
    let hello = Hello::new(identity, NodeId::new(3), Class::Bulk, 4 << 20);
    let bytes = hello.encode();
    assert_eq!(
        hex(&bytes),
        "71756f726174650001000100010000 00c1000000000000000200000000000000b1b00000000000000300000000000000\
         0000400000000000"
            .replace(' ', ""),
    );
    assert_eq!(Hello::decode(&bytes), Ok(hello));
}

#[test]
fn claimed_lengths_cost_no_memory() {
    // Claims of long bodies, of which no byte ever comes.
    let mut header = sample();
    for len in [64 << 20, 1 << 20, 5000] {
        header.len = len;
        let bytes = header.encode();
        let (frames, verdict, capacity) = read(&bytes, 7, 64 << 20);
        assert!(frames.is_empty());
        assert_eq!(verdict, Ok(()));
        assert!(capacity <= 256 << 10, "{capacity} bytes are held for a header");
    }
    header.len = (64 << 20) + 1;
    let (_, verdict, _) = read(&header.encode(), 32, 64 << 20);
    assert_eq!(verdict, Err(Violation::TooLong { len: header.len, max: 64 << 20 }));
}

#[test]
fn memory_grows_with_what_arrives() {
    let bytes = written(&[(sample(), Body::from(vec![7; 3 << 20]))], usize::MAX);
    let mut reader = FrameReader::new(4 << 20);
    for (count, piece) in bytes.chunks(10_000).enumerate() {
        reader.room().extend_from_slice(piece);
        let arrived = (count + 1) * 10_000;
        let whole = matches!(reader.next(), Ok(Some(_)));
        assert_eq!(whole, arrived >= bytes.len());
        assert!(reader.capacity() <= 4 * arrived + (256 << 10), "{} held for {arrived}", reader.capacity());
    }
}

#[test]
fn bodies_are_not_copied_out_of_the_buffer() {
    let bytes = written(&[(sample(), Body::from(vec![7; 20_000])), (sample(), Body::from("x"))], usize::MAX);
    let mut reader = FrameReader::new(1 << 20);
    let room = reader.room();
    room.extend_from_slice(&bytes);
    let buffer = room.as_ptr() as usize;
    let frame = reader.next().expect("the frame is valid").expect("the frame is whole");
    assert_eq!(frame.body.as_ptr() as usize, buffer + Header::LEN);
}

#[test]
fn a_small_body_keeps_no_large_one_in_memory() {
    let large = (sample(), Body::from(vec![7; 1 << 20]));
    let bytes =
        written(&[large, (sample(), Body::from("small")), (sample(), Body::from("part"))], usize::MAX);
    let mut reader = FrameReader::new(1 << 20);
    reader.room().extend_from_slice(&bytes[..bytes.len() - 2]);
    let mut next = || reader.next().expect("the frame is valid");
    let large = next().expect("the frame is whole").body;
    let small = next().expect("the frame is whole").body;
    assert_eq!(small, "small");
    assert_ne!(small.as_ptr() as usize, large.as_ptr() as usize + large.len() + Header::LEN);
    assert!(next().is_none());
    assert!(reader.capacity() <= 128 << 10, "{} bytes are held", reader.capacity());
    reader.room().extend_from_slice(&bytes[bytes.len() - 2..]);
    assert_eq!(reader.next().expect("the frame is valid").expect("the frame is whole").body, "part");
}

fn arbitrary_frame() -> impl Strategy<Value = (Header, Body)> {
    let kinds = [
        Kind::Hello,
        Kind::OneWay,
        Kind::Request,
        Kind::Reply,
        Kind::Failure,
        Kind::Cancel,
        Kind::Ping,
        Kind::Pong,
    ];
    let chunk = prop_oneof![4 => 0..100usize, 1 => 4000..9000usize];
    let chunks = proptest::collection::vec((any::<u8>(), chunk), 0..6);
    (0..kinds.len(), any::<(u8, u16, u32, u64, u32)>(), chunks).prop_map(move |(kind, fields, chunks)| {
        let (lane, protocol, request, channel, deadline_ms) = fields;
        let header =
            Header { len: 0, body_crc: 0, kind: kinds[kind], lane, protocol, request, channel, deadline_ms };
        let chunks = chunks.into_iter().map(|(byte, len)| Bytes::from(vec![byte; len]));
        (header, Body::with_slices(Bytes::new(), chunks))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn frames_come_back_however_they_are_cut(
        frames in proptest::collection::vec(arbitrary_frame(), 0..8),
        write_piece in 1..5000usize,
        read_piece in 1..5000usize,
    ) {
        let bytes = written(&frames, write_piece);
        let (back, verdict, _) = read(&bytes, read_piece, 1 << 20);
        prop_assert_eq!(verdict, Ok(()));
        prop_assert_eq!(back.len(), frames.len());
        for (frame, (header, body)) in back.iter().zip(&frames) {
            prop_assert_eq!(&frame.body, &body.to_bytes());
            let expected = Header { len: frame.header.len, body_crc: frame.header.body_crc, ..*header };
            prop_assert_eq!(frame.header, expected);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_frame(
        bytes in proptest::collection::vec(any::<u8>(), 0..4096),
        piece in 1..512usize,
    ) {
        let (frames, verdict, capacity) = read(&bytes, piece, 1 << 20);
        // A checksum of 32 bits stands between random bytes and a header.
        prop_assert!(frames.is_empty());
        prop_assert_eq!(verdict.is_err(), bytes.len() >= Header::LEN);
        prop_assert!(capacity <= 256 << 10);
        let _ = Hello::decode(&bytes);
    }

    #[test]
    fn a_flipped_bit_is_found(frame in arbitrary_frame(), at in any::<prop::sample::Index>()) {
        let mut bytes = written(&[frame], usize::MAX);
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (frames, verdict, _) = read(&bytes, 1000, 1 << 20);
        prop_assert!(frames.is_empty());
        prop_assert!(verdict.is_err());
    }

    #[test]
    fn arbitrary_hellos_decode_or_are_refused(fields in any::<(u16, u16, u64, u64, u64, u64, u32)>()) {
        let (min, max, cluster, node, boot, expected, body_max) = fields;
        let identity = NodeIdentity::new(ClusterId::new(cluster), NodeId::new(node), BootId::new(boot));
        let expected = NodeId::new(expected);
        let hello = Hello { versions: (min, max), class: Class::Main, identity, expected, body_max };
        let mut bytes = BytesMut::from(&hello.encode()[..]);
        prop_assert_eq!(Hello::decode(&bytes), Ok(hello));
        // A later version may append fields; a shorter hello is none.
        bytes.extend_from_slice(&[1, 2, 3]);
        prop_assert_eq!(Hello::decode(&bytes), Ok(hello));
        bytes.truncate(Hello::LEN - 1);
        prop_assert_eq!(Hello::decode(&bytes), Err(Violation::Hello));
    }
}
