//! Whether a reply says of itself that a cache gave it: then it shows what was there, not what is.

use crate::reply::ReplyHeaders;

/// The header that says that this reply comes from a cache, with its value; `None` if none does.
///
/// Known are `Age` (RFC 9111), `Cache-Status` (RFC 9211) and what caches and content networks send of their own, whose
/// names mostly have the word cache in them: `X-Cache: Hit from …`, `CF-Cache-Status: STALE`, `X-Cache-Hits: 1`.
pub(crate) fn from_cache(headers: &ReplyHeaders) -> Option<String> {
    let found = headers.each().find(|(name, value)| says_cached(name, value));
    found.map(|(name, value)| format!("{name}: {}", value.trim()))
}

fn says_cached(name: &str, value: &str) -> bool {
    let has_word = |words: &[&str]| {
        let mut parts = value.split(|c: char| !c.is_ascii_alphanumeric());
        parts.any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
    };
    let counts = || value.split([',', ' ']).filter_map(|part| part.trim().parse::<u64>().ok());
    match name {
        // What isn't a number was old enough for somebody to say so.
        "age" => value.trim().parse::<u64>() != Ok(0),
        // Two numbers: that of the request, and that of the one whose reply it gives again.
        "x-varnish" => counts().count() > 1,
        // `fwd=stale` says why it asked the server; only `hit` says that it didn't.
        "cache-status" => {
            let mut parts = value.split([';', ',']);
            parts.any(|part| part.trim().eq_ignore_ascii_case("hit"))
        }
        // What a client or a server asks of caches, and what a cache has looked for before it asked the server.
        "cache-control" | "x-cache-control" | "x-cache-lookup" | "x-cache-key" | "x-cache-tags" => false,
        _ if name.ends_with("cache-hits") => counts().any(|hits| hits > 0),
        _ if name.contains("cache") => has_word(&["hit", "stale", "updating"]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(name: &str, value: &str) -> Option<String> {
        from_cache(&[(name.to_owned(), value.to_owned())].into_iter().collect())
    }

    #[test]
    fn a_cache_is_known_by_its_own_words() {
        for (name, value) in [
            ("age", "1"),
            ("age", "soon"),
            ("x-cache", "HIT"),
            ("x-cache", "Hit from cloudfront"),
            ("x-cache", "TCP_MEM_HIT from a.example"),
            ("x-cache", "MISS, HIT"),
            ("x-cache-status", "STALE"),
            ("x-cache-status", "UPDATING"),
            ("cf-cache-status", "HIT"),
            ("x-proxy-cache", "HIT"),
            ("x-litespeed-cache", "hit,private"),
            ("x-cache-hits", "0, 2"),
            ("x-varnish", "32770 3"),
            ("cache-status", "ExampleCache; hit; ttl=376"),
            ("cache-status", "\"CDN\"; fwd=miss, \"edge\"; hit"),
        ] {
            assert_eq!(says(name, value), Some(format!("{name}: {value}")));
        }
    }

    #[test]
    fn what_comes_from_the_server_is_not_taken_for_old() {
        for (name, value) in [
            ("age", "0"),
            ("age", " 0 "),
            ("x-cache", "MISS"),
            ("x-cache-status", "BYPASS"),
            ("x-cache-status", "EXPIRED"),
            ("cf-cache-status", "DYNAMIC"),
            ("x-cache-hits", "0"),
            ("x-varnish", "32770"),
            ("cache-status", "ExampleCache; fwd=stale; stored"),
            ("x-cache-lookup", "HIT from a.example:3128"),
            ("cache-control", "stale-while-revalidate=30"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(says(name, value), None, "{name}: {value}");
        }
    }

    /// A cache behind another one adds its own header.
    #[test]
    fn each_of_several_headers_is_read() {
        let mut headers = http::HeaderMap::new();
        for value in ["HIT", "MISS"] {
            headers.append("x-cache", http::HeaderValue::from_static(value));
        }
        assert_eq!(from_cache(&headers.into()), Some("x-cache: HIT".into()));
    }
}
