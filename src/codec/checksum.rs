//! The checksums of S3: names, headers, streaming computation, and the checksums of multipart
//! objects.
//!
//! May use: nothing above the crates that compute. `Digests` computes only what was asked for,
//! because MD5 and SHA-256 are the ceiling of an upload. A value is kept as its raw bytes and is
//! base64 only on the wire; decoding checks the length that the algorithm has. A multipart object
//! has either a composite checksum (of the parts' checksums, with `-N`) or, for CRCs, the checksum
//! of the whole object, computed from the parts' checksums and lengths without reading a byte.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};
use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3;
use xxhash_rust::xxh64::Xxh64;

use crate::codec::md5::{BodyMd5, Md5Lanes};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumAlgorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
    Sha512,
    Md5,
    XxHash64,
    /// XXH3 of 64 bits.
    XxHash3,
    XxHash128,
}

/// `x-amz-checksum-type`: how the checksum of a multipart object comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumType {
    Composite,
    FullObject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    #[error("the value is not base64 of a checksum of this algorithm's length")]
    BadValue,
}

impl ChecksumAlgorithm {
    pub const ALL: [ChecksumAlgorithm; 10] = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
        ChecksumAlgorithm::Sha512,
        ChecksumAlgorithm::Md5,
        ChecksumAlgorithm::XxHash64,
        ChecksumAlgorithm::XxHash3,
        ChecksumAlgorithm::XxHash128,
    ];

    /// `CRC32`, as in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "CRC32",
            ChecksumAlgorithm::Crc32c => "CRC32C",
            ChecksumAlgorithm::Crc64Nvme => "CRC64NVME",
            ChecksumAlgorithm::Sha1 => "SHA1",
            ChecksumAlgorithm::Sha256 => "SHA256",
            ChecksumAlgorithm::Sha512 => "SHA512",
            ChecksumAlgorithm::Md5 => "MD5",
            ChecksumAlgorithm::XxHash64 => "XXHASH64",
            ChecksumAlgorithm::XxHash3 => "XXHASH3",
            ChecksumAlgorithm::XxHash128 => "XXHASH128",
        }
    }

    /// Accepts any case, as AWS does.
    pub fn parse(name: &str) -> Option<ChecksumAlgorithm> {
        ChecksumAlgorithm::ALL.into_iter().find(|a| a.name().eq_ignore_ascii_case(name))
    }

    /// `x-amz-checksum-crc32`, lower case.
    pub fn header(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
            ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
            ChecksumAlgorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
            ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
            ChecksumAlgorithm::Sha512 => "x-amz-checksum-sha512",
            ChecksumAlgorithm::Md5 => "x-amz-checksum-md5",
            ChecksumAlgorithm::XxHash64 => "x-amz-checksum-xxhash64",
            ChecksumAlgorithm::XxHash3 => "x-amz-checksum-xxhash3",
            ChecksumAlgorithm::XxHash128 => "x-amz-checksum-xxhash128",
        }
    }

    /// Accepts any case. `None` for other headers, `x-amz-checksum-algorithm` and `-mode` among them.
    pub fn from_header(header: &str) -> Option<ChecksumAlgorithm> {
        ChecksumAlgorithm::ALL.into_iter().find(|a| a.header().eq_ignore_ascii_case(header))
    }

    /// `ChecksumCRC32`, the element in XML bodies.
    pub fn element(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
            ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
            ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
            ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
            ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
            ChecksumAlgorithm::Sha512 => "ChecksumSHA512",
            ChecksumAlgorithm::Md5 => "ChecksumMD5",
            ChecksumAlgorithm::XxHash64 => "ChecksumXXHASH64",
            ChecksumAlgorithm::XxHash3 => "ChecksumXXHASH3",
            ChecksumAlgorithm::XxHash128 => "ChecksumXXHASH128",
        }
    }

    pub fn from_element(element: &str) -> Option<ChecksumAlgorithm> {
        ChecksumAlgorithm::ALL.into_iter().find(|a| a.element() == element)
    }

    /// Bytes of a value before base64.
    pub fn digest_bytes(self) -> usize {
        match self {
            ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => 4,
            ChecksumAlgorithm::Crc64Nvme | ChecksumAlgorithm::XxHash64 | ChecksumAlgorithm::XxHash3 => 8,
            ChecksumAlgorithm::Md5 | ChecksumAlgorithm::XxHash128 => 16,
            ChecksumAlgorithm::Sha1 => 20,
            ChecksumAlgorithm::Sha256 => 32,
            ChecksumAlgorithm::Sha512 => DIGEST_BYTES_MAX,
        }
    }

    /// What a multipart upload uses when the client names no type.
    pub fn default_type(self) -> ChecksumType {
        match self {
            ChecksumAlgorithm::Crc64Nvme => ChecksumType::FullObject,
            _ => ChecksumType::Composite,
        }
    }

    /// Which combinations AWS allows: only CRCs have a full-object form, CRC64NVME has no composite one.
    pub fn allows(self, kind: ChecksumType) -> bool {
        match kind {
            ChecksumType::Composite => self != ChecksumAlgorithm::Crc64Nvme,
            ChecksumType::FullObject => self.polynomial().is_some(),
        }
    }

    /// The reflected generator polynomial and its width in bits, for the CRCs.
    fn polynomial(self) -> Option<(u64, u32)> {
        match self {
            ChecksumAlgorithm::Crc32 => Some((0xEDB8_8320, 32)),
            ChecksumAlgorithm::Crc32c => Some((0x82F6_3B78, 32)),
            ChecksumAlgorithm::Crc64Nvme => Some((0x9A6C_9329_AC4B_C9B5, 64)),
            _ => None,
        }
    }
}

/// Of the longest checksum, SHA-512.
const DIGEST_BYTES_MAX: usize = 64;

impl ChecksumType {
    pub fn name(self) -> &'static str {
        match self {
            ChecksumType::Composite => "COMPOSITE",
            ChecksumType::FullObject => "FULL_OBJECT",
        }
    }

    /// Accepts any case, as AWS does.
    pub fn parse(name: &str) -> Option<ChecksumType> {
        let both = [ChecksumType::Composite, ChecksumType::FullObject];
        both.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// One checksum: the algorithm and exactly as many bytes as it has.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    bytes: SmallVec<[u8; 32]>,
}

impl Checksum {
    /// `Err` when the length is not the algorithm's.
    pub fn from_bytes(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Result<Checksum, ChecksumError> {
        if bytes.len() != algorithm.digest_bytes() {
            return Err(ChecksumError::BadValue);
        }
        Ok(Checksum { algorithm, bytes: SmallVec::from_slice(bytes) })
    }

    /// Reads the value of a header, trailer or XML element.
    pub fn from_base64(algorithm: ChecksumAlgorithm, text: &str) -> Result<Checksum, ChecksumError> {
        let mut bytes = [0; DIGEST_BYTES_MAX + 2];
        let filled = decode_base64(text, &mut bytes)?;
        Checksum::from_bytes(algorithm, filled)
    }

    /// The checksum of bytes at hand.
    pub fn of(algorithm: ChecksumAlgorithm, data: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// CRCs and the values of xxHash are big-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.to_base64())
    }
}

/// Reads `Content-MD5`.
pub fn parse_md5_base64(text: &str) -> Result<[u8; 16], ChecksumError> {
    let mut bytes = [0; DIGEST_BYTES_MAX + 2];
    decode_base64(text, &mut bytes)?.try_into().map_err(|_| ChecksumError::BadValue)
}

fn decode_base64<'b>(
    text: &str,
    room: &'b mut [u8; DIGEST_BYTES_MAX + 2],
) -> Result<&'b [u8], ChecksumError> {
    let length = STANDARD.decode_slice(text, room).map_err(|_| ChecksumError::BadValue)?;
    room.get(..length).ok_or(ChecksumError::BadValue)
}

/// One running checksum.
#[derive(Clone)]
pub struct Hasher {
    algorithm: ChecksumAlgorithm,
    state: State,
}

#[derive(Clone)]
enum State {
    Crc(crc_fast::Digest),
    Sha(digest::Context),
    Md5(Md5),
    XxHash64(Xxh64),
    /// Boxed, because its state is many times that of the others.
    XxHash3(Box<Xxh3>),
}

impl Hasher {
    pub fn new(algorithm: ChecksumAlgorithm) -> Hasher {
        let crc = |kind| State::Crc(crc_fast::Digest::new(kind));
        let state = match algorithm {
            ChecksumAlgorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Sha1 => State::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            ChecksumAlgorithm::Sha256 => State::Sha(digest::Context::new(&digest::SHA256)),
            ChecksumAlgorithm::Sha512 => State::Sha(digest::Context::new(&digest::SHA512)),
            ChecksumAlgorithm::Md5 => State::Md5(Md5::new()),
            ChecksumAlgorithm::XxHash64 => State::XxHash64(Xxh64::new(0)),
            ChecksumAlgorithm::XxHash3 | ChecksumAlgorithm::XxHash128 => {
                State::XxHash3(Box::new(Xxh3::new()))
            }
        };
        Hasher { algorithm, state }
    }

    pub fn update(&mut self, data: &[u8]) {
        match &mut self.state {
            State::Crc(crc) => crc.update(data),
            State::Sha(sha) => sha.update(data),
            State::Md5(md5) => md5.update(data),
            State::XxHash64(hash) => hash.update(data),
            State::XxHash3(hash) => hash.update(data),
        }
    }

    pub fn finish(self) -> Checksum {
        let algorithm = self.algorithm;
        let value = |bytes: &[u8]| Checksum { algorithm, bytes: SmallVec::from_slice(bytes) };
        match self.state {
            State::Crc(crc) => crc_value(algorithm, crc.finalize()),
            State::Sha(sha) => value(sha.finish().as_ref()),
            State::Md5(md5) => value(&md5.finalize()),
            State::XxHash64(hash) => value(&hash.digest().to_be_bytes()),
            State::XxHash3(hash) if algorithm == ChecksumAlgorithm::XxHash3 => {
                value(&hash.digest().to_be_bytes())
            }
            State::XxHash3(hash) => value(&hash.digest128().to_be_bytes()),
        }
    }
}

/// The running digests of one body: any of MD5, SHA-256 and one S3 checksum.
pub struct Digests {
    length: u64,
    md5: Option<BodyMd5>,
    sha256_wanted: bool,
    /// `None` also when `checksum` is a SHA-256 already.
    sha256: Option<digest::Context>,
    checksum: Option<Hasher>,
}

/// What `Digests` computed; each is there exactly when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestValues {
    /// Bytes seen.
    pub length: u64,
    pub md5: Option<[u8; 16]>,
    pub sha256: Option<[u8; 32]>,
    pub checksum: Option<Checksum>,
}

impl Digests {
    /// The MD5 in these lanes. A SHA-256 asked for twice, by the payload and as the checksum, is computed once.
    pub fn new(md5: Option<&Md5Lanes>, sha256: bool, checksum: Option<ChecksumAlgorithm>) -> Digests {
        let shared = checksum == Some(ChecksumAlgorithm::Sha256);
        Digests {
            length: 0,
            md5: md5.map(BodyMd5::new),
            sha256_wanted: sha256,
            sha256: (sha256 && !shared).then(|| digest::Context::new(&digest::SHA256)),
            checksum: checksum.map(Hasher::new),
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        self.length += data.len() as u64;
        if let Some(md5) = &mut self.md5 {
            md5.update(data);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(data);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(data);
        }
    }

    /// See `BodyMd5::would_hash_alone`.
    pub fn would_hash_alone(&self, next: Option<usize>) -> bool {
        self.md5.as_ref().is_some_and(|md5| md5.would_hash_alone(next))
    }

    /// See `BodyMd5::catch_up`.
    pub fn catch_up(&mut self) -> bool {
        self.md5.as_mut().is_some_and(BodyMd5::catch_up)
    }

    pub fn finish(self) -> DigestValues {
        let checksum = self.checksum.map(Hasher::finish);
        let own = self.sha256.map(|sha256| sha256.finish().as_ref().try_into().expect("SHA-256 is 32 bytes"));
        let shared = || {
            let value = checksum.as_ref().filter(|value| value.algorithm == ChecksumAlgorithm::Sha256)?;
            value.bytes().try_into().ok()
        };
        DigestValues {
            length: self.length,
            md5: self.md5.map(BodyMd5::finish),
            sha256: if self.sha256_wanted { own.or_else(shared) } else { None },
            checksum,
        }
    }
}

/// The composite checksum of a multipart object: the checksum of its parts' checksums, in order of
/// part number.
pub struct Composite {
    hasher: Hasher,
    parts: u32,
}

impl Composite {
    pub fn new(algorithm: ChecksumAlgorithm) -> Composite {
        Composite { hasher: Hasher::new(algorithm), parts: 0 }
    }

    /// Appends the next part's checksum, which is of the same algorithm.
    pub fn push(&mut self, part: &Checksum) {
        assert_eq!(part.algorithm, self.hasher.algorithm, "a multipart upload has one algorithm");
        self.hasher.update(part.bytes());
        self.parts += 1;
    }

    /// The value and the number of parts; on the wire `composite_text` joins them.
    pub fn finish(self) -> (Checksum, u32) {
        (self.hasher.finish(), self.parts)
    }
}

/// `base64-N`, the wire form of a composite checksum.
pub fn composite_text(base64: &str, parts: u32) -> String {
    format!("{base64}-{parts}")
}

/// The full-object CRC of a multipart object, from the CRCs and lengths of its parts in order.
pub struct Combined {
    algorithm: ChecksumAlgorithm,
    field: Field,
    crc: u64,
    /// Parts mostly have one length, so the last shift is kept.
    shift: (u64, u64),
}

impl Combined {
    /// `None` for algorithms that have no full-object form.
    pub fn new(algorithm: ChecksumAlgorithm) -> Option<Combined> {
        let (polynomial, width) = algorithm.polynomial()?;
        let field = Field { polynomial, one: 1 << (width - 1) };
        Some(Combined { algorithm, field, crc: 0, shift: (0, field.one) })
    }

    /// Appends the next part: its checksum and its length in bytes.
    ///
    /// Initial value and final complement of these CRCs are the same, so they cancel: the CRC of
    /// two pieces is the first one's, moved past the length of the second, plus the second one's.
    pub fn push(&mut self, part: &Checksum, length: u64) {
        assert_eq!(part.algorithm, self.algorithm, "a multipart upload has one algorithm");
        if self.shift.0 != length {
            self.shift = (length, self.field.shift_bytes(length));
        }
        self.crc = self.field.multiply(self.crc, self.shift.1) ^ crc_number(part);
    }

    /// The checksum of the empty string when nothing was pushed.
    pub fn finish(self) -> Checksum {
        crc_value(self.algorithm, self.crc)
    }
}

/// What stands in the ETag of a multipart object in front of the number of its parts: the MD5 of their MD5s.
pub fn multipart_md5<'p>(part_md5s: impl IntoIterator<Item = &'p [u8; 16]>) -> [u8; 16] {
    let mut md5 = Md5::new();
    part_md5s.into_iter().for_each(|part| md5.update(part));
    md5.finalize().into()
}

fn crc_value(algorithm: ChecksumAlgorithm, crc: u64) -> Checksum {
    let bytes = crc.to_be_bytes();
    let (_, value) = bytes.split_at(bytes.len() - algorithm.digest_bytes());
    Checksum { algorithm, bytes: SmallVec::from_slice(value) }
}

fn crc_number(value: &Checksum) -> u64 {
    value.bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Polynomials over GF(2) modulo a generator, in reflected order: the highest bit of the width is
/// the coefficient of x^0.
#[derive(Clone, Copy)]
struct Field {
    polynomial: u64,
    one: u64,
}

impl Field {
    fn multiply(self, a: u64, mut b: u64) -> u64 {
        let mut product = 0;
        let mut term = self.one;
        while term != 0 {
            if a & term != 0 {
                product ^= b;
            }
            b = if b & 1 == 1 { b >> 1 ^ self.polynomial } else { b >> 1 };
            term >>= 1;
        }
        product
    }

    /// x^(8 * bytes), by squaring.
    fn shift_bytes(self, mut bytes: u64) -> u64 {
        let mut power = self.one >> 8;
        let mut result = self.one;
        while bytes != 0 {
            if bytes & 1 == 1 {
                result = self.multiply(result, power);
            }
            power = self.multiply(power, power);
            bytes >>= 1;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The check values of the CRC catalogue and of RFC 1321 and FIPS 180, for "123456789".
    #[test]
    fn known_values() {
        let nine = b"123456789";
        let hex_of = |algorithm| hex::encode(Checksum::of(algorithm, nine).bytes());
        assert_eq!(hex_of(ChecksumAlgorithm::Crc32), "cbf43926");
        assert_eq!(hex_of(ChecksumAlgorithm::Crc32c), "e3069283");
        assert_eq!(hex_of(ChecksumAlgorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(hex_of(ChecksumAlgorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert_eq!(
            hex_of(ChecksumAlgorithm::Sha256),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
        assert!(
            hex_of(ChecksumAlgorithm::Sha512).starts_with("d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c2")
        );
        assert_eq!(hex_of(ChecksumAlgorithm::Md5), "25f9e794323b453885f5181f1b624d0b");
        let empty = |algorithm| hex::encode(Checksum::of(algorithm, b"").bytes());
        assert_eq!(empty(ChecksumAlgorithm::XxHash64), "ef46db3751d8e999");
        assert_eq!(empty(ChecksumAlgorithm::XxHash3), "2d06800538d394c2");
        assert_eq!(empty(ChecksumAlgorithm::XxHash128), "99aa06d3014798d86001c324468d497f");
        let mut digests = Digests::new(Some(&Md5Lanes::default()), true, None);
        digests.update(nine);
        let values = digests.finish();
        assert_eq!(hex::encode(values.md5.unwrap()), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(
            hex::encode(values.sha256.unwrap()),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
        assert_eq!((values.length, values.checksum), (9, None));
        assert_eq!(Checksum::of(ChecksumAlgorithm::Crc32, nine).to_base64(), "y/Q5Jg==");
    }

    #[test]
    fn names_round_trip() {
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(ChecksumAlgorithm::parse(algorithm.name()), Some(algorithm));
            assert_eq!(ChecksumAlgorithm::parse(&algorithm.name().to_lowercase()), Some(algorithm));
            assert_eq!(ChecksumAlgorithm::from_header(algorithm.header()), Some(algorithm));
            assert_eq!(ChecksumAlgorithm::from_element(algorithm.element()), Some(algorithm));
            assert!(algorithm.allows(algorithm.default_type()));
            assert_eq!(Combined::new(algorithm).is_some(), algorithm.allows(ChecksumType::FullObject));
        }
        assert_eq!(ChecksumAlgorithm::from_header("x-amz-checksum-algorithm"), None);
        assert_eq!(ChecksumType::parse("FULL_OBJECT"), Some(ChecksumType::FullObject));
        assert_eq!(ChecksumType::parse(""), None);
    }

    #[test]
    fn a_value_of_another_length_is_refused() {
        let bad = Err(ChecksumError::BadValue);
        assert_eq!(Checksum::from_base64(ChecksumAlgorithm::Crc32, "AAAAAAAAAAA="), bad);
        assert_eq!(Checksum::from_base64(ChecksumAlgorithm::Crc32, "y/Q5Jg"), bad);
        assert_eq!(Checksum::from_base64(ChecksumAlgorithm::Crc32, "not base64"), bad);
        assert_eq!(Checksum::from_base64(ChecksumAlgorithm::Sha256, &"A".repeat(4000)), bad);
        assert!(Checksum::from_base64(ChecksumAlgorithm::Crc32, "y/Q5Jg==").is_ok());
        assert!(parse_md5_base64("JfnnlDI7RTiF9RgfG2JNCw==").is_ok());
        assert!(parse_md5_base64("JfnnlDI7RTiF9RgfG2JN").is_err());
    }

    #[test]
    fn a_shared_sha256_is_computed_once_and_given_twice() {
        let mut digests = Digests::new(None, true, Some(ChecksumAlgorithm::Sha256));
        assert!(digests.sha256.is_none());
        digests.update(b"abc");
        let values = digests.finish();
        assert_eq!(values.sha256.unwrap().as_slice(), values.checksum.unwrap().bytes());
        assert_eq!(Digests::new(None, false, Some(ChecksumAlgorithm::Sha256)).finish().sha256, None);
    }

    #[test]
    fn composites_hash_the_parts_digests() {
        let parts = [b"first".as_slice(), b"second"];
        let md5s = parts.map(|part| -> [u8; 16] { Md5::digest(part).into() });
        let want: [u8; 16] = Md5::digest(md5s.concat()).into();
        assert_eq!(multipart_md5(&md5s), want);
        let mut composite = Composite::new(ChecksumAlgorithm::Sha1);
        let values = parts.map(|part| Checksum::of(ChecksumAlgorithm::Sha1, part));
        values.iter().for_each(|value| composite.push(value));
        let (value, count) = composite.finish();
        let joined = values.map(|value| value.bytes().to_vec()).concat();
        assert_eq!((&value, count), (&Checksum::of(ChecksumAlgorithm::Sha1, &joined), 2));
        assert!(composite_text(&value.to_base64(), count).ends_with("=-2"));
    }

    proptest! {
        #[test]
        fn combined_crcs_equal_the_crc_of_the_whole(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..6)
        ) {
            for algorithm in ChecksumAlgorithm::ALL {
                let Some(mut combined) = Combined::new(algorithm) else { continue };
                for part in &parts {
                    combined.push(&Checksum::of(algorithm, part), part.len() as u64);
                }
                prop_assert_eq!(combined.finish(), Checksum::of(algorithm, &parts.concat()));
            }
        }

        /// The library's own combination is the oracle for lengths too long to compute directly.
        #[test]
        fn combination_agrees_with_the_library(a: u32, b: u32, length: u64) {
            let value = |n: u32| Checksum::from_bytes(ChecksumAlgorithm::Crc32c, &n.to_be_bytes()).unwrap();
            let mut combined = Combined::new(ChecksumAlgorithm::Crc32c).unwrap();
            combined.push(&value(a), 1);
            combined.push(&value(b), length >> 4);
            let want = crc_fast::checksum_combine(CrcAlgorithm::Crc32Iscsi, a.into(), b.into(), length >> 4);
            prop_assert_eq!(crc_number(&combined.finish()), want);
        }

        #[test]
        fn pieces_hash_like_the_whole(data: Vec<u8>, cut: proptest::sample::Index) {
            let (left, right) = data.split_at(cut.index(data.len() + 1));
            for algorithm in ChecksumAlgorithm::ALL {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(left);
                hasher.update(right);
                let value = hasher.finish();
                prop_assert_eq!(&value, &Checksum::of(algorithm, &data));
                prop_assert_eq!(&Checksum::from_base64(algorithm, &value.to_base64()).unwrap(), &value);
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            for algorithm in ChecksumAlgorithm::ALL {
                let _ = (Checksum::from_base64(algorithm, &text), parse_md5_base64(&text));
            }
        }
    }
}
