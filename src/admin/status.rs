//! `basalt status`, `drive` and `scrub`: asks a running server for its report, or gives it an order.
//!
//! A client for one request, over a blocking socket of the standard library: no runtime, no TLS. It speaks
//! HTTP/1.0, so that the answer is never chunked and ends with the connection. What comes back is hostile
//! as any outside bytes: bounded in size and time, and checked before use.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};

use super::credentials::Credentials;
use super::operator::Order;
use super::report::Report;
use super::table;
use crate::base::limits::{STATUS_BYTES_MAX, STATUS_SECONDS_MAX};
use crate::base::time::Nanos;
use crate::codec::sigv4::{EMPTY_SHA256, SignError, Signer};

const PATH: &str = "/-/admin/v1/status";

/// Whom to ask, as whom.
#[derive(Clone, Debug)]
pub struct StatusRequest {
    /// `http://HOST:PORT`.
    pub endpoint: String,
    pub credentials: Credentials,
    pub region: String,
    /// The clock, for the signature.
    pub now: Nanos,
}

/// The server's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub json: String,
    pub report: Report,
}

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("{0}: expected http://HOST:PORT (TLS is not spoken here)")]
    Endpoint(String),
    #[error("no server answers at {endpoint}: {source}")]
    Connect { endpoint: String, source: io::Error },
    #[error("the connection to {endpoint} failed: {source}")]
    Io { endpoint: String, source: io::Error },
    #[error("the server at {endpoint} refused the request: {message}")]
    Refused { endpoint: String, message: String },
    #[error("what answers at {endpoint} is not a Basalt server: {reason}")]
    NotOurs { endpoint: String, reason: &'static str },
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Asks the server how it is.
pub fn ask(request: &StatusRequest) -> Result<Answer, StatusError> {
    let body = exchange(request, &Method::GET, PATH)?;
    let not_ours =
        StatusError::NotOurs { endpoint: request.endpoint.clone(), reason: "the answer is not a report" };
    let report = serde_json::from_str(&body).map_err(|_| not_ours)?;
    Ok(Answer { json: body, report })
}

/// Gives the server an order; what it says that it did.
pub fn order(request: &StatusRequest, order: Order) -> Result<String, StatusError> {
    let path = match order {
        Order::Readmit(drive) => format!("/-/admin/v1/drives/{drive}/readmit"),
        Order::Scrub => "/-/admin/v1/scrub".to_owned(),
    };
    let body = exchange(request, &Method::POST, &path)?;
    message_of(&body).ok_or_else(|| StatusError::NotOurs {
        endpoint: request.endpoint.clone(),
        reason: "the answer does not say what was done",
    })
}

/// One request; the body of an answer with status 200.
fn exchange(request: &StatusRequest, method: &Method, path: &str) -> Result<String, StatusError> {
    let authority = authority_of(&request.endpoint)?;
    let head = signed_head(request, authority, method, path)?;
    let io_error = |source| StatusError::Io { endpoint: request.endpoint.clone(), source };
    let mut stream = connect(&request.endpoint, authority)?;
    stream.write_all(head.as_bytes()).map_err(io_error)?;
    let mut answer = Vec::new();
    let bound = STATUS_BYTES_MAX as u64 + 1;
    stream.take(bound).read_to_end(&mut answer).map_err(io_error)?;
    read_answer(&request.endpoint, &answer)
}

/// The report as a person reads it.
pub fn render(endpoint: &str, report: &Report) -> String {
    table::report(endpoint, report)
}

/// `HOST:PORT` of an endpoint; port 80 when none is named.
fn authority_of(endpoint: &str) -> Result<&str, StatusError> {
    let refused = || StatusError::Endpoint(endpoint.to_owned());
    let rest = endpoint.strip_prefix("http://").ok_or_else(refused)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".:-_[]".contains(&b);
    if authority.is_empty() || !authority.bytes().all(plain) {
        return Err(refused());
    }
    Ok(authority)
}

fn has_port(authority: &str) -> bool {
    let after_address = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    after_address.contains(':')
}

fn signed_head(
    request: &StatusRequest,
    authority: &str,
    method: &Method,
    path: &str,
) -> Result<String, StatusError> {
    let mut headers = HeaderMap::new();
    let host =
        HeaderValue::from_str(authority).map_err(|_| StatusError::Endpoint(request.endpoint.clone()))?;
    headers.insert(http::header::HOST, host);
    let signer = Signer {
        access_key: &request.credentials.access_key,
        secret: &request.credentials.secret_key,
        region: &request.region,
        session_token: None,
    };
    signer.sign(method, path, "", &mut headers, EMPTY_SHA256, request.now)?;
    let mut head = format!("{method} {path} HTTP/1.0\r\n");
    for (name, value) in &headers {
        let value = value.to_str().map_err(|_| SignError::Credential)?;
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    Ok(head)
}

fn connect(endpoint: &str, authority: &str) -> Result<TcpStream, StatusError> {
    let failed = |source| StatusError::Connect { endpoint: endpoint.to_owned(), source };
    let bound = Duration::from_secs(STATUS_SECONDS_MAX);
    let with_port = if has_port(authority) { authority.to_owned() } else { format!("{authority}:80") };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in with_port.to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&address, bound) {
            Ok(stream) => {
                stream.set_read_timeout(Some(bound)).map_err(failed)?;
                stream.set_write_timeout(Some(bound)).map_err(failed)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(failed(last))
}

fn read_answer(endpoint: &str, answer: &[u8]) -> Result<String, StatusError> {
    let not_ours = |reason| StatusError::NotOurs { endpoint: endpoint.to_owned(), reason };
    if answer.len() > STATUS_BYTES_MAX {
        return Err(not_ours("the answer is too long"));
    }
    let answer = std::str::from_utf8(answer).map_err(|_| not_ours("the answer is not text"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| not_ours("the answer is not HTTP"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(status_of).ok_or_else(|| not_ours("the answer is not HTTP"))?;
    if lines.find_map(content_length).is_some_and(|length| length != body.len()) {
        return Err(not_ours("the answer was cut off"));
    }
    if status != 200 {
        return Err(StatusError::Refused { endpoint: endpoint.to_owned(), message: refusal(status, body) });
    }
    Ok(body.to_owned())
}

fn status_of(line: &str) -> Option<u16> {
    let (version, rest) = line.split_once(' ')?;
    let code = rest.get(..3)?;
    version.starts_with("HTTP/1.").then(|| code.parse().ok())?
}

fn content_length(line: &str) -> Option<usize> {
    let (name, value) = line.split_once(':')?;
    if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
}

/// The message of the admin API's error document, or the bare status.
fn refusal(status: u16, body: &str) -> String {
    message_of(body).unwrap_or_else(|| format!("HTTP status {status}"))
}

/// The message of a document, fit for a terminal.
fn message_of(body: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(body).ok()?;
    let message = document.get("message")?.as_str()?;
    Some(message.chars().filter(|c| !c.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;
    use std::net::TcpListener;
    use std::thread;

    const E: &str = "http://localhost:9000";

    fn request(endpoint: String) -> StatusRequest {
        let credentials = Credentials::new("A".repeat(20), "s".repeat(40)).expect("within the bounds");
        StatusRequest {
            endpoint,
            credentials,
            region: "us-east-1".to_owned(),
            now: Nanos::from_seconds(1 << 30),
        }
    }

    /// A server that reads one head and answers with `answer`; gives the head it read.
    fn serve_once(answer: String) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a byte");
                head.extend(byte);
            }
            stream.write_all(answer.as_bytes()).expect("it is read");
            String::from_utf8(head).expect("text")
        });
        (endpoint, server)
    }

    #[test]
    fn a_report_comes_back() {
        let report = Report::new(&sample::snapshot(), Ok(()));
        let json = serde_json::to_string(&report).expect("plain data");
        let (endpoint, server) =
            serve_once(format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{json}", json.len()));
        let answer = ask(&request(endpoint)).expect("an answer");
        assert_eq!((answer.report, answer.json), (report, json));
        let head = server.join().expect("the server ends");
        assert!(head.starts_with("GET /-/admin/v1/status HTTP/1.0\r\n"), "{head}");
        assert!(head.contains("authorization: AWS4-HMAC-SHA256 Credential=AAAA"), "{head}");
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for body in ["", "[1]"] {
            let (endpoint, server) = serve_once(format!("HTTP/1.0 200 OK\r\n\r\n{body}"));
            assert!(matches!(ask(&request(endpoint)), Err(StatusError::NotOurs { .. })));
            server.join().expect("the server ends");
        }
    }

    #[test]
    fn an_order_is_a_post_and_its_answer_is_told() {
        let (endpoint, server) =
            serve_once("HTTP/1.0 200 OK\r\n\r\n{\"message\":\"drive 3 is back\"}".to_owned());
        let said = order(&request(endpoint), Order::Readmit(3)).expect("an answer");
        assert_eq!(said, "drive 3 is back");
        let head = server.join().expect("the server ends");
        assert!(head.starts_with("POST /-/admin/v1/drives/3/readmit HTTP/1.0\r\n"), "{head}");
    }

    #[test]
    fn nobody_home_is_said_so() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        assert!(matches!(ask(&request(endpoint)), Err(StatusError::Connect { .. })));
    }

    #[test]
    fn endpoints() {
        for (endpoint, authority) in [
            ("http://localhost:9000", "localhost:9000"),
            ("http://localhost:9000/", "localhost:9000"),
            ("http://[::1]:9000", "[::1]:9000"),
            ("http://store", "store"),
        ] {
            assert_eq!(authority_of(endpoint).expect("it is one"), authority);
        }
        for endpoint in
            ["https://localhost", "localhost:9000", "http://", "http://a/b", "http://a b", "http://a\r\nx"]
        {
            assert!(matches!(authority_of(endpoint), Err(StatusError::Endpoint(_))), "{endpoint}");
        }
        assert!(has_port("[::1]:1") && has_port("a:1") && !has_port("[::1]") && !has_port("a"));
    }

    #[test]
    fn refusals_show_the_servers_message_and_nothing_else() {
        let answer =
            b"HTTP/1.1 403 Forbidden\r\n\r\n{\"code\":\"AccessDenied\",\"message\":\"not \\u001b[2Jroot\"}";
        let error = read_answer(E, answer).expect_err("refused").to_string();
        assert!(error.ends_with("refused the request: not [2Jroot"), "{error}");
        let error = read_answer(E, b"HTTP/1.1 404 Not Found\r\n\r\n<html>").expect_err("refused").to_string();
        assert!(error.ends_with("HTTP status 404"), "{error}");
    }

    #[test]
    fn answers_of_strangers() {
        for answer in [
            &b""[..],
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe",
            &[b'x'; STATUS_BYTES_MAX + 1],
        ] {
            assert!(matches!(read_answer(E, answer), Err(StatusError::NotOurs { .. })));
        }
    }
}
