//! Mirrored pieces: the same bytes at several addresses, on distinct drives.
//!
//! For what must be durable at once or is too small to stripe: log batches, catalog runs. Writes go to all
//! copies at the same time; whether too few of them succeeded is for the caller to judge, because the log
//! and the catalog answer it differently. Reads try one copy after the other, healthy drives first, until
//! one satisfies the caller's check. Invariant: an extent may come from a drive, so addresses and ranges
//! are checked, not trusted.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::base::ids::DriveId;
use crate::base::join::join_all;
use crate::base::limits::PAGE;
use crate::drive::device::{Area, DriveError, DriveSet, Drives};
use crate::io::buffer::AlignedBuf;
use crate::pool::error::PoolError;
use crate::pool::extent::{Address, MirroredExtent};

/// Writes `buf[range]` to every copy, `offset` bytes into it; all in pages. Answers the copies that failed:
/// none when all of them hold the bytes, which are durable in `Area::Meta` and need a flush in `Area::Data`.
/// The caller may stop waiting, but the writes go on.
pub async fn write_mirrored(
    drives: &Drives,
    area: Area,
    extent: &MirroredExtent,
    offset: u32,
    buf: &Arc<AlignedBuf>,
    range: Range<usize>,
) -> Vec<(DriveId, DriveError)> {
    assert!(range.len() <= (extent.len - offset) as usize, "the bytes lie in the extent");
    let write = |copy: &Address| {
        let (copy, range) = (*copy, range.clone());
        async move {
            let drive = drives.get(copy.drive).map_err(|error| (copy.drive, error))?;
            let written = drive.write(area, buf.clone(), range, copy.offset + u64::from(offset)).await;
            written.map_err(|error| (copy.drive, error))
        }
    };
    join_all(extent.copies.iter().map(write)).await.into_iter().filter_map(Result::err).collect()
}

/// The drives of the copies.
pub fn drives_of(extent: &MirroredExtent) -> DriveSet {
    extent.copies.iter().map(|copy| copy.drive).collect()
}

/// Reads `len` bytes at `offset` of an extent, both of any value inside it, from the first copy that
/// satisfies `verify`. The copy tried first depends on the offset, so that all drives share the load.
pub async fn read_mirrored(
    drives: &Drives,
    area: Area,
    extent: &MirroredExtent,
    offset: u32,
    len: usize,
    verify: &dyn Fn(&[u8]) -> bool,
) -> Result<Bytes, PoolError> {
    let end = (offset as usize).checked_add(len).filter(|end| *end <= extent.len as usize);
    let end = end.ok_or(PoolError::Damaged("a range beyond its mirrored extent"))?;
    let first = offset as usize / PAGE * PAGE;
    let pages = end.next_multiple_of(PAGE) - first;
    let skip = offset as usize - first;
    for copy in by_trust(drives, extent, first / PAGE) {
        let Ok(drive) = drives.get(copy.drive) else { continue };
        let buf = AlignedBuf::uninit_for_read(pages);
        let Ok(buf) = drive.read(area, buf, copy.offset + first as u64).await else { continue };
        if verify(&buf[skip..skip + len]) {
            return Ok(buf.into_bytes().slice(skip..skip + len));
        }
        drive.count_corrupt();
    }
    let first = extent.copies.first().map(|copy| copy.drive);
    Err(PoolError::NoCopy { copies: extent.copies.len(), first })
}

/// The copies in the order to try them: healthy drives first, beginning with another one for each `turn`.
fn by_trust(drives: &Drives, extent: &MirroredExtent, turn: usize) -> SmallVec<[Address; 4]> {
    let mut copies = extent.copies.clone();
    if !copies.is_empty() {
        let turn = turn % copies.len();
        copies.rotate_left(turn);
    }
    copies.sort_by_key(|copy| !drives.is_healthy(copy.drive));
    copies
}
