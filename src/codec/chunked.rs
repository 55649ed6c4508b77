//! The aws-chunked body: what clients send under `Content-Encoding: aws-chunked`, decoded while it
//! arrives.
//!
//! May use: `codec::sigv4`, `base::limits`, aws-lc-rs. The decoder takes from the front of the
//! bytes that came, gives slices of them without copying, and keeps no more than one line. A
//! chunk's data is given before its signature is checked, so that chunks of any size stream; the
//! caller must commit nothing before `finish` has said that the whole body is right: every
//! signature holds, the decoded length is the announced one, nothing follows the end. How the
//! input is split never matters. After an error every call fails.
//!
//! Document: "Transferring Payload in Multiple Chunks", with and without trailers, S3 API Reference.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use bytes::{Buf, Bytes};

use super::sigv4::{ChunkSeed, EMPTY_SHA256};
use crate::base::limits::{CHUNK_BYTES_MIN, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("the aws-chunked body is malformed: {0}")]
    Malformed(&'static str),
    /// The chunks announce more than `x-amz-decoded-content-length`.
    #[error("the chunks hold more than the {declared} bytes announced")]
    TooLong { declared: u64 },
    /// `chunk` counts from 1, and another followed.
    #[error("Only the last chunk is allowed to have a size less than 8192 bytes")]
    TooSmall { chunk: u64, size: u64 },
    /// The body ended before its end.
    #[error("You did not provide the number of bytes specified by the Content-Length HTTP header.")]
    Incomplete { declared: u64, received: u64 },
    #[error("The request contained trailing data that was not well-formed: {0}")]
    MalformedTrailer(&'static str),
    /// Of a chunk or of the trailer.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key \
         and signing method."
    )]
    SignatureMismatch,
}

impl ChunkError {
    /// The S3 error code, by which tests name an error. What clients are told stands in `s3::error` alone.
    #[cfg(test)]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            ChunkError::Malformed(_) | ChunkError::TooLong { .. } | ChunkError::Incomplete { .. } => {
                "IncompleteBody"
            }
            ChunkError::TooSmall { .. } => "InvalidChunkSizeError",
            ChunkError::MalformedTrailer(_) => "MalformedTrailerError",
            ChunkError::SignatureMismatch => "SignatureDoesNotMatch",
        }
    }
}

/// The headers that came after the data: lower-case names and trimmed values, in order, without
/// the trailer's signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trailers(Vec<(String, String)>);

impl Trailers {
    /// The value of a lower-case name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(have, _)| *have == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

pub struct ChunkDecoder {
    state: State,
    /// There when chunks are signed.
    chain: Option<Chain>,
    trailer_expected: bool,
    declared: u64,
    received: u64,
    /// How many came with data, and the size of the last of them.
    chunks: u64,
    chunk_bytes: u64,
    /// The unfinished line at the end of the last input.
    line: Vec<u8>,
    trailer_bytes: usize,
    /// Empty lines behind the last chunk.
    trailer_gaps: u8,
    trailer_signature: Option<Claimed>,
    trailers: Trailers,
}

enum State {
    Header,
    Data { left: u64 },
    DataEnd,
    Trailer,
    Done,
    Failed(ChunkError),
}

impl ChunkDecoder {
    /// `seed` is there for signed streams, `declared` is `x-amz-decoded-content-length`.
    pub fn new(seed: Option<ChunkSeed>, trailer: bool, declared: u64) -> ChunkDecoder {
        ChunkDecoder {
            state: State::Header,
            chain: seed.map(Chain::new),
            trailer_expected: trailer,
            declared,
            received: 0,
            chunks: 0,
            chunk_bytes: 0,
            line: Vec::new(),
            trailer_bytes: 0,
            trailer_gaps: 0,
            trailer_signature: None,
            trailers: Trailers::default(),
        }
    }

    /// Takes from the front of `input` up to and including the next piece of data, and gives that
    /// piece, never empty. `None`: the input is used up.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkError> {
        let result = self.advance(input);
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        result
    }

    /// Tells that the body has ended, and gives the trailers when everything about it was right.
    /// The last empty line may be missing, because some clients leave it out, or stand twice.
    pub fn finish(mut self) -> Result<Trailers, ChunkError> {
        match self.state {
            State::Done => {}
            State::Trailer if self.line.is_empty() => self.end_of_trailer()?,
            State::Trailer if self.trailer_gaps > 0 => return Err(FOLLOWED),
            State::Failed(error) => return Err(error),
            _ => return Err(self.incomplete()),
        }
        Ok(self.trailers)
    }

    /// Decoded bytes so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    fn advance(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkError> {
        while !input.is_empty() {
            match self.state {
                State::Data { left } => return Ok(Some(self.take_data(input, left))),
                State::Done => return Err(FOLLOWED),
                State::Failed(error) => return Err(error),
                State::Header | State::DataEnd | State::Trailer => {
                    let Some(line) = self.take_line(input)? else { return Ok(None) };
                    self.on_line(&line)?;
                }
            }
        }
        Ok(None)
    }

    fn take_data(&mut self, input: &mut Bytes, left: u64) -> Bytes {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let data = input.split_to(length);
        if let Some(chain) = &mut self.chain {
            chain.hash.update(&data);
        }
        self.received += length as u64;
        let left = left - length as u64;
        self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
        data
    }

    /// A line with its end, once it is whole.
    fn take_line(&mut self, input: &mut Bytes) -> Result<Option<Vec<u8>>, ChunkError> {
        let (limit, error) = match self.state {
            State::Trailer => (
                TRAILER_BYTES_MAX.saturating_sub(self.trailer_bytes),
                ChunkError::MalformedTrailer("it is too long"),
            ),
            State::DataEnd => (2, ChunkError::Malformed("a chunk is longer than its size")),
            _ => (CHUNK_LINE_BYTES_MAX, ChunkError::Malformed("a chunk's first line is too long")),
        };
        let end = input.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(input.len(), |at| at + 1);
        if self.line.len() + length > limit {
            return Err(error);
        }
        self.line.extend(input.iter().take(length));
        input.advance(length);
        Ok(end.map(|_| std::mem::take(&mut self.line)))
    }

    fn on_line(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        match self.state {
            State::DataEnd => self.end_of_data(line),
            State::Trailer => self.trailer_line(line),
            _ => self.header_line(line),
        }
    }

    fn header_line(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        let text = std::str::from_utf8(line).ok().and_then(|text| text.strip_suffix("\r\n"));
        let text = text.ok_or(ChunkError::Malformed("a chunk's first line does not end in CR LF"))?;
        let size_text = match &mut self.chain {
            None => text,
            Some(chain) => {
                let (size, extension) =
                    text.split_once(';').ok_or(ChunkError::Malformed("a chunk has no signature"))?;
                chain.claimed = Claimed::read(extension.strip_prefix("chunk-signature="))?;
                size
            }
        };
        let size = parse_size(size_text)?;
        if size > self.declared - self.received {
            return Err(ChunkError::TooLong { declared: self.declared });
        }
        if size > 0 {
            return self.begin_data(size);
        }
        self.check_chunk()?;
        if self.received < self.declared {
            return Err(self.incomplete());
        }
        self.state = State::Trailer;
        Ok(())
    }

    /// A chunk with data. The one before it was not the last then, so it may not have been a small one.
    fn begin_data(&mut self, size: u64) -> Result<(), ChunkError> {
        if self.chunks > 0 && self.chunk_bytes < CHUNK_BYTES_MIN {
            return Err(ChunkError::TooSmall { chunk: self.chunks, size: self.chunk_bytes });
        }
        self.chunks += 1;
        self.chunk_bytes = size;
        self.state = State::Data { left: size };
        Ok(())
    }

    fn end_of_data(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        if line != b"\r\n" {
            return Err(ChunkError::Malformed("a chunk is longer than its size"));
        }
        self.state = State::Header;
        self.check_chunk()
    }

    fn check_chunk(&mut self) -> Result<(), ChunkError> {
        self.chain.as_mut().map_or(Ok(()), Chain::check_chunk)
    }

    /// One trailer, or an empty line. Lines may end in LF alone, as in the documented example; some
    /// clients send that LF and a CR LF as well, so that an empty line stands in front of the
    /// signature, or two at the end. Which line was the last is therefore known at `finish` only.
    fn trailer_line(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        self.trailer_bytes += line.len();
        let text = std::str::from_utf8(line).map_err(|_| ChunkError::MalformedTrailer("it is not text"))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return self.trailer_gap();
        }
        if self.trailer_gaps > 0
            && (self.chain.is_none() || !text.to_ascii_lowercase().starts_with(TRAILER_SIGNATURE))
        {
            return Err(FOLLOWED);
        }
        let (name, value) =
            text.split_once(':').ok_or(ChunkError::MalformedTrailer("a line has no colon"))?;
        self.add_trailer(name, value.trim())
    }

    fn trailer_gap(&mut self) -> Result<(), ChunkError> {
        self.trailer_gaps += 1;
        if !self.trailer_expected || self.trailer_gaps == TRAILER_GAPS_MAX {
            self.end_of_trailer()?;
            self.state = State::Done;
        }
        Ok(())
    }

    fn add_trailer(&mut self, name: &str, value: &str) -> Result<(), ChunkError> {
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !named || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(ChunkError::MalformedTrailer("a name or value has bytes it may not have"));
        }
        if !self.trailer_expected || self.trailer_signature.is_some() {
            return Err(ChunkError::MalformedTrailer("a line stands where none is expected"));
        }
        let name = name.to_ascii_lowercase();
        if name == TRAILER_SIGNATURE && self.chain.is_some() {
            self.trailer_signature = Some(Claimed::read(Some(value))?);
            return Ok(());
        }
        if self.trailers.get(&name).is_some() {
            return Err(ChunkError::MalformedTrailer("a name stands twice"));
        }
        self.trailers.0.push((name, value.to_string()));
        Ok(())
    }

    fn end_of_trailer(&mut self) -> Result<(), ChunkError> {
        let (Some(chain), true) = (&mut self.chain, self.trailer_expected) else { return Ok(()) };
        let claimed = self.trailer_signature.take().ok_or(ChunkError::SignatureMismatch)?;
        claimed.check(&chain.sign_trailer(&self.trailers))
    }

    fn incomplete(&self) -> ChunkError {
        ChunkError::Incomplete { declared: self.declared, received: self.received }
    }
}

const FOLLOWED: ChunkError = ChunkError::Malformed("bytes follow its end");

const TRAILER_GAPS_MAX: u8 = 2;

const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// Hexadecimal, with nothing around it; 16 digits hold every length.
fn parse_size(text: &str) -> Result<u64, ChunkError> {
    let digits = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let size = if digits { u64::from_str_radix(text, 16).ok() } else { None };
    size.ok_or(ChunkError::Malformed("a chunk's size is not a hexadecimal number"))
}

/// A signature as the client wrote it.
struct Claimed([u8; 64]);

impl Claimed {
    fn read(text: Option<&str>) -> Result<Claimed, ChunkError> {
        let digits = text.and_then(|text| text.as_bytes().try_into().ok());
        digits.map(Claimed).ok_or(ChunkError::Malformed("a signature is not 64 digits"))
    }

    fn check(&self, computed: &[u8; 32]) -> Result<(), ChunkError> {
        let digits = hex_digits(computed);
        verify_slices_are_equal(&self.0, &digits).map_err(|_| ChunkError::SignatureMismatch)
    }
}

/// Each signature covers the one before it; the first covers the request's.
struct Chain {
    seed: ChunkSeed,
    hash: digest::Context,
    claimed: Claimed,
}

impl Chain {
    fn new(seed: ChunkSeed) -> Chain {
        Chain { seed, hash: digest::Context::new(&digest::SHA256), claimed: Claimed([0; 64]) }
    }

    fn check_chunk(&mut self) -> Result<(), ChunkError> {
        let fresh = digest::Context::new(&digest::SHA256);
        let hash = std::mem::replace(&mut self.hash, fresh).finish();
        let computed = self.sign_chunk(hash.as_ref());
        self.claimed.check(&computed)
    }

    fn sign_chunk(&mut self, hash: &[u8]) -> [u8; 32] {
        self.sign("AWS4-HMAC-SHA256-PAYLOAD", &[EMPTY_SHA256.as_bytes(), b"\n"], hash)
    }

    fn sign_trailer(&mut self, trailers: &Trailers) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        for (name, value) in trailers.iter() {
            [name, ":", value, "\n"].iter().for_each(|piece| hash.update(piece.as_bytes()));
        }
        self.sign("AWS4-HMAC-SHA256-TRAILER", &[], hash.finish().as_ref())
    }

    fn sign(&mut self, kind: &str, between: &[&[u8]], hash: &[u8]) -> [u8; 32] {
        let mut text = Vec::with_capacity(384);
        for piece in [kind.as_bytes(), &self.seed.timestamp, self.seed.scope.as_bytes()] {
            text.extend_from_slice(piece);
            text.push(b'\n');
        }
        text.extend_from_slice(&hex_digits(&self.seed.signature));
        text.push(b'\n');
        between.iter().for_each(|piece| text.extend_from_slice(piece));
        text.extend_from_slice(hex::encode(hash).as_bytes());
        self.seed.signature = self.seed.key.sign(&text);
        self.seed.signature
    }
}

fn hex_digits(bytes: &[u8; 32]) -> [u8; 64] {
    let mut digits = [0; 64];
    hex::encode_to_slice(bytes, &mut digits).expect("64 digits for 32 bytes");
    digits
}

/// The client's half: a whole aws-chunked body with chunks of `chunk_bytes`, signed when there is a
/// seed, with a trailer section when `trailers` is there.
pub fn encode(
    data: &[u8],
    chunk_bytes: usize,
    seed: Option<ChunkSeed>,
    trailers: Option<&[(&str, &str)]>,
) -> Vec<u8> {
    assert!(chunk_bytes > 0, "a chunk of no bytes ends the body");
    let mut chain = seed.map(Chain::new);
    let mut out = Vec::with_capacity(data.len() + 1024);
    for chunk in data.chunks(chunk_bytes).chain([&[][..]]) {
        out.extend_from_slice(format!("{:x}", chunk.len()).as_bytes());
        if let Some(chain) = &mut chain {
            let signature = chain.sign_chunk(digest::digest(&digest::SHA256, chunk).as_ref());
            out.extend_from_slice(b";chunk-signature=");
            out.extend_from_slice(&hex_digits(&signature));
        }
        out.extend_from_slice(b"\r\n");
        if !chunk.is_empty() {
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
    }
    if let Some(trailers) = trailers {
        encode_trailer(&mut out, chain.as_mut(), trailers);
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn encode_trailer(out: &mut Vec<u8>, chain: Option<&mut Chain>, trailers: &[(&str, &str)]) {
    let owned = trailers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let trailers = Trailers(owned);
    for (name, value) in trailers.iter() {
        out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
    }
    if let Some(chain) = chain {
        let signature = hex::encode(chain.sign_trailer(&trailers));
        out.extend_from_slice(format!("{TRAILER_SIGNATURE}:{signature}\r\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::checksum::{Checksum, ChecksumAlgorithm};
    use crate::codec::sigv4::SigningKey;
    use proptest::prelude::*;

    /// The documented upload: 65 KiB of `a`, in chunks of 64 KiB and 1 KiB.
    const DOC_BYTES: usize = 66_560;

    fn doc_seed(signature: &str) -> ChunkSeed {
        ChunkSeed {
            key: SigningKey::derive(
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "20130524",
                "us-east-1",
                "s3",
            ),
            signature: hex::decode(signature).unwrap().try_into().unwrap(),
            timestamp: *b"20130524T000000Z",
            scope: "20130524/us-east-1/s3/aws4_request".into(),
        }
    }

    fn seed() -> ChunkSeed {
        doc_seed("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
    }

    fn chunk(signature: &str, bytes: usize) -> Vec<u8> {
        let end = if bytes == 0 { "" } else { "\r\n" };
        format!("{bytes:x};chunk-signature={signature}\r\n{}{end}", "a".repeat(bytes)).into_bytes()
    }

    /// Decodes a body cut at `cuts`.
    fn decode_cut(
        mut decoder: ChunkDecoder,
        body: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, Trailers), ChunkError> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let mut data = Vec::new();
        for piece in cuts.windows(2) {
            let mut input = Bytes::copy_from_slice(&body[piece[0]..piece[1]]);
            while let Some(slice) = decoder.next(&mut input)? {
                assert!(!slice.is_empty());
                data.extend_from_slice(&slice);
            }
            assert!(input.is_empty());
        }
        assert_eq!(decoder.received(), data.len() as u64);
        Ok((data, decoder.finish()?))
    }

    fn decode(
        seed: Option<ChunkSeed>,
        trailer: bool,
        declared: usize,
        body: &[u8],
    ) -> Result<(Vec<u8>, Trailers), ChunkError> {
        decode_cut(ChunkDecoder::new(seed, trailer, declared as u64), body, &[])
    }

    #[test]
    fn documented_chunks() {
        let body = [
            chunk("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648", 65_536),
            chunk("0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", 1_024),
            chunk("b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9", 0),
            b"\r\n".to_vec(),
        ]
        .concat();
        assert_eq!(body.len(), 66_824, "the documented Content-Length");
        let (data, trailers) = decode(Some(seed()), false, DOC_BYTES, &body).unwrap();
        assert!(data.len() == DOC_BYTES && data.iter().all(|byte| *byte == b'a'));
        assert_eq!(trailers, Trailers::default());
        assert_eq!(encode(&data, 65_536, Some(seed()), None), body);
    }

    #[test]
    fn documented_trailer() {
        let seed = doc_seed("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
        let body = [
            chunk("b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2", 65_536),
            chunk("1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7", 1_024),
            chunk("2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992", 0),
            b"x-amz-checksum-crc32c:sOO8/Q==\n".to_vec(),
            b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"
                .to_vec(),
        ]
        .concat();
        for end in ["", "\r\n"] {
            let body = [&body, end.as_bytes()].concat();
            let (data, trailers) = decode(Some(seed.clone()), true, DOC_BYTES, &body).unwrap();
            let value = Checksum::of(ChecksumAlgorithm::Crc32c, &data).to_base64();
            assert_eq!(trailers.get("x-amz-checksum-crc32c"), Some(&*value));
        }
    }

    #[test]
    fn unsigned_stream_as_the_sdks_send_it() {
        let body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
        let (data, trailers) = decode(None, true, 5, body).unwrap();
        assert_eq!(
            (data.as_slice(), trailers.get("x-amz-checksum-crc32")),
            (&b"hello"[..], Some("NhCmhg=="))
        );
        assert_eq!(decode(None, true, 0, b"0\r\n\r\n").unwrap().0, b"");
    }

    /// A client that ends trailer lines in LF and adds CR LF, so that empty lines come about.
    #[test]
    fn empty_lines_around_the_signature_of_a_trailer() {
        let body = encode(b"hello", 9, Some(seed()), Some(&[("x-amz-checksum-crc32", "NhCmhg==")]));
        let text = String::from_utf8(body).unwrap();
        let spread = text.replace("NhCmhg==\r\n", "NhCmhg==\n\r\n");
        let (data, trailers) = decode(Some(seed()), true, 5, spread.as_bytes()).unwrap();
        assert_eq!((&data[..], trailers.get("x-amz-checksum-crc32")), (&b"hello"[..], Some("NhCmhg==")));
        let unsigned = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\n\r\n\r\n";
        assert_eq!(decode(None, true, 5, unsigned).unwrap().0, b"hello");
        let refused = |signed: bool, body: &str| {
            decode(signed.then(seed), true, 5, body.as_bytes()).unwrap_err().code()
        };
        assert_eq!(
            refused(true, &text.replace("NhCmhg==\r\n", "NhCmhg==\n\r\n\r\n")),
            "SignatureDoesNotMatch"
        );
        assert_eq!(refused(true, &text.replace("x-amz-checksum", "\r\nx-amz-checksum")), "IncompleteBody");
        assert_eq!(refused(false, "5\r\nhello\r\n0\r\n\r\nx-amz-trailer-signature:0\r\n"), "IncompleteBody");
        assert_eq!(refused(false, "5\r\nhello\r\n0\r\n\r\n\r\n\r\n"), "IncompleteBody");
    }

    #[test]
    fn refusals() {
        let code = |declared, body: &[u8]| decode(None, true, declared, body).unwrap_err().code();
        assert_eq!(code(4, b"5\r\nhello\r\n0\r\n\r\n"), "IncompleteBody");
        assert_eq!(code(6, b"5\r\nhello\r\n0\r\n\r\n"), "IncompleteBody");
        assert_eq!(code(5, b"5\r\nhel"), "IncompleteBody");
        assert_eq!(code(5, b"5\r\nhello\r\n"), "IncompleteBody");
        assert_eq!(code(5, b""), "IncompleteBody");
        assert_eq!(code(5, b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhC"), "IncompleteBody");
        for body in [
            &b"5\nhello\r\n0\r\n\r\n"[..],
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\nmore",
            b"-5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"\r\n",
            b"00000000000000005\r\n",
            b"5;chunk-signature=00\r\nhello\r\n",
            b"\xff\xff\r\n",
        ] {
            assert_eq!(code(5, body), "IncompleteBody", "{:?}", body.escape_ascii().to_string());
        }
        assert_eq!(code(5, "5".repeat(300).as_bytes()), "IncompleteBody");
        assert_eq!(code(5, b"ffffffffffffffff\r\n"), "IncompleteBody");
        for trailer in
            ["nocolon\r\n", ":x\r\n", "a b:c\r\n", "a:1\r\na:2\r\n", "a:\x01\r\n", &"a:b\n".repeat(2000)]
        {
            assert_eq!(code(0, format!("0\r\n{trailer}\r\n").as_bytes()), "MalformedTrailerError");
        }
        let small = encode(&[b'x'; 8_192 + 8_191 + 1], 8_192, None, Some(&[]));
        assert!(decode(None, true, 16_384, &small).is_ok());
        let small = encode(&[b'x'; 8_192], 8_191, None, Some(&[]));
        let refused = ChunkError::TooSmall { chunk: 1, size: 8_191 };
        assert_eq!(decode(None, true, 8_192, &small).unwrap_err(), refused);
        let untold = encode(b"x", 9, Some(seed()), Some(&[("a", "b")]));
        assert_eq!(decode(Some(seed()), false, 1, &untold).unwrap_err().code(), "MalformedTrailerError");
        let unsigned = encode(b"x", 9, Some(seed()), None);
        assert_eq!(decode(Some(seed()), true, 1, &unsigned).unwrap_err(), ChunkError::SignatureMismatch);
    }

    #[test]
    fn an_error_lasts() {
        let mut decoder = ChunkDecoder::new(None, true, 5);
        let mut input = Bytes::from_static(b"zz\r\n5\r\nhello\r\n0\r\n\r\n");
        let error = decoder.next(&mut input).unwrap_err();
        assert_eq!(decoder.next(&mut input), Err(error));
        assert_eq!(decoder.finish(), Err(error));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            data in proptest::collection::vec(any::<u8>(), 0..20_000), chunk_bytes in 8_192usize..9_000,
            cuts in proptest::collection::vec(any::<usize>(), 0..40), signed: bool, trailer: bool,
        ) {
            let trailer = trailer || !signed;
            let trailers: &[(&str, &str)] = &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-meta", "v w")];
            let seed = signed.then(seed);
            let body = encode(&data, chunk_bytes, seed.clone(), trailer.then_some(trailers));
            let decoder = || ChunkDecoder::new(seed.clone(), trailer, data.len() as u64);
            let (decoded, seen) = decode_cut(decoder(), &body, &cuts).unwrap();
            prop_assert_eq!(&decoded, &data);
            prop_assert_eq!(seen.iter().count(), if trailer { 2 } else { 0 });
            let every_byte: Vec<usize> = (0..body.len()).collect();
            prop_assert_eq!(decode_cut(decoder(), &body, &every_byte).unwrap().0, data);
        }

        #[test]
        fn any_flip_in_a_signed_body_is_seen(
            data in proptest::collection::vec(any::<u8>(), 1..9_000), at: proptest::sample::Index, bit in 0u32..8,
        ) {
            let body = encode(&data, 8_192, Some(seed()), Some(&[("x-amz-checksum-crc32", "AAAAAA==")]));
            let mut flipped = body.clone();
            flipped[at.index(body.len())] ^= 1 << bit;
            // The case of a name or a size, and the ends of trailer lines, carry no meaning.
            let meaning = |body: &[u8]| body.to_ascii_lowercase();
            if let Ok((decoded, trailers)) = decode(Some(seed()), true, data.len(), &flipped) {
                prop_assert!(meaning(&flipped) == meaning(&body) || at.index(body.len()) + 100 > body.len());
                prop_assert_eq!(decoded, data);
                prop_assert_eq!(trailers.get("x-amz-checksum-crc32"), Some("AAAAAA=="));
            }
        }

        #[test]
        fn no_input_panics(
            noise in proptest::collection::vec(any::<u8>(), 0..80), dense in "[05a;:\r\n]{0,60}", keep in 0usize..300,
            cuts in proptest::collection::vec(any::<usize>(), 0..9), declared in 0u64..300, trailer: bool,
        ) {
            let mut spliced = encode(&[7; 100], 40, Some(seed()), Some(&[("a", "b")]));
            spliced.truncate(keep);
            spliced.extend_from_slice(&noise);
            for body in [&noise[..], dense.as_bytes(), &spliced] {
                for seed in [None, Some(seed())] {
                    let whole = decode_cut(ChunkDecoder::new(seed.clone(), trailer, declared), body, &[]);
                    let split = decode_cut(ChunkDecoder::new(seed, trailer, declared), body, &cuts);
                    prop_assert_eq!(whole, split);
                }
            }
        }
    }
}
