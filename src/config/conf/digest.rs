//! The digest of a configuration: SHA-256 over the tree as JSON, equal to the real server's.
//!
//! Comments, spacing, units and the order of keys do not change it; a variable's own key does.
//! nats: conf/parse.go `configDigest`, which hashes the output of Go's encoding/json: keys sorted,
//! `<`, `>` and `&` escaped, a newline at the end.

use std::io::Write;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::value::{Map, Value};
use crate::codec::escaping::Escaping;

/// JSON is hashed in pieces of about this length.
const PIECE_LEN: usize = 64 * 1024;

/// `sha256:` and 64 hexadecimal digits.
pub(super) fn digest(root: &Map<'_>) -> String {
    let mut json = Json::default();
    json.write_map(root);
    json.piece.push(b'\n');
    json.hash.update(&json.piece);
    let mut digest = "sha256:".to_owned();
    HEXLOWER.encode_append(&json.hash.finalize(), &mut digest);
    digest
}

/// The JSON of a tree, hashed up to the last piece.
#[derive(Default)]
struct Json {
    hash: Sha256,
    piece: Vec<u8>,
}

impl Json {
    fn write_value(&mut self, value: &Value<'_>) {
        match value {
            Value::Text(text) | Value::DateTime(text) => write_text(&mut self.piece, text),
            Value::Integer(value) => {
                let _ = write!(self.piece, "{value}");
            }
            Value::Float(value) => write_float(&mut self.piece, *value),
            Value::Bool(true) => self.piece.extend_from_slice(b"true"),
            Value::Bool(false) => self.piece.extend_from_slice(b"false"),
            Value::Array(nodes) => {
                self.piece.push(b'[');
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        self.piece.push(b',');
                    }
                    self.write_value(&node.value);
                }
                self.piece.push(b']');
            }
            Value::Map(map) => self.write_map(map),
        }
        if self.piece.len() > PIECE_LEN {
            self.hash.update(&self.piece);
            self.piece.clear();
        }
    }

    fn write_map(&mut self, map: &Map<'_>) {
        self.piece.push(b'{');
        for (index, (name, node)) in map.entries().iter().enumerate() {
            if index > 0 {
                self.piece.push(b',');
            }
            write_text(&mut self.piece, name);
            self.piece.push(b':');
            self.write_value(&node.value);
        }
        self.piece.push(b'}');
    }
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
