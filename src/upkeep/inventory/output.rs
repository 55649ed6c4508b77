//! A file of a report: a deposit with its name.
//!
//! Nothing is there before `commit`, and one that is dropped leaves nothing behind. `Lines` is such a file of
//! compressed lines: what was compressed is handed on in pieces, so that memory is bounded.

use std::io::Write;
use std::rc::Rc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::base::limits::INVENTORY_STEP_BYTES;
use crate::object::content::deposit::Deposit;
use crate::object::core::Core;
use crate::object::decisions::commit::BucketRef;
use crate::object::error::ObjectError;
use crate::object::meta::{Attached, Headers};
use crate::object::store::{Committed, Writer};

pub struct Output {
    key: String,
    deposit: Deposit,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    pub key: String,
    pub size: u64,
    pub md5: [u8; 16],
    pub version_id: Option<String>,
}

impl Output {
    pub fn new(core: &Rc<Core>, bucket: BucketRef, key: String) -> Output {
        let deposit = Deposit::new(Writer::beside(core.clone(), bucket, key.clone()));
        Output { key, deposit }
    }

    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.deposit.write(bytes).await
    }

    pub async fn commit(self, content_type: &str) -> Result<Written, ObjectError> {
        let headers = Headers { content_type: Some(content_type.to_owned()), ..Headers::default() };
        let Committed { meta, version_id } = self.deposit.commit(headers, Attached::default()).await?;
        Ok(Written { key: self.key, size: meta.size, md5: meta.etag.md5, version_id })
    }
}

/// A compressed list that grows by lines.
pub struct Lines {
    output: Output,
    encoder: GzEncoder<Vec<u8>>,
    pub count: u64,
}

impl Lines {
    pub fn new(output: Output) -> Lines {
        Lines { output, encoder: GzEncoder::new(Vec::new(), Compression::default()), count: 0 }
    }

    /// Some whole lines.
    pub async fn write(&mut self, lines: &[u8], count: u64) -> Result<(), ObjectError> {
        self.count += count;
        into_memory(self.encoder.write_all(lines))?;
        if self.encoder.get_ref().len() >= INVENTORY_STEP_BYTES {
            let compressed = std::mem::take(self.encoder.get_mut());
            self.output.write(compressed.into()).await?;
        }
        Ok(())
    }

    pub async fn commit(self) -> Result<Written, ObjectError> {
        let Lines { mut output, encoder, .. } = self;
        let rest = into_memory(encoder.finish())?;
        output.write(rest.into()).await?;
        output.commit("application/gzip").await
    }
}

/// Writing to memory does not fail.
fn into_memory<T>(result: std::io::Result<T>) -> Result<T, ObjectError> {
    result.map_err(|error| ObjectError::Unreadable(error.to_string()))
}
