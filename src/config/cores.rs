//! Which processors to use, as written: `all`, `4`, or `0,2-3`.
//!
//! A number alone is a count; a list or a range names processors as the kernel numbers them. Whether they
//! exist and may be used is the topology's to say, not ours. Input is hostile: bounded and checked.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::base::limits::CORES_MAX;

/// The choice of processors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cores {
    /// Every processor the process may run on.
    #[default]
    All,
    /// The first so many of them.
    Count(usize),
    /// These, ascending and distinct.
    List(Vec<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoresError {
    #[error("expected `all`, a count such as 4, or a list of processors such as 0,2-3")]
    Form,
    #[error("a processor is named twice")]
    Twice,
    #[error("at least 1 and at most {CORES_MAX} processors, numbered below {}", CORES_MAX * 4)]
    Bounds,
}

impl FromStr for Cores {
    type Err = CoresError;

    fn from_str(text: &str) -> Result<Cores, CoresError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("all") {
            return Ok(Cores::All);
        }
        if !text.contains([',', '-']) {
            return count(number(text)?);
        }
        let mut list = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(CoresError::Form);
            }
            if last >= CORES_MAX * 4 {
                return Err(CoresError::Bounds);
            }
            list.extend(first..=last);
        }
        list_of(list)
    }
}

fn number(text: &str) -> Result<usize, CoresError> {
    let text = text.trim();
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(CoresError::Form);
    }
    text.parse().map_err(|_| CoresError::Form)
}

fn count(n: usize) -> Result<Cores, CoresError> {
    if (1..=CORES_MAX).contains(&n) { Ok(Cores::Count(n)) } else { Err(CoresError::Bounds) }
}

fn list_of(mut list: Vec<usize>) -> Result<Cores, CoresError> {
    list.sort_unstable();
    let named = list.len();
    list.dedup();
    if list.len() != named {
        return Err(CoresError::Twice);
    }
    if list.is_empty() || list.len() > CORES_MAX {
        return Err(CoresError::Bounds);
    }
    Ok(Cores::List(list))
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cores::All => f.write_str("all"),
            Cores::Count(n) => write!(f, "{n}"),
            Cores::List(list) => {
                let names: Vec<String> = list.iter().map(|n| n.to_string()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cores, D::Error> {
        deserializer.deserialize_any(CoresVisitor)
    }
}

/// A file may say `4` as well as `"0,2-3"`.
struct CoresVisitor;

impl Visitor<'_> for CoresVisitor {
    type Value = Cores;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count such as 4, or a list of processors such as \"0,2-3\"")
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Cores, E> {
        usize::try_from(n).map_err(|_| CoresError::Bounds).and_then(count).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cores, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_meant() {
        assert_eq!("all".parse(), Ok(Cores::All));
        assert_eq!("4".parse(), Ok(Cores::Count(4)));
        assert_eq!("3-3".parse(), Ok(Cores::List(vec![3])));
        assert_eq!("2-3,0".parse(), Ok(Cores::List(vec![0, 2, 3])));
    }

    #[test]
    fn what_is_refused() {
        for (text, error) in [
            ("", CoresError::Form),
            ("four", CoresError::Form),
            ("+4", CoresError::Form),
            ("3-2", CoresError::Form),
            ("0,,1", CoresError::Form),
            ("-1", CoresError::Form),
            ("1,1", CoresError::Twice),
            ("0-2,1", CoresError::Twice),
            ("0", CoresError::Bounds),
            ("100000", CoresError::Bounds),
            ("0-18446744073709551615", CoresError::Bounds),
        ] {
            assert_eq!(text.parse::<Cores>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[0-9,\\- a-z]{0,20}") {
            let _ = text.parse::<Cores>();
        }
    }
}
