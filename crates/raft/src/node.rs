use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use quorate_core::{BootId, NodeId, Time};
use quorate_transport::Transport;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::core::{Raft, Status};
use crate::driver::{self, Gauge, Mailbox, PushError, ReadJob, Reply, Request, StopReason};
use crate::error::{ConfigError, ProposeError, ReadError, StartError};
use crate::links::{Inbox, Links, TransportGroups};
use crate::state_machine::{Command, StateMachine};
use crate::storage::{Recovered, Storage, StorageError};

/// A member of a raft group, running on the current tokio runtime. Clones are handles on the same node.
///
/// Every node takes proposals and linearizable reads: one that doesn't lead forwards them. Each call is
/// answered, with a typed error at the latest when its timeout in [`Config`] is over. When the last handle is
/// dropped, or [`shutdown`](Node::shutdown) is called, all tasks of the node end and its storage is let go.
pub struct Node<S: StateMachine>(Arc<Shared<S>>);

struct Shared<S: StateMachine> {
    node: NodeId,
    mailbox: Arc<Mailbox<S>>,
    status: watch::Receiver<Status>,
    ended: watch::Receiver<Option<StopReason>>,
    command_bytes_max: usize,
    proposals: Gauge,
    proposal_bytes: Gauge,
    reads: Gauge,
}

/// What a node draws at random when it starts.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    /// This run of the node.
    pub boot: BootId,
    /// For its election timeouts.
    pub seed: u64,
}

impl Draws {
    /// From the operating system's generator.
    ///
    /// # Errors
    ///
    /// [`StartError::Random`] if that has failed.
    pub fn random() -> Result<Self, StartError> {
        let draw = || getrandom::u64().map_err(|error| StartError::Random(error.to_string()));
        Ok(Self { boot: BootId::new(draw()?), seed: draw()? })
    }
}

impl<S: StateMachine> Node<S> {
    /// Starts a node over a transport, for the only raft group on it.
    ///
    /// `machine` is the state before any command; the storage's snapshot, if there is one, is restored into
    /// it before this returns. Commands after the snapshot are applied once they are known to be committed:
    /// a [`read`](Node::read) waits for them. Limits in bytes that are larger than the transport's messages,
    /// or than the entries that the storage takes, are lowered to fit.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, whatever had started ends again.
    ///
    /// # Errors
    ///
    /// [`StartError`], with nothing left running.
    pub async fn start(
        config: Config,
        storage: impl Storage,
        machine: S,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StartError> {
        if transport.local().node != config.node {
            return Err(ConfigError { field: "node", reason: "is not the transport's own node" }.into());
        }
        let links = TransportGroups::new(transport)?.links(config.group);
        Self::start_with(config, storage, machine, Arc::new(links), Draws::random()?).await
    }

    /// Starts a node over links of any kind, with what it would draw at random given: for several groups on
    /// one transport ([`TransportGroups`](crate::TransportGroups)), for links of one's own, and for tests.
    ///
    /// The boot must not have been used before for the same node of the same group.
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Node::start).
    ///
    /// # Errors
    ///
    /// As [`start`](Node::start).
    pub async fn start_with(
        mut config: Config,
        storage: impl Storage,
        machine: S,
        links: Arc<dyn Links>,
        draws: Draws,
    ) -> Result<Self, StartError> {
        config.validate()?;
        fit(&mut config, links.message_bytes_max(), storage.entry_bytes_max())?;
        let (storage, recovered) = recover(Box::new(storage)).await?;
        let snapshot = recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index);
        let core = Raft::new(config.clone(), recovered, draws.boot, draws.seed, Time::ZERO)?;
        let mailbox = Arc::new(Mailbox::new(config.proposals_max.saturating_add(config.reads_max)));
        links.start(Inbox::new(Arc::clone(&mailbox)))?;
        let seen = driver::spawn(core, storage, machine, links, Arc::clone(&mailbox));
        let node = Self(Arc::new(Shared {
            node: config.node,
            mailbox,
            status: seen.status,
            ended: seen.ended,
            command_bytes_max: config.command_bytes_max,
            proposals: Gauge::new(config.proposals_max),
            proposal_bytes: Gauge::new(config.uncommitted_bytes_max),
            reads: Gauge::new(config.reads_max),
        }));
        match node.wait(|status| status.applied >= snapshot).await {
            Ok(_) => Ok(node),
            Err(StopReason::Storage(error)) => Err(StartError::Storage(error)),
            Err(reason) => Err(StartError::Restore(reason.to_string())),
        }
    }

    /// Proposes a command, and waits until it is committed and applied here: the state machine's response to
    /// it.
    ///
    /// Proposals that wait at the same time are appended, synced and sent together. One task's proposals that
    /// are awaited one after another are applied in that order; concurrent ones in any.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped nobody waits for the answer any longer, but the command may still be
    /// committed: its outcome is unknown.
    ///
    /// # Errors
    ///
    /// [`ProposeError`]; its [`outcome`](ProposeError::outcome) says whether the command was not committed,
    /// so that it may be proposed again, or whether that is unknown.
    pub async fn propose(&self, command: impl Into<S::Command>) -> Result<S::Response, ProposeError> {
        let command = command.into().encode()?;
        let (len, max) = (command.len(), self.0.command_bytes_max);
        if len > max {
            return Err(ProposeError::TooLarge { len, max });
        }
        let overloaded = ProposeError::Overloaded;
        let count = self.0.proposals.acquire(1).ok_or(overloaded("proposals_max"))?;
        let bytes = self.0.proposal_bytes.acquire(len).ok_or(overloaded("uncommitted_bytes_max"))?;
        let (sender, answer) = oneshot::channel();
        let request = Request::Propose { command, reply: Reply::new(sender, [count, bytes]) };
        self.0.mailbox.push_request(request).map_err(|(error, _)| match error {
            PushError::Full => overloaded("proposals_max"),
            PushError::Closed => ProposeError::NotRunning,
        })?;
        answer.await.unwrap_or(Err(ProposeError::Stopped))
    }

    /// Reads the state machine, linearizably: the closure sees every command whose proposal was answered,
    /// anywhere, before this call. Costs a round of heartbeats to a quorum, which concurrent reads share, and
    /// no write.
    ///
    /// The closure runs on the state machine's task, between two batches: it should be quick. If it panics,
    /// the panic is raised here.
    ///
    /// # Cancel safety
    ///
    /// A read has no effect; the closure may run or not when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: the read may be repeated.
    pub async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        self.look(Request::Read, read).await
    }

    /// Reads the state machine as it is on this node, which may be behind by any amount: without a message,
    /// even where there is no leader.
    ///
    /// # Cancel safety
    ///
    /// As [`read`](Node::read).
    ///
    /// # Errors
    ///
    /// [`ReadError::Overloaded`] or [`ReadError::Stopped`].
    pub async fn local<R: Send + 'static>(
        &self,
        read: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        self.look(Request::Local, read).await
    }

    async fn look<R: Send + 'static>(
        &self,
        request: impl FnOnce(ReadJob<S>) -> Request<S>,
        read: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        let permit = self.0.reads.acquire(1).ok_or(ReadError::Overloaded)?;
        let (sender, answer) = oneshot::channel();
        let job: ReadJob<S> = Box::new(move |state| {
            let seen = match state {
                Ok(state) => Ok(catch_unwind(AssertUnwindSafe(|| read(state)))),
                Err(error) => {
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(read)));
                    Err(error)
                }
            };
            drop(permit);
            // What was read is dropped here if the caller has gone, and the closure if there is nothing to
            // see. Should that panic, it is the end of a value that nobody waits for, and of nothing else.
            let _ = catch_unwind(AssertUnwindSafe(|| sender.send(seen)));
        });
        self.0.mailbox.push_request(request(job)).map_err(|(error, _)| match error {
            PushError::Full => ReadError::Overloaded,
            PushError::Closed => ReadError::Stopped,
        })?;
        match answer.await {
            Ok(Ok(Ok(seen))) => Ok(seen),
            Ok(Ok(Err(panic))) => resume_unwind(panic),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ReadError::Stopped),
        }
    }

    /// Which node this is.
    pub fn id(&self) -> NodeId {
        self.0.node
    }

    /// How the node stands. Its last standing, once it has stopped.
    pub fn status(&self) -> Status {
        *self.0.status.borrow()
    }

    /// A view of the status that tells its changes; quick ones may be seen as one. Its sender is gone once
    /// the node has stopped.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.status.clone()
    }

    /// Waits for a status. It has no timeout of its own: give it one with `tokio::time::timeout`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Errors
    ///
    /// The reason, if the node stops first.
    pub async fn wait(&self, until: impl FnMut(&Status) -> bool) -> Result<Status, StopReason> {
        let mut status = self.0.status.clone();
        if let Ok(status) = status.wait_for(until).await {
            return Ok(*status);
        }
        Err(self.stopped().await)
    }

    /// Waits until the node has stopped and let go of its storage: why it did.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn stopped(&self) -> StopReason {
        let mut ended = self.0.ended.clone();
        let reason = ended.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or(StopReason::Runtime)
    }

    /// Stops the node and waits until it has. What was handed to the state machine by then is applied and
    /// answered; all other proposals under way, committed or not, end as [`ProposeError::Stopped`]: unknown.
    /// Later ones end as [`ProposeError::NotRunning`]. A storage call or an apply under way is waited for,
    /// 10 s at the most.
    ///
    /// # Cancel safety
    ///
    /// The node stops even if the future is dropped, once it was polled.
    pub async fn shutdown(&self) -> StopReason {
        self.0.mailbox.stop(StopReason::Shutdown);
        self.stopped().await
    }

    /// How many messages of peers were dropped because too many were waiting.
    pub fn messages_dropped(&self) -> u64 {
        self.0.mailbox.messages_dropped()
    }

    /// How many proposals and reads wait for their answer, of all handles together.
    pub fn waiting(&self) -> usize {
        self.0.proposals.used() + self.0.reads.used()
    }
}

impl<S: StateMachine> Clone for Node<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: StateMachine> fmt::Debug for Node<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.status()).finish()
    }
}

impl<S: StateMachine> Drop for Shared<S> {
    fn drop(&mut self) {
        self.mailbox.stop(StopReason::Shutdown);
    }
}

/// Lowers the limits on what goes into one message to what the links carry, and that on a command to what
/// the storage takes as well.
fn fit(config: &mut Config, message_bytes_max: usize, entry_bytes_max: usize) -> Result<(), ConfigError> {
    let room = message_bytes_max.saturating_sub(MESSAGE_OVERHEAD_BYTES);
    let field = "command_bytes_max";
    if room == 0 {
        return Err(ConfigError { field, reason: "no message of the links can carry one" });
    }
    if entry_bytes_max == 0 {
        return Err(ConfigError { field, reason: "no entry of the storage can hold one" });
    }
    config.command_bytes_max = config.command_bytes_max.min(entry_bytes_max);
    for limit in
        [&mut config.command_bytes_max, &mut config.append_bytes_max, &mut config.snapshot_chunk_bytes]
    {
        *limit = (*limit).min(room);
    }
    Ok(())
}

/// Recovers, on a thread that may block if the storage does.
async fn recover(mut storage: Box<dyn Storage>) -> Result<(Box<dyn Storage>, Recovered), StartError> {
    let work = move || storage.recover().map(|recovered| (storage, recovered));
    let found = spawn_blocking(move || catch_unwind(AssertUnwindSafe(work))).await;
    match found {
        Ok(Ok(found)) => Ok(found?),
        Ok(Err(_)) => Err(StorageError::Failed("the recovery panicked".to_owned()).into()),
        Err(_) => Err(StorageError::Failed("the runtime was shut down".to_owned()).into()),
    }
}

/// What a message needs beside its commands, at the most: its header, one entry's, and the members' addresses
/// in a snapshot's first piece.
const MESSAGE_OVERHEAD_BYTES: usize = 16 << 10;
