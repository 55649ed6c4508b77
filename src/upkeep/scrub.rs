//! The scrub: reads everything that stands on the drives, mends it, and writes anew what lacks width.
//!
//! A pass walks all shards: every extent of every version, part and pack, every block of every run, every full
//! log segment. Blocks that are wrong are mended where they stand; an extent or a run that was written while
//! drives were out, or that lost chunks for good, is written anew when the pool can give it more than it has; a
//! log segment that lacks mirrors is emptied. A pass is full when nothing kept it from
//! looking at anything; drives that were being filled again are whole then. What stands on drives that were given
//! up (`evacuate`) counts as lost here; a pass for their sake reads only what it writes anew.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::ask::{self, ask};
use super::doubt;
use super::evacuate;
use super::pace::Pace;
use super::repair::{hold, mend_extent};
use crate::base::ids::{DriveId, LogId, ShardId};
use crate::base::limits::{EVACUATION_RETRY_SECONDS, LARGE_BYTES_MIN, PAGE, SCRUB_STEP_BYTES};
use crate::base::time::Nanos;
use crate::catalog::key;
use crate::object::content::writer::{ShardAllocator, hand_over};
use crate::object::core::Core;
use crate::object::error::ObjectError;
use crate::object::packing::compact;
use crate::object::repair::holdings::{Holding, chunks_least};
use crate::object::shard::Shard;
use crate::pool::headers::Sample;
use crate::pool::mend::Mended;
use crate::pool::segments::Purpose;
use crate::pool::stripe::Extent;

/// Scrubs on demand, and when the last full pass is longer ago than `interval`, until the server stops.
pub async fn scrub_when_due(core: Rc<Core>, interval: Option<Duration>) {
    let mut is_owed = false;
    while !core.board.is_closing() {
        if is_owed || core.board.is_demanded() || is_due(&core, interval) {
            let again = core.in_background(scrub).await.flatten();
            is_owed = again.is_some();
            if let Some(pause) = again.filter(|_| !core.board.is_closing()) {
                // Whatever was in the way may be gone by then; a pass that is owed is not given up.
                let _ = tokio::time::timeout(pause, core.board.demands()).await;
            }
            continue;
        }
        let mut wait = interval.unwrap_or(Duration::MAX).min(LOOK);
        if evacuate::is_owed(&core.pool) {
            let owed = core.in_background(evacuate).await;
            if owed == Some(None) || core.board.is_closing() {
                continue;
            }
            wait = wait.min(owed.flatten().unwrap_or(RETRY));
        }
        let _ = tokio::time::timeout(wait, core.board.demands()).await;
    }
}

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(3600);

fn is_due(core: &Core, interval: Option<Duration>) -> bool {
    let age = core.pool.world.now().0.saturating_sub(core.board.last().0);
    interval.is_some_and(|interval| u128::from(age) >= interval.as_nanos())
}

/// `None` when nothing was left out, or how long to wait with the next pass: long where the log cannot be emptied,
/// since that takes room and not another look at everything.
async fn scrub(core: Rc<Core>) -> Option<Duration> {
    core.board.begin();
    tracing::info!("scrub begins");
    let given_up = evacuate::given_up(&core.pool);
    let suspicions = doubt::suspicions(&core.pool);
    doubt::look(&core).await;
    let mut pass = Pass::new(&core, Scope::Everything);
    pass.shards().await;
    doubt::look(&core).await;
    let Mended { checked, damaged, repaired, unrepairable, unreadable, lost, .. } = pass.found;
    doubt::blame(&core, &lost, doubt::is_much(unrepairable, checked)).await;
    let is_full = pass.missed == 0 && !core.board.is_closing();
    if is_full && pass.narrow == 0 && pass.weak.is_empty() {
        evacuate::done(&core.pool, &given_up);
    }
    if is_full {
        core.board.note_lossy(unrepairable + unreadable > 0);
    }
    let missed = pass.missed;
    tracing::info!(checked, damaged, repaired, unrepairable, unreadable, missed, is_full, "scrub ends");
    let is_settled = pass.emptied().await;
    let is_whole = is_full && is_settled && damaged == repaired + unrepairable;
    if is_whole && !core.board.is_demanded() {
        doubt::settle(&core.pool, unrepairable + unreadable > 0, &suspicions, pass.narrow == 0);
    }
    // What is narrow for want of room is tried again for a drive that waits for it.
    let is_rebuilt =
        pass.narrow == 0 || !core.pool.drives.iter().any(|drive| drive.condition().is_being_filled());
    let now: Nanos = core.pool.world.now();
    core.board.end(is_full.then_some(now));
    match is_full {
        true if is_settled && is_rebuilt => None,
        true => Some(Duration::from_secs(EVACUATION_RETRY_SECONDS)),
        false => Some(RETRY),
    }
}

/// How long a pass waits for log segments to be emptied, without which drives are not whole.
const EMPTYING: Duration = Duration::from_secs(60);

/// Writes anew what lacks width because of drives that were given up. `None` when nothing is left to do, or how
/// long to wait with the next pass: not long for what is only on its way.
async fn evacuate(core: Rc<Core>) -> Option<Duration> {
    let given_up = evacuate::given_up(&core.pool);
    tracing::info!(?given_up, "evacuation begins: what stands on these drives is written anew");
    let mut pass = Pass::new(&core, Scope::GivenUp);
    pass.shards().await;
    let (missed, narrow, weak) = (pass.missed, pass.narrow, pass.weak.len());
    let is_done = missed == 0 && narrow == 0 && weak == 0 && !core.board.is_closing();
    tracing::info!(missed, narrow, weak, is_done, "evacuation ends");
    if is_done {
        evacuate::done(&core.pool, &given_up);
        return None;
    }
    Some(if narrow == 0 { RETRY } else { Duration::from_secs(EVACUATION_RETRY_SECONDS) })
}

/// Pause before a pass that was not full, or found log segments to be emptied, is followed by another.
const RETRY: Duration = Duration::from_secs(60);

/// What a pass looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Everything,
    /// What has chunks or copies on drives that were given up.
    GivenUp,
}

struct Pass {
    core: Rc<Core>,
    scope: Scope,
    pace: Pace,
    found: Mended,
    /// Values that could not be looked at.
    missed: u64,
    /// Values that have less than the pool could give them, for want of room.
    narrow: u64,
    /// Log segments that lack mirrors, and are emptied soon by the owner of a shard.
    weak: Vec<(ShardId, LogId)>,
    /// Log segments that were looked at: shards of one core share them.
    seen: BTreeSet<LogId>,
    /// Segment headers that were looked at, and wrong ones.
    headers: BTreeMap<DriveId, Sample>,
}

impl Pass {
    fn new(core: &Rc<Core>, scope: Scope) -> Pass {
        let (core, pace) = (core.clone(), Pace::new(core.clone()));
        Pass {
            core,
            scope,
            pace,
            found: Mended::default(),
            missed: 0,
            narrow: 0,
            weak: Vec::new(),
            seen: BTreeSet::new(),
            headers: BTreeMap::new(),
        }
    }

    async fn shards(&mut self) {
        for shard in (0..self.core.shard_count()).map(ShardId) {
            self.shard(shard).await;
            self.headers(shard).await;
            self.runs(shard).await;
            self.logs(shard).await;
        }
    }

    async fn shard(&mut self, shard: ShardId) {
        let mut from = Some(Vec::new());
        while let Some(at) = from.take()
            && !self.core.board.is_closing()
        {
            match ask(&self.core, shard, move |home| home.holdings(at)).await {
                Ok(page) => {
                    for key in page.keys {
                        self.value(shard, key).await;
                    }
                    from = page.next;
                }
                Err(error) => self.miss(shard, &error),
            }
        }
    }

    async fn headers(&mut self, shard: ShardId) {
        if self.scope != Scope::Everything {
            return;
        }
        match ask(&self.core, shard, Shard::mend_headers).await {
            Ok(found) => {
                let checked: usize = found.iter().map(|(_, sample)| sample.checked).sum();
                self.judge(found).await;
                self.pace.step((checked * PAGE) as u64).await;
            }
            Err(error) => self.miss(shard, &error),
        }
        if let Err(error) = ask(&self.core, shard, Shard::renew_manifest).await {
            self.miss(shard, &error);
        }
    }

    /// Counts headers that were mended, and doubts drives at once where they were many.
    async fn judge(&mut self, found: Vec<(DriveId, Sample)>) {
        let mut doubts = Vec::new();
        for (drive, some) in found {
            let all = self.headers.entry(drive).or_default();
            *all += some;
            let is_trusted = self.core.pool.drives.is_trusted(drive);
            doubts.extend(doubt::of_mended(drive, *all, some).filter(|_| is_trusted));
        }
        doubt::doubt(&self.core, doubts).await;
        doubt::blame(&self.core, &self.found.lost, false).await;
    }

    /// Mends the runs of a shard, and has those written anew that lack copies.
    async fn runs(&mut self, shard: ShardId) {
        if self.scope == Scope::Everything {
            let ids = match ask(&self.core, shard, Shard::run_ids).await {
                Ok(ids) => ids,
                Err(error) => return self.miss(shard, &error),
            };
            for id in ids {
                self.run(shard, id).await;
            }
        }
        while !self.core.board.is_closing() {
            match ask(&self.core, shard, Shard::widen_runs).await {
                Ok(true) => self.core.board.add_relocated(),
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%shard, %error, "runs that lack copies stay as they are");
                    self.narrow += 1;
                    return;
                }
            }
        }
    }

    async fn run(&mut self, shard: ShardId, id: u64) {
        for partition in 0.. {
            match ask(&self.core, shard, move |home| home.mend_run(id, partition)).await {
                Ok(Some(mended)) => {
                    self.core.board.add(&mended);
                    self.found += mended;
                    self.pace.step(mended.bytes).await;
                }
                Ok(None) => return,
                Err(error) => return self.miss(shard, &error),
            }
        }
    }

    /// Looks at the log segments of the core that owns the shard; what it finds wanting is emptied there.
    async fn logs(&mut self, shard: ShardId) {
        let reads = self.scope == Scope::Everything;
        let ids = match ask(&self.core, shard, Shard::log_segments).await {
            Ok(ids) => ids,
            Err(error) => return self.miss(shard, &error),
        };
        for id in ids {
            if self.seen.insert(id) {
                match ask(&self.core, shard, move |home| home.check_log(id, reads)).await {
                    Ok(checked) => {
                        if checked.is_weak {
                            self.weak.push((shard, id));
                        }
                        self.pace.step(checked.bytes).await;
                    }
                    Err(error) => self.miss(shard, &error),
                }
            }
        }
    }

    /// Waits until the log segments that lack mirrors are emptied; false when that takes too long. Only for the sake of
    /// drives that are being filled again, and not when what was lost is beyond mending.
    async fn emptied(&mut self) -> bool {
        let pool = &self.core.pool;
        if !pool.drives.iter().any(|drive| drive.condition().is_being_filled()) || pool.is_beyond_reading() {
            return true;
        }
        let begun = Instant::now();
        while let Some((shard, id)) = self.weak.last().copied() {
            match ask(&self.core, shard, move |home| home.has_log(id)).await {
                Ok(false) => drop(self.weak.pop()),
                _ if begun.elapsed() > EMPTYING || self.core.board.is_closing() => return false,
                _ => ask::pause().await,
            }
        }
        true
    }

    /// What an owner was too busy for is owed; what cannot be read is found, and is beyond mending.
    fn miss(&mut self, shard: ShardId, error: &ObjectError) {
        if *error == ObjectError::SlowDown && self.core.board.is_closing() {
            self.missed += 1;
            return;
        }
        tracing::warn!(%shard, %error, "scrub passes over something it cannot read");
        if *error == ObjectError::SlowDown {
            self.missed += 1;
            return;
        }
        // Whose fault that is, nobody knows.
        let lost = self.core.pool.in_service().map(|drive| drive.id()).collect();
        let lost = Mended { damaged: 1, unrepairable: 1, lost, ..Mended::default() };
        self.core.board.add(&lost);
        self.found += lost;
    }

    async fn value(&mut self, shard: ShardId, key: Vec<u8>) {
        if self.core.board.is_closing() {
            return;
        }
        let holding = match hold(&self.core, shard, &key).await {
            Ok(Some(holding)) => holding,
            Ok(None) => return,
            Err(error) => return self.miss(shard, &error),
        };
        let is_narrow = self.is_narrow(&self.counted(&holding.held));
        if self.scope == Scope::GivenUp && !is_narrow {
            return;
        }
        self.found += mend_extent(&self.core, &holding, None, &mut self.pace).await;
        if is_narrow {
            let relocated = match key::parse_pack(&holding.key) {
                Some(pack) => self.empty_pack(shard, pack).await,
                None => self.relocate(shard, holding).await,
            };
            match relocated {
                Ok(true) => self.core.board.add_relocated(),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%shard, %error, "an extent with holes stays as it is");
                    self.narrow += 1;
                }
            }
        }
    }

    /// The extent without the chunks on drives that nobody counts on.
    fn counted(&self, held: &Extent) -> Extent {
        let mut counted = held.clone();
        let chunks = counted.stripes.iter_mut().flat_map(|stripe| stripe.chunks.iter_mut());
        chunks.for_each(|chunk| *chunk = chunk.filter(|at| !self.core.pool.is_given_up(at.drive)));
        counted
    }

    /// Whether the pool can give the extent more chunks than it has.
    fn is_narrow(&self, held: &Extent) -> bool {
        let healthy = self.core.pool.in_service().count();
        chunks_least(held) < held.layout().columns().min(healthy)
    }

    /// Has the objects of a pack moved to a new one.
    async fn empty_pack(&self, shard: ShardId, pack: u64) -> Result<bool, ObjectError> {
        let mark = move |home: Rc<Shard>| async move {
            home.packs.empty_next(pack);
            Ok(())
        };
        self.core.on_shard(shard, mark).await?;
        let emptied = compact::compact(&self.core, shard).await?;
        // Others may have been emptied in its place.
        if ask(&self.core, shard, move |home| home.is_inhabited(pack)).await? {
            return Err(ObjectError::Unreadable(format!("pack {pack} could not be emptied")));
        }
        Ok(emptied > 0)
    }

    /// Copies an extent to a new one and lets the value name that.
    async fn relocate(&mut self, shard: ShardId, holding: Holding) -> Result<bool, ObjectError> {
        let core = self.core.clone();
        let path = if holding.extent.size >= LARGE_BYTES_MIN { &core.writes_large } else { &core.writes };
        let allocator = ShardAllocator { core: core.clone(), shard, purpose: Purpose::Objects };
        let mut writer = path.extent(allocator, core.pool.world.random_u64(), Some(holding.extent.size));
        let mut reader = core.reads.read_range(Rc::new(holding.held.clone()), 0..holding.extent.size);
        let mut since = 0;
        while let Some(piece) = reader.next().await {
            let piece = piece?;
            since += piece.len() as u64;
            writer.write(piece).await?;
            if since >= SCRUB_STEP_BYTES {
                self.pace.step(2 * std::mem::take(&mut since)).await;
            }
            if core.board.is_closing() {
                return Ok(false);
            }
        }
        drop(reader);
        let mut written = writer.finish().await?;
        written.flush().await?;
        let to = written.into_extent();
        let (key, from) = (holding.key.clone(), holding.extent.clone());
        if chunks_least(&to) <= chunks_least(&self.counted(&holding.held)) {
            self.core.tell(shard, move |home| home.space.release_extent(&to));
            return Err(ObjectError::StorageFull);
        }
        hand_over(&core, shard, Some(to.clone()), move |home| home.relocate(key, from, to)).await
    }
}
