//! Tests of the world: one suite, run on io_uring, on the pool of threads and on the simulation.
//!
//! Real files live in the temporary directory of the machine. Where that file system knows no direct I/O
//! the same tests run on its fallback.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tempfile::TempDir;
use tokio::task::LocalSet;

use super::buffer::AlignedBuf;
use super::disk::{Access, File};
use super::runtime::{self, IoChoice, IoKind};
use super::sim::SimWorld;
use super::world::World;
use crate::base::limits::{GIB, KIB, MIB, PAGE};

fn on_both<F: Future<Output = ()>>(test: impl Fn(World, TempDir) -> F) {
    for kind in [IoKind::Uring, IoKind::Threads] {
        runtime::run(kind, |world| {
            assert_eq!(world.io_kind(), kind);
            test(world, tempfile::tempdir().unwrap())
        });
    }
}

fn on_all<F: Future<Output = ()>>(test: impl Fn(World, TempDir) -> F) {
    on_both(&test);
    for seed in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let sim = SimWorld::new(seed);
        sim.add_disk(directory.path(), GIB);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        LocalSet::new().block_on(&runtime.unwrap(), test(sim.world(), directory));
    }
}

fn create(world: &World, directory: &TempDir, access: Access) -> File {
    world.open(&directory.path().join("file"), true, access).unwrap()
}

fn filled(len: usize, byte: u8) -> Arc<AlignedBuf> {
    let mut buf = AlignedBuf::zeroed(len);
    buf.fill(byte);
    Arc::new(buf)
}

async fn read(file: &File, offset: u64, len: usize) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed(len);
    buf.fill(0xaa);
    let (result, buf) = file.read_at(buf, offset).await;
    result.unwrap();
    buf
}

/// Polls a future once and drops it.
async fn poll_and_drop<F: Future>(future: F) {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let _ = future.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}

async fn until_idle(world: &World) {
    while world.inflight() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[test]
fn what_is_written_is_read() {
    on_all(async |world, directory| {
        for access in [Access::Direct, Access::DirectSync] {
            let file = create(&world, &directory, access);
            let mut page = AlignedBuf::zeroed(3 * PAGE);
            world.random(&mut page);
            let page = Arc::new(page);
            file.write_at(page.clone(), PAGE..3 * PAGE, 8 * KIB as u64).await.unwrap();
            file.sync().await.unwrap();
            assert_eq!(read(&file, 8 * KIB as u64, 2 * PAGE).await[..], page[PAGE..]);
            assert_eq!(read(&file, 12 * KIB as u64, PAGE).await[..], page[2 * PAGE..]);
            assert_eq!(file.len().unwrap(), 16 * KIB as u64);
        }
        let reader = world.open(&directory.path().join("file"), false, Access::ReadOnly).unwrap();
        assert_eq!(reader.len().unwrap(), 16 * KIB as u64);
        let refused = reader.write_at(filled(PAGE, 1), 0..PAGE, 0).await.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
    });
}

#[test]
fn holes_and_the_space_past_the_end_read_as_zeros() {
    on_all(async |world, directory| {
        let file = create(&world, &directory, Access::Direct);
        file.write_at(filled(PAGE, 7), 0..PAGE, 64 * KIB as u64).await.unwrap();
        assert!(read(&file, 0, 64 * KIB).await.iter().all(|byte| *byte == 0));
        let across = read(&file, 60 * KIB as u64, 16 * KIB).await;
        assert!(across[PAGE..2 * PAGE].iter().all(|byte| *byte == 7));
        assert!(across[..PAGE].iter().chain(&across[2 * PAGE..]).all(|byte| *byte == 0));
        assert!(read(&file, 1 << 40, PAGE).await.iter().all(|byte| *byte == 0));
    });
}

#[test]
fn a_file_that_ends_inside_a_sector_reads_with_zeros_behind() {
    on_both(async |world, directory| {
        std::fs::write(directory.path().join("file"), vec![9; PAGE + 100]).unwrap();
        let file = world.open(&directory.path().join("file"), false, Access::ReadOnly).unwrap();
        let buf = read(&file, 0, 4 * PAGE).await;
        assert!(buf[..PAGE + 100].iter().all(|byte| *byte == 9));
        assert!(buf[PAGE + 100..].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn transfers_that_are_not_aligned_are_refused() {
    on_all(async |world, directory| {
        let file = create(&world, &directory, Access::Direct);
        let refused =
            |result: std::io::Result<()>| assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        refused(file.read_at(AlignedBuf::zeroed(PAGE), 512).await.0);
        refused(file.read_at(AlignedBuf::zeroed(100), 0).await.0);
        refused(file.read_at(AlignedBuf::zeroed(PAGE), u64::MAX - 4095).await.0);
        refused(file.write_at(filled(2 * PAGE, 1), 512..512 + PAGE, 0).await);
        refused(file.write_at(filled(2 * PAGE, 1), 0..100, 0).await);
        refused(file.write_at(filled(2 * PAGE, 1), 0..PAGE, 1).await);
        refused(file.preallocate(1, PAGE as u64).await);
        assert_eq!(file.len().unwrap(), 0);
    });
}

#[test]
fn space_is_reserved_zeroed_and_given_back() {
    on_all(async |world, directory| {
        let file = create(&world, &directory, Access::Direct);
        file.preallocate(0, 4 * MIB as u64).await.unwrap();
        assert_eq!(file.len().unwrap(), 4 * MIB as u64);
        file.write_at(filled(MIB, 5), 0..MIB, MIB as u64).await.unwrap();
        file.preallocate(0, 2 * MIB as u64).await.unwrap();
        assert_eq!(read(&file, MIB as u64, MIB).await[..], filled(MIB, 5)[..]);
        assert_eq!(file.len().unwrap(), 4 * MIB as u64);

        file.write_zeroes(MIB as u64 + 8192, 3 * MIB as u64 - 8192).await.unwrap();
        assert!(read(&file, MIB as u64, 8192).await.iter().all(|byte| *byte == 5));
        assert!(read(&file, MIB as u64 + 8192, 3 * MIB - 8192).await.iter().all(|byte| *byte == 0));
        assert_eq!(file.len().unwrap(), 4 * MIB as u64);

        file.discard(MIB as u64, 8192).await.unwrap();
        let left = read(&file, MIB as u64, 8192).await;
        assert!(left.iter().all(|byte| *byte == 0) || left.iter().all(|byte| *byte == 5));
        assert_eq!(file.len().unwrap(), 4 * MIB as u64);
    });
}

#[test]
fn many_operations_at_once_keep_their_buffers_apart() {
    const COUNT: usize = 600;
    on_all(async |world, directory| {
        let file = create(&world, &directory, Access::Direct);
        file.preallocate(0, (COUNT * PAGE) as u64).await.unwrap();
        let write = |n: usize| {
            let file = file.clone();
            async move { file.write_at(filled(PAGE, n as u8), 0..PAGE, (n * PAGE) as u64).await.unwrap() }
        };
        let writes: Vec<_> = (0..COUNT).map(|n| tokio::task::spawn_local(write(n))).collect();
        for write in writes {
            write.await.unwrap();
        }
        assert_eq!(world.inflight(), 0);
        let reads = (0..COUNT).map(|n| {
            let file = file.clone();
            tokio::task::spawn_local(async move { (n, read(&file, (n * PAGE) as u64, PAGE).await) })
        });
        for read in reads.collect::<Vec<_>>() {
            let (n, buf) = read.await.unwrap();
            assert!(buf.iter().all(|byte| *byte == n as u8));
        }
    });
}

/// A buffer that were freed with its future would be the next one of its size to be handed out, and the
/// read would then overwrite it.
#[test]
fn a_cancelled_read_keeps_its_buffer_until_the_kernel_is_done() {
    on_all(async |world, directory| {
        let file = create(&world, &directory, Access::Direct);
        file.write_at(filled(MIB, 0xff), 0..MIB, 0).await.unwrap();
        file.sync().await.unwrap();
        for _ in 0..50 {
            poll_and_drop(file.read_at(AlignedBuf::zeroed(MIB), 0)).await;
            assert!(world.inflight() > 0 || world.io_kind() == IoKind::Threads);
            let mine: Vec<_> = (0..4).map(|_| AlignedBuf::zeroed(MIB)).collect();
            until_idle(&world).await;
            assert!(mine.iter().all(|buf| buf.iter().all(|byte| *byte == 0)));
        }
    });
}

#[test]
fn a_cancelled_write_writes_what_it_was_given() {
    on_all(async |world, directory| {
        let file = create(&world, &directory, Access::Direct);
        for round in 1..50 {
            poll_and_drop(file.write_at(filled(64 * KIB, round), 0..64 * KIB, 0)).await;
            let _other = filled(64 * KIB, 0xee);
            until_idle(&world).await;
            assert_eq!(read(&file, 0, 64 * KIB).await[..], filled(64 * KIB, round)[..]);
        }
    });
}

/// The runtime goes away with reads in flight, some cancelled before, some by its end.
#[test]
fn a_runtime_that_ends_frees_no_buffer_the_kernel_uses() {
    on_both(async |world, directory| {
        let kind = world.io_kind();
        let file = create(&world, &directory, Access::Direct);
        file.write_at(filled(MIB, 0xff), 0..MIB, 0).await.unwrap();
        file.sync().await.unwrap();
        let path = directory.path().join("file");
        let check = std::thread::spawn(move || {
            for _ in 0..20 {
                runtime::run(kind, |world| leave_with_reads_in_flight(world, &path));
                let mine: Vec<_> = (0..6).map(|_| AlignedBuf::zeroed(MIB)).collect();
                assert!(mine.iter().all(|buf| buf.iter().all(|byte| *byte == 0)));
            }
        });
        check.join().unwrap();
    });
}

async fn leave_with_reads_in_flight(world: World, path: &Path) {
    let file = world.open(path, false, Access::ReadOnly).unwrap();
    poll_and_drop(file.read_at(AlignedBuf::zeroed(MIB), 0)).await;
    for _ in 0..3 {
        let file = file.clone();
        tokio::task::spawn_local(async move { file.read_at(AlignedBuf::zeroed(MIB), 0).await.0 });
    }
    poll_and_drop(file.read_at(AlignedBuf::zeroed(MIB), 0)).await;
    tokio::task::yield_now().await;
}

#[test]
fn a_full_device_is_told_by_its_number() {
    on_both(async |world, _| {
        let file = world.open(Path::new("/dev/full"), false, Access::Direct).unwrap();
        let full = file.write_at(filled(PAGE, 1), 0..PAGE, 0).await.unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    });
}

/// tmpfs refuses direct I/O (before Linux 6.6) and knows no FALLOC_FL_WRITE_ZEROES.
#[test]
fn a_memory_file_system_works_too() {
    on_both(async |world, _| {
        let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
        let file = create(&world, &directory, Access::DirectSync);
        file.write_at(filled(PAGE, 3), 0..PAGE, 0).await.unwrap();
        file.write_zeroes(PAGE as u64, 3 * MIB as u64).await.unwrap();
        file.sync().await.unwrap();
        assert_eq!(read(&file, 0, PAGE).await[..], filled(PAGE, 3)[..]);
        assert!(read(&file, PAGE as u64, 3 * MIB).await.iter().all(|byte| *byte == 0));
        assert!(file.id().write_cache, "unknown counts as volatile");
    });
}

#[test]
fn names_directories_and_locks() {
    on_all(async |world, directory| {
        let deep = directory.path().join("a/b/c");
        assert!(!world.exists(&deep));
        world.create_dir_all(&deep).unwrap();
        world.create_dir_all(&deep).unwrap();
        assert!(world.exists(&deep));
        assert!(world.free_bytes(&deep).unwrap() > 0);

        let missing = world.open(&deep.join("none"), false, Access::Direct).err().unwrap();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        assert!(!world.exists(&deep.join("none")));

        for path in [deep.join("lock"), deep] {
            let lock = world.lock(&path).unwrap();
            assert_eq!(world.lock(&path).err().unwrap().kind(), std::io::ErrorKind::WouldBlock);
            drop(lock);
            world.lock(&path).unwrap();
        }
    });
}

#[test]
fn files_tell_where_they_live() {
    on_all(async |world, directory| {
        let one = create(&world, &directory, Access::Direct).id();
        let two = world.open(&directory.path().join("two"), true, Access::DirectSync).unwrap().id();
        assert_eq!(one, two);
        assert!(!one.is_block_device);
    });
}

#[test]
fn the_clock_runs_and_chance_differs() {
    on_all(async |world, _| {
        let before = world.now();
        assert!(before.seconds() > 1_600_000_000);
        assert_ne!(world.random_u64(), world.random_u64());
        let mut long = vec![0; 100_000];
        world.random(&mut long);
        assert!(long.windows(32).all(|window| window != [0; 32]));
        assert!(world.now() >= before);
    });
}

#[test]
fn the_probe_finds_a_working_kind() {
    assert_eq!(runtime::probe(IoChoice::Threads).unwrap(), IoKind::Threads);
    let auto = runtime::probe(IoChoice::Auto).unwrap();
    assert_eq!(auto == IoKind::Uring, runtime::probe(IoChoice::Uring).is_ok());
    assert_eq!(auto == IoKind::Uring, runtime::probe_uring().is_ok());
}

#[test]
fn what_a_future_answers_comes_out() {
    for kind in [IoKind::Uring, IoKind::Threads] {
        let answer = runtime::run(kind, async |_| tokio::task::spawn_local(async { 42 }).await.unwrap());
        assert_eq!(answer, 42);
    }
}
