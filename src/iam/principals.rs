//! The principals of a bucket policy, held to the accounts and users that there are.
//!
//! A policy is kept with the unique ids of the users it names, and told with their ARNs as long as they exist.
//! So a user keeps its rights under another name, and one that is made later under the name of a deleted
//! one has none of them. Document: "AWS JSON policy elements: Principal" (IAM User Guide).

use crate::codec::policy::{Named, Policy, PolicyError, Principal, named, rename};
use crate::object::registry::identities::Identities;

/// Why a policy cannot be kept.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Malformed(PolicyError),
    /// Nobody has this name.
    Unknown {
        kind: String,
        name: String,
    },
}

impl From<PolicyError> for Refused {
    fn from(error: PolicyError) -> Refused {
        Refused::Malformed(error)
    }
}

/// The policy as it is kept.
pub fn bound(all: &Identities, policy: &str) -> Result<String, Refused> {
    if let Some(stranger) = named(policy)?.into_iter().find(|name| !exists(all, &name.principal)) {
        return Err(Refused::Unknown { kind: stranger.kind, name: stranger.text });
    }
    let id = |name: &Named| match &name.principal {
        Principal::Arn(arn) => all.user_of_arn(arn).map(|user| user.value.id.clone()),
        _ => None,
    };
    Ok(rename(policy, id)?)
}

/// The policy as it is told.
pub fn told(all: &Identities, policy: &str) -> String {
    let arn = |name: &Named| match &name.principal {
        Principal::Id(id) => all.user_of_id(id).map(|user| user.arn.clone()),
        _ => None,
    };
    // What cannot be read is told as it is, to whoever is to mend it.
    rename(policy, arn).unwrap_or_else(|_| policy.to_owned())
}

/// Services are not looked up: a name that none of ours has lets nobody in.
fn exists(all: &Identities, principal: &Principal) -> bool {
    match principal {
        Principal::Everyone | Principal::Service(_) => true,
        Principal::Account(id) => all.account(id).is_some(),
        Principal::Canonical(id) => all.account_of_canonical(id).is_some(),
        // There are no roles and no sessions yet.
        Principal::Arn(arn) => all.user_of_arn(arn).is_some(),
        Principal::Id(id) => all.user_of_id(id).is_some(),
    }
}

/// Reads a policy for a bucket and binds it.
pub fn read(all: &Identities, text: &[u8], bucket: &str) -> Result<(Policy, String), Refused> {
    let policy = Policy::of_bucket(text, bucket)?;
    policy.check_applies()?;
    // JSON that was read is UTF-8.
    let text = String::from_utf8_lossy(text);
    Ok((policy, bound(all, &text)?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::time::Nanos;
    use crate::catalog::identity::{AccountValue, UserValue};
    use crate::object::registry::identities::IdentityChange;

    const ONE: &str = "111122223333";

    fn identities() -> Identities {
        let all = Identities::default();
        let (canonical, name, created) = ("c".repeat(64), "one".to_owned(), Nanos(0));
        let value = AccountValue { canonical, name, created, disabled: false, keys: vec![] };
        all.apply(IdentityChange::Account(ONE.into(), Some(Arc::new(value))));
        all
    }

    fn set(all: &Identities, name: &str, id: Option<&str>) {
        let value = id.map(|id| {
            let (path, created) = ("/t/".to_owned(), Nanos(0));
            Arc::new(UserValue { id: id.into(), path, created, keys: vec![], policies: vec![] })
        });
        all.apply(IdentityChange::User(ONE.into(), name.into(), value));
    }

    fn policy(principal: &str) -> String {
        format!(r#"{{"Statement": [{{"Principal": {principal}}}]}}"#)
    }

    #[test]
    fn a_user_is_followed_and_never_mistaken() {
        let all = identities();
        let (first, second) = ("AIDAAAAAAAAAAAAAAAAAA", "AIDABBBBBBBBBBBBBBBBB");
        let aws = |name: &str| policy(&format!(r#"{{"AWS": "{name}"}}"#));
        let arn = |name: &str| format!("arn:aws:iam::{ONE}:user/t/{name}");
        let unknown = |name: &str| {
            let (kind, name) = ("AWS".to_owned(), name.to_owned());
            Err(Refused::Unknown { kind, name })
        };
        assert_eq!(bound(&all, &aws(&arn("ann"))), unknown(&arn("ann")));
        set(&all, "ann", Some(first));
        let kept = bound(&all, &aws(&arn("ann"))).unwrap();
        assert_eq!(kept, aws(first));
        assert_eq!(bound(&all, &aws(first)).as_ref(), Ok(&kept), "an id is a name too");
        assert_eq!(told(&all, &kept), aws(&arn("ann")));
        set(&all, "ann", None);
        set(&all, "bob", Some(first));
        assert_eq!(told(&all, &kept), aws(&arn("bob")), "under another name");
        set(&all, "bob", None);
        set(&all, "ann", Some(second));
        assert_eq!(told(&all, &kept), aws(first), "another user of that name");
        assert_eq!(bound(&all, &kept), unknown(first));
        let elsewhere = format!("arn:aws:iam::{ONE}:user/ann");
        assert_eq!(bound(&all, &aws(&elsewhere)), unknown(&elsewhere));
    }

    #[test]
    fn who_there_is() {
        let all = identities();
        let canonical = format!(r#"{{"CanonicalUser": "{}"}}"#, "C".repeat(64));
        for known in
            [r#""*""#, r#"{"AWS": ["*", "111122223333"]}"#, r#"{"Service": "any.thing"}"#, &canonical]
        {
            assert_eq!(bound(&all, &policy(known)), Ok(policy(known)), "{known}");
        }
        let strange = format!(r#"{{"CanonicalUser": "{}"}}"#, "d".repeat(64));
        for unknown in [
            r#"{"AWS": ["111122223333", "444455556666"]}"#,
            r#"{"AWS": "arn:aws:iam::444455556666:root"}"#,
            r#"{"AWS": "arn:aws:iam::111122223333:role/r"}"#,
            r#"{"AWS": "AIDAAAAAAAAAAAAAAAAAA"}"#,
            &strange,
        ] {
            assert!(matches!(bound(&all, &policy(unknown)), Err(Refused::Unknown { .. })), "{unknown}");
        }
    }
}
