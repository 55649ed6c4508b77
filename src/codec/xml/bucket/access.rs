//! OwnershipControls and PublicAccessBlockConfiguration.
//!
//! What follows from them is decided where access is judged; a setting that is not there is not the
//! same as one with its defaults, and a GET says so.

use super::super::read::{BAD_WORD, Document, MISSING, UNEXPECTED, XmlError, once, parse_bool, texts};
use super::super::write::XmlWriter;
use super::Configuration;

/// Who owns what is written into a bucket, and whether ACLs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectOwnership {
    /// ACLs are off: the owner of the bucket owns every object.
    BucketOwnerEnforced,
    /// An object is the bucket owner's if its writer says `bucket-owner-full-control`.
    BucketOwnerPreferred,
    ObjectWriter,
}

impl ObjectOwnership {
    pub const fn name(self) -> &'static str {
        match self {
            ObjectOwnership::BucketOwnerEnforced => "BucketOwnerEnforced",
            ObjectOwnership::BucketOwnerPreferred => "BucketOwnerPreferred",
            ObjectOwnership::ObjectWriter => "ObjectWriter",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "BucketOwnerEnforced" => Some(ObjectOwnership::BucketOwnerEnforced),
            "BucketOwnerPreferred" => Some(ObjectOwnership::BucketOwnerPreferred),
            "ObjectWriter" => Some(ObjectOwnership::ObjectWriter),
            _ => None,
        }
    }
}

impl Configuration for ObjectOwnership {
    /// Exactly one rule, as AWS has it.
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "OwnershipControls")?;
        let mut ownership = None;
        while let Some(element) = document.child()? {
            if element.name() != b"Rule" {
                return Err(UNEXPECTED);
            }
            let [name] = texts(&mut document, &[b"ObjectOwnership"])?;
            once(&mut ownership, Self::from_name(&name.ok_or(MISSING)?).ok_or(BAD_WORD)?)?;
        }
        document.close()?;
        ownership.ok_or(MISSING)
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("OwnershipControls");
        w.open("Rule");
        w.text("ObjectOwnership", self.name());
        w.close("Rule");
        w.close("OwnershipControls");
        w.finish()
    }
}

/// What is left out is false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublicAccessBlock {
    pub block_public_acls: bool,
    pub ignore_public_acls: bool,
    pub block_public_policy: bool,
    pub restrict_public_buckets: bool,
}

impl Configuration for PublicAccessBlock {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "PublicAccessBlockConfiguration")?;
        let names: [&[u8]; 4] =
            [b"BlockPublicAcls", b"IgnorePublicAcls", b"BlockPublicPolicy", b"RestrictPublicBuckets"];
        let [block_acls, ignore_acls, block_policy, restrict] = texts(&mut document, &names)?;
        document.close()?;
        let truth = |text: Option<String>| text.map_or(Ok(false), |text| parse_bool(&text));
        Ok(PublicAccessBlock {
            block_public_acls: truth(block_acls)?,
            ignore_public_acls: truth(ignore_acls)?,
            block_public_policy: truth(block_policy)?,
            restrict_public_buckets: truth(restrict)?,
        })
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("PublicAccessBlockConfiguration");
        w.boolean("BlockPublicAcls", self.block_public_acls);
        w.boolean("IgnorePublicAcls", self.ignore_public_acls);
        w.boolean("BlockPublicPolicy", self.block_public_policy);
        w.boolean("RestrictPublicBuckets", self.restrict_public_buckets);
        w.close("PublicAccessBlockConfiguration");
        w.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ownership_is_one_rule() {
        for name in ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"] {
            let ownership = ObjectOwnership::from_name(name).unwrap();
            assert_eq!(
                (ownership.name(), ObjectOwnership::parse(&ownership.render())),
                (name, Ok(ownership))
            );
        }
        let rule = "<Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>";
        for rules in ["", "<Rule/>", &rule.repeat(2), "<Rule><ObjectOwnership>Me</ObjectOwnership></Rule>"] {
            let body = format!("<OwnershipControls>{rules}</OwnershipControls>");
            assert!(ObjectOwnership::parse(body.as_bytes()).is_err(), "{rules}");
        }
    }

    #[test]
    fn blocks_are_independent_and_off_when_left_out() {
        let block = PublicAccessBlock { ignore_public_acls: true, ..PublicAccessBlock::default() };
        assert_eq!(PublicAccessBlock::parse(&block.render()), Ok(block));
        let empty = b"<PublicAccessBlockConfiguration/>";
        assert_eq!(PublicAccessBlock::parse(empty), Ok(PublicAccessBlock::default()));
        let body = b"<PublicAccessBlockConfiguration><BlockPublicAcls>on</BlockPublicAcls></PublicAccessBlockConfiguration>";
        assert!(PublicAccessBlock::parse(body).is_err());
    }
}
