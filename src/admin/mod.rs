//! The operator edge: everything under `/-/`, and the commands that look at a store from outside.
//!
//! May use every layer below it, and nothing of `config` or `server`: what it needs is passed in as plain
//! values and functions. Holds no state of its own; figures are asked for when somebody wants them.

pub mod credentials;
