//! Which condition keys can ever have a value for which actions.
//!
//! S3 refuses a statement of a bucket policy whose condition asks for something that one of its actions
//! never brings along: it would not do what it says. Of a pattern with wildcards one action is enough. The
//! table has the keys where that is plain; those that come with every request, and those that are not in it,
//! apply to everything.
//! Document: "Actions, resources, and condition keys for Amazon S3" (Service Authorization Reference).

use super::action::{Action, ActionSet};
use super::condition::Test;
use super::key::Name;

/// Whether each pattern of the actions means one that brings along whatever the tests ask for.
pub(super) fn fits(tests: &[Test], patterns: &[ActionSet]) -> bool {
    tests.iter().all(|test| {
        let bringing = ActionSet::of(|action| brings(action, test.name()));
        // Actions of other services are not judged here.
        patterns.iter().all(|pattern| pattern.is_empty() || pattern.meets(&bringing))
    })
}

/// Whether a request for the action may have a value under the key.
fn brings(action: Action, name: Name) -> bool {
    use Action::*;
    let creates = matches!(action, PutObject | ReplicateObject | BypassGovernanceRetention);
    match name {
        Name::Prefix | Name::Delimiter | Name::MaxKeys => {
            matches!(action, ListBucket | ListBucketVersions)
        }
        Name::VersionId => {
            let plain = matches!(action, GetObject | GetObjectAcl | GetObjectTagging | DeleteObject)
                || matches!(action, PutObject | PutObjectAcl | PutObjectTagging | DeleteObjectTagging);
            action.is_on_object() && !plain
        }
        Name::CopySource | Name::MetadataDirective | Name::CreationOperation => creates,
        Name::LockMode | Name::LockUntil | Name::LockDays | Name::LockHold => {
            creates || matches!(action, PutObjectRetention | PutObjectLegalHold)
        }
        Name::InventoryFields => matches!(action, PutInventoryConfiguration),
        Name::LocationConstraint => matches!(action, CreateBucket),
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
            ("[\"s3:ListBucketVersions\", \"s3:List*\"]", "s3:delimiter"),
            ("\"s3:GetObjectVersion\"", "s3:VersionId"),
            ("\"s3:GetObject\"", "s3:ExistingObjectTag/a"),
            ("\"s3:PutObject\"", "s3:RequestObjectTag/a"),
            ("\"s3:PutObject\"", "s3:x-amz-copy-source"),
            ("\"s3:PutObjectAcl\"", "s3:x-amz-acl"),
            ("\"s3:DeleteObject\"", "aws:Referer"),
            ("[\"s3:PutObject\", \"s3:PutObjectRetention\"]", "s3:object-lock-mode"),
            ("\"s3:BypassGovernanceRetention\"", "s3:object-lock-remaining-retention-days"),
            ("\"s3:PutInventoryConfiguration\"", "s3:InventoryAccessibleOptionalFields"),
        ] {
            assert!(fits(action, key), "{action} {key}");
        }
        for (action, key) in [
            ("\"s3:GetObject\"", "s3:prefix"),
            ("\"s3:ListBucketMultipartUploads\"", "s3:prefix"),
            ("[\"s3:GetObject\", \"s3:ListBucket\"]", "s3:delimiter"),
            ("\"s3:GetObject\"", "s3:VersionId"),
            ("[\"s3:DeleteObject\", \"s3:PutObject\"]", "s3:ExistingObjectTag/a"),
            ("\"s3:GetObject\"", "s3:RequestObjectTag/a"),
            ("\"s3:GetObject\"", "s3:x-amz-copy-source"),
            ("\"s3:Get*\"", "s3:x-amz-acl"),
            ("\"s3:GetObjectRetention\"", "s3:object-lock-mode"),
            ("\"s3:DeleteObject\"", "s3:ObjectCreationOperation"),
            ("\"s3:GetInventoryConfiguration\"", "s3:InventoryAccessibleOptionalFields"),
        ] {
            assert!(!fits(action, key), "{action} {key}");
        }
    }
}
