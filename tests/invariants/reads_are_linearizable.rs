use std::collections::BTreeMap;

use quorate_raft::Index;
use quorate_sim::{Step, World};
use quorate_tests::raft::{Answer, Host, OperationId, Seen, seen};

/// Linearizability, of a list to which each write appends: what starts after an operation has been answered
/// comes after it in the log.
///
/// The log is one order for all nodes, so real time is all that is left to check: a read sees at least, and a
/// write comes after, the newest index that any client had been told of when it was asked.
pub(crate) fn check() -> impl FnMut(&World<Host>, &Step) -> Result<(), String> {
    let mut told: Index = 0;
    let mut floors: BTreeMap<OperationId, Index> = BTreeMap::new();
    move |world, step| {
        let node = step.node.unwrap_or_default();
        for seen in seen(world, step) {
            match seen {
                Seen::Invoked { operation } => {
                    floors.insert(*operation, told);
                }
                Seen::Answered { operation, answer } => {
                    let floor = floors.remove(operation).unwrap_or_default();
                    match answer {
                        Answer::Read(index) if *index < floor => {
                            return Err(format!(
                                "n{node} reads as of {index} for {operation:?}, asked after {floor}"
                            ));
                        }
                        Answer::Written(index) if *index <= floor => {
                            return Err(format!(
                                "n{node} writes {operation:?} at {index}, asked after {floor}"
                            ));
                        }
                        Answer::Read(index) | Answer::Written(index) => told = told.max(*index),
                        Answer::Failed(_) => {}
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
