//! The life of drives: a pool is made, drives are latched and come back, are lost and replaced, and are added.
//!
//! The power fails at any write on the way. What a cut leaves must be the old pool or the new one, and the same
//! command must finish the work; the measure of a replacement is that any m drives may be lost afterwards.

use basalt::base::ids::DriveId;
use basalt::base::metrics::DriveState;
use basalt::io::sim::{Fault, OpKind, SimWorld};
use basalt::pool::format::Request;
use basalt::upkeep::readmit::readmit;

use crate::harness::{
    BUCKET, CORES_MAX, Chance, Server, body, fresh_on, paths, request, run, start, start_on_cores, until,
    world,
};
use crate::repair::{Model, any_pair_may_be_lost, fill, holdings};

fn adopting(drives: usize, parity: u8) -> Request {
    Request { adopt: true, ..request(drives, parity) }
}

async fn filled(sim: &SimWorld, request: &Request, chance: &mut Chance) -> (Server, Model) {
    let server = fresh_on(sim, request).await;
    let mut model = Model::new();
    fill(&server, chance, &mut model, 40).await;
    (server, model)
}

#[test]
fn a_formatting_that_was_cut_off_is_finished_by_the_same_command() {
    for nth in 0..40u64 {
        run(async move {
            let sim = world(nth + 1, 4);
            sim.crash_at_write(nth);
            let first = start(&sim, &request(4, 2)).await;
            let was_cut = sim.is_cut();
            assert!(was_cut || first.is_ok());
            drop(first);
            sim.crash();
            let server = start(&sim, &request(4, 2)).await.expect("the same command again");
            server.store().create_bucket(BUCKET, "r", "o").await.expect("a bucket");
            server.put("k", body("k", 1, 100_000)).await.expect("a put");
            server.stop().await;
            let server = start(&sim, &request(4, 2)).await.expect("the pool");
            assert_eq!(server.get("k").await, Ok(Some(body("k", 1, 100_000))));
            server.stop().await;
        });
    }
}

#[test]
fn a_pool_that_holds_data_is_never_formatted_anew() {
    run(async {
        let sim = world(50, 4);
        let (server, model) = filled(&sim, &request(4, 2), &mut Chance(3)).await;
        server.stop().await;
        for lost in [vec![0, 1, 2], vec![0, 1, 3]] {
            lost.iter().for_each(|n: &usize| sim.kill(&paths(4)[*n]));
            assert!(start(&sim, &adopting(4, 2)).await.is_err(), "two drives are no pool");
            lost.iter().for_each(|n| sim.revive(&paths(4)[*n]));
        }
        let server = start(&sim, &request(4, 2)).await.expect("all are back");
        server.check(&model).await;
        server.stop().await;
    });
}

#[test]
fn a_lost_drive_is_replaced_by_a_blank_one() {
    for (drives, parity, lost) in [(4, 2, vec![1]), (4, 2, vec![0, 3]), (2, 1, vec![1])] {
        run(async move {
            let sim = world(51, drives);
            let mut chance = Chance(17);
            let (plain, adopting) = (request(drives, parity), adopting(drives, parity));
            let (server, mut model) = filled(&sim, &plain, &mut chance).await;
            server.stop().await;
            lost.iter().for_each(|n: &usize| sim.wipe(&plain.paths[*n]));
            let server = start(&sim, &plain).await.expect("without them");
            assert_eq!(server.core().pool.failed(), lost.len(), "not without being told");
            fill(&server, &mut chance, &mut model, 10).await;
            server.stop().await;
            let server = start(&sim, &adopting).await.expect("with blank ones in their place");
            assert_eq!(server.core().pool.failed(), 0);
            assert!(lost.iter().all(|n| server.shared.drives[*n].is_rebuilding()));
            server.check(&model).await;
            fill(&server, &mut chance, &mut model, 10).await;
            server.scrubbed().await;
            server.check(&model).await;
            server.stop().await;
            match drives {
                2 => {
                    sim.kill(&plain.paths[0]);
                    let server = start(&sim, &plain).await.expect("the new drive holds everything");
                    server.check(&model).await;
                    server.stop().await;
                }
                _ => any_pair_may_be_lost(&sim, &plain, &model).await,
            }
        });
    }
}

/// Some cores have no shard then. Log segments that lack a mirror must not be left to them.
#[test]
fn a_drive_is_replaced_where_there_are_more_cores_than_shards() {
    run(async {
        let sim = world(52, 2);
        let (plain, mut chance, mut model) = (request(2, 1), Chance(18), Model::new());
        fresh_on(&sim, &plain).await.stop().await;
        // Each core with shards leaves a log segment behind each time.
        for _ in 0..3 {
            let server = start_on_cores(&sim, &plain, 2).await.expect("a start");
            fill(&server, &mut chance, &mut model, 10).await;
            server.stop().await;
        }
        sim.wipe(&plain.paths[1]);
        let server = start_on_cores(&sim, &adopting(2, 1), CORES_MAX).await.expect("with a blank one");
        assert!(server.cores.iter().any(|running| running.core.shards.iter().flatten().count() == 0));
        server.scrubbed().await;
        server.stop().await;
        sim.kill(&plain.paths[0]);
        let server = start(&sim, &plain).await.expect("the new drive holds everything");
        server.check(&model).await;
        server.stop().await;
    });
}

#[test]
fn a_replacement_that_was_cut_off_goes_on() {
    for nth in (0..60u64).step_by(2) {
        run(async move {
            let sim = world(nth + 1, 4);
            let mut chance = Chance(nth * 31 + 1);
            let (server, model) = filled(&sim, &request(4, 2), &mut chance).await;
            sim.crash();
            drop(server);
            sim.wipe(&paths(4)[2]);
            sim.crash_at_write(nth * 3);
            if let Ok(server) = start(&sim, &adopting(4, 2)).await {
                until("the power cut, or the end", || sim.is_cut() || server.shared.board.passes() > 0).await;
            }
            sim.crash();
            let server = start(&sim, &adopting(4, 2)).await.expect("the same command again");
            server.scrubbed().await;
            server.check(&model).await;
            assert_eq!(server.core().pool.failed(), 0);
            server.stop().await;
            [0, 1].iter().for_each(|n| sim.kill(&paths(4)[*n]));
            let server = start(&sim, &request(4, 2)).await.expect("the new drive carries its share");
            server.check(&model).await;
            server.stop().await;
        });
    }
}

#[test]
fn a_drive_that_stands_in_counts_as_lost_until_recovery_has_passed() {
    run(async {
        let sim = world(53, 4);
        let (server, model) = filled(&sim, &request(4, 2), &mut Chance(5)).await;
        sim.crash();
        drop(server);
        [0, 1].iter().for_each(|n: &usize| sim.wipe(&paths(4)[*n]));
        // Cut off while superblocks are written: the two are in, and recovery has not gone through.
        sim.crash_at_write(14);
        assert!(start(&sim, &adopting(4, 2)).await.is_err());
        sim.crash();
        sim.kill(&paths(4)[2]);
        assert!(start(&sim, &adopting(4, 2)).await.is_err(), "three of four hold nothing");
        sim.revive(&paths(4)[2]);
        let server = start(&sim, &adopting(4, 2)).await.expect("two do");
        server.check(&model).await;
        server.stop().await;
    });
}

#[test]
fn a_pool_grows_by_drives_of_any_size_wherever_the_power_fails() {
    for nth in (0..50u64).step_by(2) {
        run(async move {
            let sim = world(nth + 1, 4);
            let mut chance = Chance(nth * 7 + 1);
            let (server, mut model) = filled(&sim, &request(4, 2), &mut chance).await;
            server.stop().await;
            sim.add_disk("/d4", 2 << 30);
            sim.add_disk("/d5", 8 << 30);
            let larger = Request { capacity: Some(1 << 30), ..adopting(6, 2) };
            sim.crash_at_write(nth);
            drop(start(&sim, &larger).await);
            sim.crash();
            // The old pool or the new one, with the drives that it has.
            let server = start(&sim, &Request { adopt: false, ..larger.clone() }).await.expect("it starts");
            server.check(&model).await;
            server.stop().await;
            let server = start(&sim, &larger).await.expect("the same command again");
            assert_eq!(server.core().pool.drives.len(), 6);
            assert_eq!(server.core().pool.failed(), 0);
            fill(&server, &mut chance, &mut model, 40).await;
            let on_new = |n| holdings_on(&server, DriveId(n));
            assert!(on_new(4).await + on_new(5).await > 0, "new drives are used");
            server.check(&model).await;
            server.stop().await;
            if nth % 10 == 0 {
                any_pair_may_be_lost(&sim, &Request { adopt: false, ..larger }, &model).await;
            }
        });
    }
}

/// Chunks of values that stand on a drive.
async fn holdings_on(server: &Server, drive: DriveId) -> usize {
    let holdings = holdings(server).await;
    let chunks = holdings.iter().flat_map(|holding| holding.extent.spans());
    chunks.filter(|(address, _)| address.drive == drive).count()
}

#[test]
fn a_latched_drive_comes_back_and_stays() {
    for seed in 1..=4u64 {
        run(async move {
            let sim = world(seed, 4);
            let mut chance = Chance(seed * 127);
            let (server, mut model) = filled(&sim, &request(4, 2), &mut chance).await;
            let file = if seed % 2 == 0 { "basalt.data" } else { "basalt.meta" };
            let kind = if seed % 2 == 0 { OpKind::Sync } else { OpKind::Write };
            sim.inject(paths(4)[1].join(file), kind, 2, Fault::Fail(5));
            fill(&server, &mut chance, &mut model, 60).await;
            let state = |server: &Server| server.shared.drives[1].state();
            assert_eq!(state(&server), DriveState::Latched);
            let mut server = server;
            if seed > 2 {
                server.stop().await;
                server = start(&sim, &request(4, 2)).await.expect("it stays out over a start");
                assert_eq!(state(&server), DriveState::Latched);
            }
            sim.inject(paths(4)[1].join("basalt.data"), OpKind::Sync, 0, Fault::Fail(5));
            assert!(readmit(server.core(), DriveId(1)).await.is_err(), "it still fails");
            assert!(readmit(server.core(), DriveId(0)).await.is_err(), "it is in service");
            assert!(readmit(server.core(), DriveId(9)).await.is_err(), "there is none");
            readmit(server.core(), DriveId(1)).await.expect("it works again");
            assert_eq!(state(&server), DriveState::Healthy);
            fill(&server, &mut chance, &mut model, 20).await;
            server.scrubbed().await;
            server.check(&model).await;
            server.stop().await;
            let server = start(&sim, &request(4, 2)).await.expect("it is a drive like the others");
            assert_eq!(state(&server), DriveState::Healthy);
            server.stop().await;
            any_pair_may_be_lost(&sim, &request(4, 2), &model).await;
        });
    }
}

#[test]
fn records_on_a_readmitted_drive_that_no_start_saw_stay_void() {
    for seed in 1..=6u64 {
        run(async move {
            let sim = world(seed, 3);
            let mut chance = Chance(seed * 911);
            let (server, mut model) = filled(&sim, &request(3, 1), &mut chance).await;
            let mut server = server;
            for round in 0..4u64 {
                let victim = (seed + round) as usize % 3;
                sim.inject(
                    paths(3)[victim].join("basalt.meta"),
                    OpKind::Write,
                    chance.below(4),
                    Fault::Fail(5),
                );
                fill(&server, &mut chance, &mut model, 15).await;
                sim.crash();
                drop(server);
                server = start(&sim, &request(3, 1)).await.expect("one drive is out at most");
                server.check(&model).await;
                for drive in server.shared.drives.iter().filter(|d| d.state() == DriveState::Latched) {
                    readmit(server.core(), drive.id()).await.expect("it writes");
                }
                for key in ["k/01", "k/02", "k/03"] {
                    server.delete(key).await.expect("a delete");
                    model.remove(key);
                }
                server.scrubbed().await;
            }
            server.check(&model).await;
            server.stop().await;
        });
    }
}
