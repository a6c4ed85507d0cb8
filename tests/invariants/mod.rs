//! What raft promises, one promise a file. Each is checked after every event, with work only for what the
//! event changed.

mod answers_are_true;
mod committed_is_durable;
mod leader_completeness;
mod log_matching;
mod nothing_correct_is_refused;
mod one_leader_a_term;
mod promises_are_durable;
mod reads_are_linearizable;
mod state_machine_safety;

use quorate_sim::World;
use quorate_tests::raft::Host;

/// Has all of them checked.
pub(crate) fn register(world: &mut World<Host>) {
    world.invariant("one leader a term", one_leader_a_term::check());
    world.invariant("log matching", log_matching::check());
    world.invariant("committed is durable", committed_is_durable::check());
    world.invariant("leader completeness", leader_completeness::check());
    world.invariant("state machine safety", state_machine_safety::check());
    world.invariant("answers are true", answers_are_true::check());
    world.invariant("reads are linearizable", reads_are_linearizable::check());
    world.invariant("promises are durable", promises_are_durable::check());
    world.invariant("nothing correct is refused", nothing_correct_is_refused::check());
}
