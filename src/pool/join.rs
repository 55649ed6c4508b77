//! Assembling an existing pool: each drive in its seat, what is missing, and blank drives taken in.
//!
//! The members with the newest superblock say which drives there are and which of them are latched or being
//! filled again. A blank drive is taken in only when the operator asked for it: for a missing one first, under
//! the same id, else as a further drive. Such drives introduce themselves as *replacing* or *joining* before
//! any member is told of them, so that whatever a power cut leaves is the old pool or the new one.
//!
//! Invariant: a drive that is missing and one that stands in for it without having served count the same when
//! it is asked whether anything can be lost.

use std::collections::VecDeque;

use crate::base::ids::{DriveId, PoolId};
use crate::base::limits::{POOL_DRIVES_MAX, SYSTEM_SEGMENTS};
use crate::base::metrics::DriveState;
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
    let mut members: Vec<Member> = (0..geometry.drives).map(empty_seat).collect();
    let mut blanks = Vec::new();
    for drive in examined {
        seat(&mut members, &newest, drive, &mut blanks)?;
    }
    for member in members.iter_mut().filter(|member| newest.latched.contains(&member.drive)) {
        if member.state == DriveState::Healthy && !is_replacing(member) {
            member.state = DriveState::Latched;
            tracing::warn!(drive = %member.drive, "was latched before and stays out of service for writes");
        }
    }
    check_unusable(&members, &geometry, &|state| state == DriveState::Missing)?;
    let scrubbed = newest.scrubbed;
    let mut assembly = Assembly { geometry, epoch: 0, members, fresh: false, scrubbed, locks: Vec::new() };
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
        state: DriveState::Missing,
        superblock: None,
        rebuilding: false,
    }
}

/// The superblock that speaks for the pool.
fn newest_of(examined: &[Examined], pool: PoolId) -> Result<Superblock> {
    let mut newest: Option<&Superblock> = None;
    for drive in examined {
        let Found::Member(superblock) = &drive.found else { continue };
        if superblock.geometry.pool != pool {
            let (path, found) = (drive.path.clone(), superblock.geometry.pool);
            return Err(AssembleError::OtherPool { path, found, expected: pool });
        }
        let age = |superblock: &Superblock| (superblock.epoch, superblock.generation);
        let is_member = superblock.standing == Standing::Member;
        if is_member && newest.is_none_or(|newest| age(newest) < age(superblock)) {
            newest = Some(superblock);
        }
    }
    Ok(newest.expect("the pool was found in one of them").clone())
}

fn seat(
    members: &mut [Member],
    newest: &Superblock,
    drive: Examined,
    blanks: &mut Vec<Examined>,
) -> Result<()> {
    let superblock = match &drive.found {
        Found::Member(superblock) => superblock.clone(),
        // It was on its way in when the power failed; a seat that is not there any more is no seat.
        Found::Joining(superblock) if belongs(members, newest, superblock) => superblock.clone(),
        Found::Joining(_) | Found::Blank => {
            blanks.push(drive);
            return Ok(());
        }
        Found::Unusable(reason) => {
            tracing::error!(path = %drive.path.display(), reason, "cannot be used and counts as missing");
            return Ok(());
        }
    };
    let Some(seat) = members.get_mut(usize::from(superblock.drive.0)) else {
        let (path, id) = (drive.path.display(), superblock.drive);
        tracing::error!(%path, drive = %id, "says it is a drive that the pool does not have, and is left alone");
        return Ok(());
    };
    if let Some(taken) = &seat.path {
        let (a, b) = (taken.clone(), drive.path);
        return Err(AssembleError::Duplicate { drive: superblock.drive, a, b });
    }
    let was_away = superblock.epoch < newest.epoch;
    let is_replacing = superblock.standing == Standing::Replacing;
    seat.rebuilding = was_away || is_replacing || newest.rebuilding.contains(&superblock.drive);
    seat.path = Some(drive.path);
    seat.is_device = drive.is_device;
    seat.state = DriveState::Healthy;
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

/// Refuses when more drives than there are parity chunks cannot be relied on.
pub fn check_unusable(
    members: &[Member],
    geometry: &Geometry,
    is_out: &dyn Fn(DriveState) -> bool,
) -> Result<()> {
    let missing = members.iter().filter(|member| is_out(member.state) || is_replacing(member)).count();
    let (drives, parity) = (members.len(), usize::from(geometry.parity_chunks));
    if missing > parity {
        return Err(AssembleError::TooManyMissing { missing, drives, parity });
    }
    Ok(())
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
    let missing = assembly.members.iter().filter(|member| member.state == DriveState::Missing);
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
            state: DriveState::Healthy,
            rebuilding: standing == Standing::Replacing,
            superblock: Some(superblock),
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
        false => Err(AssembleError::TooSmall { path: drive.path.clone(), bytes }),
    }
}
