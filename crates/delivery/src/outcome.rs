//! What a delivery comes to by its attempts' verdicts, and which of them speaks for it.

use crate::verdict::{Effect, Verdict};
use commentd_contract::{Outcome, VerdictKind};

/// The outcome that follows from the attempts' verdicts, in order; `None` stands for one that is open.
///
/// An effect of one settles the delivery. Otherwise any attempt that is open or unknown makes it unknown,
/// whatever came after. Otherwise the last verdict speaks; without any attempt, nothing was sent.
pub fn outcome_of<'a>(verdicts: impl Iterator<Item = Option<&'a Verdict>>) -> Outcome {
    let mut last = Outcome::NotSent;
    let mut unresolved = false;
    let mut stored = None;
    for verdict in verdicts {
        let Some(verdict) = verdict else {
            unresolved = true;
            continue;
        };
        match verdict.rule().effect {
            Effect::One => stored = Some(outcome_of_stored(verdict.kind)),
            Effect::Unclear => unresolved = true,
            Effect::None => {
                last = match verdict.kind {
                    VerdictKind::Refused | VerdictKind::Duplicate => Outcome::Refused,
                    _ => Outcome::NotSent,
                }
            }
        }
    }
    match (stored, unresolved) {
        (Some(outcome), _) => outcome,
        (None, true) => Outcome::Unknown,
        (None, false) => last,
    }
}

fn outcome_of_stored(kind: VerdictKind) -> Outcome {
    match kind {
        VerdictKind::Held => Outcome::Held,
        VerdictKind::Misplaced => Outcome::Misplaced,
        _ => Outcome::Delivered,
    }
}

/// The attempt (its index) and its verdict that speak for the outcome: the last that stored the comment, else the last
/// that is unknown, else the last. Open attempts have no verdict to speak with.
pub fn speaking<'a>(verdicts: impl Iterator<Item = Option<&'a Verdict>>) -> Option<(usize, &'a Verdict)> {
    let (mut one, mut unclear, mut none) = (None, None, None);
    for (index, verdict) in verdicts.enumerate() {
        let Some(verdict) = verdict else { continue };
        let last = match verdict.rule().effect {
            Effect::One => &mut one,
            Effect::Unclear => &mut unclear,
            Effect::None => &mut none,
        };
        *last = Some((index, verdict));
    }
    one.or(unclear).or(none)
}

/// Whether this outcome is reported as a success. `unknown_is_success`: whether what may be there counts as one.
pub fn is_success(outcome: Outcome, unknown_is_success: bool) -> bool {
    outcome.is_success() || (unknown_is_success && matches!(outcome, Outcome::Unknown | Outcome::Misplaced))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kind: VerdictKind) -> Verdict {
        Verdict::new(kind, "")
    }

    #[test]
    fn the_verdict_that_speaks_fits_the_outcome() {
        use VerdictKind::{Delivered, Denied, Held, NotSent, Refused, Unknown};
        for (kinds, outcome, speaks) in [
            (&[][..], Outcome::NotSent, None),
            (&[Some(Denied), Some(NotSent)], Outcome::NotSent, Some(1)),
            (&[Some(Denied), Some(Refused)], Outcome::Refused, Some(1)),
            (&[Some(Unknown), Some(Denied)], Outcome::Unknown, Some(0)),
            (&[Some(Unknown), Some(Held), Some(Denied)], Outcome::Held, Some(1)),
            (&[Some(Held), Some(Delivered)], Outcome::Delivered, Some(1)),
            (&[Some(Unknown), None], Outcome::Unknown, Some(0)),
            (&[None], Outcome::Unknown, None),
        ] {
            let verdicts: Vec<Option<Verdict>> = kinds.iter().map(|kind| kind.map(verdict)).collect();
            assert_eq!(outcome_of(verdicts.iter().map(Option::as_ref)), outcome, "{kinds:?}");
            let index = speaking(verdicts.iter().map(Option::as_ref)).map(|(index, _)| index);
            assert_eq!(index, speaks, "{kinds:?}");
        }
    }
}
