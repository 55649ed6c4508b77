//! Who is calling: the signature of a request against the secret of its access key.
//!
//! Owns the signing-key cache of its core. May use `codec::{sigv2, sigv4}`, `iam`, `s3::error`. A request without a
//! signature comes from nobody in particular, and what such a one may do is decided like everything else
//! (`authorize`). Invariant: nothing of a request is acted upon before this has answered.

use std::cell::RefCell;
use std::rc::Rc;

use super::error::{Code, Result, S3Error};
use super::route;
use crate::base::limits::SIGNING_KEYS_MAX;
use crate::base::time::Nanos;
use crate::catalog::keyuse::{KeyUse, Service};
use crate::codec::sigv2;
use crate::codec::sigv4::{
    self, PayloadKind, RequestView, SERVICE, SigningKeyCache, Terms, Verified, payload_kind,
};
use crate::iam::Caller;
use crate::object::registry::identities::Identities;

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
    identities: Rc<Identities>,
    region: String,
    keys: RefCell<SigningKeyCache>,
}

/// Who asks, and what the signature says about the body.
pub(super) struct Identified {
    pub caller: Caller,
    pub verified: Verified,
    pub proof: Option<Proof>,
}

/// How the caller showed who it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    pub carrier: Carrier,
    pub scheme: Scheme,
    pub time: Nanos,
}

/// Where the signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Header,
    /// Of a presigned URL.
    Query,
    /// Of PostObject.
    Form,
}

impl Carrier {
    fn of(presigned: bool) -> Carrier {
        if presigned { Carrier::Query } else { Carrier::Header }
    }
}

/// Signature Version 2 or 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    V2,
    V4,
}

/// AWS's oldest region: clients sign in it for services that have none, and an owner may make a bucket again in it.
pub(super) const GLOBAL_REGION: &str = "us-east-1";

impl Authenticator {
    pub(super) fn new(identities: Rc<Identities>, region: String) -> Self {
        Authenticator { identities, region, keys: RefCell::new(SigningKeyCache::new(SIGNING_KEYS_MAX)) }
    }

    /// Of a request to S3. `host_bucket` is the bucket that the host names, if it does.
    pub(super) fn verify(
        &self,
        request: &RequestView<'_>,
        now: Nanos,
        host_bucket: Option<&str>,
    ) -> Result<Identified> {
        if let Some(claim) = sigv2::parse(request)? {
            return self.check_v2(&claim, request, now, host_bucket);
        }
        match sigv4::parse(request)? {
            Some(claim) => self.check(&claim, request, now, &Terms::s3(&self.region)),
            None => anonymous(request),
        }
    }

    /// Of a request to IAM or STS, whose body has been read.
    pub(super) fn verify_query(
        &self,
        request: &RequestView<'_>,
        now: Nanos,
        service: &str,
        body_sha256: &str,
    ) -> Result<Identified> {
        let claim = sigv4::parse(request)?.ok_or(Code::AccessDenied)?;
        let region = if claim.region == GLOBAL_REGION { GLOBAL_REGION } else { &self.region };
        self.check(&claim, request, now, &Terms { region, service, body_sha256: Some(body_sha256) })
    }

    fn check(
        &self,
        claim: &sigv4::Claim<'_>,
        request: &RequestView<'_>,
        now: Nanos,
        terms: &Terms<'_>,
    ) -> Result<Identified> {
        let service = match terms.service {
            "iam" => Service::Iam,
            "sts" => Service::Sts,
            _ => Service::S3,
        };
        let used = KeyUse::new(now, service, terms.region == GLOBAL_REGION);
        let (caller, verified) = self.known(claim.access_key, claim.session_token, used, |secret| {
            let mut keys = self.keys.borrow_mut();
            Ok(sigv4::verify(claim, secret, request, now, terms, &mut keys)?)
        })?;
        let proof =
            Proof { carrier: Carrier::of(claim.expires_s.is_some()), scheme: Scheme::V4, time: claim.time };
        Ok(Identified { caller, verified, proof: Some(proof) })
    }

    fn check_v2(
        &self,
        claim: &sigv2::Claim<'_>,
        request: &RequestView<'_>,
        now: Nanos,
        host_bucket: Option<&str>,
    ) -> Result<Identified> {
        let terms = sigv2::Terms { host_bucket, is_signed_parameter: route::chooses };
        let used = KeyUse::new(now, Service::S3, self.region == GLOBAL_REGION);
        let (caller, verified) = self.known(claim.access_key, claim.session_token, used, |secret| {
            sigv2::verify(claim, secret, request, now, &terms)?;
            unsigned_body(request)
        })?;
        let proof =
            Proof { carrier: Carrier::of(claim.expires.is_some()), scheme: Scheme::V2, time: claim.time };
        Ok(Identified { caller, verified, proof: Some(proof) })
    }

    /// Whom an access key opens to, if `prove` finds its secret behind the request.
    fn known(
        &self,
        access_key: &str,
        session_token: Option<&str>,
        used: KeyUse,
        prove: impl FnOnce(&str) -> Result<Verified>,
    ) -> Result<(Caller, Verified)> {
        let proved = Caller::of_key(&self.identities, access_key, used, |secret| match session_token {
            // Permanent credentials have none.
            Some(token) => Err(S3Error::new(Code::InvalidToken).field("Token-0", token)),
            None => prove(secret),
        });
        let unknown = || S3Error::new(Code::InvalidAccessKeyId).field("AWSAccessKeyId", access_key);
        proved.ok_or_else(unknown)?
    }
}

fn anonymous(request: &RequestView<'_>) -> Result<Identified> {
    let verified = unsigned_body(request)?;
    Ok(Identified { caller: Caller::Anonymous, verified, proof: None })
}

/// What is known of a body that no signature covers.
fn unsigned_body(request: &RequestView<'_>) -> Result<Verified> {
    let payload = payload_kind(request.headers)?.unwrap_or(PayloadKind::Unsigned);
    if matches!(payload, PayloadKind::Streaming { signed: true, .. }) {
        // Its chunks would have to be signed by somebody.
        return Err(Code::AccessDenied.into());
    }
    Ok(Verified { payload, seed: None })
}

/// The service a request to `/` is signed for.
pub(super) fn service_of(request: &RequestView<'_>) -> &'static str {
    match sigv4::claimed_service(request) {
        Some("iam") => "iam",
        Some("sts") => "sts",
        _ => SERVICE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::identity::KeyValue;
    use crate::codec::sigv4::{Signer, UNSIGNED_PAYLOAD};
    use crate::codec::uri::Query;
    use crate::iam::accounts::root_account;
    use http::{HeaderMap, HeaderValue, Method};

    const NOW: Nanos = Nanos(1_369_353_600 * Nanos::PER_SECOND);

    fn verdict(access_key: &str, secret: &str, token: Option<&str>, signed: bool) -> Option<Code> {
        let identities = Rc::new(Identities::default());
        let (id, account) = root_account(1, KeyValue::new("root".into(), "secret".into(), Nanos(0)));
        identities.install_root(id, account);
        let authenticator = Authenticator::new(identities, "us-east-1".into());
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("h"));
        let signer = Signer { access_key, secret, region: "us-east-1", session_token: token };
        if signed {
            signer.sign(&Method::GET, "/b/k", "", &mut headers, UNSIGNED_PAYLOAD, NOW).unwrap();
        }
        let query = Query::parse("").unwrap();
        let view = RequestView { method: &Method::GET, raw_path: "/b/k", query: &query, headers: &headers };
        let found = authenticator.verify(&view, NOW, None);
        if let Ok(found) = &found {
            assert_eq!(found.caller.is_anonymous(), !signed);
        }
        found.err().map(|error| error.code())
    }

    #[test]
    fn a_known_key_with_its_secret_passes_and_nobody_is_nobody() {
        assert_eq!(verdict("root", "secret", None, true), None);
        assert_eq!(verdict("root", "secret", None, false), None);
        assert_eq!(verdict("root", "wrong", None, true), Some(Code::SignatureDoesNotMatch));
        assert_eq!(verdict("other", "secret", None, true), Some(Code::InvalidAccessKeyId));
        assert_eq!(verdict("root", "secret", Some("t"), true), Some(Code::InvalidToken));
    }
}
