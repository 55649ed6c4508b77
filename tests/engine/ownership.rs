//! Who owns which page: what records name is exactly what the maps of space hold, and nobody names a page twice.
//!
//! The invariant of every freeing and every move, whenever the power failed: a page that two name is lost to one of
//! them, one that nobody names and that is taken is lost to all. Looks at all shards of a server, on all drives:
//! extents of versions, parts and packs, the runs of the index, the maps in the catalog, those in memory, and the
//! tables of the pool. Upkeep changes all of that while this looks, so it is waited for; what is wrong stays so.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use basalt::base::ids::{DriveId, ShardId};
use basalt::base::limits::PAGE;
use basalt::catalog::key;
use basalt::drive::bitmap::Bitmap;
use basalt::drive::segment;
use basalt::io::sim::SimWorld;
use basalt::object::repair::holdings::extent_of;
use basalt::object::shard::Shard;
use basalt::pool::extent::Address;
use basalt::pool::segments::Slot;

use crate::harness::Server;

/// How long upkeep is waited for, in simulated seconds.
const SECONDS: u32 = 1200;

/// Pages in a row, and who says that they are his.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    drive: DriveId,
    offset: u64,
    bytes: u64,
    shard: ShardId,
    /// In the maps of the catalog; a run is not.
    mapped: bool,
}

/// By drive and segment.
type Maps = BTreeMap<(DriveId, u32), Bitmap>;

impl Server {
    /// Waits until the shards own what their values name, and nothing else.
    pub async fn owned(&self) {
        let wrong = self.owned_unless(&|| false).await;
        assert_eq!(wrong, None, "the shards do not own what their values name");
    }

    /// The same, unless the power fails meanwhile.
    pub async fn owned_or_cut(&self, sim: &SimWorld) {
        let wrong = self.owned_unless(&|| sim.is_cut()).await;
        assert!(sim.is_cut() || wrong.is_none(), "the shards do not own what their values name: {wrong:?}");
    }

    /// Segments in which objects have bytes, by drive.
    pub async fn opened(&self) -> BTreeMap<DriveId, BTreeSet<u32>> {
        let bytes = self.shared.geometry.segment_bytes;
        let mut opened = BTreeMap::<DriveId, BTreeSet<u32>>::new();
        for shard in self.shards() {
            for claim in named(shard).await.expect("a scan").iter().filter(|claim| claim.mapped) {
                let segment = segment::of_offset(claim.offset, bytes).expect("an offset in a segment");
                opened.entry(claim.drive).or_default().insert(segment);
            }
        }
        opened
    }

    /// What is wrong and stays so.
    async fn owned_unless(&self, is_over: &dyn Fn() -> bool) -> Option<String> {
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        for _ in 1..SECONDS {
            if is_over() || self.look().await.is_ok() {
                return None;
            }
            clock.tick().await;
        }
        self.look().await.err()
    }

    async fn look(&self) -> Result<(), String> {
        let (mut claims, mut segments) = (Vec::new(), BTreeSet::new());
        for shard in self.shards() {
            shard.checkpoint().await.map_err(|error| format!("no checkpoint: {error}"))?;
            let mine = named(shard).await?;
            self.maps_agree(shard, &mine).await?;
            claims.extend(mine);
        }
        for shard in self.shards() {
            for at in owned_segments(shard) {
                let slot = self.core().pool.table(at.0).slot(at.1);
                // A drive that was missing at the start has no table.
                let is_listed = slot.is_none_or(|slot| slot == Slot::Data(shard.id));
                if !is_listed || !segments.insert(at) {
                    return Err(format!("segment {at:?} of shard {} is listed as {slot:?}", shard.id));
                }
            }
        }
        claims.sort();
        let clash = claims
            .windows(2)
            .find(|pair| pair[0].drive == pair[1].drive && pair[0].offset + pair[0].bytes > pair[1].offset);
        clash.map_or(Ok(()), |pair| Err(format!("two own the same: {pair:?}")))
    }

    /// What is named is what the maps say, page by page, and what is in memory sums up to the same.
    async fn maps_agree(&self, shard: &Rc<Shard>, named: &[Claim]) -> Result<(), String> {
        let bytes = self.shared.geometry.segment_bytes;
        let pages = (bytes / PAGE as u64) as u32;
        let (start, end) = key::spaces();
        let (mut scan, mut maps) = (shard.index.scan(start, end), Maps::new());
        while let Some((at, value)) = scan.next().await.map_err(|error| error.to_string())? {
            let at = key::parse_space(&at).expect("the key of a map");
            maps.insert(at, Bitmap::decode(&value, pages).expect("a map"));
        }
        for claim in named.iter().filter(|claim| claim.mapped) {
            let segment = segment::of_offset(claim.offset, bytes).expect("an offset in a segment");
            let page = ((claim.offset - segment::offset(segment, bytes)) / PAGE as u64) as u32;
            let count = (claim.bytes / PAGE as u64) as u32;
            let map = maps.get_mut(&(claim.drive, segment)).filter(|map| map.count(page, count) == count);
            map.ok_or_else(|| format!("{claim:?} is not in the maps"))?.clear(page, count);
        }
        let stray = maps.iter().find(|(_, map)| map.ones() > 0);
        if let Some((at, map)) = stray {
            return Err(format!("shard {} owns {} pages of {at:?} that nothing names", shard.id, map.ones()));
        }
        for drive in shard.pool.drives.iter().map(|drive| drive.id()) {
            let sum = |mapped: bool| -> u64 {
                let here = named.iter().filter(|claim| claim.drive == drive && claim.mapped == mapped);
                here.map(|claim| claim.bytes).sum()
            };
            let all = shard.space.segments(drive).len() as u64 * (bytes - PAGE as u64);
            let found = (shard.space.committed_bytes(drive), shard.space.free_bytes(drive));
            let expected = (sum(true), all.saturating_sub(sum(true) + sum(false)));
            if found != expected {
                let id = shard.id;
                return Err(format!(
                    "shard {id}, drive {drive}: committed, free {found:?}, not {expected:?}"
                ));
            }
        }
        Ok(())
    }
}

fn owned_segments(shard: &Shard) -> Vec<(DriveId, u32)> {
    let drives = shard.pool.drives.iter().map(|drive| drive.id());
    drives.flat_map(|drive| shard.space.segments(drive).into_iter().map(move |at| (drive, at))).collect()
}

/// Everything that values and the manifest of a shard name, but for what another shard got since.
async fn named(shard: &Shard) -> Result<Vec<Claim>, String> {
    let mut claims = Vec::new();
    let mut claim = |address: Address, bytes: u64, mapped: bool| {
        claims.push(Claim { drive: address.drive, offset: address.offset, bytes, shard: shard.id, mapped });
    };
    let mut scan = shard.index.scan(Vec::new(), vec![0xff]);
    while let Some((at, value)) = scan.next().await.map_err(|error| error.to_string())? {
        let Some(extent) = extent_of(&at, &value) else { continue };
        let held = shard.space.held(&extent);
        held.spans().for_each(|(address, pages)| claim(address, u64::from(pages) * PAGE as u64, true));
    }
    for run in shard.index.extents() {
        let held = shard.space.held_mirrored(&run);
        held.copies.iter().for_each(|address| claim(*address, u64::from(run.len), false));
    }
    Ok(claims)
}
