//! Signing keys: derivation, the bounded cache of them, and what the chunks of a signed stream
//! continue from.
//!
//! May use: aws-lc-rs, quick_cache, `base::limits`. A derived key is good for one access key, day
//! and region; deriving costs four HMACs, so it is kept. An entry also remembers the secret it was
//! derived from, so a rotated secret never meets a key of the old one. Keys are not printed.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use quick_cache::Equivalent;
use quick_cache::unsync::Cache;

use super::TERMINATOR;

/// The key of one access key, day, region and service; cheap to clone.
#[derive(Clone)]
pub struct SigningKey(Arc<hmac::Key>);

impl SigningKey {
    /// `date` is `YYYYMMDD`.
    pub fn derive(secret: &str, date: &str, region: &str, service: &str) -> SigningKey {
        let mut root = Vec::with_capacity(4 + secret.len());
        root.extend_from_slice(b"AWS4");
        root.extend_from_slice(secret.as_bytes());
        let mut tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &root), date.as_bytes());
        for step in [region, service, TERMINATOR] {
            tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref()), step.as_bytes());
        }
        SigningKey(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())))
    }

    pub fn sign(&self, text: &[u8]) -> [u8; 32] {
        hmac::sign(&self.0, text).as_ref().try_into().expect("HMAC-SHA-256 is 32 bytes")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// What the first chunk's signature of a signed stream builds on.
#[derive(Clone, Debug)]
pub struct ChunkSeed {
    pub key: SigningKey,
    /// The signature of the request itself.
    pub signature: [u8; 32],
    /// `YYYYMMDDThhmmssZ`.
    pub timestamp: [u8; 16],
    /// `YYYYMMDD/region/s3/aws4_request`.
    pub scope: Box<str>,
}

/// The derived keys of one core and the buffer its verifications write in.
pub struct SigningKeyCache {
    keys: Cache<Scope, Entry>,
    pub(super) scratch: Vec<u8>,
}

#[derive(PartialEq, Eq, Hash)]
struct Scope {
    access_key: Box<str>,
    date: Box<str>,
    region: Box<str>,
    service: Box<str>,
}

/// What a signing key is good for.
#[derive(Clone, Copy, Hash)]
pub struct KeyScope<'a> {
    pub access_key: &'a str,
    /// `YYYYMMDD`.
    pub date: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

impl Equivalent<Scope> for KeyScope<'_> {
    fn equivalent(&self, other: &Scope) -> bool {
        self.access_key == &*other.access_key
            && self.date == &*other.date
            && self.region == &*other.region
            && self.service == &*other.service
    }
}

#[derive(Clone)]
struct Entry {
    secret: Box<[u8]>,
    key: SigningKey,
}

impl SigningKeyCache {
    /// Keeps at most `keys` derived keys.
    pub fn new(keys: usize) -> SigningKeyCache {
        SigningKeyCache { keys: Cache::new(keys), scratch: Vec::new() }
    }

    /// The key for `secret`, from the cache or derived now.
    pub fn key(&mut self, secret: &str, wanted: &KeyScope<'_>) -> SigningKey {
        if let Some(entry) = self.keys.get(wanted)
            && verify_slices_are_equal(&entry.secret, secret.as_bytes()).is_ok()
        {
            return entry.key.clone();
        }
        let key = SigningKey::derive(secret, wanted.date, wanted.region, wanted.service);
        let scope = Scope {
            access_key: wanted.access_key.into(),
            date: wanted.date.into(),
            region: wanted.region.into(),
            service: wanted.service.into(),
        };
        self.keys.insert(scope, Entry { secret: secret.as_bytes().into(), key: key.clone() });
        key
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_secret_gives_a_new_key() {
        let mut cache = SigningKeyCache::new(8);
        let scope = KeyScope { access_key: "id", date: "20130524", region: "us-east-1", service: "s3" };
        let old = cache.key("old", &scope).sign(b"x");
        assert_eq!(cache.key("old", &scope).sign(b"x"), old);
        let new = cache.key("new", &scope).sign(b"x");
        assert_ne!(new, old);
        assert_eq!(new, SigningKey::derive("new", "20130524", "us-east-1", "s3").sign(b"x"));
        assert_eq!(cache.len(), 1);
        assert_ne!(cache.key("new", &KeyScope { service: "iam", ..scope }).sign(b"x"), new);
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = SigningKeyCache::new(16);
        for n in 0..500 {
            let access_key = &n.to_string();
            cache.key("s", &KeyScope { access_key, date: "20130524", region: "r", service: "s3" });
        }
        assert!(cache.len() <= 16, "{}", cache.len());
    }
}
