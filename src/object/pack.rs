//! Retiring a log segment: what still lives in it is packed into coded stripes.
//!
//! Small objects travel in the log, m + 1 copies of them. When their segment is the oldest, those
//! that are still current are gathered by shard into extents (packs), which cost (k + m) / k; one
//! record a pack installs the new places, and the segment becomes a spare. An object that was
//! overwritten meanwhile simply does not move: each move is decided under the lock of its key.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::core::Core;
use super::error::ObjectError;
use super::pace::{Pace, Urgency};
use super::shard::Shard;
use super::writer::ShardAllocator;
use crate::base::ids::{LogId, ShardId};
use crate::base::limits::{PACK_BYTES, PACK_RECORD_BYTES, PAGE};
use crate::base::metrics::JobKind;
use crate::catalog::batch::{self, Found};
use crate::catalog::key;
use crate::catalog::log::{Log, Sealed};
use crate::catalog::record::Operation;
use crate::catalog::replay::read_window;
use crate::catalog::value::{LogPosition, PackValue, Storage, Version};
use crate::pool::segments::Purpose;
use crate::pool::stripe::Extent;

/// A small object found in the log.
struct Candidate {
    key: Vec<u8>,
    at: LogPosition,
    body: Bytes,
    /// Bytes its record will take.
    cost: usize,
}

/// An object on its way into a pack.
#[derive(Clone, Debug)]
pub struct Move {
    pub key: Vec<u8>,
    pub from: LogPosition,
    /// Offset in the pack.
    pub to: u32,
}

type Piles = BTreeMap<ShardId, Vec<Candidate>>;

/// Makes a full segment free of everything that matters and retires it.
pub async fn retire(
    core: &Rc<Core>,
    log: &Log,
    sealed: &Sealed,
    urgency: &Urgency,
) -> Result<(), ObjectError> {
    for (shard, last) in sealed.last.clone() {
        core.on_shard_whole(shard, move |shard| async move {
            while shard.flushed() < last {
                shard.checkpoint().await?;
            }
            Ok(())
        })
        .await?;
    }
    pack_away(core, sealed.clone(), urgency.clone()).await?;
    for shard in sealed.last.keys().copied() {
        let readers_gone = move |shard: Rc<Shard>| async move {
            shard.pins.barrier().await;
            Ok(())
        };
        // A reader may be as slow as its client; a stop does not wait for it.
        tokio::select! {
            gone = core.on_shard_whole(shard, readers_gone) => gone?,
            () = log.over() => return Err(ObjectError::SlowDown),
        }
    }
    log.retire(sealed.id).await;
    Ok(())
}

/// Packs what lives in a segment, on the background core if there is one.
async fn pack_away(core: &Rc<Core>, sealed: Sealed, urgency: Urgency) -> Result<(), ObjectError> {
    if !core.foreman.is_open() {
        return pack_segment(core, &sealed, &Pace::new(core, JobKind::Pack, urgency)).await;
    }
    let pack = move |core: Rc<Core>| async move {
        let pace = Pace::new(&core, JobKind::Pack, urgency);
        pack_segment(&core, &sealed, &pace).await
    };
    core.foreman.hire(pack).await.unwrap_or(Err(ObjectError::SlowDown))
}

async fn pack_segment(core: &Rc<Core>, sealed: &Sealed, pace: &Pace) -> Result<(), ObjectError> {
    let mut piles = Piles::new();
    let mut offset = PAGE as u32;
    while offset < sealed.bytes {
        let Some(mirrors) = core.logs.get(sealed.id) else { return Ok(()) };
        let Some(window) = read_window(&core.pool, sealed.id, &mirrors, offset).await? else {
            let text = format!("log segment {} ends at {offset} and not at {}", sealed.id, sealed.bytes);
            return Err(ObjectError::Unreadable(text));
        };
        let window = window.into_bytes();
        let mut at = 0;
        while offset < sealed.bytes
            && let Some((records, len)) =
                batch::read(&window[at..], core.pool.geometry.pool, sealed.id, offset)
        {
            let whole = window.slice(at..at + len);
            records.into_iter().for_each(|record| pile_up(&mut piles, sealed.id, offset, &whole, record));
            at += len;
            offset += len as u32;
        }
        flush_piles(core, &mut piles, PACK_BYTES).await?;
        pace.step(at as u64).await?;
    }
    flush_piles(core, &mut piles, 1).await
}

/// Adds the small object of a record, if it carries one, to its shard's pile.
fn pile_up(piles: &mut Piles, log: LogId, offset: u32, batch: &Bytes, record: Found) {
    if record.head.body == 0 {
        return;
    }
    let put = record.operations.into_iter().find_map(|operation| match operation {
        Operation::Put { key, value } if key::is_version(&key) => Some((key, value.len())),
        _ => None,
    });
    let Some((key, value_len)) = put else { return };
    let start = record.body_at as usize;
    // A slice would keep the window alive until its pile is full.
    let body = Bytes::copy_from_slice(&batch[start..start + record.head.body as usize]);
    let cost = key.len() + value_len + 16;
    let at = LogPosition { log, offset: offset + record.body_at };
    piles.entry(record.head.shard).or_default().push(Candidate { key, at, body, cost });
}

/// Packs every pile of at least `bytes_min`.
async fn flush_piles(core: &Rc<Core>, piles: &mut Piles, bytes_min: usize) -> Result<(), ObjectError> {
    for (shard, pile) in piles.iter_mut() {
        let bytes: usize = pile.iter().map(|candidate| candidate.body.len()).sum();
        if bytes >= bytes_min {
            pack_pile(core, *shard, std::mem::take(pile)).await?;
        }
    }
    Ok(())
}

async fn pack_pile(core: &Rc<Core>, shard: ShardId, pile: Vec<Candidate>) -> Result<(), ObjectError> {
    let places: Vec<(Vec<u8>, LogPosition)> = pile.iter().map(|c| (c.key.clone(), c.at)).collect();
    let alive = core.on_shard_whole(shard, move |shard| shard.still_at(places)).await?;
    let mut pack: Vec<Candidate> = Vec::new();
    let (mut bytes, mut cost) = (0, 0);
    for (candidate, _) in pile.into_iter().zip(alive).filter(|(_, alive)| *alive) {
        if bytes + candidate.body.len() > PACK_BYTES || cost + candidate.cost > PACK_RECORD_BYTES {
            write_pack(core, shard, std::mem::take(&mut pack)).await?;
            (bytes, cost) = (0, 0);
        }
        bytes += candidate.body.len();
        cost += candidate.cost;
        pack.push(candidate);
    }
    if pack.is_empty() { Ok(()) } else { write_pack(core, shard, pack).await }
}

async fn write_pack(core: &Rc<Core>, shard: ShardId, pack: Vec<Candidate>) -> Result<(), ObjectError> {
    let bytes: u64 = pack.iter().map(|candidate| candidate.body.len() as u64).sum();
    let id = core.pool.world.random_u64();
    let allocator = ShardAllocator { core: core.clone(), shard, purpose: Purpose::Objects };
    let mut writer = core.writes.extent(allocator, core.pool.world.random_u64(), Some(bytes));
    let mut moves = Vec::with_capacity(pack.len());
    let mut offset = 0;
    for candidate in pack {
        moves.push(Move { key: candidate.key, from: candidate.at, to: offset });
        offset += candidate.body.len() as u32;
        writer.write(candidate.body).await?;
    }
    let mut written = writer.finish().await?;
    written.flush().await?;
    let extent = written.into_extent();
    core.on_shard_whole(shard, move |shard| shard.install_pack(id, extent, moves)).await
}

impl Shard {
    /// Which of the objects are still current and still in the log at these places.
    pub async fn still_at(
        self: Rc<Self>,
        places: Vec<(Vec<u8>, LogPosition)>,
    ) -> Result<Vec<bool>, ObjectError> {
        let mut alive = Vec::with_capacity(places.len());
        for (at, place) in places {
            let value = self.get(&at).await?;
            let storage = value.and_then(|value| Version::decode_storage(&value));
            alive.push(matches!(storage, Some(Storage::Inline { at, .. }) if at == place));
        }
        Ok(alive)
    }

    /// Moves objects into a pack that stands on the drives; its space is the shard's from the call
    /// on, whether it succeeds or not.
    pub async fn install_pack(
        self: Rc<Self>,
        id: u64,
        extent: Extent,
        moves: Vec<Move>,
    ) -> Result<(), ObjectError> {
        let _guards = self.locks.lock_all(moves.iter().map(|moved| moved.key.clone()).collect()).await;
        let result = self.try_install_pack(id, &extent, moves).await;
        match &result {
            Ok(true) => {}
            Ok(false) => self.space.release_extent(&extent),
            Err(error) => self.abandon(&extent, error),
        }
        result.map(drop)
    }

    /// False when nothing was left to move.
    async fn try_install_pack(
        &self,
        id: u64,
        extent: &Extent,
        moves: Vec<Move>,
    ) -> Result<bool, ObjectError> {
        let mut operations = Vec::with_capacity(moves.len() + 1);
        for moved in moves {
            let Some(mut version) = self.version(&moved.key).await? else { continue };
            match version.storage {
                Storage::Inline { at, crc } if at == moved.from => {
                    version.storage = Storage::Packed { pack: id, offset: moved.to, crc };
                    operations.push(Operation::Put { key: moved.key, value: version.encode() });
                }
                _ => {}
            }
        }
        if operations.is_empty() {
            return Ok(false);
        }
        let pack = PackValue { extent: extent.clone(), live: operations.len() as u32 };
        operations.insert(0, Operation::Put { key: key::pack(id), value: pack.encode() });
        self.commit_internal(operations).await?;
        Ok(true)
    }
}
