//! By way of an HTTP proxy, which alone knows where `channel.test` is.

use crate::connections::GENEROUS;
use crate::stand_in::StandIn;
use crate::support::{HandClock, attempt, job, provider, provider_with_tls, provider_within};
use crate::tls::{server, trusting};
use commentd_channels::Ability;
use commentd_contract::VerdictKind;
use commentd_delivery::{Gate, Verdict};
use commentd_providers::Provider;
use commentd_providers::native::{NativeHttp, Proxy};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const NOWHERE: &str = "http://channel.test:8000";

/// A proxy, and the heads of what it was asked.
struct Stood {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Stood {
    /// Says `words` to each request for a tunnel, and then connects to `place`, if there is one; else it stays.
    async fn start(words: impl Into<Vec<u8>>, place: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (words, heads) = (words.into(), Arc::new(Mutex::new(Vec::new())));
        let (place, shared) = (place.map(str::to_owned), Arc::clone(&heads));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (words, place, heads) = (words.clone(), place.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = client.read_u8().await else { return };
                        head.push(byte);
                    }
                    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
                    let _ = client.write_all(&words).await;
                    match place {
                        Some(place) => {
                            let mut channel = TcpStream::connect(place).await.unwrap();
                            let _ = copy_bidirectional(&mut client, &mut channel).await;
                        }
                        None => while client.read(&mut [0; 1024]).await.unwrap_or(0) > 0 {},
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn proxy(&self, userinfo: &str) -> Proxy {
        Proxy::parse(&format!("http://{userinfo}{}", self.address)).unwrap()
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn place(url: &str) -> &str {
    url.split_once("://").unwrap().1
}

/// An attempt, and whether it passed the gate.
async fn attempted(provider: &NativeHttp) -> (Verdict, bool) {
    let gate = Gate::new();
    let job = job(1, 1, &HandClock::default());
    let attempt = Box::pin(provider.attempt(&job, &gate));
    let verdict = tokio::time::timeout(GENEROUS, attempt).await.expect("the attempt has no end");
    (verdict, gate.is_passed())
}

async fn through(proxy: Proxy) -> (Verdict, bool) {
    attempted(&provider("", NOWHERE, ["", ""], &HandClock::default()).by_proxy(proxy)).await
}

const EVERYTHING: &str = r#"
[auth]
kind = "token"
token = "at('access_token')"
expires_in_s = "at('expires_in')"
send_as = "query"
name = "access_token"
[auth.request]
method = "POST"
path = "/token"
body = { secret = "settings.secret" }

[probe]
able = "status == 200"
not_able = "status == 401"
[probe.request]
method = "GET"
path = "/me"

[lookup]
answers = "status == 200"
items = "at('items')"
complete = "true"
ours = "item.marker == marker"
id = "item.id"
text = "item.text"
sees_every_state = true
[lookup.request]
method = "GET"
path = "/list"
"#;

#[tokio::test]
async fn whatever_is_asked_of_a_channel_goes_by_way_of_the_proxy() {
    let channel = StandIn::start(|asked| {
        let body = if asked.path() == "/list" {
            r#"{"items":[]}"#
        } else {
            r#"{"access_token":"t","expires_in":"7200"}"#
        };
        (200, body.into())
    })
    .await;
    let stood = Stood::start(OPEN, Some(place(&channel.url))).await;
    let clock = HandClock::default();
    let provider = provider(EVERYTHING, NOWHERE, ["s", ""], &clock).by_proxy(stood.proxy(""));
    assert_eq!(provider.ask_ability().await, Some(Ability::Able));
    let verdict = attempt(&provider, &job(1, 1, &clock)).await;
    assert_eq!(verdict.kind, VerdictKind::Delivered, "{verdict:?}");
    provider.read_back("t").await.unwrap();
    for path in ["/me", "/token", "/send", "/list"] {
        let asked = channel.asked(path);
        assert_eq!(asked.len(), 1, "{path}");
        assert_eq!(asked[0].header("host"), Some("channel.test:8000"));
        assert_eq!(asked[0].header("proxy-authorization"), None, "{path}");
    }
    let heads = stood.heads();
    assert!(!heads.is_empty());
    for head in heads {
        assert_eq!(head, "CONNECT channel.test:8000 HTTP/1.1\r\nHost: channel.test:8000\r\n\r\n");
    }
}

#[tokio::test]
async fn tls_is_spoken_with_the_channel_through_the_tunnel() {
    let url = server("server", false, false).await;
    let stood = Stood::start(OPEN, Some(place(&url))).await;
    let clock = HandClock::default();
    let provider = provider_with_tls("https://localhost", &trusting(), &clock).unwrap();
    let (verdict, _) = attempted(&provider.by_proxy(stood.proxy(""))).await;
    assert_eq!(verdict.kind, VerdictKind::Delivered, "{verdict:?}");
    assert!(stood.heads()[0].starts_with("CONNECT localhost:443 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn credentials_go_to_the_proxy_alone_and_are_told_to_nobody() {
    let channel = StandIn::start(|asked| {
        assert_eq!(asked.header("proxy-authorization"), None);
        (401, r#"{"error":"p@ss, or YW5uOnBAc3M="}"#.into())
    })
    .await;
    let stood = Stood::start(OPEN, Some(place(&channel.url))).await;
    let (verdict, _) = through(stood.proxy("ann:p%40ss@")).await;
    assert!(stood.heads()[0].ends_with("\r\nProxy-Authorization: Basic YW5uOnBAc3M=\r\n\r\n"));
    assert_eq!(verdict.kind, VerdictKind::Denied, "{verdict:?}");
    let shown = format!("{verdict:?}");
    assert!(!shown.contains("p@ss") && !shown.contains("YW5u") && shown.contains("***"), "{shown}");
}

#[tokio::test]
async fn what_a_proxy_says_instead_of_opening_a_tunnel_comes_before_the_gate() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(17_000));
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
    let refused = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno";
    for (words, userinfo, says) in [
        (refused, "", "wants credentials (407)"),
        (refused, "ann:p%40ss@", "doesn't accept the credentials in --proxy (407)"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "", "can't reach it (502)"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "", "allow CONNECT"),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", "", "opens no tunnel to it (302)"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "", "opens no tunnel to it (101)"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "", "doesn't answer as an HTTP proxy does"),
        ("HTTP/1.1 abc\r\n\r\n", "", "doesn't answer as an HTTP proxy does"),
        (&long, "", "more than 16384 bytes"),
        (&hints, "", "more than 16384 bytes"),
    ] {
        let stood = Stood::start(words, None).await;
        let (verdict, is_passed) = through(stood.proxy(userinfo)).await;
        let message = &verdict.message;
        assert_eq!((verdict.kind, is_passed), (VerdictKind::NotSent, false), "{verdict:?}");
        assert!(message.contains(says), "{message}");
        assert!(message.contains("channel.test:8000"), "{message}");
        assert!(message.contains(&format!("the proxy http://{}", stood.address)), "{message}");
        assert!(!message.contains("p%40ss") && !message.contains("p@ss"), "{message}");
    }
}

#[tokio::test]
async fn informational_replies_before_the_tunnel_are_passed_over() {
    let channel = StandIn::start(|_| (200, "{}".into())).await;
    let words = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OPEN}");
    let stood = Stood::start(words, Some(place(&channel.url))).await;
    let (verdict, _) = through(stood.proxy("")).await;
    assert_eq!(verdict.kind, VerdictKind::Delivered, "{verdict:?}");
}

/// A cut reply, a proxy that isn't there.
#[tokio::test]
async fn a_proxy_that_is_gone_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let cutting = async {
        let (mut client, _) = listener.accept().await.unwrap();
        client.read_u8().await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        while client.read(&mut [0; 1024]).await.unwrap_or(0) > 0 {}
    };
    let ((verdict, is_passed), ()) = tokio::join!(through(proxy.clone()), cutting);
    assert_eq!((verdict.kind, is_passed), (VerdictKind::NotSent, false), "{verdict:?}");
    assert!(verdict.message.contains("closed the connection instead of opening a tunnel"), "{verdict:?}");
    drop(listener);
    let (verdict, is_passed) = through(proxy.clone()).await;
    assert_eq!((verdict.kind, is_passed), (VerdictKind::NotSent, false), "{verdict:?}");
    let named = format!("the proxy {} can't be connected to", proxy.shown());
    assert!(verdict.message.contains(&named), "{verdict:?}");
}

#[tokio::test]
async fn a_proxy_that_hangs_ends_with_the_attempts_time_before_the_gate() {
    for words in ["", "HTTP/1.1 200 OK\r\n"] {
        let stood = Stood::start(words, None).await;
        let provider = provider_within(Duration::from_millis(200), NOWHERE, &HandClock::default());
        let (verdict, is_passed) = attempted(&provider.by_proxy(stood.proxy(""))).await;
        assert_eq!((verdict.kind, is_passed), (VerdictKind::NotSent, false), "{verdict:?}");
        let named = format!("by way of the proxy http://{} within 200 ms", stood.address);
        assert!(verdict.message.contains(&named), "{verdict:?}");
    }
}

#[tokio::test]
async fn what_comes_behind_the_proxys_word_is_no_reply_of_the_channels() {
    let reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let stood = Stood::start(format!("{OPEN}{reply}"), None).await;
    let (verdict, is_passed) = through(stood.proxy("")).await;
    assert_eq!((verdict.kind, is_passed), (VerdictKind::NotSent, false), "{verdict:?}");
    assert!(verdict.message.contains("speaks before it is asked"), "{verdict:?}");
}
