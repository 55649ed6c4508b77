//! Who owns which segment of each drive: the table all cores share, and the claims on it.
//!
//! The table is built from the segment headers at start and holds one small slot a segment. It is
//! the one piece of state that data threads lock, for a moment at each placement and never
//! across I/O. The last segments of a drive are kept for the log and the catalog, so that a full
//! drive can still delete: space is taken by writing, and given back by writing too.

use std::sync::Mutex;

use super::ballast::Ballast;
use crate::base::ids::{DriveId, ShardId};
use crate::base::limits::SYSTEM_SEGMENTS;

/// The part of the reserve that is for cores without any log segment: one in this many.
const LAST_SHARE: usize = 4;

/// So that each purpose of the reserve has a segment of its own.
const _: () = assert!(SYSTEM_SEGMENTS >= 2 * LAST_SHARE);

/// Who may take the last free segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Bytes of objects: stops in front of the reserve.
    Objects,
    /// Objects out of sparse packs: gives back more than it takes, but later, so it leaves half of the
    /// reserve to what comes first.
    Moves,
    /// Objects out of the log where that can begin no segment: until they have gone nothing can be deleted, so they
    /// may have all but the last that the catalog may have.
    Emptying,
    /// Runs of the catalog and what frees space: may use the reserve, but for what a start needs to delete at all.
    System,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Never written.
    Untouched,
    /// Zero-filled, in the file of the log.
    Spare,
    Log,
    Data(ShardId),
    /// Was a data segment and has no owner now.
    Empty,
    /// Its header cannot be read: kept from everybody until all shards have said what is theirs.
    Damaged,
}

/// A segment that was claimed, and whether its space has still to be prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub segment: u32,
    pub fresh: bool,
}

/// The slots of one drive, and how many of them have no owner: every placement asks for that.
struct Slots {
    all: Vec<Slot>,
    free: usize,
}

impl Slots {
    fn new(all: Vec<Slot>) -> Self {
        let free = all.iter().filter(|slot| slot.is_free()).count();
        Slots { all, free }
    }

    fn put(&mut self, at: usize, slot: Slot) {
        let before = std::mem::replace(&mut self.all[at], slot);
        self.free = self.free + usize::from(slot.is_free()) - usize::from(before.is_free());
    }

    fn first(&self, slot: Slot) -> Option<usize> {
        self.all.iter().position(|found| *found == slot)
    }
}

impl Slot {
    /// Whether it has no owner and may have one.
    fn is_free(self) -> bool {
        matches!(self, Slot::Untouched | Slot::Empty)
    }
}

/// The segments of one drive.
pub struct SegmentTable {
    pub drive: DriveId,
    slots: Mutex<Slots>,
    reserve: usize,
    pub(super) ballast: Ballast,
}

impl SegmentTable {
    pub fn new(drive: DriveId, slots: Vec<Slot>, reserve: usize) -> Self {
        SegmentTable { drive, slots: Mutex::new(Slots::new(slots)), reserve, ballast: Ballast::default() }
    }

    /// A data segment for a shard; `None` when the drive has none to give for this purpose.
    pub fn claim_data(&self, shard: ShardId, purpose: Purpose) -> Option<Claim> {
        let mut slots = self.lock();
        if slots.free <= self.floor(purpose) {
            return None;
        }
        let at = slots.first(Slot::Empty).or_else(|| slots.first(Slot::Untouched))?;
        slots.put(at, Slot::Data(shard));
        Some(Claim { segment: at as u32, fresh: true })
    }

    /// Whether nothing more of this purpose may go where no object has been yet. It is asked for every piece and not
    /// only for every segment: else objects fill up what the catalog claimed out of the reserve.
    pub fn is_closed_to(&self, purpose: Purpose) -> bool {
        self.lock().free <= self.floor(purpose)
    }

    /// Free segments that are kept from a purpose.
    fn floor(&self, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Objects => self.reserve,
            Purpose::Moves => self.reserve / 2,
            Purpose::Emptying => self.reserve / LAST_SHARE + self.reserve / LAST_SHARE / 2,
            Purpose::System => self.reserve / LAST_SHARE,
        }
    }

    /// A segment for the log: a spare one, else a free one, which has to be zero-filled. The log leaves half of the
    /// reserve: without runs no log segment is ever emptied. A core that has no segment at all, as every one after a
    /// start, gets one `at_last` out of that half too, of which nobody else takes the last quarter: without one nothing
    /// can be deleted.
    pub fn claim_log(&self, at_last: bool) -> Option<Claim> {
        let mut slots = self.lock();
        if !self.has_log_room(&slots, at_last) {
            return None;
        }
        let spare = slots.first(Slot::Spare);
        let untouched = || slots.first(Slot::Untouched);
        let at = spare.or_else(untouched).or_else(|| slots.first(Slot::Empty))?;
        slots.put(at, Slot::Log);
        Some(Claim { segment: at as u32, fresh: spare.is_none() })
    }

    /// Whether nobody has taken of the half of the reserve that is kept from the log.
    pub fn is_whole(&self) -> bool {
        self.lock().free >= self.reserve / 2
    }

    /// Whether the log could begin a segment here.
    pub fn takes_log(&self) -> bool {
        self.has_log_room(&self.lock(), false)
    }

    fn has_log_room(&self, slots: &Slots, at_last: bool) -> bool {
        let floor = if at_last { 0 } else { self.reserve / 2 };
        slots.free > floor || slots.first(Slot::Spare).is_some()
    }

    /// A durable record of the shard names space in a segment whose header does not: true when nobody
    /// else has it, and from then on the shard does. A drive that is away lets everybody have his way.
    pub fn adopt(&self, segment: u32, shard: ShardId) -> bool {
        let mut slots = self.lock();
        if slots.all.is_empty() {
            return true;
        }
        let at = segment as usize;
        let free = slots.all.get(at).is_some_and(|slot| slot.is_free() || *slot == Slot::Damaged);
        if free {
            slots.put(at, Slot::Data(shard));
        }
        free
    }

    /// Every shard has adopted what is its own: what is left behind a damaged header is nobody's.
    pub fn settle(&self) {
        let mut slots = self.lock();
        for at in 0..slots.all.len() {
            if slots.all[at] == Slot::Damaged {
                slots.put(at, Slot::Empty);
            }
        }
    }

    pub fn set(&self, segment: u32, slot: Slot) {
        self.lock().put(segment as usize, slot);
    }

    /// Segments that object bytes may still claim.
    pub fn free_for_objects(&self) -> usize {
        self.lock().free.saturating_sub(self.reserve)
    }

    /// Segments that should have a header.
    pub fn headed(&self) -> Vec<(u32, Slot)> {
        let slots = self.lock();
        let is_headed = |slot: &Slot| matches!(slot, Slot::Spare | Slot::Log | Slot::Data(_));
        (0..).zip(slots.all.iter().copied()).filter(|(_, slot)| is_headed(slot)).collect()
    }

    pub fn slot(&self, segment: u32) -> Option<Slot> {
        self.lock().all.get(segment as usize).copied()
    }

    /// Segments with an owner.
    pub fn used(&self) -> usize {
        let slots = self.lock();
        slots.all.len() - slots.free
    }

    pub fn len(&self) -> usize {
        self.lock().all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().expect("no holder of the segment table panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_stop_in_front_of_the_reserve_and_the_system_does_not() {
        let table = SegmentTable::new(DriveId(0), vec![Slot::Untouched; 4], 2);
        let shard = ShardId(0);
        assert_eq!(table.claim_data(shard, Purpose::Objects), Some(Claim { segment: 0, fresh: true }));
        assert!(table.claim_data(shard, Purpose::Objects).is_some());
        assert_eq!(table.claim_data(shard, Purpose::Objects), None);
        assert!(table.takes_log() && table.claim_log(false).is_some());
        assert!(!table.takes_log() && table.claim_log(false).is_none());
        assert!(table.claim_data(shard, Purpose::System).is_some());
        assert_eq!(table.claim_data(shard, Purpose::System), None);
    }

    #[test]
    fn what_empties_the_log_may_go_further_than_what_fills_it() {
        let table = SegmentTable::new(DriveId(0), vec![Slot::Untouched; 8], 8);
        let shard = ShardId(0);
        let claims =
            |claim: &dyn Fn() -> bool| std::iter::repeat_with(claim).take_while(|found| *found).count();
        assert_eq!(claims(&|| table.claim_data(shard, Purpose::Objects).is_some()), 0);
        assert_eq!(claims(&|| table.claim_log(false).is_some()), 4);
        assert_eq!(claims(&|| table.claim_data(shard, Purpose::Moves).is_some()), 0);
        assert!(table.is_whole());
        assert_eq!(claims(&|| table.claim_data(shard, Purpose::Emptying).is_some()), 1);
        assert!(!table.is_whole());
        assert_eq!(claims(&|| table.claim_data(shard, Purpose::System).is_some()), 1);
        assert_eq!(claims(&|| table.claim_log(true).is_some()), 2);
    }

    #[test]
    fn a_shard_takes_over_what_has_no_header_and_nothing_of_others() {
        let slots = vec![Slot::Damaged, Slot::Untouched, Slot::Data(ShardId(1)), Slot::Spare, Slot::Damaged];
        let table = SegmentTable::new(DriveId(0), slots, 0);
        let adopted: Vec<bool> = (0..6).map(|segment| table.adopt(segment, ShardId(0))).collect();
        assert_eq!(adopted, [true, true, false, false, true, false]);
        assert_eq!(table.claim_data(ShardId(0), Purpose::System), None);
        let away = SegmentTable::new(DriveId(1), Vec::new(), 0);
        assert!(away.adopt(7, ShardId(0)) && away.adopt(7, ShardId(1)));
    }

    #[test]
    fn a_damaged_segment_is_given_out_only_when_all_shards_have_spoken() {
        let table = SegmentTable::new(DriveId(0), vec![Slot::Damaged], 0);
        assert_eq!((table.claim_log(true), table.claim_data(ShardId(0), Purpose::System)), (None, None));
        table.settle();
        assert!(table.claim_data(ShardId(0), Purpose::System).is_some());
    }

    #[test]
    fn what_was_given_back_is_used_before_untouched_space() {
        let table = SegmentTable::new(DriveId(0), vec![Slot::Untouched; 4], 0);
        table.set(2, Slot::Empty);
        table.set(3, Slot::Spare);
        assert_eq!(table.claim_data(ShardId(1), Purpose::Objects), Some(Claim { segment: 2, fresh: true }));
        assert_eq!(table.claim_log(false), Some(Claim { segment: 3, fresh: false }));
    }
}
