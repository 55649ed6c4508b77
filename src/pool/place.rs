//! Where new bytes of a shard go: stripes and mirrored extents on distinct drives, weighted by
//! free space, from the segments the shard owns, claiming more when they are full.
//!
//! Invariants: chunks of a stripe and copies of an extent stand on distinct drives in service; what is
//! handed out is not handed out again before it is released. A drive that is away, or that has lost the headers of its
//! segments, changes nothing in what records own: a shard that is recovered takes over every segment
//! its records name, so that the maps are right when the drive comes back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;

use crate::base::ids::{DriveId, ShardId};
use crate::base::limits::{HEADERS_READ_AT_ONCE, PAGE, SPACE_MAPS_TRIED, SPARE_SEGMENTS_MAX};
use crate::drive::bitmap;
use crate::drive::device::{Drive, DriveSet};
use crate::drive::segment;
use crate::drive::space::{Among, Away, Saved, Space, Span};
use crate::pool::Pool;
use crate::pool::error::PoolError;
use crate::pool::extent::{Address, MirroredExtent};
use crate::pool::headers::{self, Sample};
use crate::pool::segments::{Purpose, Slot};
use crate::pool::stripe::{Extent, Stripe};

/// Reads what the catalog has of the map of a segment. The catalog is above this layer and stands in
/// this very space, so it is handed down.
pub type MapReader = Box<dyn Fn(DriveId, u32) -> MapRead>;
pub type MapRead = Pin<Box<dyn Future<Output = Result<Option<Bytes>, PoolError>>>>;

/// The space of one shard on all drives.
pub struct ShardSpace {
    pool: Rc<Pool>,
    shard: ShardId,
    spaces: RefCell<Vec<Space>>,
    recovering: Cell<bool>,
    /// Segments that records name and no header does.
    adopted: RefCell<BTreeSet<(DriveId, u32)>>,
    /// Segments that records name and that have another owner by now: what stood there is gone.
    lost: RefCell<BTreeSet<(DriveId, u32)>>,
    /// One claim at a time, so that a burst of writers claims one segment and not one each.
    claiming: tokio::sync::Mutex<()>,
    /// Held while headers of segments of ours are written that others may be given: one writer of a header at a time.
    heading: tokio::sync::Mutex<()>,
    /// Bytes of maps to keep in memory.
    maps_bytes: usize,
    read_map: RefCell<Option<Rc<MapReader>>>,
}

impl ShardSpace {
    /// `maps_bytes` of maps are kept in memory, and one a drive at least.
    pub fn new(pool: Rc<Pool>, shard: ShardId, maps_bytes: usize) -> Self {
        let space = |_: &Rc<Drive>| Space::new(pool.geometry.segment_bytes);
        let spaces = RefCell::new(pool.drives.iter().map(space).collect());
        ShardSpace {
            pool,
            shard,
            spaces,
            recovering: Cell::new(true),
            adopted: RefCell::default(),
            lost: RefCell::default(),
            claiming: tokio::sync::Mutex::new(()),
            heading: tokio::sync::Mutex::new(()),
            maps_bytes,
            read_map: RefCell::default(),
        }
    }

    /// From here on maps that are away can be brought back.
    pub fn read_maps_with(&self, reader: MapReader) {
        *self.read_map.borrow_mut() = Some(Rc::new(reader));
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
        let found = self.place(chunk_bytes, width, Pool::chunks_min, purpose).await?;
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
        let copies = self.place(len, wanted, Pool::mirrors, Purpose::System).await?;
        Ok(MirroredExtent { len, copies: copies.into_iter().collect() })
    }

    async fn place(
        self: &Rc<Self>,
        bytes: u32,
        wanted: usize,
        needed: fn(&Pool) -> Result<usize, PoolError>,
        purpose: Purpose,
    ) -> Result<Vec<Address>, PoolError> {
        loop {
            let (failed, needed) = (self.pool.failed(), needed(&self.pool)?);
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
            // A drive that failed meanwhile is not a full one, and without it less is needed.
            if self.pool.failed() == failed {
                return Err(PoolError::Full);
            }
        }
    }

    /// Healthy drives in a random order in which a drive with twice the room is twice as likely to
    /// come first (Efraimidis and Spirakis, weighted sampling without replacement).
    fn order(&self) -> Vec<Rc<Drive>> {
        let geometry = &self.pool.geometry;
        let mut keyed: Vec<(f64, Rc<Drive>)> = Vec::with_capacity(self.pool.drives.len());
        for drive in self.pool.in_service() {
            let unclaimed = self.pool.table(drive.id()).free_for_objects() as u64 * geometry.segment_bytes;
            let free = unclaimed + self.free_bytes(drive.id());
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
        if let Some(offset) = self.take(drive.id(), bytes, purpose) {
            return Ok(offset);
        }
        let _claiming = self.claiming.lock().await;
        if let Some(offset) = self.take(drive.id(), bytes, purpose) {
            return Ok(offset);
        }
        if let Some(offset) = self.take_from_away(drive.id(), bytes, purpose, SPACE_MAPS_TRIED).await {
            return Ok(offset);
        }
        match self.clone().claim(drive.clone(), purpose).await {
            Ok(()) => self.take_in(drive.id(), bytes, of_claimed(purpose)).ok_or(PoolError::Full),
            Err(error) => self.take_from_away(drive.id(), bytes, purpose, usize::MAX).await.ok_or(error),
        }
    }

    /// Room in up to `tries` segments whose maps are away and come back for it.
    async fn take_from_away(
        &self,
        drive: DriveId,
        bytes: u32,
        purpose: Purpose,
        tries: usize,
    ) -> Option<u64> {
        for _ in 0..tries {
            let among = self.among(drive, purpose);
            let away = self.spaces.borrow()[usize::from(drive.0)].away_with_room(u64::from(bytes), among)?;
            let value = self.read_map(drive, away).await;
            let mut spaces = self.spaces.borrow_mut();
            let space = &mut spaces[usize::from(drive.0)];
            let back =
                value.map_err(drop).and_then(|value| space.bring_back(away, value.as_deref()).map_err(drop));
            if back.is_err() {
                tracing::error!(%drive, segment = away.segment, "the map of a segment cannot be read");
                space.leave_alone(away);
            }
            let offset = space.allocate(u64::from(bytes), among);
            space.send_away(self.maps_max(space));
            if offset.is_some() {
                return offset;
            }
        }
        None
    }

    async fn read_map(&self, drive: DriveId, away: Away) -> Result<Option<Bytes>, PoolError> {
        let reader = self.read_map.borrow().clone().ok_or(PoolError::Stopped)?;
        reader(drive, away.segment).await
    }

    /// Maps of one drive to keep.
    fn maps_max(&self, space: &Space) -> usize {
        (self.maps_bytes / self.pool.drives.len() / space.map_bytes()).max(1)
    }

    /// A claim is a task of its own: whoever asked for it may go away, the segment does not.
    async fn claim(self: Rc<Self>, drive: Rc<Drive>, purpose: Purpose) -> Result<(), PoolError> {
        let claim = tokio::task::spawn_local(async move {
            let segment = self.pool.claim_data(&drive, self.shard, purpose).await?;
            // Old records still name this one: it stays unused until the next start knows better.
            if self.lost.borrow().contains(&(drive.id(), segment)) {
                return Err(PoolError::Full);
            }
            self.spaces.borrow_mut()[usize::from(drive.id().0)].add_empty(segment);
            Ok(())
        });
        claim.await.unwrap_or(Err(PoolError::Full))
    }

    /// Where objects may open no segment the catalog fills their holes first, so that the reserve comes back.
    fn take(&self, drive: DriveId, bytes: u32, purpose: Purpose) -> Option<u64> {
        let is_full = || self.pool.table(drive).is_closed_to(Purpose::Objects);
        let in_holes = match purpose {
            Purpose::System if is_full() => self.take_in(drive, bytes, Among::Holes),
            _ => None,
        };
        in_holes.or_else(|| self.take_in(drive, bytes, self.among(drive, purpose)))
    }

    fn take_in(&self, drive: DriveId, bytes: u32, among: Among) -> Option<u64> {
        self.spaces.borrow_mut()[usize::from(drive.0)].allocate(u64::from(bytes), among)
    }

    /// A segment of the shard that no object has been in counts as part of the reserve.
    fn among(&self, drive: DriveId, purpose: Purpose) -> Among {
        match purpose {
            Purpose::System => Among::All,
            _ if self.pool.table(drive).is_closed_to(purpose) => Among::Opened,
            _ => Among::AllToOpen,
        }
    }

    /// Takes over a segment whose header named this shard at start.
    pub fn add_segment(&self, drive: DriveId, segment: u32) {
        self.spaces.borrow_mut()[usize::from(drive.0)].add_segment(segment);
    }

    pub fn release(&self, address: Address, bytes: u64) {
        let span = Span { offset: address.offset, bytes };
        if let Held::Ours = self.hold(address) {
            self.spaces.borrow_mut()[usize::from(address.drive.0)].release(span);
        }
    }

    /// The extent without the chunks in segments that are not the shard's any more: what stands there is
    /// another's, and nothing may be written to it.
    pub fn held(&self, extent: &Extent) -> Extent {
        let mut held = extent.clone();
        let chunks = held.stripes.iter_mut().flat_map(|stripe| stripe.chunks.iter_mut());
        chunks.for_each(|chunk| *chunk = chunk.filter(|address| self.is_ours(*address)));
        held
    }

    /// The same of copies.
    pub fn held_mirrored(&self, extent: &MirroredExtent) -> MirroredExtent {
        let copies = extent.copies.iter().copied().filter(|address| self.is_ours(*address));
        MirroredExtent { copies: copies.collect(), ..*extent }
    }

    fn is_ours(&self, address: Address) -> bool {
        let spaces = self.spaces.borrow();
        let segment = segment::of_offset(address.offset, self.pool.geometry.segment_bytes);
        let space = spaces.get(usize::from(address.drive.0));
        space.zip(segment).is_some_and(|(space, segment)| space.owns(segment))
    }

    /// Whose the segment behind an address is; it becomes ours if a record says so before anybody
    /// else could take it.
    fn hold(&self, address: Address) -> Held {
        let mut spaces = self.spaces.borrow_mut();
        let segment = segment::of_offset(address.offset, self.pool.geometry.segment_bytes);
        let (Some(space), Some(segment)) = (spaces.get_mut(usize::from(address.drive.0)), segment) else {
            return Held::Nowhere;
        };
        let at = (address.drive, segment);
        if space.owns(segment) {
            return Held::Ours;
        }
        if self.lost.borrow().contains(&at) {
            return Held::Lost;
        }
        if !self.recovering.get() {
            return Held::Nowhere;
        }
        if self.pool.table(address.drive).adopt(segment, self.shard) {
            space.add_segment(segment);
            self.adopted.borrow_mut().insert(at);
            return Held::Ours;
        }
        self.lost.borrow_mut().insert(at);
        Held::Lost
    }

    /// From here on only space that was claimed is ours. Adopted segments get a header again where
    /// their drive is in service.
    pub async fn end_recovery(&self) {
        self.recovering.set(false);
        let (mut written, mut drives) = (0, DriveSet::default());
        for (drive, segment) in self.adopted.take() {
            let Ok(handle) = self.pool.drives.get(drive).cloned() else { continue };
            if self.pool.write_data_header(&handle, segment, self.shard).await.is_ok() {
                written += 1;
                drives.insert(drive);
            }
        }
        // A drive whose flush fails is latched by then, and its headers are looked for again at the next start.
        self.pool.drives.flush(&drives).await;
        let lost = self.lost.borrow().len();
        if written + lost > 0 {
            tracing::warn!(shard = %self.shard, written, lost, "segments had lost their headers");
        }
    }

    /// A durable record names the extent. False when it lies outside the shard's space, which only
    /// damaged bytes can cause; what was lost is passed over.
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
        let bytes = u64::from(extent.len);
        extent.copies.iter().all(|address| self.each_span(*address, bytes, &mut Space::occupy))
    }

    fn each(&self, extent: &Extent, mut apply: impl FnMut(&mut Space, Span) -> bool) -> bool {
        let mut all = true;
        for (address, pages) in extent.spans() {
            all &= self.each_span(address, pages_bytes(pages), &mut apply);
        }
        all
    }

    fn each_span(
        &self,
        address: Address,
        bytes: u64,
        apply: &mut impl FnMut(&mut Space, Span) -> bool,
    ) -> bool {
        match self.hold(address) {
            Held::Ours => {
                let span = Span { offset: address.offset, bytes };
                apply(&mut self.spaces.borrow_mut()[usize::from(address.drive.0)], span)
            }
            Held::Lost => true,
            Held::Nowhere => false,
        }
    }

    /// Notes a committed map of the catalog at start; one of a segment given back since is ignored.
    pub fn note(&self, drive: DriveId, segment: u32, map: &[u8]) -> bool {
        let owns = match self.spaces.borrow().get(usize::from(drive.0)) {
            Some(space) => space.owns(segment),
            None => return false,
        };
        if !owns && bitmap::pages_marked(map) == Some(0) {
            return true;
        }
        let offset = segment::offset(segment, self.pool.geometry.segment_bytes);
        match self.hold(Address { drive, offset }) {
            Held::Ours => self.spaces.borrow_mut()[usize::from(drive.0)].note(segment, map),
            Held::Lost | Held::Nowhere => true,
        }
    }

    /// After replay: what was freed in it waits for `let_go`.
    pub fn settle(&self) {
        self.spaces.borrow_mut().iter_mut().for_each(Space::settle);
    }

    /// What was freed in replay is free: the next start knows without the log.
    pub fn let_go(&self) {
        self.spaces.borrow_mut().iter_mut().for_each(Space::let_go);
    }

    // ---- The catalog ----

    /// Segments whose maps in the catalog are out of date.
    pub fn changed(&self) -> Vec<(DriveId, u32)> {
        let spaces = self.spaces.borrow();
        let of = |(drive, space): (usize, &Space)| {
            space.changed().into_iter().map(move |segment| (DriveId(drive as u16), segment))
        };
        spaces.iter().enumerate().flat_map(of).collect()
    }

    /// Hands the map of a changed segment to `put`, which puts it into the catalog at once.
    pub async fn save(&self, drive: DriveId, segment: u32, put: impl Fn(&[u8])) -> Result<(), PoolError> {
        let saved = self.spaces.borrow_mut()[usize::from(drive.0)].save(segment);
        let away = match saved {
            Saved::Clean => return Ok(()),
            Saved::Map(map) => {
                put(&map);
                return Ok(());
            }
            Saved::Needs(away) => away,
        };
        let value = self.read_map(drive, away).await?;
        let saved = self.spaces.borrow_mut()[usize::from(drive.0)].save_over(away, value.as_deref());
        let saved = saved.map_err(|_| PoolError::Damaged("space map"))?;
        saved.iter().for_each(|map| put(map));
        Ok(())
    }

    /// Keeps no more maps in memory than it may; those that have changed since they were saved stay.
    pub fn send_away(&self) {
        self.spaces.borrow_mut().iter_mut().for_each(|space| space.send_away(self.maps_max(space)));
    }

    /// Memory taken by what is not in the catalog yet.
    pub fn unsaved_bytes(&self) -> usize {
        self.spaces.borrow().iter().map(Space::unsaved_bytes).sum()
    }

    /// Maps in memory.
    pub fn maps(&self) -> usize {
        self.spaces.borrow().iter().map(Space::maps).sum()
    }

    /// Whether a drive that is full, or whose file system is, could have segments back that the catalog does not know
    /// to be empty.
    pub fn withholds(&self) -> bool {
        let spaces = self.spaces.borrow();
        let is_full = |index: usize| {
            let table = self.pool.table(DriveId(index as u16));
            table.is_closed_to(Purpose::Objects) || table.ballast.lacks_room()
        };
        spaces.iter().enumerate().any(|(index, space)| space.withholds() && is_full(index))
    }

    /// Gives emptied segments back to the drives, so that other shards may have them.
    pub async fn surrender(&self) -> Result<(), PoolError> {
        let _heading = self.heading.lock().await;
        for drive in self.pool.drives.iter().filter(|drive| drive.is_in_service()) {
            while let Some(segment) = self.surrender_one(drive.id()).await {
                self.pool.give_back(drive, segment).await?;
            }
        }
        Ok(())
    }

    /// Lets go of an empty segment, if the shard has more of them than it may keep.
    async fn surrender_one(&self, drive: DriveId) -> Option<u32> {
        // One that was claimed just now is for somebody who has not taken his piece of it yet.
        let _claiming = self.claiming.lock().await;
        let is_full = self.pool.table(drive).is_closed_to(Purpose::Objects);
        let kept = if is_full { 0 } else { SPARE_SEGMENTS_MAX };
        self.spaces.borrow_mut()[usize::from(drive.0)].surrender(kept)
    }

    /// Checks the headers of the shard's segments on drives in service, and writes those again that are wrong: how
    /// many there were on each.
    pub async fn mend_headers(&self) -> Vec<(DriveId, Sample)> {
        let (mut found, mut written) = (Vec::new(), DriveSet::default());
        for drive in self.pool.in_service() {
            let index = usize::from(drive.id().0);
            let segments = self.segments(drive.id());
            let mut sample = Sample::default();
            for some in segments.chunks(HEADERS_READ_AT_ONCE) {
                // Some at a time: a drive with many may be slow, and segments are claimed and given back meanwhile.
                let _heading = self.heading.lock().await;
                for segment in some {
                    if !self.spaces.borrow()[index].owns(*segment) {
                        continue;
                    }
                    let mended = self.mend_header(drive, *segment).await;
                    sample.checked += 1;
                    sample.wrong += usize::from(mended.is_some());
                    drive.health().suspect(usize::from(mended.is_some()));
                    if mended == Some(true) {
                        written.insert(drive.id());
                    }
                }
            }
            found.push((drive.id(), sample));
        }
        // A drive whose flush fails is latched by then.
        self.pool.drives.flush(&written).await;
        found
    }

    /// Whether a header that was wrong is written; `None` for a right one.
    async fn mend_header(&self, drive: &Rc<Drive>, segment: u32) -> Option<bool> {
        if headers::is_right(&self.pool, drive, segment, Slot::Data(self.shard)).await {
            return None;
        }
        Some(self.pool.write_data_header(drive, segment, self.shard).await.is_ok())
    }

    /// The segments of one drive that are the shard's.
    pub fn segments(&self, drive: DriveId) -> Vec<u32> {
        self.spaces.borrow()[usize::from(drive.0)].segments()
    }

    /// Bytes of one drive that can be handed out without another segment.
    pub fn free_bytes(&self, drive: DriveId) -> u64 {
        self.spaces.borrow()[usize::from(drive.0)].free_bytes()
    }

    /// Bytes of one drive that durable records of this shard own.
    pub fn committed_bytes(&self, drive: DriveId) -> u64 {
        self.spaces.borrow()[usize::from(drive.0)].committed_bytes()
    }
}

/// Whose a segment is, as far as one shard knows.
enum Held {
    Ours,
    /// It was ours, and is not any more.
    Lost,
    /// Outside of everything the shard has had.
    Nowhere,
}

/// Where the piece comes from that a segment was claimed for, whatever others have claimed since.
fn of_claimed(purpose: Purpose) -> Among {
    if purpose == Purpose::System { Among::All } else { Among::AllToOpen }
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
