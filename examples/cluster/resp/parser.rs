//! Requests out of bytes.
//!
//! This is own code although crates for the protocol exist: redis-protocol, the best kept of them, decodes
//! nested arrays by recursion without a bound, so that a megabyte of `*1\r\n` from any client overflows the
//! stack and ends the process, and it starts again from the request's first byte whenever more arrive. The
//! tests use it as the judge of this parser and of the replies.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use crate::store::integer;

/// Takes requests, as arrays of bulk strings or as lines, out of a buffer that fills by and by.
///
/// It remembers how far it got, so that a large request in many pieces costs no more than in one. Arguments
/// are slices of the buffer. An error leaves the stream without a place to go on: close the connection.
#[derive(Debug, Default)]
pub struct Parser {
    args: Vec<Bytes>,
    // How many arguments of the request are still to come; zero between requests.
    missing: usize,
    // The length of the argument whose bytes come next.
    bulk: Option<usize>,
    // What the request's arguments count against the limit so far.
    bytes: usize,
    // How much of the buffer is known to hold no end of line.
    scanned: usize,
}

impl Parser {
    /// The next request, or nothing while it is not complete.
    ///
    /// # Errors
    ///
    /// What breaks the protocol or its limits, with Redis's own texts where it has one.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        loop {
            if self.missing > 0 {
                return self.take_arguments(buffer);
            }
            match buffer.first() {
                None => return Ok(None),
                Some(b'*') => {
                    let Some(line) = self.line(buffer, ProtocolError::LongCount)? else { return Ok(None) };
                    let count = integer(&line[1..]).ok_or(ProtocolError::InvalidCount)?;
                    if count > ARGS_MAX as i64 {
                        return Err(ProtocolError::InvalidCount);
                    }
                    self.missing = usize::try_from(count).unwrap_or(0);
                    self.bytes = 0;
                    // What a client claims is not made ready for before it has come.
                    self.args = Vec::with_capacity(self.missing.min(16));
                }
                Some(_) => {
                    let Some(line) = self.line(buffer, ProtocolError::LongLine)? else { return Ok(None) };
                    let args = split_line(&line)?;
                    if !args.is_empty() {
                        return Ok(Some(args));
                    }
                }
            }
        }
    }

    /// How many more bytes the argument at hand needs, so that room is made for it at once.
    pub fn wanted(&self, buffer: &BytesMut) -> usize {
        self.bulk.map_or(0, |len| (len + 2).saturating_sub(buffer.len()))
    }

    fn take_arguments(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        while self.missing > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.take_bulk_len(buffer)? {
                    Some(len) => len,
                    None => return Ok(None),
                },
            };
            if buffer.len() < len + 2 {
                return Ok(None);
            }
            if &buffer[len..len + 2] != b"\r\n" {
                return Err(ProtocolError::BulkEnd);
            }
            self.args.push(buffer.split_to(len).freeze());
            buffer.advance(2);
            self.bulk = None;
            self.missing -= 1;
        }
        Ok(Some(std::mem::take(&mut self.args)))
    }

    fn take_bulk_len(&mut self, buffer: &mut BytesMut) -> Result<Option<usize>, ProtocolError> {
        match buffer.first() {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::NotBulk(*other)),
        }
        let Some(line) = self.line(buffer, ProtocolError::LongBulk)? else { return Ok(None) };
        let len = integer(&line[1..])
            .and_then(|len| usize::try_from(len).ok())
            .filter(|len| *len <= BULK_BYTES_MAX)
            .ok_or(ProtocolError::InvalidBulk)?;
        self.bytes += len + ARG_OVERHEAD_BYTES;
        if self.bytes > REQUEST_BYTES_MAX {
            return Err(ProtocolError::LongRequest);
        }
        self.bulk = Some(len);
        Ok(Some(len))
    }

    /// Takes a line out, without its end.
    fn line(
        &mut self,
        buffer: &mut BytesMut,
        too_long: ProtocolError,
    ) -> Result<Option<Bytes>, ProtocolError> {
        let found = buffer[self.scanned..].iter().position(|byte| *byte == b'\n');
        let Some(found) = found else {
            self.scanned = buffer.len();
            return if buffer.len() > LINE_BYTES_MAX { Err(too_long) } else { Ok(None) };
        };
        let end = self.scanned + found;
        self.scanned = 0;
        if end > LINE_BYTES_MAX {
            return Err(too_long);
        }
        let mut line = buffer.split_to(end + 1).freeze();
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        Ok(Some(line))
    }
}

/// The arguments of a line: separated by spaces, in quotes where they contain some. Within double quotes
/// `\n`, `\r`, `\t`, `\b`, `\a` and `\xff` stand for bytes, within single ones only `\'` does.
fn split_line(line: &[u8]) -> Result<Vec<Bytes>, ProtocolError> {
    let mut args = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(args);
        }
        let mut arg = BytesMut::new();
        loop {
            match rest {
                [] => break,
                [space, ..] if space.is_ascii_whitespace() => break,
                [quote @ (b'"' | b'\''), tail @ ..] => {
                    rest = take_quoted(*quote, tail, &mut arg)?;
                    break;
                }
                [byte, tail @ ..] => {
                    arg.extend_from_slice(&[*byte]);
                    rest = tail;
                }
            }
        }
        args.push(arg.freeze());
    }
}

fn take_quoted<'a>(quote: u8, mut rest: &'a [u8], arg: &mut BytesMut) -> Result<&'a [u8], ProtocolError> {
    loop {
        let (byte, used) = match rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [end, tail @ ..] if *end == quote => {
                let closed = tail.first().is_none_or(u8::is_ascii_whitespace);
                return if closed { Ok(tail) } else { Err(ProtocolError::UnbalancedQuotes) };
            }
            [b'\\', b'\'', ..] if quote == b'\'' => (b'\'', 2),
            [b'\\', b'x', high, low, ..] if quote == b'"' && both_hex(*high, *low).is_some() => {
                (both_hex(*high, *low).unwrap_or_default(), 4)
            }
            [b'\\', escaped, ..] if quote == b'"' => (unescape(*escaped), 2),
            [byte, ..] => (*byte, 1),
        };
        arg.extend_from_slice(&[byte]);
        rest = &rest[used..];
    }
}

fn both_hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    Some(digit(high)? << 4 | digit(low)?)
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

/// What a client sent that is no request. The connection can't go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The number of arguments is no number, or above [`ARGS_MAX`].
    #[error("invalid multibulk length")]
    InvalidCount,
    /// An argument's length is no number, or above [`BULK_BYTES_MAX`].
    #[error("invalid bulk length")]
    InvalidBulk,
    /// An argument does not begin as a bulk string.
    #[error("expected '$', got '{}'", char::from(*.0).escape_default())]
    NotBulk(u8),
    /// The bytes of an argument are not followed by an end of line.
    #[error("expected the end of a bulk string")]
    BulkEnd,
    /// The line with the number of arguments is longer than [`LINE_BYTES_MAX`].
    #[error("too big mbulk count string")]
    LongCount,
    /// The line with an argument's length is longer than [`LINE_BYTES_MAX`].
    #[error("too big bulk count string")]
    LongBulk,
    /// A request in a line is longer than [`LINE_BYTES_MAX`].
    #[error("too big inline request")]
    LongLine,
    /// The request as a whole is larger than [`REQUEST_BYTES_MAX`].
    #[error("too big request")]
    LongRequest,
    /// A quote is not closed, or something follows it without a space.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
}

/// The most arguments of a request, as in Redis.
pub const ARGS_MAX: usize = 1 << 20;
/// The longest argument, in bytes.
pub const BULK_BYTES_MAX: usize = 1 << 20;
/// The longest line, in bytes, as in Redis.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// The largest request, in bytes, each argument counted with its place in memory.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

const ARG_OVERHEAD_BYTES: usize = 32;
