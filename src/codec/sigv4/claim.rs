//! Who a request claims to come from: the `Authorization` header or the `X-Amz-*` parameters of a
//! presigned URL, read but not yet believed.
//!
//! May use: `base`, `codec::date`, the `http` types. A claim borrows from the request. Everything
//! that can be judged without the secret, the clock or the server's region is judged here, so a
//! `Claim` is well formed: one mechanism, a complete scope, a real time on the scope's day, and
//! signed headers that are sorted, unique and bounded in number.

use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE};

use super::canonical::RequestView;
use super::error::AuthError;
use super::key::KeyScope;
use super::{ALGORITHM, TERMINATOR};
use crate::base::limits::{PRESIGN_SECONDS_MAX, REQUEST_HEADERS_MAX};
use crate::base::time::Nanos;
use crate::codec::date::{FixedText, amz_date, parse_amz_date, parse_http_date};
use crate::codec::uri::Query;

#[derive(Debug, Clone, Copy)]
pub struct Claim<'r> {
    pub access_key: &'r str,
    /// `YYYYMMDD`, equal to the day of `time`.
    pub date: &'r str,
    pub region: &'r str,
    pub service: &'r str,
    /// Names joined by semicolons, strictly ascending.
    pub signed_headers: &'r str,
    /// As sent; a valid one is 64 lower-case hexadecimal digits.
    pub signature: &'r str,
    pub time: Nanos,
    /// `time` as it stands in the string to sign.
    pub timestamp: FixedText<16>,
    /// `X-Amz-Security-Token`, for temporary credentials.
    pub session_token: Option<&'r str>,
    /// Seconds of validity of a presigned URL; `None` for the `Authorization` header.
    pub expires_s: Option<u64>,
}

impl<'r> Claim<'r> {
    pub(super) fn signing_scope(&self) -> KeyScope<'r> {
        KeyScope { access_key: self.access_key, date: self.date, region: self.region, service: self.service }
    }
}

/// Reads the claim of a request; `None` when it is anonymous.
pub fn parse<'r>(request: &RequestView<'r>) -> Result<Option<Claim<'r>>, AuthError> {
    let in_query = has_query_claim(request.query);
    let mut headers = request.headers.get_all(AUTHORIZATION).iter();
    let Some(header) = headers.next().filter(|header| !header.is_empty()) else {
        return if in_query { from_query(request).map(Some) } else { Ok(None) };
    };
    if in_query || headers.next().is_some() {
        return Err(AuthError::TwoMechanisms);
    }
    let text = header.to_str().map_err(|_| malformed_header("it contains bytes that are not ASCII."))?;
    from_header(text, request.headers).map(Some)
}

/// The service that a request is signed for, also where the rest of its claim is malformed: it says in whose words
/// the client wants to be told so.
pub fn claimed_service<'r>(request: &RequestView<'r>) -> Option<&'r str> {
    let header = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let in_header =
        |text: &'r str| text.split_once("Credential=").and_then(|(_, rest)| rest.split(',').next());
    let credential = match header.filter(|text| !text.is_empty()) {
        Some(text) => in_header(text)?,
        None => request.query.get_any_case("x-amz-credential")?,
    };
    credential.trim().rsplit('/').nth(1)
}

/// True when a query claims who is calling, in any version.
pub fn has_query_claim(query: &Query<'_>) -> bool {
    query.pairs().iter().any(|pair| {
        ["x-amz-algorithm", "x-amz-signature", "x-amz-credential", "awsaccesskeyid"]
            .iter()
            .any(|name| pair.name.eq_ignore_ascii_case(name))
    })
}

fn from_header<'r>(text: &'r str, headers: &'r HeaderMap) -> Result<Claim<'r>, AuthError> {
    let (mechanism, fields) = text.split_once(' ').unwrap_or((text, ""));
    match mechanism {
        ALGORITHM => {}
        // Version 2 is for S3 alone, and read by `codec::sigv2`.
        "AWS" | "AWS4-ECDSA-P256-SHA256" => return Err(AuthError::UnsupportedMechanism),
        _ => return Err(AuthError::UnknownMechanism),
    }
    let fields = HeaderFields::read(fields)?;
    let credential = Credential::read(fields.credential).map_err(malformed_header)?;
    let time = header_time(headers)?;
    let timestamp = amz_date(time);
    // What lies behind the last time there is has no day to compare, and is refused for its distance.
    if time < Nanos(u64::MAX) {
        check_day(credential.date, &timestamp).map_err(malformed_header)?;
    }
    check_signed_headers(fields.signed_headers).map_err(malformed_header)?;
    Ok(Claim {
        access_key: credential.access_key,
        date: credential.date,
        region: credential.region,
        service: credential.service,
        signed_headers: fields.signed_headers,
        signature: fields.signature,
        time,
        timestamp,
        session_token: headers.get("x-amz-security-token").and_then(|value| value.to_str().ok()),
        expires_s: None,
    })
}

/// The three parts after the algorithm; clients put them in any order, with or without spaces.
struct HeaderFields<'r> {
    credential: &'r str,
    signed_headers: &'r str,
    signature: &'r str,
}

impl<'r> HeaderFields<'r> {
    fn read(text: &'r str) -> Result<HeaderFields<'r>, AuthError> {
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in text.split(',') {
            let slot = match field.trim().split_once('=') {
                Some(("Credential", value)) => (&mut credential, value),
                Some(("SignedHeaders", value)) => (&mut signed_headers, value),
                Some(("Signature", value)) => (&mut signature, value),
                _ => return Err(malformed_header(COMPONENTS)),
            };
            if slot.0.replace(slot.1).is_some() {
                return Err(malformed_header(COMPONENTS));
            }
        }
        match (credential, signed_headers, signature) {
            (Some(credential), Some(signed_headers), Some(signature)) => {
                Ok(HeaderFields { credential, signed_headers, signature })
            }
            _ => Err(malformed_header(COMPONENTS)),
        }
    }
}

const COMPONENTS: &str =
    "the authorization header requires three components: Credential, SignedHeaders, and Signature.";

/// `x-amz-date` in its one form; without it, `Date` in any form of HTTP or of signatures.
fn header_time(headers: &HeaderMap) -> Result<Nanos, AuthError> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let time = if headers.contains_key("x-amz-date") {
        text("x-amz-date").and_then(parse_amz_date)
    } else {
        text(DATE.as_str()).and_then(|date| parse_http_date(date).or_else(|| parse_amz_date(date)))
    };
    time.ok_or(AuthError::MissingDate)
}

fn from_query<'r>(request: &RequestView<'r>) -> Result<Claim<'r>, AuthError> {
    let query = request.query;
    if query.get_any_case("x-amz-algorithm").is_none() && query.get_any_case("awsaccesskeyid").is_some() {
        return Err(AuthError::UnsupportedMechanism);
    }
    let need = |name| query.get_any_case(name).ok_or_else(|| malformed_query(PARAMETERS));
    if need("x-amz-algorithm")? != ALGORITHM {
        return Err(malformed_query("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let credential = need("x-amz-credential")?;
    let (date, expires) = (need("x-amz-date")?, need("x-amz-expires")?);
    let (signed_headers, signature) = (need("x-amz-signedheaders")?, need("x-amz-signature")?);
    let in_credential =
        |reason: String| malformed_query(format!("Error parsing the X-Amz-Credential parameter; {reason}"));
    let credential = Credential::read(credential).map_err(in_credential)?;
    let time = parse_amz_date(date).ok_or_else(|| {
        malformed_query("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    })?;
    check_day(credential.date, date).map_err(in_credential)?;
    check_signed_headers(signed_headers).map_err(malformed_query)?;
    Ok(Claim {
        access_key: credential.access_key,
        date: credential.date,
        region: credential.region,
        service: credential.service,
        signed_headers,
        signature,
        time,
        timestamp: amz_date(time),
        session_token: query.get_any_case("x-amz-security-token"),
        expires_s: Some(parse_expires(expires).map_err(malformed_query)?),
    })
}

const PARAMETERS: &str = "Query-string authentication version 4 requires the X-Amz-Algorithm, \
    X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.";

fn parse_expires(text: &str) -> Result<u64, &'static str> {
    let seconds: i64 = text.parse().map_err(|_| "X-Amz-Expires should be a number")?;
    let seconds = u64::try_from(seconds).map_err(|_| "X-Amz-Expires must be non-negative")?;
    if seconds == 0 {
        return Err("X-Amz-Expires must be at least 1 second");
    }
    if seconds > PRESIGN_SECONDS_MAX {
        return Err("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires \
                    must be less than 604800 seconds");
    }
    Ok(seconds)
}

struct Credential<'r> {
    access_key: &'r str,
    date: &'r str,
    region: &'r str,
    service: &'r str,
}

impl<'r> Credential<'r> {
    /// Read from the right, so that an access key may contain a slash.
    fn read(text: &'r str) -> Result<Credential<'r>, String> {
        let malformed = || {
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
                .to_string()
        };
        let mut pieces = text.rsplitn(5, '/');
        let mut next = || pieces.next().ok_or_else(malformed);
        let (terminator, service, region, date, access_key) = (next()?, next()?, next()?, next()?, next()?);
        if access_key.is_empty() || date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed());
        }
        if terminator != TERMINATOR {
            return Err(format!("incorrect terminal {terminator:?}. This endpoint uses {TERMINATOR:?}."));
        }
        Ok(Credential { access_key, date, region, service })
    }
}

fn check_day(date: &str, timestamp: &str) -> Result<(), String> {
    let day = timestamp.get(..8).unwrap_or("");
    if date == day {
        return Ok(());
    }
    Err(format!("Invalid credential date {date:?}. This date is not the same as X-Amz-Date: {day:?}."))
}

/// Sorted and unique names keep the canonical request no longer than the request itself.
fn check_signed_headers(names: &str) -> Result<(), &'static str> {
    let pairs = names.split(';').zip(names.split(';').skip(1));
    if names.split(';').count() > REQUEST_HEADERS_MAX {
        return Err("SignedHeaders names too many headers.");
    }
    if names.split(';').any(str::is_empty) || pairs.into_iter().any(|(left, right)| left >= right) {
        return Err("SignedHeaders must be sorted names separated by semicolons, each named once.");
    }
    Ok(())
}

pub(super) fn malformed_header(reason: impl Into<String>) -> AuthError {
    AuthError::HeaderMalformed { reason: reason.into(), expected_region: None }
}

pub(super) fn malformed_query(reason: impl Into<String>) -> AuthError {
    AuthError::QueryMalformed { reason: reason.into(), expected_region: None }
}
