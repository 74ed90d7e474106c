//! The request headers that stand in for fields, and what they and the fields must agree on.

use super::error::RequestError;
use crate::key::IdempotencyKey;

/// The request headers that stand in for fields.
#[derive(Clone, Debug, Default)]
pub struct StandIns<'a> {
    /// The values of `Idempotency-Key` and `X-Idempotency-Key`, with the name that each came under. They must all name
    /// the same key.
    pub idempotency_keys: Vec<(&'a str, &'a [u8])>,
    /// The value of `traceparent`.
    pub traceparent: Option<&'a [u8]>,
}

impl<'a> StandIns<'a> {
    /// The stand-ins among these headers, whose names are in lower case.
    ///
    /// # Errors
    /// `Malformed` for a header that reads like the key's and isn't: its sender believes in a key that wouldn't be
    /// there.
    pub fn among(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, RequestError> {
        let mut found = Self::default();
        for (name, value) in headers {
            match name {
                "idempotency-key" => found.idempotency_keys.push(("Idempotency-Key", value)),
                "x-idempotency-key" => found.idempotency_keys.push(("X-Idempotency-Key", value)),
                "traceparent" => found.traceparent = found.traceparent.or(Some(value)),
                other if reads_like_the_key(other.strip_prefix("x-").unwrap_or(other)) => {
                    return Err(RequestError::Malformed(format!(
                        "{other} header: isn't known; the header of the key is Idempotency-Key"
                    )));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Whether a name is the key's once case, `-` and `_` are gone.
pub(super) fn reads_like_the_key(name: &str) -> bool {
    let letters =
        name.bytes().filter(|byte| !matches!(byte, b'-' | b'_')).map(|byte| byte.to_ascii_lowercase());
    letters.eq(*b"idempotencykey")
}

pub(super) fn agreed_key(
    field: Option<String>,
    headers: &[(&str, &[u8])],
) -> Result<Option<IdempotencyKey>, RequestError> {
    let mut agreed: Option<(&str, IdempotencyKey)> = None;
    if let Some(text) = field {
        let key = IdempotencyKey::parse(&text)
            .map_err(|error| RequestError::Malformed(format!("idempotency_key: {error}")))?;
        agreed = Some(("the field", key));
    }
    for (name, value) in headers {
        let key = IdempotencyKey::parse_header(value)
            .map_err(|error| RequestError::Malformed(format!("{name} header: {error}")))?;
        match &agreed {
            Some((other, known)) if *known != key => {
                return Err(RequestError::Malformed(format!(
                    "idempotency_key: {other} and the {name} header disagree"
                )));
            }
            Some(_) => {}
            None => agreed = Some(("another header", key)),
        }
    }
    Ok(agreed.map(|(_, key)| key))
}

pub(super) fn agreed_trace(
    field: Option<String>,
    header: Option<&[u8]>,
) -> Result<Option<String>, RequestError> {
    let field = field.filter(|text| !text.is_empty());
    // W3C Trace Context says to go on without a traceparent that can't be read.
    let header = header.and_then(trace_of_traceparent);
    match (field, header) {
        (Some(field), Some(header)) if !field.eq_ignore_ascii_case(&header) => Err(RequestError::Malformed(
            "trace_id: the field and the trace id of the traceparent header disagree".into(),
        )),
        (Some(field), _) if field.len() > 256 || field.chars().any(char::is_control) => {
            Err(RequestError::Malformed("trace_id: at most 256 bytes and no control characters".into()))
        }
        (field, header) => Ok(field.or(header)),
    }
}

/// The trace id of a `traceparent` (W3C Trace Context, `version-traceid-parentid-flags`).
fn trace_of_traceparent(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let well_formed = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && trace.bytes().any(|b| b != b'0')
        && hex(parent, 16)
        && hex(flags, 2);
    well_formed.then(|| trace.to_ascii_lowercase())
}
