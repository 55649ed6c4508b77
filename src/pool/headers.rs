//! Segment headers as they stand on a drive, beside what the tables say.
//!
//! Owns the sample that tells a drive that lost what was written to it from one with a few bad blocks: headers stand
//! at the beginning of every segment, all over the drive, and each says whose it is. What readers find says little of
//! that: they ask for one object again and again. Only reads; writing a header again is the business of its owner
//! (`pool::place`). Invariant: a segment that changes hands while it is looked at is not judged.

use std::ops::AddAssign;
use std::rc::Rc;
use std::time::Duration;

use crate::base::join::join_all;
use crate::base::limits::{HEADERS_SAMPLED_MAX, HEADERS_WRONG_MIN, HEADERS_WRONG_SHARE, PAGE};
use crate::drive::device::{Area, Drive};
use crate::drive::segment::{self, Header, Owner};
use crate::io::buffer::AlignedBuf;
use crate::pool::Pool;
use crate::pool::segments::Slot;

/// A header may be on its way when it is looked for; not this long.
const AGAIN: Duration = Duration::from_secs(1);

/// What a look at some headers of a drive has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub checked: usize,
    /// Of those, unreadable or something else than a header of this segment.
    pub wrong: usize,
}

impl Sample {
    /// So many that the drive as a whole lost what was written to it.
    pub fn is_bad(&self) -> bool {
        let is_much = self.wrong * HEADERS_WRONG_SHARE >= self.checked;
        self.wrong > 0 && self.wrong >= HEADERS_WRONG_MIN.min(self.checked) && is_much
    }
}

impl AddAssign for Sample {
    fn add_assign(&mut self, other: Sample) {
        self.checked += other.checked;
        self.wrong += other.wrong;
    }
}

/// Looks at some segments of a drive, chosen by chance.
pub async fn sample(pool: &Pool, drive: &Rc<Drive>) -> Sample {
    let mut chosen = pool.table(drive.id()).headed();
    let count = chosen.len().min(HEADERS_SAMPLED_MAX);
    for index in 0..count {
        let rest = chosen.len() - index;
        chosen.swap(index, index + (pool.world.random_u64() % rest as u64) as usize);
    }
    chosen.truncate(count);
    let wrong = wrong_of(pool, drive, chosen).await;
    if wrong.is_empty() {
        return Sample { checked: count, wrong: 0 };
    }
    tokio::time::sleep(AGAIN).await;
    let wrong = wrong_of(pool, drive, wrong).await.len();
    drive.health().suspect(wrong);
    Sample { checked: count, wrong }
}

/// Those of the segments whose header is not as the table has it.
async fn wrong_of(pool: &Pool, drive: &Rc<Drive>, segments: Vec<(u32, Slot)>) -> Vec<(u32, Slot)> {
    let looks = segments.iter().map(|(segment, slot)| async move {
        let is_right = is_right(pool, drive, *segment, *slot).await;
        let is_still = pool.table(drive.id()).slot(*segment) == Some(*slot);
        (!is_right && is_still).then_some((*segment, *slot))
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// Whether the header that belongs there stands at the beginning of a segment.
pub(super) async fn is_right(pool: &Pool, drive: &Drive, segment: u32, slot: Slot) -> bool {
    let area = if matches!(slot, Slot::Data(_)) { Area::Data } else { Area::Meta };
    let offset = segment::offset(segment, pool.geometry.segment_bytes);
    let Ok(page) = drive.read(area, AlignedBuf::uninit_for_read(PAGE), offset).await else { return false };
    let Ok(header) = Header::decode(&page) else { return false };
    let is_its_own = (header.pool, header.drive, header.segment) == (pool.geometry.pool, drive.id(), segment);
    is_its_own
        && match (slot, header.owner) {
            (Slot::Data(shard), Owner::Data { shard: found }) => shard == found,
            (Slot::Log | Slot::Spare, Owner::Log { .. } | Owner::Spare) => true,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_wrong_headers_are_bad_luck_and_many_are_a_bad_drive() {
        for (checked, wrong, is_bad) in [
            (0, 0, false),
            (1, 0, false),
            (1, 1, true),
            (2, 1, false),
            (12, 2, false),
            (12, 3, true),
            (64, 15, false),
            (64, 16, true),
        ] {
            assert_eq!(Sample { checked, wrong }.is_bad(), is_bad, "{wrong} of {checked}");
        }
    }
}
