//! Events in the life of a client, for the server's own client to publish.
//!
//! nats: server/client.go `registerWithAccount`, `authViolation`; server/server.go
//! `saveClosedClient`

use std::sync::Arc;

use crate::account::Account;
use crate::base::closed_reason::ClosedReason;
use crate::client::{Client, State};
use crate::deliver::Delivery;
use crate::registry::events::{ClientEvent, Event};
use crate::registry::settings::Settings;

impl Client {
    /// It has left an account for another one, which may be the same.
    pub(super) fn note_move(&self, from: &Arc<Account>, to: &Arc<Account>, settings: &Settings) {
        if from.id != to.id {
            self.registry.note(Event::Conns(Arc::clone(from)), settings);
            self.registry.note(Event::Conns(Arc::clone(to)), settings);
        }
    }

    /// It has logged in.
    pub(super) fn note_connect(&self, delivery: &Delivery) {
        let event = self.event(self.account(&delivery.settings), delivery);
        self.registry.note(Event::Connect(event), &delivery.settings);
    }

    /// It is refused.
    pub(super) fn note_refusal(&self, delivery: &Delivery) {
        let settings = &delivery.settings;
        let of_clients = settings.clients(self.connection_type);
        let claimed = self.claimed();
        let account = claimed.and_then(|user| of_clients.authenticator.account_of(&user));
        let account = settings.accounts.of_user(account).unwrap_or(settings.accounts.global());
        let event = self.event(account, delivery);
        let reason = ClosedReason::AuthenticationViolation;
        self.registry.note(Event::AuthError(event, reason), settings);
    }

    /// It has left the account that counted it, and the server.
    pub(super) fn note_end(
        &self,
        account: &Arc<Account>,
        reason: ClosedReason,
        delivery: &Delivery,
    ) {
        let settings = &delivery.settings;
        self.registry.note(Event::Conns(Arc::clone(account)), settings);
        let mut account = account;
        let about;
        if let State::ExpectConnect = self.state {
            // An account that was full is shown as its own.
            about = self.conn.about();
            account = settings.accounts.of_user(about.account.as_deref()).unwrap_or(account);
        }
        let event = self.event(account, delivery);
        self.registry.note(Event::Disconnect(event, reason), settings);
    }

    fn event(&self, account: &Arc<Account>, delivery: &Delivery) -> ClientEvent {
        let (conn, account) = (Arc::clone(&self.conn), Arc::clone(account));
        ClientEvent { conn, account, at: delivery.now }
    }
}
