//! The program.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Cli, Internal, NodeOptions, Options, RestartAfter};
use crate::console::Console;
use crate::directory::{Directory, DirectoryError};
use crate::node::{self, NodeError};
use crate::supervisor::{Cluster, ClusterError, Plan, Shutdown};
use crate::tour::{self, Report, TourError};

/// Runs the program with the process's arguments.
///
/// The exit code is 0 if everything went as it should, 1 if it didn't (something acknowledged was lost, a
/// node can't run), 2 for wrong arguments, 130 if a tour was interrupted or the end itself was.
pub fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    start_tracing();
    match cli.internal {
        Some(Internal::Node(options)) => run_node(options),
        None => run_cluster(cli.options),
    }
}

fn run_node(options: NodeOptions) -> ExitCode {
    let id = options.id;
    let run = || -> Result<(), NodeError> { node_runtime()?.block_on(node::run(options)) };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(format_args!("node {id}: {error}")),
    }
}

fn run_cluster(options: Options) -> ExitCode {
    let console = Console::default();
    let run = || -> Result<End, AppError> {
        parent_runtime().map_err(ClusterError::Io)?.block_on(supervise(options, &console))
    };
    match run() {
        Ok(End::Asked) => ExitCode::SUCCESS,
        Ok(End::Interrupted) => ExitCode::from(130),
        Ok(End::Reported(report)) => {
            console.line(&report);
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => fail(error),
    }
}

/// How a cluster came to its end.
enum End {
    /// Somebody asked it to stop, which is how a cluster ends.
    Asked,
    /// Somebody asked it to stop before its work was done, or asked twice.
    Interrupted,
    Reported(Report),
}

async fn supervise(options: Options, console: &Console) -> Result<End, AppError> {
    let mut signals = Signals::new().map_err(ClusterError::Io)?;

    let has_work = options.tour || options.cycles.is_some();
    let items =
        if has_work { tour::read(options.load.as_deref()).map_err(TourError::Input)? } else { Vec::new() };
    let directory = Directory::open(options.dir.as_deref(), options.nodes)?;
    if has_work && directory.nodes() < 3 {
        return Err(AppError::TooFew(directory.nodes()));
    }
    let seed = match options.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(|error| AppError::Random(error.to_string()))?,
    };
    let program = std::env::current_exe().map_err(ClusterError::Io)?;
    let plan = Plan { program, restart_after: restart_after(&options), console: console.clone() };
    let cluster = Cluster::start(directory, plan);

    let work = work(&cluster, &options, items, seed, console);
    let end = tokio::select! {
        end = work => end,
        () = signals.next() => Ok(None),
    };
    let shutdown = cluster.shutdown(signals.next()).await;
    Ok(match end? {
        Some(report) => End::Reported(report),
        None if has_work || shutdown == Shutdown::ByForce => End::Interrupted,
        None => End::Asked,
    })
}

/// What asks the program to end. Asked again, it ends at once.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// What the cluster was started for; without a tour or cycles it simply runs, for ever.
async fn work(
    cluster: &Cluster,
    options: &Options,
    items: Vec<tour::Item>,
    seed: u64,
    console: &Console,
) -> Result<Option<Report>, AppError> {
    // Keys and values of this run are told from those of earlier ones on the same data.
    let run = format!("{:08x}", getrandom::u32().map_err(|error| AppError::Random(error.to_string()))?);
    if let Some(count) = options.cycles {
        console.line(format_args!("seed={seed}"));
        return Ok(Some(tour::cycles(cluster, items, count, seed, run, console).await?));
    }
    if options.tour {
        let lasting = if options.short { SHORT } else { LONG };
        return Ok(Some(tour::tour(cluster, items, lasting, run, console).await?));
    }
    let view = cluster.whole().await?;
    if let Some((_, address)) = view.serving().first() {
        console.line(format_args!("redis-cli -p {}", address.port()));
    }
    // Only a failure ends it now.
    let mut view = cluster.watch();
    let failed = view.wait_for(|view| view.failure.is_some()).await.map_err(|_| ClusterError::Gone)?;
    Err(ClusterError::Failed(failed.failure.clone().unwrap_or_default()).into())
}

/// In cycles the restart is part of the work, and quick unless something else was asked for.
fn restart_after(options: &Options) -> RestartAfter {
    match (options.cycles, options.restart_after) {
        (Some(_), None) => RestartAfter::After(CYCLE_PAUSE),
        (None, None) if options.short => RestartAfter::After(SHORT_PAUSE),
        (None, None) => RestartAfter::After(PAUSE),
        (_, Some(given)) => given,
    }
}

/// A log for whoever sets QUORATE_LOG to error, warn, info, debug or trace; otherwise the program says only
/// what its output is. Installed here because this is the program: the crates never do.
fn start_tracing() {
    let level = std::env::var("QUORATE_LOG").ok().and_then(|level| level.parse::<tracing::Level>().ok());
    if let Some(level) = level {
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    }
}

/// Two threads, so that a state machine at a long batch doesn't keep the node from its heartbeats. One thread
/// is a tenth faster where three nodes share two cores, and would take that risk.
fn node_runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// The parent has only waiting to do, and in a tour the clients' part, which one thread can well bear.
fn parent_runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn fail(why: impl Display) -> ExitCode {
    // In one piece, because the nodes and their parent share the standard error; and as with every line,
    // nobody may be reading.
    let line = format!("error: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    ExitCode::FAILURE
}

/// Why the program can't do what it was asked to.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Tour(#[from] TourError),
    #[error("{0} nodes can't lose one: a tour and cycles need three")]
    TooFew(u64),
    #[error("no random bytes: {0}")]
    Random(String),
}

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_secs(2);
const SHORT_PAUSE: Duration = Duration::from_millis(500);
const CYCLE_PAUSE: Duration = Duration::from_millis(100);
