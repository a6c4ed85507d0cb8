use std::collections::{BTreeMap, BTreeSet};

use quorate_core::Outcome;
use quorate_raft::Index;
use quorate_sim::{Step, World};
use quorate_tests::raft::{Answer, Host, OperationId, Seen, seen};

/// Nothing acknowledged is lost, nothing is doubled, and an error that says "not done" is right for ever.
///
/// That what was applied stays applied is [state-machine safety](super::state_machine_safety); here it is
/// held against what clients were told.
pub(crate) fn check() -> impl FnMut(&World<Host>, &Step) -> Result<(), String> {
    let mut applied: BTreeMap<OperationId, Index> = BTreeMap::new();
    let mut refused: BTreeSet<OperationId> = BTreeSet::new();
    move |world, step| {
        for seen in seen(world, step) {
            match seen {
                Seen::Applied { id, operation, proposal, .. } => {
                    if let Some(proposal) = proposal.filter(|p| operation.is_none_or(|op| op.0 != p.0)) {
                        return Err(format!("{id} is said to answer {proposal:?}, but holds {operation:?}"));
                    }
                    let Some(operation) = operation else { continue };
                    let first = *applied.entry(*operation).or_insert(id.index);
                    if first != id.index {
                        return Err(format!("{operation:?} is applied at {first} and again at {id}"));
                    }
                    if refused.contains(operation) {
                        return Err(format!(
                            "{operation:?} is applied at {id}, after an error said it never would"
                        ));
                    }
                }
                Seen::Answered { operation, answer: Answer::Written(index) }
                    if applied.get(operation) != Some(index) =>
                {
                    return Err(format!("{operation:?} is acknowledged at {index}, where it is not"));
                }
                Seen::Answered { operation, answer: Answer::Failed(Outcome::NotDone) } => {
                    if let Some(index) = applied.get(operation) {
                        return Err(format!("{operation:?} failed as not done, but is applied at {index}"));
                    }
                    refused.insert(*operation);
                }
                _ => {}
            }
        }
        Ok(())
    }
}
