//! Where a routing rule sends a browser, and how that is written as a URL.
//!
//! Pure. May use `codec::{xml, uri}`. Invariant: what comes out is one line of visible ASCII, whatever the rule
//! and the key hold.

use http::StatusCode;

use crate::codec::uri::encode_path;
use crate::codec::xml::{Protocol, Replace, RoutingRule};

/// A place on some host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way<'r> {
    pub protocol: Option<Protocol>,
    /// Where it is another host than the one that was asked.
    pub host: Option<&'r str>,
    /// With the slash in front; as it stands in a URL.
    pub path: String,
}

impl Way<'_> {
    /// `asked` is the host that was asked. Its port speaks HTTP, so HTTPS is at another.
    pub(super) fn url(&self, asked: &str) -> String {
        let protocol = self.protocol.unwrap_or(Protocol::Http);
        let host = match self.host {
            Some(host) => host,
            None if protocol == Protocol::Https => super::without_port(asked),
            None => asked,
        };
        format!("{}://{}{}", protocol.name(), visible(host), self.path)
    }
}

/// Rules about an error count when there is one, the others before anything is read.
pub(super) fn fits(rule: &RoutingRule, key: &str, error: Option<StatusCode>) -> bool {
    rule.error_code == error.map(|status| status.as_u16())
        && rule.key_prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix))
}

/// Where a rule that fits sends those who ask for `key`.
pub(super) fn way<'r>(rule: &'r RoutingRule, key: &str) -> Way<'r> {
    let path = match &rule.replace {
        None => encode_path(key),
        Some(Replace::Key(other)) => visible(other),
        Some(Replace::Prefix(other)) => {
            let rest = key.strip_prefix(rule.key_prefix.as_deref().unwrap_or("")).unwrap_or(key);
            format!("{}{}", visible(other), encode_path(rest))
        }
    };
    Way { protocol: rule.protocol, host: rule.host.as_deref(), path: format!("/{path}") }
}

/// A replacement may hold a query or a fragment, so what means something in a URL stays; what no URL may hold is
/// percent-encoded.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if !b"\"<>\\^`{|}".contains(&byte) => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(rule: &RoutingRule, key: &str) -> String {
        way(rule, key).url("b.web:9000")
    }

    #[test]
    fn what_rules_make_of_a_key() {
        let rule = |replace: Option<Replace>| RoutingRule {
            key_prefix: Some("docs/".into()),
            replace,
            ..RoutingRule::default()
        };
        let prefix = |text: &str| rule(Some(Replace::Prefix(text.into())));
        let documents = prefix("documents/");
        assert_eq!(url(&documents, "docs/a b"), "http://b.web:9000/documents/a%20b");
        assert_eq!(url(&prefix("r?key="), "docs/x"), "http://b.web:9000/r?key=x");
        assert_eq!(url(&prefix(""), "docs/x"), "http://b.web:9000/x");
        let one = rule(Some(Replace::Key("gone.html#\r\nSet-Cookie: ü".into())));
        assert_eq!(url(&one, "docs/x"), "http://b.web:9000/gone.html#%0D%0ASet-Cookie:%20%C3%BC");
        let host = RoutingRule { host: Some("example.com:8080".into()), ..rule(None) };
        assert_eq!(url(&host, "docs/x"), "http://example.com:8080/docs/x");
        let secure = RoutingRule { protocol: Some(Protocol::Https), ..documents };
        assert_eq!(url(&secure, "docs/"), "https://b.web/documents/");
    }

    #[test]
    fn when_rules_count() {
        let before = RoutingRule { key_prefix: Some("a/".into()), ..RoutingRule::default() };
        let after = RoutingRule { error_code: Some(404), ..RoutingRule::default() };
        let both = RoutingRule { key_prefix: Some("a/".into()), ..after.clone() };
        let missing = Some(StatusCode::NOT_FOUND);
        assert!(fits(&before, "a/b", None) && !fits(&before, "b", None) && !fits(&before, "a/b", missing));
        assert!(fits(&after, "b", missing) && !fits(&after, "b", None));
        assert!(!fits(&after, "b", Some(StatusCode::FORBIDDEN)));
        assert!(fits(&both, "a/b", missing) && !fits(&both, "b", missing));
        assert!(fits(&RoutingRule::default(), "", None));
    }
}
