//! What the owner of a key decides, under the lock of the key.
//!
//! May use the catalog and the frame of `object`. Invariant: nothing here waits for a client, and a decision
//! takes effect only through the record that it ends in.

pub mod keylock;
pub mod condition;
pub mod commit;
pub mod traffic;
pub mod versions;
pub mod amend;
pub mod retention;
pub mod uploads;
pub mod list;
pub mod events;
