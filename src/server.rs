//! Stand-in for the server, so that the command line compiles on its own: it refuses to start. The real
//! one builds every layer bottom-up and runs the cores.

use crate::config::Config;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[error("this build has no server in it")]
pub struct StartError;

/// Serves until told to stop.
pub fn run(_config: Config) -> Result<(), StartError> {
    Err(StartError)
}
