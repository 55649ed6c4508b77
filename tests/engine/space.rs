//! Full drives, and space that is given back.
//!
//! A full store still reads and deletes, and what was deleted can be written again, round after
//! round; small objects that were packed give their pack back with the last of them.

use std::collections::BTreeMap;

use basalt::base::metrics::JobKind;
use basalt::object::error::ObjectError;

use crate::harness::{BUCKET, Server, body, request, run, start, world};

const SIZE: usize = 8 << 20;

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
        let server = start(&sim, &request(3, 1)).await.expect("a fresh pool");
        server.store.create_bucket(BUCKET, "r", "o").await.expect("a bucket");
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
        let server = start(&sim, &request(4, 2)).await.expect("a fresh pool");
        server.store.create_bucket(BUCKET, "r", "o").await.expect("a bucket");
        let mut model = BTreeMap::new();
        // Several times what the log may hold, so that its segments are retired and used again.
        for version in 0..12_000u64 {
            let key = format!("small/{:04}", version * 31 % 9_000);
            let body = body(&key, version, 16_000);
            server.put(&key, body.clone()).await.expect("a put");
            model.insert(key, body);
        }
        let packs: usize = server.running.core.shards.iter().flatten().map(|shard| shard.packs()).sum();
        assert!(packs > 0, "retired segments leave packs");
        let jobs = server.background.core.duty.metrics();
        let kinds: Vec<JobKind> = jobs.iter().filter(|job| job.bytes > 0).map(|job| job.kind).collect();
        assert_eq!(kinds, JobKind::ALL, "all of it happens on the background core");
        server.check(&model).await;
        server.stop().await;
        let server = start(&sim, &request(4, 2)).await.expect("the same pool");
        server.check(&model).await;
        for key in model.keys() {
            server.delete(key).await.expect("a delete");
        }
        server.check(&BTreeMap::new()).await;
        let packs: usize = server.running.core.shards.iter().flatten().map(|shard| shard.packs()).sum();
        assert_eq!(packs, 0, "a pack goes with its last object");
        server.stop().await;
    });
}
