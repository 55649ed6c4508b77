//! Users of an account: themselves, their access keys, their inline policies.
//!
//! Each change is decided by the owner of the identities on what is true there and then, and is one
//! record. Bounds and errors are those of the IAM API reference. A user is deleted only when its keys and
//! policies are gone, as there. Without a user name, keys are those of the account's root.

use std::rc::Rc;
use std::sync::Arc;

use super::accounts::new_key;
use super::{IamError, Result, secret};
use crate::base::limits::{
    ACCESS_KEYS_PER_IDENTITY_MAX, IAM_PATH_BYTES_MAX, POLICY_NAME_BYTES_MAX, USER_NAME_BYTES_MAX,
    USER_POLICIES_MAX, USER_POLICY_BYTES_MAX, USER_POLICY_CHARS_MAX, USERS_MAX,
};
use crate::catalog::identity::{AccountValue, KeyValue, UserValue};
use crate::catalog::keyuse::KeyUse;
use crate::codec::policy::Policy;
use crate::object::registry::identities::{Account, Holder, Identities, IdentityChange, User};
use crate::object::shard::Shard;
use crate::object::store::Store;

/// A user as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub arn: String,
    pub value: Arc<UserValue>,
}

impl From<&User> for UserInfo {
    fn from(user: &User) -> UserInfo {
        UserInfo { name: user.name.clone(), arn: user.arn.clone(), value: user.value.clone() }
    }
}

/// Whose keys: a user's, or of the account's root.
#[derive(Clone, Debug)]
pub struct KeyOwner {
    pub account: String,
    pub user: Option<String>,
}

// ---- Users ----

pub fn get(store: &Store, account: &str, name: &str) -> Result<UserInfo> {
    Ok(UserInfo::from(&*find(store.identities(), account, name)?))
}

/// Users with that path prefix behind `after`, at most `limit`; true when there are more.
pub fn list(store: &Store, account: &str, prefix: &str, after: &str, limit: usize) -> (Vec<UserInfo>, bool) {
    let users = store.identities().users(account, after);
    let mut found: Vec<UserInfo> = users
        .iter()
        .filter(|user| user.value.path.starts_with(prefix))
        .take(limit.saturating_add(1))
        .map(|user| UserInfo::from(&**user))
        .collect();
    let more = found.len() > limit;
    found.truncate(limit);
    (found, more)
}

pub async fn create(store: &Store, account: &str, name: &str, path: &str) -> Result<UserInfo> {
    check_name(name, "userName", USER_NAME_BYTES_MAX)?;
    check_path(path)?;
    let (account, name, path) = (account.to_owned(), name.to_owned(), path.to_owned());
    let decide = move |shard: &Shard| {
        let (all, world) = (&shard.bulletin.common.identities, &shard.pool.world);
        check_free(all, &account, &name)?;
        if all.user_count() >= USERS_MAX {
            let message = format!("Cannot exceed quota for UsersPerServer: {USERS_MAX}");
            return Err(IamError::LimitExceeded(message));
        }
        let id = secret::user_id(&mut |bytes| world.random(bytes));
        let (keys, policies) = (Vec::new(), Vec::new());
        let value = UserValue { id, path, created: world.now(), keys, policies };
        Ok(put(&account, &name, value))
    };
    store.change_identities(decide).await?
}

pub async fn update(
    store: &Store,
    account: &str,
    name: &str,
    new_name: Option<&str>,
    new_path: Option<&str>,
) -> Result<()> {
    let next = new_name.unwrap_or(name).to_owned();
    check_name(&next, "newUserName", USER_NAME_BYTES_MAX)?;
    new_path.map_or(Ok(()), check_path)?;
    let (account, name, path) = (account.to_owned(), name.to_owned(), new_path.map(str::to_owned));
    let decide = move |shard: &Shard| {
        let all = &shard.bulletin.common.identities;
        let user = find(all, &account, &name)?;
        let mut changes = Vec::new();
        if next != name {
            if !next.eq_ignore_ascii_case(&name) {
                check_free(all, &account, &next)?;
            }
            changes.push(IdentityChange::User(account.clone(), name.clone(), None));
        }
        let mut value = (*user.value).clone();
        value.path = path.unwrap_or(value.path);
        changes.push(IdentityChange::User(account, next, Some(Arc::new(value))));
        Ok((changes, ()))
    };
    store.change_identities(decide).await?
}

pub async fn delete(store: &Store, account: &str, name: &str) -> Result<()> {
    let (account, name) = (account.to_owned(), name.to_owned());
    let decide = move |shard: &Shard| {
        let user = find(&shard.bulletin.common.identities, &account, &name)?;
        if !user.value.keys.is_empty() {
            return Err(IamError::DeleteConflict("Cannot delete entity, must delete access keys first."));
        }
        if !user.value.policies.is_empty() {
            return Err(IamError::DeleteConflict("Cannot delete entity, must delete policies first."));
        }
        Ok((vec![IdentityChange::User(account, name, None)], ()))
    };
    store.change_identities(decide).await?
}

// ---- Access keys ----

pub fn keys(store: &Store, owner: &KeyOwner) -> Result<Vec<KeyValue>> {
    Ok(Keyed::find(store.identities(), owner)?.keys().to_vec())
}

/// The user who has a key of this account, `None` for its root, and when it was last used.
pub fn last_use(store: &Store, account: &str, id: &str) -> Option<(Option<String>, Option<KeyUse>)> {
    let found = store.identities().key(id, |holder, key| {
        let user = match holder {
            Holder::Root(_) => None,
            Holder::User(user) => Some(user.name.clone()),
        };
        (holder.account().id == account).then(|| (user, key.last_use.get()))
    });
    found.flatten()
}

pub async fn create_key(store: &Store, owner: KeyOwner) -> Result<KeyValue> {
    let decide = move |shard: &Shard| {
        let (all, world) = (&shard.bulletin.common.identities, &shard.pool.world);
        let keyed = Keyed::find_to_change(all, &owner)?;
        let mut keys = keyed.keys().to_vec();
        if keys.len() >= ACCESS_KEYS_PER_IDENTITY_MAX {
            let message =
                format!("Cannot exceed quota for AccessKeysPerUser: {ACCESS_KEYS_PER_IDENTITY_MAX}");
            return Err(IamError::LimitExceeded(message));
        }
        let key = new_key(all, world.now(), &mut |bytes| world.random(bytes));
        keys.push(key.clone());
        Ok((vec![keyed.with(keys)], key))
    };
    store.change_identities(decide).await?
}

pub async fn set_key_active(store: &Store, owner: KeyOwner, id: &str, active: bool) -> Result<()> {
    let id = id.to_owned();
    change_keys(store, owner, move |keys| {
        let key = keys.iter_mut().find(|key| key.id == id).ok_or_else(|| no_key(&id))?;
        key.active = active;
        Ok(())
    })
    .await
}

pub async fn delete_key(store: &Store, owner: KeyOwner, id: &str) -> Result<()> {
    let id = id.to_owned();
    change_keys(store, owner, move |keys| {
        let at = keys.iter().position(|key| key.id == id).ok_or_else(|| no_key(&id))?;
        keys.remove(at);
        Ok(())
    })
    .await
}

fn no_key(id: &str) -> IamError {
    IamError::NoSuchEntity(format!("The Access Key with id {id} cannot be found."))
}

async fn change_keys(
    store: &Store,
    owner: KeyOwner,
    change: impl FnOnce(&mut Vec<KeyValue>) -> Result<()> + Send + 'static,
) -> Result<()> {
    let decide = move |shard: &Shard| {
        let keyed = Keyed::find_to_change(&shard.bulletin.common.identities, &owner)?;
        let mut keys = keyed.keys().to_vec();
        change(&mut keys)?;
        Ok((vec![keyed.with(keys)], ()))
    };
    store.change_identities(decide).await?
}

/// Who has keys.
enum Keyed {
    Root(Rc<Account>),
    User(Rc<User>),
}

impl Keyed {
    fn find(all: &Identities, owner: &KeyOwner) -> Result<Keyed> {
        match &owner.user {
            Some(name) => Ok(Keyed::User(find(all, &owner.account, name)?)),
            None => {
                let gone =
                    || IamError::NoSuchEntity(format!("The account {} cannot be found.", owner.account));
                Ok(Keyed::Root(all.account(&owner.account).ok_or_else(gone)?))
            }
        }
    }

    fn find_to_change(all: &Identities, owner: &KeyOwner) -> Result<Keyed> {
        if owner.user.is_none() && all.is_root(&owner.account) {
            let message =
                "The key of the server's own root stands in its credentials file and is changed there.";
            return Err(IamError::ValidationError(message.to_owned()));
        }
        Keyed::find(all, owner)
    }

    fn keys(&self) -> &[KeyValue] {
        match self {
            Keyed::Root(account) => &account.value.keys,
            Keyed::User(user) => &user.value.keys,
        }
    }

    fn with(&self, keys: Vec<KeyValue>) -> IdentityChange {
        match self {
            Keyed::Root(account) => {
                let value = AccountValue { keys, ..(*account.value).clone() };
                IdentityChange::Account(account.id.clone(), Some(Arc::new(value)))
            }
            Keyed::User(user) => {
                let value = UserValue { keys, ..(*user.value).clone() };
                IdentityChange::User(user.account.id.clone(), user.name.clone(), Some(Arc::new(value)))
            }
        }
    }
}

// ---- Inline policies ----

pub async fn put_policy(store: &Store, account: &str, user: &str, name: &str, document: &str) -> Result<()> {
    check_name(name, "policyName", POLICY_NAME_BYTES_MAX)?;
    Policy::of_user(document.trim().as_bytes())
        .and_then(|policy| policy.check_told())
        .map_err(|error| IamError::MalformedPolicyDocument(error.to_string()))?;
    let (name, document) = (name.to_owned(), document.trim().to_owned());
    change_policies(store, account, user, move |policies| {
        match policies.binary_search_by(|(have, _)| have.cmp(&name)) {
            Ok(at) => drop(policies.splice(at..=at, [(name, document)])),
            Err(at) => policies.insert(at, (name, document)),
        }
        check_size(policies)
    })
    .await
}

pub async fn delete_policy(store: &Store, account: &str, user: &str, name: &str) -> Result<()> {
    let name = name.to_owned();
    change_policies(store, account, user, move |policies| {
        let at = policies.iter().position(|(have, _)| *have == name).ok_or_else(|| no_policy(&name))?;
        policies.remove(at);
        Ok(())
    })
    .await
}

pub fn policy(store: &Store, account: &str, user: &str, name: &str) -> Result<String> {
    let user = find(store.identities(), account, user)?;
    let found = user.value.policies.iter().find(|(have, _)| have == name);
    found.map(|(_, document)| document.clone()).ok_or_else(|| no_policy(name))
}

fn no_policy(name: &str) -> IamError {
    IamError::NoSuchEntity(format!("The user policy with name {name} cannot be found."))
}

async fn change_policies(
    store: &Store,
    account: &str,
    user: &str,
    change: impl FnOnce(&mut Vec<(String, String)>) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (account, user) = (account.to_owned(), user.to_owned());
    let decide = move |shard: &Shard| {
        let all = &shard.bulletin.common.identities;
        let mut value = (*find(all, &account, &user)?.value).clone();
        change(&mut value.policies)?;
        Ok((vec![IdentityChange::User(account, user, Some(Arc::new(value)))], ()))
    };
    store.change_identities(decide).await?
}

fn check_size(policies: &[(String, String)]) -> Result<()> {
    let characters = |text: &str| text.chars().filter(|c| !c.is_ascii_whitespace()).count();
    let documents = || policies.iter().map(|(_, document)| document.as_str());
    let (whole, stored): (usize, usize) =
        (documents().map(characters).sum(), documents().map(str::len).sum());
    let fits = whole <= USER_POLICY_CHARS_MAX && stored <= USER_POLICY_BYTES_MAX;
    if fits && policies.len() <= USER_POLICIES_MAX {
        return Ok(());
    }
    let message = format!(
        "Maximum policy size of {USER_POLICY_CHARS_MAX} bytes exceeded for the user, or {USER_POLICY_BYTES_MAX} with \
         white space"
    );
    Err(IamError::LimitExceeded(message))
}

// ---- Shared ----

fn find(all: &Identities, account: &str, name: &str) -> Result<Rc<User>> {
    let missing = || IamError::NoSuchEntity(format!("The user with name {name} cannot be found."));
    all.user(account, name).ok_or_else(missing)
}

fn put(account: &str, name: &str, value: UserValue) -> (Vec<IdentityChange>, UserInfo) {
    let value = Arc::new(value);
    let arn = format!("arn:aws:iam::{account}:user{}{name}", value.path);
    let info = UserInfo { name: name.to_owned(), arn, value: value.clone() };
    (vec![IdentityChange::User(account.to_owned(), name.to_owned(), Some(value))], info)
}

/// Names that differ in case only would be told apart by nobody.
fn check_free(all: &Identities, account: &str, name: &str) -> Result<()> {
    match all.users(account, "").iter().any(|user| user.name.eq_ignore_ascii_case(name)) {
        true => Err(IamError::EntityAlreadyExists(format!("User with name {name} already exists."))),
        false => Ok(()),
    }
}

/// Whether a user may be asked for by that name. The API takes longer ones there than for new users.
pub fn check_asked_name(name: &str) -> Result<()> {
    check_name(name, "userName", 2 * USER_NAME_BYTES_MAX)
}

fn check_name(name: &str, what: &str, bytes_max: usize) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    if (1..=bytes_max).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(IamError::ValidationError(format!(
        "The specified value for {what} is invalid. It must contain only alphanumeric characters and/or the \
         following: +=,.@_-"
    )))
}

fn check_path(path: &str) -> Result<()> {
    let formed =
        path.starts_with('/') && path.ends_with('/') && path.bytes().all(|b| (0x21..0x7f).contains(&b));
    if formed && path.len() <= IAM_PATH_BYTES_MAX {
        return Ok(());
    }
    let message = "The specified value for path is invalid. It must begin and end with / and contain only \
                   alphanumeric characters and/or / characters.";
    Err(IamError::ValidationError(message.to_owned()))
}
