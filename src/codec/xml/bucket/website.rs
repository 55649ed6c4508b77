//! WebsiteConfiguration: a bucket as a web site.
//!
//! Bounds and messages are AWS's. What a request gets is decided at the edge.
//! https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketWebsite.html

use super::super::read::{BAD_WORD, Document, Fault, MISSING, UNEXPECTED, XmlError, once, texts};
use super::super::write::XmlWriter;
use super::Configuration;
use crate::base::limits::ROUTING_RULES_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Website {
    RedirectAll { host: String, protocol: Option<Protocol> },
    Pages { index: String, error: Option<String>, rules: Vec<RoutingRule> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Https,
}

/// Redirects what its condition holds for. A rule without a condition holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingRule {
    pub key_prefix: Option<String>,
    pub error_code: Option<u16>,
    pub host: Option<String>,
    pub protocol: Option<Protocol>,
    pub status: Option<u16>,
    pub replace: Option<Replace>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replace {
    Key(String),
    /// In place of the prefix of the condition.
    Prefix(String),
}

impl Protocol {
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Http => "http",
            Protocol::Https => "https",
        }
    }

    fn read(name: &str) -> Result<Self, XmlError> {
        match name {
            "http" => Ok(Protocol::Http),
            "https" => Ok(Protocol::Https),
            _ => Err(XmlError::Invalid(
                Fault::Request,
                "Invalid protocol, protocol can be http or https. If not defined the protocol will be \
                 selected automatically."
                    .into(),
            )),
        }
    }
}

impl Configuration for Website {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "WebsiteConfiguration")?;
        let (mut all, mut index, mut error, mut rules) = (None, None, None, None);
        while let Some(element) = document.child()? {
            match element.name() {
                b"RedirectAllRequestsTo" => {
                    once(&mut all, texts(&mut document, &[b"HostName", b"Protocol"])?)?
                }
                b"IndexDocument" => once(&mut index, texts(&mut document, &[b"Suffix"])?)?,
                b"ErrorDocument" => once(&mut error, texts(&mut document, &[b"Key"])?)?,
                b"RoutingRules" => once(&mut rules, read_rules(&mut document)?)?,
                _ => return Err(UNEXPECTED),
            }
        }
        document.close()?;
        let Some([host, protocol]) = all else { return pages(index, error, rules.unwrap_or_default()) };
        if index.is_some() || error.is_some() || rules.is_some() {
            let message = "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.";
            return Err(XmlError::Invalid(Fault::Request, message.into()));
        }
        let host = host.filter(|host| !host.is_empty()).ok_or(MISSING)?;
        Ok(Website::RedirectAll { host, protocol: protocol.as_deref().map(Protocol::read).transpose()? })
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("WebsiteConfiguration");
        match self {
            Website::RedirectAll { host, protocol } => {
                w.open("RedirectAllRequestsTo");
                w.text("HostName", host);
                w.optional("Protocol", protocol.map(Protocol::name));
                w.close("RedirectAllRequestsTo");
            }
            Website::Pages { index, error, rules } => {
                w.open("IndexDocument");
                w.text("Suffix", index);
                w.close("IndexDocument");
                if let Some(key) = error {
                    w.open("ErrorDocument");
                    w.text("Key", key);
                    w.close("ErrorDocument");
                }
                write_rules(&mut w, rules);
            }
        }
        w.close("WebsiteConfiguration");
        w.finish()
    }
}

fn pages(
    index: Option<[Option<String>; 1]>,
    error: Option<[Option<String>; 1]>,
    rules: Vec<RoutingRule>,
) -> Result<Website, XmlError> {
    let argument = |message: &'static str| Err(XmlError::Invalid(Fault::Argument, message.into()));
    let Some([Some(index)]) = index else {
        return argument(
            "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
        );
    };
    if index.is_empty() || index.contains('/') {
        return argument("The IndexDocument Suffix is not well formed");
    }
    let error = error.map(|[key]| key.filter(|key| !key.is_empty()).ok_or(MISSING)).transpose()?;
    Ok(Website::Pages { index, error, rules })
}

fn read_rules(document: &mut Document<'_>) -> Result<Vec<RoutingRule>, XmlError> {
    let mut rules = Vec::new();
    while let Some(element) = document.child()? {
        if element.name() != b"RoutingRule" {
            return Err(UNEXPECTED);
        }
        if rules.len() == ROUTING_RULES_MAX {
            return invalid(format!(
                "{} routing rules provided, the number of routing rules in a website configuration is limited \
                 to {ROUTING_RULES_MAX}.",
                ROUTING_RULES_MAX + 1
            ));
        }
        rules.push(read_rule(document)?);
    }
    match rules.is_empty() {
        true => Err(MISSING),
        false => Ok(rules),
    }
}

fn read_rule(document: &mut Document<'_>) -> Result<RoutingRule, XmlError> {
    let (mut condition, mut redirect) = (None, None);
    while let Some(element) = document.child()? {
        match element.name() {
            b"Condition" => {
                let names: [&[u8]; 2] = [b"KeyPrefixEquals", b"HttpErrorCodeReturnedEquals"];
                once(&mut condition, texts(document, &names)?)?;
            }
            b"Redirect" => once(&mut redirect, read_redirect(document)?)?,
            _ => return Err(UNEXPECTED),
        }
    }
    let rule = redirect.ok_or(MISSING)?;
    match condition {
        None => Ok(rule),
        Some([None, None]) => Err(XmlError::Malformed("a condition names nothing")),
        Some([key_prefix, code]) => {
            let error_code = code.as_deref().map(|text| read_code(text, 400..=599, "error", "4XX or 5XX"));
            Ok(RoutingRule { key_prefix, error_code: error_code.transpose()?, ..rule })
        }
    }
}

fn read_redirect(document: &mut Document<'_>) -> Result<RoutingRule, XmlError> {
    let names: [&[u8]; 5] =
        [b"HostName", b"HttpRedirectCode", b"Protocol", b"ReplaceKeyPrefixWith", b"ReplaceKeyWith"];
    let [host, code, protocol, prefix, key] = texts(document, &names)?;
    let replace = match (prefix, key) {
        (Some(_), Some(_)) => {
            return invalid("You can only define ReplaceKeyPrefix or ReplaceKey but not both.".into());
        }
        (Some(prefix), None) => Some(Replace::Prefix(prefix)),
        (None, key) => key.map(Replace::Key),
    };
    let status = code.as_deref().map(|text| read_code(text, 301..=399, "redirect", "3XX except 300"));
    let protocol = protocol.as_deref().map(Protocol::read).transpose()?;
    if host.as_deref() == Some("") {
        return Err(BAD_WORD);
    }
    let rule = RoutingRule { host, protocol, status: status.transpose()?, replace, ..RoutingRule::default() };
    match rule == RoutingRule::default() {
        true => Err(XmlError::Malformed("a redirect goes nowhere")),
        false => Ok(rule),
    }
}

fn read_code(
    text: &str,
    valid: std::ops::RangeInclusive<u16>,
    what: &str,
    words: &str,
) -> Result<u16, XmlError> {
    match text.trim().parse() {
        Ok(code) if valid.contains(&code) => Ok(code),
        _ => {
            invalid(format!("The provided HTTP {what} code ({text}) is not valid. Valid codes are {words}."))
        }
    }
}

fn invalid<T>(message: String) -> Result<T, XmlError> {
    Err(XmlError::Invalid(Fault::Request, message.into()))
}

fn write_rules(w: &mut XmlWriter, rules: &[RoutingRule]) {
    if rules.is_empty() {
        return;
    }
    w.open("RoutingRules");
    for rule in rules {
        w.open("RoutingRule");
        if rule.key_prefix.is_some() || rule.error_code.is_some() {
            w.open("Condition");
            if let Some(code) = rule.error_code {
                w.number("HttpErrorCodeReturnedEquals", code.into());
            }
            w.optional("KeyPrefixEquals", rule.key_prefix.as_deref());
            w.close("Condition");
        }
        w.open("Redirect");
        w.optional("Protocol", rule.protocol.map(Protocol::name));
        w.optional("HostName", rule.host.as_deref());
        match &rule.replace {
            None => {}
            Some(Replace::Key(key)) => w.text("ReplaceKeyWith", key),
            Some(Replace::Prefix(prefix)) => w.text("ReplaceKeyPrefixWith", prefix),
        }
        if let Some(status) = rule.status {
            w.number("HttpRedirectCode", status.into());
        }
        w.close("Redirect");
        w.close("RoutingRule");
    }
    w.close("RoutingRules");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(inner: &str) -> Result<Website, &'static str> {
        let body = format!("<WebsiteConfiguration>{inner}</WebsiteConfiguration>");
        Website::parse(body.as_bytes()).map_err(|error| error.code())
    }

    #[test]
    fn what_is_written_is_read() {
        let rule = RoutingRule {
            key_prefix: Some("docs/".into()),
            error_code: Some(404),
            host: Some("example.com".into()),
            protocol: Some(Protocol::Https),
            status: Some(302),
            replace: Some(Replace::Prefix(String::new())),
        };
        let bare = RoutingRule { replace: Some(Replace::Key("k".into())), ..RoutingRule::default() };
        for website in [
            Website::RedirectAll { host: "h".into(), protocol: Some(Protocol::Http) },
            Website::RedirectAll { host: "h".into(), protocol: None },
            Website::Pages { index: "index.html".into(), error: None, rules: vec![] },
            Website::Pages { index: "i".into(), error: Some("e".into()), rules: vec![rule, bare] },
        ] {
            assert_eq!(Website::parse(&website.render()), Ok(website));
        }
    }

    #[test]
    fn what_is_refused() {
        let index = "<IndexDocument><Suffix>i</Suffix></IndexDocument>";
        let all = "<RedirectAllRequestsTo><HostName>h</HostName></RedirectAllRequestsTo>";
        let rule =
            |inner: &str| format!("{index}<RoutingRules><RoutingRule>{inner}</RoutingRule></RoutingRules>");
        let redirect = "<Redirect><HostName>h</HostName></Redirect>";
        for (inner, code) in [
            (String::new(), "InvalidArgument"),
            ("<IndexDocument><Suffix>a/b</Suffix></IndexDocument>".into(), "InvalidArgument"),
            ("<IndexDocument><Suffix></Suffix></IndexDocument>".into(), "InvalidArgument"),
            (format!("{all}{index}"), "InvalidRequest"),
            (all.replace("h<", "h</HostName><Protocol>ftp</Protocol><HostName><"), "MalformedXML"),
            ("<RedirectAllRequestsTo/>".into(), "MalformedXML"),
            (format!("{index}<RoutingRules/>"), "MalformedXML"),
            (rule(""), "MalformedXML"),
            (rule("<Redirect/>"), "MalformedXML"),
            (rule(&format!("<Condition/>{redirect}")), "MalformedXML"),
            (rule("<Redirect><HttpRedirectCode>300</HttpRedirectCode></Redirect>"), "InvalidRequest"),
            (rule("<Redirect><Protocol>ftp</Protocol></Redirect>"), "InvalidRequest"),
            (
                rule(&format!(
                    "<Condition><HttpErrorCodeReturnedEquals>200</HttpErrorCodeReturnedEquals></Condition>{redirect}"
                )),
                "InvalidRequest",
            ),
            (
                rule(
                    "<Redirect><ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith></Redirect>",
                ),
                "InvalidRequest",
            ),
            (
                format!(
                    "{index}<RoutingRules>{}</RoutingRules>",
                    format!("<RoutingRule>{redirect}</RoutingRule>").repeat(ROUTING_RULES_MAX + 1)
                ),
                "InvalidRequest",
            ),
        ] {
            assert_eq!(parse(&inner), Err(code), "{inner:.200}");
        }
    }
}
