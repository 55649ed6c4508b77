//! Changing what is attached to a version: tags, retention, legal hold, owner and grants.
//!
//! The version is written again under the lock of its key, with the same bytes at the same place and
//! the same time of modification. May use `retention`, which says what a lock allows.

use std::rc::Rc;

use super::commit::BucketRef;
use super::events::{Origin, Subject};
use super::retention;
use crate::base::time::Nanos;
use crate::catalog::event::EventKind;
use crate::catalog::key::{self, ORDER_UNVERSIONED};
use crate::catalog::record::Operation;
use crate::catalog::usage::Usage;
use crate::object::error::ObjectError;
use crate::object::meta::{Attached, Retention};
use crate::object::registry::buckets::Bucket;
use crate::object::shard::Shard;

/// What changes.
#[derive(Clone, Debug)]
pub enum Amendment {
    /// All tags; none removes them.
    Tags(Vec<(String, String)>),
    /// `bypass`: the caller may and wants to ignore governance.
    Retention {
        retention: Option<Retention>,
        bypass: bool,
    },
    LegalHold(bool),
    Grants {
        owner: Option<String>,
        grants: Option<Vec<u8>>,
    },
}

/// What of a version decides who may change it. Whoever was judged on a version may change one that gives the same
/// grounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grounds {
    owner: Option<String>,
    grants: Option<Vec<u8>>,
    tags: Vec<(String, String)>,
}

impl Grounds {
    pub fn of(attached: &Attached) -> Self {
        let Attached { owner, grants, tags, .. } = attached.clone();
        Grounds { owner, grants, tags }
    }
}

impl Amendment {
    /// As what it is told, if it is.
    fn kind(&self, origin: &Origin) -> Option<EventKind> {
        match self {
            Amendment::Tags(_) => Some(origin.cause.of_tags()),
            Amendment::Grants { .. } => Some(EventKind::AclPut),
            Amendment::Retention { .. } | Amendment::LegalHold(_) => None,
        }
    }
}

impl Shard {
    /// Gives the id of the version that was changed, in a bucket that is or was versioned; `Outdated` for one that
    /// does not give these grounds.
    pub async fn amend_version(
        self: Rc<Self>,
        named: BucketRef,
        name: String,
        id: Option<String>,
        amendment: Amendment,
        grounds: Grounds,
        origin: Origin,
    ) -> Result<Option<String>, ObjectError> {
        self.admit().await?;
        let _guard = self.locks.lock(&key::version(named.id, &name, ORDER_UNVERSIONED)).await;
        loop {
            let bucket = self.bucket(&named)?;
            let mut found = self.find(&bucket, &name, id.as_deref()).await?;
            if Grounds::of(&found.version.meta.attached) != grounds {
                return Err(ObjectError::Outdated);
            }
            let now = self.pool.world.now();
            amend(&mut found.version.meta.attached, &amendment, &bucket, now)?;
            let at = key::version(named.id, &name, found.order);
            let mut operations = vec![Operation::Put { key: at, value: found.version.encode() }];
            let version_id = bucket.settings.versioning.map(|_| found.id(named.id, &name));
            let _ticket = match amendment.kind(&origin) {
                None => None,
                Some(kind) => {
                    let (version_id, meta) = (version_id.as_deref(), Some(&found.version.meta));
                    let subject = Subject { named: &named, key: &name, version_id, meta };
                    self.tell(&mut operations, &bucket, kind, subject, &origin)?
                }
            };
            if self.commit_under(&named, &bucket, operations, Usage::NONE, &[]).await? {
                return Ok(version_id);
            }
        }
    }
}

fn amend(
    attached: &mut Attached,
    amendment: &Amendment,
    bucket: &Bucket,
    now: Nanos,
) -> Result<(), ObjectError> {
    match amendment {
        Amendment::Tags(tags) => attached.tags.clone_from(tags),
        Amendment::Retention { retention, bypass } => {
            needs_lock(bucket)?;
            retention::check_change(attached.retention, *retention, now, *bypass)?;
            attached.retention = *retention;
        }
        Amendment::LegalHold(on) => {
            needs_lock(bucket)?;
            attached.legal_hold = Some(*on);
        }
        Amendment::Grants { owner, grants } => {
            attached.owner.clone_from(owner);
            attached.grants.clone_from(grants);
        }
    }
    Ok(())
}

/// Retention and holds are for buckets with object lock.
pub fn needs_lock(bucket: &Bucket) -> Result<(), ObjectError> {
    match bucket.settings.object_lock {
        Some(_) => Ok(()),
        None => Err(ObjectError::BadRequest("Bucket is missing Object Lock Configuration")),
    }
}
