//! Percent-encoding exactly as S3 signs it, and the parts of a request target.
//!
//! May use: nothing above the standard library. Unreserved bytes are `A-Z a-z 0-9 - . _ ~`;
//! everything else is `%XX` with upper-case digits, and `/` stays itself in paths only. Paths are
//! never normalised: `a//b`, `a/./b` and `a/` are distinct keys. A `+` is a plus in a path and a
//! space in a query. Decoding borrows when there is nothing to decode.

use std::borrow::Cow;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("a percent sign is not followed by two hexadecimal digits")]
    BadEscape,
    #[error("the decoded text is not UTF-8")]
    NotUtf8,
}

/// Decodes a path or a key; `+` stays a plus.
pub fn decode_path(raw: &str) -> Result<Cow<'_, str>, UriError> {
    decode(raw, b'+')
}

/// Decodes one name or value of a query string; `+` is a space.
pub fn decode_query(raw: &str) -> Result<Cow<'_, str>, UriError> {
    decode(raw, b' ')
}

/// Appends `bytes` percent-encoded with `/` kept, as in the path of a canonical request. Listings
/// asked for with `encoding-type=url` use the same form: a space as `%20` is read rightly by
/// decoders that take `+` for a space and by those that do not.
pub fn encode_path_into(out: &mut Vec<u8>, bytes: &[u8]) {
    encode_into(out, bytes, b'/');
}

/// Appends `bytes` percent-encoded, `/` too, as in the query of a canonical request.
pub fn encode_component_into(out: &mut Vec<u8>, bytes: &[u8]) {
    // An unreserved byte as the exception: none.
    encode_into(out, bytes, b'~');
}

pub fn encode_path(text: &str) -> String {
    encode_with(text.as_bytes(), encode_path_into)
}

pub fn encode_component(text: &str) -> String {
    encode_with(text.as_bytes(), encode_component_into)
}

/// `raw` in the form in which it is signed: itself where it already is, else decoded and encoded.
/// Whether the bytes are UTF-8 is not asked here.
pub fn canonical_path(raw: &str) -> Result<Cow<'_, str>, UriError> {
    if is_canonical(raw, b'/') {
        return Ok(Cow::Borrowed(raw));
    }
    Ok(Cow::Owned(encode_with(&decode_bytes(raw, b'+')?, encode_path_into)))
}

/// Like `canonical_path`, for one name or value of a query.
pub fn canonical_component(raw: &str) -> Result<Cow<'_, str>, UriError> {
    if is_canonical(raw, b'~') {
        return Ok(Cow::Borrowed(raw));
    }
    Ok(Cow::Owned(encode_with(&decode_bytes(raw, b' ')?, encode_component_into)))
}

/// The parameters of a request in the order in which they came; names may repeat.
#[derive(Debug, Default, Clone)]
pub struct Query<'r> {
    pairs: Vec<Pair<'r>>,
}

/// One parameter, as it was sent and decoded. `?acl` and `?acl=` differ only in `raw`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair<'r> {
    pub raw_name: &'r str,
    pub raw_value: &'r str,
    pub name: Cow<'r, str>,
    pub value: Cow<'r, str>,
}

impl<'r> Query<'r> {
    /// Splits and decodes what follows the `?`. Empty pieces, as in `a&&b`, are skipped.
    pub fn parse(raw: &'r str) -> Result<Query<'r>, UriError> {
        let mut pairs = Vec::new();
        for piece in raw.split('&').filter(|piece| !piece.is_empty()) {
            let (raw_name, raw_value) = piece.split_once('=').unwrap_or((piece, ""));
            let (name, value) = (decode_query(raw_name)?, decode_query(raw_value)?);
            pairs.push(Pair { raw_name, raw_value, name, value });
        }
        Ok(Query { pairs })
    }

    /// The first value of `name`, compared exactly; the empty string for a bare name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|pair| pair.name == name).map(|pair| &*pair.value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The first value whose name matches in any case: `X-Amz-*` parameters are also sent in lower case.
    pub fn get_any_case(&self, name: &str) -> Option<&str> {
        self.find_any_case(name).map(|pair| &*pair.value)
    }

    /// Like `get_any_case`, as it was sent.
    pub fn find_any_case(&self, name: &str) -> Option<&Pair<'r>> {
        self.pairs.iter().find(|pair| pair.name.eq_ignore_ascii_case(name))
    }

    pub fn pairs(&self) -> &[Pair<'r>] {
        &self.pairs
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

fn decode(raw: &str, plus: u8) -> Result<Cow<'_, str>, UriError> {
    match decode_bytes(raw, plus)? {
        Cow::Borrowed(_) => Ok(Cow::Borrowed(raw)),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| UriError::NotUtf8),
    }
}

fn decode_bytes(raw: &str, plus: u8) -> Result<Cow<'_, [u8]>, UriError> {
    let special = |byte: &u8| *byte == b'%' || (*byte == b'+' && plus != b'+');
    let mut rest = raw.as_bytes();
    let mut out = Vec::new();
    while let Some(at) = rest.iter().position(special) {
        if out.is_empty() {
            out.reserve(raw.len());
        }
        let (plain, encoded) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = match encoded {
            [b'%', high, low, after @ ..] => {
                out.push(hex_value(*high)? << 4 | hex_value(*low)?);
                after
            }
            [b'+', after @ ..] => {
                out.push(plus);
                after
            }
            _ => return Err(UriError::BadEscape),
        };
    }
    if rest.len() == raw.len() {
        return Ok(Cow::Borrowed(rest));
    }
    out.extend_from_slice(rest);
    Ok(Cow::Owned(out))
}

fn hex_value(digit: u8) -> Result<u8, UriError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(UriError::BadEscape),
    }
}

fn is_unreserved(byte: u8) -> bool {
    UNRESERVED[usize::from(byte)]
}

/// A table: every byte of every target is looked up.
const UNRESERVED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

/// True when encoding the decoded text would give the same text again. `kept` is one more byte
/// that stands for itself.
fn is_canonical(raw: &str, kept: u8) -> bool {
    let mut rest = raw.as_bytes();
    while let Some(at) = rest.iter().position(|byte| !is_unreserved(*byte) && *byte != kept) {
        let Some((&[byte, high, low], after)) = rest[at..].split_first_chunk::<3>() else { return false };
        let upper = |digit: u8| digit.is_ascii_digit() || matches!(digit, b'A'..=b'F');
        if byte != b'%' || !upper(high) || !upper(low) {
            return false;
        }
        let (Ok(high), Ok(low)) = (hex_value(high), hex_value(low)) else { return false };
        let escaped = high << 4 | low;
        if is_unreserved(escaped) || escaped == kept {
            return false;
        }
        rest = after;
    }
    true
}

fn encode_into(out: &mut Vec<u8>, bytes: &[u8], kept: u8) {
    out.reserve(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| !is_unreserved(*byte) && *byte != kept) {
        out.extend_from_slice(&rest[..at]);
        push_escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

fn encode_with(bytes: &[u8], encode: impl Fn(&mut Vec<u8>, &[u8])) -> String {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
    encode(&mut out, bytes);
    String::from_utf8(out).expect("an encoding is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodes_as_s3_signs() {
        assert_eq!(encode_path("/a b/ü+~*(1)"), "/a%20b/%C3%BC%2B~%2A%281%29");
        assert_eq!(encode_component("a/b=c&d"), "a%2Fb%3Dc%26d");
    }

    #[test]
    fn a_plus_is_a_space_only_in_a_query() {
        assert_eq!(decode_path("a+b%20c").unwrap(), "a+b c");
        assert_eq!(decode_query("a+b%20c%2B").unwrap(), "a b c+");
    }

    #[test]
    fn refuses_broken_escapes() {
        for raw in ["%", "%2", "a%zz", "%%20", "% 2", "%+1"] {
            assert_eq!(decode_path(raw), Err(UriError::BadEscape), "{raw}");
        }
        assert_eq!(decode_path("%ff"), Err(UriError::NotUtf8));
    }

    #[test]
    fn canonical_form_fixes_case_and_raw_bytes() {
        assert_eq!(canonical_path("/a%2fb%7e+!//./x/").unwrap(), "/a%2Fb~%2B%21//./x/".replace("%2F", "/"));
        assert!(matches!(canonical_path("/a%20b/").unwrap(), Cow::Borrowed(_)));
        assert_eq!(canonical_component("a/b+c%2f").unwrap(), "a%2Fb%20c%2F");
    }

    #[test]
    fn a_query_keeps_order_repeats_and_raw_form() {
        let query = Query::parse("acl&b=&&c=%41+x&b=2=3").unwrap();
        let seen: Vec<_> = query.pairs().iter().map(|p| (&*p.name, &*p.value, p.raw_value)).collect();
        assert_eq!(seen, [("acl", "", ""), ("b", "", ""), ("c", "A x", "%41+x"), ("b", "2=3", "2=3")]);
        assert!(query.has("acl") && !query.has("ACL") && query.get_any_case("ACL") == Some(""));
        assert!(Query::parse("").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in any::<String>()) {
            let (path, component) = (encode_path(&text), encode_component(&text));
            prop_assert_eq!(&*decode_path(&path).unwrap(), &*text);
            prop_assert_eq!(&*decode_query(&component).unwrap(), &*text);
            prop_assert_eq!(&*decode_query(&path).unwrap(), &*text);
            prop_assert!(is_canonical(&path, b'/') && is_canonical(&component, b'~'));
        }

        #[test]
        fn canonical_form_is_a_fixed_point(raw in "[a-c%0-9A-Fa-f/+ ~=&]{0,30}") {
            if let Ok(once) = canonical_path(&raw) {
                prop_assert_eq!(&canonical_path(&once).unwrap(), &once);
                prop_assert_eq!(decode_path(&once), decode_path(&raw));
            }
            if let Ok(once) = canonical_component(&raw) {
                prop_assert_eq!(&canonical_component(&once).unwrap(), &once);
                prop_assert_eq!(decode_query(&once), decode_query(&raw));
            }
        }

        #[test]
        fn no_input_panics(raw in any::<String>(), dense in "[%&=+a0]{0,40}") {
            for text in [&raw, &dense] {
                let _ = (decode_path(text), Query::parse(text), canonical_path(text));
            }
        }
    }
}
