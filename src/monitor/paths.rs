//! The way from the path of a request to a page, and to a better path.
//!
//! nats: Go's net/http `ServeMux.findHandler`, `cleanPath`, `Redirect`

use crate::base::percent;
use crate::codec::http_head::{Method, RequestHead};
use crate::monitor::{Answer, HTML, TEMPORARY_REDIRECT};

/// A path without empty segments and dots; a slash at its end stays.
pub fn clean(path: &str) -> String {
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = kept.pop(),
            _ => kept.push(segment),
        }
    }
    let mut clean: String = kept.into_iter().flat_map(|segment| ["/", segment]).collect();
    if clean.is_empty() || path.ends_with('/') {
        clean.push('/');
    }
    clean
}

/// True if a path means this place. A slash sent as `%2f` divides nothing.
pub(super) fn is_at(path: &str, place: &str) -> bool {
    let decoded = path.split('/').map(|segment| percent::decode(segment.as_bytes()).ok());
    decoded.eq(place.split('/').map(|segment| Some(segment.as_bytes().to_vec())))
}

/// Sends the other side to a better path.
pub fn redirect(request: &RequestHead, path: &str) -> Answer<'static> {
    let mark = if request.query.is_empty() { "" } else { "?" };
    let url = format!("{path}{mark}{}", request.query);
    let mut answer = Answer::of(TEMPORARY_REDIRECT, None, String::new());
    if matches!(request.method, Method::Get | Method::Head) {
        let body = format!("<a href=\"{}\">Temporary Redirect</a>.\n\n", escape_html(&url));
        answer = Answer::of(TEMPORARY_REDIRECT, Some(HTML), body);
    }
    answer.head.headers.push(("Location", escape_non_ascii(&url).into()));
    answer
}

fn escape_non_ascii(url: &str) -> String {
    url.bytes().fold(String::with_capacity(url.len()), |escaped, byte| match byte.is_ascii() {
        true => escaped + (byte as char).encode_utf8(&mut [0; 4]),
        false => escaped + &format!("%{byte:02x}"),
    })
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&#34;",
            '\'' => escaped += "&#39;",
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, expected) in [
            ("", "/"),
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("//a//", "/a/"),
            ("/a/.", "/a"),
            ("/a/..", "/"),
            ("/x/../../y/./z/..", "/y"),
            ("/%2e%2e/a", "/%2e%2e/a"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn places_are_compared_segment_by_segment() {
        assert!(is_at("/%76arz", "/varz"));
        assert!(!is_at("/%2fvarz", "/varz") && !is_at("/%2fvarz", "//varz"));
        assert!(is_at("/", "/") && !is_at("/varz/", "/varz") && !is_at("", "/"));
    }
}
