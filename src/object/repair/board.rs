//! What all cores know of scrubbing: whether one is wanted, how far it is, what it found; the figures of lifecycle;
//! and what ends work for all: that the server stops, and that a log has.
//!
//! One for the process, shared by `Arc`; figures are atomics that change once for many blocks. Demands are
//! counted, so that one that comes in the middle of a pass is followed by another pass. Nothing here decides
//! or waits for drives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::base::metrics::{InventoryMetrics, ScrubMetrics};
use crate::base::time::Nanos;
use crate::object::lifecycle::Figures;
use crate::pool::mend::Mended;

#[derive(Debug, Default)]
pub struct Board {
    pub lifecycle: Figures,
    pub inventories: Reports,
    demanded: AtomicU64,
    /// Demands that a pass has begun for.
    taken: AtomicU64,
    demand: Notify,
    closing: AtomicBool,
    stopped: AtomicBool,
    closed: Notify,
    running: AtomicBool,
    /// Blocks beyond repair were found, and no full pass since has found none.
    lossy: AtomicBool,
    checked: AtomicU64,
    damaged: AtomicU64,
    repaired: AtomicU64,
    unrepairable: AtomicU64,
    relocated: AtomicU64,
    passes: AtomicU64,
    /// End of the last full pass, in nanoseconds since 1970; 0 for never.
    last: AtomicU64,
}

/// Reports of inventories: what became of them.
#[derive(Debug, Default)]
pub struct Reports {
    pub written: AtomicU64,
    /// The destination did not let them in.
    pub denied: AtomicU64,
    pub failed: AtomicU64,
}

impl Reports {
    pub fn metrics(&self) -> InventoryMetrics {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (written, denied, failed) = (read(&self.written), read(&self.denied), read(&self.failed));
        InventoryMetrics { written, denied, failed }
    }
}

impl Board {
    /// Asks for a full pass that begins after now.
    pub fn demand(&self) {
        self.demanded.fetch_add(1, Ordering::AcqRel);
        self.demand.notify_one();
    }

    pub fn is_demanded(&self) -> bool {
        self.demanded.load(Ordering::Acquire) != self.taken.load(Ordering::Acquire)
    }

    /// Has whoever waits for demands look around.
    pub fn nudge(&self) {
        self.demand.notify_one();
    }

    /// Returns when somebody may have asked, or the server is about to stop.
    pub async fn demands(&self) {
        self.demand.notified().await;
    }

    /// A pass begins, for all who have asked until now: nobody who waits behind it is woken by them any more.
    pub fn begin(&self) {
        std::pin::pin!(self.demand.notified()).enable();
        self.taken.store(self.demanded.load(Ordering::Acquire), Ordering::Release);
        self.running.store(true, Ordering::Release);
    }

    /// `at` is the end of a full pass; `None` for one that was given up.
    pub fn end(&self, at: Option<Nanos>) {
        if let Some(at) = at {
            self.last.store(at.0, Ordering::Release);
            self.passes.fetch_add(1, Ordering::AcqRel);
        }
        self.running.store(false, Ordering::Release);
    }

    /// When the last full pass ended, as a start before this one has it.
    pub fn remember(&self, last: Nanos) {
        self.last.store(last.0, Ordering::Release);
    }

    pub fn last(&self) -> Nanos {
        Nanos(self.last.load(Ordering::Acquire))
    }

    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Full passes since the start.
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::Acquire)
    }

    /// The server stops: whoever works for this board comes to an end.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.demand.notify_one();
        self.closed.notify_waiters();
    }

    /// Returns when the server stops.
    pub async fn closes(&self) {
        let closed = self.closed.notified();
        if !self.is_closing() {
            closed.await;
        }
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The log of a core has found no safe set of drives and takes nothing more before the next start.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub fn add(&self, mended: &Mended) {
        self.checked.fetch_add(mended.checked, Ordering::Relaxed);
        self.damaged.fetch_add(mended.damaged, Ordering::Relaxed);
        self.repaired.fetch_add(mended.repaired, Ordering::Relaxed);
        self.unrepairable.fetch_add(mended.unrepairable, Ordering::Relaxed);
    }

    /// What a full pass found, or that a reader found blocks beyond repair. Whether that was known.
    pub fn note_lossy(&self, lossy: bool) -> bool {
        self.lossy.swap(lossy, Ordering::AcqRel)
    }

    /// Whether a full pass found what cannot be read, or a reader did since.
    pub fn is_lossy(&self) -> bool {
        self.lossy.load(Ordering::Acquire)
    }

    pub fn add_relocated(&self) {
        self.relocated.fetch_add(1, Ordering::Relaxed);
    }

    pub fn metrics(&self) -> ScrubMetrics {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        ScrubMetrics {
            running: self.is_running(),
            passes: self.passes(),
            last_pass: self.last(),
            blocks_checked: load(&self.checked),
            blocks_damaged: load(&self.damaged),
            blocks_repaired: load(&self.repaired),
            blocks_unrepairable: load(&self.unrepairable),
            extents_relocated: load(&self.relocated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_in_the_middle_of_a_pass_is_not_forgotten() {
        let board = Board::default();
        assert!(!board.is_demanded());
        board.demand();
        board.begin();
        assert!(!board.is_demanded() && board.is_running());
        board.demand();
        board.end(Some(Nanos(5)));
        assert!(board.is_demanded() && !board.is_running());
        assert_eq!((board.passes(), board.last()), (1, Nanos(5)));
        board.begin();
        board.end(None);
        assert_eq!((board.passes(), board.last()), (1, Nanos(5)));
        let woken = std::pin::pin!(board.demand.notified()).enable();
        assert!(!woken, "what was asked before a pass wakes nobody behind it");
    }
}
