//! The bytes of one simulated file: what reads see, what is durable, and what lies between.
//!
//! Owns [`Media`] and the tearing at a crash. Works in pages, since every transfer is made of whole pages;
//! a page that is in neither map is zero. Pages are shared by reference and never changed in place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use super::state::Chance;
use crate::base::limits::PAGE;

pub(super) type Page = Rc<[u8; PAGE]>;

/// Unit of tearing.
const SECTOR: usize = 512;
const PAGE_BYTES: u64 = PAGE as u64;

#[derive(Default)]
pub(super) struct Media {
    pub len: u64,
    durable_len: u64,
    seen: BTreeMap<u64, Page>,
    durable: BTreeMap<u64, Page>,
    /// For each page the versions written since the durable one, oldest first.
    unsynced: BTreeMap<u64, Vec<Version>>,
    unreadable: BTreeSet<u64>,
}

struct Version {
    /// When its write was complete.
    time: u64,
    page: Page,
    /// A sync that covered it failed: no later one makes it durable.
    doomed: bool,
}

impl Media {
    /// Of a block device: its size is as it is.
    pub fn of_size(len: u64) -> Self {
        Media { len, durable_len: len, ..Media::default() }
    }

    /// Fills `bytes` with what is seen from `offset` on, which need not be aligned.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let inside = (at % PAGE_BYTES) as usize;
            let count = (PAGE - inside).min(bytes.len() - done);
            let target = &mut bytes[done..done + count];
            match self.seen.get(&(at / PAGE_BYTES)) {
                Some(page) => target.copy_from_slice(&page[inside..inside + count]),
                None => target.fill(0),
            }
            done += count;
        }
    }

    pub fn is_readable(&self, offset: u64, len: u64) -> bool {
        self.unreadable.range(offset / PAGE_BYTES..(offset + len).div_ceil(PAGE_BYTES)).next().is_none()
    }

    pub fn fail_reads(&mut self, range: Range<u64>) {
        self.unreadable.extend(range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES));
    }

    /// A complete write: seen from now on, durable after a sync that begins later.
    pub fn write(&mut self, time: u64, first: u64, pages: &[Page]) {
        for (number, page) in (first..).zip(pages) {
            self.see(number, page);
            self.unsynced.entry(number).or_default().push(Version {
                time,
                page: page.clone(),
                doomed: false,
            });
        }
        self.len = self.len.max((first + pages.len() as u64) * PAGE_BYTES);
    }

    /// A complete write that is durable.
    pub fn write_durably(&mut self, first: u64, pages: &[Page]) {
        for (number, page) in (first..).zip(pages) {
            self.see(number, page);
            self.settle(number, page.clone());
            self.unsynced.remove(&number);
        }
        self.len = self.len.max((first + pages.len() as u64) * PAGE_BYTES);
        self.durable_len = self.durable_len.max((first + pages.len() as u64) * PAGE_BYTES);
    }

    /// A failed write: each of its sectors may have been written.
    pub fn write_partly(&mut self, time: u64, first: u64, pages: &[Page], chance: &mut Chance) {
        for (number, new) in (first..).zip(pages) {
            let mut page = self.page_seen(number);
            mix(&mut page, new, || chance.one_in(2));
            self.write(time, number, &[Rc::new(page)]);
        }
    }

    /// A complete sync that began at `time`.
    pub fn sync(&mut self, time: u64, len: u64) {
        let Media { unsynced, durable, .. } = self;
        unsynced.retain(|number, versions| {
            if let Some(last) = versions.iter().rposition(|version| version.time <= time && !version.doomed) {
                durable.insert(*number, versions[last].page.clone());
                versions.drain(..=last);
            }
            !versions.is_empty()
        });
        self.durable_len = self.durable_len.max(len);
    }

    /// A sync that failed.
    pub fn doom(&mut self, time: u64) {
        let versions = self.unsynced.values_mut().flatten();
        versions.filter(|version| version.time <= time).for_each(|version| version.doomed = true);
    }

    /// Power is lost: writes in flight count as written last, then every sector becomes one of its
    /// versions since the durable one, or that one.
    pub fn crash(&mut self, in_flight: Vec<(u64, Vec<Page>)>, kept_of_8: u64, chance: &mut Chance) {
        for (first, pages) in in_flight {
            self.write(u64::MAX, first, &pages);
        }
        for (number, versions) in std::mem::take(&mut self.unsynced) {
            let mut page = self.durable.get(&number).map_or([0; PAGE], |page| **page);
            let mut is_changed = false;
            for version in &versions {
                mix(&mut page, &version.page, || {
                    let is_kept = chance.below(8) < kept_of_8;
                    is_changed |= is_kept;
                    is_kept
                });
            }
            if is_changed {
                self.settle(number, Rc::new(page));
                self.durable_len = self.durable_len.max((number + 1) * PAGE_BYTES);
            }
        }
        if chance.one_in(2) {
            self.durable_len = self.len;
        }
        self.len = self.durable_len;
        self.seen = self.durable.clone();
    }

    /// Changes bytes at rest in every version.
    pub fn poke(&mut self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            let (number, inside) = (at / PAGE_BYTES, (at % PAGE_BYTES) as usize);
            let mut page = self.page_seen(number);
            page[inside] = *byte;
            self.unsynced.remove(&number);
            self.see(number, &Rc::new(page));
            self.settle(number, Rc::new(page));
        }
    }

    /// Every page that was ever written becomes another one, in every version.
    pub fn spoil(&mut self) {
        self.unsynced.clear();
        for (number, page) in &mut self.seen {
            *page = Rc::new(page.map(|byte| !byte));
            self.durable.insert(*number, page.clone());
        }
    }

    fn page_seen(&self, number: u64) -> [u8; PAGE] {
        self.seen.get(&number).map_or([0; PAGE], |page| **page)
    }

    fn see(&mut self, number: u64, page: &Page) {
        self.unreadable.remove(&number);
        self.seen.insert(number, page.clone());
    }

    fn settle(&mut self, number: u64, page: Page) {
        self.durable.insert(number, page);
    }
}

/// Copies those sectors of `new` that `is_kept` chooses.
fn mix(page: &mut [u8; PAGE], new: &[u8; PAGE], mut is_kept: impl FnMut() -> bool) {
    for (target, source) in page.chunks_mut(SECTOR).zip(new.chunks(SECTOR)) {
        if is_kept() {
            target.copy_from_slice(source);
        }
    }
}
