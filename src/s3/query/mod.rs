//! IAM and STS: the AWS query protocol on `POST /` and `GET /`.
//!
//! The body is a form that names an action and its parameters; it is bounded, read first, and its hash is
//! what the signature covers. What the URL says besides its signature belongs to the form: that is all of it in a
//! GET, presigned or not. Each action is judged by the caller's own policies before it is done; what is
//! done is `iam`. Answers and errors have the shape of the IAM API of 2010-05-08 and the STS API of
//! 2011-06-15, which `aws iam`, `aws sts` and boto3 expect. A parameter that is not known is refused.

mod answer;
mod form;
mod operations;

use std::net::IpAddr;

use aws_lc_rs::digest;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::Shared;
use super::auth::{self, Identified};
use super::body::Intake;
use super::error::{Code, S3Error};
use super::facts::{Facts, Said};
use super::link::Link;
use super::response::Reply;
use crate::base::limits::FORM_BYTES_MAX;
use crate::codec::policy::Action;
use crate::codec::sigv4::{RequestView, SERVICE};
use crate::iam::judge::Wish;
use crate::iam::{Caller, IamError};
use crate::object::error::ObjectError;
use crate::object::registry::identities::Account;
use answer::Answer;
use form::Form;

/// A failure in the words of the query protocol.
#[derive(Debug)]
pub(super) struct Failure {
    code: &'static str,
    status: u16,
    message: String,
}

type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    fn new(code: &'static str, status: u16, message: impl Into<String>) -> Failure {
        Failure { code, status, message: message.into() }
    }
}

impl From<S3Error> for Failure {
    fn from(error: S3Error) -> Failure {
        let (code, message) = (error.code(), error.message().to_owned());
        let code = match code {
            Code::InvalidAccessKeyId => "InvalidClientTokenId",
            // A presigned query that is too old, or not yet valid.
            Code::AccessDenied if error.fields().iter().any(|(name, _)| *name == "ServerTime") => {
                "SignatureDoesNotMatch"
            }
            Code::AccessDenied => "MissingAuthenticationToken",
            Code::AuthorizationHeaderMalformed | Code::AuthorizationQueryParametersError => {
                "IncompleteSignature"
            }
            Code::InvalidToken => "InvalidClientTokenId",
            Code::RequestTimeTooSkewed => "SignatureDoesNotMatch",
            Code::SlowDown | Code::ServiceUnavailable => "ServiceUnavailable",
            other => other.name(),
        };
        Failure::new(code, error.code().status().as_u16(), message)
    }
}

impl From<IamError> for Failure {
    fn from(error: IamError) -> Failure {
        let (code, status) = match &error {
            IamError::NoSuchEntity(_) => ("NoSuchEntity", 404),
            IamError::EntityAlreadyExists(_) => ("EntityAlreadyExists", 409),
            IamError::DeleteConflict(_) => ("DeleteConflict", 409),
            IamError::LimitExceeded(_) => ("LimitExceeded", 409),
            IamError::MalformedPolicyDocument(_) => ("MalformedPolicyDocument", 400),
            IamError::ValidationError(_) => ("ValidationError", 400),
            IamError::Store(ObjectError::SlowDown | ObjectError::NotWritable) => ("ServiceUnavailable", 503),
            IamError::Store(_) => ("ServiceFailure", 500),
        };
        Failure::new(code, status, error.to_string())
    }
}

/// One call of an action.
struct Query<'r> {
    edge: &'r Shared,
    view: &'r RequestView<'r>,
    source: Option<IpAddr>,
    identified: Identified,
    form: Form,
}

/// Answers a POST to `/`, and a GET that is signed for another service than S3.
pub(super) async fn answer(
    edge: &Shared,
    view: &RequestView<'_>,
    intake: &mut Intake,
    link: &Link,
    request_id: &HeaderValue,
) -> super::error::Result<Reply> {
    let service = auth::service_of(view);
    let request_id = request_id.to_str().unwrap_or("");
    let is_form = view.headers.get(CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
    });
    if service == SERVICE && !is_form {
        return Err(Code::MethodNotAllowed.into());
    }
    let result = run(edge, view, intake, link, service).await;
    Ok(answer::reply(service, result, request_id))
}

async fn run(
    edge: &Shared,
    view: &RequestView<'_>,
    intake: &mut Intake,
    link: &Link,
    service: &'static str,
) -> Result<Answer> {
    let body = read(intake).await?;
    let hash = hex::encode(digest::digest(&digest::SHA256, &body));
    if service == SERVICE {
        let message = "Sign this request for the service iam or sts.";
        return Err(Failure::new("MissingAuthenticationToken", 403, message));
    }
    let identified = edge.authenticator.verify_query(view, edge.store.now(), service, &hash)?;
    let form = Form::parse(view.query, &body)?;
    let query = Query { edge, view, source: link.peer, identified, form };
    operations::dispatch(service, query).await
}

async fn read(intake: &mut Intake) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(data) = intake.frame().await? {
        if body.len() + data.len() > FORM_BYTES_MAX {
            return Err(Failure::new("RequestEntityTooLarge", 413, "The request is too large."));
        }
        intake.hold_memory(body.len() + data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}

impl Query<'_> {
    /// The account of the caller: everything here is about it.
    fn account(&self) -> Result<&Account> {
        match self.identified.caller.account() {
            Some(account) => Ok(account),
            None => Err(Failure::new(
                "MissingAuthenticationToken",
                403,
                "Request is missing Authentication Token",
            )),
        }
    }

    /// Whether the caller's own policies allow it.
    fn admit(&self, action: Action, resource: &str) -> Result<()> {
        let caller = &self.identified.caller;
        let context = Facts {
            caller,
            proof: self.identified.proof,
            headers: self.view.headers,
            query: self.view.query,
            source: self.source,
            now: self.edge.store.now(),
            region: &self.edge.settings.region,
            resource_account: caller.account().map(|account| account.id.as_str()),
            version: None,
            object_tags: None,
            said: Said::Nothing,
            creates_object: None,
        };
        if (Wish { caller, action, resource, context: &context }).is_allowed_at_home() {
            return Ok(());
        }
        Err(self.refusal(action, resource))
    }

    fn refusal(&self, action: Action, resource: &str) -> Failure {
        let arn = self.identified.caller.arn().unwrap_or_default();
        let message =
            format!("User: {arn} is not authorized to perform: {} on resource: {resource}", action.name());
        Failure::new("AccessDenied", 403, message)
    }

    /// The user that is meant when none is named: the caller, unless it is a root.
    fn own_name(&self) -> Option<String> {
        match &self.identified.caller {
            Caller::User(user) => Some(user.name.clone()),
            _ => None,
        }
    }
}
