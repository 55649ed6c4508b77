//! What stands beside the lists of a report: where everything goes, and the manifest that names the lists.
//!
//! Names are AWS's: `PREFIX/BUCKET/ID/` and below it `data/`, a folder of the minute in which the report was begun,
//! and `hive/`. Pure: an order in, text out.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html

use serde::Serialize;

use super::Order;
use super::line::columns;
use crate::codec::date::iso8601_ms;

/// One list of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct File {
    pub key: String,
    pub size: u64,
    #[serde(rename = "MD5checksum")]
    pub md5: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'o> {
    source_bucket: &'o str,
    destination_bucket: &'o str,
    version: &'o str,
    /// Milliseconds since 1970.
    creation_timestamp: String,
    file_format: &'o str,
    file_schema: String,
    files: &'o [File],
}

pub fn json(order: &Order, files: &[File]) -> String {
    let manifest = Manifest {
        source_bucket: &order.source.name,
        destination_bucket: &order.inventory.bucket,
        version: "2016-11-30",
        creation_timestamp: (order.begun.0 / 1_000_000).to_string(),
        file_format: "CSV",
        file_schema: columns(order).join(", "),
        files,
    };
    serde_json::to_string_pretty(&manifest).expect("plain data with string keys")
}

/// For Hive: where each list is.
pub fn symlinks(order: &Order, files: &[File]) -> String {
    let line = |file: &File| format!("s3://{}/{}\n", order.destination.name, file.key);
    files.iter().map(line).collect()
}

/// Names that look like chance and follow from the order, so that whoever comes behind a report that was cut off
/// finds its lists.
pub fn list_key(order: &Order, number: usize) -> String {
    let number = u128::from(order.begun.0) << 64 | number as u128;
    let hex = format!("{number:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{}/data/{a}-{b}-{c}-{d}-{e}.csv.gz", base(order))
}

/// `name` is that of a file about the whole report.
pub fn report_key(order: &Order, name: &str) -> String {
    let minute = minute(order).replace(':', "-");
    format!("{}/{minute}Z/{name}", base(order))
}

pub fn symlink_key(order: &Order) -> String {
    let minute = minute(order).replace([':', 'T'], "-");
    format!("{}/hive/dt={minute}/symlink.txt", base(order))
}

fn base(order: &Order) -> String {
    let prefix = order.inventory.prefix.as_deref().unwrap_or_default();
    let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
    format!("{prefix}{slash}{}/{}", order.source.name, order.inventory.id)
}

/// `2016-11-06T21:32`.
fn minute(order: &Order) -> String {
    iso8601_ms(order.begun).as_str().chars().take(16).collect()
}
