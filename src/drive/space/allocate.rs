//! Allocation: which segment a piece comes from.
//!
//! Next fit, from where the last one ended, over the segments whose map is here. Only when none of them has room does
//! the caller bring back the map of another one (`away_with_room`, `maps`). The catalog and objects have different
//! segments to choose from (`Among`). Uses the bitmaps; hands out pages that are not taken, and no others.

use std::ops::RangeInclusive;

use super::{Away, Map, Segment, Space};
use crate::base::limits::PAGE;
use crate::drive::segment;

/// Where a piece may come from, and whether it is for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Any segment, for the catalog: opens none.
    All,
    /// For the catalog too, but only what objects have left between them.
    Holes,
    /// For an object, which opens the segment.
    AllToOpen,
    /// For an object, in segments that others have opened.
    Opened,
}

impl Among {
    fn has(self, segment: &Segment) -> bool {
        segment.opened || matches!(self, Among::All | Among::AllToOpen)
    }

    fn opens(self) -> bool {
        matches!(self, Among::AllToOpen | Among::Opened)
    }
}

impl Space {
    /// Hands out `bytes` (a multiple of the page) in one piece, or `None` when no segment whose map is
    /// here has such a piece.
    pub fn allocate(&mut self, bytes: u64, among: Among) -> Option<u64> {
        assert!(bytes > 0 && bytes.is_multiple_of(PAGE as u64));
        let pages = u32::try_from(bytes / PAGE as u64).ok()?;
        let from = self.cursor;
        let behind = self.allocate_in(from..=u32::MAX, pages, among);
        behind.or_else(|| self.allocate_in(0..=from, pages, among))
    }

    fn allocate_in(&mut self, range: RangeInclusive<u32>, pages: u32, among: Among) -> Option<u64> {
        let all = self.pages() - 1;
        for (index, map) in self.here.range_mut(range) {
            let segment = self.segments.get_mut(index).expect("a map here is of a segment");
            if segment.room < pages || !among.has(segment) {
                continue;
            }
            let Some(page) = map.allocate(pages) else {
                segment.room = pages - 1;
                continue;
            };
            self.cursor = *index;
            self.clock += 1;
            map.used = self.clock;
            let free = segment.free(all);
            segment.opened |= among.opens();
            segment.loose.get_or_insert_default().extra.insert(page, pages);
            self.free -= u64::from(free - segment.free(all));
            return Some(segment::offset(*index, self.segment_bytes) + u64::from(page) * PAGE as u64);
        }
        None
    }

    /// A segment that may have such a piece and whose map is away.
    pub fn away_with_room(&self, bytes: u64, among: Among) -> Option<Away> {
        let pages = u32::try_from(bytes / PAGE as u64).ok()?;
        let from = self.cursor;
        let mut order = self.segments.range(from..).chain(self.segments.range(..from));
        let suits = |index: &u32, segment: &Segment| {
            segment.room >= pages && among.has(segment) && !self.here.contains_key(index)
        };
        let (index, segment) = order.find(|(index, segment)| suits(index, segment))?;
        Some(Away { segment: *index, version: segment.version })
    }

    /// Looks no more for room in a segment whose map cannot be had.
    pub fn leave_alone(&mut self, away: Away) {
        if self.is_still(away) {
            self.entry(away.segment).room = 0;
        }
    }
}

impl Map {
    fn allocate(&mut self, pages: u32) -> Option<u32> {
        let page = self.taken.find_clear(self.hint, pages)?;
        // Only a search that began with nothing skipped may move the hint past its result.
        if page == self.hint {
            self.hint = page + pages;
        }
        self.taken.set(page, pages);
        Some(page)
    }
}
