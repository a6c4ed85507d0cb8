use quorate_raft::Event;
use quorate_sim::{Step, World};
use quorate_tests::raft::{Host, Seen, seen};

/// No node is ever taken for a broken one: what a late, doubled or overtaken message says was once true.
///
/// A node whose disk was lost has broken its promises: what others know of it is no longer so.
pub(crate) fn check() -> impl FnMut(&World<Host>, &Step) -> Result<(), String> {
    move |world, step| {
        for seen in seen(world, step) {
            let (Seen::Told(Event::Refused { from, reason }), Some(node)) = (seen, step.node) else {
                continue;
            };
            let is_whole = |node| world.node(node).is_some_and(|host| !host.is_wiped());
            if is_whole(node) && is_whole(*from) {
                return Err(format!("n{node} refuses a message of n{from}: {reason}"));
            }
        }
        Ok(())
    }
}
