//! Headers that a presigned URL carries as parameters.
//!
//! Signers of URLs move `x-amz-` headers into the query, so that whoever is given the URL need not send them: a
//! canned ACL, metadata, tags, the source of a copy; Version 2 moves `Content-Type` and `Content-MD5` too. S3 takes
//! them from there as if they had been sent. Pure. May use `codec::{uri, checksum, sigv2}` and `s3::error`.
//!
//! Invariants: the parameters are signed, as all of a query is, or in Version 2 what is taken for headers; a header
//! that was sent counts more; values of checksums are left out, because signers compute them over the body they do
//! not have.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::{Result, S3Error};
use crate::codec::checksum::ChecksumAlgorithm;
use crate::codec::sigv2;
use crate::codec::uri::{Pair, Query};

/// The headers that count for a request: those that came, and those in a signed query.
pub(super) fn effective<'h>(headers: &'h HeaderMap, query: &Query<'_>) -> Result<Cow<'h, HeaderMap>> {
    let is_old = sigv2::is_presigned(query);
    let mut hoisted = query.pairs().iter().filter(|pair| is_header(pair, is_old)).peekable();
    if hoisted.peek().is_none() || !(is_old || query.get_any_case("x-amz-signature").is_some()) {
        return Ok(Cow::Borrowed(headers));
    }
    let mut all = headers.clone();
    for pair in hoisted {
        let header = HeaderName::try_from(&*pair.name).ok();
        let header = header.zip(HeaderValue::from_bytes(pair.value.as_bytes()).ok());
        let Some((name, value)) = header else {
            return Err(S3Error::argument(&pair.name, &pair.value, "The parameter cannot be a header"));
        };
        all.entry(name).or_insert(value);
    }
    Ok(Cow::Owned(all))
}

fn is_header(pair: &Pair<'_>, is_old: bool) -> bool {
    let name = &*pair.name;
    let is = |other: &&str| name.eq_ignore_ascii_case(other);
    let begins =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    if is_old && (is(&"content-type") || is(&"content-md5")) {
        return true;
    }
    begins("x-amz-")
        && !OF_THE_SIGNATURE.iter().any(is)
        && !begins("x-amz-sdk-")
        && ChecksumAlgorithm::from_header(name).is_none()
}

const OF_THE_SIGNATURE: [&str; 9] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "x-amz-user-agent",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("h"));
        headers.insert("x-amz-acl", HeaderValue::from_static("private"));
        let query = Query::parse(query).unwrap();
        let all = effective(&headers, &query).unwrap();
        let mut names: Vec<String> =
            all.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        names.sort();
        names
    }

    #[test]
    fn parameters_of_a_signed_query_are_headers() {
        let own = ["host=h", "x-amz-acl=private"];
        assert_eq!(names("x-amz-meta-a=1"), own, "not signed");
        assert_eq!(
            names("X-Amz-Signature=0&X-Amz-Date=d&x-amz-checksum-crc32=AAAAAA==&x-amz-sdk-a=b&acl="),
            own
        );
        assert_eq!(
            names("X-Amz-Signature=0&X-Amz-Meta-A=1%202&x-amz-acl=public-read"),
            ["host=h", "x-amz-acl=private", "x-amz-meta-a=1 2"]
        );
        let bad = Query::parse("X-Amz-Signature=0&x-amz-meta-a=%0a").unwrap();
        assert!(effective(&HeaderMap::new(), &bad).is_err());
    }
}
