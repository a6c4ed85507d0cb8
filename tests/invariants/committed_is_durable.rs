use quorate_raft::{EntryId, Event};
use quorate_sim::{Step, World};
use quorate_tests::raft::{Host, Seen, seen};

/// When an entry is first known to be committed, a quorum holds it durably.
///
/// A node whose disk was lost afterwards counts as one of the quorum: it can't vote again, so every later
/// quorum is drawn from the others, and still meets one that holds the entry.
pub(crate) fn check() -> impl FnMut(&World<Host>, &Step) -> Result<(), String> {
    let mut committed = EntryId::ZERO;
    move |world, step| {
        for seen in seen(world, step) {
            let (Seen::Told(Event::Committed { index }), Some(node)) = (seen, step.node) else { continue };
            let term = world.node(node).and_then(|host| host.memory().term(*index));
            let Some(term) = term.filter(|_| *index > committed.index) else { continue };
            committed = EntryId::new(term, *index);
            let nodes: Vec<_> = world.nodes().filter_map(|node| world.node(node)).collect();
            let holders =
                nodes.iter().filter(|host| host.is_wiped() || host.durable().holds(committed)).count();
            if holders <= nodes.len() / 2 {
                return Err(format!(
                    "n{node} takes {committed} for committed, and {holders} nodes hold it durably"
                ));
            }
        }
        Ok(())
    }
}
