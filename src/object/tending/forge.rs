//! Flushes and merges of a shard on the background core: its runs are written there, in space that it lends.
//!
//! Owns [`perform`], which does one job, and the store it writes with: files of the background core, space of
//! the shard, asked for through the owner's inbox. Invariants: space is given back when a job fails, is given
//! up or is not wanted any more, and never while a write to it is in flight; what a job answers is durable.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::pace::{GivenUp, Pace, Urgency};
use crate::base::ids::ShardId;
use crate::base::limits::MERGE_SMALL_BYTES;
use crate::base::metrics::JobKind;
use crate::catalog::error::CatalogError;
use crate::catalog::forge::{self, Input, Piece, Work};
use crate::catalog::run::store::RunStore;
use crate::drive::device::{Area, DriveSet};
use crate::io::buffer::AlignedBuf;
use crate::object::content::writer::back_to_pool;
use crate::object::core::{Core, Loan};
use crate::object::error::ObjectError;
use crate::object::shard::Shard;
use crate::pool::error::PoolError;
use crate::pool::extent::MirroredExtent;
use crate::pool::mirror;

/// New runs, and the space they have taken until whoever asked keeps it.
pub type Forged = (Vec<Piece>, Loan);

/// Does one job on a background core.
pub async fn perform(core: Rc<Core>, work: Work, urgency: Urgency) -> Result<Forged, CatalogError> {
    let shard = work.shard;
    // What is short waits for nothing that is long, and takes one turn at a time; the memory of that is small.
    let (kind, _turn, _memory) = match &work.input {
        Input::Table(_) => (JobKind::Flush, Some(core.duty.flushing.lock().await), None),
        Input::Tiers(_) if work.input_bytes() < MERGE_SMALL_BYTES => {
            (JobKind::Merge, Some(core.duty.merging_small.lock().await), None)
        }
        Input::Tiers(_) => (JobKind::Merge, None, Some(core.duty.merging.acquire(work.bytes()).await)),
    };
    let pace = Rc::new(Pace::new(&core, kind, urgency));
    let store = LentRuns { core: core.clone(), shard, pace, touched: Rc::default() };
    let pieces = forge::here(&store, work).await?;
    let extents: Vec<MirroredExtent> = pieces.iter().flat_map(Piece::extents).collect();
    let undo =
        move |shard: &Rc<Shard>| extents.iter().for_each(|extent| shard.space.release_mirrored(extent));
    Ok((pieces, Loan::new(&core.peers, shard, undo)))
}

/// The storage of a shard's runs as a background core has it, for one job.
#[derive(Clone)]
struct LentRuns {
    core: Rc<Core>,
    shard: ShardId,
    pace: Rc<Pace>,
    /// Drives the job has written to.
    touched: Rc<RefCell<DriveSet>>,
}

impl LentRuns {
    async fn place(&self, len: u32) -> Result<MirroredExtent, CatalogError> {
        let (peers, id) = (self.core.peers.clone(), self.shard);
        let placed = self.core.on_shard(id, move |shard| async move {
            let extent = shard.space.place_mirrored(len).await?;
            let lent = extent.clone();
            let undo = move |shard: &Rc<Shard>| shard.space.release_mirrored(&lent);
            Ok((extent, Loan::new(&peers, id, undo)))
        });
        let (extent, loan) = placed.await.map_err(back_to_pool)?;
        // From here on it comes back through `free`, and only when nothing is written to it any more.
        loan.keep();
        Ok(extent)
    }
}

impl RunStore for LentRuns {
    async fn write(&self, data: AlignedBuf) -> Result<MirroredExtent, CatalogError> {
        let extent = self.place(data.len() as u32).await?;
        let (data, len) = (Arc::new(data), extent.len as usize);
        let drives = &self.core.pool.drives;
        let failed = mirror::write_mirrored(drives, Area::Data, &extent, 0, &data, 0..len).await;
        if let Some((_, error)) = failed.into_iter().next() {
            self.free(&extent);
            return Err(PoolError::from(error).into());
        }
        extent.copies.iter().for_each(|address| self.touched.borrow_mut().insert(address.drive));
        if let Err(given_up) = self.pace.step(len as u64).await {
            self.free(&extent);
            return Err(given_up.into());
        }
        Ok(extent)
    }

    async fn sync(&self) -> Result<(), CatalogError> {
        let touched = *self.touched.borrow();
        match self.core.pool.drives.flush(&touched).await.into_iter().next() {
            None => Ok(()),
            Some((_, error)) => Err(PoolError::from(error).into()),
        }
    }

    async fn read(
        &self,
        extent: &MirroredExtent,
        offset: u32,
        len: u32,
        verify: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Bytes, CatalogError> {
        let drives = &self.core.pool.drives;
        let read = mirror::read_mirrored(drives, Area::Data, extent, offset, len as usize, verify).await;
        self.pace.step(0).await?;
        Ok(read?)
    }

    fn free(&self, extent: &MirroredExtent) {
        let extent = extent.clone();
        self.core.tell(self.shard, move |shard| shard.space.release_mirrored(&extent));
    }
}

impl From<GivenUp> for CatalogError {
    fn from(given_up: GivenUp) -> Self {
        io::Error::other(given_up).into()
    }
}

impl From<GivenUp> for ObjectError {
    fn from(_: GivenUp) -> Self {
        ObjectError::SlowDown
    }
}
