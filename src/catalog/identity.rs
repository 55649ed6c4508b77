//! The values of accounts and users, with their bytes on disk.
//!
//! One record is all there is of an account or of a user: keys and inline policies stand inside, so
//! that a change of them is one record too. Secrets stand as they are, because a signature is verified with
//! the secret itself (`docs/FAULTS.md`). Layout: `docs/FORMAT.md`, section Catalog values.

use std::fmt;

use super::keyuse::LastUse;
use crate::base::limits::{ACCESS_KEYS_PER_IDENTITY_MAX, USER_POLICIES_MAX};
use crate::base::time::Nanos;
use crate::codec::wire::{Put, Take};

const LAYOUT: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountValue {
    /// 64 hexadecimal digits.
    pub canonical: String,
    pub name: String,
    pub created: Nanos,
    /// None of its keys is accepted.
    pub disabled: bool,
    /// Of its root.
    pub keys: Vec<KeyValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserValue {
    /// `AIDA...`: another one for each user that ever was.
    pub id: String,
    /// Begins and ends with a slash.
    pub path: String,
    pub created: Nanos,
    pub keys: Vec<KeyValue>,
    /// Inline policies: name and document, by name.
    pub policies: Vec<(String, String)>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub id: String,
    pub secret: String,
    pub active: bool,
    pub created: Nanos,
    /// Not of the record: it has one of its own, and all copies of the key share it.
    pub last_use: LastUse,
}

impl KeyValue {
    pub fn new(id: String, secret: String, created: Nanos) -> KeyValue {
        KeyValue { id, secret, active: true, created, last_use: LastUse::default() }
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue").field("id", &self.id).field("active", &self.active).finish_non_exhaustive()
    }
}

impl AccountValue {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.u8(LAYOUT).bytes(self.canonical.as_bytes()).bytes(self.name.as_bytes()).u64(self.created.0);
        put.u8(u8::from(self.disabled));
        put_keys(&mut put, &self.keys);
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = layout(bytes)?;
        let (canonical, name) = (take_text(&mut take)?, take_text(&mut take)?);
        let (created, disabled) = (Nanos(take.u64()?), take_bool(&mut take)?);
        Some(AccountValue { canonical, name, created, disabled, keys: take_keys(&mut take)? })
    }
}

impl UserValue {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.u8(LAYOUT).bytes(self.id.as_bytes()).bytes(self.path.as_bytes()).u64(self.created.0);
        put_keys(&mut put, &self.keys);
        put.varint(self.policies.len() as u64);
        for (name, document) in &self.policies {
            put.bytes(name.as_bytes()).bytes(document.as_bytes());
        }
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = layout(bytes)?;
        let (id, path) = (take_text(&mut take)?, take_text(&mut take)?);
        let (created, keys) = (Nanos(take.u64()?), take_keys(&mut take)?);
        let count = take.varint().filter(|count| *count <= USER_POLICIES_MAX as u64)?;
        let policies = (0..count).map(|_| Some((take_text(&mut take)?, take_text(&mut take)?)));
        Some(UserValue { id, path, created, keys, policies: policies.collect::<Option<_>>()? })
    }
}

fn put_keys(put: &mut Put, keys: &[KeyValue]) {
    put.varint(keys.len() as u64);
    for key in keys {
        put.bytes(key.id.as_bytes()).bytes(key.secret.as_bytes());
        put.u8(u8::from(key.active)).u64(key.created.0);
    }
}

fn take_keys(take: &mut Take<'_>) -> Option<Vec<KeyValue>> {
    let count = take.varint().filter(|count| *count <= ACCESS_KEYS_PER_IDENTITY_MAX as u64)?;
    let key = |take: &mut Take<'_>| {
        let (id, secret) = (take_text(take)?, take_text(take)?);
        let (active, created) = (take_bool(take)?, Nanos(take.u64()?));
        Some(KeyValue { active, ..KeyValue::new(id, secret, created) })
    };
    (0..count).map(|_| key(take)).collect()
}

fn layout(bytes: &[u8]) -> Option<Take<'_>> {
    let mut take = Take(bytes);
    (take.u8()? == LAYOUT).then_some(take)
}

fn take_bool(take: &mut Take<'_>) -> Option<bool> {
    match take.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn take_text(take: &mut Take<'_>) -> Option<String> {
    Some(std::str::from_utf8(take.bytes()?).ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> impl Strategy<Value = Vec<KeyValue>> {
        let key = (any::<String>(), any::<String>(), any::<bool>(), any::<u64>()).prop_map(
            |(id, secret, active, created)| KeyValue { active, ..KeyValue::new(id, secret, Nanos(created)) },
        );
        prop::collection::vec(key, 0..=ACCESS_KEYS_PER_IDENTITY_MAX)
    }

    proptest! {
        #[test]
        fn values_come_back(
            (canonical, name, created, disabled) in any::<(String, String, u64, bool)>(),
            keys in keys(),
            policies in prop::collection::vec(any::<(String, String)>(), 0..9),
        ) {
            let created = Nanos(created);
            let user =
                UserValue { id: canonical.clone(), path: name.clone(), created, keys: keys.clone(), policies };
            let account = AccountValue { canonical, name, created, disabled, keys };
            prop_assert_eq!(AccountValue::decode(&account.encode()), Some(account));
            prop_assert_eq!(UserValue::decode(&user.encode()), Some(user));
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            let _ = (AccountValue::decode(&bytes), UserValue::decode(&bytes));
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let key = KeyValue::new("AKIA".into(), "hush".into(), Nanos(0));
        assert!(!format!("{key:?}").contains("hush"));
    }
}
