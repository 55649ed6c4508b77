//! Accounts over the admin API, and the command that uses it: create, list, disable, enable, delete.
//!
//! `POST accounts?name=`, `GET accounts`, `POST accounts/WHICH/disable` and `/enable`, `DELETE
//! accounts/WHICH`, where WHICH is an id or a name. No request has a body. What is done is `iam::accounts`;
//! here is its path, its JSON and its text. The secret of a new account is told once, in the answer that
//! made it.

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::access::Refused;
use super::client::{self, AdminRequest, ClientError};
use super::table::{aligned, clean, table};
use crate::codec::date::iso8601_ms;
use crate::codec::uri::{Query, decode_path, encode_component};
use crate::iam::IamError;
use crate::iam::accounts::{self, AccountInfo};
use crate::object::store::Store;

pub const PATH: &str = "/-/admin/v1/accounts";

/// What is asked for; accounts by id or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountCommand {
    Create(String),
    List,
    Disable(String),
    Enable(String),
    Delete(String),
}

/// An account as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountReport {
    pub account_id: String,
    pub canonical_id: String,
    pub name: String,
    pub created: String,
    pub disabled: bool,
    /// The account of the server's own root.
    pub default: bool,
    pub users: usize,
    pub access_keys: Vec<String>,
    /// Of a new account only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<String>,
}

impl AccountCommand {
    /// From a request; `None` when it is not about accounts, an error when it is and cannot be.
    pub fn of(method: &Method, path: &str, query: &str) -> Option<Result<AccountCommand, StatusCode>> {
        let rest = path.strip_prefix(PATH)?;
        let parts: Vec<&str> = rest.split('/').collect();
        Some(match (method.as_str(), parts.as_slice()) {
            ("GET", [""]) => Ok(AccountCommand::List),
            ("POST", [""]) => {
                let name = Query::parse(query).ok().and_then(|query| query.get("name").map(str::to_owned));
                name.map(AccountCommand::Create).ok_or(StatusCode::BAD_REQUEST)
            }
            ("DELETE", ["", which]) => decoded(which).map(AccountCommand::Delete),
            ("POST", ["", which, "disable"]) => decoded(which).map(AccountCommand::Disable),
            ("POST", ["", which, "enable"]) => decoded(which).map(AccountCommand::Enable),
            (_, [""] | ["", _] | ["", _, "disable" | "enable"]) => Err(StatusCode::METHOD_NOT_ALLOWED),
            _ => return None,
        })
    }

    fn request(&self) -> (Method, String, String) {
        let at = |which: &str, verb: &str| format!("{PATH}/{}{verb}", encode_component(which));
        match self {
            AccountCommand::Create(name) => {
                (Method::POST, PATH.to_owned(), format!("name={}", encode_component(name)))
            }
            AccountCommand::List => (Method::GET, PATH.to_owned(), String::new()),
            AccountCommand::Disable(which) => (Method::POST, at(which, "/disable"), String::new()),
            AccountCommand::Enable(which) => (Method::POST, at(which, "/enable"), String::new()),
            AccountCommand::Delete(which) => (Method::DELETE, at(which, ""), String::new()),
        }
    }
}

pub(super) fn decoded(text: &str) -> Result<String, StatusCode> {
    decode_path(text).map(|text| text.into_owned()).map_err(|_| StatusCode::BAD_REQUEST)
}

// ---- In the server ----

/// Does it. The answer is a list of accounts, of one where one was asked for.
pub async fn run(
    store: &Store,
    command: AccountCommand,
) -> Result<Vec<AccountReport>, (StatusCode, Refused)> {
    let one = |info: AccountInfo| vec![AccountReport::from(info)];
    let done = match command {
        AccountCommand::List => {
            return Ok(accounts::list(store).into_iter().map(AccountReport::from).collect());
        }
        AccountCommand::Create(name) => accounts::create(store, &name).await.map(|made| {
            let (access_key, secret_key) = (Some(made.key.id), Some(made.key.secret));
            vec![AccountReport { access_key, secret_key, ..AccountReport::from(made.info) }]
        }),
        AccountCommand::Disable(which) => accounts::set_disabled(store, &which, true).await.map(one),
        AccountCommand::Enable(which) => accounts::set_disabled(store, &which, false).await.map(one),
        AccountCommand::Delete(which) => accounts::delete(store, &which).await.map(one),
    };
    done.map_err(refused)
}

fn refused(error: IamError) -> (StatusCode, Refused) {
    let (status, code) = match &error {
        IamError::NoSuchEntity(_) => (StatusCode::NOT_FOUND, "NoSuchEntity"),
        IamError::EntityAlreadyExists(_) => (StatusCode::CONFLICT, "EntityAlreadyExists"),
        IamError::DeleteConflict(_) => (StatusCode::CONFLICT, "DeleteConflict"),
        IamError::LimitExceeded(_) => (StatusCode::CONFLICT, "LimitExceeded"),
        IamError::MalformedPolicyDocument(_) | IamError::ValidationError(_) => {
            (StatusCode::BAD_REQUEST, "ValidationError")
        }
        IamError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
    };
    (status, Refused { code, message: error.to_string() })
}

impl From<AccountInfo> for AccountReport {
    fn from(info: AccountInfo) -> AccountReport {
        AccountReport {
            account_id: info.id,
            canonical_id: info.canonical,
            name: info.name,
            created: iso8601_ms(info.created).as_str().to_owned(),
            disabled: info.disabled,
            default: info.is_default,
            users: info.users,
            access_keys: info.access_keys,
            access_key: None,
            secret_key: None,
        }
    }
}

// ---- The command ----

/// Asks a server; the JSON is a list for `List` and one account otherwise.
pub fn ask(
    request: &AdminRequest,
    command: &AccountCommand,
) -> Result<(String, Vec<AccountReport>), ClientError> {
    let (method, path, query) = command.request();
    let json = client::send(request, &method, &path, &query)?;
    let strange = || client::not_ours(request, "the answer is not an account");
    let reports = match command {
        AccountCommand::List => serde_json::from_str(&json).map_err(|_| strange())?,
        _ => vec![serde_json::from_str(&json).map_err(|_| strange())?],
    };
    Ok((json, reports))
}

/// For a person.
pub fn render(command: &AccountCommand, reports: &[AccountReport]) -> String {
    if *command == AccountCommand::List {
        return list(reports);
    }
    let mut out = String::new();
    for report in reports {
        let mut line = |name: &str, value: &str| out.push_str(&format!("{name:<14}{}\n", clean(value)));
        line("account", &report.account_id);
        line("canonical id", &report.canonical_id);
        line("name", &report.name);
        let is_deleted = matches!(command, AccountCommand::Delete(_));
        line("state", if is_deleted { "deleted" } else { state(report) });
        report.access_key.iter().for_each(|key| line("access key", key));
        report.secret_key.iter().for_each(|secret| line("secret key", secret));
    }
    out
}

fn list(reports: &[AccountReport]) -> String {
    let rows = reports.iter().map(|report| {
        let kind = if report.default { " (default)" } else { "" };
        vec![
            clean(&report.account_id),
            state(report).to_owned(),
            clean(&report.name) + kind,
            report.users.to_string(),
            clean(&report.access_keys.join(" ")),
        ]
    });
    aligned(&table(&["ACCOUNT", "STATE", "NAME", "USERS", "ACCESS KEYS"], rows))
}

fn state(report: &AccountReport) -> &'static str {
    if report.disabled { "disabled" } else { "enabled" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_back_from_their_requests() {
        for command in [
            AccountCommand::Create("a b".into()),
            AccountCommand::List,
            AccountCommand::Disable("123456789012".into()),
            AccountCommand::Enable("a@b".into()),
            AccountCommand::Delete("a+b".into()),
        ] {
            let (method, path, query) = command.request();
            assert_eq!(AccountCommand::of(&method, &path, &query), Some(Ok(command)));
        }
        let of = |method: Method, path: &str| AccountCommand::of(&method, path, "");
        assert_eq!(of(Method::GET, "/-/admin/v1/status"), None);
        assert_eq!(of(Method::GET, "/-/admin/v1/accounts/x/other"), None);
        assert_eq!(of(Method::POST, PATH), Some(Err(StatusCode::BAD_REQUEST)));
        assert_eq!(of(Method::PUT, PATH), Some(Err(StatusCode::METHOD_NOT_ALLOWED)));
    }

    #[test]
    fn a_secret_is_shown_where_it_was_made_and_nowhere_else() {
        let mut report = AccountReport { name: "n\u{1b}".into(), ..AccountReport::default() };
        assert!(!serde_json::to_string(&report).unwrap().contains("secret"));
        report.secret_key = Some("hush".into());
        let text = render(&AccountCommand::Create("n".into()), &[report.clone()]);
        assert!(text.contains("hush") && !text.contains('\u{1b}'), "{text}");
        assert!(!render(&AccountCommand::List, &[report]).contains("hush"));
    }
}
