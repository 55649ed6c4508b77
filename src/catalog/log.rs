//! The log of one core: group commit to mirrored segments.
//!
//! Records join the batch that forms while the batch before is in flight; no timer is involved. A
//! batch is written to all mirrors at once; when every one of them has it, its records are applied
//! in order and those who wait are told. When a mirror fails, its drive is latched (but for a file system without
//! room) and the batch is written again to a new segment on other drives before anybody is told. When no safe set of
//! drives is left the log stops for good, so that a batch nobody was told about can never be
//! followed by one that was acknowledged. When its segments run out, records wait or are refused by
//! what they are for (`admission`); `next` has the next segment ready, `resume` goes on in one of an earlier start.

mod next;
mod resume;
mod segments;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::admission::{Admission, Fill, Verdict};
use super::batch::{Batch, Failed, Outcome};
use super::record::{Operation, Sequence};
use super::unreadable::Unreadable;
use super::value::LogPosition;
use crate::base::ids::{LogId, ShardId};
use crate::base::limits::{BATCH_BYTES, LOG_SEGMENTS_RETIRING, PAGE};
use crate::base::metrics::LogCounters;
use crate::io::buffer::AlignedBuf;
use crate::pool::Pool;
use crate::pool::error::PoolError;
use crate::pool::logs::{Logs, Mirrors};
use next::Next;
use segments::{Current, Place};
pub use segments::{Emptying, Sealed, Segments};

/// Who learns of committed records, in their order.
pub trait Apply {
    /// `body` is where the bytes that came with the record stand.
    fn apply(&self, shard: ShardId, sequence: Sequence, operations: Vec<Operation>, body: LogPosition);
}

/// Why a record was not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError {
    /// The log has stopped: no safe set of drives.
    Stopped,
    /// The last segments are kept for records that give space back, and no other can be emptied.
    Full,
    /// The record is larger than any batch, or a value in it than the catalog takes.
    TooLarge,
}

impl From<Failed> for LogError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Lost => LogError::Stopped,
            Failed::Full => LogError::Full,
        }
    }
}

pub struct Log {
    pool: Rc<Pool>,
    logs: Logs,
    forming: RefCell<Batch>,
    /// The batch being written.
    flying: RefCell<Option<Rc<Outcome>>>,
    /// The buffer of the batch that was written last, for the next one.
    resting: RefCell<Option<AlignedBuf>>,
    sequences: RefCell<BTreeMap<ShardId, Sequence>>,
    pub segments: Segments,
    segments_max: usize,
    next: Next,
    /// A record joined the batch that forms.
    arrived: Notify,
    /// Another batch forms.
    room: Notify,
    admission: Admission,
    pub unreadable: Unreadable,
    stopped: Cell<bool>,
    closing: Cell<bool>,
    finishing: Cell<bool>,
    /// The writer has ended: nothing is written any more.
    ended: Cell<bool>,
    pub counters: LogCounters,
}

impl Log {
    /// `stream` tells the cores' logs apart; `sealed` are segments found at start that this core
    /// looks after; at most `segments_max` may hold records at a time. A start may find more, when it has
    /// fewer cores than the one before: then room is left for those that emptying the old ones takes.
    pub fn new(pool: Rc<Pool>, logs: Logs, stream: u8, sealed: Vec<Sealed>, segments_max: usize) -> Rc<Self> {
        let segments_max = segments_max.max(sealed.len() + LOG_SEGMENTS_RETIRING);
        Rc::new(Log {
            admission: Admission::new(pool.clone()),
            pool,
            logs,
            forming: RefCell::new(Batch::new(AlignedBuf::zeroed(BATCH_BYTES))),
            flying: RefCell::default(),
            resting: RefCell::new(Some(AlignedBuf::zeroed(BATCH_BYTES))),
            sequences: RefCell::default(),
            segments: Segments::new(sealed),
            segments_max,
            next: Next::new(stream),
            arrived: Notify::new(),
            room: Notify::new(),
            unreadable: Unreadable::default(),
            stopped: Cell::default(),
            closing: Cell::default(),
            finishing: Cell::default(),
            ended: Cell::default(),
            counters: LogCounters::default(),
        })
    }

    /// The shard's records begin behind `sequence`.
    pub fn begin_shard(&self, shard: ShardId, sequence: Sequence) {
        let before = self.sequences.borrow_mut().insert(shard, sequence);
        assert!(before.is_none());
    }

    /// Makes a record durable and applies it. `check` is asked in the same breath in which the
    /// record takes its place in the order of the shard.
    pub async fn commit<E: From<LogError>>(
        &self,
        shard: ShardId,
        operations: Vec<Operation>,
        body: &[u8],
        check: impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        let arrived = Instant::now();
        let encoded = super::record::encode(&operations);
        let fits_batch = encoded.len() + body.len() + PAGE <= BATCH_BYTES;
        if !fits_batch || !operations.iter().all(Operation::fits) {
            return Err(LogError::TooLarge.into());
        }
        self.wait_for_room(encoded.len(), body.len()).await;
        check()?;
        if self.stopped.get() {
            return Err(LogError::Stopped.into());
        }
        let outcome = self.push(shard, operations, &encoded, body);
        outcome.wait().await.map_err(LogError::from)?;
        self.counters.commit_us.record(arrived.elapsed().as_micros() as u64);
        Ok(())
    }

    /// Asked before a record that adds bytes to the store: returns when the log has room for such.
    pub async fn admit(&self) -> Result<(), LogError> {
        self.admitted(Admission::adding).await
    }

    /// The same for a record that gives space back.
    pub async fn admit_freeing(&self) -> Result<(), LogError> {
        self.admitted(Admission::freeing).await
    }

    async fn admitted(&self, verdict: impl Fn(&Admission, Fill) -> Verdict) -> Result<(), LogError> {
        loop {
            let relieved = self.admission.relieved();
            if self.stopped.get() {
                return Err(LogError::Stopped);
            }
            match verdict(&self.admission, self.fill()) {
                Verdict::Taken => return Ok(()),
                Verdict::Refused => return Err(LogError::Full),
                Verdict::Waits => relieved.await,
            }
        }
    }

    fn fill(&self) -> Fill {
        Fill { live: self.segments.live(), max: self.segments_max }
    }

    /// Whether records that add bytes are refused.
    pub fn is_full(&self) -> bool {
        self.admission.known().is_full(self.fill())
    }

    /// Whether the oldest segments should be emptied.
    pub fn wants_retiring(&self) -> bool {
        self.admission.known().wants_retiring(self.fill())
    }

    /// Whether little is left before records that add bytes have to wait.
    pub fn is_crowded(&self) -> bool {
        self.admission.known().is_crowded(self.fill())
    }

    /// What the log knows of the room for it.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Everything that was pushed before this call is durable and applied when it returns.
    pub async fn barrier(&self) -> Result<(), LogError> {
        let outcome = {
            let forming = self.forming.borrow();
            if forming.is_empty() { self.flying.borrow().clone() } else { Some(forming.outcome.clone()) }
        };
        match outcome {
            Some(outcome) => outcome.wait().await.map(drop).map_err(LogError::from),
            None => Ok(()),
        }
    }

    async fn wait_for_room(&self, operations: usize, body: usize) {
        while !self.forming.borrow().has_room(operations, body) && !self.stopped.get() {
            self.room.notified().await;
        }
    }

    fn push(&self, shard: ShardId, operations: Vec<Operation>, encoded: &[u8], body: &[u8]) -> Rc<Outcome> {
        let mut sequences = self.sequences.borrow_mut();
        let last = sequences.get_mut(&shard).expect("records are pushed for shards of this core");
        *last = last.next();
        let mut forming = self.forming.borrow_mut();
        forming.push(shard, *last, operations, encoded, body);
        self.arrived.notify_one();
        forming.outcome.clone()
    }

    /// Writes batches until the log is finished or stops.
    pub async fn run(self: Rc<Self>, apply: Rc<dyn Apply>) {
        self.write_batches(&*apply).await;
        self.ended.set(true);
        self.next.wanted.notify_one();
    }

    async fn write_batches(&self, apply: &dyn Apply) {
        loop {
            while self.forming.borrow().is_empty() {
                if self.finishing.get() {
                    return;
                }
                self.arrived.notified().await;
            }
            let batch = self.take_forming();
            if let Err(error) = self.write(batch, apply).await {
                tracing::error!(%error, "the log has stopped: nothing can be committed safely");
                self.stop();
                return;
            }
        }
    }

    fn take_forming(&self) -> Batch {
        let buffer = self.resting.borrow_mut().take().unwrap_or_else(|| AlignedBuf::zeroed(BATCH_BYTES));
        let batch = self.forming.replace(Batch::new(buffer));
        *self.flying.borrow_mut() = Some(batch.outcome.clone());
        self.room.notify_waiters();
        batch
    }

    async fn write(&self, mut batch: Batch, apply: &dyn Apply) -> Result<(), PoolError> {
        let padded = batch.padded_len();
        let mut mirrors = self.place(padded, true).await;
        if let Err(PoolError::Full) = mirrors {
            self.refuse(batch);
            return Ok(());
        }
        let (at, buffer) = loop {
            let (at, set) = match mirrors {
                Ok(found) => found,
                Err(error) => {
                    batch.outcome.settle(Err(Failed::Lost));
                    return Err(error);
                }
            };
            batch.close(self.pool.geometry.pool, at.log, at.offset);
            let shared = Arc::new(batch.take_buffer());
            let written = self.logs.write(&set, &shared, 0..padded, at.offset).await;
            let buffer = reclaim(shared);
            match written {
                Ok(()) => break (at, buffer),
                Err(error) => {
                    tracing::warn!(%error, log = %at.log, "batch is written again to other drives");
                    self.counters.redriven.increment();
                    batch.restore_buffer(buffer);
                    self.segments.seal();
                    if let Some(next) = self.next.prepared.take() {
                        self.segments.keep(next);
                    }
                    mirrors = self.place(padded, false).await;
                }
            }
        };
        self.acknowledge(batch, buffer, at, padded, apply);
        Ok(())
    }

    /// There is no place for a batch of which nothing was written: it never was, nor what formed behind it, and
    /// the records that come next take their places in the order of the shards.
    fn refuse(&self, mut batch: Batch) {
        let mut behind = self.forming.replace(Batch::new(batch.take_buffer()));
        *self.resting.borrow_mut() = Some(behind.take_buffer());
        self.flying.borrow_mut().take();
        let mut sequences = self.sequences.borrow_mut();
        for record in behind.records.iter().rev().chain(batch.records.iter().rev()) {
            if let Some(last) = sequences.get_mut(&record.shard) {
                assert_eq!(*last, record.sequence, "the newest records go first");
                *last = Sequence(record.sequence.0 - 1);
            }
        }
        drop(sequences);
        let [(_, first), (_, second)] = [batch, behind].map(Batch::into_parts);
        [first, second].into_iter().for_each(|outcome| outcome.settle(Err(Failed::Full)));
        self.room.notify_waiters();
    }

    fn acknowledge(
        &self,
        batch: Batch,
        buffer: AlignedBuf,
        at: LogPosition,
        padded: usize,
        apply: &dyn Apply,
    ) {
        let (records, outcome) = batch.into_parts();
        *self.resting.borrow_mut() = Some(buffer);
        self.counters.record_batch(records.len() as u64, padded as u64);
        let is_last = self.segments.advance(padded, &records);
        if is_last {
            self.segments.seal();
        }
        for record in records {
            let body = LogPosition { log: at.log, offset: at.offset + record.body_at };
            apply.apply(record.shard, record.sequence, record.operations, body);
        }
        self.flying.borrow_mut().take();
        outcome.settle(Ok(at));
    }

    /// A place for `padded` bytes: in the current segment, or in a new one. `Full` only where that is
    /// bearable; else it is waited for.
    async fn place(&self, padded: usize, full_is_bearable: bool) -> Result<Place, PoolError> {
        loop {
            let safe = self.pool.mirrors_min().unwrap_or(0);
            let segment_bytes = self.pool.geometry.segment_bytes;
            let place = self.segments.of_current(|current| current.place(padded, safe, segment_bytes));
            if let Some(place) = place.flatten() {
                return Ok(place);
            }
            self.segments.seal();
            self.segments.begin(self.next_segment(full_is_bearable).await?);
        }
    }

    pub fn segments_max(&self) -> usize {
        self.segments_max
    }

    pub fn mirrors(&self, id: LogId) -> Option<Mirrors> {
        self.logs.directory.get(id)
    }

    /// Ends the current segment if `is_weak` says so of it: only full ones can be emptied. A batch that is
    /// on its way into it is its last, however many wait behind it. What is begun next is not looked at. The last
    /// segment there may be stays: what empties the others is committed to it.
    pub async fn leave(&self, is_weak: impl Fn(LogId, &Mirrors) -> bool) -> Result<(), LogError> {
        let judged = |current: &Current| (current.id, is_weak(current.id, &current.mirrors));
        let current = self.segments.of_current(judged);
        let Some((id, true)) = current.filter(|_| self.segments.live() < self.segments_max) else {
            return Ok(());
        };
        let Some(flying) = self.flying.borrow().clone() else {
            self.segments.seal();
            return Ok(());
        };
        self.segments.leave_behind_batch(id);
        match flying.wait().await {
            Err(Failed::Lost) => Err(LogError::Stopped),
            // Where there was no room for it, the next one is the last.
            Ok(_) | Err(Failed::Full) => Ok(()),
        }
    }

    /// Nothing in the segment matters any more: its space may be used again.
    pub async fn retire(&self, id: LogId) {
        self.logs.retire(id).await;
        self.segments.forget(id);
        self.unreadable.forget(id);
        self.counters.segments_live.set(self.segments.live() as u64);
        self.next.wanted.notify_one();
        self.admission.relieve();
    }

    /// Stopped or closed: upkeep ends.
    pub fn is_over(&self) -> bool {
        self.stopped.get() || self.closing.get()
    }

    /// Returns when `is_over`.
    pub async fn over(&self) {
        loop {
            let relieved = self.admission.relieved();
            if self.is_over() {
                return;
            }
            relieved.await;
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Upkeep is to end; what it has begun may still commit.
    pub fn close(&self) {
        self.closing.set(true);
        self.admission.relieve();
    }

    /// No more records are expected: the writer ends when all are written.
    pub fn finish(&self) {
        self.finishing.set(true);
        self.arrived.notify_one();
    }

    fn stop(&self) {
        self.stopped.set(true);
        self.counters.stopped.set(1);
        let lost = self.forming.replace(Batch::new(AlignedBuf::zeroed(BATCH_BYTES)));
        if !lost.is_empty() {
            lost.outcome.settle(Err(Failed::Lost));
        }
        self.room.notify_waiters();
        self.admission.relieve();
    }
}

/// The buffer again, once no write holds it; a write that was abandoned still may.
fn reclaim(shared: Arc<AlignedBuf>) -> AlignedBuf {
    Arc::try_unwrap(shared).unwrap_or_else(|held| {
        let mut copy = AlignedBuf::zeroed(held.len());
        copy.copy_from_slice(&held);
        copy
    })
}
