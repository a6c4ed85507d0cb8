//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

/// A replicated key-value store of several processes on this machine, which any Redis client can talk to.
#[derive(Debug, Parser)]
#[command(name = "cluster", args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What the program is started with by itself.
    #[command(subcommand)]
    pub internal: Option<Internal>,
    /// What people start it with.
    #[command(flatten)]
    pub options: Options,
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or the help that was asked for.
    pub fn read<T: Into<OsString> + Clone>(args: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(args)?;
        let Options { cycles, restart_after, .. } = &cli.options;
        if cycles.is_some() && *restart_after == Some(RestartAfter::Never) {
            let why = "the cycles wait until killed nodes are back: \
                       --cycles can't be used with --restart-after never";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, why));
        }
        Ok(cli)
    }
}

/// The program as its own child.
#[derive(Debug, Subcommand)]
pub enum Internal {
    /// One node. It takes orders on its standard input and ends with it.
    #[command(hide = true)]
    Node(NodeOptions),
}

/// How the cluster is run.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// How many nodes, 1 to 9 [default: 3, or as many as the data directory has]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=9))]
    pub nodes: Option<u64>,
    /// Where the data is kept [default: a temporary directory that is removed at the end]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// When a node that died is started again: a time as 2s or 500ms, or never [default: 2s]
    #[arg(long, value_name = "TIME")]
    pub restart_after: Option<RestartAfter>,
    /// Show what the cluster is for: load it, kill the leader, look whether anything was lost
    #[arg(long, conflicts_with = "cycles")]
    pub tour: bool,
    /// What the tour and the cycles load: the lines of this file [default: the packages of Cargo.lock]
    #[arg(long)]
    pub load: Option<PathBuf>,
    /// Kill random nodes this many times under load, then look whether anything was lost
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub cycles: Option<u32>,
    /// What chance does in the cycles [default: drawn]
    #[arg(long)]
    pub seed: Option<u64>,
    /// A tour of a few seconds, for tests
    #[arg(long, hide = true)]
    pub short: bool,
}

/// How one node is run.
#[derive(Clone, Debug, Args)]
pub struct NodeOptions {
    /// The node's number.
    #[arg(long)]
    pub id: u64,
    /// The cluster's name, in hexadecimal.
    #[arg(long)]
    pub cluster: String,
    /// The node's own directory.
    #[arg(long)]
    pub dir: PathBuf,
    /// The port for Redis clients, if it is free; otherwise the system chooses.
    #[arg(long, default_value_t = 0)]
    pub redis_port: u16,
    /// Founds the cluster with the nodes from 1 to this.
    #[arg(long)]
    pub bootstrap: Option<u64>,
}

/// When a node that died is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartAfter {
    /// After this time.
    After(Duration),
    /// Not by itself.
    Never,
}

impl FromStr for RestartAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
        let split = units.iter().find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, millis)));
        let (number, millis) = split.ok_or("give a time with its unit, as 500ms, 2s or 1m, or never")?;
        let number: u64 = number.trim().parse().map_err(|_| format!("{number:?} is not a whole number"))?;
        let millis = number.checked_mul(*millis).filter(|millis| *millis <= DAY_MILLIS);
        Ok(Self::After(Duration::from_millis(millis.ok_or("a day is the longest time")?)))
    }
}

const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_units() {
        let after = |millis| Ok(RestartAfter::After(Duration::from_millis(millis)));
        assert_eq!("2s".parse(), after(2000));
        assert_eq!("500ms".parse(), after(500));
        assert_eq!("1m".parse(), after(60_000));
        assert_eq!("never".parse(), Ok(RestartAfter::Never));
        for wrong in ["", "2", "s", "-1s", "1.5s", "99999999999999999999s", "25000000000000m", "1441m"] {
            assert!(wrong.parse::<RestartAfter>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tour_and_cycles_exclude_each_other() {
        assert!(Cli::try_parse_from(["cluster", "--tour", "--cycles", "3"]).is_err());
        assert!(Cli::try_parse_from(["cluster", "--cycles", "0"]).is_err());
        assert!(Cli::try_parse_from(["cluster", "--nodes", "10"]).is_err());
    }

    #[test]
    fn cycles_without_restarts_are_refused() {
        let error = Cli::read(["cluster", "--cycles", "3", "--restart-after", "never"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--restart-after never"), "{error}");
        assert!(Cli::read(["cluster", "--cycles", "3", "--restart-after", "1s"]).is_ok());
        assert!(Cli::read(["cluster", "--restart-after", "never"]).is_ok());
    }
}
