//! Free space of one shard on one drive: the segments it owns, and which pages of them are whose.
//!
//! `taken` is what may not be handed out now: committed, being written, or freed but still read by
//! somebody. `committed` is what durable records own; it alone is written to the catalog at a flush,
//! so that space no record owns is free after a crash. What is taken without being committed is kept
//! as runs, `extra`. The map of a segment is *here* (a bitmap of what is taken) or *away*: then
//! the catalog has what was committed, and only counts and what has changed since are kept. A map comes
//! back when an allocation wants its segment; one whose catalog value is up to date may be sent away.
//! A segment is *opened* when the first bytes of an object go into it; until then it holds runs of the catalog at
//! most, and on a full drive objects have to leave it to those (`Among`). `allocate` chooses where a piece comes from,
//! `maps` moves maps between memory and the catalog; what becomes of a piece stands here.
//! Pure state: no I/O, no time. The naive model it is tested against is a set of pages.

mod allocate;
mod maps;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::{PAGE, SPACE_CHANGE_BYTES};
use crate::drive::bitmap::Bitmap;
use crate::drive::segment;
use crate::drive::spans::Spans;

pub use allocate::Among;
pub use maps::{Damaged, Saved};

/// A run of pages inside one segment, by byte offset on the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub offset: u64,
    pub bytes: u64,
}

/// A map that is away, as it was when somebody set out to read it from the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    pub segment: u32,
    version: u64,
}

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

    /// Whether a segment holds nothing any more, and cannot be given up before the catalog knows.
    pub fn withholds(&self) -> bool {
        let all = self.pages() - 1;
        self.changed.iter().any(|index| self.segments.get(index).is_some_and(|s| s.free(all) == all))
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

#[cfg(test)]
mod trial;
