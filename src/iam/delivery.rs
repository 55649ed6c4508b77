//! May the server itself write into a bucket that somebody has named as a target: of access logs, of inventories.
//!
//! Whoever may name a bucket as a target need not be allowed to write there, so each delivery is judged by the one
//! evaluator, as a PutObject of an AWS service: the policy of the target has to let it in or, for logs where ACLs are
//! on, its ACL. A policy may make conditions on the source bucket and its account. Nothing here writes anything.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html

use std::borrow::Cow;

use super::Caller;
use super::caller::INVENTORY;
use super::judge::Wish;
use super::rules::Rules;
use crate::base::time::Nanos;
use crate::codec::date::iso8601_ms;
use crate::codec::policy::{Action, Context, Key, Name, Values};
use crate::object::registry::buckets::Bucket;
use crate::object::registry::identities::Identities;
use crate::upkeep::inventory::Order;

/// Something that is to be written.
pub struct Delivery<'a> {
    /// Which part of the server writes.
    pub service: &'static str,
    /// The bucket that it is about.
    pub source: &'a str,
    /// The canned ACL that comes along.
    pub acl: Option<&'static str>,
    pub region: &'a str,
    pub now: Nanos,
}

impl Delivery<'_> {
    /// Whether it may be written to `key` of the target, of which `rules` are. Both buckets belong to one account.
    pub fn is_allowed(&self, identities: &Identities, rules: &Rules, target: &str, key: &str) -> bool {
        let account = identities.account_of_canonical(&rules.owner);
        let facts = Facts {
            delivery: self,
            source: format!("arn:aws:s3:::{}", self.source),
            account: account.as_ref().map_or("", |account| &account.id),
        };
        let resource = format!("arn:aws:s3:::{target}/{key}");
        let caller = Caller::Service(self.service);
        let wish = Wish { caller: &caller, action: Action::PutObject, resource: &resource, context: &facts };
        wish.is_allowed(rules, None)
    }
}

/// Whether everything that a report consists of may be written to its destination.
pub fn admits_report(identities: &Identities, destination: &Bucket, order: &Order, region: &str) -> bool {
    let rules = Rules::kept(destination, &order.destination.name, identities);
    // AWS's own example of such a policy asks for this ACL.
    let acl = Some("bucket-owner-full-control");
    let delivery = Delivery { service: INVENTORY, source: &order.source.name, acl, region, now: order.begun };
    order.keys().iter().all(|key| delivery.is_allowed(identities, &rules, &order.destination.name, key))
}

/// A delivery as policies see it.
struct Facts<'a> {
    delivery: &'a Delivery<'a>,
    /// ARN of the bucket it is about.
    source: String,
    /// Id of the account that both buckets belong to.
    account: &'a str,
}

impl Context for Facts<'_> {
    fn values(&self, key: &Key) -> Values<'_> {
        let own = |text: &'static str| Some(Cow::Borrowed(text));
        Values::from(match key.name {
            Name::SourceArn => Some(Cow::Borrowed(self.source.as_str())),
            Name::SourceAccount | Name::SourceOwner | Name::ResourceAccount | Name::ResourceAccountGlobal => {
                Some(Cow::Borrowed(self.account))
            }
            Name::PrincipalIsService => own("true"),
            Name::PrincipalServiceName | Name::PrincipalServiceNames => own(self.delivery.service),
            Name::PrincipalType => own("Service"),
            Name::ViaService => own("false"),
            // It crosses no network.
            Name::SecureTransport => own("true"),
            Name::RequestedRegion => Some(Cow::Borrowed(self.delivery.region)),
            Name::CurrentTime => Some(Cow::Owned(iso8601_ms(self.delivery.now).as_str().to_owned())),
            Name::EpochTime => Some(Cow::Owned(self.delivery.now.seconds().to_string())),
            Name::CreationOperation => own("true"),
            Name::StorageClass => own("STANDARD"),
            Name::Acl => self.delivery.acl.map(Cow::Borrowed),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::policy::Origin;

    #[test]
    fn every_key_of_deliveries_has_a_value() {
        let delivery =
            Delivery { service: INVENTORY, source: "photos", acl: None, region: "eu-west-1", now: Nanos(0) };
        let facts = Facts { delivery: &delivery, source: "arn:aws:s3:::photos".into(), account: "1" };
        for name in Name::ALL.iter().filter(|name| name.origin() == Origin::Delivery) {
            let key = Key::parse(name.text()).expect("no family");
            assert!(matches!(facts.values(&key), Values::One(_)), "{name:?}");
        }
    }
}
