//! multipart/form-data as browsers post it: fields, then one file, read as its bytes arrive.
//!
//! May use: `base::limits`. Bytes in, events out, no I/O. What is held is bounded: the fields by
//! `POST_FIELDS_BYTES_MAX`, the file by what one `feed` brought and the length of a boundary.
//! RFC 7578 and RFC 2046 section 5.1; a part is a file when its field is called `file`.

use bytes::{Bytes, BytesMut};

use crate::base::limits::{BOUNDARY_BYTES_MAX, POST_FIELDS_BYTES_MAX};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("The body of your POST request is not well-formed multipart/form-data.")]
    Malformed,
    #[error("Your POST request fields preceding the upload file were too large.")]
    FieldsTooLarge,
}

#[derive(Debug, PartialEq, Eq)]
pub enum FormEvent {
    Field {
        name: String,
        value: String,
    },
    /// Its bytes follow.
    File {
        filename: Option<String>,
    },
    Data(Bytes),
    /// The file is complete. What follows does not count.
    End,
}

pub struct FormReader {
    /// With the line end in front of it.
    delimiter: Vec<u8>,
    held: BytesMut,
    state: State,
    fields: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// In front of a delimiter: what stands there is skipped.
    Preamble,
    /// Behind a delimiter.
    Delimited,
    Head,
    Field(String),
    File,
    Done,
}

impl FormReader {
    /// `None` when the content type is not a form's or has no usable boundary.
    pub fn new(content_type: &str) -> Option<FormReader> {
        let (kind, parameters) = content_type.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameter(parameters, "boundary")?;
        if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
            return None;
        }
        // The first delimiter stands at the very beginning, without a line end.
        let held = BytesMut::from(&b"\r\n"[..]);
        Some(FormReader {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            held,
            state: State::Preamble,
            fields: 0,
        })
    }

    pub fn feed(&mut self, data: &[u8]) {
        if self.state != State::Done {
            self.held.extend_from_slice(data);
        }
    }

    /// What the bytes so far say; `None` when more are needed.
    pub fn next_event(&mut self) -> Result<Option<FormEvent>, FormError> {
        loop {
            match self.state.clone() {
                State::Done => return Ok(None),
                State::Preamble => match self.take_to_delimiter() {
                    Some(_) => self.state = State::Delimited,
                    None => return self.more(),
                },
                State::Delimited => match self.held.get(..2) {
                    None => return Ok(None),
                    Some(b"\r\n") => {
                        let _ = self.held.split_to(2);
                        self.state = State::Head;
                    }
                    // A form that ends without a file.
                    Some(b"--") => self.state = State::Done,
                    Some(_) => return Err(FormError::Malformed),
                },
                State::Head => match find(&self.held, b"\r\n\r\n") {
                    None => return self.more(),
                    Some(end) => {
                        let head = self.held.split_to(end + 4);
                        self.count(head.len())?;
                        if let Some(event) = self.open_part(&head)? {
                            return Ok(Some(event));
                        }
                    }
                },
                State::Field(name) => match self.take_to_delimiter() {
                    None => return self.more(),
                    Some(value) => {
                        self.count(value.len())?;
                        self.state = State::Delimited;
                        let value = String::from_utf8(value.to_vec()).map_err(|_| FormError::Malformed)?;
                        return Ok(Some(FormEvent::Field { name, value }));
                    }
                },
                State::File => return Ok(self.file_data()),
            }
        }
    }

    /// True once the file, or a form without one, has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn more(&self) -> Result<Option<FormEvent>, FormError> {
        match self.fields + self.held.len() > POST_FIELDS_BYTES_MAX + self.delimiter.len() {
            true => Err(FormError::FieldsTooLarge),
            false => Ok(None),
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), FormError> {
        self.fields += bytes;
        if self.fields > POST_FIELDS_BYTES_MAX { Err(FormError::FieldsTooLarge) } else { Ok(()) }
    }

    fn take_to_delimiter(&mut self) -> Option<BytesMut> {
        let end = find(&self.held, &self.delimiter)?;
        let taken = self.held.split_to(end);
        let _ = self.held.split_to(self.delimiter.len());
        Some(taken)
    }

    fn open_part(&mut self, head: &[u8]) -> Result<Option<FormEvent>, FormError> {
        let head = std::str::from_utf8(head).map_err(|_| FormError::Malformed)?;
        let header = |name: &str| {
            let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
            lines.find(|(found, _)| found.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let disposition = header("content-disposition").ok_or(FormError::Malformed)?;
        let (kind, parameters) = disposition.split_once(';').ok_or(FormError::Malformed)?;
        let name = parameter(parameters, "name").filter(|_| kind.trim().eq_ignore_ascii_case("form-data"));
        let name = name.filter(|name| !name.is_empty()).ok_or(FormError::Malformed)?;
        if !name.eq_ignore_ascii_case("file") {
            self.state = State::Field(name);
            return Ok(None);
        }
        self.state = State::File;
        let filename = parameter(parameters, "filename");
        Ok(Some(FormEvent::File { filename }))
    }

    /// All that cannot be part of the delimiter.
    fn file_data(&mut self) -> Option<FormEvent> {
        if let Some(end) = find(&self.held, &self.delimiter) {
            if end > 0 {
                return Some(FormEvent::Data(self.held.split_to(end).freeze()));
            }
            self.state = State::Done;
            self.held.clear();
            return Some(FormEvent::End);
        }
        let safe = self.held.len().saturating_sub(self.delimiter.len() - 1);
        (safe > 0).then(|| FormEvent::Data(self.held.split_to(safe).freeze()))
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let at = from + rest.iter().position(|byte| *byte == first)?;
        if bytes.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// The value of `name="value"` or `name=value` among parameters separated by semicolons.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (found, after) = rest.split_once('=')?;
        let found = found.trim_start_matches([';', ' ', '\t']).trim();
        let (value, next) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, next) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), next)
            }
        };
        if found.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = next;
    }
}

/// Up to the closing quote; browsers write a quote inside as `\"` or `%22`.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                value.push('"');
                chars.next();
            }
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORM: &[u8] = b"--B\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na\r\nb\r\n--B\r\n\
        content-disposition: form-data; name=\"file\"; filename=\"C:\\x \\\"y\\\".txt\"\r\nContent-Type: text/plain\r\n\r\n\
        da\r\n--ta\r\n--\r\n--B--\r\nepilogue";

    fn read(pieces: &[&[u8]]) -> Result<Vec<FormEvent>, FormError> {
        let mut reader = FormReader::new("multipart/form-data; boundary=B").unwrap();
        let mut events: Vec<FormEvent> = Vec::new();
        for piece in pieces {
            reader.feed(piece);
            while let Some(event) = reader.next_event()? {
                match (events.last_mut(), event) {
                    (Some(FormEvent::Data(before)), FormEvent::Data(data)) => {
                        *before = [&before[..], &data[..]].concat().into();
                    }
                    (_, event) => events.push(event),
                }
            }
        }
        assert!(events.is_empty() || reader.is_done());
        Ok(events)
    }

    fn expected() -> Vec<FormEvent> {
        vec![
            FormEvent::Field { name: "key".into(), value: "a\r\nb".into() },
            FormEvent::File { filename: Some("C:\\x \"y\".txt".into()) },
            FormEvent::Data(Bytes::from_static(b"da\r\n--ta\r\n--")),
            FormEvent::End,
        ]
    }

    #[test]
    fn a_form_is_the_same_however_it_arrives() {
        assert_eq!(read(&[FORM]), Ok(expected()));
        for size in 1..40 {
            let pieces: Vec<&[u8]> = FORM.chunks(size).collect();
            assert_eq!(read(&pieces), Ok(expected()), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_form() {
        for kind in ["multipart/mixed; boundary=B", "multipart/form-data", "multipart/form-data; boundary="] {
            assert!(FormReader::new(kind).is_none(), "{kind}");
        }
        assert!(FormReader::new("Multipart/Form-Data; charset=x; boundary=\"a b\"").is_some());
        assert_eq!(read(&[b"--Bxx"]), Err(FormError::Malformed));
        assert_eq!(read(&[b"--B\r\nX: y\r\n\r\n"]), Err(FormError::Malformed));
        let nameless = b"--B\r\nContent-Disposition: form-data; name=\"\"; filename=\"f\"\r\n\r\n";
        assert_eq!(read(&[nameless]), Err(FormError::Malformed));
        let endless = vec![b'x'; POST_FIELDS_BYTES_MAX + 100];
        assert_eq!(read(&[&endless]), Err(FormError::FieldsTooLarge));
        let head = b"--B\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n";
        assert_eq!(read(&[head, &endless]), Err(FormError::FieldsTooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(noise: Vec<u8>, cut in 0usize..200) {
            let mut reader = FormReader::new("multipart/form-data; boundary=B").unwrap();
            reader.feed(FORM.get(..cut).unwrap_or(FORM));
            reader.feed(&noise);
            for _ in 0..50 {
                if !matches!(reader.next_event(), Ok(Some(_))) {
                    break;
                }
            }
        }
    }
}
