//! Accounts: making, listing, switching off, deleting them.
//!
//! The operator does this, through the admin API. An account is its own world: it has a root with access
//! keys, a canonical id under which it owns buckets, and users. The account of the server's own root key
//! pair has ids that follow from the pool, so that they never change; it cannot be switched off.

use std::sync::Arc;

use super::{IamError, Result, secret};
use crate::base::limits::{ACCOUNT_NAME_BYTES_MAX, ACCOUNTS_MAX};
use crate::base::time::Nanos;
use crate::catalog::identity::{AccountValue, KeyValue};
use crate::object::registry::identities::{Account, Identities, IdentityChange};
use crate::object::shard::Shard;
use crate::object::store::Store;

/// What is told of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    pub id: String,
    pub canonical: String,
    pub name: String,
    pub created: Nanos,
    pub disabled: bool,
    /// It is the account of the server's own root.
    pub is_default: bool,
    /// Ids of its root's keys.
    pub access_keys: Vec<String>,
    pub users: usize,
}

/// A new account, and the one time its secret is told.
#[derive(Clone, Debug)]
pub struct NewAccount {
    pub info: AccountInfo,
    pub key: KeyValue,
}

/// The account of the server's own root: its ids follow from the pool's.
pub fn root_account(pool: u128, key: KeyValue) -> (String, AccountValue) {
    let digest = |what: &str| {
        let text = format!("basalt {what} {pool:032x}");
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes())
    };
    let mut seed = [0; 8];
    seed.copy_from_slice(digest("account").as_ref().split_at(8).0);
    let id = 100_000_000_000 + u64::from_le_bytes(seed) % 900_000_000_000;
    let value = AccountValue {
        canonical: hex::encode(digest("canonical id")),
        name: "root".to_owned(),
        created: Nanos(0),
        disabled: false,
        keys: vec![key],
    };
    (id.to_string(), value)
}

pub fn list(store: &Store) -> Vec<AccountInfo> {
    let all = store.identities();
    all.accounts().iter().map(|account| describe(all, account)).collect()
}

pub async fn create(store: &Store, name: &str) -> Result<NewAccount> {
    check_name(name)?;
    let name = name.to_owned();
    let decide = move |shard: &Shard| {
        let (all, world) = (&shard.bulletin.common.identities, &shard.pool.world);
        let accounts = all.accounts();
        if accounts.iter().any(|account| account.value.name == name) {
            return Err(IamError::EntityAlreadyExists(format!("Account {name} already exists.")));
        }
        if accounts.len() >= ACCOUNTS_MAX {
            return Err(IamError::LimitExceeded(format!(
                "There cannot be more than {ACCOUNTS_MAX} accounts."
            )));
        }
        let mut fill = |bytes: &mut [u8]| world.random(bytes);
        let key = new_key(all, world.now(), &mut fill);
        let id = unused(|| secret::account_id(&mut fill), |id| all.account(id).is_some());
        let canonical = secret::canonical_id(&mut fill);
        let (created, keys) = (world.now(), vec![key.clone()]);
        let value = Arc::new(AccountValue { canonical, name, created, disabled: false, keys });
        let info = describe(all, &Account { id: id.clone(), value: value.clone() });
        Ok((vec![IdentityChange::Account(id, Some(value))], NewAccount { info, key }))
    };
    store.change_identities(decide).await?
}

/// By id or by name.
pub async fn set_disabled(store: &Store, which: &str, disabled: bool) -> Result<AccountInfo> {
    let which = which.to_owned();
    let decide = move |shard: &Shard| {
        let all = &shard.bulletin.common.identities;
        let account = find(all, &which)?;
        let mut value = (*account.value).clone();
        value.disabled = disabled;
        let account = Account { id: account.id.clone(), value: Arc::new(value) };
        let change = IdentityChange::Account(account.id.clone(), Some(account.value.clone()));
        Ok((vec![change], describe(all, &account)))
    };
    store.change_identities(decide).await?
}

/// By id or by name; only one that has neither users nor buckets.
pub async fn delete(store: &Store, which: &str) -> Result<AccountInfo> {
    let which = which.to_owned();
    let decide = move |shard: &Shard| {
        let common = &shard.bulletin.common;
        let account = find(&common.identities, &which)?;
        if !common.identities.users(&account.id, "").is_empty() {
            return Err(IamError::DeleteConflict("Cannot delete account, must delete its users first."));
        }
        if common.buckets.has_owner(&account.value.canonical) {
            return Err(IamError::DeleteConflict("Cannot delete account, must delete its buckets first."));
        }
        let info = describe(&common.identities, &account);
        Ok((vec![IdentityChange::Account(account.id.clone(), None)], info))
    };
    store.change_identities(decide).await?
}

/// An account that may be changed.
fn find(all: &Identities, which: &str) -> Result<std::rc::Rc<Account>> {
    let accounts = all.accounts();
    let mut found = accounts.into_iter().filter(|account| account.id == which || account.value.name == which);
    let account = found
        .next()
        .ok_or_else(|| IamError::NoSuchEntity(format!("The account {which} cannot be found.")))?;
    if all.is_root(&account.id) {
        return Err(IamError::DeleteConflict("The account of the server's own root cannot be changed."));
    }
    Ok(account)
}

fn describe(all: &Identities, account: &Account) -> AccountInfo {
    let value = &account.value;
    AccountInfo {
        id: account.id.clone(),
        canonical: value.canonical.clone(),
        name: value.name.clone(),
        created: value.created,
        disabled: value.disabled,
        is_default: all.is_root(&account.id),
        access_keys: value.keys.iter().map(|key| key.id.clone()).collect(),
        users: all.users(&account.id, "").len(),
    }
}

fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    // Twelve digits would be taken for an id.
    let formed = (1..=ACCOUNT_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain);
    if formed && !crate::codec::policy::is_account_id(name) {
        return Ok(());
    }
    let message = format!(
        "An account name has 1 to {ACCOUNT_NAME_BYTES_MAX} letters, digits and characters of +=,.@_-, and is no \
         account id."
    );
    Err(IamError::ValidationError(message))
}

/// A key pair with an id that nobody has.
pub(super) fn new_key(all: &Identities, now: Nanos, fill: secret::Fill<'_>) -> KeyValue {
    let id = unused(|| secret::access_key(fill), |id| all.key(id, |_, _| ()).is_some());
    KeyValue::new(id, secret::secret_key(fill), now)
}

/// Eighty random bits meet once in a lifetime; the loop is for that once.
fn unused(mut draw: impl FnMut() -> String, taken: impl Fn(&str) -> bool) -> String {
    loop {
        let id = draw();
        if !taken(&id) {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::policy::is_account_id;

    #[test]
    fn the_root_account_is_the_same_at_every_start_and_another_in_every_pool() {
        let root = |pool, key: &str| root_account(pool, KeyValue::new(key.into(), "s".into(), Nanos(0)));
        let (id, value) = root(7, "k");
        assert_eq!(root(7, "other").0, id);
        assert_eq!(root(7, "other").1.canonical, value.canonical);
        assert!(is_account_id(&id) && value.canonical.len() == 64);
        assert_ne!(root(8, "k").0, id);
    }

    #[test]
    fn names() {
        for name in ["a", "team-1", "a@b.c", &"x".repeat(ACCOUNT_NAME_BYTES_MAX)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "a b", "a/b", "ü", "123456789012", &"x".repeat(ACCOUNT_NAME_BYTES_MAX + 1)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
