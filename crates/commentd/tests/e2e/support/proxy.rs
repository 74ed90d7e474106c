//! What stands between a sidecar and a channel: sites that drop a field, caches, filters, proxies that send twice.

use commentd_test_support::server::ScriptedServer;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The channel behind it.
#[derive(Clone, Debug)]
pub struct Upstream {
    address: String,
}

impl Upstream {
    /// `url` is `http://host:port`.
    pub fn at(url: &str) -> Self {
        Self { address: url.trim_start_matches("http://").to_owned() }
    }

    /// Hands a request to the channel, and gives its reply. The connection isn't kept, so that the reply's end is its.
    pub fn forward(&self, request: &str) -> Vec<u8> {
        let (line, rest) = request.split_once("\r\n").unwrap();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(format!("{line}\r\nConnection: close\r\n{rest}").as_bytes()).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        reply
    }

    /// The same for a request without a body.
    pub fn get(&self, path: &str) -> Vec<u8> {
        self.forward(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address))
    }
}

#[derive(Debug, Default)]
struct Passed {
    /// Comments that were posted.
    posts: usize,
    /// When the last of them was answered, or cut.
    ended: Option<Instant>,
    /// When a lookup asked since. The built-in channels' lookups are known by their nonce.
    reads: Vec<Instant>,
}

/// A running proxy.
pub struct Proxy {
    server: ScriptedServer,
    passed: Arc<Mutex<Passed>>,
}

impl Proxy {
    /// Before this channel. `post` says what becomes of each comment, numbered from 0: the reply, or `None` for a
    /// connection that ends without one. `read` gives the reply to anything else; it is told how many comments there
    /// were by then.
    pub fn before(
        upstream: Upstream,
        post: impl Fn(usize, &Upstream, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
        read: impl Fn(usize, &Upstream, &str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let passed = Arc::<Mutex<Passed>>::default();
        let shared = Arc::clone(&passed);
        let server = ScriptedServer::start(move |talk| {
            let Some(request) = talk.request() else { return };
            if request.starts_with("POST ") {
                let number = {
                    let mut passed = shared.lock().unwrap();
                    passed.posts += 1;
                    passed.posts - 1
                };
                let reply = post(number, &upstream, &request);
                {
                    let mut passed = shared.lock().unwrap();
                    passed.ended = Some(Instant::now());
                    passed.reads.clear();
                }
                talk.say(&reply.unwrap_or_default());
                return;
            }
            let posts = {
                let mut passed = shared.lock().unwrap();
                if request.lines().next().unwrap().contains("nonce=") {
                    passed.reads.push(Instant::now());
                }
                passed.posts
            };
            talk.say(&read(posts, &upstream, &request));
        });
        Self { server, passed }
    }

    /// The same for a proxy that lets everything pass which is read.
    pub fn of_posts(
        upstream: Upstream,
        post: impl Fn(usize, &Upstream, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self::before(upstream, post, |_, upstream, request| upstream.forward(request))
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// How many comments were posted.
    pub fn posts(&self) -> usize {
        self.passed.lock().unwrap().posts
    }

    /// Whether two lookups that found nothing would have proved by now that the last comment isn't there, for a channel
    /// that settles within this time. Twice the time, because a lookup begins before it is seen here.
    pub fn has_seen_enough_for_absence(&self, settles_within: Duration) -> bool {
        let passed = self.passed.lock().unwrap();
        let Some(ended) = passed.ended else { return false };
        let first = passed.reads.iter().find(|read| **read >= ended + settles_within * 2);
        first.is_some_and(|first| passed.reads.iter().any(|read| *read >= *first + settles_within * 2))
    }
}

/// The request with another body, which is JSON as its own was.
pub fn with_body(
    request: &str,
    change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
    change(body.as_object_mut().unwrap());
    let body = body.to_string();
    let is_length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
    let head: Vec<&str> = head.lines().filter(|line| !is_length(line)).collect();
    format!("{}\r\nContent-Length: {}\r\n\r\n{body}", head.join("\r\n"), body.len())
}

/// The reply with this header line at its end.
pub fn with_header(reply: &[u8], line: &str) -> Vec<u8> {
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    [&reply[..end], b"\r\n", line.as_bytes(), &reply[end..]].concat()
}

/// How a filter says no, whatever the channel has said.
pub fn forbidden_page() -> Vec<u8> {
    let page = "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n<center><h1>403 Forbidden</h1></center>\r\n\
                </body>\r\n</html>\r\n";
    let length = page.len();
    format!("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}")
        .into_bytes()
}
