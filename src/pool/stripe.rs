//! Layout of an extent: which bytes of an object stand in which block of which chunk.
//!
//! Owns [`Extent`] and [`Stripe`] (where the chunks stand; a value of the catalog and of the log),
//! [`Layout`] (pure arithmetic over size, k, m and rows in a stripe) and the binary form of an extent.
//! No I/O. Layout: `docs/FORMAT.md`.
//!
//! Invariants: rows are full but for the last; every byte of the object lies in exactly one block;
//! blocks of a chunk follow each other without a gap; the chunks of a stripe are on distinct drives;
//! decoding takes hostile bytes and yields only extents for which all of this holds.

use std::ops::Range;

use smallvec::SmallVec;

use crate::base::ids::DriveId;
use crate::base::limits::{
    BLOCK_BYTES, BLOCK_PAYLOAD_BYTES, CHUNK_BLOCKS_MAX, CHUNK_BYTES_MAX, GROUP_ROWS_MAX, OBJECT_BYTES_MAX,
    PAGE, POOL_DRIVES_MAX, STRIPE_CHUNKS_MAX,
};
use crate::codec::frame;
use crate::codec::wire::{Put, Take};
use crate::pool::extent::Address;

/// The bytes of one object, part or pack, spread over drives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Random; written in every block, so that a block left over from an earlier extent is told apart.
    pub nonce: u64,
    /// Object bytes.
    pub size: u64,
    pub k: u8,
    pub m: u8,
    /// Rows in a stripe, so blocks in a chunk.
    pub chunk_blocks: u16,
    pub stripes: Vec<Stripe>,
}

/// k + m chunks on distinct drives, data first; `None` for one that was not written because its drive
/// was out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stripe {
    pub chunks: SmallVec<[Option<Address>; 4]>,
}

/// The arithmetic of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub size: u64,
    pub k: u8,
    pub m: u8,
    pub chunk_blocks: u16,
}

/// Lengths within one row; the same for each of its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowShape {
    /// Object bytes a column can hold.
    pub payload: usize,
    /// Bytes the erasure code and the checksum work on.
    pub coded: usize,
    /// Bytes on the drive, header and padding included.
    pub disk: usize,
}

/// Consecutive rows of one stripe that are read together, and the object bytes wanted of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub stripe: usize,
    /// In the extent.
    pub rows: Range<u32>,
    /// In the object.
    pub bytes: Range<u64>,
}

impl Group {
    /// Its first `rows` rows, and what is left of it.
    pub fn cut(self, layout: &Layout, rows: u32) -> (Group, Option<Group>) {
        let end = self.rows.start.saturating_add(rows);
        if end >= self.rows.end {
            return (self, None);
        }
        let at = layout.bytes_of(end).start;
        let rest = Group { rows: end..self.rows.end, bytes: at..self.bytes.end, ..self };
        (Group { rows: self.rows.start..end, bytes: self.bytes.start..at, ..self }, Some(rest))
    }
}

/// Where one object byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub row: u32,
    pub column: usize,
    /// Offset in the payload.
    pub at: usize,
}

impl RowShape {
    pub const FULL: RowShape = RowShape::of_payload(BLOCK_PAYLOAD_BYTES);

    /// The row whose columns hold `payload` bytes each.
    pub const fn of_payload(payload: usize) -> Self {
        let coded = frame::coded_bytes(payload);
        RowShape { payload, coded, disk: frame::disk_bytes(coded) }
    }

    /// The row for `bytes` object bytes, which `k` full blocks can hold.
    pub fn of_bytes(bytes: usize, k: usize) -> Self {
        assert!(bytes > 0 && bytes <= k * BLOCK_PAYLOAD_BYTES);
        Self::of_payload(bytes.div_ceil(k).next_multiple_of(2))
    }
}

impl Layout {
    pub fn columns(&self) -> usize {
        usize::from(self.k) + usize::from(self.m)
    }

    /// Object bytes in a full row.
    pub fn row_bytes(&self) -> u64 {
        u64::from(self.k) * BLOCK_PAYLOAD_BYTES as u64
    }

    pub fn rows(&self) -> u32 {
        self.size.div_ceil(self.row_bytes()) as u32
    }

    pub fn stripes(&self) -> usize {
        self.rows().div_ceil(u32::from(self.chunk_blocks)) as usize
    }

    /// The rows of one stripe.
    pub fn stripe_rows(&self, stripe: usize) -> Range<u32> {
        let blocks = u32::from(self.chunk_blocks);
        let start = stripe as u32 * blocks;
        start..(start + blocks).min(self.rows())
    }

    pub fn stripe_of(&self, row: u32) -> usize {
        (row / u32::from(self.chunk_blocks)) as usize
    }

    /// Object bytes of one row.
    pub fn bytes_of(&self, row: u32) -> Range<u64> {
        let start = u64::from(row) * self.row_bytes();
        start..(start + self.row_bytes()).min(self.size)
    }

    pub fn shape(&self, row: u32) -> RowShape {
        let bytes = self.bytes_of(row);
        if bytes.end - bytes.start == self.row_bytes() {
            return RowShape::FULL;
        }
        RowShape::of_bytes((bytes.end - bytes.start) as usize, usize::from(self.k))
    }

    /// Bytes from the start of each chunk to the block of `row`.
    pub fn block_offset(&self, row: u32) -> u64 {
        u64::from(row % u32::from(self.chunk_blocks)) * BLOCK_BYTES as u64
    }

    /// Bytes on a drive of each chunk of one stripe.
    pub fn chunk_bytes(&self, stripe: usize) -> u32 {
        let rows = self.stripe_rows(stripe);
        self.rows_bytes(rows) as u32
    }

    /// Bytes on a drive of the blocks of one column in consecutive rows.
    pub fn rows_bytes(&self, rows: Range<u32>) -> usize {
        match rows.clone().last() {
            Some(last) => (rows.len() - 1) * BLOCK_BYTES + self.shape(last).disk,
            None => 0,
        }
    }

    /// Where object byte `at` stands.
    pub fn cell(&self, at: u64) -> Cell {
        assert!(at < self.size);
        let row = (at / self.row_bytes()) as u32;
        let within = (at % self.row_bytes()) as usize;
        let payload = self.shape(row).payload;
        Cell { row, column: within / payload, at: within % payload }
    }

    /// The object bytes of one block; empty for columns that a short last row does not reach.
    pub fn bytes_of_block(&self, row: u32, column: usize) -> Range<u64> {
        let (bytes, payload) = (self.bytes_of(row), self.shape(row).payload as u64);
        let start = (bytes.start + column as u64 * payload).min(bytes.end);
        start..(start + payload).min(bytes.end)
    }

    /// The groups in which `bytes` are read, in order. A short last row rides with the rows before it.
    pub fn groups(&self, bytes: Range<u64>) -> impl Iterator<Item = Group> + use<> {
        assert!(bytes.end <= self.size);
        let layout = *self;
        let mut at = bytes.start;
        std::iter::from_fn(move || {
            if at >= bytes.end {
                return None;
            }
            let group = layout.group_at(at, bytes.end);
            at = group.bytes.end;
            Some(group)
        })
    }

    /// The first group of the range `from..until`.
    fn group_at(&self, from: u64, until: u64) -> Group {
        let first = self.cell(from).row;
        let stripe = self.stripe_of(first);
        let in_stripe = self.stripe_rows(stripe).end;
        let end = self.group_end(first, in_stripe);
        let bytes = from..until.min(self.bytes_of(end - 1).end);
        Group { stripe, rows: first..self.cell(bytes.end - 1).row + 1, bytes }
    }

    /// Where the group that begins at row `first` ends, in a stripe that ends at row `until`.
    pub fn group_end(&self, first: u32, until: u32) -> u32 {
        let end = (first + GROUP_ROWS_MAX).min(until);
        let short_tail = end + 1 == self.rows() && end < until && self.shape(end) != RowShape::FULL;
        if short_tail { end + 1 } else { end }
    }

    /// The rows of a group in which `column` holds wanted bytes; may be empty.
    pub fn column_rows(&self, group: &Group, column: usize) -> Range<u32> {
        if column >= usize::from(self.k) {
            return group.rows.start..group.rows.start;
        }
        let (first, last) = (self.cell(group.bytes.start), self.cell(group.bytes.end - 1));
        let start = if column < first.column { first.row + 1 } else { first.row };
        let end = if column > last.column { last.row } else { last.row + 1 };
        start..end.max(start)
    }
}

impl Stripe {
    /// Chunks that were written.
    pub fn good(&self) -> usize {
        self.chunks.iter().flatten().count()
    }

    pub fn address(&self, column: usize) -> Option<Address> {
        self.chunks.get(column).copied().flatten()
    }
}

impl Extent {
    pub fn layout(&self) -> Layout {
        Layout { size: self.size, k: self.k, m: self.m, chunk_blocks: self.chunk_blocks }
    }

    /// Every piece of space the extent owns: address and pages.
    pub fn spans(&self) -> impl Iterator<Item = (Address, u32)> + '_ {
        let layout = self.layout();
        self.stripes.iter().enumerate().flat_map(move |(index, stripe)| {
            let pages = layout.chunk_bytes(index) / PAGE as u32;
            stripe.chunks.iter().flatten().map(move |address| (*address, pages))
        })
    }

    /// Where the block of a row and column stands; `None` when it was never written.
    pub fn block_address(&self, row: u32, column: usize) -> Option<Address> {
        let layout = self.layout();
        let chunk = self.stripes.get(layout.stripe_of(row))?.address(column)?;
        Some(Address { offset: chunk.offset + layout.block_offset(row), ..chunk })
    }

    /// 20 bytes, and for each stripe 2 and 8 for each chunk.
    pub fn encode(&self, put: &mut Put) {
        assert_eq!(self.stripes.len(), self.layout().stripes());
        put.u64(self.nonce).u64(self.size).u8(self.k).u8(self.m).u16(self.chunk_blocks);
        for stripe in &self.stripes {
            assert_eq!(stripe.chunks.len(), self.layout().columns());
            let present = stripe.chunks.iter().enumerate().filter(|(_, chunk)| chunk.is_some());
            put.u16(present.fold(0, |bits, (column, _)| bits | 1 << column));
            for address in stripe.chunks.iter().flatten() {
                put.u64(address.encode());
            }
        }
    }

    /// `None` for bytes that are no extent; takes exactly what `encode` put.
    pub fn decode(take: &mut Take<'_>) -> Option<Self> {
        let (nonce, size) = (take.u64()?, take.u64()?);
        let layout = Layout { size, k: take.u8()?, m: take.u8()?, chunk_blocks: take.u16()? };
        let blocks = usize::from(layout.chunk_blocks);
        let sound = layout.k > 0
            && layout.columns() <= STRIPE_CHUNKS_MAX
            && (1..=CHUNK_BLOCKS_MAX).contains(&blocks)
            && size <= OBJECT_BYTES_MAX;
        // Each stripe takes 10 bytes at least, so bytes at hand bound what a length can claim.
        if !sound || layout.stripes() > take.0.len() / 10 {
            return None;
        }
        let stripes = (0..layout.stripes()).map(|_| take_stripe(take, &layout)).collect::<Option<_>>()?;
        Some(Extent { nonce, size, k: layout.k, m: layout.m, chunk_blocks: layout.chunk_blocks, stripes })
    }
}

fn take_stripe(take: &mut Take<'_>, layout: &Layout) -> Option<Stripe> {
    let present = take.u16()?;
    let columns = layout.columns() as u32;
    if u32::from(present) >> columns != 0 || present.count_ones() < u32::from(layout.k) {
        return None;
    }
    let mut stripe = Stripe::default();
    for column in 0..columns {
        let chunk = if present >> column & 1 == 1 { Some(take_address(take, &stripe)?) } else { None };
        stripe.chunks.push(chunk);
    }
    Some(stripe)
}

/// The next address, on a drive that a pool can have and the stripe does not use yet.
fn take_address(take: &mut Take<'_>, stripe: &Stripe) -> Option<Address> {
    let address = Address::decode(take.u64()?);
    let DriveId(drive) = address.drive;
    // Addresses of the blocks behind it must be addresses too.
    let fits = address.offset < ADDRESS_OFFSET_END && usize::from(drive) < POOL_DRIVES_MAX;
    let taken = stripe.chunks.iter().flatten().any(|other| other.drive == address.drive);
    (fits && !taken).then_some(address)
}

/// No chunk begins here or behind: its last block would have no address.
const ADDRESS_OFFSET_END: u64 = ((PAGE as u64) << 48) - CHUNK_BYTES_MAX as u64;

const _: () = assert!(STRIPE_CHUNKS_MAX <= 16, "chunks present are bits of a u16");
const _: () = assert!(OBJECT_BYTES_MAX / (BLOCK_PAYLOAD_BYTES as u64) < u32::MAX as u64, "rows fit a u32");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the layout means: deal the bytes out one row at a time, in plain loops.
    struct Model {
        /// For each row: its shape, and for each column its range of object bytes.
        rows: Vec<(RowShape, Vec<Range<u64>>)>,
    }

    impl Model {
        fn new(layout: &Layout) -> Self {
            let (mut at, mut rows) = (0, Vec::new());
            while at < layout.size {
                let k = u64::from(layout.k);
                let bytes = (layout.size - at).min(k * BLOCK_PAYLOAD_BYTES as u64);
                let mut payload = bytes / k;
                while payload * k < bytes || payload % 2 == 1 {
                    payload += 1;
                }
                let mut coded = payload + 16;
                while !coded.is_multiple_of(64) {
                    coded += 1;
                }
                let mut disk = coded + 64;
                while !disk.is_multiple_of(4096) {
                    disk += 1;
                }
                let end = at + bytes;
                let column = |j: u64| (at + j * payload).min(end)..(at + (j + 1) * payload).min(end);
                let shape =
                    RowShape { payload: payload as usize, coded: coded as usize, disk: disk as usize };
                rows.push((shape, (0..k).map(column).collect()));
                at = end;
            }
            Model { rows }
        }
    }

    /// Schemes, and sizes around every boundary of them.
    fn layouts() -> impl Strategy<Value = Layout> {
        let scheme = prop_oneof![
            Just((1u8, 0u8)),
            Just((1, 1)),
            Just((2, 1)),
            Just((2, 2)),
            Just((4, 2)),
            Just((7, 3))
        ];
        (scheme, 1u16..12, 0u64..30, 0u64..3, -3i64..4, 0u64..200_000).prop_map(
            |((k, m), chunk_blocks, rows, unit, nudge, any)| {
                let row = u64::from(k) * BLOCK_PAYLOAD_BYTES as u64;
                let rest = [0, BLOCK_PAYLOAD_BYTES as u64, any][unit as usize];
                let size = (rows * row + rest).saturating_add_signed(nudge);
                Layout { size, k, m, chunk_blocks }
            },
        )
    }

    fn extent(layout: &Layout, holes: u16) -> Extent {
        let stripe = |index: usize| Stripe {
            chunks: (0..layout.columns())
                .map(|column| {
                    let hole = holes >> ((index + column) % 16) & 1 == 1 && column < usize::from(layout.m);
                    let offset = (index as u64 * 100 + 1) * PAGE as u64;
                    (!hole).then_some(Address { drive: DriveId(column as u16), offset })
                })
                .collect(),
        };
        Extent {
            nonce: 7,
            size: layout.size,
            k: layout.k,
            m: layout.m,
            chunk_blocks: layout.chunk_blocks,
            stripes: (0..layout.stripes()).map(stripe).collect(),
        }
    }

    proptest! {
        #[test]
        fn layout_equals_its_model(layout in layouts()) {
            let model = Model::new(&layout);
            prop_assert_eq!(layout.rows() as usize, model.rows.len());
            let mut chunks = vec![0u64; layout.stripes()];
            for (row, (shape, columns)) in model.rows.iter().enumerate() {
                prop_assert_eq!(layout.shape(row as u32), *shape);
                let stripe = row / usize::from(layout.chunk_blocks);
                prop_assert_eq!(layout.stripe_of(row as u32), stripe);
                prop_assert_eq!(layout.block_offset(row as u32), chunks[stripe]);
                chunks[stripe] += shape.disk as u64;
                for (column, bytes) in columns.iter().enumerate() {
                    prop_assert_eq!(layout.bytes_of_block(row as u32, column), bytes.clone());
                    for at in [bytes.start, bytes.end.saturating_sub(1)] {
                        if bytes.contains(&at) {
                            let cell = Cell { row: row as u32, column, at: (at - bytes.start) as usize };
                            prop_assert_eq!(layout.cell(at), cell);
                        }
                    }
                }
            }
            for (stripe, bytes) in chunks.iter().enumerate() {
                prop_assert_eq!(u64::from(layout.chunk_bytes(stripe)), *bytes);
            }
        }

        #[test]
        fn groups_cover_a_range_with_just_its_blocks(layout in layouts(), a: prop::sample::Index, b: prop::sample::Index) {
            prop_assume!(layout.size > 0);
            let (a, b) = (a.index(layout.size as usize + 1) as u64, b.index(layout.size as usize + 1) as u64);
            let range = a.min(b)..a.max(b);
            let (mut at, mut read) = (range.start, Vec::new());
            for group in layout.groups(range.clone()) {
                prop_assert_eq!(group.bytes.start, at);
                prop_assert!(group.rows.len() as u32 <= GROUP_ROWS_MAX + 1);
                let in_stripe = layout.stripe_rows(group.stripe);
                prop_assert!(group.rows.start >= in_stripe.start && group.rows.end <= in_stripe.end);
                at = group.bytes.end;
                for column in 0..layout.columns() {
                    read.extend(layout.column_rows(&group, column).map(|row| (row, column)));
                }
            }
            prop_assert_eq!(at, if range.is_empty() { range.start } else { range.end });
            read.sort_unstable();
            let wanted = |bytes: &Range<u64>| bytes.start.max(range.start) < bytes.end.min(range.end);
            let mut expected = Vec::new();
            for (row, (_, columns)) in Model::new(&layout).rows.iter().enumerate() {
                let hit = columns.iter().enumerate().filter(|(_, bytes)| wanted(bytes));
                expected.extend(hit.map(|(column, _)| (row as u32, column)));
            }
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn an_extent_comes_back_and_a_cut_one_does_not(layout in layouts(), holes: u16) {
            let extent = extent(&layout, holes);
            let mut put = Put::default();
            extent.encode(&mut put);
            let mut take = Take(&put.0);
            prop_assert_eq!(Extent::decode(&mut take), Some(extent.clone()));
            prop_assert!(take.is_empty());
            let cut = &put.0[..put.0.len() - 1];
            prop_assert_eq!(Extent::decode(&mut Take(cut)), None);
            let pages: u64 = extent.spans().map(|(_, pages)| u64::from(pages)).sum();
            let disk: u64 = (0..layout.rows()).map(|row| {
                let good = extent.stripes[layout.stripe_of(row)].good();
                (layout.shape(row).disk * good) as u64
            }).sum();
            prop_assert_eq!(pages * PAGE as u64, disk);
        }

        #[test]
        fn hostile_bytes_decode_to_a_sound_extent_or_none(mut bytes: Vec<u8>, plausible: bool) {
            if plausible && bytes.len() > 20 {
                bytes[12..20].copy_from_slice(&[0, 0, 0, 0, 2, 2, 8, 0]);
            }
            if let Some(extent) = Extent::decode(&mut Take(&bytes)) {
                let mut put = Put::default();
                extent.encode(&mut put);
                prop_assert_eq!(&put.0[..], &bytes[..put.0.len()]);
                prop_assert_eq!(extent.spans().count(), extent.stripes.iter().map(Stripe::good).sum::<usize>());
            }
        }
    }

    #[test]
    fn a_mebibyte_on_two_columns_is_one_group() {
        let layout = Layout { size: 1 << 20, k: 2, m: 2, chunk_blocks: 64 };
        assert_eq!((layout.rows(), layout.stripes()), (9, 1));
        assert_eq!(layout.chunk_bytes(0), 8 * BLOCK_BYTES as u32 + PAGE as u32);
        assert_eq!(layout.groups(0..1 << 20).count(), 1);
    }

    #[test]
    fn two_chunks_on_one_drive_are_refused() {
        let mut extent = extent(&Layout { size: 10, k: 1, m: 1, chunk_blocks: 1 }, 0);
        extent.stripes[0].chunks[1] = extent.stripes[0].chunks[0];
        let mut put = Put::default();
        extent.encode(&mut put);
        assert_eq!(Extent::decode(&mut Take(&put.0)), None);
    }
}
