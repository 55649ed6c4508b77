//! The documents of a bucket's settings: each a plain structure that is read, checked and written.
//!
//! May use: `xml::{read, write}`, `base::limits`. One file a topic. `parse` accepts exactly the
//! shape of the API model and what AWS allows in it; `render` writes what a GET answers, and that
//! is also the form in which the catalog keeps a setting, so `parse` reads all that `render` wrote.

mod access;
mod acl;
mod cors;
mod encryption;
mod inventory;
mod lifecycle;
mod lock;
mod logging;
mod notification;
mod quota;
mod tagging;
mod versioning;
mod website;

use super::read::XmlError;

pub use access::{ObjectOwnership, PublicAccessBlock};
pub use acl::{Acl, AclOwner, Grant, Grantee, Group, Permission};
pub use cors::{Cors, CorsRule};
pub use encryption::{Encryption, Payer};
pub use inventory::{Inventory, InventoryRun};
pub use lifecycle::{
    Expiration, FilterForm, Lifecycle, LifecycleFilter, LifecycleRule, NoncurrentExpiration,
};
pub use lock::{DefaultRetention, ObjectLock, RetentionMode, RetentionPeriod};
pub use logging::{LogKeyFormat, LogTarget, Logging};
pub use notification::{Notification, NotificationRule, TargetKind};
pub use quota::Quota;
pub(super) use tagging::read_tag_set;
pub use tagging::{Tags, check_tags};
pub use versioning::Versioning;
pub use website::{Protocol, Replace, RoutingRule, Website};

/// A document that is kept with a bucket.
pub trait Configuration: Sized {
    fn parse(body: &[u8]) -> Result<Self, XmlError>;
    fn render(&self) -> Vec<u8>;
}
