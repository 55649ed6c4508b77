//! Requests signed by botocore (tests/vectors/make_sigv4.py) verify, and stop verifying when
//! anything that was signed is changed. Every byte of path, query and `Authorization` is flipped
//! once, every signed header is changed and removed. Bodies in chunks decode to what their
//! trailers say.

use basalt::base::time::Nanos;
use basalt::codec::checksum::{Checksum, ChecksumAlgorithm};
use basalt::codec::chunked::ChunkDecoder;
use basalt::codec::sigv4::{PayloadKind, RequestView, SigningKeyCache, Terms, Verified, parse, verify};
use basalt::codec::uri::{Query, decode_path};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;

#[derive(Deserialize)]
struct Oracle {
    access_key: String,
    secret: String,
    region: String,
    now: u64,
    requests: Vec<Request>,
}

#[derive(Deserialize, Clone)]
struct Request {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    /// Base64.
    body: String,
    session_token: Option<String>,
}

fn oracle() -> Oracle {
    serde_json::from_str(include_str!("vectors/sigv4.json")).unwrap()
}

/// The outcome of the whole check, as text when it fails.
fn check(oracle: &Oracle, request: &Request, cache: &mut SigningKeyCache) -> Result<Verified, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| error.to_string())?;
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    let method = Method::from_bytes(request.method.as_bytes()).unwrap();
    let query = Query::parse(&request.query).map_err(|error| error.to_string())?;
    let view = RequestView { method: &method, raw_path: &request.path, query: &query, headers: &headers };
    let claim = parse(&view).map_err(|error| error.to_string())?.ok_or("anonymous")?;
    if claim.access_key != oracle.access_key {
        return Err("another access key".into());
    }
    if claim.session_token != request.session_token.as_deref() {
        return Err("another session token".into());
    }
    let now = Nanos::from_seconds(oracle.now);
    verify(&claim, &oracle.secret, &view, now, &Terms::s3(&oracle.region), cache)
        .map_err(|error| error.to_string())
}

#[test]
fn every_request_verifies() {
    let (oracle, mut cache) = (oracle(), SigningKeyCache::new(16));
    assert!(oracle.requests.len() >= 60);
    for request in &oracle.requests {
        let verified =
            check(&oracle, request, &mut cache).unwrap_or_else(|e| panic!("{}: {e}", request.name));
        check_body(request, &verified);
    }
    assert_eq!(cache.len(), 1, "one day, one region, one key");
}

fn check_body(request: &Request, verified: &Verified) {
    let body = STANDARD.decode(&request.body).unwrap();
    match verified.payload {
        PayloadKind::Unsigned => {}
        PayloadKind::Sha256(_) => {
            let hash = Checksum::of(ChecksumAlgorithm::Sha256, &body);
            verified.payload.check_sha256(hash.bytes().try_into().unwrap()).unwrap();
        }
        PayloadKind::Streaming { trailer, .. } => {
            let header = |name| &request.headers.iter().find(|(have, _)| have == name).unwrap().1;
            let length = header("x-amz-decoded-content-length").parse().unwrap();
            let mut decoder = ChunkDecoder::new(verified.seed.clone(), trailer, length);
            let (mut input, mut data) = (Bytes::from(body), Vec::new());
            while let Some(piece) = decoder.next(&mut input).unwrap() {
                data.extend_from_slice(&piece);
            }
            let algorithm = ChecksumAlgorithm::from_header(header("x-amz-trailer")).unwrap();
            let trailers = decoder.finish().unwrap();
            let value = Checksum::of(algorithm, &data).to_base64();
            assert_eq!(trailers.get(algorithm.header()), Some(&*value), "{}", request.name);
        }
    }
}

#[test]
fn a_changed_target_or_authorization_is_refused() {
    let (oracle, mut cache) = (oracle(), SigningKeyCache::new(16));
    for request in &oracle.requests {
        let mut refused = |what: &str, changed: Request| {
            let result = check(&oracle, &changed, &mut cache);
            assert!(result.is_err(), "{}: {what} {} {}", request.name, changed.path, changed.query);
        };
        for path in flips(&request.path).filter(|path| decode_path(path) != decode_path(&request.path)) {
            refused("path", Request { path, ..request.clone() });
        }
        for query in flips(&request.query).filter(|query| meaning(query) != meaning(&request.query)) {
            refused("query", Request { query, ..request.clone() });
        }
        refused("query", Request { query: format!("{}&more=1", request.query), ..request.clone() });
        refused("path", Request { path: format!("{}/", request.path), ..request.clone() });
        refused("method", swapped_method(request));
        for (at, (_, value)) in request.headers.iter().enumerate().filter(|(_, (n, _))| n == "authorization")
        {
            for value in flips(value) {
                let mut changed = request.clone();
                changed.headers[at].1 = value;
                refused("authorization", changed);
            }
        }
    }
}

/// The parameters as the server reads them; the case of the signature's own name is not signed.
fn meaning(query: &str) -> Vec<(String, String)> {
    let pairs = Query::parse(query).map(|query| query.pairs().to_vec()).unwrap_or_default();
    let name = |name: &str| {
        if name.eq_ignore_ascii_case("x-amz-signature") { "x-amz-signature" } else { name }.into()
    };
    pairs.into_iter().map(|pair| (name(&pair.name), pair.value.into_owned())).collect()
}

/// The same request with another method.
fn swapped_method(request: &Request) -> Request {
    let method = if request.method == "POST" { "PATCH" } else { "POST" };
    Request { method: method.into(), ..request.clone() }
}

#[test]
fn a_changed_signed_header_is_refused() {
    let (oracle, mut cache) = (oracle(), SigningKeyCache::new(16));
    let mut changes = 0;
    for request in &oracle.requests {
        let authorization = request.headers.iter().find(|(name, _)| name == "authorization");
        let signed = authorization.map_or("SignedHeaders=host,", |(_, value)| value);
        let signed = signed.split_once("SignedHeaders=").unwrap().1.split_once(',').unwrap().0;
        for (at, (name, value)) in request.headers.iter().enumerate() {
            if !signed.split(';').any(|have| have == name) {
                continue;
            }
            let mut changed = request.clone();
            changed.headers[at].1 = format!("{value}x");
            assert!(check(&oracle, &changed, &mut cache).is_err(), "{}: {name}", request.name);
            changed.headers.remove(at);
            assert!(check(&oracle, &changed, &mut cache).is_err(), "{}: no {name}", request.name);
            changes += 1;
        }
        let mut changed = request.clone();
        changed.headers.push(("x-amz-more".into(), "1".into()));
        assert!(check(&oracle, &changed, &mut cache).is_err(), "{}", request.name);
    }
    assert!(changes > 150, "{changes}");
}

/// Every text that differs from `text` in one byte, which becomes a letter.
fn flips(text: &str) -> impl Iterator<Item = String> {
    let bytes = text.as_bytes().to_vec();
    (0..bytes.len()).map(move |at| {
        let mut changed = bytes.clone();
        changed[at] = if changed[at] == b'Z' { b'Y' } else { b'Z' };
        String::from_utf8(changed).unwrap()
    })
}
