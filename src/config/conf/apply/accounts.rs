//! The block `accounts`: subject spaces of their own, and their users.
//!
//! All other settings of an account are refused by name: without them, messages would not go where
//! the file says.
//! nats: server/opts.go `parseAccounts`

use std::collections::{BTreeSet, HashSet};

use super::{authorization, unknown_field};
use crate::base::limits::{GLOBAL_ACCOUNT, SYSTEM_ACCOUNT};
use crate::config::conf::Problem;
use crate::config::conf::value::{Field, Map, Value};
use crate::config::options::{Login, Options, User};

/// The content of the block; [`Block::apply`] follows when the rest of the file is known.
#[derive(Default)]
pub(super) struct Block<'a> {
    names: BTreeSet<String>,
    /// The users of each account that has some, and their place in the file.
    users: Vec<(Field<'a>, Vec<User>)>,
}

/// Reads the block: a list of names, or a map of accounts. Faults inside go to `problems`.
///
/// # Errors
/// The value is neither.
pub(super) fn read<'a>(
    field: Field<'a>,
    problems: &mut Vec<Problem>,
) -> Result<Block<'a>, Problem> {
    let mut block = Block::default();
    if let Value::Array(nodes) = &field.node.value {
        for node in nodes {
            let entry = Field { node, ..field };
            problems.extend(entry.text().and_then(|name| block.add(name, entry)).err());
        }
        return Ok(block);
    }
    for entry in field.map()?.fields() {
        let added = match &entry.node.value {
            Value::Map(map) => {
                block.add(entry.name, entry).map(|()| block.account(entry.name, map, problems))
            }
            _ if entry.node.used_as_variable => Ok(()),
            _ => Err(entry.error("Expected map entries for accounts")),
        };
        problems.extend(added.err());
    }
    Ok(block)
}

impl<'a> Block<'a> {
    fn add(&mut self, name: &str, field: Field<'_>) -> Result<(), Problem> {
        match name {
            GLOBAL_ACCOUNT => Err(field.error(format!("{name:?} is a Reserved Account"))),
            SYSTEM_ACCOUNT => Err(field.error("users of the system account are not supported yet")),
            _ if !self.names.insert(name.to_owned()) => {
                Err(field.error(format!("Duplicate Account Entry: {name}")))
            }
            _ => Ok(()),
        }
    }

    fn account(&mut self, name: &str, map: &'a Map, problems: &mut Vec<Problem>) {
        for field in map.fields() {
            match field.key().as_str() {
                "users" => match authorization::users(field, problems) {
                    Ok(users) if users.is_empty() => {}
                    Ok(mut users) => {
                        users.iter_mut().for_each(|user| user.account = Some(name.to_owned()));
                        self.users.push((field, users));
                    }
                    Err(problem) => problems.push(problem),
                },
                "nkey"
                | "imports"
                | "exports"
                | "jetstream"
                | "default_permissions"
                | "mappings"
                | "maps"
                | "limits"
                | "msg_trace"
                | "trace_dest" => {
                    let text = format!("{} of an account: not supported yet", field.name);
                    problems.push(field.error(text));
                }
                _ => unknown_field(field, problems),
            }
        }
    }

    /// Sets the accounts, and adds their users to those of the block `authorization`.
    pub(super) fn apply(self, options: &mut Options, problems: &mut Vec<Problem>) {
        options.accounts = self.names.into_iter().collect();
        let Some((first, _)) = self.users.first() else { return };
        let login = &mut options.authorization.login;
        if *login == Login::Open {
            *login = Login::Users(Vec::new());
        }
        let all = match login {
            Login::Users(all) => all,
            Login::Token(_) => {
                return problems.push(first.error("Can not have a token and accounts"));
            }
            _ => return problems.push(first.error("Can not have a single user/pass and accounts")),
        };
        let mut names: HashSet<String> = all.iter().map(|user| user.name().to_owned()).collect();
        for (field, users) in self.users {
            let is_known = |user: &&User| !names.insert(user.name().to_owned());
            let twice = users.iter().filter(is_known);
            let text = |user: &User| format!("Duplicate user {:?} detected", user.name());
            problems.extend(twice.map(|user| field.error(text(user))));
            all.extend(users);
        }
    }
}
