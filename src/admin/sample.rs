//! A snapshot with something in every place, for the tests of this layer.
//!
//! Four drives at 2+2, one of them latched, and two operations with errors among them: the metrics, the
//! report and its table are all checked against these figures. Compiled for tests only.

use crate::base::metrics::{
    AccessLogMetrics, BucketMetrics, CODE_OK, CacheMetrics, ConnectionMetrics, CoreSnapshot, DriveCounters,
    DriveMetrics, DriveState, InventoryMetrics, JobKind, JobMetrics, LifecycleMetrics, LogCounters,
    NotificationMetrics, OperationMetrics, ProcessMetrics, QueueMetrics, RecoveryMetrics, ScrubMetrics,
    Snapshot,
};

pub fn snapshot() -> Snapshot {
    Snapshot {
        version: "1.2.3",
        io: "uring",
        cores: 2,
        shards: 8,
        data: 2,
        parity: 2,
        uptime_seconds: 90_061,
        startup_us: 250_000,
        recovery: RecoveryMetrics { records_replayed: 7, duration_us: 1_000, ..Default::default() },
        memory_bytes_max: 256 << 20,
        scrub: ScrubMetrics {
            running: true,
            passes: 1,
            blocks_checked: 100,
            blocks_damaged: 2,
            ..Default::default()
        },
        bucket_usages: vec![BucketMetrics {
            bucket: "b1".to_owned(),
            objects: 3,
            bytes: 4096,
            uploading_bytes: 5,
            quota_bytes: Some(1 << 30),
            quota_objects: Some(1000),
        }],
        lifecycle: LifecycleMetrics { passes: 3, examined: 1_000, expired_current: 7, ..Default::default() },
        inventories: InventoryMetrics { written: 2, denied: 1, failed: 0 },
        process: ProcessMetrics { resident_bytes: 50 << 20, cpu_us: 5, open_files: 9, threads: 3 },
        totals: totals(),
    }
}

fn totals() -> CoreSnapshot {
    let log = LogCounters::default();
    log.record_batch(8, 40_960);
    log.commit_us.record(300);
    CoreSnapshot {
        drives: (0..4).map(drive).collect(),
        log: log.snapshot(),
        caches: vec![CacheMetrics { name: "block", hits: 5, misses: 1, bytes: 64, ..Default::default() }],
        queues: vec![QueueMetrics { name: "commit", depth: 1, depth_max: 64, refused: 0 }],
        jobs: vec![JobMetrics { kind: JobKind::Merge, jobs: 3, busy_us: 1_500_000, bytes: 1 << 20 }],
        operations: vec![operation("GetObject"), operation("PutObject")],
        notifications: vec![NotificationMetrics {
            target: "alerts".into(),
            queued: 4,
            failed: 2,
            ..Default::default()
        }],
        connections: ConnectionMetrics { open: 3, accepted: 30, ..Default::default() },
        access_log: AccessLogMetrics { delivered: 7, objects: 2, ..Default::default() },
        buckets: 2,
    }
}

fn drive(number: u16) -> DriveMetrics {
    let counters = DriveCounters::default();
    counters.reads.record_done(65_536, 90);
    counters.writes.record_done(4096, 110);
    counters.flushes.record_error(5_000);
    let state = if number == 1 { DriveState::Latched } else { DriveState::Healthy };
    DriveMetrics {
        state,
        capacity_bytes: 100 << 30,
        used_bytes: 25 << 30,
        ..counters.snapshot(number, &format!("/d{number}"))
    }
}

fn operation(operation: &'static str) -> OperationMetrics {
    let mut figures = OperationMetrics {
        operation,
        codes: vec![(CODE_OK, 90), ("NoSuchKey", 10)],
        bytes_in: 1 << 20,
        bytes_out: 1 << 30,
        in_flight: 1,
        ..Default::default()
    };
    (1..=100).for_each(|us| figures.latency_us.record(us * 10));
    figures
}
