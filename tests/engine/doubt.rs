//! Drives that are overwritten under the server: noticed though nobody reads, mended where that is possible, said
//! where it is not.
//!
//! Up to m of them are whole again after a scrub, so that any m others may be lost then. With more the pool is not fit
//! to serve, and nothing is thrown out for it. One damaged object is no damaged drive.

use basalt::base::ids::DriveId;
use basalt::base::metrics::DriveState;
use basalt::upkeep::doubt::{distrusted, is_beyond};

use crate::harness::{Chance, Server, body, fresh_on, paths, request, run, until, world};
use crate::repair::{Model, any_pair_may_be_lost, fill, holdings};

fn doubtful(server: &Server) -> Vec<usize> {
    (0..4).filter(|n| server.shared.drives[*n].is_doubtful()).collect()
}

fn state(server: &Server, drive: usize) -> DriveState {
    server.shared.drives[drive].state()
}

#[test]
fn m_drives_that_were_overwritten_are_whole_again_after_a_scrub() {
    run(async {
        let (sim, request) = (world(51, 4), request(4, 2));
        let server = fresh_on(&sim, &request).await;
        let (mut model, mut chance) = (Model::new(), Chance(515));
        fill(&server, &mut chance, &mut model, 60).await;
        paths(4)[..2].iter().for_each(|drive| sim.spoil(drive));
        // Nobody reads.
        until("doubt", || doubtful(&server) == [0, 1]).await;
        assert!(!is_beyond(&server.core().pool));
        assert!(server.shared.drives[0].is_rebuilding());
        server.check(&model).await;
        fill(&server, &mut chance, &mut model, 20).await;
        server.scrubbed().await;
        until("trust", || doubtful(&server).is_empty()).await;
        assert!((0..4).all(|drive| state(&server, drive) == DriveState::Healthy));
        assert_eq!(server.shared.board.metrics().blocks_unrepairable, 0);
        server.check(&model).await;
        server.stop().await;
        any_pair_may_be_lost(&sim, &request, &model).await;
    });
}

#[test]
fn with_more_than_m_overwritten_the_pool_says_so_and_throws_none_out() {
    run(async {
        let sim = world(52, 4);
        let server = fresh_on(&sim, &request(4, 2)).await;
        let (mut model, mut chance) = (Model::new(), Chance(99));
        fill(&server, &mut chance, &mut model, 60).await;
        paths(4)[..3].iter().for_each(|drive| sim.spoil(drive));
        until("the pool to be beyond reading", || is_beyond(&server.core().pool)).await;
        let passes = server.shared.board.passes();
        until("a scrub", || server.shared.board.passes() > passes).await;
        assert!(server.shared.board.metrics().blocks_unrepairable > 0);
        let distrusted: Vec<DriveId> = distrusted(&server.core().pool).iter().collect();
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
        let sim = world(53, 4);
        let server = fresh_on(&sim, &request(4, 2)).await;
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
        until("doubt", || doubtful(&server).contains(&2)).await;
        assert_eq!(state(&server, 2), DriveState::Healthy, "what can be served is served");
        assert!(is_beyond(&server.core().pool));
        server.stop().await;
    });
}

#[test]
fn one_damaged_object_is_no_damaged_drive() {
    run(async {
        let sim = world(54, 4);
        let server = fresh_on(&sim, &request(4, 2)).await;
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
        assert!((0..4).all(|drive| !server.shared.drives[drive].is_rebuilding()));
        server
            .check(&{
                model.insert("large".into(), content);
                model
            })
            .await;
        server.stop().await;
    });
}
