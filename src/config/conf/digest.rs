//! The digest of a configuration: SHA-256 over the tree as JSON, equal to the real server's.
//!
//! Comments, spacing, units and the order of keys do not change it; a variable's own key does.
//! nats: conf/parse.go `configDigest`, which hashes the output of Go's encoding/json: keys sorted,
//! `<`, `>` and `&` escaped, a newline at the end.

use std::io::Write;

use data_encoding::HEXLOWER;
use smallvec::SmallVec;

use super::value::{Map, Value};
use crate::base::sha256::Sha256Writer;
use crate::codec::escaping::Escaping;

/// `sha256:` and 64 hexadecimal digits.
pub(super) fn digest(root: &Map<'_>) -> String {
    let mut json = Sha256Writer::default();
    write_map(&mut json, root);
    json.end().push(b'\n');
    let mut digest = "sha256:".to_owned();
    HEXLOWER.encode_append(&json.digest(), &mut digest);
    digest
}

fn write_value(json: &mut Sha256Writer, value: &Value<'_>) {
    match value {
        Value::Text(text) | Value::DateTime(text) => write_text(json.end(), text),
        Value::Integer(value) => {
            let _ = write!(json.end(), "{value}");
        }
        Value::Float(value) => write_float(json.end(), *value),
        Value::Bool(true) => json.end().extend_from_slice(b"true"),
        Value::Bool(false) => json.end().extend_from_slice(b"false"),
        Value::Array(nodes) => {
            json.end().push(b'[');
            for (index, node) in nodes.iter().enumerate() {
                if index > 0 {
                    json.end().push(b',');
                }
                write_value(json, &node.value);
            }
            json.end().push(b']');
        }
        Value::Map(map) => write_map(json, map),
    }
}

fn write_map(json: &mut Sha256Writer, map: &Map<'_>) {
    json.end().push(b'{');
    let mut nodes: SmallVec<[_; 8]> = map.nodes().iter().collect();
    nodes.sort_unstable_by_key(|node| node.key());
    for (index, node) in nodes.into_iter().enumerate() {
        let end = json.end();
        if index > 0 {
            end.push(b',');
        }
        write_text(end, node.key());
        end.push(b':');
        write_value(json, &node.value);
    }
    json.end().push(b'}');
}

/// Go writes the shortest digits too, but switches to an exponent at 1e21 and below 1e-6.
fn write_float(json: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    let _ = if magnitude >= 1e21 {
        // Rust writes no plus sign.
        write!(json, "{}", format!("{value:e}").replace('e', "e+"))
    } else if magnitude != 0.0 && magnitude < 1e-6 {
        write!(json, "{value:e}")
    } else {
        write!(json, "{value}")
    };
}

fn write_text(json: &mut Vec<u8>, text: &str) {
    let is_plain =
        |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&');
    if text.bytes().all(is_plain) {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    } else {
        serde_json::to_writer(Escaping(json), text).expect("memory takes it");
    }
}
