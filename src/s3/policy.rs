//! Bucket policies: Put, Get, Delete, and whether one is public.
//!
//! A policy is checked whole before it is stored, and what is stored is enforced from the moment of the
//! answer on every core. It is kept with the ids of the users it names (`iam::principals`). May use `codec::policy`,
//! `object::registry::settings`.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use super::error::{Code, Result, S3Error};
use super::response::{Body, Reply, empty, xml};
use super::service::Call;
use super::settings::present;
use crate::base::limits::POLICY_BYTES_MAX;
use crate::codec::xml::XmlWriter;
use crate::iam::acl::is_public;
use crate::iam::principals::{self, Refused};
use crate::object::registry::settings::{self, Kind, Setting};

pub(super) async fn put(mut call: Call<'_>) -> Result<Reply> {
    let promise = call.promise()?;
    if promise.size().is_some_and(|size| size > POLICY_BYTES_MAX as u64) {
        let message = format!("Policy exceeds the maximum allowed document size of {POLICY_BYTES_MAX}.");
        return Err(S3Error::with(Code::MalformedPolicy, message));
    }
    let document = present(call.document(promise).await?)?;
    let (policy, text) =
        principals::read(call.edge.store.identities(), &document, call.bucket).map_err(malformed)?;
    if policy.is_public() && call.rules()?.block.block_public_policy {
        let message = "Access Denied: public policies are prevented by the BlockPublicPolicy setting in S3 Block \
                       Public Access.";
        return Err(S3Error::with(Code::AccessDenied, message));
    }
    let setting = Setting::Policy(settings::Policy { text });
    call.edge.store.set_setting(call.bucket, setting).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn malformed(refused: Refused) -> S3Error {
    match refused {
        Refused::Malformed(error) => S3Error::with(Code::MalformedPolicy, error.to_string()),
        Refused::Unknown { kind, name } => {
            S3Error::with(Code::MalformedPolicy, "Invalid principal in policy")
                .field("Detail", format!("\"{kind}\" : \"{name}\""))
        }
    }
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply> {
    let found = call.edge.store.settings(call.bucket)?;
    let policy = found.settings.policy.as_ref().ok_or(Code::NoSuchBucketPolicy)?;
    let text = principals::told(call.edge.store.identities(), &policy.text);
    let mut reply = Response::new(Body::full(text));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(reply)
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply> {
    call.edge.store.remove_setting(call.bucket, Kind::Policy).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Public is a bucket whose policy or ACL lets in callers that nobody has named; one without either is not.
pub(super) async fn status(call: Call<'_>) -> Result<Reply> {
    let rules = call.rules()?;
    let listed = rules.grants.as_deref().is_some_and(is_public);
    let by_acl = rules.has_acls() && !rules.block.ignore_public_acls && listed;
    let mut w = XmlWriter::new();
    w.open_root("PolicyStatus");
    w.boolean("IsPublic", rules.public || by_acl);
    w.close("PolicyStatus");
    Ok(xml(w.finish()))
}
