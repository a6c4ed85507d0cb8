//! The core under tokio. It takes no decision of the protocol: it moves what comes in to the core, and what
//! comes out to the links, the storage and the state machine.

mod applier;
mod clock;
mod disk;
mod mailbox;
mod stop;
mod work;

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use quorate_core::Core as _;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, timeout};

use self::clock::Clock;
use self::disk::{Disk, DiskJob};
use self::mailbox::Batch;
pub(crate) use self::mailbox::{Mailbox, PushError};
pub use self::stop::StopReason;
use self::stop::panic_text;
pub(crate) use self::work::{Gauge, ReadJob, Reply, Request};
use self::work::{Job, Waiting};
use crate::core::{Event, Input, Output, ProposalId, Raft, ReadId, Status};
use crate::error::{ProposeError, ReadError};
use crate::links::Links;
use crate::state_machine::StateMachine;
use crate::storage::Storage;

/// The core's task and all that it holds.
struct Driver<S: StateMachine> {
    core: Raft,
    clock: Clock,
    mailbox: Arc<Mailbox<S>>,
    links: Arc<dyn Links>,
    disk: Disk<S>,
    jobs: mpsc::UnboundedSender<Job<S>>,
    proposals: Waiting<Reply<S::Response>>,
    reads: Waiting<ReadJob<S>>,
    status: watch::Sender<Status>,
}

/// What the handles of a node see of its tasks.
pub(crate) struct Seen {
    pub(crate) status: watch::Receiver<Status>,
    /// Why it has stopped, once it has let go of everything.
    pub(crate) ended: watch::Receiver<Option<StopReason>>,
}

/// Starts the tasks of a node on the current runtime.
pub(crate) fn spawn<S: StateMachine>(
    core: Raft,
    storage: Box<dyn Storage>,
    machine: S,
    links: Arc<dyn Links>,
    mailbox: Arc<Mailbox<S>>,
) -> Seen {
    let (status, status_seen) = watch::channel(core.status());
    let (ended, ended_seen) = watch::channel(None);
    let (jobs, queue) = mpsc::unbounded_channel();
    let applier = tokio::spawn(applier::run(machine, queue, Arc::clone(&mailbox)));
    let end = End { mailbox: Arc::clone(&mailbox), ended };
    let driver = Driver {
        core,
        clock: Clock::start(),
        disk: Disk::new(storage, Arc::clone(&mailbox), Handle::current()),
        mailbox,
        links,
        jobs,
        proposals: Waiting::new(),
        reads: Waiting::new(),
        status,
    };
    tokio::spawn(driver.run(applier, end));
    Seen { status: status_seen, ended: ended_seen }
}

impl<S: StateMachine> Driver<S> {
    async fn run(mut self, applier: JoinHandle<()>, end: End<S>) {
        let reason = self.turns().await;
        let node = self.core.status().node;
        match &reason {
            StopReason::Shutdown => tracing::info!(%node, "the node stops"),
            reason => tracing::error!(%node, %reason, "the node stops"),
        }
        end.close();
        self.links.stop();
        // Who waits for a proposal or a read hears of the end by the loss of its sender.
        let Self { disk, links, jobs, proposals, reads, status, .. } = self;
        drop((links, jobs, proposals, reads, status));
        let released = disk.release();
        let settled = async {
            let _ = applier.await;
            let _ = released.await;
        };
        if timeout(STOP_WAIT_MAX, settled).await.is_err() {
            tracing::error!(%node, "the storage or the state machine did not come to an end in time");
        }
        end.tell(reason);
    }

    /// Turns until there is a reason to stop: take all that has come in, carry out all that comes of it.
    async fn turns(&mut self) -> StopReason {
        let mut batch = Batch::default();
        let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn(&mut batch)));
            match turn {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(reason)) => return reason,
                Err(payload) => return StopReason::Bug(panic_text(payload.as_ref())),
            }
            self.sleep(alarm.as_mut()).await;
            // Whoever is about to put something in, too, does so before the batch is taken: larger batches
            // cost less than the yield.
            tokio::task::yield_now().await;
            self.mailbox.take(&mut batch);
        }
    }

    /// Until something has come in, or the core's deadline.
    async fn sleep(&mut self, mut alarm: Pin<&mut Sleep>) {
        let deadline = self.core.deadline().map(|deadline| self.clock.instant(deadline));
        // An alarm that is early does no harm, and setting one costs more: a deadline that moves on, as it
        // does at each heartbeat, leaves it as it is until it has rung.
        if let Some(deadline) = deadline {
            if alarm.is_elapsed() || deadline < alarm.deadline() {
                alarm.as_mut().reset(deadline);
            }
        }
        poll_fn(|cx| {
            if self.mailbox.poll_ready(cx).is_ready() {
                return Poll::Ready(());
            }
            if deadline.is_none() { Poll::Pending } else { alarm.as_mut().poll(cx) }
        })
        .await;
    }

    fn turn(&mut self, batch: &mut Batch<S>) -> ControlFlow<StopReason> {
        let now = self.clock.now();
        for input in batch.completions.drain(..) {
            self.core.handle(now, input);
        }
        for (from, message) in batch.messages.drain(..) {
            self.core.handle(now, Input::Message { from, message });
        }
        for request in batch.requests.drain(..) {
            self.request(request);
        }
        // Last: a heartbeat that waited in the inbox while the process was stalled still counts.
        if self.core.deadline().is_some_and(|deadline| deadline <= now) {
            self.core.handle(now, Input::Deadline);
        }
        self.outputs()?;
        let status = self.core.status();
        self.status.send_if_modified(|told| {
            let changed = *told != status;
            *told = status;
            changed
        });
        batch.stop.take().map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    fn request(&mut self, request: Request<S>) {
        let now = self.clock.last();
        match request {
            Request::Propose { command, reply } => {
                let id = ProposalId(self.proposals.insert(reply));
                self.core.handle(now, Input::Propose { id, command });
            }
            Request::Read(job) => {
                let id = ReadId(self.reads.insert(job));
                self.core.handle(now, Input::Read { id });
            }
            Request::Local(job) => self.ask(Job::Read(job)),
        }
    }

    /// Carries out all that the core wants, and what comes of it in place.
    fn outputs(&mut self) -> ControlFlow<StopReason> {
        loop {
            while let Some(output) = self.core.poll() {
                self.output(output);
            }
            let (core, now, mut done) = (&mut self.core, self.clock.last(), false);
            let flushed = self.disk.flush(|input| {
                core.handle(now, input);
                done = true;
            });
            if let Err(reason) = flushed {
                return ControlFlow::Break(reason);
            }
            if !done {
                return ControlFlow::Continue(());
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { to, message } => self.links.send(to, message),
            Output::Persist(write) => self.disk.push(DiskJob::Write(write)),
            Output::Load(request) => self.disk.push(DiskJob::Load(request)),
            Output::LoadSnapshot { to, offset, max_bytes } => {
                self.disk.push(DiskJob::LoadSnapshot { to, offset, max_bytes });
            }
            Output::Apply(batch) => {
                let answerable = batch.into_iter().map(|committed| {
                    let reply = committed.proposal.and_then(|id| self.proposals.remove(id.0));
                    (committed, reply)
                });
                let job = Job::Apply(answerable.collect());
                self.ask(job);
            }
            Output::Restore(meta) => {
                let (reply, snapshot) = oneshot::channel();
                self.disk.push(DiskJob::Restore(reply));
                self.ask(Job::Restore(meta, snapshot));
            }
            Output::TakeSnapshot { last } => self.ask(Job::TakeSnapshot(last)),
            Output::ProposalFailed { id, error } => {
                if let Some(reply) = self.proposals.remove(id.0) {
                    reply.send(Err(error));
                }
            }
            Output::ReadReady { id } => {
                if let Some(job) = self.reads.remove(id.0) {
                    self.ask(Job::Read(job));
                }
            }
            Output::ReadFailed { id, error } => {
                if let Some(job) = self.reads.remove(id.0) {
                    job(Err(error));
                }
            }
            Output::Event(event) => self.trace(event),
        }
    }

    /// If the state machine's task has gone, it has asked for the stop that follows; the job's waiters hear of
    /// it by the loss of their senders.
    fn ask(&self, job: Job<S>) {
        let _ = self.jobs.send(job);
    }

    fn trace(&self, event: Event) {
        let node = self.core.status().node;
        match event {
            Event::LeaderChanged { term, leader: Some(leader) } => {
                tracing::info!(%node, term, %leader, "a leader is known");
            }
            Event::LeaderChanged { term, leader: None } => tracing::info!(%node, term, "no leader is known"),
            Event::SnapshotInstalled { last } => tracing::info!(%node, %last, "a snapshot was installed"),
            Event::StoreChanged { node: voter, known, now } => {
                tracing::warn!(%node, %voter, %known, %now, "a voter's disk was wiped: its votes don't count");
            }
            Event::Committed { .. } => {}
            event => tracing::debug!(%node, ?event),
        }
    }
}

/// Says how a node ended, however it does.
struct End<S: StateMachine> {
    mailbox: Arc<Mailbox<S>>,
    ended: watch::Sender<Option<StopReason>>,
}

impl<S: StateMachine> End<S> {
    /// Refuses what comes from now on, and answers what had not been looked at: it had no effect.
    fn close(&self) {
        for request in self.mailbox.close().requests {
            match request {
                Request::Propose { reply, .. } => reply.send(Err(ProposeError::NotRunning)),
                Request::Read(job) | Request::Local(job) => job(Err(ReadError::Stopped)),
            }
        }
    }

    fn tell(&self, reason: StopReason) {
        self.ended.send_replace(Some(reason));
    }
}

impl<S: StateMachine> Drop for End<S> {
    fn drop(&mut self) {
        if self.ended.borrow().is_none() {
            self.close();
            self.tell(StopReason::Runtime);
        }
    }
}

/// How long a node that stops waits for a storage call or an apply under way to come to an end.
pub(crate) const STOP_WAIT_MAX: Duration = Duration::from_secs(10);
