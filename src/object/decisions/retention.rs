//! Object lock: what may not be removed or changed, and until when.
//!
//! Pure. Whoever removes a version asks `check_removal`, whoever changes a retention `check_change`,
//! both under the lock of the key. The clock decides when a retention ends; nothing else does.
//! Source: AWS "Locking objects with Object Lock".

use crate::base::time::Nanos;
use crate::object::error::ObjectError;
use crate::object::meta::{Attached, Retention, RetentionMode};
use crate::object::registry::buckets::Bucket;

const DAY_NANOS: u64 = 24 * 3600 * 1_000_000_000;

/// Whether a version may be removed now; `bypass` is the right to ignore governance.
pub fn check_removal(attached: &Attached, now: Nanos, bypass: bool) -> Result<(), ObjectError> {
    if attached.legal_hold == Some(true) {
        return Err(ObjectError::Locked);
    }
    match attached.retention.filter(|held| held.until > now).map(|held| held.mode) {
        None => Ok(()),
        Some(RetentionMode::Governance) if bypass => Ok(()),
        Some(_) => Err(ObjectError::Locked),
    }
}

/// Whether a retention may be replaced: the same mode for as long or longer always, anything else
/// only under governance and with the right to ignore it.
pub fn check_change(
    held: Option<Retention>,
    next: Option<Retention>,
    now: Nanos,
    bypass: bool,
) -> Result<(), ObjectError> {
    let Some(held) = held.filter(|held| held.until > now) else { return Ok(()) };
    let extends = next.is_some_and(|next| next.mode == held.mode && next.until >= held.until);
    match held.mode {
        _ if extends => Ok(()),
        RetentionMode::Governance if bypass => Ok(()),
        _ => Err(ObjectError::Locked),
    }
}

/// What a new version gets that brings none.
pub fn default_of(bucket: &Bucket, now: Nanos) -> Option<Retention> {
    let default = bucket.settings.object_lock.as_ref()?.default?;
    let span = u64::from(default.period.days()).saturating_mul(DAY_NANOS);
    Some(Retention { mode: default.mode, until: Nanos(now.0.saturating_add(span)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = Nanos(100);

    fn held(mode: RetentionMode, until: u64) -> Option<Retention> {
        Some(Retention { mode, until: Nanos(until) })
    }

    #[test]
    fn what_may_be_removed() {
        use RetentionMode::*;
        for (retention, legal_hold, plain, bypass) in [
            (None, false, true, true),
            (None, true, false, false),
            (held(Governance, 101), false, false, true),
            (held(Governance, 101), true, false, false),
            (held(Governance, 100), false, true, true),
            (held(Compliance, 101), false, false, false),
            (held(Compliance, 99), false, true, true),
            (held(Compliance, 99), true, false, false),
        ] {
            let attached = Attached { retention, legal_hold: Some(legal_hold), ..Attached::default() };
            assert_eq!(check_removal(&attached, NOW, false).is_ok(), plain, "{attached:?}");
            assert_eq!(check_removal(&attached, NOW, true).is_ok(), bypass, "{attached:?}");
        }
    }

    #[test]
    fn how_a_retention_may_change() {
        use RetentionMode::*;
        for (from, to, plain, bypass) in [
            (None, held(Compliance, 200), true, true),
            (held(Compliance, 99), None, true, true),
            (held(Governance, 200), held(Governance, 200), true, true),
            (held(Governance, 200), held(Governance, 300), true, true),
            (held(Governance, 200), held(Governance, 199), false, true),
            (held(Governance, 200), held(Compliance, 300), false, true),
            (held(Governance, 200), None, false, true),
            (held(Compliance, 200), held(Compliance, 201), true, true),
            (held(Compliance, 200), held(Compliance, 199), false, false),
            (held(Compliance, 200), held(Governance, 300), false, false),
            (held(Compliance, 200), None, false, false),
        ] {
            assert_eq!(check_change(from, to, NOW, false).is_ok(), plain, "{from:?} {to:?}");
            assert_eq!(check_change(from, to, NOW, true).is_ok(), bypass, "{from:?} {to:?}");
        }
    }
}
