//! A client of the admin API for one request, over a blocking socket of the standard library: no runtime,
//! no TLS.
//!
//! It speaks HTTP/1.0, so that the answer is never chunked and ends with the connection. What comes back is
//! hostile as any outside bytes: bounded in size and time, and checked before use. Behind `basalt status`
//! and `basalt admin`.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};

use super::credentials::Credentials;
use crate::base::limits::{STATUS_BYTES_MAX, STATUS_SECONDS_MAX};
use crate::base::time::Nanos;
use crate::codec::sigv4::{EMPTY_SHA256, SignError, Signer};

/// Whom to ask, as whom.
#[derive(Clone, Debug)]
pub struct AdminRequest {
    /// `http://HOST:PORT`.
    pub endpoint: String,
    pub credentials: Credentials,
    pub region: String,
    /// The clock, for the signature.
    pub now: Nanos,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("--endpoint {0}: expected http://HOST:PORT; https is not supported")]
    Endpoint(String),
    #[error("no server answers at {endpoint}: {source}; start it, or name another with --endpoint")]
    Connect { endpoint: String, source: io::Error },
    #[error("the connection to {endpoint} failed: {source}")]
    Io { endpoint: String, source: io::Error },
    #[error("the server at {endpoint} refused the request: {message}")]
    Refused { endpoint: String, message: String },
    #[error("what answers at {endpoint} is not a Basalt server: {reason}; name another with --endpoint")]
    NotOurs { endpoint: String, reason: &'static str },
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Sends one request without a body; gives the JSON of its answer. `query` is encoded.
pub fn send(request: &AdminRequest, method: &Method, path: &str, query: &str) -> Result<String, ClientError> {
    let authority = authority_of(&request.endpoint)?;
    let head = signed_head(request, authority, method, path, query)?;
    let io_error = |source| ClientError::Io { endpoint: request.endpoint.clone(), source };
    let mut stream = connect(&request.endpoint, authority)?;
    stream.write_all(head.as_bytes()).map_err(io_error)?;
    let mut answer = Vec::new();
    let bound = STATUS_BYTES_MAX as u64 + 1;
    stream.take(bound).read_to_end(&mut answer).map_err(io_error)?;
    read_answer(&request.endpoint, &answer)
}

/// The answer is not what this version expects.
pub fn not_ours(request: &AdminRequest, reason: &'static str) -> ClientError {
    ClientError::NotOurs { endpoint: request.endpoint.clone(), reason }
}

/// `HOST:PORT` of an endpoint; port 80 when none is named.
fn authority_of(endpoint: &str) -> Result<&str, ClientError> {
    let refused = || ClientError::Endpoint(endpoint.to_owned());
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
    request: &AdminRequest,
    authority: &str,
    method: &Method,
    path: &str,
    query: &str,
) -> Result<String, ClientError> {
    let mut headers = HeaderMap::new();
    let host =
        HeaderValue::from_str(authority).map_err(|_| ClientError::Endpoint(request.endpoint.clone()))?;
    headers.insert(http::header::HOST, host);
    let signer = Signer {
        access_key: &request.credentials.access_key,
        secret: &request.credentials.secret_key,
        region: &request.region,
        session_token: None,
    };
    signer.sign(method, path, query, &mut headers, EMPTY_SHA256, request.now)?;
    let mark = if query.is_empty() { "" } else { "?" };
    let mut head = format!("{method} {path}{mark}{query} HTTP/1.0\r\n");
    if method != Method::GET {
        head.push_str("content-length: 0\r\n");
    }
    for (name, value) in &headers {
        let value = value.to_str().map_err(|_| SignError::Credential)?;
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    Ok(head)
}

fn connect(endpoint: &str, authority: &str) -> Result<TcpStream, ClientError> {
    let failed = |source| ClientError::Connect { endpoint: endpoint.to_owned(), source };
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

fn read_answer(endpoint: &str, answer: &[u8]) -> Result<String, ClientError> {
    let not_ours = |reason| ClientError::NotOurs { endpoint: endpoint.to_owned(), reason };
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
        return Err(ClientError::Refused { endpoint: endpoint.to_owned(), message: refusal(status, body) });
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
    let document: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let message = document.as_ref().and_then(|d| d.get("message")).and_then(|m| m.as_str());
    message
        .map_or_else(|| format!("HTTP status {status}"), |m| m.chars().filter(|c| !c.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const E: &str = "http://localhost:9000";

    #[test]
    fn nobody_home_is_said_so() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let credentials = Credentials::new("A".repeat(20), "s".repeat(40)).expect("within the bounds");
        let (region, now) = ("us-east-1".to_owned(), Nanos::from_seconds(1 << 30));
        let request = AdminRequest { endpoint, credentials, region, now };
        let error = send(&request, &Method::GET, "/-/admin/v1/status", "");
        assert!(matches!(error, Err(ClientError::Connect { .. })));
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
            assert!(matches!(authority_of(endpoint), Err(ClientError::Endpoint(_))), "{endpoint}");
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
            assert!(matches!(read_answer(E, answer), Err(ClientError::NotOurs { .. })));
        }
    }
}
