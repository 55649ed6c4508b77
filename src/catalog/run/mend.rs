//! Looking after the copies of a run: every block in every copy, as those who refer to it expect it.
//!
//! Goes down from the root, one partition at a time: what a block must be is known only from the block that
//! refers to it, so a stale copy is told from the right one. Nothing of the run changes; a copy that is wrong
//! is written again from one that is right.

use crate::catalog::error::Result;
use crate::catalog::run::block::{self, BlockRef, Kind};
use crate::catalog::run::entries::{EntriesCursor, Form};
use crate::catalog::run::footer::Partition;
use crate::catalog::run::reader::{FOOTER_NUMBER, Run};
use crate::catalog::run::store::MendStore;
use crate::pool::mend::Mended;

impl<S: MendStore> Run<S> {
    /// Whether an extent of the run has fewer copies than one that is written now.
    pub fn is_narrow(&self) -> bool {
        self.extents().any(|extent| self.store().is_narrow(&extent))
    }

    /// Mends the footer.
    pub async fn mend_root(&self) -> Result<Mended> {
        let (owner, root) = (self.owner(), self.root());
        let verify =
            |bytes: &[u8]| block::check(bytes, Kind::Footer, owner, FOOTER_NUMBER, root.crc).is_some();
        Ok(self.store().mend(&root.extent, 0, root.extent.len, &verify).await)
    }

    /// Mends partition `n`, from 0; `None` when there are no more.
    pub async fn mend_partition(&self, n: usize) -> Result<Option<Mended>> {
        let mut root = self.footer().root();
        for _ in 0..=n {
            if !root.advance().ok_or(self.corrupt("root index"))? {
                return Ok(None);
            }
        }
        let partition = Partition::decode(root.value()).ok_or(self.corrupt("root index"))?;
        let mut all = self.mend_block(Kind::Filter, partition.filter).await?;
        all += self.mend_block(Kind::Index, partition.index).await?;
        let index = self.read(Kind::Index, partition.index).await?;
        let mut index = EntriesCursor::new(index).ok_or(self.corrupt("index block"))?;
        while index.advance().ok_or(self.corrupt("index block"))? {
            let data = BlockRef::decode(index.value()).ok_or(self.corrupt("index block"))?;
            all += self.mend_block(Kind::Data, data).await?;
            all += self.mend_values(data).await?;
        }
        self.store().sync().await?;
        Ok(Some(all))
    }

    /// The value blocks that a data block refers to.
    async fn mend_values(&self, data: BlockRef) -> Result<Mended> {
        let mut all = Mended::default();
        let data = self.read(Kind::Data, data).await?;
        let mut data = EntriesCursor::new(data).ok_or(self.corrupt("data block"))?;
        while data.advance().ok_or(self.corrupt("data block"))? {
            if data.form() != Form::Large {
                continue;
            }
            for encoded in data.value_bytes().chunks(BlockRef::ENCODED_BYTES) {
                let value = BlockRef::decode(encoded).ok_or(self.corrupt("value reference"))?;
                all += self.mend_block(Kind::Value, value).await?;
            }
        }
        Ok(all)
    }

    async fn mend_block(&self, kind: Kind, block: BlockRef) -> Result<Mended> {
        let (owner, number, crc) = (self.owner(), block.number(), block.crc);
        let verify = |bytes: &[u8]| block::check(bytes, kind, owner, number, crc).is_some();
        let extent = self.extent_of(block)?;
        Ok(self.store().mend(&extent, block.offset(), block.bytes() as u32, &verify).await)
    }
}
