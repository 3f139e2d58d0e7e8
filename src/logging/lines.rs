//! `Lines`: pending lines of the log, and the thread that writes them.
//!
//! A thread that logs appends to a queue and goes on. While the queue is full, because the reader
//! of standard error or the disk has stopped, lines are lost and counted; the count is logged when
//! there is room.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::file::LogFile;
use super::format::{Format, Label};
use super::repeats::{Cause, Printing, Repeats, SPAN, Withheld};
use super::syslog::Syslog;
use crate::base::os_error::OsError;
use crate::clock::Clock;

/// Bytes that may wait to be written.
const QUEUE_LEN_MAX: usize = 1024 * 1024;

/// Time for an ending log to write its pending lines.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The answer to a wish to open the file anew.
const NO_FILE: &str = "File log re-open ignored, not a file logger";

/// The output of lines.
pub(super) enum Sink {
    Stderr,
    File(LogFile),
    Syslog(Syslog),
}

/// The lines of one log.
pub(super) struct Lines {
    format: Mutex<Arc<Format>>,
    clock: Clock,
    queue: Mutex<Queue>,
    /// Signals lines to write, or that all are written.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// Bytes of the lines in `entries`.
    len: usize,
    lost: u64,
    repeats: Repeats,
    /// The thread has taken entries that it has not written yet.
    writing: bool,
    ended: bool,
}

enum Entry {
    Line(String),
    Reopen,
    /// All lines after it go there.
    Switch(Sink),
}

impl Lines {
    /// Starts the thread that writes to `sink`. It ends after [`end`](Lines::end).
    pub(super) fn start(format: Format, mut sink: Sink) -> Arc<Lines> {
        let lines = Arc::new(Lines {
            format: Mutex::new(Arc::new(format)),
            clock: Clock::start(),
            queue: Mutex::default(),
            changed: Condvar::new(),
        });
        let writer = Arc::clone(&lines);
        let thread = thread::Builder::new().name("log".to_owned());
        let started = thread.spawn(move || {
            while let Some(entries) = writer.take() {
                sink.write(entries, &writer.format());
            }
        });
        started.expect("a process that begins can have a thread");
        lines
    }

    /// Adds a line with this text, if there is room.
    pub(super) fn push(&self, label: Label, text: &str) {
        let line = self.format().line(label, text);
        let mut queue = self.queue.lock();
        if queue.len + line.len() > QUEUE_LEN_MAX {
            queue.lost += 1;
            return;
        }
        self.add(queue, line);
    }

    /// Decides on one more line of a cause.
    pub(super) fn judge(&self, cause: &Cause) -> Printing {
        let now = self.clock.now();
        self.queue.lock().repeats.judge(cause, now)
    }

    /// Keeps the text of the last line printed for a cause.
    pub(super) fn remember(&self, cause: Cause, label: Label, text: String) {
        self.queue.lock().repeats.remember(&cause, label, text);
    }

    /// Changes the look of all lines from now on.
    pub(super) fn set_format(&self, format: Format) {
        *self.format.lock() = Arc::new(format);
    }

    fn format(&self) -> Arc<Format> {
        Arc::clone(&self.format.lock())
    }

    /// Writes all lines from now on to `sink`.
    pub(super) fn switch(&self, sink: Sink) {
        self.queue.lock().entries.push_back(Entry::Switch(sink));
        self.changed.notify_all();
    }

    /// Opens the file anew, behind the lines logged so far.
    pub(super) fn reopen(&self) {
        self.queue.lock().entries.push_back(Entry::Reopen);
        self.changed.notify_all();
    }

    /// Waits until everything is written, at most for [`FLUSH_MAX`].
    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let mut queue = self.queue.lock();
        self.add_withheld(&mut queue, true);
        self.changed.notify_all();
        while queue.writing || !queue.entries.is_empty() {
            if self.changed.wait_until(&mut queue, deadline).timed_out() {
                return;
            }
        }
    }

    /// Ends the thread when everything is written, and waits like [`flush`](Lines::flush).
    pub(super) fn end(&self) {
        self.queue.lock().ended = true;
        self.flush();
    }

    fn add(&self, mut queue: MutexGuard<'_, Queue>, line: String) {
        queue.len += line.len();
        queue.entries.push_back(Entry::Line(line));
        drop(queue);
        self.changed.notify_all();
    }

    /// For the thread: waits for something to write. None at the end.
    fn take(&self) -> Option<VecDeque<Entry>> {
        let mut queue = self.queue.lock();
        queue.writing = false;
        self.changed.notify_all();
        loop {
            self.add_withheld(&mut queue, false);
            if !queue.entries.is_empty() {
                break;
            }
            if queue.ended {
                return None;
            }
            if queue.repeats.is_empty() {
                self.changed.wait(&mut queue);
            } else {
                self.changed.wait_for(&mut queue, SPAN);
            }
        }
        if queue.lost > 0 {
            let line = about_lost(std::mem::take(&mut queue.lost), &self.format());
            queue.entries.push_back(Entry::Line(line));
        }
        queue.len = 0;
        queue.writing = true;
        Some(std::mem::take(&mut queue.entries))
    }

    /// Adds a line for each cause with withheld lines, of the spans that are over or of all.
    fn add_withheld(&self, queue: &mut Queue, all: bool) {
        for Withheld { label, text, count } in queue.repeats.take_due(self.clock.now(), all) {
            let line = self.format().line(label, &format!("{text} ... repeated {count} times"));
            queue.len += line.len();
            queue.entries.push_back(Entry::Line(line));
        }
    }
}

fn about_lost(count: u64, format: &Format) -> String {
    format.line(Label::Warn, &format!("{count} lines of the log were lost"))
}

impl Sink {
    fn write(&mut self, entries: VecDeque<Entry>, format: &Format) {
        let mut text = String::new();
        for entry in entries {
            match (entry, &mut *self) {
                (Entry::Switch(sink), _) => {
                    let _ = io::stderr().write_all(std::mem::take(&mut text).as_bytes());
                    *self = sink;
                }
                (Entry::Line(line), Sink::Stderr) => text.push_str(&line),
                (Entry::Line(line), Sink::File(file)) => file.append(&line, format),
                (Entry::Line(line), Sink::Syslog(syslog)) => {
                    syslog.send(&line, |count| about_lost(count, format));
                }
                (Entry::Reopen, Sink::Stderr) => {
                    text.push_str(&format.line(Label::Info, NO_FILE));
                }
                (Entry::Reopen, Sink::Syslog(syslog)) => {
                    let line = format.line(Label::Info, NO_FILE);
                    syslog.send(&line, |count| about_lost(count, format));
                }
                (Entry::Reopen, Sink::File(file)) => {
                    let line = match file.reopen() {
                        Ok(()) => format.line(Label::Info, "File log re-opened"),
                        // nats-differs: the real server ends here.
                        Err(error) => {
                            let text = format!("error opening file: {}", OsError(&error));
                            format.line(Label::Error, &text)
                        }
                    };
                    file.append(&line, format);
                }
            }
        }
        if !text.is_empty() {
            // The report of a failed report has no other place to go.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}
