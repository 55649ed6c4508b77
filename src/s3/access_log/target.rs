//! Who may be the target of access logs, and whether logs may be delivered into it.
//!
//! What a target may be is judged when logging is set up, and again at each delivery, because buckets and policies
//! change meanwhile. Logs are written by `logging.s3.amazonaws.com`, a service that the one evaluator knows as
//! a caller: the policy of the target, or its ACL where ACLs are on, lets it in. May use `iam`, `s3::acl`.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html

use super::deliver::log_key;
use crate::base::limits::LOG_PREFIX_BYTES_MAX;
use crate::codec::xml::{Grant, LogTarget};
use crate::iam::caller::LOG_DELIVERY;
use crate::iam::delivery::Delivery;
use crate::iam::rules::Rules;
use crate::s3::Shared;
use crate::s3::acl::check_grants;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::service::Call;

/// For PutBucketLogging. A target without ACLs is let in by its policy, which may come later: until then
/// deliveries are refused, counted and reported, as AWS has it but for the report.
pub(in crate::s3) fn admit_target(call: &Call<'_>, target: &LogTarget) -> Result<()> {
    let refused = |message: &'static str| {
        S3Error::with(Code::InvalidTargetBucketForLogging, message).field("TargetBucket", &*target.bucket)
    };
    if target.prefix.len() > LOG_PREFIX_BYTES_MAX {
        return Err(S3Error::argument("TargetPrefix", &target.prefix, "The target prefix is too long"));
    }
    let rules = call.edge.rules(&target.bucket).map_err(|error| match error.code() {
        Code::NoSuchBucket => refused("The target bucket for logging does not exist"),
        _ => error,
    })?;
    let source = call.rules()?;
    if rules.owner != source.owner {
        return Err(refused("The owner for the bucket to be logged and the target bucket must be the same."));
    }
    if !rules.has_acls() {
        return match target.grants.is_empty() {
            true => Ok(()),
            false => Err(Code::AccessControlListNotSupported.into()),
        };
    }
    let (now, unique) = (call.edge.store.now(), "0000000000000000");
    let key = log_key(call.edge, call.bucket, &source.owner, target, now, now, unique);
    match may_deliver(call.edge, &rules, call.bucket, &target.bucket, &key) {
        true => Ok(()),
        false => Err(refused(
            "You must give the log-delivery group WRITE and READ_ACP permissions to the target bucket",
        )),
    }
}

/// Grantees of the logs are groups, and accounts that there are; stored as they are shown.
pub(in crate::s3) fn check_grantees(call: &Call<'_>, target: &mut LogTarget) -> Result<()> {
    let grants = std::mem::take(&mut target.grants);
    let grants = grants.into_iter().map(|(grantee, permission)| Grant { grantee, permission }).collect();
    let checked = check_grants(call, grants)?;
    target.grants = checked.into_iter().map(|grant| (grant.grantee, grant.permission)).collect();
    Ok(())
}

/// Whether the log of `bucket` may be written to `key` of the target, of which `rules` are.
pub(super) fn may_deliver(edge: &Shared, rules: &Rules, bucket: &str, target: &str, key: &str) -> bool {
    let (region, now) = (edge.settings.region.as_str(), edge.store.now());
    let delivery = Delivery { service: LOG_DELIVERY, source: bucket, acl: None, region, now };
    delivery.is_allowed(edge.store.identities(), rules, target, key)
}
