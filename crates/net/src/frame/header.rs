use super::Violation;

/// What a frame is. The numbers are on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Who speaks; the first frame in each direction, and only that.
    Hello = 1,
    /// A one-way message.
    OneWay = 2,
    /// A call.
    Request = 3,
    /// The answer to a call.
    Reply = 4,
    /// A status instead of an answer: its code, then its text.
    Failure = 5,
    /// The caller has given up.
    Cancel = 6,
    /// Are you there?
    Ping = 7,
    /// Yes.
    Pong = 8,
}

impl Kind {
    fn from_wire(number: u8) -> Result<Self, Violation> {
        Ok(match number {
            1 => Self::Hello,
            2 => Self::OneWay,
            3 => Self::Request,
            4 => Self::Reply,
            5 => Self::Failure,
            6 => Self::Cancel,
            7 => Self::Ping,
            8 => Self::Pong,
            other => return Err(Violation::Kind(other)),
        })
    }
}

/// The first 32 bytes of a frame, all little-endian:
///
/// | bytes | what |
/// |---|---|
/// | 0..4 | length of the body in bytes |
/// | 4..8 | crc32c of the body |
/// | 8 | kind |
/// | 9 | lane |
/// | 10..12 | protocol |
/// | 12..16 | request, unique among those in progress on the connection |
/// | 16..24 | channel |
/// | 24..28 | what remains of the deadline in ms, rounded up; zero for none |
/// | 28..32 | crc32c of bytes 0..28 |
///
/// The length is believed only after the header's checksum has been verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) len: u32,
    pub(crate) body_crc: u32,
    pub(crate) kind: Kind,
    pub(crate) lane: u8,
    pub(crate) protocol: u16,
    pub(crate) request: u32,
    pub(crate) channel: u64,
    pub(crate) deadline_ms: u32,
}

impl Header {
    pub(crate) const LEN: usize = 32;

    /// A header of a kind, everything else zero.
    pub(crate) const fn new(kind: Kind) -> Self {
        Self { len: 0, body_crc: 0, kind, lane: 0, protocol: 0, request: 0, channel: 0, deadline_ms: 0 }
    }

    /// A header that speaks of a request.
    pub(crate) const fn of_request(kind: Kind, request: u32) -> Self {
        let mut header = Self::new(kind);
        header.request = request;
        header
    }

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[8] = self.kind as u8;
        bytes[9] = self.lane;
        bytes[10..12].copy_from_slice(&self.protocol.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.request.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.channel.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.deadline_ms.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, Violation> {
        if crc32c::crc32c(&bytes[..28]) != u32_at(bytes, 28) {
            return Err(Violation::HeaderChecksum);
        }
        Ok(Self {
            len: u32_at(bytes, 0),
            body_crc: u32_at(bytes, 4),
            kind: Kind::from_wire(bytes[8])?,
            lane: bytes[9],
            protocol: u16::from_le_bytes([bytes[10], bytes[11]]),
            request: u32_at(bytes, 12),
            channel: u64::from(u32_at(bytes, 16)) | u64::from(u32_at(bytes, 20)) << 32,
            deadline_ms: u32_at(bytes, 24),
        })
    }
}

fn u32_at(bytes: &[u8; Header::LEN], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
