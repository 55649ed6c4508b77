//! What lifecycle has done: counted by whoever does it, on any core, read by the operator's pages.
//!
//! `Tally` is what became of what was due, as it travels from the owners of keys to whoever asked them; `Figures` is
//! the sum of all since the start, one for the process, in its board, and changes once for many versions.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Action;
use crate::base::metrics::LifecycleMetrics;

/// What became of what was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Current versions that were removed, or got a delete marker in front of them.
    pub current: u64,
    pub noncurrent: u64,
    pub markers: u64,
    pub uploads: u64,
    /// Due, and locked: they stay.
    pub locked: u64,
    /// Due, and could not be removed now.
    pub failed: u64,
}

impl Tally {
    pub fn count(&mut self, action: Action) {
        match action {
            Action::Expire => self.current += 1,
            Action::RemoveNoncurrent => self.noncurrent += 1,
            Action::RemoveMarker => self.markers += 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Tally::default()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.current += other.current;
        self.noncurrent += other.noncurrent;
        self.markers += other.markers;
        self.uploads += other.uploads;
        self.locked += other.locked;
        self.failed += other.failed;
    }
}

#[derive(Debug, Default)]
pub struct Figures {
    running: AtomicBool,
    passes: AtomicU64,
    examined: AtomicU64,
    current: AtomicU64,
    noncurrent: AtomicU64,
    markers: AtomicU64,
    uploads: AtomicU64,
    locked: AtomicU64,
    failed: AtomicU64,
    last_us: AtomicU64,
}

impl Figures {
    pub fn begin(&self) {
        self.running.store(true, Ordering::Relaxed);
    }

    /// A pass has ended that took so long, rests included.
    pub fn end(&self, took_us: u64) {
        self.last_us.store(took_us, Ordering::Relaxed);
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.running.store(false, Ordering::Relaxed);
    }

    pub fn add(&self, examined: u64, tally: &Tally) {
        for (figure, more) in [
            (&self.examined, examined),
            (&self.current, tally.current),
            (&self.noncurrent, tally.noncurrent),
            (&self.markers, tally.markers),
            (&self.uploads, tally.uploads),
            (&self.locked, tally.locked),
            (&self.failed, tally.failed),
        ] {
            figure.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub fn metrics(&self) -> LifecycleMetrics {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        LifecycleMetrics {
            running: self.running.load(Ordering::Relaxed),
            passes: load(&self.passes),
            examined: load(&self.examined),
            expired_current: load(&self.current),
            expired_noncurrent: load(&self.noncurrent),
            removed_markers: load(&self.markers),
            aborted_uploads: load(&self.uploads),
            skipped_locked: load(&self.locked),
            failed: load(&self.failed),
            last_pass_us: load(&self.last_us),
        }
    }
}
