//! Drives that do not hold what was written to them: found out, mended, and taken out when it happens again.
//!
//! A wrong block is a hole, and one by one they are repaired as readers find them. Where there is one, some headers all
//! over the drive are looked at (`pool::headers`), since what readers find may be one object that is asked for again
//! and again. The superblocks are read every few seconds (`roster`), so a drive that is written over is found out
//! though nobody reads. A drive that is found wanting is *doubtful*: it is asked last, counts as lost for what was
//! stored before (as one that is being rebuilt), and a full scrub writes anew what it lacks. When more than m drives
//! are doubtful, being rebuilt or out, the server is not ready: what was stored may be beyond reading, until a scrub
//! has shown that it is not.
//!
//! Drives may go bad one after the other while a scrub mends, headers among the rest. So it looks at some headers
//! before it mends anything and before a drive is trusted again; what it mends is counted as it goes; and a drive on
//! which a superblock or a header was wrong stays *suspected* until a full scrub has answered for it. Blocks beyond
//! repair (`blame`) are laid to the drives that are suspected, when those are more than m with the ones that are
//! doubtful or out.
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
use crate::base::limits::{DOUBT_BLOCKS_MAX, HEADERS_WRONG_MIN, LOST_BLOCKS_MIN, LOST_SHARE};
use crate::drive::device::{Drive, DriveSet};
use crate::object::core::Core;
use crate::pool::Pool;
use crate::pool::headers::{self, Sample};

/// How often the counts of wrong blocks are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What is known of one drive.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Wrong blocks at the end of the last full scrub; and with what was suspected when it was last looked at.
    scrubbed: u64,
    looked: u64,
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
            if is_scrubbed || drive.condition().is_rebuilding() {
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
    let seen = || drive.shared().wrong_reads() + drive.health().suspicions();
    if !drive.is_trusted() || seen() == known.looked {
        return None;
    }
    let since = wrong.saturating_sub(known.scrubbed);
    if since >= DOUBT_BLOCKS_MAX {
        known.looked = seen();
        return Some((drive.id(), format!("{since} blocks were wrong since the last scrub")));
    }
    let sample = headers::sample(pool, drive).await;
    // What the look itself has counted is no reason for the next one.
    known.looked = seen();
    of_headers(drive.id(), sample)
}

/// Looks at some headers of every drive that is trusted: before a scrub mends them, and before it trusts others.
pub async fn look(core: &Rc<Core>) {
    let pool = &core.pool;
    let looks = pool.drives.iter().filter(|drive| drive.is_trusted());
    let looks = looks.map(|drive| async { of_headers(drive.id(), headers::sample(pool, drive).await) });
    doubt(core, join_all(looks).await.into_iter().flatten().collect()).await;
}

/// What the headers of one shard say that a scrub has mended: with those of the shards before, or alone where they are
/// enough to tell, since the drive may have gone bad in the middle of the pass.
pub fn of_mended(drive: DriveId, all: Sample, some: Sample) -> Option<Doubt> {
    let is_enough = some.wrong >= HEADERS_WRONG_MIN;
    of_headers(drive, all).or_else(|| of_headers(drive, some).filter(|_| is_enough))
}

/// Blocks on these drives are beyond repair. When that is explained by drives that are suspected and not yet in doubt,
/// they are from here on: what they held may be gone for good. All of them are suspected when it is much of what a full
/// scrub has read.
pub async fn blame(core: &Rc<Core>, lost: &DriveSet, is_much: bool) {
    let drives = core.pool.drives.iter().filter(|drive| lost.contains(drive.id()) && drive.is_trusted());
    let suspects: Vec<_> = drives.filter(|drive| is_much || drive.health().is_suspected()).collect();
    let parity = usize::from(core.pool.geometry.parity_chunks);
    if suspects.is_empty() || core.pool.distrusted().len() + suspects.len() <= parity {
        return;
    }
    let cause = match is_much {
        true => "many blocks on it are beyond repair",
        false => "blocks on it are beyond repair, and headers or superblocks of it were wrong",
    };
    suspects.iter().for_each(|drive| drive.health().doubt(cause));
    mended_by_scrub(core, suspects.iter().map(|drive| drive.id()).collect()).await;
}

/// Whether so many blocks beyond repair are a sign of drives that lost what was written to them, among so many that
/// were read. A few are not, however little is stored.
pub fn is_much(unrepairable: u64, checked: u64) -> bool {
    unrepairable >= LOST_BLOCKS_MIN && unrepairable.saturating_mul(LOST_SHARE) > checked
}

/// What headers say of a drive.
fn of_headers(drive: DriveId, sample: Sample) -> Option<Doubt> {
    sample
        .is_bad()
        .then(|| (drive, format!("{} of {} segment headers were wrong", sample.wrong, sample.checked)))
}

/// Has these drives mended, or takes out those that were.
pub async fn doubt(core: &Rc<Core>, doubts: Vec<Doubt>) {
    let parity = usize::from(core.pool.geometry.parity_chunks);
    let mut fresh = DriveSet::default();
    for (id, cause) in doubts {
        let Ok(drive) = core.pool.drives.get(id) else { continue };
        if drive.health().was_doubtful() && core.pool.failed() < parity {
            drive.health().latch(&format!("{cause}, again after a scrub had mended it"));
        } else if drive.is_trusted() {
            drive.health().doubt(&cause);
            fresh.insert(id);
        }
    }
    if !fresh.is_empty() {
        mended_by_scrub(core, fresh).await;
    }
}

/// Demands a scrub, and has the logs leave these drives: a scrub reads full log segments only.
async fn mended_by_scrub(core: &Rc<Core>, drives: DriveSet) {
    core.board.demand();
    // The shards of a core share its log.
    let (owners, mut asked) = (&core.peers.owners, BTreeSet::new());
    let first_of = |shard: &ShardId| asked.insert(owners[usize::from(shard.0)]);
    for shard in (0..core.shard_count()).map(ShardId).filter(first_of) {
        if let Err(error) = ask(core, shard, move |home| home.leave_logs_on(drives)).await {
            tracing::warn!(%shard, %error, "the log goes on with a mirror on a doubtful drive");
        }
    }
}

/// How often each drive was suspected when a pass began.
pub fn suspicions(pool: &Pool) -> Vec<u64> {
    pool.drives.iter().map(|drive| drive.health().suspicions()).collect()
}

/// A full scrub has passed and mended what can be mended. Where something `is_lost` and more than m drives are in
/// doubt, out or being rebuilt, it is what they lack; with fewer another drive is to blame. It answers for what was
/// suspected before it began. Unless everything `is_wide`, what was written without a drive that is being rebuilt still
/// lacks it: another loss would be one too many.
pub fn settle(pool: &Pool, is_lost: bool, suspicions: &[u64], is_wide: bool) {
    if is_lost && pool.is_unproven() {
        return;
    }
    for (drive, suspicions) in pool.drives.iter().zip(suspicions) {
        drive.health().scrubbed(*suspicions, is_wide);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_blocks_are_not_much_however_little_is_stored() {
        for (unrepairable, checked, much) in [
            (0, 0, false),
            (1, 1, false),
            (LOST_BLOCKS_MIN - 1, LOST_BLOCKS_MIN - 1, false),
            (LOST_BLOCKS_MIN, LOST_BLOCKS_MIN, true),
            (LOST_BLOCKS_MIN, LOST_BLOCKS_MIN * LOST_SHARE, false),
            (u64::MAX, u64::MAX, false),
        ] {
            assert_eq!(is_much(unrepairable, checked), much, "{unrepairable} of {checked}");
        }
    }
}
