//! The world outside the process: files on drives, buffers, the clock, randomness, cores.
//!
//! Owns every `unsafe` block of the project and every mention of io_uring. May use `base` only.
//! Whatever stands above receives a [`world::World`] and asks it; nothing above calls the kernel for
//! disk, clock or randomness, so the whole engine also runs on the simulated world of [`sim`].
//!
//! A file operation takes one path: [`disk::File`] checks its arguments and finishes short transfers,
//! then a backend performs single operations: [`ring`] (io_uring), [`threads`] (a pool of threads,
//! where io_uring is denied) or [`sim`]. A buffer belongs to its operation until completion, also
//! when the caller stops waiting.

pub mod buffer;
pub mod disk;
pub mod runtime;
pub mod socket;
pub mod sim;
pub mod tls;
pub mod topology;
pub mod world;

mod kernel;
mod operation;
mod ring;
mod threads;

#[cfg(test)]
mod suite;
