//! Headers of distributed tracing, by which a request asks to be measured.
//!
//! nats: server/accounts.go `shouldSample`, `newB3Header`, `newUberHeader`, `newTraceCtxHeader`

use crate::codec::headers;
use crate::codec::service_latency::HeaderMap;

const UBER: &str = "Uber-Trace-Id";
const UBER_CONTEXT: &str = "Uberctx-";
const B3: &str = "B3";
const B3_SAMPLED: &str = "X-B3-Sampled";
const B3_TRACE: &str = "X-B3-Traceid";
const B3_ALL: [&str; 4] = [B3_SAMPLED, B3_TRACE, "X-B3-Parentspanid", "X-B3-Spanid"];
const TRACE_PARENT: &str = "Traceparent";
const TRACE_STATE: &str = "Tracestate";

/// The headers that ask for a measurement, with others that belong to them; none if this header
/// block does not ask for one.
#[must_use]
pub fn sampled(block: &[u8]) -> Option<HeaderMap> {
    let find = |name| headers::find(block, name).map(String::from_utf8_lossy);
    if let Some(trace) = find(UBER) {
        let is_asked = trace.split(':').count() == 4 && trace.rsplit(':').next().is_some_and(odd);
        return is_asked
            .then(|| collect(block, |name| name == UBER || name.starts_with(UBER_CONTEXT)));
    }
    let sampled = find(B3_SAMPLED);
    if sampled.as_deref() == Some("0") {
        return None;
    }
    if sampled.as_deref() == Some("1") || find(B3_TRACE).is_some() {
        return Some(collect(block, |name| B3_ALL.contains(&name)));
    }
    if let Some(b3) = find(B3) {
        let parts: Vec<&str> = b3.split('-').collect();
        let is_denied = matches!(parts[..], ["0"] | [_, _, "0", ..]);
        return (!is_denied).then(|| collect(block, |name| name == B3));
    }
    let parent = find(TRACE_PARENT)?;
    let flags = parent.split('-').nth(3).filter(|flags| flags.len() == 2);
    let is_asked = parent.split('-').count() == 4 && flags.is_some_and(odd);
    is_asked.then(|| collect(block, |name| name == TRACE_PARENT || name == TRACE_STATE))
}

/// True for an odd number of one or two hexadecimal digits.
fn odd(digits: &str) -> bool {
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex
        && matches!(digits.len(), 1 | 2)
        && u8::from_str_radix(digits, 16).is_ok_and(|number| number & 1 == 1)
}

fn collect(block: &[u8], is_wanted: impl Fn(&str) -> bool) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers::iter(block) {
        let name = canonical(name);
        if is_wanted(&name) {
            map.entry(name).or_default().push(String::from_utf8_lossy(value).into_owned());
        }
    }
    map
}

/// A name as Go spells it: `X-B3-Traceid`.
fn canonical(name: &[u8]) -> String {
    let mut begins = true;
    let spelled = String::from_utf8_lossy(name);
    let spell = |letter: char| {
        let upper = std::mem::replace(&mut begins, letter == '-');
        if upper { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
    };
    spelled.chars().map(spell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_ask_as_the_real_server_reads_them() {
        for (headers, names) in [
            ("", None),
            ("A: b", None),
            ("uber-trace-id: 479:5ad:479:1\r\nUBERCTX-a: b", Some("Uber-Trace-Id Uberctx-A")),
            ("Uber-Trace-Id: 479:5ad:479:0b", Some("Uber-Trace-Id")),
            ("Uber-Trace-Id: 479:5ad:479:2", None),
            ("Uber-Trace-Id: 479:5ad:1", None),
            // The first kind decides.
            ("Uber-Trace-Id: 1\r\nX-B3-Sampled: 1", None),
            ("X-B3-Sampled: 1\r\nx-b3-spanid: 2", Some("X-B3-Sampled X-B3-Spanid")),
            ("X-B3-Sampled: 0\r\nX-B3-TraceId: 3", None),
            ("X-B3-TraceId: 3", Some("X-B3-Traceid")),
            ("b3: 80f-e45-1-05e", Some("B3")),
            ("b3: 80f-e45-d", Some("B3")),
            ("b3: 80f-e45-0-05e", None),
            ("b3: 0", None),
            ("b3: 1", Some("B3")),
            ("traceparent: 00-4bf-00f-01\r\ntracestate: x", Some("Traceparent Tracestate")),
            ("traceparent: 00-4bf-00f-00", None),
            ("traceparent: 00-4bf-00f-1", None),
        ] {
            let block = format!("NATS/1.0\r\n{headers}\r\n\r\n");
            let map = sampled(block.as_bytes());
            let found = map.map(|map| map.into_keys().collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref(), names, "{headers}");
        }
    }
}
