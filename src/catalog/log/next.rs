//! The next segment of a log: one is kept ready, so that a batch never waits for zeros.
//!
//! Owns the task that begins segments, what it finds of their supply (`admission`), and their ids. When none can be
//! begun it tries again and again; a core without any gets one out of the drives' reserve, or goes on in one that the
//! start found (`resume`). Invariant: no two segments whose header may stand on a drive have the same id.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Log;
use super::segments::Current;
use crate::base::ids::LogId;
use crate::base::limits::LOG_SEGMENT_PAUSE_MS;
use crate::catalog::admission::Supply;
use crate::drive::device::DriveError;
use crate::pool::error::PoolError;
use crate::pool::logs::Mirrors;

/// What the task that begins segments shares with who needs them.
pub(super) struct Next {
    /// Tells the cores' logs apart.
    stream: u8,
    /// How many segments of this start may have a header somewhere.
    created: Cell<u32>,
    pub(super) prepared: RefCell<Option<Current>>,
    /// There may be something to begin.
    pub(super) wanted: Notify,
    /// One was prepared, or a try failed.
    ready: Notify,
}

impl Next {
    pub(super) fn new(stream: u8) -> Self {
        let (wanted, ready) = (Notify::new(), Notify::new());
        Next { stream, created: Cell::default(), prepared: RefCell::default(), wanted, ready }
    }
}

impl Log {
    /// Waits until there is one.
    pub(super) async fn next_segment(&self, full_is_bearable: bool) -> Result<Current, PoolError> {
        loop {
            if let Some(next) = self.next.prepared.take() {
                self.next.wanted.notify_one();
                if next.mirrors.len() >= self.pool.mirrors_min().unwrap_or(0) {
                    return Ok(next);
                }
                self.let_go(next).await;
                continue;
            }
            self.pool.mirrors()?;
            let supply = self.admission.supply();
            // Nothing is emptied any more when the log is closed, so a stop would wait for ever.
            if full_is_bearable && supply == Supply::Denied || self.closing.get() && supply != Supply::Ample {
                return Err(PoolError::Full);
            }
            self.next.wanted.notify_one();
            self.next.ready.notified().await;
        }
    }

    /// Keeps one segment ready, so that a batch never waits for zeros; ends with the log.
    pub async fn prepare_segments(self: Rc<Self>) {
        let mut failures = 0;
        while !self.ended.get() {
            let is_ready = self.next.prepared.borrow().is_some();
            if !is_ready && self.may_begin() {
                failures = self.prepare_next(failures).await;
            } else if is_ready && self.admission.supply() != Supply::Ample {
                if self.logs.has_room() {
                    self.admission.set_supply(Supply::Ample);
                }
                self.pause().await;
            } else {
                self.next.wanted.notified().await;
            }
        }
    }

    /// Whether there may be another segment. Where there is none to write to there may always be one: emptying commits
    /// records too, and those stand behind what was taken before, so a batch must not wait for a segment to be emptied.
    /// What waits for that waits before it is taken (`admission`).
    fn may_begin(&self) -> bool {
        !self.segments.has_current() || self.segments.live() < self.segments_max
    }

    /// Tries to begin the next segment, and says what was found of the supply. So many tries before this one ended with
    /// a failed drive, one behind the other; how many have now.
    async fn prepare_next(&self, failures: usize) -> usize {
        let (failed, has_none) = (self.pool.failed(), !self.segments.has_current());
        match self.create_next(has_none).await {
            Ok((next, at_last)) => {
                *self.next.prepared.borrow_mut() = Some(next);
                self.admission.look_at_reserve();
                self.admission.set_supply(if at_last { Supply::Scarce } else { Supply::Ample });
                self.next.ready.notify_one();
                return 0;
            }
            // The drive that failed is latched by now, so the next try goes to others; one that is full is not.
            Err(PoolError::Drive(error)) if failures < self.pool.drives.len() => {
                tracing::warn!(%error, "a log segment is begun again on other drives");
                return failures + 1;
            }
            // A drive failed under it: the others have room, and nobody is to be told that there is none.
            Err(error) if self.pool.failed() > failed => {
                tracing::debug!(%error, "a drive failed under a new log segment");
            }
            Err(error) => {
                // Who waits for a segment where there is none at all is not refused before the last try.
                let is_full = matches!(error, PoolError::Full | PoolError::Drive(DriveError::Full(_)));
                let supply = if has_none && is_full { Supply::Denied } else { Supply::Scarce };
                if self.admission.set_supply(supply) == Supply::Ample {
                    tracing::warn!(%error, "no new log segment now");
                }
                self.pause().await;
                self.next.ready.notify_one();
            }
        }
        failures
    }

    /// One out of what is kept for that, or one that the start found, where there is no other and the core `has_none`;
    /// whether it was so.
    async fn create_next(&self, has_none: bool) -> Result<(Current, bool), PoolError> {
        match self.create_segment(false).await {
            Err(PoolError::Full) if has_none => match self.create_segment(true).await {
                Err(PoolError::Full) => Ok((self.resume().await.ok_or(PoolError::Full)?, true)),
                created => Ok((created?, true)),
            },
            created => Ok((created?, false)),
        }
    }

    async fn create_segment(&self, at_last: bool) -> Result<Current, PoolError> {
        let number = self.next.created.get() + 1;
        let id = log_id(self.pool.epoch, self.next.stream, number);
        let created = self.logs.create(id, at_last).await;
        // No header has the number of a segment that found no room, however often that was tried.
        if !matches!(created, Err(PoolError::Full | PoolError::NotWritable { .. })) {
            self.next.created.set(number);
        }
        Ok(Current::fresh(id, created?))
    }

    /// What is not to be written to after all: its space is a spare, unless it holds records.
    async fn let_go(&self, next: Current) {
        match next.is_fresh() {
            true => self.logs.retire(next.id).await,
            false => self.segments.keep(next),
        }
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(LOG_SEGMENT_PAUSE_MS)).await;
    }

    /// Lets go of the segment that was prepared to be the next, if `is_weak` says so: another is made.
    pub async fn drop_prepared(&self, is_weak: impl Fn(&Mirrors) -> bool) {
        let is_weak = self.next.prepared.borrow().as_ref().is_some_and(|next| is_weak(&next.mirrors));
        let dropped = if is_weak { self.next.prepared.borrow_mut().take() } else { None };
        if let Some(next) = dropped {
            self.let_go(next).await;
            self.next.wanted.notify_one();
        }
    }
}

/// `epoch << 32 | stream << 24 | number`.
fn log_id(epoch: u32, stream: u8, number: u32) -> LogId {
    assert!(number < 1 << 24, "an epoch fits its log segments");
    LogId(u64::from(epoch) << 32 | u64::from(stream) << 24 | u64::from(number))
}
