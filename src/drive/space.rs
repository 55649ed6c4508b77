//! Free space of one shard on one drive: the segments it owns, and which pages of them are whose.
//!
//! `taken` is what may not be handed out now: committed, being written, or freed but still read by
//! somebody. `committed` is what durable records own; it alone is written to the catalog at a flush,
//! so that space no record owns is free after a crash. What is taken without being committed is kept
//! as runs, `extra`. The map of a segment is *here* (a bitmap of what is taken) or *away*: then
//! the catalog has what was committed, and only counts and what has changed since are kept. A map comes
//! back when an allocation wants its segment; one whose catalog value is up to date may be sent away.
//! A segment is *opened* when the first bytes of an object go into it; until then it holds runs of the catalog at
//! most, and on a full drive objects have to leave it to those (`Among`).
//! Pure state: no I/O, no time. The naive model it is tested against is a set of pages.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::base::limits::{PAGE, SPACE_CHANGE_BYTES};
use crate::drive::bitmap::Bitmap;
use crate::drive::segment;
use crate::drive::spans::Spans;

/// A run of pages inside one segment, by byte offset on the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub offset: u64,
    pub bytes: u64,
}

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

/// A map that is away, as it was when somebody set out to read it from the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    pub segment: u32,
    version: u64,
}

/// The map of a changed segment, for the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    Map(Vec<u8>),
    /// What is in the catalog has to be read first, for `save_over`.
    Needs(Away),
    /// It has not changed.
    Clean,
}

/// What stands in the catalog is no map of this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

pub struct Space {
    segment_bytes: u64,
    segments: BTreeMap<u32, Segment>,
    /// The maps that are here.
    here: BTreeMap<u32, Map>,
    /// Segments whose catalog value is out of date.
    changed: BTreeSet<u32>,
    /// What these take in memory until they are saved, and at most in the memtable then.
    unsaved: usize,
    /// Freed during replay, and taken until `let_go`.
    replayed: BTreeMap<u32, Spans>,
    /// Where the last allocation ended: next fit keeps neighbours in time neighbours in space.
    cursor: u32,
    /// Counts uses and versions.
    clock: u64,
    free: u64,
    committed: u64,
}

struct Segment {
    /// Pages that durable records own; of a map that is away as far as counts can tell.
    committed: u32,
    /// No run of free pages is longer.
    room: u32,
    /// Bytes of its value in the catalog.
    encoded: u32,
    /// Another one whenever the value in the catalog changes.
    version: u64,
    /// Objects have, or had, bytes in it.
    opened: bool,
    loose: Option<Box<Loose>>,
}

/// What is not as the catalog has it.
#[derive(Default)]
struct Loose {
    /// Taken without being committed.
    extra: Spans,
    /// Of a map that is away: committed, and not committed any more, since its value was saved.
    owned: Spans,
    freed: Spans,
}

struct Map {
    taken: Bitmap,
    /// No page in front of this one is free.
    hint: u32,
    /// When it was last wanted.
    used: u64,
}

impl Space {
    pub fn new(segment_bytes: u64) -> Self {
        assert!(segment_bytes.is_multiple_of(PAGE as u64));
        Space {
            segment_bytes,
            segments: BTreeMap::new(),
            here: BTreeMap::new(),
            changed: BTreeSet::new(),
            unsaved: 0,
            replayed: BTreeMap::new(),
            cursor: 0,
            clock: 0,
            free: 0,
            committed: 0,
        }
    }

    /// Takes over a segment found at start. Its map is away; nothing in it is committed until `note`
    /// says so.
    pub fn add_segment(&mut self, index: u32) {
        let version = self.tick();
        let (room, opened) = (self.pages() - 1, false);
        let segment = Segment { committed: 0, room, encoded: 0, version, opened, loose: None };
        let before = self.segments.insert(index, segment);
        assert!(before.is_none(), "segment {index} is owned already");
        self.free += u64::from(self.pages() - 1);
    }

    /// Takes over a segment that was just claimed. Its first page, the header, is never handed out.
    pub fn add_empty(&mut self, index: u32) {
        self.add_segment(index);
        let mut taken = Bitmap::new(self.pages());
        taken.set(0, 1);
        let used = self.tick();
        self.here.insert(index, Map { taken, hint: 1, used });
    }

    pub fn owns(&self, index: u32) -> bool {
        self.segments.contains_key(&index)
    }

    /// All that are owned.
    pub fn segments(&self) -> Vec<u32> {
        self.segments.keys().copied().collect()
    }

    /// Bytes that can be handed out, though not in one piece.
    pub fn free_bytes(&self) -> u64 {
        self.free * PAGE as u64
    }

    /// Bytes owned by durable records.
    pub fn committed_bytes(&self) -> u64 {
        self.committed * PAGE as u64
    }

    /// Bytes of the map of one segment.
    pub fn map_bytes(&self) -> usize {
        Bitmap::bytes(self.pages())
    }

    /// Maps that are here.
    pub fn maps(&self) -> usize {
        self.here.len()
    }

    // ---- Handing out ----

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

    /// Brings a map back: `value` is what the catalog has of it. Nothing happens when it came back or
    /// changed since `away` was given.
    pub fn bring_back(&mut self, away: Away, value: Option<&[u8]>) -> Result<(), Damaged> {
        let index = away.segment;
        if !self.is_still(away) {
            return Ok(());
        }
        let mut taken = self.decode(value).ok_or(Damaged)?;
        let used = self.tick();
        let map_bytes = self.map_bytes();
        self.recount(index, |_, segment| {
            let mut loose = segment.loose.take().unwrap_or_default();
            loose.apply(&mut taken);
            segment.committed = taken.ones();
            taken.set(0, 1);
            loose.extra.iter().for_each(|(page, pages)| taken.set(page, pages));
            (loose.owned, loose.freed) = Default::default();
            segment.loose = Some(loose);
        });
        if self.changed.contains(&index) {
            self.unsaved += map_bytes;
        }
        self.here.insert(index, Map { taken, hint: 1, used });
        Ok(())
    }

    /// Looks no more for room in a segment whose map cannot be had.
    pub fn leave_alone(&mut self, away: Away) {
        if self.is_still(away) {
            self.entry(away.segment).room = 0;
        }
    }

    /// Sends maps away until `maps_max` are left, those first that have not been wanted for longest.
    /// What has changed stays.
    pub fn send_away(&mut self, maps_max: usize) {
        while self.here.len() > maps_max {
            let saved = self.here.iter().filter(|(index, _)| !self.changed.contains(index));
            let Some(oldest) = saved.min_by_key(|(_, map)| map.used).map(|(index, _)| *index) else { return };
            let map = self.here.remove(&oldest).expect("found above");
            let version = self.tick();
            let segment = self.entry(oldest);
            segment.room = map.taken.longest_clear();
            segment.version = version;
        }
    }

    // ---- What becomes of it ----

    /// Takes back what was handed out and never committed, or what was freed and is read no more.
    pub fn release(&mut self, span: Span) {
        let (index, page, pages) = self.locate(span).expect("space that was handed out is owned");
        self.recount(index, |map, segment| {
            let loose = segment.loose.get_or_insert_default();
            assert!(loose.extra.count(page, pages) == pages, "space is released once");
            loose.extra.remove(page, pages);
            // At most it joins two of the longest runs there were.
            segment.room = segment.room.saturating_mul(2).saturating_add(pages);
            if let Some(map) = map {
                map.taken.clear(page, pages);
                map.hint = map.hint.min(page);
            }
        });
    }

    /// A durable record owns the span now. False when the span is not of an owned segment, which
    /// only bytes from a drive can cause.
    #[must_use]
    pub fn commit(&mut self, span: Span) -> bool {
        let Some((index, page, pages)) = self.locate(span) else { return false };
        self.change(index);
        self.recount(index, |map, segment| {
            let loose = segment.loose.get_or_insert_default();
            let known = match map {
                Some(map) => {
                    let known = map.taken.count(page, pages) - loose.extra.count(page, pages);
                    map.taken.set(page, pages);
                    known
                }
                None => {
                    let known = loose.owned.count(page, pages);
                    loose.freed.remove(page, pages);
                    loose.owned.insert(page, pages);
                    known
                }
            };
            loose.extra.remove(page, pages);
            segment.committed = segment.committed.saturating_add(pages - known);
            segment.opened = true;
        });
        true
    }

    /// No durable record owns the span any more. It stays taken until `release`. False when no record
    /// did, as far as can be told, or when the span is not of an owned segment.
    #[must_use]
    pub fn uncommit(&mut self, span: Span) -> bool {
        let Some((index, page, pages)) = self.locate(span) else { return false };
        let (here, segment) = (self.here.get(&index), &self.segments[&index]);
        let count = |spans: fn(&Loose) -> &Spans| {
            segment.loose.as_ref().map_or(0, |loose| spans(loose).count(page, pages))
        };
        let owned = here.is_none_or(|map| map.taken.count(page, pages) == pages);
        if !owned || count(|loose| &loose.extra) > 0 || count(|loose| &loose.freed) > 0 {
            return false;
        }
        self.change(index);
        self.recount(index, |map, segment| {
            let loose = segment.loose.get_or_insert_default();
            if map.is_none() {
                loose.owned.remove(page, pages);
                loose.freed.insert(page, pages);
            }
            loose.extra.insert(page, pages);
            segment.committed = segment.committed.saturating_sub(pages);
        });
        true
    }

    /// Marks a span taken without an owner in the map: the runs of the catalog, which the manifest
    /// owns. One that was written while records went on may stand where one of these freed something.
    #[must_use]
    pub fn occupy(&mut self, span: Span) -> bool {
        let Some((index, page, pages)) = self.locate(span) else { return false };
        self.replayed.get_mut(&index).into_iter().for_each(|freed| freed.remove(page, pages));
        self.recount(index, |map, segment| {
            segment.loose.get_or_insert_default().extra.insert(page, pages);
            map.into_iter().for_each(|map| map.taken.set(page, pages));
        });
        true
    }

    // ---- The catalog ----

    /// Notes what the catalog has of a segment, when a shard is opened. False when it does not fit the
    /// geometry.
    #[must_use]
    pub fn note(&mut self, index: u32, value: &[u8]) -> bool {
        let (Some(map), true) = (self.decode(Some(value)), self.owns(index)) else { return false };
        self.recount(index, |_, segment| {
            segment.committed = map.ones();
            segment.room = u32::MAX;
            segment.opened |= segment.committed > 0;
            segment.encoded = value.len() as u32;
        });
        true
    }

    /// Everything freed during replay waits for `let_go`: nobody reads it, but the next start may not find what
    /// freed it. Called once, after the replay, before any map is here.
    pub fn settle(&mut self) {
        assert!(self.here.is_empty());
        let indexes: Vec<u32> = self.segments.keys().copied().collect();
        for index in indexes {
            self.recount(index, |_, segment| segment.room = u32::MAX);
            let freed = self.segments[&index].loose.as_ref().map(|loose| loose.extra.clone());
            if let Some(freed) = freed.filter(|freed| !freed.is_empty()) {
                self.replayed.insert(index, freed);
            }
        }
    }

    /// What was freed during replay is free for good.
    pub fn let_go(&mut self) {
        for (index, freed) in std::mem::take(&mut self.replayed) {
            let start = segment::offset(index, self.segment_bytes);
            for (page, pages) in freed.iter() {
                let (offset, bytes) = (u64::from(page) * PAGE as u64, u64::from(pages) * PAGE as u64);
                self.release(Span { offset: start + offset, bytes });
            }
        }
    }

    /// Segments whose value in the catalog is out of date.
    pub fn changed(&self) -> Vec<u32> {
        self.changed.iter().copied().collect()
    }

    /// Memory that saving what has changed makes free, and at most takes in the memtable.
    pub fn unsaved_bytes(&self) -> usize {
        self.unsaved
    }

    /// The committed map of a segment for the catalog, which the caller puts there in the same step.
    pub fn save(&mut self, index: u32) -> Saved {
        let Some(segment) = self.segments.get(&index).filter(|_| self.changed.contains(&index)) else {
            return Saved::Clean;
        };
        let Some(map) = self.here.get(&index) else {
            return Saved::Needs(Away { segment: index, version: segment.version });
        };
        let mut committed = map.taken.clone();
        committed.clear(0, 1);
        let loose = segment.loose.iter();
        loose.for_each(|loose| loose.extra.iter().for_each(|(page, pages)| committed.clear(page, pages)));
        Saved::Map(self.saved(index, &committed))
    }

    /// As `save`, of a map that stays away: `value` is what the catalog has of it until now. `None` when
    /// that is not so any more.
    pub fn save_over(&mut self, away: Away, value: Option<&[u8]>) -> Result<Option<Vec<u8>>, Damaged> {
        if !self.is_still(away) || !self.changed.contains(&away.segment) {
            return Ok(None);
        }
        let mut committed = self.decode(value).ok_or(Damaged)?;
        self.recount(away.segment, |_, segment| {
            let loose = segment.loose.get_or_insert_default();
            loose.apply(&mut committed);
            (loose.owned, loose.freed) = Default::default();
            segment.committed = committed.ones();
        });
        Ok(Some(self.saved(away.segment, &committed)))
    }

    fn saved(&mut self, index: u32, committed: &Bitmap) -> Vec<u8> {
        let (value, version) = (committed.encode(), self.tick());
        let segment = self.entry(index);
        segment.encoded = value.len() as u32;
        segment.version = version;
        self.changed.remove(&index);
        if self.changed.is_empty() {
            self.unsaved = 0;
        }
        value
    }

    /// Gives up one segment that holds nothing, if the shard has at least `keep` such segments
    /// more; the caller makes it free for other shards.
    pub fn surrender(&mut self, keep: usize) -> Option<u32> {
        let all = self.pages() - 1;
        let empty = |index: &u32, s: &Segment| s.free(all) == all && !self.changed.contains(index);
        let mut empties = self.segments.iter().filter(|(index, s)| empty(index, s)).map(|(index, _)| *index);
        let last = empties.clone().next_back()?;
        empties.nth(keep)?;
        self.segments.remove(&last);
        self.here.remove(&last);
        self.free -= u64::from(all);
        Some(last)
    }

    // ---- Below ----

    fn pages(&self) -> u32 {
        (self.segment_bytes / PAGE as u64) as u32
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn entry(&mut self, index: u32) -> &mut Segment {
        self.segments.get_mut(&index).expect("asked about an owned segment")
    }

    fn is_still(&self, away: Away) -> bool {
        let same = self.segments.get(&away.segment).is_some_and(|segment| segment.version == away.version);
        same && !self.here.contains_key(&away.segment)
    }

    fn decode(&self, value: Option<&[u8]>) -> Option<Bitmap> {
        match value {
            None => Some(Bitmap::new(self.pages())),
            Some(value) => Bitmap::decode(value, self.pages()),
        }
    }

    /// The committed pages of a segment are about to change.
    fn change(&mut self, index: u32) {
        let here = self.here.contains_key(&index);
        if self.changed.insert(index) {
            self.unsaved += if here { self.map_bytes() } else { self.segments[&index].encoded as usize };
        }
        self.unsaved += if here { 0 } else { SPACE_CHANGE_BYTES };
    }

    /// Changes a segment, and the sums over all segments with it.
    fn recount(&mut self, index: u32, change: impl FnOnce(Option<&mut Map>, &mut Segment)) {
        let all = self.pages() - 1;
        let segment = self.segments.get_mut(&index).expect("asked about an owned segment");
        let (free, committed) = (segment.free(all), segment.committed);
        change(self.here.get_mut(&index), segment);
        segment.committed = segment.committed.min(all);
        segment.room = segment.room.min(segment.free(all));
        segment.loose.take_if(|loose| loose.is_empty());
        self.free = self.free - u64::from(free) + u64::from(segment.free(all));
        self.committed = self.committed - u64::from(committed) + u64::from(segment.committed);
    }

    fn locate(&self, span: Span) -> Option<(u32, u32, u32)> {
        let index = segment::of_offset(span.offset, self.segment_bytes)?;
        let inside = span.offset - segment::offset(index, self.segment_bytes);
        let fits = inside >= PAGE as u64 && inside.checked_add(span.bytes)? <= self.segment_bytes;
        let aligned = inside.is_multiple_of(PAGE as u64) && span.bytes.is_multiple_of(PAGE as u64);
        let known = fits && aligned && self.owns(index);
        known.then_some((index, (inside / PAGE as u64) as u32, (span.bytes / PAGE as u64) as u32))
    }
}

impl Segment {
    /// Pages that are not taken, of `all` there are.
    fn free(&self, all: u32) -> u32 {
        let extra = self.loose.as_ref().map_or(0, |loose| loose.extra.pages());
        all.saturating_sub(self.committed).saturating_sub(extra)
    }
}

impl Loose {
    fn is_empty(&self) -> bool {
        self.extra.is_empty() && self.owned.is_empty() && self.freed.is_empty()
    }

    /// Brings a committed map up to date.
    fn apply(&self, committed: &mut Bitmap) {
        self.owned.iter().for_each(|(page, pages)| committed.set(page, pages));
        self.freed.iter().for_each(|(page, pages)| committed.clear(page, pages));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::SEGMENT_BYTES_MIN;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Allocate(u64, Among),
        Commit(usize),
        Free(usize),
        /// No reader of what was uncommitted is left.
        Release(usize),
        SendAway(usize),
        BringBack(u64, Among),
        Save,
        Crash,
    }

    fn among() -> impl Strategy<Value = Among> {
        prop_oneof![Just(Among::All), Just(Among::Holes), Just(Among::AllToOpen), Just(Among::Opened)]
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (1u64..600, among()).prop_map(|(pages, among)| Step::Allocate(pages, among)),
            5 => any::<usize>().prop_map(Step::Commit),
            4 => any::<usize>().prop_map(Step::Free),
            3 => any::<usize>().prop_map(Step::Release),
            2 => (0usize..3).prop_map(Step::SendAway),
            2 => (1u64..600, among()).prop_map(|(pages, among)| Step::BringBack(pages, among)),
            2 => Just(Step::Save),
            1 => Just(Step::Crash),
        ];
        prop::collection::vec(step, 1..120)
    }

    fn pages(span: Span) -> impl Iterator<Item = u64> {
        let page = PAGE as u64;
        (span.offset / page)..((span.offset + span.bytes) / page)
    }

    /// The space, the catalog it is saved in, and the naive truth about both.
    struct Trial {
        space: Space,
        catalog: BTreeMap<u32, Vec<u8>>,
        /// What happened to committed spans since all of it was saved last.
        log: Vec<(bool, Span)>,
        written: Vec<Span>,
        committed: Vec<Span>,
        read: Vec<Span>,
        /// Segments of what was committed when all of it was saved last.
        saved: BTreeSet<u32>,
        opened: BTreeSet<u32>,
        total: u64,
    }

    fn segment_of(span: &Span) -> u32 {
        segment::of_offset(span.offset, SEGMENT_BYTES_MIN).expect("it is in a segment")
    }

    impl Trial {
        fn new() -> Self {
            let mut space = Space::new(SEGMENT_BYTES_MIN);
            (3..6).for_each(|index| space.add_empty(index));
            let total = space.free_bytes();
            let (catalog, log, saved, opened) = Default::default();
            Trial {
                space,
                catalog,
                log,
                written: vec![],
                committed: vec![],
                read: vec![],
                saved,
                opened,
                total,
            }
        }

        fn perform(&mut self, step: Step) {
            match step {
                Step::Allocate(count, among) => self.allocate(count * PAGE as u64, among),
                Step::Commit(at) if !self.written.is_empty() => {
                    let span = self.written.swap_remove(at % self.written.len());
                    assert!(self.space.commit(span));
                    self.opened.insert(segment_of(&span));
                    self.log.push((true, span));
                    self.committed.push(span);
                }
                Step::Free(at) if !self.committed.is_empty() => {
                    let span = self.committed.swap_remove(at % self.committed.len());
                    assert!(self.space.uncommit(span));
                    assert!(!self.space.uncommit(span), "nothing is freed twice");
                    self.log.push((false, span));
                    self.read.push(span);
                }
                Step::Release(at) if !self.read.is_empty() => {
                    let span = self.read.swap_remove(at % self.read.len());
                    self.space.release(span);
                }
                Step::SendAway(maps_max) => self.space.send_away(maps_max),
                Step::BringBack(count, among) => drop(self.bring_back(count * PAGE as u64, among)),
                Step::Save => self.save(),
                Step::Crash => self.crash(),
                _ => {}
            }
        }

        fn allocate(&mut self, bytes: u64, among: Among) {
            let offset = loop {
                match self.space.allocate(bytes, among) {
                    Some(offset) => break offset,
                    None if self.bring_back(bytes, among) => {}
                    None => return assert!(!self.has_room(bytes, among), "there is room for {bytes} bytes"),
                }
            };
            let span = Span { offset, bytes };
            let taken = self.taken();
            assert!(pages(span).all(|page| !taken.contains(&page)), "handed out twice");
            match among {
                Among::AllToOpen => drop(self.opened.insert(segment_of(&span))),
                Among::Holes | Among::Opened => assert!(self.opened.contains(&segment_of(&span))),
                Among::All => {}
            }
            self.written.push(span);
        }

        fn bring_back(&mut self, bytes: u64, among: Among) -> bool {
            let Some(away) = self.space.away_with_room(bytes, among) else { return false };
            let value = self.catalog.get(&away.segment);
            self.space.bring_back(away, value.map(Vec::as_slice)).expect("a sound map");
            true
        }

        fn save(&mut self) {
            for index in self.space.changed() {
                let value = match self.space.save(index) {
                    Saved::Map(value) => value,
                    Saved::Clean => panic!("it is among the changed"),
                    Saved::Needs(away) => {
                        let value = self.catalog.get(&index).map(Vec::as_slice);
                        self.space.save_over(away, value).expect("a sound map").expect("nobody came between")
                    }
                };
                self.catalog.insert(index, value);
            }
            assert_eq!((self.space.changed(), self.space.unsaved_bytes()), (vec![], 0));
            self.log.clear();
            self.saved = self.committed.iter().map(segment_of).collect();
        }

        /// What is in memory is gone; the catalog and the log behind it are not.
        fn crash(&mut self) {
            // A save that was cut off does not count: the log begins where all was saved last.
            self.space = Space::new(SEGMENT_BYTES_MIN);
            (3..6).for_each(|index| self.space.add_segment(index));
            for (index, value) in &self.catalog {
                assert!(self.space.note(*index, value));
            }
            for (commit, span) in &self.log {
                assert!(if *commit { self.space.commit(*span) } else { self.space.uncommit(*span) });
            }
            self.space.settle();
            self.space.let_go();
            let committed = self.log.iter().filter(|(commit, _)| *commit).map(|(_, span)| segment_of(span));
            self.opened = self.saved.iter().copied().chain(committed).collect();
            self.written.clear();
            self.read.clear();
        }

        fn taken(&self) -> BTreeSet<u64> {
            let all = self.written.iter().chain(&self.committed).chain(&self.read);
            all.flat_map(|span| pages(*span)).collect()
        }

        fn has_room(&self, bytes: u64, among: Among) -> bool {
            let (taken, wanted) = (self.taken(), bytes / PAGE as u64);
            let any = matches!(among, Among::All | Among::AllToOpen);
            (3..6).filter(|index| any || self.opened.contains(index)).any(|index| {
                let start = segment::offset(index, SEGMENT_BYTES_MIN) / PAGE as u64;
                let mut run = 0;
                (start + 1..start + SEGMENT_BYTES_MIN / PAGE as u64).any(|page| {
                    run = if taken.contains(&page) { 0 } else { run + 1 };
                    run == wanted
                })
            })
        }

        fn check(&self) {
            let bytes = |spans: &[Span]| spans.iter().map(|span| span.bytes).sum::<u64>();
            let committed = bytes(&self.committed);
            assert_eq!(self.space.committed_bytes(), committed);
            let taken = committed + bytes(&self.written) + bytes(&self.read);
            assert_eq!(self.space.free_bytes(), self.total - taken);
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_of_pages(steps in steps()) {
            let mut trial = Trial::new();
            for step in steps {
                trial.perform(step);
                trial.check();
            }
        }
    }

    #[test]
    fn spans_from_a_drive_that_lie_are_refused() {
        let mut space = Space::new(SEGMENT_BYTES_MIN);
        space.add_empty(0);
        let at = segment::offset(0, SEGMENT_BYTES_MIN);
        for (offset, bytes) in [(0, 4096), (at, 4096), (at + 4096, SEGMENT_BYTES_MIN), (at + 5000, 4096)] {
            assert!(!space.commit(Span { offset, bytes }));
        }
        assert!(!space.uncommit(Span { offset: at + 4096, bytes: 4096 }), "nobody owned it");
    }

    #[test]
    fn a_map_that_changed_while_it_was_read_does_not_come_back() {
        let mut space = Space::new(SEGMENT_BYTES_MIN);
        space.add_empty(0);
        let offset = space.allocate(4096, Among::AllToOpen).expect("it is empty");
        let span = Span { offset, bytes: 4096 };
        assert!(space.commit(span));
        let Saved::Map(full) = space.save(0) else { panic!("its map is here") };
        space.send_away(0);
        let away = space.away_with_room(4096, Among::All).expect("there is room");
        assert!(space.uncommit(span));
        let Saved::Needs(other) = space.save(0) else { panic!("its map is away") };
        let empty = space.save_over(other, Some(&full)).expect("a map").expect("in time");
        assert_eq!(space.bring_back(away, Some(&full)), Ok(()));
        assert_eq!(space.maps(), 0);
        let away = space.away_with_room(4096, Among::All).expect("there is room");
        assert_eq!(space.bring_back(away, Some(&empty)), Ok(()));
        assert_eq!(space.maps(), 1);
    }

    #[test]
    fn maps_here_are_as_many_as_are_wanted_and_changed_ones_stay() {
        let mut space = Space::new(SEGMENT_BYTES_MIN);
        (0..9).for_each(|index| space.add_empty(index));
        let offset = space.allocate(4096, Among::AllToOpen).expect("it is empty");
        assert!(space.commit(Span { offset, bytes: 4096 }));
        space.send_away(0);
        assert_eq!((space.maps(), space.unsaved_bytes()), (1, space.map_bytes()));
    }

    #[test]
    fn empty_segments_are_given_up_but_not_the_last_ones() {
        let mut space = Space::new(SEGMENT_BYTES_MIN);
        (0..3).for_each(|index| space.add_empty(index));
        space.send_away(1);
        assert_eq!(space.surrender(1), Some(2));
        assert_eq!(space.surrender(1), Some(1));
        assert_eq!(space.surrender(1), None);
    }
}
