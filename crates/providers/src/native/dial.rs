//! How connections are made: over TCP, or by whatever a simulation hands in.

use crate::Pending;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpSocket, TcpStream};
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
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Box<dyn Stream>>>;
}

/// Connections over TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Dial for Tcp {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(connect(host, port).await?) as Box<dyn Stream>) })
    }
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        match connect_to(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // From the first moment on: when the socket is closed, by us or by the end of the process, what the kernel
    // hasn't sent yet dies with it instead of arriving later.
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}
