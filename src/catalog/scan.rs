//! A scan: the live keys of a range, in order.
//!
//! Owns what keeps a scan true while the index changes: it holds the memtables and runs of the moment
//! it began. So it sees every key that existed throughout, none twice, and no space it may still read
//! is given back. Of a key that changes meanwhile it sees some state it had since the scan began.
//! A scan whose `next` was given up before it finished must be dropped.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::base::limits;
use crate::base::rest::Stint;
use crate::catalog::error::Result;
use crate::catalog::run::reader::Reading;
use crate::catalog::run::store::RunStore;
use crate::catalog::union::{Source, Union, Value};

pub struct Scan<S: RunStore> {
    union: Union<S>,
    end: Rc<[u8]>,
    /// Where to go before the next entry.
    target: Option<Vec<u8>>,
    keys: KeyBuffer,
    stint: Stint,
    finished: bool,
}

/// Keys given out share chunks of memory.
#[derive(Default)]
struct KeyBuffer(BytesMut);

const KEY_CHUNK: usize = 4 * limits::KIB;

impl<S: RunStore> Scan<S> {
    /// `sources`, newest first.
    pub(super) fn new(sources: Vec<Source<S>>, start: Vec<u8>, end: Rc<[u8]>) -> Self {
        let finished = start[..] >= end[..];
        Scan {
            union: Union::new(sources),
            end,
            target: Some(start),
            keys: KeyBuffer::default(),
            stint: Stint::new(limits::SCAN_STEPS_MAX),
            finished,
        }
    }

    /// The next key and its value; `None` at the end of the range.
    pub async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>> {
        self.next_beyond(|_| true).await
    }

    /// As `next`; `goes_on` is told each key on the way that was deleted, and ends the search when it says no.
    pub async fn next_beyond(
        &mut self,
        mut goes_on: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<(Bytes, Bytes)>> {
        while !self.finished && self.step().await? {
            self.stint.step(1).await;
            let value = match self.union.value() {
                Value::Tombstone if goes_on(self.union.key()) => continue,
                Value::Tombstone => return Ok(None),
                Value::Inline(_) => self.union.inline_bytes().unwrap_or_default(),
                Value::Large(run, refs) => run.large_value(refs, Reading::Cached).await?,
            };
            return Ok(Some((self.keys.copy(self.union.key()), value)));
        }
        Ok(None)
    }

    /// Skips to the first key at or after `key`; does nothing when that is behind.
    pub fn seek(&mut self, key: &[u8]) {
        if self.target.as_ref().is_none_or(|target| &target[..] < key) {
            self.target = Some(key.to_vec());
        }
    }

    async fn step(&mut self) -> Result<bool> {
        if let Some(target) = self.target.take()
            && target.as_slice() > self.union.key()
        {
            self.union.seek(&target).await?;
        }
        self.finished = !self.union.next().await? || self.union.key() >= &self.end[..];
        Ok(!self.finished)
    }
}

impl KeyBuffer {
    fn copy(&mut self, key: &[u8]) -> Bytes {
        if self.0.capacity() < key.len() {
            self.0 = BytesMut::with_capacity(KEY_CHUNK.max(key.len()));
        }
        self.0.extend_from_slice(key);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ShardId;
    use crate::catalog::cache::BlockCache;
    use crate::catalog::index::Index;
    use crate::catalog::naive::NaiveStore;

    #[tokio::test(start_paused = true)]
    async fn a_long_scan_of_what_is_in_memory_rests_on_a_timer_and_a_page_does_not() {
        let store = NaiveStore::default();
        let index = Index::open(store, BlockCache::new(1 << 20), ShardId(1), &[]).await.expect("no runs");
        let entries = 6 * limits::SCAN_STEPS_MAX;
        for n in 0..entries as u32 {
            // Every other key is gone: what is passed over counts too.
            index.apply(&n.to_be_bytes(), Some(b"value"));
            if n % 2 == 1 {
                index.apply(&n.to_be_bytes(), None);
            }
        }
        let begun = tokio::time::Instant::now();
        let mut scan = index.scan(Vec::new(), vec![0xff]);
        for _ in 0..1_000 {
            assert!(scan.next().await.expect("an entry").is_some());
        }
        assert!(begun.elapsed().is_zero(), "a page is short");
        while scan.next().await.expect("an entry").is_some() {}
        assert!(begun.elapsed().as_millis() >= 3 * u128::from(limits::REST_MS), "{:?}", begun.elapsed());
    }
}
