//! The keys of the catalog: one ordered space of bytes for everything a shard knows.
//!
//! A tag byte names the family; the rest orders its members as they are listed. Object keys are
//! escaped (0x00 becomes 0x00 0xff) and end with 0x00 0x01, so that `a` sorts before `a/b` and no
//! key is a prefix of another. Versions of a key sort newest first; the null version of a bucket
//! that was never versioned has order 0 and so sorts behind every later one. Where a null version
//! has another order, because it was written while versioning was suspended, the family of null
//! orders says which, so that it is found without a look at the others.
//! Layout: `docs/FORMAT.md`, section Catalog keys.

use crate::base::ids::{DriveId, ShardId};

const BUCKET: u8 = 0x10;
const IDENTITY: u8 = 0x14;
const SETTING: u8 = 0x18;
const VERSION: u8 = 0x20;
const NULL_ORDER: u8 = 0x24;
const UPLOAD: u8 = 0x28;
const PART: u8 = 0x30;
const USAGE: u8 = 0x38;
const SPACE: u8 = 0x40;
const PACK: u8 = 0x48;
const GARBAGE: u8 = 0x50;
const EVENT: u8 = 0x58;

/// Order of the one null version of a bucket that was never versioned.
pub const ORDER_UNVERSIONED: u64 = 0;

pub fn bucket(name: &str) -> Vec<u8> {
    join(BUCKET, &[name.as_bytes()])
}

/// The family of buckets: inclusive start, exclusive end.
pub fn buckets() -> (Vec<u8>, Vec<u8>) {
    (vec![BUCKET], vec![BUCKET + 1])
}

pub fn bucket_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(&[BUCKET])?).ok()
}

/// Of the family of identities; `b'g'`, `b'r'` and `b'p'` are kept for groups, roles and policies.
const ACCOUNT: u8 = b'a';
const USER: u8 = b'u';
const LAST_USE: u8 = b'k';
const ACCOUNT_ID_BYTES: usize = 12;

/// Whom an identity's key names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// By account id.
    Account(String),
    /// By account id and name.
    User(String, String),
    /// When the access key with this id was last used.
    LastUse(String),
}

pub fn identity(identity: &Identity) -> Vec<u8> {
    match identity {
        Identity::Account(id) => join(IDENTITY, &[&[ACCOUNT], id.as_bytes()]),
        Identity::User(account, name) => join(IDENTITY, &[&[USER], account.as_bytes(), name.as_bytes()]),
        Identity::LastUse(id) => join(IDENTITY, &[&[LAST_USE], id.as_bytes()]),
    }
}

/// The family of identities: accounts, last uses of keys, then users by account.
pub fn identities() -> (Vec<u8>, Vec<u8>) {
    (vec![IDENTITY], vec![IDENTITY + 1])
}

pub fn parse_identity(key: &[u8]) -> Option<Identity> {
    let (kind, rest) = key.strip_prefix(&[IDENTITY])?.split_first()?;
    let rest = std::str::from_utf8(rest).ok()?;
    if *kind == LAST_USE {
        return Some(Identity::LastUse(rest.to_owned()));
    }
    let (account, name) = rest.split_at_checked(ACCOUNT_ID_BYTES)?;
    match (*kind, name) {
        (ACCOUNT, "") => Some(Identity::Account(account.to_owned())),
        (USER, name) if !name.is_empty() => Some(Identity::User(account.to_owned(), name.to_owned())),
        _ => None,
    }
}

/// A setting of a bucket; `name` tells those apart of which a bucket has several, else it is empty.
pub fn setting(bucket: u64, kind: u8, name: &str) -> Vec<u8> {
    join(SETTING, &[&bucket.to_be_bytes(), &[kind], name.as_bytes()])
}

/// The settings of all buckets, by bucket.
pub fn settings() -> (Vec<u8>, Vec<u8>) {
    (vec![SETTING], vec![SETTING + 1])
}

/// Bucket, kind and name of a setting's key.
pub fn parse_setting(key: &[u8]) -> Option<(u64, u8, &str)> {
    let (bucket, rest) = key.strip_prefix(&[SETTING])?.split_first_chunk()?;
    let (kind, name) = rest.split_first()?;
    Some((u64::from_be_bytes(*bucket), *kind, std::str::from_utf8(name).ok()?))
}

/// A version of an object; `order` grows with time.
pub fn version(bucket: u64, key: &str, order: u64) -> Vec<u8> {
    let mut out = object(VERSION, bucket, key.as_bytes());
    out.extend_from_slice(&(!order).to_be_bytes());
    out
}

pub fn is_version(key: &[u8]) -> bool {
    key.first() == Some(&VERSION)
}

/// The key under whose lock everything about a key is decided: itself, or of a version that of order
/// 0, so that all versions of an object have the same.
pub fn lock_of(key: &[u8]) -> Vec<u8> {
    if is_version(key) { with_order(key, ORDER_UNVERSIONED) } else { key.to_vec() }
}

/// The version of the same object that has this order.
fn with_order(version: &[u8], order: u64) -> Vec<u8> {
    let mut other = object_of(version).to_vec();
    other.extend_from_slice(&(!order).to_be_bytes());
    other
}

/// The object in the key of a version: equal for its versions, and only for them.
pub fn object_of(version: &[u8]) -> &[u8] {
    version.split_last_chunk::<8>().map_or(version, |(object, _)| object)
}

/// The order in the key of a version.
pub fn order_of(version: &[u8]) -> Option<u64> {
    version.last_chunk::<8>().map(|order| !u64::from_be_bytes(*order))
}

/// In front of all versions of the object of this one, and behind everything before it.
pub fn front_of(version: &[u8]) -> Vec<u8> {
    with_order(version, u64::MAX)
}

/// Behind exactly this version, in front of the next older one.
pub fn version_after(bucket: u64, key: &str, order: u64) -> Vec<u8> {
    match order.checked_sub(1) {
        Some(older) => version(bucket, key, older),
        None => versions_after(bucket, key.as_bytes()),
    }
}

/// Which order the null version of an object has, when it is not 0.
pub fn null_order(bucket: u64, key: &str) -> Vec<u8> {
    object(NULL_ORDER, bucket, key.as_bytes())
}

pub fn parse_null_order(key: &[u8]) -> Option<Vec<u8>> {
    let (name, rest) = unescape(key.strip_prefix(&[NULL_ORDER])?.get(8..)?)?;
    rest.is_empty().then_some(name)
}

/// Everything in front of which no version of a key that begins with `prefix` sorts.
pub fn versions_from(bucket: u64, prefix: &[u8]) -> Vec<u8> {
    let mut out = join(VERSION, &[&bucket.to_be_bytes()]);
    escape_into(&mut out, prefix);
    out
}

/// The first place behind all versions of exactly `key`.
pub fn versions_after(bucket: u64, key: &[u8]) -> Vec<u8> {
    let mut out = versions_from(bucket, key);
    out.extend_from_slice(&[0, 2]);
    out
}

/// The first place behind every key that begins with `prefix`; an empty prefix ends the bucket.
pub fn versions_end(bucket: u64, prefix: &[u8]) -> Vec<u8> {
    successor(versions_from(bucket, prefix))
}

/// The object key and order of a version's catalog key.
pub fn parse_version(key: &[u8]) -> Option<(Vec<u8>, u64)> {
    let rest = key.strip_prefix(&[VERSION])?.get(8..)?;
    let (name, rest) = unescape(rest)?;
    Some((name, !u64::from_be_bytes(rest.try_into().ok()?)))
}

pub fn upload(bucket: u64, key: &str, upload: u128) -> Vec<u8> {
    let mut out = object(UPLOAD, bucket, key.as_bytes());
    out.extend_from_slice(&upload.to_be_bytes());
    out
}

pub fn uploads_from(bucket: u64, prefix: &[u8]) -> Vec<u8> {
    let mut out = join(UPLOAD, &[&bucket.to_be_bytes()]);
    escape_into(&mut out, prefix);
    out
}

pub fn uploads_after(bucket: u64, key: &[u8]) -> Vec<u8> {
    let mut out = uploads_from(bucket, key);
    out.extend_from_slice(&[0, 2]);
    out
}

pub fn uploads_end(bucket: u64, prefix: &[u8]) -> Vec<u8> {
    successor(uploads_from(bucket, prefix))
}

pub fn parse_upload(key: &[u8]) -> Option<(Vec<u8>, u128)> {
    let rest = key.strip_prefix(&[UPLOAD])?.get(8..)?;
    let (name, rest) = unescape(rest)?;
    Some((name, u128::from_be_bytes(rest.try_into().ok()?)))
}

pub fn part(upload: u128, number: u16) -> Vec<u8> {
    join(PART, &[&upload.to_be_bytes(), &number.to_be_bytes()])
}

pub fn parts_from(upload: u128, number: u16) -> Vec<u8> {
    part(upload, number)
}

pub fn parts_end(upload: u128) -> Vec<u8> {
    successor(join(PART, &[&upload.to_be_bytes()]))
}

pub fn parse_part(key: &[u8]) -> Option<(u128, u16)> {
    let rest = key.strip_prefix(&[PART])?;
    let (upload, number) = rest.split_at_checked(16)?;
    Some((u128::from_be_bytes(upload.try_into().ok()?), u16::from_be_bytes(number.try_into().ok()?)))
}

/// What a bucket holds in the shard.
pub fn usage(bucket: u64) -> Vec<u8> {
    join(USAGE, &[&bucket.to_be_bytes()])
}

pub fn usages() -> (Vec<u8>, Vec<u8>) {
    (vec![USAGE], vec![USAGE + 1])
}

pub fn parse_usage(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(&[USAGE])?.try_into().ok()?))
}

pub fn space(drive: DriveId, segment: u32) -> Vec<u8> {
    join(SPACE, &[&drive.0.to_be_bytes(), &segment.to_be_bytes()])
}

pub fn spaces() -> (Vec<u8>, Vec<u8>) {
    (vec![SPACE], vec![SPACE + 1])
}

pub fn parse_space(key: &[u8]) -> Option<(DriveId, u32)> {
    let (drive, segment) = key.strip_prefix(&[SPACE])?.split_at_checked(2)?;
    Some((DriveId(u16::from_be_bytes(drive.try_into().ok()?)), u32::from_be_bytes(segment.try_into().ok()?)))
}

pub fn pack(id: u64) -> Vec<u8> {
    join(PACK, &[&id.to_be_bytes()])
}

pub fn packs() -> (Vec<u8>, Vec<u8>) {
    (vec![PACK], vec![PACK + 1])
}

pub fn parse_pack(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(&[PACK])?.try_into().ok()?))
}

/// Parts of something deleted, waiting to give back their space.
pub fn garbage(id: u128) -> Vec<u8> {
    join(GARBAGE, &[&id.to_be_bytes()])
}

pub fn garbages() -> (Vec<u8>, Vec<u8>) {
    (vec![GARBAGE], vec![GARBAGE + 1])
}

pub fn parse_garbage(key: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(key.strip_prefix(&[GARBAGE])?.try_into().ok()?))
}

/// An event that waits to be told to a target. Those of a target stand together, oldest first.
pub fn event(target: &str, sequence: u64) -> Vec<u8> {
    assert!(target.len() < 256, "names of targets are short");
    join(EVENT, &[&[target.len() as u8], target.as_bytes(), &sequence.to_be_bytes()])
}

/// The family of events.
pub fn events() -> (Vec<u8>, Vec<u8>) {
    (vec![EVENT], vec![EVENT + 1])
}

/// Asked of every key that a record names, so cheaply.
#[inline]
pub fn is_event(key: &[u8]) -> bool {
    key.first() == Some(&EVENT)
}

/// Target and sequence of an event's key.
pub fn parse_event(key: &[u8]) -> Option<(&str, u64)> {
    let (length, rest) = key.strip_prefix(&[EVENT])?.split_first()?;
    let (target, sequence) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(target).ok()?, u64::from_be_bytes(sequence.try_into().ok()?)))
}

/// What the family of a key is called; `None` when there is no such family.
pub fn family(key: &[u8]) -> Option<&'static str> {
    Some(match *key.first()? {
        BUCKET => "bucket",
        IDENTITY => "identity",
        SETTING => "setting",
        VERSION => "object",
        NULL_ORDER => "null order",
        UPLOAD => "upload",
        PART => "part",
        USAGE => "usage",
        SPACE => "space",
        PACK => "pack",
        GARBAGE => "garbage",
        EVENT => "event",
        _ => return None,
    })
}

/// The bucket of a version's, a null order's, an upload's or a setting's catalog key.
pub fn bucket_of(key: &[u8]) -> Option<u64> {
    let families = [VERSION, NULL_ORDER, UPLOAD, SETTING];
    let rest = families.iter().find_map(|family| key.strip_prefix(&[*family]))?;
    rest.first_chunk().map(|bucket| u64::from_be_bytes(*bucket))
}

/// The shard that decides about a key. FNV-1a with a final mix: fixed for ever, part of the format.
pub fn shard_of(bucket: u64, key: &[u8], shards: u16) -> ShardId {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ bucket;
    for byte in key {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ShardId(((hash >> 32) % u64::from(shards)) as u16)
}

fn join(tag: u8, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![tag];
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    out
}

fn object(tag: u8, bucket: u64, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + 8 + key.len() + 2 + 16);
    out.push(tag);
    out.extend_from_slice(&bucket.to_be_bytes());
    escape_into(&mut out, key);
    out.extend_from_slice(&[0, 1]);
    out
}

fn escape_into(out: &mut Vec<u8>, key: &[u8]) {
    for byte in key {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
}

fn unescape(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let (plain, special) = rest.split_at(rest.iter().position(|byte| *byte == 0)?);
        out.extend_from_slice(plain);
        match special.get(1..)?.split_first()? {
            (0xff, after) => {
                out.push(0);
                rest = after;
            }
            (1, after) => return Some((out, after)),
            _ => return None,
        }
    }
}

/// The smallest key above every key that begins with `prefix`.
fn successor(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < 0xff {
            prefix.push(last + 1);
            return prefix;
        }
    }
    unreachable!("a tag byte is below 0xff")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn identities_come_back_and_are_nothing_else() {
        let account = "123456789012".to_owned();
        for identity in [
            Identity::Account(account.clone()),
            Identity::User(account.clone(), "ann".into()),
            Identity::LastUse("AKIA".into()),
        ] {
            let at = super::identity(&identity);
            assert_eq!(parse_identity(&at), Some(identity));
            assert_eq!((family(&at), bucket_name(&at)), (Some("identity"), None));
        }
        assert_eq!(parse_identity(&[IDENTITY, ACCOUNT, b'1']), None);
        assert_eq!(parse_identity(&super::identity(&Identity::User(account, String::new()))), None);
    }

    proptest! {
        #[test]
        fn order_is_that_of_keys_then_newest_first(a: String, b: String, x: u64, y: u64) {
            let order = a.as_bytes().cmp(b.as_bytes()).then(y.cmp(&x));
            prop_assert_eq!(version(1, &a, x).cmp(&version(1, &b, y)), order);
        }

        #[test]
        fn bounds_hold_exactly_what_they_say(prefix: String, key: String) {
            let at = version(3, &key, 9);
            let inside = at >= versions_from(3, prefix.as_bytes()) && at < versions_end(3, prefix.as_bytes());
            prop_assert_eq!(inside, key.as_bytes().starts_with(prefix.as_bytes()));
            prop_assert!(at < versions_after(3, key.as_bytes()));
            let longer = format!("{key}\u{0}");
            prop_assert!(version(3, &longer, u64::MAX) > versions_after(3, key.as_bytes()));
        }

        #[test]
        fn versions_come_back(key: String, order: u64) {
            let at = version(1, &key, order);
            prop_assert_eq!(lock_of(&at), version(1, &key, 0));
            prop_assert!(object_of(&at) == object_of(&version(1, &key, 0)));
            prop_assert!(at < version_after(1, &key, order));
            prop_assert_eq!(parse_null_order(&null_order(1, &key)), Some(key.clone().into_bytes()));
            prop_assert_eq!(parse_version(&at), Some((key.into_bytes(), order)));
        }

        #[test]
        fn events_come_back_in_the_order_of_each_target(target in "[a-z]{1,5}", x: u64, y: u64) {
            let (one, other) = (event(&target, x), event(&target, y));
            prop_assert_eq!(parse_event(&one), Some((&*target, x)));
            prop_assert_eq!(one.cmp(&other), x.cmp(&y));
            prop_assert!(is_event(&one) && one >= events().0 && one < events().1);
        }

        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>) {
            let _ = (parse_event(&bytes), parse_usage(&bytes));
            let _ = (parse_version(&bytes), parse_upload(&bytes), parse_part(&bytes), parse_space(&bytes));
            let _ = (lock_of(&bytes), object_of(&bytes), parse_null_order(&bytes));
        }
    }
}
