//! `/-/metrics`: a `Snapshot` in Prometheus' text form.
//!
//! The `prometheus` crate is the encoder: families are built from the figures of one moment and thrown away,
//! so nothing is registered anywhere and nothing global exists. Times are seconds and sizes bytes, as
//! Prometheus recommends; names begin with `basalt_`; a family without samples is left out. Every family is
//! named once, here, and listed for operators in `docs/OPERATING.md`.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{TEXT_FORMAT, TextEncoder};

use crate::base::metrics::{
    AccessLogMetrics, BucketMetrics, CODE_OK, CoreSnapshot, DriveMetrics, DriveState, Evacuation,
    HISTOGRAM_BUCKETS, InventoryMetrics, IoMetrics, LifecycleMetrics, Log2Histogram, ScrubMetrics, Snapshot,
};

/// The `Content-Type` of what `render` gives.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// The text of all families.
///
/// `ready`: whether the server can serve and commit, or one word why not.
pub fn render(snapshot: &Snapshot, ready: Result<(), &'static str>) -> String {
    let mut families = Families::default();
    families.one_gauge(
        "ready",
        "1 while the server can serve and commit.",
        f64::from(u8::from(ready.is_ok())),
    );
    families.gauge(
        "unready",
        "1 for the cause why it cannot.",
        ready.err().map(|cause| (vec![("cause", cause)], 1.0)),
    );
    process(&mut families, snapshot);
    store(&mut families, snapshot);
    buckets(&mut families, &snapshot.bucket_usages);
    requests(&mut families, &snapshot.totals);
    drives(&mut families, &snapshot.totals.drives);
    scrub(&mut families, &snapshot.scrub);
    lifecycle(&mut families, &snapshot.lifecycle);
    inventories(&mut families, &snapshot.inventories);
    log(&mut families, &snapshot.totals);
    caches_and_queues(&mut families, &snapshot.totals);
    background(&mut families, &snapshot.totals);
    access_log(&mut families, &snapshot.totals.access_log);
    notifications(&mut families, &snapshot.totals);
    // It fails for a family without name or samples, and we make none.
    TextEncoder::new().encode_to_string(&families.0).expect("families are well formed")
}

fn process(families: &mut Families, s: &Snapshot) {
    families.gauge("build_info", "Always 1; the version is a label.", [(vec![("version", s.version)], 1.0)]);
    families.gauge("io_info", "Always 1; what performs disk I/O is a label.", [(vec![("io", s.io)], 1.0)]);
    families.one_gauge("uptime_seconds", "Time since the process started.", s.uptime_seconds as f64);
    families.one_gauge("startup_seconds", "Process start to ready.", seconds(s.startup_us));
    families.one_gauge("cores", "Threads that serve requests.", s.cores as f64);
    let memory = s.process.resident_bytes as f64;
    families.one_gauge("memory_resident_bytes", "Resident memory of the process.", memory);
    families.one_gauge(
        "memory_limit_bytes",
        "Memory the server plans with (--memory).",
        s.memory_bytes_max as f64,
    );
    families.one_counter(
        "cpu_seconds_total",
        "Processor time of the process, user and system.",
        seconds(s.process.cpu_us),
    );
    families.one_gauge("open_files", "Open file descriptors.", s.process.open_files as f64);
    families.one_gauge("threads", "Threads of the process.", s.process.threads as f64);
}

fn store(families: &mut Families, s: &Snapshot) {
    families.one_gauge("shards", "Slices of the namespace.", s.shards as f64);
    families.one_gauge("stripe_data_chunks", "Data chunks of a stripe.", s.data as f64);
    families.one_gauge("stripe_parity_chunks", "Parity chunks of a stripe.", s.parity as f64);
    families.one_gauge("buckets", "Buckets.", s.totals.buckets as f64);
    let r = &s.recovery;
    families.one_gauge("recovery_seconds", "Time the last start spent on recovery.", seconds(r.duration_us));
    families.one_gauge(
        "recovery_log_segments",
        "Log segments read at the last start.",
        r.log_segments as f64,
    );
    families.one_gauge("recovery_records", "Records replayed at the last start.", r.records_replayed as f64);
    families.one_gauge("recovery_bytes", "Bytes of log read at the last start.", r.bytes_read as f64);
}

fn buckets(families: &mut Families, buckets: &[BucketMetrics]) {
    type Figure = fn(&BucketMetrics) -> Option<u64>;
    let gauges: [(&str, &str, Figure); 5] = [
        ("bucket_usage_objects", "Versions in the bucket, without delete markers.", |b| Some(b.objects)),
        ("bucket_usage_bytes", "Bytes of the versions in the bucket.", |b| Some(b.bytes)),
        ("bucket_uploading_bytes", "Bytes of parts whose upload is not complete.", |b| {
            Some(b.uploading_bytes)
        }),
        ("bucket_quota_bytes", "Bytes that the bucket may hold.", |b| b.quota_bytes),
        ("bucket_quota_objects", "Versions that the bucket may hold.", |b| b.quota_objects),
    ];
    for (name, help, figure) in gauges {
        let sample = |b: &'_ BucketMetrics| figure(b).map(|value| value as f64);
        let samples = buckets.iter().filter_map(|b| Some((vec![("bucket", b.bucket.as_str())], sample(b)?)));
        families.gauge(name, help, samples);
    }
}

fn requests(families: &mut Families, totals: &CoreSnapshot) {
    let by_code = |want_errors: bool| {
        totals.operations.iter().flat_map(move |o| {
            o.codes
                .iter()
                .filter(move |(code, _)| !want_errors || *code != CODE_OK)
                .map(move |(code, n)| (vec![("operation", o.operation), ("code", *code)], *n as f64))
        })
    };
    families.counter("requests_total", "Requests answered, by operation and S3 code.", by_code(false));
    families.counter("request_errors_total", "Requests answered with an error.", by_code(true));
    let label = |operation| vec![("operation", operation)];
    let operations = || totals.operations.iter();
    families.histogram(
        "request_duration_seconds",
        "Time from the first byte of a request to the last byte of its answer.",
        operations().map(|o| (label(o.operation), &o.latency_us)),
        Unit::Microseconds,
    );
    families.counter(
        "request_bytes_total",
        "Bytes of request bodies received.",
        operations().map(|o| (label(o.operation), o.bytes_in as f64)),
    );
    families.counter(
        "response_bytes_total",
        "Bytes of answer bodies sent.",
        operations().map(|o| (label(o.operation), o.bytes_out as f64)),
    );
    families.gauge(
        "requests_in_flight",
        "Requests begun and not yet answered.",
        operations().map(|o| (label(o.operation), o.in_flight as f64)),
    );
    let c = &totals.connections;
    families.one_gauge("connections_open", "Connections open now.", c.open as f64);
    families.one_counter("connections_accepted_total", "Connections accepted.", c.accepted as f64);
    families.one_counter(
        "connections_refused_total",
        "Connections closed at accept: more than --connections-max, and none made way in time.",
        c.refused as f64,
    );
    families.one_counter(
        "connections_timed_out_total",
        "Connections closed because the client was too slow.",
        c.timed_out as f64,
    );
    families.one_counter(
        "connections_panicked_total",
        "Connections lost to a broken invariant: each is a bug.",
        c.panics as f64,
    );
}

fn drives(families: &mut Families, drives: &[DriveMetrics]) {
    let numbers: Vec<String> = drives.iter().map(|d| d.drive.to_string()).collect();
    let named = || drives.iter().zip(&numbers);
    let states = named().flat_map(|(d, n)| {
        DriveState::ALL.map(|state| {
            let mut labels = drive_labels(d, n);
            labels.push(("state", state.as_str()));
            (labels, if d.state == state { 1.0 } else { 0.0 })
        })
    });
    families.gauge("drive_state", "1 for the state the drive is in, 0 for the others.", states);
    type Figure = fn(&DriveMetrics) -> u64;
    let gauges: [(&str, &str, Figure); 7] = [
        ("drive_rebuilding", "1 until a full scrub has passed over a drive that came back.", |d| {
            d.rebuilding.into()
        }),
        ("drive_doubtful", "1 while a drive in service does not hold what was written to it.", |d| {
            d.doubtful.into()
        }),
        (
            "drive_evacuating",
            "1 while what stands on a drive that stays out is written anew elsewhere.",
            |d| (d.evacuation == Evacuation::UnderWay).into(),
        ),
        ("drive_evacuated", "1 when an evacuation is done, as far as the drives that are left allow.", |d| {
            (d.evacuation == Evacuation::Done).into()
        }),
        ("drive_capacity_bytes", "Bytes of all segments of the drive.", |d| d.capacity_bytes),
        ("drive_used_bytes", "Bytes of objects and packs on the drive.", |d| d.used_bytes),
        ("drive_in_flight", "Operations submitted to the drive and not completed.", |d| d.in_flight),
    ];
    for (name, help, figure) in gauges {
        families.gauge(name, help, named().map(|(d, n)| (drive_labels(d, n), figure(d) as f64)));
    }
    families.counter(
        "drive_corrupt_blocks_total",
        "Blocks the drive delivered with a wrong checksum or identity.",
        named().map(|(d, n)| (drive_labels(d, n), d.corrupt_blocks as f64)),
    );
    drive_operations(families, drives, &numbers);
}

fn drive_operations(families: &mut Families, drives: &[DriveMetrics], numbers: &[String]) {
    let kinds = || {
        drives.iter().zip(numbers).flat_map(|(d, n)| {
            [("read", &d.reads), ("write", &d.writes), ("flush", &d.flushes)].map(|(kind, io)| {
                let mut labels = drive_labels(d, n);
                labels.push(("kind", kind));
                (labels, io)
            })
        })
    };
    type Figure = fn(&IoMetrics) -> u64;
    let counters: [(&str, &str, Figure); 3] = [
        ("drive_operations_total", "Operations on the drive.", |io| io.operations),
        ("drive_bytes_total", "Bytes moved to and from the drive.", |io| io.bytes),
        ("drive_errors_total", "Operations on the drive that failed.", |io| io.errors),
    ];
    for (name, help, figure) in counters {
        families.counter(name, help, kinds().map(|(labels, io)| (labels, figure(io) as f64)));
    }
    families.histogram(
        "drive_duration_seconds",
        "Time from submission to completion of an operation on the drive.",
        kinds().map(|(labels, io)| (labels, &io.latency_us)),
        Unit::Microseconds,
    );
}

fn scrub(families: &mut Families, s: &ScrubMetrics) {
    families.one_gauge("scrub_running", "1 while a full scrub is under way.", f64::from(s.running));
    let last = s.last_pass.seconds() as f64;
    families.one_gauge("scrub_last_pass_timestamp_seconds", "End of the last full scrub; 0 for never.", last);
    let counters = [
        ("scrub_passes_total", "Full scrubs since the start.", s.passes),
        ("scrub_blocks_checked_total", "Blocks read by scrubs and repairs.", s.blocks_checked),
        ("scrub_blocks_damaged_total", "Blocks that scrubs and repairs found damaged.", s.blocks_damaged),
        (
            "scrub_blocks_repaired_total",
            "Damaged blocks that were restored and written back.",
            s.blocks_repaired,
        ),
        (
            "scrub_blocks_unrepairable_total",
            "Damaged blocks that could not be restored: too few good ones in their row.",
            s.blocks_unrepairable,
        ),
        (
            "scrub_extents_relocated_total",
            "Extents written anew because they lacked chunks or copies.",
            s.extents_relocated,
        ),
    ];
    for (name, help, value) in counters {
        families.one_counter(name, help, value as f64);
    }
}

fn lifecycle(families: &mut Families, l: &LifecycleMetrics) {
    families.one_gauge("lifecycle_running", "1 while a lifecycle pass is under way.", f64::from(l.running));
    families.one_gauge(
        "lifecycle_last_pass_seconds",
        "Time the last lifecycle pass took, rests included.",
        seconds(l.last_pass_us),
    );
    let counters = [
        ("lifecycle_passes_total", "Lifecycle passes over the buckets with rules.", l.passes),
        ("lifecycle_examined_total", "Versions and uploads that lifecycle passes looked at.", l.examined),
        (
            "lifecycle_locked_total",
            "Versions that were due by lifecycle rules and stay because they are locked.",
            l.skipped_locked,
        ),
        ("lifecycle_failed_total", "Removals by lifecycle rules that failed and are tried again.", l.failed),
    ];
    for (name, help, value) in counters {
        families.one_counter(name, help, value as f64);
    }
    let actions = [
        ("expire_current", l.expired_current),
        ("expire_noncurrent", l.expired_noncurrent),
        ("remove_marker", l.removed_markers),
        ("abort_upload", l.aborted_uploads),
    ];
    families.counter(
        "lifecycle_expired_total",
        "Versions and uploads that lifecycle rules removed, by action.",
        actions.map(|(action, count)| (vec![("action", action)], count as f64)),
    );
}

fn inventories(families: &mut Families, i: &InventoryMetrics) {
    let outcomes = [("written", i.written), ("denied", i.denied), ("failed", i.failed)];
    families.counter(
        "inventory_reports_total",
        "Inventory reports, by outcome.",
        outcomes.map(|(outcome, count)| (vec![("outcome", outcome)], count as f64)),
    );
}

fn drive_labels<'a>(drive: &'a DriveMetrics, number: &'a str) -> Labels<'a> {
    vec![("drive", number), ("path", &drive.path)]
}

fn log(families: &mut Families, totals: &CoreSnapshot) {
    let l = &totals.log;
    families.one_counter("log_batches_total", "Batches committed to the log.", l.batches as f64);
    families.one_counter("log_records_total", "Records committed to the log.", l.records as f64);
    families.one_counter(
        "log_bytes_total",
        "Bytes of batches committed to the log, counted once for all mirrors.",
        l.bytes as f64,
    );
    families.one_counter(
        "log_batches_redriven_total",
        "Batches of the log written again after a drive failed.",
        l.redriven as f64,
    );
    families.one_gauge(
        "log_stopped",
        "Cores whose log takes nothing before the next start.",
        l.stopped as f64,
    );
    families.one_counter(
        "log_lost_bytes_total",
        "Bytes of log segments that no mirror could give, with the small objects in them.",
        l.lost_bytes as f64,
    );
    families.one_gauge("log_segments", "Log segments that still hold live records.", l.segments_live as f64);
    let one = |histogram| [(Vec::new(), histogram)];
    families.histogram(
        "log_batch_records",
        "Records in a batch of the log.",
        one(&l.batch_records),
        Unit::Plain,
    );
    families.histogram("log_batch_bytes", "Bytes of a batch of the log.", one(&l.batch_bytes), Unit::Plain);
    families.histogram(
        "log_commit_seconds",
        "Time from the arrival of a record at the log to its acknowledgement.",
        one(&l.commit_us),
        Unit::Microseconds,
    );
}

fn caches_and_queues(families: &mut Families, totals: &CoreSnapshot) {
    let caches = || totals.caches.iter().map(|c| (vec![("cache", c.name)], c));
    families.counter(
        "cache_hits_total",
        "Look-ups that the cache answered.",
        caches().map(|(l, c)| (l, c.hits as f64)),
    );
    families.counter(
        "cache_misses_total",
        "Look-ups that the cache could not answer.",
        caches().map(|(l, c)| (l, c.misses as f64)),
    );
    families.gauge("cache_bytes", "Bytes in the cache.", caches().map(|(l, c)| (l, c.bytes as f64)));
    families.gauge(
        "cache_limit_bytes",
        "Bytes that the cache may hold.",
        caches().map(|(l, c)| (l, c.bytes_max as f64)),
    );
    families.gauge("cache_entries", "Entries in the cache.", caches().map(|(l, c)| (l, c.entries as f64)));
    let queues = || totals.queues.iter().map(|q| (vec![("queue", q.name)], q));
    families.gauge(
        "queue_depth",
        "What is in the queue: jobs, or bytes of memory in use.",
        queues().map(|(l, q)| (l, q.depth as f64)),
    );
    families.gauge(
        "queue_limit",
        "What the queue may hold, in the same unit.",
        queues().map(|(l, q)| (l, q.depth_max as f64)),
    );
    families.counter(
        "queue_refused_total",
        "Requests and jobs refused because the queue was full.",
        queues().map(|(l, q)| (l, q.refused as f64)),
    );
}

fn background(families: &mut Families, totals: &CoreSnapshot) {
    let jobs = || totals.jobs.iter().map(|job| (vec![("kind", job.kind.as_str())], job));
    families.counter(
        "background_jobs_total",
        "Jobs of background threads that ended.",
        jobs().map(|(l, j)| (l, j.jobs as f64)),
    );
    families.counter(
        "background_busy_seconds_total",
        "Time in which background jobs worked or waited for drives, rests beside clients left out.",
        jobs().map(|(l, j)| (l, seconds(j.busy_us))),
    );
    families.counter(
        "background_bytes_total",
        "Bytes that background jobs wrote, counted once for all copies.",
        jobs().map(|(l, j)| (l, j.bytes as f64)),
    );
}

fn access_log(families: &mut Families, log: &AccessLogMetrics) {
    let lines = [("delivered", log.delivered), ("denied", log.denied), ("dropped", log.dropped)];
    families.counter(
        "access_log_lines_total",
        "Lines of bucket access logs, by outcome.",
        lines.map(|(outcome, n)| (vec![("outcome", outcome)], n as f64)),
    );
    families.one_counter(
        "access_log_objects_total",
        "Objects written with lines of bucket access logs.",
        log.objects as f64,
    );
    let buffered = log.buffered_bytes as f64;
    families.one_gauge(
        "access_log_buffered_bytes",
        "Bytes of access log lines that wait for delivery.",
        buffered,
    );
}

fn notifications(families: &mut Families, totals: &CoreSnapshot) {
    let targets = || totals.notifications.iter().map(|n| (vec![("target", n.target.as_str())], n));
    families.gauge(
        "notification_queued",
        "Events that wait to be delivered.",
        targets().map(|(l, n)| (l, n.queued as f64)),
    );
    families.counter(
        "notification_delivered_total",
        "Events that their target has taken.",
        targets().map(|(l, n)| (l, n.delivered as f64)),
    );
    families.counter(
        "notification_failed_attempts_total",
        "Attempts to deliver that failed and are repeated.",
        targets().map(|(l, n)| (l, n.failed as f64)),
    );
    families.counter(
        "notification_refused_total",
        "Changes refused because too many events waited.",
        targets().map(|(l, n)| (l, n.refused as f64)),
    );
    families.counter(
        "notification_discarded_total",
        "Events deleted without delivery: their target discards, or they were damaged.",
        targets().map(|(l, n)| (l, n.discarded as f64)),
    );
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

#[derive(Default)]
struct Families(Vec<MetricFamily>);

/// What the values of a histogram are, and so what its bounds become.
#[derive(Clone, Copy)]
enum Unit {
    Plain,
    Microseconds,
}

impl Families {
    fn one_gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauge(name, help, [(Vec::new(), value)]);
    }

    fn one_counter(&mut self, name: &str, help: &str, value: f64) {
        self.counter(name, help, [(Vec::new(), value)]);
    }

    fn gauge<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'a>, f64)>) {
        let metrics = samples.into_iter().map(|(labels, value)| {
            let mut metric = labelled(labels);
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
            metric
        });
        self.push(name, help, MetricType::GAUGE, metrics.collect());
    }

    fn counter<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'a>, f64)>) {
        let metrics = samples.into_iter().map(|(labels, value)| {
            let mut metric = labelled(labels);
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
            metric
        });
        self.push(name, help, MetricType::COUNTER, metrics.collect());
    }

    fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, &'a Log2Histogram)>,
        unit: Unit,
    ) {
        let metrics = samples.into_iter().map(|(labels, figures)| {
            let mut metric = labelled(labels);
            metric.set_histogram(cumulative(figures, unit));
            metric
        });
        self.push(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(format!("basalt_{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

/// Prometheus counts what lies at or below each bound; the unbounded bucket is the count itself.
fn cumulative(figures: &Log2Histogram, unit: Unit) -> Histogram {
    let scale = match unit {
        Unit::Plain => 1.0,
        Unit::Microseconds => 1e6,
    };
    let mut below = 0;
    let bounds = (0..HISTOGRAM_BUCKETS).filter_map(|i| Some((i, Log2Histogram::upper_bound(i)?)));
    let buckets = bounds.map(|(i, bound)| {
        below += figures.buckets[i];
        let mut bucket = Bucket::default();
        bucket.set_cumulative_count(below);
        bucket.set_upper_bound(bound as f64 / scale);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(figures.count());
    histogram.set_sample_sum(figures.sum as f64 / scale);
    histogram
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;
    use std::collections::{BTreeMap, BTreeSet};

    /// Reads the text format as Prometheus does: every sample belongs to a family announced above it.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} stands twice");
            } else if !line.starts_with("# HELP ") {
                let (series, value) = line.rsplit_once(' ').expect("a series and a value");
                let name = series.split('{').next().expect("a name");
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
                    name.strip_suffix(end).filter(|f| types.get(*f).is_some_and(|t| t == "histogram"))
                });
                assert!(types.contains_key(family.unwrap_or(name)), "{name} was not announced");
                let value = value.parse().expect("a number");
                assert!(samples.insert(series.to_owned(), value).is_none(), "{series} stands twice");
            }
        }
        samples
    }

    #[test]
    fn the_text_parses_and_every_name_begins_with_basalt() {
        let samples = parse(&render(&sample::snapshot(), Ok(())));
        let names: BTreeSet<&str> = samples.keys().filter_map(|s| s.split('{').next()).collect();
        assert!(names.iter().all(|name| name.starts_with("basalt_")));
        assert_eq!(samples[r#"basalt_requests_total{operation="GetObject",code="OK"}"#], 90.0);
        assert_eq!(samples[r#"basalt_request_errors_total{operation="GetObject",code="NoSuchKey"}"#], 10.0);
        assert!(!samples.contains_key(r#"basalt_request_errors_total{operation="GetObject",code="OK"}"#));
        assert_eq!(samples[r#"basalt_drive_state{drive="1",path="/d1",state="latched"}"#], 1.0);
        assert_eq!(samples[r#"basalt_drive_state{drive="1",path="/d1",state="healthy"}"#], 0.0);
        assert_eq!(samples[r#"basalt_drive_bytes_total{drive="0",path="/d0",kind="write"}"#], 4096.0);
        assert_eq!(samples[r#"basalt_cache_hits_total{cache="block"}"#], 5.0);
        assert_eq!(samples["basalt_memory_limit_bytes"], (256u64 << 20) as f64);
    }

    #[test]
    fn an_empty_snapshot_renders() {
        parse(&render(&Snapshot::default(), Ok(())));
    }

    #[test]
    fn histograms_are_cumulative_and_in_seconds() {
        let mut h = Log2Histogram::new();
        [1, 100, 100, u64::MAX / 2].into_iter().for_each(|us| h.record(us));
        let histogram = cumulative(&h, Unit::Microseconds);
        let buckets = histogram.get_bucket();
        assert_eq!(buckets.len(), HISTOGRAM_BUCKETS - 1);
        assert!(
            buckets.windows(2).all(|w| w[0].cumulative_count() <= w[1].cumulative_count()
                && w[0].upper_bound() < w[1].upper_bound())
        );
        let at = |bound: f64| {
            buckets.iter().find(|b| b.upper_bound() == bound).expect("a bucket").cumulative_count()
        };
        assert_eq!((at(1e-6), at(64e-6), at(128e-6)), (1, 1, 3));
        assert_eq!((buckets[HISTOGRAM_BUCKETS - 2].cumulative_count(), histogram.get_sample_count()), (3, 4));
    }

    #[test]
    fn label_values_are_escaped() {
        let mut snapshot = sample::snapshot();
        snapshot.totals.drives[0].path = "/a\"b\\c\nd".to_owned();
        assert!(render(&snapshot, Ok(())).contains(r#"path="/a\"b\\c\nd""#));
    }

    #[test]
    fn the_operators_page_lists_every_family() {
        let page = include_str!("../../docs/OPERATING.md");
        let text = render(&sample::snapshot(), Ok(()));
        for name in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).filter_map(|l| l.split(' ').next())
        {
            assert!(page.contains(&format!("`{name}`")), "docs/OPERATING.md does not list {name}");
        }
    }
}
