//! ServerSideEncryptionConfiguration and RequestPaymentConfiguration.
//!
//! The default encryption is S3's own (`AES256`): there is no key service, so `aws:kms` is refused.
//! Encryption with keys of clients is refused everywhere, so blocking it is honoured.

use super::super::read::{BAD_WORD, Document, Fault, MISSING, UNEXPECTED, XmlError, once, parse_bool, texts};
use super::super::write::XmlWriter;
use super::Configuration;

/// Default encryption with `AES256`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    pub bucket_key: Option<bool>,
    /// `SSE-C` and `NONE`, as they were sent.
    pub blocked: Vec<String>,
}

impl Configuration for Encryption {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "ServerSideEncryptionConfiguration")?;
        let mut rule = None;
        while let Some(element) = document.child()? {
            match element.name() {
                b"Rule" => once(&mut rule, read_rule(&mut document)?)?,
                _ => return Err(UNEXPECTED),
            }
        }
        document.close()?;
        rule.ok_or(MISSING)
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("ServerSideEncryptionConfiguration");
        w.open("Rule");
        w.open("ApplyServerSideEncryptionByDefault");
        w.text("SSEAlgorithm", "AES256");
        w.close("ApplyServerSideEncryptionByDefault");
        if let Some(bucket_key) = self.bucket_key {
            w.boolean("BucketKeyEnabled", bucket_key);
        }
        if !self.blocked.is_empty() {
            w.open("BlockedEncryptionTypes");
            self.blocked.iter().for_each(|kind| w.text("EncryptionType", kind));
            w.close("BlockedEncryptionTypes");
        }
        w.close("Rule");
        w.close("ServerSideEncryptionConfiguration");
        w.finish()
    }
}

fn read_rule(document: &mut Document<'_>) -> Result<Encryption, XmlError> {
    let (mut default, mut bucket_key, mut blocked) = (None, None, None);
    while let Some(element) = document.child()? {
        match element.name() {
            b"ApplyServerSideEncryptionByDefault" => {
                once(&mut default, texts(document, &[b"SSEAlgorithm", b"KMSMasterKeyID"])?)?;
            }
            b"BucketKeyEnabled" => once(&mut bucket_key, parse_bool(&document.text()?)?)?,
            b"BlockedEncryptionTypes" => once(&mut blocked, read_blocked(document)?)?,
            _ => return Err(UNEXPECTED),
        }
    }
    match default {
        // Without it the default of every bucket is meant.
        None if bucket_key.is_none() && blocked.is_none() => return Err(MISSING),
        None => {}
        Some([algorithm, key]) => check_default(&algorithm.ok_or(MISSING)?, key.as_deref())?,
    }
    Ok(Encryption { bucket_key, blocked: blocked.unwrap_or_default() })
}

fn check_default(algorithm: &str, key: Option<&str>) -> Result<(), XmlError> {
    match (algorithm, key) {
        ("AES256", None) => Ok(()),
        ("AES256", Some(_)) => Err(XmlError::Invalid(
            Fault::Argument,
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
                .into(),
        )),
        ("aws:kms" | "aws:kms:dsse" | "aws:fsx" | "aws:backup", _) => {
            Err(XmlError::Unsupported(format!("SSEAlgorithm {algorithm}")))
        }
        _ => Err(BAD_WORD),
    }
}

fn read_blocked(document: &mut Document<'_>) -> Result<Vec<String>, XmlError> {
    let mut kinds: Vec<String> = Vec::new();
    while let Some(element) = document.child()? {
        let text = document.text()?;
        match (element.name(), text.as_str()) {
            (b"EncryptionType", "SSE-C" | "NONE") if !kinds.contains(&text) => kinds.push(text),
            (b"EncryptionType", _) => return Err(BAD_WORD),
            _ => return Err(UNEXPECTED),
        }
    }
    Ok(kinds)
}

/// Who pays for requests: whoever makes them has to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer {
    BucketOwner,
    Requester,
}

impl Configuration for Payer {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "RequestPaymentConfiguration")?;
        let [payer] = texts(&mut document, &[b"Payer"])?;
        document.close()?;
        match payer.ok_or(MISSING)?.as_str() {
            "BucketOwner" => Ok(Payer::BucketOwner),
            "Requester" => Ok(Payer::Requester),
            _ => Err(BAD_WORD),
        }
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("RequestPaymentConfiguration");
        w.text("Payer", if *self == Payer::Requester { "Requester" } else { "BucketOwner" });
        w.close("RequestPaymentConfiguration");
        w.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rule: &str) -> Result<Encryption, &'static str> {
        let body = format!("<ServerSideEncryptionConfiguration>{rule}</ServerSideEncryptionConfiguration>");
        Encryption::parse(body.as_bytes()).map_err(|error| error.code())
    }

    fn rule(algorithm: &str, more: &str) -> String {
        format!(
            "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>{algorithm}</SSEAlgorithm>{more}\
             </ApplyServerSideEncryptionByDefault></Rule>"
        )
    }

    #[test]
    fn encryption_is_that_of_s3_itself() {
        let full = Encryption { bucket_key: Some(true), blocked: vec!["SSE-C".into()] };
        for encryption in [full, Encryption::default()] {
            assert_eq!(Encryption::parse(&encryption.render()), Ok(encryption));
        }
        for (body, code) in [
            (String::new(), "MalformedXML"),
            ("<Rule/>".into(), "MalformedXML"),
            (rule("AES128", ""), "MalformedXML"),
            (rule("AES256", "<KMSMasterKeyID>k</KMSMasterKeyID>"), "InvalidArgument"),
            (rule("aws:kms", ""), "NotImplemented"),
            (rule("AES256", "").repeat(2), "MalformedXML"),
        ] {
            assert_eq!(parse(&body), Err(code), "{body}");
        }
    }

    #[test]
    fn payers() {
        for payer in [Payer::BucketOwner, Payer::Requester] {
            assert_eq!(Payer::parse(&payer.render()), Ok(payer));
        }
        for payer in ["", "<Payer>Me</Payer>", "<Payer>Requester</Payer><Payer>Requester</Payer>"] {
            let body = format!("<RequestPaymentConfiguration>{payer}</RequestPaymentConfiguration>");
            assert!(Payer::parse(body.as_bytes()).is_err(), "{payer}");
        }
    }
}
