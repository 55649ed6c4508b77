//! Compaction of packs: what still lives in packs that are mostly dead moves to new ones.
//!
//! A pack gives its space back with the last object in it, so a sparse one (less than half alive)
//! is emptied: its directory says what was put in, the versions say what is still there, and that
//! is written into new packs and moved by the same decisions, under the locks of the keys, that
//! move objects out of the log. Every byte written frees more than one. The old pack goes when the
//! next checkpoint folds its count; on full drives, where moves take from the reserve, that
//! checkpoint is made at once, so that moving never takes more than one pack ahead.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::pack::{self, Candidate, Origin};
use crate::base::ids::ShardId;
use crate::base::limits::{PACK_BYTES, PACK_DIRECTORY_BYTES_MAX, PACKS_COMPACTED_AT_ONCE};
use crate::base::metrics::JobKind;
use crate::catalog::directory;
use crate::catalog::value::PackValue;
use crate::object::content::pins::Held;
use crate::object::core::{Core, Loan};
use crate::object::error::ObjectError;
use crate::object::shard::damaged;
use crate::object::tending::pace::{Pace, Urgency};
use crate::pool::segments::Purpose;

/// A sparse pack that cannot be freed while this is held.
struct Sparse {
    id: u64,
    value: PackValue,
    #[expect(dead_code, reason = "held for its Drop")]
    loan: Loan,
}

/// Objects on their way out of sparse packs.
#[derive(Default)]
struct Pile {
    candidates: Vec<Candidate>,
    bytes: usize,
}

/// Empties some sparse packs of a shard; how many. When there is no room for what lives in them now,
/// they are looked for again.
pub async fn compact(core: &Rc<Core>, shard: ShardId) -> Result<usize, ObjectError> {
    let result = delegate(core, shard).await;
    if result.is_err() {
        core.tell(shard, |home| home.packs.walk_again());
    }
    result
}

/// Does it on the background core if there is one.
async fn delegate(core: &Rc<Core>, shard: ShardId) -> Result<usize, ObjectError> {
    let work = move |core: Rc<Core>| async move {
        let pace = Pace::new(&core, JobKind::Pack, Urgency::default());
        empty_some(&core, shard, &pace).await
    };
    core.in_background(work).await.unwrap_or(Err(ObjectError::SlowDown))
}

async fn empty_some(core: &Rc<Core>, shard: ShardId, pace: &Pace) -> Result<usize, ObjectError> {
    let (mut pile, mut seen) = (Pile::default(), BTreeSet::new());
    for emptied in 0..PACKS_COMPACTED_AT_ONCE {
        let Some(sparse) = next(core, shard).await? else {
            move_pile(core, shard, pile).await?;
            return Ok(emptied);
        };
        // A checkpoint may name it again before its objects have moved.
        if !seen.insert(sparse.id) {
            continue;
        }
        if pile.bytes + sparse.value.live_bytes as usize > PACK_BYTES {
            move_pile(core, shard, std::mem::take(&mut pile)).await?;
        }
        let (pack, size) = (sparse.id, sparse.value.extent.size);
        if let Err(error) = gather(core, shard, sparse, &mut pile).await {
            tracing::warn!(%shard, pack, %error, "a pack is not compacted");
        }
        pace.step(size).await?;
    }
    move_pile(core, shard, pile).await?;
    Ok(PACKS_COMPACTED_AT_ONCE)
}

async fn next(core: &Core, shard: ShardId) -> Result<Option<Sparse>, ObjectError> {
    let peers = core.peers.clone();
    let find = core.on_shard(shard, move |home| async move {
        let _pin = home.pins.pin();
        let found = home.next_sparse().await?;
        Ok(found.map(|(id, value)| {
            let held = Held::Extent(value.extent.nonce);
            let loan = home.pins.lend(held, &peers, shard);
            Sparse { id, value, loan }
        }))
    });
    find.await
}

/// Reads a pack and adds what is still alive in it to the pile.
async fn gather(core: &Rc<Core>, shard: ShardId, sparse: Sparse, pile: &mut Pile) -> Result<(), ObjectError> {
    let PackValue { extent, bodies, .. } = &sparse.value;
    let (bodies, size) = (*bodies as usize, extent.size as usize);
    if bodies > PACK_BYTES || size.saturating_sub(bodies) > PACK_DIRECTORY_BYTES_MAX {
        return Err(damaged("pack"));
    }
    let mut whole = BytesMut::with_capacity(size);
    let mut reader = core.reads.read_range(Rc::new(extent.clone()), 0..extent.size);
    while let Some(piece) = reader.next().await {
        whole.extend_from_slice(&piece?);
    }
    let members = whole.get(bodies..).and_then(|bytes| directory::decode(bytes, bodies as u32));
    let members = members.ok_or_else(|| damaged("pack directory"))?;
    let from = |offset| Origin::Pack { pack: sparse.id, offset };
    let places = members.iter().map(|member| (member.key.clone(), from(member.offset))).collect();
    let alive = core.on_shard_whole(shard, move |home| home.still_at(places)).await?;
    for (member, _) in members.into_iter().zip(alive).filter(|(_, alive)| alive.is_some()) {
        let (start, len) = (member.offset as usize, member.bytes as usize);
        let body = whole.get(start..start + len).ok_or_else(|| damaged("pack directory"))?;
        // A slice would keep the dead ones in memory too.
        let body = Bytes::copy_from_slice(body);
        pile.bytes += body.len();
        pile.candidates.push(Candidate { key: member.key, from: from(member.offset), body });
    }
    Ok(())
}

async fn move_pile(core: &Rc<Core>, shard: ShardId, pile: Pile) -> Result<(), ObjectError> {
    if pile.candidates.is_empty() {
        return Ok(());
    }
    match pack::pack_pile(core, shard, pile.candidates.clone(), Purpose::Objects).await {
        Err(ObjectError::StorageFull) => {}
        moved => return moved,
    }
    pack::pack_pile(core, shard, pile.candidates, Purpose::Moves).await?;
    core.on_shard_whole(shard, |home| async move { home.checkpoint().await }).await
}
