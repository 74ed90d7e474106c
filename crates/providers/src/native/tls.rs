//! TLS by rustls with the system's roots.

use super::dial::Stream;
use rustls_pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a TLS connection to the channel needs.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// Reads the system's roots.
    ///
    /// # Errors
    /// When there is not a single one.
    pub(super) fn with_system_roots() -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(format!(
                "no root certificates were found on this system ({}); install your system's CA certificates \
                 package, or set SSL_CERT_FILE",
                reasons.join("; ")
            ));
        }
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots)
                .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Does the handshake on a connection.
    pub(super) async fn connect(
        &self,
        host: &str,
        plain: Box<dyn Stream>,
    ) -> io::Result<TlsStream<Box<dyn Stream>>> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| io::Error::other(error.to_string()))?;
        self.connector.connect(name, plain).await
    }
}
