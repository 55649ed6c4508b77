//! One statement: whom, what, on which, under which conditions, allowed or denied.
//!
//! The parser refuses what would never do what it says: elements it does not know, both forms of a
//! pair, an action that the resources beside it cannot have, a resource of another bucket. Judging goes
//! from cheap to dear: action, resource, principal, conditions.

use super::action::{Action, ActionSet};
use super::applies;
use super::condition::{self, Test};
use super::json::Json;
use super::key::{Name, Origin};
use super::pattern::{Pattern, glob};
use super::principal::{self, Asker, Meant, Principal};
use super::{Context, Holder, Opinion, PolicyError, Question};
use crate::base::limits::POLICY_VALUES_MAX;

#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    allows: bool,
    actions: ActionSet,
    /// The actions are those that are not meant.
    other_actions: bool,
    /// What its conditions ask for comes along with what it names.
    applies: bool,
    resources: Vec<Pattern>,
    other_resources: bool,
    /// `None` in the policy of a user, who is meant.
    principals: Option<Vec<Principal>>,
    other_principals: bool,
    tests: Vec<Test>,
}

const FIELDS: [&str; 9] = [
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

impl Statement {
    /// The statement and its Sid.
    pub(super) fn parse<'j>(
        element: &'j Json,
        variables: bool,
        holder: Holder<'_>,
    ) -> Result<(Statement, Option<&'j str>), PolicyError> {
        let Json::Object(members) = element else {
            return Err(PolicyError::new("A statement must be an object"));
        };
        if let Some((name, _)) = members.iter().find(|(name, _)| !FIELDS.contains(&name.as_str())) {
            return Err(PolicyError::new(format!("Unknown field {name}")));
        }
        let get = |name: &str| members.iter().find(|(have, _)| have == name).map(|(_, value)| value);
        let (actions, other_actions) = pair(&get, "Action", "NotAction")?;
        let (resources, other_resources) = pair(&get, "Resource", "NotResource")?;
        let (principals, other_principals) = principals(&get, holder)?;
        let resource_texts = list_of_texts(resources, "Resource")?;
        let action_texts = list_of_texts(actions, "Action")?;
        let tests = get("Condition").map_or(Ok(Vec::new()), |block| condition::parse(block, variables))?;
        let patterns = parse_actions(&action_texts, holder)?;
        let mut meant = ActionSet::default();
        patterns.iter().for_each(|pattern| meant.extend(*pattern));
        let statement = Statement {
            allows: effect(get("Effect"))?,
            applies: other_actions || applies::fits(&tests, &patterns),
            actions: meant,
            other_actions,
            resources: parse_resources(&resource_texts, variables, holder)?,
            other_resources,
            principals,
            other_principals,
            tests,
        };
        if let (Holder::Bucket(_), false, false) = (holder, other_actions, other_resources) {
            check_kinds(&action_texts, &resource_texts)?;
        }
        Ok((statement, sid(get("Sid"), holder)?))
    }

    /// Refuses a statement with a condition that an action it names can never meet.
    pub(super) fn check_applies(&self) -> Result<(), PolicyError> {
        // No request to a bucket has a key of another service.
        if self.asks_for(Name::Foreign) {
            return Err(PolicyError::new("Policy has an invalid condition key"));
        }
        match self.applies {
            true => Ok(()),
            false => Err(PolicyError::new(
                "Conditions do not apply to combination of actions and resources in statement",
            )),
        }
    }

    /// Refuses a statement that asks for what nobody could tell it.
    pub(super) fn check_told(&self) -> Result<(), PolicyError> {
        // One about other services only is never asked anything here.
        let ours = self.other_actions || !self.actions.is_empty();
        let mut untold = Name::ALL.iter().filter(|name| name.origin() == Origin::Untold);
        match untold.find(|name| ours && self.asks_for(**name)) {
            None => Ok(()),
            Some(name) => {
                let message = format!("The condition key {} is not supported by this server", name.text());
                Err(PolicyError::new(message))
            }
        }
    }

    pub(super) fn judge(&self, question: &Question<'_>, context: &impl Context, opinion: &mut Opinion) {
        if self.actions.contains(question.action) == self.other_actions {
            return;
        }
        let is_open = |asks: &dyn Fn(Name) -> bool| context.open().iter().copied().any(asks);
        let named = || self.resources.iter().any(|pattern| pattern.matches(question.resource, context));
        let is_place = match is_open(&|name| self.names_by(name)) {
            true => self.allows,
            false => named() != self.other_resources,
        };
        if !is_place {
            return;
        }
        let meant = self.means(&question.asker);
        let holds = |test: &Test| match is_open(&|name| test.asks_for(name)) {
            true => self.allows,
            false => test.holds(context),
        };
        if meant == Meant::Not || !self.tests.iter().all(holds) {
            return;
        }
        match (self.allows, meant) {
            (false, _) => opinion.denies = true,
            (true, Meant::Direct) => opinion.allows = true,
            (true, _) => opinion.allows_account = true,
        }
    }

    fn means(&self, asker: &Asker<'_>) -> Meant {
        let Some(principals) = &self.principals else { return Meant::Direct };
        let meant = principals.iter().map(|principal| principal.means(asker)).max().unwrap_or(Meant::Not);
        match self.other_principals {
            false => meant,
            // Only who is named exactly is left out.
            true if meant == Meant::Direct => Meant::Not,
            true => Meant::Direct,
        }
    }

    pub(super) fn is_public(&self) -> bool {
        let everyone = |list: &Vec<Principal>| self.other_principals || list.contains(&Principal::Everyone);
        self.allows
            && self.principals.as_ref().is_some_and(everyone)
            && !self.tests.iter().any(Test::names_callers)
    }

    pub(super) fn asks_for(&self, name: Name) -> bool {
        self.tests.iter().any(|test| test.asks_for(name)) || self.names_by(name)
    }

    /// Whether its resources depend on the key.
    fn names_by(&self, name: Name) -> bool {
        self.resources.iter().any(|pattern| pattern.asks_for(name))
    }
}

type Found<'j> = (&'j Json, bool);

/// The element or its opposite; exactly one of them.
fn pair<'j>(
    get: &impl Fn(&str) -> Option<&'j Json>,
    plain: &str,
    opposite: &str,
) -> Result<Found<'j>, PolicyError> {
    match (get(plain), get(opposite)) {
        (Some(value), None) => Ok((value, false)),
        (None, Some(value)) => Ok((value, true)),
        (None, None) => Err(PolicyError::new(format!("Missing required field {plain}"))),
        (Some(_), Some(_)) => Err(PolicyError::new(format!("{plain} and {opposite} exclude each other"))),
    }
}

fn principals<'j>(
    get: &impl Fn(&str) -> Option<&'j Json>,
    holder: Holder<'_>,
) -> Result<(Option<Vec<Principal>>, bool), PolicyError> {
    let given = get("Principal").or(get("NotPrincipal")).is_some();
    match holder {
        Holder::Identity if given => Err(PolicyError::new("Policy document should not specify a principal.")),
        Holder::Identity => Ok((None, false)),
        Holder::Bucket(_) => {
            let (element, other) = pair(get, "Principal", "NotPrincipal")?;
            if other && effect(get("Effect"))? {
                return Err(PolicyError::new("Allow with NotPrincipal is not allowed."));
            }
            Ok((Some(principal::parse(element)?), other))
        }
    }
}

fn effect(element: Option<&Json>) -> Result<bool, PolicyError> {
    match element {
        Some(Json::Text(text)) if text == "Allow" => Ok(true),
        Some(Json::Text(text)) if text == "Deny" => Ok(false),
        Some(Json::Text(other)) => Err(PolicyError::new(format!("Invalid effect: {other}"))),
        Some(_) => Err(PolicyError::new("Invalid effect")),
        None => Err(PolicyError::new("Missing required field Effect")),
    }
}

/// IAM wants letters and digits, and no two alike; S3 takes any text.
fn sid<'j>(element: Option<&'j Json>, holder: Holder<'_>) -> Result<Option<&'j str>, PolicyError> {
    let text = match element {
        None => return Ok(None),
        Some(Json::Text(text)) => text.as_str(),
        Some(_) => return Err(PolicyError::new("Sid must be text")),
    };
    match holder {
        Holder::Bucket(_) => Ok(None),
        Holder::Identity if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Ok(Some(text).filter(|text| !text.is_empty()))
        }
        Holder::Identity => {
            let message = "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the \
                           regular expression [0-9A-Za-z]*";
            Err(PolicyError::new(message))
        }
    }
}

fn list_of_texts<'j>(element: &'j Json, what: &str) -> Result<Vec<&'j str>, PolicyError> {
    let list = match element {
        Json::List(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    if list.is_empty() {
        return Err(PolicyError::new(format!("Missing required field {what} cannot be empty!")));
    }
    if list.len() > POLICY_VALUES_MAX {
        return Err(PolicyError::new(format!("{what} has too many values")));
    }
    let text = |value: &'j Json| match value {
        Json::Text(text) => Ok(text.as_str()),
        _ => Err(PolicyError::new(format!("{what} must be text"))),
    };
    list.iter().map(text).collect()
}

/// What each of the patterns means.
fn parse_actions(texts: &[&str], holder: Holder<'_>) -> Result<Vec<ActionSet>, PolicyError> {
    let parse = |text: &&str| {
        let more = ActionSet::of_pattern(text).filter(|_| match holder {
            Holder::Identity => true,
            Holder::Bucket(_) => {
                *text == "*" || text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("s3:"))
            }
        });
        let invalid = || match holder {
            Holder::Bucket(_) => PolicyError::new("Policy has invalid action"),
            Holder::Identity => PolicyError::new(format!("The action {text} is not a known one.")),
        };
        more.ok_or_else(invalid)
    };
    texts.iter().map(parse).collect()
}

const S3_ARN: &str = "arn:aws:s3:::";

fn parse_resources(texts: &[&str], variables: bool, holder: Holder<'_>) -> Result<Vec<Pattern>, PolicyError> {
    let check = |text: &str| match holder {
        // Colons divide an ARN, so that a text without them means nothing, but for the one wildcard.
        Holder::Identity => text == "*" || (text.starts_with("arn:") && text.matches(':').count() >= 5),
        Holder::Bucket(bucket) => lies_in(text, bucket),
    };
    let parse = |text: &&str| match check(text) {
        true => Pattern::parse(text, variables),
        false => Err(PolicyError::new("Policy has invalid resource")),
    };
    texts.iter().map(parse).collect()
}

/// Whether the bucket that a resource names is this one.
fn lies_in(resource: &str, bucket: &str) -> bool {
    let Some(named) = resource.strip_prefix(S3_ARN) else { return resource == "*" };
    let named = named.split_once('/').map_or(named, |(named, _)| named);
    glob(named.as_bytes(), bucket.as_bytes())
}

/// An action on objects needs a resource that can be one, and an action on the bucket likewise.
fn check_kinds(actions: &[&str], resources: &[&str]) -> Result<(), PolicyError> {
    let objects = resources.iter().any(|text| text.contains('/') || text.ends_with('*'));
    let bucket = resources.iter().any(|text| match text.split_once('/') {
        None => true,
        Some((front, _)) => front.ends_with('*'),
    });
    for text in actions {
        let plain = |action: &&Action| action.name().eq_ignore_ascii_case(text);
        let Some(action) = Action::ALL.iter().find(plain) else { continue };
        if !(if action.is_on_object() { objects } else { bucket }) {
            return Err(PolicyError::new("Action does not apply to any resource(s) in statement"));
        }
    }
    Ok(())
}
