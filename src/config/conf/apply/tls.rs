//! The block `tls`: certificates of a port, and what it asks of the other side.
//!
//! nats: server/opts.go `parseTLS`, `GenTLSConfig`

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::base::duration;
use crate::base::limits;
use crate::base::quoted::Quoted;
use crate::config::conf::value::{Field, Node, Value};
use crate::config::conf::{Problem, Severity};
use crate::config::options::{CertFiles, CipherSuite, Curve, HandshakeFirst, Tls, TlsVersion};

/// Reads the block of a port for clients. Faults inside go to `problems`.
///
/// nats-differs: a block with which every handshake would fail is refused.
///
/// # Errors
/// It is no map, or its parts do not fit together.
pub(super) fn read(field: Field<'_>, problems: &mut Vec<Problem>) -> Result<Tls, Problem> {
    Block::read(field, false, problems)?.finish(field)
}

/// Reads the block of a cluster, of which [`Tls::of_routes`] is in force.
///
/// # Errors
/// As [`read`].
pub(super) fn read_of_cluster(
    field: Field<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Tls, Problem> {
    let mut block = Block::read(field, true, problems)?;
    if block.tls.connection_rate_limit.is_some() {
        let text = "connection_rate_limit has no effect in a cluster";
        problems.push(field.node.problem(Severity::Notice, text));
    }
    block.tls = block.tls.of_routes();
    block.finish(field)
}

/// The settings so far, and a certificate in its two parts.
struct Block {
    tls: Tls,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    /// It is about other servers, and not about clients.
    of_cluster: bool,
}

impl Block {
    fn read(
        field: Field<'_>,
        of_cluster: bool,
        problems: &mut Vec<Problem>,
    ) -> Result<Block, Problem> {
        let mut block = Block {
            tls: Tls {
                place: Some(field.node.position().to_string()),
                ..Tls::without_certificate()
            },
            cert_file: None,
            key_file: None,
            of_cluster,
        };
        for entry in field.map()?.fields() {
            if let Err(problem) = block.setting(entry, problems) {
                problems.push(problem);
            }
        }
        Ok(block)
    }

    fn setting(&mut self, field: Field<'_>, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        let tls = &mut self.tls;
        match &*field.key() {
            "cert_file" => self.cert_file = file(field)?,
            "key_file" => self.key_file = file(field)?,
            "ca_file" => tls.ca_file = file(field)?,
            "certs" | "certificates" => tls.certs = certs(field)?,
            "verify" => tls.verify = switch(field)?,
            "verify_and_map" => tls.verify_and_map = switch(field)?,
            "verify_cert_and_check_known_urls" => {
                tls.verify_cert_and_check_known_urls = switch(field)?;
                if tls.verify_cert_and_check_known_urls && !self.of_cluster {
                    let text = "verify_cert_and_check_known_urls not supported in this context";
                    return Err(field.error(text));
                }
            }
            "insecure" => tls.insecure = switch(field)?,
            "timeout" => tls.timeout = timeout(field)?,
            "handshake_first" | "first" | "immediate" => {
                tls.handshake_first = handshake_first(field)?;
            }
            "min_version" => tls.min_version = min_version(field)?,
            "cipher_suites" => {
                tls.cipher_suites = names(field, "cipher", &CipherSuite::NAMES)?;
            }
            // Those that are insecure do not exist here.
            "allow_insecure_cipher_suites" => {
                switch(field)?;
            }
            "curve_preferences" => {
                tls.curve_preferences = names(field, "curve preference", &Curve::NAMES)?;
            }
            "pinned_certs" => tls.pinned_certs = pinned_certs(field)?,
            "connection_rate_limit" => {
                let Value::Integer(limit) = field.node.value else {
                    return Err(wrong(field, "'connection_rate_limit' wrong type"));
                };
                tls.connection_rate_limit = u32::try_from(limit).ok().filter(|&limit| limit > 0);
            }
            "ocsp_peer" if !super::is_off(&field.node.value) => {
                return Err(field.error("certificates are not checked by OCSP"));
            }
            "ocsp_peer" => {}
            "cert_match" | "cert_match_by" | "ca_certs_match" => match_in_store(field)?,
            "cert_match_skip_invalid" => {
                switch(field)?;
            }
            _ if field.node.is_used_as_variable() => {}
            name => {
                problems.push(wrong(field, &format!("unknown field {}", Quoted(name.as_bytes()))));
            }
        }
        Ok(())
    }

    /// Checks the relations of the parts.
    fn finish(self, field: Field<'_>) -> Result<Tls, Problem> {
        let Block { mut tls, cert_file, key_file, .. } = self;
        match (cert_file, key_file) {
            (None, None) => {}
            (Some(_), _) | (_, Some(_)) if !tls.certs.is_empty() => {
                let text = "cannot combine 'cert_file' option with 'certs' option";
                return Err(wrong(field, text));
            }
            (Some(_), None) => return Err(field.error("missing 'key_file' in TLS configuration")),
            (None, Some(_)) => return Err(field.error("missing 'cert_file' in TLS configuration")),
            (Some(cert_file), Some(key_file)) => {
                tls.certs = vec![CertFiles { cert_file, key_file }];
            }
        }
        let text = if tls.certs.is_empty() {
            "tls without a certificate: set 'cert_file' and 'key_file'"
        } else if !tls.verifies() && !tls.pinned_certs.is_empty() {
            "'pinned_certs' without 'verify': no client would show a certificate"
        } else {
            return Ok(tls);
        };
        Err(field.error(text))
    }
}

fn wrong(field: Field<'_>, why: &str) -> Problem {
    field.error(format!("error parsing tls config, {why}"))
}

fn file(field: Field<'_>) -> Result<Option<PathBuf>, Problem> {
    match field.node.value {
        Value::Text(path) => Ok((!path.is_empty()).then(|| PathBuf::from(path))),
        _ => Err(wrong(field, &format!("expected '{}' to be filename", field.key()))),
    }
}

fn switch(field: Field<'_>) -> Result<bool, Problem> {
    match field.node.value {
        Value::Bool(on) => Ok(on),
        _ => Err(wrong(field, &format!("expected '{}' to be a boolean", field.key()))),
    }
}

/// A choice among the certificates in the store of Windows, which has no effect here.
///
/// nats: server/certstore/certstore.go `ParseCertMatchBy`
fn match_in_store(field: Field<'_>) -> Result<(), Problem> {
    let key = field.key();
    let text = match &field.node.value {
        Value::Text(text) if !text.is_empty() => text.to_lowercase(),
        _ if key == "ca_certs_match" => return Ok(()),
        _ => return Err(field.error(format!("expected '{key}' to be a valid non-empty string"))),
    };
    if key == "cert_match_by" && !["issuer", "subject", "thumbprint"].contains(&&*text) {
        return Err(field.error("cert match by type not implemented"));
    }
    Ok(())
}

/// Certificates with their keys, of which clients choose by name.
fn certs(field: Field<'_>) -> Result<Vec<CertFiles>, Problem> {
    let text = |text: &str| format!("error parsing certificates config: {text}");
    let read = |node: &Node<'_>| {
        let Value::Map(map) = &node.value else {
            return Err(node.error(text(&format!("unsupported type {}", node.value.kind()))));
        };
        let (mut cert_file, mut key_file) = (None, None);
        for entry in map.fields() {
            match &*entry.key() {
                "cert_file" => cert_file = file(entry)?,
                "key_file" => key_file = file(entry)?,
                name => {
                    let unknown = format!("unknown field {}", Quoted(name.as_bytes()));
                    return Err(entry.error(text(&unknown)));
                }
            }
        }
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Ok(CertFiles { cert_file, key_file }),
            _ => Err(node.error(text("both 'cert_file' and 'key_file' options are required"))),
        }
    };
    field.array()?.iter().map(read).collect()
}

/// Seconds, with or without fraction, or a duration string; 0 means the default.
///
/// nats-differs: there, every handshake fails after a negative time.
fn timeout(field: Field<'_>) -> Result<Duration, Problem> {
    let seconds = match &field.node.value {
        Value::Integer(seconds) => *seconds as f64,
        Value::Float(seconds) => *seconds,
        Value::Text(text) => {
            let ns = duration::parse_ns(text);
            ns.map_err(|error| wrong(field, &format!("'timeout' {error}")))? as f64 / 1e9
        }
        _ => return Err(wrong(field, "'timeout' wrong type")),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => Ok(limits::TLS_TIMEOUT_DEFAULT),
        Ok(timeout) => Ok(timeout),
        Err(_) => Err(wrong(field, "'timeout' is out of range")),
    }
}

/// A switch, `auto`, or a time.
///
/// nats-differs: there, a negative time means that the client begins.
fn handshake_first(field: Field<'_>) -> Result<HandshakeFirst, Problem> {
    let text = match &field.node.value {
        Value::Bool(true) => return Ok(HandshakeFirst::Yes),
        Value::Bool(false) => return Ok(HandshakeFirst::No),
        Value::Text(text) => text,
        value => {
            return Err(field.error(format!(
                "field {:?} should be a boolean or a string, got {}",
                field.name,
                value.kind()
            )));
        }
    };
    let invalid = || field.error(format!("field {:?}'s value {text:?} is invalid", field.name));
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => Ok(HandshakeFirst::Yes),
        "false" | "off" | "no" => Ok(HandshakeFirst::No),
        "auto" | "auto_fallback" => Ok(HandshakeFirst::Within(limits::TLS_FIRST_WITHIN)),
        time => match u64::try_from(duration::parse_ns(time).map_err(|_| invalid())?) {
            Ok(0) => Ok(HandshakeFirst::Yes),
            Ok(ns) => Ok(HandshakeFirst::Within(Duration::from_nanos(ns))),
            Err(_) => Err(invalid()),
        },
    }
}

fn min_version(field: Field<'_>) -> Result<TlsVersion, Problem> {
    let wrong = |why: String| field.error(format!("error parsing tls config: {why}"));
    match field.node.value {
        Value::Text(text) => match text {
            "1.2" => Ok(TlsVersion::V1_2),
            "1.3" => Ok(TlsVersion::V1_3),
            "1.0" | "1.1" => Err(wrong(format!("unsupported TLS version: TLS {text}"))),
            _ => Err(wrong(format!("unknown version: {text}"))),
        },
        value => Err(wrong(format!("'min_version' wrong type: {}", value.kind()))),
    }
}

/// The values of a list of names. One that is not `known` is an error that says which are.
///
/// nats-differs: it has older suites and other curves, too.
fn names<T: Copy>(
    field: Field<'_>,
    what: &str,
    known: &[(&'static str, T)],
) -> Result<Vec<T>, Problem> {
    let nodes = field.array()?;
    if nodes.is_empty() {
        return Err(wrong(field, &format!("'{}' cannot be empty", field.key())));
    }
    let value = |node| {
        let name = Field { node, ..field }.text()?;
        let found = known.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
            let known = known.join(", ");
            node.error(format!("unrecognized {what} {name}; there are {known}"))
        })
    };
    nodes.iter().map(value).collect()
}

fn pinned_certs(field: Field<'_>) -> Result<Vec<[u8; 32]>, Problem> {
    let Value::Array(nodes) = &field.node.value else {
        let text = "expected 'pinned_certs' to be a list of hex-encoded sha256 of DER encoded \
                    SubjectPublicKeyInfo";
        return Err(wrong(field, text));
    };
    let pin = |node: &Node<'_>| {
        let text = Field { node, ..field }.text()?;
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap_or_default();
        <[u8; 32]>::try_from(bytes).map_err(|_| {
            node.error(format!(
                "error parsing tls config, 'pinned_certs' key {text} does not look like \
                 hex-encoded sha256 of DER encoded SubjectPublicKeyInfo"
            ))
        })
    };
    nodes.iter().map(pin).collect()
}
