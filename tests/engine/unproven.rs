//! More drives than m that may lack what was stored before they came back: not ready until a scrub has shown that
//! nothing is lost, or for as long as something is.
//!
//! What can be read is read meanwhile, and writes are taken. A start that was cut off makes no drive one of these, and
//! a single bad place in a store that holds little makes none doubtful.

use basalt::admin::operator::Unready;
use basalt::base::ids::DriveId;
use basalt::base::limits::LOST_SHARE;
use basalt::drive::superblock::COPIES;
use basalt::io::sim::SimWorld;
use basalt::server::readiness;
use basalt::upkeep::doubt::doubt;
use basalt::upkeep::readmit::readmit;

use crate::harness::{Server, body, fresh_on, fresh_pool, paths, request, run, start, until, world};
use crate::repair::{Model, holdings};

fn cause(server: &Server) -> Option<&'static str> {
    readiness::of(server.core()).err().map(|Unready { cause, .. }| cause)
}

fn rebuilding(server: &Server) -> Vec<usize> {
    (0..server.shared.drives.len()).filter(|n| server.shared.drives[*n].condition().is_rebuilding()).collect()
}

async fn put_some(server: &Server, name: &str, model: &mut Model) {
    for number in 0..12 {
        let (key, body) = (format!("{name}/{number}"), body(name, number, 100_000));
        server.put(&key, body.clone()).await.expect("a put");
        model.insert(key, body);
    }
}

fn change(sim: &SimWorld, drives: &[usize], change: impl Fn(&SimWorld, &std::path::Path)) {
    drives.iter().for_each(|drive| change(sim, &paths(4)[*drive]));
}

/// Four drives of which 0 and 1 missed a start in which something was stored.
async fn two_were_away(seed: u64) -> (SimWorld, Model, Model) {
    let (sim, server) = fresh_pool(seed).await;
    let (mut before, mut since) = (Model::new(), Model::new());
    put_some(&server, "before", &mut before).await;
    server.stop().await;
    change(&sim, &[0, 1], |sim, drive| sim.kill(drive));
    let server = start(&sim, &request(4, 2)).await.expect("a start with two of four");
    put_some(&server, "since", &mut since).await;
    server.stop().await;
    change(&sim, &[0, 1], |sim, drive| sim.revive(drive));
    (sim, before, since)
}

/// The server was ready here, at once and after its scrub, although what the start before had stored could not be read.
#[test]
fn with_more_than_m_drives_stale_or_missing_it_is_not_ready_while_something_cannot_be_read() {
    run(async {
        let (sim, before, since) = two_were_away(1).await;
        sim.kill(&paths(4)[2]);
        let server = start(&sim, &request(4, 2)).await.expect("one of four is missing");
        assert_eq!(rebuilding(&server), [0, 1]);
        assert_eq!(cause(&server), Some("drives_rebuilding"));
        let board = &server.shared.board;
        until("a full scrub", || board.passes() > 0 && !board.is_running()).await;
        assert_eq!(cause(&server), Some("drives_rebuilding"), "what is lost stays said");
        let keys = before.len() + since.len();
        assert_eq!(server.keys().await.len(), keys, "everything is listed");
        for (key, body) in &before {
            assert_eq!(server.get(key).await, Ok(Some(body.clone())), "{key}");
        }
        server.put("new", body("new", 1, 100_000)).await.expect("writes are taken");
        for key in since.keys() {
            assert!(server.get(key).await.is_err(), "{key} has one chunk left");
            server.delete(key).await.expect("a delete");
        }
        let passes = board.passes();
        board.demand();
        until("another scrub", || board.passes() > passes && !board.is_running()).await;
        assert_eq!(
            (rebuilding(&server), cause(&server)),
            (vec![], None),
            "what was lost is not stored any more"
        );
        server
            .check(&{
                let mut model = before;
                model.insert("new".into(), body("new", 1, 100_000));
                model
            })
            .await;
        server.stop().await;
    });
}

#[test]
fn it_is_ready_when_a_scrub_has_shown_that_nothing_is_lost() {
    run(async {
        let (sim, before, since) = two_were_away(2).await;
        let server = start(&sim, &request(4, 2)).await.expect("all are there");
        assert_eq!((rebuilding(&server), cause(&server)), (vec![0, 1], None), "m may be missing");
        server.shared.drives[2].health.latch("a test");
        assert_eq!(cause(&server), Some("drives_rebuilding"));
        readmit(server.core(), DriveId(2)).await.expect("it works again");
        assert_eq!(cause(&server), Some("drives_rebuilding"));
        server.scrubbed().await;
        assert_eq!(cause(&server), None);
        server.check(&before.into_iter().chain(since).collect()).await;
        server.stop().await;
    });
}

/// Doubt is not kept over a start. The server was ready after one, until its scrub had found the loss.
#[test]
fn after_a_restart_with_more_than_m_drives_overwritten_it_is_not_ready() {
    run(async {
        let (sim, server) = fresh_pool(3).await;
        let mut model = Model::new();
        put_some(&server, "some", &mut model).await;
        for held in holdings(&server).await {
            for at in (0..4).filter_map(|column| held.extent.block_address(0, column)) {
                if at.drive != DriveId(3) {
                    sim.flip(paths(4)[usize::from(at.drive.0)].join("basalt.data"), at.offset + 100, 4);
                }
            }
        }
        doubt(server.core(), (0..3).map(|drive| (DriveId(drive), "a test".to_owned())).collect()).await;
        assert_eq!(cause(&server), Some("drives_doubtful"));
        server.stop().await;
        let server = start(&sim, &request(4, 2)).await.expect("all are there");
        assert_eq!((rebuilding(&server), cause(&server)), (vec![0, 1, 2], Some("drives_rebuilding")));
        let board = &server.shared.board;
        until("a full scrub", || board.passes() > 0 && !board.is_running()).await;
        assert!(cause(&server).is_some());
        server.stop().await;
    });
}

/// Drives that a cut kept from hearing of a new epoch were taken for ones that had been away: three of four.
#[test]
fn a_start_that_was_cut_off_makes_no_drive_stale() {
    for nth in 0..=(4 * COPIES as u64) {
        run(async move {
            let sim = world(40 + nth, 4);
            let server = fresh_on(&sim, &request(4, 2)).await;
            let mut model = Model::new();
            put_some(&server, "some", &mut model).await;
            server.stop().await;
            for _ in 0..2 {
                sim.crash_at_write(nth);
                drop(start(&sim, &request(4, 2)).await);
                sim.crash();
            }
            let server = start(&sim, &request(4, 2)).await.expect("all are there");
            assert_eq!(cause(&server), None, "cut at {nth}: {:?}", rebuilding(&server));
            if nth <= COPIES as u64 {
                assert_eq!(rebuilding(&server), Vec::<usize>::new(), "cut at {nth}");
            }
            server.check(&model).await;
            server.stop().await;
        });
    }
}

/// Two starts that one drive alone knows of were cut off, and it missed the next one, which had a smaller number.
#[test]
fn a_drive_that_is_ahead_by_starts_that_were_cut_off_is_filled_again() {
    run(async {
        let sim = world(70, 4);
        let server = fresh_on(&sim, &request(4, 2)).await;
        server.stop().await;
        for _ in 0..2 {
            sim.crash_at_write(COPIES as u64);
            assert!(start(&sim, &request(4, 2)).await.is_err());
            sim.crash();
        }
        sim.kill(&paths(4)[0]);
        let server = start(&sim, &request(4, 2)).await.expect("without the one that is ahead");
        let mut model = Model::new();
        put_some(&server, "some", &mut model).await;
        server.stop().await;
        sim.revive(&paths(4)[0]);
        let server = start(&sim, &request(4, 2)).await.expect("all are there");
        assert_eq!((rebuilding(&server), cause(&server)), (vec![0], None));
        server.scrubbed().await;
        server.check(&model).await;
        server.stop().await;
    });
}

/// One wrong block among a few was much of what the scrub had read.
#[test]
fn a_bad_place_in_a_store_that_holds_little_is_mended_or_counted_and_doubts_no_drive() {
    for (drives, parity, bad, repaired, lost) in [(4, 2, 1, 1, 0), (4, 2, 3, 0, 3), (1, 0, 1, 0, 1)] {
        run(async move {
            let sim = world(80 + bad, drives);
            let server = fresh_on(&sim, &request(drives, parity)).await;
            for key in ["a", "b", "c"] {
                server.put(key, body(key, 1, 60_000)).await.expect("a put");
            }
            let held = holdings(&server).await.remove(0).extent;
            for column in 0..bad as usize {
                let at = held.block_address(0, column).expect("all chunks are written");
                sim.flip(paths(4)[usize::from(at.drive.0)].join("basalt.data"), at.offset + 100, 4);
            }
            server.scrub().await;
            let figures = server.shared.board.metrics();
            assert!(lost == 0 || lost * LOST_SHARE > figures.blocks_checked, "it holds little: {figures:?}");
            let counts = (figures.blocks_damaged, figures.blocks_repaired, figures.blocks_unrepairable);
            assert_eq!(counts, (bad, repaired, lost));
            assert_eq!(cause(&server), None, "{bad} of {drives}");
            let mut readable = 0;
            for key in ["a", "b", "c"] {
                readable += usize::from(server.get(key).await.is_ok());
            }
            assert_eq!(readable, if lost == 0 { 3 } else { 2 });
            // The reader has a scrub of everything begin.
            let board = &server.shared.board;
            until("the scrubs to end", || !board.is_demanded() && !board.is_running()).await;
            assert_eq!(cause(&server), None);
            server.stop().await;
        });
    }
}
