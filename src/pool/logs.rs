//! Log segments as the pool keeps them: mirrored on m + 1 drives, created, written, read, retired.
//!
//! The mirrors of a log segment are named in the header of each. Sets rotate over the drives, so
//! that all of them carry the log. What records mean is the business of `catalog`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::base::ids::LogId;
use crate::base::join::join_all;
use crate::base::limits::PAGE;
use crate::drive::device::{Area, Drive};
use crate::drive::segment::{self, Mirror, Owner};
use crate::io::buffer::AlignedBuf;
use crate::pool::Pool;
use crate::pool::ballast::Share;
use crate::pool::error::PoolError;
use crate::pool::segments::{Claim, SegmentTable, Slot};

pub type Mirrors = Arc<[Mirror]>;

/// Which log segments there are and where: shared by all cores, replaced as a whole on change.
#[derive(Clone, Default)]
pub struct LogDirectory(Arc<ArcSwap<HashMap<LogId, Mirrors>>>);

impl LogDirectory {
    pub fn get(&self, id: LogId) -> Option<Mirrors> {
        self.0.load().get(&id).cloned()
    }

    pub fn insert(&self, id: LogId, mirrors: Mirrors) {
        self.0.rcu(|map| {
            let mut map = HashMap::clone(map);
            map.insert(id, mirrors.clone());
            map
        });
    }

    pub fn remove(&self, id: LogId) {
        self.0.rcu(|map| {
            let mut map = HashMap::clone(map);
            map.remove(&id);
            map
        });
    }

    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Creates, writes and retires the log segments of one core.
pub struct Logs {
    pool: Rc<Pool>,
    pub directory: LogDirectory,
    turn: RefCell<usize>,
}

impl Logs {
    pub fn new(pool: Rc<Pool>, directory: LogDirectory) -> Self {
        Logs { pool, directory, turn: RefCell::default() }
    }

    /// Whether a log segment could be begun on as many drives as is safe.
    pub fn has_room(&self) -> bool {
        self.pool.has_enough(SegmentTable::takes_log) == Ok(true)
    }

    /// A new log segment on as many drives as are needed, ready to be written behind its header. `at_last` is for
    /// a core that has none (`pool::segments`).
    pub async fn create(&self, id: LogId, at_last: bool) -> Result<Mirrors, PoolError> {
        let wanted = self.pool.mirrors()?;
        let mut claimed: Vec<(Rc<Drive>, Mirror)> = Vec::with_capacity(wanted);
        for drive in self.rotation() {
            if claimed.len() == wanted {
                break;
            }
            if let Some(segment) = self.claim(&drive, at_last).await {
                let drive_id = drive.id();
                claimed.push((drive, Mirror { drive: drive_id, segment }));
            }
        }
        // A full drive may be missing from the set, as long as the set is safe.
        let is_safe = match self.pool.mirrors_min() {
            Ok(safe) if claimed.len() >= safe => Ok(()),
            Ok(_) => Err(PoolError::Full),
            Err(error) => Err(error),
        };
        if let Err(error) = is_safe {
            self.give_up(&claimed);
            return Err(error);
        }
        let mirrors: Mirrors = claimed.iter().map(|(_, mirror)| *mirror).collect();
        if let Err(error) = self.write_headers(&claimed, &Owner::Log { id, mirrors: mirrors.to_vec() }).await
        {
            // Those that were written name a log without a batch.
            self.give_up(&claimed);
            return Err(error);
        }
        self.directory.insert(id, mirrors.clone());
        Ok(mirrors)
    }

    /// Healthy drives, beginning with another one each time.
    fn rotation(&self) -> Vec<Rc<Drive>> {
        let mut drives: Vec<Rc<Drive>> = self.pool.in_service().cloned().collect();
        let mut turn = self.turn.borrow_mut();
        *turn += 1;
        let len = drives.len().max(1);
        drives.rotate_left(*turn % len);
        drives
    }

    async fn claim(&self, drive: &Rc<Drive>, at_last: bool) -> Option<u32> {
        let Claim { segment, fresh } = self.pool.table(drive.id()).claim_log(at_last)?;
        if !fresh {
            return Some(segment);
        }
        let zeroed = self.pool.with_ballast(drive, Some(Share::Log), || self.zero(drive, segment)).await;
        if let Err(error) = zeroed {
            self.pool.table(drive.id()).set(segment, Slot::Untouched);
            self.pool.latch_unless_full(drive, &error);
            return None;
        }
        Some(segment)
    }

    /// Gives a segment written extents, so that a batch changes nothing but data blocks.
    async fn zero(&self, drive: &Rc<Drive>, segment: u32) -> std::io::Result<()> {
        let bytes = self.pool.geometry.segment_bytes;
        let offset = segment::offset(segment, bytes);
        let Some(file) = drive.file(Area::Meta) else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        file.preallocate(offset, bytes).await?;
        file.write_zeroes(offset, bytes).await
    }

    fn give_up(&self, claimed: &[(Rc<Drive>, Mirror)]) {
        for (drive, mirror) in claimed {
            self.pool.table(drive.id()).set(mirror.segment, Slot::Spare);
        }
    }

    async fn write_headers(&self, claimed: &[(Rc<Drive>, Mirror)], owner: &Owner) -> Result<(), PoolError> {
        let writes = claimed.iter().map(|(drive, mirror)| {
            let header = self.pool.header(mirror.drive, mirror.segment, owner.clone());
            let offset = segment::offset(mirror.segment, self.pool.geometry.segment_bytes);
            self.pool.write_page(drive, Area::Meta, header.encode(), offset)
        });
        join_all(writes).await.into_iter().collect()
    }

    /// Writes one batch to every mirror. Any failure is an error; but for a full one, the drive is latched by then.
    pub async fn write(
        &self,
        mirrors: &[Mirror],
        buffer: &Arc<AlignedBuf>,
        range: Range<usize>,
        offset: u32,
    ) -> Result<(), PoolError> {
        let writes = mirrors.iter().map(|mirror| {
            let at = segment::offset(mirror.segment, self.pool.geometry.segment_bytes) + u64::from(offset);
            let (buffer, range) = (buffer.clone(), range.clone());
            async move {
                let drive = self.pool.drives.get(mirror.drive)?;
                drive.write(Area::Meta, buffer, range, at).await
            }
        });
        join_all(writes).await.into_iter().collect::<Result<(), _>>().map_err(PoolError::from)
    }

    /// Makes the space of a log segment, none of whose records matters any more, a spare.
    pub async fn retire(&self, id: LogId) {
        let Some(mirrors) = self.directory.get(id) else { return };
        self.directory.remove(id);
        for mirror in mirrors.iter() {
            let Ok(drive) = self.pool.drives.get(mirror.drive).cloned() else { continue };
            let claimed = [(drive.clone(), *mirror)];
            // A mirror on a drive that is out keeps its header: recovery sees a segment whose
            // records are all known, and retires it again.
            if drive.is_in_service() && self.write_headers(&claimed, &Owner::Spare).await.is_ok() {
                self.give_up(&claimed);
            }
        }
    }
}

/// Reads `len` bytes at `offset` of a log segment, from the first mirror whose bytes `verify`
/// accepts; `turn` chooses where to begin, so that reads spread over the mirrors. Doubtful drives come last.
pub async fn read(
    pool: &Pool,
    mirrors: &[Mirror],
    offset: u32,
    len: usize,
    turn: usize,
    verify: impl Fn(&[u8]) -> bool,
) -> Result<bytes::Bytes, PoolError> {
    let start = offset as usize / PAGE * PAGE;
    let skip = offset as usize - start;
    let span = (skip + len).next_multiple_of(PAGE);
    let in_turn = |doubtful: bool| {
        let turns = (0..mirrors.len()).map(move |index| mirrors[(turn + index) % mirrors.len()]);
        turns
            .filter_map(|mirror| Some((mirror, pool.drives.get(mirror.drive).ok()?)))
            .filter(move |(_, drive)| drive.condition().is_doubtful() == doubtful)
    };
    for (mirror, drive) in in_turn(false).chain(in_turn(true)) {
        let at = segment::offset(mirror.segment, pool.geometry.segment_bytes) + start as u64;
        let Ok(buffer) = drive.read(Area::Meta, AlignedBuf::uninit_for_read(span), at).await else {
            continue;
        };
        if verify(&buffer[skip..skip + len]) {
            return Ok(buffer.into_bytes().slice(skip..skip + len));
        }
        drive.count_corrupt();
    }
    Err(PoolError::NoCopy { copies: mirrors.len(), first: mirrors.first().map(|mirror| mirror.drive) })
}
