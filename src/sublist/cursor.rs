//! `Cursor`: goes over the local subscriptions of a sublist piece by piece, while it changes.
//!
//! The lock of the sublist is let go between two pieces. Subjects that have local entries all the
//! time are visited at least once; others may be left out, and one may be visited twice. Whoever
//! announces interest tells of what comes and goes meanwhile as it happens, and so misses nothing.
//!
//! How it keeps its place: patterns are visited from the end of their arena, in which removal only
//! moves what is last to an earlier place. Literals are visited by their bucket, and again from the
//! start when their table was rebuilt, which growth makes twice as rare each time.

use crate::sublist::{Entry, Sublist};

/// A place among the subjects of one sublist.
#[derive(Debug)]
pub struct Cursor {
    /// Patterns that are still to be visited are below this.
    pattern_end: usize,
    /// Literals that are still to be visited are from here on,
    bucket: usize,
    /// if the table was rebuilt that many times.
    rebuilds: u64,
}

impl Cursor {
    /// The place before all subjects.
    pub fn new() -> Self {
        Self { pattern_end: usize::MAX, bucket: 0, rebuilds: 0 }
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Entry> Sublist<E> {
    /// Visits the local entries from `cursor` on, some `steps_max` subjects far: subject, queue and
    /// how many there are of them. True at the end of all.
    pub fn visit_locals(
        &self,
        cursor: &mut Cursor,
        steps_max: usize,
        mut visit: impl FnMut(&[u8], Option<&[u8]>, usize),
    ) -> bool {
        let mut steps = steps_max;
        let mut visit_head = |head: &E| {
            self.sets.locals(head, |queue, count| visit(head.subject(), queue, count));
        };
        cursor.pattern_end = cursor.pattern_end.min(self.patterns.len());
        while cursor.pattern_end > 0 && steps > 0 {
            cursor.pattern_end -= 1;
            visit_head(self.patterns.head_at(cursor.pattern_end));
            steps -= 1;
        }
        if cursor.rebuilds != self.rebuilds {
            (cursor.bucket, cursor.rebuilds) = (0, self.rebuilds);
        }
        while cursor.bucket < self.literals.num_buckets() && steps > 0 {
            if let Some(head) = self.literals.get_bucket(cursor.bucket) {
                visit_head(head);
            }
            cursor.bucket += 1;
            steps -= 1;
        }
        cursor.pattern_end == 0 && cursor.bucket >= self.literals.num_buckets()
    }
}
