//! TLS towards others: who is believed, and the handshake.
//!
//! Owns [`Trust`]. It is loaded once and shared by everybody who connects. Believed are the authorities of the system's
//! bundle and those of a file that the operator names; names and addresses of hosts are checked against their
//! certificates, and there is no way to leave that out. May use nothing of the project.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The authorities whose certificates are believed.
#[derive(Clone)]
pub struct Trust(TlsConnector);

impl Trust {
    /// `file` holds PEM certificates. An error says what would do, and leaves the name of the file to the caller.
    pub fn load(file: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = file {
            add_file(&mut roots, file)?;
        }
        // Bundles hold certificates that no library reads; what is left is enough, or the handshake tells.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(
                "the system has no certificates of authorities; name a file of them with --webhook-ca"
                    .to_owned(),
            );
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Trust(TlsConnector::from(Arc::new(config))))
    }

    /// Returns when the other end has shown that it is `host`, a name or an address.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let unreadable = |error| format!("{error}; name a file of PEM certificates");
    let certificates = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
    for certificate in certificates {
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    match roots.is_empty() {
        true => Err("there is no certificate in it; name a file of PEM certificates".to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let place = tempfile::tempdir().expect("a directory");
        let refusal = |path: &Path| Trust::load(Some(path)).err().expect("it is refused");
        let missing = place.path().join("missing.pem");
        assert!(refusal(&missing).contains("No such file"));
        let file = place.path().join("ca.pem");
        for (text, said) in [
            ("", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "PEM"),
        ] {
            std::fs::write(&file, text).expect("a file");
            assert!(refusal(&file).contains(said), "{text}");
        }
    }
}
