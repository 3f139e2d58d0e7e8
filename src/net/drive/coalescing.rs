//! `CoalescedReads`: the holds of a hurried connection, with its socket and its alarm.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::base::moment::Moment;
use crate::net::pace::{Advice, CALM_AFTER, Coalescing, HOLD_LEN, HOLD_MAX, Pace};
use crate::net::stream::Stream;

/// State of a hurried connection, until it is calm.
pub(super) struct CoalescedReads {
    coalescing: Coalescing,
    alarm: Pin<Box<Sleep>>,
}

impl CoalescedReads {
    /// Without a hold yet. `sent` messages have been sent to the client.
    pub(super) fn new(cx: &mut Context<'_>, now: Moment, sent: u64) -> CoalescedReads {
        let mut reads = CoalescedReads {
            coalescing: Coalescing::new(now, sent),
            alarm: Box::pin(sleep(CALM_AFTER)),
        };
        reads.set_alarm(cx, CALM_AFTER);
        reads
    }

    /// Ends a hold whose time is over. True when there will be no more: the client has been calm.
    pub(super) fn poll_alarm(&mut self, cx: &mut Context<'_>, stream: &Stream) -> bool {
        if self.alarm.as_mut().poll(cx).is_pending() {
            return false;
        }
        if !self.coalescing.is_holding() || stream.set_low_water(1).is_err() {
            return true;
        }
        self.coalescing.end_hold();
        self.set_alarm(cx, CALM_AFTER);
        false
    }

    /// Handles a turn that has brought `messages`: begins a hold if it is time. True when there
    /// will be no more holds: they hinder the client, or there can be none.
    pub(super) fn handle_reads(
        &mut self,
        cx: &mut Context<'_>,
        (stream, pace): (&Stream, &mut Pace),
        (now, messages): (Moment, u64),
        sent: impl FnOnce() -> u64,
    ) -> bool {
        match self.coalescing.count_turn(now, messages, sent) {
            Advice::Read => return false,
            Advice::Hold { proven } if stream.set_low_water(HOLD_LEN).is_ok() => {
                if proven {
                    pace.reset_delay();
                }
                self.set_alarm(cx, HOLD_MAX);
                return false;
            }
            Advice::Hold { .. } | Advice::Stop => {}
        }
        pace.delay_next_try();
        true
    }

    #[cfg(test)]
    pub(super) fn is_holding(&self) -> bool {
        self.coalescing.is_holding()
    }

    /// Makes the alarm wake the task after `span`.
    fn set_alarm(&mut self, cx: &mut Context<'_>, span: Duration) {
        self.alarm.as_mut().reset(Instant::now() + span);
        // A timer counts from its first poll.
        let _ = self.alarm.as_mut().poll(cx);
    }
}
