//! Streams to the channel, and what makes them.

use crate::provider::BoxFuture;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A byte stream to the channel, encrypted or not. Dropping it ends the connection, and what it hasn't sent by then
/// is never sent.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// What lies in it unread, asked of the system itself, because a read knows only what the runtime has heard of.
    /// Takes nothing out. [`Unread::Nothing`] where a read knows it all.
    fn unread(&self) -> Unread {
        Unread::Nothing
    }
}

/// What lies unread in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Nothing, so far.
    Nothing,
    /// A byte or more.
    Bytes,
    /// The stream's end.
    End,
}

impl Stream for TcpStream {
    fn unread(&self) -> Unread {
        match socket2::SockRef::from(self).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Unread::End,
            Ok(_) => Unread::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Unread::Nothing,
            Err(_) => Unread::End,
        }
    }
}

impl Stream for TlsStream<Box<dyn Stream>> {
    fn unread(&self) -> Unread {
        self.get_ref().0.unread()
    }
}

impl<S: Stream + ?Sized> Stream for Box<S> {
    fn unread(&self) -> Unread {
        (**self).unread()
    }
}

/// A stream in memory, for tests.
impl Stream for DuplexStream {}

/// Makes connections.
pub trait Dial: Send + Sync {
    /// Connects to this host (a name, or an address; IPv6 in brackets) and port. Sends nothing. Dropping the future
    /// gives the connection up.
    ///
    /// # Errors
    /// When there is no connection to be had.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
}

/// What dials need of the system.
pub(crate) trait Sockets: Send + Sync {
    /// The addresses of a name, in the order in which they should be tried.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
    /// Connects to one address. Dropping the future gives the connection up.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>>;
}

/// Whether this process or this system has run out of what a connection takes, so that it is nobody's failure but ours.
pub(crate) fn is_own_shortage(error: &io::Error) -> bool {
    // Descriptors have no kind of their own.
    // EMFILE, ENFILE, ENOBUFS (Linux, macOS).
    #[cfg(unix)]
    const CODES: [i32; 4] = [24, 23, 105, 55];
    // WSAEMFILE, WSAENOBUFS.
    #[cfg(windows)]
    const CODES: [i32; 2] = [10024, 10055];
    #[cfg(not(any(unix, windows)))]
    const CODES: [i32; 0] = [];
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock
    ) || error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}
