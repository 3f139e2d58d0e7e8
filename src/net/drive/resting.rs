//! `Resting`: the rests of a hurried connection, with its socket and its alarm.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::base::moment::Moment;
use crate::net::pace::{CALM, PLENTY, Pace, REST, Rests, Verdict};
use crate::net::stream::Stream;

/// There from the moment a connection is found hurried until it is so no more.
pub(super) struct Resting {
    rests: Rests,
    alarm: Pin<Box<Sleep>>,
}

impl Resting {
    /// Has not rested yet. `sent` messages have been sent to the client.
    pub(super) fn new(cx: &mut Context<'_>, now: Moment, sent: u64) -> Resting {
        let mut resting = Resting { rests: Rests::new(now, sent), alarm: Box::pin(sleep(CALM)) };
        resting.set_alarm(cx, CALM);
        resting
    }

    /// Ends a rest whose time is over. True when there will be no more: the client has been calm.
    pub(super) fn poll_alarm(&mut self, cx: &mut Context<'_>, stream: &Stream) -> bool {
        if self.alarm.as_mut().poll(cx).is_pending() {
            return false;
        }
        if !self.rests.is_resting() || stream.set_low_water(1).is_err() {
            return true;
        }
        self.rests.wake();
        self.set_alarm(cx, CALM);
        false
    }

    /// A turn has brought `messages`: lets the connection rest if it is time. True when there will
    /// be no more rests: they hold up the client, or there can be none.
    pub(super) fn handle_turn(
        &mut self,
        cx: &mut Context<'_>,
        (stream, pace): (&Stream, &mut Pace),
        (now, messages): (Moment, u64),
        sent: impl FnOnce() -> u64,
    ) -> bool {
        match self.rests.handle_turn(now, messages, sent) {
            Verdict::Go => return false,
            Verdict::Rest { proven } if stream.set_low_water(PLENTY).is_ok() => {
                if proven {
                    pace.handle_gain();
                }
                self.set_alarm(cx, REST);
                return false;
            }
            Verdict::Rest { .. } | Verdict::Harm => {}
        }
        pace.handle_harm();
        true
    }

    #[cfg(test)]
    pub(super) fn is_resting(&self) -> bool {
        self.rests.is_resting()
    }

    /// Has the task woken after `span`.
    fn set_alarm(&mut self, cx: &mut Context<'_>, span: Duration) {
        self.alarm.as_mut().reset(Instant::now() + span);
        // A timer counts from when it is first polled.
        let _ = self.alarm.as_mut().poll(cx);
    }
}
