//! Where new bytes of a shard go: stripes and mirrored extents on distinct drives, weighted by
//! free space, from the segments the shard owns, claiming more when they are full.
//!
//! Invariants: chunks of a stripe and copies of an extent stand on distinct healthy drives; what is
//! handed out is not handed out again before it is released.

use std::cell::RefCell;
use std::rc::Rc;

use crate::base::ids::{DriveId, ShardId};
use crate::base::limits::PAGE;
use crate::base::metrics::DriveState;
use crate::drive::device::{Drive, DriveSet};
use crate::drive::segment;
use crate::drive::space::{Space, Span};
use crate::pool::Pool;
use crate::pool::error::PoolError;
use crate::pool::extent::{Address, MirroredExtent};
use crate::pool::segments::Purpose;
use crate::pool::stripe::{Extent, Stripe};

/// Empty segments a shard keeps on each drive before it gives one back.
const SPARE_SEGMENTS: usize = 1;

/// The space of one shard on all drives.
pub struct ShardSpace {
    pool: Rc<Pool>,
    shard: ShardId,
    spaces: RefCell<Vec<Space>>,
    /// Drives that are missing: their segment headers cannot be read, so a segment counts as owned as
    /// soon as a record names it, and what is freed while they are away is free when they return.
    absent: DriveSet,
    /// One claim at a time, so that a burst of writers claims one segment and not one each.
    claiming: tokio::sync::Mutex<()>,
}

impl ShardSpace {
    pub fn new(pool: Rc<Pool>, shard: ShardId) -> Self {
        let space = |_: &Rc<Drive>| Space::new(pool.geometry.segment_bytes);
        let spaces = RefCell::new(pool.drives.iter().map(space).collect());
        let missing = pool.drives.iter().filter(|drive| drive.state() == DriveState::Missing);
        let absent = missing.map(|drive| drive.id()).collect();
        ShardSpace { pool, shard, spaces, absent, claiming: tokio::sync::Mutex::new(()) }
    }

    /// Room for one chunk of `chunk_bytes` on each of k + m drives, or on as many as are in
    /// service; at least as many as is safe.
    pub async fn place_stripe(
        self: &Rc<Self>,
        chunk_bytes: u32,
        purpose: Purpose,
    ) -> Result<Stripe, PoolError> {
        let geometry = &self.pool.geometry;
        let width = usize::from(geometry.data_chunks) + usize::from(geometry.parity_chunks);
        let needed = self.pool.chunks_min()?;
        let found = self.place(chunk_bytes, width, needed, purpose).await?;
        let mut chunks: smallvec::SmallVec<[Option<Address>; 4]> = found.into_iter().map(Some).collect();
        chunks.resize(width, None);
        // Holes in turn fall on data and on parity, so that no drive carries parity only.
        let turn = self.pool.world.random_u64() as usize % width;
        chunks.rotate_left(turn);
        Ok(Stripe { chunks })
    }

    /// Room for `len` bytes on each of as many drives as a durable structure needs.
    pub async fn place_mirrored(self: &Rc<Self>, len: u32) -> Result<MirroredExtent, PoolError> {
        let wanted = self.pool.mirrors()?;
        let copies = self.place(len, wanted, wanted, Purpose::System).await?;
        Ok(MirroredExtent { len, copies: copies.into_iter().collect() })
    }

    async fn place(
        self: &Rc<Self>,
        bytes: u32,
        wanted: usize,
        needed: usize,
        purpose: Purpose,
    ) -> Result<Vec<Address>, PoolError> {
        let mut found = Unplaced { space: self, bytes, addresses: Vec::with_capacity(wanted) };
        for drive in self.order() {
            if found.addresses.len() == wanted {
                break;
            }
            match self.allocate(&drive, bytes, purpose).await {
                Ok(offset) => found.addresses.push(Address { drive: drive.id(), offset }),
                Err(error) => tracing::debug!(drive = %drive.id(), %error, "not placed here"),
            }
        }
        if found.addresses.len() >= needed {
            return Ok(std::mem::take(&mut found.addresses));
        }
        self.pool.chunks_min()?;
        Err(PoolError::Full)
    }

    /// Healthy drives in a random order in which a drive with twice the room is twice as likely to
    /// come first (Efraimidis and Spirakis, weighted sampling without replacement).
    fn order(&self) -> Vec<Rc<Drive>> {
        let geometry = &self.pool.geometry;
        let spaces = self.spaces.borrow();
        let mut keyed: Vec<(f64, Rc<Drive>)> = Vec::with_capacity(spaces.len());
        for drive in self.pool.healthy() {
            let unclaimed = self.pool.table(drive.id()).free_for_objects() as u64 * geometry.segment_bytes;
            let free = unclaimed + spaces[usize::from(drive.id().0)].free_bytes();
            let draw = (self.pool.world.random_u64() >> 11) as f64 / (1u64 << 53) as f64;
            keyed.push((draw.max(f64::MIN_POSITIVE).ln() / (free as f64 + 1.0), drive.clone()));
        }
        keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
        keyed.into_iter().map(|(_, drive)| drive).collect()
    }

    async fn allocate(
        self: &Rc<Self>,
        drive: &Rc<Drive>,
        bytes: u32,
        purpose: Purpose,
    ) -> Result<u64, PoolError> {
        if let Some(offset) = self.take(drive.id(), bytes) {
            return Ok(offset);
        }
        let _claiming = self.claiming.lock().await;
        if let Some(offset) = self.take(drive.id(), bytes) {
            return Ok(offset);
        }
        self.clone().claim(drive.clone(), purpose).await?;
        self.take(drive.id(), bytes).ok_or(PoolError::Full)
    }

    /// A claim is a task of its own: whoever asked for it may go away, the segment does not.
    async fn claim(self: Rc<Self>, drive: Rc<Drive>, purpose: Purpose) -> Result<(), PoolError> {
        let claim = tokio::task::spawn_local(async move {
            let segment = self.pool.claim_data(&drive, self.shard, purpose).await?;
            self.add_segment(drive.id(), segment);
            Ok(())
        });
        claim.await.unwrap_or(Err(PoolError::Full))
    }

    fn take(&self, drive: DriveId, bytes: u32) -> Option<u64> {
        self.spaces.borrow_mut()[usize::from(drive.0)].allocate(u64::from(bytes))
    }

    /// Takes over a segment whose header names this shard.
    pub fn add_segment(&self, drive: DriveId, segment: u32) {
        self.spaces.borrow_mut()[usize::from(drive.0)].add_segment(segment);
    }

    pub fn release(&self, address: Address, bytes: u64) {
        let span = Span { offset: address.offset, bytes };
        self.spaces.borrow_mut()[usize::from(address.drive.0)].release(span);
    }

    /// A durable record names the extent. False when it lies outside the shard's space, which only
    /// damaged bytes can cause.
    #[must_use]
    pub fn commit(&self, extent: &Extent) -> bool {
        self.each(extent, |space, span| space.commit(span))
    }

    /// No durable record names the extent any more; it may still be read.
    #[must_use]
    pub fn uncommit(&self, extent: &Extent) -> bool {
        self.each(extent, |space, span| space.uncommit(span))
    }

    /// Nobody reads the extent any more.
    pub fn release_extent(&self, extent: &Extent) {
        extent.spans().for_each(|(address, pages)| self.release(address, pages_bytes(pages)));
    }

    pub fn release_mirrored(&self, extent: &MirroredExtent) {
        extent.copies.iter().for_each(|address| self.release(*address, u64::from(extent.len)));
    }

    /// The manifest owns this extent.
    #[must_use]
    pub fn occupy(&self, extent: &MirroredExtent) -> bool {
        let mut spaces = self.spaces.borrow_mut();
        extent.copies.iter().all(|address| {
            let span = Span { offset: address.offset, bytes: u64::from(extent.len) };
            self.space_of(&mut spaces, *address).is_some_and(|space| space.occupy(span))
        })
    }

    fn each(&self, extent: &Extent, mut apply: impl FnMut(&mut Space, Span) -> bool) -> bool {
        let mut spaces = self.spaces.borrow_mut();
        let mut all = true;
        for (address, pages) in extent.spans() {
            let span = Span { offset: address.offset, bytes: pages_bytes(pages) };
            all &= self.space_of(&mut spaces, address).is_some_and(|space| apply(space, span));
        }
        all
    }

    /// The space an address lies in; on a missing drive its segment is taken over on sight.
    fn space_of<'a>(&self, spaces: &'a mut [Space], address: Address) -> Option<&'a mut Space> {
        let space = spaces.get_mut(usize::from(address.drive.0))?;
        if self.absent.contains(address.drive) {
            let segment = segment::of_offset(address.offset, self.pool.geometry.segment_bytes)?;
            if !space.owns(segment) {
                space.add_segment(segment);
            }
        }
        Some(space)
    }

    /// Loads a committed map from the catalog; one of a segment given back since is ignored.
    pub fn load(&self, drive: DriveId, segment: u32, bitmap: &[u8]) -> bool {
        let mut spaces = self.spaces.borrow_mut();
        let Some(space) = spaces.get_mut(usize::from(drive.0)) else { return false };
        if self.absent.contains(drive) && !space.owns(segment) {
            space.add_segment(segment);
        }
        !space.owns(segment) || space.load(segment, bitmap)
    }

    /// After replay: what was freed in it is free.
    pub fn settle(&self) {
        self.spaces.borrow_mut().iter_mut().for_each(Space::settle);
    }

    /// Committed maps that changed since the last call.
    pub fn drain_dirty(&self) -> Vec<(DriveId, u32, Vec<u8>)> {
        let mut spaces = self.spaces.borrow_mut();
        let each = spaces.iter_mut().enumerate().flat_map(|(drive, space)| {
            let tag = move |(segment, map)| (DriveId(drive as u16), segment, map);
            space.drain_dirty().into_iter().map(tag)
        });
        each.collect()
    }

    /// Gives emptied segments back to the drives, so that other shards may have them.
    pub async fn surrender(&self) -> Result<(), PoolError> {
        for drive in self.pool.drives.iter().filter(|drive| drive.is_healthy()) {
            loop {
                let index = usize::from(drive.id().0);
                let Some(segment) = self.spaces.borrow_mut()[index].surrender(SPARE_SEGMENTS) else { break };
                self.pool.give_back(drive, segment).await?;
            }
        }
        Ok(())
    }

    /// Bytes of one drive that durable records of this shard own.
    pub fn committed_bytes(&self, drive: DriveId) -> u64 {
        self.spaces.borrow()[usize::from(drive.0)].committed_bytes()
    }
}

/// Room taken for a caller who may go away before it is complete.
struct Unplaced<'a> {
    space: &'a ShardSpace,
    bytes: u32,
    addresses: Vec<Address>,
}

impl Drop for Unplaced<'_> {
    fn drop(&mut self) {
        self.addresses.iter().for_each(|address| self.space.release(*address, u64::from(self.bytes)));
    }
}

fn pages_bytes(pages: u32) -> u64 {
    u64::from(pages) * PAGE as u64
}
