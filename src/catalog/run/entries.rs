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

pub const RESTART_INTERVAL: usize = 8;

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

/// The neighbours of a key among the entries.
struct Located {
    /// The last entry before the key.
    below: Option<Raw>,
    /// The first entry at or behind the key, and where it begins.
    at: Option<(usize, Raw)>,
    /// `at` has exactly the key.
    equal: bool,
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

    /// The value of exactly `target`. Does not move.
    pub fn find(&self, target: &[u8]) -> Option<Option<(Form, Bytes)>> {
        let found = self.locate(target)?;
        let entry = found.at.filter(|_| found.equal);
        Some(entry.map(|(_, raw)| (raw.form, self.payload.slice(raw.value))))
    }

    /// Goes before the first entry at or after `target`, so that `advance` moves to it; `Some(false)`
    /// when there is none.
    pub fn seek(&mut self, target: &[u8]) -> Option<bool> {
        let found = self.locate(target)?;
        self.stand_before(target, found.at.as_ref())?;
        Some(found.at.is_some())
    }

    /// Moves to the last entry at or before `target`; `Some(false)` when there is none. Only its
    /// value is known then, not its key; `advance` goes on behind it.
    pub fn seek_back(&mut self, target: &[u8]) -> Option<bool> {
        let found = self.locate(target)?;
        self.stand_before(target, found.at.as_ref())?;
        if found.equal {
            return self.advance();
        }
        if let Some(raw) = &found.below {
            self.value = raw.value.clone();
            self.form = raw.form;
        }
        Some(found.below.is_some())
    }

    /// The neighbours of `target`, without putting any key together. Of the entries behind a restart
    /// at or before the target, one that shares more with its predecessor than the target does is
    /// below the target too, and one that shares less is above: only an equal share needs a look at
    /// key bytes.
    fn locate(&self, target: &[u8]) -> Option<Located> {
        let mut at = self.restart_before(target)?;
        let mut below = None;
        let mut matched = 0;
        while at < self.end {
            let raw = self.raw(at)?;
            let order = match raw.shared.cmp(&matched) {
                Ordering::Equal => {
                    let (suffix, rest) = (self.payload.get(raw.suffix.clone())?, target.get(matched..)?);
                    let common = common_prefix(suffix, rest);
                    let order = suffix.get(common).cmp(&rest.get(common));
                    matched += common * usize::from(order == Ordering::Less);
                    order
                }
                shares => shares.reverse(),
            };
            if order != Ordering::Less {
                return Some(Located { below, at: Some((at, raw)), equal: order == Ordering::Equal });
            }
            at = raw.value.end;
            below = Some(raw);
        }
        Some(Located { below, at: None, equal: false })
    }

    /// What the entry shares with its predecessor it also shares with the target.
    fn stand_before(&mut self, target: &[u8], at: Option<&(usize, Raw)>) -> Option<()> {
        self.key.clear();
        match at {
            Some((at, raw)) => {
                self.key.extend_from_slice(target.get(..raw.shared)?);
                self.next = *at;
            }
            None => self.next = self.end,
        }
        Some(())
    }

    /// Where the last restart at or before `target` is, or the first one.
    fn restart_before(&self, target: &[u8]) -> Option<usize> {
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
        if self.restarts == 0 { Some(self.end) } else { self.restart(low) }
    }

    fn restart(&self, n: usize) -> Option<usize> {
        let at = self.end.checked_add(n.checked_mul(2)?)?;
        Some(usize::from(u16::from_le_bytes(*self.payload.get(at..)?.first_chunk()?)))
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
        let bytes = &self.payload[..];
        let (shared, at) = varint(bytes, at)?;
        let (unshared, at) = varint(bytes, at)?;
        let (tag, at) = varint(bytes, at)?;
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
                prop_assert_eq!(cursor.seek(&target), Some(after.is_some()));
                prop_assert_eq!(cursor.advance(), Some(after.is_some()));
                if let Some((key, value)) = after {
                    prop_assert_eq!((cursor.key(), cursor.value()), (&key[..], &value[..]));
                }
                let exact = map.get(&target).map(|value| (Form::Inline, Bytes::copy_from_slice(value)));
                prop_assert_eq!(cursor.find(&target), Some(exact));
                let mut up_to = map.range::<[u8], _>((Bound::Unbounded, Bound::Included(&target[..])));
                let before = up_to.next_back();
                prop_assert_eq!(cursor.seek_back(&target), Some(before.is_some()));
                if let Some((_, value)) = before {
                    prop_assert_eq!(cursor.value(), &value[..]);
                }
                let behind = map.range::<[u8], _>((Bound::Excluded(&target[..]), Bound::Unbounded)).next();
                prop_assert_eq!(cursor.advance(), Some(behind.is_some()));
                prop_assert_eq!(behind.map(|(key, _)| &key[..]), behind.map(|_| cursor.key()));
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
        assert!(cursor.seek(&(count - 1).to_be_bytes()).unwrap() && cursor.advance().unwrap());
        assert!(!cursor.advance().unwrap());
        builder.clear();
        assert!(builder.push(b"large", Form::Inline, &[1; 30_000], 4096), "the first always fits");
    }
}
