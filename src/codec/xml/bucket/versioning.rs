//! VersioningConfiguration.
//!
//! A bucket on which versioning was never set has none. Deleting versions only with a second factor
//! (`MfaDelete`) is not built: asking for it is refused, saying that it is off is accepted.

use super::super::read::{BAD_WORD, Document, Fault, XmlError, texts};
use super::super::write::XmlWriter;
use super::Configuration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    Enabled,
    Suspended,
}

impl Configuration for Versioning {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "VersioningConfiguration")?;
        let [status, mfa] = texts(&mut document, &[b"Status", b"MfaDelete"])?;
        document.close()?;
        match mfa.as_deref() {
            None | Some("Disabled") => {}
            Some("Enabled") => return Err(XmlError::Unsupported("MfaDelete".into())),
            Some(_) => return Err(BAD_WORD),
        }
        match status.as_deref() {
            Some("Enabled") => Ok(Versioning::Enabled),
            Some("Suspended") => Ok(Versioning::Suspended),
            Some(_) => Err(BAD_WORD),
            None => {
                Err(XmlError::Invalid(Fault::Versioning, "The Versioning element must be specified".into()))
            }
        }
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("VersioningConfiguration");
        w.text("Status", if *self == Versioning::Enabled { "Enabled" } else { "Suspended" });
        w.close("VersioningConfiguration");
        w.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_what_is_refused() {
        for state in [Versioning::Enabled, Versioning::Suspended] {
            assert_eq!(Versioning::parse(&state.render()), Ok(state));
        }
        let code = |inner: &str| {
            let body = format!("<VersioningConfiguration>{inner}</VersioningConfiguration>");
            Versioning::parse(body.as_bytes()).map_err(|error| error.code())
        };
        let status = "<Status>Enabled</Status>";
        assert_eq!(code(&format!("{status}<MfaDelete>Disabled</MfaDelete>")), Ok(Versioning::Enabled));
        assert_eq!(code(&format!("{status}<MfaDelete>Enabled</MfaDelete>")), Err("NotImplemented"));
        assert_eq!(code(&format!("{status}{status}")), Err("MalformedXML"));
        assert_eq!(code("<Status>enabled</Status>"), Err("MalformedXML"));
        assert_eq!(code(""), Err("IllegalVersioningConfigurationException"));
    }
}
