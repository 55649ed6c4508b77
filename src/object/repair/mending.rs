//! What a shard repairs itself when it is scrubbed: its runs, and its part of the log.
//!
//! Both live with their owner, so a scrub on another core asks for them piece by piece, each piece short enough to be
//! paced. A run with fewer copies than it should have is rewritten unchanged. A log segment that lost mirrors, or shows
//! damage on one, is marked to be emptied soon, which turns what is alive in it into coded stripes.

use std::rc::Rc;

use crate::base::ids::{DriveId, LogId};
use crate::base::limits::PAGE;
use crate::catalog::batch;
use crate::catalog::replay::read_window;
use crate::drive::device::DriveSet;
use crate::drive::segment::Mirror;
use crate::object::error::ObjectError;
use crate::object::shard::Shard;
use crate::pool::headers::Sample;
use crate::pool::logs::Mirrors;
use crate::pool::mend::Mended;

/// What a look at a log segment found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// That were read.
    pub bytes: u64,
    /// It is to be emptied: until it is, what lives in it has fewer mirrors than it should.
    pub is_weak: bool,
}

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

    /// The log segments of the core that owns the shard. One that lacks mirrors is full at once.
    pub async fn log_segments(self: Rc<Self>) -> Result<Vec<LogId>, ObjectError> {
        self.log.leave(|_, mirrors| self.lacks_mirrors(mirrors)).await?;
        Ok(self.log.segments.ids())
    }

    /// Ends the log segment that is being written, and lets go of the next one, if a mirror stands on these drives:
    /// only full ones are emptied.
    pub async fn leave_logs_on(self: Rc<Self>, drives: DriveSet) -> Result<(), ObjectError> {
        let stands_there = |mirrors: &Mirrors| mirrors.iter().any(|mirror| drives.contains(mirror.drive));
        self.log.drop_prepared(stands_there).await;
        Ok(self.log.leave(|_, mirrors| stands_there(mirrors)).await?)
    }

    /// Writes the manifest anew, into both slots of every drive in service: nothing else looks at what stands there
    /// before the next start.
    pub async fn renew_manifest(self: Rc<Self>) -> Result<(), ObjectError> {
        self.write_manifest().await?;
        self.write_manifest().await
    }

    /// Whether a log segment is still there.
    pub async fn has_log(self: Rc<Self>, id: LogId) -> Result<bool, ObjectError> {
        Ok(self.log.mirrors(id).is_some())
    }

    /// Checks the headers of the shard's segments, and writes wrong ones again.
    pub async fn mend_headers(self: Rc<Self>) -> Result<Vec<(DriveId, Sample)>, ObjectError> {
        Ok(self.space.mend_headers().await)
    }

    /// Counts the mirrors of a log segment, and reads them if asked to, as far as they are written by now; ends and
    /// marks it when it should be emptied.
    pub async fn check_log(self: Rc<Self>, id: LogId, reads: bool) -> Result<Checked, ObjectError> {
        let mut checked = Checked::default();
        let (Some(bytes), Some(mirrors)) = (self.log.segments.written(id), self.log.mirrors(id)) else {
            return Ok(checked);
        };
        checked.is_weak = self.lacks_mirrors(&mirrors);
        for mirror in self.in_service(&mirrors).copied() {
            if checked.is_weak || !reads {
                break;
            }
            checked.bytes += u64::from(bytes);
            checked.is_weak |= !self.is_whole(id, bytes, mirror).await;
        }
        if checked.is_weak {
            self.log.leave(|current, _| current == id).await?;
            self.log.segments.mark_weak(id);
        }
        Ok(checked)
    }

    fn in_service<'m>(&self, mirrors: &'m [Mirror]) -> impl Iterator<Item = &'m Mirror> {
        mirrors.iter().filter(|mirror| self.pool.drives.is_in_service(mirror.drive))
    }

    /// Whether the pool can give a segment more mirrors than it has.
    fn lacks_mirrors(&self, mirrors: &[Mirror]) -> bool {
        self.pool.mirrors().is_ok_and(|wanted| self.in_service(mirrors).count() < wanted)
    }

    /// Whether one mirror holds every batch of the segment, up to `bytes`.
    async fn is_whole(&self, id: LogId, bytes: u32, mirror: Mirror) -> bool {
        let mut offset = PAGE as u32;
        while offset < bytes {
            let window = read_window(&self.pool, id, &[mirror], offset).await;
            let Ok(Some(window)) = window else { return false };
            let mut at = 0;
            while offset < bytes
                && let Some((_, len)) = batch::read(&window[at..], self.pool.geometry.pool, id, offset)
            {
                at += len;
                offset += len as u32;
            }
        }
        true
    }
}
