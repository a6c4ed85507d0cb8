//! Files whose checksums hold, although no log wrote them: a typed error or a log that works, never a panic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it stands")]

use proptest::prelude::*;
use quorate_core::StoreId;
use quorate_wal::{Config, Error, Log, SimulatedDisk, StreamId};

const A: StreamId = StreamId::new(1);
const STORE: u128 = 0xfeed;

fn open(disk: &SimulatedDisk) -> Result<Log<SimulatedDisk>, Error> {
    let config = Config { store_id: Some(StoreId::new(STORE)), ..Config::with_segment_bytes(4096) };
    Log::with_disk(disk.clone(), config)
}

/// A log of several segments with records of all kinds, and the names of its segments, the newest last.
fn filled() -> (SimulatedDisk, Vec<String>) {
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk).unwrap();
    for index in 1..40 {
        log.append(A, index, &[index as u8; 300]).unwrap();
        log.set_state(StreamId::new(index), &[1; 20]).unwrap();
        log.remove_prefix(A, index.saturating_sub(20).max(1)).unwrap();
        log.commit().unwrap();
    }
    log.close().unwrap();
    let sequence = |name: &String| word(&disk.contents(name).unwrap(), 32);
    let mut names: Vec<_> = disk.names().into_iter().filter(|name| name.ends_with(".segment")).collect();
    names.sort_by_key(sequence);
    (disk, names)
}

/// A new log, and the name of its only segment.
fn untouched() -> (SimulatedDisk, Vec<String>) {
    let disk = SimulatedDisk::new(1);
    drop(open(&disk).unwrap());
    let names = disk.names().into_iter().filter(|name| name.ends_with(".segment")).collect();
    (disk, names)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: usize, value: u64, length: usize) {
    bytes[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
}

fn seal_header(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[12..64]);
    put(bytes, 8, crc.into(), 4);
}

/// Computes the checksums of the record at `at` and of the group around it anew.
fn seal_group(bytes: &mut [u8], group: usize) {
    let salt = crc32c::crc32c_append(crc32c::crc32c(&STORE.to_le_bytes()), &bytes[32..36]);
    let end = (group + 52).saturating_add(word(bytes, group + 40) as usize).min(bytes.len());
    let (mut at, mut digest) = (group + 52, 0);
    while at + 28 <= end {
        let next = (at + 28).saturating_add(word(bytes, at + 8) as usize);
        if next > end {
            break;
        }
        let crc = crc32c::crc32c_append(salt, &bytes[at + 4..next]);
        put(bytes, at, crc.into(), 4);
        digest = crc32c::crc32c_append(digest, &crc.to_le_bytes());
        at = next;
    }
    put(bytes, group + 48, digest.into(), 4);
    let crc = crc32c::crc32c_append(salt, &bytes[group + 4..group + 52]);
    put(bytes, group, crc.into(), 4);
}

/// Opens the disk and, if that is possible, uses the log for a while.
fn use_it(disk: &SimulatedDisk) -> Result<(), Error> {
    let mut log = open(disk)?;
    let other = StreamId::new(1 << 40);
    for _ in 0..40 {
        let next = log.range(other).end.max(1);
        log.append(other, next, &[1; 300])?;
        log.remove_prefix(other, next)?;
        log.commit()?;
    }
    for stream in log.streams().collect::<Vec<_>>() {
        let range = log.range(stream);
        log.read(stream, range.start, range.end, 1 << 20)?;
        log.remove_prefix(stream, range.end)?;
        log.reset(stream, range.start)?;
    }
    log.maintain()?;
    log.close()?;
    open(disk).map(|_| ())
}

/// Fields of a segment header, with their lengths.
const HEADER_FIELDS: [(usize, usize); 6] = [(32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4)];
/// Fields of a group header, then those of its first record.
const GROUP_FIELDS: [(usize, usize); 11] =
    [(8, 8), (16, 8), (24, 8), (32, 4), (36, 4), (40, 4), (44, 4), (56, 1), (60, 4), (64, 8), (72, 8)];
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    u64::MAX,
    u64::MAX - 1,
    1 << 63,
    (1 << 63) - 1,
    (1 << 32) - 1,
    (1 << 32) - 512,
    1 << 30,
    1 << 31,
    4096,
];

#[test]
fn a_header_with_impossible_numbers_is_damage() {
    let (disk, names) = filled();
    for (at, length, values) in [
        (36, 4, &[(1u64 << 32) - 512, 4097, 0][..]),
        (40, 8, &[0, u64::MAX, u64::MAX - 1, 1 << 63][..]),
        (48, 8, &[u64::MAX, 1 << 63][..]),
        (56, 4, &[0, (1 << 32) - 1][..]),
    ] {
        for value in values {
            let disk = disk.fork(1);
            let name = names.last().unwrap();
            let mut bytes = disk.contents(name).unwrap();
            put(&mut bytes, at, *value, length);
            seal_header(&mut bytes);
            disk.put(name, &bytes);
            let error = open(&disk).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{value} at byte {at}: {error}");
        }
    }
}

#[test]
fn a_new_log_with_any_first_group_never_panics() {
    for first_group in EDGES {
        let (disk, names) = untouched();
        let mut bytes = disk.contents(&names[0]).unwrap();
        bytes[512..].fill(0);
        put(&mut bytes, 40, first_group, 8);
        seal_header(&mut bytes);
        disk.put(&names[0], &bytes);
        let used = use_it(&disk);
        assert!(used.is_ok() || first_group == 0 || first_group >= (1 << 63) - 1, "{first_group}: {used:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_header_field_with_a_right_checksum_never_panics(
        victim in 0usize..3,
        field in 0..HEADER_FIELDS.len(),
        edge in 0..EDGES.len() * 2,
        any in any::<u64>(),
        empty in any::<bool>(),
        fresh in any::<bool>(),
    ) {
        // In a fresh log nothing before the segment contradicts its header.
        let (disk, names) = if fresh { untouched() } else { filled() };
        let name = &names[names.len().saturating_sub(1 + victim)];
        let mut bytes = disk.contents(name).unwrap();
        if empty {
            bytes[512..].fill(0);
        }
        let (at, length) = HEADER_FIELDS[field];
        put(&mut bytes, at, EDGES.get(edge).copied().unwrap_or(any), length);
        seal_header(&mut bytes);
        disk.put(name, &bytes);
        let _ = use_it(&disk);
    }

    #[test]
    fn a_group_field_with_right_checksums_never_panics(
        victim in 0usize..3,
        group in 0usize..12,
        field in 0..GROUP_FIELDS.len(),
        edge in 0..EDGES.len() * 2,
        any in any::<u64>(),
    ) {
        let (disk, names) = filled();
        let name = &names[names.len() - 1 - victim];
        let mut bytes = disk.contents(name).unwrap();
        let starts: Vec<usize> =
            (512..bytes.len() - 80).step_by(8).filter(|at| &bytes[at + 4..at + 8] == b"QRGP").collect();
        let group = starts[group % starts.len()];
        let (at, length) = GROUP_FIELDS[field];
        put(&mut bytes, group + at, EDGES.get(edge).copied().unwrap_or(any), length);
        seal_group(&mut bytes, group);
        disk.put(name, &bytes);
        let _ = use_it(&disk);
    }
}
