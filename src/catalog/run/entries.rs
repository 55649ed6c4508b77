//! The payload of data and index blocks: sorted entries with shared key prefixes cut off.
//!
//! Owns the encoding, both ways. An entry is `shared`, `unshared`, `tag` (varints), the unshared
//! key bytes and the value; `tag` is the value's length shifted left by two, with the form in the
//! low bits. Every `RESTART_INTERVAL`th entry has nothing cut off; the payload ends with the
//! offsets of these (u16 each) and their number (u16), so that a search is a binary one.
//! Bytes from drives are checked, never trusted: a malformed payload yields `None`, no panic.

use std::cmp::Ordering;
use std::ops::Range;

use bytes::Bytes;

pub const RESTART_INTERVAL: usize = 16;

/// How the value of an entry is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// The value itself.
    Inline = 0,
    /// Nothing: the key is deleted.
    Tombstone = 1,
    /// References to value blocks.
    Large = 2,
}

/// Builds one payload.
#[derive(Default)]
pub struct EntriesBuilder {
    buf: Vec<u8>,
    restarts: Vec<u16>,
    last_key: Vec<u8>,
    count: usize,
}

/// Stands on one entry of a payload, or before the first or after the last.
#[derive(Clone)]
pub struct EntriesCursor {
    payload: Bytes,
    /// End of the entries, start of the restart offsets.
    end: usize,
    restarts: usize,
    /// Where the entry after the current one begins.
    next: usize,
    key: Vec<u8>,
    value: Range<usize>,
    form: Form,
}

/// An entry as it stands in the payload.
struct Raw {
    shared: usize,
    suffix: Range<usize>,
    value: Range<usize>,
    form: Form,
}

impl EntriesBuilder {
    /// Adds an entry behind the others. False, and nothing is added, when the payload would
    /// exceed `limit`, unless it is the first.
    pub fn push(&mut self, key: &[u8], form: Form, value: &[u8], limit: usize) -> bool {
        debug_assert!(self.count == 0 || key > &self.last_key[..]);
        let restart = self.count.is_multiple_of(RESTART_INTERVAL);
        let shared = if restart { 0 } else { common_prefix(key, &self.last_key) };
        let tag = value.len() << 2 | form as usize;
        let head = varint_len(shared) + varint_len(key.len() - shared) + varint_len(tag);
        let len = head + key.len() - shared + value.len();
        if self.count > 0 && self.len() + len + 2 * usize::from(restart) > limit {
            return false;
        }
        if restart {
            self.restarts.push(u16::try_from(self.buf.len()).expect("a payload stays below 64 KiB"));
        }
        put_varint(&mut self.buf, shared);
        put_varint(&mut self.buf, key.len() - shared);
        put_varint(&mut self.buf, tag);
        self.buf.extend_from_slice(&key[shared..]);
        self.buf.extend_from_slice(value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        self.count += 1;
        true
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the payload if it ended here.
    pub fn len(&self) -> usize {
        self.buf.len() + 2 * self.restarts.len() + 2
    }

    /// The payload; the builder is empty again after `clear`.
    pub fn finish(&mut self) -> &[u8] {
        for restart in &self.restarts {
            self.buf.extend_from_slice(&restart.to_le_bytes());
        }
        let restarts = self.restarts.len() as u16;
        self.buf.extend_from_slice(&restarts.to_le_bytes());
        &self.buf
    }

    pub fn clear(&mut self) {
        self.buf.clear();
        self.restarts.clear();
        self.last_key.clear();
        self.count = 0;
    }
}

impl EntriesCursor {
    /// Before the first entry of `payload`.
    pub fn new(payload: Bytes) -> Option<Self> {
        let restarts_end = payload.len().checked_sub(2)?;
        let restarts = usize::from(u16::from_le_bytes(*payload.get(restarts_end..)?.first_chunk()?));
        let end = restarts_end.checked_sub(restarts * 2)?;
        Some(EntriesCursor {
            payload,
            end,
            restarts,
            next: 0,
            key: Vec::new(),
            value: 0..0,
            form: Form::Inline,
        })
    }

    /// Continues with another payload, keeping the memory of this one.
    pub fn replace(&mut self, payload: Bytes) -> Option<()> {
        let key = std::mem::take(&mut self.key);
        *self = EntriesCursor::new(payload)?;
        self.key = key;
        self.key.clear();
        Some(())
    }

    pub fn key(&self) -> &[u8] {
        &self.key
    }

    pub fn form(&self) -> Form {
        self.form
    }

    pub fn value(&self) -> &[u8] {
        self.payload.get(self.value.clone()).unwrap_or_default()
    }

    /// The value as a piece of the block, not copied.
    pub fn value_bytes(&self) -> Bytes {
        self.payload.slice(self.value.clone())
    }

    /// Moves to the next entry; `Some(false)` at the end, `None` when the payload is malformed.
    #[inline]
    pub fn advance(&mut self) -> Option<bool> {
        if self.next >= self.end {
            return Some(false);
        }
        let raw = self.raw(self.next)?;
        self.enter(raw)?;
        Some(true)
    }

    /// Moves to the first entry at or after `target`; `Some(false)` when there is none.
    pub fn seek(&mut self, target: &[u8]) -> Option<bool> {
        self.restart_before(target)?;
        loop {
            if !self.advance()? {
                return Some(false);
            }
            if &self.key[..] >= target {
                return Some(true);
            }
        }
    }

    /// Goes before the first entry at or after `target`, so that `advance` moves to it; `Some(false)`
    /// when there is none.
    pub fn seek_before(&mut self, target: &[u8]) -> Option<bool> {
        self.restart_before(target)?;
        while self.next < self.end {
            let raw = self.raw(self.next)?;
            if self.cmp(&raw, target)? != Ordering::Less {
                return Some(true);
            }
            self.enter(raw)?;
        }
        Some(false)
    }

    /// Moves to the last entry at or before `target`; `Some(false)` when there is none.
    pub fn seek_back(&mut self, target: &[u8]) -> Option<bool> {
        self.restart_before(target)?;
        let mut found = false;
        while self.next < self.end {
            let raw = self.raw(self.next)?;
            if self.cmp(&raw, target)? == Ordering::Greater {
                break;
            }
            self.enter(raw)?;
            found = true;
        }
        Some(found)
    }

    /// Goes before the last restart whose key is at or before `target`, or before the first one.
    fn restart_before(&mut self, target: &[u8]) -> Option<()> {
        let (mut low, mut high) = (0, self.restarts);
        while low + 1 < high {
            let middle = (low + high) / 2;
            let raw = self.raw(self.restart(middle)?)?;
            if self.payload.get(raw.suffix)? <= target {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.next = if self.restarts == 0 { self.end } else { self.restart(low)? };
        self.key.clear();
        Some(())
    }

    fn restart(&self, n: usize) -> Option<usize> {
        let at = self.end.checked_add(n.checked_mul(2)?)?;
        Some(usize::from(u16::from_le_bytes(*self.payload.get(at..)?.first_chunk()?)))
    }

    /// Compares the key of the entry behind the current one with `target`.
    fn cmp(&self, raw: &Raw, target: &[u8]) -> Option<Ordering> {
        let suffix = self.payload.get(raw.suffix.clone())?;
        Some(joined_cmp(self.key.get(..raw.shared)?, suffix, target))
    }

    #[inline]
    fn enter(&mut self, raw: Raw) -> Option<()> {
        if raw.shared > self.key.len() {
            return None;
        }
        self.key.truncate(raw.shared);
        self.key.extend_from_slice(self.payload.get(raw.suffix)?);
        self.next = raw.value.end;
        self.value = raw.value;
        self.form = raw.form;
        Some(())
    }

    #[inline]
    fn raw(&self, at: usize) -> Option<Raw> {
        let entries = self.payload.get(..self.end)?;
        let (shared, at) = varint(entries, at)?;
        let (unshared, at) = varint(entries, at)?;
        let (tag, at) = varint(entries, at)?;
        let suffix_end = at.checked_add(unshared)?;
        let value_end = suffix_end.checked_add(tag >> 2)?;
        if value_end > self.end {
            return None;
        }
        let form = match tag & 3 {
            0 => Form::Inline,
            1 => Form::Tombstone,
            2 => Form::Large,
            _ => return None,
        };
        Some(Raw { shared, suffix: at..suffix_end, value: suffix_end..value_end, form })
    }
}

/// Length of the longest common prefix.
#[inline]
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8)).take_while(|(a, b)| a == b).count();
    let tail = a.iter().zip(b).skip(words * 8).take_while(|(a, b)| a == b).count();
    words * 8 + tail
}

/// Compares `prefix` followed by `suffix` with `target`.
fn joined_cmp(prefix: &[u8], suffix: &[u8], target: &[u8]) -> Ordering {
    match target.split_at_checked(prefix.len()) {
        Some((front, back)) => prefix.cmp(front).then_with(|| suffix.cmp(back)),
        // The target is shorter than the prefix alone: if it is a prefix of it, the key is greater.
        None => prefix.cmp(target),
    }
}

fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The varint at `at` and where it ends; at most four bytes long.
#[inline]
fn varint(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = usize::from(*bytes.get(at)?);
    if first < 0x80 {
        return Some((first, at + 1));
    }
    let mut value = first & 0x7f;
    for n in 1..4 {
        let byte = usize::from(*bytes.get(at + n)?);
        value |= (byte & 0x7f) << (7 * n);
        if byte < 0x80 {
            return Some((value, at + n + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use std::ops::Bound;

    const LIMIT: usize = 60_000;

    fn build(entries: &[(Vec<u8>, Vec<u8>)]) -> Bytes {
        let mut builder = EntriesBuilder::default();
        for (key, value) in entries {
            assert!(builder.push(key, Form::Inline, value, LIMIT));
        }
        let expected = builder.len();
        let payload = Bytes::copy_from_slice(builder.finish());
        assert_eq!(payload.len(), expected);
        payload
    }

    proptest! {
        #[test]
        fn search_and_walk_agree_with_a_map(
            map in btree_map(vec(0u8..4, 0..8), vec(any::<u8>(), 0..40), 0..200),
            targets in vec(vec(0u8..5, 0..9), 0..40),
        ) {
            let entries: Vec<_> = map.clone().into_iter().collect();
            let payload = build(&entries);
            let mut cursor = EntriesCursor::new(payload.clone()).unwrap();
            let mut walked = Vec::new();
            while cursor.advance().unwrap() {
                walked.push((cursor.key().to_vec(), cursor.value().to_vec()));
            }
            prop_assert_eq!(&walked, &entries);
            for target in targets {
                let after = map.range::<[u8], _>((Bound::Included(&target[..]), Bound::Unbounded)).next();
                let found = cursor.seek(&target).unwrap();
                prop_assert_eq!(found.then(|| cursor.key().to_vec()), after.map(|(key, _)| key.clone()));
                prop_assert_eq!(cursor.seek_before(&target), Some(found));
                prop_assert_eq!(cursor.advance(), Some(found));
                prop_assert_eq!(found.then(|| cursor.key().to_vec()), after.map(|(key, _)| key.clone()));
                let before = map.range::<[u8], _>((Bound::Unbounded, Bound::Included(&target[..]))).next_back();
                let found = cursor.seek_back(&target).unwrap();
                prop_assert_eq!(found.then(|| cursor.key().to_vec()), before.map(|(key, _)| key.clone()));
                if found {
                    prop_assert_eq!(cursor.value(), &map[cursor.key()][..]);
                }
            }
        }

        #[test]
        fn hostile_bytes_never_panic(
            map in btree_map(vec(0u8..4, 0..8), vec(any::<u8>(), 0..10), 0..60),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            cut in any::<prop::sample::Index>(),
            target in vec(0u8..5, 0..9),
        ) {
            let mut bytes = build(&map.into_iter().collect::<Vec<_>>()).to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() * 2));
            if let Some(mut cursor) = EntriesCursor::new(Bytes::from(bytes)) {
                while cursor.advance() == Some(true) {
                    cursor.value_bytes();
                }
                cursor.seek(&target);
                cursor.seek_back(&target);
            }
        }
    }

    #[test]
    fn a_full_payload_refuses_and_keeps_what_it_has() {
        let mut builder = EntriesBuilder::default();
        let mut count = 0u32;
        while builder.push(&count.to_be_bytes(), Form::Inline, &[7; 100], 4096) {
            count += 1;
        }
        assert!(builder.len() <= 4096 && builder.len() > 4096 - 120);
        let mut cursor = EntriesCursor::new(Bytes::copy_from_slice(builder.finish())).unwrap();
        assert!(cursor.seek(&(count - 1).to_be_bytes()).unwrap());
        assert!(!cursor.advance().unwrap());
        builder.clear();
        assert!(builder.push(b"large", Form::Inline, &[1; 30_000], 4096), "the first always fits");
    }
}
