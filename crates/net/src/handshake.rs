//! The first frame in each direction: who speaks, to whom, in which versions.

use std::io;

use quorate_core::{BootId, ClusterId, NodeId};
use quorate_transport::{Body, Lane, NodeIdentity, Refusal};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Stream;
use crate::frame::{FrameReader, FrameWriter, Header, Kind, Violation};

/// Which lanes a connection carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Class {
    /// Control and normal, the former first.
    Main,
    /// Bulk, so that nothing urgent is behind it.
    Bulk,
}

impl Class {
    pub(crate) const fn of(lane: Lane) -> Self {
        match lane {
            Lane::Control | Lane::Normal => Self::Main,
            Lane::Bulk => Self::Bulk,
        }
    }

    /// The lane with this number, if it belongs on such a connection.
    pub(crate) fn lane(self, number: u8) -> Result<Lane, Violation> {
        Lane::from_index(usize::from(number))
            .filter(|lane| Self::of(*lane) == self)
            .ok_or(Violation::Lane(number))
    }
}

/// What each end says of itself. 56 bytes, little-endian:
///
/// | bytes | what |
/// |---|---|
/// | 0..8 | `b"quorate\0"` |
/// | 8..10, 10..12 | lowest and highest version of the wire protocol |
/// | 12 | class of the connection: 0 main, 1 bulk |
/// | 13..16 | zero, ignored |
/// | 16..24 | cluster |
/// | 24..32 | own node |
/// | 32..40 | own boot |
/// | 40..48 | the node believed to be at the other end |
/// | 48..52 | the longest body that is accepted, in bytes |
/// | 52..56 | zero, ignored |
///
/// The accepting end always answers with its own, so both ends see the same two hellos and come to the same
/// verdict; then a refused connection is closed. Later versions may append fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    pub(crate) versions: (u16, u16),
    pub(crate) class: Class,
    pub(crate) identity: NodeIdentity,
    pub(crate) expected: NodeId,
    pub(crate) body_max: u32,
}

impl Hello {
    pub(crate) const LEN: usize = 56;

    pub(crate) fn new(identity: NodeIdentity, expected: NodeId, class: Class, body_max: usize) -> Self {
        let body_max = u32::try_from(body_max).unwrap_or(u32::MAX);
        Self { versions: (VERSION, VERSION), class, identity, expected, body_max }
    }

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&self.versions.0.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.versions.1.to_le_bytes());
        bytes[12] = self.class as u8;
        bytes[16..24].copy_from_slice(&self.identity.cluster.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.identity.node.get().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.identity.boot.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.expected.get().to_le_bytes());
        bytes[48..52].copy_from_slice(&self.body_max.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Violation> {
        let bytes = bytes.first_chunk::<{ Self::LEN }>().ok_or(Violation::Hello)?;
        if &bytes[0..8] != MAGIC {
            return Err(Violation::Hello);
        }
        let versions = (u16_at(bytes, 8), u16_at(bytes, 10));
        let class = match bytes[12] {
            0 => Class::Main,
            1 => Class::Bulk,
            _ => return Err(Violation::Hello),
        };
        let identity = NodeIdentity {
            cluster: ClusterId::new(u64_at(bytes, 16)),
            node: NodeId::new(u64_at(bytes, 24)),
            boot: BootId::new(u64_at(bytes, 32)),
        };
        let body_max = u64_at(bytes, 48) as u32;
        Ok(Self { versions, class, identity, expected: NodeId::new(u64_at(bytes, 40)), body_max })
    }

    /// What the dialling end, which said `dialler`, and the accepting end, which said `acceptor`, both
    /// conclude about `theirs`, the hello that isn't their own.
    fn verdict(dialler: &Self, acceptor: &Self, theirs: &Self) -> Result<(), Refusal> {
        let (low, high) =
            (dialler.versions.0.max(acceptor.versions.0), dialler.versions.1.min(acceptor.versions.1));
        if low > high {
            return Err(Refusal::Version { min: theirs.versions.0, max: theirs.versions.1 });
        }
        if dialler.identity.cluster != acceptor.identity.cluster {
            return Err(Refusal::WrongCluster { theirs: theirs.identity.cluster });
        }
        if dialler.identity.node == acceptor.identity.node {
            return Err(Refusal::Itself);
        }
        if dialler.expected != acceptor.identity.node {
            return Err(Refusal::WrongNode { theirs: theirs.identity.node });
        }
        Ok(())
    }
}

/// Why a handshake came to no connection.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("{0}")]
    Refused(#[from] Refusal),
}

/// Introduces this end to the one that was dialled, and returns what that says of itself.
pub(crate) async fn dial(
    stream: &mut Stream,
    reader: &mut FrameReader,
    ours: &Hello,
) -> Result<Hello, HandshakeError> {
    send(stream, ours).await?;
    // Whoever answers with anything but a frame is no node at all, and won't become one soon.
    let theirs = receive(stream, reader).await.map_err(|error| match error {
        HandshakeError::Violation(_) => HandshakeError::Refused(Refusal::NotQuorate),
        other => other,
    })?;
    Hello::verdict(ours, &theirs, &theirs)?;
    Ok(theirs)
}

/// Hears who dialled and answers who is here.
pub(crate) async fn accept(
    stream: &mut Stream,
    reader: &mut FrameReader,
    local: NodeIdentity,
    body_max: usize,
) -> Result<Hello, HandshakeError> {
    let theirs = receive(stream, reader).await?;
    let ours = Hello::new(local, theirs.identity.node, theirs.class, body_max);
    send(stream, &ours).await?;
    Hello::verdict(&theirs, &ours, &theirs)?;
    Ok(theirs)
}

async fn send(stream: &mut Stream, hello: &Hello) -> io::Result<()> {
    let mut writer = FrameWriter::default();
    writer.push(Header::new(Kind::Hello), &Body::from(hello.encode().to_vec()));
    std::future::poll_fn(|cx| writer.poll_write(cx, &mut stream.writer)).await?;
    stream.writer.flush().await
}

async fn receive(stream: &mut Stream, reader: &mut FrameReader) -> Result<Hello, HandshakeError> {
    reader.set_body_max(HELLO_MAX);
    loop {
        if let Some(frame) = reader.next()? {
            if frame.header.kind != Kind::Hello {
                return Err(Violation::Unexpected(frame.header.kind).into());
            }
            return Ok(Hello::decode(&frame.body)?);
        }
        if stream.reader.read_buf(reader.room()).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

fn u16_at(bytes: &[u8; Hello::LEN], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u64_at(bytes: &[u8; Hello::LEN], at: usize) -> u64 {
    (0..8).fold(0, |number, byte| number | u64::from(bytes[at + byte]) << (8 * byte))
}

const MAGIC: &[u8; 8] = b"quorate\0";
/// The version of the wire protocol that this crate speaks.
const VERSION: u16 = 1;
/// The longest hello of any later version.
const HELLO_MAX: usize = 256;
