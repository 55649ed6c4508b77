//! The io layer of Basalt beside bare tokio-uring and glommio: one thread, one file, one table.
//!
//! The yardstick that keeps the choice of tokio-uring honest. Every engine does the same work on the same
//! once written file: random reads of 4 KiB, durable overwrites of 4 KiB (O_DIRECT|O_DSYNC, and a plain
//! write with fdatasync), and 1 MiB transfers in sequence. Each figure is measured for a fixed time, so
//! the whole takes that time times the number of lines. With a third argument only the works whose name
//! begins with it are measured.
//!
//!     cargo run --release -- [DIRECTORY] [SECONDS] [WORK]

mod engines;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engines::Engine;
use rustix::time::{ClockId, clock_gettime};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;
const FILE_BYTES: u64 = 256 << 20;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let path = directory.join("basalt-bench-io");
    let work = arguments.next().unwrap_or_default();
    write_file(&path)?;
    println!(
        "{:<20} {:>5}  {:<16} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "work", "depth", "engine", "ops/s", "MiB/s", "p50 us", "p99 us", "cpu us"
    );
    for (kind, depth) in ROWS.into_iter().filter(|(kind, _)| kind.name().starts_with(&work)) {
        let job = Job { path: path.clone(), kind, depth, duration: Duration::from_secs_f64(seconds) };
        for engine in Engine::ALL {
            print_row(&job, engine, &measure(&job, engine));
        }
    }
    std::fs::remove_file(&path)
}

const ROWS: [(Kind, usize); 11] = [
    (Kind::Read, 1),
    (Kind::Read, 16),
    (Kind::Read, 64),
    (Kind::DurableWrite, 1),
    (Kind::DurableWrite, 3),
    (Kind::DurableWrite, 16),
    (Kind::WriteAndSync, 1),
    (Kind::WriteAndSync, 3),
    (Kind::WriteAndSync, 16),
    (Kind::StreamRead, 4),
    (Kind::StreamWrite, 4),
];

/// What one row measures.
#[derive(Clone)]
pub struct Job {
    pub path: PathBuf,
    pub kind: Kind,
    /// Operations in flight at once.
    pub depth: usize,
    pub duration: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 4 KiB at a random offset.
    Read,
    /// 4 KiB at a random offset, durable when complete.
    DurableWrite,
    /// The same by a plain write and fdatasync.
    WriteAndSync,
    /// 1 MiB after 1 MiB.
    StreamRead,
    StreamWrite,
}

impl Kind {
    pub fn bytes(self) -> usize {
        match self {
            Kind::Read | Kind::DurableWrite | Kind::WriteAndSync => PAGE,
            Kind::StreamRead | Kind::StreamWrite => MIB,
        }
    }

    pub fn is_read(self) -> bool {
        matches!(self, Kind::Read | Kind::StreamRead)
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Read => "random read 4 KiB",
            Kind::DurableWrite => "durable write 4 KiB",
            Kind::WriteAndSync => "write + sync 4 KiB",
            Kind::StreamRead => "stream read 1 MiB",
            Kind::StreamWrite => "stream write 1 MiB",
        }
    }
}

impl Job {
    /// One of the `depth` loops: performs operations until the time is over. Answers their durations in
    /// nanoseconds.
    pub async fn drive(&self, number: usize, mut operation: impl AsyncFnMut(u64)) -> Vec<u64> {
        let blocks = FILE_BYTES / self.kind.bytes() as u64;
        let mut state = number as u64 + 1;
        let mut step = number as u64 * blocks / self.depth as u64;
        let mut nanos = Vec::new();
        let begin = Instant::now();
        while begin.elapsed() < self.duration {
            step += 1;
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let block = if self.kind.bytes() == PAGE { state } else { step };
            let start = Instant::now();
            operation(block % blocks * self.kind.bytes() as u64).await;
            nanos.push(start.elapsed().as_nanos() as u64);
        }
        nanos
    }
}

struct Outcome {
    /// Sorted.
    nanos: Vec<u64>,
    elapsed: Duration,
    cpu: Duration,
}

fn measure(job: &Job, engine: Engine) -> Outcome {
    let (begin, cpu) = (Instant::now(), process_cpu());
    let mut nanos = engine.run(job);
    let (elapsed, cpu) = (begin.elapsed(), process_cpu() - cpu);
    nanos.sort_unstable();
    Outcome { nanos, elapsed, cpu }
}

fn print_row(job: &Job, engine: Engine, outcome: &Outcome) {
    let count = outcome.nanos.len().max(1);
    let at =
        |percent: usize| outcome.nanos.get(count * percent / 100).map_or(0.0, |nanos| *nanos as f64 / 1e3);
    let rate = count as f64 / outcome.elapsed.as_secs_f64();
    let mib = rate * job.kind.bytes() as f64 / MIB as f64;
    let cpu = outcome.cpu.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{:<20} {:>5}  {:<16} {rate:>9.0} {mib:>8.0} {:>8.0} {:>8.0} {cpu:>8.1}",
        job.kind.name(),
        job.depth,
        engine.name(),
        at(50),
        at(99),
    );
}

/// Written once, so that overwrites change no extents.
fn write_file(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    let chunk = vec![0x5a; MIB];
    for _ in 0..FILE_BYTES / MIB as u64 {
        file.write_all(&chunk)?;
    }
    file.sync_all()
}

/// CPU time of all threads of this process, those that ended and the kernel's io workers included.
fn process_cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
