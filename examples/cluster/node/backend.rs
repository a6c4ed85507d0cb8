//! The replicated store behind the Redis server.

use quorate_core::{NodeId, Outcome};
use quorate_raft::{Node, ProposeError, ReadError, RoleKind};

use crate::resp::{Backend, Found, Query, Refused, Report};
use crate::store::{Answer, Batch, Store};

/// Writes go through the log, reads are linearizable, on whichever node they come in.
pub(super) struct Replicated {
    node: Node<Store>,
}

impl Replicated {
    pub(super) const fn new(node: Node<Store>) -> Self {
        Self { node }
    }
}

impl Backend for Replicated {
    async fn write(&self, batch: Batch) -> Result<Vec<Answer>, Refused> {
        let mut tries = 1;
        loop {
            match self.node.propose(batch.clone()).await {
                Ok(answers) => return Ok(answers),
                // It was certainly not committed, so it can't be done twice.
                Err(ProposeError::LeaderChanged) if tries < TRIES_MAX => tries += 1,
                Err(error) => {
                    let down = matches!(error, ProposeError::NoLeader | ProposeError::NotRunning);
                    return Err(Refused { outcome: error.outcome(), down, text: error.to_string() });
                }
            }
        }
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Found>, Refused> {
        let find = |store: &Store| queries.into_iter().map(|query| query.find(store)).collect();
        self.node.read(find).await.map_err(|error| Refused {
            outcome: Outcome::NotDone,
            down: !matches!(error, ReadError::Overloaded),
            text: error.to_string(),
        })
    }

    async fn report(&self) -> Report {
        let (keys, bytes) =
            self.node.local(|store| (store.len() as u64, store.bytes())).await.unwrap_or_default();
        let status = self.node.status();
        Report {
            node: status.node.get(),
            role: role(status.role),
            term: status.term,
            leader: status.leader.map(NodeId::get),
            commit: status.commit,
            applied: status.applied,
            first: status.first,
            last: status.last.index,
            keys,
            bytes,
        }
    }
}

const fn role(role: RoleKind) -> &'static str {
    match role {
        RoleKind::Leader => "leader",
        RoleKind::Follower => "follower",
        RoleKind::Candidate => "candidate",
        RoleKind::PreCandidate => "pre-candidate",
    }
}

/// How often a write is proposed while it is certain that it was not committed.
const TRIES_MAX: u32 = 4;
