//! Which runs make up the index, and which of them to merge next.
//!
//! Owns the shape: levels of tiers of runs. A tier is a sorted sequence of disjoint runs; within a
//! level tiers stand newest first, and everything on a level is newer than everything below it. Every
//! level but the deepest collects `limits::INDEX_FANOUT` tiers, which are then merged into one tier of
//! the next; the deepest is a single tier that such a merge includes ("lazy leveling"; why:
//! `docs/decisions/catalog.md`). A `Levels` is immutable; changes make a new one, so that readers
//! keep theirs. Also owns the encoding in the manifest, described in `docs/FORMAT.md`.

use std::cell::Cell;
use std::rc::Rc;

use crate::base::ids::ShardId;
use crate::base::limits;
use crate::catalog::error::{CatalogError, Result};
use crate::catalog::run::footer::{decode_extent, encode_extent, take_u32, take_u64};
use crate::catalog::run::reader::{Fate, Run, RunRef};
use crate::catalog::run::store::RunStore;

pub struct Levels<S: RunStore> {
    levels: Vec<Vec<Rc<Tier<S>>>>,
}

pub struct Tier<S: RunStore> {
    runs: Rc<[Rc<Run<S>>]>,
    /// A merge reads it, or has read it and waits for the manifest.
    busy: Cell<bool>,
}

/// Tiers to merge into one.
pub struct Job<S: RunStore> {
    /// Newest first.
    pub inputs: Vec<Rc<Tier<S>>>,
    pub output_level: usize,
    /// Nothing older than the inputs exists: tombstones have done their work.
    pub to_bottom: bool,
    /// One tier is written anew as it is and keeps its place.
    pub in_place: bool,
}

/// A step from one shape to the next.
pub struct Change<S: RunStore> {
    pub removed: Vec<Rc<Tier<S>>>,
    pub level: usize,
    /// Becomes the newest tier of `level`, or takes the place of the only one removed.
    pub added: Option<Rc<Tier<S>>>,
    pub in_place: bool,
}

/// The encoded form: the number of the next run, and for each run its level, tier and root.
pub struct Encoded {
    pub next_run: u64,
    pub runs: Vec<(u8, u16, RunRef)>,
}

const MAGIC: u32 = u32::from_le_bytes(*b"BsLV");
const VERSION: u16 = 1;

impl<S: RunStore> Levels<S> {
    pub fn empty() -> Self {
        Levels { levels: Vec::new() }
    }

    /// `runs` as they were encoded, opened.
    pub fn assemble(runs: Vec<(u8, u16, Rc<Run<S>>)>) -> Result<Self> {
        let mut levels: Vec<Vec<Rc<Tier<S>>>> = Vec::new();
        for chunk in runs.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let Some((level, tier, _)) = chunk.first() else { continue };
            let runs: Vec<_> = chunk.iter().map(|(_, _, run)| run.clone()).collect();
            let sorted = |a: &Rc<Run<S>>, b: &Rc<Run<S>>| a.footer().last_key < b.footer().first_key;
            if !runs.is_sorted_by(sorted) {
                return Err(CatalogError::Levels("runs of a tier overlap"));
            }
            if usize::from(*level) >= levels.len() {
                levels.resize_with(usize::from(*level) + 1, Vec::new);
            }
            let tiers = levels.get_mut(usize::from(*level)).ok_or(CatalogError::Levels("level"))?;
            if tiers.len() != usize::from(*tier) {
                return Err(CatalogError::Levels("tiers are not in order"));
            }
            tiers.push(Rc::new(Tier::new(runs)));
        }
        Ok(Levels { levels })
    }

    /// Newest first.
    pub fn tiers(&self) -> impl Iterator<Item = &Rc<Tier<S>>> {
        self.levels.iter().flatten()
    }

    pub fn runs(&self) -> impl Iterator<Item = &Rc<Run<S>>> {
        self.tiers().flat_map(|tier| tier.runs.iter())
    }

    pub fn is_empty(&self) -> bool {
        self.levels.iter().all(Vec::is_empty)
    }

    /// Tiers beyond those a level collects before it is merged.
    pub fn backlog(&self) -> usize {
        self.levels.iter().map(|tiers| tiers.len().saturating_sub(limits::INDEX_FANOUT - 1)).sum()
    }

    pub fn apply(&self, change: &Change<S>) -> Self {
        let mut levels = self.levels.clone();
        let before = self.tiers().count();
        let place = if change.in_place { self.place_of(&change.removed[0]) } else { 0 };
        for tiers in &mut levels {
            tiers.retain(|tier| !change.removed.iter().any(|removed| Rc::ptr_eq(removed, tier)));
        }
        let after: usize = levels.iter().map(Vec::len).sum();
        assert_eq!(before - after, change.removed.len(), "a tier is replaced once");
        if let Some(added) = &change.added {
            levels.resize_with(levels.len().max(change.level + 1), Vec::new);
            levels[change.level].insert(place, added.clone());
        }
        while levels.last().is_some_and(Vec::is_empty) {
            levels.pop();
        }
        Levels { levels }
    }

    /// How many tiers of its level are newer than this one.
    fn place_of(&self, tier: &Rc<Tier<S>>) -> usize {
        let place = |tiers: &Vec<Rc<Tier<S>>>| tiers.iter().position(|other| Rc::ptr_eq(other, tier));
        self.levels.iter().find_map(place).expect("a tier that is replaced is there")
    }

    /// A tier of which `wants` is true to be written anew, if no running merge is in the way.
    pub fn pick_tier(&self, wants: impl Fn(&Tier<S>) -> bool) -> Option<Job<S>> {
        let bottom = self.levels.len().checked_sub(1)?;
        for (level, tiers) in self.levels.iter().enumerate() {
            let chosen = tiers.iter().position(|tier| !tier.busy.get() && wants(tier));
            let Some(place) = chosen else { continue };
            let to_bottom = level == bottom && place + 1 == tiers.len();
            return Some(Job {
                inputs: vec![tiers[place].clone()],
                output_level: level,
                to_bottom,
                in_place: true,
            });
        }
        None
    }

    /// The most urgent merge that no running one is in the way of: a full level, the newest first,
    /// or everything, when much of it is deleted.
    pub fn pick(&self) -> Option<Job<S>> {
        let bottom = self.levels.len().checked_sub(1)?;
        (0..bottom.max(1)).find_map(|level| self.pick_level(level, bottom)).or_else(|| self.pick_all(bottom))
    }

    fn pick_level(&self, level: usize, bottom: usize) -> Option<Job<S>> {
        let mut inputs = self.levels.get(level)?.clone();
        let idle = |tiers: &[Rc<Tier<S>>]| !tiers.iter().any(|tier| tier.busy.get());
        if inputs.len() < limits::INDEX_FANOUT {
            return None;
        }
        let mut output_level = level + 1;
        if output_level == bottom {
            let incoming: u64 = inputs.iter().map(|tier| tier.bytes()).sum();
            let resting: u64 = self.levels[bottom].iter().map(|tier| tier.bytes()).sum();
            // Much larger than what comes in: one more level keeps the share of rewriting low.
            let deeper = resting >= incoming * limits::INDEX_FANOUT as u64;
            output_level += usize::from(deeper && bottom + 1 < limits::INDEX_LEVELS_MAX);
            inputs.extend(self.levels[bottom].iter().cloned());
        }
        let to_bottom = level + 1 >= bottom;
        idle(&inputs).then_some(Job { inputs, output_level, to_bottom, in_place: false })
    }

    fn pick_all(&self, bottom: usize) -> Option<Job<S>> {
        let entries: u64 = self.runs().map(|run| run.footer().entries).sum();
        let tombstones: u64 = self.runs().map(|run| run.footer().tombstones).sum();
        let worth = tombstones >= limits::INDEX_TOMBSTONES_MERGED && tombstones >= entries / 4;
        if !worth || self.tiers().any(|tier| tier.busy.get()) {
            return None;
        }
        let inputs = self.tiers().cloned().collect();
        Some(Job { inputs, output_level: bottom.max(1), to_bottom: true, in_place: false })
    }

    pub fn encode(&self, shard: ShardId, next_run: u64) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&shard.0.to_le_bytes());
        out.extend_from_slice(&next_run.to_le_bytes());
        out.extend_from_slice(&(self.runs().count() as u32).to_le_bytes());
        for (level, tiers) in self.levels.iter().enumerate() {
            for (n, tier) in tiers.iter().enumerate() {
                let place = (level as u8, u16::try_from(n).expect("merges bound the tiers"));
                tier.runs.iter().for_each(|run| encode_run(place, run.root(), &mut out));
            }
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }
}

impl<S: RunStore> Tier<S> {
    pub fn new(runs: Vec<Rc<Run<S>>>) -> Self {
        assert!(!runs.is_empty());
        Tier { runs: runs.into(), busy: Cell::new(false) }
    }

    pub fn runs(&self) -> &Rc<[Rc<Run<S>>]> {
        &self.runs
    }

    pub fn set_busy(&self, busy: bool) {
        self.busy.set(busy);
    }

    /// The only run that may know `key`.
    pub fn run_for(&self, key: &[u8]) -> Option<&Rc<Run<S>>> {
        self.runs.get(self.runs.partition_point(|run| run.footer().last_key < key))
    }

    /// Whether a run may hold keys from `start`, inclusive, to `end`, exclusive.
    pub fn overlaps(&self, start: &[u8], end: &[u8]) -> bool {
        self.run_for(start).is_some_and(|run| run.footer().first_key < end)
    }

    fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.footer().bytes).sum()
    }
}

impl<S: RunStore> Change<S> {
    pub fn added_runs(&self) -> impl Iterator<Item = &Rc<Run<S>>> {
        self.added.iter().flat_map(|tier| tier.runs.iter())
    }

    /// Lets the removed runs that are not among the added ones free their space when dropped.
    pub fn give_up_removed(&self) {
        let removed = self.removed.iter().flat_map(|tier| tier.runs.iter());
        for run in removed.filter(|run| !self.added_runs().any(|added| Rc::ptr_eq(added, run))) {
            run.set_fate(Fate::Free);
        }
    }
}

impl Encoded {
    /// The inverse of `Levels::encode`; no bytes at all are an index without runs.
    pub fn decode(bytes: &[u8], shard: ShardId) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Encoded { next_run: 1, runs: Vec::new() });
        }
        let (body, crc) = bytes.split_last_chunk().ok_or(CatalogError::Levels("too short"))?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(CatalogError::Levels("checksum"));
        }
        Self::decode_body(body, shard).ok_or(CatalogError::Levels("content"))
    }

    fn decode_body(body: &[u8], shard: ShardId) -> Option<Self> {
        let mut at = 0;
        let magic = take_u32(body, &mut at)?;
        let version_and_shard = take_u32(body, &mut at)?;
        if magic != MAGIC || version_and_shard != u32::from(VERSION) | u32::from(shard.0) << 16 {
            return None;
        }
        let next_run = take_u64(body, &mut at)?;
        let count = take_u32(body, &mut at)?;
        let mut runs = Vec::new();
        for _ in 0..count {
            runs.push(decode_run(body, &mut at)?);
        }
        (at == body.len()).then_some(Encoded { next_run, runs })
    }
}

/// Run id 8, level 1, tier 2, footer checksum 4, footer extent.
fn encode_run((level, tier): (u8, u16), root: &RunRef, out: &mut Vec<u8>) {
    out.extend_from_slice(&root.id.to_le_bytes());
    out.push(level);
    out.extend_from_slice(&tier.to_le_bytes());
    out.extend_from_slice(&root.crc.to_le_bytes());
    encode_extent(&root.extent, out);
}

fn decode_run(body: &[u8], at: &mut usize) -> Option<(u8, u16, RunRef)> {
    let id = take_u64(body, at)?;
    let [level, t0, t1] = *body.get(*at..)?.first_chunk()?;
    *at = at.checked_add(3)?;
    let crc = take_u32(body, at)?;
    let extent = decode_extent(body, at)?;
    let known = usize::from(level) < limits::INDEX_LEVELS_MAX;
    known.then_some((level, u16::from_le_bytes([t0, t1]), RunRef { id, extent, crc }))
}
