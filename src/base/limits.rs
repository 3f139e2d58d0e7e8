//! Constants of the protocol and defaults of the options, each with its name and unit.
//!
//! Knows no option that was set, only what holds when none was. The relations between the numbers
//! are asserted at compile time, at the end.
//! nats: server/const.go, server/opts.go `setBaselineOptions`, server/client.go (stall, RTT)

use std::time::Duration;

/// Version of nats-server whose behaviour this server follows. Clients read it in INFO and
/// switch features by it, so it is not the version of this program.
pub const PROTOCOL_VERSION: &str = "2.15.1";

/// `proto` in INFO: 1 means that the server may send INFO again at any time.
pub const PROTO: u8 = 1;

/// Bytes in one unit of the sizes below.
pub const MIB: usize = 1024 * 1024;

// Addresses.

/// Every IPv4 and IPv6 address of the machine, written as the real server writes it.
pub const HOST_DEFAULT: &str = "0.0.0.0";

/// TCP port for clients.
pub const PORT_DEFAULT: u16 = 4222;

/// Path in front of the monitoring endpoints.
pub const HTTP_BASE_PATH_DEFAULT: &str = "/";

// What one client may send.

/// Longest protocol line without its CR LF, bytes.
pub const MAX_CONTROL_LINE_DEFAULT: usize = 4096;

/// Largest payload with its headers, bytes.
pub const MAX_PAYLOAD_DEFAULT: i32 = MIB as i32;

/// Payload limit above which the server warns at start, bytes.
pub const MAX_PAYLOAD_DISCOURAGED: i32 = 8 * MIB as i32;

/// Tokens that `max_sub_tokens` can ask for at most.
pub const MAX_SUB_TOKENS_MAX: usize = u8::MAX as usize;

// What one client may hold.

/// Outbound bytes that may wait for one connection.
pub const MAX_PENDING_DEFAULT: usize = 64 * MIB;

/// Share of `max_pending`, percent, above which publishers to that connection are stalled.
pub const STALL_PENDING_PERCENT: usize = 75;

/// Time after which a connection whose socket takes nothing stalls publishers no more. Not a limit
/// of the real server, where one that never reads delays all others until it is closed.
pub const STALL_PATIENCE: Duration = Duration::from_secs(1);

/// Longest pause of a publisher after one read, for connections above [`STALL_PENDING_PERCENT`].
pub const STALL_PER_READ_MAX: Duration = Duration::from_millis(10);

/// Bytes that count as one read in this: all that the real server reads at once.
pub const STALL_READ_LEN: u64 = 64 * 1024;

/// Most bytes that a socket has to take in that time. The real server writes 1,024 buffers at once,
/// of 512 bytes and more.
pub const WRITE_DEADLINE_LEN: usize = 512 * 1024;

/// Time for one write to make full progress.
pub const WRITE_DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

// Connections.

/// Clients at the same time.
pub const MAX_CONNECTIONS_DEFAULT: usize = 64 * 1024;

/// Closed connections that connz remembers.
pub const MAX_CLOSED_CLIENTS_DEFAULT: usize = 10_000;

/// Subscriptions of an ended connection that are forgotten in one turn of its task, at most a
/// microsecond each. A worker that is alone looks for what has arrived only after 61 turns.
pub const FORGET_COUNT: usize = if cfg!(test) { 2 } else { 256 };

/// Time from accept to a CONNECT that convinces.
pub const AUTH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// Time for a TLS handshake.
pub const TLS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// Time that a login may take longer than a handshake, unless it is set.
pub const AUTH_AFTER_TLS: Duration = Duration::from_secs(1);

/// Time that a client has to begin the handshake, where it may also wait for INFO.
pub const TLS_FIRST_WITHIN: Duration = Duration::from_millis(50);

/// Time for a request to upgrade to WebSocket.
pub const WEBSOCKET_HANDSHAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// Authentication timeout above which the server warns at start.
pub const AUTH_TIMEOUT_DISCOURAGED: Duration = Duration::from_secs(60);

/// Time for a server that stops to say what it still has to say.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(3);

/// First and longest pause of the accept loop when the process runs out of descriptors.
pub const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
/// See [`ACCEPT_PAUSE_MIN`].
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

// Liveness.

/// Time between two PINGs of the server.
pub const PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(2 * 60);

/// PINGs without PONG before a connection is stale.
pub const PING_MAX_DEFAULT: usize = 2;

/// Longest time from CONNECT to the first PING, which measures the RTT early.
pub const FIRST_PING_MAX: Duration = Duration::from_secs(2);

/// Random share, percent, that is added to the first PING's time so that PINGs spread.
pub const FIRST_PING_JITTER_PERCENT: u32 = 20;

/// Age at which a measured RTT is measured again although the client is active.
pub const RTT_AGE_MAX: Duration = Duration::from_secs(60 * 60);

// Permissions.

/// Publications that `allow_responses: true` grants per request.
pub const ALLOW_RESPONSES_MAX_DEFAULT: i64 = 1;

/// Time for which `allow_responses: true` grants them.
pub const ALLOW_RESPONSES_EXPIRES_DEFAULT: Duration = Duration::from_secs(2 * 60);

// Services.

/// Time to wait for an answer of an exported service.
pub const RESPONSE_THRESHOLD_DEFAULT: Duration = Duration::from_secs(2 * 60);

// Lame duck mode.

/// Time over which lame duck mode spreads the closing of clients, grace period included.
pub const LAME_DUCK_DURATION_DEFAULT: Duration = Duration::from_secs(2 * 60);

/// Shortest `lame_duck_duration`.
pub const LAME_DUCK_DURATION_MIN: Duration = Duration::from_secs(30);

/// Time from entering lame duck mode to the first closed client.
pub const LAME_DUCK_GRACE_PERIOD_DEFAULT: Duration = Duration::from_secs(10);

// Cluster.

/// Account of the servers themselves, which have a connection of its own between each other.
pub const SYSTEM_ACCOUNT: &str = "$SYS";

/// Account of all users without another one.
pub const GLOBAL_ACCOUNT: &str = "$G";

/// Connections to each other server.
pub const ROUTE_POOL_SIZE_DEFAULT: usize = 3;

/// Connections of a pool at most, whatever both servers want. Not a limit of the real server.
pub const ROUTE_POOL_SIZE_MAX: usize = 256;

/// Time for another server to accept a connection.
pub const ROUTE_CONNECT_MAX: Duration = Duration::from_secs(1);

/// Time for the name of another server to be resolved.
pub const ROUTE_RESOLVE_MAX: Duration = Duration::from_secs(5);

/// Time without a sign of another server's machine after which the connection to it is dead. Half
/// of it may pass before the kernel asks for such a sign.
pub const ROUTE_SILENCE_MAX_DEFAULT: Duration = Duration::from_secs(6);

/// Shortest such time: the kernel counts in seconds.
pub const ROUTE_SILENCE_MAX_MIN: Duration = Duration::from_secs(2);

/// Time between two such questions.
pub const ROUTE_PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time between two PINGs on a route.
pub const ROUTE_PING_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Factor of `max_pending` for a route's queue. Not a limit of the real server, where that queue
/// has none.
pub const ROUTE_PENDING_FACTOR: usize = 4;

/// Bytes of requests that may wait for the server's own services; beyond, they are dropped.
pub const REQUESTS_PENDING_MAX: usize = 4 * 1024 * 1024;

/// Pause before an address of the configuration is dialled again.
pub const ROUTE_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Longest such pause where pauses grow.
pub const ROUTE_RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Random time on top, so that two servers do not dial each other at the same moment again.
pub const ROUTE_RETRY_JITTER: Duration = Duration::from_millis(100);

/// Attempts to reach a server known only by gossip, at least: about three minutes. Not a limit of
/// the real server, which gives up after `connect_retries` and one.
pub const IMPLICIT_ATTEMPTS_MIN: u64 = 10;

/// Interest of another server in accounts that do not exist here, in lines: it is kept until they
/// do. If there was more, the connection is made anew then.
pub const UNLISTED_MAX: usize = if cfg!(test) { 64 } else { 65_536 };

/// Connections to other servers, all together. Not a limit of the real server. Enough for a cluster
/// of a thousand with a pool each.
pub const ROUTES_MAX: usize = if cfg!(test) { 64 } else { 4_096 };

/// Addresses of another server that clients get, and the bytes of one. Not limits of the
/// real server.
pub const CONNECT_URLS_MAX: usize = 64;
/// See [`CONNECT_URLS_MAX`].
pub const CONNECT_URL_LEN_MAX: usize = 512;

/// Own addresses that are not dialled again. Not a limit of the real server.
pub const OWN_ADDRESSES_MAX: usize = 64;

/// Addresses of a name that are tried for one dial, chosen anew for the next. The real server tries
/// one.
pub const ROUTE_ADDRESSES_MAX: usize = 8;

/// Servers known only by gossip that are remembered at the same time. Not a limit of the real
/// server, nor are the next four.
pub const IMPLICIT_MAX: usize = 1_024;

/// Dials to such servers under way at the same time.
pub const IMPLICIT_DIALS_MAX: usize = 32;

/// Time between two dials to such servers, once [`IMPLICIT_BURST`] went out at once.
pub const IMPLICIT_PAUSE: Duration = Duration::from_millis(100);

/// Dials to such servers that go out at once: all connections of a small cluster.
pub const IMPLICIT_BURST: u32 = 32;

/// Time for such a server to say who it is: who says nothing keeps a dial from others.
pub const IMPLICIT_PATIENCE: Duration = Duration::from_secs(5);

/// Accepted connections that have not said yet which server is behind them. Not a limit of the real
/// server. Enough for 256 servers that come back at once, each with its four connections.
pub const ROUTE_NEWCOMERS_MAX: usize = 1_024;

/// Time for which a second connection in the same place is kept, in case the first one ends.
pub const ROUTE_SPARE_MAX: Duration = Duration::from_secs(1);

/// Time from registration to the first PING on a route.
pub const ROUTE_FIRST_PING: Duration = Duration::from_secs(1);

/// Factor of `max_control_line` for lines between servers.
pub const ROUTE_CONTROL_LINE_FACTOR: usize = 16;

/// Least value for the longest message between servers, which is `max_pending`: other servers may
/// let their clients publish more than this one. Not a limit of the real server.
pub const ROUTE_PAYLOAD_MAX_MIN: usize = MAX_PENDING_DEFAULT;

/// `proto` in INFO between servers: from 2 on RS+ and RMSG name accounts; from 3 on the server
/// traces messages.
pub const ROUTE_PROTO: u8 = TRACES_PROTO;

/// The least `proto` of a server that traces messages.
pub const TRACES_PROTO: u8 = 3;

// A full payload must fit into the queue of its receiver, else it could never be delivered.
const _: () = assert!((MAX_PAYLOAD_DEFAULT as usize) < MAX_PENDING_DEFAULT);
const _: () = assert!(MAX_PAYLOAD_DEFAULT < MAX_PAYLOAD_DISCOURAGED);
const _: () = assert!((MAX_PAYLOAD_DISCOURAGED as usize) < MAX_PENDING_DEFAULT);
const _: () = assert!(0 < STALL_PENDING_PERCENT && STALL_PENDING_PERCENT < 100);
// A stalled publisher looks again several times before it gives up on the connection.
const _: () = assert!(STALL_PER_READ_MAX.as_millis() * 10 <= STALL_PATIENCE.as_millis());
const _: () = assert!(STALL_PATIENCE.as_millis() < WRITE_DEADLINE_DEFAULT.as_millis());
const _: () = assert!(ACCEPT_PAUSE_MIN.as_millis() < ACCEPT_PAUSE_MAX.as_millis());
const _: () = assert!(AUTH_TIMEOUT_DEFAULT.as_secs() < AUTH_TIMEOUT_DISCOURAGED.as_secs());
// An unanswered PING is noticed only if there is one before the connection counts as stale.
const _: () = assert!(PING_MAX_DEFAULT >= 1);
const _: () = assert!(FIRST_PING_MAX.as_secs() <= PING_INTERVAL_DEFAULT.as_secs());
const _: () = assert!(PING_INTERVAL_DEFAULT.as_secs() < RTT_AGE_MAX.as_secs());
const _: () = assert!(LAME_DUCK_DURATION_MIN.as_secs() <= LAME_DUCK_DURATION_DEFAULT.as_secs());
// The grace period is a part of the shortest duration too.
const _: () = assert!(LAME_DUCK_GRACE_PERIOD_DEFAULT.as_secs() < LAME_DUCK_DURATION_MIN.as_secs());
const _: () = assert!(ROUTE_POOL_SIZE_DEFAULT <= ROUTE_POOL_SIZE_MAX);
// The kernel asks more than once before a route counts as dead.
const _: () = assert!(
    ROUTE_PROBE_INTERVAL.as_secs() * 2 < ROUTE_SILENCE_MAX_DEFAULT.as_secs() / 2
        && ROUTE_SILENCE_MAX_MIN.as_secs() / 2 >= 1
);
