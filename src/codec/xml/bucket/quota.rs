//! QuotaConfiguration: how much a bucket may hold. A document of ours, which S3 does not have.
//!
//! The operator sets it; clients meet it as the error QuotaExceeded. At least one bound is set, else the
//! setting is removed.

use super::super::read::{Document, MISSING, XmlError, parse_number, texts};
use super::super::write::XmlWriter;
use super::Configuration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Of all versions, and of the parts of uploads that are not complete.
    pub max_bytes: Option<u64>,
    /// Versions; delete markers are none.
    pub max_objects: Option<u64>,
}

impl Quota {
    /// With the bounds of another where there are none.
    pub fn or(self, other: Quota) -> Quota {
        Quota {
            max_bytes: self.max_bytes.or(other.max_bytes),
            max_objects: self.max_objects.or(other.max_objects),
        }
    }
}

impl Configuration for Quota {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "QuotaConfiguration")?;
        let [bytes, objects] = texts(&mut document, &[b"MaxBytes", b"MaxObjects"])?;
        document.close()?;
        let number = |text: Option<String>| text.as_deref().map(parse_number).transpose();
        let quota = Quota { max_bytes: number(bytes)?, max_objects: number(objects)? };
        if quota == Quota::default() { Err(MISSING) } else { Ok(quota) }
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("QuotaConfiguration");
        self.max_bytes.iter().for_each(|max| w.number("MaxBytes", *max));
        self.max_objects.iter().for_each(|max| w.number("MaxObjects", *max));
        w.close("QuotaConfiguration");
        w.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_quota_of_nothing_is_none() {
        for quota in [
            Quota { max_bytes: Some(0), max_objects: None },
            Quota { max_bytes: None, max_objects: Some(u64::MAX) },
            Quota { max_bytes: Some(1 << 40), max_objects: Some(7) },
        ] {
            assert_eq!(Quota::parse(&quota.render()), Ok(quota));
        }
        for body in
            ["<QuotaConfiguration/>", "<QuotaConfiguration><MaxBytes>-1</MaxBytes></QuotaConfiguration>"]
        {
            assert_eq!(Quota::parse(body.as_bytes()).map_err(|e| e.code()), Err("MalformedXML"), "{body}");
        }
    }
}
