//! Notifications: what a configuration may name, the greeting that new targets get, and what a request
//! tells the store about itself.
//!
//! A configuration is refused when it names a target that the server does not have, or that does not take its
//! greeting, and when it asks for events that cannot happen here. May use `upkeep::notify`, `codec::xml`.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-to-enable-disable-notification-intro.html

use std::collections::BTreeSet;

use super::error::{Code, Result, S3Error};
use super::headers;
use super::service::Call;
use crate::base::join::join_all;
use crate::codec::xml::{Notification, NotificationRule, TargetKind};
use crate::iam::Caller;
use crate::object::decisions::events::{Asked, Cause, Origin};
use crate::upkeep::notify::message;
use crate::upkeep::notify::webhook::{self, Webhook};

const UNREACHABLE: &str = "Unable to validate the following destination configurations";
const SKIP: &str = "x-amz-skip-destination-validation";

impl Call<'_> {
    /// What this request tells of itself when it changes an object. Nothing where nobody listens.
    pub(super) fn origin(&self, cause: Cause) -> Origin {
        let listens = self.rules.as_ref().is_some_and(|rules| rules.notifies);
        let asked = listens.then(|| {
            Box::new(Asked {
                request: self.request_id.to_owned(),
                source: self.source.map(|source| source.to_string()).unwrap_or_default(),
                principal: principal(self.caller),
            })
        });
        Origin { cause, asked }
    }

    /// Refuses a new object before its body is read, where whoever listens cannot be told of it now.
    pub(super) async fn look_for_place(&self, cause: Cause) -> Result<()> {
        if self.rules.as_ref().is_some_and(|rules| rules.notifies) {
            self.edge.store.look_for_place(self.bucket, self.key, cause).await?;
        }
        Ok(())
    }
}

fn principal(caller: &Caller) -> String {
    match caller {
        Caller::Anonymous => "Anonymous".to_owned(),
        _ => format!("AWS:{}", caller.id()),
    }
}

/// Judges a configuration that is to be stored.
pub(super) async fn check(call: &Call<'_>, next: &Notification) -> Result<()> {
    let never = |event: &&String| NEVER.iter().any(|begin| event.starts_with(begin));
    if let Some(event) = next.rules.iter().flat_map(|rule| &rule.events).find(never) {
        return Err(S3Error::not_implemented(&format!("notifications of {event}")));
    }
    for rule in &next.rules {
        if !names_target(call, rule) {
            return Err(refused(&rule.arn, "The destination is not one of this server (--webhook)"));
        }
    }
    match headers::text(call.headers, SKIP)? {
        Some(skip) if skip.eq_ignore_ascii_case("true") => Ok(()),
        _ => greet(call, next).await,
    }
}

/// Beginnings of events that nothing here brings about.
const NEVER: [&str; 5] = [
    "s3:ReducedRedundancyLostObject",
    "s3:ObjectRestore:",
    "s3:Replication:",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
];

fn refused(arn: &str, why: &str) -> S3Error {
    S3Error::argument(arn, why, UNREACHABLE)
}

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:NAME` with the service that the configuration is for. Region and
/// account may be empty; an ARN that was written for AWS will do. A target that is not for the account of the bucket
/// is as good as none.
fn names_target(call: &Call<'_>, rule: &NotificationRule) -> bool {
    let parts: Vec<&str> = rule.arn.split(':').collect();
    let service = match rule.kind {
        TargetKind::Topic => "sns",
        TargetKind::Queue => "sqs",
        TargetKind::Function => "lambda",
    };
    let name = match &parts[..] {
        ["arn", "basalt" | "aws", found, region, account, rest @ ..] => {
            let region_fits = region.is_empty() || *region == call.edge.settings.region;
            let account_fits = account.bytes().all(|byte| byte.is_ascii_digit());
            match rest {
                [name] if *found == service && region_fits && account_fits => *name,
                ["function", name] if *found == service && region_fits && account_fits => *name,
                _ => return false,
            }
        }
        _ => return false,
    };
    let owner = call.rules.as_ref().map_or("", |rules| &rules.owner);
    let account = call.edge.store.identities().account_of_canonical(owner);
    let is_for = |webhook: &Webhook| webhook.is_for(account.as_ref().map_or("", |account| &account.id));
    webhook(call, name).is_some_and(is_for)
}

fn webhook<'c>(call: &'c Call<'_>, name: &str) -> Option<&'c Webhook> {
    call.edge.settings.webhooks.iter().find(|webhook| webhook.name == name)
}

/// Sends an `s3:TestEvent` to targets that the bucket did not name so far; all of them must take it.
async fn greet(call: &Call<'_>, next: &Notification) -> Result<()> {
    let bucket = call.edge.store.settings(call.bucket)?;
    let known: BTreeSet<&str> =
        bucket.settings.notification.iter().flat_map(|now| &now.rules).map(|rule| rule.target()).collect();
    let mut greeted = BTreeSet::new();
    let news =
        next.rules.iter().filter(|rule| !known.contains(rule.target()) && greeted.insert(rule.target()));
    let time = call.edge.store.now();
    let body = message::test(call.bucket, call.request_id, &call.edge.settings.host_id, time);
    let greetings = news.filter_map(|rule| {
        let (target, body) = (webhook(call, rule.target())?.clone(), body.clone());
        let sent = call.edge.store.in_background(move |core| async move {
            tokio::select! {
                biased;
                answer = webhook::greet(target, body) => Some(answer),
                () = core.retired() => None,
            }
        });
        Some(async move { (rule, sent.await.flatten()) })
    });
    for (rule, answer) in join_all(greetings).await {
        match answer {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(refused(&rule.arn, &format!("The destination failed: {error}"))),
            None => return Err(Code::SlowDown.into()),
        }
    }
    Ok(())
}
