//! The flags of a cluster, and what they make of the block of the configuration file.
//!
//! nats: server/opts.go `overrideCluster`, `RoutesFromStr`

use crate::base::limits;
use crate::config::cli::{CliError, Flag, Words};
use crate::config::options::{Cluster, Listen, Login, Port};
use crate::config::route_url::{RouteUrl, RouteUrlError};

/// One flag with its value.
#[derive(Clone, PartialEq)]
pub(super) enum Override {
    /// `nats://[user:password@]host:port`; empty means no cluster.
    Listen(String),
    Name(String),
    Advertise(String),
    NoAdvertise(bool),
    ConnectRetries(i64),
    /// URLs with commas between them; empty means none.
    Routes(String),
}

/// Reads the flag if it is one of a cluster.
pub(super) fn flag<'a>(
    flag: Flag<'a>,
    words: &mut Words<'a>,
) -> Result<Option<Override>, CliError> {
    Ok(Some(match flag.name {
        "cluster" | "cluster_listen" => Override::Listen(words.text(flag)?),
        "cluster_name" => Override::Name(words.text(flag)?),
        "cluster_advertise" => Override::Advertise(words.text(flag)?),
        "no_advertise" => Override::NoAdvertise(flag.bool()?),
        "connect_retries" => Override::ConnectRetries(words.integer(flag)?),
        "routes" => Override::Routes(words.text(flag)?),
        _ => return Ok(None),
    }))
}

/// Lays the flags over the block of the file, in their order. What listens nowhere is no cluster.
///
/// # Errors
/// The first thing that does not fit, in the real server's words.
pub(super) fn apply<'a>(
    flags: impl Iterator<Item = &'a Override>,
    block: &mut Option<Cluster>,
) -> Result<(), String> {
    let mut cluster = block.take().unwrap_or_default();
    let mut routes = "";
    for flag in flags {
        match flag {
            Override::Listen(url) => listen(url, &mut cluster)?,
            Override::Name(name) if name.is_empty() => {}
            Override::Name(name) => cluster.name = Some(name.clone()),
            Override::Advertise(address) if address.is_empty() => {}
            Override::Advertise(address) => cluster.advertise = Some(address.clone()),
            Override::NoAdvertise(on) => cluster.no_advertise = *on,
            Override::ConnectRetries(count) => {
                cluster.connect_retries = usize::try_from(*count).unwrap_or(0);
            }
            Override::Routes(urls) => {
                routes = urls;
                let urls = urls.split(',').filter(|url| !url.trim().is_empty());
                let read: Result<_, RouteUrlError> = urls.map(RouteUrl::parse).collect();
                // nats-differs: the real server starts with URLs that it can never dial.
                cluster.routes = read.map_err(|error| error.to_string())?;
            }
        }
    }
    if cluster.listen.is_some() {
        *block = Some(cluster);
    } else if !routes.is_empty() {
        return Err("solicited routes require cluster capabilities, e.g. --cluster".to_owned());
    }
    Ok(())
}

fn listen(url: &str, cluster: &mut Cluster) -> Result<(), String> {
    cluster.listen = None;
    if url.is_empty() {
        return Ok(());
    }
    let (url, any_port) = match url.strip_suffix(":-1") {
        Some(front) => (format!("{front}:0"), true),
        None => (url.to_owned(), false),
    };
    let url = RouteUrl::parse(&url).map_err(|error| error.to_string())?;
    cluster.login = match url.login {
        None => Login::Open,
        Some(login) => {
            let password = login.password.ok_or("expected cluster password to be set")?;
            Login::Single { user: login.user, password }
        }
    };
    let port = match url.port {
        _ if any_port => Port::Free,
        0 => return Ok(()),
        number => Port::Number(number),
    };
    let host = if url.host.is_empty() { limits::HOST_DEFAULT.to_owned() } else { url.host };
    cluster.listen = Some(Listen { host, port });
    Ok(())
}
