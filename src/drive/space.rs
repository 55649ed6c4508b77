//! Free space of one shard on one drive: the segments it owns, with a bitmap of pages in each.
//!
//! Two maps are kept of each segment. `taken` is what may not be handed out now: committed, being
//! written, or freed but still read by somebody. `committed` is what durable records own; it alone
//! is written to the catalog at a flush, so that space no record owns is free after a crash.
//! Pure state: no I/O, no time. The naive model it is tested against is a set of pages.

use std::collections::BTreeMap;

use crate::base::limits::PAGE;
use crate::drive::segment;

/// A run of pages inside one segment, by byte offset on the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub offset: u64,
    pub bytes: u64,
}

pub struct Space {
    segment_bytes: u64,
    segments: BTreeMap<u32, Segment>,
    /// Where the last allocation ended: next fit keeps neighbours in time neighbours in space.
    cursor: u32,
}

struct Segment {
    taken: Bitmap,
    committed: Bitmap,
    /// Pages not taken.
    free: u32,
    /// Page where the search for room begins.
    hint: u32,
    /// `committed` changed since the last `drain_dirty`.
    dirty: bool,
}

impl Space {
    pub fn new(segment_bytes: u64) -> Self {
        assert!(segment_bytes.is_multiple_of(PAGE as u64));
        Space { segment_bytes, segments: BTreeMap::new(), cursor: 0 }
    }

    /// Takes over a segment. Its first page, the header, is never handed out.
    pub fn add_segment(&mut self, index: u32) {
        let pages = (self.segment_bytes / PAGE as u64) as u32;
        let mut taken = Bitmap::new(pages);
        taken.set(0, 1);
        let segment =
            Segment { taken, committed: Bitmap::new(pages), free: pages - 1, hint: 1, dirty: false };
        let before = self.segments.insert(index, segment);
        assert!(before.is_none(), "segment {index} is owned already");
    }

    pub fn owns(&self, index: u32) -> bool {
        self.segments.contains_key(&index)
    }

    /// Bytes that can be handed out, though not in one piece.
    pub fn free_bytes(&self) -> u64 {
        self.segments.values().map(|segment| u64::from(segment.free) * PAGE as u64).sum()
    }

    /// Bytes owned by durable records.
    pub fn committed_bytes(&self) -> u64 {
        self.segments.values().map(|segment| u64::from(segment.committed.ones()) * PAGE as u64).sum()
    }

    /// Hands out `bytes` (a multiple of the page) in one piece, or `None` when no owned segment
    /// has such a piece.
    pub fn allocate(&mut self, bytes: u64) -> Option<u64> {
        assert!(bytes > 0 && bytes.is_multiple_of(PAGE as u64));
        let pages = u32::try_from(bytes / PAGE as u64).ok()?;
        let from = self.cursor;
        let order = self.segments.range(from..).chain(self.segments.range(..from));
        let candidates: Vec<u32> = order.filter(|(_, s)| s.free >= pages).map(|(index, _)| *index).collect();
        for index in candidates {
            let segment = self.segments.get_mut(&index).expect("listed above");
            if let Some(page) = segment.allocate(pages) {
                self.cursor = index;
                return Some(segment::offset(index, self.segment_bytes) + u64::from(page) * PAGE as u64);
            }
        }
        None
    }

    /// Takes back what was handed out and never committed, or what was freed and is read no more.
    pub fn release(&mut self, span: Span) {
        let (segment, page, pages) = self.locate(span).expect("space that was handed out is owned");
        assert!(segment.taken.all(page, pages), "space is released once");
        segment.taken.clear(page, pages);
        segment.free += pages;
        segment.hint = segment.hint.min(page);
    }

    /// A durable record owns the span now. False when the span is not of an owned segment, which
    /// only bytes from a drive can cause.
    #[must_use]
    pub fn commit(&mut self, span: Span) -> bool {
        let Some((segment, page, pages)) = self.locate(span) else { return false };
        segment.committed.set(page, pages);
        segment.dirty = true;
        let fresh = pages - segment.taken.count(page, pages);
        segment.taken.set(page, pages);
        segment.free -= fresh;
        true
    }

    /// No durable record owns the span any more. It stays taken until `release`.
    #[must_use]
    pub fn uncommit(&mut self, span: Span) -> bool {
        let Some((segment, page, pages)) = self.locate(span) else { return false };
        segment.committed.clear(page, pages);
        segment.dirty = true;
        true
    }

    /// Marks a span taken without an owner in the map: the runs of the catalog, which the manifest
    /// owns.
    #[must_use]
    pub fn occupy(&mut self, span: Span) -> bool {
        let Some((segment, page, pages)) = self.locate(span) else { return false };
        let fresh = pages - segment.taken.count(page, pages);
        segment.taken.set(page, pages);
        segment.free -= fresh;
        true
    }

    /// The committed maps that changed since the last call, by segment.
    pub fn drain_dirty(&mut self) -> Vec<(u32, Vec<u8>)> {
        let dirty = self.segments.iter_mut().filter(|(_, segment)| segment.dirty);
        dirty
            .map(|(index, segment)| {
                segment.dirty = false;
                (*index, segment.committed.to_bytes())
            })
            .collect()
    }

    /// Loads a committed map as `drain_dirty` gave it. False when it does not fit the geometry.
    #[must_use]
    pub fn load(&mut self, index: u32, bytes: &[u8]) -> bool {
        let Some(segment) = self.segments.get_mut(&index) else { return false };
        let Some(committed) = Bitmap::from_bytes(bytes, segment.committed.pages) else { return false };
        segment.taken = committed.clone();
        segment.taken.set(0, 1);
        segment.free = segment.taken.pages - segment.taken.ones();
        segment.committed = committed;
        segment.hint = 1;
        true
    }

    /// Everything freed during replay is free for good: nobody reads yet. Called once, after it.
    pub fn settle(&mut self) {
        for segment in self.segments.values_mut() {
            segment.taken = segment.committed.clone();
            segment.taken.set(0, 1);
            segment.free = segment.taken.pages - segment.taken.ones();
            segment.hint = 1;
        }
    }

    /// Gives up one segment that holds nothing, if the shard has at least `keep` such segments
    /// more; the caller makes it free for other shards.
    pub fn surrender(&mut self, keep: usize) -> Option<u32> {
        let empty = |s: &Segment| s.free == s.taken.pages - 1 && !s.dirty;
        let mut empties = self.segments.iter().filter(|(_, s)| empty(s)).map(|(index, _)| *index);
        let last = empties.clone().next_back()?;
        empties.nth(keep)?;
        self.segments.remove(&last);
        Some(last)
    }

    fn locate(&mut self, span: Span) -> Option<(&mut Segment, u32, u32)> {
        let index = segment::of_offset(span.offset, self.segment_bytes)?;
        let inside = span.offset - segment::offset(index, self.segment_bytes);
        let fits = inside >= PAGE as u64 && inside.checked_add(span.bytes)? <= self.segment_bytes;
        let aligned = inside.is_multiple_of(PAGE as u64) && span.bytes.is_multiple_of(PAGE as u64);
        if !fits || !aligned {
            return None;
        }
        let segment = self.segments.get_mut(&index)?;
        Some((segment, (inside / PAGE as u64) as u32, (span.bytes / PAGE as u64) as u32))
    }
}

impl Segment {
    fn allocate(&mut self, pages: u32) -> Option<u32> {
        let page = self.taken.find_clear(self.hint, pages)?;
        // Only a search that began with nothing skipped may move the hint past its result.
        if page == self.hint {
            self.hint = page + pages;
        }
        self.taken.set(page, pages);
        self.free -= pages;
        Some(page)
    }
}

/// One bit a page, in words of 64.
#[derive(Clone)]
struct Bitmap {
    pages: u32,
    words: Box<[u64]>,
}

impl Bitmap {
    fn new(pages: u32) -> Self {
        Bitmap { pages, words: vec![0; pages.div_ceil(64) as usize].into() }
    }

    fn get(&self, page: u32) -> bool {
        self.words[page as usize / 64] >> (page % 64) & 1 == 1
    }

    fn set(&mut self, page: u32, pages: u32) {
        self.each_word(page, pages, |word, mask| *word |= mask);
    }

    fn clear(&mut self, page: u32, pages: u32) {
        self.each_word(page, pages, |word, mask| *word &= !mask);
    }

    fn each_word(&mut self, page: u32, pages: u32, apply: impl Fn(&mut u64, u64)) {
        assert!(page + pages <= self.pages);
        let (mut at, end) = (page, page + pages);
        while at < end {
            let bit = at % 64;
            let run = (64 - bit).min(end - at);
            let mask = (u64::MAX >> (64 - run)) << bit;
            apply(&mut self.words[at as usize / 64], mask);
            at += run;
        }
    }

    fn count(&self, page: u32, pages: u32) -> u32 {
        (page..page + pages).filter(|at| self.get(*at)).count() as u32
    }

    fn all(&self, page: u32, pages: u32) -> bool {
        self.count(page, pages) == pages
    }

    fn ones(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// First page at or after `from` with `pages` clear ones in a row.
    fn find_clear(&self, from: u32, pages: u32) -> Option<u32> {
        let (mut start, mut at) = (from, from);
        while at < self.pages {
            if at % 64 == 0 && self.words[at as usize / 64] == u64::MAX {
                at += 64;
                start = at;
                continue;
            }
            let taken = self.get(at);
            at += 1;
            if taken {
                start = at;
            } else if at - start == pages {
                return Some(start);
            }
        }
        None
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8], pages: u32) -> Option<Self> {
        let mut map = Bitmap::new(pages);
        if bytes.len() != map.words.len() * 8 {
            return None;
        }
        for (word, chunk) in map.words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().ok()?);
        }
        Some(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::SEGMENT_BYTES_MIN;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Debug)]
    enum Step {
        Allocate(u64),
        Commit(usize),
        Free(usize),
        Reload,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1u64..600).prop_map(Step::Allocate),
            3 => any::<usize>().prop_map(Step::Commit),
            2 => any::<usize>().prop_map(Step::Free),
            1 => Just(Step::Reload),
        ];
        prop::collection::vec(step, 1..60)
    }

    fn pages(span: Span) -> impl Iterator<Item = u64> {
        let page = PAGE as u64;
        (span.offset / page)..((span.offset + span.bytes) / page)
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_of_pages(steps in steps()) {
            let mut space = Space::new(SEGMENT_BYTES_MIN);
            (3..6).for_each(|index| space.add_segment(index));
            let total = space.free_bytes();
            let mut owned: Vec<(Span, bool)> = Vec::new();
            let mut saved: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Allocate(count) => {
                        let bytes = count * PAGE as u64;
                        let Some(offset) = space.allocate(bytes) else { continue };
                        let span = Span { offset, bytes };
                        let taken: BTreeSet<u64> = owned.iter().flat_map(|(s, _)| pages(*s)).collect();
                        prop_assert!(pages(span).all(|page| !taken.contains(&page)));
                        owned.push((span, false));
                    }
                    Step::Commit(at) if !owned.is_empty() => {
                        let at = at % owned.len();
                        prop_assert!(space.commit(owned[at].0));
                        owned[at].1 = true;
                    }
                    Step::Free(at) if !owned.is_empty() => {
                        let (span, committed) = owned.swap_remove(at % owned.len());
                        if committed { prop_assert!(space.uncommit(span)); }
                        space.release(span);
                    }
                    Step::Reload => {
                        saved.extend(space.drain_dirty());
                        space = Space::new(SEGMENT_BYTES_MIN);
                        (3..6).for_each(|index| space.add_segment(index));
                        for (index, bytes) in &saved { prop_assert!(space.load(*index, bytes)); }
                        owned.retain(|(_, committed)| *committed);
                    }
                    _ => {}
                }
                let used: u64 = owned.iter().map(|(span, _)| span.bytes).sum();
                prop_assert_eq!(space.free_bytes(), total - used);
            }
        }
    }

    #[test]
    fn spans_from_a_drive_that_lie_are_refused() {
        let mut space = Space::new(SEGMENT_BYTES_MIN);
        space.add_segment(0);
        let at = segment::offset(0, SEGMENT_BYTES_MIN);
        for (offset, bytes) in [(0, 4096), (at, 4096), (at + 4096, SEGMENT_BYTES_MIN), (at + 5000, 4096)] {
            assert!(!space.commit(Span { offset, bytes }));
        }
    }

    #[test]
    fn empty_segments_are_given_up_but_not_the_last_ones() {
        let mut space = Space::new(SEGMENT_BYTES_MIN);
        (0..3).for_each(|index| space.add_segment(index));
        assert_eq!(space.surrender(1), Some(2));
        assert_eq!(space.surrender(1), Some(1));
        assert_eq!(space.surrender(1), None);
    }
}
