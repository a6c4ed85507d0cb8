//! Replies into bytes.

use std::borrow::Cow;
use std::io::Write as _;

use bytes::{BufMut, Bytes, BytesMut};

/// The protocol's version, chosen by the client with HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The version every client begins with.
    #[default]
    Resp2,
    /// The version with maps and a null of its own.
    Resp3,
}

/// A piece of a reply. A nested reply is a run of pieces: the head of an array or map, then its items.
///
/// Flat pieces let the connection write a long reply by and by: however many large values an MGET names,
/// only handles of them wait in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A short text without line ends.
    Simple(&'static str),
    /// An error: a code in capitals, then the text. Line ends become spaces.
    Error(Cow<'static, str>),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(Bytes),
    /// Plain text for people.
    Text(String),
    /// Nothing there.
    Null,
    /// The head of an array, with the number of items.
    Array(usize),
    /// The head of a set, with the number of items.
    Set(usize),
    /// The head of a map, with the number of pairs.
    Map(usize),
}

impl Token {
    /// A bulk string of a constant.
    pub const fn word(text: &'static str) -> Self {
        Self::Bulk(Bytes::from_static(text.as_bytes()))
    }

    /// Appends the bytes.
    pub fn encode(&self, protocol: Protocol, out: &mut BytesMut) {
        match self {
            Self::Simple(text) => line(out, b'+', text.as_bytes()),
            Self::Error(text) if text.contains(['\r', '\n']) => {
                line(out, b'-', text.replace(['\r', '\n'], " ").as_bytes());
            }
            Self::Error(text) => line(out, b'-', text.as_bytes()),
            Self::Integer(number) => head(out, b':', *number),
            Self::Bulk(bytes) => bulk(out, b'$', &[bytes]),
            Self::Text(text) if protocol == Protocol::Resp3 => bulk(out, b'=', &[b"txt:", text.as_bytes()]),
            Self::Text(text) => bulk(out, b'$', &[text.as_bytes()]),
            Self::Null if protocol == Protocol::Resp3 => out.put_slice(b"_\r\n"),
            Self::Null => out.put_slice(b"$-1\r\n"),
            Self::Array(items) => head(out, b'*', *items as i64),
            Self::Set(items) if protocol == Protocol::Resp3 => head(out, b'~', *items as i64),
            Self::Set(items) => head(out, b'*', *items as i64),
            Self::Map(pairs) if protocol == Protocol::Resp3 => head(out, b'%', *pairs as i64),
            Self::Map(pairs) => head(out, b'*', 2 * *pairs as i64),
        }
    }
}

fn line(out: &mut BytesMut, kind: u8, text: &[u8]) {
    out.reserve(text.len() + 3);
    out.put_u8(kind);
    out.put_slice(text);
    out.put_slice(b"\r\n");
}

fn head(out: &mut BytesMut, kind: u8, number: i64) {
    let mut digits = [0; 24];
    let mut rest = &mut digits[..];
    // A number of 64 bits has at most 20 characters, so the space always suffices.
    let written = write!(rest, "{number}");
    debug_assert!(written.is_ok(), "a number of 64 bits fits in 24 bytes");
    let len = 24 - rest.len();
    line(out, kind, &digits[..len]);
}

fn bulk(out: &mut BytesMut, kind: u8, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    head(out, kind, len as i64);
    out.reserve(len + 2);
    parts.iter().for_each(|part| out.put_slice(part));
    out.put_slice(b"\r\n");
}
