//! Looks at drives of the simulated world, which can do what files of a test cannot: be block devices,
//! lose sectors, and hold another drive's bytes.
//!
//! Each test makes a pool, harms one drive, and reads the report as an operator would.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::task::LocalSet;

use super::{Choice, InspectError, inspect};
use crate::io::sim::SimWorld;
use crate::object::open::{self, MemoryPlan};
use crate::object::store::{Commit, Store};
use crate::pool::format::Request;

const DEVICE: &str = "/dev0";
const DEVICE_BYTES: u64 = 768 << 20;
const MEMORY: MemoryPlan = MemoryPlan {
    memtable: 64 << 10,
    blocks: 1 << 20,
    bodies: 64 << 10,
    buffers: 32 << 20,
    background: 8 << 20,
    maps: 1 << 10,
};
const LOG: Choice = Choice { segments: false, log: true, catalog: false };
const SEGMENTS: Choice = Choice { segments: true, log: false, catalog: false };
/// The first log segment, which is the first segment of all.
const SEGMENT_AT: u64 = 16 << 20;

fn run(test: impl Future<Output = ()> + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(test));
}

/// A block device on which six objects were acknowledged before the power went.
async fn device() -> SimWorld {
    let sim = SimWorld::new(7);
    sim.add_block_device(DEVICE, DEVICE_BYTES);
    let request = Request {
        paths: vec![PathBuf::from(DEVICE)],
        parity: Some(0),
        capacity: None,
        shards: 2,
        adopt: false,
    };
    let opening = open::find(&sim.world(), &request, &|_, _| {}).await.expect("a new pool");
    let mut dealt = open::deal(opening, 1);
    let opened = open::open_core(&sim.world(), dealt.cores.remove(0), MEMORY).await.expect("a core");
    let running = opened.begin().await.expect("an epoch");
    running.announce_buckets().await.expect("no buckets yet");
    let store = Store::new(running.core.clone());
    store.create_bucket("bucket", "region", "owner").await.expect("a bucket");
    for n in 0..6 {
        let mut writer = store.put("bucket", &format!("key-{n}"), Some(100)).await.expect("a writer");
        writer.write(Bytes::from(vec![n; 100])).await.expect("it takes bytes");
        writer.commit(Commit::default()).await.expect("it is durable");
    }
    sim.crash();
    sim
}

async fn report(sim: &SimWorld, choice: Choice) -> String {
    let mut out = Vec::new();
    inspect(&sim.world(), Path::new(DEVICE), choice, &mut out).await.expect("a report");
    String::from_utf8(out).expect("text")
}

#[test]
fn a_block_device_is_told_in_offsets_of_its_own() {
    run(async {
        let sim = device().await;
        let log = report(&sim, LOG).await;
        assert!(log.contains("a block device") && log.contains("segment 0 at 0x1000000"), "{log}");
        assert_eq!(log.matches("put object").count(), 6, "{log}");
        assert!(log.contains("DAMAGE  none found"), "{log}");
        let segments = report(&sim, SEGMENTS).await;
        assert!(segments.contains("0x1000000"), "{segments}");
    });
}

#[test]
fn a_lost_sector_costs_the_batch_it_was_part_of() {
    run(async {
        let sim = device().await;
        let whole = report(&sim, LOG).await;
        sim.latent_error(DEVICE, SEGMENT_AT + 0x3000..SEGMENT_AT + 0x3200);
        let log = report(&sim, LOG).await;
        assert_eq!(log.matches("put object").count() + 1, whole.matches("put object").count(), "{log}");
        let (_, damage) = log.split_once("\nDAMAGE").expect("a list");
        assert!(damage.contains("0x1003000") && damage.contains("cannot be read"), "{log}");
    });
}

#[test]
fn the_last_batch_cut_off_is_called_torn() {
    run(async {
        let sim = device().await;
        let whole = report(&sim, LOG).await;
        let last =
            whole.lines().rfind(|line| line.contains("batch of")).and_then(|line| line.split_once("  batch"));
        let offset = last.and_then(|(offset, _)| u64::from_str_radix(offset.trim().get(2..)?, 16).ok());
        sim.flip(DEVICE, SEGMENT_AT + offset.expect("an offset") + 80, 1);
        let log = report(&sim, LOG).await;
        assert!(log.contains("the last batch is torn") && log.contains("DAMAGE  1"), "{log}");
    });
}

#[test]
fn a_header_of_another_segment_is_called_misdirected() {
    run(async {
        let sim = device().await;
        let header = sim.peek(DEVICE, SEGMENT_AT, 4096);
        sim.poke(DEVICE, SEGMENT_AT + (8 << 20) * 20, &header);
        let segments = report(&sim, SEGMENTS).await;
        assert!(segments.contains("that of drive 0 segment 0 stands here"), "{segments}");
    });
}

#[test]
fn a_device_that_was_never_formatted_is_no_drive() {
    run(async {
        let sim = SimWorld::new(7);
        sim.add_block_device(DEVICE, DEVICE_BYTES);
        let mut out = Vec::new();
        let refused = inspect(&sim.world(), Path::new(DEVICE), LOG, &mut out).await;
        assert!(matches!(refused, Err(InspectError::NoSuperblock { .. })));
    });
}
