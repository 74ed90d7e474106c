//! How connections are made: over TCP, or by whatever a simulation hands in.

mod race;

use crate::Pending;
use commentd_delivery::Clock;
use race::{Last, Plan, race};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
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

/// What dials need of the system.
pub(crate) trait Sockets: Send + Sync {
    /// The addresses of a name, in the order in which they should be tried.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Vec<SocketAddr>>>;
    /// Connects to one address. Dropping the future gives the connection up.
    fn connect(&self, address: SocketAddr) -> Pending<'_, io::Result<Box<dyn Stream>>>;
}

/// Dials that are begun at the same time: a listener that takes few connections at once is common.
const AT_ONCE: usize = 4;
/// A dial that takes longer than this lets the next one begin.
const HOLD: Duration = Duration::from_millis(30);

/// Connections over TCP to one place.
pub struct Tcp {
    sockets: Arc<dyn Sockets>,
    clock: Arc<dyn Clock>,
    begun: Semaphore,
    dials: AtomicU64,
    last: watch::Sender<Option<Last>>,
}

impl Tcp {
    /// The clock tells how long dials take.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with(Arc::new(System), clock)
    }

    pub(crate) fn with(sockets: Arc<dyn Sockets>, clock: Arc<dyn Clock>) -> Self {
        Self {
            sockets,
            clock,
            begun: Semaphore::new(AT_ONCE),
            dials: AtomicU64::new(0),
            last: watch::Sender::new(None),
        }
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let resolved = self.sockets.resolve(host, port).await?;
        let permit = self.begun.acquire().await;
        let mut last = self.last.subscribe();
        let plan = Plan::new(resolved, *last.borrow_and_update(), self.dials.fetch_add(1, Relaxed));
        let began = self.clock.now();
        let mut race = pin!(race(&*self.sockets, plan, last));
        let raced = match tokio::time::timeout(HOLD, race.as_mut()).await {
            Ok(raced) => raced,
            Err(_) => {
                drop(permit);
                race.await
            }
        };
        let (address, stream) = raced?;
        let took = self.clock.now() - began;
        let _ = self.last.send_replace(Some(Last { address, took }));
        Ok(stream)
    }
}

impl Dial for Tcp {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(self.connect(host, port))
    }
}

/// The system's resolver and sockets.
struct System;

impl Sockets for System {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }

    fn connect(&self, address: SocketAddr) -> Pending<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(connect_to(address).await?) as Box<dyn Stream>) })
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // From the first moment on: when the socket is closed, by us or by the end of the process, what the kernel
    // hasn't sent yet dies with it instead of arriving later.
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// Whether this process or this system has run out of what a connection takes, so that it is nobody's failure but ours.
pub(super) fn is_own_shortage(error: &io::Error) -> bool {
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
