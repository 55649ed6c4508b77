//! Drives that stay out: after a while what stands on them is written anew on the others.
//!
//! The measure is that m more drives may be lost afterwards, one after the other and with the server running,
//! and everything reads. A drive that comes back in time costs nothing, one that comes back later is a drive
//! like the others.

use std::collections::BTreeMap;
use std::time::Duration;

use basalt::base::ids::DriveId;
use basalt::base::metrics::{DriveState, Evacuation};
use basalt::catalog::key;
use basalt::catalog::value::Storage;
use basalt::io::sim::SimWorld;
use basalt::object::error::ObjectError;
use basalt::pool::format::Request;
use basalt::upkeep::Patience;
use basalt::upkeep::readmit::readmit;

use crate::harness::{BUCKET, Chance, Server, body, request, run, start_with, until, wide_request, world};
use crate::repair::{Model, any_pair_may_be_lost, fill, holdings};

const AFTER: Duration = Duration::from_secs(600);

async fn serve(sim: &SimWorld, request: &Request, cores: usize) -> Server {
    let patience = Patience { evacuate: Some(AFTER), scrub: None };
    start_with(sim, request, cores, patience).await.expect("a start")
}

/// An empty pool that was made of four drives at 2+2 and has grown since.
async fn grown(sim: &SimWorld, request: &Request) -> Server {
    let four = Request { paths: request.paths[..4].to_vec(), ..request.clone() };
    serve(sim, &four, 1).await.stop().await;
    let server = serve(sim, &Request { adopt: true, ..request.clone() }, 2).await;
    server.store().create_bucket(BUCKET, "r", "o").await.expect("a bucket");
    server
}

/// A store with some objects whose drive 1 fails and is latched.
async fn degraded(sim: &SimWorld, request: &Request, model: &mut Model) -> Server {
    let server = grown(sim, request).await;
    let mut chance = Chance(4_242);
    fill(&server, &mut chance, model, 60).await;
    for shard in server.shards() {
        shard.checkpoint().await.expect("a checkpoint");
    }
    lose(sim, request, &server, model).await;
    server
}

/// Drive 1 fails, and writes go on until somebody has noticed.
async fn lose(sim: &SimWorld, request: &Request, server: &Server, model: &mut Model) {
    sim.kill(&request.paths[1]);
    for number in 0.. {
        let (key, body) = (format!("late/{number:02}"), body("late", number, 100));
        server.put(&key, body.clone()).await.expect("a put");
        model.insert(key, body);
        if state(server) == DriveState::Latched {
            return;
        }
    }
}

fn state(server: &Server) -> DriveState {
    server.shared.drives[1].state()
}

fn evacuation(server: &Server) -> Evacuation {
    server.shared.drives[1].condition().evacuation()
}

/// Values whose extents have fewer chunks on drives in service than those could hold.
async fn narrow(server: &Server, width: usize) -> usize {
    let is_in = |drive: DriveId| server.shared.drives[usize::from(drive.0)].state() == DriveState::Healthy;
    let mut narrow = 0;
    for holding in holdings(server).await {
        let wide =
            holding.extent.stripes.iter().all(|stripe| {
                stripe.chunks.iter().flatten().filter(|chunk| is_in(chunk.drive)).count() >= width
            });
        narrow += usize::from(!wide);
    }
    narrow
}

#[test]
fn after_an_evacuation_m_more_drives_may_be_lost() {
    run(async {
        let (sim, request) = (world(81, 6), wide_request(6, 2));
        let mut model = Model::new();
        let server = degraded(&sim, &request, &mut model).await;
        assert!(narrow(&server, 4).await > 0, "the lost drive had its share");
        assert_eq!(evacuation(&server), Evacuation::None, "it may come back any moment");
        until("the evacuation", || evacuation(&server) == Evacuation::Done).await;
        assert_eq!(narrow(&server, 4).await, 0);
        server.check(&model).await;
        // Three of six are gone then, of which two may be gone at a time.
        sim.kill(&request.paths[0]);
        sim.kill(&request.paths[4]);
        server.check(&model).await;
        drop(server);
        sim.crash();
        for other in [2, 3, 5] {
            [0, 4].iter().for_each(|n: &usize| sim.revive(&request.paths[*n]));
            sim.kill(&request.paths[other]);
            let server = serve(&sim, &request, 3).await;
            server.check(&model).await;
            server.owned().await;
            server.stop().await;
            sim.revive(&request.paths[other]);
        }
    });
}

/// One drive to spare: all of objects, packs, log and catalog stand on the four that are left. Nothing is restarted
/// here, since the evacuated drive counts as out at a start.
#[test]
fn after_an_evacuation_everything_reads_without_any_pair_of_the_others() {
    run(async {
        let (sim, request) = (world(87, 5), wide_request(5, 2));
        let mut model = Model::new();
        let server = degraded(&sim, &request, &mut model).await;
        fill(&server, &mut Chance(97), &mut model, 20).await;
        until("the evacuation", || evacuation(&server) == Evacuation::Done).await;
        assert_eq!(narrow(&server, 4).await, 0);
        for number in 0..10 {
            let (key, body) = (format!("small/{number}"), body("small", number, 100));
            server.put(&key, body.clone()).await.expect("a put");
            model.insert(key, body);
        }
        fill(&server, &mut Chance(96), &mut model, 20).await;
        let others = [0, 2, 3, 4];
        for (n, first) in others.into_iter().enumerate() {
            for second in &others[n + 1..] {
                let lost = [&request.paths[first], &request.paths[*second]];
                lost.iter().for_each(|path| sim.kill(path));
                server.check(&model).await;
                lost.iter().for_each(|path| sim.revive(path));
            }
        }
        server.stop().await;
    });
}

#[test]
fn without_drives_to_spare_the_catalog_is_written_anew_and_objects_wait() {
    run(async {
        let (sim, request) = (world(82, 4), request(4, 2));
        let mut model = Model::new();
        let server = degraded(&sim, &request, &mut model).await;
        until("the evacuation", || evacuation(&server) == Evacuation::Done).await;
        assert_eq!(narrow(&server, 3).await, 0, "what was written before has three chunks left");
        assert!(narrow(&server, 4).await > 0);
        let copies = server.shards().flat_map(|shard| shard.index.runs()).flat_map(|run| {
            run.extents()
                .map(|extent| extent.copies.iter().filter(|copy| copy.drive != DriveId(1)).count())
                .collect::<Vec<_>>()
        });
        assert!(copies.min() == Some(3), "m + 1 copies of the catalog stand on the others");
        server.check(&model).await;
        server.owned().await;
        server.stop().await;
    });
}

/// Mirrors in service of the log segment that a small object stands in; `None` when it stands elsewhere.
async fn mirrors_of(server: &Server, name: &str) -> Option<Vec<DriveId>> {
    let bucket = server.store().settings(BUCKET).expect("the bucket").value.id;
    let owner = key::shard_of(bucket, name.as_bytes(), server.core().shard_count());
    let shard = server.shards().find(|shard| shard.id == owner).expect("all shards are here").clone();
    let at = key::version(bucket, name, key::ORDER_UNVERSIONED);
    let version = shard.version(&at).await.expect("a look").expect("it is there");
    let Storage::Inline { at, .. } = version.storage else { return None };
    let mirrors = shard.log.mirrors(at.log).expect("the segment is there");
    let is_in = |drive: &DriveId| server.shared.drives[usize::from(drive.0)].state() == DriveState::Healthy;
    Some(mirrors.iter().map(|mirror| mirror.drive).filter(is_in).collect())
}

/// Nothing is written any more that would end the segment.
#[test]
fn a_drive_is_evacuated_when_small_objects_have_their_mirrors_again() {
    run(async {
        let (sim, request) = (world(86, 6), wide_request(6, 2));
        let server = grown(&sim, &request).await;
        let mut model = Model::new();
        for number in 0..40 {
            let (key, body) = (format!("small/{number}"), body("small", number, 100));
            server.put(&key, body.clone()).await.expect("a put");
            model.insert(key, body);
        }
        let lost = mirrors_of(&server, "small/0").await.expect("it is in the log")[0];
        let drive = &server.shared.drives[usize::from(lost.0)];
        sim.kill(&request.paths[usize::from(lost.0)]);
        drive.health.latch("it is gone");
        until("the evacuation", || drive.condition().evacuation() == Evacuation::Done).await;
        for key in model.keys() {
            let mirrors = mirrors_of(&server, key).await;
            assert!(mirrors.as_ref().is_none_or(|mirrors| mirrors.len() >= 3), "{key}: {mirrors:?}");
        }
        server.check(&model).await;
        server.owned().await;
        server.stop().await;
    });
}

#[test]
fn a_drive_that_comes_back_in_time_is_not_evacuated() {
    run(async {
        let (sim, request) = (world(83, 6), wide_request(6, 2));
        let mut model = Model::new();
        let server = degraded(&sim, &request, &mut model).await;
        sim.revive(&request.paths[1]);
        readmit(server.core(), DriveId(1)).await.expect("it works again");
        server.scrubbed().await;
        let after = tokio::time::Instant::now() + 2 * AFTER;
        until("time to pass", || tokio::time::Instant::now() > after).await;
        assert_eq!((state(&server), evacuation(&server)), (DriveState::Healthy, Evacuation::None));
        let on_it = holdings(&server)
            .await
            .iter()
            .flat_map(|held| held.extent.spans().collect::<Vec<_>>())
            .filter(|(address, _)| address.drive == DriveId(1))
            .count();
        assert!(on_it > 0, "it has what it had");
        server.check(&model).await;
        server.owned().await;
        server.stop().await;
        any_pair_may_be_lost(&sim, &request, &model).await;
    });
}

#[test]
fn a_drive_that_comes_back_after_its_evacuation_is_a_drive_like_the_others() {
    for restarts in [false, true] {
        run(async move {
            let (sim, request) = (world(84, 5), wide_request(5, 2));
            let mut model = Model::new();
            let mut server = degraded(&sim, &request, &mut model).await;
            until("the evacuation", || evacuation(&server) == Evacuation::Done).await;
            fill(&server, &mut Chance(99), &mut model, 20).await;
            sim.revive(&request.paths[1]);
            if restarts {
                server.stop().await;
                server = serve(&sim, &request, 3).await;
            }
            readmit(server.core(), DriveId(1)).await.expect("it works again");
            server.scrubbed().await;
            assert_eq!(narrow(&server, 4).await, 0);
            fill(&server, &mut Chance(98), &mut model, 20).await;
            until("nobody to give it up", || evacuation(&server) == Evacuation::None).await;
            server.check(&model).await;
            server.owned().await;
            server.stop().await;
            any_pair_may_be_lost(&sim, &request, &model).await;
        });
    }
}

#[test]
fn an_evacuation_that_was_cut_off_loses_nothing_and_is_done_again() {
    let (tell, told) = std::sync::mpsc::channel();
    run(async move { tell.send(cut_off(90, None).await).expect("somebody listens") });
    let writes = told.recv().expect("as many as it takes");
    assert!(writes > 50, "{writes} writes");
    for turn in 0..10 {
        run(async move {
            cut_off(91 + turn, Some(writes * turn / 10)).await;
        });
    }
}

/// Evacuates a drive and has the power cut at a write on the way; how many writes it takes.
async fn cut_off(seed: u64, nth: Option<u64>) -> u64 {
    let (sim, request) = (world(seed, 6), request(6, 2));
    let mut model = Model::new();
    let mut server = degraded(&sim, &request, &mut model).await;
    let before = sim.writes();
    if let Some(nth) = nth {
        sim.crash_at_write(nth);
        until("the cut, or the end", || sim.is_cut() || evacuation(&server) == Evacuation::Done).await;
        drop(server);
        sim.crash();
        server = serve(&sim, &request, 1 + nth as usize % 3).await;
        server.check(&model).await;
    }
    until("the evacuation", || evacuation(&server) == Evacuation::Done).await;
    let writes = sim.writes() - before;
    assert_eq!(narrow(&server, 4).await, 0);
    server.check(&model).await;
    for key in model.keys() {
        server.delete(key).await.expect("a delete");
    }
    server.check(&BTreeMap::new()).await;
    server.stop().await;
    writes
}

#[test]
fn without_room_the_evacuation_stays_owed_until_there_is_some() {
    run(async {
        let (sim, request) = (world(85, 5), request(5, 2));
        let server = grown(&sim, &request).await;
        let mut model = Model::new();
        let full = loop {
            let number = model.len() as u64;
            let (key, body) = (format!("fill/{number:03}"), body("fill", number, 8 << 20));
            match server.put(&key, body.clone()).await {
                Ok(()) => drop(model.insert(key, body)),
                Err(error) => break error,
            }
        };
        assert_eq!(full, ObjectError::StorageFull);
        lose(&sim, &request, &server, &mut model).await;
        until("the drive to be given up", || evacuation(&server) == Evacuation::UnderWay).await;
        let later = tokio::time::Instant::now() + AFTER;
        until("passes that find no room", || tokio::time::Instant::now() > later).await;
        assert_eq!(evacuation(&server), Evacuation::UnderWay);
        let keys: Vec<String> = model.keys().filter(|key| key.starts_with("fill")).cloned().collect();
        for key in keys.iter().step_by(2) {
            server.delete(key).await.expect("a delete");
            model.remove(key);
        }
        until("the evacuation", || evacuation(&server) == Evacuation::Done).await;
        assert_eq!(narrow(&server, 4).await, 0);
        server.check(&model).await;
        server.owned().await;
        server.stop().await;
    });
}
