//! ObjectLockConfiguration, and the words of retention that object documents share.
//!
//! The rule is a default that new versions get; days and years are kept as they were given. Whether
//! the bucket may have a lock is decided where the setting is stored.

use super::super::read::{BAD_WORD, Document, Fault, MISSING, UNEXPECTED, XmlError, once, texts};
use super::super::write::XmlWriter;
use super::Configuration;
use crate::base::limits::{RETENTION_DAYS_MAX, RETENTION_YEARS_MAX};

/// Object lock of a bucket: on, with or without a default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectLock {
    pub default: Option<DefaultRetention>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRetention {
    pub mode: RetentionMode,
    pub period: RetentionPeriod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionPeriod {
    Days(u32),
    Years(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionMode {
    Governance,
    Compliance,
}

impl RetentionMode {
    pub const fn name(self) -> &'static str {
        match self {
            RetentionMode::Governance => "GOVERNANCE",
            RetentionMode::Compliance => "COMPLIANCE",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "GOVERNANCE" => Some(RetentionMode::Governance),
            "COMPLIANCE" => Some(RetentionMode::Compliance),
            _ => None,
        }
    }
}

impl RetentionPeriod {
    /// A year of retention has 365 days.
    pub const fn days(self) -> u32 {
        match self {
            RetentionPeriod::Days(days) => days,
            RetentionPeriod::Years(years) => years * 365,
        }
    }
}

impl Configuration for ObjectLock {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "ObjectLockConfiguration")?;
        let (mut enabled, mut rule) = (None, None);
        while let Some(element) = document.child()? {
            match element.name() {
                b"ObjectLockEnabled" => once(&mut enabled, document.text()?)?,
                b"Rule" => once(&mut rule, read_rule(&mut document)?)?,
                _ => return Err(UNEXPECTED),
            }
        }
        document.close()?;
        match enabled.as_deref() {
            Some("Enabled") => Ok(ObjectLock { default: rule }),
            Some(_) => Err(BAD_WORD),
            None => Err(MISSING),
        }
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("ObjectLockConfiguration");
        w.text("ObjectLockEnabled", "Enabled");
        if let Some(default) = &self.default {
            w.open("Rule");
            w.open("DefaultRetention");
            w.text("Mode", default.mode.name());
            match default.period {
                RetentionPeriod::Days(days) => w.number("Days", days.into()),
                RetentionPeriod::Years(years) => w.number("Years", years.into()),
            }
            w.close("DefaultRetention");
            w.close("Rule");
        }
        w.close("ObjectLockConfiguration");
        w.finish()
    }
}

fn read_rule(document: &mut Document<'_>) -> Result<DefaultRetention, XmlError> {
    let mut default = None;
    while let Some(element) = document.child()? {
        match element.name() {
            b"DefaultRetention" => once(&mut default, read_default(document)?)?,
            _ => return Err(UNEXPECTED),
        }
    }
    default.ok_or(MISSING)
}

fn read_default(document: &mut Document<'_>) -> Result<DefaultRetention, XmlError> {
    let [mode, days, years] = texts(document, &[b"Mode", b"Days", b"Years"])?;
    let mode = RetentionMode::from_name(&mode.ok_or(MISSING)?).ok_or(BAD_WORD)?;
    let period = match (days, years) {
        (Some(days), None) => RetentionPeriod::Days(period(&days, RETENTION_DAYS_MAX)?),
        (None, Some(years)) => RetentionPeriod::Years(period(&years, RETENTION_YEARS_MAX)?),
        _ => return Err(XmlError::Malformed("retention needs either days or years")),
    };
    Ok(DefaultRetention { mode, period })
}

fn period(text: &str, max: u32) -> Result<u32, XmlError> {
    let number: i64 =
        text.trim().parse().map_err(|_| XmlError::Malformed("a retention period is not a number"))?;
    match u32::try_from(number) {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        Ok(0) | Err(_) if number <= 0 => {
            let message = "Default retention period must be a positive integer value.";
            Err(XmlError::Invalid(Fault::RetentionPeriod, message.into()))
        }
        _ => {
            let message = "Default retention period too large";
            Err(XmlError::Invalid(Fault::RetentionPeriod, message.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rule: &str) -> Result<ObjectLock, &'static str> {
        let body = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
        );
        ObjectLock::parse(body.as_bytes()).map_err(|error| error.code())
    }

    fn rule(inner: &str) -> String {
        format!("<Rule><DefaultRetention>{inner}</DefaultRetention></Rule>")
    }

    #[test]
    fn what_is_written_is_read() {
        for period in [RetentionPeriod::Days(1), RetentionPeriod::Years(100)] {
            let default = Some(DefaultRetention { mode: RetentionMode::Compliance, period });
            let lock = ObjectLock { default };
            assert_eq!(ObjectLock::parse(&lock.render()), Ok(lock));
        }
        assert_eq!(parse(""), Ok(ObjectLock::default()));
    }

    #[test]
    fn a_default_needs_a_mode_and_one_period_within_bounds() {
        let mode = "<Mode>GOVERNANCE</Mode>";
        for (inner, code) in [
            (format!("{mode}<Days>0</Days>"), "InvalidRetentionPeriod"),
            (format!("{mode}<Years>-1</Years>"), "InvalidRetentionPeriod"),
            (format!("{mode}<Days>36501</Days>"), "InvalidRetentionPeriod"),
            (format!("{mode}<Days>1</Days><Years>1</Years>"), "MalformedXML"),
            (mode.to_owned(), "MalformedXML"),
            ("<Mode>governance</Mode><Days>1</Days>".into(), "MalformedXML"),
            ("<Days>1</Days>".into(), "MalformedXML"),
            (format!("{mode}<Days>x</Days>"), "MalformedXML"),
        ] {
            assert_eq!(parse(&rule(&inner)), Err(code), "{inner}");
        }
        assert_eq!(parse("<Rule/>"), Err("MalformedXML"));
        let disabled = b"<ObjectLockConfiguration><ObjectLockEnabled>Disabled</ObjectLockEnabled></ObjectLockConfiguration>";
        assert_eq!(ObjectLock::parse(disabled).map_err(|e| e.code()), Err("MalformedXML"));
        assert_eq!(
            ObjectLock::parse(b"<ObjectLockConfiguration/>").map_err(|e| e.code()),
            Err("MalformedXML")
        );
    }
}
