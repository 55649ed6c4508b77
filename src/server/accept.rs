//! Takes connections and deals each to the core with the fewest.
//!
//! Bounded: at the configured number of connections the one that has been silent for longest makes way for a new
//! one. Where none does in time, or when a core does not take over what it was given, a connection is closed at once
//! and counted.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::Facts;
use crate::base::limits::{ACCEPT_BACKLOG, CONNECTIONS_CLOSING_MAX};

/// Pause after a failed accept: usually too many open files, which passes when one closes.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes the address, so that a second server fails before it touches a drive; nobody can connect
/// before `listen`.
pub fn bind(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

pub fn listen(socket: Socket) -> std::io::Result<TcpListener> {
    socket.listen(ACCEPT_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until dropped.
pub async fn run(listener: TcpListener, cores: Vec<mpsc::Sender<std::net::TcpStream>>, facts: &Facts) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Ok(stream) = stream.into_std() {
                    deal(stream, &cores, facts);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn deal(stream: std::net::TcpStream, cores: &[mpsc::Sender<std::net::TcpStream>], facts: &Facts) {
    let open = |index: &usize| facts.connections[*index].load(Ordering::Relaxed);
    let total: usize = (0..cores.len()).map(|index| open(&index)).sum();
    let least = (0..cores.len()).min_by_key(open).expect("there is a core");
    let is_taken = total < facts.config.connections_max + CONNECTIONS_CLOSING_MAX && {
        // Counted first: the core counts it out again, as soon as it has it.
        facts.connections[least].fetch_add(1, Ordering::Relaxed);
        let is_sent = cores[least].try_send(stream).is_ok();
        facts.connections[least].fetch_sub(usize::from(!is_sent), Ordering::Relaxed);
        is_sent
    };
    facts.refused.fetch_add(usize::from(!is_taken), Ordering::Relaxed);
    if total >= facts.config.connections_max {
        // One for each that comes: whoever has been silent for longest makes way.
        let most = (0..cores.len()).max_by_key(open).expect("there is a core");
        facts.crowded[most].add_permits(1);
    }
}
