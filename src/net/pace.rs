//! `Pace`: finds connections that are *hurried*; `Coalescing`: coalesces their reads.
//!
//! A client that writes each message by itself, as fast as it can, wakes its task for every few of
//! them, and a wake-up costs many times as much as a message. So its reads are coalesced: for a
//! moment, a *hold*, it wakes no task, and its bytes gather, to be read at once and sent on
//! together. They gather on the client's side already: its kernel allows only so many packets on
//! their way before they are acknowledged, which a read does; those that wait become one large
//! packet.
//!
//! Between two holds some turns are taken as they come. Some kernels (BBR) adapt the number of
//! packets on their way to the bytes acknowledged at once, and would soon send each small packet by
//! itself again; these turns bring the number down.
//!
//! A client that waits for answers is not held. That is one that gets about as many messages as
//! it sends. And if messages come slower with holds than without, it waits for answers in some
//! other way: then the next try is twice as far off.
//!
//! Knows counts and moments. Knows no socket, no clock and no thread.

use std::time::Duration;

use crate::base::moment::Moment;

/// Longest hold, in the milliseconds of tokio's timers.
pub(crate) const HOLD_MAX: Duration = Duration::from_millis(1);

/// A client that has not sent enough for another hold by then is not hurried any more.
pub(crate) const CALM_AFTER: Duration = Duration::from_millis(100);

/// Bytes that end a hold early. A socket's buffer holds twice as many; a larger value would make
/// the kernel change it.
pub(crate) const HOLD_LEN: usize = 64 * 1024;

/// Turns that bring more messages are worth their wake-up.
const FEW_MAX: u64 = 32;

/// Turns with larger gaps are not too many.
const GAP_MAX: Duration = Duration::from_micros(50);

/// Messages with larger gaps are not many. Request and reply in turns are slower.
const INTERVAL_MAX: Duration = Duration::from_micros(12);

/// Turns without hold between two holds: enough to make the client's kernel forget the effect of
/// the hold.
const TURNS: u32 = 16;

/// Messages may come so many times slower with holds. Holds that hinder a client slow it far
/// more.
const SLOWER_MAX: u32 = 2;

/// A client that gets one message for so many of its own, or more, may wait for each of them.
const ANSWERED_MIN: u64 = 8;

/// Hurried turns before holds are tried: to begin with, and at most.
const PATIENCE_MIN: u16 = 16;
const PATIENCE_MAX: u16 = 32 * 1024;

/// The part of a task's state about its turns, kept all of the time.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Hurried turns; each other turn takes one away.
    hurried: u16,
    /// Hurried turns at which holds are tried.
    patience: u16,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { hurried: 0, patience: PATIENCE_MIN }
    }
}

impl Pace {
    /// Counts a turn with `messages`, `gap` after the one before. True if holds should be tried.
    pub(crate) fn count_turn(&mut self, gap: Duration, messages: u64) -> bool {
        if messages == 0 {
            return false;
        }
        let few = messages.min(FEW_MAX) as u32;
        if messages > FEW_MAX || gap > GAP_MAX.min(INTERVAL_MAX * few) {
            self.hurried = self.hurried.saturating_sub(1);
            return false;
        }
        self.hurried += 1;
        if self.hurried < self.patience {
            return false;
        }
        self.hurried = 0;
        true
    }

    /// Puts the next try off: holds have hindered the client.
    pub(crate) fn delay_next_try(&mut self) {
        self.patience = self.patience.saturating_mul(2).min(PATIENCE_MAX);
    }

    /// Brings the next try near: holds were worth it.
    pub(crate) fn reset_delay(&mut self) {
        self.patience = PATIENCE_MIN;
    }
}

/// The holds of one hurried connection, from one to the next.
#[derive(Debug)]
pub(crate) struct Coalescing {
    holding: bool,
    /// Start of the last hold, or, without one so far, of the first of the turns.
    start: Moment,
    /// Turns since the last hold.
    turns: u32,
    /// Messages since `start`.
    messages: u64,
    /// Messages sent to the client by then.
    sent_before: u64,
    /// Longest time per message that holds may take; unknown before the first one.
    interval_max: Option<Duration>,
}

/// The result of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Nothing to change.
    Read,
    /// A hold is due; `proven` if those before were worth it.
    Hold { proven: bool },
    /// Holds hinder the client, or would, or it is not hurried any more.
    Stop,
}

impl Coalescing {
    /// No hold so far. `sent` messages have been sent to the client.
    pub(crate) fn new(now: Moment, sent: u64) -> Coalescing {
        let (holding, turns, messages) = (false, 0, 0);
        Coalescing { holding, start: now, turns, messages, sent_before: sent, interval_max: None }
    }

    /// True during a hold, which has to be ended.
    pub(crate) fn is_holding(&self) -> bool {
        self.holding
    }

    /// Ends the hold.
    pub(crate) fn end_hold(&mut self) {
        self.holding = false;
    }

    /// Counts a turn with `messages`. `sent` gives the number sent to the client.
    pub(crate) fn count_turn(
        &mut self,
        now: Moment,
        messages: u64,
        sent: impl FnOnce() -> u64,
    ) -> Advice {
        self.messages += messages;
        self.turns += u32::from(!self.holding && messages > 0);
        if self.turns < TURNS {
            return Advice::Read;
        }
        let interval = (now - self.start) / u32::try_from(self.messages).unwrap_or(u32::MAX);
        let proven = self.interval_max.is_some();
        let hurried = interval.min(INTERVAL_MAX);
        let interval_max = self.interval_max.unwrap_or(hurried * SLOWER_MAX);
        let sent = sent();
        if interval > interval_max || (sent - self.sent_before) * ANSWERED_MIN >= self.messages {
            return Advice::Stop;
        }
        let interval_max = Some(interval_max);
        *self = Coalescing { holding: true, interval_max, ..Coalescing::new(now, sent) };
        Advice::Hold { proven }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Turns until holds are tried, `most` at most.
    fn turns_until_tried(pace: &mut Pace, gap: u64, messages: u64, most: u32) -> Option<u32> {
        (1..=most).find(|_| pace.count_turn(micros(gap), messages))
    }

    /// A connection with a clock.
    struct Client {
        coalescing: Coalescing,
        now: Moment,
        sent: u64,
    }

    impl Client {
        fn new() -> Client {
            Client { coalescing: Coalescing::new(Moment::START, 0), now: Moment::START, sent: 0 }
        }

        fn turn(&mut self, gap: u64, messages: u64) -> Advice {
            self.now = self.now + micros(gap);
            self.coalescing.count_turn(self.now, messages, || self.sent)
        }

        /// Turns until the first with a result.
        fn turns(&mut self, gap: u64, messages: u64) -> (u32, Advice) {
            (1..)
                .map(|turn| (turn, self.turn(gap, messages)))
                .find(|&(_, v)| v != Advice::Read)
                .unwrap()
        }
    }

    #[test]
    fn many_turns_for_few_messages_are_hurried() {
        let min = Some(u32::from(PATIENCE_MIN));
        assert_eq!(turns_until_tried(&mut Pace::default(), 20, 4, 100), min);
        assert_eq!(turns_until_tried(&mut Pace::default(), 12, 1, 100), min);
        let mut pace = Pace::default();
        let tried =
            (0..100).any(|turn| pace.count_turn(micros(if turn % 3 == 0 { 60 } else { 5 }), 2));
        assert!(tried, "some are not");
    }

    #[test]
    fn batches_and_slow_clients_are_not_hurried() {
        let tried =
            |gap, messages| turns_until_tried(&mut Pace::default(), gap, messages, 1000).is_some();
        assert!(!tried(30, FEW_MAX + 1), "batches");
        assert!(!tried(20, 1), "request and reply in turns");
        assert!(!tried(51, 20), "seldom");
        assert!(!tried(0, 0), "woken for nothing");
    }

    #[test]
    fn holds_go_on_while_they_bring_as_much() {
        let mut client = Client::new();
        assert_eq!(client.turns(20, 4), (TURNS, Advice::Hold { proven: false }));
        for _ in 0..100 {
            assert!(client.coalescing.is_holding());
            assert_eq!(client.turn(500, 100), Advice::Read, "plenty came");
            assert_eq!(client.turn(500, 0), Advice::Read);
            client.coalescing.end_hold();
            assert_eq!(client.turns(20, 4), (TURNS, Advice::Hold { proven: true }));
        }
    }

    #[test]
    fn holds_end_where_they_hinder_the_client() {
        let mut client = Client::new();
        assert_eq!(client.turns(10, 10), (TURNS, Advice::Hold { proven: false }));
        client.coalescing.end_hold();
        assert_eq!(client.turn(1000, 100), Advice::Read, "100 outstanding requests, all answered");
        assert_eq!(client.turns(10, 10), (TURNS - 1, Advice::Stop));
    }

    #[test]
    fn who_has_become_slow_is_not_held() {
        assert_eq!(Client::new().turns(5000, 4), (TURNS, Advice::Stop), "before the first hold");
        let mut client = Client::new();
        assert_eq!(client.turns(20, 4), (TURNS, Advice::Hold { proven: false }));
        client.coalescing.end_hold();
        assert_eq!(client.turns(5000, 4), (TURNS, Advice::Stop), "after it");
    }

    #[test]
    fn who_is_answered_is_not_held() {
        let mut client = Client::new();
        client.sent = 3 * u64::from(TURNS);
        assert_eq!(client.turns(10, 10), (TURNS, Advice::Stop));
        let mut client = Client::new();
        client.sent = u64::from(TURNS);
        assert_eq!(client.turns(10, 10), (TURNS, Advice::Hold { proven: false }), "a few are none");
    }

    #[test]
    fn the_next_try_is_twice_as_far_off_until_one_succeeds() {
        let mut pace = Pace::default();
        for tries in 0..20 {
            let patience = (u32::from(PATIENCE_MIN) << tries).min(u32::from(PATIENCE_MAX));
            assert_eq!(turns_until_tried(&mut pace, 10, 10, u32::MAX), Some(patience));
            pace.delay_next_try();
        }
        pace.reset_delay();
        assert_eq!(turns_until_tried(&mut pace, 10, 10, 100), Some(u32::from(PATIENCE_MIN)));
    }
}
