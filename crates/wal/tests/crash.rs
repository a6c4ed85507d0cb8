//! What survives a crash: everything that was synced, and a prefix of the rest.

mod oracle;

use oracle::{Change, Model, contents};
use quorate_core::Rng;
use quorate_wal::{Config, CrashFates, Error, Log, SimulatedDisk, StreamId, Tear};

fn config() -> Config {
    Config { spare_segments: 1, ..Config::with_segment_bytes(4096) }
}

/// What happened up to the moment the disk stopped.
struct Run {
    /// The model before the first change and after each.
    history: Vec<Model>,
    /// How much of the history was synced, and how much was handed to the disk.
    synced: usize,
    written: usize,
    /// The sealed file as it was acknowledged, and as it may be.
    sealed: Vec<Option<Vec<u8>>>,
    finished: bool,
}

impl Run {
    fn check(&self, disk: &SimulatedDisk, context: &str) -> Log<SimulatedDisk> {
        let log = match Log::with_disk(disk.clone(), config()) {
            Ok(log) => log,
            Err(error) => panic!("{context}: the log does not open: {error}"),
        };
        let found = contents(&log).unwrap_or_else(|error| panic!("{context}: {error}"));
        let allowed = &self.history[self.synced..=self.written];
        assert!(
            allowed.contains(&found),
            "{context}: not a state from {} to {}; in all history at {:?}\nfound {found:?}\nlast synced {:?}",
            self.synced,
            self.written,
            self.history.iter().position(|model| *model == found),
            self.history[self.synced],
        );
        let sealed = log.read_sealed("snapshot").unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(self.sealed.contains(&sealed.map(|bytes| bytes.to_vec())), "{context}: the sealed file");
        log
    }
}

fn run(disk: &SimulatedDisk, seed: u64, rounds: usize) -> Run {
    let mut run =
        Run { history: vec![Model::new()], synced: 0, written: 0, sealed: vec![None], finished: false };
    run.finished = drive(disk, seed, rounds, &mut run).is_ok();
    run
}

fn drive(disk: &SimulatedDisk, seed: u64, rounds: usize, run: &mut Run) -> Result<(), Error> {
    let mut rng = Rng::from_seed(seed);
    let mut log = Log::with_disk(disk.clone(), config())?;
    for index in 1..4 {
        let change = Change::Append(LAGGARD, index, vec![index as u8; 150]);
        change.stage(&mut log)?;
        run.history.extend(change.apply(run.history.last().expect("it starts with one")));
    }
    for round in 0..rounds {
        for _ in 0..rng.index(6) {
            let change = Change::draw(&mut rng, run.history.last().expect("it starts with one"), 4, 1000);
            change.stage(&mut log)?;
            let steps = change.apply(run.history.last().expect("it starts with one"));
            run.history.extend(steps);
        }
        run.written = run.history.len() - 1;
        log.write()?;
        if rng.chance(600_000) {
            log.sync()?;
            run.synced = run.written;
        }
        if round % 7 == 3 {
            log.maintain()?;
            run.synced = run.written;
        }
        if round % 11 == 5 {
            let snapshot = vec![round as u8; 700];
            run.sealed.push(Some(snapshot.clone()));
            log.write_sealed("snapshot", &snapshot)?;
            run.sealed = vec![Some(snapshot)];
        }
        if round % 13 == 12 {
            drop(log);
            log = Log::with_disk(disk.clone(), config())?;
            run.synced = run.written;
        }
    }
    log.close()?;
    run.synced = run.written;
    Ok(())
}

#[test]
fn every_write_boundary_and_fate_leaves_a_synced_prefix() {
    for seed in [1, 2] {
        let whole = SimulatedDisk::new(seed);
        assert!(run(&whole, seed, ROUNDS).finished);
        assert!(newest_segment(&whole) > 25, "the workload is too small to recycle segments");
        for boundary in 0..whole.operations() {
            let disk = SimulatedDisk::new(seed);
            disk.stop_after(boundary);
            let run = run(&disk, seed, ROUNDS);
            assert!(!run.finished);
            for fate in 0..4 {
                let context = format!("seed {seed}, stopped after {boundary}, fate {fate}");
                check_fate(&disk.fork(fate), &run, fate, &context);
            }
        }
    }
}

/// Crashes, reopens, writes something shorter over the torn tail, crashes again.
fn check_fate(disk: &SimulatedDisk, run: &Run, fate: u64, context: &str) {
    disk.set_tear(if fate % 2 == 0 { Tear::Sector } else { Tear::Byte });
    disk.crash(CrashFates::Random);
    let mut log = run.check(disk, context);
    let mut model = contents(&log).expect("it was read before");
    let (extra, unsynced) = (StreamId::new(77), StreamId::new(78));
    log.append(extra, 5, b"short").expect("a new stream");
    log.commit().expect("the disk works");
    log.append(unsynced, 1, b"unsynced").expect("a new stream");
    log.write().expect("the disk works");
    disk.crash(CrashFates::LoseAll);
    let log =
        Log::with_disk(disk.clone(), config()).unwrap_or_else(|error| panic!("{context}, again: {error}"));
    let stream = model.entry(77).or_default();
    (stream.first, stream.records) = (Some(5), vec![b"short".to_vec()]);
    let mut found = contents(&log).expect("it opens");
    // The end of a segment may have come in between, and with it a sync.
    found.remove(&unsynced.get());
    assert_eq!(found, model, "{context}, again");
}

/// The number of the newest segment, from the headers.
fn newest_segment(disk: &SimulatedDisk) -> u32 {
    let segments = disk.names().into_iter().filter(|name| name.ends_with(".segment"));
    let numbers = segments.filter_map(|name| {
        let bytes = disk.contents(&name)?;
        Some(u32::from_le_bytes(bytes[32..36].try_into().ok()?))
    });
    numbers.max().unwrap_or(0)
}

#[test]
fn power_that_fails_while_a_crash_is_repaired_changes_nothing() {
    let disk = SimulatedDisk::new(3);
    disk.stop_after(150);
    let run = run(&disk, 3, ROUNDS);
    for fate in 0..40 {
        let disk = disk.fork(fate);
        disk.crash(CrashFates::Random);
        for step in 0.. {
            let disk = disk.fork(1000 + fate);
            disk.stop_after(disk.operations() + step);
            let opened = Log::with_disk(disk.clone(), config()).is_ok();
            disk.crash(CrashFates::Random);
            run.check(&disk, &format!("fate {fate}, repair stopped after {step}"));
            if opened {
                break;
            }
        }
    }
}

#[test]
fn many_seeds_survive_random_crashes_one_after_another() {
    for seed in 100..160 {
        let disk = SimulatedDisk::new(seed);
        let mut rng = Rng::from_seed(seed);
        disk.stop_after(50 + rng.range(0..500));
        let run = run(&disk, seed, ROUNDS);
        disk.set_tear(if rng.chance(500_000) { Tear::Byte } else { Tear::Sector });
        disk.crash(CrashFates::Random);
        run.check(&disk, &format!("seed {seed}"));
    }
}

#[test]
fn a_log_that_forgets_its_sync_is_found_out() {
    let lost = (0..20).any(|seed| {
        let disk = SimulatedDisk::new(seed);
        let mut log = Log::with_disk(disk.clone(), config()).expect("a new log");
        disk.lie_about_syncs(true);
        for index in 1..20 {
            log.append(StreamId::new(1), index, &[7; 100]).expect("contiguous");
            log.commit().expect("the lie");
        }
        disk.lie_about_syncs(false);
        disk.crash(CrashFates::Random);
        match Log::with_disk(disk, config()) {
            Ok(log) => log.range(StreamId::new(1)) != (1..20),
            Err(_) => true,
        }
    });
    assert!(lost, "the simulated disk never showed that nothing was synced");
}

#[test]
fn stale_bytes_behind_a_torn_group_never_come_back() {
    // Groups a (torn) and b (whole) are unsynced. After the cut, a group as long as a is written in its
    // place: b then stands where the next group would be.
    let stream = StreamId::new(1);
    for fate in 0..200 {
        let disk = SimulatedDisk::new(fate);
        let mut log = Log::with_disk(disk.clone(), config()).expect("a new log");
        log.append(stream, 1, b"synced").expect("contiguous");
        log.commit().expect("the disk works");
        for index in 2..6 {
            log.append(stream, index, &[index as u8; 44]).expect("contiguous");
            log.write().expect("the disk works");
        }
        disk.set_tear(Tear::Byte);
        disk.crash(CrashFates::Random);
        let mut log = Log::with_disk(disk.clone(), config()).expect("torn, not damaged");
        let next = log.range(stream).end;
        log.append(stream, next, &[next as u8; 44]).expect("contiguous");
        log.commit().expect("the disk works");
        disk.crash(CrashFates::LoseAll);
        let log = Log::with_disk(disk, config()).expect("whole");
        assert_eq!(log.range(stream), 1..next + 1, "fate {fate}");
    }
}

#[test]
fn same_seed_gives_the_same_disk() {
    let image = |seed| {
        let disk = SimulatedDisk::new(seed);
        run(&disk, seed, 40);
        disk.crash(CrashFates::Random);
        disk.names().into_iter().map(|name| (disk.contents(&name), name)).collect::<Vec<_>>()
    };
    assert_eq!(image(9), image(9));
    assert_ne!(image(9), image(10));
}

const ROUNDS: usize = 120;
/// A stream whose records nobody removes, so that they move from segment to segment.
const LAGGARD: u64 = 50;
