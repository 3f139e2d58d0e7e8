//! `Lane`: tasks that have much to do, in order.
//!
//! Such a task has a [`LaneEntry`] in a lane. A few of them are in at a time, the others wait in
//! the order of their coming. So a task woken by its socket waits for few turns, even if many tasks
//! have much to do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets in a few tasks at a time.
pub(crate) struct Lane(Arc<Semaphore>);

/// The position of a task.
#[derive(Default)]
pub(crate) struct LaneEntry {
    state: State,
    over: bool,
}

#[derive(Default)]
enum State {
    #[default]
    Out,
    Waiting(Pin<Box<dyn Future<Output = Permit> + Send>>),
    In {
        _permit: Permit,
    },
}

type Permit = OwnedSemaphorePermit;

impl Lane {
    /// A lane for so many at a time.
    pub(crate) fn new(count: usize) -> Lane {
        Lane(Arc::new(Semaphore::new(count)))
    }
}

impl LaneEntry {
    /// Ready when the task is in; else wakes it then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, lane: &Lane) -> Poll<()> {
        if let State::Out = self.state {
            self.state = match Arc::clone(&lane.0).try_acquire_owned() {
                Ok(permit) => State::In { _permit: permit },
                Err(_) => {
                    let permit = Arc::clone(&lane.0).acquire_owned();
                    State::Waiting(Box::pin(async { permit.await.expect("nobody closes it") }))
                }
            };
        }
        if let State::Waiting(permit) = &mut self.state {
            self.state = State::In { _permit: ready!(permit.as_mut().poll(cx)) };
        }
        Poll::Ready(())
    }

    /// Lets the next one in, if it is in itself; the next time it starts behind all others.
    pub(crate) fn leave(&mut self) {
        if let State::In { .. } = self.state {
            self.state = State::Out;
        }
    }

    /// Ends its stay: the task has no more to do.
    pub(crate) fn end(&mut self) {
        self.over = true;
    }

    /// True if the task had no more to do.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn is_in(entry: &mut LaneEntry, lane: &Lane) -> bool {
        entry.poll(&mut Context::from_waker(Waker::noop()), lane).is_ready()
    }

    #[tokio::test]
    async fn who_leaves_stands_behind_all_others() {
        let lane = Lane::new(1);
        let [mut one, mut two, mut three] = [(); 3].map(|()| LaneEntry::default());
        assert!(is_in(&mut one, &lane));
        assert!(!is_in(&mut two, &lane));
        assert!(!is_in(&mut three, &lane));
        assert!(is_in(&mut one, &lane), "it stays in until it leaves");
        one.leave();
        assert!(!is_in(&mut one, &lane));
        assert!(!is_in(&mut three, &lane));
        assert!(is_in(&mut two, &lane));
        drop(two);
        assert!(is_in(&mut three, &lane));
        drop(one);
        drop(three);
        assert!(is_in(&mut LaneEntry::default(), &lane), "who is gone waits no more");
    }
}
