//! Repairing one value: all blocks of its extent, or those of one row, on the drives where they belong.
//!
//! Used by the scrub for everything, and by the task that works off what readers found damaged. The value is pinned at
//! its owner meanwhile. A repair is never abandoned half way: it runs in a task that nobody aborts, on a background
//! core where there is one.

use std::rc::Rc;

use super::ask;
use super::doubt;
use super::pace::Pace;
use crate::base::ids::ShardId;
use crate::object::core::Core;
use crate::object::error::ObjectError;
use crate::object::repair::holdings::Holding;
use crate::object::repair::spots::Spot;
use crate::pool::mend::{self, Mended};

/// Repairs what readers of this core found, until the server stops.
pub async fn repair_spots(core: Rc<Core>) {
    while !core.board.is_closing() {
        let Some(spot) = core.spots.pop() else {
            core.spots.arrival().await;
            continue;
        };
        // `None`: the server stops, and a scrub finds it again.
        let _ = core.in_background(move |core| repair_spot(core, spot)).await;
    }
}

async fn repair_spot(core: Rc<Core>, Spot { shard, key, row }: Spot) {
    let holding = match hold(&core, shard, &key).await {
        Ok(Some(holding)) => holding,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%shard, row, %error, "a damaged block was not repaired");
            return;
        }
    };
    let mended = mend_extent(&core, &holding, Some(row), &mut Pace::new(core.clone())).await;
    doubt::blame(&core, &mended.lost, false).await;
    // How much is lost beside this only a full pass finds out: once, until there was one that found nothing.
    if mended.unrepairable > 0 && !core.board.note_lossy(true) {
        core.board.demand();
    }
    let (damaged, repaired) = (mended.damaged, mended.repaired);
    tracing::info!(%shard, row, damaged, repaired, "mended what a reader found");
}

/// The extent of a value, pinned at its owner.
pub async fn hold(core: &Rc<Core>, shard: ShardId, key: &[u8]) -> Result<Option<Holding>, ObjectError> {
    loop {
        let (at, peers) = (key.to_vec(), core.peers.clone());
        match core.on_shard(shard, move |home| home.hold(at, peers)).await {
            Err(ObjectError::SlowDown) if !core.board.is_closing() => ask::pause().await,
            held => return held,
        }
    }
}

/// Mends all rows, or one, and flushes what was written.
pub async fn mend_extent(core: &Rc<Core>, holding: &Holding, row: Option<u32>, pace: &mut Pace) -> Mended {
    let mut all = Mended::default();
    for group in mend::groups(&holding.held, row) {
        let mended = mend::mend(&core.reads, &holding.held, group).await;
        core.board.add(&mended);
        all += mended;
        pace.step(mended.bytes).await;
        if core.board.is_closing() {
            break;
        }
    }
    // What is not durable after a failed flush is damaged as before; the drive is latched by then.
    core.pool.drives.flush(&all.written).await;
    all
}
