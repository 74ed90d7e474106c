//! The page that shows the newest comments. It loads nothing from elsewhere, and its policy lets no script run
//! but its own, whatever a comment contains.

use crate::store::StoredComment;
use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use std::fmt::Write;

/// Most comments on the page.
pub(crate) const MAX_SHOWN: usize = 200;
/// Most characters of a comment on the page; the API has the rest.
const MAX_SHOWN_CHARS: usize = 2000;
const MAX_MARKER_CHARS: usize = 8;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The hash is the script's; a test computes it again.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; connect-src 'self'; \
    script-src 'sha256-4XPY+HtIkPpgZdIotr6pkuB0yGXIZsf1eJsmuDkbIsM='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn response(newest: &[StoredComment], total: u64) -> Response {
    let mut response = Response::new(Body::from(render(newest, total)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The page for these comments, newest first, of `total`.
fn render(newest: &[StoredComment], total: u64) -> String {
    let mut page = String::with_capacity(8192 + newest.len() * 512);
    page.push_str(concat!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
        "<link rel=\"icon\" href=\"data:,\"><title>commentd board</title>",
        "<noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript><style>",
    ));
    page.push_str(STYLE);
    page.push_str("</style></head>\n<body><main>");
    push_header(&mut page, newest.len(), total);
    for group in groups(newest) {
        push_group(&mut page, &group);
    }
    page.push_str("</main>\n<script>");
    page.push_str(SCRIPT);
    page.push_str("</script></body></html>\n");
    page
}

fn push_header(page: &mut String, shown: usize, total: u64) {
    let noun = if total == 1 { "comment" } else { "comments" };
    page.push_str("<header><h1>commentd board</h1>");
    // Writing to a String can't fail.
    let _ = write!(page, "<p><strong>{total}</strong> {noun}");
    if (shown as u64) < total {
        let _ = write!(page, ", the newest {shown} shown");
    }
    page.push_str("<span class=\"gone\"> · the board has stopped</span></p></header>");
    if total == 0 {
        page.push_str("<p class=\"none\">Nothing here yet. Comments appear as they are stored.</p>");
    }
}

/// Comments by target: the target with the newest comment first, each newest first.
fn groups(newest: &[StoredComment]) -> Vec<Vec<&StoredComment>> {
    let mut groups: Vec<Vec<&StoredComment>> = Vec::new();
    for comment in newest {
        let same = |group: &&mut Vec<&StoredComment>| {
            group.first().is_some_and(|first| first.target == comment.target)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(comment),
            None => groups.push(vec![comment]),
        }
    }
    groups
}

fn push_group(page: &mut String, group: &[&StoredComment]) {
    let target = group.first().map_or("", |comment| comment.target.as_str());
    let name = if target.is_empty() { "(no target)" } else { target };
    let _ = write!(page, "<section><h2 dir=\"auto\">{}</h2><ol>", escaped(name));
    for comment in group {
        push_comment(page, comment);
    }
    page.push_str("</ol></section>");
}

fn push_comment(page: &mut String, comment: &StoredComment) {
    let time = utc(comment.stored_at_ms);
    let _ = write!(
        page,
        "<li><p dir=\"auto\">{}</p><footer>",
        escaped(&shortened(&comment.text, MAX_SHOWN_CHARS))
    );
    let _ = write!(page, "<time datetime=\"{}Z\">{time} UTC</time>", time.replace(' ', "T"));
    let _ = write!(page, "<span>#{}</span>", escaped(&comment.id));
    if !comment.parent.is_empty() {
        let _ = write!(page, "<span>answers #{}</span>", escaped(&comment.parent));
    }
    if !comment.author.is_empty() {
        let _ = write!(page, "<span dir=\"auto\">{}</span>", escaped(&shortened(&comment.author, 64)));
    }
    if !comment.marker.is_empty() {
        let short = shortened(&comment.marker, MAX_MARKER_CHARS);
        let _ = write!(page, "<code title=\"{}\">{}</code>", escaped(&comment.marker), escaped(&short));
    }
    page.push_str("</footer></li>");
}

/// The first characters, and a sign that there were more.
fn shortened(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
}

/// Safe as element content and in a double-quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// `2026-11-24 03:40:12` in UTC, by the proleptic Gregorian calendar.
fn utc(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    // Years start in March here, so that a leap day is a year's last; eras are 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use sha2::Digest;

    fn comment(id: u64, target: &str, text: &str) -> StoredComment {
        StoredComment {
            id: id.to_string(),
            target: target.into(),
            text: text.into(),
            author: String::new(),
            parent: String::new(),
            marker: String::new(),
            state: "shown".into(),
            stored_at_ms: 0,
        }
    }

    #[test]
    fn nothing_of_a_comment_is_markup() {
        let hostile = "</script><b>\"'&";
        let all =
            StoredComment { author: hostile.into(), marker: hostile.into(), ..comment(1, hostile, hostile) };
        let page = render(&[all], 1);
        assert_eq!(page.matches("</script>").count(), 1, "only the page's own script ends");
        assert!(!page.contains("<b>"));
        assert_eq!(page.matches("&lt;/script&gt;&lt;b&gt;&quot;&#39;&amp;").count(), 4);
    }

    #[test]
    fn the_policy_knows_the_script() {
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(SCRIPT));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "the policy must allow 'sha256-{hash}'");
    }

    #[test]
    fn targets_are_grouped_with_the_newest_first() {
        let newest = [comment(3, "a", "third"), comment(2, "b", "second"), comment(1, "a", "first")];
        let page = render(&newest, 9);
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is missing"));
        assert!(place("third") < place("first") && place("first") < place("second"));
        assert_eq!(page.matches("<section>").count(), 2);
        assert!(page.contains("<strong>9</strong> comments, the newest 3 shown"));
    }

    #[test]
    fn long_texts_and_markers_are_shortened_between_characters() {
        assert_eq!(shortened("日本語", 2), "日本…");
        assert_eq!(shortened("日本", 2), "日本");
        let marked = StoredComment { marker: "0123456789ab".into(), ..comment(1, "t", "x") };
        assert!(render(&[marked], 1).contains("title=\"0123456789ab\">01234567…</code>"));
    }

    #[test]
    fn times_are_utc() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_827_696_999, "2000-02-29 12:34:56"),
            (1_709_251_199_000, "2024-02-29 23:59:59"),
            (1_798_761_600_000, "2027-01-01 00:00:00"),
        ] {
            assert_eq!(utc(ms), text);
        }
    }
}
