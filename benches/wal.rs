//! Appends batches of records, durable each batch, beside okaywal and redb in the same run, in turns.
//!
//! Wall time, since waiting for the device is the point. The files lie beside the build's, on a real disk:
//! a memory file system has no syncs to wait for. In the environment, `SCRATCH` names another directory,
//! and `TURNS` and `BATCHES` change how long it runs.

use std::path::Path;
use std::time::Instant;

use okaywal::{LogVoid, WriteAheadLog};
use quorate_benches::{Better, Row, geometric_mean, median};
use quorate_wal::{Log, StreamId};
use redb::{Database, Durability, TableDefinition};

type Failure = Box<dyn std::error::Error>;

/// A durable log under test.
trait Engine {
    /// Appends `batch` records of `record` and returns when they are durable.
    fn append(&mut self, batch: usize, record: &[u8]) -> Result<(), Failure>;

    /// Forgets what was appended, between turns, as raft does behind a snapshot.
    fn forget(&mut self) -> Result<(), Failure>;
}

struct Ours(Log);

const STREAM: StreamId = StreamId::new(1);

impl Engine for Ours {
    fn append(&mut self, batch: usize, record: &[u8]) -> Result<(), Failure> {
        let next = self.0.range(STREAM).end;
        for index in next..next + batch as u64 {
            self.0.append(STREAM, index, record)?;
        }
        Ok(self.0.commit()?)
    }

    fn forget(&mut self) -> Result<(), Failure> {
        self.0.remove_prefix(STREAM, self.0.range(STREAM).end)?;
        Ok(self.0.maintain()?)
    }
}

struct OkayWal(WriteAheadLog);

impl Engine for OkayWal {
    fn append(&mut self, batch: usize, record: &[u8]) -> Result<(), Failure> {
        let mut entry = self.0.begin_entry()?;
        for _ in 0..batch {
            entry.write_chunk(record)?;
        }
        entry.commit()?;
        Ok(())
    }

    fn forget(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

struct Redb {
    database: Database,
    next: u64,
}

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

impl Engine for Redb {
    fn append(&mut self, batch: usize, record: &[u8]) -> Result<(), Failure> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for _ in 0..batch {
                table.insert(self.next, record)?;
                self.next += 1;
            }
        }
        Ok(transaction.commit()?)
    }

    fn forget(&mut self) -> Result<(), Failure> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(TABLE)?.retain(|_, _| false)?;
        Ok(transaction.commit()?)
    }
}

/// Opens the engines and brings them past their first, growing files.
fn engines(directory: &Path) -> Result<[Box<dyn Engine>; 3], Failure> {
    let mut ours = Ours(Log::open(directory.join("ours"))?);
    ours.0.reset(STREAM, 1)?;
    // As large files as ours, with room left so that none has to grow, and a buffer for a whole batch.
    let okaywal = okaywal::Configuration::default_for(directory.join("okaywal"))
        .preallocate_bytes(SEGMENT)
        .checkpoint_after_bytes(u64::from(SEGMENT) - (1 << 20))
        .buffer_bytes(128 << 10)
        .open(LogVoid)?;
    let database = Database::create(directory.join("redb"))?;
    let mut engines: [Box<dyn Engine>; 3] =
        [Box::new(ours), Box::new(OkayWal(okaywal)), Box::new(Redb { database, next: 0 })];
    for engine in &mut engines {
        for _ in 0..WARM_UP {
            engine.append(256, &[0; RECORD])?;
        }
        engine.forget()?;
    }
    Ok(engines)
}

/// Microseconds a batch: the median of one turn, since on a busy machine the mean tells of the neighbours.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn turn(engine: &mut dyn Engine, batch: usize, batches: usize) -> Result<f64, Failure> {
    let record: Vec<u8> = (0..RECORD).map(|byte| (byte * 31) as u8).collect();
    let mut micros = Vec::with_capacity(batches);
    for _ in 0..batches {
        let start = Instant::now();
        engine.append(batch, &record)?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    engine.forget()?;
    Ok(median(micros))
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() -> Result<(), Failure> {
    let (turns, batches) = (setting("TURNS", 11).max(5), setting("BATCHES", 150).max(1));
    let parent = std::env::var("SCRATCH").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
    let scratch = tempfile::tempdir_in(parent)?;
    let mut engines = engines(scratch.path())?;
    let mut ratios = [Vec::new(), Vec::new()];
    for batch in [1, 16, 64, 256] {
        let mut figures = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..turns {
            // Each turn another engine starts, so that none always follows the same neighbour.
            for step in 0..engines.len() {
                let at = (round + step) % engines.len();
                figures[at].push(turn(engines[at].as_mut(), batch, batches)?);
            }
        }
        let [ours, peers @ ..] = figures.map(median);
        for (at, peer) in peers.into_iter().enumerate() {
            let row = row(&format!("batch={batch}"), ours, peer, at, "us/batch");
            ratios[at].push(row.ratio());
            println!("{row}");
        }
    }
    for (at, ratios) in ratios.iter().enumerate() {
        println!("{}", row("geometric_mean", 1.0, geometric_mean(ratios), at, "ours"));
    }
    Ok(())
}

fn row(case: &str, ours: f64, peer: f64, at: usize, unit: &'static str) -> Row {
    let (peer_name, goal) = PEERS[at];
    Row { name: format!("wal/append/{case}"), ours, peer, peer_name, unit, better: Better::Lower, goal }
}

/// The goals are for the geometric mean over the batches: a single record is nothing but the sync, which
/// costs all of them the same.
const PEERS: [(&str, f64); 2] = [("okaywal-0.3.1", 1.0), ("redb-4.5.0", 3.0)];
const RECORD: usize = 256;
const WARM_UP: usize = 400;
const SEGMENT: u32 = 64 << 20;
