use fastrand::Rng;

use crate::base::fuzzing;
use crate::base::subject_transform::fuzz::fuzz_transform;
use crate::base::subject_transform::{ImportTransform, Transform, with_placeholders};

/// A subject behind a transform.
fn applied(source: &str, destination: &str, subject: &str) -> String {
    let transform = Transform::new(source, destination).unwrap();
    let mut out = Vec::new();
    transform.apply(subject.as_bytes(), &mut Rng::with_seed(1), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Checks a function of one token: pairs of the token and the value.
fn check(function: &str, pairs: &[(&str, &str)]) {
    for (token, expected) in pairs {
        let found = applied("f.*", &format!("o.{function}"), &format!("f.{token}"));
        assert_eq!(found, format!("o.{expected}"), "{function} of {token}");
    }
}

#[test]
fn tokens_move() {
    let table = [
        ("foo.*.*", "bar.$2.$1", "foo.a.b", "bar.b.a"),
        ("foo.*.*", "bar.{{wildcard(2)}}.{{ Wildcard ( 1 ) }}", "foo.a.b", "bar.b.a"),
        ("b7.*.*", "o.$1", "b7.v.w", "o.v"),
        ("d8.*", "o.$1.$1", "d8.a", "o.a.a"),
        ("f.*", "o", "f.a", "o"),
        ("one.*.three.>", "x.$1.>", "one.2.three.4.5", "x.2.4.5"),
        (">", "pre.>", "a.b", "pre.a.b"),
        ("a.>", ">", "a.b.c", "b.c"),
        ("a.b", "c.d", "a.b", "c.d"),
        // Only whole tokens are functions.
        (
            "f.*",
            "$abc.$1a.a$1.{{}}.x{{left(1,2)}}.{{wildcard(1)",
            "f.k",
            "$abc.$1a.a$1.{{}}.x{{left(1,2)}}.{{wildcard(1)",
        ),
        // Tokens are split at dots first.
        ("f.*", "o.{{split(1,.)}}", "f.k", "o.{{split(1,.)}}"),
    ];
    for (source, destination, subject, expected) in table {
        assert_eq!(applied(source, destination, subject), expected, "{source} {destination}");
    }
}

#[test]
fn partitions_are_those_of_nats_server() {
    check(
        "{{partition(3,1)}}",
        &[
            ("foo", "0"),
            ("bar", "2"),
            ("baz", "1"),
            ("a", "1"),
            ("b", "1"),
            ("c", "2"),
            ("aa", "1"),
            ("Foo", "0"),
            ("0", "0"),
            ("1", "1"),
            ("2", "1"),
            ("user-42", "0"),
            ("äö", "0"),
        ],
    );
    let both = |destination: &str, pairs: &[(&str, &str)]| {
        for (tokens, expected) in pairs {
            let found = applied("*.*", destination, tokens);
            assert_eq!(found, *expected, "{destination} of {tokens}");
        }
    };
    // The tokens are hashed without the dot between them.
    both(
        "{{partition(10,1,2)}}",
        &[("a.b", "6"), ("foo.bar", "0"), ("ab.c", "1"), ("a.bc", "1"), ("x.y", "2"), ("1.2", "0")],
    );
    both("{{partition(10,2,1)}}", &[("a.b", "8"), ("foo.bar", "2"), ("ab.c", "5")]);
    assert_eq!(applied("d3.*", "o.{{partition(10)}}", "d3.foo"), "o.0");
    assert_eq!(applied("d3.*", "o.{{partition(10)}}", "d3.a"), "o.1");
    assert_eq!(applied("d5.>", "o.{{partition(10)}}.>", "d5.foo"), "o.0.foo");
    assert_eq!(applied("d5.>", "o.{{partition(10)}}.>", "d5.foo.bar"), "o.5.foo.bar");
    assert_eq!(applied("d6.*.>", "o.$1.{{partition(10,1)}}.>", "d6.foo.x.y"), "o.foo.3.x.y");
    // Without wildcards the whole subject counts, and indexes do not.
    assert_eq!(applied("d4", "o.{{partition(10)}}", "d4"), "o.9");
    assert_eq!(applied("d4", "o.{{partition(10,7)}}", "d4"), "o.9");
    check("{{partition(0,1)}}", &[("foo", "0")]);
}

#[test]
fn random_numbers_stay_below_their_limit() {
    let transform = Transform::new("f", "o.{{random(3)}}").unwrap();
    assert!(transform.is_random());
    let mut random = Rng::with_seed(1);
    let mut seen = [0; 3];
    for _ in 0..300 {
        let mut out = Vec::new();
        transform.apply(b"f", &mut random, &mut out);
        let [b'o', b'.', digit] = out[..] else { panic!("{out:?}") };
        seen[usize::from(digit - b'0')] += 1;
    }
    assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
    check("{{random(0)}}", &[("a", "0")]);
    assert!(!Transform::new("f.*", "o.{{partition(3,1)}}.$1").unwrap().is_random());
}

#[test]
fn tokens_are_split_and_cut() {
    check(
        "{{split(1,-)}}",
        &[
            ("a-b-c", "a.b.c"),
            ("-abc-def--ghi-", "abc.def.ghi"),
            ("a--", "a"),
            ("-a-", "a"),
            ("abc", "abc"),
            ("-", ""),
            ("---", ""),
            ("--a", ".a"),
        ],
    );
    check(
        "{{split(1,--)}}",
        &[("a--b", "a.b"), ("a-b", "a-b"), ("a---b", "a.-b"), ("--a--b--", "a.b")],
    );
    check(
        "{{splitFromLeft(1,3)}}",
        &[("1234567", "123.4567"), ("1234", "123.4"), ("123", "123"), ("12", "12")],
    );
    check("{{splitFromRight(1,3)}}", &[("1234567", "1234.567"), ("1234", "1.234"), ("123", "123")]);
    check(
        "{{sliceFromLeft(1,3)}}",
        &[
            ("1234567", "123.456.7"),
            ("123456", "123.456"),
            ("1234567890", "123.456.789.0"),
            ("123", "123"),
        ],
    );
    check(
        "{{sliceFromRight(1,3)}}",
        &[
            ("1234567", "1.234.567"),
            ("123456", "123.456"),
            ("1234567890", "1.234.567.890"),
            ("12", "12"),
        ],
    );
    check("{{left(1,3)}}", &[("1234567", "123"), ("12", "12")]);
    check("{{right(1,3)}}", &[("1234567", "567"), ("12", "12")]);
    for unchanged in
        ["{{left(1,0)}}", "{{right(1,-1)}}", "{{splitfromleft(1,0)}}", "{{slicefromleft(1,-2)}}"]
    {
        check(unchanged, &[("1234567", "1234567")]);
    }
    let transform = Transform::new("f.*", "o.{{left(1,3)}}").unwrap();
    let mut out = Vec::new();
    transform.apply("f.äöü".as_bytes(), &mut Rng::with_seed(1), &mut out);
    assert_eq!(out, b"o.\xc3\xa4\xc3");
}

#[test]
fn function_names_begin_their_words_in_either_case() {
    for name in ["splitFromLeft", "SplitFromLeft", "splitfromleft", "Splitfromleft"] {
        check(&format!("{{{{{name}(1,3)}}}}"), &[("1234", "123.4")]);
    }
    check("{{ left ( 1 ,  3 ) }}", &[("1234", "123")]);
}

#[test]
fn faults_have_the_texts_of_nats_server() {
    let in_destination = [
        ("{{foo(1)}}", "unknown function in {{foo(1)}}"),
        ("{{SPLITFROMLEFT(1,2)}}", "unknown function in {{SPLITFROMLEFT(1,2)}}"),
        ("{{wildcard}}", "unknown function in {{wildcard}}"),
        ("{{wildcard()}}", "not enough arguments passed to the function in {{wildcard()}}"),
        ("{{split(1)}}", "not enough arguments passed to the function in {{split(1)}}"),
        (
            "{{splitfromleft(1)}}",
            "not enough arguments passed to the function in {{splitfromleft(1)}}",
        ),
        ("{{random(1,2)}}", "not enough arguments passed to the function in {{random(1,2)}}"),
        ("{{wildcard(1,2)}}", "too many arguments passed to the function in {{wildcard(1,2)}}"),
        ("{{split(1,-,a)}}", "too many arguments passed to the function in {{split(1,-,a)}}"),
        (
            "{{splitfromleft(1,2,3)}}",
            "too many arguments passed to the function in {{splitfromleft(1,2,3)}}",
        ),
        ("$2", "wildcard index out of range in $2: [2]"),
        ("{{partition(3,2)}}", "wildcard index out of range in {{partition(3,2)}}: [2]"),
        ("{{split(2,-)}}", "wildcard index out of range in {{split(2,-)}}: [2]"),
        ("a..b", "invalid transform"),
        ("a.", "invalid transform"),
        ("", "invalid transform"),
        ("x.>.y", "invalid transform in y"),
        ("a b", "invalid transform"),
        // Those that nats-server accepts.
        ("$0", "wildcard index out of range in $0: [0]"),
        ("$-1", "wildcard index out of range in $-1: [-1]"),
        ("{{wildcard(0)}}", "wildcard index out of range in {{wildcard(0)}}: [0]"),
        ("{{partition(3,0)}}", "wildcard index out of range in {{partition(3,0)}}: [0]"),
    ];
    let text = |source, destination| Transform::new(source, destination).unwrap_err().to_string();
    for (destination, expected) in in_destination {
        let expected = format!("invalid mapping destination: {expected}");
        assert_eq!(text("f.*", destination), expected, "{destination}");
    }
    for destination in [
        "{{wildcard(a)}}",
        "{{partition()}}",
        "{{random()}}",
        "{{partition(2147483648,1)}}",
        "{{splitfromleft(1,b)}}",
        "{{wildcard(1)}}{{wildcard(1)}}",
        "{{partition(-3,1)}}",
        "{{random(-2)}}",
        "{{split(1, )}}",
        "{{splitfromleft(1,2147483648)}}",
    ] {
        let fault = "function argument is invalid or in the wrong format";
        let expected = format!("invalid mapping destination: {fault} in {destination}");
        assert_eq!(text("f.*", destination), expected);
    }
    let twice = "{{left(1,2)}}{{right(1,2)}}";
    assert!(text("f.*", twice).contains("too many arguments"), "{twice}");
    for (source, destination) in [("f.*", "x.*"), ("f.*", "x.>"), ("f.>", "x"), ("f..a", "x")] {
        assert_eq!(text(source, destination), "invalid subject", "{source} {destination}");
    }
    assert_eq!(
        text("f", "{{left(1,2)}}"),
        "invalid mapping destination: wildcard index out of range in {{left(1,2)}}"
    );
    // A bad name is found before an argument that stands in front of it.
    assert!(text("f.*", "$2.{{foo(1)}}").contains("unknown function"));
}

#[test]
fn transforms_of_imports_have_an_inverse() {
    let table = [
        ("foo.*.*", "bar.$2.$1", "foo.a.b", "bar.b.a"),
        ("a.*.*.*", "x.$2.$3.$1", "a.1.2.3", "x.2.3.1"),
        ("a.*.b", "x.*", "a.7.b", "x.7"),
        ("w.*.>", "v.{{wildcard(1)}}.w.>", "w.k.l.m", "v.k.w.l.m"),
        (">", "pre.>", "a.b", "pre.a.b"),
        ("l", "loc.l", "l", "loc.l"),
        // The subject may be a pattern that the source covers.
        ("n.>", "np.>", "n.*.b.>", "np.*.b.>"),
    ];
    let one = |transform: &ImportTransform, subject: &str| {
        let mut out = Vec::new();
        transform.apply(subject.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    };
    for (source, destination, subject, expected) in table {
        let transform = ImportTransform::new(source, destination).unwrap();
        assert_eq!(one(&transform, subject), expected);
        let reversed = transform.reversed();
        assert_eq!(one(&reversed, expected), subject);
        assert_eq!(reversed.source(), &*transform.destination());
        assert_eq!(&*reversed.destination(), transform.source());
        assert_eq!(reversed.reversed(), transform);
    }
    let destination = ImportTransform::new("a.*.*", "x.$2.y.$1").unwrap().destination();
    assert_eq!(&*destination, b"x.*.y.*");
}

#[test]
fn faults_of_imports_have_the_texts_of_nats_server() {
    let only = "the only mapping function allowed for import transforms is {{Wildcard()}}";
    let table = [
        ("s.*", "x", "not using all of the token wildcard(s) in x".to_owned()),
        ("q.*.*", "x.*", "not using all of the token wildcard(s) in x.$1".to_owned()),
        ("q.*", "x.*.*", "wildcard index out of range in $2: [2]".to_owned()),
        ("s.*", "x.$2", "wildcard index out of range in $2: [2]".to_owned()),
        ("s.*", "x.{{partition(3,1)}}", format!("{only} in {{{{partition(3,1)}}}}")),
        ("s.*", "x.{{left(1,0)}}", format!("{only} in {{{{left(1,0)}}}}")),
        ("s", "x.{{partition(3)}}", format!("{only} in {{{{partition(3)}}}}")),
        // Those that nats-server accepts.
        ("s.t.*.*", "t.$1.$1", "not using all of the token wildcard(s) in t.$1.$1".to_owned()),
        ("s.*", "t.$1.$1", "using a token wildcard twice in t.$1.$1".to_owned()),
        ("s.z.*", "z.$0", "wildcard index out of range in $0: [0]".to_owned()),
        ("s.a", "x.*", "wildcard index out of range in $1".to_owned()),
    ];
    let text = |source, destination: &str| {
        ImportTransform::new(source, destination).unwrap_err().to_string()
    };
    for (source, destination, expected) in table {
        let expected = format!("invalid mapping destination: {expected}");
        assert_eq!(text(source, destination), expected, "{source} {destination}");
    }
    for (source, destination) in [("s.>", "p..q.s.>"), ("s.>", "x.*"), ("s", "a b"), ("a b", "s")] {
        assert_eq!(text(source, destination), "invalid subject", "{source} {destination}");
    }
}

#[test]
fn wildcards_are_numbered_from_the_left() {
    for (pattern, expected) in [("foo.*.*", "foo.$1.$2"), ("a", "a"), ("*.b.>", "$1.b.>")] {
        assert_eq!(with_placeholders(pattern), expected);
    }
}

#[test]
fn fuzz_transform_corpus_and_its_mutations() {
    const PIECES: [&str; 14] = [
        "*",
        "*",
        ">",
        ".",
        ".",
        "a",
        "-",
        "$1",
        "$2",
        "{{wildcard(2)}}",
        "{{split(1,-)}}",
        "{{partition(3,1)}}",
        "{{left(1,2)}}",
        "12",
    ];
    fuzzing::run("transform", 4_000, fuzz_transform, |random, corpus| {
        if random.bool() {
            return fuzzing::mutated(random, corpus);
        }
        let line = |random: &mut Rng| -> String {
            let count = random.usize(..9);
            (0..count).map(|_| PIECES[random.usize(..PIECES.len())]).collect()
        };
        let lines = [(); 3].map(|()| line(random));
        lines.join("\n").into_bytes()
    });
}
