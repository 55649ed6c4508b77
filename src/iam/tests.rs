//! The evaluator as a table, and against a naive model of AWS's rules.
//!
//! The table names who asks, what the bucket and the caller's own policy say, and who comes through. The
//! model spells the rules out case by case, over random worlds: whose bucket, whose object, which of the
//! policies allow or deny, which grants there are, what is blocked.

use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;

use super::acl;
use super::caller::{Caller, LOG_DELIVERY};
use super::judge::{ObjectSide, Wish};
use super::rules::Rules;
use crate::base::time::Nanos;
use crate::catalog::identity::{AccountValue, UserValue};
use crate::codec::policy::{Action, Context, Key, Values};
use crate::codec::xml::{
    Acl, AclOwner, Grant, Grantee, Group, ObjectOwnership, Permission, PublicAccessBlock,
};
use crate::object::registry::identities::{Account, Identities, IdentityChange};
use crate::object::registry::settings::{BucketSettings, Policy};

const ONE: &str = "111111111111";
const TWO: &str = "222222222222";
const RESOURCE: &str = "arn:aws:s3:::books/k";

struct Nothing;

impl Context for Nothing {
    fn values(&self, _: &Key) -> Values<'_> {
        Values::None
    }
}

fn canonical(account: &str) -> String {
    account.repeat(6).split_at(64).0.to_owned()
}

fn account(id: &str) -> Account {
    let value = AccountValue {
        canonical: canonical(id),
        name: id.to_owned(),
        created: Nanos(0),
        disabled: false,
        keys: Vec::new(),
    };
    Account { id: id.to_owned(), value: Arc::new(value) }
}

fn root(id: &str) -> Caller {
    Caller::Root(Rc::new(account(id)))
}

/// A user with these statements as its policy.
fn user(of: &str, statements: &[String]) -> Caller {
    let all = Identities::default();
    all.apply(IdentityChange::Account(of.to_owned(), Some(account(of).value)));
    let policies = match statements {
        [] => Vec::new(),
        _ => vec![("p".to_owned(), document(statements))],
    };
    let value = UserValue {
        id: "AIDAX".to_owned(),
        path: "/".to_owned(),
        created: Nanos(0),
        keys: Vec::new(),
        policies,
    };
    all.apply(IdentityChange::User(of.to_owned(), "ann".to_owned(), Some(Arc::new(value))));
    Caller::User(all.user(of, "ann").expect("just made"))
}

fn document(statements: &[String]) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#, statements.join(","))
}

fn own(effect: &str) -> String {
    format!(r#"{{"Effect": "{effect}", "Action": "s3:*", "Resource": "*"}}"#)
}

/// A statement of the bucket's policy about everything in it.
fn of_bucket(effect: &str, principal: &str) -> String {
    format!(
        r#"{{"Effect": "{effect}", "Principal": {principal}, "Action": "s3:*",
            "Resource": ["arn:aws:s3:::books", "arn:aws:s3:::books/*"]}}"#
    )
}

fn aws(principal: &str) -> String {
    format!(r#"{{"AWS": "{principal}"}}"#)
}

/// The rules of a bucket of account ONE.
fn rules(statements: &[String], ownership: ObjectOwnership) -> Rules {
    let settings = BucketSettings {
        policy: (!statements.is_empty()).then(|| Policy { text: document(statements) }),
        ownership: Some(ownership),
        ..BucketSettings::default()
    };
    Rules::new("books", &canonical(ONE), &settings)
}

fn closed(statements: &[String]) -> Rules {
    rules(statements, ObjectOwnership::BucketOwnerEnforced)
}

fn allowed(caller: &Caller, action: Action, rules: &Rules, object: Option<&ObjectSide<'_>>) -> bool {
    Wish { caller, action, resource: RESOURCE, context: &Nothing }.is_allowed(rules, object)
}

fn reads(caller: &Caller, rules: &Rules) -> bool {
    allowed(caller, Action::GetObject, rules, None)
}

// tidy: table
#[test]
fn who_comes_through_by_policies() {
    let none: &[String] = &[];
    let (yes, no) = ([own("Allow")], [own("Deny")]);
    let ann_one = format!("arn:aws:iam::{ONE}:user/ann");
    let ann_two = format!("arn:aws:iam::{TWO}:user/ann");
    let lets = |principal: &str| vec![of_bucket("Allow", principal)];
    let everybody = lets("\"*\"");
    let refuses_all = vec![of_bucket("Deny", "\"*\""), of_bucket("Allow", "\"*\"")];
    for (caller, policy, expected, story) in [
        (root(ONE), vec![], true, "the owner's root"),
        (root(TWO), vec![], false, "a stranger's root"),
        (Caller::Anonymous, vec![], false, "nobody"),
        (user(ONE, none), vec![], false, "a user without rights"),
        (user(ONE, &yes), vec![], true, "a user with rights of its own"),
        (user(ONE, none), lets(&aws(&ann_one)), true, "a user the bucket names"),
        (user(ONE, none), lets(&aws(ONE)), false, "the account leaves it to its own policies"),
        (user(ONE, &yes), lets(&aws(ONE)), true, "and those allow it"),
        (user(ONE, none), everybody.clone(), true, "everybody is everybody"),
        (user(ONE, &no), everybody.clone(), false, "but who is denied"),
        (root(TWO), lets(&aws(TWO)), true, "another account"),
        (root(TWO), lets(&aws(ONE)), false, "another account than is named"),
        (user(TWO, none), lets(&aws(TWO)), false, "its users need their own rights"),
        (user(TWO, &yes), lets(&aws(TWO)), true, "and have them"),
        (user(TWO, none), lets(&aws(&ann_two)), false, "named, but without own rights"),
        (user(TWO, &yes), lets(&aws(&ann_two)), true, "named, with own rights"),
        (user(TWO, &yes), lets(&aws(&ann_one)), false, "one of the same name elsewhere"),
        (user(TWO, &yes), vec![], false, "own rights do not open another's bucket"),
        (user(TWO, none), everybody.clone(), false, "even where it is public"),
        (Caller::Anonymous, everybody.clone(), true, "nobody, where it is public"),
        (Caller::Anonymous, lets(&aws(TWO)), false, "nobody is in no account"),
        (root(ONE), refuses_all.clone(), false, "a denial for all is for the owner too"),
        (user(ONE, &yes), refuses_all.clone(), false, "and for its users"),
        (Caller::Anonymous, refuses_all, false, "and wins over what is allowed"),
        (root(ONE), vec![of_bucket("Deny", &aws(TWO))], true, "another's denial"),
        (Caller::Service(LOG_DELIVERY), everybody, true, "a service is one of everybody"),
        (
            Caller::Service(LOG_DELIVERY),
            lets(r#"{"Service": "logging.s3.amazonaws.com"}"#),
            true,
            "a service that is named",
        ),
    ] {
        assert_eq!(reads(&caller, &closed(&policy)), expected, "{story}");
    }
}

#[test]
fn the_owners_root_mends_a_policy_and_nobody_else_does() {
    let locked = closed(&[of_bucket("Deny", "\"*\"")]);
    let may = |caller: &Caller, action| allowed(caller, action, &locked, None);
    assert!(may(&root(ONE), Action::PutBucketPolicy) && may(&root(ONE), Action::DeleteBucketPolicy));
    assert!(
        !may(&root(ONE), Action::PutBucketAcl) && !may(&user(ONE, &[own("Allow")]), Action::PutBucketPolicy)
    );
    assert!(!may(&root(TWO), Action::DeleteBucketPolicy));
    let mut unreadable = closed(&[]);
    unreadable.unreadable = true;
    assert!(!reads(&root(ONE), &unreadable));
    assert!(allowed(&root(ONE), Action::PutBucketPolicy, &unreadable, None));
}

#[test]
fn a_public_policy_is_for_the_owners_account_where_that_is_restricted() {
    let mut rules = closed(&[of_bucket("Allow", "\"*\"")]);
    rules.block.restrict_public_buckets = true;
    assert!(!reads(&Caller::Anonymous, &rules) && !reads(&root(TWO), &rules));
    assert!(reads(&user(ONE, &[]), &rules) && reads(&root(ONE), &rules));
    // A policy that names whom it lets in is not public.
    let mut rules = closed(&[of_bucket("Allow", &aws(TWO))]);
    rules.block.restrict_public_buckets = true;
    assert!(reads(&root(TWO), &rules));
}

fn grant(grantee: Grantee, permission: Permission) -> Grant {
    Grant { grantee, permission }
}

fn to(account: &str) -> Grantee {
    Grantee::User(AclOwner { id: canonical(account), display_name: None })
}

#[test]
fn who_comes_through_by_acls() {
    let mut rules = rules(&[], ObjectOwnership::ObjectWriter);
    let everyone = Grantee::Group(Group::AllUsers);
    let known = Grantee::Group(Group::AuthenticatedUsers);
    let owner = canonical(ONE);
    for (grants, caller, expected) in [
        (vec![], root(TWO), false),
        (vec![grant(to(TWO), Permission::Read)], root(TWO), true),
        (vec![grant(to(TWO), Permission::FullControl)], root(TWO), true),
        (vec![grant(to(TWO), Permission::ReadAcp)], root(TWO), false),
        (vec![grant(to(TWO), Permission::Read)], user(TWO, &[]), false),
        (vec![grant(to(TWO), Permission::Read)], user(TWO, &[own("Allow")]), true),
        (vec![grant(to(ONE), Permission::Read)], user(ONE, &[]), false),
        (vec![grant(everyone.clone(), Permission::Read)], Caller::Anonymous, true),
        (vec![grant(everyone.clone(), Permission::Write)], Caller::Anonymous, false),
        (vec![grant(everyone.clone(), Permission::Read)], user(ONE, &[]), true),
        (vec![grant(everyone.clone(), Permission::Read)], user(ONE, &[own("Deny")]), false),
        (vec![grant(known.clone(), Permission::Read)], Caller::Anonymous, false),
        (vec![grant(known, Permission::Read)], root(TWO), true),
    ] {
        let object = ObjectSide { owner: &owner, grants: &grants };
        assert_eq!(
            allowed(&caller, Action::GetObject, &rules, Some(&object)),
            expected,
            "{grants:?} {caller:?}"
        );
        rules.grants = Some(grants);
        assert_eq!(allowed(&caller, Action::ListBucket, &rules, None), expected, "{:?}", rules.grants);
    }
    let grants = [grant(everyone, Permission::Read)];
    let object = ObjectSide { owner: &owner, grants: &grants };
    rules.block.ignore_public_acls = true;
    assert!(!allowed(&Caller::Anonymous, Action::GetObject, &rules, Some(&object)));
    (rules.block, rules.ownership) = (PublicAccessBlock::default(), ObjectOwnership::BucketOwnerEnforced);
    assert!(!allowed(&Caller::Anonymous, Action::GetObject, &rules, Some(&object)));
}

#[test]
fn an_object_of_another_account_is_its_own() {
    let rules = rules(&[of_bucket("Allow", "\"*\"")], ObjectOwnership::ObjectWriter);
    let owner = canonical(TWO);
    let mut grants = Vec::new();
    let may = |caller: &Caller, grants: &[Grant]| {
        allowed(caller, Action::GetObject, &rules, Some(&ObjectSide { owner: &owner, grants }))
    };
    assert!(may(&root(TWO), &grants), "its owner");
    assert!(!may(&root(ONE), &grants) && !may(&Caller::Anonymous, &grants), "not the bucket's side");
    assert!(may(&user(TWO, &[own("Allow")]), &grants) && !may(&user(TWO, &[]), &grants));
    grants.push(grant(to(ONE), Permission::FullControl));
    assert!(may(&root(ONE), &grants) && !may(&Caller::Anonymous, &grants));
    // What is written into or removed from the bucket is the bucket's affair.
    assert!(allowed(&root(ONE), Action::DeleteObject, &rules, None));
}

/// A random world: everything that can matter to reading one object.
#[derive(Clone, Debug)]
struct World {
    /// 0: nobody, 1 and 2: roots, 3 and 4: users of ONE and TWO.
    caller: usize,
    own: (bool, bool),
    /// Of the bucket policy: what is allowed to everyone, to TWO, to ann of TWO; whether all are denied.
    policy: (bool, bool, bool, bool),
    acls: bool,
    of_two: bool,
    grants: (bool, bool),
    block: (bool, bool),
}

fn world() -> impl Strategy<Value = World> {
    (
        0usize..5,
        any::<(bool, bool)>(),
        any::<(bool, bool, bool, bool)>(),
        any::<(bool, bool)>(),
        any::<(bool, bool)>(),
        any::<(bool, bool)>(),
    )
        .prop_map(|(caller, own, policy, (acls, of_two), grants, block)| World {
            caller,
            own,
            policy,
            acls,
            of_two: acls && of_two,
            grants,
            block,
        })
}

/// The rules, spelled out.
fn model(world: &World) -> bool {
    let (own_allow, own_deny) = world.own;
    let (everyone, two, ann, deny) = world.policy;
    let is_user = world.caller >= 3;
    if deny || is_user && own_deny {
        return false;
    }
    let account = [0, 1, 2, 1, 2][world.caller];
    let own_side = !is_user || own_allow;
    let restricted = everyone && world.block.1 && account != 1;
    let policy_counts = !world.of_two && !restricted;
    let acl_everyone = world.acls && world.grants.0 && !world.block.0;
    let acl_two = world.acls && world.grants.1;
    let names_caller = policy_counts && (everyone || two && world.caller == 2 || ann && world.caller == 4)
        || acl_everyone
        || acl_two && world.caller == 2;
    let names_account = policy_counts && two && account == 2 || acl_two && account == 2;
    let home = if world.of_two { 2 } else { 1 };
    match account {
        0 => names_caller,
        account if account == home => own_side || names_caller,
        _ => own_side && (names_caller || names_account),
    }
}

fn judged(world: &World) -> bool {
    let (own_allow, own_deny) = world.own;
    let mut mine = Vec::new();
    mine.extend(own_allow.then(|| own("Allow")));
    mine.extend(own_deny.then(|| own("Deny")));
    let caller = match world.caller {
        0 => Caller::Anonymous,
        1 => root(ONE),
        2 => root(TWO),
        3 => user(ONE, &mine),
        _ => user(TWO, &mine),
    };
    let (everyone, two, ann, deny) = world.policy;
    let mut policy = Vec::new();
    policy.extend(everyone.then(|| of_bucket("Allow", "\"*\"")));
    policy.extend(two.then(|| of_bucket("Allow", &aws(TWO))));
    policy.extend(ann.then(|| of_bucket("Allow", &aws(&format!("arn:aws:iam::{TWO}:user/ann")))));
    policy.extend(deny.then(|| of_bucket("Deny", "\"*\"")));
    let ownership = match world.acls {
        true => ObjectOwnership::ObjectWriter,
        false => ObjectOwnership::BucketOwnerEnforced,
    };
    let mut rules = rules(&policy, ownership);
    (rules.block.ignore_public_acls, rules.block.restrict_public_buckets) = world.block;
    let mut grants = Vec::new();
    grants.extend(world.grants.0.then(|| grant(Grantee::Group(Group::AllUsers), Permission::Read)));
    grants.extend(world.grants.1.then(|| grant(to(TWO), Permission::Read)));
    let owner = canonical(if world.of_two { TWO } else { ONE });
    allowed(&caller, Action::GetObject, &rules, Some(&ObjectSide { owner: &owner, grants: &grants }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_evaluator_is_the_model(world in world()) {
        prop_assert_eq!(judged(&world), model(&world));
    }
}

#[test]
fn actions_and_permissions_of_acls() {
    assert_eq!(acl::of_bucket(Action::ListBucketVersions), Some(Permission::Read));
    assert_eq!(acl::of_bucket(Action::PutObject), Some(Permission::Write));
    assert_eq!(acl::of_bucket(Action::DeleteObject), Some(Permission::Write));
    for never in [
        Action::PutBucketPolicy,
        Action::DeleteObjectVersion,
        Action::AbortMultipartUpload,
        Action::ListMultipartUploadParts,
    ] {
        assert_eq!(acl::of_bucket(never), None, "{never:?}");
    }
    assert_eq!(acl::of_object(Action::GetObjectVersion), Some(Permission::Read));
    assert_eq!(acl::of_object(Action::PutObjectAcl), Some(Permission::WriteAcp));
    assert_eq!(acl::of_object(Action::GetObjectTagging), None);
    let private = Acl::private(AclOwner::default());
    assert!(!acl::is_public(&private.grants));
}
