//! The rules of the house that a compiler does not check, checked over the source itself.
//!
//! Owns: the order of the layers as `src/lib.rs` declares it, the shape of files and functions, and the
//! words that have one home only (`unsafe`, `tokio_uring`, the environment, sleeping in tests).
//! May use: the source tree, read as text. Comments, strings and character literals are blanked before a
//! rule looks at code, so a word in prose never counts.
//! Invariant: a rule reports everything it finds at once, as `file:line: what`.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 1000;
const FUNCTION_LINES_MAX: usize = 70;
/// Files up to this length may open with a shorter page than `PAGE_LINES_MIN`.
const SHORT_FILE_LINES: usize = 60;
const PAGE_LINES_MIN: usize = 4;
const PAGE_LINES_MAX: usize = 20;
/// A function that is one long table carries this mark in a comment inside it or just above.
const TABLE_MARK: &str = "tidy: table";
/// Of a line of comment, which rustfmt does not wrap.
const COMMENT_COLUMNS_MAX: usize = 120;
const VAGUE_NAMES: [&str; 8] =
    ["utils", "util", "common", "helper", "helpers", "manager", "managers", "misc"];

#[test]
fn a_layer_uses_only_the_layers_above_its_line() {
    let layers = layers();
    let mut found = Vec::new();
    for file in sources("src") {
        let Some(own) = file.layer().and_then(|name| layers.iter().position(|l| *l == name)) else {
            continue;
        };
        for (offset, name) in file.crate_paths() {
            match layers.iter().position(|l| *l == name) {
                Some(used) if used <= own => {}
                Some(_) => found.push(file.at(offset, &format!("{} reaches up to {name}", layers[own]))),
                None => found.push(file.at(offset, &format!("crate::{name} is not a layer of src/lib.rs"))),
            }
        }
        for offset in file.supers_beyond_the_file() {
            found.push(file.at(offset, "reaches another layer through super::, name it through crate::"));
        }
    }
    none(found);
}

#[test]
fn the_s3_edge_does_not_name_a_drive() {
    let mut found = Vec::new();
    for file in sources("src").into_iter().filter(|f| f.layer().as_deref() == Some("s3")) {
        for (offset, name) in file.crate_paths() {
            if ["drive", "pool"].contains(&name.as_str()) {
                found.push(file.at(offset, &format!("the S3 edge names crate::{name}")));
            }
        }
    }
    none(found);
}

#[test]
fn every_file_opens_with_a_page() {
    let mut found = Vec::new();
    for file in rust_files() {
        let page = file.text.lines().take_while(|l| l.starts_with("//!")).count();
        let lines = file.text.lines().count();
        if page == 0 {
            found.push(file.at(0, "does not open with //!"));
        } else if page > PAGE_LINES_MAX || (lines > SHORT_FILE_LINES && page < PAGE_LINES_MIN) {
            found.push(file.at(0, &format!("opens with {page} lines of //!")));
        }
    }
    none(found);
}

#[test]
fn files_and_functions_stay_short() {
    let mut found = Vec::new();
    for file in rust_files() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(file.at(0, &format!("{lines} lines")));
        }
        for (start, end) in file.functions() {
            let length = file.line_of(end) - file.line_of(start) + 1;
            if length > FUNCTION_LINES_MAX && !file.is_table(start, end) {
                found.push(file.at(start, &format!("a function of {length} lines")));
            }
        }
    }
    none(found);
}

#[test]
fn comments_are_not_wider_than_the_window() {
    let mut found = Vec::new();
    for file in rust_files() {
        for (number, line) in (1..).zip(file.text.lines()) {
            let columns = line.chars().count();
            if line.trim_start().starts_with("//") && columns > COMMENT_COLUMNS_MAX {
                found.push(format!("{}:{number}: {columns} columns of comment", file.path.display()));
            }
        }
    }
    none(found);
}

#[test]
fn unsafe_and_the_ring_stay_in_io() {
    let mut found = Vec::new();
    for file in sources("src").into_iter().filter(|f| f.layer().as_deref() != Some("io")) {
        // Instructions that not every processor has are the other use of it.
        let words = if file.path.file_name().is_some_and(|name| name == "simd.rs") {
            &["tokio_uring"][..]
        } else {
            &["unsafe", "tokio_uring"]
        };
        for word in words {
            found.extend(file.words(word).map(|at| file.at(at, &format!("{word} outside src/io"))));
        }
    }
    none(found);
}

#[test]
fn nothing_is_left_for_later_and_no_test_is_skipped() {
    let mut found = Vec::new();
    for file in rust_files() {
        for mark in ["todo!", "unimplemented!", "#[ignore"] {
            found.extend(file.code.match_indices(mark).map(|(at, _)| file.at(at, mark)));
        }
    }
    none(found);
}

#[test]
fn only_config_reads_the_environment() {
    let mut found = Vec::new();
    for file in sources("src").into_iter().filter(|f| f.layer().as_deref() != Some("config")) {
        found.extend(file.code.match_indices("env::var").map(|(at, m)| file.at(at, m)));
    }
    none(found);
}

#[test]
fn nothing_is_global_and_mutable() {
    let mut found = Vec::new();
    for file in sources("src") {
        for word in ["OnceLock", "LazyLock", "lazy_static", "once_cell"] {
            found.extend(file.words(word).map(|at| file.at(at, word)));
        }
        found.extend(file.code.match_indices("static mut").map(|(at, m)| file.at(at, m)));
    }
    none(found);
}

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    let mut found = Vec::new();
    for file in sources("tests").into_iter().chain(files("tests", "py")) {
        for call in ["thread::sleep", "time::sleep", "time.sleep", "asyncio.sleep", "import sleep"] {
            found.extend(file.code.match_indices(call).map(|(at, _)| file.at(at, call)));
        }
    }
    none(found);
}

#[test]
fn files_are_named_after_what_they_hold() {
    let mut found = Vec::new();
    for root in ["src", "tests", "bench"] {
        for path in walk(&repository().join(root)) {
            let named = path.strip_prefix(repository()).expect("walked from the repository");
            let vague = named.iter().map(Path::new).any(|part| {
                part.file_stem().is_some_and(|stem| VAGUE_NAMES.contains(&stem.to_string_lossy().as_ref()))
            });
            if vague {
                found.push(format!("{}: a name that says nothing", named.display()));
            }
        }
    }
    none(found);
}

/// The layers in the order of their `pub mod` lines: bottom first.
fn layers() -> Vec<String> {
    let text = fs::read_to_string(repository().join("src/lib.rs")).expect("src/lib.rs");
    let names = text.lines().filter_map(|l| l.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 3, "src/lib.rs declares the layers");
    names
}

fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files() -> Vec<Source> {
    sources("src").into_iter().chain(sources("tests")).collect()
}

fn sources(root: &str) -> Vec<Source> {
    files(root, "rs")
}

fn files(root: &str, extension: &str) -> Vec<Source> {
    let paths = walk(&repository().join(root)).into_iter();
    let paths = paths.filter(|p| p.extension().is_some_and(|e| e == extension));
    paths.map(|p| Source::read(&p)).collect()
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("a readable entry").path()).collect();
    paths.sort();
    let below = |p: PathBuf| if p.is_dir() { walk(&p) } else { vec![p] };
    paths
        .into_iter()
        .filter(|p| !p.ends_with("target") && !p.ends_with("__pycache__"))
        .flat_map(below)
        .collect()
}

/// One file: its text as it stands, and the same text with everything that is not code blanked, byte for
/// byte as long as the text, so that an offset means the same place in both.
struct Source {
    path: PathBuf,
    text: String,
    code: String,
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let is_rust = path.extension().is_some_and(|e| e == "rs");
        let code = if is_rust { blanked(&text) } else { text.clone() };
        let path = path.strip_prefix(repository()).expect("inside the repository").to_path_buf();
        Source { path, text, code }
    }

    /// `src/io/ring.rs` and `src/io.rs` both belong to the layer `io`; lib.rs and main.rs to none.
    fn layer(&self) -> Option<String> {
        let parts: Vec<&str> = self.path.iter().filter_map(|p| p.to_str()).collect();
        let name = parts.get(1)?.trim_end_matches(".rs");
        (parts[0] == "src" && !["lib", "main"].contains(&name)).then(|| name.to_owned())
    }

    fn at(&self, offset: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path.display(), self.line_of(offset))
    }

    fn line_of(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset].iter().filter(|b| **b == b'\n').count() + 1
    }

    /// Offsets of `word` where it stands alone.
    fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let bytes = self.code.as_bytes();
        self.code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
            let before = at.checked_sub(1).is_none_or(|i| !is_word(bytes[i]));
            before && bytes.get(at + word.len()).is_none_or(|b| !is_word(*b))
        })
    }

    /// The first names of all paths that start at the crate: `crate::a::b`, `crate::{a, b::{c, d}}`.
    fn crate_paths(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in self.words("crate") {
            let Some(rest) = self.code[at..].strip_prefix("crate::") else { continue };
            let names = if rest.starts_with('{') { group(rest) } else { vec![leading_word(rest)] };
            found.extend(names.into_iter().filter(|n| !n.is_empty()).map(|n| (at, n)));
        }
        found
    }

    /// Chains of `super::` that climb out of this file's own layer.
    fn supers_beyond_the_file(&self) -> Vec<usize> {
        let inside = self.path.iter().count() - 1;
        let is_root = self.path.file_name().is_some_and(|n| n == "mod.rs");
        let depth = if is_root { inside - 1 } else { inside };
        let mut found = Vec::new();
        let mut next = 0;
        for at in self.words("super") {
            if at < next {
                continue;
            }
            let climbs = self.code[at..].split("super::").skip(1).take_while(|s| s.is_empty()).count() + 1;
            next = at + climbs * "super::".len();
            if climbs >= depth + self.inline_modules_around(at) {
                found.push(at);
            }
        }
        found
    }

    fn inline_modules_around(&self, offset: usize) -> usize {
        let modules = self.words("mod").filter(|&at| at < offset);
        let bodies =
            modules.filter_map(|at| self.body(at)).filter(|(open, close)| *open < offset && offset < *close);
        bodies.count()
    }

    /// Every function with a body: offsets of its `fn` and of its closing brace.
    fn functions(&self) -> Vec<(usize, usize)> {
        self.words("fn").filter_map(|at| self.body(at).map(|(_, close)| (at, close))).collect()
    }

    /// The braces of the item that starts at `offset`; none for a declaration that ends with `;`.
    fn body(&self, offset: usize) -> Option<(usize, usize)> {
        let bytes = self.code.as_bytes();
        let (mut nested, mut open, mut braces) = (0i32, None, 0i32);
        for (at, byte) in bytes.iter().enumerate().skip(offset) {
            match (byte, open) {
                (b'(' | b'[', None) => nested += 1,
                (b')' | b']', None) => nested -= 1,
                (b';' | b'}', None) if nested <= 0 => return None,
                (b'{', None) if nested == 0 => (open, braces) = (Some(at), 1),
                (b'{', Some(_)) => braces += 1,
                (b'}', Some(start)) => {
                    braces -= 1;
                    if braces == 0 {
                        return Some((start, at));
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn is_table(&self, start: usize, end: usize) -> bool {
        let above = self.text[..start].rmatch_indices('\n').nth(3).map_or(0, |(at, _)| at);
        self.text[above..end].contains(TABLE_MARK)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn leading_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// The first names inside `{...}`, not those of nested groups.
fn group(text: &str) -> Vec<String> {
    let (mut depth, mut names, mut fresh) = (0, Vec::new(), true);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            c if depth == 1 && fresh && !c.is_whitespace() => {
                names.push(leading_word(&text[at..]));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// The text with comments, strings and character literals replaced by spaces; newlines stay.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + skipped(&bytes[at..], at > 0 && is_word(bytes[at - 1]));
        code[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("whole characters were blanked")
}

/// How many bytes at the start of `rest` are not code; 0 when it starts with code.
fn skipped(rest: &[u8], after_word: bool) -> usize {
    match rest {
        [b'/', b'/', ..] => position(rest, b"\n").unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest, 1),
        [b'b' | b'c', b'"', ..] if !after_word => quoted(rest, 2),
        [b'r', b'"' | b'#', ..] if !after_word => raw(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !after_word => raw(rest, 2),
        [b'\'', b'\\', ..] => position(rest.get(3..).unwrap_or_default(), b"'").map_or(rest.len(), |n| n + 4),
        [b'\'', next, ..] => character(rest, *next),
        _ => 0,
    }
}

/// A character literal has its closing quote one character on; a lifetime has not.
fn character(rest: &[u8], first: u8) -> usize {
    let width = match first {
        0..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], prefix: usize) -> usize {
    let mut at = prefix;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0; // a raw identifier
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let body = prefix + hashes + 1;
    position(&rest[body..], &close).map_or(rest.len(), |n| body + n + close.len())
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

#[test]
fn blanking_leaves_code_only() {
    let text =
        "let a = \"fn {\"; // {\nlet b = '{'; let c: &'static str = r#\"}\"#; /* { /* */ } */ b'\\'' 'é'";
    let code = blanked(text);
    assert_eq!(code.len(), text.len());
    assert!(!code.contains(['{', '}', '#']), "{code}");
    assert!(code.contains("&'static str"), "{code}");
}

#[test]
fn paths_functions_and_groups_are_found() {
    let text = "use crate::{base::{a, b}, codec, io as x};\nfn f(a: [u8; 2]) -> u8 {\n  g(|| { crate::drive::y })\n}\n\
                trait T { fn h(); }\nmod tests {\n  use super::*;\n  use super::super::z;\n}\n";
    let file = Source { path: PathBuf::from("src/pool/mod.rs"), text: text.to_owned(), code: blanked(text) };
    let names: Vec<String> = file.crate_paths().into_iter().map(|(_, n)| n).collect();
    assert_eq!(names, ["base", "codec", "io", "drive"]);
    let lengths = file.functions().into_iter().map(|(s, e)| file.line_of(e) - file.line_of(s) + 1);
    assert_eq!(lengths.collect::<Vec<_>>(), [3]);
    assert_eq!(file.supers_beyond_the_file().len(), 1, "only the one that leaves the layer");
}
