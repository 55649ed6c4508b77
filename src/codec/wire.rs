//! Little-endian fields in a row: the reader and writer under every persisted structure.
//!
//! The reader takes bytes from a drive, which are hostile: each step checks the bounds and answers
//! `None` past the end, so that a decoder built from it cannot panic. `seal` and `open` wrap a
//! structure of a fixed size with the magic, version and CRC32C that all of them share.

/// Appends fields to a growing buffer.
#[derive(Default)]
pub struct Put(pub Vec<u8>);

impl Put {
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }
    pub fn u128(&mut self, value: u128) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
    /// LEB128.
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }
    /// A varint; the sign is its lowest bit.
    pub fn signed(&mut self, value: i64) -> &mut Self {
        self.varint((value << 1 ^ value >> 63) as u64)
    }
    /// A varint length and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.varint(bytes.len() as u64).raw(bytes)
    }
}

/// Takes fields from the front of a slice.
#[derive(Clone, Copy)]
pub struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    pub fn raw(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.raw(N)?.try_into().ok()
    }
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    pub fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        self.raw(len)
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Bytes `seal` puts before a body: magic u32, version u32, body length u32, CRC32C u32 over the
/// magic, version, length and body.
pub const SEAL_BYTES: usize = 16;

/// Why `open` refuses bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Not this structure at all: never written, or something else stands here.
    Magic,
    /// Made by a newer Basalt; the version found.
    Newer(u32),
    /// Torn or flipped.
    Damaged,
}

/// Wraps `body`; the result is `SEAL_BYTES` longer.
pub fn seal(magic: u32, version: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Put(Vec::with_capacity(SEAL_BYTES + body.len()));
    out.u32(magic).u32(version).u32(body.len() as u32);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out.0), body);
    out.u32(crc).raw(body);
    out.0
}

/// As `seal`, for a structure built in place whose first `SEAL_BYTES` are still empty.
pub fn seal_in_place(whole: &mut [u8], magic: u32, version: u32) {
    let (head, body) = whole.split_at_mut(SEAL_BYTES);
    head[..4].copy_from_slice(&magic.to_le_bytes());
    head[4..8].copy_from_slice(&version.to_le_bytes());
    head[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..12]), body);
    head[12..].copy_from_slice(&crc.to_le_bytes());
}

/// The body inside a sealed structure that may be followed by padding, with its version, which
/// is at most `version_max`.
pub fn open(bytes: &[u8], magic: u32, version_max: u32) -> Result<(u32, &[u8]), Broken> {
    let mut take = Take(bytes);
    let (Some(found), Some(version)) = (take.u32(), take.u32()) else { return Err(Broken::Magic) };
    if found != magic {
        return Err(Broken::Magic);
    }
    let (Some(len), Some(crc)) = (take.u32(), take.u32()) else { return Err(Broken::Damaged) };
    let body = take.raw(len as usize).ok_or(Broken::Damaged)?;
    let head = bytes.get(..12).ok_or(Broken::Damaged)?;
    if crc32c::crc32c_append(crc32c::crc32c(head), body) != crc {
        return Err(Broken::Damaged);
    }
    if version > version_max {
        return Err(Broken::Newer(version));
    }
    Ok((version, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_come_back(a: u64, b: Vec<u8>, c: u16) {
            let mut put = Put::default();
            put.varint(a).bytes(&b).u16(c);
            let mut take = Take(&put.0);
            prop_assert_eq!(take.varint(), Some(a));
            prop_assert_eq!(take.bytes(), Some(&b[..]));
            prop_assert_eq!(take.u16(), Some(c));
            prop_assert!(take.is_empty());
        }

        #[test]
        fn any_bytes_are_taken_without_panic(bytes: Vec<u8>) {
            let mut take = Take(&bytes);
            while take.varint().is_some() && take.bytes().is_some() {}
            let _ = open(&bytes, 7, 1);
        }

        #[test]
        fn a_flipped_bit_is_refused(body: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let mut sealed = seal(7, 1, &body);
            prop_assert_eq!(open(&sealed, 7, 1), Ok((1, &body[..])));
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&sealed, 7, 1).is_err());
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        assert_eq!(open(&seal(7, 3, b"x"), 7, 2), Err(Broken::Newer(3)));
    }
}
