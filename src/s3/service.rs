//! One request from its head to its stamped answer.
//!
//! The order is fixed: address, operation, signature, refused features, permission, then the operation. All of
//! it happens on the head alone, so that an upload that cannot succeed is told before it is sent.
//! Owns the dispatch and the headers every answer has. The hot operations run in place; the others
//! are boxed, so that their size does not burden every request.

use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HOST, ORIGIN, SERVER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};

use super::access_log::{self, Trace};
use super::auth::{Proof, service_of};
use super::body::{Intake, Payload, Promise};
use super::error::{Code, Place, Result, S3Error};
use super::link::Link;
use super::response::{BUCKET_REGION, Body, Reply, empty, failure, set};
use super::route::{Access, Operation, host_bucket, route, target};
use super::stats::Ticket;
use super::{
    Operator, Shared, acl, attributes, authorize, bucket, copy, cors, delete, get, headers, hoisted,
    inventory, list, lock, multipart, policy, post, put, query, settings, tagging, versioning, website,
};
use crate::base::budget::Permit;
use crate::base::limits::{ANSWER_BYTES, LIST_ENTRY_BYTES};
use crate::codec::checksum::ChecksumAlgorithm;
use crate::codec::sigv4::{RequestView, SERVICE, Verified};
use crate::codec::uri::Query;
use crate::iam::Caller;
use crate::iam::rules::Rules;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const HOST_ID: HeaderName = HeaderName::from_static("x-amz-id-2");

/// One authenticated request.
pub(super) struct Call<'r> {
    pub edge: &'r Shared,
    /// As it is judged: a form is a PutObject once it is read.
    pub operation: Operation,
    /// Empty where the operation has none.
    pub bucket: &'r str,
    pub key: &'r str,
    /// The path as sent.
    pub path: &'r str,
    pub query: &'r Query<'r>,
    pub headers: &'r HeaderMap,
    pub intake: &'r mut Intake,
    pub request_id: &'r str,
    pub caller: &'r Caller,
    pub proof: Option<Proof>,
    /// Where the client is.
    pub source: Option<IpAddr>,
    /// Of the bucket, when there is one.
    pub rules: Option<Rc<Rules>>,
    pub verified: &'r Verified,
    pub trace: &'r Trace<'r>,
}

impl Call<'_> {
    /// What the headers promise about the body.
    pub(super) fn promise(&self) -> Result<Promise> {
        Promise::read(self.headers, self.verified.payload)
    }

    /// The same for a document whose request carries the checksum of an object.
    pub(super) fn promise_of_document(&self) -> Result<Promise> {
        Promise::of_document(self.headers, self.verified.payload)
    }

    /// Memory for a listing of so many entries, while it is made and written.
    pub(super) async fn lists(&mut self, entries: usize) -> Result<()> {
        self.intake.await_memory(entries * LIST_ENTRY_BYTES).await
    }

    /// The document of a request about a bucket. Its client sent it as slowly as it liked, and meanwhile the bucket of
    /// that name may have become another one, or its rules others.
    pub(super) async fn document(&mut self, promise: Promise) -> Result<Vec<u8>> {
        let document = self.payload(promise, None).document().await?;
        self.judge_again().await?;
        Ok(document)
    }

    /// Asks again who may, by the rules of this moment: to be called when a client has kept us waiting and before
    /// anything is changed, with no wait in between.
    pub(super) async fn judge_again(&mut self) -> Result<()> {
        self.rules = Some(self.edge.rules(self.bucket)?);
        authorize::admit(self).await
    }

    /// The body; `wanted` is computed whatever checksum the client sends along.
    pub(super) fn payload(&mut self, promise: Promise, wanted: Option<ChecksumAlgorithm>) -> Payload<'_> {
        Payload::new(self.intake, promise, self.verified, wanted, &self.edge.md5)
    }
}

impl Shared {
    pub(super) async fn handle(&self, request: Request<Incoming>, link: &Rc<Link>) -> Response<Body> {
        let ticket = Ticket::new(self.stats.clone());
        match &self.operator {
            Some(operator) if self.is_for_operator(&request) => {
                self.operate(operator, request, link, ticket).await
            }
            _ => self.serve(request, link, ticket).await,
        }
    }

    /// A request to the operator edge.
    async fn operate(
        &self,
        operator: &Operator,
        request: Request<Incoming>,
        link: &Link,
        mut ticket: Ticket,
    ) -> Response<Body> {
        ticket.is_for(Operation::Operator);
        let sends_body = !request.body().is_end_stream();
        let mut reply = operator(request).await;
        if sends_body {
            // Nobody reads it, so the connection cannot be used again, and the client is told.
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if !self.keep_operator_memory(&mut reply, link) {
            reply = empty(StatusCode::SERVICE_UNAVAILABLE);
        }
        self.count(ticket, reply, None)
    }

    /// A request of S3, IAM or STS, or to a web site.
    async fn serve(&self, request: Request<Incoming>, link: &Rc<Link>, mut ticket: Ticket) -> Response<Body> {
        let request_id = self.next_request_id();
        let (parts, incoming) = request.into_parts();
        let id = request_id.to_str().unwrap_or("");
        let trace = Trace::new(&parts, id, link.peer, ticket.started());
        let mut intake = Intake::new(incoming, link.clone(), self.documents.clone());
        let site = website::bucket_of(trace.host, &self.settings.website_domains);
        let (mut reply, mut error) = match &site {
            None => {
                let result = self.answer(&trace, &mut intake, &mut ticket, &request_id, link).await;
                let error = result.as_ref().err().map(S3Error::code);
                (result.unwrap_or_else(|error| self.refuse(&error, &trace, &request_id)), error)
            }
            Some(bucket) => {
                ticket.is_for(Operation::Website);
                Box::pin(website::answer(self, bucket, &trace, &mut intake, link)).await
            }
        };
        let memory = intake.take_memory();
        if !self.keep_memory(&mut reply, link, memory) && parts.method == Method::GET {
            reply = self.refuse(&Code::SlowDown.into(), &trace, &request_id);
            error = Some(Code::SlowDown);
        }
        // Work that is still under way goes on only while its answer is sent.
        let may_wait = !matches!(reply.body(), Body::Late(_));
        if !settle(&mut intake, &parts.headers, may_wait).await {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if !intake.is_ended() {
            link.linger_after_answer();
        }
        ticket.bytes_in = intake.received;
        if trace.may_be_logged(error, site.is_some()) {
            let operation = ticket.operation();
            ticket.line = access_log::line_of(self, &trace, operation, site.as_deref(), &reply, error);
        }
        if parts.headers.contains_key(ORIGIN) && parts.method != Method::OPTIONS {
            let address = target(trace.host, parts.uri.path(), &self.settings.domains).unwrap_or_default();
            let (bucket, method) = (site.as_deref().or(address.bucket.as_deref()), parts.method.as_str());
            cors::decorate(&self.store, bucket, method, &parts.headers, reply.headers_mut());
        }
        self.stamp(reply.headers_mut(), request_id);
        self.count(ticket, reply, error)
    }

    /// `/-/` is ours, but where the host names a bucket all of the path is a key.
    fn is_for_operator(&self, request: &Request<Incoming>) -> bool {
        let names_bucket = || {
            let host = host(request.headers(), request.uri());
            host.is_some_and(|host| host_bucket(host, &self.settings.domains).is_some())
                || website::bucket_of(host, &self.settings.website_domains).is_some()
        };
        request.uri().path().starts_with("/-/") && !names_bucket()
    }

    async fn answer(
        &self,
        trace: &Trace<'_>,
        intake: &mut Intake,
        ticket: &mut Ticket,
        request_id: &HeaderValue,
        link: &Link,
    ) -> Result<Reply> {
        let parts = trace.parts;
        check_host(parts)?;
        let path = parts.uri.path();
        let query = Query::parse(parts.uri.query().unwrap_or("")).map_err(|_| Code::InvalidURI)?;
        let target = target(trace.host, path, &self.settings.domains)?;
        let asked = hoisted::effective(&parts.headers, &query)?;
        let view =
            RequestView { method: &parts.method, raw_path: path, query: &query, headers: &parts.headers };
        let operation = match route(&parts.method, &target, &query, &asked) {
            // IAM and STS answer GET too, at the same address.
            Ok(Operation::ListBuckets) if service_of(&view) != SERVICE => Ok(Operation::IamQuery),
            operation => operation,
        };
        if let Ok(operation) = operation {
            ticket.is_for(operation);
        }
        if let Ok(Operation::Preflight) = operation {
            return cors::preflight(&self.store, target.bucket.as_deref(), &parts.headers);
        }
        if let Ok(Operation::IamQuery) = operation {
            return Box::pin(query::answer(self, &view, intake, link, request_id)).await;
        }
        let named = trace.host.and_then(|host| host_bucket(host, &self.settings.domains));
        let identified = self.authenticator.verify(&view, self.store.now(), named)?;
        // Only now: who is not known learns nothing about what is built.
        let operation = operation?;
        headers::check_features(operation, &asked)?;
        if let Some(name) = target.bucket.as_deref().filter(|name| !bucket::is_valid_name(name)) {
            return Err(S3Error::new(Code::InvalidBucketName).field("BucketName", name));
        }
        let rules = match target.bucket.as_deref() {
            Some(name) if operation != Operation::CreateBucket => Some(self.rules(name)?),
            _ => None,
        };
        trace.meets(rules.as_ref(), &identified.caller, identified.proof);
        let call = Call {
            edge: self,
            operation,
            bucket: target.bucket.as_deref().unwrap_or(""),
            key: target.key.as_deref().unwrap_or(""),
            path,
            query: &query,
            headers: &asked,
            intake,
            request_id: request_id.to_str().unwrap_or(""),
            caller: &identified.caller,
            proof: identified.proof,
            source: link.peer,
            rules,
            verified: &identified.verified,
            trace,
        };
        if let Err(refusal) = authorize::admit(&call).await {
            return Err(Box::pin(lock::told_first(call, refusal)).await);
        }
        let charged = operation != Operation::PostObject && settings::charged(&call)?;
        let mut reply = dispatch(operation, call).await?;
        settings::charged_header(reply.headers_mut(), charged);
        Ok(reply)
    }

    /// What a bucket lays down about access.
    pub(super) fn rules(&self, bucket: &str) -> Result<Rc<Rules>> {
        Ok(Rules::kept(&*self.store.settings(bucket)?, bucket, self.store.identities()))
    }

    /// The error document, or only its status where the answer has no body.
    #[cold]
    fn refuse(&self, error: &S3Error, trace: &Trace<'_>, request_id: &HeaderValue) -> Reply {
        let parts = trace.parts;
        let target = target(trace.host, parts.uri.path(), &self.settings.domains).unwrap_or_default();
        let query = parts.uri.query().and_then(|query| Query::parse(query).ok());
        let place = Place {
            resource: parts.uri.path(),
            bucket: target.bucket.as_deref(),
            key: target.key.as_deref(),
            version: query.as_ref().and_then(|query| query.get("versionId")),
            method: parts.method.as_str(),
            request_id: request_id.to_str().unwrap_or(""),
            host_id: &self.settings.host_id,
        };
        let mut reply = failure(error, (parts.method != Method::HEAD).then(|| error.to_xml(&place)));
        if matches!(error.code(), Code::SlowDown | Code::ServiceUnavailable) {
            reply.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // Whoever asks for a bucket is told where it is, also when it is not for them.
        let asks_for_bucket = parts.method == Method::HEAD && place.key.is_none();
        if asks_for_bucket && place.bucket.is_some_and(|bucket| self.store.settings(bucket).is_ok()) {
            set(reply.headers_mut(), BUCKET_REGION, &self.settings.region);
        }
        reply
    }

    /// Holds memory for a document until it is written, `held` first. False where there is none; a document that
    /// tells what was done is then sent all the same.
    fn keep_memory(&self, reply: &mut Reply, link: &Link, mut held: Permit) -> bool {
        let Some(data) = large_document(reply) else {
            link.answers_document(0);
            return true;
        };
        let mut memory = held.split(data.len());
        let missing = data.len().saturating_sub(memory.bytes());
        let more = if missing == 0 { Some(Permit::none()) } else { self.documents.try_acquire(missing) };
        let is_held = more.is_some();
        memory.merge(more.unwrap_or_else(Permit::none));
        link.answers_document(memory.bytes());
        keep(data, memory);
        is_held
    }

    /// The same for a page of the operator, who wants to see what is wrong when clients have taken all there is.
    fn keep_operator_memory(&self, reply: &mut Reply, link: &Link) -> bool {
        let Some(data) = large_document(reply) else {
            link.answers_document(0);
            return true;
        };
        let bytes = data.len();
        let memory = self.documents.try_acquire(bytes).or_else(|| self.pages.try_acquire(bytes));
        link.answers_document(bytes);
        memory.map(|memory| keep(data, memory)).is_some()
    }

    fn stamp(&self, headers: &mut HeaderMap, request_id: HeaderValue) {
        headers.insert(REQUEST_ID, request_id);
        headers.insert(HOST_ID, self.host_id.clone());
        headers.insert(SERVER, HeaderValue::from_static("Basalt"));
    }

    fn count(&self, mut ticket: Ticket, mut reply: Reply, error: Option<Code>) -> Reply {
        match error {
            Some(code) => ticket.failed(code),
            None => ticket.succeeded(),
        }
        match reply.body_mut() {
            Body::Stream(streaming) => streaming.counted_by(ticket),
            Body::Full(data) => ticket.bytes_out = data.len() as u64,
            Body::Empty | Body::Late(_) => {}
        }
        reply
    }

    /// Sixteen hexadecimal digits that do not repeat in the life of the process.
    pub(super) fn next_request_id(&self) -> HeaderValue {
        let count = self.requests.get().wrapping_add(1);
        self.requests.set(count);
        let mut text = [0; 16];
        hex::encode_to_slice(scramble(count).to_be_bytes(), &mut text).expect("16 digits for 8 bytes");
        text.make_ascii_uppercase();
        HeaderValue::from_bytes(&text).expect("digits are ASCII")
    }
}

/// What of an answer is more than its connection has memory for.
fn large_document(reply: &mut Reply) -> Option<&mut Bytes> {
    match reply.body_mut() {
        Body::Full(data) if data.len() > ANSWER_BYTES => Some(data),
        _ => None,
    }
}

fn keep(data: &mut Bytes, memory: Permit) {
    *data = Bytes::from_owner(Held { data: std::mem::take(data), _memory: memory });
}

/// A document with the memory it takes.
struct Held {
    data: Bytes,
    _memory: Permit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// One to one, so that consecutive numbers look unrelated and stay distinct (the finalizer of
/// SplitMix64).
fn scramble(count: u64) -> u64 {
    let mixed = (count ^ (count >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Whether the connection can go on after this request.
///
/// A client that was answered while it waited for `100 Continue` may send its body or not, so
/// nothing can follow. That holds for an empty body too, for which hyper sends no 100: botocore
/// takes the next answer on such a connection for the rest of this one.
async fn settle(intake: &mut Intake, headers: &HeaderMap, may_wait: bool) -> bool {
    let unasked = headers.contains_key(EXPECT) && !intake.was_asked();
    !unasked && (intake.is_ended() || may_wait && intake.drain().await)
}

/// Since HTTP/1.1 a request names its host, and no request names two (RFC 9112 section 3.2).
pub(super) fn check_host(parts: &Parts) -> Result<()> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let is_good = match (hosts.next(), hosts.next()) {
        (Some(only), None) => only.to_str().is_ok(),
        (None, _) => parts.version <= Version::HTTP_10,
        (Some(_), Some(_)) => false,
    };
    let refusal = || S3Error::with(Code::InvalidRequest, "The request must have one Host header");
    if is_good { Ok(()) } else { Err(refusal()) }
}

pub(super) fn host<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> Option<&'r str> {
    let header = headers.get(HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| uri.authority().map(|authority| authority.as_str()))
}

async fn dispatch(operation: Operation, call: Call<'_>) -> Result<Reply> {
    match operation {
        Operation::GetObject => get::get_object(call).await,
        Operation::PutObject => put::put_object(call).await,
        Operation::HeadObject => get::head_object(call).await,
        Operation::DeleteObject => delete::delete_object(call).await,
        _ => Box::pin(dispatch_rare(operation, call)).await,
    }
}

async fn dispatch_rare(operation: Operation, call: Call<'_>) -> Result<Reply> {
    match operation {
        Operation::ListBuckets => bucket::list_buckets(call).await,
        Operation::CreateBucket => bucket::create_bucket(call).await,
        Operation::HeadBucket => bucket::head_bucket(call).await,
        Operation::DeleteBucket => bucket::delete_bucket(call).await,
        Operation::GetBucketLocation => bucket::get_location(call).await,
        Operation::ListObjects => list::list_objects(call).await,
        Operation::ListObjectsV2 => list::list_objects_v2(call).await,
        Operation::ListObjectVersions => list::list_object_versions(call).await,
        Operation::PostObject => post::post_object(call).await,
        Operation::DeleteObjects => delete::delete_objects(call).await,
        Operation::GetObjectAttributes => attributes::get_object_attributes(call).await,
        Operation::GetBucketVersioning => versioning::get_bucket_versioning(call).await,
        Operation::PutBucketVersioning => versioning::put_bucket_versioning(call).await,
        Operation::GetObjectLockConfiguration => versioning::get_object_lock(call).await,
        Operation::PutObjectLockConfiguration => versioning::put_object_lock(call).await,
        Operation::GetObjectTagging => tagging::get_object_tagging(call).await,
        Operation::PutObjectTagging => tagging::put_object_tagging(call).await,
        Operation::DeleteObjectTagging => tagging::delete_object_tagging(call).await,
        Operation::GetObjectRetention => lock::get_object_retention(call).await,
        Operation::PutObjectRetention => lock::put_object_retention(call).await,
        Operation::GetObjectLegalHold => lock::get_object_legal_hold(call).await,
        Operation::PutObjectLegalHold => lock::put_object_legal_hold(call).await,
        Operation::CopyObject => copy::copy_object(call).await,
        Operation::UploadPartCopy => copy::upload_part_copy(call).await,
        Operation::CreateMultipartUpload => multipart::create(call).await,
        Operation::UploadPart => multipart::upload_part(call).await,
        Operation::CompleteMultipartUpload => multipart::complete(call).await,
        Operation::AbortMultipartUpload => multipart::abort(call).await,
        Operation::ListParts => multipart::list_parts(call).await,
        Operation::ListMultipartUploads => multipart::list_uploads(call).await,
        Operation::GetObjectAcl => acl::get_object_acl(call).await,
        Operation::PutObjectAcl => acl::put_object_acl(call).await,
        Operation::GetBucketAcl => acl::get_bucket_acl(call).await,
        Operation::PutBucketAcl => acl::put_bucket_acl(call).await,
        Operation::GetBucketPolicy => policy::get(call).await,
        Operation::PutBucketPolicy => policy::put(call).await,
        Operation::DeleteBucketPolicy => policy::delete(call).await,
        Operation::GetBucketPolicyStatus => policy::status(call).await,
        _ => match operation.setting() {
            Access::Reads => settings::get(operation, call).await,
            Access::Sets => settings::put(operation, call).await,
            Access::Removes => settings::delete(operation, call).await,
            Access::Inventory => inventory::inventory(operation, call).await,
            Access::None => bucket::get_setting(operation),
        },
    }
}

/// Where an object is found, as `Location` says it.
pub(super) fn location(call: &Call<'_>) -> String {
    let host = call.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
    format!("http://{host}{}", call.path)
}
