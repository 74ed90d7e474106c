//! TLS by rustls: whom we trust, who we are, and what its errors mean.

use super::dial::Stream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError};
use rustls_pki_types::ServerName;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What TLS needs beside the system's roots. Paths name PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of authorities that are trusted as well.
    pub ca: Option<PathBuf>,
    /// The certificate that we show to a server that wants one (with its chain), and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What a TLS connection to the channel needs.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// Reads the system's roots and these files, blocking.
    ///
    /// # Errors
    /// When there is not a single root, or when a file can't be used.
    pub(super) fn new(files: &TlsFiles) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if let Some(path) = &files.ca {
            for certificate in certificates(path)? {
                let added = roots.add(certificate);
                added.map_err(|_| {
                    format!("--tls-ca-file: {} has a certificate that can't be trusted", path.display())
                })?;
            }
        }
        if roots.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(format!(
                "no root certificates were found on this system ({}); install your system's CA certificates \
                 package, set SSL_CERT_FILE, or name some with --tls-ca-file",
                reasons.join("; ")
            ));
        }
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots);
        let config = match &files.client {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("{} has no private key in PEM: {error}", key.display()))?;
                config
                    .with_client_auth_cert(certificates(certificate)?, private)
                    .map_err(|_| format!("{} isn't the key of {}", key.display(), certificate.display()))?
            }
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// ChannelBehaviour the handshake on a connection.
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

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let read = read.map_err(|error| format!("{shown} can't be read as PEM: {error}"))?;
    if read.is_empty() { Err(format!("{shown} has no certificate in PEM")) } else { Ok(read) }
}

/// What TLS has said, if that is what an error comes from.
pub(super) fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        // What an I/O error wraps isn't its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref());
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}

/// Whether the server refuses us for our certificate, or for want of one. By then it has not finished the handshake, and
/// nothing that was sent behind our part of it has been read (RFC 8446, 4.4.2.4 and 6.2).
pub(super) fn refuses_certificate(error: &(dyn Error + 'static)) -> bool {
    matches!(cause(error), Some(rustls::Error::AlertReceived(alert)) if is_about_certificate(*alert))
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::CertificateRequired
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
    )
}

/// Why a handshake failed, in words for people.
pub(super) fn words(error: &io::Error) -> String {
    cause(error).map_or_else(|| format!("TLS: {error}"), explain)
}

/// What it is, where it is, and what to do about it.
pub(super) fn explain(error: &rustls::Error) -> String {
    use CertificateError as C;
    match error {
        rustls::Error::InvalidCertificate(C::UnknownIssuer) => {
            "its certificate is from an authority that isn't trusted here; name that authority's certificate with \
             --tls-ca-file"
                .into()
        }
        rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            "its certificate is for other names than this one; use a name that the certificate has in --channel-url"
                .into()
        }
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            "its certificate has expired; renew it there, or set this machine's clock".into()
        }
        rustls::Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            "its certificate isn't valid yet; set this machine's clock, or the server's".into()
        }
        rustls::Error::InvalidCertificate(C::Revoked) => "its certificate was revoked; renew it there".into(),
        rustls::Error::InvalidCertificate(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "its certificate is an authority's own, which can't stand for a server; give the server one that is signed \
             by that authority (CA:FALSE), and name the authority's with --tls-ca-file"
                .into()
        }
        rustls::Error::InvalidCertificate(_) => {
            "its certificate can't be used; look at it with `openssl s_client -connect HOST:PORT`".into()
        }
        rustls::Error::AlertReceived(alert) if is_about_certificate(*alert) => {
            "it wants to see a client certificate that it accepts; name one with --tls-client-certificate and \
             --tls-client-key"
                .into()
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) | rustls::Error::PeerIncompatible(_) => {
            "it speaks no TLS 1.2 or 1.3 that is safe; update the server".into()
        }
        rustls::Error::InvalidMessage(_) => {
            "what listens there doesn't speak TLS; should --channel-url begin with http://, or name another port?"
                .into()
        }
        other => format!("TLS: {other}"),
    }
}
