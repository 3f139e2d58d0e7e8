//! The block `accounts`: subject spaces of their own, and their users.
//!
//! nats: server/opts.go `parseAccounts`

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use foldhash::fast::RandomState;

use super::export_list::exports;
use super::import_list::imports;
use super::{authorization, is_jetstream_enabled, mappings, msg_trace, unknown_field};
use crate::base::limits::GLOBAL_ACCOUNT;
use crate::config::conf::Problem;
use crate::config::conf::value::{Field, Map, Value};
use crate::config::options::{AccountLimits, AccountOptions, Login, Options, User};

/// The content of the block; [`Block::apply`] follows when the rest of the file is known.
#[derive(Default)]
pub(super) struct Block<'a> {
    /// The block itself; none if the file has none.
    pub(super) field: Option<Field<'a>>,
    accounts: BTreeMap<String, AccountOptions>,
    /// The lists of users, and their lengths.
    lists: Vec<(Field<'a>, usize)>,
    /// The users of all lists.
    users: Vec<User>,
}

/// Reads the block: a list of names, or a map of accounts. Faults inside go to `problems`.
///
/// # Errors
/// The value is neither.
pub(super) fn read<'a>(
    field: Field<'a>,
    problems: &mut Vec<Problem>,
) -> Result<Block<'a>, Problem> {
    let mut block = Block { field: Some(field), ..Block::default() };
    if let Value::Array(nodes) = field.node.value {
        for node in nodes {
            let entry = Field { node, ..field };
            problems.extend(entry.text().and_then(|name| block.add(name, entry)).err());
        }
        return Ok(block);
    }
    for entry in field.map()?.fields() {
        let added = match entry.node.value {
            Value::Map(map) => {
                block.add(entry.name, entry).map(|()| block.account(entry.name, map, problems))
            }
            _ if entry.node.is_used_as_variable() => Ok(()),
            _ => Err(entry.error("Expected map entries for accounts")),
        };
        problems.extend(added.err());
    }
    Ok(block)
}

impl<'a> Block<'a> {
    fn add(&mut self, name: &str, field: Field<'_>) -> Result<(), Problem> {
        match name {
            // On a route a blank would end it.
            _ if name.contains(|char: char| char.is_ascii_whitespace()) => {
                Err(field.error(format!("account name {name:?} may not contain spaces")))
            }
            GLOBAL_ACCOUNT => Err(field.error(format!("{name:?} is a Reserved Account"))),
            _ => match self.accounts.entry(name.to_owned()) {
                Entry::Vacant(entry) => {
                    entry.insert(AccountOptions::new(name));
                    Ok(())
                }
                Entry::Occupied(_) => Err(field.error(format!("Duplicate Account Entry: {name}"))),
            },
        }
    }

    fn account(&mut self, name: &str, map: Map<'a>, problems: &mut Vec<Problem>) {
        let (mut users, mut default_permissions) = (None, None);
        let mut account = AccountOptions::new(name);
        for field in map.fields() {
            let read = match &*field.key() {
                "users" => authorization::users(field, problems)
                    .map(|list| users = Some((field, list)).filter(|(_, list)| !list.is_empty())),
                "default_permissions" => authorization::permissions(field, problems)
                    .map(|permissions| default_permissions = Some(permissions.into())),
                "limits" => read_limits(field, problems).map(|limits| account.limits = limits),
                "mappings" | "maps" => {
                    mappings::read(field, problems).map(|read| account.mappings.extend(read))
                }
                "exports" => exports(field, problems).map(|list| account.exports = list),
                "imports" => imports(field, problems).map(|list| account.imports = list),
                "nkey" => check_nkey(field),
                "jetstream" => {
                    is_jetstream_enabled(field).map(|enabled| account.jetstream = enabled)
                }
                "msg_trace" | "trace_dest" => {
                    msg_trace::read(field, problems).map(|dest| account.msg_trace = dest)
                }
                _ => {
                    unknown_field(field, problems);
                    Ok(())
                }
            };
            problems.extend(read.err());
        }
        self.accounts.insert(name.to_owned(), account);
        let Some((field, mut users)) = users else { return };
        for user in &mut users {
            user.account = Some(name.to_owned());
            if user.permissions.is_none() {
                user.permissions.clone_from(&default_permissions);
            }
        }
        self.lists.push((field, users.len()));
        self.users.append(&mut users);
    }

    /// Sets the accounts, and adds their users to those of the block `authorization`.
    ///
    /// nats: server/server.go `configureAccounts`
    pub(super) fn apply(
        mut self,
        has_authorization: bool,
        options: &mut Options,
        problems: &mut Vec<Problem>,
    ) {
        options.accounts = self.accounts.into_values().collect();
        let is_system = |one: &AccountOptions| options.system_account() == Some(&one.name);
        let only_system = matches!(&*options.accounts, [one] if is_system(one));
        if only_system && !has_authorization && options.authorization.no_auth_user.is_none() {
            options.authorization.login = Login::Users(Vec::new());
            options.authorization.admits_anonymous = true;
        }
        let Some((first, _)) = self.lists.first() else { return };
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
        let mut names: HashSet<&str, RandomState> = all.iter().map(User::name).collect();
        let mut users = self.users.iter().map(User::name);
        names.reserve(users.len());
        for (field, len) in self.lists {
            let twice = users.by_ref().take(len).filter(|name| !names.insert(name));
            problems
                .extend(twice.map(|name| field.error(format!("Duplicate user {name:?} detected"))));
        }
        self.users.splice(..0, all.drain(..));
        *all = self.users;
    }
}

/// The identity of an account, which nobody asks for.
fn check_nkey(field: Field<'_>) -> Result<(), Problem> {
    let key = field.text()?;
    if key.starts_with('A') && nkeys::KeyPair::from_public_key(key).is_ok() {
        return Ok(());
    }
    Err(field.error(format!("Not a valid public nkey for an account: {key:?}")))
}

/// Reads the limits of an account. A negative number is no limit. Leaf nodes, which may be limited
/// too, do not come here.
///
/// nats: server/opts.go `parseAccountLimits`
fn read_limits(field: Field<'_>, problems: &mut Vec<Problem>) -> Result<AccountLimits, Problem> {
    let mut limits = AccountLimits::default();
    for field in field.map()?.fields() {
        let number = || field.integer().map(|number| usize::try_from(number).ok());
        let read = match &*field.key() {
            "max_connections" | "max_conn" => number().map(|max| limits.max_connections = max),
            "max_subscriptions" | "max_subs" => number().map(|max| limits.max_subscriptions = max),
            "max_payload" | "max_pay" => number().map(|max| limits.max_payload = max),
            "max_leafnodes" | "max_leafs" => number().map(|_| ()),
            _ => {
                unknown_field(field, problems);
                Ok(())
            }
        };
        problems.extend(read.err());
    }
    Ok(limits)
}
