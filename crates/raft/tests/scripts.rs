//! Golden scripts: what a cluster of cores does, step by step, read by a person before it was accepted.
//!
//! A script in `tests/scripts` is a list of commands, each after `> `, with what came of it beneath. Run with
//! `QUORATE_ACCEPT=1` to write down what comes of them now; then read the difference.
//!
//! | command | meaning |
//! |---|---|
//! | `cluster 3 [key=value …]` | founds a cluster; keys are those of [`script::options`] |
//! | `timeout 1` | moves the time to the deadline of node 1, and tells it |
//! | `run 100` | lets so many milliseconds pass, with all messages delivered at once; heartbeats are not shown |
//! | `deliver [1>2 \| >2 \| 1>]` | delivers the messages under way now, in order, to, from or between nodes |
//! | `drop …`, `double …` | loses such messages, or puts copies of them behind |
//! | `cut 1> >1`, `mend` | such messages are lost when their time comes, until all is mended |
//! | `persisted 1` | syncs all that node 1 has written, and tells it |
//! | `settle [1 2]` | delivers and syncs until nothing is left, among those nodes alone if they are named |
//! | `propose 1 x`, `read 1` | a client asks node 1 |
//! | `crash 1`, `restart 1` | a node loses what it did not sync, and starts again |
//! | `status` | how all nodes stand |
//! | `quiet …` | does the command, and shows how all nodes stand instead of what happened |
//!
//! The time without a leader is 300 ms for node 1, 400 for node 2, 500 for node 3. Entries are applied, loaded and snapshotted as soon as a core asks for it.

#[path = "scripts/script.rs"]
mod script;

use script::run;

#[test]
fn a_cluster_elects_a_leader() {
    run("election");
}

#[test]
fn a_node_that_was_cut_off_does_not_disturb_a_leader() {
    run("pre_vote");
}

#[test]
fn entries_reach_a_quorum_and_are_applied_everywhere() {
    run("replication");
}

#[test]
fn a_conflict_is_found_in_one_exchange_a_term() {
    run("conflict");
}

#[test]
fn an_old_term_is_committed_only_with_the_new_one() {
    run("commit_of_old_term");
}

#[test]
fn a_follower_that_is_too_far_behind_gets_a_snapshot() {
    run("snapshot");
}

#[test]
fn a_read_waits_for_a_quorum_to_confirm_the_leader() {
    run("read_index");
}

#[test]
fn a_follower_forwards_and_the_log_answers() {
    run("forwarding");
}

#[test]
fn nothing_is_promised_before_it_is_durable() {
    run("durability");
}

#[test]
fn a_leader_that_hears_no_quorum_steps_down() {
    run("check_quorum");
}

#[test]
fn a_late_append_cuts_nothing_off() {
    run("stale_append");
}
