use std::collections::BTreeMap;

use quorate_core::NodeId;
use quorate_raft::{Event, RoleKind, Term};
use quorate_sim::{Step, World};
use quorate_tests::raft::{Host, Seen, seen};

/// Election safety: at most one leader is elected in a term (Raft, figure 3), for all time.
pub(crate) fn check() -> impl FnMut(&World<Host>, &Step) -> Result<(), String> {
    let mut leaders: BTreeMap<Term, NodeId> = BTreeMap::new();
    move |world, step| {
        for seen in seen(world, step) {
            if let (Seen::Told(Event::RoleChanged { term, role: RoleKind::Leader }), Some(node)) =
                (seen, step.node)
            {
                if let Some(other) = leaders.insert(*term, node) {
                    return Err(format!("n{node} leads in term {term}, as n{other} did"));
                }
            }
        }
        Ok(())
    }
}
