//! `msg_trace` of an account, also called `trace_dest`.
//!
//! nats: server/opts.go `parseAccountMsgTrace`

use crate::base::subject;
use crate::config::conf::value::{Field, Value};
use crate::config::conf::{Problem, Severity};
use crate::config::options::TraceDest;

/// Reads a subject, or a map with it; none from a map without it.
///
/// # Errors
/// The value is neither, or something in the map is wrong.
pub(super) fn read(
    field: Field<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Option<TraceDest>, Problem> {
    let map = match &field.node.value {
        Value::Text(_) => return dest(field).map(|dest| Some(TraceDest::new(dest))),
        Value::Map(map) => map,
        value => {
            let text = format!("Expected account message trace {:?}", field.name);
            let kind = value.kind();
            return Err(field.error(format!("{text} to be a string or a map/struct, got {kind}")));
        }
    };
    let (mut subject, mut share) = (None, None);
    for entry in map.fields() {
        match &*entry.key() {
            "dest" => subject = Some(dest(entry)?),
            "sampling" => share = Some(sampling(entry)?),
            _ if entry.node.is_used_as_variable() => {}
            name => {
                let text = format!("Unknown field {name:?} parsing account message trace");
                return Err(entry.error(format!("{text} map/struct {:?}", field.name)));
            }
        }
    }
    if subject.is_none() && share.is_some() {
        let text = "Trace destination sampling ignored since no destination was set";
        problems.push(field.node.problem(Severity::Warning, text));
    }
    Ok(subject.map(|subject| {
        let mut dest = TraceDest::new(subject);
        dest.sampling = share.unwrap_or(dest.sampling);
        dest
    }))
}

fn dest(field: Field<'_>) -> Result<&str, Problem> {
    let Value::Text(subject) = &field.node.value else {
        let (name, kind) = (field.name, field.node.value.kind());
        return Err(field.error(format!("Field {name:?} should be a string, got {kind}")));
    };
    match subject::is_valid_publish_text(subject.as_bytes()) {
        true => Ok(subject),
        false => Err(field.error(format!("Trace destination {subject:?} is not valid"))),
    }
}

fn sampling(field: Field<'_>) -> Result<u8, Problem> {
    let percent = match &field.node.value {
        Value::Integer(percent) => *percent,
        Value::Text(text) => text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| {
            field.error(format!("Invalid trace destination sampling value {text:?}"))
        })?,
        value => {
            let text = format!("Trace destination sampling field {:?}", field.name);
            let kind = value.kind();
            return Err(
                field.error(format!("{text} should be an integer or a percentage, got {kind}"))
            );
        }
    };
    match u8::try_from(percent) {
        Ok(percent @ 1..=100) => Ok(percent),
        // The real server's letters.
        _ => Err(field.error(format!(
            "Ttrace destination sampling value {percent} is invalid, needs to be [1..100]"
        ))),
    }
}
