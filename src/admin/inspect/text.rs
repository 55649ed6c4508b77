//! Keys, values, operations and identities of the catalog in words.
//!
//! Only formats. Whatever a client may have chosen, such as a key, is quoted and escaped, so that a
//! report cannot drive the reader's terminal. Bytes that do not decode are shown in hexadecimal.

use super::moment;
use crate::admin::table::{grouped, size};
use crate::base::ids::{DriveId, LogId};
use crate::base::limits::PAGE;
use crate::catalog::event::EventValue;
use crate::catalog::identity::{AccountValue, UserValue};
use crate::catalog::key::{self, Identity};
use crate::catalog::keyuse::KeyUse;
use crate::catalog::meta::Attached;
use crate::catalog::record::Operation;
use crate::catalog::usage::Usage;
use crate::catalog::value::{
    BucketValue, GarbageValue, NullOrder, PackValue, PartValue, SettingValue, Storage, UploadValue, Version,
};
use crate::codec::wire::Broken;
use crate::drive::bitmap;
use crate::pool::stripe::Extent;

/// Bytes of an unknown key that are shown.
const UNKNOWN_BYTES_SHOWN: usize = 32;

pub fn drives(drives: &[DriveId]) -> String {
    match drives {
        [] => "none".to_owned(),
        drives => drives.iter().map(DriveId::to_string).collect::<Vec<_>>().join(", "),
    }
}

pub fn broken(reason: Broken) -> String {
    match reason {
        Broken::Magic => "not there".to_owned(),
        Broken::Newer(version) => format!("of format version {version}, newer than this Basalt"),
        Broken::Damaged => "damaged: the checksum differs".to_owned(),
    }
}

/// `1 record`, `1,234 records`.
pub fn count(n: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// Never a secret.
fn identity(identity: &Identity, bytes: &[u8]) -> Option<String> {
    let (what, created, keys) = match identity {
        Identity::Account(_) => {
            let account = AccountValue::decode(bytes)?;
            (format!("account {:?}", account.name), account.created, account.keys.len())
        }
        Identity::User(..) => {
            let user = UserValue::decode(bytes)?;
            (format!("user {}", user.id), user.created, user.keys.len())
        }
        Identity::LastUse(_) => {
            let last = KeyUse::decode(bytes)?;
            return Some(format!("last used {} for {}", moment(last.at), last.service.name()));
        }
    };
    Some(format!("{what}, created {}, {}", moment(created), count(keys as u64, "key")))
}

/// Epoch, stream and number.
pub fn log(id: LogId) -> String {
    format!("{}.{}.{}", id.0 >> 32, id.0 >> 24 & 0xff, id.0 & 0xff_ffff)
}

pub fn operation(operation: &Operation) -> String {
    match operation {
        Operation::Put { key, value } => match self::value(key, value) {
            Some(value) => format!("put {}: {value}", self::key(key)),
            None => format!("put {}: {} bytes that do not decode", self::key(key), value.len()),
        },
        Operation::Delete { key } => format!("delete {}", self::key(key)),
        Operation::Free(extent) => format!("free {}", self::extent(extent)),
        Operation::Unpack { pack, objects, bytes } => {
            let objects = count((*objects).into(), "object");
            format!("unpack {objects} of {bytes} bytes of pack {pack:016x}")
        }
        Operation::Charge { bucket, usage: Usage { objects, bytes, uploading } } => {
            format!("bucket {bucket:016x}: {objects:+} objects, {bytes:+} bytes, {uploading:+} uploading")
        }
    }
}

/// A key of the catalog: its family and what tells it from the others.
pub fn key(bytes: &[u8]) -> String {
    let Some(family) = key::family(bytes) else { return unknown(bytes) };
    let named = |name: &[u8], rest: String| {
        let bucket = key::bucket_of(bytes).unwrap_or_default();
        format!("{family} {:?} of bucket {bucket:016x}{rest}", String::from_utf8_lossy(name))
    };
    if let Some(name) = key::bucket_name(bytes) {
        format!("{family} {name:?}")
    } else if let Some(identity) = key::parse_identity(bytes) {
        format!("{family} {identity:?}")
    } else if let Some((_, kind, name)) = key::parse_setting(bytes) {
        named(name.as_bytes(), format!(" kind {kind}"))
    } else if let Some((name, order)) = key::parse_version(bytes) {
        let order = if order == key::ORDER_UNVERSIONED { String::new() } else { format!(" order {order}") };
        named(&name, order)
    } else if let Some(name) = key::parse_null_order(bytes) {
        named(&name, String::new())
    } else if let Some((name, upload)) = key::parse_upload(bytes) {
        named(&name, format!(" id {upload:032x}"))
    } else if let Some((upload, number)) = key::parse_part(bytes) {
        format!("{family} {number} of upload {upload:032x}")
    } else if let Some(bucket) = key::parse_usage(bytes) {
        format!("{family} of bucket {bucket:016x}")
    } else if let Some((drive, segment)) = key::parse_space(bytes) {
        format!("{family} of drive {drive} segment {segment}")
    } else if let Some(pack) = key::parse_pack(bytes) {
        format!("{family} {pack:016x}")
    } else if let Some(upload) = key::parse_garbage(bytes) {
        format!("{family} {upload:032x}")
    } else if let Some((target, sequence)) = key::parse_event(bytes) {
        format!("{family} {sequence:016x} for {target:?}")
    } else {
        format!("{family} {}", unknown(bytes))
    }
}

fn unknown(bytes: &[u8]) -> String {
    let shown = bytes.get(..UNKNOWN_BYTES_SHOWN).unwrap_or(bytes);
    let more = if shown.len() < bytes.len() { "..." } else { "" };
    format!("key {}{more}", hex::encode(shown))
}

/// The value of a key; `None` when it is not one of its family.
pub fn value(key: &[u8], bytes: &[u8]) -> Option<String> {
    if key::bucket_name(key).is_some() {
        let bucket = BucketValue::decode(bytes)?;
        Some(format!("id {:016x}, created {}", bucket.id, moment(bucket.created)))
    } else if let Some(identity) = key::parse_identity(key) {
        self::identity(&identity, bytes)
    } else if key::parse_setting(key).is_some() {
        Some(format!("a document of {} bytes", SettingValue::decode(bytes)?.document.len()))
    } else if key::is_version(key) {
        let version = Version::decode(bytes)?;
        let (bytes, modified) = (version.meta.size, moment(version.meta.modified));
        let null = if version.null && !is_order_0(key) { ", null" } else { "" };
        let locked = if is_locked(&version.meta.attached) { ", locked" } else { "" };
        Some(match version.is_marker() {
            true => format!("delete marker of {modified}{null}"),
            false => format!("{bytes} bytes of {modified}, {}{null}{locked}", storage(&version.storage)),
        })
    } else if key::parse_null_order(key).is_some() {
        Some(format!("order {}", NullOrder::decode(bytes)?.0))
    } else if key::parse_upload(key).is_some() {
        let upload = UploadValue::decode(bytes)?;
        let user = upload.initiator.map_or(String::new(), |user| format!(" by {}", user.arn));
        Some(format!("begun {}{user}", moment(upload.initiated)))
    } else if key::parse_part(key).is_some() {
        let part = PartValue::decode(bytes)?;
        let place = part.extent.as_ref().map_or("no bytes".to_owned(), extent);
        Some(format!("{} bytes of {}, {place}", part.size, moment(part.modified)))
    } else if key::parse_usage(key).is_some() {
        let Usage { objects, bytes, uploading } = Usage::decode(bytes)?;
        let objects = count(objects.unsigned_abs(), "object");
        Some(format!("{objects} of {bytes} bytes, {uploading} bytes of uploads"))
    } else if key::parse_space(key).is_some() {
        Some(format!("{} in use", size(bitmap::pages_marked(bytes)?.saturating_mul(PAGE as u64))))
    } else if key::parse_pack(key).is_some() {
        let pack = PackValue::decode(bytes)?;
        let live = count(pack.live.into(), "object");
        Some(format!("{live} live, {} of {} bytes, {}", pack.live_bytes, pack.bodies, extent(&pack.extent)))
    } else if key::is_event(key) {
        let event = EventValue::decode(bytes)?;
        Some(format!(
            "{} of {:?} in {:?} at {}",
            event.kind.name(),
            event.key,
            event.bucket,
            moment(event.time)
        ))
    } else {
        key::parse_garbage(key)?;
        Some(format!("parts of upload {:032x}", GarbageValue::decode(bytes)?.upload))
    }
}

fn is_order_0(key: &[u8]) -> bool {
    key::parse_version(key).is_some_and(|(_, order)| order == key::ORDER_UNVERSIONED)
}

/// A hold or a retention, whether it has ended or not.
fn is_locked(attached: &Attached) -> bool {
    attached.legal_hold == Some(true) || attached.retention.is_some()
}

fn storage(storage: &Storage) -> String {
    match storage {
        Storage::Empty | Storage::Marker => "no bytes".to_owned(),
        Storage::Inline { at, .. } if at.log == LogId(0) => "in the body of this record".to_owned(),
        Storage::Inline { at, .. } => format!("in log {}+{:#x}", log(at.log), at.offset),
        Storage::Packed { pack, offset, .. } => format!("in pack {pack:016x}+{offset:#x}"),
        Storage::Striped(extent) => self::extent(extent),
        Storage::Parts { upload, parts } => {
            format!("{} of upload {upload:032x}", count(parts.len() as u64, "part"))
        }
    }
}

fn extent(extent: &Extent) -> String {
    let stripes = count(extent.stripes.len() as u64, "stripe");
    format!("{} bytes in {stripes} of {}+{}", extent.size, extent.k, extent.m)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_told_without_panic_or_control_characters(key_in: Vec<u8>, value_in: Vec<u8>, tag: u8) {
            let mut key_in = key_in;
            key_in.insert(0, tag);
            let put = Operation::Put { key: key_in, value: value_in };
            prop_assert!(!operation(&put).chars().any(char::is_control));
        }

        #[test]
        fn an_object_is_called_by_its_key(name in "[a-z/]{1,20}", bucket: u64) {
            let text = key(&key::version(bucket, &name, 0));
            prop_assert_eq!(text, format!("object {name:?} of bucket {bucket:016x}"));
        }
    }

    #[test]
    fn a_log_id_is_told_in_its_parts() {
        assert_eq!(log(LogId(3 << 32 | 1 << 24 | 9)), "3.1.9");
    }
}
