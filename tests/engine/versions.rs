//! Versions against a naive model: puts, deletions, suspensions, deletions of single versions and
//! listings from random places, in any order, through restarts and through power cuts at any write.
//!
//! The model is a list of versions for each key. After a cut the store must hold what the model
//! held, or that and the one operation that was under way, whole.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use basalt::base::limits::SCAN_STEPS_MAX;
use basalt::catalog::key::{self, shard_of};
use basalt::codec::xml::Versioning;
use basalt::io::sim::SimWorld;
use basalt::object::error::ObjectError;
use basalt::object::registry::settings::Setting;
use basalt::object::store::{
    Deletion, ListEntry, ListQuery, VersionEntry, VersionInfo, VersionPage, VersionQuery,
};
use bytes::Bytes;

use crate::harness::{BUCKET, Chance, Server, body, fresh_on, request, run, start, versions_of, world};

/// A version: its id and its body, or that it is a delete marker.
#[derive(Clone, Debug, PartialEq)]
struct Version {
    id: String,
    body: Option<Bytes>,
}

#[derive(Clone, Default)]
struct Model {
    state: Option<Versioning>,
    /// Newest first.
    keys: BTreeMap<String, Vec<Version>>,
}

#[derive(Clone, Debug)]
enum Step {
    Put(String, Bytes),
    Delete(String),
    DeleteVersion(String, String),
    State(Versioning),
}

impl Model {
    /// `id` is what a new version is called where the store chooses.
    fn apply(&mut self, step: &Step, id: &str) {
        match step {
            Step::State(state) => self.state = Some(*state),
            Step::Put(key, body) => self.install(key, Some(body.clone()), id),
            Step::Delete(key) if self.state.is_none() => self.remove(key, "null"),
            Step::Delete(key) => self.install(key, None, id),
            Step::DeleteVersion(key, id) => self.remove(key, id),
        }
    }

    fn install(&mut self, key: &str, body: Option<Bytes>, id: &str) {
        let id = if self.state == Some(Versioning::Enabled) { id } else { "null" };
        if id == "null" {
            self.remove(key, id);
        }
        let version = Version { id: id.to_owned(), body };
        self.keys.entry(key.to_owned()).or_default().insert(0, version);
    }

    fn remove(&mut self, key: &str, id: &str) {
        if let Some(versions) = self.keys.get_mut(key) {
            versions.retain(|version| version.id != id);
            if versions.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    fn current(&self, key: &str) -> Option<&Bytes> {
        self.keys.get(key)?.first()?.body.as_ref()
    }
}

/// What a listing shows.
#[derive(Clone, Debug, PartialEq)]
enum Line {
    Key(String),
    /// Key, id, newest, delete marker.
    Version(String, String, bool, bool),
    Prefix(String),
}

/// All lines of a listing behind `marker`, groups rolled up.
fn rolled_up(model: &Model, versions: bool, prefix: &str, delimiter: &str, marker: &str) -> Vec<Line> {
    let (mut lines, mut groups) = (Vec::new(), BTreeSet::new());
    for (key, all) in model.keys.iter().filter(|(key, _)| key.starts_with(prefix)) {
        if !versions && all[0].body.is_none() {
            continue;
        }
        let rest = &key[prefix.len()..];
        let at = if delimiter.is_empty() { None } else { rest.find(delimiter) };
        if let Some(at) = at {
            let group = &key[..prefix.len() + at + delimiter.len()];
            if key.as_str() > marker && group != marker && groups.insert(group.to_owned()) {
                lines.push(Line::Prefix(group.to_owned()));
            }
        } else if key.as_str() > marker && versions {
            lines.extend(all.iter().enumerate().map(|(index, version)| {
                Line::Version(key.clone(), version.id.clone(), index == 0, version.body.is_none())
            }));
        } else if key.as_str() > marker {
            lines.push(Line::Key(key.clone()));
        }
    }
    lines
}

fn line_of(version: &VersionInfo) -> Line {
    let (key, id) = (version.key.clone(), version.version_id.clone());
    Line::Version(key, id, version.is_latest, version.is_delete_marker)
}

async fn page(server: &Server, query: VersionQuery) -> VersionPage {
    server.store().list_versions(query).await.expect("a listing of versions")
}

/// Every page of a listing of versions.
async fn all_versions(
    server: &Server,
    prefix: &str,
    delimiter: &str,
    marker: &str,
    limit: usize,
) -> Vec<Line> {
    let (mut lines, mut markers) = (Vec::new(), (marker.to_owned(), String::new()));
    loop {
        let query = VersionQuery {
            prefix: prefix.into(),
            delimiter: delimiter.into(),
            key_marker: markers.0,
            version_id_marker: markers.1,
            ..versions_of(BUCKET, limit)
        };
        let page = page(server, query).await;
        assert!(page.entries.len() == limit || !page.truncated && page.entries.len() < limit);
        markers = match page.entries.last() {
            Some(VersionEntry::Version(version)) => {
                (version.key.clone(), page.next_version.clone().expect("the place of a version"))
            }
            Some(VersionEntry::Prefix(prefix)) => (prefix.clone(), String::new()),
            None => return lines,
        };
        lines.extend(page.entries.iter().map(|entry| match entry {
            VersionEntry::Version(version) => line_of(version),
            VersionEntry::Prefix(prefix) => Line::Prefix(prefix.clone()),
        }));
        if !page.truncated {
            return lines;
        }
    }
}

async fn all_keys(server: &Server, prefix: &str, delimiter: &str, marker: &str, limit: usize) -> Vec<Line> {
    let (mut lines, mut after) = (Vec::new(), marker.to_owned());
    loop {
        let (bucket, prefix, delimiter) = (BUCKET.into(), prefix.into(), delimiter.into());
        let query = ListQuery { bucket, prefix, delimiter, after, limit };
        let page = server.store().list(query).await.expect("a listing");
        after = match page.entries.last() {
            Some(ListEntry::Object(object)) => object.key.clone(),
            Some(ListEntry::Prefix(prefix)) => prefix.clone(),
            None => return lines,
        };
        lines.extend(page.entries.into_iter().map(|entry| match entry {
            ListEntry::Object(object) => Line::Key(object.key),
            ListEntry::Prefix(prefix) => Line::Prefix(prefix),
        }));
        if !page.truncated {
            return lines;
        }
    }
}

async fn read(server: &Server, key: &str, id: Option<&str>) -> Result<Bytes, ObjectError> {
    let object = server.store().open_version(BUCKET, key, id).await?;
    let size = object.meta().size;
    let mut stream = object.stream(0..size);
    let mut out = Vec::new();
    while let Some(bytes) = stream.next().await {
        out.extend_from_slice(&bytes?);
    }
    Ok(out.into())
}

/// Performs a step; gives the id of what was made.
async fn perform(server: &Server, step: &Step) -> Result<String, ObjectError> {
    let made = match step {
        Step::Put(key, body) => {
            let mut writer = server.store().put(BUCKET, key, Some(body.len() as u64)).await?;
            for start in (0..body.len()).step_by(100_000) {
                writer.write(body.slice(start..(start + 100_000).min(body.len()))).await?;
            }
            writer.commit(Default::default()).await?.version_id
        }
        Step::Delete(key) => server.store().delete(BUCKET, key, Deletion::default()).await?.version_id,
        Step::DeleteVersion(key, id) => {
            let deletion = Deletion { version_id: Some(id.clone()), ..Deletion::default() };
            server.store().delete(BUCKET, key, deletion).await?.version_id
        }
        Step::State(state) => {
            server.store().set_setting(BUCKET, Setting::Versioning(*state)).await?;
            None
        }
    };
    Ok(made.unwrap_or_else(|| "null".to_owned()))
}

fn any_step(model: &Model, chance: &mut Chance, turn: u64) -> Step {
    let names = ["a", "a/", "a/b", "a/c/d", "b", "b/x", "b/y", "c", "d//e", "d//f", "e", "\u{0}z"];
    let key = names[chance.below(names.len() as u64) as usize].to_owned();
    match chance.below(20) {
        0 if turn > 15 => {
            let states = [Versioning::Enabled, Versioning::Suspended];
            Step::State(states[chance.below(2) as usize])
        }
        1..=3 => Step::Delete(key),
        4..=7 => {
            let known = model.keys.get(&key);
            let known = known.map(|all| &all[chance.below(all.len() as u64) as usize].id);
            Step::DeleteVersion(key.clone(), known.cloned().unwrap_or("null".into()))
        }
        _ => Step::Put(key.clone(), body(&key, turn, chance.size())),
    }
}

/// Every version reads back by its id, and the current one without.
async fn check(server: &Server, model: &Model) {
    let expected = rolled_up(model, true, "", "", "");
    assert_eq!(all_versions(server, "", "", "", 1000).await, expected);
    for (key, versions) in &model.keys {
        let current = read(server, key, None).await;
        match &versions[0].body {
            Some(body) => assert!(current.as_ref() == Ok(body), "{key} reads back wrong"),
            None => assert!(matches!(current, Err(ObjectError::DeleteMarker { named: false, .. })), "{key}"),
        }
        for version in versions {
            let found = read(server, key, Some(&version.id)).await;
            match &version.body {
                Some(body) => assert!(found.as_ref() == Ok(body), "{key} {} reads back wrong", version.id),
                None => assert!(matches!(found, Err(ObjectError::DeleteMarker { named: true, .. })), "{key}"),
            }
        }
    }
}

async fn check_listings(server: &Server, model: &Model, chance: &mut Chance) {
    let pick = |chance: &mut Chance, from: &[&'static str]| from[chance.below(from.len() as u64) as usize];
    let prefix = pick(chance, &["", "", "a", "a/", "b", "d/", "zz"]);
    let delimiter = pick(chance, &["", "/", "/", "//"]);
    let marker = pick(chance, &["", "", "a", "a/", "a/b", "b/x", "d//e", "x"]);
    let limit = 1 + chance.below(9) as usize;
    let told = format!("prefix {prefix:?} delimiter {delimiter:?} marker {marker:?} limit {limit}");
    let found = all_versions(server, prefix, delimiter, marker, limit).await;
    assert_eq!(found, rolled_up(model, true, prefix, delimiter, marker), "versions, {told}");
    let found = all_keys(server, prefix, delimiter, marker, limit).await;
    assert_eq!(found, rolled_up(model, false, prefix, delimiter, marker), "keys, {told}");
}

#[test]
fn versions_are_those_of_the_model_whatever_is_done() {
    for seed in 1..=12 {
        run(async move { follow_the_model(seed).await });
    }
}

async fn follow_the_model(seed: u64) {
    let sim = world(seed, 3);
    let request = request(3, 1);
    let mut server = fresh_on(&sim, &request).await;
    let mut chance = Chance(seed.wrapping_mul(0x1234_5678_9abc_def1) | 1);
    let mut model = Model::default();
    for turn in 0..250 {
        let step = any_step(&model, &mut chance, turn);
        let id = perform(&server, &step).await.expect("a step");
        model.apply(&step, &id);
        if let Step::Put(key, _) | Step::Delete(key) | Step::DeleteVersion(key, _) = &step {
            let found = read(&server, key, None).await.ok();
            assert!(found.as_ref() == model.current(key), "seed {seed} turn {turn}: {key} reads wrong");
        }
        check_listings(&server, &model, &mut chance).await;
        if turn % 100 == 99 {
            check(&server, &model).await;
            server.stop().await;
            server = start(&sim, &request).await.expect("the same pool");
            check(&server, &model).await;
        }
    }
    clear(&server, &model).await;
    server.stop().await;
}

/// With the last version the bucket is empty, and not before.
async fn clear(server: &Server, model: &Model) {
    for (key, versions) in &model.keys {
        for version in versions {
            let full = server.store().delete_bucket(BUCKET).await;
            assert_eq!(full, Err(ObjectError::BucketNotEmpty));
            let step = Step::DeleteVersion(key.clone(), version.id.clone());
            perform(server, &step).await.expect("a deletion");
        }
    }
    server.store().delete_bucket(BUCKET).await.expect("an empty bucket");
}

#[test]
fn listings_miss_nothing_while_versions_come_and_go() {
    for seed in 1..=6 {
        run(async move { list_beside_changes(seed).await });
    }
}

/// Every key has a version throughout, though never the same one for long.
async fn list_beside_changes(seed: u64) {
    let sim = world(seed, 3);
    let server = Rc::new(start(&sim, &request(3, 1)).await.expect("a fresh pool"));
    server.store().create_bucket(BUCKET, "r", "o").await.expect("a bucket");
    let state = if seed.is_multiple_of(2) { Versioning::Enabled } else { Versioning::Suspended };
    perform(&server, &Step::State(state)).await.expect("a state");
    let keys: Vec<String> = (0..60).map(|number| format!("k/{number:02}")).collect();
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in &keys {
        let id = perform(&server, &Step::Put(key.clone(), body(key, 0, 10))).await.expect("a put");
        ids.insert(key.clone(), vec![id]);
    }
    let stop = Rc::new(Cell::new(false));
    let changing =
        tokio::task::spawn_local(change(server.clone(), ids, Chance(seed | 1 << 40), stop.clone()));
    let mut chance = Chance(seed.wrapping_mul(0x1234_5678_9abc_def1) | 1);
    let expected: Vec<Line> = keys.iter().map(|key| Line::Key(key.clone())).collect();
    for _ in 0..60 {
        let limit = 1 + chance.below(70) as usize;
        assert_eq!(all_keys(&server, "", "", "", limit).await, expected, "seed {seed}");
        let lines = all_versions(&server, "", "", "", limit).await;
        let shown: BTreeSet<String> = lines.iter().cloned().map(id_of).collect();
        assert_eq!(shown.len(), lines.len(), "seed {seed}: no version twice");
        let key_of = |line: &Line| match line {
            Line::Version(key, ..) => key.clone(),
            _ => unreachable!("a listing of versions without groups"),
        };
        let shown: BTreeSet<String> = lines.iter().map(key_of).collect();
        assert!(shown.iter().eq(&keys), "seed {seed}: {shown:?}");
        for key in &keys {
            read(&server, key, None).await.expect("a key that has a version throughout");
        }
    }
    stop.set(true);
    changing.await.expect("the changes go on to the end");
    Rc::try_unwrap(server).ok().expect("nobody else holds it").stop().await;
}

async fn change(
    server: Rc<Server>,
    mut ids: BTreeMap<String, Vec<String>>,
    mut chance: Chance,
    stop: Rc<Cell<bool>>,
) {
    let keys: Vec<String> = ids.keys().cloned().collect();
    let mut turn = 0;
    while !stop.get() {
        turn += 1;
        let key = &keys[chance.below(keys.len() as u64) as usize];
        let step = Step::Put(key.clone(), body(key, turn, 200));
        let id = perform(&server, &step).await.expect("a put");
        let known = ids.get_mut(key).expect("every key");
        if id != "null" {
            known.push(id);
        }
        if known.len() > 2 {
            let id = known.remove(chance.below(known.len() as u64) as usize);
            perform(&server, &Step::DeleteVersion(key.clone(), id)).await.expect("a deletion");
        }
    }
}

#[test]
fn a_key_whose_newer_versions_are_gone_is_read_and_listed_while_others_go() {
    run(read_beyond_removals());
}

/// More of them than a scan passes without a rest.
async fn read_beyond_removals() {
    let sim = world(7, 3);
    let server = Rc::new(start(&sim, &request(3, 1)).await.expect("a fresh pool"));
    server.store().create_bucket(BUCKET, "r", "o").await.expect("a bucket");
    perform(&server, &Step::State(Versioning::Enabled)).await.expect("a state");
    let bucket = server.core().common.buckets.get(BUCKET).expect("the bucket").value.id;
    let shards = server.shards().count() as u16;
    let home = shard_of(bucket, b"k", shards);
    let same = |name: &String| shard_of(bucket, name.as_bytes(), shards) == home;
    let others: Vec<String> = (0..).map(|n| format!("o/{n}")).filter(same).take(24).collect();
    let id = perform(&server, &Step::Put("k".into(), body("k", 0, 10))).await.expect("a put");
    let order = u64::from_str_radix(&id[..16], 16).expect("the order of a version");
    let shard = server.owner(home).1.clone();
    let bury = move || {
        let newer = 1..=12 * SCAN_STEPS_MAX as u64;
        newer.for_each(|newer| shard.index.apply(&key::version(bucket, "k", order + newer), None));
    };
    bury();
    let stop = Rc::new(Cell::new(false));
    let changes: Vec<_> = others
        .into_iter()
        .map(|name| tokio::task::spawn_local(come_and_go(server.clone(), name, stop.clone())))
        .collect();
    // Again and again, because merges drop what marks a removed version.
    let digging = tokio::task::spawn_local(async move {
        let mut clock = tokio::time::interval(Duration::from_millis(4));
        loop {
            clock.tick().await;
            bury();
        }
    });
    for _ in 0..3 {
        assert_eq!(read(&server, "k", None).await, Ok(body("k", 0, 10)));
        assert_eq!(all_keys(&server, "k", "", "", 10).await, [Line::Key("k".into())]);
        let line = Line::Version("k".into(), id.clone(), true, false);
        assert_eq!(all_versions(&server, "k", "", "", 10).await, [line]);
    }
    digging.abort();
    assert!(digging.await.is_err_and(|end| end.is_cancelled()));
    stop.set(true);
    for change in changes {
        assert!(change.await.expect("the changes go on to the end") > 0);
    }
    Rc::try_unwrap(server).ok().expect("nobody else holds it").stop().await;
}

/// Puts an object and deletes it for good, and says how often.
async fn come_and_go(server: Rc<Server>, key: String, stop: Rc<Cell<bool>>) -> u64 {
    let mut turn = 0;
    while !stop.get() {
        let id = perform(&server, &Step::Put(key.clone(), body(&key, turn, 10))).await.expect("a put");
        perform(&server, &Step::DeleteVersion(key.clone(), id)).await.expect("a deletion");
        turn += 1;
    }
    turn
}

#[test]
fn no_version_is_lost_wherever_the_power_fails() {
    for seed in 1..=40 {
        run(async move { cut_repeatedly(seed).await });
    }
}

async fn cut_repeatedly(seed: u64) {
    let sim = world(seed, 3);
    let request = request(3, 1);
    let server = fresh_on(&sim, &request).await;
    server.stop().await;
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut model, mut under_way) = (Model::default(), None);
    let mut turn = 0;
    for _ in 0..4 {
        sim.crash_at_write(chance.below(300));
        if let Ok(server) = start(&sim, &request).await {
            if !settle(&sim, &server, &mut model, &mut under_way).await {
                sim.crash();
                continue;
            }
            while !sim.is_cut() {
                turn += 1;
                let step = any_step(&model, &mut chance, turn);
                under_way = Some(step.clone());
                let wait = std::time::Duration::from_secs(60);
                if let Ok(Ok(id)) = tokio::time::timeout(wait, perform(&server, &step)).await {
                    model.apply(&step, &id);
                    under_way = None;
                }
            }
        }
        sim.crash();
    }
    let server = start(&sim, &request).await.expect("it starts after the cuts");
    assert!(settle(&sim, &server, &mut model, &mut under_way).await);
    check(&server, &model).await;
    clear(&server, &model).await;
    server.stop().await;
}

/// Takes the step that was under way into the model if it came about; false when the power failed
/// again before that could be seen.
async fn settle(sim: &SimWorld, server: &Server, model: &mut Model, under_way: &mut Option<Step>) -> bool {
    let Some(step) = under_way.take() else { return true };
    let query = versions_of(BUCKET, 10_000);
    let Ok(page) = server.store().list_versions(query).await else {
        assert!(sim.is_cut());
        *under_way = Some(step);
        return false;
    };
    let found: Vec<Line> = page
        .entries
        .iter()
        .map(|entry| match entry {
            VersionEntry::Version(version) => line_of(version),
            VersionEntry::Prefix(_) => panic!("no delimiter was given"),
        })
        .collect();
    let state = server.store().settings(BUCKET).expect("the bucket").settings.versioning;
    // The one id that nobody was told.
    let known = rolled_up(model, true, "", "", "");
    let known: BTreeSet<String> = known.into_iter().map(id_of).collect();
    let id = found.iter().cloned().map(id_of).find(|id| !known.contains(id)).unwrap_or_default();
    let mut after = model.clone();
    after.apply(&step, &id);
    if found == rolled_up(&after, true, "", "", "") && state == after.state {
        let (Step::Put(key, _) | Step::Delete(key)) = &step else {
            *model = after;
            return true;
        };
        // The same lines may stand for another body under the id null.
        match (read(server, key, None).await.ok(), sim.is_cut()) {
            (found, _) if found.as_ref() == after.current(key) => *model = after,
            (found, false) => assert!(found.as_ref() == model.current(key), "{key} is neither"),
            (_, true) => {
                *under_way = Some(step);
                return false;
            }
        }
        return true;
    }
    assert_eq!(found, rolled_up(model, true, "", "", ""), "after {step:?}");
    assert_eq!(state, model.state);
    true
}

fn id_of(line: Line) -> String {
    match line {
        Line::Version(key, id, ..) => {
            if id == "null" {
                format!("{key} null")
            } else {
                id
            }
        }
        _ => unreachable!("a listing of versions without groups"),
    }
}
