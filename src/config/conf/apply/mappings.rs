//! The block `mappings`: subjects in place of those that match a pattern.
//!
//! nats: server/opts.go `parseAccountMappings`, `parseAccountMapDest`

use crate::base::subject::is_valid_pattern;
use crate::config::conf::Problem;
use crate::config::conf::value::{Field, Value};
use crate::config::options::{MappingDestination, SubjectMapping};

/// Reads the block. Faults inside go to `problems`.
///
/// # Errors
/// The value is no map.
pub(super) fn read(
    field: Field<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<SubjectMapping>, Problem> {
    let mut mappings = Vec::new();
    for entry in field.map()?.fields() {
        if !is_valid_pattern(entry.name.as_bytes()) {
            problems.push(field.error(format!("Subject {:?} is not a valid subject", entry.name)));
            continue;
        }
        match mapping(entry, problems) {
            Ok(mapping) => mappings.push(mapping),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(mappings)
}

/// Reads the mapping of a pattern: a subject, a destination, or a list of destinations.
fn mapping(entry: Field<'_>, problems: &mut Vec<Problem>) -> Result<SubjectMapping, Problem> {
    let mut mapping = SubjectMapping::new(entry.name);
    match entry.node.value {
        Value::Text(subject) => mapping.destinations.push(MappingDestination::new(subject)),
        Value::Array(nodes) => {
            for node in nodes {
                match destination(Field { node, ..entry }) {
                    Ok(destination) => mapping.destinations.push(destination),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        _ => mapping.destinations.push(destination(entry)?),
    }
    let Err(error) = mapping.check() else { return Ok(mapping) };
    let to = match &entry.node.value {
        Value::Text(subject) => format!(" to {subject:?}"),
        _ => String::new(),
    };
    Err(entry.error(format!("Error adding mapping for {:?}{to} : {error}", entry.name)))
}

/// Reads one of the destinations.
fn destination(entry: Field<'_>) -> Result<MappingDestination, Problem> {
    let Value::Map(map) = &entry.node.value else {
        return Err(entry.error("Expected an entry for the mapping destination"));
    };
    let mut destination = MappingDestination::new("");
    let mut has_weight = false;
    for field in map.fields() {
        match &*field.key() {
            "dest" | "destination" => field.text()?.clone_into(&mut destination.subject),
            "weight" => (destination.weight, has_weight) = (weight(field)?, true),
            "cluster" => destination.cluster = field.some_text()?,
            _ => {
                let text = format!("Unknown field {:?} for mapping destination", field.name);
                return Err(field.error(text));
            }
        }
    }
    if !has_weight {
        let subject = &destination.subject;
        return Err(entry.error(format!("Missing weight for mapping destination {subject:?}")));
    }
    Ok(destination)
}

/// Reads a part in percent, with or without its sign.
fn weight(field: Field<'_>) -> Result<u8, Problem> {
    let number = match &field.node.value {
        Value::Integer(number) => *number,
        Value::Text(text) => {
            let text = text.strip_suffix('%').unwrap_or(text);
            let invalid =
                |_| field.error(format!("Invalid weight {text:?} for mapping destination"));
            text.parse().map_err(invalid)?
        }
        Value::Float(number) => {
            return Err(field.error(format!("Unknown entry type for weight of {number}")));
        }
        _ => return Err(field.mismatch("a number of percent")),
    };
    u8::try_from(number)
        .ok()
        .filter(|&percent| percent <= 100)
        .ok_or_else(|| field.error(format!("Invalid weight {number} for mapping destination")))
}
