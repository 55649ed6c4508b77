//! Judging against the naive model: random policies over a small world, where the model reads the
//! statements as they were drawn and knows no compiled form.
//!
//! The world has three callers, three actions, three resources and two keys, so that random statements
//! meet random questions often. Patterns are compared by the definition of a wildcard.

use std::borrow::Cow;
use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

const ACTIONS: [Action; 3] = [Action::GetObject, Action::GetObjectVersion, Action::PutObject];
const ACTION_PATTERNS: [&str; 6] =
    ["s3:GetObject", "s3:GetObject*", "s3:*", "*", "s3:PutObject", "s3:Get??ject"];
const RESOURCES: [&str; 3] = ["arn:aws:s3:::b", "arn:aws:s3:::b/x/1", "arn:aws:s3:::b/y/1"];
const RESOURCE_PATTERNS: [&str; 6] = [
    "arn:aws:s3:::b",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::b/x/*",
    "arn:aws:s3:::b/?/1",
    "*",
    "arn:aws:s3:::b/y/1",
];
const PRINCIPALS: [&str; 4] = ["*", "111122223333", "arn:aws:iam::111122223333:user/ann", "444455556666"];
const TESTS: [(&str, &str, &str); 6] = [
    ("StringEquals", "aws:Referer", "r"),
    ("StringNotEquals", "aws:Referer", "r"),
    ("StringEqualsIfExists", "aws:Referer", "r"),
    ("Null", "aws:Referer", "true"),
    ("NumericLessThan", "s3:max-keys", "10"),
    ("StringLike", "aws:Referer", "?*"),
];

#[derive(Clone, Debug)]
struct Drawn {
    allow: bool,
    actions: (bool, Vec<&'static str>),
    resources: (bool, Vec<&'static str>),
    principals: (bool, Vec<&'static str>),
    test: Option<(&'static str, &'static str, &'static str)>,
}

#[derive(Clone, Debug)]
struct Facts {
    referer: Option<&'static str>,
    max_keys: Option<&'static str>,
}

impl Context for Facts {
    fn values(&self, key: &Key) -> Values<'_> {
        let value = match key.name {
            Name::Referer => self.referer,
            Name::MaxKeys => self.max_keys,
            _ => None,
        };
        Values::from(value.map(Cow::Borrowed))
    }
}

/// The same while one of its keys is not known.
struct Unread<'f>(&'f Facts);

impl Context for Unread<'_> {
    fn values(&self, key: &Key) -> Values<'_> {
        assert_ne!(key.name, Name::Referer, "nobody knows it yet");
        self.0.values(key)
    }

    fn open(&self) -> &'static [Name] {
        &[Name::Referer]
    }
}

fn some<T: Clone + std::fmt::Debug + Send + Sync + 'static>(of: &'static [T]) -> BoxedStrategy<Vec<T>> {
    subsequence(of.to_vec(), 1..=2).boxed()
}

fn statement() -> impl Strategy<Value = Drawn> {
    let list = |of| (proptest::bool::weighted(0.2), some(of));
    let test = proptest::option::of(select(&TESTS[..]));
    (any::<bool>(), list(&ACTION_PATTERNS), list(&RESOURCE_PATTERNS), list(&PRINCIPALS), test).prop_map(
        |(allow, actions, resources, principals, test)| Drawn { allow, actions, resources, principals, test },
    )
}

fn spell(statements: &[Drawn]) -> String {
    let quote = |list: &[&str]| format!("[\"{}\"]", list.join("\",\""));
    let mut out = String::from(r#"{"Version":"2012-10-17","Statement":["#);
    for (at, drawn) in statements.iter().enumerate() {
        let not = |opposite: bool| if opposite { "Not" } else { "" };
        let _ = write!(
            out,
            r#"{}{{"Effect":"{}","{}Action":{},"{}Resource":{},"{}Principal":{{"AWS":{}}}"#,
            if at == 0 { "" } else { "," },
            if drawn.allow { "Allow" } else { "Deny" },
            not(drawn.actions.0),
            quote(&drawn.actions.1),
            not(drawn.resources.0),
            quote(&drawn.resources.1),
            not(drawn.principals.0),
            quote(&drawn.principals.1),
        );
        if let Some((operator, key, value)) = drawn.test {
            let _ = write!(out, r#","Condition":{{"{operator}":{{"{key}":"{value}"}}}}"#);
        }
        out.push('}');
    }
    out + "]}"
}

fn wild(pattern: &str, value: &str) -> bool {
    match (pattern.chars().next(), value.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => wild(&pattern[1..], value) || !value.is_empty() && wild(pattern, &value[1..]),
        (Some(p), Some(v)) if p == '?' || p == v => wild(&pattern[1..], &value[1..]),
        _ => false,
    }
}

fn model(statements: &[Drawn], caller: usize, action: Action, resource: &str, facts: &Facts) -> Opinion {
    let mut opinion = Opinion::default();
    for drawn in statements {
        let acts = drawn.actions.1.iter().any(|pattern| wild(pattern, action.name()));
        let lies = drawn.resources.1.iter().any(|pattern| wild(pattern, resource));
        // Callers: nobody, the root of 111122223333, and ann of that account.
        let direct = drawn.principals.1.iter().any(|principal| match *principal {
            "*" => true,
            "111122223333" => caller == 1,
            "444455556666" => false,
            _ => caller == 2,
        });
        let through = caller == 2 && drawn.principals.1.contains(&"111122223333");
        let (direct, through) = if drawn.principals.0 { (!direct, false) } else { (direct, through) };
        let holds = match drawn.test {
            None => true,
            Some(("StringEquals", ..)) => facts.referer == Some("r"),
            Some(("StringNotEquals", ..)) => facts.referer != Some("r"),
            Some(("StringEqualsIfExists", ..)) => facts.referer.is_none_or(|r| r == "r"),
            Some(("Null", ..)) => facts.referer.is_none(),
            Some(("NumericLessThan", ..)) => facts.max_keys == Some("5"),
            Some(_) => facts.referer.is_some_and(|r| !r.is_empty()),
        };
        let applies = acts != drawn.actions.0 && lies != drawn.resources.0 && holds;
        opinion.denies |= applies && !drawn.allow && (direct || through);
        opinion.allows |= applies && drawn.allow && direct;
        opinion.allows_account |= applies && drawn.allow && through && !direct;
    }
    opinion
}

proptest! {
    #[test]
    fn policies_say_what_the_model_says(
        statements in vec(statement(), 1..4),
        referer in select(vec![None, Some(""), Some("r"), Some("s")]),
        max_keys in select(vec![None, Some("5"), Some("50")]),
    ) {
        let facts = Facts { referer, max_keys };
        // Some random pairs of actions and resources are refused; they are not what is tried here.
        let Ok(policy) = Policy::of_bucket(spell(&statements).as_bytes(), "b") else { return Ok(()) };
        let (account, canonical) = ("111122223333", "c");
        let callers = [
            Asker::Anonymous,
            Asker::Root { account, canonical },
            Asker::User { account, canonical, arn: PRINCIPALS[2], id: "i" },
        ];
        for (caller, asker) in callers.into_iter().enumerate() {
            for action in ACTIONS {
                for resource in RESOURCES {
                    let expected = model(&statements, caller, action, resource, &facts);
                    let found = policy.judge(&Question { asker, action, resource }, &facts);
                    prop_assert_eq!(found.denies, expected.denies);
                    if !expected.denies {
                        prop_assert_eq!(found, expected, "{:?} {:?} {}", asker, action, resource);
                    }
                    // Who is refused before a value is known would be refused with it, whatever it is.
                    let before = policy.judge(&Question { asker, action, resource }, &Unread(&facts));
                    prop_assert!(found.denies || !before.denies);
                    prop_assert!(found.denies || !found.allows || before.allows);
                    prop_assert!(found.denies || !found.allows_account || before.allows_account);
                }
            }
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,200}", at in 0usize..200, byte in any::<u8>()) {
        let _ = Policy::of_bucket(text.as_bytes(), "b");
        let drawn = Drawn {
            allow: true,
            actions: (false, vec!["*"]),
            resources: (false, vec!["*"]),
            principals: (false, vec!["*"]),
            test: Some(TESTS[0]),
        };
        let mut bytes = spell(&[drawn]).into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Policy::of_bucket(&bytes, "b");
        let _ = Policy::of_user(&bytes);
    }
}
