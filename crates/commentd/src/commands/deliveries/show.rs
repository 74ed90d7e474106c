//! Deliveries for people, and as JSON. Whatever others wrote is shown without its control characters.

use crate::failure::Failure;
use comfy_table::{ContentArrangement, Table, presets};
use commentd_contract::deliveries::{AttemptDetail, Candidates, DeliveryView, LastLook};
use commentd_contract::terminal::one_line as plain;
use serde::Serialize;

/// Most characters of a text in a table.
const MOST_SHOWN: usize = 60;

pub(super) fn json(told: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(told)?)
}

pub(super) fn list(deliveries: &[DeliveryView]) -> String {
    if deliveries.is_empty() {
        return "no deliveries".into();
    }
    let mut table = table(&["id", "outcome", "made", "key", "comment"]);
    for view in deliveries {
        table.add_row([
            view.id.clone(),
            outcome(view),
            time(view.created_ms),
            key(view),
            view.comment.as_ref().map_or("(forgotten)".to_owned(), |comment| short(&comment.content)),
        ]);
    }
    table.to_string()
}

pub(super) fn one(view: &DeliveryView) -> String {
    let mut lines = vec![
        format!("delivery  {}", view.id),
        format!("outcome   {}", outcome(view)),
        format!("key       {}", key(view)),
        format!("made      {}", time(view.created_ms)),
    ];
    if let Some(settled_ms) = view.settled_ms {
        lines.push(format!("settled   {}", time(settled_ms)));
    }
    if !view.comment_id.is_empty() {
        lines.push(format!("comment   {}", plain(&view.comment_id)));
    }
    match &view.comment {
        None => lines.push("content   (forgotten)".into()),
        Some(comment) => {
            lines.push(format!("target    {}", plain(&comment.addressing.sns_id)));
            if !comment.addressing.reply_to.is_empty() {
                lines.push(format!("reply to  {}", plain(&comment.addressing.reply_to)));
            }
            lines.push(format!("content   {}", plain(&comment.content)));
        }
    }
    let mut attempts = table(&["attempt", "at", "to", "verdict", "why", "made certain"]);
    for attempt in &view.attempts {
        attempts.add_row(attempt_row(attempt));
    }
    lines.push(String::new());
    lines.push(attempts.to_string());
    if let Some(look) = &view.last_lookup {
        lines.push(String::new());
        lines.push(last_lookup(look));
    }
    if let Some(candidates) = &view.candidates {
        lines.push(String::new());
        lines.push(candidates_of(candidates));
    }
    lines.join("\n")
}

fn attempt_row(attempt: &AttemptDetail) -> [String; 6] {
    let place = format!("{} {} {}", attempt.provider, attempt.channel, attempt.base_url);
    let (verdict, why) = match &attempt.verdict {
        None => ("(running)".into(), String::new()),
        Some(verdict) => (verdict.verdict.to_string(), plain(&verdict.error_message)),
    };
    let certain = attempt.resolution.as_ref().map_or(String::new(), |resolution| {
        let who = if resolution.name.is_empty() { resolution.by.clone() } else { plain(&resolution.name) };
        format!("{} by {who}, {}", resolution.verdict.verdict, time(resolution.at_ms))
    });
    [attempt.number.to_string(), time(attempt.started_ms), plain(place.trim()), verdict, why, certain]
}

fn candidates_of(candidates: &Candidates) -> String {
    if !candidates.error.is_empty() && candidates.comments.is_empty() {
        return format!("The channel can't be asked for comments like it: {}", plain(&candidates.error));
    }
    if candidates.comments.is_empty() {
        return "The channel shows no comment like it.".into();
    }
    let mut rows = table(&["comment id", "text"]);
    for candidate in &candidates.comments {
        rows.add_row([plain(&candidate.comment_id), short(&candidate.text)]);
    }
    let shown = format!("The channel shows these, which read like it; the same words prove nothing:\n{rows}");
    match candidates.error.as_str() {
        "" => shown,
        error => format!("{shown}\nThere may be more: {}", plain(error)),
    }
}

fn last_lookup(look: &LastLook) -> String {
    let found = match look.finding.as_str() {
        "found" => "found it",
        "not_found" => "didn't find it",
        "failed" => "failed",
        _ => "didn't find it, which shows nothing",
    };
    let said = if look.said.is_empty() { String::new() } else { format!(": {}", plain(&look.said)) };
    format!("The last lookup, at {}, {found}{said}", time(look.at_ms))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

fn outcome(view: &DeliveryView) -> String {
    if view.open { format!("{} (running)", view.outcome) } else { view.outcome.to_string() }
}

fn key(view: &DeliveryView) -> String {
    let mut key = plain(&view.idempotency_key);
    if view.item > 0 {
        key.push_str(&format!(" [{}]", view.item));
    }
    if !view.caller.is_empty() {
        key.push_str(&format!(" of {}", plain(&view.caller)));
    }
    key
}

fn time(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

fn short(text: &str) -> String {
    let line = plain(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    if line.chars().count() <= MOST_SHOWN {
        return line;
    }
    line.chars().take(MOST_SHOWN - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cant_reach_the_terminal() {
        assert_eq!(short("a \n\t b"), "a b");
        assert_eq!(short(&"x".repeat(100)).chars().count(), MOST_SHOWN);
    }

    #[test]
    fn a_lookup_that_failed_is_told() {
        let look = |finding: &str, said: &str| {
            last_lookup(&LastLook { at_ms: 0, finding: finding.into(), said: said.into() })
        };
        let told =
            look("failed", "the channel could not be asked for it: the reply is longer than 9 bytes\u{1b}");
        assert_eq!(
            told,
            "The last lookup, at 1970-01-01T00:00:00Z, failed: the channel could not be asked for it: the reply is longer than 9 bytes\u{fffd}"
        );
        assert!(look("not_found", "").ends_with("didn't find it"));
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(time(1_767_225_600_999), "2026-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
    }
}
