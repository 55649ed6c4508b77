//! Buckets: ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation, and the settings
//! that nobody can set here (those that can be set are in `settings`).
//!
//! The settings table answers reads of sub-resources whose writes are not built with what S3 answers
//! for a bucket on which they were never set: that is the truth, and clients ask for it.

use http::StatusCode;
use http::header::LOCATION;

use super::auth::GLOBAL_REGION;
use super::error::{Code, Result, S3Error};
use super::facts::Said;
use super::response::{BUCKET_REGION, Reply, empty, set, xml};
use super::route::Operation;
use super::service::Call;
use super::{NewBuckets, acl, authorize, headers, versioning};
use crate::base::limits::{BUCKET_NAME_BYTES_MAX, BUCKET_NAME_BYTES_MIN, LIST_BUCKETS_MAX, LIST_KEYS_MAX};
use crate::base::rest::rest;
use crate::codec::date::iso8601_ms;
use crate::codec::policy::Action;
use crate::codec::xml::{
    Bucket, CreateBucketConfiguration, ListAllMyBucketsResult, ObjectOwnership, Owner, PublicAccessBlock,
    Tags, XmlWriter, list_buckets as list_document, location_constraint, parse_create_bucket_configuration,
};
use crate::object::error::ObjectError;
use crate::object::registry::settings::{Kind, Setting};
use crate::object::store::BucketInfo;

/// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
pub(super) fn is_valid_name(name: &str) -> bool {
    (BUCKET_NAME_BYTES_MIN..=BUCKET_NAME_BYTES_MAX).contains(&name.len())
        && name.split('.').all(is_label)
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !RESERVED_SUFFIXES.iter().any(|end| name.ends_with(end))
}

const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// What stands between dots is a DNS label.
fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.iter().all(|byte| plain(byte) || *byte == b'-')
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
}

pub(super) async fn create_bucket(mut call: Call<'_>) -> Result<Reply> {
    let promise = call.promise()?;
    let document = call.payload(promise, None).document().await?;
    let configuration = parse_create_bucket_configuration(&document)?;
    let location = configuration.location_constraint.as_deref().filter(|location| !location.is_empty());
    authorize::admit_said(&call, Said::NewBucket { location, tags: &configuration.tags }).await?;
    check_configuration(&configuration, &call.edge.settings.region)?;
    // Anonymous callers are refused before.
    let owner = call.caller.canonical().ok_or(Code::AccessDenied)?;
    let region = &call.edge.settings.region;
    let mut reply = empty(StatusCode::OK);
    set(reply.headers_mut(), LOCATION, &format!("/{}", call.bucket));
    if region == GLOBAL_REGION && call.edge.rules(call.bucket).is_ok_and(|rules| rules.owner == owner) {
        make_again(&call, owner, &configuration.tags).await?;
        return Ok(reply);
    }
    let mut initial = initial_settings(&call)?;
    if !configuration.tags.is_empty() {
        let tags = super::settings::bucket_tags(Tags(configuration.tags.clone()))?;
        initial.push(Setting::Tags(tags));
    }
    match call.edge.store.create_bucket_with(call.bucket, region, owner, initial).await {
        // Another request made it just now.
        Err(ObjectError::BucketAlreadyOwnedByYou) if region == GLOBAL_REGION => {
            make_again(&call, owner, &configuration.tags).await?
        }
        made => made?,
    }
    Ok(reply)
}

/// In the oldest region the owner may make a bucket again: its ACL becomes the one that is asked for, and nothing else
/// changes. Document: BucketAlreadyOwnedByYou of CreateBucket, Amazon S3 API Reference. Who asks for what the bucket
/// has not, such as object lock, is refused as in all other regions.
async fn make_again(call: &Call<'_>, owner: &str, tags: &[(String, String)]) -> Result<()> {
    // It may have gone meanwhile, and another may have come.
    let rules = call.edge.rules(call.bucket).map_err(|_| Code::OperationAborted)?;
    if rules.owner != owner {
        return Err(Code::BucketAlreadyExists.into());
    }
    // Its ACL is not changed past its own policy, as a bucket that is new has none.
    let place =
        authorize::Site { rules: &rules, bucket: call.bucket, key: "", version: None, said: Said::Nothing };
    call.admit_unless_denied(&place, Action::PutBucketAcl)?;
    let acl = acl::of_new_bucket(call, rules.ownership, rules.block.block_public_acls)?;
    let bucket = call.edge.store.settings(call.bucket)?;
    let locks = !versioning::of_new_bucket(call.headers)?.is_empty();
    let lacks_lock = locks && bucket.settings.object_lock.is_none();
    let lacks_tags = !tags.is_empty() && bucket.settings.tags.as_ref().is_none_or(|has| has.0 != tags);
    if lacks_lock || lacks_tags || named_ownership(call)?.is_some_and(|named| named != rules.ownership) {
        return Err(Code::BucketAlreadyOwnedByYou.into());
    }
    match acl {
        Some(acl) => call.edge.store.set_setting(call.bucket, Setting::Acl(acl)).await?,
        None if rules.grants.is_some() => call.edge.store.remove_setting(call.bucket, Kind::Acl).await?,
        None => {}
    }
    Ok(())
}

/// Who owns objects, what is blocked, and the ACL if one is asked for.
fn initial_settings(call: &Call<'_>) -> Result<Vec<Setting>> {
    let named = named_ownership(call)?;
    // Without ownership controls objects are their writers', as they were before there were any.
    let (controls, blocked) = match call.edge.settings.new_buckets {
        NewBuckets::Closed => (named.or(Some(ObjectOwnership::BucketOwnerEnforced)), true),
        NewBuckets::Open => (named, false),
    };
    let ownership = controls.unwrap_or(ObjectOwnership::ObjectWriter);
    let mut settings = versioning::of_new_bucket(call.headers)?;
    settings.extend(controls.map(Setting::Ownership));
    if blocked {
        settings.push(Setting::PublicAccess(PublicAccessBlock {
            block_public_acls: true,
            ignore_public_acls: true,
            block_public_policy: true,
            restrict_public_buckets: true,
        }));
    }
    settings.extend(acl::of_new_bucket(call, ownership, blocked)?.map(Setting::Acl));
    Ok(settings)
}

fn named_ownership(call: &Call<'_>) -> Result<Option<ObjectOwnership>> {
    let named = headers::text(call.headers, "x-amz-object-ownership")?.map(|name| {
        let message = "Invalid x-amz-object-ownership header";
        ObjectOwnership::from_name(name)
            .ok_or_else(|| S3Error::argument("x-amz-object-ownership", name, message))
    });
    named.transpose()
}

/// There is one region. A client that names none means it; AWS's regional endpoints are stricter,
/// but clients configured for another endpoint often leave it out.
fn check_configuration(configuration: &CreateBucketConfiguration, region: &str) -> Result<()> {
    if configuration.directory_bucket {
        return Err(S3Error::not_implemented("directory buckets"));
    }
    match configuration.location_constraint.as_deref() {
        None | Some("") => Ok(()),
        Some(asked) if asked == region || (asked == "EU" && region == "eu-west-1") => Ok(()),
        Some(asked) if !is_region(asked) => {
            Err(S3Error::new(Code::InvalidLocationConstraint).field("LocationConstraint", asked))
        }
        Some(asked) => {
            let message = format!(
                "The {asked} location constraint is incompatible for the region specific endpoint this \
                 request was sent to."
            );
            Err(S3Error::with(Code::IllegalLocationConstraintException, message))
        }
    }
}

/// Whether a name is built as those of AWS's regions are, such as `us-gov-west-1`.
fn is_region(name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let mut words: Vec<&str> = name.split('-').collect();
    let number = words.pop().unwrap_or("");
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    name == "EU" || (is_number && words.len() >= 2 && words.into_iter().all(is_word))
}

pub(super) async fn head_bucket(call: Call<'_>) -> Result<Reply> {
    let bucket = call.edge.store.bucket(call.bucket).await?;
    let mut reply = empty(StatusCode::OK);
    set(reply.headers_mut(), BUCKET_REGION, &bucket.region);
    Ok(reply)
}

pub(super) async fn delete_bucket(call: Call<'_>) -> Result<Reply> {
    call.edge.store.delete_bucket(call.bucket).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn get_location(call: Call<'_>) -> Result<Reply> {
    let bucket = call.edge.store.bucket(call.bucket).await?;
    Ok(xml(location_constraint((bucket.region != "us-east-1").then_some(&bucket.region))))
}

// ---- ListBuckets ----

pub(super) async fn list_buckets(mut call: Call<'_>) -> Result<Reply> {
    let prefix = call.query.get("prefix");
    let asked = max_buckets(call.query.get("max-buckets"))?;
    // Ten of them take less than one key of full length.
    call.lists(asked.unwrap_or(LIST_BUCKETS_MAX) / 10).await?;
    // Anonymous callers are refused before.
    let account = call.caller.account().ok_or(Code::AccessDenied)?;
    let after = match call.query.get("continuation-token") {
        Some("") | None => String::new(),
        Some(token) => call.edge.tokens.open(BUCKETS, token)?,
    };
    let elsewhere = call.query.get("bucket-region").is_some_and(|region| region != call.edge.settings.region);
    let (buckets, next) = match elsewhere {
        true => (Vec::new(), None),
        false => {
            let owner = &account.value.canonical;
            collect(&call, owner, prefix.unwrap_or(""), after, asked.unwrap_or(LIST_BUCKETS_MAX)).await?
        }
    };
    let dates: Vec<_> = buckets.iter().map(|bucket| iso8601_ms(bucket.created)).collect();
    let told = LIST_PARAMETERS.iter().any(|name| call.query.get(name).is_some());
    let entries: Vec<Bucket<'_>> = buckets
        .iter()
        .zip(&dates)
        .map(|(bucket, date)| Bucket {
            name: &bucket.name,
            creation_date: date,
            region: told.then_some(&bucket.region),
        })
        .collect();
    let token = next.map(|next| call.edge.tokens.seal(BUCKETS, &next));
    let result = ListAllMyBucketsResult {
        owner: Owner { id: &account.value.canonical, display_name: &account.value.name },
        buckets: &entries,
        continuation_token: token.as_deref(),
        prefix,
    };
    Ok(xml(list_document(&result, rest).await))
}

/// What a continuation token of a bucket listing belongs to; no bucket has this name.
const BUCKETS: &str = "";

/// With any of them each bucket is listed with its region.
const LIST_PARAMETERS: [&str; 4] = ["bucket-region", "continuation-token", "max-buckets", "prefix"];

fn max_buckets(text: Option<&str>) -> Result<Option<usize>> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(number) if (1..=LIST_BUCKETS_MAX).contains(&number) => Ok(Some(number)),
        _ => Err(S3Error::argument(
            "max-buckets",
            text,
            format!("Argument max-buckets must be an integer between 1 and {LIST_BUCKETS_MAX}"),
        )),
    }
}

/// Page after page from the store, until `limit` buckets are there.
async fn collect(
    call: &Call<'_>,
    owner: &str,
    prefix: &str,
    mut after: String,
    limit: usize,
) -> Result<(Vec<BucketInfo>, Option<String>)> {
    let mut buckets = Vec::new();
    loop {
        let page = (limit - buckets.len()).min(LIST_KEYS_MAX);
        let page = call.edge.store.list_buckets(owner, prefix, &after, page).await?;
        buckets.extend(page.buckets);
        match page.next {
            Some(next) if buckets.len() < limit => after = next,
            next => return Ok((buckets, next)),
        }
    }
}

// ---- Settings nobody can set ----

/// Reads of bucket sub-resources that are not built.
pub(super) fn get_setting(operation: Operation) -> Result<Reply> {
    match unset(operation) {
        Unset::Missing(code) => Err(code.into()),
        Unset::Empty(root) => Ok(document(root, |_| {})),
    }
}

/// What S3 answers for a setting that was never made.
enum Unset {
    Missing(Code),
    Empty(&'static str),
}

fn unset(operation: Operation) -> Unset {
    match operation {
        Operation::GetBucketAccelerateConfiguration => Unset::Empty("AccelerateConfiguration"),
        Operation::GetBucketReplication => Unset::Missing(Code::ReplicationConfigurationNotFoundError),
        _ => Unset::Missing(Code::NotImplemented),
    }
}

fn document(root: &str, inside: impl FnOnce(&mut XmlWriter)) -> Reply {
    let mut w = XmlWriter::new();
    w.open_root(root);
    inside(&mut w);
    w.close(root);
    xml(w.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["abc", "a.b-c9", "0ab", &"a".repeat(63), "1.2.3"] {
            assert!(is_valid_name(name), "{name}");
        }
        for name in [
            "",
            "ab",
            &"a".repeat(64),
            "Abc",
            "a_b",
            "-abc",
            "abc-",
            ".abc",
            "abc.",
            "a..b",
            "a.-b",
            "a-.b",
            "192.168.5.4",
            "xn--a",
            "abc-s3alias",
            "abc--ol-s3",
            "a/b",
            "aüb",
        ] {
            assert!(!is_valid_name(name), "{name}");
        }
    }

    #[test]
    fn a_bucket_is_made_in_this_region_only() {
        let check = |asked: Option<&str>| {
            let location_constraint = asked.map(str::to_owned);
            let configuration = CreateBucketConfiguration { location_constraint, ..Default::default() };
            check_configuration(&configuration, "eu-west-1").map_err(|error| error.code())
        };
        assert_eq!(check(None), Ok(()));
        assert_eq!(check(Some("eu-west-1")), Ok(()));
        assert_eq!(check(Some("EU")), Ok(()));
        for elsewhere in ["us-west-2", "us-gov-west-1", "us-east-1"] {
            assert_eq!(check(Some(elsewhere)), Err(Code::IllegalLocationConstraintException), "{elsewhere}");
        }
        for nowhere in ["nowhere", "us-west", "US-WEST-2", "-west-2", "us-west-2-"] {
            assert_eq!(check(Some(nowhere)), Err(Code::InvalidLocationConstraint), "{nowhere}");
        }
    }

    #[test]
    fn pages_of_buckets_are_bounded() {
        assert_eq!(max_buckets(None).unwrap(), None);
        assert_eq!(max_buckets(Some("10000")).unwrap(), Some(10_000));
        assert!(max_buckets(Some("0")).is_err() && max_buckets(Some("10001")).is_err());
    }

    #[test]
    fn every_setting_that_is_routed_has_an_answer() {
        for operation in [Operation::GetBucketReplication, Operation::GetBucketAccelerateConfiguration] {
            assert!(!matches!(unset(operation), Unset::Missing(Code::NotImplemented)), "{operation:?}");
        }
    }
}
