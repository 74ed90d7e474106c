//! A channel's typed settings.

use crate::written::{SettingKind, WrittenSetting};
use minijinja::Value;
use percent_encoding::utf8_percent_encode;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;

/// What stands for a secret wherever people look.
pub const REDACTED: &str = "***";

/// A setting's value, checked against its type.
#[derive(Clone, Debug)]
enum SettingValue {
    Plain(Value),
    Secret(SecretString),
}

/// All settings of a channel, checked.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<String, SettingValue>,
}

impl Settings {
    /// Checks what was given against what the manifest asks for. Texts are read according to the setting's
    /// type, because flags and the environment only have texts.
    ///
    /// # Errors
    /// DeliveryNames the setting and says what is allowed: unknown names, missing values, wrong types.
    pub fn check(
        channel: &str,
        wanted: &BTreeMap<String, WrittenSetting>,
        given: &BTreeMap<String, toml::Value>,
    ) -> Result<Self, String> {
        if let Some(name) = given.keys().find(|name| !wanted.contains_key(*name)) {
            let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
            return Err(format!("channel {channel} has no setting `{name}`; it has: {}", names.join(", ")));
        }
        let mut values = BTreeMap::new();
        for (name, setting) in wanted {
            let Some(value) = given.get(name).or(setting.default.as_ref()) else {
                return Err(format!(
                    "channel {channel} needs the setting `{name}` ({}); give it with --set {name}=… or {}",
                    setting.help,
                    environment_name(name)
                ));
            };
            let checked = checked(setting.kind, value)
                .map_err(|wanted| format!("channel {channel}, setting `{name}`: must be {wanted}"))?;
            values.insert(name.clone(), checked);
        }
        Ok(Self { values })
    }

    /// For expressions; secrets are in the clear, so the result must not be shown.
    pub fn exposed(&self) -> Value {
        self.as_value(|secret| Value::from(secret.expose_secret()))
    }

    /// For people; secrets are `***` (an empty one stays empty: there is none).
    pub fn redacted(&self) -> Value {
        self.as_value(|secret| Value::from(if secret.expose_secret().is_empty() { "" } else { REDACTED }))
    }

    /// Replaces every secret that stands in `text` by `***`. Of a whole `Authorization` header, that goes for the
    /// credentials alone, too: servers like to repeat a token that they don't accept.
    pub fn redact(&self, text: &str) -> String {
        self.values.values().fold(text.to_owned(), |text, value| match value {
            SettingValue::Secret(secret) => {
                let whole = secret.expose_secret();
                let credentials = whole.split_once(' ').map_or("", |(_, credentials)| credentials.trim());
                redacted(redacted(text, whole), credentials)
            }
            SettingValue::Plain(_) => text,
        })
    }

    fn as_value(&self, of_secret: impl Fn(&SecretString) -> Value) -> Value {
        Value::from_pairs(self.values.iter().map(|(name, value)| {
            let value = match value {
                SettingValue::Plain(value) => value.clone(),
                SettingValue::Secret(secret) => of_secret(secret),
            };
            (name.clone(), value)
        }))
    }
}

/// A text without this secret; an empty one is none.
pub fn redacted(text: String, secret: &str) -> String {
    if secret.is_empty() || text.is_empty() {
        return text;
    }
    let mut text = text.replace(secret, REDACTED);
    // As it would stand in a URL, in a form, and in JSON.
    let in_url = utf8_percent_encode(secret, crate::request::PART).to_string();
    let in_form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let in_json = serde_json::Value::from(secret).to_string();
    for other in [in_url.as_str(), &in_form, in_json.trim_matches('"')] {
        if other != secret {
            text = text.replace(other, REDACTED);
        }
    }
    text
}

/// The environment variable that gives this setting.
pub fn environment_name(setting: &str) -> String {
    format!("COMMENTD_CHANNEL_{}", setting.to_ascii_uppercase())
}

fn checked(kind: SettingKind, value: &toml::Value) -> Result<SettingValue, &'static str> {
    let plain = |value: Value| Ok(SettingValue::Plain(value));
    match (kind, value) {
        (SettingKind::Text, toml::Value::String(text)) => plain(Value::from(text.as_str())),
        (SettingKind::Text, _) => Err("a text"),
        (SettingKind::Secret, toml::Value::String(text)) => Ok(SettingValue::Secret(text.clone().into())),
        (SettingKind::Secret, _) => Err("a text"),
        (SettingKind::Integer, toml::Value::Integer(number)) => plain(Value::from(*number)),
        (SettingKind::Integer, toml::Value::String(text)) => text
            .trim()
            .parse::<i64>()
            .map_err(|_| "a whole number")
            .and_then(|number| plain(Value::from(number))),
        (SettingKind::Integer, _) => Err("a whole number"),
        (SettingKind::Number, toml::Value::Integer(number)) => plain(Value::from(*number)),
        (SettingKind::Number, toml::Value::Float(number)) => plain(Value::from(*number)),
        (SettingKind::Number, toml::Value::String(text)) => {
            let number: f64 = text.trim().parse().map_err(|_| "a number")?;
            if number.is_finite() { plain(Value::from(number)) } else { Err("a number") }
        }
        (SettingKind::Number, _) => Err("a number"),
        (SettingKind::Boolean, toml::Value::Boolean(truth)) => plain(Value::from(*truth)),
        (SettingKind::Boolean, toml::Value::String(text)) => match text.trim() {
            "true" => plain(Value::from(true)),
            "false" => plain(Value::from(false)),
            _ => Err("true or false"),
        },
        (SettingKind::Boolean, _) => Err("true or false"),
        (SettingKind::Path, toml::Value::String(text)) if text.starts_with('/') => {
            plain(Value::from(text.as_str()))
        }
        (SettingKind::Path, _) => Err("a path that starts with /"),
    }
}
