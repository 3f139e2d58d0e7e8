//! The flags of TLS, and their effect: together they replace the block of the configuration file.
//!
//! nats: server/opts.go `overrideTLS`

use crate::config::cli::flag::{Effect, Flag, TlsFlags};
use crate::config::options::{Options, Tls};

/// In the order of the help.
pub(super) static FLAGS: [Flag<Effect>; 6] = [
    Flag {
        names: &["--tls"],
        argument: "",
        help: "encrypt the port for clients",
        effect: Effect::Switch(|overlay, on| overlay.tls().off = !on),
    },
    Flag {
        names: &["--tlscert"],
        argument: "FILE",
        help: "certificate of the server",
        effect: Effect::Path(|overlay, file| overlay.tls().cert_file = file),
    },
    Flag {
        names: &["--tlskey"],
        argument: "FILE",
        help: "its private key",
        effect: Effect::Path(|overlay, file| overlay.tls().key_file = file),
    },
    Flag {
        names: &["--tlscacert"],
        argument: "FILE",
        help: "authorities of clients' certificates",
        effect: Effect::Path(|overlay, file| overlay.tls().ca_file = file),
    },
    Flag {
        names: &["--tlsverify"],
        argument: "",
        help: "encrypt it, for clients with a certificate only",
        effect: Effect::Switch(|overlay, on| overlay.tls().verify = on),
    },
    Flag {
        names: &["--help_tls"],
        argument: "",
        help: "print the settings of the block tls",
        effect: Effect::Ask(|server, written, _| {
            server.help_tls = written.bool()?;
            Ok(())
        }),
    },
];

/// Replaces the block of the file if any of the flags is given, or removes it.
///
/// # Errors
/// A file is missing, in the real server's words where it has some.
pub(super) fn lay(flags: Option<TlsFlags>, options: &mut Options) -> Result<(), String> {
    let Some(TlsFlags { off, verify, cert_file, key_file, ca_file }) = flags else { return Ok(()) };
    if off {
        options.tls = None;
        return Ok(());
    }
    let cert_file = cert_file.ok_or("TLS Server certificate must be present and valid")?;
    let key_file = key_file.ok_or("TLS Server private key must be present and valid")?;
    options.tls = Some(Tls { verify, ca_file, ..Tls::new(cert_file, key_file) });
    Ok(())
}
