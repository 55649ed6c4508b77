//! AWS Signature Version 2 as S3 applies it: reading a claim and verifying it.
//!
//! Clients that are told of an endpoint and nothing else still presign with it: boto3 and the AWS command line do.
//! May use: `base`, `codec::{date, sigv4, uri}`, aws-lc-rs, the `http` types. As with Version 4, `parse` says who
//! claims to be calling, and `verify` decides. The signature covers the method, the `x-amz-` headers, `Content-MD5`,
//! `Content-Type`, the time, the path, and those parameters of the query that choose what is done: which they are is
//! said by the caller. It covers no other header and no body, by design of that version.
//!
//! Document: "Signing and authenticating REST requests", Amazon S3 User Guide.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};

use super::date::{parse_amz_date, parse_http_date};
use super::sigv4::{AuthError, Mismatch, RequestView, has_query_claim};
use super::uri::Query;
use crate::base::limits::CLOCK_SKEW_SECONDS_MAX;
use crate::base::time::Nanos;

#[derive(Debug, Clone, Copy)]
pub struct Claim<'r> {
    pub access_key: &'r str,
    /// Base64 of an HMAC-SHA1.
    pub signature: &'r str,
    /// When a header was signed; for a URL, when it ends.
    pub time: Nanos,
    pub session_token: Option<&'r str>,
    /// The parameter as it was signed; `None` for the `Authorization` header.
    pub expires: Option<&'r str>,
}

/// Where a request is addressed, and which of its parameters choose what is done.
pub struct Terms<'a> {
    /// The bucket that the host names, if it does.
    pub host_bucket: Option<&'a str>,
    pub is_signed_parameter: fn(&str) -> bool,
}

/// Reads the claim of a request; `None` when it makes none of this version.
pub fn parse<'r>(request: &RequestView<'r>) -> Result<Option<Claim<'r>>, AuthError> {
    let Some(header) = request.headers.get(AUTHORIZATION).filter(|header| !header.is_empty()) else {
        return if is_presigned(request.query) { from_query(request.query).map(Some) } else { Ok(None) };
    };
    if !header.as_bytes().starts_with(MECHANISM.as_bytes()) {
        return Ok(None);
    }
    if has_query_claim(request.query) {
        return Err(AuthError::TwoMechanisms);
    }
    let credential = header.to_str().ok().and_then(|text| text.strip_prefix(MECHANISM));
    from_header(credential.unwrap_or(""), request.headers).map(Some)
}

const MECHANISM: &str = "AWS ";

/// True for the query of a URL that is presigned with this version.
pub fn is_presigned(query: &Query<'_>) -> bool {
    query.has("AWSAccessKeyId") && query.get_any_case("x-amz-algorithm").is_none()
}

fn from_header<'r>(credential: &'r str, headers: &'r HeaderMap) -> Result<Claim<'r>, AuthError> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let (access_key, signature) = credential.split_once(':').ok_or(AuthError::OldHeaderMalformed)?;
    let date = text("x-amz-date").or_else(|| text(DATE.as_str()));
    let time = date.and_then(|date| parse_http_date(date).or_else(|| parse_amz_date(date)));
    let time = time.ok_or(AuthError::MissingDate)?;
    let session_token = text("x-amz-security-token");
    Ok(Claim { access_key, signature, time, session_token, expires: None })
}

fn from_query<'r>(query: &'r Query<'_>) -> Result<Claim<'r>, AuthError> {
    let need = |name| {
        let message =
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters";
        query.get(name).ok_or_else(|| AuthError::OldQueryMalformed { reason: message.into() })
    };
    let (access_key, signature, expires) = (need("AWSAccessKeyId")?, need("Signature")?, need("Expires")?);
    let seconds: u64 = expires.parse().map_err(|_| AuthError::OldQueryMalformed {
        reason: format!("Invalid date (should be seconds since epoch): {expires}"),
    })?;
    // Beyond what a time can hold is the end of time.
    let time = Nanos::from_seconds(seconds.min(u64::MAX / Nanos::PER_SECOND));
    let session_token = query.get_any_case("x-amz-security-token");
    Ok(Claim { access_key, signature, time, session_token, expires: Some(expires) })
}

/// Judges a claim against the secret of its access key.
pub fn verify(
    claim: &Claim<'_>,
    secret: &str,
    request: &RequestView<'_>,
    now: Nanos,
    terms: &Terms<'_>,
) -> Result<(), AuthError> {
    check_time(claim, now)?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let given = STANDARD.decode(claim.signature).unwrap_or_default();
    let text = string_to_sign(claim, request, terms, Form::default());
    let is_signed = |text: &str| hmac::verify(&key, text.as_bytes(), &given).is_ok();
    let is_signed_at_all = || {
        is_signed(&text)
            || Form::OTHERS.iter().any(|form| is_signed(&string_to_sign(claim, request, terms, *form)))
    };
    if is_plain(request.query, terms.is_signed_parameter) && is_signed_at_all() {
        return Ok(());
    }
    Err(AuthError::SignatureMismatch(Box::new(Mismatch {
        access_key: claim.access_key.into(),
        provided: claim.signature.into(),
        string_to_sign: text,
        canonical_request: String::new(),
    })))
}

/// The string to sign has names and values decoded and one after the other. A line break in what counts as a header, or
/// a parameter within the name or value of another, would give the text that was signed for a different request.
fn is_plain(query: &Query<'_>, is_signed: fn(&str) -> bool) -> bool {
    let name_of = |piece: &str| piece.split_once('=').map_or(piece, |(name, _)| name).to_owned();
    let hides = |value: &str| value.split('&').skip(1).any(|piece| is_signed(&name_of(piece)));
    let breaks = |text: &str| text.contains(['\r', '\n']);
    query.pairs().iter().all(|pair| {
        let name = pair.name.to_ascii_lowercase();
        let is_header = name.starts_with("x-amz-") || name == "content-type" || name == "content-md5";
        match is_header {
            true => !name.contains(':') && !breaks(&name) && !breaks(&pair.value),
            false => !is_signed(&pair.name) || !(pair.name.contains(['&', '=']) || hides(&pair.value)),
        }
    })
}

/// What clients sign in two ways that mean the same.
#[derive(Clone, Copy, Default)]
struct Form {
    /// `?acl=` as `acl=`, and not as `acl`.
    keeps_equals: bool,
    /// `/bucket` as `/bucket/`, as it is where the host names the bucket.
    ends_bucket: bool,
}

impl Form {
    const OTHERS: [Form; 3] = [
        Form { keeps_equals: true, ends_bucket: false },
        Form { keeps_equals: false, ends_bucket: true },
        Form { keeps_equals: true, ends_bucket: true },
    ];
}

fn check_time(claim: &Claim<'_>, now: Nanos) -> Result<(), AuthError> {
    let (time_s, now_s) = (claim.time.seconds(), now.seconds());
    match claim.expires {
        Some(_) if time_s < now_s => Err(AuthError::Outdated { expires: claim.time, server: now }),
        None if time_s.abs_diff(now_s) > CLOCK_SKEW_SECONDS_MAX => {
            Err(AuthError::TimeTooSkewed { request: claim.time, server: now })
        }
        _ => Ok(()),
    }
}

fn string_to_sign(claim: &Claim<'_>, request: &RequestView<'_>, terms: &Terms<'_>, form: Form) -> String {
    let signed = Signed { request, in_query: claim.expires.is_some() };
    let mut text = format!("{}\n", request.method);
    for name in ["content-md5", CONTENT_TYPE.as_str()] {
        text.push_str(&signed.value(name));
        text.push('\n');
    }
    match claim.expires {
        Some(expires) => text.push_str(expires),
        None if request.headers.contains_key("x-amz-date") => {}
        None => text.push_str(&signed.value(DATE.as_str())),
    }
    text.push('\n');
    for name in signed.amz_names() {
        text.push_str(&format!("{name}:{}\n", signed.value(&name)));
    }
    if let Some(bucket) = terms.host_bucket {
        text.push('/');
        text.push_str(bucket);
    }
    text.push_str(request.raw_path);
    if form.ends_bucket
        && terms.host_bucket.is_none()
        && !request.raw_path.get(1..).unwrap_or("/").contains('/')
    {
        text.push('/');
    }
    push_parameters(&mut text, request.query, terms.is_signed_parameter, form.keeps_equals);
    text
}

/// Sorted by name; values stand decoded.
fn push_parameters(text: &mut String, query: &Query<'_>, is_signed: fn(&str) -> bool, keep_equals: bool) {
    let mut pairs: Vec<_> = query.pairs().iter().filter(|pair| is_signed(&pair.name)).collect();
    pairs.sort_by(|left, right| left.name.cmp(&right.name));
    for (at, pair) in pairs.into_iter().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.push_str(&pair.name);
        if !pair.value.is_empty() || keep_equals {
            text.push('=');
            text.push_str(&pair.value);
        }
    }
}

/// The headers as they were signed. Who presigns moves them into the query; one that was sent counts more.
struct Signed<'a, 'r> {
    request: &'a RequestView<'r>,
    in_query: bool,
}

impl Signed<'_, '_> {
    /// Several values are joined by commas.
    fn value(&self, name: &str) -> String {
        let sent: Vec<_> = self.request.headers.get_all(name).iter().collect();
        if sent.is_empty() && self.in_query {
            return self.request.query.get_any_case(name).unwrap_or("").to_owned();
        }
        let texts = sent.into_iter().map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned());
        texts.collect::<Vec<_>>().join(",")
    }

    fn amz_names(&self) -> Vec<String> {
        let sent = self.request.headers.keys().map(|name| name.as_str().to_owned());
        let parameters = self.request.query.pairs().iter().filter(|_| self.in_query);
        let mut names: Vec<String> = sent
            .chain(parameters.map(|pair| pair.name.to_ascii_lowercase()))
            .filter(|name| name.starts_with("x-amz-"))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue, Method};
    use proptest::prelude::*;

    const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    struct Sent {
        method: Method,
        path: &'static str,
        query: String,
        headers: HeaderMap,
    }

    fn sent(method: Method, path: &'static str, query: &str, headers: &[(&'static str, &str)]) -> Sent {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        Sent { method, path, query: query.into(), headers: headers.iter().map(pair).collect() }
    }

    fn is_signed(name: &str) -> bool {
        ["acl", "uploadId"].contains(&name) || name.starts_with("response-")
    }

    fn judge(sent: &Sent, now: &str, host_bucket: Option<&str>) -> Result<(), AuthError> {
        let query = Query::parse(&sent.query).unwrap();
        let view =
            RequestView { method: &sent.method, raw_path: sent.path, query: &query, headers: &sent.headers };
        let claim = parse(&view)?.expect("a claim");
        let terms = Terms { host_bucket, is_signed_parameter: is_signed };
        verify(&claim, SECRET, &view, parse_http_date(now).unwrap(), &terms)
    }

    const NOON: &str = "Tue, 27 Mar 2007 19:40:00 GMT";

    /// The examples of the document.
    #[test]
    fn documented_requests() {
        let get = sent(
            Method::GET,
            "/photos/puppy.jpg",
            "",
            &[
                ("date", "Tue, 27 Mar 2007 19:36:42 +0000"),
                ("authorization", "AWS AKIAIOSFODNN7EXAMPLE:bWq2s1WEIj+Ydj0vQ697zp+IXMU="),
            ],
        );
        assert_eq!(judge(&get, NOON, Some("johnsmith")), Ok(()));
        assert!(matches!(judge(&get, NOON, Some("another")), Err(AuthError::SignatureMismatch(_))));
        let later = "Tue, 27 Mar 2007 20:36:00 GMT";
        assert!(matches!(judge(&get, later, Some("johnsmith")), Err(AuthError::TimeTooSkewed { .. })));
    }

    fn signed(method: Method, text: &str, query: &str, headers: &[(&'static str, &str)]) -> Sent {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
        let signature = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
        let signature = crate::codec::uri::encode_component(&signature);
        let query = format!("{query}&AWSAccessKeyId={KEY}&Expires=1175024400&Signature={signature}");
        sent(method, "/b/a%20key", &query, headers)
    }

    #[test]
    fn urls_and_what_was_moved_into_them() {
        let text =
            "PUT\n\ntext/plain\n1175024400\nx-amz-acl:private\nx-amz-meta-a:1 2\n/b/a%20key?acl&uploadId=u/v";
        let query = "uploadId=u%2Fv&acl&prefix=x&x-amz-acl=private&content-type=text%2Fplain";
        let put = |extra: &str, headers: &[(&'static str, &str)]| {
            signed(Method::PUT, text, &format!("{query}{extra}"), headers)
        };
        let meta = ("x-amz-meta-a", "1 2");
        assert_eq!(judge(&put("", &[meta]), NOON, None), Ok(()));
        assert_eq!(judge(&put("&x-amz-meta-a=1+2", &[]), NOON, None), Ok(()));
        assert_eq!(judge(&put("&max-keys=9", &[meta, ("content-type", "text/plain")]), NOON, None), Ok(()));
        for (extra, headers) in [
            ("", vec![]),
            ("", vec![meta, ("content-type", "text/html")]),
            ("", vec![meta, ("x-amz-acl", "public-read")]),
            ("", vec![meta, ("x-amz-tagging", "a=b")]),
            ("&x-amz-tagging=a", vec![meta]),
            ("&response-content-type=a", vec![meta]),
        ] {
            let result = judge(&put(extra, &headers), NOON, None);
            assert!(matches!(result, Err(AuthError::SignatureMismatch(_))), "{extra} {headers:?}");
        }
        let over = judge(&put("", &[meta]), "Tue, 27 Mar 2007 19:40:01 GMT", None);
        assert!(matches!(over, Err(AuthError::Outdated { .. })), "{over:?}");
    }

    /// Who has a URL could make another of it with the same text, that leaves out what was to hold.
    #[test]
    fn nothing_is_hidden_in_something_else() {
        let mismatch = |sent: Sent| matches!(judge(&sent, NOON, None), Err(AuthError::SignatureMismatch(_)));
        let text = "GET\n\n\n1175024400\n/b/a%20key?response-content-type=a&uploadId=u";
        let get = |query: &str| signed(Method::GET, text, query, &[]);
        assert_eq!(judge(&get("uploadId=u&response-content-type=a"), NOON, None), Ok(()));
        assert!(mismatch(get("response-content-type=a%26uploadId%3Du")));
        assert!(mismatch(get("response-content-type%3Da%26uploadId=u")));
        let text = "GET\n\n\n1175024400\n/b/a%20key?response-content-type=a&b=c";
        let get = signed(Method::GET, text, "response-content-type=a%26b%3Dc", &[]);
        assert_eq!(judge(&get, NOON, None), Ok(()), "nothing that would count");
        let text = "PUT\n\n\n1175024400\nx-amz-sdk-a:b\nx-amz-tagging:t=1\n/b/a%20key";
        let put = |query: &str| signed(Method::PUT, text, query, &[]);
        assert_eq!(judge(&put("x-amz-sdk-a=b&x-amz-tagging=t%3D1"), NOON, None), Ok(()));
        assert!(mismatch(put("x-amz-sdk-a=b%0Ax-amz-tagging:t%3D1")));
        assert!(mismatch(put("x-amz-sdk-a%3Ab%0Ax-amz-tagging=t%3D1")));
    }

    #[test]
    fn claims_that_cannot_be() {
        let code = |query: &str, authorization: &str| {
            let headers = [("authorization", authorization)];
            let headers = if authorization.is_empty() { &[][..] } else { &headers[..] };
            let sent = sent(Method::GET, "/b/k", query, headers);
            let query = Query::parse(&sent.query).unwrap();
            let view = RequestView {
                method: &sent.method,
                raw_path: sent.path,
                query: &query,
                headers: &sent.headers,
            };
            parse(&view).map(|claim| claim.is_some()).map_err(|error| error.code())
        };
        assert_eq!(code("", ""), Ok(false));
        assert_eq!(code("", "AWS4-HMAC-SHA256 Credential=x"), Ok(false));
        assert_eq!(code("AWSAccessKeyId=k&X-Amz-Algorithm=a", ""), Ok(false), "of the other version");
        assert_eq!(code("", "AWS k"), Err("InvalidArgument"));
        assert_eq!(code("", "AWS k:s"), Err("AccessDenied"), "no date");
        assert_eq!(code("AWSAccessKeyId=k", "AWS k:s"), Err("InvalidArgument"));
        assert_eq!(code("AWSAccessKeyId=k", ""), Err("AccessDenied"));
        assert_eq!(code("AWSAccessKeyId=k&Signature=s&Expires=soon", ""), Err("AccessDenied"));
        assert_eq!(
            code("AWSAccessKeyId=k&Signature=s&Expires=99999999999999999999", ""),
            Err("AccessDenied")
        );
        assert_eq!(code("AWSAccessKeyId=k&Signature=s&Expires=9999999999999999999", ""), Ok(true));
    }

    proptest! {
        #[test]
        fn no_input_panics(query in "[a-zA-Z0-9=&%+:-]{0,60}", value in "[ -~]{0,40}", expires in any::<u64>()) {
            let query = format!("AWSAccessKeyId=k&Signature=s&Expires={expires}&{query}");
            let Ok(parsed) = Query::parse(&query) else { return Ok(()) };
            for headers in [vec![("x-amz-meta-a", &*value)], vec![("authorization", &*format!("AWS {value}"))]] {
                let sent = sent(Method::GET, "/b/k", &query, &headers);
                let view = RequestView {
                    method: &sent.method, raw_path: sent.path, query: &parsed, headers: &sent.headers,
                };
                if let Ok(Some(claim)) = parse(&view) {
                    let terms = Terms { host_bucket: None, is_signed_parameter: is_signed };
                    prop_assert!(verify(&claim, SECRET, &view, Nanos::from_seconds(1), &terms).is_err());
                }
            }
        }
    }
}
