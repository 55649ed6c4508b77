//! What a person may say: the command line, the `BASALT_*` environment and the TOML file.
//!
//! `ServeOptions` is all three at once: clap fills it from flags and, where a flag is absent, from the
//! environment; serde fills the same struct from a file; `with_fallback` lays one over the other. Every value is
//! optional here; defaults and checks belong to `resolve`. This is the only place of the program that
//! reads the environment, and it does so through clap alone.
//!
//! Each value's doc comment is its help text: what it does, and its default. A flag `--some-value` is
//! `BASALT_SOME_VALUE` in the environment and `some-value` in the file; a test holds us to it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use super::cores::Cores;
use super::size::Size;
use super::webhooks::WebhookOption;
use crate::io::runtime::IoChoice;
use crate::s3::NewBuckets;

/// S3 object storage for NVMe: one binary, one thread per core, erasure coded, durable.
///
/// Start with `basalt serve ./data`, then paste the lines it prints.
#[derive(Debug, Parser)]
#[command(name = "basalt", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 success; 1 the command failed; 2 the command line or configuration is wrong; \
3 the server could not start; 4 the server answers but is not ready (status).";

fn address(text: &str) -> Result<SocketAddr, String> {
    let example = "give an address and a port, such as 127.0.0.1:9000 or [::]:9000";
    text.parse().map_err(|_| example.to_owned())
}

fn drive_number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "give the number of the drive, as `basalt status` shows it".to_owned())
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the S3 API from the given drives
    ///
    /// On empty drives this makes a new pool; on the drives of a pool it starts that pool again. SIGTERM or
    /// SIGINT stop it: it finishes the requests in flight and exits with 0.
    ///
    /// Every value may be given as a flag, as an environment variable or in a TOML file (--config). A flag
    /// wins over the environment, the environment over the file, and the file over the default.
    Serve(Box<ServeOptions>),
    /// Print what is on a drive of a stopped server: superblock, segments, log and catalog
    Inspect(InspectOptions),
    /// Ask a running server how it is
    ///
    /// Prints the state of the pool, its drives and its work. Exits with 0 when the server is ready, 4 when
    /// it answers but is not ready, 1 when it cannot be asked.
    Status(ServerOptions),
    /// Tell a running server something about one of its drives
    #[command(subcommand)]
    Drive(DriveCommand),
    /// Tell a running server to read everything on its drives and repair what is damaged
    ///
    /// It goes on in the background: `basalt status` shows how far it is.
    Scrub(ServerOptions),
    /// Change a running server
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Print the version
    Version,
}

/// All values of `serve`.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServeOptions {
    /// Drives of the pool: directories or raw block devices
    ///
    /// A directory is created when it does not exist. Give all drives of a pool, in any order; a new pool
    /// stripes objects over them. One drive gives no redundancy. In the environment the paths are separated
    /// by commas; in the file this is the list `drives`.
    #[arg(value_name = "DRIVE", env = "BASALT_DRIVES", value_delimiter = ',')]
    pub drives: Vec<PathBuf>,

    /// Read values from this TOML file
    ///
    /// Its keys are the names of the flags without dashes in front, for example `memory = "1GiB"`. Unknown
    /// keys are refused. No file is read unless one is named.
    #[arg(long, value_name = "FILE", env = "BASALT_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// Parity chunks of a stripe: how many drives may fail at once without loss
    ///
    /// Fixed when the pool is made. Default: 0 for one drive, 1 for two or three, 2 for four or more.
    #[arg(long, value_name = "M", env = "BASALT_PARITY", help_heading = "Storage")]
    pub parity: Option<u8>,

    /// Bytes that each directory may grow to
    ///
    /// Space is claimed as it is needed. Raw block devices are used whole and ignore this. Default: most of
    /// what is free in the filesystem of the directory.
    #[arg(long, value_name = "SIZE", env = "BASALT_CAPACITY", help_heading = "Storage")]
    pub capacity: Option<Size>,

    /// Take blank drives among the given ones into an existing pool
    ///
    /// They stand in for missing drives first and are filled again; the others become further drives of the
    /// pool. Say it for that one start only: later a mount that is missing would be taken for a blank drive. Default:
    /// no, and blank drives are left alone.
    #[arg(
        long,
        value_name = "BOOL",
        env = "BASALT_ADOPT",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        help_heading = "Storage"
    )]
    pub adopt: Option<bool>,

    /// Slices of the namespace; fixed when the pool is made
    ///
    /// Each is owned by one core at a time, so more cores than shards leave cores without commits of their
    /// own. Default: 8, fewer on small drives.
    #[arg(long, value_name = "N", env = "BASALT_SHARDS", help_heading = "Storage", hide_short_help = true)]
    pub shards: Option<u16>,

    /// Days between two full scrubs; 0 scrubs on demand only
    ///
    /// A scrub reads everything on the drives, repairs what is damaged and writes anew what lacks redundancy.
    /// Default: 30.
    #[arg(long, value_name = "DAYS", env = "BASALT_SCRUB_DAYS", help_heading = "Storage")]
    pub scrub_days: Option<u64>,

    /// Seconds that a day of a lifecycle rule takes: for tests
    ///
    /// A rule that keeps objects for N days keeps them for N times this. Dates, in rules and in answers, stay
    /// those of the calendar. Default: 86400, a real day.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "BASALT_LIFECYCLE_DAY",
        help_heading = "Storage",
        hide_short_help = true
    )]
    pub lifecycle_day: Option<u64>,

    /// Minutes a drive may be out before what stands on it is written anew on the others; 0 for never
    ///
    /// Objects get back their full width where the pool has more than k + m drives; the catalog and the log
    /// need m + 1. A drive that comes back before is only filled up. Default: 60.
    #[arg(long, value_name = "MINUTES", env = "BASALT_EVACUATE_MINUTES", help_heading = "Storage")]
    pub evacuate_minutes: Option<u64>,

    /// How to reach the drives: auto, uring or threads
    ///
    /// `auto` tries io_uring and falls back to a small pool of threads where it is denied, as in many
    /// container sandboxes. `uring` refuses to start without io_uring. Default: auto.
    #[arg(long, value_name = "KIND", env = "BASALT_IO", help_heading = "Storage")]
    pub io: Option<IoName>,

    /// Address and port to listen on
    ///
    /// Serves S3 and, under /-/, health, metrics and status. The default is reachable from this machine
    /// only; use 0.0.0.0:9000 or [::]:9000 for all interfaces. Port 0 picks a free port, which is logged.
    /// Default: 127.0.0.1:9000.
    #[arg(long, value_name = "ADDRESS", env = "BASALT_LISTEN", help_heading = "Network", value_parser = address)]
    pub listen: Option<SocketAddr>,

    /// Region that clients sign for
    ///
    /// Default: us-east-1.
    #[arg(long, value_name = "NAME", env = "BASALT_REGION", help_heading = "Network")]
    pub region: Option<String>,

    /// Host name under which buckets are addressed as BUCKET.HOST (virtual-host style)
    ///
    /// May be repeated; in the environment separated by commas; in the file the list `domain`. Path style
    /// works always. Default: none.
    #[arg(long, value_name = "HOST", env = "BASALT_DOMAIN", value_delimiter = ',', help_heading = "Network")]
    pub domain: Vec<String>,

    /// Host name under which buckets are web sites: http://BUCKET.HOST
    ///
    /// What PutBucketWebsite sets up is served there to everybody whom the bucket lets read; S3 requests are refused.
    /// A request to HOST itself is for the bucket of that name. May be repeated; in the environment separated by
    /// commas; in the file the list `website-domain`. Default: s3-website.localhost.
    #[arg(
        long,
        value_name = "HOST",
        env = "BASALT_WEBSITE_DOMAIN",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    pub website_domain: Vec<String>,

    /// Seconds between two deliveries of access logs into their target buckets
    ///
    /// What PutBucketLogging turns on. Each delivery makes an object for each logged bucket and core; many
    /// requests make one at once. Default: 300.
    #[arg(long, value_name = "SECONDS", env = "BASALT_ACCESS_LOG_SECONDS", help_heading = "Logs")]
    pub access_log_seconds: Option<u64>,

    /// Connections open at once
    ///
    /// When there are more, the one that has been silent for longest is closed; where none is silent, the new one
    /// is. Default: 4096, fewer below --memory 256MiB: one for each 60 KiB.
    #[arg(long, value_name = "N", env = "BASALT_CONNECTIONS_MAX", help_heading = "Network")]
    pub connections_max: Option<usize>,

    /// Seconds a client may take to send the headers of a request
    ///
    /// From accept, or from the first byte of a further request. Default: 30.
    #[arg(long, value_name = "SECONDS", env = "BASALT_HEADER_TIMEOUT", help_heading = "Network")]
    pub header_timeout: Option<u64>,

    /// Seconds a connection may stay open between two requests
    ///
    /// Longer than the load balancer in front keeps its idle connections, so that it is the one to close them.
    /// Default: 60.
    #[arg(long, value_name = "SECONDS", env = "BASALT_IDLE_TIMEOUT", help_heading = "Network")]
    pub idle_timeout: Option<u64>,

    /// Seconds a stop waits for requests in flight before it closes their connections
    ///
    /// Default: 25.
    #[arg(long, value_name = "SECONDS", env = "BASALT_DRAIN_SECONDS", help_heading = "Network")]
    pub drain_seconds: Option<u64>,

    /// Memory the server plans with, whatever the number of objects
    ///
    /// Catalog memory, buffers of transfers and the read cache together; the program itself adds some tens
    /// of MiB. At least 64MiB. Default: 256MiB.
    #[arg(long, value_name = "SIZE", env = "BASALT_MEMORY", help_heading = "Memory and processors")]
    pub memory: Option<Size>,

    /// Part of --memory that keeps the bytes of recently read objects; 0 turns it off
    ///
    /// Default: a sixth of --memory.
    #[arg(long, value_name = "SIZE", env = "BASALT_READ_CACHE", help_heading = "Memory and processors")]
    pub read_cache: Option<Size>,

    /// Processors to use: how many, or which
    ///
    /// `4` takes the first four the process may run on, or all where there are fewer; `0,2-3` takes these; `3-3`
    /// takes one by number. One pinned thread runs on each. Default: all.
    #[arg(long, value_name = "N|LIST", env = "BASALT_CORES", help_heading = "Memory and processors")]
    pub cores: Option<Cores>,

    /// Access key of the root user
    ///
    /// Give both keys, or neither: without them random ones are made at the first start and kept in the
    /// credentials file.
    #[arg(long, value_name = "KEY", env = "BASALT_ACCESS_KEY", help_heading = "Access")]
    pub access_key: Option<String>,

    /// Secret key of the root user
    ///
    /// Other users of the machine can read command lines: prefer the environment or a file. Never stored
    /// when given here.
    #[arg(
        long,
        value_name = "SECRET",
        env = "BASALT_SECRET_KEY",
        hide_env_values = true,
        help_heading = "Access"
    )]
    pub secret_key: Option<String>,

    /// File that keeps the root credentials, mode 0600
    ///
    /// Made with random keys when it does not exist. It has the form of an AWS credentials file, so
    /// AWS_SHARED_CREDENTIALS_FILE may name it. Default: `credentials` in each drive that is a directory,
    /// or /var/lib/basalt/credentials when there is none.
    #[arg(long, value_name = "FILE", env = "BASALT_CREDENTIALS", help_heading = "Access")]
    pub credentials: Option<PathBuf>,

    /// Access settings of a new bucket when the request does not give any: closed or open
    ///
    /// closed: ACLs are off and public access is blocked, as on AWS today. open: ACLs count and nothing is
    /// blocked, as on AWS before April 2023; for programs that set ACLs. Either can be changed on each
    /// bucket. Default: closed.
    #[arg(long, value_name = "KIND", env = "BASALT_NEW_BUCKETS", help_heading = "Access")]
    pub new_buckets: Option<BucketKind>,

    /// How many buckets have metrics of their own: the largest ones
    ///
    /// Whoever reaches the port can read the metrics, and so the names of these buckets. Default: 0.
    #[arg(long, value_name = "COUNT", env = "BASALT_BUCKET_METRICS", help_heading = "Access")]
    pub bucket_metrics: Option<usize>,

    /// A target of bucket notifications: its name, and the URL that events are posted to
    ///
    /// A bucket's notification configuration names it as the last part of an ARN, such as
    /// arn:basalt:sqs:us-east-1::NAME. The URL is http://HOST:PORT/PATH, the same with https, or `discard` to throw
    /// away what waits for it. May be repeated; in the environment separated by commas; in the file a table
    /// `[webhook.NAME]` with `url` and, where the target wants one, a bearer `token`. Default: none.
    #[arg(
        long,
        value_name = "NAME=URL",
        env = "BASALT_WEBHOOK",
        value_delimiter = ',',
        help_heading = "Notifications"
    )]
    #[serde(deserialize_with = "super::webhooks::from_table")]
    pub webhook: Vec<WebhookOption>,

    /// Certificate authorities of https webhooks, beside those that the system trusts
    ///
    /// A file of PEM certificates. Default: none, and only the system's are trusted.
    #[arg(long, value_name = "FILE", env = "BASALT_WEBHOOK_CA", help_heading = "Notifications")]
    pub webhook_ca: Option<PathBuf>,

    /// Events that may wait for one target before changes to its buckets are refused
    ///
    /// Divided evenly among the shards. Default: 100000.
    #[arg(long, value_name = "N", env = "BASALT_WEBHOOK_QUEUE", help_heading = "Notifications")]
    pub webhook_queue: Option<usize>,

    /// What to log: a level, or levels by module such as `info,basalt::catalog=debug`
    ///
    /// Levels are error, warn, info, debug, trace and off. Default: info.
    #[arg(
        long,
        visible_alias = "log-level",
        value_name = "FILTER",
        env = "BASALT_LOG",
        help_heading = "Logs"
    )]
    pub log: Option<String>,

    /// Form of the log on standard error: text or json
    ///
    /// Default: text.
    #[arg(long, value_name = "FORM", env = "BASALT_LOG_FORMAT", help_heading = "Logs")]
    pub log_format: Option<LogFormat>,

    /// Set by systemd, never by people.
    #[arg(long, hide = true, env = "NOTIFY_SOCKET", value_name = "SOCKET")]
    #[serde(skip)]
    pub notify_socket: Option<PathBuf>,
}

impl ServeOptions {
    /// These values, and those of `lower` where nothing was said here. Each is named, so that none is forgotten.
    pub fn with_fallback(self, lower: ServeOptions) -> ServeOptions {
        ServeOptions {
            drives: first_said(self.drives, lower.drives),
            config: self.config.or(lower.config),
            parity: self.parity.or(lower.parity),
            capacity: self.capacity.or(lower.capacity),
            adopt: self.adopt.or(lower.adopt),
            shards: self.shards.or(lower.shards),
            scrub_days: self.scrub_days.or(lower.scrub_days),
            lifecycle_day: self.lifecycle_day.or(lower.lifecycle_day),
            evacuate_minutes: self.evacuate_minutes.or(lower.evacuate_minutes),
            io: self.io.or(lower.io),
            listen: self.listen.or(lower.listen),
            region: self.region.or(lower.region),
            domain: first_said(self.domain, lower.domain),
            website_domain: first_said(self.website_domain, lower.website_domain),
            access_log_seconds: self.access_log_seconds.or(lower.access_log_seconds),
            connections_max: self.connections_max.or(lower.connections_max),
            header_timeout: self.header_timeout.or(lower.header_timeout),
            idle_timeout: self.idle_timeout.or(lower.idle_timeout),
            drain_seconds: self.drain_seconds.or(lower.drain_seconds),
            memory: self.memory.or(lower.memory),
            read_cache: self.read_cache.or(lower.read_cache),
            cores: self.cores.or(lower.cores),
            access_key: self.access_key.or(lower.access_key),
            secret_key: self.secret_key.or(lower.secret_key),
            credentials: self.credentials.or(lower.credentials),
            new_buckets: self.new_buckets.or(lower.new_buckets),
            bucket_metrics: self.bucket_metrics.or(lower.bucket_metrics),
            webhook: first_said(self.webhook, lower.webhook),
            webhook_ca: self.webhook_ca.or(lower.webhook_ca),
            webhook_queue: self.webhook_queue.or(lower.webhook_queue),
            log: self.log.or(lower.log),
            log_format: self.log_format.or(lower.log_format),
            notify_socket: self.notify_socket.or(lower.notify_socket),
        }
    }
}

fn first_said<T>(mine: Vec<T>, theirs: Vec<T>) -> Vec<T> {
    if mine.is_empty() { theirs } else { mine }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BucketKind {
    /// ACLs off, public access blocked.
    #[default]
    Closed,
    /// ACLs count, nothing blocked.
    Open,
}

impl From<BucketKind> for NewBuckets {
    fn from(kind: BucketKind) -> NewBuckets {
        match kind {
            BucketKind::Closed => NewBuckets::Closed,
            BucketKind::Open => NewBuckets::Open,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoName {
    /// io_uring where it works, otherwise threads.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// A small pool of threads.
    Threads,
}

impl From<IoName> for IoChoice {
    fn from(name: IoName) -> IoChoice {
        match name {
            IoName::Auto => IoChoice::Auto,
            IoName::Uring => IoChoice::Uring,
            IoName::Threads => IoChoice::Threads,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One line of text an event.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// All values of `inspect`. Without a choice the superblock and a summary of the rest are printed.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct InspectOptions {
    /// Drive to read: a directory or a raw block device; nothing is written to it
    #[arg(value_name = "DRIVE")]
    pub drive: PathBuf,

    /// Print each segment: what it is used for and how full it is
    #[arg(long)]
    pub segments: bool,

    /// Print each batch of the log
    #[arg(long)]
    pub log: bool,

    /// Print the runs of the catalog and their records
    #[arg(long)]
    pub catalog: bool,
}

/// What may be changed.
#[derive(Subcommand, Clone, Debug, PartialEq)]
pub enum AdminCommand {
    /// Accounts: each has a root, users and buckets of its own
    #[command(subcommand)]
    Account(AccountAction),
    /// Buckets: what each holds, and how much it may
    #[command(subcommand)]
    Bucket(BucketAction),
}

#[derive(Subcommand, Clone, Debug, PartialEq)]
pub enum BucketAction {
    /// List the buckets of all accounts
    List(ServerOptions),
    /// Show what a bucket holds, and its quota
    Show(NamedBucket),
    /// Set how much a bucket may hold; without a bound, show it
    ///
    /// Writes that would exceed a bound are refused with 403 QuotaExceeded; what is there stays. Old versions and the
    /// parts of uploads count too, delete markers do not.
    Quota(QuotaOptions),
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct NamedBucket {
    /// Name of the bucket
    #[arg(value_name = "NAME")]
    pub name: String,

    #[command(flatten)]
    pub server: ServerOptions,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct QuotaOptions {
    /// Name of the bucket
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Bytes of objects and uploads, such as 10GiB
    #[arg(long, value_name = "SIZE")]
    pub max_bytes: Option<Size>,

    /// Objects, each version counted
    #[arg(long, value_name = "COUNT")]
    pub max_objects: Option<u64>,

    /// Take all bounds away
    #[arg(long, conflicts_with_all = ["max_bytes", "max_objects"])]
    pub clear: bool,

    #[command(flatten)]
    pub server: ServerOptions,
}

#[derive(Subcommand, Clone, Debug, PartialEq)]
pub enum AccountAction {
    /// Make an account and print its ids and root keys; the secret is shown only this once
    Create(NamedAccount),
    /// List the accounts
    List(ServerOptions),
    /// Refuse all keys of an account
    Disable(NamedAccount),
    /// Accept the keys of a disabled account again
    Enable(NamedAccount),
    /// Delete an account that has neither users nor buckets
    Delete(NamedAccount),
}

#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum DriveCommand {
    /// Put a latched drive back into service
    ///
    /// Only when the server can write, flush and read it again. What it holds is checked by a scrub, which begins
    /// at once and repairs what is stale or missing.
    Readmit {
        /// Number of the drive, as `basalt status` shows it
        #[arg(value_name = "N", value_parser = drive_number)]
        drive: u16,

        #[command(flatten)]
        server: ServerOptions,
    },
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct NamedAccount {
    /// Name of the account; its id for one that exists
    #[arg(value_name = "NAME")]
    pub name: String,

    #[command(flatten)]
    pub server: ServerOptions,
}

/// Which server to ask, and as whom.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct ServerOptions {
    /// Address of the server
    #[arg(long, value_name = "URL", env = "BASALT_ENDPOINT", default_value = "http://127.0.0.1:9000")]
    pub endpoint: String,

    /// Print the server's JSON as it is
    #[arg(long)]
    pub json: bool,

    /// File with the root credentials: `credentials` in a drive directory of the server
    ///
    /// Default: /var/lib/basalt/credentials.
    #[arg(long, value_name = "FILE", env = "BASALT_CREDENTIALS")]
    pub credentials: Option<PathBuf>,

    /// Access key of the root user, instead of a file
    #[arg(long, value_name = "KEY", env = "BASALT_ACCESS_KEY", requires = "secret_key")]
    pub access_key: Option<String>,

    /// Secret key of the root user, instead of a file
    #[arg(
        long,
        value_name = "SECRET",
        env = "BASALT_SECRET_KEY",
        hide_env_values = true,
        requires = "access_key"
    )]
    pub secret_key: Option<String>,

    /// Region to sign for
    #[arg(long, value_name = "NAME", env = "BASALT_REGION", default_value = "us-east-1")]
    pub region: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable_and_its_key_and_says_its_default() {
        let command = CommandLine::command();
        let serve = command.find_subcommand("serve").expect("serve exists");
        for arg in serve.get_arguments().filter(|a| !a.is_hide_set() && a.get_id() != "help") {
            let name = arg.get_long().unwrap_or("drives");
            let variable = format!("BASALT_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|e| e.to_str()), Some(variable.as_str()), "--{name}");
            let long = arg.get_long_help().map(|h| h.to_string()).unwrap_or_default();
            let says_default = long.contains("Default:");
            let has_none = ["drives", "config", "access-key", "secret-key"].contains(&name);
            assert!(says_default || has_none, "--{name} does not say its default");
            if name != "config" {
                assert!(is_a_key(name), "--{name} is not a key of the file");
            }
        }
    }

    fn is_a_key(name: &str) -> bool {
        match toml::from_str::<ServeOptions>(&format!("{name} = {{ }}\n")) {
            Ok(_) => true,
            Err(e) => !e.message().contains("unknown field"),
        }
    }
}
