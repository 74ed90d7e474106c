//! An HTTP client that sends exactly the bytes it is given, on a connection of its own for each request. It shares no
//! code with the programs under test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// A loopback address with a port that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// The bytes of a request whose connection ends with its response. `Content-Length` is added, and `Host` unless given.
pub fn request_bytes(method: &str, path: &str, host: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {host}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// What arrived before the connection's end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RawResponse {
    /// The status; 0 if no complete head arrived.
    pub status: u16,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body as far as it arrived, without the chunks' frames.
    pub body: Vec<u8>,
}

impl RawResponse {
    /// Reads a response from all bytes of a connection; `None` if its head isn't complete.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let response = Self { status, headers, body: bytes[end + 4..].to_vec() };
        let chunked = response.header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
        let body = if chunked { without_chunks(&response.body)? } else { response.body.clone() };
        Some(Self { body, ..response })
    }

    /// Reads to the connection's end. A reset is an end like any other.
    pub async fn read(mut stream: tokio::net::TcpStream) -> Self {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        Self::parse(&bytes).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// How long the body was announced to be, in bytes.
    pub fn content_length(&self) -> usize {
        let length = self.header("content-length").and_then(|text| text.parse().ok());
        length.unwrap_or_else(|| panic!("no length in {self:?}"))
    }
}

fn without_chunks(mut bytes: &[u8]) -> Option<Vec<u8>> {
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

/// Sends requests to one server.
#[derive(Debug, Clone)]
pub struct HttpClient {
    /// `host:port`.
    pub address: String,
}

impl HttpClient {
    /// For the server at `http://host:port`.
    pub fn new(url: &str) -> Self {
        Self { address: url.trim_start_matches("http://").to_owned() }
    }

    /// Sends these bytes as they are, and reads until the server closes.
    ///
    /// # Errors
    /// When there is no connection, or no complete head arrives within a minute.
    pub fn raw(&self, bytes: &[u8]) -> std::io::Result<RawResponse> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        // A server that has refused the head may stop reading the body; its response is still there.
        let _ = stream.write_all(bytes);
        let mut received = Vec::new();
        let read = stream.read_to_end(&mut received);
        RawResponse::parse(&received).ok_or_else(|| {
            let received = String::from_utf8_lossy(&received);
            std::io::Error::other(format!("no response ({read:?}): {received:?}"))
        })
    }

    /// Sends a request, as [`request_bytes`] writes it.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> RawResponse {
        self.raw(&request_bytes(method, path, &self.address, headers, body)).unwrap()
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> RawResponse {
        self.request("GET", path, &[], b"")
    }

    /// `POST` of JSON.
    pub fn post(&self, path: &str, json: &serde_json::Value) -> RawResponse {
        self.try_post(path, json).unwrap()
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// As [`HttpClient::raw`].
    pub fn try_post(&self, path: &str, json: &serde_json::Value) -> std::io::Result<RawResponse> {
        let headers = [("Content-Type", "application/json")];
        self.raw(&request_bytes("POST", path, &self.address, &headers, json.to_string().as_bytes()))
    }

    /// Posts one comment.
    pub fn comment(&self, json: &serde_json::Value) -> RawResponse {
        self.post("/api/comment", json)
    }
}
