//! Reports and tables as text for a terminal: aligned columns, sizes and times as people read them.
//!
//! Only formats: takes plain values, gives a `String`. Names that come from a server have their control
//! characters removed, so that a report cannot drive the reader's terminal.

use std::fmt::Write;

use super::report::{DriveReport, LatencyReport, Report};

/// The whole report of `basalt status`.
pub fn report(endpoint: &str, r: &Report) -> String {
    let mut out = String::new();
    let state = match (r.ready, &r.reason) {
        (true, _) => "ready".to_owned(),
        (false, Some(reason)) => format!("NOT READY: {}", clean(reason)),
        (false, None) => "NOT READY".to_owned(),
    };
    line(
        &mut out,
        "server",
        &format!("{endpoint}, basalt {}, up {}", clean(&r.version), age(r.uptime_seconds)),
    );
    line(&mut out, "state", &state);
    line(&mut out, "pool", &pool(r));
    line(&mut out, "space", &space(r.pool.used_bytes, r.pool.capacity_bytes));
    line(&mut out, "buckets", &grouped(r.pool.buckets));
    let memory = &r.memory;
    line(
        &mut out,
        "memory",
        &format!("{} resident, {} planned with", size(memory.resident_bytes), size(memory.limit_bytes)),
    );
    line(
        &mut out,
        "work",
        &format!(
            "{} cores, io {}, {} connections open, {} refused, {} timed out",
            r.cores,
            clean(&r.io),
            r.connections.open,
            r.connections.refused,
            r.connections.timed_out
        ),
    );
    line(&mut out, "log", &log(r));
    line(&mut out, "scrub", &scrub(r));
    line(&mut out, "start", &start(r));
    section(&mut out, &drives(r));
    section(&mut out, &attention(r));
    section(&mut out, &operations(r));
    section(&mut out, &caches(r));
    section(&mut out, &queues(r));
    section(&mut out, &notifications(r));
    out
}

fn pool(r: &Report) -> String {
    let p = &r.pool;
    let safety = match p.failures_left {
        0 => "no further drive may fail".to_owned(),
        1 => "1 more drive may fail".to_owned(),
        n => format!("{n} more drives may fail"),
    };
    format!(
        "{}+{} over {} drives, {} healthy; {} shards; {safety}",
        p.data_chunks, p.parity_chunks, p.drives, p.drives_healthy, p.shards
    )
}

fn log(r: &Report) -> String {
    let per_batch = if r.log.batches == 0 { 0.0 } else { r.log.records as f64 / r.log.batches as f64 };
    format!(
        "{} batches of {per_batch:.1} records, {} written again, commit {}",
        grouped(r.log.batches),
        r.log.redriven,
        latency(&r.log.commit_us)
    )
}

fn scrub(r: &Report) -> String {
    let s = &r.scrub;
    let state = match (s.running, s.passes) {
        (true, _) => "under way".to_owned(),
        (false, 0) => "none since the start".to_owned(),
        (false, n) => format!("{n} full since the start"),
    };
    format!(
        "{state}; {} blocks checked, {} damaged, {} repaired, {} beyond repair; {} extents written anew",
        grouped(s.blocks_checked),
        grouped(s.blocks_damaged),
        grouped(s.blocks_repaired),
        grouped(s.blocks_unrepairable),
        grouped(s.extents_relocated)
    )
}

fn start(r: &Report) -> String {
    format!(
        "{:.2} s, of it {:.2} s recovery of {} records ({})",
        r.startup_seconds,
        r.recovery.seconds,
        grouped(r.recovery.records),
        size(r.recovery.bytes)
    )
}

fn drives(r: &Report) -> Vec<Vec<String>> {
    let head = ["DRIVE", "PATH", "STATE", "USED", "READS", "p99", "WRITES", "p99", "ERRORS", "CORRUPT"];
    let rows = r.drives.iter().map(|d| {
        vec![
            d.drive.to_string(),
            clean(&d.path),
            drive_state(d),
            space(d.used_bytes, d.capacity_bytes),
            format!("{} ({})", grouped(d.reads.operations), size(d.reads.bytes)),
            percentile(d.reads.latency_us.p99),
            format!("{} ({})", grouped(d.writes.operations), size(d.writes.bytes)),
            percentile(d.writes.latency_us.p99),
            grouped(d.reads.errors + d.writes.errors + d.flushes.errors),
            grouped(d.corrupt_blocks),
        ]
    });
    table(&head, rows)
}

fn drive_state(d: &DriveReport) -> String {
    let state = clean(&d.state);
    match d.evacuation.as_str() {
        _ if d.doubtful => format!("{state}, doubtful"),
        _ if d.rebuilding => format!("{state}, rebuilding"),
        "" | "none" => state,
        evacuation => format!("{state}, {}", clean(evacuation)),
    }
}

/// What is wrong with drives, and what to do: nothing when all is well.
fn attention(r: &Report) -> Vec<Vec<String>> {
    let rows = r.drives.iter().filter_map(|d| {
        let cause = if d.cause.is_empty() { String::new() } else { format!(" ({})", clean(&d.cause)) };
        let replace = "start with an empty drive in its place and --adopt";
        let told = match d.state.as_str() {
            "latched" => {
                format!("out of service{cause}; when it works again: basalt drive readmit {}; if not: {replace}", d.drive)
            }
            "missing" => format!("not there{cause}; start again when it is, or {replace}"),
            _ if d.doubtful => {
                format!("does not hold what was written to it{cause}; a full scrub mends it; if it comes again: {replace}")
            }
            _ => return None,
        };
        Some(vec![d.drive.to_string(), clean(&d.path), told])
    });
    table(&["DRIVE", "PATH", "WHAT TO DO"], rows)
}

fn operations(r: &Report) -> Vec<Vec<String>> {
    let head = ["OPERATION", "REQUESTS", "ERRORS", "IN FLIGHT", "RECEIVED", "SENT", "p50", "p99"];
    let rows = r.operations.iter().map(|o| {
        vec![
            clean(&o.operation),
            grouped(o.requests),
            grouped(o.errors),
            o.in_flight.to_string(),
            size(o.bytes_in),
            size(o.bytes_out),
            percentile(o.latency_us.p50),
            percentile(o.latency_us.p99),
        ]
    });
    table(&head, rows)
}

fn caches(r: &Report) -> Vec<Vec<String>> {
    let rows = r.caches.iter().map(|c| {
        let asked = c.hits + c.misses;
        let share = if asked == 0 { 0.0 } else { c.hits as f64 * 100.0 / asked as f64 };
        vec![clean(&c.cache), space(c.bytes, c.limit_bytes), grouped(asked), format!("{share:.1}%")]
    });
    table(&["CACHE", "HELD", "ASKED", "HITS"], rows)
}

fn queues(r: &Report) -> Vec<Vec<String>> {
    let rows = r
        .queues
        .iter()
        .map(|q| vec![clean(&q.queue), q.depth.to_string(), q.limit.to_string(), grouped(q.refused)]);
    table(&["QUEUE", "DEPTH", "LIMIT", "REFUSED"], rows)
}

fn notifications(r: &Report) -> Vec<Vec<String>> {
    let rows = r.notifications.iter().map(|n| {
        let figures = [n.queued, n.delivered, n.failed, n.refused].map(grouped);
        std::iter::once(clean(&n.target)).chain(figures).collect()
    });
    table(&["TARGET", "QUEUED", "DELIVERED", "FAILED", "REFUSED"], rows)
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{name:<9}{value}");
}

/// The rows of a table below its head; nothing when there are none.
pub fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    std::iter::once(head).chain(rows).collect()
}

fn section(out: &mut String, rows: &[Vec<String>]) {
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&aligned(rows));
    }
}

/// Columns as wide as their widest cell, two spaces apart, without blanks at the end of a line.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

// ---- Numbers ----

/// `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    let units = [(50u32, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0) {
        None => format!("{bytes} B"),
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
    }
}

/// `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `2 d 3 h`, `4 min 5 s`: the two largest units.
pub fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn space(used: u64, capacity: u64) -> String {
    if capacity == 0 {
        return size(used);
    }
    format!("{} of {} ({:.1}%)", size(used), size(capacity), used as f64 * 100.0 / capacity as f64)
}

fn latency(l: &LatencyReport) -> String {
    format!("p50 {}, p99 {}", percentile(l.p50), percentile(l.p99))
}

/// Histograms know powers of two only, so `<` is the honest sign.
fn percentile(us: Option<u64>) -> String {
    match us {
        None => "over a minute".to_owned(),
        Some(0) => "-".to_owned(),
        Some(us) if us < 1_000 => format!("< {us} us"),
        Some(us) if us < 1_000_000 => format!("< {:.1} ms", us as f64 / 1e3),
        Some(us) => format!("< {:.1} s", us as f64 / 1e6),
    }
}

/// What a server says, without what could drive the terminal.
pub fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;

    #[test]
    fn a_report_reads_well() {
        let report_of = |ready| Report::new(&sample::snapshot(), ready);
        let text = report("http://localhost:9000", &report_of(Ok(())));
        for part in [
            "server   http://localhost:9000, basalt 1.2.3, up 1 d 1 h",
            "state    ready",
            "2+2 over 4 drives, 3 healthy; 8 shards; 1 more drive may fail",
            "100.0 GiB of 400.0 GiB (25.0%)",
            "latched",
            "scrub    under way; 100 blocks checked, 2 damaged",
            "GetObject",
            "alerts",
            "block",
            "commit",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.lines().all(|line| !line.ends_with(' ')));
        let text = report("e", &report_of(Err("no safe \x1b[31mmirror set".to_owned())));
        assert!(text.contains("NOT READY: no safe [31mmirror set"), "{text}");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "long"], ["wide", "b"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "a     long\nwide  b\n");
        assert_eq!(aligned(&[]), "");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([5, 65, 3_700, 90_061].map(age), ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!([512, 1536, 3 << 39].map(size), ["512 B", "1.5 KiB", "1.5 TiB"]);
        assert_eq!(percentile(Some(256)), "< 256 us");
        assert_eq!(percentile(Some(2048)), "< 2.0 ms");
    }
}
