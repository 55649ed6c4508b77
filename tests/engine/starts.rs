//! Starts that the power cut off, and drives that were away then: what a drive has from before never wins over what
//! the others have since, and a start changes nothing that another one needs before it is through.
//!
//! What makes such starts differ is injected: a write that one drive alone loses, a power cut at each write of the
//! start, a drive that is away the next time. The measure is bodies, and that every page has one owner.

use basalt::base::ids::ShardId;
use basalt::base::join::join_all;
use basalt::base::limits::MANIFEST_BYTES;
use basalt::drive::superblock::COPIES;
use basalt::io::sim::{Fault, OpKind, SimWorld};
use basalt::pool::manifest::Manifest;
use bytes::Bytes;

use crate::harness::{
    Server, body, fresh_on_cores, paths, request, run, start, start_on_cores, until, world,
};

async fn put_some(server: &Server, name: &str, size: usize) -> Vec<(String, Bytes)> {
    let some = (0..40u64).map(|number| (format!("{name}/{number:02}"), body(name, number, size)));
    let some: Vec<(String, Bytes)> = some.collect();
    for (key, body) in &some {
        server.put(key, body.clone()).await.expect("a put");
    }
    some
}

async fn checkpoint(server: &Server) {
    let done = join_all(server.shards().map(|shard| shard.checkpoint())).await;
    done.into_iter().for_each(|done| done.expect("a checkpoint"));
}

async fn read(server: &Server, some: &[(String, Bytes)]) {
    for (key, body) in some {
        assert!(server.get(key).await.as_ref() == Ok(&Some(body.clone())), "{key}");
    }
}

/// The power fails while a manifest is on its way, and one drive alone has it. It misses the next start, which
/// writes another one with the same number.
#[test]
fn a_manifest_of_an_earlier_start_does_not_win_by_its_number() {
    run(async {
        let (sim, request) = (world(71, 2), request(2, 1));
        let server = fresh_on_cores(&sim, &request, 1).await;
        let first = put_some(&server, "first", 60_000).await;
        checkpoint(&server).await;
        let second = put_some(&server, "second", 60_000).await;
        // Reported done, so the checkpoint goes on; but nothing follows that would need it.
        for _ in server.shards() {
            sim.inject(paths(2)[1].join("basalt.meta"), OpKind::Write, 0, Fault::Lose);
        }
        checkpoint(&server).await;
        assert_eq!(sim.pending_faults(), 0, "the manifests are what was lost");
        sim.crash();
        drop(server);
        sim.kill(&paths(2)[0]);
        let server = start_on_cores(&sim, &request, 1).await.expect("a start with the other drive");
        read(&server, &second).await;
        let third = put_some(&server, "third", 60_000).await;
        sim.crash();
        drop(server);
        sim.revive(&paths(2)[0]);
        let server = start_on_cores(&sim, &request, 1).await.expect("a start with both");
        for some in [&first, &second, &third] {
            read(&server, some).await;
        }
        server.scrubbed().await;
        server.owned().await;
        server.stop().await;
    });
}

/// A start is cut off when some drives know of its epoch. The next one has the same number, and a drive that is
/// away then misses what is written.
#[test]
fn a_drive_that_missed_a_start_is_filled_again_whatever_epoch_it_has_seen() {
    for nth in 0..=COPIES as u64 {
        run(async move {
            let (sim, request) = (world(72 + nth, 2), request(2, 1));
            fresh_on_cores(&sim, &request, 1).await.stop().await;
            sim.crash_at_write(nth);
            assert!(start(&sim, &request).await.is_err(), "the power fails while it starts");
            sim.crash();
            sim.kill(&paths(2)[0]);
            let server = start(&sim, &request).await.expect("a start with the other drive");
            let some = put_some(&server, "some", 60_000).await;
            server.stop().await;
            sim.revive(&paths(2)[0]);
            let server = start(&sim, &request).await.expect("a start with both");
            assert!(server.shared.drives[0].condition().is_rebuilding(), "cut at write {nth}");
            server.scrubbed().await;
            server.owned().await;
            server.stop().await;
            sim.kill(&paths(2)[1]);
            let server = start(&sim, &request).await.expect("a start with the one that was away");
            read(&server, &some).await;
            server.stop().await;
        });
    }
}

/// A deletion that one mirror of the log has and nobody was told of. A start that finds it may be cut off, and the next
/// one may not find it: then the object is there, and whole.
#[test]
fn space_that_a_start_frees_is_used_when_it_is_through() {
    for nth in 0..60u64 {
        run(async move { delete_on_one_mirror(nth).await });
    }
}

async fn delete_on_one_mirror(nth: u64) {
    let (sim, request) = (world(90, 2), request(2, 1));
    let server = fresh_on_cores(&sim, &request, 1).await;
    let some = put_some(&server, "some", 60_000).await;
    checkpoint(&server).await;
    lose_next_batch(&sim);
    for (key, _) in &some {
        server.delete(key).await.expect("a drive that says it has the record");
        lose_next_batch(&sim);
    }
    sim.crash();
    drop(server);
    sim.crash_at_write(nth);
    let server = start_on_cores(&sim, &request, 1).await;
    let is_through = !sim.is_cut();
    assert!(is_through || server.is_err() || nth > 0);
    sim.crash();
    drop(server);
    sim.kill(&paths(2)[0]);
    let server = start_on_cores(&sim, &request, 1).await.expect("a start with the other drive");
    for (key, body) in &some {
        let found = server.get(key).await.unwrap_or_else(|error| panic!("cut at {nth}, {key}: {error}"));
        assert!(found.is_none_or(|found| found == *body), "cut at {nth}, {key}");
    }
    server.stop().await;
}

fn lose_next_batch(sim: &SimWorld) {
    if sim.pending_faults() == 0 {
        sim.inject(paths(2)[1].join("basalt.meta"), OpKind::Write, 0, Fault::Lose);
    }
}

/// The manifests of a shard that a drive holds, by slot.
fn manifests(sim: &SimWorld, server: &Server, shard: ShardId, drive: usize) -> [Option<Manifest>; 2] {
    let (file, pool) = (paths(2)[drive].join("basalt.meta"), server.shared.geometry.pool);
    [0, 1].map(|turn| {
        let slot = sim.peek(&file, Manifest::offset(shard, turn), MANIFEST_BYTES);
        Manifest::decode(&slot, pool, shard)
    })
}

/// A merge is done, and the power fails when one drive alone has the manifest that says so. Records wait in the log
/// that this manifest does not have in runs.
async fn merged_on_one_drive(sim: &SimWorld, server: &Server) -> (ShardId, Vec<(String, Bytes)>) {
    let file = paths(2)[1].join("basalt.meta");
    let mut all = Vec::new();
    for round in 0.. {
        all.extend(put_some(server, &format!("merged/{round}"), 1_000).await);
        for shard in server.shards() {
            shard.checkpoint().await.expect("a checkpoint");
            if shard.index.needs_merge() && round > 6 {
                sim.inject(&file, OpKind::Write, 0, Fault::Lose);
                until("the merge", || !shard.index.needs_merge()).await;
                assert_eq!(sim.pending_faults(), 0, "the manifest is what was lost");
                // Whenever they came: the log does not tell.
                all.extend(put_some(server, "late", 1_000).await);
                return (shard.id, all);
            }
        }
    }
    unreachable!("there is a merge some time")
}

/// A start that finds a manifest on one drive makes nothing that the others need another's before they have it, too:
/// nor runs that only the manifest before names, nor that manifest itself.
#[test]
fn a_manifest_that_one_drive_alone_has_is_on_all_before_anything_follows_from_it() {
    for cut in (10..70).step_by(4).map(Some).chain([None]) {
        run(async move {
            let (sim, request) = (world(76, 2), request(2, 1));
            let server = fresh_on_cores(&sim, &request, 1).await;
            let (shard, all) = merged_on_one_drive(&sim, &server).await;
            sim.crash();
            let newest = |drive| {
                let found = manifests(&sim, &server, shard, drive).into_iter().flatten();
                found.max_by_key(|manifest| manifest.generation).expect("a manifest")
            };
            let found = newest(0);
            assert_eq!(newest(1).generation + 1, found.generation);
            cut.into_iter().for_each(|cut| sim.crash_at_write(cut));
            let next = start_on_cores(&sim, &request, 1).await;
            assert!(next.is_ok() || sim.is_cut());
            drop(next);
            sim.crash();
            let has =
                |wanted: &Manifest| manifests(&sim, &server, shard, 1).iter().flatten().any(|m| m == wanted);
            // The first of the next epoch names the same runs.
            let follows = |m: &Manifest| m.epoch > found.epoch && m.levels == found.levels;
            let has_next = manifests(&sim, &server, shard, 1).iter().flatten().any(follows);
            assert!(has(&found) || has_next || newest(1).generation < found.generation, "cut at {cut:?}");
            sim.kill(&paths(2)[0]);
            let server = start_on_cores(&sim, &request, 1).await.expect("a start with the other drive");
            read(&server, &all).await;
            server.owned().await;
            server.stop().await;
        });
    }
}

/// The power fails when one drive alone has the newest manifests, and again under a start without that drive. What such
/// a start writes may stand where those manifests have runs, so they count no more when the drive is back.
#[test]
fn a_manifest_that_a_start_did_without_does_not_win_over_what_that_start_wrote() {
    for cut in (0..120).step_by(3) {
        run(async move {
            let (sim, request) = (world(300 + cut, 3), request(3, 1));
            let server = fresh_on_cores(&sim, &request, 1).await;
            let mut all = put_some(&server, "first", 60_000).await;
            checkpoint(&server).await;
            all.extend(put_some(&server, "second", 60_000).await);
            for shard in server.shards() {
                for drive in [1, 2] {
                    sim.inject(paths(3)[drive].join("basalt.meta"), OpKind::Write, 0, Fault::Lose);
                }
                shard.checkpoint().await.expect("a checkpoint, as far as it can see");
                assert_eq!(sim.pending_faults(), 0, "the manifest is what was lost");
            }
            // So that the runs of the next start are others.
            all.extend(put_some(&server, "third", 1_000).await);
            sim.crash();
            drop(server);
            sim.kill(&paths(3)[0]);
            sim.crash_at_write(cut);
            let server = start_on_cores(&sim, &request, 1).await;
            assert!(server.is_ok() || sim.is_cut());
            sim.crash();
            drop(server);
            sim.revive(&paths(3)[0]);
            let server = start_on_cores(&sim, &request, 1).await;
            let server = server.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            read(&server, &all).await;
            server.scrubbed().await;
            server.owned().await;
            server.stop().await;
        });
    }
}

/// The others take what it did not, and nobody has to try again.
#[test]
fn a_drive_that_fails_under_a_start_is_latched_and_the_start_goes_on() {
    let kinds = [
        ("basalt.data", OpKind::Write, 12),
        ("basalt.data", OpKind::Sync, 8),
        ("basalt.meta", OpKind::Write, 24),
        ("basalt.meta", OpKind::Read, 24),
    ];
    for (file, kind, count) in kinds {
        for nth in 0..count {
            run(async move {
                let (sim, request) = (world(77, 3), request(3, 1));
                let server = fresh_on_cores(&sim, &request, 1).await;
                let all = put_some(&server, "k", 3_000).await;
                sim.crash();
                drop(server);
                sim.inject(paths(3)[1].join(file), kind, nth, Fault::Fail(5));
                let server = start_on_cores(&sim, &request, 2).await.expect("one of three may fail");
                read(&server, &all).await;
                server.put("after", body("after", 1, 100_000)).await.expect("a put");
                server.owned().await;
                server.stop().await;
            });
        }
    }
}

/// The power fails under a batch that one mirror alone has by then. The next start takes it for good, and with that
/// what it replaced is gone: so it must survive what any batch survives.
#[test]
fn a_batch_that_one_mirror_alone_has_is_on_all_when_the_next_start_is_through() {
    for late in [0, 1] {
        run(async move {
            let (sim, request) = (world(78, 2), request(2, 1));
            let server = fresh_on_cores(&sim, &request, 1).await;
            server.put("k", body("k", 1, 9_000)).await.expect("a put");
            // It is on its way to both mirrors, and reaches one.
            sim.inject(paths(2)[late].join("basalt.meta"), OpKind::Write, 0, Fault::Lose);
            server.put("k", body("k", 2, 9_000)).await.expect("a put");
            assert_eq!(sim.pending_faults(), 0);
            sim.crash();
            drop(server);
            let server = start_on_cores(&sim, &request, 1).await.expect("a start with both");
            read(&server, &[("k".to_owned(), body("k", 2, 9_000))]).await;
            sim.crash();
            drop(server);
            sim.kill(&paths(2)[1 - late]);
            let server = start_on_cores(&sim, &request, 1).await.expect("a start with the other drive");
            read(&server, &[("k".to_owned(), body("k", 2, 9_000))]).await;
            server.owned().await;
            server.stop().await;
        });
    }
}
