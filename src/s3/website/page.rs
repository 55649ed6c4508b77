//! The page a browser shows for an error, in the form that S3 gives it.
//!
//! Pure. May use `s3::error` and the escaping of `codec::xml`, whose entities HTML shares. Whatever comes from the
//! request is escaped.

use crate::codec::xml::XmlWriter;
use crate::s3::error::{Place, S3Error};

/// `nested` is what went wrong with the error document, and its key.
pub(super) fn of(error: &S3Error, place: &Place<'_>, nested: Option<(&S3Error, &str)>) -> Vec<u8> {
    let status = error.code().status();
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let mut w = XmlWriter::bare();
    w.open("html");
    w.open("head");
    w.text("title", &title);
    w.close("head");
    w.open("body");
    w.text("h1", &title);
    w.open("ul");
    items(&mut w, error, place);
    item(&mut w, "RequestId", place.request_id);
    item(&mut w, "HostId", place.host_id);
    w.close("ul");
    if let Some((nested, key)) = nested {
        w.text("h3", "An Error Occurred While Attempting to Retrieve a Custom Error Document");
        w.open("ul");
        items(&mut w, nested, &Place { key: Some(key), ..*place });
        w.close("ul");
    }
    w.open("hr/");
    w.close("body");
    w.close("html");
    w.finish()
}

fn items(w: &mut XmlWriter, error: &S3Error, place: &Place<'_>) {
    item(w, "Code", error.code().name());
    item(w, "Message", error.message());
    for (name, value) in error.details(place) {
        item(w, name, value);
    }
}

fn item(w: &mut XmlWriter, name: &str, value: &str) {
    w.text("li", &format!("{name}: {value}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::error::Code;

    #[test]
    fn the_page_of_an_error_that_has_another() {
        let (bucket, key) = (Some("b"), Some("<x>"));
        let place =
            Place { resource: "/<x>", bucket, key, request_id: "ID", host_id: "H", ..Place::default() };
        let (missing, denied) = (S3Error::new(Code::NoSuchKey), S3Error::new(Code::AccessDenied));
        let page = String::from_utf8(of(&missing, &place, Some((&denied, "e")))).unwrap();
        assert!(
            page.starts_with("<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1>")
        );
        for line in ["<li>Code: NoSuchKey</li>", "<li>Key: &lt;x&gt;</li>", "<li>RequestId: ID</li>"] {
            assert!(page.contains(line), "{page}");
        }
        assert!(page.contains("Custom Error Document</h3><ul><li>Code: AccessDenied</li>"), "{page}");
        assert!(page.ends_with("<hr/></body></html>"), "{page}");
    }
}
