//! The storage of a shard's catalog runs: mirrored extents in the shard's own space.
//!
//! What the index writes is placed on as many drives as a durable structure needs and becomes
//! durable with `sync`. Runs use the reserve of a full drive: deleting needs them. Flushes and merges are
//! handed to the background core while there is one; before the core serves, and when it stops, they
//! happen here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::background::Foreman;
use super::forge as background;
use super::pressure::Pressure;
use crate::base::ids::DriveId;
use crate::catalog::error::CatalogError;
use crate::catalog::forge::{self, Input, Piece, Work};
use crate::catalog::memtable::Table;
use crate::catalog::run::store::{MendStore, RunStore};
use crate::drive::device::{Area, DriveSet};
use crate::io::buffer::AlignedBuf;
use crate::pool::Pool;
use crate::pool::error::PoolError;
use crate::pool::extent::MirroredExtent;
use crate::pool::mend::Mended;
use crate::pool::mirror;
use crate::pool::place::ShardSpace;

#[derive(Clone)]
pub struct ShardRuns {
    pool: Rc<Pool>,
    space: Rc<ShardSpace>,
    touched: Rc<RefCell<Touched>>,
    foreman: Rc<Foreman>,
    pressure: Rc<Pressure>,
}

/// Writes that are not durable yet: the number of the last one to each drive.
#[derive(Default)]
struct Touched {
    writes: u64,
    last: BTreeMap<DriveId, u64>,
}

impl ShardRuns {
    pub fn new(pool: Rc<Pool>, space: Rc<ShardSpace>, foreman: Rc<Foreman>, pressure: Rc<Pressure>) -> Self {
        ShardRuns { pool, space, touched: Rc::default(), foreman, pressure }
    }
}

impl RunStore for ShardRuns {
    async fn write(&self, data: AlignedBuf) -> Result<MirroredExtent, CatalogError> {
        let extent = self.space.place_mirrored(data.len() as u32).await?;
        let (data, len) = (Arc::new(data), extent.len as usize);
        let failed = mirror::write_mirrored(&self.pool.drives, Area::Data, &extent, 0, &data, 0..len).await;
        if let Some((_, error)) = failed.into_iter().next() {
            self.space.release_mirrored(&extent);
            return Err(PoolError::from(error).into());
        }
        self.touched.borrow_mut().touch(&extent);
        Ok(extent)
    }

    async fn sync(&self) -> Result<(), CatalogError> {
        let begun = self.touched.borrow().last.clone();
        let drives: DriveSet = begun.keys().copied().collect();
        let failed = self.pool.drives.flush(&drives).await.into_iter().next();
        // A drive that fails this is latched and takes no more flush: what is written next is not to fail by it again.
        self.touched.borrow_mut().settle(&begun);
        failed.map_or(Ok(()), |(_, error)| Err(PoolError::from(error).into()))
    }

    async fn read(
        &self,
        extent: &MirroredExtent,
        offset: u32,
        len: u32,
        verify: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Bytes, CatalogError> {
        let (drives, len) = (&self.pool.drives, len as usize);
        Ok(mirror::read_mirrored(drives, Area::Data, extent, offset, len, verify).await?)
    }

    fn free(&self, extent: &MirroredExtent) {
        self.space.release_mirrored(extent);
    }

    async fn forge(&self, work: Work) -> Result<Vec<Piece>, CatalogError> {
        if !self.foreman.is_open() {
            // A job flushes what it has written itself: another may be written beside it, or have failed before it.
            let own = ShardRuns { touched: Rc::default(), ..self.clone() };
            return forge::here(&own, work).await;
        }
        let urgency = match &work.input {
            Input::Table(_) => self.pressure.flush.clone(),
            Input::Tiers(_) => self.pressure.merge.clone(),
        };
        let forged = self.foreman.hire(move |core| background::perform(core, work, urgency)).await;
        let (pieces, loan) = forged.unwrap_or(Err(PoolError::Stopped.into()))?;
        // The index owns the runs in the same breath.
        loan.keep();
        Ok(pieces)
    }

    fn discard(&self, table: Arc<Table>) {
        self.foreman.discard(table);
    }
}

impl MendStore for ShardRuns {
    async fn mend(
        &self,
        extent: &MirroredExtent,
        offset: u32,
        len: u32,
        verify: &dyn Fn(&[u8]) -> bool,
    ) -> Mended {
        let held = self.space.held_mirrored(extent);
        let (drives, len) = (&self.pool.drives, len as usize);
        let mended = mirror::mend_mirrored(drives, Area::Data, &held, offset, len, verify).await;
        self.touched.borrow_mut().touch_drives(&mended.written);
        mended
    }

    fn is_narrow(&self, extent: &MirroredExtent) -> bool {
        let held = self.space.held_mirrored(extent);
        let copies = held.copies.iter().filter(|copy| !self.pool.is_given_up(copy.drive)).count();
        self.pool.mirrors().is_ok_and(|mirrors| copies < mirrors)
    }
}

impl Touched {
    fn touch(&mut self, extent: &MirroredExtent) {
        self.writes += 1;
        self.last.extend(extent.copies.iter().map(|copy| (copy.drive, self.writes)));
    }

    fn touch_drives(&mut self, drives: &DriveSet) {
        self.writes += 1;
        self.last.extend(drives.iter().map(|drive| (drive, self.writes)));
    }

    /// What was written up to `begun` is durable. A drive that was written again since stays.
    fn settle(&mut self, begun: &BTreeMap<DriveId, u64>) {
        self.last.retain(|drive, write| begun.get(drive).is_none_or(|known| *write > *known));
    }
}
