//! The configuration file: text to a tree of values, and that tree to [`Options`].
//!
//! Reads no file and no environment itself: both come through [`Sources`], so that a test or an
//! embedding program can pass its own. Three steps, one file each: `lex` knows the items of
//! the grammar, `parse` builds the tree with includes and variables, `apply` knows the settings.
//! All wrong settings are reported together; a violation of the grammar ends the reading.
//! nats: conf/parse.go, server/opts.go `ProcessConfigFile`

mod apply;
mod digest;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod lex;
mod parse;
mod value;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bumpalo::Bump;

use crate::config::check::{Checked, OptionsError};
use crate::config::imports::{self, Digest, Fault, Imports};
use crate::config::options::Options;

/// Bytes of a tree for each byte of its text, rather too many: memory that is not used costs
/// nothing.
const TREE_FACTOR: usize = 10;

/// The sources of text and variables.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Gives the text of a file, or the reason for a failure (`no such file or directory`).
    pub file: &'a dyn Fn(&Path) -> Result<String, String>,
    /// Gives the value of an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

/// A place in a configuration file. The column counts bytes: from 0 on line 1, from 1 on the
/// lines after it, as the real server counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, see above.
    pub column: u32,
}

/// Severity of a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A setting without effect here; everything else works. It refuses nothing, and a check of
    /// the file passes.
    Notice,
    /// Something doubtful: the server starts, but a check of the file (`-t`) fails, as with the
    /// real server.
    Warning,
    /// The server does not start.
    Error,
}

/// One fault of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Its severity.
    pub severity: Severity,
    /// Its position; none if it concerns the file as a whole.
    pub position: Option<Position>,
    /// Its text, one line.
    pub text: String,
}

/// All faults of a configuration file, at least one error among them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfError {
    /// Notices and warnings first, each kind in the order of the file.
    pub problems: Vec<Problem>,
}

/// The remarks about a file whose imports are still to be checked. Accounts with other faults would
/// make more of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Remarks {
    /// Notices and warnings, in the order of the file.
    problems: Vec<Problem>,
    /// The place of the accounts, if the file has some.
    accounts: Option<Position>,
}

/// Options before their check, and the remarks about them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unchecked {
    /// File and flags together.
    pub(crate) options: Options,
    /// About the file, and the flags.
    pub(crate) remarks: Remarks,
}

/// Options after their check, and the remarks about them.
#[derive(Debug)]
pub(crate) struct Loaded<'a> {
    /// File and flags together.
    pub(crate) checked: Checked<'a>,
    /// Notices and warnings; no errors.
    pub(crate) problems: Vec<Problem>,
}

/// Reads `file` into `options`: settings not in the file keep their values. Also sets
/// `config_file` and `config_digest`.
///
/// Returns the notices and warnings, in the order of the file.
///
/// ```
/// use dialtone::Options;
/// use dialtone::config::{self, Sources};
///
/// let sources = Sources {
///     file: &|path| std::fs::read_to_string(path).map_err(|error| error.to_string()),
///     environment: &|name| std::env::var(name).ok(),
/// };
/// let mut options = Options::default();
/// let problems = config::load("conf/auth.conf".as_ref(), sources, &mut options)?;
/// assert!(problems.is_empty());
/// assert!(options.config_digest.is_some());
/// # Ok::<(), config::ConfError>(())
/// ```
///
/// # Errors
/// The first violation of the grammar, or all settings that are wrong. `options` is then in an
/// unspecified state.
pub fn load(
    file: &Path,
    sources: Sources<'_>,
    options: &mut Options,
) -> Result<Vec<Problem>, ConfError> {
    let remarks = read(file, sources, options)?;
    let (_, faults) = imports::compile(options);
    remarks.and(&faults)
}

/// Does the same, but for the check of imports.
///
/// # Errors
/// As [`load`].
pub(crate) fn read(
    file: &Path,
    sources: Sources<'_>,
    options: &mut Options,
) -> Result<Remarks, ConfError> {
    let failed = |problem| ConfError { problems: vec![problem] };
    let text = parse::read(file, sources).map_err(failed)?;
    // In one piece, which goes back to the system as a whole.
    let memory = Bump::with_capacity(text.len() * TREE_FACTOR);
    let root = parse::parse(file, &text, sources, &memory).map_err(failed)?;
    options.config_file = Some(file.to_owned());
    options.config_digest = Some(digest::digest(&root));
    let (mut problems, accounts) = apply::apply(&root, options);
    if root.is_empty() {
        let text = format!("{}: config has no values or is empty", file.display());
        problems.push(Problem { severity: Severity::Warning, position: None, text });
    }
    problems.sort_by_key(|problem| problem.severity == Severity::Error);
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(ConfError { problems });
    }
    Ok(Remarks { problems, accounts: accounts.map(|field| field.node.position()) })
}

impl Remarks {
    /// Adds the faults of imports, which stand in the accounts.
    ///
    /// # Errors
    /// There are some.
    fn and(&self, faults: &[Fault]) -> Result<Vec<Problem>, ConfError> {
        let mut problems = self.problems.clone();
        let (Some(accounts), [_, ..]) = (&self.accounts, faults) else { return Ok(problems) };
        problems.extend(faults.iter().map(|fault| Problem {
            severity: Severity::Error,
            position: Some(accounts.clone()),
            text: fault.to_string(),
        }));
        Err(ConfError { problems })
    }

    /// Adds remarks about other things than the file.
    pub(crate) fn extend(&mut self, notices: impl IntoIterator<Item = Problem>) {
        self.problems.extend(notices);
    }
}

impl Unchecked {
    /// Checks the options, which may take the place of others with `known` imports.
    ///
    /// # Errors
    /// Every fault of the file's imports, else the first conflict of options.
    pub(crate) fn check<E>(&mut self, known: Option<Digest>) -> Result<Loaded<'_>, E>
    where
        E: From<ConfError> + From<OptionsError>,
    {
        let (imports, faults) = Imports::new(&self.options, known);
        let problems = self.remarks.and(&faults)?;
        let checked = Checked::with(&mut self.options, imports, &faults)?;
        Ok(Loaded { checked, problems })
    }
}

impl Loaded<'_> {
    /// True if a check of the configuration (`-t`) calls it valid: warnings count there.
    pub(crate) fn is_valid(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity == Severity::Notice)
    }
}

impl fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources(..)")
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.position {
            Some(position) => write!(f, "{position}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfError {}

#[cfg(test)]
mod tests;
