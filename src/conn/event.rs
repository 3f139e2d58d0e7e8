//! `conn_event!`: a line of the log about one connection.

/// Logs an event of a connection, with the fields for its address, number, client and user.
macro_rules! conn_event {
    ($level:ident, $conn:expr, $($message:tt)+) => {
        if tracing::enabled!(tracing::Level::$level) {
            let conn: &$crate::conn::Conn = $conn;
            let about = conn.about();
            let label = about.label();
            tracing::event!(
                tracing::Level::$level,
                remote = conn.remote().map(tracing::field::display),
                forwarded = about.forwarded.as_deref(),
                cid = conn.number_as($crate::base::ids::Kind::Client, false),
                wid = conn.number_as($crate::base::ids::Kind::Client, true),
                rid = conn.number_as($crate::base::ids::Kind::Route, false),
                client = label.client,
                account = label.account,
                $($message)+
            );
        }
    };
}

pub(crate) use conn_event;
