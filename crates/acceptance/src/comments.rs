//! The names of a run and of its comments.

use crate::error::AcceptError;
use crate::options::AcceptOptions;

/// The 128 random bits that tell one run from every other.
#[derive(Clone, Debug)]
pub(crate) struct RunId(String);

impl RunId {
    /// A fresh one.
    pub(crate) fn random() -> Result<Self, AcceptError> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(|error| AcceptError::Random(error.to_string()))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The first 32 bits, for people: in comments, in the report and in its file's name.
    pub(crate) fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }

    /// The idempotency key of a round. All 128 bits: a key must not meet another run's in the ledger.
    pub(crate) fn key(&self, round: u32) -> String {
        format!("accept-{}-r{round:02}", self.0)
    }
}

/// The comments of a round (from 1), in batch order.
///
/// Each is `<prefix>-rNN-cNN`, with verification `<prefix>-<run>-rNN-cNN`, so that no earlier run's comments
/// are counted. Given contents follow their comment's name after a space, going round when they run out; an
/// empty one leaves the name alone, because channels trim what ends in a space.
pub(crate) fn of_round(options: &AcceptOptions, run: &RunId, round: u32) -> Vec<String> {
    let prefix = &options.comment_prefix;
    let first = u64::from(round.saturating_sub(1)) * u64::from(options.count);
    (1..=options.count)
        .map(|index| {
            let name = if options.verify {
                format!("{prefix}-{}-r{round:02}-c{index:02}", run.short())
            } else {
                format!("{prefix}-r{round:02}-c{index:02}")
            };
            let place = (first + u64::from(index - 1)).checked_rem(options.contents.len() as u64);
            match place.and_then(|place| options.contents.get(usize::try_from(place).ok()?)) {
                Some(text) if !text.is_empty() => format!("{name} {text}"),
                _ => name,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::AcceptArgs;

    fn options(args: AcceptArgs) -> AcceptOptions {
        args.check(&|_| None).unwrap()
    }

    #[test]
    fn comments_are_named_by_round_and_place() {
        let run = RunId::random().unwrap();
        let plain = options(AcceptArgs { count: Some("2".into()), ..AcceptArgs::default() });
        assert_eq!(of_round(&plain, &run, 1), ["acc-r01-c01", "acc-r01-c02"]);
        let verified = AcceptOptions { verify: true, ..plain };
        assert_eq!(of_round(&verified, &run, 3)[1], format!("acc-{}-r03-c02", run.short()));
    }

    #[test]
    fn contents_go_round_across_rounds() {
        let run = RunId::random().unwrap();
        let base = options(AcceptArgs { count: Some("2".into()), ..AcceptArgs::default() });
        let options = AcceptOptions { contents: vec!["x".into(), String::new(), "z\n\"".into()], ..base };
        assert_eq!(of_round(&options, &run, 1), ["acc-r01-c01 x", "acc-r01-c02"]);
        assert_eq!(of_round(&options, &run, 2), ["acc-r02-c01 z\n\"", "acc-r02-c02 x"]);
    }

    #[test]
    fn runs_differ_and_their_keys_are_valid() {
        let (one, other) = (RunId::random().unwrap(), RunId::random().unwrap());
        assert_ne!(one.key(1), other.key(1));
        assert_ne!(one.key(1), one.key(2));
        assert_eq!(one.short().len(), 8);
        assert!(commentd_contract::IdempotencyKey::parse(&one.key(100_000)).is_ok());
    }
}
