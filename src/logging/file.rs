//! `LogFile`: a file that is appended to, moved aside when it is too large, and opened anew.
//!
//! A moved file is named `<file>.YYYY.MM.DD.hh.mm.ss.nnnnnnnnn`, by local time. A failure to
//! write loses the line; a failure to rotate keeps the file in use until it has doubled.
//! nats: logger/log.go `fileLogger`

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::format::{self, Format, Label};
use crate::base::os_error::OsError;
use crate::base::quoted::Quoted;

/// Only owner and group may read about connections.
const MODE: u32 = 0o640;

/// Digits and dots of the end of a moved file's name.
const STAMP: &str = "9999.99.99.99.99.99.999999999";

/// An open log file.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes in it.
    len: u64,
    /// Bytes above which it is moved aside; 0 means never.
    size_limit: u64,
    /// The same, grown after a failure.
    current_limit: u64,
    /// Files to keep, this one included; 0 means all.
    files_max: usize,
}

impl LogFile {
    pub(super) fn open(path: &Path, size_limit: u64, files_max: usize) -> io::Result<Self> {
        let (file, len) = open(path)?;
        let path = path.to_owned();
        Ok(Self { path, file, len, size_limit, current_limit: size_limit, files_max })
    }

    /// Opens the name again. After an error the file as it was stays in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.len) = open(&self.path)?;
        Ok(())
    }

    /// Writes a line and then rotates if the file has become too large.
    pub(super) fn append(&mut self, line: &str, format: &Format) {
        self.write(line);
        if self.size_limit != 0 && self.len > self.current_limit {
            self.rotate(format);
        }
    }

    fn write(&mut self, line: &str) {
        if self.file.write_all(line.as_bytes()).is_ok() {
            self.len += line.len() as u64;
        }
    }

    fn rotate(&mut self, format: &Format) {
        let backup = self.backup_path();
        // nats-differs: the real server panics when the new file cannot be opened.
        if let Err(error) = fs::rename(&self.path, &backup).and_then(|()| self.reopen()) {
            self.current_limit = self.current_limit.saturating_mul(2);
            let (error, limit) = (OsError(&error), self.current_limit);
            let text = format!("Unable to rotate logfile ({error}), next attempt at size {limit}");
            return self.write(&format.line(Label::Error, &text));
        }
        self.current_limit = self.size_limit;
        let text = format!("Rotated log, backup saved as {}", quoted(&backup));
        self.write(&format.line(Label::Info, &text));
        if self.files_max > 0 {
            self.purge(format);
        }
    }

    fn backup_path(&self) -> PathBuf {
        let now = format::date(&TimeZone::system());
        let mut name = self.path.clone().into_os_string();
        name.push(format!(
            ".{:04}.{:02}.{:02}.{:02}.{:02}.{:02}.{:09}",
            now.year(),
            now.month(),
            now.day(),
            now.hour(),
            now.minute(),
            now.second(),
            now.subsec_nanosecond()
        ));
        name.into()
    }

    /// Removes the oldest moved files beyond the limit. The next rotation retries a failure.
    fn purge(&mut self, format: &Format) {
        let backups = match self.backups() {
            Ok(backups) => backups,
            Err(error) => {
                let text = format!("Unable to read the log's directory ({})", OsError(&error));
                return self.write(&format.line(Label::Error, &text));
            }
        };
        let excess = backups.len().saturating_sub(self.files_max - 1);
        for path in &backups[..excess] {
            let line = match fs::remove_file(path) {
                Ok(()) => {
                    let text = format!("Purged log file {}", quoted(path));
                    format.line(Label::Info, &text)
                }
                Err(error) => {
                    let (path, error) = (quoted(path), OsError(&error));
                    let text = format!("Unable to remove backup log file {path} ({error})");
                    format.line(Label::Error, &text)
                }
            };
            self.write(&line);
        }
    }

    /// The moved files, oldest first.
    fn backups(&self) -> io::Result<Vec<PathBuf>> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let own_name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut backups = Vec::new();
        for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let end = name.strip_prefix(&own_name).and_then(|rest| rest.strip_prefix('.'));
            if end.is_some_and(is_stamp) {
                backups.push(path);
            }
        }
        backups.sort();
        Ok(backups)
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

fn is_stamp(end: &str) -> bool {
    let digit_to_nine = |c: char| if c.is_ascii_digit() { '9' } else { c };
    end.chars().map(digit_to_nine).eq(STAMP.chars())
}

fn quoted(path: &Path) -> String {
    Quoted(path.as_os_str().as_encoded_bytes()).to_string()
}
