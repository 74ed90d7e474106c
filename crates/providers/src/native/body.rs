//! Bodies as they were before a server compressed them, though nobody had asked it to.

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use std::io::Read;

/// What a gzip file begins with.
const GZIP: &[u8] = b"\x1f\x8b";

/// The body without its codings, at most `limit` bytes of it.
///
/// # Errors
/// Says what can't be read, for people: a coding that we don't know, a broken or too long body.
pub(super) fn decoded(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, String> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        codings.extend(
            String::from_utf8_lossy(value.as_bytes()).split(',').map(|name| name.trim().to_lowercase()),
        );
    }
    codings.retain(|name| !name.is_empty() && name != "identity");
    // Some proxies compress and don't say so. No text begins like this.
    if codings.is_empty() && body.starts_with(GZIP) {
        codings.push("gzip".into());
    }
    // Applied in the order in which they are named.
    codings.iter().rev().try_fold(body, |body, coding| match coding.as_str() {
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(&*body), coding, limit),
        // Two formats go by this name; the one with a header tells itself.
        "deflate" => read(ZlibDecoder::new(&*body), coding, limit)
            .or_else(|_| read(DeflateDecoder::new(&*body), coding, limit)),
        _ => Err(format!(
            "the reply came compressed ({coding}), which wasn't asked for and can't be read; switch it off at the \
             channel or at what stands before it"
        )),
    })
}

fn read(reader: impl Read, coding: &str, limit: usize) -> Result<Bytes, String> {
    let mut text = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    reader
        .take(most.saturating_add(1))
        .read_to_end(&mut text)
        .map_err(|_| format!("the reply is named compressed ({coding}), and isn't, or not whole"))?;
    if text.len() > limit {
        return Err(format!("the reply is longer than {limit} bytes"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;
    use std::io::Write;

    const TEXT: &[u8] = br#"{"id":12}"#;

    fn headers(coding: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap())])
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::best());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut writer = ZlibEncoder::new(Vec::new(), Compression::best());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    fn bare(text: &[u8]) -> Vec<u8> {
        let mut writer = DeflateEncoder::new(Vec::new(), Compression::best());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_compressed_unasked_is_read_all_the_same() {
        for (coding, body) in [
            ("gzip", gzip(TEXT)),
            ("X-GZip", gzip(TEXT)),
            ("deflate", zlib(TEXT)),
            ("deflate", bare(TEXT)),
            ("gzip, identity", gzip(TEXT)),
            ("deflate, gzip", gzip(&zlib(TEXT))),
            ("", gzip(TEXT)),
            ("identity", TEXT.to_vec()),
            ("", TEXT.to_vec()),
        ] {
            assert_eq!(decoded(&headers(coding), body.into(), 100).unwrap(), TEXT, "{coding}");
        }
    }

    #[test]
    fn what_cant_be_decoded_is_told_and_a_long_text_ends_at_the_limit() {
        let bomb = gzip(&vec![b' '; 1 << 24]);
        for (coding, body, says) in [
            ("br", TEXT.to_vec(), "compressed (br)"),
            ("gzip", TEXT.to_vec(), "and isn't"),
            ("gzip", gzip(TEXT)[..12].to_vec(), "not whole"),
            ("gzip", bomb, "longer than 1000 bytes"),
        ] {
            let error = decoded(&headers(coding), body.into(), 1000).unwrap_err();
            assert!(error.contains(says), "{coding}: {error}");
        }
    }
}
