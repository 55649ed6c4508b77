//! One run of the catalog, read from one drive alone, block by block.
//!
//! Opens and checks runs with the code of `catalog::run`; only the walk is its own: the engine's stops
//! at the first block that it cannot have, this one goes on with the next and says what it left out.
//! Everything is checked against the checksum in the block that refers to it, so a block that reads
//! is the right one.

use std::io;
use std::rc::Rc;

use bytes::Bytes;

use super::Drive;
use super::media::Media;
use super::output::Output;
use crate::base::ids::{DriveId, ShardId};
use crate::catalog::cache::BlockCache;
use crate::catalog::error::CatalogError;
use crate::catalog::run::block::{BlockRef, Kind};
use crate::catalog::run::entries::{EntriesCursor, Form};
use crate::catalog::run::footer::{Footer, Partition};
use crate::catalog::run::reader::{Run, RunRef};
use crate::catalog::run::store::RunStore;
use crate::drive::device::Area;
use crate::io::buffer::AlignedBuf;
use crate::pool::extent::MirroredExtent;

/// Reads the copies that stand on one drive.
#[derive(Clone)]
pub struct OneDrive {
    media: Rc<Media>,
    id: DriveId,
}

/// A run whose footer was read.
pub struct Opened {
    store: OneDrive,
    run: Run<OneDrive>,
    walked: Walked,
}

/// What a walk left out.
#[derive(Clone, Copy, Default)]
pub struct Walked {
    /// Blocks without a copy on this drive.
    pub elsewhere: u64,
    /// Some block was damaged.
    pub damaged: bool,
}

/// Keys from the first, inclusive, to the second, exclusive.
pub struct Span {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

pub struct Entry<'a> {
    pub key: &'a [u8],
    pub form: Form,
    /// None of a deletion, and of a large value that is not whole here.
    pub value: Option<Bytes>,
}

type Sink<'s> = &'s mut dyn FnMut(&mut Output<'_>, &Entry<'_>) -> io::Result<()>;

impl Span {
    pub fn all() -> Self {
        Span { start: Vec::new(), end: None }
    }

    pub fn between(start: Vec<u8>, end: Vec<u8>) -> Self {
        Span { start, end: Some(end) }
    }

    fn is_all(&self) -> bool {
        self.start.is_empty() && self.end.is_none()
    }

    fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.is_before_end(key)
    }

    fn is_before_end(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key < &end[..])
    }
}

impl Opened {
    /// Reads the footer; names it as damaged when its copy here is not what it should be.
    pub async fn open(store: OneDrive, shard: ShardId, root: RunRef, out: &mut Output<'_>) -> Option<Self> {
        let (extent, id) = (root.extent.clone(), root.id);
        match Run::open(store.clone(), BlockCache::new(0), shard, root).await {
            Ok(run) => Some(Opened { store, run, walked: Walked::default() }),
            Err(error) => {
                let place = store.place(&extent, 0);
                out.damaged(&place, &format!("footer of run {id} of shard {shard}: {}", reason(&error)));
                None
            }
        }
    }

    pub fn footer(&self) -> &Footer {
        self.run.footer()
    }

    pub fn extents(&self) -> impl Iterator<Item = MirroredExtent> + '_ {
        self.run.extents()
    }

    /// Shows every entry of the span that can be read here, in order.
    pub async fn walk(&mut self, span: &Span, out: &mut Output<'_>, sink: Sink<'_>) -> io::Result<Walked> {
        self.walked = Walked::default();
        for partition in self.below(Some(self.run.footer().root()), span, "root index", out) {
            let Some(partition) = Partition::decode(&partition) else { continue };
            if span.is_all() {
                self.block(Kind::Filter, partition.filter, out).await;
            }
            let Some(index) = self.block(Kind::Index, partition.index, out).await else { continue };
            for block in self.below(EntriesCursor::new(index), span, "index block", out) {
                let Some(block) = BlockRef::decode(&block) else { continue };
                let Some(data) = self.block(Kind::Data, block, out).await else { continue };
                self.entries(data, span, out, sink).await?;
            }
        }
        Ok(self.walked)
    }

    /// What an index refers to within the span. Each of its keys is where the reference begins.
    fn below(
        &mut self,
        cursor: Option<EntriesCursor>,
        span: &Span,
        what: &str,
        out: &mut Output<'_>,
    ) -> Vec<Bytes> {
        let mut found: Vec<Bytes> = Vec::new();
        let Some(mut cursor) = cursor else {
            self.malformed(what, out);
            return found;
        };
        loop {
            match cursor.advance() {
                Some(true) if !span.is_before_end(cursor.key()) => return found,
                Some(true) => {
                    if cursor.key() <= &span.start[..] {
                        found.clear();
                    }
                    found.push(cursor.value_bytes());
                }
                Some(false) => return found,
                None => {
                    self.malformed(what, out);
                    return found;
                }
            }
        }
    }

    async fn entries(
        &mut self,
        data: Bytes,
        span: &Span,
        out: &mut Output<'_>,
        sink: Sink<'_>,
    ) -> io::Result<()> {
        let Some(mut cursor) = EntriesCursor::new(data) else {
            self.malformed("data block", out);
            return Ok(());
        };
        loop {
            match cursor.advance() {
                Some(true) => {}
                Some(false) => return Ok(()),
                None => {
                    self.malformed("data block", out);
                    return Ok(());
                }
            }
            if span.contains(cursor.key()) {
                let form = cursor.form();
                let value = match form {
                    Form::Tombstone => None,
                    Form::Inline => Some(cursor.value_bytes()),
                    Form::Large => self.large(cursor.value(), out).await,
                };
                sink(out, &Entry { key: cursor.key(), form, value })?;
            }
        }
    }

    async fn large(&mut self, references: &[u8], out: &mut Output<'_>) -> Option<Bytes> {
        let mut value = Some(Vec::new());
        for encoded in references.chunks(BlockRef::ENCODED_BYTES) {
            let Some(block) = BlockRef::decode(encoded) else {
                self.malformed("value reference", out);
                return None;
            };
            match (self.block(Kind::Value, block, out).await, &mut value) {
                (Some(piece), Some(value)) => value.extend_from_slice(&piece),
                _ => value = None,
            }
        }
        value.map(Bytes::from)
    }

    /// The payload of a block; `None` when it is not here or damaged, which is counted or named.
    async fn block(&mut self, kind: Kind, block: BlockRef, out: &mut Output<'_>) -> Option<Bytes> {
        let Some(extent) = self.run.footer().extent(block.extent) else {
            self.malformed("block reference", out);
            return None;
        };
        if self.store.copy(&extent).is_none() {
            self.walked.elsewhere += 1;
            return None;
        }
        match self.run.read(kind, block).await {
            Ok(payload) => Some(payload),
            Err(error) => {
                let place = self.store.place(&extent, block.offset());
                let what = format!("{kind:?} block of run {}: {}", self.run.id(), reason(&error));
                self.walked.damaged = true;
                out.damaged(&place, &what);
                None
            }
        }
    }

    /// A checksum is right, and what it covers makes no sense.
    fn malformed(&mut self, what: &str, out: &mut Output<'_>) {
        self.walked.damaged = true;
        let place = self.store.place(&self.run.root().extent, 0);
        out.damaged(&place, &format!("{what} of the run {} that ends here is malformed", self.run.id()));
    }
}

fn reason(error: &CatalogError) -> String {
    match error {
        CatalogError::Store(error) => error.to_string(),
        error => error.to_string(),
    }
}

impl OneDrive {
    pub fn new(drive: &Drive) -> Self {
        OneDrive { media: drive.media.clone(), id: drive.superblock.drive }
    }

    /// Offset of the copy on this drive.
    fn copy(&self, extent: &MirroredExtent) -> Option<u64> {
        extent.copies.iter().find(|copy| copy.drive == self.id).map(|copy| copy.offset)
    }

    fn place(&self, extent: &MirroredExtent, offset: u32) -> String {
        match self.copy(extent) {
            Some(start) => self.media.place(Area::Data, start.saturating_add(offset.into())),
            None => "another drive".to_owned(),
        }
    }
}

impl RunStore for OneDrive {
    async fn write(&self, _: AlignedBuf) -> Result<MirroredExtent, CatalogError> {
        Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem).into())
    }

    async fn sync(&self) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn read(
        &self,
        extent: &MirroredExtent,
        offset: u32,
        len: u32,
        verify: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Bytes, CatalogError> {
        let start = self.copy(extent).ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let buffer = self.media.read(Area::Data, len as usize, start.saturating_add(offset.into())).await?;
        if !verify(&buffer) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not the block that belongs here").into());
        }
        Ok(buffer.into_bytes())
    }

    fn free(&self, _: &MirroredExtent) {}
}
