//! Texts with wildcards and policy variables, compiled once.
//!
//! `*` stands for any characters, `?` for one; `${key}` for the value the request has for a
//! condition key, `${key, 'default'}` with a value for when it has none; `${*}`, `${?}` and `${$}` for
//! the characters themselves. What a variable brings in is taken literally. Without a value and a default the
//! pattern matches nothing. Variables are read in policies of version 2012-10-17 only.

use std::borrow::Cow;

use super::key::{Key, Name};
use super::{Context, PolicyError, Values};

#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(Form);

#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// Neither wildcard nor variable.
    Exact(Box<str>),
    /// `text*`.
    Prefix(Box<str>),
    Glob(Box<str>),
    Pieces(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(String),
    Any,
    One,
    Variable(Key, Option<String>),
}

impl Pattern {
    /// `variables`: whether `${` means anything.
    pub fn parse(text: &str, variables: bool) -> Result<Pattern, PolicyError> {
        if variables && text.contains("${") {
            return Ok(Pattern(Form::Pieces(pieces(text)?)));
        }
        let wild = |text: &str| text.contains(['*', '?']);
        Ok(Pattern(match text.strip_suffix('*') {
            Some(start) if !wild(start) => Form::Prefix(start.into()),
            _ if wild(text) => Form::Glob(text.into()),
            _ => Form::Exact(text.into()),
        }))
    }

    /// The same, taken literally but for its variables: for operators without wildcards.
    pub fn literal(text: &str, variables: bool) -> Result<Pattern, PolicyError> {
        if !variables || !text.contains("${") {
            return Ok(Pattern(Form::Exact(text.into())));
        }
        let spell = |piece| match piece {
            Piece::Any => Piece::Literal("*".to_owned()),
            Piece::One => Piece::Literal("?".to_owned()),
            piece => piece,
        };
        Ok(Pattern(Form::Pieces(pieces(text)?.into_iter().map(spell).collect())))
    }

    pub fn matches(&self, value: &str, context: &impl Context) -> bool {
        match &self.0 {
            Form::Exact(text) => &**text == value,
            Form::Prefix(start) => value.starts_with(&**start),
            Form::Glob(pattern) => {
                glob_within(pattern.as_bytes(), value.as_bytes(), |steps| context.spend(steps))
            }
            Form::Pieces(pieces) => resolve(pieces, context)
                .is_some_and(|tokens| match_tokens(&tokens, value, |steps| context.spend(steps))),
        }
    }

    /// The same without regard to the case of ASCII letters.
    pub fn matches_any_case(&self, value: &str, context: &impl Context) -> bool {
        match &self.0 {
            Form::Exact(text) => text.eq_ignore_ascii_case(value),
            _ if !context.spend(value.len()) => false,
            _ => self.folded().matches(&value.to_ascii_lowercase(), &Folded(context)),
        }
    }

    fn folded(&self) -> Pattern {
        let fold = |text: &str| text.to_ascii_lowercase();
        Pattern(match &self.0 {
            Form::Exact(text) => Form::Exact(fold(text).into()),
            Form::Prefix(text) => Form::Prefix(fold(text).into()),
            Form::Glob(text) => Form::Glob(fold(text).into()),
            Form::Pieces(pieces) => Form::Pieces(
                pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Literal(text) => Piece::Literal(fold(text)),
                        Piece::Variable(key, default) => {
                            Piece::Variable(key.clone(), default.as_deref().map(fold))
                        }
                        piece => piece.clone(),
                    })
                    .collect(),
            ),
        })
    }

    /// Whether it has the variable.
    pub fn asks_for(&self, name: Name) -> bool {
        let is = |piece: &Piece| matches!(piece, Piece::Variable(key, _) if key.name == name);
        matches!(&self.0, Form::Pieces(pieces) if pieces.iter().any(is))
    }

    /// The text, when it is the same for every request and means only itself.
    pub fn fixed(&self) -> Option<&str> {
        match &self.0 {
            Form::Exact(text) => Some(text),
            _ => None,
        }
    }
}

struct Folded<'c, C>(&'c C);

impl<C: Context> Context for Folded<'_, C> {
    fn values(&self, key: &Key) -> Values<'_> {
        match self.0.values(key) {
            Values::One(value) => Values::One(Cow::Owned(value.to_ascii_lowercase())),
            other => other,
        }
    }

    fn spend(&self, steps: usize) -> bool {
        self.0.spend(steps)
    }
}

// ---- Parsing ----

fn pieces(text: &str) -> Result<Vec<Piece>, PolicyError> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix("${") {
            let wrong = || PolicyError::new(format!("the variable in `{text}` is not closed"));
            let (name, behind) = inside.split_once('}').ok_or_else(wrong)?;
            found.push(variable(name)?);
            rest = behind;
            continue;
        }
        let mut characters = rest.chars();
        match characters.next() {
            Some('*') => found.push(Piece::Any),
            Some('?') => found.push(Piece::One),
            Some(other) => push_literal(&mut found, other),
            None => {}
        }
        rest = characters.as_str();
    }
    Ok(found)
}

fn push_literal(pieces: &mut Vec<Piece>, character: char) {
    match pieces.last_mut() {
        Some(Piece::Literal(text)) => text.push(character),
        _ => pieces.push(Piece::Literal(character.to_string())),
    }
}

fn variable(inside: &str) -> Result<Piece, PolicyError> {
    if matches!(inside, "*" | "?" | "$") {
        return Ok(Piece::Literal(inside.to_owned()));
    }
    let (name, default) = match inside.split_once(',') {
        Some((name, default)) => {
            let quoted = default.trim().strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
            let wrong = || PolicyError::new(format!("the default in `${{{inside}}}` is not quoted"));
            (name.trim(), Some(quoted.ok_or_else(wrong)?.to_owned()))
        }
        None => (inside.trim(), None),
    };
    let key =
        Key::parse(name).ok_or_else(|| PolicyError::new(format!("unknown policy variable `{name}`")))?;
    Ok(Piece::Variable(key, default))
}

// ---- Matching ----

enum Token<'a> {
    Text(Cow<'a, str>),
    Any,
    One,
}

fn resolve<'a>(pieces: &'a [Piece], context: &'a impl Context) -> Option<Vec<Token<'a>>> {
    pieces
        .iter()
        .map(|piece| {
            Some(match piece {
                Piece::Literal(text) => Token::Text(Cow::Borrowed(text)),
                Piece::Any => Token::Any,
                Piece::One => Token::One,
                Piece::Variable(key, default) => match (context.values(key), default) {
                    (Values::One(value), _) => Token::Text(value),
                    (_, Some(default)) => Token::Text(Cow::Borrowed(default)),
                    _ => return None,
                },
            })
        })
        .collect()
}

/// Backtracks to the last `Any` only, so it takes at most tokens times length steps; fewer if `spend` says so, and then
/// nothing matches.
fn match_tokens(tokens: &[Token<'_>], value: &str, spend: impl Fn(usize) -> bool) -> bool {
    let (mut at, mut rest) = (0, value);
    let mut retry: Option<(usize, &str)> = None;
    let mut steps = Steps::new(spend);
    loop {
        let compared = match tokens.get(at) {
            Some(Token::Text(text)) => text.len() / BYTES_A_STEP,
            _ => 0,
        };
        if !steps.take(1 + compared) {
            return false;
        }
        let step = match tokens.get(at) {
            Some(Token::Any) => {
                retry = Some((at + 1, rest));
                Some(rest)
            }
            Some(Token::One) => after_one(rest),
            Some(Token::Text(text)) => rest.strip_prefix(&**text),
            None if rest.is_empty() => return true,
            None => None,
        };
        match (step, &mut retry) {
            (Some(behind), _) => (at, rest) = (at + 1, behind),
            (None, Some((back, from))) => match after_one(from) {
                Some(behind) => {
                    *from = behind;
                    (at, rest) = (*back, behind);
                }
                None => return false,
            },
            (None, None) => return false,
        }
    }
}

fn after_one(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    characters.next().map(|_| characters.as_str())
}

/// Bytes of a text that are compared in the time of a step.
const BYTES_A_STEP: usize = 32;

/// Counts steps, and has them paid for some at a time.
struct Steps<F: Fn(usize) -> bool> {
    unpaid: usize,
    spend: F,
}

impl<F: Fn(usize) -> bool> Steps<F> {
    const AT_ONCE: usize = 256;

    fn new(spend: F) -> Self {
        Steps { unpaid: 0, spend }
    }

    /// Whether there were so many.
    #[inline]
    fn take(&mut self, steps: usize) -> bool {
        self.unpaid += steps;
        self.unpaid < Self::AT_ONCE || (self.spend)(std::mem::take(&mut self.unpaid))
    }
}

impl<F: Fn(usize) -> bool> Drop for Steps<F> {
    fn drop(&mut self) {
        (self.spend)(self.unpaid);
    }
}

/// `*` and `?` over UTF-8 bytes; `?` is a whole character.
pub fn glob(pattern: &[u8], value: &[u8]) -> bool {
    glob_within(pattern, value, |_| true)
}

/// The same while `spend` has steps left; without, nothing matches.
fn glob_within(pattern: &[u8], value: &[u8], spend: impl Fn(usize) -> bool) -> bool {
    let (mut p, mut v) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    let mut steps = Steps::new(spend);
    loop {
        if !steps.take(1) {
            return false;
        }
        let step = match (pattern.get(p), value.get(v)) {
            (Some(b'*'), _) => {
                retry = Some((p + 1, v));
                Some(v)
            }
            (None, None) => return true,
            (Some(b'?'), Some(_)) => Some(next_character(value, v)),
            (Some(wanted), Some(byte)) if wanted == byte => Some(v + 1),
            _ => None,
        };
        match (step, &mut retry) {
            (Some(behind), _) => (p, v) = (p + 1, behind),
            (None, Some((back, from))) if *from < value.len() => {
                *from = next_character(value, *from);
                (p, v) = (*back, *from);
            }
            _ => return false,
        }
    }
}

fn next_character(value: &[u8], at: usize) -> usize {
    let continues = |byte: &&u8| **byte & 0xc0 == 0x80;
    let behind = value.get(at + 1..).unwrap_or_default();
    at + 1 + behind.iter().take_while(continues).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct User(&'static str);

    impl Context for User {
        fn values(&self, key: &Key) -> Values<'_> {
            match key.name() == "aws:username" {
                true => Values::One(Cow::Borrowed(self.0)),
                false => Values::None,
            }
        }
    }

    fn matches(pattern: &str, value: &str) -> bool {
        Pattern::parse(pattern, true).unwrap().matches(value, &User("a*b"))
    }

    #[test]
    fn wildcards_and_variables() {
        for (pattern, value, expected) in [
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("a*c", "abcc", true),
            ("a*c*", "ab", false),
            ("a?c", "aüc", true),
            ("??", "ü", false),
            ("home/${aws:username}/*", "home/a*b/x", true),
            ("home/${aws:username}/*", "home/axb/x", false),
            ("${aws:username}", "a*b", true),
            ("${aws:userid}x", "x", false),
            ("${aws:userid, 'no'}x", "nox", true),
            ("${*}${?}${$}", "*?$", true),
            ("${*}", "x", false),
            ("$x{", "$x{", true),
            ("*${aws:username}?", "--a*b!", true),
        ] {
            assert_eq!(matches(pattern, value), expected, "{pattern} {value}");
        }
        assert!(Pattern::parse("${aws:username", true).is_err());
        assert!(Pattern::parse("${aws:nothing}", true).is_err());
        assert!(Pattern::parse("${aws:username, x}", true).is_err());
        let old = Pattern::parse("${aws:username}", false).unwrap();
        assert!(old.matches("${aws:username}", &User("u")) && !old.matches("u", &User("u")));
        assert!(Pattern::parse("AB*", true).unwrap().matches_any_case("abC", &User("")));
        assert!(Pattern::literal("a*", true).unwrap().matches("a*", &User("")));
        assert!(!Pattern::literal("a*", true).unwrap().matches("ab", &User("")));
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "a*".repeat(500) + "b";
        assert!(!matches(&pattern, &"a".repeat(1024)));
        assert!(!matches(&format!("${{aws:username}}{pattern}"), &format!("a*b{}", "a".repeat(1024))));
    }

    /// The definition, exponential.
    fn naive(pattern: &[char], value: &[char]) -> bool {
        match (pattern.split_first(), value.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                naive(rest, value) || value.split_first().is_some_and(|(_, v)| naive(pattern, v))
            }
            (Some((p, rest)), Some((v, more))) => (*p == '?' || p == v) && naive(rest, more),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn both_matchers_are_the_naive_one(pattern in "[aü*?]{0,8}", value in "[aü]{0,8}") {
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = naive(&characters(&pattern), &characters(&value));
            prop_assert_eq!(glob(pattern.as_bytes(), value.as_bytes()), expected);
            let pieces = Pattern::parse(&format!("${{aws:username}}{pattern}"), true).unwrap();
            prop_assert_eq!(pieces.matches(&format!("a*b{value}"), &User("a*b")), expected);
        }
    }
}
