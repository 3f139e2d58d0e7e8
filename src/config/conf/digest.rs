//! The digest of a configuration: SHA-256 over the tree as JSON, equal to the real server's.
//!
//! Comments, spacing, units and the order of keys do not change it; a variable's own key does.
//! nats: conf/parse.go `configDigest`, which hashes what Go's encoding/json writes: keys sorted,
//! `<`, `>` and `&` escaped, a newline at the end.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::value::{Map, Value};

/// `sha256:` and 64 hexadecimal digits.
pub(super) fn digest(root: &Map) -> String {
    let mut json = String::new();
    write_map(&mut json, root);
    json.push('\n');
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(&json) {
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

fn write_value(json: &mut String, value: &Value) {
    match value {
        Value::Text(text) | Value::DateTime(text) => write_text(json, text),
        Value::Integer(value) => {
            let _ = write!(json, "{value}");
        }
        Value::Float(value) => write_float(json, *value),
        Value::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
        Value::Array(nodes) => {
            json.push('[');
            for (index, node) in nodes.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_value(json, &node.value);
            }
            json.push(']');
        }
        Value::Map(map) => write_map(json, map),
    }
}

fn write_map(json: &mut String, map: &Map) {
    json.push('{');
    for (index, (name, node)) in map.0.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write_text(json, name);
        json.push(':');
        write_value(json, &node.value);
    }
    json.push('}');
}

/// Go writes the shortest digits too, but switches to an exponent at 1e21 and below 1e-6.
fn write_float(json: &mut String, value: f64) {
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

fn write_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}
