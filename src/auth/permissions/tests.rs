use std::collections::HashMap;
use std::time::Duration;

use fastrand::Rng;

use super::replies::{REPLY_BYTES_MAX, REPLY_COUNT_MAX};
use super::*;
use crate::base::subject;
use crate::config::options::{AllowResponses, SubjectPermission};

const SECOND: u64 = 1_000_000_000;

fn side(allow: Option<&[&str]>, deny: &[&str]) -> SubjectPermission {
    let owned = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
    SubjectPermission { allow: allow.map(owned), deny: owned(deny) }
}

fn publish(allow: Option<&[&str]>, deny: &[&str]) -> CompiledPermissions {
    let publish = side(allow, deny);
    CompiledPermissions::new(&options::Permissions { publish, ..Default::default() })
}

fn subscribe(allow: Option<&[&str]>, deny: &[&str]) -> CompiledPermissions {
    let subscribe = side(allow, deny);
    CompiledPermissions::new(&options::Permissions { subscribe, ..Default::default() })
}

fn assert_publish(permissions: &CompiledPermissions, table: &[(&str, bool)]) {
    for (subject, expected) in table {
        assert_eq!(permissions.can_publish(subject.as_bytes()), *expected, "PUB {subject}");
    }
}

/// Splits the arguments of a SUB line: subject, queue.
fn arguments(line: &str) -> (&[u8], Option<&[u8]>) {
    let (subject, queue) = line.split_once(' ').map_or((line, None), |(s, q)| (s, Some(q)));
    (subject.as_bytes(), queue.map(str::as_bytes))
}

fn assert_subscribe(permissions: &CompiledPermissions, table: &[(&str, bool)]) {
    for (line, expected) in table {
        let (subject, queue) = arguments(line);
        assert_eq!(permissions.can_subscribe(subject, queue), *expected, "SUB {line}");
    }
}

/// True if a message on `subject` reaches the subscription, checked as a caller does.
fn reaches(permissions: &CompiledPermissions, line: &str, published: &str) -> bool {
    let (subject, queue) = arguments(line);
    assert!(permissions.can_subscribe(subject, queue), "{line}");
    subject::matches(subject, published.as_bytes())
        && (permissions.filters(subject, queue) == 0
            || permissions.can_deliver(published.as_bytes(), queue))
}

#[test]
fn without_lists_everything_is_allowed() {
    let permissions = CompiledPermissions::new(&options::Permissions::default());
    assert_publish(&permissions, &[("a", true), ("a.b", true), ("a..b", true)]);
    assert_subscribe(&permissions, &[(">", true), ("a q", true)]);
    assert_eq!(permissions.filters(b">", None), 0);
    assert!(permissions.replies().is_none());
}

#[test]
fn an_empty_allow_list_allows_nothing() {
    assert_publish(&publish(Some(&[]), &[]), &[("a", false), (">", false)]);
    assert_subscribe(&subscribe(Some(&[]), &[]), &[("a", false), ("a q", false)]);
}

#[test]
fn publish_lists_match_literally() {
    let permissions = publish(Some(&["a.>", "b.*"]), &["a.secret"]);
    let table = [
        ("a.x", true),
        ("a.secret", false),
        ("b.c", true),
        ("b.c.d", false),
        ("a", false),
        ("c", false),
        // Published wildcards are bytes.
        ("a.*", true),
        ("b.>", true),
        ("*", false),
        // No pattern matches an empty token.
        ("a.", false),
        ("a..b", false),
        (".a", false),
        ("", false),
    ];
    assert_publish(&permissions, &table);
    let denied = publish(None, &["a.>", "*"]);
    let table =
        [("a.b", false), ("a.>", false), (">", false), ("a.", true), (".", true), ("b.c", true)];
    assert_publish(&denied, &table);
}

#[test]
fn subscriptions_must_be_covered() {
    let permissions = subscribe(
        Some(&["a.>", "q1 v1", "q2.* v*", "_INBOX.>", "one.*", "mid.*.c"]),
        &["a.deny", "a.qd dq"],
    );
    let table = [
        ("a.*", true),
        ("a.>", true),
        ("a.b", true),
        ("a.deny", false),
        ("*", false),
        (">", false),
        ("q1", false),
        ("q1 v1", true),
        ("q1 v2", false),
        ("q2.x v9", false),
        ("q2.x v*", true),
        ("q2.* v*", true),
        ("a.qd", true),
        ("a.qd other", true),
        ("a.qd dq", false),
        ("_INBOX.x.y", true),
        ("one.*", true),
        // The real server accepts this one.
        ("one.>", false),
        ("mid.*.c", true),
        ("mid.*.*", false),
        ("mid.*.>", false),
        ("a.", false),
        ("", false),
    ];
    assert_subscribe(&permissions, &table);
    for line in ["a.*", "a.>"] {
        assert!(!reaches(&permissions, line, "a.deny"), "{line}");
        assert!(reaches(&permissions, line, "a.ok"), "{line}");
    }
}

#[test]
fn wider_subscriptions_are_filtered() {
    let permissions = subscribe(None, &["sec.>"]);
    let table = [("sec.a", false), ("sec.*", false), ("sec.>", false), (">", true), ("*.a", true)];
    assert_subscribe(&permissions, &table);
    for line in [">", "*.a", "> q"] {
        assert!(!reaches(&permissions, line, "sec.a"), "{line}");
        assert!(reaches(&permissions, line, "ok.a"), "{line}");
    }
    for (line, filtered) in [("*", false), ("ok.>", false), ("*.a", true), ("ok.a", false)] {
        assert_eq!(permissions.filters(line.as_bytes(), None) > 0, filtered, "{line}");
    }
}

#[test]
fn a_deny_list_takes_wildcards_as_bytes() {
    let permissions = subscribe(None, &["a.*", "b.*.c"]);
    let table = [("a.>", false), ("a.*", false), ("*.>", true), (">", true), ("b.*.*", true)];
    assert_subscribe(&permissions, &table);
    for (line, published, reached) in [
        (">", "a.b", false),
        (">", "a.b.c", true),
        ("*.>", "a.b", false),
        ("*.>", "b.x.d", true),
        ("b.*.*", "b.x.c", false),
        ("b.*.*", "b.x.d", true),
    ] {
        assert_eq!(reaches(&permissions, line, published), reached, "{line} {published}");
    }
}

#[test]
fn queue_entries_decide_alone_on_their_subject() {
    let permissions = subscribe(Some(&["foo", "foo v1", "bar.* w.*", "bar.x", "any >"]), &[]);
    let table = [
        ("foo", true),
        ("foo v1", true),
        ("foo v2", false),
        ("bar.x", true),
        ("bar.x w.1", true),
        ("bar.x z", false),
        ("bar.y", false),
        ("bar.* w.*", true),
        ("bar.> w.>", false),
        ("bar.y w.>", false),
        ("any q", true),
        ("any", false),
        ("any >", true),
        ("any a..b", true),
        ("any .", true),
        ("foo >", false),
        ("bar.x >", false),
    ];
    assert_subscribe(&permissions, &table);
    // A list of plain entries covers queue subscriptions.
    assert_subscribe(&subscribe(Some(&["a.>"]), &[]), &[("a.b q", true), ("b q", false)]);
}

#[test]
fn queues_can_be_denied() {
    let permissions = subscribe(None, &["foo bad.*", "zip", "d.x q"]);
    let table = [
        ("foo", true),
        ("foo good", true),
        ("foo bad.x", false),
        ("foo bad.*", false),
        ("foo bad.>", true),
        ("* bad.x", true),
        ("zip", false),
        ("zip q", false),
        ("d.x q", false),
        ("d.x r", true),
        ("d.* q", true),
    ];
    assert_subscribe(&permissions, &table);
    for (line, published, reached) in [
        ("* bad.x", "foo", false),
        ("* bad.x", "bar", true),
        ("* good", "foo", true),
        ("*", "foo", true),
        (">", "zip", false),
        ("d.* q", "d.x", false),
        ("d.* q", "d.y", true),
        ("d.* r", "d.x", true),
    ] {
        assert_eq!(reaches(&permissions, line, published), reached, "{line} {published}");
    }
}

#[test]
fn reserved_names_are_those_of_the_real_server() {
    for (subject, reserved) in [
        ("_GR_.", false),
        ("_GR_.x", true),
        ("_GR_x", false),
        ("$GR.x", true),
        ("$GR.", false),
        ("$NRG", false),
        ("$NRG.", true),
        ("$NRG.x", true),
        ("_R_.x", false),
        ("foo", false),
    ] {
        assert_eq!(is_reserved_subject(subject.as_bytes()), reserved, "{subject}");
    }
    for (reply, reserved) in [
        ("_R_", false),
        ("_R_.", true),
        ("_R_.a", true),
        ("_R_a", false),
        ("$JS.ACK.", false),
        ("$JS.ACK.x", true),
        ("_GR_.", false),
        ("_GR_.x", true),
        ("$GR.x", true),
        ("_INBOX.x", false),
    ] {
        assert_eq!(is_reserved_reply(reply.as_bytes()), reserved, "{reply}");
    }
    assert!(is_reserved_queue(b"_sys_") && !is_reserved_queue(b"_sys"));
}

fn replies(max: i64, expires: Option<Duration>) -> Replies {
    let rule = AllowResponses { max, expires };
    let permissions = options::Permissions { allow_responses: Some(rule), ..Default::default() };
    CompiledPermissions::new(&permissions).replies().unwrap()
}

#[test]
fn each_request_opens_its_reply_subject() {
    let mut replies = replies(2, Some(Duration::from_secs(1)));
    assert!(!replies.take(b"inb", 0));
    replies.open(b"inb", 0);
    assert!(!replies.take(b"other", 0));
    assert_eq!([(); 3].map(|()| replies.take(b"inb", SECOND)), [true, true, false]);
    replies.open(b"inb", SECOND);
    assert!(replies.take(b"inb", SECOND));
    replies.open(b"inb", SECOND);
    assert_eq!([(); 3].map(|()| replies.take(b"inb", SECOND)), [true, true, false]);
}

#[test]
fn replies_expire() {
    let mut short = replies(1, Some(Duration::from_secs(1)));
    short.open(b"a", 0);
    short.open(b"b", 0);
    assert!(short.take(b"a", SECOND));
    assert!(!short.take(b"b", SECOND + 1));
    let mut endless = replies(-1, None);
    endless.open(b"a", 0);
    assert!((0..1000).all(|_| endless.take(b"a", u64::MAX)));
    assert!(!replies(0, None).take(b"a", 0));
}

#[test]
fn open_replies_are_bounded_and_the_oldest_go() {
    let mut replies = replies(-1, None);
    let name = |i: usize| format!("_INBOX.{i}").into_bytes();
    for i in 0..=REPLY_COUNT_MAX {
        replies.open(&name(i), 0);
    }
    let last_closed = REPLY_COUNT_MAX / 2 - 1;
    assert!(!replies.take(&name(0), 0) && !replies.take(&name(last_closed), 0));
    assert!(replies.take(&name(last_closed + 1), 0) && replies.take(&name(REPLY_COUNT_MAX), 0));

    let long = |i: usize| [vec![b'x'; 1 << 20], name(i)].concat();
    for i in 0..100 {
        replies.open(&long(i), 0);
        assert!(replies.take(&long(i), 0));
    }
    let open_count = (0..100).filter(|&i| replies.take(&long(i), 0)).count();
    assert!((2..=REPLY_BYTES_MAX >> 20).contains(&open_count), "{open_count}");
}

/// The open replies against a map and a list of ages, by a rule without limits of the whole.
#[test]
fn replies_agree_with_a_map() {
    let (max, expires) = (2, Duration::from_secs(1));
    let mut replies = replies(max, Some(expires));
    let mut open: HashMap<u64, (u64, i64)> = HashMap::new();
    let mut random = Rng::with_seed(14);
    for now in (0..100_000).map(|step| step * SECOND / 2_000) {
        let number = random.u64(..3_000);
        let name = format!("r{number}");
        if random.u8(..3) > 0 {
            replies.open(name.as_bytes(), now);
            open.insert(number, (now, 0));
        } else {
            let allowed = open.get_mut(&number).is_some_and(|(at, used)| {
                *used += 1;
                *used <= max && now - *at <= SECOND
            });
            assert_eq!(replies.take(name.as_bytes(), now), allowed, "{name} at {now}");
        }
    }
}

#[test]
fn expired_replies_make_room_first() {
    let mut replies = replies(1, Some(Duration::from_secs(1)));
    for i in 0..10 * REPLY_COUNT_MAX as u64 {
        // Ten thousand requests per second, none of them answered.
        replies.open(format!("r{i}").as_bytes(), i * SECOND / 10_000);
    }
    let last = 10 * REPLY_COUNT_MAX as u64 - 1;
    let now = last * SECOND / 10_000;
    assert!((last - 9_999..=last).all(|i| replies.take(format!("r{i}").as_bytes(), now)));
}

/// A subject of one to four tokens; `wild` of eight tokens are wildcards.
fn subject(random: &mut Rng, wild: u8) -> String {
    let count = random.usize(1..=4);
    let mut tokens = Vec::new();
    for at in 1..=count {
        let token = match random.u8(..8) {
            n if n >= wild => random.choice(["a", "b", "c", "*a"]).unwrap(),
            0 if at == count => ">",
            _ => "*",
        };
        tokens.push(token);
    }
    tokens.join(".")
}

/// A pattern against a subject, token by token; `wild` gives the subject's wildcards their meaning.
fn naive_match(pattern: &str, subject: &str, wild: bool) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let subject: Vec<&str> = subject.split('.').collect();
    for (i, wanted) in pattern.iter().enumerate() {
        let Some(given) = subject.get(i) else { return false };
        if *wanted == ">" {
            return true;
        }
        let open_ended = wild && *given == ">";
        if open_ended || !(*wanted == "*" || wanted == given) {
            return false;
        }
    }
    pattern.len() == subject.len()
}

/// Lists of every length up to some thirty, so that both the scan and the index run.
#[test]
fn lists_agree_with_a_naive_oracle() {
    let mut random = Rng::with_seed(2_151);
    for round in 0..600 {
        let mut list = |limit: usize| -> Vec<String> {
            (0..random.usize(..limit)).map(|_| subject(&mut random, 2)).collect()
        };
        let (allow, deny) = (list(30), list(if round % 2 == 0 { 4 } else { 20 }));
        let lists = SubjectPermission { allow: Some(allow.clone()), deny: deny.clone() };
        let permissions = CompiledPermissions::new(&options::Permissions {
            publish: lists.clone(),
            subscribe: lists,
            allow_responses: None,
        });
        let listed = |list: &[String], subject: &str, wild| {
            list.iter().any(|pattern| naive_match(pattern, subject, wild))
        };
        for _ in 0..50 {
            let subject = self::subject(&mut random, 2);
            let denied = listed(&deny, &subject, false);
            let may_publish = listed(&allow, &subject, false) && !denied;
            assert_eq!(permissions.can_publish(subject.as_bytes()), may_publish, "{subject}");
            let may_subscribe = listed(&allow, &subject, true) && !denied;
            let subscribed = permissions.can_subscribe(subject.as_bytes(), None);
            assert_eq!(subscribed, may_subscribe, "{subject} {allow:?} {deny:?}");
            let published = self::subject(&mut random, 0);
            if subscribed && naive_match(&subject, &published, false) {
                let reached = !listed(&deny, &published, false);
                assert_eq!(reaches(&permissions, &subject, &published), reached, "{published}");
            }
        }
    }
}
