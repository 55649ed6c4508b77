//! Work on runs that need not happen where the index lives: a flush or a merge as a thing that can be sent.
//!
//! Owns [`Work`] (what is to be written: a frozen table, or runs that are known by their footers) and
//! [`Piece`] (what it became). Both are plain values, so that a shard may have the work done on another
//! thread; [`here`] does it on this one, with any store. Invariant: nobody owns what `here` has written
//! before it answers, and its runs are durable by then; a failed or abandoned job gives its space back.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::ids::ShardId;
use crate::base::limits;
use crate::catalog::error::Result;
use crate::catalog::memtable::Table;
use crate::catalog::merge;
use crate::catalog::run::reader::RunFacts;
use crate::catalog::run::store::RunStore;
use crate::catalog::run::writer::RunSizes;
use crate::pool::extent::MirroredExtent;

/// One job.
pub struct Work {
    pub shard: ShardId,
    pub sizes: RunSizes,
    /// Names for new runs, more than there can be of them.
    pub names: Range<u64>,
    /// Nothing older than the input exists: tombstones have done their work.
    pub to_bottom: bool,
    /// Every run is written anew, none keeps its place on the drives.
    pub in_place: bool,
    pub input: Input,
}

pub enum Input {
    Table(Arc<Table>),
    /// The runs of each tier in key order, the newest tier first.
    Tiers(Vec<Vec<RunFacts>>),
}

/// One of the runs that replace the input, in key order.
pub enum Piece {
    /// The input run of this name keeps its place on the drives.
    Kept(u64),
    Made(Box<RunFacts>, Warm),
}

/// Filter and index blocks of a new run by their numbers, so that it answers without reading.
pub type Warm = Vec<(u32, Bytes)>;

/// Does the work with `store`.
pub async fn here<S: RunStore>(store: &S, work: Work) -> Result<Vec<Piece>> {
    let drafts = match &work.input {
        Input::Table(table) => merge::flush(table, &work, store).await?,
        Input::Tiers(tiers) => merge::merge(tiers, &work, store).await?,
    };
    store.sync().await?;
    Ok(drafts.into_iter().map(merge::Draft::hand_over).collect())
}

impl Work {
    /// Bytes of runs that are read and written again.
    pub fn input_bytes(&self) -> u64 {
        match &self.input {
            Input::Table(_) => 0,
            Input::Tiers(tiers) => tiers.iter().flatten().map(|facts| facts.footer.bytes).sum(),
        }
    }

    /// Memory the work takes, its input left out: what is read ahead of each tier, and what is being written.
    pub fn bytes(&self) -> usize {
        let tiers = match &self.input {
            Input::Table(_) => 0,
            Input::Tiers(tiers) => tiers.len(),
        };
        2 * (tiers * limits::RUN_READ_BYTES_MAX + limits::RUN_EXTENT_BYTES) + limits::WARM_BYTES_MAX
    }
}

impl Piece {
    /// The space it has taken.
    pub fn extents(&self) -> Vec<MirroredExtent> {
        match self {
            Piece::Kept(_) => Vec::new(),
            Piece::Made(facts, _) => facts.extents().collect(),
        }
    }
}
