//! Tagging: the tags of a bucket or of an object.
//!
//! Reading gives the pairs as they came, twice-named keys among them; `check_tags` judges them, with
//! the number that is allowed, which is another one for buckets and objects.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html

use std::collections::HashSet;

use super::super::read::{Document, Fault, UNEXPECTED, XmlError, once, texts};
use super::super::write::XmlWriter;
use super::Configuration;
use crate::base::limits::{TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX};

/// Key and value of each tag, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(pub Vec<(String, String)>);

impl Configuration for Tags {
    /// The shape alone: see `check_tags`.
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "Tagging")?;
        let mut tags = None;
        while let Some(element) = document.child()? {
            match element.name() {
                b"TagSet" => once(&mut tags, read_tag_set(&mut document)?)?,
                _ => return Err(UNEXPECTED),
            }
        }
        document.close()?;
        tags.map(Tags).ok_or(XmlError::Malformed("it has no TagSet"))
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("Tagging");
        w.open("TagSet");
        for (key, value) in &self.0 {
            w.open("Tag");
            w.text("Key", key);
            w.text("Value", value);
            w.close("Tag");
        }
        w.close("TagSet");
        w.close("Tagging");
        w.finish()
    }
}

/// The children of an element that holds tags.
pub(in super::super) fn read_tag_set(document: &mut Document<'_>) -> Result<Vec<(String, String)>, XmlError> {
    let mut tags = Vec::new();
    while let Some(element) = document.child()? {
        if element.name() != b"Tag" {
            return Err(UNEXPECTED);
        }
        tags.push(read_tag(document)?);
    }
    Ok(tags)
}

pub(super) fn read_tag(document: &mut Document<'_>) -> Result<(String, String), XmlError> {
    match texts(document, &[b"Key", b"Value"])? {
        [Some(key), Some(value)] => Ok((key, value)),
        _ => Err(XmlError::Malformed("a tag has no key or no value")),
    }
}

/// Judges tags, however they came: at most `max`, no key twice, lengths and characters.
pub fn check_tags(tags: &[(String, String)], max: usize) -> Result<(), XmlError> {
    let refused = |message: String| Err(XmlError::Invalid(Fault::Tag, message.into()));
    if tags.len() > max {
        return refused(format!("There may not be more than {max} tags"));
    }
    let mut keys = HashSet::new();
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > TAG_KEY_CHARS_MAX || !is_tag_text(key) {
            return refused("The TagKey you have provided is invalid".into());
        }
        if value.chars().count() > TAG_VALUE_CHARS_MAX || !is_tag_text(value) {
            return refused("The TagValue you have provided is invalid".into());
        }
        if key.starts_with("aws:") {
            return refused("System tags cannot be added/updated by requester".into());
        }
        if !keys.insert(key) {
            return refused("Cannot provide multiple Tags with the same key".into());
        }
    }
    Ok(())
}

/// Letters, numbers and white space of any script, and a few signs.
fn is_tag_text(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == ' ' || is_mark(c) || "+-=._:/@".contains(c))
}

/// Combining marks and other characters outside ASCII that scripts are written with.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tags: &[(&str, &str)], max: usize) -> Result<(), &'static str> {
        let tags: Vec<_> = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        check_tags(&tags, max).map_err(|error| error.code())
    }

    #[test]
    fn what_is_written_is_read() {
        let tags = Tags(vec![("a <&".into(), "".into()), ("ключ".into(), "値".into())]);
        assert_eq!(Tags::parse(&tags.render()), Ok(tags));
        assert_eq!(Tags::parse(&Tags::default().render()), Ok(Tags::default()));
        for body in [
            "<Tagging/>",
            "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
            "<Tagging><TagSet/><TagSet/></Tagging>",
            "<Tagging><TagSet><Other/></TagSet></Tagging>",
        ] {
            assert_eq!(Tags::parse(body.as_bytes()).map_err(|e| e.code()), Err("MalformedXML"), "{body}");
        }
    }

    #[test]
    fn bounds_and_characters() {
        let (long, longer) = ("k".repeat(TAG_KEY_CHARS_MAX), "v".repeat(TAG_VALUE_CHARS_MAX));
        assert_eq!(check(&[(&long, &longer), ("b c", "+-=._:/@ é")], 2), Ok(()));
        for tags in [
            &[("a", "1"), ("a", "2")][..],
            &[("", "1")],
            &[(&format!("{long}k"), "")],
            &[("a", &format!("{longer}v"))],
            &[("aws:a", "1")],
            &[("a&b", "1")],
            &[("a", "1\n")],
            &[("a", ""), ("b", ""), ("c", "")],
        ] {
            assert_eq!(check(tags, 2), Err("InvalidTag"), "{tags:?}");
        }
    }
}
