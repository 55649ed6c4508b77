//! Backpressure: when background work falls behind, it is told not to rest, and writers wait.
//!
//! Background threads yield to clients, so without this clients could outrun them for ever. Owns [`Pressure`], the
//! signs for one shard that work has fallen behind: a second memtable is full while the first is still being written,
//! or there are more sorted sequences than merging should leave. Invariants: a shard holds at most two full memtables
//! plus what deletes add, which are never held back; a writer waits only while somebody works on the cause, and is
//! refused otherwise.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::pace::Urgency;
use crate::base::limits::{INDEX_BACKLOG_MAX, INDEX_BACKLOG_URGENT};
use crate::object::error::ObjectError;
use crate::object::shard::Shard;

pub struct Pressure {
    /// Bytes of a full memtable.
    pub memtable_max: usize,
    pub flush: Urgency,
    pub merge: Urgency,
    /// The last attempt failed.
    flush_failed: Cell<bool>,
    merge_failed: Cell<bool>,
    relieved: Notify,
}

impl Pressure {
    pub fn new(memtable_max: usize) -> Rc<Self> {
        Rc::new(Pressure {
            memtable_max,
            flush: Urgency::default(),
            merge: Urgency::default(),
            flush_failed: Cell::new(false),
            merge_failed: Cell::new(false),
            relieved: Notify::new(),
        })
    }

    pub fn flush_ended(&self, failed: bool) {
        self.flush_failed.set(failed);
        self.relieved.notify_waiters();
    }

    pub fn merge_ended(&self, failed: bool) {
        self.merge_failed.set(failed);
        self.relieved.notify_waiters();
    }
}

impl Shard {
    /// Asked before a record that adds bytes to the store: returns when log and index have room for such.
    pub async fn admit(&self) -> Result<(), ObjectError> {
        self.log.admit().await?;
        while let Some(failed) = self.overtaken() {
            let relieved = self.pressure.relieved.notified();
            if failed.get() || self.log.is_over() {
                return Err(ObjectError::SlowDown);
            }
            relieved.await;
        }
        Ok(())
    }

    /// Tells upkeep how much hurry there is. Called on the tick.
    pub fn press(&self) {
        let pressure = &self.pressure;
        let full = self.unsaved_bytes() >= pressure.memtable_max / 2;
        pressure.flush.set(full && self.index.frozen_bytes() > 0);
        pressure.merge.set(self.index.backlog() >= INDEX_BACKLOG_URGENT);
        if self.log.is_over() {
            pressure.relieved.notify_waiters();
        }
    }

    /// Whether what clients have been faster than for too long fails; `None` if they have not.
    fn overtaken(&self) -> Option<&Cell<bool>> {
        let flushing = self.index.frozen_bytes() > 0;
        if flushing && self.unsaved_bytes() >= self.pressure.memtable_max {
            return Some(&self.pressure.flush_failed);
        }
        (self.index.backlog() >= INDEX_BACKLOG_MAX).then_some(&self.pressure.merge_failed)
    }
}
