//! The TLS handshake of a connection, before anything of NATS is read.
//!
//! ```text
//!   handshake_first        auto: nobody has begun in time        else
//!         |                     |                                 |
//!         |                     +------------> INFO <-------------+
//!         v                                     |  \
//!     handshake <-------------------------------+   \ allow_non_tls, and no TLS
//!         |                                          v
//!         +--- INFO, if it is not out -----------> open
//! ```
//!
//! Between servers the side that dials begins, and CONNECT follows in place of INFO.
//! nats: server/client.go `doTLSHandshake`, server/server.go `createClientEx`,
//! server/route.go `createRoute`

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::base::closed_reason::ClosedReason;
use crate::base::errors::ProtoErr;
use crate::base::ids::Kind;
use crate::base::moment::Moment;
use crate::config::options::HandshakeFirst;
use crate::conn::{Encryption, conn_event};
use crate::deliver::Delivery;
use crate::machine::Machine;
use crate::net::drive::{Drive, Phase};
use crate::net::tls::{Agreed, Decrypted, Encrypted, Failure, Side, TlsPort};
use crate::net::worker::Worker;

/// The first byte of TLS, and of no NATS op.
const HANDSHAKE_RECORD: u8 = 0x16;

/// An awaited handshake, or one under way.
pub(super) struct Handshake {
    port: Arc<TlsPort>,
    side: Side,
    /// Some once it has begun.
    decrypted: Option<Box<Decrypted>>,
    /// True if the first line of this side is sent.
    introduced: bool,
    /// The time by which it must have begun, or be done.
    pub(super) due: Moment,
}

/// The progress of a handshake.
enum Advanced {
    /// Waits for more of the other side's handshake.
    Waits,
    /// There may be more to read.
    On,
    /// NATS follows.
    Open,
}

impl Handshake {
    pub(super) fn new(port: Arc<TlsPort>, side: Side) -> Handshake {
        Handshake { port, side, decrypted: None, introduced: false, due: Moment::NEVER }
    }
}

impl<M: Machine> Drive<M> {
    /// Sends the first line of this side, or waits for the handshake before it.
    pub(super) fn start(&mut self, surplus: bool, delivery: &mut Delivery) {
        self.phase = Phase::Open;
        let handshake = self.extras.as_mut().and_then(|extras| extras.handshake.take());
        let Some(mut handshake) = handshake else {
            self.session.machine.start(delivery);
            if surplus {
                self.fail((&ProtoErr::MaxConnections).into(), delivery);
            }
            return;
        };
        let (now, first) = (delivery.now, handshake.port.first);
        // Whoever may come without TLS is counted only if it begins.
        let may_begin = handshake.port.allow_non_tls || handshake.port.begin(now);
        let refused = match surplus {
            true => Some(ProtoErr::MaxConnections),
            false => (!may_begin).then_some(ProtoErr::TooManyHandshakes),
        };
        if first == HandshakeFirst::No || first != HandshakeFirst::Yes && refused.is_some() {
            self.introduce(&mut handshake, delivery);
        }
        if let Some(refused) = refused {
            return self.fail((&refused).into(), delivery);
        }
        handshake.due = match first {
            HandshakeFirst::Within(time) => now + time,
            HandshakeFirst::Yes | HandshakeFirst::No => now + handshake.port.timeout,
        };
        self.phase = Phase::Handshake;
        self.extras().handshake = Some(handshake);
    }

    /// Ready when NATS follows.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        let Worker { scratch, delivery } = worker;
        while let Some(mut handshake) = self.extras().handshake.take() {
            let advanced = self.advance(cx, &mut handshake, scratch, delivery);
            if let Ok(Advanced::Open) = advanced {
                self.phase = Phase::Open;
                break;
            }
            self.extras().handshake = Some(handshake);
            if let Err(failure) = &advanced {
                self.fail_handshake(failure, delivery);
            }
            if !matches!(advanced, Ok(Advanced::On)) || self.poll_layers(cx).is_pending() {
                let _ = self.poll_layers(cx);
                return Poll::Pending;
            }
        }
        self.commit(delivery);
        Poll::Ready(())
    }

    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        handshake: &mut Handshake,
        scratch: &mut [u8],
        delivery: &mut Delivery,
    ) -> Result<Advanced, Failure> {
        let (now, port) = (delivery.now, Arc::clone(&handshake.port));
        let begun = handshake.decrypted.is_some();
        let may_be_clear = port.allow_non_tls && handshake.introduced && !begun;
        if now >= handshake.due {
            if may_be_clear {
                return Ok(Advanced::Open);
            }
            if begun || handshake.introduced || port.first == HandshakeFirst::Yes {
                return Err(Failure::Timeout);
            }
            self.introduce(handshake, delivery);
            handshake.due = now + port.timeout;
        }
        let begins = !begun && matches!(handshake.side, Side::Dials(_));
        let mut read = match begins {
            true => &[][..],
            false => match self.stream.poll_read(cx, scratch) {
                Poll::Pending => return Ok(Advanced::Waits),
                Poll::Ready(read) => &scratch[..read.unwrap_or(0)],
            },
        };
        if may_be_clear && read.first() != Some(&HANDSHAKE_RECORD) {
            self.extras().backlog.extend_from_slice(read);
            return Ok(Advanced::Open);
        }
        if read.is_empty() && !begins {
            return Err(Failure::Ended);
        }
        let mut decrypted = match handshake.decrypted.take() {
            Some(decrypted) => decrypted,
            None if port.allow_non_tls && !port.begin(now) => {
                self.fail((&ProtoErr::TooManyHandshakes).into(), delivery);
                return Ok(Advanced::Waits);
            }
            None => self.begin_handshake(handshake, now)?,
        };
        let Some(agreed) = decrypted.handshake(&mut read, &port)? else {
            handshake.decrypted = Some(decrypted);
            return Ok(Advanced::On);
        };
        self.handle_agreed(&agreed, !handshake.introduced, delivery);
        self.extras().backlog.extend_from_slice(read);
        self.extras().add_layer(decrypted);
        self.introduce(handshake, delivery);
        Ok(Advanced::Open)
    }

    /// Puts the encryption under all later output, which begins with the handshake.
    fn begin_handshake(
        &mut self,
        handshake: &mut Handshake,
        now: Moment,
    ) -> Result<Box<Decrypted>, Failure> {
        let Handshake { port, side, due, .. } = handshake;
        let what = match (self.conn().kind, &side) {
            (Kind::Route, Side::Accepts) => "route server",
            (Kind::Route, Side::Dials(_)) => "route client",
            _ => "client connection",
        };
        conn_event!(DEBUG, self.conn(), "Starting TLS {what} handshake");
        *due = now + port.timeout;
        let state = port.open(side).map_err(Failure::Tls)?;
        let rewired = |below, clear_len| Encrypted::new(below, state, clear_len);
        Ok(Box::new(Decrypted::new(self.conn().rewire(rewired).ok_or(Failure::Ended)?)))
    }

    /// Sends the first line of this side, unless it is sent.
    fn introduce(&mut self, handshake: &mut Handshake, delivery: &mut Delivery) {
        if !std::mem::replace(&mut handshake.introduced, true) {
            self.session.machine.start(delivery);
            self.commit(delivery);
        }
    }

    /// Puts the encryption into the connection.
    fn handle_agreed(&mut self, agreed: &Agreed, first: bool, delivery: &mut Delivery) {
        let encryption = Encryption { version: agreed.version, suite: agreed.suite, first };
        conn_event!(DEBUG, self.conn(), "TLS handshake complete");
        let (version, suite) = (encryption.version(), encryption.suite());
        conn_event!(DEBUG, self.conn(), "TLS version {version}, cipher suite {suite}");
        self.conn().set_encryption(encryption);
        self.session.machine.handle_encrypted(delivery);
    }

    /// On the port for other servers every failure is an error: no stranger has a reason to come.
    fn fail_handshake(&mut self, failure: &Failure, delivery: &mut Delivery) {
        let (conn, timed_out) = (self.conn(), matches!(failure, Failure::Timeout));
        match conn.kind {
            Kind::Route => conn_event!(ERROR, conn, "TLS route handshake error: {failure}"),
            _ if timed_out || failure.is_clear_text() => {
                conn_event!(DEBUG, conn, "TLS handshake error: {failure}");
            }
            _ => conn_event!(ERROR, conn, "TLS handshake error: {failure}"),
        }
        if timed_out {
            conn_event!(DEBUG, conn, "TLS handshake timeout");
        }
        // A side without TLS gets no alert.
        self.end(ClosedReason::TlsHandshakeError, failure.is_clear_text(), delivery);
    }
}
