//! JSON as a policy may have it: no name twice in an object, no deep nesting, nothing behind the end.
//!
//! A thin tree over serde_json's own parser. Two members of one name would let a reader and this
//! server see different policies, so they are refused. May use: serde_json. Numbers keep their text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::base::limits::POLICY_DEPTH_MAX;

/// A JSON value; members stay in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Reads the whole of `text`.
pub fn parse(text: &[u8]) -> Result<Json, serde_json::Error> {
    let mut from = serde_json::Deserializer::from_slice(text);
    let value = Depth(POLICY_DEPTH_MAX).deserialize(&mut from)?;
    from.end()?;
    Ok(value)
}

/// How many more levels there may be.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn below<E: serde::de::Error>(self) -> Result<Depth, E> {
        self.0.checked_sub(1).map(Depth).ok_or_else(|| E::custom("it is nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Json, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(below)? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = from.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("`{name}` stands twice")));
            }
            members.push((name, from.next_value_seed(below)?));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_kind() {
        let value = parse(br#" {"a": [null, true, 1, -2, 1.5, "x"], "b": {}} "#).unwrap();
        let number = |text: &str| Json::Number(text.into());
        let list = vec![
            Json::Null,
            Json::Bool(true),
            number("1"),
            number("-2"),
            number("1.5"),
            Json::Text("x".into()),
        ];
        assert_eq!(
            value,
            Json::Object(vec![("a".into(), Json::List(list)), ("b".into(), Json::Object(vec![]))])
        );
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for text in
            [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, "{} {}", "{", "", "{\"a\":1,}", "\u{feff}{}"]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(&[b'"', 0xff, b'"']).is_err());
        let deep = "[".repeat(POLICY_DEPTH_MAX + 1) + &"]".repeat(POLICY_DEPTH_MAX + 1);
        assert!(parse(deep.as_bytes()).is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        let allowed = "[".repeat(POLICY_DEPTH_MAX) + &"]".repeat(POLICY_DEPTH_MAX);
        assert!(parse(allowed.as_bytes()).is_ok());
    }
}
