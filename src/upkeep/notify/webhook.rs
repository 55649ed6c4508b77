//! A target that is told over HTTP: its name and address, and the client that posts to it.
//!
//! A client keeps one connection open. What comes back is hostile as any outside bytes: bounded in time and
//! size, and only its status counts. Names are looked up on a thread of their own, because the system's resolver
//! cannot be interrupted; one at a time for each target, whoever posts to it. The token of a target never stands in a
//! log. An `https` address is spoken to only when its certificate proves its name. May use `io::{socket, tls}`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};

use crate::base::limits::{
    WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_DRAIN_SECONDS_MAX, WEBHOOK_NAME_BYTES_MAX, WEBHOOK_SECONDS_MAX,
    WEBHOOK_TEST_SECONDS_MAX, WEBHOOK_TOKEN_BYTES_MAX, WEBHOOK_URL_BYTES_MAX,
};
use crate::base::task;
use crate::io::socket;
use crate::io::tls::Trust;

/// A target as the configuration of the server names it.
#[derive(Clone)]
pub struct Webhook {
    pub name: String,
    destination: Destination,
    token: Option<HeaderValue>,
    /// Ids of the accounts whose buckets may name it; `None` for all.
    accounts: Option<Vec<String>>,
    /// Shared by everybody who posts to this target: its name is looked up once at a time.
    resolving: Arc<Semaphore>,
    /// Who is believed, of an `https` address; `None` for `http`.
    trust: Option<Trust>,
}

impl PartialEq for Webhook {
    fn eq(&self, other: &Self) -> bool {
        let parts = |hook: &Self| {
            (hook.name.clone(), hook.token.clone(), hook.accounts.clone(), hook.trust.is_some())
        };
        self.destination == other.destination && parts(self) == parts(other)
    }
}

impl Eq for Webhook {}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    Http {
        /// As in the URL, for the `Host` header.
        authority: String,
        host: String,
        port: u16,
        /// With the query.
        path: Uri,
    },
    /// Nobody: events are deleted.
    Discard,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "hidden");
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("destination", &self.destination)
            .field("token", &token)
            .field("accounts", &self.accounts)
            .finish()
    }
}

/// The address of a target that throws everything away.
pub const DISCARD: &str = "discard";

impl Webhook {
    /// `url` is `http[s]://HOST[:PORT][/PATH]`, or `discard`; `trust` is asked whom to believe where it is `https`. An
    /// error says what would do.
    pub fn new(
        name: &str,
        url: &str,
        token: Option<&str>,
        trust: impl FnOnce() -> Result<Trust, String>,
    ) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > WEBHOOK_NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(format!(
                "a name is 1 to {WEBHOOK_NAME_BYTES_MAX} letters, digits, dashes, dots and underscores"
            ));
        }
        let (destination, scheme) =
            if url == DISCARD { (Destination::Discard, Scheme::HTTP) } else { parse(url)? };
        let token = match token {
            None => None,
            Some(token) => Some(bearer(token).ok_or("the token cannot be sent in a header")?),
        };
        let trust = if scheme == Scheme::HTTPS { Some(trust()?) } else { None };
        let (name, resolving) = (name.to_owned(), Arc::new(Semaphore::new(1)));
        Ok(Webhook { name, destination, token, accounts: None, resolving, trust })
    }

    /// For buckets of these accounts alone, by their ids.
    pub fn only_for(self, accounts: Vec<String>) -> Result<Self, String> {
        let is_id = |id: &String| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
        match accounts.iter().all(is_id) {
            true => Ok(Webhook { accounts: Some(accounts), ..self }),
            false => Err("accounts are named by their ids of twelve digits".to_owned()),
        }
    }

    /// Whether buckets of that account may name it.
    pub fn is_for(&self, account: &str) -> bool {
        self.accounts.as_ref().is_none_or(|accounts| accounts.iter().any(|id| id == account))
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let fits = !token.is_empty() && token.len() <= WEBHOOK_TOKEN_BYTES_MAX;
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok().filter(|_| fits)?;
    value.set_sensitive(true);
    Some(value)
}

fn parse(url: &str) -> Result<(Destination, Scheme), String> {
    let shape = || "expected http://HOST:PORT/PATH, or the same with https".to_owned();
    if url.len() > WEBHOOK_URL_BYTES_MAX {
        return Err(shape());
    }
    let uri: Uri = url.parse().map_err(|_| shape())?;
    let scheme = uri.scheme().ok_or_else(shape)?.clone();
    let usual_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return Err(shape()),
    };
    let authority =
        uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(shape)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let destination = Destination::Http {
        authority: authority.to_string(),
        host: host.to_owned(),
        port: authority.port_u16().unwrap_or(usual_port),
        path: path.parse().map_err(|_| shape())?,
    };
    Ok((destination, scheme))
}

/// Why an event was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody there, too slow, or overloaded.
    #[error("{0}")]
    Down(String),
    #[error("it answered with status {0}")]
    Refused(u16),
}

fn down(error: impl fmt::Display) -> Failure {
    Failure::Down(error.to_string())
}

/// Posts the greeting of a new configuration, for which somebody waits.
pub async fn greet(webhook: Webhook, body: Bytes) -> Result<(), Failure> {
    let mut client = Client::new(webhook);
    match client.discards() {
        true => Ok(()),
        false => within(WEBHOOK_TEST_SECONDS_MAX, client.exchange(body)).await,
    }
}

async fn within(seconds: u64, exchange: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let late = || down(format!("it did not answer within {seconds} s"));
    tokio::time::timeout(Duration::from_secs(seconds), exchange).await.unwrap_or_else(|_| Err(late()))
}

/// Posts to one target.
pub struct Client {
    webhook: Webhook,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub fn new(webhook: Webhook) -> Self {
        Client { webhook, open: None }
    }

    /// Whether nobody is to be told at all.
    pub fn discards(&self) -> bool {
        self.webhook.destination == Destination::Discard
    }

    /// Returns when the target has taken it.
    pub async fn post(&mut self, body: Bytes) -> Result<(), Failure> {
        within(WEBHOOK_SECONDS_MAX, self.exchange(body)).await
    }

    async fn exchange(&mut self, body: Bytes) -> Result<(), Failure> {
        // One that was closed meanwhile says so only when it is used: then a new one is tried.
        if let Some(mut open) = self.open.take()
            && open.ready().await.is_ok()
            && let Ok(answer) = open.send_request(self.request(body.clone())?).await
        {
            return self.judge(open, answer).await;
        }
        let mut fresh = self.connect().await?;
        let answer = fresh.send_request(self.request(body)?).await.map_err(down)?;
        self.judge(fresh, answer).await
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let Destination::Http { authority, path, .. } = &self.webhook.destination else {
            return Err(down("it discards"));
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path.clone())
            .header(HOST, authority)
            .header(USER_AGENT, "Basalt")
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.webhook.token {
            request = request.header(AUTHORIZATION, token);
        }
        request.body(Full::new(body)).map_err(down)
    }

    /// What the status says; the connection is kept when the rest of the answer is short and comes soon.
    async fn judge(
        &mut self,
        open: SendRequest<Full<Bytes>>,
        answer: hyper::Response<Incoming>,
    ) -> Result<(), Failure> {
        let status = answer.status();
        let limit = Duration::from_secs(WEBHOOK_DRAIN_SECONDS_MAX);
        let drained = tokio::time::timeout(limit, is_short(answer.into_body())).await;
        self.open = Some(open).filter(|_| drained == Ok(true));
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS => Err(down(format!("it answered with status {status}"))),
            status if status.is_server_error() => Err(down(format!("it answered with status {status}"))),
            status => Err(Failure::Refused(status.as_u16())),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let mut last = down("its name has no address");
        for address in self.resolve().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.begin(stream).await,
                Err(error) => last = down(error),
            }
        }
        Err(last)
    }

    async fn begin(&self, stream: TcpStream) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let _ = stream.set_nodelay(true);
        match (&self.webhook.destination, &self.webhook.trust) {
            (Destination::Http { host, .. }, Some(trust)) => {
                speak(trust.connect(host, stream).await.map_err(down)?).await
            }
            _ => speak(stream).await,
        }
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        let Destination::Http { host, port, .. } = &self.webhook.destination else { return Ok(Vec::new()) };
        if let Ok(address) = host.parse() {
            return Ok(vec![SocketAddr::new(address, *port)]);
        }
        // Held until the resolver is through, whether anybody still waits for it or not.
        let turn = self.webhook.resolving.clone().acquire_owned().await.map_err(down)?;
        let (tell, told) = oneshot::channel();
        let (host, port) = (host.clone(), *port);
        let lookup = move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            let _ = tell.send(found);
            drop(turn);
        };
        std::thread::Builder::new().name("resolve".into()).spawn(lookup).map_err(down)?;
        told.await.map_err(down)?.map_err(down)
    }
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(Socket(stream)).await.map_err(down)?;
    // It ends when its sender is dropped, and tells the sender why it ended before.
    task::spawn(async { drop(connection.await) });
    Ok(sender)
}

/// Reads an answer to its end, if that is near.
async fn is_short(mut body: Incoming) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > WEBHOOK_ANSWER_BYTES_MAX {
            return false;
        }
    }
    true
}

/// A stream as hyper reads and writes it.
struct Socket<S>(S);

impl<S: AsyncRead + Unpin> Read for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        socket::poll_read(&mut self.0, cx, into, usize::MAX).map_ok(drop)
    }
}

impl<S: AsyncWrite + Unpin> Write for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, url: &str, token: Option<&str>) -> String {
        made(name, url, token).expect_err("it is refused")
    }

    fn made(name: &str, url: &str, token: Option<&str>) -> Result<Webhook, String> {
        Webhook::new(name, url, token, || Err("whom to believe".to_owned()))
    }

    #[test]
    fn addresses() {
        let webhook = made("w", "http://[::1]:81/a/b?c=d", None).expect("it is one");
        let path = "/a/b?c=d".parse().expect("a path");
        let (authority, host) = ("[::1]:81".to_owned(), "::1".to_owned());
        let expected = Destination::Http { authority, host, port: 81, path };
        assert_eq!(webhook.destination, expected);
        assert_eq!(refusal("w", "https://host/x", None), "whom to believe");
        let (destination, scheme) = parse("https://host/x").expect("it is one");
        assert!(scheme == Scheme::HTTPS && matches!(destination, Destination::Http { port: 443, .. }));
        let Ok(Webhook { destination: Destination::Http { port, path, .. }, .. }) =
            made("w", "http://host", None)
        else {
            panic!("it is one");
        };
        assert_eq!((port, path.path()), (80, "/"));
        assert!(made("w", "discard", None).is_ok());
        for url in ["host:80", "ftp://host", "http://", "http://a b", "http://user:secret@host/", ""] {
            assert!(refusal("w", url, None).contains("http://HOST"), "{url}");
        }
        assert!(refusal("a b", "http://host", None).contains("name"));
        assert!(refusal("", "http://host", None).contains("name"));
    }

    #[test]
    fn a_token_is_not_shown() {
        let webhook = made("w", "http://host", Some("geheim")).expect("it is one");
        assert!(!format!("{webhook:?}").contains("geheim"));
        let request = Client::new(webhook).request(Bytes::new()).expect("a request");
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer geheim");
        assert!(!format!("{request:?}").contains("geheim"));
        assert!(refusal("w", "http://host", Some("a\nb")).contains("token"));
    }

    #[test]
    fn a_name_is_looked_up_once_at_a_time_whoever_asks() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let webhook = made("w", "http://localhost:80/", None).expect("it is one");
            let turn = webhook.resolving.clone().acquire_owned().await.expect("it is free");
            let client = Client::new(webhook.clone());
            let hurried = tokio::time::timeout(Duration::ZERO, client.resolve()).await;
            assert!(hurried.is_err(), "somebody else is at it");
            drop(turn);
            assert!(client.resolve().await.is_ok_and(|found| !found.is_empty()));
        });
    }

    #[test]
    fn a_target_may_be_for_some_accounts_alone() {
        let webhook = made("w", "discard", None).expect("it is one");
        assert!(webhook.is_for("123456789012"));
        let theirs = webhook.clone().only_for(vec!["123456789012".into()]).expect("an id");
        assert!(theirs.is_for("123456789012") && !theirs.is_for("210987654321") && !theirs.is_for(""));
        assert!(theirs != webhook && theirs == theirs.clone());
        assert!(webhook.only_for(vec!["someone".into()]).is_err_and(|rule| rule.contains("twelve")));
    }

    /// Answers the requests of one connection after the other with these bytes. All but the first are closed
    /// then: what that one still owes stays owed.
    async fn serve(listener: tokio::net::TcpListener, answers: Vec<Vec<&'static [u8]>>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut first = None;
        for answers in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            for answer in answers {
                let mut request = Vec::new();
                while !request.ends_with(b"{}") {
                    let read = stream.read_buf(&mut request).await.expect("a request");
                    assert!(read > 0, "the request is whole");
                }
                stream.write_all(answer).await.expect("it listens");
            }
            first.get_or_insert(stream);
        }
    }

    fn with_server(answers: Vec<Vec<&'static [u8]>>, test: impl AsyncFnOnce(Client) + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(tokio::task::LocalSet::new().run_until(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://localhost:{}/", listener.local_addr().expect("an address").port());
            let server = tokio::task::spawn_local(serve(listener, answers));
            test(Client::new(made("w", &url, None).expect("it is one"))).await;
            server.await.expect("it served all it was to");
        }));
    }

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    const EMPTY: &[u8] = b"HTTP/1.1 204 Fine\r\n\r\n";
    /// The rest of the body never comes.
    const HALF: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\n\r\nx";
    const REFUSED: &[u8] = b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n";
    const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
    const NOISE: &[u8] = b"SSH-2.0-x\r\n\r\n";

    #[test]
    fn the_status_decides_and_a_connection_is_kept_or_made_anew() {
        let answers = vec![vec![OK, EMPTY, HALF], vec![REFUSED, BUSY, OK], vec![NOISE], vec![OK]];
        with_server(answers, async |mut client| {
            let mut post = async || client.post(Bytes::from_static(b"{}")).await;
            assert_eq!(post().await, Ok(()));
            assert_eq!(post().await, Ok(()));
            assert_eq!(post().await, Ok(()), "the rest of the answer is not waited for");
            assert_eq!(post().await, Err(Failure::Refused(404)));
            assert!(matches!(post().await, Err(Failure::Down(said)) if said.contains("503")));
            assert_eq!(post().await, Ok(()));
            assert!(matches!(post().await, Err(Failure::Down(_))), "the second connection was closed");
            assert_eq!(post().await, Ok(()));
        });
    }
}
