//! Full drives, and space that is given back.
//!
//! A full store still reads and deletes, and what was deleted can be written again, round after
//! round; small objects that were packed give their pack back with the last of them.

use std::collections::BTreeMap;
use std::time::Duration;

use basalt::base::ids::ShardId;
use basalt::base::join::join_all;
use basalt::base::limits::SYSTEM_SEGMENTS;
use basalt::base::metrics::JobKind;
use basalt::catalog::key;
use basalt::catalog::value::{PackValue, Storage, Version};
use basalt::io::sim::{Fault, OpKind, SimWorld};
use basalt::object::error::ObjectError;
use basalt::object::open::Running;
use basalt::object::packing::compact;
use basalt::pool::format::Request;

use bytes::Bytes;

use crate::harness::{
    Chance, Server, body, fresh_on, fresh_on_cores, paths, request, run, start, start_on_cores, world,
};
use crate::siege::cramp;

const SIZE: usize = 8 << 20;

/// The packs that the catalog names.
async fn packs(server: &Server) -> Vec<PackValue> {
    let mut packs = Vec::new();
    for shard in server.shards() {
        let (start, end) = key::packs();
        let mut scan = shard.index.scan(start, end);
        while let Some((_, value)) = scan.next().await.expect("a scan") {
            packs.push(PackValue::decode(&value).expect("a pack"));
        }
    }
    packs
}

/// Waits in simulated time, ten minutes of it, until upkeep has made something true.
async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..600 {
        if holds().await {
            return;
        }
        clock.tick().await;
    }
    panic!("never: {what}");
}

/// Writes until the drives are full; how many objects that were.
async fn fill(server: &Server, round: u64) -> u64 {
    for number in 0..1000 {
        match server.put(&format!("fill/{number}"), body("fill", round * 1000 + number, SIZE)).await {
            Ok(()) => {}
            Err(ObjectError::StorageFull) => return number,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the drives never filled up");
}

#[test]
fn a_full_store_reads_and_deletes_and_takes_as_much_again() {
    run(async {
        let sim = world(21, 3);
        let server = fresh_on(&sim, &request(3, 1)).await;
        let mut counts = Vec::new();
        for round in 0..3 {
            let count = fill(&server, round).await;
            counts.push(count);
            for number in 0..count {
                let expected = body("fill", round * 1000 + number, SIZE);
                assert!(server.get(&format!("fill/{number}")).await == Ok(Some(expected)));
                server.delete(&format!("fill/{number}")).await.expect("a delete on full drives");
            }
        }
        assert!(counts[0] > 40, "most of the capacity is for objects: {counts:?}");
        assert!(counts.iter().all(|count| *count * 10 >= counts[0] * 9), "space comes back: {counts:?}");
        server.check(&BTreeMap::new()).await;
        server.stop().await;
    });
}

#[test]
fn small_objects_survive_being_packed_and_their_space_comes_back() {
    run(async {
        let sim = world(22, 4);
        let server = fresh_on(&sim, &request(4, 2)).await;
        let mut model = BTreeMap::new();
        // Several times what the log may hold, so that its segments are retired and used again.
        for version in 0..12_000u64 {
            let key = format!("small/{:04}", version * 31 % 9_000);
            let body = body(&key, version, 16_000);
            server.put(&key, body.clone()).await.expect("a put");
            model.insert(key, body);
        }
        assert!(!packs(&server).await.is_empty(), "retired segments leave packs");
        let owners = server.cores.iter().map(|running| running.core.shards.iter().flatten().count() > 0);
        for (background, _) in server.background.iter().zip(owners).filter(|(_, owns)| *owns) {
            let jobs = background.core.duty.metrics();
            let kinds: Vec<JobKind> = jobs.iter().filter(|job| job.bytes > 0).map(|job| job.kind).collect();
            assert_eq!(
                kinds,
                [JobKind::Flush, JobKind::Merge, JobKind::Pack],
                "all of it happens on the background cores"
            );
        }
        server.check(&model).await;
        server.stop().await;
        let server = start(&sim, &request(4, 2)).await.expect("the same pool");
        server.check(&model).await;
        for key in model.keys() {
            server.delete(key).await.expect("a delete");
        }
        server.check(&BTreeMap::new()).await;
        until("a pack goes with its last object", || async { packs(&server).await.is_empty() }).await;
        server.stop().await;
    });
}

/// Writes small objects from number `first` on until the drives are full; the first that was refused.
async fn fill_small(server: &Server, model: &mut BTreeMap<String, Bytes>, first: u64) -> u64 {
    for number in first..first + 200_000 {
        let key = small_key(number);
        let body = body(&key, number, SMALL);
        match server.put(&key, body.clone()).await {
            Ok(()) => drop(model.insert(key, body)),
            Err(ObjectError::StorageFull) => return number,
            Err(error) => panic!("{key}: {error}"),
        }
    }
    panic!("the drives never filled up");
}

const SMALL: usize = 15_000;

#[test]
fn small_objects_deleted_at_random_give_their_space_back_on_full_drives() {
    run(async {
        let sim = world(23, 1);
        let server = fresh_on(&sim, &request(1, 0)).await;
        let (mut model, mut chance) = (BTreeMap::new(), Chance(4711));
        let count = fill_small(&server, &mut model, 0).await;
        let keys: Vec<String> = model.keys().cloned().collect();
        for key in keys {
            if chance.below(4) > 0 {
                server.delete(&key).await.expect("a delete on full drives");
                model.remove(&key);
            }
        }
        let half_alive = || async { packs(&server).await.iter().all(|pack| !pack.is_sparse()) };
        until("every pack is at least half alive", half_alive).await;
        let found = packs(&server).await;
        let bodies: u64 = found.iter().map(|pack| u64::from(pack.bodies)).sum();
        let alive: u64 = model.values().map(|body| body.len() as u64).sum();
        assert!(bodies <= 2 * alive, "{bodies} bytes of packs for {alive}");
        server.check(&model).await;
        let deleted = count - model.len() as u64;
        let again = fill_small(&server, &mut model, count).await - count;
        assert!(again * 10 >= deleted * 9, "{again} new objects in the room of {deleted} of {count}");
        server.check(&model).await;
        server.stop().await;
        let server = start(&sim, &request(1, 0)).await.expect("the same pool");
        server.check(&model).await;
        server.stop().await;
    });
}

/// What packs say of themselves and what versions say of packs is the same: objects and bytes by pack. Upkeep may be
/// moving objects at any moment, so it is waited for; a count that is wrong stays so.
async fn packs_are_counted_right(server: &Server) {
    until("every pack is counted right", || counts_agree(server)).await;
}

async fn counts_agree(server: &Server) -> bool {
    let (mut told, mut found) = (BTreeMap::new(), BTreeMap::<u64, (u32, u32)>::new());
    for shard in server.shards() {
        // Objects that left packs are counted out of them by a checkpoint.
        shard.checkpoint().await.expect("a checkpoint");
        let mut scan = shard.index.scan(Vec::new(), vec![0xff]);
        while let Some((at, value)) = scan.next().await.expect("a scan") {
            if let Some(pack) = key::parse_pack(&at) {
                let value = PackValue::decode(&value).expect("a pack");
                told.insert(pack, (value.live, value.live_bytes));
            }
            if !key::is_version(&at) {
                continue;
            }
            let version = Version::decode(&value).expect("a version");
            if let Storage::Packed { pack, .. } = version.storage {
                let (objects, bytes) = found.entry(pack).or_default();
                (*objects, *bytes) = (*objects + 1, *bytes + version.meta.size as u32);
            }
        }
    }
    told == found
}

/// A checkpoint may name a pack as sparse while its objects are on their way out of it. Two compactions of one
/// shard then gather the same objects; counted twice, they would free a pack that is not empty.
#[test]
fn a_pack_that_is_named_sparse_twice_is_emptied_once() {
    run(async {
        let sim = world(25, 3);
        let server = fresh_on_cores(&sim, &request(3, 1), 2).await;
        let mut model = BTreeMap::new();
        for version in 0..9_000u64 {
            let key = format!("small/{version:04}");
            let body = body(&key, version, 16_000);
            server.put(&key, body.clone()).await.expect("a put");
            model.insert(key, body);
        }
        assert!(packs(&server).await.len() > 10, "retired segments leave packs");
        for version in (0..9_000u64).step_by(2) {
            let key = format!("small/{version:04}");
            server.delete(&key).await.expect("a delete");
            model.remove(&key);
        }
        let name_all = async || {
            for shard in server.shards() {
                let (start, end) = key::packs();
                let mut scan = shard.index.scan(start, end);
                while let Some((at, _)) = scan.next().await.expect("a scan") {
                    shard.packs.empty_next(key::parse_pack(&at).expect("a pack"));
                }
            }
        };
        let compact = async |core: &Running| {
            for turn in 0..12u16 {
                let emptied = compact::compact(&core.core, ShardId(turn % 2)).await.expect("room for them");
                assert!(emptied > 0);
            }
        };
        let naming = async {
            let mut clock = tokio::time::interval(Duration::from_millis(3));
            for _ in 0..200 {
                name_all().await;
                clock.tick().await;
            }
        };
        name_all().await;
        tokio::join!(compact(&server.cores[0]), compact(&server.cores[1]), naming);
        packs_are_counted_right(&server).await;
        server.check(&model).await;
        for key in model.keys() {
            server.delete(key).await.expect("a delete");
        }
        until("a pack goes with its last object", || async { packs(&server).await.is_empty() }).await;
        packs_are_counted_right(&server).await;
        server.stop().await;
    });
}

/// What a checkpoint finds empty it may give away only when it is durable: the log does not say when a pack went, so
/// a start that replays it would take the space from whoever got it since.
#[test]
fn space_of_emptied_packs_is_used_again_whenever_the_power_fails() {
    run(async {
        let sim = world(31, 1);
        let (mut model, mut chance) = (BTreeMap::new(), Chance(31));
        let mut server = fresh_on_cores(&sim, &request(1, 0), 1).await;
        fill_small(&server, &mut model, 0).await;
        for turn in 0..4 {
            fill_large(&server, &mut model, 2 * turn).await;
            // Neighbours in time are neighbours in packs, so most of their packs are empty then.
            let small = model.keys().filter(|key| key.starts_with("small")).count();
            let first = chance.below(small as u64 * 3 / 4) as usize + model.len() - small;
            let going: Vec<String> = model.keys().skip(first).take(small / 8).cloned().collect();
            for key in going {
                server.delete(&key).await.expect("a delete on full drives");
                model.remove(&key);
            }
            let data = paths(1)[0].join("basalt.data");
            sim.inject(data, OpKind::Write, 0, Fault::Stall(Duration::from_secs(3600)));
            let checkpoints = join_all(server.shards().map(|shard| shard.checkpoint()));
            let filled = async {
                until("a run is on its way to the drive", async || sim.pending_faults() == 0).await;
                fill_large(&server, &mut model, 2 * turn + 1).await
            };
            let in_doubt = tokio::select! {
                _ = checkpoints => panic!("a checkpoint waits for the drive"),
                key = filled => key,
            };
            sim.crash();
            drop(server);
            server = start_on_cores(&sim, &request(1, 0), 1).await.expect("the same pool");
            server.delete(&in_doubt).await.expect("a delete on full drives");
            server.owned().await;
            server.check(&model).await;
        }
        server.stop().await;
    });
}

/// Writes objects that go into stripes at once until the drives are full, or do not answer; the key of the object that
/// may or may not be there.
async fn fill_large(server: &Server, model: &mut BTreeMap<String, Bytes>, round: u64) -> String {
    for number in 0..100_000 {
        let key = format!("large/{round}/{number:06}");
        let body = body(&key, number, 60_000);
        match tokio::time::timeout(Duration::from_secs(20), server.put(&key, body.clone())).await {
            Ok(Ok(())) => drop(model.insert(key, body)),
            Ok(Err(ObjectError::StorageFull)) | Err(_) => return key,
            Ok(Err(error)) => panic!("{key}: {error}"),
        }
    }
    panic!("the drives never filled up");
}

/// Objects in no more segments than they may have, whatever else is free.
async fn reserve_is_kept(server: &Server) {
    for (drive, opened) in server.opened().await {
        // Those that are cramped have no owner and no use.
        let all = server.core().pool.table(drive).len().min(CRAMPED);
        let kept = all - opened.len();
        assert!(
            kept >= SYSTEM_SEGMENTS,
            "drive {drive}: objects stand in {} of {all} segments",
            opened.len()
        );
    }
}

const CRAMPED: usize = 36;

/// A name that makes the index large.
fn long_key(number: u64) -> String {
    format!("{number:06}{}", "long".repeat(200))
}

#[test]
fn objects_stay_out_of_the_segments_that_the_catalog_takes_of_the_reserve() {
    run(async {
        let sim = world(26, 3);
        let mut server = fresh_on_cores(&sim, &request(3, 1), 2).await;
        let (mut model, mut number) = (BTreeMap::new(), 0);
        for round in 0..4 {
            cramp(&server, CRAMPED);
            loop {
                let (key, body) = (long_key(number), body("long", number, 40_000));
                match server.put(&key, body.clone()).await {
                    Ok(()) => drop(model.insert(key, body)),
                    Err(ObjectError::StorageFull) => break,
                    Err(error) => panic!("{error}"),
                }
                number += 1;
            }
            // Leaves holes that are too small for the runs of the index, which go on.
            let some: Vec<String> = model.keys().skip(round).step_by(7).cloned().collect();
            for key in some {
                server.delete(&key).await.expect("a delete on full drives");
                model.remove(&key);
            }
            for shard in server.shards() {
                shard.checkpoint().await.expect("a checkpoint on full drives");
            }
            reserve_is_kept(&server).await;
            if round % 2 == 1 {
                server.stop().await;
                server = start_on_cores(&sim, &request(3, 1), 2).await.expect("the same pool");
            }
        }
        assert!(number > 1000, "there was room for {number} objects");
        server.check(&model).await;
        server.stop().await;
    });
}

fn small_key(number: u64) -> String {
    format!("small/{number:06}")
}

/// Segments of the first drive that have an owner.
fn used(server: &Server) -> usize {
    server.core().pool.tables[0].used()
}

/// Maps of free space that are in memory.
fn maps(server: &Server) -> usize {
    server.shards().map(|shard| shard.space.maps()).sum()
}

#[test]
fn a_store_full_of_holes_keeps_few_maps_in_memory_and_fills_the_holes() {
    run(async {
        let sim = world(24, 1);
        let server = fresh_on(&sim, &request(1, 0)).await;
        let mut model = BTreeMap::new();
        let put = async |server: &Server, model: &mut BTreeMap<String, Bytes>, number: u64| {
            let (key, body) = (format!("hole/{number:05}"), body("hole", number, 17 << 10));
            server.put(&key, body.clone()).await.expect("a put");
            model.insert(key, body);
        };
        for number in 0..12_000 {
            put(&server, &mut model, number).await;
        }
        for number in (0..12_000).step_by(2) {
            let key = format!("hole/{number:05}");
            server.delete(&key).await.expect("a delete");
            model.remove(&key);
        }
        for shard in server.shards() {
            shard.checkpoint().await.expect("a checkpoint");
        }
        // The harness gives memory for none: each shard keeps one, and one that its last run went to.
        assert!(maps(&server) <= 8, "{} maps of {} segments", maps(&server), used(&server));
        let before = used(&server);
        assert!(before > 24, "{before} segments are more than there are maps");
        for number in 20_000..25_000 {
            put(&server, &mut model, number).await;
        }
        assert!(used(&server) <= before + 4, "{} segments after {before}", used(&server));
        server.check(&model).await;
        server.stop().await;
        let server = start(&sim, &request(1, 0)).await.expect("the same pool");
        assert!(maps(&server) <= 8, "a start brings no map back but to write");
        server.check(&model).await;
        server.stop().await;
    });
}

/// What one shard has emptied is for all of them, though nothing else happens that would save its maps; and an object
/// that is large for its drives does not waste half of them.
#[test]
fn one_object_takes_the_room_that_many_had_on_full_drives() {
    run(async {
        let sim = world(31, 1);
        let server = fresh_on_cores(&sim, &request(1, 0), 2).await;
        let count = fill(&server, 0).await;
        for number in 0..count {
            server.delete(&format!("fill/{number}")).await.expect("a delete on full drives");
        }
        let whole = body("whole", 1, count as usize * SIZE / 4 * 3);
        let again = || async { server.put("whole", whole.clone()).await == Ok(()) };
        until("there is room for one large object", again).await;
        assert!(server.get("whole").await == Ok(Some(whole.clone())));
        server.stop().await;
    });
}

/// Objects of ever smaller sizes, and then of the log alone, until all of them are refused.
async fn fill_to_the_last_hole(server: &Server) -> BTreeMap<String, Bytes> {
    let mut model = BTreeMap::new();
    for size in [SIZE, 1 << 20, 200_000, 60_000, 20_000, 16_500, SMALL, 4_000] {
        let mut refused = 0;
        for number in 0..50_000 {
            let key = format!("hole/{size}/{number:05}");
            let body = body(&key, number, size);
            match server.put(&key, body.clone()).await {
                Ok(()) => drop(model.insert(key, body)),
                Err(ObjectError::StorageFull) => refused += 1,
                Err(error) => panic!("{key}: {error}"),
            }
            // A refusal may be of one shard.
            if refused == 20 {
                break;
            }
        }
        assert_eq!(refused, 20, "the drives never filled up");
    }
    model
}

/// Starts on drives with no room for another log segment go on in those that they find. The power fails at any write of
/// a start or of a few deletions, which free nothing; however often that happens, the next start deletes again.
#[test]
fn starts_on_full_drives_go_on_in_the_log_that_they_find() {
    for (seed, drives, parity, cores) in [(28, 1, 0, 1), (29, 1, 0, 2), (30, 3, 1, 2)] {
        run(cut_on_full_drives(seed, request(drives, parity), cores, 0));
    }
}

/// So they do while a drive is away that some of those segments have a mirror on.
#[test]
fn starts_on_full_drives_go_on_in_the_log_without_a_drive() {
    for (seed, drives, parity, cores) in [(32, 3, 1, 2), (33, 4, 2, 2)] {
        run(cut_on_full_drives(seed, request(drives, parity), cores, 1));
    }
}

/// So many drives are away from the second start on.
async fn cut_on_full_drives(seed: u64, request: Request, cores: usize, away: usize) {
    let (sim, mut chance) = (world(seed, request.paths.len()), Chance(seed));
    let server = fresh_on_cores(&sim, &request, cores).await;
    let mut model = fill_to_the_last_hole(&server).await;
    sim.crash();
    drop(server);
    request.paths[..away].iter().for_each(|path| sim.kill(path));
    let mut unclear = None::<(String, Bytes)>;
    for turn in 0..24 {
        sim.crash_at_write(chance.below(120));
        let started = start_on_cores(&sim, &request, cores).await;
        assert!(started.is_ok() || sim.is_cut(), "turn {turn}: {:?}", started.err());
        if let Ok(server) = started {
            unclear = settle(&sim, &server, &mut model, unclear).await;
            if unclear.is_none() {
                unclear = delete_until_the_cut(&sim, &server, &mut model, &mut chance).await;
            }
        }
        sim.crash();
    }
    let server = start_on_cores(&sim, &request, cores).await.expect("a start on full drives");
    assert_eq!(settle(&sim, &server, &mut model, unclear).await, None);
    server.check(&model).await;
    for key in model.keys() {
        server.delete(key).await.expect("a delete on full drives");
    }
    let again = || async { server.put("room", body("room", 1, SIZE)).await == Ok(()) };
    until("there is room after deleting", again).await;
    server.stop().await;
}

/// Whether a deletion that the cut befell was one, if the power lasts to tell.
async fn settle(
    sim: &SimWorld,
    server: &Server,
    model: &mut BTreeMap<String, Bytes>,
    unclear: Option<(String, Bytes)>,
) -> Option<(String, Bytes)> {
    let (key, body) = unclear?;
    match server.get(&key).await {
        Ok(None) => None,
        Ok(Some(found)) => {
            assert!(found == body, "{key} reads back wrong");
            model.insert(key, body);
            None
        }
        Err(error) => {
            assert!(sim.is_cut(), "{key}: {error}");
            Some((key, body))
        }
    }
}

/// Deletes objects of the log until the power is cut; gives the one of which nothing is known then.
async fn delete_until_the_cut(
    sim: &SimWorld,
    server: &Server,
    model: &mut BTreeMap<String, Bytes>,
    chance: &mut Chance,
) -> Option<(String, Bytes)> {
    let small = model.iter().filter(|(_, body)| body.len() <= SMALL);
    let mut keys: Vec<String> = small.map(|(key, _)| key.clone()).collect();
    loop {
        let key = keys.swap_remove(chance.below(keys.len() as u64) as usize);
        let body = model.remove(&key)?;
        if let Err(error) = server.delete(&key).await {
            assert!(sim.is_cut(), "{key}: {error}");
            return Some((key, body));
        }
    }
}
