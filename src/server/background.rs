//! One background thread: does what the data core beside it hands out, and the periodic work of the pool.
//!
//! It is niced, and may run on any of the processors that the server uses, wherever data threads leave time. It has a
//! runtime and a ring of its own, and ends when the server does.

use super::{Facts, Phase};
use crate::io::buffer;
use crate::io::runtime;
use crate::io::topology;
use crate::io::world::World;
use crate::object::open::BackgroundSeed;
use crate::object::tending::background;

/// The whole life of the thread.
pub fn run(facts: Facts, seed: BackgroundSeed, processors: &[usize]) {
    if let Err(error) = topology::confine(processors) {
        tracing::warn!(?processors, %error, "a background thread runs anywhere");
    }
    if let Err(error) = topology::lower_priority() {
        tracing::warn!(%error, "a background thread is as important as the others");
    }
    buffer::keep_some_of(facts.memory.background);
    runtime::run(facts.io, |world| live(world, facts, seed));
}

async fn live(world: World, facts: Facts, seed: BackgroundSeed) {
    let background = background::open_background(&world, seed, facts.memory);
    let core = background.core.clone();
    core.report_with(std::rc::Rc::new(super::core::background_reporter(&core)));
    let mut phase = facts.phase;
    // An error means that main is gone, which is as good a reason to stop.
    let _ = phase.wait_for(|phase| *phase >= Phase::Closing).await;
    background.shut_down().await;
}
