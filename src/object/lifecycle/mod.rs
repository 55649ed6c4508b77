//! Lifecycle: what a bucket's rules say of a version, and when.
//!
//! This page is pure: rules, facts about a version and a point in time in, a date out. Everybody asks it: the pass
//! that looks for what is due (`upkeep::lifecycle`), the owner of a key that removes it (`expire`), and the edge that
//! tells clients a date in a header. Times count in days of UTC: the days of a rule are added and the sum is rounded up
//! to the next midnight. A noncurrent version counts from the time its successor was written. A delete marker has no
//! size and no tags, so a filter that asks for either does not mean it.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html

mod expire;
mod figures;
pub mod witness;

use super::meta::ObjectMeta;
use crate::base::time::Nanos;
use crate::catalog::value::{Listed, Version};
use crate::codec::xml::{Expiration, Lifecycle, LifecycleRule};

pub use expire::{Due, EntryPage, KeyRange, Subject};
pub use figures::{Figures, Tally};

/// How long a day is: less than a real one only where tests say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(u64);

impl Day {
    pub const REAL: Day = Day(24 * 3600 * Nanos::PER_SECOND);

    /// Never of no length.
    pub fn of_seconds(seconds: u64) -> Day {
        Day(Nanos::from_seconds(seconds).0.max(1))
    }

    /// `days` after `from`, rounded up to where a day begins.
    pub fn after(self, from: Nanos, days: u32) -> Nanos {
        let sum = from.0.saturating_add(self.0.saturating_mul(days.into()));
        Nanos(sum.div_ceil(self.0).saturating_mul(self.0))
    }

    /// Days since 1970.
    pub fn count(self, now: Nanos) -> u64 {
        now.0 / self.0
    }

    pub fn length(self) -> Nanos {
        Nanos(self.0)
    }

    /// Where the day behind `now` begins.
    pub fn next(self, now: Nanos) -> Nanos {
        Nanos((now.0 / self.0 + 1).saturating_mul(self.0))
    }
}

/// What rules ask about one version.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'v> {
    pub size: u64,
    pub modified: Nanos,
    pub marker: bool,
    pub tags: &'v [(String, String)],
}

impl<'v> Facts<'v> {
    pub fn of(meta: &'v ObjectMeta, marker: bool) -> Self {
        Facts { size: meta.size, modified: meta.modified, marker, tags: &meta.attached.tags }
    }

    /// Of a version as the catalog has it; `whole` where rules ask for tags, so that it is read once.
    pub fn read(whole: Option<&'v Version>, value: &[u8]) -> Option<Self> {
        let marker = Version::encodes_marker(value);
        if let Some(version) = whole {
            return Some(Facts::of(&version.meta, marker));
        }
        let Listed { size, modified, .. } = Listed::decode(value)?;
        Some(Facts { size, modified, marker, tags: &[] })
    }

    fn meet(&self, rule: &LifecycleRule) -> bool {
        let filter = &rule.filter;
        if self.marker {
            return filter.tags.is_empty() && filter.size_greater.is_none() && filter.size_less.is_none();
        }
        filter.size_greater.is_none_or(|bound| self.size > bound)
            && filter.size_less.is_none_or(|bound| self.size < bound)
            && filter.tags.iter().all(|tag| self.tags.contains(tag))
    }
}

/// When the current version of `key` expires, if it stays that long, and by which rule: the one that is first.
pub fn expiry<'l>(
    lifecycle: &'l Lifecycle,
    key: &'l str,
    facts: &Facts<'_>,
    day: Day,
) -> Option<(Nanos, &'l LifecycleRule)> {
    let dated = |rule: &'l LifecycleRule| match rule.expiration? {
        Expiration::Days(days) => Some((day.after(facts.modified, days), rule)),
        Expiration::Date(date) => Some((date, rule)),
        Expiration::DeleteMarker(_) => None,
    };
    let rules = lifecycle.under(key).filter(|rule| facts.meet(rule));
    rules.filter_map(dated).min_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)))
}

/// When a delete marker goes that is all there is of its key.
fn marker_expiry(lifecycle: &Lifecycle, key: &str, marker: &Facts<'_>, day: Day) -> Option<Nanos> {
    let dated = |rule: &LifecycleRule| match rule.expiration? {
        Expiration::Days(days) => Some(day.after(marker.modified, days)),
        Expiration::Date(date) => Some(date),
        Expiration::DeleteMarker(on) => on.then_some(Nanos(0)),
    };
    lifecycle.under(key).filter(|rule| marker.meet(rule)).filter_map(dated).min()
}

/// When a noncurrent version goes: `since` it is one, and `newer` of its key are noncurrent too.
fn noncurrent_expiry(
    lifecycle: &Lifecycle,
    key: &str,
    facts: &Facts<'_>,
    (since, newer): (Nanos, u32),
    day: Day,
) -> Option<Nanos> {
    let dated = |rule: &LifecycleRule| {
        let noncurrent = rule.noncurrent.filter(|noncurrent| newer >= noncurrent.keep.unwrap_or(0))?;
        Some(day.after(since, noncurrent.days))
    };
    lifecycle.under(key).filter(|rule| facts.meet(rule)).filter_map(dated).min()
}

/// When an upload of `key` is aborted if it is not completed, and by which rule.
pub fn abort<'l>(
    lifecycle: &'l Lifecycle,
    key: &'l str,
    initiated: Nanos,
    day: Day,
) -> Option<(Nanos, &'l LifecycleRule)> {
    let dated = |rule: &'l LifecycleRule| Some((day.after(initiated, rule.abort_days?), rule));
    lifecycle.under(key).filter_map(dated).min_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)))
}

/// What is to be done about a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The current version: it goes, or a delete marker comes in front of it.
    Expire,
    RemoveNoncurrent,
    /// A delete marker that is all there is of its key.
    RemoveMarker,
}

/// The versions of one key, told newest first: says which are due.
#[derive(Debug, Default)]
pub struct History {
    versions: u32,
    /// When the version that was told last was written.
    successor: Nanos,
    /// The newest is a delete marker, and due should it be alone.
    due_if_alone: bool,
}

impl History {
    /// What is due about the next older version.
    pub fn tell(
        &mut self,
        lifecycle: &Lifecycle,
        key: &str,
        facts: &Facts<'_>,
        (now, day): (Nanos, Day),
    ) -> Option<Action> {
        let is_due = |date: Option<Nanos>| date.is_some_and(|date| date <= now);
        let (place, successor) = (self.versions, self.successor);
        self.versions = place.saturating_add(1);
        self.successor = facts.modified;
        let Some(newer) = place.checked_sub(1) else {
            if facts.marker {
                self.due_if_alone = is_due(marker_expiry(lifecycle, key, facts, day));
                return None;
            }
            return is_due(expiry(lifecycle, key, facts, day).map(|(date, _)| date))
                .then_some(Action::Expire);
        };
        // A clock that was set back does not make it noncurrent before it was there.
        let since = successor.max(facts.modified);
        let date = noncurrent_expiry(lifecycle, key, facts, (since, newer), day);
        is_due(date).then_some(Action::RemoveNoncurrent)
    }

    /// The version that was told last goes: it counts no more.
    fn forget(&mut self) {
        self.versions = self.versions.saturating_sub(1);
    }

    /// What is due when all versions were told, about the newest.
    pub fn end(&self) -> Option<Action> {
        (self.due_if_alone && self.versions == 1).then_some(Action::RemoveMarker)
    }
}

#[cfg(test)]
mod tests;
