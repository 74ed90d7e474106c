//! Reading JSON so that errors name the field.

use super::error::RequestError;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Reads a part of a request, or all of it; `root` is what stands for it in messages.
fn read<'a, T: Deserialize<'a>>(root: &str, json: &'a str) -> Result<T, RequestError> {
    // Keeping track of the place doubles the time of reading, so only what can't be read is read that way.
    serde_json::from_str(json).or_else(|_| read_with_place(root, json.as_bytes()))
}

/// As `read`, of bytes that may not be text: that is checked once, not for each string in them.
pub(super) fn read_bytes<'a, T: Deserialize<'a>>(root: &str, json: &'a [u8]) -> Result<T, RequestError> {
    match std::str::from_utf8(json) {
        Ok(json) => read(root, json),
        Err(_) => read_with_place(root, json),
    }
}

fn read_with_place<'a, T: Deserialize<'a>>(root: &str, json: &'a [u8]) -> Result<T, RequestError> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| named(root, &error))?;
    reader.end().map_err(|error| RequestError::Malformed(format!("{root}: {error}")))?;
    Ok(read)
}

/// Reads one field whose path in messages starts with its name.
pub(super) fn part<'a, T: Deserialize<'a>>(
    name: &str,
    raw: Option<&'a RawValue>,
) -> Result<Option<T>, RequestError> {
    raw.map_or(Ok(None), |raw| read(name, raw.get()))
}

fn named(root: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> RequestError {
    let path = error.path().to_string();
    let place = match (root, path.as_str()) {
        (root, ".") => root.to_owned(),
        ("body", path) => path.to_owned(),
        (root, path) => format!("{root}{path}"),
    };
    RequestError::Malformed(format!("{place}: {}", error.inner()))
}
