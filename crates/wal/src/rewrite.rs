use std::io;

use crate::format::{GROUP_HEADER, SEGMENT_HEADER, SegmentHeader, footprint, salt};
use crate::scan::{End, Window, verified};
use crate::{Error, File};

/// Makes what was found in the newest segment durable; those before it were, when its header was written.
///
/// It may have been read from the page cache alone. If a sync failed there, the system counts the pages as
/// clean and another sync would do nothing, so all that nothing proves durable is written once more. The
/// bytes are the same, so a tear between the two does no harm.
pub(crate) fn write_again<F: File>(
    file: &F,
    name: &str,
    header: &SegmentHeader,
    end: &End,
) -> Result<(), Error> {
    let failed = |action| move |error| Error::write(action, name, error);
    if end.unproven < SEGMENT_HEADER {
        file.write_at(&header.encode(), 0).map_err(failed("write to"))?;
    }
    let salt = salt(header.store, header.sequence);
    let mut window = Window::new(file);
    let mut offset = end.unproven.max(SEGMENT_HEADER);
    let mut chain = None;
    while offset < end.offset {
        let group = verified(&mut window, offset, header.length, salt);
        let Some((group, body)) = group.map_err(|error| Error::read("read", name, error))? else { break };
        let header = group.encode(salt);
        let start = u64::from(offset);
        file.write_at(&header, start).map_err(failed("write to"))?;
        file.write_at(body, start + GROUP_HEADER as u64).map_err(failed("write to"))?;
        chain = Some(crc32c::crc32c(&header));
        offset += footprint(body.len()) as u32;
    }
    if offset != end.offset || chain.is_some_and(|chain| chain != end.chain) {
        // The system dropped pages that a failed sync left behind, and the disk has older bytes.
        let changed = io::Error::other("it changed while it was read; open the log again");
        return Err(Error::read("read", name, changed));
    }
    file.sync().map_err(failed("sync"))
}
