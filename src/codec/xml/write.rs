//! Writing XML into a byte buffer.
//!
//! May use: `base::limits`, `codec::uri` for listings that are percent-encoded. Every document is UTF-8 with a
//! declaration. Text is escaped so that a parser gives back exactly what was written: `& < > "` as
//! entities, control characters as `&#xN;` (a bare carriage return would be read as a line feed). XML 1.0 has no
//! form for most of those, so strict parsers refuse such a listing, as they refuse S3's; errors are `legible`.
//! Element names are the program's own words and are not escaped.

use super::read::is_xml_char;
use crate::base::limits::XML_STEP_BYTES;
use crate::codec::uri::encode_path_into;

/// The namespace of every S3 document but the error document.
pub(super) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

pub struct XmlWriter {
    out: Vec<u8>,
    /// How much was written at the last rest.
    rested: usize,
}

impl Default for XmlWriter {
    fn default() -> XmlWriter {
        XmlWriter::new()
    }
}

impl XmlWriter {
    pub fn new() -> XmlWriter {
        XmlWriter::with_capacity(512)
    }

    /// Without a declaration: for pages, whose entities are the same.
    pub fn bare() -> XmlWriter {
        XmlWriter { out: Vec::new(), rested: 0 }
    }

    /// Begins a document; `bytes` is what it is expected to become.
    pub fn with_capacity(bytes: usize) -> XmlWriter {
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        XmlWriter { out, rested: 0 }
    }

    /// To be called between the entries of a document of many: rests when much was written since the
    /// last time, so that no data thread computes for long (rule R1).
    pub async fn entry(&mut self, rest: &impl AsyncFn()) {
        if self.out.len() - self.rested >= XML_STEP_BYTES {
            self.rested = self.out.len();
            rest().await;
        }
    }

    pub fn open(&mut self, name: &str) {
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    /// Opens an element in the namespace of S3.
    pub fn open_root(&mut self, name: &str) {
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b" xmlns=\"");
        self.out.extend_from_slice(NAMESPACE.as_bytes());
        self.out.extend_from_slice(b"\">");
    }

    pub fn close(&mut self, name: &str) {
        self.out.extend_from_slice(b"</");
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    pub fn text(&mut self, name: &str, value: &str) {
        self.open(name);
        self.escaped(value);
        self.close(name);
    }

    /// Text with nothing in it to escape: dates, numbers, hex digits, words of the program.
    pub fn plain(&mut self, name: &str, value: &str) {
        debug_assert!(!value.bytes().any(|byte| SPECIAL[usize::from(byte)]), "{value}");
        self.open(name);
        self.out.extend_from_slice(value.as_bytes());
        self.close(name);
    }

    /// For text that is only read by people, such as an error's: what XML cannot hold in any form becomes U+FFFD,
    /// so that the document can be parsed whatever a client sent.
    pub fn legible(&mut self, name: &str, value: &str) {
        match value.chars().all(is_xml_char) {
            true => self.text(name, value),
            false => {
                let legible = |c| if is_xml_char(c) { c } else { char::REPLACEMENT_CHARACTER };
                self.text(name, &value.chars().map(legible).collect::<String>());
            }
        }
    }

    pub fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// An element of a listing: percent-encoded when the client asked for that.
    pub fn listed(&mut self, name: &str, value: &str, url_encoded: bool) {
        self.open(name);
        if url_encoded {
            encode_path_into(&mut self.out, value.as_bytes());
        } else {
            self.escaped(value);
        }
        self.close(name);
    }

    /// An ETag given without its quotes, which is hex digits and perhaps a number.
    pub fn etag(&mut self, etag: &str) {
        self.open("ETag");
        self.out.extend_from_slice(b"&quot;");
        self.out.extend_from_slice(etag.as_bytes());
        self.out.extend_from_slice(b"&quot;");
        self.close("ETag");
    }

    pub fn number(&mut self, name: &str, value: u64) {
        self.open(name);
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = value;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
        self.close(name);
    }

    pub fn boolean(&mut self, name: &str, value: bool) {
        self.plain(name, if value { "true" } else { "false" });
    }

    /// Text inside the element that is open.
    pub fn escaped(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| SPECIAL[usize::from(*byte)]) {
            let (plain, special) = rest.split_at(at);
            self.out.extend_from_slice(plain);
            let Some((&byte, after)) = special.split_first() else { break };
            self.escape(byte);
            rest = after;
        }
        self.out.extend_from_slice(rest);
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn escape(&mut self, byte: u8) {
        match byte {
            b'&' => self.out.extend_from_slice(b"&amp;"),
            b'<' => self.out.extend_from_slice(b"&lt;"),
            b'>' => self.out.extend_from_slice(b"&gt;"),
            b'"' => self.out.extend_from_slice(b"&quot;"),
            0..0x10 => self.out.extend_from_slice(&[b'&', b'#', b'x', hex_digit(byte), b';']),
            _ => {
                let (high, low) = (hex_digit(byte >> 4), hex_digit(byte & 15));
                self.out.extend_from_slice(&[b'&', b'#', b'x', high, low, b';']);
            }
        }
    }
}

fn hex_digit(nibble: u8) -> u8 {
    match nibble {
        0..10 => b'0' + nibble,
        _ => b'A' + nibble - 10,
    }
}

/// The bytes that text may not hold as they are.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    special[0x7f] = true;
    special[b'&' as usize] = true;
    special[b'<' as usize] = true;
    special[b'>' as usize] = true;
    special[b'"' as usize] = true;
    special
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_xml_needs() {
        let mut writer = XmlWriter::new();
        writer.text("K", "a<b>&\"c'\r\n\t\u{1}ü\u{7f}");
        writer.number("N", 0);
        writer.number("N", u64::MAX);
        writer.boolean("B", true);
        writer.listed("P", "a b/&", true);
        writer.etag("abc");
        writer.optional("O", None);
        writer.legible("L", "a\0\u{ffff}\r");
        let text = String::from_utf8(writer.finish()).unwrap();
        let want = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <K>a&lt;b&gt;&amp;&quot;c'&#xD;&#xA;&#x9;&#x1;ü&#x7F;</K><N>0</N><N>18446744073709551615</N>\
            <B>true</B><P>a%20b/%26</P><ETag>&quot;abc&quot;</ETag><L>a\u{fffd}\u{fffd}&#xD;</L>";
        assert_eq!(text, want);
    }
}
