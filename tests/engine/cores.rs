//! Several data cores over one pool: what one is told all know, what one lends another gives back, and a start
//! with another number of cores finds everything.
//!
//! The other tests of the engine run on several cores as well, as many as their seed says. Here the cores are
//! what is looked at: who owns what, who asks whom, and that a seed decides all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use basalt::base::ids::{DriveId, ShardId};
use basalt::base::join::join_all;
use basalt::base::limits::CORE_QUEUE_MAX;
use basalt::codec::xml::Versioning;
use basalt::io::sim::{Fault, OpKind, SimWorld};
use basalt::object::error::ObjectError;
use basalt::object::registry::settings::Setting;
use basalt::object::store::Store;
use basalt::upkeep::readmit::readmit;
use bytes::Bytes;

use crate::harness::{
    BUCKET, CORES_MAX, Chance, Server, body, fresh_on_cores, paths, run, start_on_cores, until, wide_request,
    world,
};

type Model = BTreeMap<String, Bytes>;

/// Several clients at once write and delete keys of their own.
async fn write_at_once(server: &Server, model: &mut Model, round: u64) {
    let client = async |client: u64| {
        let (mut chance, mut mine) = (Chance(round * 64 + client + 1), BTreeMap::new());
        for version in 0..25 {
            let key = format!("c{client}/{:02}", chance.below(12));
            let next = (chance.below(4) > 0).then(|| body(&key, round * 100 + version, chance.size()));
            match &next {
                Some(body) => server.put(&key, body.clone()).await.expect("a put"),
                None => server.delete(&key).await.expect("a delete"),
            }
            mine.insert(key, next);
        }
        mine
    };
    for (key, body) in join_all((0..4).map(client)).await.into_iter().flatten() {
        match body {
            Some(body) => drop(model.insert(key, body)),
            None => drop(model.remove(&key)),
        }
    }
}

#[test]
fn a_start_with_another_number_of_cores_finds_everything() {
    for is_cut in [false, true] {
        run(async move {
            let sim = world(61, 4);
            let mut model = Model::new();
            let mut server = fresh_on_cores(&sim, &wide_request(4, 2), 2).await;
            for (round, cores) in [3, 1, 4, 2].into_iter().enumerate() {
                write_at_once(&server, &mut model, round as u64).await;
                match is_cut {
                    true => sim.crash(),
                    false => server.stop().await,
                }
                server = start_on_cores(&sim, &wide_request(4, 2), cores).await.expect("the same pool");
                let owned: Vec<usize> =
                    server.cores.iter().map(|running| running.core.shards.iter().flatten().count()).collect();
                assert_eq!(owned.iter().sum::<usize>(), 4, "each shard has one owner: {owned:?}");
                assert!(!owned.contains(&0), "no core is idle: {owned:?}");
                server.check(&model).await;
            }
            server.stop().await;
        });
    }
}

#[test]
fn every_core_knows_what_was_set_when_it_is_answered() {
    run(async {
        let sim = world(62, 4);
        let server = fresh_on_cores(&sim, &wide_request(4, 2), CORES_MAX).await;
        for turn in 0..6 {
            // Each time another core is told.
            let state = [Versioning::Enabled, Versioning::Suspended][turn % 2];
            server.store().set_setting(BUCKET, Setting::Versioning(state)).await.expect("a setting");
            for _ in 0..CORES_MAX {
                let known = server.store().settings(BUCKET).expect("the bucket");
                assert_eq!(known.settings.versioning, Some(state));
            }
            let name = format!("another-{turn}");
            server.store().create_bucket(&name, "r", "o").await.expect("a bucket");
            for _ in 0..CORES_MAX {
                server.store().bucket(&name).await.expect("every core has it");
            }
            server.store().delete_bucket(&name).await.expect("it is empty");
            for _ in 0..CORES_MAX {
                assert!(server.store().bucket(&name).await.is_err(), "no core has it any more");
            }
        }
        server.stop().await;
    });
}

#[test]
fn no_core_writes_into_a_bucket_that_another_core_deletes() {
    run(async {
        let sim = world(63, 4);
        let server = fresh_on_cores(&sim, &wide_request(4, 2), CORES_MAX).await;
        let mut deletions = 0;
        for turn in 0..30u64 {
            // From long before the deletion looks to when it is long over.
            let put = async |client: u64| {
                let mut clock = tokio::time::interval(Duration::from_micros(200));
                for _ in 0..=turn {
                    clock.tick().await;
                }
                server.put(&format!("k{client}"), body("k", turn, 100)).await
            };
            let puts = join_all((0..3).map(put));
            let (puts, deleted) = tokio::join!(puts, server.store().delete_bucket(BUCKET));
            let written = puts.iter().filter(|put| put.is_ok()).count();
            match deleted {
                // Whoever was answered before has his object; nobody has one in a bucket that is gone.
                Ok(()) => {
                    assert_eq!(written, 0);
                    deletions += 1;
                    server.store().create_bucket(BUCKET, "r", "o").await.expect("the name is free");
                }
                Err(error) => assert_eq!(error, ObjectError::BucketNotEmpty),
            }
            assert_eq!(server.keys().await.len(), written);
            join_all((0..3).map(async |client| server.delete(&format!("k{client}")).await)).await;
        }
        assert!((1..30).contains(&deletions), "now one is first and now the other: {deletions} of 30");
        server.stop().await;
    });
}

/// Reads a piece of an object through a store; the rest is to come.
async fn begin(store: &Store, key: &str) -> (basalt::object::content::reader::ObjectStream, Vec<u8>) {
    let object = store.open(BUCKET, key).await.expect("it is there");
    let size = object.meta().size;
    let mut stream = object.stream(0..size);
    let first = stream.next().await.expect("a piece").expect("it can be read");
    (stream, first.to_vec())
}

#[test]
fn what_is_read_on_other_cores_stays_until_the_last_of_them_has_read_it() {
    run(async {
        let sim = world(64, 4);
        let server = fresh_on_cores(&sim, &wide_request(4, 2), CORES_MAX).await;
        let large = body("large", 1, 2_200_000);
        server.put("large", large.clone()).await.expect("a put");
        let held = |server: &Server| server.shards().map(|shard| shard.pins.waiting()).sum::<usize>();
        let mut readers = Vec::new();
        for _ in 0..CORES_MAX {
            readers.push(begin(server.store(), "large").await);
        }
        server.delete("large").await.expect("a delete");
        for number in 0..10 {
            server.put(&format!("other/{number}"), body("other", number, 700_000)).await.expect("a put");
        }
        for (mut stream, mut read) in readers {
            assert_eq!(held(&server), 1, "it waits for its readers, wherever they are");
            while let Some(piece) = stream.next().await {
                read.extend_from_slice(&piece.expect("it can be read to the end"));
            }
            assert!(read == large);
        }
        until("the space to come back", || held(&server) == 0).await;
        server.stop().await;
    });
}

#[test]
fn a_core_that_is_asked_too_much_at_once_says_so_and_goes_on() {
    run(async {
        let sim = world(65, 4);
        let server = fresh_on_cores(&sim, &wide_request(4, 2), 2).await;
        server.put("k", body("k", 1, 100)).await.expect("a put");
        let core = server.core();
        let other = (0..4).map(ShardId).find(|shard| core.local(*shard).is_none()).expect("not all are here");
        let ask = |_| core.on_shard(other, |shard| async move { Ok(shard.id) });
        let answers = join_all((0..CORE_QUEUE_MAX + 10).map(ask)).await;
        let refused = answers.iter().filter(|answer| **answer == Err(ObjectError::SlowDown)).count();
        assert!((1..=10).contains(&refused), "{refused} were refused");
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), answers.len() - refused);
        assert_eq!(server.get("k").await, Ok(Some(body("k", 1, 100))));
        server.stop().await;
    });
}

#[test]
fn one_log_that_stops_takes_no_other_with_it_and_nothing_acknowledged() {
    run(async {
        let sim = world(66, 3);
        let server = fresh_on_cores(&sim, &wide_request(3, 1), CORES_MAX).await;
        let mut model = Model::new();
        write_at_once(&server, &mut model, 1).await;
        // Beyond m drives fail: what is under way is not acknowledged, on whatever core.
        for path in &paths(3)[..2] {
            sim.inject(path.join("basalt.meta"), OpKind::Write, 0, Fault::Fail(5));
        }
        let mut unknown = BTreeMap::new();
        for number in 0..30 {
            let (key, body) = (format!("late/{number}"), body("late", number, 3_000));
            match server.put(&key, body.clone()).await {
                Ok(()) => drop(model.insert(key, body)),
                Err(_) => drop(unknown.insert(key, body)),
            }
        }
        assert!(!unknown.is_empty(), "two of three drives are out");
        assert!(server.shared.board.has_stopped());
        let before = server.get("late/0").await;
        // Drives that come back do not undo it: only a start finds out what became of the last batch.
        for drive in [0, 1] {
            let told = readmit(server.core(), DriveId(drive)).await.expect("it writes again");
            assert!(told.contains("restart the server"), "{told}");
        }
        assert!(server.core().pool.mirrors().is_ok() && server.shared.board.has_stopped());
        let stopped = server.cores.iter().filter(|running| running.log.is_stopped());
        for running in stopped {
            for shard in running.core.shards.iter().flatten() {
                assert!(shard.admit().await.is_err(), "nothing is taken behind a batch that may be lost");
            }
        }
        assert_eq!(server.get("late/0").await, before, "reads go on");
        sim.crash();
        drop(server);
        let server = start_on_cores(&sim, &wide_request(3, 1), 2).await.expect("the drives write again");
        for (key, body) in unknown {
            match server.get(&key).await.expect("an answer") {
                None => {}
                Some(found) => {
                    assert!(found == body, "{key} is whole or not there");
                    model.insert(key, found);
                }
            }
        }
        server.check(&model).await;
        server.owned().await;
        server.stop().await;
    });
}

/// What happened in a world until its power was cut: every write and every choice.
async fn trace(seed: u64) -> (u64, u64, Model) {
    let sim: SimWorld = world(seed, 4);
    let mut model = Model::new();
    let server = fresh_on_cores(&sim, &wide_request(4, 2), CORES_MAX).await;
    write_at_once(&server, &mut model, 1).await;
    sim.crash();
    drop(server);
    let server = start_on_cores(&sim, &wide_request(4, 2), 2).await.expect("the same pool");
    write_at_once(&server, &mut model, 2).await;
    server.scrub().await;
    server.stop().await;
    (sim.writes(), sim.world().random_u64(), model)
}

#[test]
fn a_seed_decides_what_all_cores_do() {
    let traced = |seed| {
        let (tell, told) = std::sync::mpsc::channel();
        run(async move { tell.send(trace(seed).await).expect("somebody listens") });
        told.recv().expect("a trace")
    };
    let first = traced(67);
    assert!(first == traced(67), "the same seed, another life");
    let other = traced(68);
    assert!(first.1 != other.1, "another seed");
}
