//! The footer: the root of a run, and the only part of it that always stays in memory.
//!
//! Owns the encoding of counts, first and last key, extents and root index. Extents stay encoded
//! (8 bytes a copy) and are decoded when one is read. Bytes from drives are checked, never trusted.
//!
//! Payload, little-endian: entries 8, tombstones 8, bytes 8, extents 4, then per extent pages 2,
//! copies 1 and its addresses 8 each; first key, last key and root index, each with its length
//! before it in 4 bytes. The root index is an entries payload: key, reference to the index block,
//! reference to the filter block of the same partition.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::base::limits::{self, PAGE};
use crate::catalog::run::block::BlockRef;
use crate::catalog::run::entries::EntriesCursor;
use crate::pool::extent::{Address, MirroredExtent};

#[derive(Clone)]
pub struct Footer {
    pub entries: u64,
    pub tombstones: u64,
    /// Bytes of all extents but the footer's own.
    pub bytes: u64,
    pub first_key: Bytes,
    pub last_key: Bytes,
    payload: Bytes,
    /// Where each extent's encoding begins in the payload.
    extents: Box<[u32]>,
    root: Bytes,
}

/// What a writer knows at the end of a run.
pub struct FooterParts<'a> {
    pub entries: u64,
    pub tombstones: u64,
    pub extents: &'a [MirroredExtent],
    pub first_key: &'a [u8],
    pub last_key: &'a [u8],
    pub root: &'a [u8],
}

/// One partition: the index block and the filter block of a range of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    pub index: BlockRef,
    pub filter: BlockRef,
}

impl Partition {
    pub fn encode(self) -> [u8; 2 * BlockRef::ENCODED_BYTES] {
        let mut out = [0; 2 * BlockRef::ENCODED_BYTES];
        let (index, filter) = out.split_at_mut(BlockRef::ENCODED_BYTES);
        index.copy_from_slice(&self.index.encode());
        filter.copy_from_slice(&self.filter.encode());
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let filter = bytes.get(BlockRef::ENCODED_BYTES..)?;
        Some(Partition { index: BlockRef::decode(bytes)?, filter: BlockRef::decode(filter)? })
    }
}

impl Footer {
    pub fn encode(parts: &FooterParts<'_>) -> Vec<u8> {
        assert!(!parts.extents.is_empty() && parts.extents.len() <= limits::RUN_EXTENTS_MAX);
        let bytes: u64 = parts.extents.iter().map(|extent| u64::from(extent.len)).sum();
        let mut out = Vec::new();
        for word in [parts.entries, parts.tombstones, bytes] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&(parts.extents.len() as u32).to_le_bytes());
        for extent in parts.extents {
            encode_extent(extent, &mut out);
        }
        for field in [parts.first_key, parts.last_key, parts.root] {
            out.extend_from_slice(&(field.len() as u32).to_le_bytes());
            out.extend_from_slice(field);
        }
        out
    }

    pub fn decode(payload: Bytes) -> Option<Self> {
        let mut at = 0;
        let entries = take_u64(&payload, &mut at)?;
        let tombstones = take_u64(&payload, &mut at)?;
        let bytes = take_u64(&payload, &mut at)?;
        let count = take_u32(&payload, &mut at)? as usize;
        if count == 0 || count > limits::RUN_EXTENTS_MAX {
            return None;
        }
        let mut extents = Vec::with_capacity(count);
        for _ in 0..count {
            extents.push(at as u32);
            decode_extent(&payload, &mut at)?;
        }
        let first_key = take_field(&payload, &mut at)?;
        let last_key = take_field(&payload, &mut at)?;
        let root = take_field(&payload, &mut at)?;
        EntriesCursor::new(root.clone())?;
        let extents = extents.into();
        Some(Footer { entries, tombstones, bytes, first_key, last_key, payload, extents, root })
    }

    pub fn extent(&self, n: u32) -> Option<MirroredExtent> {
        let mut at = *self.extents.get(n as usize)? as usize;
        decode_extent(&self.payload, &mut at)
    }

    pub fn extents(&self) -> impl Iterator<Item = MirroredExtent> + '_ {
        (0..self.extents.len() as u32).filter_map(|n| self.extent(n))
    }

    /// Before the first entry of the root index.
    pub fn root(&self) -> EntriesCursor {
        EntriesCursor::new(self.root.clone()).expect("decode refuses a root that is none")
    }

    /// The partition whose keys `key` falls among.
    pub fn partition(&self, key: &[u8]) -> Option<Partition> {
        let mut root = self.root();
        root.seek_back(key)?.then(|| Partition::decode(root.value())).flatten()
    }
}

/// Pages 2, copies 1, addresses 8 each.
pub fn encode_extent(extent: &MirroredExtent, out: &mut Vec<u8>) {
    let pages = extent.len as usize / PAGE;
    assert!((extent.len as usize).is_multiple_of(PAGE) && (1..=256).contains(&pages));
    out.extend_from_slice(&(pages as u16).to_le_bytes());
    out.push(u8::try_from(extent.copies.len()).expect("copies stand on distinct drives of a stripe"));
    for copy in &extent.copies {
        out.extend_from_slice(&copy.encode().to_le_bytes());
    }
}

pub fn decode_extent(bytes: &[u8], at: &mut usize) -> Option<MirroredExtent> {
    let [p0, p1, copies] = *bytes.get(*at..)?.first_chunk()?;
    let pages = u32::from(u16::from_le_bytes([p0, p1]));
    if pages == 0 || pages > 256 || copies == 0 || usize::from(copies) > limits::STRIPE_CHUNKS_MAX {
        return None;
    }
    *at = at.checked_add(3)?;
    let mut extent = MirroredExtent { len: pages * PAGE as u32, copies: SmallVec::new() };
    for _ in 0..copies {
        extent.copies.push(Address::decode(take_u64(bytes, at)?));
    }
    Some(extent)
}

pub fn take_u64(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let word = u64::from_le_bytes(*bytes.get(*at..)?.first_chunk()?);
    *at = at.checked_add(8)?;
    Some(word)
}

pub fn take_u32(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let word = u32::from_le_bytes(*bytes.get(*at..)?.first_chunk()?);
    *at = at.checked_add(4)?;
    Some(word)
}

fn take_field(bytes: &Bytes, at: &mut usize) -> Option<Bytes> {
    let len = take_u32(bytes, at)? as usize;
    let end = at.checked_add(len)?;
    let field = (end <= bytes.len()).then(|| bytes.slice(*at..end));
    *at = end;
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::DriveId;
    use smallvec::smallvec;

    fn extent(n: u64) -> MirroredExtent {
        let copies = smallvec![
            Address { drive: DriveId(1), offset: n * 4096 },
            Address { drive: DriveId(9), offset: (n + 7) * 4096 }
        ];
        MirroredExtent { len: 4096 * (n as u32 % 64 + 1), copies }
    }

    #[test]
    fn what_goes_in_comes_out_and_no_cut_panics() {
        let extents: Vec<_> = (0..200).map(extent).collect();
        let parts = FooterParts {
            entries: 5,
            tombstones: 2,
            extents: &extents,
            first_key: b"",
            last_key: b"zz",
            root: &[0, 0],
        };
        let bytes = Bytes::from(Footer::encode(&parts));
        let footer = Footer::decode(bytes.clone()).unwrap();
        assert_eq!((footer.entries, footer.tombstones), (5, 2));
        assert_eq!(footer.bytes, extents.iter().map(|extent| u64::from(extent.len)).sum::<u64>());
        assert_eq!(footer.extents().collect::<Vec<_>>(), extents);
        assert_eq!(footer.extent(200), None);
        assert_eq!((&footer.first_key[..], &footer.last_key[..]), (&b""[..], &b"zz"[..]));
        for len in 0..bytes.len() {
            assert!(Footer::decode(bytes.slice(..len)).is_none());
        }
    }
}
