//! What a bucket lays down about access: its policy compiled, its ACL, who owns objects, what is blocked.
//!
//! Made once on each core from the settings of a bucket and kept with it (`Bucket::derived`). A policy
//! that cannot be read, because another version wrote it, denies everything but its own replacement by the
//! owner's root.

use std::rc::Rc;

use crate::codec::policy::Policy;
use crate::codec::xml::{Grant, LogTarget, ObjectOwnership, Payer, PublicAccessBlock};
use crate::object::registry::buckets::Bucket;
use crate::object::registry::identities::Identities;
use crate::object::registry::settings::BucketSettings;

/// What counts for a bucket.
pub struct Rules {
    /// Canonical id of the account the bucket belongs to.
    pub owner: String,
    pub owner_name: String,
    pub policy: Option<Policy>,
    /// There is a policy, and nobody knows what it says.
    pub unreadable: bool,
    /// The policy lets in callers that nobody has named.
    pub public: bool,
    /// `None`: the owner's alone.
    pub grants: Option<Vec<Grant>>,
    pub ownership: ObjectOwnership,
    pub block: PublicAccessBlock,
    /// Versioning was switched on at some time, even if it is suspended now.
    pub versioned: bool,
    /// Objects may have a date on which they expire.
    pub expires: bool,
    /// New objects are locked where nobody says how.
    pub locks_by_default: bool,
    /// Others say in each request that they pay for it.
    pub requester_pays: bool,
    /// Where the log of requests goes.
    pub logging: Option<Rc<LogTarget>>,
    /// Somebody is told of changes to objects.
    pub notifies: bool,
}

impl Rules {
    /// Those of a bucket, as they are kept with it.
    pub fn kept(bucket: &Bucket, name: &str, identities: &Identities) -> Rc<Rules> {
        bucket.derived(|bucket| {
            let owner = identities.account_of_canonical(&bucket.value.owner);
            Rules::of(bucket, name, owner.as_ref().map_or("", |owner| &owner.value.name))
        })
    }

    /// `owner_name` is what the owner is called.
    fn of(bucket: &Bucket, name: &str, owner_name: &str) -> Rules {
        Rules { owner_name: owner_name.to_owned(), ..Rules::new(name, &bucket.value.owner, &bucket.settings) }
    }

    /// For what is about no bucket.
    pub fn of_nothing() -> Rules {
        Rules::new("", "", &BucketSettings::default())
    }

    pub fn new(name: &str, owner: &str, settings: &BucketSettings) -> Rules {
        let parsed = settings.policy.as_ref().map(|policy| Policy::of_bucket(policy.text.as_bytes(), name));
        let unreadable = matches!(parsed, Some(Err(_)));
        let policy = parsed.and_then(Result::ok);
        Rules {
            owner: owner.to_owned(),
            owner_name: String::new(),
            unreadable,
            public: policy.as_ref().is_some_and(Policy::is_public),
            policy,
            grants: settings.acl.as_ref().map(|acl| acl.grants.clone()),
            ownership: settings.ownership(),
            block: settings.public_access.unwrap_or_default(),
            versioned: settings.versioning.is_some(),
            expires: settings.lifecycle.is_some(),
            locks_by_default: settings.object_lock.as_ref().is_some_and(|lock| lock.default.is_some()),
            requester_pays: settings.payer == Some(Payer::Requester),
            logging: settings.logging.as_ref().and_then(|logging| logging.target.clone()).map(Rc::new),
            notifies: settings.notification.is_some(),
        }
    }

    /// Whether the bucket is only its owner's: nothing but the owner's own policies counts.
    pub fn is_plain(&self) -> bool {
        self.policy.is_none() && !self.unreadable && !self.has_acls()
    }

    pub fn has_acls(&self) -> bool {
        self.ownership != ObjectOwnership::BucketOwnerEnforced
    }

    /// Whether what is decided about an object may depend on the object.
    pub fn asks_for_object(&self) -> bool {
        self.has_acls() || self.policy.as_ref().is_some_and(Policy::asks_for_object_tags)
    }
}
