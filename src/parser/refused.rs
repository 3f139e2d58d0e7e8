//! `Refused`: a violation of the protocol, as a line of the log.
//!
//! The other side gets an `-ERR` at most, without the op; the log shows the op, in the texts that
//! operators know.
//! nats: server/client.go `processPub`, `processHeaderPub`, `parseSub`, `processUnsub`,
//! `maxPayloadViolation`; server/parser.go `protoSnippet`

use crate::base::errors::ProtoErr;
use crate::base::ids::Kind;
use crate::base::quoted::Quoted;

/// Bytes shown of an unknown op.
const SNIPPET_LEN: usize = 32;

/// An error, and the op that caused it, if one did.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// The error.
    pub error: &'a ProtoErr,
    /// The op, from its first byte to the cut of the input; empty if none caused the error.
    pub op: &'a [u8],
}

impl<'a> From<&'a ProtoErr> for Refused<'a> {
    fn from(error: &'a ProtoErr) -> Self {
        Refused { error, op: b"" }
    }
}

impl Refused<'_> {
    /// The text for the log: `kind` sent the op, and a message may have `max_payload` bytes.
    pub fn describe(&self, kind: Kind, max_payload: usize) -> String {
        let arguments = self.arguments();
        match self.error {
            ProtoErr::UnknownOp if !self.op.is_empty() => {
                let who = kind.log_name();
                let snippet = Quoted(&self.op[..self.op.len().min(SNIPPET_LEN)]);
                format!("{who} parser ERROR: proto='{snippet}...'")
            }
            ProtoErr::MaxPayload => {
                let size = arguments.rsplit(is_blank).next().unwrap_or_default();
                let size = String::from_utf8_lossy(size);
                format!("maximum payload exceeded: {size} vs {max_payload}")
            }
            ProtoErr::Arguments(verb) => match complaint(verb, arguments) {
                Some(complaint) => format!("{complaint}: {}", Quoted(arguments)),
                None => self.error.to_string(),
            },
            error => error.to_string(),
        }
    }

    /// Between the op's name and the line end.
    fn arguments(&self) -> &[u8] {
        let line = self.op.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let name_len = line.iter().position(is_blank).unwrap_or(line.len());
        line[name_len..].trim_ascii_start()
    }
}

fn is_blank(byte: &u8) -> bool {
    byte.is_ascii_whitespace()
}

/// The fault of these arguments; none if the op has none to show.
fn complaint(verb: &str, arguments: &[u8]) -> Option<&'static str> {
    let split: Vec<_> = arguments.split(is_blank).filter(|part| !part.is_empty()).collect();
    let is_size = |at: usize| split[split.len() - at].iter().all(u8::is_ascii_digit);
    Some(match (verb, split.len()) {
        ("PUB", 2 | 3) => "processPub Bad or Missing Size",
        ("PUB", _) => "processPub Parse Error",
        ("HPUB", 3 | 4) if !is_size(2) => "processHeaderPub Bad or Missing Header Size",
        ("HPUB", 3 | 4) if !is_size(1) => "processHeaderPub Bad or Missing Total Size",
        ("HPUB", 3 | 4) => "processHeaderPub Header Size larger then TotalSize",
        ("HPUB", _) => "processHeaderPub Parse Error",
        ("SUB", _) => "processSub Parse Error",
        ("UNSUB", _) => "processUnsub Parse Error",
        ("RMSG", _) => "processRoutedMsgArgs Parse Error",
        ("HMSG", _) => "processRoutedHeaderMsgArgs Parse Error",
        ("RS+", _) => "processRemoteSub Parse Error",
        ("RS-", _) => "processRemoteUnsub Parse Error",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_the_real_servers_texts() {
        let arguments = ProtoErr::Arguments;
        for (error, op, text) in [
            (
                ProtoErr::UnknownOp,
                "FOO bar\r\n",
                r#"Client parser ERROR: proto='"FOO bar\r\n"...'"#,
            ),
            (ProtoErr::UnknownOp, "", "Unknown Protocol Operation"),
            (ProtoErr::MaxPayload, "PUB a 11\r\nhel", "maximum payload exceeded: 11 vs 10"),
            (arguments("PUB"), "pub  a x\r\n", r#"processPub Bad or Missing Size: "a x""#),
            (arguments("PUB"), "PUB a\r\n", r#"processPub Parse Error: "a""#),
            (
                arguments("HPUB"),
                "HPUB a x 5\r\n",
                r#"processHeaderPub Bad or Missing Header Size: "a x 5""#,
            ),
            (
                arguments("HPUB"),
                "HPUB a 7 5\r\n",
                r#"processHeaderPub Header Size larger then TotalSize: "a 7 5""#,
            ),
            (arguments("SUB"), "SUB\ta\n", r#"processSub Parse Error: "a""#),
            (arguments("CONNECT"), "CONNECT {\r\n", "bad arguments to CONNECT"),
        ] {
            let refused = Refused { error: &error, op: op.as_bytes() };
            assert_eq!(refused.describe(Kind::Client, 10), text);
        }
    }
}
