//! Word to systemd: ready, stopping, and a line of status, as sd_notify(3) describes.
//!
//! One datagram a message, to the socket that the configuration names; without one every call does nothing.
//! Nothing here can fail the server: a message that is not delivered is logged and forgotten.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
}

impl Notify {
    /// `socket` is the value of NOTIFY_SOCKET: a path, or `@` and an abstract name.
    pub fn new(socket: Option<&Path>) -> Notify {
        let to = socket.and_then(|path| match open(path.as_os_str()) {
            Ok(to) => Some(to),
            Err(error) => {
                tracing::warn!("cannot speak to the service manager at {}: {error}", path.display());
                None
            }
        });
        Notify { to }
    }

    /// The server can serve and commit.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// A stop has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// A line for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", text.replace('\n', " ")));
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!("the service manager did not get {message}: {error}");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not stop a start.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn receive(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_manager_hears_us_on_a_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let notify = Notify::new(Some(&path));
        notify.status("recovering\nlog");
        notify.ready();
        notify.stopping();
        let heard = [receive(&manager), receive(&manager), receive(&manager)];
        assert_eq!(heard, ["STATUS=recovering log", "READY=1", "STOPPING=1"]);
    }

    #[test]
    fn a_manager_hears_us_on_an_abstract_name() {
        let name = format!("basalt-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        Notify::new(Some(&PathBuf::from(format!("@{name}")))).ready();
        assert_eq!(receive(&manager), "READY=1");
    }

    #[test]
    fn nobody_listening_is_no_error() {
        Notify::new(None).ready();
        Notify::new(Some(Path::new("/nowhere/notify"))).ready();
        Notify::new(Some(Path::new(""))).ready();
    }
}
