//! What the edge counts: requests by operation and code, bytes, latency, connections.
//!
//! One `Stats` per core, shared inside it by `Rc`; every update is a few plain stores. A request is
//! counted by its `Ticket`, which follows it from the first byte to the last byte of the answer and
//! counts also when it is dropped half-way, so that nothing stays in flight for ever. May use
//! `base::metrics`, `s3::{error, route}`.

use std::cell::Cell;
use std::rc::Rc;

use tokio::time::Instant;

use super::access_log::Pending;
use super::error::Code;
use super::route::Operation;
use crate::base::metrics::{
    AccessLogMetrics, CODE_OK, ConnectionMetrics, Counter, Gauge, LocalHistogram, OperationMetrics,
};

/// The code under which requests are counted whose client went away before the answer.
pub const CODE_ABORTED: &str = "ClientDisconnected";

/// The counters of one core's edge.
pub struct Stats {
    operations: Box<[OperationStats]>,
    pub connections: ConnectionStats,
    pub access_log: AccessLogStats,
}

/// Counters of one operation.
pub struct OperationStats {
    ok: Counter,
    aborted: Counter,
    by_code: [Cell<u64>; Code::COUNT],
    latency_us: LocalHistogram,
    bytes_in: Counter,
    bytes_out: Counter,
    in_flight: Gauge,
}

/// Lines of access logs.
#[derive(Debug, Default)]
pub struct AccessLogStats {
    pub delivered: Counter,
    /// There was no room for them, or they could not be written before the end.
    pub dropped: Counter,
    /// Their target did not let them in.
    pub denied: Counter,
    /// Written with them.
    pub objects: Counter,
    /// Bytes that wait.
    pub buffered: Gauge,
}

#[derive(Debug, Default)]
pub struct ConnectionStats {
    pub open: Gauge,
    /// For the one who takes them over from the listener.
    pub accepted: Counter,
    /// For the one who accepts: closed because the bound on connections was reached.
    pub refused: Counter,
    pub timed_out: Counter,
    /// Connections lost to a broken invariant in a handler; each is a bug.
    pub panics: Counter,
}

impl Default for Stats {
    fn default() -> Self {
        let operations = Operation::ALL.iter().map(|_| OperationStats::default()).collect();
        Stats { operations, connections: ConnectionStats::default(), access_log: AccessLogStats::default() }
    }
}

impl Default for OperationStats {
    fn default() -> Self {
        OperationStats {
            ok: Counter::default(),
            aborted: Counter::default(),
            by_code: std::array::from_fn(|_| Cell::new(0)),
            latency_us: LocalHistogram::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            in_flight: Gauge::default(),
        }
    }
}

impl Stats {
    /// The figures of every operation that was asked for at least once.
    pub fn operations(&self) -> Vec<OperationMetrics> {
        let all = Operation::ALL.iter().zip(&self.operations);
        let metrics = all.map(|(operation, stats)| stats.snapshot(operation.name()));
        metrics.filter(|metrics| metrics.requests() > 0 || metrics.in_flight > 0).collect()
    }

    pub fn connections(&self) -> ConnectionMetrics {
        ConnectionMetrics {
            open: self.connections.open.get(),
            accepted: self.connections.accepted.get(),
            refused: self.connections.refused.get(),
            timed_out: self.connections.timed_out.get(),
            panics: self.connections.panics.get(),
        }
    }

    pub fn access_log(&self) -> AccessLogMetrics {
        let AccessLogStats { delivered, dropped, denied, objects, buffered } = &self.access_log;
        AccessLogMetrics {
            delivered: delivered.get(),
            dropped: dropped.get(),
            denied: denied.get(),
            objects: objects.get(),
            buffered_bytes: buffered.get(),
        }
    }

    fn of(&self, operation: Operation) -> &OperationStats {
        &self.operations[operation.index()]
    }
}

impl OperationStats {
    fn snapshot(&self, operation: &'static str) -> OperationMetrics {
        let by_code = Code::ALL.iter().zip(&self.by_code).map(|(code, n)| (code.name(), n.get()));
        let codes = [(CODE_OK, self.ok.get()), (CODE_ABORTED, self.aborted.get())];
        OperationMetrics {
            operation,
            codes: codes.into_iter().chain(by_code).filter(|(_, n)| *n > 0).collect(),
            latency_us: self.latency_us.snapshot(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            in_flight: self.in_flight.get(),
        }
    }
}

/// One request on its way. Dropping it counts it.
pub(crate) struct Ticket {
    stats: Rc<Stats>,
    operation: Operation,
    started: Instant,
    outcome: Outcome,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// For the access log of the bucket, where that has one.
    pub(super) line: Option<Box<Pending>>,
}

#[derive(Clone, Copy)]
enum Outcome {
    Unanswered,
    Ok,
    Failed(Code),
}

impl Ticket {
    pub(super) fn new(stats: Rc<Stats>) -> Self {
        let operation = Operation::Other;
        stats.of(operation).in_flight.add(1);
        let outcome = Outcome::Unanswered;
        Ticket { stats, operation, started: Instant::now(), outcome, bytes_in: 0, bytes_out: 0, line: None }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn operation(&self) -> Operation {
        self.operation
    }

    /// Once it is known what the request wants.
    pub(super) fn is_for(&mut self, operation: Operation) {
        self.stats.of(self.operation).in_flight.sub(1);
        self.operation = operation;
        self.stats.of(operation).in_flight.add(1);
    }

    pub(super) fn succeeded(&mut self) {
        self.outcome = Outcome::Ok;
    }

    pub(super) fn failed(&mut self, code: Code) {
        self.outcome = Outcome::Failed(code);
    }

    /// The answer was begun but could not be finished.
    pub(super) fn aborted(&mut self) {
        self.outcome = Outcome::Unanswered;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let stats = self.stats.of(self.operation);
        stats.in_flight.sub(1);
        match self.outcome {
            Outcome::Ok => stats.ok.increment(),
            Outcome::Unanswered => stats.aborted.increment(),
            Outcome::Failed(code) => {
                let count = &stats.by_code[code.index()];
                count.set(count.get() + 1);
            }
        }
        if let Some(line) = self.line.take() {
            line.end(self.bytes_out, self.started);
        }
        stats.bytes_in.add(self.bytes_in);
        stats.bytes_out.add(self.bytes_out);
        let micros = self.started.elapsed().as_micros();
        stats.latency_us.record(u64::try_from(micros).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_once_whatever_becomes_of_it() {
        let stats = Rc::new(Stats::default());
        let mut fine = Ticket::new(stats.clone());
        fine.is_for(Operation::GetObject);
        fine.succeeded();
        fine.bytes_out = 7;
        let mut failed = Ticket::new(stats.clone());
        failed.is_for(Operation::GetObject);
        failed.failed(Code::NoSuchKey);
        let mut dropped = Ticket::new(stats.clone());
        dropped.is_for(Operation::GetObject);
        assert_eq!(stats.operations()[0].in_flight, 3);
        drop((fine, failed, dropped));
        let [metrics] = &stats.operations()[..] else { panic!("one operation was asked for") };
        assert_eq!(metrics.operation, "GetObject");
        assert_eq!(metrics.codes, [(CODE_OK, 1), (CODE_ABORTED, 1), ("NoSuchKey", 1)]);
        assert_eq!((metrics.in_flight, metrics.bytes_out, metrics.latency_us.count()), (0, 7, 3));
    }
}
