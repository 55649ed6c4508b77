//! Damage to the log that no mirror makes good: the start is refused, and nothing is taken for the end of
//! the log that is not.
//!
//! Each test cuts the power, so that what was acknowledged stands in the log alone, damages every mirror at
//! the same place, and looks what the next start says; then it heals the drives and finds everything.

use std::collections::BTreeMap;
use std::path::PathBuf;

use basalt::base::ids::{LogId, PoolId};
use basalt::base::limits::{BATCH_BYTES, PAGE};
use basalt::catalog::batch;
use basalt::drive::segment::{self, Header, Owner};
use basalt::io::sim::{Fault, OpKind, SimWorld};
use bytes::Bytes;

use crate::harness::{CAPACITY, body, fresh_on_cores, paths, request, run, start, until, world};

/// A log segment that holds batches.
struct Segment {
    /// File and place of each mirror.
    mirrors: Vec<(PathBuf, u64)>,
    /// Offset and bytes of each batch.
    batches: Vec<(u64, usize)>,
}

/// A store of 4 drives and one log with small objects, each in a batch of its own, after a power cut.
async fn cut_store(sim: &SimWorld, keys: u64, drives_fail: bool) -> (BTreeMap<String, Bytes>, Vec<Segment>) {
    let server = fresh_on_cores(sim, &request(4, 2), 1).await;
    let mut model = BTreeMap::new();
    for version in 0..24 {
        if version == 12 && drives_fail {
            // At least one of them has the segment that is written, so the log goes on in another.
            for path in &paths(4)[..2] {
                sim.inject(path.join("basalt.meta"), OpKind::Write, 0, Fault::Fail(5));
            }
        }
        let key = format!("k/{:02}", version % keys);
        let body = body(&key, version, 3000);
        server.put(&key, body.clone()).await.expect("a put");
        model.insert(key, body);
    }
    let geometry = server.core().pool.geometry;
    sim.crash();
    (model, segments(sim, geometry.pool, geometry.segment_bytes))
}

/// In the order in which they were written.
fn segments(sim: &SimWorld, pool: PoolId, segment_bytes: u64) -> Vec<Segment> {
    let mut found: BTreeMap<LogId, Segment> = BTreeMap::new();
    for path in sim.files().into_iter().filter(|path| path.ends_with("basalt.meta")) {
        for index in 0..(CAPACITY / segment_bytes) as u32 {
            let at = segment::offset(index, segment_bytes);
            let Ok(Header { owner: Owner::Log { id, .. }, .. }) = Header::decode(&sim.peek(&path, at, PAGE))
            else {
                continue;
            };
            let (mut batches, mut offset) = (Vec::new(), PAGE as u64);
            while let Some((_, bytes)) =
                batch::read(&sim.peek(&path, at + offset, BATCH_BYTES), pool, id, offset as u32)
            {
                batches.push((offset, bytes));
                offset += bytes as u64;
            }
            let segment = found.entry(id).or_insert(Segment { mirrors: Vec::new(), batches });
            segment.mirrors.push((path.clone(), at));
        }
    }
    found.into_values().filter(|segment| !segment.batches.is_empty()).collect()
}

#[test]
fn a_batch_that_no_mirror_has_is_missed_when_others_follow() {
    run(async {
        let sim = world(21, 4);
        let (model, logs) = cut_store(&sim, 20, false).await;
        let [log] = &logs[..] else { panic!("one segment holds all of it") };
        assert!(log.mirrors.len() == 3 && log.batches.len() > 20);
        let (offset, bytes) = log.batches[log.batches.len() / 2];
        let good = sim.peek(&log.mirrors[0].0, log.mirrors[0].1 + offset, bytes);
        // One mirror after the other: until the last one goes, nothing is missing.
        for (number, (path, at)) in log.mirrors.iter().enumerate() {
            sim.poke(path, at + offset, &vec![0; bytes]);
            if number + 1 < log.mirrors.len() {
                continue;
            }
            let error =
                start(&sim, &request(4, 2)).await.err().expect("a start without acknowledged records");
            let text = format!("and none at {offset}");
            assert!(error.contains("lost acknowledged records") && error.contains(&text), "{error}");
            sim.crash();
            sim.poke(path, at + offset, &good);
        }
        let server = start(&sim, &request(4, 2)).await.expect("one mirror has it again");
        server.check(&model).await;
        server.stop().await;
    });
}

#[test]
fn the_end_of_a_segment_is_missed_when_another_segment_follows() {
    run(async {
        let sim = world(23, 4);
        // One key, so one shard, whose record numbers tell.
        let (model, logs) = cut_store(&sim, 1, true).await;
        let [first, _, ..] = &logs[..] else { panic!("the log went on in another segment") };
        // Also what the next segment repeats, because drives failed under it.
        let (from, _) = first.batches[first.batches.len() - 3];
        let (last, bytes) = *first.batches.last().expect("it has batches");
        let len = (last - from) as usize + bytes + 16 * PAGE;
        let good = first.mirrors.iter().map(|(path, at)| sim.peek(path, at + from, len)).collect::<Vec<_>>();
        first.mirrors.iter().for_each(|(path, at)| sim.poke(path, at + from, &vec![0; len]));
        let error = start(&sim, &request(4, 2)).await.err().expect("a start without acknowledged records");
        assert!(error.contains("lost acknowledged records: of shard"), "{error}");
        sim.crash();
        for ((path, at), good) in first.mirrors.iter().zip(&good) {
            sim.poke(path, at + from, good);
        }
        let server = start(&sim, &request(4, 2)).await.expect("they have it again");
        server.check(&model).await;
        server.stop().await;
    });
}

#[test]
fn a_log_that_no_mirror_can_read_has_not_ended() {
    run(async {
        let sim = world(22, 4);
        let (model, logs) = cut_store(&sim, 20, false).await;
        let [log] = &logs[..] else { panic!("one segment holds all of it") };
        assert!(log.mirrors.len() == 3 && log.batches.len() > 20);
        let (offset, bytes) = log.batches[log.batches.len() / 2];
        let good = sim.peek(&log.mirrors[0].0, log.mirrors[0].1 + offset, bytes);
        for (path, at) in &log.mirrors {
            sim.latent_error(path, at + offset..at + offset + bytes as u64);
        }
        let error = start(&sim, &request(4, 2)).await.err().expect("a start without part of the log");
        assert!(error.contains("none of 3 copies is readable"), "{error}");
        sim.crash();
        let (path, at) = &log.mirrors[2];
        sim.poke(path, at + offset, &good);
        let server = start(&sim, &request(4, 2)).await.expect("one mirror can be read again");
        server.check(&model).await;
        server.stop().await;
    });
}

/// A segment is retired on one mirror after the other, and not on one whose drive is away. What such a mirror still
/// holds matters to nobody, so nobody has to be able to read it.
#[test]
fn a_retired_segment_that_a_drive_was_not_told_of_need_not_be_readable() {
    run(async {
        let sim = world(24, 3);
        let request = request(3, 1);
        let server = fresh_on_cores(&sim, &request, 1).await;
        let mut model = BTreeMap::new();
        for version in 0..24 {
            let key = format!("k/{version:02}");
            let body = body(&key, version, 3000);
            server.put(&key, body.clone()).await.expect("a put");
            model.insert(key, body);
        }
        let geometry = server.core().pool.geometry;
        server.stop().await;
        let old = segments(&sim, geometry.pool, geometry.segment_bytes).swap_remove(0);
        let (stale, at) = &old.mirrors[1];
        let drive = stale.parent().expect("a drive").to_path_buf();
        let header = sim.peek(stale, *at, PAGE);
        let Ok(Header { owner: Owner::Log { id, .. }, .. }) = Header::decode(&header) else {
            panic!("a log segment")
        };

        sim.kill(&drive);
        let server = start(&sim, &request).await.expect("it starts without one drive");
        until("the segment to be retired", || server.shared.directory.get(id).is_none()).await;
        server.stop().await;
        sim.revive(&drive);
        assert_eq!(sim.peek(stale, *at, PAGE), header, "the drive was not told");
        let (offset, bytes) = old.batches[old.batches.len() / 2];
        sim.latent_error(stale, at + offset..at + offset + bytes as u64);
        let server = start(&sim, &request).await.expect("it starts with the drive that was away");
        server.check(&model).await;
        server.scrubbed().await;
        server.stop().await;

        // The drive counts as whole from now on. What it says of the segment is what a power cut leaves.
        assert!(sim.peek(stale, *at, PAGE) != header, "the drive was told");
        for damage in ["unreadable", "another"] {
            sim.poke(stale, *at, &header);
            match damage {
                "unreadable" => sim.latent_error(stale, at + offset..at + offset + bytes as u64),
                _ => sim.poke(stale, at + offset, &vec![0x5a; bytes]),
            }
            let server = start(&sim, &request).await.expect("it starts with a header that is out of date");
            server.check(&model).await;
            server.stop().await;
            assert!(sim.peek(stale, *at, PAGE) != header, "the drive was told again");
        }
    });
}
