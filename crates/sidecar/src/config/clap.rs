//! The settings as arguments of a command.

use super::error::ConfigError;
use super::kind::Kind;
use super::layers::{Environment, Written, load};
use super::setting::{Heading, Setting};
use super::settings::{self, SETTINGS};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

const SET: &str = "set";
const CONFIG: &str = "config";
/// The only switch that the older sidecar also had in the negative.
const NEGATED: (&str, &str) = ("real-tls-copy", "no-real-tls-copy");

/// All arguments of `serve`: one for each setting, `--set` and `--config`.
///
/// Values stay texts: whether they are allowed is decided for all layers alike, in [`Written::check`].
pub fn clap_args() -> Vec<Arg> {
    args_where(|_| true)
}

/// The arguments of the channel alone, old names included, with `--set` and `--config`: for commands that read a
/// channel back.
pub fn clap_args_of_channel() -> Vec<Arg> {
    args_where(|setting| setting.heading == Heading::Channel || setting.channel_setting.is_some())
}

fn args_where(wanted: impl Fn(&Setting) -> bool) -> Vec<Arg> {
    // From the defaults' file, so that the help can't disagree with it.
    let defaults = Written::from_flags(Vec::new(), Vec::new()).ok();
    let mut args = vec![config_arg()];
    for entry in defaults.iter().flat_map(|written| written.settings.entries()) {
        let setting = entry.setting;
        if !wanted(setting) {
            continue;
        }
        args.push(arg(setting, &entry.shown()));
        if setting.name == "channel-url" {
            args.push(set_arg());
        }
        if setting.name == NEGATED.0 {
            args.push(negated_arg(setting));
        }
    }
    args
}

/// What a command line gives.
#[derive(Clone, Debug, Default)]
pub struct GivenFlags {
    /// The settings, by name; the last of a setting wins.
    pub flags: Vec<(String, String)>,
    /// The values of `--set`, in order.
    pub sets: Vec<String>,
    /// The value of `--config`.
    pub config_file: Option<PathBuf>,
}

impl GivenFlags {
    /// What these matches of [`clap_args`] or [`clap_args_of_channel`] have.
    pub fn of(matches: &ArgMatches) -> Self {
        let on_command_line = |name: &str| {
            matches!(matches.try_contains_id(name), Ok(true))
                && matches.value_source(name) == Some(ValueSource::CommandLine)
        };
        let mut flags = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| on_command_line(setting.name)) {
            if let Some(text) = matches.get_one::<String>(setting.name) {
                flags.push((setting.name.to_owned(), text.clone()));
            }
        }
        if on_command_line(NEGATED.1) {
            flags.push((NEGATED.0.to_owned(), "false".to_owned()));
        }
        let sets = matches.try_get_many::<String>(SET).ok().flatten();
        Self {
            flags,
            sets: sets.map(|values| values.cloned().collect()).unwrap_or_default(),
            config_file: matches.try_get_one::<PathBuf>(CONFIG).ok().flatten().cloned(),
        }
    }

    /// The configuration with these flags on top, see [`load`].
    ///
    /// # Errors
    /// What is wrong with the layers themselves.
    pub fn load(self, env: &Environment) -> Result<Written, Vec<ConfigError>> {
        load(self.flags, self.sets, self.config_file, env)
    }
}

/// Takes out of a command line of `serve` what clap can't know: the many `--real-ui-…` flags of the older
/// sidecar. Returns the rest, and those flags with their values, which go before those of [`GivenFlags`].
///
/// Other command lines come back as they are. `args` begins with the program's name.
pub fn take_old_ui_flags(args: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<(String, String)>) {
    let mut args = args.into_iter().peekable();
    let (mut rest, mut taken) = (Vec::new(), Vec::new());
    rest.extend(args.next());
    let mut serves = false;
    while let Some(arg) = args.next() {
        serves = serves || (arg == "serve" && rest.iter().skip(1).all(is_flag));
        match arg.to_str().filter(|_| serves).and_then(old_ui_flag) {
            None => rest.push(arg),
            Some((name, Some(value))) => taken.push((name, value)),
            Some((name, None)) => {
                // `serve` takes nothing but flags, so what follows and is none is the value.
                let value = args.next_if(|next| !is_flag(next));
                let value = value.map_or_else(|| "true".into(), |value| value.to_string_lossy().into_owned());
                taken.push((name, value));
            }
        }
    }
    (rest, taken)
}

fn is_flag(arg: impl AsRef<OsStr>) -> bool {
    arg.as_ref().as_encoded_bytes().starts_with(b"-")
}

/// The flag, and its value if it has one after `=`.
fn old_ui_flag(arg: &str) -> Option<(String, Option<String>)> {
    let flag = arg.strip_prefix("--")?;
    let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
    // `--no-real-ui-…` were the negatives of its switches.
    let positive = name.strip_prefix("no-").unwrap_or(name);
    let is_old = settings::is_old_ui_flag(positive) && settings::find(name).is_none();
    is_old.then(|| {
        let value = if positive == name { value.map(str::to_owned) } else { Some("false".to_owned()) };
        (positive.to_owned(), value)
    })
}

fn arg(setting: &Setting, default: &str) -> Arg {
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .visible_aliases(setting.aliases.iter().copied())
        .help(help(setting, default))
        .help_heading(setting.heading.as_str())
        .hide_short_help(setting.heading == Heading::Old)
        // Start scripts repeat flags; the last one counts, as it did in the older sidecar.
        .overrides_with(setting.name)
        .action(ArgAction::Set);
    match setting.kind {
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
            .value_parser(StringValueParser::new()),
        Kind::OneOf(words) => arg.value_name("WORD").value_parser(ValueParser::new(OneOf(words))),
        kind => arg
            .value_name(value_name(setting))
            .allow_negative_numbers(matches!(kind, Kind::Integer { .. } | Kind::Ratio))
            .value_parser(StringValueParser::new()),
    }
}

fn help(setting: &Setting, default: &str) -> String {
    if default.is_empty() || setting.kind == Kind::Switch {
        setting.help.to_owned()
    } else {
        format!("{} [default: {default}]", setting.help)
    }
}

fn value_name(setting: &Setting) -> &'static str {
    match setting.kind {
        Kind::Integer { .. } if setting.name.ends_with("-ms") => "MS",
        Kind::Integer { .. } if setting.name.ends_with("-hours") => "HOURS",
        Kind::Integer { .. } => "N",
        Kind::Ratio => "RATIO",
        Kind::Path => "PATH",
        Kind::Secret => "SECRET",
        Kind::List => "LIST",
        Kind::Address => "URL",
        Kind::Text | Kind::Switch | Kind::OneOf(_) => "TEXT",
    }
}

fn negated_arg(setting: &Setting) -> Arg {
    Arg::new(NEGATED.1)
        .long(NEGATED.1)
        .help(format!("The opposite of --{}", setting.name))
        .help_heading(setting.heading.as_str())
        .hide_short_help(true)
        .overrides_with_all([NEGATED.0, NEGATED.1])
        .action(ArgAction::SetTrue)
}

fn set_arg() -> Arg {
    Arg::new(SET)
        .long(SET)
        .value_name("KEY=VALUE")
        .help(
            "One of the channel's own settings; may be repeated. Secrets rather by COMMENTD_CHANNEL_<KEY> or \
             COMMENTD_CHANNEL_<KEY>_FILE",
        )
        .help_heading(Heading::Channel.as_str())
        .action(ArgAction::Append)
        .value_parser(StringValueParser::new())
}

fn config_arg() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .help(
            "Settings file; without it COMMENTD_CONFIG names one, else ./commentd.toml is read if it exists",
        )
        .action(ArgAction::Set)
        .overrides_with(CONFIG)
        .value_parser(clap::value_parser!(PathBuf))
}

/// Tells help and completions the words, and leaves the check to the configuration, which knows an empty value
/// as unset.
#[derive(Clone)]
struct OneOf(&'static [&'static str]);

impl TypedValueParser for OneOf {
    type Value = String;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(cmd, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().copied().map(PossibleValue::new)))
    }
}
