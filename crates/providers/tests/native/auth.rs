use crate::stand_in::{Asked, StandIn};
use crate::support::{HandClock, attempt, job, provider};
use commentd_channels::Ability;
use commentd_contract::{Code, VerdictKind};
use commentd_providers::Provider;
use commentd_providers::status::ProbeState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SECRET: &str = "s3cret-value";

async fn sent_with(auth: &str, secrets: [&str; 2]) -> Asked {
    let clock = HandClock::default();
    let server = StandIn::start(|_| (200, "{}".into())).await;
    let provider = provider(auth, &server.url, secrets, &clock);
    let verdict = attempt(&provider, &job(1, 1, &clock)).await;
    assert_eq!(verdict.kind, VerdictKind::Delivered, "{verdict:?}");
    let shown = serde_json::to_string(&provider.dry_run(&job(1, 1, &clock)).unwrap()).unwrap();
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        assert!(!shown.contains(secret) && shown.contains("***"), "{shown}");
    }
    server.asked("/send").remove(0)
}

#[tokio::test]
async fn each_kind_of_credentials_stands_where_it_should() {
    let asked =
        sent_with("[auth]\nkind = \"basic\"\nuser = \"'ann'\"\npassword = \"settings.secret\"", [SECRET, ""])
            .await;
    assert_eq!(asked.header("authorization"), Some("Basic YW5uOnMzY3JldC12YWx1ZQ=="));
    let asked = sent_with("[auth]\nkind = \"bearer\"\nsecret = \"settings.secret\"", [SECRET, ""]).await;
    assert_eq!(asked.header("authorization"), Some("Bearer s3cret-value"));
    let asked = sent_with(
        "[auth]\nkind = \"header\"\nname = \"X-Api-Key\"\nsecret = \"settings.secret\"",
        [SECRET, ""],
    )
    .await;
    assert_eq!(asked.header("x-api-key"), Some(SECRET));
    let asked =
        sent_with("[auth]\nkind = \"query\"\nname = \"key\"\nsecret = \"settings.secret\"", ["a b&c", ""])
            .await;
    assert_eq!(asked.target, "/send?key=a%20b%26c");
}

#[tokio::test]
async fn delivery_trace_and_deadline_go_along_and_an_empty_secret_sends_nothing() {
    let asked = sent_with("[auth]\nkind = \"bearer\"\nsecret = \"settings.secret\"", ["", ""]).await;
    assert_eq!(asked.header("authorization"), None);
    assert_eq!(asked.header("idempotency-key"), Some("\"01010101010101010101010101010101\""));
    assert!(asked.header("traceparent").unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    assert_eq!(asked.header("x-left-ms"), Some("1000"));
}

#[tokio::test]
async fn signatures_keep_their_id_and_renew_their_time() {
    let clock = HandClock::default();
    let server = StandIn::start(|_| (200, "{}".into())).await;
    let auth = "[auth]\nkind = \"signature\"\nkeys = [\"settings.secret\", \"settings.other\"]";
    let keys = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
    let provider = provider(auth, &server.url, keys, &clock);
    attempt(&provider, &job(1, 1, &clock)).await;
    clock.forward(Duration::from_secs(2));
    attempt(&provider, &job(1, 2, &clock)).await;
    let asked = server.asked("/send");
    let header = |index: usize, name: &str| asked[index].header(name).unwrap().to_owned();
    assert_eq!(header(0, "webhook-id"), "01010101010101010101010101010101");
    assert_eq!(header(0, "webhook-id"), header(1, "webhook-id"));
    assert_eq!(header(0, "webhook-timestamp"), "1767225600");
    assert_eq!(header(1, "webhook-timestamp"), "1767225602");
    assert_eq!(header(0, "webhook-signature").matches("v1,").count(), 2);
    assert_ne!(header(0, "webhook-signature"), header(1, "webhook-signature"));
}

const TOKEN: &str = r#"
[auth]
kind = "token"
token = "at('access_token')"
expires_in_s = "at('expires_in')"
send_as = "query"
name = "access_token"
[auth.request]
method = "POST"
path = "/token"
body = { secret = "settings.secret", forced = "forced" }
"#;

/// Gives tokens `t1`, `t2`, …, and takes only the newest while `takes` is 0, else only that one.
async fn token_server(takes: Arc<AtomicU32>) -> StandIn {
    let given = AtomicU32::new(0);
    StandIn::start(move |asked| {
        if asked.path() == "/token" {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            return (200, format!(r#"{{"access_token":"t{number}","expires_in":"7200"}}"#));
        }
        let wanted = takes.load(Ordering::SeqCst);
        let fits = wanted == 0 || asked.target.ends_with(&format!("access_token=t{wanted}"));
        if fits {
            (200, "{}".into())
        } else {
            (401, format!(r#"{{"error":"bad token in {}"}}"#, asked.target))
        }
    })
    .await
}

#[tokio::test]
async fn one_token_call_serves_all_until_shortly_before_its_end() {
    let clock = HandClock::default();
    let server = token_server(Arc::default()).await;
    let provider = Arc::new(provider(TOKEN, &server.url, [SECRET, ""], &clock));
    let attempts = (1..=20).map(|number| {
        let (provider, clock) = (Arc::clone(&provider), clock.clone());
        tokio::spawn(async move { attempt(&provider, &job(number, 1, &clock)).await.kind })
    });
    for attempt in attempts.collect::<Vec<_>>() {
        assert_eq!(attempt.await.unwrap(), VerdictKind::Delivered);
    }
    assert_eq!(server.asked("/token").len(), 1);
    assert_eq!(server.asked("/token")[0].json()["forced"], false);
    clock.forward(Duration::from_secs(6899));
    attempt(&provider, &job(30, 1, &clock)).await;
    assert_eq!(server.asked("/token").len(), 1);
    // Within five minutes of its end it is still good; the next one is fetched meanwhile.
    clock.forward(Duration::from_secs(2));
    attempt(&provider, &job(31, 1, &clock)).await;
    assert!(server.asked("/send").last().unwrap().target.ends_with("=t1"));
    while server.asked("/send").last().unwrap().target.ends_with("=t1") {
        attempt(&provider, &job(32, 1, &clock)).await;
    }
    assert_eq!(server.asked("/token").len(), 2);
    assert!(server.asked("/send").last().unwrap().target.ends_with("=t2"));
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_for_all_and_not_again_too_soon() {
    let clock = HandClock::default();
    let takes = Arc::new(AtomicU32::new(0));
    let server = token_server(Arc::clone(&takes)).await;
    let provider = provider(TOKEN, &server.url, [SECRET, ""], &clock);
    assert_eq!(attempt(&provider, &job(1, 1, &clock)).await.kind, VerdictKind::Delivered);
    takes.store(2, Ordering::SeqCst);
    let (one, two) = (job(2, 1, &clock), job(3, 1, &clock));
    let (one, two) = tokio::join!(attempt(&provider, &one), attempt(&provider, &two));
    for refused in [one, two] {
        assert_eq!((refused.kind, refused.code), (VerdictKind::Denied, Code::UpstreamUnauthorized));
        assert!(refused.renewed, "{refused:?}");
        assert!(!refused.message.contains("=t1") && refused.message.contains("***"), "{refused:?}");
    }
    assert_eq!(attempt(&provider, &job(2, 2, &clock)).await.kind, VerdictKind::Delivered);
    let calls = server.asked("/token");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].json()["forced"], true);
    // A token that is refused again at once isn't renewed again at once.
    takes.store(9, Ordering::SeqCst);
    assert!(!attempt(&provider, &job(4, 1, &clock)).await.renewed);
    clock.forward(Duration::from_secs(31));
    assert!(attempt(&provider, &job(4, 2, &clock)).await.renewed);
}

/// What stands before the channel says nothing of our credentials.
#[tokio::test]
async fn an_error_page_at_the_token_call_refuses_no_credentials() {
    for (status, body) in
        [(403, "<h1>Forbidden</h1>"), (404, "404 page not found"), (200, "<p>Please log in</p>")]
    {
        let clock = HandClock::default();
        let server = StandIn::start(move |_| (status, body.into())).await;
        let provider = provider(TOKEN, &server.url, [SECRET, ""], &clock);
        let verdict = attempt(&provider, &job(1, 1, &clock)).await;
        assert_eq!(verdict.kind, VerdictKind::NotSent, "{verdict:?}");
        assert!(server.asked("/send").is_empty());
    }
}

/// A filter's 401 isn't the channel's: the comment may be there, and the token is as good as it was.
#[tokio::test]
async fn an_error_page_gives_no_token_up() {
    let clock = HandClock::default();
    let server = StandIn::start(|asked| match asked.path() {
        "/token" => (200, r#"{"access_token":"t1"}"#.into()),
        _ => (401, "<h1>Unauthorized</h1>".into()),
    })
    .await;
    let provider = provider(TOKEN, &server.url, [SECRET, ""], &clock);
    let verdict = attempt(&provider, &job(1, 1, &clock)).await;
    assert_eq!((verdict.kind, verdict.renewed), (VerdictKind::Unknown, false), "{verdict:?}");
    assert_eq!(attempt(&provider, &job(2, 1, &clock)).await.kind, VerdictKind::Unknown);
    assert_eq!(server.asked("/token").len(), 1);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let clock = HandClock::default();
    let server = StandIn::start(|_| (200, format!(r#"{{"errcode":40013,"errmsg":"bad {SECRET}"}}"#))).await;
    let provider = provider(TOKEN, &server.url, [SECRET, ""], &clock);
    let verdict = attempt(&provider, &job(1, 1, &clock)).await;
    assert_eq!((verdict.kind, verdict.code), (VerdictKind::Denied, Code::UpstreamUnauthorized));
    assert!(verdict.message.contains("40013") && !verdict.message.contains(SECRET), "{}", verdict.message);
    assert_eq!(attempt(&provider, &job(2, 1, &clock)).await.kind, VerdictKind::Denied);
    assert_eq!((server.asked("/token").len(), server.asked("/send").len()), (1, 0), "asked again at once");
    clock.forward(Duration::from_secs(1));
    attempt(&provider, &job(3, 1, &clock)).await;
    assert_eq!(server.asked("/token").len(), 2);
    let url = server.url.clone();
    drop(server);
    let provider = crate::support::provider(TOKEN, &url, [SECRET, ""], &clock);
    assert_eq!(attempt(&provider, &job(1, 1, &clock)).await.kind, VerdictKind::NotSent);
}

#[tokio::test]
async fn lookups_may_have_credentials_of_their_own() {
    let clock = HandClock::default();
    let server = StandIn::start(|_| (200, r#"{"items":[]}"#.into())).await;
    let more = r#"
marker_is = "below"
[auth]
kind = "bearer"
secret = "settings.secret"
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
[lookup.auth]
kind = "header"
name = "X-Moderator"
secret = "settings.other"
"#
    .replace("marker_is = \"below\"", "");
    let provider = provider(&more, &server.url, [SECRET, "m0derator"], &clock);
    attempt(&provider, &job(1, 1, &clock)).await;
    provider.read_back("t").await.unwrap();
    assert_eq!(server.asked("/send")[0].header("authorization"), Some("Bearer s3cret-value"));
    let list = &server.asked("/list")[0];
    assert_eq!((list.header("authorization"), list.header("x-moderator")), (None, Some("m0derator")));
}

#[tokio::test]
async fn a_probe_says_able_not_able_neither_or_nothing() {
    let clock = HandClock::default();
    let status = Arc::new(AtomicU32::new(200));
    let says = Arc::clone(&status);
    let server = StandIn::start(move |_| (says.load(Ordering::SeqCst) as u16, format!("no {SECRET}"))).await;
    let more = r#"
[auth]
kind = "bearer"
secret = "settings.secret"
[probe]
able = "status == 200"
not_able = "status == 401"
reason = "text"
[probe.request]
method = "GET"
path = "/me"
"#;
    let provider = provider(more, &server.url, [SECRET, ""], &clock);
    assert_eq!(provider.ask_ability().await, Some(Ability::Able));
    assert!(server.asked("/me")[0].header("authorization").is_some());
    status.store(401, Ordering::SeqCst);
    let Some(Ability::NotAble(reason)) = provider.ask_ability().await else { panic!() };
    assert!(reason.contains("no ***"), "{reason}");
    status.store(404, Ordering::SeqCst);
    assert!(matches!(provider.ask_ability().await, Some(Ability::Unclear(_))));
    status.store(502, Ordering::SeqCst);
    assert!(matches!(provider.ask_ability().await, Some(Ability::Unreached(_))), "a proxy before nobody");
}

#[tokio::test]
async fn a_stranger_where_the_channel_never_was_is_up_and_one_in_its_place_is_not() {
    let clock = HandClock::default();
    let status = Arc::new(AtomicU32::new(502));
    let says = Arc::clone(&status);
    let server = StandIn::start(move |_| (says.load(Ordering::SeqCst) as u16, "{}".into())).await;
    let more = "[probe]\nable = \"status == 200\"\n[probe.request]\nmethod = \"GET\"\npath = \"/me\"";
    let provider = provider(more, &server.url, ["", ""], &clock);
    let asked = async |said: u16| {
        status.store(said.into(), Ordering::SeqCst);
        let condition = provider.probe().await;
        assert_eq!(condition.capability, ProbeState::Yes, "comments are tried: {condition:?}");
        (condition.is_good(), provider.status().identity.answer())
    };
    assert_eq!(asked(502).await, (false, Some(false)));
    assert_eq!(asked(404).await, (true, Some(false)), "comments may work without what the probe asks for");
    assert_eq!(asked(200).await, (true, Some(true)));
    assert_eq!(asked(404).await, (false, Some(true)), "it knew the channel before");
    assert_eq!(asked(502).await, (false, Some(true)));
}
