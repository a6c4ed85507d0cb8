use std::collections::BTreeMap;

use quorate_raft::{EntryId, Event, Index, RoleKind, Term};
use quorate_sim::{Step, World};
use quorate_tests::raft::{Host, Seen, seen};

/// Leader completeness: what is committed in a term is in the logs of the leaders of all later terms (Raft,
/// figure 3); and no two nodes take different entries for committed.
///
/// Log matching makes it enough to look for the last committed entry.
pub(crate) fn check() -> impl FnMut(&World<Host>, &Step) -> Result<(), String> {
    let mut terms: BTreeMap<Index, Term> = BTreeMap::new();
    // By the term in which it was first known to be committed, the last entry.
    let mut last: BTreeMap<Term, EntryId> = BTreeMap::new();
    move |world, step| {
        let Some(node) = step.node else { return Ok(()) };
        let Some(host) = world.node(node) else { return Ok(()) };
        let log = host.memory();
        for seen in seen(world, step) {
            match seen {
                Seen::Told(Event::Committed { index }) => {
                    // A log that has since been replaced by a snapshot no longer tells.
                    let Some(term) = log.term(*index) else { continue };
                    let known = *terms.entry(*index).or_insert_with(|| {
                        last.insert(host.status().term, EntryId::new(term, *index));
                        term
                    });
                    if known != term {
                        return Err(format!(
                            "n{node} commits {term}/{index} where {known}/{index} is committed"
                        ));
                    }
                }
                Seen::Told(Event::RoleChanged { term, role: RoleKind::Leader }) => {
                    if let Some(lost) = last.range(..*term).map(|(_, id)| *id).find(|id| !log.holds(*id)) {
                        return Err(format!("n{node} leads term {term} without {lost}, which is committed"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
