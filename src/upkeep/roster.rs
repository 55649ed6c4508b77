//! What the superblocks say of the pool's drives, kept true while serving.
//!
//! Which drives are latched, which are being filled again, and when the last full scrub ended: looked at on a
//! slow tick and written to every healthy drive when it has changed, so that the next start goes by it. The
//! first turn also makes members of the drives that stand in for lost ones: by then recovery has gone through
//! with them. One task of the process, on one core.

use std::time::Duration;

use crate::base::ids::DriveId;
use crate::base::metrics::DriveState;
use crate::base::time::Nanos;
use crate::drive::superblock::{Standing, Superblock};
use crate::io::world::World;
use crate::object::open::Shared;
use crate::pool::format;

/// How often the drives' states are looked at.
const TICK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Roster {
    latched: Vec<DriveId>,
    rebuilding: Vec<DriveId>,
    scrubbed: Nanos,
    /// Drives that may be written, and so hear of changes.
    healthy: Vec<DriveId>,
}

/// Writes the roster whenever it changes, until the server stops.
pub async fn keep_roster(world: World, shared: Shared) {
    let has_new = shared.members.iter().filter_map(|member| member.superblock.as_ref());
    let mut known =
        (!has_new.into_iter().any(|s| s.standing != Standing::Member)).then(|| as_started(&shared));
    let mut generation = 0;
    loop {
        let is_last = shared.board.is_closing();
        let now = roster(&shared);
        // With more than m out the log has stopped. What took them all at once may be gone at the next start,
        // which finds out for itself; written down, it would keep that start from reading anything.
        let is_hopeless = now.latched.len() > usize::from(shared.geometry.parity_chunks);
        if known.as_ref() != Some(&now) && !is_hopeless {
            generation += 1;
            write(&world, &shared, &now, generation).await;
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
