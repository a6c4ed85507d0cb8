//! Random lives of a storage: writes, syncs and crashes, beside a model.

use bytes::Bytes;
use quorate_core::Rng;

use super::{Subject, membership, write};
use crate::entry::{Entry, EntryId, EntryPayload, Index};
use crate::storage::{Memory, Recovered, Snapshot, SnapshotMeta, Storage, StorageError, Write};

/// What can be seen of a storage from outside.
#[derive(Clone, PartialEq, Debug)]
struct Seen {
    recovered: Recovered,
    entries: Vec<Entry>,
    snapshot: Option<Snapshot>,
}

/// Leads a storage through a life of several crashes.
///
/// After each, it must be as the model was at some moment between the last sync and the crash. A write need
/// not be atomic: it may have been cut between two of its fields, or two of its entries.
pub(super) fn check<S: Subject>(subject: &mut S, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let store = opened(subject, seed).1.recovered.store;
    subject.crash();
    let mut survivor = Memory::new(store);
    for crash in 0..CRASHES {
        if rng.chance(500_000) {
            subject.arm(rng.next_u64());
        }
        let Some(candidates) = live(subject, &mut survivor, &mut rng) else { continue };
        subject.crash();
        let (storage, seen) = opened(subject, seed);
        drop(storage);
        subject.crash();
        let matching = candidates.into_iter().find(|(candidate, _)| *candidate == seen);
        let Some((_, model)) = matching else {
            panic!("the storage breaks rule 2: seed {seed}, after crash {crash}, it recovered as\n{seen:#?}")
        };
        survivor = model;
    }
}

/// One stretch between two crashes: the states that may be found after it. None if it did not even open.
fn live<S: Subject>(subject: &mut S, survivor: &mut Memory, rng: &mut Rng) -> Option<Vec<(Seen, Memory)>> {
    let mut model = survivor.fork();
    let mut candidates = vec![(see(&mut model), model.fork())];
    let opened = subject.open().and_then(|mut storage| storage.recover().map(|_| storage));
    let Ok(mut storage) = opened else {
        subject.crash();
        return None;
    };
    for sequence in 0..rng.range(1..12) {
        let write = draw(&mut model, rng, sequence + 1);
        let result = storage.write(&write);
        for step in steps(&write) {
            model.write(&step).expect("the model takes what was drawn for it");
            candidates.push((see(&mut model), model.fork()));
        }
        if result.is_err() {
            return Some(candidates);
        }
        if rng.chance(400_000) {
            if storage.sync().is_err() {
                return Some(candidates);
            }
            candidates.drain(..candidates.len() - 1);
        }
        let now = look(&mut storage, &candidates[candidates.len() - 1].0.recovered);
        let (entries, snapshot) = now.expect("what was written can be read");
        let expected = &candidates[candidates.len() - 1].0;
        assert_eq!((&entries, &snapshot), (&expected.entries, &expected.snapshot), "rule 3");
    }
    Some(candidates)
}

fn opened<S: Subject>(subject: &mut S, seed: u64) -> (S::Storage, Seen) {
    let mut storage = match subject.open() {
        Ok(storage) => storage,
        Err(error) => panic!("the storage breaks rule 2: seed {seed}, it can't be opened: {error}"),
    };
    let recovered = match storage.recover() {
        Ok(recovered) => recovered,
        Err(error) => panic!("the storage breaks rule 2: seed {seed}, it can't recover: {error}"),
    };
    let (entries, snapshot) = look(&mut storage, &recovered).expect("what was recovered can be read");
    (storage, Seen { recovered, entries, snapshot })
}

fn look(
    storage: &mut impl Storage,
    recovered: &Recovered,
) -> Result<(Vec<Entry>, Option<Snapshot>), StorageError> {
    let (first, next) = (recovered.before_first.index + 1, recovered.last + 1);
    Ok((storage.entries(first, next, usize::MAX)?, storage.snapshot()?))
}

fn see(model: &mut Memory) -> Seen {
    let recovered = model.recover().expect("a model recovers");
    let (entries, snapshot) = look(model, &recovered).expect("a model can be read");
    Seen { recovered, entries, snapshot }
}

/// The moments at which a crash may cut a write. A snapshot and the restart of the log behind it are one: a
/// recovery that finds the first completes the second.
fn steps(write: &Write) -> Vec<Write> {
    let mut steps = Vec::new();
    let id = write.id;
    if write.hard_state.is_some() {
        steps.push(Write { id, hard_state: write.hard_state.clone(), ..Write::default() });
    }
    if write.snapshot.is_some() {
        let (snapshot, restart_after) = (write.snapshot.clone(), write.restart_after);
        steps.push(Write { id, snapshot, restart_after, ..Write::default() });
    }
    if write.discard_before.is_some() {
        steps.push(Write { id, discard_before: write.discard_before, ..Write::default() });
    }
    if write.truncate_from.is_some() {
        steps.push(Write { id, truncate_from: write.truncate_from, ..Write::default() });
    }
    for entry in &write.entries {
        steps.push(Write { id, entries: vec![entry.clone()], ..Write::default() });
    }
    steps
}

/// A write that a correct core could make in this state.
fn draw(model: &mut Memory, rng: &mut Rng, sequence: u64) -> Write {
    let seen = see(model);
    let covered = seen.recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index);
    let (first, mut last) = (seen.recovered.before_first.index + 1, seen.recovered.last);
    let mut hard = seen.recovered.hard_state.clone();
    let mut write = write(sequence);
    if hard.term == 0 || rng.chance(200_000) {
        hard.term += rng.range(1..3);
        hard.vote = rng.chance(500_000).then(|| rng.range(1..4).into());
        if rng.chance(300_000) {
            hard.stores.insert(rng.range(1..4).into(), u128::from(rng.next_u64()).into());
        }
        write.hard_state = Some(hard.clone());
    }
    let term_at = |index: Index| {
        let at = index.checked_sub(first).and_then(|at| seen.entries.get(at as usize));
        at.map_or(seen.recovered.before_first.term, |entry| entry.id.term)
    };
    let mut last_term = term_at(last);
    match rng.range(0..10) {
        0 if last > covered => {
            let index = rng.range(covered + 1..last + 1);
            write.snapshot = Some(snapshot(EntryId::new(term_at(index), index), rng));
            write.discard_before = Some(rng.range(first..index + 2));
        }
        1 => {
            // A leader's snapshot: beyond the log, or in place of a conflicting part of it.
            let index = covered.max(first) + rng.range(1..20);
            let after = EntryId::new(hard.term, index);
            write.snapshot = Some(snapshot(after, rng));
            if index > last || term_at(index) != after.term {
                write.restart_after = Some(after);
                (last, last_term) = (after.index, after.term);
            } else {
                write.discard_before = Some(index + 1);
            }
        }
        2 | 3 if last > covered.max(first) => {
            let from = rng.range(covered.max(first) + 1..last + 1);
            write.truncate_from = Some(from);
            (last, last_term) = (from - 1, term_at(from - 1));
        }
        _ => {}
    }
    for _ in 0..rng.range(0..6) {
        last += 1;
        last_term = if rng.chance(700_000) { last_term.max(1) } else { hard.term };
        write.entries.push(entry(EntryId::new(last_term, last), rng));
    }
    write
}

fn entry(id: EntryId, rng: &mut Rng) -> Entry {
    let payload = match rng.range(0..8) {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Membership(membership()),
        _ => EntryPayload::Command(noise(rng, 300)),
    };
    Entry { id, payload }
}

fn snapshot(last: EntryId, rng: &mut Rng) -> Snapshot {
    Snapshot { meta: SnapshotMeta { last, membership: membership() }, data: noise(rng, 2000) }
}

fn noise(rng: &mut Rng, len_max: u64) -> Bytes {
    let byte = rng.next_u64() as u8;
    vec![byte; rng.range(0..len_max) as usize].into()
}

/// How often a storage crashes in one life.
const CRASHES: u64 = 6;
