use quorate_raft::{EntryId, Index};
use quorate_sim::{Step, World};
use quorate_tests::raft::{Host, Seen, seen};

/// State-machine safety: the machines of all nodes apply the same entries in the same order (Raft, figure 3).
///
/// A machine's history is a hash over all that it applied, so a single comparison stands for the whole prefix.
pub(crate) fn check() -> impl FnMut(&World<Host>, &Step) -> Result<(), String> {
    let mut applied: Vec<(EntryId, u64)> = Vec::new();
    move |world, step| {
        let Some(node) = step.node else { return Ok(()) };
        for seen in seen(world, step) {
            match seen {
                Seen::Applied { id, history, .. } => {
                    match place(id.index).and_then(|place| applied.get(place)) {
                        Some(known) if *known == (*id, *history) => {}
                        Some((known, _)) => {
                            return Err(format!("n{node} applies {id} where {known} was applied"));
                        }
                        None if id.index == applied.len() as u64 + 1 => applied.push((*id, *history)),
                        None => {
                            return Err(format!(
                                "n{node} applies {id}, and nobody applied what is before it"
                            ));
                        }
                    }
                }
                Seen::Restored { last, history } => {
                    let known = place(last.index).and_then(|place| applied.get(place));
                    if known != Some(&(*last, *history)) {
                        return Err(format!("n{node} restored a state as of {last} that no node had"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn place(index: Index) -> Option<usize> {
    usize::try_from(index.checked_sub(1)?).ok()
}
