//! Requests between random accounts against a naive model; and how many one message may become.

use std::collections::BTreeMap;

use super::*;
use crate::client::fuzz::{Bench, with_accounts};
use crate::config::options::{
    Export, ExportKind, Import, ImportKind, LocalSubject, Options, ServiceOptions,
};
use crate::conn::taken::Taken;

const NAMES: [&str; 4] = ["A", "B", "C", "D"];
const SUBJECTS: [&str; 6] = ["a", "b", "s.a", "s.b", "t.a", "t.b"];
const PATTERNS: [&str; 6] = ["a", "b", "s.a", "s.*", "t.b", "t.*"];

/// An import of the model: from the account at an index, to that of another one.
#[derive(Debug, Clone)]
struct Known {
    importer: usize,
    exporter: usize,
    local: &'static str,
    remote: &'static str,
}

impl Known {
    /// The subject of the exporter for one of the importer.
    fn remote(&self, subject: &str) -> Option<String> {
        let matches = crate::base::subject::matches(self.local.as_bytes(), subject.as_bytes());
        matches.then(|| match self.remote.split_once('*') {
            Some((before, _)) => format!("{before}{}", subject.rsplit('.').next().unwrap()),
            None => self.remote.to_owned(),
        })
    }
}

/// A server with an own client, accounts that serve each other, and a client of each.
struct Model {
    bench: Bench,
    imports: Vec<Known>,
    /// Patterns by the account of the client.
    subscriptions: Vec<Vec<&'static str>>,
}

/// Accounts that export all subjects, with these imports.
fn options(imports: &[Known], names: &[&str]) -> Options {
    let mut options = with_accounts(Options::default(), names);
    for account in &mut options.accounts {
        let service = ExportKind::Service(ServiceOptions::default());
        account.exports = PATTERNS.map(|subject| Export::new(subject, service.clone())).into();
    }
    for known in imports {
        let kind = ImportKind::Service { share: false };
        let mut import = Import::new(names[known.exporter], known.remote, kind);
        import.local = LocalSubject::To(known.local.to_owned());
        options.accounts[known.importer].imports.push(import);
    }
    options
}

/// Logs a client of each account in.
fn bench(options: Options, names: &[&str]) -> Bench {
    let mut bench = Bench::new(options, names.len());
    let wire = Arc::new(Taken::default());
    let now = bench.delivery.now;
    bench.registry.add(|cid, slot| wire.conn(cid, Kind::System, slot, now));
    for (at, name) in names.iter().enumerate() {
        let connect =
            format!(r#"{{"verbose":false,"user":"{name}","headers":true,"no_responders":true}}"#);
        bench.send(at, format!("CONNECT {connect}\r\nSUB in in\r\n").as_bytes());
    }
    bench
}

impl Model {
    fn new(random: &mut fastrand::Rng) -> Model {
        let mut imports: Vec<Known> = Vec::new();
        for _ in 0..random.usize(1..9) {
            let [importer, exporter] = [(); 2].map(|()| random.usize(..NAMES.len()));
            // Those with wildcards go together.
            let alike = [(0, 4), (0, 2), (3, 3), (3, 5), (5, 3), (1, 2), (2, 1)];
            let (local, remote) = alike[random.usize(..alike.len())];
            let (local, remote) = (PATTERNS[local], PATTERNS[remote]);
            let more = Known { importer, exporter, local, remote };
            let with = [&imports[..], std::slice::from_ref(&more)].concat();
            if options(&with, &NAMES).check().is_ok() {
                imports = with;
            }
        }
        let bench = bench(options(&imports, &NAMES), &NAMES);
        let mut model = Model { bench, imports, subscriptions: vec![Vec::new(); NAMES.len()] };
        for at in 0..NAMES.len() {
            for pattern in PATTERNS.iter().filter(|_| random.u8(..3) == 0) {
                let line = format!("SUB {pattern} {}\r\n", model.subscriptions[at].len());
                model.bench.send(at, line.as_bytes());
                model.subscriptions[at].push(pattern);
            }
        }
        model
    }

    /// Adds the number of messages that each subscription gets, by account and pattern. Returns the
    /// number of imports in this account by which some get it.
    fn expected(
        &self,
        account: usize,
        subject: &str,
        passed: &mut Vec<(usize, String)>,
        got: &mut BTreeMap<(usize, &'static str), usize>,
    ) -> usize {
        let mut count = 0;
        for pattern in &self.subscriptions[account] {
            if crate::base::subject::matches(pattern.as_bytes(), subject.as_bytes()) {
                *got.entry((account, *pattern)).or_default() += 1;
            }
        }
        for import in self.imports.iter().filter(|import| import.importer == account) {
            let Some(remote) = import.remote(subject) else { continue };
            let service = (import.exporter, import.remote.to_owned());
            if passed.contains(&service) {
                continue;
            }
            passed.push(service);
            let before = got.values().sum::<usize>();
            self.expected(import.exporter, &remote, passed, got);
            count += usize::from(got.values().sum::<usize>() > before);
            passed.pop();
        }
        count
    }

    /// A client asks; all who are asked answer.
    fn ask(&mut self, random: &mut fastrand::Rng) {
        let at = random.usize(..NAMES.len());
        let subject = SUBJECTS[random.usize(..SUBJECTS.len())];
        let mut expected = BTreeMap::new();
        let requests = self.expected(at, subject, &mut Vec::new(), &mut expected);
        self.bench.send(at, format!("PUB {subject} in 2\r\nhi\r\n").as_bytes());
        let mut got = BTreeMap::new();
        let mut replies = Vec::new();
        let mut refused = false;
        for account in 0..NAMES.len() {
            let text = String::from_utf8(self.bench.take(account)).unwrap();
            for line in text.lines().filter(|line| line.contains("MSG ")) {
                let words: Vec<&str> = line.split(' ').collect();
                if words[1] == "in" {
                    refused = true;
                    continue;
                }
                let sid: usize = words[2].parse().unwrap();
                *got.entry((account, self.subscriptions[account][sid])).or_default() += 1;
                replies.push((account, words[3].to_owned()));
            }
        }
        assert_eq!(got, expected, "{subject} of {at}");
        assert_eq!(refused, expected.is_empty(), "{subject} of {at}");
        for (account, reply) in &replies {
            self.bench.send(*account, format!("PUB {reply} 2\r\nok\r\n").as_bytes());
        }
        // Each request is answered once, however many have got it.
        let text = String::from_utf8(self.bench.take(at)).unwrap();
        let arrived = text.matches("MSG in in 2\r\nok\r\n").count();
        let at_home = replies.iter().filter(|(_, reply)| reply == "in").count();
        assert_eq!(arrived, requests + at_home, "{subject} of {at}: {text}");
        let settings = self.bench.registry.settings();
        let open = settings.accounts.iter().map(|account| account.response_count());
        assert_eq!(open.sum::<usize>(), 0, "{subject} of {at}");
        (0..NAMES.len()).for_each(|account| drop(self.bench.take(account)));
    }
}

#[test]
fn requests_reach_whom_imports_name() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = Model::new(&mut random);
        for _ in 0..40 {
            model.ask(&mut random);
        }
    }
}

/// Each account asks the next one twice.
#[test]
fn one_message_becomes_only_so_many() {
    let names: Vec<String> = (0..12).map(|at| format!("N{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut imports = Vec::new();
    for importer in 0..names.len() - 1 {
        for local in ["s.a", "s.*"] {
            imports.push(Known { importer, exporter: importer + 1, local, remote: local });
        }
    }
    let mut bench = bench(options(&imports, &names), &names);
    for at in 0..names.len() {
        bench.send(at, b"SUB s.a 1\r\n");
    }
    bench.send(0, b"PUB s.a in 2\r\nhi\r\n");
    let got =
        |bench: &mut Bench, at| bench.take(at).windows(6).filter(|it| it == b"s.a 1 ").count();
    let counts: Vec<_> = (0..names.len()).map(|at| got(&mut bench, at)).collect();
    assert_eq!(counts[0], 1);
    assert!(counts.iter().sum::<usize>() <= REQUESTS_MAX + 1, "{counts:?}");
    // The next message has as many.
    bench.send(0, b"PUB s.a 2\r\nhi\r\n");
    let again: Vec<_> = (0..names.len()).map(|at| got(&mut bench, at)).collect();
    assert_eq!(again, counts);
}
