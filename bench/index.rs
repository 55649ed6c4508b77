//! Measures the catalog's index alone, on a store in memory: what inserting, merging, looking up and
//! scanning cost in CPU, in one shard.
//!
//! Run by hand: `cargo run --release --example index [ENTRIES]`. It asserts nothing but that what was
//! put is found; figures belong into the commit that claims them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use basalt::base::ids::{DriveId, ShardId};
use basalt::catalog::cache::BlockCache;
use basalt::catalog::error::Result;
use basalt::catalog::index::{Cached, Index};
use basalt::catalog::run::store::RunStore;
use basalt::io::buffer::AlignedBuf;
use basalt::pool::extent::{Address, MirroredExtent};
use bytes::Bytes;

const MEMTABLE_BYTES: usize = 4 << 20;
const VALUE: [u8; 180] = [0x5a; 180];

fn main() {
    let entries = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for (name, order) in [("random", random as fn(u64) -> u64), ("rising", |n| n)] {
        println!("{entries} keys in {name} order, 1 shard, values of {} bytes", VALUE.len());
        runtime.block_on(measure(entries, order));
    }
}

async fn measure(entries: u64, order: fn(u64) -> u64) {
    let store = MemoryStore::default();
    let cache = BlockCache::new(1 << 30);
    let index = Index::open(store.clone(), cache.clone(), ShardId(0), &[]).await.expect("empty");
    insert(&index, &store, entries, order).await;
    get(&index, entries, order).await;
    absent(&index, entries).await;
    for name in ["cold", "warm"] {
        scan(&index, name, entries).await;
    }
    pages(&index, entries, order).await;
    println!("  {:?}\n  {:?}", index.stats(), cache.stats());
}

async fn insert(index: &Index<MemoryStore>, store: &MemoryStore, entries: u64, order: fn(u64) -> u64) {
    let (mut apply, mut flush, mut merge) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut n = 0;
    while n < entries {
        let begun = Instant::now();
        while n < entries && index.memtable_bytes() < MEMTABLE_BYTES {
            index.apply(&key(order(n)), Some(&VALUE));
            n += 1;
        }
        apply += begun.elapsed();
        let begun = Instant::now();
        index.freeze();
        index.flush().await.expect("memory never fails");
        install(index);
        flush += begun.elapsed();
        let begun = Instant::now();
        while index.needs_merge() {
            index.merge().await.expect("memory never fails");
            install(index);
        }
        merge += begun.elapsed();
    }
    let each = |time: Duration| time.as_nanos() as u64 / entries;
    let written = store.0.written.get() as f64 / (entries * (VALUE.len() as u64 + 44)) as f64;
    println!(
        "  insert: {} ns each, of it apply {} flush {} merge {}; written {written:.2} times",
        each(apply + flush + merge),
        each(apply),
        each(flush),
        each(merge)
    );
}

async fn get(index: &Index<MemoryStore>, entries: u64, order: fn(u64) -> u64) {
    for name in ["get, first", "get, again"] {
        let begun = Instant::now();
        let mut waited = 0;
        for n in 0..entries.min(300_000) {
            let key = key(order(n * 3 % entries));
            let value = match index.get_cached(&key) {
                Cached::Found(value) => value,
                Cached::NeedsIo => {
                    waited += 1;
                    index.get(&key).await.expect("memory never fails")
                }
            };
            assert_eq!(value.expect("it was put").len(), VALUE.len());
        }
        let each = begun.elapsed().as_nanos() as u64 / entries.min(300_000);
        println!("  {name}: {each} ns each, {waited} had to read");
    }
}

async fn absent(index: &Index<MemoryStore>, entries: u64) {
    let begun = Instant::now();
    let mut waited = 0;
    for n in 0..300_000 {
        match index.get_cached(&key(random(entries + n))) {
            Cached::Found(value) => assert!(value.is_none()),
            Cached::NeedsIo => waited += 1,
        }
    }
    println!("  get of absent keys: {} ns each, {waited} had to read", begun.elapsed().as_nanos() / 300_000);
}

async fn scan(index: &Index<MemoryStore>, name: &str, entries: u64) {
    let begun = Instant::now();
    let mut scan = index.scan(Vec::new(), vec![0xff]);
    let mut count = 0;
    while let Some((_, value)) = scan.next().await.expect("memory never fails") {
        count += usize::from(value.len() == VALUE.len()) as u64;
    }
    assert_eq!(count, entries);
    let each = begun.elapsed().as_nanos() as u64 / entries;
    println!("  scan of all, {name}: {each} ns a key, {:.2} million keys/s", 1000.0 / each as f64);
}

async fn pages(index: &Index<MemoryStore>, entries: u64, order: fn(u64) -> u64) {
    for (name, len, rounds) in [("1", 1, 20_000), ("1,000", 1000, 1000)] {
        let begun = Instant::now();
        for n in 0..rounds {
            let mut scan = index.scan(key(order(n * 7 % entries)), vec![0xff]);
            for _ in 0..len {
                scan.next().await.expect("memory never fails");
            }
        }
        println!("  scan of {name} from anywhere: {} ns each", begun.elapsed().as_nanos() as u64 / rounds);
    }
}

fn install(index: &Index<MemoryStore>) {
    index.encode_levels();
    index.installed();
}

fn key(n: u64) -> Vec<u8> {
    format!("\u{20}bucket01photos/2026/11/{:016x}.jpeg", n).into_bytes()
}

/// Spreads 0, 1, 2... over all 64-bit numbers, each once.
fn random(n: u64) -> u64 {
    let n = (n ^ n >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (n ^ n >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

#[derive(Clone, Default)]
struct MemoryStore(Rc<Inner>);

#[derive(Default)]
struct Inner {
    extents: RefCell<BTreeMap<u64, Bytes>>,
    next: Cell<u64>,
    written: Cell<u64>,
}

impl RunStore for MemoryStore {
    async fn write(&self, data: AlignedBuf) -> Result<MirroredExtent> {
        let (at, len) = (self.0.next.get(), data.len());
        self.0.next.set(at + len as u64);
        self.0.written.set(self.0.written.get() + len as u64);
        self.0.extents.borrow_mut().insert(at, data.into_bytes());
        let copies = std::iter::once(Address { drive: DriveId(0), offset: at }).collect();
        Ok(MirroredExtent { len: len as u32, copies })
    }

    async fn sync(&self) -> Result<()> {
        Ok(())
    }

    async fn read(
        &self,
        extent: &MirroredExtent,
        offset: u32,
        len: u32,
        verify: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Bytes> {
        let bytes =
            self.0.extents.borrow()[&extent.copies[0].offset].slice(offset as usize..(offset + len) as usize);
        assert!(verify(&bytes));
        Ok(bytes)
    }

    fn free(&self, extent: &MirroredExtent) {
        self.0.extents.borrow_mut().remove(&extent.copies[0].offset);
    }
}
