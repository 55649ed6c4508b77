//! NotificationConfiguration: who is told of which events.
//!
//! Targets are ARNs; whether there is such a target is asked where the setting is stored. Bounds and
//! messages are AWS's. Amazon EventBridge is another service and refused.

use std::collections::HashSet;

use super::super::read::{Document, Fault, MISSING, UNEXPECTED, XmlError, once, texts};
use super::super::write::XmlWriter;
use super::Configuration;
use crate::base::limits::{KEY_BYTES_MAX, NOTIFICATIONS_MAX, RULE_ID_CHARS_MAX, WEBHOOK_NAME_BYTES_MAX};
use crate::codec::checksum::{Checksum, ChecksumAlgorithm};

/// An empty one turns notifications off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    pub rules: Vec<NotificationRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationRule {
    pub id: String,
    pub kind: TargetKind,
    pub arn: String,
    /// Such as `s3:ObjectCreated:*`; at least one.
    pub events: Vec<String>,
    pub prefix: Option<String>,
    pub suffix: Option<String>,
}

impl Notification {
    /// The rule that wants to hear of an event such as `ObjectCreated:Put` of a key. There is one at most,
    /// because rules do not overlap.
    pub fn matching(&self, event: &str, key: &str) -> Option<&NotificationRule> {
        self.rules.iter().find(|rule| rule.matches(event, key))
    }
}

impl NotificationRule {
    fn matches(&self, event: &str, key: &str) -> bool {
        let wanted = |rule: &String| rule.strip_prefix("s3:").is_some_and(|rule| covers(rule, event));
        let begins = self.prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix));
        let ends = self.suffix.as_deref().is_none_or(|suffix| key.ends_with(suffix));
        begins && ends && self.events.iter().any(wanted)
    }

    /// The last part of the ARN.
    pub fn target(&self) -> &str {
        self.arn.rsplit(':').next().unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    Topic,
    Queue,
    Function,
}

impl TargetKind {
    const ALL: [TargetKind; 3] = [TargetKind::Topic, TargetKind::Queue, TargetKind::Function];

    /// The names of the configuration and of the ARN in it.
    const fn elements(self) -> (&'static str, &'static str) {
        match self {
            TargetKind::Topic => ("TopicConfiguration", "Topic"),
            TargetKind::Queue => ("QueueConfiguration", "Queue"),
            TargetKind::Function => ("CloudFunctionConfiguration", "CloudFunction"),
        }
    }
}

/// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-event-types-and-destinations.html
const EVENTS: &[&str] = &[
    "s3:ReducedRedundancyLostObject",
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Post",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationReplicatedAfterThreshold",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ObjectAcl:Put",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:ObjectTagging:*",
    "s3:ObjectTagging:Put",
    "s3:ObjectTagging:Delete",
];

impl Configuration for Notification {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "NotificationConfiguration")?;
        let mut rules = Vec::new();
        while let Some(element) = document.child()? {
            if element.name() == b"EventBridgeConfiguration" {
                return Err(XmlError::Unsupported("EventBridgeConfiguration".into()));
            }
            let named = |kind: &TargetKind| kind.elements().0.as_bytes() == element.name();
            let kind = TargetKind::ALL.into_iter().find(named).ok_or(UNEXPECTED)?;
            if rules.len() == NOTIFICATIONS_MAX {
                return argument(format!("There may not be more than {NOTIFICATIONS_MAX} configurations."));
            }
            rules.push(read_rule(&mut document, kind)?);
        }
        document.close()?;
        name_rules(&mut rules)?;
        check_overlaps(&rules)?;
        Ok(Notification { rules })
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("NotificationConfiguration");
        self.rules.iter().for_each(|rule| write_rule(&mut w, rule));
        w.close("NotificationConfiguration");
        w.finish()
    }
}

fn read_rule(document: &mut Document<'_>, kind: TargetKind) -> Result<NotificationRule, XmlError> {
    let (mut id, mut arn, mut filter, mut events) = (None, None, None, Vec::new());
    while let Some(element) = document.child()? {
        match element.name() {
            b"Id" => once(&mut id, document.text()?)?,
            b"Event" => events.push(document.text()?),
            b"Filter" => once(&mut filter, read_filter(document)?)?,
            name if name == kind.elements().1.as_bytes() => once(&mut arn, document.text()?)?,
            _ => return Err(UNEXPECTED),
        }
    }
    if events.is_empty() {
        return Err(MISSING);
    }
    if !events.iter().all(|event| EVENTS.contains(&event.as_str())) {
        return argument("The event is not supported for notifications".into());
    }
    let id = id.unwrap_or_default();
    if id.chars().count() > RULE_ID_CHARS_MAX {
        return argument("The ID of a configuration is too long".into());
    }
    let (prefix, suffix) = filter.unwrap_or_default();
    let rule = NotificationRule { id, kind, arn: arn.ok_or(MISSING)?, events, prefix, suffix };
    // Its name is part of keys of the catalog.
    match rule.target().len() <= WEBHOOK_NAME_BYTES_MAX {
        true => Ok(rule),
        false => argument("The ARN could not be parsed".into()),
    }
}

type Affixes = (Option<String>, Option<String>);

fn read_filter(document: &mut Document<'_>) -> Result<Affixes, XmlError> {
    let mut key = None;
    while let Some(element) = document.child()? {
        match element.name() {
            b"S3Key" => once(&mut key, read_key_rules(document)?)?,
            _ => return Err(UNEXPECTED),
        }
    }
    Ok(key.unwrap_or_default())
}

fn read_key_rules(document: &mut Document<'_>) -> Result<Affixes, XmlError> {
    let (mut prefix, mut suffix) = (None, None);
    while let Some(element) = document.child()? {
        if element.name() != b"FilterRule" {
            return Err(UNEXPECTED);
        }
        let [name, value] = texts(document, &[b"Name", b"Value"])?;
        let (name, value) = (name.ok_or(MISSING)?, value.ok_or(MISSING)?);
        if value.len() > KEY_BYTES_MAX {
            return argument("filter rule value cannot exceed 1024 bytes".into());
        }
        let slot = match name.to_ascii_lowercase().as_str() {
            "prefix" => &mut prefix,
            "suffix" => &mut suffix,
            _ => return argument("filter rule name must be either prefix or suffix".into()),
        };
        if slot.replace(value).is_some() {
            return argument(format!("Cannot specify more than one {name} rule in a filter."));
        }
    }
    Ok((prefix, suffix))
}

fn name_rules(rules: &mut [NotificationRule]) -> Result<(), XmlError> {
    let mut ids = HashSet::new();
    for (place, rule) in rules.iter_mut().enumerate() {
        if rule.id.is_empty() {
            let mut w = XmlWriter::new();
            w.number("Place", place as u64);
            write_rule(&mut w, rule);
            let sum = Checksum::of(ChecksumAlgorithm::Crc64Nvme, &w.finish());
            rule.id = hex::encode(sum.bytes());
        }
        if !ids.insert(rule.id.clone()) {
            return argument("Two configurations have the same ID".into());
        }
    }
    Ok(())
}

/// An event of a key goes to one target.
fn check_overlaps(rules: &[NotificationRule]) -> Result<(), XmlError> {
    let overlap = |a: &NotificationRule, b: &NotificationRule| {
        let shared = a.events.iter().any(|one| b.events.iter().any(|other| share(one, other)));
        let begin = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
        let end = |a: &str, b: &str| a.ends_with(b) || b.ends_with(a);
        let text = |affix: &Option<String>| affix.clone().unwrap_or_default();
        shared && begin(&text(&a.prefix), &text(&b.prefix)) && end(&text(&a.suffix), &text(&b.suffix))
    };
    for (place, rule) in rules.iter().enumerate() {
        if rules.iter().skip(place + 1).any(|other| overlap(rule, other)) {
            return argument(
                "Configurations overlap. Configurations on the same bucket cannot share a common event type."
                    .into(),
            );
        }
    }
    Ok(())
}

fn share(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one)
}

fn covers(wide: &str, narrow: &str) -> bool {
    wide.strip_suffix('*').is_some_and(|begin| narrow.starts_with(begin)) || wide == narrow
}

fn argument<T>(message: String) -> Result<T, XmlError> {
    Err(XmlError::Invalid(Fault::Argument, message.into()))
}

fn write_rule(w: &mut XmlWriter, rule: &NotificationRule) {
    let (configuration, target) = rule.kind.elements();
    w.open(configuration);
    w.text("Id", &rule.id);
    w.text(target, &rule.arn);
    rule.events.iter().for_each(|event| w.text("Event", event));
    if rule.prefix.is_some() || rule.suffix.is_some() {
        w.open("Filter");
        w.open("S3Key");
        for (name, value) in [("prefix", &rule.prefix), ("suffix", &rule.suffix)] {
            if let Some(value) = value {
                w.open("FilterRule");
                w.text("Name", name);
                w.text("Value", value);
                w.close("FilterRule");
            }
        }
        w.close("S3Key");
        w.close("Filter");
    }
    w.close(configuration);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rules: &str) -> Result<Notification, &'static str> {
        let body = format!("<NotificationConfiguration>{rules}</NotificationConfiguration>");
        Notification::parse(body.as_bytes()).map_err(|error| error.code())
    }

    fn topic(event: &str, filter: &str) -> String {
        format!("<TopicConfiguration><Topic>arn:t</Topic><Event>{event}</Event>{filter}</TopicConfiguration>")
    }

    #[test]
    fn what_is_written_is_read() {
        let events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:Put"];
        let rules = TargetKind::ALL.into_iter().zip(events).map(|(kind, event)| NotificationRule {
            id: event.to_owned(),
            kind,
            arn: "arn:aws:x".into(),
            events: vec![event.to_owned()],
            prefix: (kind == TargetKind::Queue).then(|| "p/".into()),
            suffix: (kind != TargetKind::Topic).then(|| ".jpg".into()),
        });
        let notification = Notification { rules: rules.collect() };
        assert_eq!(Notification::parse(&notification.render()), Ok(notification));
        assert_eq!(parse(""), Ok(Notification::default()));
    }

    #[test]
    fn what_is_refused() {
        let rule = |name: &str, value: &str| {
            format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>")
        };
        let filter = |rules: &str| format!("<Filter><S3Key>{rules}</S3Key></Filter>");
        let put = "s3:ObjectCreated:Put";
        for (rules, code) in [
            (topic("s3:ObjectEaten:*", ""), "InvalidArgument"),
            ("<TopicConfiguration><Topic>t</Topic></TopicConfiguration>".into(), "MalformedXML"),
            (format!("<TopicConfiguration><Event>{put}</Event></TopicConfiguration>"), "MalformedXML"),
            (topic(put, &filter(&rule("middle", "x"))), "InvalidArgument"),
            (topic(put, &filter(&rule("prefix", "x").repeat(2))), "InvalidArgument"),
            (topic(put, "") + &topic("s3:ObjectCreated:*", ""), "InvalidArgument"),
            (topic(put, "<Id>a</Id>") + &topic("s3:ObjectRemoved:*", "<Id>a</Id>"), "InvalidArgument"),
            (topic(put, "").replace("arn:t", &format!("arn:{}", "t".repeat(65))), "InvalidArgument"),
            ("<EventBridgeConfiguration/>".into(), "NotImplemented"),
            ("<Other/>".into(), "MalformedXML"),
        ] {
            assert_eq!(parse(&rules), Err(code), "{rules}");
        }
        let suffix = topic("s3:ObjectCreated:*", &filter(&rule("suffix", ".jpg")));
        let found = parse(&suffix).unwrap();
        let told = |event, key| found.matching(event, key).map(NotificationRule::target);
        assert_eq!(told("ObjectCreated:Copy", "a.jpg"), Some("t"));
        assert_eq!(
            (told("ObjectCreated:Copy", "a.png"), told("ObjectRemoved:Delete", "a.jpg")),
            (None, None)
        );
        let apart = topic(put, &filter(&rule("prefix", "a/"))) + &topic(put, &filter(&rule("Prefix", "b/")));
        assert_eq!(parse(&apart).unwrap().rules.len(), 2);
    }
}
