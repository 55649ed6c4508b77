//! What a bucket is set to: the documents behind its sub-resources, read, stored, removed.
//!
//! A document is judged whole before anything is stored, so that what is stored is obeyed.
//! Policies, ACLs, versioning and locks have files of their own. May use `codec::xml`,
//! `object::registry::settings`.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::access_log::{admit_target, check_grantees};
use super::body::Promise;
use super::error::{Code, Result, S3Error};
use super::facts::Said;
use super::response::{Reply, empty, xml};
use super::route::Operation;
use super::service::Call;
use super::{authorize, headers, notification};
use crate::base::limits::BUCKET_TAGS_MAX;
use crate::base::rest::rest;
use crate::codec::xml::{
    Acl, Configuration, Cors, Encryption, Grantee, Lifecycle, Logging, Notification, ObjectOwnership, Payer,
    PublicAccessBlock, Tags, Website, check_tags,
};
use crate::iam::rules::Rules;
use crate::object::registry::settings::{BucketSettings, Kind, Setting};

// ---- Reading ----

pub(super) async fn get(operation: Operation, call: Call<'_>) -> Result<Reply> {
    let bucket = call.edge.store.settings(call.bucket)?;
    let mut reply = current(operation, &bucket.settings).map(xml)?;
    if operation == Operation::GetBucketLifecycleConfiguration {
        tell_minimum(&mut reply);
    }
    Ok(reply)
}

/// Part of every lifecycle configuration since 2024; some clients wait until it is told.
fn tell_minimum(reply: &mut Reply) {
    let (name, size) = (headers::TRANSITION_MINIMUM, headers::TRANSITION_MINIMUM_SIZE);
    reply.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(size));
}

fn current(operation: Operation, settings: &BucketSettings) -> Result<Vec<u8>> {
    match operation {
        Operation::GetBucketTagging => found(&settings.tags, Code::NoSuchTagSet),
        Operation::GetBucketCors => found(&settings.cors, Code::NoSuchCORSConfiguration),
        Operation::GetBucketWebsite => found(&settings.website, Code::NoSuchWebsiteConfiguration),
        Operation::GetBucketEncryption => {
            found(&settings.encryption, Code::ServerSideEncryptionConfigurationNotFoundError)
        }
        Operation::GetPublicAccessBlock => {
            found(&settings.public_access, Code::NoSuchPublicAccessBlockConfiguration)
        }
        Operation::GetBucketOwnershipControls => {
            found(&settings.ownership, Code::OwnershipControlsNotFoundError)
        }
        Operation::GetBucketLifecycleConfiguration => {
            found(&settings.lifecycle, Code::NoSuchLifecycleConfiguration)
        }
        Operation::GetBucketRequestPayment => Ok(settings.payer.unwrap_or(Payer::BucketOwner).render()),
        Operation::GetBucketLogging => Ok(settings.logging.clone().unwrap_or_default().render()),
        Operation::GetBucketNotificationConfiguration => {
            Ok(settings.notification.clone().unwrap_or_default().render())
        }
        _ => Err(Code::NotImplemented.into()),
    }
}

fn found<T: Configuration>(setting: &Option<T>, missing: Code) -> Result<Vec<u8>> {
    setting.as_ref().map(T::render).ok_or_else(|| missing.into())
}

// ---- Storing ----

pub(super) async fn put(operation: Operation, mut call: Call<'_>) -> Result<Reply> {
    let document = match operation {
        // The one of these documents that AWS takes without a digest.
        Operation::PutBucketNotificationConfiguration => {
            let promise = call.promise()?;
            present(call.document(promise).await?)?
        }
        _ => digested_document(&mut call).await?,
    };
    let setting = match operation {
        Operation::PutBucketTagging => {
            let tags = bucket_tags(Tags::parse(&document)?)?;
            authorize::admit_said(&call, Said::BucketTags(&tags.0)).await?;
            Setting::Tags(tags)
        }
        Operation::PutBucketCors => Setting::Cors(Cors::parse(&document)?.judge()?),
        Operation::PutBucketWebsite => Setting::Website(Website::parse(&document)?),
        Operation::PutBucketEncryption => Setting::Encryption(Encryption::parse(&document)?),
        Operation::PutPublicAccessBlock => Setting::PublicAccess(PublicAccessBlock::parse(&document)?),
        Operation::PutBucketOwnershipControls => ownership(&call, ObjectOwnership::parse(&document)?)?,
        Operation::PutBucketRequestPayment => Setting::Payer(Payer::parse(&document)?),
        Operation::PutBucketLifecycleConfiguration => {
            let lifecycle = Lifecycle::read(&document, rest).await?.judge()?;
            call.judge_again().await?;
            Setting::Lifecycle(lifecycle)
        }
        Operation::PutBucketLogging => Setting::Logging(logging(&call, Logging::parse(&document)?)?),
        Operation::PutBucketNotificationConfiguration => {
            let next = Notification::parse(&document)?;
            notification::check(&call, &next).await?;
            call.judge_again().await?;
            Setting::Notification(next)
        }
        _ => return Err(Code::NotImplemented.into()),
    };
    store(&call, setting).await?;
    let status = match operation {
        Operation::PutBucketTagging => StatusCode::NO_CONTENT,
        _ => StatusCode::OK,
    };
    let mut reply = empty(status);
    if operation == Operation::PutBucketLifecycleConfiguration {
        tell_minimum(&mut reply);
    }
    Ok(reply)
}

/// One that says only what holds anyway need not run, and is kept as no setting.
async fn store(call: &Call<'_>, setting: Setting) -> Result<()> {
    let kind = setting.kind();
    let off = match &setting {
        Setting::Logging(logging) => logging.target.is_none(),
        Setting::Notification(notification) => notification.rules.is_empty(),
        _ => false,
    };
    match off {
        true => call.edge.store.remove_setting(call.bucket, kind).await?,
        false => call.edge.store.set_setting(call.bucket, setting).await?,
    }
    Ok(())
}

/// The document of a request that must carry a digest of it: a flipped bit could open the bucket.
pub(super) async fn digested_document(call: &mut Call<'_>) -> Result<Vec<u8>> {
    let promise = digested(call)?;
    present(call.document(promise).await?)
}

pub(super) fn digested(call: &Call<'_>) -> Result<Promise> {
    let promise = call.promise()?;
    if !promise.has_digest() {
        let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
        return Err(S3Error::with(Code::InvalidRequest, message));
    }
    Ok(promise)
}

pub(super) fn present(document: Vec<u8>) -> Result<Vec<u8>> {
    if document.is_empty() { Err(Code::MissingRequestBodyError.into()) } else { Ok(document) }
}

pub(super) fn bucket_tags(tags: Tags) -> Result<Tags> {
    check_tags(&tags.0, BUCKET_TAGS_MAX)?;
    Ok(tags)
}

fn logging(call: &Call<'_>, mut logging: Logging) -> Result<Logging> {
    if let Some(target) = &mut logging.target {
        check_grantees(call, target)?;
        admit_target(call, target)?;
    }
    Ok(logging)
}

/// ACLs are not turned off while the ACL of the bucket lets others in.
fn ownership(call: &Call<'_>, next: ObjectOwnership) -> Result<Setting> {
    let bucket = call.edge.store.settings(call.bucket)?;
    let shared = |acl: &Acl| {
        let owners =
            |grantee: &Grantee| matches!(grantee, Grantee::User(user) if user.id == bucket.value.owner);
        !acl.grants.iter().all(|grant| owners(&grant.grantee))
    };
    match next == ObjectOwnership::BucketOwnerEnforced && bucket.settings.acl.as_ref().is_some_and(shared) {
        true => Err(Code::InvalidBucketAclWithObjectOwnership.into()),
        false => Ok(Setting::Ownership(next)),
    }
}

// ---- Removing ----

pub(super) async fn delete(operation: Operation, call: Call<'_>) -> Result<Reply> {
    let kind = match operation {
        Operation::DeleteBucketTagging => Kind::Tags,
        Operation::DeleteBucketCors => Kind::Cors,
        Operation::DeleteBucketWebsite => Kind::Website,
        Operation::DeleteBucketEncryption => Kind::Encryption,
        Operation::DeletePublicAccessBlock => Kind::PublicAccess,
        Operation::DeleteBucketOwnershipControls => Kind::Ownership,
        Operation::DeleteBucketLifecycle => Kind::Lifecycle,
        _ => return Err(Code::NotImplemented.into()),
    };
    call.edge.store.remove_setting(call.bucket, kind).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

// ---- Request payment ----

/// Whether the caller pays for this request. One who is not the owner must say so where that is asked;
/// nobody in particular cannot pay.
pub(super) fn charged(call: &Call<'_>) -> Result<bool> {
    call.rules.as_ref().map_or(Ok(false), |rules| charged_by(call, rules))
}

/// The same for what the request has to do with this bucket, as with that of the source of a copy.
pub(super) fn charged_by(call: &Call<'_>, rules: &Rules) -> Result<bool> {
    if !rules.requester_pays || call.caller.canonical() == Some(&*rules.owner) {
        return Ok(false);
    }
    let header = headers::text(call.headers, PAYER)?.or_else(|| call.query.get_any_case(PAYER));
    match header.is_some_and(|payer| payer == "requester") && !call.caller.is_anonymous() {
        true => Ok(true),
        false => Err(Code::AccessDenied.into()),
    }
}

/// Tells the caller that he pays.
pub(super) fn charged_header(headers: &mut HeaderMap, is_charged: bool) {
    if is_charged {
        headers.insert(CHARGED, HeaderValue::from_static("requester"));
    }
}

const PAYER: &str = "x-amz-request-payer";
const CHARGED: HeaderName = HeaderName::from_static("x-amz-request-charged");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_set_is_said_as_s3_says_it() {
        let code = |operation| current(operation, &BucketSettings::default()).map_err(|error| error.code());
        assert_eq!(code(Operation::GetBucketCors), Err(Code::NoSuchCORSConfiguration));
        assert_eq!(code(Operation::GetBucketTagging), Err(Code::NoSuchTagSet));
        let text = String::from_utf8(code(Operation::GetBucketRequestPayment).unwrap()).unwrap();
        assert!(text.contains("<Payer>BucketOwner</Payer>"), "{text}");
        assert!(code(Operation::GetBucketLogging).is_ok());
        assert!(code(Operation::GetBucketNotificationConfiguration).is_ok());
    }
}
