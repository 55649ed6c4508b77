//! Drives that are overwritten under the server: noticed though nobody reads, mended where that is possible, said
//! where it is not.
//!
//! Up to m of them are whole again after a scrub, so that any m others may be lost then. With more the pool is not fit
//! to serve, and nothing is thrown out for it. One damaged object is no damaged drive. The log is left although clients
//! write without a pause: it once waited for one.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use basalt::base::ids::DriveId;
use basalt::base::metrics::DriveState;
use basalt::object::error::ObjectError;
use basalt::object::store::{Commit, Store};
use basalt::upkeep::doubt::doubt;

use crate::harness::{
    BUCKET, Chance, Server, body, fresh_on_cores, fresh_pool, paths, request, run, until, world,
};
use crate::repair::{Model, any_pair_may_be_lost, fill, holdings};

fn doubtful(server: &Server) -> Vec<usize> {
    (0..4).filter(|n| server.shared.drives[*n].condition().is_doubtful()).collect()
}

fn state(server: &Server, drive: usize) -> DriveState {
    server.shared.drives[drive].state()
}

#[test]
fn m_drives_that_were_overwritten_are_whole_again_after_a_scrub() {
    run(async {
        let (sim, server) = fresh_pool(51).await;
        let (mut model, mut chance) = (Model::new(), Chance(515));
        fill(&server, &mut chance, &mut model, 60).await;
        paths(4)[..2].iter().for_each(|drive| sim.spoil(drive));
        // Nobody reads.
        until("doubt", || doubtful(&server) == [0, 1]).await;
        assert!(!server.core().pool.is_beyond_reading());
        assert!(server.shared.drives[0].condition().is_rebuilding());
        server.check(&model).await;
        fill(&server, &mut chance, &mut model, 20).await;
        server.scrubbed().await;
        until("trust", || doubtful(&server).is_empty()).await;
        assert!((0..4).all(|drive| state(&server, drive) == DriveState::Healthy));
        assert_eq!(server.shared.board.metrics().blocks_unrepairable, 0);
        server.check(&model).await;
        server.stop().await;
        any_pair_may_be_lost(&sim, &request(4, 2), &model).await;
    });
}

#[test]
fn with_more_than_m_overwritten_the_pool_says_so_and_throws_none_out() {
    run(async {
        let (sim, server) = fresh_pool(52).await;
        let (mut model, mut chance) = (Model::new(), Chance(99));
        fill(&server, &mut chance, &mut model, 60).await;
        paths(4)[..3].iter().for_each(|drive| sim.spoil(drive));
        until("the pool to be beyond reading", || server.core().pool.is_beyond_reading()).await;
        let passes = server.shared.board.passes();
        until("a scrub", || server.shared.board.passes() > passes).await;
        assert!(server.shared.board.metrics().blocks_unrepairable > 0);
        let distrusted: Vec<DriveId> = server.core().pool.distrusted().iter().collect();
        assert_eq!(distrusted, [DriveId(0), DriveId(1), DriveId(2)], "what is lost stays said");
        assert!((0..4).all(|drive| state(&server, drive) == DriveState::Healthy));
        for (key, body) in &model {
            // Small ones may stand in memory; what is given is right.
            if let Ok(found) = server.get(key).await {
                assert!(found.as_ref() == Some(body), "{key} reads back wrong");
            }
        }
        server.put("new", body("new", 1, 70_000)).await.expect("it can be written");
        assert_eq!(server.get("new").await, Ok(Some(body("new", 1, 70_000))));
        server.stop().await;
    });
}

#[test]
fn a_drive_that_is_wrong_again_is_latched_but_never_beyond_m() {
    run(async {
        let (sim, server) = fresh_pool(53).await;
        let (mut model, mut chance) = (Model::new(), Chance(7));
        fill(&server, &mut chance, &mut model, 30).await;
        for drive in [0, 1, 2] {
            sim.spoil(&paths(4)[drive]);
            until(&format!("doubt of {drive}"), || doubtful(&server).contains(&drive)).await;
            server.scrubbed().await;
        }
        for drive in [0, 1] {
            sim.spoil(&paths(4)[drive]);
            until("the latch", || state(&server, drive) == DriveState::Latched).await;
        }
        server.check(&model).await;
        sim.spoil(&paths(4)[2]);
        // Superblocks may be whole again at once, where the news of the latch was on its way to them. Readers see more.
        for key in model.keys() {
            let _ = server.get(key).await;
        }
        until("doubt", || doubtful(&server).contains(&2)).await;
        assert_eq!(state(&server, 2), DriveState::Healthy, "what can be served is served");
        assert!(server.core().pool.is_beyond_reading());
        server.stop().await;
    });
}

/// Lets time pass in small steps until so many blocks were checked, or the scrub is over.
async fn checked(server: &Server, blocks: u64) {
    let (board, mut tick) = (&server.shared.board, tokio::time::interval(Duration::from_micros(200)));
    while board.metrics().blocks_checked < blocks && (board.is_demanded() || board.is_running()) {
        tick.tick().await;
    }
}

/// Whether something that was acknowledged cannot be read.
async fn lacks(server: &Server, model: &Model) -> bool {
    let mut lacks = false;
    for (key, body) in model {
        match server.get(key).await {
            Ok(found) => assert!(found.as_ref() == Some(body), "{key} reads back wrong"),
            Err(_) => lacks = true,
        }
    }
    lacks
}

/// A scrub that mends the first drive once mended the headers of the others before anybody had counted them together,
/// and the server was ready although objects were gone.
#[test]
fn with_drives_overwritten_one_after_another_while_a_scrub_runs_it_is_not_ready_while_objects_are_gone() {
    let lost = Rc::new(Cell::new(0));
    for eighth in [1, 3, 5, 7] {
        let lost = lost.clone();
        run(async move {
            let (sim, server) = fresh_pool(60 + eighth).await;
            let (mut model, mut chance) = (Model::new(), Chance(17 + eighth));
            fill(&server, &mut chance, &mut model, 60).await;
            let board = &server.shared.board;
            server.scrub().await;
            let pass = board.metrics().blocks_checked;
            sim.spoil(&paths(4)[0]);
            until("doubt", || doubtful(&server) == [0]).await;
            checked(&server, pass + pass * eighth / 8).await;
            sim.spoil(&paths(4)[1]);
            checked(&server, pass + pass * (eighth + 1) / 8).await;
            sim.spoil(&paths(4)[2]);
            let later = tokio::time::Instant::now() + Duration::from_secs(10);
            until("the damage to be noticed", || tokio::time::Instant::now() > later).await;
            until("the scrub to end", || !board.is_demanded() && !board.is_running()).await;
            if lacks(&server, &model).await {
                assert!(server.core().pool.is_beyond_reading(), "ready after {eighth} eighths of a pass");
                lost.set(lost.get() + 1);
                let passes = board.passes();
                board.demand();
                until("another pass", || board.passes() > passes && !board.is_demanded()).await;
                assert!(server.core().pool.is_beyond_reading(), "what is lost stays said");
            }
            server.stop().await;
        });
    }
    assert!(lost.get() > 1, "{} of 4 lost something", lost.get());
}

/// Headers and superblocks are as they were. A reader finds one object that is gone, and the server looks for others.
#[test]
fn blocks_that_are_gone_make_it_not_ready_though_all_headers_are_right() {
    run(async {
        let (sim, server) = fresh_pool(57).await;
        for number in 0..12 {
            let key = format!("k/{number}");
            server.put(&key, body(&key, 1, 300_000)).await.expect("a put");
        }
        for held in holdings(&server).await {
            let chunks = held.extent.layout().columns();
            for (row, column) in
                (0..held.extent.layout().rows()).flat_map(|row| (0..chunks).map(move |n| (row, n)))
            {
                let Some(at) = held.extent.block_address(row, column) else { continue };
                if at.drive != DriveId(3) {
                    sim.flip(paths(4)[usize::from(at.drive.0)].join("basalt.data"), at.offset + 100, 4);
                }
            }
        }
        assert!(!server.core().pool.is_beyond_reading());
        assert!(server.get("k/3").await.is_err());
        until("the pool to be beyond reading", || server.core().pool.is_beyond_reading()).await;
        assert_eq!(doubtful(&server), [0, 1, 2]);
        for number in 0..12 {
            server.delete(&format!("k/{number}")).await.expect("a delete");
        }
        let board = &server.shared.board;
        until("the scrubs to end", || !board.is_demanded() && !board.is_running()).await;
        server.scrub().await;
        until("trust", || doubtful(&server).is_empty()).await;
        server.stop().await;
    });
}

#[test]
fn one_damaged_object_is_no_damaged_drive() {
    run(async {
        let (sim, server) = fresh_pool(54).await;
        let (mut model, mut chance) = (Model::new(), Chance(7));
        fill(&server, &mut chance, &mut model, 30).await;
        let content = body("large", 1, 4 << 20);
        server.put("large", content.clone()).await.expect("a put");
        let held = holdings(&server).await;
        let extent = &held.iter().find(|held| held.extent.size == 4 << 20).expect("it is striped").extent;
        let mut damaged = 0;
        for row in 0..extent.layout().rows() {
            let at = extent.block_address(row, 0).expect("all chunks are written");
            sim.flip(paths(4)[usize::from(at.drive.0)].join("basalt.data"), at.offset + 100, 4);
            damaged += 1;
        }
        let repaired = || server.shared.board.metrics().blocks_repaired;
        while repaired() < damaged {
            let before = repaired();
            assert_eq!(server.get("large").await, Ok(Some(content.clone())));
            until("some repairs", || repaired() > before).await;
        }
        let later = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        until("time to pass", || tokio::time::Instant::now() > later).await;
        assert!(damaged > 8 && doubtful(&server).is_empty());
        assert!((0..4).all(|drive| !server.shared.drives[drive].condition().is_rebuilding()));
        server
            .check(&{
                model.insert("large".into(), content);
                model
            })
            .await;
        server.stop().await;
    });
}

/// Puts one small object after the other.
async fn write_on(store: Store, key: String, is_over: Rc<Cell<bool>>) {
    while !is_over.get() {
        let mut writer = store.put(BUCKET, &key, Some(100)).await.expect("a put");
        writer.write(body(&key, 1, 100)).await.expect("a body");
        writer.commit(Commit::default()).await.expect("a commit");
    }
}

#[test]
fn the_log_is_left_once_and_at_once_while_many_write() {
    run(async {
        let sim = world(55, 2);
        let server = fresh_on_cores(&sim, &request(2, 1), 1).await;
        let is_over = Rc::new(Cell::new(false));
        let write =
            |n| tokio::task::spawn_local(write_on(server.store().clone(), format!("k{n}"), is_over.clone()));
        let mut writers: Vec<_> = (0..4).map(write).collect();
        // These come while the batch of the first is being written, and so on in turns: there is no pause.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        writers.extend((4..8).map(write));
        let log = &server.shards().next().expect("a shard").log;
        until("a batch", || log.segments.live() == 1).await;
        // Every segment has a mirror on every drive of two.
        let doubts = vec![(DriveId(0), "a test".to_owned())];
        let left = tokio::time::timeout(Duration::from_secs(1), doubt(server.core(), doubts)).await;
        left.expect("the log is left");
        assert_eq!(log.segments.sealed().len(), 1, "one segment is ended and no other");
        is_over.set(true);
        for writer in writers {
            writer.await.expect("it ends");
        }
        server.scrubbed().await;
        assert!(!server.shared.drives[0].condition().is_doubtful());
        server.stop().await;
    });
}

/// A segment that nobody can read cannot be emptied; the log once filled up behind it, and an evacuation was owed for
/// ever.
#[test]
fn what_no_mirror_of_the_log_gives_is_lost_in_the_end_and_counted() {
    run(async {
        let (sim, server) = fresh_pool(55).await;
        let mut model = Model::new();
        for number in 0..40 {
            let (key, body) = (format!("small/{number}"), body("small", number, 9_000));
            server.put(&key, body.clone()).await.expect("a put");
            model.insert(key, body);
        }
        for shard in server.shards() {
            shard.checkpoint().await.expect("a checkpoint");
        }
        for shard in server.shards() {
            let all = (0..4).map(DriveId).collect();
            shard.clone().leave_logs_on(all).await.expect("the segment ends");
        }
        let logs = || server.cores.iter().map(|running| running.log.clone());
        let log = logs().find(|log| !log.segments.sealed().is_empty()).expect("a full segment");
        for mirror in log.mirrors(log.segments.sealed()[0].id).expect("its mirrors").iter() {
            sim.spoil_file(paths(4)[usize::from(mirror.drive.0)].join("basalt.meta"));
        }
        server.shared.board.demand();
        let lost = || logs().map(|log| log.counters.lost_bytes.get()).sum::<u64>();
        until("the loss to be accepted", || lost() > 0).await;
        until("the log to be emptied", || logs().all(|log| log.segments.sealed().is_empty())).await;
        let (mut whole, mut gone) = (0, 0);
        for (key, body) in &model {
            match server.get(key).await {
                Ok(found) => {
                    assert!(found.as_ref() == Some(body), "{key} reads back wrong");
                    whole += 1;
                }
                Err(error) => {
                    assert!(matches!(error, ObjectError::Unreadable(_)), "{error}");
                    gone += 1;
                }
            }
        }
        assert!(gone > 0, "{whole} are whole");
        for key in model.keys() {
            server.delete(key).await.expect("a delete");
        }
        for number in 0..200 {
            server.put(&format!("new/{number}"), body("new", number, 9_000)).await.expect("the log goes on");
        }
        server.stop().await;
    });
}
