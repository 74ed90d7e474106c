//! What one setting is.

use super::kind::Kind;
use commentd_contract::ProviderName;

/// Under which heading the help shows a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heading {
    /// Where callers reach the sidecar.
    Listening,
    /// Which providers there are, and how they behave.
    Providers,
    /// The channel of `native_http`.
    Channel,
    /// The hook's pipe and the UI worker.
    HookAndUi,
    /// Times and sizes.
    Limits,
    /// The ledger.
    Ledger,
    /// Who may call.
    Access,
    /// What is logged.
    Logging,
    /// What is accepted so that old start scripts keep working.
    Old,
}

impl Heading {
    /// The heading's text.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Heading::Listening => "Listening",
            Heading::Providers => "Providers",
            Heading::Channel => "Channel",
            Heading::HookAndUi => "Hook and UI worker",
            Heading::Limits => "Deadlines and limits",
            Heading::Ledger => "Ledger",
            Heading::Access => "Access",
            Heading::Logging => "Logging",
            Heading::Old => "Old flags",
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// The flag, without its dashes.
    pub(super) name: &'static str,
    /// Its older flags, which still work.
    pub(super) aliases: &'static [&'static str],
    /// What its value may be.
    pub(super) kind: Kind,
    /// What it is for, with unit and range; the default is appended where it is shown.
    pub(super) help: &'static str,
    /// Where the help shows it.
    pub(super) heading: Heading,
    /// The channel setting that it is the old name of.
    pub(super) channel_setting: Option<&'static str>,
    /// The provider that must be in the chain for it to have an effect.
    pub(super) only_with: Option<ProviderName>,
    /// Why it has no effect any more, for those that are accepted and warned of.
    pub(super) obsolete: Option<&'static str>,
    /// Whether a number out of range is brought into it, as the older sidecar did.
    pub(super) clamps: bool,
    /// Its key in `commentd.toml`, where that isn't its name.
    pub(super) file_key: Option<&'static str>,
    /// A further environment variable that sets it.
    pub(super) old_variable: Option<&'static str>,
}

impl Setting {
    /// What a row of the table leaves out.
    pub(super) const PLAIN: Self = Self {
        name: "",
        aliases: &[],
        kind: Kind::Text,
        help: "",
        heading: Heading::Listening,
        channel_setting: None,
        only_with: None,
        obsolete: None,
        clamps: false,
        file_key: None,
        old_variable: None,
    };

    /// What is taken for a number out of range, where one is.
    pub(super) fn clamped(&self, text: &str) -> Option<String> {
        if self.clamps { self.kind.nearest(text) } else { None }
    }

    /// Its key in `commentd.toml`, with dots where it stands in a table.
    pub(super) fn file_key(&self) -> String {
        self.file_key.map_or_else(|| self.name.replace('-', "_"), str::to_owned)
    }

    /// Whether the flag, given without its dashes, is this setting's.
    pub(super) fn is_called(&self, flag: &str) -> bool {
        self.name == flag || self.aliases.contains(&flag)
    }

    /// The environment variables that set it, the first that isn't empty wins.
    pub(super) fn variables(&self) -> impl Iterator<Item = String> {
        let flags = std::iter::once(self.name).chain(self.aliases.iter().copied());
        flags.map(variable).chain(self.old_variable.map(str::to_owned))
    }
}

/// The environment variable of a flag.
fn variable(flag: &str) -> String {
    format!("COMMENTD_{}", flag.replace('-', "_").to_ascii_uppercase())
}
