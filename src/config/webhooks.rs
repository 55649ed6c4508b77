//! Targets of notifications as a person names them: `NAME=URL`, or a table of the file.
//!
//! Names and addresses are checked where the configuration is resolved. A token may only stand in the file: command
//! lines and environments are read by others more easily. It is not shown by `Debug`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// One target, not yet checked.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookOption {
    pub name: String,
    pub url: String,
    pub token: Option<String>,
    /// Ids of the accounts that it is for; `None` for all.
    pub accounts: Option<Vec<String>>,
}

impl fmt::Debug for WebhookOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookOption")
            .field("name", &self.name)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl FromStr for WebhookOption {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, url) =
            text.split_once('=').ok_or("expected NAME=URL, such as jobs=http://10.0.0.7:8080/s3")?;
        Ok(WebhookOption { name: name.to_owned(), url: url.to_owned(), token: None, accounts: None })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    url: String,
    token: Option<String>,
    accounts: Option<Vec<String>>,
}

/// The tables `[webhook.NAME]` of the file.
pub(super) fn from_table<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<WebhookOption>, D::Error> {
    let rows = BTreeMap::<String, Row>::deserialize(from)?;
    let option = |(name, Row { url, token, accounts })| WebhookOption { name, url, token, accounts };
    Ok(rows.into_iter().map(option).collect())
}
