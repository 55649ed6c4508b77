//! Mirrored pieces: the same bytes at several addresses, on distinct drives.
//!
//! For what must be durable at once or is too small to stripe: log batches, catalog runs. Writes go to all
//! copies at the same time; whether too few of them succeeded is for the caller to judge, because the log
//! and the catalog answer it differently. Reads try one copy after the other, drives in service first, until
//! one satisfies the caller's check. Invariant: an extent may come from a drive, so addresses and ranges
//! are checked, not trusted.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::base::ids::DriveId;
use crate::base::join::join_all;
use crate::base::limits::PAGE;
use crate::drive::device::{Area, DriveError, Drives};
use crate::io::buffer::AlignedBuf;
use crate::pool::error::PoolError;
use crate::pool::extent::{Address, MirroredExtent};
use crate::pool::mend::Mended;

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

/// Checks the bytes from `offset` on in every copy and writes those that are wrong from one that is right; all in
/// pages. Copies on drives that are out are read only when no other is right, and never written. The caller
/// sees to it that all copies are the extent's own, and does not stop waiting.
pub async fn mend_mirrored(
    drives: &Drives,
    area: Area,
    extent: &MirroredExtent,
    offset: u32,
    len: usize,
    verify: &dyn Fn(&[u8]) -> bool,
) -> Mended {
    let copies = by_trust(drives, extent, 0);
    let (mut good, mut bad) = (None, Vec::new());
    let mut mended = Mended::default();
    for copy in copies {
        let Ok(drive) = drives.get(copy.drive) else { continue };
        if !drive.is_in_service() && (good.is_some() || bad.is_empty()) {
            continue;
        }
        let at = copy.offset + u64::from(offset);
        let read = drive.read(area, AlignedBuf::uninit_for_read(len), at).await.ok();
        let read = read.filter(|bytes| verify(bytes));
        if drive.is_in_service() {
            mended.checked += 1;
            mended.bytes += len as u64;
            if read.is_none() {
                mended.damaged += 1;
                bad.push((drive, at));
            }
        }
        good = good.or(read);
    }
    let Some(good) = good.map(Arc::new) else {
        let lost = bad.iter().map(|(drive, _)| drive.id()).collect();
        return Mended { unrepairable: mended.damaged, lost, ..mended };
    };
    for (drive, at) in bad {
        if drive.write(area, good.clone(), 0..len, at).await.is_ok() {
            mended.repaired += 1;
            mended.bytes += len as u64;
            mended.written.insert(drive.id());
        }
    }
    mended
}

/// The copies in the order to try them: drives in service first, doubtful ones behind the others, and beginning with
/// another one for each `turn`.
fn by_trust(drives: &Drives, extent: &MirroredExtent, turn: usize) -> SmallVec<[Address; 4]> {
    let mut copies = extent.copies.clone();
    if !copies.is_empty() {
        let turn = turn % copies.len();
        copies.rotate_left(turn);
    }
    copies.sort_by_key(|copy| (!drives.is_in_service(copy.drive), !drives.is_trusted(copy.drive)));
    copies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::device::{Drive, DriveShared};
    use crate::drive::health::Condition;
    use crate::io::disk::Access;
    use crate::io::sim::{Fault, OpKind, SimWorld};
    use tokio::task::LocalSet;

    const AT: u64 = 3 * PAGE as u64;

    fn pool(sim: &SimWorld, count: u16) -> (Drives, MirroredExtent) {
        let open = |index: u16| {
            let shared = DriveShared::new(DriveId(index), "test", Condition::WHOLE);
            let file = |access| sim.world().open(format!("/d{index}").as_ref(), true, access).unwrap();
            Drive::new(shared, file(Access::DirectSync), file(Access::Direct))
        };
        let drives = Drives::new((0..count).map(open).collect());
        let copies = (0..count).map(|index| Address { drive: DriveId(index), offset: AT }).collect();
        (drives, MirroredExtent { len: 4 * PAGE as u32, copies })
    }

    /// Four pages, each filled with its number.
    async fn write(drives: &Drives, extent: &MirroredExtent) -> Vec<(DriveId, DriveError)> {
        let mut buf = AlignedBuf::zeroed(4 * PAGE);
        buf.chunks_mut(PAGE).enumerate().for_each(|(page, bytes)| bytes.fill(page as u8));
        write_mirrored(drives, Area::Meta, extent, 0, &Arc::new(buf), 0..4 * PAGE).await
    }

    fn is_from_pages(bytes: &[u8]) -> bool {
        bytes == [vec![1; 10], vec![2; PAGE], vec![3; 10]].concat()
    }

    async fn read(drives: &Drives, extent: &MirroredExtent) -> Result<Bytes, PoolError> {
        let (offset, len) = (2 * PAGE as u32 - 10, PAGE + 20);
        read_mirrored(drives, Area::Meta, extent, offset, len, &is_from_pages).await
    }

    #[tokio::test(start_paused = true)]
    async fn one_good_copy_is_enough_to_read() {
        let test = async {
            for harmed in [vec![], vec![0], vec![1], vec![0, 1], vec![1, 2], vec![2, 0]] {
                let sim = SimWorld::new(1);
                let (drives, extent) = pool(&sim, 3);
                assert!(write(&drives, &extent).await.is_empty());
                for (n, drive) in harmed.iter().enumerate() {
                    match n {
                        0 => sim.flip(format!("/d{drive}"), AT + 2 * PAGE as u64 + 5, 1),
                        _ => sim.kill(format!("/d{drive}")),
                    }
                }
                assert!(is_from_pages(&read(&drives, &extent).await.unwrap()));
                let corrupt: u64 = drives.iter().map(|drive| drive.metrics().corrupt_blocks).sum();
                assert!(corrupt <= 1);
                (0..3).for_each(|drive| sim.kill(format!("/d{drive}")));
                let error = read(&drives, &extent).await.unwrap_err();
                assert_eq!(error, PoolError::NoCopy { copies: 3, first: Some(DriveId(0)) });
            }
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_copy_is_named_and_the_others_are_written() {
        let test = async {
            let sim = SimWorld::new(2);
            let (drives, extent) = pool(&sim, 3);
            sim.inject("/d1", OpKind::Write, 0, Fault::Fail(libc::EIO));
            let failed = write(&drives, &extent).await;
            assert_eq!(failed.iter().map(|(drive, _)| *drive).collect::<Vec<_>>(), [DriveId(1)]);
            // The latched drive is asked last: nothing wrong is read on the way.
            assert!(is_from_pages(&read(&drives, &extent).await.unwrap()));
            assert_eq!(drives.get(DriveId(1)).unwrap().metrics().reads.operations, 0);
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_range_from_a_damaged_record_is_refused() {
        let test = async {
            let (drives, extent) = pool(&SimWorld::new(3), 1);
            for (offset, len) in [(0, 4 * PAGE + 1), (4 * PAGE as u32, 1), (u32::MAX, usize::MAX)] {
                let result = read_mirrored(&drives, Area::Meta, &extent, offset, len, &|_| true).await;
                assert!(matches!(result, Err(PoolError::Damaged(_))));
            }
            let nowhere = MirroredExtent { copies: SmallVec::new(), ..extent };
            assert!(matches!(read(&drives, &nowhere).await, Err(PoolError::NoCopy { copies: 0, .. })));
        };
        LocalSet::new().run_until(test).await;
    }
}
