//! Requests: trees whose leaves are expressions, so that content can't change their shape.

use crate::language::Expr;
use crate::leaf::Leaf;
use crate::scope::DeliveryNames;
use crate::written::WrittenRequest;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use minijinja::Value;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeMap;

/// RFC 3986: unreserved characters stay, everything else is encoded.
pub(crate) const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, but for the slashes of a setting that is a path.
const PATH: &AsciiSet = &PART.remove(b'/');

/// Room for what most bodies have beside the comment's text, in bytes.
const BESIDE_CONTENT: usize = 448;

/// A request, ready to be sent.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// Path and query, to be appended to the base URL.
    pub path_and_query: String,
    /// ReplyHeaders that the manifest asks for.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body; empty if there is none.
    pub body: Bytes,
    /// What the body is; `None` if there is none.
    pub content_type: Option<&'static str>,
}

impl HttpRequest {
    /// Adds a part to the query.
    pub(crate) fn add_query(&mut self, name: &str, text: &str) {
        add_query(&mut self.path_and_query, name, text);
    }
}

fn add_query(path_and_query: &mut String, name: &str, text: &str) {
    path_and_query.push(if path_and_query.contains('?') { '&' } else { '?' });
    path_and_query.extend(utf8_percent_encode(name, PART));
    path_and_query.push('=');
    path_and_query.extend(utf8_percent_encode(text, PART));
}

/// Why a request can't be made of this comment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(pub String);

/// A compiled request.
#[derive(Clone, Debug)]
pub(crate) struct RequestTemplate {
    method: Method,
    path: Vec<PathPart>,
    query: Vec<(String, Leaf)>,
    headers: Vec<(HeaderName, Leaf)>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Json(Tree),
    Form(Vec<(String, Leaf)>),
}

#[derive(Clone, Debug)]
enum PathPart {
    Literal(String),
    Encoded(Expr),
    Slashed(Expr),
}

#[derive(Clone, Debug)]
enum Tree {
    Leaf(Leaf),
    Array(Vec<Tree>),
    Object(Vec<ObjectEntry>),
}

/// One entry of an object.
#[derive(Clone, Debug)]
struct ObjectEntry {
    /// Its name in JSON with the colon, where it is the first that is written.
    start: Vec<u8>,
    /// The same with the comma before it.
    later: Vec<u8>,
    tree: Tree,
}

/// What commentd sets by itself must not be set by a manifest.
pub(crate) fn refuse_own_header(header: &HeaderName) -> Result<(), &'static str> {
    use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
    let own = [HOST, CONTENT_LENGTH, CONTENT_TYPE, ACCEPT_ENCODING];
    if own.contains(header) { Err("is set by commentd and can't be changed") } else { Ok(()) }
}

impl RequestTemplate {
    /// # Errors
    /// DeliveryNames the key below the request, for example `body.text`.
    pub(crate) fn compile(written: &WrittenRequest) -> Result<Self, String> {
        let method = match written.method.as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            other => return Err(format!("method: must be GET, POST, PUT or PATCH, is {other:?}")),
        };
        let named = |values: &BTreeMap<String, toml::Value>, place: &str| {
            let leaf = |(name, value): (&String, &toml::Value)| {
                let leaf = Leaf::compile(value).map_err(|error| format!("{place}.{name}: {error}"))?;
                Ok::<_, String>((name.clone(), leaf))
            };
            values.iter().map(leaf).collect::<Result<Vec<_>, _>>()
        };
        let query = named(&written.query, "query")?;
        let mut headers = Vec::new();
        for (name, value) in &written.headers {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("headers.{name}: is no header name"))?;
            refuse_own_header(&header).map_err(|error| format!("headers.{name}: {error}"))?;
            headers.push((header, Leaf::compile(value).map_err(|error| format!("headers.{name}: {error}"))?));
        }
        let body = match (&written.body, &written.form) {
            (None, None) => Body::None,
            (Some(tree), None) => Body::Json(Tree::compile(tree, "body")?),
            (None, Some(form)) => Body::Form(named(form, "form")?),
            (Some(_), Some(_)) => {
                return Err("form: a request has either a body or a form; remove one of them".into());
            }
        };
        Ok(Self { method, path: path(&written.path)?, query, headers, body })
    }

    pub(crate) fn render(&self, scope: &Value) -> Result<HttpRequest, RenderError> {
        let mut path_and_query = String::new();
        for part in &self.path {
            match part {
                PathPart::Literal(text) => path_and_query.push_str(text),
                PathPart::Encoded(expr) => {
                    let text = expr.text(scope).map_err(RenderError)?;
                    if text.is_empty() || text == "." || text == ".." {
                        return Err(RenderError(format!(
                            "`{}` gives {text:?}, which can't stand in a path",
                            expr.source()
                        )));
                    }
                    path_and_query.extend(utf8_percent_encode(&text, PART));
                }
                PathPart::Slashed(expr) => {
                    let text = expr.text(scope).map_err(RenderError)?;
                    path_and_query.extend(utf8_percent_encode(&text, PATH));
                }
            }
        }
        for (name, leaf) in &self.query {
            if let Some(text) = leaf.text(scope).map_err(RenderError)? {
                add_query(&mut path_and_query, name, &text);
            }
        }
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, leaf) in &self.headers {
            if let Some(text) = leaf.text(scope).map_err(RenderError)? {
                let value = HeaderValue::from_str(&text).map_err(|_| {
                    RenderError(format!("header {name}: the value has characters that a header can't carry"))
                })?;
                headers.push((name.clone(), value));
            }
        }
        let (content_type, body) = self.body.render(scope).map_err(RenderError)?;
        Ok(HttpRequest { method: self.method.clone(), path_and_query, headers, body, content_type })
    }
}

impl Body {
    fn render(&self, scope: &Value) -> Result<(Option<&'static str>, Bytes), String> {
        match self {
            Body::None => Ok((None, Bytes::new())),
            Body::Json(tree) => {
                let content =
                    scope.downcast_object_ref::<DeliveryNames>().map_or(0, DeliveryNames::content_len);
                let mut json = Vec::with_capacity(content + BESIDE_CONTENT);
                Ok(if tree.write(scope, &mut json)? {
                    (Some("application/json"), Bytes::from(json))
                } else {
                    (None, Bytes::new())
                })
            }
            Body::Form(parts) => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                for (name, leaf) in parts {
                    if let Some(text) = leaf.text(scope)? {
                        form.append_pair(name, &text);
                    }
                }
                Ok((Some("application/x-www-form-urlencoded"), Bytes::from(form.finish())))
            }
        }
    }
}

impl Tree {
    fn compile(value: &toml::Value, place: &str) -> Result<Self, String> {
        Ok(match value {
            toml::Value::Table(table) => {
                let mut entries = Vec::with_capacity(table.len());
                for (name, value) in table {
                    let start = format!("{}:", serde_json::Value::from(name.as_str()));
                    let later = format!(",{start}").into_bytes();
                    let tree = Tree::compile(value, &format!("{place}.{name}"))?;
                    entries.push(ObjectEntry { start: start.into_bytes(), later, tree });
                }
                Tree::Object(entries)
            }
            toml::Value::Array(items) => {
                let tree = |(index, item)| Tree::compile(item, &format!("{place}[{index}]"));
                Tree::Array(items.iter().enumerate().map(tree).collect::<Result<_, _>>()?)
            }
            leaf => Tree::Leaf(Leaf::compile(leaf).map_err(|error| format!("{place}: {error}"))?),
        })
    }

    /// Writes it as JSON; false, with nothing written, where it is left out.
    fn write(&self, scope: &Value, json: &mut Vec<u8>) -> Result<bool, String> {
        match self {
            Tree::Leaf(leaf) => return leaf.write(scope, json),
            Tree::Array(items) => {
                json.push(b'[');
                let mut is_first = true;
                for item in items {
                    is_first &= !written_after(if is_first { b"" } else { b"," }, item, scope, json)?;
                }
                json.push(b']');
            }
            Tree::Object(entries) => {
                json.push(b'{');
                let mut is_first = true;
                for entry in entries {
                    let start = if is_first { &entry.start } else { &entry.later };
                    is_first &= !written_after(start, &entry.tree, scope, json)?;
                }
                json.push(b'}');
            }
        }
        Ok(true)
    }
}

/// Writes a part after what must stand before it; false, with neither written, where the part is left out.
fn written_after(before: &[u8], part: &Tree, scope: &Value, json: &mut Vec<u8>) -> Result<bool, String> {
    let length = json.len();
    json.extend_from_slice(before);
    let is_written = part.write(scope, json)?;
    if !is_written {
        json.truncate(length);
    }
    Ok(is_written)
}

fn path(written: &str) -> Result<Vec<PathPart>, String> {
    let mut parts = Vec::new();
    let mut rest = written;
    if !(rest.starts_with('/') || rest.starts_with("{+")) {
        return Err(format!("path: must start with / or a setting of type path, is {written:?}"));
    }
    while !rest.is_empty() {
        let (literal, after) = rest.split_once('{').unwrap_or((rest, ""));
        if !literal.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'}')) {
            return Err(format!(
                "path: {literal:?} has characters that a path can't have; use query for `?`"
            ));
        }
        if !literal.is_empty() {
            parts.push(PathPart::Literal(literal.to_owned()));
        }
        if literal.len() == rest.len() {
            break;
        }
        let (expr, after) =
            after.split_once('}').ok_or_else(|| format!("path: a brace isn't closed in {written:?}"))?;
        parts.push(match expr.strip_prefix('+') {
            None => PathPart::Encoded(Expr::compile(expr).map_err(|error| format!("path: {error}"))?),
            // Only settings, which the operator writes, may bring slashes of their own.
            Some(setting) if setting.starts_with("settings.") => {
                PathPart::Slashed(Expr::compile(setting).map_err(|error| format!("path: {error}"))?)
            }
            Some(other) => return Err(format!("path: {{+{other}}} must be a setting, {{+settings.name}}")),
        });
        rest = after;
    }
    Ok(parts)
}
