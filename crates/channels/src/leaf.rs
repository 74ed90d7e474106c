//! A value of a manifest that may be an expression.

use crate::language::Expr;
use minijinja::Value;
use std::time::Duration;

/// A value that is an expression where it is a text in the manifest, and itself otherwise.
#[derive(Clone, Debug)]
pub(crate) enum Leaf {
    Fixed(serde_json::Value),
    Expr(Expr),
}

impl Leaf {
    pub(crate) fn compile(value: &toml::Value) -> Result<Self, String> {
        Ok(match value {
            toml::Value::String(source) => Leaf::Expr(Expr::compile(source)?),
            toml::Value::Integer(number) => Leaf::Fixed((*number).into()),
            toml::Value::Boolean(truth) => Leaf::Fixed((*truth).into()),
            toml::Value::Float(number) => Leaf::Fixed((*number).into()),
            _ => return Err("must be an expression, a number or a boolean".into()),
        })
    }

    /// `None` where the leaf is left out.
    pub(crate) fn eval(&self, scope: &Value) -> Result<Option<serde_json::Value>, String> {
        match self {
            Leaf::Fixed(value) => Ok(Some(value.clone())),
            Leaf::Expr(expr) => {
                let Some(value) = expr.given(scope)? else { return Ok(None) };
                serde_json::to_value(&value)
                    .map(Some)
                    .map_err(|error| format!("`{}` gives no JSON value: {error}", expr.source()))
            }
        }
    }

    /// Writes it as JSON; false, with nothing written, where the leaf is left out.
    pub(crate) fn write(&self, scope: &Value, json: &mut Vec<u8>) -> Result<bool, String> {
        match self {
            Leaf::Fixed(value) => serde_json::to_writer(json, value).map_err(|error| error.to_string())?,
            Leaf::Expr(expr) => {
                let Some(value) = expr.given(scope)? else { return Ok(false) };
                let written = serde_json::to_writer(json, &value);
                written.map_err(|error| format!("`{}` gives no JSON value: {error}", expr.source()))?;
            }
        }
        Ok(true)
    }

    /// As a text for a header or a query; `None` where it is none or left out.
    pub(crate) fn text(&self, scope: &Value) -> Result<Option<String>, String> {
        Ok(match self.eval(scope)? {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(text)) => Some(text),
            Some(serde_json::Value::Array(_) | serde_json::Value::Object(_)) => {
                return Err("a header or query value must be a text, a number or a boolean".into());
            }
            Some(other) => Some(other.to_string()),
        })
    }

    /// As seconds, up to a day; `None` where it is none or left out.
    pub(crate) fn duration(&self, scope: &Value) -> Result<Option<Duration>, String> {
        match self.eval(scope)? {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(value) => value
                .as_f64()
                .filter(|seconds| (0.0..=86_400.0).contains(seconds))
                .map(|seconds| Some(Duration::from_secs_f64(seconds)))
                .ok_or_else(|| format!("must be 0 to 86400 seconds, is {value}")),
        }
    }

    /// How long something is good. Numbers that come as texts are read, too; longer than ten years is ten years.
    pub(crate) fn lifetime(&self, scope: &Value) -> Result<Option<Duration>, String> {
        let seconds = match self.eval(scope)? {
            None | Some(serde_json::Value::Null) => return Ok(None),
            Some(serde_json::Value::String(text)) => text.trim().parse::<f64>().ok(),
            Some(value) => value.as_f64(),
        };
        let seconds = seconds.filter(|seconds| *seconds >= 0.0).ok_or("must be a number of seconds")?;
        Ok(Some(Duration::from_secs_f64(seconds.min(315_360_000.0))))
    }
}
