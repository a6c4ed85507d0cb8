//! Clients that write without end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use quorate_core::Outcome;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, RedisError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::{connect, is_broken, outcome};
use super::input::Item;
use super::ledger::{Kind, Ledger, marked};
use crate::supervisor::View;

/// A load under way.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    clients: JoinSet<(usize, Ledger, Histogram<u64>)>,
}

/// What the load has come to.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The account of each client.
    pub ledgers: Vec<Ledger>,
    /// How long acknowledged writes took, in microseconds.
    pub latency: Histogram<u64>,
    /// How long it lasted.
    pub lasted: Duration,
    /// The longest time without an acknowledged write around the kill; to the end of the load, if none came.
    pub gap: Duration,
}

#[derive(Debug)]
struct Shared {
    items: Arc<[Item]>,
    run: String,
    started: Instant,
    view: watch::Receiver<View>,
    pulse: Mutex<Pulse>,
    // Items that were acknowledged at least once.
    covered: AtomicU64,
    acknowledged: AtomicU64,
    // The acknowledged increments of each client.
    increments: Vec<AtomicU64>,
}

impl Shared {
    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When writes were acknowledged.
#[derive(Debug)]
struct Pulse {
    last: Instant,
    killed: Option<Instant>,
    // Whether a write that was begun after the kill was acknowledged.
    resumed: bool,
    gap: Duration,
}

impl Pulse {
    const fn new(now: Instant) -> Self {
        Self { last: now, killed: None, resumed: false, gap: Duration::ZERO }
    }

    fn kill(&mut self, now: Instant) {
        (self.killed, self.resumed) = (Some(now), false);
    }

    /// A write was acknowledged.
    fn beat(&mut self, begun: Instant, now: Instant) {
        self.measure(now);
        self.resumed |= self.killed.is_some_and(|killed| begun > killed);
        self.last = self.last.max(now);
    }

    /// The load has ended: a gap that nothing has ended before counts as far as this. The gap.
    fn end(&mut self, now: Instant) -> Duration {
        self.measure(now);
        self.gap
    }

    fn measure(&mut self, now: Instant) {
        if self.killed.is_some_and(|killed| self.last < killed + GAP_WINDOW) {
            self.gap = self.gap.max(now.saturating_duration_since(self.last));
        }
    }
}

impl Load {
    /// Starts the clients, each on its share of the items, over and over, and each on a counter of its own.
    pub(super) fn start(items: Arc<[Item]>, run: String, view: watch::Receiver<View>) -> Self {
        let now = Instant::now();
        let shared = Arc::new(Shared {
            items,
            run,
            started: now,
            view,
            pulse: Mutex::new(Pulse::new(now)),
            covered: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            increments: (0..CLIENTS).map(|_| AtomicU64::new(0)).collect(),
        });
        let (stop, stopping) = watch::channel(false);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(Writer::new(number, shared.clone(), stopping.clone()).run());
        }
        Self { shared, stop, clients }
    }

    /// How long it has lasted.
    pub(super) fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// How many items were acknowledged at least once.
    pub(super) fn covered(&self) -> u64 {
        self.shared.covered.load(Ordering::Relaxed)
    }

    /// Whether a write that was begun after the last kill was acknowledged.
    pub(super) fn has_resumed(&self) -> bool {
        self.shared.pulse().resumed
    }

    /// How many writes were acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// The acknowledged increments of each client so far.
    pub(super) fn increments(&self) -> Vec<u64> {
        self.shared.increments.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }

    /// Tells that a node is being killed now: the gap is looked for from here on.
    pub(super) fn mark_kill(&self) {
        self.shared.pulse().kill(Instant::now());
    }

    /// Lets each client end the write it is at.
    pub(super) async fn finish(mut self) -> Loaded {
        self.stop.send_replace(true);
        let lasted = self.elapsed();
        let mut ledgers: Vec<Ledger> = (0..CLIENTS).map(|_| Ledger::default()).collect();
        let mut latency = histogram();
        while let Some(client) = self.clients.join_next().await {
            let (number, ledger, own) = client.expect("a client neither panics nor is aborted");
            ledgers[number] = ledger;
            latency += own;
        }
        let gap = self.shared.pulse().end(Instant::now());
        Loaded { ledgers, latency, lasted, gap }
    }
}

/// The counter of a client.
pub(super) fn counter(run: &str, client: usize) -> String {
    format!("counter:{run}:{client}")
}

/// One client.
struct Writer {
    number: usize,
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
    connection: Option<MultiplexedConnection>,
    // How often it looked for a node: it goes on to the next one each time.
    attempts: usize,
    ledger: Ledger,
    latency: Histogram<u64>,
}

impl Writer {
    fn new(number: usize, shared: Arc<Shared>, stopping: watch::Receiver<bool>) -> Self {
        let (ledger, latency) = (Ledger::default(), histogram());
        Self { number, shared, stopping, connection: None, attempts: number, ledger, latency }
    }

    async fn run(mut self) -> (usize, Ledger, Histogram<u64>) {
        let shared = self.shared.clone();
        let own = || shared.items.iter().enumerate().skip(self.number).step_by(CLIENTS);
        let counter = counter(&shared.run, self.number);
        let own: Vec<(usize, &Item)> = own().collect();
        // What was not acknowledged in one pass comes first in the next, until every item was.
        let mut round = own.clone();
        let mut pass = 0;
        while !*self.stopping.borrow() {
            pass += 1;
            for (item, content) in &round {
                self.write(Kind::Set { item: *item, pass }, &content.key, marked(content, &shared.run, pass))
                    .await;
                self.write(Kind::Increment, &counter, Vec::new()).await;
                if *self.stopping.borrow() {
                    break;
                }
            }
            // A client without items still counts.
            if own.is_empty() {
                self.write(Kind::Increment, &counter, Vec::new()).await;
            }
            round.retain(|(item, _)| !self.ledger.has(*item));
            if round.is_empty() {
                round.clone_from(&own);
            }
        }
        (self.number, self.ledger, self.latency)
    }

    /// One write, done once. Without a connection it waits for one, until the load is to stop.
    async fn write(&mut self, kind: Kind, key: &str, value: Vec<u8>) {
        let Some(mut connection) = self.connection().await else { return };
        let begun = Instant::now();
        let result: Result<(), RedisError> = match kind {
            Kind::Set { .. } => connection.set(key, value).await,
            Kind::Increment => connection.incr::<_, _, u64>(key, 1).await.map(drop),
        };
        let now = Instant::now();
        match result {
            Ok(()) => {
                if matches!(kind, Kind::Set { item, .. } if !self.ledger.has(item)) {
                    self.shared.covered.fetch_add(1, Ordering::Relaxed);
                }
                self.ledger.record(kind, Outcome::Done);
                self.latency.saturating_record((now - begun).as_micros() as u64);
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                if kind == Kind::Increment {
                    self.shared.increments[self.number].fetch_add(1, Ordering::SeqCst);
                }
                self.shared.pulse().beat(begun, now);
                self.connection = Some(connection);
            }
            Err(error) => {
                tracing::debug!(client = self.number, %error, "a write failed");
                self.ledger.record(kind, outcome(&error));
                if !is_broken(&error) {
                    self.connection = Some(connection);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// The connection, or a new one to the next node that serves.
    async fn connection(&mut self) -> Option<MultiplexedConnection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        while !*self.stopping.borrow() {
            let serving = self.shared.view.borrow().serving();
            if !serving.is_empty() {
                let (_, address) = serving[self.attempts % serving.len()];
                self.attempts += 1;
                if let Ok(connection) = connect(address, self.number % 2 == 1).await {
                    return Some(connection);
                }
            }
            sleep(PAUSE).await;
        }
        None
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3)
        .expect("the bounds and digits are constants in range")
}

/// How many clients there are, each with a connection of its own.
pub(super) const CLIENTS: usize = 16;
/// A gap belongs to the kill if it begins within this time after it, or spans it.
const GAP_WINDOW: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
const LATENCY_MICROS_MAX: u64 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_longest_gap_around_the_kill_counts() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        pulse.beat(start, start + ms(900));
        pulse.kill(start + ms(1000));
        pulse.beat(start + ms(1010), start + ms(1700));
        pulse.beat(start + ms(1700), start + ms(2000));
        // Long after the kill, it has another reason.
        pulse.beat(start + ms(2000), start + ms(6500));
        pulse.beat(start + ms(6500), start + ms(60_000));
        assert_eq!(pulse.end(start + ms(90_000)), ms(4500));
    }

    #[test]
    fn a_gap_that_nothing_ends_counts_to_the_end() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        pulse.beat(start, start + ms(900));
        pulse.kill(start + ms(1000));
        assert_eq!(pulse.end(start + ms(3900)), ms(3000));
        assert!(!pulse.resumed);
    }

    #[test]
    fn without_a_kill_there_is_no_gap() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        pulse.beat(start, start + ms(900));
        assert_eq!(pulse.end(start + ms(3900)), Duration::ZERO);
    }

    #[test]
    fn only_a_write_begun_after_the_kill_shows_that_writes_go_on() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        pulse.kill(start + ms(1000));
        pulse.beat(start + ms(999), start + ms(1001));
        assert!(!pulse.resumed, "it was under way");
        pulse.beat(start + ms(1001), start + ms(1300));
        assert!(pulse.resumed);
        pulse.kill(start + ms(2000));
        assert!(!pulse.resumed, "not after this one");
    }
}
