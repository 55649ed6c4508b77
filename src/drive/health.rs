//! The condition of a drive, which all cores share: what it is good for, and every way in which that changes.
//!
//! | [`Condition`] | set by | reads | writes, new chunks | one of m used for | more than m: unready |
//! |---|---|---|---|---|---|
//! | in service, whole | start, `scrubbed` | first | yes | - | - |
//! | in service, rebuilding | start, `readmit`, `scrubbed` | first | yes | what was stored | `drives_rebuilding` |
//! | in service, doubtful | `doubt` | last | yes; open logs leave it | what was stored | `drives_doubtful` |
//! | latched | start, `latch` | last | no | everything | `drives_out` |
//! | missing | start, `lose` | no | no | everything | `drives_out` |
//!
//! A drive that is out (latched or missing) for long is *given up* (`give_up`, `evacuated`): nobody waits for it. One
//! in service is *suspected* (`suspect`) between the first wrong superblock or header and the next full scrub. Uses
//! the words of `base::metrics`; who decides is `upkeep` and `pool`, this only knows what may follow what.
//!
//! Invariants: the condition is one atomic byte, so no core ever sees half of a change; what is missing stays so until
//! the next start, what is latched until an operator readmits it; whatever comes back is rebuilding. The figures
//! `suspicions` and `cause` stand beside it and may be a moment behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use crate::base::ids::DriveId;
use crate::base::metrics::{DriveState, Evacuation};

/// What a drive is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Read and written.
    InService(Contents),
    /// A write failed: read after all others, and not written until it is readmitted.
    Latched(Contents, Evacuation),
    /// Not there: neither read nor written.
    Missing(Evacuation),
}

/// How much of what should stand on a drive stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// All, as far as anybody knows.
    Whole,
    /// What was written before may have to be written again: the drive came back, or stands in for one that was lost,
    /// and no full scrub has passed since.
    Rebuilding,
    /// Known not to hold what was written to it, and rebuilding for that.
    Doubtful,
}

/// The condition of one drive, and the operations that change it.
#[derive(Debug)]
pub struct Health {
    id: DriveId,
    path: String,
    /// A [`Record`].
    record: AtomicU8,
    /// Why it is latched, missing or doubtful.
    cause: ArcSwapOption<String>,
    /// Superblocks and headers that were not what was written, and how many of them a full scrub has answered for.
    suspicions: AtomicU64,
    answered: AtomicU64,
}

/// The condition, and whether the drive was ever doubtful since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    condition: Condition,
    was_doubted: bool,
}

impl Condition {
    /// In service and whole.
    pub const WHOLE: Condition = Condition::InService(Contents::Whole);
    pub const REBUILDING: Condition = Condition::InService(Contents::Rebuilding);
    pub const MISSING: Condition = Condition::Missing(Evacuation::None);

    /// The coarse word of metrics and reports.
    pub fn state(self) -> DriveState {
        match self {
            Condition::InService(_) => DriveState::Healthy,
            Condition::Latched(..) => DriveState::Latched,
            Condition::Missing(_) => DriveState::Missing,
        }
    }

    /// Neither latched nor missing: it may be written.
    #[inline]
    pub fn is_in_service(self) -> bool {
        matches!(self, Condition::InService(_))
    }

    pub fn is_latched(self) -> bool {
        matches!(self, Condition::Latched(..))
    }

    #[inline]
    pub fn is_missing(self) -> bool {
        matches!(self, Condition::Missing(_))
    }

    /// In service, and not known to hold anything else than was written to it.
    #[inline]
    pub fn is_trusted(self) -> bool {
        matches!(self, Condition::InService(Contents::Whole | Contents::Rebuilding))
    }

    /// In service, and all that was stored on it stands there as far as anybody knows.
    pub fn is_proven(self) -> bool {
        self == Condition::WHOLE
    }

    /// Whether what it held before must still be checked or written again. So it is for a doubtful drive, and it stays
    /// so while a drive is latched.
    pub fn is_rebuilding(self) -> bool {
        matches!(self.contents(), Some(Contents::Rebuilding | Contents::Doubtful))
    }

    /// In service and rebuilding: a scrub fills it.
    pub fn is_being_filled(self) -> bool {
        self.is_in_service() && self.is_rebuilding()
    }

    /// Known not to hold what was written to it; a drive that was latched then stays so until a full scrub has passed.
    #[inline]
    pub fn is_doubtful(self) -> bool {
        self.contents() == Some(Contents::Doubtful)
    }

    /// One in service, latched; what is out stays as it is.
    pub fn latched(self) -> Condition {
        match self {
            Condition::InService(contents) => Condition::Latched(contents, Evacuation::None),
            out => out,
        }
    }

    /// How far the evacuation of a drive that is out has come.
    pub fn evacuation(self) -> Evacuation {
        match self {
            Condition::InService(_) => Evacuation::None,
            Condition::Latched(_, evacuation) | Condition::Missing(evacuation) => evacuation,
        }
    }

    /// Out for so long that nobody counts on what stands on it.
    pub fn is_given_up(self) -> bool {
        self.evacuation() != Evacuation::None
    }

    #[inline]
    fn contents(self) -> Option<Contents> {
        match self {
            Condition::InService(contents) | Condition::Latched(contents, _) => Some(contents),
            Condition::Missing(_) => None,
        }
    }

    /// The same drive with its evacuation so far; one that is in service has none.
    fn evacuating(self, evacuation: Evacuation) -> Option<Condition> {
        match self {
            Condition::InService(_) => None,
            Condition::Latched(contents, _) => Some(Condition::Latched(contents, evacuation)),
            Condition::Missing(_) => Some(Condition::Missing(evacuation)),
        }
    }

    /// What a full scrub makes of it. One that is out stays out; with everything `is_wide` nothing waits for it.
    fn scrubbed(self, is_wide: bool) -> Option<Condition> {
        let contents = if is_wide { Contents::Whole } else { Contents::Rebuilding };
        match self {
            Condition::InService(Contents::Rebuilding | Contents::Doubtful) => {
                Some(Condition::InService(contents))
            }
            Condition::Latched(_, evacuation) if is_wide => Some(Condition::Latched(contents, evacuation)),
            _ => None,
        }
    }
}

impl Health {
    /// `path` is how the operator knows the drive, `condition` what the start found.
    pub fn new(id: DriveId, path: impl Into<String>, condition: Condition) -> Self {
        let record = Record { condition, was_doubted: condition.is_doubtful() };
        Health {
            id,
            path: path.into(),
            record: AtomicU8::new(record.pack()),
            cause: ArcSwapOption::empty(),
            suspicions: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    pub fn id(&self) -> DriveId {
        self.id
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    #[inline]
    pub fn condition(&self) -> Condition {
        self.record().condition
    }

    /// Why it is latched, missing or doubtful, as far as anybody knows.
    pub fn cause(&self) -> Option<Arc<String>> {
        self.cause.load_full()
    }

    /// Says why the start found it in this condition.
    pub fn explain(&self, cause: &str) {
        self.cause.store(Some(Arc::new(cause.to_owned())));
    }

    // ---- Out of service and back ----

    /// Takes the drive out of service for writes. Says so once, for all cores.
    pub fn latch(&self, cause: &str) {
        let latched = |condition: Condition| condition.is_in_service().then(|| condition.latched());
        if self.change(latched).is_some() {
            self.cause.store(Some(Arc::new(cause.to_owned())));
            tracing::error!(
                drive = %self.id, path = %self.path, cause,
                "drive latched: no more writes to it. When it works again: basalt drive readmit {}; if not, start with \
                 an empty drive in its place and --adopt",
                self.id
            );
        }
    }

    /// The drive is not there after all: neither written nor read from now on. Says so once, for all cores.
    pub fn lose(&self, cause: &str) {
        let missing = |condition: Condition| (!condition.is_missing()).then_some(Condition::MISSING);
        if self.change(missing).is_some() {
            self.cause.store(Some(Arc::new(cause.to_owned())));
            tracing::error!(
                drive = %self.id, path = %self.path, cause,
                "drive cannot be opened and counts as missing: start again when it can, or with an empty drive in its \
                 place and --adopt"
            );
        }
    }

    /// Puts a latched drive back into service; what it held must be checked by a full scrub. False when it was not
    /// latched.
    pub fn readmit(&self) -> bool {
        let readmitted = |condition: Condition| condition.is_latched().then_some(Condition::REBUILDING);
        let is_back = self.change(readmitted).is_some();
        if is_back {
            self.cause.store(None);
            tracing::warn!(drive = %self.id, path = %self.path, "drive readmitted");
        }
        is_back
    }

    /// Nobody waits any more for a drive that is out: what stands on it is written anew on the others. False when
    /// it is in service, or was given up before.
    pub fn give_up(&self) -> bool {
        let given_up = |condition: Condition| match condition.evacuation() {
            Evacuation::None => condition.evacuating(Evacuation::UnderWay),
            _ => None,
        };
        let is_new = self.change(given_up).is_some();
        if is_new {
            tracing::warn!(drive = %self.id, path = %self.path, "drive stays out and is given up");
        }
        is_new
    }

    /// Everything that stood on a drive that was given up has what the others can give it. One that came back and is
    /// out again has not been given up again yet.
    pub fn evacuated(&self) {
        self.change(|condition| match condition.evacuation() {
            Evacuation::UnderWay => condition.evacuating(Evacuation::Done),
            _ => None,
        });
    }

    // ---- Doubt ----

    /// A superblock or a header was not what was written: no doubt yet, since one may be bad luck, but not forgotten
    /// when it is written again.
    pub fn suspect(&self, count: usize) {
        self.suspicions.fetch_add(count as u64, Ordering::AcqRel);
    }

    /// How often it was suspected since the start.
    pub fn suspicions(&self) -> u64 {
        self.suspicions.load(Ordering::Acquire)
    }

    /// Whether it may lack what was written to it: something that stands all over it was wrong, or it came back, and no
    /// full scrub has answered for it since.
    pub fn is_suspected(&self) -> bool {
        self.condition().is_rebuilding() || self.suspicions() > self.answered.load(Ordering::Acquire)
    }

    /// From here on a drive in service is asked last, and counts as lost for what was stored before, until a scrub has
    /// mended it. What is out stays as it is.
    pub fn doubt(&self, cause: &str) {
        let doubtful =
            |condition: Condition| condition.is_trusted().then_some(Condition::InService(Contents::Doubtful));
        if self.change(doubtful).is_some() {
            self.cause.store(Some(Arc::new(cause.to_owned())));
            tracing::error!(
                drive = %self.id, path = %self.path, cause,
                "drive is doubtful: it does not hold what was written to it. A full scrub begins and writes anew what \
                 can be restored; when it happens again replace the drive: start with an empty one in its place and \
                 --adopt"
            );
        }
    }

    /// Whether it was doubtful before and is so no more.
    pub fn was_doubtful(&self) -> bool {
        let record = self.record();
        record.was_doubted && !record.condition.is_doubtful()
    }

    /// A full scrub has passed and mended what can be mended; it answers for what was suspected before it began. Unless
    /// everything `is_wide`, what was written without the drive is still missing on it, and it goes on rebuilding.
    pub fn scrubbed(&self, suspicions: u64, is_wide: bool) {
        self.answered.fetch_max(suspicions, Ordering::AcqRel);
        let before = self.change(|condition| condition.scrubbed(is_wide));
        if before == Some(Condition::InService(Contents::Doubtful)) {
            self.cause.store(None);
            tracing::warn!(drive = %self.id, path = %self.path, "drive holds again what was written to it");
        }
    }

    #[inline]
    fn record(&self) -> Record {
        Record::unpack(self.record.load(Ordering::Acquire))
    }

    /// The condition before, if `next` had another one to follow it.
    fn change(&self, next: impl Fn(Condition) -> Option<Condition>) -> Option<Condition> {
        let step = |packed| {
            let Record { condition, was_doubted } = Record::unpack(packed);
            let condition = next(condition)?;
            Some(Record { condition, was_doubted: was_doubted || condition.is_doubtful() }.pack())
        };
        let before = self.record.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
        before.ok().map(|packed| Record::unpack(packed).condition)
    }
}

/// Two bits each for the state, the contents and the evacuation, and one for `was_doubted`.
impl Record {
    fn pack(self) -> u8 {
        let contents = match self.condition.contents() {
            None | Some(Contents::Whole) => 0,
            Some(Contents::Rebuilding) => 1,
            Some(Contents::Doubtful) => 2,
        };
        let evacuation = match self.condition.evacuation() {
            Evacuation::None => 0,
            Evacuation::UnderWay => 1,
            Evacuation::Done => 2,
        };
        let state = match self.condition {
            Condition::InService(_) => 0,
            Condition::Latched(..) => 1,
            Condition::Missing(_) => 2,
        };
        state | contents << 2 | evacuation << 4 | u8::from(self.was_doubted) << 6
    }

    #[inline]
    fn unpack(packed: u8) -> Record {
        let contents = match packed >> 2 & 3 {
            0 => Contents::Whole,
            1 => Contents::Rebuilding,
            _ => Contents::Doubtful,
        };
        let evacuation = match packed >> 4 & 3 {
            0 => Evacuation::None,
            1 => Evacuation::UnderWay,
            _ => Evacuation::Done,
        };
        let condition = match packed & 3 {
            0 => Condition::InService(contents),
            1 => Condition::Latched(contents, evacuation),
            _ => Condition::Missing(evacuation),
        };
        Record { condition, was_doubted: packed >> 6 & 1 == 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBTFUL: Condition = Condition::InService(Contents::Doubtful);

    fn health(condition: Condition) -> Health {
        Health::new(DriveId(0), "/d", condition)
    }

    fn all() -> Vec<Condition> {
        let contents = [Contents::Whole, Contents::Rebuilding, Contents::Doubtful];
        let latched = contents.map(|contents| Evacuation::ALL.map(|e| Condition::Latched(contents, e)));
        let (in_service, missing) =
            (contents.map(Condition::InService), Evacuation::ALL.map(Condition::Missing));
        in_service.into_iter().chain(latched.into_iter().flatten()).chain(missing).collect()
    }

    #[test]
    fn every_condition_fits_its_byte() {
        for condition in all() {
            for was_doubted in [false, true] {
                let record = Record { condition, was_doubted };
                assert_eq!(Record::unpack(record.pack()), record);
            }
        }
    }

    /// The table of the page, for every condition and everything that may happen in it.
    #[test]
    fn what_may_follow_what() {
        for before in all() {
            let after = |change: &dyn Fn(&Health)| {
                let health = health(before);
                change(&health);
                health.condition()
            };
            let is_out = !before.is_in_service();
            let latched = after(&|health| health.latch("a test"));
            assert_eq!((latched.is_in_service(), latched == before), (false, is_out), "{before:?}");
            assert_eq!(latched.is_rebuilding(), before.is_rebuilding(), "{before:?}");
            assert!(after(&|health| health.lose("a test")).is_missing(), "{before:?}");
            let readmitted = if before.is_latched() { Condition::REBUILDING } else { before };
            assert_eq!(
                after(&|health| assert_eq!(health.readmit(), before.is_latched())),
                readmitted,
                "{before:?}"
            );
            assert_eq!(after(&|health| health.doubt("a test")), if is_out { before } else { DOUBTFUL });
            let given_up = after(&|health| assert_eq!(health.give_up(), is_out && !before.is_given_up()));
            assert_eq!((given_up.is_given_up(), given_up.state()), (is_out, before.state()), "{before:?}");
            let evacuated = after(&Health::evacuated);
            assert_eq!(evacuated.is_given_up(), before.is_given_up(), "{before:?}");
            assert_ne!(evacuated.evacuation(), Evacuation::UnderWay, "{before:?}");
            let narrow = after(&|health| health.scrubbed(0, false));
            assert_eq!(narrow.is_rebuilding(), before.is_rebuilding(), "{before:?}");
            let wide = after(&|health| health.scrubbed(0, true));
            assert_eq!((wide.is_rebuilding(), wide.state()), (false, before.state()), "{before:?}");
        }
    }

    #[test]
    fn doubt_ends_when_a_drive_is_mended_and_not_while_it_is_out() {
        let health = health(Condition::WHOLE);
        health.doubt("headers");
        assert!(health.condition() == DOUBTFUL && health.is_suspected() && !health.was_doubtful());
        health.scrubbed(0, false);
        assert_eq!(health.condition(), Condition::REBUILDING);
        assert_eq!((health.was_doubtful(), health.cause()), (true, None));
        health.doubt("headers");
        health.latch("a write failed");
        health.scrubbed(0, true);
        assert_eq!(health.cause().as_deref().map(String::as_str), Some("a write failed"));
    }

    #[test]
    fn a_scrub_answers_for_what_was_suspected_before_it_began() {
        let health = health(Condition::WHOLE);
        health.suspect(2);
        let begun = health.suspicions();
        health.suspect(1);
        health.scrubbed(begun, true);
        assert!(health.is_suspected());
        health.scrubbed(health.suspicions(), true);
        assert!(!health.is_suspected());
    }

    /// A pass that began when the drive was given up ends when it has been back and failed again: what was written to
    /// it meanwhile stands nowhere else, and somebody must be waited for, or the evacuation begun anew.
    #[test]
    fn a_drive_that_came_back_during_its_evacuation_is_not_evacuated() {
        let health = health(Condition::WHOLE);
        health.latch("a write failed");
        assert!(health.give_up() && !health.give_up());
        assert!(health.readmit());
        health.latch("a write failed");
        health.evacuated();
        assert_eq!(health.condition().evacuation(), Evacuation::None);
        assert!(health.give_up());
        health.evacuated();
        assert_eq!(health.condition().evacuation(), Evacuation::Done);
    }
}
