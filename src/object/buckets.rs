//! The buckets as every core knows them: names to ids, all in memory, bounded by `BUCKETS_MAX`.
//!
//! The records live in shard 0; its owner decides, commits, and then tells every core before it
//! answers, so that a bucket that was acknowledged is known wherever the next request lands.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use super::commit::BucketRef;
use super::error::ObjectError;
use super::shard::{Shard, damaged};
use crate::base::ids::ShardId;
use crate::base::limits::BUCKETS_MAX;
use crate::catalog::key;
use crate::catalog::record::Operation;
use crate::catalog::value::BucketValue;

/// The shard that decides about buckets.
pub const BUCKET_SHARD: ShardId = ShardId(0);

#[derive(Default)]
pub struct Buckets(RefCell<BTreeMap<String, Entry>>);

#[derive(Clone)]
struct Entry {
    value: BucketValue,
    /// Being deleted: nothing may be committed into it, though it still exists.
    closing: bool,
}

/// What happens to a bucket, told to every core.
#[derive(Clone, Debug)]
pub enum Change {
    Open(String, BucketValue),
    /// No more commits into it from now on.
    Close(String),
    /// The deletion did not come about.
    Reopen(String),
    Remove(String),
}

impl Buckets {
    pub fn apply(&self, change: Change) {
        let mut buckets = self.0.borrow_mut();
        let (name, closing) = match change {
            Change::Open(name, value) => {
                buckets.insert(name, Entry { value, closing: false });
                return;
            }
            Change::Remove(name) => {
                buckets.remove(&name);
                return;
            }
            Change::Close(name) => (name, true),
            Change::Reopen(name) => (name, false),
        };
        if let Some(entry) = buckets.get_mut(&name) {
            entry.closing = closing;
        }
    }

    pub fn get(&self, name: &str) -> Option<BucketValue> {
        self.0.borrow().get(name).map(|entry| entry.value.clone())
    }

    pub fn id(&self, name: &str) -> Option<u64> {
        self.0.borrow().get(name).map(|entry| entry.value.id)
    }

    /// Whether a record may be committed into bucket `id` of this name now.
    pub fn accepts(&self, name: &str, id: u64) -> bool {
        self.0.borrow().get(name).is_some_and(|entry| entry.value.id == id && !entry.closing)
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Buckets behind `after` whose names begin with `prefix`, in order.
    pub fn list(&self, prefix: &str, after: &str, limit: usize) -> Vec<(String, BucketValue)> {
        let buckets = self.0.borrow();
        let start = if after >= prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
        let range = buckets.range::<str, _>((start, Bound::Unbounded));
        let inside = range.take_while(|(name, _)| name.starts_with(prefix));
        inside.take(limit).map(|(name, entry)| (name.clone(), entry.value.clone())).collect()
    }
}

impl Shard {
    /// At the owner of `BUCKET_SHARD`: decides, commits, tells every core.
    pub async fn create_bucket(self: Rc<Self>, name: String, value: BucketValue) -> Result<(), ObjectError> {
        let at = key::bucket(&name);
        let _guard = self.locks.lock(&at).await;
        let buckets = &self.bulletin.buckets;
        if let Some(taken) = buckets.get(&name) {
            return Err(match taken.owner == value.owner {
                true => ObjectError::BucketAlreadyOwnedByYou,
                false => ObjectError::BucketAlreadyExists,
            });
        }
        if buckets.len() >= BUCKETS_MAX {
            return Err(ObjectError::TooManyBuckets);
        }
        self.commit_internal(vec![Operation::Put { key: at, value: value.encode() }]).await?;
        self.bulletin.announce(Change::Open(name, value)).await;
        Ok(())
    }

    /// From here on no core commits into the bucket. One deleter at a time.
    pub async fn close_bucket(self: Rc<Self>, bucket: BucketRef) -> Result<(), ObjectError> {
        let _guard = self.locks.lock(&key::bucket(&bucket.name)).await;
        if !self.bulletin.buckets.accepts(&bucket.name, bucket.id) {
            return Err(ObjectError::NoSuchBucket);
        }
        self.bulletin.announce(Change::Close(bucket.name)).await;
        Ok(())
    }

    /// Deletes a closed bucket that turned out to be empty, or opens it again.
    pub async fn finish_bucket(
        self: Rc<Self>,
        bucket: BucketRef,
        emptied: Result<(), ObjectError>,
    ) -> Result<(), ObjectError> {
        let at = key::bucket(&bucket.name);
        let _guard = self.locks.lock(&at).await;
        let result = match emptied {
            Ok(()) => self.commit_internal(vec![Operation::Delete { key: at }]).await,
            error => error,
        };
        let change = match result {
            Ok(()) => Change::Remove(bucket.name),
            Err(_) => Change::Reopen(bucket.name),
        };
        self.bulletin.announce(change).await;
        result
    }

    /// Every bucket there is, read from the catalog at start.
    pub async fn load_buckets(&self) -> Result<Vec<(String, BucketValue)>, ObjectError> {
        let (start, end) = key::buckets();
        let mut scan = self.index.scan(start, end);
        let mut found = Vec::new();
        while let Some((at, value)) = scan.next().await? {
            let name = key::bucket_name(&at).ok_or_else(|| damaged("bucket key"))?;
            found.push((name.to_owned(), BucketValue::decode(&value).ok_or_else(|| damaged("bucket"))?));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Nanos;

    fn value(id: u64) -> BucketValue {
        BucketValue { id, created: Nanos(1), owner: "o".into(), region: "r".into() }
    }

    #[test]
    fn lists_are_by_prefix_and_continue_behind_a_name() {
        let buckets = Buckets::default();
        for (id, name) in ["ab", "abc", "abd", "b"].into_iter().enumerate() {
            buckets.apply(Change::Open(name.into(), value(id as u64)));
        }
        let names = |prefix, after, limit| -> Vec<String> {
            buckets.list(prefix, after, limit).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names("ab", "", 9), ["ab", "abc", "abd"]);
        assert_eq!(names("ab", "abc", 9), ["abd"]);
        assert_eq!(names("", "", 2), ["ab", "abc"]);
        assert_eq!(names("b", "a", 9), ["b"]);
    }

    #[test]
    fn a_closing_bucket_accepts_nothing_until_it_is_reopened() {
        let buckets = Buckets::default();
        buckets.apply(Change::Open("b".into(), value(1)));
        assert!(buckets.accepts("b", 1) && !buckets.accepts("b", 2));
        buckets.apply(Change::Close("b".into()));
        assert!(!buckets.accepts("b", 1) && buckets.get("b").is_some());
        buckets.apply(Change::Reopen("b".into()));
        assert!(buckets.accepts("b", 1));
    }
}
