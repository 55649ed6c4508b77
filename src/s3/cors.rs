//! Cross-origin requests: the preflight that browsers send, and what answers tell them.
//!
//! The first rule counts whose origin, method and, for a preflight, headers all match. A request
//! without `Origin` costs one look for that header, and a bucket without rules nothing more.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::error::{Code, Result, S3Error};
use super::response::{Reply, empty, set, set_number};
use crate::codec::xml::{Cors, CorsRule};
use crate::object::store::Store;

/// What a rule can allow.
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// Answers OPTIONS. Nobody signs it, and it tells nothing but what rules allow.
pub(super) fn preflight(store: &Store, bucket: Option<&str>, headers: &HeaderMap) -> Result<Reply> {
    let bad = |message: &str| S3Error::with(Code::BadRequest, message.to_owned());
    let origin = text(headers, ORIGIN)
        .filter(|origin| !origin.is_empty())
        .ok_or_else(|| bad("Insufficient information. Origin request header needed."))?;
    let method = text(headers, ACCESS_CONTROL_REQUEST_METHOD);
    let method = method.filter(|method| METHODS.contains(method)).ok_or_else(|| {
        bad(&format!("Invalid Access-Control-Request-Method: {}", method.unwrap_or("null")))
    })?;
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).map_or(&b""[..], HeaderValue::as_bytes);
    let wanted: Vec<String> = String::from_utf8_lossy(wanted)
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    if let Some(name) = wanted.iter().find(|name| HeaderName::from_bytes(name.as_bytes()).is_err()) {
        return Err(bad(&format!("Access-Control-Request-Headers \"{name}\" contains invalid character.")));
    }
    let found = store.settings(bucket.unwrap_or(""))?;
    let cors = found.settings.cors.as_ref().ok_or(Code::AccessForbidden)?;
    let rule = matching(cors, origin, method, &wanted).ok_or_else(|| {
        let message = "CORSResponse: This CORS request is not allowed. This is usually because the evalution \
                       of Origin, request method / Access-Control-Request-Method or \
                       Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.";
        S3Error::with(Code::AccessForbidden, message)
    })?;
    let mut reply = empty(StatusCode::OK);
    allow(reply.headers_mut(), rule, origin);
    if !wanted.is_empty() {
        set(reply.headers_mut(), ACCESS_CONTROL_ALLOW_HEADERS, &wanted.join(", "));
    }
    if let Some(seconds) = rule.max_age_seconds {
        set_number(reply.headers_mut(), ACCESS_CONTROL_MAX_AGE, seconds.into());
    }
    Ok(reply)
}

/// Adds to any answer what its bucket's rules let the page of `Origin` see of it.
pub(super) fn decorate(
    store: &Store,
    bucket: Option<&str>,
    method: &str,
    asked: &HeaderMap,
    answer: &mut HeaderMap,
) {
    let Some(found) = bucket.and_then(|bucket| store.settings(bucket).ok()) else { return };
    let (Some(cors), Some(origin)) = (&found.settings.cors, text(asked, ORIGIN)) else { return };
    // A client that names the method it is about is believed: this only adds headers.
    let method = text(asked, ACCESS_CONTROL_REQUEST_METHOD).unwrap_or(method);
    if let Some(rule) = matching(cors, origin, method, &[]) {
        allow(answer, rule, origin);
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn matching<'c>(cors: &'c Cors, origin: &str, method: &str, headers: &[String]) -> Option<&'c CorsRule> {
    cors.rules.iter().find(|rule| {
        rule.methods.iter().any(|allowed| allowed == method)
            && rule.origins.iter().any(|pattern| fits(pattern, origin))
            && headers
                .iter()
                .all(|name| rule.headers.iter().any(|pattern| fits(&pattern.to_ascii_lowercase(), name)))
    })
}

/// A pattern has at most one `*`.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((begin, end)) => text.strip_prefix(begin).is_some_and(|rest| rest.ends_with(end)),
    }
}

fn allow(headers: &mut HeaderMap, rule: &CorsRule, origin: &str) {
    let anyone = rule.origins.iter().find(|pattern| fits(pattern, origin)).is_some_and(|found| found == "*");
    set(headers, ACCESS_CONTROL_ALLOW_ORIGIN, if anyone { "*" } else { origin });
    set(headers, ACCESS_CONTROL_ALLOW_METHODS, &rule.methods.join(", "));
    if !anyone {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if !rule.exposed.is_empty() {
        set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &rule.exposed.join(", "));
    }
    let vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
    headers.insert(VARY, HeaderValue::from_static(vary));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(origins: &[&str], methods: &[&str], headers: &[&str]) -> CorsRule {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CorsRule {
            origins: owned(origins),
            methods: owned(methods),
            headers: owned(headers),
            ..Default::default()
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("http://*.com", "http://a.com", true),
            ("http://*.com", "https://a.com", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("http://a", "http://ab", false),
            ("x-amz-*", "x-amz-meta-k", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_whole_counts() {
        let cors = Cors {
            rules: vec![
                rule(&["http://a"], &["GET"], &[]),
                rule(&["http://*"], &["GET", "PUT"], &["X-*", "etag"]),
            ],
        };
        let found = |origin: &str, method: &str, headers: &[&str]| {
            let headers: Vec<String> = headers.iter().map(|name| (*name).to_owned()).collect();
            matching(&cors, origin, method, &headers).map(|found| found.methods.len())
        };
        assert_eq!(found("http://a", "GET", &[]), Some(1));
        assert_eq!(found("http://a", "GET", &["x-b"]), Some(2));
        assert_eq!(found("http://b", "PUT", &["x-b", "etag"]), Some(2));
        assert_eq!(found("http://b", "PUT", &["x-b", "range"]), None);
        assert_eq!(found("https://b", "PUT", &[]), None);
        assert_eq!(found("http://b", "DELETE", &[]), None);
    }
}
