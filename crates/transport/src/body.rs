use std::fmt;

use bytes::{Bytes, BytesMut};

/// The bytes of a message: a small header and any number of payload slices, never copied to be joined.
///
/// A sender encodes a header of a few bytes and appends payloads that it already holds as [`Bytes`]; a
/// network transport writes the chunks with one vectored write, so one payload goes to many peers without a
/// copy. A clone costs one reference count a chunk. The receiver sees the bytes joined, as
/// [`Incoming::body`](crate::Incoming::body); chunk borders don't travel.
///
/// ```
/// use bytes::Bytes;
/// use quorate_transport::Body;
///
/// let payload = Bytes::from(vec![7; 4096]);
/// let mut body = Body::from(vec![1, 2, 3]);
/// body.push(payload.clone());
/// assert_eq!(body.len(), 3 + 4096);
/// assert_eq!(body.chunks().count(), 2);
/// assert_eq!(body.to_bytes()[3..], payload);
/// ```
#[derive(Clone, Default)]
pub struct Body {
    head: Bytes,
    rest: Vec<Bytes>,
    len: usize,
}

impl Body {
    /// A body of no bytes. Doesn't allocate.
    pub const fn new() -> Self {
        Self { head: Bytes::new(), rest: Vec::new(), len: 0 }
    }

    /// A header followed by payload slices, none of them copied.
    pub fn with_slices(header: impl Into<Bytes>, slices: impl IntoIterator<Item = Bytes>) -> Self {
        let mut body = Self::from(header.into());
        for slice in slices {
            body.push(slice);
        }
        body
    }

    /// Appends a slice without copying it. An empty one changes nothing.
    pub fn push(&mut self, slice: Bytes) {
        self.len += slice.len();
        if slice.is_empty() {
            return;
        }
        if self.head.is_empty() {
            self.head = slice;
        } else {
            self.rest.push(slice);
        }
    }

    /// How many bytes all chunks have together. Costs nothing.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunks in order, none of them empty.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        Some(&self.head).filter(|head| !head.is_empty()).into_iter().chain(&self.rest)
    }

    /// All bytes in one piece: copied if there are several chunks, otherwise only counted.
    pub fn to_bytes(&self) -> Bytes {
        if self.rest.is_empty() { self.head.clone() } else { self.joined() }
    }

    /// As [`to_bytes`](Self::to_bytes), without a clone of a single chunk.
    pub fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() { self.head } else { self.joined() }
    }

    fn joined(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len);
        for chunk in self.chunks() {
            all.extend_from_slice(chunk);
        }
        all.freeze()
    }
}

impl From<Bytes> for Body {
    fn from(head: Bytes) -> Self {
        let len = head.len();
        Self { head, rest: Vec::new(), len }
    }
}

impl From<BytesMut> for Body {
    fn from(bytes: BytesMut) -> Self {
        Self::from(bytes.freeze())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Self::from(Bytes::from_static(bytes))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

/// Bodies are equal if their bytes are, wherever the borders of their chunks lie.
impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.chunks().flatten().eq(other.chunks().flatten())
    }
}

impl Eq for Body {}

/// The lengths of the chunks, not their bytes: payloads don't belong in logs.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chunks: Vec<usize> = self.chunks().map(Bytes::len).collect();
        write!(f, "Body({} bytes in {chunks:?})", self.len)
    }
}
