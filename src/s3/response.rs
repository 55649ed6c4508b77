//! Answers: the body type of the connection, and how objects, documents and errors become headers.
//!
//! May use `object::{meta, store}`, `codec::date`, `s3::{error, stats}`. A body in memory is handed
//! to hyper as it is; a stream hands over the store's buffers without copying and reads ahead no
//! further than the store does. A stream that fails half-way ends with an error, so that hyper
//! breaks the connection: a client must never take a torn body for a whole one.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_TYPE, ETAG, EXPIRES, HeaderName, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use super::error::S3Error;
use super::link::Busy;
use super::stats::Ticket;
use crate::base::time::Nanos;
use crate::codec::checksum::composite_text;
use crate::codec::date::http_date;
use crate::object::error::ObjectError;
use crate::object::meta::{Checksum, ChecksumKind, ETag, Headers, ObjectMeta};
use crate::object::store::ObjectStream;

/// The body of an answer.
pub enum Body {
    Empty,
    Full(Bytes),
    /// An object that is read while it is sent.
    Stream(Box<Streaming>),
    /// A document that takes longer than a client would wait in silence.
    Late(Box<Late>),
}

impl Body {
    pub fn full(data: impl Into<Bytes>) -> Body {
        Body::Full(data.into())
    }

    /// Keeps `busy` until the body has ended, when it is one that takes time.
    pub(super) fn keep(&mut self, busy: Busy) {
        match self {
            Body::Empty | Body::Full(_) => {}
            Body::Stream(streaming) => streaming.busy = Some(busy),
            Body::Late(late) => late.busy = Some(busy),
        }
    }
}

/// The answer of an operation before it is stamped.
pub(super) type Reply = Response<Body>;

pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::Empty);
    *reply.status_mut() = status;
    reply
}

pub(super) fn xml(document: Vec<u8>) -> Reply {
    let mut reply = Response::new(Body::full(document));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    reply
}

/// The answer to a failed request. HEAD and 304 have headers only.
pub(super) fn failure(error: &S3Error, document: Option<Vec<u8>>) -> Reply {
    let mut reply = match document {
        Some(document) if error.code().status() != StatusCode::NOT_MODIFIED => xml(document),
        _ => empty(error.code().status()),
    };
    *reply.status_mut() = error.code().status();
    for (name, value) in error.headers() {
        set(reply.headers_mut(), name.clone(), value);
    }
    reply
}

/// Where the bucket is, by which clients that took it to be elsewhere find it.
pub(super) const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

/// Sets a header, or leaves it out when HTTP cannot carry the value.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

pub(super) fn set_number(headers: &mut HeaderMap, name: HeaderName, value: u64) {
    headers.insert(name, HeaderValue::from(value));
}

/// The value of the `ETag` header.
pub(super) fn etag_value(etag: &ETag) -> HeaderValue {
    let value = if etag.parts == 0 {
        let mut text = [b'"'; 34];
        hex::encode_to_slice(etag.md5, &mut text[1..33]).expect("32 digits for 16 bytes");
        HeaderValue::from_bytes(&text)
    } else {
        HeaderValue::from_str(&etag.quoted())
    };
    value.expect("an entity tag is ASCII")
}

/// An entity tag as XML documents take it: without quotes.
pub(super) fn etag_text(etag: &ETag) -> String {
    let mut digits = [0; 32];
    hex::encode_to_slice(etag.md5, &mut digits).expect("32 digits for 16 bytes");
    let digits = std::str::from_utf8(&digits).expect("digits are ASCII");
    match etag.parts {
        0 => digits.to_owned(),
        parts => format!("{digits}-{parts}"),
    }
}

pub(super) fn last_modified(time: Nanos) -> HeaderValue {
    HeaderValue::from_bytes(http_date(time).as_bytes()).expect("a date is ASCII")
}

/// Everything that GetObject and HeadObject say about an object but its length and range.
pub(super) fn object_headers(headers: &mut HeaderMap, meta: &ObjectMeta) {
    headers.insert(LAST_MODIFIED, last_modified(meta.modified));
    headers.insert(ETAG, etag_value(&meta.etag));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    stored_headers(headers, &meta.headers);
}

fn stored_headers(headers: &mut HeaderMap, stored: &Headers) {
    match &stored.content_type {
        Some(value) => set(headers, CONTENT_TYPE, value),
        None => drop(headers.insert(CONTENT_TYPE, HeaderValue::from_static("binary/octet-stream"))),
    }
    for (name, value) in [
        (CACHE_CONTROL, &stored.cache_control),
        (CONTENT_DISPOSITION, &stored.content_disposition),
        (CONTENT_ENCODING, &stored.content_encoding),
        (CONTENT_LANGUAGE, &stored.content_language),
        (EXPIRES, &stored.expires),
        (HeaderName::from_static(super::headers::WEBSITE_REDIRECT), &stored.website_redirect),
    ] {
        if let Some(value) = value {
            set(headers, name, value);
        }
    }
    for (name, value) in &stored.user {
        if let Ok(name) = HeaderName::try_from(format!("x-amz-meta-{name}")) {
            set(headers, name, value);
        }
    }
}

/// The checksum as headers carry it: base64, `-N` behind a composite one.
pub(super) fn checksum_text(checksum: &Checksum) -> String {
    use base64::Engine;
    let value = base64::engine::general_purpose::STANDARD.encode(&checksum.value);
    match checksum.kind {
        ChecksumKind::Composite if checksum.parts > 0 => composite_text(&value, checksum.parts.into()),
        _ => value,
    }
}

pub(super) fn checksum_headers(headers: &mut HeaderMap, checksum: &Checksum) {
    set(headers, HeaderName::from_static(checksum.algorithm.header()), &checksum_text(checksum));
    let kind = HeaderValue::from_static(checksum.kind.name());
    headers.insert(HeaderName::from_static("x-amz-checksum-type"), kind);
}

// ---- Documents that take long ----

/// An XML document that is still being made: its declaration at once, then a space each `pause`
/// while it is worked on, then the rest of it.
pub(super) fn late(document: impl Future<Output = Vec<u8>> + 'static, pause: Duration) -> Reply {
    let body =
        Late { step: LateStep::Declaration, document: Box::pin(document), pause, timer: None, busy: None };
    let mut reply = xml(Vec::new());
    *reply.body_mut() = Body::Late(Box::new(body));
    reply
}

pub struct Late {
    step: LateStep,
    document: Pin<Box<dyn Future<Output = Vec<u8>>>>,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    busy: Option<Busy>,
}

#[derive(PartialEq)]
enum LateStep {
    Declaration,
    Waiting,
    Done,
}

/// Nothing may stand before it, so it goes out before the spaces.
const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

impl Late {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.step {
            LateStep::Done => return Poll::Ready(None),
            LateStep::Declaration => {
                self.step = LateStep::Waiting;
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(DECLARATION)))));
            }
            LateStep::Waiting => {}
        }
        if let Poll::Ready(document) = self.document.as_mut().poll(cx) {
            self.step = LateStep::Done;
            self.busy = None;
            let rest = document.strip_prefix(DECLARATION).unwrap_or(&document);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(rest)))));
        }
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        ready!(timer.as_mut().poll(cx));
        self.timer = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
    }
}

// ---- Streams ----

/// The bytes of an object, on their way out.
pub struct Streaming {
    step: Step,
    left: u64,
    ticket: Option<Ticket>,
    busy: Option<Busy>,
}

enum Step {
    /// The first piece was read before the answer began, so that a failure could still be one.
    First(Bytes, Box<ObjectStream>),
    Reading(Pin<Box<dyn Future<Output = Taken>>>),
    Done,
}

type Taken = (Option<Result<Bytes, ObjectError>>, Box<ObjectStream>);

impl Streaming {
    /// `first` has been taken from `rest`; together they give `length` bytes.
    pub(super) fn new(first: Bytes, rest: ObjectStream, length: u64) -> Self {
        Streaming { step: Step::First(first, Box::new(rest)), left: length, ticket: None, busy: None }
    }

    /// The request counts as served when the last byte is handed over.
    pub(super) fn counted_by(&mut self, mut ticket: Ticket) {
        ticket.aborted();
        self.ticket = Some(ticket);
    }

    fn give(&mut self, data: Bytes, rest: Box<ObjectStream>) -> Option<Result<Frame<Bytes>, io::Error>> {
        let length = data.len() as u64;
        let Some(left) = self.left.checked_sub(length) else {
            return self.fail("the store gave more than the object holds");
        };
        self.left = left;
        if let Some(ticket) = &mut self.ticket {
            ticket.bytes_out += length;
        }
        self.step = Step::Done;
        if left > 0 {
            self.step = Step::Reading(Box::pin(take(rest)));
            return Some(Ok(Frame::data(data)));
        }
        self.busy = None;
        if let Some(mut ticket) = self.ticket.take() {
            ticket.succeeded();
        }
        Some(Ok(Frame::data(data)))
    }

    fn fail(&mut self, why: &str) -> Option<Result<Frame<Bytes>, io::Error>> {
        tracing::error!(why, left = self.left, "an answer was broken off");
        self.step = Step::Done;
        Some(Err(io::Error::other(why.to_owned())))
    }
}

async fn take(mut stream: Box<ObjectStream>) -> Taken {
    let next = stream.next().await;
    (next, stream)
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Body::Empty => Poll::Ready(None),
            Body::Full(data) => {
                let data = std::mem::take(data);
                *self = Body::Empty;
                Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
            }
            Body::Stream(streaming) => streaming.poll_next(cx),
            Body::Late(late) => late.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(data) => data.is_empty(),
            Body::Stream(streaming) => matches!(streaming.step, Step::Done),
            Body::Late(late) => late.step == LateStep::Done,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(data) => SizeHint::with_exact(data.len() as u64),
            Body::Stream(streaming) => SizeHint::with_exact(streaming.left),
            Body::Late(_) => SizeHint::default(),
        }
    }
}

impl Streaming {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let (taken, rest) = match std::mem::replace(&mut self.step, Step::Done) {
            Step::First(data, rest) => return Poll::Ready(self.give(data, rest)),
            Step::Done => return Poll::Ready(None),
            Step::Reading(mut reading) => {
                let polled = reading.as_mut().poll(cx);
                if polled.is_pending() {
                    self.step = Step::Reading(reading);
                }
                ready!(polled)
            }
        };
        Poll::Ready(match taken {
            Some(Ok(data)) => self.give(data, rest),
            Some(Err(error)) => self.fail(&error.to_string()),
            None => self.fail("the store gave less than the object holds"),
        })
    }
}

/// For HEAD: the length that GET would have.
pub(super) fn set_length(headers: &mut HeaderMap, length: u64) {
    set_number(headers, CONTENT_LENGTH, length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::checksum::ChecksumAlgorithm;

    #[test]
    fn entity_tags() {
        let plain = ETag { md5: [0xab; 16], parts: 0 };
        assert_eq!(etag_value(&plain), format!("\"{}\"", "ab".repeat(16)));
        let multipart = ETag { md5: [0xab; 16], parts: 3 };
        assert_eq!(etag_value(&multipart), format!("\"{}-3\"", "ab".repeat(16)));
        assert_eq!(etag_text(&multipart), format!("{}-3", "ab".repeat(16)));
    }

    #[test]
    fn stored_headers_come_back_and_bad_ones_do_not_break_the_answer() {
        let stored = Headers {
            cache_control: Some("no-cache".into()),
            expires: Some("bad\nvalue".into()),
            user: vec![("name".into(), "ü".into()), ("bad name".into(), "x".into())],
            ..Headers::default()
        };
        let mut headers = HeaderMap::new();
        stored_headers(&mut headers, &stored);
        assert_eq!(headers[CONTENT_TYPE], "binary/octet-stream");
        assert_eq!(headers[CACHE_CONTROL], "no-cache");
        assert_eq!(headers["x-amz-meta-name"].as_bytes(), "ü".as_bytes());
        assert_eq!(headers.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_document_is_whole_and_well_formed() {
        use http_body_util::BodyExt;
        let work = async {
            tokio::time::sleep(Duration::from_secs(25)).await;
            [DECLARATION, b"<A/>"].concat()
        };
        let body = late(work, Duration::from_secs(10)).into_body();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes, [DECLARATION, b"  <A/>"].concat());
    }

    #[test]
    fn composite_checksums_carry_their_number_of_parts() {
        let algorithm = ChecksumAlgorithm::Crc32;
        let mut checksum = Checksum { algorithm, kind: ChecksumKind::Composite, value: vec![0; 4], parts: 2 };
        let mut headers = HeaderMap::new();
        checksum_headers(&mut headers, &checksum);
        assert_eq!(headers["x-amz-checksum-crc32"], "AAAAAA==-2");
        assert_eq!(headers["x-amz-checksum-type"], "COMPOSITE");
        checksum.kind = ChecksumKind::FullObject;
        assert_eq!(checksum_text(&checksum), "AAAAAA==");
    }
}
