//! What a lookup finds and what its silence may prove, by marker, receipt and slot, over one page and several.

use super::comment;
use crate::check::check;
use crate::{Channel, ChannelReply, ListResult, ListedComment, Manifest, ReadBack};
use commentd_contract::VerdictKind;
use commentd_delivery::{Comment, DeliveryId};
use std::collections::BTreeMap;

const ID: DeliveryId = DeliveryId::from_bytes([0; 16]);
const MARKER: &str = "00000000000000000000000000000000";

/// Comments in pages of two, each with a link that may carry the marker.
const LIST: &str = r#"
manifest = 1
name = "list"
version = 1
summary = "a list in pages"
target = "a page"
reply = "none"
marker = "delivery_id if settings.marked else none"
receipt = "at('id')"
echo = "at('text') == content"
settles_within_s = "settings.settles_within_s"
[settings.marked]
type = "boolean"
default = true
help = "whether the channel carries the marker"
[settings.moderator_token]
type = "secret"
default = ""
help = "a token that sees what is held"
[settings.settles_within_s]
type = "number"
default = 30
help = "how long"
[send]
method = "POST"
path = "/new"
headers = { Authorization = "'poster'" }
body = { text = "content" }
[[verdict]]
is = "delivered"
when = "status == 201"
[lookup]
answers = "status == 200"
items = "at('items')"
complete = "at('total') is not none"
next = "(page or 1) + 1 if (page or 1) < at('pages') else none"
ours = "item.link == marker"
id = "item.id"
text = "item.text"
marker_place = "item.link"
time = "item.at"
newest_first = "true"
max_pages = 20
sees_every_state = "settings.moderator_token != ''"
state = [{ is = "held", when = "item.status == 'hold'" }]
[lookup.request]
method = "GET"
path = "/list"
query = { page = "page or 1", search = "marker", nonce = "nonce" }
headers = { Authorization = "settings.moderator_token or omit" }
[[example]]
name = "on the second page"
reply = { status = 200, body = '{"pages":2,"total":3,"items":[{"id":1,"link":"","text":"a","status":"ok","at":null}]}' }
then = [{ status = 200, body = '{"pages":2,"total":3,"items":[{"id":3,"link":"00000000000000000000000000000000","text":"b","status":"hold","at":null}]}' }]
finds = "held"
comment_id = "3"
[[example]]
name = "by its receipt"
settings = { marked = false }
receipt = "1"
reply = { status = 200, body = '{"pages":2,"total":3,"items":[{"id":1,"link":"","text":"a","status":"ok","at":null}]}' }
finds = "delivered"
comment_id = "1"
[[example]]
name = "published"
comment = { content = "hi" }
reply = { status = 201, body = '{"id":1,"text":"hi"}' }
verdict = "delivered"
"#;

/// At most one reply for each reader's comment.
const SLOT: &str = r#"
manifest = 1
name = "slot"
version = 1
summary = "one reply for each reader's comment"
target = "an article"
reply = "the reader's comment"
receipt = "reply_to"
echo = "true"
settles_within_s = 30
[send]
method = "POST"
path = "/reply"
body = { to = "reply_to", text = "content" }
[[verdict]]
is = "delivered"
when = "at('errcode') == 0"
[lookup]
answers = "at('errcode') == 0"
items = "at('comment')"
complete = "true"
next = "(page or 0) + 2 if (page or 0) + 2 < at('total') else none"
slot = "item.id|string == reply_to"
id = "item.id"
text = "item.reply.content if item.reply else none"
sees_every_state = true
[lookup.request]
method = "POST"
path = "/list"
body = { begin = "page or 0", count = 2 }
[[example]]
name = "replied"
comment = { content = "hi", reply_to = "7" }
reply = { status = 200, body = '{"errcode":0}' }
verdict = "delivered"
[[example]]
name = "the slot is empty"
comment = { content = "hi", reply_to = "7" }
reply = { status = 200, body = '{"errcode":0,"total":1,"comment":[{"id":7,"reply":null}]}' }
finds = "nothing"
"#;

fn channel(manifest: &str, settings: &[(&str, toml::Value)]) -> Channel {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Manifest::parse(manifest, "test.toml").unwrap().channel(&settings.collect::<BTreeMap<_, _>>()).unwrap()
}

fn reply(body: &serde_json::Value) -> ChannelReply {
    ChannelReply { status: 200, body: body.to_string().into(), ..ChannelReply::default() }
}

/// What the channel shows of this comment in these pages; panics if it asks for another number of pages.
fn read_pages(
    channel: &Channel,
    comment: &Comment,
    receipt: &str,
    pages: &[serde_json::Value],
) -> ListResult {
    let scope = channel.scope(comment.clone(), ID, 0);
    let mut pager = channel.lookup_pager(&scope, receipt).expect("it can be looked up");
    for (index, page) in pages.iter().enumerate() {
        pager.request().unwrap();
        if let Some(result) = pager.read_page(&reply(page)).unwrap() {
            assert_eq!(index + 1, pages.len(), "not every page was asked for");
            return result;
        }
    }
    panic!("asks for more than {} pages", pages.len());
}

fn page(pages: usize, items: &[(u32, &str, &str)]) -> serde_json::Value {
    let item = |(id, link, text): &(u32, &str, &str)| serde_json::json!({"id": id, "link": link, "text": text, "status": "ok", "at": null});
    serde_json::json!({"pages": pages, "total": 9, "items": items.iter().map(item).collect::<Vec<_>>()})
}

fn found(comment_id: &str) -> ListResult {
    found_by(comment_id, true)
}

fn found_by(comment_id: &str, by_marker: bool) -> ListResult {
    ListResult::Found { kind: VerdictKind::Delivered, comment_id: comment_id.into(), by_marker }
}

#[test]
fn the_manifests_of_these_tests_prove_themselves() {
    for manifest in [LIST, SLOT] {
        let checked = check(&Manifest::parse(manifest, "test.toml").unwrap());
        assert!(checked.problems.is_empty(), "{:#?}", checked.problems);
    }
}

#[test]
fn the_same_text_finds_nothing_and_the_marker_does() {
    let channel = channel(LIST, &[]);
    let others = page(1, &[(1, "", "+2"), (2, "0123456789abcdef0123456789abcdef", "+1")]);
    assert_eq!(read_pages(&channel, &comment("+1"), "", &[others]), ListResult::NotFound { complete: true });
    let ours = page(1, &[(1, "", "+1"), (2, MARKER, "&#43;1")]);
    assert_eq!(read_pages(&channel, &comment("+1"), "", &[ours]), found("2"));
}

#[test]
fn pages_are_read_until_it_is_found_or_there_are_none_left() {
    let channel = channel(LIST, &[]);
    let other = || page(3, &[(1, "", "b")]);
    assert_eq!(
        read_pages(&channel, &comment("a"), "", &[other(), other(), other()]),
        ListResult::NotFound { complete: true }
    );
    let ours = page(3, &[(5, MARKER, "a")]);
    assert_eq!(read_pages(&channel, &comment("a"), "", &[other(), ours]), found("5"));
    // The request of a page names it.
    let scope = channel.scope(comment("a"), ID, 0);
    let mut pager = channel.lookup_pager(&scope, "").unwrap();
    assert!(pager.request().unwrap().path_and_query.contains("page=1&"));
    assert_eq!(pager.read_page(&reply(&other())), Ok(None));
    assert!(pager.request().unwrap().path_and_query.contains("page=2&"));
    // A page that isn't answered leaves the question open.
    let failed = ChannelReply { status: 500, ..ChannelReply::default() };
    let said = ListResult::NoAnswer("the channel answered HTTP 500".into());
    assert_eq!(pager.read_page(&failed), Ok(Some(said)));
}

#[test]
fn a_scan_that_ends_early_proves_nothing() {
    let channel = channel(LIST, &[]);
    let twenty = vec![page(1000, &[(1, "", "b")]); 20];
    let told = "the channel's list has more than 20 pages; let lookup.max_pages in its manifest allow more";
    assert_eq!(read_pages(&channel, &comment("a"), "", &twenty), ListResult::NoAnswer(told.into()));
    let cut = serde_json::json!({"pages": 1, "total": null, "items": []});
    assert_eq!(read_pages(&channel, &comment("a"), "", &[cut]), ListResult::NotFound { complete: false });
    let endless = LIST.replace("next = \"(page or 1) + 1 if", "next = \"page or 1 if");
    let endless = self::channel(&endless, &[]);
    let scope = endless.scope(comment("a"), ID, 0);
    let mut pager = endless.lookup_pager(&scope, "").unwrap();
    assert_eq!(pager.read_page(&reply(&page(9, &[]))), Ok(None));
    assert!(pager.read_page(&reply(&page(9, &[]))).unwrap_err().contains("lookup.next"));
}

/// What the channel shows of the comment `a` in one page, whose attempt began two days after 1970 did.
fn sight_one(page: &serde_json::Value, headers: &[(&str, &str)]) -> ListResult {
    let channel = channel(LIST, &[]);
    let scope = channel.scope(comment("a"), ID, 0).with_began_ms(2 * 86_400_000);
    let mut pager = channel.lookup_pager(&scope, "").unwrap();
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let page = ChannelReply { headers: headers.collect(), ..reply(page) };
    pager.read_page(&page).unwrap().expect("no other page is asked for")
}

#[test]
fn an_answer_from_a_cache_may_show_the_comment_and_never_that_it_is_absent() {
    let without = page(1, &[(1, "", "b")]);
    assert_eq!(sight_one(&without, &[("age", "0")]), ListResult::NotFound { complete: true });
    for (name, value) in [("age", "60"), ("x-cache", "HIT"), ("cf-cache-status", "STALE")] {
        let told = format!("the answer comes from a cache ({name}: {value}), so it may be old");
        assert_eq!(sight_one(&without, &[(name, value)]), ListResult::NoAnswer(told));
        assert_eq!(sight_one(&page(1, &[(2, MARKER, "a")]), &[(name, value)]), found("2"));
    }
    // One page of several is enough.
    let channel = channel(LIST, &[]);
    let scope = channel.scope(comment("a"), ID, 0);
    let mut pager = channel.lookup_pager(&scope, "").unwrap();
    let headers = || [("age".to_owned(), "60".to_owned())].into_iter().collect();
    let first = ChannelReply { headers: headers(), ..reply(&page(2, &[])) };
    assert_eq!(pager.read_page(&first), Ok(None));
    assert!(matches!(pager.read_page(&reply(&page(2, &[]))), Ok(Some(ListResult::NoAnswer(_)))));
    // Whoever counts comments is told, too.
    let mut back = ReadBack::default();
    let mut pager = channel.read_back_pager(&scope).unwrap();
    let only = ChannelReply { headers: headers(), ..reply(&page(1, &[(1, "", "b")])) };
    assert_eq!(pager.collect_page(&only, &mut back), Ok(true));
    assert!(back.items.len() == 1 && back.doubt.contains("from a cache"), "{back:?}");
}

/// Somebody's half a surrogate pair made the whole list unreadable.
#[test]
fn an_unreadable_item_of_a_stranger_does_not_make_the_list_unreadable() {
    let item = |text: &str, link: &str| {
        format!(r#"{{"id":1,"link":"{link}","text":"{text}","status":"ok","at":null}}"#)
    };
    let result_of = |items: &[String]| {
        let channel = channel(LIST, &[]);
        let body = format!(r#"{{"pages":1,"total":2,"items":[{}]}}"#, items.join(","));
        let scope = channel.scope(comment("a"), ID, 0);
        let reply = ChannelReply { status: 200, body: body.into(), ..ChannelReply::default() };
        channel.lookup_pager(&scope, "").unwrap().read_page(&reply).unwrap().unwrap()
    };
    let broken = item(r"\ud83d", "");
    assert_eq!(result_of(std::slice::from_ref(&broken)), ListResult::NotFound { complete: true });
    assert_eq!(result_of(&[broken, item("a", MARKER)]), found("1"));
    // One that lacks what tells whose it is may be ours: the others are read, and nothing is proved.
    let odd = r#"{"id":5,"text":"x"}"#.to_owned();
    assert_eq!(result_of(&[odd.clone(), item("a", MARKER)]), found("1"));
    let ListResult::NoAnswer(told) = result_of(&[odd, item("b", "")]) else { panic!("it was an answer") };
    assert!(told.contains("an item of the list can't be read") && told.contains("link"), "{told}");
}

#[test]
fn a_lookup_stops_at_items_that_are_older_than_the_attempt() {
    let page = |at: serde_json::Value, text: &str| serde_json::json!({"pages": 50, "total": 9, "items": [{"id": 1, "link": "", "text": text, "status": "ok", "at": at}]});
    // A day less than the attempt is the margin for clocks.
    assert_eq!(sight_one(&page(86_399.into(), "b"), &[]), ListResult::NotFound { complete: true });
    let channel = channel(LIST, &[]);
    let scope = channel.scope(comment("a"), ID, 0);
    for at in [serde_json::json!(86_400), serde_json::Value::Null, serde_json::json!("yesterday")] {
        let scope = scope.clone().with_began_ms(2 * 86_400_000);
        let mut pager = channel.lookup_pager(&scope, "").unwrap();
        assert_eq!(pager.read_page(&reply(&page(at.clone(), "b"))), Ok(None), "{at}");
    }
    // Nobody knows when it began, so everything is read.
    assert_eq!(channel.lookup_pager(&scope, "").unwrap().read_page(&reply(&page(0.into(), "b"))), Ok(None));
    // Not every list comes in that order.
    let unordered = self::channel(&LIST.replace("newest_first = \"true\"\n", ""), &[]);
    let scope = unordered.scope(comment("a"), ID, 0).with_began_ms(2 * 86_400_000);
    assert_eq!(unordered.lookup_pager(&scope, "").unwrap().read_page(&reply(&page(0.into(), "b"))), Ok(None));
}

/// Where a site drops the marker, the comment is there all the same.
#[test]
fn the_same_text_without_any_marker_vetoes_absence() {
    let item = |at: u32, link: &str, text: &str| serde_json::json!({"pages": 1, "total": 9, "items": [{"id": 7, "link": link, "text": text, "status": "ok", "at": at}]});
    let alike = ListResult::Alike("7".into());
    assert_eq!(sight_one(&item(172_800, "", "a"), &[]), alike);
    assert_eq!(sight_one(&item(172_800, "https://example.org/#x", "<p>a</p>"), &[]), alike);
    let absent = ListResult::NotFound { complete: true };
    assert_eq!(sight_one(&item(172_800, "", "b"), &[]), absent, "other words");
    assert_eq!(sight_one(&item(1, "", "a"), &[]), absent, "older than the attempt");
    let anothers = "https://example.org/#0123456789abcdef0123456789abcdef";
    assert_eq!(sight_one(&item(172_800, anothers, "a"), &[]), absent, "another delivery's");
    // Ours may come behind it.
    let both = page(1, &[(1, "", "a"), (2, MARKER, "a")]);
    assert_eq!(sight_one(&both, &[]), found("2"));
}

#[test]
fn how_much_is_read_is_the_manifests_to_say() {
    let limits = |key: &str, value: &str| {
        let manifest = LIST.replace("max_pages = 20\n", &format!("{key} = {value}\n"));
        let manifest = Manifest::parse(&manifest, "mine.toml").unwrap();
        manifest.channel(&BTreeMap::new()).map(|channel| channel.lookup_limits().unwrap())
    };
    let given = limits("max_pages", "3").unwrap();
    assert_eq!((given.max_pages, given.max_reply_bytes), (3, 8 << 20));
    let given = limits("max_reply_bytes", "\"1000 * 2\"").unwrap();
    assert_eq!((given.max_pages, given.max_reply_bytes), (100, 2000));
    for (key, value) in [("max_pages", "0"), ("max_pages", "10001"), ("max_reply_bytes", "\"'much'\"")] {
        let error = limits(key, value).unwrap_err();
        assert!(error.contains(&format!("lookup.{key}: must be 1 to")), "{error}");
    }
}

#[test]
fn a_cassette_knows_a_lookup_without_its_nonce() {
    let channel = channel(LIST, &[]);
    let scope = channel.scope(comment("a"), ID, 5);
    let pager = channel.lookup_pager(&scope, "").unwrap();
    assert!(pager.request().unwrap().path_and_query.contains("nonce="));
    assert!(!pager.request_without_nonce().unwrap().path_and_query.contains("nonce"));
}

#[test]
fn a_receipt_finds_and_its_absence_proves_nothing() {
    let unmarked = channel(LIST, &[("marked", false.into())]);
    let items = page(1, &[(1, "", "a"), (12, "", "b")]);
    assert_eq!(
        read_pages(&unmarked, &comment("x"), "12", std::slice::from_ref(&items)),
        found_by("12", false)
    );
    let gone = ListResult::NotFound { complete: false };
    assert_eq!(read_pages(&unmarked, &comment("x"), "13", std::slice::from_ref(&items)), gone);
    // A reply has shown it: it was stored, whatever became of it.
    assert_eq!(read_pages(&channel(LIST, &[]), &comment("x"), "13", &[items]), gone);
    // Without marker, receipt and slot there is nothing to ask for.
    assert!(unmarked.lookup_pager(&unmarked.scope(comment("x"), ID, 0), "").is_none());
}

#[test]
fn a_reply_that_nobody_can_judge_leaves_a_receipt_only_if_its_echo_is_ours() {
    let judge = |manifest: &str, status: u16, body: &str| {
        let channel = channel(manifest, &[]);
        let scope = channel.scope(comment("hi"), ID, 0);
        let body = body.as_bytes().to_vec().into();
        let verdict = channel.judge(&ChannelReply { status, body, ..ChannelReply::default() }, &scope);
        assert_eq!(verdict.kind, VerdictKind::Unknown, "{verdict:?}");
        (verdict.comment_id, verdict.comment_id_is_ours)
    };
    assert_eq!(judge(LIST, 500, r#"{"id":12,"text":"hi"}"#), ("12".to_owned(), true));
    assert_eq!(judge(LIST, 500, r#"{"id":12,"text":"other"}"#), (String::new(), false));
    assert_eq!(judge(LIST, 500, r#"{"text":"hi"}"#), (String::new(), false));
    assert_eq!(judge(LIST, 201, r#"{"id":12,"text":"other"}"#), (String::new(), false));
    let silent = LIST.replace("echo = \"at('text') == content\"", "echo = \"none\"");
    // Told, and no more: nobody says whose it is.
    assert_eq!(judge(&silent, 500, r#"{"id":12,"text":"hi"}"#), ("12".to_owned(), false));
    // A refusal that names our stored comment is unknown, and the comment can be looked for by its id.
    let refusing = LIST.replace(
        "status == 201\"",
        "status == 201\"\n[[verdict]]\nis = \"refused\"\nwhen = \"status == 400\"",
    );
    assert_eq!(judge(&refusing, 400, r#"{"id":12,"text":"hi"}"#), ("12".to_owned(), true));
}

#[test]
fn a_slot_answers_both_ways() {
    let channel = channel(SLOT, &[]);
    let mut ours = comment("hi");
    std::sync::Arc::make_mut(&mut ours.addressing).reply_to = "7".into();
    let page = |total: usize, items: &[(u32, Option<&str>)]| {
        let item = |(id, text): &(u32, Option<&str>)| {
            let reply = text.map(|text| serde_json::json!({ "content": text }));
            serde_json::json!({"id": id, "reply": reply})
        };
        serde_json::json!({"errcode": 0, "total": total, "comment": items.iter().map(item).collect::<Vec<_>>()})
    };
    let result_of = |pages: &[serde_json::Value]| read_pages(&channel, &ours, "", pages);
    let absent = ListResult::NotFound { complete: true };
    assert_eq!(result_of(&[page(2, &[(6, Some("hi")), (7, Some("hi"))])]), found_by("7", false));
    assert_eq!(
        result_of(&[page(2, &[(6, Some("hi")), (7, None)])]),
        absent,
        "another slot's text isn't ours"
    );
    assert_eq!(result_of(&[page(2, &[(7, Some("thanks"))])]), absent, "another's text took the slot");
    // Without the slot itself nothing is known.
    let nowhere = ListResult::NotFound { complete: false };
    assert_eq!(result_of(&[page(2, &[(6, Some("hi"))])]), nowhere);
    // Once the slot was seen, the rest needn't be.
    assert_eq!(result_of(&[page(9, &[(7, Some("hi"))])]), found_by("7", false));
    assert_eq!(result_of(&[page(3, &[(5, None)]), page(3, &[(7, None)])]), absent);
    // Who fills a slot owns it.
    let verdict =
        channel.judge(&reply(&serde_json::json!({"errcode": 0})), &channel.scope(ours.clone(), ID, 0));
    assert_eq!((verdict.comment_id.as_str(), verdict.comment_id_is_ours), ("7", true));
}

#[test]
fn a_whole_target_is_read_page_by_page() {
    let list = channel(LIST, &[]);
    let scope = list.scope(comment(""), ID, 0);
    let mut pager = list.read_back_pager(&scope).unwrap();
    assert!(!pager.request().unwrap().path_and_query.contains("search"), "no marker is asked for");
    let mut back = ReadBack::default();
    assert_eq!(pager.collect_page(&reply(&page(2, &[(1, "", "a")])), &mut back), Ok(false));
    assert_eq!(pager.collect_page(&reply(&page(2, &[(2, "", "b")])), &mut back), Ok(true));
    let item = |id: &str, text: &str| ListedComment { comment_id: id.into(), text: text.into() };
    assert_eq!((back.items, back.doubt), (vec![item("1", "a"), item("2", "b")], String::new()));

    let slot = channel(SLOT, &[]);
    let mut pager = slot.read_back_pager(&scope).unwrap();
    let readers = serde_json::json!({"errcode":0,"total":2,"comment":[{"id":1,"reply":null},{"id":2,"reply":{"content":"b"}}]});
    let mut back = ReadBack::default();
    assert_eq!(pager.collect_page(&reply(&readers), &mut back), Ok(true));
    assert_eq!(back.items, [item("2", "b")], "an empty slot is no comment");
}

#[test]
fn a_lookup_may_read_with_other_credentials_and_then_see_more() {
    let plain = channel(LIST, &[]);
    assert!(!plain.lookup_ability().unwrap().sees_every_state);
    let moderating = channel(LIST, &[("moderator_token", "Bearer m".into())]);
    assert!(moderating.lookup_ability().unwrap().sees_every_state);
    let scope = moderating.scope(comment("a"), ID, 0);
    let reading = moderating.lookup_pager(&scope, "").unwrap().request().unwrap();
    assert_eq!(reading.headers[0].1, "Bearer m");
    assert_eq!(moderating.render(&scope).unwrap().headers[0].1, "poster");
}

#[test]
fn settling_may_be_a_fraction_of_a_second() {
    let channel = channel(LIST, &[("settles_within_s", "0.2".into())]);
    let settles_within = channel.lookup_ability().unwrap().settles_within;
    assert_eq!(settles_within, Some(std::time::Duration::from_millis(200)));
}

#[test]
fn lookups_that_prove_nothing_are_told_so() {
    for (from, to, says) in [
        ("ours = \"item.link == marker\"\n", "", "lookup.ours"),
        ("item.link == marker", "item.text == content", "a text alone proves nothing"),
        ("next = \"(page", "next = \"((page", "lookup.next"),
        ("time = \"item.at\"\n", "", "lookup.newest_first"),
        ("ours = \"item", "slot = \"item.\"\nours = \"item", "lookup.slot"),
        ("is = \"held\"", "is = \"refused\"", "lookup.state"),
    ] {
        assert!(LIST.contains(from), "{from}");
        let error = Manifest::parse(&LIST.replacen(from, to, 1), "mine.toml").unwrap_err().to_string();
        assert!(error.starts_with("mine.toml:") && error.contains(says), "{to}: {error}");
    }
    let misspelt = LIST.replace("settings.moderator_token != ''", "settings.moderator_tokn != ''");
    let error = Manifest::parse(&misspelt, "mine.toml").unwrap().channel(&BTreeMap::new()).unwrap_err();
    assert!(error.contains("lookup.sees_every_state"), "{error}");
}

#[test]
fn examples_of_lookups_can_fail() {
    for (from, to, says) in [
        ("then = [", "unknown_key = [", ""),
        ("then = [{", "then = [{ status = 500 }, {", "are left"),
        ("then = [{ status = 200", "then = [{ status = 500", "undetermined"),
        ("finds = \"held\"", "finds = \"delivered\"", "finds held"),
        ("receipt = \"1\"\n", "", "neither a marker nor a receipt"),
        (
            "\"pages\":2,\"total\":3,\"items\":[{\"id\":3",
            "\"pages\":3,\"total\":3,\"items\":[{\"id\":4",
            "reads \"4\"",
        ),
        (
            "when = \"status == 201\"",
            "when = \"status == 201\"\n[[verdict]]\nis = \"held\"\nwhen = \"false\"",
            "no example",
        ),
        ("verdict = \"delivered\"\n", "verdict = \"delivered\"\nreceipt = \"1\"\n", "need `finds`"),
    ] {
        assert!(LIST.contains(from), "{from}");
        match Manifest::parse(&LIST.replacen(from, to, 1), "mine.toml") {
            Err(error) => assert!(error.to_string().contains("unknown_key"), "{error}"),
            Ok(manifest) => {
                let problems = check(&manifest).problems.join("\n");
                assert!(!says.is_empty() && problems.contains(says), "{to}: {problems}");
            }
        }
    }
}
