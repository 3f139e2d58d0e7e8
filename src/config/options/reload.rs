//! The comparison of options in force with new ones: the changes that a running server takes over,
//! as the log reports them, and those that it cannot.
//!
//! In the order of the real server's fields, and under their names.
//! nats: server/reload.go `diffOptions`, `validateClusterOpts`

use std::fmt::{self, Display};
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use crate::base::duration;
use crate::config::options::Options;
use crate::config::options::authorization::{Login, User};
use crate::config::options::cluster::Cluster;
use crate::config::options::listen::{Listen, Port};
use crate::config::options::syslog::SyslogUrl;
use crate::config::options::tls::{HandshakeFirst, Tls};
use crate::config::options::websocket::Websocket;
use crate::config::options::write_timeout::WriteTimeout;

/// A change that a running server cannot take over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotReloadable {
    /// The setting, as the real server calls its field.
    pub name: &'static str,
    /// Its value in force.
    pub old: String,
    /// Its new value.
    pub new: String,
}

impl Display for NotReloadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotReloadable { name, old, new } = self;
        write!(f, "config reload not supported for {name}: old={old}, new={new}")
    }
}

impl std::error::Error for NotReloadable {}

impl Options {
    /// Compares these options with new ones. Returns a line of the log for each change that a
    /// running server takes over. Those about users and accounts always come, and those about
    /// certificates if there are some: their files are read anew.
    ///
    /// # Errors
    /// The first change that it cannot take over.
    pub(crate) fn changes(&self, new: &Options) -> Result<Vec<String>, NotReloadable> {
        let mut changes = Changes { old: self, new, lines: Vec::new() };
        changes.names()?;
        changes.log_level()?;
        changes.users()?;
        changes.limits()?;
        changes.blocks()?;
        changes.files()?;
        changes.encryption()?;
        changes.times()?;
        Ok(changes.lines)
    }
}

/// A comparison under way.
struct Changes<'a> {
    old: &'a Options,
    new: &'a Options,
    lines: Vec<String>,
}

impl<'a> Changes<'a> {
    /// Reports a change of a value that a running server can change.
    fn free<T: PartialEq>(
        &mut self,
        of: impl Fn(&'a Options) -> T,
        line: impl FnOnce(T) -> String,
    ) {
        let new = of(self.new);
        if of(self.old) != new {
            self.lines.push(line(new));
        }
    }

    /// The same, with a line of the usual form.
    fn named<T: PartialEq + Display>(&mut self, name: &str, of: impl Fn(&'a Options) -> T) {
        self.free(of, |new| format!("Reloaded: {name} = {new}"));
    }

    /// Refuses a change of a value that a running server cannot change.
    fn fixed<T: PartialEq + Display>(
        &self,
        name: &'static str,
        of: impl Fn(&'a Options) -> T,
    ) -> Result<(), NotReloadable> {
        let (old, new) = (of(self.old), of(self.new));
        if old == new {
            return Ok(());
        }
        Err(NotReloadable { name, old: old.to_string(), new: new.to_string() })
    }

    fn names(&mut self) -> Result<(), NotReloadable> {
        self.fixed("ServerName", |options| text(&options.server_name))?;
        self.fixed("Host", |options| &*options.host)?;
        self.fixed("Port", |options| number(options.port))?;
        self.fixed("DontListen", |options| options.no_listener)?;
        let line = |address| format!("Reload: client_advertise = {address}");
        self.free(|options| text(&options.client_advertise), line);
        Ok(())
    }

    fn log_level(&mut self) -> Result<(), NotReloadable> {
        self.named("trace", |options| options.log.trace);
        self.named("debug", |options| options.log.debug);
        self.named("trace_verbose", |options| options.log.trace_verbose);
        self.named("trace_headers", |options| options.log.trace_headers);
        self.fixed("NoHeaderSupport", |options| options.no_header_support)?;
        self.named("logtime", |options| options.log.logtime);
        self.named("logtime_utc", |options| options.log.logtime_utc);
        self.named("max_connections", |options| options.max_connections);
        self.fixed("MaxSubs", |options| options.max_subscriptions)?;
        self.fixed("MaxSubTokens", |options| options.max_sub_tokens)
    }

    fn users(&mut self) -> Result<(), NotReloadable> {
        self.free(nkey_users, |_| "Reloaded: authorization nkey users".to_owned());
        self.lines.push("Reloaded: authorization users".to_owned());
        self.lines.push("Reloaded: accounts".to_owned());
        self.no_auth_user()?;
        // The default may be named, or left to itself.
        if self.old.system_account() != self.new.system_account() {
            self.fixed("SystemAccount", |options| text(&options.system_account))?;
        }
        self.fixed("NoSystemAccount", |options| options.no_system_account)?;
        let line = |what: &str| format!("Reloaded: authorization {what}");
        self.free(|options| single(options).map(|(user, _)| user), |_| line("username"));
        self.free(|options| single(options).map(|(_, password)| password), |_| line("password"));
        self.free(token, |_| line("token"));
        Ok(())
    }

    /// It may only be left out, together with its user.
    fn no_auth_user(&self) -> Result<(), NotReloadable> {
        let users = users(&self.new.authorization.login);
        let old = self.old.authorization.no_auth_user.as_deref();
        let stays = users.iter().any(|user| Some(user.name()) == old);
        match self.new.authorization.no_auth_user {
            None if !stays => Ok(()),
            _ => self.fixed("NoAuthUser", |options| text(&options.authorization.no_auth_user)),
        }
    }

    fn limits(&mut self) -> Result<(), NotReloadable> {
        self.named("ping_interval", |options| duration::Display(options.ping_interval));
        self.named("ping_max", |options| options.ping_max);
        self.fixed("HTTPHost", |options| {
            options.monitor_listen().map_or_else(|| options.host.clone(), |listen| listen.host)
        })?;
        self.fixed("HTTPPort", |options| port(options.http.as_ref()))?;
        self.fixed("HTTPBasePath", |options| options.http_base_path.trim_end_matches('/'))?;
        self.fixed("HTTPSPort", |options| port(options.https.as_ref()))?;
        self.named("authorization timeout", |options| options.auth_timeout().as_secs_f64());
        self.named("max_control_line", |options| options.max_control_line);
        self.named("max_payload", |options| options.max_payload);
        self.fixed("MaxPending", |options| options.max_pending)?;
        self.free(
            |options| options.no_fast_producer_stall,
            |no_stall| {
                let not = if no_stall { "not " } else { "" };
                format!("Reloaded: fast producers will {not}be stalled")
            },
        );
        Ok(())
    }

    fn blocks(&mut self) -> Result<(), NotReloadable> {
        let cluster = |options: &'a Options| options.cluster.as_ref();
        let listen = |options| cluster(options).and_then(|cluster| cluster.listen.as_ref());
        self.fixed("cluster host", |options| listen(options).map_or("", |listen| &*listen.host))?;
        self.fixed("cluster port", |options| port(listen(options)))?;
        self.fixed("Cluster", |options| cluster(options).is_some())?;
        let without_routes = |options| {
            cluster(options).map(|cluster| Cluster { routes: Vec::new(), ..cluster.clone() })
        };
        let encrypts = cluster(self.new).is_some_and(|cluster| cluster.tls.is_some());
        if encrypts || without_routes(self.old) != without_routes(self.new) {
            self.lines.push("Reloaded: cluster".to_owned());
        }
        let (old, new) = (websocket(self.old), websocket(self.new));
        if old == new {
            return Ok(());
        }
        // nats-differs: there, passwords are printed.
        let shown = |block| format!("{block:?}");
        Err(NotReloadable { name: "Websocket", old: shown(old), new: shown(new) })
    }

    fn files(&mut self) -> Result<(), NotReloadable> {
        if self.new.pid_file.is_some() {
            let line = |file| format!("Reloaded: pid_file = {}", path(file));
            self.free(|options| &options.pid_file, line);
        }
        let line = |folder| format!("Reloaded: ports_file_dir = {}", path(folder));
        self.free(|options| &options.ports_file_dir, line);
        let line = |file| format!("Reloaded: log_file = {}", path(file));
        self.free(|options| &options.log.log_file, line);
        self.fixed("LogSizeLimit", |options| options.log.log_size_limit)?;
        self.fixed("LogMaxFiles", |options| options.log.log_max_num)?;
        self.named("syslog", |options| options.log.syslog);
        let line = |url: &Option<SyslogUrl>| {
            let url = url.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("Reloaded: remote_syslog = {url}")
        };
        self.free(|options| &options.log.remote_syslog, line);
        self.free(
            |options| options.cluster.as_ref().map(|cluster| &cluster.routes),
            |_| "Reloaded: cluster routes".to_owned(),
        );
        Ok(())
    }

    fn encryption(&mut self) -> Result<(), NotReloadable> {
        let tls = |options: &'a Options| options.tls.as_ref();
        self.free(
            |options| tls(options).map(|tls| tls.timeout),
            |timeout| {
                let timeout = timeout.unwrap_or_default().as_secs_f64();
                format!("Reloaded: tls timeout = {timeout}")
            },
        );
        if tls(self.new).is_some() || tls(self.old).is_some() {
            let state = if tls(self.new).is_some() { "enabled" } else { "disabled" };
            self.lines.push(format!("Reloaded: tls = {state}"));
        }
        let pinned = |tls: &'a Tls| &*tls.pinned_certs;
        self.free(
            |options| tls(options).map(pinned).unwrap_or_default(),
            |pinned| format!("Reloaded: {} pinned_certs", pinned.len()),
        );
        let first = |options| tls(options).map_or(HandshakeFirst::No, |tls| tls.handshake_first);
        self.free(
            |options| first(options) != HandshakeFirst::No,
            |first| format!("Reloaded: Client TLS handshake first: {first}"),
        );
        self.free(
            |options| match first(options) {
                HandshakeFirst::Within(delay) => delay,
                _ => Duration::ZERO,
            },
            |delay| {
                let delay = duration::Display(delay);
                format!("Reloaded: Client TLS handshake first fallback delay: {delay}")
            },
        );
        self.fixed("AllowNonTLS", |options| options.allow_non_tls)
    }

    fn times(&mut self) -> Result<(), NotReloadable> {
        self.named("write_deadline", |options| duration::Display(options.write_deadline));
        self.fixed("WriteTimeout", |options| match options.write_timeout {
            WriteTimeout::Default => "",
            WriteTimeout::Close => "close",
            WriteTimeout::Retry => "retry",
        })?;
        self.fixed("MaxClosedClients", |options| options.max_closed_clients)?;
        self.fixed("LameDuckDuration", |options| duration::Display(options.lame_duck_duration))?;
        self.fixed("LameDuckGracePeriod", |options| {
            duration::Display(options.lame_duck_grace_period)
        })?;
        self.named("max_traced_msg_len", |options| options.log.max_traced_msg_len);
        self.free(|options| &options.server_tags, |_| "Reloaded: tags".to_owned());
        self.free(|options| &options.server_metadata, |_| "Reloaded: metadata".to_owned());
        self.fixed("workers", |options| options.workers.unwrap_or_default())
    }
}

/// The port for WebSocket but for its encryption, which may change and only has to stay.
fn websocket(options: &Options) -> Option<(Websocket, bool)> {
    let block = options.websocket.as_ref()?;
    Some((Websocket { tls: None, ..block.clone() }, block.tls.is_some()))
}

fn text(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

fn path(path: &Option<PathBuf>) -> path::Display<'_> {
    path.as_deref().unwrap_or(Path::new("")).display()
}

/// A port as configured.
fn number(port: Port) -> i32 {
    match port {
        Port::Free => -1,
        Port::Number(number) => number.into(),
    }
}

/// The port of an address; 0 if there is none.
fn port(listen: Option<&Listen>) -> i32 {
    listen.map_or(0, |listen| number(listen.port))
}

fn users(login: &Login) -> &[User] {
    match login {
        Login::Users(users) => users,
        Login::Open | Login::Single { .. } | Login::Token(_) => &[],
    }
}

fn nkey_users(options: &Options) -> Vec<&User> {
    users(&options.authorization.login).iter().filter(|user| user.has_nkey()).collect()
}

/// The name and the password of a single user.
fn single(options: &Options) -> Option<(&str, &str)> {
    match &options.authorization.login {
        Login::Single { user, password } => Some((user, password)),
        Login::Open | Login::Token(_) | Login::Users(_) => None,
    }
}

fn token(options: &Options) -> Option<&str> {
    match &options.authorization.login {
        Login::Token(token) => Some(token),
        Login::Open | Login::Single { .. } | Login::Users(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::authorization::Credential;

    fn lines(old: &Options, new: &Options) -> Vec<String> {
        let always = ["Reloaded: authorization users", "Reloaded: accounts"];
        let mut lines = old.changes(new).unwrap();
        lines.retain(|line| !always.contains(&&**line));
        lines
    }

    fn refusal(old: &Options, new: &Options) -> String {
        old.changes(new).unwrap_err().to_string()
    }

    #[test]
    fn what_stays_is_no_change() {
        let options = Options { tls: Some(Tls::new("a", "b")), ..Options::default() };
        assert_eq!(lines(&options, &options), ["Reloaded: tls = enabled"]);
        assert_eq!(lines(&Options::default(), &Options::default()), [""; 0]);
    }

    #[test]
    fn changes_are_reported_in_the_order_of_the_real_servers_fields() {
        let old = Options::default();
        let mut new = Options {
            max_payload: 1024,
            max_connections: 3,
            ping_interval: Duration::from_secs(90),
            server_tags: vec!["a".to_owned()],
            no_fast_producer_stall: true,
            client_advertise: Some("a:1".to_owned()),
            ..Options::default()
        };
        new.authorization.timeout = Some(Duration::from_millis(500));
        new.authorization.login = Login::Token("t".to_owned());
        let wanted = [
            "Reload: client_advertise = a:1",
            "Reloaded: max_connections = 3",
            "Reloaded: authorization token",
            "Reloaded: ping_interval = 1m30s",
            "Reloaded: authorization timeout = 0.5",
            "Reloaded: max_payload = 1024",
            "Reloaded: fast producers will not be stalled",
            "Reloaded: tags",
        ];
        assert_eq!(lines(&old, &new), wanted);
    }

    #[test]
    fn what_cannot_change_is_refused_by_its_name() {
        let old = Options::default();
        let named = Options { server_name: Some("zz".to_owned()), ..Options::default() };
        let text = "config reload not supported for ServerName: old=, new=zz";
        assert_eq!(refusal(&old, &named), text);
        let port = Options { port: Port::Number(5), max_pending: 9, ..Options::default() };
        let text = "config reload not supported for Port: old=4222, new=5";
        assert_eq!(refusal(&old, &port), text);
        let host = "0.0.0.0".to_owned();
        let listen = Some(Listen { host, port: Port::Number(6222) });
        let cluster = Cluster { listen, ..Cluster::default() };
        let cluster = Options { cluster: Some(cluster), ..Options::default() };
        let text = "config reload not supported for cluster host: old=, new=0.0.0.0";
        assert_eq!(refusal(&old, &cluster), text);
    }

    #[test]
    fn passwords_of_websocket_are_not_printed() {
        let listen = Listen { host: "a".to_owned(), port: Port::Free };
        let with = |password: &str| {
            let (user, password) = ("u".to_owned(), password.to_owned());
            let login = Login::Single { user, password };
            let websocket = Websocket { login, ..Websocket::new(listen.clone()) };
            Options { websocket: Some(websocket), ..Options::default() }
        };
        let text = refusal(&with("one"), &with("other"));
        assert!(text.starts_with("config reload not supported for Websocket: old="), "{text}");
        assert!(!text.contains("one\"") && !text.contains("other"), "{text}");
    }

    #[test]
    fn no_auth_user_goes_only_with_its_user() {
        let user = |name: &str| User {
            permissions: Some(Box::default()),
            ..User::new(Credential::Nkey(name.to_owned()))
        };
        let with = |names: &[&str], no_auth_user: Option<&str>| {
            let mut options = Options::default();
            options.authorization.login = Login::Users(names.iter().map(|n| user(n)).collect());
            options.authorization.no_auth_user = no_auth_user.map(str::to_owned);
            options
        };
        let old = with(&["a", "b"], Some("a"));
        let text = "config reload not supported for NoAuthUser: old=a, new=";
        assert_eq!(refusal(&old, &with(&["a"], None)), text);
        assert_eq!(refusal(&old, &with(&["a", "b"], Some("b"))), format!("{text}b"));
        assert_eq!(lines(&old, &with(&["b"], None)), ["Reloaded: authorization nkey users"]);
    }
}
