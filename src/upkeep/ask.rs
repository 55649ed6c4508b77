//! How background work asks the owner of a shard for something: patiently, until the server stops.
//!
//! The owner finishes whatever it has accepted. A full inbox means that it is busy with clients, so the asker pauses
//! and tries again, and gives up with `SlowDown` only after that has gone on for seconds. May use `object::core`.

use std::rc::Rc;
use std::time::Duration;

use crate::base::ids::ShardId;
use crate::base::limits::{BUSY_PAUSE_MS, BUSY_TRIES_MAX};
use crate::object::core::Core;
use crate::object::error::ObjectError;
use crate::object::shard::Shard;

/// Asks the owner of a shard, again while its inbox is full.
pub async fn ask<T, F, W>(core: &Rc<Core>, shard: ShardId, work: W) -> Result<T, ObjectError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ObjectError>> + 'static,
    W: FnOnce(Rc<Shard>) -> F + Clone + Send + 'static,
{
    for _ in 0..BUSY_TRIES_MAX {
        if core.board.is_closing() {
            break;
        }
        match core.on_shard_whole(shard, work.clone()).await {
            Err(ObjectError::SlowDown) => pause().await,
            answer => return answer,
        }
    }
    Err(ObjectError::SlowDown)
}

/// Before an owner whose inbox was full is asked again.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(BUSY_PAUSE_MS)).await;
}
