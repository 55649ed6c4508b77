//! A latched drive comes back into service, on an operator's word.
//!
//! Nothing stale on it can win. Its manifests are of older generations and are outvoted. Log segments it
//! mirrored were sealed when it was latched, and new ones are made without it until it is back; what it lacks
//! of the last of them was written again elsewhere, under another id. Blocks carry the nonce of their extent, so
//! what was written since stands on it as a hole. The scrub that follows fills these; until it has passed,
//! the drive counts as being rebuilt.

use std::rc::Rc;

use super::roster;
use crate::base::ids::DriveId;
use crate::drive::health::Condition;
use crate::object::core::Core;

/// Tries the drive and puts it back; what was done, or why not, in words.
pub async fn readmit(core: &Rc<Core>, id: DriveId) -> Result<String, String> {
    let drive = core
        .pool
        .drives
        .get(id)
        .map_err(|_| format!("the pool has no drive {id}; basalt status lists those it has"))?;
    match drive.condition() {
        Condition::Latched(..) => {}
        Condition::InService(_) => {
            return Err(format!("drive {id} is in service, and there is nothing to readmit"));
        }
        Condition::Missing(_) => {
            return Err(format!("drive {id} is not there: a start with it, or with --adopt, brings it back"));
        }
    }
    if let Some(reason) = roster::taken(&core.pool, drive).await {
        return Err(format!("drive {id} is not ours any more: {reason}"));
    }
    let tried = drive.probe(core.pool.world.random_u64()).await;
    tried.map_err(|error| format!("drive {id} stays out of service: {error}"))?;
    // Asked for before as well: a pass that is about to end has not seen what the drive lacks, and settles nothing.
    core.board.demand();
    if !drive.health().readmit() {
        return Err(format!("drive {id} changed its state meanwhile"));
    }
    core.board.demand();
    let stopped = core.board.has_stopped();
    let restart = if stopped { "; the log had stopped: restart the server to write again" } else { "" };
    Ok(format!("drive {id} is back in service, and a full scrub follows{restart}"))
}
