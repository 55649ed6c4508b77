//! Random work under power cuts on drives that are full and slow: nothing acknowledged is lost, and whatever the
//! crash left, every page has one owner.
//!
//! Objects small and large, versions and uploads come and go, so that packs are made, compacted and emptied, logs
//! retired, and segments go from shard to shard, while single writes take very long. The power fails at any write;
//! between two cuts some drives may be away. Only as many segments may be used as make the drives full soon.

use std::collections::BTreeMap;
use std::time::Duration;

use basalt::base::join::join_all;
use basalt::codec::xml::Versioning;
use basalt::io::sim::{Fault, OpKind, SimWorld};
use basalt::object::decisions::commit::Deletion;
use basalt::object::error::ObjectError;
use basalt::object::meta::ETag;
use basalt::object::registry::settings::Setting;
use basalt::object::store::{Commit, Complete, NewUpload, PartClaim};
use basalt::pool::segments::Slot;
use bytes::Bytes;

use crate::harness::{BUCKET, Chance, Server, body, fresh_on, paths, run, start, wide_request, world};

pub const VERSIONED: &str = "versioned";
const CLIENTS: usize = 6;
const SESSIONS: u64 = 5;
/// One of each kind of pool. The second finds space of emptied packs that is given away too early.
const SEEDS: [u64; 4] = [1, 10, 3, 4];

/// The number of a write and its size; `None` where nothing is.
pub type State = Option<(u64, usize)>;

/// What one client knows.
pub struct Client {
    number: usize,
    pub chance: Chance,
    writes: u64,
    /// What each key may hold: one state when all is acknowledged.
    pub keys: BTreeMap<String, Vec<State>>,
    /// Versions by key and id, and whether their deletion is in doubt.
    versions: BTreeMap<(String, String), ((u64, usize), bool)>,
    /// The last answer that says neither yes nor no.
    pub unclear: Option<ObjectError>,
}

impl Client {
    pub fn new(number: usize, seed: u64) -> Client {
        let (keys, versions) = (BTreeMap::new(), BTreeMap::new());
        Client { number, chance: Chance(seed | 1), writes: 0, keys, versions, unclear: None }
    }

    /// Works until the power is cut, or for an hour.
    async fn work(&mut self, sim: &SimWorld, server: &Server) {
        let end = tokio::time::Instant::now() + Duration::from_secs(3600);
        while !sim.is_cut() && tokio::time::Instant::now() < end {
            tokio::select! {
                () = self.step(server) => {}
                () = cut(sim) => return,
            }
        }
    }

    pub async fn step(&mut self, server: &Server) {
        if self.chance.below(60) == 0 {
            self.empty_out(server).await;
        }
        match self.chance.below(16) {
            0..6 => self.write_small(server).await,
            6..9 => self.write_one(server, None).await,
            9..11 => self.upload(server).await,
            11 => self.put_version(server).await,
            12 => self.delete_version(server).await,
            _ => self.delete_some(server).await,
        }
    }

    /// Neighbours in time, which are neighbours in packs.
    async fn write_small(&mut self, server: &Server) {
        for _ in 0..1 + self.chance.below(40) {
            let size = 100 + self.chance.below(16_000) as usize;
            self.write_one(server, Some(size)).await;
        }
    }

    pub fn next(&mut self, size: Option<usize>) -> (String, (u64, usize)) {
        self.writes += 1;
        let size = size.unwrap_or_else(|| 17_000 + self.chance.below(400_000) as usize);
        let key = match size {
            ..17_000 => format!("small{}/{:04}", self.number, self.writes % 1500),
            _ => format!("large{}/{:02}", self.number, self.chance.below(80)),
        };
        (key, (self.writes, size))
    }

    async fn write_one(&mut self, server: &Server, size: Option<usize>) {
        let (key, (write, size)) = self.next(size);
        self.begin(&key, Some((write, size)));
        let done = server.put(&key, body(&key, write, size)).await;
        self.end(&key, done);
    }

    /// Segments that nothing is left in go to other shards after a while.
    async fn empty_out(&mut self, server: &Server) {
        self.delete_from(server, 0, usize::MAX).await;
        let mut clock = tokio::time::interval(Duration::from_secs(1 + self.chance.below(30)));
        clock.tick().await;
        clock.tick().await;
    }

    async fn delete_some(&mut self, server: &Server) {
        let first = self.chance.below(self.keys.len().max(1) as u64) as usize;
        let count = 1 + self.chance.below(60) as usize;
        self.delete_from(server, first, count).await;
    }

    async fn delete_from(&mut self, server: &Server, first: usize, count: usize) {
        let some: Vec<String> = self.keys.keys().skip(first).take(count).cloned().collect();
        for key in some {
            self.begin(&key, None);
            let done = server.delete(&key).await;
            self.end(&key, done);
        }
    }

    /// One part that counts, written twice at times, and one that does not; completed or given up.
    async fn upload(&mut self, server: &Server) {
        let (key, (write, size)) = self.next(None);
        let store = server.store();
        let Ok(upload) = store.create_upload(BUCKET, &key, NewUpload::default()).await else { return };
        let part = async |number: u16, body: Bytes| {
            let size = Some(body.len() as u64);
            let mut writer =
                server.store().upload_part(BUCKET, &key, &upload.upload_id, number, size).await?;
            writer.write(body).await?;
            writer.commit_part(ETag::default(), None).await.map(drop)
        };
        let mut sent = Ok(());
        for turn in 0..1 + self.chance.below(2) {
            sent = sent.and(part(1, body(&key, write + turn, size)).await);
        }
        sent = sent.and(part(1, body(&key, write, size)).await);
        sent = sent.and(part(2, body(&key, write, 30_000)).await);
        if sent.is_err() || self.chance.below(3) == 0 {
            let _ = server.store().abort_upload(BUCKET, &key, &upload.upload_id).await;
            return;
        }
        let etag = ETag::default().quoted().to_owned();
        let parts = vec![PartClaim { number: 1, etag, checksum: None }];
        self.begin(&key, Some((write, size)));
        let complete = Complete { parts, ..Complete::default() };
        let done = server.store().complete_upload(BUCKET, &key, &upload.upload_id, complete).await;
        self.end(&key, done.map(drop));
    }

    async fn put_version(&mut self, server: &Server) {
        self.writes += 1;
        let key = format!("v{}/{}", self.number, self.chance.below(5));
        let (write, size) = (self.writes, self.chance.size().min(200_000));
        let put = async {
            let mut writer = server.store().put(VERSIONED, &key, Some(size as u64)).await?;
            writer.write(body(&key, write, size)).await?;
            writer.commit(Commit::default()).await
        };
        if let Ok(done) = put.await {
            let id = done.version_id.expect("the bucket has versions");
            self.versions.insert((key, id), ((write, size), false));
        }
    }

    async fn delete_version(&mut self, server: &Server) {
        let place = self.chance.below(self.versions.len().max(1) as u64) as usize;
        let Some((at, (_, doubt))) = self.versions.iter_mut().nth(place) else { return };
        *doubt = true;
        let (at, deletion) = (at.clone(), Deletion { version_id: Some(at.1.clone()), ..Deletion::default() });
        if server.store().delete(VERSIONED, &at.0, deletion).await.is_ok() {
            self.versions.remove(&at);
        }
    }

    pub fn begin(&mut self, key: &str, next: State) {
        self.keys.entry(key.to_owned()).or_insert_with(|| vec![None]).push(next);
    }

    pub fn end(&mut self, key: &str, done: Result<(), ObjectError>) {
        let states = self.keys.get_mut(key).expect("it was begun");
        match done {
            Ok(()) => drop(states.drain(..states.len() - 1)),
            // It was refused before anything was written to the log.
            Err(ObjectError::StorageFull | ObjectError::SlowDown) => drop(states.pop()),
            Err(error) => self.unclear = Some(error),
        }
    }

    /// Every key holds one of the states it may, and keeps to that.
    pub async fn check(&mut self, sim: &SimWorld, server: &Server) {
        for (key, states) in &mut self.keys {
            let found = match server.get(key).await {
                Ok(found) => found,
                Err(_) if sim.is_cut() => return,
                Err(error) => panic!("{key}: {error}, not one of {states:?}"),
            };
            let is = |state: &State| found == state.map(|(write, size)| body(key, write, size));
            let state = states.iter().copied().find(is);
            let len = found.as_ref().map(Bytes::len);
            *states = vec![state.unwrap_or_else(|| panic!("{key}: {len:?} bytes, not one of {states:?}"))];
        }
        self.keys.retain(|_, states| *states != [None]);
        for ((key, id), ((write, size), doubt)) in &self.versions {
            let found = read_version(server, VERSIONED, key, id).await;
            if sim.is_cut() {
                return;
            }
            let is_gone = found == Err(ObjectError::NoSuchVersion) && *doubt;
            assert!(
                is_gone || found == Ok(body(key, *write, *size)),
                "{key}, version {id}, in doubt: {doubt}"
            );
        }
    }
}

pub async fn read_version(server: &Server, bucket: &str, key: &str, id: &str) -> Result<Bytes, ObjectError> {
    let object = server.store().open_version(bucket, key, Some(id)).await?;
    let size = object.meta().size;
    let (mut stream, mut out) = (object.stream(0..size), Vec::new());
    while let Some(piece) = stream.next().await {
        out.extend_from_slice(&piece?);
    }
    Ok(out.into())
}

async fn cut(sim: &SimWorld) {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    while !sim.is_cut() {
        tick.tick().await;
    }
}

/// Leaves so many segments of each drive to use.
pub fn cramp(server: &Server, segments: usize) {
    for table in server.shared.tables.iter() {
        for segment in segments..table.len() {
            if matches!(table.slot(segment as u32), Some(Slot::Untouched | Slot::Empty)) {
                table.set(segment as u32, Slot::Damaged);
            }
        }
    }
}

/// Some of the next writes and flushes take very long.
pub fn slow_down(sim: &SimWorld, drives: usize, chance: &mut Chance) {
    for path in paths(drives) {
        for _ in 0..4 {
            let (file, bound) = [("basalt.data", 600), ("basalt.meta", 1500)][chance.below(2) as usize];
            let kind = if chance.below(4) == 0 { OpKind::Sync } else { OpKind::Write };
            let time = Duration::from_millis(1 << chance.below(15));
            sim.inject(path.join(file), kind, chance.below(bound), Fault::Stall(time));
        }
    }
}

async fn besiege(seed: u64) {
    let (drives, parity, segments) = [(1, 0, 44), (3, 1, 40), (4, 2, 44), (1, 0, 60)][seed as usize % 4];
    let (sim, request) = (world(seed, drives), wide_request(drives, parity));
    let mut chance = Chance(seed.wrapping_mul(0x1234_5678_9abc_def1) | 1);
    let server = fresh_on(&sim, &request).await;
    server.store().create_bucket(VERSIONED, "r", "o").await.expect("a bucket");
    let setting = Setting::Versioning(Versioning::Enabled);
    server.store().set_setting(VERSIONED, setting).await.expect("versions");
    server.stop().await;
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|number| Client::new(number, chance.below(u64::MAX))).collect();
    let mut away: Vec<usize> = Vec::new();
    for session in 0..SESSIONS {
        if chance.below(2) == 0 {
            slow_down(&sim, drives, &mut chance);
        }
        let early = chance.below(3) == 0;
        if early {
            sim.crash_at_write(chance.below(600));
        }
        match start(&sim, &request).await {
            Ok(server) => {
                cramp(&server, segments);
                for client in &mut clients {
                    client.check(&sim, &server).await;
                }
                server.owned_or_cut(&sim).await;
                if !early {
                    sim.crash_at_write(2000 + chance.below(12_000));
                }
                slow_down(&sim, drives, &mut chance);
                join_all(clients.iter_mut().map(|client| client.work(&sim, &server))).await;
            }
            Err(error) => assert!(sim.is_cut(), "it does not start: {error}"),
        }
        sim.crash();
        // One that was away may be missed again, and no other before it has everything that it missed.
        away.drain(..).for_each(|drive: usize| sim.revive(&paths(drives)[drive]));
        if session % 2 == 0 && parity > 0 {
            away = (0..usize::from(parity)).map(|next| (seed as usize + next) % drives).collect();
            away.iter().for_each(|drive| sim.kill(&paths(drives)[*drive]));
        }
    }
    away.iter().for_each(|drive| sim.revive(&paths(drives)[*drive]));
    let server = start(&sim, &request).await.expect("it starts after the cuts");
    server.scrubbed().await;
    for client in &mut clients {
        client.check(&sim, &server).await;
    }
    server.owned().await;
    server.stop().await;
}

#[test]
fn every_page_has_one_owner_wherever_the_power_fails_on_full_and_slow_drives() {
    for seed in SEEDS {
        eprintln!("seed {seed}");
        run(async move { besiege(seed).await });
    }
}
