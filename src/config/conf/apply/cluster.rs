//! The block `cluster`: the servers that form one subject space with this one.
//!
//! nats: server/opts.go `parseCluster`

use super::{authorization, tls};
use super::{duration_or_seconds, listen, port, unknown_field, write_timeout};
use crate::base::duration;
use crate::base::limits;
use crate::config::compression::Compression;
use crate::config::conf::value::{Field, Value};
use crate::config::conf::{Problem, Severity};
use crate::config::options::{Cluster, Listen, Permissions, Port, SubjectPermission};
use crate::config::route_url::RouteUrl;

/// Reads the block. Without an address to listen on, it has no effect unless a flag gives one, as
/// in the real server; a notice says so. Faults inside go to `problems`.
///
/// # Errors
/// It is no map.
pub(super) fn read(field: Field<'_>, problems: &mut Vec<Problem>) -> Result<Cluster, Problem> {
    let Value::Map(map) = &field.node.value else {
        let kind = field.node.value.kind();
        return Err(field.error(format!("Expected map to define cluster, got {kind}")));
    };
    let mut block = Block::default();
    for entry in map.fields() {
        if let Err(problem) = block.setting(entry, problems) {
            problems.push(problem);
        }
    }
    let host = super::host_or_default(&block.host);
    block.cluster.listen = block.port.map(|port| Listen { host, port });
    if block.cluster.listen.is_none() {
        let text = "a cluster without port or listen has no effect without --cluster";
        problems.push(field.node.problem(Severity::Notice, text));
    }
    Ok(block.cluster)
}

/// The data so far, and the address in its two parts.
#[derive(Default)]
struct Block {
    cluster: Cluster,
    host: String,
    port: Option<Port>,
}

impl Block {
    fn setting(&mut self, field: Field<'_>, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        let cluster = &mut self.cluster;
        match &*field.key() {
            "name" => {
                cluster.name = field.some_text()?;
                if cluster.name.as_ref().is_some_and(|name| name.contains(' ')) {
                    return Err(field.error("cluster name cannot contain spaces"));
                }
            }
            "listen" => (self.host, self.port) = listen(field)?,
            "host" | "net" => self.host = field.text()?.to_owned(),
            "port" => self.port = port(field)?,
            "routes" => cluster.routes = routes(field, problems)?,
            "authorization" => self.authorization(field, problems)?,
            "advertise" | "cluster_advertise" => cluster.advertise = field.some_text()?,
            "no_advertise" => cluster.no_advertise = field.bool()?,
            "connect_retries" => cluster.connect_retries = field.count_or_none()?,
            "connect_backoff" => cluster.connect_backoff = field.bool()?,
            "permissions" => {
                let permissions = authorization::permissions(field, problems)?;
                if permissions.allow_responses.is_some() {
                    let text = "Cluster permissions do not support dynamic responses";
                    return Err(field.error(text));
                }
                cluster.permissions = Some(without_queues(permissions, field)?);
            }
            "pool_size" => {
                cluster.pool_size = match usize::try_from(field.integer()?) {
                    Ok(0) => Some(limits::ROUTE_POOL_SIZE_DEFAULT),
                    size => size.ok(),
                };
            }
            "silence_max" => {
                let default = limits::ROUTE_SILENCE_MAX_DEFAULT;
                let silence = duration_or_seconds(field, default, problems)?;
                cluster.silence_max = silence.max(limits::ROUTE_SILENCE_MAX_MIN);
            }
            "ping_interval" => {
                let longest = limits::ROUTE_PING_INTERVAL_MAX;
                let written = duration_or_seconds(field, longest, problems)?;
                if written > longest {
                    let text = format!(
                        "Cluster 'ping_interval' will reset to {} which is the max for routes",
                        duration::Display(longest)
                    );
                    problems.push(field.node.problem(Severity::Warning, text));
                }
                cluster.ping_interval = written.min(longest);
            }
            "ping_max" => cluster.ping_max = field.count_or(limits::PING_MAX_DEFAULT)?,
            "write_deadline" => {
                let default = limits::WRITE_DEADLINE_DEFAULT;
                cluster.write_deadline = duration_or_seconds(field, default, problems)?;
            }
            "write_timeout" => cluster.write_timeout = write_timeout(field)?,
            "tls" => cluster.tls = Some(tls::read_of_cluster(field, problems)?),
            "accounts" => cluster.accounts = field.texts()?,
            "compression" => cluster.compression = compression(field, problems)?,
            _ => unknown_field(field, problems),
        }
        Ok(())
    }

    /// The one user of the other servers.
    fn authorization(
        &mut self,
        field: Field<'_>,
        problems: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        let mut block = authorization::read(field, problems)?;
        if block.users.is_some() {
            return Err(field.error("Cluster authorization does not allow multiple users"));
        }
        if !block.token.is_empty() {
            return Err(field.error("Cluster authorization does not support tokens"));
        }
        self.cluster.auth_timeout = block.timeout;
        let permissions = block.default_permissions.take();
        let permissions =
            permissions.map(|permissions| without_queues(*permissions, field)).transpose()?;
        if permissions.is_some() {
            let text = "invalid use of field \"authorization\": setting \"permissions\" within \
                        cluster authorization block is deprecated";
            problems.push(field.node.problem(Severity::Warning, text));
        }
        self.cluster.permissions = self.cluster.permissions.take().or(permissions);
        self.cluster.login = block.login(field, problems)?;
        Ok(())
    }
}

/// Refuses queues: they mean nothing between servers, unlike in the permissions of users.
///
/// nats: server/opts.go `checkClusterPermissionSubjects`
fn without_queues(permissions: Permissions, field: Field<'_>) -> Result<Permissions, Problem> {
    let SubjectPermission { allow, deny } = &permissions.subscribe;
    for (list, entries) in [("allow", allow.as_deref().unwrap_or_default()), ("deny", deny)] {
        if let Some(entry) = entries.iter().find(|entry| entry.contains(' ')) {
            let text = format!("cluster export {list}: subject {entry:?} is not a valid subject");
            return Err(field.error(text));
        }
    }
    Ok(permissions)
}

/// The servers to dial. A URL that stands there twice counts once.
///
/// nats-differs: the real server starts with a URL that it can never dial, and logs an error at
/// each attempt.
fn routes(field: Field<'_>, problems: &mut Vec<Problem>) -> Result<Vec<RouteUrl>, Problem> {
    let mut seen = Vec::new();
    let mut routes = Vec::new();
    for node in field.array()? {
        let entry = Field { node, ..field };
        let text = entry.text()?;
        if seen.contains(&text) {
            let text = format!("invalid use of field {text:?}: Duplicate route entry detected");
            problems.push(node.problem(Severity::Warning, text));
            continue;
        }
        seen.push(text);
        match RouteUrl::parse(text) {
            Ok(url) => routes.push(url),
            Err(error) => problems.push(node.error(format!("error parsing route url: {error}"))),
        }
    }
    Ok(routes)
}

/// A mode, a bool, or a map of a mode and its thresholds.
fn compression(field: Field<'_>, problems: &mut Vec<Problem>) -> Result<Compression, Problem> {
    let mut thresholds = Vec::new();
    let mut mode = "accept";
    match &field.node.value {
        Value::Text(text) => mode = text,
        Value::Bool(on) => mode = if *on { "on" } else { "off" },
        Value::Map(map) => {
            for entry in map.fields() {
                match &*entry.key() {
                    "mode" => mode = entry.text()?,
                    "rtt_thresholds" | "thresholds" | "rtts" | "rtt" => {
                        for node in entry.array()? {
                            let text = Field { node, ..entry }.text()?;
                            let ns = duration::parse_ns(text);
                            thresholds.push(ns.map_err(|error| node.error(error.to_string()))?);
                        }
                    }
                    _ => unknown_field(entry, problems),
                }
            }
        }
        value => {
            return Err(field.error(format!(
                "field \"compression\" should be a boolean or a structure, got {}",
                value.kind()
            )));
        }
    }
    Compression::named(mode, &thresholds).map_err(|error| field.error(error.to_string()))
}
