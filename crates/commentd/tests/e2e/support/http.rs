//! A client of the contract that is nobody's: one connection for each call, nothing retried.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A reply.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let answer = Self { status, headers, body: bytes[end + 4..].to_vec() };
        let chunked = answer.header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
        let body = if chunked { dechunked(&answer.body)? } else { answer.body.clone() };
        Some(Self { body, ..answer })
    }
}

fn dechunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(bytes.get(line + 2..line + 2 + size)?);
        bytes = bytes.get(line + 2 + size + 2..)?;
    }
}

/// Calls one server.
#[derive(Debug, Clone)]
pub struct Client {
    pub address: String,
}

impl Client {
    /// `url` is `http://host:port`.
    pub fn new(url: &str) -> Self {
        Self { address: url.trim_start_matches("http://").to_owned() }
    }

    /// Sends these bytes as they are, and reads until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        // A server that has refused the head may stop reading the body; its answer is still there.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        Answer::parse(&answer).ok_or_else(|| {
            std::io::Error::other(format!("no answer ({read:?}): {:?}", String::from_utf8_lossy(&answer)))
        })
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.raw(&[head.as_bytes(), body].concat()).unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, json: &serde_json::Value) -> Answer {
        self.request("POST", path, &[("Content-Type", "application/json")], json.to_string().as_bytes())
    }

    /// Posts one comment.
    pub fn comment(&self, json: &serde_json::Value) -> Answer {
        self.post("/api/comment", json)
    }
}
