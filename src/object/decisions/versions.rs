//! The versions of a key: their ids, their order, and how one is found.
//!
//! A version's order grows with time for each key and is decided under the lock of the key; its id
//! is the order as text, with a check that tells the id of another key from one that is none at all.
//! In a bucket that was never versioned the null version has order 0 and is one exact lookup; in
//! others the newest version is one step of a scan. Everything here asks the settings that the owner
//! of the key knows, so that a read agrees with the writes that were answered before it.

use std::rc::Rc;

use super::commit::BucketRef;
use crate::base::limits::SCAN_RETRIES_MAX;
use crate::catalog::key::{self, ORDER_UNVERSIONED};
use crate::catalog::value::{NullOrder, Version};
use crate::object::error::ObjectError;
use crate::object::registry::buckets::Bucket;
use crate::object::shard::{Shard, damaged};

/// The id of a version that was written while its bucket was not versioned.
pub const NULL_ID: &str = "null";

/// Above the newest order when the clock is behind it: an order that was given out and deleted
/// since is not given out again.
const ORDER_LEAP: u64 = 1 << 20;

/// So that no plain number is an id.
const CHECK: u32 = 0x6261_736c;

/// What a version id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    Null,
    Order(u64),
    /// A well-formed id, but of another key.
    Elsewhere,
}

/// A version and its place among those of its key.
#[derive(Clone, Debug)]
pub struct Found {
    pub order: u64,
    pub version: Version,
}

impl Found {
    /// `null`, or the order as text.
    pub fn id(&self, bucket: u64, key: &str) -> String {
        id(bucket, key, self.order, self.version.null)
    }
}

/// The id of a version.
pub fn id(bucket: u64, key: &str, order: u64, null: bool) -> String {
    match null {
        true => NULL_ID.to_owned(),
        false => text(bucket, key, order),
    }
}

/// A place among the versions of a key, as the id of a version there; null where there are no others.
pub fn place(bucket: u64, key: &str, order: u64) -> String {
    id(bucket, key, order, order == ORDER_UNVERSIONED)
}

/// Order, check, key.
fn text(bucket: u64, key: &str, order: u64) -> String {
    format!("{order:016x}{:08x}{:08x}", check(order), bind(bucket, key, order))
}

/// As it was given out: policies compare ids letter by letter.
pub fn parse_id(bucket: u64, key: &str, text: &str) -> Result<Named, ObjectError> {
    if text == NULL_ID {
        return Ok(Named::Null);
    }
    let digits = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    let number = number.ok_or(ObjectError::InvalidVersionId)?;
    let (order, checks) = ((number >> 64) as u64, number as u64);
    if (checks >> 32) as u32 != check(order) {
        return Err(ObjectError::InvalidVersionId);
    }
    match checks as u32 == bind(bucket, key, order) {
        true => Ok(Named::Order(order)),
        false => Ok(Named::Elsewhere),
    }
}

fn check(order: u64) -> u32 {
    (order.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 ^ CHECK
}

/// FNV-1a over the key, from a start that bucket and order give.
fn bind(bucket: u64, key: &str, order: u64) -> u32 {
    let start = 0xcbf2_9ce4_8422_2325 ^ bucket ^ order.rotate_left(17);
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = key.bytes().fold(start, step).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 32) as u32
}

impl Shard {
    /// The bucket with the settings that count here and now.
    pub fn bucket(&self, bucket: &BucketRef) -> Result<Rc<Bucket>, ObjectError> {
        let found = self.bulletin.common.buckets.get(&bucket.name);
        found.filter(|found| found.value.id == bucket.id).ok_or(ObjectError::NoSuchBucket)
    }

    /// The version a read is about: the current one, or the one of an id.
    pub async fn find(&self, bucket: &Bucket, key: &str, id: Option<&str>) -> Result<Found, ObjectError> {
        let found = match id {
            None => self.newest(bucket, key).await?.ok_or(ObjectError::NoSuchKey)?,
            Some(id) => Box::pin(self.named(bucket, key, id)).await?.ok_or(ObjectError::NoSuchVersion)?,
        };
        if !found.version.is_marker() {
            return Ok(found);
        }
        let (version, modified) = (found.id(bucket.value.id, key), found.version.meta.modified);
        Err(ObjectError::DeleteMarker { version, modified, named: id.is_some() })
    }

    /// The newest version, which may be a delete marker.
    pub async fn newest(&self, bucket: &Bucket, key: &str) -> Result<Option<Found>, ObjectError> {
        match bucket.settings.versioning {
            None => self.exact(bucket.value.id, key, ORDER_UNVERSIONED).await,
            // Apart, so that a scan does not burden the lookups of other buckets.
            Some(_) => Box::pin(self.newest_of_many(bucket.value.id, key)).await,
        }
    }

    /// Whether an object of this name is there, and its id where versions have one.
    pub async fn newest_id(
        self: Rc<Self>,
        named: BucketRef,
        key: String,
    ) -> Result<Option<Option<String>>, ObjectError> {
        let bucket = self.bucket(&named)?;
        let found = self.newest(&bucket, &key).await?.filter(|found| !found.version.is_marker());
        Ok(found.map(|found| bucket.settings.versioning.map(|_| found.id(bucket.value.id, &key))))
    }

    async fn newest_of_many(&self, bucket: u64, key: &str) -> Result<Option<Found>, ObjectError> {
        for _ in 0..SCAN_RETRIES_MAX {
            let since = self.traffic.now();
            let (start, end) =
                (key::version(bucket, key, u64::MAX), key::versions_after(bucket, key.as_bytes()));
            let entry = self.index.scan(start.clone(), end).next().await?;
            // A version that came and one that went while the scan waited could both be missed.
            if self.traffic.has_come(&start, since) && self.traffic.has_gone(&start, since) {
                continue;
            }
            let Some((at, value)) = entry else { return Ok(None) };
            let (_, order) = key::parse_version(&at).ok_or_else(|| damaged("version key"))?;
            let version = Version::decode(&value).ok_or_else(|| damaged("version"))?;
            return Ok(Some(Found { order, version }));
        }
        Err(ObjectError::SlowDown)
    }

    /// The version of an id, if there is one.
    pub async fn named(&self, bucket: &Bucket, key: &str, id: &str) -> Result<Option<Found>, ObjectError> {
        match parse_id(bucket.value.id, key, id)? {
            Named::Null => self.null_version(bucket, key).await,
            Named::Order(order) => self.exact(bucket.value.id, key, order).await,
            Named::Elsewhere => Ok(None),
        }
    }

    /// The null version, wherever it stands.
    pub async fn null_version(&self, bucket: &Bucket, key: &str) -> Result<Option<Found>, ObjectError> {
        let id = bucket.value.id;
        if bucket.settings.versioning.is_none() {
            return self.exact(id, key, ORDER_UNVERSIONED).await;
        }
        for _ in 0..SCAN_RETRIES_MAX {
            let since = self.traffic.now();
            let order = self.order_of_null(id, key).await?;
            let found = self.exact(id, key, order).await?;
            if found.is_some() || !self.traffic.has_gone(&key::version(id, key, order), since) {
                return Ok(found);
            }
        }
        Err(ObjectError::SlowDown)
    }

    async fn order_of_null(&self, bucket: u64, key: &str) -> Result<u64, ObjectError> {
        match self.get(&key::null_order(bucket, key)).await? {
            None => Ok(ORDER_UNVERSIONED),
            Some(value) => {
                NullOrder::decode(&value).map(|order| order.0).ok_or_else(|| damaged("null order"))
            }
        }
    }

    async fn exact(&self, bucket: u64, key: &str, order: u64) -> Result<Option<Found>, ObjectError> {
        let version = self.version(&key::version(bucket, key, order)).await?;
        Ok(version.map(|version| Found { order, version }))
    }

    /// The order of a version that follows `newest`. Time goes on whatever the clock says.
    pub fn order_behind(&self, newest: Option<&Found>) -> u64 {
        let world = &self.pool.world;
        let leap = || 1 + world.random_u64() % ORDER_LEAP;
        match newest {
            Some(newest) if newest.order >= world.now().0 => newest.order.saturating_add(leap()),
            _ => world.now().0.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_come_back_and_belong_to_one_key(bucket: u64, key: String, other: String, order: u64, bit in 0..96) {
            let id = id(bucket, &key, order, false);
            prop_assert_eq!(parse_id(bucket, &key, &id), Ok(Named::Order(order)));
            if id != id.to_uppercase() {
                prop_assert_eq!(parse_id(bucket, &key, &id.to_uppercase()), Err(ObjectError::InvalidVersionId));
            }
            if key != other {
                prop_assert_eq!(parse_id(bucket, &other, &id), Ok(Named::Elsewhere));
            }
            let flipped = u128::from_str_radix(&id, 16).unwrap() ^ 1u128 << (127 - bit);
            prop_assert_eq!(
                parse_id(bucket, &key, &format!("{flipped:032x}")),
                Err(ObjectError::InvalidVersionId)
            );
        }

        #[test]
        fn any_text_is_judged_without_panic(text: String) {
            prop_assert!(parse_id(1, "k", &text).is_err() || text == NULL_ID);
        }
    }
}
