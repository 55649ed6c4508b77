//! ACLs: of buckets, of objects, and those that come along when one is made.
//!
//! An ACL comes as a canned name, as headers with grants, or as a document; one of the three. Grantees are
//! accounts that there are, or groups. Where ACLs are off, only those that say what holds anyway are taken.
//! What an ACL means is `iam::acl`.

use http::{HeaderMap, StatusCode};

use super::amend::amend;
use super::authorize::{grants_of, has_acl, owner_of};
use super::error::{Code, Result, S3Error};
use super::facts::Said;
use super::response::{Reply, empty, xml};
use super::service::Call;
use super::versions::version_header;
use super::{NewBuckets, headers};
use crate::base::limits::GRANTS_MAX;
use crate::codec::policy::Action;
use crate::codec::xml::{Acl, AclOwner, Configuration, Grant, Grantee, ObjectOwnership, XmlError};
use crate::iam::acl::{GRANT_HEADERS, IMAGE_READER, Parties, canned, encode, is_public, parse_grantees};
use crate::iam::rules::Rules;
use crate::object::decisions::amend::Amendment;
use crate::object::decisions::events::Cause;
use crate::object::meta::Attached;
use crate::object::registry::settings::Setting;
use crate::object::store::Object;

// ---- Of a bucket ----

pub(super) async fn get_bucket_acl(call: Call<'_>) -> Result<Reply> {
    let rules = call.rules()?;
    let owner = named(&call, &rules.owner);
    let grants = rules.grants.clone().filter(|_| rules.has_acls());
    Ok(xml(document(&call, owner, grants).render()))
}

pub(super) async fn put_bucket_acl(mut call: Call<'_>) -> Result<Reply> {
    let asked = asked_acl(&mut call).await?;
    call.judge_again().await?;
    let rules = call.rules()?.clone();
    let owner = user(&rules.owner);
    let parties = Parties { owner: &owner, bucket_owner: &owner, on_bucket: true };
    let grants = new_grants(&call, &asked, &parties)?;
    refuse_where_off(&rules)?;
    refuse_public(&rules, &grants)?;
    call.edge.store.set_setting(call.bucket, Setting::Acl(Acl { owner, grants })).await?;
    Ok(empty(StatusCode::OK))
}

/// The ACL that CreateBucket asks for.
pub(super) fn of_new_bucket(
    call: &Call<'_>,
    ownership: ObjectOwnership,
    blocked: bool,
) -> Result<Option<Acl>> {
    let owner = user(call.caller.canonical().unwrap_or(""));
    let parties = Parties { owner: &owner, bucket_owner: &owner, on_bucket: true };
    let Some(grants) = of_headers(call, &parties)? else { return Ok(None) };
    if ownership == ObjectOwnership::BucketOwnerEnforced {
        // It says what holds anyway.
        return match grants == Acl::private(owner).grants {
            true => Ok(None),
            false => Err(Code::InvalidBucketAclWithObjectOwnership.into()),
        };
    }
    if blocked && is_public(&grants) {
        return Err(Code::InvalidBucketAclWithBlockPublicAccessError.into());
    }
    Ok(Some(Acl { owner, grants }))
}

// ---- Of an object ----

pub(super) async fn get_object_acl(call: Call<'_>) -> Result<Reply> {
    let object = call.open(Action::GetObjectAcl, Action::GetObjectVersionAcl).await?;
    let rules = call.rules()?;
    let owner = named(&call, owner_of(object.meta(), rules));
    let grants = rules.has_acls().then(|| grants_of(object.meta(), rules));
    let mut reply = xml(document(&call, owner, grants).render());
    version_header(reply.headers_mut(), object.version_id());
    Ok(reply)
}

pub(super) async fn put_object_acl(mut call: Call<'_>) -> Result<Reply> {
    let asked = asked_acl(&mut call).await?;
    let change = |object: &Object, rules: &Rules| {
        let owner = user(owner_of(object.meta(), rules));
        let bucket_owner = user(&rules.owner);
        let parties = Parties { owner: &owner, bucket_owner: &bucket_owner, on_bucket: false };
        let grants = new_grants(&call, &asked, &parties)?;
        // s3cmd reads the ACL of what it copies and writes the same document to the copy.
        let holds_anyway = !has_acl(call.headers) && is_private(&bucket_owner, &grants);
        if !holds_anyway {
            refuse_where_off(rules)?;
        }
        refuse_public(rules, &grants)?;
        Ok(Amendment::Grants { owner: foreign(&owner, rules), grants: stored(&owner, &grants) })
    };
    let version = amend(&call, Said::Nothing, Cause::Plain, change).await?;
    let mut reply = empty(StatusCode::OK);
    version_header(reply.headers_mut(), version.as_deref());
    Ok(reply)
}

/// Owner and grants of an object that is being made, from the headers.
pub(super) fn of_new_object(call: &Call<'_>, attached: &mut Attached) -> Result<()> {
    let rules = call.rules()?;
    let bucket_owner = user(&rules.owner);
    if !rules.has_acls() {
        return check_where_off(call, &bucket_owner);
    }
    let gives_away = call.headers.get("x-amz-acl").is_some_and(|name| name == BUCKET_OWNER);
    let owner = match call.caller.canonical() {
        _ if gives_away && rules.ownership == ObjectOwnership::BucketOwnerPreferred => bucket_owner.clone(),
        // Nobody in particular writes for the owner of the bucket.
        None => bucket_owner.clone(),
        Some(writer) => user(writer),
    };
    let parties = Parties { owner: &owner, bucket_owner: &bucket_owner, on_bucket: false };
    if let Some(grants) = of_headers(call, &parties)? {
        refuse_public(rules, &grants)?;
        attached.grants = stored(&owner, &grants);
    }
    attached.owner = foreign(&owner, rules);
    Ok(())
}

const BUCKET_OWNER: &str = "bucket-owner-full-control";

/// Where ACLs are off, an object may come with what holds anyway: that the owner of the bucket controls it and
/// nobody else. `private` of the owner says that too; s3cmd and rclone send it with every copy.
fn check_where_off(call: &Call<'_>, bucket_owner: &AclOwner) -> Result<()> {
    if !has_acl(call.headers) {
        return Ok(());
    }
    let writer = call.caller.canonical().map_or_else(|| bucket_owner.clone(), user);
    let parties = Parties { owner: &writer, bucket_owner, on_bucket: false };
    let grants = of_headers(call, &parties)?;
    let handed_over = call.headers.get("x-amz-acl").is_some_and(|name| name == BUCKET_OWNER);
    match handed_over || grants.is_some_and(|grants| is_private(bucket_owner, &grants)) {
        true => Ok(()),
        false => Err(Code::AccessControlListNotSupported.into()),
    }
}

/// Grants as they are stored; nothing for what an object has anyway.
fn stored(owner: &AclOwner, grants: &[Grant]) -> Option<Vec<u8>> {
    (!is_private(owner, grants)).then(|| encode(grants))
}

/// Whether the owner may do everything and nobody else anything.
fn is_private(owner: &AclOwner, grants: &[Grant]) -> bool {
    grants == Acl::private(owner.clone()).grants
}

/// The owner as it is stored; nothing for the owner of the bucket.
fn foreign(owner: &AclOwner, rules: &Rules) -> Option<String> {
    (owner.id != rules.owner).then(|| owner.id.clone())
}

fn user(canonical: &str) -> AclOwner {
    AclOwner { id: canonical.to_owned(), display_name: None }
}

// ---- Shared ----

fn refuse_where_off(rules: &Rules) -> Result<()> {
    if rules.has_acls() { Ok(()) } else { Err(Code::AccessControlListNotSupported.into()) }
}

fn refuse_public(rules: &Rules, grants: &[Grant]) -> Result<()> {
    if !(rules.block.block_public_acls && is_public(grants)) {
        return Ok(());
    }
    let message =
        "Access Denied: public ACLs are prevented by the BlockPublicAcls setting in S3 Block Public Access.";
    Err(S3Error::with(Code::AccessDenied, message))
}

/// The document of a Put...Acl; `None` where headers bring the grants.
async fn asked_acl(call: &mut Call<'_>) -> Result<Option<Acl>> {
    let promise = call.promise()?;
    let document = call.payload(promise, None).document().await?;
    match (has_acl(call.headers), document.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => Err(Code::UnexpectedContent.into()),
        (false, true) => {
            let message = "Your request was missing a required header: x-amz-acl";
            let error = S3Error::with(Code::MissingSecurityHeader, message);
            Err(error.field("MissingHeaderName", "x-amz-acl"))
        }
        (false, false) => Acl::parse(&document).map(Some).map_err(|error| match error {
            XmlError::Malformed(_) => Code::MalformedACLError.into(),
            other => S3Error::from(other),
        }),
    }
}

/// The grants of that document, or of the headers.
fn new_grants(call: &Call<'_>, asked: &Option<Acl>, parties: &Parties<'_>) -> Result<Vec<Grant>> {
    match asked {
        None => Ok(of_headers(call, parties)?.unwrap_or_default()),
        Some(acl) if acl.owner.id == parties.owner.id => check_grants(call, acl.grants.clone()),
        Some(_) => Err(Code::AccessDenied.into()),
    }
}

/// The grants that the headers bring; `None` when there are none.
fn of_headers(call: &Call<'_>, parties: &Parties<'_>) -> Result<Option<Vec<Grant>>> {
    if !has_acl(call.headers) {
        return Ok(None);
    }
    let granted = GRANT_HEADERS.iter().any(|(name, _)| call.headers.contains_key(*name));
    let Some(name) = headers::text(call.headers, "x-amz-acl")? else {
        return Ok(Some(check_grants(call, grant_headers(call.headers)?)?));
    };
    if granted {
        let message = "Specifying both Canned ACLs and Header Grants is not allowed";
        return Err(S3Error::with(Code::InvalidRequest, message));
    }
    match canned(name, parties) {
        Some(grants) => Ok(Some(grants)),
        None => Err(S3Error::argument("x-amz-acl", name, "The canned ACL you specified is not valid")),
    }
}

fn grant_headers(headers: &HeaderMap) -> Result<Vec<Grant>> {
    let mut grants = Vec::new();
    for (name, permission) in GRANT_HEADERS {
        for value in headers.get_all(name) {
            let text = value.to_str().unwrap_or("");
            let grantees = parse_grantees(text)
                .ok_or_else(|| S3Error::argument(name, text, "Argument format not recognized"))?;
            grants.extend(grantees.into_iter().map(|grantee| Grant { grantee, permission }));
        }
    }
    Ok(grants)
}

/// Grantees are groups, and accounts that there are. The address of an account is its name. An address of another
/// account is only resolved where buckets are open (`--new-buckets open`), as for suites: whoever may set an ACL could
/// else try out which accounts there are, and learn their ids.
pub(super) fn check_grants(call: &Call<'_>, mut grants: Vec<Grant>) -> Result<Vec<Grant>> {
    if grants.len() > GRANTS_MAX {
        return Err(S3Error::with(Code::MalformedACLError, "The ACL has too many grants"));
    }
    for grant in &mut grants {
        match &mut grant.grantee {
            Grantee::Group(_) => {}
            Grantee::Email(address) => {
                let found = call.edge.store.identities().account_of_name(address);
                let open = call.edge.settings.new_buckets == NewBuckets::Open;
                let found =
                    found.filter(|found| open || call.caller.canonical() == Some(&found.value.canonical));
                let account = found.ok_or(Code::UnresolvableGrantByEmailAddress)?;
                grant.grantee = Grantee::User(user(&account.value.canonical));
            }
            Grantee::User(user)
                if user.id == IMAGE_READER
                    || call.edge.store.identities().account_of_canonical(&user.id).is_some() =>
            {
                // Names are looked up when an ACL is shown.
                user.display_name = None;
            }
            Grantee::User(user) => return Err(S3Error::argument("CanonicalUser/ID", &user.id, "Invalid id")),
        }
    }
    Ok(grants)
}

/// The ACL as it is shown: everybody with the name they have now.
fn document(call: &Call<'_>, owner: AclOwner, grants: Option<Vec<Grant>>) -> Acl {
    let Some(mut grants) = grants else { return Acl::private(owner) };
    for grant in &mut grants {
        if let Grantee::User(user) = &mut grant.grantee {
            *user = named(call, &user.id);
        }
    }
    Acl { owner, grants }
}

fn named(call: &Call<'_>, canonical: &str) -> AclOwner {
    let account = call.edge.store.identities().account_of_canonical(canonical);
    AclOwner { id: canonical.to_owned(), display_name: account.map(|account| account.value.name.clone()) }
}
