//! Walking over all keys, a page at a time.

use bytes::Bytes;

use super::{Key, Store};

impl Store {
    /// The keys from `cursor` on, about `count` of them, and the cursor of the next page.
    ///
    /// A walk begins with cursor 0 and ends when that comes back. It gives every key that is there from its
    /// beginning to its end exactly once; keys that come or go meanwhile may be given or not. Cursors mean
    /// the same on every node.
    pub fn scan(&self, cursor: u64, count: usize) -> Page {
        let from = Key { hash: cursor, bytes: Bytes::new() };
        let mut page = Page { cursor: 0, keys: Vec::new() };
        let (mut bytes, mut last) = (0, None);
        for key in self.entries.range(from..).map(|(key, _)| key) {
            // A page never ends between two keys of the same hash, since the cursor can't tell them apart.
            let full = page.keys.len() >= count.clamp(1, SCAN_COUNT_MAX) || bytes >= SCAN_PAGE_BYTES;
            if full && last != Some(key.hash) {
                page.cursor = key.hash;
                break;
            }
            last = Some(key.hash);
            bytes += key.bytes.len();
            page.keys.push(key.bytes.clone());
        }
        page
    }
}

/// Some keys of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where the next page begins; zero after the last.
    pub cursor: u64,
    /// The keys of this page.
    pub keys: Vec<Bytes>,
}

/// The most keys in a page, whatever was asked for.
pub const SCAN_COUNT_MAX: usize = 4096;
/// A page ends once its keys have this many bytes, so that matching them against a pattern is soon done.
pub const SCAN_PAGE_BYTES: usize = 64 << 10;
