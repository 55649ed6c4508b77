//! Configuration as an operator meets it: which source wins, what the defaults are, and what is refused
//! with which words.
//!
//! The environment needs a process of its own: `tests/command_line.rs` runs the binary with one.

use super::*;
use clap::Parser;

fn serve(args: &[&str]) -> ServeOptions {
    let line = CommandLine::try_parse_from(["basalt", "serve"].iter().chain(args)).expect("it parses");
    match line.command {
        Command::Serve(options) => *options,
        other => panic!("not serve: {other:?}"),
    }
}

fn resolve(args: &[&str]) -> Result<Config, ConfigError> {
    Config::resolve(serve(args))
}

fn resolve_with_file(text: &str, args: &[&str]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("basalt.toml");
    std::fs::write(&path, text).expect("a file");
    let mut options = serve(args);
    options.config = Some(path);
    Config::resolve(options)
}

fn refusal(result: Result<Config, ConfigError>) -> String {
    result.expect_err("it is refused").to_string()
}

#[test]
fn one_directory_is_enough() {
    let config = resolve(&["./data"]).expect("it is complete");
    assert_eq!(config.drives, [PathBuf::from("./data")]);
    assert_eq!((config.parity, config.capacity_bytes, config.shards), (None, None, limits::SHARDS_DEFAULT));
    assert_eq!(config.listen.to_string(), "127.0.0.1:9000");
    assert_eq!((config.region.as_str(), config.io, config.cores), ("us-east-1", IoChoice::Auto, Cores::All));
    assert_eq!(config.memory_bytes, limits::MEMORY_BYTES_DEFAULT);
    assert_eq!(config.read_cache_bytes, limits::MEMORY_BYTES_DEFAULT / limits::READ_CACHE_SHARE_DEFAULT);
    assert_eq!(config.connections_max, limits::CONNECTIONS_DEFAULT);
    assert_eq!(config.drain.as_secs(), limits::DRAIN_SECONDS_DEFAULT);
    assert_eq!(config.credentials, CredentialsChoice::WithDrives);
    assert_eq!((config.log.filter.as_str(), config.log.format), ("info", LogFormat::Text));
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let file = "drives = ['/a', '/b']\nmemory = '1GiB'\nregion = 'eu-west-1'\ndomain = ['s3.example.com']\n";
    let config = resolve_with_file(file, &["--memory", "2GiB"]).expect("it is complete");
    assert_eq!(config.drives.len(), 2);
    assert_eq!((config.memory_bytes, config.region.as_str()), (2 << 30, "eu-west-1"));
    assert_eq!(config.domains, ["s3.example.com"]);
    assert_eq!(config.website_domains, ["s3-website.localhost"]);
    assert_eq!(config.connections_max, limits::CONNECTIONS_DEFAULT);
    let config = resolve_with_file(file, &["/c", "--domain", "other"]).expect("it is complete");
    assert_eq!((config.drives, config.domains), (vec![PathBuf::from("/c")], vec!["other".to_owned()]));
}

#[test]
fn every_value_can_stand_in_the_file() {
    let config = resolve_with_file(
        "drives = ['/a', '/b', '/c']\nparity = 1\ncapacity = '10GiB'\nshards = 16\nio = 'threads'\n\
         listen = '[::]:80'\nregion = 'here'\ndomain = ['a.b']\nwebsite-domain = ['Web.a.b.', 'www']\naccess-log-seconds = 9\nconnections-max = 7\nheader-timeout = 3\n\
         drain-seconds = 0\nlifecycle-day = 2\nmemory = 134217728\nread-cache = 0\ncores = 2\n\
         access-key = 'AKEXAMPLE0000000'\nsecret-key = 'secret-secret-secret'\nnew-buckets = 'open'\nlog = 'debug'\n\
         log-format = 'json'\n",
        &[],
    )
    .expect("it is complete");
    assert_eq!((config.parity, config.capacity_bytes, config.shards), (Some(1), Some(10 << 30), 16));
    assert_eq!((config.io, config.cores, config.read_cache_bytes), (IoChoice::Threads, Cores::Count(2), 0));
    assert_eq!((config.header_timeout.as_secs(), config.drain.as_secs()), (3, 0));
    assert_eq!(config.lifecycle_day, crate::object::lifecycle::Day::of_seconds(2));
    assert!(matches!(config.credentials, CredentialsChoice::Given(_)));
    assert_eq!(config.access_log_interval.as_secs(), 9);
    assert_eq!(config.website_domains, ["web.a.b", "www"]);
    assert_eq!(config.new_buckets, crate::s3::NewBuckets::Open);
    assert_eq!(config.log, LogConfig { filter: "debug".to_owned(), format: LogFormat::Json });
}

#[test]
fn webhooks_are_said_by_flag_or_table_and_refused_by_name() {
    let config =
        resolve(&["/a", "--webhook", "one=http://h:1/x,two=discard", "--webhook-queue", "7"]).expect("both");
    assert_eq!(config.webhooks.iter().map(|hook| hook.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(
        (config.webhook_queue, resolve(&["/a"]).expect("none").webhook_queue),
        (7, limits::EVENTS_DEFAULT)
    );
    let file = "webhook-queue = 9\n[webhook.three]\nurl = 'http://h/'\ntoken = 'geheim'\naccounts = ['123456789012']\n";
    let config = resolve_with_file(file, &["/a"]).expect("one");
    assert_eq!((config.webhooks.len(), config.webhook_queue), (1, 9));
    assert!(!format!("{config:?} {:?}", toml::from_str::<ServeOptions>(file)).contains("geheim"));
    for (args, said) in [
        (["--webhook", "x=ftp://h/"], "https"),
        (["--webhook", "x=http://h/,x=http://g/"], "twice"),
        (["--webhook", "x y=http://h/"], "name"),
        (["--webhook-queue", "0"], "--webhook-queue 0"),
    ] {
        let message = refusal(resolve(&[&["/a"], &args[..]].concat()));
        assert!(message.contains(said) && message.contains("--webhook"), "{message}");
    }
    assert!(
        refusal(resolve_with_file("[webhook.x]\nurl = 'http://h/'\ncolour = 1\n", &["/a"]))
            .contains("colour")
    );
}

#[test]
fn an_unknown_key_is_refused_by_name_and_line() {
    let message = refusal(resolve_with_file("memory = '1GiB'\ncolour = 'red'\n", &["/a"]));
    assert!(message.contains("`colour`") && message.contains("line 2"), "{message}");
}

#[test]
fn values_no_file_may_hold() {
    for key in ["config = '/x'", "notify-socket = '/x'"] {
        let message = refusal(resolve_with_file(key, &["/a"]));
        assert!(message.contains("unknown field"), "{message}");
    }
}

#[test]
fn a_missing_file_is_named() {
    assert!(refusal(resolve(&["/a", "--config", "/nowhere/basalt.toml"])).contains("/nowhere/basalt.toml"));
}

#[test]
fn what_cannot_work_is_refused_with_its_name() {
    let cases: [(&[&str], &str); 18] = [
        (&[], "no drives"),
        (&["/a", "--parity", "16"], "--parity 16"),
        (&["/a", "--memory", "1MiB"], "--memory 1MiB"),
        (&["/a", "--read-cache", "200MiB"], "--read-cache 200MiB"),
        (&["/a", "--capacity", "1GB", "--shards", "0"], "--shards 0"),
        (&["/a", "--capacity", "1MB"], "--capacity"),
        (&["/a", "--region", "Mars!"], "--region Mars!"),
        (&["/a", "--domain", "http://s3"], "--domain http://s3"),
        (&["/a", "--domain", "a..b"], "--domain a..b"),
        (&["/a", "--access-log-seconds", "0"], "--access-log-seconds 0"),
        (&["/a", "--website-domain", "a..b"], "--website-domain a..b"),
        (&["/a", "--domain", "a.b", "--website-domain", "A.b."], "--website-domain a.b"),
        (&["/a", "--connections-max", "0"], "--connections-max 0"),
        (&["/a", "--header-timeout", "0"], "--header-timeout 0"),
        (&["/a", "--lifecycle-day", "0"], "--lifecycle-day 0"),
        (&["/a", "--access-key", "AKEXAMPLE0000000"], "belong together"),
        (&["/a", "--access-key", "short", "--secret-key", "secret-secret-secret"], "access key"),
        (
            &[
                "/a",
                "--access-key",
                "AKEXAMPLE0000000",
                "--secret-key",
                "s-s-s-s-s-s-s-s-s",
                "--credentials",
                "/c",
            ],
            "not both",
        ),
    ];
    for (args, words) in cases {
        let message = refusal(resolve(args));
        assert!(message.contains(words), "{args:?}: {message}");
    }
}

#[test]
fn a_secret_is_not_shown_when_the_configuration_is_printed() {
    let config = resolve(&["/a", "--access-key", "AKEXAMPLE0000000", "--secret-key", "secret-secret-secret"]);
    assert!(!format!("{:?}", config.expect("it is complete")).contains("secret-secret"));
}
