//! The block `authorization`: single credentials, token, users and their permissions.
//!
//! A cluster's `authorization` has the same form. Lists keep the order of the file.
//! nats: server/opts.go `parseAuthorization`, `parseUsers`, `parseUserPermissions`

use std::collections::HashSet;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::unknown_field;
use crate::base::duration;
use crate::base::limits;
use crate::base::subject::is_valid_pattern;
use crate::config::conf::value::{Field, Node, Value};
use crate::config::conf::{Problem, Severity};
use crate::config::options::{
    AllowResponses, ConnectionType, Credential, Login, Permissions, SubjectPermission, User,
};

/// The contents of a block; [`Block::login`] checks the relations of its parts.
pub(super) struct Block {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) token: String,
    pub(super) users: Option<Vec<User>>,
    /// For users without permissions of their own.
    pub(super) default_permissions: Option<Box<Permissions>>,
    pub(super) timeout: Option<Duration>,
}

/// Reads the block. Faults inside go to `problems`.
///
/// # Errors
/// It is no map.
pub(super) fn read(field: Field<'_>, problems: &mut Vec<Problem>) -> Result<Block, Problem> {
    let mut block = Block {
        user: String::new(),
        password: String::new(),
        token: String::new(),
        users: None,
        default_permissions: None,
        timeout: None,
    };
    for entry in field.map()?.fields() {
        if let Err(problem) = block.setting(entry, problems) {
            problems.push(problem);
        }
    }
    for user in block.users.iter_mut().flatten() {
        if user.permissions.is_none() {
            user.permissions.clone_from(&block.default_permissions);
        }
    }
    Ok(block)
}

impl Block {
    fn setting(&mut self, field: Field<'_>, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        match &*field.key() {
            "user" | "username" => self.user = not_empty(field)?,
            "pass" | "password" => self.password = field.text()?.to_owned(),
            "token" => self.token = not_empty(field)?,
            "timeout" => self.timeout = timeout(field, problems)?,
            "users" => self.users = Some(users(field, problems)?),
            "default_permissions" | "default_permission" | "permissions" => {
                self.default_permissions = Some(permissions(field, problems)?.into());
            }
            "auth_callout" | "auth_hook" => {
                return Err(field.error("auth_callout is not supported"));
            }
            "proxy_required" => proxy_required(field)?,
            _ => unknown_field(field, problems),
        }
        Ok(())
    }

    /// The one kind of credentials in the block.
    pub(super) fn login(
        self,
        field: Field<'_>,
        problems: &mut Vec<Problem>,
    ) -> Result<Login, Problem> {
        let single = !self.user.is_empty() || !self.password.is_empty();
        let token = !self.token.is_empty();
        if single && token {
            return Err(field.error("Cannot have a user/pass and token"));
        }
        if let Some(users) = self.users {
            // A password without a user is accepted: files keep a variable PASS in the block.
            if !self.user.is_empty() {
                return Err(field.error("Can not have a single user/pass and a users array"));
            }
            if token {
                return Err(field.error("Can not have a token and a users array"));
            }
            return Ok(if users.is_empty() { Login::Open } else { Login::Users(users) });
        }
        if self.default_permissions.is_some() && (single || token) {
            // As in the real server, which says nothing.
            let text = "permissions apply to a list of users only: this login may do everything";
            problems.push(field.node.problem(Severity::Notice, text));
        }
        if token {
            return Ok(Login::Token(self.token));
        }
        if single && self.user.is_empty() {
            return Err(field.error("a password without a user"));
        }
        if single {
            return Ok(Login::Single { user: self.user, password: self.password });
        }
        Ok(Login::Open)
    }
}

/// A name or a token. It may come from a variable that somebody has forgotten to set.
///
/// nats-differs: there, an empty one switches authentication off.
fn not_empty(field: Field<'_>) -> Result<String, Problem> {
    match field.text()? {
        "" => Err(field.error(format!("an empty {:?} would let everybody in", field.name))),
        text => Ok(text.to_owned()),
    }
}

/// Seconds, with or without fraction, or a duration string. None if it is 0.
fn timeout(field: Field<'_>, problems: &mut Vec<Problem>) -> Result<Option<Duration>, Problem> {
    let wrong =
        |why: &str| field.error(format!("error parsing authorization config, 'timeout' {why}"));
    let (seconds, shown) = match &field.node.value {
        Value::Integer(seconds) => (*seconds as f64, seconds.to_string()),
        Value::Float(seconds) => (*seconds, seconds.to_string()),
        Value::Text(text) => {
            let ns = duration::parse_ns(text).map_err(|error| wrong(&error.to_string()))?;
            (ns as f64 / 1e9, text.to_string())
        }
        _ => return Err(wrong("wrong type")),
    };
    if seconds > limits::AUTH_TIMEOUT_DISCOURAGED.as_secs_f64() {
        let text = format!(
            "invalid use of field {:?}: timeout of {shown} ({seconds:.6} seconds) is high, \
             consider keeping it under 60 seconds. possibly caused by unquoted duration; \
             use '1m' instead of 1m, for example",
            field.name
        );
        problems.push(field.node.problem(Severity::Warning, text));
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) => Ok(Some(timeout).filter(|timeout| !timeout.is_zero())),
        Err(_) => Err(wrong("is out of range")),
    }
}

fn proxy_required(field: Field<'_>) -> Result<(), Problem> {
    match field.bool()? {
        true => Err(field.error("trusted proxies are not supported")),
        false => Ok(()),
    }
}

/// Reads a list of users. Faults inside go to `problems`.
///
/// # Errors
/// The value is no list.
pub(super) fn users(field: Field<'_>, problems: &mut Vec<Problem>) -> Result<Vec<User>, Problem> {
    let Value::Array(entries) = field.node.value else {
        let kind = field.node.value.kind();
        return Err(field.error(format!("Expected users field to be an array, got {kind}")));
    };
    if entries.is_empty() {
        // As in the real server, which says nothing.
        let text = "the list of users is empty: everybody may connect";
        problems.push(field.node.problem(Severity::Notice, text));
    }
    let mut users = Vec::with_capacity(entries.len());
    let mut names = HashSet::with_capacity_and_hasher(entries.len(), RandomState::default());
    for entry in entries {
        match user(entry, problems) {
            Ok((name, user)) if !names.insert(name) => {
                let kind = match user.credential {
                    Credential::Password { .. } => "user",
                    Credential::Nkey(_) => "nkey",
                };
                problems.push(entry.error(format!("Duplicate {kind} {name:?} detected")));
            }
            Ok((_, user)) => users.push(user),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(users)
}

/// Reads a user, and its name as [`User::name`] has it.
fn user<'a>(entry: &Node<'a>, problems: &mut Vec<Problem>) -> Result<(&'a str, User), Problem> {
    let Value::Map(map) = entry.value else {
        let kind = entry.value.kind();
        return Err(entry.error(format!("Expected user entry to be a map/struct, got {kind}")));
    };
    let (mut name, mut password, mut nkey) = ("", "", "");
    let mut own_permissions = None;
    let mut allowed_connection_types = Vec::new();
    for field in map.fields() {
        match &*field.key() {
            "user" | "username" => name = field.text()?,
            "pass" | "password" => password = field.text()?,
            "nkey" => nkey = field.text()?,
            "permissions" | "permission" | "authorization" => {
                own_permissions = Some(permissions(field, problems)?.into());
            }
            "allowed_connection_types" | "connection_types" | "clients" => {
                allowed_connection_types = connection_types(field)?;
            }
            "proxy_required" => proxy_required(field)?,
            _ => unknown_field(field, problems),
        }
    }
    let credential = match (name, nkey) {
        ("", "") => return Err(entry.error("User entry requires a user")),
        (user, "") => Credential::Password { user: user.to_owned(), password: password.to_owned() },
        (_, nkey) if !is_user_nkey(nkey) => {
            return Err(entry.error("Not a valid public nkey for a user"));
        }
        (name, nkey) if name.is_empty() && password.is_empty() => Credential::Nkey(nkey.to_owned()),
        _ => return Err(entry.error("Nkey users do not take usernames or passwords")),
    };
    let name = if name.is_empty() { nkey } else { name };
    let user =
        User { permissions: own_permissions, allowed_connection_types, ..User::new(credential) };
    Ok((name, user))
}

/// `U`, then 55 characters of base32 that end in the right checksum.
fn is_user_nkey(key: &str) -> bool {
    key.starts_with('U') && nkeys::KeyPair::from_public_key(key).is_ok()
}

fn connection_types(field: Field<'_>) -> Result<Vec<ConnectionType>, Problem> {
    let mut types = Vec::new();
    let mut unknown = Vec::new();
    for name in field.texts()? {
        match name.to_ascii_uppercase().as_str() {
            "STANDARD" => types.push(ConnectionType::Standard),
            "WEBSOCKET" => types.push(ConnectionType::Websocket),
            "LEAFNODE" => types.push(ConnectionType::Leafnode),
            "LEAFNODE_WS" => types.push(ConnectionType::LeafnodeWs),
            "MQTT" => types.push(ConnectionType::Mqtt),
            "MQTT_WS" => types.push(ConnectionType::MqttWs),
            "IN_PROCESS" => types.push(ConnectionType::InProcess),
            _ => unknown.push(format!("{name:?}")),
        }
    }
    if unknown.is_empty() {
        return Ok(types);
    }
    Err(field.error(format!("invalid connection types [{}]", unknown.join(" "))))
}

/// A `permissions` map.
///
/// # Errors
/// It is no map. Faults inside go to `problems`.
pub(super) fn permissions(
    field: Field<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Permissions, Problem> {
    let Value::Map(map) = &field.node.value else {
        let kind = field.node.value.kind();
        return Err(field.error(format!("Expected permissions to be a map/struct, got {kind}")));
    };
    let mut permissions = Permissions::default();
    for field in map.fields() {
        let result = match &*field.key() {
            "publish" | "pub" | "import" => subject_permission(field, Side::Publish, problems)
                .map(|permission| permissions.publish = permission),
            "subscribe" | "sub" | "export" => subject_permission(field, Side::Subscribe, problems)
                .map(|permission| permissions.subscribe = permission),
            "allow_responses" | "publish_allow_responses" => allow_responses(field, problems)
                .map(|responses| permissions.allow_responses = responses),
            _ => {
                unknown_permission(field, problems);
                Ok(())
            }
        };
        if let Err(problem) = result {
            problems.push(problem);
        }
    }
    if permissions.allow_responses.is_some() {
        // Only replies, unless there is an allow list.
        permissions.publish.allow.get_or_insert_default();
    }
    Ok(permissions)
}

fn unknown_permission(field: Field<'_>, problems: &mut Vec<Problem>) {
    if !field.node.is_used_as_variable() {
        let text = format!("Unknown field {:?} parsing permissions", field.name);
        problems.push(field.error(text));
    }
}

/// The direction of a permission: only subscriptions have queues.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Publish,
    Subscribe,
}

fn subject_permission(
    field: Field<'_>,
    side: Side,
    problems: &mut Vec<Problem>,
) -> Result<SubjectPermission, Problem> {
    let Value::Map(map) = &field.node.value else {
        return Ok(SubjectPermission { allow: subjects(field, side)?, deny: Vec::new() });
    };
    let mut permission = SubjectPermission::default();
    for field in map.fields() {
        match &*field.key() {
            "allow" => permission.allow = subjects(field, side)?,
            "deny" => permission.deny = subjects(field, side)?.unwrap_or_default(),
            _ if !field.node.is_used_as_variable() => problems.push(field.error(format!(
                "Unknown field name {:?} parsing subject permissions, only 'allow' or 'deny' \
                 are permitted",
                field.name
            ))),
            _ => {}
        }
    }
    Ok(permission)
}

/// A subject or a list of them. None if the list is empty, which allows everything.
fn subjects(field: Field<'_>, side: Side) -> Result<Option<Vec<String>>, Problem> {
    let nodes = match &field.node.value {
        Value::Text(_) => std::slice::from_ref(field.node),
        Value::Array(nodes) => nodes,
        value => {
            return Err(field.error(format!(
                "Expected subject permissions to be a subject, or array of subjects, got {}",
                value.kind()
            )));
        }
    };
    let subjects = nodes.iter().map(|node| subject(node, side)).collect::<Result<Vec<_>, _>>()?;
    Ok((!subjects.is_empty()).then_some(subjects))
}

/// A subject, or a subject and a queue with one blank between.
fn subject(node: &Node<'_>, side: Side) -> Result<String, Problem> {
    let Value::Text(text) = &node.value else {
        return Err(node.error("Subject in permissions array cannot be cast to string"));
    };
    if is_valid_pattern(text.as_bytes()) {
        return Ok(text.to_string());
    }
    let parts: Vec<_> = text.split_ascii_whitespace().collect();
    let [subject, queue] = parts[..] else {
        return Err(node.error(format!("subject {text:?} is not a valid subject")));
    };
    if side == Side::Publish {
        return Err(node.error(format!("subject {text:?} is not a valid subject")));
    }
    if !is_valid_pattern(subject.as_bytes()) {
        return Err(node.error(format!("subject {subject:?} is not a valid subject")));
    }
    if !is_valid_pattern(queue.as_bytes()) {
        return Err(node.error(format!("queue {queue:?} is not a valid queue")));
    }
    Ok(format!("{subject} {queue}"))
}

fn allow_responses(
    field: Field<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Option<AllowResponses>, Problem> {
    let map = match field.node.value {
        Value::Bool(allowed) => return Ok(allowed.then(AllowResponses::default)),
        Value::Map(map) => map,
        _ => {
            let text = "error parsing response permissions, expected a boolean or a map";
            return Err(field.error(text));
        }
    };
    let mut responses = AllowResponses::default();
    for field in map.fields() {
        match &*field.key() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => match field.integer()? {
                0 => {}
                max => responses.max = max,
            },
            "expires" | "expiration" | "ttl" => {
                let Value::Text(text) = &field.node.value else {
                    return Err(field.error("error parsing expires, not a duration string"));
                };
                let ns = duration::parse_ns(text)
                    .map_err(|error| field.error(format!("error parsing expires: {error}")))?;
                if ns != 0 {
                    responses.expires = u64::try_from(ns).ok().map(Duration::from_nanos);
                }
            }
            _ => unknown_permission(field, problems),
        }
    }
    Ok(Some(responses))
}
