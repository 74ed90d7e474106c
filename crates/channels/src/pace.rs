//! How fast a channel lets us come: `2 per 60s by target`.

use std::fmt;
use std::time::Duration;

/// Most requests in one window: each is remembered until the window has passed.
const MOST: u32 = 10_000;
/// The longest window.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// So many requests in any window of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many: 1 to 10000.
    pub requests: u32,
    /// The window: up to a week.
    pub window: Duration,
    /// Whether each target has a count of its own.
    pub by_target: bool,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.by_target { " by target" } else { "" };
        write!(f, "{} per {}s{by}", self.requests, self.window.as_secs_f64())
    }
}

impl Pace {
    /// Reads `N per T`, where `T` is a number with `ms`, `s`, `min`, `h` or `d`, perhaps with `by target` behind.
    ///
    /// # Errors
    /// Says what it must look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let malformed = || format!("must be like \"20 per 60s\" or \"2 per 60s by target\", is {text:?}");
        let words: Vec<&str> = text.split_whitespace().collect();
        let (requests, window, by_target) = match words.as_slice() {
            [requests, "per", window] => (requests, window, false),
            [requests, "per", window, "by", "target"] => (requests, window, true),
            _ => return Err(malformed()),
        };
        let requests = requests.parse::<u32>().map_err(|_| malformed())?;
        let digits = window.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit_ms = match window.get(digits.len()..) {
            Some("ms") => 1,
            Some("s") => 1000,
            Some("min") => 60_000,
            Some("h") => 3_600_000,
            Some("d") => 86_400_000,
            _ => return Err(malformed()),
        };
        let number = digits.parse::<u64>().map_err(|_| malformed())?;
        let window = Duration::from_millis(number.saturating_mul(unit_ms));
        if !(1..=MOST).contains(&requests) || window.is_zero() || window > LONGEST {
            return Err(format!("must be 1 to {MOST} requests per up to 7 days, is {text:?}"));
        }
        Ok(Self { requests, window, by_target })
    }
}

#[cfg(test)]
#[test]
fn paces_are_read_as_people_write_them() {
    let pace = |requests, s, by_target| Ok(Pace { requests, window: Duration::from_secs(s), by_target });
    assert_eq!(Pace::parse("2 per 60s by target"), pace(2, 60, true));
    assert_eq!(Pace::parse("20 per 1min"), pace(20, 60, false));
    assert_eq!(Pace::parse("2000 per 1d"), pace(2000, 86_400, false));
    for bad in
        ["", "2", "2 per minute", "0 per 60s", "2 per 0s", "2 per 60s by author", "20000 per 1s", "2 per 8d"]
    {
        assert!(Pace::parse(bad).is_err(), "{bad}");
    }
}
