//! The settings of a bucket, as every core has them in memory: typed, parsed, never changed in place.
//!
//! The table below is the one list of what a bucket can be set to: a line gives a setting its number
//! on the drives (fixed for ever), its name, its field and the type of its document. Each setting is
//! one record (`catalog::key::setting`) in the shard of buckets. `BucketSettings::admit` is where
//! settings that depend on each other are judged, by the owner of the buckets, under the lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::limits::{INVENTORIES_MAX, SETTING_BYTES_MAX};
use crate::catalog::key;
use crate::catalog::record::Operation;
use crate::catalog::value::SettingValue;
use crate::codec::xml::{
    Acl, Configuration, Cors, Encryption, Inventory, InventoryRun, Lifecycle, Logging, Notification,
    ObjectLock, ObjectOwnership, Payer, PublicAccessBlock, Quota, Tags, Versioning, Website, XmlError,
};
use crate::object::error::ObjectError;

macro_rules! settings {
    (
        $($tag:literal $name:ident $field:ident $type:ty;)*
        several: $($many_tag:literal $many_name:ident $many_field:ident $many_type:ty;)*
    ) => {
        /// Which setting. The numbers stand on the drives.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind { $($name = $tag,)* $($many_name = $many_tag,)* }

        /// A setting with what it is set to.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Setting { $($name($type),)* $($many_name($many_type),)* }

        /// Everything that is set on a bucket; `None` where nobody set it.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct BucketSettings {
            $(pub $field: Option<$type>,)*
            /// By their ids.
            $(pub $many_field: BTreeMap<String, Arc<$many_type>>,)*
            /// Of the documents of all of them.
            pub bytes: usize,
        }

        impl Setting {
            pub fn kind(&self) -> Kind {
                match self {
                    $(Setting::$name(_) => Kind::$name,)*
                    $(Setting::$many_name(_) => Kind::$many_name,)*
                }
            }

            pub fn id(&self) -> SettingId {
                match self {
                    $(Setting::$many_name(document) => {
                        SettingId { kind: Kind::$many_name, name: document.id.clone() }
                    })*
                    _ => self.kind().into(),
                }
            }

            fn render(&self) -> Vec<u8> {
                match self {
                    $(Setting::$name(document) => document.render(),)*
                    $(Setting::$many_name(document) => document.render(),)*
                }
            }

            fn parse(kind: u8, document: &[u8]) -> Option<Self> {
                match kind {
                    $($tag => Some(Setting::$name(<$type>::parse(document).ok()?)),)*
                    $($many_tag => Some(Setting::$many_name(<$many_type>::parse(document).ok()?)),)*
                    _ => None,
                }
            }
        }

        impl BucketSettings {
            pub fn set(&mut self, setting: Setting) {
                self.bytes = self.bytes - self.bytes_of(&setting.id()) + setting.render().len();
                match setting {
                    $(Setting::$name(document) => self.$field = Some(document),)*
                    $(Setting::$many_name(document) => {
                        self.$many_field.insert(document.id.clone(), Arc::new(document));
                    })*
                }
            }

            pub fn remove(&mut self, id: &SettingId) {
                self.bytes -= self.bytes_of(id);
                match id.kind {
                    $(Kind::$name => self.$field = None,)*
                    $(Kind::$many_name => { self.$many_field.remove(&id.name); })*
                }
            }

            fn bytes_of(&self, id: &SettingId) -> usize {
                match id.kind {
                    $(Kind::$name => self.$field.as_ref().map_or(0, |document| document.render().len()),)*
                    $(Kind::$many_name => {
                        self.$many_field.get(&id.name).map_or(0, |document| document.render().len())
                    })*
                }
            }

            /// What is set.
            pub fn ids(&self) -> Vec<SettingId> {
                let mut ids = Vec::new();
                $(ids.extend(self.$field.as_ref().map(|_| SettingId::from(Kind::$name)));)*
                $(ids.extend(self.$many_field.keys().map(|name| {
                    SettingId { kind: Kind::$many_name, name: name.clone() }
                }));)*
                ids
            }
        }
    };
}

settings! {
    1 Versioning versioning Versioning;
    2 ObjectLock object_lock ObjectLock;
    3 Tags tags Tags;
    4 Policy policy Policy;
    5 Acl acl Acl;
    6 Ownership ownership ObjectOwnership;
    7 PublicAccess public_access PublicAccessBlock;
    8 Cors cors Cors;
    9 Website website Website;
    10 Encryption encryption Encryption;
    11 Payer payer Payer;
    12 Logging logging Logging;
    13 Lifecycle lifecycle Lifecycle;
    14 Notification notification Notification;
    15 Quota quota Quota;
    several:
    16 Inventory inventories Inventory;
    17 InventoryRun inventory_runs InventoryRun;
}

/// Names one setting of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SettingId {
    pub kind: Kind,
    /// Tells those apart of which a bucket has several; else empty.
    pub name: String,
}

impl From<Kind> for SettingId {
    fn from(kind: Kind) -> Self {
        SettingId { kind, name: String::new() }
    }
}

/// A bucket policy as it was sent, but for the users it names: they stand in it by unique id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub text: String,
}

impl Configuration for Policy {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let text = std::str::from_utf8(body).map_err(|_| XmlError::Malformed("it is not UTF-8"))?;
        Ok(Policy { text: text.to_owned() })
    }

    fn render(&self) -> Vec<u8> {
        self.text.as_bytes().to_vec()
    }
}

impl Setting {
    /// The operation that stores it, unless it is too large for every core to keep.
    pub(in crate::object) fn put(&self, bucket: u64) -> Result<Operation, ObjectError> {
        let document = self.render();
        if document.len() > SETTING_BYTES_MAX {
            return Err(ObjectError::TooManyConfigurations("The configuration is too large"));
        }
        Ok(Operation::Put { key: self.id().key(bucket), value: SettingValue { document }.encode() })
    }

    pub(in crate::object) fn decode(kind: u8, value: &[u8]) -> Option<Self> {
        Setting::parse(kind, &SettingValue::decode(value)?.document)
    }
}

impl SettingId {
    fn key(&self, bucket: u64) -> Vec<u8> {
        key::setting(bucket, self.kind as u8, &self.name)
    }

    pub(in crate::object) fn delete(&self, bucket: u64) -> Operation {
        Operation::Delete { key: self.key(bucket) }
    }
}

impl BucketSettings {
    pub fn is_versioned(&self) -> bool {
        self.versioning == Some(Versioning::Enabled)
    }

    /// Who owns objects here. New buckets are made with a setting; one from which it was removed is as
    /// AWS's were before there was one.
    pub fn ownership(&self) -> ObjectOwnership {
        self.ownership.unwrap_or(ObjectOwnership::ObjectWriter)
    }

    /// Whether `next` goes together with what is set already.
    pub(in crate::object) fn admit(&self, next: &Setting) -> Result<(), ObjectError> {
        match next {
            Setting::Versioning(Versioning::Suspended) if self.object_lock.is_some() => {
                Err(ObjectError::InvalidBucketState(
                    "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
                ))
            }
            Setting::Inventory(next) if !self.inventories.contains_key(&next.id) => {
                match self.inventories.len() < INVENTORIES_MAX {
                    true => Ok(()),
                    false => Err(ObjectError::TooManyConfigurations(
                        "You are attempting to create a new configuration but have already reached the 1,000-configuration limit.",
                    )),
                }
            }
            Setting::InventoryRun(run) if !self.inventories.contains_key(&run.id) => {
                Err(ObjectError::InvalidBucketState("There is no such inventory any more"))
            }
            Setting::ObjectLock(_) if !self.is_versioned() => Err(ObjectError::InvalidBucketState(
                "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
            )),
            _ => Ok(()),
        }
    }
}

/// Several settings as they are made together with a bucket.
pub(in crate::object) fn gather(settings: &[Setting]) -> Result<BucketSettings, ObjectError> {
    let mut all = BucketSettings::default();
    for setting in settings {
        all.admit(setting)?;
        all.set(setting.clone());
    }
    Ok(all)
}

/// Settings by bucket id, as they are read at start.
pub(in crate::object) type Loaded = BTreeMap<u64, BucketSettings>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Nanos;

    fn stored(setting: &Setting) -> (u64, Setting) {
        let Ok(Operation::Put { key, value }) = setting.put(7) else { panic!("it is put") };
        let (bucket, kind, _) = key::parse_setting(&key).expect("a setting's key");
        (bucket, Setting::decode(kind, &value).expect("what was stored is read"))
    }

    #[test]
    fn settings_come_back_from_their_records_and_can_be_removed() {
        let mut all = BucketSettings::default();
        for setting in [
            Setting::Versioning(Versioning::Enabled),
            Setting::ObjectLock(ObjectLock::default()),
            Setting::Tags(Tags(vec![("a".into(), "b".into())])),
            Setting::Policy(Policy { text: "{}".into() }),
            Setting::Acl(Acl::default()),
            Setting::Ownership(ObjectOwnership::ObjectWriter),
            Setting::PublicAccess(PublicAccessBlock::default()),
            Setting::Quota(Quota { max_bytes: Some(1), max_objects: None }),
        ] {
            assert_eq!(stored(&setting), (7, setting.clone()));
            all.set(setting);
        }
        let ids = all.ids();
        assert_eq!(ids.len(), 8);
        ids.iter().for_each(|id| all.remove(id));
        assert_eq!(all, BucketSettings::default());
        assert_eq!(Setting::decode(0, &SettingValue { document: vec![] }.encode()), None);
    }

    #[test]
    fn settings_of_a_kind_that_has_several_are_told_apart_by_name() {
        let mut all = BucketSettings::default();
        let run = |id: &str, begun| {
            Setting::InventoryRun(InventoryRun { id: id.into(), begun: Nanos(begun), whole: None })
        };
        assert!(all.admit(&run("a", 1)).is_err(), "of no inventory");
        for setting in [run("a", 1), run("b", 2), run("a", 3)] {
            assert_eq!(stored(&setting), (7, setting.clone()));
            all.set(setting);
        }
        assert_eq!(all.inventory_runs.len(), 2);
        assert_eq!(all.inventory_runs["a"].begun, Nanos(3));
        let ids = all.ids();
        assert_eq!(ids.iter().map(|id| id.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_ne!(run("a", 1).put(7).map(|put| key_of(&put)), run("b", 1).put(7).map(|put| key_of(&put)));
        all.remove(&ids[0]);
        assert_eq!(all.inventory_runs.len(), 1);
    }

    fn key_of(operation: &Operation) -> Vec<u8> {
        let Operation::Put { key, .. } = operation else { panic!("it is put") };
        key.clone()
    }

    #[test]
    fn a_lock_needs_versions_and_keeps_them() {
        let mut all = BucketSettings::default();
        let lock = Setting::ObjectLock(ObjectLock::default());
        assert!(all.admit(&lock).is_err());
        all.set(Setting::Versioning(Versioning::Suspended));
        assert!(all.admit(&lock).is_err());
        all.set(Setting::Versioning(Versioning::Enabled));
        assert!(all.admit(&lock).is_ok());
        all.set(lock);
        assert!(all.admit(&Setting::Versioning(Versioning::Suspended)).is_err());
        assert!(all.admit(&Setting::Versioning(Versioning::Enabled)).is_ok());
    }

    #[test]
    fn what_is_too_large_is_not_stored() {
        let policy = Setting::Policy(Policy { text: "x".repeat(SETTING_BYTES_MAX + 1) });
        assert!(matches!(policy.put(1), Err(ObjectError::TooManyConfigurations(_))));
    }
}
