//! Words that are not used: metaphors of our own for what the field has a name for. Read are the identifiers, comments,
//! texts and documents of the whole repository, in both languages.

use super::{files, root};
use std::collections::{BTreeMap, BTreeSet};

/// An English word or phrase that is not used.
struct Banned {
    /// Its forms. Words are compared without case, and parts of identifiers are words: `a b` is found in `a_b`, `ABs`
    /// is `a bs`. With `_` between them the words count only within one identifier.
    forms: &'static [&'static str],
    /// What to say instead.
    instead: &'static str,
    /// Phrases in which it is the field's word all the same, or the wire's.
    unless: &'static [&'static str],
    /// Files or folders in which it is.
    except: &'static [&'static str],
    /// The only files in which it isn't used, by the end of their names.
    only: &'static str,
}

const fn banned(forms: &'static [&'static str], instead: &'static str) -> Banned {
    Banned { forms, instead, unless: &[], except: &[], only: "" }
}

const ENGLISH: &[Banned] = &[
    Banned {
        // The contract's code 64, `--max-in-flight`, and the field's word for what is under way.
        unless: &["in flight", "single flight"],
        ..banned(&["flight", "flights"], "delivery, or in flight")
    },
    banned(&["fly", "flies", "flying", "flown", "flew"], "run, deliver"),
    banned(&["aloft"], "in the caller's task (RunInCaller)"),
    banned(&["pilot", "pilots"], "leader"),
    banned(&["passenger", "passengers"], "follower"),
    banned(&["seat", "seats"], "permit (AdmissionPermit, LookupPermit)"),
    Banned {
        // A kind of metric.
        except: &["crates/sidecar/src/http/metrics"],
        ..banned(&["gauge", "gauges"], "provider state")
    },
    banned(&["purse", "purses"], "fake provider health"),
    banned(&["desk", "desks"], "writer state"),
    banned(&["book", "books"], "transaction context"),
    banned(&["farewell", "farewells"], "on_closed"),
    banned(&["ripe", "young"], "memtable, immutable, or nothing"),
    banned(&["rouse", "rouses", "roused", "rousing"], "ensure ready"),
    banned(&["bury", "buries", "buried", "burying"], "kill and back off"),
    banned(&["sabotage", "sabotages", "sabotaged"], "rule switch, or without the rule"),
    banned(&["fence", "fences", "fenced"], "failpoint"),
    banned(&["step aside", "steps aside", "stepping aside"], "yield once"),
    banned(&["in_a_row"], "consecutive"),
    banned(&["under_way"], "pending"),
    banned(&["came_back"], "completion, on_completion"),
    banned(&["sighting", "sightings"], "lookup result"),
    banned(&["looking_seat", "looking_seats"], "lookup permit"),
    banned(&["the net below", "the nets below"], "fallback providers"),
    banned(&["doors left open"], "extension points"),
    Banned { only: ".md", ..banned(&["mended"], "fixed") },
];

/// Chinese texts that are not used, and what to write instead.
const CHINESE: &[(&str, &str)] = &[
    ("评论已经在了", "评论已发出"),
    ("保护网", "兜底"),
    ("录音带", "录制文件"),
    ("带子", "录制文件"),
    ("随请求走", "携带凭据的方式"),
    ("算数", "先匹配先生效"),
    ("秘密", "密钥"),
];

/// Files and folders that still have such words. The list only shrinks: an entry without any fails the test.
const NOT_YET: &[&str] =
    &["crates/delivery", "crates/sidecar", "testing/chaos/src/state.rs", "testing/simulation"];

/// Where texts stand that people read or write.
const PLACES: &[&str] = &["crates", "testing", "channels", "docs", "workers", "scripts", ".ci"];

/// What is not ours to word: this list itself, and what servers and fuzzers have left.
const NOT_READ: &[&str] =
    &["crates/commentd/tests/house/words.rs", "crates/commentd/tests/house/names.rs", "testing/fuzz/corpus"];

#[test]
fn words_are_the_field_s() {
    let mut found: Vec<(String, String)> = Vec::new();
    for (path, text) in texts() {
        let hits = english(&text, &path).into_iter().chain(chinese(&text));
        found.extend(hits.map(|hit| (path.clone(), hit)));
    }
    let is_in = |path: &str, place: &str| {
        path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let unexpected: Vec<String> = found
        .iter()
        .filter(|(path, _)| !NOT_YET.iter().any(|place| is_in(path, place)))
        .map(|(path, hit)| format!("{path}:{hit}"))
        .collect();
    assert!(unexpected.is_empty(), "\n{}", unexpected.join("\n"));
    let free: Vec<&&str> =
        NOT_YET.iter().filter(|place| !found.iter().any(|(path, _)| is_in(path, place))).collect();
    assert!(free.is_empty(), "none of these words any more, take these off NOT_YET: {free:?}");
}

/// The files that are read, by their paths from the root.
fn texts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for place in PLACES {
        files(&root().join(place), &mut found);
    }
    for entry in std::fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| ["md", "toml"].iter().any(|known| extension == *known)) {
            found.push(path);
        }
    }
    let relative =
        |path: &std::path::Path| path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
    let texts: Vec<(String, String)> = found
        .iter()
        .map(|path| (relative(path), path))
        .filter(|(path, _)| !NOT_READ.iter().any(|place| path.starts_with(place)))
        .filter_map(|(name, path)| Some((name, std::fs::read_to_string(path).ok()?)))
        .collect();
    assert!(texts.len() > 300);
    texts
}

/// A word of a text: in lower case, with its line, and whether it goes on the identifier of the word before.
struct Word {
    text: String,
    line: usize,
    is_joined: bool,
}

/// The words of a text, identifiers split into theirs.
fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut before = ' ';
        let mut letters = line.chars().peekable();
        let mut word = String::new();
        let mut is_joined = false;
        while let Some(letter) = letters.next() {
            if letter.is_ascii_alphabetic() {
                let starts = letter.is_ascii_uppercase()
                    && (before.is_ascii_lowercase()
                        || (before.is_ascii_uppercase()
                            && letters.peek().is_some_and(char::is_ascii_lowercase)));
                if starts && !word.is_empty() {
                    words.push(Word { text: std::mem::take(&mut word), line: number + 1, is_joined });
                    is_joined = true;
                } else if word.is_empty() {
                    is_joined = before == '_' || before.is_ascii_digit();
                }
                word.push(letter.to_ascii_lowercase());
            } else if !word.is_empty() {
                words.push(Word { text: std::mem::take(&mut word), line: number + 1, is_joined });
            }
            before = letter;
        }
        if !word.is_empty() {
            words.push(Word { text: word, line: number + 1, is_joined });
        }
    }
    words
}

/// A phrase's words, and for each whether it must go on the identifier of the one before.
type Phrase<'a> = Vec<(&'a str, bool)>;

fn phrase(text: &str) -> Phrase<'_> {
    text.split(' ')
        .flat_map(|apart| apart.split('_').enumerate().map(|(index, word)| (word, index > 0)))
        .collect()
}

fn stands_at(words: &[Word], at: usize, phrase: &[(&str, bool)]) -> bool {
    phrase.iter().enumerate().all(|(index, (text, joined))| {
        words.get(at + index).is_some_and(|word| word.text == *text && (!joined || word.is_joined))
    })
}

/// What stands in a text that shouldn't, as `LINE: WORD (say …)`.
fn english(text: &str, path: &str) -> BTreeSet<String> {
    let is_read = |banned: &&Banned| {
        path.ends_with(banned.only) && !banned.except.iter().any(|place| path.starts_with(place))
    };
    let mut by_first: BTreeMap<&str, Vec<(&Banned, &str, Phrase<'_>)>> = BTreeMap::new();
    for banned in ENGLISH.iter().filter(is_read) {
        for form in banned.forms {
            let words = phrase(form);
            by_first.entry(words[0].0).or_default().push((banned, form, words));
        }
    }
    let words = words(text);
    let is_within = |phrase: &Phrase<'_>, at: usize| {
        (0..phrase.len()).any(|back| back <= at && stands_at(&words, at - back, phrase))
    };
    let mut found = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        for (banned, form, form_words) in by_first.get(word.text.as_str()).into_iter().flatten() {
            let is_allowed = || banned.unless.iter().any(|text| is_within(&phrase(text), at));
            if stands_at(&words, at, form_words) && !is_allowed() {
                found.insert(format!("{}: {form} (say {})", word.line, banned.instead));
            }
        }
    }
    found
}

fn chinese(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (banned, instead) in CHINESE.iter().filter(|(banned, _)| line.contains(banned)) {
            found.push(format!("{}: {banned} (say {instead})", number + 1));
        }
    }
    found
}

#[test]
fn examples() {
    let found = |text: &str| english(text, "README.md").into_iter().collect::<Vec<_>>();
    assert_eq!(
        found("let flights = 1;\n// KEY_IN_FLIGHT, in_flight, in\n// flight"),
        ["1: flights (say delivery, or in flight)"]
    );
    assert_eq!(found("struct LookingSeat;").len(), 2);
    assert_eq!(found("struct HTTPFence;").len(), 1);
    assert_eq!(found("fn f(under_way: UnderWay) {} // what is under way").len(), 1);
    assert_eq!(found("the net\n/// below").len(), 1);
    assert!(found("defence, seating, facebook, Preseat").is_empty());
    assert_eq!(chinese("评论已经在了").len(), 1);
}
