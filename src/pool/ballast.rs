//! Room that every directory drive keeps for the log and the catalog, whoever else fills its file system.
//!
//! Segments of a directory are claimed from the file system as they are needed, so somebody else may take the
//! last of it. Deleting needs room too, in the log and in the catalog, and so does a start, which begins a new
//! log segment on each core. So a drive holds some segments' worth of space behind the end of its data, and
//! lets one go when the system finds the file system full: the next try finds that room. Object bytes never
//! get it. A slow tick takes it back when there is room again.
//!
//! Invariants: nothing is ever written to held space, and nothing refers to it; a piece that is not known is
//! taken for held, because it may have been held by the process before; block devices have nothing of this,
//! their room is theirs.

use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::Pool;
use crate::base::limits::{BALLAST_LOG_SEGMENTS, SYSTEM_SEGMENTS};
use crate::drive::device::{Area, Drive};
use crate::drive::segment;
use crate::io::disk::is_full;
use crate::pool::segments::SegmentTable;

/// Which pieces one drive holds, as all cores see it.
pub struct Ballast {
    /// Held for all we know.
    likely: AtomicU32,
    /// Held by this process.
    certain: AtomicU32,
    /// The operator knows that the file system is full.
    told: AtomicBool,
}

/// The first pieces are for segments of the log, the others for the catalog, so that neither starves the other:
/// without a log nothing is deleted, and without runs no log segment is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Log,
    Catalog,
    /// Objects out of the log, which are in no other place: leaves half to the catalog.
    Moves,
}

const PIECES: u32 = (BALLAST_LOG_SEGMENTS + SYSTEM_SEGMENTS) as u32;
const ALL: u32 = (1 << PIECES) - 1;
const LOG: u32 = (1 << BALLAST_LOG_SEGMENTS) - 1;
const _: () = assert!(PIECES < 32);

impl Default for Ballast {
    fn default() -> Self {
        Ballast { likely: AtomicU32::new(ALL), certain: AtomicU32::new(0), told: AtomicBool::new(false) }
    }
}

impl Ballast {
    /// Whether some of it was let go and not taken back.
    pub fn is_short(&self) -> bool {
        self.likely.load(Ordering::Acquire) != ALL
    }

    /// Whether the file system was full when it was last asked for room.
    pub fn lacks_room(&self) -> bool {
        self.is_short() || self.told.load(Ordering::Acquire)
    }

    /// Whether this is the first word about a full file system since there was room.
    pub fn tells_full(&self) -> bool {
        !self.told.swap(true, Ordering::AcqRel)
    }

    /// Whether this is the first word about room since the file system was full.
    pub fn tells_room(&self) -> bool {
        self.told.load(Ordering::Acquire) && self.told.swap(false, Ordering::AcqRel)
    }

    /// A piece to let go, if one is left for this purpose.
    fn take(&self, share: Share) -> Option<u32> {
        let (mask, floor) = match share {
            Share::Log => (LOG, 0),
            Share::Catalog => (ALL & !LOG, 0),
            Share::Moves => (ALL & !LOG, SYSTEM_SEGMENTS / 2),
        };
        let is_enough = |pieces: u32| (pieces & mask).count_ones() as usize > floor;
        let last = |pieces: u32| (pieces & mask).checked_ilog2().filter(|_| is_enough(pieces));
        let without = |pieces: u32| last(pieces).map(|piece| pieces & !(1 << piece));
        let before = self.likely.fetch_update(Ordering::AcqRel, Ordering::Acquire, without).ok()?;
        let piece = last(before)?;
        self.certain.fetch_and(!(1 << piece), Ordering::AcqRel);
        Some(piece)
    }

    fn keep(&self, piece: u32) {
        self.certain.fetch_or(1 << piece, Ordering::AcqRel);
        self.likely.fetch_or(1 << piece, Ordering::AcqRel);
    }

    fn has(&self, piece: u32) -> bool {
        self.certain.load(Ordering::Acquire) >> piece & 1 == 1
    }
}

impl Pool {
    /// Prepares space. Who finds none gets what the drive holds for `share`, piece by piece.
    pub(super) async fn with_ballast<F: Future<Output = std::io::Result<()>>>(
        &self,
        drive: &Drive,
        share: Option<Share>,
        prepare: impl Fn() -> F,
    ) -> std::io::Result<()> {
        loop {
            match prepare().await {
                Err(error) if is_full(&error) && self.draw(drive, share).await => {}
                result => return result,
            }
        }
    }

    /// Lets a piece of what the drive holds go; false when there is none.
    async fn draw(&self, drive: &Drive, share: Option<Share>) -> bool {
        let Some(share) = share else { return false };
        let Some(file) = drive.file(Area::Data).filter(|file| !file.id().is_block_device) else {
            return false;
        };
        let Some(piece) = self.table(drive.id()).ballast.take(share) else { return false };
        let (offset, bytes) = self.piece(drive, piece);
        let let_go = file.discard(offset, bytes).await;
        tracing::debug!(drive = %drive.id(), piece, ?let_go, "room for the system");
        let_go.is_ok()
    }

    /// Takes back what drives let go, as far as there is room, and what they do not hold yet.
    pub async fn restock(&self) {
        for drive in self.in_service() {
            let table = self.table(drive.id());
            for piece in (0..PIECES).filter(|piece| !table.ballast.has(*piece)) {
                if !self.hold(drive, piece).await {
                    break;
                }
            }
        }
    }

    async fn hold(&self, drive: &Rc<Drive>, piece: u32) -> bool {
        let table = self.table(drive.id());
        let Some(file) = drive.file(Area::Data).filter(|_| !table.is_empty()) else { return false };
        let (offset, bytes) = self.piece(drive, piece);
        match file.hold(offset, bytes).await {
            Ok(()) => table.ballast.keep(piece),
            // Where space cannot be held there is none to wait for.
            Err(error) if !is_full(&error) => table.ballast.keep(piece),
            Err(_) => return false,
        }
        true
    }

    fn piece(&self, drive: &Drive, piece: u32) -> (u64, u64) {
        let bytes = self.geometry.segment_bytes;
        (segment::offset(self.table(drive.id()).len() as u32 + piece, bytes), bytes)
    }

    /// Whether too few drives have room beyond what is kept for the system: what adds bytes is refused then.
    pub fn is_short(&self) -> bool {
        self.has_enough(|table| !table.ballast.is_short()) == Ok(false)
    }

    /// The same of the segments that are kept: when the last of them were needed, nothing is added before the log can
    /// be emptied as usual, or each start on full drives would find less.
    pub fn is_spent(&self) -> bool {
        self.has_enough(SegmentTable::is_whole) == Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_one_by_one_and_come_back() {
        let ballast = Ballast::default();
        assert!(!ballast.is_short(), "what the process before held is there for all we know");
        let all = |share| std::iter::from_fn(|| ballast.take(share)).collect::<Vec<u32>>();
        let (moves, log, catalog) = (all(Share::Moves), all(Share::Log), all(Share::Catalog));
        let counts = [moves.len(), log.len(), moves.len() + catalog.len()];
        assert_eq!(counts, [SYSTEM_SEGMENTS / 2, BALLAST_LOG_SEGMENTS, SYSTEM_SEGMENTS]);
        assert!(ballast.is_short());
        let pieces: Vec<u32> = [moves, log, catalog].concat();
        pieces.iter().for_each(|piece| ballast.keep(*piece));
        assert!(!ballast.is_short() && pieces.iter().all(|piece| ballast.has(*piece)));
    }

    #[test]
    fn the_operator_is_told_once_of_each_change() {
        let ballast = Ballast::default();
        assert!(!ballast.lacks_room() && !ballast.tells_room());
        assert!(ballast.tells_full() && !ballast.tells_full() && ballast.lacks_room());
        assert!(
            ballast.tells_room() && !ballast.tells_room() && !ballast.lacks_room() && ballast.tells_full()
        );
    }
}
