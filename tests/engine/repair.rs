//! Damage that is repaired: what readers and scrubs find is written back, and what lacked width gets it.
//!
//! The measure is always the same: afterwards any m drives may be lost, and everything reads, the catalog
//! included. It is applied by starting without each pair of drives in turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use basalt::base::limits::PAGE;
use basalt::io::sim::{Fault, OpKind, SimWorld};
use basalt::object::error::ObjectError;
use basalt::object::repair::holdings::Holding;
use basalt::pool::format::Request;
use basalt::pool::segments::Slot;
use bytes::Bytes;

use crate::harness::{
    Chance, Server, body, fresh_on, fresh_pool, paths, request, run, start, start_on_cores, until, world,
};
use crate::siege::cramp;

pub type Model = BTreeMap<String, Bytes>;

/// Segments begin here.
const SEGMENTS: u64 = 16 << 20;
const SEGMENT: u64 = 8 << 20;

/// Some objects of every size; what is to be read back.
pub async fn fill(server: &Server, chance: &mut Chance, model: &mut Model, count: u64) {
    for version in 0..count {
        let key = format!("k/{:02}", chance.below(30));
        let body = body(&key, version ^ chance.0, chance.size());
        server.put(&key, body.clone()).await.expect("a put");
        model.insert(key, body);
    }
}

/// Every extent that a value names.
pub async fn holdings(server: &Server) -> Vec<Holding> {
    let peers = &server.core().peers;
    let mut all = Vec::new();
    for shard in server.shards() {
        let page = shard.clone().holdings(Vec::new()).await.expect("keys");
        assert!(page.next.is_none());
        for key in page.keys {
            all.extend(shard.clone().hold(key, peers.clone()).await.expect("a value"));
        }
    }
    all
}

/// Each pair of drives is away for one start, and everything reads all the same.
pub async fn any_pair_may_be_lost(sim: &SimWorld, request: &Request, model: &Model) {
    let drives = &request.paths;
    for (n, first) in drives.iter().enumerate() {
        for second in &drives[n + 1..] {
            sim.kill(first);
            sim.kill(second);
            let server = start(sim, request).await.expect("it starts without two drives");
            server.check(model).await;
            server.stop().await;
            sim.revive(first);
            sim.revive(second);
            let server = start(sim, request).await.expect("it starts with all drives");
            server.scrubbed().await;
            server.stop().await;
        }
    }
}

/// Flips a bit every so many bytes in everything a drive holds, but for headers of segments.
fn damage(sim: &SimWorld, drive: &Path, chance: &mut Chance) -> u64 {
    let file = drive.join("basalt.data");
    let mut flipped = 0;
    for segment in 0..80 {
        let begin = SEGMENTS + segment * SEGMENT;
        let mut at = begin + PAGE as u64 + chance.below(300_000);
        while at < begin + SEGMENT {
            if sim.peek(&file, at, 1)[0] != 0 {
                sim.flip(&file, at, 1 << chance.below(8));
                flipped += 1;
            }
            at += 1 + chance.below(200_000);
        }
    }
    flipped
}

#[test]
fn a_block_that_a_reader_finds_damaged_is_written_back() {
    run(async {
        let sim = world(31, 4);
        let server = fresh_on(&sim, &request(4, 2)).await;
        let content = body("k", 1, 700_000);
        server.put("k", content.clone()).await.expect("a put");
        let extent = holdings(&server).await.remove(0).extent;
        let at = extent.block_address(1, 0).expect("all chunks are written");
        let file = paths(4)[usize::from(at.drive.0)].join("basalt.data");
        let before = sim.peek(&file, at.offset, 65_536);
        sim.flip(&file, at.offset + 5_000, 4);
        assert_eq!(server.get("k").await, Ok(Some(content.clone())));
        until("the repair", || server.shared.board.metrics().blocks_repaired == 1).await;
        assert!(sim.peek(&file, at.offset, 65_536) == before);
        assert_eq!(server.get("k").await, Ok(Some(content)));
        assert_eq!(server.shared.board.metrics().blocks_damaged, 1);
        server.stop().await;
    });
}

#[test]
fn after_a_scrub_any_two_drives_may_be_lost() {
    for seed in 1..=3u64 {
        run(async move {
            let sim = world(seed, 4);
            let request = request(4, 2);
            let server = fresh_on(&sim, &request).await;
            let (mut model, mut chance) = (Model::new(), Chance(seed * 104_729));
            fill(&server, &mut chance, &mut model, 60).await;
            server.stop().await;
            let flipped = damage(&sim, &paths(4)[seed as usize % 4], &mut chance)
                + damage(&sim, &paths(4)[(seed as usize + 1) % 4], &mut chance);
            assert!(flipped > 20, "{flipped}");
            let server = start(&sim, &request).await.expect("two drives may lie");
            server.scrub().await;
            let figures = server.shared.board.metrics();
            assert!(figures.blocks_repaired > 0, "{figures:?}");
            assert_eq!(figures.blocks_unrepairable, 0, "{figures:?}");
            server.scrub().await;
            let again = server.shared.board.metrics();
            assert_eq!(again.blocks_damaged, figures.blocks_damaged, "the second pass finds nothing");
            server.stop().await;
            any_pair_may_be_lost(&sim, &request, &model).await;
        });
    }
}

/// Small objects of a store where nothing is written stand for long in a log segment that is not full.
#[test]
fn a_scrub_reads_the_log_segment_that_is_being_written_too() {
    run(async {
        let sim = world(36, 4);
        let request = request(4, 2);
        let server = fresh_on(&sim, &request).await;
        let mut model = Model::new();
        for number in 0..20 {
            let key = format!("small/{number}");
            let body = body(&key, number, 900);
            server.put(&key, body.clone()).await.expect("a put");
            model.insert(key, body);
        }
        for running in &server.cores {
            let log = &running.log;
            let ids = log.segments.ids();
            assert!(ids.len() <= 1, "nothing has filled a segment yet");
            for mirror in ids.iter().flat_map(|id| log.mirrors(*id)).flat_map(|all| all[1..].to_vec()) {
                let file = paths(4)[usize::from(mirror.drive.0)].join("basalt.meta");
                let begin = SEGMENTS + u64::from(mirror.segment) * SEGMENT;
                sim.flip(&file, begin + PAGE as u64 + 200, 1);
            }
        }
        server.scrub().await;
        server.stop().await;
        any_pair_may_be_lost(&sim, &request, &model).await;
    });
}

#[test]
fn what_was_written_while_drives_were_out_gets_its_full_width() {
    run(async {
        let sim = world(33, 5);
        let request = request(5, 2);
        let server = fresh_on(&sim, &request).await;
        let (mut model, mut chance) = (Model::new(), Chance(8_191));
        fill(&server, &mut chance, &mut model, 20).await;
        server.stop().await;
        paths(5)[..2].iter().for_each(|path| sim.kill(path));
        let server = start(&sim, &request).await.expect("it starts without two drives");
        fill(&server, &mut chance, &mut model, 60).await;
        let narrow = holdings(&server).await.iter().filter(|h| h.extent.stripes[0].good() < 5).count();
        assert!(narrow > 0, "something was written with holes");
        server.stop().await;
        paths(5)[..2].iter().for_each(|path| sim.revive(path));
        let server = start(&sim, &request).await.expect("all are back");
        server.scrubbed().await;
        assert!(server.shared.board.metrics().extents_relocated as usize >= narrow);
        // A pack that was emptied goes with the next checkpoint, whenever that is due.
        for shard in server.shards() {
            shard.checkpoint().await.expect("a checkpoint");
        }
        for holding in holdings(&server).await {
            assert!(holding.extent.stripes.iter().all(|stripe| stripe.good() == 5), "{:?}", holding.key);
        }
        for shard in server.shards() {
            assert!(shard.index.runs().iter().all(|run| !run.is_narrow()));
        }
        server.check(&model).await;
        server.stop().await;
        any_pair_may_be_lost(&sim, &request, &model).await;
    });
}

#[test]
fn a_power_cut_in_the_middle_of_repairs_loses_nothing() {
    for seed in 1..=3u64 {
        run(async move {
            let sim = world(seed, 4);
            let request = request(4, 2);
            let server = fresh_on(&sim, &request).await;
            let (mut model, mut chance) = (Model::new(), Chance(seed * 7));
            fill(&server, &mut chance, &mut model, 30).await;
            server.stop().await;
            sim.kill(&paths(4)[0]);
            let server = start(&sim, &request).await.expect("it starts without a drive");
            fill(&server, &mut chance, &mut model, 30).await;
            server.stop().await;
            sim.revive(&paths(4)[0]);
            damage(&sim, &paths(4)[1], &mut chance);
            for _ in 0..3 {
                sim.crash_at_write(chance.below(150));
                if let Ok(server) = start(&sim, &request).await {
                    server.shared.board.demand();
                    until("the power cut, or the end", || {
                        let board = &server.shared.board;
                        sim.is_cut() || !(board.is_demanded() || board.is_running())
                    })
                    .await;
                }
                sim.crash();
            }
            let server = start(&sim, &request).await.expect("it starts after the cuts");
            server.scrubbed().await;
            server.check(&model).await;
            server.stop().await;
            any_pair_may_be_lost(&sim, &request, &model).await;
        });
    }
}

#[test]
fn objects_deleted_and_overwritten_under_a_scrub_stay_so() {
    run(async {
        let sim = world(35, 4);
        let server = fresh_on(&sim, &request(4, 2)).await;
        let (mut model, mut chance) = (Model::new(), Chance(4_099));
        sim.inject(paths(4)[1].join("basalt.data"), OpKind::Write, 3, Fault::Fail(5));
        fill(&server, &mut chance, &mut model, 40).await;
        basalt::upkeep::readmit::readmit(server.core(), basalt::base::ids::DriveId(1))
            .await
            .expect("it writes again");
        for version in 0..120 {
            let key = format!("k/{:02}", chance.below(30));
            if chance.below(3) == 0 {
                server.delete(&key).await.expect("a delete");
                model.remove(&key);
            } else {
                let body = body(&key, 1_000 + version, chance.size());
                server.put(&key, body.clone()).await.expect("a put");
                model.insert(key, body);
            }
        }
        server.scrubbed().await;
        server.check(&model).await;
        for key in model.keys() {
            server.delete(key).await.expect("a delete");
        }
        server.check(&Model::new()).await;
        let held = |drive| -> u64 { server.shards().map(|shard| shard.space.committed_bytes(drive)).sum() };
        // Objects that left packs are counted out of them by a checkpoint.
        for shard in server.shards() {
            shard.checkpoint().await.expect("a checkpoint");
        }
        assert_eq!(server.core().pool.drives.iter().map(|drive| held(drive.id())).sum::<u64>(), 0);
        server.stop().await;
    });
}

#[test]
fn damaged_segment_headers_harm_nothing_and_are_written_again() {
    run(async {
        let sim = world(36, 4);
        let request = request(4, 2);
        let server = fresh_on(&sim, &request).await;
        let (mut model, mut chance) = (Model::new(), Chance(2_053));
        fill(&server, &mut chance, &mut model, 60).await;
        server.stop().await;
        let files = [1, 2].map(|n: usize| paths(4)[n].join("basalt.data"));
        let places = files.iter().flat_map(|file| (0..80).map(move |n| (file, SEGMENTS + n * SEGMENT)));
        let headers: Vec<_> = places.filter(|(file, at)| sim.peek(file, *at, 4) == b"BSEG").collect();
        assert!(headers.len() >= 3, "{headers:?}");
        for (n, (file, at)) in headers.iter().enumerate() {
            match n % 3 {
                0 => sim.flip(file, at + 20, 1),
                1 => sim.poke(file, *at, &[0; PAGE]),
                _ => sim.latent_error(file, *at..*at + 512),
            }
        }
        let server = start(&sim, &request).await.expect("headers may be damaged");
        server.check(&model).await;
        server.scrub().await;
        // What no record names is free, and has lost its header for good.
        let is_owned = |(file, at): &&(&PathBuf, u64)| {
            let drive = files.iter().position(|other| other == *file).expect("one of the two") + 1;
            let slot = server.shared.tables[drive].slot(((at - SEGMENTS) / SEGMENT) as u32);
            matches!(slot, Some(Slot::Data(_)))
        };
        let owned: Vec<_> = headers.iter().filter(is_owned).collect();
        assert!(owned.len() >= 3, "{owned:?} of {headers:?}");
        assert!(owned.iter().all(|(file, at)| sim.peek(file, *at, 4) == b"BSEG"));
        fill(&server, &mut chance, &mut model, 30).await;
        server.check(&model).await;
        server.stop().await;
        any_pair_may_be_lost(&sim, &request, &model).await;
        let server = start(&sim, &request).await.expect("all are there");
        for key in model.keys() {
            server.delete(key).await.expect("a delete");
        }
        server.check(&Model::new()).await;
        server.stop().await;
    });
}

/// Where there is no room to write anew what a drive missed, it goes on to count as one that lacks it.
#[test]
fn a_drive_that_came_back_counts_as_lacking_until_there_is_room_for_what_it_missed() {
    run(async {
        let sim = world(39, 4);
        let request = request(4, 2);
        fresh_on(&sim, &request).await.stop().await;
        sim.kill(&paths(4)[1]);
        let server = start(&sim, &request).await.expect("it starts without one");
        cramp(&server, 20);
        let mut model = Model::new();
        let refusal = loop {
            let number = model.len() as u64;
            let (key, body) = (format!("fill/{number:03}"), body("fill", number, 1 << 20));
            match server.put(&key, body.clone()).await {
                Ok(()) => drop(model.insert(key, body)),
                Err(error) => break error,
            }
        };
        assert_eq!(refusal, ObjectError::StorageFull);
        server.stop().await;
        sim.revive(&paths(4)[1]);
        let server = start(&sim, &request).await.expect("it starts with all drives");
        cramp(&server, 20);
        let (board, drive) = (&server.shared.board, &server.shared.drives[1]);
        until("a scrub", || board.passes() > 0 && !board.is_running()).await;
        assert!(drive.condition().is_rebuilding(), "what was written without it has no chunk there");
        assert!(
            board.passes() < 3,
            "what is in the way is not tried again at once, {} times",
            board.passes()
        );
        let keys: Vec<String> = model.keys().cloned().collect();
        for key in keys.iter().step_by(2) {
            server.delete(key).await.expect("a delete");
            model.remove(key);
        }
        server.scrubbed().await;
        let chunks = |held: &Holding| held.extent.stripes.iter().all(|stripe| stripe.good() == 4);
        assert!(holdings(&server).await.iter().all(chunks), "all have a chunk on each drive");
        server.check(&model).await;
        server.stop().await;
    });
}

/// Where the drive was full, its replacement has shards that own its last segments, of which no header tells. The log
/// and the runs of a shard that is ready earlier must not be put there.
#[test]
fn a_full_drive_is_replaced_and_every_segment_has_one_owner() {
    run(async {
        let (sim, server) = fresh_pool(1).await;
        let mut model = Model::new();
        for number in 0..10_000 {
            let (key, size) = (format!("full/{number:04}"), [2_200_000, 300, 700_000][number as usize % 3]);
            let body = body(&key, number, size);
            match server.put(&key, body.clone()).await {
                Ok(()) => drop(model.insert(key, body)),
                Err(ObjectError::StorageFull) => break,
                Err(error) => panic!("{key}: {error}"),
            }
        }
        server.stop().await;
        sim.wipe(&paths(4)[1]);
        let adopting = Request { adopt: true, ..request(4, 2) };
        let server = start_on_cores(&sim, &adopting, 3).await.expect("it starts with the new drive");
        for number in (0..200).step_by(2) {
            let key = format!("full/{number:04}");
            if model.remove(&key).is_some() {
                server.delete(&key).await.expect("a delete");
            }
        }
        server.check(&model).await;
        server.owned().await;
        server.stop().await;
    });
}
