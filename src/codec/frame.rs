//! Block frames: how at most 64 KiB of a chunk stand on a drive.
//!
//! Owns the 64-byte header in front of the coded area, its checksum, and the sum that turns payload
//! bytes into coded bytes and into bytes on a drive. Works in place on a buffer the caller holds; no I/O
//! and no allocation. Layout: `docs/FORMAT.md`.
//!
//! Invariants: a block that verifies is the one that was written last to exactly this place for exactly
//! this extent, row and column; everything else is told apart: never written, newer, misdirected, left
//! over from an earlier extent, of another length, or damaged. Padding behind the coded area carries no
//! meaning and is not covered, but it is written as zeros, so that no memory leaks to a drive.

use crate::base::limits::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES, BLOCK_TAG_BYTES, PAGE};

pub const MAGIC: u32 = u32::from_le_bytes(*b"BBLK");
pub const VERSION: u8 = 1;

/// The erasure code works on whole multiples of this.
pub const CODED_STEP: usize = 64;

/// Which block this is: everything a reader knows before it reads, and therefore checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockIdentity {
    /// The lower half of the pool's id.
    pub pool: u64,
    /// Of the extent.
    pub nonce: u64,
    /// Where this very block stands, as `Address::encode` gives it.
    pub address: u64,
    /// Row in the extent, from 0.
    pub row: u32,
    /// Column in the row: data below `k`, parity from `k` on.
    pub chunk: u8,
    pub k: u8,
    pub m: u8,
}

/// A header as it was found; nothing but magic, version and checksum is known to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    pub identity: BlockIdentity,
    pub flags: u8,
    /// Bytes of the coded area.
    pub coded: u32,
}

/// Why a block is not the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("no block was ever written here")]
    Magic,
    #[error("block version {0} is newer than this program")]
    Version(u8),
    #[error("block flags {0:#04x} are newer than this program")]
    Flags(u8),
    #[error("a block of address {0:#018x} stands here")]
    Misdirected(u64),
    #[error("a block of another extent stands here, nonce {0:#018x}")]
    Stale(u64),
    #[error("coded area of {0} bytes is not the expected length")]
    Length(u32),
    #[error("checksum differs: torn or flipped")]
    Crc,
}

/// Bytes of the coded area for `payload` bytes in each column of a row.
pub const fn coded_bytes(payload: usize) -> usize {
    (payload + BLOCK_TAG_BYTES).next_multiple_of(CODED_STEP)
}

/// Bytes on a drive for a coded area.
pub const fn disk_bytes(coded: usize) -> usize {
    (BLOCK_HEADER_BYTES + coded).next_multiple_of(PAGE)
}

/// The coded area of a block in memory.
pub fn coded_area(block: &[u8], coded: usize) -> &[u8] {
    &block[BLOCK_HEADER_BYTES..][..coded]
}

pub fn coded_area_mut(block: &mut [u8], coded: usize) -> &mut [u8] {
    &mut block[BLOCK_HEADER_BYTES..][..coded]
}

/// Completes a block whose coded area is in place: writes the header with its checksum and zeroes the
/// padding. `block` is exactly the bytes that go to the drive.
pub fn encode(block: &mut [u8], identity: &BlockIdentity, coded: usize) {
    assert_eq!(block.len(), disk_bytes(coded));
    assert!(coded.is_multiple_of(CODED_STEP) && block.len() <= BLOCK_BYTES);
    let (head, rest) = block.split_at_mut(BLOCK_HEADER_BYTES);
    let (area, padding) = rest.split_at_mut(coded);
    padding.fill(0);
    head.fill(0);
    head[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[4] = VERSION;
    head[6] = identity.chunk;
    head[7] = identity.k;
    head[8] = identity.m;
    head[12..16].copy_from_slice(&(coded as u32).to_le_bytes());
    head[16..24].copy_from_slice(&identity.pool.to_le_bytes());
    head[24..32].copy_from_slice(&identity.nonce.to_le_bytes());
    head[32..36].copy_from_slice(&identity.row.to_le_bytes());
    head[40..48].copy_from_slice(&identity.address.to_le_bytes());
    let crc = checksum(head, area);
    head[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
}

/// The coded area of a block that was read, if it is the expected block, whole.
pub fn verify<'a>(block: &'a [u8], expected: &BlockIdentity, coded: usize) -> Result<&'a [u8], FrameError> {
    let (header, area) = open(block)?;
    let found = &header.identity;
    if found.address != expected.address || found.pool != expected.pool {
        return Err(FrameError::Misdirected(found.address));
    }
    if found != expected {
        return Err(FrameError::Stale(found.nonce));
    }
    if header.coded as usize != coded {
        return Err(FrameError::Length(header.coded));
    }
    Ok(area)
}

/// Header and coded area of whatever block stands here, its checksum verified. For tools and repair;
/// readers use [`verify`].
pub fn open(block: &[u8]) -> Result<(BlockHeader, &[u8]), FrameError> {
    let (head, rest) = block.split_at_checked(BLOCK_HEADER_BYTES).ok_or(FrameError::Magic)?;
    let header = take_header(head).ok_or(FrameError::Magic)?;
    let version = head.get(4).copied().unwrap_or_default();
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    if header.flags != 0 {
        return Err(FrameError::Flags(header.flags));
    }
    let area = rest.get(..header.coded as usize).ok_or(FrameError::Length(header.coded))?;
    let crc = head.get(CRC_AT..).and_then(|crc| crc.try_into().ok()).map(u32::from_le_bytes);
    if crc != Some(checksum(head, area)) {
        return Err(FrameError::Crc);
    }
    Ok((header, area))
}

/// Where the checksum stands in the header: last, so that it covers one piece in front of it.
const CRC_AT: usize = BLOCK_HEADER_BYTES - 4;

fn checksum(head: &[u8], area: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head.get(..CRC_AT).unwrap_or_default()), area)
}

/// The fields of a header; `None` without the magic.
fn take_header(head: &[u8]) -> Option<BlockHeader> {
    let u32_at = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let u64_at = |at: usize| head.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    if u32_at(0)? != MAGIC {
        return None;
    }
    let identity = BlockIdentity {
        pool: u64_at(16)?,
        nonce: u64_at(24)?,
        address: u64_at(40)?,
        row: u32_at(32)?,
        chunk: *head.get(6)?,
        k: *head.get(7)?,
        m: *head.get(8)?,
    };
    Some(BlockHeader { identity, flags: *head.get(5)?, coded: u32_at(12)? })
}

const _: () = assert!(coded_bytes(BLOCK_PAYLOAD_BYTES) + BLOCK_HEADER_BYTES == BLOCK_BYTES);
const _: () = assert!(disk_bytes(coded_bytes(BLOCK_PAYLOAD_BYTES)) == BLOCK_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity() -> BlockIdentity {
        BlockIdentity { pool: 11, nonce: 22, address: 3 << 48 | 44, row: 5, chunk: 1, k: 2, m: 2 }
    }

    fn block(payload: &[u8], identity: &BlockIdentity) -> (Vec<u8>, usize) {
        let coded = coded_bytes(payload.len());
        let mut block = vec![0xaa; disk_bytes(coded)];
        let area = coded_area_mut(&mut block, coded);
        area.fill(0);
        area[..payload.len()].copy_from_slice(payload);
        encode(&mut block, identity, coded);
        (block, coded)
    }

    proptest! {
        #[test]
        fn payload_comes_back_and_any_flip_is_seen(
            payload in prop::collection::vec(any::<u8>(), 0..9000), at: prop::sample::Index, bit in 0u8..8,
        ) {
            let (mut bytes, coded) = block(&payload, &identity());
            let area = verify(&bytes, &identity(), coded).unwrap();
            prop_assert_eq!(&area[..payload.len()], &payload[..]);
            prop_assert!(bytes[BLOCK_HEADER_BYTES + coded..].iter().all(|byte| *byte == 0));
            let at = at.index(BLOCK_HEADER_BYTES + coded);
            bytes[at] ^= 1 << bit;
            prop_assert!(verify(&bytes, &identity(), coded).is_err());
        }

        #[test]
        fn hostile_bytes_are_refused_without_panic(bytes: Vec<u8>, coded in 0usize..70_000, magic: bool) {
            let mut bytes = bytes;
            if magic && bytes.len() >= 5 {
                bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
                bytes[4] = VERSION;
            }
            prop_assert!(verify(&bytes, &identity(), coded).is_err());
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let id = identity();
        let (good, coded) = block(b"basalt", &id);
        assert_eq!(verify(&vec![0; good.len()], &id, coded), Err(FrameError::Magic));
        assert_eq!(verify(&[], &id, coded), Err(FrameError::Magic));
        let elsewhere = BlockIdentity { address: 9, ..id };
        assert_eq!(verify(&good, &elsewhere, coded), Err(FrameError::Misdirected(id.address)));
        for stale in [
            BlockIdentity { nonce: 1, ..id },
            BlockIdentity { row: 6, ..id },
            BlockIdentity { chunk: 0, ..id },
            BlockIdentity { k: 3, ..id },
        ] {
            assert_eq!(verify(&good, &stale, coded), Err(FrameError::Stale(id.nonce)));
        }
        assert_eq!(verify(&good, &id, coded + CODED_STEP), Err(FrameError::Length(coded as u32)));
        let mut newer = good.clone();
        newer[4] = 2;
        assert_eq!(verify(&newer, &id, coded), Err(FrameError::Version(2)));
        let mut sealed = good.clone();
        sealed[5] = 1;
        assert_eq!(verify(&sealed, &id, coded), Err(FrameError::Flags(1)));
        let mut torn = good.clone();
        torn[70] ^= 1;
        assert_eq!(verify(&torn, &id, coded), Err(FrameError::Crc));
        let mut long = good.clone();
        long[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(verify(&long, &id, coded), Err(FrameError::Length(u32::MAX)));
    }

    #[test]
    fn a_full_payload_fills_a_block() {
        let (full, coded) = block(&vec![7; BLOCK_PAYLOAD_BYTES], &identity());
        assert_eq!((full.len(), coded), (BLOCK_BYTES, BLOCK_BYTES - BLOCK_HEADER_BYTES));
        assert_eq!(coded_bytes(0), CODED_STEP);
        assert_eq!(coded_bytes(CODED_STEP - BLOCK_TAG_BYTES + 1), 2 * CODED_STEP);
    }
}
