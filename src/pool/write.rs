//! Writing an extent: payload in, coded blocks on k + m drives.
//!
//! Owns [`WritePath`] (what all writers of a core share), [`ExtentWriter`] and [`Written`], and says what it
//! needs of placement ([`Allocator`]). Uses `codec::frame`, `codec::erasure`, the drives and the layout.
//!
//! Life of a byte: it is copied once, to its place in a chunk's buffer; when its row is full the parity is
//! coded and every block gets its header; when its group of rows is full each chunk's part goes out as
//! one operation. Up to `WRITE_GROUPS_MAX` groups are on their way while the next one fills.
//!
//! Invariants: space is given back only when no write to it is in flight, also when the writer is
//! dropped; a chunk that failed to be written becomes a hole, and an extent with more holes than drives
//! that are out is refused; nothing is durable before [`Written::flush`]; memory is taken from the budget
//! before it is used, and waiting for it holds nothing but writes that end by themselves. A group that waits for its
//! bytes holds memory for a client: when that takes long it becomes small, and gives way when asked.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::base::budget::{BufferBudget, Permit};
use crate::base::ids::PoolId;
use crate::base::join::join_all;
use crate::base::limits::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BUFFER_PATIENCE_SECONDS, CHUNK_BLOCKS_MAX, OBJECT_BYTES_MAX, PAGE,
    SLOW_GROUP_SECONDS, STRIPE_CHUNKS_MAX, WRITE_GROUPS_MAX,
};
use crate::codec::erasure::ErasureCoder;
use crate::codec::frame::{self, BlockIdentity};
use crate::drive::device::{Area, DriveError, DriveSet, Drives};
use crate::io::buffer::AlignedBuf;
use crate::pool::error::PoolError;
use crate::pool::extent::Address;
use crate::pool::stripe::{Extent, Layout, Stripe};

const PATIENCE: Duration = Duration::from_secs(BUFFER_PATIENCE_SECONDS);
const SLOW: Duration = Duration::from_secs(SLOW_GROUP_SECONDS);

/// Where chunks are put. A handle that is cheap to hold; a writer keeps it until its last write ends.
pub trait Allocator {
    /// Space for one stripe: `chunk_bytes` (a multiple of the page, at most a full chunk) on each of
    /// k + m distinct drives in service; `None` in place of a chunk for want of a drive in service. When the
    /// caller stops waiting, nothing may stay handed out.
    fn place(&self, chunk_bytes: u32) -> impl Future<Output = Result<Stripe, PoolError>>;

    /// Gives back `bytes` from `address` on: a whole chunk or the end of one. Called when no write to it is
    /// in flight.
    fn release(&self, address: Address, bytes: u32);
}

impl<A: Allocator> Allocator for Rc<A> {
    fn place(&self, chunk_bytes: u32) -> impl Future<Output = Result<Stripe, PoolError>> {
        (**self).place(chunk_bytes)
    }

    fn release(&self, address: Address, bytes: u32) {
        (**self).release(address, bytes);
    }
}

/// What the writers of one core share.
pub struct WritePath {
    drives: Drives,
    coder: Rc<ErasureCoder>,
    pool: u64,
    chunk_blocks: u16,
    budget: BufferBudget,
}

/// Takes the bytes of one object, in order.
pub struct ExtentWriter<A: Allocator + 'static> {
    path: Rc<WritePath>,
    space: Rc<Space<A>>,
    nonce: u64,
    /// What is planned: of the announced size, else of the largest one there is.
    plan: Layout,
    /// Object bytes taken so far.
    taken: u64,
    stripes: Vec<Stripe>,
    filling: Option<Filling>,
    flying: VecDeque<JoinHandle<Flown>>,
    /// The last group took its time: the next ones are a row each.
    slow: bool,
    /// A call is under way, or ended badly: nothing can follow it.
    broken: bool,
}

/// An extent that stands on the drives and that nobody owns yet: dropped, its space is given back.
pub struct Written<A: Allocator + 'static> {
    path: Rc<WritePath>,
    space: Rc<Space<A>>,
    extent: Extent,
}

/// Rows of one stripe being filled: a buffer for each column.
struct Filling {
    stripe: usize,
    rows: Range<u32>,
    columns: SmallVec<[AlignedBuf; 4]>,
    permit: Permit,
    begun: Instant,
}

/// A group that was written: the columns that failed.
struct Flown {
    stripe: usize,
    failed: SmallVec<[(usize, DriveError); 4]>,
}

impl WritePath {
    /// `chunk_blocks`: rows in a stripe of the extents written from now on.
    pub fn new(
        drives: Drives,
        coder: Rc<ErasureCoder>,
        pool: PoolId,
        chunk_blocks: u16,
        budget: BufferBudget,
    ) -> Rc<Self> {
        assert!((1..=CHUNK_BLOCKS_MAX).contains(&usize::from(chunk_blocks)));
        Rc::new(WritePath { drives, coder, pool: pool.0 as u64, chunk_blocks, budget })
    }

    /// Begins an extent. With `size` known no more than that may come, and less is possible; without, up
    /// to the largest object. No space is taken before the first byte.
    pub fn extent<A: Allocator>(
        self: &Rc<Self>,
        allocator: A,
        nonce: u64,
        size: Option<u64>,
    ) -> ExtentWriter<A> {
        let (k, m) = (self.coder.data_shards() as u8, self.coder.parity_shards() as u8);
        let size = size.unwrap_or(OBJECT_BYTES_MAX);
        assert!(size <= OBJECT_BYTES_MAX);
        ExtentWriter {
            path: self.clone(),
            space: Rc::new(Space { allocator, placed: RefCell::default() }),
            nonce,
            plan: Layout { size, k, m, chunk_blocks: self.chunk_blocks },
            taken: 0,
            stripes: Vec::new(),
            filling: None,
            flying: VecDeque::new(),
            slow: false,
            broken: false,
        }
    }

    pub fn drives(&self) -> &Drives {
        &self.drives
    }

    pub fn budget(&self) -> &BufferBudget {
        &self.budget
    }

    /// With f drives out a stripe must survive the loss of m - f more, so it may lack f chunks; with f
    /// above m nothing is safe.
    fn check(&self, stripe: &Stripe) -> Result<(), PoolError> {
        let (good, out) = (stripe.good(), self.drives.out().len());
        let needed = (stripe.chunks.len() - out.min(stripe.chunks.len())).max(self.coder.data_shards());
        let is_safe = good >= needed && out <= self.coder.parity_shards();
        if is_safe { Ok(()) } else { Err(PoolError::NotWritable { good, needed }) }
    }
}

impl<A: Allocator + 'static> ExtentWriter<A> {
    /// Takes the next bytes. Waits for memory and for writes under way. After an error, or when the caller
    /// stopped waiting, the writer can only be dropped.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), PoolError> {
        assert!(!self.broken, "nothing follows a failed or abandoned write");
        self.broken = true;
        if bytes.len() as u64 > self.plan.size - self.taken {
            return Err(PoolError::Overrun(self.plan.size));
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            if self.filling.is_none() {
                self.begin_group().await?;
            }
            let row = (self.taken / self.plan.row_bytes()) as u32;
            let count = self.fill(row, rest);
            rest = &rest[count..];
            if self.taken == self.plan.bytes_of(row).end {
                self.end_row(row, &self.plan.clone());
                if self.ends_group(row) {
                    self.submit().await?;
                }
            }
        }
        self.broken = false;
        Ok(())
    }

    /// Whether memory that waits here for more bytes should go to others who wait for it: the writer is to be
    /// dropped then.
    pub fn gives_way(&self) -> bool {
        self.filling.as_ref().is_some_and(|group| {
            group.begun.elapsed() >= PATIENCE && self.path.budget.gives_way(group.permit.bytes())
        })
    }

    /// Object bytes taken so far.
    pub fn len(&self) -> u64 {
        self.taken
    }

    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Writes what is left and waits for everything under way. Space beyond the end is given back.
    pub async fn finish(mut self) -> Result<Written<A>, PoolError> {
        assert!(!self.broken, "nothing follows a failed or abandoned write");
        let layout = Layout { size: self.taken, ..self.plan };
        if self.filling.is_some() {
            self.end_early(&layout);
            self.submit().await?;
        }
        while !self.flying.is_empty() {
            self.land().await?;
        }
        if let Some(last) = self.stripes.last() {
            let used = layout.chunk_bytes(self.stripes.len() - 1);
            last.chunks.iter().flatten().for_each(|address| self.space.trim(*address, used));
        }
        let extent = Extent {
            nonce: self.nonce,
            size: layout.size,
            k: layout.k,
            m: layout.m,
            chunk_blocks: layout.chunk_blocks,
            stripes: self.stripes,
        };
        assert_eq!(extent.stripes.len(), layout.stripes());
        Ok(Written { path: self.path, space: self.space, extent })
    }

    /// Buffers for the rows that come next, and space for their stripe if they begin one.
    async fn begin_group(&mut self) -> Result<(), PoolError> {
        let row = (self.taken / self.plan.row_bytes()) as u32;
        let stripe = self.plan.stripe_of(row);
        if stripe == self.stripes.len() {
            let chunk_bytes = self.plan.chunk_bytes(stripe);
            let placed = self.space.allocator.place(chunk_bytes).await?;
            assert_eq!(placed.chunks.len(), self.plan.columns());
            self.space.add(&placed, chunk_bytes);
            self.path.check(&placed)?;
            self.stripes.push(placed);
        }
        // Who has not shown yet how fast it is begins with little when there is little.
        let is_small = self.slow || (self.taken == 0 && self.path.budget.is_scarce());
        let end = match is_small {
            true => row + 1,
            false => self.plan.group_end(row, self.plan.stripe_rows(stripe).end),
        };
        let rows = row..end;
        let bytes = self.plan.rows_bytes(rows.clone());
        let permit = self.path.budget.acquire(bytes * self.plan.columns()).await;
        // Every byte of a block is written before it leaves: payload, zeros behind it, header, padding.
        let columns = (0..self.plan.columns()).map(|_| AlignedBuf::uninit_for_read(bytes)).collect();
        self.filling = Some(Filling { stripe, rows, columns, permit, begun: Instant::now() });
        Ok(())
    }

    /// Whether the group is full with `row`. One that is filled slowly ends with any row.
    fn ends_group(&mut self, row: u32) -> bool {
        let group = self.filling.as_mut().expect("a row ends in its group");
        self.slow = group.begun.elapsed() >= SLOW;
        if self.slow {
            group.rows.end = row + 1;
        }
        group.rows.end == row + 1
    }

    /// Copies to the current block as much of `bytes` as it has room for; answers how much that was.
    fn fill(&mut self, row: u32, bytes: &[u8]) -> usize {
        let cell = self.plan.cell(self.taken);
        let room = (self.plan.bytes_of_block(row, cell.column).end - self.taken) as usize;
        let count = room.min(bytes.len());
        let group = self.filling.as_mut().expect("a group is begun before it is filled");
        let at = group.block_at(row) + BLOCK_HEADER_BYTES + cell.at;
        group.columns[cell.column][at..at + count].copy_from_slice(&bytes[..count]);
        self.taken += count as u64;
        count
    }

    /// Codes the parity of a row whose bytes are in place, and completes its blocks.
    fn end_row(&mut self, row: u32, layout: &Layout) {
        let group = self.filling.as_mut().expect("a row ends in its group");
        group.clear_slack(row, layout);
        group.code(row, layout, &self.path.coder);
        let stripe = &self.stripes[group.stripe];
        let shape = layout.shape(row);
        let at = group.block_at(row);
        for (column, buf) in group.columns.iter_mut().enumerate() {
            let Some(chunk) = stripe.address(column) else { continue };
            let address = Address { offset: chunk.offset + layout.block_offset(row), ..chunk };
            let identity = BlockIdentity {
                pool: self.path.pool,
                nonce: self.nonce,
                address: address.encode(),
                row,
                chunk: column as u8,
                k: layout.k,
                m: layout.m,
            };
            frame::encode(&mut buf[at..at + shape.disk], &identity, shape.coded);
        }
    }

    /// The object ends before the group does: moves the last row's bytes to where a last row has them.
    fn end_early(&mut self, layout: &Layout) {
        let group = self.filling.as_mut().expect("checked by the caller");
        group.rows.end = layout.rows();
        let begun = layout.bytes_of(layout.rows() - 1);
        // A row that ended by the plan is complete, unless the plan and the end disagree about it.
        if self.plan.bytes_of(layout.rows() - 1) == begun {
            return;
        }
        let row = layout.rows() - 1;
        group.relay(row, &self.plan, layout);
        self.end_row(row, layout);
    }

    /// Sends the group on its way, when there is room among those that are.
    async fn submit(&mut self) -> Result<(), PoolError> {
        while self.flying.len() >= WRITE_GROUPS_MAX {
            self.land().await?;
        }
        let group = self.filling.take().expect("a full group");
        let last = group.rows.end - 1;
        let size = self.taken.min(self.plan.size);
        let bytes = Layout { size, ..self.plan }.rows_bytes(group.rows.clone());
        assert!(self.taken <= self.plan.bytes_of(last).end);
        let offset = self.plan.block_offset(group.rows.start);
        let flight = fly(self.path.clone(), self.space.clone(), group, &self.stripes, offset, bytes);
        self.flying.push_back(tokio::task::spawn_local(flight));
        // Lets the writes reach the ring before the next rows are coded.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Waits for the oldest group under way. Chunks that failed become holes.
    async fn land(&mut self) -> Result<(), PoolError> {
        let Some(flight) = self.flying.front_mut() else { return Ok(()) };
        let flown = flight.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => PoolError::Stopped,
        });
        self.flying.pop_front();
        let flown = flown?;
        let stripe = &mut self.stripes[flown.stripe];
        for (column, _) in &flown.failed {
            stripe.chunks[*column] = None;
        }
        match self.path.check(stripe) {
            Err(_) if flown.failed.iter().any(|(_, error)| matches!(error, DriveError::Full(_))) => {
                Err(PoolError::Full)
            }
            result => result,
        }
    }
}

impl<A: Allocator + 'static> Written<A> {
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// The drives that hold its chunks, which a flush must cover before a record names them.
    pub fn touched(&self) -> DriveSet {
        let chunks = self.extent.stripes.iter().flat_map(|stripe| stripe.chunks.iter().flatten());
        chunks.map(|address| address.drive).collect()
    }

    /// Makes the extent durable. Chunks on drives whose flush fails become holes.
    pub async fn flush(&mut self) -> Result<(), PoolError> {
        let failed = self.path.drives.flush(&self.touched()).await;
        let failed: DriveSet = failed.into_iter().map(|(drive, _)| drive).collect();
        self.punch(&failed)
    }

    /// For a caller that flushes several extents at once: what [`flush`](Self::flush) does afterwards.
    ///
    /// Drives may have come back since the first stripes were placed, and what was safe without them is not any more:
    /// so all are looked at, whatever the flush did.
    pub fn punch(&mut self, failed: &DriveSet) -> Result<(), PoolError> {
        let chunks = self.extent.stripes.iter_mut().flat_map(|stripe| stripe.chunks.iter_mut());
        for chunk in chunks.filter(|chunk| chunk.is_some_and(|address| failed.contains(address.drive))) {
            *chunk = None;
        }
        self.extent.stripes.iter().try_for_each(|stripe| self.path.check(stripe))
    }

    /// Hands the space over to whoever holds the extent from now on. What holes left is given back.
    pub fn into_extent(self) -> Extent {
        let kept: HashSet<Address> = self.extent.spans().map(|(address, _)| address).collect();
        self.space.placed.borrow_mut().retain(|(address, _)| !kept.contains(address));
        self.extent
    }
}

impl Filling {
    /// Where the block of `row` begins in each column's buffer: only the last row is short.
    fn block_at(&self, row: u32) -> usize {
        (row - self.rows.start) as usize * BLOCK_BYTES
    }

    /// Zeros behind the payload of each data block: what is coded must be defined.
    fn clear_slack(&mut self, row: u32, layout: &Layout) {
        let (at, coded) = (self.block_at(row), layout.shape(row).coded);
        for column in 0..usize::from(layout.k) {
            let bytes = layout.bytes_of_block(row, column);
            let block = &mut self.columns[column][at..];
            frame::coded_area_mut(block, coded)[(bytes.end - bytes.start) as usize..].fill(0);
        }
    }

    fn code(&mut self, row: u32, layout: &Layout, coder: &ErasureCoder) {
        let (at, coded) = (self.block_at(row), layout.shape(row).coded);
        let (data, parity) = self.columns.split_at_mut(usize::from(layout.k));
        let data: SmallVec<[&[u8]; STRIPE_CHUNKS_MAX]> =
            data.iter().map(|buf| frame::coded_area(&buf[at..], coded)).collect();
        let mut parity: SmallVec<[&mut [u8]; STRIPE_CHUNKS_MAX]> =
            parity.iter_mut().map(|buf| frame::coded_area_mut(&mut buf[at..], coded)).collect();
        coder.encode(&data, &mut parity);
    }

    /// Moves the bytes of a row from where one layout has them to where another one does.
    fn relay(&mut self, row: u32, from: &Layout, to: &Layout) {
        let bytes = to.bytes_of(row);
        let at = self.block_at(row) + BLOCK_HEADER_BYTES;
        let mut flat = Vec::with_capacity((bytes.end - bytes.start) as usize);
        for column in 0..usize::from(from.k) {
            let held = from.bytes_of_block(row, column);
            let count = held.end.min(bytes.end).saturating_sub(held.start) as usize;
            flat.extend_from_slice(&self.columns[column][at..at + count]);
        }
        let mut rest = &flat[..];
        for column in 0..usize::from(to.k) {
            let held = to.bytes_of_block(row, column);
            let (head, tail) = rest.split_at((held.end - held.start) as usize);
            self.columns[column][at..at + head.len()].copy_from_slice(head);
            rest = tail;
        }
    }
}

/// Writes `bytes` of each column of a group to its chunk. A task of its own, which holds the space and
/// the memory until the last write is complete, whatever becomes of the writer.
fn fly<A: Allocator + 'static>(
    path: Rc<WritePath>,
    space: Rc<Space<A>>,
    group: Filling,
    stripes: &[Stripe],
    offset: u64,
    bytes: usize,
) -> impl Future<Output = Flown> + use<A> {
    let Filling { stripe, columns, permit, .. } = group;
    let chunks = stripes[stripe].chunks.clone();
    async move {
        let targets = chunks.iter().zip(columns).enumerate();
        let writes = targets.filter_map(|(column, (chunk, buf))| Some((column, (*chunk)?, Arc::new(buf))));
        let path = &path;
        let write = |(column, chunk, buf): (usize, Address, Arc<AlignedBuf>)| async move {
            let drive = path.drives.get(chunk.drive).map_err(|error| (column, error))?;
            let written = drive.write(Area::Data, buf, 0..bytes, chunk.offset + offset).await;
            written.map_err(|error| (column, error))
        };
        let results = join_all(writes.map(write)).await;
        drop((space, permit));
        Flown { stripe, failed: results.into_iter().filter_map(Result::err).collect() }
    }
}

/// Space handed out to one extent: given back when the last holder is gone, but for what was passed on.
struct Space<A: Allocator> {
    allocator: A,
    placed: RefCell<Vec<(Address, u32)>>,
}

impl<A: Allocator> Space<A> {
    fn add(&self, stripe: &Stripe, bytes: u32) {
        self.placed.borrow_mut().extend(stripe.chunks.iter().flatten().map(|address| (*address, bytes)));
    }

    /// Gives back what lies behind the first `used` bytes of a chunk.
    fn trim(&self, chunk: Address, used: u32) {
        let mut placed = self.placed.borrow_mut();
        let (address, bytes) =
            placed.iter_mut().find(|(address, _)| *address == chunk).expect("the chunk was placed");
        let surplus = *bytes - used;
        if surplus > 0 {
            *bytes = used;
            let tail = Address { offset: address.offset + u64::from(used), ..*address };
            drop(placed);
            self.allocator.release(tail, surplus);
        }
    }
}

impl<A: Allocator> Drop for Space<A> {
    fn drop(&mut self) {
        for (address, bytes) in self.placed.take() {
            self.allocator.release(address, bytes);
        }
    }
}

const _: () = assert!(BLOCK_BYTES.is_multiple_of(PAGE));
