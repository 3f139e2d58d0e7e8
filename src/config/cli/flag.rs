//! A flag of a server: its names, its value, its line in the help, and its effect on the options.
//!
//! nats: server/opts.go `ConfigureOptions`

use std::path::{Path, PathBuf};

use crate::config::cli::{CliError, ServerFlags, Words, Written};
use crate::config::options::{Cluster, Options, Port};

/// A flag, and `A`: its effect.
pub(super) struct Flag<A> {
    /// Names, as in the help; each may be written with one dash or two.
    pub(super) names: &'static [&'static str],
    /// Its value, as in the help; empty if it takes none.
    pub(super) argument: &'static str,
    /// Lines of the help. Empty if it shares them with the next flag.
    pub(super) help: &'static str,
    /// Its effect.
    pub(super) effect: A,
}

impl<A> Flag<A> {
    /// True if a word of the command line, without dashes and value, means this flag.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.trim_start_matches('-') == name)
    }

    /// The most telling name, without dashes.
    fn long_name(&self) -> &'static str {
        self.names.last().map_or("", |name| name.trim_start_matches('-'))
    }
}

/// Flags under one heading of the help.
pub(super) struct Section<A: 'static> {
    /// Without colon; empty for the last one.
    pub(super) title: &'static str,
    /// In the order of the help.
    pub(super) flags: &'static [Flag<A>],
}

/// The effect of a flag of a server, by the kind of its value.
pub(super) enum Effect {
    Text(fn(&mut Overlay<'_>, &str)),
    /// The same for a value that may be invalid.
    Url(fn(&mut Overlay<'_>, &str) -> Result<(), String>),
    /// None if the value is empty.
    Path(fn(&mut Overlay<'_>, Option<PathBuf>)),
    /// None if the value is 0.
    Port(fn(&mut Overlay<'_>, Option<Port>)),
    Number(fn(&mut Overlay<'_>, i64)),
    Switch(fn(&mut Overlay<'_>, bool)),
    /// Does something else than set options.
    Ask(for<'a> fn(&mut ServerFlags, Written<'a>, &mut Words<'a>) -> Result<(), CliError>),
    /// Accepted for compatibility, without effect; the reason.
    Nothing(Form, &'static str),
}

/// The form of a value that is not used.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Switch,
    Number,
    Word,
}

/// A flag that was given, with its value.
#[derive(Clone)]
pub(super) struct Override {
    flag: &'static Flag<Effect>,
    value: Value,
}

#[derive(Clone, PartialEq)]
enum Value {
    Text(String),
    Path(PathBuf),
    Port(Option<Port>),
    Number(i64),
    Switch(bool),
    Unused,
}

/// Options while flags are laid over them, one after the other.
pub(super) struct Overlay<'a> {
    pub(super) options: &'a mut Options,
    pub(super) cluster: Cluster,
    /// True if a flag gives some.
    pub(super) has_routes: bool,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) token: String,
    /// Those of TLS, if any is given.
    pub(super) tls: Option<TlsFlags>,
}

/// The values of the flags of TLS.
#[derive(Default)]
pub(super) struct TlsFlags {
    /// `--tls=false` was given.
    pub(super) off: bool,
    pub(super) verify: bool,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
}

impl Flag<Effect> {
    /// Reads its value. A flag that sets no options takes effect at once.
    ///
    /// # Errors
    /// The value is missing, or not of this kind.
    pub(super) fn read<'a>(
        &'static self,
        written: Written<'a>,
        words: &mut Words<'a>,
        server: &mut ServerFlags,
    ) -> Result<(), CliError> {
        let value = match self.effect {
            Effect::Text(_) | Effect::Url(_) => Value::Text(words.text(written)?),
            Effect::Path(_) => Value::Path(words.path(written)?),
            Effect::Port(_) => Value::Port(words.port(written)?),
            Effect::Number(_) => Value::Number(words.integer(written)?),
            Effect::Switch(_) => Value::Switch(written.bool()?),
            Effect::Ask(ask) => return ask(server, written, words),
            Effect::Nothing(form, _) if form.is_on(written, words)? => Value::Unused,
            Effect::Nothing(..) => return Ok(()),
        };
        server.flags.overrides.push(Override { flag: self, value });
        Ok(())
    }
}

impl Form {
    /// Reads the value. True if it asks for anything.
    fn is_on<'a>(self, written: Written<'a>, words: &mut Words<'a>) -> Result<bool, CliError> {
        match self {
            Self::Switch => written.bool(),
            Self::Number => words.integer(written).map(|_| true),
            Self::Word => Ok(!matches!(words.value(written)?.as_encoded_bytes(), b"" | b"0")),
        }
    }
}

impl Override {
    /// Sets the options.
    ///
    /// # Errors
    /// An invalid URL, in the real server's words.
    pub(super) fn lay(&self, overlay: &mut Overlay<'_>) -> Result<(), String> {
        match (&self.flag.effect, &self.value) {
            (Effect::Text(set), Value::Text(text)) => set(overlay, text),
            (Effect::Url(set), Value::Text(text)) => set(overlay, text)?,
            (Effect::Path(set), Value::Path(path)) => set(overlay, filled(path)),
            (Effect::Port(set), Value::Port(port)) => set(overlay, *port),
            (Effect::Number(set), Value::Number(number)) => set(overlay, *number),
            (Effect::Switch(set), Value::Switch(on)) => set(overlay, *on),
            _ => debug_assert!(self.notice().is_some(), "`Flag::read` keeps what is laid here"),
        }
        Ok(())
    }

    /// The notice about a flag without effect.
    pub(super) fn notice(&self) -> Option<String> {
        let Effect::Nothing(_, why) = self.flag.effect else { return None };
        Some(format!("--{} has no effect: {why}", self.flag.long_name()))
    }
}

impl PartialEq for Override {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.flag, other.flag) && self.value == other.value
    }
}

impl<'a> Overlay<'a> {
    pub(super) fn new(options: &'a mut Options) -> Self {
        let cluster = options.cluster.take().unwrap_or_default();
        let (user, password, token) = (String::new(), String::new(), String::new());
        Self { options, cluster, has_routes: false, user, password, token, tls: None }
    }

    /// Those of TLS, of which one is given.
    pub(super) fn tls(&mut self) -> &mut TlsFlags {
        self.tls.get_or_insert_default()
    }
}

/// None if it is empty.
pub(super) fn filled(path: &Path) -> Option<PathBuf> {
    Some(path.to_owned()).filter(|path| !path.as_os_str().is_empty())
}
