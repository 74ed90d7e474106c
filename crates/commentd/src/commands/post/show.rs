//! What is printed: a line for each comment with the way it took, and a summary.

use super::request::Posted;
use commentd_contract::{AttemptView, Code, Outcome, terminal};
use serde_json::json;

/// Characters of a comment that are shown.
const SHOWN_CHARS: usize = 40;
/// In the order of the summary.
const OUTCOMES: [Outcome; 7] = [
    Outcome::Delivered,
    Outcome::Held,
    Outcome::DryRun,
    Outcome::Misplaced,
    Outcome::Refused,
    Outcome::NotSent,
    Outcome::Unknown,
];

/// What became of all comments.
#[derive(Debug, Default)]
pub(super) struct OutcomeCounts {
    counts: [usize; OUTCOMES.len()],
    replayed: usize,
    /// How many there are, those that weren't tried included.
    total: usize,
}

impl OutcomeCounts {
    /// Nothing yet, of so many comments.
    pub(super) fn of_total(total: usize) -> Self {
        Self { total, ..Self::default() }
    }

    pub(super) fn count(&mut self, posted: &Posted) {
        for (count, outcome) in self.counts.iter_mut().zip(OUTCOMES) {
            *count += usize::from(posted.outcome == outcome);
        }
        self.replayed += usize::from(posted.data.as_ref().is_some_and(|data| data.replayed));
    }

    fn of(&self, wanted: impl Fn(Outcome) -> bool) -> usize {
        self.counts.iter().zip(OUTCOMES).filter(|(_, outcome)| wanted(*outcome)).map(|(count, _)| count).sum()
    }

    fn untried(&self) -> usize {
        self.total.saturating_sub(self.of(|_| true))
    }

    /// 0 all there, 1 not all, 3 some unknown.
    pub(super) fn exit_code(&self) -> u8 {
        if self.of(|outcome| outcome == Outcome::Unknown) > 0 {
            3
        } else if self.of(Outcome::is_success) == self.total {
            0
        } else {
            1
        }
    }

    /// For people.
    pub(super) fn summary(&self) -> String {
        let mut parts: Vec<String> = self
            .counts
            .iter()
            .zip(OUTCOMES)
            .filter(|(count, _)| **count > 0)
            .map(|(count, outcome)| format!("{count} {outcome}"))
            .collect();
        if self.untried() > 0 {
            parts.push(format!("{} not tried", self.untried()));
        }
        let replayed = match self.replayed {
            0 => String::new(),
            count => format!(" ({count} from the record of an earlier run)"),
        };
        let comments = if self.total == 1 { "comment" } else { "comments" };
        format!("{} {comments}: {}{replayed}", self.total, parts.join(", "))
    }

    /// For scripts.
    pub(super) fn json(&self, exit_code: u8) -> String {
        let counts: serde_json::Map<_, _> = self
            .counts
            .iter()
            .zip(OUTCOMES)
            .map(|(count, outcome)| (outcome.as_str().to_owned(), json!(count)))
            .collect();
        json!({"summary": {"total": self.total, "outcomes": counts, "replayed": self.replayed,
            "not_tried": self.untried(), "exit_code": exit_code}})
        .to_string()
    }
}

/// One comment for people: what it came to, and the way it took.
pub(super) fn line(posted: &Posted) -> String {
    let place = if posted.item.line > 0 { format!("line {}  ", posted.item.line) } else { String::new() };
    let mut text = format!("{place}{}  {}", posted.outcome, excerpt(&posted.item.comment.content));
    let data = posted.data.as_ref();
    let way: Vec<String> = data.map(|d| d.attempts.iter().map(attempt).collect()).unwrap_or_default();
    if !way.is_empty() {
        text.push_str(&format!("  {}", way.join(" → ")));
    }
    if let Some(data) = data {
        if !data.comment_id.is_empty() {
            text.push_str(&format!("  id {}", data.comment_id));
        }
        if data.replayed {
            text.push_str("  from the record");
        }
    }
    if posted.code != Code::Ok {
        text.push_str(&format!("  {}: {}", posted.code.number(), posted.message));
    }
    if !posted.outcome.is_success() {
        text.push_str(&format!("  key {}", posted.item.key));
    }
    terminal::one_line(&text)
}

/// One comment for scripts.
pub(super) fn json(posted: &Posted) -> String {
    let data = posted.data.as_ref();
    let field = |pick: &dyn Fn(&commentd_contract::SingleData) -> serde_json::Value| data.map(pick);
    json!({
        "line": posted.item.line,
        "idempotency_key": posted.item.key,
        "outcome": posted.outcome,
        "error_code": posted.code,
        "error_message": posted.message,
        "provider": field(&|data| json!(data.provider)),
        "attempts": data.map_or_else(Vec::new, |data| data.attempts.clone()),
        "comment_id": field(&|data| json!(data.comment_id)),
        "delivery_id": field(&|data| json!(data.delivery_id)),
        "provider_error_code": field(&|data| json!(data.provider_error_code)),
        "provider_error_message": field(&|data| json!(data.provider_error_message)),
        "replayed": data.is_some_and(|data| data.replayed),
        "rendered": data.and_then(|data| data.rendered.clone()),
    })
    .to_string()
}

fn attempt(attempt: &AttemptView) -> String {
    format!("{} {} {} ms", attempt.provider, attempt.verdict, attempt.latency_ms)
}

fn excerpt(content: &str) -> String {
    let mut shown: String = content.chars().take(SHOWN_CHARS).collect();
    if shown.len() < content.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::super::file::KeyedComment;
    use super::*;
    use commentd_delivery::Comment;

    fn posted(outcome: Outcome) -> Posted {
        let comment = Comment { content: "he\u{1b}[31mllo ".repeat(9), ..Comment::default() };
        let item = KeyedComment { line: 3, comment, key: "k".into() };
        Posted {
            item,
            outcome,
            code: Code::OutcomeUnknown,
            message: "no\u{7} reply".into(),
            data: None,
            connected: true,
        }
    }

    fn code(outcomes: &[Outcome], total: usize) -> u8 {
        let mut tally = OutcomeCounts::of_total(total);
        outcomes.iter().for_each(|outcome| tally.count(&posted(*outcome)));
        tally.exit_code()
    }

    #[test]
    fn the_exit_code_says_whether_all_is_there() {
        use Outcome::{Delivered, DryRun, Held, Misplaced, NotSent, Refused, Unknown};
        assert_eq!(code(&[Delivered, Held, DryRun], 3), 0);
        assert_eq!(code(&[Delivered], 2), 1, "one wasn't tried");
        for bad in [Misplaced, NotSent, Refused] {
            assert_eq!(code(&[Delivered, bad], 2), 1, "{bad}");
        }
        assert_eq!(code(&[Refused, Unknown], 2), 3);
    }

    #[test]
    fn nothing_from_elsewhere_steers_the_terminal() {
        let line = line(&posted(Outcome::Unknown));
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(
            line.starts_with("line 3  unknown  ") && line.ends_with("56: no\u{fffd} reply  key k"),
            "{line}"
        );
    }
}
