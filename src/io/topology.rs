//! Cores: which ones we may use, which disk queues they own, and where a thread runs.
//!
//! Owns the reading of affinity masks and of `/sys/block/*/mq/*/cpu_list`. All of it is best effort: in a
//! container without sysfs the order of cores is simply their numbers.

use std::fs;
use std::io;
use std::path::Path;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores this process may run on, ascending; never empty.
pub fn allowed_cores() -> Vec<usize> {
    let Ok(mask) = sched_getaffinity(None) else { return vec![0] };
    (0..CpuSet::MAX_CPU).filter(|core| mask.is_set(*core)).collect()
}

/// Keeps the calling thread on one core.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    confine(&[core])
}

/// Keeps the calling thread on a set of cores.
pub fn confine(cores: &[usize]) -> io::Result<()> {
    let mut mask = CpuSet::new();
    cores.iter().filter(|core| **core < CpuSet::MAX_CPU).for_each(|core| mask.set(*core));
    Ok(sched_setaffinity(None, &mask)?)
}

/// Makes the calling thread yield to all others: for work nobody waits for.
pub fn lower_priority() -> io::Result<()> {
    const NICE: i32 = 10;
    // On Linux a priority belongs to a thread, and process 0 means the calling one.
    Ok(rustix::process::setpriority_process(None, NICE)?)
}

/// The allowed cores in the order in which data threads should take them: the first of each hardware
/// queue first, so that few threads have a queue each.
pub fn cores_by_queue() -> Vec<usize> {
    spread(&allowed_cores(), &disk_queues(Path::new("/sys/block")))
}

/// For every disk with several hardware queues, the cores that each queue serves.
fn disk_queues(sys_block: &Path) -> Vec<Vec<Vec<usize>>> {
    let disks = entries(sys_block).into_iter().map(|disk| {
        let queues = entries(&disk.join("mq")).into_iter();
        queues
            .filter_map(|queue| fs::read_to_string(queue.join("cpu_list")).ok())
            .map(|list| parse_list(&list))
            .collect()
    });
    disks.filter(|queues: &Vec<_>| queues.len() > 1).collect()
}

fn entries(directory: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Cores of a kernel list such as `0-3, 8`.
fn parse_list(text: &str) -> Vec<usize> {
    let ranges = text.split(',').filter_map(|part| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
        Some(first..=last.min(CpuSet::MAX_CPU))
    });
    ranges.flatten().collect()
}

/// Orders `cores` so that those which share a queue with an earlier one come later. A core's rank is the
/// worst over the disks: how many allowed cores before it own the same queue.
fn spread(cores: &[usize], disks: &[Vec<Vec<usize>>]) -> Vec<usize> {
    let rank = |core: usize| {
        let shares = disks.iter().flatten().filter(|queue| queue.contains(&core));
        shares
            .map(|queue| cores.iter().filter(|c| **c < core && queue.contains(c)).count())
            .max()
            .unwrap_or(0)
    };
    let mut order = cores.to_vec();
    order.sort_by_key(|core| (rank(*core), *core));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_runs_on_its_core() {
        let core = *allowed_cores().last().unwrap();
        std::thread::spawn(move || {
            pin(core).unwrap();
            assert_eq!(allowed_cores(), [core]);
            assert_eq!(rustix::thread::sched_getcpu(), core);
            lower_priority().unwrap();
            assert!(rustix::process::getpriority_process(None).unwrap() > 0);
            // What it starts is nobody's hurry either.
            let inherited = std::thread::spawn(|| rustix::process::getpriority_process(None).unwrap());
            assert!(inherited.join().unwrap() > 0);
        })
        .join()
        .unwrap();
        assert!(pin(usize::MAX).is_err());
    }

    #[test]
    fn lists_of_cores() {
        assert_eq!(parse_list("0, 2-4, 9\n"), [0, 2, 3, 4, 9]);
        assert!(parse_list("").is_empty());
        assert_eq!(parse_list("x, 1-, 3"), [3]);
    }

    #[test]
    fn one_core_of_each_queue_comes_first() {
        let queues = vec![vec![vec![0, 1], vec![2, 3]]];
        assert_eq!(spread(&[0, 1, 2, 3], &queues), [0, 2, 1, 3]);
        assert_eq!(spread(&[1, 3], &queues), [1, 3]);
        assert_eq!(spread(&[0, 1], &[]), [0, 1]);
    }

    #[test]
    fn queues_are_read_from_sysfs() {
        let root = tempfile::tempdir().unwrap();
        for (disk, queue, list) in [("nvme0n1", "0", "0, 1"), ("nvme0n1", "1", "2, 3"), ("sda", "0", "0-3")] {
            let directory = root.path().join(disk).join("mq").join(queue);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cpu_list"), list).unwrap();
        }
        assert_eq!(disk_queues(root.path()), [[[0, 1], [2, 3]]]);
        assert!(disk_queues(Path::new("/nonexistent")).is_empty());
        let mut cores = cores_by_queue();
        cores.sort_unstable();
        assert_eq!(cores, allowed_cores());
    }
}
