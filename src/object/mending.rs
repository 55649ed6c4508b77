//! What a shard does itself when it is looked after: its runs, and its part of the log.
//!
//! Both live with their owner, so a scrub elsewhere asks for them piece by piece, each piece short enough to be
//! paced. A run with fewer copies than it should have is written anew as it is; a log segment that lost mirrors,
//! or shows damage on one, is marked so that it is emptied soon, which makes coded stripes of what lives in it.

use std::rc::Rc;

use super::error::ObjectError;
use super::shard::Shard;
use crate::base::ids::LogId;
use crate::base::limits::PAGE;
use crate::catalog::batch;
use crate::catalog::log::Sealed;
use crate::catalog::replay::read_window;
use crate::drive::segment::Mirror;
use crate::pool::mend::Mended;

impl Shard {
    /// Numbers of the runs of the catalog.
    pub async fn run_ids(self: Rc<Self>) -> Result<Vec<u64>, ObjectError> {
        Ok(self.index.runs().iter().map(|run| run.id()).collect())
    }

    /// Mends one partition of a run, its footer with the first; `None` behind the last, or when the run was
    /// merged into another meanwhile.
    pub async fn mend_run(self: Rc<Self>, id: u64, partition: usize) -> Result<Option<Mended>, ObjectError> {
        let Some(run) = self.index.runs().into_iter().find(|run| run.id() == id) else { return Ok(None) };
        let root = if partition == 0 { run.mend_root().await? } else { Mended::default() };
        let mended = run.mend_partition(partition).await?;
        Ok(mended.map(|mut mended| {
            mended += root;
            mended
        }))
    }

    /// Writes one tier of runs anew that lacks copies; false when there is none.
    pub async fn widen_runs(self: Rc<Self>) -> Result<bool, ObjectError> {
        let _merging = self.merging().await;
        let found = self.index.rewrite(|run| run.is_narrow()).await?;
        if found {
            self.write_manifest().await?;
        }
        Ok(found)
    }

    /// The full log segments of the core that owns the shard.
    pub async fn log_segments(self: Rc<Self>) -> Result<Vec<LogId>, ObjectError> {
        Ok(self.log.sealed().iter().map(|sealed| sealed.id).collect())
    }

    /// Counts the mirrors of a full log segment, and reads them if asked to; marks it when it should be
    /// emptied. Bytes that were read.
    pub async fn check_log(self: Rc<Self>, id: LogId, reads: bool) -> Result<u64, ObjectError> {
        let Some(sealed) = self.log.sealed().into_iter().find(|sealed| sealed.id == id) else { return Ok(0) };
        let Some(mirrors) = self.log.mirrors(id) else { return Ok(0) };
        let is_healthy = |mirror: &&Mirror| self.pool.drives.is_healthy(mirror.drive);
        let healthy: Vec<Mirror> = mirrors.iter().filter(is_healthy).copied().collect();
        let mut is_weak = self.pool.mirrors().is_ok_and(|wanted| healthy.len() < wanted);
        let mut bytes = 0;
        for mirror in healthy {
            if is_weak || !reads {
                break;
            }
            bytes += u64::from(sealed.bytes);
            is_weak |= !self.is_whole(&sealed, mirror).await;
        }
        if is_weak {
            self.log.mark_weak(id);
        }
        Ok(bytes)
    }

    /// Whether one mirror holds every batch of the segment.
    async fn is_whole(&self, sealed: &Sealed, mirror: Mirror) -> bool {
        let mut offset = PAGE as u32;
        while offset < sealed.bytes {
            let window = read_window(&self.pool, sealed.id, &[mirror], offset).await;
            let Ok(Some(window)) = window else { return false };
            let mut at = 0;
            while offset < sealed.bytes
                && let Some((_, len)) = batch::read(&window[at..], self.pool.geometry.pool, sealed.id, offset)
            {
                at += len;
                offset += len as u32;
            }
        }
        true
    }
}
