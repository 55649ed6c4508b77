//! Delivery: lines become objects in the target bucket.
//!
//! A task of each core takes the core's lines every few seconds, when there are many, and at a stop, and has the
//! background core write one object per bucket, day and target. Such a write is an ordinary commit on behalf of the
//! owner of the target bucket, but no request, so it is not logged itself. Every delivery needs permission: lines that
//! may not be delivered are dropped, counted and reported. Lines that could not be written for another reason are tried
//! again with the next ones. May use `object::store`, `s3::access_log::target`.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{AccessLog, Batch, DAY_SECONDS, target};
use crate::base::time::Nanos;
use crate::codec::date::iso8601_ms;
use crate::codec::xml::{AclOwner, Grant, Grantee, LogKeyFormat, LogTarget, Permission};
use crate::iam::acl::encode;
use crate::iam::rules::Rules;
use crate::object::error::ObjectError;
use crate::object::meta::{Attached, Headers};
use crate::s3::Shared;

/// Delivers every `interval` until the log is closed and empty.
pub(in crate::s3) async fn run(edge: Rc<Shared>, interval: Duration) {
    let log = edge.log.clone();
    let mut due = Instant::now() + interval;
    loop {
        let all = tokio::select! {
            biased;
            () = tokio::time::sleep_until(due) => true,
            () = log.wake.notified() => log.closing.get(),
        };
        if all {
            due = Instant::now() + interval;
        }
        let last = all && log.closing.get();
        for batch in log.take(all) {
            settle(&edge, &log, batch).await;
        }
        if last {
            return;
        }
    }
}

async fn settle(edge: &Shared, log: &AccessLog, batch: Batch) {
    let counters = &edge.stats.access_log;
    let (bucket, to) = (&batch.bucket, &batch.target.bucket);
    match deliver(edge, &batch).await {
        Ok(()) => {
            counters.objects.increment();
            counters.delivered.add(batch.count);
        }
        Err(Undelivered::Denied(why)) => {
            counters.denied.add(batch.count);
            tracing::warn!(
                bucket,
                target = to,
                lines = batch.count,
                why,
                "an access log may not be delivered"
            );
        }
        Err(Undelivered::Failed(error)) if !log.closing.get() => {
            tracing::debug!(bucket, target = to, %error, "an access log is delivered later");
            return log.give_back(batch);
        }
        Err(Undelivered::Failed(error)) => {
            counters.dropped.add(batch.count);
            tracing::warn!(bucket, target = to, lines = batch.count, %error, "an access log is lost");
        }
    }
    log.release(&batch);
}

/// Why a log was not delivered.
enum Undelivered {
    /// Trying again would not help.
    Denied(&'static str),
    Failed(ObjectError),
}

async fn deliver(edge: &Shared, batch: &Batch) -> Result<(), Undelivered> {
    let target = &*batch.target;
    let rules = edge.rules(&target.bucket).map_err(|_| Undelivered::Denied("there is no such bucket"))?;
    if rules.owner != batch.owner {
        return Err(Undelivered::Denied("the bucket belongs to another account"));
    }
    let unique = edge.next_request_id();
    let unique = unique.to_str().unwrap_or("0");
    let key = log_key(edge, &batch.bucket, &batch.owner, target, batch.begun, edge.store.now(), unique);
    if !target::may_deliver(edge, &rules, &batch.bucket, &target.bucket, &key) {
        return Err(Undelivered::Denied("neither policy nor ACL lets logging.s3.amazonaws.com write"));
    }
    let headers = Headers { content_type: Some("text/plain".to_owned()), ..Headers::default() };
    let attached = Attached { grants: grants(&rules, target), ..Attached::default() };
    let stored = edge.store.deposit(&target.bucket, &key, batch.body(), headers, attached).await;
    match stored {
        Ok(_) => Ok(()),
        Err(ObjectError::NoSuchBucket) => Err(Undelivered::Denied("there is no such bucket")),
        Err(ObjectError::QuotaExceeded) => Err(Undelivered::Denied("its quota is exhausted")),
        Err(error) => Err(Undelivered::Failed(error)),
    }
}

/// The owner's own, and those of the configuration.
fn grants(rules: &Rules, target: &LogTarget) -> Option<Vec<u8>> {
    if !rules.has_acls() || target.grants.is_empty() {
        return None;
    }
    let owner = Grantee::User(AclOwner { id: rules.owner.clone(), display_name: None });
    let mut grants = vec![Grant { grantee: owner, permission: Permission::FullControl }];
    for (grantee, permission) in &target.grants {
        if !matches!(grantee, Grantee::Email(_)) {
            grants.push(Grant { grantee: grantee.clone(), permission: *permission });
        }
    }
    Some(encode(&grants))
}

/// The key of a log object: the prefix, where wanted the parts of a path, the time and something unique.
pub(super) fn log_key(
    edge: &Shared,
    bucket: &str,
    owner: &str,
    target: &LogTarget,
    begun: Nanos,
    now: Nanos,
    unique: &str,
) -> String {
    let place = || {
        let account = edge.store.identities().account_of_canonical(owner);
        let account = account.as_ref().map_or("", |account| &account.id);
        format!("{account}/{}/{bucket}", edge.settings.region)
    };
    key_of(&target.prefix, target.format, place, begun, now, unique)
}

fn key_of(
    prefix: &str,
    format: Option<LogKeyFormat>,
    place: impl FnOnce() -> String,
    begun: Nanos,
    now: Nanos,
    unique: &str,
) -> String {
    // A log of events of a day says only which.
    let midnight = || Nanos(begun.seconds() / DAY_SECONDS * DAY_SECONDS * Nanos::PER_SECOND);
    let time = match format {
        Some(LogKeyFormat::PartitionedByEvent) => midnight(),
        _ => now,
    };
    let text = iso8601_ms(time);
    let (date, clock) = text.as_str().split_once('T').unwrap_or(("", ""));
    let stamp = format!("{date}-{}", clock.split('.').next().unwrap_or("").replace(':', "-"));
    match format {
        None | Some(LogKeyFormat::Simple) => format!("{prefix}{stamp}-{unique}"),
        Some(_) => format!("{prefix}{}/{}/{stamp}-{unique}", place(), date.replace('-', "/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{KEY_BYTES_MAX, LOG_PREFIX_BYTES_MAX, REGION_BYTES_MAX};

    #[test]
    fn keys_of_log_objects() {
        let (begun, now) = (Nanos(1_549_411_238_000_000_000), Nanos(1_549_497_641_000_000_000));
        let key = |format| key_of("p/", format, || "1/eu/b".to_owned(), begun, now, "U");
        assert_eq!(key(None), "p/2019-02-07-00-00-41-U");
        assert_eq!(key(Some(LogKeyFormat::Simple)), "p/2019-02-07-00-00-41-U");
        let delivery = Some(LogKeyFormat::PartitionedByDelivery);
        assert_eq!(key(delivery), "p/1/eu/b/2019/02/07/2019-02-07-00-00-41-U");
        let event = Some(LogKeyFormat::PartitionedByEvent);
        assert_eq!(key(event), "p/1/eu/b/2019/02/06/2019-02-06-00-00-00-U");
    }

    #[test]
    fn the_longest_prefix_leaves_room() {
        let prefix = "p".repeat(LOG_PREFIX_BYTES_MAX);
        let place = || format!("123456789012/{}/{}", "r".repeat(REGION_BYTES_MAX), "b".repeat(63));
        let delivery = Some(LogKeyFormat::PartitionedByDelivery);
        let key = key_of(&prefix, delivery, place, Nanos(0), Nanos(0), "0123456789ABCDEF");
        assert!(key.len() <= KEY_BYTES_MAX, "{}", key.len());
    }
}
