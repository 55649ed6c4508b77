//! The upkeep that every core does for its own shards and log: checkpoints, merges, retiring log segments, giving back
//! empty data segments.
//!
//! Decides when something is due, on a slow tick (`rhythm`) so that an idle core sleeps; what takes long is done by the
//! background core.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::pace::Urgency;
use super::rhythm::Rhythm;
use crate::base::limits::{
    COMPACT_TICKS, FOLD_TICKS, RESERVE_TICKS, RETIRE_PAUSE_MS, RETIRE_WEAK_PAUSE_MS, RETIRE_YOUNGER_PAUSE_MS,
    SURRENDER_TICKS,
};
use crate::catalog::log::Log;
use crate::object::core::Core;
use crate::object::packing::compact;
use crate::object::packing::pack;
use crate::object::shard::Shard;

/// Checkpoints one shard whenever its memtable is full, and soon where that gives space back: after objects left packs,
/// or where segments were emptied that a full drive waits for.
pub async fn tend_memtable(shard: Rc<Shard>) {
    let mut rhythm = Rhythm::new(&shard.bulletin.peers);
    let mut failed = false;
    loop {
        let ticks = rhythm.tick().await;
        if shard.log.is_over() {
            return;
        }
        let is_owed = || shard.owes_packs() || shard.space.withholds();
        let folding = ticks.is_due(FOLD_TICKS) && is_owed();
        if !folding && shard.unsaved_bytes() < shard.pressure.memtable_max {
            continue;
        }
        let result = shard.checkpoint().await;
        let failed_before = std::mem::replace(&mut failed, result.is_err());
        shard.pressure.flush_ended(failed);
        if let Err(error) = result
            && !shard.log.is_over()
            && !failed_before
        {
            tracing::warn!(shard = %shard.id, %error, "checkpoint failed and is tried again");
        }
        if folding {
            surrender(&shard).await;
        }
    }
}

/// Merges the runs of one shard and gives back the segments that it emptied.
pub async fn tend_runs(shard: Rc<Shard>) {
    let mut rhythm = Rhythm::new(&shard.bulletin.peers);
    loop {
        let ticks = rhythm.tick().await;
        if shard.log.is_over() {
            return;
        }
        let result = shard.merge().await;
        shard.pressure.merge_ended(result.is_err());
        if let Err(error) = result
            && !shard.log.is_over()
        {
            tracing::warn!(shard = %shard.id, %error, "merge failed and is tried again");
        }
        if ticks.is_due(SURRENDER_TICKS) {
            surrender(&shard).await;
        }
    }
}

async fn surrender(shard: &Shard) {
    if let Err(error) = shard.space.surrender().await {
        tracing::debug!(shard = %shard.id, %error, "an empty segment was not given back");
    }
}

/// Frees what deleted multipart objects of one shard left behind, when there may be something.
pub async fn tend_garbage(shard: Rc<Shard>) {
    while !shard.log.is_over() {
        if let Err(error) = shard.collect_garbage().await
            && !shard.log.is_over()
        {
            tracing::warn!(shard = %shard.id, %error, "garbage stays until something else is deleted");
        }
        tokio::select! {
            biased;
            () = shard.pins.garbage.notified() => {}
            () = shard.log.over() => return,
        }
    }
}

/// Tells the work that is under way how much hurry there is.
pub async fn tend_pressure(core: Rc<Core>, log: Rc<Log>, packing: Urgency) {
    let mut rhythm = Rhythm::new(&core.peers);
    loop {
        rhythm.tick().await;
        core.shards.iter().flatten().for_each(|shard| shard.press());
        packing.set(log.is_crowded());
        if log.is_over() {
            return;
        }
    }
}

/// Retires the oldest log segments when the log asks for it, and tells it when that does not work.
pub async fn tend_log(core: Rc<Core>, log: Rc<Log>, urgency: Urgency) {
    let (mut was_stuck, mut weak_next, mut younger_next) = (false, Instant::now(), Instant::now());
    let mut rhythm = Rhythm::new(&core.peers);
    loop {
        let ticks = rhythm.tick().await;
        if log.is_over() {
            return;
        }
        if ticks.is_due(RESERVE_TICKS) {
            log.admission().look_at_reserve();
        }
        let stuck = log.wants_retiring() && !retire_oldest(&core, &log, &urgency, !was_stuck).await;
        if stuck && Instant::now() >= younger_next {
            retire_younger(&core, &log, &urgency).await;
            younger_next = Instant::now() + Duration::from_millis(RETIRE_YOUNGER_PAUSE_MS);
        }
        log.admission().set_stuck(stuck);
        if Instant::now() >= weak_next && !retire_weak(&core, &log, &urgency).await {
            weak_next = Instant::now() + Duration::from_millis(RETIRE_WEAK_PAUSE_MS);
        }
        core.peers.pulses[core.index].set_full(log.is_full());
        if stuck {
            tokio::time::sleep(Duration::from_millis(RETIRE_PAUSE_MS)).await;
        }
        was_stuck = stuck;
    }
}

/// False when the log goes on wanting and nothing more can be retired now.
async fn retire_oldest(core: &Rc<Core>, log: &Rc<Log>, urgency: &Urgency, tell: bool) -> bool {
    while log.wants_retiring() && !log.is_over() {
        let Some(oldest) = log.segments.oldest_sealed() else { return false };
        if let Err(error) = pack::retire(core, log, oldest.id, urgency).await {
            if tell && !log.is_over() {
                tracing::warn!(log = %oldest.id, %error, "log segment is not retired yet");
            }
            return false;
        }
        log.admission().set_stuck(false);
    }
    true
}

/// Empties segments out of turn, while what lives in the oldest has no place: those of starts since then hold little
/// but deletions, and each gives room to delete more.
async fn retire_younger(core: &Rc<Core>, log: &Rc<Log>, urgency: &Urgency) {
    for younger in log.segments.sealed().iter().skip(1) {
        if !log.wants_retiring() || log.is_over() {
            return;
        }
        if let Err(error) = pack::retire(core, log, younger.id, urgency).await {
            tracing::debug!(log = %younger.id, %error, "nor is this log segment retired");
        }
    }
}

/// Empties packs that are mostly dead, a few of each shard in turn. The shard is asked first: no job is handed out
/// where there is nothing to do.
pub async fn tend_packs(core: Rc<Core>, log: Rc<Log>) {
    let mut rhythm = Rhythm::new(&core.peers);
    loop {
        let ticks = rhythm.tick().await;
        if log.is_over() {
            return;
        }
        if !ticks.is_due(COMPACT_TICKS) {
            continue;
        }
        for shard in core.shards.iter().flatten() {
            let emptied = match shard.has_sparse().await {
                Ok(true) => compact::compact(&core, shard.id).await.map(drop),
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = emptied
                && !log.is_over()
            {
                tracing::debug!(shard = %shard.id, %error, "packs are not compacted now");
            }
        }
    }
}

/// Empties segments before their turn that a scrub found wanting; false when some are left, marked as before.
async fn retire_weak(core: &Rc<Core>, log: &Rc<Log>, urgency: &Urgency) -> bool {
    let mut is_done = true;
    for weak in log.segments.take_weak() {
        if log.is_over() {
            break;
        }
        if let Err(error) = pack::retire(core, log, weak.id, urgency).await {
            tracing::warn!(log = %weak.id, %error, "a log segment that lacks mirrors stays for now");
            log.segments.mark_weak(weak.id);
            is_done = false;
        }
    }
    is_done
}
