//! Connections by way of a proxy pass.

use super::tcp::Loopback;
use super::{ChannelBehaviour, TestChannel, run};
use crate::native::Proxy;
use crate::native::dial::{Dial, Tcp};
use crate::native::proxy::Tunnels;
use commentd_delivery::Clock;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A channel behind a proxy.
struct Behind {
    channel: Loopback,
    proxy: Proxy,
    listening: JoinHandle<()>,
}

impl Behind {
    async fn new() -> Self {
        let channel = Loopback::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::clone(&channel.seen);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let greets = matches!(&*seen.does.lock().unwrap(), Some(ChannelBehaviour::Greets(_)));
                tokio::spawn(relay(client, greets));
            }
        });
        Self { channel, proxy, listening }
    }
}

/// Opens the tunnel that is asked for; what a channel says on accept goes along with the word that it is open.
async fn relay(mut client: TcpStream, greets: bool) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let text = String::from_utf8(head).unwrap();
    let place = text.strip_prefix("CONNECT ").and_then(|rest| rest.split_once(' ')).unwrap().0;
    let Ok(mut channel) = TcpStream::connect(place).await else {
        client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        return;
    };
    let mut words = b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec();
    if greets {
        channel.read_buf(&mut words).await.unwrap();
    }
    client.write_all(&words).await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut channel).await;
}

impl TestChannel for Behind {
    fn dialer(&self) -> Arc<dyn Dial> {
        Arc::new(Tunnels::new(self.proxy.clone(), Arc::new(Tcp::new(self.clock()))))
    }

    fn url(&self) -> String {
        self.channel.url()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.channel.clock()
    }

    fn does(&self, what: ChannelBehaviour) {
        self.channel.does(what);
    }

    fn refuses(&self) {
        self.channel.refuses();
    }

    fn received(&self) -> usize {
        self.channel.received()
    }

    fn connections(&self) -> usize {
        self.channel.connections()
    }

    /// The proxy may hold a second reply back for as long as it likes.
    fn pauses_ms(&self) -> &'static [u64] {
        &[]
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[tokio::test]
async fn connections_by_way_of_a_proxy_conform() {
    run(Behind::new).await.unwrap();
}
