//! The examples of the Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version
//! 4)", with their published signatures; the refusals; and that flipping any byte of a signed
//! request breaks it.
//!
//! The oracle made by botocore's signer is read in `tests/codec_oracle.rs`.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::base::time::Nanos;
use crate::codec::uri::Query;

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const REGION: &str = "us-east-1";
const HOST: &str = "examplebucket.s3.amazonaws.com";
/// 2013-05-24T00:00:00Z.
const NOW: Nanos = Nanos(1_369_353_600 * Nanos::PER_SECOND);
const SCOPE: &str = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";

struct Request {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
}

impl Request {
    fn new(method: Method, path: &str, query: &str, headers: &[(&str, &str)]) -> Request {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        Request { method, path: path.into(), query: query.into(), headers: map }
    }

    /// A request of the documentation: host, date and payload hash, and the published signature.
    fn documented(
        method: Method,
        path: &str,
        query: &str,
        more: &[(&str, &str)],
        hash: &str,
        signature: &str,
    ) -> Request {
        let mut headers =
            vec![("host", HOST), ("x-amz-date", "20130524T000000Z"), ("x-amz-content-sha256", hash)];
        headers.extend_from_slice(more);
        let mut names: Vec<&str> = headers.iter().map(|header| header.0).collect();
        names.sort_unstable();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={SCOPE},SignedHeaders={},Signature={signature}",
            names.join(";")
        );
        headers.push(("authorization", &authorization));
        Request::new(method, path, query, &headers)
    }

    fn verify_at(&self, now: Nanos, region: &str) -> Result<Verified, AuthError> {
        let query = Query::parse(&self.query).unwrap();
        let view =
            RequestView { method: &self.method, raw_path: &self.path, query: &query, headers: &self.headers };
        let claim = parse(&view)?.expect("not anonymous");
        assert_eq!(claim.access_key, ACCESS_KEY);
        verify(&claim, SECRET, &view, now, &Terms::s3(region), &mut SigningKeyCache::new(4))
    }

    fn verify(&self) -> Result<Verified, AuthError> {
        self.verify_at(NOW, REGION)
    }
}

fn get_object() -> Request {
    Request::documented(
        Method::GET,
        "/test.txt",
        "",
        &[("range", "bytes=0-9")],
        EMPTY_SHA256,
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    )
}

fn presigned(more: &str) -> Request {
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3\
         %2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
         &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404{more}"
    );
    Request::new(Method::GET, "/test.txt", &query, &[("host", HOST)])
}

#[test]
fn documented_get_object() {
    let verified = get_object().verify().unwrap();
    assert!(matches!(verified.payload, PayloadKind::Sha256(_)) && verified.seed.is_none());
    verified
        .payload
        .check_sha256(
            &aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"").as_ref().try_into().unwrap(),
        )
        .unwrap();
    let error = verified.payload.check_sha256(&[0; 32]).unwrap_err();
    assert_eq!(error.code(), "XAmzContentSHA256Mismatch");
}

#[test]
fn documented_put_object() {
    let request = Request::documented(
        Method::PUT,
        "/test%24file.text",
        "",
        &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    request.verify().unwrap();
    // The example itself sends the dollar sign raw.
    Request { path: "/test$file.text".into(), ..request }.verify().unwrap();
}

#[test]
fn documented_get_lifecycle_and_list() {
    let signature = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
    let request = Request::documented(Method::GET, "/", "lifecycle", &[], EMPTY_SHA256, signature);
    request.verify().unwrap();
    let signature = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
    let request = Request::documented(Method::GET, "/", "prefix=J&max-keys=2", &[], EMPTY_SHA256, signature);
    request.verify().unwrap();
}

#[test]
fn documented_presigned_get() {
    let verified = presigned("").verify().unwrap();
    assert_eq!(verified.payload, PayloadKind::Unsigned);
    let url =
        Presign { method: &Method::GET, host: HOST, raw_path: "/test.txt", raw_query: "", expires_s: 86_400 };
    let signer = Signer { access_key: ACCESS_KEY, secret: SECRET, region: REGION, session_token: None };
    let target = signer.presign(&url, NOW).unwrap();
    assert_eq!(target, format!("/test.txt?{}", presigned("").query));
}

#[test]
fn documented_chunked_seed() {
    let request = Request::documented(
        Method::PUT,
        "/examplebucket/chunkObject.txt",
        "",
        &[
            ("content-encoding", "aws-chunked"),
            ("content-length", "66824"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ],
        STREAMING_SIGNED,
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    let request = with_host(request, "s3.amazonaws.com");
    let verified = request.verify().unwrap();
    assert_eq!(verified.payload, PayloadKind::Streaming { signed: true, trailer: false });
    assert_eq!(&*verified.seed.unwrap().scope, "20130524/us-east-1/s3/aws4_request");
}

fn with_host(mut request: Request, host: &'static str) -> Request {
    request.headers.insert("host", HeaderValue::from_static(host));
    request
}

#[test]
fn no_claim_is_anonymous() {
    let request = Request::new(Method::GET, "/", "list-type=2", &[("host", HOST)]);
    let query = Query::parse(&request.query).unwrap();
    let view = RequestView {
        method: &request.method,
        raw_path: &request.path,
        query: &query,
        headers: &request.headers,
    };
    assert!(parse(&view).unwrap().is_none());
    assert_eq!(payload_kind(&request.headers), Ok(None));
}

#[test]
fn the_clock_bounds_both_forms() {
    let minutes = |n: u64| Nanos(NOW.0 + n * 60 * Nanos::PER_SECOND);
    assert!(get_object().verify_at(minutes(15), REGION).is_ok());
    let error = get_object().verify_at(minutes(16), REGION).unwrap_err();
    assert_eq!(error.code(), "RequestTimeTooSkewed");
    let before = Nanos(NOW.0 - 16 * 60 * Nanos::PER_SECOND);
    assert_eq!(get_object().verify_at(before, REGION).unwrap_err().code(), "RequestTimeTooSkewed");
    assert!(presigned("").verify_at(minutes(24 * 60), REGION).is_ok());
    let error = presigned("").verify_at(minutes(24 * 60 + 1), REGION).unwrap_err();
    assert!(
        matches!(error, AuthError::Expired { seconds: 86_400, .. })
            && error.to_string() == "Request has expired"
    );
    assert!(matches!(presigned("").verify_at(before, REGION), Err(AuthError::NotYetValid { .. })));
}

#[test]
fn another_region_is_named() {
    let error = get_object().verify_at(NOW, "eu-west-1").unwrap_err();
    assert_eq!(error.code(), "AuthorizationHeaderMalformed");
    assert!(error.to_string().ends_with("the region 'us-east-1' is wrong; expecting 'eu-west-1'"));
    assert!(
        matches!(error, AuthError::HeaderMalformed { expected_region: Some(region), .. } if &*region == "eu-west-1")
    );
    assert_eq!(presigned("").verify_at(NOW, "x").unwrap_err().code(), "AuthorizationQueryParametersError");
}

#[test]
fn a_mismatch_shows_what_was_signed() {
    let mut request = get_object();
    request.headers.insert("range", HeaderValue::from_static("bytes=0-8"));
    let AuthError::SignatureMismatch(mismatch) = request.verify().unwrap_err() else {
        panic!("another error")
    };
    assert!(
        mismatch.string_to_sign.starts_with("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/")
    );
    assert!(mismatch.canonical_request.starts_with("GET\n/test.txt\n\nhost:"));
    assert!(mismatch.canonical_request.ends_with(EMPTY_SHA256));
}

#[test]
fn unsigned_amz_headers_and_host_are_refused() {
    let mut request = get_object();
    request.headers.insert("x-amz-acl", HeaderValue::from_static("public-read"));
    let error = request.verify().unwrap_err();
    assert_eq!(error, AuthError::HeadersNotSigned { names: "x-amz-acl".into() });
    let mut request = presigned("");
    request.headers.insert("x-amz-acl", HeaderValue::from_static("public-read"));
    assert_eq!(request.verify().unwrap_err().code(), "AccessDenied");
    let text = get_object().headers["authorization"].to_str().unwrap().replace("=host;", "=");
    let mut request = get_object();
    request.headers.insert("authorization", HeaderValue::from_str(&text).unwrap());
    assert_eq!(request.verify().unwrap_err(), AuthError::HeadersNotSigned { names: "host".into() });
}

#[test]
fn malformed_headers_have_their_codes() {
    let code = |value: &str| {
        let mut request = get_object();
        request.headers.insert("authorization", HeaderValue::from_str(value).unwrap());
        request.verify().unwrap_err().code()
    };
    let fine = get_object().headers["authorization"].to_str().unwrap().to_string();
    assert_eq!(code("AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg="), "InvalidRequest");
    assert_eq!(code("Bearer x"), "InvalidArgument");
    let malformed = "AuthorizationHeaderMalformed";
    assert_eq!(code("AWS4-HMAC-SHA256"), malformed);
    assert_eq!(code("AWS4-HMAC-SHA256 Credential=a/b,SignedHeaders=host,Signature=x"), malformed);
    assert_eq!(code(&fine.replace("Signature=", "Sig=")), malformed);
    assert_eq!(code(&fine.replace("/20130524/", "/20130525/")), malformed);
    assert_eq!(code(&fine.replace("/20130524/", "/2013é/").replace('é', "e")), malformed);
    assert_eq!(code(&fine.replace("/s3/", "/sts/")), malformed);
    assert_eq!(code(&fine.replace("aws4_request", "aws5_request")), malformed);
    assert_eq!(code(&fine.replace("host;range", "range;host")), malformed);
    assert_eq!(code(&fine.replace("host;range", "host;host;range")), malformed);
    assert_eq!(code(&fine.replace("Signature=f0", "Signature=")), "SignatureDoesNotMatch");
    assert_eq!(code(&fine.replace("Signature=f0e8", "Signature=F0E8")), "SignatureDoesNotMatch");
    assert_eq!(code(&format!("{fine},Signature=aa")), malformed);
}

#[test]
fn malformed_queries_have_their_codes() {
    let code = |from: &str, to: &str| {
        let mut request = presigned("");
        assert!(request.query.contains(from));
        request.query = request.query.replace(from, to);
        request.verify().unwrap_err().code()
    };
    let malformed = "AuthorizationQueryParametersError";
    assert_eq!(code("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"), malformed);
    assert_eq!(code("X-Amz-Expires=86400&", ""), malformed);
    assert_eq!(code("Expires=86400", "Expires=604801"), malformed);
    assert_eq!(code("Expires=86400", "Expires=-1"), malformed);
    assert_eq!(code("Expires=86400", "Expires=0"), malformed);
    assert_eq!(code("Expires=86400", "Expires=soon"), malformed);
    assert_eq!(code("Date=20130524T000000Z", "Date=20130524"), malformed);
    assert_eq!(code("Date=20130524T", "Date=20130525T"), malformed);
    assert_eq!(code("SignedHeaders=host", "SignedHeaders="), malformed);
    assert_eq!(code("SignedHeaders=host", "SignedHeaders=range"), "AccessDenied");
    assert_eq!(code("Expires=86400", "Expires=86401"), "SignatureDoesNotMatch");
    assert_eq!(code("X-Amz-Algorithm=AWS4-HMAC-SHA256", "AWSAccessKeyId=x"), "InvalidRequest");
}

#[test]
fn other_refusals() {
    let edit = |edit: &dyn Fn(&mut Request)| {
        let mut request = get_object();
        edit(&mut request);
        request.verify().unwrap_err()
    };
    let drop_header = |name: &'static str| edit(&|request: &mut Request| drop(request.headers.remove(name)));
    assert_eq!(drop_header("x-amz-content-sha256"), AuthError::MissingContentSha256);
    assert_eq!(drop_header("x-amz-date"), AuthError::MissingDate);
    let bad =
        |r: &mut Request| drop(r.headers.insert("x-amz-content-sha256", HeaderValue::from_static("no")));
    assert_eq!(edit(&bad), AuthError::BadContentSha256);
    let bad = |r: &mut Request| drop(r.headers.insert("x-amz-date", HeaderValue::from_static("yesterday")));
    assert_eq!(edit(&bad), AuthError::MissingDate);
    assert_eq!(edit(&|request| request.query = presigned("").query), AuthError::TwoMechanisms);
    let sigv2 = |request: &mut Request| {
        request.headers.remove("authorization");
        request.query = "AWSAccessKeyId=x&Signature=y&Expires=1".into();
    };
    assert_eq!(edit(&sigv2), AuthError::UnsupportedMechanism);
}

#[test]
fn the_date_header_stands_in_for_x_amz_date() {
    let signer = Signer { access_key: ACCESS_KEY, secret: SECRET, region: REGION, session_token: None };
    let mut request = Request::new(Method::GET, "/k", "", &[("host", HOST)]);
    signer.sign(&Method::GET, "/k", "", &mut request.headers, UNSIGNED_PAYLOAD, NOW).unwrap();
    request.headers.remove("x-amz-date");
    request.headers.insert("date", HeaderValue::from_static("Fri, 24 May 2013 00:00:00 GMT"));
    // The signature no longer fits, but the time was understood.
    assert_eq!(request.verify().unwrap_err().code(), "SignatureDoesNotMatch");
}

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 %+/._~!*'()&=;,:@$-]{0,24}"
}

proptest! {
    #[test]
    fn what_the_signer_signs_verifies(key in any::<String>(), value in any::<String>(), meta in "[!-~ ]{0,20}") {
        let signer = Signer { access_key: ACCESS_KEY, secret: SECRET, region: REGION, session_token: Some("t/+=") };
        let path = format!("/bucket/{}", crate::codec::uri::encode_path(&key));
        let query = format!("z&prefix={}&prefix=", crate::codec::uri::encode_component(&value));
        let mut request = Request::new(
            Method::PUT, &path, &query, &[("host", HOST), ("x-amz-meta-a", &meta), ("x-amz-meta-a", "second")],
        );
        signer.sign(&Method::PUT, &path, &query, &mut request.headers, UNSIGNED_PAYLOAD, NOW).unwrap();
        prop_assert!(request.verify().is_ok());
        let url = Presign { method: &Method::PUT, host: HOST, raw_path: &path, raw_query: &query, expires_s: 60 };
        let target = signer.presign(&url, NOW).unwrap();
        let (path, query) = target.split_once('?').unwrap();
        prop_assert!(Request::new(Method::PUT, path, query, &[("host", HOST)]).verify().is_ok());
    }

    #[test]
    fn no_input_panics(
        path in token(), query in token(), authorization in token(), name in "x-amz-[a-z]{1,5}", value in token(),
        cut in 0usize..250,
    ) {
        let fine = get_object().headers["authorization"].to_str().unwrap().to_string();
        let spliced = format!("{}{authorization}", &fine[..cut.min(fine.len())]);
        let parameters = format!("{}{query}", &presigned("").query[..cut]);
        for (query, headers) in [
            (&query, vec![("host", HOST), ("authorization", &spliced), (&name, &value)]),
            (&parameters, vec![("host", HOST), (&name, &value)]),
        ] {
            let request = Request::new(Method::GET, &path, query, &headers);
            let Ok(query) = Query::parse(query) else { continue };
            let view = RequestView {
                method: &request.method, raw_path: &path, query: &query, headers: &request.headers,
            };
            if let Ok(Some(claim)) = parse(&view) {
                let result = verify(&claim, SECRET, &view, NOW, &Terms::s3(REGION), &mut SigningKeyCache::new(4));
                prop_assert!(result.is_err() || (spliced == fine && path == "/test.txt"));
            }
        }
    }
}
