//! Reading the target back, and counting.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Pauses before the second and each later read, in milliseconds: five reads within a second of waiting.
const PAUSES_MS: [u64; 4] = [50, 150, 300, 500];
/// The longest that one read may take, in milliseconds.
const READ_TIMEOUT_MS: u64 = 10_000;

/// A comment as the target shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadComment {
    /// The channel's id of it; empty if the channel has none.
    pub comment_id: String,
    /// Its text, verbatim.
    pub text: String,
}

/// Reads a target's comments back from the channel, whatever that is.
pub trait TargetReader: Send + Sync {
    /// All comments of `target` that are stored, held ones included, in any order. A comment that two pages
    /// both show may come twice with the same id. Dropping the future ends the read, which has no effect.
    ///
    /// # Errors
    /// A text for people that says what failed and where. A list known to be incomplete is an error too.
    fn read<'a>(
        &'a self,
        target: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<ReadComment>, String>> + Send + 'a>>;
}

/// How often each sent comment is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PresenceTally {
    pub(crate) once: u32,
    pub(crate) missing: u32,
    pub(crate) duplicate: u32,
}

/// How often each text occurs, counting a comment that was read twice once.
pub(crate) struct TextCounts(HashMap<String, u32>);

impl TextCounts {
    pub(crate) fn new(read: Vec<ReadComment>) -> Self {
        let mut seen = HashSet::new();
        let mut counts = HashMap::new();
        for comment in read {
            if comment.comment_id.is_empty() || seen.insert(comment.clone()) {
                *counts.entry(comment.text).or_insert(0) += 1;
            }
        }
        Self(counts)
    }

    /// Counts texts that differ from each other.
    pub(crate) fn tally(&self, sent: &[String]) -> PresenceTally {
        let mut tally = PresenceTally { once: 0, missing: 0, duplicate: 0 };
        for text in sent {
            match self.0.get(text).copied().unwrap_or(0) {
                0 => tally.missing += 1,
                1 => tally.once += 1,
                _ => tally.duplicate += 1,
            }
        }
        tally
    }
}

/// Reads until nothing of `sent` is missing, five times at most. The error is the last read's; a read that
/// failed shows nothing.
pub(crate) async fn settle(
    reader: &dyn TargetReader,
    target: &str,
    sent: &[String],
) -> (PresenceTally, Option<String>) {
    let mut pauses = PAUSES_MS.into_iter();
    loop {
        let (shown, error) = match read(reader, target).await {
            Ok(shown) => (shown, None),
            Err(error) => (TextCounts::new(Vec::new()), Some(error)),
        };
        let tally = shown.tally(sent);
        match pauses.next() {
            Some(pause_ms) if tally.missing > 0 => {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            _ => return (tally, error),
        }
    }
}

/// One read, bounded in time.
pub(crate) async fn read(reader: &dyn TargetReader, target: &str) -> Result<TextCounts, String> {
    match tokio::time::timeout(Duration::from_millis(READ_TIMEOUT_MS), reader.read(target)).await {
        Ok(read) => read.map(TextCounts::new),
        Err(_) => Err(format!("reading the target back took over {READ_TIMEOUT_MS} ms")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Answers from a script, its last entry for ever.
    struct Script {
        reads: Mutex<u32>,
        answers: Vec<Result<Vec<ReadComment>, String>>,
    }

    impl TargetReader for Script {
        fn read<'a>(
            &'a self,
            _: &'a str,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<ReadComment>, String>> + Send + 'a>> {
            let mut reads = self.reads.lock().unwrap();
            let answer = self.answers[(*reads as usize).min(self.answers.len() - 1)].clone();
            *reads += 1;
            Box::pin(async { answer })
        }
    }

    fn comment(comment_id: &str, text: &str) -> ReadComment {
        ReadComment { comment_id: comment_id.into(), text: text.into() }
    }

    async fn settled(answers: Vec<Result<Vec<ReadComment>, String>>) -> (PresenceTally, Option<String>, u32) {
        let script = Script { reads: Mutex::new(0), answers };
        let (tally, error) = settle(&script, "t", &["a".into(), "b ".into()]).await;
        let reads = *script.reads.lock().unwrap();
        (tally, error, reads)
    }

    #[test]
    fn texts_are_compared_verbatim_and_pages_that_overlap_are_no_duplicates() {
        let sent: Vec<String> = ["a", "b ", "c", "d"].map(String::from).into();
        let read = [("1", "a"), ("1", "a"), ("2", "b"), ("3", "c"), ("4", "c"), ("", "d"), ("", "d")];
        let shown = TextCounts::new(read.map(|(id, text)| comment(id, text)).into());
        assert_eq!(shown.tally(&sent), PresenceTally { once: 1, missing: 1, duplicate: 2 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_comment_is_waited_for_and_then_the_reading_ends() {
        let late = vec![
            Ok(vec![comment("1", "a")]),
            Err("down".into()),
            Ok(vec![comment("1", "a"), comment("2", "b ")]),
        ];
        let (tally, error, reads) = settled(late).await;
        assert_eq!((tally.once, tally.missing, error, reads), (2, 0, None, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_missing_after_five_reads() {
        let (tally, error, reads) = settled(vec![Ok(vec![comment("1", "a")])]).await;
        assert_eq!((tally, error, reads), (PresenceTally { once: 1, missing: 1, duplicate: 0 }, None, 5));
        let (tally, error, reads) = settled(vec![Err("down".into())]).await;
        assert_eq!((tally.missing, error.as_deref(), reads), (2, Some("down"), 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_ends() {
        struct Hangs;
        impl TargetReader for Hangs {
            fn read<'a>(
                &'a self,
                _: &'a str,
            ) -> Pin<Box<dyn Future<Output = Result<Vec<ReadComment>, String>> + Send + 'a>> {
                Box::pin(std::future::pending())
            }
        }
        let (tally, error) = settle(&Hangs, "t", &["a".into()]).await;
        assert_eq!(tally.missing, 1);
        assert!(error.unwrap().contains("10000 ms"));
    }
}
