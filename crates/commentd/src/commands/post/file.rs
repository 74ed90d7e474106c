//! The comments of a file: JSON Lines, all of them good or none is sent.

use crate::failure::Failure;
use commentd_contract::limits::MAX_CONTENT_BYTES;
use commentd_contract::{Addressing, IdempotencyKey, TextOrNumber, Var};
use commentd_delivery::Comment;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Largest file that is read, in bytes (64 MiB).
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Bad lines that are told; there may be more.
const MAX_TOLD: usize = 20;

/// A comment to be posted, and the key that it always has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyedComment {
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
struct FileLine {
    content: String,
    #[serde(alias = "target")]
    sns_id: Option<TextOrNumber>,
    author: Option<String>,
    content_hash: Option<String>,
    reply_to: Option<TextOrNumber>,
    wxid: Option<String>,
    vars: Option<BTreeMap<String, Var>>,
    idempotency_key: Option<String>,
}

/// A comment of a file, as it is before the file's name is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileComment {
    line: usize,
    comment: Comment,
    key: KeyPart,
}

/// What its key is made of.
#[derive(Clone, Debug, PartialEq)]
enum KeyPart {
    /// The line brought it.
    Given(String),
    /// The comment, and which one of its like in the file it is: the same comment at its second place is another.
    Comment { fingerprint: [u8; 32], occurrence: u32 },
}

impl FileComment {
    /// With its key. `file` is the file's own name for its keys, so that the same comment in another file is
    /// another comment; it is empty for files that were begun before there were such names.
    pub(super) fn item(self, file: &str) -> KeyedComment {
        let key = match self.key {
            KeyPart::Given(key) => key,
            KeyPart::Comment { fingerprint, occurrence } => {
                let hex = |bytes: usize| -> String {
                    fingerprint.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
                };
                if file.is_empty() {
                    format!("post-{}-{occurrence}", hex(32))
                } else {
                    // Half of it tells the comments of one file apart, and people read this.
                    format!("post-{file}-{}-{occurrence}", hex(16))
                }
            }
        };
        KeyedComment { line: self.line, comment: self.comment, key }
    }
}

/// A file that is being posted. As long as this lives, no other run of `post` takes the file.
pub(super) struct CommentFile {
    pub(super) entries: Vec<FileComment>,
    _locked: Option<File>,
}

impl FileLine {
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

/// Reads the file (`-`: standard input), blocking. What a line doesn't name, `defaults` says.
///
/// # Errors
/// When it can't be read, is being posted by another run, has no comment, or has a bad line; each bad line is named
/// by its number.
pub(super) fn read(path: &Path, defaults: &Addressing) -> Result<CommentFile, Failure> {
    let wrong = |what: String| Failure(format!("--file {}: {what}; nothing was sent", path.display()));
    let (text, locked) = if path == Path::new("-") {
        (read_text(std::io::stdin()).map_err(wrong)?, None)
    } else {
        let file = File::open(path).map_err(|error| wrong(format!("can't be opened: {error}")))?;
        // Two runs that begin a file at once would each give it a name. Where a file can't be locked, the state
        // itself is still made by one only.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(wrong("is being posted by another run; wait for its end".into()));
        }
        (read_text(&file).map_err(wrong)?, Some(file))
    };
    Ok(CommentFile { entries: parse(&text, defaults).map_err(wrong)?, _locked: locked })
}

fn read_text(from: impl Read) -> Result<String, String> {
    let mut text = String::new();
    from.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("can't be read: {error}"))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {} MiB; split it", MAX_FILE_BYTES >> 20));
    }
    Ok(text)
}

fn parse(text: &str, defaults: &Addressing) -> Result<Vec<FileComment>, String> {
    let (mut entries, mut bad) = (Vec::new(), Vec::new());
    let mut seen: HashMap<[u8; 32], u32> = HashMap::new();
    let mut own: HashMap<String, (usize, [u8; 32])> = HashMap::new();
    // Editors on Windows like to begin a file with a byte order mark.
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        match comment_of(line, defaults) {
            Err(reason) => bad.push(format!("line {number}: {reason}")),
            Ok((comment, None)) => {
                let fingerprint = comment.fingerprint(1).0;
                let count = seen.entry(fingerprint).or_default();
                *count += 1;
                let key = KeyPart::Comment { fingerprint, occurrence: *count };
                entries.push(FileComment { line: number, comment, key });
            }
            Ok((comment, Some(key))) => {
                let fingerprint = comment.fingerprint(1).0;
                let (first, same) = *own.entry(key.clone()).or_insert((number, fingerprint));
                if same == fingerprint {
                    entries.push(FileComment { line: number, comment, key: KeyPart::Given(key) });
                } else {
                    bad.push(format!(
                        "line {number}: its idempotency_key is that of another comment, line {first}"
                    ));
                }
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
    if entries.is_empty() {
        return Err("has no comment; each line must be a JSON object with content".into());
    }
    Ok(entries)
}

/// The comment of a line, and the key that it brings.
fn comment_of(line: &str, defaults: &Addressing) -> Result<(Comment, Option<String>), String> {
    let mut line: FileLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if line.content.is_empty() {
        return Err("content is empty".into());
    }
    if line.content.len() > MAX_CONTENT_BYTES {
        return Err(format!("content has {} bytes, at most {MAX_CONTENT_BYTES}", line.content.len()));
    }
    let key = line.idempotency_key.take().map(|key| {
        let parsed = IdempotencyKey::parse(&key);
        parsed.map(|key| key.to_string()).map_err(|error| format!("idempotency_key: {error}"))
    });
    let comment = line.comment(defaults);
    comment.addressing.check().map_err(|error| error.to_string())?;
    Ok((comment, key.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        keys_in("f1", text)
    }

    fn keys_in(file: &str, text: &str) -> Vec<String> {
        let entries = parse(text, &Addressing::default()).unwrap();
        entries.into_iter().map(|entry| entry.item(file).key).collect()
    }

    #[test]
    fn the_same_comment_in_another_file_is_another_comment() {
        let line = r#"{"content":"a","sns_id":"t"}"#;
        assert_ne!(keys_in("f1", line), keys_in("f2", line));
        assert_eq!(keys_in("f1", line), keys_in("f1", line));
        // Such as files had before they had names of their own.
        let key = &keys_in("", line)[0];
        assert!(key.starts_with("post-") && key.ends_with("-1") && key.matches('-').count() == 2, "{key}");
        for key in keys_in(&"f".repeat(32), line) {
            assert!(IdempotencyKey::parse(&key).is_ok(), "{key}");
        }
    }

    #[test]
    fn a_line_may_bring_its_key() {
        let text = "{\"content\":\"a\",\"idempotency_key\":\"order-1\"}\n{\"content\":\"a\"}";
        let keys = keys(text);
        assert!(keys[0] == "order-1" && keys[1].ends_with("-1"), "{keys:?}");
        let bad = |text: &str| parse(text, &Addressing::default()).unwrap_err();
        assert!(bad("{\"content\":\"a\",\"idempotency_key\":\"\"}").contains("line 1: idempotency_key: "));
        let twice =
            "{\"content\":\"a\",\"idempotency_key\":\"k\"}\n{\"content\":\"b\",\"idempotency_key\":\"k\"}";
        assert!(bad(twice).contains("line 2: ") && bad(twice).contains("line 1"), "{}", bad(twice));
        assert_eq!(parse(&twice.replace("\"b\"", "\"a\""), &Addressing::default()).unwrap().len(), 2);
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
