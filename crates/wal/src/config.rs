use quorate_core::StoreId;

use crate::Error;
use crate::format::{GROUP_HEADER, RECORD_HEADER, SEGMENT_HEADER};

/// The limits of a log. The default suits a disk of some gigabytes and records of up to 16 MiB.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of a segment file; a multiple of 512 from 4 KiB to 1 GiB. 64 MiB by default.
    ///
    /// Space returns a segment at a time, and each segment end costs a second sync: larger is faster and
    /// holds on to more. A new log starts with a small segment and grows to this in a few steps. It may
    /// differ from one opening to the next.
    pub segment_bytes: u32,

    /// Emptied segments that are kept to be written again; 0 to 64. 2 by default.
    ///
    /// Each holds `segment_bytes` of disk, and saves writing a new segment's zeros. With none, that is done for
    /// every segment: on a [`Directory`](crate::Directory) ahead of time, on a thread of its own, whatever
    /// this is; on a [`Disk`](crate::Disk) that does not allow a thread, while the commit at the end of a
    /// segment waits.
    pub spare_segments: usize,

    /// Bytes of a record's payload; 1 to `segment_bytes` less 604. 16 MiB by default.
    pub record_bytes_max: usize,

    /// Bytes of a stream's state; 0 to 1 MiB, and not over `record_bytes_max`. 4 KiB by default.
    ///
    /// States are held in memory, and rewritten whenever their segment is recycled: keep them small.
    pub state_bytes_max: usize,

    /// Bytes that may be staged before they are written; at least `record_bytes_max` and 1 KiB. 64 MiB by
    /// default. This much memory a careless caller can make the log take.
    pub stage_bytes_max: usize,

    /// Streams in the log; at least 1. 1,048,576 by default. Each takes some 150 bytes of memory.
    pub streams_max: usize,

    /// Bytes of a sealed file; at least 1. 1 GiB by default. Reading one takes this much memory.
    pub sealed_bytes_max: u64,

    /// The identity of a log that is made new; drawn at random if `None`. Ignored for one that is there.
    pub store_id: Option<StoreId>,
}

impl Config {
    /// The default for a segment size, with the limits on records, state and staging fitted to it.
    ///
    /// ```
    /// use quorate_wal::{Config, Log, SimulatedDisk};
    /// let log = Log::with_disk(SimulatedDisk::new(1), Config::with_segment_bytes(4096)).unwrap();
    /// assert!(log.streams().next().is_none());
    /// ```
    pub fn with_segment_bytes(segment_bytes: u32) -> Self {
        let standard = Self::default();
        let record = standard.record_bytes_max.min(segment_bytes as usize / 4);
        Self {
            segment_bytes,
            record_bytes_max: record,
            state_bytes_max: standard.state_bytes_max.min(record / 4),
            ..standard
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let check = |held: bool, field: &'static str, reason: String| {
            if held { Ok(()) } else { Err(Error::Config { field, reason }) }
        };
        let segment = self.segment_bytes;
        check(
            (4096..=1 << 30).contains(&segment) && segment % 512 == 0,
            "segment_bytes",
            format!("{segment} is not a multiple of 512 from 4096 to {}", 1 << 30),
        )?;
        check(self.spare_segments <= 64, "spare_segments", format!("{} is over 64", self.spare_segments))?;
        let record_max = segment as usize - RECORD_OVERHEAD;
        check(
            (1..=record_max).contains(&self.record_bytes_max),
            "record_bytes_max",
            format!("{} is not from 1 to {record_max}", self.record_bytes_max),
        )?;
        let state_max = self.record_bytes_max.min(1 << 20);
        check(
            self.state_bytes_max <= state_max,
            "state_bytes_max",
            format!("{} is over {state_max}", self.state_bytes_max),
        )?;
        let stage_min = self.record_bytes_max + 1024;
        check(
            self.stage_bytes_max >= stage_min,
            "stage_bytes_max",
            format!("{} is below {stage_min}", self.stage_bytes_max),
        )?;
        check(self.streams_max >= 1, "streams_max", "must be at least 1".to_owned())?;
        check(self.sealed_bytes_max >= 1, "sealed_bytes_max", "must be at least 1".to_owned())
    }

    /// The length of the segment with this number: new logs start small, so that opening one is quick.
    pub(crate) fn segment_length(&self, sequence: u32, record: usize) -> u32 {
        let steps = sequence.saturating_sub(1).min(5);
        let ladder = (FIRST_SEGMENT << (2 * steps)).min(self.segment_bytes);
        let needed = (record + RECORD_OVERHEAD).next_multiple_of(512) as u32;
        // A record from a time when segments were larger may be over today's size, and moves nevertheless.
        if needed > ladder { self.segment_bytes.max(needed) } else { ladder }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            spare_segments: 2,
            record_bytes_max: 16 << 20,
            state_bytes_max: 4096,
            stage_bytes_max: 64 << 20,
            streams_max: 1 << 20,
            sealed_bytes_max: 1 << 30,
            store_id: None,
        }
    }
}

/// What a record takes of a segment besides its payload, when it is alone there, rounded up.
const RECORD_OVERHEAD: usize = SEGMENT_HEADER as usize + GROUP_HEADER + RECORD_HEADER + 12;

const FIRST_SEGMENT: u32 = 1 << 20;
