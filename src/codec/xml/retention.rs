//! Retention and LegalHold: what locks one version of an object.
//!
//! Whether a date may be set, and whether the bucket has object lock, is decided by who holds the
//! object.

use super::bucket::RetentionMode;
use super::read::{BAD_WORD, Document, MISSING, XmlError, texts};
use super::write::XmlWriter;
use crate::base::time::Nanos;
use crate::codec::date::{iso8601_ms, parse_iso8601};

/// Mode and date; `None` takes a retention away.
pub fn parse_retention(body: &[u8]) -> Result<Option<(RetentionMode, Nanos)>, XmlError> {
    let mut document = Document::open(body, "Retention")?;
    let [mode, until] = texts(&mut document, &[b"Mode", b"RetainUntilDate"])?;
    document.close()?;
    match (mode, until) {
        (None, None) => Ok(None),
        (Some(mode), Some(until)) => {
            let mode = RetentionMode::from_name(&mode).ok_or(BAD_WORD)?;
            let until = parse_iso8601(until.trim()).ok_or(XmlError::Malformed("a time cannot be read"))?;
            Ok(Some((mode, until)))
        }
        _ => Err(MISSING),
    }
}

pub fn retention(mode: RetentionMode, until: Nanos) -> Vec<u8> {
    let mut w = XmlWriter::new();
    w.open_root("Retention");
    w.text("Mode", mode.name());
    w.text("RetainUntilDate", &iso8601_ms(until));
    w.close("Retention");
    w.finish()
}

/// Whether the hold is on.
pub fn parse_legal_hold(body: &[u8]) -> Result<bool, XmlError> {
    let mut document = Document::open(body, "LegalHold")?;
    let [status] = texts(&mut document, &[b"Status"])?;
    document.close()?;
    match status.as_deref() {
        Some("ON") => Ok(true),
        Some("OFF") => Ok(false),
        Some(_) => Err(BAD_WORD),
        None => Err(MISSING),
    }
}

pub fn legal_hold(on: bool) -> Vec<u8> {
    let mut w = XmlWriter::new();
    w.open_root("LegalHold");
    w.text("Status", if on { "ON" } else { "OFF" });
    w.close("LegalHold");
    w.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for mode in [RetentionMode::Governance, RetentionMode::Compliance] {
            let until = Nanos::from_seconds(1_900_000_000);
            assert_eq!(parse_retention(&retention(mode, until)), Ok(Some((mode, until))));
        }
        assert_eq!(parse_retention(b"<Retention/>"), Ok(None));
        for on in [true, false] {
            assert_eq!(parse_legal_hold(&legal_hold(on)), Ok(on));
        }
    }

    #[test]
    fn what_is_refused() {
        for inner in [
            "<Mode>GOVERNANCE</Mode>",
            "<RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>",
            "<Mode>governance</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>",
            "<Mode>GOVERNANCE</Mode><RetainUntilDate>tomorrow</RetainUntilDate>",
            "<Mode>GOVERNANCE</Mode><Mode>GOVERNANCE</Mode>",
            "<Other/>",
        ] {
            let body = format!("<Retention>{inner}</Retention>");
            assert!(matches!(parse_retention(body.as_bytes()), Err(XmlError::Malformed(_))), "{inner}");
        }
        for body in ["", "<LegalHold/>", "<LegalHold><Status>on</Status></LegalHold>", "<Hold/>"] {
            assert!(matches!(parse_legal_hold(body.as_bytes()), Err(XmlError::Malformed(_))), "{body}");
        }
    }
}
