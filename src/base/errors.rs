//! `ProtoErr`: an error of the other side.
//!
//! Errors are data. One place makes their text, [`ProtoErr::write_err`], and one place decides
//! whether they close the connection, [`ProtoErr::closes`]. Clients match on the texts, so they
//! are the real server's byte for byte.
//! nats: server/client.go `sendErr`, `closeConnection`

use std::fmt;

use crate::base::closed_reason::ClosedReason;
use crate::base::quoted::Quoted;

/// The other side broke the protocol, its permissions or a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtoErr {
    /// Unknown verb, or other bytes in place of a frame's end.
    UnknownOp,
    /// Wrong number or form of arguments to the named verb. Closes without an `-ERR` line.
    Arguments(&'static str),
    /// HPUB without agreement on headers. Closes without an `-ERR` line.
    HeadersNotSupported,
    /// The client itself sent an `-ERR` line. Closes without an answer.
    ErrReceived,
    /// Bad or missing credentials, or a first verb other than CONNECT where they are required.
    AuthorizationViolation,
    /// No CONNECT in time.
    AuthenticationTimeout,
    /// The server is at its limit of connections.
    MaxConnections,
    /// The account is at its limit of connections.
    MaxAccountConnections,
    /// Too many handshakes have begun in this second.
    TooManyHandshakes,
    /// The connection or account is at its limit of subscriptions. Stays open.
    MaxSubscriptions,
    /// More subscriptions than a new limit of the account.
    SurplusSubscriptions,
    /// A control line longer than `max_control_line`.
    MaxControlLine,
    /// A declared size above `max_payload`.
    MaxPayload,
    /// CONNECT with a `protocol` other than 0 and 1.
    InvalidProtocol,
    /// CONNECT with `no_responders` without agreement on headers.
    NoRespondersRequiresHeaders,
    /// Too many PINGs without an answer.
    StaleConnection,
    /// A client on the cluster port.
    RoutePort,
    /// SUB with an invalid subject. Stays open.
    InvalidSubject,
    /// RS+ with an invalid subject. Stays open.
    InvalidSubscription,
    /// PUB to a wildcard or an invalid subject, pedantic only. The message goes out all the
    /// same.
    InvalidPublishSubject,
    /// Not permitted. Stays open.
    Denied(Box<Denied>),
    /// Another server that cannot join this one.
    Route(Box<RouteErr>),
    /// Closes for this reason, without an `-ERR` line.
    Refused(ClosedReason),
}

/// The reason why a route to another server is impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteErr {
    /// CONNECT names another cluster.
    ClusterName {
        /// In the CONNECT.
        theirs: Box<str>,
        /// Of this server.
        ours: Box<str>,
    },
    /// CONNECT comes from a gateway with this name.
    Gateway(Box<str>),
    /// INFO asks for an unknown compression.
    Compression(Box<str>),
    /// INFO of the dialling server has an index outside of the pool.
    PoolIndex {
        /// The index.
        index: i64,
        /// Its own pool size.
        pool_size: i64,
    },
    /// INFO of the dialled server has an index of its own.
    PoolIndexSet(i64),
    /// The dedicated account does not exist here.
    AccountMissing(Box<str>),
    /// The dedicated account has no connection of its own here.
    NoRouteForAccount(Box<str>),
    /// Dedicated accounts need a pool on both sides.
    NotDedicated(Box<str>),
}

/// A refused subject, and its use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// PUB to `subject`.
    Publish {
        /// Published subject.
        subject: Box<[u8]>,
    },
    /// PUB with a reserved reply subject.
    PublishReply {
        /// Reply subject.
        reply: Box<[u8]>,
    },
    /// SUB to `subject`.
    Subscribe {
        /// Subject of the subscription.
        subject: Box<[u8]>,
        /// Queue name, if it is a queue subscription.
        queue: Option<Box<[u8]>>,
    },
    /// SUB to `subject`, in the past: the permission is gone, and with it the subscription.
    Withdrawn {
        /// Subject of the subscription.
        subject: Box<[u8]>,
        /// Queue name, if it is a queue subscription.
        queue: Option<Box<[u8]>>,
        /// The client's name for it.
        sid: Box<[u8]>,
    },
    /// SUB to a subject of more than `max_sub_tokens` tokens.
    TooManyTokens {
        /// Subject of the subscription.
        subject: Box<[u8]>,
    },
}

impl From<Denied> for ProtoErr {
    fn from(denied: Denied) -> Self {
        Self::Denied(Box::new(denied))
    }
}

impl From<RouteErr> for ProtoErr {
    fn from(err: RouteErr) -> Self {
        Self::Route(Box::new(err))
    }
}

impl ProtoErr {
    /// The reason to close the connection, or `None` if it stays open.
    #[must_use]
    pub fn closes(&self) -> Option<ClosedReason> {
        use ClosedReason as R;
        match self {
            Self::UnknownOp | Self::Arguments(_) | Self::HeadersNotSupported => {
                Some(R::ProtocolViolation)
            }
            Self::ErrReceived => Some(R::ParseError),
            Self::AuthorizationViolation => Some(R::AuthenticationViolation),
            Self::AuthenticationTimeout => Some(R::AuthenticationTimeout),
            Self::MaxConnections | Self::TooManyHandshakes => Some(R::MaxConnectionsExceeded),
            Self::MaxAccountConnections => Some(R::MaxAccountConnectionsExceeded),
            Self::SurplusSubscriptions => Some(R::MaxSubscriptionsExceeded),
            Self::MaxControlLine => Some(R::MaxControlLineExceeded),
            Self::MaxPayload => Some(R::MaxPayloadExceeded),
            Self::InvalidProtocol => Some(R::BadClientProtocolVersion),
            Self::NoRespondersRequiresHeaders => Some(R::NoRespondersRequiresHeaders),
            Self::StaleConnection => Some(R::StaleConnection),
            Self::RoutePort => Some(R::WrongPort),
            Self::Route(err) => Some(match **err {
                RouteErr::ClusterName { .. } => R::ClusterNameConflict,
                RouteErr::Gateway(_) => R::WrongGateway,
                RouteErr::AccountMissing(_) => R::MissingAccount,
                RouteErr::Compression(_)
                | RouteErr::PoolIndex { .. }
                | RouteErr::PoolIndexSet(_)
                | RouteErr::NoRouteForAccount(_)
                | RouteErr::NotDedicated(_) => R::ProtocolViolation,
            }),
            Self::Refused(reason) => Some(*reason),
            Self::MaxSubscriptions
            | Self::InvalidSubject
            | Self::InvalidSubscription
            | Self::InvalidPublishSubject
            | Self::Denied(_) => None,
        }
    }

    /// True if the client gets no `-ERR` line.
    pub fn is_silent(&self) -> bool {
        matches!(
            self,
            Self::Arguments(_) | Self::HeadersNotSupported | Self::ErrReceived | Self::Refused(_)
        )
    }

    /// Appends the `-ERR '<text>'` line with its CRLF; nothing for the errors that close in
    /// silence.
    pub fn write_err(&self, out: &mut Vec<u8>) {
        if self.is_silent() {
            return;
        }
        out.extend_from_slice(b"-ERR '");
        out.extend_from_slice(self.to_string().as_bytes());
        out.extend_from_slice(b"'\r\n");
    }
}

impl fmt::Display for ProtoErr {
    /// The text between the quotes of the `-ERR` line; for silent errors, a text for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownOp => "Unknown Protocol Operation",
            Self::Arguments(verb) => return write!(f, "bad arguments to {verb}"),
            Self::HeadersNotSupported => "message headers not supported",
            Self::ErrReceived => "client sent -ERR",
            Self::AuthorizationViolation => "Authorization Violation",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::MaxConnections => "maximum connections exceeded",
            Self::MaxAccountConnections => "maximum account active connections exceeded",
            Self::TooManyHandshakes => "Connection throttling is active. Please try again later.",
            Self::MaxSubscriptions | Self::SurplusSubscriptions => "maximum subscriptions exceeded",
            Self::MaxControlLine => "maximum control line exceeded",
            Self::MaxPayload => "Maximum Payload Violation",
            Self::InvalidProtocol => "invalid client protocol",
            Self::NoRespondersRequiresHeaders => "no responders requires headers support",
            Self::StaleConnection => "Stale Connection",
            Self::RoutePort => "attempted to connect to route port",
            Self::InvalidSubject => "Invalid Subject",
            Self::InvalidSubscription => "Invalid Subscription",
            Self::InvalidPublishSubject => "Invalid Publish Subject",
            Self::Denied(denied) => return denied.fmt(f),
            Self::Route(err) => return err.fmt(f),
            Self::Refused(reason) => reason.as_str(),
        })
    }
}

impl fmt::Display for RouteErr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text| Quoted(str::as_bytes(text));
        match self {
            Self::ClusterName { theirs, ours } => write!(
                f,
                "Rejecting connection, cluster name {} does not match {}",
                quoted(theirs),
                quoted(ours)
            ),
            Self::Gateway(name) => {
                write!(f, "Rejecting connection from gateway {} on the Route port", quoted(name))
            }
            Self::Compression(mode) => {
                write!(f, "unsupported route compression mode {}", quoted(mode))
            }
            Self::PoolIndex { index, pool_size } => {
                write!(f, "Invalid route pool index: {index} - pool size is {pool_size}")
            }
            Self::PoolIndexSet(index) => {
                write!(f, "Route pool index should not be set but is set to {index}")
            }
            Self::AccountMissing(name) => {
                write!(f, "Unable to lookup account {}: account missing", quoted(name))
            }
            Self::NoRouteForAccount(name) => write!(f, "No route for account {}", quoted(name)),
            Self::NotDedicated(name) => write!(
                f,
                "Not possible to have a dedicated route for account {} between those servers",
                quoted(name)
            ),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permissions Violation for ")?;
        match self {
            Self::Publish { subject } => write!(f, "Publish to {}", Quoted(subject)),
            Self::PublishReply { reply } => write!(f, "Publish with Reply of {}", Quoted(reply)),
            Self::TooManyTokens { subject } => {
                write!(f, "Subscription to {}, too many tokens", Quoted(subject))
            }
            Self::Subscribe { subject, queue } => write_subscription(f, subject, queue.as_deref()),
            Self::Withdrawn { subject, queue, sid } => {
                write_subscription(f, subject, queue.as_deref())?;
                write!(f, " (sid {})", Quoted(sid))
            }
        }
    }
}

fn write_subscription(
    f: &mut fmt::Formatter<'_>,
    subject: &[u8],
    queue: Option<&[u8]>,
) -> fmt::Result {
    write!(f, "Subscription to {}", Quoted(subject))?;
    match queue {
        Some(queue) => write!(f, " using queue {}", Quoted(queue)),
        None => Ok(()),
    }
}

impl std::error::Error for ProtoErr {}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(err: &ProtoErr) -> String {
        let mut out = Vec::new();
        err.write_err(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn bytes(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn an_error_is_one_line_and_says_whether_it_closes() {
        assert_eq!(line(&ProtoErr::UnknownOp), "-ERR 'Unknown Protocol Operation'\r\n");
        assert_eq!(ProtoErr::UnknownOp.closes(), Some(ClosedReason::ProtocolViolation));
        assert_eq!(line(&ProtoErr::InvalidSubject), "-ERR 'Invalid Subject'\r\n");
        assert_eq!(ProtoErr::InvalidSubject.closes(), None);
    }

    #[test]
    fn silent_errors_close_without_a_line() {
        assert_eq!(line(&ProtoErr::Arguments("SUB")), "");
        assert_eq!(ProtoErr::Arguments("SUB").closes(), Some(ClosedReason::ProtocolViolation));
        assert_eq!(line(&ProtoErr::ErrReceived), "");
        assert_eq!(ProtoErr::ErrReceived.closes(), Some(ClosedReason::ParseError));
    }

    /// The real server sent these lines to raw connections on its cluster port.
    #[test]
    fn routes_that_do_not_fit() {
        use ClosedReason as R;
        let text = |text: &str| text.into();
        for (err, line, reason) in [
            (
                RouteErr::ClusterName { theirs: text("Y"), ours: text("X") },
                "Rejecting connection, cluster name \"Y\" does not match \"X\"",
                R::ClusterNameConflict,
            ),
            (
                RouteErr::Gateway(text("G")),
                "Rejecting connection from gateway \"G\" on the Route port",
                R::WrongGateway,
            ),
            (
                RouteErr::Compression(text("zstd")),
                "unsupported route compression mode \"zstd\"",
                R::ProtocolViolation,
            ),
            (
                RouteErr::PoolIndex { index: 3, pool_size: 3 },
                "Invalid route pool index: 3 - pool size is 3",
                R::ProtocolViolation,
            ),
            (
                RouteErr::PoolIndexSet(1),
                "Route pool index should not be set but is set to 1",
                R::ProtocolViolation,
            ),
            (
                RouteErr::AccountMissing(text("FOO")),
                "Unable to lookup account \"FOO\": account missing",
                R::MissingAccount,
            ),
            (
                RouteErr::NoRouteForAccount(text("$G")),
                "No route for account \"$G\"",
                R::ProtocolViolation,
            ),
            (
                RouteErr::NotDedicated(text("$SYS")),
                "Not possible to have a dedicated route for account \"$SYS\" between those servers",
                R::ProtocolViolation,
            ),
        ] {
            let err = ProtoErr::from(err);
            assert_eq!(self::line(&err), format!("-ERR '{line}'\r\n"));
            assert_eq!(err.closes(), Some(reason));
        }
        let silent = ProtoErr::Refused(R::DuplicateRoute);
        assert_eq!(
            (self::line(&silent), silent.closes()),
            (String::new(), Some(R::DuplicateRoute))
        );
    }

    #[test]
    fn refused_subjects_are_quoted() {
        let denied = |denied: Denied| line(&denied.into());
        assert_eq!(
            denied(Denied::Publish { subject: bytes("a\"b\\c") }),
            "-ERR 'Permissions Violation for Publish to \"a\\\"b\\\\c\"'\r\n"
        );
        assert_eq!(
            denied(Denied::PublishReply { reply: bytes("_R_.abc") }),
            "-ERR 'Permissions Violation for Publish with Reply of \"_R_.abc\"'\r\n"
        );
        assert_eq!(
            denied(Denied::TooManyTokens { subject: bytes("a.b.c.d") }),
            "-ERR 'Permissions Violation for Subscription to \"a.b.c.d\", too many tokens'\r\n"
        );
        let (subject, queue, sid) = (bytes("y"), Some(bytes("q")), bytes("5"));
        assert_eq!(
            denied(Denied::Withdrawn { subject, queue, sid }),
            concat!(
                "-ERR 'Permissions Violation for Subscription to ",
                "\"y\" using queue \"q\" (sid \"5\")'\r\n"
            )
        );
        assert_eq!(
            denied(Denied::Subscribe { subject: bytes("a"), queue: Some(bytes("q")) }),
            "-ERR 'Permissions Violation for Subscription to \"a\" using queue \"q\"'\r\n"
        );
    }
}
