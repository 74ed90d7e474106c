//! Which fault a request meets. A pure function of plan, seed, request number and text.

use crate::error::PlanError;

/// Longest delay, hold or lateness that a plan may ask for, in milliseconds (ten minutes).
pub const MAX_PAUSE_MS: u64 = 600_000;
/// Longest `Retry-After` that a plan may ask for, in seconds (one hour).
const MAX_RETRY_AFTER_S: u64 = 3600;
const MAX_RULES: usize = 100;
const MAX_REQUESTS_PER_RULE: usize = 10_000;
const MAX_NEEDLE_BYTES: usize = 1024;

/// One way to misbehave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Close the connection without an answer; nothing is stored.
    CutBefore,
    /// Store, then close the connection without an answer.
    CutAfter,
    /// Answer 500; nothing is stored.
    ErrorBefore,
    /// Store, then answer 500.
    ErrorAfter,
    /// Answer 429 with `Retry-After`; nothing is stored.
    Throttle {
        /// The hint, in seconds, 0–3600.
        retry_after_s: u64,
    },
    /// Store, then answer 200 with a text that is no reply.
    Garbage,
    /// Store, then answer with another comment's id, marker and text. The wxbot shape echoes nothing, so there
    /// it is a plain answer.
    WrongEcho,
    /// Store, then hold the whole answer.
    SlowHeaders {
        /// For so long, in milliseconds, 0–600000.
        hold_ms: u64,
    },
    /// Store, send the headers and half of the body, then hold the rest.
    SlowBody {
        /// For so long, in milliseconds, 0–600000.
        hold_ms: u64,
    },
    /// Hold the connection without an answer until the client leaves or the hold ends (then it is cut), and
    /// store only after that.
    StoreLate {
        /// The longest hold, in milliseconds, 0–600000.
        hold_ms: u64,
        /// From the connection's end to the storing, in milliseconds, 0–600000.
        late_ms: u64,
    },
    /// Store, then answer that the comment was refused (400; wxbot: its failure text): a channel that lies.
    RefuseAfter,
    /// Store, then answer with a filter's page: 403 in HTML. Not the board's word, and no sign that nothing was stored.
    Filtered,
    /// Never answer and store nothing; the connection is held until the client leaves.
    Hang,
}

impl Fault {
    /// Its name in plan files.
    pub const fn name(&self) -> &'static str {
        match self {
            Fault::CutBefore => "cut_before",
            Fault::CutAfter => "cut_after",
            Fault::ErrorBefore => "error_before",
            Fault::ErrorAfter => "error_after",
            Fault::Throttle { .. } => "throttle",
            Fault::Garbage => "garbage",
            Fault::WrongEcho => "wrong_echo",
            Fault::SlowHeaders { .. } => "slow_headers",
            Fault::SlowBody { .. } => "slow_body",
            Fault::StoreLate { .. } => "store_late",
            Fault::RefuseAfter => "refuse_after",
            Fault::Filtered => "filtered",
            Fault::Hang => "hang",
        }
    }
}

/// Which requests a rule applies to.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultTrigger {
    /// This share of all requests, 0–1, drawn from the seed.
    Ratio(f64),
    /// Requests with these numbers, from 1, in the order in which they were read in full.
    Requests(Vec<u64>),
    /// Requests with a comment that contains this text (1–1024 bytes).
    TextContains(String),
}

/// A fault and its requests.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// What happens.
    pub fault: Fault,
    /// FaultTrigger it happens.
    pub when: FaultTrigger,
}

impl FaultRule {
    /// A rule for a share of all requests, 0–1.
    pub fn ratio(fault: Fault, ratio: f64) -> Self {
        Self { fault, when: FaultTrigger::Ratio(ratio) }
    }

    /// A rule for requests by number, from 1.
    pub fn requests(fault: Fault, numbers: impl IntoIterator<Item = u64>) -> Self {
        Self { fault, when: FaultTrigger::Requests(numbers.into_iter().collect()) }
    }

    /// A rule for requests with a comment that contains a text. Under concurrency this is the one that always
    /// meets the same comment, since numbers follow arrival.
    pub fn text(fault: Fault, needle: impl Into<String>) -> Self {
        Self { fault, when: FaultTrigger::TextContains(needle.into()) }
    }

    fn applies(&self, index: usize, seed: u64, number: u64, texts: &[&str]) -> bool {
        match &self.when {
            FaultTrigger::Ratio(ratio) => unit(draw(seed, number, FIRST_RULE_DRAW + index as u64)) < *ratio,
            FaultTrigger::Requests(numbers) => numbers.contains(&number),
            FaultTrigger::TextContains(needle) => texts.iter().any(|text| text.contains(needle.as_str())),
        }
    }
}

/// How the board misbehaves. The default is not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// Delay of every post before anything else happens to it, in milliseconds, 0–600000.
    pub latency_ms: u64,
    /// The delay varies evenly by up to this much in both directions (never below 0), in milliseconds.
    pub jitter_ms: u64,
    /// Share of the posts that no rule applies to which are answered 500 and not stored, 0–1.
    pub fail_ratio: f64,
    /// The first rule that applies wins. At most 100.
    pub rules: Vec<FaultRule>,
}

impl FaultPlan {
    /// The same plan with one more rule at its end.
    #[must_use]
    pub fn with(mut self, rule: FaultRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Checks every range.
    ///
    /// # Errors
    /// Names the first key that is out of range and what is allowed.
    pub fn check(&self) -> Result<(), PlanError> {
        at_most("latency_ms", self.latency_ms, MAX_PAUSE_MS)?;
        at_most("jitter_ms", self.jitter_ms, MAX_PAUSE_MS)?;
        check_ratio("fail_ratio", self.fail_ratio)?;
        if self.rules.len() > MAX_RULES {
            return Err(PlanError::new(
                "fault",
                format!("{} rules, at most {MAX_RULES} are allowed", self.rules.len()),
            ));
        }
        self.rules.iter().enumerate().try_for_each(|(index, rule)| rule.check(&format!("fault[{index}]")))
    }
}

impl FaultRule {
    fn check(&self, place: &str) -> Result<(), PlanError> {
        match &self.fault {
            Fault::SlowHeaders { hold_ms } | Fault::SlowBody { hold_ms } => {
                at_most(format!("{place}.hold_ms"), *hold_ms, MAX_PAUSE_MS)?;
            }
            Fault::StoreLate { hold_ms, late_ms } => {
                at_most(format!("{place}.hold_ms"), *hold_ms, MAX_PAUSE_MS)?;
                at_most(format!("{place}.late_ms"), *late_ms, MAX_PAUSE_MS)?;
            }
            Fault::Throttle { retry_after_s } => {
                at_most(format!("{place}.retry_after_s"), *retry_after_s, MAX_RETRY_AFTER_S)?;
            }
            _ => {}
        }
        match &self.when {
            FaultTrigger::Ratio(ratio) => check_ratio(&format!("{place}.ratio"), *ratio),
            FaultTrigger::Requests(numbers) => {
                let in_range = (1..=MAX_REQUESTS_PER_RULE).contains(&numbers.len()) && !numbers.contains(&0);
                in_range.then_some(()).ok_or_else(|| {
                    PlanError::new(
                        format!("{place}.requests"),
                        format!("must be 1 to {MAX_REQUESTS_PER_RULE} request numbers, counted from 1"),
                    )
                })
            }
            FaultTrigger::TextContains(needle) => {
                let in_range = (1..=MAX_NEEDLE_BYTES).contains(&needle.len());
                in_range.then_some(()).ok_or_else(|| {
                    PlanError::new(
                        format!("{place}.text_contains"),
                        format!("must be 1 to {MAX_NEEDLE_BYTES} bytes, is {}", needle.len()),
                    )
                })
            }
        }
    }
}

fn at_most(key: impl Into<String>, value: u64, limit: u64) -> Result<(), PlanError> {
    if value > limit {
        return Err(PlanError::new(key, format!("must be 0 to {limit}, is {value}")));
    }
    Ok(())
}

fn check_ratio(key: &str, ratio: f64) -> Result<(), PlanError> {
    if !(0.0..=1.0).contains(&ratio) {
        return Err(PlanError::new(key, format!("must be 0 to 1, is {ratio}")));
    }
    Ok(())
}

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultDecision {
    /// Before anything else, in milliseconds.
    pub delay_ms: u64,
    /// `None`: the request is served as it should be.
    pub fault: Option<Fault>,
}

/// What happens to request `number` (from 1) with these comment texts.
///
/// The same arguments give the same decision on every machine and in every version: each purpose has a draw of
/// its own, so that a new rule at the end changes nothing for the requests it doesn't apply to.
pub fn decide(plan: &FaultPlan, seed: u64, number: u64, texts: &[&str]) -> FaultDecision {
    let ruled = plan
        .rules
        .iter()
        .enumerate()
        .find(|(index, rule)| rule.applies(*index, seed, number, texts))
        .map(|(_, rule)| rule.fault.clone());
    let fault = ruled
        .or_else(|| (unit(draw(seed, number, FAIL_DRAW)) < plan.fail_ratio).then_some(Fault::ErrorBefore));
    FaultDecision { delay_ms: delay_ms(plan, seed, number), fault }
}

fn delay_ms(plan: &FaultPlan, seed: u64, number: u64) -> u64 {
    let span = plan.jitter_ms.saturating_mul(2).saturating_add(1);
    let offset = draw(seed, number, JITTER_DRAW) % span;
    plan.latency_ms.saturating_add(offset).saturating_sub(plan.jitter_ms)
}

const JITTER_DRAW: u64 = 0;
const FAIL_DRAW: u64 = 1;
const FIRST_RULE_DRAW: u64 = 2;

/// Random-looking bits for one purpose of one request. A hash and not a stream, so that concurrent requests
/// can't take each other's draws.
fn draw(seed: u64, number: u64, purpose: u64) -> u64 {
    scramble(scramble(scramble(seed) ^ number) ^ purpose)
}

/// The SplitMix64 step: every input bit reaches every output bit.
fn scramble(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Evenly in 0 ≤ x < 1, from the upper 53 bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy() -> FaultPlan {
        FaultPlan { latency_ms: 10, jitter_ms: 4, fail_ratio: 0.2, rules: Vec::new() }
            .with(FaultRule::ratio(Fault::CutAfter, 0.3))
            .with(FaultRule::requests(Fault::Hang, [3, 7]))
    }

    fn decisions(seed: u64) -> Vec<FaultDecision> {
        (1..=2000).map(|number| decide(&noisy(), seed, number, &["text"])).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_seed_others() {
        assert_eq!(decisions(7), decisions(7));
        assert_ne!(decisions(7), decisions(8));
    }

    #[test]
    fn decisions_never_change_between_versions() {
        let drawn: Vec<u64> = (1..=4).map(|number| draw(42, number, JITTER_DRAW) % 1000).collect();
        assert_eq!(drawn, [524, 878, 81, 976]);
    }

    #[test]
    fn shares_and_delays_are_as_asked() {
        let all = decisions(7);
        let share =
            |fault: Fault| all.iter().filter(|d| d.fault.as_ref() == Some(&fault)).count() as f64 / 2000.0;
        assert!((share(Fault::CutAfter) - 0.3).abs() < 0.04, "{}", share(Fault::CutAfter));
        assert!((share(Fault::ErrorBefore) - 0.14).abs() < 0.04, "{}", share(Fault::ErrorBefore));
        let delays: std::collections::BTreeSet<u64> = all.iter().map(|d| d.delay_ms).collect();
        assert_eq!(delays, (6..=14).collect());
    }

    #[test]
    fn jitter_above_the_latency_ends_at_zero() {
        let plan = FaultPlan { latency_ms: 1, jitter_ms: 5, ..FaultPlan::default() };
        let delays: std::collections::BTreeSet<u64> =
            (1..500).map(|number| decide(&plan, 1, number, &[]).delay_ms).collect();
        assert_eq!(delays, (0..=6).collect());
    }

    #[test]
    fn ratio_one_is_always_and_ratio_zero_never() {
        let always = FaultPlan::default().with(FaultRule::ratio(Fault::Garbage, 1.0));
        let never = FaultPlan::default().with(FaultRule::ratio(Fault::Garbage, 0.0));
        for number in 1..1000 {
            assert_eq!(decide(&always, 5, number, &[]).fault, Some(Fault::Garbage));
            assert_eq!(decide(&never, 5, number, &[]).fault, None);
        }
    }

    #[test]
    fn the_first_rule_that_applies_wins_and_a_rule_beats_fail_ratio() {
        let plan = FaultPlan { fail_ratio: 1.0, ..FaultPlan::default() }
            .with(FaultRule::text(Fault::CutBefore, "slow"))
            .with(FaultRule::requests(Fault::Garbage, [2]));
        assert_eq!(decide(&plan, 1, 2, &["so slow"]).fault, Some(Fault::CutBefore));
        assert_eq!(decide(&plan, 1, 2, &["a", "b"]).fault, Some(Fault::Garbage));
        assert_eq!(decide(&plan, 1, 3, &["a", "slow"]).fault, Some(Fault::CutBefore));
        assert_eq!(decide(&plan, 1, 3, &["a"]).fault, Some(Fault::ErrorBefore));
    }

    #[test]
    fn another_rule_at_the_end_leaves_the_other_requests_alone() {
        let longer = noisy().with(FaultRule::requests(Fault::Garbage, [9]));
        for number in (1..=500).filter(|number| *number != 9) {
            assert_eq!(decide(&longer, 7, number, &[]), decide(&noisy(), 7, number, &[]));
        }
    }

    #[test]
    fn ranges_are_checked_by_name() {
        let one = |fault, when| FaultPlan::default().with(FaultRule { fault, when });
        let long = MAX_PAUSE_MS + 1;
        for (plan, key) in [
            (FaultPlan { latency_ms: long, ..FaultPlan::default() }, "latency_ms"),
            (FaultPlan { jitter_ms: long, ..FaultPlan::default() }, "jitter_ms"),
            (FaultPlan { fail_ratio: -0.1, ..FaultPlan::default() }, "fail_ratio"),
            (one(Fault::CutAfter, FaultTrigger::Ratio(1.01)), "fault[0].ratio"),
            (one(Fault::CutAfter, FaultTrigger::Ratio(f64::NAN)), "fault[0].ratio"),
            (one(Fault::CutAfter, FaultTrigger::Requests(vec![])), "fault[0].requests"),
            (one(Fault::CutAfter, FaultTrigger::Requests(vec![1, 0])), "fault[0].requests"),
            (one(Fault::CutAfter, FaultTrigger::TextContains(String::new())), "fault[0].text_contains"),
            (one(Fault::SlowBody { hold_ms: long }, FaultTrigger::Ratio(1.0)), "fault[0].hold_ms"),
            (
                one(Fault::StoreLate { hold_ms: 0, late_ms: long }, FaultTrigger::Ratio(1.0)),
                "fault[0].late_ms",
            ),
            (
                one(Fault::Throttle { retry_after_s: 3601 }, FaultTrigger::Ratio(1.0)),
                "fault[0].retry_after_s",
            ),
        ] {
            assert_eq!(plan.check().unwrap_err().key, key);
        }
        assert_eq!(noisy().check(), Ok(()));
    }
}
