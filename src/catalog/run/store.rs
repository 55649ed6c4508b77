//! The storage beneath the index, as the index sees it: mirrored extents that are written once,
//! read in pieces and given back.
//!
//! Owns the trait only; the shards implement it over drives, the tests in memory. Everything is
//! single-threaded: futures are not `Send`, handles are cheap clones. Only `forge` may have its work done
//! on another thread.

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::error::Result;
use crate::catalog::forge::{self, Piece, Work};
use crate::catalog::memtable::Table;
use crate::io::buffer::AlignedBuf;
use crate::pool::extent::MirroredExtent;
use crate::pool::mend::Mended;

#[allow(async_fn_in_trait, reason = "one thread: no caller needs the futures to be Send")]
pub trait RunStore: Clone + 'static {
    /// Allocates mirrored space and writes `data` (a multiple of `limits::PAGE`, at most
    /// `limits::RUN_EXTENT_BYTES`) to every copy. Not durable before `sync`.
    async fn write(&self, data: AlignedBuf) -> Result<MirroredExtent>;

    /// Makes everything written so far durable. Calls overlap: one that begins while another is under
    /// way, or after it failed, still answers for every write that came back before it began.
    async fn sync(&self) -> Result<()>;

    /// Reads `len` bytes at `offset` of `extent` (both multiples of `limits::PAGE`) from the first
    /// copy whose bytes `verify` accepts; an error when none does.
    async fn read(
        &self,
        extent: &MirroredExtent,
        offset: u32,
        len: u32,
        verify: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Bytes>;

    /// Gives space back. Called once per extent, when no reader can use it any more.
    fn free(&self, extent: &MirroredExtent);

    /// Does a flush or a merge, here or where it disturbs less. The caller owns what it answers.
    async fn forge(&self, work: Work) -> Result<Vec<Piece>> {
        forge::here(self, work).await
    }

    /// The table is written out and nobody needs it any more; dropping it takes a while.
    fn discard(&self, table: Arc<Table>) {
        drop(table);
    }
}

/// A store whose copies can be looked after one by one.
#[allow(async_fn_in_trait, reason = "one thread: no caller needs the futures to be Send")]
pub trait MendStore: RunStore {
    /// Checks `len` bytes at `offset` in every copy and writes those that are wrong from one that is right, not
    /// durable before `sync`.
    async fn mend(
        &self,
        extent: &MirroredExtent,
        offset: u32,
        len: u32,
        verify: &dyn Fn(&[u8]) -> bool,
    ) -> Mended;

    /// Whether the extent has fewer copies than one that is written now.
    fn is_narrow(&self, extent: &MirroredExtent) -> bool;
}
