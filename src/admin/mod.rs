//! The operator edge: everything under `/-/`, and the commands that look at a store from outside.
//!
//! May use every layer below it, and nothing of `config` or `server`: what it needs is passed in as plain
//! values and functions. Holds no state of its own; figures are asked for when somebody wants them.

/// Who may use the admin API.
pub mod access;
/// Accounts over the admin API, and `basalt admin account`.
pub mod accounts;
/// What keeps the log from running away.
pub mod brake;
/// What buckets hold and their quotas, and `basalt admin bucket`.
pub mod buckets;
/// The client behind `basalt status` and `basalt admin`.
pub mod client;
/// The root credentials and their file.
pub mod credentials;
/// What stands on a stopped drive: `basalt inspect`.
pub mod inspect;
/// A snapshot as Prometheus text.
pub mod metrics;
/// Word to systemd.
pub mod notify;
/// HTTP answers under `/-/`.
pub mod operator;
/// What the kernel says of the process.
pub mod process;
/// Bars and lines for long work.
pub mod progress;
/// A snapshot as JSON.
pub mod report;
/// `basalt status`.
pub mod status;
/// Text for terminals.
pub mod table;

#[cfg(test)]
mod sample;
