//! Segments: the units in which a drive's space is handed out, and the header each one carries.
//!
//! Layout of a drive: superblock copies, manifest slots, then segments of equal size. The first
//! page of a segment is its header; what follows belongs to the owner named there. On a directory
//! drive a segment lives at its offset in one of two sparse files, `meta` for log segments and
//! `data` for the rest, and keeps its file for ever; on a block device both are the device.
//! Layout: `docs/FORMAT.md`, sections Drive and Segment header.

use crate::base::ids::{DriveId, LogId, PoolId, ShardId};
use crate::base::limits;
use crate::codec::wire::{self, Broken, Put, Take};

pub const MAGIC: u32 = u32::from_le_bytes(*b"BSEG");
pub const VERSION: u32 = 1;

/// Where the manifest slots begin: after the superblock copies.
pub const MANIFEST_OFFSET: u64 = 4 * limits::MIB as u64;
/// Where segments begin: manifest slots are two for each possible shard.
pub const SEGMENTS_OFFSET: u64 = 16 * limits::MIB as u64;
/// Two pages that hold nothing: a drive that shall be readmitted is tried on them.
pub const PROBE_OFFSET: u64 = SEGMENTS_OFFSET - 2 * limits::PAGE as u64;

const _: () =
    assert!(MANIFEST_OFFSET + limits::SHARDS_MAX as u64 * 2 * limits::MANIFEST_BYTES as u64 <= PROBE_OFFSET);

/// One copy of a log segment: which segment of which drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub drive: DriveId,
    pub segment: u32,
}

/// Who a segment belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Zero-filled, waiting to become a log segment again.
    Spare,
    /// A mirror of a log segment; all mirrors are named in each.
    Log { id: LogId, mirrors: Vec<Mirror> },
    /// Chunks and runs of one shard.
    Data { shard: ShardId },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub pool: PoolId,
    pub drive: DriveId,
    pub segment: u32,
    pub epoch: u32,
    pub owner: Owner,
}

/// Byte offset of a segment on its drive.
pub fn offset(segment: u32, segment_bytes: u64) -> u64 {
    SEGMENTS_OFFSET + u64::from(segment) * segment_bytes
}

/// The segment a byte offset lies in; `None` in front of the first.
pub fn of_offset(offset: u64, segment_bytes: u64) -> Option<u32> {
    u32::try_from(offset.checked_sub(SEGMENTS_OFFSET)? / segment_bytes).ok()
}

impl Header {
    /// One page.
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.u128(self.pool.0).u16(self.drive.0).u32(self.segment).u32(self.epoch);
        match &self.owner {
            Owner::Spare => put.u8(1),
            Owner::Log { id, mirrors } => {
                put.u8(2).u64(id.0).u8(mirrors.len() as u8);
                for mirror in mirrors {
                    put.u16(mirror.drive.0).u32(mirror.segment);
                }
                &mut put
            }
            Owner::Data { shard } => put.u8(3).u16(shard.0),
        };
        let mut page = wire::seal(MAGIC, VERSION, &put.0);
        assert!(page.len() <= limits::PAGE);
        page.resize(limits::PAGE, 0);
        page
    }

    pub fn decode(page: &[u8]) -> Result<Self, Broken> {
        let (_, body) = wire::open(page, MAGIC, VERSION)?;
        Self::take(&mut Take(body)).ok_or(Broken::Damaged)
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        let pool = PoolId(take.u128()?);
        let drive = DriveId(take.u16()?);
        let (segment, epoch) = (take.u32()?, take.u32()?);
        let owner = match take.u8()? {
            1 => Owner::Spare,
            2 => {
                let id = LogId(take.u64()?);
                let count = take.u8()?;
                let mirror =
                    |take: &mut Take<'_>| Some(Mirror { drive: DriveId(take.u16()?), segment: take.u32()? });
                Owner::Log { id, mirrors: (0..count).map(|_| mirror(take)).collect::<Option<_>>()? }
            }
            3 => Owner::Data { shard: ShardId(take.u16()?) },
            _ => return None,
        };
        Some(Header { pool, drive, segment, epoch, owner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_owner_comes_back() {
        let mirrors =
            vec![Mirror { drive: DriveId(1), segment: 3 }, Mirror { drive: DriveId(2), segment: 9 }];
        for owner in
            [Owner::Spare, Owner::Log { id: LogId(1 << 40), mirrors }, Owner::Data { shard: ShardId(7) }]
        {
            let header = Header { pool: PoolId(5), drive: DriveId(1), segment: 3, epoch: 2, owner };
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn offsets_and_segments_agree() {
        let bytes = limits::SEGMENT_BYTES_MIN;
        assert_eq!(of_offset(offset(5, bytes), bytes), Some(5));
        assert_eq!(of_offset(offset(6, bytes) - 1, bytes), Some(5));
        assert_eq!(of_offset(10, bytes), None);
    }
}
