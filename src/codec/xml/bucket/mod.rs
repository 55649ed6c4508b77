//! The documents of a bucket's settings: each a plain structure that is read, checked and written.
//!
//! May use: `xml::{read, write}`, `base::limits`. One file a topic. `parse` accepts exactly the
//! shape of the API model and what AWS allows in it; `render` writes what a GET answers, and that
//! is also the form in which the catalog keeps a setting, so `parse` reads all that `render` wrote.

mod access;
mod acl;
mod lock;
mod tagging;
mod versioning;

use super::read::XmlError;

pub use access::{ObjectOwnership, PublicAccessBlock};
pub use acl::{Acl, AclOwner, Grant, Grantee, Group, Permission};
pub use lock::{DefaultRetention, ObjectLock, RetentionMode, RetentionPeriod};
pub(super) use tagging::read_tag_set;
pub use tagging::{Tags, check_tags};
pub use versioning::Versioning;

/// A document that is kept with a bucket.
pub trait Configuration: Sized {
    fn parse(body: &[u8]) -> Result<Self, XmlError>;
    fn render(&self) -> Vec<u8>;
}
