//! The storage of a shard's catalog runs: mirrored extents in the shard's own space.
//!
//! What the index writes is placed on as many drives as a durable structure needs and becomes
//! durable with `sync`. Runs use the reserve of a full drive: deleting needs them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::error::CatalogError;
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
    /// Drives written since the last sync.
    touched: Rc<RefCell<DriveSet>>,
}

impl ShardRuns {
    pub fn new(pool: Rc<Pool>, space: Rc<ShardSpace>) -> Self {
        ShardRuns { pool, space, touched: Rc::default() }
    }
}

impl RunStore for ShardRuns {
    async fn write(&self, data: AlignedBuf) -> Result<MirroredExtent, CatalogError> {
        let extent = self.space.place_mirrored(data.len() as u32).await.map_err(store_error)?;
        let (data, len) = (Arc::new(data), extent.len as usize);
        let failed = mirror::write_mirrored(&self.pool.drives, Area::Data, &extent, 0, &data, 0..len).await;
        if let Some((_, error)) = failed.into_iter().next() {
            self.space.release_mirrored(&extent);
            return Err(store_error(error.into()));
        }
        extent.copies.iter().for_each(|address| self.touched.borrow_mut().insert(address.drive));
        Ok(extent)
    }

    async fn sync(&self) -> Result<(), CatalogError> {
        let touched = self.touched.take();
        match self.pool.drives.flush(&touched).await.into_iter().next() {
            None => Ok(()),
            Some((_, error)) => Err(store_error(error.into())),
        }
    }

    async fn read(
        &self,
        extent: &MirroredExtent,
        offset: u32,
        len: u32,
        verify: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Bytes, CatalogError> {
        let (drives, len) = (&self.pool.drives, len as usize);
        mirror::read_mirrored(drives, Area::Data, extent, offset, len, verify).await.map_err(store_error)
    }

    fn free(&self, extent: &MirroredExtent) {
        self.space.release_mirrored(extent);
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
        self.touched.borrow_mut().union(&mended.written);
        mended
    }

    fn is_narrow(&self, extent: &MirroredExtent) -> bool {
        let copies = self.space.held_mirrored(extent).copies.len();
        self.pool.mirrors().is_ok_and(|mirrors| copies < mirrors)
    }
}

fn store_error(error: PoolError) -> CatalogError {
    std::io::Error::other(error).into()
}
