//! Counts its own runs in a log: `cargo run --example hello_wal -- DIRECTORY`.

use quorate_wal::{Log, StreamId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = match std::env::args().nth(1) {
        Some(directory) => directory.into(),
        None => std::env::temp_dir().join("hello_wal"),
    };
    let mut log = Log::open(&directory)?;
    let runs = StreamId::new(1);

    let next = log.range(runs).end.max(1);
    log.append(runs, next, format!("run {next}, process {}", std::process::id()).as_bytes())?;
    log.remove_prefix(runs, next.saturating_sub(4).max(1))?;
    log.commit()?;

    for (_, payload) in log.read(runs, 0, u64::MAX, 1 << 20)? {
        println!("{}", String::from_utf8_lossy(&payload));
    }
    println!("kept in {}", directory.display());
    Ok(log.close()?)
}
