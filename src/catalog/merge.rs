//! Writes what stays: merges tiers into new runs, and a memtable into its first run.
//!
//! Owns the course of a merge job. Inputs are cut where no run overlaps a neighbour; a piece that is
//! one large run with nothing to drop keeps its place on the drives, everything else is rewritten in
//! key order. Reads go past the block cache, so that every
//! `limits::RUN_READ_BYTES_MAX` the job waits for real I/O and other tasks run. Invariant: nothing of the inputs changes; a job that fails or is
//! given up frees what it wrote.

use std::cell::Cell;
use std::rc::Rc;

use crate::base::ids::ShardId;
use crate::catalog::cache::BlockCache;
use crate::catalog::error::Result;
use crate::catalog::levels::Job;
use crate::catalog::memtable::Memtable;
use crate::catalog::run::block::Owner;
use crate::catalog::run::cursor::TierCursor;
use crate::catalog::run::reader::{Reading, Run};
use crate::catalog::run::store::RunStore;
use crate::catalog::run::writer::{RunSizes, RunWriter};
use crate::catalog::union::{Source, Union, Value};

/// Where new runs go: one writer after the other.
pub struct Output<'a, S: RunStore> {
    store: &'a S,
    cache: &'a Rc<BlockCache>,
    shard: ShardId,
    sizes: RunSizes,
    next_run: &'a Cell<u64>,
    writer: Option<RunWriter<S>>,
    runs: Vec<Rc<Run<S>>>,
}

/// Runs of the inputs that overlap only each other, with the number of their tier.
type Cluster<S> = Vec<(usize, Rc<Run<S>>)>;

/// The runs that replace the inputs, sorted and disjoint; none when everything was deleted.
pub async fn merge<S: RunStore>(job: &Job<S>, mut output: Output<'_, S>) -> Result<Vec<Rc<Run<S>>>> {
    for cluster in clusters(job) {
        match &cluster[..] {
            [(_, run)] if output.may_move(run, job) => output.put(run.clone()).await?,
            _ => rewrite(cluster, job, &mut output).await?,
        }
    }
    output.finish().await
}

/// The runs that hold what the table does, tombstones too unless `to_bottom`.
pub async fn flush<S: RunStore>(
    table: &Rc<Memtable>,
    to_bottom: bool,
    mut output: Output<'_, S>,
) -> Result<Vec<Rc<Run<S>>>> {
    let mut cursor = table.cursor(&[]);
    while let Some(entry) = cursor.entry() {
        let value = entry.value_slice();
        if value.is_some() || !to_bottom {
            output.add(entry.key(), value).await?;
        }
        cursor.advance();
    }
    output.finish().await
}

impl<'a, S: RunStore> Output<'a, S> {
    pub fn new(
        store: &'a S,
        cache: &'a Rc<BlockCache>,
        shard: ShardId,
        sizes: RunSizes,
        next_run: &'a Cell<u64>,
    ) -> Self {
        Output { store, cache, shard, sizes, next_run, writer: None, runs: Vec::new() }
    }

    async fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if self.writer.as_ref().is_some_and(RunWriter::is_full) {
            self.close().await?;
        }
        let writer = self.writer.get_or_insert_with(|| {
            let run = self.next_run.get();
            self.next_run.set(run + 1);
            let owner = Owner { shard: self.shard, run };
            RunWriter::new(self.store.clone(), self.cache.clone(), owner, self.sizes)
        });
        writer.add(key, value).await
    }

    /// Whether an input run that nothing overlaps keeps its place on the drives: it is large, has
    /// nothing to drop, and leaves no small run in front of it.
    fn may_move(&self, run: &Run<S>, job: &Job<S>) -> bool {
        if job.in_place {
            return false;
        }
        let large = self.sizes.run_bytes / 2;
        let nothing_to_drop = !job.to_bottom || run.footer().tombstones == 0;
        let none_small = self.writer.as_ref().is_none_or(|writer| writer.bytes() >= large);
        run.footer().bytes >= large && nothing_to_drop && none_small
    }

    async fn put(&mut self, run: Rc<Run<S>>) -> Result<()> {
        self.close().await?;
        self.runs.push(run);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.runs.push(Rc::new(writer.finish().await?));
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<Rc<Run<S>>>> {
        self.close().await?;
        Ok(self.runs)
    }
}

/// All input runs, in key order, grouped so that groups are disjoint.
fn clusters<S: RunStore>(job: &Job<S>) -> Vec<Cluster<S>> {
    let tiers = job.inputs.iter().enumerate();
    let mut runs: Cluster<S> =
        tiers.flat_map(|(n, tier)| tier.runs().iter().map(move |run| (n, run.clone()))).collect();
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

async fn rewrite<S: RunStore>(cluster: Cluster<S>, job: &Job<S>, output: &mut Output<'_, S>) -> Result<()> {
    let mut tiers: Vec<Vec<Rc<Run<S>>>> = vec![Vec::new(); job.inputs.len()];
    cluster.into_iter().for_each(|(n, run)| tiers[n].push(run));
    let tiers = tiers.into_iter().filter(|runs| !runs.is_empty());
    let cursors = tiers.map(|runs| Source::tier(TierCursor::new(runs.into(), Reading::Direct, None)));
    let mut union = Union::new(cursors.collect());
    while union.next().await? {
        match union.value() {
            Value::Tombstone if job.to_bottom => {}
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
