//! The block `websocket`: the port for clients that come by WebSocket.
//!
//! nats: server/opts.go `parseWebsocket`; server/websocket.go `validateWebsocketOptions`

use std::collections::BTreeMap;

use super::{authorization, tls};
use super::{duration_or_seconds, host_or_default, listen, port, unknown_field};
use crate::base::limits;
use crate::config::conf::value::{Field, Value};
use crate::config::conf::{Problem, Severity};
use crate::config::options::{HandshakeFirst, Listen, Login, Port, Websocket};
use crate::config::origin::Origin;

/// Headers of the answer that belong to the upgrade itself.
const OWN_HEADERS: [&str; 5] =
    ["host", "content-length", "connection", "upgrade", "nats-no-masking"];

/// Reads the block; none if it names no port, as in the real server, which then looks at nothing
/// else. Faults inside go to `problems`.
///
/// # Errors
/// It is no map.
pub(super) fn read(
    field: Field<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Websocket>, Problem> {
    let Value::Map(map) = &field.node.value else {
        let kind = field.node.value.kind();
        return Err(field.error(format!("Expected websocket to be a map, got {kind}")));
    };
    let listen = Listen { host: String::new(), port: Port::Free };
    let mut block = Block {
        websocket: Websocket::new(listen),
        host: String::new(),
        port: None,
        tls_has_timeout: false,
    };
    let before = problems.len();
    for entry in map.fields() {
        if let Err(problem) = block.setting(entry, problems) {
            problems.push(problem);
        }
    }
    let is_faulty = problems[before..].iter().any(|problem| problem.severity == Severity::Error);
    let Some(port) = block.port else {
        if !is_faulty {
            let text = "a websocket block without port or listen has no effect";
            problems.push(field.node.problem(Severity::Notice, text));
        }
        return Ok(None);
    };
    block.websocket.listen = Listen { host: host_or_default(&block.host), port };
    match &mut block.websocket.tls {
        // As in the real server, the handshake has the time of the request behind it.
        Some(tls) if !block.tls_has_timeout => tls.timeout = block.websocket.handshake_timeout,
        _ => {}
    }
    if block.websocket.tls.is_none() && !block.websocket.no_tls && !is_faulty {
        return Err(field.error("websocket requires TLS configuration"));
    }
    Ok(Some(block.websocket))
}

/// The data so far, and the address in its two parts.
struct Block {
    websocket: Websocket,
    host: String,
    port: Option<Port>,
    tls_has_timeout: bool,
}

impl Block {
    fn setting(&mut self, field: Field<'_>, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        let websocket = &mut self.websocket;
        match &*field.key() {
            "listen" => (self.host, self.port) = listen(field)?,
            "host" | "net" => self.host = field.text()?.to_owned(),
            "port" => self.port = port(field)?,
            "advertise" => websocket.advertise = field.some_text()?,
            "no_tls" => websocket.no_tls = field.bool()?,
            "tls" => self.tls(field, problems)?,
            "same_origin" => websocket.same_origin = field.bool()?,
            "allowed_origins" | "allowed_origin" | "allow_origins" | "allow_origin" | "origins"
            | "origin" => websocket.allowed_origins = origins(field)?,
            "handshake_timeout" => {
                let default = limits::WEBSOCKET_HANDSHAKE_TIMEOUT_DEFAULT;
                // As in the real server, a number is not worth a warning here.
                let timeout = duration_or_seconds(field, default, &mut Vec::new())?;
                websocket.handshake_timeout = timeout;
            }
            "compress" | "compression" => websocket.compression = field.bool()?,
            "authorization" | "authentication" => self.authorization(field, problems)?,
            "jwt_cookie" => {
                let name = field.text()?;
                return Err(field.error(format!(
                    "trusted operators or trusted keys configuration is required for JWT \
                     authentication via cookie {name:?}"
                )));
            }
            "user_cookie" => websocket.user_cookie = field.some_text()?,
            "pass_cookie" => websocket.pass_cookie = field.some_text()?,
            "token_cookie" => websocket.token_cookie = field.some_text()?,
            "no_auth_user" => websocket.no_auth_user = field.some_text()?,
            "headers" => websocket.headers = headers(field)?,
            "ping_interval" => {
                let default = limits::PING_INTERVAL_DEFAULT;
                websocket.ping_interval = Some(duration_or_seconds(field, default, problems)?);
            }
            _ => unknown_field(field, problems),
        }
        Ok(())
    }

    /// Clients always begin with the handshake, so that nobody can be waited for.
    ///
    /// nats-differs: the real server ignores some settings in there, pinned certificates too.
    fn tls(&mut self, field: Field<'_>, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        let tls = tls::read(field, problems)?;
        if let HandshakeFirst::Within(_) = tls.handshake_first {
            let text = "'handshake_first' of websocket: clients always begin, without a delay";
            return Err(field.error(text));
        }
        self.tls_has_timeout = field.map()?.fields().any(|entry| entry.key() == "timeout");
        self.websocket.tls = Some(tls);
        Ok(())
    }

    /// One user or one token, and a timeout.
    fn authorization(
        &mut self,
        field: Field<'_>,
        problems: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        for entry in field.map()?.fields() {
            let known = ["user", "username", "pass", "password", "token", "timeout"];
            if !known.contains(&&*entry.key()) {
                unknown_field(entry, problems);
                return Ok(());
            }
        }
        let block = authorization::read(field, problems)?;
        self.websocket.auth_timeout = block.timeout;
        self.websocket.login = match block.login(field, problems)? {
            Login::Users(_) => Login::Open,
            login => login,
        };
        Ok(())
    }
}

/// URLs, or one of them.
fn origins(field: Field<'_>) -> Result<Vec<Origin>, Problem> {
    let texts = match &field.node.value {
        Value::Text(text) => vec![text.to_string()],
        _ => field.texts()?,
    };
    texts.iter().map(|text| origin(text).map_err(|text| field.error(text))).collect()
}

fn origin(text: &str) -> Result<Origin, String> {
    let origin =
        Origin::parse(text).map_err(|error| format!("unable to parse allowed origin: {error}"))?;
    let why = match origin.scheme() {
        "http" | "https" if !origin.host().is_empty() => return Ok(origin),
        "http" | "https" => "host is required",
        _ => "allowed origins must be absolute URLs with http or https scheme",
    };
    Err(format!("unable to parse allowed origin {text:?}: {why}"))
}

/// nats-differs: the real server also sends line ends, so that a value may add headers.
fn headers(field: Field<'_>) -> Result<BTreeMap<String, String>, Problem> {
    let Value::Map(map) = &field.node.value else {
        let kind = field.node.value.kind();
        return Err(field.error(format!("error parsing headers: unsupported type {kind}")));
    };
    let mut headers = BTreeMap::new();
    for entry in map.fields() {
        let name = entry.name;
        let Value::Text(value) = &entry.node.value else {
            let kind = entry.node.value.kind();
            let text = format!("error parsing header key {name}: unsupported type {kind}");
            return Err(entry.error(text));
        };
        let lower = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) {
            return Err(entry.error(format!("websocket: invalid header {name:?} not allowed")));
        }
        if lower.starts_with("sec-websocket-") {
            return Err(entry.error(format!(
                "websocket: invalid header {name:?}, \"Sec-WebSocket-\" prefix not allowed"
            )));
        }
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_of_name) {
            return Err(entry.error(format!("websocket: {name:?} is no name of a header")));
        }
        if value.contains(|c: char| c.is_control() && c != '\t') {
            return Err(entry.error(format!("websocket: {value:?} is no value of a header")));
        }
        headers.insert(name.to_owned(), value.to_string());
    }
    Ok(headers)
}
