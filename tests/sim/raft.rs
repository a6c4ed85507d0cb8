//! Raft under faults: every promise checked after every event, and progress demanded once the faults end.
//!
//! `QUORATE_SEEDS=0..10000 cargo test --release -p quorate-tests --test raft_simulation` runs many more seeds;
//! `QUORATE_SEED=17 cargo test …` replays one.

#[path = "../invariants/mod.rs"]
mod invariants;

use quorate_sim::{Run, Seeds, Violation};
use quorate_tests::raft::simulate;

fn scenario(run: &mut Run) -> Result<(), Violation> {
    simulate(run, invariants::register)
}

#[test]
fn raft_keeps_its_promises_under_faults() {
    Seeds::from_env(0..300, REPLAY).unwrap().check(scenario);
}

#[test]
fn a_seed_replays_exactly() {
    let once = Seeds::exactly(0..25, REPLAY).run(scenario).unwrap();
    let again = Seeds::exactly(0..25, REPLAY).run(scenario).unwrap();
    assert_eq!(once, again);
}

const REPLAY: &str = "cargo test --release -p quorate-tests --test raft_simulation raft_keeps";
