//! Documents and questions as a table: what a policy says, what is refused, what is public.
//!
//! A row is a document or a request and the answer that AWS documents for it. Uses the parent alone,
//! and no store: what a request is stands in the row.

use std::borrow::Cow;

use super::*;

const BUCKET: &str = "books";
const ANN: &str = "arn:aws:iam::111122223333:user/ann";

struct Request(Option<(&'static str, &'static str)>);

impl Context for Request {
    fn values(&self, key: &Key) -> Values<'_> {
        Values::from(self.0.filter(|(name, _)| *name == key.name()).map(|(_, value)| Cow::Borrowed(value)))
    }
}

fn ann() -> Asker<'static> {
    Asker::User { account: "111122223333", canonical: "c", arn: ANN, id: "AIDA" }
}

fn root() -> Asker<'static> {
    Asker::Root { account: "111122223333", canonical: "c" }
}

fn document(statement: &str) -> String {
    format!(r#"{{"Version": "2012-10-17", "Id": "x", "Statement": [{statement}]}}"#)
}

fn said(
    statements: &str,
    asker: Asker<'_>,
    action: Action,
    resource: &str,
    context: Request,
) -> &'static str {
    let policy = Policy::of_bucket(document(statements).as_bytes(), BUCKET).expect(statements);
    let opinion = policy.judge(&Question { asker, action, resource }, &context);
    match opinion {
        Opinion { denies: true, .. } => "deny",
        Opinion { allows: true, .. } => "allow",
        Opinion { allows_account: true, .. } => "account",
        _ => "nothing",
    }
}

const OBJECT: &str = "arn:aws:s3:::books/a/b.txt";
const PUBLIC_READ: &str = r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::books/*"}"#;

#[test]
fn elements_and_their_opposites() {
    let get = Action::GetObject;
    let of = |statement: &str, asker| said(statement, asker, get, OBJECT, Request(None));
    assert_eq!(of(PUBLIC_READ, Asker::Anonymous), "allow");
    assert_eq!(said(PUBLIC_READ, ann(), Action::PutObject, OBJECT, Request(None)), "nothing");
    assert_eq!(said(PUBLIC_READ, ann(), get, "arn:aws:s3:::books", Request(None)), "nothing");
    let account = PUBLIC_READ.replace("\"*\"", r#"{"AWS": "111122223333"}"#);
    assert_eq!((of(&account, ann()), of(&account, root())), ("account", "allow"));
    let deny_all_but_ann = r#"{"Effect": "Deny", "NotPrincipal": {"AWS":
        ["arn:aws:iam::111122223333:user/ann", "111122223333"]}, "NotAction": "s3:PutObject",
        "NotResource": "arn:aws:s3:::books/public/*"}"#;
    assert_eq!(of(deny_all_but_ann, ann()), "nothing");
    assert_eq!(of(deny_all_but_ann, root()), "nothing");
    assert_eq!(of(deny_all_but_ann, Asker::Anonymous), "deny");
    let nobody = Asker::Anonymous;
    assert_eq!(said(deny_all_but_ann, nobody, Action::PutObject, OBJECT, Request(None)), "nothing");
    let public = "arn:aws:s3:::books/public/x";
    assert_eq!(said(deny_all_but_ann, nobody, get, public, Request(None)), "nothing");
    // What is denied stays denied whatever else is allowed, in either order.
    let both = format!("{deny_all_but_ann}, {PUBLIC_READ}");
    assert_eq!((of(&both, nobody), of(&both, ann())), ("deny", "allow"));
    let both = format!("{PUBLIC_READ}, {deny_all_but_ann}");
    assert_eq!(of(&both, nobody), "deny");
}

#[test]
fn conditions_belong_to_their_statement() {
    let statement = PUBLIC_READ
        .replace("\"Action\"", r#""Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, "Action""#);
    let from = |address| {
        said(
            &statement,
            Asker::Anonymous,
            Action::GetObject,
            OBJECT,
            Request(Some(("aws:SourceIp", address))),
        )
    };
    assert_eq!((from("10.1.1.1"), from("11.1.1.1")), ("allow", "nothing"));
    let policy = |statement: &str| Policy::of_bucket(document(statement).as_bytes(), BUCKET).unwrap();
    assert!(!policy(&statement).asks_for_object_tags());
    let tagged =
        statement.replace("IpAddress", "StringEquals").replace("aws:SourceIp", "s3:ExistingObjectTag/x");
    assert!(policy(&tagged).asks_for_object_tags());
}

// tidy: table
#[test]
fn bucket_policies_that_are_refused() {
    let full = document(PUBLIC_READ);
    assert!(Policy::of_bucket(full.as_bytes(), BUCKET).is_ok());
    for (from, to, message) in [
        ("{\"Version", " {\"Version", "first byte"),
        ("\"x\", ", "\"x\", \"Id\": \"y\", ", "stands twice"),
        ("\"Id\": \"x\"", "\"Idd\": \"x\"", "Unknown field Idd"),
        ("\"Id\": \"x\"", "\"Id\": 1", "Id must be text"),
        ("2012-10-17", "2012-10-18", "valid version"),
        ("\"Statement\"", "\"statement\"", "Unknown field statement"),
        ("Allow", "allow", "Invalid effect"),
        ("\"Effect\": \"Allow\", ", "", "Missing required field Effect"),
        ("\"Principal\": \"*\", ", "", "Missing required field Principal"),
        ("\"Principal\": \"*\"", "\"Principal\": \"a\"", "Invalid principal"),
        ("\"Principal\"", "\"NotPrincipal\": \"*\", \"Principal\"", "exclude each other"),
        ("\"Action\": \"s3:GetObject\",", "", "Missing required field Action"),
        ("s3:GetObject", "s3:GetObjects", "invalid action"),
        ("s3:GetObject", "iam:GetUser", "invalid action"),
        ("s3:GetObject", "ec2:RunInstances", "invalid action"),
        ("s3:GetObject", "GetObject", "invalid action"),
        ("s3:GetObject", "s3:ListBucket", "does not apply"),
        ("\"s3:GetObject\"", "[]", "empty"),
        ("\"s3:GetObject\"", "[1]", "must be text"),
        ("\"Resource\": \"arn:aws:s3:::books/*\"", "\"Sid\": \"x\"", "Missing required field Resource"),
        (":::books/*", ":::other/*", "invalid resource"),
        (":::books/*", ":::book", "invalid resource"),
        ("arn:aws:s3:::books/*", "books/*", "invalid resource"),
        ("/*", "", "does not apply"),
        ("\"Resource\"", "\"Sid\": 1, \"Resource\"", "Sid"),
        ("\"Resource\"", "\"Extra\": 1, \"Resource\"", "Unknown field Extra"),
        ("\"Resource\"", "\"Condition\": {\"A\": {}, \"B\": 1}, \"Resource\"", "Condition B"),
        ("\"Resource\"", "\"Condition\": {\"StringEquals\": {\"s3:no\": 1}}, \"Resource\"", "condition key"),
    ] {
        let text = full.replacen(from, to, 1);
        assert_ne!(text, full, "{from}");
        let error = Policy::of_bucket(text.as_bytes(), BUCKET).expect_err(&text).to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    for text in ["", "{}", "[]", "null", r#"{"Statement": []}"#, r#"{"Statement": "x"}"#] {
        assert!(Policy::of_bucket(text.as_bytes(), BUCKET).is_err(), "{text}");
    }
    let long = full.replace("\"x\"", &format!("\"{}\"", "x".repeat(POLICY_BYTES_MAX)));
    assert!(Policy::of_bucket(long.as_bytes(), BUCKET).is_err());
}

#[test]
fn resources_of_a_bucket_policy_may_be_patterns_that_mean_it() {
    for resource in ["*", "arn:aws:s3:::*", "arn:aws:s3:::*/*", "arn:aws:s3:::boo?s/a", "arn:aws:s3:::books*"]
    {
        let text = document(&PUBLIC_READ.replace("arn:aws:s3:::books/*", resource));
        assert!(Policy::of_bucket(text.as_bytes(), BUCKET).is_ok(), "{resource}");
    }
}

#[test]
fn policies_of_users() {
    let of = |statement: &str| Policy::of_user(document(statement).as_bytes());
    let mine = r#"{"Sid": "a1", "Effect": "Allow", "Action": ["s3:*", "ec2:*"],
        "Resource": "arn:aws:s3:::home/${aws:username}/*"}"#;
    let policy = of(mine).unwrap();
    let context = Request(Some(("aws:username", "ann")));
    let ask = |resource: &str| {
        policy.judge(&Question { asker: ann(), action: Action::GetObject, resource }, &context).allows
    };
    assert!(ask("arn:aws:s3:::home/ann/x") && !ask("arn:aws:s3:::home/bob/x"));
    assert!(of(&format!("{mine}, {mine}")).is_err(), "one Sid twice");
    for (from, to) in [
        ("\"Effect\"", "\"Principal\": \"*\", \"Effect\""),
        ("a1", "a 1"),
        ("arn:aws:s3:::home", "home"),
        ("s3:*", "s3:Fly"),
        ("aws:username", "aws:usrname"),
    ] {
        assert!(of(&mine.replace(from, to)).is_err(), "{from}");
    }
}

#[test]
fn what_is_public() {
    let public =
        |statement: &str| Policy::of_bucket(document(statement).as_bytes(), BUCKET).unwrap().is_public();
    let with = |condition: &str| {
        public(&PUBLIC_READ.replace("\"Action\"", &format!("\"Condition\": {condition}, \"Action\"")))
    };
    assert!(public(PUBLIC_READ));
    assert!(!public(&PUBLIC_READ.replace("Allow", "Deny")));
    assert!(!public(&PUBLIC_READ.replace("\"*\"", r#"{"AWS": "111122223333"}"#)));
    let all_but_one =
        PUBLIC_READ.replace("\"Principal\": \"*\"", r#""NotPrincipal": {"AWS": "111122223333"}"#);
    assert!(Policy::of_bucket(document(&all_but_one).as_bytes(), BUCKET).is_err());
    assert!(!with(r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#));
    assert!(with(r#"{"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}}"#));
    assert!(with(r#"{"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#));
    assert!(with(r#"{"StringEquals": {"aws:Referer": "x"}}"#));
    assert!(!with(r#"{"StringEquals": {"aws:PrincipalAccount": "111122223333"}}"#));
    assert!(with(r#"{"StringLike": {"aws:PrincipalAccount": "1111*"}}"#));
    assert!(!with(r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:root"}}"#));
    assert!(with(r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:root"}}"#));
    assert!(with(r#"{"StringEqualsIfExists": {"aws:PrincipalAccount": "111122223333"}}"#));
    assert!(!with(r#"{"StringEquals": {"aws:userid": "111122223333"}}"#));
    assert!(with(r#"{"StringEquals": {"aws:userid": ["111122223333", "anonymous"]}}"#));
    assert!(with(r#"{"StringEqualsIgnoreCase": {"aws:userid": "Anonymous"}}"#));
}

/// Agents of 30,000 letters, as a head may have them.
struct LongAgent;

impl Context for LongAgent {
    fn values(&self, key: &Key) -> Values<'_> {
        Values::from((key.name() == "aws:UserAgent").then(|| Cow::Owned("a".repeat(30_000))))
    }
}

#[test]
fn a_policy_that_takes_too_long_denies() {
    let judge = |operator: &str, agents: &[String]| {
        let agents = agents.iter().map(|agent| format!("\"{agent}\"")).collect::<Vec<_>>().join(",");
        let condition =
            format!(r#""Condition": {{"{operator}": {{"aws:UserAgent": [{agents}]}}}}, "Action""#);
        let text = document(&PUBLIC_READ.replace("\"Action\"", &condition));
        let policy = Policy::of_bucket(text.as_bytes(), BUCKET).expect("it is a policy");
        let question = Question { asker: Asker::Anonymous, action: Action::GetObject, resource: OBJECT };
        policy.judge(&question, &LongAgent)
    };
    let long = || ["*".to_owned() + &"a".repeat(15_000) + "b"];
    assert!(judge("StringLike", &long()).denies);
    assert!(judge("StringNotLike", &long()).denies);
    assert!(judge("StringLike", &[format!("*{}b${{aws:UserAgent}}", "a".repeat(15_000))]).denies);
    // One after the other is as bad.
    let many: Vec<String> = (0..200).map(|at| format!("*{at}*b")).collect();
    assert!(judge("StringLike", &many).denies);
    // What people write, a policy's worth of it.
    let usual: Vec<String> =
        (0..200).map(|at| format!("Mozilla/5.{at}*")).chain(["*aa*".to_owned()]).collect();
    let opinion = judge("StringLike", &usual);
    assert!(opinion.allows && !opinion.denies);
}

/// Two keys of which one is not known yet.
struct Half;

impl Context for Half {
    fn values(&self, key: &Key) -> Values<'_> {
        Values::from((key.name == Name::Referer).then_some("r"))
    }

    fn open(&self) -> &'static [Name] {
        &[Name::LockDays]
    }
}

#[test]
fn what_is_not_known_yet_speaks_for_the_caller() {
    let of = |effect: &str, condition: &str, resource: &str| {
        let statement = format!(
            r#"{{"Effect": "{effect}", "Principal": "*", "Action": "s3:PutObjectRetention",
            "Resource": "arn:aws:s3:::books/{resource}", "Condition": {condition}}}"#
        );
        let policy = Policy::of_bucket(document(&statement).as_bytes(), BUCKET).expect(&statement);
        let (asker, action) = (Asker::Anonymous, Action::PutObjectRetention);
        let opinion = policy.judge(&Question { asker, action, resource: OBJECT }, &Half);
        opinion.allows || opinion.denies
    };
    let days = r#""NumericLessThan": {"s3:object-lock-remaining-retention-days": "10"}"#;
    let absent = r#""Null": {"s3:object-lock-remaining-retention-days": "true"}"#;
    let variable = r#""StringEquals": {"aws:Referer": "${s3:object-lock-remaining-retention-days}"}"#;
    for condition in [days, absent, variable] {
        assert!(of("Allow", &format!("{{{condition}}}"), "*"), "{condition}");
        assert!(!of("Deny", &format!("{{{condition}}}"), "*"), "{condition}");
    }
    // What is known decides all the same.
    for (referer, is_met) in [("r", true), ("x", false)] {
        let known = format!(r#""StringLike": {{"aws:Referer": "{referer}"}}"#);
        assert_eq!(of("Allow", &format!("{{{days}, {known}}}"), "*"), is_met);
        assert_eq!(of("Deny", &format!("{{{known}}}"), "*"), is_met);
        assert!(!of("Deny", &format!("{{{days}, {known}}}"), "*"));
    }
    let place = "${s3:object-lock-remaining-retention-days}";
    let always = r#"{"Null": {"aws:Referer": "false"}}"#;
    assert!(of("Allow", always, place) && !of("Deny", always, place));
    assert!(!of("Allow", always, "other"));
}

/// A key that is known either has a value somewhere, or is about what is not here, or cannot be set.
#[test]
fn what_could_not_be_told_is_refused_when_it_is_set() {
    let with = |key: &str| {
        let key = match Key::parse(key) {
            Some(_) => key.to_owned(),
            None => format!("{key}/t"),
        };
        let condition = format!(r#""Condition": {{"Null": {{"{key}": "true"}}}}, "Action""#);
        document(&PUBLIC_READ.replace("\"Action\"", &condition).replace("s3:GetObject", "s3:*"))
    };
    let bucket = |key: &str| Policy::of_bucket(with(key).as_bytes(), BUCKET).unwrap().check_applies();
    for name in Name::ALL {
        let refused = bucket(name.text()).is_err();
        assert_eq!(refused, name.origin() == Origin::Untold, "{name:?}");
    }
    assert_eq!(bucket("ec2:Region").unwrap_err().to_string(), "Policy has an invalid condition key");
    let user = |action: &str| {
        let text = format!(
            r#"{{"Statement": {{"Effect": "Allow", "Action": "{action}", "Resource":
            "arn:aws:s3:::b/${{aws:ResourceTag/t}}"}}, "Version": "2012-10-17"}}"#
        );
        Policy::of_user(text.as_bytes()).unwrap().check_told().map_err(|error| error.to_string())
    };
    let refused = "The condition key aws:ResourceTag is not supported by this server";
    assert_eq!(user("s3:GetObject"), Err(refused.to_owned()));
    assert_eq!(user("*"), Err(refused.to_owned()));
    assert_eq!(user("ec2:StartInstances"), Ok(()));
}
