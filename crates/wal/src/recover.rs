use std::collections::{BTreeMap, VecDeque};
use std::io;

use quorate_core::{Outcome, StoreId};

use crate::claim::Ended;
use crate::clean::Cleaner;
use crate::disk::read_full;
use crate::error::is_full;
use crate::format::{GROUP_HEADER, HeaderRead, SEGMENT_HEADER, SegmentHeader, salt};
use crate::log::Segment;
use crate::prepare::{Preparer, Spare, segment_slot};
use crate::rewrite::write_again;
use crate::scan::{End, NUMBER_END, Walker, Window, proof_of_damage, records};
use crate::sealed::{TEMPORARY, seal, unseal};
use crate::stage::{SLOT, Stage};
use crate::stream::{Place, Replayed, Stream};
use crate::{Claim, Config, Disk, Error, File, Log, Open, Sealed, StreamId};

/// A segment file as it was found.
struct Found<F> {
    name: String,
    file: F,
    length: u32,
    /// `None` if it does not hold.
    header: Option<SegmentHeader>,
}

/// What the live segments hold together.
struct Replay {
    streams: BTreeMap<StreamId, Stream>,
    /// Behind the last group of each segment.
    ends: Vec<End>,
}

/// Opens a log, or makes one. Nothing on disk is changed before all that is there was read and found good.
pub(crate) fn open<D: Disk>(disk: D, config: Config) -> Result<Log<D>, Error> {
    config.validate()?;
    let claim = disk.claim().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Locked,
        _ => Error::read("claim", "the directory", error),
    })?;
    // A process that was killed between a renaming and its sync leaves a name which the next loss of power
    // may take back: no name is trusted before it is durable.
    disk.sync_directory().map_err(|error| Error::write("sync", "the directory", error))?;
    let list = || disk.list().map_err(|error| Error::read("list", "the directory", error));
    let mut names = list()?;
    let store = match unseal(&disk, STORE, 0)? {
        Some((store, _)) => store,
        None => {
            let store = create(&disk, &config, &names)?;
            names = list()?;
            store
        }
    };
    names.sort();
    let (mut live, others) = survey(&disk, store, &names)?;
    let Some((top, header)) = live.last_key_value().and_then(|(_, top)| Some((top, top.header?))) else {
        return Err(Error::SegmentMissing { sequence: 1 });
    };
    let end = walk(top, store, start(&header), |_, _| Ok(()))?;
    let first_live = end.first_live;
    prove_tail(top, &others, store, &header, end)?;
    if first_live == 0 || first_live > header.sequence {
        return Err(Error::damaged(&top.name, 0, "the oldest live segment is out of range"));
    }
    if let Some(missing) = (first_live..=header.sequence).find(|sequence| !live.contains_key(sequence)) {
        return Err(Error::SegmentMissing { sequence: missing.into() });
    }
    let needed = live.split_off(&first_live);
    let replay = replay(&needed, store)?;
    let retired = live.into_values();
    let surplus = retired.chain(others).collect();
    start_log(disk, config, store, needed, surplus, replay, &names, claim)
}

/// Makes a new log: one segment, then the file that names the store, so that a directory with that file has
/// a segment.
fn create<D: Disk>(disk: &D, config: &Config, names: &[String]) -> Result<StoreId, Error> {
    let leftovers: Vec<&String> = names.iter().filter(|name| segment_slot(name).is_some()).collect();
    let empty = leftovers.iter().map(|name| is_empty_segment(disk, name)).collect::<Result<Vec<_>, _>>()?;
    if empty.contains(&false) || names.iter().any(|name| name.ends_with(".sealed")) {
        return Err(Error::StoreMissing);
    }
    let failed = |error: io::Error| match is_full(&error) {
        true => Error::Full { bytes: config.segment_length(1, 0).into(), outcome: Outcome::NotDone },
        false => Error::write("prepare", "the first segment", error),
    };
    for name in leftovers {
        disk.remove(name).map_err(failed)?;
    }
    let store = match config.store_id {
        Some(store) => store,
        None => StoreId::new(disk.random().map_err(|error| Error::read("draw", "an identity", error))?),
    };
    let length = config.segment_length(1, 0);
    let spare = Preparer::new(disk.clone(), store, next_slot(names)).prepare(length).map_err(failed)?;
    let header =
        SegmentHeader { store, sequence: 1, length, first_group: 1, first_live: 1, epoch: 0, chain: 0 };
    spare.file.write_at(&header.encode(), 0).and_then(|()| spare.file.sync()).map_err(failed)?;
    seal(disk, STORE, store, &[], &Ended::default())?;
    Ok(store)
}

/// Whether a segment file, left by a creation that was cut short, has never held a group.
fn is_empty_segment<D: Disk>(disk: &D, name: &str) -> Result<bool, Error> {
    let read = |error| Error::read("read", name, error);
    let file = disk.open(name, Open::Existing).map_err(read)?;
    let length = file.len().map_err(read)?;
    let mut window = Window::new(&file);
    let mut offset = u64::from(SEGMENT_HEADER);
    while offset < length {
        let bytes = window.bytes(offset, 1 << 20).map_err(read)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if bytes.is_empty() {
            break;
        }
        offset += bytes.len() as u64;
    }
    Ok(true)
}

/// Segments by number.
type Live<F> = BTreeMap<u32, Found<F>>;
type Surveyed<F> = (Live<F>, Vec<Found<F>>);

/// Reads all headers: the segments by number, and the spares with those whose header does not hold.
fn survey<D: Disk>(disk: &D, store: StoreId, names: &[String]) -> Result<Surveyed<D::File>, Error> {
    let (mut live, mut others) = (BTreeMap::new(), Vec::new());
    for name in names.iter().filter(|name| segment_slot(name).is_some()) {
        let found = look_at(disk, store, name)?;
        match found.header.map(|header| header.sequence).filter(|sequence| *sequence > 0) {
            None => others.push(found),
            Some(sequence) => {
                if live.insert(sequence, found).is_some() {
                    return Err(Error::SegmentTwice { file: name.clone(), sequence: sequence.into() });
                }
            }
        }
    }
    Ok((live, others))
}

fn look_at<D: Disk>(disk: &D, store: StoreId, name: &str) -> Result<Found<D::File>, Error> {
    let read = |error| Error::read("read", name, error);
    let file = disk.open(name, Open::Existing).map_err(read)?;
    let found = file.len().map_err(read)?;
    let mut bytes = [0; SEGMENT_HEADER as usize];
    let count = read_full(&file, &mut bytes, 0).map_err(read)?;
    let header = match SegmentHeader::decode(&bytes[..count]) {
        HeaderRead::Valid(header) if header.store != store => {
            return Err(Error::Foreign { file: name.to_owned(), found: header.store, expected: store });
        }
        HeaderRead::Valid(header) if !is_possible(&header) => {
            return Err(Error::damaged(name, 0, "a number in the header is out of range"));
        }
        HeaderRead::Valid(header) => Some(header),
        HeaderRead::OtherVersion(found) => return Err(Error::Version { file: name.to_owned(), found }),
        HeaderRead::Invalid => None,
    };
    // Files get their name only when they are written full: a short one was shortened since.
    let expected = header.map_or(found.max(SEGMENT_HEADER.into()), |header| header.length.into());
    match u32::try_from(found) {
        Ok(length) if found == expected => Ok(Found { name: name.to_owned(), file, length, header }),
        _ => Err(Error::SegmentLength { file: name.to_owned(), found, expected }),
    }
}

/// Whether a log could have written this header: its checksum holds, but anybody can compute that.
fn is_possible(header: &SegmentHeader) -> bool {
    let length = header.length % 512 == 0 && (512..=SEGMENT_LENGTH_MAX).contains(&header.length);
    let numbers = (1..NUMBER_END).contains(&header.first_group) && header.epoch < NUMBER_END;
    let live = (1..=header.sequence).contains(&header.first_live);
    length && (header.sequence == 0 || (numbers && live))
}

fn start(header: &SegmentHeader) -> End {
    End {
        offset: SEGMENT_HEADER,
        next_group: header.first_group,
        chain: header.chain,
        epoch: header.epoch,
        first_live: header.first_live,
        unmarked: false,
        unproven: 0,
    }
}

/// Visits the groups of a segment as far as they hold: the offset of each one's records, and the records.
fn walk<F: File>(
    found: &Found<F>,
    store: StoreId,
    from: End,
    mut visit: impl FnMut(u32, &[u8]) -> Result<(), Error>,
) -> Result<End, Error> {
    let sequence = found.header.map_or(0, |header| header.sequence);
    let mut walker = Walker::new(&found.file, found.length, salt(store, sequence), from);
    let read = |error| Error::read("read", &found.name, error);
    while let Some((offset, body)) = walker.group().map_err(read)? {
        visit(offset + GROUP_HEADER as u32, body)?;
    }
    Ok(walker.end)
}

/// Refuses if the place where the newest segment ends was durable once: that is damage, not a torn tail.
/// Files whose header does not hold are searched too, since one of them may have been the segment after.
fn prove_tail<F: File>(
    top: &Found<F>,
    others: &[Found<F>],
    store: StoreId,
    header: &SegmentHeader,
    end: End,
) -> Result<(), Error> {
    let search = |found: &Found<F>, from, sequence| {
        proof_of_damage(&found.file, from, found.length, salt(store, sequence), end.next_group)
            .map_err(|error| Error::read("read", &found.name, error))
    };
    if search(top, end.offset, header.sequence)? {
        return Err(Error::damaged(&top.name, end.offset.into(), "groups behind it were durable"));
    }
    let Some(next) = header.sequence.checked_add(1) else { return Ok(()) };
    for found in others.iter().filter(|found| found.header.is_none()) {
        if search(found, SEGMENT_HEADER, next)? {
            return Err(Error::damaged(&found.name, 0, "the header does not hold, but groups behind it do"));
        }
    }
    Ok(())
}

fn replay<F: File>(needed: &Live<F>, store: StoreId) -> Result<Replay, Error> {
    let mut streams: BTreeMap<StreamId, Replayed> = BTreeMap::new();
    let mut ends: Vec<End> = Vec::new();
    let mut last_name = "";
    for (sequence, found) in needed {
        let Some(header) = found.header else { continue };
        if let Some(end) = ends.last() {
            let epoch = header.epoch == end.epoch || Some(header.epoch) == end.epoch.checked_add(1);
            if !epoch || (header.first_group, header.chain) != (end.next_group, end.chain) {
                let reason = "groups are missing between this place and the next segment";
                return Err(Error::damaged(last_name, end.offset.into(), reason));
            }
        }
        let salt = salt(store, *sequence);
        let end = walk(found, store, start(&header), |offset, body| {
            for (offset, record) in records(body, offset, salt) {
                let place = Place { segment: *sequence, offset, length: record.payload.len() as u32 };
                let id = StreamId::new(record.stream);
                let stream = streams.entry(id).or_default();
                let applied = stream.apply(&record, place);
                applied.map_err(|reason| Error::damaged(&found.name, offset.into(), reason))?;
                if stream.is_gone() {
                    streams.remove(&id);
                }
            }
            Ok(())
        })?;
        ends.push(end);
        last_name = &found.name;
    }
    let finish = |(id, stream): (StreamId, Replayed)| match stream.finish() {
        Ok(stream) => Ok((id, stream)),
        Err(reason) => Err(Error::damaged(last_name, 0, reason)),
    };
    let streams = streams.into_iter().map(finish).collect::<Result<_, _>>()?;
    Ok(Replay { streams, ends })
}

#[expect(clippy::too_many_arguments, reason = "all that the opening found, taken apart once")]
fn start_log<D: Disk>(
    disk: D,
    config: Config,
    store: StoreId,
    needed: Live<D::File>,
    surplus: Vec<Found<D::File>>,
    replay: Replay,
    names: &[String],
    claim: Claim,
) -> Result<Log<D>, Error> {
    if let Some((top, end)) = needed.values().next_back().zip(replay.ends.last()) {
        if let Some(header) = &top.header {
            write_again(&top.file, &top.name, header, end)?;
        }
    }
    let ended = Ended::default();
    let Some(end) = replay.ends.last().copied() else { return Err(Error::SegmentMissing { sequence: 1 }) };
    let segments: VecDeque<Segment<D::File>> = needed
        .into_iter()
        .zip(&replay.ends)
        .map(|((sequence, found), end)| Segment {
            sequence,
            length: found.length,
            salt: salt(store, sequence),
            end: end.offset,
            live_records: 0,
            live_slots: 0,
            file: Some((found.name, found.file)),
        })
        .collect();
    let mut log = Log {
        sealed: Sealed::new(disk.clone(), store, config.sealed_bytes_max, ended.clone()),
        preparer: Preparer::new(disk.clone(), store, next_slot(names)),
        first_live: segments.front().map_or(1, |segment| segment.sequence),
        head: segments.back().map_or(1, |segment| segment.sequence),
        disk,
        config,
        store,
        streams: replay.streams,
        segments,
        spares: Vec::new(),
        stage: Stage::default(),
        chain: end.chain,
        epoch: end.epoch.checked_add(1).ok_or(Error::Failed)?,
        written: end.next_group - 1,
        durable: end.next_group - 1,
        unmarked: end.unmarked,
        retiring: VecDeque::new(),
        cleaner: Cleaner::default(),
        ended,
        _claim: claim,
    };
    count_live(&mut log);
    keep_spares(&mut log, surplus, names)?;
    // The cut: a group of a new epoch, durable before anything else is written. Whatever lies behind it
    // from before is of an older epoch and never parses again.
    log.stage_group(0)?;
    log.write_groups()?;
    log.sync_head()?;
    Ok(log)
}

fn count_live<D: Disk>(log: &mut Log<D>) {
    let first = log.first_live;
    for stream in log.streams.values() {
        for place in &stream.records {
            log.segments[(place.segment - first) as usize].live_records += place.size();
        }
        if let Some(bounds) = stream.bounds {
            log.segments[(bounds.segment - first) as usize].live_slots += SLOT;
        }
        if let Some((_, place)) = &stream.state {
            log.segments[(place.segment - first) as usize].live_slots += place.size();
        }
    }
}

/// Keeps emptied and prepared files to be written again, as many as configured, and removes what is left
/// over. A removal that fails is no loss: the file is found again at the next opening.
fn keep_spares<D: Disk>(
    log: &mut Log<D>,
    surplus: Vec<Found<D::File>>,
    names: &[String],
) -> Result<(), Error> {
    for found in surplus {
        let kept = found.length == log.config.segment_bytes && log.spares.len() < log.config.spare_segments;
        if !kept {
            let _ = log.disk.remove(&found.name);
            continue;
        }
        if found.header.is_none() {
            let header = SegmentHeader::spare(log.store, found.length).encode();
            let written = found.file.write_at(&header, 0).and_then(|()| found.file.sync());
            written.map_err(|error| Error::write("write to", &found.name, error))?;
        }
        log.spares.push(Spare { name: found.name, file: found.file, length: found.length });
    }
    for name in names.iter().filter(|name| name.ends_with(TEMPORARY)) {
        let _ = log.disk.remove(name);
    }
    Ok(())
}

fn next_slot(names: &[String]) -> u32 {
    let slot = |name: &String| segment_slot(name.strip_suffix(TEMPORARY).unwrap_or(name));
    names.iter().filter_map(slot).max().map_or(1, |slot| slot.saturating_add(1))
}

/// The longest segment that any [`Config`] makes.
const SEGMENT_LENGTH_MAX: u32 = 1 << 30;
/// The file that says which store the directory is.
const STORE: &str = "store";
