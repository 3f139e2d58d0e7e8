//! Login of a client: from CONNECT, or its absence, to a user with permissions.
//!
//! Judges no credentials itself: `auth` does.
//! nats: server/client.go `processConnect`

use std::sync::Arc;

use crate::account::Account;
use crate::auth::certificate::Certificate;
use crate::auth::permissions::CompiledPermissions;
use crate::auth::{Authenticator, Check, Identity, Mapped, TOKEN_NAME, Verdict};
use crate::base::errors::ProtoErr;
use crate::base::left::Left;
use crate::base::moment::Moment;
use crate::base::quoted::Quoted;
use crate::client::{Admitted, Asked, Client, Greeting, State};
use crate::codec::connect::{Connect, Credentials};
use crate::conn::{About, conn_event};
use crate::deliver::Delivery;
use crate::machine::PendingLogin;
use crate::registry::settings::Settings;

impl Client {
    pub(super) fn handle_connect(
        &mut self,
        json: &[u8],
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        let now = delivery.now;
        let of_clients = delivery.settings.clients(self.connection_type);
        self.pings.connected(now, of_clients.ping_interval);
        self.conn.set_last_activity(now);
        if self.conn.rtt() == 0 {
            let nanos = now.since(self.conn.start).as_nanos();
            self.conn.set_rtt(u64::try_from(nanos).unwrap_or(u64::MAX));
        }
        let again = self.greeting != Greeting::ExpectConnect;
        let mut connect = self.connect();
        connect.overlay(json).map_err(|_| ProtoErr::Arguments("CONNECT"))?;
        self.add_cookies(&mut connect);
        if again {
            self.leave();
            if self.forget_on(delivery) == Left::More {
                self.conn.wake();
            }
        }
        let nonce = self.rare.as_ref().map_or(&b""[..], |rare| rare.nonce.as_bytes());
        let authenticator = &delivery.settings.clients(self.connection_type).authenticator;
        let verdict = self.check(&mut connect, nonce, authenticator);
        connect.headers &= !delivery.settings.options.no_header_support;
        self.asked = Asked::of(&connect);
        if self.greeting == Greeting::Done {
            self.conn.set_takes_info(self.asked.takes_info);
        }
        if let Some(rare) = &mut self.rare {
            rare.proven = None;
        }
        if let Some(credentials) = connect.credentials.take() {
            self.rare.get_or_insert_default().credentials = Some(credentials);
        }
        self.log_in(connect, verdict, delivery)
    }

    /// Fills in from cookies what CONNECT leaves out.
    pub(super) fn add_cookies(&self, connect: &mut Connect) {
        let cookies = self.rare.as_ref().and_then(|rare| rare.cookies.as_ref());
        let Some(Credentials { user, pass, auth_token, .. }) = cookies.map(|cookies| &**cookies)
        else {
            return;
        };
        let given = connect.credentials.get_or_insert_default();
        for (given, cookie) in
            [(&mut given.user, user), (&mut given.pass, pass), (&mut given.auth_token, auth_token)]
        {
            if given.is_none() {
                given.clone_from(cookie);
            }
        }
    }

    /// Decides on a CONNECT. Where certificates name the users, that one replaces its own.
    pub(super) fn check(
        &self,
        connect: &mut Connect,
        nonce: &[u8],
        authenticator: &Authenticator,
    ) -> Verdict {
        let by = self.connection_type;
        if !authenticator.maps(connect.credentials.as_deref()) {
            return authenticator.check(connect, nonce, by);
        }
        let Some(user) = self.user_of_certificate(authenticator) else { return Verdict::Refused };
        let given = connect.credentials.clone();
        let claimed = connect.credentials.get_or_insert_default().user.replace(user.into());
        if let Some(claimed) = claimed {
            let claimed = Quoted(claimed.as_bytes());
            conn_event!(
                WARN,
                &self.conn,
                "User {claimed} found in connect proto, but user required from cert"
            );
        }
        let verdict = authenticator.check(connect, nonce, by);
        if let Verdict::Admitted(_) = verdict {
            // Another CONNECT asks the certificate again.
            connect.credentials = given;
        }
        verdict
    }

    /// The user that the client's certificate names.
    fn user_of_certificate<'a>(&self, authenticator: &'a Authenticator) -> Option<&'a str> {
        let miss = |why: &str| conn_event!(DEBUG, &self.conn, "User required in cert, {why}");
        if self.conn.encryption().is_none() {
            miss("no TLS connection state");
            return None;
        }
        let shown = self.conn.certificates();
        let Some(first) = shown.first() else {
            miss("no peer certificates found");
            return None;
        };
        if shown.len() > 1 {
            conn_event!(DEBUG, &self.conn, "Multiple peer certificates found, selecting first");
        }
        let Some(certificate) = Certificate::read(first).filter(|read| !read.is_nameless()) else {
            miss("none found");
            return None;
        };
        match authenticator.mapped(&certificate, self.connection_type) {
            Some(Mapped { user, by }) => {
                let shown = Quoted(user.as_bytes());
                conn_event!(DEBUG, &self.conn, "Using {by} for auth [{shown}]");
                Some(user)
            }
            None => {
                let subject = certificate.plain_subject();
                let shown = Quoted(subject.as_bytes());
                conn_event!(DEBUG, &self.conn, "User in cert [{shown}], not found");
                None
            }
        }
    }

    /// Logs in the sender of a CONNECT, or waits for the check of its password.
    pub(super) fn log_in(
        &mut self,
        connect: Connect,
        verdict: Verdict,
        delivery: &mut Delivery,
    ) -> Result<(), ProtoErr> {
        let user = match verdict {
            Verdict::Admitted(user) => user,
            Verdict::Refused => {
                self.show_refused(connect, self.claimed(), None);
                return Err(ProtoErr::AuthorizationViolation);
            }
            Verdict::Pending(check) => {
                self.expect_verdict(connect, check);
                return Ok(());
            }
        };
        if let Err(error) = self.admit(&user, &delivery.settings) {
            self.show_refused(connect, user.name, user.account);
            return Err(error);
        }
        let Connect { name, lang, version, protocol, .. } = connect;
        let Identity { name: user, account, .. } = user;
        let again = self.greeting != Greeting::ExpectConnect;
        if !again {
            self.greeting = Greeting::ExpectPing;
        }
        let before = self.conn.about();
        let named = again.then(|| before.label());
        let account = account.as_deref().map(Into::into);
        let forwarded = before.forwarded;
        self.conn.set_about(&About { name, lang, version, user, account, forwarded, named });
        self.note_connect(delivery);
        self.set_headers(self.asked.headers, delivery)?;
        if !(0..=1).contains(&protocol) {
            return Err(ProtoErr::InvalidProtocol);
        }
        if self.asked.no_responders && !self.asked.headers {
            return Err(ProtoErr::NoRespondersRequiresHeaders);
        }
        self.vouch(delivery)
    }

    /// Waits for the check of a password.
    pub(super) fn expect_verdict(&mut self, connect: Connect, check: Check) {
        let rare = self.rare.get_or_insert_default();
        rare.proven = Some(check.hash());
        rare.login = Some(Box::new(PendingLogin { connect, check: Some(check) }));
    }

    /// Makes monitoring show the CONNECT of a refused client, and the user that it claimed to be;
    /// logs name it as before.
    fn show_refused(
        &self,
        Connect { name, lang, version, .. }: Connect,
        user: Option<Box<str>>,
        account: Option<Arc<str>>,
    ) {
        let before = self.conn.about();
        let (named, forwarded) = (Some(before.label()), before.forwarded);
        let account = account.as_deref().map(Into::into);
        self.conn.set_about(&About { name, lang, version, user, account, forwarded, named });
    }

    /// Handles an op before CONNECT: the client becomes `no_auth_user`, or the user that its
    /// certificate names, or is refused.
    /// nats-differs: logs name it so.
    pub(super) fn admit_without_connect(&mut self, settings: &Settings) -> Result<(), ProtoErr> {
        let authenticator = &settings.clients(self.connection_type).authenticator;
        let user = authenticator.no_auth_user(self.connection_type);
        let user = user.ok_or(ProtoErr::AuthorizationViolation)?;
        let user = match authenticator.maps(None) {
            false => user,
            true => match self.check(&mut Connect::default(), b"", authenticator) {
                Verdict::Admitted(user) => user,
                Verdict::Refused | Verdict::Pending(_) => {
                    return Err(ProtoErr::AuthorizationViolation);
                }
            },
        };
        self.admit(&user, settings)?;
        self.greeting = Greeting::ExpectPing;
        let account = user.account.as_deref().map(Into::into);
        let forwarded = self.conn.about().forwarded;
        self.conn.set_about(&About { user: user.name, account, forwarded, ..About::default() });
        Ok(())
    }

    /// Makes the client that user.
    ///
    /// # Errors
    /// The account is at its limit, or does not exist.
    fn admit(&mut self, user: &Identity, settings: &Settings) -> Result<(), ProtoErr> {
        let account = settings.accounts.of_user(user.account.as_deref());
        let account = account.ok_or(ProtoErr::AuthorizationViolation)?;
        let before = self.account(settings);
        account.admit(&self.conn, before)?;
        self.note_move(before, account, settings);
        self.open(Arc::clone(account), user.permissions.clone(), settings);
        Ok(())
    }

    /// Opens it with that account and these permissions.
    pub(super) fn open(
        &mut self,
        account: Arc<Account>,
        permissions: Option<Arc<CompiledPermissions>>,
        settings: &Settings,
    ) {
        if let Some(rare) = &mut self.rare {
            rare.encrypted_at = None;
        }
        self.conn.set_access(permissions.clone());
        let mut admitted = Admitted { account, permissions };
        admitted.heed_mappings(settings);
        self.state = State::Open(admitted);
    }

    /// Outdates the cached matches of subscriptions from before CONNECT, which do not know that it
    /// takes headers.
    fn set_headers(&self, headers: bool, delivery: &Delivery) -> Result<(), ProtoErr> {
        if headers != self.conn.headers() {
            self.conn.set_headers(headers);
            if !self.conn.subscriptions().is_empty() {
                delivery.outdate_all(&self.admitted()?.account);
            }
        }
        Ok(())
    }

    /// The parts of the last CONNECT that the next one overlays; the defaults before the first.
    pub(super) fn connect(&self) -> Connect {
        let About { name, lang, version, .. } = self.conn.about();
        let Asked { verbose, pedantic, echo, headers, no_responders, takes_info } = self.asked;
        let credentials = self.rare.as_ref().and_then(|rare| rare.credentials.clone());
        Connect {
            verbose,
            pedantic,
            echo,
            headers,
            no_responders,
            protocol: takes_info.into(),
            name,
            lang,
            version,
            credentials,
            ..Connect::default()
        }
    }

    /// The time by which the client must have logged in.
    pub(super) fn auth_due(&self, settings: &Settings) -> Moment {
        match self.state {
            State::ExpectConnect => {
                let encrypted_at = self.rare.as_ref().and_then(|rare| rare.encrypted_at);
                let from = encrypted_at.unwrap_or(self.conn.start);
                from + settings.clients(self.connection_type).auth_timeout
            }
            State::Open(_) => Moment::NEVER,
        }
    }

    /// The user that it has claimed to be; of a token only that it was one.
    ///
    /// nats: server/client.go `getRawAuthUser`
    pub(super) fn claimed(&self) -> Option<Box<str>> {
        let given = self.rare.as_ref()?.credentials.as_deref()?;
        let token = || given.auth_token.is_some().then(|| TOKEN_NAME.into());
        given.nkey.clone().or_else(|| given.user.clone()).or_else(token)
    }

    /// Logs a refused login.
    pub(super) fn log_refusal(&self) {
        let rare = self.rare.as_ref();
        let who = describe(rare.and_then(|rare| rare.credentials.as_deref()));
        conn_event!(ERROR, &self.conn, "authentication error{who}");
    }
}

/// The description of a failed login in the log: the claimed name, never a secret.
///
/// nats: server/client.go `getAuthUser`
fn describe(credentials: Option<&Credentials>) -> String {
    let quoted = |text: &str| Quoted(text.as_bytes()).to_string();
    match credentials {
        Some(Credentials { nkey: Some(nkey), .. }) => format!(" - Nkey {}", quoted(nkey)),
        Some(Credentials { user: Some(user), .. }) => format!(" - User {}", quoted(user)),
        Some(Credentials { auth_token: Some(_), .. }) => " - Token \"[REDACTED]\"".to_owned(),
        _ => String::new(),
    }
}
