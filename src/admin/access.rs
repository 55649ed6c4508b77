//! Who may use the admin API: whoever signs with the root credentials, by header or presigned URL.
//!
//! Uses `codec::sigv4` with the rules of the S3 edge: region, service, clock skew and expiry count. Admin
//! requests have no body, so a signature over any payload is taken. The clock is passed in.

use std::cell::RefCell;
use std::rc::Rc;

use http::request::Parts;
use serde::Serialize;

use super::credentials::Credentials;
use crate::base::limits::ADMIN_SIGNING_KEYS_MAX;
use crate::base::time::Nanos;
use crate::codec::sigv4::{self, AuthError, RequestView, SigningKeyCache};
use crate::codec::uri::Query;

pub struct Access {
    root: Credentials,
    region: String,
    now: Rc<dyn Fn() -> Nanos>,
    keys: RefCell<SigningKeyCache>,
}

/// A refusal as the client sees it. It does not tell whether the access key or the secret was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    pub code: &'static str,
    pub message: String,
}

impl Access {
    pub fn new(root: Credentials, region: String, now: Rc<dyn Fn() -> Nanos>) -> Access {
        Access { root, region, now, keys: RefCell::new(SigningKeyCache::new(ADMIN_SIGNING_KEYS_MAX)) }
    }

    pub fn check(&self, request: &Parts) -> Result<(), Refused> {
        let query = Query::parse(request.uri.query().unwrap_or_default())
            .map_err(|e| Refused { code: "InvalidURI", message: e.to_string() })?;
        let view = RequestView {
            method: &request.method,
            raw_path: request.uri.path(),
            query: &query,
            headers: &request.headers,
        };
        let Some(claim) = sigv4::parse(&view).map_err(refused)? else {
            let message = "sign this request with the root credentials (AWS Signature Version 4)";
            return Err(Refused { code: "AccessDenied", message: message.to_owned() });
        };
        if claim.access_key != self.root.access_key {
            return Err(not_root());
        }
        let secret = &self.root.secret_key;
        let now = (self.now)();
        sigv4::verify(
            &claim,
            secret,
            &view,
            now,
            &sigv4::Terms::s3(&self.region),
            &mut self.keys.borrow_mut(),
        )
        .map(|_| ())
        .map_err(refused)
    }
}

fn refused(error: AuthError) -> Refused {
    match error {
        AuthError::SignatureMismatch(_) => not_root(),
        other => Refused { code: other.code(), message: other.to_string() },
    }
}

fn not_root() -> Refused {
    let message = "the request is not signed with the root credentials of this server: give theirs with --credentials, or with --access-key and --secret-key";
    Refused { code: "AccessDenied", message: message.to_owned() }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::codec::sigv4::{EMPTY_SHA256, Signer};
    use http::{HeaderValue, Method};

    const NOW: Nanos = Nanos(1_800_000_000 * Nanos::PER_SECOND);
    const SECRET: &str = "rootrootrootrootroot";

    fn root() -> Credentials {
        Credentials::new("ROOTROOTROOTROOT".to_owned(), SECRET.to_owned()).expect("within the bounds")
    }

    /// Judges by a clock that stands still.
    pub fn access() -> Access {
        Access::new(root(), "us-east-1".to_owned(), Rc::new(|| NOW))
    }

    /// A GET of `path` that `access` lets in.
    pub fn signed(path: &str) -> Parts {
        signed_by(path, &root().access_key, SECRET, "us-east-1", NOW)
    }

    /// The same by another method.
    pub fn signed_as(method: Method, path: &str) -> Parts {
        sign(method, path, &root().access_key, SECRET, "us-east-1", NOW)
    }

    fn signed_by(path: &str, access_key: &str, secret: &str, region: &str, now: Nanos) -> Parts {
        sign(Method::GET, path, access_key, secret, region, now)
    }

    fn sign(method: Method, path: &str, access_key: &str, secret: &str, region: &str, now: Nanos) -> Parts {
        let request = http::Request::builder().method(method.clone()).uri(path).body(()).expect("a request");
        let mut parts = request.into_parts().0;
        parts.headers.insert("host", HeaderValue::from_static("localhost:9000"));
        let signer = Signer { access_key, secret, region, session_token: None };
        let query = parts.uri.query().unwrap_or_default();
        signer
            .sign(&method, parts.uri.path(), query, &mut parts.headers, EMPTY_SHA256, now)
            .expect("it can be signed");
        parts
    }

    #[test]
    fn root_is_let_in_and_nobody_else() {
        let check = |key: &str, secret: &str, region: &str, now| {
            access().check(&signed_by("/-/admin/v1/status?a=b", key, secret, region, now)).map_err(|r| r.code)
        };
        let key = root().access_key;
        assert_eq!(check(&key, SECRET, "us-east-1", NOW), Ok(()));
        assert_eq!(check("OTHEROTHEROTHER0", SECRET, "us-east-1", NOW), Err("AccessDenied"));
        assert_eq!(check(&key, "another-secret-key", "us-east-1", NOW), Err("AccessDenied"));
        let later = Nanos(NOW.0 + 3600 * Nanos::PER_SECOND);
        assert_eq!(check(&key, SECRET, "us-east-1", later), Err("RequestTimeTooSkewed"));
        assert!(check(&key, SECRET, "eu-west-1", NOW).is_err());
    }

    #[test]
    fn what_was_signed_is_what_is_asked() {
        let mut request = signed("/-/admin/v1/status");
        request.uri = "/-/admin/v1/other".parse().expect("a path");
        assert_eq!(access().check(&request).map_err(|r| r.code), Err("AccessDenied"));
    }
}
