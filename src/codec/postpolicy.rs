//! The policy document of a POST form: what its signer allows others to post.
//!
//! May use: `codec::date`, serde_json. Pure: the form's fields and the clock are handed in. Names of
//! fields and operators are compared without regard to case, values exactly.
//! https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html

use serde_json::Value;

use crate::base::time::Nanos;
use crate::codec::date::parse_iso8601;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostPolicyError {
    #[error("Invalid Policy: {0}")]
    Invalid(&'static str),
    #[error("Invalid according to Policy: Policy expired.")]
    Expired,
    #[error("Invalid according to Policy: Policy Condition failed: {0}")]
    Failed(String),
    #[error("Invalid according to Policy: Extra input fields: {0}")]
    Extra(String),
}

#[derive(Debug, PartialEq, Eq)]
pub struct PostPolicy {
    expiration: Nanos,
    conditions: Vec<Condition>,
    /// Bytes of the file, both inclusive.
    length: Option<(u64, u64)>,
}

/// `field` is in lower case, without its `$`.
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Equal { field: String, value: String },
    Begin { field: String, value: String },
}

/// Fields that no condition has to name.
const FREE: [&str; 5] = ["awsaccesskeyid", "file", "policy", "signature", "x-amz-signature"];

impl PostPolicy {
    /// Reads the document, decoded from base64.
    pub fn parse(document: &[u8]) -> Result<PostPolicy, PostPolicyError> {
        use PostPolicyError::Invalid;
        let root: Value = serde_json::from_slice(document).map_err(|_| Invalid("Invalid JSON."))?;
        let root = root.as_object().ok_or(Invalid("it is not an object."))?;
        if root.keys().any(|name| name != "expiration" && name != "conditions") {
            return Err(Invalid("Unexpected member."));
        }
        let expiration = root.get("expiration").ok_or(Invalid("Policy missing expiration."))?;
        let expiration = expiration.as_str().and_then(parse_iso8601);
        let expiration = expiration.ok_or(Invalid("Invalid 'expiration' value."))?;
        let listed = root.get("conditions").ok_or(Invalid("Policy missing conditions."))?;
        let mut policy = PostPolicy { expiration, conditions: Vec::new(), length: None };
        for condition in listed.as_array().ok_or(Invalid("Invalid 'conditions' value: must be a List."))? {
            match condition {
                Value::Object(pair) => policy.add_pair(pair)?,
                Value::Array(triple) => policy.add_triple(triple)?,
                _ => return Err(Invalid("Invalid Condition.")),
            }
        }
        Ok(policy)
    }

    fn add_pair(&mut self, pair: &serde_json::Map<String, Value>) -> Result<(), PostPolicyError> {
        let mut members = pair.iter();
        let (Some((field, value)), None) = (members.next(), members.next()) else {
            return Err(PostPolicyError::Invalid(
                "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
            ));
        };
        let value = value
            .as_str()
            .ok_or(PostPolicyError::Invalid("Invalid Simple-Condition: value must be a string."))?;
        self.conditions.push(Condition::Equal { field: field.to_ascii_lowercase(), value: value.to_owned() });
        Ok(())
    }

    fn add_triple(&mut self, triple: &[Value]) -> Result<(), PostPolicyError> {
        let bad = PostPolicyError::Invalid("Invalid Condition: it must have an operator and two values.");
        let [operator, first, second] = triple else { return Err(bad) };
        let operator = operator.as_str().ok_or(bad.clone())?.to_ascii_lowercase();
        if operator == "content-length-range" {
            let (Some(min), Some(max)) = (number(first), number(second)) else {
                return Err(PostPolicyError::Invalid("Invalid content-length-range."));
            };
            // Each one has to hold.
            let (low, high) = self.length.unwrap_or((0, u64::MAX));
            self.length = Some((low.max(min), high.min(max)));
            return Ok(());
        }
        let (Some(field), Some(value)) = (first.as_str(), second.as_str()) else { return Err(bad) };
        let field = field.strip_prefix('$').ok_or(bad.clone())?.to_ascii_lowercase();
        let value = value.to_owned();
        self.conditions.push(match operator.as_str() {
            "eq" => Condition::Equal { field, value },
            "starts-with" => Condition::Begin { field, value },
            _ => return Err(PostPolicyError::Invalid("Invalid Condition: unknown operation.")),
        });
        Ok(())
    }

    /// Least and most bytes of the file.
    pub fn length(&self) -> (u64, u64) {
        self.length.unwrap_or((0, u64::MAX))
    }

    /// Whether a form with these fields may be posted; names are in lower case and `bucket` is one.
    pub fn check(&self, fields: &[(String, String)], now: Nanos) -> Result<(), PostPolicyError> {
        if self.expiration <= now {
            return Err(PostPolicyError::Expired);
        }
        let given = |name: &str| {
            fields.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str())
        };
        for condition in &self.conditions {
            let (holds, told) = match condition {
                Condition::Equal { field, value } => (given(field) == value, ("eq", field, value)),
                Condition::Begin { field, value } if field == "content-type" => {
                    let all = given(field).split(',').all(|one| one.trim().starts_with(value.as_str()));
                    (all, ("starts-with", field, value))
                }
                Condition::Begin { field, value } => {
                    let present = fields.iter().any(|(found, _)| found == field);
                    (present && given(field).starts_with(value.as_str()), ("starts-with", field, value))
                }
            };
            if !holds {
                let (operator, field, value) = told;
                return Err(PostPolicyError::Failed(format!("[\"{operator}\", \"${field}\", \"{value}\"]")));
            }
        }
        let named = |name: &str| {
            self.conditions.iter().any(|condition| match condition {
                Condition::Equal { field, .. } | Condition::Begin { field, .. } => field == name,
            })
        };
        // A checksum binds nobody but who sends it.
        let free = |name: &str| {
            let begins = name.starts_with("x-ignore-") || name.starts_with("x-amz-checksum-");
            begins || FREE.contains(&name) || named(name)
        };
        match fields.iter().find(|(name, _)| !free(name)) {
            Some((name, _)) => Err(PostPolicyError::Extra(name.clone())),
            None => Ok(()),
        }
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = Nanos(1_700_000_000 * Nanos::PER_SECOND);

    fn policy(conditions: &str) -> Result<PostPolicy, PostPolicyError> {
        let text = format!("{{\"expiration\": \"2030-01-01T00:00:00Z\", \"conditions\": {conditions}}}");
        PostPolicy::parse(text.as_bytes())
    }

    fn check(conditions: &str, fields: &[(&str, &str)]) -> Result<(), PostPolicyError> {
        let fields: Vec<_> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        policy(conditions)?.check(&fields, NOW)
    }

    #[test]
    fn conditions_hold_or_are_told() {
        let conditions =
            r#"[{"Bucket": "b"}, ["StArTs-WiTh", "$KEY", "a/"], ["starts-with", "$Content-Type", "text/"]]"#;
        let form = |key, kind| [("bucket", "b"), ("key", key), ("content-type", kind)];
        assert_eq!(check(conditions, &form("a/b", "text/plain, text/html")), Ok(()));
        let failed = |result| matches!(result, Err(PostPolicyError::Failed(_)));
        assert!(failed(check(conditions, &form("b", "text/plain"))));
        assert!(failed(check(conditions, &form("a/b", "text/plain, image/png"))));
        assert!(failed(check(conditions, &[("bucket", "c"), ("key", "a/b"), ("content-type", "text/x")])));
        assert!(failed(check(r#"[["starts-with", "$x-amz-meta-a", ""]]"#, &[])), "it must be there");
        assert_eq!(check("[]", &[("policy", "p"), ("x-ignore-me", "1"), ("signature", "s")]), Ok(()));
        assert_eq!(check("[]", &[("x-amz-checksum-crc32", "AAAAAA==")]), Ok(()));
        assert_eq!(check("[]", &[("acl", "p")]), Err(PostPolicyError::Extra("acl".into())));
    }

    #[test]
    fn lengths_and_the_clock() {
        let range = policy(r#"[["content-length-range", 5, 10], ["content-length-range", "0", 9]]"#).unwrap();
        assert_eq!(range.length(), (5, 9));
        let over = Nanos(NOW.0 * 2);
        assert_eq!(policy("[]").unwrap().check(&[], over), Err(PostPolicyError::Expired));
    }

    #[test]
    fn what_is_no_policy() {
        for conditions in [
            "[{}]",
            "{}",
            r#"[{"a": "1", "b": "2"}]"#,
            r#"[["content-length-range", 0]]"#,
            r#"[["content-length-range", -1, 0]]"#,
            r#"[["eq", "key", "v"]]"#,
            r#"[["like", "$key", "v"]]"#,
            "[7]",
        ] {
            assert!(matches!(policy(conditions), Err(PostPolicyError::Invalid(_))), "{conditions}");
        }
        for text in [
            "",
            "{}",
            r#"{"expiration": "2030-01-01T00:00:00Z"}"#,
            r#"{"EXPIRATION": "2030-01-01T00:00:00Z", "conditions": []}"#,
            r#"{"expiration": "2030-01-01 00:00:00+00:00", "conditions": []}"#,
        ] {
            assert!(matches!(PostPolicy::parse(text.as_bytes()), Err(PostPolicyError::Invalid(_))), "{text}");
        }
    }
}
