//! The Condition block of a statement: operators, their values, and whether a request meets them.
//!
//! All tests of a block must hold; of the values of one test, one is enough (for the negated operators:
//! none may match). A key that the request does not have fails a test, but meets a negated one, one
//! with `IfExists`, and every `ForAllValues:`. Values are parsed when the policy is, so a number that is none
//! is refused and not met later. Document: "IAM JSON policy elements: Condition operators".

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::json::Json;
use super::key::{Key, Name};
use super::pattern::Pattern;
use super::{ANONYMOUS_ID, Context, PolicyError, Values};
use crate::base::limits::POLICY_VALUES_MAX;
use crate::codec::date::parse_iso8601_wide;

/// One operator applied to one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    kind: Kind,
    negated: bool,
    if_exists: bool,
    over: Over,
    pub key: Key,
    operands: Vec<Operand>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    TextAnyCase,
    TextLike,
    Number(Order),
    Date(Order),
    Bool,
    Binary,
    Ip,
    Arn,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// How a key with several values is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Plain,
    All,
    Any,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Text(Pattern),
    Number(f64),
    /// Nanoseconds since 1970.
    Date(i128),
    Bool(bool),
    Binary(Vec<u8>),
    Ip(Network),
    Arn(Box<[Pattern; 6]>),
}

/// The tests of a Condition element.
pub fn parse(block: &Json, variables: bool) -> Result<Vec<Test>, PolicyError> {
    let Json::Object(operators) = block else {
        return Err(PolicyError::new("Condition must be an object"));
    };
    let mut tests = Vec::new();
    for (operator, keys) in operators {
        let Json::Object(keys) = keys else {
            return Err(PolicyError::new(format!("Condition {operator} must be an object")));
        };
        for (key, values) in keys {
            tests.push(Test::parse(operator, key, values, variables)?);
        }
    }
    Ok(tests)
}

// tidy: table
const OPERATORS: &[(&str, Kind, bool)] = &[
    ("StringEquals", Kind::Text, false),
    ("StringNotEquals", Kind::Text, true),
    ("StringEqualsIgnoreCase", Kind::TextAnyCase, false),
    ("StringNotEqualsIgnoreCase", Kind::TextAnyCase, true),
    ("StringLike", Kind::TextLike, false),
    ("StringNotLike", Kind::TextLike, true),
    ("NumericEquals", Kind::Number(Order::Equal), false),
    ("NumericNotEquals", Kind::Number(Order::Equal), true),
    ("NumericLessThan", Kind::Number(Order::Less), false),
    ("NumericLessThanEquals", Kind::Number(Order::LessOrEqual), false),
    ("NumericGreaterThan", Kind::Number(Order::Greater), false),
    ("NumericGreaterThanEquals", Kind::Number(Order::GreaterOrEqual), false),
    ("DateEquals", Kind::Date(Order::Equal), false),
    ("DateNotEquals", Kind::Date(Order::Equal), true),
    ("DateLessThan", Kind::Date(Order::Less), false),
    ("DateLessThanEquals", Kind::Date(Order::LessOrEqual), false),
    ("DateGreaterThan", Kind::Date(Order::Greater), false),
    ("DateGreaterThanEquals", Kind::Date(Order::GreaterOrEqual), false),
    ("Bool", Kind::Bool, false),
    ("BinaryEquals", Kind::Binary, false),
    ("IpAddress", Kind::Ip, false),
    ("NotIpAddress", Kind::Ip, true),
    ("ArnEquals", Kind::Arn, false),
    ("ArnLike", Kind::Arn, false),
    ("ArnNotEquals", Kind::Arn, true),
    ("ArnNotLike", Kind::Arn, true),
    ("Null", Kind::Null, false),
];

impl Test {
    fn parse(operator: &str, key: &str, values: &Json, variables: bool) -> Result<Test, PolicyError> {
        let unknown = || PolicyError::new(format!("Invalid Condition type : {operator}"));
        let (over, name) = match operator.split_once(':') {
            Some(("ForAllValues", name)) => (Over::All, name),
            Some(("ForAnyValue", name)) => (Over::Any, name),
            Some(_) => return Err(unknown()),
            None => (Over::Plain, operator),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let found = OPERATORS.iter().find(|(known, ..)| *known == name);
        let (_, kind, negated) = *found.ok_or_else(unknown)?;
        if kind == Kind::Null && if_exists {
            return Err(unknown());
        }
        let key = Key::parse(key)
            .ok_or_else(|| PolicyError::new(format!("Policy has an invalid condition key: {key}")))?;
        let texts = texts(values)?;
        let operands = texts.iter().map(|text| Operand::parse(kind, text, variables));
        let operands = operands.collect::<Result<_, _>>()?;
        Ok(Test { kind, negated, if_exists, over, key, operands })
    }

    /// Whether the request meets it.
    pub fn holds(&self, context: &impl Context) -> bool {
        let values = context.values(&self.key);
        if self.kind == Kind::Null {
            let absent =
                matches!(&values, Values::None) || matches!(&values, Values::Many(v) if v.is_empty());
            return self.operands.contains(&Operand::Bool(absent));
        }
        let one = |value: &str| self.operands.iter().any(|operand| self.compare(operand, value, context));
        let all = values.as_slice();
        if all.is_empty() {
            return match self.over {
                Over::All => true,
                Over::Any => self.if_exists,
                Over::Plain => self.negated || self.if_exists,
            };
        }
        match self.over {
            Over::All => all.iter().all(|value| one(value) != self.negated),
            Over::Any => all.iter().any(|value| one(value) != self.negated),
            Over::Plain => all.iter().any(|value| one(value)) != self.negated,
        }
    }

    /// The key it is about.
    pub fn name(&self) -> Name {
        self.key.name
    }

    /// Whether the value of the key has to be known.
    pub fn asks_for(&self, name: Name) -> bool {
        let in_operand = |operand: &Operand| match operand {
            Operand::Text(pattern) => pattern.asks_for(name),
            Operand::Arn(pieces) => pieces.iter().any(|piece| piece.asks_for(name)),
            _ => false,
        };
        self.key.name == name || self.operands.iter().any(in_operand)
    }

    fn compare(&self, operand: &Operand, value: &str, context: &impl Context) -> bool {
        match (operand, self.kind) {
            (Operand::Text(pattern), Kind::TextAnyCase) => pattern.matches_any_case(value, context),
            (Operand::Text(pattern), _) => pattern.matches(value, context),
            (Operand::Number(bound), Kind::Number(order)) => {
                value.parse::<f64>().is_ok_and(|value| order.holds(value.partial_cmp(bound)))
            }
            (Operand::Date(bound), Kind::Date(order)) => {
                date(value).is_some_and(|value| order.holds(Some(value.cmp(bound))))
            }
            (Operand::Bool(wanted), _) => boolean(value) == Some(*wanted),
            (Operand::Binary(bytes), _) => BASE64.decode(value).is_ok_and(|value| value == *bytes),
            (Operand::Ip(network), _) => value.parse().is_ok_and(|address| network.contains(address)),
            (Operand::Arn(pieces), _) => split_arn(value)
                .is_some_and(|parts| pieces.iter().zip(parts).all(|(p, part)| p.matches(part, context))),
            _ => false,
        }
    }

    /// Whether it ties a statement to callers that somebody has named: S3's meaning of "not public".
    pub fn names_callers(&self) -> bool {
        let positive = !self.negated && !self.if_exists && self.over != Over::All;
        let is_tied = |operand: &Operand| operand.is_fixed() && !self.is_nobody(operand);
        positive && TYING_KEYS.contains(&self.key.name) && self.operands.iter().all(is_tied)
    }

    /// `aws:userid` of who is nobody in particular.
    fn is_nobody(&self, operand: &Operand) -> bool {
        let Operand::Text(pattern) = operand else { return false };
        let id = pattern.fixed().filter(|_| self.key.name == Name::UserId);
        id.is_some_and(|id| id.eq_ignore_ascii_case(ANONYMOUS_ID))
    }
}

/// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
const TYING_KEYS: &[Name] = &[
    Name::SourceIp,
    Name::SourceArn,
    Name::SourceVpc,
    Name::SourceVpce,
    Name::SourceOwner,
    Name::SourceAccount,
    Name::UserId,
    Name::PrincipalOrgId,
    Name::PrincipalArn,
    Name::PrincipalAccount,
    Name::AccessPointArn,
    Name::AccessPointAccount,
    Name::EncryptionKey,
];

impl Order {
    fn holds(self, found: Option<std::cmp::Ordering>) -> bool {
        let Some(found) = found else { return false };
        match self {
            Order::Equal => found.is_eq(),
            Order::Less => found.is_lt(),
            Order::LessOrEqual => found.is_le(),
            Order::Greater => found.is_gt(),
            Order::GreaterOrEqual => found.is_ge(),
        }
    }
}

impl Operand {
    fn parse(kind: Kind, text: &str, variables: bool) -> Result<Operand, PolicyError> {
        let wrong = |what: &str| PolicyError::new(format!("Condition value `{text}` is not {what}"));
        Ok(match kind {
            Kind::Text | Kind::TextAnyCase => Operand::Text(Pattern::literal(text, variables)?),
            Kind::TextLike => Operand::Text(Pattern::parse(text, variables)?),
            Kind::Number(_) => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                Operand::Number(number.ok_or_else(|| wrong("a number"))?)
            }
            Kind::Date(_) => Operand::Date(date(text).ok_or_else(|| wrong("a date"))?),
            Kind::Bool | Kind::Null => Operand::Bool(boolean(text).ok_or_else(|| wrong("true or false"))?),
            Kind::Binary => Operand::Binary(BASE64.decode(text).map_err(|_| wrong("Base64"))?),
            Kind::Ip => Operand::Ip(Network::parse(text).ok_or_else(|| wrong("an address range"))?),
            Kind::Arn => Operand::Arn(Box::new(arn_patterns(text, variables)?)),
        })
    }

    /// Whether it is a value and not a pattern; a range of addresses may not be half the internet.
    fn is_fixed(&self) -> bool {
        match self {
            Operand::Text(pattern) => pattern.fixed().is_some(),
            Operand::Arn(pieces) => pieces.iter().all(|piece| piece.fixed().is_some()),
            Operand::Ip(network) => network.is_narrow(),
            _ => false,
        }
    }
}

/// A value or a list of them, as text: JSON numbers and booleans stand for their spelling.
fn texts(values: &Json) -> Result<Vec<String>, PolicyError> {
    let list = match values {
        Json::List(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    if list.is_empty() || list.len() > POLICY_VALUES_MAX {
        return Err(PolicyError::new("a condition needs a value, and not too many"));
    }
    let text = |value: &Json| match value {
        Json::Text(text) | Json::Number(text) => Ok(text.clone()),
        Json::Bool(flag) => Ok(flag.to_string()),
        _ => Err(PolicyError::new("a condition value must be text, a number or a boolean")),
    };
    list.iter().map(text).collect()
}

fn boolean(text: &str) -> Option<bool> {
    match () {
        () if text.eq_ignore_ascii_case("true") => Some(true),
        () if text.eq_ignore_ascii_case("false") => Some(false),
        () => None,
    }
}

/// ISO 8601, also without seconds or without a time of day; or seconds since 1970.
fn date(text: &str) -> Option<i128> {
    const PER_SECOND: f64 = 1e9;
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(i128::from(seconds) * 1_000_000_000);
    }
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite()) {
        return Some((seconds * PER_SECOND) as i128);
    }
    parse_iso8601_wide(text).or_else(|| parse_iso8601_wide(&format!("{text}T00:00:00Z"))).or_else(|| {
        let minutes = text.strip_suffix('Z')?;
        parse_iso8601_wide(&format!("{minutes}:00Z"))
    })
}

fn split_arn(text: &str) -> Option<[&str; 6]> {
    let mut parts = text.splitn(6, ':');
    let mut next = || parts.next();
    Some([next()?, next()?, next()?, next()?, next()?, next()?])
}

fn arn_patterns(text: &str, variables: bool) -> Result<[Pattern; 6], PolicyError> {
    let any = ["arn", "*", "*", "*", "*", "*"];
    // Colons inside a variable do not divide an ARN.
    let masked = mask_variables(text);
    let mut cut = [0usize; 5];
    let mut colons = masked.match_indices(':').map(|(at, _)| at);
    let whole = cut.iter_mut().all(|place| colons.next().map(|at| *place = at).is_some());
    let parts: Vec<&str> = match (whole, text) {
        (true, _) => {
            let starts = std::iter::once(0).chain(cut.iter().map(|at| at + 1));
            let ends = cut.iter().copied().chain(std::iter::once(text.len()));
            starts.zip(ends).map(|(start, end)| text.get(start..end).unwrap_or_default()).collect()
        }
        (false, "*") => any.to_vec(),
        (false, _) => return Err(PolicyError::new(format!("Condition value `{text}` is not an ARN"))),
    };
    let patterns = parts.iter().map(|part| Pattern::parse(part, variables)).collect::<Result<Vec<_>, _>>()?;
    patterns.try_into().map_err(|_| PolicyError::new("an ARN has six parts"))
}

/// The same length, with the inside of `${...}` blanked.
fn mask_variables(text: &str) -> String {
    let mut masked = text.as_bytes().to_vec();
    let mut inside = false;
    for at in 0..masked.len() {
        let opens = text.as_bytes().get(at..at + 2) == Some(b"${");
        inside = inside && text.as_bytes().get(at) != Some(&b'}') || opens;
        if let (true, Some(byte)) = (inside, masked.get_mut(at)) {
            *byte = b'_';
        }
    }
    String::from_utf8(masked.into_iter().map(|byte| if byte.is_ascii() { byte } else { b'_' }).collect())
        .unwrap_or_default()
}

/// A CIDR range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => most,
        };
        (bits <= most).then_some(Network { address, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let drop = 32 - u32::from(self.bits);
                u32::from(net).checked_shr(drop) == u32::from(address).checked_shr(drop)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let drop = 128 - u32::from(self.bits);
                u128::from(net).checked_shr(drop) == u128::from(address).checked_shr(drop)
            }
            _ => false,
        }
    }

    /// S3 calls ranges wider than these public.
    fn is_narrow(&self) -> bool {
        self.bits >= if self.address.is_ipv4() { 8 } else { 32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::policy::json;
    use std::borrow::Cow;

    struct Request(&'static [(&'static str, &'static [&'static str])]);

    impl Context for Request {
        fn values(&self, key: &Key) -> Values<'_> {
            let wanted = match &key.parameter {
                Some(parameter) => format!("{}/{parameter}", key.name()),
                None => key.name().to_owned(),
            };
            match self.0.iter().find(|(name, _)| *name == wanted) {
                None => Values::None,
                Some((_, [one])) => Values::One(Cow::Borrowed(one)),
                Some((_, many)) => Values::Many(many.iter().map(|value| Cow::Borrowed(*value)).collect()),
            }
        }
    }

    fn holds(block: &str, request: &Request) -> bool {
        let tests = parse(&json::parse(block.as_bytes()).unwrap(), true).unwrap();
        tests.iter().all(|test| test.holds(request))
    }

    const REQUEST: Request = Request(&[
        ("s3:prefix", &["home/ann/"]),
        ("aws:username", &["ann"]),
        ("s3:max-keys", &["100"]),
        ("aws:CurrentTime", &["2026-03-01T12:00:00.000Z"]),
        ("aws:EpochTime", &["1772366400"]),
        ("aws:SecureTransport", &["false"]),
        ("aws:SourceIp", &["10.1.2.3"]),
        ("aws:PrincipalArn", &["arn:aws:iam::123456789012:user/ann"]),
        ("s3:RequestObjectTagKeys", &["a", "b"]),
        ("s3:x-amz-acl", &["Public-Read"]),
        ("s3:ExistingObjectTag/k", &["YWI="]),
    ]);

    // tidy: table
    #[test]
    fn operators() {
        for (block, expected) in [
            (r#"{"StringEquals": {"s3:prefix": ["x", "home/ann/"]}}"#, true),
            (r#"{"StringEquals": {"s3:prefix": "home/*"}}"#, false),
            (r#"{"StringLike": {"s3:prefix": "home/${aws:username}/*"}}"#, true),
            (r#"{"StringNotLike": {"s3:prefix": ["x*", "home/*"]}}"#, false),
            (r#"{"StringNotEquals": {"s3:prefix": ["x", "y"]}}"#, true),
            (r#"{"StringEqualsIgnoreCase": {"s3:x-amz-acl": "PUBLIC-read"}}"#, true),
            (r#"{"StringNotEqualsIgnoreCase": {"s3:x-amz-acl": "PUBLIC-read"}}"#, false),
            (r#"{"StringEquals": {"s3:delimiter": "/"}}"#, false),
            (r#"{"StringNotEquals": {"s3:delimiter": "/"}}"#, true),
            (r#"{"StringEqualsIfExists": {"s3:delimiter": "/"}}"#, true),
            (r#"{"StringEqualsIfExists": {"s3:prefix": "/"}}"#, false),
            (r#"{"Null": {"s3:delimiter": "true"}}"#, true),
            (r#"{"Null": {"s3:prefix": true}}"#, false),
            (r#"{"Null": {"s3:prefix": "false"}}"#, true),
            (r#"{"NumericLessThanEquals": {"s3:max-keys": 100}}"#, true),
            (r#"{"NumericLessThan": {"s3:max-keys": "100"}}"#, false),
            (r#"{"NumericEquals": {"s3:max-keys": "100.0"}}"#, true),
            (r#"{"NumericNotEquals": {"s3:max-keys": [1, 100]}}"#, false),
            (r#"{"NumericGreaterThan": {"s3:max-keys": 99}}"#, true),
            (r#"{"NumericGreaterThanEquals": {"s3:prefix": 1}}"#, false),
            (r#"{"DateGreaterThan": {"aws:CurrentTime": "2026-03-01T11:59:59Z"}}"#, true),
            (r#"{"DateLessThan": {"aws:CurrentTime": "2026-03-01"}}"#, false),
            (r#"{"DateEquals": {"aws:CurrentTime": "2026-03-01T12:00Z"}}"#, true),
            (r#"{"DateLessThanEquals": {"aws:EpochTime": "2026-03-01T12:00:00Z"}}"#, true),
            (r#"{"DateNotEquals": {"aws:CurrentTime": 1772366400}}"#, false),
            (r#"{"DateGreaterThanEquals": {"aws:EpochTime": 1772366401}}"#, false),
            (r#"{"NumericGreaterThan": {"aws:EpochTime": 1}}"#, true),
            (r#"{"Bool": {"aws:SecureTransport": false}}"#, true),
            (r#"{"Bool": {"aws:SecureTransport": "true"}}"#, false),
            (r#"{"IpAddress": {"aws:SourceIp": ["192.168.0.0/16", "10.1.0.0/16"]}}"#, true),
            (r#"{"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, false),
            (r#"{"IpAddress": {"aws:SourceIp": "10.1.2.3"}}"#, true),
            (r#"{"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}"#, true),
            (r#"{"IpAddress": {"aws:SourceIp": "::/0"}}"#, false),
            (r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}"#, true),
            (
                r#"{"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:user/${aws:username}"}}"#,
                true,
            ),
            (r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:*:user/ann:*:*:*"}}"#, false),
            (r#"{"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/*"}}"#, true),
            (r#"{"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:user/ann"}}"#, false),
            (r#"{"BinaryEquals": {"s3:ExistingObjectTag/k": "YWI="}}"#, true),
            (r#"{"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b", "c"]}}"#, true),
            (r#"{"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a"]}}"#, false),
            (r#"{"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}"#, true),
            (r#"{"ForAnyValue:StringLike": {"s3:RequestObjectTagKeys": ["b*"]}}"#, true),
            (r#"{"ForAnyValue:StringLike": {"aws:TagKeys": ["b*"]}}"#, false),
            (r#"{"ForAnyValue:StringLikeIfExists": {"aws:TagKeys": ["b*"]}}"#, true),
            (r#"{"ForAnyValue:StringNotEquals": {"s3:RequestObjectTagKeys": ["a"]}}"#, true),
            (r#"{"ForAllValues:StringNotEquals": {"s3:RequestObjectTagKeys": ["a"]}}"#, false),
            (r#"{"StringEquals": {"s3:prefix": "home/ann/", "s3:max-keys": "1"}}"#, false),
            (r#"{}"#, true),
        ] {
            assert_eq!(holds(block, &REQUEST), expected, "{block}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for block in [
            "[]",
            r#"{"StringEquals": "x"}"#,
            r#"{"StringSortOf": {"s3:prefix": "x"}}"#,
            r#"{"NullIfExists": {"s3:prefix": "true"}}"#,
            r#"{"ForSomeValues:StringEquals": {"s3:prefix": "x"}}"#,
            r#"{"StringEquals": {"s3:unknown": "x"}}"#,
            r#"{"StringEquals": {"s3:prefix": []}}"#,
            r#"{"StringEquals": {"s3:prefix": {}}}"#,
            r#"{"StringEquals": {"s3:prefix": [["x"]]}}"#,
            r#"{"StringEquals": {"s3:prefix": "${nothing}"}}"#,
            r#"{"NumericEquals": {"s3:max-keys": "many"}}"#,
            r#"{"NumericEquals": {"s3:max-keys": "inf"}}"#,
            r#"{"DateEquals": {"aws:CurrentTime": "soon"}}"#,
            r#"{"Bool": {"aws:SecureTransport": "yes"}}"#,
            r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}"#,
            r#"{"IpAddress": {"aws:SourceIp": "10.0.0/8"}}"#,
            r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/+8"}}"#,
            r#"{"ArnLike": {"aws:PrincipalArn": "user/ann"}}"#,
            r#"{"BinaryEquals": {"s3:prefix": "?"}}"#,
        ] {
            assert!(parse(&json::parse(block.as_bytes()).unwrap(), true).is_err(), "{block}");
        }
    }

    #[test]
    fn an_ipv6_client_of_an_ipv4_range_is_found() {
        let network = Network::parse("10.0.0.0/8").unwrap();
        assert!(network.contains("::ffff:10.9.9.9".parse().unwrap()));
        let network = Network::parse("2001:db8::/32").unwrap();
        assert!(network.contains("2001:db8:1::1".parse().unwrap()));
        assert!(!network.contains("2001:db9::".parse().unwrap()));
    }
}
