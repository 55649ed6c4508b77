//! Figures about the running system, as plain values.
//!
//! Two kinds of type. *Counters* (`Counter`, `LocalHistogram`, `DriveCounters`, ...) are cells owned by one
//! thread and shared inside it by `Rc`: updating one is a load, an add and a store, without atomics.
//! *Figures* (`Log2Histogram`, `DriveMetrics`, `CoreSnapshot`, ...) are plain `Send` values copied out of the
//! counters on demand; the operator edge asks every core for its `CoreSnapshot`, merges them into one
//! `Snapshot` and renders that. Nothing here does I/O, reads a clock or knows how figures are shown.
//!
//! Invariants: counters only grow (they wrap after centuries); merging is commutative and associative, so
//! the order in which cores answer does not matter; latencies are microseconds, sizes are bytes.

mod cells;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::time::Nanos;

pub use cells::{Counter, Gauge, HISTOGRAM_BUCKETS, LocalHistogram, Log2Histogram};

// ---- Drives ----

/// What a drive is good for, from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriveState {
    /// Read and written.
    #[default]
    Healthy,
    /// A write or flush failed: not written until an operator or repair brings it back.
    Latched,
    /// Not there, or not readable.
    Missing,
}

impl DriveState {
    pub const ALL: [DriveState; 3] = [DriveState::Healthy, DriveState::Latched, DriveState::Missing];

    pub fn as_str(self) -> &'static str {
        match self {
            DriveState::Healthy => "healthy",
            DriveState::Latched => "latched",
            DriveState::Missing => "missing",
        }
    }
}

/// One kind of operation on a drive: how many, how much, how long, how many failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoMetrics {
    pub operations: u64,
    pub bytes: u64,
    pub errors: u64,
    /// Submission to completion, microseconds.
    pub latency_us: Log2Histogram,
}

impl IoMetrics {
    pub fn merge(&mut self, other: &IoMetrics) {
        self.operations += other.operations;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.latency_us.merge(&other.latency_us);
    }
}

/// The cells behind `IoMetrics`.
#[derive(Debug, Default)]
pub struct IoCounters {
    operations: Counter,
    bytes: Counter,
    errors: Counter,
    latency_us: LocalHistogram,
}

impl IoCounters {
    #[inline]
    pub fn record_done(&self, bytes: u64, latency_us: u64) {
        self.operations.increment();
        self.bytes.add(bytes);
        self.latency_us.record(latency_us);
    }

    /// A failed operation counts as an operation, moves no bytes and has a latency.
    #[inline]
    pub fn record_error(&self, latency_us: u64) {
        self.operations.increment();
        self.errors.increment();
        self.latency_us.record(latency_us);
    }

    pub fn snapshot(&self) -> IoMetrics {
        IoMetrics {
            operations: self.operations.get(),
            bytes: self.bytes.get(),
            errors: self.errors.get(),
            latency_us: self.latency_us.snapshot(),
        }
    }
}

/// Whether what stands on a drive that stays out is being written anew on the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Evacuation {
    /// The drive is in service, or has not been out for long.
    #[default]
    None,
    UnderWay,
    /// Everything has what the drives that are left can give it.
    Done,
}

impl Evacuation {
    pub const ALL: [Evacuation; 3] = [Evacuation::None, Evacuation::UnderWay, Evacuation::Done];

    pub fn as_str(self) -> &'static str {
        match self {
            Evacuation::None => "none",
            Evacuation::UnderWay => "evacuating",
            Evacuation::Done => "evacuated",
        }
    }
}

/// One drive as one core sees it, or, merged, as the machine sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriveMetrics {
    /// Position in the pool: what figures of several cores are merged by.
    pub drive: u16,
    /// The path it was given as.
    pub path: String,
    pub state: DriveState,
    /// Why it is latched, missing or doubtful; empty when it is not, or nobody knows.
    pub cause: String,
    /// In service; older bytes may be missing until a full scrub has passed.
    pub rebuilding: bool,
    /// In service; does not hold what was written to it.
    pub doubtful: bool,
    pub evacuation: Evacuation,
    /// Bytes the whole drive may hold; every core reports the same.
    pub capacity_bytes: u64,
    /// Bytes of objects and packs, as far as this core accounts for them; merging adds them up.
    pub used_bytes: u64,
    pub reads: IoMetrics,
    pub writes: IoMetrics,
    pub flushes: IoMetrics,
    /// Blocks whose checksum or identity was wrong although the drive reported success.
    pub corrupt_blocks: u64,
    /// Operations submitted and not completed.
    pub in_flight: u64,
}

impl DriveMetrics {
    pub fn merge(&mut self, other: &DriveMetrics) {
        assert_eq!(self.drive, other.drive, "figures of one drive are merged with its own");
        if self.path.is_empty() {
            self.path.clone_from(&other.path);
        }
        self.state = self.state.max(other.state);
        if self.cause.is_empty() {
            self.cause.clone_from(&other.cause);
        }
        self.rebuilding |= other.rebuilding;
        self.doubtful |= other.doubtful;
        self.evacuation = self.evacuation.max(other.evacuation);
        self.capacity_bytes = self.capacity_bytes.max(other.capacity_bytes);
        self.used_bytes += other.used_bytes;
        self.reads.merge(&other.reads);
        self.writes.merge(&other.writes);
        self.flushes.merge(&other.flushes);
        self.corrupt_blocks += other.corrupt_blocks;
        self.in_flight += other.in_flight;
    }
}

/// The cells one core keeps for one drive. State, capacity and use belong to the drive itself; whoever
/// makes the snapshot fills them in.
#[derive(Debug, Default)]
pub struct DriveCounters {
    pub reads: IoCounters,
    pub writes: IoCounters,
    pub flushes: IoCounters,
    pub corrupt_blocks: Counter,
    pub in_flight: Gauge,
}

impl DriveCounters {
    pub fn snapshot(&self, drive: u16, path: &str) -> DriveMetrics {
        DriveMetrics {
            drive,
            path: path.to_owned(),
            reads: self.reads.snapshot(),
            writes: self.writes.snapshot(),
            flushes: self.flushes.snapshot(),
            corrupt_blocks: self.corrupt_blocks.get(),
            in_flight: self.in_flight.get(),
            ..DriveMetrics::default()
        }
    }
}

// ---- Log ----

/// The commit path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMetrics {
    pub batches: u64,
    pub records: u64,
    /// Bytes of batches as written to one mirror.
    pub bytes: u64,
    /// Batches written again on another mirror set after a drive failed.
    pub redriven: u64,
    /// Of segments that no mirror could give, with what lived in them.
    pub lost_bytes: u64,
    pub batch_records: Log2Histogram,
    pub batch_bytes: Log2Histogram,
    /// Arrival of a record to its acknowledgement, microseconds.
    pub commit_us: Log2Histogram,
    /// Log segments that hold records not yet in the catalog's runs or in packs.
    pub segments_live: u64,
    /// Cores whose log has stopped for want of drives.
    pub stopped: u64,
}

impl LogMetrics {
    pub fn merge(&mut self, other: &LogMetrics) {
        self.batches += other.batches;
        self.records += other.records;
        self.bytes += other.bytes;
        self.redriven += other.redriven;
        self.lost_bytes += other.lost_bytes;
        self.batch_records.merge(&other.batch_records);
        self.batch_bytes.merge(&other.batch_bytes);
        self.commit_us.merge(&other.commit_us);
        self.segments_live += other.segments_live;
        self.stopped += other.stopped;
    }
}

/// The cells behind `LogMetrics`.
#[derive(Debug, Default)]
pub struct LogCounters {
    pub redriven: Counter,
    pub lost_bytes: Counter,
    pub commit_us: LocalHistogram,
    pub segments_live: Gauge,
    pub stopped: Gauge,
    batches: Counter,
    records: Counter,
    bytes: Counter,
    batch_records: LocalHistogram,
    batch_bytes: LocalHistogram,
}

impl LogCounters {
    #[inline]
    pub fn record_batch(&self, records: u64, bytes: u64) {
        self.batches.increment();
        self.records.add(records);
        self.bytes.add(bytes);
        self.batch_records.record(records);
        self.batch_bytes.record(bytes);
    }

    pub fn snapshot(&self) -> LogMetrics {
        LogMetrics {
            batches: self.batches.get(),
            records: self.records.get(),
            bytes: self.bytes.get(),
            redriven: self.redriven.get(),
            lost_bytes: self.lost_bytes.get(),
            batch_records: self.batch_records.snapshot(),
            batch_bytes: self.batch_bytes.snapshot(),
            commit_us: self.commit_us.snapshot(),
            segments_live: self.segments_live.get(),
            stopped: self.stopped.get(),
        }
    }
}

// ---- Caches and queues ----

/// One cache, named by what it holds (`block`, `object`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheMetrics {
    pub name: &'static str,
    pub hits: u64,
    pub misses: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub entries: u64,
}

impl CacheMetrics {
    pub fn merge(&mut self, other: &CacheMetrics) {
        assert_eq!(self.name, other.name, "figures of one cache are merged with its own");
        self.hits += other.hits;
        self.misses += other.misses;
        self.bytes += other.bytes;
        self.bytes_max += other.bytes_max;
        self.entries += other.entries;
    }
}

/// One bounded queue, named by what waits in it (`buffer`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueMetrics {
    pub name: &'static str,
    pub depth: u64,
    pub depth_max: u64,
    /// Entries refused because the queue was full.
    pub refused: u64,
}

impl QueueMetrics {
    pub fn merge(&mut self, other: &QueueMetrics) {
        assert_eq!(self.name, other.name, "figures of one queue are merged with its own");
        self.depth += other.depth;
        self.depth_max += other.depth_max;
        self.refused += other.refused;
    }
}

// ---- Background work ----

/// What background threads do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobKind {
    /// A full memtable becomes a run.
    #[default]
    Flush,
    /// Runs become fewer runs.
    Merge,
    /// What lives in a log segment goes into packs.
    Pack,
    /// What is due by the rules of its bucket is looked for.
    Lifecycle,
    /// Lists of buckets are written.
    Inventory,
}

impl JobKind {
    pub const ALL: [JobKind; 5] =
        [JobKind::Flush, JobKind::Merge, JobKind::Pack, JobKind::Lifecycle, JobKind::Inventory];

    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Flush => "flush",
            JobKind::Merge => "merge",
            JobKind::Pack => "pack",
            JobKind::Lifecycle => "lifecycle",
            JobKind::Inventory => "inventory",
        }
    }
}

/// One kind of background work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobMetrics {
    pub kind: JobKind,
    /// Jobs that ended, whether they did what they were to do or not.
    pub jobs: u64,
    /// Time in which a job worked or waited for drives and other cores, rests left out; microseconds.
    pub busy_us: u64,
    /// Bytes written, counted once for all copies.
    pub bytes: u64,
}

impl JobMetrics {
    pub fn merge(&mut self, other: &JobMetrics) {
        assert_eq!(self.kind, other.kind, "figures of one kind are merged with its own");
        self.jobs += other.jobs;
        self.busy_us += other.busy_us;
        self.bytes += other.bytes;
    }
}

/// The cells behind `JobMetrics`.
#[derive(Debug, Default)]
pub struct JobCounters {
    pub jobs: Counter,
    pub busy_us: Counter,
    pub bytes: Counter,
}

impl JobCounters {
    pub fn snapshot(&self, kind: JobKind) -> JobMetrics {
        JobMetrics { kind, jobs: self.jobs.get(), busy_us: self.busy_us.get(), bytes: self.bytes.get() }
    }
}

// ---- Notifications ----

/// Events for one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationMetrics {
    pub target: String,
    /// Waiting to be delivered.
    pub queued: u64,
    /// Changes that were refused because too many waited.
    pub refused: u64,
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Deleted without being delivered, because the target is one that discards or the event was damaged.
    pub discarded: u64,
}

impl NotificationMetrics {
    pub fn merge(&mut self, other: &NotificationMetrics) {
        assert_eq!(self.target, other.target, "figures of one target are merged with its own");
        self.queued += other.queued;
        self.refused += other.refused;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.discarded += other.discarded;
    }
}

/// The cells of whoever delivers.
#[derive(Debug, Default)]
pub struct DeliveryCounters {
    pub delivered: Counter,
    pub failed: Counter,
    pub discarded: Counter,
}

/// The same by target.
#[derive(Debug, Default)]
pub struct Deliveries(RefCell<BTreeMap<String, Rc<DeliveryCounters>>>);

impl Deliveries {
    pub fn of(&self, target: &str) -> Rc<DeliveryCounters> {
        self.0.borrow_mut().entry(target.to_owned()).or_default().clone()
    }

    pub fn metrics(&self) -> Vec<NotificationMetrics> {
        let figures = |(target, counters): (&String, &Rc<DeliveryCounters>)| NotificationMetrics {
            target: target.clone(),
            delivered: counters.delivered.get(),
            failed: counters.failed.get(),
            discarded: counters.discarded.get(),
            ..NotificationMetrics::default()
        };
        self.0.borrow().iter().map(figures).collect()
    }
}

// ---- Requests ----

/// One S3 operation (`PutObject`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationMetrics {
    pub operation: &'static str,
    /// How many ended with which code: `OK`, or the S3 error code.
    pub codes: Vec<(&'static str, u64)>,
    /// First byte of the request to last byte of the answer, microseconds.
    pub latency_us: Log2Histogram,
    /// Body bytes received and sent.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub in_flight: u64,
}

/// The code under which successful requests are counted.
pub const CODE_OK: &str = "OK";

impl OperationMetrics {
    pub fn requests(&self) -> u64 {
        self.codes.iter().map(|(_, n)| n).sum()
    }

    pub fn errors(&self) -> u64 {
        self.codes.iter().filter(|(code, _)| *code != CODE_OK).map(|(_, n)| n).sum()
    }

    pub fn merge(&mut self, other: &OperationMetrics) {
        assert_eq!(self.operation, other.operation, "figures of one operation are merged with its own");
        for (code, n) in &other.codes {
            match self.codes.iter_mut().find(|(mine, _)| mine == code) {
                Some((_, mine)) => *mine += n,
                None => self.codes.push((code, *n)),
            }
        }
        self.latency_us.merge(&other.latency_us);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.in_flight += other.in_flight;
    }
}

/// Connections of one listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionMetrics {
    pub open: u64,
    pub accepted: u64,
    /// Closed at accept because the bound on connections was reached.
    pub refused: u64,
    /// Closed because the client was slower than the bounds allow.
    pub timed_out: u64,
    /// Lost to a broken invariant; each is a bug.
    pub panics: u64,
}

impl ConnectionMetrics {
    pub fn merge(&mut self, other: &ConnectionMetrics) {
        self.open += other.open;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.timed_out += other.timed_out;
        self.panics += other.panics;
    }
}

// ---- Snapshots ----

/// Everything one core reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreSnapshot {
    pub drives: Vec<DriveMetrics>,
    pub log: LogMetrics,
    pub caches: Vec<CacheMetrics>,
    pub queues: Vec<QueueMetrics>,
    pub jobs: Vec<JobMetrics>,
    pub operations: Vec<OperationMetrics>,
    pub notifications: Vec<NotificationMetrics>,
    pub connections: ConnectionMetrics,
    pub access_log: AccessLogMetrics,
    /// Buckets, the same on every core.
    pub buckets: u64,
}

impl CoreSnapshot {
    /// Adds another core's figures. Lists are merged by name or number and stay sorted by it.
    pub fn merge(&mut self, other: CoreSnapshot) {
        merge_lists(&mut self.drives, other.drives, |d| d.drive, DriveMetrics::merge);
        merge_lists(&mut self.caches, other.caches, |c| c.name, CacheMetrics::merge);
        merge_lists(&mut self.queues, other.queues, |q| q.name, QueueMetrics::merge);
        merge_lists(&mut self.jobs, other.jobs, |j| j.kind, JobMetrics::merge);
        merge_lists(&mut self.operations, other.operations, |o| o.operation, OperationMetrics::merge);
        let target = |n: &NotificationMetrics| n.target.clone();
        merge_lists(&mut self.notifications, other.notifications, target, NotificationMetrics::merge);
        self.log.merge(&other.log);
        self.connections.merge(&other.connections);
        self.access_log.merge(&other.access_log);
        self.buckets += other.buckets;
    }
}

/// Lines of access logs: what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLogMetrics {
    pub delivered: u64,
    pub dropped: u64,
    pub denied: u64,
    pub objects: u64,
    pub buffered_bytes: u64,
}

impl AccessLogMetrics {
    pub fn merge(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.denied += other.denied;
        self.objects += other.objects;
        self.buffered_bytes += other.buffered_bytes;
    }
}

/// What recovery found and did at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryMetrics {
    pub log_segments: u64,
    pub records_replayed: u64,
    pub bytes_read: u64,
    pub duration_us: u64,
}

/// What the kernel says of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMetrics {
    pub resident_bytes: u64,
    /// Processor time of all threads, in user and kernel mode.
    pub cpu_us: u64,
    pub open_files: u64,
    pub threads: u64,
}

/// Looking after what stands on the drives: scrubs, and repairs of what readers found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubMetrics {
    /// A full pass is under way.
    pub running: bool,
    /// Full passes since the process started.
    pub passes: u64,
    /// End of the last full pass; 0 for never.
    pub last_pass: Nanos,
    pub blocks_checked: u64,
    pub blocks_damaged: u64,
    pub blocks_repaired: u64,
    /// Too few good blocks were left in their rows.
    pub blocks_unrepairable: u64,
    /// Objects, parts, packs and runs that were written anew at full width.
    pub extents_relocated: u64,
}

/// What was removed because rules of its bucket say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifecycleMetrics {
    /// A pass is under way.
    pub running: bool,
    /// Since the process started, as everything that follows.
    pub passes: u64,
    /// Versions and uploads that were looked at.
    pub examined: u64,
    /// Current versions that were removed or got a delete marker.
    pub expired_current: u64,
    pub expired_noncurrent: u64,
    pub removed_markers: u64,
    pub aborted_uploads: u64,
    /// Due, and locked; counted in every pass.
    pub skipped_locked: u64,
    /// Due, and could not be removed; they are tried again.
    pub failed: u64,
    /// The last pass from its beginning to its end, rests included.
    pub last_pass_us: u64,
}

/// Reports of inventories, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InventoryMetrics {
    pub written: u64,
    /// The destination did not let them in.
    pub denied: u64,
    /// For another reason.
    pub failed: u64,
}

/// Everything the process reports: its own figures, and those of all cores merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub version: &'static str,
    /// `uring` or `threads`: what moves bytes to and from the drives.
    pub io: &'static str,
    pub cores: u64,
    pub shards: u64,
    /// Data and parity chunks of a stripe.
    pub data: u64,
    pub parity: u64,
    pub uptime_seconds: u64,
    /// Process start to ready.
    pub startup_us: u64,
    pub recovery: RecoveryMetrics,
    /// The cap on the memory the server plans with.
    pub memory_bytes_max: u64,
    pub scrub: ScrubMetrics,
    /// Of the largest buckets, as many as the operator wants to see.
    pub bucket_usages: Vec<BucketMetrics>,
    pub lifecycle: LifecycleMetrics,
    pub inventories: InventoryMetrics,
    /// Filled in by the operator edge.
    pub process: ProcessMetrics,
    pub totals: CoreSnapshot,
}

/// What a bucket holds and may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketMetrics {
    pub bucket: String,
    pub objects: u64,
    pub bytes: u64,
    pub uploading_bytes: u64,
    pub quota_bytes: Option<u64>,
    pub quota_objects: Option<u64>,
}

fn merge_lists<T, K: Ord>(
    mine: &mut Vec<T>,
    theirs: Vec<T>,
    key: impl Fn(&T) -> K,
    merge: impl Fn(&mut T, &T),
) {
    for item in theirs {
        match mine.iter_mut().find(|m| key(m) == key(&item)) {
            Some(found) => merge(found, &item),
            None => mine.push(item),
        }
    }
    mine.sort_by_key(|item| key(item));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_merge_by_drive_and_by_name() {
        let core = |drive, state, used_bytes, code| CoreSnapshot {
            drives: vec![DriveMetrics { drive, state, used_bytes, capacity_bytes: 10, ..Default::default() }],
            caches: vec![CacheMetrics { name: "block", hits: 1, ..Default::default() }],
            operations: vec![OperationMetrics {
                operation: "GetObject",
                codes: vec![(code, 2)],
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut merged = core(1, DriveState::Healthy, 3, CODE_OK);
        merged.merge(core(0, DriveState::Healthy, 1, "NoSuchKey"));
        merged.merge(core(1, DriveState::Latched, 4, CODE_OK));
        assert_eq!(merged.drives.iter().map(|d| d.drive).collect::<Vec<_>>(), [0, 1]);
        let drive = &merged.drives[1];
        assert_eq!((drive.state, drive.used_bytes, drive.capacity_bytes), (DriveState::Latched, 7, 10));
        assert_eq!(merged.caches[0].hits, 3);
        assert_eq!((merged.operations[0].requests(), merged.operations[0].errors()), (6, 2));
    }
}
