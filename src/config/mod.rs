//! Configuration: flags, environment and file become one `Config` of plain, checked types, once.
//!
//! `options` holds what may be said and where it comes from; this file lays the sources over each other,
//! fills in defaults and refuses what cannot work, with the name of the value and the remedy. Every other
//! module sees only `Config` and never asks again. Bounds and defaults are in `base::limits`.
//!
//! May read the configuration file; touches no drive and no network.

mod cores;
mod options;
mod size;
mod webhooks;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::admin::credentials::{Credentials, CredentialsError};
use crate::base::limits;
use crate::io::runtime::IoChoice;
use crate::io::tls::Trust;
use crate::object::lifecycle::Day;
use crate::s3::NewBuckets;
use crate::upkeep::notify::webhook::Webhook;

pub use cores::Cores;
pub use options::{
    AccountAction, AdminCommand, BucketAction, Command, CommandLine, DriveCommand, InspectOptions, LogFormat,
    ServeOptions, ServerOptions,
};
pub use size::{Size, SizeError};
pub use webhooks::WebhookOption;

/// Everything `serve` needs to know, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// As given, at least one.
    pub drives: Vec<PathBuf>,
    /// As asked for. When nothing was said an existing pool keeps its own, and a new one chooses by the
    /// number of drives.
    pub parity: Option<u8>,
    /// Bytes a directory may grow to; none means most of what is free.
    pub capacity_bytes: Option<u64>,
    /// Take blank drives into an existing pool.
    pub adopt: bool,
    /// Shards of a new pool; an existing one keeps its own.
    pub shards: u16,
    pub io: IoChoice,
    pub listen: SocketAddr,
    pub region: String,
    /// Lower case, without a trailing dot.
    pub domains: Vec<String>,
    /// The same, at least one, none of them also in `domains`.
    pub website_domains: Vec<String>,
    pub access_log_interval: Duration,
    pub connections_max: usize,
    /// From accept, or from the first byte of a further request, to the end of its head.
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    pub drain: Duration,
    /// Longest time between two full scrubs; zero scrubs on demand only.
    pub scrub_interval: Duration,
    /// How long a day of a lifecycle rule is.
    pub lifecycle_day: Day,
    /// Zero for never.
    pub evacuate_after: Duration,
    pub memory_bytes: u64,
    /// Part of `memory_bytes`; 0 is off.
    pub read_cache_bytes: u64,
    pub cores: Cores,
    pub credentials: CredentialsChoice,
    pub new_buckets: NewBuckets,
    /// How many buckets have metrics of their own.
    pub bucket_metrics: usize,
    /// Who may be told of events.
    pub webhooks: Arc<[Webhook]>,
    /// Events that may wait for each of them.
    pub webhook_queue: usize,
    pub log: LogConfig,
    /// Where systemd waits for word that we are ready.
    pub notify_socket: Option<PathBuf>,
}

/// Where the root credentials come from.
#[derive(Clone, Debug, PartialEq)]
pub enum CredentialsChoice {
    /// Said outright; never stored.
    Given(Credentials),
    /// Kept in this file.
    File(PathBuf),
    /// Kept beside the data: `admin::credentials::places` says where.
    WithDrives,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter of levels by module, not yet parsed.
    pub filter: String,
    pub format: LogFormat,
}

pub const LOG_FILTER_DEFAULT: &str = "info";
const LISTEN_DEFAULT: ([u8; 4], u16) = ([127, 0, 0, 1], 9000);
const REGION_DEFAULT: &str = "us-east-1";
/// Every name below `localhost` is this machine (RFC 6761 section 6.3), so this one needs no DNS.
const WEBSITE_DOMAIN_DEFAULT: &str = "s3-website.localhost";

/// Why a configuration cannot work. The message names the value and says what would.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "cannot read the configuration file {path}: {source}; --config names a TOML file that this user may read"
    )]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {path} is larger than {} bytes", limits::CONFIG_FILE_BYTES_MAX)]
    TooLarge { path: PathBuf },
    /// `key` is what stands in front of the value that is wrong, which may be a secret.
    #[error("the configuration file {path}, line {line}, {key}: {reason}")]
    Parse { path: PathBuf, line: usize, key: String, reason: String },
    #[error("no drives: name a directory, as in `basalt serve ./data`")]
    NoDrives,
    #[error("--{name} {value}: {rule}")]
    Value { name: &'static str, value: String, rule: String },
    #[error("--access-key and --secret-key belong together: give both or neither")]
    HalfCredentials,
    #[error("--access-key with --secret-key, or --credentials, but not both")]
    TwoCredentials,
    #[error("--access-key, --secret-key: {0}")]
    Credentials(#[from] CredentialsError),
}

impl Config {
    /// Lays `options` (flags and environment) over the file they name, if any, and checks the result.
    pub fn resolve(options: ServeOptions) -> Result<Config, ConfigError> {
        let options = match options.config.clone() {
            Some(path) => {
                let file = read_file(&path)?;
                options.with_fallback(file)
            }
            None => options,
        };
        checked(options)
    }
}

fn read_file(path: &Path) -> Result<ServeOptions, ConfigError> {
    let read_error = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(read_error)?;
    file.take(limits::CONFIG_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(read_error)?;
    if text.len() as u64 > limits::CONFIG_FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        // Of a line without a key nothing is shown: it may be a secret.
        let pair = text.lines().nth(line - 1).and_then(|text| text.split_once('='));
        let key = pair.map_or("no key".to_owned(), |(key, _)| format!("`{}`", key.trim()));
        let reason = error.message().to_owned();
        ConfigError::Parse { path: path.to_owned(), line, key, reason }
    })
}

fn checked(options: ServeOptions) -> Result<Config, ConfigError> {
    let credentials = credentials_choice(&options)?;
    if options.drives.is_empty() {
        return Err(ConfigError::NoDrives);
    }
    if let Some(parity) = options.parity {
        within("parity", parity.into(), 0, limits::STRIPE_CHUNKS_MAX as u64 - 1)?;
    }
    let memory_bytes = options.memory.map_or(limits::MEMORY_BYTES_DEFAULT, |size| size.0);
    at_least("memory", memory_bytes, limits::MEMORY_BYTES_MIN)?;
    let read_cache_bytes = checked_read_cache(options.read_cache, memory_bytes)?;
    if let Some(Size(capacity)) = options.capacity {
        at_least("capacity", capacity, limits::DRIVE_BYTES_MIN)?;
    }
    let shards = options.shards.unwrap_or(limits::SHARDS_DEFAULT);
    within("shards", shards.into(), 1, limits::SHARDS_MAX.into())?;
    let domains = checked_domains("domain", options.domain)?;
    Ok(Config {
        drives: options.drives,
        parity: options.parity,
        capacity_bytes: options.capacity.map(|size| size.0),
        adopt: options.adopt.unwrap_or(false),
        shards,
        io: options.io.unwrap_or_default().into(),
        listen: options.listen.unwrap_or_else(|| LISTEN_DEFAULT.into()),
        region: checked_region(options.region)?,
        website_domains: checked_website_domains(options.website_domain, &domains)?,
        domains,
        access_log_interval: checked_access_log(options.access_log_seconds)?,
        connections_max: checked_connections(options.connections_max, memory_bytes)?,
        header_timeout: seconds(
            "header-timeout",
            options.header_timeout,
            1,
            limits::REQUEST_HEAD_SECONDS_MAX,
        )?,
        idle_timeout: seconds("idle-timeout", options.idle_timeout, 1, limits::IDLE_SECONDS_DEFAULT)?,
        drain: seconds("drain-seconds", options.drain_seconds, 0, limits::DRAIN_SECONDS_DEFAULT)?,
        scrub_interval: checked_scrub_days(options.scrub_days)?,
        lifecycle_day: checked_lifecycle_day(options.lifecycle_day)?,
        evacuate_after: checked_evacuate_minutes(options.evacuate_minutes)?,
        memory_bytes,
        read_cache_bytes,
        cores: options.cores.unwrap_or_default(),
        credentials,
        new_buckets: options.new_buckets.unwrap_or_default().into(),
        bucket_metrics: checked_bucket_metrics(options.bucket_metrics)?,
        webhooks: checked_webhooks(options.webhook, options.webhook_ca)?,
        webhook_queue: checked_webhook_queue(options.webhook_queue)?,
        log: LogConfig {
            filter: options.log.unwrap_or_else(|| LOG_FILTER_DEFAULT.to_owned()),
            format: options.log_format.unwrap_or_default(),
        },
        notify_socket: options.notify_socket,
    })
}

fn checked_read_cache(said: Option<Size>, memory_bytes: u64) -> Result<u64, ConfigError> {
    let Some(size) = said else {
        return Ok(memory_bytes / limits::READ_CACHE_SHARE_DEFAULT);
    };
    if size.0 > memory_bytes / 2 {
        let rule =
            format!("expected at most half of --memory, which is {}: raise that too", Size(memory_bytes));
        return Err(ConfigError::Value { name: "read-cache", value: size.to_string(), rule });
    }
    Ok(size.0)
}

fn checked_region(region: Option<String>) -> Result<String, ConfigError> {
    let region = region.unwrap_or_else(|| REGION_DEFAULT.to_owned());
    let fits = (1..=limits::REGION_BYTES_MAX).contains(&region.len());
    if fits && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Ok(region);
    }
    let rule = "expected 1 to 64 lower-case letters, digits and dashes, such as us-east-1".to_owned();
    Err(ConfigError::Value { name: "region", value: region, rule })
}

fn checked_website_domains(said: Vec<String>, domains: &[String]) -> Result<Vec<String>, ConfigError> {
    let said = if said.is_empty() { vec![WEBSITE_DOMAIN_DEFAULT.to_owned()] } else { said };
    let websites = checked_domains("website-domain", said)?;
    match websites.iter().find(|website| domains.contains(website)) {
        None => Ok(websites),
        Some(website) => {
            let rule = "expected another name than those of --domain, which serve the S3 API".to_owned();
            Err(ConfigError::Value { name: "website-domain", value: website.clone(), rule })
        }
    }
}

fn checked_domains(name: &'static str, domains: Vec<String>) -> Result<Vec<String>, ConfigError> {
    if domains.len() > limits::DOMAINS_MAX {
        let rule = format!("expected at most {}", limits::DOMAINS_MAX);
        return Err(ConfigError::Value { name, value: format!("given {} times", domains.len()), rule });
    }
    domains.into_iter().map(|domain| checked_domain(name, domain)).collect()
}

fn checked_domain(name: &'static str, domain: String) -> Result<String, ConfigError> {
    let host = domain.strip_suffix('.').unwrap_or(&domain).to_ascii_lowercase();
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() <= limits::DOMAIN_BYTES_MAX && host.split('.').all(label_fits) {
        return Ok(host);
    }
    let rule = "expected a host name without scheme and port, such as s3.example.com".to_owned();
    Err(ConfigError::Value { name, value: domain, rule })
}

fn checked_webhooks(
    said: Vec<WebhookOption>,
    authorities: Option<PathBuf>,
) -> Result<Arc<[Webhook]>, ConfigError> {
    let refused = |name: &str, rule| ConfigError::Value { name: "webhook", value: name.to_owned(), rule };
    if said.len() > limits::WEBHOOKS_MAX {
        let count = format!("given {} times", said.len());
        return Err(refused(&count, format!("expected at most {}", limits::WEBHOOKS_MAX)));
    }
    let ca_refused = |file: &Path, rule| ConfigError::Value {
        name: "webhook-ca",
        value: file.display().to_string(),
        rule,
    };
    let mut trust = match &authorities {
        Some(file) => Some(Trust::load(Some(file)).map_err(|rule| ca_refused(file, rule))?),
        None => None,
    };
    // The system's authorities are read when an https webhook needs them, and once for all of these.
    let mut trusted = || match &trust {
        Some(trust) => Ok(trust.clone()),
        None => Trust::load(None).map(|system| trust.insert(system).clone()),
    };
    let mut webhooks: Vec<Webhook> = Vec::new();
    for WebhookOption { name, url, token, accounts } in said {
        if webhooks.iter().any(|other| other.name == name) {
            return Err(refused(&name, "the name is given twice; each webhook needs its own".to_owned()));
        }
        let webhook =
            Webhook::new(&name, &url, token.as_deref(), &mut trusted).and_then(|webhook| match accounts {
                Some(accounts) => webhook.only_for(accounts),
                None => Ok(webhook),
            });
        webhooks.push(webhook.map_err(|rule| refused(&name, rule))?);
    }
    Ok(webhooks.into())
}

fn checked_webhook_queue(said: Option<usize>) -> Result<usize, ConfigError> {
    let queue = said.unwrap_or(limits::EVENTS_DEFAULT);
    within("webhook-queue", queue as u64, 1, limits::EVENTS_MAX as u64)?;
    Ok(queue)
}

/// As many as their part of the memory holds while they wait for their clients.
fn checked_connections(said: Option<usize>, memory_bytes: u64) -> Result<usize, ConfigError> {
    let share = memory_bytes / limits::CONNECTIONS_IDLE_SHARE / limits::CONNECTION_IDLE_BYTES as u64;
    let held = usize::try_from(share).unwrap_or(usize::MAX).min(limits::CONNECTIONS_DEFAULT);
    let connections = said.unwrap_or(held);
    within("connections-max", connections as u64, 1, limits::CONNECTIONS_MAX as u64)?;
    Ok(connections)
}

fn checked_bucket_metrics(said: Option<usize>) -> Result<usize, ConfigError> {
    let buckets = said.unwrap_or(0);
    within("bucket-metrics", buckets as u64, 0, limits::METRICS_BUCKETS_MAX as u64)?;
    Ok(buckets)
}

fn checked_access_log(said: Option<u64>) -> Result<Duration, ConfigError> {
    let seconds = said.unwrap_or(limits::ACCESS_LOG_SECONDS_DEFAULT);
    within("access-log-seconds", seconds, 1, limits::ACCESS_LOG_SECONDS_MAX)?;
    Ok(Duration::from_secs(seconds))
}

fn checked_scrub_days(said: Option<u64>) -> Result<Duration, ConfigError> {
    let days = said.unwrap_or(limits::SCRUB_DAYS_DEFAULT);
    within("scrub-days", days, 0, limits::SCRUB_DAYS_MAX)?;
    Ok(Duration::from_secs(days * 24 * 3600))
}

fn checked_lifecycle_day(said: Option<u64>) -> Result<Day, ConfigError> {
    let Some(seconds) = said else { return Ok(Day::REAL) };
    within("lifecycle-day", seconds, 1, limits::LIFECYCLE_DAY_SECONDS_MAX)?;
    Ok(Day::of_seconds(seconds))
}

fn checked_evacuate_minutes(said: Option<u64>) -> Result<Duration, ConfigError> {
    let minutes = said.unwrap_or(limits::EVACUATE_MINUTES_DEFAULT);
    within("evacuate-minutes", minutes, 0, limits::EVACUATE_MINUTES_MAX)?;
    Ok(Duration::from_secs(minutes * 60))
}

fn seconds(name: &'static str, said: Option<u64>, min: u64, default: u64) -> Result<Duration, ConfigError> {
    let seconds = said.unwrap_or(default);
    within(name, seconds, min, limits::TIMEOUT_SECONDS_MAX)?;
    Ok(Duration::from_secs(seconds))
}

fn credentials_choice(options: &ServeOptions) -> Result<CredentialsChoice, ConfigError> {
    match (&options.access_key, &options.secret_key, &options.credentials) {
        (Some(_), Some(_), Some(_)) => Err(ConfigError::TwoCredentials),
        (Some(access_key), Some(secret_key), None) => {
            Ok(CredentialsChoice::Given(Credentials::new(access_key.clone(), secret_key.clone())?))
        }
        (None, None, Some(path)) => Ok(CredentialsChoice::File(path.clone())),
        (None, None, None) => Ok(CredentialsChoice::WithDrives),
        _ => Err(ConfigError::HalfCredentials),
    }
}

fn at_least(name: &'static str, bytes: u64, min: u64) -> Result<(), ConfigError> {
    if bytes >= min {
        return Ok(());
    }
    let rule = format!("expected at least {}", Size(min));
    Err(ConfigError::Value { name, value: Size(bytes).to_string(), rule })
}

fn within(name: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let rule = format!("expected {min} to {max}");
    Err(ConfigError::Value { name, value: value.to_string(), rule })
}

#[cfg(test)]
mod tests;
