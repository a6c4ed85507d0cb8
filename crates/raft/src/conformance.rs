//! The test kit for implementers of [`Storage`].
//!
//! Implement [`Subject`] for something that can open a storage, crash it and open it again, and call
//! [`storage`] in a test. It checks the five rules of the trait: by written-out cases, and by random lives of
//! many crashes against a model. A failure panics with the rule's number and the seed.
//!
//! ```
//! use quorate_raft::conformance::{self, Subject};
//! use quorate_raft::{Memory, StorageError};
//!
//! struct InMemory(Memory);
//!
//! impl Subject for InMemory {
//!     type Storage = Memory;
//!
//!     fn open(&mut self) -> Result<Memory, StorageError> {
//!         Ok(self.0.clone())
//!     }
//!
//!     fn crash(&mut self) {
//!         self.0 = self.0.crash();
//!     }
//! }
//!
//! conformance::storage(|seed| InMemory(Memory::new(u128::from(seed) + 1)));
//! ```

mod life;

use std::ops::Range;

use bytes::Bytes;

use crate::entry::{Entry, EntryId, EntryPayload, Index, Membership, Term};
use crate::storage::{
    HardState, Recovered, Snapshot, SnapshotMeta, Standing, Storage, StorageError, TermRun, Write, WriteId,
};

/// A storage under test, over its crashes.
pub trait Subject {
    /// What is tested.
    type Storage: Storage;

    /// Opens the storage: empty at first, and with what survived after a crash.
    ///
    /// # Errors
    ///
    /// Fails the test, unless [`crash`](Subject::crash) follows: a subject may let the opening fail half-way
    /// to test that, too.
    fn open(&mut self) -> Result<Self::Storage, StorageError>;

    /// The power fails: what was not synced may be lost. The storage has been dropped before. A subject whose
    /// device keeps what was not synced does nothing here.
    fn crash(&mut self);

    /// From now on, an operation of the storage may fail as if its device had: the kit then crashes it.
    /// Does nothing unless overridden.
    fn arm(&mut self, seed: u64) {
        let _ = seed;
    }
}

/// Runs the whole kit: [`cases`], and a hundred [`lives`].
///
/// `fresh` makes a subject that was never opened; its seed is for faults that the subject draws itself, and
/// for its identity.
///
/// # Panics
///
/// If a rule is broken.
pub fn storage<S: Subject>(mut fresh: impl FnMut(u64) -> S) {
    cases(&mut fresh);
    lives(0..LIVES, fresh);
}

/// Runs the written-out cases, one or more for each rule.
///
/// # Panics
///
/// If a rule is broken.
pub fn cases<S: Subject>(mut fresh: impl FnMut(u64) -> S) {
    let cases: [Case<S>; 11] = [
        ("rule 1: an empty storage recovers as nothing", empty_recovers_as_nothing),
        ("rule 1: the fields of a write take effect in order", fields_take_effect_in_order),
        ("rule 1: a large write is taken in whole", large_is_taken),
        ("rule 2: what was synced survives a crash", synced_survives),
        ("rule 2: what is recovered is durable", recovered_is_durable),
        ("rule 2: the identity survives a crash", identity_survives),
        ("rule 3: what was written is read before it is synced", written_is_read),
        ("rule 3: reads keep to their limits", reads_keep_to_limits),
        ("rule 3: a snapshot replaces the one before", snapshots_replace),
        ("rule 4: failure is final", failure_is_final),
        ("rule 5: a gap is an error", gaps_are_errors),
    ];
    for (at, (name, case)) in cases.into_iter().enumerate() {
        let mut subject = fresh(at as u64);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&mut subject)));
        assert!(result.is_ok(), "the storage breaks {name}");
    }
}

/// Leads a storage through a random life of six crashes for each seed, and compares what it recovers each
/// time with a model.
///
/// # Panics
///
/// If a rule is broken: with the seed, and what was recovered.
pub fn lives<S: Subject>(seeds: Range<u64>, mut fresh: impl FnMut(u64) -> S) {
    for seed in seeds {
        life::check(&mut fresh(seed), seed);
    }
}

/// What a case is called, and how it is run.
type Case<S> = (&'static str, fn(&mut S));

fn empty_recovers_as_nothing<S: Subject>(subject: &mut S) {
    let mut storage = open(subject);
    let recovered = storage.recover().expect("an empty storage recovers");
    assert_eq!(recovered, Recovered { store: recovered.store, ..Recovered::default() });
    assert_eq!(storage.snapshot().expect("readable"), None);
    assert_eq!(storage.entries(1, 10, usize::MAX).expect("readable"), []);
}

fn fields_take_effect_in_order<S: Subject>(subject: &mut S) {
    let mut storage = recovered(subject);
    let first = Write { entries: vec![entry(1, 1), entry(1, 2), entry(1, 3)], ..write(1) };
    storage.write(&first).expect("written");
    let second = Write {
        hard_state: Some(hard(3)),
        snapshot: Some(snapshot(2, 10)),
        restart_after: Some(EntryId::new(2, 10)),
        entries: vec![entry(2, 11), entry(3, 12), entry(3, 13)],
        ..write(2)
    };
    storage.write(&second).expect("written");
    let third = Write {
        snapshot: Some(snapshot(2, 11)),
        discard_before: Some(12),
        truncate_from: Some(13),
        entries: vec![members(4, 13), entry(4, 14)],
        ..write(3)
    };
    storage.write(&third).expect("written");
    storage.sync().expect("synced");
    let log = [entry(3, 12), members(4, 13), entry(4, 14)];
    assert_eq!(storage.entries(12, 15, usize::MAX).expect("readable"), log);
    drop(storage);
    subject.crash();
    let mut storage = open(subject);
    let found = storage.recover().expect("it recovers");
    let expected = Recovered {
        store: found.store,
        hard_state: hard(3),
        snapshot: Some(snapshot(2, 11).meta),
        before_first: EntryId::new(2, 11),
        last: 14,
        terms: vec![TermRun { first: 12, term: 3 }, TermRun { first: 13, term: 4 }],
        memberships: vec![(13, membership())],
    };
    assert_eq!(found, expected);
    assert_eq!(storage.entries(12, 15, usize::MAX).expect("readable"), log);
}

fn large_is_taken<S: Subject>(subject: &mut S) {
    let mut storage = recovered(subject);
    let entries: Vec<Entry> = (1..=LARGE_ENTRIES).map(|index| entry(1, index)).collect();
    storage.write(&Write { entries: entries.clone(), ..write(1) }).expect("written");
    storage.sync().expect("synced");
    assert!(storage.entries(1, LARGE_ENTRIES + 1, usize::MAX).expect("readable") == entries);
    drop(storage);
    subject.crash();
    let mut storage = recovered(subject);
    assert!(storage.entries(1, LARGE_ENTRIES + 1, usize::MAX).expect("readable") == entries);
}

fn recovered_is_durable<S: Subject>(subject: &mut S) {
    for round in 1..=5 {
        let mut storage = open(subject);
        let first = storage.recover().expect("it recovers").last + 1;
        let entries = vec![entry(round, first), entry(round, first + 1)];
        storage.write(&Write { entries, hard_state: Some(hard(round)), ..write(round) }).expect("written");
        // The process ends without a sync, and its device goes on: the next one finds what it finds.
        drop(storage);
        let found = open(subject).recover().expect("it recovers");
        // Then the power fails.
        subject.crash();
        assert_eq!(open(subject).recover().expect("it recovers"), found);
        subject.crash();
    }
}

fn synced_survives<S: Subject>(subject: &mut S) {
    for round in 0..5u64 {
        let mut storage = recovered(subject);
        let entries = vec![entry(round + 1, round * 2 + 1), entry(round + 1, round * 2 + 2)];
        let hard_state = Some(hard(round + 1));
        storage.write(&Write { hard_state, entries, ..write(round + 1) }).expect("written");
        storage.sync().expect("synced");
        drop(storage);
        subject.crash();
        let found = open(subject).recover().expect("it recovers");
        assert_eq!((found.last, found.hard_state), (round * 2 + 2, hard(round + 1)));
        subject.crash();
    }
}

fn identity_survives<S: Subject>(subject: &mut S) {
    let store = open(subject).recover().expect("it recovers").store;
    for _ in 0..3 {
        subject.crash();
        assert_eq!(open(subject).recover().expect("it recovers").store, store);
    }
}

fn written_is_read<S: Subject>(subject: &mut S) {
    let mut storage = recovered(subject);
    storage.write(&Write { entries: vec![entry(1, 1), entry(1, 2)], ..write(1) }).expect("written");
    assert_eq!(storage.entries(1, 3, usize::MAX).expect("readable"), [entry(1, 1), entry(1, 2)]);
    let replaced = Write { truncate_from: Some(2), entries: vec![entry(2, 2)], ..write(2) };
    storage.write(&replaced).expect("written");
    assert_eq!(storage.entries(1, 3, usize::MAX).expect("readable"), [entry(1, 1), entry(2, 2)]);
    storage.write(&Write { discard_before: Some(2), ..write(3) }).expect("written");
    assert_eq!(storage.entries(1, 3, usize::MAX).expect("readable"), [], "entry 1 has been discarded");
    assert_eq!(storage.entries(2, 3, usize::MAX).expect("readable"), [entry(2, 2)]);
}

fn reads_keep_to_limits<S: Subject>(subject: &mut S) {
    let mut storage = recovered(subject);
    let all: Vec<Entry> = (1..=10).map(|index| entry(1, index)).collect();
    storage.write(&Write { entries: all.clone(), ..write(1) }).expect("written");
    let cost = all[0].cost();
    let mut read = |from, to, bytes| storage.entries(from, to, bytes).expect("readable").len();
    assert_eq!(read(1, 11, 0), 1, "at least one");
    assert_eq!(read(1, 11, cost), 1);
    assert_eq!(read(1, 11, 2 * cost - 1), 1);
    assert_eq!(read(1, 11, 2 * cost), 2);
    assert_eq!(read(4, 6, usize::MAX), 2);
    assert_eq!(read(8, 100, usize::MAX), 3, "what is there");
    assert_eq!(read(11, 20, usize::MAX), 0);
    assert_eq!(read(5, 5, usize::MAX), 0);
    assert_eq!(read(6, 5, usize::MAX), 0);
}

fn snapshots_replace<S: Subject>(subject: &mut S) {
    let mut storage = recovered(subject);
    let entries = (1..=9).map(|index| entry(1, index)).collect();
    storage.write(&Write { entries, ..write(1) }).expect("written");
    for (sequence, index) in [(2, 3), (3, 5), (4, 9)] {
        let taken = Some(snapshot(1, index));
        let write = Write { snapshot: taken.clone(), discard_before: Some(index - 1), ..write(sequence) };
        storage.write(&write).expect("written");
        assert_eq!(storage.snapshot().expect("readable"), taken);
        assert_eq!(storage.snapshot().expect("readable again"), taken);
    }
    storage.sync().expect("synced");
    drop(storage);
    subject.crash();
    let mut storage = open(subject);
    let found = storage.recover().expect("it recovers");
    assert_eq!(found.snapshot, Some(snapshot(1, 9).meta));
    assert_eq!((found.before_first, found.last), (EntryId::new(1, 7), 9));
    assert_eq!(storage.snapshot().expect("readable"), Some(snapshot(1, 9)));
}

fn failure_is_final<S: Subject>(subject: &mut S) {
    let mut storage = recovered(subject);
    storage.write(&Write { entries: vec![entry(1, 1)], ..write(1) }).expect("written");
    storage.sync().expect("synced");
    storage.write(&Write { entries: vec![entry(1, 5)], ..write(2) }).expect_err("there is a gap");
    storage.write(&Write { entries: vec![entry(1, 2)], ..write(3) }).expect_err("it has failed");
    storage.sync().expect_err("it has failed");
    drop(storage);
    subject.crash();
    assert_eq!(open(subject).recover().expect("it recovers").last, 1);
}

fn gaps_are_errors<S: Subject>(subject: &mut S) {
    let bad = [
        Write { entries: vec![entry(2, 4)], ..write(2) },
        Write { entries: vec![entry(2, 6)], ..write(2) },
        Write { entries: vec![entry(1, 5)], ..write(2) },
        Write { snapshot: Some(snapshot(2, 3)), discard_before: Some(4), truncate_from: Some(3), ..write(2) },
    ];
    for bad in bad {
        let mut storage = recovered(subject);
        let first = storage.entries(1, 2, 0).expect("readable").is_empty();
        if first {
            let entries = (1..=4).map(|index| entry(2, index)).collect();
            storage.write(&Write { entries, ..write(1) }).expect("written");
            storage.sync().expect("synced");
        }
        storage.write(&bad).expect_err("it doesn't follow");
        drop(storage);
        subject.crash();
    }
}

fn open<S: Subject>(subject: &mut S) -> S::Storage {
    match subject.open() {
        Ok(storage) => storage,
        Err(error) => panic!("the storage can't be opened: {error}"),
    }
}

fn recovered<S: Subject>(subject: &mut S) -> S::Storage {
    let mut storage = open(subject);
    storage.recover().expect("it recovers");
    storage
}

fn write(sequence: u64) -> Write {
    Write { id: WriteId { sequence, ..WriteId::default() }, ..Write::default() }
}

fn entry(term: Term, index: Index) -> Entry {
    let command = Bytes::from(format!("command {term:04} {index:04}"));
    Entry { id: EntryId::new(term, index), payload: EntryPayload::Command(command) }
}

fn members(term: Term, index: Index) -> Entry {
    Entry { id: EntryId::new(term, index), payload: EntryPayload::Membership(membership()) }
}

fn membership() -> Membership {
    [1u64, 2, 3].into_iter().collect()
}

fn hard(term: Term) -> HardState {
    let stores = [(2u64.into(), (7u128 << 64).into())].into();
    HardState { term, vote: Some(2u64.into()), standing: Standing::Voter, stores }
}

fn snapshot(term: Term, index: Index) -> Snapshot {
    let meta = SnapshotMeta { last: EntryId::new(term, index), membership: membership() };
    Snapshot { meta, data: Bytes::from(format!("state as of {term}/{index}")) }
}

/// How many entries the large write has: more bytes than a storage may want to take in at once.
const LARGE_ENTRIES: u64 = 20_000;
/// How many random lives a storage is led through.
const LIVES: u64 = 100;
