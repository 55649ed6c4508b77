//! For how long full log segments could not be read.
//!
//! Whoever empties a segment notes what it could not read. A drive that stalls is no drive that is lost, so a segment
//! counts as lost in part only when nobody could read it for long, without a pause (`object::packing`). State of one
//! core, in memory: a start tries anew.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::ids::LogId;
use crate::base::limits::LOG_LOST_SECONDS;

/// The segments of which something could not be read when they were to be emptied.
#[derive(Default)]
pub struct Unreadable(RefCell<BTreeMap<LogId, Silence>>);

impl Unreadable {
    /// Something of a full segment cannot be read.
    pub fn note(&self, id: LogId) {
        self.0.borrow_mut().entry(id).or_insert_with(Silence::new).note();
    }

    /// For how long nobody could read something of a segment, whenever it was tried.
    pub fn lasts(&self, id: LogId) -> Duration {
        self.0.borrow().get(&id).map(Silence::lasts).unwrap_or_default()
    }

    pub fn forget(&self, id: LogId) {
        self.0.borrow_mut().remove(&id);
    }
}

/// Reads that failed, one after the other. After a long pause it begins anew: nobody knows what would have been read
/// meanwhile, and a drive that stalls twice is no drive that is lost.
struct Silence {
    since: Instant,
    last: Instant,
}

impl Silence {
    fn new() -> Self {
        let now = Instant::now();
        Silence { since: now, last: now }
    }

    fn is_broken(&self) -> bool {
        self.last.elapsed() > Duration::from_secs(LOG_LOST_SECONDS)
    }

    fn note(&mut self) {
        if self.is_broken() {
            *self = Silence::new();
        }
        self.last = Instant::now();
    }

    fn lasts(&self) -> Duration {
        if self.is_broken() { Duration::ZERO } else { self.since.elapsed() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_stalls_long_apart_are_no_loss() {
        let lost = Duration::from_secs(LOG_LOST_SECONDS);
        let mut silence = Silence::new();
        for _ in 0..3 {
            tokio::time::advance(lost / 2).await;
            silence.note();
        }
        assert!(silence.lasts() >= lost);
        tokio::time::advance(lost * 2).await;
        assert_eq!(silence.lasts(), Duration::ZERO);
        silence.note();
        tokio::time::advance(lost / 2).await;
        assert_eq!(silence.lasts(), lost / 2);
    }
}
