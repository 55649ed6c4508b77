//! Answers to everything under `/-/`: health, metrics, status, and orders about drives and scrubs.
//!
//! One `Operator` lives on each thread that serves connections; what it reports comes through functions it
//! is given, so it knows no drive, no core and no clock. Health and metrics are open to whoever reaches the
//! port, as probes and scrapers expect; they name operations and drives, never a key or user, and buckets only
//! where the operator wants that (`--bucket-metrics`). The
//! admin API wants requests signed with the root credentials, whatever they ask.
//!
//! Invariants: live is 200 unless nothing but a new start helps and no read is lost by it; ready is 200 only while
//! the server can serve and commit; an answer is never cached and never waits longer than `SNAPSHOT_SECONDS_MAX`.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use super::access::{Access, Refused};
use super::accounts::{AccountCommand, AccountReport};
use super::buckets::{BucketCommand, BucketsReport};
use super::report::Report;
use super::{metrics, process};
use crate::base::limits::SNAPSHOT_SECONDS_MAX;
use crate::base::metrics::Snapshot;

/// What every path of the operator begins with. No bucket's name begins with a dash.
pub const PREFIX: &str = "/-/";

/// Gathers the figures of all cores. The operator edge adds those of the process.
pub type SnapshotSource = Rc<dyn Fn() -> Pin<Box<dyn Future<Output = Snapshot>>>>;
/// Whether every core can serve and commit now, or why not.
pub type Ready = Rc<dyn Fn() -> Result<(), Unready>>;

/// Why the server cannot commit now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    /// One of a few words, for metrics.
    pub cause: &'static str,
    /// Fit for a person.
    pub reason: String,
    /// Nothing but a new start helps, and one would succeed.
    pub wants_restart: bool,
}

impl Unready {
    /// No new start is wanted.
    pub fn new(cause: &'static str, reason: String) -> Self {
        Unready { cause, reason, wants_restart: false }
    }
}

/// Does what an operator asks for; what was done, or the reason why not, fit for a person.
pub type Act = Rc<dyn Fn(Order) -> Pin<Box<dyn Future<Output = Result<String, String>>>>>;

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Put a latched drive back into service.
    Readmit(u16),
    /// Begin a full scrub.
    Scrub,
}

/// Does something with accounts.
pub type AccountDoer = Rc<dyn Fn(AccountCommand) -> Pin<Box<dyn Future<Output = Done>>>>;
type Done = Result<Vec<AccountReport>, (StatusCode, Refused)>;
/// Does something with buckets.
pub type BucketDoer =
    Rc<dyn Fn(BucketCommand) -> Pin<Box<dyn Future<Output = Result<BucketsReport, (StatusCode, Refused)>>>>>;

pub struct Operator {
    snapshot: SnapshotSource,
    ready: Ready,
    act: Act,
    access: Access,
    accounts: AccountDoer,
    buckets: BucketDoer,
}

impl Operator {
    pub fn new(
        snapshot: SnapshotSource,
        ready: Ready,
        act: Act,
        access: Access,
        accounts: AccountDoer,
        buckets: BucketDoer,
    ) -> Operator {
        Operator { snapshot, ready, act, access, accounts, buckets }
    }

    /// Whether a path is the operator's, before anything else is known of the request.
    pub fn owns(path: &str) -> bool {
        path.starts_with(PREFIX)
    }

    /// Answers one request. Bodies are not read: no operation here takes one.
    pub async fn handle(&self, request: &Parts) -> Response<Bytes> {
        if let Some(order) = order_of(request.uri.path()) {
            return self.order(request, order).await;
        }
        let query = request.uri.query().unwrap_or_default();
        if let Some(command) = AccountCommand::of(&request.method, request.uri.path(), query) {
            return self.accounts(request, command).await;
        }
        if let Some(command) = BucketCommand::of(&request.method, request.uri.path(), query) {
            return self.buckets(request, command).await;
        }
        let endpoint = match request.uri.path() {
            "/-/health/live" => Endpoint::Live,
            "/-/health/ready" => Endpoint::Ready,
            "/-/metrics" => Endpoint::Metrics,
            "/-/admin/v1/status" => Endpoint::Status,
            _ => return text(StatusCode::NOT_FOUND, "nothing here\n"),
        };
        if request.method != Method::GET && request.method != Method::HEAD {
            return wrong_method("GET, HEAD");
        }
        match endpoint {
            Endpoint::Live => self.live(),
            Endpoint::Ready => self.ready(),
            Endpoint::Metrics => self.metrics().await,
            Endpoint::Status => self.status(request).await,
        }
    }

    async fn order(&self, request: &Parts, order: Order) -> Response<Bytes> {
        if request.method != Method::POST {
            return wrong_method("POST");
        }
        if let Err(refused) = self.access.check(request) {
            return json(StatusCode::FORBIDDEN, &refused);
        }
        match (self.act)(order).await {
            Ok(done) => json(StatusCode::OK, &Carried { message: done }),
            Err(message) => json(StatusCode::CONFLICT, &Refused { code: "Conflict", message }),
        }
    }

    fn live(&self) -> Response<Bytes> {
        match (self.ready)() {
            Err(Unready { reason, wants_restart: true, .. }) => {
                text(StatusCode::SERVICE_UNAVAILABLE, &format!("restart: {reason}\n"))
            }
            _ => text(StatusCode::OK, "live\n"),
        }
    }

    fn ready(&self) -> Response<Bytes> {
        match (self.ready)() {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(Unready { reason, .. }) => {
                text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {reason}\n"))
            }
        }
    }

    async fn metrics(&self) -> Response<Bytes> {
        match self.gather().await {
            Some(snapshot) => {
                let ready = (self.ready)().map_err(|unready| unready.cause);
                respond(StatusCode::OK, metrics::CONTENT_TYPE, metrics::render(&snapshot, ready))
            }
            None => text(StatusCode::SERVICE_UNAVAILABLE, CORE_SILENT),
        }
    }

    async fn status(&self, request: &Parts) -> Response<Bytes> {
        if let Err(refused) = self.access.check(request) {
            return json(StatusCode::FORBIDDEN, &refused);
        }
        let Some(snapshot) = self.gather().await else {
            let message = CORE_SILENT.trim_end().to_owned();
            return json(StatusCode::SERVICE_UNAVAILABLE, &Refused { code: "ServiceUnavailable", message });
        };
        json(StatusCode::OK, &Report::new(&snapshot, (self.ready)().map_err(|unready| unready.reason)))
    }

    async fn accounts(
        &self,
        request: &Parts,
        command: Result<AccountCommand, StatusCode>,
    ) -> Response<Bytes> {
        if let Err(refused) = self.access.check(request) {
            return json(StatusCode::FORBIDDEN, &refused);
        }
        let command = match command {
            Ok(command) => command,
            Err(status) => return unfit(status),
        };
        let one = command != AccountCommand::List;
        match (self.accounts)(command).await {
            Ok(reports) if one => json(StatusCode::OK, &reports.first()),
            Ok(reports) => json(StatusCode::OK, &reports),
            Err((status, refused)) => json(status, &refused),
        }
    }

    async fn buckets(&self, request: &Parts, command: Result<BucketCommand, StatusCode>) -> Response<Bytes> {
        if let Err(refused) = self.access.check(request) {
            return json(StatusCode::FORBIDDEN, &refused);
        }
        let command = match command {
            Ok(command) => command,
            Err(status) => return unfit(status),
        };
        let many = matches!(command, BucketCommand::List(_));
        match (self.buckets)(command).await {
            Ok(page) if many => json(StatusCode::OK, &page),
            Ok(page) => json(StatusCode::OK, &page.buckets.first()),
            Err((status, refused)) => json(status, &refused),
        }
    }

    /// None when a core does not answer in time.
    async fn gather(&self) -> Option<Snapshot> {
        let bound = Duration::from_secs(SNAPSHOT_SECONDS_MAX);
        let mut snapshot = tokio::time::timeout(bound, (self.snapshot)()).await.ok()?;
        snapshot.process = process::read();
        Some(snapshot)
    }
}

/// What an order came to.
#[derive(Serialize)]
struct Carried {
    message: String,
}

/// The order a path stands for.
fn order_of(path: &str) -> Option<Order> {
    let rest = path.strip_prefix("/-/admin/v1/")?;
    if rest == "scrub" {
        return Some(Order::Scrub);
    }
    let drive = rest.strip_prefix("drives/")?.strip_suffix("/readmit")?;
    drive.parse().ok().map(Order::Readmit)
}

fn unfit(status: StatusCode) -> Response<Bytes> {
    let message = "the request is none that this path has".to_owned();
    json(status, &Refused { code: "BadRequest", message })
}

fn wrong_method(allowed: &'static str) -> Response<Bytes> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &format!("{allowed}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

const CORE_SILENT: &str = "a core does not answer\n";

enum Endpoint {
    Live,
    Ready,
    Metrics,
    Status,
}

fn text(status: StatusCode, body: &str) -> Response<Bytes> {
    respond(status, "text/plain; charset=utf-8", body.to_owned())
}

fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Response<Bytes> {
    let body = serde_json::to_string(value).expect("reports are plain data with string keys");
    respond(status, "application/json", body)
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::access::tests::{access, signed, signed_as};
    use crate::admin::sample;
    use std::cell::RefCell;

    /// Readmits drive 1 and no other, and says what it was asked.
    fn act() -> Act {
        Rc::new(|order| {
            Box::pin(async move {
                if order == Order::Readmit(2) {
                    Err("drive 2 is healthy".into())
                } else {
                    Ok(format!("{order:?}"))
                }
            })
        })
    }

    #[tokio::test]
    async fn orders_are_posts_signed_by_root() {
        let operator = operator(Ok(()));
        let posted = |path: &str| signed_as(Method::POST, path);
        for (path, status, says) in [
            ("/-/admin/v1/drives/1/readmit", StatusCode::OK, "Readmit(1)"),
            ("/-/admin/v1/scrub", StatusCode::OK, "Scrub"),
            ("/-/admin/v1/drives/2/readmit", StatusCode::CONFLICT, "drive 2 is healthy"),
            ("/-/admin/v1/drives/70000/readmit", StatusCode::NOT_FOUND, "nothing"),
        ] {
            let response = operator.handle(&posted(path)).await;
            assert_eq!(response.status(), status, "{path}");
            assert!(body(&response).contains(says), "{}", body(&response));
        }
        let refused = operator.handle(&plain(Method::POST, "/-/admin/v1/scrub")).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let response = operator.handle(&signed("/-/admin/v1/scrub")).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "POST");
    }

    fn operator(ready: Result<(), String>) -> Operator {
        Operator::new(
            Rc::new(|| Box::pin(async { sample::snapshot() })),
            Rc::new(move || ready.clone().map_err(|reason| Unready::new("log_full", reason))),
            act(),
            access(),
            no_accounts(),
            no_buckets(),
        )
    }

    fn no_buckets() -> BucketDoer {
        Rc::new(|_| Box::pin(async { Ok(BucketsReport::default()) }))
    }

    fn no_accounts() -> AccountDoer {
        Rc::new(|_| Box::pin(async { Ok(Vec::new()) }))
    }

    fn plain(method: Method, path: &str) -> Parts {
        http::Request::builder().method(method).uri(path).body(()).expect("a request").into_parts().0
    }

    fn body(response: &Response<Bytes>) -> &str {
        std::str::from_utf8(response.body()).expect("text")
    }

    #[tokio::test]
    async fn health_follows_the_cores() {
        let ready = operator(Ok(())).handle(&plain(Method::GET, "/-/health/ready")).await;
        assert_eq!((ready.status(), body(&ready)), (StatusCode::OK, "ready\n"));
        let broken = operator(Err("no safe mirror set".to_owned()));
        let response = broken.handle(&plain(Method::GET, "/-/health/ready")).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body(&response), "not ready: no safe mirror set\n");
        let live = broken.handle(&plain(Method::HEAD, "/-/health/live")).await;
        assert_eq!(live.status(), StatusCode::OK);
        assert_eq!(live.headers()[CACHE_CONTROL], "no-store");
    }

    #[tokio::test]
    async fn a_server_that_only_a_new_start_can_help_is_not_live() {
        for wants_restart in [false, true] {
            let stopped = Unready::new("log_stopped", "the log has stopped".to_owned());
            let unready = Unready { wants_restart, ..stopped };
            let snapshot: SnapshotSource = Rc::new(|| Box::pin(async { sample::snapshot() }));
            let ready: Ready = Rc::new(move || Err(unready.clone()));
            let operator = Operator::new(snapshot, ready, act(), access(), no_accounts(), no_buckets());
            let ready = operator.handle(&plain(Method::GET, "/-/health/ready")).await;
            assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
            let live = operator.handle(&plain(Method::GET, "/-/health/live")).await;
            let status = if wants_restart { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            assert_eq!(live.status(), status);
            assert_eq!(body(&live), if wants_restart { "restart: the log has stopped\n" } else { "live\n" });
        }
    }

    #[tokio::test]
    async fn metrics_are_open_and_hold_the_process() {
        let response = operator(Ok(())).handle(&plain(Method::GET, "/-/metrics")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; version=0.0.4");
        let shown = |line: &&str| line.starts_with("basalt_memory_resident_bytes ");
        let line = body(&response).lines().find(shown).expect("resident memory");
        assert!(!line.ends_with(" 0"), "{line}");
    }

    #[tokio::test]
    async fn metrics_say_whether_it_is_ready_and_why_not() {
        let asked = plain(Method::GET, "/-/metrics");
        let ready = operator(Ok(())).handle(&asked).await;
        assert!(body(&ready).contains("basalt_ready 1\n") && !body(&ready).contains("basalt_unready"));
        let broken = operator(Err("full".to_owned())).handle(&asked).await;
        assert!(body(&broken).contains("basalt_ready 0\n"));
        assert!(body(&broken).contains("basalt_unready{cause=\"log_full\"} 1\n"), "{}", body(&broken));
    }

    #[tokio::test]
    async fn status_wants_the_root_signature() {
        let operator = operator(Ok(()));
        let refused = operator.handle(&plain(Method::GET, "/-/admin/v1/status")).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert!(body(&refused).contains("AccessDenied") && !body(&refused).contains("/d1"));
        let response = operator.handle(&signed("/-/admin/v1/status")).await;
        assert_eq!(response.status(), StatusCode::OK, "{}", body(&response));
        let report: Report = serde_json::from_str(body(&response)).expect("a report");
        assert_eq!((report.ready, report.drives.len()), (true, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_core_is_reported_and_not_waited_for() {
        let silent: SnapshotSource = Rc::new(|| Box::pin(std::future::pending()));
        let operator =
            Operator::new(silent, Rc::new(|| Ok(())), act(), access(), no_accounts(), no_buckets());
        for request in [plain(Method::GET, "/-/metrics"), signed("/-/admin/v1/status")] {
            let response = operator.handle(&request).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(body(&response).contains("does not answer"));
        }
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let operator = operator(Ok(()));
        for path in ["/-/", "/-/health", "/-/health/live/", "/-/metrics/x", "/-/admin/v2/status"] {
            assert!(Operator::owns(path));
            assert_eq!(operator.handle(&plain(Method::GET, path)).await.status(), StatusCode::NOT_FOUND);
        }
        let response = operator.handle(&plain(Method::POST, "/-/metrics")).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "GET, HEAD");
        assert!(!Operator::owns("/bucket/-/metrics") && !Operator::owns("/-"));
    }

    #[tokio::test]
    async fn ready_is_asked_each_time() {
        let state = Rc::new(RefCell::new(Err::<(), String>("starting".to_owned())));
        let asked = state.clone();
        let snapshot: SnapshotSource = Rc::new(|| Box::pin(async { sample::snapshot() }));
        let ready: Ready =
            Rc::new(move || asked.borrow().clone().map_err(|reason| Unready::new("log_full", reason)));
        let operator = Operator::new(snapshot, ready, act(), access(), no_accounts(), no_buckets());
        let request = plain(Method::GET, "/-/health/ready");
        assert_eq!(operator.handle(&request).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        *state.borrow_mut() = Ok(());
        assert_eq!(operator.handle(&request).await.status(), StatusCode::OK);
    }
}
