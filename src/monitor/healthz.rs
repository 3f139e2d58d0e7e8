//! `/healthz`: shows whether the server accepts clients.
//!
//! The answer is one line. Parameters about JetStream change nothing.
//! nats: server/monitor.go `HandleHealthz`, `healthz`

use crate::monitor::params::Params;
use crate::monitor::{Answer, OK, QueryError, View};

const UNHEALTHY: u16 = 500;

const FLAGS: [&str; 5] =
    ["js-enabled", "js-enabled-only", "js-server-only", "js-meta-only", "details"];

/// Reports good health, or lame duck mode.
///
/// # Errors
/// [`QueryError`] for a parameter that is no flag.
pub fn healthz(view: &View<'_>, params: &Params) -> Result<Answer<'static>, QueryError> {
    for flag in FLAGS {
        params.bool(flag)?;
    }
    let (status, body) = if view.registry.info().ldm {
        let error = "failed to be ready for connections after 1ms: server";
        (UNHEALTHY, format!(r#"{{"status":"error","error":"{error}"}}"#))
    } else {
        (OK, r#"{"status":"ok"}"#.to_owned())
    };
    Ok(Answer::json(status, body))
}
