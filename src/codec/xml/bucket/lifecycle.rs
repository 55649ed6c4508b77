//! LifecycleConfiguration: what is removed by itself, and when.
//!
//! Bounds and messages are AWS's. There are no other storage classes, so transitions are refused.
//! A rule without an id gets one that follows from its place and content. More generous than AWS in one thing: a
//! filter may name a prefix, a tag and sizes side by side without `And`; all of them must hold then, as inside it.
//! A document of a thousand rules is longer than what may be read at once: `Lifecycle::read` rests between rules.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html

use std::collections::HashSet;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::super::read::{
    BAD_WORD, Document, Fault, MISSING, UNEXPECTED, XmlError, once, parse_bool, parse_number, texts,
};
use super::super::write::XmlWriter;
use super::Configuration;
use super::tagging::read_tag;
use crate::base::limits::{KEY_BYTES_MAX, LIFECYCLE_RULES_MAX, NONCURRENT_VERSIONS_MAX, RULE_ID_CHARS_MAX};
use crate::base::time::Nanos;
use crate::codec::checksum::{Checksum, ChecksumAlgorithm};
use crate::codec::date::{iso8601_ms, parse_iso8601};
use crate::codec::prefixes::Prefixes;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    rules: Vec<LifecycleRule>,
    /// Of the rules that are enabled.
    prefixes: Prefixes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    pub id: String,
    pub enabled: bool,
    pub filter: LifecycleFilter,
    pub expiration: Option<Expiration>,
    pub noncurrent: Option<NoncurrentExpiration>,
    /// Days after which an upload that was not completed is aborted.
    pub abort_days: Option<u32>,
}

/// All of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleFilter {
    pub form: FilterForm,
    pub prefix: Option<String>,
    pub tags: Vec<(String, String)>,
    pub size_greater: Option<u64>,
    pub size_less: Option<u64>,
}

/// How the filter was written, so that a GET answers what was PUT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilterForm {
    /// A bare `Prefix` in the rule, from before filters.
    Bare,
    #[default]
    Single,
    And,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    Days(u32),
    /// A midnight, UTC.
    Date(Nanos),
    /// A delete marker with nothing behind it.
    DeleteMarker(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoncurrentExpiration {
    pub days: u32,
    /// So many newer ones among the noncurrent stay.
    pub keep: Option<u32>,
}

impl Lifecycle {
    pub fn new(rules: Vec<LifecycleRule>) -> Self {
        let enabled = rules.iter().enumerate().filter(|(_, rule)| rule.enabled);
        let prefixes = Prefixes::new(enabled.map(|(at, rule)| (at as u32, rule.filter.prefix())));
        Lifecycle { rules, prefixes }
    }

    pub fn rules(&self) -> &[LifecycleRule] {
        &self.rules
    }

    /// The enabled rules whose prefix `key` has.
    pub fn under<'s>(&'s self, key: &'s str) -> impl Iterator<Item = &'s LifecycleRule> {
        self.prefixes.of(key).filter_map(|at| self.rules.get(at as usize))
    }

    /// Reads a document of any length that is allowed; rests now and then.
    pub async fn read(body: &[u8], rest: impl AsyncFn()) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "LifecycleConfiguration")?;
        let (mut rules, mut ids) = (Vec::new(), HashSet::new());
        while let Some(element) = document.entry(&rest).await? {
            match element.name() {
                b"Rule" if rules.len() == LIFECYCLE_RULES_MAX => {
                    return Err(XmlError::Malformed("it has too many rules"));
                }
                b"Rule" => {
                    let rule = named(read_rule(&mut document)?, rules.len());
                    if !ids.insert(rule.id.clone()) {
                        return argument("Rule ID must be unique. Found same ID for more than one rule");
                    }
                    rules.push(rule);
                }
                _ => return Err(UNEXPECTED),
            }
        }
        document.close()?;
        if rules.is_empty() {
            return Err(MISSING);
        }
        Ok(Lifecycle::new(rules))
    }

    /// Whether S3 would take it, as far as `read` leaves that open. Asked of what a client sends alone: what is stored
    /// was judged when it came, by the rules of that day.
    pub fn judge(self) -> Result<Self, XmlError> {
        let keeps =
            |rule: &LifecycleRule| rule.noncurrent.is_some_and(|noncurrent| noncurrent.keep.is_some());
        match self.rules.iter().any(|rule| rule.filter.form == FilterForm::Bare && keeps(rule)) {
            true => request("NewerNoncurrentVersions needs a rule with a Filter element."),
            false => Ok(self),
        }
    }
}

impl LifecycleFilter {
    /// Empty where there is none.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("")
    }
}

impl Configuration for Lifecycle {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        // Nothing is waited for but rests, and there are none.
        match pin!(Lifecycle::read(body, async || {})).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => read,
            Poll::Pending => unreachable!("a rest that returns at once is never pending"),
        }
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::with_capacity(256 + self.rules.len() * 256);
        w.open_root("LifecycleConfiguration");
        self.rules.iter().for_each(|rule| write_rule(&mut w, rule));
        w.close("LifecycleConfiguration");
        w.finish()
    }
}

/// A rule without an id gets one.
fn named(mut rule: LifecycleRule, place: usize) -> LifecycleRule {
    if rule.id.is_empty() {
        let mut w = XmlWriter::new();
        w.number("Place", place as u64);
        write_rule(&mut w, &rule);
        let sum = Checksum::of(ChecksumAlgorithm::Crc64Nvme, &w.finish());
        rule.id = format!("rule-{}", hex::encode(sum.bytes()));
    }
    rule
}

fn read_rule(document: &mut Document<'_>) -> Result<LifecycleRule, XmlError> {
    let (mut id, mut status, mut prefix, mut filter) = (None, None, None, None);
    let (mut expiration, mut noncurrent, mut abort_days) = (None, None, None);
    while let Some(element) = document.child()? {
        match element.name() {
            b"ID" => once(&mut id, document.text()?)?,
            b"Status" => once(&mut status, document.text()?)?,
            b"Prefix" => once(&mut prefix, document.text()?)?,
            b"Filter" => once(&mut filter, read_filter(document)?)?,
            b"Expiration" => once(&mut expiration, read_expiration(document)?)?,
            b"NoncurrentVersionExpiration" => once(&mut noncurrent, read_noncurrent(document)?)?,
            b"AbortIncompleteMultipartUpload" => once(&mut abort_days, read_abort(document)?)?,
            b"Transition" | b"NoncurrentVersionTransition" => {
                return Err(XmlError::Unsupported("Transition".into()));
            }
            _ => return Err(UNEXPECTED),
        }
    }
    let filter = match (prefix, filter) {
        (Some(prefix), None) => {
            LifecycleFilter { form: FilterForm::Bare, prefix: Some(prefix), ..LifecycleFilter::default() }
        }
        (None, Some(filter)) => filter,
        _ => return Err(XmlError::Malformed("a rule has either a Filter or a Prefix")),
    };
    let enabled = match status.ok_or(MISSING)?.as_str() {
        "Enabled" => true,
        "Disabled" => false,
        _ => return Err(BAD_WORD),
    };
    let id = id.unwrap_or_default();
    let rule = LifecycleRule { id, enabled, filter, expiration, noncurrent, abort_days };
    check(&rule)?;
    Ok(rule)
}

fn check(rule: &LifecycleRule) -> Result<(), XmlError> {
    let filter = &rule.filter;
    if rule.id.chars().count() > RULE_ID_CHARS_MAX {
        return argument("ID length should not exceed allowed limit of 255");
    }
    if rule.expiration.is_none() && rule.noncurrent.is_none() && rule.abort_days.is_none() {
        return request("At least one action needs to be specified in a rule");
    }
    if filter.prefix.as_ref().is_some_and(|prefix| prefix.len() > KEY_BYTES_MAX) {
        return request("The maximum size of a prefix is 1024");
    }
    if let (Some(greater), Some(less)) = (filter.size_greater, filter.size_less)
        && less <= greater
    {
        return request("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.");
    }
    let mut keys = HashSet::new();
    if !filter.tags.iter().all(|(key, _)| keys.insert(key)) {
        return request("Duplicate Tag Keys are not allowed");
    }
    let sized = filter.size_greater.is_some() || filter.size_less.is_some();
    if rule.abort_days.is_some() && (sized || !filter.tags.is_empty()) {
        return request("AbortIncompleteMultipartUpload cannot be specified with Tags or object sizes.");
    }
    if matches!(rule.expiration, Some(Expiration::DeleteMarker(_))) && !filter.tags.is_empty() {
        return request("ExpiredObjectDeleteMarker cannot be specified with Tags.");
    }
    Ok(())
}

/// Predicates, or several inside `And`, or none at all. Several tags stand inside `And` only.
fn read_filter(document: &mut Document<'_>) -> Result<LifecycleFilter, XmlError> {
    let (mut filter, mut joined, mut count) = (LifecycleFilter::default(), None, 0);
    while let Some(element) = document.child()? {
        count += 1;
        match element.name() {
            b"And" => once(&mut joined, read_and(document)?)?,
            name => read_predicate(document, name, &mut filter)?,
        }
    }
    match joined {
        Some(joined) if count == 1 => Ok(LifecycleFilter { form: FilterForm::And, ..joined }),
        None if filter.tags.len() <= 1 => Ok(filter),
        _ => Err(XmlError::Malformed("a filter has more predicates than may stand without And")),
    }
}

fn read_and(document: &mut Document<'_>) -> Result<LifecycleFilter, XmlError> {
    let (mut filter, mut count) = (LifecycleFilter::default(), 0);
    while let Some(element) = document.child()? {
        count += 1;
        read_predicate(document, element.name(), &mut filter)?;
    }
    match count {
        0 | 1 => Err(XmlError::Malformed("And joins two predicates or more")),
        _ => Ok(filter),
    }
}

fn read_predicate(
    document: &mut Document<'_>,
    name: &[u8],
    filter: &mut LifecycleFilter,
) -> Result<(), XmlError> {
    match name {
        b"Prefix" => once(&mut filter.prefix, document.text()?),
        b"ObjectSizeGreaterThan" => once(&mut filter.size_greater, parse_number(&document.text()?)?),
        b"ObjectSizeLessThan" => once(&mut filter.size_less, parse_number(&document.text()?)?),
        b"Tag" => {
            filter.tags.push(read_tag(document)?);
            Ok(())
        }
        _ => Err(UNEXPECTED),
    }
}

fn read_expiration(document: &mut Document<'_>) -> Result<Expiration, XmlError> {
    match texts(document, &[b"Days", b"Date", b"ExpiredObjectDeleteMarker"])? {
        [Some(days), None, None] => {
            let days = positive(&days, "'Days' for Expiration action must be a positive integer")?;
            Ok(Expiration::Days(days))
        }
        [None, Some(date), None] => read_date(&date).map(Expiration::Date),
        [None, None, Some(marker)] => Ok(Expiration::DeleteMarker(parse_bool(&marker)?)),
        _ => Err(XmlError::Malformed("an expiration has one of Days, Date and ExpiredObjectDeleteMarker")),
    }
}

fn read_date(text: &str) -> Result<Nanos, XmlError> {
    const DAY: u64 = 24 * 3600 * Nanos::PER_SECOND;
    let time = parse_iso8601(text.trim()).or_else(|| parse_iso8601(&format!("{}T00:00:00Z", text.trim())));
    match time.ok_or(XmlError::Malformed("a date cannot be read"))? {
        time if time.0 % DAY == 0 => Ok(time),
        _ => argument("'Date' must be at midnight GMT"),
    }
}

fn read_noncurrent(document: &mut Document<'_>) -> Result<NoncurrentExpiration, XmlError> {
    let [days, keep] = texts(document, &[b"NoncurrentDays", b"NewerNoncurrentVersions"])?;
    let message = "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer";
    let days = positive(&days.ok_or(MISSING)?, message)?;
    let keep = keep.map(|text| {
        let message = "'NewerNoncurrentVersions' must be a positive integer up to 100";
        match positive(&text, message)? {
            keep if keep > NONCURRENT_VERSIONS_MAX => argument(message),
            keep => Ok(keep),
        }
    });
    Ok(NoncurrentExpiration { days, keep: keep.transpose()? })
}

fn read_abort(document: &mut Document<'_>) -> Result<u32, XmlError> {
    let [days] = texts(document, &[b"DaysAfterInitiation"])?;
    let message =
        "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer";
    positive(&days.ok_or(MISSING)?, message)
}

fn positive(text: &str, message: &'static str) -> Result<u32, XmlError> {
    let number: i64 = text.trim().parse().map_err(|_| XmlError::Malformed("a number cannot be read"))?;
    match i32::try_from(number).ok().and_then(|number| u32::try_from(number).ok()) {
        Some(number) if number > 0 => Ok(number),
        _ => argument(message),
    }
}

fn argument<T>(message: &'static str) -> Result<T, XmlError> {
    Err(XmlError::Invalid(Fault::Argument, message.into()))
}

fn request<T>(message: &'static str) -> Result<T, XmlError> {
    Err(XmlError::Invalid(Fault::Request, message.into()))
}

fn write_rule(w: &mut XmlWriter, rule: &LifecycleRule) {
    w.open("Rule");
    w.text("ID", &rule.id);
    match rule.filter.form {
        FilterForm::Bare => write_predicates(w, &rule.filter),
        FilterForm::Single => {
            w.open("Filter");
            write_predicates(w, &rule.filter);
            w.close("Filter");
        }
        FilterForm::And => {
            w.open("Filter");
            w.open("And");
            write_predicates(w, &rule.filter);
            w.close("And");
            w.close("Filter");
        }
    }
    w.text("Status", if rule.enabled { "Enabled" } else { "Disabled" });
    if let Some(expiration) = rule.expiration {
        w.open("Expiration");
        match expiration {
            Expiration::Days(days) => w.number("Days", days.into()),
            Expiration::Date(date) => w.text("Date", &iso8601_ms(date)),
            Expiration::DeleteMarker(on) => w.boolean("ExpiredObjectDeleteMarker", on),
        }
        w.close("Expiration");
    }
    if let Some(noncurrent) = rule.noncurrent {
        w.open("NoncurrentVersionExpiration");
        w.number("NoncurrentDays", noncurrent.days.into());
        if let Some(keep) = noncurrent.keep {
            w.number("NewerNoncurrentVersions", keep.into());
        }
        w.close("NoncurrentVersionExpiration");
    }
    if let Some(days) = rule.abort_days {
        w.open("AbortIncompleteMultipartUpload");
        w.number("DaysAfterInitiation", days.into());
        w.close("AbortIncompleteMultipartUpload");
    }
    w.close("Rule");
}

fn write_predicates(w: &mut XmlWriter, filter: &LifecycleFilter) {
    w.optional("Prefix", filter.prefix.as_deref());
    for (key, value) in &filter.tags {
        w.open("Tag");
        w.text("Key", key);
        w.text("Value", value);
        w.close("Tag");
    }
    for (name, size) in
        [("ObjectSizeGreaterThan", filter.size_greater), ("ObjectSizeLessThan", filter.size_less)]
    {
        if let Some(size) = size {
            w.number(name, size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rules: &str) -> Result<Lifecycle, &'static str> {
        let body = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        Lifecycle::parse(body.as_bytes()).and_then(Lifecycle::judge).map_err(|error| error.code())
    }

    fn rule(inner: &str) -> String {
        format!("<Rule><Filter/><Status>Enabled</Status>{inner}</Rule>")
    }

    #[test]
    fn what_is_written_is_read() {
        let filters = [
            LifecycleFilter { prefix: Some("a/".into()), form: FilterForm::Bare, ..Default::default() },
            LifecycleFilter::default(),
            LifecycleFilter { size_greater: Some(1), ..Default::default() },
            LifecycleFilter {
                form: FilterForm::And,
                prefix: Some("p".into()),
                tags: vec![("k".into(), "v".into()), ("l".into(), String::new())],
                size_greater: Some(1),
                size_less: Some(3),
            },
        ];
        let expirations = [
            Some(Expiration::Days(3)),
            Some(Expiration::Date(Nanos::from_seconds(86_400 * 20_000))),
            None,
            Some(Expiration::Days(1)),
        ];
        let rules = filters.into_iter().zip(expirations).enumerate().map(|(place, (filter, expiration))| {
            LifecycleRule {
                id: place.to_string(),
                enabled: place % 2 == 0,
                filter,
                expiration,
                noncurrent: Some(NoncurrentExpiration { days: 2, keep: (place > 1).then_some(5) }),
                abort_days: (place < 2).then_some(7),
            }
        });
        let lifecycle = Lifecycle::new(rules.collect());
        assert_eq!(Lifecycle::parse(&lifecycle.render()), Ok(lifecycle));
    }

    #[test]
    fn rules_without_ids_get_different_ones_that_stay() {
        let body = rule("<Expiration><Days>1</Days></Expiration>").repeat(2);
        let (first, second) = (parse(&body).unwrap(), parse(&body).unwrap());
        assert_eq!(first, second);
        assert_ne!(first.rules[0].id, first.rules[1].id);
        assert_eq!(Lifecycle::parse(&first.render()), Ok(first));
    }

    #[test]
    fn what_is_refused() {
        let days = "<Expiration><Days>1</Days></Expiration>";
        let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
        let filtered = |filter: &str, more: &str| {
            format!("<Rule><Filter>{filter}</Filter><Status>Enabled</Status>{more}</Rule>")
        };
        let tag = "<Tag><Key>a</Key><Value>b</Value></Tag>";
        for (rules, code) in [
            (String::new(), "MalformedXML"),
            (rule(""), "InvalidRequest"),
            (rule("<Expiration/>"), "MalformedXML"),
            (rule("<Expiration><Days>0</Days></Expiration>"), "InvalidArgument"),
            (rule("<Expiration><Days>-1</Days></Expiration>"), "InvalidArgument"),
            (rule("<Expiration><Days>1</Days><Date>2030-01-01</Date></Expiration>"), "MalformedXML"),
            (rule("<Expiration><Date>20200101</Date></Expiration>"), "MalformedXML"),
            (rule("<Expiration><Date>2030-01-01T01:00:00Z</Date></Expiration>"), "InvalidArgument"),
            (rule(&days.repeat(2)), "MalformedXML"),
            (rule("<Transition><Days>1</Days></Transition>"), "NotImplemented"),
            (format!("<Rule><Status>Enabled</Status>{days}</Rule>"), "MalformedXML"),
            (format!("<Rule><Prefix/><Filter/><Status>Enabled</Status>{days}</Rule>"), "MalformedXML"),
            (format!("<Rule><Prefix/><Status>enabled</Status>{days}</Rule>"), "MalformedXML"),
            (rule(&format!("<ID>{}</ID>{days}", "x".repeat(256))), "InvalidArgument"),
            (rule(&format!("<ID>a</ID>{days}")).repeat(2), "InvalidArgument"),
            (filtered(&tag.repeat(2), days), "MalformedXML"),
            (filtered(&format!("<Prefix/><And>{tag}<Prefix/></And>"), days), "MalformedXML"),
            (filtered(&format!("<And>{tag}</And>"), days), "MalformedXML"),
            (filtered(&format!("<And>{tag}{tag}</And>"), days), "InvalidRequest"),
            (filtered(tag, abort), "InvalidRequest"),
            (filtered(&format!("<Prefix>{}</Prefix>", "p".repeat(1025)), days), "InvalidRequest"),
            (rule(days).repeat(LIFECYCLE_RULES_MAX + 1), "MalformedXML"),
            (bare(KEEPS), "InvalidRequest"),
        ] {
            assert_eq!(parse(&rules), Err(code), "{rules:.300}");
        }
        assert!(parse(&bare(days)).is_ok());
        let together = parse(&filtered(&format!("<Prefix>p</Prefix>{tag}"), days)).expect("both must hold");
        assert_eq!(Lifecycle::parse(&together.render()), Ok(together));
        let sizes = "<And><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>5</ObjectSizeLessThan></And>";
        assert_eq!(parse(&filtered(sizes, days)), Err("InvalidRequest"));
    }

    /// Behind a prefix from before filters.
    fn bare(inner: &str) -> String {
        format!("<Rule><Prefix>p</Prefix><Status>Enabled</Status>{inner}</Rule>")
    }

    const KEEPS: &str = "<NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays>\
        <NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration>";

    #[test]
    fn what_is_stored_is_read_whatever_is_thought_of_it_today() {
        let body = format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", bare(KEEPS));
        let stored = Lifecycle::parse(body.as_bytes()).expect("it is well formed");
        assert_eq!(Lifecycle::parse(&stored.render()).as_ref(), Ok(&stored));
        assert!(stored.judge().is_err());
    }

    #[test]
    fn a_document_of_all_the_rules_there_may_be_is_read_in_pieces() {
        use crate::base::limits::XML_PIECE_BYTES_MAX;
        let one = |n: usize| {
            let name = format!("{n:04}{}", "n".repeat(200));
            format!(
                "<Rule><ID>{name}</ID><Filter><Prefix>{name}/</Prefix></Filter><Status>Enabled</Status>\
                 <Expiration><Days>1</Days></Expiration></Rule>"
            )
        };
        let rules: String = (0..LIFECYCLE_RULES_MAX).map(one).collect();
        let body = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        let rests = std::cell::Cell::new(0);
        let read = Lifecycle::read(body.as_bytes(), async || rests.set(rests.get() + 1));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let lifecycle = runtime.block_on(read).unwrap();
        assert!(rests.get() >= body.len() / XML_PIECE_BYTES_MAX, "it rested {} times", rests.get());
        assert_eq!(Lifecycle::parse(&lifecycle.render()).as_ref(), Ok(&lifecycle));
        let key = format!("0007{}/k", "n".repeat(200));
        let under: Vec<_> = lifecycle.under(&key).map(|rule| &rule.id[..4]).collect();
        assert_eq!(under, ["0007"]);
    }
}
