//! What the superblocks say of the pool's drives, kept true while serving.
//!
//! Which drives are latched, which are being filled again, and when the last full scrub ended: looked at on a
//! slow tick and written to every drive in service when it has changed, so that the next start goes by it. The
//! first turn also makes members of the drives that stand in for lost ones: by then recovery has gone through
//! with them. One task of the process, on one core.
//!
//! The same task looks whether the drives still are what they were. One whose files were deleted, or that holds the
//! superblock of another, is latched; a superblock that something else has written over is written again: nobody
//! would miss either before the next start, when it is too late. And it fences: where a superblock says that a
//! later epoch has begun, another server has the pool, whatever became of our locks. The drive takes nothing more
//! from this one then, not even a superblock, so the look comes before each writing.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::DriveId;
use crate::base::join::join_all;
use crate::base::limits::PAGE;
use crate::base::time::Nanos;
use crate::drive::device::{Area, Drive};
use crate::drive::health::Condition;
use crate::drive::superblock::{COPIES, Standing, Superblock};
use crate::io::buffer::AlignedBuf;
use crate::object::core::Core;
use crate::object::open::Shared;
use crate::pool::{Pool, format};

/// How often the drives' states are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two looks at what stands in the superblocks.
const LOOK_TICKS: u32 = 3;
/// A drive that does not answer in this time is not waited for. With the ticks these are the five seconds in which
/// another server is noticed.
const READ: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Roster {
    latched: Vec<DriveId>,
    rebuilding: Vec<DriveId>,
    scrubbed: Nanos,
    /// Drives that may be written, and so hear of changes.
    in_service: Vec<DriveId>,
}

/// Writes the roster whenever it changes, until the server stops.
pub async fn keep_roster(core: Rc<Core>, shared: Shared) {
    let has_new = shared.members.iter().filter_map(|member| member.superblock.as_ref());
    let mut known =
        (!has_new.into_iter().any(|s| s.standing != Standing::Member)).then(|| as_started(&shared));
    let (mut generation, mut tick) = (0, 0u32);
    loop {
        let is_last = shared.board.is_closing();
        core.pool.drives.iter().for_each(|drive| drive.latch_if_deleted());
        let now = roster(&shared);
        // With more than m out, missing ones among them, the log has stopped. What took them all at once may be gone at
        // the next start, which finds out for itself; written down, it would keep that start from reading anything.
        let is_hopeless = core.pool.failed() > usize::from(shared.geometry.parity_chunks);
        let is_news = known.as_ref() != Some(&now);
        let is_due = is_news || is_last || tick.is_multiple_of(LOOK_TICKS);
        tick = tick.wrapping_add(1);
        let differing = if is_due { look(&core, &shared, &now, generation).await } else { Vec::new() };
        if !is_news && !differing.is_empty() {
            tracing::warn!(drives = ?differing, "superblocks were overwritten: they are written again");
        }
        if (is_news || !differing.is_empty()) && !is_hopeless {
            generation += 1;
            write(&core, &shared, &now, generation).await;
            known = Some(now);
            if is_news {
                continue;
            }
        }
        if is_last {
            return;
        }
        // Only a stop ends the wait early: what has changed by then is written too.
        let _ = tokio::time::timeout(TICK, shared.board.closes()).await;
    }
}

fn roster(shared: &Shared) -> Roster {
    let chosen = |choose: &dyn Fn(Condition) -> bool| -> Vec<DriveId> {
        shared.drives.iter().filter(|drive| choose(drive.condition())).map(|drive| drive.id()).collect()
    };
    Roster {
        latched: chosen(&|drive| drive.is_latched()),
        // What is missing misses what is written from now on.
        rebuilding: chosen(&|drive| drive.is_rebuilding() || drive.is_missing()),
        scrubbed: shared.board.last(),
        in_service: chosen(&|drive| drive.is_in_service()),
    }
}

/// What the start of this epoch has written.
fn as_started(shared: &Shared) -> Roster {
    let chosen = |choose: &dyn Fn(&format::Member) -> bool| -> Vec<DriveId> {
        shared.members.iter().filter(|member| choose(member)).map(|member| member.drive).collect()
    };
    let written = shared.members.iter().find_map(|member| member.superblock.as_ref());
    Roster {
        latched: chosen(&|member| member.condition.is_latched()),
        rebuilding: chosen(&|member| member.lacks()),
        scrubbed: written.map(|superblock| superblock.scrubbed).unwrap_or_default(),
        in_service: chosen(&|member| member.condition.is_in_service()),
    }
}

async fn write(core: &Core, shared: &Shared, roster: &Roster, generation: u64) {
    for (drive, superblock) in told(core, shared, roster, generation) {
        let mut page = AlignedBuf::zeroed(PAGE);
        page.copy_from_slice(&superblock.encode());
        let page = Arc::new(page);
        for copy in 0..COPIES {
            // A drive that fails this is latched by it, which the next turn tells the others.
            if drive.write(Area::Meta, page.clone(), 0..PAGE, Superblock::offset(copy)).await.is_err() {
                break;
            }
        }
    }
}

/// The drives that can be told, and what is true of each.
fn told<'s>(
    core: &'s Core,
    shared: &'s Shared,
    roster: &'s Roster,
    generation: u64,
) -> impl Iterator<Item = (&'s Rc<Drive>, Superblock)> {
    let members = shared.members.iter().zip(core.pool.drives.iter());
    members.filter(|(_, drive)| drive.is_in_service()).filter_map(move |(member, drive)| {
        let superblock = member.superblock.as_ref()?;
        let superblock = Superblock {
            generation: superblock.generation + generation,
            latched: roster.latched.clone(),
            rebuilding: roster.rebuilding.clone(),
            scrubbed: roster.scrubbed,
            standing: Standing::Member,
            ..superblock.clone()
        };
        Some((drive, superblock))
    })
}

/// Latches drives that are not ours any more. The others where something else stands than this roster. All drives at
/// once: one that is slow keeps no news from us that another has.
async fn look(core: &Core, shared: &Shared, roster: &Roster, generation: u64) -> Vec<DriveId> {
    let looks = told(core, shared, roster, generation).map(|(drive, superblock)| async move {
        let differs = tokio::time::timeout(READ, differs(core, drive, &superblock)).await;
        (differs == Ok(true)).then(|| drive.id())
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// Whether something else stands in a copy of the superblock. Latches the drive when it is not ours any more.
async fn differs(core: &Core, drive: &Rc<Drive>, superblock: &Superblock) -> bool {
    let (page, mut differs) = (superblock.encode(), false);
    let each = |found: &[u8]| {
        if Superblock::decode(found).is_err() {
            drive.count_corrupt();
            drive.health().suspect(1);
        }
        differs |= found != &page[..];
    };
    if let Some(reason) = read_copies(&core.pool, drive, each).await {
        drive.health().latch(&reason);
    }
    differs
}

/// Why a drive is not ours any more, by what can be read of its superblock.
pub async fn taken(pool: &Pool, drive: &Rc<Drive>) -> Option<String> {
    read_copies(pool, drive, |_| {}).await
}

/// Reads the copies one after the other and lets `each` see them, up to one that says why the drive is not ours any
/// more: whoever wrote that has written more. What cannot be read is no sign of another server.
async fn read_copies(pool: &Pool, drive: &Rc<Drive>, mut each: impl FnMut(&[u8])) -> Option<String> {
    for copy in 0..COPIES {
        let read = drive.read(Area::Meta, AlignedBuf::zeroed(PAGE), Superblock::offset(copy)).await;
        let Ok(found) = read else { continue };
        let lost = Superblock::decode(&found).ok().and_then(|found| lost(pool, drive, &found));
        if lost.is_some() {
            return lost;
        }
        each(&found);
    }
    None
}

fn lost(pool: &Pool, drive: &Drive, found: &Superblock) -> Option<String> {
    if drive.shared().uuid().is_some_and(|uuid| uuid != found.uuid) {
        return Some("it holds the superblock of another drive".to_owned());
    }
    (found.epoch > pool.epoch).then(|| format!("another server began epoch {} of the pool", found.epoch))
}
