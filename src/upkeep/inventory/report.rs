//! Writing one report: every version below the filter's prefix, shard by shard, as compressed lists of a bounded
//! length, and then the manifest that names them. Runs on a background core, with a rest after each page.
//!
//! A list is walked while clients go on, as by a client that asks for page after page: what is there throughout is
//! in it once. The manifest comes last, and its checksum behind it; until then nobody knows the lists, and when
//! the report fails they are deleted again: at once, or by the next one if the server stops before.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::manifest::{self, File};
use super::output::{Lines, Output, Written};
use super::{Failure, Order, line};
use crate::base::ids::ShardId;
use crate::base::limits::INVENTORY_FILES_MAX;
use crate::base::metrics::JobKind;
use crate::catalog::key;
use crate::catalog::value::Version;
use crate::object::core::Core;
use crate::object::decisions::commit::Deletion;
use crate::object::lifecycle::KeyRange;
use crate::object::shard::damaged;
use crate::object::tending::pace::{GivenUp, Pace, Urgency};
use crate::upkeep::ask::ask;

/// Writes the report of an order.
pub async fn write(core: Rc<Core>, order: Order) -> Result<(), Failure> {
    let pace = Pace::new(&core, JobKind::Inventory, Urgency::default());
    let mut report = Report { core, pace, order, files: Vec::new(), list: None };
    let written = report.write().await;
    if written.is_err()
        && let Err(error) = report.take_back().await
    {
        tracing::warn!(%error, "lists of an inventory that was not finished stay until the next one");
    }
    written
}

/// Deletes what there is of the report of an order that was cut off.
pub async fn sweep(core: Rc<Core>, order: Order) -> Result<(), Failure> {
    let pace = Pace::new(&core, JobKind::Inventory, Urgency::default());
    let mut report = Report { core, pace, order, files: Vec::new(), list: None };
    report.find().await?;
    report.take_back().await
}

struct Report {
    core: Rc<Core>,
    pace: Pace,
    order: Order,
    files: Vec<Written>,
    /// The one that is being written.
    list: Option<Lines>,
}

impl From<GivenUp> for Failure {
    fn from(_: GivenUp) -> Failure {
        Failure::Stopping
    }
}

impl Report {
    async fn write(&mut self) -> Result<(), Failure> {
        for shard in (0..self.core.shard_count()).map(ShardId) {
            self.walk(shard).await?;
        }
        self.end_list().await?;
        self.conclude().await?;
        let (lists, bucket) = (self.files.len(), &self.order.source.name);
        tracing::info!(bucket, inventory = self.order.inventory.id, lists, "an inventory was written");
        Ok(())
    }

    /// Everything of one shard.
    async fn walk(&mut self, shard: ShardId) -> Result<(), Failure> {
        let (bucket, prefix) =
            (self.order.source.id, self.order.inventory.filter.clone().unwrap_or_default());
        let start = key::versions_from(bucket, prefix.as_bytes());
        let end = key::versions_end(bucket, prefix.as_bytes());
        let ranges: Arc<[KeyRange]> = Arc::new([(start.clone(), end)]);
        let (mut from, mut last) = (Some(start), Bytes::new());
        while let Some(at) = from {
            if self.core.board.is_closing() {
                return Err(Failure::Stopping);
            }
            let inside = ranges.clone();
            let page = ask(&self.core, shard, move |home| home.entries(at, inside)).await?;
            let (lines, count) = self.lines(&page.entries, &mut last)?;
            self.append(&lines, count).await?;
            self.pace.step(lines.len() as u64).await?;
            from = page.next;
        }
        Ok(())
    }

    /// The lines of some entries; `last` is the object of the entry in front of them.
    fn lines(&self, entries: &[(Bytes, Bytes)], last: &mut Bytes) -> Result<(Vec<u8>, u64), Failure> {
        let (mut out, mut count) = (Vec::new(), 0);
        for (at, value) in entries {
            let object = key::object_of(at);
            let is_latest = last[..] != *object;
            *last = at.slice_ref(object);
            let (name, order) = key::parse_version(at).ok_or_else(|| damaged("version key"))?;
            let version = Version::decode(value).ok_or_else(|| damaged("version"))?;
            if !self.order.inventory.all_versions && (!is_latest || version.is_marker()) {
                continue;
            }
            let name = String::from_utf8(name).map_err(|_| damaged("version key"))?;
            let listed = line::Listed { key: &name, order, version: &version, is_latest };
            line::write(&mut out, &self.order, &listed);
            count += 1;
        }
        Ok((out, count))
    }

    async fn append(&mut self, lines: &[u8], count: u64) -> Result<(), Failure> {
        if count == 0 {
            return Ok(());
        }
        if self.list.as_ref().is_some_and(|list| list.count + count > self.order.lines_max) {
            self.end_list().await?;
        }
        let mut list = match self.list.take() {
            Some(list) => list,
            None => Lines::new(self.output(manifest::list_key(&self.order, self.files.len()))),
        };
        list.write(lines, count).await?;
        self.list = Some(list);
        Ok(())
    }

    fn output(&self, key: String) -> Output {
        Output::new(&self.core, self.order.destination.clone(), key)
    }

    async fn end_list(&mut self) -> Result<(), Failure> {
        if self.files.len() >= INVENTORY_FILES_MAX {
            return Err(Failure::TooLarge);
        }
        if let Some(list) = self.list.take() {
            self.files.push(list.commit().await?);
        }
        Ok(())
    }

    /// The manifest, and what goes with it.
    async fn conclude(&mut self) -> Result<(), Failure> {
        let file =
            |file: &Written| File { key: file.key.clone(), size: file.size, md5: hex::encode(file.md5) };
        let lists: Vec<File> = self.files.iter().map(file).collect();
        let symlinks = manifest::symlinks(&self.order, &lists);
        self.put(manifest::symlink_key(&self.order), symlinks, "text/plain").await?;
        let json = manifest::json(&self.order, &lists);
        let written = self.put(manifest::report_key(&self.order, "manifest.json"), json, "application/json");
        let md5 = hex::encode(written.await?);
        self.put(manifest::report_key(&self.order, "manifest.checksum"), md5, "text/plain").await?;
        Ok(())
    }

    /// Gives its MD5.
    async fn put(&mut self, key: String, text: String, content_type: &str) -> Result<[u8; 16], Failure> {
        let mut output = self.output(key);
        output.write(text.into()).await?;
        let written = output.commit(content_type).await?;
        let md5 = written.md5;
        self.files.push(written);
        Ok(md5)
    }

    /// Finds what an earlier attempt has written: lists up to some number, and what goes with them.
    async fn find(&mut self) -> Result<(), Failure> {
        for number in 0..INVENTORY_FILES_MAX {
            if !self.find_one(manifest::list_key(&self.order, number)).await? {
                break;
            }
            self.pace.step(0).await?;
        }
        self.find_one(manifest::symlink_key(&self.order)).await?;
        for name in ["manifest.json", "manifest.checksum"] {
            self.find_one(manifest::report_key(&self.order, name)).await?;
        }
        Ok(())
    }

    async fn find_one(&mut self, key: String) -> Result<bool, Failure> {
        let (bucket, name) = (self.order.destination.clone(), key.clone());
        let shard = key::shard_of(bucket.id, key.as_bytes(), self.core.shard_count());
        let found = ask(&self.core, shard, move |home| home.newest_id(bucket, name)).await?;
        let is_there = found.is_some();
        self.files.extend(found.map(|version_id| Written { key, size: 0, md5: [0; 16], version_id }));
        Ok(is_there)
    }

    /// Deletes what was written of a report that did not come about: the last first, so that there is no gap in
    /// what stays when this is cut off too.
    async fn take_back(&mut self) -> Result<(), Failure> {
        self.list = None;
        for Written { key, version_id, .. } in std::mem::take(&mut self.files).into_iter().rev() {
            let bucket = self.order.destination.clone();
            let shard = key::shard_of(bucket.id, key.as_bytes(), self.core.shard_count());
            let deletion = Deletion { version_id, ..Deletion::default() };
            let delete =
                move |home: Rc<crate::object::shard::Shard>| home.delete_version(bucket, key, deletion);
            ask(&self.core, shard, delete).await?;
        }
        Ok(())
    }
}
