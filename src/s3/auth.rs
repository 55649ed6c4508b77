//! Who is calling: the signature of a request against the root credentials.
//!
//! Owns the signing-key cache of its core. May use `codec::sigv4`, `s3::error`. There is one account
//! and one key pair; anonymous requests are refused, because there is no policy that could allow
//! them. Invariant: nothing of a request is acted upon before this has answered.

use std::cell::RefCell;

use super::error::{Code, Result, S3Error};
use crate::base::limits::SIGNING_KEYS_MAX;
use crate::base::time::Nanos;
use crate::codec::sigv4::{self, RequestView, SigningKeyCache, Verified};

/// An access key and its secret.
#[derive(Clone)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.access_key)
    }
}

pub(super) struct Authenticator {
    root: Credentials,
    region: String,
    keys: RefCell<SigningKeyCache>,
}

impl Authenticator {
    pub(super) fn new(root: Credentials, region: String) -> Self {
        Authenticator { root, region, keys: RefCell::new(SigningKeyCache::new(SIGNING_KEYS_MAX)) }
    }

    /// What the signature says about the body, once it is found to be right.
    pub(super) fn verify(&self, request: &RequestView<'_>, now: Nanos) -> Result<Verified> {
        let claim = sigv4::parse(request)?.ok_or(Code::AccessDenied)?;
        if claim.access_key != self.root.access_key {
            return Err(S3Error::new(Code::InvalidAccessKeyId).field("AWSAccessKeyId", claim.access_key));
        }
        if let Some(token) = claim.session_token {
            // Permanent credentials have none.
            return Err(S3Error::new(Code::InvalidToken).field("Token-0", token));
        }
        let mut keys = self.keys.borrow_mut();
        let secret = &self.root.secret_key;
        Ok(sigv4::verify(&claim, secret, request, now, &self.region, &mut keys)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::sigv4::{Signer, UNSIGNED_PAYLOAD};
    use crate::codec::uri::Query;
    use http::{HeaderMap, HeaderValue, Method};

    const NOW: Nanos = Nanos(1_369_353_600 * Nanos::PER_SECOND);

    fn verdict(access_key: &str, secret: &str, token: Option<&str>, signed: bool) -> Option<Code> {
        let root = Credentials { access_key: "root".into(), secret_key: "secret".into() };
        let authenticator = Authenticator::new(root, "us-east-1".into());
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("h"));
        let signer = Signer { access_key, secret, region: "us-east-1", session_token: token };
        if signed {
            signer.sign(&Method::GET, "/b/k", "", &mut headers, UNSIGNED_PAYLOAD, NOW).unwrap();
        }
        let query = Query::parse("").unwrap();
        let view = RequestView { method: &Method::GET, raw_path: "/b/k", query: &query, headers: &headers };
        authenticator.verify(&view, NOW).err().map(|error| error.code())
    }

    #[test]
    fn only_the_root_key_with_its_secret_passes() {
        assert_eq!(verdict("root", "secret", None, true), None);
        assert_eq!(verdict("root", "secret", None, false), Some(Code::AccessDenied));
        assert_eq!(verdict("root", "wrong", None, true), Some(Code::SignatureDoesNotMatch));
        assert_eq!(verdict("other", "secret", None, true), Some(Code::InvalidAccessKeyId));
        assert_eq!(verdict("root", "secret", Some("t"), true), Some(Code::InvalidToken));
    }
}
