//! Packs: small objects out of the log, and out of packs that are mostly dead, into coded stripes.
//!
//! Small objects travel in the log, m + 1 copies of them. When their segment is the oldest, those
//! that are still current are gathered by shard into extents (packs), which cost (k + m) / k; one
//! record a pack installs the new places, and the segment becomes a spare. An object that was
//! overwritten meanwhile simply does not move: each move is decided under the lock of its key.
//! Every version of a key moves for itself.
//! Behind its objects a pack has a directory of them, for `object::packing::compact`, which empties packs by
//! the same moves.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::ids::{LogId, ShardId};
use crate::base::limits::{
    LOG_LOST_SECONDS, MOVES_STEPS_MAX, PACK_BYTES, PACK_BYTES_SPLIT_MIN, PACK_RECORD_BYTES, PAGE,
};
use crate::base::metrics::JobKind;
use crate::base::rest::Stint;
use crate::catalog::batch::{self, Found};
use crate::catalog::directory;
use crate::catalog::key;
use crate::catalog::log::{Log, Sealed};
use crate::catalog::record::Operation;
use crate::catalog::replay::{self, read_window};
use crate::catalog::value::{LogPosition, PackValue, Storage, Version};
use crate::drive::segment::Mirror;
use crate::io::buffer::AlignedBuf;
use crate::object::content::pins::Held;
use crate::object::content::writer::{ShardAllocator, hand_over};
use crate::object::core::Core;
use crate::object::error::ObjectError;
use crate::object::shard::Shard;
use crate::object::tending::pace::{Pace, Urgency};
use crate::pool::segments::Purpose;
use crate::pool::stripe::Extent;

/// A small object and where it was found.
#[derive(Clone)]
pub(in crate::object) struct Candidate {
    pub key: Vec<u8>,
    pub from: Origin,
    pub body: Bytes,
}

/// Where a small object may stand before it is moved into a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Log(LogPosition),
    Pack { pack: u64, offset: u32 },
}

/// An object on its way into a pack.
#[derive(Clone, Debug)]
pub struct Move {
    pub key: Vec<u8>,
    pub from: Origin,
    /// Offset in the pack.
    pub to: u32,
    pub bytes: u32,
}

/// How a log segment is emptied.
#[derive(Clone, Copy)]
struct How {
    /// What no mirror gives is left behind.
    gives_up: bool,
    purpose: Purpose,
}

type Piles = BTreeMap<ShardId, Vec<Candidate>>;

/// Makes a full segment free of everything that matters and retires it.
pub async fn retire(core: &Rc<Core>, log: &Log, id: LogId, urgency: &Urgency) -> Result<(), ObjectError> {
    let Some((_emptying, sealed)) = log.segments.begin_emptying(id) else { return Ok(()) };
    for (shard, last) in sealed.last.clone() {
        core.on_shard_whole(shard, move |shard| async move {
            while shard.flushed() < last {
                shard.checkpoint().await?;
            }
            Ok(())
        })
        .await?;
    }
    let how = How {
        gives_up: log.unreadable.lasts(id) >= Duration::from_secs(LOG_LOST_SECONDS),
        // Where the log has no room, or the file system, emptying it is worth what is kept for the system.
        purpose: match log.admission().is_at_last() {
            true => Purpose::Emptying,
            false if core.pool.is_short() => Purpose::Moves,
            false => Purpose::Objects,
        },
    };
    let lost = match pack_away(core, sealed.clone(), urgency.clone(), how).await {
        Err(error @ ObjectError::Unreadable(_)) => {
            log.unreadable.note(id);
            return Err(error);
        }
        packed => packed?,
    };
    log.counters.lost_bytes.add(lost);
    for shard in sealed.last.keys().copied() {
        let readers_gone = move |shard: Rc<Shard>| async move {
            shard.pins.gone(Held::Log(id)).await;
            Ok(())
        };
        // They read one body each, which is as slow as a drive; a stop does not wait for them.
        tokio::select! {
            biased;
            gone = core.on_shard_whole(shard, readers_gone) => gone?,
            () = log.over() => return Err(ObjectError::SlowDown),
        }
    }
    log.retire(id).await;
    Ok(())
}

/// Packs what lives in a segment, on the background core if there is one. Bytes that were given up.
async fn pack_away(core: &Rc<Core>, sealed: Sealed, urgency: Urgency, how: How) -> Result<u64, ObjectError> {
    let pack = move |core: Rc<Core>| async move {
        let pace = Pace::new(&core, JobKind::Pack, urgency);
        pack_segment(&core, &sealed, &pace, how).await
    };
    core.in_background(pack).await.unwrap_or(Err(ObjectError::SlowDown))
}

async fn pack_segment(core: &Rc<Core>, sealed: &Sealed, pace: &Pace, how: How) -> Result<u64, ObjectError> {
    let mut piles = Piles::new();
    let (mut offset, mut lost) = (PAGE as u32, 0);
    while offset < sealed.bytes {
        let Some(mirrors) = core.logs.get(sealed.id) else { return Ok(lost) };
        let window = match window_at(core, sealed, &mirrors, offset).await {
            Err(ObjectError::Unreadable(reason)) if how.gives_up && is_beyond_hope(core, &mirrors) => {
                let next = replay::next_batch(&core.pool, sealed.id, &mirrors, offset, sealed.bytes).await;
                let bytes = u64::from(next - offset);
                tracing::error!(
                    log = %sealed.id, offset, bytes, reason,
                    "no mirror of a log segment gives what stood there: the small objects in it are lost"
                );
                (offset, lost) = (next, lost + bytes);
                continue;
            }
            window => window?,
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
        flush_piles(core, &mut piles, PACK_BYTES, how.purpose).await?;
        pace.step(at as u64).await?;
    }
    flush_piles(core, &mut piles, 1, how.purpose).await?;
    Ok(lost)
}

async fn window_at(
    core: &Core,
    sealed: &Sealed,
    mirrors: &[Mirror],
    offset: u32,
) -> Result<AlignedBuf, ObjectError> {
    let window = read_window(&core.pool, sealed.id, mirrors, offset).await?;
    window.ok_or_else(|| {
        let text = format!("log segment {} ends at {offset} and not at {}", sealed.id, sealed.bytes);
        ObjectError::Unreadable(text)
    })
}

/// Whether every drive that has a mirror is asked, or nobody waits for it any more: what is away may come back. So may
/// what stood on drives that were written over, as long as those are more than the pool survives the loss of.
fn is_beyond_hope(core: &Core, mirrors: &[Mirror]) -> bool {
    let pool = &core.pool;
    !pool.is_beyond_reading()
        && mirrors
            .iter()
            .all(|mirror| pool.drives.is_in_service(mirror.drive) || pool.is_given_up(mirror.drive))
}

/// Adds the small object of a record, if it carries one, to its shard's pile.
fn pile_up(piles: &mut Piles, log: LogId, offset: u32, batch: &Bytes, record: Found) {
    if record.head.body == 0 {
        return;
    }
    let put = record.operations.into_iter().find_map(|operation| match operation {
        Operation::Put { key, .. } if key::is_version(&key) => Some(key),
        _ => None,
    });
    let Some(key) = put else { return };
    let start = record.body_at as usize;
    // A slice would keep the window alive until its pile is full.
    let body = Bytes::copy_from_slice(&batch[start..start + record.head.body as usize]);
    let from = Origin::Log(LogPosition { log, offset: offset + record.body_at });
    piles.entry(record.head.shard).or_default().push(Candidate { key, from, body });
}

/// Packs every pile of at least `bytes_min`.
async fn flush_piles(
    core: &Rc<Core>,
    piles: &mut Piles,
    bytes_min: usize,
    purpose: Purpose,
) -> Result<(), ObjectError> {
    for (shard, pile) in piles.iter_mut() {
        if weight(pile) >= bytes_min {
            pack_pile(core, *shard, std::mem::take(pile), purpose).await?;
        }
    }
    Ok(())
}

/// Writes those of a pile that are still current into packs and moves them there.
pub(in crate::object) async fn pack_pile(
    core: &Rc<Core>,
    shard: ShardId,
    pile: Vec<Candidate>,
    purpose: Purpose,
) -> Result<(), ObjectError> {
    let places: Vec<(Vec<u8>, Origin)> = pile.iter().map(|c| (c.key.clone(), c.from)).collect();
    let alive = core.on_shard_whole(shard, move |shard| shard.still_at(places)).await?;
    let mut pack: Vec<Candidate> = Vec::new();
    let (mut bytes, mut cost) = (0, 0);
    for (candidate, alive) in pile.into_iter().zip(alive) {
        let Some(value) = alive else { continue };
        // What the record will say of it.
        let added = candidate.key.len() + value + 16;
        if bytes + candidate.body.len() > PACK_BYTES || cost + added > PACK_RECORD_BYTES {
            write_packs(core, shard, std::mem::take(&mut pack), purpose).await?;
            (bytes, cost) = (0, 0);
        }
        bytes += candidate.body.len();
        cost += added;
        pack.push(candidate);
    }
    if pack.is_empty() { Ok(()) } else { write_packs(core, shard, pack, purpose).await }
}

/// One pack; or several smaller ones, where the log has to be emptied into what is left between others.
async fn write_packs(
    core: &Rc<Core>,
    shard: ShardId,
    pack: Vec<Candidate>,
    purpose: Purpose,
) -> Result<(), ObjectError> {
    if purpose != Purpose::Emptying {
        return write_pack(core, shard, pack, purpose).await;
    }
    let mut waiting = vec![pack];
    while let Some(mut pack) = waiting.pop() {
        match write_pack(core, shard, pack.clone(), purpose).await {
            Err(ObjectError::StorageFull) if pack.len() > 1 && weight(&pack) > PACK_BYTES_SPLIT_MIN => {
                waiting.push(pack.split_off(pack.len() / 2));
                waiting.push(pack);
            }
            result => result?,
        }
    }
    Ok(())
}

fn weight(pack: &[Candidate]) -> usize {
    pack.iter().map(|candidate| candidate.body.len()).sum()
}

async fn write_pack(
    core: &Rc<Core>,
    shard: ShardId,
    pack: Vec<Candidate>,
    purpose: Purpose,
) -> Result<(), ObjectError> {
    let members = pack.iter().map(|candidate| (&candidate.key[..], candidate.body.len() as u32));
    let directory = Bytes::from(directory::encode(members));
    let bytes = (weight(&pack) + directory.len()) as u64;
    let id = core.pool.world.random_u64();
    let allocator = ShardAllocator { core: core.clone(), shard, purpose };
    let mut writer = core.writes.extent(allocator, core.pool.world.random_u64(), Some(bytes));
    let mut moves = Vec::with_capacity(pack.len());
    let mut to = 0;
    for candidate in pack {
        let bytes = candidate.body.len() as u32;
        moves.push(Move { key: candidate.key, from: candidate.from, to, bytes });
        to += bytes;
        writer.write(candidate.body).await?;
    }
    writer.write(directory).await?;
    let mut written = writer.finish().await?;
    written.flush().await?;
    let extent = written.into_extent();
    hand_over(core, shard, Some(extent.clone()), move |shard| shard.install_pack(id, extent, moves)).await
}

impl Shard {
    /// For each of the objects that are still current and still at these places, the length of its
    /// value.
    pub async fn still_at(
        self: Rc<Self>,
        places: Vec<(Vec<u8>, Origin)>,
    ) -> Result<Vec<Option<usize>>, ObjectError> {
        let mut alive = Vec::with_capacity(places.len());
        let mut stint = Stint::new(MOVES_STEPS_MAX);
        for (at, place) in places {
            // Tiny objects come by the ten thousand, and what is in memory never waits.
            stint.step(1).await;
            let value = self.get(&at).await?;
            let stays = |value: &Bytes| {
                Version::decode_storage(value).is_some_and(|storage| origin(&storage) == Some(place))
            };
            alive.push(value.filter(stays).map(|value| value.len()));
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
        let bodies = moves.iter().map(|moved| moved.bytes).sum();
        let mut pack = PackValue { extent: extent.clone(), live: 0, live_bytes: 0, bodies };
        let mut operations = Vec::with_capacity(moves.len() + 1);
        let mut left: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
        // One that is named twice moves once: counts decide when a pack is freed.
        let mut seen = BTreeSet::new();
        let mut stint = Stint::new(MOVES_STEPS_MAX);
        for moved in moves {
            stint.step(1).await;
            let Some(mut version) = self.version(&moved.key).await? else { continue };
            let (Storage::Inline { crc, .. } | Storage::Packed { crc, .. }) = version.storage else {
                continue;
            };
            if origin(&version.storage) != Some(moved.from) || !seen.insert(moved.key.clone()) {
                continue;
            }
            version.storage = Storage::Packed { pack: id, offset: moved.to, crc };
            operations.push(Operation::Put { key: moved.key, value: version.encode() });
            pack.live += 1;
            pack.live_bytes += moved.bytes;
            if let Origin::Pack { pack, .. } = moved.from {
                let (objects, bytes) = left.entry(pack).or_default();
                *objects += 1;
                *bytes += moved.bytes;
            }
        }
        if operations.is_empty() {
            return Ok(false);
        }
        operations.insert(0, Operation::Put { key: key::pack(id), value: pack.encode() });
        let unpack = |(pack, (objects, bytes))| Operation::Unpack { pack, objects, bytes };
        operations.extend(left.into_iter().map(unpack));
        self.commit_internal(operations).await?;
        Ok(true)
    }
}

/// Where a small object stands; `None` for one that is not small.
fn origin(storage: &Storage) -> Option<Origin> {
    match storage {
        Storage::Inline { at, .. } => Some(Origin::Log(*at)),
        Storage::Packed { pack, offset, .. } => Some(Origin::Pack { pack: *pack, offset: *offset }),
        _ => None,
    }
}
