//! Changing what is attached to a version: its tags, its lock, its ACL.
//!
//! A client may send its document as slowly as it likes, and meanwhile the version may become another one. So the
//! caller is judged again when the document is there, by the rules and on the version of that moment, and the store
//! changes only what gives the same grounds for the judgement; otherwise all of it is done again. May use
//! `s3::authorize`, `object::decisions::amend`.

use super::authorize;
use super::error::{Code, Result};
use super::facts::Said;
use super::service::Call;
use super::versions::asked_version;
use crate::base::limits::AMEND_TRIES_MAX;
use crate::iam::rules::Rules;
use crate::object::decisions::amend::{Amendment, Grounds};
use crate::object::decisions::events::Cause;
use crate::object::error::ObjectError;
use crate::object::store::Object;

/// Gives the id of the version that was changed, in a bucket that is or was versioned. `amendment` makes the change
/// from the version as it is, and from the rules of the bucket.
pub(super) async fn amend(
    call: &Call<'_>,
    said: Said<'_>,
    cause: Cause,
    amendment: impl Fn(&Object, &Rules) -> Result<Amendment>,
) -> Result<Option<String>> {
    let id = asked_version(call.query);
    for _ in 0..AMEND_TRIES_MAX {
        let rules = call.edge.rules(call.bucket)?;
        let object = authorize::to_change(call, &rules, said).await?;
        let grounds = Grounds::of(&object.meta().attached);
        let amendment = amendment(&object, &rules)?;
        drop(object);
        let origin = call.origin(cause);
        match call.edge.store.amend(call.bucket, call.key, id, amendment, grounds, origin).await {
            Err(ObjectError::Outdated) => {}
            changed => return Ok(changed?),
        }
    }
    Err(Code::OperationAborted.into())
}
