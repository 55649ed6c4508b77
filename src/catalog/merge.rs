//! Writes what stays: merges tiers into new runs, and a memtable into its first run.
//!
//! Owns the course of a merge job. Inputs are cut where no run overlaps a neighbour; a piece that is
//! one large run with nothing to drop keeps its place on the drives, everything else is rewritten in
//! key order. Reads go past the block cache, so that every `limits::RUN_READ_BYTES_MAX` the job waits for
//! real I/O and other tasks run. Invariant: nothing of the inputs changes; a job that fails or is given up
//! frees what it wrote.

use std::rc::Rc;

use crate::base::limits;
use crate::catalog::cache::BlockCache;
use crate::catalog::error::Result;
use crate::catalog::forge::{Piece, Work};
use crate::catalog::memtable::Table;
use crate::catalog::run::block::Owner;
use crate::catalog::run::cursor::TierCursor;
use crate::catalog::run::reader::{Fate, Reading, Run, RunFacts};
use crate::catalog::run::store::RunStore;
use crate::catalog::run::writer::{Fresh, RunWriter};
use crate::catalog::union::{Source, Union, Value};

/// A run of the result.
pub enum Draft<S: RunStore> {
    /// An input run, by name.
    Kept(u64),
    Made(Box<Fresh<S>>),
}

/// Where new runs go: one writer after the other.
struct Output<'a, S: RunStore> {
    store: &'a S,
    work: &'a Work,
    next_name: u64,
    warm_left: usize,
    writer: Option<RunWriter<S>>,
    drafts: Vec<Draft<S>>,
}

/// Runs of the inputs that overlap only each other, with the number of their tier.
type Cluster<S> = Vec<(usize, Rc<Run<S>>)>;

/// The runs that replace the inputs, sorted and disjoint; none when everything was deleted.
pub async fn merge<S: RunStore>(tiers: &[Vec<RunFacts>], work: &Work, store: &S) -> Result<Vec<Draft<S>>> {
    let mut output = Output::new(store, work);
    for cluster in clusters(tiers, work, store) {
        match &cluster[..] {
            [(_, run)] if output.may_move(run) => output.keep(run.id()).await?,
            _ => rewrite(cluster, tiers.len(), &mut output).await?,
        }
    }
    output.finish().await
}

/// The runs that hold what the table does, tombstones too unless nothing is below.
pub async fn flush<S: RunStore>(table: &Table, work: &Work, store: &S) -> Result<Vec<Draft<S>>> {
    let mut output = Output::new(store, work);
    for entry in table.entries() {
        let value = entry.value_slice();
        if value.is_some() || !work.to_bottom {
            output.add(entry.key(), value).await?;
        }
    }
    output.finish().await
}

impl<S: RunStore> Draft<S> {
    /// The caller owns it from now on.
    pub fn hand_over(self) -> Piece {
        match self {
            Draft::Kept(name) => Piece::Kept(name),
            Draft::Made(fresh) => {
                let (facts, warm) = fresh.take_over();
                Piece::Made(Box::new(facts), warm)
            }
        }
    }
}

impl<'a, S: RunStore> Output<'a, S> {
    fn new(store: &'a S, work: &'a Work) -> Self {
        let (next_name, warm_left) = (work.names.start, limits::WARM_BYTES_MAX);
        Output { store, work, next_name, warm_left, writer: None, drafts: Vec::new() }
    }

    async fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if self.writer.as_ref().is_some_and(RunWriter::is_full) {
            self.close().await?;
        }
        let writer = self.writer.get_or_insert_with(|| {
            let run = self.next_name;
            assert!(self.work.names.contains(&run), "a run holds an entry or more");
            self.next_name += 1;
            let owner = Owner { shard: self.work.shard, run };
            RunWriter::new(self.store.clone(), owner, self.work.sizes, self.warm_left)
        });
        writer.add(key, value).await
    }

    /// Whether an input run that nothing overlaps keeps its place on the drives: it is large, has
    /// nothing to drop, and leaves no small run in front of it.
    fn may_move(&self, run: &Run<S>) -> bool {
        if self.work.in_place {
            return false;
        }
        let large = self.work.sizes.run_bytes / 2;
        let nothing_to_drop = !self.work.to_bottom || run.footer().tombstones == 0;
        let none_small = self.writer.as_ref().is_none_or(|writer| writer.bytes() >= large);
        run.footer().bytes >= large && nothing_to_drop && none_small
    }

    async fn keep(&mut self, name: u64) -> Result<()> {
        self.close().await?;
        self.drafts.push(Draft::Kept(name));
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            let fresh = writer.finish().await?;
            self.warm_left = fresh.warm_left();
            self.drafts.push(Draft::Made(Box::new(fresh)));
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<Draft<S>>> {
        self.close().await?;
        Ok(self.drafts)
    }
}

/// All input runs, in key order, grouped so that groups are disjoint.
fn clusters<S: RunStore>(tiers: &[Vec<RunFacts>], work: &Work, store: &S) -> Vec<Cluster<S>> {
    // A merge leaves the cache of the index alone, which may not even be on this thread.
    let cache = BlockCache::new(0);
    let open = |facts: &RunFacts| {
        Rc::new(Run::known(store.clone(), cache.clone(), work.shard, facts.clone(), Fate::Keep))
    };
    let tiers = tiers.iter().enumerate();
    let mut runs: Cluster<S> = tiers
        .flat_map(|(n, tier)| tier.iter().map(move |facts| (n, facts)))
        .map(|(n, f)| (n, open(f)))
        .collect();
    runs.sort_by(|(_, a), (_, b)| a.footer().first_key.cmp(&b.footer().first_key));
    let mut clusters: Vec<Cluster<S>> = Vec::new();
    let mut last_key = bytes::Bytes::new();
    for (n, run) in runs {
        let (first, last) = (run.footer().first_key.clone(), run.footer().last_key.clone());
        match clusters.last_mut() {
            Some(cluster) if first <= last_key => {
                cluster.push((n, run));
                last_key = last_key.max(last);
            }
            _ => {
                clusters.push(vec![(n, run)]);
                last_key = last;
            }
        }
    }
    clusters
}

async fn rewrite<S: RunStore>(cluster: Cluster<S>, tiers: usize, output: &mut Output<'_, S>) -> Result<()> {
    let mut tiers: Vec<Vec<Rc<Run<S>>>> = vec![Vec::new(); tiers];
    cluster.into_iter().for_each(|(n, run)| tiers[n].push(run));
    let tiers = tiers.into_iter().filter(|runs| !runs.is_empty());
    let cursors = tiers.map(|runs| Source::tier(TierCursor::new(runs.into(), Reading::Direct, None)));
    let mut union = Union::new(cursors.collect());
    while union.next().await? {
        match union.value() {
            Value::Tombstone if output.work.to_bottom => {}
            Value::Tombstone => output.add(union.key(), None).await?,
            Value::Inline(value) => output.add(union.key(), Some(value)).await?,
            Value::Large(run, refs) => {
                let value = run.large_value(refs, Reading::Direct).await?;
                output.add(union.key(), Some(&value)).await?;
            }
        }
    }
    Ok(())
}
