//! The buckets as every core knows them: names to ids and settings, all in memory, bounded by
//! `BUCKETS_MAX` and `SETTING_BYTES_MAX`.
//!
//! The records live in shard 0; its owner decides, commits, and then tells every core before it
//! answers, so that what was acknowledged is known wherever the next request lands. A `Bucket` is
//! what one core holds of it: cheap to clone, never changed, replaced when a setting changes. The
//! settings in it and the meter of what it holds are shared by the cores.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use super::settings::{self, BucketSettings, Loaded, Setting, SettingId};
use super::usage::Meter;
use crate::base::ids::ShardId;
use crate::base::limits::BUCKETS_MAX;
use crate::catalog::key;
use crate::catalog::record::Operation;
use crate::catalog::usage::Usage;
use crate::catalog::value::BucketValue;
use crate::codec::xml::Quota;
use crate::object::decisions::commit::BucketRef;
use crate::object::error::ObjectError;
use crate::object::shard::{Shard, damaged};

/// The shard that decides about buckets.
pub const BUCKET_SHARD: ShardId = ShardId(0);

#[derive(Default)]
pub struct Buckets {
    named: RefCell<BTreeMap<String, Entry>>,
    /// By id, for records, which name no bucket.
    meters: RefCell<BTreeMap<u64, Arc<Meter>>>,
    /// Of the documents of all settings, and how many there may be.
    settings_bytes: Cell<usize>,
    settings_bytes_max: Cell<Option<usize>>,
}

/// A bucket and its settings, on one core.
pub struct Bucket {
    pub value: BucketValue,
    pub settings: Arc<BucketSettings>,
    pub meter: Arc<Meter>,
    derived: OnceCell<Rc<dyn Any>>,
}

impl Bucket {
    fn new(value: BucketValue, settings: Arc<BucketSettings>, meter: Arc<Meter>) -> Rc<Self> {
        Rc::new(Bucket { value, settings, meter, derived: OnceCell::new() })
    }

    /// What a layer above makes of the settings: made once on each core, kept until they change.
    /// There is room for one such thing.
    pub fn derived<T: 'static>(&self, make: impl FnOnce(&Bucket) -> T) -> Rc<T> {
        let derived = self.derived.get_or_init(|| Rc::new(make(self)));
        derived.clone().downcast().expect("one layer derives one type")
    }
}

struct Entry {
    bucket: Rc<Bucket>,
    /// Being deleted: nothing may be committed into it, though it still exists.
    closing: bool,
}

/// What happens to a bucket, told to every core.
#[derive(Clone, Debug)]
pub enum Change {
    Open(String, BucketValue, Arc<BucketSettings>, Arc<Meter>),
    /// All settings as they are from now on.
    Settings(String, Arc<BucketSettings>),
    /// No more commits into it from now on.
    Close(String),
    /// The deletion did not come about.
    Reopen(String),
    Remove(String),
}

impl Buckets {
    pub fn apply(&self, change: Change) {
        let mut buckets = self.named.borrow_mut();
        let (name, closing) = match change {
            Change::Open(name, value, settings, meter) => {
                self.meters.borrow_mut().insert(value.id, meter.clone());
                self.weigh(0, settings.bytes);
                buckets.insert(name, Entry { bucket: Bucket::new(value, settings, meter), closing: false });
                return;
            }
            Change::Settings(name, settings) => {
                if let Some(entry) = buckets.get_mut(&name) {
                    let before = &entry.bucket;
                    self.weigh(before.settings.bytes, settings.bytes);
                    entry.bucket = Bucket::new(before.value.clone(), settings, before.meter.clone());
                }
                return;
            }
            Change::Remove(name) => {
                if let Some(entry) = buckets.remove(&name) {
                    self.weigh(entry.bucket.settings.bytes, 0);
                    self.meters.borrow_mut().remove(&entry.bucket.value.id);
                }
                return;
            }
            Change::Close(name) => (name, true),
            Change::Reopen(name) => (name, false),
        };
        if let Some(entry) = buckets.get_mut(&name) {
            entry.closing = closing;
        }
    }

    /// Settings are in memory whole, so there is a bound for those of all buckets together.
    pub fn bound_settings(&self, bytes: usize) {
        self.settings_bytes_max.set(Some(bytes));
    }

    fn weigh(&self, before: usize, after: usize) {
        self.settings_bytes.set((self.settings_bytes.get() + after).saturating_sub(before));
    }

    /// Whether settings of so many bytes may become so many.
    fn admit_settings(&self, before: usize, after: usize) -> Result<(), ObjectError> {
        let all = (self.settings_bytes.get() + after).saturating_sub(before);
        match self.settings_bytes_max.get() {
            Some(max) if after > before && all > max => Err(ObjectError::TooManyConfigurations(
                "The configurations of all buckets together are as large as the memory of the server allows",
            )),
            _ => Ok(()),
        }
    }

    pub fn get(&self, name: &str) -> Option<Rc<Bucket>> {
        self.named.borrow().get(name).map(|entry| entry.bucket.clone())
    }

    /// A change to what the bucket of an id holds became true. One that only adds was counted when it was
    /// claimed, so it needs no look at the meter.
    pub fn settle(&self, id: u64, change: Usage) {
        if change.takes_away()
            && let Some(meter) = self.meters.borrow().get(&id)
        {
            meter.settle(change);
        }
    }

    /// Some buckets behind `after`, by name, whoever owns them.
    pub fn page(&self, after: &str, limit: usize) -> Vec<(String, Rc<Bucket>)> {
        let buckets = self.named.borrow();
        let range = buckets.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        range.take(limit).map(|(name, entry)| (name.clone(), entry.bucket.clone())).collect()
    }

    /// The buckets that hold the most bytes.
    pub fn largest(&self, limit: usize) -> Vec<(String, Rc<Bucket>)> {
        if limit == 0 {
            return Vec::new();
        }
        let buckets = self.named.borrow();
        let mut all: Vec<(i64, &String, &Entry)> =
            buckets.iter().map(|(name, entry)| (entry.bucket.meter.read().stored(), name, entry)).collect();
        if all.len() > limit {
            all.select_nth_unstable_by_key(limit, |(stored, ..)| std::cmp::Reverse(*stored));
            all.truncate(limit);
        }
        all.into_iter().map(|(_, name, entry)| (name.clone(), entry.bucket.clone())).collect()
    }

    pub fn id(&self, name: &str) -> Option<u64> {
        self.named.borrow().get(name).map(|entry| entry.bucket.value.id)
    }

    /// Whether a record may be committed into bucket `id` of this name now. A deletion that is looking
    /// whether the bucket is empty mostly finds that it is not: who comes meanwhile tries again.
    pub fn check_open(&self, name: &str, id: u64) -> Result<(), ObjectError> {
        match self.named.borrow().get(name) {
            Some(entry) if entry.bucket.value.id == id && !entry.closing => Ok(()),
            Some(entry) if entry.bucket.value.id == id => Err(ObjectError::SlowDown),
            _ => Err(ObjectError::NoSuchBucket),
        }
    }

    /// The buckets whose settings are wanted.
    pub fn select(&self, wanted: impl Fn(&BucketSettings) -> bool) -> Vec<(BucketRef, Arc<BucketSettings>)> {
        let buckets = self.named.borrow();
        let chosen = buckets.iter().filter(|(_, entry)| wanted(&entry.bucket.settings));
        let named = |(name, entry): (&String, &Entry)| {
            let named = BucketRef { name: name.clone(), id: entry.bucket.value.id };
            (named, entry.bucket.settings.clone())
        };
        chosen.map(named).collect()
    }

    pub fn len(&self) -> usize {
        self.named.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether some bucket belongs to the account with that canonical id.
    pub fn has_owner(&self, owner: &str) -> bool {
        self.named.borrow().values().any(|entry| entry.bucket.value.owner == owner)
    }

    /// Buckets of one owner behind `after` whose names begin with `prefix`, in order.
    pub fn list(&self, owner: &str, prefix: &str, after: &str, limit: usize) -> Vec<(String, Rc<Bucket>)> {
        let buckets = self.named.borrow();
        let start = if after >= prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
        let range = buckets.range::<str, _>((start, Bound::Unbounded));
        let inside = range.take_while(|(name, _)| name.starts_with(prefix));
        let theirs = inside.filter(|(_, entry)| entry.bucket.value.owner == owner);
        theirs.take(limit).map(|(name, entry)| (name.clone(), entry.bucket.clone())).collect()
    }
}

impl Shard {
    /// At the owner of `BUCKET_SHARD`: decides, commits, tells every core.
    pub async fn create_bucket(
        self: Rc<Self>,
        name: String,
        value: BucketValue,
        initial: Vec<Setting>,
    ) -> Result<(), ObjectError> {
        let at = key::bucket(&name);
        let _guard = self.locks.lock(&at).await;
        let buckets = &self.bulletin.common.buckets;
        if let Some(taken) = buckets.get(&name) {
            return Err(match taken.value.owner == value.owner {
                true => ObjectError::BucketAlreadyOwnedByYou,
                false => ObjectError::BucketAlreadyExists,
            });
        }
        if buckets.len() >= BUCKETS_MAX {
            return Err(ObjectError::TooManyBuckets);
        }
        let gathered = settings::gather(&initial)?;
        let mut operations = vec![Operation::Put { key: at, value: value.encode() }];
        for setting in &initial {
            operations.push(setting.put(value.id)?);
        }
        self.commit_internal(operations).await?;
        self.bulletin.announce(Change::Open(name, value, Arc::new(gathered), Arc::default())).await;
        Ok(())
    }

    /// At the owner: sets, if it goes together with the other settings.
    pub async fn set_setting(self: Rc<Self>, bucket: BucketRef, setting: Setting) -> Result<(), ObjectError> {
        self.set_setting_by(bucket, |_| setting).await
    }

    /// At the owner: sets the bounds that are named.
    pub async fn limit_bucket(self: Rc<Self>, bucket: BucketRef, named: Quota) -> Result<(), ObjectError> {
        let limited = |now: &BucketSettings| Setting::Quota(named.or(now.quota.unwrap_or_default()));
        self.set_setting_by(bucket, limited).await
    }

    /// Sets what follows from the settings there are.
    async fn set_setting_by(
        &self,
        bucket: BucketRef,
        decide: impl FnOnce(&BucketSettings) -> Setting,
    ) -> Result<(), ObjectError> {
        let _guard = self.locks.lock(&key::bucket(&bucket.name)).await;
        let mut next = self.settings_of(&bucket)?;
        let setting = decide(&next);
        next.admit(&setting)?;
        let (operation, before) = (setting.put(bucket.id)?, next.bytes);
        next.set(setting);
        self.bulletin.common.buckets.admit_settings(before, next.bytes)?;
        self.install_settings(bucket, operation, next).await
    }

    /// At the owner: what was never set is removed too.
    pub async fn remove_setting(self: Rc<Self>, bucket: BucketRef, id: SettingId) -> Result<(), ObjectError> {
        let _guard = self.locks.lock(&key::bucket(&bucket.name)).await;
        let mut next = self.settings_of(&bucket)?;
        let operation = id.delete(bucket.id);
        next.remove(&id);
        self.install_settings(bucket, operation, next).await
    }

    fn settings_of(&self, bucket: &BucketRef) -> Result<BucketSettings, ObjectError> {
        let buckets = &self.bulletin.common.buckets;
        buckets.check_open(&bucket.name, bucket.id)?;
        Ok((*buckets.get(&bucket.name).ok_or(ObjectError::NoSuchBucket)?.settings).clone())
    }

    async fn install_settings(
        &self,
        bucket: BucketRef,
        operation: Operation,
        next: BucketSettings,
    ) -> Result<(), ObjectError> {
        self.commit(&bucket, vec![operation], &[]).await?;
        self.bulletin.announce(Change::Settings(bucket.name, Arc::new(next))).await;
        Ok(())
    }

    /// From here on no core commits into the bucket. One deleter at a time.
    pub async fn close_bucket(self: Rc<Self>, bucket: BucketRef) -> Result<(), ObjectError> {
        let _guard = self.locks.lock(&key::bucket(&bucket.name)).await;
        self.bulletin.common.buckets.check_open(&bucket.name, bucket.id)?;
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
            Ok(()) => self.commit_internal(self.deletion(&bucket, at)).await,
            error => error,
        };
        let change = match result {
            Ok(()) => Change::Remove(bucket.name),
            Err(_) => Change::Reopen(bucket.name),
        };
        self.bulletin.announce(change).await;
        result
    }

    /// The bucket with all its settings.
    fn deletion(&self, bucket: &BucketRef, at: Vec<u8>) -> Vec<Operation> {
        let settings = self.bulletin.common.buckets.get(&bucket.name).map(|found| found.settings.ids());
        let settings = settings.into_iter().flatten().map(|id| id.delete(bucket.id));
        [Operation::Delete { key: at }].into_iter().chain(settings).collect()
    }

    /// Every bucket there is, read from the catalog at start and told to every core. `usages` is what they hold
    /// in all shards, by id.
    pub async fn announce_buckets(&self, usages: &BTreeMap<u64, Usage>) -> Result<(), ObjectError> {
        let mut settings = self.load_settings().await?;
        let (start, end) = key::buckets();
        let mut scan = self.index.scan(start, end);
        while let Some((at, value)) = scan.next().await? {
            let name = key::bucket_name(&at).ok_or_else(|| damaged("bucket key"))?;
            let value = BucketValue::decode(&value).ok_or_else(|| damaged("bucket"))?;
            let own = Arc::new(settings.remove(&value.id).unwrap_or_default());
            let meter = Meter::new(usages.get(&value.id).copied().unwrap_or_default());
            self.bulletin.announce(Change::Open(name.to_owned(), value, own, meter)).await;
        }
        Ok(())
    }

    async fn load_settings(&self) -> Result<Loaded, ObjectError> {
        let (start, end) = key::settings();
        let mut scan = self.index.scan(start, end);
        let mut loaded = Loaded::default();
        while let Some((at, value)) = scan.next().await? {
            let (bucket, kind, _) = key::parse_setting(&at).ok_or_else(|| damaged("setting key"))?;
            let setting = Setting::decode(kind, &value).ok_or_else(|| damaged("setting"))?;
            loaded.entry(bucket).or_default().set(setting);
        }
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Nanos;
    use crate::codec::xml::Versioning;

    fn value(id: u64) -> BucketValue {
        BucketValue { id, created: Nanos(1), owner: "o".into(), region: "r".into() }
    }

    #[test]
    fn lists_are_by_prefix_and_continue_behind_a_name() {
        let buckets = Buckets::default();
        for (id, name) in ["ab", "abc", "abd", "b"].into_iter().enumerate() {
            buckets.apply(Change::Open(name.into(), value(id as u64), Arc::default(), Arc::default()));
        }
        let names = |prefix, after, limit| -> Vec<String> {
            buckets.list("o", prefix, after, limit).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names("ab", "", 9), ["ab", "abc", "abd"]);
        assert_eq!(names("ab", "abc", 9), ["abd"]);
        assert_eq!(names("", "", 2), ["ab", "abc"]);
        assert_eq!(names("b", "a", 9), ["b"]);
        assert!(buckets.list("another", "", "", 9).is_empty());
    }

    #[test]
    fn a_closing_bucket_accepts_nothing_until_it_is_reopened() {
        let buckets = Buckets::default();
        buckets.apply(Change::Open("b".into(), value(1), Arc::default(), Arc::default()));
        let check = |id| buckets.check_open("b", id);
        assert_eq!((check(1), check(2)), (Ok(()), Err(ObjectError::NoSuchBucket)));
        buckets.apply(Change::Close("b".into()));
        assert_eq!((check(1), check(2)), (Err(ObjectError::SlowDown), Err(ObjectError::NoSuchBucket)));
        assert!(buckets.get("b").is_some());
        buckets.apply(Change::Reopen("b".into()));
        assert_eq!(check(1), Ok(()));
        buckets.apply(Change::Remove("b".into()));
        assert_eq!(buckets.check_open("b", 1), Err(ObjectError::NoSuchBucket));
    }

    #[test]
    fn new_settings_replace_the_old_and_what_was_derived_from_them() {
        let buckets = Buckets::default();
        buckets.apply(Change::Open("b".into(), value(1), Arc::default(), Arc::default()));
        let before = buckets.get("b").unwrap();
        let versioned = |bucket: &Bucket| bucket.settings.is_versioned();
        assert!(!*before.derived(versioned));
        let next = BucketSettings { versioning: Some(Versioning::Enabled), ..BucketSettings::default() };
        buckets.apply(Change::Settings("b".into(), Arc::new(next)));
        assert!(*buckets.get("b").unwrap().derived(versioned) && !*before.derived(versioned));
        assert_eq!(buckets.id("b"), Some(1));
    }
}
