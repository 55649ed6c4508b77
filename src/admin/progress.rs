//! Progress of work that takes more than a moment, such as filling new segments with zeros.
//!
//! On a terminal a bar that vanishes when the work is done; elsewhere a log line for every tenth. The
//! engine knows nothing of either: it calls a function with what is done and what there is to do, both in
//! bytes. One `Progress` belongs to one thread.

use std::cell::Cell;

use indicatif::{ProgressBar, ProgressStyle};

use super::table::size;

pub struct Progress {
    what: String,
    /// Only where a person watches.
    bar: Option<ProgressBar>,
    /// Tenths reported so far.
    tenths: Cell<u64>,
}

impl Progress {
    /// `what` begins the line: "zero-filling /data". `terminal` says whether standard error is one.
    pub fn new(what: &str, terminal: bool) -> Progress {
        let bar = terminal.then(|| {
            let bar = ProgressBar::new(0).with_message(what.to_owned());
            bar.set_style(style());
            bar
        });
        Progress { what: what.to_owned(), bar, tenths: Cell::new(0) }
    }

    /// Takes note of `done` of `total` bytes. Cheap enough to be called for every block; a total of 0 says
    /// that there is nothing to do.
    pub fn report(&self, done: u64, total: u64) {
        assert!(done <= total, "no more is done than there is to do");
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let tenths = tenths_of(done, total);
        if tenths > self.tenths.replace(tenths) {
            tracing::info!("{}: {} of {}", self.what, size(done), size(total));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    let template =
        "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";
    ProgressStyle::with_template(template).expect("the template is a constant").progress_chars("=> ")
}

fn tenths_of(done: u64, total: u64) -> u64 {
    if total == 0 {
        return 0;
    }
    (u128::from(done) * 10 / u128::from(total)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_gets_one_line_for_each_tenth() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, || {
            let progress = Progress::new("zero-filling /d", false);
            (0..=1000).for_each(|done| progress.report(done, 1000));
        });
        let text = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("text");
        assert_eq!(text.lines().count(), 10, "{text}");
        assert!(text.contains("zero-filling /d: 500 B of 1000 B"), "{text}");
    }

    #[test]
    fn a_bar_takes_any_totals() {
        let progress = Progress::new("filling", true);
        [(0, 0), (1, 10), (10, 10), (u64::MAX, u64::MAX)]
            .into_iter()
            .for_each(|(d, t)| progress.report(d, t));
        assert_eq!((tenths_of(0, 0), tenths_of(u64::MAX, u64::MAX)), (0, 10));
    }
}
