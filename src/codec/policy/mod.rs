//! The policy language of AWS: reading a document, and asking it about a request.
//!
//! `Policy::of_bucket` and `Policy::of_user` read and check a document and compile it: actions become sets
//! of bits, patterns and condition values are parsed once. `Policy::judge` then answers for one
//! request. What a request is comes through `Context`, asked only for keys that a policy names, so a
//! request pays for the conditions it meets. Pure: no I/O and no clock.
//!
//! Invariants: a document that is accepted is enforced whole; whatever is unknown (an element, an operator,
//! an action or key of S3, IAM or STS) is refused. Documents: "IAM JSON policy elements reference",
//! "Policies and permissions in Amazon S3".

mod action;
mod applies;
mod condition;
mod json;
mod key;
mod names;
mod pattern;
mod principal;
mod statement;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::Cell;

pub use action::{Action, ActionSet};
pub use key::{Key, Name, Origin};
pub use names::{Named, named, rename};
pub use principal::{Asker, Principal};

use crate::base::limits::{POLICY_BYTES_MAX, POLICY_STATEMENTS_MAX, POLICY_STEPS_MAX};
use json::Json;
use statement::Statement;

/// Why a document is refused, as AWS words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(String);

impl PolicyError {
    #[cold]
    fn new(message: impl Into<String>) -> PolicyError {
        PolicyError(message.into())
    }
}

/// What the request has for a key.
#[derive(Debug)]
pub enum Values<'a> {
    None,
    One(Cow<'a, str>),
    Many(Vec<Cow<'a, str>>),
}

impl<'a> Values<'a> {
    fn as_slice(&self) -> &[Cow<'a, str>] {
        match self {
            Values::None => &[],
            Values::One(value) => std::slice::from_ref(value),
            Values::Many(values) => values,
        }
    }
}

impl<'a, T: Into<Cow<'a, str>>> From<Option<T>> for Values<'a> {
    fn from(value: Option<T>) -> Values<'a> {
        value.map_or(Values::None, |value| Values::One(value.into()))
    }
}

/// What policies may ask about a request.
pub trait Context {
    fn values(&self, key: &Key) -> Values<'_>;

    /// Keys whose values are not known yet. What a statement asks of them speaks for the caller, so that who is
    /// refused now would be refused whatever they are; once they are known the question is asked again.
    fn open(&self) -> &'static [Name] {
        &[]
    }

    /// Takes steps of matching from those that a judgement may take; false when there are none left.
    fn spend(&self, _steps: usize) -> bool {
        true
    }
}

/// A request while one policy judges it, which may take so many steps.
struct Bounded<'c, C> {
    request: &'c C,
    steps: Cell<usize>,
    is_exhausted: Cell<bool>,
}

impl<C: Context> Context for Bounded<'_, C> {
    fn values(&self, key: &Key) -> Values<'_> {
        self.request.values(key)
    }

    fn open(&self) -> &'static [Name] {
        self.request.open()
    }

    fn spend(&self, steps: usize) -> bool {
        match self.steps.get().checked_sub(steps) {
            Some(left) => self.steps.set(left),
            None => self.is_exhausted.set(true),
        }
        !self.is_exhausted.get()
    }
}

/// `aws:userid` of nobody in particular (IAM User Guide, "Information available in all requests").
pub const ANONYMOUS_ID: &str = "anonymous";

/// One thing that somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub asker: Asker<'a>,
    pub action: Action,
    /// The ARN.
    pub resource: &'a str,
}

/// What a policy says to a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opinion {
    pub denies: bool,
    /// Allows this caller.
    pub allows: bool,
    /// Allows the caller's account, which has the last word about its users.
    pub allows_account: bool,
}

/// A compiled policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
    asks_for_object_tags: bool,
}

/// What a document is attached to.
#[derive(Clone, Copy)]
enum Holder<'a> {
    Bucket(&'a str),
    Identity,
}

impl Policy {
    /// Reads the policy of a bucket.
    pub fn of_bucket(text: &[u8], bucket: &str) -> Result<Policy, PolicyError> {
        Policy::parse(text, Holder::Bucket(bucket))
    }

    /// Refuses the policy of a bucket of which a statement would never do what it says. Asked when a policy is set and
    /// not when one that is kept is read: what is known of actions may grow, and what was taken stays readable.
    pub fn check_applies(&self) -> Result<(), PolicyError> {
        self.statements.iter().try_for_each(Statement::check_applies)?;
        self.check_told()
    }

    /// Refuses a policy with a condition on something that this server has and cannot tell. Asked when it is set.
    pub fn check_told(&self) -> Result<(), PolicyError> {
        self.statements.iter().try_for_each(Statement::check_told)
    }

    /// Reads a policy that belongs to a user.
    pub fn of_user(text: &[u8]) -> Result<Policy, PolicyError> {
        Policy::parse(text, Holder::Identity)
    }

    fn parse(text: &[u8], holder: Holder<'_>) -> Result<Policy, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            let message = format!("Policy exceeds the maximum allowed document size of {POLICY_BYTES_MAX}.");
            return Err(PolicyError::new(message));
        }
        const FORM: &str = "Policies must be valid JSON and the first byte must be '{'";
        if text.first() != Some(&b'{') {
            return Err(PolicyError::new(FORM));
        }
        let json = json::parse(text).map_err(|error| PolicyError::new(format!("{FORM}: {error}")))?;
        let Json::Object(members) = json else { return Err(PolicyError::new(FORM)) };
        let mut variables = false;
        let mut statements = None;
        for (name, value) in &members {
            match (name.as_str(), value) {
                ("Version", Json::Text(version)) if version == "2012-10-17" => variables = true,
                ("Version", Json::Text(version)) if version == "2008-10-17" => {}
                ("Version", _) => {
                    return Err(PolicyError::new("The policy must contain a valid version string"));
                }
                ("Id", Json::Text(_)) => {}
                ("Id", _) => return Err(PolicyError::new("Id must be text")),
                ("Statement", value) => statements = Some(value),
                _ => return Err(PolicyError::new(format!("Unknown field {name}"))),
            }
        }
        let statements = statements.ok_or_else(|| PolicyError::new("Missing required field Statement"))?;
        let statements = parse_statements(statements, variables, holder)?;
        let asks_for_object_tags =
            statements.iter().any(|statement| statement.asks_for(Name::ExistingObjectTag));
        Ok(Policy { statements, asks_for_object_tags })
    }

    /// What it says to a question. In a policy of a user, `allows_account` is never set. One that takes too long to
    /// say anything denies.
    pub fn judge(&self, question: &Question<'_>, context: &impl Context) -> Opinion {
        let steps = Cell::new(POLICY_STEPS_MAX);
        let context = &Bounded { request: context, steps, is_exhausted: Cell::new(false) };
        let mut opinion = Opinion::default();
        for statement in &self.statements {
            statement.judge(question, context, &mut opinion);
            opinion.denies |= context.is_exhausted.get();
            if opinion.denies {
                break;
            }
        }
        opinion
    }

    /// Whether it lets in callers that nobody has named.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(Statement::is_public)
    }

    /// Whether its answer may depend on the tags that an object has.
    pub fn asks_for_object_tags(&self) -> bool {
        self.asks_for_object_tags
    }
}

fn parse_statements(
    element: &Json,
    variables: bool,
    holder: Holder<'_>,
) -> Result<Vec<Statement>, PolicyError> {
    let list = match element {
        Json::List(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    if list.is_empty() {
        return Err(PolicyError::new("Could not parse the policy: Statement is empty!"));
    }
    if list.len() > POLICY_STATEMENTS_MAX {
        return Err(PolicyError::new("The policy has too many statements"));
    }
    let mut sids = std::collections::HashSet::new();
    let mut statements = Vec::with_capacity(list.len());
    for value in list {
        let (statement, sid) = Statement::parse(value, variables, holder)?;
        if sid.is_some_and(|sid| !sids.insert(sid)) {
            return Err(PolicyError::new("Statement IDs (SID) in a single policy must be unique."));
        }
        statements.push(statement);
    }
    Ok(statements)
}

/// Twelve digits.
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}
