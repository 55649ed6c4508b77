//! An object that the server itself writes: bytes in, a durable object with ETag and checksum out.
//!
//! Nothing is there before `commit`, and one that is dropped leaves nothing behind. `Lines` is such an object of
//! compressed lines: what was compressed is handed on in pieces, so that memory is bounded.

use std::io::Write;
use std::rc::Rc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::base::limits::INVENTORY_STEP_BYTES;
use crate::codec::checksum::{ChecksumAlgorithm, Digests};
use crate::object::commit::BucketRef;
use crate::object::core::Core;
use crate::object::error::ObjectError;
use crate::object::meta::{Checksum, ChecksumKind, ETag, Headers};
use crate::object::store::{Commit, Writer};

pub struct Output {
    key: String,
    writer: Writer,
    digests: Digests,
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
        let writer = Writer::beside(core.clone(), bucket, key.clone());
        Output { key, writer, digests: Digests::new(true, false, Some(ChecksumAlgorithm::Crc64Nvme)) }
    }

    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.digests.update(&bytes);
        self.writer.write(bytes).await
    }

    pub async fn commit(self, content_type: &str) -> Result<Written, ObjectError> {
        let Output { key, writer, digests } = self;
        let (size, values) = (writer.len(), digests.finish());
        let etag = ETag { md5: values.md5.unwrap_or_default(), parts: 0 };
        let checksum = values.checksum.map(|found| Checksum {
            algorithm: found.algorithm(),
            kind: ChecksumKind::FullObject,
            value: found.bytes().to_vec(),
            parts: 0,
        });
        let headers = Headers { content_type: Some(content_type.to_owned()), ..Headers::default() };
        let committed = writer.commit(Commit { headers, etag, checksum, ..Commit::default() }).await?;
        Ok(Written { key, size, md5: etag.md5, version_id: committed.version_id })
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
