//! Whom the text of a bucket policy names, and the same text with other names in their places.
//!
//! For whoever keeps a policy as text and has to follow what becomes of the users it names. The text was
//! accepted by `Policy::of_bucket` before; one that was not is an error here or comes back unchanged, never a
//! panic. All but the names stays byte for byte. May use: serde_json's raw values, for the places.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;

use super::PolicyError;
use super::principal::{self, Principal};

/// A principal as a policy names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// `AWS`, `CanonicalUser` or `Service`.
    pub kind: String,
    pub text: String,
    pub principal: Principal,
    /// Where it stands in the policy, with its quotes.
    at: Range<usize>,
}

/// Every principal that is named, in the order of the text.
pub fn named(policy: &str) -> Result<Vec<Named>, PolicyError> {
    let mut found = find(policy).map_err(|error| PolicyError::new(error.to_string()))?;
    found.sort_by_key(|named| named.at.start);
    Ok(found)
}

/// The policy with every name replaced for which there is another.
pub fn rename(policy: &str, other: impl Fn(&Named) -> Option<String>) -> Result<String, PolicyError> {
    let (mut renamed, mut copied) = (String::with_capacity(policy.len()), 0);
    for name in named(policy)? {
        let Some(next) = other(&name) else { continue };
        renamed += policy.get(copied..name.at.start).unwrap_or_default();
        renamed += &serde_json::Value::String(next).to_string();
        copied = name.at.end;
    }
    renamed += policy.get(copied..).unwrap_or_default();
    Ok(renamed)
}

type Members<'p> = BTreeMap<String, &'p RawValue>;

fn find(policy: &str) -> serde_json::Result<Vec<Named>> {
    let mut found = Vec::new();
    let document: Members<'_> = serde_json::from_str(policy)?;
    for statement in document.get("Statement").map_or(Ok(Vec::new()), |raw| list(raw))? {
        let members: Members<'_> = serde_json::from_str(statement.get())?;
        let elements = ["Principal", "NotPrincipal"].iter().filter_map(|name| members.get(*name));
        for element in elements.filter(|raw| raw.get().starts_with('{')) {
            let kinds: Members<'_> = serde_json::from_str(element.get())?;
            for (kind, values) in kinds {
                for value in list(values)? {
                    found.extend(one(policy, &kind, value)?);
                }
            }
        }
    }
    Ok(found)
}

fn one(policy: &str, kind: &str, value: &RawValue) -> serde_json::Result<Option<Named>> {
    let text: String = serde_json::from_str(value.get())?;
    let start = value.get().as_ptr().addr().saturating_sub(policy.as_ptr().addr());
    let at = start..start.saturating_add(value.get().len());
    let named = principal::one(kind, &text);
    Ok(named.map(|principal| Named { kind: kind.to_owned(), text, principal, at }))
}

fn list<'p>(raw: &'p RawValue) -> serde_json::Result<Vec<&'p RawValue>> {
    match raw.get().starts_with('[') {
        true => serde_json::from_str(raw.get()),
        false => Ok(vec![raw]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: &str = r#"{ "Statement" : [
        {"Principal": {"AWS": [ "arn:aws:iam::111122223333:user/ann" , "111122223333"]}, "Sid": "111122223333"},
        {"NotPrincipal": {"Service": "a.b", "AWS": "arn:aws:iam::111122223333:user\/\u0061nn"}},
        {"Principal": "*", "Condition": {"StringLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:user/ann"}}}
    ], "Id": "é" }
    "#;

    #[test]
    fn names_are_found_in_order_and_replaced_in_place() {
        let texts: Vec<String> = named(POLICY).unwrap().into_iter().map(|named| named.text).collect();
        let ann = "arn:aws:iam::111122223333:user/ann";
        assert_eq!(texts, [ann, "111122223333", "a.b", ann]);
        assert_eq!(rename(POLICY, |_| None).unwrap(), POLICY);
        let renamed = rename(POLICY, |named| (named.text == ann).then(|| "A\"".to_owned())).unwrap();
        let expected = POLICY.replacen("\"arn:aws:iam::111122223333:user/ann\"", r#""A\"""#, 1);
        assert_eq!(renamed, expected.replace(r#""arn:aws:iam::111122223333:user\/\u0061nn""#, r#""A\"""#));
    }

    #[test]
    fn a_single_statement_is_read_too() {
        let policy = r#"{"Statement":{"Principal":{"AWS":"111122223333"}}}"#;
        assert_eq!(named(policy).unwrap().len(), 1);
        assert!(named("{}").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "\\PC{0,200}", at in 0..POLICY.len(), byte in 0x20u8..0x7f) {
            let _ = rename(&text, |_| Some("x".to_owned()));
            let mut bytes = POLICY.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = String::from_utf8(bytes).map(|text| rename(&text, |_| Some("x".to_owned())));
        }
    }
}
