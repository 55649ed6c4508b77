//! What a bucket is said to hold, against what listings find in it: whatever is put, deleted, uploaded,
//! completed and aborted, in any order, through checkpoints, packing, restarts and power cuts at any write.
//!
//! Two accounts are checked: the meter that quotas go by, and the sum of what the shards have on the drives and
//! count in memory. A quota is never exceeded, however many write at once.

use std::collections::BTreeMap;
use std::rc::Rc;

use basalt::base::join::join_all;
use basalt::catalog::usage::Usage;
use basalt::codec::xml::{Quota, Versioning};
use basalt::object::error::ObjectError;
use basalt::object::meta::ETag;
use basalt::object::registry::settings::{Kind, Setting};
use basalt::object::store::{
    Complete, Deletion, NewUpload, PartClaim, UploadEntry, UploadQuery, VersionEntry, VersionQuery,
};

use crate::harness::{
    BUCKET, Chance, Server, body, fresh_on, fresh_on_cores, request, run, start, start_on_cores, versions_of,
    wide_request, world,
};

type Outcome = Result<(), ObjectError>;

/// What the bucket holds, as listings show it.
async fn listed(server: &Server) -> Usage {
    let query = versions_of(BUCKET, 100_000);
    let page = server.store().list_versions(query).await.expect("a listing");
    assert!(!page.truncated);
    let mut usage = Usage::NONE;
    for entry in page.entries {
        let VersionEntry::Version(version) = entry else { panic!("no delimiter was given") };
        if !version.is_delete_marker {
            usage += Usage::version(version.listed.size);
        }
    }
    for (key, id) in uploads(server).await {
        let parts = server.store().list_parts(BUCKET, &key, &id, 0, 1000).await.expect("parts");
        usage += Usage::parts(parts.parts.iter().map(|part| part.size).sum());
    }
    usage
}

async fn uploads(server: &Server) -> Vec<(String, String)> {
    let query = UploadQuery {
        bucket: BUCKET.into(),
        prefix: String::new(),
        delimiter: String::new(),
        key_marker: String::new(),
        upload_id_marker: String::new(),
        limit: 1000,
    };
    let page = server.store().list_uploads(query).await.expect("uploads");
    let upload = |entry| match entry {
        UploadEntry::Upload(info) => (info.key, info.upload_id),
        UploadEntry::Prefix(_) => panic!("no delimiter was given"),
    };
    page.entries.into_iter().map(upload).collect()
}

async fn check(server: &Server) {
    let bucket = server.store().settings(BUCKET).expect("the bucket");
    let expected = listed(server).await;
    assert_eq!(bucket.meter.read(), expected, "the meter");
    let sums = server.cores[0].usages().await.expect("usages");
    assert_eq!(sums.get(&bucket.value.id).copied().unwrap_or_default(), expected, "the shards");
}

async fn put(server: &Server, key: &str, size: usize) -> Outcome {
    server.put(key, body(key, size as u64, size)).await
}

async fn part(server: &Server, key: &str, id: &str, number: u16, size: usize) -> Outcome {
    let mut writer = server.store().upload_part(BUCKET, key, id, number, Some(size as u64)).await?;
    writer.write(body(key, 0, size)).await?;
    writer.commit_part(ETag::default(), None).await.map(drop)
}

/// One random thing that clients do.
async fn step(server: &Server, chance: &mut Chance) -> Outcome {
    let key = format!("key-{}", chance.below(12));
    let under_way = uploads(server).await;
    let size = chance.size();
    match chance.below(14) {
        0..5 => put(server, &key, size).await,
        5 => server.delete(&key).await,
        6 => {
            let state = if chance.below(2) == 0 { Versioning::Enabled } else { Versioning::Suspended };
            server.store().set_setting(BUCKET, Setting::Versioning(state)).await
        }
        7 => delete_some_version(server, &key).await,
        8 => server.store().create_upload(BUCKET, &key, NewUpload::default()).await.map(drop),
        _ if under_way.is_empty() => put(server, &key, 5).await,
        other => {
            let (key, id) = &under_way[chance.below(under_way.len() as u64) as usize];
            match other {
                9..12 => part(server, key, id, 1 + chance.below(4) as u16, size).await,
                12 => complete(server, key, id).await,
                _ => server.store().abort_upload(BUCKET, key, id).await,
            }
        }
    }
}

async fn delete_some_version(server: &Server, key: &str) -> Outcome {
    let query = VersionQuery { prefix: key.into(), ..versions_of(BUCKET, 3) };
    let page = server.store().list_versions(query).await?;
    let Some(VersionEntry::Version(version)) = page.entries.into_iter().next_back() else { return Ok(()) };
    let deletion = Deletion { version_id: Some(version.version_id), ..Deletion::default() };
    server.store().delete(BUCKET, &version.key, deletion).await.map(drop)
}

/// With its first part alone; the others go.
async fn complete(server: &Server, key: &str, id: &str) -> Outcome {
    let parts = server.store().list_parts(BUCKET, key, id, 0, 1000).await?.parts;
    let Some(first) = parts.first() else { return Ok(()) };
    let claim = PartClaim { number: first.number, etag: first.etag.quoted(), checksum: None };
    let complete = Complete { parts: vec![claim], ..Complete::default() };
    server.store().complete_upload(BUCKET, key, id, complete).await.map(drop)
}

#[test]
fn what_is_held_is_what_is_listed() {
    for seed in 1..=6u64 {
        run(async move {
            let (sim, request) = (world(seed, 4), request(4, 2));
            let mut server = fresh_on(&sim, &request).await;
            let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            for turn in 0..240 {
                step(&server, &mut chance).await.expect("nothing is in the way");
                if turn % 20 == 0 {
                    check(&server).await;
                }
                if turn % 80 == 79 {
                    server.stop().await;
                    server = start(&sim, &request).await.expect("the same pool");
                    check(&server).await;
                }
            }
            server.owned().await;
            server.stop().await;
        });
    }
}

#[test]
fn a_cut_at_any_write_leaves_figures_that_are_true() {
    for seed in 1..=40u64 {
        run(async move { cut(seed).await });
    }
}

async fn cut(seed: u64) {
    let (sim, request) = (world(seed, 4), request(4, 2));
    let mut server = fresh_on(&sim, &request).await;
    let mut chance = Chance(seed.wrapping_mul(0x1234_5678_9abc_def1) | 1);
    for _ in 0..3 {
        sim.crash_at_write(chance.below(400));
        loop {
            let stepped = tokio::time::timeout(std::time::Duration::from_secs(60), async {
                step(&server, &mut chance).await
            });
            if sim.is_cut() || !matches!(stepped.await, Ok(Ok(()))) {
                break;
            }
        }
        assert!(sim.is_cut(), "seed {seed}");
        sim.crash();
        drop(server);
        server = start(&sim, &request).await.expect("it starts after the cut");
        check(&server).await;
    }
    server.stop().await;
}

#[test]
fn a_bucket_that_is_gone_leaves_no_figures() {
    run(async {
        let (sim, request) = (world(3, 4), request(4, 2));
        let server = fresh_on(&sim, &request).await;
        put(&server, "a", 20_000).await.expect("a put");
        let upload =
            server.store().create_upload(BUCKET, "u", NewUpload::default()).await.expect("an upload");
        part(&server, "u", &upload.upload_id, 1, 300).await.expect("a part");
        server.stop().await;
        let server = start(&sim, &request).await.expect("the same pool");
        assert_eq!(server.cores[0].usages().await.expect("usages").len(), 1);
        server.delete("a").await.expect("a deletion");
        server.store().delete_bucket(BUCKET).await.expect("it is empty but for an upload");
        server.stop().await;
        let server = start(&sim, &request).await.expect("the same pool");
        assert_eq!(server.cores[0].usages().await.expect("usages"), BTreeMap::new());
        server.store().create_bucket(BUCKET, "r", "o").await.expect("the name is free");
        check(&server).await;
        server.owned().await;
        server.stop().await;
    });
}

async fn limit(server: &Server, max_bytes: Option<u64>, max_objects: Option<u64>) {
    let quota = Setting::Quota(Quota { max_bytes, max_objects });
    server.store().set_setting(BUCKET, quota).await.expect("a quota");
}

const FULL: Outcome = Err(ObjectError::QuotaExceeded);

#[test]
fn writes_at_once_fill_a_quota_to_the_byte_and_never_more() {
    run(async {
        let (sim, request) = (world(4, 4), request(4, 2));
        let server = Rc::new(fresh_on(&sim, &request).await);
        limit(&server, Some(100_000), None).await;
        let writes = (0..40).map(|n| {
            let server = server.clone();
            async move { put(&server, &format!("key-{n}"), 10_000).await }
        });
        let outcomes = basalt::base::join::join_all(writes).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10);
        assert!(outcomes.iter().all(|outcome| outcome.is_ok() || *outcome == FULL));
        check(&server).await;
        let (key, _) = server.keys().await[0].clone();
        // What goes away makes room, in the same record or in one before.
        assert_eq!(put(&server, &key, 10_000).await, Ok(()));
        assert_eq!(put(&server, &key, 10_001).await, FULL);
        assert_eq!(put(&server, "other", 1).await, FULL);
        assert_eq!(put(&server, "empty", 0).await, Ok(()));
        assert_eq!(server.delete(&key).await, Ok(()));
        assert_eq!(put(&server, "other", 10_000).await, Ok(()));
        check(&server).await;
    });
}

#[test]
fn parts_count_while_they_wait_and_once_when_they_are_an_object() {
    run(async {
        let (sim, request) = (world(5, 4), request(4, 2));
        let server = fresh_on(&sim, &request).await;
        limit(&server, Some(1_000_000), Some(1)).await;
        let begin = async || server.store().create_upload(BUCKET, "u", NewUpload::default()).await;
        let id = begin().await.expect("an upload").upload_id;
        assert_eq!(part(&server, "u", &id, 1, 600_000).await, Ok(()));
        assert_eq!(part(&server, "u", &id, 2, 600_000).await, FULL);
        assert_eq!(part(&server, "u", &id, 1, 900_000).await, Ok(()));
        assert_eq!(put(&server, "x", 100_001).await, FULL);
        assert_eq!(complete(&server, "u", &id).await, Ok(()));
        let other = begin().await.expect("an upload").upload_id;
        assert_eq!(part(&server, "u", &other, 1, 100_000).await, Ok(()));
        assert_eq!(put(&server, "x", 0).await, FULL, "there is an object");
        // A version in front of the others is one more.
        server.store().set_setting(BUCKET, Setting::Versioning(Versioning::Enabled)).await.expect("versions");
        assert_eq!(complete(&server, "u", &other).await, FULL);
        check(&server).await;
        assert_eq!(server.store().abort_upload(BUCKET, "u", &other).await, Ok(()));
        assert_eq!(server.delete("u").await, Ok(()), "a marker takes no room");
        server.store().remove_setting(BUCKET, Kind::Quota).await.expect("no quota");
        assert_eq!(put(&server, "x", 2_000_000).await, Ok(()));
        // A bound below what is there keeps nothing from going, nor from being made smaller.
        limit(&server, Some(10), None).await;
        assert_eq!(put(&server, "y", 1).await, FULL);
        check(&server).await;
        server.owned().await;
        server.stop().await;
    });
}

#[test]
fn parts_of_an_upload_and_versions_of_a_key_share_the_batches_of_the_log_and_each_counts_once() {
    run(async {
        let (sim, request) = (world(8, 4), request(4, 2));
        let server = fresh_on_cores(&sim, &request, 1).await;
        server.store().set_setting(BUCKET, Setting::Versioning(Versioning::Enabled)).await.expect("versions");
        let log = server.shards().next().expect("a shard").log.clone();
        let batches = || log.counters.snapshot().batches;
        let upload =
            server.store().create_upload(BUCKET, "u", NewUpload::default()).await.expect("an upload");
        let before = batches();
        // Each number twice: the later one takes the place of the other.
        let parts = (0..64).map(|n| part(&server, "u", &upload.upload_id, 1 + n / 2, 100 + usize::from(n)));
        assert!(join_all(parts).await.iter().all(Result::is_ok));
        check(&server).await;
        let taken = batches() - before;
        assert!(taken < 40, "{taken} batches for 64 parts at once");

        for turn in 0..64 {
            assert_eq!(put(&server, "k", 20_000 * (turn % 2) + turn).await, Ok(()));
        }
        let page = server.store().list_versions(versions_of(BUCKET, 1000)).await.expect("versions");
        let ids: Vec<String> = page.entries.into_iter().map(version_id).collect();
        let before = batches();
        // All of them at once, every one twice.
        let gone = ids.iter().chain(&ids).map(async |id| {
            let deletion = Deletion { version_id: Some(id.clone()), ..Deletion::default() };
            server.store().delete(BUCKET, "k", deletion).await.map(drop)
        });
        assert!(join_all(gone).await.iter().all(Result::is_ok));
        let taken = batches() - before;
        assert!(taken < 40, "{taken} batches for 64 versions at once");
        check(&server).await;
        let before = batches();
        assert_eq!(server.store().abort_upload(BUCKET, "u", &upload.upload_id).await, Ok(()));
        check(&server).await;
        server.owned().await;
        let taken = batches() - before;
        assert!(taken < 16, "{taken} batches to free 32 parts");
        server.stop().await;
    });
}

fn version_id(entry: VersionEntry) -> String {
    match entry {
        VersionEntry::Version(version) => version.version_id,
        VersionEntry::Prefix(_) => panic!("no delimiter was given"),
    }
}

#[test]
fn usages_are_whole_while_checkpoints_fold_them() {
    run(async {
        let (sim, request) = (world(6, 4), wide_request(4, 2));
        let mut server = fresh_on_cores(&sim, &request, 2).await;
        let names: Vec<String> = (0..60).map(|n| format!("bucket-{n:02}")).collect();
        for name in &names {
            server.store().create_bucket(name, "r", "o").await.expect("a bucket");
        }
        for round in 1..=6i64 {
            for name in &names {
                let mut writer =
                    server.store().put(name, &format!("k{round}"), Some(1)).await.expect("a writer");
                writer.write("x".into()).await.expect("a byte");
                writer.commit(Default::default()).await.expect("a commit");
            }
            let look = async || {
                for _ in 0..8 {
                    let sums = server.cores[0].usages().await.expect("usages");
                    let found: Vec<i64> = sums.values().map(|usage| usage.objects).collect();
                    assert_eq!(found, vec![round; names.len()], "round {round}");
                }
            };
            let fold = async {
                for shard in server.shards() {
                    shard.checkpoint().await.expect("a checkpoint");
                }
            };
            tokio::join!(look(), fold, look());
            // Blocks have to be read from the drives again, which takes time.
            server.stop().await;
            server = start_on_cores(&sim, &request, 2).await.expect("the same pool");
        }
        server.owned().await;
        server.stop().await;
    });
}

#[test]
fn bounds_that_are_set_at_once_all_come_to_be() {
    run(async {
        let (sim, request) = (world(7, 4), request(4, 2));
        let server = fresh_on_cores(&sim, &request, 3).await;
        for round in 1..30u64 {
            let bytes = Quota { max_bytes: Some(round), max_objects: None };
            let objects = Quota { max_bytes: None, max_objects: Some(round) };
            let (one, other) = (server.store().clone(), server.store().clone());
            let (done, too) = tokio::join!(one.limit(BUCKET, bytes), other.limit(BUCKET, objects));
            assert_eq!((done, too), (Ok(()), Ok(())));
            let quota = server.store().settings(BUCKET).expect("the bucket").settings.quota;
            assert_eq!(quota, Some(bytes.or(objects)), "round {round}");
        }
        server.stop().await;
        let server = start(&sim, &request).await.expect("the same pool");
        let quota = server.store().settings(BUCKET).expect("the bucket").settings.quota;
        assert_eq!(quota, Some(Quota { max_bytes: Some(29), max_objects: Some(29) }));
        server.owned().await;
        server.stop().await;
    });
}
