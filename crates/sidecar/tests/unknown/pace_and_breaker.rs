//! Own waiting is nobody's failure, and what takes a breaker's trial gives it back.

use crate::support::{Channel, Does, ask, comment, dispatcher, key, told, wait_for};
use commentd_channels::Manifest;
use commentd_contract::SystemClock;
use commentd_contract::provider::BreakerState;
use commentd_contract::{Addressing, Code, Outcome, ProviderName};
use commentd_delivery::record::KeyRef;
use commentd_delivery::reply::{DeliverError, DeliveryReply};
use commentd_delivery::{Clock, Comment};
use commentd_ledger::{Ledger, MemoryLedger, Stamp};
use commentd_providers::native::dial::{Dial, Stream};
use commentd_providers::native::{BaseUrl, NativeHttp};
use commentd_providers::{BoxFuture, Provider};
use commentd_sidecar::dispatch::{Bounds, Dispatcher, Order};
use commentd_sidecar::ids::SystemIds;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn memory() -> Arc<dyn Ledger> {
    Arc::new(MemoryLedger::new(Stamp::Live))
}

fn breaker(dispatcher: &Dispatcher) -> BreakerState {
    dispatcher.providers().remove(0).breaker.state
}

/// A dispatcher whose breaker is half open, after comment 1 was delivered.
async fn half_open() -> (Arc<Channel>, Dispatcher) {
    let channel = Channel::new(ProviderName::NativeHttp, "http://a");
    let dispatcher = dispatcher(&[&channel], memory());
    assert_eq!(told(&ask(&dispatcher, 1, ms(1000)).await), (Outcome::Delivered, false));
    *channel.does.lock().unwrap() = Does::Fail;
    for n in 2..10 {
        let _ = ask(&dispatcher, n, ms(1000)).await;
    }
    assert_ne!(breaker(&dispatcher), BreakerState::Closed);
    wait_for("the cool-off to pass", || async { breaker(&dispatcher) == BreakerState::HalfOpen }).await;
    *channel.does.lock().unwrap() = Does::Deliver;
    (channel, dispatcher)
}

#[tokio::test(start_paused = true)]
async fn a_replay_gives_back_the_breakers_trial() {
    let (_channel, dispatcher) = half_open().await;
    assert_eq!(told(&ask(&dispatcher, 1, ms(1000)).await), (Outcome::Delivered, true));
    assert_eq!(told(&ask(&dispatcher, 20, ms(1000)).await), (Outcome::Delivered, false));
    assert_eq!(breaker(&dispatcher), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_another_comment_gives_back_the_breakers_trial() {
    let (_channel, dispatcher) = half_open().await;
    let reused = Order {
        key: key(1),
        key_is_made: false,
        comment: comment(2),
        batch_len: 1,
        trace_id: "asked".into(),
        deadline: dispatcher.clock().now() + ms(1000),
        permit: dispatcher.admit(1, dispatcher.hold(10).unwrap()).unwrap(),
    };
    assert!(matches!(dispatcher.deliver(reused).await, Err(DeliverError::KeyReused(_))));
    assert_eq!(told(&ask(&dispatcher, 20, ms(1000)).await), (Outcome::Delivered, false));
}

#[tokio::test(start_paused = true)]
async fn cut_replies_whose_comments_are_found_keep_the_breaker_closed() {
    let channel = Channel::new(ProviderName::NativeHttp, "http://a");
    let dispatcher = dispatcher(&[&channel], memory());
    *channel.does.lock().unwrap() = Does::StoreSilently;
    for n in 1..=20 {
        assert_eq!(told(&ask(&dispatcher, n, ms(1000)).await).0, Outcome::Delivered);
        assert_eq!(breaker(&dispatcher), BreakerState::Closed, "after {n}");
    }
}

/// A channel in memory: a connection takes `connect`, a reply `reply`; the first connections fail, or hang.
#[derive(Clone)]
struct Near {
    hang: Arc<AtomicU32>,
    connect: Duration,
    reply: Duration,
    fail: Arc<AtomicU32>,
}

impl Dial for Near {
    fn dial<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            tokio::time::sleep(self.connect).await;
            if takes_one(&self.hang) {
                std::future::pending::<()>().await;
            }
            if takes_one(&self.fail) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let reply = self.reply;
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                let _ = theirs.read(&mut buffer).await;
                tokio::time::sleep(reply).await;
                let body = r#"{"token":"t","outcome":"delivered"}"#;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
                let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                let _ = theirs.write_all(text.as_bytes()).await;
            });
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }
}

const MANIFEST: &str = r#"
manifest = 1
name = "mine"
version = 1
summary = "a test's own"
target = "a thread"
reply = "a comment's id"
[send]
method = "POST"
path = "/send"
[send.body]
text = "content"
[[verdict]]
is = "delivered"
when = "status == 200"
"#;

fn over(near: &Near, more: &str) -> Dispatcher {
    let manifest = Manifest::parse(&format!("{MANIFEST}\n{more}"), "mine.toml").unwrap();
    let clock = SystemClock::start();
    let base = BaseUrl::parse("http://in.memory").unwrap();
    let channel = manifest.channel(&BTreeMap::new()).unwrap();
    let native = NativeHttp::new(channel, base, ms(1200), Arc::new(clock)).unwrap();
    let chain = vec![Arc::new(native.dialing(Arc::new(near.clone()))) as Arc<dyn Provider>];
    let bounds = Bounds { in_flight: 100, lookups_per_second: 20 };
    Dispatcher::new(chain, memory(), clock, Arc::new(SystemIds), bounds)
}

fn near(connect: u64, reply: u64) -> Near {
    Near { hang: Arc::default(), connect: ms(connect), reply: ms(reply), fail: Arc::default() }
}

fn takes_one(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Posts a comment after `wait`, with a second until its deadline; says what was told, and after how long.
async fn post(dispatcher: &Dispatcher, name: String, wait: Duration) -> (Arc<DeliveryReply>, Duration) {
    tokio::time::sleep(wait).await;
    let asked = dispatcher.clock().now();
    let order = Order {
        key: KeyRef { caller: String::new(), key: name.clone().into(), item: 0 },
        key_is_made: true,
        comment: Comment {
            content: name,
            addressing: Addressing { sns_id: "/".into(), ..Default::default() }.into(),
        },
        batch_len: 1,
        trace_id: "t".into(),
        deadline: asked + ms(1000),
        permit: dispatcher.admit(1, dispatcher.hold(2).unwrap()).unwrap(),
    };
    match dispatcher.deliver(order).await {
        Ok(reply) => (reply, dispatcher.clock().now() - asked),
        other => panic!("nobody was told an outcome: {other:?}"),
    }
}

async fn burst(
    dispatcher: &Dispatcher,
    name: &str,
    count: u64,
    apart: u64,
) -> Vec<(Arc<DeliveryReply>, Duration)> {
    join_all((0..count).map(|n| post(dispatcher, format!("{name}-{n}"), ms(n * apart)))).await
}

fn delivered(burst: &[(Arc<DeliveryReply>, Duration)]) -> usize {
    burst.iter().filter(|(told, _)| told.outcome == Outcome::Delivered).count()
}

#[tokio::test(start_paused = true)]
async fn a_paced_healthy_channel_keeps_its_breaker_closed() {
    let dispatcher = over(&near(60, 0), "[limits]\npace = [\"10 per 1s\"]");
    let first = burst(&dispatcher, "first", 20, 2).await;
    assert_eq!(delivered(&first), 10);
    for (told, took) in &first[10..] {
        let answer = told;
        assert_eq!((answer.outcome, answer.code), (Outcome::NotSent, Code::DeadlineExceeded), "{answer:?}");
        assert!(
            *took < ms(100),
            "at most 38 ms after its turn can't be enough, which is known at once: {took:?}"
        );
        assert!(answer.retry_after_ms.is_some_and(|wait| (900..=1000).contains(&wait)), "{answer:?}");
        assert!(told.attempts.is_empty(), "to wait for a turn is no attempt: {told:?}");
    }
    assert_eq!(breaker(&dispatcher), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn turns_of_comments_that_were_not_sent_are_given_back() {
    let dispatcher = over(&near(100, 0), "[limits]\npace = [\"10 per 1s\"]");
    // The turns of the second ten come 60 ms before their deadlines, and are over before there is a connection.
    let second = async {
        tokio::time::sleep(ms(60)).await;
        burst(&dispatcher, "second", 10, 0).await
    };
    let (first, second) = tokio::join!(burst(&dispatcher, "first", 10, 0), second);
    assert_eq!((delivered(&first), delivered(&second)), (10, 0));
    assert!(second.iter().all(|(told, _)| told.outcome == Outcome::NotSent));
    assert_eq!(breaker(&dispatcher), BreakerState::Closed);
    let (third, took) = post(&dispatcher, "third".into(), Duration::ZERO).await;
    assert_eq!(third.outcome, Outcome::Delivered);
    assert!(took < ms(500), "a turn was free at once: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_leaves_too_little_time_is_not_taken() {
    let dispatcher = over(&near(0, 40), "[limits]\npace = [\"1 per 1s\"]");
    let both = burst(&dispatcher, "both", 2, 15).await;
    assert_eq!(both[0].0.outcome, Outcome::Delivered);
    let (late, took) = &both[1];
    assert_eq!(late.outcome, Outcome::NotSent, "{late:?}");
    assert!(*took < ms(100), "said early: {took:?}");
    assert_eq!(late.retry_after_ms, Some(986));
}

#[tokio::test(start_paused = true)]
async fn one_failed_token_call_is_one_failure_however_many_waited() {
    let near = near(10, 0);
    near.fail.store(1, Ordering::SeqCst);
    let dispatcher = over(&near, TOKEN);
    let first = burst(&dispatcher, "first", 10, 0).await;
    assert_eq!(delivered(&first), 0);
    assert_eq!(breaker(&dispatcher), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_token_call_that_hangs_is_one_failure_however_many_waited() {
    let near = near(10, 0);
    near.hang.store(1, Ordering::SeqCst);
    let dispatcher = over(&near, TOKEN);
    let first = burst(&dispatcher, "first", 10, 0).await;
    assert_eq!(delivered(&first), 0);
    assert_eq!(breaker(&dispatcher), BreakerState::Closed);
}

const TOKEN: &str = r#"
[auth]
kind = "token"
token = "at('token')"
send_as = "query"
name = "token"
[auth.request]
method = "POST"
path = "/token"
"#;
