//! What an ACL says: canned ACLs, who a grant means, and an object's grants as bytes.
//!
//! The document is `codec::xml::Acl`. A grant to an account reaches its root at once and its users through
//! their own policies; a grant to a group reaches whoever is in it. With ACLs switched off nobody asks
//! here. Document: "Access control list (ACL) overview", Amazon S3 User Guide.

use super::caller::{Caller, LOG_DELIVERY};
use crate::base::limits::GRANTS_MAX;
use crate::codec::policy::Action;
use crate::codec::wire::{Put, Take};
use crate::codec::xml::{AclOwner, Grant, Grantee, Group, Permission};

/// What a caller was granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// The caller, or a group everybody of its kind is in.
    pub direct: bool,
    /// The caller's account.
    pub account: bool,
}

/// What `grants` give the caller of `wanted`. `public`: whether grants to everybody count.
pub fn granted(grants: &[Grant], wanted: Permission, caller: &Caller, public: bool) -> Granted {
    let mut found = Granted::default();
    for grant in grants.iter().filter(|grant| covers(grant.permission, wanted)) {
        match &grant.grantee {
            Grantee::User(user) if caller.canonical() == Some(&user.id) => match caller {
                Caller::Root(_) => found.direct = true,
                _ => found.account = true,
            },
            Grantee::Group(Group::AllUsers) if public => {
                found.direct |= !matches!(caller, Caller::Service(_))
            }
            Grantee::Group(Group::AuthenticatedUsers) if public => found.direct |= caller.account().is_some(),
            Grantee::Group(Group::LogDelivery) => {
                found.direct |= matches!(caller, Caller::Service(name) if *name == LOG_DELIVERY);
            }
            _ => {}
        }
    }
    found
}

fn covers(granted: Permission, wanted: Permission) -> bool {
    granted == Permission::FullControl || granted == wanted
}

/// The permission in the ACL of a bucket that allows an action. Nobody deletes a version for good, or sees and aborts
/// what another uploads, by a grant: the owner may anyway, and so may who began an upload.
pub fn of_bucket(action: Action) -> Option<Permission> {
    Some(match action {
        Action::ListBucket | Action::ListBucketVersions | Action::ListBucketMultipartUploads => {
            Permission::Read
        }
        // Who may make an object says what its ACL and its tags are to be.
        Action::PutObject | Action::PutObjectAcl | Action::PutObjectTagging | Action::DeleteObject => {
            Permission::Write
        }
        Action::GetBucketAcl => Permission::ReadAcp,
        Action::PutBucketAcl => Permission::WriteAcp,
        _ => return None,
    })
}

/// The permission in the ACL of an object that allows an action.
pub fn of_object(action: Action) -> Option<Permission> {
    Some(match action {
        Action::GetObject
        | Action::GetObjectVersion
        | Action::GetObjectAttributes
        | Action::GetObjectVersionAttributes => Permission::Read,
        Action::GetObjectAcl | Action::GetObjectVersionAcl => Permission::ReadAcp,
        Action::PutObjectAcl | Action::PutObjectVersionAcl => Permission::WriteAcp,
        _ => return None,
    })
}

/// Whether somebody nobody has named is let in.
pub fn is_public(grants: &[Grant]) -> bool {
    let open =
        |grant: &Grant| matches!(&grant.grantee, Grantee::Group(Group::AllUsers | Group::AuthenticatedUsers));
    grants.iter().any(open)
}

// ---- Canned ACLs ----

/// The canonical id under which Amazon EC2 fetches images, the grantee of `aws-exec-read`. Nobody has it here, so
/// the grant reads as on AWS and lets nobody in.
pub const IMAGE_READER: &str = "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c";

/// Whom a canned ACL speaks of.
pub struct Parties<'a> {
    /// Of the bucket or object.
    pub owner: &'a AclOwner,
    pub bucket_owner: &'a AclOwner,
    pub on_bucket: bool,
}

/// The grants of `x-amz-acl`; `None` for a name there is not.
pub fn canned(name: &str, parties: &Parties<'_>) -> Option<Vec<Grant>> {
    let user = |user: &AclOwner, permission| Grant { grantee: Grantee::User(user.clone()), permission };
    let group = |group, permission| Grant { grantee: Grantee::Group(group), permission };
    let mut grants = vec![user(parties.owner, Permission::FullControl)];
    let apart = parties.owner.id != parties.bucket_owner.id;
    match name {
        "private" => {}
        "public-read" => grants.push(group(Group::AllUsers, Permission::Read)),
        "public-read-write" => {
            grants.push(group(Group::AllUsers, Permission::Read));
            grants.push(group(Group::AllUsers, Permission::Write));
        }
        "authenticated-read" => grants.push(group(Group::AuthenticatedUsers, Permission::Read)),
        "aws-exec-read" => {
            let reader = AclOwner { id: IMAGE_READER.to_owned(), display_name: None };
            grants.push(user(&reader, Permission::Read));
        }
        // On a bucket these two say nothing more than private.
        "bucket-owner-read" if parties.on_bucket || !apart => {}
        "bucket-owner-full-control" if parties.on_bucket || !apart => {}
        "bucket-owner-read" => grants.push(user(parties.bucket_owner, Permission::Read)),
        "bucket-owner-full-control" => grants.push(user(parties.bucket_owner, Permission::FullControl)),
        "log-delivery-write" if parties.on_bucket => {
            grants.push(group(Group::LogDelivery, Permission::Write));
            grants.push(group(Group::LogDelivery, Permission::ReadAcp));
        }
        _ => return None,
    }
    Some(grants)
}

/// The headers that grant one permission each.
pub const GRANT_HEADERS: [(&str, Permission); 5] = [
    ("x-amz-grant-full-control", Permission::FullControl),
    ("x-amz-grant-read", Permission::Read),
    ("x-amz-grant-write", Permission::Write),
    ("x-amz-grant-read-acp", Permission::ReadAcp),
    ("x-amz-grant-write-acp", Permission::WriteAcp),
];

/// `id="...", uri="...", emailAddress="..."`; `None` when it is something else.
pub fn parse_grantees(text: &str) -> Option<Vec<Grantee>> {
    let one = |part: &str| {
        let (kind, value) = part.trim().split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        Some(match kind.trim() {
            "id" => Grantee::User(AclOwner { id: value.to_owned(), display_name: None }),
            "uri" => Grantee::Group(Group::from_uri(value)?),
            "emailAddress" => Grantee::Email(value.to_owned()),
            _ => return None,
        })
    };
    text.split(',').map(one).collect()
}

// ---- An object's grants as bytes ----

const LAYOUT: u8 = 1;

/// Grants by e-mail address are resolved or refused before.
pub fn encode(grants: &[Grant]) -> Vec<u8> {
    let mut put = Put::default();
    put.u8(LAYOUT).varint(grants.len() as u64);
    for grant in grants {
        put.u8(permission_byte(grant.permission));
        match &grant.grantee {
            Grantee::User(user) => put.u8(0).bytes(user.id.as_bytes()),
            Grantee::Group(Group::AllUsers) => put.u8(1),
            Grantee::Group(Group::AuthenticatedUsers) => put.u8(2),
            Grantee::Group(Group::LogDelivery) => put.u8(3),
            Grantee::Email(_) => unreachable!("a grant by e-mail is never stored"),
        };
    }
    put.0
}

pub fn decode(bytes: &[u8]) -> Option<Vec<Grant>> {
    let mut take = Take(bytes);
    if take.u8()? != LAYOUT {
        return None;
    }
    let count = take.varint().filter(|count| *count <= GRANTS_MAX as u64)?;
    (0..count).map(|_| take_grant(&mut take)).collect()
}

fn take_grant(take: &mut Take<'_>) -> Option<Grant> {
    let permission = permission_of(take.u8()?)?;
    let grantee = match take.u8()? {
        0 => {
            let id = std::str::from_utf8(take.bytes()?).ok()?.to_owned();
            Grantee::User(AclOwner { id, display_name: None })
        }
        1 => Grantee::Group(Group::AllUsers),
        2 => Grantee::Group(Group::AuthenticatedUsers),
        3 => Grantee::Group(Group::LogDelivery),
        _ => return None,
    };
    Some(Grant { grantee, permission })
}

fn permission_byte(permission: Permission) -> u8 {
    match permission {
        Permission::FullControl => 0,
        Permission::Read => 1,
        Permission::Write => 2,
        Permission::ReadAcp => 3,
        Permission::WriteAcp => 4,
    }
}

fn permission_of(byte: u8) -> Option<Permission> {
    Permission::ALL.into_iter().find(|permission| permission_byte(*permission) == byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(id: &str) -> AclOwner {
        AclOwner { id: id.into(), display_name: None }
    }

    #[test]
    fn canned_acls_on_buckets_and_objects() {
        let grants = |name: &str, on_bucket: bool| {
            let (owner, bucket_owner) = (&owner("writer"), &owner("bucket"));
            canned(name, &Parties { owner, bucket_owner, on_bucket })
        };
        for (name, on_object, on_bucket) in [
            ("private", Some(1), Some(1)),
            ("public-read", Some(2), Some(2)),
            ("public-read-write", Some(3), Some(3)),
            ("authenticated-read", Some(2), Some(2)),
            ("aws-exec-read", Some(2), Some(2)),
            ("bucket-owner-read", Some(2), Some(1)),
            ("bucket-owner-full-control", Some(2), Some(1)),
            ("log-delivery-write", None, Some(3)),
            ("public", None, None),
            ("", None, None),
        ] {
            assert_eq!(grants(name, false).map(|grants| grants.len()), on_object, "{name}");
            assert_eq!(grants(name, true).map(|grants| grants.len()), on_bucket, "{name}");
        }
        assert!(is_public(&grants("authenticated-read", false).unwrap()));
        assert!(!is_public(&grants("log-delivery-write", true).unwrap()));
    }

    #[test]
    fn grant_headers() {
        let all = "http://acs.amazonaws.com/groups/global/AllUsers";
        let parsed = parse_grantees(&format!("id=\"a\", uri={all},emailAddress=\"x@y\"")).unwrap();
        assert_eq!(
            parsed,
            [Grantee::User(owner("a")), Grantee::Group(Group::AllUsers), Grantee::Email("x@y".into())]
        );
        for wrong in ["", "a", "id", "name=\"a\"", "uri=\"http://x\"", "id=\"a\","] {
            assert_eq!(parse_grantees(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn grants_come_back(list in prop::collection::vec((0u8..5, 0u8..4, ".{0,8}"), 0..9)) {
            let grant = |(permission, kind, id): (u8, u8, String)| Grant {
                permission: permission_of(permission).unwrap(),
                grantee: match kind {
                    0 => Grantee::User(owner(&id)),
                    1 => Grantee::Group(Group::AllUsers),
                    2 => Grantee::Group(Group::AuthenticatedUsers),
                    _ => Grantee::Group(Group::LogDelivery),
                },
            };
            let grants: Vec<Grant> = list.into_iter().map(grant).collect();
            prop_assert_eq!(decode(&encode(&grants)), Some(grants));
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
