//! What the kernel says of this process, read from `/proc/self` when somebody asks.
//!
//! Small text files that the kernel makes on the spot: reading them never waits for a drive, so it may be
//! done on a data thread. A figure that cannot be read is 0.

use std::fs;

use crate::base::limits::PAGE;
use crate::base::metrics::ProcessMetrics;

/// Clock ticks a second in `/proc`: fixed at 100 in the interface of Linux to programs.
const TICKS_PER_SECOND: u64 = 100;

pub fn read() -> ProcessMetrics {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let open_files = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let (cpu_ticks, threads) = cpu_and_threads(&stat).unwrap_or_default();
    ProcessMetrics {
        resident_bytes: resident_pages(&statm).unwrap_or_default() * PAGE as u64,
        cpu_us: cpu_ticks * (1_000_000 / TICKS_PER_SECOND),
        // Counting them opens one more.
        open_files: open_files.saturating_sub(1),
        threads,
    }
}

/// proc_pid_statm(5): the second number.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

/// proc_pid_stat(5): utime and stime are fields 14 and 15, num_threads is 20. The command's name is in
/// parentheses and may contain anything, so fields are counted from the last one that closes.
fn cpu_and_threads(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let field = |number: usize| rest.split_whitespace().nth(number - 3)?.parse::<u64>().ok();
    Some((field(14)?.checked_add(field(15)?)?, field(20)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let figures = read();
        assert!(figures.resident_bytes > 100_000 && figures.open_files >= 3 && figures.threads >= 1);
    }

    #[test]
    fn a_strange_name_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(cpu_and_threads(stat), Some((300, 9)));
        assert_eq!(cpu_and_threads("7 (torn"), None);
        assert_eq!(resident_pages("10 7 3"), Some(7));
    }
}
