use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::mailbox::Mailbox;
use super::stop::{StopReason, panic_text};
use super::work::{Answerable, Job};
use crate::core::Input;
use crate::entry::{EntryPayload, Index};
use crate::state_machine::{Command, StateMachine};
use crate::storage::{Snapshot, SnapshotMeta, StorageError};

/// The state machine's task: applies, reads and snapshots happen here, in the order in which the core asks.
///
/// A batch is applied on the task itself, which costs no change of thread; the core bounds its bytes. Taking
/// and restoring snapshots, which last as long as the state is large, go to the runtime's blocking pool.
///
/// It ends when the core's task has gone and all that was asked is done, or when the state machine fails.
pub(crate) async fn run<S: StateMachine>(
    machine: S,
    jobs: mpsc::UnboundedReceiver<Job<S>>,
    mailbox: Arc<Mailbox<S>>,
) {
    let mut served = pin!(serve(machine, jobs, &mailbox));
    // What the application calls its own is dropped in many places. A panic in one of them that went past
    // here would take this task away without a word, and the node would wait for it for ever.
    let served = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| served.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(payload) => Poll::Ready(Err(panicked(payload.as_ref()))),
    });
    if let Err(reason) = served.await {
        mailbox.stop(reason);
    }
}

async fn serve<S: StateMachine>(
    mut machine: S,
    mut jobs: mpsc::UnboundedReceiver<Job<S>>,
    mailbox: &Mailbox<S>,
) -> Result<(), StopReason> {
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Apply(batch) => {
                let applied = apply(&mut machine, batch)?;
                mailbox.push_completion(Input::Applied(applied));
            }
            Job::Read(read) => read(Ok(&machine)),
            Job::TakeSnapshot(last) => {
                let data;
                (machine, data) = aside(machine, |machine| Ok(machine.snapshot())).await?;
                mailbox.push_completion(Input::SnapshotTaken { last, data });
            }
            Job::Restore(meta, snapshot) => {
                let Some(snapshot) = await_snapshot(&meta, snapshot).await? else { return Ok(()) };
                let applied = snapshot.meta.last.index;
                let data = snapshot.data;
                (machine, ()) = aside(machine, |machine| {
                    machine.restore(data).map_err(|error| StopReason::StateMachine(error.to_string()))
                })
                .await?;
                mailbox.push_completion(Input::Applied(applied));
            }
        }
        // The core's task may share this one's thread: let it have its turn between two batches.
        tokio::task::consume_budget().await;
    }
    Ok(())
}

/// Applies a batch and answers who waits. The index up to which all is applied.
fn apply<S: StateMachine>(machine: &mut S, batch: Vec<Answerable<S>>) -> Result<Index, StopReason> {
    let mut commands = Vec::with_capacity(batch.len());
    let mut replies = Vec::with_capacity(batch.len());
    let mut applied = 0;
    let responses = guarded(|| {
        for (committed, reply) in batch {
            applied = committed.id.index;
            if let EntryPayload::Command(bytes) = committed.payload {
                // What arrived is a slice of a whole message or read, all of which a state machine that kept
                // the command would keep.
                let command = S::Command::decode(Bytes::copy_from_slice(&bytes));
                let at = |error| StopReason::StateMachine(format!("entry {}: {error}", committed.id));
                commands.push(command.map_err(at)?);
                replies.push(reply);
            }
        }
        Ok(if commands.is_empty() { Vec::new() } else { machine.apply(commands) })
    })?;
    if responses.len() != replies.len() {
        let (responses, commands) = (responses.len(), replies.len());
        let text = format!("apply gave {responses} responses for {commands} commands");
        return Err(StopReason::StateMachine(text));
    }
    let mut answered = Ok(());
    for (reply, response) in replies.into_iter().zip(responses) {
        // A response for which nobody waits is dropped here. Each by itself, because a second that panicked
        // while the first did would end the process.
        let sent = guarded(|| {
            match reply {
                Some(reply) => reply.send(Ok(response)),
                None => drop(response),
            }
            Ok(())
        });
        answered = answered.and(sent);
    }
    answered.map(|()| applied)
}

/// The snapshot to restore; `None` if the storage has gone, whose own failure is then the reason to stop.
async fn await_snapshot(
    meta: &SnapshotMeta,
    snapshot: oneshot::Receiver<Result<Option<Snapshot>, StorageError>>,
) -> Result<Option<Snapshot>, StopReason> {
    let Ok(loaded) = snapshot.await else { return Ok(None) };
    let covers = |snapshot: &Snapshot| snapshot.meta.last.index >= meta.last.index;
    match loaded?.filter(covers) {
        Some(snapshot) => Ok(Some(snapshot)),
        None => Err(StorageError::Damaged(format!("the snapshot as of {} is not there", meta.last)).into()),
    }
}

/// Does something long with the state machine on a thread that may block, and takes it back.
async fn aside<S: StateMachine, R: Send + 'static>(
    mut machine: S,
    work: impl FnOnce(&mut S) -> Result<R, StopReason> + Send + 'static,
) -> Result<(S, R), StopReason> {
    let task = spawn_blocking(move || {
        let result = guarded(|| work(&mut machine))?;
        Ok((machine, result))
    });
    task.await.unwrap_or_else(|error| {
        // Panics at work are caught inside; one in the drop of a state machine that has failed is not.
        Err(error.try_into_panic().map_or(StopReason::Runtime, |payload| panicked(payload.as_ref())))
    })
}

fn guarded<R>(work: impl FnOnce() -> Result<R, StopReason>) -> Result<R, StopReason> {
    let caught = catch_unwind(AssertUnwindSafe(work));
    caught.unwrap_or_else(|payload| Err(panicked(payload.as_ref())))
}

fn panicked(payload: &(dyn Any + Send)) -> StopReason {
    StopReason::StateMachine(panic_text(payload))
}
