//! May this caller do this: each operation with the actions it needs, asked of the one evaluator.
//!
//! Owns the table from operations to actions. Runs after the signature and before the operation, on the
//! head alone; where policies may ask for what a body says, it runs again when that is read (`admit_said`). What
//! depends on an object that is there (its owner, its ACL, its tags) is decided when it was opened, on that very
//! version; so is whether somebody may hear that a key does not exist, which takes ListBucket. May use `iam`,
//! `s3::facts`, `object::store`.
//!
//! Invariant: an operation that this table does not know does not compile, so none is let through unasked.

use std::rc::Rc;

use http::{HeaderMap, HeaderName};
use smallvec::{SmallVec, smallvec};

use super::error::{Code, Result, S3Error};
use super::facts::{Facts, Said, creates_object, of_body};
use super::route::Operation;
use super::service::Call;
use super::{headers, multipart};
use crate::codec::policy::{Action, is_account_id};
use crate::codec::xml::{Acl, AclOwner, Grant};
use crate::iam::judge::{ObjectSide, Wish};
use crate::iam::rules::Rules;
use crate::iam::{Caller, acl};
use crate::object::error::ObjectError;
use crate::object::meta::ObjectMeta;
use crate::object::store::Object;

/// What an operation needs.
#[derive(Clone, Copy)]
enum Need {
    /// Nothing, or what the operation asks itself when it knows more.
    Nothing,
    /// Of the caller's own account.
    Account(Action),
    NewBucket,
    Bucket(Action),
    /// Of the policy of a bucket, which is its owner's affair.
    Policy(Action),
    /// Of an object that need not be there.
    Object(Action),
    /// The same, to delete it.
    Deletion(Action),
    /// Of an upload, which is also its initiator's.
    Upload(Action),
    /// Of an object that the operation opens and hands to `opened`.
    Opened(Action),
    /// Of an object that the operation changes by `s3::amend`, which asks `to_change`.
    Changed(Action),
}

// tidy: table
fn need(operation: Operation, version: bool) -> Need {
    use Operation::*;
    let of = |plain: Action, versioned: Action| if version { versioned } else { plain };
    match operation {
        // A site asks for each object that it opens.
        Other | PostObject | Operator | Preflight | Website | IamQuery | DeleteObjects => Need::Nothing,
        ListBuckets => Need::Account(Action::ListAllMyBuckets),
        CreateBucket => Need::NewBucket,
        HeadBucket | ListObjects | ListObjectsV2 => Need::Bucket(Action::ListBucket),
        ListObjectVersions => Need::Bucket(Action::ListBucketVersions),
        ListMultipartUploads => Need::Bucket(Action::ListBucketMultipartUploads),
        DeleteBucket => Need::Bucket(Action::DeleteBucket),
        GetBucketLocation => Need::Bucket(Action::GetBucketLocation),
        GetObject | HeadObject => Need::Opened(of(Action::GetObject, Action::GetObjectVersion)),
        GetObjectAttributes => {
            Need::Opened(of(Action::GetObjectAttributes, Action::GetObjectVersionAttributes))
        }
        PutObject
        | CopyObject
        | CreateMultipartUpload
        | UploadPart
        | UploadPartCopy
        | CompleteMultipartUpload => Need::Object(Action::PutObject),
        DeleteObject => Need::Deletion(of(Action::DeleteObject, Action::DeleteObjectVersion)),
        AbortMultipartUpload => Need::Upload(Action::AbortMultipartUpload),
        ListParts => Need::Upload(Action::ListMultipartUploadParts),
        GetObjectAcl => Need::Opened(of(Action::GetObjectAcl, Action::GetObjectVersionAcl)),
        PutObjectAcl => Need::Changed(of(Action::PutObjectAcl, Action::PutObjectVersionAcl)),
        GetObjectTagging => Need::Opened(of(Action::GetObjectTagging, Action::GetObjectVersionTagging)),
        DeleteObjectTagging => {
            Need::Changed(of(Action::DeleteObjectTagging, Action::DeleteObjectVersionTagging))
        }
        PutObjectTagging => Need::Changed(of(Action::PutObjectTagging, Action::PutObjectVersionTagging)),
        GetObjectRetention => Need::Opened(Action::GetObjectRetention),
        PutObjectRetention => Need::Changed(Action::PutObjectRetention),
        GetObjectLegalHold => Need::Opened(Action::GetObjectLegalHold),
        PutObjectLegalHold => Need::Changed(Action::PutObjectLegalHold),
        PutBucketVersioning => Need::Bucket(Action::PutBucketVersioning),
        PutObjectLockConfiguration => Need::Bucket(Action::PutBucketObjectLockConfiguration),
        GetBucketAcl => Need::Bucket(Action::GetBucketAcl),
        PutBucketAcl => Need::Bucket(Action::PutBucketAcl),
        GetBucketPolicy => Need::Policy(Action::GetBucketPolicy),
        PutBucketPolicy => Need::Policy(Action::PutBucketPolicy),
        DeleteBucketPolicy => Need::Policy(Action::DeleteBucketPolicy),
        GetBucketPolicyStatus => Need::Bucket(Action::GetBucketPolicyStatus),
        GetBucketVersioning => Need::Bucket(Action::GetBucketVersioning),
        GetBucketTagging => Need::Bucket(Action::GetBucketTagging),
        GetBucketCors => Need::Bucket(Action::GetBucketCORS),
        GetBucketLifecycleConfiguration => Need::Bucket(Action::GetLifecycleConfiguration),
        GetBucketWebsite => Need::Bucket(Action::GetBucketWebsite),
        GetBucketEncryption => Need::Bucket(Action::GetEncryptionConfiguration),
        GetBucketReplication => Need::Bucket(Action::GetReplicationConfiguration),
        GetObjectLockConfiguration => Need::Bucket(Action::GetBucketObjectLockConfiguration),
        GetPublicAccessBlock => Need::Bucket(Action::GetBucketPublicAccessBlock),
        GetBucketOwnershipControls => Need::Bucket(Action::GetBucketOwnershipControls),
        GetBucketRequestPayment => Need::Bucket(Action::GetBucketRequestPayment),
        GetBucketLogging => Need::Bucket(Action::GetBucketLogging),
        GetBucketNotificationConfiguration => Need::Bucket(Action::GetBucketNotification),
        PutBucketTagging | DeleteBucketTagging => Need::Bucket(Action::PutBucketTagging),
        PutBucketCors | DeleteBucketCors => Need::Bucket(Action::PutBucketCORS),
        PutBucketWebsite => Need::Bucket(Action::PutBucketWebsite),
        DeleteBucketWebsite => Need::Bucket(Action::DeleteBucketWebsite),
        PutBucketEncryption | DeleteBucketEncryption => Need::Bucket(Action::PutEncryptionConfiguration),
        PutPublicAccessBlock | DeletePublicAccessBlock => Need::Bucket(Action::PutBucketPublicAccessBlock),
        PutBucketOwnershipControls | DeleteBucketOwnershipControls => {
            Need::Bucket(Action::PutBucketOwnershipControls)
        }
        PutBucketRequestPayment => Need::Bucket(Action::PutBucketRequestPayment),
        PutBucketLogging => Need::Bucket(Action::PutBucketLogging),
        PutBucketLifecycleConfiguration | DeleteBucketLifecycle => {
            Need::Bucket(Action::PutLifecycleConfiguration)
        }
        PutBucketNotificationConfiguration => Need::Bucket(Action::PutBucketNotification),
        PutBucketInventoryConfiguration | DeleteBucketInventoryConfiguration => {
            Need::Bucket(Action::PutInventoryConfiguration)
        }
        GetBucketInventoryConfiguration | ListBucketInventoryConfigurations => {
            Need::Bucket(Action::GetInventoryConfiguration)
        }
        GetBucketAccelerateConfiguration => Need::Bucket(Action::GetAccelerateConfiguration),
    }
}

/// What the headers of a write ask for besides. Where ACLs are off the one that may come along says what holds anyway,
/// so nobody needs a right to it (Controlling ownership of objects, Amazon S3 User Guide).
fn asked_along(operation: Operation, headers: &HeaderMap, rules: &Rules) -> SmallVec<[Action; 2]> {
    let mut more: SmallVec<[Action; 2]> = smallvec![];
    let writes =
        matches!(operation, Operation::PutObject | Operation::CopyObject | Operation::CreateMultipartUpload);
    if writes {
        let says_nothing = !rules.has_acls()
            && !has_grants(headers)
            && headers.get("x-amz-acl").is_some_and(|acl| acl == "bucket-owner-full-control");
        if has_acl(headers) && !says_nothing {
            more.push(Action::PutObjectAcl);
        }
        if headers.contains_key("x-amz-tagging") {
            more.push(Action::PutObjectTagging);
        }
        if headers.contains_key("x-amz-object-lock-mode") {
            more.push(Action::PutObjectRetention);
        }
        if headers.contains_key("x-amz-object-lock-legal-hold") {
            more.push(Action::PutObjectLegalHold);
        }
    }
    let bypass = headers.get("x-amz-bypass-governance-retention");
    if bypass.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true")) {
        more.push(Action::BypassGovernanceRetention);
    }
    more
}

/// Whether a request brings an ACL.
pub(super) fn has_acl(headers: &HeaderMap) -> bool {
    headers.contains_key("x-amz-acl") || has_grants(headers)
}

fn has_grants(headers: &HeaderMap) -> bool {
    let grants = |name: &str| acl::GRANT_HEADERS.iter().any(|(known, _)| *known == name);
    headers.keys().map(HeaderName::as_str).any(grants)
}

/// A key in a bucket, what the bucket lays down, and what the body says of it.
pub(super) struct Site<'a> {
    pub rules: &'a Rules,
    pub bucket: &'a str,
    /// Empty for the bucket itself.
    pub key: &'a str,
    pub version: Option<&'a str>,
    pub said: Said<'a>,
}

/// Before the operation.
pub(super) async fn admit(call: &Call<'_>) -> Result<()> {
    if let Some(rules) = &call.rules {
        check_owner(call, rules, "x-amz-expected-bucket-owner")?;
        if call.is_trusted(rules) {
            return Ok(());
        }
    }
    Box::pin(ask(call, Said::Unread(of_body(call.operation)))).await
}

/// Once the body has been read, of each operation in `of_body`.
pub(super) async fn admit_said(call: &Call<'_>, said: Said<'_>) -> Result<()> {
    match &call.rules {
        Some(rules) if call.is_trusted(rules) => Ok(()),
        _ => Box::pin(ask(call, said)).await,
    }
}

async fn ask(call: &Call<'_>, said: Said<'_>) -> Result<()> {
    let operation = call.operation;
    let version = call.query.get("versionId");
    let need = need(operation, version.is_some());
    let action = match need {
        Need::Nothing => return refuse_hopeless(call),
        Need::Account(action) => return call.admit_at_home(action, "arn:aws:s3:::*", said),
        Need::NewBucket => return admit_new_bucket(call, said),
        Need::Bucket(action) | Need::Policy(action) | Need::Object(action) | Need::Deletion(action) => action,
        Need::Opened(action) | Need::Changed(action) | Need::Upload(action) => action,
    };
    refuse_nobody(operation, call.caller)?;
    let rules = call.rules()?;
    let place = Site { rules, bucket: call.bucket, key: call.key, version, said };
    for action in asked_along(operation, call.headers, rules) {
        call.admit_along(&place, action)?;
    }
    match need {
        Need::Opened(_) if call.asks_for_object(rules) => Ok(()),
        Need::Changed(_) if call.asks_for_object(rules) => {
            let found = call.edge.store.open_version(call.bucket, call.key, version).await;
            call.opened_as(&place, action, found).map(drop)
        }
        Need::Deletion(_) => call.admit_deletion(&place, action),
        Need::Policy(_) => call.admit(&place, action).and_then(|()| check_kin(call, rules)),
        Need::Upload(_) => match call.admit(&place, action) {
            Err(refusal) => call.admit_initiator(&place, action, refusal).await,
            allowed => allowed,
        },
        _ => call.admit(&place, action),
    }
}

/// The version that an operation changes, once its body has been read, for a caller who may; by these rules of its
/// bucket.
pub(super) async fn to_change(call: &Call<'_>, rules: &Rules, said: Said<'_>) -> Result<Object> {
    let version = call.query.get("versionId");
    let found = call.edge.store.open_version(call.bucket, call.key, version).await;
    if call.is_trusted(rules) {
        return Ok(found?);
    }
    let Need::Changed(action) = need(call.operation, version.is_some()) else {
        return Err(Code::InternalError.into());
    };
    let place = Site { rules, bucket: call.bucket, key: call.key, version, said };
    for action in asked_along(call.operation, call.headers, rules) {
        call.admit_along(&place, action)?;
    }
    call.opened_as(&place, action, found)
}

/// What needs somebody in particular, whatever a bucket allows to everybody.
fn refuse_nobody(operation: Operation, caller: &Caller) -> Result<()> {
    let message = match operation {
        Operation::CopyObject | Operation::UploadPartCopy => {
            "Anonymous users cannot copy objects.  Please authenticate."
        }
        Operation::CreateMultipartUpload => {
            "Anonymous users cannot initiate multipart uploads.  Please authenticate."
        }
        _ => return Ok(()),
    };
    match caller.is_anonymous() {
        true => Err(S3Error::with(Code::AccessDenied, message)),
        false => Ok(()),
    }
}

/// Who may touch the policy of a bucket, and is of another account, is told that it is not for them.
fn check_kin(call: &Call<'_>, rules: &Rules) -> Result<()> {
    match call.caller.canonical() == Some(&*rules.owner) {
        true => Ok(()),
        false => Err(Code::MethodNotAllowed.into()),
    }
}

/// Nobody in particular has no rights of its own, and where a bucket gives none away no key of a batch is for it. Who
/// posts a form stands in that.
fn refuse_hopeless(call: &Call<'_>) -> Result<()> {
    let is_plain = call.rules.as_ref().is_some_and(|rules| rules.is_plain());
    match call.operation == Operation::DeleteObjects && call.caller.is_anonymous() && is_plain {
        true => Err(Code::AccessDenied.into()),
        false => Ok(()),
    }
}

fn admit_new_bucket(call: &Call<'_>, said: Said<'_>) -> Result<()> {
    let resource = format!("arn:aws:s3:::{}", call.bucket);
    call.admit_at_home(Action::CreateBucket, &resource, said)?;
    // A private one is what it would have anyway.
    let is_shared = call.headers.get("x-amz-acl").is_some_and(|acl| acl != "private");
    let shares = is_shared || has_grants(call.headers);
    let tagged = matches!(said, Said::NewBucket { tags, .. } if !tags.is_empty());
    for (asked, action) in [
        (shares, Action::PutBucketAcl),
        (tagged, Action::TagResource),
        (call.headers.contains_key("x-amz-object-ownership"), Action::PutBucketOwnershipControls),
        (locks(call.headers), Action::PutBucketObjectLockConfiguration),
        (locks(call.headers), Action::PutBucketVersioning),
    ] {
        if asked {
            call.admit_at_home(action, &resource, said)?;
        }
    }
    Ok(())
}

fn locks(headers: &HeaderMap) -> bool {
    let value = headers.get("x-amz-bucket-object-lock-enabled");
    value.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// A request that expects another owner is refused, whoever sends it.
fn check_owner(call: &Call<'_>, rules: &Rules, header: &str) -> Result<()> {
    let Some(expected) = headers::text(call.headers, header)? else { return Ok(()) };
    let account = call.edge.store.identities().account_of_canonical(&rules.owner);
    match expected == rules.owner || account.is_some_and(|account| account.id == expected) {
        true => Ok(()),
        false if is_account_id(expected) || expected.len() == rules.owner.len() => {
            Err(Code::AccessDenied.into())
        }
        false => Err(Code::InvalidBucketOwnerAWSAccountID.into()),
    }
}

/// Of the object that is there; `None` where nobody looked.
type Tagged<'a> = Option<&'a [(String, String)]>;

impl Call<'_> {
    /// The rules of the bucket that the request addresses.
    pub(super) fn rules(&self) -> Result<&Rc<Rules>> {
        self.rules.as_ref().ok_or_else(|| Code::NoSuchBucket.into())
    }

    /// Nothing has to be asked: the root of the owner, in a bucket that is only its own.
    fn is_trusted(&self, rules: &Rules) -> bool {
        rules.is_plain() && self.caller.is_root_of(&rules.owner)
    }

    /// Whether what is decided about an object may depend on the object.
    fn asks_for_object(&self, rules: &Rules) -> bool {
        rules.asks_for_object() || self.caller.asks_for_object_tags()
    }

    fn facts<'a>(&'a self, place: &Site<'a>, account: Option<&'a str>) -> Facts<'a> {
        Facts {
            caller: self.caller,
            proof: self.proof,
            headers: self.headers,
            query: self.query,
            source: self.source,
            now: self.edge.store.now(),
            region: &self.edge.settings.region,
            resource_account: account,
            version: place.version,
            object_tags: None,
            said: place.said,
            creates_object: None,
        }
    }

    /// Whether the caller may do `action` there, as far as no object matters.
    pub(super) fn admit(&self, place: &Site<'_>, action: Action) -> Result<()> {
        self.judge(place, action, None)
    }

    /// What comes along with an object that is being made. Its ACL and tags are those of an object of the
    /// writer: another account needs its own policies for them, and none of the bucket's.
    fn admit_along(&self, place: &Site<'_>, action: Action) -> Result<()> {
        let of_object = matches!(action, Action::PutObjectAcl | Action::PutObjectTagging);
        let writer = self.caller.canonical().filter(|id| *id != place.rules.owner);
        match writer.filter(|_| of_object && place.rules.has_acls()) {
            Some(owner) => self.judge_side(place, action, Some(&ObjectSide { owner, grants: &[] }), None),
            None => self.admit(place, action),
        }
    }

    /// Who began an upload may look at it and abort it, unless somebody denies that.
    async fn admit_initiator(&self, place: &Site<'_>, action: Action, refusal: S3Error) -> Result<()> {
        let Some(caller) = self.caller.canonical() else { return Err(refusal) };
        let id = multipart::upload_id(self.query);
        match self.edge.store.upload(self.bucket, self.key, id).await {
            Ok(upload) if upload.initiator.as_ref().is_some_and(|user| user.id == self.caller.id()) => {
                self.admit_unless_denied(place, action)
            }
            // What a user began is its account's too.
            Ok(upload) if upload.owner == caller => {
                let side = ObjectSide { owner: &upload.owner, grants: &[] };
                self.judge_side(place, action, Some(&side), None)
            }
            _ => Err(refusal),
        }
    }

    /// One key of a batch, with the ETag that it has to have; `bypass`: whatever governance says.
    pub(super) fn admit_delete(
        &self,
        key: &str,
        version: Option<&str>,
        etag: Option<&str>,
        bypass: bool,
    ) -> Result<()> {
        let rules = self.rules()?;
        if self.is_trusted(rules) {
            return Ok(());
        }
        let action = if version.is_some() { Action::DeleteObjectVersion } else { Action::DeleteObject };
        let place = Site { rules, bucket: self.bucket, key, version, said: Said::Entry(etag) };
        if bypass {
            self.admit(&place, Action::BypassGovernanceRetention)?;
        }
        self.admit_deletion(&place, action)
    }

    /// Where there were never versions, deleting an object is deleting its only version: who is denied either may
    /// do neither (DeleteObject, Amazon S3 API Reference).
    fn admit_deletion(&self, place: &Site<'_>, action: Action) -> Result<()> {
        self.admit(place, action)?;
        let other = match action {
            Action::DeleteObject => Action::DeleteObjectVersion,
            _ => Action::DeleteObject,
        };
        match place.rules.versioned {
            true => Ok(()),
            false => self.admit_unless_denied(place, other),
        }
    }

    /// For what the caller may do by another right, unless a statement denies it.
    pub(super) fn admit_unless_denied(&self, place: &Site<'_>, action: Action) -> Result<()> {
        self.judge_by(place, action, None, |wish| !wish.is_denied(place.rules))
    }

    /// Tags that go along with a copy are read there and put here. `source` is where the object was found.
    pub(super) fn admit_copied_tags(&self, source: &Site<'_>, object: &Object) -> Result<()> {
        let reads = source.version.map_or(Action::GetObjectTagging, |_| Action::GetObjectVersionTagging);
        self.judge(source, reads, Some(object.meta()))?;
        let rules = self.rules()?;
        let said = Said::ObjectTags(&object.meta().attached.tags);
        let place = Site { rules, bucket: self.bucket, key: self.key, version: None, said };
        self.admit_along(&place, Action::PutObjectTagging)
    }

    /// Whether the caller, who was given an object, may be told this of it too.
    pub(super) fn may_hear(&self, action: Action, object: &Object) -> bool {
        let Ok(rules) = self.rules() else { return false };
        if self.is_trusted(rules) {
            return true;
        }
        let version = self.query.get("versionId");
        let place = Site { rules, bucket: self.bucket, key: self.key, version, said: Said::Nothing };
        let (meta, grants) = (object.meta(), grants_of(object.meta(), rules));
        let side = ObjectSide { owner: owner_of(meta, rules), grants: &grants };
        let allows = |wish: &Wish<'_, Facts<'_>>| wish.is_allowed(rules, Some(&side));
        self.judge_by(&place, action, Some(&meta.attached.tags), allows).is_ok()
    }

    fn judge(&self, place: &Site<'_>, action: Action, object: Option<&ObjectMeta>) -> Result<()> {
        let grants = object.map(|meta| grants_of(meta, place.rules)).unwrap_or_default();
        let side = object.map(|meta| ObjectSide { owner: owner_of(meta, place.rules), grants: &grants });
        let tags = object.map(|meta| meta.attached.tags.as_slice());
        self.judge_side(place, action, side.as_ref(), tags)
    }

    fn judge_side(
        &self,
        place: &Site<'_>,
        action: Action,
        side: Option<&ObjectSide<'_>>,
        tags: Tagged<'_>,
    ) -> Result<()> {
        self.judge_by(place, action, tags, |wish| {
            let allowed = wish.is_allowed(place.rules, side);
            if allowed && place.rules.logging.is_some() && place.bucket == self.bucket {
                self.trace.set_by_acl(wish.needs_acl(place.rules, side));
            }
            allowed
        })
    }

    fn judge_by(
        &self,
        place: &Site<'_>,
        action: Action,
        tags: Tagged<'_>,
        allows: impl FnOnce(&Wish<'_, Facts<'_>>) -> bool,
    ) -> Result<()> {
        let account = self.edge.store.identities().account_of_canonical(&place.rules.owner);
        let mut facts = self.facts(place, account.as_ref().map(|account| account.id.as_str()));
        (facts.object_tags, facts.creates_object) = (tags, creates_object(self.operation, action));
        let resource = resource(place);
        let wish = Wish { caller: self.caller, action, resource: &resource, context: &facts };
        match allows(&wish) {
            true => Ok(()),
            false => Err(Code::AccessDenied.into()),
        }
    }

    /// Something that belongs to no bucket: the caller's own account decides.
    fn admit_at_home(&self, action: Action, resource: &str, said: Said<'_>) -> Result<()> {
        let rules = Rules::of_nothing();
        let place = Site { rules: &rules, bucket: "", key: "", version: None, said };
        let facts = self.facts(&place, self.caller.account().map(|account| account.id.as_str()));
        match (Wish { caller: self.caller, action, resource, context: &facts }).is_allowed_at_home() {
            true => Ok(()),
            false => Err(Code::AccessDenied.into()),
        }
    }

    /// What was found under the request's key, if the caller may have it. To be asked of every object that an
    /// operation opens for its caller; `action` is that of the table.
    pub(super) fn opened(
        &self,
        action: Action,
        found: std::result::Result<Object, ObjectError>,
    ) -> Result<Object> {
        let rules = self.rules()?;
        if self.is_trusted(rules) {
            return Ok(found?);
        }
        let version = self.query.get("versionId");
        let place = Site { rules, bucket: self.bucket, key: self.key, version, said: Said::Nothing };
        self.opened_as(&place, action, found)
    }

    /// Opens what the request asks for, if the caller may have it: by one action, or by another where it names a
    /// version. Both are of the table.
    pub(super) async fn open(&self, plain: Action, versioned: Action) -> Result<Object> {
        let version = self.query.get("versionId");
        let found = self.edge.store.open_version(self.bucket, self.key, version).await;
        self.opened(version.map_or(plain, |_| versioned), found)
    }

    /// The same for an object elsewhere, as the source of a copy.
    pub(super) fn opened_as(
        &self,
        place: &Site<'_>,
        action: Action,
        found: std::result::Result<Object, ObjectError>,
    ) -> Result<Object> {
        match found {
            Ok(object) => {
                self.judge(place, action, Some(object.meta()))?;
                Ok(object)
            }
            Err(error) if is_missing(&error) => {
                // Who may not list learns nothing about what is there.
                self.admit(&Site { key: "", said: Said::Nothing, ..*place }, Action::ListBucket)?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The rules of another bucket than the one addressed, for its source.
    pub(super) fn rules_of_source(&self, bucket: &str) -> Result<Rc<Rules>> {
        let rules = self.edge.rules(bucket)?;
        check_owner(self, &rules, "x-amz-source-expected-bucket-owner")?;
        Ok(rules)
    }
}

fn is_missing(error: &ObjectError) -> bool {
    matches!(error, ObjectError::NoSuchKey | ObjectError::NoSuchVersion | ObjectError::DeleteMarker { .. })
}

fn resource(place: &Site<'_>) -> String {
    match place.key {
        "" => format!("arn:aws:s3:::{}", place.bucket),
        key => format!("arn:aws:s3:::{}/{key}", place.bucket),
    }
}

/// Canonical id of the account an object belongs to, as things are now.
pub(super) fn owner_of<'a>(meta: &'a ObjectMeta, rules: &'a Rules) -> &'a str {
    let own = meta.attached.owner.as_deref().filter(|_| rules.has_acls());
    own.unwrap_or(&rules.owner)
}

/// The grants of an object; grants that cannot be read let nobody in.
pub(super) fn grants_of(meta: &ObjectMeta, rules: &Rules) -> Vec<Grant> {
    match &meta.attached.grants {
        Some(bytes) => acl::decode(bytes).unwrap_or_default(),
        None => {
            let id = owner_of(meta, rules).to_owned();
            Acl::private(AclOwner { id, display_name: None }).grants
        }
    }
}
