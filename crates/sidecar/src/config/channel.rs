//! The channel of `native_http`: its manifest, where it is, and its typed settings.

use super::entry::SettingEntry;
use super::error::{ConfigError, Source};
use super::file::read_text;
use super::findings::Findings;
use super::kind::{Kind, near};
use super::layers::{CHANNEL_PREFIX, ChannelWritten, FILE_SUFFIX, Written, secret_file};
use super::setting::{Heading, Setting};
use super::settings::Settings as ServeSettings;
use commentd_channels::check::check;
use commentd_channels::settings::{Settings, environment_name};
use commentd_channels::written::{SettingKind, WrittenSetting};
use commentd_channels::{Channel, Manifest, built_in};
use commentd_providers::native::{BaseUrl, Proxy, TlsFiles};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest manifest that is read, in bytes (1 MiB).
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Most manifests in one directory.
const MAX_MANIFESTS: usize = 256;

/// A channel that can be spoken to.
#[derive(Clone)]
pub struct ChannelChoice {
    /// What it is.
    pub manifest: Manifest,
    /// Where it is.
    pub base_url: BaseUrl,
    /// The manifest with its settings.
    pub channel: Channel,
    /// What one attempt may take: connect, headers and body.
    pub timeout: Duration,
    /// By what way it is reached.
    pub proxy: Option<Proxy>,
    /// What TLS needs beside the system's roots.
    pub tls: TlsFiles,
}

impl fmt::Debug for ChannelChoice {
    /// Without the manifest, which is long and says nothing that the channel's name doesn't.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelChoice")
            .field("origin", &self.manifest.origin())
            .field("base_url", &self.base_url)
            .field("channel", &self.channel)
            .field("timeout", &self.timeout)
            .field("proxy", &self.proxy)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Written {
    /// The channel alone, checked, and its warnings: for commands that read a channel back. Settings that
    /// concern only the sidecar are not looked at. Reads files, blocking.
    ///
    /// # Errors
    /// Everything that is wrong with the channel's settings.
    pub fn check_channel(&self) -> Result<(ChannelChoice, Vec<String>), Vec<ConfigError>> {
        let concerned = self.settings.entries().filter(|entry| concerns_channel(entry.setting));
        let mut findings = Findings::of(concerned);
        findings.warnings = self.visible_secrets(concerns_channel);
        let choice = choose(self, &mut findings);
        let Findings { errors, warnings } = findings;
        match choice {
            Some(choice) if errors.is_empty() => Ok((choice, warnings)),
            _ => Err(errors),
        }
    }

    /// Every manifest that there is: those of `--channels-dir`, then the built-in ones that none of them
    /// replaces. Reads files, blocking.
    ///
    /// # Errors
    /// A directory that can't be read, and manifests that are none.
    pub fn manifests(&self) -> Result<Vec<Manifest>, Vec<ConfigError>> {
        let setting = &self.settings.channels_dir;
        let directory = (!setting.is_unset()).then(|| Path::new(setting.get()));
        manifests(directory).map_err(|messages| {
            messages.into_iter().map(|m| ConfigError::new("--channels-dir", &setting.source, m)).collect()
        })
    }
}

fn concerns_channel(setting: &Setting) -> bool {
    setting.heading == Heading::Channel || setting.channel_setting.is_some()
}

/// Every manifest that there is: those of the directory, by file name, then the built-in ones that none of them
/// replaces. Reads files, blocking.
///
/// # Errors
/// What is wrong with the directory or its manifests; each continues a sentence about the directory.
pub fn manifests(directory: Option<&Path>) -> Result<Vec<Manifest>, Vec<String>> {
    let mut all = match directory {
        Some(directory) => own_manifests(directory)?,
        None => Vec::new(),
    };
    let built_in = built_in()
        .map_err(|error| vec![format!("is not to blame; a built-in channel is broken: {error}")])?;
    let replaced = |manifest: &Manifest| all.iter().any(|own| own.is_called(&manifest.written().name));
    let rest: Vec<Manifest> = built_in.into_iter().filter(|manifest| !replaced(manifest)).collect();
    all.extend(rest);
    Ok(all)
}

fn own_manifests(directory: &Path) -> Result<Vec<Manifest>, Vec<String>> {
    let shown = directory.display();
    let unreadable = |error: std::io::Error| vec![format!("is {shown}, which can't be read: {error}")];
    let entries = std::fs::read_dir(directory).map_err(unreadable)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unreadable)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    if files.len() > MAX_MANIFESTS {
        return Err(vec![format!("is {shown}, which has more than {MAX_MANIFESTS} manifests")]);
    }
    let (mut own, mut problems) = (Vec::<Manifest>::new(), Vec::new());
    for file in files {
        let origin = file.display().to_string();
        let manifest = read_text(&file, MAX_MANIFEST_BYTES)
            .map_err(|message| format!("{origin} {message}"))
            .and_then(|text| Manifest::parse(&text, &origin).map_err(|error| error.to_string()));
        match manifest {
            Err(problem) => problems.push(format!("has a manifest that can't be used: {problem}")),
            Ok(manifest) => {
                if let Some(other) = own.iter().find(|other| other.is_called(&manifest.written().name)) {
                    let name = &manifest.written().name;
                    problems.push(format!("has the channel {name} twice: {} and {origin}", other.origin()));
                }
                own.push(manifest);
            }
        }
    }
    if problems.is_empty() { Ok(own) } else { Err(problems) }
}

/// The channel that was chosen; `None` if something is wrong, which the findings then tell.
pub(super) fn choose(written: &Written, findings: &mut Findings) -> Option<ChannelChoice> {
    let settings = &written.settings;
    let base_url = base_url(settings, findings);
    let proxy = proxy(settings, findings);
    let tls = tls(settings, findings, base_url.as_ref());
    let manifest = manifest(written, findings)?;
    let found = resolve(&manifest, written);
    findings.errors.extend(found.errors);
    findings.warnings.extend(found.warnings);
    let given = found.given.into_iter().map(|given| (given.name, given.value)).collect();
    // What is wrong with single settings is told already; the rest concerns how they go together.
    let channel = if findings.errors.is_empty() {
        let name = &manifest.written().name;
        let checked = manifest.channel(&given);
        checked.map_err(|error| {
            findings.error(&settings.channel, format!("is {name}, whose settings don't fit: {error}"))
        })
    } else {
        Err(())
    };
    Some(ChannelChoice {
        channel: channel.ok()?,
        base_url: base_url?,
        manifest,
        timeout: Duration::from_millis(settings.native_timeout_ms.get()),
        proxy: proxy.ok()?,
        tls: tls?,
    })
}

fn manifest(written: &Written, findings: &mut Findings) -> Option<Manifest> {
    let settings = &written.settings;
    let all = match written.manifests() {
        Ok(all) => all,
        Err(errors) => {
            findings.errors.extend(errors);
            return None;
        }
    };
    let name = settings.channel.get();
    let Some(manifest) = all.iter().find(|manifest| manifest.is_called(name)) else {
        let names: Vec<&str> = all.iter().map(|manifest| manifest.written().name.as_str()).collect();
        let meant = near(name, names.iter().copied());
        let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        let quoted = Kind::Text.quoted(name);
        findings.error(
            &settings.channel,
            format!("must be one of {}, or one of --channels-dir, is {quoted}{meant}", names.join(", ")),
        );
        return None;
    };
    // Every built-in one proves itself in the tests; one's own may have changed since it was checked.
    let checked = (!manifest.is_built_in()).then(|| check(manifest));
    if let Some(problem) = checked.as_ref().and_then(|checked| checked.problems.first()) {
        let origin = manifest.origin();
        findings.warn(format!(
            "{origin} fails its own examples; run `commentd channels check {origin}`: {problem}"
        ));
    }
    Some(manifest.clone())
}

fn base_url(settings: &ServeSettings, findings: &mut Findings) -> Option<BaseUrl> {
    let text = settings.channel_url.get();
    if text.is_empty() {
        findings.missing(
            &settings.channel_url,
            "the address of the channel, such as http://127.0.0.1:8080 (a bare start of the older sidecar was a mock: \
             --mode mock)",
        );
        return None;
    }
    BaseUrl::parse(text).map_err(|error| findings.error(&settings.channel_url, error.to_string())).ok()
}

fn proxy(settings: &ServeSettings, findings: &mut Findings) -> Result<Option<Proxy>, ()> {
    let text = settings.proxy.get();
    if text.is_empty() {
        return Ok(None);
    }
    Proxy::parse(text).map(Some).map_err(|error| findings.error(&settings.proxy, error.to_string()))
}

/// The files that TLS needs; whether they can be used, the provider tells.
fn tls(settings: &ServeSettings, findings: &mut Findings, base_url: Option<&BaseUrl>) -> Option<TlsFiles> {
    let file = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    let certificate = file(settings.tls_client_certificate.get());
    let key = file(settings.tls_client_key.get());
    let ca = file(settings.tls_ca_file.get());
    let is_any = ca.is_some() || certificate.is_some() || key.is_some();
    if is_any && base_url.is_some_and(|base_url| !base_url.is_tls()) {
        findings
            .warn("the tls settings have no effect: --channel-url doesn't begin with https://".to_owned());
    }
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            findings.missing(&settings.tls_client_key, "the private key of --tls-client-certificate");
            return None;
        }
        (None, Some(_)) => {
            findings.missing(&settings.tls_client_certificate, "the certificate of --tls-client-key");
            return None;
        }
    };
    Some(TlsFiles { ca, client })
}

/// One of the channel's settings that somebody gave.
pub(super) struct ChannelSetting {
    pub(super) name: String,
    pub(super) value: toml::Value,
    pub(super) source: Source,
    pub(super) secret: bool,
}

/// The channel's settings that somebody gave, and what is wrong with them.
#[derive(Default)]
pub(super) struct ChannelSettings {
    pub(super) given: Vec<ChannelSetting>,
    errors: Vec<ConfigError>,
    warnings: Vec<String>,
}

/// Finds the strongest value of each setting that the manifest has: `--set` over the old flags over
/// `COMMENTD_CHANNEL_<KEY>` over `[channel.settings]`. An old flag's own variable and key stand right below the
/// newer ones of their layer.
pub(super) fn resolve(manifest: &Manifest, written: &Written) -> ChannelSettings {
    let channel = &manifest.written().name;
    let wanted = &manifest.written().settings;
    let mut resolved = ChannelSettings::default();
    for (name, setting) in wanted {
        let found = match strongest(name, wanted, written) {
            Ok(found) => found,
            Err(error) => {
                resolved.errors.push(error);
                continue;
            }
        };
        let secret = setting.kind == SettingKind::Secret;
        let (values, source) = match found {
            Some((mut value, source)) => {
                if setting.kind == SettingKind::Path {
                    resolved.warnings.extend(make_path(name, &mut value, &source));
                }
                (BTreeMap::from([(name.clone(), value)]), source)
            }
            None => (BTreeMap::new(), Source::Default),
        };
        let alone = BTreeMap::from([(name.clone(), setting.clone())]);
        if let Err(message) = Settings::check(channel, &alone, &values) {
            let message = message
                .strip_prefix(&format!("channel {channel}, setting `{name}`: "))
                .map_or_else(|| format!("is missing: {message}"), str::to_owned);
            resolved.errors.push(ConfigError::new(format!("channel setting `{name}`"), &source, message));
        }
        if secret && matches!(&source, Source::Flag(flag) if flag.starts_with("set ")) {
            resolved.warnings.push(format!(
                "--set {name} stands on the command line, where other users of this machine can see it; set {} \
                 or {}{FILE_SUFFIX} instead",
                environment_name(name),
                environment_name(name)
            ));
        }
        resolved.given.extend(values.into_iter().map(|(name, value)| ChannelSetting {
            name,
            value,
            source: source.clone(),
            secret,
        }));
    }
    resolved.leftovers(channel, wanted, written);
    resolved
}

type Wanted = BTreeMap<String, WrittenSetting>;

fn strongest(
    name: &str,
    wanted: &Wanted,
    written: &Written,
) -> Result<Option<(toml::Value, Source)>, ConfigError> {
    let text = |text: &str, source| Ok(Some((toml::Value::from(text), source)));
    let ChannelWritten { sets, table, path, .. } = &written.channel;
    if let Some(value) = sets.get(name).filter(|value| !value.is_empty()) {
        return text(value, Source::Flag(format!("set {name}")));
    }
    let old = written.settings.entries().find(|entry| entry.setting.channel_setting == Some(name));
    let old = old.filter(|entry| entry.is_given());
    let old_from = |layer: fn(&Source) -> bool| old.filter(|entry| layer(&entry.source));
    // Like the older sidecar, which took the blanks off.
    let old_text = |entry: &SettingEntry| text(entry.text().trim(), entry.source.clone());
    if let Some(entry) = old_from(|source| matches!(source, Source::Flag(_))) {
        return old_text(entry);
    }
    if let Some((variable, value)) = from_environment(name, wanted, &written.channel)? {
        return text(&value, Source::Environment(variable));
    }
    if let Some(entry) = old_from(|source| matches!(source, Source::Environment(_))) {
        return old_text(entry);
    }
    if let Some(value) = table.get(name).filter(|value| value.as_str() != Some("")) {
        let source = Source::File { path: path.clone(), key: format!("channel.settings.{name}") };
        return Ok(Some((value.clone(), source)));
    }
    old.map_or(Ok(None), old_text)
}

/// Makes a path of what is nearly one: with a slash before it, and where more follows (a prefix), none after it.
/// Says so if that changed something.
fn make_path(name: &str, value: &mut toml::Value, source: &Source) -> Option<String> {
    let toml::Value::String(text) = value else { return None };
    let mut path = format!("/{}", text.trim().trim_start_matches('/'));
    if name.ends_with("prefix") {
        path.truncate(path.trim_end_matches('/').len().max(1));
    }
    (path != *text).then(|| {
        let warning = format!("channel setting `{name}` is {text:?} (from {source}); {path:?} is taken");
        *text = path;
        warning
    })
}

fn from_environment(
    name: &str,
    wanted: &Wanted,
    channel: &ChannelWritten,
) -> Result<Option<(String, String)>, ConfigError> {
    let variable = environment_name(name);
    let file_variable = format!("{variable}{FILE_SUFFIX}");
    let text = channel.variables.get(&variable);
    // A setting of that very name has the better claim to the variable.
    let taken = wanted.keys().any(|other| environment_name(other) == file_variable);
    let path = channel.variables.get(&file_variable).filter(|_| !taken);
    match (text, path) {
        (Some(_), Some(_)) => {
            let source = Source::Environment(file_variable.clone());
            let message = format!("must not be set together with {variable}; unset one of them");
            Err(ConfigError::new(file_variable, &source, message))
        }
        (Some(text), None) => Ok(Some((variable, text.clone()))),
        (None, Some(path)) => {
            let text = secret_file(&file_variable, path)?;
            Ok((!text.is_empty()).then_some((file_variable, text)))
        }
        (None, None) => Ok(None),
    }
}

impl ChannelSettings {
    /// What was given for settings that the manifest doesn't have.
    fn leftovers(&mut self, channel: &str, wanted: &Wanted, written: &Written) {
        let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
        let unknown = |name: &str| {
            let hint = match near(name, names.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("it has: {}", names.join(", ")),
            };
            format!("is not a setting of the channel {channel}; {hint}")
        };
        let ChannelWritten { sets, variables, table, path } = &written.channel;
        for name in sets.keys().filter(|name| !wanted.contains_key(*name)) {
            let source = Source::Flag(format!("set {name}"));
            self.errors.push(ConfigError::new(format!("channel setting `{name}`"), &source, unknown(name)));
        }
        for name in table.keys().filter(|name| !wanted.contains_key(*name)) {
            let source = Source::File { path: path.clone(), key: format!("channel.settings.{name}") };
            self.errors.push(ConfigError::new(format!("channel setting `{name}`"), &source, unknown(name)));
        }
        for variable in variables.keys() {
            let plain = variable.strip_suffix(FILE_SUFFIX).unwrap_or(variable);
            let known = |name: &String| [plain, variable].contains(&environment_name(name).as_str());
            if !wanted.keys().any(known) {
                let name = plain.strip_prefix(CHANNEL_PREFIX).unwrap_or(plain).to_ascii_lowercase();
                self.warnings
                    .push(format!("environment {variable} has no effect: {name} {}", unknown(&name)));
            }
        }
        for entry in written.settings.entries().filter(|entry| entry.is_given()) {
            let name = entry.setting.channel_setting.filter(|name| !wanted.contains_key(*name));
            if let Some(name) = name {
                let key = entry.key();
                self.warnings.push(format!(
                    "{key} has no effect: the channel {channel} has no setting {name} (from {})",
                    entry.source
                ));
            }
        }
    }
}
