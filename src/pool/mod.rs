//! Many drives as one: who belongs to the pool, what is safe to write, segments, manifests.
//!
//! `Pool` is one core's view; cores share only the segment tables and the drives' states. The rule
//! of safety stands here: with m parity chunks and f drives out, a write must still survive the
//! loss of m - f more, so it needs k + m - f chunks or m + 1 - f mirrors; with f > m nothing is
//! safe and nothing is acknowledged.

pub mod error;
pub mod extent;
pub mod stripe;
pub mod ballast;
pub mod segments;
pub mod headers;
pub mod place;
pub mod manifest;
pub mod logs;
mod foreign;
pub mod format;
mod join;
pub mod mirror;
pub mod write;
pub mod read;
mod gather;
pub mod mend;

use std::rc::Rc;
use std::sync::Arc;

use crate::base::ids::{DriveId, ShardId};
use crate::base::limits::PAGE;
use crate::drive::device::{Area, Drive, DriveError, DriveSet, Drives};
use crate::drive::segment::{self, Header, Owner};
use crate::drive::superblock::Geometry;
use crate::io::buffer::AlignedBuf;
use crate::io::disk::is_full;
use crate::io::world::World;
use ballast::Share;
use error::PoolError;
use segments::{Purpose, SegmentTable};

/// The pool as one core holds it.
pub struct Pool {
    pub geometry: Geometry,
    pub epoch: u32,
    pub drives: Drives,
    pub tables: Arc<[SegmentTable]>,
    pub world: World,
}

impl Pool {
    /// Drives out of service.
    pub fn failed(&self) -> usize {
        self.drives.iter().filter(|drive| !drive.is_in_service()).count()
    }

    /// Losses a new write must survive beyond those there are; an error when none is safe.
    fn margin(&self) -> Result<usize, PoolError> {
        let parity = usize::from(self.geometry.parity_chunks);
        let needed = usize::from(self.geometry.data_chunks);
        let good = self.drives.len() - self.failed();
        parity.checked_sub(self.failed()).ok_or(PoolError::NotWritable { good, needed })
    }

    /// Mirrors without which nothing durable may be acknowledged now.
    pub fn mirrors_min(&self) -> Result<usize, PoolError> {
        Ok(self.margin()? + 1)
    }

    /// Mirrors a durable structure needs now: as many as there should be if there are drives for
    /// them, and never fewer than is safe.
    pub fn mirrors(&self) -> Result<usize, PoolError> {
        let safe = self.margin()? + 1;
        let healthy = self.drives.len() - self.failed();
        let wanted = (usize::from(self.geometry.parity_chunks) + 1).min(healthy);
        if wanted < safe { Err(PoolError::NotWritable { good: wanted, needed: safe }) } else { Ok(wanted) }
    }

    /// Chunks of a stripe that must be written for it to be safe now.
    pub fn chunks_min(&self) -> Result<usize, PoolError> {
        Ok(usize::from(self.geometry.data_chunks) + self.margin()?)
    }

    /// Whether enough drives in service have room of some kind for mirrors of what is to be durable; an error when none
    /// is safe, however much room there is.
    fn has_enough(&self, has_room: impl Fn(&SegmentTable) -> bool) -> Result<bool, PoolError> {
        let roomy = self.in_service().filter(|drive| has_room(self.table(drive.id()))).count();
        Ok(roomy >= self.mirrors_min()?)
    }

    /// Drives that may be written.
    pub fn in_service(&self) -> impl Iterator<Item = &Rc<Drive>> {
        self.drives.iter().filter(|drive| drive.is_in_service())
    }

    /// Whether a drive has been out for so long that nobody counts on what stands on it.
    pub fn is_given_up(&self, drive: DriveId) -> bool {
        self.drives.get(drive).is_ok_and(|drive| drive.condition().is_given_up())
    }

    /// Drives that are out, or in service without what was written to them.
    pub fn distrusted(&self) -> DriveSet {
        self.drives.iter().filter(|drive| !drive.is_trusted()).map(|drive| drive.id()).collect()
    }

    /// Whether those are more than the pool survives the loss of.
    pub fn is_beyond_reading(&self) -> bool {
        self.distrusted().len() > usize::from(self.geometry.parity_chunks)
    }

    /// Drives that may lack what was stored before now: those, and the ones that are being rebuilt.
    pub fn unproven(&self) -> DriveSet {
        self.drives.iter().filter(|drive| !drive.condition().is_proven()).map(|drive| drive.id()).collect()
    }

    /// Whether those are more than the pool survives the loss of: what was stored may be beyond reading, and only a
    /// full scrub finds out.
    pub fn is_unproven(&self) -> bool {
        self.unproven().len() > usize::from(self.geometry.parity_chunks)
    }

    pub fn table(&self, drive: DriveId) -> &SegmentTable {
        &self.tables[usize::from(drive.0)]
    }

    /// Takes a data segment of a drive for a shard and writes its header, which becomes durable
    /// with the drive's next flush, so before anything in the segment is referred to.
    pub async fn claim_data(
        &self,
        drive: &Rc<Drive>,
        shard: ShardId,
        purpose: Purpose,
    ) -> Result<u32, PoolError> {
        let table = self.table(drive.id());
        let claim = table.claim_data(shard, purpose).ok_or(PoolError::Full)?;
        let share = match purpose {
            Purpose::Objects => None,
            Purpose::Moves | Purpose::Emptying => Some(Share::Moves),
            Purpose::System => Some(Share::Catalog),
        };
        let reserve = || self.reserve_data(drive, claim.segment);
        if claim.fresh
            && let Err(error) = self.with_ballast(drive, share, reserve).await
        {
            table.set(claim.segment, segments::Slot::Untouched);
            self.latch_unless_full(drive, &error);
            return Err(PoolError::Full);
        }
        if purpose == Purpose::Objects && table.ballast.tells_room() {
            tracing::info!(drive = %drive.id(), path = drive.shared().path(), "the file system has room again");
        }
        self.write_header(drive, claim.segment, shard).await?;
        Ok(claim.segment)
    }

    /// Gives a data segment that a shard took over its header again, and its space on a drive that stands in
    /// for another. Durable with the next flush.
    pub async fn write_data_header(
        &self,
        drive: &Rc<Drive>,
        segment: u32,
        shard: ShardId,
    ) -> Result<(), PoolError> {
        if !drive.is_in_service() {
            return Err(DriveError::Out(drive.id()).into());
        }
        if let Err(error) =
            self.with_ballast(drive, Some(Share::Catalog), || self.reserve_data(drive, segment)).await
        {
            self.latch_unless_full(drive, &error);
            return Err(PoolError::Full);
        }
        self.write_header(drive, segment, shard).await
    }

    async fn write_header(&self, drive: &Rc<Drive>, segment: u32, shard: ShardId) -> Result<(), PoolError> {
        let header = self.header(drive.id(), segment, Owner::Data { shard });
        let offset = segment::offset(segment, self.geometry.segment_bytes);
        self.write_page(drive, Area::Data, header.encode(), offset).await
    }

    async fn reserve_data(&self, drive: &Rc<Drive>, segment: u32) -> std::io::Result<()> {
        let Some(file) = drive.file(Area::Data) else { return Err(std::io::ErrorKind::NotFound.into()) };
        let bytes = self.geometry.segment_bytes;
        file.preallocate(segment::offset(segment, bytes), bytes).await
    }

    /// Space that cannot be prepared: a full drive is passed over, one that fails is latched as by any
    /// failed write.
    pub fn latch_unless_full(&self, drive: &Drive, error: &std::io::Error) {
        if !is_full(error) {
            drive.health().latch(&format!("preparing a segment: {error}"));
        } else if self.table(drive.id()).ballast.tells_full() {
            let path = drive.shared().path();
            tracing::warn!(drive = %drive.id(), path, %error, "the file system is full: no new segment on this drive");
        }
    }

    /// Makes an emptied data segment free for every shard.
    pub async fn give_back(&self, drive: &Rc<Drive>, segment: u32) -> Result<(), PoolError> {
        let offset = segment::offset(segment, self.geometry.segment_bytes);
        self.write_page(drive, Area::Data, vec![0; PAGE], offset).await?;
        drive.flush().await?;
        if let Some(file) = drive.file(Area::Data) {
            // Best effort: a drive that cannot discard keeps the blocks, which are used again.
            let _ = file.discard(offset + PAGE as u64, self.geometry.segment_bytes - PAGE as u64).await;
        }
        self.table(drive.id()).set(segment, segments::Slot::Empty);
        Ok(())
    }

    pub fn header(&self, drive: DriveId, segment: u32, owner: Owner) -> Header {
        Header { pool: self.geometry.pool, drive, segment, epoch: self.epoch, owner }
    }

    /// Writes whole pages.
    pub async fn write_page(
        &self,
        drive: &Rc<Drive>,
        area: Area,
        page: Vec<u8>,
        offset: u64,
    ) -> Result<(), PoolError> {
        let mut buffer = AlignedBuf::zeroed(page.len());
        buffer.copy_from_slice(&page);
        Ok(drive.write(area, Arc::new(buffer), 0..page.len(), offset).await?)
    }
}

#[cfg(test)]
mod trial;
