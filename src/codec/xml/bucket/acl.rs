//! AccessControlPolicy: the ACL of a bucket or of an object.
//!
//! The kind of a grantee follows from what names it (ID, URI, EmailAddress), and must be said by the
//! `xsi:type` attribute too, as S3's schema has it. Who may change an ACL, and whether grantees
//! exist, is decided where access is judged.

use std::borrow::Cow;

use super::super::read::{BAD_WORD, Document, Fault, MISSING, UNEXPECTED, XmlError, once, texts};
use super::super::write::XmlWriter;
use super::Configuration;
use crate::base::limits::GRANTS_MAX;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    pub owner: AclOwner,
    pub grants: Vec<Grant>,
}

/// A canonical user: id, and the name shown with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclOwner {
    pub id: String,
    pub display_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub grantee: Grantee,
    pub permission: Permission,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    User(AclOwner),
    Group(Group),
    Email(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    AllUsers,
    AuthenticatedUsers,
    LogDelivery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    FullControl,
    Read,
    Write,
    ReadAcp,
    WriteAcp,
}

impl Group {
    pub const fn uri(self) -> &'static str {
        match self {
            Group::AllUsers => "http://acs.amazonaws.com/groups/global/AllUsers",
            Group::AuthenticatedUsers => "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
            Group::LogDelivery => "http://acs.amazonaws.com/groups/s3/LogDelivery",
        }
    }

    pub fn from_uri(uri: &str) -> Option<Self> {
        [Group::AllUsers, Group::AuthenticatedUsers, Group::LogDelivery]
            .into_iter()
            .find(|group| group.uri() == uri)
    }
}

impl Grantee {
    /// Its `xsi:type`.
    const fn kind(&self) -> &'static str {
        match self {
            Grantee::User(_) => "CanonicalUser",
            Grantee::Group(_) => "Group",
            Grantee::Email(_) => "AmazonCustomerByEmail",
        }
    }
}

impl Permission {
    pub const ALL: [Permission; 5] = [
        Permission::FullControl,
        Permission::Read,
        Permission::Write,
        Permission::ReadAcp,
        Permission::WriteAcp,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Permission::FullControl => "FULL_CONTROL",
            Permission::Read => "READ",
            Permission::Write => "WRITE",
            Permission::ReadAcp => "READ_ACP",
            Permission::WriteAcp => "WRITE_ACP",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.name() == name)
    }
}

impl Acl {
    /// What every bucket and object has until somebody says otherwise.
    pub fn private(owner: AclOwner) -> Self {
        let grant = Grant { grantee: Grantee::User(owner.clone()), permission: Permission::FullControl };
        Acl { owner, grants: vec![grant] }
    }
}

impl Configuration for Acl {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "AccessControlPolicy")?;
        let (mut owner, mut grants) = (None, None);
        while let Some(element) = document.child()? {
            match element.name() {
                b"Owner" => once(&mut owner, read_owner(&mut document)?)?,
                b"AccessControlList" => {
                    once(&mut grants, read_grants(&mut document, b"Grant", Permission::from_name)?)?;
                }
                _ => return Err(UNEXPECTED),
            }
        }
        document.close()?;
        let grants = grants.ok_or(MISSING)?;
        let grants = grants.into_iter().map(|(grantee, permission)| Grant { grantee, permission }).collect();
        Ok(Acl { owner: owner.ok_or(MISSING)?, grants })
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::with_capacity(512 + self.grants.len() * 256);
        w.open_root("AccessControlPolicy");
        w.open("Owner");
        write_user(&mut w, &self.owner);
        w.close("Owner");
        w.open("AccessControlList");
        for grant in &self.grants {
            w.open("Grant");
            write_grantee(&mut w, &grant.grantee);
            w.text("Permission", grant.permission.name());
            w.close("Grant");
        }
        w.close("AccessControlList");
        w.close("AccessControlPolicy");
        w.finish()
    }
}

fn read_owner(document: &mut Document<'_>) -> Result<AclOwner, XmlError> {
    let [id, display_name] = texts(document, &[b"ID", b"DisplayName"])?;
    Ok(AclOwner { id: id.ok_or(MISSING)?, display_name })
}

/// Grants under the element just opened, each called `name`; `permission` reads their words.
pub(super) fn read_grants<P>(
    document: &mut Document<'_>,
    name: &[u8],
    permission: impl Fn(&str) -> Option<P>,
) -> Result<Vec<(Grantee, P)>, XmlError> {
    let mut grants = Vec::new();
    while let Some(element) = document.child()? {
        if element.name() != name {
            return Err(UNEXPECTED);
        }
        if grants.len() == GRANTS_MAX {
            return Err(XmlError::Malformed("it has too many grants"));
        }
        let (mut grantee, mut word) = (None, None);
        while let Some(element) = document.child()? {
            match element.name() {
                b"Grantee" => once(&mut grantee, read_grantee(document, element.attribute("type"))?)?,
                b"Permission" => once(&mut word, permission(&document.text()?).ok_or(BAD_WORD)?)?,
                _ => return Err(UNEXPECTED),
            }
        }
        grants.push((grantee.ok_or(MISSING)?, word.ok_or(MISSING)?));
    }
    Ok(grants)
}

/// `kind` is its `xsi:type`.
fn read_grantee(document: &mut Document<'_>, kind: Option<Cow<'_, [u8]>>) -> Result<Grantee, XmlError> {
    // Some clients write the type as an element beside the attribute.
    let [id, display_name, uri, email, _kind] =
        texts(document, &[b"ID", b"DisplayName", b"URI", b"EmailAddress", b"Type"])?;
    let grantee = match (id, uri, email) {
        (Some(id), None, None) => Grantee::User(AclOwner { id, display_name }),
        (None, Some(uri), None) => {
            let unknown = || XmlError::Invalid(Fault::Argument, "Invalid group uri".into());
            Grantee::Group(Group::from_uri(&uri).ok_or_else(unknown)?)
        }
        (None, None, Some(email)) => Grantee::Email(email),
        _ => {
            return Err(XmlError::Malformed("a grantee is named by exactly one of ID, URI and EmailAddress"));
        }
    };
    match kind.is_some_and(|kind| *kind == *grantee.kind().as_bytes()) {
        true => Ok(grantee),
        false => {
            Err(XmlError::Malformed("the xsi:type of a grantee is missing or does not say how it is named"))
        }
    }
}

fn write_user(w: &mut XmlWriter, user: &AclOwner) {
    w.text("ID", &user.id);
    w.optional("DisplayName", user.display_name.as_deref());
}

pub(super) fn write_grantee(w: &mut XmlWriter, grantee: &Grantee) {
    let kind = grantee.kind();
    w.open(&format!("Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"{kind}\""));
    match grantee {
        Grantee::User(user) => write_user(w, user),
        Grantee::Group(group) => w.text("URI", group.uri()),
        Grantee::Email(email) => w.text("EmailAddress", email),
    }
    w.close("Grantee");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let owner = AclOwner { id: "o".into(), display_name: Some("name".into()) };
        let mut acl = Acl::private(owner);
        for group in [Group::AllUsers, Group::AuthenticatedUsers, Group::LogDelivery] {
            acl.grants.push(Grant { grantee: Grantee::Group(group), permission: Permission::Read });
        }
        for permission in Permission::ALL {
            acl.grants.push(Grant { grantee: Grantee::Email("a@b".into()), permission });
        }
        assert_eq!(Acl::parse(&acl.render()), Ok(acl));
    }

    #[test]
    fn what_is_no_acl() {
        let owner = "<Owner><ID>o</ID></Owner>";
        let with = |grant: &str| {
            let list = format!("<AccessControlList>{grant}</AccessControlList>");
            Acl::parse(format!("<AccessControlPolicy>{owner}{list}</AccessControlPolicy>").as_bytes())
        };
        let read = "<Permission>READ</Permission>";
        assert!(with("").is_ok());
        let grant =
            |kind: &str, inner: &str| format!("<Grant><Grantee{kind}>{inner}</Grantee>{read}</Grant>");
        let (user, group) = (" xsi:type='CanonicalUser'", " x:type=\"Group\"");
        let all = format!("<URI>{}</URI>", Group::AllUsers.uri());
        assert!(with(&grant(user, "<ID>x</ID>")).is_ok() && with(&grant(group, &all)).is_ok());
        for grant in [
            format!("<Grant>{read}</Grant>"),
            format!("<Grant><Grantee{user}><ID>x</ID></Grantee></Grant>"),
            grant(user, ""),
            grant(user, "<ID>x</ID><URI>u</URI>"),
            grant(user, "<ID>x</ID>").replace("READ", "ALL"),
            grant(user, "<ID>x</ID>").repeat(GRANTS_MAX + 1),
            grant("", "<ID>x</ID>"),
            grant(" type='CanonicalUser'", "<ID>x</ID>"),
            grant(" xsi:type='Person'", "<ID>x</ID>"),
            grant(" xsi:type=''", "<ID>x</ID>"),
            grant(" xsi:type", "<ID>x</ID>"),
            grant(" xsi:type='CanonicalUser", "<ID>x</ID>"),
            grant(group, "<ID>x</ID>"),
            grant(user, &all),
            grant("", "<ID>x</ID><Type>CanonicalUser</Type>"),
        ] {
            assert!(matches!(with(&grant), Err(XmlError::Malformed(_))), "{grant:.200}");
        }
        let elsewhere = with(&grant(group, "<URI>http://elsewhere</URI>"));
        assert!(matches!(elsewhere, Err(XmlError::Invalid(Fault::Argument, _))));
        assert!(
            Acl::parse(format!("<AccessControlPolicy>{owner}</AccessControlPolicy>").as_bytes()).is_err()
        );
    }
}
