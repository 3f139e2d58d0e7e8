//! Layers between the socket and the parser of a connection: passes input through them, and writes
//! their own frames.

use std::io::ErrorKind;
use std::task::{Context, Poll, ready};

use crate::base::closed_reason::ClosedReason;
use crate::codec::s2::Decompressor;
use crate::conn::conn_event;
use crate::deliver::Delivery;
use crate::machine::{Layer, Machine};
use crate::net::compressed::Compressed;
use crate::net::drive::extras::LayerInput;
use crate::net::drive::{Drive, Handled};
use crate::net::layer::Next;

/// Bytes that a layer makes in a nanosecond, about.
const BYTES_PER_NS: usize = 2;

impl<M: Machine> Drive<M> {
    pub(super) fn is_layered(&self) -> bool {
        self.extras
            .as_ref()
            .is_some_and(|extras| !extras.layers.is_empty() || extras.handshake.is_some())
    }

    /// Handles `input`, which has passed the layers below `index`, or all of them.
    pub(super) fn handle_from(
        &mut self,
        index: usize,
        input: &mut [u8],
        delivery: &mut Delivery,
    ) -> Handled {
        let mut layers = std::mem::take(&mut self.extras().layers);
        let handled = self.handle_through(&mut layers[index..], input, delivery);
        self.extras().layers = layers;
        handled
    }

    /// Handles the pieces that the first of `layers` makes of `input`. If that has to stop, the
    /// rest stays below the layer.
    fn handle_through(
        &mut self,
        layers: &mut [LayerInput],
        input: &mut [u8],
        delivery: &mut Delivery,
    ) -> Handled {
        let Some((layer, above)) = layers.split_first_mut() else {
            return self.handle(input, delivery);
        };
        let mut used = 0;
        while !self.conn().is_closed() {
            let piece = match layer.inflow.next_piece(&mut input[used..]) {
                Ok(Next::Missing) => break,
                Ok(Next::Piece(piece, len)) => {
                    used += len;
                    delivery.staging.add_work(piece.len() / BYTES_PER_NS);
                    piece
                }
                Ok(Next::End) => {
                    self.end(ClosedReason::ClientClosed, false, delivery);
                    break;
                }
                Err(error) => {
                    conn_event!(ERROR, self.conn(), "{}", error.text);
                    self.end(error.reason, false, delivery);
                    break;
                }
            };
            let mut handled = self.handle_through(above, piece, delivery);
            // A read is bounded, the pieces that layers make of it are not.
            if handled == Handled::All && delivery.staging.is_turn_over() {
                handled = Handled::Part;
            }
            if handled != Handled::All {
                layer.kept = Some(input[used..].to_vec());
                return handled;
            }
        }
        Handled::All
    }

    /// Puts a layer on top of the others. Staged frames still go out below it; all later output,
    /// and all input after the op that brought it, goes through it.
    pub(super) fn add_layer(&mut self, layer: Layer, delivery: &mut Delivery) {
        let Layer::Compression(level) = layer;
        if let Some(compressed) = &self.extras().compressed {
            compressed.set_level(level);
            return;
        }
        self.commit(delivery);
        let rewired = |below, clear_len| Compressed::new(below, level, clear_len);
        self.extras().compressed = self.conn().rewire(rewired);
        self.extras().add_layer(Box::new(Decompressor::new()));
        self.session.machine.handle_layer(delivery);
    }

    /// Ready when all frames of the layers themselves are written. Until then nothing more is read,
    /// so that layers never hold more of them than one read causes.
    pub(super) fn poll_layers(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_layered() {
            return Poll::Ready(());
        }
        loop {
            let broken = match self.conn().flush_layers() {
                Ok(()) => return Poll::Ready(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_write_ready(cx)).is_err()
                }
                Err(error) => error.kind() != ErrorKind::Interrupted,
            };
            if broken {
                self.conn().close(ClosedReason::WriteError, true);
                return Poll::Ready(());
            }
        }
    }

    /// Ready when all layers have said that our stream ends, and the reason.
    pub(super) fn poll_layers_end(
        &mut self,
        cx: &mut Context<'_>,
        reason: ClosedReason,
    ) -> Poll<()> {
        let count = self.extras.as_ref().map_or(0, |extras| extras.layers.len());
        for index in (0..count).rev() {
            self.extras().layers[index].inflow.end(reason);
            // It goes out through the layers below, whose ends come behind it.
            ready!(self.poll_layers(cx));
        }
        self.poll_layers(cx)
    }
}
