//! Assembling an existing pool: each drive in its seat, what is missing, and blank drives taken in.
//!
//! The members with the newest superblock say which drives there are and which of them are latched or being
//! filled again. A drive was away when it does not know of the newest epoch in which anything may have been stored; an
//! epoch that a start began and did not get through with is none of these. A blank drive is taken in only when the
//! operator asked for it: for a missing one first, under the same id, else as a further drive. Such drives introduce
//! themselves as *replacing* or *joining* before any member is told of them, so that whatever a power cut leaves is the
//! old pool or the new one.
//!
//! Invariant: a drive that is missing and one that stands in for it without having served count the same when
//! it is asked whether anything can be lost.

use std::collections::VecDeque;

use crate::base::ids::{DriveId, PoolId};
use crate::base::limits::{POOL_DRIVES_MAX, SYSTEM_SEGMENTS};
use crate::drive::health::Condition;
use crate::drive::superblock::{Geometry, Standing, Superblock};
use crate::io::world::World;
use crate::pool::format::{
    AssembleError, Assembly, Examined, Found, Member, Request, Result, blank_superblock, capacity, introduce,
    prepare,
};

pub async fn join(
    world: &World,
    examined: Vec<Examined>,
    pool: PoolId,
    request: &Request,
) -> Result<Assembly> {
    let newest = newest_of(&examined, pool)?;
    let geometry = newest.geometry;
    if let Some(asked) = request.parity.filter(|asked| *asked != geometry.parity_chunks) {
        return Err(AssembleError::ParityFixed { parity: geometry.parity_chunks, asked });
    }
    let served = served_epoch(&examined, pool);
    let newest = Superblock { rebuilding: lacking(&examined, &newest, served), ..newest };
    let members: Vec<Member> = (0..geometry.drives).map(empty_seat).collect();
    let (mut blanks, mut strangers) = (Vec::new(), Vec::new());
    let (scrubbed, locks) = (newest.scrubbed, Vec::new());
    let mut assembly =
        Assembly { geometry, epoch: 0, members, fresh: false, scrubbed, strangers: Vec::new(), locks };
    for drive in examined {
        seat(&mut assembly.members, &newest, served, drive, &mut blanks, &mut strangers)?;
    }
    if !request.adopt {
        let empty = |drive: &Examined| format!("{} is empty (is its disk mounted?)", drive.path.display());
        strangers.extend(blanks.iter().map(empty));
    }
    assembly.strangers = strangers;
    for member in assembly.members.iter_mut().filter(|member| newest.latched.contains(&member.drive)) {
        if member.condition.is_in_service() && !is_replacing(member) {
            member.condition = member.condition.latched();
            member.trouble =
                Some("failed a write in an earlier run, and was not readmitted since".to_owned());
            tracing::warn!(drive = %member.drive, "was latched before and stays out of service for writes");
        }
    }
    check_unusable(&assembly, &|condition| condition.is_missing())?;
    match request.adopt {
        true => adopt(world, &mut assembly, &newest, blanks, request).await?,
        false => blanks.iter().for_each(|drive| {
            tracing::warn!(
                path = %drive.path.display(),
                "is empty, and is not taken for a drive of the pool: it may be a mount that is missing; \
                 --adopt takes it in"
            );
        }),
    }
    Ok(assembly)
}

fn empty_seat(index: u16) -> Member {
    Member {
        drive: DriveId(index),
        path: None,
        is_device: false,
        condition: Condition::MISSING,
        superblock: None,
        trouble: None,
    }
}

/// The superblock that speaks for the pool.
fn newest_of(examined: &[Examined], pool: PoolId) -> Result<Superblock> {
    let mut newest: Option<&Superblock> = None;
    let mut first: Option<&Examined> = None;
    for drive in examined {
        let Found::Member(superblock) = &drive.found else { continue };
        if superblock.geometry.pool != pool {
            let (path, found) = (drive.path.clone(), superblock.geometry.pool);
            let is_ours =
                |other: &&Examined| matches!(&other.found, Found::Member(s) if s.geometry.pool == pool);
            let other = first.or_else(|| examined.iter().find(is_ours)).map(|drive| drive.path.clone());
            let other = other.unwrap_or_default();
            return Err(AssembleError::OtherPool { path, found, other, expected: pool });
        }
        first = first.or(Some(drive));
        let age = |superblock: &Superblock| (superblock.epoch, superblock.generation);
        let is_member = superblock.standing == Standing::Member;
        if is_member && newest.is_none_or(|newest| age(newest) < age(superblock)) {
            newest = Some(superblock);
        }
    }
    Ok(newest.expect("the pool was found in one of them").clone())
}

fn superblocks_of(examined: &[Examined], pool: PoolId) -> impl Iterator<Item = &Superblock> + Clone {
    let found = examined.iter().filter_map(|drive| match &drive.found {
        Found::Member(superblock) => Some(superblock),
        _ => None,
    });
    found.filter(move |superblock| superblock.geometry.pool == pool)
}

/// The newest epoch in which something may have been stored. A start is through when all drives but m know of its
/// epoch, so one that fewer can know of was cut off: who has not heard of that has missed nothing. Drives that are not
/// there may have heard.
fn served_epoch(examined: &[Examined], pool: PoolId) -> u32 {
    let superblocks = superblocks_of(examined, pool);
    let may_have_served = |of: &&Superblock| {
        let drives = of.geometry.drives;
        let has = |drive: &u16| examined.iter().any(|other| is_drive(other, pool, *drive));
        let missing = (0..drives).filter(|drive| !has(drive)).count();
        let heard = superblocks.clone().filter(|other| other.epoch >= of.epoch).count();
        heard + missing + usize::from(of.geometry.parity_chunks) >= usize::from(drives)
    };
    superblocks.clone().filter(may_have_served).map(|superblock| superblock.epoch).max().unwrap_or(0)
}

fn is_drive(examined: &Examined, pool: PoolId, drive: u16) -> bool {
    match &examined.found {
        Found::Member(superblock) | Found::Joining(superblock) => {
            superblock.geometry.pool == pool && superblock.drive.0 == drive
        }
        _ => false,
    }
}

/// Drives that lack something in the eyes of those that know of an epoch with something to miss. A start that was cut
/// off may have shared its number with the next one, which one of the drives then missed: its superblock is not older
/// than theirs.
fn lacking(examined: &[Examined], newest: &Superblock, served: u32) -> Vec<DriveId> {
    let heard =
        superblocks_of(examined, newest.geometry.pool).filter(|superblock| superblock.epoch >= served);
    // What a drive that is out says is as old as that.
    let heard = heard.filter(|superblock| !newest.latched.contains(&superblock.drive));
    let named = heard.flat_map(|superblock| superblock.rebuilding.iter().chain(&superblock.latched));
    let named = named.filter(|drive| !newest.latched.contains(drive));
    named.chain(&newest.rebuilding).copied().collect()
}

fn seat(
    members: &mut [Member],
    newest: &Superblock,
    served: u32,
    drive: Examined,
    blanks: &mut Vec<Examined>,
    strangers: &mut Vec<String>,
) -> Result<()> {
    let mut pass_over = |why: String| {
        let path = drive.path.display();
        tracing::error!(%path, why, "is not taken for a drive of the pool");
        strangers.push(format!("{path} {why}"));
        Ok(())
    };
    let superblock = match &drive.found {
        Found::Member(superblock) => superblock.clone(),
        // It was on its way in when the power failed; a seat that is not there any more is no seat.
        Found::Joining(superblock) if belongs(members, newest, superblock) => superblock.clone(),
        Found::Joining(_) | Found::Blank => {
            blanks.push(drive);
            return Ok(());
        }
        Found::Unusable(reason) => return pass_over(format!("cannot be told for one ({reason})")),
        Found::Closed(error) => return pass_over(format!("cannot be opened ({error})")),
    };
    let Some(seat) = members.get_mut(usize::from(superblock.drive.0)) else {
        return pass_over(format!(
            "says that it is drive {}, which the pool does not have",
            superblock.drive
        ));
    };
    if let Some(taken) = &seat.path {
        let (a, b) = (taken.clone(), drive.path);
        return Err(AssembleError::Duplicate { drive: superblock.drive, a, b });
    }
    let was_away = superblock.epoch < served;
    let is_replacing = superblock.standing == Standing::Replacing;
    let is_rebuilding = was_away || is_replacing || newest.rebuilding.contains(&superblock.drive);
    seat.condition = if is_rebuilding { Condition::REBUILDING } else { Condition::WHOLE };
    seat.path = Some(drive.path);
    seat.is_device = drive.is_device;
    seat.superblock = Some(superblock);
    Ok(())
}

fn belongs(members: &[Member], newest: &Superblock, superblock: &Superblock) -> bool {
    let seat = members.get(usize::from(superblock.drive.0));
    superblock.geometry == newest.geometry && seat.is_some_and(|seat| seat.path.is_none())
}

fn is_replacing(member: &Member) -> bool {
    member.superblock.as_ref().is_some_and(|superblock| superblock.standing == Standing::Replacing)
}

/// Refuses, by name and reason, when more drives than there are parity chunks cannot be relied on.
pub fn check_unusable(assembly: &Assembly, is_out: &dyn Fn(Condition) -> bool) -> Result<()> {
    let out = assembly.members.iter().filter(|member| is_out(member.condition) || is_replacing(member));
    let out: Vec<String> = out.map(trouble_of).collect();
    let (drives, parity) = (assembly.members.len(), usize::from(assembly.geometry.parity_chunks));
    if out.len() > parity {
        let strangers = assembly.strangers.clone();
        return Err(AssembleError::TooManyMissing { out, strangers, drives, parity });
    }
    Ok(())
}

fn trouble_of(member: &Member) -> String {
    match (&member.path, &member.trouble) {
        (None, _) => format!("drive {} is missing: it is on none of the paths given", member.drive),
        (Some(path), Some(trouble)) => format!("{} (drive {}) {trouble}", path.display(), member.drive),
        (Some(path), None) => {
            format!(
                "{} (drive {}) stands in for a lost drive and is not filled yet",
                path.display(),
                member.drive
            )
        }
    }
}

/// Gives every blank drive a seat. The superblocks of the others follow when the epoch begins.
async fn adopt(
    world: &World,
    assembly: &mut Assembly,
    newest: &Superblock,
    blanks: Vec<Examined>,
    request: &Request,
) -> Result<()> {
    let capacities = blanks
        .iter()
        .map(|drive| roomy(capacity(world, drive, &blanks, request)?, drive, &assembly.geometry))
        .collect::<Result<VecDeque<u64>>>()?;
    let missing = assembly.members.iter().filter(|member| member.condition.is_missing());
    let empty: Vec<DriveId> = missing.map(|member| member.drive).collect();
    let further = assembly.geometry.drives..POOL_DRIVES_MAX as u16;
    let seats: Vec<DriveId> = empty.into_iter().chain(further.map(DriveId)).take(blanks.len()).collect();
    if seats.len() < blanks.len() {
        return Err(AssembleError::Request(format!("a pool has at most {POOL_DRIVES_MAX} drives")));
    }
    let drives = seats.iter().map(|seat| seat.0 + 1).fold(assembly.geometry.drives, u16::max);
    let replaced = |seat: DriveId| seat.0 < assembly.geometry.drives;
    let grown = Geometry { drives, ..assembly.geometry };
    let mut taken = Vec::new();
    for ((seat, drive), bytes) in seats.into_iter().zip(blanks).zip(capacities) {
        let standing = if replaced(seat) { Standing::Replacing } else { Standing::Joining };
        let blank = blank_superblock(world, grown, seat, bytes);
        let superblock = Superblock { standing, epoch: newest.epoch, scrubbed: newest.scrubbed, ..blank };
        prepare(world, &drive).await?;
        tracing::warn!(drive = %seat, path = %drive.path.display(), ?standing, "blank drive taken into the pool");
        taken.push(Member {
            drive: seat,
            path: Some(drive.path),
            is_device: drive.is_device,
            condition: if replaced(seat) { Condition::REBUILDING } else { Condition::WHOLE },
            superblock: Some(superblock),
            trouble: None,
        });
    }
    assembly.members.extend((assembly.geometry.drives..drives).map(empty_seat));
    assembly.geometry = grown;
    for member in taken {
        introduce(world, &member).await?;
        let seat = usize::from(member.drive.0);
        assembly.members[seat] = member;
    }
    Ok(())
}

/// A drive must hold more than what is kept for the log and the catalog.
fn roomy(bytes: u64, drive: &Examined, geometry: &Geometry) -> Result<u64> {
    match bytes / geometry.segment_bytes > 2 * SYSTEM_SEGMENTS as u64 {
        true => Ok(bytes),
        false => {
            let needed = (2 * SYSTEM_SEGMENTS as u64 + 1) * geometry.segment_bytes;
            Err(AssembleError::TooSmall { path: drive.path.clone(), bytes, needed })
        }
    }
}
