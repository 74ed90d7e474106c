//! Fault plans as people write them: a TOML file, read and checked.
//!
//! ```toml
//! latency_ms = 20
//! jitter_ms = 5
//! fail_ratio = 0.01
//!
//! [[fault]]
//! kind = "cut_after"
//! requests = [3, 7]        # or: ratio = 0.1, or: text_contains = "…"
//!
//! [[fault]]
//! kind = "store_late"
//! text_contains = "late"
//! hold_ms = 3000
//! late_ms = 800
//! ```

use crate::error::PlanError;
use crate::fault::{Fault, FaultPlan, FaultRule, FaultTrigger};
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a plan can say, for `--help`.
pub const PLAN_HELP: &str = "\
Faults (--faults FILE, in TOML; the flags go before its latency_ms, jitter_ms and fail_ratio):

  latency_ms = 20          # before anything else happens to a comment, 0 to 600000
  jitter_ms = 5            # more or less by up to this much, drawn from the seed
  fail_ratio = 0.01        # share that no rule applies to and that gets a 500, not stored

  [[fault]]                # up to 100 rules; the first that applies wins
  kind = \"cut_after\"       # see below
  requests = [3, 7]        # the 3rd and 7th request that arrive; or
  # ratio = 0.1            # this share, drawn from the seed; or
  # text_contains = \"x\"    # those whose comment has this text

  cut_before     closes the connection without an answer; nothing is stored
  cut_after      stores, then closes the connection without an answer
  error_before   answers 500; nothing is stored
  error_after    stores, then answers 500
  throttle       answers 429; nothing is stored (retry_after_s, 1 if absent)
  garbage        stores, then answers 200 with what is no reply
  wrong_echo     stores, then answers with another comment's id, marker and text
  slow_headers   stores, then holds the whole answer (hold_ms, 5000 if absent)
  slow_body      stores, then holds the second half of the answer (hold_ms)
  store_late     holds without an answer until the client leaves, at most hold_ms, and
                 stores late_ms (500 if absent) after that
  refuse_after   stores, then answers that the comment was refused: a channel that lies
  filtered       stores, then answers with a filter's page (403, HTML)
  hang           never answers and stores nothing

The same plan and seed meet the same requests with the same faults. --journal notes each of
them: the request's number, the fault's name, late_ms, and the comments' texts.";

const MAX_PLAN_BYTES: u64 = 1 << 20;
const DEFAULT_HOLD_MS: u64 = 5000;
const DEFAULT_LATE_MS: u64 = 500;
const DEFAULT_RETRY_AFTER_S: u64 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    #[serde(default)]
    latency_ms: u64,
    #[serde(default)]
    jitter_ms: u64,
    #[serde(default)]
    fail_ratio: f64,
    #[serde(default)]
    fault: Vec<PlanFileRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFileRule {
    kind: FaultKind,
    ratio: Option<f64>,
    requests: Option<Vec<u64>>,
    text_contains: Option<String>,
    hold_ms: Option<u64>,
    late_ms: Option<u64>,
    retry_after_s: Option<u64>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum FaultKind {
    CutBefore,
    CutAfter,
    ErrorBefore,
    ErrorAfter,
    Throttle,
    Garbage,
    WrongEcho,
    SlowHeaders,
    SlowBody,
    StoreLate,
    RefuseAfter,
    Filtered,
    Hang,
}

impl FaultPlan {
    /// Reads a plan file (TOML, at most 1 MiB). `hold_ms` is 5000 where absent, `late_ms` 500,
    /// `retry_after_s` 1. Blocks on the file.
    ///
    /// # Errors
    /// FaultTrigger the file can't be read, and for unknown keys, wrong types, values out of range and a rule without
    /// exactly one of `ratio`, `requests` and `text_contains`. The error names file, key and what is allowed.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let text = read(path);
        text.and_then(|text| Self::parse(&text))
            .map_err(|error| PlanError { file: Some(path.to_owned()), ..error })
    }

    /// Reads a plan from its text.
    ///
    /// # Errors
    /// As [`FaultPlan::load`]; the error names no file.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let reader = toml::Deserializer::parse(text)
            .map_err(|error| PlanError::new("", error.to_string().trim_end().to_owned()))?;
        let raw: PlanFile = serde_path_to_error::deserialize(reader).map_err(|error| {
            let key = error.path().to_string();
            let key = if key == "." { String::new() } else { key };
            PlanError::new(key, error.inner().message())
        })?;
        let rules = raw
            .fault
            .into_iter()
            .enumerate()
            .map(|(index, rule)| rule.checked(&format!("fault[{index}]")))
            .collect::<Result<_, _>>()?;
        let plan = FaultPlan {
            latency_ms: raw.latency_ms,
            jitter_ms: raw.jitter_ms,
            fail_ratio: raw.fail_ratio,
            rules,
        };
        plan.check()?;
        Ok(plan)
    }
}

fn read(path: &Path) -> Result<String, PlanError> {
    let unreadable = |error: std::io::Error| PlanError::new("", format!("can't be read: {error}"));
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_PLAN_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_PLAN_BYTES {
        return Err(PlanError::new("", format!("must be at most {MAX_PLAN_BYTES} bytes, is longer")));
    }
    Ok(text)
}

impl PlanFileRule {
    fn checked(self, place: &str) -> Result<FaultRule, PlanError> {
        self.only_its_own_keys(place)?;
        let hold_ms = self.hold_ms.unwrap_or(DEFAULT_HOLD_MS);
        let fault = match self.kind {
            FaultKind::CutBefore => Fault::CutBefore,
            FaultKind::CutAfter => Fault::CutAfter,
            FaultKind::ErrorBefore => Fault::ErrorBefore,
            FaultKind::ErrorAfter => Fault::ErrorAfter,
            FaultKind::Throttle => {
                Fault::Throttle { retry_after_s: self.retry_after_s.unwrap_or(DEFAULT_RETRY_AFTER_S) }
            }
            FaultKind::Garbage => Fault::Garbage,
            FaultKind::WrongEcho => Fault::WrongEcho,
            FaultKind::SlowHeaders => Fault::SlowHeaders { hold_ms },
            FaultKind::SlowBody => Fault::SlowBody { hold_ms },
            FaultKind::StoreLate => {
                Fault::StoreLate { hold_ms, late_ms: self.late_ms.unwrap_or(DEFAULT_LATE_MS) }
            }
            FaultKind::RefuseAfter => Fault::RefuseAfter,
            FaultKind::Filtered => Fault::Filtered,
            FaultKind::Hang => Fault::Hang,
        };
        let when = match (self.ratio, self.requests, self.text_contains) {
            (Some(ratio), None, None) => FaultTrigger::Ratio(ratio),
            (None, Some(numbers), None) => FaultTrigger::Requests(numbers),
            (None, None, Some(needle)) => FaultTrigger::TextContains(needle),
            _ => {
                return Err(PlanError::new(
                    place,
                    "must have exactly one of ratio (0 to 1), requests ([3, 7], from 1) and text_contains",
                ));
            }
        };
        Ok(FaultRule { fault, when })
    }

    /// A key without an effect is a mistake, and in a fault plan one that makes a test pass for nothing.
    fn only_its_own_keys(&self, place: &str) -> Result<(), PlanError> {
        let holds = matches!(self.kind, FaultKind::SlowHeaders | FaultKind::SlowBody | FaultKind::StoreLate);
        for (key, present, allowed, kinds) in [
            ("hold_ms", self.hold_ms.is_some(), holds, "slow_headers, slow_body and store_late"),
            ("late_ms", self.late_ms.is_some(), self.kind == FaultKind::StoreLate, "store_late"),
            ("retry_after_s", self.retry_after_s.is_some(), self.kind == FaultKind::Throttle, "throttle"),
        ] {
            if present && !allowed {
                return Err(PlanError::new(
                    format!("{place}.{key}"),
                    format!("has no effect on this kind; it is allowed for {kinds}"),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_code_says() {
        let text = r#"
            latency_ms = 20
            jitter_ms = 5
            fail_ratio = 1
            [[fault]]
            kind = "cut_after"
            requests = [3, 7]
            [[fault]]
            kind = "store_late"
            text_contains = "late"
            late_ms = 800
            [[fault]]
            kind = "throttle"
            ratio = 0.5
        "#;
        let expected = FaultPlan { latency_ms: 20, jitter_ms: 5, fail_ratio: 1.0, rules: Vec::new() }
            .with(FaultRule::requests(Fault::CutAfter, [3, 7]))
            .with(FaultRule::text(Fault::StoreLate { hold_ms: 5000, late_ms: 800 }, "late"))
            .with(FaultRule::ratio(Fault::Throttle { retry_after_s: 1 }, 0.5));
        assert_eq!(FaultPlan::parse(text).unwrap(), expected);
        assert_eq!(FaultPlan::parse("").unwrap(), FaultPlan::default());
    }

    #[test]
    fn every_kind_has_its_name() {
        for kind in [
            "cut_before",
            "cut_after",
            "error_before",
            "error_after",
            "throttle",
            "garbage",
            "wrong_echo",
            "slow_headers",
            "slow_body",
            "store_late",
            "refuse_after",
            "filtered",
            "hang",
        ] {
            FaultPlan::parse(&format!("[[fault]]\nkind = \"{kind}\"\nratio = 1")).unwrap();
            assert!(PLAN_HELP.contains(&format!("\n  {kind} ")), "the help has no {kind}");
        }
    }

    #[test]
    fn the_plan_in_the_help_is_one() {
        let lines = PLAN_HELP.lines().skip_while(|line| !line.contains("latency_ms ="));
        let plan: Vec<&str> = lines.take_while(|line| !line.starts_with("  cut_before")).collect();
        let plan = FaultPlan::parse(&plan.join("\n")).unwrap();
        assert_eq!((plan.latency_ms, plan.rules.len()), (20, 1));
    }

    #[test]
    fn a_rejected_plan_names_file_key_and_what_is_allowed() {
        let rule = |rest: &str| format!("[[fault]]\nkind = \"cut_after\"\n{rest}");
        for (text, parts) in [
            ("latency = 3".to_owned(), vec!["latency", "latency_ms", "fail_ratio"]),
            ("latency_ms = -3".to_owned(), vec!["latency_ms: ", "-3"]),
            ("latency_ms = 600001".to_owned(), vec!["latency_ms: ", "0 to 600000"]),
            ("fail_ratio = 1.5".to_owned(), vec!["fail_ratio: ", "0 to 1"]),
            (rule("ratio = \"half\""), vec!["fault[0].ratio: ", "half"]),
            (rule("ratio = 2"), vec!["fault[0].ratio: ", "0 to 1"]),
            (rule("ratio = 1\nrequests = [1]"), vec!["fault[0]: ", "exactly one of"]),
            (rule(""), vec!["fault[0]: ", "exactly one of"]),
            (rule("ratio = 1\nhold_ms = 3"), vec!["fault[0].hold_ms: ", "slow_headers"]),
            (rule("ratio = 1\nlate_ms = 3"), vec!["fault[0].late_ms: ", "store_late"]),
            (rule("ratio = 1\nretry_after_s = 3"), vec!["fault[0].retry_after_s: ", "throttle"]),
            (rule("ratio = 1\ncolour = 3"), vec!["fault[0]", "colour", "text_contains"]),
            ("[[fault]]\nkind = \"cut\"\nratio = 1".to_owned(), vec!["fault[0].kind: ", "cut_before"]),
            ("latency_ms = ".to_owned(), vec!["line 1"]),
        ] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            let message = FaultPlan::load(file.path()).unwrap_err().to_string();
            assert!(message.starts_with(&file.path().display().to_string()), "{message}");
            for part in parts {
                assert!(message.contains(part), "{text:?} gave {message:?} without {part:?}");
            }
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = FaultPlan::load(Path::new("/no/such/plan.toml")).unwrap_err().to_string();
        assert!(message.starts_with("/no/such/plan.toml: can't be read: "), "{message}");
    }
}
