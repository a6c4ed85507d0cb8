use crate::Time;

/// A protocol as a value: inputs go in with the time, outputs are polled until there are none.
///
/// A core reads no clock, socket, file, environment or global generator; it never spawns and never awaits.
/// The same object therefore runs under an async runtime in production and under a simulated clock in tests,
/// thousands of times faster than real time.
///
/// The duties of whoever drives one:
///
/// 1. Call [`handle`](Core::handle) for each message, command and completion, with a time that never goes
///    back.
/// 2. After each `handle` (or several), call [`poll`](Core::poll) until it returns `None`, and carry out
///    every output in the order given.
/// 3. Call `handle` with the core's deadline input no later than [`deadline`](Core::deadline). A call that
///    comes early or late does no harm.
pub trait Core {
    /// What can happen to it: a message, a passed deadline, a command, a completion.
    type Input;
    /// What it wants done: send, persist, load, apply, tell.
    type Output;

    /// Takes one input in.
    fn handle(&mut self, now: Time, input: Self::Input);

    /// The next thing to do, until `None`.
    fn poll(&mut self) -> Option<Self::Output>;

    /// When it next wants to hear that time has passed; `None` if only other inputs can change anything.
    fn deadline(&self) -> Option<Time>;

    /// A hash of the state without times and generator, by which exploration tells states apart.
    fn fingerprint(&self) -> u64;
}
