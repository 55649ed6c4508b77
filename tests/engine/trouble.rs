//! What happens to drives while a store serves, by chance: they die and come back, fail, rot, and are replaced.
//!
//! Never more than m at a time, unless that is what is tried: then nothing that was acknowledged may be gone when they
//! are back. A drive counts until a full scrub has passed behind whatever befell it and everything stands there again.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use basalt::base::ids::DriveId;
use basalt::base::limits::PAGE;
use basalt::base::metrics::DriveState;
use basalt::io::sim::{Fault, OpKind, SimWorld};
use basalt::object::error::ObjectError;
use basalt::object::repair::holdings::chunks_least;
use basalt::pool::format::Request;
use basalt::upkeep::readmit::readmit;

use crate::harness::{Chance, Server, until};

/// Segments begin here.
const SEGMENTS: u64 = 16 << 20;
const SEGMENT: u64 = 8 << 20;

/// What is the matter with a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ill {
    /// It does not answer.
    Dead,
    /// It is there, and may be latched, and lacks what was written without it, or what rotted.
    Lacking,
    /// There is another one in its place, with nothing on it.
    Blank,
    /// A scrub was asked for when so many had passed.
    Healing { passes: u64 },
}

impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.ill)
    }
}

pub struct Trouble {
    chance: Chance,
    paths: Vec<PathBuf>,
    parity: usize,
    ill: BTreeMap<usize, Ill>,
    /// More drives than m are dead.
    pub is_beyond: Rc<Cell<bool>>,
    /// Drives that were put back into service: what was written without them and not yet safe is not safe any more.
    pub readmitted: Rc<Cell<u64>>,
}

impl Trouble {
    pub fn new(seed: u64, request: &Request) -> Trouble {
        let (paths, parity) = (request.paths.clone(), usize::from(request.parity.unwrap_or(0)));
        Trouble {
            chance: Chance(seed | 1),
            paths,
            parity,
            ill: BTreeMap::new(),
            is_beyond: Rc::default(),
            readmitted: Rc::default(),
        }
    }

    /// Whether a start may be told to take blank drives in. While another drive is away nobody says whose place they
    /// take.
    pub fn has_blank(&self) -> bool {
        let is_any = |which: Ill| self.ill.values().any(|ill| *ill == which);
        is_any(Ill::Blank) && !is_any(Ill::Dead)
    }

    /// While the power is off.
    pub fn between_starts(&mut self, sim: &SimWorld) {
        if self.is_beyond.replace(false) {
            self.revive_all(sim);
        }
        let may_go = self.ill.len() <= self.parity;
        for (drive, ill) in &mut self.ill {
            let path = &self.paths[*drive];
            match *ill {
                Ill::Healing { .. } => *ill = Ill::Lacking,
                Ill::Dead if self.chance.below(2) == 0 => {
                    sim.revive(path);
                    *ill = Ill::Lacking;
                }
                _ => {}
            }
            if may_go && *ill != Ill::Blank && self.chance.below(4) == 0 {
                sim.revive(path);
                sim.wipe(path);
                *ill = Ill::Blank;
            }
        }
        if let Some(drive) = self.next_victim(2) {
            sim.kill(&self.paths[drive]);
            self.ill.insert(drive, Ill::Dead);
        }
    }

    /// The server has started; `adopting` if it was told to take blank drives in.
    pub fn started(&mut self, server: &Server, adopting: bool) {
        let blank = self.ill.values_mut().filter(|ill| adopting && **ill == Ill::Blank);
        blank.for_each(|ill| *ill = Ill::Lacking);
        self.look(server);
    }

    /// Everything that could be in the way is gone, and a scrub will be waited for.
    pub fn revive_all(&mut self, sim: &SimWorld) {
        for (drive, ill) in self.ill.iter_mut().filter(|(_, ill)| **ill == Ill::Dead) {
            sim.revive(&self.paths[*drive]);
            *ill = Ill::Lacking;
        }
    }

    /// All drives are in service again and hold what they should.
    pub async fn heal(&mut self, server: &Server) {
        for drive in server.shared.drives.iter() {
            // A fault that was planned may still be met.
            for _ in 0..10 {
                if drive.state() == DriveState::Latched {
                    let _ = readmit(server.core(), drive.id()).await;
                }
            }
            assert_eq!(drive.state(), DriveState::Healthy, "drive {}", drive.id());
        }
        server.scrub().await;
        // Log segments with a damaged mirror are emptied soon.
        let soon = tokio::time::Instant::now() + Duration::from_secs(30);
        until("them to be emptied", || tokio::time::Instant::now() > soon).await;
        server.scrub().await;
        let lost = server.shared.board.metrics().blocks_unrepairable;
        assert_eq!(lost, 0, "with no more than m drives lacking nothing is beyond repair");
        self.ill.clear();
    }

    /// Drives one may do without.
    pub fn some(&mut self) -> BTreeSet<usize> {
        let first = self.chance.below(self.paths.len() as u64) as usize;
        (0..self.parity).map(|next| (first + next) % self.paths.len()).collect()
    }

    /// Goes on until the power is cut, or more drives than m are dead for a while.
    pub async fn go_on(&mut self, sim: &SimWorld, server: &Server) {
        while !sim.is_cut() {
            let mut pause = tokio::time::interval(Duration::from_millis(1 << self.chance.below(14)));
            pause.tick().await;
            pause.tick().await;
            if sim.is_cut() || self.parity == 0 {
                continue;
            }
            self.look(server);
            if self.chance.below(3) == 0 {
                self.harm_one(sim);
            }
            self.tend(sim, server).await;
            if self.chance.below(150) == 0 {
                self.go_beyond(sim).await;
                return;
            }
        }
    }

    /// What the server says of drives that we know nothing of.
    fn look(&mut self, server: &Server) {
        for drive in server.shared.drives.iter() {
            if drive.state() != DriveState::Healthy
                || drive.condition().is_rebuilding()
                || drive.condition().is_doubtful()
            {
                self.ill.entry(usize::from(drive.id().0)).or_insert(Ill::Lacking);
            }
        }
    }

    fn next_victim(&mut self, one_in: u64) -> Option<usize> {
        let drive = self.chance.below(self.paths.len() as u64) as usize;
        let may = self.ill.len() < self.parity && !self.ill.contains_key(&drive);
        (self.chance.below(one_in) == 0 && may).then_some(drive)
    }

    fn harm_one(&mut self, sim: &SimWorld) {
        let Some(drive) = self.next_victim(2) else { return };
        let path = self.paths[drive].clone();
        let ill = match self.chance.below(5) {
            0 | 1 => {
                sim.kill(&path);
                Ill::Dead
            }
            2 => {
                let kinds = [("basalt.meta", OpKind::Write), ("basalt.data", OpKind::Sync)];
                let (file, kind) = kinds[self.chance.below(2) as usize];
                sim.inject(path.join(file), kind, 0, Fault::Fail(5));
                Ill::Lacking
            }
            _ => {
                self.rot(sim, &path);
                Ill::Lacking
            }
        };
        eprintln!("drive {drive}: {ill:?}");
        self.ill.insert(drive, ill);
    }

    /// Some places of both files cannot be read, or say something else.
    fn rot(&mut self, sim: &SimWorld, path: &Path) {
        for file in ["basalt.meta", "basalt.data"].map(|file| path.join(file)) {
            for _ in 0..self.chance.below(40) {
                let (segment, page) = (self.chance.below(60), self.chance.below(SEGMENT / PAGE as u64));
                let at = SEGMENTS + segment * SEGMENT + page * PAGE as u64;
                match self.chance.below(2) {
                    _ if sim.peek(&file, at, 8).iter().all(|byte| *byte == 0) => {}
                    0 => sim.flip(&file, at + self.chance.below(PAGE as u64), 1 << self.chance.below(8)),
                    _ => sim.latent_error(&file, at..at + PAGE as u64),
                }
            }
        }
    }

    /// Brings drives back, one step each.
    async fn tend(&mut self, sim: &SimWorld, server: &Server) {
        for (drive, ill) in self.ill.clone() {
            if self.chance.below(8) > 0 || sim.is_cut() {
                continue;
            }
            let next = match ill {
                Ill::Dead => {
                    sim.revive(&self.paths[drive]);
                    Ill::Lacking
                }
                Ill::Lacking => self.admit(server, drive).await,
                Ill::Healing { passes } if is_healed(server, drive, passes).await => {
                    eprintln!("drive {drive} is well");
                    self.ill.remove(&drive);
                    continue;
                }
                other => other,
            };
            self.ill.insert(drive, next);
        }
    }

    async fn admit(&mut self, server: &Server, drive: usize) -> Ill {
        let (shared, board) = (&server.shared.drives[drive], &server.shared.board);
        if shared.state() == DriveState::Latched {
            // What fails it may fail this as well.
            let _ = readmit(server.core(), DriveId(drive as u16)).await;
            self.readmitted.set(self.readmitted.get() + 1);
        }
        if shared.state() != DriveState::Healthy {
            return Ill::Lacking;
        }
        board.demand();
        Ill::Healing { passes: board.passes() + u64::from(board.is_running()) }
    }

    async fn go_beyond(&mut self, sim: &SimWorld) {
        eprintln!("more than m drives die");
        self.is_beyond.set(true);
        let is_gone = |ill: &&Ill| matches!(ill, Ill::Dead | Ill::Blank);
        while self.ill.values().filter(is_gone).count() <= self.parity {
            let drive = self.chance.below(self.paths.len() as u64) as usize;
            if self.ill.get(&drive) == Some(&Ill::Blank) {
                continue;
            }
            sim.kill(&self.paths[drive]);
            self.ill.insert(drive, Ill::Dead);
        }
        let mut pause = tokio::time::interval(Duration::from_secs(1 + self.chance.below(60)));
        pause.tick().await;
        pause.tick().await;
    }
}

/// Whether a full scrub has passed that began behind the harm, and everything has its width.
async fn is_healed(server: &Server, drive: usize, passes: u64) -> bool {
    let (board, shared) = (&server.shared.board, &server.shared.drives[drive]);
    let is_quiet = !board.is_demanded() && !board.is_running() && board.passes() > passes;
    let is_well = shared.state() == DriveState::Healthy
        && !shared.condition().is_rebuilding()
        && !shared.condition().is_doubtful();
    is_quiet && is_well && is_wide(server).await
}

/// Whether every extent, run and log segment has what the drives in service can give it.
async fn is_wide(server: &Server) -> bool {
    let drives = &server.shared.drives;
    let is_in = |drive: DriveId| drives[usize::from(drive.0)].state() == DriveState::Healthy;
    let healthy = drives.iter().filter(|drive| drive.state() == DriveState::Healthy).count();
    let copies = (usize::from(server.shared.geometry.parity_chunks) + 1).min(healthy);
    let runs_are_wide = server
        .shards()
        .flat_map(|shard| shard.index.extents())
        .all(|run| run.copies.iter().filter(|copy| is_in(copy.drive)).count() >= copies);
    let logs_are_wide = server.cores.iter().flat_map(|running| running.log.segments.sealed()).all(|sealed| {
        let mirrors = server.shared.directory.get(sealed.id);
        mirrors.is_none_or(|mirrors| mirrors.iter().filter(|at| is_in(at.drive)).count() >= copies)
    });
    runs_are_wide && logs_are_wide && extents_are_wide(server, healthy).await.unwrap_or(false)
}

async fn extents_are_wide(server: &Server, healthy: usize) -> Result<bool, ObjectError> {
    for shard in server.shards() {
        let mut from = Some(Vec::new());
        while let Some(at) = from.take() {
            let page = shard.clone().holdings(at).await?;
            from = page.next;
            for key in page.keys {
                let Some(holding) = shard.clone().hold(key, server.core().peers.clone()).await? else {
                    continue;
                };
                let mut held = holding.held.clone();
                for chunk in held.stripes.iter_mut().flat_map(|stripe| stripe.chunks.iter_mut()) {
                    let is_in = |drive: DriveId| {
                        server.shared.drives[usize::from(drive.0)].state() == DriveState::Healthy
                    };
                    *chunk = chunk.filter(|at| is_in(at.drive));
                }
                if chunks_least(&held) < held.layout().columns().min(healthy) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}
