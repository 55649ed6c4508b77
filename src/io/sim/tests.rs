//! What the simulated disk promises and what it does not: durability, tearing, faults, determinism.
//!
//! The engine's tests believe this disk, so each promise of its page has a test here, and so has
//! each thing it does not promise: that unsynced sectors may be lost one by one.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::task::LocalSet;

use super::*;
use crate::base::limits::KIB;
use crate::io::buffer::AlignedBuf;
use crate::io::disk::{Access, File};

const SECTOR: usize = 512;
const EIO: Option<i32> = Some(libc::EIO);

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), future)
}

fn machine(seed: u64) -> SimWorld {
    let sim = SimWorld::new(seed);
    sim.add_disk("/d0", 1 << 30);
    sim
}

fn open(sim: &SimWorld, access: Access) -> File {
    sim.world().open(Path::new("/d0/file"), true, access).unwrap()
}

fn filled(byte: u8, len: usize) -> Arc<AlignedBuf> {
    let mut buf = AlignedBuf::zeroed(len);
    buf.fill(byte);
    Arc::new(buf)
}

async fn write(file: &File, byte: u8, offset: u64) -> io::Result<()> {
    file.write_at(filled(byte, PAGE), 0..PAGE, offset).await
}

async fn read(file: &File, offset: u64) -> io::Result<AlignedBuf> {
    let (result, buf) = file.read_at(AlignedBuf::zeroed(PAGE), offset).await;
    result.map(|()| buf)
}

/// The bytes of the sectors of a page, which never change inside a sector.
fn sectors(page: &[u8]) -> Vec<u8> {
    page.chunks(SECTOR)
        .inspect(|sector| assert!(sector.iter().all(|byte| byte == &sector[0])))
        .map(|s| s[0])
        .collect()
}

#[test]
fn what_is_durable_survives_every_crash() {
    for seed in 0..50 {
        let sim = machine(seed);
        run(async {
            let direct = open(&sim, Access::Direct);
            let durable = open(&sim, Access::DirectSync);
            write(&direct, 1, 0).await.unwrap();
            write(&direct, 2, 4096).await.unwrap();
            direct.sync().await.unwrap();
            write(&durable, 3, 4096).await.unwrap();
            direct.write_zeroes(8192, 8192).await.unwrap();
            write(&direct, 4, 16384).await.unwrap();
            durable.sync().await.unwrap();
        });
        sim.crash();
        sim.crash();
        for (page, byte) in [1, 3, 0, 0, 4].into_iter().enumerate() {
            assert_eq!(sim.peek("/d0/file", page as u64 * 4096, PAGE), vec![byte; PAGE]);
        }
    }
}

#[test]
fn unsynced_sectors_are_lost_one_by_one() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let sim = machine(seed);
        run(async {
            let file = open(&sim, Access::Direct);
            write(&file, 1, 0).await.unwrap();
            file.sync().await.unwrap();
            write(&file, 2, 0).await.unwrap();
            write(&file, 3, 0).await.unwrap();
            assert_eq!(read(&file, 0).await.unwrap()[0], 3, "a crash is needed to lose it");
        });
        sim.crash();
        let left = sectors(&sim.peek("/d0/file", 0, PAGE));
        assert!(left.iter().all(|byte| (1..=3).contains(byte)));
        outcomes.insert(left);
    }
    assert!(outcomes.contains(&vec![1; 8]), "all lost");
    assert!(outcomes.contains(&vec![3; 8]), "all kept");
    assert!(outcomes.iter().any(|left| left.contains(&1) && left.contains(&2) && left.contains(&3)), "torn");
}

#[test]
fn a_sync_covers_only_what_was_complete_when_it_began() {
    let lost = (0..100).filter(|seed| {
        let sim = machine(*seed);
        run(async {
            let file = open(&sim, Access::Direct);
            let (first, second) = (file.clone(), file.clone());
            let write = tokio::task::spawn_local(async move { write(&first, 1, 0).await });
            let sync = tokio::task::spawn_local(async move { second.sync().await });
            write.await.unwrap().unwrap();
            sync.await.unwrap().unwrap();
        });
        sim.crash();
        sim.peek("/d0/file", 0, PAGE) != vec![1; PAGE]
    });
    assert!(lost.count() > 10);
}

#[test]
fn a_failed_sync_promises_nothing_for_ever() {
    let lost = (0..100).filter(|seed| {
        let sim = machine(*seed);
        sim.inject("/d0", OpKind::Sync, 0, Fault::Fail(libc::EIO));
        run(async {
            let file = open(&sim, Access::Direct);
            write(&file, 1, 0).await.unwrap();
            assert_eq!(file.sync().await.unwrap_err().raw_os_error(), EIO);
            file.sync().await.unwrap();
        });
        sim.crash();
        sim.peek("/d0/file", 0, PAGE) != vec![1; PAGE]
    });
    assert!(lost.count() > 10);
}

#[test]
fn a_cut_at_a_write_freezes_everything() {
    let mut torn = 0;
    for seed in 0..100 {
        let sim = machine(seed);
        sim.crash_at_write(2);
        run(async {
            let file = open(&sim, Access::DirectSync);
            write(&file, 1, 0).await.unwrap();
            write(&file, 2, 4096).await.unwrap();
            assert!(!sim.is_cut());
            let cut = write(&file, 3, 4096).await.unwrap_err();
            assert!(is_power_cut(&cut) && sim.is_cut());
            assert!(is_power_cut(&read(&file, 0).await.unwrap_err()));
            assert!(is_power_cut(&file.sync().await.unwrap_err()));
            assert!(is_power_cut(
                &sim.world().open(Path::new("/d0/file"), false, Access::Direct).err().unwrap()
            ));
        });
        assert_eq!(sim.peek("/d0/file", 4096, PAGE), vec![2; PAGE]);
        let old = open_after_crash(&sim);
        assert_eq!(sim.peek("/d0/file", 0, PAGE), vec![1; PAGE]);
        let left = sectors(&sim.peek("/d0/file", 4096, PAGE));
        assert!(left.iter().all(|byte| *byte == 2 || *byte == 3));
        torn += usize::from(left.contains(&2) && left.contains(&3));
        run(async { assert_eq!(read(&old, 0).await.unwrap()[0], 1) });
    }
    assert!(torn > 20);
}

fn open_after_crash(sim: &SimWorld) -> File {
    let before = sim.world();
    sim.crash();
    assert!(is_power_cut(&before.free_bytes(Path::new("/d0")).unwrap_err()), "worlds end with the crash");
    open(sim, Access::Direct)
}

/// A write nobody waits for any more is in flight all the same, and may land after later ones.
#[test]
fn a_write_in_flight_is_torn_by_a_crash() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let sim = machine(seed);
        sim.hang("/d0");
        run(async {
            let file = open(&sim, Access::DirectSync);
            let write = tokio::task::spawn_local(async move { write(&file, 1, 0).await });
            while sim.writes() == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(sim.world().inflight(), 1);
            assert!(!write.is_finished());
        });
        sim.crash();
        outcomes.insert(sectors(&sim.peek("/d0/file", 0, PAGE)));
    }
    assert!(outcomes.contains(&vec![0; 8]) && outcomes.contains(&vec![1; 8]) && outcomes.len() > 10);
}

#[test]
fn planned_faults_meet_their_operation() {
    let sim = machine(1);
    run(async {
        let file = open(&sim, Access::DirectSync);
        sim.inject("/d0/file", OpKind::Write, 1, Fault::Lose);
        sim.inject("/d0", OpKind::Write, 2, Fault::Misdirect(64 * KIB as u64));
        sim.inject("/d0/file", OpKind::Read, 1, Fault::Fail(libc::EIO));
        for page in 0..3 {
            write(&file, 7, page * 4096).await.unwrap();
        }
        let mut seen = Vec::new();
        for offset in [0, 0, 4096, 8192, 64 * KIB as u64] {
            seen.push(read(&file, offset).await.map(|buf| buf[0]).map_err(|error| error.raw_os_error()));
        }
        assert_eq!(seen, [Ok(7), Err(EIO), Ok(0), Ok(0), Ok(7)]);
        assert_eq!(sim.pending_faults(), 0);
    });
}

#[test]
fn a_failed_write_may_have_written_any_sector() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let sim = machine(seed);
        sim.inject("/d0", OpKind::Write, 0, Fault::Fail(libc::EIO));
        run(async {
            let file = open(&sim, Access::DirectSync);
            assert_eq!(write(&file, 1, 0).await.unwrap_err().raw_os_error(), EIO);
        });
        outcomes.insert(sectors(&sim.peek("/d0/file", 0, PAGE)));
    }
    assert!(outcomes.len() > 10);
}

#[test]
fn bits_rot_and_sectors_go_bad_until_written() {
    let sim = machine(1);
    run(async {
        let file = open(&sim, Access::DirectSync);
        write(&file, 0x0f, 0).await.unwrap();
        sim.flip("/d0/file", 17, 0x81);
        let page = read(&file, 0).await.unwrap();
        assert_eq!((page[16], page[17], page[18]), (0x0f, 0x8e, 0x0f));

        sim.latent_error("/d0/file", 100..200);
        assert_eq!(read(&file, 0).await.unwrap_err().raw_os_error(), EIO);
        read(&file, 4096).await.unwrap();
        write(&file, 2, 0).await.unwrap();
        assert_eq!(read(&file, 0).await.unwrap()[17], 2);
    });
}

#[test]
fn disks_die_hang_and_are_replaced() {
    let sim = machine(1);
    run(async {
        let file = open(&sim, Access::DirectSync);
        write(&file, 1, 0).await.unwrap();
        sim.kill("/d0");
        assert_eq!(write(&file, 2, 0).await.unwrap_err().raw_os_error(), EIO);
        assert_eq!(read(&file, 0).await.unwrap_err().raw_os_error(), EIO);
        assert_eq!(sim.world().lock(Path::new("/d0/lock")).err().unwrap().raw_os_error(), EIO);
        sim.revive("/d0");
        assert_eq!(read(&file, 0).await.unwrap()[0], 1);

        sim.hang("/d0");
        let hung = file.clone();
        let hung = tokio::task::spawn_local(async move { read(&hung, 0).await });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!hung.is_finished());
        sim.release("/d0");
        hung.await.unwrap().unwrap();

        sim.wipe("/d0");
        assert!(!sim.world().exists(Path::new("/d0/file")));
        assert_eq!(read(&file, 0).await.unwrap_err().raw_os_error(), EIO);
        assert_eq!(open(&sim, Access::Direct).len().unwrap(), 0);
    });
}

#[test]
fn a_stall_takes_time() {
    let sim = machine(1);
    run(async {
        let file = open(&sim, Access::DirectSync);
        sim.inject("/d0", OpKind::Write, 0, Fault::Stall(Duration::from_secs(30)));
        let before = sim.world().now();
        write(&file, 1, 0).await.unwrap();
        assert!(sim.world().now().0 - before.0 >= 30_000_000_000);
    });
}

#[test]
fn disks_fill_up() {
    let sim = SimWorld::new(1);
    sim.add_disk("/small", 16 * KIB as u64);
    sim.add_block_device("/dev/disk", 8 * KIB as u64);
    run(async {
        let world = sim.world();
        let full =
            |result: io::Result<()>| assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        let file = world.open(Path::new("/small/file"), true, Access::Direct).unwrap();
        file.preallocate(0, 12 * KIB as u64).await.unwrap();
        assert_eq!(world.free_bytes(Path::new("/small")).unwrap(), 4096);
        write(&file, 1, 12 * KIB as u64).await.unwrap();
        full(write(&file, 1, 16 * KIB as u64).await);
        full(file.preallocate(0, 20 * KIB as u64).await);
        write(&file, 1, 0).await.unwrap();

        let device = world.open(Path::new("/dev/disk"), false, Access::DirectSync).unwrap();
        assert!(device.id().is_block_device && device.id() != file.id());
        assert_eq!(device.len().unwrap(), 8 * KIB as u64);
        device.preallocate(0, 8 * KIB as u64).await.unwrap();
        write(&device, 1, 4096).await.unwrap();
        full(write(&device, 1, 8192).await);
    });
}

#[test]
fn without_a_cache_complete_writes_are_durable() {
    for seed in 0..20 {
        let sim = SimWorld::new(seed);
        sim.add_disk_without_cache("/d0", 1 << 30);
        run(async {
            let file = open(&sim, Access::Direct);
            assert!(!file.id().write_cache);
            write(&file, 1, 0).await.unwrap();
        });
        sim.crash();
        assert_eq!(sim.peek("/d0/file", 0, PAGE), vec![1; PAGE]);
    }
}

#[test]
fn a_crash_releases_locks_and_the_clock_goes_on() {
    let sim = machine(1);
    let path = Path::new("/d0/lock");
    let old = sim.world().lock(path).unwrap();
    let before = sim.world().now();
    sim.crash();
    let new = sim.world().lock(path).unwrap();
    drop(old);
    assert_eq!(sim.world().lock(path).err().unwrap().kind(), io::ErrorKind::WouldBlock);
    drop(new);
    sim.world().lock(path).unwrap();
    assert!(sim.world().now() > before);
}

/// The same seed gives the same history: order of completion, times, faults and what a crash leaves.
#[test]
fn a_seed_decides_everything() {
    let history = |seed| {
        let sim = machine(seed);
        let order = run(async {
            let file = open(&sim, Access::Direct);
            let order = Rc::new(RefCell::new(Vec::new()));
            let writes = (0..40u8).map(|n| {
                let (file, order, sim) = (file.clone(), order.clone(), sim.clone());
                tokio::task::spawn_local(async move {
                    write(&file, n, u64::from(n % 8) * 4096).await.unwrap();
                    order.borrow_mut().push((n, sim.world().now(), sim.world().random_u64()));
                })
            });
            for write in writes.collect::<Vec<_>>() {
                write.await.unwrap();
            }
            order.take()
        });
        sim.crash();
        (order, sim.peek("/d0/file", 0, 8 * PAGE))
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
}
