//! Reading one group of rows: choose blocks, read, verify, restore what is missing, deliver in order.
//!
//! Owns `gather` and the grid behind it; used by `pool::read`, and the grid by `pool::mend`. The plan is made for the
//! whole group at once and in rounds: first the wanted blocks of drives that are believed in, together with as many
//! other columns as the rest is known to need; then, if something was wrong, what is still missing.
//!
//! Invariants: each block is read at most once a round and never again once its column was tried; a block
//! counts as good only when `frame::verify` confirms it; a row is restored only from k good blocks; the
//! rounds end, because each tries at least one column that was not tried yet. Memory of the first round
//! is taken from the budget in one go; a surprise in it costs up to k columns beyond it.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::base::budget::Permit;
use crate::base::join::join_all;
use crate::base::limits::{BLOCK_HEADER_BYTES, PAGE, STRIPE_CHUNKS_MAX};
use crate::codec::frame::{self, BlockIdentity};
use crate::drive::device::{Area, DriveError, DriveSet};
use crate::io::buffer::AlignedBuf;
use crate::pool::error::PoolError;
use crate::pool::extent::Address;
use crate::pool::read::{Damage, DamageCause, ReadPath};
use crate::pool::stripe::{Extent, Group, Layout};

/// What is remembered while a range is read: drives that failed or delivered something wrong, which are asked
/// last for the rest of it, and who wants to hear of it.
#[derive(Clone, Default)]
pub struct Suspects {
    drives: Rc<Cell<DriveSet>>,
    hearer: Option<Hearer>,
}

/// Hears of every block that was not as it must be; must not wait.
pub type Hearer = Rc<dyn Fn(&Damage)>;

impl Suspects {
    pub fn heard_by(hearer: Hearer) -> Self {
        Suspects { drives: Rc::default(), hearer: Some(hearer) }
    }
}

/// The wanted bytes of a group, in order: one piece for each block.
pub async fn gather(
    path: Rc<ReadPath>,
    extent: Rc<Extent>,
    group: Group,
    suspects: Suspects,
) -> Result<Vec<Bytes>, PoolError> {
    let (k, m) = (path.coder.data_shards(), path.coder.parity_shards());
    if (usize::from(extent.k), usize::from(extent.m)) != (k, m) {
        return Err(PoolError::Damaged("an extent of another scheme"));
    }
    let mut grid = Grid::new(&path, &extent, group, suspects);
    let mut plan = grid.plan();
    let mut permit = path.budget.acquire(grid.cost(&plan)).await;
    while !plan.is_empty() {
        grid.read(&plan, &mut permit).await;
        plan = grid.plan();
    }
    let pieces = grid.restore(&mut permit).map(|()| grid.deliver());
    if pieces.is_err() {
        path.counters.unreadable_groups.increment();
    }
    pieces
}

/// Rows of one column, all in the group.
pub(super) type Span = (usize, Range<u32>);

pub(super) struct Grid<'a> {
    pub(super) path: &'a ReadPath,
    pub(super) extent: &'a Extent,
    pub(super) layout: Layout,
    pub(super) group: Group,
    suspects: Suspects,
    /// What is found wrong is no news: whoever made this looks for it.
    pub(super) is_quiet: bool,
    /// For each row of the group, for each column.
    blocks: Vec<Block>,
    buffers: Vec<Buffer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    Unread,
    /// Not there, or not what it must be.
    Bad,
    /// Verified or restored: its coded area begins at `at` of a buffer.
    Good {
        buffer: u32,
        at: u32,
    },
}

struct Buffer {
    memory: AlignedBuf,
    /// Held as long as the memory.
    _permit: Permit,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl<'a> Grid<'a> {
    pub(super) fn new(path: &'a ReadPath, extent: &'a Extent, group: Group, suspects: Suspects) -> Self {
        let layout = extent.layout();
        let mut blocks = vec![Block::Unread; group.rows.len() * layout.columns()];
        for column in 0..layout.columns() {
            if extent.stripes[group.stripe].address(column).is_none() {
                blocks
                    .iter_mut()
                    .skip(column)
                    .step_by(layout.columns())
                    .for_each(|block| *block = Block::Bad);
            }
        }
        Grid { path, extent, layout, group, suspects, is_quiet: false, blocks, buffers: Vec::new() }
    }

    fn index(&self, row: u32, column: usize) -> usize {
        (row - self.group.rows.start) as usize * self.layout.columns() + column
    }

    pub(super) fn block(&self, row: u32, column: usize) -> Block {
        self.blocks[self.index(row, column)]
    }

    pub(super) fn is_good(&self, row: u32, column: usize) -> bool {
        matches!(self.block(row, column), Block::Good { .. })
    }

    pub(super) fn columns(&self) -> Range<usize> {
        0..self.layout.columns()
    }

    /// What to read next: nothing when every row can be delivered, or when nothing is left to try.
    fn plan(&self) -> SmallVec<[Span; STRIPE_CHUNKS_MAX]> {
        let mut spans: [Range<u32>; STRIPE_CHUNKS_MAX] = std::array::from_fn(|_| 0..0);
        for column in self.columns().filter(|column| self.is_trusted(*column)) {
            let wanted = self.wanted(column);
            if wanted.clone().any(|row| self.block(row, column) == Block::Unread) {
                spans[column] = wanted;
            }
        }
        let mut others = self.by_trust().into_iter();
        while let Some(lacking) = self.lacking(&spans)
            && let Some(column) = others.next()
        {
            if lacking.clone().any(|row| self.block(row, column) == Block::Unread) {
                spans[column] = hull(&spans[column], &lacking);
            }
        }
        spans.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()).collect()
    }

    /// The rows that these reads would leave undeliverable, and everything between them.
    fn lacking(&self, spans: &[Range<u32>]) -> Option<Range<u32>> {
        let expected = |row: u32, column: usize| match self.block(row, column) {
            Block::Good { .. } => true,
            Block::Unread => spans[column].contains(&row),
            Block::Bad => false,
        };
        let lacks = |row: &u32| {
            let is_whole = self.wanted_in(*row).all(|column| expected(*row, column));
            !is_whole && self.columns().filter(|column| expected(*row, *column)).count() < self.k()
        };
        let first = self.group.rows.clone().find(lacks)?;
        let last = self.group.rows.clone().rev().find(lacks)?;
        Some(first..last + 1)
    }

    /// All columns, those of trusted drives nobody suspects first.
    fn by_trust(&self) -> SmallVec<[usize; STRIPE_CHUNKS_MAX]> {
        let mut columns: SmallVec<_> = self.columns().collect();
        columns.sort_by_key(|column| !self.is_trusted(*column));
        columns
    }

    fn is_trusted(&self, column: usize) -> bool {
        let chunk = self.extent.stripes[self.group.stripe].address(column);
        chunk.is_some_and(|chunk| {
            self.path.drives.is_trusted(chunk.drive) && !self.suspects.drives.get().contains(chunk.drive)
        })
    }

    fn k(&self) -> usize {
        usize::from(self.layout.k)
    }

    fn wanted(&self, column: usize) -> Range<u32> {
        self.layout.column_rows(&self.group, column)
    }

    /// Columns with wanted bytes in a row.
    fn wanted_in(&self, row: u32) -> impl Iterator<Item = usize> {
        (0..self.k()).filter(move |column| self.wanted(*column).contains(&row))
    }

    /// Memory for a plan, restored blocks included.
    fn cost(&self, plan: &[Span]) -> usize {
        let reads: usize = plan.iter().map(|(_, rows)| self.layout.rows_bytes(rows.clone())).sum();
        let planned =
            |row: u32, column: usize| plan.iter().any(|span| span.0 == column && span.1.contains(&row));
        let restored = |row: u32| {
            let count = self.wanted_in(row).filter(|column| !planned(row, *column)).count();
            count * self.layout.shape(row).coded
        };
        reads + self.group.rows.clone().map(restored).sum::<usize>()
    }

    /// Reads and verifies; every block of the spans is good or bad afterwards.
    pub(super) async fn read(&mut self, plan: &[Span], permit: &mut Permit) {
        let reads = join_all(plan.iter().map(|span| self.read_span(span))).await;
        for ((column, rows), result) in plan.iter().zip(reads) {
            match result {
                Ok(memory) => self.take_span(*column, rows.clone(), memory, permit),
                Err(error) => rows.clone().for_each(|row| self.refuse(row, *column, Err(&error))),
            }
        }
    }

    /// Blocks of one chunk that follow each other, in one operation.
    async fn read_span(&self, (column, rows): &Span) -> Result<AlignedBuf, DriveError> {
        let address = self.address(rows.start, *column);
        let memory = AlignedBuf::uninit_for_read(self.layout.rows_bytes(rows.clone()));
        self.path.drives.get(address.drive)?.read(Area::Data, memory, address.offset).await
    }

    pub(super) fn address(&self, row: u32, column: usize) -> Address {
        self.extent.block_address(row, column).expect("holes are bad from the start and never read")
    }

    fn take_span(&mut self, column: usize, rows: Range<u32>, memory: AlignedBuf, permit: &mut Permit) {
        let buffer = self.buffers.len() as u32;
        let first = self.layout.block_offset(rows.start);
        for row in rows {
            if self.block(row, column) != Block::Unread {
                continue;
            }
            let shape = self.layout.shape(row);
            let at = (self.layout.block_offset(row) - first) as usize;
            match frame::verify(&memory[at..at + shape.disk], &self.identity(row, column), shape.coded) {
                Ok(_) => {
                    let index = self.index(row, column);
                    self.blocks[index] = Block::Good { buffer, at: (at + BLOCK_HEADER_BYTES) as u32 };
                }
                Err(error) => self.refuse(row, column, Ok(error)),
            }
        }
        let permit = permit.split(memory.len());
        self.buffers.push(Buffer { memory, _permit: permit });
    }

    pub(super) fn identity(&self, row: u32, column: usize) -> BlockIdentity {
        BlockIdentity {
            pool: self.path.pool,
            nonce: self.extent.nonce,
            address: self.address(row, column).encode(),
            row,
            chunk: column as u8,
            k: self.layout.k,
            m: self.layout.m,
        }
    }

    /// A block that cannot be used. A drive that is out is known to be; anything else is news.
    fn refuse(&mut self, row: u32, column: usize, cause: Result<frame::FrameError, &DriveError>) {
        let index = self.index(row, column);
        if self.blocks[index] != Block::Unread {
            return;
        }
        self.blocks[index] = Block::Bad;
        let cause = match cause {
            Err(DriveError::Out(_)) => return,
            Err(error) => DamageCause::Drive(error.clone()),
            Ok(error) => DamageCause::Frame(error),
        };
        let address = self.address(row, column);
        let mut suspects = self.suspects.drives.get();
        suspects.insert(address.drive);
        self.suspects.drives.set(suspects);
        if self.is_quiet {
            return;
        }
        let damage = Damage { address, nonce: self.extent.nonce, row, column, cause };
        self.path.report(&damage);
        self.suspects.hearer.iter().for_each(|hear| hear(&damage));
    }

    /// Restores every wanted block that is not good, row by row, into one buffer.
    fn restore(&mut self, permit: &mut Permit) -> Result<(), PoolError> {
        let missing: Vec<(u32, SmallVec<[usize; STRIPE_CHUNKS_MAX]>)> = self
            .group
            .rows
            .clone()
            .map(|row| (row, self.missing(row)))
            .filter(|(_, m)| !m.is_empty())
            .collect();
        let bytes: usize = missing.iter().map(|(row, m)| m.len() * self.layout.shape(*row).coded).sum();
        if bytes == 0 {
            return Ok(());
        }
        self.path.counters.degraded_groups.increment();
        let mut memory = AlignedBuf::uninit_for_read(bytes.next_multiple_of(PAGE));
        let (buffer, mut at) = (self.buffers.len() as u32, 0);
        for (row, columns) in missing {
            let coded = self.layout.shape(row).coded;
            self.restore_row(row, &columns, &mut memory[at..at + columns.len() * coded])?;
            for column in columns {
                let index = self.index(row, column);
                self.blocks[index] = Block::Good { buffer, at: at as u32 };
                at += coded;
            }
        }
        let permit = permit.split(memory.len());
        self.buffers.push(Buffer { memory, _permit: permit });
        Ok(())
    }

    fn missing(&self, row: u32) -> SmallVec<[usize; STRIPE_CHUNKS_MAX]> {
        self.wanted_in(row).filter(|column| !self.is_good(row, *column)).collect()
    }

    pub(super) fn restore_row(&self, row: u32, columns: &[usize], out: &mut [u8]) -> Result<(), PoolError> {
        let coded = self.layout.shape(row).coded;
        let mut present: SmallVec<[Option<&[u8]>; STRIPE_CHUNKS_MAX]> =
            smallvec![None; self.layout.columns()];
        for column in self.columns() {
            if let Block::Good { buffer, at } = self.block(row, column) {
                present[column] = Some(&self.buffers[buffer as usize].memory[at as usize..][..coded]);
            }
        }
        let mut out: SmallVec<[&mut [u8]; STRIPE_CHUNKS_MAX]> = out.chunks_exact_mut(coded).collect();
        self.path.counters.restored_blocks.add(columns.len() as u64);
        let good = present.iter().flatten().count();
        self.path.coder.reconstruct(&present, columns, &mut out).map_err(|_| PoolError::Unreadable {
            row,
            good,
            needed: self.k(),
        })
    }

    /// The wanted bytes of each block, once all of them are good.
    fn deliver(self) -> Vec<Bytes> {
        let Grid { layout, group, blocks, buffers, .. } = self;
        let buffers: Vec<Bytes> = buffers.into_iter().map(Bytes::from_owner).collect();
        let mut pieces = Vec::with_capacity(group.rows.len() * usize::from(layout.k));
        for (row, blocks) in group.rows.clone().zip(blocks.chunks_exact(layout.columns())) {
            for (column, block) in blocks.iter().enumerate().take(usize::from(layout.k)) {
                let held = layout.bytes_of_block(row, column);
                let wanted = held.start.max(group.bytes.start)..held.end.min(group.bytes.end);
                if wanted.is_empty() {
                    continue;
                }
                let Block::Good { buffer, at } = *block else { unreachable!("restored or refused before") };
                let start = at as usize + (wanted.start - held.start) as usize;
                let end = start + (wanted.end - wanted.start) as usize;
                pieces.push(buffers[buffer as usize].slice(start..end));
            }
        }
        pieces
    }
}

/// The smallest range that covers both; an empty one covers nothing.
fn hull(a: &Range<u32>, b: &Range<u32>) -> Range<u32> {
    if a.is_empty() { b.clone() } else { a.start.min(b.start)..a.end.max(b.end) }
}
