//! The value of an event that waits to be told: what happened to an object, whole in itself.
//!
//! An event is put by the record that commits the change it tells of and deleted when its target has taken it.
//! It carries everything that is told, because bucket, object and configuration may be gone by then. May use
//! `codec::wire`. Layout: `docs/FORMAT.md`, section Catalog values, Event.

use super::meta::ETag;
use crate::base::time::Nanos;
use crate::codec::wire::{Put, Take};

const LAYOUT: u8 = 1;

/// What happened. The numbers stand on the drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    CreatedPut = 1,
    CreatedPost = 2,
    CreatedCopy = 3,
    CreatedComplete = 4,
    RemovedDelete = 5,
    RemovedMarker = 6,
    TaggingPut = 7,
    TaggingDelete = 8,
    AclPut = 9,
    ExpiredDelete = 10,
    ExpiredMarker = 11,
}

impl EventKind {
    pub const ALL: [EventKind; 11] = [
        EventKind::CreatedPut,
        EventKind::CreatedPost,
        EventKind::CreatedCopy,
        EventKind::CreatedComplete,
        EventKind::RemovedDelete,
        EventKind::RemovedMarker,
        EventKind::TaggingPut,
        EventKind::TaggingDelete,
        EventKind::AclPut,
        EventKind::ExpiredDelete,
        EventKind::ExpiredMarker,
    ];

    /// As messages have it; configurations put `s3:` in front.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::CreatedPut => "ObjectCreated:Put",
            EventKind::CreatedPost => "ObjectCreated:Post",
            EventKind::CreatedCopy => "ObjectCreated:Copy",
            EventKind::CreatedComplete => "ObjectCreated:CompleteMultipartUpload",
            EventKind::RemovedDelete => "ObjectRemoved:Delete",
            EventKind::RemovedMarker => "ObjectRemoved:DeleteMarkerCreated",
            EventKind::TaggingPut => "ObjectTagging:Put",
            EventKind::TaggingDelete => "ObjectTagging:Delete",
            EventKind::AclPut => "ObjectAcl:Put",
            EventKind::ExpiredDelete => "LifecycleExpiration:Delete",
            EventKind::ExpiredMarker => "LifecycleExpiration:DeleteMarkerCreated",
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        EventKind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// One event, as its target will hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventValue {
    pub kind: EventKind,
    pub time: Nanos,
    pub bucket: String,
    /// Canonical id of the bucket's owner.
    pub owner: String,
    pub region: String,
    /// Id of the configuration that asked for it.
    pub rule: String,
    pub key: String,
    /// Empty in a bucket that was never versioned.
    pub version: String,
    /// Size and tag of the object, where the event is about one that is there.
    pub object: Option<(u64, ETag)>,
    /// Id of the request; empty where there was none, or nobody knew that it would be told.
    pub request: String,
    /// Where the request came from; empty as above.
    pub source: String,
    /// Who asked; empty as above.
    pub principal: String,
}

impl EventValue {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put(Vec::with_capacity(256 + self.key.len()));
        put.u8(LAYOUT).u8(self.kind as u8).u64(self.time.0);
        for text in self.texts() {
            put.bytes(text.as_bytes());
        }
        if let Some((size, etag)) = &self.object {
            put.varint(*size).raw(&etag.md5).u16(etag.parts);
        }
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        if take.u8()? != LAYOUT {
            return None;
        }
        let (kind, time) = (EventKind::from_number(take.u8()?)?, Nanos(take.u64()?));
        let mut text = || String::from_utf8(take.bytes()?.to_vec()).ok();
        let (bucket, owner, region, rule) = (text()?, text()?, text()?, text()?);
        let (key, version) = (text()?, text()?);
        let (request, source, principal) = (text()?, text()?, text()?);
        let object = match take.is_empty() {
            true => None,
            false => Some((take.varint()?, ETag { md5: take.array()?, parts: take.u16()? })),
        };
        let whole = take.is_empty();
        let event = EventValue {
            kind,
            time,
            bucket,
            owner,
            region,
            rule,
            key,
            version,
            object,
            request,
            source,
            principal,
        };
        whole.then_some(event)
    }

    fn texts(&self) -> [&str; 9] {
        [
            &self.bucket,
            &self.owner,
            &self.region,
            &self.rule,
            &self.key,
            &self.version,
            &self.request,
            &self.source,
            &self.principal,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn events_come_back(kind in 0..EventKind::ALL.len(), texts: [String; 9], size: Option<u64>, parts: u16) {
            let [bucket, owner, region, rule, key, version, request, source, principal] = texts;
            let kind = EventKind::ALL[kind];
            let object = size.map(|size| (size, ETag { md5: [7; 16], parts }));
            let time = Nanos(5);
            let event = EventValue {
                kind, time, bucket, owner, region, rule, key, version, object, request, source, principal,
            };
            let encoded = event.encode();
            prop_assert_eq!(EventValue::decode(&encoded), Some(event));
            prop_assert_eq!(EventValue::decode(&[&encoded[..], &[0]].concat()), None);
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            let _ = EventValue::decode(&[&[LAYOUT, 1], &bytes[..]].concat());
            let _ = EventValue::decode(&bytes);
        }
    }

    #[test]
    fn names_are_distinct_and_numbers_come_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_number(kind as u8), Some(kind));
            assert_eq!(EventKind::ALL.iter().filter(|other| other.name() == kind.name()).count(), 1);
        }
        assert_eq!(EventKind::from_number(0), None);
    }
}
