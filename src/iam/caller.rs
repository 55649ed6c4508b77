//! Who a request comes from, once its signature holds.
//!
//! A caller keeps the account or user as it was when the request came in: what changes meanwhile counts
//! for the next one.

use std::rc::Rc;

use crate::catalog::keyuse::KeyUse;
use crate::codec::policy::{ANONYMOUS_ID, Asker, Policy};
use crate::object::registry::identities::{Account, Holder, Identities, User};

#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody who could be asked.
    Anonymous,
    Root(Rc<Account>),
    User(Rc<User>),
    /// A part of this server that acts for a bucket, e.g. `LOG_DELIVERY`.
    Service(&'static str),
}

/// Who writes access logs into buckets.
pub const LOG_DELIVERY: &str = "logging.s3.amazonaws.com";

/// Who writes inventories into buckets.
pub const INVENTORY: &str = "s3.amazonaws.com";

impl Caller {
    /// Who has a key, if `prove` finds that the request knows its secret; then the key was used.
    /// `None` for a key that there is not, that was switched off, or whose account was.
    pub fn of_key<T, E>(
        identities: &Identities,
        access_key: &str,
        used: KeyUse,
        prove: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Result<(Caller, T), E>> {
        let found = identities.key(access_key, |holder, key| {
            let accepted = key.active && !holder.account().value.disabled;
            accepted.then(|| {
                let proved = prove(&key.secret)?;
                key.last_use.mark(used);
                Ok((Caller::of_holder(holder), proved))
            })
        });
        found.flatten()
    }

    fn of_holder(holder: &Holder) -> Caller {
        match holder {
            Holder::Root(account) => Caller::Root(account.clone()),
            Holder::User(user) => Caller::User(user.clone()),
        }
    }

    pub fn account(&self) -> Option<&Rc<Account>> {
        match self {
            Caller::Root(account) => Some(account),
            Caller::User(user) => Some(&user.account),
            Caller::Anonymous | Caller::Service(_) => None,
        }
    }

    pub fn canonical(&self) -> Option<&str> {
        self.account().map(|account| account.value.canonical.as_str())
    }

    /// Whether this is the root of the account with that canonical id.
    pub fn is_root_of(&self, canonical: &str) -> bool {
        matches!(self, Caller::Root(account) if account.value.canonical == canonical)
    }

    pub fn is_anonymous(&self) -> bool {
        matches!(self, Caller::Anonymous)
    }

    pub fn arn(&self) -> Option<String> {
        match self {
            Caller::Root(account) => Some(format!("arn:aws:iam::{}:root", account.id)),
            Caller::User(user) => Some(user.arn.clone()),
            Caller::Anonymous | Caller::Service(_) => None,
        }
    }

    /// `aws:userid`: the account's number for its root.
    pub fn id(&self) -> &str {
        match self {
            Caller::Root(account) => &account.id,
            Caller::User(user) => &user.value.id,
            Caller::Anonymous => ANONYMOUS_ID,
            Caller::Service(name) => name,
        }
    }

    /// `aws:PrincipalType`.
    pub fn kind(&self) -> &'static str {
        match self {
            Caller::Root(_) => "Account",
            Caller::User(_) => "User",
            Caller::Anonymous => "Anonymous",
            Caller::Service(_) => "Service",
        }
    }

    /// Whether what its own policies say may depend on the tags of an object.
    pub fn asks_for_object_tags(&self) -> bool {
        let Caller::User(user) = self else { return false };
        user.policies.iter().flatten().any(Policy::asks_for_object_tags)
    }

    pub fn asker(&self) -> Asker<'_> {
        match self {
            Caller::Anonymous => Asker::Anonymous,
            Caller::Root(account) => {
                Asker::Root { account: &account.id, canonical: &account.value.canonical }
            }
            Caller::User(user) => Asker::User {
                account: &user.account.id,
                canonical: &user.account.value.canonical,
                arn: &user.arn,
                id: &user.value.id,
            },
            Caller::Service(name) => Asker::Service(name),
        }
    }
}
