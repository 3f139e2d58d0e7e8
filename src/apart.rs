//! `Apart`: a value in memory of its own, which goes back to the system as a whole.
//!
//! The C library keeps the memory of a thread by itself, and gives it back when none of it is in
//! use. So a thread of its own makes the value and drops it: any other one would keep some of its
//! memory for the next allocations. Meanwhile it waits: the memory of a thread that has ended is
//! given to the next one that begins.

use std::ops::{Deref, DerefMut};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

/// A value in memory of its own.
pub(crate) struct Apart<T> {
    /// None once it is dropped.
    value: Option<T>,
    /// Takes the value back to its thread, which parks: to wait at a channel takes some memory, and
    /// all below that would stay.
    back: Arc<Mutex<Option<T>>>,
    thread: Option<JoinHandle<()>>,
    /// From the same memory, and dropped last.
    _last: Vec<u8>,
}

/// A piece of memory that makes glibc consolidate those freed before when it is freed: more than
/// 64 KiB, and less than the 128 KiB of a mapping of its own.
const CONSOLIDATING_LEN: usize = 96 * 1024;

impl<T: Send + 'static> Apart<T> {
    /// Makes a value, or gives the reason why there is none.
    pub(crate) fn make<E: Send + 'static>(
        make: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<Apart<T>, E> {
        let (give, made) = sync_channel(1);
        let back = Arc::new(Mutex::new(None));
        let returned = Arc::clone(&back);
        let thread = thread::spawn(move || {
            let made = make();
            let is_made = made.is_ok();
            let is_given = give.send((made, Vec::with_capacity(CONSOLIDATING_LEN))).is_ok();
            while is_given && is_made && returned.lock().take().is_none() {
                thread::park();
            }
        });
        let Ok((made, last)) = made.recv() else {
            resume_unwind(thread.join().expect_err("it ends only by a panic"));
        };
        Ok(Apart { value: Some(made?), back, thread: Some(thread), _last: last })
    }
}

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect(UNDROPPED)
    }
}

impl<T> DerefMut for Apart<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(UNDROPPED)
    }
}

const UNDROPPED: &str = "it is there until it is dropped";

impl<T> Drop for Apart<T> {
    fn drop(&mut self) {
        if let (Some(value), Some(thread)) = (self.value.take(), self.thread.take()) {
            *self.back.lock() = Some(value);
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::ThreadId;

    use super::*;

    /// Tells the thread that drops it.
    struct Probe(Sender<ThreadId>);

    impl Drop for Probe {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn the_thread_that_makes_a_value_drops_it() {
        let (sender, dropped_by) = channel();
        let make = || Ok::<_, ()>((Probe(sender), thread::current().id()));
        let Ok(value) = Apart::make(make) else { panic!("it is made") };
        let made_by = value.1;
        assert_ne!(made_by, thread::current().id());
        drop(value);
        assert_eq!(dropped_by.recv().unwrap(), made_by);
        assert!(Apart::<()>::make(|| Err("no")).is_err());
    }
}
