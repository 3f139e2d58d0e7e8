//! The tree of a configuration file to [`Options`]: meaning and bounds of each setting.
//!
//! Collects every wrong setting instead of stopping at the first. A setting that restricts access
//! or opens a door is never ignored: one that this server cannot honour is an error (see
//! [`REFUSED`] and [`NOT_SUPPORTED`]). If all else works without it, it is a notice (see
//! [`WITHOUT_EFFECT`]).
//! nats: server/opts.go `processConfigFileLine`

mod accounts;
mod authorization;
mod cluster;
mod export_list;
mod import_list;
mod item_list;
mod mappings;
mod msg_trace;
mod tls;
mod websocket;

use std::path::PathBuf;
use std::time::Duration;

use super::value::{Field, Map, Value};
use super::{Problem, Severity};
use crate::base::duration;
use crate::base::limits;
use crate::base::quoted::Quoted;
use crate::config::options::{Listen, Options, Port, SyslogUrl, WriteTimeout};
use crate::config::route_url::HostPort;

/// Settings that are refused with any value, and the reason.
const REFUSED: [(&[&str], &str); 1] = [(
    &[
        "operator",
        "operators",
        "root",
        "roots",
        "root_operator",
        "root_operators",
        "trusted",
        "trusted_keys",
        "resolver",
        "account_resolver",
        "accounts_resolver",
        "resolver_tls",
        "resolver_preload",
        "resolver_pinned_accounts",
        "default_sentinel",
    ],
    "operator mode (JWT) is not supported",
)];

/// Settings that are refused unless they are off.
const NOT_SUPPORTED: [(&[&str], &str); 4] = [
    (&["proxy_protocol"], "the PROXY protocol is not supported"),
    (&["ocsp", "ocsp_cache"], "OCSP stapling is not supported"),
    (&["gateway"], "gateways are not supported"),
    (&["proxies"], "trusted proxies are not supported"),
];

/// Settings that are accepted with a notice, which names the missing effect.
const WITHOUT_EFFECT: [(&[&str], &str); 5] = [
    (&["mqtt"], "no MQTT listener is opened"),
    (&["prof_port", "prof_block_rate"], "there is no Go profiler here"),
    (&["default_js_domain"], "there is no JetStream here"),
    (&["store_dir", "storedir"], "nothing is stored, there is no JetStream here"),
    (&["feature_flags"], "they name internals of nats-server"),
];

/// Sets the options of the file. Returns its faults, in the order of the file, except for those of
/// imports; and the block `accounts`, if there is one.
pub(super) fn apply<'a>(
    root: &'a Map<'a>,
    options: &mut Options,
) -> (Vec<Problem>, Option<Field<'a>>) {
    let accounts = accounts::Block::default();
    let mut apply = Apply { options, accounts, problems: Vec::new() };
    for field in root.fields() {
        if let Err(problem) = apply.setting(field) {
            apply.problems.push(problem);
        }
    }
    let Apply { options, accounts, mut problems } = apply;
    let has_authorization = root.fields().any(|field| field.key() == "authorization");
    let accounts_field = accounts.field;
    accounts.apply(has_authorization, options, &mut problems);
    (problems, accounts_field)
}

struct Apply<'a, 't> {
    options: &'a mut Options,
    accounts: accounts::Block<'t>,
    problems: Vec<Problem>,
}

impl<'t> Apply<'_, 't> {
    fn setting(&mut self, field: Field<'t>) -> Result<(), Problem> {
        let key = field.key();
        let handled = self.address(&key, field)?
            || self.limit(&key, field)?
            || self.timing(&key, field)?
            || self.logging(&key, field)?
            || self.block(&key, field)?
            || self.absent(&key, field)?;
        if !handled {
            unknown_field(field, &mut self.problems);
        }
        Ok(())
    }

    /// Names, addresses and files.
    fn address(&mut self, key: &str, field: Field<'_>) -> Result<bool, Problem> {
        let options = &mut *self.options;
        match key {
            "listen" => {
                let (host, port) = listen(field)?;
                options.host = host_or_default(&host);
                options.port = port.unwrap_or(Port::Number(limits::PORT_DEFAULT));
            }
            "host" | "net" => options.host = host_or_default(field.text()?),
            "port" => {
                options.port = port(field)?.unwrap_or(Port::Number(limits::PORT_DEFAULT));
            }
            "client_advertise" => options.client_advertise = field.some_text()?,
            "server_name" => {
                let name = field.some_text()?;
                if name.as_ref().is_some_and(|name| name.contains(' ')) {
                    return Err(field.error("server name cannot contain spaces"));
                }
                options.server_name = name;
            }
            "server_tags" => options.server_tags = field.texts()?,
            "server_metadata" => {
                for entry in field.map()?.fields() {
                    options.server_metadata.insert(entry.name.to_owned(), entry.text()?.to_owned());
                }
            }
            "http" => options.http = endpoint(field)?,
            "http_port" | "monitor_port" => Listen::set_port(&mut options.http, port(field)?),
            "https" => options.https = endpoint(field)?,
            "https_port" => Listen::set_port(&mut options.https, port(field)?),
            "http_base_path" => options.http_base_path = base_path(field.text()?),
            "pid_file" | "pidfile" => options.pid_file = path(field)?,
            "ports_file_dir" => options.ports_file_dir = path(field)?,
            "workers" => options.workers = Some(field.count()?).filter(|&count| count > 0),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Sizes and numbers of things.
    fn limit(&mut self, key: &str, field: Field<'_>) -> Result<bool, Problem> {
        let options = &mut *self.options;
        match key {
            "max_payload" => {
                let value = i32::try_from(field.integer()?.max(-1)).map_err(|_| too_big(field))?;
                options.max_payload = if value == 0 { limits::MAX_PAYLOAD_DEFAULT } else { value };
            }
            "max_control_line" => {
                let value = field.count_or(limits::MAX_CONTROL_LINE_DEFAULT)?;
                if value > i32::MAX as usize {
                    return Err(too_big(field));
                }
                options.max_control_line = value;
            }
            "max_pending" => options.max_pending = field.count_or(limits::MAX_PENDING_DEFAULT)?,
            // 0 and negative numbers admit no client, as in the real server.
            "max_connections" | "max_conn" => options.max_connections = field.count_or_none()?,
            "max_subscriptions" | "max_subs" => {
                options.max_subscriptions = field.count_or_none()?;
            }
            "max_sub_tokens" | "max_subscription_tokens" => {
                let value = field.integer()?;
                if value <= 0 {
                    return Err(field.error(format!("{} value can not be negative", field.name)));
                }
                options.max_sub_tokens = usize::try_from(value)
                    .ok()
                    .filter(|&value| value <= limits::MAX_SUB_TOKENS_MAX)
                    .ok_or_else(|| too_big(field))?;
            }
            "max_closed_clients" => {
                options.max_closed_clients = field.count_or(limits::MAX_CLOSED_CLIENTS_DEFAULT)?;
            }
            "no_fast_producer_stall" => options.no_fast_producer_stall = field.bool()?,
            "no_header_support" => options.no_header_support = field.bool()?,
            "no_system_account" | "no_system" | "no_sys_acc" => {
                options.no_system_account = field.bool()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Durations, and the settings beside them.
    fn timing(&mut self, key: &str, field: Field<'_>) -> Result<bool, Problem> {
        match key {
            "ping_interval" => {
                self.options.ping_interval =
                    duration_or_seconds(field, limits::PING_INTERVAL_DEFAULT, &mut self.problems)?;
            }
            "ping_max" => self.options.ping_max = field.count_or(limits::PING_MAX_DEFAULT)?,
            "write_deadline" => {
                self.options.write_deadline =
                    duration_or_seconds(field, limits::WRITE_DEADLINE_DEFAULT, &mut self.problems)?;
            }
            "write_timeout" => self.options.write_timeout = write_timeout(field)?,
            "lame_duck_duration" => {
                let value = field.duration_or(Duration::ZERO)?;
                if value < limits::LAME_DUCK_DURATION_MIN {
                    return Err(field.error(format!(
                        "invalid lame_duck_duration of {}, minimum is 30 seconds",
                        duration::Display(value)
                    )));
                }
                self.options.lame_duck_duration = value;
            }
            "lame_duck_grace_period" => {
                self.options.lame_duck_grace_period =
                    field.duration_or(limits::LAME_DUCK_GRACE_PERIOD_DEFAULT)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn logging(&mut self, key: &str, field: Field<'_>) -> Result<bool, Problem> {
        let log = &mut self.options.log;
        match key {
            "debug" => log.debug = field.bool()?,
            "trace" => log.trace = field.bool()?,
            "trace_verbose" => {
                log.trace_verbose = field.bool()?;
                log.trace = log.trace_verbose;
            }
            "trace_headers" => {
                log.trace_headers = field.bool()?;
                log.trace = log.trace_headers;
            }
            "max_traced_msg_len" => log.max_traced_msg_len = field.count_or_none()?,
            "logtime" => log.logtime = field.bool()?,
            "logtime_utc" => log.logtime_utc = field.bool()?,
            "logfile" | "log_file" => log.log_file = path(field)?,
            "logfile_size_limit" | "log_size_limit" => {
                log.log_size_limit = field.count_or_none()? as u64;
            }
            "logfile_max_num" | "log_max_num" => log.log_max_num = field.count_or_none()?,
            "syslog" => log.syslog = field.bool()?,
            "remote_syslog" => {
                let url = field.some_text()?.map(|url| SyslogUrl::parse(&url)).transpose();
                log.remote_syslog = url.map_err(|error| field.error(error.to_string()))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Blocks with settings of their own, and references to them.
    fn block(&mut self, key: &str, field: Field<'t>) -> Result<bool, Problem> {
        match key {
            "authorization" => {
                let block = authorization::read(field, &mut self.problems)?;
                let authorization = &mut self.options.authorization;
                authorization.timeout = block.timeout;
                authorization.login = block.login(field, &mut self.problems)?;
            }
            "accounts" => self.accounts = accounts::read(field, &mut self.problems)?,
            "mappings" | "maps" => {
                self.options.mappings.extend(mappings::read(field, &mut self.problems)?);
            }
            "tls" => self.options.tls = Some(tls::read(field, &mut self.problems)?),
            "allow_non_tls" => self.options.allow_non_tls = field.bool()?,
            "no_auth_user" => self.options.authorization.no_auth_user = field.some_text()?,
            "cluster" => {
                self.options.cluster = Some(cluster::read(field, &mut self.problems)?);
            }
            "websocket" | "ws" => {
                self.options.websocket = websocket::read(field, &mut self.problems)?;
            }
            "leafnodes" | "leaf" => {
                let remotes = field.map()?.fields().find(|f| f.key() == "remotes");
                if let Some(remotes) = remotes.filter(|f| !f.array().is_ok_and(<[_]>::is_empty)) {
                    return Err(remotes.error("leaf nodes are not supported"));
                }
                let text = "leaf nodes are not supported: no listener is opened for them";
                self.problems.push(field.node.problem(Severity::Notice, text));
            }
            "jetstream" if is_jetstream_enabled(field)? => {
                let text = "jetstream has no effect: nothing is stored, there is no JetStream here";
                self.problems.push(field.node.problem(Severity::Notice, text));
            }
            "jetstream" => {}
            "system_account" | "system" => self.options.system_account = field.some_text()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Settings of absent features.
    fn absent(&mut self, key: &str, field: Field<'_>) -> Result<bool, Problem> {
        let reason = |table: &[(&[&str], &'static str)]| {
            table.iter().find(|(keys, _)| keys.contains(&key)).map(|(_, reason)| *reason)
        };
        if let Some(reason) = reason(&REFUSED) {
            return Err(field.error(reason));
        }
        if let Some(reason) = reason(&NOT_SUPPORTED) {
            return if is_off(&field.node.value) { Ok(true) } else { Err(field.error(reason)) };
        }
        if let Some(reason) = reason(&WITHOUT_EFFECT) {
            let text = format!("{} has no effect: {reason}", field.name);
            self.problems.push(field.node.problem(Severity::Notice, text));
            return Ok(true);
        }
        match key {
            // Tuning of parts that this server does not have, or builds differently.
            "disable_sublist_cache" | "no_sublist_cache" => field.bool().map(|_| true),
            "connect_error_reports" | "reconnect_error_reports" => field.integer().map(|_| true),
            _ => Ok(false),
        }
    }
}

/// Reports a key that is no setting, unless it serves as a variable.
fn unknown_field(field: Field<'_>, problems: &mut Vec<Problem>) {
    if !field.node.is_used_as_variable() {
        problems.push(field.error(format!("unknown field {}", Quoted(field.name.as_bytes()))));
    }
}

/// True for a value that switches its setting off.
fn is_off(value: &Value<'_>) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Integer(number) => *number == 0,
        Value::Text(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Map(map) => map.is_empty(),
        _ => false,
    }
}

fn is_jetstream_enabled(field: Field<'_>) -> Result<bool, Problem> {
    match &field.node.value {
        Value::Bool(enabled) => Ok(*enabled),
        Value::Map(_) => Ok(true),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "enable" | "enabled" => Ok(true),
            "disable" | "disabled" => Ok(false),
            _ => Err(field
                .error(format!("Expected 'enabled' or 'disabled' for string value, got '{text}'"))),
        },
        _ => Err(field.mismatch("a map, a bool or a string")),
    }
}

fn too_big(field: Field<'_>) -> Problem {
    field.error(format!("{} value is too big", field.name))
}

fn path(field: Field<'_>) -> Result<Option<PathBuf>, Problem> {
    Ok(field.some_text()?.map(PathBuf::from))
}

fn host_or_default(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() { limits::HOST_DEFAULT.to_owned() } else { host.to_owned() }
}

/// An address of monitoring, with an empty host perhaps.
fn endpoint(field: Field<'_>) -> Result<Option<Listen>, Problem> {
    let (host, port) = listen(field)?;
    Ok(port.map(|port| Listen { host, port }))
}

/// Begins with a slash and does not end with one.
fn base_path(written: &str) -> String {
    format!("/{}", written.trim_matches('/'))
}

/// A port; none is 0, which means the default or off.
fn port(field: Field<'_>) -> Result<Option<Port>, Problem> {
    port_number(field, field.integer()?)
}

fn port_number(field: Field<'_>, number: i64) -> Result<Option<Port>, Problem> {
    Port::from_number(number).ok_or_else(|| {
        field.error(format!(
            "{}: port {number} is out of range (1 to 65535, or -1 for any free port)",
            field.name
        ))
    })
}

/// `host:port`, or only a port. The caller replaces an empty host.
fn listen(field: Field<'_>) -> Result<(String, Option<Port>), Problem> {
    let text = match &field.node.value {
        Value::Integer(number) => return Ok((String::new(), port_number(field, *number)?)),
        Value::Text(text) => text,
        value => {
            let text = format!("expected port or host:port, got {}", value.kind());
            return Err(field.error(text));
        }
    };
    let not_an_address = || field.error(format!("could not parse address string {text:?}"));
    let Some((host, Some(number))) = HostPort::split(text) else { return Err(not_an_address()) };
    let number =
        number.parse().map_err(|_| field.error(format!("could not parse port {number:?}")))?;
    Ok((host.to_owned(), port_number(field, number)?))
}

/// A duration string, or a bare number of seconds with a warning.
fn duration_or_seconds(
    field: Field<'_>,
    default: Duration,
    problems: &mut Vec<Problem>,
) -> Result<Duration, Problem> {
    if !matches!(field.node.value, Value::Integer(_)) {
        return field.duration_or(default);
    }
    let seconds = field.count()? as u64;
    let text = format!(
        "invalid use of field {:?}: {} should be converted to a duration",
        field.name,
        field.key()
    );
    problems.push(field.node.problem(Severity::Warning, text));
    Ok(if seconds == 0 { default } else { Duration::from_secs(seconds) })
}

fn write_timeout(field: Field<'_>) -> Result<WriteTimeout, Problem> {
    match field.text()? {
        "default" => Ok(WriteTimeout::Default),
        "close" => Ok(WriteTimeout::Close),
        "retry" => Ok(WriteTimeout::Retry),
        _ => Err(field.error("write_timeout must be 'default', 'close' or 'retry'")),
    }
}
