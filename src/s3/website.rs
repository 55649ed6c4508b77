//! Buckets as web sites: what is asked for at BUCKET.DOMAIN, with DOMAIN one of `--website-domain`.
//!
//! Browsers ask here and no SDK: nobody signs, only GET, HEAD and preflights are answered, the query means nothing,
//! errors are pages. A path leads to an index document, a redirect, an object or the error document; objects are
//! judged and read as GetObject of nobody in particular, so there is no second way to be let in. A request to
//! a website domain itself is for the bucket of that name: so a site has a name of its own, and only the operator
//! gives it one. May use `s3::{authorize, get, cors}`, `object::store`.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/WebsiteHosting.html
//!
//! Invariant: a redirect goes to a place that the configuration, or an object that the public may read, names.

mod page;
mod redirect;

use http::header::{ALLOW, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::access_log::Trace;
use super::body::Intake;
use super::error::{Code, Place, Result, S3Error};
use super::link::Link;
use super::response::{Body, Reply, empty, failure, set};
use super::route::{Operation, check_key, without_port};
use super::service::{Call, check_host};
use super::{Shared, authorize, cors, get, headers, settings};
use crate::base::limits::KEY_BYTES_MAX;
use crate::codec::sigv4::{PayloadKind, Verified};
use crate::codec::uri::{Query, decode_path};
use crate::codec::xml::{RoutingRule, Website};
use crate::iam::Caller;
use crate::object::error::ObjectError;
use redirect::Way;

const ERROR_CODE: HeaderName = HeaderName::from_static("x-amz-error-code");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-amz-error-message");

/// The bucket whose site a host is: in front of a website domain, or that domain itself. Bucket names have
/// small letters, hosts any.
pub(super) fn bucket_of(host: Option<&str>, domains: &[String]) -> Option<String> {
    let name = without_port(host?);
    domains.iter().find_map(|domain| {
        let (front, tail) = name.split_at_checked(name.len().checked_sub(domain.len())?)?;
        let bucket = match front.strip_suffix('.') {
            _ if !tail.eq_ignore_ascii_case(domain) => return None,
            Some(bucket) if !bucket.is_empty() => bucket,
            None if front.is_empty() => name,
            _ => return None,
        };
        Some(bucket.to_ascii_lowercase())
    })
}

/// One request to a site.
struct Visit<'r> {
    edge: &'r Shared,
    bucket: &'r str,
    parts: &'r Parts,
    intake: &'r mut Intake,
    request_id: &'r str,
    link: &'r Link,
    trace: &'r Trace<'r>,
}

/// Answers whatever comes; an error is a page already.
pub(super) async fn answer(
    edge: &Shared,
    bucket: &str,
    trace: &Trace<'_>,
    intake: &mut Intake,
    link: &Link,
) -> (Reply, Option<Code>) {
    let (parts, request_id) = (trace.parts, trace.request_id);
    let mut visit = Visit { edge, bucket, parts, intake, request_id, link, trace };
    match visit.look().await {
        Ok(found) => found,
        Err(error) => (visit.page(&error, "", None), Some(error.code())),
    }
}

/// An answer, and the error that it stands for.
type Found = (Reply, Option<Code>);

impl Visit<'_> {
    async fn look(&mut self) -> Result<Found> {
        check_host(self.parts)?;
        match self.parts.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => {
                let reply = cors::preflight(&self.edge.store, Some(self.bucket), &self.parts.headers)?;
                return Ok((reply, None));
            }
            _ => {
                let error = S3Error::new(Code::MethodNotAllowed)
                    .field("Method", self.parts.method.as_str())
                    .field("ResourceType", "OBJECT");
                return Err(error.header(ALLOW, "GET, HEAD, OPTIONS"));
            }
        }
        let raw = self.parts.uri.path();
        let raw = raw.strip_prefix('/').unwrap_or(raw);
        let key = decode_path(raw).map_err(|_| Code::InvalidURI)?;
        check_key(&key)?;
        if !key.is_empty() {
            self.trace.set_key(&key);
        }
        let found = self.edge.store.settings(self.bucket)?;
        self.trace.meets(Some(&self.edge.rules(self.bucket)?), &Caller::Anonymous, None);
        let Some(website) = &found.settings.website else {
            let error = S3Error::new(Code::NoSuchWebsiteConfiguration);
            return Err(error.field("BucketName", self.bucket));
        };
        match website {
            Website::RedirectAll { host, protocol } => {
                let path = self.parts.uri.path_and_query().map_or("/", |path| path.as_str());
                let way = Way { protocol: *protocol, host: Some(host), path: path.to_owned() };
                Ok((self.redirect(StatusCode::MOVED_PERMANENTLY, &way), None))
            }
            Website::Pages { index, error, rules } => {
                self.page_of(&key, index, error.as_deref(), rules).await
            }
        }
    }

    async fn page_of(
        &mut self,
        key: &str,
        index: &str,
        error_key: Option<&str>,
        rules: &[RoutingRule],
    ) -> Result<Found> {
        if let Some(reply) = self.routed(rules, key, None) {
            return Ok((reply, None));
        }
        let name =
            if key.is_empty() || key.ends_with('/') { format!("{key}{index}") } else { key.to_owned() };
        self.trace.set_key(&name);
        let asked = self.parts.headers.clone();
        let error = match self.object(&name, &asked, self.is_head()).await {
            Ok(reply) => return Ok((elsewhere(reply), None)),
            Err(error) if error.code() == Code::NotModified => {
                return Ok((failure(&error, None), Some(error.code())));
            }
            Err(error) => error,
        };
        if name == key && self.is_folder(key, index, &error).await {
            let path = format!("/{}/", crate::codec::uri::encode_path(key));
            return Ok((moved(StatusCode::FOUND, &path), None));
        }
        if let Some(reply) = self.routed(rules, key, Some(error.code().status())) {
            return Ok((reply, Some(error.code())));
        }
        let code = Some(error.code());
        match error_key.filter(|_| error.code().status().is_client_error()) {
            None => Ok((self.page(&error, &name, None), code)),
            Some(error_key) => Ok((self.error_document(error_key, &name, &error).await, code)),
        }
    }

    fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }

    /// The object as GetObject gives it to nobody in particular.
    async fn object(&mut self, key: &str, asked: &HeaderMap, head: bool) -> Result<Reply> {
        check_key(key)?;
        let verified = Verified { payload: PayloadKind::Unsigned, seed: None };
        let query = Query::parse("").map_err(|_| Code::InvalidURI)?;
        let call = Call {
            edge: self.edge,
            operation: Operation::GetObject,
            bucket: self.bucket,
            key,
            path: self.parts.uri.path(),
            query: &query,
            headers: asked,
            intake: self.intake,
            request_id: self.request_id,
            caller: &Caller::Anonymous,
            proof: None,
            source: self.link.peer,
            rules: Some(self.edge.rules(self.bucket)?),
            verified: &verified,
            trace: self.trace,
        };
        authorize::admit(&call).await?;
        settings::charged(&call)?;
        if head { get::head_object(call).await } else { get::get_object(call).await }
    }

    /// Whether there is no such object, but an index document below that name that the public may read. Who may not
    /// list hears AccessDenied for what is not there, so both are looked into.
    async fn is_folder(&mut self, key: &str, index: &str, error: &S3Error) -> bool {
        let name = format!("{key}/{index}");
        let absent = matches!(error.code(), Code::NoSuchKey | Code::AccessDenied);
        if !absent || name.len() > KEY_BYTES_MAX {
            return false;
        }
        let found = self.edge.store.open(self.bucket, key).await;
        let missing = matches!(found, Err(ObjectError::NoSuchKey | ObjectError::DeleteMarker { .. }));
        // Without the headers: a condition is about what is there and not about where.
        missing && self.object(&name, &HeaderMap::new(), true).await.is_ok()
    }

    /// What the first rule that fits makes of a key, before anything is read or after an error.
    fn routed(&self, rules: &[RoutingRule], key: &str, error: Option<StatusCode>) -> Option<Reply> {
        let rule = rules.iter().find(|rule| redirect::fits(rule, key, error))?;
        let way = redirect::way(rule, key);
        let status = rule.status.and_then(|status| StatusCode::from_u16(status).ok());
        Some(self.redirect(status.unwrap_or(StatusCode::MOVED_PERMANENTLY), &way))
    }

    fn redirect(&self, status: StatusCode, way: &Way<'_>) -> Reply {
        let host = self.trace.host.unwrap_or("");
        moved(status, &way.url(host))
    }

    /// The configured document with the status of the error; where it cannot be had, a page with both errors.
    async fn error_document(&mut self, error_key: &str, name: &str, error: &S3Error) -> Reply {
        match self.object(error_key, &HeaderMap::new(), self.is_head()).await {
            Ok(mut reply) => {
                *reply.status_mut() = error.code().status();
                describe(reply.headers_mut(), error);
                reply
            }
            Err(nested) => self.page(error, name, Some((&nested, error_key))),
        }
    }

    fn page(&self, error: &S3Error, key: &str, nested: Option<(&S3Error, &str)>) -> Reply {
        let place = Place {
            resource: self.parts.uri.path(),
            bucket: Some(self.bucket),
            key: Some(key),
            version: None,
            method: self.parts.method.as_str(),
            request_id: self.request_id,
            host_id: &self.edge.settings.host_id,
        };
        let mut reply = failure(error, None);
        describe(reply.headers_mut(), error);
        set(reply.headers_mut(), http::header::CONTENT_TYPE, "text/html; charset=utf-8");
        if !self.is_head() {
            *reply.body_mut() = Body::full(page::of(error, &place, nested));
        }
        reply
    }
}

fn describe(answer: &mut HeaderMap, error: &S3Error) {
    set(answer, ERROR_CODE, error.code().name());
    set(answer, ERROR_MESSAGE, error.message());
}

/// An object may say that it is to be found elsewhere.
fn elsewhere(reply: Reply) -> Reply {
    match reply.headers().get(headers::WEBSITE_REDIRECT).and_then(|place| place.to_str().ok()) {
        None => reply,
        Some(place) => moved(StatusCode::MOVED_PERMANENTLY, place),
    }
}

fn moved(status: StatusCode, place: &str) -> Reply {
    let mut reply = empty(status);
    set(reply.headers_mut(), LOCATION, place);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_sites() {
        let domains = ["s3-website.localhost".to_owned(), "www.example.com".to_owned()];
        let bucket = |host: &str| bucket_of(Some(host), &domains);
        assert_eq!(bucket("b.s3-website.localhost:9000").as_deref(), Some("b"));
        assert_eq!(bucket("A.b.S3-Website.Localhost").as_deref(), Some("a.b"));
        assert_eq!(bucket("WWW.example.com").as_deref(), Some("www.example.com"));
        assert_eq!(bucket("b.www.example.com").as_deref(), Some("b"));
        for other in
            ["localhost", "b.localhost", "xs3-website.localhost", ".s3-website.localhost", "", "[::1]:80"]
        {
            assert_eq!(bucket(other), None, "{other}");
        }
        assert_eq!(bucket_of(None, &domains), None);
    }
}
