//! What a setting's value may be. Values are texts until they are checked, whatever layer they come from.

/// What a setting's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text on one line.
    Text,
    /// A whole number in this range, bounds included.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// A number from 0 to 1.
    Ratio,
    /// A flag without a value, or `true` or `false`.
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A file or directory; a relative one is looked for from the working directory.
    Path,
    /// A URL, which is shown without the credentials in it.
    Address,
    /// A text on one line that is never shown.
    Secret,
    /// Texts separated by commas.
    List,
}

/// What stands for a secret wherever people look.
pub(super) const REDACTED: &str = "***";
/// Longest piece of a value that a message shows, in characters.
const MAX_SHOWN_CHARS: usize = 80;

impl Kind {
    /// Whether this value counts as not given.
    pub(super) fn is_unset(self, text: &str) -> bool {
        if self == Kind::Secret { text.is_empty() } else { text.trim().is_empty() }
    }

    /// Checks a value that is given.
    ///
    /// # Errors
    /// Says what is allowed and, unless it is a secret, what the value is.
    pub(super) fn check(self, text: &str) -> Result<(), String> {
        let allowed = match self {
            Kind::Integer { min, max } => match (self.integer(text), max) {
                (Some(_), _) => return Ok(()),
                (None, i64::MAX) if min == i64::MIN => "must be a whole number".to_owned(),
                (None, i64::MAX) => format!("must be a whole number, {min} or more"),
                (None, _) => format!("must be a whole number from {min} to {max}"),
            },
            Kind::Ratio if ratio(text).is_none() => "must be a number from 0 to 1".to_owned(),
            Kind::Switch if switch(text).is_none() => "must be true or false".to_owned(),
            Kind::OneOf(words) if self.word(text).is_none() => format!("must be one of {}", words.join(", ")),
            Kind::Text | Kind::Path | Kind::List | Kind::Address | Kind::Secret
                if text.chars().any(char::is_control) =>
            {
                "must be one line without control characters".to_owned()
            }
            _ => return Ok(()),
        };
        Err(if self == Kind::Secret { allowed } else { format!("{allowed}, is {}", self.quoted(text)) })
    }

    /// The value as a number, if it is one in range.
    pub(super) fn integer(self, text: &str) -> Option<i64> {
        let Kind::Integer { min, max } = self else { return None };
        text.trim().parse().ok().filter(|number| (min..=max).contains(number))
    }

    /// The number in range that is nearest to this one, if it is a number and out of range.
    pub(super) fn nearest(self, text: &str) -> Option<String> {
        let text = text.trim();
        match self {
            Kind::Integer { min, max } => {
                let number: i64 = text.parse().ok()?;
                (!(min..=max).contains(&number)).then(|| number.clamp(min, max).to_string())
            }
            Kind::Ratio => {
                let number: f64 = text.parse().ok().filter(|number: &f64| !number.is_nan())?;
                (!(0.0..=1.0).contains(&number)).then(|| number.clamp(0.0, 1.0).to_string())
            }
            _ => None,
        }
    }

    /// The word of a [`Kind::OneOf`] that this is; upper and lower case are the same.
    pub(super) fn word(self, text: &str) -> Option<&'static str> {
        let Kind::OneOf(words) = self else { return None };
        words.iter().copied().find(|word| word.eq_ignore_ascii_case(text.trim()))
    }

    /// The value as people may see it: no secrets, no credentials in addresses.
    pub(super) fn shown(self, text: &str) -> String {
        match (self, text.rsplit_once('@')) {
            (Kind::Secret, _) if !text.is_empty() => REDACTED.to_owned(),
            // Where the scheme is forgotten.
            (Kind::Address, Some((_, place))) if !text.contains("://") => format!("{REDACTED}@{place}"),
            _ => without_credentials(text),
        }
    }

    /// The same in quotes and cut, for messages.
    pub(super) fn quoted(self, text: &str) -> String {
        let shown = self.shown(text);
        let cut: String = shown.chars().take(MAX_SHOWN_CHARS).collect();
        if cut.len() < shown.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
    }
}

/// A number from 0 to 1.
pub(super) fn ratio(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number| (0.0..=1.0).contains(number))
}

/// `true` or `false`, also in the words that people use in environments.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The parts of a list; empty parts are left out.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Takes out what may be secret in an address, well formed or not: all before an `@`, and the query.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // The last `@`: passwords contain anything, `/` and `?` included, where people forget to encode them.
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((_, place)) => ("***@", place),
        None => ("", rest),
    };
    let (place, query) = match place.find(['?', '#']) {
        Some(at) => (place.get(..at).unwrap_or_default(), "?***"),
        None => (place, ""),
    };
    format!("{scheme}://{credentials}{place}{query}")
}

/// The candidate that was probably meant, if any is close.
pub(super) fn near<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).clamp(1, 3);
    let distances = candidates.into_iter().map(|other| (strsim::damerau_levenshtein(word, other), other));
    distances.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, w)| w)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_their_secrets() {
        for (text, shown) in [
            ("http://h:1/p", "http://h:1/p"),
            ("https://u:p@h/p?token=t#f", "https://***@h/p?***"),
            ("postgres://u:p?/@w@h/db", "postgres://***@h/db"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(Kind::Text.shown(text), shown);
        }
        assert_eq!(Kind::Address.shown("u:p@h:1"), "***@h:1");
        assert_eq!(Kind::Address.shown("http://u:p@h:1"), "http://***@h:1");
        assert_eq!(Kind::Secret.shown("s"), REDACTED);
        assert_eq!(Kind::Secret.shown(""), "");
    }

    #[test]
    fn each_kind_says_what_is_allowed() {
        let port = Kind::Integer { min: 0, max: 65_535 };
        for (kind, bad, says) in [
            (port, "65536", "from 0 to 65535"),
            (port, "-1", "from 0 to 65535"),
            (port, "1e3", "\"1e3\""),
            (Kind::Integer { min: 0, max: i64::MAX }, "-1", "0 or more"),
            (Kind::Ratio, "1.1", "0 to 1"),
            (Kind::Ratio, "NaN", "0 to 1"),
            (Kind::Switch, "maybe", "true or false"),
            (Kind::OneOf(&["human", "json"]), "xml", "human, json"),
            (Kind::Path, "a\nb", "one line"),
        ] {
            let message = kind.check(bad).unwrap_err();
            assert!(message.contains(says), "{kind:?} {bad}: {message}");
        }
        for (kind, good) in [
            (port, " 0 "),
            (port, "65535"),
            (Kind::Ratio, "1"),
            (Kind::Switch, "OFF"),
            (Kind::OneOf(&["human", "json"]), "JSON"),
        ] {
            assert_eq!(kind.check(good), Ok(()), "{kind:?} {good}");
        }
        assert!(!Kind::Secret.check("pass\nword").unwrap_err().contains("pass"));
    }

    #[test]
    fn near_misses_are_close() {
        assert_eq!(near("ledgr", ["ledger", "host"]), Some("ledger"));
        assert_eq!(near("prot", ["host", "port"]), Some("port"));
        assert_eq!(near("colour", ["ledger", "host"]), None);
    }
}
