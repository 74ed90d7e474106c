//! The settings as written: flags over the environment over `commentd.toml` over the documented defaults.

use super::entry::SettingEntry;
use super::error::{ConfigError, Source};
use super::file::{SettingsFile, read_text};
use super::kind::{Kind, near};
use super::setting::Setting;
use super::settings::{self, SETTINGS, Settings};
use commentd_channels::settings::environment_name;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The documented defaults.
pub(super) const DEFAULTS: &str = include_str!("../../../../commentd.default.toml");
/// The file that is read if none is named.
const USUAL_FILE: &str = "commentd.toml";
/// Names the file where no flag does.
const CONFIG_VARIABLE: &str = "COMMENTD_CONFIG";
/// Variables that are ours but no settings of `serve`.
const OTHER_VARIABLES: [&str; 2] = [CONFIG_VARIABLE, "COMMENTD_E2E"];
/// What the variables of channel settings begin with.
pub(super) const CHANNEL_PREFIX: &str = "COMMENTD_CHANNEL_";
/// What a variable ends with that names a file which holds the value.
pub(super) const FILE_SUFFIX: &str = "_FILE";
/// Largest file that holds one secret, in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// The environment, read once at start.
#[derive(Clone, Default)]
pub struct Environment {
    /// `None` for a value that isn't UTF-8.
    variables: BTreeMap<String, Option<String>>,
}

impl Environment {
    /// The process's, of which only what could concern us is kept.
    pub fn of_process() -> Self {
        let ours = |name: &str| name.starts_with("COMMENTD_") || name.starts_with("PYWEIXIN_");
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            // Windows doesn't tell upper from lower case.
            let name = if cfg!(windows) { name.to_ascii_uppercase() } else { name };
            ours(&name).then(|| (name, value.into_string().ok()))
        });
        Self { variables: variables.collect() }
    }

    /// Exactly these variables.
    pub fn of<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), Some(value.into())));
        Self { variables: variables.collect() }
    }

    fn text(&self, name: &str) -> Result<&str, ConfigError> {
        match self.variables.get(name) {
            None => Ok(""),
            Some(Some(text)) => Ok(text),
            Some(None) => {
                let source = Source::Environment(name.to_owned());
                Err(ConfigError::new(name, &source, "must be UTF-8, isn't"))
            }
        }
    }

    /// The value of a variable, or the content of the file that `<variable>_FILE` names.
    fn text_or_file(&self, name: &str) -> Result<Option<(String, String)>, ConfigError> {
        let file_variable = format!("{name}{FILE_SUFFIX}");
        let (text, path) = (self.text(name)?, self.text(&file_variable)?);
        match (text.is_empty(), path.is_empty()) {
            (true, true) => Ok(None),
            (false, true) => Ok(Some((name.to_owned(), text.to_owned()))),
            (true, false) => secret_file(&file_variable, path).map(|text| Some((file_variable, text))),
            (false, false) => {
                let source = Source::Environment(file_variable.clone());
                let message = format!("must not be set together with {name}; unset one of them");
                Err(ConfigError::new(file_variable, &source, message))
            }
        }
    }
}

impl fmt::Debug for Environment {
    /// Names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.variables.keys()).finish()
    }
}

/// The content of a file that holds a secret, without the line break at its end.
pub(super) fn secret_file(variable: &str, path: &str) -> Result<String, ConfigError> {
    let text = read_text(Path::new(path), MAX_SECRET_BYTES).map_err(|message| {
        let source = Source::Environment(variable.to_owned());
        ConfigError::new(variable, &source, format!("is {path:?}, which {message}"))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The configuration as written: one value for each setting, not yet checked.
#[derive(Clone)]
pub struct Written {
    pub(super) settings: Settings,
    pub(super) channel: ChannelWritten,
    pub(super) warnings: Vec<String>,
}

/// What was written for the channel's own settings. Which there are, the manifest says later.
#[derive(Clone, Default)]
pub(super) struct ChannelWritten {
    /// `--set`, the last of a name wins.
    pub(super) sets: BTreeMap<String, String>,
    /// The variables under [`CHANNEL_PREFIX`] that no setting has.
    pub(super) variables: BTreeMap<String, String>,
    /// The table in the file.
    pub(super) table: toml::Table,
    /// The file's name.
    pub(super) path: String,
}

impl fmt::Debug for Written {
    /// Of the channel's settings only the names: which of them are secrets isn't known here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written")
            .field("settings", &self.settings.entries().collect::<Vec<_>>())
            .field("sets", &self.channel.sets.keys())
            .field("channel_variables", &self.channel.variables.keys())
            .field("channel_table", &self.channel.table.keys().collect::<Vec<_>>())
            .field("warnings", &self.warnings)
            .finish()
    }
}

impl Written {
    /// What people should know about how it was written; holds no secrets.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What stands on the command line though it is secret, and where it should stand, of those settings that
    /// `concerns` picks: secrets, and addresses with a password in them.
    pub(super) fn visible_secrets(&self, concerns: impl Fn(&Setting) -> bool) -> Vec<String> {
        let from_flag =
            |entry: &&SettingEntry| matches!(entry.source, Source::Flag(_)) && concerns(entry.setting);
        let warning = |entry: &SettingEntry| {
            let variable = match entry.setting.channel_setting {
                Some(name) => environment_name(name),
                None => entry.setting.variables().next().unwrap_or_default(),
            };
            let (what, instead) = match entry.setting.kind {
                Kind::Secret => ("stands", format!("{variable} or {variable}{FILE_SUFFIX}")),
                _ if entry.shown() != entry.text() => ("carries a password and stands", variable),
                _ => return None,
            };
            Some(format!(
                "{} {what} on the command line, where other users of this machine can see it; set {instead} instead",
                entry.key()
            ))
        };
        self.settings.entries().filter(from_flag).filter_map(warning).collect()
    }

    /// The same of all settings: for commands that don't check them.
    pub fn secrets_on_command_line(&self) -> Vec<String> {
        self.visible_secrets(|_| true)
    }
}

/// Puts the layers together.
///
/// `flags` are names without dashes and their values, the last of a setting wins; `sets` are the values of
/// `--set`; `config_file` is that of `--config`. Without one, `COMMENTD_CONFIG` names the file; without that,
/// `./commentd.toml` is read if it exists. An empty value counts as not given, in every layer. Reads files,
/// blocking.
///
/// # Errors
/// Everything that is wrong with the layers themselves: unknown flags and keys, unreadable files.
pub fn load(
    flags: Vec<(String, String)>,
    sets: Vec<String>,
    config_file: Option<PathBuf>,
    env: &Environment,
) -> Result<Written, Vec<ConfigError>> {
    match named_file(config_file, env).map_err(|error| vec![error])? {
        Some((path, source)) => SettingsFile::read(&path, &source).map(Some),
        None => Ok(None),
    }
    .and_then(|file| put_together(flags, sets, file.unwrap_or_default(), env))
}

impl Written {
    /// Only these flags over the documented defaults: neither environment nor file.
    ///
    /// # Errors
    /// As [`load`].
    pub fn from_flags(flags: Vec<(String, String)>, sets: Vec<String>) -> Result<Self, Vec<ConfigError>> {
        put_together(flags, sets, SettingsFile::default(), &Environment::default())
    }
}

fn named_file(flag: Option<PathBuf>, env: &Environment) -> Result<Option<(PathBuf, Source)>, ConfigError> {
    if let Some(path) = flag.filter(|path| !path.as_os_str().is_empty()) {
        return Ok(Some((path, Source::Flag("config".into()))));
    }
    let variable = env.text(CONFIG_VARIABLE)?;
    if !variable.is_empty() {
        return Ok(Some((variable.into(), Source::Environment(CONFIG_VARIABLE.into()))));
    }
    // What exists but can't be looked at is reported when it is opened.
    let usual = Path::new(USUAL_FILE);
    Ok(usual.try_exists().unwrap_or(true).then(|| (usual.to_owned(), Source::Default)))
}

pub(super) fn put_together(
    flags: Vec<(String, String)>,
    sets: Vec<String>,
    file: SettingsFile,
    env: &Environment,
) -> Result<Written, Vec<ConfigError>> {
    let defaults = SettingsFile::parse(DEFAULTS, "commentd.default.toml", &Source::Default)?;
    let mut errors = Vec::new();
    let mut warnings = strange_flags(&flags, &mut errors);
    let settings = Settings::collect(|setting| {
        let strongest = strongest(setting, &flags, env, &file, &defaults);
        let mut entry = strongest.unwrap_or_else(|error| {
            errors.push(error);
            SettingEntry::new(setting, Source::Default, "")
        });
        warnings.extend(entry.clamp());
        entry
    });
    let (variables, mut strange) = channel_variables(env);
    warnings.append(&mut strange);
    let sets = parse_sets(sets, &mut errors);
    let channel = ChannelWritten { sets, variables, table: file.channel, path: file.path };
    if errors.is_empty() { Ok(Written { settings, channel, warnings }) } else { Err(errors) }
}

fn strongest(
    setting: &'static Setting,
    flags: &[(String, String)],
    env: &Environment,
    file: &SettingsFile,
    defaults: &SettingsFile,
) -> Result<SettingEntry, ConfigError> {
    let entry = |text: &str, source| SettingEntry::new(setting, source, text);
    let given = |text: &str| !setting.kind.is_unset(text);
    if let Some((flag, text)) = flags.iter().rfind(|(flag, _)| setting.is_called(flag))
        && given(text)
    {
        return Ok(entry(text, Source::Flag(flag.clone())));
    }
    for name in setting.variables() {
        let found = match setting.kind {
            Kind::Secret => env.text_or_file(&name)?,
            _ => Some((name.clone(), env.text(&name)?.to_owned())),
        };
        if let Some((name, text)) = found.filter(|(_, text)| given(text)) {
            return Ok(entry(&text, Source::Environment(name)));
        }
    }
    let in_file = |file: &SettingsFile| {
        let found = file.values.iter().find(|(other, _)| other.name == setting.name);
        found.map(|(_, text)| text.clone()).filter(|text| given(text))
    };
    if let Some(text) = in_file(file) {
        return Ok(entry(&text, Source::File { path: file.path.clone(), key: setting.file_key() }));
    }
    Ok(entry(&in_file(defaults).unwrap_or_default(), Source::Default))
}

/// Flags that no setting has: warnings for the older sidecar's, errors for the rest.
fn strange_flags(flags: &[(String, String)], errors: &mut Vec<ConfigError>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (flag, text) in flags.iter().filter(|(flag, _)| settings::find(flag).is_none()) {
        if !settings::is_old_ui_flag(flag) {
            let names = SETTINGS.iter().map(|setting| setting.name);
            let message = match near(flag, names) {
                Some(meant) => format!("is not a flag; did you mean --{meant}?"),
                None => "is not a flag; see `commentd serve --help`".to_owned(),
            };
            errors.push(ConfigError::new(format!("--{flag}"), &Source::Flag(flag.clone()), message));
        } else if !text.trim().is_empty() {
            warnings.push(settings::old_ui_warning(flag));
        }
    }
    warnings
}

/// The variables that may be channel settings, and warnings about those that are nothing.
fn channel_variables(env: &Environment) -> (BTreeMap<String, String>, Vec<String>) {
    let mut known: Vec<String> = OTHER_VARIABLES.map(str::to_owned).to_vec();
    for setting in SETTINGS {
        known.extend(setting.variables());
        if setting.kind == Kind::Secret {
            known.extend(setting.variables().map(|name| format!("{name}{FILE_SUFFIX}")));
        }
    }
    let (mut channel, mut warnings) = (BTreeMap::new(), Vec::new());
    for (name, text) in &env.variables {
        if !name.starts_with("COMMENTD_") || known.contains(name) {
            continue;
        }
        match text {
            Some(text) if name.starts_with(CHANNEL_PREFIX) => {
                if !text.is_empty() {
                    channel.insert(name.clone(), text.clone());
                }
            }
            None if name.starts_with(CHANNEL_PREFIX) => {
                warnings.push(format!("environment {name} has no effect: it is not UTF-8"));
            }
            _ => {
                let meant = near(name, known.iter().map(String::as_str));
                let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
                warnings.push(format!("environment {name} has no effect: there is no such setting{hint}"));
            }
        }
    }
    (channel, warnings)
}

fn parse_sets(sets: Vec<String>, errors: &mut Vec<ConfigError>) -> BTreeMap<String, String> {
    let mut parsed = BTreeMap::new();
    for set in sets.iter().filter(|set| !set.is_empty()) {
        match set.split_once('=').map(|(name, value)| (name.trim(), value)) {
            Some((name, value)) if !name.is_empty() => {
                parsed.insert(name.to_owned(), value.to_owned());
            }
            // The text isn't shown: it may be a secret.
            _ => errors.push(ConfigError::new(
                "--set",
                &Source::Flag("set".into()),
                "must be KEY=VALUE, such as --set author=Ann",
            )),
        }
    }
    parsed
}
