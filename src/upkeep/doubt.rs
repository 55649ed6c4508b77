//! Drives that do not hold what was written to them: found out, mended, and taken out when it happens again.
//!
//! A wrong block is a hole, and one by one they are repaired as readers find them. Where there is one, some headers all
//! over the drive are looked at (`pool::headers`), since what readers find may be one object that is asked for again
//! and again. The superblocks are read every few seconds (`roster`), so a drive that is written over is found out though
//! nobody reads. A drive that is found wanting is *doubtful*: it is asked last, counts as lost for what was stored before
//! (as one that is being rebuilt), and a full scrub writes anew what it lacks. When more than m drives are doubtful or
//! out, the server is not ready: what was stored may be beyond reading.
//!
//! Invariants: doubt alone never latches, because a drive that is mended is worth more than one that is out; a drive
//! that is doubtful again after it was mended once is latched, but never beyond m: what can be served is served. One
//! task of the process.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::ask::ask;
use crate::base::ids::{DriveId, ShardId};
use crate::base::join::join_all;
use crate::base::limits::DOUBT_BLOCKS_MAX;
use crate::drive::device::{Drive, DriveSet};
use crate::object::core::Core;
use crate::pool::Pool;
use crate::pool::headers::{self, Sample};

/// How often the counts of wrong blocks are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What is known of one drive.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Wrong blocks when it was last looked at, and at the end of the last full scrub.
    looked: u64,
    scrubbed: u64,
}

/// Looks after all drives until the server stops.
pub async fn watch_drives(core: Rc<Core>) {
    let mut known = vec![Known::default(); core.pool.drives.len()];
    let mut passes = core.board.passes();
    while !core.board.is_closing() {
        let is_scrubbed = core.board.passes() != passes;
        passes = core.board.passes();
        for (drive, known) in core.pool.drives.iter().zip(&mut known) {
            // While a drive is filled again, wrong blocks are what it still lacks.
            if is_scrubbed || drive.shared().is_rebuilding() {
                known.scrubbed = drive.shared().wrong_reads();
            }
        }
        // All at once: a scrub that begins for the first one mends the headers of the others.
        let judged = join_all(core.pool.drives.iter().zip(&mut known).map(|of| judge(&core.pool, of))).await;
        doubt(&core, judged.into_iter().flatten().collect()).await;
        let _ = tokio::time::timeout(TICK, core.board.closes()).await;
    }
}

/// A drive that is not to be trusted, and why.
pub type Doubt = (DriveId, String);

async fn judge(pool: &Pool, (drive, known): (&Rc<Drive>, &mut Known)) -> Option<Doubt> {
    let wrong = drive.shared().wrong_reads();
    if !drive.is_trusted() || wrong == known.looked {
        return None;
    }
    known.looked = wrong;
    let since = wrong.saturating_sub(known.scrubbed);
    if since >= DOUBT_BLOCKS_MAX {
        return Some((drive.id(), format!("{since} blocks were wrong since the last scrub")));
    }
    of_headers(drive.id(), headers::sample(pool, drive).await)
}

/// What headers say of a drive, those of a look at some or those that a scrub has mended.
pub fn of_headers(drive: DriveId, sample: Sample) -> Option<Doubt> {
    sample
        .is_bad()
        .then(|| (drive, format!("{} of {} segment headers were wrong", sample.wrong, sample.checked)))
}

/// Has these drives mended, or takes out those that were.
pub async fn doubt(core: &Rc<Core>, doubts: Vec<Doubt>) {
    let parity = usize::from(core.pool.geometry.parity_chunks);
    let mut fresh = Vec::new();
    for (id, cause) in doubts {
        let Ok(drive) = core.pool.drives.get(id) else { continue };
        if drive.shared().was_doubtful() && core.pool.failed() < parity {
            drive.shared().latch(&format!("{cause}, again after a scrub had mended it"));
        } else if drive.is_trusted() {
            drive.shared().doubt(&cause);
            fresh.push(id);
        }
    }
    if fresh.is_empty() {
        return;
    }
    core.board.demand();
    // A scrub reads full log segments only. The shards of a core share its log.
    let drives: DriveSet = fresh.into_iter().collect();
    let (owners, mut asked) = (&core.peers.owners, BTreeSet::new());
    let first_of = |shard: &ShardId| asked.insert(owners[usize::from(shard.0)]);
    for shard in (0..core.shard_count()).map(ShardId).filter(first_of) {
        if let Err(error) = ask(core, shard, move |home| home.leave_logs_on(drives)).await {
            tracing::warn!(%shard, %error, "the log goes on with a mirror on a doubtful drive");
        }
    }
}

/// A full scrub has passed and mended all but `unrepairable` blocks. With more than m drives in doubt those are what
/// they lost; with fewer another drive is to blame.
pub fn settle(pool: &Pool, unrepairable: u64) {
    if unrepairable > 0 && pool.is_beyond_reading() {
        return;
    }
    for drive in pool.drives.iter().map(|drive| drive.shared()) {
        drive.set_rebuilding(false);
        drive.trust();
    }
}
