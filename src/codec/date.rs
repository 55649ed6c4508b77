//! Dates as S3 writes and reads them: ISO 8601 with milliseconds in XML, RFC 7231 in headers, and
//! the basic ISO form of signatures.
//!
//! May use: `base::time`. Formatting writes fixed-width text into a small value on the stack,
//! because a listing formats a thousand of them a page. Parsing accepts exactly the documented
//! forms and answers `None` for everything else, including dates before 1970 and days that the
//! calendar does not have. All times are UTC; leap seconds are read as the second before.

use std::fmt;

use crate::base::time::Nanos;

/// Text of exactly `N` ASCII bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FixedText<const N: usize>([u8; N]);

impl<const N: usize> FixedText<N> {
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII is ever written")
    }

    pub fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for FixedText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> fmt::Display for FixedText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> std::ops::Deref for FixedText<N> {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// `2013-05-24T00:00:00.000Z`, as in every XML response.
pub fn iso8601_ms(time: Nanos) -> FixedText<24> {
    let c = Civil::from_seconds(time.seconds());
    let mut out = *b"0000-00-00T00:00:00.000Z";
    put4(&mut out, 0, c.year);
    put2(&mut out, 5, c.month);
    put2(&mut out, 8, c.day);
    put_clock(&mut out, 11, &c);
    let ms = (time.0 % Nanos::PER_SECOND / 1_000_000) as u32;
    put2(&mut out, 20, ms / 10);
    out[22] = b'0' + (ms % 10) as u8;
    FixedText(out)
}

/// `Fri, 24 May 2013 00:00:00 GMT` (RFC 7231 section 7.1.1.1), as in `Last-Modified`.
pub fn http_date(time: Nanos) -> FixedText<29> {
    let c = Civil::from_seconds(time.seconds());
    let mut out = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    out[..3].copy_from_slice(DAYS[(time.seconds() / 86_400 % 7) as usize]);
    put2(&mut out, 5, c.day);
    out[8..11].copy_from_slice(MONTHS[c.month as usize - 1]);
    put4(&mut out, 12, c.year);
    put_clock(&mut out, 17, &c);
    FixedText(out)
}

/// `06/Feb/2019:00:00:38 +0000`, as in access logs.
pub fn log_date(time: Nanos) -> FixedText<26> {
    let c = Civil::from_seconds(time.seconds());
    let mut out = *b"00/Jan/0000:00:00:00 +0000";
    put2(&mut out, 0, c.day);
    out[3..6].copy_from_slice(MONTHS[c.month as usize - 1]);
    put4(&mut out, 7, c.year);
    put_clock(&mut out, 12, &c);
    FixedText(out)
}

/// `20130524T000000Z`, as in `X-Amz-Date`.
pub fn amz_date(time: Nanos) -> FixedText<16> {
    let c = Civil::from_seconds(time.seconds());
    let mut out = *b"00000000T000000Z";
    put4(&mut out, 0, c.year);
    put2(&mut out, 4, c.month);
    put2(&mut out, 6, c.day);
    put2(&mut out, 9, c.hour);
    put2(&mut out, 11, c.minute);
    put2(&mut out, 13, c.second);
    FixedText(out)
}

/// Reads `20130524T000000Z` and nothing else. What lies behind the last time there is counts as that.
pub fn parse_amz_date(text: &str) -> Option<Nanos> {
    let mut p = Scan(text.as_bytes());
    let (year, month, day) = (p.number(4)?, p.number(2)?, p.number(2)?);
    p.byte(b'T')?;
    let (hour, minute, second) = (p.number(2)?, p.number(2)?, p.number(2)?);
    p.byte(b'Z')?;
    p.end()?;
    Civil { year, month, day, hour, minute, second }.to_nanos_at_most()
}

/// Reads `2013-05-24T00:00:00Z`, with or without a fraction of a second (further digits than
/// nanoseconds are dropped), with `Z` or a `+hh:mm` offset.
pub fn parse_iso8601(text: &str) -> Option<Nanos> {
    parse_iso8601_wide(text).and_then(|nanos| u64::try_from(nanos).ok()).map(Nanos)
}

/// The same as nanoseconds since 1970, also for years that a time cannot hold: for what is only compared.
pub fn parse_iso8601_wide(text: &str) -> Option<i128> {
    let mut p = Scan(text.as_bytes());
    let year = p.number(4)?;
    p.byte(b'-')?;
    let month = p.number(2)?;
    p.byte(b'-')?;
    let day = p.number(2)?;
    p.byte(b'T')?;
    let (hour, minute, second) = p.clock()?;
    let fraction = if p.byte(b'.').is_some() { p.fraction()? } else { 0 };
    let offset_s = p.offset()?;
    p.end()?;
    let local = Civil { year, month, day, hour, minute, second }.to_seconds()?;
    let seconds = i128::from(local) - i128::from(offset_s);
    Some(seconds * i128::from(Nanos::PER_SECOND) + i128::from(fraction))
}

/// Reads the three forms RFC 7231 asks a server to accept: IMF-fixdate, RFC 850 and asctime. Such a date is only
/// compared with others: beyond what a time can hold it is the end of time.
pub fn parse_http_date(text: &str) -> Option<Nanos> {
    imf_fixdate(text).or_else(|| rfc850(text)).or_else(|| asctime(text))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`; `+0000` is tolerated because Python's formatdate writes it.
fn imf_fixdate(text: &str) -> Option<Nanos> {
    let mut p = Scan(text.as_bytes());
    p.one_of(&DAYS)?;
    p.byte(b',')?;
    p.byte(b' ')?;
    let day = p.number(2)?;
    p.byte(b' ')?;
    let month = p.one_of(&MONTHS)? + 1;
    p.byte(b' ')?;
    let year = p.number(4)?;
    p.byte(b' ')?;
    let (hour, minute, second) = p.clock()?;
    p.zone()?;
    Civil { year, month, day, hour, minute, second }.to_nanos_at_most()
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`. Two-digit years below 70 are of this century.
fn rfc850(text: &str) -> Option<Nanos> {
    let (weekday, rest) = text.split_once(", ")?;
    let mut name = Scan(weekday.as_bytes());
    name.one_of(&DAYS)?;
    if !weekday.ends_with("day") {
        return None;
    }
    let mut p = Scan(rest.as_bytes());
    let day = p.number(2)?;
    p.byte(b'-')?;
    let month = p.one_of(&MONTHS)? + 1;
    p.byte(b'-')?;
    let short = p.number(2)?;
    p.byte(b' ')?;
    let (hour, minute, second) = p.clock()?;
    p.zone()?;
    let year = if short < 70 { 2000 + short } else { 1900 + short };
    Civil { year, month, day, hour, minute, second }.to_nanos_at_most()
}

/// `Sun Nov  6 08:49:37 1994`.
fn asctime(text: &str) -> Option<Nanos> {
    let mut p = Scan(text.as_bytes());
    p.one_of(&DAYS)?;
    p.byte(b' ')?;
    let month = p.one_of(&MONTHS)? + 1;
    p.byte(b' ')?;
    let day = if p.byte(b' ').is_some() { p.number(1)? } else { p.number(2)? };
    p.byte(b' ')?;
    let (hour, minute, second) = p.clock()?;
    p.byte(b' ')?;
    let year = p.number(4)?;
    p.end()?;
    Civil { year, month, day, hour, minute, second }.to_nanos_at_most()
}

/// The epoch was a Thursday.
const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// A point of the Gregorian calendar, UTC.
struct Civil {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Civil {
    /// The year is counted from March, so that the leap day is the last of its year and every
    /// month before it has a fixed offset; a cycle of 400 years has 146,097 days.
    fn from_seconds(seconds: u64) -> Civil {
        let (days, clock) = (seconds / 86_400, (seconds % 86_400) as u32);
        let shifted = days + 719_468;
        let (cycle, day_of_cycle) = (shifted / 146_097, shifted % 146_097);
        let year_of_cycle =
            (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
        let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        Civil {
            year: (cycle * 400 + year_of_cycle + u64::from(month <= 2)) as u32,
            month: month as u32,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32,
            hour: clock / 3600,
            minute: clock / 60 % 60,
            second: clock % 60,
        }
    }

    fn to_seconds(&self) -> Option<u64> {
        let valid = (1970..=9999).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day)
            && self.hour <= 23
            && self.minute <= 59
            && self.second <= 60;
        if !valid {
            return None;
        }
        let year = u64::from(self.year) - u64::from(self.month <= 2);
        let month_from_march = (u64::from(self.month) + 9) % 12;
        let (cycle, year_of_cycle) = (year / 400, year % 400);
        let day_of_year = (153 * month_from_march + 2) / 5 + u64::from(self.day) - 1;
        let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
        let days = cycle * 146_097 + day_of_cycle - 719_468;
        let clock = self.hour * 3600 + self.minute * 60 + self.second.min(59);
        Some(days * 86_400 + u64::from(clock))
    }

    fn to_nanos_at_most(&self) -> Option<Nanos> {
        self.to_seconds().map(|seconds| Nanos(seconds.saturating_mul(Nanos::PER_SECOND)))
    }
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

fn put2(out: &mut [u8], at: usize, value: u32) {
    out[at] = b'0' + (value / 10 % 10) as u8;
    out[at + 1] = b'0' + (value % 10) as u8;
}

fn put4(out: &mut [u8], at: usize, value: u32) {
    put2(out, at, value / 100);
    put2(out, at + 2, value % 100);
}

fn put_clock(out: &mut [u8], at: usize, c: &Civil) {
    put2(out, at, c.hour);
    put2(out, at + 3, c.minute);
    put2(out, at + 6, c.second);
}

/// Reads from the front of a byte string; each step takes what it names or answers `None`.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn byte(&mut self, wanted: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[wanted])?;
        Some(())
    }

    fn digit(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first()?;
        let value = char::from(*first).to_digit(10)?;
        self.0 = rest;
        Some(value)
    }

    /// At most 4 digits, so the value cannot overflow.
    fn number(&mut self, digits: u32) -> Option<u32> {
        (0..digits).try_fold(0, |value, _| Some(value * 10 + self.digit()?))
    }

    fn clock(&mut self) -> Option<(u32, u32, u32)> {
        let hour = self.number(2)?;
        self.byte(b':')?;
        let minute = self.number(2)?;
        self.byte(b':')?;
        Some((hour, minute, self.number(2)?))
    }

    /// Digits after the point, as nanoseconds.
    fn fraction(&mut self) -> Option<u32> {
        let mut unit = 100_000_000;
        let mut nanos = self.digit()? * unit;
        while let Some(digit) = self.digit() {
            unit /= 10;
            nanos += digit * unit;
        }
        Some(nanos)
    }

    /// Seconds east of UTC.
    fn offset(&mut self) -> Option<i64> {
        if self.byte(b'Z').is_some() {
            return Some(0);
        }
        let sign = if self.byte(b'+').is_some() { 1 } else { self.byte(b'-').map(|()| -1)? };
        let hours = self.number(2)?;
        self.byte(b':')?;
        let minutes = self.number(2)?;
        (hours <= 23 && minutes <= 59).then(|| sign * i64::from(hours * 3600 + minutes * 60))
    }

    fn one_of(&mut self, names: &[&[u8; 3]]) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk::<3>()?;
        let position = names.iter().position(|name| *name == first)?;
        self.0 = rest;
        u32::try_from(position).ok()
    }

    fn zone(&mut self) -> Option<()> {
        matches!(self.0, b" GMT" | b" UTC" | b" +0000" | b" -0000").then_some(())
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOC: Nanos = Nanos(1_369_353_600 * Nanos::PER_SECOND);

    #[test]
    fn formats_the_documented_day() {
        assert_eq!(&*iso8601_ms(Nanos(DOC.0 + 7_000_000)), "2013-05-24T00:00:00.007Z");
        assert_eq!(&*http_date(DOC), "Fri, 24 May 2013 00:00:00 GMT");
        assert_eq!(&*amz_date(DOC), "20130524T000000Z");
        assert_eq!(&*http_date(Nanos(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&*iso8601_ms(Nanos(u64::MAX)), "2554-07-21T23:34:33.709Z");
    }

    #[test]
    fn reads_the_three_http_forms() {
        let want = Some(Nanos::from_seconds(784_111_777));
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), want);
        assert_eq!(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT"), want);
        assert_eq!(parse_http_date("Sun Nov  6 08:49:37 1994"), want);
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 -0000"), want);
        assert_eq!(parse_http_date("Sun, 31 Feb 1994 08:49:37 GMT"), None);
        assert_eq!(parse_http_date("Sun, 06 Nov 1969 08:49:37 GMT"), None);
        assert_eq!(parse_http_date("Tue, 07 Jul 9999 21:53:04 GMT"), Some(Nanos(u64::MAX)));
        assert_eq!(parse_http_date(""), None);
    }

    #[test]
    fn reads_iso_forms() {
        assert_eq!(parse_iso8601("2013-05-24T00:00:00Z"), Some(DOC));
        assert_eq!(parse_iso8601("2013-05-24T02:00:00.000+02:00"), Some(DOC));
        assert_eq!(parse_iso8601("2013-05-24T00:00:00.0000000019Z"), Some(Nanos(DOC.0 + 1)));
        assert_eq!(parse_iso8601("2013-05-24T00:00:00"), None);
        assert_eq!(parse_iso8601("1970-01-01T00:00:00+01:00"), None);
        assert_eq!(parse_iso8601("9999-12-31T23:59:59Z"), None);
        assert_eq!(parse_iso8601_wide("9999-12-31T23:59:59Z"), Some(253_402_300_799 * 1_000_000_000));
        assert_eq!(parse_amz_date("20130524T000000Z"), Some(DOC));
        assert_eq!(parse_amz_date("20130524T000000Zx"), None);
        assert_eq!(parse_amz_date("20230229T000000Z"), None);
        assert_eq!(parse_amz_date("99991231T235959Z"), Some(Nanos(u64::MAX)));
    }

    proptest! {
        #[test]
        fn every_time_survives_a_round_trip(nanos: u64) {
            let time = Nanos(nanos);
            let whole = Nanos::from_seconds(time.seconds());
            prop_assert_eq!(parse_amz_date(&amz_date(time)), Some(whole));
            prop_assert_eq!(parse_http_date(&http_date(time)), Some(whole));
            prop_assert_eq!(parse_iso8601(&iso8601_ms(time)), Some(Nanos(nanos / 1_000_000 * 1_000_000)));
        }

        /// jiff is the oracle of the calendar.
        #[test]
        fn agrees_with_jiff(nanos: u64) {
            let stamp = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
            let want = stamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            prop_assert_eq!(http_date(Nanos(nanos)).to_string(), want);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}", digits in "[-0-9:TZ. +,A-Za-z]{0,40}") {
            for t in [text.as_str(), digits.as_str()] {
                let _ = (parse_amz_date(t), parse_http_date(t), parse_iso8601(t));
            }
        }
    }
}
