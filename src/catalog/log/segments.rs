//! The segments of a log that hold records: the one that is written to, and the full ones behind it.
//!
//! Owns what is known of each, and which of them are to be emptied before their turn. Performs no I/O. Invariant: a
//! segment is full or the current one, never both, and full ones stand in the order in which they were left.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{LogId, ShardId};
use crate::base::limits::PAGE;
use crate::catalog::batch::Pending;
use crate::catalog::record::Sequence;
use crate::catalog::value::LogPosition;
use crate::pool::logs::Mirrors;

/// A full log segment, with what decides when it may be retired.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub id: LogId,
    /// Bytes written, header included.
    pub bytes: u32,
    /// The last record of each shard in it.
    pub last: BTreeMap<ShardId, Sequence>,
    /// Whether a start found it on every drive that it was begun on, to its end: then more may be written behind that.
    pub is_whole: bool,
}

/// One that is written to, or is about to be.
pub(super) struct Current {
    pub(super) id: LogId,
    pub(super) mirrors: Mirrors,
    /// Where the next batch goes.
    pub(super) offset: u32,
    pub(super) last: BTreeMap<ShardId, Sequence>,
}

/// Where a batch is written to, and on which drives.
pub(super) type Place = (LogPosition, Mirrors);

impl Current {
    /// One that has a header and nothing else.
    pub(super) fn fresh(id: LogId, mirrors: Mirrors) -> Self {
        Current { id, mirrors, offset: PAGE as u32, last: BTreeMap::new() }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.offset == PAGE as u32
    }

    /// Where `padded` bytes go, if it has that many left and `safe` mirrors: when drives come back into service, what
    /// was safe without them is not any more.
    pub(super) fn place(&self, padded: usize, safe: usize, segment_bytes: u64) -> Option<Place> {
        let end = u64::from(self.offset) + padded as u64;
        let fits = self.mirrors.len() >= safe && end <= segment_bytes;
        fits.then(|| (LogPosition { log: self.id, offset: self.offset }, self.mirrors.clone()))
    }
}

/// What a log knows of its segments.
pub struct Segments {
    current: RefCell<Option<Current>>,
    /// The one that ends with the batch that is being written.
    left: Cell<Option<LogId>>,
    sealed: RefCell<Vec<Sealed>>,
    /// The one that is being emptied.
    emptying: Cell<Option<LogId>>,
    /// To be emptied before their turn: they lack mirrors, or a mirror is damaged.
    weak: RefCell<BTreeSet<LogId>>,
}

/// A segment is being emptied; one at a time, and no record is written to it meanwhile.
pub struct Emptying<'s>(&'s Cell<Option<LogId>>);

impl Drop for Emptying<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

impl Segments {
    /// `sealed` are those that a start found.
    pub(super) fn new(sealed: Vec<Sealed>) -> Self {
        Segments {
            current: RefCell::default(),
            left: Cell::default(),
            sealed: RefCell::new(sealed),
            emptying: Cell::default(),
            weak: RefCell::default(),
        }
    }

    /// Those that hold records, the current one included.
    pub fn live(&self) -> usize {
        self.sealed.borrow().len() + usize::from(self.has_current())
    }

    pub(super) fn has_current(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// What `look` says of the current one.
    pub(super) fn of_current<T>(&self, look: impl FnOnce(&Current) -> T) -> Option<T> {
        self.current.borrow().as_ref().map(look)
    }

    /// The current one is full by now.
    pub(super) fn begin(&self, next: Current) {
        let before = self.current.replace(Some(next));
        assert!(before.is_none(), "one segment is written to");
    }

    /// A batch of so many bytes is in the current one. Whether that was to be its last.
    pub(super) fn advance(&self, padded: usize, records: &[Pending]) -> bool {
        let mut current = self.current.borrow_mut();
        let current = current.as_mut().expect("a batch was just written to it");
        current.offset += padded as u32;
        current.last.extend(records.iter().map(|record| (record.shard, record.sequence)));
        self.left.get() == Some(current.id)
    }

    /// The current one is to take no more than the batch that is on its way.
    pub(super) fn leave_behind_batch(&self, id: LogId) {
        self.left.set(Some(id));
    }

    /// The current one takes no more batches.
    pub fn seal(&self) {
        self.current.borrow_mut().take().into_iter().for_each(|current| self.keep(current));
    }

    /// What was written to, or was about to be, is full from here on.
    pub(super) fn keep(&self, Current { id, offset, last, .. }: Current) {
        self.sealed.borrow_mut().push(Sealed { id, bytes: offset, last, is_whole: false });
    }

    /// Takes out the full one that `size` finds the smallest of those that it gives a size to and that are not being
    /// emptied.
    pub(super) fn take_smallest(&self, size: impl Fn(&Sealed) -> Option<u32>) -> Option<Sealed> {
        let mut sealed = self.sealed.borrow_mut();
        let sizes = sealed.iter().enumerate().filter(|(_, sealed)| self.emptying.get() != Some(sealed.id));
        let (_, at) = sizes.filter_map(|(at, sealed)| Some((size(sealed)?, at))).min()?;
        Some(sealed.remove(at))
    }

    /// Puts it back as the one that was left first.
    pub(super) fn put_back(&self, sealed: Sealed) {
        self.sealed.borrow_mut().insert(0, sealed);
    }

    /// Held while a full segment is emptied, with what it is now: since it was listed it may have been written to
    /// again (`resume`). `None` for one that is not full any more.
    pub fn begin_emptying(&self, id: LogId) -> Option<(Emptying<'_>, Sealed)> {
        let sealed = self.sealed.borrow().iter().find(|sealed| sealed.id == id).cloned()?;
        self.emptying.set(Some(id));
        Some((Emptying(&self.emptying), sealed))
    }

    pub(super) fn forget(&self, id: LogId) {
        self.sealed.borrow_mut().retain(|sealed| sealed.id != id);
    }

    /// The full one that was left first.
    pub fn oldest_sealed(&self) -> Option<Sealed> {
        self.sealed.borrow().first().cloned()
    }

    /// All full ones, in the order in which they were left.
    pub fn sealed(&self) -> Vec<Sealed> {
        self.sealed.borrow().clone()
    }

    /// Those that hold records; the one that is being written to comes last.
    pub fn ids(&self) -> Vec<LogId> {
        let sealed = self.sealed.borrow();
        let full = sealed.iter().map(|sealed| sealed.id);
        full.chain(self.of_current(|current| current.id)).collect()
    }

    /// Bytes of one of them that are acknowledged, header included; `None` for one that is gone.
    pub fn written(&self, id: LogId) -> Option<u32> {
        let current = self.of_current(|current| (current.id, current.offset));
        let sealed = self.sealed.borrow();
        let mut all = sealed.iter().map(|sealed| (sealed.id, sealed.bytes)).chain(current);
        all.find(|(found, _)| *found == id).map(|(_, bytes)| bytes)
    }

    /// Asks for one to be emptied before its turn, when it is full.
    pub fn mark_weak(&self, id: LogId) {
        self.weak.borrow_mut().insert(id);
    }

    /// Full ones to be emptied before their turn. Given once: what could not be emptied wants another mark.
    pub fn take_weak(&self) -> Vec<Sealed> {
        let mut weak = self.weak.borrow_mut();
        let full = |sealed: &&Sealed| weak.contains(&sealed.id);
        let full: Vec<Sealed> = self.sealed.borrow().iter().filter(full).cloned().collect();
        let current = self.of_current(|current| current.id);
        weak.retain(|id| Some(*id) == current);
        full
    }
}
