//! What answers the requests.

use std::future::Future;

use bytes::Bytes;
use quorate_core::Outcome;

use crate::store::{Answer, Batch, Page, Store};

/// Where writes and reads go: the replicated store in a node, a plain one in tests.
pub trait Backend: Send + Sync + 'static {
    /// Carries the operations out together, in order, and gives an answer for each.
    fn write(&self, batch: Batch) -> impl Future<Output = Result<Vec<Answer>, Refused>> + Send;

    /// Answers the queries, each from a state that contains all that was acknowledged before.
    fn read(&self, queries: Vec<Query>) -> impl Future<Output = Result<Vec<Found>, Refused>> + Send;

    /// What INFO tells: the node's own view, which may be behind.
    fn report(&self) -> impl Future<Output = Report> + Send;
}

/// A question to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The value of a key.
    Value(Bytes),
    /// The values of several, in order.
    Values(Vec<Bytes>),
    /// How many of these are there; one named twice counts twice.
    Present(Vec<Bytes>),
    /// How long a value is; zero if it is not there.
    Length(Bytes),
    /// How many keys there are.
    Count,
    /// A page of the keys.
    Scan {
        /// Where it begins.
        cursor: u64,
        /// About how many.
        count: usize,
        /// Which to show.
        pattern: Option<Bytes>,
    },
}

/// What a query found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A value, if there is one.
    Value(Option<Bytes>),
    /// Several.
    Values(Vec<Option<Bytes>>),
    /// A number.
    Integer(i64),
    /// Keys, before the pattern was asked, which takes too long to do while the store stands still.
    Page(Page, Option<Bytes>),
}

impl Query {
    /// Looks it up.
    pub fn find(self, store: &Store) -> Found {
        match self {
            Self::Value(key) => Found::Value(store.value(&key)),
            Self::Values(keys) => Found::Values(keys.iter().map(|key| store.value(key)).collect()),
            Self::Present(keys) => {
                Found::Integer(keys.iter().filter(|key| store.value(key).is_some()).count() as i64)
            }
            Self::Length(key) => Found::Integer(store.value(&key).map_or(0, |value| value.len()) as i64),
            Self::Count => Found::Integer(store.len() as i64),
            Self::Scan { cursor, count, pattern } => Found::Page(store.scan(cursor, count), pattern),
        }
    }
}

/// A request that was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// Whether it took effect.
    pub outcome: Outcome,
    /// Whether there is no cluster to ask, as opposed to one that is busy or in change.
    pub down: bool,
    /// Why.
    pub text: String,
}

/// What a node knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The node's number.
    pub node: u64,
    /// `leader`, `follower`, `candidate` or `pre-candidate`.
    pub role: &'static str,
    /// The newest term it has heard of.
    pub term: u64,
    /// The leader, if one is known.
    pub leader: Option<u64>,
    /// The last index known to be committed.
    pub commit: u64,
    /// The last index that was applied here.
    pub applied: u64,
    /// The first index that is still in the log.
    pub first: u64,
    /// The last index in the log.
    pub last: u64,
    /// How many keys there are here.
    pub keys: u64,
    /// What the store holds here, in bytes.
    pub bytes: u64,
}
