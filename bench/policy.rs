//! Measures what deciding about one request costs: the evaluator alone, with a typical bucket policy and
//! a user's own, over one core.
//!
//! Run by hand: `cargo run --release --example policy [ROUNDS]`. It asserts nothing but that the decisions
//! are the expected ones; figures belong into the commit that claims them.

use std::borrow::Cow;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use basalt::base::time::Nanos;
use basalt::catalog::identity::{AccountValue, UserValue};
use basalt::codec::policy::{Action, Context, Key, Name, Values};
use basalt::codec::xml::ObjectOwnership;
use basalt::iam::Caller;
use basalt::iam::judge::Wish;
use basalt::iam::rules::Rules;
use basalt::object::registry::identities::{Identities, IdentityChange};
use basalt::object::registry::settings::{BucketSettings, Policy};

const ACCOUNT: &str = "111122223333";
const CANONICAL: &str = "c0ffee";

/// Two statements that apply to most requests and three that do not.
const BUCKET_POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::media", "arn:aws:s3:::media/*"],
     "Condition": {"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.168.0.0/16"]}}},
    {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::media/*",
     "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "AES256"}}},
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:user/ann"}, "Action": ["s3:GetObject"],
     "Resource": "arn:aws:s3:::media/home/${aws:username}/*"},
    {"Effect": "Allow", "Principal": {"AWS": ["444455556666", "777788889999"]}, "Action": "s3:GetObject*",
     "Resource": "arn:aws:s3:::media/shared/*"},
    {"Effect": "Allow", "Principal": {"AWS": "444455556666"}, "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::media",
     "Condition": {"StringLike": {"s3:prefix": "shared/*"}}}]}"#;

const USER_POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::media/work/*"},
    {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::media/work/secret/*"}]}"#;

struct Request;

impl Context for Request {
    fn values(&self, key: &Key) -> Values<'_> {
        Values::from(match key.name {
            Name::SourceIp => Some(Cow::Borrowed("10.20.30.40")),
            Name::UserName => Some(Cow::Borrowed("ann")),
            _ => None,
        })
    }
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(1_000_000u32);
    let (root, user) = callers();
    let plain = rules(None);
    let policy = rules(Some(BUCKET_POLICY));
    for (story, caller, rules, resource, expected) in [
        ("the owner's root, no policy", &root, &plain, "arn:aws:s3:::media/work/a/b/c.jpg", true),
        ("the owner's root, bucket policy", &root, &policy, "arn:aws:s3:::media/work/a/b/c.jpg", true),
        ("a user by its own policy", &user, &policy, "arn:aws:s3:::media/work/a/b/c.jpg", true),
        ("a user by the bucket's policy", &user, &policy, "arn:aws:s3:::media/home/ann/c.jpg", true),
        ("a user who may not", &user, &policy, "arn:aws:s3:::media/other/c.jpg", false),
        ("nobody, who may not", &Caller::Anonymous, &policy, "arn:aws:s3:::media/work/c.jpg", false),
    ] {
        let wish = Wish { caller, action: Action::GetObject, resource, context: &Request };
        let begun = Instant::now();
        for _ in 0..rounds {
            assert_eq!(black_box(&wish).is_allowed(black_box(rules), None), expected, "{story}");
        }
        let each = begun.elapsed().as_nanos() / u128::from(rounds.max(1));
        println!("{each:>6} ns  {story}");
    }
}

fn callers() -> (Caller, Caller) {
    let all = Identities::default();
    let (created, keys) = (Nanos(0), Vec::new());
    let (canonical, name) = (CANONICAL.to_owned(), "one".to_owned());
    let value = AccountValue { canonical, name, created, disabled: false, keys: keys.clone() };
    all.apply(IdentityChange::Account(ACCOUNT.to_owned(), Some(Arc::new(value))));
    let policies = vec![("inline".to_owned(), USER_POLICY.to_owned())];
    let value = UserValue { id: "AIDA".to_owned(), path: "/".to_owned(), created, keys, policies };
    all.apply(IdentityChange::User(ACCOUNT.to_owned(), "ann".to_owned(), Some(Arc::new(value))));
    let account: Rc<_> = all.account(ACCOUNT).expect("just made");
    (Caller::Root(account), Caller::User(all.user(ACCOUNT, "ann").expect("just made")))
}

fn rules(policy: Option<&str>) -> Rules {
    let settings = BucketSettings {
        policy: policy.map(|text| Policy { text: text.to_owned() }),
        ownership: Some(ObjectOwnership::BucketOwnerEnforced),
        ..BucketSettings::default()
    };
    let rules = Rules::new("media", CANONICAL, &settings);
    assert!(!rules.unreadable, "the policy is a good one");
    rules
}
