//! Space against a naive model.
//!
//! The model is a set of pages. Steps come by chance: pieces are handed out, committed, freed and released, maps are
//! saved, sent away and brought back, and a crash leaves the catalog and the log behind it. Nothing is ever handed out
//! twice, all sums agree, and there is room whenever the model has some.

use std::collections::{BTreeMap, BTreeSet};

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
        Trial { space, catalog, log, written: vec![], committed: vec![], read: vec![], saved, opened, total }
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

#[test]
fn what_was_emptied_is_withheld_until_that_is_saved() {
    let mut space = Space::new(SEGMENT_BYTES_MIN);
    space.add_empty(0);
    let span = Span { offset: space.allocate(4096, Among::AllToOpen).expect("it is empty"), bytes: 4096 };
    assert!(space.commit(span) && !space.withholds());
    assert!(space.uncommit(span) && !space.withholds(), "somebody may read it");
    space.release(span);
    assert!(space.withholds() && space.surrender(0).is_none());
    assert!(matches!(space.save(0), Saved::Map(_)));
    assert!(!space.withholds() && space.surrender(0) == Some(0));
}
