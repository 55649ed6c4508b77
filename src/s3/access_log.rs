//! Access logging: one line for each request to a bucket that has it, and for each removal by lifecycle; lines are
//! gathered on each core until they are delivered.
//!
//! Owns [`Trace`] (what only the log wants to know about a request), [`AccessLog`] (the lines of one core, by bucket
//! and target) and [`Pending`] (a line that waits for the last byte of its answer). `line` is the format of a line;
//! `deliver` writes lines as objects into target buckets; `target` decides which buckets may be targets.
//!
//! Invariants: a request to a bucket without logging pays for one look at an `Option`. No request waits for its line:
//! what does not fit the memory for lines is dropped and counted, since a log is best effort, as on AWS. A line goes
//! where the configuration pointed when its request came.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html

mod deliver;
mod line;
mod target;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::request::Parts;
use http::{HeaderMap, Method};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Shared;
use super::auth::Proof;
use super::error::Code;
use super::headers;
use super::response::Reply;
use super::route::{Operation, target as address};
use super::service::{Call, host};
use super::stats::Stats;
use super::versions::VERSION_ID;
use crate::base::limits::ACCESS_LOG_OBJECTS_BUFFERED;
use crate::base::time::Nanos;
use crate::codec::xml::{LogKeyFormat, LogTarget};
use crate::iam::Caller;
use crate::iam::rules::Rules;
use crate::object::lifecycle::witness::{Done, Removal};
pub(super) use deliver::run;
pub(super) use line::{BATCH_DELETE, COPY_SOURCE, PART_COPY_SOURCE};
use line::{Line, Rendered, without_credentials};
pub(super) use target::{admit_target, check_grantees};

/// Who asks where nobody did, as AWS's logs have it.
const LIFECYCLE: &str = "AmazonS3";
const DAY_SECONDS: u64 = 86_400;

// ---- What a request leaves behind ----

/// What a request tells its log, beside its head and its answer.
pub(super) struct Trace<'r> {
    pub parts: &'r Parts,
    pub request_id: &'r str,
    /// As the client named it.
    pub host: Option<&'r str>,
    peer: Option<IpAddr>,
    started: Instant,
    /// It is known which bucket is asked for, and so whether it has a log.
    met: Cell<bool>,
    /// Of the bucket, where it has a log.
    rules: RefCell<Option<Rc<Rules>>>,
    who: RefCell<Option<(Caller, Option<Proof>)>>,
    /// Where it does not stand in the path as it is.
    key: RefCell<Option<String>>,
    /// Of the object, where no header tells.
    size: Cell<Option<u64>>,
    /// An ACL was what let the caller in.
    by_acl: Cell<bool>,
}

/// A line besides that of the request itself.
pub(super) struct Note<'a> {
    pub bucket: &'a str,
    pub operation: &'a str,
    pub key: &'a str,
    pub version: Option<&'a str>,
    pub status: u16,
    pub error: Option<&'a str>,
    pub size: Option<u64>,
}

impl<'r> Trace<'r> {
    pub(super) fn new(parts: &'r Parts, request_id: &'r str, peer: Option<IpAddr>, started: Instant) -> Self {
        Trace {
            parts,
            request_id,
            host: host(&parts.headers, &parts.uri),
            peer,
            started,
            met: Cell::default(),
            rules: RefCell::default(),
            who: RefCell::default(),
            key: RefCell::default(),
            size: Cell::default(),
            by_acl: Cell::default(),
        }
    }

    /// It is known who asks, and of which bucket.
    #[inline]
    pub(super) fn meets(&self, rules: Option<&Rc<Rules>>, caller: &Caller, proof: Option<Proof>) {
        let Some(rules) = rules else { return };
        self.met.set(true);
        if rules.logging.is_some() {
            self.rules.replace(Some(rules.clone()));
            self.who.replace(Some((caller.clone(), proof)));
        }
    }

    pub(super) fn set_key(&self, key: &str) {
        self.key.replace(Some(key.to_owned()));
    }

    pub(super) fn set_size(&self, size: u64) {
        self.size.set(Some(size));
    }

    /// Of the last thing that was asked for.
    pub(super) fn set_by_acl(&self, by_acl: bool) {
        self.by_acl.set(by_acl);
    }

    /// Whether there may be a line to write: a bucket with a log was met, or none was met because the
    /// request was refused before or is none of the API.
    #[inline]
    pub(super) fn may_be_logged(&self, error: Option<Code>, is_site: bool) -> bool {
        match self.met.get() {
            true => self.rules.borrow().is_some(),
            false => error.is_some() || is_site || self.parts.method == Method::OPTIONS,
        }
    }

    fn line<'a>(&'a self, edge: &'a Shared, rules: &'a Rules, bucket: &'a str) -> Line<'a> {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(0);
        let header = |name: &str| self.parts.headers.get(name).map(|value| value.as_bytes());
        Line {
            owner: &rules.owner,
            bucket,
            time: Nanos(edge.store.now().0.saturating_sub(elapsed)),
            peer: self.peer,
            request_id: self.request_id,
            method: self.parts.method.as_str(),
            uri: without_credentials(self.parts.uri.path_and_query().map_or("/", |path| path.as_str())),
            protocol: self.parts.version,
            referer: header("referer"),
            agent: header("user-agent"),
            host_id: &edge.settings.host_id,
            host: self.host,
            turn_around_ms: Some(elapsed / 1_000_000),
            by_acl: self.by_acl.get(),
            ..Line::default()
        }
    }
}

impl Call<'_> {
    /// Writes a further line about this request into the log of a bucket, where that has one.
    pub(super) fn note(&self, rules: &Rules, note: &Note<'_>) {
        let Some(target) = &rules.logging else { return };
        let requester = requester(self.caller);
        let line = Line {
            requester: requester.as_deref(),
            proof: self.proof,
            operation: note.operation,
            key: Some(note.key),
            version: note.version,
            status: note.status,
            error: note.error,
            size: note.size,
            by_acl: self.trace.by_acl.get() && note.bucket == self.bucket,
            ..self.trace.line(self.edge, rules, note.bucket)
        };
        let total_ms = line.turn_around_ms;
        self.edge.log.append(note.bucket, &rules.owner, target, &line.render(), 0, total_ms);
    }
}

/// The canonical id of an account, the ARN of a user.
fn requester(caller: &Caller) -> Option<String> {
    match caller {
        Caller::Anonymous => None,
        Caller::Root(account) => Some(account.value.canonical.clone()),
        Caller::User(user) => Some(user.arn.clone()),
        Caller::Service(name) => Some((*name).to_owned()),
    }
}

/// The line of what lifecycle did, which was no request.
pub(super) fn expired(edge: &Shared, removal: &Removal<'_>) {
    let Ok(rules) = edge.rules(removal.bucket) else { return };
    let Some(target) = &rules.logging else { return };
    let request_id = edge.next_request_id();
    let line = Line {
        owner: &rules.owner,
        bucket: removal.bucket,
        time: edge.store.now(),
        requester: Some(LIFECYCLE),
        request_id: request_id.to_str().unwrap_or(""),
        operation: match removal.done {
            Done::Removed => "S3.EXPIRE.OBJECT",
            Done::Marked => "S3.CREATE.DELETEMARKER",
            Done::Aborted => "S3.DELETE.UPLOAD",
        },
        key: Some(removal.key),
        version: removal.version,
        size: removal.size,
        host_id: &edge.settings.host_id,
        ..Line::default()
    };
    edge.log.append(removal.bucket, &rules.owner, target, &line.render(), 0, None);
}

/// A line that waits for the end of its answer.
pub(super) struct Pending {
    log: Rc<AccessLog>,
    bucket: String,
    owner: String,
    target: Rc<LogTarget>,
    rendered: Rendered,
}

impl Pending {
    /// `sent` bytes of the answer's body went out.
    pub(super) fn end(self, sent: u64, started: Instant) {
        let total_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.log.append(&self.bucket, &self.owner, &self.target, &self.rendered, sent, Some(total_ms));
    }
}

/// The line of a request that is about to be answered, where its bucket has a log.
#[cold]
pub(super) fn line_of(
    edge: &Shared,
    trace: &Trace<'_>,
    operation: Operation,
    site: Option<&str>,
    reply: &Reply,
    error: Option<Code>,
) -> Option<Box<Pending>> {
    let parts = trace.parts;
    let found = address(trace.host, parts.uri.path(), &edge.settings.domains).unwrap_or_default();
    let bucket = site.or(found.bucket.as_deref())?;
    // Who was refused before the bucket was looked at is in its log all the same.
    let rules = trace.rules.borrow().clone().or_else(|| edge.rules(bucket).ok())?;
    let target = rules.logging.clone()?;
    let who = trace.who.borrow();
    let requester = who.as_ref().and_then(|(caller, _)| requester(caller));
    let own_key = trace.key.borrow();
    // Where a site was asked, the path is not what was looked for.
    let key = own_key.as_deref().or(found.key.as_deref().filter(|_| site.is_none()));
    let query_version = parts.uri.query().and_then(|query| {
        query.split('&').find_map(|pair| pair.strip_prefix("versionId=")).filter(|id| !id.is_empty())
    });
    let version = reply.headers().get(VERSION_ID).and_then(|id| id.to_str().ok()).or(query_version);
    let name = line::operation(operation, &parts.method, key.is_some());
    let line = Line {
        requester: requester.as_deref(),
        proof: who.as_ref().and_then(|(_, proof)| *proof),
        operation: &name,
        key,
        version,
        status: reply.status().as_u16(),
        // That nothing has changed is no error to a log.
        error: error.filter(|code| *code != Code::NotModified).map(Code::name),
        size: trace.size.get().or_else(|| size_of(operation, parts, reply, error)),
        ..trace.line(edge, &rules, bucket)
    };
    let rendered = line.render();
    let (bucket, owner, log) = (bucket.to_owned(), rules.owner.clone(), edge.log.clone());
    Some(Box::new(Pending { log, bucket, owner, target, rendered }))
}

/// The size of the object in question, as the headers of the request or of its answer tell it.
fn size_of(operation: Operation, parts: &Parts, reply: &Reply, error: Option<Code>) -> Option<u64> {
    let number = |headers: &HeaderMap, name: &str| headers.get(name)?.to_str().ok()?.parse().ok();
    match operation {
        _ if error.is_some() => None,
        Operation::GetObject | Operation::HeadObject | Operation::Website => {
            let whole = reply.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            let whole = whole.and_then(|range| range.rsplit('/').next()?.parse().ok());
            let length = whole.or_else(|| number(reply.headers(), CONTENT_LENGTH.as_str()));
            length.or_else(|| http_body::Body::size_hint(reply.body()).exact())
        }
        Operation::PutObject | Operation::UploadPart => {
            number(&parts.headers, "x-amz-decoded-content-length")
                .or_else(|| headers::content_length(&parts.headers))
        }
        _ => None,
    }
}

// ---- The lines of a core ----

/// Gathers lines until they are taken.
pub(super) struct AccessLog {
    open: RefCell<BTreeMap<(String, u64), Batch>>,
    /// Large enough, or with a target of before.
    full: RefCell<Vec<Batch>>,
    /// Of all lines here and under way.
    bytes: Cell<usize>,
    bytes_max: usize,
    wake: Notify,
    closing: Cell<bool>,
    stats: Rc<Stats>,
}

/// Lines that become one object.
struct Batch {
    bucket: String,
    /// Canonical id of the owner of both buckets.
    owner: String,
    target: Rc<LogTarget>,
    lines: Vec<u8>,
    count: u64,
    /// When the first of them came.
    begun: Nanos,
}

impl AccessLog {
    pub(super) fn new(bytes_max: usize, stats: Rc<Stats>) -> Rc<Self> {
        Rc::new(AccessLog {
            open: RefCell::default(),
            full: RefCell::default(),
            bytes: Cell::default(),
            bytes_max,
            wake: Notify::new(),
            closing: Cell::default(),
            stats,
        })
    }

    /// No further lines: those that are here are delivered, then `run` ends.
    pub(super) fn close(&self) {
        self.closing.set(true);
        self.wake.notify_one();
    }

    fn append(
        &self,
        bucket: &str,
        owner: &str,
        target: &Rc<LogTarget>,
        rendered: &Rendered,
        sent: u64,
        total_ms: Option<u64>,
    ) {
        // What the middle of a line adds: two numbers.
        let bytes = rendered.len() + 48;
        if self.bytes.get() + bytes > self.bytes_max {
            self.stats.access_log.dropped.increment();
            return;
        }
        let day = match target.format {
            Some(LogKeyFormat::PartitionedByEvent) => rendered.time.seconds() / DAY_SECONDS,
            _ => 0,
        };
        let mut open = self.open.borrow_mut();
        let fresh = || Batch::new(bucket, owner, target, rendered.time);
        let batch = open.entry((bucket.to_owned(), day)).or_insert_with(fresh);
        if !Rc::ptr_eq(&batch.target, target) && batch.target != *target {
            self.full.borrow_mut().push(std::mem::replace(batch, fresh()));
        }
        let before = batch.lines.len();
        rendered.write(&mut batch.lines, sent, total_ms);
        batch.count += 1;
        self.add(batch.lines.len() - before);
        if batch.lines.len() >= self.bytes_max / ACCESS_LOG_OBJECTS_BUFFERED {
            self.full.borrow_mut().push(std::mem::replace(batch, fresh()));
            self.wake.notify_one();
        }
    }

    /// What is to be delivered now; `all`: however little it is.
    fn take(&self, all: bool) -> Vec<Batch> {
        let mut taken = std::mem::take(&mut *self.full.borrow_mut());
        if all {
            taken.extend(std::mem::take(&mut *self.open.borrow_mut()).into_values());
        }
        taken.retain(|batch| batch.count > 0);
        taken
    }

    /// Could not be delivered now, but may be later.
    fn give_back(&self, batch: Batch) {
        self.full.borrow_mut().push(batch);
    }

    fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
        self.stats.access_log.buffered.set(self.bytes.get() as u64);
    }

    fn release(&self, batch: &Batch) {
        self.bytes.set(self.bytes.get() - batch.lines.len());
        self.stats.access_log.buffered.set(self.bytes.get() as u64);
    }
}

impl Batch {
    fn new(bucket: &str, owner: &str, target: &Rc<LogTarget>, begun: Nanos) -> Batch {
        let (bucket, owner) = (bucket.to_owned(), owner.to_owned());
        Batch { bucket, owner, target: target.clone(), lines: Vec::new(), count: 0, begun }
    }

    fn body(&self) -> Bytes {
        Bytes::copy_from_slice(&self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::xml::Logging;
    use crate::object::registry::settings::BucketSettings;

    fn target(prefix: &str, format: Option<LogKeyFormat>) -> Rc<LogTarget> {
        Rc::new(LogTarget { bucket: "logs".into(), prefix: prefix.into(), grants: vec![], format })
    }

    fn rendered(seconds: u64) -> Rendered {
        Line { time: Nanos(seconds * Nanos::PER_SECOND), ..Line::default() }.render()
    }

    #[test]
    fn lines_are_kept_by_bucket_and_target_and_day() {
        let log = AccessLog::new(1 << 20, Rc::default());
        let (plain, daily) = (target("a", None), target("a", Some(LogKeyFormat::PartitionedByEvent)));
        for (bucket, target, day) in
            [("x", &plain, 0), ("x", &plain, 1), ("y", &plain, 0), ("z", &daily, 0), ("z", &daily, 1)]
        {
            log.append(bucket, "o", target, &rendered(day * DAY_SECONDS), 1, Some(1));
        }
        assert!(log.take(false).is_empty());
        log.append("x", "o", &target("b", None), &rendered(0), 1, Some(1));
        let moved = log.take(false);
        assert_eq!(
            moved.iter().map(|batch| (batch.target.prefix.as_str(), batch.count)).collect::<Vec<_>>(),
            [("a", 2)]
        );
        assert_eq!(log.take(true).iter().map(|batch| batch.count).collect::<Vec<_>>(), [1, 1, 1, 1]);
    }

    #[test]
    fn what_could_not_be_delivered_waits_and_takes_its_room() {
        let log = AccessLog::new(1 << 20, Rc::default());
        log.append("x", "o", &target("", None), &rendered(0), 1, Some(1));
        let bytes = log.bytes.get();
        let mut taken = log.take(true);
        assert_eq!((taken.len(), log.bytes.get()), (1, bytes));
        taken.drain(..).for_each(|batch| log.give_back(batch));
        let again = log.take(false);
        assert_eq!((again.len(), again[0].count, log.bytes.get()), (1, 1, bytes));
        assert!(log.take(true).is_empty());
    }

    #[test]
    fn only_what_met_no_bucket_or_one_with_a_log_is_looked_at_again() {
        let (parts, ()) = http::Request::new(()).into_parts();
        let logged = Logging { target: Some((*target("", None)).clone()) };
        let rules =
            |logging| Rc::new(Rules::new("b", "o", &BucketSettings { logging, ..BucketSettings::default() }));
        let missing = Some(Code::NoSuchKey);
        for (met, error, looked_at) in [
            (None, missing, true),
            (None, None, false),
            (Some(rules(None)), missing, false),
            (Some(rules(None)), None, false),
            (Some(rules(Some(logged))), missing, true),
        ] {
            let trace = Trace::new(&parts, "id", None, Instant::now());
            trace.meets(met.as_ref(), &Caller::Anonymous, None);
            assert_eq!(trace.may_be_logged(error, false), looked_at);
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let stats = Rc::<Stats>::default();
        let log = AccessLog::new(2000, stats.clone());
        let target = target("", None);
        for _ in 0..100 {
            log.append("x", "o", &target, &rendered(0), 1, Some(1));
        }
        let batches = log.take(true);
        let kept: u64 = batches.iter().map(|batch| batch.count).sum();
        assert!(kept > 4 && batches.len() > 2, "{kept} lines in {} objects", batches.len());
        assert_eq!(stats.access_log.dropped.get(), 100 - kept);
        assert!(log.bytes.get() <= 2000 && log.bytes.get() > 1000);
        batches.iter().for_each(|batch| log.release(batch));
        assert_eq!((log.bytes.get(), stats.access_log.buffered.get()), (0, 0));
    }
}
