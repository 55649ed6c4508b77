//! Buckets over the admin API, and the command that uses it: what each holds, and its quota.
//!
//! `GET buckets?after=` (a page), `GET buckets/NAME`, `POST buckets/NAME/quota?max-bytes=&max-objects=`,
//! `DELETE buckets/NAME/quota`. No request has a body. A bound that is not named stays as it is. The quota is
//! a setting of the bucket that only the operator reaches.

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::access::Refused;
use super::accounts::decoded;
use super::client::{self, AdminRequest, ClientError};
use super::table::{aligned, clean, grouped, size, table};
use crate::base::limits::ADMIN_BUCKETS_MAX;
use crate::codec::date::iso8601_ms;
use crate::codec::uri::{Query, encode_component};
use crate::codec::xml::Quota;
use crate::object::error::ObjectError;
use crate::object::registry::buckets::Bucket;
use crate::object::registry::settings::Kind;
use crate::object::store::Store;

pub const PATH: &str = "/-/admin/v1/buckets";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketCommand {
    /// Those behind a name.
    List(String),
    Show(String),
    /// The bounds that are named.
    Limit(String, Quota),
    /// No bounds any more.
    Clear(String),
}

/// A bucket as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BucketReport {
    pub name: String,
    pub created: String,
    /// Canonical id.
    pub owner: String,
    /// Versions, without delete markers, and their bytes.
    pub objects: u64,
    pub bytes: u64,
    /// Of uploads that are not complete.
    pub uploading_bytes: u64,
    pub quota: QuotaReport,
}

/// `null` where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaReport {
    pub max_bytes: Option<u64>,
    pub max_objects: Option<u64>,
}

/// Buckets by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BucketsReport {
    pub buckets: Vec<BucketReport>,
    /// Behind which name there are more.
    pub next: Option<String>,
}

impl BucketCommand {
    /// From a request; `None` when it is not about buckets, an error when it is and cannot be.
    pub fn of(method: &Method, path: &str, query: &str) -> Option<Result<BucketCommand, StatusCode>> {
        let parts: Vec<&str> = path.strip_prefix(PATH)?.split('/').collect();
        let Ok(query) = Query::parse(query) else { return Some(Err(StatusCode::BAD_REQUEST)) };
        Some(match (method.as_str(), parts.as_slice()) {
            ("GET", [""]) => Ok(BucketCommand::List(query.get("after").unwrap_or("").to_owned())),
            ("GET", ["", name]) => decoded(name).map(BucketCommand::Show),
            ("DELETE", ["", name, "quota"]) => decoded(name).map(BucketCommand::Clear),
            ("POST", ["", name, "quota"]) => {
                decoded(name).and_then(|name| Ok(BucketCommand::Limit(name, quota_of(&query)?)))
            }
            (_, [""] | ["", _] | ["", _, "quota"]) => Err(StatusCode::METHOD_NOT_ALLOWED),
            _ => return None,
        })
    }

    fn request(&self) -> (Method, String, String) {
        let at = |name: &str, rest: &str| format!("{PATH}/{}{rest}", encode_component(name));
        match self {
            BucketCommand::List(after) => {
                (Method::GET, PATH.to_owned(), format!("after={}", encode_component(after)))
            }
            BucketCommand::Show(name) => (Method::GET, at(name, ""), String::new()),
            BucketCommand::Limit(name, quota) => {
                let bounds = [("max-bytes", quota.max_bytes), ("max-objects", quota.max_objects)];
                let bounds = bounds.iter().filter_map(|(name, max)| max.map(|max| format!("{name}={max}")));
                (Method::POST, at(name, "/quota"), bounds.collect::<Vec<_>>().join("&"))
            }
            BucketCommand::Clear(name) => (Method::DELETE, at(name, "/quota"), String::new()),
        }
    }
}

fn quota_of(query: &Query) -> Result<Quota, StatusCode> {
    let number = |name| match query.get(name) {
        None => Ok(None),
        Some(text) if !text.bytes().all(|byte| byte.is_ascii_digit()) => Err(StatusCode::BAD_REQUEST),
        Some(text) => text.parse().map(Some).map_err(|_| StatusCode::BAD_REQUEST),
    };
    let quota = Quota { max_bytes: number("max-bytes")?, max_objects: number("max-objects")? };
    if quota == Quota::default() { Err(StatusCode::BAD_REQUEST) } else { Ok(quota) }
}

// ---- In the server ----

/// Does it. The answer to anything but a listing is a page of one.
pub async fn run(store: &Store, command: BucketCommand) -> Result<BucketsReport, (StatusCode, Refused)> {
    let (name, done) = match command {
        BucketCommand::List(after) => return Ok(list(store, &after)),
        BucketCommand::Show(name) => (name.clone(), show(store, &name)),
        BucketCommand::Limit(name, quota) => (name.clone(), limit(store, &name, quota).await),
        BucketCommand::Clear(name) => (name.clone(), clear(store, &name).await),
    };
    let page = |report| BucketsReport { buckets: vec![report], next: None };
    done.map(page).map_err(|error| refused(&name, &error))
}

fn list(store: &Store, after: &str) -> BucketsReport {
    let found = store.all_buckets(after, ADMIN_BUCKETS_MAX + 1);
    let more = found.len() > ADMIN_BUCKETS_MAX;
    let buckets: Vec<BucketReport> =
        found.into_iter().take(ADMIN_BUCKETS_MAX).map(|(name, bucket)| report(name, &bucket)).collect();
    let next = buckets.last().filter(|_| more).map(|bucket| bucket.name.clone());
    BucketsReport { buckets, next }
}

fn show(store: &Store, name: &str) -> Result<BucketReport, ObjectError> {
    Ok(report(name.to_owned(), &*store.settings(name)?))
}

async fn limit(store: &Store, name: &str, named: Quota) -> Result<BucketReport, ObjectError> {
    store.limit(name, named).await?;
    show(store, name)
}

async fn clear(store: &Store, name: &str) -> Result<BucketReport, ObjectError> {
    store.remove_setting(name, Kind::Quota).await?;
    show(store, name)
}

fn report(name: String, bucket: &Bucket) -> BucketReport {
    let (usage, quota) = (bucket.meter.read(), bucket.settings.quota.unwrap_or_default());
    BucketReport {
        name,
        created: iso8601_ms(bucket.value.created).as_str().to_owned(),
        owner: bucket.value.owner.clone(),
        objects: usage.objects.unsigned_abs(),
        bytes: usage.bytes.unsigned_abs(),
        uploading_bytes: usage.uploading.unsigned_abs(),
        quota: QuotaReport { max_bytes: quota.max_bytes, max_objects: quota.max_objects },
    }
}

fn refused(name: &str, error: &ObjectError) -> (StatusCode, Refused) {
    let (status, code) = match error {
        ObjectError::NoSuchBucket => (StatusCode::NOT_FOUND, "NoSuchBucket"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
    };
    (status, Refused { code, message: format!("bucket {name}: {error}") })
}

// ---- The command ----

/// Asks a server; a listing is asked for until its end. The JSON is a list of buckets or one bucket.
pub fn ask(
    request: &AdminRequest,
    command: &BucketCommand,
) -> Result<(String, Vec<BucketReport>), ClientError> {
    let strange = || client::not_ours(request, "the answer is not a bucket");
    let send = |command: &BucketCommand| {
        let (method, path, query) = command.request();
        client::send(request, &method, &path, &query)
    };
    if !matches!(command, BucketCommand::List(_)) {
        let json = send(command)?;
        let report = serde_json::from_str(&json).map_err(|_| strange())?;
        return Ok((json, vec![report]));
    }
    let (mut all, mut page) = (Vec::new(), command.clone());
    loop {
        let answer: BucketsReport = serde_json::from_str(&send(&page)?).map_err(|_| strange())?;
        all.extend(answer.buckets);
        let Some(next) = answer.next else { break };
        // Names only grow, whatever the server says.
        if matches!(&page, BucketCommand::List(after) if *after >= next) {
            return Err(strange());
        }
        page = BucketCommand::List(next);
    }
    let json = serde_json::to_string(&all).map_err(|_| strange())?;
    Ok((json, all))
}

/// For a person.
pub fn render(command: &BucketCommand, reports: &[BucketReport]) -> String {
    if matches!(command, BucketCommand::List(_)) {
        return table_of(reports);
    }
    let mut out = String::new();
    for report in reports {
        let mut line = |name: &str, value: &str| out.push_str(&format!("{name:<14}{}\n", clean(value)));
        line("bucket", &report.name);
        line("owner", &report.owner);
        line("created", &report.created);
        line("objects", &grouped(report.objects));
        line("bytes", &size(report.bytes));
        line("in uploads", &size(report.uploading_bytes));
        line("max bytes", &bound(report.quota.max_bytes, size));
        line("max objects", &bound(report.quota.max_objects, grouped));
    }
    out
}

fn table_of(reports: &[BucketReport]) -> String {
    let rows = reports.iter().map(|report| {
        vec![
            clean(&report.name),
            grouped(report.objects),
            bound(report.quota.max_objects, grouped),
            size(report.bytes),
            bound(report.quota.max_bytes, size),
        ]
    });
    aligned(&table(&["BUCKET", "OBJECTS", "MAX OBJECTS", "BYTES", "MAX BYTES"], rows))
}

fn bound(max: Option<u64>, show: fn(u64) -> String) -> String {
    max.map_or("none".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_back_from_their_requests() {
        let quota = |max_bytes, max_objects| Quota { max_bytes, max_objects };
        for command in [
            BucketCommand::List("a.b".into()),
            BucketCommand::Show("x".into()),
            BucketCommand::Limit("x".into(), quota(Some(0), None)),
            BucketCommand::Limit("x".into(), quota(Some(u64::MAX), Some(7))),
            BucketCommand::Clear("x".into()),
        ] {
            let (method, path, query) = command.request();
            assert_eq!(BucketCommand::of(&method, &path, &query), Some(Ok(command)));
        }
        let of = |method: Method, path: &str, query: &str| BucketCommand::of(&method, path, query);
        assert_eq!(of(Method::GET, "/-/admin/v1/status", ""), None);
        assert_eq!(of(Method::GET, "/-/admin/v1/buckets/x/other", ""), None);
        assert_eq!(of(Method::PUT, PATH, ""), Some(Err(StatusCode::METHOD_NOT_ALLOWED)));
        let bad = Some(Err(StatusCode::BAD_REQUEST));
        for query in ["", "max-bytes=", "max-bytes=-1", "max-bytes=+1", "max-objects=99999999999999999999"] {
            assert_eq!(of(Method::POST, "/-/admin/v1/buckets/x/quota", query), bad, "{query}");
        }
    }

    #[test]
    fn a_person_sees_what_is_held_and_what_may_be() {
        let quota = QuotaReport { max_bytes: Some(1 << 30), max_objects: None };
        let report = BucketReport { name: "b\u{1b}".into(), objects: 1234, quota, ..BucketReport::default() };
        let text = render(&BucketCommand::Show("b".into()), std::slice::from_ref(&report));
        assert!(text.contains("1,234") && text.contains("none") && !text.contains('\u{1b}'), "{text}");
        let line = render(&BucketCommand::List(String::new()), &[report]);
        assert_eq!(line.lines().count(), 2, "a head and a bucket");
    }
}
