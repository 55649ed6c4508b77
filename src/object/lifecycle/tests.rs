//! Decisions of lifecycle against a small naive model.
//!
//! The model looks at all versions of a key at once and at every rule in turn, and knows no order of telling. Days are
//! ten nanoseconds long here, so that small numbers meet their borders.

use super::*;
use crate::codec::xml::{FilterForm, LifecycleFilter, NoncurrentExpiration};
use proptest::prelude::*;

const DAY: Day = Day(10);

#[derive(Clone, Debug)]
struct Told {
    size: u64,
    modified: u64,
    marker: bool,
    tags: Vec<(String, String)>,
}

impl Told {
    fn facts(&self) -> Facts<'_> {
        Facts { size: self.size, modified: Nanos(self.modified), marker: self.marker, tags: &self.tags }
    }
}

/// Whether a filter means a version, as its text has it.
fn model_means(filter: &LifecycleFilter, key: &str, told: &Told) -> bool {
    let asks = !filter.tags.is_empty() || filter.size_greater.is_some() || filter.size_less.is_some();
    let prefix = filter.prefix.clone().unwrap_or_default();
    if !key.starts_with(&prefix) || told.marker && asks {
        return false;
    }
    let tagged = filter.tags.iter().all(|(key, value)| told.tags.iter().any(|(k, v)| k == key && v == value));
    let greater = filter.size_greater.is_none_or(|bound| told.size > bound);
    let less = filter.size_less.is_none_or(|bound| told.size < bound);
    tagged && greater && less
}

/// The next beginning of a day at or behind the sum.
fn model_date(from: u64, days: u32) -> u64 {
    let mut date = from + u64::from(days) * 10;
    while !date.is_multiple_of(10) {
        date += 1;
    }
    date
}

/// What is due about the version at `place`; newest first.
fn model_action(
    rules: &[LifecycleRule],
    key: &str,
    versions: &[Told],
    place: usize,
    now: u64,
) -> Option<Action> {
    let told = &versions[place];
    let means = |rule: &&LifecycleRule| rule.enabled && model_means(&rule.filter, key, told);
    let rules: Vec<&LifecycleRule> = rules.iter().filter(means).collect();
    let expires = rules.iter().any(|rule| match rule.expiration {
        Some(Expiration::Days(days)) => model_date(told.modified, days) <= now,
        Some(Expiration::Date(date)) => date.0 <= now,
        Some(Expiration::DeleteMarker(on)) => told.marker && on,
        None => false,
    });
    if place == 0 {
        return match (told.marker, expires) {
            (_, false) => None,
            (false, true) => Some(Action::Expire),
            (true, true) => (versions.len() == 1).then_some(Action::RemoveMarker),
        };
    }
    let since = versions[place - 1].modified.max(told.modified);
    let goes = rules.iter().filter_map(|rule| rule.noncurrent).any(|noncurrent| {
        let kept = noncurrent.keep.map_or(0, |keep| keep as usize);
        // The first of the noncurrent stands at place 1.
        place > kept && model_date(since, noncurrent.days) <= now
    });
    goes.then_some(Action::RemoveNoncurrent)
}

fn tags() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::sample::subsequence(vec![("a", "1"), ("a", "2"), ("b", "1")], 0..=2)
        .prop_map(|tags| tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn rule() -> impl Strategy<Value = LifecycleRule> {
    let filter =
        (prop::option::of("[ab]{0,2}"), tags(), prop::option::of(0u64..4), prop::option::of(0u64..4));
    let expiration = prop::option::of(prop_oneof![
        (1u32..4).prop_map(Expiration::Days),
        (0u64..10).prop_map(|date| Expiration::Date(Nanos(date * 10))),
        any::<bool>().prop_map(Expiration::DeleteMarker),
    ]);
    let noncurrent = prop::option::of((1u32..4, prop::option::of(1u32..3)));
    (any::<bool>(), filter, expiration, noncurrent).prop_map(|(enabled, filter, expiration, noncurrent)| {
        let (prefix, tags, size_greater, size_less) = filter;
        LifecycleRule {
            id: String::new(),
            enabled,
            filter: LifecycleFilter { form: FilterForm::And, prefix, tags, size_greater, size_less },
            expiration,
            noncurrent: noncurrent.map(|(days, keep)| NoncurrentExpiration { days, keep }),
            abort_days: None,
        }
    })
}

fn told() -> impl Strategy<Value = Told> {
    (0u64..4, 0u64..60, any::<bool>(), tags()).prop_map(|(size, modified, marker, tags)| match marker {
        true => Told { size: 0, modified, marker, tags: Vec::new() },
        false => Told { size, modified, marker, tags },
    })
}

proptest! {
    #[test]
    fn what_is_due_is_what_the_model_says(
        rules in prop::collection::vec(rule(), 0..5),
        key in "[ab]{1,3}",
        versions in prop::collection::vec(told(), 1..6),
        now in 0u64..100,
    ) {
        let lifecycle = Lifecycle::new(rules.clone());
        let mut history = History::default();
        let mut found: Vec<Option<Action>> = versions
            .iter()
            .map(|told| history.tell(&lifecycle, &key, &told.facts(), (Nanos(now), DAY)))
            .collect();
        found[0] = found[0].or(history.end());
        let expected = |place| model_action(&rules, &key, &versions, place, now);
        prop_assert_eq!(found, (0..versions.len()).map(expected).collect::<Vec<_>>());
    }

    #[test]
    fn the_date_that_is_told_is_the_one_on_which_it_goes(
        rules in prop::collection::vec(rule(), 0..5),
        key in "[ab]{1,3}",
        told in told().prop_filter("an object", |told| !told.marker),
    ) {
        let lifecycle = Lifecycle::new(rules);
        let date = expiry(&lifecycle, &key, &told.facts(), DAY).map(|(date, _)| date.0);
        let due = |now| {
            let action = History::default().tell(&lifecycle, &key, &told.facts(), (Nanos(now), DAY));
            action == Some(Action::Expire)
        };
        prop_assert_eq!(date.is_some(), due(u64::MAX));
        if let Some(date) = date {
            prop_assert!(due(date) && (date == 0 || !due(date - 1)));
        }
    }
}

#[test]
fn days_are_rounded_up_to_the_next_midnight() {
    let day = 86_400;
    // 2014-01-15T10:30:00Z and three days: 2014-01-19T00:00:00Z, as AWS's own example has it.
    let created = Nanos::from_seconds(1_389_781_800);
    assert_eq!(Day::REAL.after(created, 3), Nanos::from_seconds(1_390_089_600));
    let midnight = Nanos::from_seconds(1_390_089_600);
    assert_eq!(Day::REAL.after(midnight, 1), Nanos(midnight.0 + day * Nanos::PER_SECOND));
    assert_eq!(Day::REAL.next(midnight), Nanos(midnight.0 + day * Nanos::PER_SECOND));
    assert!(Day::REAL.after(Nanos(u64::MAX), u32::MAX) >= Nanos(u64::MAX - Day::REAL.0));
}

#[test]
fn of_two_rules_the_one_that_is_first_is_told() {
    let rule = |id: &str, days| LifecycleRule {
        id: id.into(),
        enabled: true,
        expiration: Some(Expiration::Days(days)),
        abort_days: Some(days),
        ..LifecycleRule::default()
    };
    let lifecycle = Lifecycle::new(vec![rule("late", 9), rule("early", 2), rule("later", 30)]);
    let facts = Facts { size: 1, modified: Nanos(3), marker: false, tags: &[] };
    let told = |found: Option<(Nanos, &LifecycleRule)>| found.map(|(date, rule)| (date.0, rule.id.clone()));
    assert_eq!(told(expiry(&lifecycle, "k", &facts, DAY)), Some((30, "early".into())));
    assert_eq!(told(abort(&lifecycle, "k", Nanos(10), DAY)), Some((30, "early".into())));
}
