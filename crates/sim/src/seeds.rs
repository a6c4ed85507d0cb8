use std::any::Any;
use std::fmt;
use std::num::ParseIntError;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::swarm::Swarm;
use crate::trace::Trace;
use crate::violation::Violation;

/// Runs a scenario over many seeds, on all cores, and reports the lowest that fails.
///
/// The environment chooses the seeds: `QUORATE_SEED=17` one, with its events printed; `QUORATE_SEEDS=0..10000`
/// a range. `QUORATE_THREADS` bounds the threads and `QUORATE_LINES` the events that are printed (60 unless
/// told).
#[derive(Clone, Debug)]
pub struct Seeds {
    range: Range<u64>,
    replay: String,
    threads: usize,
    lines: usize,
    single: bool,
}

/// One run of a scenario.
#[derive(Debug)]
pub struct Run {
    /// What all draws come from.
    pub seed: u64,
    /// The run's options.
    pub swarm: Swarm,
    /// What happens.
    pub trace: Trace,
}

/// What the seeds came to when all passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many events they had together.
    pub events: u64,
    /// The sum of all trace hashes: the same for the same seeds.
    pub hash: u64,
}

/// A seed that failed, with all that is needed to look into it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The lowest seed that failed.
    pub seed: u64,
    /// What it broke.
    pub violation: Violation,
    /// The options that it drew.
    pub options: String,
    /// The last events, oldest first.
    pub lines: Vec<String>,
    /// The command that runs it again.
    pub replay: String,
    /// Whether a second run of the seed had the same trace. If not, the scenario is not deterministic, and
    /// that must be mended first.
    pub replayed: bool,
}

/// A variable of the environment that can't be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeedsError {
    /// Which.
    pub variable: &'static str,
    /// What it holds.
    pub value: String,
}

impl Seeds {
    /// The seeds that the environment names, or else `default`. `replay` is the command that runs the
    /// scenario, without the variable.
    ///
    /// # Errors
    ///
    /// A variable that is set and can't be read.
    pub fn from_env(default: Range<u64>, replay: impl Into<String>) -> Result<Self, SeedsError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut seeds =
            Self { range: default, replay: replay.into(), threads: cores, lines: 60, single: false };
        if let Some(range) = variable("QUORATE_SEEDS", parse_range)? {
            seeds.range = range;
        }
        if let Some(seed) = variable("QUORATE_SEED", |text| text.parse::<u64>())? {
            seeds.range = seed..seed.saturating_add(1);
            seeds.single = true;
        }
        if let Some(threads) = variable("QUORATE_THREADS", |text| text.parse::<usize>())? {
            seeds.threads = threads.max(1);
        }
        if let Some(lines) = variable("QUORATE_LINES", |text| text.parse::<usize>())? {
            seeds.lines = lines.max(1);
        }
        Ok(seeds)
    }

    /// These seeds, whatever the environment says, on one thread.
    pub fn exactly(range: Range<u64>, replay: impl Into<String>) -> Self {
        Self { range, replay: replay.into(), threads: 1, lines: 60, single: false }
    }

    /// The seeds to be run.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Runs the scenario for each seed. A panic within counts as a violation.
    ///
    /// # Errors
    ///
    /// The lowest seed that fails. Seeds above it may not have been run.
    pub fn run<S>(&self, scenario: S) -> Result<Summary, Box<Failure>>
    where
        S: Fn(&mut Run) -> Result<(), Violation> + Sync,
    {
        let next = AtomicU64::new(self.range.start);
        let lowest = AtomicU64::new(u64::MAX);
        let found: Mutex<(Summary, Option<Found>)> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.range.end || seed > lowest.load(Ordering::Relaxed) {
                            return;
                        }
                        let (run, result) = once(&scenario, seed, 0);
                        let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        found.0.seeds += 1;
                        found.0.events += run.trace.events();
                        found.0.hash = found.0.hash.wrapping_add(run.trace.hash());
                        if let Err(violation) = result {
                            lowest.fetch_min(seed, Ordering::Relaxed);
                            if found.1.as_ref().is_none_or(|before| seed < before.seed) {
                                found.1 = Some(Found { seed, violation, hash: run.trace.hash() });
                            }
                        }
                    }
                });
            }
        });
        let (summary, failed) = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        match failed {
            Some(found) => Err(Box::new(self.explain(&scenario, found))),
            None => Ok(summary),
        }
    }

    /// As [`run`](Seeds::run), for use in a test: prints what it ran.
    ///
    /// # Panics
    ///
    /// With the whole report, if a seed fails.
    pub fn check<S>(&self, scenario: S)
    where
        S: Fn(&mut Run) -> Result<(), Violation> + Sync,
    {
        match self.run(&scenario) {
            Ok(summary) => {
                if self.single {
                    let (run, _) = once(&scenario, self.range.start, self.lines);
                    println!("options: {}\n{}", run.swarm, run.trace.lines().join("\n"));
                }
                println!(
                    "seeds={}..{} run={} events={} hash={:016x}",
                    self.range.start, self.range.end, summary.seeds, summary.events, summary.hash
                );
            }
            Err(failure) => panic!("{failure}"),
        }
    }

    fn explain<S>(&self, scenario: &S, found: Found) -> Failure
    where
        S: Fn(&mut Run) -> Result<(), Violation>,
    {
        let (run, result) = once(scenario, found.seed, self.lines);
        Failure {
            seed: found.seed,
            replayed: result.as_ref() == Err(&found.violation) && run.trace.hash() == found.hash,
            violation: found.violation,
            options: run.swarm.to_string(),
            lines: run.trace.lines(),
            replay: format!("QUORATE_SEED={} {}", found.seed, self.replay),
        }
    }
}

struct Found {
    seed: u64,
    violation: Violation,
    hash: u64,
}

fn once<S>(scenario: &S, seed: u64, lines: usize) -> (Run, Result<(), Violation>)
where
    S: Fn(&mut Run) -> Result<(), Violation>,
{
    let mut run = Run { seed, swarm: Swarm::from_seed(seed), trace: Trace::new(lines) };
    // The run is only read after a panic, for what it says about how it came to that.
    let result = catch_unwind(AssertUnwindSafe(|| scenario(&mut run)))
        .unwrap_or_else(|panic| Err(Violation::new("nothing panics", panic_text(panic.as_ref()))));
    (run, result)
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").into()
}

fn variable<T, E>(
    variable: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, SeedsError> {
    let Some(value) = std::env::var_os(variable) else {
        return Ok(None);
    };
    let value = value.to_string_lossy().into_owned();
    parse(value.trim()).map(Some).map_err(|_| SeedsError { variable, value })
}

fn parse_range(text: &str) -> Result<Range<u64>, ParseIntError> {
    match text.split_once("..") {
        Some((start, end)) => Ok(start.trim().parse()?..end.trim().parse()?),
        None => Ok(0..text.parse()?),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} broke a promise\n", self.seed)?;
        writeln!(f, "  violated  {}", self.violation.invariant)?;
        writeln!(f, "  detail    {}", self.violation.detail)?;
        writeln!(f, "  options   {}", self.options)?;
        writeln!(f, "  replay    {}", self.replay)?;
        if !self.replayed {
            writeln!(f, "  WARNING   a second run of the seed went differently: it is not deterministic")?;
        }
        writeln!(f, "\nthe last {} events:", self.lines.len())?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for SeedsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: can't read {:?}; a number, or for QUORATE_SEEDS a range such as 0..1000",
            self.variable, self.value
        )
    }
}

impl std::error::Error for SeedsError {}
