//! Sizes as people write them: `4096`, `256MiB`, `4GB`, `1.5 TiB`.
//!
//! Binary units (KiB, MiB, GiB, TiB, PiB) are powers of 1024, decimal ones (KB, MB, GB, TB, PB) powers of
//! 1000, whatever their case; a bare letter (K, M, G, T, P) is binary, as in most tools for drives. At most a fraction
//! of nine digits, rounded down to whole bytes. Input is hostile: arithmetic is checked, nothing panics.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    #[error("expected a number and a unit, such as 256MiB, 4GB or 4096")]
    Form,
    #[error("the unit is not one of B, KiB, MiB, GiB, TiB, PiB (1024) or KB, MB, GB, TB, PB (1000)")]
    Unit,
    #[error("the size does not fit into 64 bits")]
    TooLarge,
}

/// Digits after the point that are read; more of them are refused.
const FRACTION_DIGITS_MAX: usize = 9;

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Size, SizeError> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end).ok_or(SizeError::Form)?;
        let unit = unit_bytes(unit.trim()).ok_or(SizeError::Unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let whole = digits(whole)?.checked_mul(unit).ok_or(SizeError::TooLarge)?;
        let bytes = whole.checked_add(fraction_of(fraction, unit)?).ok_or(SizeError::TooLarge)?;
        u64::try_from(bytes).map(Size).map_err(|_| SizeError::TooLarge)
    }
}

fn digits(text: &str) -> Result<u128, SizeError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SizeError::Form);
    }
    text.parse().map_err(|_| SizeError::TooLarge)
}

/// `fraction` (digits after the point) of `unit` bytes.
fn fraction_of(fraction: &str, unit: u128) -> Result<u128, SizeError> {
    if fraction.len() > FRACTION_DIGITS_MAX {
        return Err(SizeError::Form);
    }
    let scale = fraction.bytes().fold(1u128, |scale, _| scale.saturating_mul(10));
    let parts = digits(fraction)?.checked_mul(unit).ok_or(SizeError::TooLarge)?;
    parts.checked_div(scale).ok_or(SizeError::Form)
}

fn unit_bytes(unit: &str) -> Option<u128> {
    const UNITS: [(&str, u128); 17] = [
        ("", 1),
        ("b", 1),
        ("k", 1 << 10),
        ("kib", 1 << 10),
        ("kb", 1_000),
        ("m", 1 << 20),
        ("mib", 1 << 20),
        ("mb", 1_000_000),
        ("g", 1 << 30),
        ("gib", 1 << 30),
        ("gb", 1_000_000_000),
        ("t", 1 << 40),
        ("tib", 1 << 40),
        ("tb", 1_000_000_000_000),
        ("p", 1 << 50),
        ("pib", 1 << 50),
        ("pb", 1_000_000_000_000_000),
    ];
    UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, bytes)| *bytes)
}

impl fmt::Display for Size {
    /// The largest binary unit with at most one digit after the point, for people: `1.5GiB`, `512B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(50u32, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0 >> shift > 0) {
            None => write!(f, "{}B", self.0),
            Some((shift, name)) if self.0.is_multiple_of(1 << shift) => {
                write!(f, "{}{name}", self.0 >> shift)
            }
            Some((shift, name)) => write!(f, "{:.1}{name}", self.0 as f64 / (1u64 << shift) as f64),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// A file may say `4096` as well as `"4KiB"`.
struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"256MiB\"")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
        u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size is not negative"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_that_people_write() {
        let cases: [(&str, u64); 13] = [
            ("0", 0),
            ("4096", 4096),
            ("12B", 12),
            ("256MiB", 256 << 20),
            ("256mib", 256 << 20),
            (" 256 MiB ", 256 << 20),
            ("4GB", 4_000_000_000),
            ("4g", 4 << 30),
            ("1.5TiB", 3 << 39),
            ("0.000000001GB", 1),
            ("2PiB", 2 << 50),
            ("1.0K", 1024),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_refused() {
        let cases = [
            ("", SizeError::Form),
            ("MiB", SizeError::Form),
            (".5G", SizeError::Form),
            ("5.G", SizeError::Form),
            ("1.2.3G", SizeError::Form),
            ("1.1234567890G", SizeError::Form),
            ("-1", SizeError::Unit),
            ("5 bananas", SizeError::Unit),
            ("5MiBs", SizeError::Unit),
            ("5µB", SizeError::Unit),
            ("18446744073709551616", SizeError::TooLarge),
            ("99999999999999999999999999999999999999999999", SizeError::TooLarge),
            ("16384PiB", SizeError::TooLarge),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Size>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = text.parse::<Size>();
        }

        #[test]
        fn whole_units_come_back_as_written(n in 1u64..1024, shift in 1u32..6) {
            let size = Size(n << (10 * shift));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
