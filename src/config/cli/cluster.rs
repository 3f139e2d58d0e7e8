//! The flags of a cluster, and their effect on the block of the configuration file.
//!
//! nats: server/opts.go `overrideCluster`, `RoutesFromStr`

use crate::base::limits;
use crate::config::cli::flag::{Effect, Flag};
use crate::config::options::{Cluster, Listen, Login, Port};
use crate::config::route_url::{RouteUrl, RouteUrlError};

/// In the order of the help.
pub(super) static FLAGS: [Flag<Effect>; 6] = [
    Flag {
        names: &["--cluster", "--cluster_listen"],
        argument: "URL",
        help: "nats://[USER:PASSWORD@]HOST:PORT for other servers\n\
               (-1 any free port; empty: no cluster)",
        effect: Effect::Url(|overlay, url| listen(url, &mut overlay.cluster)),
    },
    Flag {
        names: &["--cluster_name"],
        argument: "NAME",
        help: "name that all its servers share (default: generated)",
        effect: Effect::Text(|overlay, name| replace(&mut overlay.cluster.name, name)),
    },
    Flag {
        names: &["--routes"],
        argument: "URL,...",
        help: "other servers to connect to, nats://HOST:PORT",
        effect: Effect::Url(|overlay, urls| {
            overlay.has_routes = !urls.is_empty();
            let urls = urls.split(',').filter(|url| !url.trim().is_empty());
            let read: Result<_, RouteUrlError> = urls.map(RouteUrl::parse).collect();
            // nats-differs: the real server starts with URLs that it can never dial.
            overlay.cluster.routes = read.map_err(|error| error.to_string())?;
            Ok(())
        }),
    },
    Flag {
        names: &["--cluster_advertise"],
        argument: "HOST[:PORT]",
        help: "address that other servers are told",
        effect: Effect::Text(|overlay, address| replace(&mut overlay.cluster.advertise, address)),
    },
    Flag {
        names: &["--no_advertise"],
        argument: "",
        help: "keep client addresses from the other servers",
        effect: Effect::Switch(|overlay, on| overlay.cluster.no_advertise = on),
    },
    Flag {
        names: &["--connect_retries"],
        argument: "N",
        help: "further attempts to reach a server heard of (default 0)",
        effect: Effect::Number(|overlay, count| {
            overlay.cluster.connect_retries = usize::try_from(count).unwrap_or(0);
        }),
    },
];

/// The block, changed by flags. A block without an address to listen on is no cluster.
///
/// # Errors
/// Flags name routes, but there is no cluster.
pub(super) fn finish(cluster: Cluster, has_routes: bool) -> Result<Option<Cluster>, String> {
    if has_routes && cluster.listen.is_none() {
        return Err("solicited routes require cluster capabilities, e.g. --cluster".to_owned());
    }
    Ok(Some(cluster).filter(|cluster| cluster.listen.is_some()))
}

/// An empty value changes nothing.
fn replace(field: &mut Option<String>, value: &str) {
    if !value.is_empty() {
        *field = Some(value.to_owned());
    }
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
