//! The one evaluator: may this caller do this.
//!
//! First whatever is denied explicitly, anywhere, is denied. Within one account either side is enough: a
//! policy of the user, or the resource naming the caller. Across accounts both are needed: the resource
//! lets in the caller or its account, and the caller's own policies allow it (a root needs none). Nobody
//! in particular has the resource side alone. The resource side is the bucket policy and, where ACLs are
//! on, the ACL. An object that belongs to another account than its bucket is judged by its own ACL: what the
//! bucket's side allows does not reach it, what it denies does. Document: "Policy evaluation logic" (IAM).

use super::acl::{self, Granted};
use super::caller::Caller;
use super::rules::Rules;
use crate::codec::policy::{Action, Context, Opinion, Question};
use crate::codec::xml::Grant;

/// The object a request is about.
#[derive(Clone, Copy, Debug)]
pub struct ObjectSide<'a> {
    /// Canonical id of the account it belongs to.
    pub owner: &'a str,
    pub grants: &'a [Grant],
}

/// Something a caller wants to do.
pub struct Wish<'a, C> {
    pub caller: &'a Caller,
    pub action: Action,
    /// The ARN.
    pub resource: &'a str,
    pub context: &'a C,
}

impl<C: Context> Wish<'_, C> {
    fn question(&self) -> Question<'_> {
        Question { asker: self.caller.asker(), action: self.action, resource: self.resource }
    }

    /// What the caller's own policies say. A root may do everything that its account may.
    fn own_opinion(&self) -> Opinion {
        match self.caller {
            Caller::Root(_) => Opinion { allows: true, ..Opinion::default() },
            Caller::Anonymous | Caller::Service(_) => Opinion::default(),
            Caller::User(user) => {
                let Some(policies) = &user.policies else {
                    return Opinion { denies: true, ..Opinion::default() };
                };
                let question = self.question();
                let mut whole = Opinion::default();
                for policy in policies {
                    let opinion = policy.judge(&question, self.context);
                    whole.denies |= opinion.denies;
                    whole.allows |= opinion.allows;
                }
                whole
            }
        }
    }

    /// Something that belongs to the caller's own account and to no bucket, as the list of its buckets.
    pub fn is_allowed_at_home(&self) -> bool {
        let own = self.own_opinion();
        own.allows && !own.denies
    }

    /// Something about a bucket, or about an object in it. `object` when the action is about an object
    /// that is there, and its ACL or owner may matter.
    pub fn is_allowed(&self, rules: &Rules, object: Option<&ObjectSide<'_>>) -> bool {
        self.decide(rules, object, true)
    }

    /// Whether somebody denies it, for what a caller may do unless that is so.
    pub fn is_denied(&self, rules: &Rules) -> bool {
        self.own_opinion().denies || self.opinion_of(rules).denies
    }

    /// Whether it is allowed because an ACL says so.
    pub fn needs_acl(&self, rules: &Rules, object: Option<&ObjectSide<'_>>) -> bool {
        rules.has_acls() && self.decide(rules, object, true) && !self.decide(rules, object, false)
    }

    fn decide(&self, rules: &Rules, object: Option<&ObjectSide<'_>>, acls: bool) -> bool {
        let is_owner = self.caller.is_root_of(&rules.owner);
        let foreign = object.filter(|object| object.owner != rules.owner);
        // Nearly every request ends here.
        if is_owner && rules.policy.is_none() && !rules.unreadable && foreign.is_none() {
            return true;
        }
        let mut policy = self.opinion_of(rules);
        // Or nobody could mend a policy that locks everybody out.
        policy.denies &= !(is_owner && mends_policy(self.action));
        let own = self.own_opinion();
        if own.denies || policy.denies {
            return false;
        }
        let home = foreign.map_or(rules.owner.as_str(), |object| object.owner);
        let is_home = self.caller.canonical() == Some(home);
        // A service of the store is no public.
        let is_stranger = !is_home && !matches!(self.caller, Caller::Service(_));
        if foreign.is_some() || (is_stranger && rules.public && rules.block.restrict_public_buckets) {
            policy = Opinion::default();
        }
        let granted = if acls { self.granted(rules, object) } else { Granted::default() };
        let direct = policy.allows || granted.direct;
        match self.caller {
            Caller::Anonymous | Caller::Service(_) => direct,
            _ if is_home => own.allows || direct,
            _ => own.allows && (direct || policy.allows_account || granted.account),
        }
    }

    fn opinion_of(&self, rules: &Rules) -> Opinion {
        match &rules.policy {
            Some(policy) => policy.judge(&self.question(), self.context),
            None => Opinion { denies: rules.unreadable, ..Opinion::default() },
        }
    }

    fn granted(&self, rules: &Rules, object: Option<&ObjectSide<'_>>) -> Granted {
        if !rules.has_acls() {
            return Granted::default();
        }
        let public = !rules.block.ignore_public_acls;
        let of = |grants: &[Grant], permission| match permission {
            Some(permission) => acl::granted(grants, permission, self.caller, public),
            None => Granted::default(),
        };
        match object {
            Some(object) => of(object.grants, acl::of_object(self.action)),
            None => of(rules.grants.as_deref().unwrap_or_default(), acl::of_bucket(self.action)),
        }
    }
}

fn mends_policy(action: Action) -> bool {
    matches!(action, Action::GetBucketPolicy | Action::PutBucketPolicy | Action::DeleteBucketPolicy)
}
