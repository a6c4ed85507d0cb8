//! One client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_core::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::admin::{Flow, Session};
use super::backend::{Backend, Found, Query, Refused};
use super::command::{FULL, NOT_INTEGER, OVERFLOW, TOO_LONG};
use super::parser::Parser;
use super::reply::Token;
use super::server::Shared;
use super::table::{Admin, Request, request};
use crate::store::{Answer, BATCH_HEADER_BYTES, Batch, Op, matches};

/// Serves a client: requests are answered in their order, and have their effects in it.
///
/// What has arrived is taken in groups: neighbouring writes become one command of the log and neighbouring
/// reads one linearizable read, so that a pipeline costs a round of agreement for each change from writing
/// to reading and not for each request. The next group begins when the one before is answered, so a read
/// sees the writes before it, and a failed write is never overtaken by a later one of the same client.
/// Meanwhile further requests wait in the socket, where the client feels them.
pub(super) struct Connection<B> {
    stream: TcpStream,
    shared: Arc<Shared<B>>,
    session: Session,
    parser: Parser,
    input: BytesMut,
    output: BytesMut,
}

impl<B: Backend> Connection<B> {
    pub(super) fn new(stream: TcpStream, shared: Arc<Shared<B>>, session: Session) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { stream, shared, session, parser: Parser::default(), input, output }
    }

    /// Serves until the client leaves, breaks the protocol or takes no replies, or until `closing` turns
    /// true between two groups.
    pub(super) async fn run(mut self, mut closing: watch::Receiver<bool>) -> io::Result<()> {
        loop {
            let flow = self.serve().await?;
            self.flush().await?;
            if flow == Flow::Close {
                return self.stream.shutdown().await;
            }
            self.input.reserve(self.parser.wanted(&self.input).max(READ_BYTES));
            let read = tokio::select! {
                read = self.stream.read_buf(&mut self.input) => Some(read?),
                () = closed(&mut closing) => None,
            };
            match read {
                Some(0) => return Ok(()),
                Some(_) => {}
                None => return self.stream.shutdown().await,
            }
        }
    }

    /// Answers every request that is complete.
    async fn serve(&mut self) -> io::Result<Flow> {
        let mut group = Group::default();
        loop {
            let args = match self.parser.next(&mut self.input) {
                Ok(Some(args)) => args,
                Ok(None) => break,
                Err(error) => {
                    self.settle(&mut group).await?;
                    self.put(Token::Error(format!("ERR Protocol error: {error}").into())).await?;
                    return Ok(Flow::Close);
                }
            };
            self.shared.count_command();
            group.bytes += args.iter().map(|arg| arg.len() + ARG_BYTES).sum::<usize>();
            match request(args) {
                Err(text) => group.slots.push(Slot::Ready(Token::Error(text))),
                Ok(Request::Write(op)) => {
                    if !group.has_room_for_write(&op) {
                        self.settle(&mut group).await?;
                    }
                    group.push_write(op);
                }
                Ok(Request::Read(query)) => {
                    if !group.has_room_for_read() {
                        self.settle(&mut group).await?;
                    }
                    group.push_read(query);
                }
                Ok(Request::Admin(kind, args)) => {
                    if self.administrate(&mut group, kind, args).await? == Flow::Close {
                        return Ok(Flow::Close);
                    }
                }
            }
            if group.slots.len() >= GROUP_REQUESTS_MAX || group.bytes >= GROUP_BYTES_MAX {
                self.settle(&mut group).await?;
            }
        }
        self.settle(&mut group).await?;
        Ok(Flow::Go)
    }

    async fn administrate(&mut self, group: &mut Group, kind: Admin, args: Vec<Bytes>) -> io::Result<Flow> {
        // A bare PING needs no order beyond that of the replies, so it doesn't part a group.
        if kind == Admin::Ping && args.len() == 1 {
            group.slots.push(Slot::Ready(Token::Simple("PONG")));
            return Ok(Flow::Go);
        }
        self.settle(group).await?;
        let (tokens, flow) = self.session.answer(kind, &args, &self.shared).await;
        for token in tokens {
            self.put(token).await?;
        }
        Ok(flow)
    }

    /// Has the group's work done, and puts its replies.
    async fn settle(&mut self, group: &mut Group) -> io::Result<()> {
        let Group { work, slots, .. } = std::mem::take(group);
        match work {
            Work::None => {
                for slot in slots {
                    if let Slot::Ready(token) = slot {
                        self.put(token).await?;
                    }
                }
            }
            Work::Writes { ops, .. } => {
                let answers = self.shared.backend().write(Batch(ops)).await;
                let failure = answers.as_ref().err().map(|refused| refusal("write", refused));
                let mut answers = answers.unwrap_or_default().into_iter();
                for slot in slots {
                    match (slot, &failure) {
                        (Slot::Ready(token), _) => self.put(token).await?,
                        (Slot::Work, Some(failure)) => self.put(failure.clone()).await?,
                        (Slot::Work, None) => self.put(answers.next().map_or(MISSING, answer)).await?,
                    }
                }
            }
            Work::Reads(queries) => {
                let found = self.shared.backend().read(queries).await;
                let failure = found.as_ref().err().map(|refused| refusal("read", refused));
                let mut found = found.unwrap_or_default().into_iter();
                for slot in slots {
                    match (slot, &failure) {
                        (Slot::Ready(token), _) => self.put(token).await?,
                        (Slot::Work, Some(failure)) => self.put(failure.clone()).await?,
                        (Slot::Work, None) => match found.next() {
                            Some(found) => self.put_found(found).await?,
                            None => self.put(MISSING).await?,
                        },
                    }
                }
            }
        }
        Ok(())
    }

    async fn put_found(&mut self, found: Found) -> io::Result<()> {
        let value = |value: Option<Bytes>| value.map_or(Token::Null, Token::Bulk);
        match found {
            Found::Value(one) => self.put(value(one)).await,
            Found::Values(many) => {
                self.put(Token::Array(many.len())).await?;
                for one in many {
                    self.put(value(one)).await?;
                }
                Ok(())
            }
            Found::Integer(number) => self.put(Token::Integer(number)).await,
            Found::Page(page, pattern) => {
                let shown = |key: &Bytes| pattern.as_ref().is_none_or(|pattern| matches(pattern, key));
                let keys: Vec<Bytes> = page.keys.into_iter().filter(shown).collect();
                self.put(Token::Array(2)).await?;
                self.put(Token::Bulk(page.cursor.to_string().into())).await?;
                self.put(Token::Array(keys.len())).await?;
                for key in keys {
                    self.put(Token::Bulk(key)).await?;
                }
                Ok(())
            }
        }
    }

    /// Appends a piece of a reply, and writes out what has gathered once it is worth a write.
    async fn put(&mut self, token: Token) -> io::Result<()> {
        token.encode(self.session.protocol, &mut self.output);
        if self.output.len() >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = timeout(WRITE_TIMEOUT, self.stream.write_all(&self.output)).await;
        written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.output.clear();
        Ok(())
    }
}

/// Waits until the server closes. Without a sender it never will be told to, and is closed already.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Requests that are answered together.
#[derive(Default)]
struct Group {
    work: Work,
    slots: Vec<Slot>,
    // What its requests take in memory.
    bytes: usize,
}

#[derive(Default)]
enum Work {
    #[default]
    None,
    Writes {
        ops: Vec<Op>,
        // What they take in the log.
        bytes: usize,
    },
    Reads(Vec<Query>),
}

/// A place in the order of the replies.
enum Slot {
    /// A reply that needs no work.
    Ready(Token),
    /// The next reply of the group's work.
    Work,
}

impl Group {
    fn has_room_for_write(&self, op: &Op) -> bool {
        match &self.work {
            Work::None => true,
            Work::Writes { bytes, .. } => bytes + op.encoded_len() <= GROUP_BYTES_MAX,
            Work::Reads(_) => false,
        }
    }

    fn has_room_for_read(&self) -> bool {
        !matches!(self.work, Work::Writes { .. })
    }

    fn push_write(&mut self, op: Op) {
        let len = op.encoded_len();
        match &mut self.work {
            Work::Writes { ops, bytes } => {
                ops.push(op);
                *bytes += len;
            }
            work => *work = Work::Writes { ops: vec![op], bytes: BATCH_HEADER_BYTES + len },
        }
        self.slots.push(Slot::Work);
    }

    fn push_read(&mut self, query: Query) {
        match &mut self.work {
            Work::Reads(queries) => queries.push(query),
            work => *work = Work::Reads(vec![query]),
        }
        self.slots.push(Slot::Work);
    }
}

fn answer(answer: Answer) -> Token {
    match answer {
        Answer::Done => Token::Simple("OK"),
        Answer::Absent => Token::Null,
        Answer::Value(value) => Token::Bulk(value),
        Answer::Integer(number) => Token::Integer(number),
        Answer::NotInteger => Token::Error(NOT_INTEGER.into()),
        Answer::Overflow => Token::Error(OVERFLOW.into()),
        Answer::TooLong => Token::Error(TOO_LONG.into()),
        Answer::Full => Token::Error(FULL.into()),
    }
}

/// The code tells a program what it may do next: after TRYAGAIN and CLUSTERDOWN the request may be repeated,
/// after UNKNOWN only if doing it twice does no harm.
fn refusal(what: &str, refused: &Refused) -> Token {
    let text = match (refused.outcome, what) {
        (Outcome::Unknown, _) => {
            format!("UNKNOWN the {what} may have been applied, or may yet be: {refused}")
        }
        (_, "read") if refused.down => format!("CLUSTERDOWN the read was not answered: {refused}"),
        (_, "read") => format!("TRYAGAIN the read was not answered: {refused}"),
        _ if refused.down => format!("CLUSTERDOWN the {what} was not applied: {refused}"),
        _ => format!("TRYAGAIN the {what} was not applied: {refused}"),
    };
    Token::Error(text.into())
}

const MISSING: Token = Token::Error(std::borrow::Cow::Borrowed("UNKNOWN the store gave no answer"));

/// How many requests make a group at most.
const GROUP_REQUESTS_MAX: usize = 1024;
/// How many bytes of requests make a group at most, and of writes one command of the log, unless a single
/// one has more.
const GROUP_BYTES_MAX: usize = 128 << 10;
/// What an argument counts beside its bytes: its place in memory.
const ARG_BYTES: usize = 32;
/// How much room there is at least for what arrives, in bytes.
const READ_BYTES: usize = 16 << 10;
/// How many bytes of replies gather before they are written.
const WRITE_BYTES: usize = 64 << 10;
/// How long a client may take no replies before it is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
