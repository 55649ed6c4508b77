//! A drive as the layers above use it: read, write, flush.
//!
//! Owns [`Drive`] (one core's handles on one drive), [`DriveShared`] (the little that all cores must agree
//! on: its condition and its faults), [`Drives`] (all of a pool, found by id) and [`DriveSet`]. Uses `io` and the
//! figures of `base::metrics`. A directory drive is two files with one address space; a block device is opened twice.
//! What the drive is good for, and how that changes, is `health`: here it is asked, and told of failed writes.
//!
//! Invariants: a failed write or flush latches the drive for all cores, and from then on no write or flush
//! succeeds until an operator readmits it; a full drive is not a failed one; a single failed read never latches; an
//! address of a drive the pool does not have is an error, not a panic, because it may come from a drive. A flush
//! covers exactly the writes that were complete when it was asked for: callers that come while one is under way share
//! the next one.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::base::ids::DriveId;
use crate::base::join::join_all;
use crate::base::limits::{PAGE, POOL_DRIVES_MAX};
use crate::base::metrics::{DriveCounters, DriveMetrics, DriveState, IoCounters};
use crate::base::task;
use crate::drive::health::{Condition, Health};
use crate::drive::segment::PROBE_OFFSET;
use crate::io::buffer::AlignedBuf;
use crate::io::disk::{File, is_full};

/// Which of the two files of a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Written O_DSYNC: superblock, manifests, segment headers, log.
    Meta,
    /// Durable after a flush: chunks and runs.
    Data,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriveError {
    #[error("{0} is out of service")]
    Out(DriveId),
    #[error("{0} is full")]
    Full(DriveId),
    #[error("{operation} on {drive} failed: {cause}")]
    Failed { drive: DriveId, operation: &'static str, cause: String },
}

/// What all cores know of one drive.
#[derive(Debug)]
pub struct DriveShared {
    pub health: Health,
    /// What tells it from any other drive with its place.
    uuid: ArcSwapOption<u128>,
    /// Blocks that were not what was written, of all cores.
    wrong: AtomicU64,
    read_errors: AtomicU64,
    write_errors: AtomicU64,
}

/// One core's handles on one drive.
pub struct Drive {
    shared: Arc<DriveShared>,
    files: Option<Files>,
    flushes: Flushes,
    counters: DriveCounters,
}

/// The drives of a pool as one core holds them, found by id. Cheap to clone.
#[derive(Clone)]
pub struct Drives(Rc<[Rc<Drive>]>);

/// A set of drives of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriveSet([u64; POOL_DRIVES_MAX / 64]);

struct Files {
    meta: File,
    data: File,
}

/// Callers waiting for the flush after the one under way.
#[derive(Default)]
struct Flushes {
    waiting: RefCell<Vec<oneshot::Sender<Result<(), DriveError>>>>,
    running: Cell<bool>,
}

impl DriveShared {
    /// `path` is how the operator knows the drive.
    pub fn new(id: DriveId, path: impl Into<String>, condition: Condition) -> Arc<Self> {
        Arc::new(DriveShared {
            health: Health::new(id, path, condition),
            uuid: ArcSwapOption::empty(),
            wrong: AtomicU64::new(0),
            read_errors: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
        })
    }

    pub fn id(&self) -> DriveId {
        self.health.id()
    }

    pub fn path(&self) -> &str {
        self.health.path()
    }

    pub fn condition(&self) -> Condition {
        self.health.condition()
    }

    pub fn state(&self) -> DriveState {
        self.condition().state()
    }

    /// What its superblock calls it, as the start found it.
    pub fn identify(&self, uuid: u128) {
        self.uuid.store(Some(Arc::new(uuid)));
    }

    /// `None` for a drive that was never there.
    pub fn uuid(&self) -> Option<u128> {
        self.uuid.load().as_deref().copied()
    }

    /// Blocks that were not what was written, and reads that failed.
    pub fn wrong_reads(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed) + self.read_errors.load(Ordering::Relaxed)
    }

    /// Failed reads and failed writes or flushes, of all cores.
    pub fn errors(&self) -> (u64, u64) {
        (self.read_errors.load(Ordering::Relaxed), self.write_errors.load(Ordering::Relaxed))
    }
}

impl Drive {
    /// A drive whose two files are open. For a block device both are the device.
    pub fn new(shared: Arc<DriveShared>, meta: File, data: File) -> Rc<Self> {
        Rc::new(Self::with(shared, Some(Files { meta, data })))
    }

    /// A drive that belongs to the pool and is not there.
    pub fn missing(shared: Arc<DriveShared>) -> Rc<Self> {
        assert!(shared.condition().is_missing());
        Rc::new(Self::with(shared, None))
    }

    fn with(shared: Arc<DriveShared>, files: Option<Files>) -> Self {
        assert!(usize::from(shared.id().0) < POOL_DRIVES_MAX);
        Drive { shared, files, flushes: Flushes::default(), counters: DriveCounters::default() }
    }

    pub fn id(&self) -> DriveId {
        self.shared.id()
    }

    pub fn shared(&self) -> &Arc<DriveShared> {
        &self.shared
    }

    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    pub fn condition(&self) -> Condition {
        self.shared.condition()
    }

    pub fn state(&self) -> DriveState {
        self.condition().state()
    }

    /// Neither latched nor missing: it may be written.
    pub fn is_in_service(&self) -> bool {
        self.condition().is_in_service()
    }

    /// In service, and not known to hold anything else than was written to it.
    pub fn is_trusted(&self) -> bool {
        self.condition().is_trusted()
    }

    /// For what no method here does: allocation, zeroing, size. `None` for a missing drive.
    pub fn file(&self, area: Area) -> Option<&File> {
        let files = self.files.as_ref()?;
        Some(match area {
            Area::Meta => &files.meta,
            Area::Data => &files.data,
        })
    }

    /// This core's figures; capacity and use are the caller's to fill in.
    pub fn metrics(&self) -> DriveMetrics {
        let figures = self.counters.snapshot(self.id().0, self.shared.path());
        let condition = self.condition();
        DriveMetrics {
            state: condition.state(),
            cause: self.health().cause().map(|cause| cause.to_string()).unwrap_or_default(),
            rebuilding: condition.is_rebuilding(),
            doubtful: condition.is_in_service() && condition.is_doubtful(),
            evacuation: condition.evacuation(),
            ..figures
        }
    }

    /// Counts a block that the drive delivered and that was not the expected one.
    pub fn count_corrupt(&self) {
        self.counters.corrupt_blocks.increment();
        self.shared.wrong.fetch_add(1, Ordering::Relaxed);
    }

    /// Fills `buf` from `offset`. Tried on a latched drive too.
    pub async fn read(&self, area: Area, buf: AlignedBuf, offset: u64) -> Result<AlignedBuf, DriveError> {
        let file = self.file(area).filter(|_| !self.condition().is_missing());
        let file = file.ok_or(DriveError::Out(self.id()))?;
        let bytes = buf.len() as u64;
        let (result, buf) =
            self.timed(&self.counters.reads, bytes, file.read_at(buf, offset), |r| r.0.is_ok()).await;
        match result {
            Ok(()) => Ok(buf),
            Err(error) => {
                self.shared.read_errors.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(drive = %self.id(), offset, %error, "read failed");
                Err(self.failed("read", &error))
            }
        }
    }

    /// Writes `buf[range]` at `offset`. The caller may stop waiting; the write goes on, so the space must
    /// not be used for anything else before it is complete.
    pub async fn write(
        &self,
        area: Area,
        buf: Arc<AlignedBuf>,
        range: Range<usize>,
        offset: u64,
    ) -> Result<(), DriveError> {
        let file = self.writable(area)?;
        let bytes = range.len() as u64;
        let write = file.write_at(buf, range, offset);
        let result = self.timed(&self.counters.writes, bytes, write, io::Result::is_ok).await;
        self.settle("write", result)
    }

    /// Makes every data write durable that was complete when this was called.
    pub async fn flush(self: &Rc<Self>) -> Result<(), DriveError> {
        let file = self.writable(Area::Data)?;
        // Direct writes to a block device without a volatile cache are durable already. A file needs its
        // metadata, such as extents that became written, in any case.
        if file.id().is_block_device && !file.id().write_cache {
            return Ok(());
        }
        let (sender, receiver) = oneshot::channel();
        self.flushes.waiting.borrow_mut().push(sender);
        if !self.flushes.running.replace(true) {
            task::spawn(self.clone().run_flushes());
        }
        receiver.await.unwrap_or(Err(DriveError::Out(self.id())))
    }

    /// Flushes as long as anybody waits. A task of its own, so that no caller that goes away takes the
    /// flush of the others with it.
    async fn run_flushes(self: Rc<Self>) {
        loop {
            let callers = self.flushes.waiting.take();
            if callers.is_empty() {
                self.flushes.running.set(false);
                return;
            }
            let result = self.flush_once().await;
            for caller in callers {
                let _ = caller.send(result.clone());
            }
        }
    }

    async fn flush_once(&self) -> Result<(), DriveError> {
        let file = self.writable(Area::Data)?;
        let result = self.timed(&self.counters.flushes, 0, file.sync(), io::Result::is_ok).await;
        self.settle("flush", result)
    }

    /// Latches a drive whose files were deleted under it. They take writes as before, and are gone when the server
    /// stops.
    pub fn latch_if_deleted(&self) {
        let Some(files) = self.files.as_ref().filter(|_| self.is_in_service()) else { return };
        if [&files.meta, &files.data].into_iter().any(|file| file.is_unlinked().unwrap_or(true)) {
            self.health().latch("its files were deleted");
        }
    }

    /// Whether a drive that is out of service can be written, flushed and read again: tries it on the two
    /// pages that are kept for this. `pattern` should be another one each time.
    pub async fn probe(&self, pattern: u64) -> io::Result<()> {
        let files = self.files.as_ref().ok_or(io::ErrorKind::NotFound)?;
        for (n, file) in [&files.meta, &files.data].into_iter().enumerate() {
            if file.is_unlinked()? {
                return Err(io::Error::new(io::ErrorKind::NotFound, "its files were deleted"));
            }
            let mut page = AlignedBuf::zeroed(PAGE);
            page.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&pattern.to_le_bytes()));
            let (page, offset) = (Arc::new(page), PROBE_OFFSET + (n * PAGE) as u64);
            file.write_at(page.clone(), 0..PAGE, offset).await.map_err(for_the_operator)?;
            file.sync().await?;
            let (result, found) = file.read_at(AlignedBuf::zeroed(PAGE), offset).await;
            result?;
            if found[..] != page[..] {
                return Err(io::Error::other("what was written does not read back"));
            }
        }
        Ok(())
    }

    fn writable(&self, area: Area) -> Result<&File, DriveError> {
        self.file(area).filter(|_| self.is_in_service()).ok_or(DriveError::Out(self.id()))
    }

    /// What a finished write or flush means. Success is worth nothing on a drive latched meanwhile: what
    /// it wrote may not become durable any more.
    fn settle(&self, operation: &'static str, result: io::Result<()>) -> Result<(), DriveError> {
        match result {
            Ok(()) if self.is_in_service() => Ok(()),
            Ok(()) => Err(DriveError::Out(self.id())),
            // A flush that finds no room has lost writes that were reported complete: that is a failure.
            Err(error) if is_full(&error) && operation != "flush" => Err(DriveError::Full(self.id())),
            Err(error) => {
                self.shared.write_errors.fetch_add(1, Ordering::Relaxed);
                self.health().latch(&format!("{operation}: {error}"));
                Err(self.failed(operation, &error))
            }
        }
    }

    fn failed(&self, operation: &'static str, error: &io::Error) -> DriveError {
        DriveError::Failed { drive: self.id(), operation, cause: error.to_string() }
    }

    /// Runs an operation and counts it.
    async fn timed<T>(
        &self,
        counters: &IoCounters,
        bytes: u64,
        operation: impl Future<Output = T>,
        is_ok: impl FnOnce(&T) -> bool,
    ) -> T {
        let begun = Instant::now();
        let level = Level::enter(&self.counters);
        let result = operation.await;
        drop(level);
        let latency_us = begun.elapsed().as_micros() as u64;
        if is_ok(&result) {
            counters.record_done(bytes, latency_us);
        } else {
            counters.record_error(latency_us);
        }
        result
    }
}

/// One operation in the in-flight gauge, also when its caller goes away.
struct Level<'a>(&'a DriveCounters);

impl<'a> Level<'a> {
    fn enter(counters: &'a DriveCounters) -> Self {
        counters.in_flight.add(1);
        Level(counters)
    }
}

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.0.in_flight.sub(1);
    }
}

impl Drives {
    /// `drives` in the order of their ids, 0 first, none left out.
    pub fn new(drives: Vec<Rc<Drive>>) -> Self {
        assert!(drives.iter().enumerate().all(|(index, drive)| usize::from(drive.id().0) == index));
        Drives(drives.into())
    }

    pub fn get(&self, id: DriveId) -> Result<&Rc<Drive>, DriveError> {
        self.0.get(usize::from(id.0)).ok_or(DriveError::Out(id))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rc<Drive>> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_in_service(&self, id: DriveId) -> bool {
        self.get(id).is_ok_and(|drive| drive.is_in_service())
    }

    pub fn is_trusted(&self, id: DriveId) -> bool {
        self.get(id).is_ok_and(|drive| drive.is_trusted())
    }

    /// Drives that are latched or missing.
    pub fn out(&self) -> DriveSet {
        self.iter().filter(|drive| !drive.is_in_service()).map(|drive| drive.id()).collect()
    }

    /// Flushes every drive of the set, at the same time. Answers those whose flush failed, with the reason.
    pub async fn flush(&self, set: &DriveSet) -> Vec<(DriveId, DriveError)> {
        let flush = |id| async move {
            match self.get(id) {
                Ok(drive) => drive.flush().await.err().map(|error| (id, error)),
                Err(error) => Some((id, error)),
            }
        };
        join_all(set.iter().map(flush)).await.into_iter().flatten().collect()
    }
}

impl DriveSet {
    pub fn insert(&mut self, id: DriveId) {
        self.0[usize::from(id.0) / 64] |= 1 << (id.0 % 64);
    }

    pub fn contains(&self, id: DriveId) -> bool {
        self.0.get(usize::from(id.0) / 64).is_some_and(|word| word >> (id.0 % 64) & 1 == 1)
    }

    pub fn union(&mut self, other: &DriveSet) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub fn iter(&self) -> impl Iterator<Item = DriveId> + '_ {
        (0..POOL_DRIVES_MAX as u16).map(DriveId).filter(|id| self.contains(*id))
    }
}

impl FromIterator<DriveId> for DriveSet {
    fn from_iter<I: IntoIterator<Item = DriveId>>(ids: I) -> Self {
        let mut set = DriveSet::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

const _: () = assert!(POOL_DRIVES_MAX.is_multiple_of(64));

/// Files that could only be read at the start are open for that alone, whatever became of the file system.
fn for_the_operator(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EBADF) => io::Error::new(
            io::ErrorKind::ReadOnlyFilesystem,
            "it could only be read when the server started; when it can be written, start the server again",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::PAGE;
    use crate::io::disk::Access;
    use crate::io::sim::{Fault, OpKind, SimWorld};
    use tokio::task::{LocalSet, spawn_local, yield_now};

    async fn run<T>(test: impl Future<Output = T>) -> T {
        LocalSet::new().run_until(test).await
    }

    fn shared() -> Arc<DriveShared> {
        DriveShared::new(DriveId(0), "/d", Condition::WHOLE)
    }

    /// One core's handles.
    fn open(sim: &SimWorld, shared: &Arc<DriveShared>) -> Rc<Drive> {
        sim.world().create_dir_all("/d".as_ref()).unwrap();
        let file = |name: &str, access| sim.world().open(name.as_ref(), true, access).unwrap();
        Drive::new(shared.clone(), file("/d/meta", Access::DirectSync), file("/d/data", Access::Direct))
    }

    async fn write(drive: &Drive, page: u64, value: u8) -> Result<(), DriveError> {
        let mut buf = AlignedBuf::zeroed(PAGE);
        buf.fill(value);
        drive.write(Area::Data, Arc::new(buf), 0..PAGE, page * PAGE as u64).await
    }

    async fn read(drive: &Drive, page: u64) -> Result<u8, DriveError> {
        let buf = drive.read(Area::Data, AlignedBuf::zeroed(PAGE), page * PAGE as u64).await?;
        Ok(buf[7])
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_takes_the_drive_out_for_all_cores_and_reads_go_on() {
        run(async {
            let (sim, shared) = (SimWorld::new(1), shared());
            let (drive, other_core) = (open(&sim, &shared), open(&sim, &shared));
            write(&drive, 0, 5).await.unwrap();
            sim.inject("/d", OpKind::Write, 0, Fault::Fail(libc::EIO));
            assert!(matches!(write(&drive, 1, 6).await, Err(DriveError::Failed { .. })));
            assert_eq!(shared.state(), DriveState::Latched);
            assert!(shared.health.cause().unwrap().starts_with("write: "));
            for core in [&drive, &other_core] {
                assert_eq!(write(core, 2, 7).await, Err(DriveError::Out(DriveId(0))));
                assert_eq!(core.flush().await, Err(DriveError::Out(DriveId(0))));
                assert_eq!(read(core, 0).await, Ok(5));
            }
            let figures = drive.metrics();
            assert_eq!(
                (figures.writes.operations, figures.writes.errors, figures.reads.operations),
                (2, 1, 1)
            );
            assert_eq!((figures.state, figures.in_flight), (DriveState::Latched, 0));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn neither_a_full_drive_nor_a_failed_read_latches() {
        run(async {
            let sim = SimWorld::new(2);
            let drive = open(&sim, &shared());
            write(&drive, 0, 5).await.unwrap();
            sim.inject("/d", OpKind::Write, 0, Fault::Fail(libc::ENOSPC));
            assert_eq!(write(&drive, 1, 6).await, Err(DriveError::Full(DriveId(0))));
            sim.inject("/d", OpKind::Read, 0, Fault::Fail(libc::EIO));
            assert!(read(&drive, 0).await.is_err());
            assert!(drive.is_in_service());
            assert_eq!(drive.shared().errors(), (1, 0));
            write(&drive, 1, 6).await.unwrap();
            assert_eq!(read(&drive, 1).await, Ok(6));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_finds_no_room_has_lost_writes() {
        run(async {
            let sim = SimWorld::new(3);
            let drive = open(&sim, &shared());
            write(&drive, 0, 5).await.unwrap();
            sim.inject("/d", OpKind::Sync, 0, Fault::Fail(libc::ENOSPC));
            assert!(drive.flush().await.is_err());
            assert!(!drive.is_in_service());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn callers_share_the_flush_after_the_one_under_way() {
        let sim = SimWorld::new(4);
        run(async {
            let drive = open(&sim, &shared());
            write(&drive, 0, 1).await.unwrap();
            sim.hang("/d");
            let flush = |drive: &Rc<Drive>| {
                let drive = drive.clone();
                spawn_local(async move { drive.flush().await })
            };
            let first = flush(&drive);
            // Once the first one is under way, the others wait for the next.
            while drive.metrics().in_flight == 0 {
                yield_now().await;
            }
            let given_up = flush(&drive);
            let others = [flush(&drive), flush(&drive)];
            yield_now().await;
            given_up.abort();
            sim.release("/d");
            first.await.unwrap().unwrap();
            for other in others {
                other.await.unwrap().unwrap();
            }
            assert_eq!(drive.metrics().flushes.operations, 2);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_complete_before_a_flush_survives_the_power() {
        for seed in 0..50 {
            let sim = SimWorld::new(seed);
            run(async {
                let drive = open(&sim, &shared());
                let writers = (0..8u64).map(|n| {
                    let drive = drive.clone();
                    async move {
                        write(&drive, n, n as u8 + 1).await.unwrap();
                        drive.flush().await.unwrap();
                    }
                });
                join_all(writers).await;
                assert!(drive.metrics().flushes.operations <= 8);
            })
            .await;
            sim.crash();
            run(async {
                let drive = open(&sim, &shared());
                for n in 0..8 {
                    assert_eq!(read(&drive, n).await, Ok(n as u8 + 1));
                }
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_drive_answers_at_once() {
        let drive = Drive::missing(DriveShared::new(DriveId(3), "/gone", Condition::MISSING));
        assert_eq!(write(&drive, 0, 1).await, Err(DriveError::Out(DriveId(3))));
        assert_eq!(read(&drive, 0).await, Err(DriveError::Out(DriveId(3))));
        assert_eq!(drive.flush().await, Err(DriveError::Out(DriveId(3))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_of_drives_is_a_set() {
        let ids = [0, 63, 64, 255].map(DriveId);
        let set: DriveSet = ids.into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), ids);
        assert_eq!((set.len(), set.contains(DriveId(1)), set.contains(DriveId(999))), (4, false, false));
        let mut all: DriveSet = [DriveId(1)].into_iter().collect();
        all.union(&set);
        assert_eq!((all.len(), DriveSet::default().is_empty()), (5, true));
    }
}
