//! Connections over TCP.

use super::race::{DialPlan, LastDial, race};
use super::stream::{Dial, Sockets, Stream};
use crate::provider::BoxFuture;
use commentd_delivery::Clock;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

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
    last: watch::Sender<Option<LastDial>>,
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
        let plan = DialPlan::new(resolved, *last.borrow_and_update(), self.dials.fetch_add(1, Relaxed));
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
        let _ = self.last.send_replace(Some(LastDial { address, took }));
        Ok(stream)
    }
}

impl Dial for Tcp {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(self.connect(host, port))
    }
}

/// The system's resolver and sockets.
struct System;

impl Sockets for System {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
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
