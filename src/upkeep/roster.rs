//! What the superblocks say of the pool's drives, kept true while serving.
//!
//! Which drives are latched, which are being filled again, and when the last full scrub ended: looked at on a
//! slow tick and written to every healthy drive when it has changed, so that the next start goes by it. The
//! first turn also makes members of the drives that stand in for lost ones: by then recovery has gone through
//! with them. One task of the process, on one core.
//!
//! The same task fences: it reads the superblocks from time to time, and before each time it writes them. Where one
//! says that a later epoch has begun, another server has the pool, whatever became of our locks. The drive takes
//! nothing more from this one then, not even a superblock.

use std::time::Duration;

use std::rc::Rc;

use crate::base::ids::DriveId;
use crate::base::limits::PAGE;
use crate::base::metrics::DriveState;
use crate::base::time::Nanos;
use crate::drive::device::{Area, Drive};
use crate::drive::superblock::{self, Standing, Superblock};
use crate::io::buffer::AlignedBuf;
use crate::io::world::World;
use crate::object::open::Shared;
use crate::pool::{Pool, format};

/// How often the drives' states are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Turns of the tick between two looks at epochs: a page of each drive.
const FENCE_TURNS: u32 = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Roster {
    latched: Vec<DriveId>,
    rebuilding: Vec<DriveId>,
    scrubbed: Nanos,
    /// Drives that may be written, and so hear of changes.
    healthy: Vec<DriveId>,
}

/// Writes the roster whenever it changes, until the server stops.
pub async fn keep_roster(pool: Rc<Pool>, shared: Shared) {
    let has_new = shared.members.iter().filter_map(|member| member.superblock.as_ref());
    let mut known =
        (!has_new.into_iter().any(|s| s.standing != Standing::Member)).then(|| as_started(&shared));
    let mut generation = 0;
    for turn in 0u32.. {
        let is_last = shared.board.is_closing();
        if turn.is_multiple_of(FENCE_TURNS) || known.as_ref() != Some(&roster(&shared)) {
            fence(&pool).await;
        }
        let now = roster(&shared);
        // With more than m out the log has stopped. What took them all at once may be gone at the next start,
        // which finds out for itself; written down, it would keep that start from reading anything.
        let is_hopeless = now.latched.len() > usize::from(shared.geometry.parity_chunks);
        if known.as_ref() != Some(&now) && !is_hopeless {
            generation += 1;
            write(&pool.world, &shared, &now, generation).await;
            known = Some(now);
            continue;
        }
        if is_last {
            return;
        }
        // Only a stop ends the wait early: what has changed by then is written too.
        let _ = tokio::time::timeout(TICK, shared.board.closes()).await;
    }
}

/// Latches drives on which a later epoch than ours has begun.
async fn fence(pool: &Pool) {
    for drive in pool.healthy() {
        if let Some(epoch) = epoch_on(pool, drive).await
            && epoch > pool.epoch
        {
            drive.shared().latch(&format!("another server began epoch {epoch} of the pool"));
        }
    }
}

/// The epoch that a drive knows of; `None` when neither of two copies can be read, which is no sign of another
/// server.
pub async fn epoch_on(pool: &Pool, drive: &Rc<Drive>) -> Option<u32> {
    for copy in [0, superblock::COPIES - 1] {
        let page = drive.read(Area::Meta, AlignedBuf::zeroed(PAGE), Superblock::offset(copy)).await;
        let found = page.ok().and_then(|page| Superblock::decode(&page).ok());
        if let Some(found) = found.filter(|found| found.geometry.pool == pool.geometry.pool) {
            return Some(found.epoch);
        }
    }
    None
}

fn roster(shared: &Shared) -> Roster {
    let chosen = |choose: &dyn Fn(&crate::drive::device::DriveShared) -> bool| -> Vec<DriveId> {
        shared.drives.iter().filter(|drive| choose(drive)).map(|drive| drive.id()).collect()
    };
    Roster {
        latched: chosen(&|drive| drive.state() == DriveState::Latched),
        rebuilding: chosen(&|drive| drive.is_rebuilding()),
        scrubbed: shared.board.last(),
        healthy: chosen(&|drive| drive.state() == DriveState::Healthy),
    }
}

/// What the start of this epoch has written.
fn as_started(shared: &Shared) -> Roster {
    let chosen = |choose: &dyn Fn(&format::Member) -> bool| -> Vec<DriveId> {
        shared.members.iter().filter(|member| choose(member)).map(|member| member.drive).collect()
    };
    let written = shared.members.iter().find_map(|member| member.superblock.as_ref());
    Roster {
        latched: chosen(&|member| member.state == DriveState::Latched),
        rebuilding: chosen(&|member| member.rebuilding),
        scrubbed: written.map(|superblock| superblock.scrubbed).unwrap_or_default(),
        healthy: chosen(&|member| member.state == DriveState::Healthy),
    }
}

async fn write(world: &World, shared: &Shared, roster: &Roster, generation: u64) {
    for (member, drive) in shared.members.iter().zip(shared.drives.iter()) {
        let (Some(path), Some(superblock)) = (&member.path, &member.superblock) else { continue };
        if drive.state() != DriveState::Healthy {
            continue;
        }
        let superblock = Superblock {
            generation: superblock.generation + generation,
            latched: roster.latched.clone(),
            rebuilding: roster.rebuilding.clone(),
            scrubbed: roster.scrubbed,
            standing: Standing::Member,
            ..superblock.clone()
        };
        let (meta, _) = format::files(path, member.is_device);
        if let Err(error) = format::write_superblock(world, &meta, &superblock).await {
            drive.latch(&error.to_string());
        }
    }
}
