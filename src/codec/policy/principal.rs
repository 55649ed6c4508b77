//! Who is asking, and the Principal elements of policies that may mean them.
//!
//! An account (its number, or the ARN of its root) stands for everybody in it: an allow for it leaves the
//! choice of users to the account, so it reaches a user only together with a policy of theirs. A user's
//! ARN, a user's id, a service and `*` mean the caller directly. A canonical id is an account by its other name.

use super::json::Json;
use super::{PolicyError, is_account_id};

/// Who makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker<'a> {
    Anonymous,
    /// The root of an account.
    Root {
        account: &'a str,
        canonical: &'a str,
    },
    User {
        account: &'a str,
        canonical: &'a str,
        arn: &'a str,
        id: &'a str,
    },
    /// A part of this server that acts on behalf of a bucket, e.g. `logging.s3.amazonaws.com`.
    Service(&'a str),
}

impl<'a> Asker<'a> {
    pub fn account(&self) -> Option<&'a str> {
        match *self {
            Asker::Root { account, .. } | Asker::User { account, .. } => Some(account),
            Asker::Anonymous | Asker::Service(_) => None,
        }
    }

    pub fn canonical(&self) -> Option<&'a str> {
        match *self {
            Asker::Root { canonical, .. } | Asker::User { canonical, .. } => Some(canonical),
            Asker::Anonymous | Asker::Service(_) => None,
        }
    }
}

/// How a Principal element means a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meant {
    Not,
    /// Through the account.
    Account,
    Direct,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Principal {
    Everyone,
    Account(Box<str>),
    Canonical(Box<str>),
    /// A user by ARN; or a role or session, of which there are none yet.
    Arn(Box<str>),
    /// A user by unique id.
    Id(Box<str>),
    Service(Box<str>),
}

impl Principal {
    pub fn means(&self, asker: &Asker<'_>) -> Meant {
        let direct = |yes: bool| if yes { Meant::Direct } else { Meant::Not };
        let account = |theirs: bool| match (theirs, asker) {
            (true, Asker::Root { .. }) => Meant::Direct,
            (true, _) => Meant::Account,
            (false, _) => Meant::Not,
        };
        match self {
            // Services too: a Deny for everybody keeps logs out, unless it asks for aws:PrincipalIsAWSService.
            Principal::Everyone => Meant::Direct,
            Principal::Account(id) => account(asker.account() == Some(id)),
            Principal::Canonical(id) => account(asker.canonical() == Some(id)),
            Principal::Arn(wanted) => direct(matches!(asker, Asker::User { arn, .. } if *arn == &**wanted)),
            Principal::Id(wanted) => direct(matches!(asker, Asker::User { id, .. } if *id == &**wanted)),
            Principal::Service(name) => direct(*asker == Asker::Service(name)),
        }
    }
}

/// Reads a Principal or NotPrincipal element.
pub fn parse(element: &Json) -> Result<Vec<Principal>, PolicyError> {
    let members = match element {
        Json::Text(text) if text == "*" => return Ok(vec![Principal::Everyone]),
        Json::Object(members) if !members.is_empty() => members,
        _ => return Err(invalid()),
    };
    let mut found = Vec::new();
    for (kind, values) in members {
        let list = match values {
            Json::List(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        if list.is_empty() {
            return Err(invalid());
        }
        for value in list {
            let Json::Text(text) = value else { return Err(invalid()) };
            found.push(one(kind, text).ok_or_else(invalid)?);
        }
    }
    Ok(found)
}

fn invalid() -> PolicyError {
    PolicyError::new("Invalid principal in policy")
}

/// What one name means; `None` when it has no form of a name.
pub(super) fn one(kind: &str, text: &str) -> Option<Principal> {
    let canonical = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match kind {
        "AWS" => aws(text),
        "CanonicalUser" => canonical(text).then(|| Principal::Canonical(text.to_ascii_lowercase().into())),
        "Service" => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
            let formed = text.contains('.') && text.bytes().all(plain);
            formed.then(|| Principal::Service(text.into()))
        }
        _ => None,
    }
}

fn aws(text: &str) -> Option<Principal> {
    if text == "*" {
        return Some(Principal::Everyone);
    }
    if is_account_id(text) {
        return Some(Principal::Account(text.into()));
    }
    if text.len() == 21 && text.starts_with('A') && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Some(Principal::Id(text.into()));
    }
    let rest = text.strip_prefix("arn:aws:")?;
    let (service, rest) = rest.split_once("::")?;
    let (account, name) = rest.split_once(':')?;
    if !is_account_id(account) || name.contains(['*', '?']) {
        return None;
    }
    let named = |prefix: &str| name.strip_prefix(prefix).is_some_and(|name| !name.is_empty());
    match service {
        "iam" if name == "root" => Some(Principal::Account(account.into())),
        "iam" if named("user/") || named("role/") => Some(Principal::Arn(text.into())),
        "sts" if named("assumed-role/") || named("federated-user/") => Some(Principal::Arn(text.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::policy::json;

    const CANONICAL: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn meant(element: &str, asker: Asker<'_>) -> Meant {
        let principals = parse(&json::parse(element.as_bytes()).unwrap()).unwrap();
        principals.iter().map(|p| p.means(&asker)).max().unwrap()
    }

    #[test]
    fn who_is_meant() {
        let root = Asker::Root { account: "111122223333", canonical: CANONICAL };
        let arn = "arn:aws:iam::111122223333:user/team/ann";
        let user =
            Asker::User { account: "111122223333", canonical: CANONICAL, arn, id: "AIDAAAAAAAAAAAAAAAAAA" };
        let log = Asker::Service("logging.s3.amazonaws.com");
        for (element, root_is, user_is, nobody_is) in [
            (r#""*""#, Meant::Direct, Meant::Direct, Meant::Direct),
            (r#"{"AWS": "*"}"#, Meant::Direct, Meant::Direct, Meant::Direct),
            (r#"{"AWS": "111122223333"}"#, Meant::Direct, Meant::Account, Meant::Not),
            (r#"{"AWS": ["arn:aws:iam::111122223333:root"]}"#, Meant::Direct, Meant::Account, Meant::Not),
            (r#"{"AWS": "arn:aws:iam::111122223333:user/team/ann"}"#, Meant::Not, Meant::Direct, Meant::Not),
            (r#"{"AWS": "arn:aws:iam::111122223333:user/ann"}"#, Meant::Not, Meant::Not, Meant::Not),
            (r#"{"AWS": "AIDAAAAAAAAAAAAAAAAAA"}"#, Meant::Not, Meant::Direct, Meant::Not),
            (r#"{"AWS": "444455556666"}"#, Meant::Not, Meant::Not, Meant::Not),
            (r#"{"Service": "logging.s3.amazonaws.com"}"#, Meant::Not, Meant::Not, Meant::Not),
        ] {
            assert_eq!(meant(element, root), root_is, "{element}");
            assert_eq!(meant(element, user), user_is, "{element}");
            assert_eq!(meant(element, Asker::Anonymous), nobody_is, "{element}");
        }
        let by_id = format!(r#"{{"CanonicalUser": "{}"}}"#, CANONICAL.to_uppercase());
        assert_eq!((meant(&by_id, root), meant(&by_id, user)), (Meant::Direct, Meant::Account));
        assert_eq!(meant(r#"{"Service": "logging.s3.amazonaws.com"}"#, log), Meant::Direct);
        assert_eq!(meant(r#""*""#, log), Meant::Direct);
    }

    #[test]
    fn strange_principals_are_refused() {
        for element in [
            r#""111122223333""#,
            "{}",
            "[]",
            r#"{"AWS": []}"#,
            r#"{"AWS": 111122223333}"#,
            r#"{"AWS": "arn:aws:iam::111122223333:user/*"}"#,
            r#"{"AWS": "arn:aws:iam::1111:root"}"#,
            r#"{"AWS": "arn:aws:s3::111122223333:root"}"#,
            r#"{"AWS": "arn:aws:iam::111122223333:group/x"}"#,
            r#"{"CanonicalUser": "x"}"#,
            r#"{"Federated": "accounts.google.com"}"#,
            r#"{"Who": "*"}"#,
        ] {
            assert!(parse(&json::parse(element.as_bytes()).unwrap()).is_err(), "{element}");
        }
    }
}
