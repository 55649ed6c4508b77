//! An opened run: looks keys up and reads blocks.
//!
//! Owns the footer and what becomes of the run's space. A lookup touches at most one filter, one
//! index and one data block; it asks the cache first and says which block it lacks, so that the same
//! code serves callers that cannot wait and those that can.
//! Invariant: `fate` is `Free` exactly while no manifest names the run; dropping it then frees every
//! extent once.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::base::ids::ShardId;
use crate::base::limits;
use crate::catalog::cache::{BlockCache, BlockKey};
use crate::catalog::error::{CatalogError, Result};
use crate::catalog::run::block::{self, BlockRef, Kind, Owner};
use crate::catalog::run::entries::{EntriesCursor, Form};
use crate::catalog::run::filter;
use crate::catalog::run::footer::Footer;
use crate::catalog::run::store::RunStore;
use crate::pool::extent::MirroredExtent;

/// Block number of a footer, whose extent is not in the run's list.
pub const FOOTER_NUMBER: u32 = u32::MAX;

pub struct Run<S: RunStore> {
    owner: Owner,
    tag: u64,
    store: S,
    cache: Rc<BlockCache>,
    facts: RunFacts,
    fate: Cell<Fate>,
}

/// What a manifest says of a run: enough to find and to check its footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRef {
    pub id: u64,
    /// Extent of the footer.
    pub extent: MirroredExtent,
    /// Checksum of the footer.
    pub crc: u32,
}

/// All there is to know of a run without asking its store: it can be opened anywhere.
#[derive(Clone)]
pub struct RunFacts {
    pub root: RunRef,
    pub footer: Footer,
}

impl RunFacts {
    /// All extents of the run, its footer's included.
    pub fn extents(&self) -> impl Iterator<Item = MirroredExtent> + '_ {
        self.footer.extents().chain(std::iter::once(self.root.extent.clone()))
    }
}

/// What happens to the run's space when the last user drops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Free,
    Keep,
}

/// How a reader uses cache and drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Through the cache; a walk reads ahead more the longer it is.
    Cached,
    /// Past the cache, reading ahead at once: leaves the cache alone and waits for real I/O often.
    Direct,
}

/// Answer of a run about a key.
pub enum Lookup {
    Absent,
    Tombstone,
    Inline(Bytes),
    /// References to value blocks.
    Large(Bytes),
}

/// What a look tells that reads nothing.
pub enum Glance {
    Known(Lookup),
    /// The answer needs this block, which is not in memory.
    Needs(Kind, BlockRef),
}

/// Blocks a lookup has read and keeps, whatever the cache does with them.
pub type Held = SmallVec<[(u32, Bytes); 3]>;

impl<S: RunStore> Run<S> {
    /// Reads the footer; the run is one that a manifest names.
    pub async fn open(store: S, cache: Rc<BlockCache>, shard: ShardId, root: RunRef) -> Result<Self> {
        let owner = Owner { shard, run: root.id };
        let len = root.extent.len;
        let verify =
            |bytes: &[u8]| block::check(bytes, Kind::Footer, owner, FOOTER_NUMBER, root.crc).is_some();
        let bytes = store.read(&root.extent, 0, len, &verify).await?;
        let corrupt = CatalogError::Corrupt { what: "footer", run: root.id };
        let footer = block::payload(&bytes).and_then(Footer::decode).ok_or(corrupt)?;
        Ok(Self::known(store, cache, shard, RunFacts { root, footer }, Fate::Keep))
    }

    /// A run whose footer is at hand; `Fate::Free` if no manifest names it yet and it is the caller's.
    pub fn known(store: S, cache: Rc<BlockCache>, shard: ShardId, facts: RunFacts, fate: Fate) -> Self {
        let (owner, tag) = (Owner { shard, run: facts.root.id }, cache.tag());
        Run { owner, tag, store, cache, facts, fate: Cell::new(fate) }
    }

    /// Puts blocks that are at hand into the cache.
    pub fn warm(&self, blocks: impl IntoIterator<Item = (u32, Bytes)>) {
        for (number, payload) in blocks {
            self.cache.insert(BlockKey { tag: self.tag, number }, payload);
        }
    }

    pub fn id(&self) -> u64 {
        self.facts.root.id
    }

    pub fn root(&self) -> &RunRef {
        &self.facts.root
    }

    pub fn footer(&self) -> &Footer {
        &self.facts.footer
    }

    pub fn facts(&self) -> &RunFacts {
        &self.facts
    }

    pub(super) fn store(&self) -> &S {
        &self.store
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    pub fn cache(&self) -> &BlockCache {
        &self.cache
    }

    pub fn cache_key(&self, block: BlockRef) -> BlockKey {
        BlockKey { tag: self.tag, number: block.number() }
    }

    pub fn set_fate(&self, fate: Fate) {
        self.fate.set(fate);
    }

    /// All extents of the run, its footer's included.
    pub fn extents(&self) -> impl Iterator<Item = MirroredExtent> + '_ {
        self.facts.extents()
    }

    /// What the run knows of `key`, from memory alone: `held` and the cache.
    pub fn lookup(&self, key: &[u8], hash: u64, held: &Held) -> Result<Glance> {
        if key < &self.footer().first_key[..] || key > &self.footer().last_key[..] {
            return Ok(Glance::Known(Lookup::Absent));
        }
        let partition = self.footer().partition(key).ok_or(self.corrupt("root index"))?;
        let Some(filter) = self.resident(partition.filter, held) else {
            return Ok(Glance::Needs(Kind::Filter, partition.filter));
        };
        if !filter::may_contain(&filter, hash) {
            return Ok(Glance::Known(Lookup::Absent));
        }
        let Some(index) = self.resident(partition.index, held) else {
            return Ok(Glance::Needs(Kind::Index, partition.index));
        };
        let data_ref = self.find_block(index, key)?;
        let Some(data) = self.resident(data_ref, held) else {
            return Ok(Glance::Needs(Kind::Data, data_ref));
        };
        self.find_entry(data, key).map(Glance::Known)
    }

    /// As `lookup`, reading what is not in memory.
    pub async fn lookup_reading(&self, key: &[u8], hash: u64) -> Result<Lookup> {
        let mut held = Held::new();
        loop {
            match self.lookup(key, hash, &held)? {
                Glance::Needs(kind, block) => held.push((block.number(), self.fetch(kind, block).await?)),
                Glance::Known(answer) => return Ok(answer),
            }
        }
    }

    /// The payload of a block, from the cache or the drives.
    pub async fn fetch(&self, kind: Kind, block: BlockRef) -> Result<Bytes> {
        let key = self.cache_key(block);
        match self.cache.get(key) {
            Some(payload) => Ok(payload),
            None => self.cache.load(key, || self.read(kind, block)).await,
        }
    }

    /// The payload of a block from the drives.
    pub async fn read(&self, kind: Kind, block: BlockRef) -> Result<Bytes> {
        let (owner, number, crc) = (self.owner, block.number(), block.crc);
        let verify = |bytes: &[u8]| block::check(bytes, kind, owner, number, crc).is_some();
        let extent = self.extent_of(block)?;
        let bytes = self.store.read(&extent, block.offset(), block.bytes() as u32, &verify).await?;
        block::payload(&bytes).ok_or(self.corrupt("block"))
    }

    /// The payloads of data blocks that stand one behind the other in one extent, in one read.
    pub async fn read_span(&self, blocks: &[BlockRef]) -> Result<Vec<Bytes>> {
        let [first, ..] = blocks else { return Ok(Vec::new()) };
        let len: usize = blocks.iter().map(|block| block.bytes()).sum();
        let verify = |bytes: &[u8]| self.check_span(blocks, bytes);
        let read = self.store.read(&self.extent_of(*first)?, first.offset(), len as u32, &verify).await;
        if let Ok(bytes) = read {
            return self.split_span(blocks, &bytes);
        }
        // Perhaps every copy is damaged, each in another block.
        let mut payloads = Vec::with_capacity(blocks.len());
        for block in blocks {
            payloads.push(self.read(Kind::Data, *block).await?);
        }
        Ok(payloads)
    }

    /// Puts a value together from its value blocks.
    pub async fn large_value(&self, refs: &[u8], reading: Reading) -> Result<Bytes> {
        let mut value = Vec::new();
        for encoded in refs.chunks(BlockRef::ENCODED_BYTES) {
            let block = BlockRef::decode(encoded).ok_or(self.corrupt("value reference"))?;
            let piece = match reading {
                Reading::Cached => self.fetch(Kind::Value, block).await?,
                Reading::Direct => self.read(Kind::Value, block).await?,
            };
            value.extend_from_slice(&piece);
            if value.len() > limits::INDEX_VALUE_BYTES_MAX {
                return Err(self.corrupt("value"));
            }
        }
        Ok(Bytes::from(value))
    }

    pub fn corrupt(&self, what: &'static str) -> CatalogError {
        CatalogError::Corrupt { what, run: self.facts.root.id }
    }

    fn resident(&self, block: BlockRef, held: &Held) -> Option<Bytes> {
        let kept = held.iter().find(|(number, _)| *number == block.number());
        kept.map(|(_, payload)| payload.clone()).or_else(|| self.cache.get(self.cache_key(block)))
    }

    fn find_block(&self, index: Bytes, key: &[u8]) -> Result<BlockRef> {
        let find = || {
            let mut index = EntriesCursor::new(index)?;
            index.seek_back(key)?.then(|| BlockRef::decode(index.value())).flatten()
        };
        find().ok_or(self.corrupt("index block"))
    }

    fn find_entry(&self, data: Bytes, key: &[u8]) -> Result<Lookup> {
        let find = || EntriesCursor::new(data)?.find(key);
        Ok(match find().ok_or(self.corrupt("data block"))? {
            None => Lookup::Absent,
            Some((Form::Tombstone, _)) => Lookup::Tombstone,
            Some((Form::Inline, value)) => Lookup::Inline(value),
            Some((Form::Large, refs)) => Lookup::Large(refs),
        })
    }

    pub(super) fn extent_of(&self, block: BlockRef) -> Result<MirroredExtent> {
        let fits = |extent: &MirroredExtent| block.offset() as usize + block.bytes() <= extent.len as usize;
        self.facts.footer.extent(block.extent).filter(fits).ok_or(self.corrupt("block reference"))
    }

    fn check_span(&self, blocks: &[BlockRef], bytes: &[u8]) -> bool {
        let mut rest = bytes;
        blocks.iter().all(|block| {
            let Some((front, back)) = rest.split_at_checked(block.bytes()) else { return false };
            rest = back;
            block::check(front, Kind::Data, self.owner, block.number(), block.crc).is_some()
        })
    }

    fn split_span(&self, blocks: &[BlockRef], bytes: &Bytes) -> Result<Vec<Bytes>> {
        let mut at = 0;
        let mut payloads = Vec::with_capacity(blocks.len());
        for block in blocks {
            let end = (at + block.bytes()).min(bytes.len());
            payloads.push(block::payload(&bytes.slice(at.min(end)..end)).ok_or(self.corrupt("block"))?);
            at = end;
        }
        Ok(payloads)
    }
}

impl<S: RunStore> Drop for Run<S> {
    fn drop(&mut self) {
        if self.fate.get() == Fate::Free {
            self.extents().for_each(|extent| self.store.free(&extent));
        }
    }
}
