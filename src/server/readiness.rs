//! Whether the server can serve and commit, and why not: what `/-/health/ready`, `basalt status` and the metrics say.
//!
//! Uses the core, which sees all drives and all logs. Two things make a server ready: that the next commit would be
//! safe, and that what was stored can be read as far as anybody knows. For the second a drive that is being rebuilt
//! counts as one that is out (`Pool::unproven`), because it may lack what was written before it came back. With more
//! than m of these a full scrub has to show first that nothing is lost; reads, listings and writes go on meanwhile,
//! since readiness is advice to whoever sends clients here and refuses nothing.

use crate::admin::operator::Unready;
use crate::drive::device::{DriveSet, DriveShared};
use crate::drive::health::{Condition, Contents};
use crate::object::core::Core;

/// A log that stopped goes on only with the next start: it alone finds out what the drives have of the last
/// batch. As long as there is no safe set of drives, that start would fail, and reads would end with it.
pub fn of(core: &Core) -> Result<(), Unready> {
    if core.pool.mirrors().is_err() {
        return Err(Unready::new("drives_out", out_of_service(core)));
    }
    if core.board.has_stopped() {
        let reason = "the log has stopped, and there are drives again to go on with".to_owned();
        return Err(Unready { wants_restart: true, ..Unready::new("log_stopped", reason) });
    }
    if core.pool.is_beyond_reading() {
        return Err(Unready::new("drives_doubtful", beyond_reading(core)));
    }
    if core.pool.is_unproven() {
        return Err(Unready::new("drives_rebuilding", unproven(core)));
    }
    match core.peers.pulses.iter().position(|pulse| pulse.is_full()) {
        None => Ok(()),
        Some(full) => {
            let text = "cannot be emptied and takes no writes: are the drives full? Delete something";
            Err(Unready::new("log_full", format!("the log of core {full} {text}")))
        }
    }
}

fn out_of_service(core: &Core) -> String {
    let out = core.pool.drives.out();
    let parity = core.pool.geometry.parity_chunks;
    format!(
        "{} of {} drives are out of service and the pool survives the loss of {parity}, so nothing is written: {}. \
         When they work again: basalt drive readmit, or a start with them",
        out.len(),
        core.pool.drives.len(),
        drives_text(core, &out)
    )
}

fn beyond_reading(core: &Core) -> String {
    let parity = core.pool.geometry.parity_chunks;
    format!(
        "more drives than the {parity} the pool survives the loss of do not hold what was written to them, so objects \
         cannot be read: {}. Bring these drives back as they were and start again; or delete what cannot be read and \
         run: basalt scrub",
        drives_text(core, &core.pool.distrusted())
    )
}

fn unproven(core: &Core) -> String {
    let parity = core.pool.geometry.parity_chunks;
    let found = match core.board.is_lossy() {
        false => {
            "A full scrub is finding out, and the server is ready when it has passed; meanwhile what can be read is \
             read, and writes are taken"
        }
        true => {
            "A scrub has found what cannot be read: bring drives that are out back and start again; or delete what \
             cannot be read and run: basalt scrub"
        }
    };
    format!(
        "more drives than the {parity} the pool survives the loss of may lack what was stored before they came back, so \
         objects may be beyond reading: {}. {found}",
        drives_text(core, &core.pool.unproven())
    )
}

/// Each with its path and what is known to be wrong with it.
fn drives_text(core: &Core, drives: &DriveSet) -> String {
    let text = |id| {
        let shared = core.pool.drives.get(id).ok()?.shared();
        let cause = shared.health.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
        Some(format!("{} ({}{cause})", shared.path(), state(shared)))
    };
    drives.iter().filter_map(text).collect::<Vec<_>>().join(", ")
}

fn state(drive: &DriveShared) -> &'static str {
    match drive.condition() {
        Condition::InService(Contents::Doubtful) => "doubtful",
        Condition::InService(Contents::Rebuilding) => "being rebuilt",
        condition => condition.state().as_str(),
    }
}
