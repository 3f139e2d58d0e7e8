//! The block `cluster`: who forms one subject space with this server.
//!
//! nats: server/opts.go `parseCluster`

use super::authorization;
use super::{duration_or_seconds, listen, port, unknown_field, write_timeout};
use crate::conf::value::{Field, Value};
use crate::conf::{Problem, Severity};
use crate::limits;
use crate::options::{Cluster, Listen, Port};

/// Reads the block. None if it says nowhere to listen: then it does nothing, as in the real
/// server, and a notice says so. What is wrong inside goes to `problems`.
///
/// # Errors
/// It is no map.
pub(super) fn read(
    field: Field<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Cluster>, Problem> {
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
    let Some(listen_port) = block.port else {
        let text = "a cluster without port or listen has no effect";
        problems.push(field.node.problem(Severity::Notice, text));
        return Ok(None);
    };
    let host = super::host_or_default(&block.host);
    block.cluster.listen = Some(Listen { host, port: listen_port });
    Ok(Some(block.cluster))
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
        match field.key().as_str() {
            "name" => {
                cluster.name = field.some_text()?;
                if cluster.name.as_ref().is_some_and(|name| name.contains(' ')) {
                    return Err(field.error("cluster name cannot contain spaces"));
                }
            }
            "listen" => (self.host, self.port) = listen(field)?,
            "host" | "net" => self.host = field.text()?.to_owned(),
            "port" => self.port = port(field)?,
            "routes" => cluster.routes = field.texts()?,
            "authorization" => self.authorization(field, problems)?,
            "advertise" | "cluster_advertise" => cluster.advertise = field.some_text()?,
            "no_advertise" => cluster.no_advertise = field.bool()?,
            "connect_retries" => cluster.connect_retries = field.count_or_none()?,
            "connect_backoff" => cluster.connect_backoff = field.bool()?,
            "permissions" => {
                cluster.permissions = Some(authorization::permissions(field, problems)?);
            }
            "pool_size" => {
                cluster.pool_size = match usize::try_from(field.integer()?) {
                    Ok(0) => Some(limits::ROUTE_POOL_SIZE_DEFAULT),
                    size => size.ok(),
                };
            }
            "ping_interval" => {
                let longest = limits::ROUTE_PING_INTERVAL_MAX;
                cluster.ping_interval = duration_or_seconds(field, longest, problems)?.min(longest);
            }
            "ping_max" => cluster.ping_max = field.count_or(limits::PING_MAX_DEFAULT)?,
            "write_deadline" => {
                let default = limits::WRITE_DEADLINE_DEFAULT;
                cluster.write_deadline = duration_or_seconds(field, default, problems)?;
            }
            "write_timeout" => cluster.write_timeout = write_timeout(field)?,
            "tls" => return Err(field.error("TLS is not supported yet")),
            "accounts" => return Err(field.error("accounts are not supported yet")),
            "compression" => return Err(field.error("compression is not supported yet")),
            _ => unknown_field(field, problems),
        }
        Ok(())
    }

    /// The one user that other servers must know.
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
        self.cluster.permissions = self.cluster.permissions.take().or(permissions);
        self.cluster.login = block.login(field, problems)?;
        Ok(())
    }
}
