//! The client's half: signing a request by header and presigning a URL.
//!
//! May use: the rest of `sigv4`, `base`, `codec`. Uses the same canonical form as the verifier, so
//! it cannot prove the verifier right; published examples and botocore's signatures do that.
//! Serves this project's own client calls and every test that needs a signed request.

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Method};

use super::canonical::{Reading, RequestView, Scope, append_string_to_sign, write_request};
use super::key::{ChunkSeed, SigningKey};
use super::{ALGORITHM, SERVICE, UNSIGNED_PAYLOAD};
use crate::base::time::Nanos;
use crate::codec::date::{FixedText, amz_date};
use crate::codec::uri::{Query, UriError, encode_component};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("the target cannot be signed: {0}")]
    Target(#[from] UriError),
    #[error("a credential holds characters that no header can carry")]
    Credential,
}

/// Credentials and the region to sign for.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    pub access_key: &'a str,
    pub secret: &'a str,
    pub region: &'a str,
    pub session_token: Option<&'a str>,
}

/// A URL to presign.
#[derive(Clone, Copy)]
pub struct Presign<'a> {
    pub method: &'a Method,
    /// The `Host` header that the client will send.
    pub host: &'a str,
    pub raw_path: &'a str,
    /// Without the `?`; may be empty.
    pub raw_query: &'a str,
    pub expires_s: u64,
}

/// Headers that a proxy or the transport may change.
const NEVER_SIGNED: [&str; 6] =
    ["authorization", "connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"];

impl Signer<'_> {
    /// Adds `x-amz-date`, `x-amz-content-sha256`, the session token and `authorization` to
    /// `headers`, which already hold `host`. `payload` is the value of `x-amz-content-sha256`.
    /// The seed is for the chunks of a signed stream.
    pub fn sign(
        &self,
        method: &Method,
        raw_path: &str,
        raw_query: &str,
        headers: &mut HeaderMap,
        payload: &str,
        now: Nanos,
    ) -> Result<ChunkSeed, SignError> {
        let timestamp = amz_date(now);
        let mut put = |name: &'static str, value: &str| -> Result<(), SignError> {
            let value = HeaderValue::from_str(value).map_err(|_| SignError::Credential)?;
            headers.insert(HeaderName::from_static(name), value);
            Ok(())
        };
        put("x-amz-date", &timestamp)?;
        put("x-amz-content-sha256", payload)?;
        if let Some(token) = self.session_token {
            put("x-amz-security-token", token)?;
        }
        let signed_headers = names_to_sign(headers);
        let query = Query::parse(raw_query)?;
        let request = RequestView { method, raw_path, query: &query, headers };
        let seed = self.seed(&request, &signed_headers, payload, &timestamp)?;
        let (access_key, scope, signature) = (self.access_key, &seed.scope, hex::encode(seed.signature));
        let value = format!(
            "{ALGORITHM} Credential={access_key}/{scope},SignedHeaders={signed_headers},Signature={signature}"
        );
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).map_err(|_| SignError::Credential)?);
        Ok(seed)
    }

    /// Gives the target, `path?query`, of a presigned URL. Only `host` is signed.
    pub fn presign(&self, url: &Presign<'_>, now: Nanos) -> Result<String, SignError> {
        let timestamp = amz_date(now);
        let scope = self.scope(&timestamp).text();
        let credential = encode_component(&format!("{}/{scope}", self.access_key));
        let mut raw_query = String::from(url.raw_query);
        if !raw_query.is_empty() {
            raw_query.push('&');
        }
        raw_query.push_str(&format!(
            "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={timestamp}\
             &X-Amz-Expires={}&X-Amz-SignedHeaders=host",
            url.expires_s
        ));
        if let Some(token) = self.session_token {
            raw_query.push_str(&format!("&X-Amz-Security-Token={}", encode_component(token)));
        }
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(url.host).map_err(|_| SignError::Credential)?;
        headers.insert(http::header::HOST, host);
        let query = Query::parse(&raw_query)?;
        let request =
            RequestView { method: url.method, raw_path: url.raw_path, query: &query, headers: &headers };
        let seed = self.seed(&request, "host", UNSIGNED_PAYLOAD, &timestamp)?;
        Ok(format!("{}?{raw_query}&X-Amz-Signature={}", url.raw_path, hex::encode(seed.signature)))
    }

    fn scope<'s>(&'s self, timestamp: &'s FixedText<16>) -> Scope<'s> {
        Scope { date: timestamp.as_str().split_at(8).0, region: self.region, service: SERVICE }
    }

    fn seed(
        &self,
        request: &RequestView<'_>,
        signed_headers: &str,
        payload: &str,
        timestamp: &FixedText<16>,
    ) -> Result<ChunkSeed, SignError> {
        let scope = self.scope(timestamp);
        let mut text = Vec::new();
        write_request(&mut text, request, signed_headers, payload, Reading::Encoded)?;
        let start = append_string_to_sign(&mut text, timestamp, &scope);
        let key = SigningKey::derive(self.secret, scope.date, scope.region, scope.service);
        let signature = key.sign(text.split_at(start).1);
        Ok(ChunkSeed { key, signature, timestamp: *timestamp.as_bytes(), scope: scope.text().into() })
    }
}

fn names_to_sign(headers: &HeaderMap) -> String {
    let mut names: Vec<&str> = headers.keys().map(|name| name.as_str()).collect();
    names.retain(|name| !NEVER_SIGNED.contains(name));
    names.sort_unstable();
    names.join(";")
}
