//! `basalt inspect` as an operator meets it: the real binary stores objects, is stopped or killed, and
//! the drives are looked at.
//!
//! Uses the server over HTTP with requests signed by the project's own signer. Damage is done where a
//! report said that a piece stands, so the addresses it prints are tested too.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use basalt::base::time::Nanos;
use basalt::codec::sigv4::Signer;
use http::{HeaderMap, HeaderValue, Method};
use rustix::process::{Pid, Signal, kill_process};

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// Drives in a directory of their own.
struct Drives {
    _directory: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

/// A server that is killed when the test ends, whatever its end.
struct Server {
    process: Child,
    address: String,
}

/// What a command said and how it ended.
struct Said {
    out: String,
    error: String,
    code: Option<i32>,
}

impl Drives {
    fn new(count: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = (0..count).map(|n| directory.path().join(format!("d{n}"))).collect();
        Drives { _directory: directory, paths }
    }

    fn serve(&self) -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_basalt"))
            .arg("serve")
            .args(&self.paths)
            .args(["--listen", "127.0.0.1:0", "--capacity", "640MiB", "--memory", "64MiB", "--cores", "1"])
            .env_clear()
            .envs([("BASALT_ACCESS_KEY", ACCESS_KEY), ("BASALT_SECRET_KEY", SECRET_KEY)])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let mut said = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("the server ended:\n{said}")).expect("text");
            if let Some((_, rest)) = line.split_once("address=") {
                break rest.split_whitespace().next().expect("an address").to_owned();
            }
            said.push_str(&line);
            said.push('\n');
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Server { process, address }
    }

    fn inspect(&self, drive: usize, flags: &[&str]) -> Said {
        let path = self.paths[drive].to_str().expect("a plain path");
        inspect(path, flags)
    }

    /// The report of an intact look at a drive that may be damaged.
    fn report(&self, drive: usize, flags: &[&str]) -> String {
        let said = self.inspect(drive, flags);
        assert_eq!((said.code, said.error.as_str()), (Some(0), ""), "{}", said.out);
        said.out
    }

    /// Turns a byte over, `skip` bytes behind a place like `basalt.meta+0x1000`.
    fn damage(&self, drive: usize, place: &str, skip: u64) {
        let (name, offset) = place.split_once("+0x").expect("a file and an offset");
        let at = u64::from_str_radix(offset, 16).expect("hexadecimal") + skip;
        let path = self.paths[drive].join(name);
        let file = OpenOptions::new().read(true).write(true).open(path).expect("a file of the drive");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("it is inside");
        file.write_all_at(&[byte[0] ^ 0x5a], at).expect("it is written");
    }
}

impl Server {
    /// Sends a signed request and gives the status of the answer.
    fn send(&self, method: Method, path: &str, body: &[u8]) -> u16 {
        let signer =
            Signer { access_key: ACCESS_KEY, secret: SECRET_KEY, region: "us-east-1", session_token: None };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(&self.address).expect("plain"));
        let now = Nanos::from_seconds(since.as_secs());
        signer.sign(&method, path, "", &mut headers, "UNSIGNED-PAYLOAD", now).expect("it signs");
        let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n").into_bytes();
        for (name, value) in &headers {
            request.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        request.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.write_all(&[&request, body].concat()).expect("it takes the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no answer: {answer}"))
    }

    /// A bucket with small objects, a large one, and one that was deleted.
    fn fill(&self) {
        assert_eq!(self.send(Method::PUT, "/bucket", b""), 200);
        for n in 0..8 {
            assert_eq!(self.send(Method::PUT, &format!("/bucket/small/{n}"), &vec![n; 300]), 200);
        }
        assert_eq!(self.send(Method::PUT, "/bucket/large", &vec![7; 2 << 20]), 200);
        assert_eq!(self.send(Method::DELETE, "/bucket/small/0", b""), 204);
    }

    fn stop(mut self) {
        // Until it listens to signals, which it does a moment after it serves, one just ends it.
        while !self.listens_to(Signal::TERM) {
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("it runs");
        assert!(self.process.wait().expect("it ends").success());
    }
}

impl Server {
    /// Whether the process has a handler for a signal, by the mask that the kernel shows.
    fn listens_to(&self, signal: Signal) -> bool {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).expect("it runs");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
        let mask = u64::from_str_radix(mask.trim(), 16).expect("hexadecimal");
        mask >> (signal.as_raw() - 1) & 1 == 1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn inspect(path: &str, flags: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_basalt"))
        .args(["inspect", path])
        .args(flags)
        .env_clear()
        .output()
        .expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { out: text(&output.stdout), error: text(&output.stderr), code: output.status.code() }
}

/// The word that looks like a place in the first line that holds `part`.
fn place_in<'t>(text: &'t str, part: &str) -> &'t str {
    let line = text.lines().find(|line| line.contains(part));
    let word = line.and_then(|line| line.split_whitespace().find(|word| word.contains("+0x")));
    word.unwrap_or_else(|| panic!("no place beside {part} in\n{text}")).trim_end_matches(',')
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

/// The part of a report that lists what is damaged.
fn damage_of(text: &str) -> &str {
    text.split_once("\nDAMAGE").expect("every report ends with it").1
}

#[test]
fn a_killed_server_leaves_its_records_in_the_log_and_a_stopped_one_in_the_catalog() {
    let drives = Drives::new(1);
    let server = drives.serve();
    server.fill();
    drop(server);
    let log = drives.report(0, &["--log"]);
    assert_has(
        &log,
        &[
            "put bucket \"bucket\"",
            "put object \"small/3\" of bucket",
            ": 300 bytes of",
            "body of 300 bytes, to be replayed",
            "delete object \"small/0\" of bucket",
            "put object \"large\" of bucket",
            "DAMAGE  none found",
        ],
    );
    assert!(!log.contains("\nSHARD"), "only what was asked for:\n{log}");

    drives.serve().stop();
    let catalog = drives.report(0, &["--catalog"]);
    assert_has(
        &catalog,
        &["bucket \"bucket\": id", "object \"small/3\" of bucket", "object \"large\" of bucket"],
    );
    assert_eq!(catalog.matches("      object ").count(), 8, "{catalog}");
    assert!(!catalog.contains("small/0"), "it was deleted before it reached a run:\n{catalog}");
    assert!(!drives.report(0, &["--log"]).contains("to be replayed"));
}

#[test]
fn the_summary_tells_who_the_drive_is_and_who_owns_its_segments() {
    let drives = Drives::new(1);
    let server = drives.serve();
    server.fill();
    server.stop();
    let before = footprint(&drives.paths[0]);
    let report = drives.report(0, &[]);
    assert_has(
        &report,
        &[
            "drive 0 of 1",
            "1+0 chunks",
            "SUPERBLOCK",
            "latched   none",
            "OWNER",
            "shard 0",
            "MANIFEST",
            "DAMAGE  none found",
        ],
    );
    assert_eq!(report.matches("intact").count(), 4);
    let segments = drives.report(0, &["--segments"]);
    let large = segments.lines().find(|line| line.contains("2.0 MiB") || line.contains("2.1 MiB"));
    assert!(large.is_some_and(|line| line.contains("shard")), "the large object fills one:\n{segments}");
    assert_has(&segments, &["basalt.meta+0x1000000", "on drive 0 segment"]);
    assert_eq!(footprint(&drives.paths[0]), before, "nothing was written");
}

/// Names, sizes and times of everything in a directory.
fn footprint(directory: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut found: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let metadata = File::open(&path).and_then(|file| file.metadata()).expect("a file");
            (path, metadata.len(), metadata.modified().expect("a time"))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn damage_is_named_with_its_address_and_the_rest_is_shown() {
    let drives = Drives::new(1);
    let server = drives.serve();
    server.fill();
    drop(server);
    let log = drives.report(0, &["--log"]);
    let head = log.lines().find(|line| line.starts_with("LOG") && line.contains(" at ")).expect("a log");
    let start = place_in(head, "LOG");
    // The second batch of that segment, in the middle of it.
    drives.damage(0, start, 0x2000 + 100);
    drives.damage(0, "basalt.meta+0x100000", 50);
    let damaged = drives.report(0, &["--log"]);
    assert_has(
        damage_of(&damaged),
        &["basalt.meta+0x100000", "superblock copy 1", "no whole batch in 4096 bytes"],
    );
    assert_has(&damaged, &["intact", "put object \"large\" of bucket", "DAMAGED"]);
    assert_eq!(damaged.matches("batch of").count() + 1, log.matches("batch of").count());
}

#[test]
fn damaged_headers_manifests_and_runs_are_named_too() {
    let drives = Drives::new(1);
    let server = drives.serve();
    server.fill();
    server.stop();
    let catalog = drives.report(0, &["--catalog"]);
    let manifest = place_in(&catalog, "SHARD 0").to_owned();
    let segments = drives.report(0, &["--segments"]);
    let data = segments.lines().find(|line| line.contains("basalt.data") && line.contains("shard 0"));
    let data = place_in(data.expect("a segment of shard 0"), "shard").to_owned();
    // The pages behind the header hold what shard 0 wrote first: object bytes or its run.
    for page in 1..2048 {
        drives.damage(0, &data, page * 4096 + 40);
    }
    let runs = drives.report(0, &["--catalog"]);
    assert_has(damage_of(&runs), &["basalt.data+0x", "footer of run", "not the block that belongs here"]);
    assert_has(&runs, &["DAMAGED footer", "SHARD 1"]);
    drives.damage(0, &data, 20);
    drives.damage(0, &manifest, 20);
    let all = drives.report(0, &["--segments"]);
    assert_has(damage_of(&all), &[&data, "header of segment", &manifest, "manifest of shard 0"]);
}

#[test]
fn without_a_superblock_the_copies_are_told_and_nothing_is_guessed() {
    let drives = Drives::new(1);
    drives.serve().stop();
    for copy in 0..4 {
        drives.damage(0, &format!("basalt.meta+{:#x}", copy << 20), 30);
    }
    let said = drives.inspect(0, &[]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.out.matches("damaged").count(), 4, "{}", said.out);
    assert_has(&said.error, &["no readable superblock"]);
}

#[test]
fn a_run_without_a_copy_on_this_drive_is_said_to_be_elsewhere() {
    let drives = Drives::new(4);
    let server = drives.serve();
    server.fill();
    server.stop();
    let reports: Vec<String> = (0..4).map(|drive| drives.report(drive, &["--catalog"])).collect();
    // Three copies on four drives: each run is missing on one of them.
    let runs = reports.iter().map(|report| report.matches("  run ").count()).max().expect("four drives");
    let elsewhere: usize =
        reports.iter().map(|report| report.matches("not on this drive, but on").count()).sum();
    assert!(runs > 0);
    assert_eq!(elsewhere, runs, "{}", reports.join("\n"));
    let shown = reports.iter().filter(|report| report.contains("bucket \"bucket\": id")).count();
    assert!((2..=3).contains(&shown), "the footer and the entries are placed apart: {shown}");
}

#[test]
fn a_drive_in_use_is_refused_and_so_is_what_is_no_drive() {
    let drives = Drives::new(1);
    let server = drives.serve();
    let said = drives.inspect(0, &[]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert_has(&said.error, &["is used by a running server"]);
    drop(server);

    let directory = tempfile::tempdir().expect("a directory");
    let empty = inspect(directory.path().to_str().expect("plain"), &[]);
    assert_eq!(empty.code, Some(1));
    assert_has(&empty.error, &["not a Basalt drive", "basalt.meta"]);
    let absent = directory.path().join("absent");
    let said = inspect(absent.to_str().expect("plain"), &[]);
    assert_eq!(said.code, Some(1));
    assert_has(&said.error, &["is not there"]);
    assert!(!absent.exists(), "looking makes nothing");
}
