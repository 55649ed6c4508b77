//! Inventories of the whole engine: lists of a bounded length that together say what a listing says, while clients
//! go on writing, and a report that fails and leaves nothing.
//!
//! Nor does one that the power cut off, at any write: what it left goes with the next report, from destinations with
//! versions too. Reports are asked for one by one, with lists short enough that some objects fill several; what is
//! read back is the manifest and the lists that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use basalt::codec::xml::{Inventory, Quota, Versioning};
use basalt::object::decisions::commit::BucketRef;
use basalt::object::error::ObjectError;
use basalt::object::registry::settings::Setting;
use basalt::object::store::{ListEntry, ListQuery};
use basalt::upkeep::inventory::{Admits, Failure, report_one};

use crate::harness::{BUCKET, Chance, Server, body, fresh_on, request, run, start, versions_of, world};

const LISTS: &str = "lists";

fn inventory(all_versions: bool, filter: Option<&str>) -> Inventory {
    Inventory {
        id: "i".into(),
        enabled: true,
        bucket: format!("arn:aws:s3:::{LISTS}"),
        account: None,
        prefix: None,
        filter: filter.map(str::to_owned),
        all_versions,
        weekly: false,
        fields: vec!["Size".into()],
    }
}

async fn report(server: &Server, inventory: Inventory, lines_max: u64) -> Result<(), Failure> {
    let setting = Setting::Inventory(inventory.clone());
    server.store().set_setting(BUCKET, setting).await.expect("a configuration");
    let id = server.store().settings(BUCKET).expect("the bucket").value.id;
    let source = BucketRef { name: BUCKET.into(), id };
    let admits: Admits = Rc::new(|_, order| order.inventory.prefix.as_deref() != Some("shut"));
    report_one(server.core(), source, Arc::new(inventory), lines_max, &admits).await
}

/// Keys of everything in the destination.
async fn written(server: &Server) -> Vec<String> {
    let query = ListQuery {
        bucket: LISTS.into(),
        prefix: String::new(),
        delimiter: String::new(),
        after: String::new(),
        limit: 100_000,
    };
    let page = server.store().list(query).await.expect("a listing");
    let key = |entry| match entry {
        ListEntry::Object(object) => object.key,
        ListEntry::Prefix(_) => panic!("no delimiter was given"),
    };
    page.entries.into_iter().map(key).collect()
}

async fn read(server: &Server, key: &str) -> Vec<u8> {
    let object = server.store().open(LISTS, key).await.expect("an object");
    let size = object.meta().size;
    let mut stream = object.stream(0..size);
    let mut out = Vec::new();
    while let Some(bytes) = stream.next().await {
        out.extend_from_slice(&bytes.expect("bytes"));
    }
    out
}

/// The lines of each list that the manifest names, in columns.
async fn lists(server: &Server) -> Vec<Vec<Vec<String>>> {
    let keys = written(server).await;
    let named = keys.iter().find(|key| key.ends_with("/manifest.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&read(server, named).await).expect("JSON");
    let mut all = Vec::new();
    for file in manifest["files"].as_array().expect("files") {
        let packed = read(server, file["key"].as_str().expect("a key")).await;
        assert_eq!(file["size"].as_u64(), Some(packed.len() as u64));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("a compressed list");
        let columns = |line: &str| line.trim_matches('"').split("\",\"").map(str::to_owned).collect();
        all.push(text.lines().map(columns).collect());
    }
    all
}

async fn filled(seed: u64) -> Server {
    let sim = world(seed, 4);
    let server = fresh_on(&sim, &request(4, 2)).await;
    server.store().create_bucket(LISTS, "r", "o").await.expect("a bucket");
    for n in 0..1200 {
        server.put(&format!("in/{n:04}"), body("b", n, 20 + n as usize)).await.expect("a put");
    }
    for n in 0..40 {
        server.put(&format!("out/{n}"), body("b", n, 5)).await.expect("a put");
    }
    server
}

#[test]
fn lists_are_of_bounded_length_and_hold_everything_once() {
    run(async {
        let server = filled(1).await;
        report(&server, inventory(false, Some("in/")), 300).await.expect("a report");
        let lists = lists(&server).await;
        assert!(lists.len() >= 4 && lists.iter().all(|list| list.len() <= 300), "{}", lists.len());
        let mut lines: Vec<Vec<String>> = lists.into_iter().flatten().collect();
        lines.sort();
        let expected: Vec<Vec<String>> =
            (0..1200).map(|n| vec![BUCKET.to_owned(), format!("in/{n:04}"), (20 + n).to_string()]).collect();
        assert_eq!(lines, expected);
        let settings = server.store().settings(BUCKET).expect("the bucket");
        assert!(settings.settings.inventory_runs.contains_key("i"), "it is remembered");
        server.stop().await;
    });
}

#[test]
fn what_is_there_throughout_is_in_it_once_whatever_clients_do() {
    run(async {
        let server = Rc::new(filled(2).await);
        let enabled = Setting::Versioning(Versioning::Enabled);
        server.store().set_setting(BUCKET, enabled).await.expect("versions");
        let writer = server.clone();
        let writes = async move {
            for n in 0..400 {
                writer.put(&format!("in/{:04}", n * 3), body("b", n, 7)).await.expect("a put");
                writer.delete(&format!("in/{:04}", n * 3 + 1)).await.expect("a deletion");
            }
        };
        let writes = tokio::task::spawn_local(writes);
        report(&server, inventory(true, None), 10_000).await.expect("a report");
        writes.await.expect("they end");
        let lines: Vec<Vec<String>> = lists(&server).await.into_iter().flatten().collect();
        let mut seen = BTreeMap::<&str, u32>::new();
        let null = lines.iter().filter(|line| line[2].is_empty() && line[4] == "false");
        null.for_each(|line| *seen.entry(&line[1]).or_default() += 1);
        assert_eq!(seen.len(), 1240);
        assert!(seen.values().all(|times| *times == 1));
        let latest = lines.iter().filter(|line| line[3] == "true").map(|line| &line[1]);
        assert_eq!(latest.clone().count(), latest.collect::<BTreeSet<_>>().len());
    });
}

#[test]
fn a_report_that_fails_leaves_nothing_and_the_next_start_makes_it() {
    run(async {
        let sim = world(3, 4);
        let server = fresh_on(&sim, &request(4, 2)).await;
        server.store().create_bucket(LISTS, "r", "o").await.expect("a bucket");
        for n in 0..600 {
            server.put(&format!("k{n}"), body("b", n, 9)).await.expect("a put");
        }
        let quota = Setting::Quota(Quota { max_bytes: None, max_objects: Some(2) });
        server.store().set_setting(LISTS, quota).await.expect("a quota");
        let failed = report(&server, inventory(false, None), 200).await;
        assert_eq!(failed, Err(Failure::Store(ObjectError::QuotaExceeded)));
        assert_eq!(written(&server).await, Vec::<String>::new());
        let elsewhere = Inventory { bucket: "arn:aws:s3:::nowhere".into(), ..inventory(false, None) };
        assert_eq!(report(&server, elsewhere, 200).await, Err(Failure::Destination));
        let shut_out = Inventory { prefix: Some("shut".into()), ..inventory(false, None) };
        assert_eq!(report(&server, shut_out, 200).await, Err(Failure::Denied));
        assert_eq!(written(&server).await, Vec::<String>::new());
        sim.crash();
        drop(server);
        let server = start(&sim, &request(4, 2)).await.expect("the same pool");
        let settings = server.store().settings(BUCKET).expect("the bucket").settings.clone();
        assert!(settings.inventories.contains_key("i") && settings.inventory_runs["i"].whole.is_none());
        let quota = basalt::object::registry::settings::Kind::Quota;
        server.store().remove_setting(LISTS, quota).await.expect("no quota");
        report(&server, inventory(false, None), 200).await.expect("a report");
        assert_eq!(lists(&server).await.iter().map(Vec::len).sum::<usize>(), 600);
        server.stop().await;
    });
}

#[test]
fn a_report_that_was_cut_off_leaves_nothing_behind_the_next() {
    let cuts: u32 = (1..=12u64).map(cut_off).sum();
    assert!(cuts > 6, "{cuts} reports were cut off");
}

/// Cuts the power in the middle of a report and writes it anew. How many were cut off.
fn cut_off(seed: u64) -> u32 {
    let (tell, told) = std::sync::mpsc::channel();
    run(async move {
        let sim = world(seed, 4);
        let server = fresh_on(&sim, &request(4, 2)).await;
        server.store().create_bucket(LISTS, "r", "o").await.expect("a bucket");
        if seed.is_multiple_of(2) {
            let enabled = Setting::Versioning(Versioning::Enabled);
            server.store().set_setting(LISTS, enabled).await.expect("versions");
        }
        for n in 0..600 {
            server.put(&format!("k{n}"), body("b", n, 9)).await.expect("a put");
        }
        let mut chance = Chance(seed.wrapping_mul(0x9876_5432_10fe_dcb1) | 1);
        sim.crash_at_write(4 + chance.below(40));
        let cut = tokio::time::timeout(Duration::from_secs(30), report(&server, inventory(false, None), 100));
        let _ = cut.await;
        sim.crash();
        drop(server);
        let server = start(&sim, &request(4, 2)).await.expect("it starts after the cut");
        let runs = server.store().settings(BUCKET).expect("the bucket").settings.inventory_runs.clone();
        let is_cut = runs.get("i").is_some_and(|run| run.whole.is_none());
        if is_cut {
            report(&server, inventory(false, None), 100).await.expect("a report");
            let lists = lists(&server).await;
            assert_eq!(lists.iter().map(Vec::len).sum::<usize>(), 600, "seed {seed}");
            let query = versions_of(LISTS, 1000);
            let all = server.store().list_versions(query).await.expect("versions");
            // The lists, for Hive, the manifest and its checksum.
            assert_eq!(all.entries.len(), lists.len() + 3, "seed {seed}");
        }
        server.stop().await;
        tell.send(u32::from(is_cut)).expect("somebody listens");
    });
    told.recv().expect("an answer")
}
