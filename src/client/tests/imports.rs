//! Messages that subscriptions get from other accounts, against a naive model.

use std::collections::BTreeMap;

use super::*;
use crate::base::subject;
use crate::client::fuzz::with_accounts;
use crate::config::imports;
use crate::config::options::{
    Export, ExportKind, Import, ImportKind, Importers, LocalSubject, Permissions, User,
};
use crate::sublist::{Entry, Interest};

const NAMES: [&str; 4] = ["A", "B", "C", "bound"];
/// What the last user, who is in the account B, may not have.
const DENIED: &str = "p.a.b";
const PATTERNS: [&str; 14] = [
    "a.b", "a.*", "a.>", "*.b", ">", "p.>", "p.a.*", "p.a.b", "q.*", "q.b", "*.*.b", "a.b.c",
    "x.*.1", "*.a.>",
];
const LITERALS: [&str; 9] =
    ["a.b", "a.c", "a.b.c", "b", "p.a.b", "q.b", "x.1.2", "x.2.1", "p.a.b.c"];
const EXPORTS: [&str; 9] = ["a.>", "a.*", "a.b", ">", "b", "x.*.*", "p.>", "*.b", "a.b.c"];
const IMPORTS: [(&str, &str); 12] = [
    ("a.>", ""),
    ("a.>", "p."),
    ("a.*", "q.$1"),
    ("a.*", "q.*"),
    ("a.b", "q.b"),
    ("a.b", ""),
    ("b", "a.b"),
    ("x.*.*", "x.$2.$1"),
    ("x.*.1", "p.$1.b"),
    (">", "p."),
    ("p.>", "a.>"),
    ("*.b", "q.{{wildcard(1)}}"),
];

/// Exports of messages of each account.
type Exports = Vec<(usize, Export)>;

/// A subscription in the model.
struct Model {
    pattern: &'static str,
    queue: Option<&'static str>,
    delivered: u64,
    max: u64,
}

/// A server, and the model of it.
struct Play {
    bench: Bench,
    /// The accounts of the clients.
    accounts: Vec<usize>,
    models: BTreeMap<(usize, usize), Model>,
    exports: Exports,
    imports: Vec<(usize, Import)>,
    sids: usize,
    random: fastrand::Rng,
}

/// The options with these exports and imports.
fn options(exports: &Exports, imports: &[(usize, Import)]) -> Options {
    let mut options = with_accounts(Options::default(), &NAMES[..3]);
    let Login::Users(users) = &mut options.authorization.login else { unreachable!() };
    let mut bound = users[1].clone();
    bound.credential = Credential::Password { user: NAMES[3].into(), password: String::new() };
    let mut permissions = Permissions::default();
    permissions.subscribe.deny = vec![DENIED.to_owned()];
    bound.permissions = Some(permissions.into());
    users.push(User { ..bound });
    for (account, export) in exports {
        options.accounts[*account].exports.push(export.clone());
    }
    for (account, import) in imports {
        options.accounts[*account].imports.push(import.clone());
    }
    options
}

/// The importer's name of a subject; `None` if the import does not match it.
fn renamed(import: &Import, subject: &str) -> Option<String> {
    if !subject::matches(import.subject.as_bytes(), subject.as_bytes()) {
        return None;
    }
    let given: Vec<&str> = subject.split('.').collect();
    let wanted: Vec<&str> = import.subject.split('.').collect();
    let wild: Vec<&str> =
        (wanted.iter().zip(&given)).filter(|(one, _)| **one == "*").map(|(_, two)| *two).collect();
    let to = match &import.local {
        LocalSubject::Same => return Some(subject.to_owned()),
        LocalSubject::Prefix(prefix) => return Some(format!("{prefix}{subject}")),
        LocalSubject::To(to) => to,
    };
    let mut next = 0;
    let token = |token: &str| match token {
        ">" => given[wanted.len() - 1..].join("."),
        "*" => {
            next += 1;
            wild[next - 1].to_owned()
        }
        "$1" | "{{wildcard(1)}}" => wild[0].to_owned(),
        "$2" => wild[1].to_owned(),
        text => text.to_owned(),
    };
    Some(to.split('.').map(token).collect::<Vec<_>>().join("."))
}

impl Play {
    fn new(seed: u64) -> Play {
        let mut random = fastrand::Rng::with_seed(seed);
        let (exports, imports) = Play::shared(&mut random);
        let bench = Bench::new(options(&exports, &imports), 6);
        let mut play = Play {
            bench,
            accounts: vec![0; 6],
            models: BTreeMap::new(),
            exports,
            imports,
            sids: 0,
            random,
        };
        (0..6).for_each(|client| play.log_in(client));
        play
    }

    /// Random exports, and imports without faults.
    fn shared(random: &mut fastrand::Rng) -> (Exports, Vec<(usize, Import)>) {
        let mut exports = Vec::new();
        for _ in 0..random.usize(2..9) {
            let subject = EXPORTS[random.usize(..EXPORTS.len())];
            let mut export = Export::new(subject, ExportKind::Stream);
            if random.u8(..4) == 0 {
                export.importers = Importers::Listed(vec![NAMES[random.usize(..3)].to_owned()]);
            }
            exports.push((random.usize(..3), export));
        }
        let mut imports: Vec<(usize, Import)> = Vec::new();
        for _ in 0..random.usize(..12) {
            let (subject, to) = IMPORTS[random.usize(..IMPORTS.len())];
            let mut import = Import::new(NAMES[random.usize(..3)], subject, ImportKind::Stream);
            import.local = match to {
                "" => LocalSubject::Same,
                to if to.ends_with('.') => LocalSubject::Prefix(to.to_owned()),
                to => LocalSubject::To(to.to_owned()),
            };
            imports.push((random.usize(..3), import));
            if !imports::compile(&options(&exports, &imports)).1.is_empty() {
                imports.pop();
            }
        }
        (exports, imports)
    }

    fn log_in(&mut self, client: usize) {
        let user = self.random.usize(..NAMES.len());
        self.accounts[client] = user;
        let line = format!("CONNECT {{\"verbose\":false,\"user\":\"{}\"}}\r\n", NAMES[user]);
        self.bench.send(client, line.as_bytes());
        self.models.retain(|(owner, _), _| *owner != client);
    }

    fn account(&self, client: usize) -> usize {
        if self.accounts[client] == 3 { 1 } else { self.accounts[client] }
    }

    fn act(&mut self) {
        let client = self.random.usize(..6);
        match self.random.u8(..40) {
            0..14 => self.subscribe(client),
            14..18 => self.unsubscribe(),
            18..36 => self.publish(client),
            36 => self.log_in(client),
            37 => {
                self.bench.close(client, ClosedReason::ClientClosed);
                self.bench.add();
                let end = self.bench.ends.pop().unwrap();
                self.bench.ends[client] = end;
                self.log_in(client);
            }
            _ => self.reload(),
        }
        self.check_interest();
    }

    fn reload(&mut self) {
        (self.exports, self.imports) = Play::shared(&mut self.random);
        self.bench.registry.change_settings(options(&self.exports, &self.imports));
        let registry = Arc::clone(&self.bench.registry);
        self.bench.delivery.renew_settings(&registry);
        (0..6).for_each(|client| self.bench.turn(client));
    }

    fn subscribe(&mut self, client: usize) {
        self.sids += 1;
        let sid = self.sids;
        let pattern = PATTERNS[self.random.usize(..PATTERNS.len())];
        let queue = [None, None, Some("q"), Some("r")][self.random.usize(..4)];
        let line = format!("SUB {pattern} {} {sid}\r\n", queue.unwrap_or_default());
        self.bench.send(client, line.as_bytes());
        if self.accounts[client] == 3 && pattern == DENIED {
            assert!(text(&self.bench, client).contains("Permissions Violation"));
            return;
        }
        self.models.insert((client, sid), Model { pattern, queue, delivered: 0, max: 0 });
    }

    fn unsubscribe(&mut self) {
        if self.models.is_empty() {
            return;
        }
        let nth = self.random.usize(..self.models.len());
        let (&key, model) = self.models.iter_mut().nth(nth).unwrap();
        let max = self.random.u64(..6);
        self.bench.send(key.0, format!("UNSUB {} {max}\r\n", key.1).as_bytes());
        model.max = max;
        if max <= model.delivered {
            self.models.remove(&key);
        }
    }

    /// The accounts that get a message, with the subject there.
    fn seen(&self, from: usize, subject: &str) -> Vec<(usize, String)> {
        let mut seen = vec![(from, subject.to_owned())];
        for (importer, import) in &self.imports {
            if import.account == NAMES[from]
                && self.may_import(*importer, from, subject)
                && let Some(local) = renamed(import, subject)
            {
                seen.push((*importer, local));
            }
        }
        seen
    }

    /// The most specific exports of the subject decide.
    fn may_import(&self, importer: usize, from: usize, subject: &str) -> bool {
        // All exports of one subject are one: private once one of them is.
        let mut merged: BTreeMap<&str, Option<Vec<&String>>> = BTreeMap::new();
        for (_, export) in self.exports.iter().filter(|(account, _)| *account == from) {
            let known = merged.entry(&export.subject).or_default();
            if let Importers::Listed(names) = &export.importers {
                known.get_or_insert_default().extend(names);
            }
        }
        let matching = merged
            .iter()
            .filter(|(pattern, _)| subject::matches(pattern.as_bytes(), subject.as_bytes()));
        let name = NAMES[importer];
        let decided: Vec<(&str, bool)> = matching
            .map(|(pattern, names)| {
                let allows =
                    names.as_ref().is_none_or(|names| names.iter().any(|one| *one == name));
                (*pattern, allows)
            })
            .collect();
        decided.iter().all(|(pattern, allows)| {
            let narrower = |(one, allows): &(&str, bool)| {
                *allows && one != pattern && subject::covers(pattern.as_bytes(), one.as_bytes())
            };
            *allows || decided.iter().any(narrower)
        })
    }

    fn publish(&mut self, client: usize) {
        let subject = LITERALS[self.random.usize(..LITERALS.len())];
        let count = self.random.usize(1..4);
        self.bench.send(client, format!("PUB {subject} 1\r\nx\r\n").repeat(count).as_bytes());
        let mut got: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
        for receiver in 0..6 {
            let heard = text(&self.bench, receiver);
            for line in heard.split('|').filter(|line| line.starts_with("MSG ")) {
                let words: Vec<&str> = line.split(' ').collect();
                let sid = words[2].parse().unwrap();
                got.entry((receiver, sid)).or_default().push(words[1].to_owned());
            }
        }
        let seen = self.seen(self.account(client), subject);
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        let keys: Vec<_> = self.models.keys().copied().collect();
        for key in keys {
            let in_account = self.account(key.0);
            let bound = self.accounts[key.0] == 3;
            let model = self.models.get_mut(&key).unwrap();
            let mut can_get: Vec<String> = seen
                .iter()
                .filter(|(account, local)| {
                    *account == in_account
                        && subject::matches(model.pattern.as_bytes(), local.as_bytes())
                        && !(bound && local == DENIED)
                })
                .map(|(_, local)| local.clone())
                .collect();
            let got = got.remove(&key).unwrap_or_default();
            assert!(got.iter().all(|one| can_get.contains(one)), "{key:?} {got:?} {can_get:?}");
            model.delivered += got.len() as u64;
            if let Some(queue) = model.queue {
                if !can_get.is_empty() {
                    *groups.entry(queue).or_default() += got.len();
                }
            } else if model.max == 0 {
                can_get = (0..count).flat_map(|_| can_get.clone()).collect();
                can_get.sort();
                let mut got = got;
                got.sort();
                assert_eq!(got, can_get, "{key:?} on {}", model.pattern);
            } else {
                let left = model.max - (model.delivered - got.len() as u64);
                assert_eq!(got.len() as u64, left.min((can_get.len() * count) as u64), "{key:?}");
            }
            if model.max > 0 && model.delivered >= model.max {
                assert_eq!(model.delivered, model.max);
                self.models.remove(&key);
            }
        }
        assert_eq!(got, BTreeMap::new(), "{subject} came there too");
        for (queue, delivered) in groups {
            assert!(delivered <= count && delivered > 0, "{queue} got {delivered} of {count}");
        }
    }

    /// Each account lists its own subscriptions, and one for each that imports something of it.
    fn check_interest(&self) {
        let settings = self.bench.registry.settings();
        for (at, name) in NAMES[..3].iter().enumerate() {
            let own = self.models.keys().filter(|key| self.account(key.0) == at).count();
            let mut shadows = 0;
            for (key, model) in &self.models {
                for (importer, import) in &self.imports {
                    let imports = *importer == self.account(key.0) && import.account == *name;
                    let local = match &import.local {
                        LocalSubject::Same => import.subject.clone(),
                        LocalSubject::Prefix(prefix) => format!("{prefix}{}", import.subject),
                        LocalSubject::To(to) => {
                            let wild = ["$1", "$2", "{{wildcard(1)}}"];
                            let token = |token| if wild.contains(&token) { "*" } else { token };
                            to.split('.').map(token).collect::<Vec<_>>().join(".")
                        }
                    };
                    let meets = subject::overlaps(local.as_bytes(), model.pattern.as_bytes());
                    shadows += usize::from(imports && meets);
                }
            }
            let account = settings.accounts.find(name.as_bytes()).unwrap();
            let found = account.with_sublist(|sublist| {
                let count =
                    |interest| sublist.iter().filter(|one| one.interest() == interest).count();
                (count(Interest::Local), count(Interest::Import))
            });
            assert_eq!(found, (own, shadows), "{name}");
        }
    }
}

#[test]
fn what_is_delivered_is_what_a_naive_model_delivers() {
    for seed in 0..400 {
        let mut play = Play::new(seed);
        for _ in 0..60 {
            play.act();
        }
        for client in 0..6 {
            play.bench.close(client, ClosedReason::ClientClosed);
        }
        play.models.clear();
        play.check_interest();
    }
}

/// Two imports give the subject the same name, and a third one another name: bundles hold no
/// connection twice, and only the same frames.
#[test]
fn many_receivers_get_it_by_two_imports_in_bundles() {
    let export = Export::new("a.>", ExportKind::Stream);
    let import = |subject: &str, local| {
        let mut import = Import::new("A", subject, ImportKind::Stream);
        import.local = local;
        (1, import)
    };
    let imports = [
        import("a.>", LocalSubject::Prefix("p".to_owned())),
        import("a.b", LocalSubject::To("p.a.b".to_owned())),
        import("a.*", LocalSubject::To("q.$1".to_owned())),
    ];
    let exports = vec![(0, export.clone()), (0, Export::new("a.b", export.kind.clone()))];
    let exports = exports.into_iter().chain([(0, Export::new("a.*", export.kind))]).collect();
    for own_sids in [false, true] {
        let mut bench = Bench::new(options(&exports, &imports), 60);
        for at in 0..60 {
            let name = if at < 20 { "A" } else { "B" };
            let connect = format!("CONNECT {{\"verbose\":false,\"user\":\"{name}\"}}\r\n");
            bench.send(at, connect.as_bytes());
            let subject = if at < 20 { "a.b" } else { ["p.a.*", "q.b"][at % 2] };
            let sid = if own_sids { 100 + at } else { 7 };
            bench.send(at, format!("SUB {subject} {sid}\r\n").as_bytes());
        }
        for _ in 0..3 {
            let row = "PUB a.b 1\r\nx\r\n".repeat(6);
            bench.send(0, format!("PUB a.c 1\r\ny\r\n{row}").as_bytes());
            for at in 0..60 {
                let sid = if own_sids { 100 + at } else { 7 };
                let (subject, count) = match at {
                    ..20 => ("a.b", 6),
                    _ if at % 2 == 0 => ("p.a.b", 12),
                    _ => ("q.b", 6),
                };
                let first = match subject {
                    "p.a.b" => format!("MSG p.a.c {sid} 1|y|"),
                    _ => String::new(),
                };
                let row = format!("MSG {subject} {sid} 1|x|").repeat(count);
                assert_eq!(text(&bench, at), first + &row, "{at}");
            }
        }
    }
}
