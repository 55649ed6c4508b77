//! `/-/admin/v1/status`: the state of the server as one JSON document, made by the server and read by
//! `basalt status`.
//!
//! The form is versioned by its path. Fields may be added; a reader ignores those it does not know and
//! takes the default for those it misses, so that client and server may differ in version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::metrics::{
    CacheMetrics, CoreSnapshot, DriveMetrics, DriveState, IoMetrics, Log2Histogram, LogMetrics,
    NotificationMetrics, OperationMetrics, QueueMetrics, ScrubMetrics, Snapshot,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    pub version: String,
    /// Can serve and commit; `reason` says why not.
    pub ready: bool,
    pub reason: Option<String>,
    pub uptime_seconds: u64,
    pub startup_seconds: f64,
    pub io: String,
    pub cores: u64,
    pub pool: PoolReport,
    pub drives: Vec<DriveReport>,
    pub memory: MemoryReport,
    pub connections: ConnectionsReport,
    pub operations: Vec<OperationReport>,
    pub log: LogReport,
    pub caches: Vec<CacheReport>,
    pub queues: Vec<QueueReport>,
    pub notifications: Vec<NotificationReport>,
    pub recovery: RecoveryReport,
    pub scrub: ScrubReport,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubReport {
    pub running: bool,
    /// Full passes since the start.
    pub passes: u64,
    /// End of the last full pass, in seconds since 1970; 0 for never.
    pub last_pass: u64,
    pub blocks_checked: u64,
    pub blocks_damaged: u64,
    pub blocks_repaired: u64,
    pub blocks_unrepairable: u64,
    pub extents_relocated: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolReport {
    pub data_chunks: u64,
    pub parity_chunks: u64,
    pub shards: u64,
    pub drives: u64,
    pub drives_healthy: u64,
    /// How many healthy drives may still fail without loss; one that is being rebuilt has failed once.
    pub failures_left: u64,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub buckets: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriveReport {
    pub drive: u16,
    pub path: String,
    /// `healthy`, `latched` or `missing`.
    pub state: String,
    /// Why it is latched, missing or doubtful; empty when it is not, or nobody knows.
    pub cause: String,
    /// In service; older bytes may be missing until a full scrub has passed.
    pub rebuilding: bool,
    /// In service; does not hold what was written to it.
    pub doubtful: bool,
    /// `none`, or for a drive that stays out `evacuating` and then `evacuated`.
    pub evacuation: String,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub in_flight: u64,
    pub corrupt_blocks: u64,
    pub reads: IoReport,
    pub writes: IoReport,
    pub flushes: IoReport,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IoReport {
    pub operations: u64,
    pub bytes: u64,
    pub errors: u64,
    pub latency_us: LatencyReport,
}

/// Microseconds. Percentiles are upper bounds, at most twice the true value; `null` lies beyond the largest
/// bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LatencyReport {
    pub mean: f64,
    pub p50: Option<u64>,
    pub p99: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryReport {
    pub resident_bytes: u64,
    pub limit_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionsReport {
    pub open: u64,
    pub accepted: u64,
    pub refused: u64,
    pub timed_out: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OperationReport {
    pub operation: String,
    pub requests: u64,
    pub errors: u64,
    /// How many ended with which code.
    pub codes: BTreeMap<String, u64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub in_flight: u64,
    pub latency_us: LatencyReport,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogReport {
    pub batches: u64,
    pub records: u64,
    pub bytes: u64,
    pub redriven: u64,
    pub segments: u64,
    pub commit_us: LatencyReport,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheReport {
    pub cache: String,
    pub hits: u64,
    pub misses: u64,
    pub bytes: u64,
    pub limit_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueReport {
    pub queue: String,
    pub depth: u64,
    pub limit: u64,
    pub refused: u64,
}

/// Events for one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotificationReport {
    pub target: String,
    pub queued: u64,
    pub delivered: u64,
    /// Attempts.
    pub failed: u64,
    /// Changes.
    pub refused: u64,
    pub discarded: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecoveryReport {
    pub seconds: f64,
    pub log_segments: u64,
    pub records: u64,
    pub bytes: u64,
}

impl Report {
    pub fn new(snapshot: &Snapshot, ready: Result<(), String>) -> Report {
        let totals = &snapshot.totals;
        let connections = &totals.connections;
        Report {
            version: snapshot.version.to_owned(),
            ready: ready.is_ok(),
            reason: ready.err(),
            uptime_seconds: snapshot.uptime_seconds,
            startup_seconds: snapshot.startup_us as f64 / 1e6,
            io: snapshot.io.to_owned(),
            cores: snapshot.cores,
            pool: pool(snapshot),
            drives: totals.drives.iter().map(drive).collect(),
            memory: MemoryReport {
                resident_bytes: snapshot.process.resident_bytes,
                limit_bytes: snapshot.memory_bytes_max,
            },
            connections: ConnectionsReport {
                open: connections.open,
                accepted: connections.accepted,
                refused: connections.refused,
                timed_out: connections.timed_out,
            },
            operations: totals.operations.iter().map(operation).collect(),
            log: log(&totals.log),
            caches: totals.caches.iter().map(cache).collect(),
            queues: totals.queues.iter().map(queue).collect(),
            notifications: totals.notifications.iter().map(notification).collect(),
            recovery: recovery(snapshot),
            scrub: scrub(&snapshot.scrub),
        }
    }
}

fn pool(snapshot: &Snapshot) -> PoolReport {
    let CoreSnapshot { drives, buckets, .. } = &snapshot.totals;
    let healthy = drives.iter().filter(|d| d.state == DriveState::Healthy).count() as u64;
    let lost = drives.iter().filter(|d| d.state != DriveState::Healthy || d.rebuilding).count() as u64;
    PoolReport {
        data_chunks: snapshot.data,
        parity_chunks: snapshot.parity,
        shards: snapshot.shards,
        drives: drives.len() as u64,
        drives_healthy: healthy,
        failures_left: snapshot.parity.saturating_sub(lost),
        capacity_bytes: drives.iter().map(|d| d.capacity_bytes).sum(),
        used_bytes: drives.iter().map(|d| d.used_bytes).sum(),
        buckets: *buckets,
    }
}

fn drive(d: &DriveMetrics) -> DriveReport {
    DriveReport {
        drive: d.drive,
        path: d.path.clone(),
        state: d.state.as_str().to_owned(),
        cause: d.cause.clone(),
        rebuilding: d.rebuilding,
        doubtful: d.doubtful,
        evacuation: d.evacuation.as_str().to_owned(),
        capacity_bytes: d.capacity_bytes,
        used_bytes: d.used_bytes,
        in_flight: d.in_flight,
        corrupt_blocks: d.corrupt_blocks,
        reads: io(&d.reads),
        writes: io(&d.writes),
        flushes: io(&d.flushes),
    }
}

fn io(io: &IoMetrics) -> IoReport {
    IoReport {
        operations: io.operations,
        bytes: io.bytes,
        errors: io.errors,
        latency_us: latency(&io.latency_us),
    }
}

fn latency(histogram: &Log2Histogram) -> LatencyReport {
    let bounded = |q| Some(histogram.quantile(q)).filter(|us| *us != u64::MAX);
    LatencyReport { mean: histogram.mean(), p50: bounded(0.5), p99: bounded(0.99) }
}

fn operation(o: &OperationMetrics) -> OperationReport {
    OperationReport {
        operation: o.operation.to_owned(),
        requests: o.requests(),
        errors: o.errors(),
        codes: o.codes.iter().map(|(code, n)| ((*code).to_owned(), *n)).collect(),
        bytes_in: o.bytes_in,
        bytes_out: o.bytes_out,
        in_flight: o.in_flight,
        latency_us: latency(&o.latency_us),
    }
}

fn log(l: &LogMetrics) -> LogReport {
    LogReport {
        batches: l.batches,
        records: l.records,
        bytes: l.bytes,
        redriven: l.redriven,
        segments: l.segments_live,
        commit_us: latency(&l.commit_us),
    }
}

fn cache(c: &CacheMetrics) -> CacheReport {
    CacheReport {
        cache: c.name.to_owned(),
        hits: c.hits,
        misses: c.misses,
        bytes: c.bytes,
        limit_bytes: c.bytes_max,
    }
}

fn queue(q: &QueueMetrics) -> QueueReport {
    QueueReport { queue: q.name.to_owned(), depth: q.depth, limit: q.depth_max, refused: q.refused }
}

fn notification(n: &NotificationMetrics) -> NotificationReport {
    let NotificationMetrics { target, queued, refused, delivered, failed, discarded } = n.clone();
    NotificationReport { target, queued, delivered, failed, refused, discarded }
}

fn scrub(s: &ScrubMetrics) -> ScrubReport {
    ScrubReport {
        running: s.running,
        passes: s.passes,
        last_pass: s.last_pass.seconds(),
        blocks_checked: s.blocks_checked,
        blocks_damaged: s.blocks_damaged,
        blocks_repaired: s.blocks_repaired,
        blocks_unrepairable: s.blocks_unrepairable,
        extents_relocated: s.extents_relocated,
    }
}

fn recovery(snapshot: &Snapshot) -> RecoveryReport {
    let r = &snapshot.recovery;
    RecoveryReport {
        seconds: r.duration_us as f64 / 1e6,
        log_segments: r.log_segments,
        records: r.records_replayed,
        bytes: r.bytes_read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;

    #[test]
    fn it_comes_back_from_json() {
        let report = Report::new(&sample::snapshot(), Err("drive 1 is latched".to_owned()));
        let json = serde_json::to_string(&report).expect("it is plain data");
        assert_eq!(serde_json::from_str::<Report>(&json).expect("it reads"), report);
        assert_eq!((report.ready, report.reason.as_deref()), (false, Some("drive 1 is latched")));
    }

    #[test]
    fn a_lost_drive_uses_up_redundancy() {
        let report = Report::new(&sample::snapshot(), Ok(()));
        assert_eq!((report.pool.drives, report.pool.drives_healthy, report.pool.failures_left), (4, 3, 1));
        assert_eq!(report.operations[0].requests, 100);
        assert_eq!(report.operations[0].errors, 10);
    }

    #[test]
    fn a_reader_of_another_version_manages() {
        let report: Report = serde_json::from_str(r#"{"ready":true,"new":{"a":1}}"#).expect("it reads");
        assert!(report.ready && report.drives.is_empty());
    }
}
