//! Room for the system, taken back from the file system whenever there is some.
//!
//! One task of the process, on one core. Uses `Pool::restock`; what the room is for stands in `pool::ballast`.
//! Invariant: an error here changes nothing but how much is held.

use std::rc::Rc;
use std::time::Duration;

use crate::object::core::Core;

/// How often there may be something to take back.
const TICK: Duration = Duration::from_secs(1);

/// Holds room on every drive, until the server stops.
pub async fn keep_ballast(core: Rc<Core>) {
    while !core.board.is_closing() {
        core.pool.restock().await;
        let _ = tokio::time::timeout(TICK, core.board.closes()).await;
    }
}
