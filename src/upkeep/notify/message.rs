//! What a target hears: the JSON of an event, and of the greeting that a new target gets.
//!
//! Fields and their names are AWS's, so that what was written for its queues reads ours. May use
//! `catalog::event`.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::base::time::Nanos;
use crate::catalog::event::{EventKind, EventValue};
use crate::codec::date::iso8601_ms;
use crate::codec::uri::encode_path;

/// What AWS says of a delete marker, which has no bytes.
const ETAG_OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";
/// Who acts where nobody asked.
const SERVICE: &str = "s3.amazonaws.com";

/// One event. `sequence` grows from event to event of a key.
pub fn of(event: &EventValue, sequence: u64) -> Bytes {
    let record = json!({
        "eventVersion": version(event.kind),
        "eventSource": "aws:s3",
        "awsRegion": event.region,
        "eventTime": iso8601_ms(event.time).as_str(),
        "eventName": event.kind.name(),
        "userIdentity": { "principalId": or_service(event, &event.principal) },
        "requestParameters": { "sourceIPAddress": or_service(event, &event.source) },
        "responseElements": { "x-amz-request-id": event.request, "x-amz-id-2": "basalt" },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": event.rule,
            "bucket": {
                "name": event.bucket,
                "ownerIdentity": { "principalId": event.owner },
                "arn": format!("arn:aws:s3:::{}", event.bucket),
            },
            "object": object(event, sequence),
        },
    });
    json!({ "Records": [record] }).to_string().into()
}

/// The greeting.
pub fn test(bucket: &str, request: &str, host: &str, time: Nanos) -> Bytes {
    let greeting = json!({
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": iso8601_ms(time).as_str(),
        "Bucket": bucket,
        "RequestId": request,
        "HostId": host,
    });
    greeting.to_string().into()
}

/// Of the structure: AWS raised it for the events that came later.
fn version(kind: EventKind) -> &'static str {
    match kind {
        EventKind::CreatedPut
        | EventKind::CreatedPost
        | EventKind::CreatedCopy
        | EventKind::CreatedComplete
        | EventKind::RemovedDelete
        | EventKind::RemovedMarker => "2.1",
        EventKind::TaggingPut
        | EventKind::TaggingDelete
        | EventKind::AclPut
        | EventKind::ExpiredDelete
        | EventKind::ExpiredMarker => "2.3",
    }
}

fn or_service<'e>(event: &EventValue, text: &'e str) -> &'e str {
    match event.kind {
        EventKind::ExpiredDelete | EventKind::ExpiredMarker => SERVICE,
        _ => text,
    }
}

fn object(event: &EventValue, sequence: u64) -> Map<String, Value> {
    let mut object = Map::new();
    // As in a form: a space is a plus, and a plus is escaped.
    object.insert("key".into(), encode_path(&event.key).replace("%20", "+").into());
    if let Some((size, etag)) = &event.object {
        object.insert("size".into(), (*size).into());
        object.insert("eTag".into(), etag.quoted().trim_matches('"').into());
    }
    if matches!(event.kind, EventKind::RemovedMarker | EventKind::ExpiredMarker) {
        object.insert("eTag".into(), ETAG_OF_NOTHING.into());
    }
    if !event.version.is_empty() {
        object.insert("versionId".into(), event.version.as_str().into());
    }
    object.insert("sequencer".into(), format!("{sequence:016X}").into());
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::meta::ETag;

    fn event(kind: EventKind) -> EventValue {
        EventValue {
            kind,
            time: Nanos(1_500_000_000),
            bucket: "b".into(),
            owner: "o".into(),
            region: "r".into(),
            rule: "rule".into(),
            key: "a b+c/ü.txt".into(),
            version: String::new(),
            object: Some((3, ETag { md5: [0xab; 16], parts: 2 })),
            request: "0123".into(),
            source: "::1".into(),
            principal: "AWS:1".into(),
        }
    }

    fn record(event: &EventValue) -> Value {
        let message: Value = serde_json::from_slice(&of(event, 255)).expect("JSON");
        message["Records"][0].clone()
    }

    #[test]
    fn an_object_is_told_as_aws_tells_it() {
        let told = record(&event(EventKind::CreatedPut));
        assert_eq!(
            (told["eventVersion"].as_str(), told["eventTime"].as_str()),
            (Some("2.1"), Some("1970-01-01T00:00:01.500Z"))
        );
        let object = &told["s3"]["object"];
        assert_eq!(object["key"], "a+b%2Bc/%C3%BC.txt");
        assert_eq!(object["eTag"], format!("{}-2", "ab".repeat(16)));
        assert_eq!((&object["size"], &object["sequencer"]), (&json!(3), &json!("00000000000000FF")));
        assert!(object.get("versionId").is_none());
        assert_eq!(told["userIdentity"]["principalId"], "AWS:1");
    }

    #[test]
    fn what_is_gone_has_no_size_and_what_expired_was_asked_by_nobody() {
        let gone = EventValue { object: None, version: "v".into(), ..event(EventKind::ExpiredMarker) };
        let told = record(&gone);
        let object = &told["s3"]["object"];
        assert!(object.get("size").is_none());
        assert_eq!((&object["eTag"], &object["versionId"]), (&json!(ETAG_OF_NOTHING), &json!("v")));
        assert_eq!(told["requestParameters"]["sourceIPAddress"], SERVICE);
    }
}
