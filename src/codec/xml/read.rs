//! Reading an XML document as nested elements, one step at a time.
//!
//! May use: quick-xml, `base::limits`. The reader opens only elements that its caller knows, so
//! depth is bounded by the shapes themselves. Refused: bodies over the bound, pieces over theirs
//! (the document, or each entry of a document of many), bytes that are not
//! UTF-8, characters that XML does not have, document types, processing instructions, entities other than the five of
//! XML, text between elements, elements inside text, anything after the root. Line ends inside text are normalised as
//! XML 1.0 section 2.11 says. Attributes, namespaces among them, are not looked at, but for those asked for by name.
//!
//! A document of many entries may take longer than a data thread may compute at a time (rule R1).
//! `entry` rests between them; how one rests is the caller's to say, there is no clock here.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesRef, BytesStart, Event};

use crate::base::limits::{XML_BODY_BYTES_MAX, XML_PIECE_BYTES_MAX};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    #[error(
        "The XML you provided was not well-formed or did not validate against our published schema ({0})"
    )]
    Malformed(&'static str),
    /// Known to S3, not to this server; `NotImplemented`.
    #[error("The element {0} in the request body is not supported")]
    Unsupported(String),
    #[error("Value for {0} in the request body is not a valid checksum")]
    BadChecksum(&'static str),
    /// Of the right shape, and what it says is not allowed; text for the client.
    #[error("{1}")]
    Invalid(Fault, Cow<'static, str>),
}

/// In what way the content of a document is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Argument,
    Request,
    RetentionPeriod,
    Tag,
    Versioning,
}

impl XmlError {
    /// The S3 error code, by which tests name an error. What clients are told stands in `s3::error` alone.
    #[cfg(test)]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            XmlError::Malformed(_) => "MalformedXML",
            XmlError::Unsupported(_) => "NotImplemented",
            XmlError::BadChecksum(_) => "InvalidArgument",
            XmlError::Invalid(Fault::Argument, _) => "InvalidArgument",
            XmlError::Invalid(Fault::Request, _) => "InvalidRequest",
            XmlError::Invalid(Fault::RetentionPeriod, _) => "InvalidRetentionPeriod",
            XmlError::Invalid(Fault::Tag, _) => "InvalidTag",
            XmlError::Invalid(Fault::Versioning, _) => "IllegalVersioningConfigurationException",
        }
    }
}

/// The start of an element; match on its local name.
pub(super) struct Element<'x>(BytesStart<'x>);

impl Element<'_> {
    /// Without a namespace prefix.
    pub(super) fn name(&self) -> &[u8] {
        self.0.local_name().into_inner()
    }

    /// The value, as it was written, of the attribute of that local name that has some namespace prefix.
    pub(super) fn attribute(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        // A name that stands twice is not looked for: that takes time with the square of their number.
        let mut attributes = self.0.attributes();
        let read = attributes.with_checks(false).filter_map(Result::ok);
        let named = |at: &Attribute<'_>| {
            at.key.prefix().is_some() && at.key.local_name().into_inner() == name.as_bytes()
        };
        read.filter(named).map(|at| at.value).next()
    }
}

pub(super) struct Document<'x> {
    body: &'x [u8],
    /// Sees the body up to `end` only, so that no single event is longer than a piece.
    reader: Reader<&'x [u8]>,
    end: usize,
    /// Where the piece begins that is being read.
    piece: usize,
    rested: usize,
}

impl<'x> Document<'x> {
    /// Reads up to the start of the root, whose local name must be `root`.
    pub(super) fn open(body: &'x [u8], root: &str) -> Result<Document<'x>, XmlError> {
        if body.len() > XML_BODY_BYTES_MAX {
            return Err(XmlError::Malformed("it is too long"));
        }
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let mut reader = Reader::from_reader(&[][..]);
        reader.config_mut().expand_empty_elements = true;
        let mut document = Document { body, reader, end: 0, piece: 0, rested: 0 };
        document.declaration_and_root(root)?;
        Ok(document)
    }

    /// As `child`, for the root of a document of many entries: begins a new piece, and rests when
    /// much was read since the last time.
    pub(super) async fn entry(&mut self, rest: &impl AsyncFn()) -> Result<Option<Element<'x>>, XmlError> {
        self.piece = self.position();
        if self.piece.saturating_sub(self.rested) >= XML_PIECE_BYTES_MAX / 2 {
            self.rested = self.piece;
            rest().await;
        }
        self.child()
    }

    /// The next child of the element that is open, or `None` at its end, which is then passed.
    pub(super) fn child(&mut self) -> Result<Option<Element<'x>>, XmlError> {
        loop {
            match self.event()? {
                Event::Start(start) => return Ok(Some(Element(start))),
                Event::End(_) => return Ok(None),
                Event::Comment(_) => {}
                Event::Text(text) if is_blank(&text) => {}
                _ => {
                    return Err(XmlError::Malformed(
                        "something other than an element stands between elements",
                    ));
                }
            }
        }
    }

    /// The text of the element just started; its end is passed.
    pub(super) fn text(&mut self) -> Result<String, XmlError> {
        let mut out = String::new();
        loop {
            match self.event()? {
                Event::Text(text) => push(&mut out, &text.xml10_content().map_err(|_| BAD_TEXT)?)?,
                Event::CData(data) => push(&mut out, &data.xml10_content().map_err(|_| BAD_TEXT)?)?,
                Event::GeneralRef(reference) => out.push(resolve(&reference)?),
                Event::Comment(_) => {}
                Event::End(_) => return Ok(out),
                _ => return Err(XmlError::Malformed("an element stands inside text")),
            }
        }
    }

    /// After the root's end: nothing but comments and white space may follow.
    pub(super) fn close(mut self) -> Result<(), XmlError> {
        loop {
            match self.event()? {
                Event::Eof => return Ok(()),
                Event::Comment(_) => {}
                Event::Text(text) if is_blank(&text) => {}
                _ => return Err(XmlError::Malformed("something follows the document")),
            }
        }
    }

    fn declaration_and_root(&mut self, root: &str) -> Result<(), XmlError> {
        let mut first = true;
        loop {
            match self.event()? {
                Event::Decl(_) if first => {}
                Event::Comment(_) => {}
                Event::Text(text) if is_blank(&text) => {}
                Event::Start(start) if start.local_name().into_inner() == root.as_bytes() => return Ok(()),
                Event::Start(_) => return Err(XmlError::Malformed("its root is another element")),
                _ => return Err(XmlError::Malformed("it does not begin with an element")),
            }
            first = false;
        }
    }

    fn event(&mut self) -> Result<Event<'x>, XmlError> {
        let from = self.position();
        self.end = self.body.len().min(self.piece.saturating_add(XML_PIECE_BYTES_MAX));
        *self.reader.get_mut() = self.body.get(from..self.end).unwrap_or_default();
        let event = self.reader.read_event();
        let to = self.position();
        if to == self.end && to < self.body.len() {
            return Err(XmlError::Malformed("a piece of it is too long"));
        }
        let passed = self.body.get(from..to).unwrap_or_default();
        std::str::from_utf8(passed).map_err(|_| XmlError::Malformed("it is not UTF-8"))?;
        event.map_err(|_| XmlError::Malformed("its syntax is broken"))
    }

    fn position(&self) -> usize {
        self.end.saturating_sub(self.reader.get_ref().len())
    }
}

const BAD_TEXT: XmlError = XmlError::Malformed("its text cannot be decoded");

/// As they are, only the characters of XML 1.0 (section 2.2) may stand in a document. Keys may hold others, and a
/// reference gives them all the same, since listings write them so.
fn push(out: &mut String, text: &str) -> Result<(), XmlError> {
    if !text.chars().all(is_xml_char) {
        return Err(XmlError::Malformed("its text holds a character that XML does not have"));
    }
    out.push_str(text);
    Ok(())
}

/// One of the characters of XML 1.0.
pub(super) fn is_xml_char(c: char) -> bool {
    !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    let refused = XmlError::Malformed("it refers to an entity that XML does not define");
    match &**reference {
        b"lt" => Ok('<'),
        b"gt" => Ok('>'),
        b"amp" => Ok('&'),
        b"quot" => Ok('"'),
        b"apos" => Ok('\''),
        _ => reference.resolve_char_ref().ok().flatten().ok_or(refused),
    }
}

// ---- What shapes are made of ----

/// Children that hold text, each at most once, in any order.
pub(super) fn texts<const N: usize>(
    document: &mut Document<'_>,
    names: &[&[u8]; N],
) -> Result<[Option<String>; N], XmlError> {
    let mut values = [const { None }; N];
    while let Some(element) = document.child()? {
        let text = document.text()?;
        let mut slots = names.iter().zip(&mut values);
        let (_, slot) = slots.find(|(name, _)| **name == element.name()).ok_or(UNEXPECTED)?;
        once(slot, text)?;
    }
    Ok(values)
}

pub(super) const UNEXPECTED: XmlError = XmlError::Malformed("an element stands where it may not");
pub(super) const TWICE: XmlError = XmlError::Malformed("an element stands twice");
pub(super) const MISSING: XmlError = XmlError::Malformed("a required element is missing");
pub(super) const BAD_WORD: XmlError = XmlError::Malformed("an element holds none of the words allowed in it");

pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), XmlError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(TWICE),
    }
}

pub(super) fn parse_bool(text: &str) -> Result<bool, XmlError> {
    match text.trim() {
        "true" | "True" | "TRUE" | "1" => Ok(true),
        "false" | "False" | "FALSE" | "0" => Ok(false),
        _ => Err(XmlError::Malformed("a truth value is neither true nor false")),
    }
}

pub(super) fn parse_integer(text: &str) -> Result<i64, XmlError> {
    text.trim().parse().map_err(|_| XmlError::Malformed("a number cannot be read"))
}

pub(super) fn parse_number(text: &str) -> Result<u64, XmlError> {
    text.trim().parse().map_err(|_| XmlError::Malformed("a number cannot be read"))
}
