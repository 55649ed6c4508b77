//! Writes a run in one pass over sorted entries.
//!
//! Owns the blocks being filled and the extent being filled with blocks; holds one extent of memory
//! and one partition of key hashes, whatever the size of the run. The first filter and index blocks are kept
//! for the cache, so that a fresh run answers without reading. Invariants: keys come in strictly rising
//! order; a run that is not finished, or that nobody takes over, gives its extents back.

use crate::base::limits;
use crate::catalog::error::{CatalogError, Result};
use crate::catalog::forge::Warm;
use crate::catalog::run::block::{self, BlockRef, Kind, Owner};
use crate::catalog::run::entries::{EntriesBuilder, Form, common_prefix};
use crate::catalog::run::filter;
use crate::catalog::run::footer::{Footer, FooterParts, Partition};
use crate::catalog::run::reader::{FOOTER_NUMBER, RunFacts, RunRef};
use crate::catalog::run::store::RunStore;
use crate::io::buffer::AlignedBuf;
use crate::pool::extent::MirroredExtent;

/// Where runs and their partitions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSizes {
    /// Bytes at which a run is full.
    pub run_bytes: u64,
    /// Keys of one partition.
    pub partition_keys: usize,
}

impl Default for RunSizes {
    fn default() -> Self {
        RunSizes { run_bytes: limits::RUN_BYTES_MAX, partition_keys: limits::FILTER_KEYS_MAX }
    }
}

pub struct RunWriter<S: RunStore> {
    store: S,
    owner: Owner,
    sizes: RunSizes,
    warm: Warm,
    /// Bytes that `warm` may still take.
    warm_left: usize,
    extents: Vec<MirroredExtent>,
    bytes: u64,
    /// The extent being filled, up to `used`.
    buf: Option<AlignedBuf>,
    used: usize,
    data: EntriesBuilder,
    /// The shortest key that separates the open data block from the one before.
    data_from: Vec<u8>,
    index: EntriesBuilder,
    /// `data_from` of the first data block of the open partition.
    index_from: Vec<u8>,
    hashes: Vec<u64>,
    root: EntriesBuilder,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    entries: u64,
    tombstones: u64,
}

/// A run just written, which nobody owns yet: dropped, it gives its extents back.
pub struct Fresh<S: RunStore> {
    store: S,
    facts: Option<RunFacts>,
    warm: Warm,
    warm_left: usize,
}

impl<S: RunStore> Fresh<S> {
    /// The caller owns the run from now on.
    pub fn take_over(mut self) -> (RunFacts, Warm) {
        let facts = self.facts.take().expect("taken over once");
        (facts, std::mem::take(&mut self.warm))
    }

    /// What the writer was given to keep blocks in and did not use.
    pub fn warm_left(&self) -> usize {
        self.warm_left
    }
}

impl<S: RunStore> Drop for Fresh<S> {
    fn drop(&mut self) {
        if let Some(facts) = &self.facts {
            facts.extents().for_each(|extent| self.store.free(&extent));
        }
    }
}

const BLOCK_PAYLOAD_MAX: usize = limits::RUN_BLOCK_BYTES - block::HEADER_BYTES;

impl<S: RunStore> RunWriter<S> {
    /// Keeps blocks for the cache up to `warm_left` bytes.
    pub fn new(store: S, owner: Owner, sizes: RunSizes, warm_left: usize) -> Self {
        RunWriter {
            store,
            owner,
            sizes,
            warm: Warm::new(),
            warm_left,
            extents: Vec::new(),
            bytes: 0,
            buf: None,
            used: 0,
            data: EntriesBuilder::default(),
            data_from: Vec::new(),
            index: EntriesBuilder::default(),
            index_from: Vec::new(),
            hashes: Vec::new(),
            root: EntriesBuilder::default(),
            first_key: Vec::new(),
            last_key: Vec::new(),
            entries: 0,
            tombstones: 0,
        }
    }

    /// Bytes of blocks so far.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.used as u64
    }

    /// Whether the run should be finished and another one begun.
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.sizes.run_bytes
            || self.root.len() >= limits::RUN_ROOT_BYTES_MAX
            || self.extents.len() + limits::RUN_EXTENTS_RESERVED >= limits::RUN_EXTENTS_MAX
    }

    /// Adds a key with its value, or its tombstone.
    pub async fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        match value {
            None => self.add_entry(key, Form::Tombstone, &[]).await,
            Some(value) if value.len() <= limits::INLINE_VALUE_BYTES_MAX => {
                self.add_entry(key, Form::Inline, value).await
            }
            Some(value) => {
                let refs = self.place_value(value).await?;
                self.add_entry(key, Form::Large, &refs).await
            }
        }
    }

    /// Writes what is left and the footer. The run is not durable before the store's `sync`.
    pub async fn finish(mut self) -> Result<Fresh<S>> {
        assert!(self.entries > 0, "a run has entries");
        self.close_data().await?;
        self.close_partition().await?;
        self.close_extent().await?;
        let payload = Footer::encode(&FooterParts {
            entries: self.entries,
            tombstones: self.tombstones,
            extents: &self.extents,
            first_key: &self.first_key,
            last_key: &self.last_key,
            root: self.root.finish(),
        });
        let mut buf = AlignedBuf::zeroed(block::sealed_len(payload.len()));
        let crc = block::seal(Kind::Footer, self.owner, FOOTER_NUMBER, &payload, &mut buf);
        let extent = self.store.write(buf).await?;
        let root = RunRef { id: self.owner.run, extent, crc };
        let corrupt = CatalogError::Corrupt { what: "footer", run: root.id };
        let footer = Footer::decode(payload.into()).ok_or(corrupt)?;
        self.extents.clear();
        let (facts, warm) = (Some(RunFacts { root, footer }), std::mem::take(&mut self.warm));
        Ok(Fresh { store: self.store.clone(), facts, warm, warm_left: self.warm_left })
    }

    async fn add_entry(&mut self, key: &[u8], form: Form, value: &[u8]) -> Result<()> {
        debug_assert!(self.entries == 0 || key > &self.last_key[..]);
        if !self.data.push(key, form, value, BLOCK_PAYLOAD_MAX) {
            self.close_data().await?;
            let separator_len = common_prefix(key, &self.last_key) + 1;
            self.data_from.extend_from_slice(&key[..separator_len.min(key.len())]);
            assert!(self.data.push(key, form, value, BLOCK_PAYLOAD_MAX));
        }
        if self.entries == 0 {
            self.first_key.extend_from_slice(key);
        }
        self.hashes.push(filter::hash(key));
        self.entries += 1;
        self.tombstones += u64::from(form == Form::Tombstone);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    async fn close_data(&mut self) -> Result<()> {
        let mut data = std::mem::take(&mut self.data);
        let placed = self.place(Kind::Data, data.finish()).await?;
        data.clear();
        self.data = data;
        if self.index.is_empty() {
            self.index_from.clone_from(&self.data_from);
        }
        assert!(self.index.push(&self.data_from, Form::Inline, &placed.encode(), usize::MAX));
        self.data_from.clear();
        if self.hashes.len() >= self.sizes.partition_keys || self.index.len() >= BLOCK_PAYLOAD_MAX {
            self.close_partition().await?;
        }
        Ok(())
    }

    async fn close_partition(&mut self) -> Result<()> {
        if self.index.is_empty() {
            return Ok(());
        }
        let filter = self.place(Kind::Filter, &filter::build(&self.hashes)).await?;
        let mut index_builder = std::mem::take(&mut self.index);
        let index = self.place(Kind::Index, index_builder.finish()).await?;
        index_builder.clear();
        self.index = index_builder;
        let partition = Partition { index, filter }.encode();
        assert!(self.root.push(&self.index_from, Form::Inline, &partition, usize::MAX));
        self.hashes.clear();
        Ok(())
    }

    async fn place_value(&mut self, value: &[u8]) -> Result<Vec<u8>> {
        let mut refs = Vec::new();
        for piece in value.chunks(limits::VALUE_PIECE_BYTES_MAX) {
            refs.extend_from_slice(&self.place(Kind::Value, piece).await?.encode());
        }
        Ok(refs)
    }

    /// Puts a block behind the others, in the open extent or the next one.
    async fn place(&mut self, kind: Kind, payload: &[u8]) -> Result<BlockRef> {
        let len = block::sealed_len(payload.len());
        if self.used + len > limits::RUN_EXTENT_BYTES {
            self.close_extent().await?;
        }
        let page = (self.used / limits::PAGE) as u8;
        let pages = (len / limits::PAGE) as u16;
        let mut placed = BlockRef { extent: self.extents.len() as u32, page, pages, crc: 0 };
        let buf = self.buf.get_or_insert_with(|| AlignedBuf::zeroed(limits::RUN_EXTENT_BYTES));
        let out = &mut buf[self.used..self.used + len];
        placed.crc = block::seal(kind, self.owner, placed.number(), payload, out);
        self.used += len;
        if matches!(kind, Kind::Index | Kind::Filter) && payload.len() <= self.warm_left {
            self.warm_left -= payload.len();
            self.warm.push((placed.number(), bytes::Bytes::copy_from_slice(payload)));
        }
        Ok(placed)
    }

    async fn close_extent(&mut self) -> Result<()> {
        let Some(buf) = self.buf.take() else { return Ok(()) };
        let buf = if self.used == buf.len() { buf } else { shortened(&buf[..self.used]) };
        self.bytes += self.used as u64;
        self.used = 0;
        self.extents.push(self.store.write(buf).await?);
        Ok(())
    }
}

fn shortened(bytes: &[u8]) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed(bytes.len());
    buf.copy_from_slice(bytes);
    buf
}

impl<S: RunStore> Drop for RunWriter<S> {
    fn drop(&mut self) {
        self.extents.iter().for_each(|extent| self.store.free(extent));
    }
}
