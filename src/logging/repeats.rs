//! `Repeats`: lines that a connection causes again and again, and their count.
//!
//! One connection may cause [`BURST`] lines of one kind in a [`SPAN`]; further ones are counted,
//! and one line at the span's end shows the count. So a client that is refused a hundred thousand
//! times a second costs ten lines and a number, and hides no other client's lines.
//! Knows no thread and no file; the time is an argument.

use std::time::Duration;

use hashbrown::HashMap;
use tracing::callsite::Identifier;

use super::format::Label;
use crate::base::moment::Moment;

/// Lines of one cause in a span that are printed.
const BURST: u32 = 10;

/// Time after which the count of a cause begins anew.
pub(super) const SPAN: Duration = Duration::from_secs(1);

/// Causes known at a time. Those of further connections are taken together, by event.
const CAUSES_MAX: usize = 1024;

/// Bytes of the last line that are repeated with the count.
const LAST_LEN_MAX: usize = 512;

/// A connection and an event in the code. Connections of all kinds share their numbers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Cause {
    pub(super) conn: u64,
    pub(super) callsite: Identifier,
}

/// Number of no connection: stands for all connections without room.
const ANY: u64 = 0;

/// The decision on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printing {
    Print,
    /// The last one of this span: the caller keeps its text for the count.
    PrintLast,
    Withhold,
}

/// Lines that were not printed.
pub(super) struct Withheld {
    pub(super) label: Label,
    /// Text of the last printed one.
    pub(super) text: String,
    pub(super) count: u64,
}

/// The recent causes.
#[derive(Default)]
pub(super) struct Repeats {
    causes: HashMap<Cause, Counts, foldhash::fast::RandomState>,
}

struct Counts {
    since: Moment,
    printed: u32,
    withheld: u64,
    last: Option<(Label, String)>,
}

impl Repeats {
    /// Decides on one more line of a cause.
    pub(super) fn judge(&mut self, cause: &Cause, now: Moment) -> Printing {
        let known = self.causes.contains_key(cause);
        let cause = match known || self.causes.len() < CAUSES_MAX {
            true => cause.clone(),
            false => Cause { conn: ANY, ..cause.clone() },
        };
        let counts = self.causes.entry(cause).or_insert_with(|| Counts::new(now));
        // A cause with withheld lines ends in `take_due`, which reports them.
        if counts.withheld == 0 && now - counts.since >= SPAN {
            *counts = Counts::new(now);
        }
        if counts.printed == BURST {
            counts.withheld += 1;
            return Printing::Withhold;
        }
        counts.printed += 1;
        if counts.printed == BURST { Printing::PrintLast } else { Printing::Print }
    }

    /// Keeps the text of the last line printed for a cause.
    pub(super) fn remember(&mut self, cause: &Cause, label: Label, mut text: String) {
        let boundary = (0..=LAST_LEN_MAX).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(boundary.unwrap_or(0));
        let any = Cause { conn: ANY, ..cause.clone() };
        for cause in [cause, &any] {
            if let Some(counts) = self.causes.get_mut(cause) {
                counts.last = Some((label, text));
                return;
            }
        }
    }

    /// True if no cause waits for its end.
    pub(super) fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    /// Ends the spans that are over, or all, and returns their withheld lines.
    pub(super) fn take_due(&mut self, now: Moment, all: bool) -> Vec<Withheld> {
        let mut due = Vec::new();
        let ended = self.causes.extract_if(|_, counts| all || now - counts.since >= SPAN);
        for (_, Counts { withheld: count, last, .. }) in ended {
            if let (1.., Some((label, text))) = (count, last) {
                due.push(Withheld { label, text, count });
            }
        }
        due
    }
}

impl Counts {
    fn new(now: Moment) -> Counts {
        Counts { since: now, printed: 0, withheld: 0, last: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(conn: u64) -> Cause {
        struct Site;
        impl tracing::callsite::Callsite for Site {
            fn set_interest(&self, _: tracing::subscriber::Interest) {}
            fn metadata(&self) -> &tracing::Metadata<'_> {
                unreachable!("nobody asks")
            }
        }
        Cause { conn, callsite: Identifier(&Site) }
    }

    #[test]
    fn lines_behind_a_burst_are_counted_and_told_of_once() {
        let mut repeats = Repeats::default();
        let now = Moment::START;
        for number in 1..=BURST {
            let wanted = if number == BURST { Printing::PrintLast } else { Printing::Print };
            assert_eq!(repeats.judge(&cause(1), now), wanted);
        }
        repeats.remember(&cause(1), Label::Error, "a".repeat(LAST_LEN_MAX + 1));
        for _ in 0..48_123 {
            assert_eq!(repeats.judge(&cause(1), now), Printing::Withhold);
        }
        assert_eq!(repeats.judge(&cause(2), now), Printing::Print, "somebody else");
        assert!(repeats.take_due(now, false).is_empty());
        let due = repeats.take_due(now + SPAN, false);
        assert_eq!((due.len(), due[0].count, due[0].text.len()), (1, 48_123, LAST_LEN_MAX));
        assert!(repeats.is_empty());
        assert_eq!(repeats.judge(&cause(1), now + SPAN), Printing::Print, "a new span");
    }

    #[test]
    fn calm_causes_begin_anew() {
        let mut repeats = Repeats::default();
        let mut now = Moment::START;
        for _ in 0..3 * BURST {
            assert_ne!(repeats.judge(&cause(1), now), Printing::Withhold);
            now = now + SPAN / 5;
        }
    }

    #[test]
    fn causes_are_bounded() {
        let mut repeats = Repeats::default();
        let count = CAUSES_MAX as u64 + 1000;
        let judged = (1..=count).map(|conn| repeats.judge(&cause(conn), Moment::START));
        let printed = judged.filter(|printing| *printing != Printing::Withhold).count();
        assert_eq!(printed, CAUSES_MAX + BURST as usize);
        assert_eq!(repeats.causes.len(), CAUSES_MAX + 1);
    }
}
