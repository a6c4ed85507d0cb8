use std::collections::BTreeMap;

use quorate_raft::{EntryId, Term};
use quorate_sim::{Step, World};
use quorate_tests::raft::{Host, Seen, seen};

/// Log matching: if two logs hold an entry with the same index and term, they are the same up to there (Raft,
/// figure 3).
///
/// It is enough to look at each entry as it is written: every entry of one name must have the same payload
/// and follow an entry of the same term. By induction, all before it is the same too.
pub(crate) fn check() -> impl FnMut(&World<Host>, &Step) -> Result<(), String> {
    let mut entries: BTreeMap<EntryId, (u64, Term)> = BTreeMap::new();
    move |world, step| {
        let Some(log) = step.node.and_then(|node| world.node(node)).map(Host::memory) else { return Ok(()) };
        let wrote = seen(world, step).iter().filter_map(|seen| match seen {
            Seen::Wrote { from } => Some(*from),
            _ => None,
        });
        let Some(from) = wrote.min() else { return Ok(()) };
        for index in from.max(log.before.index + 1)..=log.last() {
            let (Some((term, digest)), Some(previous)) = (log.entry(index), log.term(index - 1)) else {
                continue;
            };
            let known = *entries.entry(EntryId::new(term, index)).or_insert((digest, previous));
            if known != (digest, previous) {
                let node = step.node.unwrap_or_default();
                return Err(format!("n{node} has another entry {term}/{index} than a node before it"));
            }
        }
        Ok(())
    }
}
