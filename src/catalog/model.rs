//! The index against a naive model: whatever the order of applies, flushes, merges, damage, failures
//! and crashes, it answers as a `BTreeMap` does, and no space is lost or freed twice.
//!
//! Owns the operations, the model, and a log of what no durable run holds, which is applied again
//! after a crash. Few keys, so that they meet again; key 0 is empty.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::base::ids::ShardId;
use crate::base::limits;
use crate::catalog::cache::BlockCache;
use crate::catalog::index::{Cached, Index};
use crate::catalog::naive::NaiveStore;
use crate::catalog::run::writer::RunSizes;
use crate::catalog::scan::Scan;

const SHARD: ShardId = ShardId(5);

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Op {
    Put(u16, u32),
    Delete(u16),
    /// Many neighbours at once, so that runs have several blocks.
    PutRange(u16, u16, u32),
    DeleteRange(u16, u16),
    Get(u16),
    Scan(u16, u16, Option<u16>),
    /// A range is put or deleted and brought to a run, and merges are done or left for later.
    Cycle(u16, u16, Option<u32>, bool),
    Freeze,
    Flush,
    Merge,
    /// Makes the list of runs durable and says so.
    Install,
    /// Begins a scan that is finished later.
    Hold(u16),
    Release,
    /// Comes back from the last durable list; what was not in runs of it is applied again, as the log would.
    Reopen,
    /// Stops between the durable list and `installed`, before or after the list is durable.
    CrashInstalling(bool),
    /// Flush, two merges, applies and gets side by side.
    Together(u16),
    /// Flush and merge are given up in the middle.
    GiveUp(u8),
    Damage(u16, u8, u8),
    FailIn(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let value =
        prop_oneof![20 => 0u32..400, 2 => 400u32..20_000, 1 => 30_000u32..200_000, 1 => Just(1 << 20)];
    let op = prop_oneof![
        8 => (any::<u16>(), value).prop_map(|(key, len)| Op::Put(key, len)),
        4 => any::<u16>().prop_map(Op::Delete),
        5 => (any::<u16>(), 1u16..400, 0u32..300).prop_map(|(key, count, len)| Op::PutRange(key, count, len)),
        3 => (any::<u16>(), 1u16..400).prop_map(|(key, count)| Op::DeleteRange(key, count)),
        6 => any::<u16>().prop_map(Op::Get),
        4 => (any::<u16>(), any::<u16>(), any::<Option<u16>>()).prop_map(|(a, b, c)| Op::Scan(a, b, c)),
        12 => (0u16..60, prop_oneof![Just(51), 1u16..60], prop::option::weighted(0.7, 0u32..100), any::<bool>())
            .prop_map(|(key, count, len, merge)| Op::Cycle(50 * key, count, len, merge)),
        5 => Just(Op::Freeze),
        5 => Just(Op::Flush),
        5 => Just(Op::Merge),
        6 => Just(Op::Install),
        1 => any::<u16>().prop_map(Op::Hold),
        1 => Just(Op::Release),
        1 => Just(Op::Reopen),
        1 => any::<bool>().prop_map(Op::CrashInstalling),
        3 => any::<u16>().prop_map(Op::Together),
        1 => any::<u8>().prop_map(Op::GiveUp),
        2 => any::<(u16, u8, u8)>().prop_map(|(extent, page, byte)| Op::Damage(extent, page, byte)),
        1 => (0u8..8).prop_map(Op::FailIn),
    ];
    vec(op, 1..160)
}

/// The index under test, the model, and what a crash would leave.
struct Bench {
    store: NaiveStore,
    cache: Rc<BlockCache>,
    index: Rc<Index<NaiveStore>>,
    model: Map,
    /// Changes since the oldest one that no durable run holds: what the log keeps.
    log: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// How many of them the frozen memtable holds.
    log_frozen: usize,
    durable: Vec<u8>,
    held: Option<(Scan<NaiveStore>, Map)>,
    key_prefix: usize,
    sizes: RunSizes,
    values: u32,
}

impl Bench {
    async fn new(cache_bytes: u64, key_prefix: usize, sizes: RunSizes) -> Self {
        let store = NaiveStore::default();
        let cache = BlockCache::new(cache_bytes);
        let index = Rc::new(Index::open_with(store.clone(), cache.clone(), SHARD, &[], sizes).await.unwrap());
        Bench {
            store,
            cache,
            index,
            model: Map::new(),
            log: Vec::new(),
            log_frozen: 0,
            durable: Vec::new(),
            held: None,
            key_prefix,
            sizes,
            values: 0,
        }
    }

    fn key(&self, n: u16) -> Vec<u8> {
        match n % 3000 {
            0 => Vec::new(),
            n => [&b"p".repeat(self.key_prefix)[..], format!("{n:04}").as_bytes()].concat(),
        }
    }

    fn apply(&mut self, n: u16, len: Option<u32>) {
        self.values += 1;
        let key = self.key(n);
        let value = len.map(|len| {
            let mut value = self.values.to_le_bytes().repeat(len as usize / 4 + 1);
            value.truncate(len as usize);
            value
        });
        self.index.apply(&key, value.as_deref());
        match &value {
            Some(value) => self.model.insert(key.clone(), value.clone()),
            None => self.model.remove(&key),
        };
        if let Some((_, stable)) = &mut self.held {
            stable.remove(&key);
        }
        self.log.push((key, value));
    }

    async fn check_get(&self, n: u16) {
        let key = self.key(n);
        let expected = self.model.get(&key).map(|value| Bytes::copy_from_slice(value));
        if let Cached::Found(found) = self.index.get_cached(&key) {
            assert_eq!(found, expected, "from memory, key {n}");
        }
        assert_eq!(self.index.get(&key).await.unwrap(), expected, "key {n}");
    }

    async fn check_scan(&self, start: Vec<u8>, end: Vec<u8>, seek: Option<Vec<u8>>) {
        let mut scan = self.index.scan(start.clone(), end.clone());
        let mut from = Bound::Included(start);
        loop {
            let expected = match &from {
                Bound::Included(start) | Bound::Excluded(start) if *start >= end => None,
                from => self.model.range((from.clone(), Bound::Excluded(end.clone()))).next(),
            };
            let found = scan.next().await.unwrap();
            assert_eq!(found.as_ref().map(|(key, _)| &key[..]), expected.map(|(key, _)| &key[..]));
            let (Some((key, value)), Some((_, expected))) = (found, expected) else { break };
            assert_eq!(value, expected[..], "value of {key:?}");
            from = Bound::Excluded(key.to_vec());
            if let Some(target) = seek.as_ref().filter(|target| target[..] > key[..]) {
                scan.seek(target);
                from = Bound::Included(target.clone());
            }
        }
        assert!(scan.next().await.unwrap().is_none(), "an ended scan stays ended");
    }

    fn freeze(&mut self) {
        if self.index.freeze() {
            self.log_frozen = self.log.len();
        }
    }

    fn install(&mut self) {
        let frozen = self.index.frozen_bytes();
        self.durable = self.index.encode_levels();
        self.index.installed();
        if frozen > 0 && self.index.frozen_bytes() == 0 {
            self.log.drain(..self.log_frozen);
            self.log_frozen = 0;
        }
        assert!(self.durable.len() <= limits::MANIFEST_BYTES);
    }

    /// What the index owns is exactly what is live, once nothing is staged or read.
    fn check_space(&self) {
        assert_eq!(NaiveStore::addresses(&self.index.extents()), self.store.live());
    }

    /// A scan begun earlier sees all that has not changed since, in order, and nothing twice.
    async fn release(&mut self) {
        let Some((mut scan, stable)) = self.held.take() else { return };
        let mut seen = Vec::new();
        while let Some((key, value)) = scan.next().await.unwrap() {
            assert!(stable.get(&key[..]).is_none_or(|expected| value == expected[..]));
            seen.push(key);
        }
        assert!(seen.is_sorted_by(|a, b| a < b));
        assert!(stable.keys().all(|key| seen.binary_search_by(|seen| seen[..].cmp(key)).is_ok()));
    }

    async fn perform(&mut self, op: Op) {
        match op {
            Op::Put(key, len) => self.apply(key, Some(len)),
            Op::Delete(key) => self.apply(key, None),
            Op::PutRange(key, count, len) => {
                (0..count).for_each(|n| self.apply(key.wrapping_add(n), Some(len)))
            }
            Op::DeleteRange(key, count) => (0..count).for_each(|n| self.apply(key.wrapping_add(n), None)),
            Op::Get(key) => self.check_get(key).await,
            Op::Scan(a, b, seek) => {
                let (a, b, seek) = (self.key(a), self.key(b), seek.map(|seek| self.key(seek)));
                self.check_scan(a, b, seek).await;
            }
            Op::Cycle(key, count, len, merge) => {
                (0..count).for_each(|n| self.apply(key.wrapping_add(n), len));
                self.freeze();
                let _ = self.index.flush().await;
                self.install();
                while merge && self.index.needs_merge() && self.index.merge().await.is_ok() {
                    self.install();
                }
            }
            Op::Freeze => self.freeze(),
            Op::Flush => drop(self.index.flush().await),
            Op::Merge => drop(self.index.merge().await),
            Op::Install => self.install(),
            Op::Hold(key) => {
                let start = self.key(key);
                let stable = self.model.range(start.clone()..).map(|(k, v)| (k.clone(), v.clone())).collect();
                let mut scan = self.index.scan(start, vec![0xff; 4]);
                let first = scan.next().await.unwrap();
                let stable: Map = stable;
                assert_eq!(first.map(|(key, _)| key.to_vec()).as_ref(), stable.keys().next());
                self.held = Some((scan, stable.into_iter().skip(1).collect()));
            }
            Op::Release => self.release().await,
            Op::Reopen => self.reopen(true).await,
            Op::CrashInstalling(durable) => {
                let list = self.index.encode_levels();
                if durable {
                    self.durable = list;
                }
                self.reopen(false).await;
            }
            Op::Together(key) => self.together(key).await,
            Op::GiveUp(polls) => {
                tokio::select! {
                    biased;
                    _ = async { tokio::join!(self.index.flush(), self.index.merge()) } => {}
                    () = yields(polls) => {}
                }
            }
            // Never the third copy, so that a good one is left of everything.
            Op::Damage(extent, page, byte) => {
                self.store.damage(extent.into(), usize::from(extent) % 2, page.into(), |page| {
                    page[usize::from(byte)] ^= 0x55
                });
            }
            Op::FailIn(operations) => self.store.fail_in(Some(operations.into())),
        }
    }

    /// Comes back from the durable list. `clean`: nothing was between the list and `installed`, so
    /// that dropping the index must have left exactly the space that the list owns.
    async fn reopen(&mut self, clean: bool) {
        self.held = None;
        let nothing = Index::open(NaiveStore::default(), self.cache.clone(), SHARD, &[]).await.unwrap();
        drop(std::mem::replace(&mut self.index, Rc::new(nothing)));
        let (store, cache) = (self.store.clone(), self.cache.clone());
        let reopened = Index::open_with(store, cache, SHARD, &self.durable, self.sizes).await;
        self.index = Rc::new(reopened.unwrap());
        if !clean {
            self.store.keep_only(&self.index.extents());
        }
        self.log.iter().for_each(|(key, value)| self.index.apply(key, value.as_deref()));
        self.log_frozen = 0;
        self.check_space();
    }

    async fn together(&mut self, key: u16) {
        let index = self.index.clone();
        let mut scan = self.index.scan(Vec::new(), vec![0xff; 4]);
        let applies = async {
            for n in 0..40 {
                self.apply(key.wrapping_add(n), (n % 3 > 0).then_some(u32::from(n)));
                self.check_get(key.wrapping_add(n / 2)).await;
                tokio::task::yield_now().await;
            }
        };
        let walk = async {
            let mut last = None;
            while let Some((key, _)) = scan.next().await.unwrap() {
                assert!(last.is_none_or(|last: Bytes| last < key));
                last = Some(key);
            }
        };
        let _ = tokio::join!(index.flush(), index.merge(), index.merge(), applies, walk);
    }

    async fn finish(mut self) {
        self.store.fail_in(None);
        self.release().await;
        self.check_all().await;
        self.index.flush().await.unwrap();
        self.install();
        self.check_all().await;
        self.freeze();
        self.index.flush().await.unwrap();
        self.install();
        assert!(self.log.is_empty());
        while self.index.needs_merge() {
            self.index.merge().await.unwrap();
            self.check_all().await;
            self.install();
        }
        self.check_all().await;
        self.check_space();
        self.reopen(true).await;
        self.check_all().await;
    }

    async fn check_all(&self) {
        self.check_scan(Vec::new(), vec![0xff; 4], None).await;
        for n in (0..3000).step_by(97) {
            self.check_get(n).await;
        }
    }
}

async fn yields(count: u8) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

fn run(ops: Vec<Op>, cache_bytes: u64, key_prefix: usize, sizes: RunSizes) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut bench = Bench::new(cache_bytes, key_prefix, sizes).await;
        for op in ops {
            bench.perform(op).await;
        }
        bench.finish().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_index_is_a_map(ops in ops(), cache in prop_oneof![Just(0u64), Just(100_000), Just(1 << 24)]) {
        run(ops, cache, 0, RunSizes::default());
    }

    #[test]
    fn the_index_is_a_map_in_many_small_runs(ops in ops(), partition_keys in 1usize..300) {
        run(ops, 1 << 20, 0, RunSizes { run_bytes: 20_000, partition_keys });
    }

    #[test]
    fn the_index_is_a_map_of_keys_with_long_prefixes(ops in ops()) {
        run(ops, 1 << 20, 1000, RunSizes::default());
    }

    #[test]
    fn no_damage_makes_an_answer_wrong(
        harm in vec(any::<(u16, u16, u8, bool)>(), 1..60),
        partition_keys in 1usize..300,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(harmed(harm, RunSizes { run_bytes: 20_000, partition_keys }));
    }
}

/// Any copies are damaged or exchanged for older or other bytes of the same length: what is answered
/// is right, or is an error.
async fn harmed(harm: Vec<(u16, u16, u8, bool)>, sizes: RunSizes) {
    let mut bench = Bench::new(0, 0, sizes).await;
    for n in 0..6 {
        bench.perform(Op::Cycle(300 * n, 500, Some(90), n % 2 == 1)).await;
        bench.perform(Op::Put(n, 100_000)).await;
    }
    for (a, b, copy, exchange) in harm {
        match exchange {
            true => bench.store.exchange(a.into(), b.into()),
            false => bench.store.damage(a.into(), copy.into(), b.into(), |page| page[usize::from(copy)] ^= 1),
        }
    }
    for n in 0..3000 {
        let key = bench.key(n);
        if let Ok(found) = bench.index.get(&key).await {
            assert_eq!(found.as_deref(), bench.model.get(&key).map(Vec::as_slice));
        }
    }
    let mut scan = bench.index.scan(Vec::new(), vec![0xff; 4]);
    let mut expected = bench.model.iter();
    // A scan also meets entries that newer ones hide, which no get reads: it may fail alone.
    while let Ok(found) = scan.next().await {
        let expected = expected.next().map(|(key, value)| (&key[..], &value[..]));
        assert_eq!(found.as_ref().map(|(key, value)| (&key[..], &value[..])), expected);
        if found.is_none() {
            break;
        }
    }
}
