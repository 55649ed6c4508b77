//! The manifest of a shard: which runs make up its catalog, and from where its log is replayed.
//!
//! Each drive has two slots a shard, written in turn, O_DSYNC, on every drive in service; the newest
//! intact one on any drive counts, by epoch first. What a manifest stops naming may be reused only after the write
//! has succeeded everywhere it was tried, and what a start finds it puts everywhere first. Layout: `docs/FORMAT.md`,
//! section Manifest.

use std::rc::Rc;

use crate::base::ids::{PoolId, ShardId};
use crate::base::join::join_all;
use crate::base::limits::{MANIFEST_BYTES, PAGE};
use crate::codec::wire::{self, Put, Take};
use crate::drive::device::{Area, Drive};
use crate::drive::segment::MANIFEST_OFFSET;
use crate::io::buffer::AlignedBuf;
use crate::pool::Pool;
use crate::pool::error::PoolError;

const MAGIC: u32 = u32::from_le_bytes(*b"BMAN");
/// Version 1 told the last of the ends only, which is not enough to replay by.
const VERSION: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub shard: ShardId,
    /// Grows by one at each write.
    pub generation: u64,
    /// The epoch of the writer.
    pub epoch: u32,
    /// Records up to this sequence number are in the runs.
    pub flushed: u64,
    /// The last record behind `flushed` of each epoch before `epoch` that has any, in order. Later ones of these epochs
    /// were never seen by the start that followed and must not come back with a drive that was away. They go when what
    /// was replayed is in runs; of starts that find no room for those and commit something the slot has room for some
    /// 7,000.
    pub ends: Vec<u64>,
    /// The runs, as `catalog::index` encodes them.
    pub levels: Vec<u8>,
}

impl Manifest {
    /// What a shard begins with.
    pub fn empty(shard: ShardId) -> Self {
        Manifest { shard, generation: 0, epoch: 0, flushed: 0, ends: Vec::new(), levels: Vec::new() }
    }

    fn encode(&self, pool: PoolId) -> Option<Vec<u8>> {
        let mut put = Put::default();
        put.u128(pool.0).u16(self.shard.0).u64(self.generation).u32(self.epoch);
        put.u64(self.flushed).u32(self.ends.len() as u32);
        for end in &self.ends {
            put.u64(*end);
        }
        put.bytes(&self.levels);
        let mut slot = wire::seal(MAGIC, VERSION, &put.0);
        slot.resize(slot.len().next_multiple_of(PAGE), 0);
        (slot.len() <= MANIFEST_BYTES).then_some(slot)
    }

    /// The manifest in a slot; `None` when it holds none of this shard that is whole.
    pub fn decode(slot: &[u8], pool: PoolId, shard: ShardId) -> Option<Self> {
        let (_, body) = wire::open(slot, MAGIC, VERSION).ok().filter(|(version, _)| *version == VERSION)?;
        let mut take = Take(body);
        let ours = take.u128()? == pool.0 && take.u16()? == shard.0;
        let (generation, epoch) = (take.u64()?, take.u32()?);
        let flushed = take.u64()?;
        let count = take.u32()?;
        let ends = (0..count).map(|_| take.u64()).collect::<Option<Vec<u64>>>()?;
        let levels = take.bytes()?.to_vec();
        ours.then_some(Manifest { shard, generation, epoch, flushed, ends, levels })
    }

    /// A drive may have missed a start, and alone have the last one before it: the next has the same generation.
    fn age(&self) -> (u32, u64) {
        (self.epoch, self.generation)
    }

    /// Where on each drive a generation stands: one of two slots, in turn.
    pub fn offset(shard: ShardId, generation: u64) -> u64 {
        MANIFEST_OFFSET + (u64::from(shard.0) * 2 + generation % 2) * MANIFEST_BYTES as u64
    }

    /// Makes this the shard's manifest. On an error the old one may still count, or this one.
    pub async fn write(&self, pool: &Pool) -> Result<(), PoolError> {
        let slot = self.encode(pool.geometry.pool).ok_or(PoolError::Full)?;
        let offset = Self::offset(self.shard, self.generation);
        let write = async |drive: &Rc<Drive>| pool.write_page(drive, Area::Meta, slot.clone(), offset).await;
        on_enough(pool, write).await
    }

    /// Puts this manifest, which a start found to be the newest, on every drive in service that does not have it: the
    /// power may have failed when only some did. Else what only the one before it names would be taken for free, and
    /// the next one would be written over that one, while another start may need it: without the drives that have this
    /// one. A drive that has it is not written to.
    pub async fn complete(&self, pool: &Pool) -> Result<(), PoolError> {
        if self.generation == 0 {
            return Ok(());
        }
        let slot = self.encode(pool.geometry.pool).ok_or(PoolError::Full)?;
        let offset = Self::offset(self.shard, self.generation);
        let complete = async |drive: &Rc<Drive>| {
            let read = drive.read(Area::Meta, AlignedBuf::uninit_for_read(MANIFEST_BYTES), offset).await;
            let found = read.ok().and_then(|slot| Self::decode(&slot, pool.geometry.pool, self.shard));
            if found.as_ref() == Some(self) {
                return Ok(());
            }
            pool.write_page(drive, Area::Meta, slot.clone(), offset).await
        };
        on_enough(pool, complete).await
    }

    /// The newest manifest of a shard on any drive. `Ok(None)` only when every drive that could be
    /// asked says that none was ever written; what cannot be read is an error, or a shard full of
    /// objects would be taken for a new one.
    pub async fn read(pool: &Pool, shard: ShardId) -> Result<Option<Self>, PoolError> {
        let mut newest: Option<Manifest> = None;
        let (mut asked, mut unreadable) = (0, 0);
        for drive in pool.drives.iter() {
            for turn in 0..2 {
                let buffer = AlignedBuf::uninit_for_read(MANIFEST_BYTES);
                let offset = Self::offset(shard, turn);
                asked += 1;
                let Ok(slot) = drive.read(Area::Meta, buffer, offset).await else {
                    unreadable += 1;
                    continue;
                };
                let found = Self::decode(&slot, pool.geometry.pool, shard);
                unreadable += usize::from(found.is_none() && slot.iter().any(|byte| *byte != 0));
                let is_newer = |found: &Manifest| newest.as_ref().is_none_or(|n| n.age() < found.age());
                if let Some(found) = found.filter(is_newer) {
                    newest = Some(found);
                }
            }
        }
        if newest.is_none() && (unreadable > 0 || asked == 0) {
            return Err(PoolError::NoManifest { shard, drives: pool.drives.len() });
        }
        Ok(newest)
    }
}

/// Has every drive in service take something, and as many of them as is safe.
async fn on_enough(
    pool: &Pool,
    take: impl AsyncFn(&Rc<Drive>) -> Result<(), PoolError>,
) -> Result<(), PoolError> {
    let healthy: Vec<Rc<Drive>> = pool.in_service().cloned().collect();
    let good = join_all(healthy.iter().map(|drive| take(drive)))
        .await
        .iter()
        .filter(|result| result.is_ok())
        .count();
    // A drive that failed is latched by now, so what is safe is counted anew.
    let needed = pool.mirrors()?;
    if good < needed { Err(PoolError::NotWritable { good, needed }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_only_to_its_own_shard_and_pool() {
        let manifest = Manifest {
            shard: ShardId(3),
            generation: 9,
            epoch: 2,
            flushed: 5,
            ends: vec![6, 1 << 40],
            levels: vec![1, 2, 3],
        };
        let slot = manifest.encode(PoolId(1)).expect("it is small");
        assert_eq!(Manifest::decode(&slot, PoolId(1), ShardId(3)), Some(manifest));
        assert_eq!(Manifest::decode(&slot, PoolId(2), ShardId(3)), None);
        assert_eq!(Manifest::decode(&slot, PoolId(1), ShardId(4)), None);
    }

    #[test]
    fn a_manifest_of_another_version_is_none() {
        let manifest = Manifest { generation: 1, ..Manifest::empty(ShardId(3)) };
        let slot = manifest.encode(PoolId(1)).expect("it is small");
        let (_, body) = wire::open(&slot, MAGIC, VERSION).expect("it is whole");
        for version in [VERSION - 1, VERSION + 1] {
            assert_eq!(Manifest::decode(&wire::seal(MAGIC, version, body), PoolId(1), ShardId(3)), None);
        }
    }
}
