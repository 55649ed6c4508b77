//! The block cache: verified blocks of runs, bounded in bytes, shared by the shards of a core.
//!
//! Owns which blocks stay in memory (quick_cache's S3-FIFO like policy, weighted by bytes) and that
//! a block missed by several readers at once is read once. Keys are a tag given to each opened run
//! and the block's number in it; tags are never reused, so a block outlives its run harmlessly and
//! ages out.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use tokio::sync::Notify;

use crate::base::limits;
use crate::catalog::error::Result;
use crate::catalog::run::block::sealed_len;

/// Which block of which opened run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockKey {
    pub tag: u64,
    pub number: u32,
}

pub struct BlockCache {
    blocks: RefCell<Cache<BlockKey, Bytes, ByBytes, SpreadHash>>,
    /// Blocks being read, and whom to wake when they are there.
    loading: RefCell<HashMap<BlockKey, Rc<Notify>, SpreadHash>>,
    next_tag: Cell<u64>,
    hits: Cell<u64>,
    misses: Cell<u64>,
}

/// Figures for metrics; counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    pub hits: u64,
    pub misses: u64,
    pub bytes: u64,
    pub capacity: u64,
    pub entries: u64,
}

/// Memory of a cached block beyond its pages: the handle and the cache's own slot.
const SLOT_BYTES: usize = 128;

impl BlockCache {
    /// A cache that holds about `capacity` bytes.
    pub fn new(capacity: u64) -> Rc<Self> {
        let items = capacity as usize / limits::RUN_BLOCK_BYTES + 1;
        Rc::new(BlockCache {
            blocks: RefCell::new(Cache::with(items, capacity, ByBytes, SpreadHash, Default::default())),
            loading: RefCell::default(),
            next_tag: Cell::new(0),
            hits: Cell::new(0),
            misses: Cell::new(0),
        })
    }

    /// A tag that no other run opened with this cache has.
    pub fn tag(&self) -> u64 {
        let tag = self.next_tag.get();
        self.next_tag.set(tag + 1);
        tag
    }

    pub fn set_capacity(&self, capacity: u64) {
        self.blocks.borrow_mut().set_capacity(capacity);
    }

    pub fn stats(&self) -> CacheStats {
        let blocks = self.blocks.borrow();
        CacheStats {
            hits: self.hits.get(),
            misses: self.misses.get(),
            bytes: blocks.weight(),
            capacity: blocks.capacity(),
            entries: blocks.len() as u64,
        }
    }

    /// The block if it is here; only a hit is counted, `load` counts the miss.
    pub fn get(&self, key: BlockKey) -> Option<Bytes> {
        let found = self.blocks.borrow().get(&key).cloned();
        self.hits.set(self.hits.get() + u64::from(found.is_some()));
        found
    }

    pub fn insert(&self, key: BlockKey, block: Bytes) {
        self.blocks.borrow_mut().insert(key, block);
    }

    /// The block from here, or from `read`; concurrent loads of one block share one read.
    pub async fn load<F>(&self, key: BlockKey, read: impl FnOnce() -> F) -> Result<Bytes>
    where
        F: Future<Output = Result<Bytes>>,
    {
        let notify = self.loading.borrow().get(&key).cloned();
        if let Some(notify) = notify {
            notify.notified().await;
            if let Some(block) = self.get(key) {
                return Ok(block);
            }
            // The other read failed, was given up, or its block did not stay: read it here.
        }
        self.misses.set(self.misses.get() + 1);
        let guard = Loading::begin(self, key);
        let block = read().await?;
        self.insert(key, block.clone());
        drop(guard);
        Ok(block)
    }
}

/// Announces a read in progress and wakes those who wait for it, also when it is given up.
struct Loading<'a> {
    cache: &'a BlockCache,
    key: BlockKey,
    notify: Rc<Notify>,
}

impl<'a> Loading<'a> {
    fn begin(cache: &'a BlockCache, key: BlockKey) -> Self {
        let notify = Rc::new(Notify::new());
        cache.loading.borrow_mut().insert(key, notify.clone());
        Loading { cache, key, notify }
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut loading = self.cache.loading.borrow_mut();
        if loading.get(&self.key).is_some_and(|notify| Rc::ptr_eq(notify, &self.notify)) {
            loading.remove(&self.key);
        }
        self.notify.notify_waiters();
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<BlockKey, Bytes> for ByBytes {
    fn weight(&self, _: &BlockKey, block: &Bytes) -> u64 {
        // What was read from a drive keeps whole pages, header included.
        (sealed_len(block.len()) + SLOT_BYTES) as u64
    }
}

/// Keys are our own small numbers: spreading them needs no keyed hash.
#[derive(Clone, Default)]
struct SpreadHash;

#[derive(Default)]
struct SpreadHasher(u64);

impl BuildHasher for SpreadHash {
    type Hasher = SpreadHasher;

    fn build_hasher(&self) -> SpreadHasher {
        SpreadHasher::default()
    }
}

impl Hasher for SpreadHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0.rotate_left(29) ^ value) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product ^ (product >> 64)) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::error::CatalogError;

    fn key(number: u32) -> BlockKey {
        BlockKey { tag: 1, number }
    }

    #[test]
    fn memory_stays_below_the_capacity() {
        let cache = BlockCache::new(1 << 20);
        for number in 0..1000 {
            cache.insert(key(number), Bytes::from(vec![0; 16_000]));
        }
        let stats = cache.stats();
        assert!(stats.bytes <= 1 << 20 && stats.bytes > 1 << 19, "{stats:?}");
        assert_eq!(stats.entries, stats.bytes / (sealed_len(16_000) + SLOT_BYTES) as u64);
        cache.set_capacity(1 << 17);
        assert!(cache.stats().bytes <= 1 << 17);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_block_missed_by_many_is_read_once() {
        let cache = BlockCache::new(1 << 20);
        let reads = Cell::new(0);
        let load = || {
            cache.load(key(7), || async {
                reads.set(reads.get() + 1);
                tokio::task::yield_now().await;
                Ok(Bytes::from_static(b"block"))
            })
        };
        let (a, b, c) = tokio::join!(load(), load(), load());
        assert_eq!(
            (a.unwrap(), b.unwrap(), c.unwrap().len()),
            (Bytes::from("block"), Bytes::from("block"), 5)
        );
        assert_eq!(reads.get(), 1);
        assert_eq!((cache.stats().hits, cache.stats().misses), (2, 1));
        assert_eq!(cache.get(key(7)), Some(Bytes::from("block")));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn waiters_of_a_failed_read_read_themselves() {
        let cache = BlockCache::new(1 << 20);
        let failed = Cell::new(false);
        let load = || {
            cache.load(key(7), || async {
                tokio::task::yield_now().await;
                match failed.replace(true) {
                    false => Err(CatalogError::Levels("a failure")),
                    true => Ok(Bytes::from_static(b"block")),
                }
            })
        };
        let (a, b) = tokio::join!(load(), load());
        assert!(a.is_err() && b.is_ok());
        assert!(cache.loading.borrow().is_empty());
    }
}
