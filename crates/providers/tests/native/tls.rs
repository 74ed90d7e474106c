//! TLS as the channel's server does it. The certificates are made for these tests and hold for a hundred years.

use crate::connections::GENEROUS;
use crate::support::{HandClock, attempt, job, provider_with_tls};
use commentd_contract::VerdictKind;
use commentd_delivery::Verdict;
use commentd_providers::native::TlsFiles;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto, version};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/native/tls").join(name)
}

pub fn trusting() -> TlsFiles {
    TlsFiles { ca: Some(path("ca.pem")), client: None }
}

/// A stream whose reads after the first wait once, as over a long way.
struct Slow {
    stream: TcpStream,
    reads: u32,
    pause: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads == 1 {
            let pause =
                self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(200))));
            ready!(pause.as_mut().poll(cx));
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.reads += 1;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A server with this certificate, which takes every comment; the address.
pub async fn server(certificate: &str, wants_client: bool, is_slow: bool) -> String {
    let ring = Arc::new(crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_file(path(&format!("{certificate}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(path(&format!("{certificate}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::clone(&ring))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap();
    let config = if wants_client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(path("ca.pem")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), ring).build().unwrap();
        config.with_client_cert_verifier(verifier)
    } else {
        config.with_no_client_auth()
    };
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            let stream = Slow { stream, reads: u32::from(!is_slow) * 2, pause: None };
            tokio::spawn(async move {
                match acceptor.accept(stream).into_fallible().await {
                    Ok(mut stream) => {
                        let mut inbox = Vec::new();
                        while !inbox.ends_with(b"}") && stream.read_buf(&mut inbox).await.unwrap_or(0) > 0 {}
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
                        let _ = stream.flush().await;
                        let _ = stream.read_buf(&mut inbox).await;
                    }
                    // Reads what comes, so that its own last words aren't lost to a reset.
                    Err((_, mut stream)) => while stream.read(&mut [0; 1024]).await.unwrap_or(0) > 0 {},
                }
            });
        }
    });
    url
}

async fn post(url: &str, files: &TlsFiles) -> Verdict {
    let clock = HandClock::default();
    let provider = provider_with_tls(url, files, &clock).unwrap();
    let job = job(1, 1, &clock);
    let attempted = pin!(attempt(&provider, &job));
    tokio::time::timeout(GENEROUS, attempted).await.unwrap()
}

#[tokio::test]
async fn a_server_that_misses_our_certificate_has_read_nothing() {
    for is_slow in [false, true] {
        let url = server("server", true, is_slow).await;
        let verdict = post(&url, &trusting()).await;
        assert_eq!(verdict.kind, VerdictKind::NotSent, "{verdict:?}");
        assert!(verdict.message.contains("--tls-client-certificate"), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_ones_own_and_an_authority_of_ones_own_are_used() {
    let files = TlsFiles { client: Some((path("client.pem"), path("client.key"))), ..trusting() };
    for wants_client in [true, false] {
        let verdict = post(&server("server", wants_client, false).await, &files).await;
        assert_eq!(verdict.kind, VerdictKind::Delivered, "{verdict:?}");
    }
}

#[tokio::test]
async fn why_a_server_is_not_trusted_is_said_with_what_to_do() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let not_tls = format!("https://localhost:{}", plain.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let own = TlsFiles { ca: Some(path("authority_as_server.pem")), client: None };
    for (url, files, says) in [
        (server("server", false, false).await, TlsFiles::default(), "--tls-ca-file"),
        (server("authority_as_server", false, false).await, own, "is an authority's own"),
        (not_tls, trusting(), "doesn't speak TLS"),
    ] {
        let verdict = post(&url, &files).await;
        assert_eq!(verdict.kind, VerdictKind::NotSent, "{verdict:?}");
        let words = &verdict.message;
        assert!(words.contains(says), "{words}");
        assert!(!words.contains("CaUsed") && !words.contains("UnknownIssuer"), "{words}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let clock = HandClock::default();
    for (files, named) in [
        (TlsFiles { ca: Some(path("none.pem")), client: None }, "none.pem"),
        (TlsFiles { ca: Some(path("server.key")), client: None }, "server.key has no certificate"),
        (TlsFiles { ca: None, client: Some((path("client.pem"), path("server.key"))) }, "isn't the key of"),
    ] {
        let error = provider_with_tls("https://localhost:1", &files, &clock).map(drop).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
}
