//! The upkeep every core does for its own shards and log.
//!
//! Checkpoints, merges, retiring the log, giving back empty segments. Paced by what has grown,
//! looked at on a slow tick, so that an idle core sleeps.

use std::rc::Rc;
use std::time::Duration;

use super::core::Core;
use super::pack;
use super::shard::Shard;
use crate::base::limits::TEND_TICK_MS;
use crate::catalog::log::Log;

/// Turns of the tick between two looks at empty segments.
const SURRENDER_TURNS: u32 = 400;

/// Pause before a log segment that could not be emptied is tried again: each try reads it.
const STUCK_PAUSE_MS: u64 = 250;

/// Checkpoints and merges one shard whenever its memtable has grown to `memtable_max` bytes.
pub async fn tend_shard(shard: Rc<Shard>, memtable_max: usize) {
    let mut turn = 0u32;
    loop {
        tick().await;
        turn = turn.wrapping_add(1);
        if shard.log.is_over() {
            return;
        }
        if shard.index.memtable_bytes() >= memtable_max
            && let Err(error) = shard.checkpoint().await
        {
            tracing::warn!(shard = %shard.id, %error, "checkpoint failed and is tried again");
        }
        if let Err(error) = shard.merge().await {
            tracing::warn!(shard = %shard.id, %error, "merge failed and is tried again");
        }
        if turn.is_multiple_of(SURRENDER_TURNS)
            && let Err(error) = shard.space.surrender().await
        {
            tracing::debug!(shard = %shard.id, %error, "an empty segment was not given back");
        }
    }
}

/// Retires the oldest log segments when the log asks for it, and tells it when that does not work.
pub async fn tend_log(core: Rc<Core>, log: Rc<Log>) {
    let mut was_stuck = false;
    loop {
        tick().await;
        if log.is_over() {
            return;
        }
        let stuck = log.wants_retiring() && !retire_oldest(&core, &log, !was_stuck).await;
        log.set_stuck(stuck);
        retire_weak(&core, &log).await;
        if stuck {
            tokio::time::sleep(Duration::from_millis(STUCK_PAUSE_MS)).await;
        }
        was_stuck = stuck;
    }
}

/// False when the log goes on wanting and nothing more can be retired now.
async fn retire_oldest(core: &Rc<Core>, log: &Rc<Log>, tell: bool) -> bool {
    while log.wants_retiring() && !log.is_over() {
        let Some(oldest) = log.oldest_sealed() else { return false };
        if let Err(error) = pack::retire(core, log, &oldest).await {
            if tell {
                tracing::warn!(log = %oldest.id, %error, "log segment is not retired yet");
            }
            return false;
        }
        log.set_stuck(false);
    }
    true
}

/// Empties segments before their turn that a scrub found wanting.
async fn retire_weak(core: &Rc<Core>, log: &Rc<Log>) {
    while !log.is_over()
        && let Some(weak) = log.take_weak()
    {
        if let Err(error) = pack::retire(core, log, &weak).await {
            tracing::warn!(log = %weak.id, %error, "a log segment that lacks mirrors stays as it is");
        }
    }
}

async fn tick() {
    tokio::time::sleep(Duration::from_millis(TEND_TICK_MS)).await;
}
