//! What stands between commentd and a channel makes no second copy of a comment and no false word about it: shown
//! from outside, before the board and before a real Isso and WordPress.

#[cfg(unix)]
use crate::real::{isso::Isso, wordpress::WordPress};
use crate::support::ServingProcess;
use crate::support::proxy::{Proxy, Upstream, forbidden_page, with_body, with_header};
use crate::support::{Board, HttpClient, Sidecar, at, wait_for};
use commentd_test_support::server::Latch;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tempfile::TempDir;

/// What the channel is said to need for settling.
const SETTLES: Duration = Duration::from_secs(1);

/// A channel that has a board's list of comments.
struct Site {
    channel: &'static str,
    url: String,
    target: &'static str,
    /// The field of a posted comment that carries its text.
    text: &'static str,
    /// The field of a posted comment that carries the marker.
    link: &'static str,
    /// The path of the list of comments.
    list: &'static str,
    settings: Vec<&'static str>,
    /// How many there are of a comment that was posted twice.
    of_two: usize,
    texts: Box<dyn Fn() -> Vec<String>>,
    directory: TempDir,
}

impl Site {
    fn board() -> Self {
        let board = Board::start(&[]);
        let url = board.url.clone();
        let texts = move || {
            let comments = Board::comments(&board.url, "t");
            comments.iter().map(|comment| comment["text"].as_str().unwrap().to_owned()).collect()
        };
        Self {
            channel: "board",
            url,
            target: "t",
            text: "text",
            link: "marker",
            list: "/api/comments?target=t&limit=10000",
            settings: vec!["settles_within_s=1"],
            of_two: 2,
            texts: Box::new(texts),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// `None`, loudly, where Isso isn't installed and needn't be.
    #[cfg(unix)]
    fn isso() -> Option<Self> {
        let isso = Isso::start()?;
        let url = isso.url.clone();
        let texts = move || each(isso.texts("/t"));
        Some(Self {
            channel: "isso",
            url,
            target: "/t",
            text: "text",
            link: "website",
            list: "/?uri=/t&plain=1",
            settings: vec!["settles_within_s=1", "website=https://example.org", "unmoderated=true"],
            of_two: 2,
            texts: Box::new(texts),
            directory: tempfile::tempdir().unwrap(),
        })
    }

    /// For a guest. `None`, loudly, where WordPress isn't installed and needn't be.
    #[cfg(unix)]
    fn wordpress() -> Option<Self> {
        let wordpress = WordPress::start(&json!({"let_guests_comment": 1}))?;
        let url = wordpress.url.clone();
        let texts = move || each(wordpress.texts("1"));
        Some(Self {
            channel: "wordpress",
            url,
            target: "1",
            text: "content",
            link: "author_url",
            list: "/?rest_route=/wp/v2/comments&post=1",
            settings: vec![
                "settles_within_s=1",
                "author_name=Ann",
                "author_email=ann@example.org",
                "website=https://example.org",
                "unmoderated=true",
            ],
            of_two: 1,
            texts: Box::new(texts),
            directory: tempfile::tempdir().unwrap(),
        })
    }

    fn upstream(&self) -> Upstream {
        Upstream::at(&self.url)
    }

    /// A sidecar before it, by way of this proxy.
    fn sidecar(&self, proxy: &Proxy) -> ServingProcess {
        let settings = self.settings.iter().flat_map(|setting| ["--set", setting]);
        Sidecar::for_channel(self.channel, &proxy.url(), self.directory.path(), &settings.collect::<Vec<_>>())
    }

    /// Asks for this text, under the text with hyphens as its key.
    #[track_caller]
    fn ask(&self, sidecar: &ServingProcess, text: &str, deadline_ms: u64) -> Value {
        let key = key_of(text);
        let comment = json!({"content": text, "sns_id": self.target, "idempotency_key": key, "deadline_ms": deadline_ms});
        let answer = sidecar.client().comment(&comment);
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    /// Lets one comment through, whose marker comes back.
    #[track_caller]
    fn let_first_through(&self, sidecar: &ServingProcess) {
        let told = self.ask(sidecar, "the first", 20_000);
        assert_eq!(at(&told, "data.outcome"), "delivered", "{told:#}");
    }

    /// Asks again and again, until lookups that find nothing would have proved that the comment isn't there, and once
    /// more; each time it must be unknown. Gives the last message.
    #[track_caller]
    fn assert_unknown_for_good(&self, sidecar: &ServingProcess, proxy: &Proxy, text: &str) -> String {
        let mut last = String::new();
        let mut ask_once_more = || {
            let told = self.ask(sidecar, text, 3000);
            assert_eq!(at(&told, "data.outcome"), "unknown", "{told:#}");
            told["error_message"].as_str().unwrap().clone_into(&mut last);
        };
        wait_for("lookups that would have proved it absent", || {
            ask_once_more();
            proxy.has_seen_enough_for_absence(SETTLES)
        });
        ask_once_more();
        last
    }

    /// Asks again and again until it is delivered; before that it must be unknown.
    #[track_caller]
    fn assert_delivered_in_the_end(&self, sidecar: &ServingProcess, text: &str) {
        wait_for("a lookup to find it", || {
            let told = self.ask(sidecar, text, 3000);
            let outcome = at(&told, "data.outcome");
            assert!(outcome == "unknown" || outcome == "delivered", "{told:#}");
            outcome == "delivered"
        });
    }

    /// How often this text is there.
    #[track_caller]
    fn assert_there(&self, text: &str, times: usize) {
        let texts = (self.texts)();
        assert_eq!(texts.iter().filter(|there| *there == text).count(), times, "{texts:?}");
    }
}

/// Runs each of these over each of the channels.
macro_rules! over_each_site {
    ($($name:ident),+ $(,)?) => {
        mod board {
            $(#[test] fn $name() { super::$name(&super::Site::board()); })+
        }
        #[cfg(unix)]
        mod isso {
            $(#[test] fn $name() { if let Some(site) = super::Site::isso() { super::$name(&site); } })+
        }
        #[cfg(unix)]
        mod wordpress {
            $(#[test] fn $name() { if let Some(site) = super::Site::wordpress() { super::$name(&site); } })+
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

fn key_of(text: &str) -> String {
    text.replace(' ', "-")
}

#[cfg(unix)]
fn each(texts: HashMap<String, u32>) -> Vec<String> {
    texts.into_iter().flat_map(|(text, times)| vec![text; times as usize]).collect()
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
    site.let_first_through(&sidecar);
    let why = site.assert_unknown_for_good(&sidecar, &proxy, "without its marker");
    site.assert_there("without its marker", 1);
    assert_eq!(proxy.posts(), 2);
    assert!(why.contains("the same words and without a marker"), "{why}");
}

/// Neither by its marker nor by its words is it known again.
fn where_no_marker_was_ever_seen_silence_proves_nothing(site: &Site) {
    let (link, text) = (site.link, site.text);
    let proxy = Proxy::of_posts(site.upstream(), move |number, upstream, request| {
        let changed = with_body(request, |body| {
            body.remove(link);
            body.insert(text.to_owned(), json!("changed on its way"));
        });
        let reply = upstream.forward(&changed);
        (number > 0).then_some(reply)
    });
    let sidecar = site.sidecar(&proxy);
    let why = site.assert_unknown_for_good(&sidecar, &proxy, "as it was written");
    site.assert_there("changed on its way", 1);
    assert_eq!(proxy.posts(), 1);
    assert!(why.contains("no marker of ours was ever seen"), "{why}");
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
    site.let_first_through(&sidecar);
    old.set(with_header(&site.upstream().get(site.list), "Age: 60")).unwrap();
    let why = site.assert_unknown_for_good(&sidecar, &proxy, "stored behind a cache");
    assert!(why.contains("from a cache (age: 60)"), "{why}");
    site.assert_there("stored behind a cache", 1);
    fresh.open();
    site.assert_delivered_in_the_end(&sidecar, "stored behind a cache");
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
    site.let_first_through(&sidecar);
    site.assert_delivered_in_the_end(&sidecar, "stored after a look");
    site.assert_there("stored after a look", 1);
    assert_eq!(proxy.posts(), 2);
}

/// Where the channel stores the second, too, nobody before the proxy can prevent it.
fn a_proxy_that_posts_twice_makes_no_false_word(site: &Site) {
    let proxy = Proxy::of_posts(site.upstream(), |_, upstream, request| {
        upstream.forward(request);
        Some(upstream.forward(request))
    });
    let sidecar = site.sidecar(&proxy);
    for replayed in [false, true] {
        let told = site.ask(&sidecar, "posted twice", 20_000);
        assert_eq!(at(&told, "data.outcome"), "delivered", "{told:#}");
        assert_eq!(at(&told, "data.replayed"), replayed, "{told:#}");
    }
    site.assert_there("posted twice", site.of_two);
    assert_eq!(proxy.posts(), 1);
}

/// What the attempts for a text came to, and what became of them since.
fn verdicts(client: &HttpClient, text: &str) -> Vec<(String, String)> {
    let told = client.get(&format!("/api/deliveries?key={}", key_of(text))).json();
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
        let told = site.ask(&sidecar, "filtered", 20_000);
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
        let told = site.ask(&sidecar, "filtered", 3000);
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
            Some(commentd_test_support::server::reply("409 Conflict", "Connection: close\r\n", said))
        });
        let channels = directory.path().to_str().unwrap();
        let args = ["--channels-dir", channels, "--set", "settles_within_s=1"];
        let sidecar = Sidecar::for_channel("knowing", &proxy.url(), site.directory.path(), &args);
        let told = site.ask(&sidecar, "once", 20_000);
        assert_eq!(at(&told, "data.outcome"), outcome, "{told:#}");
        assert_eq!(verdicts(&sidecar.client(), "once"), [("unknown".to_owned(), verdict.to_owned())]);
        site.assert_there("once", usize::from(stores));
        assert_eq!(proxy.posts(), 1);
    }
}
