//! An object that this server itself makes: bytes in, a durable object with ETag and checksum out.
//!
//! A `Writer` with the digests that every object has; access logs and inventories are written through it. Nothing is
//! there before `commit`, and one that is dropped leaves nothing behind. Hashing takes time, so whoever writes gives
//! pieces of a bounded size, on a background core.

use bytes::Bytes;

use crate::codec::checksum::{ChecksumAlgorithm, Digests};
use crate::codec::md5::Md5Lanes;
use crate::object::meta::{Attached, Checksum, ETag, Headers};
use crate::object::store::{Commit, Committed, Result, Writer};

pub struct Deposit {
    writer: Writer,
    digests: Digests,
}

impl Deposit {
    pub fn new(writer: Writer) -> Deposit {
        // Alone: nobody else's bytes are to be hashed on the time of a background core.
        let digests = Digests::new(Some(&Md5Lanes::default()), false, Some(ChecksumAlgorithm::Crc64Nvme));
        Deposit { writer, digests }
    }

    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.digests.update(&bytes);
        self.writer.write(bytes).await
    }

    pub async fn commit(self, headers: Headers, attached: Attached) -> Result<Committed> {
        let values = self.digests.finish();
        let etag = ETag { md5: values.md5.unwrap_or_default(), parts: 0 };
        let checksum = values.checksum.map(Checksum::of_whole);
        self.writer.commit(Commit { headers, etag, checksum, attached, ..Commit::default() }).await
    }
}
