use std::collections::BTreeMap;

use quorate_core::NodeId;
use quorate_raft::Term;
use quorate_sim::{Step, World};
use quorate_tests::raft::{Host, Seen, seen};

/// A vote and an acknowledgement are sent only once what they promise is durable, and a node votes once a
/// term, whatever happens to it in between.
///
/// A promise that waited while a newer term became durable is late, and harmless: what it promised held when
/// the newer term was taken up, as if the message had been under way since then.
///
/// That durable state then survives crashes is judged by the host itself, at each recovery.
pub(crate) fn check() -> impl FnMut(&World<Host>, &Step) -> Result<(), String> {
    let mut votes: BTreeMap<(Term, NodeId), NodeId> = BTreeMap::new();
    move |world, step| {
        let Some((node, host)) = step.node.and_then(|node| Some((node, world.node(node)?))) else {
            return Ok(());
        };
        let durable = host.durable();
        for seen in seen(world, step) {
            match seen {
                Seen::Voted { term, candidate } => {
                    let vote = (durable.hard.term, durable.hard.vote);
                    if vote.0 <= *term && vote != (*term, Some(*candidate)) {
                        return Err(format!(
                            "n{node} votes for n{candidate} in term {term}; durable is {vote:?}"
                        ));
                    }
                    let first = *votes.entry((*term, node)).or_insert(*candidate);
                    if first != *candidate {
                        return Err(format!("n{node} votes for n{first} and n{candidate} in term {term}"));
                    }
                }
                Seen::Accepted { term, matched } => {
                    // In memory the log may already be that of a newer term.
                    let moved_on = host.memory().hard.term > *term && durable.last() >= *matched;
                    let same = moved_on || durable.holds_same(host.memory(), *matched);
                    if durable.hard.term <= *term && !(same && durable.hard.term == *term) {
                        return Err(format!(
                            "n{node} acknowledges {matched} in term {term}; durable is the log up to {} in term {}",
                            durable.last(),
                            durable.hard.term
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
