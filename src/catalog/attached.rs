//! What is attached to a version or an upload, as bytes: a list of numbered fields at the end of a
//! value.
//!
//! Nothing attached takes no byte. Fields stand in ascending order, each at most once, and a reader
//! refuses a number it does not know: what it would drop when it writes the value again may be a
//! lock. Layout: `docs/FORMAT.md`, section Attached.

use super::meta::{Attached, Retention, RetentionMode};
use crate::base::time::Nanos;
use crate::codec::wire::{Put, Take};

const TAGS: u8 = 1;
const RETENTION: u8 = 2;
const LEGAL_HOLD: u8 = 3;
const OWNER: u8 = 4;
const GRANTS: u8 = 5;

const GOVERNANCE: u8 = 1;
const COMPLIANCE: u8 = 2;

pub(super) fn put(put: &mut Put, attached: &Attached) {
    if !attached.tags.is_empty() {
        put.u8(TAGS).varint(attached.tags.len() as u64);
        for (key, value) in &attached.tags {
            put.bytes(key.as_bytes()).bytes(value.as_bytes());
        }
    }
    if let Some(retention) = &attached.retention {
        put.u8(RETENTION).u8(match retention.mode {
            RetentionMode::Governance => GOVERNANCE,
            RetentionMode::Compliance => COMPLIANCE,
        });
        put.u64(retention.until.0);
    }
    if let Some(on) = attached.legal_hold {
        put.u8(LEGAL_HOLD).u8(on.into());
    }
    if let Some(owner) = &attached.owner {
        put.u8(OWNER).bytes(owner.as_bytes());
    }
    if let Some(grants) = &attached.grants {
        put.u8(GRANTS).bytes(grants);
    }
}

/// Takes everything to the end.
pub(super) fn take(take: &mut Take<'_>) -> Option<Attached> {
    let mut attached = Attached::default();
    let mut last = 0;
    while !take.is_empty() {
        let field = take.u8()?;
        if field <= last {
            return None;
        }
        last = field;
        match field {
            TAGS => attached.tags = take_tags(take)?,
            RETENTION => attached.retention = Some(take_retention(take)?),
            LEGAL_HOLD => {
                attached.legal_hold = match take.u8()? {
                    0 => Some(false),
                    1 => Some(true),
                    _ => return None,
                }
            }
            OWNER => attached.owner = Some(text(take)?),
            GRANTS => attached.grants = Some(take.bytes()?.to_vec()),
            _ => return None,
        }
    }
    Some(attached)
}

fn take_tags(take: &mut Take<'_>) -> Option<Vec<(String, String)>> {
    (0..take.varint()?).map(|_| Some((text(take)?, text(take)?))).collect()
}

fn take_retention(take: &mut Take<'_>) -> Option<Retention> {
    let mode = match take.u8()? {
        GOVERNANCE => RetentionMode::Governance,
        COMPLIANCE => RetentionMode::Compliance,
        _ => return None,
    };
    Some(Retention { mode, until: Nanos(take.u64()?) })
}

fn text(take: &mut Take<'_>) -> Option<String> {
    Some(std::str::from_utf8(take.bytes()?).ok()?.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn any_attached() -> impl Strategy<Value = Attached> {
        let tags = prop::collection::vec((".{0,9}", ".{0,9}"), 0..3);
        let retention = any::<Option<(bool, u64)>>().prop_map(|retention| {
            retention.map(|(strict, until)| Retention {
                mode: if strict { RetentionMode::Compliance } else { RetentionMode::Governance },
                until: Nanos(until),
            })
        });
        (tags, retention, any::<Option<bool>>(), any::<Option<String>>(), any::<Option<Vec<u8>>>()).prop_map(
            |(tags, retention, legal_hold, owner, grants)| Attached {
                tags,
                retention,
                legal_hold,
                owner,
                grants,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_attached_comes_back(attached in any_attached()) {
            let mut out = Put::default();
            put(&mut out, &attached);
            prop_assert_eq!(take(&mut Take(&out.0)), Some(attached));
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            let _ = take(&mut Take(&bytes));
        }
    }

    #[test]
    fn nothing_takes_no_byte_and_the_unknown_is_refused() {
        let mut out = Put::default();
        put(&mut out, &Attached::default());
        assert!(out.0.is_empty());
        assert_eq!(take(&mut Take(&[LEGAL_HOLD, 1, LEGAL_HOLD, 1])), None);
        assert_eq!(take(&mut Take(&[99])), None);
    }
}
