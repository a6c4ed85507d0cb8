use std::fmt;
use std::time::Duration;

use quorate_core::{NodeId, Rng, Time};

use crate::violation::Violation;

/// What a [`World`](crate::World) runs: a core, and around it whatever the core needs to live.
///
/// The three required methods are those of [`quorate_core::Core`], with the outside world as their
/// vocabulary: the world delivers messages and passed deadlines, and carries out what is polled. A disk, a
/// state machine or a client is simulated by the node itself, with tasks that it schedules for later.
///
/// A node must be deterministic: no clock, no thread, no iteration in hash order, no randomness but that
/// from [`Start::rng`].
pub trait Node {
    /// What nodes send each other.
    type Message: Clone + fmt::Debug;
    /// What a node does later, or is asked to do by the test: a finished write, a client's command.
    type Task: fmt::Debug;

    /// Takes one event in. `now` never goes back.
    fn handle(&mut self, now: Time, event: Event<Self>)
    where
        Self: Sized;

    /// The next thing to carry out, until `None`.
    fn poll(&mut self) -> Option<Action<Self>>
    where
        Self: Sized;

    /// When the node next wants [`Event::Deadline`].
    fn deadline(&self) -> Option<Time>;

    /// A hash of the node's state, mixed into the trace hash now and then. Zero by default, and then two runs
    /// are compared by their events alone.
    fn fingerprint(&self) -> u64 {
        0
    }

    /// Whether the node plays a part whose loss hurts most, such as a leader's: [`Victim::Prominent`] looks
    /// for it.
    ///
    /// [`Victim::Prominent`]: crate::Victim::Prominent
    fn prominent(&self) -> bool {
        false
    }

    /// One line that says what a message is, for the trace. It is cut at a hundred and some characters.
    fn describe(message: &Self::Message) -> String {
        format!("{message:?}")
    }
}

/// What happens to a node.
#[derive(Debug)]
pub enum Event<N: Node> {
    /// A message arrived.
    Message {
        /// From whom.
        from: NodeId,
        /// What.
        message: N::Message,
    },
    /// A task is due: one that the node scheduled by [`Action::After`], or one from the test.
    Task(N::Task),
    /// The node's deadline has passed.
    Deadline,
}

/// What a node wants done.
#[derive(Debug)]
pub enum Action<N: Node> {
    /// Send a message: it may be lost, doubled, delayed or overtaken.
    Send {
        /// To whom. A node that does not exist loses it.
        to: NodeId,
        /// What.
        message: N::Message,
    },
    /// Get the task back after a while, unless the node crashes before.
    After {
        /// How long: zero is later in the same instant.
        delay: Duration,
        /// What.
        task: N::Task,
    },
    /// The node ends itself, as after a failed write, and is started again after a while.
    Crash {
        /// How long it stays down.
        lasting: Duration,
    },
    /// End the run: the node has found a promise broken.
    Fail(Violation),
}

/// What a node is started from.
#[derive(Debug)]
pub struct Start<N> {
    /// Which node.
    pub node: NodeId,
    /// How often it has been started before: zero at first.
    pub life: u64,
    /// When.
    pub now: Time,
    /// The node as it was when it crashed. Only what would survive a crash may be taken from it.
    pub previous: Option<N>,
    /// A generator of its own.
    pub rng: Rng,
}
