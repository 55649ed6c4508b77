//! The maps between memory and the catalog: noted at a start, brought back, saved, sent away.
//!
//! The value in the catalog is the committed map of a segment. One that is away is made from it and from what has
//! changed since (`Loose`). Reading the catalog takes time, in which the map may change or come back: `Away` has the
//! version that was asked for, and what arrives too late does nothing. What stands in the catalog comes from drives
//! and may be no map: that is an error.

use super::{Away, Map, Space, Span};
use crate::base::limits::PAGE;
use crate::drive::bitmap::Bitmap;
use crate::drive::segment;

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

impl Space {
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

    fn decode(&self, value: Option<&[u8]>) -> Option<Bitmap> {
        match value {
            None => Some(Bitmap::new(self.pages())),
            Some(value) => Bitmap::decode(value, self.pages()),
        }
    }
}
