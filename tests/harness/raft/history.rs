use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use quorate_core::NodeId;
use quorate_sim::{Step, StepKind, World};

use super::clients::OperationId;
use super::host::Host;
use super::seen::{Answer, Seen};

/// Who asked what, and what came of it. A clone is another handle of the same history.
#[derive(Clone, Debug, Default)]
pub struct History(Rc<RefCell<BTreeMap<OperationId, Operation>>>);

#[derive(Clone, Copy, Debug)]
struct Operation {
    node: NodeId,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Open,
    Answered(Answer),
    /// The node crashed: the client will never know.
    Lost,
}

impl History {
    /// Takes in what a step brought: nothing is answered twice, and nothing that was not asked.
    pub(super) fn note(&self, world: &World<Host>, step: &Step) -> Result<(), String> {
        let mut operations = self.0.borrow_mut();
        let Some(node) = step.node else { return Ok(()) };
        if step.kind == StepKind::Crashed {
            let open = operations.values_mut().filter(|op| op.node == node && op.outcome == Outcome::Open);
            open.for_each(|operation| operation.outcome = Outcome::Lost);
        }
        for seen in super::seen(world, step) {
            match seen {
                Seen::Invoked { operation } => {
                    operations.insert(*operation, Operation { node, outcome: Outcome::Open });
                }
                Seen::Answered { operation, answer } => match operations.get_mut(operation) {
                    Some(open) if open.node == node && open.outcome == Outcome::Open => {
                        open.outcome = Outcome::Answered(*answer);
                    }
                    other => {
                        return Err(format!(
                            "n{node} answers {operation:?} with {answer:?}: it is {other:?}"
                        ));
                    }
                },
                _ => {}
            }
        }
        Ok(())
    }

    /// The first operation that still waits for its answer.
    pub fn open(&self) -> Option<OperationId> {
        let operations = self.0.borrow();
        operations.iter().find(|(_, op)| op.outcome == Outcome::Open).map(|(id, _)| *id)
    }

    /// What an operation was answered.
    pub fn answer(&self, operation: OperationId) -> Option<Answer> {
        match self.0.borrow().get(&operation)?.outcome {
            Outcome::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// How many operations were answered with a result.
    pub fn succeeded(&self) -> usize {
        let good =
            |op: &&Operation| matches!(op.outcome, Outcome::Answered(Answer::Written(_) | Answer::Read(_)));
        self.0.borrow().values().filter(good).count()
    }
}
