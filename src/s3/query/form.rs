//! The form of a query request: names and values, each taken once.
//!
//! `+` is a space, as in every form. What nobody took at the end is a parameter that is not known here, and
//! is refused: it might have meant something.

use std::collections::BTreeMap;

use super::{Failure, Result};
use crate::codec::uri::Query;

#[derive(Debug)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Of the URL, without what signs it, and of the body together.
    pub(super) fn parse(url: &Query<'_>, body: &[u8]) -> Result<Form> {
        let malformed = || Failure::new("MalformedQueryString", 400, "The body is not a form.");
        let text = std::str::from_utf8(body).map_err(|_| malformed())?;
        let query = Query::parse(text).map_err(|_| malformed())?;
        let mut form = BTreeMap::new();
        let said = url.pairs().iter().filter(|pair| !is_of_signature(&pair.name));
        for pair in said.chain(query.pairs()) {
            if form.insert(pair.name.to_string(), pair.value.to_string()).is_some() {
                return Err(malformed());
            }
        }
        Ok(Form(form))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub(super) fn need(&mut self, name: &str) -> Result<String> {
        let missing = || {
            let lower = name.get(..1).unwrap_or("").to_ascii_lowercase() + name.get(1..).unwrap_or("");
            let message = format!(
                "1 validation error detected: Value null at '{lower}' failed to satisfy constraint: Member must not \
                 be null"
            );
            Failure::new("ValidationError", 400, message)
        };
        self.take(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    /// `MaxItems` of a list.
    pub(super) fn limit(&mut self) -> Result<usize> {
        let Some(text) = self.take("MaxItems") else { return Ok(100) };
        match text.parse() {
            Ok(limit) if (1..=1000).contains(&limit) => Ok(limit),
            _ => Err(Failure::new("ValidationError", 400, "MaxItems must be between 1 and 1000")),
        }
    }

    /// Nothing is left.
    pub(super) fn end(&self) -> Result<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(Failure::new("ValidationError", 400, format!("The parameter {name} is not supported.")))
            }
        }
    }
}

fn is_of_signature(name: &str) -> bool {
    name.get(..6).is_some_and(|begin| begin.eq_ignore_ascii_case("x-amz-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8]) -> Result<Form> {
        Form::parse(&Query::parse("").unwrap(), body)
    }

    #[test]
    fn the_url_belongs_to_the_form() {
        let url = Query::parse("Action=A&X-Amz-Date=1&Version=2").unwrap();
        let mut form = Form::parse(&url, b"User=u").unwrap();
        let taken: Vec<_> = ["Action", "Version", "User"].iter().filter_map(|name| form.take(name)).collect();
        assert_eq!(taken, ["A", "2", "u"]);
        assert!(form.end().is_ok());
        assert!(Form::parse(&url, b"Action=B").is_err(), "each name once");
    }

    #[test]
    fn names_are_taken_once_and_the_rest_is_refused() {
        let mut form = parse(b"Action=A&User=a+b%2B&Empty=").unwrap();
        assert_eq!(form.need("Action").unwrap(), "A");
        assert_eq!(form.take("User").as_deref(), Some("a b+"));
        assert_eq!(form.need("Empty").unwrap_err().code, "ValidationError");
        assert!(form.end().is_ok());
        assert_eq!(form.limit().unwrap(), 100);
        assert!(parse(b"a=1&a=2").is_err() && parse(&[0xff]).is_err());
        assert!(parse(b"a=1").unwrap().end().is_err());
        for bad in ["0", "1001", "x", "-1"] {
            assert!(parse(format!("MaxItems={bad}").as_bytes()).unwrap().limit().is_err());
        }
    }
}
