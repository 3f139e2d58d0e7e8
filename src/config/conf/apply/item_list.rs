//! A list of maps, as `exports` and `imports` are: each item is read setting by setting.

use crate::config::conf::Problem;
use crate::config::conf::value::{Field, Node, Value};

/// The settings of one item, while they are read.
pub(super) trait Item<'a>: Default {
    /// The value that they make.
    type Made;

    /// The name of an item, for errors.
    const NAME: &'static str;

    /// Takes over one setting.
    fn setting(&mut self, field: Field<'a>, problems: &mut Vec<Problem>) -> Result<(), Problem>;

    /// The value of the item at `node`, behind these `others`.
    fn make(
        self,
        node: &Node<'_>,
        others: &[Self::Made],
        problems: &mut Vec<Problem>,
    ) -> Result<Self::Made, Problem>;
}

/// The kind of an item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Stream,
    Service,
}

/// Reads the list, without faulty items. Their faults go to `problems`.
///
/// # Errors
/// The value is no list.
pub(super) fn read<'a, I: Item<'a>>(
    field: Field<'a>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<I::Made>, Problem> {
    let Value::Array(nodes) = field.node.value else {
        let kind = field.node.value.kind();
        return Err(field.error(format!("{}s should be an array, got {kind}", I::NAME)));
    };
    let mut items = Vec::with_capacity(nodes.len());
    for node in nodes {
        match read_item::<I>(node, &items, problems) {
            Ok(item) => items.extend(item),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(items)
}

/// Reads one item; none if a setting of it is faulty.
fn read_item<'a, I: Item<'a>>(
    node: &'a Node<'a>,
    others: &[I::Made],
    problems: &mut Vec<Problem>,
) -> Result<Option<I::Made>, Problem> {
    let Value::Map(map) = &node.value else {
        let (name, kind) = (I::NAME, node.value.kind());
        return Err(node.error(format!("{name} Items should be a map with type entry, got {kind}")));
    };
    let (mut item, mut is_faulty) = (I::default(), false);
    for field in map.fields() {
        if let Err(problem) = item.setting(field, problems) {
            problems.push(problem);
            is_faulty = true;
        }
    }
    if is_faulty { Ok(None) } else { item.make(node, others, problems).map(Some) }
}
