//! Listing: pages of keys of one shard, and the merging of all shards' pages into one.
//!
//! A shard scans its own keys in order and rolls up those that share a prefix up to the delimiter,
//! seeking past each such group. The core that serves the request asks every shard for a share of
//! the page, merges by key, and asks a shard again only when its share is used up before the page
//! is full. Exact under concurrent writes: no key twice, none skipped that existed throughout, and
//! the same for versions.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use super::commit::BucketRef;
use super::traffic::{Moment, Traffic};
use crate::base::ids::ShardId;
use crate::base::limits::{LISTED_PARTS_MAX, SCAN_RETRIES_MAX, VERSIONS_STEPPED_MAX};
use crate::base::rest::Stint;
use crate::catalog::key;
use crate::catalog::scan::Scan;
use crate::catalog::value::{Listed, UploadValue, Version};
use crate::codec::xml::ObjectOwnership;
use crate::object::error::ObjectError;
use crate::object::registry::buckets::Bucket;
use crate::object::shard::{Shard, damaged};
use crate::object::tending::runs::ShardRuns;

/// Which keys of one bucket, in one shard.
#[derive(Clone, Debug)]
pub struct ShardQuery {
    pub bucket: BucketRef,
    pub prefix: String,
    pub delimiter: String,
    pub after: After,
    pub limit: usize,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// At the first key with the prefix.
    Start,
    /// Behind this key.
    Key(String),
    /// Behind every key that begins with this.
    Prefix(String),
    /// Behind this upload of this key.
    Upload(String, u128),
    /// Behind the version of this order of this key.
    Version(String, u64),
}

/// What a listing of versions shows of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    pub order: u64,
    pub null: bool,
    pub marker: bool,
    /// The newest of its key.
    pub latest: bool,
    pub listed: Listed,
}

/// Something with a place in a listing.
pub trait Placed {
    /// Where a listing goes on that showed this under `name`.
    fn after(&self, name: &str) -> After;
}

impl Placed for Listed {
    fn after(&self, name: &str) -> After {
        After::Key(name.to_owned())
    }
}

impl Placed for (u128, UploadValue) {
    fn after(&self, name: &str) -> After {
        After::Upload(name.to_owned(), self.0)
    }
}

impl Placed for ListedVersion {
    fn after(&self, name: &str) -> After {
        After::Version(name.to_owned(), self.order)
    }
}

/// One line of a shard's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row<T> {
    Key(String, T),
    /// A group of keys, by what they share up to the delimiter.
    Prefix(String),
}

/// A shard's page; `more` tells that the scan stopped at the limit and not at the end.
#[derive(Clone, Debug)]
pub struct ShardPage<T> {
    pub rows: VecDeque<Row<T>>,
    pub more: bool,
}

impl<T> Row<T> {
    pub fn name(&self) -> &str {
        match self {
            Row::Key(name, _) | Row::Prefix(name) => name,
        }
    }
}

impl After {
    /// Where a listing continues that ended with `marker`. With a delimiter a marker that lies in a
    /// group stands for the whole group if it is the group's name.
    pub fn marker(marker: &str, prefix: &str, delimiter: &str) -> Self {
        if marker.is_empty() {
            return After::Start;
        }
        match group_of(marker, prefix, delimiter) {
            Some(group) if group == marker => After::Prefix(marker.to_owned()),
            _ => After::Key(marker.to_owned()),
        }
    }
}

/// What a key is rolled up to: the key up to and with the first delimiter behind the prefix.
fn group_of<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// The versions of a bucket in one shard, from some place on. Where all versions of a key were gone when it passed
/// them, and since it began one came and one went, it looks at that key once more, so that it misses no key that had
/// one throughout. A version that went and was not seen gone was shown, and what the memtable and the runs of a scan
/// show is from one moment on.
struct Walk<'s> {
    shard: &'s Shard,
    scan: Scan<ShardRuns>,
    /// Everything before is dealt with; kept only where there are versions.
    reached: Vec<u8>,
    end: Vec<u8>,
    since: Moment,
    versioned: bool,
}

impl<'s> Walk<'s> {
    fn new(shard: &'s Shard, start: Vec<u8>, end: Vec<u8>, versioned: bool) -> Self {
        let since = shard.traffic.now();
        let scan = shard.index.scan(start.clone(), end.clone());
        Walk { shard, scan, reached: start, end, since, versioned }
    }

    async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, ObjectError> {
        let mut looks = 0;
        while looks < SCAN_RETRIES_MAX {
            let (traffic, reached) = (&self.shard.traffic, &self.reached[..]);
            let mut gone = Gone { traffic, since: self.since, reached, last: Vec::new(), doubtful: None };
            let found = self.scan.next_beyond(|version| gone.pass(version)).await?;
            let Some(front) = gone.doubtful() else { return Ok(found) };
            // Again at the same object, or at a later one.
            looks = if front == self.reached { looks + 1 } else { 0 };
            *self = Walk::new(self.shard, front, std::mem::take(&mut self.end), self.versioned);
        }
        Err(ObjectError::SlowDown)
    }

    fn reach(&mut self, place: Vec<u8>) {
        self.reached = place;
    }

    fn seek(&mut self, place: Vec<u8>) {
        self.scan.seek(&place);
        self.reached = place;
    }
}

/// What a walk passed that was gone.
struct Gone<'s> {
    traffic: &'s Traffic,
    since: Moment,
    /// An object in front of this is dealt with.
    reached: &'s [u8],
    /// The last of it.
    last: Vec<u8>,
    /// In front of the first object that may have got a version behind the walk's back.
    doubtful: Option<Vec<u8>>,
}

impl Gone<'_> {
    /// False when the walk has to begin anew.
    fn pass(&mut self, version: &[u8]) -> bool {
        if key::object_of(version) != key::object_of(&self.last) {
            self.judge();
            self.last.clear();
            self.last.extend_from_slice(version);
        }
        self.doubtful.is_none()
    }

    /// When the walk has left the object.
    fn judge(&mut self) {
        if self.doubtful.is_some() || self.last.is_empty() {
            return;
        }
        let (last, since) = (&self.last[..], self.since);
        if self.traffic.has_come(last, since) && self.traffic.has_gone(last, since) {
            self.doubtful = Some(key::front_of(&self.last)).filter(|front| front[..] >= *self.reached);
        }
    }

    fn doubtful(mut self) -> Option<Vec<u8>> {
        self.judge();
        self.doubtful
    }
}

fn name_of(at: &[u8]) -> Result<(String, u64), ObjectError> {
    let (name, order) = key::parse_version(at).ok_or_else(|| damaged("version key"))?;
    Ok((String::from_utf8(name).map_err(|_| damaged("version key"))?, order))
}

/// Objects have owners of their own only where ACLs count.
fn listed(bucket: &Bucket, value: &[u8]) -> Result<Listed, ObjectError> {
    let found = match bucket.settings.ownership() {
        ObjectOwnership::BucketOwnerEnforced => Listed::decode(value),
        _ => Listed::decode_owned(value),
    };
    found.ok_or_else(|| damaged("version"))
}

/// The first place of a listing of versions.
fn start_of(query: &ShardQuery) -> Vec<u8> {
    let bucket = query.bucket.id;
    let first = key::versions_from(bucket, query.prefix.as_bytes());
    let start = match &query.after {
        After::Start => return first,
        After::Key(name) | After::Upload(name, _) => key::versions_after(bucket, name.as_bytes()),
        After::Prefix(group) => key::versions_end(bucket, group.as_bytes()),
        After::Version(name, order) => key::version_after(bucket, name, *order),
    };
    start.max(first)
}

impl Shard {
    /// Current objects of a bucket: of each key the newest version, unless it is a delete marker.
    pub async fn list(self: Rc<Self>, query: ShardQuery) -> Result<ShardPage<Listed>, ObjectError> {
        let bucket = query.bucket.id;
        let settings = self.bucket(&query.bucket)?;
        let versioned = settings.settings.versioning.is_some();
        let end = key::versions_end(bucket, query.prefix.as_bytes());
        let mut walk = Walk::new(&self, start_of(&query), end, versioned);
        let mut page = ShardPage { rows: VecDeque::new(), more: false };
        let (mut last, mut stepped) = (Bytes::new(), 0);
        let mut stint = Stint::new(LISTED_PARTS_MAX);
        while let Some((at, value)) = walk.next().await? {
            if walk.versioned && key::object_of(&at) == key::object_of(&last) {
                stepped += 1;
                if stepped == VERSIONS_STEPPED_MAX {
                    walk.seek(walk.reached.clone());
                }
                continue;
            }
            if page.rows.len() == query.limit {
                page.more = true;
                break;
            }
            let (name, order) = name_of(&at)?;
            walk.versioned |= order != key::ORDER_UNVERSIONED;
            if walk.versioned {
                walk.reach(key::versions_after(bucket, name.as_bytes()));
                (last, stepped) = (at, 0);
            }
            if Version::encodes_marker(&value) {
                continue;
            }
            if let Some(group) = group_of(&name, &query.prefix, &query.delimiter) {
                walk.seek(key::versions_end(bucket, group.as_bytes()));
                page.rows.push_back(Row::Prefix(group.to_owned()));
            } else {
                stint.step(Version::encoded_parts(&value)).await;
                page.rows.push_back(Row::Key(name, listed(&settings, &value)?));
            }
        }
        Ok(page)
    }

    /// All versions and delete markers, those of a key newest first.
    pub async fn list_versions(
        self: Rc<Self>,
        query: ShardQuery,
    ) -> Result<ShardPage<ListedVersion>, ObjectError> {
        let bucket = query.bucket.id;
        let settings = self.bucket(&query.bucket)?;
        let end = key::versions_end(bucket, query.prefix.as_bytes());
        let mut walk = Walk::new(&self, start_of(&query), end, settings.settings.versioning.is_some());
        let mut page = ShardPage { rows: VecDeque::new(), more: false };
        let mut stint = Stint::new(LISTED_PARTS_MAX);
        let mut last = Bytes::new();
        // The version that the page begins behind may be gone, and the first one of the page the newest.
        let mut newest = None;
        if let After::Version(name, order) = &query.after {
            last = key::version(bucket, name, *order).into();
            newest = self.newest(&settings, name).await?.map(|found| found.order);
        }
        while let Some((at, value)) = walk.next().await? {
            if page.rows.len() == query.limit {
                page.more = true;
                break;
            }
            let (name, order) = name_of(&at)?;
            if let Some(group) = group_of(&name, &query.prefix, &query.delimiter) {
                walk.seek(key::versions_end(bucket, group.as_bytes()));
                page.rows.push_back(Row::Prefix(group.to_owned()));
                continue;
            }
            walk.versioned |= order != key::ORDER_UNVERSIONED;
            let same = key::object_of(&at) == key::object_of(&last);
            let resumed = newest.take();
            let latest = !same || resumed == Some(order);
            let (null, marker) = (Version::encodes_null(&value), Version::encodes_marker(&value));
            stint.step(Version::encoded_parts(&value)).await;
            let listed = listed(&settings, &value)?;
            walk.reach(key::version_after(bucket, &name, order));
            last = at;
            page.rows.push_back(Row::Key(name, ListedVersion { order, null, marker, latest, listed }));
        }
        Ok(page)
    }

    /// Uploads in progress, by key and then by the time they began, which their ids begin with.
    pub async fn list_uploads(
        self: Rc<Self>,
        query: ShardQuery,
    ) -> Result<ShardPage<(u128, UploadValue)>, ObjectError> {
        let bucket = query.bucket.id;
        let start = match &query.after {
            After::Start => key::uploads_from(bucket, query.prefix.as_bytes()),
            After::Key(name) | After::Version(name, _) => key::uploads_after(bucket, name.as_bytes()),
            After::Prefix(group) => key::uploads_end(bucket, group.as_bytes()),
            After::Upload(name, upload) => key::upload(bucket, name, upload.saturating_add(1)),
        };
        let start = start.max(key::uploads_from(bucket, query.prefix.as_bytes()));
        let mut scan = self.index.scan(start, key::uploads_end(bucket, query.prefix.as_bytes()));
        let mut page = ShardPage { rows: VecDeque::new(), more: false };
        while let Some((at, value)) = scan.next().await? {
            if page.rows.len() == query.limit {
                page.more = true;
                break;
            }
            let (name, upload) = key::parse_upload(&at).ok_or_else(|| damaged("upload key"))?;
            let name = String::from_utf8(name).map_err(|_| damaged("upload key"))?;
            if let Some(group) = group_of(&name, &query.prefix, &query.delimiter) {
                scan.seek(&key::uploads_end(bucket, group.as_bytes()));
                page.rows.push_back(Row::Prefix(group.to_owned()));
            } else {
                let value = UploadValue::decode(&value).ok_or_else(|| damaged("upload"))?;
                page.rows.push_back(Row::Key(name, (upload, value)));
            }
        }
        Ok(page)
    }

    /// Whether the bucket holds no version of any object, delete markers among them.
    pub async fn is_empty_bucket(self: Rc<Self>, bucket: u64) -> Result<bool, ObjectError> {
        let mut scan = self.index.scan(key::versions_from(bucket, b""), key::versions_end(bucket, b""));
        Ok(scan.next().await?.is_none())
    }
}

/// The pages of all shards of a listing, merged row by row.
pub struct Merge<T> {
    pages: Vec<Source<T>>,
}

struct Source<T> {
    shard: ShardId,
    page: ShardPage<T>,
    /// Behind the last row taken from this shard: there its next page begins.
    after: After,
}

/// What a merge does next.
pub enum Next<T> {
    Row(Row<T>),
    /// The page of this shard is used up and there is more behind it, from there.
    Refill(ShardId, After),
    End,
}

impl<T: Placed> Merge<T> {
    pub fn new(pages: impl IntoIterator<Item = (ShardId, ShardPage<T>)>) -> Self {
        let source = |(shard, page)| Source { shard, page, after: After::Start };
        Merge { pages: pages.into_iter().map(source).collect() }
    }

    /// How many are here; pages of other rows may follow.
    pub fn rows(&self) -> usize {
        self.pages.iter().map(|source| source.page.rows.len()).sum()
    }

    pub fn refill(&mut self, shard: ShardId, page: ShardPage<T>) {
        let source = self.pages.iter_mut().find(|source| source.shard == shard);
        source.expect("pages are asked for by name").page = page;
    }

    pub fn step(&mut self) -> Next<T> {
        if let Some(dry) = self.pages.iter().find(|source| source.page.rows.is_empty() && source.page.more) {
            return Next::Refill(dry.shard, dry.after.clone());
        }
        let heads = self.pages.iter().enumerate();
        let heads = heads.filter_map(|(at, source)| source.page.rows.front().map(|row| (row.name(), at)));
        let Some((_, first)) = heads.min_by(|a, b| a.0.cmp(b.0)) else { return Next::End };
        let row = self.pages[first].take().expect("it has a front");
        if let Row::Prefix(group) = &row {
            // The same group may stand at the front of other shards' pages.
            for source in &mut self.pages {
                let same = |row: &Row<T>| matches!(row, Row::Prefix(name) if name == group);
                if source.page.rows.front().is_some_and(same) {
                    source.take();
                }
            }
        }
        Next::Row(row)
    }
}

impl<T: Placed> Source<T> {
    fn take(&mut self) -> Option<Row<T>> {
        let row = self.page.rows.pop_front()?;
        if self.page.rows.is_empty() {
            self.after = match &row {
                Row::Prefix(group) => After::Prefix(group.clone()),
                Row::Key(name, shown) => shown.after(name),
            };
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Nanos;
    use crate::catalog::meta::ETag;

    #[test]
    fn keys_are_rolled_up_at_the_first_delimiter_behind_the_prefix() {
        assert_eq!(group_of("a/b/c", "", "/"), Some("a/"));
        assert_eq!(group_of("a/b/c", "a/", "/"), Some("a/b/"));
        assert_eq!(group_of("a/b", "a/", "/"), None);
        assert_eq!(group_of("a//b", "a/", "/"), Some("a//"));
        assert_eq!(group_of("a/b", "", ""), None);
        assert_eq!(group_of("x-y-z", "x", "-y"), Some("x-y"));
    }

    #[test]
    fn a_marker_that_is_a_group_skips_the_group() {
        assert_eq!(After::marker("a/", "", "/"), After::Prefix("a/".into()));
        assert_eq!(After::marker("a/b", "", "/"), After::Key("a/b".into()));
        assert_eq!(After::marker("a/", "", ""), After::Key("a/".into()));
        assert_eq!(After::marker("", "", "/"), After::Start);
    }

    #[test]
    fn a_walk_begins_anew_at_the_first_object_that_one_came_to_and_one_went_from() {
        let at = |name: &str, order| key::version(1, name, order);
        let (traffic, since) = (Traffic::default(), Moment::default());
        let walk = |reached: &[u8]| {
            let mut gone = Gone { traffic: &traffic, since, reached, last: Vec::new(), doubtful: None };
            let passed = ["a", "b", "b", "c", "d"].map(|name| at(name, 5));
            let count = passed.iter().take_while(|version| gone.pass(version)).count();
            (count, gone.doubtful())
        };
        traffic.come(&at("b", 9));
        traffic.go(&at("c", 5));
        assert_eq!(walk(&[]), (5, None));
        traffic.go(&at("b", 5));
        assert_eq!(walk(&[]), (3, Some(at("b", u64::MAX))), "it stops when it has left the object");
        assert_eq!(walk(&at("c", 7)), (5, None), "what its user has is no doubt any more");
    }

    #[test]
    fn pages_merge_in_order_and_groups_only_once() {
        let listed = || {
            let (size, etag) = (0, ETag::default());
            Listed { size, modified: Nanos(0), etag, checksum: None, owner: None }
        };
        let page = |rows: &[&str]| {
            let row = |name: &&str| match name.ends_with('/') {
                true => Row::Prefix(name.to_string()),
                false => Row::Key(name.to_string(), listed()),
            };
            ShardPage { rows: rows.iter().map(row).collect(), more: false }
        };
        let pages = vec![(ShardId(0), page(&["a", "g/", "z"])), (ShardId(1), page(&["b", "g/", "h"]))];
        let mut merge = Merge::new(pages);
        let mut names = Vec::new();
        while let Next::Row(row) = merge.step() {
            names.push(row.name().to_owned());
        }
        assert_eq!(names, ["a", "b", "g/", "h", "z"]);
    }
}
