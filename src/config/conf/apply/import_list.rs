//! The list `imports` of an account.
//!
//! nats: server/opts.go `parseAccountImports`, `parseImportStreamOrService`

use super::item_list::{self, Item, Of};
use super::unknown_field;
use crate::config::conf::value::{Field, Node, Value};
use crate::config::conf::{Problem, Severity};
use crate::config::options::{Import, ImportKind, LocalSubject};

/// Reads the list. Faults inside go to `problems`.
///
/// # Errors
/// The value is no list.
pub(super) fn imports(
    field: Field<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Import>, Problem> {
    item_list::read::<Settings<'_>>(field, problems)
}

/// Passes on an import, unless another one makes requests on the same subject to the same account.
fn not_twice(import: Import, others: &[Import], node: &Node<'_>) -> Result<Import, Problem> {
    let is_service = |one: &Import| matches!(one.kind, ImportKind::Service { .. });
    if !is_service(&import) {
        return Ok(import);
    }
    let is_like = |other: &&Import| {
        let is_there = is_service(other) && other.account == import.account;
        is_there && local_subject(other) == local_subject(&import)
    };
    match others.iter().find(is_like) {
        None => Ok(import),
        Some(other) => Err(node.error(format!(
            "Duplicate service import subject {:?}, previously used in import for account {:?}, \
             subject {:?}",
            local_subject(&import),
            other.account,
            other.subject
        ))),
    }
}

/// The local subject of a service.
fn local_subject(import: &Import) -> &str {
    match &import.local {
        LocalSubject::To(to) => to,
        LocalSubject::Same | LocalSubject::Prefix(_) => &import.subject,
    }
}

/// The settings of one import.
#[derive(Default)]
struct Settings<'a> {
    /// Account and subject, and what they are of.
    source: Option<(String, String, Of)>,
    prefix: Option<(Field<'a>, String)>,
    to: Option<(Field<'a>, String)>,
    share: Option<(Field<'a>, bool)>,
    allow_trace: Option<(Field<'a>, bool)>,
}

impl<'a> Item<'a> for Settings<'a> {
    type Made = Import;

    const NAME: &'static str = "Import";

    fn setting(&mut self, field: Field<'a>, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        match &*field.key() {
            "stream" => self.set_source(field, Of::Stream, problems)?,
            "service" => self.set_source(field, Of::Service, problems)?,
            "prefix" => self.prefix = field.some_text()?.map(|prefix| (field, prefix)),
            "to" => self.to = field.some_text()?.map(|to| (field, to)),
            "share" => self.share = Some((field, field.bool()?)),
            "allow_trace" => self.allow_trace = Some((field, field.bool()?)),
            _ => unknown_field(field, problems),
        }
        Ok(())
    }

    fn make(
        self,
        node: &Node<'_>,
        others: &[Import],
        problems: &mut Vec<Problem>,
    ) -> Result<Import, Problem> {
        not_twice(self.import(node, problems)?, others, node)
    }
}

impl<'a> Settings<'a> {
    fn set_source(
        &mut self,
        field: Field<'a>,
        of: Of,
        problems: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        let (name, title, other) = match of {
            Of::Stream => ("stream", "Stream", "service"),
            Of::Service => ("service", "Service", "stream"),
        };
        if self.source.as_ref().is_some_and(|(_, _, known)| *known != of) {
            return Err(field.error(format!("Detected {name} but already saw a {other}")));
        }
        let Value::Map(map) = &field.node.value else {
            let kind = field.node.value.kind();
            return Err(field.error(format!("{title} entry should be an account map, got {kind}")));
        };
        let (mut account, mut subject) = ("", "");
        for field in map.fields() {
            match &*field.key() {
                "account" => account = field.text()?,
                "subject" => subject = field.text()?,
                _ => unknown_field(field, problems),
            }
        }
        if account.is_empty() || subject.is_empty() {
            return Err(field.error("Expect an account name and a subject"));
        }
        self.source = Some((account.to_owned(), subject.to_owned(), of));
        Ok(())
    }

    fn import(self, node: &Node<'_>, problems: &mut Vec<Problem>) -> Result<Import, Problem> {
        let Settings { source, prefix, to, share, allow_trace } = self;
        let Some((account, subject, of)) = source else {
            return Err(node.error("an import needs a stream or a service"));
        };
        let mut no_effect = |field: Field<'_>, of| {
            let text = format!("{} has no effect on the import of a {of}", field.name);
            problems.push(field.node.problem(Severity::Notice, text));
        };
        let kind = match (of, share) {
            (Of::Service, share) => ImportKind::Service { share: share.is_some_and(|(_, on)| on) },
            (Of::Stream, share) => {
                if let Some((field, _)) = share {
                    no_effect(field, "stream");
                }
                ImportKind::Stream
            }
        };
        let mut import = Import::new(account, subject, kind);
        if let Some((field, to)) = to {
            if of == Of::Stream && prefix.is_some() {
                let text = "Stream import can not have a 'prefix' and a 'to' property";
                return Err(field.error(text));
            }
            import.local = LocalSubject::To(to);
        }
        import.allow_trace = allow_trace.is_some_and(|(_, allowed)| allowed);
        match (of, prefix, allow_trace) {
            (Of::Service, _, Some((field, _))) => {
                return Err(field.error("Detected allow_trace directive on a non-stream"));
            }
            (Of::Service, Some((field, _)), None) => no_effect(field, "service"),
            (Of::Stream, Some((_, prefix)), _) => import.local = LocalSubject::Prefix(prefix),
            _ => {}
        }
        Ok(import)
    }
}
