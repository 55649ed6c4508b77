//! Which condition keys can ever have a value for which actions.
//!
//! S3 refuses a statement of a bucket policy whose condition asks for something that none of its actions
//! brings along: it would never do what it says. The table has the keys where that is plain; those that come
//! with every request, and those that are not in it, apply to everything.
//! Document: "Actions, resources, and condition keys for Amazon S3" (Service Authorization Reference).

use super::PolicyError;
use super::action::{Action, ActionSet};
use super::condition::Test;
use super::key::Name;

/// Refuses the statement when one of its tests is about no action that it means.
pub(super) fn check(tests: &[Test], actions: &ActionSet) -> Result<(), PolicyError> {
    let met = |test: &Test| Action::ALL.iter().any(|a| actions.contains(*a) && brings(*a, test.name()));
    match tests.iter().all(met) {
        true => Ok(()),
        false => Err(PolicyError::new(
            "Conditions do not apply to combination of actions and resources in statement",
        )),
    }
}

/// Whether a request for the action may have a value under the key.
fn brings(action: Action, name: Name) -> bool {
    use Action::*;
    let creates = matches!(action, PutObject | ReplicateObject | BypassGovernanceRetention);
    match name {
        Name::Prefix | Name::Delimiter | Name::MaxKeys => {
            matches!(action, ListBucket | ListBucketVersions | ListBucketMultipartUploads)
        }
        Name::CopySource | Name::MetadataDirective => creates,
        Name::RequestObjectTag | Name::RequestObjectTagKeys => {
            creates || matches!(action, PutObjectTagging | PutObjectVersionTagging | ReplicateTags)
        }
        // A write knows no tags of what was there before it, and a removal looks at none.
        Name::ExistingObjectTag => {
            let blind = matches!(action, DeleteObject | DeleteObjectVersion);
            let upload = matches!(action, AbortMultipartUpload | ListMultipartUploadParts);
            action.is_on_object() && !(creates || blind || upload)
        }
        Name::Acl
        | Name::GrantRead
        | Name::GrantWrite
        | Name::GrantReadAcp
        | Name::GrantWriteAcp
        | Name::GrantFullControl => {
            creates
                || matches!(action, PutObjectAcl | PutObjectVersionAcl | CreateBucket | PutBucketAcl)
                || matches!(action, CreateAccessPoint)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;

    #[test]
    fn a_condition_needs_an_action_that_knows_of_it() {
        let fits = |action: &str, key: &str| {
            let text = format!(
                "{{\"Statement\": {{\"Effect\": \"Deny\", \"Principal\": \"*\", \"Action\": {action}, \"Resource\": \
                 [\"arn:aws:s3:::b\", \"arn:aws:s3:::b/*\"], \"Condition\": {{\"StringEquals\": {{\"{key}\": \"x\"}}}}}}}}"
            );
            Policy::of_bucket(text.as_bytes(), "b")
                .expect("readable whatever it says")
                .check_applies()
                .is_ok()
        };
        for (action, key) in [
            ("\"s3:ListBucket\"", "s3:prefix"),
            ("\"s3:*\"", "s3:prefix"),
            ("[\"s3:GetObject\", \"s3:ListBucket\"]", "s3:delimiter"),
            ("\"s3:GetObject\"", "s3:ExistingObjectTag/a"),
            ("\"s3:PutObject\"", "s3:RequestObjectTag/a"),
            ("\"s3:PutObject\"", "s3:x-amz-copy-source"),
            ("\"s3:PutObjectAcl\"", "s3:x-amz-acl"),
            ("\"s3:DeleteObject\"", "aws:Referer"),
        ] {
            assert!(fits(action, key), "{action} {key}");
        }
        for (action, key) in [
            ("\"s3:GetObject\"", "s3:prefix"),
            ("[\"s3:DeleteObject\", \"s3:PutObject\"]", "s3:ExistingObjectTag/a"),
            ("\"s3:GetObject\"", "s3:RequestObjectTag/a"),
            ("\"s3:GetObject\"", "s3:x-amz-copy-source"),
            ("\"s3:Get*\"", "s3:x-amz-acl"),
        ] {
            assert!(!fits(action, key), "{action} {key}");
        }
    }
}
