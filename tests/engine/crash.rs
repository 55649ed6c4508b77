//! Power cuts at any write: what was acknowledged survives, what was not is absent or whole. With parity,
//! one drive misdirects writes of the log at the same time.
//!
//! Several clients write at once, through the cores in turn. The ledger of each keeps the last acknowledged
//! state of its keys and the one operation under way; after each cut every key must hold one of the two.

use std::collections::BTreeMap;
use std::time::Duration;

use basalt::base::join::join_all;
use basalt::base::limits::PAGE;
use basalt::drive::segment::SEGMENTS_OFFSET;
use basalt::io::sim::{Fault, OpKind, SimWorld};
use bytes::Bytes;

use crate::harness::{Chance, Server, body, fresh_on, paths, request, run, start, wide_request, world};

#[test]
fn a_store_keeps_what_it_is_given_and_finds_it_again() {
    run(async {
        let sim = world(1, 4);
        let server = fresh_on(&sim, &request(4, 2)).await;
        let mut model = BTreeMap::new();
        let mut chance = Chance(77);
        for version in 0..120 {
            let key = format!("k/{:02}", chance.below(40));
            if chance.below(5) == 0 {
                server.delete(&key).await.expect("a delete");
                model.remove(&key);
            } else {
                let body = body(&key, version, chance.size());
                server.put(&key, body.clone()).await.expect("a put");
                model.insert(key, body);
            }
        }
        server.check(&model).await;
        server.stop().await;
        let server = start(&sim, &request(4, 2)).await.expect("the same pool");
        server.check(&model).await;
        server.stop().await;
    });
}

/// What a key may hold after a cut: the last acknowledged state, or what was under way.
struct Ledger {
    client: usize,
    chance: Chance,
    version: u64,
    acknowledged: BTreeMap<String, Option<Bytes>>,
    under_way: Option<(String, Option<Bytes>)>,
}

impl Ledger {
    fn new(client: usize, seed: u64) -> Ledger {
        let (acknowledged, under_way) = (BTreeMap::new(), None);
        Ledger { client, chance: Chance(seed | 1), version: 0, acknowledged, under_way }
    }

    /// Writes until the power is cut.
    async fn write_on(&mut self, sim: &SimWorld, server: &Server) {
        while !sim.is_cut() {
            self.step(server).await;
        }
    }

    /// One mutation, under way until it is acknowledged.
    async fn step(&mut self, server: &Server) {
        self.version += 1;
        let key = format!("k{}/{:02}", self.client, self.chance.below(15));
        let next = (self.chance.below(4) > 0).then(|| body(&key, self.version, self.chance.size()));
        self.acknowledged.entry(key.clone()).or_default();
        self.under_way = Some((key.clone(), next.clone()));
        let mutation = async {
            match &next {
                Some(body) => server.put(&key, body.clone()).await,
                None => server.delete(&key).await,
            }
        };
        if let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(60), mutation).await {
            self.acknowledged.insert(key, next);
            self.under_way = None;
        }
    }

    /// Whatever a key holds must be one of the two. When the power fails on the way, the rest is
    /// checked after the next start.
    async fn check(&mut self, sim: &SimWorld, server: &Server) {
        let under_way = self.under_way.clone();
        for (key, expected) in &mut self.acknowledged {
            let found = match server.get(key).await {
                Ok(found) => found,
                Err(_) if sim.is_cut() => return,
                Err(error) => panic!("{key}: {error}"),
            };
            let other = under_way.as_ref().filter(|(name, _)| name == key).map(|(_, body)| body);
            let whole = found == *expected || other == Some(&found);
            let tell =
                |state: &Option<Bytes>| state.as_ref().map(|b| (b.len(), b.get(..8).map(<[u8]>::to_vec)));
            assert!(
                whole,
                "{key}: found {:?}, acknowledged {:?}, under way {:?}",
                tell(&found),
                tell(expected),
                under_way.as_ref().map(|(key, body)| (key, tell(body)))
            );
            *expected = found;
        }
        self.under_way = None;
    }
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_fails() {
    for seed in 1..=60u64 {
        eprintln!("seed {seed}");
        run(async move { cut_repeatedly(seed).await });
    }
}

async fn cut_repeatedly(seed: u64) {
    let (drives, parity) = [(1, 0), (3, 1), (4, 2)][seed as usize % 3];
    let sim = world(seed, drives);
    let request = wide_request(drives, parity);
    let server = fresh_on(&sim, &request).await;
    server.stop().await;
    let mut chance = Chance(seed.wrapping_mul(0x1234_5678_9abc_def1) | 1);
    let mut ledgers = [0, 1, 2].map(|client| Ledger::new(client, chance.below(u64::MAX)));
    for _ in 0..5 {
        if seed.is_multiple_of(2) && parity > 0 {
            misdirect_writes(&sim, &mut chance);
        }
        sim.crash_at_write(chance.below(400));
        match start(&sim, &request).await {
            Ok(server) => {
                for ledger in &mut ledgers {
                    ledger.check(&sim, &server).await;
                }
                server.owned_or_cut(&sim).await;
                join_all(ledgers.iter_mut().map(|ledger| ledger.write_on(&sim, &server))).await;
            }
            Err(error) => assert!(sim.is_cut(), "it does not start: {error}"),
        }
        sim.crash();
    }
    let server = start(&sim, &request).await.expect("it starts after the cuts");
    for ledger in &mut ledgers {
        ledger.check(&sim, &server).await;
    }
    server.owned().await;
    server.stop().await;
}

/// Some of the next writes to one drive's log land elsewhere in it, and nobody is told: that drive is
/// wrong in two places, the others are to make it good.
fn misdirect_writes(sim: &SimWorld, chance: &mut Chance) {
    let log = paths(1)[0].join("basalt.meta");
    for _ in 0..3 {
        let place = SEGMENTS_OFFSET + chance.below(8192) * PAGE as u64;
        sim.inject(log.clone(), OpKind::Write, chance.below(150), Fault::Misdirect(place));
    }
}
