//! Mending blocks where they stand: read every column of a few rows, restore what is wrong, write it back.
//!
//! Owns `mend`, on the grid of `pool::gather`. A restored block is byte for byte the one that was written
//! first: frames know their place, so it is only ever right at this one address.
//!
//! Invariants: a block is written only to a drive in service, only when it was found wrong there, and only
//! when k good blocks of its row vouch for it; what was good is never touched, so a mend that a power cut
//! tears leaves the hole that was there before. The caller sees to it that the space belongs to the
//! extent until `mend` returns, and must not stop waiting: a write that goes on would outlive the owner.

use std::ops::{AddAssign, Range};
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::join::join_all;
use crate::base::limits::{BLOCK_HEADER_BYTES, STRIPE_CHUNKS_MAX};
use crate::codec::frame;
use crate::drive::device::{Area, DriveSet};
use crate::io::buffer::AlignedBuf;
use crate::pool::gather::{Grid, Span, Suspects};
use crate::pool::read::ReadPath;
use crate::pool::stripe::{Extent, Group};

/// What was found in some rows, in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Read, good or not.
    pub checked: u64,
    /// Of those, not what they must be.
    pub damaged: u64,
    /// Of those, written back.
    pub repaired: u64,
    /// Of those, in rows with fewer than k good blocks.
    pub unrepairable: u64,
    /// Rows with fewer than k good blocks, whatever the others are: wrong, never written, or on drives that are not
    /// there.
    pub unreadable: u64,
    /// Bytes that were read and written.
    pub bytes: u64,
    /// Drives that were written and need a flush.
    pub written: DriveSet,
    /// Drives in service with blocks beyond repair.
    pub lost: DriveSet,
}

impl AddAssign for Mended {
    fn add_assign(&mut self, other: Mended) {
        self.checked += other.checked;
        self.damaged += other.damaged;
        self.repaired += other.repaired;
        self.unrepairable += other.unrepairable;
        self.unreadable += other.unreadable;
        self.bytes += other.bytes;
        self.written.union(&other.written);
        self.lost.union(&other.lost);
    }
}

/// Checks every block of a group and writes back those that are wrong. Drives that are out are read only
/// where a row needs them, and are not judged.
pub async fn mend(path: &Rc<ReadPath>, extent: &Extent, group: Group) -> Mended {
    if (usize::from(extent.k), usize::from(extent.m)) != path.scheme() {
        let rows = group.rows.len() as u64;
        return Mended { unrepairable: rows, unreadable: rows, ..Mended::default() };
    }
    let mut grid = Grid::new(path, extent, group, Suspects::default());
    grid.is_quiet = true;
    let (sound, doubtful) = grid.columns_by_health();
    let mut permit = path.budget.acquire(grid.bytes(&sound) + grid.bytes(&doubtful)).await;
    grid.read(&sound, &mut permit).await;
    let mut mended = grid.judge(&sound);
    if grid.rows_beyond_reading() > 0 {
        grid.read(&doubtful, &mut permit).await;
        mended.unreadable = grid.rows_beyond_reading();
    }
    if mended.damaged > 0 {
        mended += grid.write_back(&sound).await;
    }
    mended
}

impl Grid<'_> {
    /// All rows of the columns that were written: those of drives in service, and the others.
    fn columns_by_health(&self) -> (Vec<Span>, Vec<Span>) {
        let rows = self.group.rows.clone();
        let written = self.columns().filter_map(|column| {
            let chunk = self.extent.stripes[self.group.stripe].address(column)?;
            Some((column, self.path.drives.is_in_service(chunk.drive)))
        });
        let (sound, doubtful): (Vec<_>, Vec<_>) = written.partition(|(_, is_in_service)| *is_in_service);
        let spans = |columns: Vec<(usize, bool)>| {
            columns.into_iter().map(|(column, _)| (column, rows.clone())).collect()
        };
        (spans(sound), spans(doubtful))
    }

    fn bytes(&self, spans: &[Span]) -> usize {
        spans.iter().map(|(_, rows)| self.layout.rows_bytes(rows.clone())).sum()
    }

    fn judge(&self, spans: &[Span]) -> Mended {
        let blocks = spans.iter().flat_map(|(column, rows)| rows.clone().map(|row| (row, *column)));
        let mut found = Mended { bytes: self.bytes(spans) as u64, ..Mended::default() };
        for (row, column) in blocks {
            found.checked += 1;
            found.damaged += u64::from(!self.is_good(row, column));
        }
        found
    }

    fn good(&self, row: u32) -> usize {
        self.columns().filter(|column| self.is_good(row, *column)).count()
    }

    fn rows_beyond_reading(&self) -> u64 {
        let lacks = |row: &u32| self.good(*row) < usize::from(self.layout.k);
        self.group.rows.clone().filter(lacks).count() as u64
    }

    async fn write_back(&self, sound: &[Span]) -> Mended {
        let mut done = Mended::default();
        for row in self.group.rows.clone() {
            let bad = sound.iter().map(|(column, _)| *column).filter(|column| !self.is_good(row, *column));
            let bad: SmallVec<[usize; STRIPE_CHUNKS_MAX]> = bad.collect();
            if bad.is_empty() {
                continue;
            }
            match self.restored(row, &bad) {
                Some(blocks) => done += self.write_row(row, &bad, blocks).await,
                None => {
                    done.unrepairable += bad.len() as u64;
                    bad.iter().for_each(|column| done.lost.insert(self.address(row, *column).drive));
                }
            }
        }
        done
    }

    /// The blocks of these columns as they must stand on their drives; `None` for want of good ones.
    fn restored(&self, row: u32, columns: &[usize]) -> Option<Vec<AlignedBuf>> {
        let shape = self.layout.shape(row);
        let mut coded = vec![0; columns.len() * shape.coded];
        self.restore_row(row, columns, &mut coded).ok()?;
        let frame = |(column, coded): (&usize, &[u8])| {
            let mut block = AlignedBuf::zeroed(shape.disk);
            block[BLOCK_HEADER_BYTES..][..shape.coded].copy_from_slice(coded);
            frame::encode(&mut block, &self.identity(row, *column), shape.coded);
            block
        };
        Some(columns.iter().zip(coded.chunks_exact(shape.coded)).map(frame).collect())
    }

    async fn write_row(&self, row: u32, columns: &[usize], blocks: Vec<AlignedBuf>) -> Mended {
        let write = |(column, block): (&usize, AlignedBuf)| {
            let (address, whole) = (self.address(row, *column), 0..block.len());
            async move {
                let drive = self.path.drives.get(address.drive).ok()?;
                drive.write(Area::Data, Arc::new(block), whole, address.offset).await.ok()?;
                Some(address.drive)
            }
        };
        let written = join_all(columns.iter().zip(blocks).map(write)).await;
        let drives: DriveSet = written.iter().copied().flatten().collect();
        let repaired = written.iter().flatten().count() as u64;
        let bytes = repaired * self.layout.shape(row).disk as u64;
        Mended { repaired, bytes, written: drives, ..Mended::default() }
    }
}

/// The groups in which rows are mended: all of them, or the one of a row.
pub fn groups(extent: &Extent, row: Option<u32>) -> impl Iterator<Item = Group> + use<> {
    let layout = extent.layout();
    let bytes: Range<u64> = match row {
        Some(row) if row < layout.rows() => layout.bytes_of(row),
        Some(_) => 0..0,
        None => 0..extent.size,
    };
    layout.groups(bytes)
}
