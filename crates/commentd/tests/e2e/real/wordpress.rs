//! WordPress, as Debian has it, under PHP's own server with eight workers.

use super::{
    Channel, Group, Turn, ability, assert_fifty_once, assert_goal_passed, assert_told, assert_verdict,
    counted,
};
use super::{free_address, installed, post, proxy, turn, work};
use crate::support::{HttpClient, at, wait_for};
use base64::Engine;
use commentd_channels::Ability;
use proxy::Way;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A site with one post (number 1), an administrator and a subscriber.
pub struct WordPress {
    pub url: String,
    accounts: Value,
    _server: Group,
    directory: TempDir,
    _turn: Turn,
}

impl WordPress {
    /// With these options of the site; `None`, loudly, where it isn't installed and needn't be.
    pub fn start(options: &Value) -> Option<Self> {
        let files = files();
        let driver = work("servers/sqlite-database-integration-main");
        let parts = [
            (files.join("wp-load.php"), "scripts/install-servers"),
            (PathBuf::from("/usr/bin/php"), "scripts/install-servers"),
            (driver.join("db.copy"), "scripts/test"),
        ];
        let parts: Vec<_> = parts.iter().map(|(path, by)| (path.as_path(), *by)).collect();
        if !installed("WordPress", &parts) {
            return None;
        }
        let turn = turn();
        let directory = tempfile::tempdir().unwrap();
        let site = directory.path().join("site");
        lay_out(&site, &files, &driver);
        let installed = Command::new("php")
            .arg(ours("install.php"))
            .args([site.as_os_str(), options.to_string().as_ref()])
            .output()
            .unwrap();
        let accounts = serde_json::from_slice(&installed.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&installed.stdout)));
        let address = free_address();
        let log = fs::File::create(directory.path().join("php.log")).unwrap();
        let mut command = Command::new("php");
        command.args(["-d", "opcache.enable_cli=1", "-S", &address.to_string(), "-t"]).arg(&site);
        command.arg(site.join("router.php")).env("PHP_CLI_SERVER_WORKERS", "8");
        let server = Group::start(command.stdout(Stdio::null()).stderr(log));
        let url = format!("http://{address}");
        let wordpress = Self { url, accounts, _server: server, directory, _turn: turn };
        wait_for("WordPress to answer", || {
            std::net::TcpStream::connect(address).is_ok()
                && HttpClient::new(&wordpress.url).get("/?rest_route=/").status == 200
        });
        Some(wordpress)
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A directory for another sidecar's ledger.
    fn fresh(&self, name: &str) -> PathBuf {
        let directory = self.directory().join(name);
        fs::create_dir(&directory).unwrap();
        directory
    }

    fn password(&self, account: &str) -> &str {
        self.accounts[account].as_str().unwrap()
    }

    /// For comments of this account, with a marker. Only the administrator may moderate.
    fn channel(&self, account: &str) -> Channel {
        let id = if account == "admin" { "1".to_owned() } else { self.accounts["reader_id"].to_string() };
        self.bare_channel(account).with("website", "https://example.org").with("user_id", &id)
    }

    /// Without any settings.
    fn guest(&self) -> Channel {
        Channel { name: "wordpress", url: self.url.clone(), settings: Vec::new(), secrets: Vec::new() }
    }

    /// The same as [`WordPress::channel`] without a marker.
    fn bare_channel(&self, account: &str) -> Channel {
        let channel = self.guest().with("username", account).with_secret("password", self.password(account));
        if account == "admin" { channel.with("moderator", "true") } else { channel }
    }

    /// Asks WordPress itself, as its administrator.
    fn ask(&self, query: &str) -> Value {
        let user = format!("admin:{}", self.password("admin"));
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user));
        let path = format!("/?rest_route=/wp/v2/{query}");
        let answer = HttpClient::new(&self.url).request("GET", &path, &[("Authorization", &basic)], b"");
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    /// Every comment on a post in whatever state, but for the one that WordPress installs.
    fn comments(&self, post: &str) -> Vec<Value> {
        let all = self.ask(&format!("comments&status=any&context=edit&per_page=100&post={post}"));
        let all = all.as_array().unwrap().clone();
        all.into_iter().filter(|comment| comment["author_name"] != "A WordPress Commenter").collect()
    }

    /// Every text on a post, with how often it is there.
    pub fn texts(&self, post: &str) -> HashMap<String, u32> {
        counted(self.comments(post).iter().map(|comment| at(comment, "content.raw").as_str().unwrap()))
    }
}

/// Where `scripts/install-servers` put the package's files, or where the package itself puts them.
fn files() -> PathBuf {
    let unpacked = PathBuf::from("/usr/local/share/commentd-tests/wordpress/usr/share/wordpress");
    if unpacked.exists() { unpacked } else { "/usr/share/wordpress".into() }
}

fn ours(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/real/wordpress").join(file)
}

/// A site of its own around the package's code: its files at the top are copied, because WordPress takes the
/// directory of those for its own.
fn lay_out(site: &Path, files: &Path, driver: &Path) {
    let content = site.join("wp-content");
    for directory in [content.join("plugins"), content.join("mu-plugins"), site.with_file_name("database")] {
        fs::create_dir_all(directory).unwrap();
    }
    for entry in fs::read_dir(files).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".php") && name != "wp-config.php" {
            fs::copy(entry.path(), site.join(name)).unwrap();
        }
    }
    for directory in ["wp-includes", "wp-admin"] {
        std::os::unix::fs::symlink(files.join(directory), site.join(directory)).unwrap();
    }
    std::os::unix::fs::symlink(driver, content.join("plugins/sqlite-database-integration")).unwrap();
    fs::copy(driver.join("db.copy"), content.join("db.php")).unwrap();
    fs::copy(ours("offline.php"), content.join("mu-plugins/offline.php")).unwrap();
    fs::copy(ours("wp-config.php"), site.join("wp-config.php")).unwrap();
    fs::copy(ours("router.php"), site.join("router.php")).unwrap();
}

#[test]
fn fifty_of_fifty_comments_are_there_exactly_once() {
    let Some(wordpress) = WordPress::start(&json!({})) else { return };
    let channel = wordpress.channel("admin");
    let sidecar = channel.serve(wordpress.directory());
    assert_goal_passed(&channel.accept(&sidecar, "1", wordpress.directory(), &[]));
    assert_fifty_once(&wordpress.texts("1"));
    assert!(wordpress.comments("1").iter().all(|comment| comment["status"] == "approved"));
}

#[test]
fn a_subscribers_comments_await_moderation_and_are_there_exactly_once() {
    let Some(wordpress) = WordPress::start(&json!({"comment_moderation": 1})) else { return };
    let sidecar = wordpress.channel("reader").serve(wordpress.directory());
    // Who reads back must see what is held.
    let reader = wordpress.channel("admin");
    assert_goal_passed(&reader.accept(&sidecar, "1", wordpress.directory(), &[]));
    assert_fifty_once(&wordpress.texts("1"));
    assert!(wordpress.comments("1").iter().all(|comment| comment["status"] == "hold"));
    let told = post(&sidecar, &json!({"content": "held, too", "sns_id": "1"}));
    assert_told(&told, "held", 0);
}

#[test]
fn a_moderators_lookups_settle_what_was_cut_even_where_it_is_held() {
    let Some(wordpress) = WordPress::start(&json!({"comment_moderation": 1})) else { return };
    let proxy = proxy::before(&wordpress.url, proxy::some_cut);
    let channel = wordpress.channel("reader").by_way_of(&proxy.url()).with("settles_within_s", "0.5");
    let channel = channel.with("lookup_username", "admin").with("moderator", "true");
    let channel = channel.with_secret("lookup_password", wordpress.password("admin"));
    let sidecar = channel.serve(wordpress.directory());
    proxy::assert_all_settled(&sidecar, &proxy, "1", "held");
    proxy::assert_each_there_once(&wordpress.texts("1"));
}

#[test]
fn a_subscribers_lookups_settle_what_was_cut_where_nothing_is_moderated() {
    let Some(wordpress) = WordPress::start(&json!({})) else { return };
    let proxy = proxy::before(&wordpress.url, proxy::some_cut);
    let channel = wordpress.channel("reader").by_way_of(&proxy.url()).with("settles_within_s", "0.5");
    let sidecar = channel.with("unmoderated", "true").serve(wordpress.directory());
    proxy::assert_all_settled(&sidecar, &proxy, "1", "delivered");
    proxy::assert_each_there_once(&wordpress.texts("1"));
}

#[test]
fn what_was_cut_stays_unknown_where_lookups_see_only_approved_comments() {
    let Some(wordpress) = WordPress::start(&json!({"comment_moderation": 1})) else { return };
    let proxy = proxy::before(&wordpress.url, |sent| [Way::ReplyLost, Way::RequestLost][sent % 2]);
    let channel = wordpress.channel("reader").by_way_of(&proxy.url()).with("settles_within_s", "0.5");
    let sidecar = channel.serve(wordpress.directory());
    for key in ["stored", "lost"] {
        let comment = json!({"content": key, "sns_id": "1", "idempotency_key": key, "deadline_ms": 4000});
        assert_told(&post(&sidecar, &comment), "unknown", 51);
        // The caller that asks again learns no more, and nothing is sent again.
        assert_told(&post(&sidecar, &comment), "unknown", 51);
    }
    assert_eq!(proxy.seen().requests_with("POST /"), 2);
    assert_eq!(wordpress.texts("1"), counted(["stored"].into_iter()));
}

#[test]
fn refusals_are_told_as_what_they_are() {
    let Some(wordpress) = WordPress::start(&json!({})) else { return };
    let sidecar = wordpress.channel("reader").serve(wordpress.directory());
    let say = |content: &str, target: &str, reply_to: &str| {
        post(&sidecar, &json!({"content": content, "sns_id": target, "reply_to": reply_to}))
    };
    let first = say("the first", "1", "");
    assert_told(&first, "delivered", 0);
    let id = at(&first, "data.comment_id").as_str().unwrap();
    assert_told(&say("an answer", "1", id), "delivered", 0);
    let answers =
        wordpress.comments("1").iter().filter(|one| one["parent"] == id.parse::<u64>().unwrap()).count();
    assert_eq!(answers, 1);
    // The marker makes each comment another one, so a duplicate is provoked without.
    let plain = wordpress.bare_channel("reader").serve(&wordpress.fresh("plain"));
    let twice = json!({"content": "the same", "sns_id": "1"});
    assert_told(&post(&plain, &twice), "delivered", 0);
    let duplicate = post(&plain, &twice);
    assert_verdict(&duplicate, "duplicate", "comment_duplicate");
    assert_told(&duplicate, "refused", 52);

    let missing = say("to no post", "99999", "");
    assert_verdict(&missing, "refused", "rest_comment_invalid_post_id");
    let closed = say("too late", &wordpress.accounts["closed_post"].to_string(), "");
    assert_verdict(&closed, "denied", "rest_comment_closed");
    assert_told(&closed, "not_sent", 66);
    assert_verdict(&say(" ", "1", ""), "refused", "rest_comment_content_invalid");
    assert_eq!(wordpress.comments("1").len(), 3);
}

#[test]
fn the_flood_control_is_told_as_throttling_with_its_hint() {
    let Some(wordpress) = WordPress::start(&json!({"keep_flood_control": 1})) else { return };
    let sidecar = wordpress.channel("reader").serve(wordpress.directory());
    let say =
        |content: &str| post(&sidecar, &json!({"content": content, "sns_id": "1", "deadline_ms": 10_000}));
    assert_told(&say("the first"), "delivered", 0);
    let flood = say("at once another");
    assert_verdict(&flood, "throttled", "comment_flood");
    assert_told(&flood, "not_sent", 53);
    assert_eq!(wordpress.comments("1").len(), 1);
}

#[test]
fn a_wrong_password_is_told_before_and_nothing_counts_as_delivered() {
    for guests in [0, 1] {
        let Some(wordpress) = WordPress::start(&json!({"let_guests_comment": guests})) else { return };
        let mut channel = wordpress.channel("reader");
        assert!(matches!(ability(&channel), Ability::Able), "{:?}", ability(&channel));
        channel.secrets = vec![("password", "wrong".into())];
        match ability(&channel) {
            Ability::NotAble(reason) => assert!(reason.contains("application password"), "{reason}"),
            other => panic!("{other:?}"),
        }
        let sidecar = channel.serve(wordpress.directory());
        let told = post(&sidecar, &json!({"content": "as nobody", "sns_id": "1"}));
        // Sent all the same, it is stored as a guest's where guests may comment, and that is told.
        let outcome = if wordpress.comments("1").is_empty() { "not_sent" } else { "misplaced" };
        assert_eq!(at(&told, "data.outcome"), outcome, "{told:#}");
    }
}

#[test]
fn guests_comment_where_they_may_and_are_refused_where_not() {
    for (guests, outcome, code) in [(1, "delivered", 0), (0, "not_sent", 54)] {
        let options = json!({"let_guests_comment": guests, "require_name_email": 1});
        let Some(wordpress) = WordPress::start(&options) else { return };
        let guest = wordpress.guest().with("author_name", "Ann");
        let named =
            guest.clone().with("author_email", "ann@example.org").with("website", "https://example.org");
        let sidecar = named.serve(wordpress.directory());
        let told = post(&sidecar, &json!({"content": "from a guest", "sns_id": "1"}));
        assert_told(&told, outcome, code);
        if guests == 1 {
            let nameless = guest.serve(&wordpress.fresh("nameless"));
            let told = post(&nameless, &json!({"content": "without an address", "sns_id": "1"}));
            assert_verdict(&told, "denied", "rest_comment_author_data_required");
        } else {
            assert_verdict(&told, "denied", "rest_comment_login_required");
        }
    }
}
