//! Full drives: the log goes on behind what an earlier start left in a segment.
//!
//! Every start begins segments, of which full drives have only few. Starts that are killed, each after a few deletions
//! that give no room back, would use them up, and then nothing could be deleted any more. So where no segment can be
//! begun, not even out of the last of the reserve, a core takes up the one with the most room of those that its start
//! found. What stands behind its end may be pieces of a batch that was cut off; these are overwritten with zeros first,
//! so that the next start finds nothing there but what was written now.

use std::rc::Rc;

use super::Log;
use super::segments::{Current, Sealed};
use crate::base::join::join_all;
use crate::base::limits::BATCH_BYTES;
use crate::drive::device::{Area, Drive};
use crate::drive::segment::{self, Mirror};
use crate::pool::logs::Mirrors;

impl Log {
    /// A full segment, which is none any more, to be written to; `None` if there is none that may be.
    pub(super) async fn resume(&self) -> Option<Current> {
        let (sealed, mirrors) = self.take_roomiest()?;
        if self.clear_behind(&sealed, &mirrors).await.is_none() {
            self.segments.put_back(sealed);
            return None;
        }
        tracing::info!(log = %sealed.id, bytes = sealed.bytes, "full drives: the log goes on in an old segment");
        let Sealed { id, bytes, last, .. } = sealed;
        Some(Current { id, mirrors, offset: bytes, last })
    }

    /// The one with the most room, if that is enough for any batch. It has all mirrors that a new one would have, and
    /// is not being emptied.
    fn take_roomiest(&self) -> Option<(Sealed, Mirrors)> {
        let wanted = self.pool.mirrors().ok()?;
        let is_served = |mirror: &Mirror| self.pool.drives.is_in_service(mirror.drive);
        let used = |sealed: &Sealed| {
            let mirrors = self.logs.directory.get(sealed.id);
            let is_safe = mirrors.is_some_and(|all| all.len() >= wanted && all.iter().all(is_served));
            let end = u64::from(sealed.bytes) + BATCH_BYTES as u64;
            let has_room = end <= self.pool.geometry.segment_bytes;
            (sealed.is_whole && is_safe && has_room).then_some(sealed.bytes)
        };
        let sealed = self.segments.take_smallest(used)?;
        let mirrors = self.logs.directory.get(sealed.id).expect("they were looked at just now");
        Some((sealed, mirrors))
    }

    /// Zeros as far as a batch may reach that was under way when the segment was left; `None` where a drive does not
    /// take them.
    async fn clear_behind(&self, sealed: &Sealed, mirrors: &Mirrors) -> Option<()> {
        let clear = async |mirror: &Mirror| {
            let drive: Rc<Drive> = self.pool.drives.get(mirror.drive).ok()?.clone();
            let at =
                segment::offset(mirror.segment, self.pool.geometry.segment_bytes) + u64::from(sealed.bytes);
            let zeroed = drive.file(Area::Meta)?.write_zeroes(at, BATCH_BYTES as u64).await;
            zeroed.inspect_err(|error| self.pool.latch_unless_full(&drive, error)).ok()
        };
        join_all(mirrors.iter().map(clear)).await.into_iter().collect()
    }
}
