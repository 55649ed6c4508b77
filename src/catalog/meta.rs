//! What is kept beside the bytes of an object: sizes, ETag, checksum, system and user headers, and what
//! is attached to a version and may change: tags, lock, owner, grants.
//!
//! Plain values without behaviour of the store; `catalog::value` gives them their bytes on disk. May use
//! `codec::{checksum, xml}` for words they share with requests.

use crate::base::time::Nanos;
use crate::codec::checksum;
pub use crate::codec::checksum::{ChecksumAlgorithm, ChecksumType as ChecksumKind};
pub use crate::codec::xml::RetentionMode;

/// The entity tag: MD5 of the body, or MD5 of the parts' MD5s and their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ETag {
    pub md5: [u8; 16],
    /// Number of parts of a multipart object, 0 for a plain one.
    pub parts: u16,
}

/// A stored checksum: raw bytes, big-endian for the CRCs, as the base64 header value has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    pub algorithm: ChecksumAlgorithm,
    pub kind: ChecksumKind,
    pub value: Vec<u8>,
    /// Parts behind a composite value (the `-N` suffix), 0 otherwise.
    pub parts: u16,
}

impl Checksum {
    /// What was computed over all of a body.
    pub fn of_whole(computed: checksum::Checksum) -> Self {
        let (algorithm, value) = (computed.algorithm(), computed.bytes().to_vec());
        Checksum { algorithm, kind: ChecksumKind::FullObject, value, parts: 0 }
    }
}

/// The headers S3 stores and returns with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub expires: Option<String>,
    pub website_redirect: Option<String>,
    /// `x-amz-meta-` names in lower case without the prefix, with their values.
    pub user: Vec<(String, String)>,
}

/// One state of one key, without its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMeta {
    pub size: u64,
    pub modified: Nanos,
    pub etag: ETag,
    pub checksum: Option<Checksum>,
    pub headers: Headers,
    pub attached: Attached,
}

/// What is attached to a version and may change while its bytes and headers stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// In the order in which they were given.
    pub tags: Vec<(String, String)>,
    pub retention: Option<Retention>,
    /// `None`: nobody ever set it.
    pub legal_hold: Option<bool>,
    /// Canonical id of the account it belongs to; `None`: whoever owns the bucket.
    pub owner: Option<String>,
    /// The grants of its ACL, as whoever judges them encodes them; `None`: the owner's alone.
    pub grants: Option<Vec<u8>>,
}

/// Until when a version may not be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub mode: RetentionMode,
    pub until: Nanos,
}

impl ETag {
    /// The quoted form of the `ETag` header.
    pub fn quoted(&self) -> String {
        match self.parts {
            0 => format!("\"{}\"", hex::encode(self.md5)),
            n => format!("\"{}-{n}\"", hex::encode(self.md5)),
        }
    }
}
