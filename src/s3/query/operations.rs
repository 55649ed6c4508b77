//! The actions of IAM and STS that are built, from their parameters to their answers.
//!
//! A line of the table for each. The resource of an action is the ARN of the user it is about, with the
//! path the user has. Actions on keys without a user name are about the caller's own.

use std::sync::Arc;

use super::super::auth::GLOBAL_REGION;
use super::answer::Answer;
use super::{Failure, Query, Result};
use crate::base::limits::{ACCESS_KEYS_PER_IDENTITY_MAX, USER_POLICY_CHARS_MAX, USERS_MAX};
use crate::base::time::Nanos;
use crate::catalog::identity::KeyValue;
use crate::catalog::keyuse::KeyUse;
use crate::codec::date::iso8601_ms;
use crate::codec::policy::Action;
use crate::codec::uri::encode_component;
use crate::codec::xml::XmlWriter;
use crate::iam::Caller;
use crate::iam::users::{self, KeyOwner, UserInfo};

const IAM_VERSION: &str = "2010-05-08";
const STS_VERSION: &str = "2011-06-15";

// tidy: table
pub(super) async fn dispatch(service: &str, mut query: Query<'_>) -> Result<Answer> {
    let action = query.form.need("Action")?;
    let version = query.form.take("Version");
    let wanted = if service == "sts" { STS_VERSION } else { IAM_VERSION };
    let query = &mut query;
    match (service, &*action) {
        (_, other) if version.as_deref() != Some(wanted) => Err(no_action(other, version.as_deref())),
        ("sts", "GetCallerIdentity") => caller_identity(query),
        ("iam", "CreateUser") => create_user(query).await,
        ("iam", "GetUser") => get_user(query),
        ("iam", "ListUsers") => list_users(query),
        ("iam", "UpdateUser") => update_user(query).await,
        ("iam", "DeleteUser") => delete_user(query).await,
        ("iam", "CreateAccessKey") => create_key(query).await,
        ("iam", "ListAccessKeys") => list_keys(query),
        ("iam", "UpdateAccessKey") => update_key(query).await,
        ("iam", "DeleteAccessKey") => delete_key(query).await,
        ("iam", "GetAccessKeyLastUsed") => last_use(query),
        ("iam", "GetAccountSummary") => summary(query),
        ("iam", "PutUserPolicy") => put_policy(query).await,
        ("iam", "GetUserPolicy") => get_policy(query),
        ("iam", "ListUserPolicies") => list_policies(query),
        ("iam", "DeleteUserPolicy") => delete_policy(query).await,
        // There are no groups and no managed policies yet, so no user has any.
        ("iam", "ListGroupsForUser") => list_nothing(query, Action::ListGroupsForUser, "Groups"),
        ("iam", "ListAttachedUserPolicies") => {
            list_nothing(query, Action::ListAttachedUserPolicies, "AttachedPolicies")
        }
        ("iam", "ListUserTags") => list_nothing(query, Action::ListUserTags, "Tags"),
        ("iam", "ListMFADevices") => list_nothing(query, Action::ListMFADevices, "MFADevices"),
        ("iam", "ListSSHPublicKeys") => list_nothing(query, Action::ListSSHPublicKeys, "SSHPublicKeys"),
        ("iam", "ListSigningCertificates") => {
            list_nothing(query, Action::ListSigningCertificates, "Certificates")
        }
        ("iam", "ListServiceSpecificCredentials") => {
            list_nothing(query, Action::ListServiceSpecificCredentials, "ServiceSpecificCredentials")
        }
        // Nor does an account have any, nor roles, nor providers of identities.
        ("iam", "ListGroups") => list_none(query, Action::ListGroups, "group", "Groups"),
        ("iam", "ListRoles") => list_none(query, Action::ListRoles, "role", "Roles"),
        ("iam", "ListPolicies") => list_none(query, Action::ListPolicies, "policy", "Policies"),
        ("iam", "ListInstanceProfiles") => {
            list_none(query, Action::ListInstanceProfiles, "instance-profile", "InstanceProfiles")
        }
        ("iam", "ListVirtualMFADevices") => {
            list_none(query, Action::ListVirtualMFADevices, "mfa", "VirtualMFADevices")
        }
        ("iam", "ListAccountAliases") => {
            list_none(query, Action::ListAccountAliases, "alias", "AccountAliases")
        }
        ("iam", "ListOpenIDConnectProviders") => {
            list_none(query, Action::ListOpenIDConnectProviders, "oidc-provider", "OpenIDConnectProviderList")
        }
        ("iam", "ListSAMLProviders") => {
            list_none(query, Action::ListSAMLProviders, "saml-provider", "SAMLProviderList")
        }
        (_, other) => Err(no_action(other, version.as_deref())),
    }
}

fn no_action(action: &str, version: Option<&str>) -> Failure {
    let message = format!(
        "Could not find operation {action} for version {}",
        version.unwrap_or("NO_VERSION_SPECIFIED")
    );
    Failure::new("InvalidAction", 400, message)
}

// ---- STS ----

/// Needs no permission.
fn caller_identity(query: &mut Query<'_>) -> Result<Answer> {
    query.form.end()?;
    let (account, caller) = (query.account()?.id.clone(), &query.identified.caller);
    let (arn, id) = (caller.arn().unwrap_or_default(), caller.id().to_owned());
    Ok(Answer::of("GetCallerIdentity", move |w| {
        w.text("Arn", &arn);
        w.text("UserId", &id);
        w.text("Account", &account);
    }))
}

// ---- Users ----

async fn create_user(query: &mut Query<'_>) -> Result<Answer> {
    let (name, path) =
        (query.form.need("UserName")?, query.form.take("Path").unwrap_or_else(|| "/".to_owned()));
    query.form.end()?;
    let account = query.account()?.id.clone();
    query.admit(Action::CreateUser, &format!("arn:aws:iam::{account}:user{path}{name}"))?;
    let user = users::create(&query.edge.store, &account, &name, &path).await?;
    Ok(Answer::of("CreateUser", move |w| write_user(w, "User", &user)))
}

fn get_user(query: &mut Query<'_>) -> Result<Answer> {
    let name = query.form.take("UserName").filter(|name| !name.is_empty()).or_else(|| query.own_name());
    query.form.end()?;
    let account = query.account()?.id.clone();
    let Some(name) = name else {
        query.admit(Action::GetUser, &format!("arn:aws:iam::{account}:root"))?;
        let created = query.account()?.value.created;
        return Ok(Answer::of("GetUser", move |w| write_root(w, &account, created)));
    };
    admit_user(query, Action::GetUser, &name)?;
    let user = users::get(&query.edge.store, &account, &name)?;
    Ok(Answer::of("GetUser", move |w| write_user(w, "User", &user)))
}

fn list_users(query: &mut Query<'_>) -> Result<Answer> {
    let prefix = query.form.take("PathPrefix").unwrap_or_else(|| "/".to_owned());
    let (marker, limit) = (query.form.take("Marker").unwrap_or_default(), query.form.limit()?);
    query.form.end()?;
    let account = query.account()?.id.clone();
    query.admit(Action::ListUsers, &format!("arn:aws:iam::{account}:user{prefix}"))?;
    let (found, more) = users::list(&query.edge.store, &account, &prefix, &marker, limit);
    Ok(Answer::of("ListUsers", move |w| {
        w.open("Users");
        found.iter().for_each(|user| write_user(w, "member", user));
        w.close("Users");
        write_more(w, found.last().filter(|_| more).map(|user| user.name.as_str()));
    }))
}

async fn update_user(query: &mut Query<'_>) -> Result<Answer> {
    let name = query.form.need("UserName")?;
    let (new_name, new_path) = (query.form.take("NewUserName"), query.form.take("NewPath"));
    query.form.end()?;
    let account = query.account()?.id.clone();
    admit_user(query, Action::UpdateUser, &name)?;
    if new_name.is_some() || new_path.is_some() {
        // Both the old and the new must be allowed.
        let path = match &new_path {
            Some(path) => path.clone(),
            None => users::get(&query.edge.store, &account, &name)?.value.path.clone(),
        };
        let next = new_name.as_deref().unwrap_or(&name);
        query.admit(Action::UpdateUser, &format!("arn:aws:iam::{account}:user{path}{next}"))?;
    }
    users::update(&query.edge.store, &account, &name, new_name.as_deref(), new_path.as_deref()).await?;
    Ok(Answer::empty("UpdateUser"))
}

async fn delete_user(query: &mut Query<'_>) -> Result<Answer> {
    let name = query.form.need("UserName")?;
    query.form.end()?;
    let account = admit_user(query, Action::DeleteUser, &name)?;
    users::delete(&query.edge.store, &account, &name).await?;
    Ok(Answer::empty("DeleteUser"))
}

// ---- Access keys ----

fn key_owner(query: &mut Query<'_>) -> Result<KeyOwner> {
    let user = query.form.take("UserName").or_else(|| query.own_name());
    Ok(KeyOwner { account: query.account()?.id.clone(), user })
}

fn admit_keys(query: &Query<'_>, action: Action, owner: &KeyOwner) -> Result<()> {
    match &owner.user {
        Some(name) => admit_user(query, action, name).map(drop),
        // A root's keys are the root's own affair.
        None if matches!(query.identified.caller, Caller::Root(_)) => Ok(()),
        None => query.admit(action, &format!("arn:aws:iam::{}:root", owner.account)),
    }
}

async fn create_key(query: &mut Query<'_>) -> Result<Answer> {
    let owner = key_owner(query)?;
    query.form.end()?;
    admit_keys(query, Action::CreateAccessKey, &owner)?;
    let user = owner.user.clone();
    let key = users::create_key(&query.edge.store, owner).await?;
    Ok(Answer::of("CreateAccessKey", move |w| {
        w.open("AccessKey");
        write_key(w, user.as_deref(), &key);
        w.text("SecretAccessKey", &key.secret);
        w.close("AccessKey");
    }))
}

fn list_keys(query: &mut Query<'_>) -> Result<Answer> {
    let owner = key_owner(query)?;
    let (marker, limit) = (query.form.take("Marker").unwrap_or_default(), query.form.limit()?);
    query.form.end()?;
    admit_keys(query, Action::ListAccessKeys, &owner)?;
    let keys = users::keys(&query.edge.store, &owner)?;
    let start = keys.iter().position(|key| key.id == marker).map_or(0, |at| at + 1);
    let page: Vec<KeyValue> = keys.iter().skip(start).take(limit).cloned().collect();
    let more = start + page.len() < keys.len();
    Ok(Answer::of("ListAccessKeys", move |w| {
        w.open("AccessKeyMetadata");
        for key in &page {
            w.open("member");
            write_key(w, owner.user.as_deref(), key);
            w.close("member");
        }
        w.close("AccessKeyMetadata");
        write_more(w, page.last().filter(|_| more).map(|key| key.id.as_str()));
    }))
}

async fn update_key(query: &mut Query<'_>) -> Result<Answer> {
    let (owner, id, status) =
        (key_owner(query)?, query.form.need("AccessKeyId")?, query.form.need("Status")?);
    query.form.end()?;
    admit_keys(query, Action::UpdateAccessKey, &owner)?;
    let active = match &*status {
        "Active" => true,
        "Inactive" => false,
        _ => return Err(Failure::new("ValidationError", 400, "Status must be Active or Inactive")),
    };
    users::set_key_active(&query.edge.store, owner, &id, active).await?;
    Ok(Answer::empty("UpdateAccessKey"))
}

async fn delete_key(query: &mut Query<'_>) -> Result<Answer> {
    let (owner, id) = (key_owner(query)?, query.form.need("AccessKeyId")?);
    query.form.end()?;
    admit_keys(query, Action::DeleteAccessKey, &owner)?;
    users::delete_key(&query.edge.store, owner, &id).await?;
    Ok(Answer::empty("DeleteAccessKey"))
}

/// Who may not know about a key is not told whether there is one.
fn last_use(query: &mut Query<'_>) -> Result<Answer> {
    let id = query.form.need("AccessKeyId")?;
    query.form.end()?;
    let account = query.account()?.id.clone();
    let found = users::last_use(&query.edge.store, &account, &id);
    let owner = KeyOwner { account, user: found.as_ref().and_then(|(user, _)| user.clone()) };
    admit_keys(query, Action::GetAccessKeyLastUsed, &owner)?;
    let Some((user, last)) = found else {
        return Err(query.refusal(Action::GetAccessKeyLastUsed, &format!("access key {id}")));
    };
    let region = query.edge.settings.region.clone();
    Ok(Answer::of("GetAccessKeyLastUsed", move |w| {
        w.optional("UserName", user.as_deref());
        w.open("AccessKeyLastUsed");
        if let Some(last) = last {
            w.text("LastUsedDate", &iso8601_ms(last.at));
        }
        w.text("ServiceName", last.map_or("N/A", |last| last.service.name()));
        let used = |last: KeyUse| if last.global { GLOBAL_REGION } else { &region };
        w.text("Region", last.map_or("N/A", used));
        w.close("AccessKeyLastUsed");
    }))
}

/// What there is of an account, and what there may be. What is not built is not there.
fn summary(query: &mut Query<'_>) -> Result<Answer> {
    query.form.end()?;
    let account = query.account()?;
    query.admit(Action::GetAccountSummary, "*")?;
    let users = query.edge.store.identities().users(&account.id, "").len();
    let figures = [
        ("Users", users),
        ("UsersQuota", USERS_MAX),
        ("AccountAccessKeysPresent", account.value.keys.iter().filter(|key| key.active).count().min(1)),
        ("AccessKeysPerUserQuota", ACCESS_KEYS_PER_IDENTITY_MAX),
        ("UserPolicySizeQuota", USER_POLICY_CHARS_MAX),
        ("Groups", 0),
        ("Policies", 0),
        ("AttachedPoliciesPerUserQuota", 0),
        ("GroupsPerUserQuota", 0),
        ("AccountMFAEnabled", 0),
    ];
    Ok(Answer::of("GetAccountSummary", move |w| {
        w.open("SummaryMap");
        for (name, figure) in figures {
            w.open("entry");
            w.text("key", name);
            w.number("value", figure as u64);
            w.close("entry");
        }
        w.close("SummaryMap");
    }))
}

// ---- Inline policies ----

async fn put_policy(query: &mut Query<'_>) -> Result<Answer> {
    let (user, name) = (query.form.need("UserName")?, query.form.need("PolicyName")?);
    let document = query.form.need("PolicyDocument")?;
    query.form.end()?;
    let account = admit_user(query, Action::PutUserPolicy, &user)?;
    users::put_policy(&query.edge.store, &account, &user, &name, &document).await?;
    Ok(Answer::empty("PutUserPolicy"))
}

fn get_policy(query: &mut Query<'_>) -> Result<Answer> {
    let (user, name) = (query.form.need("UserName")?, query.form.need("PolicyName")?);
    query.form.end()?;
    let account = admit_user(query, Action::GetUserPolicy, &user)?;
    let document = users::policy(&query.edge.store, &account, &user, &name)?;
    Ok(Answer::of("GetUserPolicy", move |w| {
        w.text("UserName", &user);
        w.text("PolicyName", &name);
        // RFC 3986, as the API has it.
        w.text("PolicyDocument", &encode_component(&document));
    }))
}

fn list_policies(query: &mut Query<'_>) -> Result<Answer> {
    let user = query.form.need("UserName")?;
    let (marker, limit) = (query.form.take("Marker").unwrap_or_default(), query.form.limit()?);
    query.form.end()?;
    let account = admit_user(query, Action::ListUserPolicies, &user)?;
    let value = users::get(&query.edge.store, &account, &user)?.value;
    let mut names: Vec<String> =
        value.policies.iter().map(|(name, _)| name.clone()).filter(|name| *name > marker).collect();
    let more = names.len() > limit;
    names.truncate(limit);
    Ok(Answer::of("ListUserPolicies", move |w| {
        w.open("PolicyNames");
        names.iter().for_each(|name| w.text("member", name));
        w.close("PolicyNames");
        write_more(w, names.last().filter(|_| more).map(String::as_str));
    }))
}

async fn delete_policy(query: &mut Query<'_>) -> Result<Answer> {
    let (user, name) = (query.form.need("UserName")?, query.form.need("PolicyName")?);
    query.form.end()?;
    let account = admit_user(query, Action::DeleteUserPolicy, &user)?;
    users::delete_policy(&query.edge.store, &account, &user, &name).await?;
    Ok(Answer::empty("DeleteUserPolicy"))
}

/// Of a user, or of the caller where none is named.
fn list_nothing(query: &mut Query<'_>, action: Action, list: &'static str) -> Result<Answer> {
    let needed =
        matches!(action, Action::ListGroupsForUser | Action::ListAttachedUserPolicies | Action::ListUserTags);
    let user = match needed {
        true => Some(query.form.need("UserName")?),
        false => query.form.take("UserName").or_else(|| query.own_name()),
    };
    let _ = query.form.take("ServiceName");
    end_of_list(query)?;
    match &user {
        Some(user) => {
            let account = admit_user(query, action, user)?;
            users::get(&query.edge.store, &account, user)?;
        }
        None => query.admit(action, &format!("arn:aws:iam::{}:root", query.account()?.id))?,
    }
    Ok(empty_list(action, list))
}

/// Of the account.
fn list_none(query: &mut Query<'_>, action: Action, kind: &str, list: &'static str) -> Result<Answer> {
    for filter in ["Scope", "OnlyAttached", "PolicyUsageFilter", "AssignmentStatus"] {
        let _ = query.form.take(filter);
    }
    let prefix = query.form.take("PathPrefix").unwrap_or_else(|| "/".to_owned());
    end_of_list(query)?;
    query.admit(action, &format!("arn:aws:iam::{}:{kind}{prefix}", query.account()?.id))?;
    Ok(empty_list(action, list))
}

/// Which part of a list is meant makes no difference where there is nothing.
fn end_of_list(query: &mut Query<'_>) -> Result<()> {
    let _ = (query.form.take("Marker"), query.form.limit()?, query.form.take("PathPrefix"));
    query.form.end()
}

fn empty_list(action: Action, list: &'static str) -> Answer {
    let name = action.name().strip_prefix("iam:").unwrap_or_default();
    Answer::of(name, move |w| {
        w.open(list);
        w.close(list);
        write_more(w, None);
    })
}

// ---- Shared ----

/// Judges an action on a user, there or not, and gives the account.
fn admit_user(query: &Query<'_>, action: Action, name: &str) -> Result<String> {
    users::check_asked_name(name)?;
    let account = query.account()?.id.clone();
    let arn = match users::get(&query.edge.store, &account, name) {
        Ok(user) => user.arn,
        Err(_) => format!("arn:aws:iam::{account}:user/{name}"),
    };
    query.admit(action, &arn)?;
    Ok(account)
}

fn write_user(w: &mut XmlWriter, element: &str, user: &UserInfo) {
    let value = Arc::clone(&user.value);
    w.open(element);
    w.text("Path", &value.path);
    w.text("UserName", &user.name);
    w.text("UserId", &value.id);
    w.text("Arn", &user.arn);
    w.text("CreateDate", &iso8601_ms(value.created));
    w.close(element);
}

fn write_root(w: &mut XmlWriter, account: &str, created: Nanos) {
    w.open("User");
    w.text("Path", "/");
    w.text("UserName", "root");
    w.text("UserId", account);
    w.text("Arn", &format!("arn:aws:iam::{account}:root"));
    w.text("CreateDate", &iso8601_ms(created));
    w.close("User");
}

fn write_key(w: &mut XmlWriter, user: Option<&str>, key: &KeyValue) {
    w.optional("UserName", user);
    w.text("AccessKeyId", &key.id);
    w.text("Status", if key.active { "Active" } else { "Inactive" });
    w.text("CreateDate", &iso8601_ms(key.created));
}

fn write_more(w: &mut XmlWriter, marker: Option<&str>) {
    w.boolean("IsTruncated", marker.is_some());
    w.optional("Marker", marker);
}
