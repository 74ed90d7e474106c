//! A provider for a manifest of the test's own, on a clock of the test's own.

use commentd_channels::Manifest;
use commentd_contract::Addressing;
use commentd_delivery::{Clock, Comment, DeliveryId, Gate, Moment, Verdict};
use commentd_providers::native::{BaseUrl, NativeHttp, TlsFiles};
use commentd_providers::{Provider, ProviderJob};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The part of a manifest that every test has.
pub const COMMON: &str = r#"
manifest = 1
name = "mine"
version = 1
summary = "a test's own"
target = "a thread"
reply = "a comment's id"

[settings.secret]
type = "secret"
help = "the secret"
default = ""

[settings.other]
type = "secret"
help = "another secret"
default = ""

[send]
method = "POST"
path = "/send"
[send.headers]
X-Left-Ms = "left_ms"
[send.body]
text = "content"

[[verdict]]
is = "delivered"
when = "status == 200"

[[verdict]]
is = "denied"
code = 54
when = "status == 401"
"#;

/// Moves only when a test says so.
#[derive(Clone, Default)]
pub struct HandClock(Arc<AtomicU64>);

impl HandClock {
    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        Moment::at(Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }

    fn unix_ms(&self) -> u64 {
        1_767_225_600_000 + self.0.load(Ordering::SeqCst)
    }
}

/// A provider for this manifest with `secret` and perhaps `other` set.
pub fn provider(
    more: &str,
    url: &str,
    secrets: [&str; 2],
    clock: &(impl Clock + Clone + 'static),
) -> NativeHttp {
    let manifest = Manifest::parse(&format!("{COMMON}\n{more}"), "mine.toml").unwrap();
    let given = BTreeMap::from([
        ("secret".to_owned(), toml::Value::from(secrets[0])),
        ("other".to_owned(), toml::Value::from(secrets[1])),
    ]);
    let channel = manifest.channel(&given).unwrap();
    let base = BaseUrl::parse(url).unwrap();
    NativeHttp::new(channel, base, Duration::from_secs(30), Arc::new(clock.clone())).unwrap()
}

/// A provider whose attempts take at most this long.
pub fn provider_within(timeout: Duration, url: &str, clock: &HandClock) -> NativeHttp {
    let channel = Manifest::parse(COMMON, "mine.toml").unwrap().channel(&BTreeMap::new()).unwrap();
    NativeHttp::new(channel, BaseUrl::parse(url).unwrap(), timeout, Arc::new(clock.clone())).unwrap()
}

/// A provider that speaks TLS with these files.
pub fn provider_with_tls(url: &str, files: &TlsFiles, clock: &HandClock) -> Result<NativeHttp, String> {
    let channel = Manifest::parse(COMMON, "mine.toml").unwrap().channel(&BTreeMap::new()).unwrap();
    let base = BaseUrl::parse(url).unwrap();
    NativeHttp::with_tls(channel, base, Duration::from_secs(30), Arc::new(clock.clone()), files)
}

pub fn job(number: u8, attempt: u32, clock: &dyn Clock) -> ProviderJob {
    let addressing = Addressing { sns_id: "t".into(), ..Addressing::default() };
    ProviderJob {
        id: DeliveryId::from_bytes([number; 16]),
        comment: Arc::new(Comment { content: "hello".into(), addressing: addressing.into() }),
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        attempt,
        began_ms: None,
        deadline: clock.now() + Duration::from_millis(1000),
    }
}

pub async fn attempt(provider: &NativeHttp, job: &ProviderJob) -> Verdict {
    provider.attempt(job, &Gate::new()).await
}
