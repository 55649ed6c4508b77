//! Answers of the query protocol as XML.
//!
//! `<ActionResponse><ActionResult>...</ActionResult><ResponseMetadata/></ActionResponse>`, in the
//! namespace of the service; a result that has nothing in it is left out.

use http::{HeaderName, StatusCode};

use super::{Failure, Result};
use crate::codec::xml::XmlWriter;
use crate::s3::response::{Reply, set, xml};

/// Where SDKs look for the id of a request of the query protocol.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

type Write = Box<dyn FnOnce(&mut XmlWriter)>;

/// What an action came to.
pub(super) struct Answer {
    pub action: &'static str,
    /// What stands in the result; `None` for an action without one.
    pub result: Option<Write>,
}

impl Answer {
    pub(super) fn empty(action: &'static str) -> Answer {
        Answer { action, result: None }
    }

    pub(super) fn of(action: &'static str, write: impl FnOnce(&mut XmlWriter) + 'static) -> Answer {
        Answer { action, result: Some(Box::new(write)) }
    }
}

pub(super) fn reply(service: &str, result: Result<Answer>, request_id: &str) -> Reply {
    let namespace = match service {
        "sts" => "https://sts.amazonaws.com/doc/2011-06-15/",
        _ => "https://iam.amazonaws.com/doc/2010-05-08/",
    };
    let mut w = XmlWriter::new();
    let status = match result {
        Ok(answer) => {
            success(&mut w, answer, namespace, request_id);
            StatusCode::OK
        }
        Err(failure) => {
            let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refusal(&mut w, &failure, namespace, request_id);
            status
        }
    };
    let mut reply = xml(w.finish());
    set(reply.headers_mut(), REQUEST_ID, request_id);
    *reply.status_mut() = status;
    reply
}

fn success(w: &mut XmlWriter, answer: Answer, namespace: &str, request_id: &str) {
    let (root, inner) = (format!("{}Response", answer.action), format!("{}Result", answer.action));
    w.open(&format!("{root} xmlns=\"{namespace}\""));
    if let Some(write) = answer.result {
        w.open(&inner);
        write(w);
        w.close(&inner);
    }
    w.open("ResponseMetadata");
    w.text("RequestId", request_id);
    w.close("ResponseMetadata");
    w.close(&root);
}

fn refusal(w: &mut XmlWriter, failure: &Failure, namespace: &str, request_id: &str) {
    w.open(&format!("ErrorResponse xmlns=\"{namespace}\""));
    w.open("Error");
    w.text("Type", if failure.status < 500 { "Sender" } else { "Receiver" });
    w.text("Code", failure.code);
    w.legible("Message", &failure.message);
    w.close("Error");
    w.text("RequestId", request_id);
    w.close("ErrorResponse");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::response::Body;

    fn text(result: Result<Answer>) -> (u16, String) {
        let reply = reply("iam", result, "ID");
        let Body::Full(body) = reply.body() else { panic!("a document") };
        (reply.status().as_u16(), String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn shapes() {
        let (status, body) = text(Ok(Answer::of("GetUser", |w| w.text("A", "<"))));
        assert_eq!(status, 200);
        assert!(body.contains("<GetUserResult><A>&lt;</A></GetUserResult>"), "{body}");
        assert!(!text(Ok(Answer::empty("DeleteUser"))).1.contains("Result"));
        let (status, body) = text(Err(Failure::new("NoSuchEntity", 404, "gone")));
        assert_eq!(status, 404);
        assert!(body.contains("<Code>NoSuchEntity</Code><Message>gone</Message>"), "{body}");
        assert!(
            text(Err(Failure::new("NoSuchEntity", 404, "a\u{1}"))).1.contains("<Message>a\u{fffd}</Message>")
        );
    }
}
