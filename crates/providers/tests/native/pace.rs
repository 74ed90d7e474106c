use crate::stand_in::{Answers, serve};
use crate::support::{attempt, job, provider};
use commentd_contract::time::whole_ms;
use commentd_contract::{Code, SystemClock, VerdictKind};
use commentd_delivery::{Clock, Moment, Verdict};
use commentd_providers::native::NativeHttp;
use commentd_providers::native::dial::{Dial, Stream};
use commentd_providers::{BoxFuture, Provider, ProviderJob};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Connections in memory, so that no clock runs while bytes are on their way.
struct InMemory;

impl Dial for InMemory {
    fn dial<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let answers: Arc<Answers> = Arc::new(|_| (200, r#"{"items":[]}"#.to_owned()));
            tokio::spawn(serve(theirs, answers, Arc::new(Mutex::new(Vec::new()))));
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }
}

/// As the dispatcher does: first its turn, then the attempt.
async fn paced(provider: &NativeHttp, job: &ProviderJob) -> Verdict {
    match provider.reserve_slot(job).await {
        Err(too_late) => *too_late,
        Ok(turn) => {
            let verdict = attempt(provider, job).await;
            turn.unwrap().count();
            verdict
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_turn_before_its_deadline_is_not_sent_and_told_when_to_come_again() {
    let clock = SystemClock::start_at(0);
    let limits = "[limits]\npace = [\"2 per 60s by target\"]";
    let provider = provider(limits, "http://in.memory", ["", ""], &clock).dialing(Arc::new(InMemory));
    for number in 1..=2 {
        assert_eq!(paced(&provider, &job(number, 1, &clock)).await.kind, VerdictKind::Delivered);
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    let late = paced(&provider, &job(3, 1, &clock)).await;
    assert_eq!((late.kind, late.code), (VerdictKind::NotSent, Code::DeadlineExceeded), "{late:?}");
    assert_eq!(late.retry_after_ms, Some(60_001 - whole_ms(clock.now().since_start())));
    assert!(late.message.contains("2 per 60s by target"), "{late:?}");
    let mut elsewhere = job(4, 1, &clock);
    let mut comment = (*elsewhere.comment).clone();
    Arc::make_mut(&mut comment.addressing).sns_id = "another target".into();
    elsewhere.comment = Arc::new(comment);
    assert_eq!(paced(&provider, &elsewhere).await.kind, VerdictKind::Delivered);
    // Half a second before its turn there is time enough to wait for it.
    let turn = Moment::at(Duration::from_secs(60));
    tokio::time::advance(turn - clock.now() - Duration::from_millis(500)).await;
    assert_eq!(paced(&provider, &job(3, 1, &clock)).await.kind, VerdictKind::Delivered);
    assert_eq!(clock.now(), turn);
}

#[tokio::test(start_paused = true)]
async fn lookups_keep_to_the_pace_for_all() {
    let clock = SystemClock::start_at(0);
    let more = r#"
[limits]
pace = ["'3 per 10s'"]
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
    let provider = provider(more, "http://in.memory", ["", ""], &clock).dialing(Arc::new(InMemory));
    for _ in 0..4 {
        provider.read_back("t").await.unwrap();
    }
    assert_eq!(clock.now(), Moment::at(Duration::from_secs(10)), "the fourth waited for its turn");
    assert_eq!(paced(&provider, &job(1, 1, &clock)).await.kind, VerdictKind::Delivered);
    assert_eq!(paced(&provider, &job(2, 1, &clock)).await.kind, VerdictKind::Delivered);
    assert_eq!(paced(&provider, &job(3, 1, &clock)).await.kind, VerdictKind::NotSent);
}
