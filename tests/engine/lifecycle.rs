//! Lifecycle on the simulated engine: one pass removes what is due and nothing else, through power cuts at any write,
//! and whoever names what is not due, or not any more, removes nothing.
//!
//! A day takes a second of simulated time. Decisions themselves are tested beside their page; here it is the walk over
//! shards and pages, and what the owners of keys make of what it names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use basalt::base::ids::ShardId;
use basalt::base::limits::LIFECYCLE_PAGE_STEPS;
use basalt::catalog::key;
use basalt::codec::xml::{
    Expiration, Lifecycle, LifecycleFilter, LifecycleRule, NoncurrentExpiration, Versioning,
};
use basalt::object::decisions::commit::BucketRef;
use basalt::object::lifecycle::{Day, Due, KeyRange, Tally};
use basalt::object::registry::settings::{Kind, Setting};
use basalt::object::store::{Deletion, VersionEntry, VersionInfo, VersionQuery};
use basalt::upkeep::lifecycle::{pass, subjects};
use bytes::Bytes;

use crate::harness::{
    BUCKET, Chance, Server, body, fresh_on, fresh_on_cores, request, run, start, versions_of, wide_request,
    world,
};

const OTHER: &str = "other";

fn day() -> Day {
    Day::of_seconds(1)
}

/// Lets days go by.
async fn days_later(days: u64) {
    tokio::time::advance(Duration::from_secs(days + 1)).await;
}

fn rule(prefix: &str) -> LifecycleRule {
    LifecycleRule {
        enabled: true,
        filter: LifecycleFilter { prefix: Some(prefix.into()), ..LifecycleFilter::default() },
        ..LifecycleRule::default()
    }
}

fn expiring(prefix: &str, days: u32) -> LifecycleRule {
    LifecycleRule { expiration: Some(Expiration::Days(days)), ..rule(prefix) }
}

fn noncurrent(prefix: &str, keep: u32) -> LifecycleRule {
    let keep = (keep > 0).then_some(keep);
    LifecycleRule { noncurrent: Some(NoncurrentExpiration { days: 1, keep }), ..rule(prefix) }
}

async fn lay_down(server: &Server, bucket: &str, mut rules: Vec<LifecycleRule>) {
    rules.iter_mut().enumerate().for_each(|(at, rule)| rule.id = at.to_string());
    let setting = Setting::Lifecycle(Lifecycle::new(rules));
    server.store().set_setting(bucket, setting).await.expect("rules");
}

async fn enable(server: &Server) {
    server.store().set_setting(BUCKET, Setting::Versioning(Versioning::Enabled)).await.expect("versions");
}

async fn pass_now(server: &Server) -> bool {
    let core = server.core();
    pass(core, subjects(core), day()).await
}

async fn put(server: &Server, bucket: &str, key: &str) {
    let mut writer = server.store().put(bucket, key, Some(3)).await.expect("a writer");
    writer.write(Bytes::from_static(b"abc")).await.expect("bytes");
    writer.commit(Default::default()).await.expect("a commit");
}

/// All versions of a bucket, by key, newest first.
async fn versions(server: &Server, bucket: &str) -> BTreeMap<String, Vec<VersionInfo>> {
    let (mut all, mut key_marker, mut version_id_marker) =
        (BTreeMap::<String, Vec<VersionInfo>>::new(), String::new(), String::new());
    loop {
        let query = VersionQuery { key_marker, version_id_marker, ..versions_of(bucket, 500) };
        let page = server.store().list_versions(query).await.expect("a listing");
        key_marker = String::new();
        for entry in page.entries {
            let VersionEntry::Version(version) = entry else { panic!("no delimiter was given") };
            key_marker.clone_from(&version.key);
            all.entry(version.key.clone()).or_default().push(version);
        }
        if !page.truncated {
            return all;
        }
        version_id_marker = page.next_version.expect("a page that goes on says where");
    }
}

fn bucket_ref(server: &Server, name: &str) -> BucketRef {
    let id = server.store().settings(name).expect("the bucket").value.id;
    BucketRef { name: name.into(), id }
}

#[test]
fn one_pass_removes_what_is_due_in_all_shards_and_nothing_else() {
    run(async {
        let (sim, request) = (world(7, 4), wide_request(4, 2));
        let server = fresh_on(&sim, &request).await;
        server.store().create_bucket(OTHER, "r", "o").await.expect("a bucket");
        // More than a page of each shard, on both sides of the prefixes.
        let count = LIFECYCLE_PAGE_STEPS * 6;
        for n in 0..count {
            put(&server, BUCKET, &format!("{}/{n}", ["a", "b", "c"][n % 3])).await;
        }
        for n in 0..50 {
            put(&server, OTHER, &format!("a/{n}")).await;
        }
        lay_down(&server, BUCKET, vec![expiring("a/", 1), expiring("a/1", 1), expiring("c/", 9)]).await;
        assert!(pass_now(&server).await);
        assert_eq!(server.keys().await.len(), count, "nothing is due yet");
        days_later(1).await;
        assert!(pass_now(&server).await);
        let left = server.keys().await;
        assert_eq!(left.len(), count - count / 3);
        assert!(left.iter().all(|(key, _)| !key.starts_with("a/")));
        let figures = server.shared.board.lifecycle.metrics();
        assert_eq!((figures.expired_current, figures.failed), (count as u64 / 3, 0));
        // What no rule names is not even looked at: two passes over a/ and c/, then one over c/ alone.
        assert_eq!(figures.examined, 2 * 2 * (count as u64 / 3));
        assert_eq!(versions(&server, OTHER).await.len(), 50);
        server.stop().await;
    });
}

#[test]
fn versions_of_one_key_go_in_turns_and_across_pages() {
    run(async {
        let (sim, request) = (world(8, 4), request(4, 2));
        let server = fresh_on(&sim, &request).await;
        enable(&server).await;
        let count = 2 * LIFECYCLE_PAGE_STEPS + 10;
        for _ in 0..count {
            put(&server, BUCKET, "k").await;
        }
        put(&server, BUCKET, "l").await;
        server.delete("m").await.expect("a marker");
        let marker = LifecycleRule { expiration: Some(Expiration::DeleteMarker(true)), ..noncurrent("", 3) };
        lay_down(&server, BUCKET, vec![marker]).await;
        let before = versions(&server, BUCKET).await;
        days_later(1).await;
        assert!(pass_now(&server).await);
        let after = versions(&server, BUCKET).await;
        let ids = |versions: &[VersionInfo]| -> Vec<String> {
            versions.iter().map(|version| version.version_id.clone()).collect()
        };
        assert_eq!(ids(&after["k"]), ids(&before["k"][..4]));
        assert_eq!((after["l"].len(), after.contains_key("m")), (1, false));
        server.stop().await;
    });
}

#[test]
fn what_is_named_and_not_due_stays() {
    run(async {
        let (sim, request) = (world(9, 4), request(4, 2));
        let server = fresh_on(&sim, &request).await;
        enable(&server).await;
        for key in ["young", "old", "outside"] {
            put(&server, BUCKET, key).await;
        }
        lay_down(&server, BUCKET, vec![expiring("young", 9), expiring("old", 1), noncurrent("old", 0)]).await;
        days_later(1).await;
        // It was due a moment ago; now there is a new one in front of it, and it is not noncurrent for long.
        put(&server, BUCKET, "old").await;
        assert_eq!(expire(&server, &["young", "old", "outside", "absent"]).await, Tally::default());
        let found = versions(&server, BUCKET).await;
        assert_eq!((found["young"].len(), found["old"].len(), found["outside"].len()), (1, 2, 1));
        // Rules that were taken back count no more, whoever has begun to go by them.
        days_later(1).await;
        server.store().remove_setting(BUCKET, Kind::Lifecycle).await.expect("no rules");
        assert_eq!(expire(&server, &["old"]).await, Tally::default());
        lay_down(&server, BUCKET, vec![noncurrent("old", 0)]).await;
        let removed = expire(&server, &["old"]).await;
        assert_eq!(removed, Tally { noncurrent: 1, ..Tally::default() });
        server.stop().await;
    });
}

/// Names keys to their owners as a pass does that has found something due.
async fn expire(server: &Server, keys: &[&str]) -> Tally {
    let (core, bucket) = (server.core(), bucket_ref(server, BUCKET));
    let mut all = Tally::default();
    for name in keys {
        let shard = key::shard_of(bucket.id, name.as_bytes(), core.shard_count());
        let due = vec![Due::Key { bucket: bucket.clone(), key: (*name).into() }];
        all += core.on_shard(shard, move |home| home.expire(due, day())).await.expect("an answer");
    }
    all
}

#[test]
fn pages_hold_what_stands_inside_of_the_ranges() {
    run(async {
        let (sim, request) = (world(10, 4), request(4, 2));
        let server = fresh_on(&sim, &request).await;
        let mut chance = Chance(0x5eed);
        let names: BTreeSet<String> = (0..900).map(|_| format!("{:03}", chance.below(1000))).collect();
        for name in &names {
            put(&server, BUCKET, name).await;
        }
        let id = bucket_ref(&server, BUCKET).id;
        for turn in 0..12u64 {
            // The more ranges there are, the fewer entries each has.
            let width = if turn % 2 == 0 { 1 } else { 2 };
            let chosen = 1 + chance.below(10u64.pow(width));
            let prefixes: BTreeSet<String> = (0..chosen)
                .map(|_| format!("{:0width$}", chance.below(10u64.pow(width)), width = width as usize))
                .collect();
            let range = |prefix: &String| -> KeyRange {
                (key::versions_from(id, prefix.as_bytes()), key::versions_end(id, prefix.as_bytes()))
            };
            let ranges: Arc<[KeyRange]> = prefixes.iter().map(range).collect();
            let mut found = Vec::new();
            for shard in (0..server.core().shard_count()).map(ShardId) {
                let mut from = Some(ranges[0].0.clone());
                while let Some(at) = from {
                    let inside = ranges.clone();
                    let page = server.core().on_shard(shard, move |home| home.entries(at, inside)).await;
                    let page = page.expect("a page");
                    let name = |at: &Bytes| String::from_utf8(key::parse_version(at).expect("a key").0);
                    found.extend(page.entries.iter().map(|(at, _)| name(at).expect("text")));
                    from = page.next;
                }
            }
            found.sort();
            let inside = |name: &&String| prefixes.iter().any(|prefix| name.starts_with(prefix));
            assert_eq!(found, names.iter().filter(inside).cloned().collect::<Vec<_>>(), "{prefixes:?}");
        }
        server.stop().await;
    });
}

/// Without room for a delete marker the current version stays as it is; what goes for good still goes, and with room
/// the next pass does what was owed.
#[test]
fn without_room_what_is_removed_goes_and_markers_wait() {
    run(async {
        let sim = world(11, 1);
        let server = fresh_on_cores(&sim, &request(1, 0), 1).await;
        enable(&server).await;
        for n in 0..40 {
            put(&server, BUCKET, &format!("due/{n}")).await;
            put(&server, BUCKET, &format!("due/{n}")).await;
        }
        lay_down(&server, BUCKET, vec![expiring("due/", 1), noncurrent("due/", 0)]).await;
        let mut filled = 0;
        while server.put(&format!("fill/{filled}"), body("fill", filled, 16_000)).await.is_ok() {
            filled += 1;
        }
        days_later(1).await;
        assert!(!pass_now(&server).await, "something is owed");
        let figures = server.shared.board.lifecycle.metrics();
        let counts = (figures.expired_current, figures.expired_noncurrent, figures.failed);
        assert_eq!(counts, (0, 40, 40));
        let found = versions(&server, BUCKET).await;
        for n in 0..40 {
            let left = &found[&format!("due/{n}")];
            assert!(left.len() == 1 && !left[0].is_delete_marker);
        }
        let fill = found.range("fill/".to_owned().."fill0".to_owned());
        for version in fill.flat_map(|(_, versions)| versions) {
            let deletion = Deletion { version_id: Some(version.version_id.clone()), ..Deletion::default() };
            server.store().delete(BUCKET, &version.key, deletion).await.expect("a delete on full drives");
        }
        while !pass_now(&server).await {
            days_later(1).await;
        }
        let figures = server.shared.board.lifecycle.metrics();
        assert_eq!(figures.expired_current, 40);
        assert!(versions(&server, BUCKET).await.values().all(|versions| versions[0].is_delete_marker));
        server.stop().await;
    });
}

#[test]
fn a_cut_in_the_middle_of_a_pass_takes_nothing_that_stays() {
    for seed in 1..=12u64 {
        run(async move { cut_while_expiring(seed).await });
    }
}

async fn cut_while_expiring(seed: u64) {
    let (sim, request) = (world(seed, 4), request(4, 2));
    let server = fresh_on(&sim, &request).await;
    enable(&server).await;
    for n in 0..60 {
        put(&server, BUCKET, &format!("{}/{}", ["go", "stay"][n % 2], n / 4)).await;
    }
    let rules = || vec![expiring("go/", 1), noncurrent("go/", 0)];
    lay_down(&server, BUCKET, rules()).await;
    let before = versions(&server, BUCKET).await;
    days_later(1).await;
    let mut chance = Chance(seed.wrapping_mul(0x9876_5432_10fe_dcb1) | 1);
    sim.crash_at_write(1 + chance.below(60));
    let _ = tokio::time::timeout(Duration::from_secs(30), pass_now(&server)).await;
    sim.crash();
    drop(server);
    let server = start(&sim, &request).await.expect("it starts after the cut");
    let stays = |all: &BTreeMap<String, Vec<VersionInfo>>| -> Vec<(String, String)> {
        let kept = all.values().flatten().filter(|version| version.key.starts_with("stay/"));
        kept.map(|version| (version.key.clone(), version.version_id.clone())).collect()
    };
    assert_eq!(stays(&versions(&server, BUCKET).await), stays(&before), "seed {seed}");
    // Expired, then noncurrent for a day, and then the marker is alone and as old: two passes, and nothing is left.
    for _ in 0..2 {
        days_later(1).await;
        assert!(pass_now(&server).await, "seed {seed}");
    }
    let found = versions(&server, BUCKET).await;
    assert_eq!(stays(&found), stays(&before), "seed {seed}");
    assert!(found.keys().all(|key| key.starts_with("stay/")), "seed {seed}");
    server.stop().await;
}
