//! The accounts and users as every core knows them: all in memory, bounded by `ACCOUNTS_MAX` and
//! `USERS_MAX`.
//!
//! Their records live in the shard of buckets. Its owner decides one change after the other, commits
//! it, and tells every core before it answers, so that a key that was switched off is refused wherever
//! the next request lands. What may be changed and how is decided above (`iam/`); here is who there is.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::limits::KEY_USES_AT_ONCE;
use crate::base::rest::rest;
use crate::catalog::identity::{AccountValue, KeyValue, UserValue};
use crate::catalog::key::{self, Identity};
use crate::catalog::keyuse::KeyUse;
use crate::catalog::record::Operation;
use crate::codec::policy::Policy;
use crate::object::core::News;
use crate::object::error::ObjectError;
use crate::object::shard::{Shard, damaged};

/// An account.
#[derive(Debug)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    pub value: Arc<AccountValue>,
}

/// A user of an account.
#[derive(Debug)]
pub struct User {
    pub account: Rc<Account>,
    pub name: String,
    pub arn: String,
    pub value: Arc<UserValue>,
    /// `None` when one of them cannot be read: then nothing is known of what is denied.
    pub policies: Option<Vec<Policy>>,
}

/// Whose an access key is.
#[derive(Clone, Debug)]
pub enum Holder {
    Root(Rc<Account>),
    User(Rc<User>),
}

/// What happens to an identity, told to every core; `None`: it is gone.
#[derive(Clone, Debug)]
pub enum IdentityChange {
    Account(String, Option<Arc<AccountValue>>),
    User(String, String, Option<Arc<UserValue>>),
}

#[derive(Default)]
pub struct Identities(RefCell<State>);

#[derive(Default)]
struct State {
    accounts: BTreeMap<String, Rc<Account>>,
    /// Account ids by canonical id.
    canonical: HashMap<String, String>,
    users: BTreeMap<(String, String), Rc<User>>,
    /// Account and name of users by unique id.
    ids: HashMap<String, (String, String)>,
    /// By access key id.
    keys: HashMap<String, Holder>,
    /// The account of the server's own root key pair; it has no record.
    root: Option<String>,
}

impl Identities {
    /// The account of the server's own root, which is not kept in the catalog.
    pub fn install_root(&self, id: String, value: AccountValue) {
        self.0.borrow_mut().root = Some(id.clone());
        self.apply(IdentityChange::Account(id, Some(Arc::new(value))));
    }

    pub fn apply(&self, change: IdentityChange) {
        let mut state = self.0.borrow_mut();
        match change {
            IdentityChange::Account(id, value) => state.set_account(id, value),
            IdentityChange::User(account, name, value) => state.set_user(account, name, value),
        }
    }

    pub fn account(&self, id: &str) -> Option<Rc<Account>> {
        self.0.borrow().accounts.get(id).cloned()
    }

    pub fn account_of_canonical(&self, canonical: &str) -> Option<Rc<Account>> {
        let state = self.0.borrow();
        state.canonical.get(canonical).and_then(|id| state.accounts.get(id)).cloned()
    }

    pub fn account_of_name(&self, name: &str) -> Option<Rc<Account>> {
        self.0.borrow().accounts.values().find(|account| account.value.name == name).cloned()
    }

    pub fn is_root(&self, account: &str) -> bool {
        self.0.borrow().root.as_deref() == Some(account)
    }

    /// In the order of their ids.
    pub fn accounts(&self) -> Vec<Rc<Account>> {
        self.0.borrow().accounts.values().cloned().collect()
    }

    pub fn user(&self, account: &str, name: &str) -> Option<Rc<User>> {
        self.0.borrow().users.get(&(account.to_owned(), name.to_owned())).cloned()
    }

    pub fn user_of_arn(&self, arn: &str) -> Option<Rc<User>> {
        let account = arn.split(':').nth(4)?;
        self.user(account, arn.rsplit('/').next()?).filter(|user| user.arn == arn)
    }

    pub fn user_of_id(&self, id: &str) -> Option<Rc<User>> {
        let state = self.0.borrow();
        state.ids.get(id).and_then(|at| state.users.get(at)).cloned()
    }

    /// The users of an account behind `after`, by name.
    pub fn users(&self, account: &str, after: &str) -> Vec<Rc<User>> {
        let state = self.0.borrow();
        let start = Bound::Excluded((account.to_owned(), after.to_owned()));
        let behind = state.users.range((start, Bound::Unbounded));
        behind.take_while(|((of, _), _)| of == account).map(|(_, user)| user.clone()).collect()
    }

    pub fn user_count(&self) -> usize {
        self.0.borrow().users.len()
    }

    /// The key and who holds it, active or not.
    pub fn key<T>(&self, id: &str, found: impl FnOnce(&Holder, &KeyValue) -> T) -> Option<T> {
        let state = self.0.borrow();
        let holder = state.keys.get(id)?;
        let key = holder.keys().iter().find(|key| key.id == id)?;
        Some(found(holder, key))
    }

    /// Some of the keys whose last use is not written down.
    fn unkept_uses(&self) -> Vec<(String, KeyUse)> {
        let state = self.0.borrow();
        let keys = state.keys.iter().filter_map(|(id, holder)| {
            let key = holder.keys().iter().find(|key| key.id == *id)?;
            Some((id.clone(), key.last_use.unkept()?))
        });
        keys.take(KEY_USES_AT_ONCE).collect()
    }

    /// Keys that changes take away, whose last use is written down.
    fn gone_uses(&self, changes: &[IdentityChange]) -> Vec<String> {
        let stay: Vec<&KeyValue> = changes.iter().flat_map(|change| change.keys()).collect();
        let had = |change: &IdentityChange| match change {
            IdentityChange::Account(id, _) => self.account(id).map(|account| account.value.keys.clone()),
            IdentityChange::User(account, name, _) => {
                self.user(account, name).map(|user| user.value.keys.clone())
            }
        };
        let had = changes.iter().filter_map(had).flatten();
        let gone = had.filter(|key| key.last_use.is_kept() && !stay.iter().any(|other| other.id == key.id));
        gone.map(|key| key.id).collect()
    }
}

impl Holder {
    fn keys(&self) -> &[KeyValue] {
        match self {
            Holder::Root(account) => &account.value.keys,
            Holder::User(user) => &user.value.keys,
        }
    }

    pub fn account(&self) -> &Rc<Account> {
        match self {
            Holder::Root(account) => account,
            Holder::User(user) => &user.account,
        }
    }
}

impl State {
    fn set_account(&mut self, id: String, value: Option<Arc<AccountValue>>) {
        if let Some(old) = self.accounts.remove(&id) {
            self.canonical.remove(&old.value.canonical);
            self.forget(&old.value.keys);
        }
        let Some(value) = value else { return };
        self.canonical.insert(value.canonical.clone(), id.clone());
        let account = Rc::new(Account { id: id.clone(), value });
        for key in &account.value.keys {
            self.keys.insert(key.id.clone(), Holder::Root(account.clone()));
        }
        self.accounts.insert(id.clone(), account);
        // Users know their account.
        let start = Bound::Included((id.clone(), String::new()));
        let users = self.users.range((start, Bound::Unbounded)).take_while(|((of, _), _)| *of == id);
        let users: Vec<_> = users.map(|(_, user)| (user.name.clone(), user.value.clone())).collect();
        for (name, value) in users {
            self.set_user(id.clone(), name, Some(value));
        }
    }

    fn set_user(&mut self, account: String, name: String, value: Option<Arc<UserValue>>) {
        let at = (account, name);
        if let Some(old) = self.users.remove(&at) {
            self.forget(&old.value.keys);
            self.ids.remove(&old.value.id);
        }
        let (Some(value), Some(account)) = (value, self.accounts.get(&at.0).cloned()) else { return };
        let policies = value.policies.iter().map(|(_, text)| Policy::of_user(text.as_bytes()).ok());
        let policies = policies.collect();
        let arn = format!("arn:aws:iam::{}:user{}{}", account.id, value.path, at.1);
        let user = Rc::new(User { account, name: at.1.clone(), arn, value, policies });
        for key in &user.value.keys {
            self.keys.insert(key.id.clone(), Holder::User(user.clone()));
        }
        self.ids.insert(user.value.id.clone(), at.clone());
        self.users.insert(at, user);
    }

    fn forget(&mut self, keys: &[KeyValue]) {
        keys.iter().for_each(|key| drop(self.keys.remove(&key.id)));
    }
}

impl IdentityChange {
    /// Those it leaves.
    fn keys(&self) -> &[KeyValue] {
        match self {
            IdentityChange::Account(_, value) => value.as_ref().map_or(&[], |value| &value.keys),
            IdentityChange::User(_, _, value) => value.as_ref().map_or(&[], |value| &value.keys),
        }
    }

    fn operation(&self) -> Operation {
        let (identity, value) = match self {
            IdentityChange::Account(id, value) => {
                (Identity::Account(id.clone()), value.as_ref().map(|value| value.encode()))
            }
            IdentityChange::User(account, name, value) => {
                (Identity::User(account.clone(), name.clone()), value.as_ref().map(|value| value.encode()))
            }
        };
        let key = key::identity(&identity);
        match value {
            Some(value) => Operation::Put { key, value },
            None => Operation::Delete { key },
        }
    }
}

/// What a decision about identities comes to: changes and an answer, or a refusal.
pub type Decision<T, E> = Result<(Vec<IdentityChange>, T), E>;

impl Shard {
    /// At the owner: one decision at a time; its changes become durable together.
    pub async fn change_identities<T, E>(
        self: Rc<Self>,
        decide: impl FnOnce(&Shard) -> Decision<T, E>,
    ) -> Result<Result<T, E>, ObjectError> {
        let _guard = self.locks.lock(&key::identities().0).await;
        let (changes, answer) = match decide(&self) {
            Ok(decided) => decided,
            Err(refused) => return Ok(Err(refused)),
        };
        if !changes.is_empty() {
            let gone = self.bulletin.common.identities.gone_uses(&changes);
            let forget = |id| Operation::Delete { key: key::identity(&Identity::LastUse(id)) };
            let operations = changes.iter().map(IdentityChange::operation);
            self.commit_internal(operations.chain(gone.into_iter().map(forget)).collect()).await?;
        }
        for change in changes {
            self.bulletin.announce(News::Identity(change)).await;
        }
        Ok(Ok(answer))
    }

    /// Writes down when keys were last used.
    pub async fn keep_uses(&self) -> Result<(), ObjectError> {
        let all = &self.bulletin.common.identities;
        loop {
            // Or a use could be written down behind the deletion of its key.
            let _guard = self.locks.lock(&key::identities().0).await;
            let uses = all.unkept_uses();
            if uses.is_empty() {
                return Ok(());
            }
            let put = |(id, last): &(String, KeyUse)| {
                let key = key::identity(&Identity::LastUse(id.clone()));
                Operation::Put { key, value: last.encode() }
            };
            self.commit_internal(uses.iter().map(put).collect()).await?;
            for (id, last) in uses {
                all.key(&id, |_, key| key.last_use.keep(last));
            }
            rest().await;
        }
    }

    /// Every identity there is, read from the catalog at start and told to every core.
    pub async fn announce_identities(&self) -> Result<(), ObjectError> {
        let (start, end) = key::identities();
        let mut scan = self.index.scan(start, end);
        let mut uses = Vec::new();
        while let Some((at, value)) = scan.next().await? {
            let bad = || damaged("identity");
            let change = match key::parse_identity(&at).ok_or_else(bad)? {
                Identity::Account(id) => {
                    IdentityChange::Account(id, Some(Arc::new(AccountValue::decode(&value).ok_or_else(bad)?)))
                }
                Identity::User(account, name) => {
                    let value = UserValue::decode(&value).ok_or_else(bad)?;
                    IdentityChange::User(account, name, Some(Arc::new(value)))
                }
                Identity::LastUse(id) => {
                    uses.push((id, KeyUse::decode(&value).ok_or_else(bad)?));
                    continue;
                }
            };
            self.bulletin.announce(News::Identity(change)).await;
        }
        // Nobody has the former keys of the server's own root.
        for (id, last) in uses {
            self.bulletin.common.identities.key(&id, |_, key| key.last_use.restore(last));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Nanos;

    fn key(id: &str) -> KeyValue {
        KeyValue::new(id.into(), "s".into(), Nanos(0))
    }

    fn account(canonical: &str, keys: Vec<KeyValue>) -> Option<Arc<AccountValue>> {
        let (name, created) = ("n".to_owned(), Nanos(0));
        Some(Arc::new(AccountValue { canonical: canonical.into(), name, created, disabled: false, keys }))
    }

    fn user(keys: Vec<KeyValue>, policy: &str) -> Option<Arc<UserValue>> {
        let policies = vec![("p".to_owned(), policy.to_owned())];
        Some(Arc::new(UserValue { id: "AIDA".into(), path: "/".into(), created: Nanos(0), keys, policies }))
    }

    #[test]
    fn keys_follow_their_holders() {
        let all = Identities::default();
        let holder = |id: &str| {
            all.key(id, |holder, key| {
                assert_eq!(key.id, id);
                match holder {
                    Holder::Root(account) => account.id.clone(),
                    Holder::User(user) => format!("{}/{}", user.account.value.canonical, user.name),
                }
            })
        };
        all.apply(IdentityChange::Account("1".into(), account("c", vec![key("A")])));
        all.apply(IdentityChange::User("1".into(), "ann".into(), user(vec![key("B")], "{}")));
        assert_eq!((holder("A"), holder("B")), (Some("1".into()), Some("c/ann".into())));
        assert!(all.user("1", "ann").unwrap().policies.is_none(), "an unreadable policy is told apart");
        // A changed account is what its users belong to.
        all.apply(IdentityChange::Account("1".into(), account("d", vec![key("C")])));
        assert_eq!((holder("A"), holder("C"), holder("B")), (None, Some("1".into()), Some("d/ann".into())));
        assert!(all.account_of_canonical("c").is_none() && all.account_of_canonical("d").is_some());
        all.apply(IdentityChange::User("1".into(), "ann".into(), user(vec![], "{}")));
        assert_eq!(holder("B"), None);
        all.apply(IdentityChange::User("1".into(), "ann".into(), None));
        assert_eq!((all.user_count(), all.users("1", "").len()), (0, 0));
    }

    #[test]
    fn users_are_listed_by_account_behind_a_name() {
        let all = Identities::default();
        for id in ["1", "2"] {
            all.apply(IdentityChange::Account(id.into(), account(id, vec![])));
            for name in ["a", "b", "c"] {
                all.apply(IdentityChange::User(id.into(), name.into(), user(vec![], "{}")));
            }
        }
        let names = |after: &str| -> Vec<String> {
            all.users("1", after).iter().map(|user| user.name.clone()).collect()
        };
        assert_eq!((names(""), names("b")), (vec!["a".into(), "b".into(), "c".into()], vec!["c".into()]));
    }
}
