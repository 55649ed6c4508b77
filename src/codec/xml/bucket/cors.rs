//! CORSConfiguration: which pages of other origins may use the bucket.
//!
//! Bounds and messages are AWS's. Matching a request against the rules belongs to the edge.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html

use super::super::read::{Document, Fault, MISSING, UNEXPECTED, XmlError, once};
use super::super::write::XmlWriter;
use super::Configuration;
use crate::base::limits::{CORS_RULES_MAX, RULE_ID_CHARS_MAX};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// At least one; the first that matches counts.
    pub rules: Vec<CorsRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsRule {
    pub id: Option<String>,
    /// Each with at most one `*`.
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    /// Each with at most one `*`, compared without regard to case.
    pub headers: Vec<String>,
    pub exposed: Vec<String>,
    pub max_age_seconds: Option<u32>,
}

const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

impl Configuration for Cors {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "CORSConfiguration")?;
        let mut rules = Vec::new();
        while let Some(element) = document.child()? {
            if element.name() != b"CORSRule" {
                return Err(UNEXPECTED);
            }
            if rules.len() == CORS_RULES_MAX {
                return invalid(
                    "The number of CORS rules should not exceed allowed limit of 100 rules.".into(),
                );
            }
            rules.push(read_rule(&mut document)?);
        }
        document.close()?;
        if rules.is_empty() {
            return Err(MISSING);
        }
        Ok(Cors { rules })
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("CORSConfiguration");
        for rule in &self.rules {
            w.open("CORSRule");
            w.optional("ID", rule.id.as_deref());
            rule.methods.iter().for_each(|method| w.text("AllowedMethod", method));
            rule.origins.iter().for_each(|origin| w.text("AllowedOrigin", origin));
            rule.headers.iter().for_each(|header| w.text("AllowedHeader", header));
            if let Some(seconds) = rule.max_age_seconds {
                w.number("MaxAgeSeconds", seconds.into());
            }
            rule.exposed.iter().for_each(|header| w.text("ExposeHeader", header));
            w.close("CORSRule");
        }
        w.close("CORSConfiguration");
        w.finish()
    }
}

impl Cors {
    /// Whether S3 would take it. Asked of what a client sends alone: what is stored was judged when it came, by the
    /// rules of that day.
    pub fn judge(self) -> Result<Self, XmlError> {
        self.rules.iter().try_for_each(check)?;
        Ok(self)
    }
}

fn read_rule(document: &mut Document<'_>) -> Result<CorsRule, XmlError> {
    let mut rule = CorsRule::default();
    while let Some(element) = document.child()? {
        let text = document.text()?;
        match element.name() {
            b"ID" => once(&mut rule.id, text)?,
            b"AllowedMethod" => rule.methods.push(text),
            b"AllowedOrigin" => rule.origins.push(text),
            b"AllowedHeader" => rule.headers.push(text),
            b"ExposeHeader" => rule.exposed.push(text),
            b"MaxAgeSeconds" => {
                let seconds =
                    text.trim().parse().map_err(|_| XmlError::Malformed("MaxAgeSeconds is no number"));
                once(&mut rule.max_age_seconds, seconds?)?;
            }
            _ => return Err(UNEXPECTED),
        }
    }
    match rule.methods.is_empty() || rule.origins.is_empty() {
        true => Err(MISSING),
        false => Ok(rule),
    }
}

fn check(rule: &CorsRule) -> Result<(), XmlError> {
    if let Some(method) = rule.methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
        return invalid(format!(
            "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
        ));
    }
    let named = |name, values| std::iter::repeat(name).zip(values);
    for (name, value) in named("AllowedOrigin", &rule.origins).chain(named("AllowedHeader", &rule.headers)) {
        if value.matches('*').count() > 1 {
            return invalid(format!("{name} \"{value}\" can not have more than one wildcard."));
        }
    }
    if let Some(header) = rule.exposed.iter().find(|header| header.contains('*')) {
        return invalid(format!(
            "ExposeHeader \"{header}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
        ));
    }
    let headers = named("AllowedHeader", &rule.headers).chain(named("ExposeHeader", &rule.exposed));
    if let Some((name, header)) = headers.into_iter().find(|(_, header)| !is_header_name(header)) {
        return invalid(format!("{name} \"{header}\" contains invalid character."));
    }
    if rule.id.as_ref().is_some_and(|id| id.chars().count() > RULE_ID_CHARS_MAX) {
        return Err(XmlError::Invalid(Fault::Argument, "The ID of a rule is too long".into()));
    }
    Ok(())
}

fn is_header_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}

fn invalid<T>(message: String) -> Result<T, XmlError> {
    Err(XmlError::Invalid(Fault::Request, message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rules: &str) -> Result<Cors, &'static str> {
        let body = format!("<CORSConfiguration>{rules}</CORSConfiguration>");
        Cors::parse(body.as_bytes()).and_then(Cors::judge).map_err(|error| error.code())
    }

    #[test]
    fn what_is_written_is_read() {
        let rule = CorsRule {
            id: Some("one".into()),
            origins: vec!["https://*.example.com".into(), "*".into()],
            methods: vec!["GET".into(), "PUT".into()],
            headers: vec!["x-amz-*".into()],
            exposed: vec!["ETag".into()],
            max_age_seconds: Some(3000),
        };
        let cors = Cors { rules: vec![rule.clone(), CorsRule { id: None, max_age_seconds: None, ..rule }] };
        assert_eq!(Cors::parse(&cors.render()), Ok(cors));
    }

    #[test]
    fn what_is_refused() {
        let (method, origin) = ("<AllowedMethod>GET</AllowedMethod>", "<AllowedOrigin>*</AllowedOrigin>");
        let rule = |inner: &str| format!("<CORSRule>{inner}</CORSRule>");
        let fine = rule(&format!("{method}{origin}"));
        assert!(parse(&fine.repeat(CORS_RULES_MAX)).is_ok());
        for (rules, code) in [
            (String::new(), "MalformedXML"),
            (rule(method), "MalformedXML"),
            (rule(origin), "MalformedXML"),
            (rule(&format!("{method}{origin}<MaxAgeSeconds>-1</MaxAgeSeconds>")), "MalformedXML"),
            (rule(&format!("{method}{origin}<Other/>")), "MalformedXML"),
            (rule(&format!("{origin}<AllowedMethod>PATCH</AllowedMethod>")), "InvalidRequest"),
            (rule(&format!("{method}<AllowedOrigin>http://*.*</AllowedOrigin>")), "InvalidRequest"),
            (rule(&format!("{method}{origin}<AllowedHeader>*-*</AllowedHeader>")), "InvalidRequest"),
            (rule(&format!("{method}{origin}<AllowedHeader>a b</AllowedHeader>")), "InvalidRequest"),
            (rule(&format!("{method}{origin}<ExposeHeader>x-*</ExposeHeader>")), "InvalidRequest"),
            (rule(&format!("{method}{origin}<ExposeHeader>a b</ExposeHeader>")), "InvalidRequest"),
            (rule(&format!("{method}{origin}<ID>{}</ID>", "i".repeat(256))), "InvalidArgument"),
            (fine.repeat(CORS_RULES_MAX + 1), "InvalidRequest"),
        ] {
            assert_eq!(parse(&rules), Err(code), "{rules:.200}");
        }
    }

    #[test]
    fn what_is_stored_is_read_whatever_is_thought_of_it_today() {
        let rule = "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>\
                    <AllowedHeader>a, b</AllowedHeader></CORSRule>";
        assert!(parse(rule).is_err());
        let body = format!("<CORSConfiguration>{rule}</CORSConfiguration>");
        let stored = Cors::parse(body.as_bytes()).expect("it is well formed");
        assert_eq!(Cors::parse(&stored.render()), Ok(stored));
    }
}
