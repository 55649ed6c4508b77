//! The `basalt` command as a shell sees it: which source of a value wins, what is said, and exit codes.
//!
//! Runs the binary with an environment of its own. Every case ends before a server would start: a region
//! that cannot be shows in the refusal which source it came from.

use std::path::Path;
use std::process::{Command, Output};

fn basalt(args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_basalt"))
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs")
}

fn file_with(directory: &Path, text: &str) -> String {
    let path = directory.join("basalt.toml");
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a plain path").to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = file_with(directory.path(), "drives = ['/nowhere']\nregion = 'File!'\n");
    let environment = [("BASALT_CONFIG", file.as_str()), ("BASALT_REGION", "Environment!")];
    for (args, environment, winner) in [
        (&["serve", "--region", "Flag!"][..], &environment[..], "--region Flag!"),
        (&["serve"][..], &environment[..], "--region Environment!"),
        (&["serve"][..], &environment[..1], "--region File!"),
        (&["serve", "--config", &file][..], &[][..], "--region File!"),
    ] {
        let output = basalt(args, environment);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(winner), "{}", stderr(&output));
    }
}

#[test]
fn drives_can_come_from_the_environment() {
    let output = basalt(&["serve", "--region", "Flag!"], &[("BASALT_DRIVES", "/a,/b")]);
    assert!(stderr(&output).contains("--region"), "{}", stderr(&output));
    assert!(stderr(&basalt(&["serve"], &[])).contains("no drives"));
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = file_with(directory.path(), "memroy = '1GiB'\n");
    let output = basalt(&["serve", "/nowhere", "--config", &file], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`memroy`") && stderr(&output).contains("basalt.toml"));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
}

#[test]
fn a_wrong_value_of_the_file_is_named_by_line_and_key_and_not_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = file_with(directory.path(), "region = 'here'\nsecret-key = 7777777\n");
    let said = stderr(&basalt(&["serve", "/nowhere", "--config", &file], &[]));
    assert!(said.contains("line 2, `secret-key`") && !said.contains("= 7777777"), "{said}");
    let file = file_with(directory.path(), "secret-key \"hunter2\"\n");
    let said = stderr(&basalt(&["serve", "/nowhere", "--config", &file], &[]));
    assert!(said.contains("line 1") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_secret_in_the_environment_is_not_in_the_help() {
    let output = basalt(&["serve", "--help"], &[("BASALT_SECRET_KEY", "hush-hush-hush-hush")]);
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && help.contains("--memory <SIZE>") && !help.contains("hush"));
}

#[test]
fn status_without_credentials_says_what_to_do() {
    let output = basalt(&["status", "--credentials", "/nowhere/credentials"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--credentials"), "{}", stderr(&output));
}

#[test]
fn a_wrong_line_and_a_wrong_log_filter_are_configuration_errors() {
    for args in
        [&["serv"][..], &["serve", "/nowhere", "--log", "a=b=c"], &["serve", "/nowhere", "--memory", "lots"]]
    {
        assert_eq!(basalt(args, &[]).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let output = basalt(&["version"], &[]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), concat!("basalt ", env!("CARGO_PKG_VERSION"), "\n"));
}
