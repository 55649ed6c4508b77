//! Who is calling and what they may do.
//!
//! Accounts and users are records of the catalog (`object::registry::identities`); here is how they are made and
//! changed (`accounts`, `users`), who a request comes from (`caller`), what an ACL says (`acl`), what a
//! bucket lays down (`rules`), whom its policy names (`principals`), what the server itself may write
//! (`delivery`), and the one place that decides (`judge`). Policies are `codec::policy`. Groups, roles, managed
//! policies and sessions come later: a group or a managed policy adds policies to a
//! caller, a role is one more kind of caller; the evaluator stays as it is.
//!
//! Nothing here knows HTTP; what a policy may ask of a request comes through `codec::policy::Context`.

pub mod accounts;
pub mod acl;
pub mod caller;
pub mod delivery;
pub mod judge;
pub mod principals;
pub mod rules;
pub mod secret;
pub mod users;

#[cfg(test)]
mod tests;

pub use caller::Caller;

use crate::object::error::ObjectError;

/// Why something about accounts or users is refused, in the words of the IAM API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IamError {
    #[error("{0}")]
    NoSuchEntity(String),
    #[error("{0}")]
    EntityAlreadyExists(String),
    #[error("{0}")]
    DeleteConflict(&'static str),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0}")]
    MalformedPolicyDocument(String),
    #[error("{0}")]
    ValidationError(String),
    #[error(transparent)]
    Store(#[from] ObjectError),
}

pub type Result<T> = std::result::Result<T, IamError>;
