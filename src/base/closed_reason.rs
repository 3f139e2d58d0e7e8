//! `ClosedReason`: the reason of a connection's end.
//!
//! nats: server/monitor.go `ClosedState.String`

use std::fmt;

/// The reason of a connection's end. The words are those of `/connz?state=closed`, which
/// [`Server::connz`](crate::Server::connz) gives.
///
/// ```
/// use dialtone::ClosedReason;
///
/// assert_eq!(ClosedReason::SlowConsumerPendingBytes.as_str(), "Slow Consumer (Pending Bytes)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClosedReason {
    /// The other side closed, or asked to.
    ClientClosed,
    /// No CONNECT in time.
    AuthenticationTimeout,
    /// Credentials were refused.
    AuthenticationViolation,
    /// The TLS handshake failed or took too long.
    TlsHandshakeError,
    /// More than `max_pending` bytes waited to be written.
    SlowConsumerPendingBytes,
    /// One write took longer than `write_deadline`.
    SlowConsumerWriteDeadline,
    /// The socket refused a write.
    WriteError,
    /// The socket refused a read.
    ReadError,
    /// The other side reported an error, or sent bytes that cannot be parsed.
    ParseError,
    /// It did not answer PINGs.
    StaleConnection,
    /// It broke the protocol.
    ProtocolViolation,
    /// CONNECT asked for an unknown protocol version.
    BadClientProtocolVersion,
    /// A client on the cluster port, or a route on the client port.
    WrongPort,
    /// The server was full.
    MaxConnectionsExceeded,
    /// The account was full.
    MaxAccountConnectionsExceeded,
    /// A message larger than `max_payload`.
    MaxPayloadExceeded,
    /// A control line longer than `max_control_line`.
    MaxControlLineExceeded,
    /// More subscriptions than the reloaded limit.
    MaxSubscriptionsExceeded,
    /// A second route to the same server.
    DuplicateRoute,
    /// The route was taken out of the configuration.
    RouteRemoved,
    /// This server is stopping.
    ServerShutdown,
    /// Credentials expired.
    AuthenticationExpired,
    /// A gateway on the cluster port.
    WrongGateway,
    /// Its account does not exist any more.
    MissingAccount,
    /// Its credentials were revoked.
    Revocation,
    /// Headers without agreement on them.
    MsgHeaderViolation,
    /// `no_responders` without headers.
    NoRespondersRequiresHeaders,
    /// A route from another cluster.
    ClusterNameConflict,
    /// Two servers with one name in the cluster.
    DuplicateServerName,
    /// An operator closed it by `$SYS.REQ.SERVER.<id>.KICK`.
    Kicked,
    /// It came through a proxy that is not trusted.
    ProxyNotTrusted,
    /// It did not come through a proxy, but must.
    ProxyRequired,
}

impl ClosedReason {
    /// The real server's words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "Client Closed",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::AuthenticationViolation => "Authentication Failure",
            Self::TlsHandshakeError => "TLS Handshake Failure",
            Self::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            Self::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            Self::WriteError => "Write Error",
            Self::ReadError => "Read Error",
            Self::ParseError => "Parse Error",
            Self::StaleConnection => "Stale Connection",
            Self::ProtocolViolation => "Protocol Violation",
            Self::BadClientProtocolVersion => "Bad Client Protocol Version",
            Self::WrongPort => "Incorrect Port",
            Self::MaxConnectionsExceeded => "Maximum Connections Exceeded",
            Self::MaxAccountConnectionsExceeded => "Maximum Account Connections Exceeded",
            Self::MaxPayloadExceeded => "Maximum Message Payload Exceeded",
            Self::MaxControlLineExceeded => "Maximum Control Line Exceeded",
            Self::MaxSubscriptionsExceeded => "Maximum Subscriptions Exceeded",
            Self::DuplicateRoute => "Duplicate Route",
            Self::RouteRemoved => "Route Removed",
            Self::ServerShutdown => "Server Shutdown",
            Self::AuthenticationExpired => "Authentication Expired",
            Self::WrongGateway => "Wrong Gateway",
            Self::MissingAccount => "Missing Account",
            Self::Revocation => "Credentials Revoked",
            Self::MsgHeaderViolation => "Message Header Violation",
            Self::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            Self::ClusterNameConflict => "Cluster Name Conflict",
            Self::DuplicateServerName => "Duplicate Server Name",
            Self::Kicked => "Kicked",
            Self::ProxyNotTrusted => "Proxy Not Trusted",
            Self::ProxyRequired => "Proxy Required",
        }
    }
}

impl fmt::Display for ClosedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
