//! Bodies of small objects in memory, bounded in bytes.
//!
//! A body is known by where it stands, and what stands there never changes, so nothing has to be
//! invalidated: an overwritten object stands elsewhere. Every core has a cache of its own.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use crate::base::metrics::CacheMetrics;

/// What an entry costs beside its bytes.
const ENTRY_BYTES: u64 = 120;

/// Where a body stands: a log segment or a pack of a shard, and the offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub shard: u16,
    pub packed: bool,
    pub container: u64,
    pub offset: u32,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Place, Bytes> for ByBytes {
    fn weight(&self, _: &Place, body: &Bytes) -> u64 {
        body.len() as u64 + ENTRY_BYTES
    }
}

pub struct BodyCache {
    bodies: RefCell<Cache<Place, Bytes, ByBytes>>,
    bytes_max: u64,
    hits: Cell<u64>,
    misses: Cell<u64>,
}

impl BodyCache {
    /// `bytes_max` of 0 keeps nothing.
    pub fn new(bytes_max: u64) -> Self {
        let entries = (bytes_max / 4096) as usize;
        let bodies = RefCell::new(Cache::with_weighter(entries, bytes_max, ByBytes));
        BodyCache { bodies, bytes_max, hits: Cell::default(), misses: Cell::default() }
    }

    pub fn get(&self, place: &Place) -> Option<Bytes> {
        let found = self.bodies.borrow().get(place).cloned();
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.set(counter.get() + 1);
        found
    }

    /// Keeps a body. The bytes are copied: a slice would keep the whole buffer it was read into.
    pub fn insert(&self, place: Place, body: &Bytes) {
        if self.bytes_max > 0 {
            self.bodies.borrow_mut().insert(place, Bytes::copy_from_slice(body));
        }
    }

    pub fn metrics(&self) -> CacheMetrics {
        let bodies = self.bodies.borrow();
        CacheMetrics {
            name: "object",
            hits: self.hits.get(),
            misses: self.misses.get(),
            bytes: bodies.weight(),
            bytes_max: self.bytes_max,
            entries: bodies.len() as u64,
        }
    }
}
