//! The types of settings: what each may be, and as what it is read.

use super::kind::{Kind, ratio, switch};
use super::words::Words;
use std::marker::PhantomData;

/// A type of settings.
pub(super) trait SettingType {
    /// What a text of it may be.
    const KIND: Kind;
    /// What it is read as.
    type Value<'a>;

    /// Reads a text, which may be unset or wrong: a text then reads as it is, and anything else as a value that a check
    /// can go on with.
    fn read(text: &str) -> Self::Value<'_>;
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $read:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub(super) struct $name;

        impl SettingType for $name {
            const KIND: Kind = Kind::$name;
            type Value<'a> = &'a str;

            fn read(text: &str) -> &str {
                $read(text)
            }
        }
    )+};
}

texts! {
    /// Any text on one line; blanks around it don't count.
    Text: str::trim;
    /// A file or directory.
    Path: str::trim;
    /// A URL.
    Address: str::trim;
    /// Texts separated by commas.
    List: str::trim;
    /// A text on one line that is never shown; blanks around it count.
    Secret: std::convert::identity;
}

/// `true` or `false`.
#[derive(Clone)]
pub(super) struct Switch;

impl SettingType for Switch {
    const KIND: Kind = Kind::Switch;
    type Value<'a> = bool;

    fn read(text: &str) -> bool {
        switch(text).unwrap_or_default()
    }
}

/// A number from 0 to 1.
#[derive(Clone)]
pub(super) struct Ratio;

impl SettingType for Ratio {
    const KIND: Kind = Kind::Ratio;
    type Value<'a> = f64;

    fn read(text: &str) -> f64 {
        ratio(text).unwrap_or_default()
    }
}

/// A whole number in this range, bounds included.
#[derive(Clone)]
pub(super) struct Int<N, const MIN: i64, const MAX: i64>(PhantomData<N>);

impl<N: TryFrom<i64> + Default, const MIN: i64, const MAX: i64> SettingType for Int<N, MIN, MAX> {
    const KIND: Kind = Kind::Integer { min: MIN, max: MAX };
    type Value<'a> = N;

    fn read(text: &str) -> N {
        Self::KIND.integer(text).and_then(|number| N::try_from(number).ok()).unwrap_or_default()
    }
}

/// Milliseconds, ten minutes at most.
pub(super) type Ms<const MIN: i64> = Int<u64, MIN, 600_000>;

/// One of a few words.
#[derive(Clone)]
pub(super) struct Word<E>(PhantomData<E>);

impl<E: Words> SettingType for Word<E> {
    const KIND: Kind = Kind::OneOf(E::WORDS);
    type Value<'a> = E;

    fn read(text: &str) -> E {
        let meant = E::WORDS.iter().position(|word| word.eq_ignore_ascii_case(text.trim()));
        meant.and_then(|at| E::VALUES.get(at)).copied().unwrap_or(E::IN_DOUBT)
    }
}
