//! A generated configuration: accounts with users, their permissions, and what parts add.

use std::fmt;

use fastrand::Rng;

use super::subjects;

/// Adds settings to the accounts of a configuration.
pub(super) type Part = fn(&mut Rng, &mut Configuration);

/// A user in an account of its own, beside the conversation.
pub(super) const WITNESS: &str = "witness";

/// The accounts of a server.
pub(super) struct Configuration {
    /// The first one is `$G`.
    pub(super) accounts: Vec<Account>,
}

/// An account with two users at least.
pub(super) struct Account {
    pub(super) name: &'static str,
    /// Lines of its block; for `$G`, of the file.
    pub(super) settings: Vec<String>,
    pub(super) users: Vec<User>,
}

pub(super) struct User {
    pub(super) name: String,
    /// The block of its permissions; empty if it has none.
    permissions: String,
}

impl Configuration {
    pub(super) fn draw(random: &mut Rng, parts: &[Part]) -> Configuration {
        let names = &["$G", "A", "B", "C"][..2 + random.usize(..3)];
        let accounts = names.iter().map(|name| Account::draw(random, name)).collect();
        let mut configuration = Configuration { accounts };
        for part in parts {
            part(random, &mut configuration);
        }
        configuration
    }

    /// The users of all accounts.
    pub(super) fn users(&self) -> impl Iterator<Item = &User> {
        self.accounts.iter().flat_map(|account| &account.users)
    }
}

impl Account {
    fn draw(random: &mut Rng, name: &'static str) -> Account {
        let count = 2 + random.usize(..2);
        let user = |number| {
            let name = format!("{}{number}", name.trim_start_matches('$').to_lowercase());
            // The first one may do everything, so that somebody hears what the others publish.
            let permissions = if number == 0 { String::new() } else { permissions(random) };
            User { name, permissions }
        };
        Account { name, settings: Vec::new(), users: (0..count).map(user).collect() }
    }
}

/// The content of a block of permissions.
fn permissions(random: &mut Rng) -> String {
    let mut block = String::new();
    for side in ["publish", "subscribe"] {
        let [allow, deny] = [(); 2].map(|()| list(random, side));
        match random.u8(..6) {
            0 => block.push_str(&format!("{side}: {allow}, ")),
            1 => block.push_str(&format!("{side}: {{ deny: {deny} }}, ")),
            2 => block.push_str(&format!("{side}: {{ allow: {allow}, deny: {deny} }}, ")),
            _ => {}
        }
    }
    if random.u8(..4) == 0 {
        // Known difference: a request that comes by two subscriptions may be answered once here,
        // and there not at all.
        block.push_str("allow_responses: { max: -1 }");
    }
    block
}

/// A list of subjects that a user may publish or subscribe to, or may not.
fn list(random: &mut Rng, side: &str) -> String {
    let entries = [(); 3].map(|()| match random.u8(..3) {
        // Known difference: here `a.*` allows no subscription to `a.>`.
        0 if side == "publish" => subjects::pattern(random),
        0 | 1 => subjects::literal(random),
        _ => format!("{}.>", subjects::token(random)),
    });
    format!("{entries:?}")
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [global, others @ ..] = &self.accounts[..] else { return Ok(()) };
        global.settings.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "authorization {{ {} }}\naccounts {{\n", Users(&global.users))?;
        for Account { name, settings, users } in others {
            writeln!(f, "{name} {{")?;
            settings.iter().try_for_each(|line| writeln!(f, "{line}"))?;
            writeln!(f, "{} }}", Users(users))?;
        }
        writeln!(f, "W {{ users: [ {{ user: {WITNESS}, password: p }} ] }} }}")
    }
}

struct Users<'a>(&'a [User]);

impl fmt::Display for Users<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "users: [")?;
        for User { name, permissions } in self.0 {
            write!(f, "  {{ user: {name}, password: p")?;
            if !permissions.is_empty() {
                write!(f, ", permissions: {{ {permissions} }}")?;
            }
            writeln!(f, " }}")?;
        }
        write!(f, "]")
    }
}
