//! Servers that follow a script, to misbehave on purpose: raw TCP on loopback, a thread for each connection. They record
//! what arrives and how each connection ends. The generic channel's probe is answered apart from the script, on a
//! connection of its own, and isn't recorded.

use crate::wait::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// How a connection ended, as its server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The other side closed it after all that it wanted to say.
    Clean,
    /// The other side threw it away (ECONNRESET).
    Reset,
    /// It didn't end within the test's patience.
    Never,
}

/// What a server saw by now.
#[derive(Clone, Debug, Default)]
pub struct ServerRecord {
    /// Connections that were accepted.
    pub connections: usize,
    /// Connections whose script is through; the server has closed its side of them.
    pub closed: usize,
    /// Connections on which something has arrived, read or not.
    pub arrived: usize,
    /// Whole requests, head and body.
    pub requests: Vec<String>,
    /// Every byte that was read.
    pub bytes: Vec<u8>,
    /// The ends that were waited for.
    pub ends: Vec<ConnectionEnd>,
}

impl ServerRecord {
    /// How many whole requests have this text in them.
    pub fn requests_with(&self, text: &str) -> usize {
        self.requests.iter().filter(|request| request.contains(text)).count()
    }
}

type SharedRecord = Arc<Mutex<ServerRecord>>;

/// A running server.
pub struct ScriptedServer {
    address: SocketAddr,
    seen: SharedRecord,
    over: Latch,
}

impl ScriptedServer {
    /// On a free port, with this script for every connection.
    pub fn start(script: impl Fn(&mut ServedConnection) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), script)
    }

    /// On this listener.
    pub fn on(listener: TcpListener, script: impl Fn(&mut ServedConnection) + Send + Sync + 'static) -> Self {
        Self::until(Latch::default(), listener, script)
    }

    /// On this listener, until the latch is open: the first connection after that is thrown away, and then there is
    /// nobody to connect to.
    pub fn until(
        over: Latch,
        listener: TcpListener,
        script: impl Fn(&mut ServedConnection) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = SharedRecord::default();
        let (shared, ended, script) = (Arc::clone(&seen), over.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.is_open() {
                    return;
                }
                let (seen, script) = (Arc::clone(&shared), Arc::clone(&script));
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    if answers_probe(&stream) {
                        return;
                    }
                    seen.lock().unwrap().connections += 1;
                    let mut talk = ServedConnection { stream, seen: Arc::clone(&seen), unread: Vec::new() };
                    script(&mut talk);
                    drop(talk);
                    seen.lock().unwrap().closed += 1;
                });
            }
        });
        Self { address, seen, over }
    }

    /// A server that answers every request with these bytes and keeps the connection.
    pub fn answering(bytes: Vec<u8>) -> Self {
        Self::start(move |talk| talk.answer_all(&bytes))
    }

    /// A server that reads everything and says nothing.
    pub fn silent() -> Self {
        Self::start(|talk| {
            talk.request();
            talk.rest();
        })
    }

    /// A server that reads bytes, whatever they are, and says nothing.
    pub fn deaf() -> Self {
        Self::start(|talk| {
            talk.rest();
        })
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `https://host:port`.
    pub fn tls_url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// What it saw by now.
    pub fn seen(&self) -> ServerRecord {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.over.open();
        // Wakes the thread that accepts. The others end with their clients.
        let _ = TcpStream::connect(self.address);
    }
}

/// If the client asks for the health of an upstream of the v1 contract, tells it that all is well and closes.
fn answers_probe(mut stream: &TcpStream) -> bool {
    let mut start = [0; 12];
    let _ = stream.peek(&mut start);
    if &start != b"GET /health " {
        return false;
    }
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    let _ = stream.write_all(&reply("200 OK", "Connection: close\r\n", r#"{"v":1,"ok":true,"data":{}}"#));
    true
}

/// One connection, from the server's side.
pub struct ServedConnection {
    stream: TcpStream,
    seen: SharedRecord,
    /// Read, and not yet part of a whole request.
    unread: Vec<u8>,
}

impl ServedConnection {
    fn note(&self, what: impl FnOnce(&mut ServerRecord)) {
        what(&mut self.seen.lock().unwrap());
    }

    /// Reads some more; `Err` says how the connection ended.
    fn more(&mut self) -> Result<(), ConnectionEnd> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(ConnectionEnd::Clean),
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                self.note(|seen| seen.bytes.extend_from_slice(&buffer[..read]));
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(ConnectionEnd::Never)
            }
            Err(_) => Err(ConnectionEnd::Reset),
        }
    }

    /// Reads one whole request; `None` if the connection ends before.
    pub fn request(&mut self) -> Option<String> {
        let length = loop {
            if let Some(length) = whole_length(&self.unread) {
                break length;
            }
            self.more().ok()?;
        };
        let bytes: Vec<u8> = self.unread.drain(..length).collect();
        let request = String::from_utf8_lossy(&bytes).into_owned();
        self.note(|seen| seen.requests.push(request.clone()));
        Some(request)
    }

    /// Waits until something has arrived, and leaves it unread.
    pub fn arrival(&mut self) {
        if self.stream.peek(&mut [0]).is_ok_and(|bytes| bytes > 0) {
            self.note(|seen| seen.arrived += 1);
        }
    }

    /// Reads the first bytes of the next request, and no more.
    pub fn first_bytes(&mut self) {
        let mut buffer = [0; 4];
        if let Ok(read) = self.stream.read(&mut buffer) {
            self.note(|seen| seen.bytes.extend_from_slice(&buffer[..read]));
        }
    }

    /// Sends these bytes.
    pub fn say(&mut self, bytes: &[u8]) {
        // A client that has left can't be told; what it then thinks is what the test asks.
        let _ = self.stream.write_all(bytes);
    }

    /// Answers every request with these bytes, until the client leaves.
    pub fn answer_all(&mut self, bytes: &[u8]) {
        while self.request().is_some() {
            self.say(bytes);
        }
    }

    /// Reads until the end, and tells which it was.
    pub fn rest(&mut self) -> ConnectionEnd {
        let end = loop {
            if let Err(end) = self.more() {
                break end;
            }
        };
        self.note(|seen| seen.ends.push(end));
        end
    }
}

/// The length of the request at the start of these bytes; `None` until it is whole.
fn whole_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let body: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    (bytes.len() >= head + body).then_some(head + body)
}

/// A reply that keeps the connection.
pub fn reply(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
        .into_bytes()
}

/// How an upstream of the v1 contract says that it has stored a comment.
pub fn stored() -> Vec<u8> {
    reply("200 OK", "", r#"{"v":1,"ok":true,"error_code":0,"error_message":"","data":{}}"#)
}

/// Something that a script waits for and the test opens, once.
#[derive(Clone, Default)]
pub struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    /// Opens it.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Waits until it is open, at most as long as the test's patience.
    pub fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap();
        assert!(*waited.0, "the test never opened the latch");
    }
}

/// A port of loopback that is taken, and where connections are refused until it listens.
pub struct ReservedPort(socket2::Socket);

impl ReservedPort {
    /// Takes one.
    pub fn take() -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    fn at(address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // Windows would let strangers in.
        #[cfg(unix)]
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }

    /// The same port once more, for when whoever listens there first is gone: meanwhile nobody else can take it.
    #[cfg(unix)]
    pub fn again(&self) -> Self {
        Self::at(self.address())
    }

    /// With so small a receive buffer that a comment has no room in it.
    pub fn take_narrow() -> Self {
        let port = Self::take();
        port.0.set_recv_buffer_size(4096).unwrap();
        port
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Lets it accept connections.
    pub fn listen(self) -> TcpListener {
        self.0.listen(64).unwrap();
        self.0.into()
    }
}
