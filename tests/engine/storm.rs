//! Everything at once: random work on cramped and slow drives, of which up to m die, fail, rot, stay away, come back
//! stale or blank, while scrubs and evacuations run, and the power fails at any write, at starts too and again and
//! again.
//!
//! The siege with troubles. Afterwards nothing acknowledged is lost, nothing deleted is back, every page has one owner,
//! and any m drives may be away. Beside what besiegers do there are uploads that are left open over starts, versions
//! that lapse by lifecycle, readers, and moments with more than m drives gone.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use basalt::base::join::join_all;
use basalt::codec::xml::{
    Expiration, Lifecycle, LifecycleFilter, LifecycleRule, NoncurrentExpiration, Versioning,
};
use basalt::io::sim::SimWorld;
use basalt::object::error::ObjectError;
use basalt::object::lifecycle::Day;
use basalt::object::meta::ETag;
use basalt::object::registry::settings::Setting;
use basalt::object::store::{Commit, Complete, NewUpload, PartClaim};
use basalt::pool::format::Request;
use basalt::upkeep::Patience;
use basalt::upkeep::lifecycle::{pass, subjects};
use bytes::Bytes;

use crate::harness::{
    BUCKET, CORES_MAX, Chance, Server, body, fresh_on, paths, run, start_with, wide_request, world,
};
use crate::siege::{Client, VERSIONED, cramp, read_version, slow_down};
use crate::trouble::Trouble;

const LAPSING: &str = "lapsing";
const CLIENTS: usize = 4;
const SESSIONS: u64 = 6;
/// One of each kind of pool.
const SEEDS: [u64; 2] = [2, 3];
const DRAFTS_MAX: usize = 4;

/// An upload that was begun.
struct Draft {
    key: String,
    id: String,
    write: u64,
    size: usize,
    /// Its part was acknowledged.
    sent: bool,
}

/// A client that does more than besiege.
struct Sailor {
    client: Client,
    drafts: Vec<Draft>,
    lapsing: BTreeMap<(String, String), (u64, usize)>,
}

/// Whether it must work: the power is on, and no more than m drives are gone.
struct Weather {
    sim: SimWorld,
    is_beyond: Rc<Cell<bool>>,
    readmitted: Rc<Cell<u64>>,
}

impl Weather {
    fn is_fair(&self) -> bool {
        !self.sim.is_cut() && !self.is_beyond.get()
    }
}

fn may_be_refused(error: &ObjectError) -> bool {
    matches!(error, ObjectError::StorageFull | ObjectError::SlowDown)
}

impl Sailor {
    async fn work(&mut self, weather: &Weather, server: &Server) {
        let mut pause = tokio::time::interval(Duration::from_millis(1));
        self.client.unclear = None;
        loop {
            pause.tick().await;
            let readmitted = weather.readmitted.get();
            match self.client.chance.below(12) {
                0 => self.begin_draft(server).await,
                1 => self.end_draft(weather, server).await,
                2 => self.put_lapsing(server).await,
                3 | 4 => self.read(weather, server).await,
                _ => self.client.step(server).await,
            }
            if let Some(error) = self.client.unclear.take() {
                let drives = server.shared.drives.iter().map(|drive| (drive.state(), drive.health.cause()));
                let drives: Vec<_> = drives.collect();
                let is_excused = !weather.is_fair() || weather.readmitted.get() != readmitted;
                assert!(is_excused, "a write was answered with {error}: {drives:?}");
            }
        }
    }

    async fn begin_draft(&mut self, server: &Server) {
        if self.drafts.len() >= DRAFTS_MAX {
            return;
        }
        let (key, (write, size)) = self.client.next(None);
        let Ok(upload) = server.store().create_upload(BUCKET, &key, NewUpload::default()).await else {
            return;
        };
        let id = upload.upload_id;
        self.drafts.push(Draft { key: key.clone(), id: id.clone(), write, size, sent: false });
        let part = async |number: u16, body: Bytes| {
            let len = Some(body.len() as u64);
            let mut writer = server.store().upload_part(BUCKET, &key, &id, number, len).await?;
            writer.write(body).await?;
            writer.commit_part(ETag::default(), None).await.map(drop)
        };
        let sent = part(1, body(&key, write, size)).await.is_ok();
        if let Some(draft) = self.drafts.last_mut() {
            draft.sent = sent;
        }
        let _: Result<(), ObjectError> = part(2, body(&key, write, 30_000)).await;
    }

    async fn end_draft(&mut self, weather: &Weather, server: &Server) {
        if self.drafts.is_empty() {
            return;
        }
        let place = self.client.chance.below(self.drafts.len() as u64) as usize;
        let draft = self.drafts.swap_remove(place);
        let Draft { key, id, write, size, sent } = &draft;
        if !sent || self.client.chance.below(3) == 0 {
            let done = server.store().abort_upload(BUCKET, key, id).await;
            if done.is_err_and(|error| may_be_refused(&error)) {
                self.drafts.push(draft);
            }
            return;
        }
        self.client.begin(key, Some((*write, *size)));
        let etag = ETag::default().quoted().to_owned();
        let parts = vec![PartClaim { number: 1, etag, checksum: None }];
        let complete = Complete { parts, ..Complete::default() };
        let done = server.store().complete_upload(BUCKET, key, id, complete).await;
        let is_refused = done.as_ref().is_err_and(may_be_refused);
        let is_stopped = done.as_ref().is_err_and(|error| *error == ObjectError::NotWritable);
        assert!(
            done.is_ok() || is_refused || is_stopped || !weather.is_fair(),
            "{key}: {:?}",
            done.map(drop)
        );
        self.client.end(key, done.map(drop));
        if is_refused {
            self.drafts.push(draft);
        }
    }

    async fn put_lapsing(&mut self, server: &Server) {
        let (_, (write, _)) = self.client.next(None);
        let key = format!("l{}/{}", self.client.chance.below(2), self.client.chance.below(4));
        let size = self.client.chance.size().min(200_000);
        let put = async {
            let mut writer = server.store().put(LAPSING, &key, Some(size as u64)).await?;
            writer.write(body(&key, write, size)).await?;
            writer.commit(Commit::default()).await
        };
        if let Ok(done) = put.await {
            let id = done.version_id.expect("the bucket has versions");
            self.lapsing.insert((key, id), (write, size));
        }
    }

    /// What is acknowledged reads, whatever drives do.
    async fn read(&mut self, weather: &Weather, server: &Server) {
        let place = self.client.chance.below(self.client.keys.len().max(1) as u64) as usize;
        let Some((key, states)) = self.client.keys.iter().nth(place) else { return };
        let [state] = states[..] else { return };
        let found = server.get(key).await;
        let is_it = found == Ok(state.map(|(write, size)| body(key, write, size)));
        let is_excused = found.is_err_and(|error| error == ObjectError::SlowDown || !weather.is_fair());
        assert!(is_it || is_excused, "{key} is not {state:?}");
    }

    async fn check(&mut self, sim: &SimWorld, server: &Server, listed: &BTreeSet<String>) {
        // What is neither there nor expected is not looked up one by one.
        for (key, states) in &mut self.client.keys {
            if !listed.contains(key) && states.contains(&None) {
                *states = vec![None];
            }
        }
        self.client.keys.retain(|_, states| *states != [None]);
        self.client.check(sim, server).await;
        let mut gone = Vec::new();
        for ((key, id), (write, size)) in &self.lapsing {
            match read_version(server, LAPSING, key, id).await {
                Ok(found) => {
                    assert!(found == body(key, *write, *size), "{key}, version {id} reads back wrong")
                }
                Err(ObjectError::NoSuchVersion) => gone.push((key.clone(), id.clone())),
                Err(error) => {
                    assert!(sim.is_cut(), "{key}, version {id}: {error}");
                    return;
                }
            }
        }
        self.lapsing.retain(|at, _| !gone.contains(at));
    }
}

/// All keys; `None` when the power fails.
async fn list(sim: &SimWorld, server: &Server) -> Option<BTreeSet<String>> {
    loop {
        match server.try_keys(1000).await {
            Ok(keys) => return Some(keys.into_iter().map(|(key, _)| key).collect()),
            Err(ObjectError::SlowDown) => {}
            Err(error) => {
                assert!(sim.is_cut(), "a listing: {error}");
                return None;
            }
        }
    }
}

async fn check(sim: &SimWorld, server: &Server, sailors: &mut [Sailor]) {
    let Some(listed) = list(sim, server).await else { return };
    let known = |key: &String| {
        sailors.iter().any(|sailor| sailor.client.keys.get(key).is_some_and(|states| *states != [None]))
    };
    let ghost = listed.iter().find(|key| !known(key));
    assert!(ghost.is_none(), "{ghost:?} is back");
    for sailor in sailors {
        sailor.check(sim, server, &listed).await;
    }
}

/// Versions lapse within seconds.
async fn lapse(server: &Server) {
    let mut clock = tokio::time::interval(Duration::from_secs(20));
    loop {
        clock.tick().await;
        let core = &server.cores[0].core;
        pass(core, subjects(core), Day::of_seconds(10)).await;
    }
}

async fn new_pool(sim: &SimWorld, request: &Request, made_of: usize) {
    let first = Request { paths: request.paths[..made_of].to_vec(), ..request.clone() };
    let server = fresh_on(sim, &first).await;
    for bucket in [VERSIONED, LAPSING] {
        server.store().create_bucket(bucket, "r", "o").await.expect("a bucket");
        let versions = Setting::Versioning(Versioning::Enabled);
        server.store().set_setting(bucket, versions).await.expect("versions");
    }
    let rule = LifecycleRule {
        id: "all".into(),
        enabled: true,
        filter: LifecycleFilter { prefix: Some("l0/".into()), ..LifecycleFilter::default() },
        expiration: Some(Expiration::Days(3)),
        noncurrent: Some(NoncurrentExpiration { days: 1, keep: None }),
        ..LifecycleRule::default()
    };
    let rules = Setting::Lifecycle(Lifecycle::new(vec![rule]));
    server.store().set_setting(LAPSING, rules).await.expect("rules");
    server.stop().await;
    if made_of < request.paths.len() {
        let grown = Request { adopt: true, ..request.clone() };
        start_with(sim, &grown, 1, Patience::default()).await.expect("a larger pool").stop().await;
    }
}

struct Storm {
    sim: SimWorld,
    request: Request,
    segments: usize,
    chance: Chance,
    sailors: Vec<Sailor>,
    trouble: Trouble,
}

impl Storm {
    async fn begin(seed: u64) -> Storm {
        let pools =
            [(3, 3, 1, 40), (4, 4, 2, 44), (5, 4, 2, 40), (2, 2, 1, 50), (6, 4, 2, 36), (4, 4, 1, 44)];
        let (drives, made_of, parity, segments) = pools[seed as usize % pools.len()];
        let (sim, request) = (world(seed, drives), wide_request(drives, parity));
        new_pool(&sim, &request, made_of).await;
        let mut chance = Chance(seed.wrapping_mul(0x1234_5678_9abc_def1) | 1);
        let trouble = Trouble::new(chance.below(u64::MAX), &request);
        let sailor = |number| {
            let client = Client::new(number, chance.below(u64::MAX));
            Sailor { client, drafts: Vec::new(), lapsing: BTreeMap::new() }
        };
        let sailors = (0..CLIENTS).map(sailor).collect();
        Storm { sim, request, segments, chance, sailors, trouble }
    }

    async fn start(&mut self, adopt: bool) -> Result<Server, String> {
        let request = Request { adopt, ..self.request.clone() };
        let cores = 1 + self.chance.below(CORES_MAX as u64) as usize;
        let evacuate = (self.chance.below(2) == 0).then(|| Duration::from_secs(1 + self.chance.below(60)));
        start_with(&self.sim, &request, cores, Patience { evacuate, scrub: None }).await
    }

    async fn session(&mut self) {
        let drives = self.request.paths.len();
        if self.chance.below(2) == 0 {
            slow_down(&self.sim, drives, &mut self.chance);
        }
        let early = self.chance.below(3) > 0;
        if early {
            self.sim.crash_at_write(self.chance.below(600));
        }
        let adopt = self.trouble.has_blank() && self.chance.below(4) > 0;
        eprintln!("a session: early {early}, adopt {adopt}, {:?}", self.trouble);
        match self.start(adopt).await {
            Ok(server) => {
                self.trouble.started(&server, adopt);
                cramp(&server, self.segments);
                check(&self.sim, &server, &mut self.sailors).await;
                server.owned_or_cut(&self.sim).await;
                if !early {
                    self.sim.crash_at_write(500 + self.chance.below(8_000));
                }
                slow_down(&self.sim, drives, &mut self.chance);
                self.sail(&server).await;
            }
            Err(error) => assert!(self.sim.is_cut(), "it does not start: {error}"),
        }
        self.sim.crash();
        self.trouble.between_starts(&self.sim);
    }

    /// Until the power is cut, or too many drives are gone.
    async fn sail(&mut self, server: &Server) {
        let (is_beyond, readmitted) = (self.trouble.is_beyond.clone(), self.trouble.readmitted.clone());
        let weather = Weather { sim: self.sim.clone(), is_beyond, readmitted };
        let work = join_all(self.sailors.iter_mut().map(|sailor| sailor.work(&weather, server)));
        let hour = tokio::time::timeout(Duration::from_secs(3600), work);
        tokio::select! {
            _ = hour => {}
            () = lapse(server) => {}
            () = self.trouble.go_on(&self.sim, server) => {}
        }
    }

    /// All drives are back, and a scrub has passed: then any m may be away.
    async fn end(mut self) {
        self.trouble.revive_all(&self.sim);
        let adopt = self.trouble.has_blank();
        let server = self.start(adopt).await.expect("it starts after the cuts");
        self.trouble.heal(&server).await;
        check(&self.sim, &server, &mut self.sailors).await;
        server.owned().await;
        server.stop().await;
        for drive in self.trouble.some() {
            self.sim.kill(&paths(self.request.paths.len())[drive]);
        }
        let server = self.start(false).await.expect("it starts without any m drives");
        check(&self.sim, &server, &mut self.sailors).await;
        server.owned().await;
        server.stop().await;
    }
}

async fn weather(seed: u64) {
    let mut storm = Storm::begin(seed).await;
    for _ in 0..SESSIONS {
        storm.session().await;
    }
    storm.end().await;
}

/// Those of `seeds=17..400` on the command line, to be tried by hand, or those of every day.
fn seeds() -> Vec<u64> {
    let range = |text: String| -> Option<Vec<u64>> {
        let (first, end) = text.strip_prefix("seeds=")?.split_once("..")?;
        Some((first.parse().ok()?..end.parse().ok()?).collect())
    };
    std::env::args().find_map(range).unwrap_or_else(|| SEEDS.to_vec())
}

#[test]
fn nothing_is_lost_in_a_storm() {
    for seed in seeds() {
        eprintln!("seed {seed}");
        run(async move { weather(seed).await });
    }
}
