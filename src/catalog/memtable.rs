//! The newest part of the index: an ordered table in memory.
//!
//! Owns copies of what is applied, packed into chunks, so that its size is known and a small value
//! never keeps a large buffer alive. A key holds its newest value or a tombstone. A table that nothing is
//! applied to any more may be shared with another thread, which writes it out.
//! Invariants: nothing is applied to a table that is shared; a cursor never borrows the table between two calls; it
//! copies entries out in batches and seeks again after the last key it copied, so later applies never invalidate it,
//! and it sees every key that stays in the table while it passes.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::base::limits;

#[derive(Default)]
pub struct Memtable {
    table: RefCell<Arc<Table>>,
}

/// One key and its value or tombstone, stored back to back.
#[derive(Clone, Debug)]
pub struct Entry {
    bytes: Bytes,
    key_len: u32,
    live: bool,
}

/// Walks a table in key order while the table changes.
pub struct TableCursor {
    table: Rc<Memtable>,
    batch: Vec<Entry>,
    at: usize,
    /// The batch was not full: nothing followed when it was taken.
    last_batch: bool,
    batch_len: usize,
}

/// The entries themselves.
#[derive(Default)]
pub struct Table {
    entries: BTreeSet<Entry>,
    arena: Arena,
    bytes: usize,
    tombstones: usize,
}

/// Packs small byte strings into chunks that grow from `CHUNK_MIN` to `CHUNK_MAX`.
#[derive(Default)]
struct Arena {
    chunk: BytesMut,
    chunk_len: usize,
}

/// What an entry costs beyond its bytes: the element in a two-thirds full tree node.
const ENTRY_OVERHEAD: usize = 64;
const CHUNK_MIN: usize = 4 * limits::KIB;
const CHUNK_MAX: usize = 64 * limits::KIB;
const BATCH_MIN: usize = 8;
const BATCH_MAX: usize = 128;

impl Memtable {
    pub fn apply(&self, key: &[u8], value: Option<&[u8]>) {
        assert!(key.len() <= limits::INDEX_KEY_BYTES_MAX);
        assert!(value.is_none_or(|value| value.len() <= limits::INDEX_VALUE_BYTES_MAX));
        let mut table = self.table.borrow_mut();
        Arc::get_mut(&mut table).expect("nothing is applied to a shared table").apply(key, value);
    }

    /// `None`: the table knows nothing of the key. `Some(None)`: it is deleted.
    pub fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        self.table.borrow().entries.get(key).map(Entry::value)
    }

    pub fn is_empty(&self) -> bool {
        self.table.borrow().entries.is_empty()
    }

    /// Entries, tombstones included.
    pub fn len(&self) -> usize {
        self.table.borrow().entries.len()
    }

    pub fn tombstones(&self) -> usize {
        self.table.borrow().tombstones
    }

    /// Memory held, bytes of overwritten entries included.
    pub fn bytes(&self) -> usize {
        self.table.borrow().bytes
    }

    /// The entries as they are, for another thread. Nothing may be applied from now on.
    pub fn share(&self) -> Arc<Table> {
        self.table.borrow().clone()
    }

    /// A cursor on the first key at or after `start`.
    pub fn cursor(self: &Rc<Self>, start: &[u8]) -> TableCursor {
        let mut cursor = TableCursor {
            table: self.clone(),
            batch: Vec::new(),
            at: 0,
            last_batch: false,
            batch_len: BATCH_MIN,
        };
        cursor.seek(start);
        cursor
    }
}

impl Entry {
    pub fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    pub fn value(&self) -> Option<Bytes> {
        self.live.then(|| self.bytes.slice(self.key_len as usize..))
    }

    pub fn value_slice(&self) -> Option<&[u8]> {
        self.live.then(|| &self.bytes[self.key_len as usize..])
    }
}

impl TableCursor {
    /// The current entry; `None` at the end.
    pub fn entry(&self) -> Option<&Entry> {
        self.batch.get(self.at)
    }

    pub fn advance(&mut self) {
        self.at += 1;
        if self.at < self.batch.len() || self.last_batch {
            return;
        }
        if let Some(last) = self.batch.pop() {
            self.fill(Bound::Excluded(last.key()));
        }
    }

    /// Moves to the first key at or after `key`.
    pub fn seek(&mut self, key: &[u8]) {
        let within = self.batch.last().is_some_and(|last| last.key() >= key);
        if within && self.batch.get(self.at).is_some_and(|first| first.key() <= key) {
            self.at += self.batch[self.at..].partition_point(|entry| entry.key() < key);
        } else {
            self.fill(Bound::Included(key));
        }
    }

    fn fill(&mut self, from: Bound<&[u8]>) {
        let table = self.table.table.borrow();
        let range = table.entries.range::<[u8], _>((from, Bound::Unbounded));
        self.batch.clear();
        self.batch.extend(range.take(self.batch_len).cloned());
        self.at = 0;
        self.last_batch = self.batch.len() < self.batch_len;
        self.batch_len = (self.batch_len * 2).min(BATCH_MAX);
    }
}

impl Table {
    /// All entries in key order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn apply(&mut self, key: &[u8], value: Option<&[u8]>) {
        let bytes = self.arena.pack(key, value.unwrap_or_default());
        self.bytes += bytes.len() + ENTRY_OVERHEAD;
        self.tombstones += usize::from(value.is_none());
        let entry = Entry { bytes, key_len: key.len() as u32, live: value.is_some() };
        if let Some(old) = self.entries.replace(entry) {
            self.tombstones -= usize::from(!old.live);
        }
    }
}

impl Arena {
    fn pack(&mut self, key: &[u8], value: &[u8]) -> Bytes {
        let len = key.len() + value.len();
        if len > CHUNK_MAX / 4 {
            return Bytes::from([key, value].concat());
        }
        if self.chunk.capacity() - self.chunk.len() < len {
            self.chunk_len = (self.chunk_len * 2).clamp(CHUNK_MIN, CHUNK_MAX).max(len);
            self.chunk = BytesMut::with_capacity(self.chunk_len);
        }
        self.chunk.extend_from_slice(key);
        self.chunk.extend_from_slice(value);
        self.chunk.split().freeze()
    }
}

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        self.key()
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Vec<u8> {
        format!("key-{n:06}").into_bytes()
    }

    #[test]
    fn newest_value_wins_and_deletes_are_remembered() {
        let table = Memtable::default();
        table.apply(b"", Some(b"empty key"));
        table.apply(b"a", Some(b"1"));
        table.apply(b"a", Some(b"2"));
        table.apply(b"b", Some(b""));
        table.apply(b"b", None);
        assert_eq!(table.get(b""), Some(Some(Bytes::from_static(b"empty key"))));
        assert_eq!(table.get(b"a"), Some(Some(Bytes::from_static(b"2"))));
        assert_eq!(table.get(b"b"), Some(None));
        assert_eq!(table.get(b"c"), None);
        assert_eq!((table.len(), table.tombstones()), (3, 1));
        table.apply(b"b", Some(b"back"));
        assert_eq!(table.tombstones(), 0);
    }

    #[test]
    fn a_cursor_survives_applies_and_misses_nothing_that_stays() {
        let table = Rc::new(Memtable::default());
        for n in (0..2000).step_by(2) {
            table.apply(&key(n), Some(b"even"));
        }
        let mut cursor = table.cursor(&key(0));
        let mut seen = Vec::new();
        while let Some(entry) = cursor.entry() {
            let n: usize = std::str::from_utf8(&entry.key()[4..]).unwrap().parse().unwrap();
            seen.push(n);
            table.apply(&key(n + 301), Some(b"odd, ahead"));
            table.apply(&key(n / 4), None);
            cursor.advance();
        }
        assert!(seen.is_sorted_by(|a, b| a < b));
        assert!((0..2000).step_by(2).all(|n| seen.contains(&n)));
    }

    #[test]
    fn seek_goes_forward_inside_and_beyond_a_batch() {
        let table = Rc::new(Memtable::default());
        for n in 0..1000 {
            table.apply(&key(n), Some(b"v"));
        }
        let mut cursor = table.cursor(b"");
        for n in [0, 3, 3, 7, 400, 401, 999] {
            cursor.seek(&key(n));
            assert_eq!(cursor.entry().map(|e| e.key().to_vec()), Some(key(n)));
        }
        cursor.seek(b"z");
        assert!(cursor.entry().is_none());
    }
}
