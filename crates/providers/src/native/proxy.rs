//! By way of an HTTP proxy: a tunnel that it opens (`CONNECT`, RFC 9110, 9.3.6). All of the exchange goes through that,
//! so that whatever the proxy says instead comes before the gate.

use super::base::{BaseUrl, BaseUrlError};
use super::dial::{Dial, Stream, is_own_shortage};
use crate::provider::BoxFuture;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

/// Most bytes of what a proxy says before its tunnel is open, informational replies (1xx) included.
const MOST_HEAD_BYTES: usize = 16 * 1024;
/// Most headers of such a reply.
const MOST_HEADERS: usize = 100;

/// Where an HTTP proxy is, and who we are there. Shown without credentials.
#[derive(Clone)]
pub struct Proxy(BaseUrl);

impl Proxy {
    /// Reads `http://[user:password@]host[:port]`. The port is 80 if none is named.
    ///
    /// # Errors
    /// Says what is missing or not allowed.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let url = Url::parse(text.trim()).map_err(|error| {
            BaseUrlError::new(format!("must be like http://127.0.0.1:3128, isn't a URL: {error}"))
        })?;
        let message = match url.scheme() {
            "http" if matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none() => {
                return BaseUrl::parse(text).map(Self);
            }
            "http" => "must have nothing behind host and port; credentials stand before the host, \
                       percent-encoded (%40 for @, %2F for /)"
                .to_owned(),
            "https" => "must start with http://: TLS to a proxy itself isn't spoken (what goes through it to an https \
                        channel is encrypted all the same)"
                .to_owned(),
            other => format!("must start with http://, starts with {other}:"),
        };
        Err(BaseUrlError::new(message))
    }

    /// `http://host[:port]`: what people see.
    pub fn shown(&self) -> String {
        self.0.origin()
    }

    /// Replaces its credentials by `***`.
    pub(super) fn redact(&self, text: &str) -> String {
        self.0.redact(text)
    }

    /// What it means that the proxy answered this, and what to do.
    fn refusal(&self, status: u16) -> String {
        match status {
            407 if self.0.basic().is_none() => {
                "wants credentials (407); give them in --proxy, as http://USER:PASSWORD@HOST:PORT".into()
            }
            407 => "doesn't accept the credentials in --proxy (407); correct them there".into(),
            500..=599 => {
                format!("can't reach it ({status}); see at the proxy whether that name and port are right")
            }
            _ => format!(
                "opens no tunnel to it ({status}); allow CONNECT to that host and port there, or name another --proxy"
            ),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Makes connections by way of a proxy.
pub(super) struct Tunnels {
    proxy: Proxy,
    dialer: Arc<dyn Dial>,
}

impl Tunnels {
    /// The proxy itself is dialled by `dialer`.
    pub(super) fn new(proxy: Proxy, dialer: Arc<dyn Dial>) -> Self {
        Self { proxy, dialer }
    }

    async fn open(&self, host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        let says =
            |what: &dyn fmt::Display| io::Error::other(format!("the proxy {} {what}", self.proxy.shown()));
        let base = &self.proxy.0;
        let mut stream = self.dialer.dial(base.host(), base.port()).await.map_err(|error| {
            if is_own_shortage(&error) { error } else { says(&format!("can't be connected to: {error}")) }
        })?;
        let asked = self.ask(&mut stream, host, port).await;
        match asked.map_err(|error| says(&error))? {
            200..=299 => Ok(stream),
            status => Err(says(&self.proxy.refusal(status))),
        }
    }

    /// Asks for a tunnel; the status of what the proxy says to that. What comes behind it stays unread.
    async fn ask(&self, stream: &mut Box<dyn Stream>, host: &str, port: u16) -> Result<u16, String> {
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
        if let Some(basic) = self.proxy.0.basic() {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(basic.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await.map_err(|error| cut(&error))?;
        stream.flush().await.map_err(|error| cut(&error))?;
        let mut left = MOST_HEAD_BYTES;
        loop {
            match status(&head(stream, &mut left).await?)? {
                100 | 102..=199 => {}
                status => return Ok(status),
            }
        }
    }
}

impl Dial for Tunnels {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(self.open(host, port))
    }
}

/// Reads one reply's head, of at most `left` bytes, which become fewer.
///
/// Byte by byte: what stands behind it isn't the proxy's, and in the stream it is seen for what it is, bytes that
/// nobody has asked for.
async fn head(stream: &mut Box<dyn Stream>, left: &mut usize) -> Result<Vec<u8>, String> {
    const BEGINS: &[u8] = b"HTTP/1.";
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\n\r\n") && !head.ends_with(b"\n\n") {
        *left = left
            .checked_sub(1)
            .ok_or_else(|| format!("says more than {MOST_HEAD_BYTES} bytes instead of opening a tunnel"))?;
        head.push(stream.read_u8().await.map_err(|error| cut(&error))?);
        if head.iter().zip(BEGINS).any(|(is, begins)| is != begins) {
            return Err(no_proxy());
        }
    }
    Ok(head)
}

fn status(head: &[u8]) -> Result<u16, String> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut reply = httparse::Response::new(&mut headers);
    match reply.parse(head) {
        Ok(httparse::Status::Complete(_)) => reply.code.ok_or_else(no_proxy),
        _ => Err(no_proxy()),
    }
}

fn no_proxy() -> String {
    "doesn't answer as an HTTP proxy does; does --proxy name one?".into()
}

fn cut(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        "closed the connection instead of opening a tunnel".into()
    } else {
        format!("broke the connection off instead of opening a tunnel: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_http_address_and_nothing_more() {
        let proxy = Proxy::parse(" http://ann:p%40ss@proxy.example:3128/ ").unwrap();
        assert_eq!((proxy.0.host(), proxy.0.port()), ("proxy.example", 3128));
        assert_eq!(format!("{proxy:?}"), "http://proxy.example:3128");
        assert_eq!(Proxy::parse("http://[::1]").unwrap().shown(), "http://[::1]");
        for (text, says) in [
            ("https://proxy.example", "TLS to a proxy itself"),
            ("socks5://proxy.example", "starts with socks5:"),
            ("127.0.0.1:3128", "isn't a URL"),
            ("http://", "isn't a URL"),
            ("http://proxy.example/path", "behind host and port"),
            ("http://ann:p#ss@proxy.example", "isn't a URL"),
            ("http://proxy.example?x", "behind host and port"),
        ] {
            let error = Proxy::parse(text).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("ss"), "{text}: {error}");
        }
    }
}
