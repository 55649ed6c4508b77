//! The whole engine on a simulated world, against a naive model: what was acknowledged is there,
//! what was not is absent or whole, through power cuts at any write, lost drives and damage.
//!
//! One thread, paused time, everything from a seed.

mod harness;
mod cores;
mod crash;
mod ownership;
mod siege;
mod storm;
mod trouble;
mod starts;
mod events;
mod drives;
mod doubt;
mod unproven;
mod life;
mod repair;
mod evacuate;
mod log;
mod readers;
mod recovery;
mod settings;
mod space;
mod usage;
mod background;
mod versions;
mod inventory;
mod lifecycle;
