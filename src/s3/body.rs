//! The body of a request: frames from the connection, unwrapped, hashed and verified.
//!
//! `Intake` reads frames and watches the pace of the client; `Payload` turns them into the bytes of
//! the object (aws-chunked decoding) and hashes each byte once. May use `codec::{checksum, chunked,
//! sigv4}`, `s3::{error, headers}`.
//!
//! Invariants: whatever the headers already tell is refused before the first frame is asked for, so
//! before `100 Continue`. Bytes given by `next` are not yet believed; only `finish` says that
//! signature, length, MD5 and checksum all hold, and nothing may be committed before.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::error::{Code, Result, S3Error};
use super::headers;
use super::link::Link;
use crate::base::budget::{BufferBudget, Permit};
use crate::base::limits::{
    BODY_WINDOW_BYTES_MIN, BODY_WINDOW_SECONDS, BUFFER_LOOK_SECONDS, DOCUMENT_COPIES, DOCUMENT_SECONDS_MAX,
    DRAIN_BYTES_MAX, DRAIN_SECONDS_MAX, HASH_STEP_BYTES_MAX, XML_BODY_BYTES_MAX,
};
use crate::base::rest::rest;
use crate::codec::checksum::{Checksum, ChecksumAlgorithm, DigestValues, Digests, Hasher, parse_md5_base64};
use crate::codec::chunked::{ChunkDecoder, Trailers};
use crate::codec::md5::Md5Lanes;
use crate::codec::sigv4::{PayloadKind, Verified};

/// The frames of one request's body.
pub(super) struct Intake {
    incoming: Incoming,
    pace: Pace,
    /// Bytes as they came, with the framing of aws-chunked.
    pub received: u64,
    ended: bool,
    asked: bool,
    link: Rc<Link>,
    /// Memory that documents may take, and what those of this request have taken.
    documents: BufferBudget,
    taken: Permit,
}

impl Intake {
    pub(super) fn new(incoming: Incoming, link: Rc<Link>, documents: BufferBudget) -> Self {
        let (ended, taken) = (incoming.is_end_stream(), Permit::none());
        Intake { incoming, pace: Pace::default(), received: 0, ended, asked: false, link, documents, taken }
    }

    /// Memory for a document of so many bytes and for what is made of it, until the request is answered. Nobody
    /// waits for it: whoever has some may be waiting for a client.
    pub(super) fn hold_memory(&mut self, bytes: usize) -> Result<()> {
        let wanted = bytes.saturating_mul(DOCUMENT_COPIES).min(self.documents.bytes_max());
        let missing = wanted.saturating_sub(self.taken.bytes());
        if missing > 0 {
            self.taken.merge(self.documents.try_acquire(missing).ok_or(Code::SlowDown)?);
        }
        Ok(())
    }

    /// Memory for an answer that is about to be made. That ends by itself, so it is waited for, though not long:
    /// clients that take their answers slowly may have it.
    pub(super) async fn await_memory(&mut self, bytes: usize) -> Result<()> {
        let patience = Duration::from_secs(DOCUMENT_SECONDS_MAX);
        let memory = tokio::time::timeout(patience, self.documents.acquire(bytes)).await;
        self.taken = memory.map_err(|_| Code::SlowDown)?;
        Ok(())
    }

    /// What the documents of this request have taken, for the answer to hold.
    pub(super) fn take_memory(&mut self) -> Permit {
        std::mem::replace(&mut self.taken, Permit::none())
    }

    /// To be asked before the bytes of a large object are moved.
    pub(super) fn begin_transfer(&self) -> Result<()> {
        if self.link.begin_transfer() { Ok(()) } else { Err(Code::SlowDown.into()) }
    }

    /// Everything was read, or there was nothing to read.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next bytes; `RequestTimeout` when the client is slower than the bounds allow.
    pub(super) async fn frame(&mut self) -> Result<Option<Bytes>> {
        self.frame_for(&|| false).await
    }

    /// The same for who holds memory meanwhile; `SlowDown` when that is to be given up, as `gives_way` says now
    /// and then.
    pub(super) async fn frame_for(&mut self, gives_way: &impl Fn() -> bool) -> Result<Option<Bytes>> {
        while !self.ended {
            self.asked = true;
            let frame = poll_fn(|cx| match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(frame) => Poll::Ready(Ok(frame)),
                Poll::Pending => {
                    self.link.awaits_body(true);
                    self.pace.poll_too_slow(cx, gives_way).map(Err)
                }
            });
            let frame = frame.await;
            self.link.awaits_body(false);
            let Some(frame) = frame? else {
                self.ended = true;
                break;
            };
            let frame = frame.map_err(|_| Code::IncompleteBody)?;
            // A length that is used up needs no further look at the connection.
            self.ended = self.incoming.is_end_stream();
            if let Ok(data) = frame.into_data() {
                self.pace.arrived(data.len());
                self.received += data.len() as u64;
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Whether the body was ever asked for: until then a client that expects `100 Continue` waits.
    pub(super) fn was_asked(&self) -> bool {
        self.asked
    }

    /// Reads the rest of a small body so that the connection can serve the next request. False when
    /// that was not possible.
    pub(super) async fn drain(&mut self) -> bool {
        if self.ended || self.incoming.size_hint().upper().is_none_or(|left| left > DRAIN_BYTES_MAX) {
            return self.ended;
        }
        let read = async { while let Ok(Some(_)) = self.frame().await {} };
        // The bound on time also ends a body that fails for ever.
        let in_time = tokio::time::timeout(Duration::from_secs(DRAIN_SECONDS_MAX), read).await;
        in_time.is_ok() && self.ended
    }
}

/// Judges once a window whether the client sends fast enough, and more often whether others need its memory. Costs
/// nothing while frames are ready and one timer for a whole body otherwise.
#[derive(Default)]
struct Pace {
    timer: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    /// Of this window, how long we waited for the client and not for our own drives.
    waited: Duration,
    bytes: u64,
    looks: u64,
}

const LOOK: Duration = Duration::from_secs(BUFFER_LOOK_SECONDS);
const WINDOW_LOOKS: u64 = BODY_WINDOW_SECONDS / BUFFER_LOOK_SECONDS;
const WINDOW: Duration = Duration::from_secs(BODY_WINDOW_SECONDS);

impl Pace {
    /// To be called when nothing has arrived. Ready when the client is too slow.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>, gives_way: &impl Fn() -> bool) -> Poll<S3Error> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if gives_way() {
                return Poll::Ready(Code::SlowDown.into());
            }
            timer.as_mut().reset(now + LOOK);
            self.looks += 1;
            if !self.looks.is_multiple_of(WINDOW_LOOKS) {
                continue;
            }
            let waited = self.waited + (now - since);
            if waited >= WINDOW / 2 && self.bytes < BODY_WINDOW_BYTES_MIN {
                return Poll::Ready(Code::RequestTimeout.into());
            }
            (self.waited, self.bytes) = (Duration::ZERO, 0);
            self.waiting_since = Some(now);
        }
        Poll::Pending
    }

    fn arrived(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }
}

/// What a body is held against, known from the headers alone.
#[derive(Debug)]
pub(super) struct Promise {
    /// Bytes of the object; none for a body of unknown length.
    size: Option<u64>,
    sha256: PayloadKind,
    md5: Option<[u8; 16]>,
    checksum: Option<Checksum>,
    /// A checksum that comes after the body.
    trailer: Option<ChecksumAlgorithm>,
}

impl Promise {
    pub(super) fn read(headers: &HeaderMap, payload: PayloadKind) -> Result<Promise> {
        let checksum = header_checksum(headers)?;
        let trailer = trailer_algorithm(headers, payload)?;
        if checksum.is_some() && trailer.is_some() {
            return Err(S3Error::with(Code::InvalidRequest, MANY_CHECKSUMS));
        }
        let algorithm = checksum.as_ref().map(Checksum::algorithm).or(trailer);
        check_sdk_algorithm(headers, algorithm)?;
        let md5 = content_md5(headers)?;
        Ok(Promise { size: size(headers, payload)?, sha256: payload, md5, checksum, trailer })
    }

    /// For requests whose checksum header is not about their body but about an object.
    pub(super) fn of_document(headers: &HeaderMap, payload: PayloadKind) -> Result<Promise> {
        let md5 = content_md5(headers)?;
        let size = size(headers, payload)?;
        Ok(Promise { size, sha256: payload, md5, checksum: None, trailer: None })
    }

    /// Bytes that the client announces.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.checksum.as_ref().map(Checksum::algorithm).or(self.trailer)
    }

    /// True when damage on the way would be found by more than the signature.
    pub(super) fn has_digest(&self) -> bool {
        self.md5.is_some() || self.algorithm().is_some()
    }

    /// Writes must say how much they bring.
    pub(super) fn size_needed(&self) -> Result<u64> {
        self.size.ok_or_else(|| Code::MissingContentLength.into())
    }

    fn check(&self, values: &DigestValues, trailers: &Trailers) -> Result<()> {
        if let Some(computed) = &values.sha256 {
            self.sha256.check_sha256(computed)?;
        }
        if let (Some(claimed), Some(computed)) = (self.md5, values.md5)
            && claimed != computed
        {
            let message = "The Content-MD5 you specified did not match what we received.";
            return Err(S3Error::with(Code::BadDigest, message)
                .field("ExpectedDigest", hex::encode(claimed))
                .field("CalculatedDigest", hex::encode(computed)));
        }
        let announced = self.trailer.map(ChecksumAlgorithm::header);
        if trailers.iter().any(|(name, _)| Some(name) != announced) {
            let message = "The trailer holds a name that x-amz-trailer does not announce";
            return Err(S3Error::with(Code::MalformedTrailerError, message));
        }
        let trailed = self.trailer.map(|algorithm| trailing_checksum(trailers, algorithm)).transpose()?;
        match (self.checksum.as_ref().or(trailed.as_ref()), &values.checksum) {
            (Some(claimed), Some(computed)) if claimed != computed => {
                let name = claimed.algorithm().name();
                let message = format!("The {name} you specified did not match the calculated checksum.");
                Err(S3Error::with(Code::BadDigest, message))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>> {
    let parse = |text| parse_md5_base64(text).map_err(|_| Code::InvalidDigest.into());
    headers::text(headers, "content-md5")?.map(parse).transpose()
}

const MANY_CHECKSUMS: &str =
    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";

/// The one `x-amz-checksum-` header that holds a value.
pub(super) fn header_checksum(headers: &HeaderMap) -> Result<Option<Checksum>> {
    let mut found = None;
    for (name, value) in headers {
        let Some(kind) = name.as_str().strip_prefix("x-amz-checksum-") else { continue };
        if matches!(kind, "algorithm" | "mode" | "type") {
            continue;
        }
        let algorithm = ChecksumAlgorithm::from_header(name.as_str())
            .ok_or_else(|| S3Error::not_implemented(name.as_str()))?;
        let value = value.to_str().ok().and_then(|text| Checksum::from_base64(algorithm, text).ok());
        let value = value.ok_or_else(|| bad_checksum_value(algorithm))?;
        if found.replace(value).is_some() {
            return Err(S3Error::with(Code::InvalidRequest, MANY_CHECKSUMS));
        }
    }
    Ok(found)
}

fn bad_checksum_value(algorithm: ChecksumAlgorithm) -> S3Error {
    S3Error::with(Code::InvalidRequest, format!("Value for {} header is invalid.", algorithm.header()))
}

/// What `x-amz-trailer` announces.
fn trailer_algorithm(headers: &HeaderMap, payload: PayloadKind) -> Result<Option<ChecksumAlgorithm>> {
    let Some(name) = headers::text(headers, "x-amz-trailer")? else { return Ok(None) };
    if !matches!(payload, PayloadKind::Streaming { trailer: true, .. }) {
        let message = "x-amz-trailer needs a payload that is streamed with a trailer";
        return Err(S3Error::with(Code::InvalidRequest, message));
    }
    match ChecksumAlgorithm::from_header(name.trim()) {
        Some(algorithm) => Ok(Some(algorithm)),
        None if name.trim().to_ascii_lowercase().starts_with("x-amz-checksum-") => {
            Err(S3Error::not_implemented(name.trim()))
        }
        None => {
            let message = "The value specified in the x-amz-trailer header is not supported";
            Err(S3Error::with(Code::InvalidRequest, message))
        }
    }
}

fn trailing_checksum(trailers: &Trailers, algorithm: ChecksumAlgorithm) -> Result<Checksum> {
    let text = trailers.get(algorithm.header()).ok_or(Code::MalformedTrailerError)?;
    Checksum::from_base64(algorithm, text).map_err(|_| bad_checksum_value(algorithm))
}

fn check_sdk_algorithm(headers: &HeaderMap, found: Option<ChecksumAlgorithm>) -> Result<()> {
    let Some(named) = headers::text(headers, "x-amz-sdk-checksum-algorithm")? else { return Ok(()) };
    let message = match found {
        Some(algorithm) if algorithm.name().eq_ignore_ascii_case(named) => return Ok(()),
        Some(_) if ChecksumAlgorithm::parse(named).is_some() => {
            let message = "The checksum is of another algorithm than x-amz-sdk-checksum-algorithm names.";
            return Err(S3Error::with(Code::BadDigest, message));
        }
        Some(_) => "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        // Content-MD5 serves where old clients name it.
        None if headers.contains_key("content-md5") => return Ok(()),
        None => {
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
             x-amz-trailer headers were found."
        }
    };
    Err(S3Error::with(Code::InvalidRequest, message))
}

/// The length of what is inside: behind aws-chunked framing it is announced by its own header.
fn size(headers: &HeaderMap, payload: PayloadKind) -> Result<Option<u64>> {
    match payload {
        PayloadKind::Streaming { .. } => {
            let announced = headers::number(headers, "x-amz-decoded-content-length")?;
            announced.map(Some).ok_or_else(|| Code::MissingContentLength.into())
        }
        // Somebody framed the body and signed it as if it were plain. The word alone frames nothing.
        _ if headers.contains_key("x-amz-decoded-content-length")
            && headers::text(headers, "content-encoding")?.is_some_and(names_aws_chunked) =>
        {
            let message = "aws-chunked needs a streaming value of x-amz-content-sha256";
            Err(S3Error::with(Code::InvalidRequest, message))
        }
        _ => Ok(headers::content_length(headers)),
    }
}

fn names_aws_chunked(encoding: &str) -> bool {
    encoding.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("aws-chunked"))
}

/// The bytes of an object on their way in.
pub(super) struct Payload<'i> {
    intake: &'i mut Intake,
    promise: Promise,
    decoder: Option<Box<ChunkDecoder>>,
    /// What the decoder has not taken yet.
    pending: Bytes,
    /// Bytes of the object that are not hashed yet.
    ready: Bytes,
    digests: Digests,
    /// What is wanted beside what the client sent.
    wanted: Option<Hasher>,
}

/// Digests of a body that kept every promise.
#[derive(Debug)]
pub(super) struct Digested {
    pub md5: [u8; 16],
    /// The one the client sent, or else the one that was wanted.
    pub checksum: Option<Checksum>,
    /// The one that was wanted, when the client sent another.
    pub wanted: Option<Checksum>,
}

impl<'i> Payload<'i> {
    /// `wanted` is computed whatever the client sends along.
    pub(super) fn new(
        intake: &'i mut Intake,
        promise: Promise,
        verified: &Verified,
        wanted: Option<ChecksumAlgorithm>,
        lanes: &Md5Lanes,
    ) -> Self {
        let sha256 = matches!(promise.sha256, PayloadKind::Sha256(_));
        let sent = promise.algorithm();
        let digests = Digests::new(Some(lanes), sha256, sent.or(wanted));
        let wanted = wanted.filter(|wanted| sent.is_some_and(|sent| sent != *wanted)).map(Hasher::new);
        let decoder = match promise.sha256 {
            PayloadKind::Streaming { trailer, .. } => {
                let size = promise.size.unwrap_or(0);
                Some(Box::new(ChunkDecoder::new(verified.seed.clone(), trailer, size)))
            }
            _ => None,
        };
        Payload { intake, promise, decoder, pending: Bytes::new(), ready: Bytes::new(), digests, wanted }
    }

    /// The next bytes of the object, hashed; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        self.next_for(&|| false).await
    }

    /// The same for who holds memory meanwhile, as `Intake::frame_for`. Who drops the future loses bytes.
    pub(super) async fn next_for(&mut self, gives_way: &impl Fn() -> bool) -> Result<Option<Bytes>> {
        loop {
            if !self.ready.is_empty() {
                let data = hash_step(&mut self.ready, &mut self.digests).await;
                if let Some(wanted) = &mut self.wanted {
                    wanted.update(&data);
                }
                return Ok(Some(data));
            }
            if let Some(decoder) = &mut self.decoder
                && let Some(data) = decoder.next(&mut self.pending)?
            {
                self.ready = data;
                continue;
            }
            let Some(frame) = self.intake.frame_for(gives_way).await? else { return Ok(None) };
            match self.decoder {
                Some(_) => self.pending = frame,
                None => self.ready = frame,
            }
        }
    }

    /// Says whether the body was what its headers and trailers promised. Only after `next` has given none; best when
    /// the bytes are on their drives, since meanwhile other bodies may come to be hashed beside this one. What is wrong
    /// is refused then, a flush later.
    pub(super) async fn finish(mut self) -> Result<Digested> {
        catch_up(&mut self.digests).await;
        let trailers = match self.decoder {
            Some(decoder) => decoder.finish()?,
            None => Trailers::default(),
        };
        let values = self.digests.finish();
        if self.promise.size.is_some_and(|size| size != values.length) {
            return Err(Code::IncompleteBody.into());
        }
        self.promise.check(&values, &trailers)?;
        let md5 = values.md5.expect("the MD5 was asked for");
        Ok(Digested { md5, checksum: values.checksum, wanted: self.wanted.map(Hasher::finish) })
    }

    /// The whole of a small body, such as an XML document.
    pub(super) async fn document(mut self) -> Result<Vec<u8>> {
        let too_long = || S3Error::from(Code::MaxMessageLengthExceeded);
        let expected = self.promise.size.unwrap_or(0);
        if expected > XML_BODY_BYTES_MAX as u64 {
            return Err(too_long());
        }
        let (mut document, mut hashed) = (Vec::new(), 0);
        while let Some(data) = self.next().await? {
            if document.len() + data.len() > XML_BODY_BYTES_MAX {
                return Err(too_long());
            }
            self.intake.hold_memory(document.len() + data.len())?;
            document.extend_from_slice(&data);
            hashed += data.len();
            if hashed >= HASH_STEP_BYTES_MAX {
                hashed = 0;
                rest().await;
            }
        }
        self.finish().await?;
        Ok(document)
    }
}

/// Hashes the next bytes of `data`, no more than rule R1 allows in one step, and gives them.
pub(super) async fn hash_step(data: &mut Bytes, digests: &mut Digests) -> Bytes {
    let step = data.split_to(data.len().min(HASH_STEP_BYTES_MAX));
    await_company(digests, Some(step.len())).await;
    digests.update(&step);
    step
}

/// Hashes what waits of a body that is complete, in a few steps (`MD5_BACKLOG_BYTES_MAX`) with a turn for all others
/// between them. Not a rest (rule R1): a client waits for this, and there is an end to it.
pub(super) async fn catch_up(digests: &mut Digests) {
    await_company(digests, None).await;
    while digests.catch_up() {
        tokio::task::yield_now().await;
    }
}

/// Gives other bodies their turn before this one is hashed alone: before its `next` bytes, or before its end.
async fn await_company(digests: &Digests, next: Option<usize>) {
    if digests.would_hash_alone(next) {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn promise(payload: PayloadKind, pairs: &[(&'static str, &'static str)]) -> Result<Promise> {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        Promise::read(&pairs.iter().map(pair).collect(), payload)
    }

    const TRAILED: PayloadKind = PayloadKind::Streaming { signed: false, trailer: true };

    #[test]
    fn what_the_headers_tell_is_refused_before_the_body() {
        use PayloadKind::Unsigned;
        let code = |payload, pairs: &[_]| promise(payload, pairs).unwrap_err().code();
        assert_eq!(code(Unsigned, &[("content-md5", "nonsense")]), Code::InvalidDigest);
        assert_eq!(code(Unsigned, &[("x-amz-checksum-crc32", "AAA=")]), Code::InvalidRequest);
        assert_eq!(code(Unsigned, &[("x-amz-checksum-crc16", "AAA=")]), Code::NotImplemented);
        let two = [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")];
        assert_eq!(code(Unsigned, &two), Code::InvalidRequest);
        assert_eq!(code(Unsigned, &[("x-amz-sdk-checksum-algorithm", "CRC32")]), Code::InvalidRequest);
        assert_eq!(code(Unsigned, &[("x-amz-trailer", "x-amz-checksum-crc32")]), Code::InvalidRequest);
        let framed = [("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", "3")];
        assert_eq!(code(Unsigned, &framed), Code::InvalidRequest);
        let named = [("content-encoding", "aws-chunked"), ("content-length", "3")];
        assert_eq!(promise(Unsigned, &named).unwrap().size, Some(3));
        assert_eq!(code(TRAILED, &[]), Code::MissingContentLength);
        let bad = [("x-amz-decoded-content-length", "-1")];
        assert_eq!(code(TRAILED, &bad), Code::InvalidArgument);
    }

    #[test]
    fn a_trailer_promises_a_checksum() {
        let pairs = [
            ("x-amz-decoded-content-length", "3"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ];
        let promise = promise(TRAILED, &pairs).unwrap();
        assert_eq!(promise.algorithm(), Some(ChecksumAlgorithm::Crc32));
        assert_eq!(promise.size, Some(3));
        let values = Digests::new(Some(&Md5Lanes::default()), false, promise.algorithm()).finish();
        let error = promise.check(&values, &Trailers::default()).unwrap_err();
        assert_eq!(error.code(), Code::MalformedTrailerError);
        for more in ["", "x-amz-checksum-sha256:AAAA\r\n"] {
            let code = promise.check(&values, &trailers(&format!("x-amz-checksum-crc32:AAAAAA==\r\n{more}")));
            assert_eq!(
                code.map_err(|e| e.code()),
                if more.is_empty() { Ok(()) } else { Err(Code::MalformedTrailerError) }
            );
        }
    }

    /// As they come out of a body of nothing.
    fn trailers(lines: &str) -> Trailers {
        let mut decoder = ChunkDecoder::new(None, true, 0);
        let none = decoder.next(&mut Bytes::from(format!("0\r\n{lines}\r\n"))).unwrap();
        assert_eq!(none, None);
        decoder.finish().unwrap()
    }

    #[test]
    fn what_is_not_announced_may_not_come() {
        let promise = promise(TRAILED, &[("x-amz-decoded-content-length", "0")]).unwrap();
        let values = Digests::new(Some(&Md5Lanes::default()), false, None).finish();
        assert!(promise.check(&values, &trailers("")).is_ok());
        let error = promise.check(&values, &trailers("x-amz-checksum-crc32:AAAAAA==\r\n")).unwrap_err();
        assert_eq!(error.code(), Code::MalformedTrailerError);
    }

    #[test]
    fn wrong_digests_are_named() {
        let pairs = [("content-length", "3"), ("content-md5", "XrY7u+Ae7tCTyyK7j1rNww==")];
        let md5_of_hello_world = promise(PayloadKind::Unsigned, &pairs).unwrap();
        let check = |data: &[u8]| {
            let mut digests = Digests::new(Some(&Md5Lanes::default()), false, None);
            digests.update(data);
            md5_of_hello_world.check(&digests.finish(), &Trailers::default())
        };
        assert!(check(b"hello world").is_ok());
        assert_eq!(check(b"hello").unwrap_err().code(), Code::BadDigest);
    }
}
