//! The identity of a drive: which pool it belongs to, its place in it, the pool's geometry.
//!
//! Written in `COPIES` places, a MiB apart, at format and whenever the epoch or the pool's drives change. A reader
//! takes the newest generation that two copies agree on, else the newest readable one, so that a single lost, torn or
//! misdirected write cannot change what a drive believes of itself. Layout: `docs/FORMAT.md`, section Superblock.

use crate::base::ids::{DriveId, PoolId};
use crate::base::limits;
use crate::base::time::Nanos;
use crate::codec::wire::{self, Broken, Put, Take};

pub const MAGIC: u32 = u32::from_le_bytes(*b"BSLT");
pub const VERSION: u32 = 1;
pub const COPIES: usize = 4;

/// What every drive of a pool agrees on; fixed at format, but for the number of drives, which may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub pool: PoolId,
    pub drives: u16,
    pub data_chunks: u8,
    pub parity_chunks: u8,
    pub shards: u16,
    pub segment_bytes: u64,
}

/// How far a drive is on its way into the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Being formatted or about to join: it has never served, and nothing can be stored on it.
    Joining,
    /// Stands in for a drive that was lost, and no start that took it in has got as far as serving.
    Replacing,
    Member,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub geometry: Geometry,
    pub drive: DriveId,
    /// Random, tells two drives with the same place apart.
    pub uuid: u128,
    /// The machine the drive hangs on; 0 until pools span machines.
    pub node: u32,
    /// Segments this drive may hold.
    pub segments: u32,
    /// Grows by one at every start of the pool.
    pub epoch: u32,
    /// Grows by one at every write of the superblock.
    pub generation: u64,
    /// Drives that failed a write and have not been brought back, as known in this epoch.
    pub latched: Vec<DriveId>,
    pub standing: Standing,
    /// Drives in service whose older bytes may be missing or stale until a full scrub has passed.
    pub rebuilding: Vec<DriveId>,
    /// End of the last full scrub, or when the pool was made.
    pub scrubbed: Nanos,
}

impl Superblock {
    /// Offset of copy `index` on the drive.
    pub fn offset(index: usize) -> u64 {
        assert!(index < COPIES);
        (index * limits::MIB) as u64
    }

    /// One page.
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        let g = &self.geometry;
        put.u128(g.pool.0)
            .u16(g.drives)
            .u8(g.data_chunks)
            .u8(g.parity_chunks)
            .u16(g.shards)
            .u64(g.segment_bytes);
        put.u16(self.drive.0).u128(self.uuid).u32(self.node).u32(self.segments);
        put.u32(self.epoch).u64(self.generation);
        put.u8(match self.standing {
            Standing::Joining => 1,
            Standing::Replacing => 2,
            Standing::Member => 3,
        });
        put.u64(self.scrubbed.0);
        for list in [&self.latched, &self.rebuilding] {
            put.u16(list.len() as u16);
            for drive in list {
                put.u16(drive.0);
            }
        }
        let mut page = wire::seal(MAGIC, VERSION, &put.0);
        assert!(page.len() <= limits::PAGE);
        page.resize(limits::PAGE, 0);
        page
    }

    pub fn decode(page: &[u8]) -> Result<Self, Broken> {
        let (_, body) = wire::open(page, MAGIC, VERSION)?;
        let superblock = Self::take(&mut Take(body)).ok_or(Broken::Damaged)?;
        if superblock.is_sane() { Ok(superblock) } else { Err(Broken::Damaged) }
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        let geometry = Geometry {
            pool: PoolId(take.u128()?),
            drives: take.u16()?,
            data_chunks: take.u8()?,
            parity_chunks: take.u8()?,
            shards: take.u16()?,
            segment_bytes: take.u64()?,
        };
        let (drive, uuid) = (DriveId(take.u16()?), take.u128()?);
        let (node, segments) = (take.u32()?, take.u32()?);
        let (epoch, generation) = (take.u32()?, take.u64()?);
        let standing = match take.u8()? {
            1 => Standing::Joining,
            2 => Standing::Replacing,
            3 => Standing::Member,
            _ => return None,
        };
        let scrubbed = Nanos(take.u64()?);
        let (latched, rebuilding) = (take_drives(take)?, take_drives(take)?);
        Some(Superblock {
            geometry,
            drive,
            uuid,
            node,
            segments,
            epoch,
            generation,
            latched,
            standing,
            rebuilding,
            scrubbed,
        })
    }

    fn is_sane(&self) -> bool {
        let g = &self.geometry;
        let chunks = usize::from(g.data_chunks) + usize::from(g.parity_chunks);
        g.data_chunks > 0
            && chunks <= usize::from(g.drives)
            && chunks <= limits::STRIPE_CHUNKS_MAX
            && usize::from(g.drives) <= limits::POOL_DRIVES_MAX
            && (1..=limits::SHARDS_MAX).contains(&g.shards)
            && (limits::SEGMENT_BYTES_MIN..=limits::SEGMENT_BYTES_MAX).contains(&g.segment_bytes)
            && g.segment_bytes.is_power_of_two()
            && self.drive.0 < g.drives
            && self.epoch < limits::EPOCHS_MAX
    }

    /// The superblock a quorum of the copies stands for. `Err` carries the most telling reason:
    /// a newer format outranks damage, damage outranks absence.
    pub fn elect(pages: &[Vec<u8>]) -> Result<Self, Broken> {
        let mut found: Vec<Superblock> = Vec::new();
        let mut reason = Broken::Magic;
        for page in pages {
            match Self::decode(page) {
                Ok(superblock) => found.push(superblock),
                Err(Broken::Newer(version)) => reason = Broken::Newer(version),
                Err(Broken::Damaged) if reason == Broken::Magic => reason = Broken::Damaged,
                Err(_) => {}
            }
        }
        found.sort_by_key(|superblock| std::cmp::Reverse(superblock.generation));
        let pair = found.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone());
        pair.or_else(|| found.into_iter().next()).ok_or(reason)
    }
}

fn take_drives(take: &mut Take<'_>) -> Option<Vec<DriveId>> {
    let count = take.u16()?;
    (0..count).map(|_| take.u16().map(DriveId)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(generation: u64) -> Superblock {
        Superblock {
            geometry: Geometry {
                pool: PoolId(9),
                drives: 4,
                data_chunks: 2,
                parity_chunks: 2,
                shards: 8,
                segment_bytes: 16 << 20,
            },
            drive: DriveId(3),
            uuid: 77,
            node: 0,
            segments: 100,
            epoch: 5,
            generation,
            latched: vec![DriveId(1)],
            standing: Standing::Member,
            rebuilding: vec![DriveId(2)],
            scrubbed: Nanos(17),
        }
    }

    #[test]
    fn two_copies_outvote_one_that_is_newer() {
        let pages = vec![sample(8).encode(), sample(7).encode(), sample(7).encode(), vec![0; 4096]];
        assert_eq!(Superblock::elect(&pages), Ok(sample(7)));
    }

    #[test]
    fn a_single_intact_copy_is_enough() {
        let pages = vec![vec![0; 4096], sample(7).encode(), vec![1; 4096], vec![0; 4096]];
        assert_eq!(Superblock::elect(&pages), Ok(sample(7)));
    }

    #[test]
    fn an_unformatted_drive_is_told_from_a_damaged_one() {
        assert_eq!(Superblock::elect(&[vec![0; 4096], vec![0; 4096]]), Err(Broken::Magic));
        let mut torn = sample(7).encode();
        torn[40] ^= 1;
        assert_eq!(Superblock::elect(&[torn, vec![0; 4096]]), Err(Broken::Damaged));
    }
}
