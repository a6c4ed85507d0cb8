//! What a client was told, and so what must be true in the end.

use std::collections::BTreeMap;

use quorate_core::Outcome;

use super::input::Item;

/// The account of one client, which alone writes its keys and its counter.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    keys: BTreeMap<usize, Passes>,
    /// Its increments that were acknowledged.
    pub increments: u64,
    /// Its increments of which it is not known whether they were done.
    pub increments_unknown: u64,
    /// All its acknowledged writes.
    pub acknowledged: u64,
    /// Its writes that were certainly not done.
    pub failed: u64,
    /// Its writes of which it is not known.
    pub unknown: u64,
}

/// The passes that may have written a key last.
#[derive(Debug, Default)]
struct Passes {
    // The last that was acknowledged.
    acknowledged: Option<u64>,
    // Those of unknown outcome. Such a write may still have been on its way when a later one was
    // acknowledged, so an acknowledgement doesn't rule it out.
    unknown: Vec<u64>,
}

/// What a write was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A value for the item of this number, in this pass.
    Set {
        /// Which item.
        item: usize,
        /// Which pass.
        pass: u64,
    },
    /// One more on the client's counter.
    Increment,
}

impl Ledger {
    /// Takes down what became of a write.
    pub(super) fn record(&mut self, kind: Kind, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.acknowledged += 1,
            Outcome::NotDone => self.failed += 1,
            Outcome::Unknown => self.unknown += 1,
        }
        match (kind, outcome) {
            (_, Outcome::NotDone) => {}
            (Kind::Set { item, pass }, Outcome::Done) => {
                self.keys.entry(item).or_default().acknowledged = Some(pass);
            }
            (Kind::Set { item, pass }, Outcome::Unknown) => {
                self.keys.entry(item).or_default().unknown.push(pass);
            }
            (Kind::Increment, Outcome::Done) => self.increments += 1,
            (Kind::Increment, Outcome::Unknown) => self.increments_unknown += 1,
        }
    }

    /// Whether the item was acknowledged at least once.
    pub(super) fn has(&self, item: usize) -> bool {
        self.keys.get(&item).is_some_and(|passes| passes.acknowledged.is_some())
    }

    /// The items that were acknowledged at least once.
    pub(super) fn items(&self) -> impl Iterator<Item = usize> {
        self.keys.iter().filter(|(_, passes)| passes.acknowledged.is_some()).map(|(item, _)| *item)
    }

    /// Whether what was read is what an acknowledged write, or a later or unknown one, has left there.
    pub(super) fn allows(&self, number: usize, item: &Item, run: &str, read: Option<&[u8]>) -> bool {
        let Some((passes, read)) = self.keys.get(&number).zip(read) else { return false };
        let candidates = passes.acknowledged.iter().chain(&passes.unknown);
        candidates.into_iter().any(|pass| marked(item, run, *pass) == read)
    }

    /// How many acknowledged increments are missing, and how many were done twice.
    pub(super) fn judge(&self, counter: u64) -> (u64, u64) {
        let most = self.increments + self.increments_unknown;
        (self.increments.saturating_sub(counter), counter.saturating_sub(most))
    }
}

/// The value as a pass writes it: with the run and the pass, so that a later pass that was lost is not taken
/// for an earlier one.
pub(super) fn marked(item: &Item, run: &str, pass: u64) -> Vec<u8> {
    let mut value = item.value.clone();
    value.extend_from_slice(format!(" run={run} pass={pass}").as_bytes());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Item {
        Item { key: "key".to_owned(), value: b"value".to_vec() }
    }

    fn allows(ledger: &Ledger, pass: u64) -> bool {
        ledger.allows(0, &item(), "run", Some(&marked(&item(), "run", pass)))
    }

    #[test]
    fn a_lost_pass_is_seen() {
        let mut ledger = Ledger::default();
        ledger.record(Kind::Set { item: 0, pass: 1 }, Outcome::Done);
        assert!(allows(&ledger, 1));
        ledger.record(Kind::Set { item: 0, pass: 2 }, Outcome::Done);
        assert!(allows(&ledger, 2));
        assert!(!allows(&ledger, 1));
        assert!(!ledger.allows(0, &item(), "run", None));
        assert!(!ledger.allows(0, &item(), "other", Some(&marked(&item(), "run", 2))));
    }

    #[test]
    fn an_unknown_pass_may_be_there_or_not() {
        let mut ledger = Ledger::default();
        ledger.record(Kind::Set { item: 0, pass: 1 }, Outcome::Done);
        ledger.record(Kind::Set { item: 0, pass: 2 }, Outcome::Unknown);
        ledger.record(Kind::Set { item: 0, pass: 3 }, Outcome::NotDone);
        assert!(allows(&ledger, 1) && allows(&ledger, 2) && !allows(&ledger, 3));
        assert_eq!((ledger.acknowledged, ledger.unknown, ledger.failed), (1, 1, 1));
    }

    #[test]
    fn a_counter_tells_lost_and_doubled_increments() {
        let mut ledger = Ledger::default();
        (0..10).for_each(|_| ledger.record(Kind::Increment, Outcome::Done));
        (0..2).for_each(|_| ledger.record(Kind::Increment, Outcome::Unknown));
        ledger.record(Kind::Increment, Outcome::NotDone);
        assert_eq!(ledger.judge(9), (1, 0));
        assert_eq!(ledger.judge(10), (0, 0));
        assert_eq!(ledger.judge(12), (0, 0));
        assert_eq!(ledger.judge(13), (0, 1));
    }

    #[test]
    fn a_write_that_was_never_acknowledged_need_not_be_there() {
        let mut ledger = Ledger::default();
        ledger.record(Kind::Set { item: 0, pass: 1 }, Outcome::Unknown);
        assert_eq!(ledger.items().count(), 0);
    }
}
