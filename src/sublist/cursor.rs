//! `Cursor`: walks the announced subscriptions of a sublist piece by piece, while it changes.
//!
//! The lock of the sublist is released between two pieces. Subjects that have announced plain
//! entries all the time are visited at least once, and queues of a subject whose number of
//! announced entries stays the same; others may be left out, and one may be visited twice. A caller
//! that announces interest also announces each change meanwhile as it happens, and so misses
//! nothing.
//!
//! Order of the walk: a queue may move from beside the head of its subject to the head, but never
//! back, so those beside a head are visited before the heads. Patterns are visited from the end of
//! their arena, where a removal only moves the last one to an earlier place. Tables are visited by
//! a [`Walk`].

use crate::base::left::Left;
use crate::base::table::Walk;
use crate::sublist::{Entry, Sublist};

/// A position among the subjects of one sublist.
#[derive(Debug)]
pub struct Cursor {
    /// Groups beside heads that are still to be visited are in the sets from this one on,
    set: usize,
    /// and there from here on.
    groups: Walk,
    /// Patterns that are still to be visited are below this.
    pattern_end: usize,
    literals: Walk,
}

impl Cursor {
    /// The position before all subjects.
    pub fn new() -> Self {
        Self { set: 0, groups: Walk::new(), pattern_end: usize::MAX, literals: Walk::new() }
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Entry> Sublist<E> {
    /// Visits the announced entries from `cursor` on, some `steps_max` subjects and queues: their
    /// subject, queue and number.
    pub fn visit_announced(
        &self,
        cursor: &mut Cursor,
        steps_max: usize,
        mut visit: impl FnMut(&[u8], Option<&[u8]>, usize),
    ) -> Left {
        let mut steps = steps_max;
        while cursor.set < self.sets.len() && steps > 0 {
            for member in self.sets.step_groups(cursor.set, &mut cursor.groups) {
                let (subject, queue) = (member.subject(), member.queue());
                visit(subject, queue, self.announced_count(subject, queue));
                steps = steps.saturating_sub(1);
            }
            if cursor.groups.is_over() {
                (cursor.set, cursor.groups) = (cursor.set + 1, Walk::new());
            }
            steps = steps.saturating_sub(1);
        }
        let mut visit_head = |head: &E| {
            let (subject, queue) = (head.subject(), head.queue());
            let plain = self.sets.announced_count(head, None);
            if plain > 0 {
                visit(subject, None, plain);
            }
            // With others of its queue beside it, it was visited there.
            let alone = queue.is_some() && self.sets.announced_count_beside(head, queue) == 0;
            if alone && head.interest().is_announced() {
                visit(subject, queue, 1);
            }
        };
        cursor.pattern_end = cursor.pattern_end.min(self.patterns.len());
        while cursor.pattern_end > 0 && steps > 0 {
            cursor.pattern_end -= 1;
            visit_head(self.patterns.head_at(cursor.pattern_end));
            steps -= 1;
        }
        while !cursor.literals.is_over() && steps > 0 {
            for head in self.literals.step(&mut cursor.literals) {
                visit_head(head);
                steps = steps.saturating_sub(1);
            }
            steps = steps.saturating_sub(1);
        }
        let sets_done = cursor.set >= self.sets.len();
        match sets_done && cursor.pattern_end == 0 && cursor.literals.is_over() {
            true => Left::Nothing,
            false => Left::More,
        }
    }
}
