//! `basalt status`, `drive` and `scrub`: asks a running server for its report, or gives it an order.
//!
//! The request goes through `client`; what comes back is checked before use. The server's JSON is kept as it
//! came, for scripts.

use http::Method;

use super::client::{self, AdminRequest, ClientError};
use super::operator::Order;
use super::report::Report;
use super::table;

const PATH: &str = "/-/admin/v1/status";

/// The server's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub json: String,
    pub report: Report,
}

/// Asks the server.
pub fn ask(request: &AdminRequest) -> Result<Answer, ClientError> {
    let json = client::send(request, &Method::GET, PATH, "")?;
    let report = serde_json::from_str(&json);
    let report = report.map_err(|_| client::not_ours(request, "the answer is not a report"))?;
    Ok(Answer { json, report })
}

/// Gives the server an order; its JSON, and what it says that it did.
pub fn order(request: &AdminRequest, order: Order) -> Result<(String, String), ClientError> {
    let path = match order {
        Order::Readmit(drive) => format!("/-/admin/v1/drives/{drive}/readmit"),
        Order::Scrub => "/-/admin/v1/scrub".to_owned(),
    };
    let json = client::send(request, &Method::POST, &path, "")?;
    let document: Option<serde_json::Value> = serde_json::from_str(&json).ok();
    let message = document.as_ref().and_then(|d| d.get("message")).and_then(|m| m.as_str());
    let said = message.map(|m| m.chars().filter(|c| !c.is_control()).collect());
    let said = said.ok_or_else(|| client::not_ours(request, "the answer does not say what was done"))?;
    Ok((json, said))
}

/// The report as a person reads it.
pub fn render(endpoint: &str, report: &Report) -> String {
    table::report(endpoint, report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::credentials::Credentials;
    use crate::admin::sample;
    use crate::base::time::Nanos;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    fn request(endpoint: String) -> AdminRequest {
        let credentials = Credentials::new("A".repeat(20), "s".repeat(40)).expect("within the bounds");
        AdminRequest {
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
    fn an_answer_that_is_no_report_is_not_ours() {
        for body in ["", "[1]", "1"] {
            let (endpoint, server) = serve_once(format!("HTTP/1.0 200 OK\r\n\r\n{body}"));
            assert!(matches!(ask(&request(endpoint)), Err(ClientError::NotOurs { .. })), "{body}");
            server.join().expect("the server ends");
        }
    }
}
