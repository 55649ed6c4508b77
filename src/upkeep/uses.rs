//! Writes down when access keys were last used.
//!
//! Requests only note it in memory. Here it is made durable every `KEY_USE_KEEP_SECONDS` and at a stop. So a kill
//! forgets the uses since the last write, and a store that nobody uses writes nothing. Runs on the core that owns the
//! identities.

use std::rc::Rc;
use std::time::Duration;

use crate::base::limits::KEY_USE_KEEP_SECONDS;
use crate::object::shard::Shard;

pub async fn keep_uses(shard: Rc<Shard>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(KEY_USE_KEEP_SECONDS)) => {}
            () = shard.log.over() => {}
        }
        if shard.log.is_stopped() {
            return;
        }
        if let Err(error) = shard.keep_uses().await {
            tracing::warn!(%error, "when access keys were last used is not written down");
        }
        if shard.log.is_over() {
            return;
        }
    }
}
