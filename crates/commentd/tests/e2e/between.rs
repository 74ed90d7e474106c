//! What stands between commentd and a channel makes no second copy of a comment and no false word about it: shown
//! from outside, before the board and before a real Isso.

use crate::misbehaving::Latch;
#[cfg(unix)]
use crate::real::isso::Isso;
use crate::support::process::Served;
use crate::support::proxy::{Proxy, Upstream, forbidden_page, with_body, with_header};
use crate::support::{Board, Client, Sidecar, at, wait_for};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tempfile::TempDir;

/// What the channel is said to need for settling.
const SETTLES: Duration = Duration::from_secs(1);
const TARGET: &str = "/t";

/// A channel that has a board's list of comments.
struct Site {
    channel: &'static str,
    url: String,
    /// The field of a posted comment that carries the marker.
    link: &'static str,
    /// The path of the list of comments.
    list: &'static str,
    settings: Vec<&'static str>,
    texts: Box<dyn Fn() -> Vec<String>>,
    directory: TempDir,
}

impl Site {
    fn board() -> Self {
        let board = Board::start(&[]);
        let url = board.url.clone();
        let texts = move || {
            let comments = Board::comments(&board.url, TARGET);
            comments.iter().map(|comment| comment["text"].as_str().unwrap().to_owned()).collect()
        };
        Self {
            channel: "board",
            url,
            link: "marker",
            list: "/api/comments?target=/t&limit=10000",
            settings: vec!["settles_within_s=1"],
            texts: Box::new(texts),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// `None`, loudly, where Isso isn't installed and needn't be.
    #[cfg(unix)]
    fn isso() -> Option<Self> {
        let isso = Isso::start()?;
        let url = isso.url.clone();
        let texts = move || {
            let texts = isso.texts(TARGET);
            texts.into_iter().flat_map(|(text, times)| vec![text; times as usize]).collect()
        };
        Some(Self {
            channel: "isso",
            url,
            link: "website",
            list: "/?uri=/t&plain=1",
            settings: vec!["settles_within_s=1", "website=https://example.org", "unmoderated=true"],
            texts: Box::new(texts),
            directory: tempfile::tempdir().unwrap(),
        })
    }

    fn upstream(&self) -> Upstream {
        Upstream::at(&self.url)
    }

    /// A sidecar before it, by way of this proxy.
    fn sidecar(&self, proxy: &Proxy) -> Served {
        let settings = self.settings.iter().flat_map(|setting| ["--set", setting]);
        Sidecar::for_channel(self.channel, &proxy.url(), self.directory.path(), &settings.collect::<Vec<_>>())
    }

    /// How often this text is there.
    #[track_caller]
    fn assert_there(&self, text: &str, times: usize) {
        let texts = (self.texts)();
        assert_eq!(texts.iter().filter(|there| *there == text).count(), times, "{texts:?}");
    }
}

/// Runs each of these over the board and over Isso.
macro_rules! over_each_site {
    ($($name:ident),+ $(,)?) => {
        mod board {
            $(#[test] fn $name() { super::$name(&super::Site::board()); })+
        }
        #[cfg(unix)]
        mod isso {
            $(#[test] fn $name() { if let Some(site) = super::Site::isso() { super::$name(&site); } })+
        }
    };
}

over_each_site!(
    a_site_that_drops_the_marker_gets_no_second_copy,
    where_no_marker_was_ever_seen_silence_proves_nothing,
    an_old_list_proves_nothing_and_a_new_one_settles_it,
    a_cache_that_does_not_say_so_is_passed_by_a_nonce,
    a_proxy_that_posts_twice_makes_no_false_word,
    a_filters_page_after_the_comment_was_stored_is_no_refusal,
);

/// Its key is the text with hyphens.
fn ask(client: &Client, text: &str, deadline_ms: u64) -> Value {
    let key = text.replace(' ', "-");
    let comment =
        json!({"content": text, "sns_id": TARGET, "idempotency_key": key, "deadline_ms": deadline_ms});
    let answer = client.comment(&comment);
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

/// Lets one comment through, whose marker comes back.
#[track_caller]
fn assert_first_delivered(sidecar: &Served) {
    let told = ask(&sidecar.client(), "the first", 20_000);
    assert_eq!(at(&told, "data.outcome"), "delivered", "{told:#}");
}

/// Asks again and again, until lookups that find nothing would have proved that the comment isn't there, and once more;
/// each time it must be unknown. Gives the last reply.
#[track_caller]
fn assert_unknown_for_good(sidecar: &Served, proxy: &Proxy, text: &str) -> Value {
    let mut last = Value::Null;
    let mut ask_once_more = || {
        last = ask(&sidecar.client(), text, 3000);
        assert_eq!(at(&last, "data.outcome"), "unknown", "{last:#}");
    };
    wait_for("lookups that would have proved it absent", || {
        ask_once_more();
        proxy.has_seen_enough_for_absence(SETTLES)
    });
    ask_once_more();
    last
}

fn a_site_that_drops_the_marker_gets_no_second_copy(site: &Site) {
    let link = site.link;
    let proxy = Proxy::of_posts(site.upstream(), move |number, upstream, request| {
        let plain = with_body(request, |body| drop(body.remove(link)));
        match number {
            0 => Some(upstream.forward(request)),
            1 => {
                upstream.forward(&plain);
                None
            }
            _ => Some(upstream.forward(&plain)),
        }
    });
    let sidecar = site.sidecar(&proxy);
    assert_first_delivered(&sidecar);
    let told = assert_unknown_for_good(&sidecar, &proxy, "without its marker");
    let why = told["error_message"].as_str().unwrap();
    assert!(why.contains("the same words and without a marker"), "{told:#}");
    site.assert_there("without its marker", 1);
    assert_eq!(proxy.posts(), 2);
}

/// Neither by its marker nor by its words is it known again.
fn where_no_marker_was_ever_seen_silence_proves_nothing(site: &Site) {
    let link = site.link;
    let proxy = Proxy::of_posts(site.upstream(), move |number, upstream, request| {
        let changed = with_body(request, |body| {
            body.remove(link);
            body["text"] = json!("changed on its way");
        });
        let reply = upstream.forward(&changed);
        (number > 0).then_some(reply)
    });
    let sidecar = site.sidecar(&proxy);
    let told = assert_unknown_for_good(&sidecar, &proxy, "as it was written");
    let why = told["error_message"].as_str().unwrap();
    assert!(why.contains("no marker of ours was ever seen"), "{told:#}");
    site.assert_there("changed on its way", 1);
    assert_eq!(proxy.posts(), 1);
}

fn an_old_list_proves_nothing_and_a_new_one_settles_it(site: &Site) {
    let (old, fresh) = (Arc::<OnceLock<Vec<u8>>>::default(), Latch::default());
    let (cache, is_fresh) = (Arc::clone(&old), fresh.clone());
    let proxy = Proxy::before(
        site.upstream(),
        |number, upstream, request| {
            let reply = upstream.forward(request);
            (number != 1).then_some(reply)
        },
        move |_, upstream, request| match cache.get() {
            Some(old) if !is_fresh.is_open() => old.clone(),
            _ => upstream.forward(request),
        },
    );
    let sidecar = site.sidecar(&proxy);
    assert_first_delivered(&sidecar);
    old.set(with_header(&site.upstream().get(site.list), "Age: 60")).unwrap();
    let told = assert_unknown_for_good(&sidecar, &proxy, "stored behind a cache");
    assert!(told["error_message"].as_str().unwrap().contains("from a cache (age: 60)"), "{told:#}");
    site.assert_there("stored behind a cache", 1);
    fresh.open();
    wait_for("the new list to settle it", || {
        let told = ask(&sidecar.client(), "stored behind a cache", 3000);
        let outcome = at(&told, "data.outcome");
        assert!(outcome == "unknown" || outcome == "delivered", "{told:#}");
        outcome == "delivered"
    });
    site.assert_there("stored behind a cache", 1);
    assert_eq!(proxy.posts(), 2);
}

/// It keeps the list that was read before the comment was stored, for whoever asks for the same address.
fn a_cache_that_does_not_say_so_is_passed_by_a_nonce(site: &Site) {
    let (cached, unstored) = (Mutex::<HashMap<String, Vec<u8>>>::default(), Latch::default());
    let has_read = unstored.clone();
    let proxy = Proxy::before(
        site.upstream(),
        move |number, upstream, request| {
            if number != 1 {
                return Some(upstream.forward(request));
            }
            let (unstored, upstream, request) = (unstored.clone(), upstream.clone(), request.to_owned());
            std::thread::spawn(move || {
                unstored.wait();
                upstream.forward(&request);
            });
            None
        },
        move |posts, upstream, request| {
            let address = request.lines().next().unwrap().to_owned();
            let read = || upstream.forward(request);
            let reply = cached.lock().unwrap().entry(address).or_insert_with(read).clone();
            if posts == 2 {
                has_read.open();
            }
            reply
        },
    );
    // Settled late, so that it is never taken for absent here.
    let settings = site.settings.iter().map(|setting| match *setting {
        "settles_within_s=1" => "settles_within_s=60",
        other => other,
    });
    let args: Vec<&str> = settings.flat_map(|setting| ["--set", setting]).collect();
    let sidecar = Sidecar::for_channel(site.channel, &proxy.url(), site.directory.path(), &args);
    assert_first_delivered(&sidecar);
    wait_for("a lookup to find it", || {
        let told = ask(&sidecar.client(), "stored after a look", 3000);
        let outcome = at(&told, "data.outcome");
        assert!(outcome == "unknown" || outcome == "delivered", "{told:#}");
        outcome == "delivered"
    });
    site.assert_there("stored after a look", 1);
    assert_eq!(proxy.posts(), 2);
}

/// These channels store the second, too, which nobody before the proxy can prevent.
fn a_proxy_that_posts_twice_makes_no_false_word(site: &Site) {
    let proxy = Proxy::of_posts(site.upstream(), |_, upstream, request| {
        upstream.forward(request);
        Some(upstream.forward(request))
    });
    let sidecar = site.sidecar(&proxy);
    for replayed in [false, true] {
        let told = ask(&sidecar.client(), "posted twice", 20_000);
        assert_eq!(at(&told, "data.outcome"), "delivered", "{told:#}");
        assert_eq!(at(&told, "data.replayed"), replayed, "{told:#}");
    }
    site.assert_there("posted twice", 2);
    assert_eq!(proxy.posts(), 1);
}

/// What the attempts under a key came to, and what became of them since.
fn verdicts(client: &Client, key: &str) -> Vec<(String, String)> {
    let told = client.get(&format!("/api/deliveries?key={key}")).json();
    let attempts = at(&told, "data.deliveries.0.attempts").as_array().unwrap();
    let word = |attempt: &Value, path: &str| at(attempt, path).as_str().unwrap_or_default().to_owned();
    let both = |attempt| (word(attempt, "verdict.verdict"), word(attempt, "resolution.verdict"));
    attempts.iter().map(both).collect()
}

fn a_filters_page_after_the_comment_was_stored_is_no_refusal(site: &Site) {
    let proxy = Proxy::of_posts(site.upstream(), |_, upstream, request| {
        upstream.forward(request);
        Some(forbidden_page())
    });
    let sidecar = site.sidecar(&proxy);
    for time in 0..4 {
        let told = ask(&sidecar.client(), "filtered", 20_000);
        assert_eq!(at(&told, "data.outcome"), "delivered", "{told:#}");
        assert_eq!(at(&told, "data.replayed"), time > 0, "{told:#}");
    }
    assert_eq!(verdicts(&sidecar.client(), "filtered"), [("unknown".to_owned(), "delivered".to_owned())]);
    site.assert_there("filtered", 1);
    assert_eq!(proxy.posts(), 1);
}

/// Without a marker nothing finds it, and a person has to judge.
#[cfg(unix)]
#[test]
fn a_filters_page_stays_unknown_where_nothing_can_find_the_comment() {
    let Some(mut site) = Site::isso() else { return };
    site.settings.retain(|setting| !setting.starts_with("website="));
    let proxy = Proxy::of_posts(site.upstream(), |_, upstream, request| {
        upstream.forward(request);
        Some(forbidden_page())
    });
    let sidecar = site.sidecar(&proxy);
    for _ in 0..4 {
        let told = ask(&sidecar.client(), "filtered", 3000);
        assert_eq!(at(&told, "data.outcome"), "unknown", "{told:#}");
    }
    site.assert_there("filtered", 1);
    assert_eq!(proxy.posts(), 1);
}

/// A channel that knows the second for a duplicate, and a proxy that hands back what it says of that.
#[test]
fn a_duplicate_is_refused_only_if_it_is_none_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let knowing = include_str!("../../../../channels/board.toml")
        .replace("name = \"board\"", "name = \"knowing\"")
        .replace("bad_request = \"refused\"", "bad_request = \"refused\"\nknown = \"duplicate\"");
    assert!(knowing.contains("known = \"duplicate\""));
    std::fs::write(directory.path().join("knowing.toml"), knowing).unwrap();
    for (stores, outcome, verdict) in [(true, "delivered", "delivered"), (false, "refused", "duplicate")] {
        let site = Site::board();
        let proxy = Proxy::of_posts(site.upstream(), move |_, upstream, request| {
            if stores {
                upstream.forward(request);
            }
            let said = r#"{"error":"known","message":"this is there already"}"#;
            Some(crate::misbehaving::reply("409 Conflict", "Connection: close\r\n", said))
        });
        let channels = directory.path().to_str().unwrap();
        let args = ["--channels-dir", channels, "--set", "settles_within_s=1"];
        let sidecar = Sidecar::for_channel("knowing", &proxy.url(), site.directory.path(), &args);
        let told = ask(&sidecar.client(), "once", 20_000);
        assert_eq!(at(&told, "data.outcome"), outcome, "{told:#}");
        assert_eq!(verdicts(&sidecar.client(), "once"), [("unknown".to_owned(), verdict.to_owned())]);
        site.assert_there("once", usize::from(stores));
        assert_eq!(proxy.posts(), 1);
    }
}
