//! Events through power cuts: an event is there exactly when the change is that it tells of, and one that was
//! told and deleted does not come back.
//!
//! A ledger keeps what was acknowledged. After each cut the events that wait are the ones of the ledger, in its
//! order for each key; the one operation under way left both its change and its event, or neither.

use std::collections::BTreeMap;
use std::rc::Rc;

use basalt::base::ids::ShardId;
use basalt::catalog::event::{EventKind, EventValue};
use basalt::codec::xml::{Notification, NotificationRule, TargetKind, Versioning};
use basalt::object::error::ObjectError;
use basalt::object::registry::settings::Setting;
use basalt::object::shard::Shard;
use bytes::Bytes;

use crate::harness::{BUCKET, Chance, Server, body, fresh_on, request, run, start, world};

const TARGET: &str = "hook";

/// Kind and size of the object, as far as the event tells.
type Told = (EventKind, Option<u64>);

fn listening() -> Setting {
    let rule = NotificationRule {
        id: "rule".into(),
        kind: TargetKind::Queue,
        arn: format!("arn:basalt:sqs:::{TARGET}"),
        events: vec!["s3:ObjectCreated:*".into(), "s3:ObjectRemoved:*".into()],
        prefix: None,
        suffix: None,
    };
    Setting::Notification(Notification { rules: vec![rule] })
}

/// What waits, by key and oldest first, with its shard and sequence.
async fn waiting(server: &Server) -> BTreeMap<String, Vec<(ShardId, u64, Told)>> {
    let mut all: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for shard in server.shards() {
        let page = shard.clone().event_page(TARGET.into(), 0, usize::MAX).await.expect("events");
        for (sequence, value) in page {
            let event = EventValue::decode(&value).expect("an event");
            let told = (event.kind, event.object.map(|(size, _)| size));
            all.entry(event.key).or_default().push((shard.id, sequence, told));
        }
    }
    all
}

async fn told(server: &Server) -> BTreeMap<String, Vec<Told>> {
    let plain = |events: Vec<(ShardId, u64, Told)>| events.into_iter().map(|(_, _, told)| told).collect();
    waiting(server).await.into_iter().map(|(key, events)| (key, plain(events))).collect()
}

/// What is there, and what waits to be told, as far as it was acknowledged.
#[derive(Clone, Default)]
struct Ledger {
    objects: BTreeMap<String, Bytes>,
    events: BTreeMap<String, Vec<Told>>,
}

impl Ledger {
    fn put(&mut self, key: &str, body: &Bytes) {
        self.objects.insert(key.into(), body.clone());
        let told = (EventKind::CreatedPut, Some(body.len() as u64));
        self.events.entry(key.into()).or_default().push(told);
    }

    fn delete(&mut self, key: &str) {
        if self.objects.remove(key).is_some() {
            self.events.entry(key.into()).or_default().push((EventKind::RemovedDelete, None));
        }
    }

    async fn agrees(&self, server: &Server) -> bool {
        let found: Vec<String> = server.keys().await.into_iter().map(|(key, _)| key).collect();
        if !found.iter().eq(self.objects.keys()) {
            return false;
        }
        for (key, body) in &self.objects {
            if server.get(key).await.expect("it reads").as_ref() != Some(body) {
                return false;
            }
        }
        told(server).await == self.events
    }
}

#[test]
fn an_event_is_there_exactly_when_its_change_is() {
    for seed in 1..=16u64 {
        run(async move { cut_repeatedly(seed).await });
    }
}

async fn cut_repeatedly(seed: u64) {
    let (sim, request) = (world(seed, 4), request(4, 2));
    let server = fresh_on(&sim, &request).await;
    server.store().set_setting(BUCKET, listening()).await.expect("a setting");
    server.stop().await;
    let mut chance = Chance(seed.wrapping_mul(0x1234_5678_9abc_def1) | 1);
    let mut ledger = Ledger::default();
    for turn in 0..3u64 {
        sim.crash_at_write(chance.below(300));
        let mut next = ledger.clone();
        if let Ok(server) = start(&sim, &request).await {
            for version in 0.. {
                next = ledger.clone();
                if step(&server, &mut next, &mut chance, turn << 32 | version).await.is_err() || sim.is_cut()
                {
                    break;
                }
                ledger = next.clone();
            }
        }
        sim.crash();
        let server = start(&sim, &request).await.expect("it starts after the cut");
        if next.agrees(&server).await {
            ledger = next;
        } else {
            assert!(
                ledger.agrees(&server).await,
                "seed {seed}: {:?}, {:?}",
                told(&server).await,
                ledger.events
            );
        }
        server.stop().await;
    }
}

/// One change, or some events told and deleted; `next` is what the ledger is if it comes about.
async fn step(
    server: &Server,
    next: &mut Ledger,
    chance: &mut Chance,
    version: u64,
) -> Result<(), ObjectError> {
    let key = format!("k/{:02}", chance.below(12));
    let patience = std::time::Duration::from_secs(60);
    let late = |_| Err(ObjectError::NotWritable);
    match chance.below(8) {
        0 => {
            let Some((shard, sequence, key)) = oldest(server, chance).await else { return Ok(()) };
            let events = next.events.get_mut(&key).expect("the ledger knows it");
            events.remove(0);
            if events.is_empty() {
                next.events.remove(&key);
            }
            let forget = shard.forget_events(TARGET.into(), vec![sequence]);
            tokio::time::timeout(patience, forget).await.unwrap_or_else(late)
        }
        1 | 2 => {
            next.delete(&key);
            tokio::time::timeout(patience, server.delete(&key)).await.unwrap_or_else(late)
        }
        _ => {
            let body = body(&key, version, chance.size());
            next.put(&key, &body);
            tokio::time::timeout(patience, server.put(&key, body)).await.unwrap_or_else(late)
        }
    }
}

/// The oldest event of some key.
async fn oldest(server: &Server, chance: &mut Chance) -> Option<(Rc<Shard>, u64, String)> {
    let waiting = waiting(server).await;
    let at = chance.below(waiting.len().max(1) as u64) as usize;
    let (key, events) = waiting.into_iter().nth(at)?;
    let (shard, sequence, _) = *events.first()?;
    Some((server.owner(shard).1.clone(), sequence, key))
}

#[test]
fn a_full_queue_refuses_and_changes_nothing() {
    run(async {
        let (sim, request) = (world(7, 4), request(4, 2));
        let server = fresh_on(&sim, &request).await;
        server.store().set_setting(BUCKET, listening()).await.expect("a setting");
        server.shards().for_each(|shard| shard.events.set_bound(2));
        let mut ledger = Ledger::default();
        let mut refused = 0;
        for version in 0..40 {
            let key = format!("k{}", version % 20);
            let body = body(&key, version, if version % 3 == 0 { 200_000 } else { 10 });
            match server.put(&key, body.clone()).await {
                Ok(()) => ledger.put(&key, &body),
                Err(ObjectError::SlowDown) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(refused, 40 - 2 * server.shards().count());
        let key = ledger.objects.keys().next().expect("some came through").clone();
        assert_eq!(server.delete(&key).await, Err(ObjectError::SlowDown));
        assert!(ledger.agrees(&server).await);
        let (shard, sequence, told) = oldest(&server, &mut Chance(1)).await.expect("something waits");
        shard.forget_events(TARGET.into(), vec![sequence]).await.expect("it is deleted");
        ledger.events.get_mut(&told).expect("the ledger knows it").remove(0);
        ledger.events.retain(|_, events| !events.is_empty());
        let body = body(&told, 99, 10);
        server.put(&told, body.clone()).await.expect("there is room in that shard again");
        ledger.put(&told, &body);
        server.stop().await;
        let server = start(&sim, &request).await.expect("the same pool");
        assert!(ledger.agrees(&server).await);
        server.stop().await;
    });
}

#[test]
fn sequences_of_a_key_ascend_over_restarts_and_what_happened_is_what_is_told() {
    run(async {
        let (sim, request) = (world(3, 4), request(4, 2));
        let server = fresh_on(&sim, &request).await;
        server.store().set_setting(BUCKET, listening()).await.expect("a setting");
        server.put("k", Bytes::from_static(b"1")).await.expect("a put");
        server.stop().await;
        let server = start(&sim, &request).await.expect("the same pool");
        let versioned = Setting::Versioning(Versioning::Enabled);
        server.store().set_setting(BUCKET, versioned).await.expect("a setting");
        server.delete("k").await.expect("a marker");
        sim.crash();
        drop(server);
        let server = start(&sim, &request).await.expect("the same pool");
        server.put("k", Bytes::from_static(b"12")).await.expect("a put");
        let events = waiting(&server).await.remove("k").expect("three events");
        let kinds: Vec<Told> = events.iter().map(|(_, _, told)| *told).collect();
        let put = |size| (EventKind::CreatedPut, Some(size));
        assert_eq!(kinds, [put(1), (EventKind::RemovedMarker, None), put(2)]);
        assert!(events.windows(2).all(|pair| pair[0].1 < pair[1].1));
        server.stop().await;
    });
}
