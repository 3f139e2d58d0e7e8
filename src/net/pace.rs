//! `Pace`: whether a worker thread rests before it waits for its sockets again.
//!
//! A client that writes each message by itself, as fast as it can, wakes a waiting thread for every
//! few of them, and a wake-up costs many times what a message does. Nobody wakes a thread that
//! rests: what arrives meanwhile is read at once and goes out together. So a thread rests that is
//! woken again and again for a few of many messages. It goes on for as long as they come as fast as
//! before; where they do not, somebody waits for an answer, and the next try is twice as far off.
//!
//! Knows counts and moments. Knows no socket, no clock and no thread.

use std::time::Duration;

use crate::moment::Moment;

/// How long a thread rests. Others may wait that long too, on a thread with so much to do.
pub(crate) const REST: Duration = Duration::from_micros(200);

/// Wake-ups that bring more messages are worth their cost.
const FEW_MAX: u64 = 32;

/// Wake-ups further from each other are not too many.
const HURRY_MAX: Duration = Duration::from_micros(50);

/// Messages further from each other are not many. Request and reply in turns are slower.
const INTERVAL_MAX: Duration = Duration::from_micros(12);

/// Messages may come so many times slower while the thread rests. It is far more than that where
/// rests hold them up.
const SLOWER_MAX: u32 = 2;

/// Wake-ups from which a thread judges whether to rest: to begin with, and at most.
const PATIENCE_MIN: u32 = 16;
const PATIENCE_MAX: u32 = 65_536;

/// Rests that are judged together. The first brings little of much: the kernel of the client sends
/// only as many packets as it has been told are wanted.
const RESTS_JUDGED: u32 = 4;

/// What one thread remembers of its wake-ups.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the thread last had nothing to do, and the messages it had handled by then.
    idle: Moment,
    handled: u64,
    /// Wake-ups since it last judged.
    seen: Seen,
    /// Wake-ups from which it judges next.
    patience: u32,
    /// While the thread rests: the time between two messages that it may take.
    interval: Option<Duration>,
}

/// Some wake-ups: how many, how long they took, and the messages they brought.
#[derive(Debug, Default)]
struct Seen {
    count: u32,
    span: Duration,
    messages: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            idle: Moment::START,
            handled: 0,
            seen: Seen::default(),
            patience: PATIENCE_MIN,
            interval: None,
        }
    }
}

impl Pace {
    /// The thread has had nothing to do since `now`, and has `handled` so many messages in all.
    /// True if it should rest for [`REST`] before it waits for its sockets.
    pub(crate) fn handle_idle(&mut self, now: Moment, handled: u64) -> bool {
        let messages = handled - std::mem::replace(&mut self.handled, handled);
        if messages == 0 {
            return false;
        }
        let span = now - std::mem::replace(&mut self.idle, now);
        self.seen.add(span, messages);
        let rests = self.interval.is_some();
        if self.seen.count < if rests { RESTS_JUDGED } else { self.patience } {
            return rests;
        }
        let seen = std::mem::take(&mut self.seen);
        match self.interval {
            Some(interval) if seen.interval() <= interval => self.patience = PATIENCE_MIN,
            Some(_) => {
                self.interval = None;
                self.patience = (self.patience * 2).min(PATIENCE_MAX);
            }
            None => self.interval = seen.is_hurried().then(|| seen.interval() * SLOWER_MAX),
        }
        self.interval.is_some()
    }
}

impl Seen {
    fn add(&mut self, span: Duration, messages: u64) {
        self.count += 1;
        self.span += span;
        self.messages += messages;
    }

    /// Many wake-ups, for few of many messages each.
    fn is_hurried(&self) -> bool {
        self.span <= HURRY_MAX * self.count
            && self.messages <= FEW_MAX * u64::from(self.count)
            && self.interval() <= INTERVAL_MAX
    }

    /// From message to message, of which there is one at least.
    fn interval(&self) -> Duration {
        let messages = u32::try_from(self.messages).unwrap_or(u32::MAX);
        self.span / messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread with a clock: each step is what it brought, and how long after the last one.
    #[derive(Default)]
    struct Thread {
        pace: Pace,
        now: Moment,
        handled: u64,
    }

    impl Thread {
        fn idle(&mut self, micros: u64, messages: u64) -> bool {
            self.now = self.now + Duration::from_micros(micros);
            self.handled += messages;
            self.pace.handle_idle(self.now, self.handled)
        }

        /// Wake-ups until it rests, of `most`.
        fn wake_ups_until_rest(&mut self, micros: u64, messages: u64, most: u32) -> Option<u32> {
            (1..=most).find(|_| self.idle(micros, messages))
        }
    }

    #[test]
    fn it_rests_from_many_wake_ups_for_few_messages() {
        let mut thread = Thread::default();
        assert_eq!(thread.wake_ups_until_rest(20, 4, 100), Some(PATIENCE_MIN));
        for _ in 0..100 {
            assert!(thread.idle(220, 44), "as many messages as without a rest");
        }
    }

    #[test]
    fn batches_and_slow_clients_do_not_tire_it() {
        let rests = |micros, messages| {
            Thread::default().wake_ups_until_rest(micros, messages, 1000).is_some()
        };
        assert!(!rests(30, FEW_MAX + 1), "batches");
        assert!(!rests(20, 1), "request and reply in turns");
        assert!(!rests(51, 20), "seldom");
    }

    #[test]
    fn a_rest_that_slows_clients_down_is_not_repeated_soon() {
        let mut thread = Thread::default();
        for tries in 0..20 {
            let patience = (PATIENCE_MIN << tries).min(PATIENCE_MAX);
            assert_eq!(thread.wake_ups_until_rest(10, 10, u32::MAX), Some(patience));
            let rests = (0..10).take_while(|_| thread.idle(210, 100)).count();
            assert_eq!(rests, RESTS_JUDGED as usize - 1, "100 outstanding requests, all answered");
        }
    }

    #[test]
    fn it_stops_resting_when_the_load_ends() {
        let mut thread = Thread::default();
        assert_eq!(thread.wake_ups_until_rest(10, 10, u32::MAX), Some(PATIENCE_MIN));
        for _ in 0..2 * RESTS_JUDGED {
            assert!(thread.idle(210, 210));
            assert!(!thread.idle(1, 0), "a wake-up for nothing tells nothing");
        }
        let rests = (0..10).take_while(|_| thread.idle(210, 1)).count();
        assert_eq!(rests, RESTS_JUDGED as usize - 1);
        assert_eq!(thread.wake_ups_until_rest(10, 10, u32::MAX), Some(2 * PATIENCE_MIN));
    }
}
