//! BucketLoggingStatus: where the access log of a bucket goes.
//!
//! An empty status turns logging off: whoever reads one removes the setting. Whether the target
//! exists and belongs to the same owner is asked where the setting is stored.

use super::super::read::{BAD_WORD, Document, MISSING, UNEXPECTED, XmlError, once, texts};
use super::super::write::XmlWriter;
use super::Configuration;
use super::acl::{Grantee, Permission, read_grants, write_grantee};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// `None` turns logging off.
    pub target: Option<LogTarget>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    pub bucket: String,
    pub prefix: String,
    pub grants: Vec<(Grantee, Permission)>,
    pub format: Option<LogKeyFormat>,
}

/// How the key of a log object is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKeyFormat {
    Simple,
    PartitionedByEvent,
    PartitionedByDelivery,
}

impl Configuration for Logging {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "BucketLoggingStatus")?;
        let mut target = None;
        while let Some(element) = document.child()? {
            match element.name() {
                b"LoggingEnabled" => once(&mut target, read_target(&mut document)?)?,
                _ => return Err(UNEXPECTED),
            }
        }
        document.close()?;
        Ok(Logging { target })
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("BucketLoggingStatus");
        if let Some(target) = &self.target {
            w.open("LoggingEnabled");
            w.text("TargetBucket", &target.bucket);
            write_grants(&mut w, &target.grants);
            w.text("TargetPrefix", &target.prefix);
            if let Some(format) = target.format {
                write_format(&mut w, format);
            }
            w.close("LoggingEnabled");
        }
        w.close("BucketLoggingStatus");
        w.finish()
    }
}

fn read_target(document: &mut Document<'_>) -> Result<LogTarget, XmlError> {
    let (mut bucket, mut prefix, mut grants, mut format) = (None, None, None, None);
    while let Some(element) = document.child()? {
        match element.name() {
            b"TargetBucket" => once(&mut bucket, document.text()?)?,
            b"TargetPrefix" => once(&mut prefix, document.text()?)?,
            b"TargetGrants" => once(&mut grants, read_grants(document, b"Grant", log_permission)?)?,
            b"TargetObjectKeyFormat" => once(&mut format, read_format(document)?)?,
            _ => return Err(UNEXPECTED),
        }
    }
    Ok(LogTarget {
        bucket: bucket.ok_or(MISSING)?,
        prefix: prefix.ok_or(MISSING)?,
        grants: grants.unwrap_or_default(),
        format,
    })
}

/// Log objects have no ACL of their own to hand out.
fn log_permission(name: &str) -> Option<Permission> {
    Permission::from_name(name)
        .filter(|word| matches!(word, Permission::FullControl | Permission::Read | Permission::Write))
}

fn read_format(document: &mut Document<'_>) -> Result<LogKeyFormat, XmlError> {
    let mut format = None;
    while let Some(element) = document.child()? {
        let read = match element.name() {
            b"SimplePrefix" => texts(document, &[]).map(|[]: [_; 0]| LogKeyFormat::Simple),
            b"PartitionedPrefix" => read_partition(document),
            _ => return Err(UNEXPECTED),
        };
        once(&mut format, read?)?;
    }
    format.ok_or(MISSING)
}

fn read_partition(document: &mut Document<'_>) -> Result<LogKeyFormat, XmlError> {
    let [source] = texts(document, &[b"PartitionDateSource"])?;
    match source.as_deref() {
        Some("EventTime") => Ok(LogKeyFormat::PartitionedByEvent),
        None | Some("DeliveryTime") => Ok(LogKeyFormat::PartitionedByDelivery),
        Some(_) => Err(BAD_WORD),
    }
}

fn write_grants(w: &mut XmlWriter, grants: &[(Grantee, Permission)]) {
    if grants.is_empty() {
        return;
    }
    w.open("TargetGrants");
    for (grantee, permission) in grants {
        w.open("Grant");
        write_grantee(w, grantee);
        w.text("Permission", permission.name());
        w.close("Grant");
    }
    w.close("TargetGrants");
}

fn write_format(w: &mut XmlWriter, format: LogKeyFormat) {
    let partition = |w: &mut XmlWriter, source| {
        w.open("PartitionedPrefix");
        w.text("PartitionDateSource", source);
        w.close("PartitionedPrefix");
    };
    w.open("TargetObjectKeyFormat");
    match format {
        LogKeyFormat::Simple => w.text("SimplePrefix", ""),
        LogKeyFormat::PartitionedByEvent => partition(w, "EventTime"),
        LogKeyFormat::PartitionedByDelivery => partition(w, "DeliveryTime"),
    }
    w.close("TargetObjectKeyFormat");
}

#[cfg(test)]
mod tests {
    use super::super::{AclOwner, Group};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let user = Grantee::User(AclOwner { id: "u".into(), display_name: None });
        let grants =
            vec![(user, Permission::FullControl), (Grantee::Group(Group::AllUsers), Permission::Read)];
        let formats =
            [LogKeyFormat::Simple, LogKeyFormat::PartitionedByEvent, LogKeyFormat::PartitionedByDelivery];
        for format in formats.into_iter().map(Some).chain([None]) {
            let (bucket, prefix) = ("logs".to_owned(), "p/".to_owned());
            let target = LogTarget { bucket, prefix, grants: grants.clone(), format };
            let logging = Logging { target: Some(target) };
            assert_eq!(Logging::parse(&logging.render()), Ok(logging));
        }
        assert_eq!(Logging::parse(b"<BucketLoggingStatus/>"), Ok(Logging::default()));
    }

    #[test]
    fn what_is_refused() {
        let fine = "<TargetBucket>b</TargetBucket><TargetPrefix/>";
        let grant = "<TargetGrants><Grant><Grantee><ID>x</ID></Grantee><Permission>READ_ACP</Permission></Grant></TargetGrants>";
        for inner in [
            "",
            "<TargetBucket>b</TargetBucket>",
            "<TargetPrefix/>",
            &format!("{fine}{grant}"),
            &format!("{fine}<TargetObjectKeyFormat/>"),
            &format!("{fine}<Other/>"),
        ] {
            let body = format!(
                "<BucketLoggingStatus><LoggingEnabled>{inner}</LoggingEnabled></BucketLoggingStatus>"
            );
            assert!(matches!(Logging::parse(body.as_bytes()), Err(XmlError::Malformed(_))), "{inner}");
        }
    }
}
