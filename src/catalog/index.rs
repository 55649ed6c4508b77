//! The ordered index of one shard: a log-structured merge tree.
//!
//! Owns the active and the frozen memtable and the current set of runs, and the two-step way in which
//! runs change: `flush` and `merge` have new runs written and stage them; `encode_levels` gives the list of
//! runs with everything staged; once the caller has made that list durable, `installed` lets readers
//! use it, drops the frozen memtable and gives the replaced runs up. A crash in between leaves the old
//! list and runs that nobody owns. Everything happens on one thread: no call but the `async` ones
//! waits, and no borrow lives across an await. Memory: the memtables, a few KiB for each run of up to
//! 64 MiB, and the shared block cache.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use crate::base::ids::ShardId;
use crate::catalog::cache::BlockCache;
use crate::catalog::error::Result;
use crate::catalog::forge::{Input, Piece, Work};
use crate::catalog::levels::{Change, Encoded, Job, Levels, Tier};
use crate::catalog::memtable::Memtable;
use crate::catalog::run::cursor::TierCursor;
use crate::catalog::run::filter;
use crate::catalog::run::reader::{Fate, Glance, Lookup, Reading, Run};
use crate::catalog::run::store::RunStore;
use crate::catalog::run::writer::RunSizes;
use crate::catalog::scan::Scan;
use crate::catalog::union::Source;
use crate::pool::extent::MirroredExtent;

pub struct Index<S: RunStore> {
    store: S,
    cache: Rc<BlockCache>,
    shard: ShardId,
    sizes: RunSizes,
    active: RefCell<Rc<Memtable>>,
    frozen: RefCell<Option<Rc<Memtable>>>,
    levels: RefCell<Rc<Levels<S>>>,
    staged: RefCell<Vec<Staged<S>>>,
    next_run: Cell<u64>,
    flushing: Cell<bool>,
}

/// Answer of `get_cached`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached {
    /// The newest value, or that there is none.
    Found(Option<Bytes>),
    /// Only `get` can tell.
    NeedsIo,
}

/// Sizes, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    pub memtable_bytes: u64,
    pub runs: u64,
    /// Sorted sequences a reader may have to ask.
    pub tiers: u64,
    /// Entries of runs; a key counts once for each run that knows it.
    pub entries: u64,
    pub tombstones: u64,
    pub run_bytes: u64,
}

/// New runs that the durable list does not name yet, or not for sure.
struct Staged<S: RunStore> {
    change: Change<S>,
    /// It replaces the frozen memtable.
    flush: bool,
    /// `encode_levels` has told of it.
    encoded: bool,
}

impl<S: RunStore> Index<S> {
    /// `levels` is what `encode_levels` gave last before it was made durable; empty at the start.
    pub async fn open(store: S, cache: Rc<BlockCache>, shard: ShardId, levels: &[u8]) -> Result<Self> {
        Self::open_with(store, cache, shard, levels, RunSizes::default()).await
    }

    /// As `open`, with runs of other sizes; runs of all sizes go together.
    pub async fn open_with(
        store: S,
        cache: Rc<BlockCache>,
        shard: ShardId,
        levels: &[u8],
        sizes: RunSizes,
    ) -> Result<Self> {
        let encoded = Encoded::decode(levels, shard)?;
        let mut runs = Vec::with_capacity(encoded.runs.len());
        for (level, tier, root) in encoded.runs {
            let run = Run::open(store.clone(), cache.clone(), shard, root).await?;
            runs.push((level, tier, Rc::new(run)));
        }
        let levels = Rc::new(Levels::assemble(runs)?);
        Ok(Index {
            store,
            cache,
            shard,
            sizes,
            active: RefCell::default(),
            frozen: RefCell::default(),
            levels: RefCell::new(levels),
            staged: RefCell::default(),
            next_run: Cell::new(encoded.next_run),
            flushing: Cell::new(false),
        })
    }

    /// Sets or, with `None`, deletes a key. Copies both.
    pub fn apply(&self, key: &[u8], value: Option<&[u8]>) {
        self.active.borrow().apply(key, value);
    }

    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        if let Some(known) = self.get_from_memtables(key) {
            return Ok(known);
        }
        let levels = self.levels();
        let hash = filter::hash(key);
        for run in levels.tiers().filter_map(|tier| tier.run_for(key)) {
            match run.lookup_reading(key, hash).await? {
                Lookup::Absent => {}
                Lookup::Inline(value) => return Ok(Some(value)),
                Lookup::Large(refs) => return run.large_value(&refs, Reading::Cached).await.map(Some),
                Lookup::Tombstone => return Ok(None),
            }
        }
        Ok(None)
    }

    /// As `get`, if what is in memory tells.
    pub fn get_cached(&self, key: &[u8]) -> Cached {
        if let Some(known) = self.get_from_memtables(key) {
            return Cached::Found(known);
        }
        let levels = self.levels.borrow();
        let hash = filter::hash(key);
        for run in levels.tiers().filter_map(|tier| tier.run_for(key)) {
            match run.lookup(key, hash, &Default::default()) {
                Ok(Glance::Known(Lookup::Absent)) => {}
                Ok(Glance::Known(Lookup::Tombstone)) => return Cached::Found(None),
                Ok(Glance::Known(Lookup::Inline(value))) => return Cached::Found(Some(value)),
                Ok(Glance::Known(Lookup::Large(_)) | Glance::Needs(..)) | Err(_) => return Cached::NeedsIo,
            }
        }
        Cached::Found(None)
    }

    /// The live keys from `start`, inclusive, to `end`, exclusive.
    pub fn scan(&self, start: Vec<u8>, end: Vec<u8>) -> Scan<S> {
        let end: Rc<[u8]> = end.into();
        let active = Some(self.active.borrow().clone());
        let tables = active.into_iter().chain(self.frozen.borrow().clone());
        let mut sources: Vec<Source<S>> = tables.map(|table| Source::table(table.cursor(&start))).collect();
        let levels = self.levels();
        let tiers = levels.tiers().filter(|tier| tier.overlaps(&start, &end));
        let cursor = |tier: &Rc<Tier<S>>| {
            Source::tier(TierCursor::new(tier.runs().clone(), Reading::Cached, Some(end.clone())))
        };
        sources.extend(tiers.map(cursor));
        Scan::new(sources, start, end)
    }

    /// Bytes of the active memtable; `freeze` makes it 0 again.
    pub fn memtable_bytes(&self) -> usize {
        self.active.borrow().bytes()
    }

    /// Bytes of the frozen memtable, until its runs are installed.
    pub fn frozen_bytes(&self) -> usize {
        self.frozen.borrow().as_ref().map_or(0, |frozen| frozen.bytes())
    }

    /// Sets the active memtable aside for `flush`; false when it is empty or another one is set aside.
    pub fn freeze(&self) -> bool {
        if self.frozen.borrow().is_some() || self.active.borrow().is_empty() {
            return false;
        }
        let active = self.active.take();
        self.frozen.replace(Some(active));
        true
    }

    /// Writes the frozen memtable as runs, durable and staged. Does nothing when there is none, when
    /// it is already staged, or while another call works on it.
    pub async fn flush(&self) -> Result<()> {
        let staged = self.staged.borrow().iter().any(|staged| staged.flush);
        let frozen = self.frozen.borrow().clone();
        let Some(frozen) = frozen.filter(|_| !staged && !self.flushing.get()) else { return Ok(()) };
        let _guard = Flushing::begin(&self.flushing);
        let to_bottom = self.levels.borrow().is_empty();
        let table = frozen.share();
        let work = self.work(table.len() as u64, to_bottom, Input::Table(table));
        let runs = self.perform(work, &[]).await?;
        self.stage(Change { removed: Vec::new(), level: 0, added: tier_of(runs), in_place: false }, true);
        Ok(())
    }

    /// Whether `merge` has something to do.
    pub fn needs_merge(&self) -> bool {
        self.levels.borrow().pick().is_some()
    }

    /// Performs the most urgent merge; its runs are durable and staged. May run beside `flush` and
    /// beside other merges, which it never gets in the way of.
    pub async fn merge(&self) -> Result<()> {
        let Some(job) = self.levels.borrow().pick() else { return Ok(()) };
        self.replace(&job).await
    }

    /// Writes a tier anew of which a run is chosen; durable and staged, as by `merge`. False when there is none.
    pub async fn rewrite(&self, is_chosen: impl Fn(&Run<S>) -> bool) -> Result<bool> {
        let job = self.levels.borrow().pick_tier(|tier| tier.runs().iter().any(|run| is_chosen(run)));
        match job {
            Some(job) => self.replace(&job).await.map(|()| true),
            None => Ok(false),
        }
    }

    async fn replace(&self, job: &Job<S>) -> Result<()> {
        let mut claim = Claim::new(job);
        let facts = |tier: &Rc<Tier<S>>| tier.runs().iter().map(|run| run.facts().clone()).collect();
        let entries = job.inputs.iter().flat_map(|tier| tier.runs().iter()).map(|run| run.footer().entries);
        let (entries, tiers) = (entries.sum(), job.inputs.iter().map(facts).collect());
        let work = self.work(entries, job.to_bottom, Input::Tiers(tiers));
        let work = Work { in_place: job.in_place, ..work };
        let runs = self.perform(work, &job.inputs).await?;
        claim.kept = true;
        let Job { inputs, output_level, in_place, .. } = job;
        let (removed, added) = (inputs.clone(), tier_of(runs));
        self.stage(Change { removed, level: *output_level, added, in_place: *in_place }, false);
        Ok(())
    }

    /// The runs of the durable list; they stay readable as long as they are held.
    pub fn runs(&self) -> Vec<Rc<Run<S>>> {
        self.levels.borrow().runs().cloned().collect()
    }

    /// The list of runs with all staged ones, to be made durable before `installed`.
    pub fn encode_levels(&self) -> Vec<u8> {
        let mut levels = self.levels();
        for staged in self.staged.borrow_mut().iter_mut() {
            staged.encoded = true;
            staged.change.added_runs().for_each(|run| run.set_fate(Fate::Keep));
            levels = Rc::new(levels.apply(&staged.change));
        }
        levels.encode(self.shard, self.next_run.get())
    }

    /// What `encode_levels` last gave is durable: from now on readers use it, and the space of
    /// replaced runs is given back when the last reader is done.
    pub fn installed(&self) {
        let staged = self.staged.take();
        let (encoded, later) = staged.into_iter().partition(|staged| staged.encoded);
        self.staged.replace(later);
        let encoded: Vec<Staged<S>> = encoded;
        for staged in encoded {
            let levels = self.levels.borrow().apply(&staged.change);
            self.levels.replace(Rc::new(levels));
            staged.change.give_up_removed();
            if staged.flush
                && let Some(frozen) = self.frozen.take()
            {
                self.store.discard(frozen.share());
            }
        }
    }

    /// Sorted sequences beyond those that merging leaves.
    pub fn backlog(&self) -> usize {
        self.levels.borrow().backlog()
    }

    /// All extents of the runs of the durable list.
    pub fn extents(&self) -> Vec<MirroredExtent> {
        self.levels.borrow().runs().flat_map(|run| run.extents()).collect()
    }

    pub fn stats(&self) -> IndexStats {
        let levels = self.levels.borrow();
        let memtable_bytes = (self.memtable_bytes() + self.frozen_bytes()) as u64;
        let mut stats =
            IndexStats { memtable_bytes, tiers: levels.tiers().count() as u64, ..Default::default() };
        for run in levels.runs() {
            stats.runs += 1;
            stats.entries += run.footer().entries;
            stats.tombstones += run.footer().tombstones;
            stats.run_bytes += run.footer().bytes;
        }
        stats
    }

    fn get_from_memtables(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let known = self.active.borrow().get(key);
        known.or_else(|| self.frozen.borrow().as_ref()?.get(key))
    }

    fn levels(&self) -> Rc<Levels<S>> {
        self.levels.borrow().clone()
    }

    /// A job of at most `entries` entries, so of at most as many runs.
    fn work(&self, entries: u64, to_bottom: bool, input: Input) -> Work {
        let first = self.next_run.get();
        self.next_run.set(first + entries);
        Work {
            shard: self.shard,
            sizes: self.sizes,
            names: first..first + entries,
            to_bottom,
            in_place: false,
            input,
        }
    }

    /// Has the work done and opens what came of it. `inputs` are the tiers that it merges.
    async fn perform(&self, work: Work, inputs: &[Rc<Tier<S>>]) -> Result<Vec<Rc<Run<S>>>> {
        let names = work.names.clone();
        let pieces = self.store.forge(work).await?;
        let mut runs = Vec::with_capacity(pieces.len());
        let mut unused = names.start;
        for piece in pieces {
            let run = match piece {
                Piece::Kept(name) => {
                    inputs.iter().flat_map(|tier| tier.runs().iter()).find(|run| run.id() == name).cloned()
                }
                Piece::Made(facts, warm) => {
                    unused = facts.root.id + 1;
                    let (store, cache) = (self.store.clone(), self.cache.clone());
                    let run = Run::known(store, cache, self.shard, *facts, Fate::Free);
                    run.warm(warm);
                    Some(Rc::new(run))
                }
            };
            runs.push(run.expect("what is kept was an input"));
        }
        // Nobody has reserved names since: those left over go to the next job.
        if self.next_run.get() == names.end {
            self.next_run.set(unused);
        }
        Ok(runs)
    }

    fn stage(&self, change: Change<S>, flush: bool) {
        self.staged.borrow_mut().push(Staged { change, flush, encoded: false });
    }
}

fn tier_of<S: RunStore>(runs: Vec<Rc<Run<S>>>) -> Option<Rc<Tier<S>>> {
    (!runs.is_empty()).then(|| Rc::new(Tier::new(runs)))
}

/// A flush in progress.
struct Flushing<'a>(&'a Cell<bool>);

impl<'a> Flushing<'a> {
    fn begin(flag: &'a Cell<bool>) -> Self {
        assert!(!flag.replace(true));
        Flushing(flag)
    }
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Keeps other merges off the inputs of one, until it fails or for ever.
struct Claim<'a, S: RunStore> {
    job: &'a Job<S>,
    kept: bool,
}

impl<'a, S: RunStore> Claim<'a, S> {
    fn new(job: &'a Job<S>) -> Self {
        job.inputs.iter().for_each(|tier| tier.set_busy(true));
        Claim { job, kept: false }
    }
}

impl<S: RunStore> Drop for Claim<'_, S> {
    fn drop(&mut self) {
        if !self.kept {
            self.job.inputs.iter().for_each(|tier| tier.set_busy(false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::naive::NaiveStore;
    use crate::catalog::run::writer::RunSizes;

    const SIZES: RunSizes = RunSizes { run_bytes: 100_000, partition_keys: 500 };

    async fn open(store: &NaiveStore) -> Index<NaiveStore> {
        Index::open_with(store.clone(), BlockCache::new(1 << 24), ShardId(1), &[], SIZES).await.unwrap()
    }

    fn key(n: usize) -> Vec<u8> {
        format!("bucket/key-{n:08}").into_bytes()
    }

    async fn settle(index: &Index<NaiveStore>) {
        index.freeze();
        index.flush().await.unwrap();
        index.encode_levels();
        index.installed();
        while index.needs_merge() {
            index.merge().await.unwrap();
            index.encode_levels();
            index.installed();
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn deleting_everything_gives_all_space_back() {
        let store = NaiveStore::default();
        let index = open(&store).await;
        for n in 0..20_000 {
            index.apply(&key(n), Some(&[1; 100]));
            if n % 3000 == 0 {
                settle(&index).await;
            }
        }
        settle(&index).await;
        assert!(!store.live().is_empty());
        (0..20_000).for_each(|n| index.apply(&key(n), None));
        settle(&index).await;
        assert_eq!((index.stats().runs, store.live().len()), (0, 0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn keys_that_come_in_order_are_not_rewritten_for_ever() {
        let store = NaiveStore::default();
        let index = open(&store).await;
        for n in 0..100_000 {
            index.apply(&key(n), Some(&[1; 100]));
            if n % 500 == 0 {
                settle(&index).await;
            }
        }
        settle(&index).await;
        let stats = index.stats();
        assert_eq!(stats.entries, 100_000);
        assert!(store.bytes_written() < 5 * stats.run_bytes, "{} for {stats:?}", store.bytes_written());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_absent_key_costs_no_read() {
        let store = NaiveStore::default();
        let index = open(&store).await;
        for n in 0..20_000 {
            index.apply(&key(2 * n), Some(&[1; 100]));
        }
        settle(&index).await;
        let reads = store.reads();
        let known = (0..20_000).filter(|n| index.get_cached(&key(2 * n + 1)) == Cached::Found(None)).count();
        assert!(known > 19_000, "{known} of 20000 were answered from filters");
        assert_eq!(store.reads(), reads);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_happens_between_list_and_installed_waits_for_the_next_list() {
        let store = NaiveStore::default();
        let index = open(&store).await;
        index.apply(b"a", Some(b"1"));
        assert!(index.freeze() && !index.freeze());
        let list = index.encode_levels();
        index.flush().await.unwrap();
        index.installed();
        assert!(index.frozen_bytes() > 0, "the list did not name the flushed run");
        assert_ne!(index.encode_levels(), list);
        index.installed();
        assert_eq!(index.frozen_bytes(), 0);
        assert_eq!(index.get(b"a").await.unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(NaiveStore::addresses(&index.extents()), store.live());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_list_of_another_shard_or_a_damaged_one_is_refused() {
        let store = NaiveStore::default();
        let index = open(&store).await;
        index.apply(b"a", Some(b"1"));
        settle(&index).await;
        let mut list = index.encode_levels();
        let cache = BlockCache::new(0);
        assert!(Index::open(store.clone(), cache.clone(), ShardId(2), &list).await.is_err());
        for bit in 0..list.len() * 8 {
            list[bit / 8] ^= 1 << (bit % 8);
            assert!(Index::open(store.clone(), cache.clone(), ShardId(1), &list).await.is_err());
            list[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(Index::open(store.clone(), cache, ShardId(1), &list).await.is_ok());
    }
}
