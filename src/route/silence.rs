//! `Silence`: detects another server that says nothing while messages are sent to it.
//!
//! A process can hang while its kernel goes on to acknowledge data, and no timeout of TCP notices
//! that. So the owner looks several times in `silence_max`.
//!
//! ```text
//!   messages go out  -->  asked by  -->  passed over  -->  passed over  -->  given up
//!   and nothing comes     a PING         for others
//!                    each arrow is a look: a third of `silence_max`
//! ```
//!
//! A server that is only busy, slow, or behind is not given up. Any byte received is a sign of
//! life, and so is any byte that its socket accepts after having refused some. A PING that waits
//! behind such bytes was not heard: the write deadline decides about that one. And looks are
//! counted, not time: the owner reads between two of them, so that a stall of this server counts as
//! one.
//!
//! Knows no connection and no clock.
//!
//! nats-differs: the real server sends a PING every 30 seconds, with any traffic, and the third one
//! without an answer ends the connection.

use std::time::Duration;

use crate::base::moment::Moment;
use crate::conn::Progress;

/// Looks in `silence_max`, and the number of them without result after the one that asks.
const LOOKS: u32 = 3;

/// The silence of one other server.
pub(super) struct Silence {
    /// Time of the next look; `NEVER` before the other server has introduced itself.
    pub(super) due: Moment,
    heard_at: Moment,
    /// Looks in a row without a sign of life, although one was due.
    in_vain: u32,
    /// Messages that had been sent at the last look that found it silent.
    out_msgs: u64,
    /// True if bytes waited for the socket at the last look.
    blocked: bool,
    /// True if bytes waited for the socket when it was asked.
    is_question_stuck: bool,
}

/// The action after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing.
    Alive,
    /// Ask for a sign of life.
    Ask,
    /// Prefer other servers.
    PassOver,
    /// Give it up.
    GiveUp,
}

impl Silence {
    pub(super) fn new() -> Silence {
        Silence {
            due: Moment::NEVER,
            heard_at: Moment::START,
            in_vain: 0,
            out_msgs: 0,
            blocked: false,
            is_question_stuck: false,
        }
    }

    /// Begins once the other server has introduced itself.
    pub(super) fn begin(&mut self, now: Moment, silence_max: Duration) {
        self.due = now + silence_max / LOOKS;
    }

    /// Handles a sign of life. True if it ends a silence.
    #[inline]
    pub(super) fn heard(&mut self, now: Moment) -> bool {
        self.heard_at = now;
        std::mem::take(&mut self.in_vain) > 0
    }

    /// Takes the look that was due; `out_msgs` messages have been sent by then.
    pub(super) fn look(
        &mut self,
        now: Moment,
        silence_max: Duration,
        out_msgs: u64,
        progress: Progress,
    ) -> Look {
        let span = silence_max / LOOKS;
        let Progress { blocked, progress_at, .. } = progress;
        let was_blocked = std::mem::replace(&mut self.blocked, blocked);
        self.due = now + span;
        let is_moving = !blocked || progress_at.is_some_and(|at| now.since(at) < span);
        if was_blocked && is_moving {
            self.in_vain = 0;
            return Look::Alive;
        }
        if now.since(self.heard_at) < span {
            self.due = self.heard_at + span;
            return Look::Alive;
        }
        let has_sent = std::mem::replace(&mut self.out_msgs, out_msgs) != out_msgs;
        if self.in_vain == 0 && !has_sent && !blocked {
            return Look::Alive;
        }
        self.in_vain += 1;
        match self.in_vain {
            1 => {
                self.is_question_stuck = blocked;
                Look::Ask
            }
            in_vain if in_vain <= LOOKS || self.is_question_stuck => Look::PassOver,
            _ => Look::GiveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(6);
    const SPAN: Duration = Duration::from_secs(2);

    /// A route that is looked at when due.
    struct Watched {
        silence: Silence,
        now: Moment,
        sent: u64,
        progress: Progress,
    }

    impl Watched {
        fn new() -> Watched {
            let mut silence = Silence::new();
            assert_eq!(silence.due, Moment::NEVER);
            silence.begin(Moment::START, MAX);
            let progress =
                Progress { written: 0, pending_bytes: 0, blocked: false, progress_at: None };
            Watched { silence, now: Moment::START, sent: 0, progress }
        }

        fn look(&mut self) -> Look {
            self.now = self.silence.due;
            self.look_late(Duration::ZERO)
        }

        fn look_late(&mut self, late: Duration) -> Look {
            self.now = self.now + late;
            self.silence.look(self.now, MAX, self.sent, self.progress)
        }

        /// Sends before each of so many looks.
        fn send(&mut self, looks: usize) -> Vec<Look> {
            let look = |_| {
                self.sent += 1;
                self.look()
            };
            (0..looks).map(look).collect()
        }

        fn block(&mut self, progress_at: Option<Moment>) {
            self.progress.blocked = true;
            self.progress.progress_at = progress_at;
        }
    }

    #[test]
    fn who_stands_still_is_given_up_within_ten_seconds_of_the_first_message() {
        let mut other = Watched::new();
        for _ in 0..100 {
            assert_eq!(other.look(), Look::Alive, "nothing was sent");
        }
        let start = other.now;
        assert_eq!(other.send(4), [Look::Ask, Look::PassOver, Look::PassOver, Look::GiveUp]);
        assert!(other.now - start <= Duration::from_secs(8));
        // One message suffices.
        let mut other = Watched::new();
        other.sent = 1;
        let looks = [(); 4].map(|()| other.look());
        assert_eq!(looks, [Look::Ask, Look::PassOver, Look::PassOver, Look::GiveUp]);
    }

    #[test]
    fn the_silence_begins_with_the_last_that_it_said() {
        let mut other = Watched::new();
        let last = Moment::START + Duration::from_millis(1900);
        other.silence.heard(last);
        other.sent = 1;
        let looks = [(); 5].map(|()| other.look());
        assert_eq!((looks[0], looks[4]), (Look::Alive, Look::GiveUp));
        assert_eq!(other.now, last + SPAN * 4);
    }

    #[test]
    fn whatever_it_says_is_a_sign_of_life() {
        let mut other = Watched::new();
        for _ in 0..100 {
            assert_eq!(other.send(3), [Look::Ask, Look::PassOver, Look::PassOver]);
            // Late, and perhaps no answer to the PING.
            assert!(other.silence.heard(other.now));
            assert!(!other.silence.heard(other.now + SPAN / 2));
            assert_eq!(other.send(1), [Look::Alive]);
        }
        for _ in 0..100 {
            other.silence.heard(other.now + SPAN / 2);
            assert_eq!(other.send(1), [Look::Alive]);
        }
    }

    #[test]
    fn who_reads_slowly_is_alive() {
        let mut other = Watched::new();
        other.block(None);
        assert_eq!(other.send(1), [Look::Ask]);
        for _ in 0..100 {
            other.block(Some(other.now + SPAN / 2));
            assert_eq!(other.send(1), [Look::Alive]);
        }
        // It has accepted the refused bytes since the last look.
        other.progress.blocked = false;
        assert_eq!(other.send(2), [Look::Alive, Look::Ask]);
    }

    /// The PING has not even gone out.
    #[test]
    fn who_takes_nothing_is_passed_over_and_not_given_up() {
        let mut other = Watched::new();
        other.block(Some(other.now));
        assert_eq!(other.send(2), [Look::Ask, Look::PassOver]);
        for _ in 0..100 {
            assert_eq!(other.send(1), [Look::PassOver]);
        }
        other.progress.blocked = false;
        assert_eq!(other.send(2), [Look::Alive, Look::Ask]);
        // Of the question that went out before it knew.
        other.block(None);
        assert_eq!(other.send(3), [Look::PassOver, Look::PassOver, Look::GiveUp]);
    }

    #[test]
    fn a_standstill_of_this_server_is_one_look() {
        let mut other = Watched::new();
        other.sent = 1;
        assert_eq!(other.look_late(Duration::from_secs(3600)), Look::Ask);
        assert_eq!(other.look_late(Duration::from_secs(3600)), Look::PassOver);
        other.silence.heard(other.now);
        assert_eq!(other.look(), Look::Alive);
    }
}
