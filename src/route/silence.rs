//! `Silence`: whether the other server still says anything while it is sent messages.
//!
//! A process can stand still while its kernel goes on to acknowledge what it is sent, and no
//! timeout of TCP notices that. So the owner looks several times in `silence_max`.
//!
//! ```text
//!   messages go out  -->  asked by  -->  passed over  -->  passed over  -->  given up
//!   and nothing comes     a PING         for others
//!                    each arrow is a look: a third of `silence_max`
//! ```
//!
//! Nobody is blamed who is only busy, slow, or behind. Any byte is a sign of life, and so is any
//! that the socket takes of what it had refused. A question that waits behind such bytes was not
//! heard: that one is for the write deadline to judge. And looks are counted, not time: the owner
//! reads between two of them, so that a standstill of this server counts as one.
//!
//! Knows no connection and no clock.
//!
//! nats-differs: the real server asks whatever the traffic, every 30 seconds, and takes the third
//! question without an answer for the end.

use std::time::Duration;

use crate::base::moment::Moment;
use crate::conn::Progress;

/// Looks in `silence_max`, and how many of them may find nothing after the one that asks.
const LOOKS: u32 = 3;

/// How long one other server has been silent.
pub(super) struct Silence {
    /// When to look next; `NEVER` before it is known who is there.
    pub(super) due: Moment,
    heard_at: Moment,
    /// Looks in a row that found no sign of life, although there was something to be heard.
    in_vain: u32,
    /// Messages that had been sent at the last look that found it silent.
    out_msgs: u64,
    /// Something waited for the socket at the last look.
    blocked: bool,
    /// So it was when it was asked.
    is_question_stuck: bool,
}

/// What is to be done after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing.
    Alive,
    /// Ask for a sign of life.
    Ask,
    /// Prefer others.
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

    /// It is known who is there.
    pub(super) fn begin(&mut self, now: Moment, silence_max: Duration) {
        self.due = now + silence_max / LOOKS;
    }

    /// Something has come. True if it ends a silence.
    #[inline]
    pub(super) fn heard(&mut self, now: Moment) -> bool {
        self.heard_at = now;
        std::mem::take(&mut self.in_vain) > 0
    }

    /// The look that was due, by which so many messages have been sent.
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

    /// A route at which is looked when that is due.
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
        // One message is enough.
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
            // Late, and perhaps no answer.
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
        // What it has refused before the last look it has taken meanwhile.
        other.progress.blocked = false;
        assert_eq!(other.send(2), [Look::Alive, Look::Ask]);
    }

    /// The question has not even gone out.
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
