//! Request headers with a meaning of their own: features that are refused, the headers stored with
//! an object, ranges.
//!
//! Pure. May use `object::meta` and `s3::error`. Invariant: a header that would change what S3 does
//! and that is not built is refused with NotImplemented; nothing is accepted and then ignored.

use std::ops::Range;

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE,
    EXPIRES, HeaderName,
};
use http::{HeaderMap, HeaderValue};

use super::encryption;
use super::error::{Code, Result, S3Error};
use super::route::Operation;
use crate::base::limits::{REDIRECT_BYTES_MAX, USER_METADATA_BYTES_MAX};
use crate::object::meta::Headers;

const USER_PREFIX: &str = "x-amz-meta-";

/// The value of a header as text; `InvalidArgument` when it is not.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>> {
    let Some(value) = find(headers, name) else { return Ok(None) };
    std::str::from_utf8(value.as_bytes())
        .map(Some)
        .map_err(|_| S3Error::argument(name, "", "The header is not UTF-8 text"))
}

/// The first value of a header by its name in lower case. A request brings a handful of headers and is asked for
/// some thirty: comparing names is cheaper than to check and hash each that is asked for.
pub(super) fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h HeaderValue> {
    headers.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value)
}

/// A header that holds a decimal number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(Some(number)),
        _ => Err(S3Error::argument(name, text, format!("{name} is not a number"))),
    }
}

/// `Content-Length`, which hyper has checked already.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Refuses what is not built.
pub(super) fn check_features(operation: Operation, headers: &HeaderMap) -> Result<()> {
    let some_repeat = headers.len() > headers.keys_len();
    for (name, value) in headers {
        let name = name.as_str();
        // Nearly every header is decided here.
        if !name.starts_with("x-amz-") || name.starts_with(USER_PREFIX) {
            continue;
        }
        if some_repeat && !may_repeat(name) && headers.get_all(name).iter().nth(1).is_some() {
            return Err(S3Error::argument(name, "", "The header may be sent only once"));
        }
        // Policies would take the request for a copy.
        let copies = matches!(operation, Operation::CopyObject | Operation::UploadPartCopy);
        if name == "x-amz-copy-source" && !copies {
            return Err(S3Error::argument(name, "", "The header is for copies only"));
        }
        if name == "x-amz-copy-source-range" && operation != Operation::UploadPartCopy {
            return Err(S3Error::not_implemented(name));
        }
        if name == "x-amz-storage-class" && !STORAGE_CLASSES.iter().any(|class| value == class) {
            return Err(Code::InvalidStorageClass.into());
        }
        if encryption::is_one(name) {
            return Err(encryption::refusal(operation, headers, name));
        }
        if !is_honoured(name, value) {
            return Err(S3Error::not_implemented(name));
        }
    }
    Ok(())
}

/// Headers that are lists. Of all others one value counts, and policies and operations must not take two different
/// ones for it.
fn may_repeat(name: &str) -> bool {
    name.starts_with("x-amz-grant-") || name.ends_with("-object-attributes")
}

/// Of S3; there is one here.
const STORAGE_CLASSES: [&str; 12] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
    "FSX_OPENZFS",
];

/// Which objects lifecycle transitions leave alone unless a rule says otherwise, and the answer to it.
pub(super) const TRANSITION_MINIMUM: &str = "x-amz-transition-default-minimum-object-size";
pub(super) const TRANSITION_MINIMUM_SIZE: &str = "all_storage_classes_128K";

/// False for a header, or a value of it, that asks for something that is not built.
fn is_honoured(name: &str, value: &HeaderValue) -> bool {
    let is = |allowed: &[&str]| allowed.iter().any(|text| value.as_bytes() == text.as_bytes());
    match name {
        "x-amz-storage-class" => is(&["STANDARD"]),
        "x-amz-object-lock-mode" | "x-amz-object-lock-retain-until-date" | "x-amz-object-lock-legal-hold" => {
            true
        }
        // Transitions there are none of leave small objects where they are.
        TRANSITION_MINIMUM => is(&[TRANSITION_MINIMUM_SIZE]),
        "x-amz-mfa" | "x-amz-write-offset-bytes" | "x-amz-rename-source" | "x-amz-bucket-namespace" => false,
        _ => !name.starts_with("x-amz-object-lock-"),
    }
}

// ---- Stored headers ----

/// The headers to keep with an object.
pub(super) fn stored(headers: &HeaderMap) -> Result<Headers> {
    Ok(Headers {
        content_type: owned(headers, CONTENT_TYPE)?,
        cache_control: owned(headers, CACHE_CONTROL)?,
        content_disposition: owned(headers, CONTENT_DISPOSITION)?,
        content_encoding: text(headers, CONTENT_ENCODING.as_str())?.and_then(without_aws_chunked),
        content_language: owned(headers, CONTENT_LANGUAGE)?,
        expires: owned(headers, EXPIRES)?,
        website_redirect: website_redirect(headers)?,
        user: user_metadata(headers)?,
    })
}

/// Where a website sends those who ask for the object.
pub(super) fn website_redirect(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(place) = text(headers, WEBSITE_REDIRECT)? else { return Ok(None) };
    let known = ["/", "http://", "https://"].iter().any(|begin| place.starts_with(begin));
    match known && place.len() <= REDIRECT_BYTES_MAX {
        true => Ok(Some(place.to_owned())),
        false => Err(Code::InvalidRedirectLocation.into()),
    }
}

pub(super) const WEBSITE_REDIRECT: &str = "x-amz-website-redirect-location";

fn owned(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>> {
    Ok(text(headers, name.as_str())?.map(str::to_owned))
}

/// `aws-chunked` says how the request travels, not what the object is.
fn without_aws_chunked(value: &str) -> Option<String> {
    if !value.to_ascii_lowercase().contains("aws-chunked") {
        return Some(value.to_owned()).filter(|value| !value.is_empty());
    }
    let kept: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    let kept = kept.join(",");
    (!kept.is_empty()).then_some(kept)
}

/// Names in lower case, as HTTP has them; values of a repeated name joined by commas.
fn user_metadata(headers: &HeaderMap) -> Result<Vec<(String, String)>> {
    let mut user: Vec<(String, String)> = Vec::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(USER_PREFIX) else { continue };
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| S3Error::argument(name, "", "Metadata is not UTF-8 text"))?;
        match user.iter_mut().find(|(have, _)| have == name) {
            Some((_, joined)) => {
                joined.push(',');
                joined.push_str(value);
                bytes += value.len() + 1;
            }
            None => {
                user.push((name.to_owned(), value.to_owned()));
                bytes += name.len() + value.len();
            }
        }
    }
    if bytes > USER_METADATA_BYTES_MAX {
        return Err(S3Error::new(Code::MetadataTooLarge)
            .field("Size", bytes.to_string())
            .field("MaxSizeAllowed", USER_METADATA_BYTES_MAX.to_string()));
    }
    Ok(user)
}

// ---- Ranges ----

/// What a Range header asks for, given the size of the object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RangeAsked {
    /// No header, or one that S3 ignores: several ranges, another unit, a malformed one.
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

/// Reads `bytes=a-b`, `bytes=a-` and `bytes=-n` (RFC 9110 section 14.1.2).
pub(super) fn range(value: &str, size: u64) -> RangeAsked {
    let Some(spec) = value.trim().strip_prefix("bytes=") else { return RangeAsked::Whole };
    let Some((first, last)) = spec.split_once('-') else { return RangeAsked::Whole };
    match (digits(first), digits(last)) {
        (Ok(Some(first)), Ok(last)) => bounded(first, last, size),
        (Ok(None), Ok(Some(0))) => RangeAsked::Unsatisfiable,
        // The last bytes of nothing are all of it.
        (Ok(None), Ok(Some(_))) if size == 0 => RangeAsked::Whole,
        (Ok(None), Ok(Some(suffix))) => RangeAsked::Part(size.saturating_sub(suffix)..size),
        _ => RangeAsked::Whole,
    }
}

fn bounded(first: u64, last: Option<u64>, size: u64) -> RangeAsked {
    match last {
        Some(last) if last < first => RangeAsked::Whole,
        _ if first >= size => RangeAsked::Unsatisfiable,
        Some(last) => RangeAsked::Part(first..last.saturating_add(1).min(size)),
        None => RangeAsked::Part(first..size),
    }
}

/// Empty is `None`; a number too large for any object is the largest one.
fn digits(text: &str) -> std::result::Result<Option<u64>, ()> {
    match text {
        "" => Ok(None),
        _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => Err(()),
        _ => Ok(Some(text.parse().unwrap_or(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn ranges() {
        use RangeAsked::*;
        for (value, size, asked) in [
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=2-", 10, Part(2..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-30", 10, Part(0..10)),
            ("bytes=5-99999999999999999999999", 10, Part(5..10)),
            ("bytes=9-18446744073709551615", 10, Part(9..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Whole),
            ("bytes=-0", 0, Unsatisfiable),
            ("bytes= -1", 10, Whole),
            ("bytes=5-4", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("lines=0-1", 10, Whole),
        ] {
            assert_eq!(range(value, size), asked, "{value} of {size}");
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let refused = |name, value: &str| {
            check_features(Operation::PutObject, &headers(&[(name, value)])).map_err(|e| e.code())
        };
        for (name, value) in [
            ("x-amz-storage-class", "GLACIER"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
            ("x-amz-object-lock-event-hold", "ON"),
        ] {
            assert_eq!(refused(name, value), Err(Code::NotImplemented), "{name}");
        }
        for (name, value) in [
            ("x-amz-acl", "public-read"),
            ("x-amz-grant-read", "id=1"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-storage-class", "STANDARD"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-meta-grant-read", "x"),
        ] {
            assert_eq!(refused(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn stored_headers_and_their_bound() {
        let kept = stored(&headers(&[
            ("content-type", "text/plain"),
            ("content-encoding", "aws-chunked, gzip"),
            ("x-amz-meta-a", "1"),
            ("x-amz-meta-a", "2"),
        ]))
        .unwrap();
        assert_eq!(kept.content_type.as_deref(), Some("text/plain"));
        assert_eq!(kept.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(kept.user, [("a".to_owned(), "1,2".to_owned())]);
        assert_eq!(stored(&headers(&[("content-encoding", "aws-chunked")])).unwrap().content_encoding, None);
        let fits = "v".repeat(USER_METADATA_BYTES_MAX - 1);
        assert!(stored(&headers(&[("x-amz-meta-k", &fits)])).is_ok());
        let error = stored(&headers(&[("x-amz-meta-kk", &fits)])).unwrap_err();
        assert_eq!(error.code(), Code::MetadataTooLarge);
    }
}
