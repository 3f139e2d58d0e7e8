use super::*;
use crate::config::options::{
    AccountLimits, Cluster, Export, ExportKind, Importers, Sampling, ServiceOptions, SubjectMapping,
};

/// Accounts with these names.
fn accounts(names: &[&str]) -> Options {
    let accounts = names.iter().copied().map(AccountOptions::new).collect();
    Options { accounts, ..Options::default() }
}

fn account<'a>(options: &'a mut Options, name: &str) -> &'a mut AccountOptions {
    options.accounts.iter_mut().find(|account| account.name == name).unwrap()
}

/// Adds an export of messages, to all or to those listed in `to`.
fn export(options: &mut Options, exporter: &str, subject: &str, to: &[&str]) {
    let mut export = Export::new(subject, ExportKind::Stream);
    if !to.is_empty() {
        export.importers = Importers::Listed(to.iter().map(|&name| name.to_owned()).collect());
    }
    account(options, exporter).exports.push(export);
}

fn export_service(options: &mut Options, exporter: &str, subject: &str) {
    let kind = ExportKind::Service(ServiceOptions::default());
    account(options, exporter).exports.push(Export::new(subject, kind));
}

/// Adds an import to `importer`, under the same subject if `to` is empty, or behind the prefix
/// `to` if that ends in a dot.
fn import(options: &mut Options, importer: &str, (exporter, subject): (&str, &str), to: &str) {
    let mut import = Import::new(exporter, subject, ImportKind::Stream);
    import.local = match to {
        "" => LocalSubject::Same,
        to if to.ends_with('.') => LocalSubject::Prefix(to.to_owned()),
        to => LocalSubject::To(to.to_owned()),
    };
    account(options, importer).imports.push(import);
}

fn import_service(options: &mut Options, importer: &str, from: (&str, &str), to: &str) {
    import(options, importer, from, to);
    let import = account(options, importer).imports.last_mut().unwrap();
    import.kind = ImportKind::Service { share: false };
}

/// The faults, as the log shows them.
fn faults(options: &Options) -> Vec<String> {
    compile(options).1.iter().map(Fault::to_string).collect()
}

#[test]
fn a_local_pattern_has_the_remote_parts_that_nats_server_announces() {
    let imports = [
        ("a.*.b", "x.$1"),
        ("foo.*", "*.bar.q"),
        ("l", "loc.l"),
        ("n.>", "np."),
        ("a.*.*.c", "y.$2.$1"),
    ];
    let mut options = accounts(&["A", "B"]);
    for (subject, to) in imports {
        export(&mut options, "A", subject, &[]);
        import(&mut options, "B", ("A", subject), to);
    }
    let (all, faults) = compile(&options);
    assert_eq!(faults, []);
    let table = [
        ("x.*", "a.*.b"),
        ("np.n.>", "n.>"),
        ("x.7", "a.7.b"),
        ("np.n.*", "n.*"),
        ("*.7", "a.7.b"),
        ("*.n.k", "n.k a.k.n.c"),
        ("x.>", "a.*.b foo.x"),
        ("*.*.k.>", "n.k.>"),
        ("loc.*", "l"),
        ("np.>", "foo.np n.>"),
        ("*.l", "a.l.b l"),
        ("y.1.*", "a.*.1.c"),
        ("z.bar.q", "foo.z"),
        ("y.*.2", "a.2.*.c"),
        ("*.*.q", "foo.* n.q a.q.*.c"),
        ("y.>", "foo.y a.*.*.c"),
        ("*.bar.>", "foo.* a.*.bar.c"),
        ("y.a.b.c", ""),
        (">", "a.*.b foo.* l n.> a.*.*.c"),
    ];
    for (local, expected) in table {
        let parts = all[1].streams.iter().filter_map(|import| {
            let part = import.subjects.remote_part(local.as_bytes())?;
            Some(String::from_utf8_lossy(&part).into_owned())
        });
        assert_eq!(parts.collect::<Vec<_>>().join(" "), expected, "{local}");
    }
}

#[test]
fn subjects_have_two_names() {
    let table = [
        ("pub.>", "fromA.", "pub.a.b", "fromA.pub.a.b"),
        ("w.*.*", "sw.$2.$1", "w.0.1", "sw.1.0"),
        ("st.*", "k.*", "st.a", "k.a"),
        ("lit", "local.lit", "lit", "local.lit"),
        ("same.*", "", "same.x", "same.x"),
    ];
    let mut options = accounts(&["A", "B"]);
    for (remote, to, ..) in table {
        export(&mut options, "A", remote, &[]);
        import(&mut options, "B", ("A", remote), to);
    }
    let (all, faults) = compile(&options);
    assert_eq!(faults, []);
    let mut room = Vec::new();
    for (import, (.., remote, local)) in all[1].streams.iter().zip(table) {
        assert_eq!(import.subjects.to_local(remote.as_bytes(), &mut room), local.as_bytes());
        assert_eq!(import.subjects.to_remote(local.as_bytes(), &mut room), remote.as_bytes());
    }
}

#[test]
fn exports_decide_who_imports() {
    let mut options = accounts(&["A", "B", "C"]);
    export(&mut options, "A", "s.>", &[]);
    export(&mut options, "A", "s.a", &["C"]);
    export(&mut options, "A", "p.>", &["B"]);
    export(&mut options, "A", "p.open", &[]);
    let mut named = Export::new("ev.*.>", ExportKind::Stream);
    named.importers = Importers::Named(2);
    account(&mut options, "A").exports.push(named);
    let mut refused = |importer, subject, expected| {
        let before = options.clone();
        import(&mut options, importer, ("A", subject), "");
        let found = !faults(&options).is_empty();
        options = before;
        assert_eq!(found, expected, "{importer} {subject}");
    };
    refused("B", "s.a", true);
    refused("C", "s.a", false);
    refused("B", "s.*", false);
    refused("B", "s.b", false);
    refused("B", ">", true);
    refused("C", "p.x", true);
    refused("C", "p.open", false);
    refused("B", "p.x", false);
    refused("B", "ev.B.x", false);
    refused("B", "ev.C.x", true);
    refused("B", "ev.*.>", true);
    refused("B", "nothing", true);
    refused("B", "s..x", true);
}

/// In nats-server the public export around a private one decides.
#[test]
fn what_is_private_stays_private_below_a_public_pattern() {
    let mut options = accounts(&["A", "B", "C"]);
    export(&mut options, "A", "s.>", &[]);
    export(&mut options, "A", "s.*.secret", &["C"]);
    export(&mut options, "A", "s.7.secret", &["B"]);
    let mut named = Export::new("s.*.mine.*", ExportKind::Stream);
    named.importers = Importers::Named(2);
    account(&mut options, "A").exports.push(named);
    for importer in ["B", "C"] {
        import(&mut options, importer, ("A", "s.>"), "");
    }
    let (all, faults) = compile(&options);
    assert_eq!(faults, []);
    for (at, importer, subject, expected) in [
        (1, "B", "s.x", true),
        (1, "B", "s.x.secret", false),
        (1, "B", "s.7.secret", true),
        (1, "B", "s.x.secret.y", true),
        (1, "B", "s.B.mine.y", true),
        (1, "B", "s.C.mine.y", false),
        (2, "C", "s.x.secret", true),
        (2, "C", "s.7.secret", false),
        (2, "C", "s.C.mine.y", true),
    ] {
        let found = all[at].streams[0].grants.allow(subject.as_bytes(), importer);
        assert_eq!(found, expected, "{importer} {subject}");
    }
}

#[test]
fn exports_of_one_subject_are_one() {
    let mut options = accounts(&["A", "B", "C", "D"]);
    export(&mut options, "A", "s", &["B"]);
    export(&mut options, "A", "s", &[]);
    export(&mut options, "A", "s", &["C"]);
    for importer in ["B", "C", "D"] {
        import(&mut options, importer, ("A", "s"), "");
    }
    let text = "Error adding stream import \"s\": stream import not authorized";
    let (all, faults) = compile(&options);
    assert_eq!(faults.iter().map(Fault::to_string).collect::<Vec<_>>(), [text]);
    assert_eq!(all.iter().map(|one| one.streams.len()).collect::<Vec<_>>(), [0, 1, 1, 0]);
}

#[test]
fn cycles_are_named() {
    let both = |options: &mut Options, kind: Kind, importer, exporter| match kind {
        Kind::Stream => import(options, importer, (exporter, "x.>"), ""),
        Kind::Service => import_service(options, importer, (exporter, "x.>"), ""),
    };
    for kind in [Kind::Stream, Kind::Service] {
        let mut options = accounts(&["A", "B", "C"]);
        for name in ["A", "B", "C"] {
            match kind {
                Kind::Stream => export(&mut options, name, "x.>", &[]),
                Kind::Service => export_service(&mut options, name, "x.>"),
            }
        }
        both(&mut options, kind, "A", "B");
        both(&mut options, kind, "B", "C");
        assert_eq!(faults(&options), [""; 0]);
        // An account may import from itself.
        both(&mut options, kind, "A", "A");
        assert_eq!(faults(&options), [""; 0]);
        account(&mut options, "A").imports.pop();
        both(&mut options, kind, "C", "A");
        let text =
            format!("Error adding {} \"x.>\": import forms a cycle: C, A, B, C", kind.import());
        assert_eq!(faults(&options), [text]);
    }
    let mut options = accounts(&["A", "B"]);
    for name in ["A", "B"] {
        export(&mut options, name, "x.>", &[]);
    }
    import(&mut options, "A", ("B", "x.>"), "b.");
    import(&mut options, "B", ("A", "x.>"), "a.");
    assert_eq!(faults(&options), [""; 0], "different names do not meet");
}

#[test]
fn services_keep_the_settings_of_their_export() {
    let mut options = accounts(&["A", "B"]);
    let response = ResponseType::Stream;
    let mut service = ServiceOptions { response, ..ServiceOptions::default() };
    let stream = Export::new("q.>", ExportKind::Service(service.clone()));
    service.response = ResponseType::Singleton;
    service.latency = Some(Latency::new("lat", Sampling::Headers));
    let single = Export::new("q.one", ExportKind::Service(service));
    account(&mut options, "A").exports.extend([stream, single]);
    import_service(&mut options, "B", ("A", "q.*"), "l.$1");
    import_service(&mut options, "B", ("A", "q.one"), "one.>");
    let (all, faults) = compile(&options);
    assert_eq!(faults, []);
    let [wild, one] = all[1].services.iter().collect::<Vec<_>>()[..] else { panic!("{all:?}") };
    assert_eq!((&*wild.export.subject, wild.export.response), ("q.>", ResponseType::Stream));
    assert_eq!((&*one.export.subject, one.export.response), ("q.one", ResponseType::Singleton));
    assert!(one.export.latency.is_some());
    let mut room = Vec::new();
    assert_eq!(wild.subjects.to_remote(b"l.7", &mut room), b"q.7");
    assert_eq!(one.subjects.to_remote(b"one.a.b", &mut room), b"q.one");
}

#[test]
fn equal_imports_stay_the_same_values() {
    let mut options = accounts(&["A", "B"]);
    for subject in ["x", "y"] {
        export(&mut options, "A", subject, &[]);
        import(&mut options, "B", ("A", subject), "");
    }
    let compiled = |options: &Options| compile(options).0.swap_remove(1);
    let before = Arc::new(compiled(&options));
    assert!(Arc::ptr_eq(&compiled(&options).in_place_of(&before), &before));
    account(&mut options, "B").imports[0].local = LocalSubject::Prefix("p".to_owned());
    let after = compiled(&options).in_place_of(&before);
    assert!(!Arc::ptr_eq(&after, &before));
    assert!(after.holds(&before.streams[1]) && !after.holds(&before.streams[0]));
}

#[test]
fn services_are_found_by_the_subjects_of_requests() {
    let mut options = accounts(&["A", "B"]);
    export_service(&mut options, "A", "q");
    for local in ["a.b", "b", "a.*", "aa.b", "$S.>", "*.x", ">"] {
        import_service(&mut options, "B", ("A", "q"), local);
        let (all, faults) = compile(&options);
        assert_eq!(faults, []);
        let services = &all[1].services;
        for subject in ["a.b", "a.c", "a", "b", "b.x", "*.x", "*", ">", "$S.x", "$T", ""] {
            let subject = subject.as_bytes();
            let is_match = |import: &&Arc<ServiceImport>| import.remote(subject).is_some();
            let mut found: Vec<_> = services.near(subject).filter(is_match).collect();
            let mut expected: Vec<_> = services.iter().filter(is_match).collect();
            assert!(expected.is_empty() || services.may_match(subject));
            found.sort_by_key(|one| one.subjects.local());
            expected.sort_by_key(|one| one.subjects.local());
            assert_eq!(found, expected);
        }
        assert!(local == ">" || local == "*.x" || !services.may_match(b"c"));
    }
}

fn service_options(options: &mut Options) -> &mut ServiceOptions {
    match &mut account(options, "A").exports[1].kind {
        ExportKind::Service(service) => service,
        ExportKind::Stream => panic!("it is a stream"),
    }
}

#[test]
fn the_digest_tells_all_imports_apart() {
    let mut options = accounts(&["A", "B", "C"]);
    export(&mut options, "A", "s.>", &["B", "C"]);
    export_service(&mut options, "A", "q.*");
    import(&mut options, "B", ("A", "s.>"), "p.");
    import_service(&mut options, "B", ("A", "q.x"), "ask");
    let changes: [fn(&mut Options); 20] = [
        |_| {},
        |options| options.no_system_account = true,
        |options| options.system_account = Some("C".to_owned()),
        |options| account(options, "C").name = "D".to_owned(),
        |options| options.accounts.swap(0, 2),
        |options| account(options, "C").jetstream = true,
        |options| account(options, "B").jetstream = true,
        |options| export(options, "C", "s.>", &[]),
        |options| account(options, "A").exports[0].subject = "s.*".to_owned(),
        |options| account(options, "A").exports[0].importers = Importers::All,
        |options| account(options, "A").exports[1].importers = Importers::Named(2),
        |options| service_options(options).response = ResponseType::Chunked,
        |options| service_options(options).threshold *= 2,
        |options| service_options(options).latency = Some(Latency::new("l", Sampling::Headers)),
        |options| service_options(options).allow_trace = true,
        |options| drop(account(options, "B").imports.pop()),
        |options| account(options, "B").imports[0].subject = "s.x".to_owned(),
        |options| account(options, "B").imports[0].local = LocalSubject::To("p.>".to_owned()),
        |options| account(options, "B").imports[0].allow_trace = true,
        |options| account(options, "B").imports[1].kind = ImportKind::Service { share: true },
    ];
    let mut digests = Vec::new();
    for (at, change) in changes.into_iter().enumerate() {
        let mut options = options.clone();
        change(&mut options);
        let digest = Digest::new(&options);
        assert!(!digests.contains(&digest), "{at}");
        digests.push(digest);
    }
    let others: [fn(&mut Options); 5] = [
        |options| options.max_payload = 1,
        |options| options.cluster = Some(Cluster::default()),
        |options| options.authorization.no_auth_user = Some("u".to_owned()),
        |options| account(options, "B").mappings.push(SubjectMapping::new("m")),
        |options| {
            let limits = &mut account(options, "B").limits;
            *limits = AccountLimits { max_payload: Some(1), ..AccountLimits::default() };
        },
    ];
    for (at, change) in others.into_iter().enumerate() {
        change(&mut options);
        assert_eq!(Digest::new(&options), digests[0], "{at}");
    }
}

#[test]
fn known_imports_are_not_compiled_again() {
    let mut options = accounts(&["A", "B"]);
    export(&mut options, "A", "s.>", &[]);
    import(&mut options, "B", ("A", "s.>"), "");
    let (first, _) = Imports::new(&options, None);
    assert!(first.compiled.is_some());
    let (same, faults) = Imports::new(&options, Some(first.digest));
    assert!(same.compiled.is_none() && same.digest == first.digest && faults.is_empty());
    account(&mut options, "A").exports.clear();
    let (other, faults) = Imports::new(&options, Some(first.digest));
    assert!(other.compiled.is_some() && other.digest != first.digest && faults.len() == 1);
}
