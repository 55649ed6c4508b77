//! The client edge: HTTP, authentication, routing, translation, errors.
//!
//! A `connection` hands each request to `service`, which finds the operation (`route`), verifies who asks (`auth`),
//! refuses what is not built (`headers`, `encryption`), asks whether it is allowed (`authorize`) and calls the
//! operation. Operations stand in the file of their topic and speak to `object::store` and `iam`; they know nothing of
//! drives, shards or the catalog. Failures become S3 errors in one table (`error`). The modules below are grouped in
//! this order.
//!
//! One `Edge` per core; nothing here is Send. Paths under `/-/` belong to the operator edge.

// A connection, and the memory it may take.
mod connection;
mod link;
mod room;

// A request, from its head to the operation: `service` leads it through all of these.
mod service;
mod route;
mod hoisted;
mod auth;
mod authorize;
mod facts;
mod headers;
mod encryption;
mod cors;

// What operations share: bodies in and out, errors, and headers with one meaning everywhere.
mod body;
mod response;
pub mod error;
mod conditions;
mod versions;
mod expiration;
pub mod stats;

// Operations on objects.
mod put;
mod post;
mod get;
mod attributes;
mod copy;
mod delete;
mod multipart;
mod tagging;
mod lock;

// Operations on buckets, and their settings.
mod bucket;
mod list;
mod settings;
mod acl;
mod amend;
mod policy;
mod versioning;
mod notification;
mod inventory;

// What is not the S3 API: IAM and STS, web sites, access logs.
mod query;
mod website;
mod access_log;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::base::budget::BufferBudget;
use crate::base::limits::{DELETE_BATCHES_MAX, STATUS_BYTES_MAX};
use crate::codec::md5::Md5Lanes;
use crate::object::lifecycle::witness::Listener;
use crate::object::store::Store;
use crate::upkeep::notify::webhook::Webhook;

pub use auth::Credentials;
pub use response::Body;
pub use route::Operation;
pub use stats::Stats;

/// Who answers below `/-/`. The answer's status tells the statistics whether it went well.
pub type Operator = Rc<dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>>>>>;

#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// The one region of this server: in signatures, locations and bucket listings.
    pub region: String,
    /// Base domains for virtual-host-style addresses, e.g. `s3.example.com`.
    pub domains: Vec<String>,
    /// Under which buckets are web sites.
    pub website_domains: Vec<String>,
    pub root: Credentials,
    /// What a bucket gets of which its maker says nothing.
    pub new_buckets: NewBuckets,
    /// From accept, or from the first byte of a further request, to the end of the head.
    pub head_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// `x-amz-id-2`: names this server in answers.
    pub host_id: String,
    /// Memory that documents of requests and answers may take.
    pub document_bytes: usize,
    /// Memory that connections with a request may take.
    pub connection_bytes: usize,
    /// Memory that lines of access logs may take until they are delivered.
    pub access_log_bytes: usize,
    /// Who may be told of events.
    pub webhooks: Arc<[Webhook]>,
    /// Random; request ids continue from it.
    pub request_seed: u64,
}

/// What a new bucket is like when nobody says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewBuckets {
    /// As on AWS today: ACLs are off, and public access is blocked.
    Closed,
    /// As on AWS before April 2023: ACLs count, and nothing is blocked.
    Open,
}

/// The client edge of one core; cheap to clone.
#[derive(Clone)]
pub struct Edge {
    shared: Rc<Shared>,
}

/// What all requests of a core share.
struct Shared {
    store: Store,
    settings: EdgeSettings,
    stats: Rc<Stats>,
    operator: Option<Operator>,
    authenticator: auth::Authenticator,
    tokens: list::Tokens,
    requests: std::cell::Cell<u64>,
    host_id: HeaderValue,
    /// Memory for documents of requests and answers.
    documents: BufferBudget,
    /// The same for pages of the operator, when clients have taken that.
    pages: BufferBudget,
    /// Batches of deletes that are worked on.
    batches: Semaphore,
    /// Memory for connections.
    room: Rc<room::Room>,
    log: Rc<access_log::AccessLog>,
    /// Where the bodies that are arriving have their MD5 computed.
    md5: Md5Lanes,
}

impl Edge {
    pub fn new(store: Store, settings: EdgeSettings, stats: Rc<Stats>, operator: Option<Operator>) -> Edge {
        let authenticator = auth::Authenticator::new(store.identities().clone(), settings.region.clone());
        let tokens = list::Tokens::new(&settings.root.secret_key);
        let host_id =
            HeaderValue::from_str(&settings.host_id).unwrap_or_else(|_| HeaderValue::from_static("basalt"));
        let requests = std::cell::Cell::new(settings.request_seed);
        let documents = BufferBudget::new(settings.document_bytes);
        let room = room::Room::new(settings.connection_bytes);
        let log = access_log::AccessLog::new(settings.access_log_bytes, stats.clone());
        let shared = Shared {
            store,
            settings,
            stats,
            operator,
            authenticator,
            tokens,
            requests,
            host_id,
            documents,
            pages: BufferBudget::new(STATUS_BYTES_MAX),
            batches: Semaphore::new(DELETE_BATCHES_MAX),
            room,
            log,
            md5: Md5Lanes::default(),
        };
        let shared = Rc::new(shared);
        let edge = Rc::downgrade(&shared);
        let listener: Listener = Rc::new(move |removal| {
            if let Some(edge) = edge.upgrade() {
                access_log::expired(&edge, removal);
            }
        });
        shared.store.witness(&listener);
        Edge { shared }
    }

    /// Delivers access logs every `interval`, until `finish_logs` was called and everything is delivered.
    pub fn deliver_logs(&self, interval: Duration) -> impl Future<Output = ()> + use<> {
        access_log::run(self.shared.clone(), interval)
    }

    /// To be called when the last request has been answered.
    pub fn finish_logs(&self) {
        self.shared.log.close();
    }

    /// Serves one connection until it ends; after `shutdown` it ends with the request in flight.
    pub fn serve(&self, stream: TcpStream, shutdown: impl Future<Output = ()>) -> impl Future<Output = ()> {
        connection::serve(self.shared.clone(), stream, shutdown)
    }

    /// Closes the connection whose client has been silent for longest: there are too many.
    pub fn close_one(&self) -> bool {
        self.shared.room.close_one()
    }

    /// Tells of connections and of documents the memory that is taken, and that there is.
    pub fn memory(&self) -> impl Fn() -> [(&'static str, usize, usize); 2] + use<> {
        let (room, documents) = (self.shared.room.clone(), self.shared.documents.clone());
        move || {
            let connections = ("connection", room.bytes_used(), room.bytes_max());
            [connections, ("document", documents.bytes_used(), documents.bytes_max())]
        }
    }

    pub fn stats(&self) -> &Rc<Stats> {
        &self.shared.stats
    }
}
