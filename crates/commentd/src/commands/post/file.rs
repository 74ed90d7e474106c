//! The comments of a file: JSON Lines, all of them good or none is sent.

use crate::Failure;
use commentd_contract::limits::MAX_CONTENT_BYTES;
use commentd_contract::{Addressing, TextOrNumber, Var};
use commentd_delivery::Comment;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Largest file that is read, in bytes (64 MiB).
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Bad lines that are told; there may be more.
const MAX_TOLD: usize = 20;

/// A comment to be posted, and the key that it always has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// Its line in the file, from 1; 0 for the comment of the command line.
    pub(super) line: usize,
    /// The comment.
    pub(super) comment: Comment,
    /// Its idempotency key.
    pub(super) key: String,
}

/// A line as it is written. Unknown names are refused: a misspelt one would send the comment somewhere else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    content: String,
    #[serde(alias = "target")]
    sns_id: Option<TextOrNumber>,
    author: Option<String>,
    content_hash: Option<String>,
    reply_to: Option<TextOrNumber>,
    wxid: Option<String>,
    vars: Option<BTreeMap<String, Var>>,
}

impl Line {
    fn comment(self, defaults: &Addressing) -> Comment {
        let digits = |written: TextOrNumber| written.0;
        let or = |own: Option<String>, default: &String| own.unwrap_or_else(|| default.clone());
        Comment {
            content: self.content,
            addressing: Arc::new(Addressing {
                sns_id: or(self.sns_id.map(digits), &defaults.sns_id),
                author: or(self.author, &defaults.author),
                content_hash: or(self.content_hash, &defaults.content_hash),
                reply_to: or(self.reply_to.map(digits), &defaults.reply_to),
                wxid: or(self.wxid, &defaults.wxid),
                vars: self.vars.unwrap_or_else(|| defaults.vars.clone()),
            }),
        }
    }
}

/// Reads the file, blocking. What a line doesn't name, `defaults` says.
///
/// # Errors
/// When it can't be read, has no comment, or has a bad line; each bad line is named by its number.
pub(super) fn read(path: &Path, defaults: &Addressing) -> Result<Vec<Item>, Failure> {
    let wrong = |what: String| Failure(format!("--file {}: {what}; nothing was sent", path.display()));
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(wrong(format!("is larger than {} MiB; split it", MAX_FILE_BYTES >> 20)));
    }
    parse(&text, defaults).map_err(wrong)
}

fn parse(text: &str, defaults: &Addressing) -> Result<Vec<Item>, String> {
    let (mut items, mut bad) = (Vec::new(), Vec::new());
    let mut seen: HashMap<[u8; 32], u32> = HashMap::new();
    // Editors on Windows like to begin a file with a byte order mark.
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match comment_of(line, defaults) {
            Err(reason) => bad.push(format!("line {}: {reason}", index + 1)),
            Ok(comment) => {
                let fingerprint = comment.fingerprint(1).0;
                let occurrence = seen.entry(fingerprint).or_default();
                *occurrence += 1;
                items.push(Item { line: index + 1, key: key_of(&fingerprint, *occurrence), comment });
            }
        }
    }
    if !bad.is_empty() {
        let more = bad.len().saturating_sub(MAX_TOLD);
        bad.truncate(MAX_TOLD);
        if more > 0 {
            bad.push(format!("and {more} more"));
        }
        return Err(bad.join("\n  "));
    }
    if items.is_empty() {
        return Err("has no comment; each line must be a JSON object with content".into());
    }
    Ok(items)
}

fn comment_of(line: &str, defaults: &Addressing) -> Result<Comment, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if line.content.is_empty() {
        return Err("content is empty".into());
    }
    if line.content.len() > MAX_CONTENT_BYTES {
        return Err(format!("content has {} bytes, at most {MAX_CONTENT_BYTES}", line.content.len()));
    }
    let comment = line.comment(defaults);
    comment.addressing.check().map_err(|error| error.to_string())?;
    Ok(comment)
}

/// The same comment at its second place in the file is another comment.
fn key_of(fingerprint: &[u8; 32], occurrence: u32) -> String {
    let hex: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("post-{hex}-{occurrence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        parse(text, &Addressing::default()).unwrap().into_iter().map(|item| item.key).collect()
    }

    #[test]
    fn a_key_is_the_comment_and_its_occurrence() {
        let (a, b) = (r#"{"content":"a","sns_id":"t"}"#, r#"{"sns_id":"t","content":"b"}"#);
        let first = keys(&format!("{a}\n{a}\n\n{b}\n"));
        assert_eq!(first.len(), 3);
        assert!(first[0] != first[1] && first[1] != first[2]);
        // Lines that move, come or go leave the others their keys.
        let changed = keys(&format!("\u{feff}{b}\r\n{{\"content\":\"new\"}}\n{a}"));
        assert_eq!((&changed[0], &changed[2]), (&first[2], &first[0]));
    }

    #[test]
    fn what_a_line_does_not_name_the_command_line_says() {
        let defaults = Addressing { sns_id: "t".into(), author: "Ann".into(), ..Addressing::default() };
        let items =
            parse(r#"{"content":"a","author":"","vars":{"n":14287710653886042616}}"#, &defaults).unwrap();
        let numbers = parse(r#"{"content":"a","target":14287710653886042616}"#, &defaults).unwrap();
        assert_eq!(numbers[0].comment.addressing.sns_id, "14287710653886042616");
        let to = &items[0].comment.addressing;
        assert_eq!((to.sns_id.as_str(), to.author.as_str()), ("t", ""));
        assert_eq!(serde_json::to_value(&to.vars).unwrap()["n"], 14_287_710_653_886_042_616_u64);
    }

    #[test]
    fn every_bad_line_is_named() {
        let long = format!("{{\"content\":\"{}\"}}", "x".repeat(MAX_CONTENT_BYTES + 1));
        let text = format!(
            "{{\"content\":\"a\"}}\n{{\"content\":7}}\nnonsense\n{{\"content\":\"\"}}\n\
             {{\"content\":\"a\",\"sns-id\":\"t\"}}\n{{}}\n{long}\n\
             {{\"content\":\"a\",\"author\":\"{}\"}}",
            "x".repeat(2049)
        );
        let message = parse(&text, &Addressing::default()).unwrap_err();
        for says in [
            "line 2: ",
            "line 3: ",
            "line 4: content is empty",
            "line 5: ",
            "`sns-id`",
            "line 6: ",
            "line 7: ",
            "line 8: author: ",
        ] {
            assert!(message.contains(says), "{says} in {message}");
        }
        assert!(!message.contains("line 1:"), "{message}");
        assert!(parse("\n\n", &Addressing::default()).unwrap_err().contains("no comment"));
        let many = parse(&"x\n".repeat(50), &Addressing::default()).unwrap_err();
        assert!(many.contains("line 20: ") && many.contains("and 30 more"), "{many}");
    }
}
