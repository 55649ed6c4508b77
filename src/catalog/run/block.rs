//! The block: what a run is made of on the drives.
//!
//! Owns the header that every block carries, and `BlockRef`, the way one block names another.
//! A reference holds the checksum of what it points to, up to the levels of the manifest, so that
//! not only a torn or flipped block is refused but also a stale one and one from another place.
//! Bytes from drives are checked, never trusted: no function here panics on them.
//!
//! Header, 32 bytes, little-endian: magic 4, version 1, kind 1, shard 2, run 8, number 4,
//! payload length 4, zero 4, crc32c 4 over the first 28 bytes and the payload.

use bytes::Bytes;

use crate::base::ids::ShardId;
use crate::base::limits::{self, PAGE};

pub const HEADER_BYTES: usize = 32;
const MAGIC: [u8; 4] = *b"BsRB";
const VERSION: u8 = 1;
const CRC_AT: usize = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Entries: keys and values.
    Data = 1,
    /// Keys that separate data blocks, and references to them.
    Index = 2,
    /// Bits that tell which keys are surely absent.
    Filter = 3,
    /// A piece of a value too large for a data block.
    Value = 4,
    /// The root of a run.
    Footer = 5,
}

/// Whose block it is; part of the header and of what a reader expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub shard: ShardId,
    pub run: u64,
}

/// Where a block stands in its run, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Position in the run's list of extents.
    pub extent: u32,
    /// First page in the extent.
    pub page: u8,
    /// Pages, 1 to 256.
    pub pages: u16,
    pub crc: u32,
}

impl BlockRef {
    pub const ENCODED_BYTES: usize = 10;

    /// The block's number in its run, also written in its header.
    pub fn number(self) -> u32 {
        self.extent << 8 | u32::from(self.page)
    }

    pub fn offset(self) -> u32 {
        u32::from(self.page) * PAGE as u32
    }

    pub fn bytes(self) -> usize {
        usize::from(self.pages) * PAGE
    }

    pub fn encode(self) -> [u8; Self::ENCODED_BYTES] {
        assert!((1..=256).contains(&self.pages) && self.extent < 1 << 24);
        let mut out = [0; Self::ENCODED_BYTES];
        out[0..4].copy_from_slice(&self.extent.to_le_bytes());
        out[4] = self.page;
        out[5] = (self.pages - 1) as u8;
        out[6..10].copy_from_slice(&self.crc.to_le_bytes());
        out
    }

    /// The reference at the front of `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::ENCODED_BYTES] = bytes.first_chunk()?;
        let [e0, e1, e2, e3, page, pages, c0, c1, c2, c3] = *bytes;
        let extent = u32::from_le_bytes([e0, e1, e2, e3]);
        let crc = u32::from_le_bytes([c0, c1, c2, c3]);
        (extent < 1 << 24).then_some(BlockRef { extent, page, pages: u16::from(pages) + 1, crc })
    }
}

/// Bytes on a drive for a payload of `len`.
pub fn sealed_len(len: usize) -> usize {
    (HEADER_BYTES + len).next_multiple_of(PAGE)
}

/// Writes header and payload to the front of `out`, which is zeroed, and returns the checksum.
pub fn seal(kind: Kind, owner: Owner, number: u32, payload: &[u8], out: &mut [u8]) -> u32 {
    assert!(out.len() >= HEADER_BYTES + payload.len() && payload.len() <= limits::RUN_EXTENT_BYTES);
    out[0..4].copy_from_slice(&MAGIC);
    out[4] = VERSION;
    out[5] = kind as u8;
    out[6..8].copy_from_slice(&owner.shard.0.to_le_bytes());
    out[8..16].copy_from_slice(&owner.run.to_le_bytes());
    out[16..20].copy_from_slice(&number.to_le_bytes());
    out[20..24].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    out[24..28].fill(0);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[..CRC_AT]), payload);
    out[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    out[HEADER_BYTES..HEADER_BYTES + payload.len()].copy_from_slice(payload);
    crc
}

/// The payload's length when `block` is exactly the expected one: right kind, owner, number and
/// checksum.
pub fn check(block: &[u8], kind: Kind, owner: Owner, number: u32, crc: u32) -> Option<usize> {
    let header: &[u8; HEADER_BYTES] = block.first_chunk()?;
    let [head @ .., l0, l1, l2, l3, z0, z1, z2, z3, c0, c1, c2, c3] = *header;
    let mut expected = [0; 20];
    expected[0..4].copy_from_slice(&MAGIC);
    expected[4] = VERSION;
    expected[5] = kind as u8;
    expected[6..8].copy_from_slice(&owner.shard.0.to_le_bytes());
    expected[8..16].copy_from_slice(&owner.run.to_le_bytes());
    expected[16..20].copy_from_slice(&number.to_le_bytes());
    if head != expected || [z0, z1, z2, z3] != [0; 4] || u32::from_le_bytes([c0, c1, c2, c3]) != crc {
        return None;
    }
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let payload = block.get(HEADER_BYTES..HEADER_BYTES.checked_add(len)?)?;
    let found = crc32c::crc32c_append(crc32c::crc32c(block.get(..CRC_AT)?), payload);
    (found == crc).then_some(len)
}

/// The payload of a block that `check` accepted.
pub fn payload(block: &Bytes) -> Option<Bytes> {
    let len = u32::from_le_bytes(*block.get(20..)?.first_chunk()?) as usize;
    let end = HEADER_BYTES.checked_add(len)?;
    (end <= block.len()).then(|| block.slice(HEADER_BYTES..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { shard: ShardId(3), run: 77 };

    #[test]
    fn a_block_is_refused_when_any_bit_or_any_identity_differs() {
        let payload_in = b"some payload".repeat(20);
        let mut block = vec![0; sealed_len(payload_in.len())];
        let crc = seal(Kind::Data, OWNER, 5, &payload_in, &mut block);
        assert_eq!(check(&block, Kind::Data, OWNER, 5, crc), Some(payload_in.len()));
        assert_eq!(payload(&Bytes::from(block.clone())).unwrap(), payload_in);
        let used = HEADER_BYTES + payload_in.len();
        for bit in 0..used * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&block, Kind::Data, OWNER, 5, crc), None, "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(check(&block, Kind::Index, OWNER, 5, crc), None);
        assert_eq!(check(&block, Kind::Data, Owner { run: 78, ..OWNER }, 5, crc), None);
        assert_eq!(check(&block, Kind::Data, Owner { shard: ShardId(4), ..OWNER }, 5, crc), None);
        assert_eq!(check(&block, Kind::Data, OWNER, 6, crc), None);
        assert_eq!(check(&block, Kind::Data, OWNER, 5, crc ^ 1), None);
        for len in 0..used {
            assert_eq!(check(&block[..len], Kind::Data, OWNER, 5, crc), None);
        }
    }

    #[test]
    fn references_survive_encoding() {
        for block in [
            BlockRef { extent: 0, page: 0, pages: 1, crc: 0 },
            BlockRef { extent: (1 << 24) - 1, page: 255, pages: 256, crc: u32::MAX },
        ] {
            assert_eq!(BlockRef::decode(&block.encode()), Some(block));
            assert_eq!(BlockRef::decode(&block.encode()[..9]), None);
        }
    }
}
